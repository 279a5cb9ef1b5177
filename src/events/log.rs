//! The queue, the thread that writes, and reading back.

use super::code::{Code, Origin, OriginKind};
use crate::ids::{AccountId, Clock, WriterThread};
use crate::metrics::{Metrics, names};
use crate::segment::{AppendError, Batch, Catalog, Files, Options, Segment, SegmentLog};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use crate::segment::OpenError;

/// The most events that wait for the writer; what comes on top is lost and counted.
pub const QUEUED_MAX: usize = 16 * 1024;
/// What is kept on disk at most.
pub const KEPT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long it is kept at most, in us: 30 days.
pub const KEPT_US_MAX: i64 = 30 * 86_400 * 1_000_000;

const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// What comes within this time is written by one sync.
const PACE: Duration = Duration::from_millis(100);
const KIND: u8 = 1;
const VERSION: u8 = 1;
/// How long a reader waits for what was logged before.
const FLUSH_WAIT: Duration = Duration::from_secs(2);
/// So many readers wait at once; the next ones read what there is.
const READERS_MAX: usize = 64;
/// What the queue's memory shrinks to behind a flood.
const BATCH_BYTES_KEPT: usize = 64 * 1024;
/// An event of a connection is mostly shorter.
const ENTRY_BYTES: usize = 256;
/// A full disk is told of at most so often.
const NO_SPACE_TOLD: Duration = Duration::from_mins(1);
/// Time, code, kind, id, account.
const HEAD_BYTES: usize = 8 + 2 + 1 + 8 + 8;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, unix us.
    pub at_us: i64,
    /// What.
    pub code: Code,
    /// To what.
    pub origin: Origin,
    /// The account whose event it is: it and those above it may read it.
    pub account: AccountId,
    /// What else there is to say: a JSON object's fields.
    pub data: Map<String, Value>,
}

impl Event {
    /// An event without further data.
    pub fn new(at_us: i64, code: Code, origin: Origin, account: AccountId) -> Self {
        Self {
            at_us,
            code,
            origin,
            account,
            data: Map::new(),
        }
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }

    /// As flespi's logs have it.
    pub fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("timestamp".into(), json!(self.at_us as f64 / 1e6));
        object.insert("event_code".into(), self.code.number().into());
        object.insert("event_origin".into(), self.origin.path().into());
        object.insert("origin_id".into(), self.origin.id.into());
        object.insert("origin_type".into(), self.origin.kind.item_type().into());
        object.insert("cid".into(), self.account.0.into());
        object.extend(self.data.clone());
        Value::Object(object)
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_head(out, self.at_us, self.code, self.origin, self.account);
        if !self.data.is_empty() {
            serde_json::to_writer(&mut *out, &self.data).expect("a JSON object can be written");
        }
    }

    fn read(content: &[u8]) -> Option<Self> {
        let (head, data) = content.split_first_chunk::<HEAD_BYTES>()?;
        let u64_at = |at: usize| {
            head.get(at..)?
                .first_chunk()
                .map(|b| u64::from_le_bytes(*b))
        };
        let data = if data.is_empty() {
            Map::new()
        } else {
            serde_json::from_slice(data).ok()?
        };
        Some(Self {
            at_us: u64_at(0)?.cast_signed(),
            code: Code::from_number(u16::from_le_bytes([head[8], head[9]]))?,
            origin: Origin {
                kind: OriginKind::from_number(head[10])?,
                id: u64_at(11)?,
            },
            account: AccountId(u64_at(19)?),
            data,
        })
    }
}

fn write_head(out: &mut Vec<u8>, at_us: i64, code: Code, origin: Origin, account: AccountId) {
    out.extend_from_slice(&at_us.to_le_bytes());
    out.extend_from_slice(&code.number().to_le_bytes());
    out.push(origin.kind.number());
    out.extend_from_slice(&origin.id.to_le_bytes());
    out.extend_from_slice(&account.0.to_le_bytes());
}

/// An [`Event`] as it is stored, without a map of its fields on the way: several are told of every
/// connection, by the thread that serves it.
#[derive(Debug)]
pub struct Entry {
    code: Code,
    content: Vec<u8>,
}

impl Entry {
    /// An event without further data.
    pub fn new(at_us: i64, code: Code, origin: Origin, account: AccountId) -> Self {
        let mut content = Vec::with_capacity(ENTRY_BYTES);
        write_head(&mut content, at_us, code, origin, account);
        Self { code, content }
    }

    /// With one more field, of another name than those before.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        let out = &mut self.content;
        out.push(if out.len() == HEAD_BYTES { b'{' } else { b',' });
        for written in [
            serde_json::to_writer(&mut *out, name).map(|()| out.push(b':')),
            serde_json::to_writer(&mut *out, &value),
        ] {
            written.expect("a JSON value can be written");
        }
        self
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.content);
        if self.content.len() > HEAD_BYTES {
            out.push(b'}');
        }
    }
}

/// What to read back.
pub struct Query<'a> {
    /// From this time on, unix us.
    pub from_us: i64,
    /// Up to and with this time, unix us.
    pub to_us: i64,
    /// So many at the most.
    pub count: usize,
    /// The newest first.
    pub reverse: bool,
    /// Which of them: asked for origin and account before anything else is read.
    pub wanted: &'a dyn Fn(Origin, AccountId) -> bool,
    /// Which of those.
    pub fits: &'a dyn Fn(&Event) -> bool,
}

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
struct Queue {
    queued: Mutex<Queued>,
    told: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Queued> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an event at the end. Says whether there was room.
    fn push(&self, code: Code, write: impl FnOnce(&mut Vec<u8>)) -> bool {
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
    fn flush(&self) -> bool {
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

    fn close(&self) {
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
struct Counts {
    lost: AtomicU64,
    /// Events that were taken and are neither on the disk nor lost.
    waiting: AtomicU64,
    metrics: OnceLock<Arc<Metrics>>,
}

impl Counts {
    fn lose(&self, count: u64) {
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

/// The log. One per gateway, shared by reference count.
pub struct Events {
    queue: Arc<Queue>,
    counts: Arc<Counts>,
    catalog: Catalog,
    files: Arc<dyn Files>,
    writer: WriterThread,
    clock: Arc<dyn Clock>,
}

impl Events {
    /// Opens the log in `dir` and starts its writer.
    pub fn open(
        files: Arc<dyn Files>,
        dir: &Path,
        node: u16,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            node,
        };
        let (log, opened) = SegmentLog::open(Arc::clone(&files), dir, options)?;
        opened.tell(dir);
        let catalog = log.catalog().clone();
        let queue = Arc::<Queue>::default();
        let counts = Arc::new(Counts::default());
        let writer = Writer {
            log,
            queue: Arc::clone(&queue),
            counts: Arc::clone(&counts),
            files: Arc::clone(&files),
            clock: Arc::clone(&clock),
            no_space_told: None,
        };
        let writer = WriterThread::start("events", move || writer.run()).map_err(|error| {
            let path = dir.to_owned();
            OpenError::Io { path, error }
        })?;
        Ok(Self {
            queue,
            counts,
            catalog,
            files,
            writer,
            clock,
        })
    }

    /// Notes that something happened. Never waits: what does not fit the queue is lost and counted.
    pub fn log(&self, event: &Event) {
        self.push(event.code, |out| event.write(out));
    }

    /// The same of what is written already.
    pub fn log_entry(&self, entry: &Entry) {
        self.push(entry.code, |out| entry.write(out));
    }

    fn push(&self, code: Code, write: impl FnOnce(&mut Vec<u8>)) {
        self.counts.waiting.fetch_add(1, Ordering::Release);
        if !self.queue.push(code, write) {
            self.counts.waiting.fetch_sub(1, Ordering::Release);
            self.counts.lose(1);
        }
    }

    /// Waits until what was logged so far can be read, for two seconds at most.
    fn flush(&self) {
        if self.counts.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        // with the disk standing still the reader has what there is
        if !self.queue.flush() {
            tracing::debug!("the log is read without its newest events");
        }
    }

    /// Notes that something happened now.
    pub fn log_now(
        &self,
        code: Code,
        origin: Origin,
        account: AccountId,
        data: Map<String, Value>,
    ) {
        self.log(&Event {
            at_us: self.clock.now_us(),
            code,
            origin,
            account,
            data,
        });
    }

    /// How many were lost since the start.
    pub fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Counts on `metrics` from now on.
    pub fn count_on(&self, metrics: Arc<Metrics>) {
        // who comes second is not counted twice
        drop(self.counts.metrics.set(metrics));
    }

    /// Writes what is queued and ends the writer. What is logged afterwards is lost.
    pub fn shutdown(&self) {
        self.queue.close();
        if !self.writer.join() {
            tracing::error!("the writer of the event log panicked");
        }
    }

    /// Reads back what was logged before the call. Blocks on the disk; costs one pass over the
    /// segments of the time asked for.
    pub fn read(&self, query: &Query<'_>) -> std::io::Result<Vec<Event>> {
        self.flush();
        let segments = self.catalog.segments();
        let mut found: Vec<Event> = Vec::new();
        let in_order: Box<dyn Iterator<Item = &Arc<Segment>>> = if query.reverse {
            Box::new(segments.iter().rev())
        } else {
            Box::new(segments.iter())
        };
        for segment in in_order {
            let mut here = Vec::new();
            let mut entries = match segment.entries(self.files.as_ref(), 0) {
                Ok(entries) => entries,
                // retention took it meanwhile
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            while let Some((_, entry)) = entries.next()? {
                if entry.kind != KIND || !wanted(entry.content, query) {
                    continue;
                }
                if let Some(event) = Event::read(entry.content)
                    && (query.fits)(&event)
                {
                    here.push(event);
                    if !query.reverse && found.len() + here.len() >= query.count {
                        break;
                    }
                }
            }
            if query.reverse {
                here.reverse();
            }
            found.append(&mut here);
            if found.len() >= query.count {
                break;
            }
        }
        found.truncate(query.count);
        Ok(found)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// The cheap questions, before any JSON is read.
fn wanted(content: &[u8], query: &Query<'_>) -> bool {
    let Some(head) = content.first_chunk::<HEAD_BYTES>() else {
        return false;
    };
    let number = |at: usize| {
        head.get(at..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |b| u64::from_le_bytes(*b))
    };
    let at_us = number(0).cast_signed();
    let Some(kind) = OriginKind::from_number(head[10]) else {
        return false;
    };
    (query.from_us..=query.to_us).contains(&at_us)
        && (query.wanted)(
            Origin {
                kind,
                id: number(11),
            },
            AccountId(number(19)),
        )
}

struct Writer {
    log: SegmentLog,
    queue: Arc<Queue>,
    counts: Arc<Counts>,
    files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    no_space_told: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DeviceId, ManualClock};
    use crate::segment::OsFiles;
    use crate::segment::watched::{Call, Watched};
    use std::io;
    use std::sync::atomic::AtomicBool;

    fn open(dir: &Path) -> Events {
        let clock = Arc::new(ManualClock::new(1_000_000));
        Events::open(Arc::new(OsFiles), dir, 0, clock).expect("opens")
    }

    fn event(at_us: i64, device: u64) -> Event {
        Event::new(
            at_us,
            Code::Connected,
            Origin::device(DeviceId(device)),
            AccountId(7),
        )
        .with("source", "127.0.0.1:5")
    }

    #[test]
    fn events_are_read_back_by_origin_and_time_after_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        let events = open(dir.path());
        for at in 1..=10 {
            events.log(&event(at, u64::try_from(at % 2).expect("small")));
        }
        events.shutdown();
        events.log(&event(11, 1));
        assert_eq!(events.lost(), 1);
        drop(events);

        let events = open(dir.path());
        let read = |reverse, count| {
            let found = events.read(&Query {
                from_us: 2,
                to_us: 9,
                count,
                reverse,
                wanted: &|origin, account| origin.id == 1 && account == AccountId(7),
                fits: &|event| event.at_us != 5,
            });
            found
                .expect("readable")
                .iter()
                .map(|event| event.at_us)
                .collect::<Vec<_>>()
        };
        assert_eq!(read(false, 100), [3, 7, 9]);
        assert_eq!(read(true, 2), [9, 7]);
        let json = event(3, 1).json();
        assert_eq!(json["event_code"], 300);
        assert_eq!(json["event_origin"], "gw/devices/1");
        assert_eq!(json["source"], "127.0.0.1:5");
    }

    #[test]
    fn what_is_written_at_once_is_the_same_event() {
        let origin = Origin::device(DeviceId(1));
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 5));
        let event = Event::new(3, Code::Connected, origin, AccountId(7));
        let entry = Entry::new(3, Code::Connected, origin, AccountId(7));
        let written = |entry: &Entry| {
            let mut out = Vec::new();
            entry.write(&mut out);
            out
        };
        let mut bare = Vec::new();
        event.write(&mut bare);
        assert_eq!(written(&entry), bare);
        let event = event.with("source", peer.to_string()).with("a \"b", 1.5);
        let entry = entry.with("source", peer).with("a \"b", 1.5);
        let read = Event::read(&written(&entry)).expect("readable");
        assert_eq!(read, event);
    }

    #[test]
    fn what_was_logged_before_a_read_is_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let events = open(dir.path());
        for at in 1..=50 {
            events.log(&event(at, 1));
            assert_eq!(count(&events), usize::try_from(at).expect("small"));
        }
    }

    fn count(events: &Events) -> usize {
        let all = Query {
            from_us: i64::MIN,
            to_us: i64::MAX,
            count: 1000,
            reverse: false,
            wanted: &|_, _| true,
            fits: &|_| true,
        };
        events.read(&all).expect("readable").len()
    }

    #[test]
    fn a_full_disk_loses_events_counts_them_and_goes_on_when_there_is_space() {
        let dir = tempfile::tempdir().expect("a folder");
        let full = Arc::new(AtomicBool::new(true));
        let is_full = Arc::clone(&full);
        let files = Watched::by(move |call| match call {
            Call::Create(_) if is_full.load(Ordering::Relaxed) => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        });
        let clock = Arc::new(ManualClock::new(1_000_000));
        let events = Events::open(Arc::new(files), dir.path(), 0, clock).expect("opens");
        let metrics = Metrics::new();
        events.count_on(Arc::clone(&metrics));
        events.log(&event(1, 1));
        events.log(&event(2, 1));
        assert_eq!(count(&events), 0);
        assert_eq!(events.lost(), 2);
        full.store(false, Ordering::Relaxed);
        events.log(&event(3, 1));
        assert_eq!(count(&events), 1);
        assert_eq!(events.lost(), 2);
        let page = metrics.render();
        for line in [
            "tollgate_events_lost_total 2",
            "tollgate_events_logged_total{code=\"300\"} 1",
        ] {
            assert!(
                page.lines().any(|of_page| of_page == line),
                "{line}: {page}"
            );
        }
    }
}
