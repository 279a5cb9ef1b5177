//! The commands for a data directory's long life, as an operator calls them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use tollgate::account::Tree;
use tollgate::ids::{AccountId, ChannelId, ConnectionId, DeviceId, Epoch, Ident, SystemClock};
use tollgate::journal::{Batch, FrameMeta, FrameWriter, Journal, MemoryLedger, Options, PartMeta};
use tollgate::segment::OsFiles;

const T0_US: i64 = 1_764_000_000_000_000;

/// A data directory with a journal of `frames` frames in several segments.
fn data_dir(frames: i64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = Arc::new(Tree::new());
    tree.insert(AccountId(1), AccountId::NONE)
        .expect("the master");
    let journal = Journal::open(
        &dir.path().join("journal"),
        Options {
            segment_bytes: 16 * 1024,
            ..Options::default()
        },
        tree,
        Box::new(MemoryLedger::default()),
        Arc::new(SystemClock::default()),
        Arc::new(OsFiles),
        &mut |_, _| {},
    )
    .expect("opens");
    let ident = Ident::new("352093081452251").expect("an ident");
    for number in 0..frames {
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
    dir
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
