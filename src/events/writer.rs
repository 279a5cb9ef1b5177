//! The queue of events and the thread that writes them, and lets go of the old ones.

use super::code::Code;
use super::event::Event;
use crate::ids::Clock;
use crate::metrics::{Metrics, names};
use crate::segment::{AppendError, Batch, Files, Segment, SegmentLog};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The most events that wait for the writer; what comes on top is lost and counted.
pub const QUEUED_MAX: usize = 16 * 1024;
/// What is kept on disk at most.
pub const KEPT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long it is kept at most, in us: 30 days.
pub const KEPT_US_MAX: i64 = 30 * 86_400 * 1_000_000;

/// What comes within this time is written by one sync.
const PACE: Duration = Duration::from_millis(100);
pub(super) const KIND: u8 = 1;
const VERSION: u8 = 1;
/// How long a reader waits for what was logged before.
const FLUSH_WAIT: Duration = Duration::from_secs(2);
/// So many readers wait at once; the next ones read what there is.
const READERS_MAX: usize = 64;
/// What the queue's memory shrinks to behind a flood.
const BATCH_BYTES_KEPT: usize = 64 * 1024;
/// A full disk is told of at most so often.
const NO_SPACE_TOLD: Duration = Duration::from_mins(1);

/// What waits for the writer.
#[derive(Default)]
struct Queued {
    batch: Batch,
    /// How many of each code.
    codes: BTreeMap<u16, u64>,
    /// They wait for what was told before.
    readers: Vec<SyncSender<()>>,
    /// The writer ends when it has written what there is.
    closed: bool,
}

impl Queued {
    fn is_full(&self) -> bool {
        self.batch.count() as usize >= QUEUED_MAX
    }
}

#[derive(Default)]
pub(super) struct Queue {
    queued: Mutex<Queued>,
    told: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Queued> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an event at the end. Says whether there was room.
    pub(super) fn push(&self, code: Code, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut queued = self.lock();
        if queued.closed || queued.is_full() {
            return false;
        }
        queued.batch.push(KIND, VERSION, write);
        *queued.codes.entry(code.number()).or_default() += 1;
        // the writer waits for the first one, then for its time: the others wake nobody
        let wakes = queued.batch.count() == 1 || queued.is_full();
        drop(queued);
        if wakes {
            self.told.notify_one();
        }
        true
    }

    /// Waits until everything up to now is written, for a while. Says whether it may be read now.
    pub(super) fn flush(&self) -> bool {
        let (tell, told) = sync_channel(1);
        let mut queued = self.lock();
        if queued.closed || queued.readers.len() >= READERS_MAX {
            return true;
        }
        queued.readers.push(tell);
        drop(queued);
        self.told.notify_one();
        told.recv_timeout(FLUSH_WAIT).is_ok()
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.told.notify_one();
    }

    /// Takes into `batch` and `codes`, which are empty, what comes within the pace, as far as the queue
    /// is long, or until somebody waits for it: who that is. `None`: it is closed and empty.
    fn gather(
        &self,
        batch: &mut Batch,
        codes: &mut BTreeMap<u16, u64>,
    ) -> Option<Vec<SyncSender<()>>> {
        let nothing = |queued: &mut Queued| {
            !queued.closed && queued.batch.is_empty() && queued.readers.is_empty()
        };
        let queued = self.told.wait_while(self.lock(), nothing);
        let queued = queued.unwrap_or_else(PoisonError::into_inner);
        let more =
            |queued: &mut Queued| !queued.closed && !queued.is_full() && queued.readers.is_empty();
        let queued = self.told.wait_timeout_while(queued, PACE, more);
        let (mut queued, _) = queued.unwrap_or_else(PoisonError::into_inner);
        if queued.batch.is_empty() && queued.readers.is_empty() {
            return None;
        }
        std::mem::swap(&mut queued.batch, batch);
        std::mem::swap(&mut queued.codes, codes);
        Some(std::mem::take(&mut queued.readers))
    }
}

/// What became of events.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) lost: AtomicU64,
    /// Events that were taken and are neither on the disk nor lost.
    pub(super) waiting: AtomicU64,
    pub(super) metrics: OnceLock<Arc<Metrics>>,
}

impl Counts {
    pub(super) fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
        if let Some(metrics) = self.metrics.get() {
            metrics.counter(&names::EVENTS_LOST, &[]).increment(count);
        }
    }

    fn write(&self, codes: &BTreeMap<u16, u64>) {
        for (code, count) in codes {
            if let Some(metrics) = self.metrics.get() {
                let counter = metrics.counter(&names::EVENTS_LOGGED, &[&code.to_string()]);
                counter.increment(*count);
            }
        }
    }
}

pub(super) struct Writer {
    pub(super) log: SegmentLog,
    pub(super) queue: Arc<Queue>,
    pub(super) counts: Arc<Counts>,
    pub(super) files: Arc<dyn Files>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) no_space_told: Option<Instant>,
}

impl Writer {
    pub(super) fn run(mut self) {
        let mut batch = Batch::new();
        let mut codes = BTreeMap::new();
        let mut failed = false;
        while let Some(readers) = self.queue.gather(&mut batch, &mut codes) {
            let count = u64::from(batch.count());
            if count > 0 {
                let written = !failed && self.append(&mut batch, &mut failed);
                if written {
                    self.counts.write(&codes);
                } else {
                    self.counts.lose(count);
                }
                batch.clear();
                batch.shrink_to(BATCH_BYTES_KEPT);
                codes.clear();
                self.counts.waiting.fetch_sub(count, Ordering::Release);
            }
            for reader in readers {
                // who waited too long has left
                _ = reader.try_send(());
            }
        }
    }

    /// Writes a batch; says whether it is written. `failed`: nothing can be any more.
    fn append(&mut self, batch: &mut Batch, failed: &mut bool) -> bool {
        match self.log.append(batch) {
            Ok(place) => {
                if place.rotated {
                    self.forget();
                }
                if self.no_space_told.take().is_some() {
                    tracing::warn!("the event log is written again");
                }
                return true;
            }
            Err(error @ AppendError::NoSpace(_)) => {
                let told = self.no_space_told;
                if told.is_none_or(|told| told.elapsed() >= NO_SPACE_TOLD) {
                    self.no_space_told = Some(Instant::now());
                    tracing::error!(%error, "events are lost until there is space for their log");
                }
                self.forget();
            }
            Err(error) => {
                *failed = true;
                tracing::error!(%error, "the event log is lost until the next start");
            }
        }
        false
    }

    /// Drops the segments that are too old or too many.
    fn forget(&mut self) {
        let segments = self.log.catalog().segments();
        let now_us = self.clock.now_us();
        let mut bytes: u64 = segments.iter().map(|segment| segment.end()).sum();
        for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
            let newest_us = first_time(next, self.files.as_ref()).unwrap_or(now_us);
            if bytes <= KEPT_BYTES_MAX && now_us - newest_us <= KEPT_US_MAX {
                return;
            }
            bytes -= segment.end();
            if let Err(error) = self.log.remove_oldest() {
                tracing::warn!(%error, "an old segment of the event log stays");
                return;
            }
        }
    }
}

/// The time of a segment's first event: what is before it is not newer.
fn first_time(segment: &Segment, files: &dyn Files) -> Option<i64> {
    let mut entries = segment.entries(files, 0).ok()?;
    let (_, entry) = entries.next().ok()??;
    Event::read(entry.content).map(|event| event.at_us)
}
