//! What no tracker should send, and what a machine full of it does to those that behave.

use crate::harness::{
    Gateway, Heard, LONG, Setup, TOLLGATE, Tracker, call, command, frame, is_timeout, now_ms, until,
};
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const HONEST: &str = "356600000000201";
const OTHER: &str = "356600000000202";

/// What a frame of an honest tracker takes while others do not behave.
fn prompt(honest: &mut Tracker, time_ms: i64) {
    let begun = Instant::now();
    assert_eq!(honest.send(&[time_ms]), Heard::Count(1));
    let took = begun.elapsed();
    assert!(took < LONG / 2, "{took:?}");
}

#[test]
fn what_is_no_frame_is_not_acked_and_harms_nobody() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    let (device, other) = (
        gateway.device(master, HONEST),
        gateway.device(master, OTHER),
    );
    let mut honest = Tracker::of(HONEST, at);
    let begin_ms = now_ms() - 600_000;
    prompt(&mut honest, begin_ms);

    let whole = frame(&[begin_ms]);
    let mut wrong_crc = whole.clone();
    *wrong_crc.last_mut().expect("it has bytes") ^= 1;
    let mut wrong_bit = whole.clone();
    wrong_bit[20] ^= 0x10;
    let mut oversize = whole.clone();
    oversize[4..8].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
    let mut negative = whole.clone();
    negative[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut state = 0x9e37_79b9u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(4096)
    .collect();
    let half = whole[..whole.len() / 2].to_vec();
    let cases: [(&str, &[u8]); 6] = [
        ("wrong checksum", &wrong_crc),
        ("one bit of a record flipped", &wrong_bit),
        ("oversize length", &oversize),
        ("length of four gigabytes", &negative),
        ("noise", &noise),
        ("half a frame, then the end", &half),
    ];
    for (index, (what, bytes)) in (1i64..).zip(cases) {
        // after the login, and in its place
        for logged_in in [true, false] {
            let mut bad = Tracker::call(at).expect("a connection");
            if logged_in {
                assert!(bad.log_in(OTHER).expect("an answer"), "{what}");
            }
            bad.say(bytes);
            // it may be hung up on before
            drop(bad.0.shutdown(std::net::Shutdown::Write));
            let heard = bad.hear(Duration::from_secs(5));
            assert!(
                matches!(heard, Heard::Closed | Heard::Nothing | Heard::Count(0)),
                "{what}, logged in: {logged_in}: {heard:?}"
            );
        }
        prompt(&mut honest, begin_ms + index);
    }
    assert_eq!(gateway.stored(other), [0i64; 0], "nothing of it is stored");
    assert_eq!(gateway.stored(device).len(), 7);
    // a connection that was spoilt once is good again the next time
    assert_eq!(Tracker::of(OTHER, at).send(&[begin_ms]), Heard::Count(1));
    gateway.audit();
    gateway.stop();
}

#[test]
fn a_slow_drip_is_closed_at_the_identify_deadline() {
    let gateway = Setup::new().with("[bounds]\nidentify = \"2s\"\n").start();
    let (master, _, at) = gateway.master_and_channel();
    gateway.device(master, HONEST);
    let mut honest = Tracker::of(HONEST, at);
    let begun = Instant::now();
    let mut silent = Tracker::call(at).expect("a connection");
    let mut drip = Tracker::call(at).expect("a connection");
    // a login whose end never comes, a byte at a time: each is a sign of life
    let login = [&[0, 15], HONEST.as_bytes()].concat();
    let mut closed = None;
    for byte in login.iter().take(16).chain([&b'0'; 40]) {
        if drip.0.write_all(&[*byte]).is_err() {
            closed = Some(begun.elapsed());
            break;
        }
        if drip.hear(Duration::from_millis(300)) == Heard::Closed {
            closed = Some(begun.elapsed());
            break;
        }
    }
    let closed = closed.expect("it is closed in the end");
    assert!(closed > Duration::from_millis(1500), "{closed:?}");
    assert!(closed < LONG, "{closed:?}");
    assert_eq!(silent.hear(LONG), Heard::Closed, "silence too");
    prompt(&mut honest, now_ms() - 60_000);
}

#[test]
fn a_thousand_silent_connections_are_bounded() {
    const BOUND: usize = 200;
    let bounds = format!("[bounds]\nunidentified_per_source = {BOUND}\n");
    let gateway = Setup::new().with(&bounds).start();
    let (master, _, at) = gateway.master_and_channel();
    gateway.device(master, HONEST);
    gateway.device(master, OTHER);
    let begin_ms = now_ms() - 60_000;
    let mut early = Tracker::of(HONEST, at);
    prompt(&mut early, begin_ms);
    let mut silent: Vec<TcpStream> = (0..1000).map(|_| open(at)).collect();
    until("the newest are closed", || {
        silent.retain_mut(is_open);
        silent.len() <= BOUND
    });
    assert_eq!(silent.len(), BOUND, "the oldest stay");
    prompt(&mut early, begin_ms + 1);
    // one from elsewhere is let in as ever
    let mut late = Tracker::call_from(Ipv4Addr::new(127, 0, 0, 2), at).expect("a connection");
    assert!(late.log_in(OTHER).expect("an answer"));
    prompt(&mut late, begin_ms);
    assert_refused_by_source(&gateway, 1000 - BOUND);
}

fn open(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).expect("a connection");
    stream.set_nonblocking(true).expect("it is a socket");
    stream
}

fn is_open(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => is_timeout(&error),
    }
}

/// The metrics count them.
fn assert_refused_by_source(gateway: &Gateway, count: usize) {
    let mut seen = 0.0;
    until("the refused are counted", || {
        seen = gateway.metric("tollgate_connections_refused_total");
        seen >= count as f64
    });
    assert!((seen - count as f64).abs() < 0.5, "{seen}");
}

#[test]
fn a_log_on_a_full_disk_stops_nothing_and_its_lines_are_counted() {
    let setup = Setup::new();
    let port = setup.port();
    let setup = setup.with(&format!(
        "[[accounts]]\nname = \"acme\"\n\
         [[channels]]\nname = \"trackers\"\naccount = \"acme\"\nprotocol = \"teltonika\"\n\
         port = {port}\n\
         [[devices]]\nname = \"van\"\naccount = \"acme\"\nprotocol = \"teltonika\"\n\
         ident = \"{HONEST}\"\n"
    ));
    // every write to it says that there is no space
    let full = OpenOptions::new().write(true).open("/dev/full");
    let mut gateway = Command::new(TOLLGATE)
        .args(["serve", "--config"])
        .arg(setup.config())
        .env_remove("TOLLGATE_DATA")
        .env("TOLLGATE_LOG", "debug")
        .stdout(Stdio::null())
        .stderr(full.expect("Linux has it"))
        .spawn()
        .expect("it is started");
    let data = setup.data();
    until("it is ready", || {
        let answer = call(&data, 0, "GET", "/health/ready", &Value::Null);
        answer.is_ok_and(|(status, _)| status == 200)
    });
    let mut honest = Tracker::of(HONEST, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    prompt(&mut honest, now_ms() - 60_000);
    let lost = command(&["top", "--once", "--data"], &data, &[]);
    assert!(lost.status.success(), "{lost:?}");
    until("lines are counted", || lines_lost(&data) > 0.0);
    prompt(&mut honest, now_ms());
    gateway.kill().expect("it is there");
    gateway.wait().expect("it ends");
}

/// Log lines that a gateway could not write.
fn lines_lost(data: &Path) -> f64 {
    let mut stream =
        std::os::unix::net::UnixStream::connect(data.join("tollgate.sock")).expect("it listens");
    stream
        .write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n")
        .expect("it is asked");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("an answer");
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("tollgate_log_lines_lost_total "));
    line.expect("the series").parse().expect("a number")
}

#[test]
fn clients_of_the_metrics_that_never_read_stop_nobody() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    gateway.device(master, HONEST);
    let mut honest = Tracker::of(HONEST, at);
    let begin_ms = now_ms() - 60_000;
    prompt(&mut honest, begin_ms);
    let asked = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(200);
    let deaf: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream =
                TcpStream::connect(gateway.http.expect("an address")).expect("a connection");
            // so many pages fill every buffer on the way; what does not go is not waited for
            stream.set_nonblocking(true).expect("it is a socket");
            drop(stream.write_all(asked.as_bytes()));
            stream
        })
        .collect();
    prompt(&mut honest, begin_ms + 1);
    let page = gateway.page("");
    assert!(page.contains("tollgate_acks_total"), "{page}");
    prompt(&mut honest, begin_ms + 2);
    drop(deaf);
    prompt(&mut honest, begin_ms + 3);
    gateway.stop();
}

#[test]
fn a_capture_of_another_protocol_is_told_to_be_one_and_stores_nothing() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    let (device, other) = (
        gateway.device(master, HONEST),
        gateway.device(master, "123456789012345"),
    );
    let mut honest = Tracker::of(HONEST, at);
    let begin_ms = now_ms() - 60_000;
    prompt(&mut honest, begin_ms);
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/_pcap/gt06.pcap");
    let to = at.to_string();
    let played = command(&["replay"], &capture, &["--to", &to, "--speed", "max"]);
    let said = String::from_utf8_lossy(&played.stderr);
    assert_eq!(played.status.code(), Some(1), "{said}");
    assert!(said.contains("did not go as recorded"), "{said}");
    assert!(said.contains("no conversation got an answer"), "{said}");
    prompt(&mut honest, begin_ms + 1);
    assert_eq!(gateway.stored(other), [0i64; 0]);
    assert_eq!(gateway.stored(device).len(), 2);
    gateway.stop();
}
