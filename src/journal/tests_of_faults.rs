//! A disk and a ledger that fail, fill up or do not answer.

use super::tests::*;
use super::*;
use crate::ids::{DeviceId, ManualClock};
use crate::segment::OsFiles;
use crate::segment::watched::{Call, Watched};

/// The machine's files, until a test says that something fails.
#[derive(Default)]
struct Faults {
    no_space: AtomicBool,
    /// Nothing new is opened: no file, and no folder to sync it.
    no_files: AtomicBool,
    bad_write: AtomicBool,
    bad_sync: AtomicBool,
    stuck_sync: AtomicBool,
}

fn fail_if(flag: &AtomicBool, error: impl Into<io::Error>) -> io::Result<()> {
    if flag.load(Ordering::SeqCst) {
        Err(error.into())
    } else {
        Ok(())
    }
}

fn faulty(faults: &Arc<Faults>) -> Arc<dyn Files> {
    let faults = Arc::clone(faults);
    Arc::new(Watched::by(move |call| match call {
        Call::Create(_) | Call::SyncDir(_) => fail_if(&faults.no_files, rustix::io::Errno::MFILE),
        Call::Allocate(_) => fail_if(&faults.no_space, io::ErrorKind::StorageFull),
        Call::Write(_) => fail_if(&faults.bad_write, io::ErrorKind::Other),
        Call::Sync(_) => {
            fail_if(&faults.bad_sync, io::ErrorKind::Other)?;
            while faults.stuck_sync.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        }
        _ => Ok(()),
    }))
}

#[test]
fn a_disk_that_does_not_answer_is_seen_by_the_time_it_takes() {
    let dir = tempfile::tempdir().expect("a folder");
    let faults = Arc::new(Faults::default());
    let files = faulty(&faults);
    let opened = open_with(dir.path(), quick(), &MemoryLedger::default(), files).expect("opens");
    let journal = &opened.journal;
    let last = one_message(journal, 0);
    wait_for(journal, last);
    faults.stuck_sync.store(true, Ordering::SeqCst);
    let last = one_message(journal, 1);
    while journal.writing_for() < Duration::from_millis(50) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(journal.failed().is_none() && !journal.is_stalled());
    faults.stuck_sync.store(false, Ordering::SeqCst);
    wait_for(journal, last);
    while journal.writing_for() > Duration::ZERO {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn no_space_for_a_segment_stops_permits_and_heals() {
    stops_permits_and_heals(|faults, broken| faults.no_space.store(broken, Ordering::SeqCst));
}

#[test]
fn no_file_descriptor_for_a_segment_stops_permits_and_heals() {
    stops_permits_and_heals(|faults, broken| faults.no_files.store(broken, Ordering::SeqCst));
}

fn stops_permits_and_heals(break_it: impl Fn(&Faults, bool)) {
    let dir = tempfile::tempdir().expect("a folder");
    let faults = Arc::new(Faults::default());
    let ledger = MemoryLedger::default();
    let files = faulty(&faults);
    let opened = open_with(dir.path(), quick(), &ledger, files).expect("opens");
    let journal = &opened.journal;
    let last = one_message(journal, 0);
    wait_for(journal, last);
    break_it(&faults, true);
    let mut step = 1;
    while !journal.is_stalled() {
        if let Some(permit) = journal.try_permit(200) {
            let mut batch = Batch::new();
            frame(&mut batch, T0_US + step, &[(1, 3, &[step])], 10);
            journal.append(permit, &mut batch);
            step += 1;
        }
        std::thread::yield_now();
    }
    assert!(journal.try_permit(1).is_none());
    assert!(journal.failed().is_none());
    let waiting = journal.queue_bytes();
    let acked = journal.durable();
    assert!(waiting > 0 && waiting <= QUEUE_BYTES_MAX);
    assert!(acked.sequence() < step.cast_unsigned());
    let seen = journal.read_device(DeviceId(1), Range::default()).count() as u64;
    assert_eq!(seen, acked.sequence(), "reads go on, of what is durable");

    break_it(&faults, false);
    let last = Position::new(0, step.cast_unsigned());
    let now = wait_for(journal, last);
    assert!(!now.failed);
    let last = one_message(journal, step);
    wait_for(journal, last);
    assert_eq!(journal.stats().stalls(), 1);
    let count = journal.read_device(DeviceId(1), Range::default()).count();
    assert_eq!(count as u64, last.sequence());
}

fn a_fault_is_final(break_it: impl Fn(&Faults, bool)) {
    let dir = tempfile::tempdir().expect("a folder");
    let faults = Arc::new(Faults::default());
    let ledger = MemoryLedger::default();
    let files = faulty(&faults);
    let opened = open_with(dir.path(), quick(), &ledger, files).expect("opens");
    let journal = &opened.journal;
    let acked = one_message(journal, 0);
    assert!(!wait_for(journal, acked).failed);
    break_it(&faults, true);
    let lost = one_message(journal, 1);
    let now = wait_for(journal, lost);
    assert_eq!((now.durable, now.failed), (acked, true));
    assert!(
        journal
            .failed()
            .expect("it failed")
            .to_string()
            .contains("journal")
    );
    assert!(journal.try_permit(1).is_none());
    // the disk is well again, but what it has is unknown
    break_it(&faults, false);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(journal.durable(), acked);
    assert!(journal.try_permit(1).is_none());
    assert_eq!(
        journal.read_device(DeviceId(1), Range::default()).count(),
        1
    );
    assert_eq!(totals(&opened.tree, 1).messages, 1);
    drop(opened);

    let again = open(dir.path(), &ledger);
    let kept = again
        .journal
        .read_device(DeviceId(1), Range::default())
        .count();
    assert!(kept >= 1, "what was acked is there");
    assert_eq!(totals(&again.tree, 1).messages, kept as u64);
    assert_eq!(again.journal.audit().expect("readable").differences, []);
}

#[test]
fn a_failed_sync_is_final() {
    a_fault_is_final(|faults, broken| faults.bad_sync.store(broken, Ordering::SeqCst));
}

#[test]
fn a_failed_write_is_final() {
    a_fault_is_final(|faults, broken| faults.bad_write.store(broken, Ordering::SeqCst));
}

/// A ledger that fails: before its transaction, or only when that is made durable.
struct FailingLedger {
    ledger: MemoryLedger,
    before: Arc<AtomicBool>,
    behind: Arc<AtomicBool>,
}

impl Ledger for FailingLedger {
    fn load(&mut self) -> Result<Option<Checkpoint>, LedgerError> {
        self.ledger.load()
    }
    fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
        if self.before.load(Ordering::SeqCst) {
            return Err("no space".into());
        }
        self.ledger.store(checkpoint)?;
        if self.behind.load(Ordering::SeqCst) {
            return Err("no sync".into());
        }
        Ok(())
    }
    fn statistics(
        &mut self,
        account: AccountId,
        period: Period,
        from_s: i64,
        to_s: i64,
    ) -> Result<Vec<(i64, Totals)>, LedgerError> {
        self.ledger.statistics(account, period, from_s, to_s)
    }
    fn forget_statistics(&mut self, period: Period, before_s: i64) -> Result<(), LedgerError> {
        self.ledger.forget_statistics(period, before_s)
    }
}

#[test]
fn a_failing_ledger_delays_a_checkpoint_and_changes_no_number() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let before = Arc::new(AtomicBool::new(false));
    let behind = Arc::new(AtomicBool::new(false));
    let opened_tree = tree();
    let journal = Journal::open(
        dir.path(),
        quick(),
        Arc::clone(&opened_tree),
        Box::new(FailingLedger {
            ledger: ledger.clone(),
            before: Arc::clone(&before),
            behind: Arc::clone(&behind),
        }),
        Arc::new(ManualClock::new(T0_US)),
        Arc::new(OsFiles),
        &mut |_, _| {},
    )
    .expect("opens");
    for (round, flag) in [&before, &behind, &before, &behind].into_iter().enumerate() {
        flag.store(true, Ordering::SeqCst);
        let errors = journal.stats().checkpoint_errors();
        for step in 0..20i64 {
            let last = one_message(&journal, step);
            assert!(!wait_for(&journal, last).failed, "acks go on");
        }
        while journal.stats().checkpoint_errors() < errors + 3 {
            let last = one_message(&journal, 20);
            wait_for(&journal, last);
            std::thread::sleep(Duration::from_millis(2));
        }
        let audit = journal.audit().expect("readable");
        assert_eq!(audit.differences, [], "round {round}, failing");
        flag.store(false, Ordering::SeqCst);
        let saved = journal.checkpoint().expect("it is well again");
        assert_eq!(saved, journal.durable());
        let audit = journal.audit().expect("readable");
        assert_eq!(audit.differences, [], "round {round}, well");
    }
    drop(journal);
    let again = open(dir.path(), &ledger);
    assert_eq!(again.journal.audit().expect("readable").differences, []);
}
