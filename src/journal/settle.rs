//! Sealed days become archives: the messages of devices, sorted by device and time.
//!
//! One thread of its own, that nobody waits for. It takes the sealed segments from the oldest on,
//! each when the day of its newest message is over (a segment ends with its day), when nothing in
//! it is kept any more, or when more than [`BACKLOG`] wait. What a segment has of one day and one
//! class of ttl is one archive or a few ([`RUN_BYTES`]); when their day is done they are merged
//! into one, see [`super::rewrite`]. Charges stay in the segments, and with them everything that is
//! no message of a device; a record that comes late lies with the day it was received on, and its
//! device's row says how far back it goes.
//!
//! # Order on disk
//!
//! That of [`crate::archive`]. A segment is settled with the list that says so; until then its
//! archives are files that nobody knows. It can be cut off anywhere: what is not in the list is
//! done again.
//!
//! # Costs
//!
//! It works for [`Options::settle_share`] of its time and waits the rest, it syncs what it writes
//! in pieces of 4 MiB, and it holds at most [`RUN_BYTES`] of records and [`RUN_MESSAGES`] of their
//! places (about 170 bytes each) in memory.
//!
//! [`Options::settle_share`]: super::Options::settle_share

use super::entry::EntryRef;
use super::index::Held;
use super::retention::Lifetimes;
use super::{Shared, lock, stats};
use crate::archive::{Origin, Stored, Written, class_of, day_of};
use crate::ids::{AccountId, ChannelId, ConnectionId, DeviceId};
use crate::segment::Segment;
use compact_str::CompactString;
use protocols::Record;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// How often it is looked whether something is to be settled.
pub const SETTLE_MS: u64 = 60_000;
/// So many percent of its time the thread works.
pub const SETTLE_SHARE: u32 = 25;
/// Sealed segments of a day that is not over, behind which they are settled all the same.
pub const BACKLOG: usize = 16;
/// Bytes of records that become archives together.
pub const RUN_BYTES: usize = 32 * 1024 * 1024;
/// Messages that do.
pub const RUN_MESSAGES: usize = 250_000;
/// Messages of a device that is gone are kept so long behind the server's time of them: it may
/// come back from the recycle bin.
pub const GONE_KEPT_US: i64 = 31 * 86_400 * 1_000_000;

/// Between two pauses it works so long.
const TURN: Duration = Duration::from_millis(5);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why something is not settled, or not rewritten.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettleError {
    /// It was told to stop.
    #[error("it was stopped")]
    Stopped,
    /// It would take the space that ingest and checkpoints need.
    #[error("it needs {need} bytes and {free} are free")]
    NoSpace {
        /// Bytes that it may write.
        need: u64,
        /// Bytes that there are.
        free: u64,
    },
    /// The file system says no, or a file is damaged.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

impl SettleError {
    pub(super) fn of(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }
}

#[derive(Default)]
pub(super) struct SettlerState {
    pub(super) closing: bool,
    /// Not to wait for its time.
    pub(super) asked: bool,
}

/// Sees to it that the thread works for its share of the time only.
pub(super) struct Pace<'s> {
    shared: &'s Shared,
    begun: Instant,
}

impl Pace<'_> {
    /// Between two pieces of work: a pause, if one is due.
    pub(super) fn breathe(&mut self) -> Result<(), SettleError> {
        let worked = self.begun.elapsed();
        if worked < TURN {
            return Ok(());
        }
        let share = self.shared.options.settle_share.clamp(1, 100);
        let pause = (worked * (100 - share) / share).min(PAUSE_MAX);
        let closing = self.shared.settler_waits(pause);
        self.begun = Instant::now();
        if closing || self.shared.failure.get().is_some() {
            return Err(SettleError::Stopped);
        }
        Ok(())
    }
}

/// Where a part of a frame came from, as a run keeps it.
struct From {
    connection: ConnectionId,
    channel: ChannelId,
    account: AccountId,
    protocol: u16,
    decoder_version: u16,
    peer: SocketAddr,
    ident: CompactString,
}

/// A message of a run.
struct Placed {
    day: i32,
    class: u8,
    device: DeviceId,
    time_ms: i64,
    sequence: u64,
    index: u32,
    at_us: i64,
    from: u32,
    record: (u32, u32),
}

/// Messages on their way from segments to archives.
#[derive(Default)]
struct Run {
    records: Vec<u8>,
    from: Vec<From>,
    messages: Vec<Placed>,
}

impl Run {
    fn is_full(&self) -> bool {
        self.records.len() >= RUN_BYTES || self.messages.len() >= RUN_MESSAGES
    }

    fn clear(&mut self) {
        self.records.clear();
        self.from.clear();
        self.messages.clear();
    }

    fn stored<'r>(&'r self, placed: &Placed) -> Stored<'r> {
        let from = &self.from[placed.from as usize];
        let (at, length) = (placed.record.0 as usize, placed.record.1 as usize);
        Stored {
            device: placed.device,
            time_ms: placed.time_ms,
            sequence: placed.sequence,
            index: placed.index,
            at_us: placed.at_us,
            origin: Origin {
                connection: from.connection,
                channel: from.channel,
                account: from.account,
                protocol: from.protocol,
                decoder_version: from.decoder_version,
                peer: from.peer,
                ident: &from.ident,
            },
            record: &self.records[at..at + length],
        }
    }
}

impl Shared {
    /// The settler's life.
    pub(super) fn settle(&self) {
        loop {
            let closing = {
                let mut state = lock(&self.settler);
                if !state.closing && !state.asked {
                    (state, _) = self
                        .wake_settler
                        .wait_timeout(state, self.options.settle)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                state.asked = false;
                state.closing
            };
            if closing {
                return;
            }
            let Some(lifetimes) = self.lifetimes.get() else {
                continue;
            };
            // behind a failed write the disk is left alone
            if self.failure.get().is_none() {
                self.tell_day();
                match self.settle_all(lifetimes.as_ref()) {
                    Ok(()) | Err(SettleError::Stopped) => {}
                    Err(error) => {
                        stats::add(&self.stats.settle_errors, 1);
                        tracing::error!(%error, "not settled; it is tried again");
                        if let Err(error) = self.archives.sweep() {
                            tracing::warn!(%error, "what was not finished stays until the start");
                        }
                    }
                }
            }
        }
    }

    /// Does not wait for its time: there is something to do.
    pub(super) fn ask_settler(&self) {
        lock(&self.settler).asked = true;
        self.wake_settler.notify_one();
    }

    /// Waits so long, unless the journal is shut down: then it says so.
    pub(super) fn settler_waits(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = lock(&self.settler);
        while !state.closing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (state, _) = self
                .wake_settler
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    pub(super) fn pace(&self) -> Pace<'_> {
        Pace {
            shared: self,
            begun: Instant::now(),
        }
    }

    fn settle_all(&self, lifetimes: &dyn Lifetimes) -> Result<(), SettleError> {
        let mut pace = self.pace();
        self.erase_all(lifetimes, &mut pace)?;
        // what gives space first
        let worn = self.sweep_dead(lifetimes, &mut pace)?;
        while let Some(segment) = self.settles_next(lifetimes) {
            self.settle_segment(&segment, lifetimes, &mut pace)?;
            stats::add(&self.stats.segments_settled, 1);
        }
        self.merge_days(lifetimes, &mut pace)?;
        for archive in worn {
            self.rewrite_worn(archive, lifetimes, &mut pace)?;
        }
        Ok(())
    }

    /// Leaves as much free as is stated, and a segment.
    pub(super) fn check_room(&self, need: u64) -> Result<(), SettleError> {
        let kept = self.options.free_bytes_min + 2 * self.options.segment_bytes;
        match self.files.free_space(&self.dir) {
            Ok(free) if free < need.saturating_add(kept) => {
                Err(SettleError::NoSpace { need, free })
            }
            // if it is unknown, the write says so
            _ => Ok(()),
        }
    }

    /// The oldest segment that is not settled, if it is to be.
    fn settles_next(&self, lifetimes: &dyn Lifetimes) -> Option<std::sync::Arc<Segment>> {
        let settled = self.archives.view().settled;
        let segments = self.catalog.segments();
        let mut left = segments
            .iter()
            .filter(|segment| segment.is_sealed() && segment.next() > settled.saturating_add(1));
        let oldest = left.next()?;
        if left.count() >= BACKLOG {
            return Some(std::sync::Arc::clone(oldest));
        }
        let directory = self.directory(oldest).ok()?;
        let newest_us = directory.newest_us.unwrap_or(i64::MIN);
        let now_us = self.clock.now_us();
        let kept = |(id, _): &(u64, Held)| keeps(lifetimes, DeviceId(*id), newest_us, now_us);
        let due = day_of(newest_us) < day_of(now_us) || !directory.devices.iter().any(kept);
        due.then(|| std::sync::Arc::clone(oldest))
    }

    fn settle_segment(
        &self,
        segment: &Segment,
        lifetimes: &dyn Lifetimes,
        pace: &mut Pace<'_>,
    ) -> Result<(), SettleError> {
        let io = || SettleError::of(segment.path());
        let now_us = self.clock.now_us();
        let hidden = self.deletions.hidden();
        let mut run = Run::default();
        let mut added = Vec::new();
        let mut entries = segment.entries(self.files.as_ref(), 0).map_err(io())?;
        while let Some((_, entry)) = entries.next().map_err(io())? {
            let sequence = entry.sequence;
            let Some(EntryRef::Frame(frame)) =
                EntryRef::read(entry.kind, entry.version, entry.content)
            else {
                continue;
            };
            let at_us = frame.meta.at_us;
            let mut of_part = None;
            for (index, part, record) in frame.messages() {
                let Some(read) = Record::read(record).filter(|_| part.device.is_some()) else {
                    continue;
                };
                let time_ms = read.timestamp_ms();
                let Some(class) = class(lifetimes, part.device, at_us, now_us) else {
                    continue;
                };
                if hidden.hides(part.device, time_ms, sequence) {
                    continue;
                }
                let known = of_part.is_some_and(|(ident, _)| std::ptr::eq(ident, part.ident));
                if !known {
                    run.from.push(From {
                        connection: frame.meta.connection,
                        channel: frame.meta.channel,
                        account: part.account,
                        protocol: frame.meta.protocol,
                        decoder_version: frame.meta.decoder_version,
                        peer: frame.meta.peer,
                        ident: CompactString::new(part.ident),
                    });
                    of_part = Some((part.ident, run.from.len() - 1));
                }
                let (_, from) = of_part.expect("set above");
                let small = |number: usize| u32::try_from(number).map_err(io::Error::other);
                run.messages.push(Placed {
                    day: day_of(at_us),
                    class,
                    device: part.device,
                    time_ms,
                    sequence,
                    index,
                    at_us,
                    from: small(from).map_err(io())?,
                    record: (
                        small(run.records.len()).map_err(io())?,
                        small(record.len()).map_err(io())?,
                    ),
                });
                run.records.extend_from_slice(record);
            }
            if run.is_full() {
                self.write_run(&mut run, &mut added, pace)?;
            }
            pace.breathe()?;
        }
        self.write_run(&mut run, &mut added, pace)?;
        self.name_archives(segment.next() - 1, added, &BTreeSet::new())
    }

    /// Writes a run as archives, one for each day and class.
    fn write_run(
        &self,
        run: &mut Run,
        added: &mut Vec<Written>,
        pace: &mut Pace<'_>,
    ) -> Result<(), SettleError> {
        let io = || SettleError::of(self.archives.dir());
        self.check_room(run.records.len() as u64)?;
        run.messages.sort_unstable_by_key(|one| {
            (
                one.day,
                one.class,
                one.device,
                one.time_ms,
                one.sequence,
                one.index,
            )
        });
        for group in run
            .messages
            .chunk_by(|a, b| (a.day, a.class) == (b.day, b.class))
        {
            let Some(first) = group.first() else { continue };
            let mut writer = self.archives.begin(first.day, first.class).map_err(io())?;
            for (nth, placed) in group.iter().enumerate() {
                writer.push(&run.stored(placed)).map_err(io())?;
                if nth % 64 == 0 {
                    pace.breathe()?;
                }
            }
            added.extend(writer.finish().map_err(io())?);
        }
        run.clear();
        Ok(())
    }

    /// From now on these archives are there and those are not, and everything up to the entry
    /// `settled` is in archives. Nothing else may go, and no backup be taken, meanwhile.
    pub(super) fn name_archives(
        &self,
        settled: u64,
        added: Vec<Written>,
        removed: &BTreeSet<u64>,
    ) -> Result<(), SettleError> {
        let _alone = lock(&self.retaining);
        stats::add(&self.stats.archives_written, added.len() as u64);
        self.archives
            .commit(settled, added, removed)
            .map_err(SettleError::of(self.archives.dir()))
    }
}

/// Is a message of a device that came then still kept?
pub(super) fn keeps(lifetimes: &dyn Lifetimes, device: DeviceId, at_us: i64, now_us: i64) -> bool {
    let kept_us = match lifetimes.device(device) {
        Some((_, ttl_s)) => i64::from(ttl_s) * 1_000_000,
        None => GONE_KEPT_US,
    };
    at_us.saturating_add(kept_us) > now_us
}

/// The class of a message of a device that came then; `None`: it is past its ttl.
pub(super) fn class(
    lifetimes: &dyn Lifetimes,
    device: DeviceId,
    at_us: i64,
    now_us: i64,
) -> Option<u8> {
    if !keeps(lifetimes, device, at_us, now_us) {
        return None;
    }
    let ttl_s = lifetimes
        .device(device)
        .map_or(31 * 86_400, |(_, ttl_s)| ttl_s);
    Some(class_of(ttl_s))
}
