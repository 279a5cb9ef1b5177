//! Messages read back: of a device by its time, of a channel by the server's, and as they come.
//!
//! Only what is durable is seen. How messages are found by time is [`super::page`]'s.

use super::entry::{EntryRef, FrameRef, PartRef};
use super::index::{self, MemoryIndex, Of};
use super::page::Messages;
use super::retention::CHANNEL_TTL_S_MAX;
use super::{Journal, Shared, lock, stats};
use crate::archive::Stored;
use crate::ids::{AccountId, ChannelId, ConnectionId, DeviceId, Position};
use crate::segment::{Segment, SegmentEntries};
use compact_str::CompactString;
use protocols::Record;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

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
    /// The version of the decoder that made it; 0: none did, or nobody has written it down.
    pub decoder_version: u16,
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
        if self.decoder_version > 0 {
            put("decoder.version", json!(self.decoder_version));
        }
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

    pub(super) fn of(
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
            decoder_version: frame.meta.decoder_version,
            record: record.to_vec(),
        }
    }

    pub(super) fn of_archive(node: u16, stored: &Stored<'_>) -> Self {
        let origin = &stored.origin;
        Self {
            position: Position::new(node, stored.sequence),
            index: stored.index,
            at_us: stored.at_us,
            connection: origin.connection,
            channel: origin.channel,
            device: stored.device,
            account: origin.account,
            ident: CompactString::new(origin.ident),
            peer: origin.peer,
            protocol: origin.protocol,
            decoder_version: origin.decoder_version,
            record: stored.record.to_vec(),
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
    /// Whoever writes or removes sidecars holds it.
    pub(super) keeping: Mutex<()>,
    /// The last attempt to bring them up to date failed, which is told once.
    failing: AtomicBool,
    pub(super) state: Mutex<IndexState>,
}

#[derive(Default)]
pub(super) struct IndexState {
    pub(super) memory: BTreeMap<u64, Arc<Mutex<MemoryIndex>>>,
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
            keeping: Mutex::default(),
            failing: AtomicBool::new(false),
            state: Mutex::new(IndexState {
                memory: BTreeMap::new(),
                sidecars,
            }),
        }
    }

    pub(super) fn has_sidecar(&self, segment: &Segment) -> bool {
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
        let mut fails = false;
        for segment in self.catalog.segments().iter() {
            let _alone = lock(&self.indexes.keeping);
            if self.indexes.has_sidecar(segment) {
                continue;
            }
            let sealed = segment.is_sealed();
            let memory = self.indexes.memory(segment);
            let mut memory = lock(&memory);
            if let Err(error) = memory.catch_up(segment, self.files.as_ref()) {
                stats::add(&self.stats.read_errors, 1);
                if !self.indexes.failing.load(Ordering::Relaxed) {
                    let path = segment.path().display();
                    tracing::error!(%error, %path, "indexing failed, it is tried again");
                }
                fails = true;
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
                    drop(state);
                    self.ask_settler();
                }
                Err(error) => {
                    stats::add(&self.stats.sidecar_errors, 1);
                    if !self.indexes.failing.load(Ordering::Relaxed) {
                        let path = segment.path().display();
                        tracing::warn!(%error, %path, "no sidecar written, it is tried again");
                    }
                    fails = true;
                }
            }
        }
        let failed = self.indexes.failing.swap(fails, Ordering::Relaxed);
        if failed && !fails {
            tracing::info!("indexes are up to date again");
        }
    }

    /// Up to which server time messages are past their ttl, as it is today.
    pub(super) fn past_us(&self, of: Of) -> i64 {
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
        let hidden = self.shared.deletions.hidden();
        while messages.len() < count && self.is_behind() {
            let read = self.next_entry(&mut |position, entry| {
                let EntryRef::Frame(frame) = entry else {
                    return;
                };
                for (index, part, record) in frame.messages() {
                    if !hidden.erases(part.device, position.sequence())
                        && wanted(frame.meta.channel, part.device, part.account)
                    {
                        messages.push(StoredMessage::of(position, &frame, &part, index, record));
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
        Messages::of(&self.inner.shared, of, range)
    }
}
