//! What was deleted and is still on the disk: no reader shows it, nobody counts it, and settling and
//! rewriting leave it out. When nothing of it is left, it is forgotten here too.
//!
//! A deletion is of one device: its messages up to an entry of the journal, by the device's time
//! from and to, both included. What arrives later is not deleted, whatever its time. An *erasure* is
//! a deletion of everything that waits until the journal's segments, archives and the snapshot of
//! telemetry are written without the device, see `erase`.
//!
//! # Order on disk
//!
//! A checked file, replaced whole, durable before the answer; then the journal's entry that says so. A
//! crash between the two deletes what nobody was told of. It names no entry that is not durable: a crash
//! would give the number to another one, which nobody has deleted.
//!
//! # Bounds
//!
//! | what | bound | when it is full |
//! |---|---|---|
//! | deletions of a device that are not done | [`OF_DEVICE_MAX`] | the newest is refused |
//! | of all | [`DELETIONS_MAX`] | the newest is refused |

use super::{Journal, Shared, lock};
use crate::archive::{Row, Totals};
use crate::ids::DeviceId;
use crate::segment::Files;
use crate::segment::checked::{CheckedReader, CheckedWriter, Form};
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The name of the file in the journal's folder.
pub const DELETED: &str = "deleted.list";
/// How it begins.
pub const DELETED_FORM: Form = Form {
    magic: *b"TGDELE",
    version: 1,
};
/// Deletions of one device that are not done.
pub const OF_DEVICE_MAX: usize = 64;
/// Deletions that are not done.
pub const DELETIONS_MAX: usize = 65_536;
const LINE_BYTES: usize = 56;

/// Messages of a device that are not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deletion {
    /// Whose.
    pub device: DeviceId,
    /// The last entry of the journal that it is about.
    pub up_to: u64,
    /// From this device time on, unix ms.
    pub from_ms: i64,
    /// To this device time.
    pub to_ms: i64,
    /// When it was asked for, unix us.
    pub at_us: i64,
    /// Why.
    pub kind: DeletionKind,
    /// Of an erasure: telemetry has forgotten the device, durably.
    pub telemetry_forgotten: bool,
}

/// Why messages are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeletionKind {
    /// They are more than the device may have: they go with whatever else is dead.
    Rotated,
    /// By somebody who asked: they leave the disk with the next look at the archives.
    Deleted,
    /// For good, everywhere, at once.
    Erased,
}

impl DeletionKind {
    /// Its stored number: what presses more has a higher one.
    const fn number(self) -> u64 {
        match self {
            Self::Rotated => 0,
            Self::Deleted => 1,
            Self::Erased => 2,
        }
    }

    const fn presses_more_than(self, other: Self) -> bool {
        self.number() > other.number()
    }
}

impl Deletion {
    fn hides(&self, time_ms: i64, sequence: u64) -> bool {
        sequence <= self.up_to && (self.from_ms..=self.to_ms).contains(&time_ms)
    }

    /// Is it of all messages up to its entry?
    const fn is_whole(&self) -> bool {
        self.from_ms == i64::MIN && self.to_ms == i64::MAX
    }

    const fn touches(&self, totals: &Totals) -> bool {
        totals.sequence.0 <= self.up_to
            && totals.time_ms.0 <= self.to_ms
            && totals.time_ms.1 >= self.from_ms
    }

    const fn covers(&self, totals: &Totals) -> bool {
        totals.sequence.1 <= self.up_to
            && totals.time_ms.0 >= self.from_ms
            && totals.time_ms.1 <= self.to_ms
    }
}

/// Deletions by device.
pub(super) type ByDevice = BTreeMap<DeviceId, Vec<Deletion>>;

/// The deletions that are not done.
#[derive(Default)]
pub(super) struct Deletions {
    now: ArcSwap<ByDevice>,
    /// One change at a time.
    changing: Mutex<()>,
}

/// Those of one moment.
#[derive(Clone)]
pub(super) struct Hidden(Arc<ByDevice>);

impl Hidden {
    /// Is this message deleted?
    pub(super) fn hides(&self, device: DeviceId, time_ms: i64, sequence: u64) -> bool {
        let of_device = self.0.get(&device);
        of_device.is_some_and(|all| all.iter().any(|one| one.hides(time_ms, sequence)))
    }

    /// Is something of the device deleted?
    pub(super) fn is_of(&self, device: DeviceId) -> bool {
        self.0.get(&device).is_some_and(|all| !all.is_empty())
    }

    /// Is this entry's part of a device erased?
    pub(super) fn erases(&self, device: DeviceId, sequence: u64) -> bool {
        let erases = |one: &Deletion| one.kind == DeletionKind::Erased && sequence <= one.up_to;
        let of_device = self.0.get(&device);
        of_device.is_some_and(|all| all.iter().any(erases))
    }

    /// Is everything deleted that a row says of its device?
    pub(super) fn covers(&self, row: &Row) -> bool {
        self.covers_all(row.device, &row.totals)
    }

    /// Is everything deleted that these totals are of?
    pub(super) fn covers_all(&self, device: DeviceId, totals: &Totals) -> bool {
        let of_device = self.0.get(&device);
        of_device.is_some_and(|all| all.iter().any(|one| one.covers(totals)))
    }

    /// The deletions that something of a row is about.
    pub(super) fn touching<'h>(&'h self, row: &Row) -> impl Iterator<Item = &'h Deletion> {
        let totals = row.totals;
        let of_device = self.0.get(&row.device).into_iter().flatten();
        of_device.filter(move |one| one.touches(&totals))
    }

    /// Is something of it deleted that may not stay on the disk?
    pub(super) fn presses(&self, row: &Row) -> bool {
        let presses =
            |one: &Deletion| one.kind != DeletionKind::Rotated && one.touches(&row.totals);
        let of_device = self.0.get(&row.device);
        of_device.is_some_and(|all| all.iter().any(presses))
    }

    /// Is everything of the device deleted up to this entry?
    pub(super) fn covers_up_to(&self, device: DeviceId, last: u64) -> bool {
        let covers = |one: &Deletion| one.is_whole() && one.up_to >= last;
        let of_device = self.0.get(&device);
        of_device.is_some_and(|all| all.iter().any(covers))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Deletion> {
        self.0.values().flatten()
    }
}

impl Deletions {
    /// Reads them; where none was written there are none.
    pub(super) fn load(files: &dyn Files, dir: &Path) -> io::Result<Self> {
        let now = read(files, dir)?;
        Ok(Self {
            now: ArcSwap::from_pointee(now),
            changing: Mutex::default(),
        })
    }

    /// As they are now.
    pub(super) fn hidden(&self) -> Hidden {
        Hidden(self.now.load_full())
    }
}

/// Reads the file.
pub(super) fn read(files: &dyn Files, dir: &Path) -> io::Result<ByDevice> {
    let mut now = ByDevice::new();
    let Some(mut reader) = CheckedReader::open(files, &dir.join(DELETED), DELETED_FORM.magic)?
    else {
        return Ok(now);
    };
    let bad = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    if reader.version() != DELETED_FORM.version {
        return Err(bad("a newer version wrote it"));
    }
    while let Some(block) = reader.next_block()? {
        let lines = block.chunks_exact(LINE_BYTES);
        if !lines.remainder().is_empty() {
            return Err(bad("a line is cut off"));
        }
        for line in lines {
            let number = |nth: usize| {
                let bytes = line[nth * 8..].first_chunk().expect("inside the line");
                u64::from_le_bytes(*bytes)
            };
            let one = Deletion {
                device: DeviceId(number(0)),
                up_to: number(1),
                from_ms: number(2).cast_signed(),
                to_ms: number(3).cast_signed(),
                at_us: number(4).cast_signed(),
                kind: match number(5) {
                    0 => DeletionKind::Rotated,
                    1 => DeletionKind::Deleted,
                    2 => DeletionKind::Erased,
                    _ => return Err(bad("a newer version wrote it")),
                },
                // the memory of this process has not
                telemetry_forgotten: false,
            };
            now.entry(one.device).or_default().push(one);
        }
    }
    Ok(now)
}

fn write(files: &dyn Files, dir: &Path, now: &ByDevice) -> io::Result<()> {
    let mut writer = CheckedWriter::begin(files, dir, DELETED, DELETED_FORM, 0)?;
    for one in now.values().flatten() {
        let numbers = [
            one.device.0,
            one.up_to,
            one.from_ms.cast_unsigned(),
            one.to_ms.cast_unsigned(),
            one.at_us.cast_unsigned(),
            one.kind.number(),
            u64::from(one.telemetry_forgotten),
        ];
        let line: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        writer.push(&line)?;
    }
    writer.finish()
}

/// Why a deletion is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The bound is reached.
    #[error("too many deletions are waiting for their messages to leave the disk; try later")]
    TooMany,
    /// The file cannot be written.
    #[error("writing the list of deletions: {0}")]
    Io(#[from] io::Error),
    /// The journal cannot write any more.
    #[error("the journal does not go on")]
    Stopped,
}

impl Shared {
    /// Changes the deletions: durable when it returns.
    pub(super) fn change_deletions(
        &self,
        change: &mut dyn FnMut(&mut ByDevice) -> Result<(), DeleteError>,
    ) -> Result<(), DeleteError> {
        if self.failure.get().is_some() {
            return Err(DeleteError::Stopped);
        }
        let _one = lock(&self.deletions.changing);
        let before = self.deletions.now.load_full();
        let mut now = ByDevice::clone(&before);
        change(&mut now)?;
        now.retain(|_, all| !all.is_empty());
        if now != *before {
            write(self.files.as_ref(), &self.dir, &now)?;
            self.deletions.now.store(Arc::new(now));
        }
        Ok(())
    }

    /// Adds deletions; those that they make needless go.
    pub(super) fn delete_all(&self, more: &[Deletion]) -> Result<(), DeleteError> {
        self.change_deletions(&mut |now| {
            let mut count: usize = now.values().map(Vec::len).sum();
            for new in more {
                let all = now.entry(new.device).or_default();
                let before = all.len();
                all.retain(|old| {
                    let within = new.up_to >= old.up_to
                        && new.from_ms <= old.from_ms
                        && new.to_ms >= old.to_ms;
                    // what presses more ends by being done
                    !within || old.kind.presses_more_than(new.kind)
                });
                count -= before - all.len();
                if all.len() >= OF_DEVICE_MAX || count >= DELETIONS_MAX {
                    return Err(DeleteError::TooMany);
                }
                all.push(*new);
                count += 1;
            }
            Ok(())
        })
    }

    /// Forgets the deletions of which nothing is left: everything that they are about is settled,
    /// and they are not among those that archives still have something of.
    pub(super) fn forget_deletions(
        &self,
        of: &Hidden,
        settled: u64,
        left: &BTreeSet<Deletion>,
    ) -> io::Result<()> {
        let is_done = |one: &Deletion| {
            one.kind != DeletionKind::Erased && one.up_to <= settled && !left.contains(one)
        };
        let done: BTreeSet<Deletion> = of.all().filter(|one| is_done(one)).copied().collect();
        if done.is_empty() {
            return Ok(());
        }
        self.change_deletions(&mut |now| {
            for all in now.values_mut() {
                all.retain(|one| !done.contains(one));
            }
            Ok(())
        })
        .map_err(io::Error::other)
    }
}

impl Journal {
    /// Deletes a device's messages that are there now, by its own time (ms), both ends included:
    /// nobody reads or counts them any more when this returns, durably. Says up to which entry. Blocks
    /// on the disk.
    pub fn delete_messages(
        &self,
        device: DeviceId,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<u64, DeleteError> {
        let shared = &self.inner.shared;
        // what is durable is there; the numbers behind it may be those of other messages after a crash
        let up_to = self.durable().sequence();
        shared.delete_all(&[Deletion {
            device,
            up_to,
            from_ms,
            to_ms,
            at_us: shared.clock.now_us(),
            kind: DeletionKind::Deleted,
            telemetry_forgotten: false,
        }])?;
        // what is deleted is to be counted and written out soon
        shared.count_soon();
        Ok(up_to)
    }

    /// The deletions that are not done, in the order of the devices.
    pub fn deletions(&self) -> Vec<Deletion> {
        self.inner
            .shared
            .deletions
            .hidden()
            .all()
            .copied()
            .collect()
    }
}
