//! The commands for a data directory's long life, as an operator calls them.

use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use tollgate::account::Tree;
use tollgate::ids::{AccountId, ChannelId, ConnectionId, DeviceId, Epoch, Ident, SystemClock};
use tollgate::journal::{Batch, FrameMeta, FrameWriter, Journal, Options, PartMeta};
use tollgate::segment::OsFiles;
use tollgate::store::{Commit, DirLock, Kind, SledLedger, Store};

const T0_US: i64 = 1_764_000_000_000_000;

/// A data directory with a journal of `frames` frames in several segments.
fn data_dir(frames: i64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("opens");
    let stamp = json!({"revision": 1, "created_us": 0, "updated_us": 0});
    let mut commit = Commit::new();
    commit.create(
        Kind::Account,
        1,
        &json!({"id": 1, "owner_id": 0, "name": "m", "enabled": true, "stamp": stamp}),
    );
    commit.create(
        Kind::Device,
        1,
        &json!({
            "id": 1, "cid": 1, "name": "van, \"red\"", "enabled": true, "protocol": 1,
            "device_type_id": 0, "ident": "352093081452251", "messages_ttl_s": 1_000_000_000,
            "stamp": stamp,
        }),
    );
    store.commit(&commit).expect("a disk");
    drop(store);
    write(dir.path(), 0..frames);
    dir
}

/// Writes frames into the journal of a data directory, whose counters go with it.
fn write(dir: &Path, frames: std::ops::Range<i64>) {
    let tree = Arc::new(Tree::new());
    tree.insert(AccountId(1), AccountId::NONE)
        .expect("the master");
    let journal = Journal::open(
        &dir.join("journal"),
        Options {
            segment_bytes: 16 * 1024,
            ..Options::default()
        },
        tree,
        Box::new(SledLedger::open(dir).expect("opens")),
        Arc::new(SystemClock::default()),
        Arc::new(OsFiles),
        &mut |_, _| {},
    )
    .expect("opens");
    let ident = Ident::new("352093081452251").expect("an ident");
    for number in frames {
        let mut batch = Batch::new();
        let meta = FrameMeta {
            at_us: T0_US + number * 1_000_000,
            connection: ConnectionId(1),
            channel: ChannelId(1),
            protocol: 1,
            decoder_version: 1,
            peer: "192.0.2.1:1".parse().expect("an address"),
            bytes_in: 10,
        };
        let mut frame = FrameWriter::begin(&mut batch, &meta);
        frame.part(&PartMeta {
            ident: &ident,
            device: DeviceId(1),
            account: AccountId(1),
            epoch: Epoch(0),
        });
        let mut record = vec![0];
        let time = protocols::record::zigzag(T0_US / 1000 + number * 1000);
        protocols::record::write_varint(&mut record, time);
        frame.record(&record);
        frame.finish(1);
        let permit = journal.try_permit(batch.len()).expect("room");
        let last = journal.append(permit, &mut batch);
        while journal.durable() < last {
            std::thread::yield_now();
        }
    }
    journal.shutdown();
}

fn tollgate(arguments: &[&str], data: &Path) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(arguments)
        .arg("--data")
        .arg(data)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir.join("journal"))
        .expect("there")
        .map(|entry| entry.expect("there").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn verify_says_that_all_is_well_or_which_file_is_not() {
    let dir = data_dir(400);
    let (output, text) = tollgate(&["verify"], dir.path());
    assert!(output.status.success(), "{text}");
    assert!(text.contains("400 entries with 400 messages"), "{text}");

    // as a gateway holds it, or a compaction
    let lock = DirLock::take(dir.path()).expect("nobody has it");
    let (output, text) = tollgate(&["verify"], dir.path());
    assert!(output.status.success(), "{text}");
    assert!(text.contains("items and counters were not read"), "{text}");
    drop(lock);

    let path = segments(dir.path())[0].clone();
    let mut bytes = std::fs::read(&path).expect("there");
    bytes[3000] ^= 1;
    std::fs::write(&path, bytes).expect("writable");
    let (output, text) = tollgate(&["verify"], dir.path());
    assert_eq!(output.status.code(), Some(1), "{text}");
    let found = format!("{} at byte ", path.display());
    assert!(text.contains(&found), "{text}");
    let (_, json) = tollgate(&["verify", "--json"], dir.path());
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["entries"], 399);
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(1));

    let (output, _) = tollgate(&["verify"], &dir.path().join("nowhere"));
    assert_eq!(output.status.code(), Some(66));
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn a_backup_restores_to_what_it_was_and_only_new_bytes_are_copied_again() {
    let dir = data_dir(400);
    let backup = tempfile::tempdir().expect("a folder");
    let to = backup.path().to_str().expect("plain");
    let take = || {
        let (output, _) = tollgate(&["backup", to], dir.path());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let before = said
            .split(" were copied now")
            .next()
            .and_then(|text| text.rsplit(' ').next());
        before
            .and_then(|number| number.parse::<u64>().ok())
            .expect("a number")
    };
    let first = take();
    write(dir.path(), 400..450);
    let second = take();
    assert!(second < first / 2, "{first} bytes, then {second}");
    let export = |data: &Path, format: &str| {
        let (output, text) = tollgate(&["export", "--account", "1", "--format", format], data);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        text
    };
    let all = export(dir.path(), "ndjson");
    assert_eq!(lines(&all).len(), 450);
    // what comes later is not in it
    write(dir.path(), 450..460);

    let restored = tempfile::tempdir().expect("a folder");
    let data = restored.path().join("data");
    let (output, _) = tollgate(&["restore", to], &data);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let (output, text) = tollgate(&["verify"], &data);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("450 entries with 450 messages, 0 messages in archives; 3 items"),
        "{text}"
    );
    let (output, text) = tollgate(&["audit"], &data);
    assert!(output.status.success(), "{text} {output:?}");
    assert_eq!(export(&data, "ndjson"), all);
    let csv = export(&data, "csv");
    assert_eq!(lines(&csv).len(), 451, "a header and a line each");
    assert!(csv.contains("\"van, \"\"red\"\"\""), "{csv}");
    let gpx = export(&data, "gpx");
    assert!(!gpx.contains("<trk>"), "no message has a place: {gpx}");
    assert!(gpx.ends_with("</gpx>\n"), "{gpx}");
    // it goes on from there
    write(&data, 450..455);
    let (output, text) = tollgate(&["audit"], &data);
    assert!(output.status.success(), "{text}");

    let (output, _) = tollgate(&["restore", to], &data);
    assert_eq!(output.status.code(), Some(64), "it is not empty");
    let path = segments(backup.path())[0].clone();
    let mut bytes = std::fs::read(&path).expect("there");
    bytes[3000] ^= 1;
    std::fs::write(&path, bytes).expect("writable");
    let (output, _) = tollgate(&["restore", to], &restored.path().join("other"));
    assert_eq!(
        output.status.code(),
        Some(65),
        "a byte is not what was backed up"
    );
}

/// Does any file in the folder, or below it, have these bytes?
fn is_on_disk(dir: &Path, needle: &str) -> bool {
    let entries = std::fs::read_dir(dir).expect("there");
    entries.flatten().any(|entry| {
        if entry.path().is_dir() {
            return is_on_disk(&entry.path(), needle);
        }
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let mut windows = bytes.windows(needle.len());
        windows.any(|at| at == needle.as_bytes())
    })
}

#[test]
fn an_erased_device_is_in_no_file_of_the_journal_and_in_no_later_backup() {
    const IDENT: &str = "352093081452251";
    let dir = data_dir(400);
    let backup = tempfile::tempdir().expect("a folder");
    let to = backup.path().to_str().expect("plain");
    let run = |arguments: &[&str]| {
        let (output, text) = tollgate(arguments, dir.path());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}{text}");
        text
    };
    run(&["backup", to]);
    assert!(is_on_disk(&dir.path().join("journal"), IDENT));
    assert!(is_on_disk(&backup.path().join("journal"), IDENT));
    let (output, _) = tollgate(&["erase", "--device", "1"], dir.path());
    assert_eq!(output.status.code(), Some(64), "not without --yes");
    run(&["erase", "--device", "1", "--yes"]);
    assert!(!is_on_disk(&dir.path().join("journal"), IDENT));
    assert_eq!(run(&["export", "--device", "1"]), "");
    run(&["audit"]);
    let text = run(&["verify"]);
    assert!(text.contains(" entries with 0 messages"), "{text}");
    // into the same folder: what had it is replaced
    run(&["backup", to]);
    assert!(!is_on_disk(&backup.path().join("journal"), IDENT));
    // what it sends from now on is there
    write(dir.path(), 400..410);
    assert_eq!(lines(&run(&["export", "--device", "1"])).len(), 10);
}
