//! `tollgate replay` and the reading of captures, on captures that are made here: packets with
//! real headers, of every kind of link and file that is read.

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice, VlanId};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tollgate::replay::{CaptureError, Ended, From, Known, Recording, Transcript, protocol_of};

const LOGIN: &[u8] = b"\x00\x0f356307042441013";
const FRAME: &str = "000000000000003608010000016B40D8EA30010000000000000000000000000000000105021503010101425E0F01F10000601A014E0000000000000000010000C7CF";
const CLIENT_PORT: u16 = 40_001;
const SERVER_PORT: u16 = 5027;

fn frame() -> Vec<u8> {
    protocols::kit::hex::decode(FRAME).expect("it is hex")
}

#[derive(Clone, Copy, PartialEq)]
enum Link {
    Ethernet,
    Vlan,
    Ipv6,
    Cooked,
    Cooked2,
    Loopback,
    Raw,
}

impl Link {
    fn number(self) -> u32 {
        match self {
            Self::Ethernet | Self::Vlan | Self::Ipv6 => 1,
            Self::Cooked => 113,
            Self::Cooked2 => 276,
            Self::Loopback => 0,
            Self::Raw => 101,
        }
    }

    /// A packet on this link: `flags` of S, A, F, R.
    fn packet(self, from_client: bool, flags: &str, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
        let (a, b) = (CLIENT_PORT, SERVER_PORT);
        let (source, target) = if from_client { (a, b) } else { (b, a) };
        let (host, peer) = if from_client { (7, 1) } else { (1, 7) };
        let ether = PacketBuilder::ethernet2([2, 0, 0, 0, 0, host], [2, 0, 0, 0, 0, peer]);
        let ip = match self {
            Self::Ipv6 => {
                let at = |last| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
                ether.ipv6(at(host), at(peer), 64)
            }
            Self::Vlan => ether
                .single_vlan(VlanId::try_new(12).expect("below 4096"))
                .ipv4([10, 0, 0, host], [10, 0, 0, peer], 64),
            _ => ether.ipv4([10, 0, 0, host], [10, 0, 0, peer], 64),
        };
        let mut tcp = ip.tcp(source, target, seq, 64_000);
        for flag in flags.chars() {
            tcp = match flag {
                'S' => tcp.syn(),
                'A' => tcp.ack(ack),
                'F' => tcp.fin(),
                _ => tcp.rst(),
            };
        }
        let mut whole = Vec::new();
        tcp.write(&mut whole, payload).expect("it fits a packet");
        let bare = whole[14..].to_vec();
        let before = |head: &[u8]| [head, &bare].concat();
        match self {
            Self::Ethernet | Self::Vlan | Self::Ipv6 => whole,
            Self::Cooked => before(&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 7, 0, 0, 8, 0]),
            Self::Cooked2 => before(&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 2, 0, 0, 0, 0, 7, 0, 0]),
            Self::Loopback => before(&[2, 0, 0, 0]),
            Self::Raw => bare,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Pcap,
    PcapBigEndianNanoseconds,
    PcapNg,
}

/// A capture of packets, each with its time in ms.
fn capture(format: Format, link: u32, packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    let big = format == Format::PcapBigEndianNanoseconds;
    let n4 = |n: u32| {
        if big {
            n.to_be_bytes()
        } else {
            n.to_le_bytes()
        }
    };
    if format == Format::PcapNg {
        // Section header; interface with a resolution of 10^-3 s.
        for word in [0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28] {
            file.extend(n4(word));
        }
        for word in [1, 32, link, 0, 9 | 1 << 16, 3, 0, 32] {
            file.extend(n4(word));
        }
        for (ms, packet) in packets {
            let length = u32::try_from(packet.len()).expect("short");
            let padding = packet.len().next_multiple_of(4) - packet.len();
            let total = 32 + length + u32::try_from(padding).expect("short");
            for word in [6, total, 0, 0, *ms, length, length] {
                file.extend(n4(word));
            }
            file.extend(packet);
            file.extend(vec![0; padding]);
            file.extend(n4(total));
        }
        return file;
    }
    let magic: u32 = if big { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let version = if big { 2 << 16 | 4 } else { 4 << 16 | 2 };
    for word in [magic, version, 0, 0, 262_144, link] {
        file.extend(n4(word));
    }
    for (ms, packet) in packets {
        let length = u32::try_from(packet.len()).expect("short");
        let fraction = ms % 1000 * if big { 1_000_000 } else { 1000 };
        for word in [ms / 1000, fraction, length, length] {
            file.extend(n4(word));
        }
        file.extend(packet);
    }
    file
}

/// A conversation: a login, its answer, a frame in two parts that change places, one of them sent
/// again, the answer; around a wrap of the client's sequence numbers.
fn conversation(link: Link) -> Vec<(u32, Vec<u8>)> {
    let (isn, base) = (u32::MAX - 20, 5000u32);
    let at = |offset: usize| {
        isn.wrapping_add(1)
            .wrapping_add(u32::try_from(offset).expect("small"))
    };
    let frame = frame();
    let (head, tail) = frame.split_at(30);
    let (login, end) = (LOGIN.len(), LOGIN.len() + frame.len());
    let p = |client, flags, seq, ack, payload: &[u8]| link.packet(client, flags, seq, ack, payload);
    vec![
        (1000, p(true, "S", isn, 0, b"")),
        (1001, p(false, "SA", base - 1, at(0), b"")),
        (1002, p(true, "A", at(0), base, b"")),
        (1010, p(true, "A", at(0), base, LOGIN)),
        (1020, p(false, "A", base, at(login), &[1])),
        (1300, p(true, "A", at(login + 30), base + 1, tail)),
        (1310, p(true, "A", at(0), base + 1, LOGIN)),
        (1320, p(true, "A", at(login), base + 1, head)),
        (1330, p(true, "A", at(login + 10), base + 1, &frame[10..40])),
        (1340, p(false, "A", base + 1, at(end), &[0, 0, 0, 1])),
        (1400, p(true, "FA", at(end), base + 5, b"")),
        (1401, p(false, "FA", base + 5, at(end + 1), b"")),
        (1402, p(true, "A", at(end + 1), base + 6, b"")),
    ]
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("it is written");
        path
    }

    fn capture(&self) -> PathBuf {
        let packets = conversation(Link::Ethernet);
        self.file("trackers.pcap", &capture(Format::Pcap, 1, &packets))
    }
}

fn replay(file: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("replay")
        .arg(file)
        .args(args)
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is text")
}

#[test]
fn every_kind_of_link_and_file_gives_the_same_conversation() {
    let folder = Folder::new();
    let links = [
        Link::Ethernet,
        Link::Vlan,
        Link::Ipv6,
        Link::Cooked,
        Link::Cooked2,
        Link::Loopback,
        Link::Raw,
    ];
    for link in links {
        for format in [
            Format::Pcap,
            Format::PcapBigEndianNanoseconds,
            Format::PcapNg,
        ] {
            let packets = conversation(link);
            let path = folder.file("one", &capture(format, link.number(), &packets));
            let recording = Recording::open(&path, None).expect("it is a capture");
            assert!(recording.broken.is_none());
            assert_eq!(recording.packets, 13);
            let [one] = recording.conversations.as_slice() else {
                panic!("one conversation: {:?}", recording.conversations);
            };
            assert_eq!(
                (one.client.port(), one.server.port()),
                (CLIENT_PORT, SERVER_PORT)
            );
            assert_eq!(
                (one.gaps, one.ended, one.from_start),
                (0, Ended::Closed, true)
            );
            assert_eq!(one.opened_us, 1_000_000);
            let said: Vec<_> = one
                .turns
                .iter()
                .map(|turn| (turn.at_us / 1000, turn.from, turn.bytes.clone()))
                .collect();
            assert_eq!(
                said,
                [
                    (1010, From::Client, LOGIN.to_vec()),
                    (1020, From::Server, vec![1]),
                    (1320, From::Client, frame()),
                    (1340, From::Server, vec![0, 0, 0, 1]),
                ]
            );
        }
    }
}

#[test]
fn a_capture_cut_anywhere_is_whole_or_says_where_it_ends() {
    let folder = Folder::new();
    for format in [Format::Pcap, Format::PcapNg] {
        let whole = capture(format, 1, &conversation(Link::Ethernet));
        for length in 0..whole.len() {
            let path = folder.file("cut", &whole[..length]);
            match Recording::open(&path, None) {
                Ok(recording) => match recording.broken {
                    None => assert!(recording.packets < 13),
                    Some(CaptureError::CutShort { at, packets }) => {
                        assert!(at < length as u64);
                        assert_eq!(packets, recording.packets);
                    }
                    Some(other) => panic!("at {length}: {other}"),
                },
                Err(CaptureError::Empty) => assert_eq!(length, 0),
                Err(CaptureError::Foreign { .. }) => assert!(length < 4, "at {length}"),
                Err(CaptureError::CutShort { at: 0, packets: 0 }) => assert!(length < 28),
                Err(other) => panic!("at {length}: {other}"),
            }
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_neither_panics_nor_hangs() {
    let folder = Folder::new();
    for format in [Format::Pcap, Format::PcapNg] {
        let whole = capture(format, 1, &conversation(Link::Ethernet));
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x80;
            let path = folder.file("flipped", &flipped);
            if let Ok(recording) = Recording::open(&path, None) {
                assert!(recording.packets <= 14);
            }
        }
    }
}

#[test]
fn what_cannot_be_read_says_what_where_and_what_to_do() {
    let folder = Folder::new();
    let whole = capture(Format::Pcap, 1, &conversation(Link::Ethernet));
    let foreign_link = capture(Format::Pcap, 105, &conversation(Link::Ethernet));
    let empty = capture(Format::Pcap, 1, &[]);
    let cut = whole.len() - 3;
    for (name, bytes, code, says, hint) in [
        (
            "a.gz",
            &b"\x1f\x8b\x08\x00aaaa"[..],
            65,
            "1f 8b 08 00, as gzip does",
            "tcpdump",
        ),
        ("b.txt", b"hello, world", 65, "as text does", "tcpdump"),
        ("c.pcap", b"", 65, "the file is empty", "tcpdump"),
        (
            "d.pcap",
            &whole[..cut],
            65,
            "after 12 whole packets",
            "--whole-part",
        ),
        ("e.pcap", &foreign_link, 65, "link type 105", "Ethernet"),
        (
            "f.pcap",
            &empty,
            65,
            "no TCP connection with data in it (0 packets)",
            "UDP",
        ),
    ] {
        let path = folder.file(name, bytes);
        let output = replay(&path, &["--decode"]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{name}: {error}");
        assert!(error.contains(says), "{name}: {error}");
        assert!(error.contains(hint), "{name}: {error}");
        assert!(error.contains(name), "{name}: {error}");
    }
    let path = folder.capture();
    let output = replay(&path, &["--decode", "--port", "99"]);
    assert_eq!(output.status.code(), Some(65));
    assert!(text(&output.stderr).contains("called are: 5027"));
    assert_eq!(replay(&path, &[]).status.code(), Some(64));
    assert_eq!(replay(&path, &["--to", "nowhere"]).status.code(), Some(64));
    assert_eq!(
        replay(&path, &["--decode", "--speed", "0"]).status.code(),
        Some(64)
    );
    let missing = folder.0.path().join("missing.pcap");
    assert_eq!(replay(&missing, &["--decode"]).status.code(), Some(66));
}

#[test]
fn the_whole_part_of_a_broken_capture_can_be_taken() {
    let folder = Folder::new();
    let whole = capture(Format::Pcap, 1, &conversation(Link::Ethernet));
    let path = folder.file("cut.pcap", &whole[..whole.len() - 3]);
    let output = replay(&path, &["--decode", "--whole-part"]);
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("warning: "));
    assert!(text(&output.stdout).contains("{\"message\":"));
}

#[test]
fn decoding_a_capture_prints_the_lines_of_decode() {
    let folder = Folder::new();
    let output = replay(&folder.capture(), &["--decode"]);
    let lines: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert!(lines[0].starts_with("{\"conversation\":{\"number\":1,\"protocol\":\"teltonika\""));
    assert_eq!(lines[1], r#"{"login":"356307042441013"}"#);
    assert!(lines[4].starts_with(r#"{"message":{"timestamp":1560161086"#));
    assert_eq!(lines[6], r#"{"end":2}"#);
}

#[test]
fn a_dialogue_is_extracted_in_the_form_of_the_fixtures_and_overwrites_none() {
    let folder = Folder::new();
    let into = folder.0.path().join("out");
    let args = ["--extract", into.to_str().expect("it is text")];
    let file = folder.capture();
    assert!(replay(&file, &args).status.success());
    let dialogue = std::fs::read_to_string(into.join("trackers_001.jsonl")).expect("it is there");
    let lines: Vec<_> = dialogue.lines().collect();
    assert_eq!(
        lines[0],
        r#"{"source":"capture trackers.pcap, conversation 1","now_ms":1000}"#
    );
    assert_eq!(lines[1], r#"{"hex":"000f333536333037303432343431303133"}"#);
    assert_eq!(lines[2], r#"{"login":"356307042441013"}"#);
    assert_eq!(lines.len(), 7);
    assert_eq!(replay(&file, &args).status.code(), Some(74));
}

/// The captures that are committed, with their names.
fn captures() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/_pcap");
    let files = std::fs::read_dir(folder).expect("the folder is there");
    let paths = files.map(|file| file.expect("it can be read").path());
    let mut captures: Vec<_> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "pcap")
        })
        .map(|path| {
            let name = path.file_stem().expect("it has one").to_string_lossy();
            (name.into_owned(), path)
        })
        .collect();
    captures.sort();
    assert!(!captures.is_empty());
    captures
}

#[test]
fn every_packet_of_the_committed_captures_has_right_checksums() {
    for (name, path) in captures() {
        let file = std::fs::read(&path).expect("it can be read");
        assert!(file.len() < 200_000, "{name} is small");
        let mut rest = &file[24..];
        while let Some((head, after)) = rest.split_first_chunk::<16>() {
            let length = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
            let (packet, after) = after.split_at(usize::try_from(length).expect("small"));
            rest = after;
            let sliced = SlicedPacket::from_ethernet(packet).expect("a whole packet");
            let Some(NetSlice::Ipv4(ip)) = sliced.net else {
                panic!("{name}: IPv4 is meant");
            };
            let header = ip.header().to_header();
            assert_eq!(
                header.calc_header_checksum(),
                header.header_checksum,
                "{name}"
            );
            let Some(TransportSlice::Tcp(tcp)) = sliced.transport else {
                panic!("{name}: TCP is meant");
            };
            let (from, to) = (header.source, header.destination);
            let sum = tcp.calc_checksum_ipv4(from, to).expect("it is short");
            assert_eq!(sum, tcp.checksum(), "{name}");
        }
    }
}

#[test]
fn the_committed_captures_are_whole_and_hold_the_answers_of_their_decoder() {
    for (name, path) in captures() {
        let recording = Recording::open(&path, None).expect("it is a capture");
        assert!(
            recording.broken.is_none() && recording.unreadable == 0,
            "{name}"
        );
        let protocol = protocols::find(&name).expect("named after its protocol");
        let mut messages = 0;
        for one in &recording.conversations {
            assert_eq!(
                (one.gaps, one.ended, one.from_start),
                (0, Ended::Closed, true),
                "{name}"
            );
            assert_eq!(
                protocol_of(one).map(|found| found.info.name),
                Some(name.as_str())
            );
            let mut transcript = Transcript::open(protocol, Known::default()).expect("no ident");
            let mut replies = Vec::new();
            for turn in one.turns.iter().filter(|turn| turn.from == From::Client) {
                let read = transcript.read(&turn.bytes, turn.at_us / 1000, &mut |line, reply| {
                    messages += usize::from(line.get("message").is_some());
                    replies.extend(reply.iter().flat_map(|reply| reply.accepted.to_vec()));
                    let amiss = line.get("rejected").or(line.get("fatal")).cloned();
                    amiss.map_or(Ok(()), Err)
                });
                assert_eq!(read, Ok(()), "{name}");
            }
            let recorded: Vec<u8> = one
                .turns
                .iter()
                .filter(|turn| turn.from == From::Server)
                .flat_map(|turn| turn.bytes.clone())
                .collect();
            assert_eq!(
                replies, recorded,
                "{name}: run `cargo xtask captures` again"
            );
        }
        assert!(messages >= 10, "{name}: {messages} messages");
    }
}

/// Hears one connection to its end and gives the recorded answers.
fn server() -> (String, std::thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("it has one").to_string();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody calls");
        let mut heard = Vec::new();
        let mut buffer = [0; 512];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            heard.extend_from_slice(&buffer[..length]);
            let answer: &[u8] = if heard == LOGIN { &[1] } else { &[0, 0, 0, 1] };
            stream.write_all(answer).expect("it listens");
        }
        heard
    });
    (to, heard)
}

#[test]
fn a_capture_is_played_at_its_pace_and_summed_up() {
    let folder = Folder::new();
    let (to, heard) = server();
    let begun = Instant::now();
    let output = replay(&folder.capture(), &["--to", &to, "--speed", "0.5"]);
    assert!(
        begun.elapsed() >= Duration::from_millis(600),
        "0.31 s at half the speed"
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(heard.join().expect("it ends"), [LOGIN, &frame()].concat());
    let table = text(&output.stdout);
    assert!(table.contains("2/2") && table.contains("1 done"), "{table}");
}

#[test]
fn nobody_there_is_an_exit_code_of_its_own() {
    let folder = Folder::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("it has one").to_string();
    drop(listener);
    let output = replay(&folder.capture(), &["--to", &to, "--speed", "max"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains("is the gateway running"));
}
