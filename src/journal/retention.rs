//! Segments go when nobody needs them any more, and the audit keeps what they counted.
//!
//! A segment is the buffer of its channels: it stays until the longest `messages_ttl` of any of
//! them (at most 31 days) has passed since its newest message, as those are *today*: so a ttl that
//! is lowered gives space back, one that is raised keeps what is still there. What devices own is in
//! archives by then, and goes with those (see [`super::rewrite`]).
//!
//! # Order on disk
//!
//! Of the oldest segment, and only below the watermarks of the ledger (counters and statistics),
//! of the telemetry's snapshot and of the archives:
//!
//! 1. its charges are added to the base of the audit, a checked file, durable;
//! 2. unlink of the sidecar, unlink of the segment, sync of the folder.
//!
//! A crash behind 1 leaves a segment that the base has already: the recount skips it, and it goes
//! the next time.

use super::audit::{self, AuditError};
use super::sizes::Held;
use super::{Shared, index, lock, stats};
use crate::account::Totals;
use crate::ids::{AccountId, ChannelId, DeviceId};
use crate::segment::Segment;
use crate::segment::checked::{CheckedReader, CheckedWriter, Form};
use crate::segment::{FileOps, Files};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// The name of the audit's base in the journal's folder.
pub const BASE: &str = "audit.base";
/// How its file begins.
pub const BASE_FORM: Form = Form {
    magic: *b"TGBASE",
    version: 1,
};
/// The longest that a channel's buffer keeps messages, seconds.
pub const CHANNEL_TTL_S_MAX: u32 = 31 * 86_400;
/// How often it is looked whether something may go.
pub const RETENTION_MS: u64 = 60_000;

/// How long messages are kept and whose they are, as it is configured now.
pub trait Lifetimes: Send + Sync {
    /// The owner of a channel and its ttl in seconds; `None`: there is no such channel any more.
    fn channel(&self, channel: ChannelId) -> Option<(AccountId, u32)>;
    /// The owner of a device and its ttl in seconds; `None`: there is no such device any more.
    fn device(&self, device: DeviceId) -> Option<(AccountId, u32)>;
    /// Up to and with which server time (us) a channel's buffer was cleared; 0: never.
    fn purged_us(&self, _: ChannelId) -> i64 {
        0
    }
    /// The most bytes of messages that a device may have; 0: as many as there are.
    fn rotate(&self, _: DeviceId) -> u64 {
        0
    }
    /// A device is erased in the journal: erases what others keep of it up to that time (us), or says
    /// why it cannot. It may be asked again for the same.
    fn erase_elsewhere(&self, _: DeviceId, _: i64) -> io::Result<()> {
        Ok(())
    }
}

/// What the segments that are gone had counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base {
    /// The number of the last entry in it.
    pub last: u64,
    /// The totals of every account and its branch up to there.
    pub accounts: BTreeMap<AccountId, Totals>,
}

impl Base {
    /// Reads it; where none was written yet it is empty.
    pub fn load(files: &dyn Files, dir: &Path) -> io::Result<Self> {
        let Some(mut reader) = CheckedReader::open(files, &dir.join(BASE), BASE_FORM.magic)? else {
            return Ok(Self::default());
        };
        let newer = || io::Error::new(io::ErrorKind::InvalidData, "a newer version wrote it");
        if reader.version() != BASE_FORM.version {
            return Err(newer());
        }
        let mut base = Self {
            last: reader.number(),
            accounts: BTreeMap::new(),
        };
        while let Some(block) = reader.next_block()? {
            let mut rest = block.as_slice();
            while let Some((head, after)) = rest.split_first_chunk::<9>() {
                let (id, count) = head.split_first_chunk::<8>().expect("nine bytes");
                let count = usize::from(count[0]);
                let numbers = after.get(..count * 8).ok_or_else(newer)?;
                let numbers: Vec<u64> = numbers
                    .as_chunks()
                    .0
                    .iter()
                    .map(|number| u64::from_le_bytes(*number))
                    .collect();
                base.accounts.insert(
                    AccountId(u64::from_le_bytes(*id)),
                    Totals::from_slice(&numbers),
                );
                rest = &after[count * 8..];
            }
        }
        Ok(base)
    }

    fn store(&self, files: &dyn Files, dir: &Path) -> io::Result<()> {
        let mut writer = CheckedWriter::begin(files, dir, BASE, BASE_FORM, self.last)?;
        for (id, totals) in &self.accounts {
            let numbers = totals.to_array();
            let mut row = id.0.to_le_bytes().to_vec();
            row.push(u8::try_from(numbers.len()).expect("there are few numbers"));
            for number in numbers {
                row.extend_from_slice(&number.to_le_bytes());
            }
            writer.push(&row)?;
        }
        writer.finish()
    }
}

impl Shared {
    /// Lets the oldest segments go that nobody needs; says how many. The keeper calls it.
    pub(super) fn retain(&self) -> Result<usize, AuditError> {
        let Some(lifetimes) = self.lifetimes.get() else {
            return Ok(0);
        };
        let below = self.retained_below();
        // an audit reads the base and then the segments: nothing may go in between
        let _alone = lock(&self.retaining);
        let mut gone = 0;
        loop {
            let segments = self.catalog.segments();
            let newer: u64 = segments.iter().skip(1).map(|segment| segment.end()).sum();
            let Some(oldest) = segments.first() else {
                return Ok(gone);
            };
            if segments.len() < 2
                || !oldest.is_sealed()
                || oldest.next() > below.saturating_add(1)
                // the windows of duplicates are made from the newest part
                || newer < self.options.replay_bytes
                || !self.is_past(oldest, lifetimes.as_ref())
            {
                return Ok(gone);
            }
            self.let_go(oldest)?;
            stats::add(&self.stats.segments_gone, 1);
            gone += 1;
        }
    }

    /// The last entry that ledger, statistics, the snapshot of telemetry and the archives hold, all
    /// of them.
    fn retained_below(&self) -> u64 {
        let durable =
            |mark: &AtomicU64| super::Position::from_raw(mark.load(Ordering::Acquire)).sequence();
        let counters = durable(&self.saved);
        let statistics = durable(&self.statistics_durable);
        let telemetry = self.telemetry.load(Ordering::Acquire);
        let settled = self.archives.view().settled;
        counters.min(statistics).min(telemetry).min(settled)
    }

    /// Has the longest ttl passed since its newest message?
    fn is_past(&self, segment: &Segment, lifetimes: &dyn Lifetimes) -> bool {
        let directory = match index::Sidecar::open(segment, self.files.as_ref())
            .and_then(|sidecar| sidecar.directory())
        {
            Ok(directory) => directory,
            Err(error) => {
                // the keeper makes it again; until then the segment stays
                tracing::debug!(%error, path = %segment.path().display(), "no sidecar to judge by");
                lock(&self.indexes.state).sidecars.remove(&segment.first());
                return false;
            }
        };
        let newest_us = directory.newest_us.unwrap_or(i64::MIN);
        let channel = |(id, _): &(u64, Held)| {
            let kept = lifetimes.channel(ChannelId(*id));
            let kept = kept.filter(|_| lifetimes.purged_us(ChannelId(*id)) < newest_us);
            kept.map_or(0, |(_, ttl_s)| ttl_s.min(CHANNEL_TTL_S_MAX))
        };
        let ttl_s = directory.channels.iter().map(channel).max();
        let kept_us = i64::from(ttl_s.unwrap_or(0)) * 1_000_000;
        newest_us.saturating_add(kept_us) <= self.clock.now_us()
    }

    /// The two steps of the order on disk.
    fn let_go(&self, segment: &Segment) -> Result<(), AuditError> {
        let io = |error| AuditError::Io {
            path: segment.path().to_owned(),
            error,
        };
        let files = self.files.as_ref();
        let mut base = Base::load(files, &self.dir).map_err(|error| AuditError::Io {
            path: self.dir.join(BASE),
            error,
        })?;
        if base.last + 1 < segment.next() {
            let bytes = read_whole(files, segment.path()).map_err(io)?;
            let mut audit = audit::Audit::from_base(base, self.options.node);
            let last = super::Position::new(self.options.node, segment.next() - 1);
            audit::count_segment(segment.path(), &bytes, &self.parents(), last, &mut audit)?;
            base = Base {
                last: audit.position.sequence(),
                accounts: audit.accounts,
            };
            base.store(files, &self.dir).map_err(io)?;
        }
        match files.unlink(&index::path_of(segment)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        lock(&self.indexes.state).sidecars.remove(&segment.first());
        self.catalog.remove_oldest(files, &self.dir).map_err(io)?;
        tracing::info!(path = %segment.path().display(), "a segment is past its messages' ttl");
        Ok(())
    }
}

/// A whole file, as far as there is one: a segment is cut to its length when it ends, which may be
/// while it is read.
pub(super) fn read_whole(files: &dyn Files, path: &Path) -> io::Result<Vec<u8>> {
    let file: Box<dyn FileOps> = files.open(path)?;
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}
