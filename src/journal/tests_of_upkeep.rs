//! What the journal does by itself: days end without traffic, segments wait for archives, and the
//! audit recounts what is stored.

use super::retention::Lifetimes;
use super::tests::{tree, wait_for};
use super::tests_of_archives::{Dice, Kept, Model, T0_US, check, options, until, write};
use super::tests_of_settling::Failing;
use super::*;
use crate::archive::DAY_S;
use crate::ids::{DeviceId, ManualClock};
use crate::segment::OsFiles;
use std::sync::atomic::AtomicI64;

const DAY_US: i64 = DAY_S * 1_000_000;
/// Longer than any test.
const NEVER: Duration = Duration::from_hours(24);

fn open(dir: &Path, ledger: &MemoryLedger, clock: &Arc<ManualClock>, options: Options) -> Journal {
    open_on(Arc::new(OsFiles), dir, ledger, clock, options)
}

fn open_on(
    files: Arc<dyn Files>,
    dir: &Path,
    ledger: &MemoryLedger,
    clock: &Arc<ManualClock>,
    options: Options,
) -> Journal {
    Journal::open(
        dir,
        options,
        tree(),
        Box::new(ledger.clone()),
        Arc::clone(clock) as Arc<dyn Clock>,
        files,
        &mut |_, _| {},
    )
    .expect("opens")
}

#[test]
fn a_day_that_is_over_is_settled_though_nothing_comes_any_more() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let clock = Arc::new(ManualClock::new(T0_US));
    let kept = Kept::new(366 * 86_400, 60);
    let mut model = Model::default();
    let mut dice = Dice(11);
    let keep = |journal: &Journal| journal.keep_for(Arc::clone(&kept) as Arc<dyn Lifetimes>);
    let mut journal = open(dir.path(), &ledger, &clock, options());
    keep(&journal);
    for day in 0..3 {
        if day == 2 {
            // over a restart, too: what was in use is in use again
            drop(journal);
            journal = open(dir.path(), &ledger, &clock, options());
            keep(&journal);
        }
        for _ in 0..5 {
            write(&journal, &clock, &mut model, &mut dice);
        }
        let segments = journal.catalog().segments();
        assert!(segments.last().is_some_and(|last| !last.is_sealed()));
        clock.advance_us(DAY_US);
        let last = journal.durable().sequence();
        until("the quiet day is settled", || {
            journal.archives().view().settled == last
        });
        check(&journal, &kept, &model, clock.now_us(), &mut dice);
    }
    // days without anything make no segments
    let segments = journal.catalog().segments().len();
    for _ in 0..3 {
        clock.advance_us(DAY_US);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(journal.catalog().segments().len(), segments);
    write(&journal, &clock, &mut model, &mut dice);
    check(&journal, &kept, &model, clock.now_us(), &mut dice);
    assert_eq!(journal.audit().expect("readable").differences, []);
}

#[test]
fn a_segment_waits_until_its_messages_are_in_archives() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let clock = Arc::new(ManualClock::new(T0_US));
    let kept = Kept::new(366 * 86_400, 60);
    let mut model = Model::default();
    let mut dice = Dice(12);
    let options = Options {
        retention: NEVER,
        ..options()
    };
    let files = Failing {
        folder: dir.path().join(ARCHIVES_DIR),
        left: Arc::new(AtomicI64::new(i64::MAX)),
        dead: true,
        kind: io::ErrorKind::PermissionDenied,
    };
    let left = Arc::clone(&files.left);
    let journal = open_on(files.files(), dir.path(), &ledger, &clock, options);
    // from now on nothing becomes an archive
    left.store(0, Ordering::SeqCst);
    journal.keep_for(Arc::clone(&kept) as Arc<dyn Lifetimes>);
    for _ in 0..3 {
        for _ in 0..20 {
            write(&journal, &clock, &mut model, &mut dice);
        }
        clock.advance_us(DAY_US);
    }
    // nothing else holds them: no ttl, no counter, no snapshot
    let last = journal.durable();
    journal.telemetry_kept(last);
    let shared = &journal.inner.shared;
    until("counters and rows are kept", || {
        shared.saved.load(Ordering::Acquire) == last.raw()
            && shared.statistics_durable.load(Ordering::Acquire) == last.raw()
    });
    until("sidecars are there", || {
        let segments = journal.catalog().segments();
        let mut sealed = segments.iter().filter(|segment| segment.is_sealed());
        sealed.all(|segment| segment.path().with_extension("idx").exists())
    });
    assert_eq!(shared.retain().expect("readable"), 0);
    check(&journal, &kept, &model, clock.now_us(), &mut dice);
    left.store(i64::MAX, Ordering::SeqCst);
    until("settled", || {
        journal.archives().view().settled >= last.sequence()
    });
    assert!(shared.retain().expect("readable") > 0, "now they may go");
    check(&journal, &kept, &model, clock.now_us(), &mut dice);
}

#[test]
fn the_audit_recounts_what_is_stored_and_finds_one_byte_that_is_off() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let clock = Arc::new(ManualClock::new(T0_US));
    let kept = Kept::new(366 * 86_400, 31 * 86_400);
    let mut model = Model::default();
    let mut dice = Dice(13);
    let options = Options {
        // the audit counts by itself
        storage: NEVER,
        ..options()
    };
    let journal = open(dir.path(), &ledger, &clock, options);
    journal.keep_for(Arc::clone(&kept) as Arc<dyn Lifetimes>);
    let right = |when: &str| {
        let audit = journal.audit().expect("readable");
        assert_eq!(audit.differences, [], "{when}");
    };
    right("empty");
    for day in 0..3 {
        for _ in 0..30 {
            write(&journal, &clock, &mut model, &mut dice);
        }
        right("in segments");
        if day == 1 {
            journal
                .delete_messages(DeviceId(2), i64::MIN, i64::MAX)
                .expect("a disk");
            right("deleted");
        }
        clock.advance_us(DAY_US);
        right("a day later");
    }
    until("settled", || {
        journal.archives().view().settled == journal.durable().sequence()
    });
    right("in archives");
    // while messages come in
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut dice = Dice(14);
            for _ in 0..100 {
                write(&journal, &clock, &mut Model::default(), &mut dice);
            }
        });
        while !writing.is_finished() {
            right("under load");
        }
    });
    wait_for(&journal, journal.appended());
    kept.of(1).store(60, Ordering::Relaxed);
    right("a ttl was lowered");

    // a level that is a byte off
    let shared = &journal.inner.shared;
    let account = shared.tree.account(AccountId(3)).expect("inserted");
    account.occupy(Dimension::DeviceStorage, 1).keep();
    let found = journal.audit().expect("readable").differences;
    let seen: Vec<_> = found
        .iter()
        .map(|one| (one.place, one.field, one.counted - one.recounted))
        .collect();
    assert_eq!(
        seen,
        [("storage", "device_storage", 1); 3],
        "it and those above it"
    );
    account.release(Dimension::DeviceStorage, 1);
    right("mended");
}
