//! `captures`: `fixtures/_pcap/<protocol>.pcap`, TCP conversations of the corpus' frames with the
//! answers that the decoder gives.
//!
//! They are made, not recorded, and say so; but every packet is one that a network could have
//! carried: Ethernet, IPv4 and TCP with right lengths and checksums, a handshake, sequence and
//! acknowledgement numbers, acknowledgements, both FINs. Who runs this again gets the same bytes:
//! times and ports are counted from constants, and the frames come from `_corpus.jsonl` in its
//! order.
//!
//! A frame is taken if it is a whole vector as it goes over TCP, its checksum holds, no device
//! setting is needed to read it, and it is read to its end without a reject. Where the corpus has
//! the login apart from the data, each connection begins with one.

use anyhow::{Context as _, Result, bail};
use etherparse::PacketBuilder;
use protocols::kit::hex;
use protocols::{Protocol, Settings};
use serde_json::Value as Json;
use std::path::Path;
use std::sync::Arc;

use crate::harness::runner::{Registered, Runner};
use crate::say;

/// The protocols of which there is a capture.
const PROTOCOLS: [&str; 4] = ["gt06", "h02", "teltonika", "wialon"];
/// Logins for where the corpus has none whose checksum holds: its ident, without a checksum.
const LOGINS: [(&str, &[u8]); 1] = [("wialon", b"#L#42001300083;NA\r\n")];
/// When the first connection is opened: 2026-11-23 00:00:00 UTC, in us.
const BEGIN_US: u64 = 1_795_392_000_000_000;
/// Between the openings of two connections.
const OPEN_EVERY_US: u64 = 250_000;
/// Between a frame's answer and the next frame.
const FRAME_EVERY_US: u64 = 400_000;
/// Between a packet and the answer to it.
const WAY_US: u64 = 20_000;
/// The longest payload of a segment; longer frames take several.
const SEGMENT_BYTES_MAX: usize = 1360;
/// The most frames of one connection.
const FRAMES_MAX: usize = 12;
/// The most bytes of one file.
const FILE_BYTES_MAX: usize = 190_000;

const SERVER_IP: [u8; 4] = [192, 0, 2, 1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Writes those whose protocol is named, or all.
pub(crate) fn write(root: &Path, names: &[String]) -> Result<()> {
    for name in PROTOCOLS {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let bytes = capture(root, name)?;
        let path = root.join("fixtures/_pcap").join(format!("{name}.pcap"));
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, &bytes).with_context(|| path.display().to_string())?;
        say(&format!("{name}.pcap: {} bytes", bytes.len()));
    }
    if let Some(unknown) = names
        .iter()
        .find(|name| !PROTOCOLS.contains(&name.as_str()))
    {
        bail!(
            "there is no capture of {unknown}; there are: {}",
            PROTOCOLS.join(", ")
        );
    }
    Ok(())
}

/// The whole file of one protocol.
fn capture(root: &Path, name: &str) -> Result<Vec<u8>> {
    let protocol = protocols::find(name).with_context(|| format!("no protocol {name}"))?;
    let corpus = root.join("fixtures").join(name).join("_corpus.jsonl");
    let text = std::fs::read_to_string(&corpus).with_context(|| corpus.display().to_string())?;
    let connections = connections(protocol, &text)?;
    let mut packets = Vec::new();
    let mut bytes = 0;
    let mut trackers: Vec<(String, u64)> = Vec::new();
    for (index, frames) in connections.iter().enumerate() {
        // A tracker has an address of its own, and one connection at a time.
        let ident = ident(protocol, frames);
        let mut at_us = BEGIN_US + OPEN_EVERY_US * u64::try_from(index)?;
        let tracker = trackers.iter().position(|(seen, _)| *seen == ident);
        let tracker = tracker.unwrap_or_else(|| {
            trackers.push((ident, 0));
            trackers.len() - 1
        });
        let free_us = trackers.get_mut(tracker).map(|(_, free_us)| free_us);
        let free_us = free_us.context("it was put there")?;
        at_us = at_us.max(*free_us);
        let mut wire = Wire::open(protocol.info.port, index, tracker, at_us)?;
        wire.play(protocol, frames)?;
        *free_us = wire.now_us + OPEN_EVERY_US;
        bytes += wire.bytes();
        if bytes > FILE_BYTES_MAX {
            break;
        }
        packets.append(&mut wire.packets);
    }
    // Connections overlap; of packets at the same time the first connection's come first.
    packets.sort_by_key(|(at_us, _)| *at_us);
    file(&packets)
}

/// A classic pcap file: little endian, microseconds, Ethernet.
fn file(packets: &[(u64, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let word = |word: u32, file: &mut Vec<u8>| file.extend(word.to_le_bytes());
    for value in [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 262_144, 1] {
        word(value, &mut file);
    }
    for (at_us, packet) in packets {
        let length = u32::try_from(packet.len())?;
        word(u32::try_from(at_us / 1_000_000)?, &mut file);
        word(u32::try_from(at_us % 1_000_000)?, &mut file);
        word(length, &mut file);
        word(length, &mut file);
        file.extend_from_slice(packet);
    }
    Ok(file)
}

/// One vector of the corpus.
struct Vector {
    session: String,
    ident: String,
    bytes: Vec<u8>,
}

/// The frames of each connection to be made.
fn connections(protocol: &Protocol, corpus: &str) -> Result<Vec<Vec<Vec<u8>>>> {
    let mut lines = corpus.lines().map(serde_json::from_str::<Json>);
    let head = lines.next().context("the corpus is empty")??;
    let by_login = head["ident"] == "login";
    let mut vectors = Vec::new();
    for line in lines {
        let line = line?;
        let usable = line["kind"] == "decode"
            && line["as_stream"] != false
            && line["checksum_ok"] != false
            && line["model"].is_null()
            && line["format"].is_null();
        let bytes = line["hex"].as_str().and_then(hex::decode);
        if let Some(bytes) = bytes.filter(|_| usable) {
            vectors.push(Vector {
                session: line["session"].as_str().unwrap_or_default().to_owned(),
                ident: line["idents"][0].as_str().unwrap_or_default().to_owned(),
                bytes,
            });
        }
    }
    let own = LOGINS.iter().find(|(name, _)| *name == protocol.info.name);
    let login = vectors
        .iter()
        .map(|vector| vector.bytes.clone())
        .find(|bytes| by_login && is_login(protocol, bytes))
        .or(own.map(|(_, login)| login.to_vec()));
    let mut open: Vec<(String, Connection)> = Vec::new();
    let mut done = Vec::new();
    for vector in vectors {
        let renames = by_login && !vector.ident.is_empty();
        let is_login = renames && is_login(protocol, &vector.bytes);
        // A tracker speaks for itself alone: whose frames name it, its frames go together.
        let key = if by_login && (is_login || !renames) {
            vector.session
        } else {
            vector.ident
        };
        let index = open.iter().position(|(of, _)| *of == key);
        let index = index.unwrap_or_else(|| {
            let login = login.as_deref().filter(|_| !renames);
            open.push((key, Connection::begin(protocol, login)));
            open.len() - 1
        });
        let Some((_, connection)) = open.get_mut(index) else {
            continue;
        };
        let again = is_login && connection.frames.first() == Some(&vector.bytes);
        if is_login && !again || connection.frames.len() == FRAMES_MAX {
            let login = is_login
                .then(|| vector.bytes.clone())
                .or(connection.login());
            let next = Connection::begin(protocol, login.as_deref());
            done.push(std::mem::replace(connection, next));
        }
        if !is_login {
            connection.add(protocol, vector.bytes);
        }
    }
    done.extend(open.into_iter().map(|(_, connection)| connection));
    Ok(done
        .into_iter()
        .filter(|connection| connection.frames.len() > connection.logins)
        .map(|connection| connection.frames)
        .collect())
}

/// The frames of a connection so far: all of them are read without a reject.
struct Connection {
    frames: Vec<Vec<u8>>,
    /// So many of them, at the beginning, are only there to log in.
    logins: usize,
}

impl Connection {
    fn begin(protocol: &Protocol, login: Option<&[u8]>) -> Self {
        let mut this = Self {
            frames: Vec::new(),
            logins: 0,
        };
        if let Some(login) = login {
            this.add(protocol, login.to_vec());
            this.logins = this.frames.len();
        }
        this
    }

    fn login(&self) -> Option<Vec<u8>> {
        self.frames.first().filter(|_| self.logins > 0).cloned()
    }

    /// Adds a frame if it is read to its end without a reject after those before it.
    fn add(&mut self, protocol: &Protocol, frame: Vec<u8>) {
        let mut runner = runner(protocol);
        for before in &self.frames {
            runner.feed(before, false);
        }
        let lines = runner.feed(&frame, false);
        let refused = |line: &Json| line.get("rejected").is_some() || line.get("fatal").is_some();
        if !lines.iter().any(refused) && runner.unread().is_empty() && !lines.is_empty() {
            self.frames.push(frame);
        }
    }
}

fn runner(protocol: &Protocol) -> Runner {
    let known = Registered {
        settings: Some(Arc::new(Settings::default())),
    };
    Runner::open(protocol, known, ms(BEGIN_US))
}

/// Who speaks in a connection.
fn ident(protocol: &Protocol, frames: &[Vec<u8>]) -> String {
    let mut runner = runner(protocol);
    for frame in frames {
        runner.feed(frame, false);
    }
    runner.ident().unwrap_or_default()
}

fn ms(us: u64) -> i64 {
    i64::try_from(us / 1000).unwrap_or(i64::MAX)
}

fn is_login(protocol: &Protocol, bytes: &[u8]) -> bool {
    let mut runner = runner(protocol);
    let lines = runner.feed(bytes, false);
    let has = |key: &str| lines.iter().any(|line| line.get(key).is_some());
    has("login") && !has("message") && !has("rejected") && runner.unread().is_empty()
}

/// One TCP connection being written.
struct Wire {
    packets: Vec<(u64, Vec<u8>)>,
    now_us: u64,
    client_ip: [u8; 4],
    client_mac: [u8; 6],
    client_port: u16,
    server_port: u16,
    client_next: u32,
    server_next: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Client,
    Server,
}

impl Wire {
    fn open(server_port: u16, index: usize, tracker: usize, now_us: u64) -> Result<Self> {
        let number = u32::try_from(index)?;
        let host = u8::try_from(tracker % 200)?;
        Ok(Self {
            packets: Vec::new(),
            now_us,
            client_ip: [198, 51, 100, 10 + host],
            client_mac: [2, 0, 0, 1, 0, host],
            client_port: u16::try_from(40_000 + index)?,
            server_port,
            // Far apart, and near enough to the end that some connections wrap.
            client_next: number.wrapping_mul(0x3779_b97f).wrapping_sub(40),
            server_next: number.wrapping_mul(0x0515_1f2d).wrapping_add(7),
        })
    }

    fn bytes(&self) -> usize {
        self.packets
            .iter()
            .map(|(_, packet)| 16 + packet.len())
            .sum()
    }

    fn play(&mut self, protocol: &Protocol, frames: &[Vec<u8>]) -> Result<()> {
        self.handshake()?;
        let mut runner = runner(protocol);
        for frame in frames {
            self.now_us += FRAME_EVERY_US;
            self.data(Side::Client, frame)?;
            // The capture is taken at the server: the frame is read when its last packet came.
            runner.now_ms = ms(self.packets.last().map_or(BEGIN_US, |(at_us, _)| *at_us));
            self.now_us += WAY_US;
            let lines = runner.feed(frame, false);
            let mut reply = Vec::new();
            for line in &lines {
                let text = line["reply"].as_str().unwrap_or_default();
                reply.extend(hex::decode(text).context("a reply is hexadecimal")?);
            }
            if reply.is_empty() {
                self.packet(Side::Server, "A", &[])?;
            } else {
                self.data(Side::Server, &reply)?;
                self.now_us += WAY_US;
                self.packet(Side::Client, "A", &[])?;
            }
        }
        self.farewell()
    }

    fn handshake(&mut self) -> Result<()> {
        self.packet(Side::Client, "S", &[])?;
        self.client_next = self.client_next.wrapping_add(1);
        self.now_us += WAY_US;
        self.packet(Side::Server, "SA", &[])?;
        self.server_next = self.server_next.wrapping_add(1);
        self.now_us += WAY_US;
        self.packet(Side::Client, "A", &[])
    }

    fn farewell(&mut self) -> Result<()> {
        self.now_us += FRAME_EVERY_US;
        self.packet(Side::Client, "FA", &[])?;
        self.client_next = self.client_next.wrapping_add(1);
        self.now_us += WAY_US;
        self.packet(Side::Server, "FA", &[])?;
        self.server_next = self.server_next.wrapping_add(1);
        self.now_us += WAY_US;
        self.packet(Side::Client, "A", &[])
    }

    fn data(&mut self, from: Side, bytes: &[u8]) -> Result<()> {
        for segment in bytes.chunks(SEGMENT_BYTES_MAX) {
            self.packet(from, "PA", segment)?;
            let length = u32::try_from(segment.len())?;
            match from {
                Side::Client => self.client_next = self.client_next.wrapping_add(length),
                Side::Server => self.server_next = self.server_next.wrapping_add(length),
            }
            self.now_us += 100;
        }
        Ok(())
    }

    /// Writes a packet with `flags` of S, A, P, F; lengths and checksums are the builder's.
    fn packet(&mut self, from: Side, flags: &str, payload: &[u8]) -> Result<()> {
        let (client, server) = (
            (self.client_mac, self.client_ip, self.client_port),
            (SERVER_MAC, SERVER_IP, self.server_port),
        );
        let (source, target, sequence, acknowledged) = match from {
            Side::Client => (client, server, self.client_next, self.server_next),
            Side::Server => (server, client, self.server_next, self.client_next),
        };
        let mut packet = PacketBuilder::ethernet2(source.0, target.0)
            .ipv4(source.1, target.1, 64)
            .tcp(source.2, target.2, sequence, 64_240);
        for flag in flags.chars() {
            packet = match flag {
                'S' => packet.syn(),
                'P' => packet.psh(),
                'F' => packet.fin(),
                _ => packet.ack(acknowledged),
            };
        }
        let mut bytes = Vec::with_capacity(packet.size(payload.len()));
        packet.write(&mut bytes, payload)?;
        self.packets.push((self.now_us, bytes));
        Ok(())
    }
}
