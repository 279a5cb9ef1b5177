//! Recorded conversations of four protocols, played over real connections.

use crate::harness::{Gateway, Heard, LONG, Setup, TOLLGATE, Tracker, command, ms_of, now_ms};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;
use tollgate::replay::{Conversation, From, Known, Recording, Transcript};

const PROTOCOLS: [&str; 4] = ["gt06", "h02", "teltonika", "wialon"];

#[test]
fn get_the_recorded_answers_and_are_read_back() {
    let mut items = "[[accounts]]\nname = \"master\"\n".to_owned();
    for name in PROTOCOLS {
        let channel = format!(
            "[[channels]]\nname = \"{name}\"\naccount = \"master\"\nprotocol = \"{name}\"\n"
        );
        items += &channel;
    }
    let recordings = PROTOCOLS.map(|name| {
        let file = Path::new("fixtures/_pcap").join(format!("{name}.pcap"));
        Recording::open(&file, None)
            .expect("a capture")
            .conversations
    });
    let expected: Vec<_> = PROTOCOLS.iter().zip(&recordings).map(decoded).collect();
    for (name, expected) in PROTOCOLS.iter().zip(&expected) {
        for ident in expected.keys() {
            let device = format!(
                "[[devices]]\nname = \"{name} {ident}\"\naccount = \"master\"\n\
                 protocol = \"{name}\"\nident = \"{ident}\"\n"
            );
            items += &device;
        }
    }
    let gateway = Setup::new().with(&items).start();
    let mut all = 0;
    for ((name, conversations), expected) in PROTOCOLS.iter().zip(&recordings).zip(&expected) {
        let (channel, at) = gateway.channels[*name];
        for conversation in conversations {
            play(name, conversation, at);
        }
        let said = messages(&gateway, &["--channel", &channel.to_string()], expected);
        assert!(said.iter().all(|message| message["channel.id"] == channel));
        all += said.len();
        for (ident, times) in expected {
            let of_ident = said
                .iter()
                .filter(|message| message["ident"] == ident.as_str());
            let device = of_ident.map(|message| &message["device.id"]).next();
            let device = device.unwrap_or_else(|| panic!("{name}: {ident} has no message"));
            read_back(&gateway, &device.to_string(), ident, times);
        }
    }
    let master = gateway.row(
        0,
        "GET",
        "/platform/subaccounts/all?fields=counters",
        &json!(null),
    );
    assert_eq!(
        master["counters"]["totals"]["messages"], all,
        "each is charged once"
    );
    gateway.audit();
    gateway.stop();
}

/// The times of the messages of each ident, ascending, each record once; `None` for those that
/// have no time of their own: they get the server's.
fn decoded(
    (name, conversations): (&&str, &Vec<Conversation>),
) -> BTreeMap<String, Vec<Option<i64>>> {
    const DAY_MS: i64 = 86_400_000;
    let protocol = protocols::find(name).expect("it is registered");
    let hear = |ahead_ms: i64| {
        let mut heard: Vec<Value> = Vec::new();
        for conversation in conversations {
            let mut decoder = Transcript::open(protocol, Known::default()).expect("it opens");
            for turn in conversation
                .turns
                .iter()
                .filter(|turn| turn.from == From::Client)
            {
                let mut line = |line: Value, _: Option<&_>| {
                    heard.extend(line.get("message").cloned());
                    Ok::<_, Infallible>(())
                };
                decoder
                    .read(&turn.bytes, turn.at_us / 1000 + ahead_ms, &mut line)
                    .expect("nothing fails");
            }
        }
        heard
    };
    let (now, later) = (hear(0), hear(DAY_MS));
    let mut messages: BTreeMap<String, Vec<Option<i64>>> = BTreeMap::new();
    for (index, (message, later)) in now.iter().zip(&later).enumerate() {
        let ident = message["ident"].as_str().expect("whose it is").to_owned();
        let times = messages.entry(ident).or_default();
        if message["timestamp"] != later["timestamp"] {
            times.push(None);
        } else if !now[..index].contains(message) {
            // what is sent twice is stored once
            times.push(Some(ms_of(&message["timestamp"])));
        }
    }
    for times in messages.values_mut() {
        // the server's time is later than that of any record
        times.sort_unstable_by_key(|time| time.unwrap_or(i64::MAX));
    }
    messages
}

/// Says what the tracker said; each answer must be the recorded one.
fn play(name: &str, conversation: &Conversation, at: SocketAddr) {
    let mut stream = TcpStream::connect(at).expect("a connection");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    for turn in &conversation.turns {
        if turn.from == From::Client {
            stream.write_all(&turn.bytes).expect("it is sent");
            continue;
        }
        let mut answer = vec![0; turn.bytes.len()];
        if let Err(error) = stream.read_exact(&mut answer) {
            let client = conversation.client;
            let due = turn.bytes.escape_ascii();
            panic!("{name}: {client}: no answer {due}: {error}");
        }
        let (client, said) = (conversation.client, answer.escape_ascii());
        let due = turn.bytes.escape_ascii();
        assert_eq!(
            timeless(name, &answer),
            timeless(name, &turn.bytes),
            "{name}: {client}: {said} instead of {due}"
        );
    }
    // it is read to its end before the same tracker calls again
    stream.shutdown(Shutdown::Write).expect("it is open");
    stream.read_to_end(&mut Vec::new()).expect("it is closed");
}

/// An answer that tells the time of day without it; any other answer as it is.
fn timeless(name: &str, answer: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    let time = match name {
        // ..., V4, what is confirmed, YYYYMMDDhhmmss #
        "h02" if answer.ends_with(b"#") => answer.len().saturating_sub(15)..answer.len() - 1,
        // 78 78 length 8A: the time in six bytes, the serial number, the checksum
        "gt06" if answer.get(3) == Some(&0x8a) => 4..answer.len() - 2,
        _ => return answer,
    };
    answer[time].fill(0);
    answer
}

/// The command's lines. A frame without an answer may still be on its way to the disk.
fn messages(
    gateway: &Gateway,
    of: &[&str],
    expected: &BTreeMap<String, Vec<Option<i64>>>,
) -> Vec<Value> {
    let due: usize = expected.values().map(Vec::len).sum();
    let end = Instant::now() + LONG;
    loop {
        let said = lines(gateway, of);
        if said.len() == due {
            return said;
        }
        if said.len() > due || Instant::now() > end {
            let mut idents: BTreeMap<&str, usize> = BTreeMap::new();
            for message in &said {
                *idents
                    .entry(message["ident"].as_str().unwrap_or("?"))
                    .or_default() += 1;
            }
            let wrong = expected.iter().filter(|(ident, times)| {
                idents.get(ident.as_str()).copied().unwrap_or(0) != times.len()
            });
            let wrong: Vec<_> = wrong
                .map(|(ident, times)| (ident, times, idents.get(ident.as_str())))
                .collect();
            panic!("{} messages instead of {due}: {wrong:?}", said.len());
        }
    }
}

fn lines(gateway: &Gateway, of: &[&str]) -> Vec<Value> {
    let output = command(&["messages", "--data"], &gateway.data, of);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// A device's messages: all, and those of a part of the time.
fn read_back(gateway: &Gateway, device: &str, ident: &str, times: &[Option<i64>]) {
    let read = |more: &[&str]| {
        let of = [&["--device", device], more].concat();
        let said = lines(gateway, &of);
        assert!(said.iter().all(|message| message["ident"] == ident));
        said.iter()
            .map(|one| ms_of(&one["timestamp"]))
            .collect::<Vec<_>>()
    };
    let own: Vec<i64> = times.iter().copied().flatten().collect();
    let all = read(&[]);
    assert_eq!(all.len(), times.len(), "{ident}");
    assert_eq!(all[..own.len()], own, "{ident}");
    // each look starts a process: one at a part of the time where there is much
    if own.len() < 8 {
        return;
    }
    let (from, to) = (own[own.len() / 4], own[own.len() / 2]);
    let within = own.iter().filter(|time| (from..=to).contains(time));
    let seconds = |ms: i64| format!("{:.3}", ms as f64 / 1000.0);
    let (from, to) = (seconds(from), seconds(to));
    assert_eq!(
        read(&["--from", &from, "--to", &to]),
        within.copied().collect::<Vec<_>>(),
        "{ident}"
    );
}

#[test]
fn messages_are_followed_as_they_come() {
    let gateway = Setup::new().start();
    let (master, channel, at) = gateway.master_and_channel();
    let device = gateway.device(master, "356600000000301");
    let mut tracker = Tracker::of("356600000000301", at);
    let begin_ms = now_ms() - 60_000;
    assert_eq!(tracker.send(&[begin_ms]), Heard::Count(1));
    let mut follower = Command::new(TOLLGATE)
        .args([
            "messages",
            "--follow",
            "--channel",
            &channel.to_string(),
            "--data",
        ])
        .arg(&gateway.data)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let out = BufReader::new(follower.stdout.take().expect("a pipe"));
    let (lines, line) = mpsc::channel();
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            // the test may have ended
            drop(lines.send(line));
        }
    });
    let next = || -> Value {
        let line = line.recv_timeout(LONG).expect("a line");
        serde_json::from_str(&line).expect("JSON")
    };
    assert_eq!(
        ms_of(&next()["timestamp"]),
        begin_ms,
        "what is there comes first"
    );
    for index in 1..4 {
        let time_ms = begin_ms + index * 1000;
        assert_eq!(tracker.send(&[time_ms]), Heard::Count(1));
        let message = next();
        assert_eq!(ms_of(&message["timestamp"]), time_ms);
        assert_eq!(message["device.id"], device);
    }
    follower.kill().expect("it is killed");
    follower.wait().expect("it ends");
}
