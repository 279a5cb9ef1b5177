//! What today's decoders make of kept raw traffic, against what was stored of it: connection by
//! connection, record by record.
//!
//! A record is the same if its bytes are. Of what is left, records of one ident and time are the same
//! reading, changed; then those are left that only one side has. What a side could not have (no
//! device had the ident, chunks are missing, it had been stored before) is told apart, so that it
//! counts neither as understood anew nor as lost. Nothing is stored here.

use crate::ids::ConnectionId;
use crate::raw::{Direction, Packet};
use compact_str::CompactString;
use foldhash::fast::FixedState;
use protocols::{
    Env, Event, Ident, Lookup, Output, Protocol, Record, Session, Settings, message_object,
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::Arc;

/// Of so many records that were stored it is known, twice over, where there is no end to them.
const SEEN_MAX: usize = 1_000_000;
/// Of so many records of a connection at most it is waited for what the other side has.
const WAITING_MAX: usize = 10_000;
/// A connection without chunks for so many looks has none that are kept.
const IDLE_LOOKS_MAX: u32 = 30;

/// The records of one side of a connection.
type Records = VecDeque<(CompactString, Vec<u8>)>;

/// What was stored, by connection.
#[derive(Default)]
pub struct Stored {
    by_connection: HashMap<ConnectionId, Kept>,
    all: Seen,
    bytes: usize,
}

/// What was stored of one connection and is not compared yet.
#[derive(Default)]
struct Kept {
    records: Records,
    /// How often [`Redecoder::settle`] has found no chunk of the connection.
    idle: u32,
}

/// Hashes of records that were stored: of all of them, or where there is no end to them of the
/// newest.
#[derive(Default)]
struct Seen {
    newest: HashSet<u64>,
    before: HashSet<u64>,
    most: Option<usize>,
}

impl Seen {
    fn insert(&mut self, hash: u64) {
        if self.most.is_some_and(|most| self.newest.len() >= most) {
            self.before = std::mem::take(&mut self.newest);
        }
        self.newest.insert(hash);
    }

    fn contains(&self, hash: u64) -> bool {
        self.newest.contains(&hash) || self.before.contains(&hash)
    }
}

impl Stored {
    /// For what comes without an end: of what is compared already it remembers this much.
    pub fn without_end() -> Self {
        let mut stored = Self::default();
        stored.all.most = Some(SEEN_MAX);
        stored
    }

    /// Adds a record; of one connection they come in their order.
    pub fn push(&mut self, connection: ConnectionId, ident: &str, record: &[u8]) {
        self.all.insert(hash_of(ident, record));
        self.bytes += record.len() + ident.len();
        let kept = self.by_connection.entry(connection).or_default();
        kept.records
            .push_back((CompactString::new(ident), record.to_vec()));
    }

    /// What was stored of a connection, in order.
    #[cfg(test)]
    pub(crate) fn of(&self, connection: ConnectionId) -> Vec<(&str, &[u8])> {
        let kept = self.by_connection.get(&connection);
        let records = kept.into_iter().flat_map(|kept| &kept.records);
        records
            .map(|(ident, record)| (ident.as_str(), record.as_slice()))
            .collect()
    }

    /// What it holds, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn hash_of(ident: &str, record: &[u8]) -> u64 {
    FixedState::default().hash_one((ident, record))
}

/// The settings of devices, by protocol and ident.
pub type DeviceSettings = HashMap<(u16, Ident), Arc<Settings>>;

/// What differs.
#[derive(Debug, Clone, PartialEq)]
pub enum Differs {
    /// The same reading, with other parameters: as it was stored, as it is read now.
    Changed(Map<String, Value>, Map<String, Value>),
    /// Read now, and not stored then.
    New(Map<String, Value>),
    /// Stored then, and not read now.
    Lost(Map<String, Value>),
}

/// One difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// On which connection.
    pub connection: ConnectionId,
    /// Of whom.
    pub ident: CompactString,
    /// The number of the protocol.
    pub protocol: u16,
    /// What.
    pub what: Differs,
}

/// How much was compared, of one protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Connections.
    pub connections: u64,
    /// Frames.
    pub frames: u64,
    /// Frames, or parts of frames, that cannot be read now.
    pub rejected: u64,
    /// Records that are as they were.
    pub same: u64,
    /// Records with other parameters.
    pub changed: u64,
    /// Records that were not stored then.
    pub new: u64,
    /// Records that are not read now.
    pub lost: u64,
    /// Records that were stored already when they came.
    pub again: u64,
    /// Records of idents that no device had.
    pub nobodys: u64,
    /// Records that cannot be compared, because chunks of their connection are missing.
    pub unsure: u64,
}

/// Decodes kept raw traffic and compares.
pub struct Redecoder {
    /// What there is to compare with.
    pub stored: Stored,
    settings: Arc<DeviceSettings>,
    open: BTreeMap<ConnectionId, Stream>,
    out: Output,
    /// By the number of the protocol.
    pub sums: BTreeMap<u16, Sums>,
}

struct Stream {
    protocol: &'static Protocol,
    session: Box<dyn Session>,
    logins: Vec<Ident>,
    unread: Vec<u8>,
    records: Records,
    due: u32,
    /// Nothing of it is missing.
    whole: bool,
    /// The ident's device, as it was then.
    registered: bool,
    lost: bool,
}

struct Known<'a> {
    settings: &'a DeviceSettings,
    protocol: u16,
}

impl Lookup for Known<'_> {
    fn choose(&mut self, candidates: &[Ident]) -> usize {
        let known = |ident: &Ident| self.settings.contains_key(&(self.protocol, ident.clone()));
        candidates.iter().position(known).unwrap_or(0)
    }

    fn identify(&mut self, _: u16, ident: &Ident, _: Option<&str>) -> Option<Arc<Settings>> {
        self.settings.get(&(self.protocol, ident.clone())).cloned()
    }
}

impl Redecoder {
    /// Compares with what was stored; devices are read as their settings say now.
    pub fn new(stored: Stored, settings: Arc<DeviceSettings>) -> Self {
        Self {
            stored,
            settings,
            open: BTreeMap::new(),
            out: Output::default(),
            sums: BTreeMap::new(),
        }
    }

    /// Devices are read by these settings from now on.
    pub fn read_by(&mut self, settings: Arc<DeviceSettings>) {
        self.settings = settings;
    }

    /// Takes the next chunk; those of one connection come in their order.
    pub fn take(&mut self, packet: &Packet, tell: &mut dyn FnMut(Difference)) {
        let id = packet.connection;
        if !self.open.contains_key(&id) {
            // what is not known yet is with the chunk that shows it
            let Some(protocol) = protocols::by_number(packet.protocol) else {
                return;
            };
            self.sums.entry(protocol.number).or_default().connections += 1;
            let stream = Stream {
                protocol,
                session: (protocol.open)(),
                logins: Vec::new(),
                unread: Vec::new(),
                records: Records::new(),
                due: packet.index.min(1),
                whole: packet.index <= 1,
                registered: false,
                lost: false,
            };
            self.open.insert(id, stream);
        }
        let Some(stream) = self.open.get_mut(&id) else {
            return;
        };
        stream.whole &= packet.index == stream.due;
        stream.due = packet.index.saturating_add(1);
        stream.registered |= packet.device.is_some();
        let sums = self.sums.entry(stream.protocol.number).or_default();
        match packet.direction {
            Direction::Received => {
                stream.unread.extend_from_slice(&packet.bytes);
                stream.feed(false, packet.at_us, &self.settings, &mut self.out, sums);
            }
            Direction::Disconnect => {
                stream.feed(true, packet.at_us, &self.settings, &mut self.out, sums);
                self.close(id, tell);
            }
            Direction::Connect | Direction::Sent => {}
        }
    }

    /// For what comes without an end, after each look at both sides: what is the same on them is
    /// done with, and nothing waits for ever. What is on one side only is told when its connection
    /// ends, or when too much waits: a frame may be held for a while before it is stored.
    pub fn settle(&mut self, tell: &mut dyn FnMut(Difference)) {
        let mut full = Vec::new();
        for (id, stream) in &mut self.open {
            let Some(kept) = self.stored.by_connection.get_mut(id) else {
                continue;
            };
            kept.idle = 0;
            let sums = self.sums.entry(stream.protocol.number).or_default();
            if stream.whole {
                take_front(&mut kept.records, &mut stream.records, sums);
            } else {
                sums.unsure += kept.records.len() as u64;
                kept.records.clear();
                stream.records.clear();
            }
            if kept.records.len().max(stream.records.len()) > WAITING_MAX {
                full.push(*id);
            }
        }
        for id in full {
            self.compare(id, tell);
        }
        self.stored.by_connection.retain(|id, kept| {
            if !self.open.contains_key(id) {
                kept.idle += 1;
            }
            kept.idle < IDLE_LOOKS_MAX
        });
    }

    /// It is looked at no longer, but connections go on: of what only one side has yet nobody can tell.
    pub fn break_off(mut self, tell: &mut dyn FnMut(Difference)) -> BTreeMap<u16, Sums> {
        self.settle(tell);
        for stream in self.open.values_mut() {
            stream.whole = false;
        }
        self.finish(tell)
    }

    /// Everything has come. Gives back the sums by protocol.
    pub fn finish(mut self, tell: &mut dyn FnMut(Difference)) -> BTreeMap<u16, Sums> {
        while let Some((id, _)) = self.open.first_key_value() {
            let id = *id;
            self.close(id, tell);
        }
        self.sums
    }

    fn close(&mut self, id: ConnectionId, tell: &mut dyn FnMut(Difference)) {
        self.compare(id, tell);
        self.open.remove(&id);
        self.stored.by_connection.remove(&id);
    }

    /// Compares what both sides have of a connection, and is done with it.
    fn compare(&mut self, id: ConnectionId, tell: &mut dyn FnMut(Difference)) {
        let Some(stream) = self.open.get_mut(&id) else {
            return;
        };
        let protocol = stream.protocol.number;
        let sums = self.sums.entry(protocol).or_default();
        let kept = self.stored.by_connection.get_mut(&id);
        let mut was = kept
            .map(|kept| std::mem::take(&mut kept.records))
            .unwrap_or_default();
        let mut now = std::mem::take(&mut stream.records);
        take_front(&mut was, &mut now, sums);
        take_same(&mut was, &mut now, sums);
        let mut differs = |ident: &CompactString, what| {
            tell(Difference {
                connection: id,
                ident: ident.clone(),
                protocol,
                what,
            });
        };
        for (ident, record) in now {
            let time = time_of(&record);
            let at = was
                .iter()
                .position(|(of, before)| *of == ident && time_of(before) == time);
            if let Some((_, before)) = at.and_then(|at| was.remove(at)) {
                sums.changed += 1;
                differs(&ident, Differs::Changed(object(&before), object(&record)));
            } else if self.stored.all.contains(hash_of(&ident, &record)) {
                sums.again += 1;
            } else if !stream.registered {
                sums.nobodys += 1;
            } else if !stream.whole {
                sums.unsure += 1;
            } else {
                sums.new += 1;
                differs(&ident, Differs::New(object(&record)));
            }
        }
        for (ident, record) in was {
            if stream.whole {
                sums.lost += 1;
                differs(&ident, Differs::Lost(object(&record)));
            } else {
                sums.unsure += 1;
            }
        }
    }
}

/// Takes away what both begin with.
fn take_front(was: &mut Records, now: &mut Records, sums: &mut Sums) {
    while was.front().is_some() && was.front() == now.front() {
        was.pop_front();
        now.pop_front();
        sums.same += 1;
    }
}

/// Takes away what both have, wherever it stands.
fn take_same(was: &mut Records, now: &mut Records, sums: &mut Sums) {
    if was.is_empty() || now.is_empty() {
        return;
    }
    let mut left: HashMap<u64, u32> = HashMap::new();
    for (ident, record) in now.iter() {
        *left.entry(hash_of(ident, record)).or_default() += 1;
    }
    let mut gone: HashMap<u64, u32> = HashMap::new();
    was.retain(|(ident, record)| {
        let hash = hash_of(ident, record);
        match left.get_mut(&hash) {
            Some(count) if *count > 0 => {
                *count -= 1;
                *gone.entry(hash).or_default() += 1;
                sums.same += 1;
                false
            }
            _ => true,
        }
    });
    now.retain(
        |(ident, record)| match gone.get_mut(&hash_of(ident, record)) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            _ => true,
        },
    );
}

fn time_of(record: &[u8]) -> Option<i64> {
    Record::read(record).map(|record| record.timestamp_ms())
}

fn object(record: &[u8]) -> Map<String, Value> {
    Record::read(record)
        .as_ref()
        .map(message_object)
        .unwrap_or_default()
}

impl Stream {
    fn feed(
        &mut self,
        eof: bool,
        at_us: i64,
        settings: &DeviceSettings,
        out: &mut Output,
        sums: &mut Sums,
    ) {
        let mut start = 0;
        while !self.lost && (start < self.unread.len() || eof) {
            out.clear();
            let rest = self.unread.get(start..).unwrap_or_default();
            let mut lookup = Known {
                settings,
                protocol: self.protocol.number,
            };
            let env = Env {
                now_ms: at_us.div_euclid(1_000),
                lookup: &mut lookup,
                out,
            };
            let fed = self.session.feed(rest, eof, env);
            start += fed.consumed.min(rest.len());
            self.lost = fed.fatal.is_some();
            for event in &out.events {
                match event {
                    Event::Frame { .. } => sums.frames += 1,
                    Event::Rejected(_) => sums.rejected += 1,
                    Event::Login { login, ident, .. } => {
                        let login = usize::from(*login);
                        match self.logins.get_mut(login) {
                            Some(known) => *known = ident.clone(),
                            None => self.logins.push(ident.clone()),
                        }
                    }
                    Event::Message { login, range } => {
                        let ident = self.logins.get(usize::from(*login));
                        let ident = ident.map_or("", Ident::as_str);
                        let record = out.bytes.get(range.clone()).unwrap_or_default();
                        self.records
                            .push_back((CompactString::new(ident), record.to_vec()));
                    }
                    _ => {}
                }
            }
            if fed.consumed == 0 || fed.consumed >= rest.len() {
                break;
            }
        }
        self.unread.drain(..start.min(self.unread.len()));
        if self.lost {
            self.unread.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AccountId, ChannelId, DeviceId};
    use protocols::kit::checksum;

    const IDENT: &str = "356307042441013";

    fn frame(time_ms: i64, speed: u8) -> Vec<u8> {
        let mut body = vec![8, 1];
        body.extend_from_slice(&time_ms.to_be_bytes());
        body.push(1);
        body.extend_from_slice(&253_000_000i32.to_be_bytes());
        body.extend_from_slice(&546_000_000i32.to_be_bytes());
        body.extend_from_slice(&[0, 100, 0, 90, 9, 0, speed, 0, 1, 1, 239, 1, 0, 0, 0, 1]);
        let mut frame = vec![0; 4];
        frame.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&body);
        frame.extend_from_slice(&u32::from(checksum::crc16_ibm(&body)).to_be_bytes());
        frame
    }

    fn packet(index: u32, direction: Direction, bytes: Vec<u8>) -> Packet {
        Packet {
            at_us: 1_795_521_600_000_000,
            connection: ConnectionId(9),
            channel: ChannelId(1),
            index,
            direction,
            protocol: protocols::find("teltonika").unwrap().number,
            port: 1,
            device: DeviceId(7),
            account: AccountId(1),
            peer: "192.0.2.9:1".parse().unwrap(),
            ident: IDENT.into(),
            bytes,
            ended: None,
        }
    }

    fn traffic(frames: &[Vec<u8>]) -> Vec<Packet> {
        let login = [&[0, 15], IDENT.as_bytes()].concat();
        let mut all = vec![packet(0, Direction::Connect, Vec::new())];
        for bytes in std::iter::once(&login).chain(frames) {
            let index = u32::try_from(all.len()).unwrap();
            all.push(packet(index, Direction::Received, bytes.clone()));
        }
        let index = u32::try_from(all.len()).unwrap();
        all.push(packet(index, Direction::Disconnect, Vec::new()));
        all
    }

    /// The records that the traffic decodes to.
    fn records(packets: &[Packet]) -> Vec<Vec<u8>> {
        let mut redecoder = Redecoder::new(Stored::default(), Arc::default());
        for packet in packets.iter().take(packets.len() - 1) {
            redecoder.take(packet, &mut |_| {});
        }
        let stream = redecoder.open.into_values().next().unwrap();
        stream
            .records
            .into_iter()
            .map(|(_, record)| record)
            .collect()
    }

    fn compared(packets: &[Packet], stored: &[Vec<u8>]) -> (Sums, Vec<Differs>) {
        let mut before = Stored::default();
        for record in stored {
            before.push(ConnectionId(9), IDENT, record);
        }
        let mut redecoder = Redecoder::new(before, Arc::default());
        let mut differences = Vec::new();
        let mut tell = |one: Difference| differences.push(one.what);
        for packet in packets {
            redecoder.take(packet, &mut tell);
        }
        let sums = redecoder.finish(&mut tell);
        (*sums.values().next().unwrap(), differences)
    }

    #[test]
    fn what_is_the_same_changed_new_and_lost_is_told_apart() {
        let all = traffic(&[frame(1_000, 50), frame(2_000, 60), frame(3_000, 70)]);
        let stored = records(&all);
        assert_eq!(stored.len(), 3);
        let (sums, none) = compared(&all, &stored);
        assert_eq!((sums.same, sums.frames, none.len()), (3, 4, 0));

        // the second is read otherwise now, the third was not stored, a fourth is not read any more
        let other = records(&traffic(&[frame(2_000, 61), frame(9_000, 1)]));
        let before = [stored[0].clone(), other[0].clone(), other[1].clone()];
        let (sums, differences) = compared(&all, &before);
        assert_eq!((sums.same, sums.changed, sums.new, sums.lost), (1, 1, 1, 1));
        let Differs::Changed(was, now) = &differences[0] else {
            panic!("{differences:?}");
        };
        assert_eq!(
            (&was["position.speed"], &now["position.speed"]),
            (&61.into(), &60.into())
        );
        assert!(matches!(differences[1], Differs::New(_)));
        assert!(matches!(differences[2], Differs::Lost(_)));
    }

    #[test]
    fn what_could_not_be_there_is_neither_new_nor_lost() {
        let mut holes = traffic(&[frame(1_000, 50), frame(2_000, 60)]);
        let stored = records(&holes);
        holes.remove(2);
        let (sums, differences) = compared(&holes, &stored);
        assert_eq!((sums.same, sums.unsure, differences.len()), (1, 1, 0));

        let mut strangers = traffic(&[frame(1_000, 50)]);
        for packet in &mut strangers {
            packet.device = DeviceId::NONE;
        }
        let (sums, differences) = compared(&strangers, &[]);
        assert_eq!((sums.nobodys, differences.len()), (1, 0));

        let twice = traffic(&[frame(1_000, 50), frame(1_000, 50)]);
        let (sums, differences) = compared(&twice, &stored[..1]);
        assert_eq!((sums.same, sums.again, differences.len()), (1, 1, 0));
    }

    #[test]
    fn without_an_end_the_same_is_done_with_at_once_and_a_difference_is_told_at_the_end() {
        let all = traffic(&[frame(1_000, 50), frame(2_000, 60), frame(3_000, 70)]);
        let stored = records(&all);
        let other = records(&traffic(&[frame(2_000, 61)]));
        let mut redecoder = Redecoder::new(Stored::without_end(), Arc::default());
        let mut told = 0;
        let now = [&stored[0], &other[0], &stored[2]];
        for (at, packet) in all.iter().enumerate() {
            // the journal is there before the raw traffic: login, then a frame each
            if let Some(record) = at.checked_sub(2).and_then(|at| now.get(at)) {
                redecoder.stored.push(ConnectionId(9), IDENT, record);
            }
            // of a connection whose raw traffic nobody keeps
            redecoder
                .stored
                .push(ConnectionId(8), IDENT, record_of(&stored));
            redecoder.settle(&mut |_| told += 1);
            redecoder.take(packet, &mut |_| told += 1);
        }
        assert_eq!(told, 1);
        for _ in 0..IDLE_LOOKS_MAX {
            redecoder.settle(&mut |_| told += 1);
        }
        assert!(redecoder.stored.by_connection.is_empty());
        let sums = redecoder.break_off(&mut |_| told += 1);
        let sums = sums.values().next().unwrap();
        assert_eq!((sums.same, sums.changed, told), (2, 1, 1));
    }

    fn record_of(stored: &[Vec<u8>]) -> &[u8] {
        &stored[0]
    }

    #[test]
    fn of_connections_that_go_on_nothing_is_said_that_nobody_knows_yet() {
        let all = traffic(&[frame(1_000, 50), frame(2_000, 60)]);
        let stored = records(&all);
        let mut redecoder = Redecoder::new(Stored::without_end(), Arc::default());
        redecoder.stored.push(ConnectionId(9), IDENT, &stored[0]);
        for packet in all.iter().take(all.len() - 1) {
            redecoder.take(packet, &mut |_| {});
            redecoder.settle(&mut |_| {});
        }
        let mut told = 0;
        let sums = redecoder.break_off(&mut |_| told += 1);
        let sums = sums.values().next().unwrap();
        assert_eq!((sums.same, sums.unsure, sums.new, told), (1, 1, 0, 0));
    }
}
