//! A disk that is really full: the journal stops giving permits, keeps what it acked, and goes on
//! when there is space.
//!
//! It needs a small file system, so it runs on request:
//!
//! ```text
//! mount -t tmpfs -o size=3m tmpfs /mnt/small
//! TOLLGATE_SMALL_DISK=/mnt/small cargo test --test full_disk -- --ignored
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tollgate::account::Tree;
use tollgate::ids::{
    AccountId, ChannelId, ConnectionId, DeviceId, Epoch, Ident, Position, SystemClock,
};
use tollgate::journal::{
    Batch, FrameMeta, FrameWriter, Journal, MemoryLedger, Options, PartMeta, Range,
};
use tollgate::segment::OsFiles;

const BALLAST_BYTES: usize = 1024 * 1024;

fn open(dir: &std::path::Path, ledger: &MemoryLedger) -> Journal {
    let tree = Arc::new(Tree::new());
    tree.insert(AccountId(1), AccountId::NONE)
        .expect("the master");
    let options = Options {
        segment_bytes: 256 * 1024,
        retry: Duration::from_millis(20),
        // of a disk of 3 MiB: first the want of it is tried
        free_bytes_min: 0,
        ..Options::default()
    };
    Journal::open(
        dir,
        options,
        tree,
        Box::new(ledger.clone()),
        Arc::new(SystemClock::default()),
        Arc::new(OsFiles),
        &mut |_, _| {},
    )
    .expect("opens")
}

fn frame(batch: &mut Batch, number: i64) {
    let meta = FrameMeta {
        at_us: 1_764_000_000_000_000 + number,
        connection: ConnectionId(1),
        channel: ChannelId(1),
        protocol: 1,
        decoder_version: 1,
        peer: "192.0.2.1:1".parse().expect("an address"),
        bytes_in: 10,
    };
    let ident = Ident::new("1").expect("an ident");
    let mut record = vec![0];
    protocols::record::write_varint(&mut record, protocols::record::zigzag(number));
    record.resize(record.len() + 2000, 0);
    let mut frame = FrameWriter::begin(batch, &meta);
    frame.part(&PartMeta {
        ident: &ident,
        device: DeviceId(1),
        account: AccountId(1),
        epoch: Epoch(0),
    });
    frame.record(&record);
    frame.finish(1);
}

#[test]
#[ignore = "needs TOLLGATE_SMALL_DISK, a folder on a file system of a few MiB"]
fn a_full_disk_stops_permits_keeps_what_was_acked_and_heals() {
    let disk = PathBuf::from(
        std::env::var("TOLLGATE_SMALL_DISK").expect("TOLLGATE_SMALL_DISK names a folder"),
    );
    let dir = disk.join("journal");
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![1; BALLAST_BYTES]).expect("there is space for it");
    let ledger = MemoryLedger::default();
    let journal = open(&dir, &ledger);
    let mut number = 0;
    while !journal.is_stalled() {
        if let Some(permit) = journal.try_permit(4096) {
            let mut batch = Batch::new();
            frame(&mut batch, number);
            journal.append(permit, &mut batch);
            number += 1;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    assert!(journal.failed().is_none(), "a full disk is not final");
    assert!(journal.try_permit(1).is_none());
    let acked = journal.durable();
    assert!(acked > Position::ZERO);
    assert_eq!(
        journal.read_device(DeviceId(1), Range::default()).count() as u64,
        acked.sequence()
    );

    std::fs::remove_file(&ballast).expect("there");
    let reached = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(journal.reached(journal.appended()));
    assert!(reached, "everything appended became durable");
    assert!(!journal.is_stalled());
    let last = journal.durable();
    assert_eq!(last.sequence(), number.cast_unsigned());
    drop(journal);

    let again = open(&dir, &ledger);
    assert_eq!(again.durable(), last);
    assert_eq!(again.audit().expect("readable").differences, []);
    drop(again);
    std::fs::remove_dir_all(&dir).expect("there");
}
