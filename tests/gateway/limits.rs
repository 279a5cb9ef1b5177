//! Who is let in, who waits, and who is told why.

use crate::harness::{Heard, LONG, Setup, Tracker, now_ms, until};
use serde_json::{Value, json};
use std::time::Duration;

const ANN: &str = "356600000000101";
/// An answer that does not come within this time does not come now.
const WAITED: Duration = Duration::from_millis(700);

#[test]
fn an_unknown_ident_is_listed_and_its_backlog_arrives_once_it_is_registered() {
    let gateway = Setup::new().start();
    let (master, channel, at) = gateway.master_and_channel();
    let mut tracker = Tracker::call(at).expect("a connection");
    assert!(!tracker.log_in(ANN).expect("an answer"), "nobody knows it");
    let begin_ms = now_ms() - 60_000;
    assert_eq!(tracker.send(&[begin_ms, begin_ms + 1000]), Heard::Count(0));

    let idents = format!("/gw/channels/{channel}/idents");
    let listed = gateway.row(0, "GET", &idents, &Value::Null);
    assert_eq!(listed["ident"], ANN);
    let text = listed.to_string();
    assert!(
        text.contains("position.latitude"),
        "its frame decoded: {text}"
    );

    // the same connection, the very next frame
    let device = gateway.device(master, ANN);
    let backlog = [begin_ms, begin_ms + 1000, begin_ms + 2000];
    assert_eq!(tracker.send(&backlog), Heard::Count(3));
    assert_eq!(gateway.stored(device), backlog);
    let (_, answer) = gateway.call(0, "GET", &idents, &Value::Null);
    assert_eq!(answer["result"], json!([]), "it is unknown no more");
    gateway.audit();
}

#[test]
fn the_owner_of_a_channel_reads_who_came_to_it() {
    let gateway = Setup::new().start();
    let master = gateway.make(0, "/platform/subaccounts", &json!({ "name": "master" }));
    let [own, beside] = ["own", "beside"]
        .map(|name| gateway.make(master, "/platform/subaccounts", &json!({ "name": name })));
    let channel = json!({ "name": "own", "protocol_name": "teltonika" });
    let channel = gateway.row(own, "POST", "/gw/channels?fields=id,port", &channel);
    let port = channel["port"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok());
    let at = (std::net::Ipv4Addr::LOCALHOST, port.expect("a port")).into();
    gateway.device(own, ANN);
    let mut tracker = Tracker::of(ANN, at);
    assert_eq!(tracker.send(&[now_ms()]), Heard::Count(1));
    // a frame that is none, of somebody who never named himself
    let mut other = Tracker::call(at).expect("a connection");
    other.say(b"GET / HTTP/1.0\r\n\r\n");
    drop((tracker, other));
    let logs = format!("/gw/channels/{}/logs", channel["id"]);
    let codes = |account: u64| -> Vec<u64> {
        let (_, answer) = gateway.call(account, "GET", &logs, &Value::Null);
        let rows = answer["result"].as_array().cloned().unwrap_or_default();
        rows.iter()
            .filter_map(|row| row["event_code"].as_u64())
            .collect()
    };
    for account in [own, master, 0] {
        until("both came and went", || {
            let codes = codes(account);
            let count = |code| codes.iter().filter(|&&seen| seen == code).count();
            (count(100), count(101), count(102)) == (2, 1, 2)
        });
    }
    assert_eq!(codes(beside), [0; 0]);
}

/// Rates are by the minute: with the last third of one left alone, none ends in between.
fn early_in_a_minute() {
    let gone_ms = now_ms().rem_euclid(60_000);
    if gone_ms > 40_000 {
        let left_ms = u64::try_from(60_000 - gone_ms).expect("a part of a minute");
        std::thread::sleep(Duration::from_millis(left_ms));
    }
}

#[test]
fn a_used_up_limit_parks_and_a_raised_one_lets_go_on() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    let limit = json!({ "name": "small", "channel_messages": 4 });
    let limit = gateway.make(master, "/platform/limits", &limit);
    let small = json!({ "name": "small", "limit_id": limit });
    let small = gateway.make(master, "/platform/subaccounts", &small);
    let (held, free) = (
        gateway.device(small, ANN),
        gateway.device(master, "356600000000102"),
    );
    let mut ann = Tracker::of(ANN, at);
    let mut ben = Tracker::of("356600000000102", at);
    let begin_ms = now_ms() - 60_000;
    early_in_a_minute();
    let times = |frame: i64| [0, 1, 2, 3].map(|record| begin_ms + frame * 1000 + record);
    assert_eq!(ann.send(&times(0)), Heard::Count(4));
    ann.say(&crate::harness::frame(&times(1)));
    until("it is blocked", || {
        gateway.account(small)["blocked_by"] == "channel_messages"
    });
    assert_eq!(
        ann.hear(WAITED),
        Heard::Nothing,
        "no answer, and no hang-up"
    );
    assert_eq!(
        gateway.stored(held).len(),
        4,
        "what is not stored is not acked"
    );
    let account = gateway.account(small);
    assert!(
        account["counters"]["channel_messages"].as_u64() <= Some(4),
        "{account}"
    );
    let until_s = account["blocked_until"].as_f64().expect("until when");
    assert!(until_s * 1000.0 > now_ms() as f64, "{account}");
    assert_eq!(
        ben.send(&[begin_ms]),
        Heard::Count(1),
        "its sibling goes on"
    );

    let path = format!("/platform/limits/{limit}");
    gateway.row(0, "PUT", &path, &json!({ "channel_messages": 1000 }));
    assert_eq!(ann.hear(LONG), Heard::Count(4));
    assert_eq!(gateway.stored(held).len(), 8);
    assert_eq!(gateway.stored(free).len(), 1);
    gateway.audit();
}

#[test]
fn a_disabled_account_is_hung_up_on_until_it_is_enabled() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    let child = gateway.make(master, "/platform/subaccounts", &json!({ "name": "child" }));
    let below = gateway.make(child, "/platform/subaccounts", &json!({ "name": "below" }));
    let device = gateway.device(below, ANN);
    let mut ann = Tracker::of(ANN, at);
    let begin_ms = now_ms() - 60_000;
    assert_eq!(ann.send(&[begin_ms]), Heard::Count(1));

    let path = format!("/platform/subaccounts/{child}");
    gateway.row(0, "PUT", &path, &json!({ "enabled": false }));
    assert_eq!(ann.hear(LONG), Heard::Closed, "the whole branch");
    // it may be parked, refused or hung up on; it is not acked
    let mut again = Tracker::call(at).expect("a connection");
    again.0.set_read_timeout(Some(WAITED)).expect("a timeout");
    if again.log_in(ANN).unwrap_or(false) {
        again.say(&crate::harness::frame(&[begin_ms + 1000]));
        assert_ne!(again.hear(WAITED), Heard::Count(1));
    }
    assert_eq!(gateway.stored(device), [begin_ms]);

    gateway.row(0, "PUT", &path, &json!({ "enabled": true }));
    until("it is let in again", || {
        Tracker::call(at).is_ok_and(|mut tracker| {
            let within = Duration::from_secs(2);
            tracker.0.set_read_timeout(Some(within)).expect("a timeout");
            tracker.log_in(ANN).unwrap_or(false)
                && tracker.send(&[begin_ms + 1000]) == Heard::Count(1)
        })
    });
    assert_eq!(gateway.stored(device), [begin_ms, begin_ms + 1000]);
    gateway.audit();
}

#[test]
fn a_second_connection_of_an_ident_closes_the_first() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    let device = gateway.device(master, ANN);
    let begin_ms = now_ms() - 60_000;
    let mut first = Tracker::of(ANN, at);
    assert_eq!(first.send(&[begin_ms]), Heard::Count(1));
    let mut second = Tracker::of(ANN, at);
    assert_eq!(second.send(&[begin_ms + 1000]), Heard::Count(1));
    assert_eq!(first.hear(LONG), Heard::Closed);
    assert_eq!(
        second.send(&[begin_ms + 2000]),
        Heard::Count(1),
        "it lives on"
    );
    assert_eq!(gateway.stored(device).len(), 3);
    let log = format!("/gw/devices/{device}/connections/all");
    let (_, open) = gateway.call(0, "GET", &log, &Value::Null);
    assert_eq!(open["result"].as_array().map(Vec::len), Some(1), "{open}");
}

/// A position of H02, whose trackers send nothing again.
fn fix(ident: &str, second: usize) -> String {
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!(
        "*HQ,{ident},V1,{hour:02}{minute:02}{second:02},A,3757.3392,S,14503.7022,E,0.00,173,\
         280122,FF7FFBFF#\r\n"
    )
}

#[test]
fn a_second_connection_loses_nothing_of_the_first_where_nothing_is_sent_again() {
    const ROUNDS: usize = 6;
    const UNREAD: usize = 300;
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel_of("h02");
    let device = gateway.device_of("h02", master, "7000000001");
    let mut seconds = 0..;
    let mut fixes = |count: usize| -> String {
        let seconds = seconds.by_ref().take(count);
        seconds.map(|second| fix("7000000001", second)).collect()
    };
    let mut first = Tracker::call(at).expect("a connection");
    first.say(fixes(1).as_bytes());
    let mut sent = 1;
    for _ in 0..ROUNDS {
        until("stored", || gateway.stored(device).len() == sent);
        // it finds the newcomer and what the other one has sent at the same time
        let second = gateway.while_stopped(|| {
            let mut second = Tracker::call(at).expect("the kernel answers");
            second.say(fixes(1).as_bytes());
            first.say(fixes(UNREAD).as_bytes());
            second
        });
        sent += 1 + UNREAD;
        first = second;
    }
    until("stored", || gateway.stored(device).len() == sent);
    gateway.audit();
}
