//! Under a service manager: sockets that outlive a restart, what the manager is told, and the
//! configuration read again.

use crate::harness::{Heard, LONG, Setup, Tracker, free_ports, now_ms, until};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

const FIRST: &str = "356600000000501";
const SECOND: &str = "356600000000502";

/// A channel and its device in the configuration file.
fn item(name: &str, port: u16, ident: &str, more: &str) -> String {
    format!(
        "[[channels]]\nname = \"{name}\"\naccount = \"master\"\nprotocol = \"teltonika\"\nport = {port}\n{more}\n\
         [[devices]]\nname = \"{ident}\"\naccount = \"master\"\nprotocol = \"teltonika\"\nident = \"{ident}\"\n"
    )
}

#[test]
fn whoever_calls_during_a_restart_is_served_by_the_next_process() {
    let port = free_ports(1);
    let mut setup = Setup::new().with("[[accounts]]\nname = \"master\"\n");
    setup.more.push_str(&item("in", port, FIRST, ""));
    // the manager holds the socket; the gateway gets it as its descriptor 3
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a port");
    setup.socket = Some(held.try_clone().expect("a copy").into());
    let gateway = setup.start();
    let at = held.local_addr().expect("an address");
    assert_eq!(gateway.channels["in"].1, at);
    let mut tracker = Tracker::of(FIRST, at);
    let begin_ms = now_ms() - 60_000;
    assert_eq!(tracker.send(&[begin_ms]), Heard::Count(1));
    gateway.stop();
    assert_eq!(tracker.hear(LONG), Heard::Closed);
    // nobody runs, and nobody is turned away
    let mut waiting = Tracker::call(at).expect("its call is taken");
    waiting.say(&[0, 15]);
    waiting.say(FIRST.as_bytes());
    setup.socket = Some(held.try_clone().expect("a copy").into());
    let gateway = setup.start();
    let mut answer = [0];
    waiting.0.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, [1]);
    assert_eq!(waiting.send(&[begin_ms + 1]), Heard::Count(1));
    gateway.audit();
    gateway.stop();
}

#[test]
fn the_manager_hears_that_it_is_ready_alive_reloads_and_stops() {
    let mut setup = Setup::new();
    let path = setup.dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(LONG)).expect("a timeout");
    setup.environment = vec![
        ("NOTIFY_SOCKET", path.to_string_lossy().into_owned()),
        ("WATCHDOG_USEC", "200000".to_owned()),
    ];
    let hears = |begin: &str| {
        let mut buffer = [0; 256];
        loop {
            let count = manager.recv(&mut buffer).expect("it is told");
            let said = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if said.starts_with(begin) {
                return said;
            }
        }
    };
    let gateway = setup.start();
    hears("READY=1");
    hears("WATCHDOG=1");
    hears("WATCHDOG=1");
    gateway.send_sighup();
    assert!(hears("RELOADING=1").contains("MONOTONIC_USEC="));
    hears("READY=1");
    gateway.send_sigterm();
    hears("STOPPING=1");
    gateway.stop();
}

#[test]
fn a_reload_touches_what_has_changed_and_a_file_with_mistakes_nothing() {
    let ports = free_ports(2);
    let mut setup = Setup::new();
    let accounts = "[[accounts]]\nname = \"master\"\n";
    let one = item("one", ports, FIRST, "");
    setup.more = format!("{accounts}{one}{}", item("two", ports + 1, SECOND, ""));
    let gateway = setup.start();
    let (at, other) = (gateway.channels["one"].1, gateway.channels["two"].1);
    let mut stays = Tracker::of(FIRST, at);
    let mut goes = Tracker::of(SECOND, other);
    let mut time_ms = now_ms() - 60_000;
    let mut send = |tracker: &mut Tracker| {
        time_ms += 1;
        tracker.send(&[time_ms])
    };
    assert_eq!(send(&mut stays), Heard::Count(1));
    assert_eq!(send(&mut goes), Heard::Count(1));

    // two mistakes: both are told, nothing is changed
    setup.more = format!(
        "{accounts}{one}{}",
        item(
            "two",
            ports + 1,
            SECOND,
            "takeover = \"newst\"\nunknown = \"hole\""
        )
    );
    setup.config();
    gateway.send_sighup();
    until("told", || gateway.said().contains("nothing was changed"));
    let said = gateway.said();
    assert!(
        said.contains("takeover") && said.contains("unknown"),
        "{said}"
    );
    assert_eq!(send(&mut stays), Heard::Count(1));
    assert_eq!(send(&mut goes), Heard::Count(1));

    // one channel changes, a device comes, and the bounds wait for the next start
    let third = "356600000000503";
    setup.more = format!(
        "{accounts}{one}{}[[devices]]\nname = \"third\"\naccount = \"master\"\nprotocol = \"teltonika\"\n\
         ident = \"{third}\"\n[bounds]\ntakeovers = 11\n",
        item("two", ports + 1, SECOND, "enabled = false")
    );
    setup.config();
    gateway.send_sighup();
    until("reloaded", || gateway.said().contains("reloaded: "));
    assert!(
        gateway.said().contains("[bounds] has changed"),
        "{}",
        gateway.said()
    );
    assert_eq!(
        send(&mut stays),
        Heard::Count(1),
        "its channel has not changed"
    );
    assert_eq!(goes.hear(LONG), Heard::Closed);
    let mut new = Tracker::of(third, at);
    assert_eq!(send(&mut new), Heard::Count(1));
    gateway.audit();
    gateway.stop();
}

#[test]
fn a_command_by_the_api_is_answered_by_its_tracker() {
    let setup = Setup::new();
    let gateway = setup.start();
    let (master, _, at) = gateway.master_and_channel();
    let device = gateway.device(master, FIRST);
    let path = format!("/gw/devices/{device}/commands");
    let body = json!({ "name": "custom", "properties": { "payload": "getver" }, "timeout": 20 });
    let (status, answer) = gateway.call(master, "POST", &path, &body);
    assert_eq!(status, 409, "{answer}");
    let tracker = Tracker::of(FIRST, at);
    let mut stream = tracker.0.try_clone().expect("a copy");
    let answers = std::thread::spawn(move || {
        // codec 12: head, kind 5, the text, checksum
        let mut asked = [0; 26];
        stream.read_exact(&mut asked).expect("a command");
        assert_eq!(&asked[15..21], b"getver");
        let mut body = vec![0x0c, 1, 6, 0, 0, 0, 6];
        body.extend_from_slice(b"Ver:03");
        body.push(1);
        let mut frame = vec![0, 0, 0, 0, 0, 0, 0, 14];
        let crc = u32::from(protocols::kit::checksum::crc16_ibm(&body));
        frame.extend_from_slice(&body);
        frame.extend_from_slice(&crc.to_be_bytes());
        stream.write_all(&frame).expect("sent");
    });
    let row = gateway.row(master, "POST", &path, &body);
    assert_eq!(row["executed"], true, "{row}");
    assert_eq!(row["response"], "Ver:03", "{row}");
    answers.join().expect("no panic");
    let results = format!("/gw/devices/{device}/commands-result");
    let result = gateway.row(master, "GET", &results, &Value::Null);
    assert_eq!(result["outcome"], "answered", "{result}");
    gateway.audit();
    gateway.stop();
}

#[test]
fn a_reset_in_the_middle_of_a_frame_leaves_nothing_and_what_was_not_acked_comes_again() {
    let setup = Setup::new();
    let gateway = setup.start();
    let (master, _, at) = gateway.master_and_channel();
    let device = gateway.device(master, FIRST);
    let time_ms = now_ms() - 60_000;
    let frame = crate::harness::frame(&[time_ms, time_ms + 1]);
    for cut in [1, 8, frame.len() / 2, frame.len() - 1] {
        let mut tracker = Tracker::of(FIRST, at);
        tracker.say(&frame[..cut]);
        std::thread::sleep(Duration::from_millis(20));
        reset(tracker);
    }
    until("gone", || gateway.metric("tollgate_connections{") < 1.0);
    assert_eq!(gateway.stored(device), [0; 0]);
    // a newcomer may be in before the reset of the one before it is noticed: 2 or 12; and workers
    // hand in what they have counted some times a second
    until("each end is counted", || {
        let closed = gateway.metric("tollgate_connections_closed_total");
        (closed - 4.0).abs() < 0.5
    });
    let mut tracker = Tracker::of(FIRST, at);
    tracker.say(&frame);
    assert_eq!(tracker.hear(LONG), Heard::Count(2));
    assert_eq!(gateway.stored(device), [time_ms, time_ms + 1]);
    gateway.audit();
    gateway.stop();
}

/// Ends a connection by a reset instead of an end.
fn reset(tracker: Tracker) {
    let socket = socket2::SockRef::from(&tracker.0);
    socket.set_linger(Some(Duration::ZERO)).expect("an option");
    drop(tracker);
}

#[test]
fn a_gateway_short_of_files_turns_callers_away_and_serves_who_is_in() {
    let mut setup = Setup::new();
    setup.hard_files = Some(200);
    let gateway = setup.start();
    let (master, _, at) = gateway.master_and_channel();
    gateway.device(master, FIRST);
    let mut tracker = Tracker::of(FIRST, at);
    let crowd: Vec<TcpStream> = (0..250)
        .map(|_| TcpStream::connect(at).expect("the kernel takes it"))
        .collect();
    until("turned away", || {
        gateway.metric("tollgate_connections_refused_total{bound=\"global\"}") > 100.0
    });
    // files are left for the journal, and for who asks
    let time_ms = now_ms() - 60_000;
    let heard = tracker.send(&[time_ms]);
    assert_eq!(heard, Heard::Count(1), "{}", gateway.said());
    assert!(gateway.metric("tollgate_journal_failed") < 1.0);
    drop(crowd);
    until("there is room again", || {
        gateway.metric("tollgate_connections{") < 50.0
    });
    let mut late = Tracker::of(FIRST, at);
    assert_eq!(late.send(&[time_ms + 1]), Heard::Count(1));
    gateway.stop();
}
