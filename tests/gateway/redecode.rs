//! Kept raw traffic, decoded again by the real binary beside the gateway that serves.

use crate::harness::{Gateway, Heard, Setup, TOLLGATE, Tracker, command, frame, now_ms, until};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Output, Stdio};

const ANN: &str = "356600000000101";

impl Gateway {
    /// A device whose raw traffic is kept.
    fn recorded_device(&self, cid: u64) -> u64 {
        let device = self.device(cid, ANN);
        let path = format!("/gw/devices/{device}");
        self.row(0, "PUT", &path, &json!({ "keep_packets": true }));
        device
    }

    /// Waits until the ends of so many connections of the device are kept.
    fn expect_ends(&self, device: u64, count: usize) {
        let path = format!("/gw/devices/{device}/packets");
        until("the ends are kept", || {
            let (_, answer) = self.call(0, "GET", &path, &Value::Null);
            let rows = answer["result"].as_array().cloned().unwrap_or_default();
            rows.iter().filter(|row| row["type"] == 1).count() == count
        });
    }

    /// `tollgate redecode`.
    fn redecode(&self, more: &[&str]) -> Output {
        command(&["redecode", "--data"], &self.data, more)
    }
}

/// The numbers of a protocol's row: connections, frames, same, changed, new, lost, ...
fn numbers(output: &Output) -> Vec<u64> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = text.lines().find(|line| line.contains("teltonika"));
    let row = row.unwrap_or_else(|| panic!("no row: {text}")).to_owned();
    let after = row.split(" -> ").nth(1).expect("both versions");
    let words = after.split_whitespace().skip(1);
    words.map(|word| word.parse().expect("a number")).collect()
}

#[test]
fn the_same_build_reads_what_was_stored_and_says_what_was_not() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    let limit = json!({ "name": "small", "channel_messages": 3, "blocking_duration": 3600 });
    let limit = gateway.make(master, "/platform/limits", &limit);
    let small = json!({ "name": "small", "limit_id": limit });
    let small = gateway.make(master, "/platform/subaccounts", &small);

    // nothing is kept yet
    let none = gateway.redecode(&[]);
    assert_eq!(none.status.code(), Some(65), "{none:?}");
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(said.contains("no raw traffic is kept"), "{said}");

    let device = gateway.recorded_device(small);
    let begin_ms = now_ms() - 60_000;
    let mut tracker = Tracker::of(ANN, at);
    assert_eq!(tracker.send(&[begin_ms, begin_ms + 1000]), Heard::Count(2));
    assert_eq!(tracker.send(&[begin_ms + 2000]), Heard::Count(1));
    drop(tracker);
    gateway.expect_ends(device, 1);
    let same = gateway.redecode(&["--diff"]);
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    assert_eq!(
        numbers(&same)[..6],
        [1, 3, 3, 0, 0, 0],
        "the login is a frame"
    );

    // what the limit kept from being stored is new to the one who decodes
    let mut tracker = Tracker::of(ANN, at);
    tracker.say(&frame(&[begin_ms + 3000]));
    drop(tracker);
    gateway.expect_ends(device, 2);
    let differs = gateway.redecode(&["--diff"]);
    assert_eq!(differs.status.code(), Some(1), "{differs:?}");
    assert_eq!(numbers(&differs)[2..6], [3, 0, 1, 0]);
    let shown = String::from_utf8_lossy(&differs.stdout).into_owned();
    let line: Value = serde_json::from_str(shown.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        (&line["ident"], line["new"].is_object()),
        (&json!(ANN), true)
    );
    // another protocol has nothing to compare
    let other = gateway.redecode(&["--protocol", "h02"]);
    assert_eq!(other.status.code(), Some(65), "{other:?}");
}

#[test]
fn a_shadow_decodes_what_comes_beside_the_gateway_until_it_is_told_to_end() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    let device = gateway.recorded_device(master);
    let begin_ms = now_ms() - 60_000;
    // one that is in already: it is not compared
    let mut before = Tracker::of(ANN, at);
    assert_eq!(before.send(&[begin_ms]), Heard::Count(1));

    let mut shadow = Command::new(TOLLGATE)
        .args(["redecode", "--shadow", "--diff", "--data"])
        .arg(&gateway.data)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = BufReader::new(shadow.stderr.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("it says something");
    assert!(line.starts_with("shadow: decoding what comes"), "{line}");

    // the new one takes the device over
    let mut tracker = Tracker::of(ANN, at);
    let sent = [begin_ms + 1000, begin_ms + 2000];
    assert_eq!(tracker.send(&sent), Heard::Count(2));
    assert_eq!(tracker.send(&[begin_ms + 3000]), Heard::Count(1));
    drop(tracker);
    gateway.expect_ends(device, 2);
    let pid = rustix::process::Pid::from_child(&shadow);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let mut shown = String::new();
    let mut out = shadow.stdout.take().expect("piped");
    out.read_to_string(&mut shown).expect("readable");
    let status = shadow.wait().expect("it ends");
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("readable");
    assert_eq!(status.code(), Some(0), "{shown}{rest}");
    let row = shown.lines().find(|line| line.contains("teltonika"));
    let row = row.unwrap_or_else(|| panic!("no row: {shown}{rest}"));
    let words: Vec<&str> = row.split_whitespace().collect();
    let (same, changed) = (words[6], &words[7..10]);
    assert_eq!((same, changed), ("3", &["0", "0", "0"][..]), "{shown}");
}
