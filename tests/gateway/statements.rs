//! Usage statements of days that are over, verified in another language; and compaction.

use crate::harness::{Setup, TOLLGATE, audit, command};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use tollgate::account::Tree;
use tollgate::ids::{
    AccountId, ChannelId, ConnectionId, DeviceId, Epoch, Ident, ManualClock, SystemClock,
};
use tollgate::journal::{Batch, FrameMeta, FrameWriter, Journal, Options, PartMeta};
use tollgate::registry::Registry;
use tollgate::segment::OsFiles;
use tollgate::store::{SledLedger, Store};

const DAY_US: i64 = 86_400_000_000;

/// Frames of one message each, as a gateway wrote them on earlier days: (account, device, days ago).
pub(crate) fn write_days(data: &Path, frames: &[(u64, u64, i64)]) {
    let store = Store::open(data).expect("nobody has it");
    let tree = Arc::new(Tree::new());
    Registry::load(&store, Arc::clone(&tree)).expect("items");
    let ledger = SledLedger::open(data).expect("nobody has it");
    let now_us = tollgate::ids::Clock::now_us(&SystemClock::default());
    let journal = Journal::open(
        &data.join("journal"),
        Options::default(),
        tree,
        Box::new(ledger),
        Arc::new(ManualClock::new(now_us)),
        Arc::new(OsFiles),
        &mut |_, _| {},
    )
    .expect("it opens");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for (index, (account, device, days_ago)) in (0..).zip(frames) {
        let at_us = now_us - days_ago * DAY_US;
        let ident = Ident::new(&format!("{device}")).expect("an ident");
        let mut batch = Batch::new();
        let meta = FrameMeta {
            at_us,
            connection: ConnectionId(1),
            channel: ChannelId(1),
            protocol: 1,
            decoder_version: 1,
            peer: ([192, 0, 2, 1], 1).into(),
            bytes_in: 100 + index,
        };
        let mut frame = FrameWriter::begin(&mut batch, &meta);
        frame.part(&PartMeta {
            ident: &ident,
            device: DeviceId(*device),
            account: AccountId(*account),
            epoch: Epoch(0),
        });
        let mut record = vec![0];
        let time_ms = at_us / 1000 + i64::from(index);
        protocols::record::write_varint(&mut record, protocols::record::zigzag(time_ms));
        frame.record(&record);
        frame.finish(4);
        runtime
            .block_on(journal.commit(&mut batch))
            .expect("durable");
    }
    journal.shutdown();
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(serde_json::from_str);
    lines.map(|line| line.expect("JSON")).collect()
}

/// The day so many days ago.
fn day(ago: i64) -> String {
    let now = jiff::Timestamp::now();
    let at = now - jiff::SignedDuration::from_hours(24 * ago);
    at.strftime("%Y-%m-%d").to_string()
}

#[test]
fn a_branchs_statements_are_verified_in_another_language_and_tell_nothing_of_others() {
    let setup = Setup::new();
    let gateway = setup.start();
    let (master, ..) = gateway.master_and_channel();
    let make = |owner: u64, name: &str| {
        let account = json!({ "name": name });
        gateway.make(owner, "/platform/subaccounts", &account)
    };
    let child = make(master, "child");
    let below = make(child, "below");
    let sibling = make(master, "sibling");
    let devices = [(child, 1), (below, 2), (sibling, 3)].map(|(account, ident)| {
        let device = gateway.device(account, &format!("35660000000010{ident}"));
        (account, device)
    });
    gateway.stop();
    let data = setup.data();
    let [on_child, on_below, on_sibling] = devices;
    let frames = [
        (on_child, 4),
        (on_below, 4),
        (on_below, 4),
        (on_sibling, 3),
        (on_below, 2),
        (on_child, 0),
    ]
    .map(|((account, device), ago)| (account, device, ago));
    write_days(&data, &frames);

    let asked = |account: u64, more: &[&str]| {
        let account = account.to_string();
        let from = day(5);
        let mut after = vec!["--account", &account, "--from", &from];
        after.extend_from_slice(more);
        command(&["statement", "--data"], &data, &after)
    };
    let of_child = lines(&asked(child, &[]));
    // a clock shortly behind midnight has not closed yesterday yet
    let counts: Vec<_> = of_child
        .iter()
        .filter_map(|row| row["messages"].as_u64())
        .collect();
    assert_eq!(counts.get(..4), Some(&[0, 3, 0, 1][..]), "{of_child:?}");
    assert_eq!(of_child[1]["day"], day(4).as_str());
    assert_eq!(of_child[1]["bytes_in"], 303);
    for row in &of_child {
        assert_eq!(row["cid"], child, "nobody else's");
        let names: Vec<_> = row.as_object().expect("a row").keys().collect();
        assert!(!names.iter().any(|name| *name == "owner_id"), "{names:?}");
    }

    let branch = asked(child, &["--branch"]);
    let rows = lines(&branch);
    assert!(
        rows.iter()
            .all(|row| row["cid"] != sibling && row["cid"] != master)
    );
    let statements = setup.dir.path().join("branch.ndjson");
    std::fs::write(&statements, &branch.stdout).expect("space");
    let messages = setup.dir.path().join("messages.ndjson");
    let export = ["--account", &child.to_string(), "--output"].map(str::to_owned);
    let exported = Command::new(TOLLGATE)
        .args(["export", "--data"])
        .arg(&data)
        .args(&export)
        .arg(&messages)
        .output()
        .expect("it runs");
    assert!(exported.status.success(), "{exported:?}");
    audit(&data);

    check_by_script(&statements, &messages, &branch.stdout);
    assert!(
        !asked(child, &["--to", "soon"]).status.success(),
        "no day is called so"
    );
}

/// The script finds nothing wrong, and finds every byte that was changed.
#[expect(clippy::print_stderr, reason = "it says why it tries nothing")]
fn check_by_script(statements: &Path, messages: &Path, written: &[u8]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/statement.py");
    let verify = |messages: Option<&Path>| {
        let mut python = Command::new("python3");
        python.arg(&script).arg(statements).args(messages);
        python.output()
    };
    let Ok(verified) = verify(Some(messages)) else {
        eprintln!("deploy/statement.py is not tried: there is no python3");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "{verified:?}");
    assert!(said.contains("every hash and sum is right"), "{said}");
    let text = String::from_utf8(written.to_vec()).expect("text");
    let changes = [
        ("\"messages\":3", "\"messages\":4"),
        ("\"bytes_in\":303", "\"bytes_in\":302"),
        ("\"hash\":\"", "\"hash\":\"0"),
        ("\"previous\":\"", "\"previous\":\"00"),
        ("\"day\":\"2", "\"day\":\"3"),
    ];
    for (from, to) in changes {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        std::fs::write(statements, changed).expect("space");
        let verified = verify(None).expect("it ran before");
        assert_eq!(verified.status.code(), Some(1), "{from}: {verified:?}");
    }
    // one message less than was paid for
    std::fs::write(statements, &text).expect("space");
    let exported = std::fs::read_to_string(messages).expect("it was written");
    let (_, fewer) = exported.split_once('\n').expect("lines");
    std::fs::write(messages, fewer).expect("space");
    let verified = verify(Some(messages)).expect("it ran before");
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
}

#[test]
fn compaction_is_refused_while_a_gateway_runs_and_keeps_everything() {
    let setup = Setup::new();
    let gateway = setup.start();
    let (master, ..) = gateway.master_and_channel();
    let device = gateway.device(master, "356600000000101");
    for round in 0..20 {
        let path = format!("/gw/devices/{device}");
        gateway.row(0, "PUT", &path, &json!({ "name": format!("{round}") }));
    }
    let running = command(&["compact", "--data"], &setup.data(), &[]);
    let said = String::from_utf8_lossy(&running.stderr);
    assert_eq!(running.status.code(), Some(65), "{running:?}");
    assert!(said.contains("in use by another process"), "{said}");
    assert!(said.contains("stop the gateway first"), "{said}");
    let before = gateway.row(0, "GET", "/gw/devices/all", &Value::Null);
    gateway.stop();
    let compacted = command(&["compact", "--data"], &setup.data(), &[]);
    assert!(compacted.status.success(), "{compacted:?}");
    let gateway = setup.start();
    let after = gateway.row(0, "GET", "/gw/devices/all", &Value::Null);
    assert_eq!(after, before);
    gateway.audit();
}
