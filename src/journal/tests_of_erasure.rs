//! Erasure for good: on no page of the disk, and every counter as it was.

use super::retention::Lifetimes;
use super::tests::{self, append, wait_for};
use super::tests_of_archives::{CHANNEL, DAY_US, Kept, T0_US, open, until};
use super::*;
use crate::ids::{ConnectionId, DeviceId, Epoch, Ident, ManualClock};
use crate::segment::OsFiles;

/// Does any file in the folder, or below it, have these bytes?
fn is_on_disk(dir: &Path, needle: &str) -> bool {
    let entries = std::fs::read_dir(dir).expect("there");
    entries.flatten().any(|entry| {
        if entry.path().is_dir() {
            return is_on_disk(&entry.path(), needle);
        }
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        bytes
            .windows(needle.len())
            .any(|at| at == needle.as_bytes())
    })
}

/// Frames of two devices, and what else names them.
fn write_named(journal: &Journal, clock: &ManualClock, count: usize) {
    let idents = [1, 2].map(|nth| Ident::new(&format!("erase-me-{nth}")).expect("an ident"));
    for _ in 0..count {
        clock.advance_us(1);
        let at_us = clock.now_us();
        let mut batch = Batch::new();
        let peer = "203.0.113.77:4242".parse().expect("an address");
        let meta = FrameMeta {
            at_us,
            connection: ConnectionId(9),
            channel: CHANNEL,
            protocol: 1,
            decoder_version: 1,
            peer,
            bytes_in: 200,
        };
        for both in [true, false] {
            let mut writer = FrameWriter::begin(&mut batch, &meta);
            for (nth, ident) in (1..).zip(&idents) {
                if nth == 1 || both {
                    writer.part(&PartMeta {
                        ident,
                        device: DeviceId(nth),
                        account: AccountId(3),
                        epoch: Epoch(0),
                    });
                    writer.record(&tests::record_at(at_us / 1000, &[]));
                    writer.record(&tests::record_at(at_us / 1000 + 1, &[]));
                }
            }
            writer.finish(4);
        }
        for was in [
            ConnectionWas::Opened,
            ConnectionWas::Closed {
                code: 1,
                messages: 1,
                received: 2,
                sent: 3,
                duration_us: 4,
            },
        ] {
            Note::Connection {
                at_us,
                connection: ConnectionId(9),
                channel: CHANNEL,
                peer,
                ident: Some(&idents[0]),
                device: DeviceId(1),
                account: AccountId(3),
                was,
            }
            .write(&mut batch);
        }
        Note::Part {
            at_us,
            connection: ConnectionId(9),
            channel: CHANNEL,
            ident: &idents[0],
            device: DeviceId(1),
            account: AccountId(3),
            bytes: b"erase-me-1 too",
            bytes_in: 20,
        }
        .write(&mut batch);
        Note::Dropped {
            at_us,
            channel: CHANNEL,
            ident: &idents[0],
            device: DeviceId(1),
            account: AccountId(3),
            bytes_in: 1,
            bytes_out: 2,
            messages: 3,
            dimension: 0,
            level: 1,
        }
        .write(&mut batch);
        let last = append(journal, &mut batch);
        assert!(!wait_for(journal, last).failed);
    }
}

#[test]
fn what_is_erased_is_on_no_page_of_the_disk_and_every_counter_balances() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(T0_US));
    let kept = Kept::new(100 * 86_400, 31 * 86_400);
    let ledger = MemoryLedger::default();
    let mut journal = open(dir.path(), &ledger, &clock, Arc::new(OsFiles)).expect("opens");
    journal.keep_for(Arc::clone(&kept) as Arc<dyn Lifetimes>);
    write_named(&journal, &clock, 100);
    clock.advance_us(DAY_US);
    write_named(&journal, &clock, 60);
    until("yesterday is settled", || {
        journal.archives().view().settled > 100
    });
    let of = |journal: &Journal, device| {
        let read = journal.read_device(DeviceId(device), Range::default());
        read.map(|message| message.expect("readable"))
            .collect::<Vec<_>>()
    };
    let others = of(&journal, 2);
    assert_eq!((of(&journal, 1).len(), others.len()), (640, 320));
    assert!(is_on_disk(dir.path(), "erase-me-1") && is_on_disk(dir.path(), "erase-me-2"));

    journal.erase(DeviceId(1)).expect("a disk");
    assert!(of(&journal, 1).is_empty());
    let in_buffer = || {
        let read = journal.read_channel(CHANNEL, Range::default());
        read.map(|message| message.expect("readable").device)
            .collect::<Vec<_>>()
    };
    assert_eq!(in_buffer(), vec![DeviceId(2); 320]);
    // it waits for telemetry, over a restart too
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(journal.stats().erased(), 0);
    drop(journal);
    journal = open(dir.path(), &ledger, &clock, Arc::new(OsFiles)).expect("opens");
    journal.keep_for(Arc::clone(&kept) as Arc<dyn Lifetimes>);
    assert!(of(&journal, 1).is_empty());
    let [erasing] = journal.erasing()[..] else {
        panic!("one erasure waits");
    };
    // and for those who have something of it elsewhere
    kept.elsewhere_fails.store(2, Ordering::Relaxed);
    journal.telemetry_forgot(&erasing).expect("a disk");
    until("it is done", || journal.erasing().is_empty());
    assert_eq!(kept.elsewhere_fails.load(Ordering::Relaxed), 0);
    until("sidecars are made again", || {
        let segments = journal.catalog().segments();
        let mut sealed = segments.iter().filter(|segment| segment.is_sealed());
        sealed.all(|segment| segment.path().with_extension("idx").exists())
    });
    assert!(!is_on_disk(dir.path(), "erase-me-1"), "it is on the disk");
    assert!(is_on_disk(dir.path(), "erase-me-2"));
    assert_eq!(
        of(&journal, 2),
        others,
        "others have what they had, where they had it"
    );
    let (mut certificate, mut named) = (None, 0);
    let mut follow = journal.follow(Position::ZERO);
    let read = follow.visit(usize::MAX, &mut |_, entry| match entry {
        EntryRef::Deleted {
            device,
            what: What::Erased { segments, archives },
            ..
        } => certificate = Some((device, segments, archives)),
        EntryRef::Frame(frame) => {
            named += frame
                .parts()
                .filter(|part| part.device == DeviceId(1))
                .count();
        }
        _ => {}
    });
    assert!(read.expect("readable") > 0);
    // another look at the archives may have been before it
    let (device, segments, archives) = certificate.expect("there is one");
    assert!(device == DeviceId(1) && segments > 2 && archives <= 2);
    assert_eq!(named, 0);
    let audit = journal.audit().expect("readable");
    assert_eq!(audit.differences, []);
    // what comes behind it stays
    write_named(&journal, &clock, 5);
    assert_eq!(of(&journal, 1).len(), 20);
    drop(journal);
    let journal = open(dir.path(), &ledger, &clock, Arc::new(OsFiles)).expect("opens");
    assert_eq!(journal.audit().expect("readable").differences, []);
    assert_eq!(of(&journal, 1).len(), 20);
    let verified = verify::verify(&OsFiles, dir.path(), true).expect("readable");
    assert_eq!(verified.findings, []);
}
