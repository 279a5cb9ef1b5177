//! Segments to conversations: what each side of a TCP connection said, in order, with the time at
//! which the other could have read it.
//!
//! Reordering, retransmission, overlap and the wrap of sequence numbers are undone. Of bytes that
//! came twice with different content the first are kept. Bytes that the capture has lost are
//! counted as a gap and skipped once the other side has acknowledged them, or when the
//! conversation ends. Every bound is named; beyond one, the oldest thing gives way and is counted.

use super::packet::Segment;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

/// The most bytes of one direction that wait for a hole before them.
pub const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// The most segments that wait so.
pub const WAITING_SEGMENTS_MAX: usize = 4096;
/// The most bytes of all conversations together: they are kept in memory.
pub const TOTAL_BYTES_MAX: usize = 512 * 1024 * 1024;
/// The most conversations of one capture.
pub const CONVERSATIONS_MAX: usize = 262_144;

/// A hole that the other side has acknowledged is given up after so long: packets of one capture
/// change places by much less.
const HOLE_WAIT_US: i64 = 3_000_000;

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The side that opened the connection: the tracker.
    Client,
    /// The other.
    Server,
}

/// Bytes that one side said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// When they had come, unix us.
    pub at_us: i64,
    /// Who.
    pub from: From,
    /// What.
    pub bytes: Vec<u8>,
}

/// How a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The capture ends first.
    Not,
    /// Both sides closed it.
    Closed,
    /// One side broke it off.
    Reset,
}

/// One TCP connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Who opened it.
    pub client: SocketAddr,
    /// Whom it called.
    pub server: SocketAddr,
    /// When its first packet came, unix us.
    pub opened_us: i64,
    /// Its beginning is in the capture.
    pub from_start: bool,
    /// What was said.
    pub turns: Vec<Turn>,
    /// How it ended.
    pub ended: Ended,
    /// How often the capture lost bytes.
    pub gaps: u32,
}

impl Conversation {
    /// The bytes that `side` said.
    pub fn bytes_of(&self, side: From) -> usize {
        let turns = self.turns.iter().filter(|turn| turn.from == side);
        turns.map(|turn| turn.bytes.len()).sum()
    }
}

/// Puts conversations together.
#[derive(Default)]
pub(super) struct Assembly {
    server_port: Option<u16>,
    known_ports: Vec<u16>,
    open: HashMap<(SocketAddr, SocketAddr), usize>,
    streams: Vec<Stream>,
    bytes: usize,
    /// Segments that found no room.
    pub(super) dropped: u64,
}

struct Stream {
    said: Conversation,
    client: Side,
    server: Side,
}

#[derive(Default)]
struct Side {
    /// The sequence number that offset 0 stands for.
    base: Option<u32>,
    /// The offset of the next byte that is due.
    due: u64,
    /// The offset up to which the other side has acknowledged.
    acknowledged: u64,
    waiting: BTreeMap<u64, (i64, Vec<u8>)>,
    waiting_bytes: usize,
    fin_at: Option<u64>,
}

impl Side {
    /// The offset of `sequence`: the one nearest to what is due, so that a wrap goes unnoticed.
    fn offset(&mut self, sequence: u32) -> Option<u64> {
        let base = *self.base.get_or_insert(sequence);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the numbers wrap on the wire"
        )]
        let due = base.wrapping_add(self.due as u32);
        let distance = i64::from(sequence.wrapping_sub(due).cast_signed());
        self.due.checked_add_signed(distance)
    }

    fn ended(&self) -> bool {
        self.fin_at.is_some_and(|at| self.due >= at)
    }
}

impl Assembly {
    /// `server_port`: who listens there is the server, and nothing else is kept. `known_ports`:
    /// where to look for the server of a conversation whose beginning is missing.
    pub(super) fn new(server_port: Option<u16>, known_ports: Vec<u16>) -> Self {
        Self {
            server_port,
            known_ports,
            ..Self::default()
        }
    }

    /// Takes the next segment of the capture.
    pub(super) fn push(&mut self, segment: &Segment<'_>) {
        let port = self.server_port;
        if port.is_some_and(|port| segment.from.port() != port && segment.to.port() != port) {
            return;
        }
        let ends = key(segment.from, segment.to);
        let begins = segment.syn && segment.acknowledged.is_none();
        let mut index = self.open.get(&ends).copied();
        if begins && index.is_some_and(|index| self.is_reused(index, segment)) {
            index = None;
        }
        let Some(index) = index.or_else(|| self.begin(ends, segment)) else {
            self.dropped += 1;
            return;
        };
        let Some(stream) = self.streams.get_mut(index) else {
            return;
        };
        let before = stream.said.turns.len();
        stream.push(segment, TOTAL_BYTES_MAX.saturating_sub(self.bytes));
        let new = stream.said.turns.get(before..).unwrap_or_default();
        self.bytes += new.iter().map(|turn| turn.bytes.len()).sum::<usize>();
        if self.bytes >= TOTAL_BYTES_MAX {
            self.dropped += 1;
        }
    }

    /// Everything has come: what still waits behind a hole is taken as it is.
    pub(super) fn finish(mut self) -> Vec<Conversation> {
        for stream in &mut self.streams {
            let last_us = stream.said.turns.last().map_or(0, |turn| turn.at_us);
            for from in [From::Client, From::Server] {
                stream.skip_holes(from, last_us, true);
            }
        }
        let mut said: Vec<_> = self.streams.into_iter().map(|stream| stream.said).collect();
        said.retain(|conversation| !conversation.turns.is_empty());
        said.sort_by_key(|conversation| conversation.opened_us);
        said
    }

    /// A new connection between the same ports, not the first packet of the old one again?
    fn is_reused(&self, index: usize, segment: &Segment<'_>) -> bool {
        let Some(stream) = self.streams.get(index) else {
            return false;
        };
        let same = stream.said.client == segment.from
            && stream.client.base == Some(segment.sequence.wrapping_add(1));
        !same
    }

    fn begin(&mut self, ends: (SocketAddr, SocketAddr), segment: &Segment<'_>) -> Option<usize> {
        if self.streams.len() == CONVERSATIONS_MAX || segment.rst {
            return None;
        }
        let (client, server) = self.roles(segment);
        let index = self.streams.len();
        self.streams.push(Stream {
            said: Conversation {
                client,
                server,
                opened_us: segment.at_us,
                from_start: segment.syn,
                turns: Vec::new(),
                ended: Ended::Not,
                gaps: 0,
            },
            client: Side::default(),
            server: Side::default(),
        });
        self.open.insert(ends, index);
        Some(index)
    }

    /// Who is the client? Who sent the SYN; else not the one at the port that was asked for, or at
    /// a port that trackers call, or at the lower one.
    fn roles(&self, segment: &Segment<'_>) -> (SocketAddr, SocketAddr) {
        let (from, to) = (segment.from, segment.to);
        let from_is_server = if segment.syn {
            segment.acknowledged.is_some()
        } else if let Some(port) = self.server_port {
            from.port() == port && to.port() != port
        } else {
            let known = |end: SocketAddr| self.known_ports.contains(&end.port());
            match (known(from), known(to)) {
                (true, false) => true,
                (false, true) => false,
                _ => from.port() < to.port(),
            }
        };
        if from_is_server {
            (to, from)
        } else {
            (from, to)
        }
    }
}

fn key(a: SocketAddr, b: SocketAddr) -> (SocketAddr, SocketAddr) {
    if a <= b { (a, b) } else { (b, a) }
}

impl Stream {
    fn sides(&mut self, from: From) -> (&mut Side, &mut Side) {
        match from {
            From::Client => (&mut self.client, &mut self.server),
            From::Server => (&mut self.server, &mut self.client),
        }
    }

    fn push(&mut self, segment: &Segment<'_>, room: usize) {
        if self.said.ended == Ended::Reset {
            return;
        }
        let from = if segment.from == self.said.client {
            From::Client
        } else {
            From::Server
        };
        let (side, other) = self.sides(from);
        // A SYN takes a sequence number of its own.
        let sequence = segment.sequence.wrapping_add(u32::from(segment.syn));
        let Some(offset) = side.offset(sequence) else {
            return;
        };
        if let Some(offset) = segment
            .acknowledged
            .filter(|_| other.base.is_some())
            .and_then(|sequence| other.offset(sequence))
        {
            other.acknowledged = other.acknowledged.max(offset);
        }
        let fits = side.waiting.len() < WAITING_SEGMENTS_MAX && segment.payload.len() <= room;
        if !segment.payload.is_empty() && fits {
            side.keep(offset, segment.at_us, segment.payload);
        }
        if segment.fin {
            side.fin_at = Some(offset + segment.payload.len() as u64);
        }
        self.deliver(from, segment.at_us);
        for from in [From::Client, From::Server] {
            self.skip_holes(from, segment.at_us, false);
        }
        if segment.rst {
            self.skip_holes(From::Client, segment.at_us, true);
            self.skip_holes(From::Server, segment.at_us, true);
            if self.said.ended == Ended::Not {
                self.said.ended = Ended::Reset;
            }
        } else if self.client.ended() && self.server.ended() {
            self.said.ended = Ended::Closed;
        }
    }

    /// Takes what is due.
    fn deliver(&mut self, from: From, now_us: i64) {
        let (side, _) = self.sides(from);
        let mut bytes = Vec::new();
        while let Some(first) = side.waiting.first_entry() {
            let offset = *first.key();
            if offset > side.due {
                break;
            }
            let (_, segment) = first.remove();
            side.waiting_bytes -= segment.len();
            let seen = usize::try_from(side.due - offset).unwrap_or(usize::MAX);
            if let Some(new) = segment.get(seen..) {
                bytes.extend_from_slice(new);
                side.due += new.len() as u64;
            }
        }
        if bytes.is_empty() {
            return;
        }
        // Packets of several interfaces may stand in the file in another order than in time.
        let last_us = self.said.turns.last().map_or(now_us, |turn| turn.at_us);
        self.said.turns.push(Turn {
            at_us: now_us.max(last_us),
            from,
            bytes,
        });
    }

    /// Gives up holes that will not be filled any more: the other side has had the bytes for a
    /// while, too much waits behind them, or it is the `end`.
    fn skip_holes(&mut self, from: From, now_us: i64, end: bool) {
        loop {
            let (side, _) = self.sides(from);
            let Some((&offset, &(at_us, _))) = side.waiting.first_key_value() else {
                return;
            };
            let lost = side.acknowledged >= offset && now_us - at_us > HOLE_WAIT_US;
            let full = side.waiting_bytes > WAITING_BYTES_MAX
                || side.waiting.len() >= WAITING_SEGMENTS_MAX;
            if !(lost || full || end) {
                return;
            }
            side.due = offset;
            self.said.gaps += 1;
            self.deliver(from, if end { now_us.max(at_us) } else { now_us });
        }
    }
}

impl Side {
    /// Keeps a segment until it is due. Of what came before, the first stays.
    fn keep(&mut self, offset: u64, at_us: i64, payload: &[u8]) {
        let end = offset + payload.len() as u64;
        if end <= self.due {
            return;
        }
        let mut start = offset.max(self.due);
        let mut pieces = Vec::new();
        // What lies before a waiting segment, between two, and behind the last.
        let before = self.waiting.range(..=start).next_back();
        if let Some((&at, (_, bytes))) = before {
            start = start.max(at + bytes.len() as u64);
        }
        while start < end {
            let next = self.waiting.range(start..end).next();
            let (until, after) = next.map_or((end, end), |(&at, (_, bytes))| {
                (at, at + bytes.len() as u64)
            });
            pieces.push((start, until));
            start = after;
        }
        for (start, until) in pieces {
            let (Ok(first), Ok(last)) = (
                usize::try_from(start - offset),
                usize::try_from(until - offset),
            ) else {
                continue;
            };
            if let Some(piece) = payload.get(first..last).filter(|piece| !piece.is_empty()) {
                self.waiting_bytes += piece.len();
                self.waiting.insert(start, (at_us, piece.to_vec()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "10.0.0.7:40001";
    const SERVER: &str = "10.0.0.1:5027";

    struct Wire {
        assembly: Assembly,
        now_us: i64,
        isn: u32,
    }

    impl Wire {
        fn new(isn: u32) -> Self {
            Self {
                assembly: Assembly::new(None, vec![5027]),
                now_us: 0,
                isn,
            }
        }

        fn segment(
            &self,
            from_client: bool,
            offset: u32,
            payload: &'static [u8],
        ) -> Segment<'static> {
            let (client, server) = (CLIENT.parse().unwrap(), SERVER.parse().unwrap());
            Segment {
                at_us: self.now_us,
                from: if from_client { client } else { server },
                to: if from_client { server } else { client },
                sequence: self.isn.wrapping_add(1).wrapping_add(offset),
                acknowledged: Some(0),
                syn: false,
                fin: false,
                rst: false,
                payload,
            }
        }

        fn syn(&mut self) {
            let mut segment = self.segment(true, 0, b"");
            segment.sequence = self.isn;
            segment.syn = true;
            segment.acknowledged = None;
            self.assembly.push(&segment);
        }

        fn client(&mut self, offset: u32, payload: &'static [u8]) {
            self.now_us += 1000;
            self.assembly.push(&self.segment(true, offset, payload));
        }

        fn said(self) -> Vec<(From, Vec<u8>)> {
            let turns = self.assembly.finish().into_iter().flat_map(|one| one.turns);
            turns.map(|turn| (turn.from, turn.bytes)).collect()
        }

        fn text(self) -> String {
            let bytes: Vec<u8> = self.said().into_iter().flat_map(|turn| turn.1).collect();
            String::from_utf8(bytes).unwrap()
        }
    }

    #[test]
    fn reordering_retransmission_overlap_and_wrap_are_undone() {
        for isn in [0, 1000, u32::MAX, u32::MAX - 1, u32::MAX - 3, u32::MAX - 9] {
            let mut wire = Wire::new(isn);
            wire.syn();
            wire.client(6, b"GHI");
            wire.client(3, b"DEF");
            wire.client(0, b"ABC");
            wire.client(0, b"ABCDEF");
            wire.client(7, b"HIJK");
            wire.client(12, b"MN");
            wire.client(10, b"KLMNO");
            wire.syn();
            assert_eq!(wire.text(), "ABCDEFGHIJKLMNO", "isn {isn}");
        }
    }

    #[test]
    fn of_two_contents_the_first_is_kept() {
        let mut wire = Wire::new(5);
        wire.syn();
        wire.client(4, b"EF");
        wire.client(2, b"cdefgh");
        wire.client(0, b"AB");
        assert_eq!(wire.text(), "ABcdEFgh");
    }

    #[test]
    fn a_stream_longer_than_the_sequence_numbers_may_wrap_within_what_waits() {
        let mut wire = Wire::new(u32::MAX - 4);
        wire.syn();
        wire.client(5, b"56");
        wire.client(2, b"23");
        wire.client(7, b"78");
        wire.client(4, b"4");
        wire.client(0, b"01");
        assert_eq!(wire.text(), "012345678");
    }

    #[test]
    fn a_hole_that_was_acknowledged_is_skipped_and_counted() {
        let mut wire = Wire::new(9);
        wire.syn();
        wire.client(0, b"AB");
        wire.client(4, b"EF");
        wire.now_us += HOLE_WAIT_US + 1;
        let mut answer = wire.segment(false, 500, b"ok");
        answer.acknowledged = Some(wire.isn.wrapping_add(7));
        wire.assembly.push(&answer);
        let conversations = wire.assembly.finish();
        assert_eq!(conversations[0].gaps, 1);
        let said: Vec<_> = conversations[0]
            .turns
            .iter()
            .map(|turn| &turn.bytes[..])
            .collect();
        assert_eq!(said, [&b"AB"[..], b"ok", b"EF"]);
    }

    #[test]
    fn a_hole_at_the_end_is_skipped_and_counted() {
        let mut wire = Wire::new(9);
        wire.syn();
        wire.client(4, b"EF");
        let conversations = wire.assembly.finish();
        assert_eq!(conversations[0].gaps, 1);
        assert_eq!(conversations[0].turns[0].bytes, b"EF");
    }

    #[test]
    fn the_same_ports_may_be_used_again() {
        let mut wire = Wire::new(9);
        wire.syn();
        wire.client(0, b"one");
        wire.isn = 70_000;
        wire.syn();
        wire.client(0, b"two");
        let said = wire.assembly.finish();
        assert_eq!(said.len(), 2);
        assert_eq!(said[1].turns[0].bytes, b"two");
    }

    #[test]
    fn who_is_the_client_is_known_without_the_beginning() {
        let mut wire = Wire::new(9);
        wire.now_us += 1;
        wire.assembly.push(&wire.segment(false, 0, b"hello"));
        let said = wire.assembly.finish();
        assert_eq!(said[0].client, CLIENT.parse().unwrap());
        assert!(!said[0].from_start);
        assert_eq!(said[0].turns[0].from, From::Server);
    }

    #[test]
    fn a_flood_behind_a_hole_is_bounded() {
        static PAYLOAD: [u8; 4096] = [7; 4096];
        let mut wire = Wire::new(9);
        wire.syn();
        for index in 0..1024u32 {
            wire.client(10 + index * 5000, &PAYLOAD);
            let stream = &wire.assembly.streams[0];
            assert!(stream.client.waiting_bytes <= WAITING_BYTES_MAX + PAYLOAD.len());
        }
        assert!(wire.assembly.finish()[0].gaps > 700);
    }
}
