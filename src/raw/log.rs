//! The queue, the thread that writes, and what is kept for how long.

use super::erase::{self, Erased};
use super::packet::{self, Direction, Ended, Head, Label};
use crate::ids::{Clock, DeviceId, WriterThread};
use crate::metrics::{Counter, Gauge, Metrics, names};
use crate::segment::{AppendError, Batch, Catalog, Files, Segment, SegmentLog};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most bytes that wait for the writer.
pub const QUEUED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// So often at least what waits is written.
pub const PACE: Duration = Duration::from_millis(500);
/// No new segment is begun where the file system would be left with less.
pub const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;

/// So much is written without waiting for the pace.
const WRITTEN_AT_ONCE_BYTES: usize = 1024 * 1024;
/// Written memory that is kept for the next batch.
const BATCH_BYTES_KEPT: usize = 2 * 1024 * 1024;
const SEGMENT_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// How long a reader waits for what is queued.
const FLUSH_WAIT: Duration = Duration::from_secs(2);
/// A full disk is told of at most so often.
const NO_SPACE_TOLD: Duration = Duration::from_mins(1);

/// What is kept, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes on disk at most; 0: nothing is kept.
    pub budget_bytes: u64,
    /// How long, in us.
    pub keep_us: i64,
    /// Of every channel, whether it asks for it or not.
    pub always: bool,
    /// The number of this node.
    pub node: u16,
}

/// What is to be erased, and whom to tell.
type ToErase = (Erased, SyncSender<io::Result<u32>>);

/// What the writer is told, and what waits for it.
struct Queue {
    batch: Batch,
    /// Batches that were begun, the one that is filled now among them.
    begun: u64,
    /// Batches that are on disk, or lost.
    done: u64,
    /// Somebody waits for what is in it.
    wanted: bool,
    closing: bool,
    /// Behind what is in the batch.
    to_erase: Vec<ToErase>,
}

struct Shared {
    queue: Mutex<Queue>,
    to_writer: Condvar,
    to_readers: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The raw traffic of a gateway: one, shared by reference count.
pub struct RawTraffic {
    shared: Arc<Shared>,
    pub(super) catalog: Catalog,
    pub(super) files: Arc<dyn Files>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: Options,
    dir: PathBuf,
    open: AtomicBool,
    /// Why nothing is kept though something should be.
    failed: Arc<Mutex<Option<String>>>,
    kept: Counter,
    lost: Counter,
    writer: WriterThread,
}

impl RawTraffic {
    /// Opens the folder `dir` and starts the writer. A folder that cannot be used costs the raw
    /// traffic, never the gateway: [`RawTraffic::failed`] says why.
    pub fn open(
        files: Arc<dyn Files>,
        dir: &Path,
        options: Options,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Self {
        let segment_bytes = (options.budget_bytes / 4).clamp(256 * 1024, SEGMENT_BYTES_MAX);
        let mut this = Self {
            shared: Arc::new(Shared {
                queue: Mutex::new(Queue {
                    batch: Batch::new(),
                    begun: 1,
                    done: 0,
                    wanted: false,
                    closing: false,
                    to_erase: Vec::new(),
                }),
                to_writer: Condvar::new(),
                to_readers: Condvar::new(),
            }),
            catalog: Catalog::default(),
            files: Arc::clone(&files),
            clock: Arc::clone(&clock),
            options,
            dir: dir.to_owned(),
            open: AtomicBool::new(false),
            failed: Arc::default(),
            kept: metrics.counter(&names::RAW_CHUNKS, &[]),
            lost: metrics.counter(&names::RAW_CHUNKS_LOST, &[]),
            writer: WriterThread::default(),
        };
        if options.budget_bytes == 0 {
            return this;
        }
        let log = SegmentLog::open(
            Arc::clone(&files),
            dir,
            crate::segment::Options {
                segment_bytes,
                node: options.node,
            },
        );
        let log = match log {
            Ok((log, opened)) => {
                opened.tell(dir);
                log
            }
            Err(error) => {
                let why = error.to_string();
                tracing::error!(error = %why, "no raw traffic is kept: move the folder away and start again");
                this.fail(why);
                return this;
            }
        };
        this.catalog = log.catalog().clone();
        let writer = Writer {
            log,
            dir: dir.to_owned(),
            shared: Arc::clone(&this.shared),
            files,
            clock,
            options,
            segment_bytes,
            failed: Arc::clone(&this.failed),
            lost: this.lost.clone(),
            bytes: metrics.gauge(&names::RAW_BYTES, &[]),
            no_space_told: None,
        };
        match WriterThread::start("raw", move || writer.run()) {
            Ok(thread) => {
                this.open = AtomicBool::new(true);
                this.writer = thread;
            }
            Err(error) => this.fail(error.to_string()),
        }
        this
    }

    fn fail(&self, why: String) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// May anything be kept? Asked for every read of every connection.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Is the traffic of every channel kept?
    pub const fn always(&self) -> bool {
        self.options.always
    }

    /// Why nothing is kept though something should be.
    pub fn failed(&self) -> Option<String> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.clone()
    }

    /// Keeps a chunk. Never waits for the disk: what finds no room is lost and counted.
    pub fn keep(&self, label: &Label<'_>, bytes: &[u8]) {
        self.keep_under(&Head::of(label), bytes);
    }

    /// The same, under a label that is written already.
    pub fn keep_under(&self, head: &Head, bytes: &[u8]) {
        let mut queue = self.shared.lock();
        let before = queue.batch.len();
        if queue.closing || before.saturating_add(bytes.len()) > QUEUED_BYTES_MAX {
            drop(queue);
            self.lost.increment(1);
            return;
        }
        queue.batch.push(packet::KIND, packet::VERSION, |out| {
            out.extend_from_slice(head.bytes());
            out.extend_from_slice(bytes);
        });
        let after = queue.batch.len();
        drop(queue);
        self.kept.increment(1);
        if before < WRITTEN_AT_ONCE_BYTES && after >= WRITTEN_AT_ONCE_BYTES {
            self.shared.to_writer.notify_one();
        }
    }

    /// Keeps the end of a connection.
    pub fn keep_end(&self, label: &Label<'_>, code: i16, how: Ended) {
        let label = Label {
            direction: Direction::Disconnect,
            ..*label
        };
        self.keep(&label, &packet::end_bytes(code, how));
    }

    /// Erases every chunk up to `up_to_us` of the connections on which the device has named itself,
    /// for good; the number of segments that were written anew or went. A folder that is not in use
    /// (nothing is to be kept, or it could not be opened) loses all its segments. What comes meanwhile
    /// and finds no room in the queue is lost. Blocks on the disk.
    pub fn erase(&self, device: DeviceId, up_to_us: i64) -> io::Result<u32> {
        let ended = || io::Error::other("the writer of raw traffic has ended");
        let (tell, told) = sync_channel(1);
        let is_used = self.writer.is_there();
        let mut queue = self.shared.lock();
        if queue.closing {
            return Err(ended());
        }
        if !is_used {
            drop(queue);
            return erase::remove_all(self.files.as_ref(), &self.dir);
        }
        queue.to_erase.push((Erased { device, up_to_us }, tell));
        queue.wanted = true;
        drop(queue);
        self.shared.to_writer.notify_one();
        told.recv().map_err(|_| ended())?
    }

    /// Waits until what was kept so far can be read, for two seconds at most.
    pub(super) fn flush(&self) {
        let mut queue = self.shared.lock();
        let until = Instant::now() + FLUSH_WAIT;
        let wanted = if queue.batch.is_empty() {
            queue.begun - 1
        } else {
            queue.begun
        };
        while queue.done < wanted && self.is_open() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            queue.wanted = true;
            self.shared.to_writer.notify_one();
            queue = self
                .shared
                .to_readers
                .wait_timeout(queue, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Writes what is queued and ends the writer. What is kept afterwards is lost.
    pub fn shutdown(&self) {
        self.shared.lock().closing = true;
        self.shared.to_writer.notify_one();
        if !self.writer.join() {
            tracing::error!("the writer of raw traffic panicked");
        }
        self.open.store(false, Ordering::Relaxed);
    }
}

impl Drop for RawTraffic {
    fn drop(&mut self) {
        self.shutdown();
    }
}

struct Writer {
    log: SegmentLog,
    dir: PathBuf,
    shared: Arc<Shared>,
    files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    options: Options,
    segment_bytes: u64,
    failed: Arc<Mutex<Option<String>>>,
    lost: Counter,
    bytes: Gauge,
    no_space_told: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Batch::new();
        let mut broken = false;
        loop {
            let (closing, asked) = self.wait(&mut batch);
            if !batch.is_empty() {
                if broken {
                    self.lost.increment(batch.count().into());
                } else {
                    broken = !self.write(&mut batch);
                }
                batch.clear();
                batch.shrink_to(BATCH_BYTES_KEPT);
            }
            self.erase(asked, broken);
            self.forget();
            let mut queue = self.shared.lock();
            queue.done = queue.begun - 1;
            queue.wanted = !queue.to_erase.is_empty();
            let more = !queue.batch.is_empty();
            if closing && !more {
                // whoever asked hears that it is the end
                queue.to_erase.clear();
            }
            drop(queue);
            self.shared.to_readers.notify_all();
            if closing && !more {
                return;
            }
        }
    }

    fn erase(&mut self, asked: Vec<ToErase>, broken: bool) {
        for (erased, tell) in asked {
            let done = if broken {
                Err(io::Error::other(
                    "a write failed: it is done behind the next start",
                ))
            } else {
                erase::erase(&mut self.log, self.files.as_ref(), &self.dir, erased)
            };
            // nobody may wait any more
            drop(tell.send(done));
        }
    }

    /// Takes what waits, once it is worth it. Says whether it is the end, and what is to be erased
    /// behind it.
    fn wait(&self, batch: &mut Batch) -> (bool, Vec<ToErase>) {
        let mut queue = self.shared.lock();
        if !queue.closing && !queue.wanted && queue.batch.len() < WRITTEN_AT_ONCE_BYTES {
            queue = self
                .shared
                .to_writer
                .wait_timeout(queue, PACE)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if !queue.batch.is_empty() {
            std::mem::swap(&mut queue.batch, batch);
            queue.begun += 1;
        }
        let asked = std::mem::take(&mut queue.to_erase);
        (queue.closing, asked)
    }

    /// Says whether more may be written.
    fn write(&mut self, batch: &mut Batch) -> bool {
        let count = u64::from(batch.count());
        if self.is_short_of_space(batch.len() as u64) && !self.give_up_oldest() {
            self.lost.increment(count);
            return true;
        }
        match self.log.append(batch) {
            Ok(_) => true,
            Err(AppendError::NoSpace(error)) => {
                self.lost.increment(count);
                self.tell_of_no_space(&error);
                self.give_up_oldest();
                true
            }
            Err(error) => {
                self.lost.increment(count);
                let why = error.to_string();
                tracing::error!(error = %why, "no raw traffic is kept until the next start");
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                false
            }
        }
    }

    /// Would a new segment for so many bytes take what the journal may need?
    fn is_short_of_space(&mut self, bytes: u64) -> bool {
        let segments = self.log.catalog().segments();
        let fits = segments.last().is_some_and(|last| {
            !last.is_sealed() && last.end().saturating_add(bytes) < self.segment_bytes
        });
        if fits {
            return false;
        }
        let free = self.files.free_space(&self.dir).unwrap_or(u64::MAX);
        let short = free < FREE_BYTES_MIN.saturating_add(self.segment_bytes);
        if short {
            self.tell_of_no_space(&format_args!("{free} bytes are free"));
        }
        short
    }

    fn tell_of_no_space(&mut self, why: &dyn std::fmt::Display) {
        let due = self
            .no_space_told
            .is_none_or(|at| at.elapsed() >= NO_SPACE_TOLD);
        if due {
            self.no_space_told = Some(Instant::now());
            tracing::warn!(%why, "the disk is full: older raw traffic goes, or new is not kept");
        }
    }

    /// Gives up the oldest segment but the last. Says whether there was one.
    fn give_up_oldest(&mut self) -> bool {
        let before = self.log.catalog().segments().len();
        if before < 2 {
            return false;
        }
        match self.log.remove_oldest() {
            Ok(()) => self.log.catalog().segments().len() < before,
            Err(error) => {
                tracing::warn!(%error, "an old segment of raw traffic stays");
                false
            }
        }
    }

    /// Drops the segments that are too old or too many.
    fn forget(&mut self) {
        loop {
            let segments = self.log.catalog().segments();
            let sealed = segments.iter().filter(|segment| segment.is_sealed());
            let unsealed = segments.iter().any(|segment| !segment.is_sealed());
            let bytes = sealed.map(|segment| segment.end()).sum::<u64>()
                + if unsealed { self.segment_bytes } else { 0 };
            self.bytes.set(bytes as f64);
            let [_, next, ..] = segments.as_slice() else {
                return;
            };
            let old_us = self.clock.now_us().saturating_sub(self.options.keep_us);
            let too_old = first_time(next, self.files.as_ref()).is_some_and(|at| at < old_us);
            if (bytes <= self.options.budget_bytes && !too_old) || !self.give_up_oldest() {
                return;
            }
        }
    }
}

/// The time of a segment's first chunk: what is before it is not newer, but for the little that
/// chunks of several threads change places.
pub(super) fn first_time(segment: &Segment, files: &dyn Files) -> Option<i64> {
    let mut entries = segment.entries(files, 0).ok()?;
    let (_, entry) = entries.next().ok()??;
    packet::time_of(entry.content)
}
