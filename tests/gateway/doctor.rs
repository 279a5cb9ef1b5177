//! Staged failures over the real binary: `tollgate doctor` names the true cause of each.

use crate::harness::{Gateway, Heard, LONG, Setup, Tracker, command, frame, now_ms, until};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const ANN: &str = "356600000000101";

impl Gateway {
    /// What the command says of an ident: the cause, and the sentence.
    #[track_caller]
    fn doctor(&self, ident: &str) -> (String, String) {
        let output = command(&["doctor", ident, "--json", "--data"], &self.data, &[]);
        assert!(output.status.success(), "{output:?}");
        let page: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = |name: &str| page["diagnosis"][name].as_str().unwrap_or("").to_owned();
        (text("cause"), text("says"))
    }

    /// Asks until the log has it.
    #[track_caller]
    fn expect_cause(&self, ident: &str, cause: &str) -> String {
        let mut last = (String::new(), String::new());
        let end = std::time::Instant::now() + LONG;
        while std::time::Instant::now() < end {
            last = self.doctor(ident);
            if last.0 == cause {
                return last.1;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("not {cause} but {}: {}", last.0, last.1);
    }
}

fn closed(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    let mut rest = Vec::new();
    // a reset is an end too
    drop(stream.read_to_end(&mut rest));
}

#[test]
fn an_ident_that_nobody_has_and_one_that_nobody_knows() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    gateway.expect_cause(ANN, "never_seen");
    let mut tracker = Tracker::call(at).expect("a connection");
    assert!(!tracker.log_in(ANN).expect("an answer"));
    let says = gateway.expect_cause(ANN, "unknown_ident");
    assert!(says.contains("teltonika"), "{says}");
    gateway.device(master, "356600000000102");
    gateway.expect_cause("356600000000102", "never_called");
    // the page for people
    let page = command(&["doctor", ANN, "--data"], &gateway.data, &[]);
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(
        page.contains("unknown_ident: ") && page.contains("do: register"),
        "{page}"
    );
}

#[test]
fn another_protocol_than_the_ports() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    // GT06's login of 0864717003283581
    let login = "78780d010864717003283581000a";
    let mut bytes = protocols::kit::hex::decode(login).expect("hex");
    let sum = protocols::kit::checksum::crc16_x25(&bytes[2..]);
    bytes.extend_from_slice(&sum.to_be_bytes());
    bytes.extend_from_slice(b"\r\n");
    gateway.device_of("gt06", master, "864717003283581");
    gateway.make(
        master,
        "/gw/channels",
        &json!({ "name": "gt06", "protocol_name": "gt06" }),
    );
    let mut stream = TcpStream::connect(at).expect("a connection");
    stream.write_all(&bytes).expect("it is sent");
    closed(&mut stream);
    let says = gateway.expect_cause("864717003283581", "wrong_protocol");
    assert!(says.contains("in gt06"), "{says}");
}

#[test]
fn a_wrong_password() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel_of("wialon");
    let device = json!({
        "name": "w", "protocol_name": "wialon",
        "configuration": { "ident": "7001", "password": "right" },
    });
    gateway.make(master, "/gw/devices", &device);
    let mut stream = TcpStream::connect(at).expect("a connection");
    stream.write_all(b"#L#7001;wrong\r\n").expect("it is sent");
    closed(&mut stream);
    gateway.expect_cause("7001", "wrong_password");
}

#[test]
fn a_limit_of_its_own_and_one_of_the_account_above() {
    for above in [false, true] {
        let gateway = Setup::new().start();
        let (master, _, at) = gateway.master_and_channel();
        let limit = json!({ "name": "small", "channel_messages": 1, "blocking_duration": 3600 });
        let limit = gateway.make(master, "/platform/limits", &limit);
        let small = json!({ "name": "small", "limit_id": limit });
        let small = gateway.make(master, "/platform/subaccounts", &small);
        let owner = if above {
            gateway.make(small, "/platform/subaccounts", &json!({ "name": "below" }))
        } else {
            small
        };
        gateway.device(owner, ANN);
        let mut tracker = Tracker::of(ANN, at);
        assert_eq!(tracker.send(&[now_ms() - 1000]), Heard::Count(1));
        tracker.say(&frame(&[now_ms()]));
        let says = gateway.expect_cause(ANN, "limit_reached");
        let level = if above {
            "the account one level above"
        } else {
            "the account of device"
        };
        assert!(
            says.contains(level) && says.contains("channel_messages"),
            "{says}"
        );
        // the account itself hears of its own, and no number of what is above
        let path = format!("/gw/channels/all/idents/{ANN}/doctor");
        let page = gateway.row(owner, "GET", &path, &Value::Null);
        assert_eq!(page["diagnosis"]["cause"], "limit_reached");
        assert_eq!(
            page["facts"]["devices"][0]["blocked"]["levels_up"],
            u8::from(above)
        );
    }
}

#[test]
fn a_disabled_device_and_a_disabled_account() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    let below = gateway.make(master, "/platform/subaccounts", &json!({ "name": "below" }));
    let device = gateway.device(below, ANN);
    let path = format!("/gw/devices/{device}");
    gateway.row(0, "PUT", &path, &json!({ "enabled": false }));
    let mut tracker = Tracker::call(at).expect("a connection");
    drop(tracker.log_in(ANN));
    gateway.expect_cause(ANN, "device_disabled");
    gateway.row(0, "PUT", &path, &json!({ "enabled": true }));
    let account = format!("/platform/subaccounts/{below}");
    gateway.row(master, "PUT", &account, &json!({ "enabled": false }));
    let says = gateway.expect_cause(ANN, "account_disabled");
    assert!(says.starts_with("the account of device"), "{says}");
}

#[test]
fn a_checksum_that_does_not_hold() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    gateway.device(master, ANN);
    let mut tracker = Tracker::of(ANN, at);
    let mut bad = frame(&[now_ms()]);
    let last = bad.len() - 1;
    bad[last] ^= 1;
    tracker.say(&bad);
    let says = gateway.expect_cause(ANN, "frame_rejected");
    assert!(
        says.contains("at byte") && says.contains("not acked"),
        "{says}"
    );
    // a good frame, and it has passed
    assert_eq!(tracker.send(&[now_ms()]), Heard::Count(1));
    gateway.expect_cause(ANN, "well");
}

#[test]
fn two_trackers_with_one_ident() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    gateway.device(master, ANN);
    let mut trackers = Vec::new();
    for _ in 0..4 {
        trackers.push(Tracker::of(ANN, at));
    }
    let says = gateway.expect_cause(ANN, "ident_shared");
    assert!(says.contains("127.0.0.1"), "{says}");
}

#[test]
fn an_address_that_may_not_call() {
    let gateway = Setup::new().start();
    let (master, channel, at) = gateway.master_and_channel();
    gateway.device(master, ANN);
    let path = format!("/gw/channels/{channel}");
    gateway.row(0, "PUT", &path, &json!({ "allow": ["127.0.0.9/32"] }));
    let mut tracker = Tracker::call_from(Ipv4Addr::LOCALHOST, at).expect("a connection");
    drop(tracker.log_in(ANN));
    gateway.expect_cause(ANN, "source_not_allowed");
}

#[test]
fn a_connection_that_says_nothing() {
    let gateway = Setup::new().with("[bounds]\nidentify = \"1s\"").start();
    let (master, _, at) = gateway.master_and_channel();
    gateway.device(master, ANN);
    let mut stream = TcpStream::connect(at).expect("a connection");
    closed(&mut stream);
    gateway.expect_cause(ANN, "says_nothing");
}

#[test]
fn no_tls_where_it_is_spoken_and_tls_where_it_is_not() {
    let setup = Setup::new();
    let folder = setup.dir.path().to_owned();
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".into()]).expect("parameters");
    let certificate = params.self_signed(&key).expect("a certificate");
    std::fs::write(folder.join("gps.pem"), certificate.pem()).expect("it is written");
    std::fs::write(folder.join("gps.key"), key.serialize_pem()).expect("it is written");
    let port = setup.port();
    let text = format!(
        "[[accounts]]\nname = \"a\"\n[[channels]]\nname = \"tls\"\naccount = \"a\"\n\
         protocol = \"teltonika\"\nport = {port}\ntls = {{ certificate = {}, key = {} }}\n\
         [[devices]]\nname = \"d\"\naccount = \"a\"\nprotocol = \"teltonika\"\nident = \"{ANN}\"\n",
        json!(folder.join("gps.pem")),
        json!(folder.join("gps.key")),
    );
    let gateway = setup.with(&text).start();
    let at = gateway.channels["tls"].1;
    let mut tracker = Tracker::call(at).expect("a connection");
    drop(tracker.log_in(ANN));
    gateway.expect_cause(ANN, "tls_expected");

    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    gateway.device(master, ANN);
    let mut stream = TcpStream::connect(at).expect("a connection");
    let hello = protocols::kit::hex::decode("1603010200010001fc0303").expect("hex");
    stream.write_all(&hello).expect("it is sent");
    closed(&mut stream);
    gateway.expect_cause(ANN, "tls_unexpected");
}

#[test]
fn a_channel_that_does_not_serve_its_device() {
    let gateway = Setup::new().start();
    let (master, _, common) = gateway.master_and_channel();
    let below = gateway.make(master, "/platform/subaccounts", &json!({ "name": "below" }));
    gateway.device(below, ANN);
    // its own account has an isolated channel of the protocol: only that one serves it
    let own = json!({ "name": "own", "protocol_name": "teltonika", "isolated": true });
    let own = gateway.row(below, "POST", "/gw/channels?fields=id,uri", &own);
    let mut tracker = Tracker::call(common).expect("a connection");
    assert!(!tracker.log_in(ANN).expect("an answer"));
    gateway.expect_cause(ANN, "calls_elsewhere");
    let page = command(&["doctor", ANN, "--data"], &gateway.data, &[]);
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    let uri = own["uri"].as_str().expect("a URI");
    assert!(
        page.contains(&format!("point the tracker at {uri}")),
        "{page}"
    );
}

#[test]
fn a_clock_that_is_ahead_and_messages_that_are_stored_already() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    let device = gateway.device(master, ANN);
    let mut tracker = Tracker::of(ANN, at);
    let times = [now_ms() - 5_000];
    assert_eq!(tracker.send(&times), Heard::Count(1));
    drop(tracker);
    let mut tracker = Tracker::of(ANN, at);
    assert_eq!(tracker.send(&times), Heard::Count(1));
    drop(tracker);
    let says = gateway.expect_cause(ANN, "duplicates_only");
    assert!(says.contains("sent 1 messages"), "{says}");
    let mut tracker = Tracker::of(ANN, at);
    assert_eq!(tracker.send(&[now_ms() + 10 * 86_400_000]), Heard::Count(1));
    until("it is stored", || gateway.stored(device).len() == 2);
    let says = gateway.expect_cause(ANN, "clock_ahead");
    assert!(
        says.contains("10 days") || says.contains("9 days"),
        "{says}"
    );
}

#[test]
fn who_has_fallen_silent_is_listed_by_account() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    gateway.device(master, ANN);
    let mut tracker = Tracker::of(ANN, at);
    assert_eq!(tracker.send(&[now_ms() - 7_200_000]), Heard::Count(1));
    drop(tracker);
    let listed = |gateway: &Gateway| {
        let output = command(&["doctor", "--data"], &gateway.data, &[]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    until("it is listed", || listed(&gateway).contains(ANN));
    assert!(listed(&gateway).contains("master"));
    let rows = gateway.call(
        0,
        "GET",
        "/gw/devices/all/doctor",
        &json!({ "silent": 86_400 }),
    );
    assert_eq!(rows.1["result"], json!([]));
}

#[test]
fn raw_traffic_becomes_a_capture_that_decodes_to_what_was_stored() {
    let gateway = Setup::new().start();
    let (master, channel, at) = gateway.master_and_channel();
    let device = gateway.device(master, ANN);
    let path = format!("/gw/devices/{device}");
    gateway.row(0, "PUT", &path, &json!({ "keep_packets": true }));
    let mut tracker = Tracker::of(ANN, at);
    let times = [now_ms() - 3_000, now_ms() - 2_000, now_ms() - 1_000];
    assert_eq!(tracker.send(&times[..2]), Heard::Count(2));
    assert_eq!(tracker.send(&times[2..]), Heard::Count(1));
    drop(tracker);
    let packets = format!("/gw/devices/{device}/packets");
    let ended = || {
        let (_, answer) = gateway.call(0, "GET", &packets, &Value::Null);
        let rows = answer["result"].as_array().cloned().unwrap_or_default();
        rows.last().is_some_and(|row| row["type"] == 1)
    };
    until("the end is kept", ended);
    // the log is written some times a second
    let logged = || {
        let logs = format!("/gw/channels/{channel}/logs");
        let (_, answer) = gateway.call(0, "GET", &logs, &Value::Null);
        let rows = answer["result"].as_array().cloned().unwrap_or_default();
        rows.iter().any(|row| row["event_code"] == 102)
    };
    until("the end is logged", logged);

    let file = gateway.data.join("case.pcapng");
    let out = file.to_str().expect("text");
    let id = channel.to_string();
    let made = command(
        &["packets", "--channel", &id, "--ident", ANN, "--data"],
        &gateway.data,
        &["--out", out],
    );
    assert!(made.status.success(), "{made:?}");
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(said.contains("1 connections"), "{said}");
    let decoded = command(&["replay"], &file, &["--decode", "--protocol", "teltonika"]);
    assert!(decoded.status.success(), "{decoded:?}");
    let lines = String::from_utf8_lossy(&decoded.stdout).into_owned();
    let objects = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let messages: Vec<Value> = objects
        .filter_map(|line| line.get("message").cloned())
        .collect();
    let (_, stored) = gateway.call(0, "GET", &format!("{path}/messages"), &Value::Null);
    let stored = stored["result"].as_array().cloned().expect("rows");
    assert_eq!(messages.len(), 3);
    for (message, stored) in messages.iter().zip(&stored) {
        for (name, value) in message.as_object().expect("an object") {
            assert_eq!(&stored[name], value, "{name}");
        }
    }
    // what the log says of the connection is in it
    let bytes = std::fs::read(&file).expect("the file");
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains("\"event_code\":101"),
        "the events are comments"
    );

    // played to a gateway that has none of it the same is stored again
    let other = Setup::new().start();
    let (master, _, at) = other.master_and_channel();
    let again = other.device(master, ANN);
    let to = SocketAddr::to_string(&at);
    let played = command(&["replay"], &file, &["--to", &to, "--speed", "max"]);
    assert!(played.status.success(), "{played:?}");
    assert_eq!(other.stored(again), times);

    // cut short, and of nothing: each is told
    std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("it is written");
    let broken = command(&["replay"], &file, &["--decode"]);
    assert_eq!(broken.status.code(), Some(65), "{broken:?}");
    let said = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert!(said.contains("cut short: it ends within"), "{said}");
    let none = command(
        &["packets", "--ident", "nobody", "--data"],
        &gateway.data,
        &["--out", out],
    );
    assert_eq!(none.status.code(), Some(65));
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(said.contains("no raw traffic is kept of that"), "{said}");
}
