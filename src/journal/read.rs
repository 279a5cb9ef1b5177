//! Messages read back: of a device by its time, of a channel by the server's, and as they come.
//!
//! Only what is durable is seen. A read works off a page at a time: it collects the places of the
//! next messages from the indexes, in order, and reads those entries; so its cost grows with what
//! is returned, not with what is kept.

use super::entry::{EntryRef, FrameRef, PartRef};
use super::index::{self, MemoryIndex, Of, Posting, Sidecar};
use super::retention::CHANNEL_TTL_S_MAX;
use super::{Journal, Shared, lock, stats};
use crate::ids::{AccountId, ChannelId, ConnectionId, DeviceId, Position};
use crate::segment::files::read_exact_at;
use crate::segment::format::{ENTRY_HEAD_BYTES, read_entry, u32_at};
use crate::segment::{FileOps, Segment, SegmentEntries};
use compact_str::CompactString;
use protocols::Record;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// Places that a read collects at a time.
const PAGE: usize = 1024;
/// Bytes of an entry that are read in the hope that they are all of it.
const FIRST_READ_BYTES: u64 = 2048;

/// A message as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// The entry it is in.
    pub position: Position,
    /// Which message of the entry.
    pub index: u32,
    /// The server's time of its frame, unix us.
    pub at_us: i64,
    /// Over which connection it came.
    pub connection: ConnectionId,
    /// To which channel.
    pub channel: ChannelId,
    /// Of which device; [`DeviceId::NONE`]: of an ident that nobody had registered.
    pub device: DeviceId,
    /// Whose it was then.
    pub account: AccountId,
    /// The login.
    pub ident: CompactString,
    /// From where.
    pub peer: SocketAddr,
    /// The number of its protocol.
    pub protocol: u16,
    /// The record, in the form of [`protocols::record`].
    pub record: Vec<u8>,
}

/// What a device is called in messages.
#[derive(Debug, Clone, Copy)]
pub struct DeviceNames<'a> {
    /// `device.name`
    pub name: &'a str,
    /// `device.type.id`
    pub type_id: u64,
}

impl StoredMessage {
    /// The device's time, unix ms.
    pub fn timestamp_ms(&self) -> i64 {
        Record::read(&self.record).map_or(0, |record| record.timestamp_ms())
    }

    /// As a flat object of flespi's names.
    pub fn json(&self, names: Option<DeviceNames<'_>>) -> Map<String, Value> {
        let mut object = Record::read(&self.record)
            .map(|record| protocols::message_object(&record))
            .unwrap_or_default();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        put("ident", json!(self.ident.as_str()));
        put("server.timestamp", seconds_of(self.at_us));
        put("channel.id", json!(self.channel));
        put("protocol.id", json!(self.protocol));
        put("peer", json!(self.peer.to_string()));
        if self.device.is_some() {
            put("device.id", json!(self.device));
            if let Some(names) = names {
                put("device.name", json!(names.name));
                put("device.type.id", json!(names.type_id));
            }
        }
        object
    }

    fn of(
        position: Position,
        frame: &FrameRef<'_>,
        part: &PartRef<'_>,
        index: u32,
        record: &[u8],
    ) -> Self {
        Self {
            position,
            index,
            at_us: frame.meta.at_us,
            connection: frame.meta.connection,
            channel: frame.meta.channel,
            device: part.device,
            account: part.account,
            ident: CompactString::new(part.ident),
            peer: frame.meta.peer,
            protocol: frame.meta.protocol,
            record: record.to_vec(),
        }
    }
}

/// Unix us as seconds: whole where they are.
fn seconds_of(at_us: i64) -> Value {
    if at_us % 1_000_000 == 0 {
        (at_us / 1_000_000).into()
    } else {
        json!(at_us as f64 / 1_000_000.0)
    }
}

/// Which messages, and from which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// From this time on; of a device in ms, of a channel in us.
    pub from: i64,
    /// To this time, which is included.
    pub to: i64,
    /// At most so many.
    pub count: usize,
    /// The newest first.
    pub reverse: bool,
}

impl Default for Range {
    fn default() -> Self {
        Self {
            from: i64::MIN,
            to: i64::MAX,
            count: usize::MAX,
            reverse: false,
        }
    }
}

/// The indexes of the segments that have no sidecar (yet), and which have one.
#[derive(Default)]
pub(super) struct Indexes {
    pub(super) state: Mutex<IndexState>,
}

#[derive(Default)]
pub(super) struct IndexState {
    memory: BTreeMap<u64, Arc<Mutex<MemoryIndex>>>,
    pub(super) sidecars: BTreeSet<u64>,
}

impl Indexes {
    /// Knows the sidecars that a folder's listing has.
    pub(super) fn with_sidecars(names: &[String]) -> Self {
        let sidecars = names
            .iter()
            .filter(|name| index::is_sidecar(name))
            .filter_map(|name| name.split('.').next()?.parse().ok())
            .collect();
        Self {
            state: Mutex::new(IndexState {
                memory: BTreeMap::new(),
                sidecars,
            }),
        }
    }

    fn has_sidecar(&self, segment: &Segment) -> bool {
        lock(&self.state).sidecars.contains(&segment.first())
    }

    pub(super) fn memory(&self, segment: &Segment) -> Arc<Mutex<MemoryIndex>> {
        let mut state = lock(&self.state);
        Arc::clone(state.memory.entry(segment.first()).or_default())
    }
}

impl Shared {
    /// Step 3 of the order on disk: the keeper brings the index of the segment in use up to date,
    /// and writes the sidecars of sealed ones.
    pub(super) fn keep_indexes(&self) {
        for segment in self.catalog.segments().iter() {
            if self.indexes.has_sidecar(segment) {
                continue;
            }
            let sealed = segment.is_sealed();
            let memory = self.indexes.memory(segment);
            let mut memory = lock(&memory);
            if let Err(error) = memory.catch_up(segment, self.files.as_ref()) {
                stats::add(&self.stats.read_errors, 1);
                tracing::error!(%error, path = %segment.path().display(), "indexing failed");
                continue;
            }
            if !sealed || self.failure.get().is_some() {
                continue;
            }
            match memory.write_sidecar(segment, self.files.as_ref()) {
                Ok(()) => {
                    stats::add(&self.stats.sidecars, 1);
                    let mut state = lock(&self.indexes.state);
                    state.sidecars.insert(segment.first());
                    state.memory.remove(&segment.first());
                }
                Err(error) => {
                    stats::add(&self.stats.sidecar_errors, 1);
                    tracing::warn!(%error, path = %segment.path().display(), "no sidecar written");
                }
            }
        }
    }

    /// Up to which server time messages are past their ttl, as it is today.
    fn past_us(&self, of: Of) -> i64 {
        let Some(lifetimes) = self.lifetimes.get() else {
            return i64::MIN;
        };
        let ttl_s = match of {
            Of::Device(id) => lifetimes.device(id).map(|(_, ttl_s)| ttl_s),
            Of::Channel(id) => lifetimes
                .channel(id)
                .map(|(_, ttl_s)| ttl_s.min(CHANNEL_TTL_S_MAX)),
        };
        let kept_us = i64::from(ttl_s.unwrap_or(0)) * 1_000_000;
        self.clock.now_us().saturating_sub(kept_us)
    }

    /// Shows a segment's postings to `choose`, unless `skip` says by their first and last key that
    /// nothing there is wanted.
    fn postings(
        &self,
        segment: &Segment,
        of: Of,
        skip: &dyn Fn(i64, i64) -> bool,
        choose: &mut dyn FnMut(&[Posting]),
    ) -> io::Result<()> {
        if self.indexes.has_sidecar(segment) {
            let found =
                Sidecar::open(segment, self.files.as_ref()).and_then(|sidecar| {
                    match sidecar.row(of)? {
                        Some(row) if !skip(row.first, row.last) => sidecar.postings(&row).map(Some),
                        _ => Ok(None),
                    }
                });
            match found {
                Ok(postings) => {
                    choose(&postings.unwrap_or_default());
                    return Ok(());
                }
                Err(error) => {
                    // it is only a shorter way: the keeper makes it again from the segment
                    stats::add(&self.stats.read_errors, 1);
                    tracing::warn!(%error, path = %segment.path().display(), "a bad sidecar");
                    lock(&self.indexes.state).sidecars.remove(&segment.first());
                }
            }
        }
        let memory = self.indexes.memory(segment);
        let mut memory = lock(&memory);
        memory.catch_up(segment, self.files.as_ref())?;
        if let Some((first, last)) = memory.range(of)
            && !skip(first, last)
        {
            choose(memory.postings(of));
        }
        Ok(())
    }
}

/// A posting and the segment it is in: ordered by time, then position.
type Key = (i64, u64, u32, u32);

/// Reads messages in order. An error ends it.
pub struct Messages {
    shared: Arc<Shared>,
    of: Of,
    range: Range,
    left: usize,
    after: Option<Key>,
    page: VecDeque<(Key, Arc<Segment>)>,
    ended: bool,
    ready: VecDeque<StoredMessage>,
    open: Option<(u64, Box<dyn FileOps>)>,
    last: Option<(u64, u32, Vec<u8>)>,
    /// What came at this server time or before is past its ttl.
    past_us: i64,
}

impl Messages {
    fn fill_page(&mut self) -> io::Result<()> {
        let mut found: Vec<(Key, Arc<Segment>)> = Vec::new();
        let Range {
            from, to, reverse, ..
        } = self.range;
        let after = self.after;
        let segments = self.shared.catalog.segments();
        let count = segments.len();
        // from the end where most of what is wanted is
        let order = (0..count).map(|nth| if reverse { count - 1 - nth } else { nth });
        for segment in order.filter_map(|at| segments.get(at)) {
            // with a full page, what is beyond its last place is for a later one
            let bound = (found.len() >= PAGE).then(|| found[PAGE - 1].0.0);
            let skip = |first: i64, last: i64| {
                first > to
                    || last < from
                    || bound.is_some_and(|bound| if reverse { last < bound } else { first > bound })
                    || after.is_some_and(|(key, ..)| if reverse { first > key } else { last < key })
            };
            let before = found.len();
            let mut choose = |postings: &[Posting]| {
                let key_of = |posting: &Posting| {
                    (posting.key, segment.first(), posting.offset, posting.number)
                };
                let low = postings.partition_point(|posting| {
                    posting.key < from
                        || !reverse && after.is_some_and(|after| key_of(posting) <= after)
                });
                let high = postings.partition_point(|posting| {
                    posting.key <= to
                        && !(reverse && after.is_some_and(|after| key_of(posting) >= after))
                });
                let wanted = postings.get(low..high).unwrap_or_default();
                let wanted = if reverse {
                    wanted.get(wanted.len().saturating_sub(PAGE)..)
                } else {
                    wanted.get(..PAGE.min(wanted.len()))
                };
                let wanted = wanted.unwrap_or_default().iter();
                found.extend(wanted.map(|posting| (key_of(posting), Arc::clone(segment))));
            };
            match self.shared.postings(segment, self.of, &skip, &mut choose) {
                Ok(()) => {}
                // it was deleted by its age meanwhile
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            if found.len() != before {
                if reverse {
                    found.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
                } else {
                    found.sort_unstable_by_key(|(key, _)| *key);
                }
                found.truncate(PAGE);
            }
        }
        self.ended = found.len() < PAGE;
        self.after = found.last().map(|(key, _)| *key).or(self.after);
        self.page = found.into();
        Ok(())
    }

    fn read(&mut self, key: Key, segment: &Segment) -> io::Result<()> {
        let (_, first, offset, number) = key;
        let cached = self
            .last
            .as_ref()
            .is_some_and(|(of, at, _)| (*of, *at) == (first, offset));
        if !cached {
            if self.open.as_ref().is_none_or(|(of, _)| *of != first) {
                self.open = Some((first, self.shared.files.open(segment.path())?));
            }
            let (_, file) = self.open.as_ref().expect("opened above");
            let at = u64::from(offset);
            let length = FIRST_READ_BYTES.min(segment.end().saturating_sub(at));
            let mut bytes = read_exact_at(
                file.as_ref(),
                at,
                usize::try_from(length).map_err(io::Error::other)?,
            )?;
            let whole = ENTRY_HEAD_BYTES.saturating_add(u32_at(&bytes, 0) as usize);
            if whole as u64 > segment.end().saturating_sub(at) {
                return Err(bad(segment, at));
            }
            if whole > bytes.len() {
                bytes = read_exact_at(file.as_ref(), at, whole)?;
            }
            self.last = Some((first, offset, bytes));
        }
        let (_, _, bytes) = self.last.as_ref().expect("read above");
        let entry = read_entry(segment.header().seed(), bytes)
            .ok_or_else(|| bad(segment, u64::from(offset)))?;
        let position = Position::new(segment.header().node, entry.sequence);
        let Some(EntryRef::Frame(frame)) = EntryRef::read(entry.kind, entry.version, entry.content)
        else {
            return Err(bad(segment, u64::from(offset)));
        };
        if frame.meta.at_us <= self.past_us {
            return Ok(());
        }
        let mut index = 0;
        let mut messages = Vec::new();
        for part in frame.parts() {
            for record in part.records() {
                if matches!(self.of, Of::Channel(_)) || index == number {
                    messages.push(StoredMessage::of(position, &frame, &part, index, record));
                }
                index += 1;
            }
        }
        if self.range.reverse {
            messages.reverse();
        }
        self.ready.extend(messages);
        Ok(())
    }

    fn advance(&mut self) -> io::Result<Option<StoredMessage>> {
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            if let Some(message) = self.ready.pop_front() {
                self.left -= 1;
                return Ok(Some(message));
            }
            if let Some((key, segment)) = self.page.pop_front() {
                match self.read(key, &segment) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            } else if self.ended {
                return Ok(None);
            } else {
                self.fill_page()?;
            }
        }
    }
}

impl Iterator for Messages {
    type Item = io::Result<StoredMessage>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(message) => message.map(Ok),
            Err(error) => {
                stats::add(&self.shared.stats.read_errors, 1);
                self.left = 0;
                Some(Err(error))
            }
        }
    }
}

/// Gives messages as they become durable. It does not wait: ask again when the watermark moves.
pub struct Follow {
    shared: Arc<Shared>,
    next: u64,
    reading: Option<(Arc<Segment>, SegmentEntries)>,
}

impl Follow {
    /// The messages of further entries, of those that `wanted` says yes to by channel, device and
    /// account; at least one entry, and entries until there are `count` messages. Empty: there is
    /// no more yet, if [`Follow::is_behind`] says so too.
    pub fn read(
        &mut self,
        count: usize,
        wanted: &mut dyn FnMut(ChannelId, DeviceId, AccountId) -> bool,
    ) -> io::Result<Vec<StoredMessage>> {
        let mut messages = Vec::new();
        while messages.len() < count && self.is_behind() {
            let read = self.next_entry(&mut |position, entry| {
                let EntryRef::Frame(frame) = entry else {
                    return;
                };
                let mut index = 0;
                for part in frame.parts() {
                    let wanted = wanted(frame.meta.channel, part.device, part.account);
                    for record in part.records() {
                        if wanted {
                            messages
                                .push(StoredMessage::of(position, &frame, &part, index, record));
                        }
                        index += 1;
                    }
                }
            })?;
            if read.is_none() {
                break;
            }
        }
        Ok(messages)
    }

    /// Shows up to `count` further entries to `visit`, of every kind; says how many bytes they
    /// were. 0: there is no more yet.
    pub fn visit(
        &mut self,
        count: usize,
        visit: &mut dyn FnMut(Position, EntryRef<'_>),
    ) -> io::Result<u64> {
        let mut bytes = 0;
        for _ in 0..count {
            if !self.is_behind() {
                break;
            }
            match self.next_entry(visit)? {
                Some(of_entry) => bytes += of_entry,
                None => break,
            }
        }
        Ok(bytes)
    }

    /// Shows the next entry, and says its bytes; `None`: there is none.
    fn next_entry(
        &mut self,
        visit: &mut dyn FnMut(Position, EntryRef<'_>),
    ) -> io::Result<Option<u64>> {
        let node = self.shared.options.node;
        loop {
            let next = self.next;
            let Some((segment, entries)) = self.reading()? else {
                return Ok(None);
            };
            entries.extend(segment.end());
            let Some((_, entry)) = entries.next()? else {
                self.reading = None;
                continue;
            };
            let sequence = entry.sequence;
            let bytes = entry.bytes() as u64;
            if sequence >= next
                && let Some(read) = EntryRef::read(entry.kind, entry.version, entry.content)
            {
                visit(Position::new(node, sequence), read);
            }
            self.next = next.max(sequence + 1);
            if sequence >= next {
                return Ok(Some(bytes));
            }
        }
    }

    /// Is there something durable that was not read yet?
    pub fn is_behind(&self) -> bool {
        self.next <= self.shared.watermark.borrow().durable.sequence()
    }

    /// The entry it reads next.
    pub fn position(&self) -> Position {
        Position::new(self.shared.options.node, self.next)
    }

    fn reading(&mut self) -> io::Result<Option<&mut (Arc<Segment>, SegmentEntries)>> {
        let past = |segment: &Segment| segment.is_sealed() && segment.next() <= self.next;
        if self
            .reading
            .as_ref()
            .is_some_and(|(segment, _)| past(segment))
        {
            self.reading = None;
        }
        if self.reading.is_none() {
            let segments = self.shared.catalog.segments();
            let Some(segment) = segments.iter().find(|segment| segment.next() > self.next) else {
                return Ok(None);
            };
            // what was deleted by its age is skipped
            self.next = self.next.max(segment.first());
            let entries = segment.entries(self.shared.files.as_ref(), 0)?;
            self.reading = Some((Arc::clone(segment), entries));
        }
        Ok(self.reading.as_mut())
    }
}

impl Journal {
    /// The messages of a device by its own time (ms); equal times by position.
    pub fn read_device(&self, device: DeviceId, range: Range) -> Messages {
        self.read(Of::Device(device), range)
    }

    /// The messages of a channel by the server's time (us).
    pub fn read_channel(&self, channel: ChannelId, range: Range) -> Messages {
        self.read(Of::Channel(channel), range)
    }

    /// All messages behind a position, as they come.
    pub fn follow(&self, after: Position) -> Follow {
        Follow {
            shared: Arc::clone(&self.inner.shared),
            next: after.sequence() + 1,
            reading: None,
        }
    }

    fn read(&self, of: Of, range: Range) -> Messages {
        Messages {
            shared: Arc::clone(&self.inner.shared),
            of,
            range,
            left: range.count,
            after: None,
            page: VecDeque::new(),
            ended: false,
            ready: VecDeque::new(),
            open: None,
            last: None,
            past_us: self.inner.shared.past_us(of),
        }
    }
}

fn bad(segment: &Segment, offset: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{} is corrupt at byte {offset}: a bad entry",
            segment.path().display()
        ),
    )
}
