//! Two of the threads: the writer (group commit, posting, watermark) and the keeper (checkpoints and
//! whatever else may take its time). The third is the settler, see [`super::settle`].

use super::entry::EntryRef;
use super::fold::Fold;
use super::ledger::{BlockedUntil, Checkpoint, Ledger, LedgerError};
use super::options::LOOK_MS;
use super::statistics::{FORGET_MS, Period};
use super::{Failure, Shared, Watermark, lock, note_block, stats};
use crate::archive::day_of;
use crate::ids::Position;
use crate::segment::{AppendError, Batch, Place, SegmentLog};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Memory of a buffer that is kept behind a burst.
const BUFFER_BYTES_KEPT: usize = 1024 * 1024;

#[derive(Default)]
pub(super) struct KeeperState {
    pub(super) closing: bool,
    /// Storage is to be counted without waiting for its time.
    pub(super) count: bool,
}

/// The threads of a journal.
pub(super) struct Threads {
    pub(super) writer: JoinHandle<()>,
    pub(super) keeper: JoinHandle<()>,
    pub(super) settler: JoinHandle<()>,
}

/// Starts them.
pub(super) fn start(shared: &Arc<Shared>, log: SegmentLog) -> io::Result<Threads> {
    let keeper = {
        let shared = Arc::clone(shared);
        thread::Builder::new()
            .name("journal-keeper".to_owned())
            .spawn(move || shared.keep())?
    };
    let settler = {
        let shared = Arc::clone(shared);
        thread::Builder::new()
            .name("journal-settler".to_owned())
            .spawn(move || shared.settle())?
    };
    let writer = {
        let shared = Arc::clone(shared);
        let day = day_of(lock(&shared.unsaved).at_us);
        thread::Builder::new()
            .name("journal-writer".to_owned())
            .spawn(move || {
                Writer {
                    shared,
                    log,
                    fold: Fold::new(),
                    spare_tried: None,
                    day,
                }
                .run();
            })?
    };
    Ok(Threads {
        writer,
        keeper,
        settler,
    })
}

struct Writer {
    shared: Arc<Shared>,
    log: SegmentLog,
    fold: Fold,
    spare_tried: Option<Instant>,
    /// The day of the segment in use.
    day: i32,
}

impl Writer {
    fn run(mut self) {
        let _guard = Ended(Arc::clone(&self.shared));
        let mut batch = Batch::new();
        while let Some(room) = self.next_batch(&mut batch) {
            let begun = Instant::now();
            self.shared.pulse.beat();
            if batch.is_empty() {
                if let Err((what, error)) = self.end_day() {
                    self.fail(what, error);
                    return;
                }
                self.shared.pulse.rest();
                continue;
            }
            let place = match self.write(&mut batch) {
                Ok(Some(place)) => place,
                Ok(None) => return,
                Err((what, error)) => {
                    self.fail(what, error);
                    return;
                }
            };
            self.count(&batch, &place, begun.elapsed());
            self.post(&batch);
            batch.clear();
            batch.shrink_to(BUFFER_BYTES_KEPT);
            self.shared.room.add_permits(room);
            self.keep_spare();
            self.shared.pulse.rest();
        }
    }

    /// Waits until it is told of entries and takes all there are, none if a day is over; `None` at
    /// the end.
    fn next_batch(&self, batch: &mut Batch) -> Option<usize> {
        let shared = &self.shared;
        let mut queue = lock(&shared.queue);
        while !queue.told {
            if queue.closing {
                if queue.batch.is_empty() {
                    return None;
                }
                break;
            }
            if shared.day_over.load(Ordering::Acquire) {
                break;
            }
            queue.idle = true;
            queue = shared
                .wake_writer
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.idle = false;
        queue.told = false;
        std::mem::swap(&mut queue.batch, batch);
        Some(std::mem::take(&mut queue.room))
    }

    /// Writes the batch, waiting for space if it has to; `None`: shut down while there was none.
    fn write(&mut self, batch: &mut Batch) -> Result<Option<Place>, (&'static str, io::Error)> {
        loop {
            match self.rotate(batch).and_then(|()| self.log.append(batch)) {
                Ok(place) => {
                    if self.shared.stalled.swap(false, Ordering::AcqRel) {
                        tracing::warn!("there is room for the journal again");
                        self.shared.unstalled.notify_waiters();
                    }
                    return Ok(Some(place));
                }
                Err(AppendError::NoSpace(error)) => {
                    if !self.shared.stalled.swap(true, Ordering::AcqRel) {
                        stats::add(&self.shared.stats.stalls, 1);
                        tracing::error!(%error, "no space or no open file for the journal; nothing is acked");
                    }
                }
                Err(AppendError::Failed { what, error }) => return Err((what, error)),
            }
            let queue = lock(&self.shared.queue);
            if queue.closing {
                return Ok(None);
            }
            drop(
                self.shared
                    .wake_writer
                    .wait_timeout(queue, self.shared.options.retry)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }

    /// A segment ends with its day, so that days are settled one by one; and when it is asked for.
    fn rotate(&mut self, batch: &Batch) -> Result<(), AppendError> {
        let first = batch.contents().next();
        let entry =
            first.and_then(|(kind, version, content)| EntryRef::read(kind, version, content));
        let day = entry.map_or(self.day, |entry| day_of(entry.at_us()));
        let asked = self.shared.rotate.swap(false, Ordering::AcqRel);
        if day > self.day || asked {
            self.log.rotate()?;
            self.day = self.day.max(day);
            self.shared.wake_keeper.notify_one();
        }
        Ok(())
    }

    /// Ends the segment of a day that is over, though nothing comes: what has been asked for by
    /// [`Shared::tell_day`] is done.
    fn end_day(&mut self) -> Result<(), (&'static str, io::Error)> {
        self.shared.day_over.store(false, Ordering::Release);
        let today = day_of(self.shared.clock.now_us());
        if today <= self.day {
            return Ok(());
        }
        match self.log.rotate() {
            Ok(()) => {
                self.day = today;
                self.shared.wake_keeper.notify_one();
                self.shared.ask_settler();
                Ok(())
            }
            Err(AppendError::Failed { what, error }) => Err((what, error)),
            // the next batch ends it
            Err(AppendError::NoSpace(error)) => {
                tracing::warn!(%error, "the segment of a day that is over is not ended yet");
                Ok(())
            }
        }
    }

    /// Step 2 of the order on disk: counters, then the watermark.
    fn post(&mut self, batch: &Batch) {
        let shared = &self.shared;
        let mut newest_us = i64::MIN;
        let mut blocks = false;
        for (kind, version, content) in batch.contents() {
            if let Some(entry) = EntryRef::read(kind, version, content) {
                newest_us = newest_us.max(entry.at_us());
                blocks |= matches!(entry, EntryRef::Blocked { .. });
                self.fold.add(&entry);
            }
        }
        let durable = Position::new(shared.options.node, self.log.next() - 1);
        let deltas = self.fold.take(&shared.tree);
        let unknown = std::mem::take(&mut self.fold.unknown);
        if unknown > 0 {
            stats::add(&shared.stats.unknown_accounts, unknown);
        }
        {
            let mut unsaved = lock(&shared.unsaved);
            {
                let _publishing = shared.tree.publishing();
                for ((minute, id), deltas) in deltas {
                    let Some(account) = shared.tree.account(id) else {
                        continue;
                    };
                    account.post(&deltas);
                    unsaved.accounts.insert(id, account.posted());
                    unsaved.statistics.add(minute, id, deltas);
                }
            }
            if blocks {
                for (kind, version, content) in batch.contents() {
                    if let Some(entry) = EntryRef::read(kind, version, content) {
                        note_block(&mut unsaved, &entry);
                    }
                }
            }
            unsaved.at_us = unsaved.at_us.max(newest_us);
            unsaved.watermark = durable;
            unsaved.changed = true;
        }
        shared.watermark.send_replace(Watermark {
            durable,
            failed: false,
        });
    }

    fn count(&self, batch: &Batch, place: &Place, took: Duration) {
        let stats = &self.shared.stats;
        stats::add(&stats.entries, u64::from(batch.count()));
        stats::add(&stats.bytes, batch.len() as u64);
        stats::add(&stats.segments, u64::from(place.rotated));
        stats.group_entries.record(u64::from(batch.count()));
        stats.group_bytes.record(batch.len() as u64);
        stats.commit_us.record(us(took));
        if place.rotated {
            self.shared.wake_keeper.notify_one();
        }
    }

    fn keep_spare(&mut self) {
        let due = self
            .spare_tried
            .is_none_or(|at| at.elapsed() >= self.shared.options.retry);
        if !self.log.has_spare() && due {
            self.spare_tried = Some(Instant::now());
            if let Err(error) = self.log.keep_spare() {
                tracing::warn!(%error, "no space for a spare segment of the journal");
            }
        }
    }

    fn fail(&self, what: &'static str, error: io::Error) {
        self.shared.fail(what, error);
    }
}

/// Nobody waits for ever for a writer that is gone; a bug in it ends acking as a bad disk does.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0
                .fail("the writer", io::Error::other("stopped by a bug"));
        }
        self.0.ended.store(true, Ordering::Release);
        // the same value again: who waits looks once more
        self.0.watermark.send_modify(|_| {});
    }
}

impl Shared {
    /// Tells the writer once that a day has begun: with traffic it sees that itself, without it
    /// yesterday would neither be settled nor go.
    pub(super) fn tell_day(&self) {
        let today = day_of(self.clock.now_us());
        if self.day_told.fetch_max(today, Ordering::AcqRel) < today {
            // under the lock: it may be about to wait
            let queue = lock(&self.queue);
            self.day_over.store(true, Ordering::Release);
            drop(queue);
            self.wake_writer.notify_one();
        }
    }

    fn fail(&self, what: &'static str, error: io::Error) {
        tracing::error!(%error, what, "the journal failed; nothing is acked any more");
        let failure = Failure {
            what,
            error,
            at_us: self.clock.now_us(),
        };
        // the writer alone fails, and once
        drop(self.failure.set(Arc::new(failure)));
        self.room.close();
        self.unstalled.notify_waiters();
        self.watermark
            .send_modify(|watermark| watermark.failed = true);
    }

    /// The keeper's life.
    fn keep(&self) {
        let mut statistics_at = Instant::now();
        let mut checkpointed_at = Instant::now();
        let look = self.options.checkpoint.min(Duration::from_millis(LOOK_MS));
        let mut forgot_at: Option<Instant> = None;
        let mut retained_at = Instant::now();
        let mut counted_at: Option<Instant> = None;
        loop {
            let (closing, count) = {
                let mut state = lock(&self.keeper);
                if !state.closing {
                    (state, _) = self
                        .wake_keeper
                        .wait_timeout(state, look)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                (state.closing, std::mem::take(&mut state.count))
            };
            if count {
                counted_at = None;
            }
            let with_statistics =
                closing || statistics_at.elapsed() >= self.options.statistics_flush;
            if with_statistics {
                statistics_at = Instant::now();
            }
            let due = with_statistics || checkpointed_at.elapsed() >= self.options.checkpoint;
            // behind a failed write the disk is left alone; the start folds what is missing
            if due && self.failure.get().is_none() {
                checkpointed_at = Instant::now();
                if let Err(error) = self.checkpoint(with_statistics) {
                    tracing::error!(%error, "the checkpoint failed; it is tried again");
                }
            }
            if with_statistics && self.failure.get().is_none() && self.lifetimes.get().is_some() {
                self.keep_levels();
            }
            if closing {
                return;
            }
            self.keep_indexes();
            self.watch_space();
            if self.lifetimes.get().is_some()
                && counted_at.is_none_or(|at| at.elapsed() >= self.options.storage)
            {
                counted_at = Some(Instant::now());
                if let Err(error) = self.count_storage() {
                    tracing::warn!(%error, "storage is not counted");
                }
            }
            if retained_at.elapsed() >= self.options.retention && self.failure.get().is_none() {
                retained_at = Instant::now();
                if let Err(error) = self.retain() {
                    tracing::error!(%error, "the oldest segment stays");
                }
            }
            let forget = Duration::from_millis(FORGET_MS);
            if forgot_at.is_none_or(|at| at.elapsed() >= forget) {
                forgot_at = Some(Instant::now());
                self.forget_statistics();
            }
        }
    }

    /// Storage has changed by more than what comes and goes.
    pub(super) fn count_soon(&self) {
        lock(&self.keeper).count = true;
        self.wake_keeper.notify_one();
    }

    /// Stops admission while there is less free space than is stated: what is appended then would
    /// take the space that checkpoints need.
    fn watch_space(&self) {
        let free = match self.files.free_space(&self.dir) {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(%error, "the free space is unknown");
                return;
            }
        };
        let short = free < self.options.free_bytes_min;
        if self.short_of_space.swap(short, Ordering::AcqRel) != short {
            if short {
                stats::add(&self.stats.stalls, 1);
                tracing::error!(free, "too little free space; nothing is admitted");
            } else {
                tracing::warn!(free, "there is free space again");
                self.unstalled.notify_waiters();
            }
        }
    }

    /// What there is now goes into the statistics.
    fn keep_levels(&self) {
        let mut levels = lock(&self.levels);
        levels.look(&self.tree, self.clock.now_us().div_euclid(1_000_000));
        let mut ledger = lock(&self.ledger);
        if let Err(error) = levels.save(&self.tree, ledger.as_mut()) {
            tracing::warn!(%error, "storage and items did not go into the statistics");
        }
    }

    /// Forgets the rows that are older than their period is kept.
    fn forget_statistics(&self) {
        let now_s = self.clock.now_us().div_euclid(1_000_000);
        for period in Period::ALL {
            let Some(kept_s) = period.kept_s() else {
                continue;
            };
            let before_s = period.start_s(now_s.saturating_sub(kept_s));
            if let Err(error) = lock(&self.ledger).forget_statistics(period, before_s) {
                tracing::warn!(%error, "old statistics could not be forgotten");
            }
        }
    }

    /// Rows are added, so none may be stored twice; and a transaction may have come about though
    /// making it durable failed. The ledger is asked, before it is read or written again.
    pub(super) fn end_doubt(&self, ledger: &mut dyn Ledger) -> Result<(), LedgerError> {
        if lock(&self.unsaved).in_doubt.is_none() {
            return Ok(());
        }
        let has = ledger.load()?.unwrap_or_default().statistics_watermark;
        let mut unsaved = lock(&self.unsaved);
        if let Some((watermark, rows)) = unsaved.in_doubt.take() {
            if has == watermark {
                unsaved.statistics_saved = watermark;
            } else {
                unsaved.statistics.put_back(rows);
            }
        }
        Ok(())
    }

    /// Step 4 of the order on disk.
    pub(super) fn checkpoint(&self, with_statistics: bool) -> Result<Position, LedgerError> {
        // the ledger is taken first and kept: what is in neither of the two is seen by nobody
        let mut ledger = lock(&self.ledger);
        let begun = Instant::now();
        self.end_doubt(ledger.as_mut())?;
        let mut unsaved = lock(&self.unsaved);
        let watermark = unsaved.watermark;
        if !unsaved.changed && (!with_statistics || unsaved.statistics.is_empty()) {
            return Ok(watermark);
        }
        unsaved.changed = false;
        let now_us = self.clock.now_us();
        unsaved.blocked.retain(|_, until_us| *until_us > now_us);
        let mut accounts: Vec<_> = std::mem::take(&mut unsaved.accounts).into_iter().collect();
        let saved_before = unsaved.statistics_saved;
        let statistics = with_statistics.then(|| {
            unsaved.statistics_saved = watermark;
            unsaved.statistics.take()
        });
        let mut checkpoint = Checkpoint {
            watermark,
            at_us: unsaved.at_us,
            accounts: Vec::new(),
            blocked: unsaved
                .blocked
                .iter()
                .map(|(&(account, dimension), &until_us)| BlockedUntil {
                    account,
                    dimension,
                    until_us,
                })
                .collect(),
            statistics_watermark: unsaved.statistics_saved,
            statistics: Vec::new(),
        };
        drop(unsaved);
        accounts.sort_unstable_by_key(|(id, _)| *id);
        checkpoint.accounts = accounts;
        checkpoint.statistics = statistics
            .as_ref()
            .map(super::statistics::Unsaved::rows)
            .unwrap_or_default();
        let stored = ledger.store(&checkpoint);
        self.stats.checkpoint_us.record(us(begun.elapsed()));
        if let Err(error) = stored {
            stats::add(&self.stats.checkpoint_errors, 1);
            let mut unsaved = lock(&self.unsaved);
            for (id, totals) in checkpoint.accounts {
                unsaved.accounts.entry(id).or_insert(totals);
            }
            unsaved.changed = true;
            if let Some(statistics) = statistics {
                unsaved.statistics_saved = saved_before;
                unsaved.in_doubt = Some((watermark, statistics));
            }
            drop(unsaved);
            if let Err(error) = self.end_doubt(ledger.as_mut()) {
                tracing::error!(%error, "the ledger does not say what it has; it is asked again");
            }
            return Err(error);
        }
        stats::add(&self.stats.checkpoints, 1);
        self.saved.store(watermark.raw(), Ordering::Release);
        let statistics = checkpoint.statistics_watermark.raw();
        self.statistics_durable.store(statistics, Ordering::Release);
        Ok(watermark)
    }
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
