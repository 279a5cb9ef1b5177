//! Raw traffic as the TCP streams that it came in: handshake, data and acknowledgements, the end.
//!
//! The gateway sees a stream, not its packets: who called and what was said are as they were, the
//! packets around them are made. The gateway's own address was not kept: 192.0.2.1 and 2001:db8::1
//! of the ranges for documentation stand for it. A chunk that was not kept is a hole of one byte in
//! the sequence numbers, so that no tool takes what is behind it for what follows.

use super::pcapng::PcapngWriter;
use crate::ids::ConnectionId;
use crate::raw::{Direction, Ended, Packet};
use etherparse::PacketBuilder;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Payload of a packet at most: what fits an Ethernet frame.
const PAYLOAD_BYTES_MAX: usize = 1400;
const WINDOW: u16 = u16::MAX;
const TIME_TO_LIVE: u8 = 64;

/// What happened to a connection, to be said at the packet that follows: when (unix us), and what.
pub type Notes = BTreeMap<ConnectionId, VecDeque<(i64, String)>>;

/// Writes raw traffic as a capture.
pub struct Rebuilt<W> {
    file: PcapngWriter<W>,
    notes: Notes,
    streams: BTreeMap<ConnectionId, Stream>,
    last_us: i64,
    packets: u64,
}

/// One TCP connection as far as it is written.
struct Stream {
    client: Side,
    server: Side,
    /// The chunk that is due.
    due: u32,
    ended: bool,
    last_us: i64,
}

struct Side {
    at: SocketAddr,
    /// The sequence number of the next byte.
    next: u32,
}

#[derive(Clone, Copy, Default)]
struct Flags {
    syn: bool,
    ack: bool,
    psh: bool,
    fin: bool,
    rst: bool,
}

const ACK: Flags = Flags {
    syn: false,
    ack: true,
    psh: false,
    fin: false,
    rst: false,
};

impl<W: Write> Rebuilt<W> {
    /// Begins the capture.
    pub fn begin(out: W, comments: &[String], notes: Notes) -> io::Result<Self> {
        Ok(Self {
            file: PcapngWriter::begin(out, comments)?,
            notes,
            streams: BTreeMap::new(),
            last_us: 0,
            packets: 0,
        })
    }

    /// Takes the next chunk; those of one connection come in their order.
    pub fn take(&mut self, packet: &Packet) -> io::Result<()> {
        let id = packet.connection;
        let mut stream = match self.streams.remove(&id) {
            Some(stream) => stream,
            None => self.open(packet)?,
        };
        let done = self.go_on(&mut stream, packet);
        self.streams.insert(id, stream);
        done
    }

    /// Ends the capture: with how much it holds, or with why it breaks off. Gives back the output.
    pub fn finish(mut self, cut_off: Option<&str>) -> io::Result<W> {
        let connections = self.streams.len();
        let mut comments: Vec<String> = Vec::new();
        for id in self.streams.keys() {
            let notes = self.notes.remove(id).unwrap_or_default();
            comments.extend(notes.into_iter().map(|(_, note)| note));
        }
        comments.push(match cut_off {
            Some(why) => format!("{CUT_OFF}{why}"),
            None => format!("{WHOLE}{connections} connections, {} packets", self.packets),
        });
        self.file.finish(self.last_us, &comments)
    }

    fn open(&mut self, packet: &Packet) -> io::Result<Stream> {
        let server: IpAddr = match packet.peer.ip() {
            IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        };
        // another one for each connection: the same ports may call again
        let first = crc32fast::hash(&packet.connection.0.to_le_bytes());
        let mut stream = Stream {
            client: Side {
                at: packet.peer,
                next: first,
            },
            server: Side {
                at: SocketAddr::new(server, packet.port),
                next: first.rotate_left(16),
            },
            due: 1,
            ended: false,
            last_us: packet.at_us,
        };
        let comment = format!(
            "connection {}, channel {}",
            packet.connection, packet.channel
        );
        let syn = Flags {
            syn: true,
            ..Flags::default()
        };
        self.send(&mut stream, true, syn, &[], &[comment])?;
        let syn_ack = Flags { syn: true, ..ACK };
        self.send(&mut stream, false, syn_ack, &[], &[])?;
        self.send(&mut stream, true, ACK, &[], &[])?;
        Ok(stream)
    }

    fn go_on(&mut self, stream: &mut Stream, packet: &Packet) -> io::Result<()> {
        if stream.ended || packet.direction == Direction::Connect {
            return Ok(());
        }
        stream.last_us = stream.last_us.max(packet.at_us);
        let lost = packet.index.saturating_sub(stream.due);
        stream.due = packet.index.saturating_add(1);
        let from_client = packet.direction != Direction::Sent;
        let mut comments: Vec<String> = Vec::new();
        if lost > 0 {
            comments.push(format!("{lost} chunks before this were not kept"));
            let side = if from_client {
                &mut stream.client
            } else {
                &mut stream.server
            };
            side.next = side.next.wrapping_add(1);
        }
        if packet.direction == Direction::Disconnect {
            return self.end(stream, packet, comments);
        }
        for piece in packet.bytes.chunks(PAYLOAD_BYTES_MAX) {
            let push = Flags { psh: true, ..ACK };
            comments.extend(self.due_notes(packet.connection, packet.at_us));
            self.send(
                stream,
                from_client,
                push,
                piece,
                &std::mem::take(&mut comments),
            )?;
            self.send(stream, !from_client, ACK, &[], &[])?;
        }
        Ok(())
    }

    fn end(
        &mut self,
        stream: &mut Stream,
        packet: &Packet,
        mut comments: Vec<String>,
    ) -> io::Result<()> {
        stream.ended = true;
        comments.extend(self.due_notes(packet.connection, i64::MAX));
        let (code, how) = packet.ended.unwrap_or_default();
        comments.push(format!("closed with code {code}"));
        let fin = Flags { fin: true, ..ACK };
        let by_client = match how {
            Ended::Broken => {
                let rst = Flags { rst: true, ..ACK };
                return self.send(stream, true, rst, &[], &comments);
            }
            Ended::ByTracker => true,
            Ended::ByGateway => false,
        };
        self.send(stream, by_client, fin, &[], &comments)?;
        self.send(stream, !by_client, fin, &[], &[])?;
        self.send(stream, by_client, ACK, &[], &[])
    }

    /// What is to be said of the connection up to this time.
    fn due_notes(&mut self, connection: ConnectionId, until_us: i64) -> Vec<String> {
        let mut due = Vec::new();
        if let Some(notes) = self.notes.get_mut(&connection) {
            while notes.front().is_some_and(|(at_us, _)| *at_us <= until_us) {
                due.extend(notes.pop_front().map(|(_, note)| note));
            }
        }
        due
    }

    fn send(
        &mut self,
        stream: &mut Stream,
        from_client: bool,
        flags: Flags,
        payload: &[u8],
        comments: &[String],
    ) -> io::Result<()> {
        let Stream { client, server, .. } = stream;
        let (from, to) = if from_client {
            (client, server)
        } else {
            (server, client)
        };
        let ip = match (from.at.ip(), to.at.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                PacketBuilder::ipv4(from.octets(), to.octets(), TIME_TO_LIVE)
            }
            (from, to) => PacketBuilder::ipv6(v6(from), v6(to), TIME_TO_LIVE),
        };
        let mut tcp = ip.tcp(from.at.port(), to.at.port(), from.next, WINDOW);
        if flags.ack {
            tcp = tcp.ack(to.next);
        }
        if flags.syn {
            tcp = tcp.syn();
        }
        if flags.psh {
            tcp = tcp.psh();
        }
        if flags.fin {
            tcp = tcp.fin();
        }
        if flags.rst {
            tcp = tcp.rst();
        }
        let mut packet = Vec::with_capacity(tcp.size(payload.len()));
        tcp.write(&mut packet, payload).map_err(io::Error::other)?;
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let taken = length + u32::from(flags.syn) + u32::from(flags.fin);
        from.next = from.next.wrapping_add(taken);
        self.last_us = self.last_us.max(stream.last_us);
        self.packets += 1;
        self.file.packet(stream.last_us, &packet, comments)
    }
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// How the last comment of a whole capture begins.
pub const WHOLE: &str = "whole: ";
/// How the last comment of one begins that breaks off.
pub const CUT_OFF: &str = "cut off: ";

#[cfg(test)]
mod tests {
    use super::super::{Ended as ConversationEnded, From, Recording};
    use super::*;
    use crate::ids::{AccountId, ChannelId, DeviceId};

    fn packet(connection: u64, index: u32, direction: Direction, bytes: &[u8]) -> Packet {
        Packet {
            at_us: 1_795_521_600_000_000 + i64::from(index) * 1_000,
            connection: ConnectionId(connection),
            channel: ChannelId(3),
            index,
            direction,
            protocol: 1,
            port: 20001,
            device: DeviceId(7),
            account: AccountId(4),
            peer: match connection {
                2 => "[2001:db8::9]:4711".parse().unwrap(),
                _ => "198.51.100.9:4711".parse().unwrap(),
            },
            ident: "a".into(),
            bytes: bytes.to_vec(),
            ended: None,
        }
    }

    fn end(connection: u64, index: u32, how: Ended) -> Packet {
        Packet {
            ended: Some((2, how)),
            ..packet(connection, index, Direction::Disconnect, &[])
        }
    }

    fn written(packets: &[Packet], notes: Notes) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it.pcapng");
        let file = std::fs::File::create(&path).unwrap();
        let mut rebuilt = Rebuilt::begin(file, &["a test".into()], notes).unwrap();
        for packet in packets {
            rebuilt.take(packet).unwrap();
        }
        rebuilt.finish(None).unwrap();
        (dir, path)
    }

    #[test]
    fn what_is_written_is_read_back_byte_for_byte() {
        use ConversationEnded::{Closed, Reset};
        use Direction::{Connect, Received, Sent};
        let long = vec![0x5a; 70_000];
        let packets = [
            packet(1, 0, Connect, &[]),
            packet(2, 0, Connect, &[]),
            packet(1, 1, Received, b"login"),
            packet(2, 1, Received, &long),
            packet(1, 2, Sent, b"\x01"),
            packet(1, 3, Received, b"data"),
            end(2, 2, Ended::Broken),
            end(1, 4, Ended::ByTracker),
            // the same ports call again
            packet(3, 0, Connect, &[]),
            packet(3, 1, Received, b"again"),
            end(3, 2, Ended::ByGateway),
        ];
        let (_dir, path) = written(&packets, Notes::new());
        let recording = Recording::open(&path, None).unwrap();
        assert!(recording.broken.is_none());
        assert_eq!((recording.not_tcp, recording.unreadable), (0, 0));
        let said: Vec<_> = recording
            .conversations
            .iter()
            .map(|one| {
                let bytes = |side: From| -> Vec<u8> {
                    let turns = one.turns.iter().filter(|turn| turn.from == side);
                    turns.flat_map(|turn| turn.bytes.clone()).collect()
                };
                (
                    bytes(From::Client),
                    bytes(From::Server),
                    one.ended,
                    one.gaps,
                )
            })
            .collect();
        assert_eq!(said.len(), 3);
        assert_eq!(said[0], (b"logindata".to_vec(), vec![1], Closed, 0));
        assert!(said[1] == (long, Vec::new(), Reset, 0));
        assert_eq!(said[2], (b"again".to_vec(), Vec::new(), Closed, 0));
    }

    #[test]
    fn what_was_not_kept_is_a_gap_and_events_are_comments() {
        let packets = [
            packet(1, 2, Direction::Received, b"behind a gap"),
            packet(1, 3, Direction::Received, b" and more"),
        ];
        let notes = Notes::from([(
            ConnectionId(1),
            VecDeque::from([(0, "identified".to_owned()), (i64::MAX, "later".to_owned())]),
        )]);
        let (_dir, path) = written(&packets, notes);
        let recording = Recording::open(&path, None).unwrap();
        assert_eq!(recording.conversations[0].gaps, 1);
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for said in [
            "a test",
            "connection 1, channel 3",
            "1 chunks before this were not kept",
            "identified",
            "later",
            "whole: 1 connections, 7 packets",
        ] {
            assert!(text.contains(said), "{said}");
        }
    }
}
