//! The newest value of each parameter of a device.
//!
//! A value is replaced only by one of a later (time, position), and never by one whose time is
//! more than a day ahead of the server's. Values stay in the form in which the decoder wrote them:
//! what is kept is a few cut-down records, the newest first, and each parameter stands in exactly
//! one of them. A record with the same parameters as the newest one before it, which is what
//! trackers send nearly always, replaces that one's bytes and reads nothing of it.
//!
//! At most [`PARAMS_MAX`] parameters and [`BYTES_MAX`] bytes a device; the oldest go first.

use crate::ids::Position;
use protocols::record::Datum;
use protocols::{Key, ParamId, Record};
use smallvec::SmallVec;

/// The most parameters of one device.
pub const PARAMS_MAX: usize = 256;
/// The most bytes of one device's values.
pub const BYTES_MAX: usize = 4096;
/// A value whose time lies further ahead of the server's time replaces nothing.
pub const AHEAD_MS_MAX: i64 = 86_400_000;

/// The values of one device. Without values it owns no memory.
#[derive(Debug, Default, Clone)]
pub struct Telemetry {
    /// The newest first, and that one beside what else a frame touches of its device.
    groups: SmallVec<[Group; 1]>,
}

/// Values of one record, or those of them that nothing newer has replaced.
#[derive(Debug, Clone)]
struct Group {
    at_ms: i64,
    position: Position,
    /// The record's [`Record::shape`] while it is kept whole.
    shape: Option<u64>,
    bytes: Vec<u8>,
}

/// The newest value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Newest<'a> {
    /// Which parameter.
    pub key: Key<'a>,
    /// Its value.
    pub value: Datum<'a>,
    /// The time of the message that brought it, unix ms.
    pub at_ms: i64,
    /// Where that message is stored.
    pub position: Position,
}

impl Telemetry {
    /// Takes in the record that is stored at `position`. Says whether anything is new.
    pub fn update(&mut self, record: &[u8], position: Position, now_ms: i64) -> bool {
        let Some(read) = Record::read(record) else {
            return false;
        };
        let at_ms = read.timestamp_ms();
        if at_ms > now_ms.saturating_add(AHEAD_MS_MAX) {
            return false;
        }
        let stamp = (at_ms, position);
        let shape = read.shape();
        if let Some(newest) = self.groups.first_mut()
            && stamp >= newest.stamp()
            && record.len() <= BYTES_MAX / 2
            && shape.is_some()
            && newest.shape == shape
        {
            let grows = record.len() > newest.bytes.len();
            newest.bytes.clear();
            newest.bytes.extend_from_slice(record);
            (newest.at_ms, newest.position) = stamp;
            if grows && self.groups.len() > 1 {
                self.bound();
            }
            return true;
        }
        let fresh = Group {
            at_ms,
            position,
            shape,
            bytes: record.to_vec(),
        };
        self.merge(fresh, &Keys::of_record(&read))
    }

    fn merge(&mut self, mut fresh: Group, keys: &Keys<'_>) -> bool {
        let stamp = fresh.stamp();
        let at = self
            .groups
            .iter()
            .position(|group| group.stamp() <= stamp)
            .unwrap_or(self.groups.len());
        for newer in self.groups.iter().take(at) {
            fresh.strip(&Keys::of(&newer.bytes));
        }
        if fresh.is_empty() {
            return false;
        }
        for older in self.groups.iter_mut().skip(at) {
            older.strip(keys);
        }
        self.groups.insert(at, fresh);
        self.bound();
        true
    }

    /// Drops empty groups, and the oldest values beyond the bounds.
    fn bound(&mut self) {
        let (mut params, mut bytes) = (PARAMS_MAX, BYTES_MAX);
        for group in &mut self.groups {
            group.cut(&mut params, &mut bytes);
        }
        self.groups.retain(|group| !group.is_empty());
    }

    /// The values, those of the newest message first.
    pub fn values(&self) -> impl Iterator<Item = Newest<'_>> {
        self.groups.iter().flat_map(|group| {
            let fields = Record::read(&group.bytes).map(|record| record.fields());
            let (at_ms, position) = group.stamp();
            fields
                .into_iter()
                .flatten()
                .map(move |(key, value)| Newest {
                    key,
                    value,
                    at_ms,
                    position,
                })
        })
    }

    /// The same values as records, the newest first: each holds what nothing newer has replaced.
    pub fn records(&self) -> impl Iterator<Item = (Position, Record<'_>)> {
        self.groups
            .iter()
            .filter_map(|group| Some((group.position, Record::read(&group.bytes)?)))
    }

    /// The same encoded, for keeping: [`Telemetry::update`] takes each of them back.
    pub fn encoded(&self) -> impl Iterator<Item = (Position, &[u8])> {
        self.groups
            .iter()
            .map(|group| (group.position, group.bytes.as_slice()))
    }

    /// Forgets every parameter that `gone` names.
    pub fn forget(&mut self, gone: impl Fn(Key<'_>) -> bool) {
        for group in &mut self.groups {
            group.keep(|key| !gone(key));
        }
        self.groups.retain(|group| !group.is_empty());
    }

    /// The latest time of a value, unix ms.
    pub fn newest_ms(&self) -> Option<i64> {
        self.groups.first().map(|group| group.at_ms)
    }
}

impl Group {
    fn stamp(&self) -> (i64, Position) {
        (self.at_ms, self.position)
    }

    fn is_empty(&self) -> bool {
        Record::read(&self.bytes).is_none_or(|record| record.fields().rest().is_empty())
    }

    fn strip(&mut self, keys: &Keys<'_>) {
        self.keep(|key| !keys.contains(key));
    }

    fn keep(&mut self, keep: impl Fn(Key<'_>) -> bool) {
        let Some(record) = Record::read(&self.bytes) else {
            return;
        };
        if record.fields().all(|(key, _)| keep(key)) {
            return;
        }
        let mut fields = record.fields();
        let head = self.bytes.len() - fields.rest().len();
        let mut kept = self.bytes.get(..head).unwrap_or_default().to_vec();
        loop {
            let before = fields.rest();
            let Some((key, _)) = fields.next() else { break };
            if keep(key) {
                let length = before.len() - fields.rest().len();
                kept.extend_from_slice(before.get(..length).unwrap_or_default());
            }
        }
        self.bytes = kept;
        self.shape = None;
    }

    /// Cuts off what does not fit into what is left of the bounds, and takes what stays from them.
    fn cut(&mut self, params: &mut usize, bytes: &mut usize) {
        let Some(record) = Record::read(&self.bytes) else {
            return;
        };
        let mut fields = record.fields();
        let mut end = self.bytes.len() - fields.rest().len();
        *bytes = bytes.saturating_sub(end);
        while *params > 0 && fields.next().is_some() {
            let next = self.bytes.len() - fields.rest().len();
            if next - end > *bytes {
                break;
            }
            *bytes -= next - end;
            *params -= 1;
            end = next;
        }
        if end < self.bytes.len() {
            self.bytes.truncate(end);
            self.shape = None;
        }
    }
}

/// The parameters of a record, quick to ask for.
struct Keys<'a> {
    plain: [u64; PLAIN_WORDS],
    others: SmallVec<[Key<'a>; 16]>,
}

/// Dictionary numbers below 64 times this are asked for by one bit each.
const PLAIN_WORDS: usize = 32;

impl<'a> Keys<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match Record::read(bytes) {
            Some(record) => Self::of_record(&record),
            None => Self {
                plain: [0; PLAIN_WORDS],
                others: SmallVec::new(),
            },
        }
    }

    fn of_record(record: &Record<'a>) -> Self {
        let mut keys = Self {
            plain: [0; PLAIN_WORDS],
            others: SmallVec::new(),
        };
        for (key, _) in record.fields() {
            let word = plain(key).and_then(|(word, bit)| Some((keys.plain.get_mut(word)?, bit)));
            match word {
                Some((word, bit)) => *word |= bit,
                None => keys.others.push(key),
            }
        }
        keys
    }

    fn contains(&self, key: Key<'_>) -> bool {
        match plain(key).and_then(|(word, bit)| Some(self.plain.get(word)? & bit != 0)) {
            Some(found) => found,
            None => self.others.contains(&key),
        }
    }
}

fn plain(key: Key<'_>) -> Option<(usize, u64)> {
    match key {
        Key::Known(ParamId(id), 0) => Some((usize::from(id / 64), 1 << (id % 64))),
        _ => None,
    }
}
