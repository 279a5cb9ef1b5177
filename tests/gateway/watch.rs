//! What a person or a script sees of a running gateway: `tollgate top`, `tollgate health`.

use crate::harness::{Heard, LONG, Setup, TOLLGATE, Tracker, command, now_ms, until};
use serde_json::json;
use std::process::Command;

const EVA: &str = "356600000000777";

fn said(output: &std::process::Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

#[test]
fn top_shows_accounts_acks_and_devices_with_trouble() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel();
    let device = gateway.device(master, EVA);
    let mut tracker = Tracker::of(EVA, at);
    // the second call of one ident takes it from the first
    let mut second = Tracker::of(EVA, at);
    let data = gateway.data.clone();
    let screen = std::thread::scope(|scope| {
        let top = scope.spawn(|| command(&["top", "--data"], &data, &["--once", "--width", "150"]));
        let begin_ms = now_ms() - 60_000;
        // as long as it looks, however late it begins
        for step in (0..).take_while(|_| !top.is_finished()) {
            assert_eq!(second.send(&[begin_ms + step * 10]), Heard::Count(1));
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        top.join().expect("it runs")
    });
    assert_eq!(tracker.hear(LONG), Heard::Closed);
    let text = said(&screen);
    assert!(screen.status.success(), "{text}");
    assert!(text.starts_with("Tollgate ready"), "{text}");
    for part in [
        "state             writing",
        "accounts by messages",
        "master",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let acks = text
        .lines()
        .find_map(|line| line.split_once("│acks "))
        .expect("the line of acks");
    assert!(!acks.1.trim_start().starts_with("0/s"), "{text}");
    // the events of the take-over are written soon behind it
    let row = format!("│{device} ");
    until("the device is among those with trouble", || {
        let again = said(&command(&["top", "--data"], &gateway.data, &["--once"]));
        let (_, devices) = again.split_once("devices with trouble").expect("the table");
        devices.contains(&row)
    });
    gateway.stop();
}

#[test]
fn health_says_ready_and_where_nobody_answers_it_says_so() {
    let setup = Setup::new();
    let gateway = setup.start();
    let well = command(&["health", "--data"], &gateway.data, &[]);
    assert_eq!(
        (well.status.code(), said(&well).as_str()),
        (Some(0), "ready\n")
    );
    gateway.stop();
    for commands in [&["health", "--data"][..], &["top", "--once", "--data"]] {
        let gone = command(commands, &setup.data(), &[]);
        assert_eq!(gone.status.code(), Some(69), "{}", said(&gone));
        assert!(
            said(&gone).contains("no gateway answers on"),
            "{}",
            said(&gone)
        );
    }
}

#[test]
fn what_a_package_installs_is_made_of_the_programs_own_arguments() {
    let completions = Command::new(TOLLGATE)
        .args(["completions", "bash"])
        .output()
        .expect("it runs");
    let text = said(&completions);
    assert!(
        completions.status.success() && text.contains("complete -F _tollgate"),
        "{text}"
    );
    for command in ["serve", "top", "audit", "replay"] {
        assert!(text.contains(command), "{command} is not completed");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let pages = command(&["man"], dir.path(), &[]);
    assert!(pages.status.success(), "{}", said(&pages));
    let page = std::fs::read_to_string(dir.path().join("tollgate-serve.1")).expect("a page");
    assert!(
        page.contains(".TH tollgate-serve 1") && page.contains("give\\-up\\-damaged"),
        "{page}"
    );
}

#[test]
fn a_subaccounts_token_sees_the_metrics_of_its_branch_only() {
    let gateway = Setup::new().start();
    let (master, above, at) = gateway.master_and_channel();
    let account =
        |owner, name| gateway.make(owner, "/platform/subaccounts", &json!({ "name": name }));
    let customer = account(master, "customer");
    let (below, sibling) = (account(customer, "below"), account(master, "sibling"));
    let channel = json!({ "name": "own", "protocol_name": "gt06" });
    let own = gateway.make(customer, "/gw/channels", &channel);
    gateway.device(below, EVA);
    assert_eq!(
        Tracker::of(EVA, at).send(&[now_ms() - 60_000]),
        Heard::Count(1)
    );
    let token = json!({ "info": "scrape", "access": { "type": 1 } });
    let token = gateway.row(customer, "POST", "/platform/tokens?fields=id,key", &token);
    let key = token["key"].as_str().expect("a key");
    let page = gateway.page(&format!("authorization: FlespiToken {key}\r\n"));
    assert!(page.starts_with("HTTP/1.0 200"), "{page}");
    let has = |part: String| page.contains(&part);
    assert!(
        has(format!(
            "tollgate_account_messages_total{{account=\"{customer}\"}} 1"
        )),
        "{page}"
    );
    assert!(
        has(format!(
            "tollgate_account_messages_total{{account=\"{below}\"}} 1"
        )),
        "{page}"
    );
    assert!(
        has(format!("tollgate_connections{{channel=\"{own}\"}} 0")),
        "{page}"
    );
    for foreign in [
        format!("account=\"{master}\""),
        format!("account=\"{sibling}\""),
        format!("channel=\"{above}\""),
        "tollgate_journal".to_owned(),
        "process_".to_owned(),
    ] {
        assert!(!has(foreign.clone()), "{foreign} in\n{page}");
    }
    assert!(
        gateway
            .page("authorization: FlespiToken wrong\r\n")
            .starts_with("HTTP/1.0 401")
    );
    assert!(
        gateway.page("").contains("tollgate_journal_failed 0"),
        "loopback sees all"
    );
    gateway.stop();
}
