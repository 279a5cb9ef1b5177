//! Erasure for good: the journal's segments and the archives are written without a device.
//!
//! What the messages of the device cost was charged, so entries and numbers stay where they are
//! and every counter and audit balances as before: in a segment the device's parts of frames, its
//! fragments, logins and addresses are overwritten, each entry as long as it was. So the places in
//! a segment, its epoch and every position stay too, and a reader that is at it reads on. The
//! archives are rewritten without the device.
//!
//! From the moment it is asked for nobody reads the messages ([`super::deleted`]). The settler does the
//! rest: until it is done the request stays in the list of deletions, so that a crash anywhere only
//! makes it begin again. What came behind the request stays.
//!
//! # Order on disk
//!
//! 1. All up to the request durable; the list of deletions, durable; an entry of the journal that says
//!    that it begins, with which a new segment begins.
//! 2. Telemetry forgets the device; a snapshot of it, durable.
//! 3. What others keep of it, raw traffic, goes ([`Lifetimes::erase_elsewhere`]).
//! 4. Each segment that has something of it: its sidecar goes; temporary name, fdatasync, rename,
//!    folder. The sidecar is made again. Its header counts how often it was written, so that a
//!    backup copies it anew.
//! 5. Archives that have something of it are rewritten, as [`super::rewrite`] does it.
//! 6. The certificate: an entry of the journal that says what was erased, durable.
//! 7. The list of deletions without it.

use super::deleted::{DeleteError, Deletion, DeletionKind};
use super::entry::{Note, What};
use super::overwrite::erase_device;
use super::retention::Lifetimes;
use super::settle::{Pace, SettleError};
use super::{Batch, Journal, Shared, index, lock, room_of, stats};
use crate::ids::{DeviceId, Position};
use crate::segment::{self, Segment, files};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long an erasure waits for what is on its way to the disk.
const DURABLE_WAIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

impl Shared {
    /// Erases what was asked for and can be erased now.
    pub(super) fn erase_all(
        &self,
        lifetimes: &dyn Lifetimes,
        pace: &mut Pace<'_>,
    ) -> Result<(), SettleError> {
        let segments = self.catalog.segments();
        let open = segments.iter().find(|segment| !segment.is_sealed());
        let sealed = open.map_or(u64::MAX, |segment| segment.first());
        let hidden = self.deletions.hidden();
        let mut erased = hidden.all().filter(|one| one.kind == DeletionKind::Erased);
        if erased.any(|one| one.up_to >= sealed) {
            // a crash was before its segment ended
            self.rotate.store(true, Ordering::Release);
        }
        let due: BTreeMap<DeviceId, Deletion> = hidden
            .all()
            .filter(|one| one.kind == DeletionKind::Erased)
            .filter(|one| one.telemetry_forgotten && one.up_to < sealed)
            .map(|one| (one.device, *one))
            .collect();
        let Some(last) = due.values().map(|one| one.up_to).max() else {
            return Ok(());
        };
        for one in due.values() {
            lifetimes
                .erase_elsewhere(one.device, one.at_us)
                .map_err(SettleError::of(&self.dir))?;
        }
        let mut in_segments = 0;
        for segment in segments.iter().filter(|segment| segment.first() <= last) {
            in_segments += u32::from(self.erase_in(segment, &due)?);
            pace.breathe()?;
        }
        let mut in_archives = 0;
        for archive in &self.archives.view().archives {
            let mut has = false;
            for one in due.values() {
                let row = self.archives.row(archive, one.device);
                let row = row.map_err(SettleError::of(archive.path()))?;
                has |= row.is_some_and(|row| row.totals.sequence.0 <= one.up_to);
            }
            if has {
                self.rewrite_worn(Arc::clone(archive), lifetimes, pace)?;
                in_archives += 1;
            }
            pace.breathe()?;
        }
        for one in due.values() {
            self.certify(one, in_segments, in_archives)?;
        }
        stats::add(&self.stats.erased, due.len() as u64);
        self.change_deletions(&mut |now| {
            for (device, all) in now.iter_mut() {
                all.retain(|one| due.get(device) != Some(one));
            }
            Ok(())
        })
        .map_err(io::Error::other)
        .map_err(SettleError::of(&self.dir))
    }

    /// Step 4 for one segment; was there something?
    fn erase_in(
        &self,
        segment: &Segment,
        due: &BTreeMap<DeviceId, Deletion>,
    ) -> Result<bool, SettleError> {
        let files = self.files.as_ref();
        let rewritten =
            segment::rewritten(files, segment.path(), &mut |sequence, kind, content| {
                let is_due = |id| due.get(&id).is_some_and(|one| sequence <= one.up_to);
                erase_device(kind, content, &is_due)
            });
        let rewritten = match rewritten {
            // it went by its age meanwhile
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            rewritten => rewritten.map_err(SettleError::of(segment.path()))?,
        };
        let Some(bytes) = rewritten else {
            return Ok(false);
        };
        self.check_room(bytes.len() as u64)?;
        // nobody takes it away, copies it or indexes it meanwhile
        let _alone = lock(&self.retaining);
        let _index = lock(&self.indexes.keeping);
        let segments = self.catalog.segments();
        if !segments.iter().any(|one| one.first() == segment.first()) {
            return Ok(false);
        }
        let forget_index = || {
            let mut state = lock(&self.indexes.state);
            state.sidecars.remove(&segment.first());
            state.memory.remove(&segment.first());
        };
        forget_index();
        match self.files.unlink(&index::path_of(segment)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(SettleError::of(segment.path())(error));
            }
            _ => {}
        }
        // of two names of a folder the later one may reach the disk alone: the sidecar would count
        // what is not in the segment any more
        let failed = SettleError::of(&self.dir);
        self.files.sync_dir(&self.dir).map_err(failed)?;
        let name = segment
            .path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        files::replace(files, &self.dir, &name, &bytes).map_err(SettleError::of(segment.path()))?;
        // a reader may have made one from what it was
        forget_index();
        Ok(true)
    }

    /// Step 6.
    fn certify(&self, one: &Deletion, segments: u32, archives: u32) -> Result<(), SettleError> {
        let note = Note::Deleted {
            at_us: self.clock.now_us(),
            device: one.device,
            up_to: one.up_to,
            from_ms: one.from_ms,
            to_ms: one.to_ms,
            what: What::Erased { segments, archives },
        };
        let mut batch = Batch::new();
        note.write(&mut batch);
        loop {
            if let Ok(permit) = Arc::clone(&self.room).try_acquire_many_owned(room_of(batch.len()))
                && !self.is_stalled()
            {
                let last = self.take(super::Permit { permit }, &mut batch, true);
                while self.watermark.borrow().durable < last {
                    if self.settler_waits(PAUSE) || self.failure.get().is_some() {
                        return Err(SettleError::Stopped);
                    }
                }
                return Ok(());
            }
            if self.settler_waits(PAUSE) || self.failure.get().is_some() {
                return Err(SettleError::Stopped);
            }
        }
    }
}

impl Journal {
    /// Erases everything that is there now of a device, for good. When this returns nobody reads it
    /// any more, durably; it has left the disk when [`Journal::erasing`] does not name it any more.
    /// Blocks on the disk. Whoever keeps telemetry is asked for by [`Journal::erasing`].
    pub fn erase(&self, device: DeviceId) -> Result<(), DeleteError> {
        let shared = &self.inner.shared;
        let durable = |position: Position| -> Result<(), DeleteError> {
            let until = Instant::now() + DURABLE_WAIT;
            while self.durable() < position {
                if self.failed().is_some() || Instant::now() > until {
                    return Err(DeleteError::Stopped);
                }
                std::thread::sleep(PAUSE);
            }
            Ok(())
        };
        let last = self.appended();
        // before it is in the list: a crash would give its numbers to others
        durable(last)?;
        let one = Deletion {
            device,
            up_to: last.sequence(),
            from_ms: i64::MIN,
            to_ms: i64::MAX,
            at_us: shared.clock.now_us(),
            kind: DeletionKind::Erased,
            telemetry_forgotten: false,
        };
        shared.delete_all(&[one])?;
        // all of it is in segments that end here
        shared.rotate.store(true, Ordering::Release);
        let mut batch = Batch::new();
        Note::Deleted {
            at_us: one.at_us,
            device,
            up_to: one.up_to,
            from_ms: one.from_ms,
            to_ms: one.to_ms,
            what: What::Erasing,
        }
        .write(&mut batch);
        let until = Instant::now() + DURABLE_WAIT;
        let permit = loop {
            match self.try_permit(batch.len()) {
                Some(permit) => break permit,
                None if Instant::now() > until => return Err(DeleteError::Stopped),
                None => std::thread::sleep(PAUSE),
            }
        };
        let begun = self.append(permit, &mut batch);
        durable(begun)?;
        shared.count_soon();
        shared.ask_settler();
        Ok(())
    }

    /// The erasures that are not done, each with whether telemetry has forgotten the device.
    pub fn erasing(&self) -> Vec<Deletion> {
        let mut all = self.deletions();
        all.retain(|one| one.kind == DeletionKind::Erased);
        all
    }

    /// Telemetry has forgotten what this erasure is about, durably.
    pub fn telemetry_forgot(&self, erased: &Deletion) -> Result<(), DeleteError> {
        let shared = &self.inner.shared;
        shared.change_deletions(&mut |now| {
            let all = now.get_mut(&erased.device).into_iter().flatten();
            for one in all.filter(|one| **one == *erased) {
                one.telemetry_forgotten = true;
            }
            Ok(())
        })?;
        shared.ask_settler();
        Ok(())
    }
}
