//! The trials of issue 6 over real sockets: garbage on every protocol, flipped bits, crowds that are
//! silent or drip, floods of strangers. Each has a small size and, by the environment, its full one;
//! docs/testing.md lists them.

use crate::harness::{Gateway, Heard, LONG, Setup, Tracker, is_timeout, ms_of, now_ms, until};
use crate::image::Dice;
use crate::talk::Talk;
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const HONEST: &str = "356600000000301";

/// Tells a figure of a trial, for who asks for them with `--nocapture`.
#[expect(clippy::print_stderr, reason = "it is what a trial is run for")]
pub(crate) fn tell(figure: std::fmt::Arguments<'_>) {
    eprintln!("{figure}");
}

/// The size of a trial: as the environment says, or as CI has the time for.
pub(crate) fn size(name: &str, of_ci: usize) -> usize {
    let said = std::env::var(name).ok();
    said.map_or(of_ci, |said| said.parse().expect("a number"))
}

/// Bytes without a meaning, the same for the same seed.
fn noise(dice: &mut Dice, count: usize) -> Vec<u8> {
    (0..count).map(|_| dice.next().to_be_bytes()[0]).collect()
}

/// Changes some bits, loses or doubles a part.
fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..=dice.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = dice.below(bytes.len());
        match dice.below(4) {
            0 | 1 => bytes[at] ^= 1 << dice.below(8),
            2 => bytes.truncate(at),
            _ => bytes.extend_from_within(at..),
        }
    }
}

/// Sends it all, says that nothing more comes, and gives back what is heard to the end.
fn said_to(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    // it may be hung up on before
    drop(stream.write_all(bytes));
    drop(stream.shutdown(Shutdown::Write));
    let mut heard = Vec::new();
    match stream.read_to_end(&mut heard) {
        Err(error) if is_timeout(&error) => panic!("it is not hung up on"),
        // a reset says as much as an end
        Ok(_) | Err(_) => heard,
    }
}

fn call(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).expect("a connection");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    stream
}

/// Everybody but the honest one is gone, and each was counted with a close code.
fn all_are_gone_but(gateway: &Gateway, stay: f64) {
    until("they are gone", || {
        gateway.metric("tollgate_connections{") < stay + 0.5
    });
    until("each end is counted", || {
        // a worker hands in what it has counted some times a second
        let opened = gateway.metric("tollgate_connections_opened_total");
        let closed = gateway.metric("tollgate_connections_closed_total");
        (opened - closed - stay).abs() < 0.5
    });
}

#[test]
fn garbage_on_every_protocol_is_counted_and_neither_stored_nor_acked() {
    let bytes_each = size("TOLLGATE_GARBAGE_BYTES", 32 * 1024);
    let seed = size("TOLLGATE_SEED", 20_261_130) as u64;
    let mut dice = Dice(seed);
    let protocols = protocols::PROTOCOLS;
    let ports = u16::try_from(protocols.len() + 1).expect("some");
    let mut setup = Setup::new().with_ports(ports);
    setup
        .more
        .push_str("[bounds]\nidentify = \"5s\"\n[[accounts]]\nname = \"master\"\n");
    for protocol in protocols {
        let name = protocol.info.name;
        let channel = format!(
            "[[channels]]\nname = \"{name}\"\naccount = \"master\"\nprotocol = \"{name}\"\n"
        );
        setup.more.push_str(&channel);
    }
    let device = format!(
        "[[devices]]\nname = \"honest\"\naccount = \"master\"\nprotocol = \"teltonika\"\nident = \"{HONEST}\"\n"
    );
    setup.more.push_str(&device);
    let gateway = setup.start();
    let mut honest = Tracker::of(HONEST, gateway.channels["teltonika"].1);
    let begin_ms = now_ms() - 600_000;
    let mut acked = 0;
    for protocol in protocols {
        let name = protocol.info.name;
        let at = gateway.channels[name].1;
        let talks = Talk::all(name);
        let mut sent = 0;
        let mut open = Vec::new();
        while sent < bytes_each {
            let length = 1 + dice.below(4096);
            let mut bytes = noise(&mut dice, length);
            // three in four begin like what the protocol says
            if !talks.is_empty() && dice.below(4) > 0 {
                let talk = &talks[dice.below(talks.len())];
                bytes = talk.reads.concat();
                mutate(&mut dice, &mut bytes);
            }
            sent += bytes.len().max(64);
            let mut stream = call(at);
            drop(stream.write_all(&bytes));
            drop(stream.shutdown(Shutdown::Write));
            open.push(stream);
            // bounded, whatever the size of the trial
            if open.len() == 200 {
                open.clear();
            }
        }
        drop(open);
        acked += 1;
        assert_eq!(
            honest.send(&[begin_ms + acked]),
            Heard::Count(1),
            "beside {name}, seed {seed}"
        );
    }
    all_are_gone_but(&gateway, 1.0);
    let counted = |name: &str| gateway.metric(name);
    let of_honest = acked as f64;
    for name in ["messages", "frames", "acks"] {
        let counted = counted(&format!("tollgate_{name}_total"));
        assert!(
            (counted - of_honest).abs() < 0.5,
            "{name}: {counted} of {of_honest}, seed {seed}"
        );
    }
    let unread = counted("tollgate_rejects_total") + counted("tollgate_fatals_total");
    assert!(unread > 0.0);
    assert!(counted("tollgate_unidentified_bytes_total") > 0.0);
    gateway.audit();
    gateway.stop();
}

#[test]
fn every_flipped_bit_of_a_checked_frame_is_neither_stored_nor_acked() {
    let frames = size("TOLLGATE_FLIPPED_FRAMES", 1);
    let gateway = Setup::new().with("[bounds]\ntakeovers = 100000\n").start();
    let (master, _, teltonika) = gateway.master_and_channel();
    for name in ["teltonika", "gt06", "jt808"] {
        let at = match name {
            "teltonika" => teltonika,
            _ => gateway.channel_of(name, master).1,
        };
        // a login of its own has no checksum: it is not flipped; and what comes before the frame must
        // bring nothing by itself, for it is said again with each bit
        let is_alone = |talk: &Talk| {
            let frame = talk.reads.last().map(Vec::as_slice);
            let apart = talk.reads.len() == if name == "jt808" { 1 } else { 2 };
            apart && frame.is_some_and(|frame| is_one_frame(name, frame))
        };
        let mut idents = BTreeSet::new();
        for talk in Talk::all(name).into_iter().filter(is_alone).take(frames) {
            if idents.insert(talk.ident.clone()) {
                gateway.device_of(name, master, &talk.ident);
            }
            flip_each(&gateway, name, at, &talk);
        }
        assert!(!idents.is_empty(), "{name} has dialogues");
    }
    all_are_gone_but(&gateway, 0.0);
    gateway.audit();
    gateway.stop();
}

/// One frame of these protocols, with nothing behind it that would be acked by itself.
fn is_one_frame(name: &str, bytes: &[u8]) -> bool {
    match (name, bytes) {
        ("teltonika", [0, 0, 0, 0, _, _, high, low, rest @ ..]) => {
            rest.len() == usize::from(u16::from_be_bytes([*high, *low])) + 4
        }
        ("gt06", [0x78, 0x78, length, rest @ ..]) => rest.len() == usize::from(*length) + 2,
        ("jt808", [0x7e, between @ .., 0x7e]) => !between.contains(&0x7e),
        _ => false,
    }
}

/// Each bit of the last read of a dialogue, on a connection of its own.
fn flip_each(gateway: &Gateway, name: &str, at: SocketAddr, talk: &Talk) {
    let (frame, before) = talk.reads.split_last().expect("a frame");
    let before = before.concat();
    let plain = said_to(&mut call(at), &before);
    let counts = |gateway: &Gateway| {
        ["messages", "acks"].map(|name| {
            let count = gateway.metric(&format!("tollgate_{name}_total"));
            count.to_string()
        })
    };
    let was = counts(gateway);
    for bit in 0..frame.len() * 8 {
        let mut flipped = frame.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let heard = said_to(&mut call(at), &[before.as_slice(), &flipped].concat());
        let more = heard.strip_prefix(plain.as_slice()).unwrap_or_default();
        // a tracker of Teltonika may be told that none was taken
        let none_taken = more.is_empty() || (name == "teltonika" && more == [0; 4]);
        assert!(none_taken, "{name}, bit {bit} of {frame:02x?}: {more:02x?}");
    }
    assert_eq!(counts(gateway), was, "{name}: {frame:02x?}");
    let counted =
        gateway.metric("tollgate_rejects_total") + gateway.metric("tollgate_fatals_total");
    assert!(counted > 0.0, "{name}");
    // the frame itself is good; another dialogue may have brought the same record of the same ident
    let again = gateway.metric("tollgate_duplicate_messages_total");
    said_to(&mut call(at), &[before.as_slice(), frame].concat());
    until(&format!("{name}: the whole frame is stored"), || {
        counts(gateway)[0] != was[0]
            || gateway.metric("tollgate_duplicate_messages_total") > again + 0.5
    });
}

#[test]
fn a_crowd_that_is_silent_or_drips_is_gone_in_time_and_no_honest_connection_is() {
    let crowd = size("TOLLGATE_CROWD", 200);
    let honest_count = size("TOLLGATE_HONEST", 20);
    let identify = Duration::from_secs(4);
    let setup =
        Setup::new().with("[bounds]\nidentify = \"4s\"\nunidentified_per_source = 100000\n");
    let gateway = setup.start();
    let (master, _, at) = gateway.master_and_channel();
    let mut honest: Vec<Tracker> = (0..honest_count)
        .map(|number| {
            let ident = format!("3566000010{number:05}");
            gateway.device(master, &ident);
            Tracker::of(&ident, at)
        })
        .collect();
    let begun = Instant::now();
    let mut attackers: Vec<TcpStream> = (0..crowd)
        .map(|_| {
            let stream = call(at);
            stream.set_nonblocking(true).expect("a socket");
            stream
        })
        .collect();
    let opened = begun.elapsed();
    let begin_ms = now_ms() - 3_600_000;
    let mut round = 0;
    while !attackers.is_empty() {
        round += 1;
        for tracker in &mut honest {
            assert_eq!(
                tracker.send(&[begin_ms + round]),
                Heard::Count(1),
                "round {round}"
            );
        }
        let mut index = 0;
        attackers.retain_mut(|stream| {
            index += 1;
            // every second one says a byte of a login that has no end
            let drips = index % 2 == 0;
            let lives = !drips || stream.write_all(&[u8::from(round > 1)]).is_ok();
            lives && !matches!(stream.read(&mut [0]), Ok(0))
        });
        // the deadline, and what a loaded machine needs to notice
        assert!(
            begun.elapsed() < opened + identify + LONG,
            "{} are left",
            attackers.len()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(begun.elapsed() > identify / 2, "nobody is closed before");
    // on the same connections as ever
    for tracker in &mut honest {
        assert_eq!(tracker.send(&[begin_ms + round + 1]), Heard::Count(1));
    }
    until("the honest ones logged in once each", || {
        let logins = gateway.metric("tollgate_logins_total");
        (logins - honest_count as f64).abs() < 0.5
    });
    all_are_gone_but(&gateway, honest_count as f64);
    gateway.audit();
    gateway.stop();
}

#[test]
fn a_flood_of_strangers_takes_no_memory_and_keeps_no_newcomer_out() {
    // more than all tables of strangers hold at the full size
    let strangers = size("TOLLGATE_STRANGERS", 4_000);
    let gateway = Setup::new()
        .with("[bounds]\nunidentified_per_source = 100000\n")
        .start();
    let (master, _, at) = gateway.master_and_channel();
    let begin_ms = now_ms() - 3_600_000;
    // open all the time, and refused with every frame
    let mut waits = Tracker::call(at).expect("a connection");
    assert!(!waits.log_in(HONEST).expect("an answer"));
    let mut before_kib = 0;
    for number in 0..strangers {
        let mut stranger = Tracker::call(at).expect("a connection");
        let let_in = stranger
            .log_in(&format!("4{number:014}"))
            .expect("an answer");
        assert!(!let_in);
        assert_eq!(stranger.send(&[begin_ms]), Heard::Count(0));
        if number == strangers / 4 {
            before_kib = gateway.memory_kib();
        }
        if number == strangers / 2 {
            assert_eq!(waits.send(&[begin_ms]), Heard::Count(0));
            gateway.device(master, HONEST);
            assert_eq!(waits.send(&[begin_ms]), Heard::Count(1), "its next frame");
        }
    }
    let grown_kib = gateway.memory_kib().saturating_sub(before_kib);
    assert!(grown_kib <= 16 * 1024, "{grown_kib} KiB more");
    assert_eq!(waits.send(&[begin_ms + 1]), Heard::Count(1));
    all_are_gone_but(&gateway, 1.0);
    gateway.audit();
    gateway.stop();
}

/// The times, in ms, at which it was told that connections contend for a device.
fn alarms_ms(gateway: &Gateway, device: u64) -> Vec<i64> {
    let path = format!("/gw/devices/{device}/logs");
    let asked = json!({ "filter": "event_code == 9001", "fields": "timestamp,event_code" });
    let (status, answer) = gateway.call(0, "GET", &path, &asked);
    assert_eq!(status, 200, "{answer}");
    let rows = answer["result"].as_array().expect("rows").iter();
    rows.map(|row| ms_of(&row["timestamp"])).collect()
}

#[test]
fn a_live_ident_that_many_want_is_kept_or_changes_hands_so_often_and_the_alarm_is_raised_at_once() {
    let attempts = size("TOLLGATE_TAKEOVERS", 60);
    // takeovers of a device in a minute, unless it is set
    let bound = 10;
    for policy in ["keep", "newest"] {
        let mut setup = Setup::new();
        setup.more = format!(
            "[[accounts]]\nname = \"master\"\n[[channels]]\nname = \"all\"\naccount = \"master\"\n\
             protocol = \"teltonika\"\ntakeover = \"{policy}\"\n[[devices]]\nname = \"wanted\"\n\
             account = \"master\"\nprotocol = \"teltonika\"\nident = \"{HONEST}\"\n"
        );
        let gateway = setup.start();
        let at = gateway.channels["all"].1;
        let device = gateway.row(0, "GET", "/gw/devices/all?fields=id", &Value::Null)["id"]
            .as_u64()
            .expect("an id");
        let mut present = Tracker::of(HONEST, at);
        let begin_ms = now_ms() - 3_600_000;
        let (mut acked, mut said) = (0, 0);
        let mut crossed_ms = 0;
        let mut waiting = VecDeque::new();
        let login = [&[0, 15][..], HONEST.as_bytes()].concat();
        for attempt in 1..=attempts {
            if attempt == bound + 1 {
                crossed_ms = now_ms();
            }
            let mut thief = Tracker::call(at).expect("a connection");
            if policy == "newest" && attempt <= bound {
                assert!(
                    thief.log_in(HONEST).expect("an answer"),
                    "attempt {attempt}"
                );
                assert_eq!(present.hear(LONG), Heard::Closed, "attempt {attempt}");
                present = thief;
            } else {
                thief.say(&login);
                waiting.push_back(thief);
            }
            // some stay, most go: the gateway has neither of them for ever
            if waiting.len() > 50 {
                waiting.pop_front();
            }
            if attempt % 5 == 0 {
                said += 1;
                acked += i64::from(present.send(&[begin_ms + said]) == Heard::Count(1));
            }
        }
        assert_eq!(acked, said, "{policy}: the one that has it is served");
        until("the alarm is told", || {
            !alarms_ms(&gateway, device).is_empty()
        });
        let late_ms = alarms_ms(&gateway, device)[0] - crossed_ms;
        tell(format_args!(
            "{policy}: {attempts} attempts, {acked} of {said} acked, the alarm after {late_ms} ms"
        ));
        assert!(late_ms >= 0, "{policy}: not before it is too often");
        let closed = gateway.metric("tollgate_takeovers_total");
        let changes = if policy == "keep" { 0.0 } else { bound as f64 };
        assert!((closed - changes).abs() < 0.5, "{policy}: {closed}");
        drop((present, waiting));
        gateway.audit();
        gateway.stop();
    }
}

#[test]
fn who_has_gone_without_a_word_is_noticed_and_a_gateway_without_files_goes_on_when_it_has_some() {
    let gateway = Setup::new().with("[bounds]\nkeepalive = \"1s\"\n").start();
    let (master, _, at) = gateway.master_and_channel();
    gateway.device(master, HONEST);
    let mut tracker = Tracker::of(HONEST, at);
    let begin_ms = now_ms() - 3_600_000;
    assert_eq!(tracker.send(&[begin_ms]), Heard::Count(1));
    // no more files from now on: what it has open it has
    let files = gateway.open_files();
    let before = gateway.limit_files(files);
    let mut others: Vec<TcpStream> = (0..3).map(|_| call(at)).collect();
    let login = [&[0, 15][..], b"356600000000302"].concat();
    for other in &mut others {
        other.write_all(&login).expect("the kernel takes it");
    }
    assert_eq!(
        tracker.send(&[begin_ms + 1]),
        Heard::Count(1),
        "who is in is served"
    );
    until("it cannot accept", || {
        gateway.said().contains("cannot accept")
    });
    gateway.limit_files(before);
    // the same ident is answered once in a while: the first one is
    let mut answer = [9];
    others[0]
        .read_exact(&mut answer)
        .expect("an answer, at last");
    assert_eq!(answer, [0], "nobody has registered it");
    until("the errors are counted", || {
        gateway.metric("tollgate_accept_errors_total{error=\"files\"}") > 0.5
    });
    drop(others);
    until("they are gone", || {
        gateway.metric("tollgate_connections{") < 1.5
    });
    // its machine has forgotten the connection: nothing comes from there any more by itself
    if forget(&tracker.0) {
        drop(tracker);
        until("it is noticed", || {
            gateway.metric("tollgate_connections{") < 0.5
        });
        until("and counted", || {
            gateway.metric("tollgate_connections_closed_total{code=\"2\"}") > 0.5
        });
    } else {
        tell(format_args!(
            "no half-open connection can be made here: it was not tried"
        ));
    }
    gateway.audit();
    gateway.stop();
}

/// Makes this machine forget a socket, as after a loss of power: when it is closed its peer is told
/// nothing. Says whether that is allowed here.
fn forget(stream: &TcpStream) -> bool {
    const TCP_REPAIR: &str = "import socket, sys\n\
        peer = socket.socket(fileno=0)\n\
        peer.setsockopt(socket.IPPROTO_TCP, 19, 1)\n";
    let socket = std::os::fd::OwnedFd::from(stream.try_clone().expect("a copy"));
    let python = std::process::Command::new("python3")
        .args(["-c", TCP_REPAIR])
        .stdin(std::process::Stdio::from(socket))
        .stderr(std::process::Stdio::null())
        .status();
    python.is_ok_and(|status| status.success())
}
