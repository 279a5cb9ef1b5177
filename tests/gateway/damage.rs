//! One changed byte in every kind of file of a data directory: the start refuses and names the file,
//! or everything is served as it was, or it is said that something is not: never a panic, never
//! something else.
//!
//! `TOLLGATE_DAMAGES` is how many places of each file are tried, `TOLLGATE_DAMAGES_SEED` which.

use crate::crash::number_of;
use crate::harness::{Gateway, Heard, Setup, Tracker, command, now_ms};
use crate::image::Dice;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tollgate::account::Tree;
use tollgate::ids::{
    AccountId, ChannelId, Clock as _, ConnectionId, DeviceId, Epoch, Ident, ManualClock,
    SystemClock,
};
use tollgate::journal::{Batch, FrameMeta, FrameWriter, Journal, Lifetimes, Options, PartMeta};
use tollgate::registry::Registry;
use tollgate::segment::OsFiles;
use tollgate::store::{SledLedger, Store};

const ANN: &str = "356600000000301";
const BEN: &str = "356600000000302";
const DAY_US: i64 = 86_400_000_000;

/// Devices keep what they have, channels nothing: what is settled is in archives only.
struct Kept(AccountId);

impl Lifetimes for Kept {
    fn channel(&self, _: ChannelId) -> Option<(AccountId, u32)> {
        None
    }

    fn device(&self, _: DeviceId) -> Option<(AccountId, u32)> {
        Some((self.0, 366 * 86_400))
    }
}

/// Three earlier days of two devices, settled, with segments that are gone already.
fn write_history(data: &Path, account: u64, devices: [(u64, &str); 2]) {
    let store = Store::open(data).expect("nobody has it");
    let tree = Arc::new(Tree::new());
    Registry::load(&store, Arc::clone(&tree)).expect("items");
    let now_us = SystemClock::default().now_us();
    let journal = Journal::open(
        &data.join("journal"),
        Options {
            segment_bytes: 16 * 1024,
            replay_bytes: 1,
            checkpoint: Duration::from_millis(5),
            statistics_flush: Duration::from_millis(5),
            settle: Duration::from_millis(5),
            settle_share: 100,
            retention: Duration::from_millis(5),
            ..Options::default()
        },
        tree,
        Box::new(SledLedger::open(data).expect("nobody has it")),
        Arc::new(ManualClock::new(now_us)),
        Arc::new(OsFiles),
        &mut |_, _| {},
    )
    .expect("it opens");
    journal.keep_for(Arc::new(Kept(AccountId(account))));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for number in 0..240 {
        let at_us = now_us - 3 * DAY_US + number * (2 * DAY_US / 240);
        let mut batch = Batch::new();
        for (device, ident) in devices {
            let meta = FrameMeta {
                at_us,
                connection: ConnectionId(1),
                channel: ChannelId(1),
                protocol: 1,
                decoder_version: 1,
                peer: ([192, 0, 2, 1], 1).into(),
                bytes_in: 100,
            };
            let mut frame = FrameWriter::begin(&mut batch, &meta);
            frame.part(&PartMeta {
                ident: &Ident::new(ident).expect("an ident"),
                device: DeviceId(device),
                account: AccountId(account),
                epoch: Epoch(0),
            });
            let mut record = vec![0];
            let time = protocols::record::zigzag(at_us / 1000);
            protocols::record::write_varint(&mut record, time);
            frame.record(&record);
            frame.finish(4);
        }
        let committed = runtime.block_on(journal.commit(&mut batch));
        journal.telemetry_kept(committed.expect("durable"));
    }
    let until = Instant::now() + Duration::from_secs(20);
    while journal.stats().segments_gone() == 0 {
        assert!(Instant::now() < until, "no segment goes");
        std::thread::sleep(Duration::from_millis(2));
    }
    journal.shutdown();
}

/// A data directory with a file of every kind, of a gateway that has ended in order.
fn directory(setup: &Setup) {
    let gateway = setup.start();
    let (master, channel, at) = gateway.master_and_channel();
    let limit = gateway.make(master, "/platform/limits", &json!({ "name": "wide" }));
    let child = json!({ "name": "child", "limit_id": limit });
    gateway.make(master, "/platform/subaccounts", &child);
    let device = |ident: &str| {
        let device = json!({
            "name": ident,
            "protocol_name": "teltonika",
            "messages_ttl": 31_536_000,
            "configuration": { "ident": ident },
        });
        gateway.make(master, "/gw/devices", &device)
    };
    let devices = [(device(ANN), ANN), (device(BEN), BEN)];
    gateway.stop();
    write_history(&setup.data(), master, devices);
    let gateway = setup.start();
    for (device, ident) in devices {
        let path = format!("/gw/devices/{device}");
        gateway.row(0, "PUT", &path, &json!({ "keep_packets": true }));
        let mut tracker = Tracker::of(ident, at);
        for frame in 0..30 {
            assert_eq!(tracker.send(&[now_ms() - 60_000 + frame]), Heard::Count(1));
        }
    }
    let path = format!("/gw/devices/{}/messages", devices[1].0);
    let until = json!({ "to": (now_ms() - 2 * DAY_US / 1000) / 1000 });
    let (status, answer) = gateway.call(0, "DELETE", &path, &until);
    assert_eq!(status, 200, "{answer}");
    let logs = format!("/gw/channels/{channel}/logs");
    crate::harness::until("the events are written", || {
        let (_, answer) = gateway.call(0, "GET", &logs, &Value::Null);
        answer["result"]
            .as_array()
            .is_some_and(|rows| rows.len() > 2)
    });
    gateway.stop();
}

/// What is asked of a gateway, and what must be there as it was.
const ASKED: [&str; 12] = [
    "/platform/subaccounts/all?fields=id,cid,name,limit_id,enabled",
    "/platform/limits/all",
    "/gw/channels/all?fields=id,cid,name,port,enabled,configuration",
    "/gw/devices/all?fields=id,cid,name,enabled,configuration,messages_ttl",
    "/gw/devices/1/messages",
    "/gw/devices/2/messages",
    "/gw/devices/1/telemetry/all",
    "/gw/devices/2/telemetry/all",
    "/gw/channels/all/messages",
    "/gw/channels/all/logs",
    "/gw/devices/1/packets",
    "/gw/devices/2/packets",
];

type Facts = BTreeMap<String, (u16, Value)>;

fn facts(gateway: &Gateway) -> Facts {
    let mut facts: Facts = ASKED
        .iter()
        .map(|path| {
            let (status, mut answer) = gateway.call(0, "GET", path, &Value::Null);
            ((*path).to_owned(), (status, answer["result"].take()))
        })
        .collect();
    let account = gateway.call(
        0,
        "GET",
        "/platform/subaccounts/1?fields=counters",
        &Value::Null,
    );
    let totals = account.1["result"][0]["counters"]["totals"].clone();
    for name in ["messages", "frames", "bytes_in", "bytes_out"] {
        facts.insert(format!("total {name}"), (account.0, totals[name].clone()));
    }
    facts
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            files.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

/// A copy of a setup's data directory, as a setup of its own.
fn copy(setup: &Setup) -> Setup {
    let again = setup.elsewhere();
    for path in files_below(&setup.data()) {
        let to = again
            .data()
            .join(path.strip_prefix(setup.data()).expect("below it"));
        std::fs::create_dir_all(to.parent().expect("it has one")).expect("a folder");
        std::fs::copy(&path, &to).expect("space");
    }
    again
}

/// A kind of file: its folder, and its name without numbers.
fn kind_of(path: &Path) -> String {
    path.to_string_lossy()
        .chars()
        .filter(|byte| !byte.is_ascii_digit())
        .collect()
}

/// Changes a byte of a file; where.
fn change(path: &Path, dice: &mut Dice) -> usize {
    let mut bytes = std::fs::read(path).expect("it is there");
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    // what is allocated and not written is most of some files
    let at = if dice.below(4) > 0 && !used.is_empty() {
        used[dice.below(used.len())]
    } else {
        dice.below(bytes.len())
    };
    bytes[at] ^= 1 << dice.below(8);
    std::fs::write(path, bytes).expect("space");
    at
}

fn is_panic(output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    said.contains("panicked") || output.status.code().is_none_or(|code| code == 101)
}

#[test]
fn a_changed_byte_in_any_file_is_refused_healed_or_said() {
    let places = number_of("TOLLGATE_DAMAGES", 1);
    let seed = number_of("TOLLGATE_DAMAGES_SEED", 1);
    let mut dice = Dice(seed);
    let setup = Setup::new().with("[journal]\nsegment = \"1 MiB\"\n");
    directory(&setup);
    let right = {
        let facts = [(); 2].map(|()| {
            let again = copy(&setup);
            let gateway = again.start();
            gateway.audit();
            facts(&gateway)
        });
        assert_eq!(facts[0], facts[1], "it is the same twice");
        facts.into_iter().next().expect("two")
    };
    assert!(
        right.values().all(|(status, _)| *status == 200),
        "{right:?}"
    );
    let rows = |path: &str| right[path].1.as_array().map_or(0, Vec::len);
    assert_eq!(rows("/gw/devices/1/messages"), 270);

    let mut files = files_below(&setup.data());
    // of many of a kind the first and the last
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for path in &files {
        *seen.entry(kind_of(path)).or_default() += 1;
    }
    let counts = seen.clone();
    let mut nth: BTreeMap<String, usize> = BTreeMap::new();
    files.retain(|path| {
        let kind = kind_of(path);
        let at = nth.entry(kind.clone()).or_default();
        *at += 1;
        std::fs::metadata(path).is_ok_and(|file| file.len() > 0)
            && (*at == 1 || *at == counts[&kind])
    });
    let kinds: BTreeSet<String> = files
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .map(|name| name.rsplit('.').next().unwrap_or_default().to_owned())
        .collect();
    for kind in [
        "seg", "idx", "archive", "list", "base", "snapshot", "db", "conf",
    ] {
        assert!(
            kinds.contains(kind),
            "no file of the kind {kind}: {kinds:?}"
        );
    }
    let (mut refused, mut healed, mut said) = (0, 0, 0);
    for path in &files {
        for _ in 0..places {
            let below = path.strip_prefix(setup.data()).expect("below it");
            let name = below.file_name().expect("a file").to_string_lossy();
            let folder = below.parent().expect("it has one").to_string_lossy();
            let (verified, started) = (copy(&setup), copy(&setup));
            let mut again = dice.clone();
            let at = change(&verified.data().join(below), &mut dice);
            change(&started.data().join(below), &mut again);
            let what = format!("TOLLGATE_DAMAGES_SEED={seed}: {} at {at}", below.display());

            let verify = command(&["verify", "--data"], &verified.data(), &[]);
            assert!(!is_panic(&verify), "{what}: {verify:?}");
            let text = String::from_utf8_lossy(&verify.stdout).into_owned();
            let named =
                |text: &str| text.contains(&*name) || !folder.is_empty() && text.contains(&*folder);
            let reported = !verify.status.success() && named(&text);

            match started.try_start() {
                Err((status, text)) => {
                    assert!(
                        status.code().is_some_and(|code| code != 101) && !text.contains("panicked"),
                        "{what}: {status} {text}"
                    );
                    assert!(named(&text), "{what}: the file is not named: {text}");
                    refused += 1;
                }
                Ok(gateway) => {
                    let now = facts(&gateway);
                    let wrong: Vec<_> = right
                        .iter()
                        .filter(|(path, fact)| now[*path] != **fact)
                        .map(|(path, _)| (path, now[path].0))
                        .collect();
                    let text = gateway.said();
                    assert!(!text.contains("panicked"), "{what}: {text}");
                    let silent = wrong.iter().any(|(_, status)| *status == 200);
                    assert!(
                        !silent || reported || named(&text),
                        "{what}: other than it was, and nobody says so: {wrong:?}\n{text}"
                    );
                    if wrong.is_empty() {
                        healed += 1;
                    } else {
                        said += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 0 && healed > 0, "{refused} {healed} {said}");
}
