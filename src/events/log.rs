//! The log that all share: handing over, and reading back.

use super::code::{Code, Origin};
use super::event::{Entry, Event, Head};
use super::writer::{Counts, KIND, Queue, Writer};
use crate::ids::{AccountId, Clock, WriterThread};
use crate::metrics::Metrics;
use crate::segment::{Catalog, Files, Options, Segment, SegmentLog};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use crate::segment::OpenError;

const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

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
    Head::read(content).is_some_and(|(head, _)| {
        (query.from_us..=query.to_us).contains(&head.at_us)
            && (query.wanted)(head.origin, head.account)
    })
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
