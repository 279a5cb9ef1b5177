//! `tollgate load` against `tollgate serve`, as a person runs them.

use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const TRACKERS: &str = "20";

/// A gateway in a process of its own, ended when dropped.
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn tollgate() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
}

fn output(command: &mut Command) -> (i32, String, String) {
    let output = command.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        output.status.code().expect("it ends"),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Starts a gateway with the trackers of this protocol; gives back the port of its channel.
fn serve(dir: &Path, protocol: &str) -> (Gateway, u16) {
    let port = {
        let probe = TcpListener::bind("127.0.0.1:0").expect("a free port");
        probe.local_addr().expect("an address").port()
    };
    let (code, devices, _) = output(tollgate().args([
        "load",
        "--devices",
        "acme",
        "--trackers",
        TRACKERS,
        "--protocol",
        protocol,
    ]));
    assert_eq!(code, 0);
    let text = format!(
        "[gateway]\ndata_dir = \"{}\"\nhost = \"127.0.0.1\"\nlisten = \"127.0.0.1\"\n\
         ports = \"1024-65535\"\nworkers = 1\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [bounds]\ntakeovers = 1000\n[[accounts]]\nname = \"acme\"\n\
         [[channels]]\nname = \"load\"\naccount = \"acme\"\nprotocol = \"{protocol}\"\nport = {port}\n\n{devices}",
        dir.join("data").display()
    );
    let file = dir.join("tollgate.toml");
    std::fs::write(&file, text).expect("it is written");
    let mut child = tollgate()
        .arg("serve")
        .arg("--config")
        .arg(&file)
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let gateway = Gateway(child);
    let ready = |line: Result<String, _>| line.is_ok_and(|line| line.starts_with("ready"));
    assert!(lines.by_ref().any(ready), "it ended before it was ready");
    std::thread::spawn(move || lines.for_each(drop));
    (gateway, port)
}

fn load(port: u16, protocol: &str, more: &[&str]) -> (i32, Value) {
    let port = port.to_string();
    let (code, report, log) = output(
        tollgate()
            .args(["load", &port, "--protocol", protocol, "--json"])
            .args(["--trackers", TRACKERS])
            .args(more),
    );
    let report = serde_json::from_str(&report).unwrap_or_else(|_| panic!("{code}: {report}{log}"));
    (code, report)
}

#[test]
fn every_protocol_s_trackers_are_acked_frame_by_frame() {
    for protocol in ["teltonika", "gt06", "h02", "wialon", "jt808"] {
        let dir = tempfile::tempdir().expect("a folder");
        let (_gateway, port) = serve(dir.path(), protocol);
        let (code, report) = load(port, protocol, &["--frames", "5", "--for", "20"]);
        assert_eq!(code, 0, "{protocol}: {report}");
        assert_eq!(report["frames"], 100, "{protocol}: {report}");
        assert_eq!(report["frames_acked"], 100, "{protocol}: {report}");
        assert_eq!(report["left_unacked"], 0, "{protocol}: {report}");
        assert!(
            report["seconds"].as_f64() < Some(20.0),
            "{protocol}: {report}"
        );
        let has_latency = report["ack_ms"]["p99"].as_f64().is_some();
        assert_eq!(has_latency, protocol != "h02", "{protocol}: {report}");
    }
}

#[test]
fn trackers_that_break_off_beside_hostile_senders_lose_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_gateway, port) = serve(dir.path(), "teltonika");
    let storm = "--rate 400 --for 4 --break-every 1 --window 4 --records 3 --sources 3 \
                 --silent 20 --slow 5 --garbage 5";
    let more: Vec<&str> = storm.split_whitespace().collect();
    let (code, report) = load(port, "teltonika", &more);
    assert_eq!(code, 0, "{report}");
    let number = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{report}"));
    // 400 a second, for four seconds
    assert!((1500..=1700).contains(&number("frames")), "{report}");
    assert_eq!(number("frames_acked"), number("frames"), "{report}");
    assert_eq!(number("records"), 3 * number("frames"), "{report}");
    assert_eq!(number("lost") + number("left_unacked"), 0, "{report}");
    assert!(number("connects") >= 3 * 20, "{report}");
    assert!(number("hostile_connections") >= 30, "{report}");
    assert!(number("hostile_closed") >= 5, "{report}");
}

#[test]
fn a_run_that_needs_more_files_than_a_process_may_have_is_shared_by_several() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_gateway, port) = serve(dir.path(), "teltonika");
    let script = format!(
        "ulimit -n 60 && exec \"$0\" load {port} --trackers {TRACKERS} --silent 90 --rate 200 --for 3 --json"
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_tollgate")]);
    let (code, report, log) = output(&mut shell);
    let report: Value = serde_json::from_str(&report).unwrap_or_else(|_| panic!("{code}: {log}"));
    assert_eq!(code, 0, "{report}{log}");
    // of 60 files 15 are no connections: 110 need three times the other 45
    assert_eq!(report["processes"], 3, "{report}");
    let number = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{report}"));
    assert!((550..=650).contains(&number("frames")), "{report}");
    assert_eq!(number("frames_acked"), number("frames"), "{report}");
    assert_eq!(number("logins"), 20, "{report}");
    assert_eq!(number("hostile_connections"), 90, "{report}");
    assert!(report["ack_ms"]["p99"].as_f64().is_some(), "{report}");
    // or because it is asked for, in the closed loop
    let more = ["--frames", "7", "--processes", "4"];
    let (code, report) = load(port, "teltonika", &more);
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["processes"], 4, "{report}");
    assert_eq!(report["frames_acked"], 140, "{report}");
}

#[test]
fn nobody_at_home_is_told_and_what_cannot_be_is_refused() {
    let port = {
        let probe = TcpListener::bind("127.0.0.1:0").expect("a free port");
        probe.local_addr().expect("an address").port().to_string()
    };
    let (code, _, log) = output(tollgate().args([
        "load",
        &port,
        "--trackers",
        "2",
        "--for",
        "1",
        "--grace",
        "0",
    ]));
    assert_eq!(code, 69, "{log}");
    assert!(log.contains("nobody was admitted"), "{log}");
    let (code, _, log) =
        output(tollgate().args(["load", &port, "--protocol", "gt06", "--records", "2"]));
    assert_eq!(code, 64, "{log}");
}

#[test]
fn the_capacity_is_searched_within_what_is_allowed() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_gateway, port) = serve(dir.path(), "teltonika");
    let more = ["--rate", "200", "--for", "1", "--find-capacity", "20000"];
    let (code, report) = load(port, "teltonika", &more);
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["trackers"], 20, "{report}");
    assert_eq!(report["reached_the_most_allowed"], true, "{report}");
    assert!(
        report["steps"]
            .as_array()
            .is_some_and(|steps| steps.len() >= 5),
        "{report}"
    );
}
