//! The journal over a long time: what goes, what is damaged, what is given up.

use super::base::BASE;
use super::retention::Lifetimes;
use super::tests::{append, frame, open, open_with, quick, wait_for};
use super::*;
use crate::ids::{ChannelId, DeviceId, ManualClock};
use crate::segment::OsFiles;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;

const T0_US: i64 = 1_764_000_000_000_000;

/// One ttl for all devices, one for all channels.
#[derive(Debug, Default)]
struct Kept {
    device_s: AtomicU32,
    channel_s: AtomicU32,
    purged_us: std::sync::atomic::AtomicI64,
}

impl Lifetimes for Kept {
    fn channel(&self, _: ChannelId) -> Option<(AccountId, u32)> {
        Some((AccountId(1), self.channel_s.load(Ordering::Relaxed)))
    }

    fn purged_us(&self, _: ChannelId) -> i64 {
        self.purged_us.load(Ordering::Relaxed)
    }

    fn device(&self, device: DeviceId) -> Option<(AccountId, u32)> {
        let account = AccountId(if device == DeviceId(1) { 3 } else { 4 });
        Some((account, self.device_s.load(Ordering::Relaxed)))
    }
}

fn segments_in(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .expect("there")
        .map(|entry| entry.expect("there").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    paths.sort();
    paths
}

/// A second of journal for every step: two devices, of two accounts.
fn write(journal: &Journal, steps: std::ops::Range<i64>) {
    for step in steps {
        let mut batch = Batch::new();
        let at_us = T0_US + step * 1_000_000;
        let at_ms = at_us / 1000;
        frame(&mut batch, at_us, &[(1, 3, &[at_ms]), (2, 4, &[at_ms])], 31);
        let last = append(journal, &mut batch);
        if step % 5 == 0 {
            wait_for(journal, last);
        }
    }
    wait_for(journal, journal.appended());
}

fn options() -> Options {
    Options {
        replay_bytes: 1,
        retention: Duration::from_millis(5),
        storage: Duration::from_millis(5),
        settle: Duration::from_millis(5),
        settle_share: 100,
        ..quick()
    }
}

fn until(mut done: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(std::time::Instant::now() < deadline, "it never happens");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn open_at(dir: &Path, ledger: &MemoryLedger, clock: &Arc<ManualClock>) -> (Journal, Arc<Tree>) {
    let tree = tests::tree();
    let journal = Journal::open(
        dir,
        options(),
        Arc::clone(&tree),
        Box::new(ledger.clone()),
        Arc::clone(clock) as Arc<dyn Clock>,
        Arc::new(OsFiles),
        &mut |_, _| {},
    )
    .expect("opens");
    (journal, tree)
}

#[test]
fn segments_go_below_all_watermarks_and_ttls_and_the_audit_balances_still() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let clock = Arc::new(ManualClock::new(T0_US));
    let (journal, _) = open_at(dir.path(), &ledger, &clock);
    let kept = Arc::new(Kept::default());
    kept.device_s.store(3600, Ordering::Relaxed);
    kept.channel_s.store(60, Ordering::Relaxed);
    write(&journal, 0..1000);
    journal.keep_for(Arc::clone(&kept) as Arc<dyn Lifetimes>);
    clock.advance_us(999_000_000);
    let before = segments_in(dir.path()).len();
    assert!(before > 4, "{before}");

    // nothing is past its ttl, and telemetry needs everything
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(segments_in(dir.path()).len(), before);
    kept.device_s.store(500, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(
        segments_in(dir.path()).len(),
        before,
        "telemetry's watermark holds"
    );

    // today's ttl holds for readers at once
    let read = |device| {
        journal
            .read_device(DeviceId(device), Range::default())
            .count()
    };
    assert_eq!(read(1), 500);
    journal.telemetry_kept(Position::new(0, 200));
    let begins_at = |entry| {
        let first = journal.catalog().segments()[0].clone();
        first.first() <= entry && first.next() > entry
    };
    until(|| begins_at(201));
    std::thread::sleep(Duration::from_millis(30));
    assert!(begins_at(201), "telemetry's watermark holds");
    journal.telemetry_kept(journal.durable());
    until(|| begins_at(501));
    std::thread::sleep(Duration::from_millis(30));
    assert!(begins_at(501), "the ttl holds");
    assert_eq!(read(1), 500, "what is visible is there");

    let audit = journal.audit().expect("readable");
    assert_eq!(audit.differences, []);
    assert_eq!(audit.position, journal.durable());
    assert!(audit.entries < 1000, "only what is left was read");
    let after = segments_in(dir.path()).len();
    assert!(after < before);
    drop(journal);

    let (journal, tree) = open_at(dir.path(), &ledger, &clock);
    assert_eq!(
        tree.account(AccountId(1)).expect("it").posted().messages,
        2000
    );
    assert_eq!(journal.audit().expect("readable").differences, []);
    let verified = verify::verify(&OsFiles, dir.path(), true).expect("readable");
    assert_eq!(verified.findings, []);
    drop(journal);

    // without the base, or with a damaged one, the audit does not say that all is well
    let path = dir.path().join(BASE);
    let whole = std::fs::read(&path).expect("there");
    let mut damaged = whole.clone();
    damaged[40] ^= 1;
    std::fs::write(&path, damaged).expect("writable");
    let (journal, _) = open_at(dir.path(), &ledger, &clock);
    assert!(journal.audit().is_err());
    let verified = verify::verify(&OsFiles, dir.path(), true).expect("readable");
    assert_eq!(verified.findings.len(), 1, "{:?}", verified.findings);
    assert_eq!(verified.findings[0].path, path);
    std::fs::remove_file(&path).expect("there");
    assert!(journal.audit().is_err());
}

#[test]
fn storage_is_counted_on_the_owners_chain_and_blocks_until_it_fits() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(T0_US));
    let (journal, tree) = open_at(dir.path(), &MemoryLedger::default(), &clock);
    let account = |id| tree.account(AccountId(id)).expect("inserted");
    let stored = |id| account(id).admitted(Dimension::DeviceStorage, 0);
    let kept = Arc::new(Kept::default());
    kept.device_s.store(100_000, Ordering::Relaxed);
    kept.channel_s.store(100_000, Ordering::Relaxed);
    kept.purged_us.store(i64::MAX, Ordering::Relaxed);
    write(&journal, 0..500);
    journal.keep_for(Arc::clone(&kept) as Arc<dyn Lifetimes>);
    // an empty record of this time is 7 bytes
    until(|| stored(3) == 500 * 7);
    assert_eq!([1, 2, 4].map(stored), [1000 * 7, 500 * 7, 500 * 7]);
    assert!(account(3).blocked(clock.now_us()).is_none());
    // a channel's buffer counts for its owner, until it is cleared
    let buffered = || account(1).admitted(Dimension::ChannelStorage, 0);
    assert_eq!(buffered(), 0);
    kept.purged_us.store(0, Ordering::Relaxed);
    until(|| buffered() > 1000 * 7);
    kept.purged_us.store(i64::MAX, Ordering::Relaxed);
    until(|| buffered() == 0);

    let cap = |cap| {
        let caps = crate::account::Caps::default().with(Dimension::DeviceStorage, cap);
        let rules = crate::account::Rules {
            caps,
            ..Default::default()
        };
        tree.set_rules(AccountId(2), rules).expect("known");
    };
    cap(3499);
    until(|| account(3).blocked(clock.now_us()).is_some());
    let blocked = account(3).blocked(clock.now_us()).expect("it is");
    assert_eq!(blocked.dimension.blocked_code(), 4);
    assert!(
        account(4).blocked(clock.now_us()).is_none(),
        "a sibling is not"
    );
    cap(3500);
    until(|| account(3).blocked(clock.now_us()).is_none());

    // a ttl of today takes from what is counted, before anything is unlinked
    cap(100);
    until(|| account(3).blocked(clock.now_us()).is_some());
    clock.advance_us(600_000_000);
    kept.device_s.store(60, Ordering::Relaxed);
    until(|| stored(1) == 0);
    until(|| account(3).blocked(clock.now_us()).is_none());
}

#[test]
fn a_base_that_has_a_segment_already_does_not_count_it_twice() {
    // the crash between the two steps of retention
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let clock = Arc::new(ManualClock::new(T0_US));
    let (journal, _) = open_at(dir.path(), &ledger, &clock);
    write(&journal, 0..600);
    until(|| journal.stats().sidecars() >= 2);
    let paths = segments_in(dir.path());
    let copy = std::fs::read(&paths[0]).expect("there");
    let second = journal.catalog().segments()[1].first();
    journal.telemetry_kept(Position::new(0, second - 1));
    clock.advance_us(90_000_000_000);
    journal.keep_for(Arc::new(Kept::default()));
    until(|| journal.stats().segments_gone() > 0);
    journal.shutdown();
    drop(journal);
    assert_eq!(segments_in(dir.path()), paths[1..]);
    std::fs::write(&paths[0], copy).expect("writable");
    let (journal, _) = open_at(dir.path(), &ledger, &clock);
    assert_eq!(journal.audit().expect("readable").differences, []);
}

/// A journal of 600 frames in several segments, closed, and a place in the middle of one.
fn damaged(nth: usize, ledger: &MemoryLedger) -> (tempfile::TempDir, PathBuf, usize) {
    let dir = tempfile::tempdir().expect("a folder");
    let opened = open(dir.path(), ledger);
    // each frame a batch of its own: damage in the last batch is taken for a torn tail
    for step in 0..600 {
        write(&opened.journal, step..step + 1);
    }
    let sealed = opened.journal.catalog().segments().len() as u64 - 1;
    until(|| opened.journal.stats().sidecars() >= sealed);
    drop(opened);
    let paths = segments_in(dir.path());
    let path = paths[if nth == usize::MAX {
        paths.len() - 1
    } else {
        nth
    }]
    .clone();
    let mut bytes = std::fs::read(&path).expect("there");
    let written = bytes.iter().rposition(|&byte| byte != 0).expect("some");
    let at = if nth == usize::MAX { 100 } else { written / 2 };
    bytes[at] ^= 0x20;
    std::fs::write(&path, bytes).expect("writable");
    (dir, path, at)
}

#[test]
fn verify_names_file_and_place_of_every_changed_byte() {
    for nth in [0, 1, usize::MAX] {
        let (dir, path, at) = damaged(nth, &MemoryLedger::default());
        let verified = verify::verify(&OsFiles, dir.path(), true).expect("readable");
        let [finding] = verified.findings.as_slice() else {
            panic!("one finding, not {:?}", verified.findings);
        };
        assert_eq!(finding.path, path);
        let offset = finding.offset.expect("known");
        let near = u64::try_from(at).expect("small");
        assert!(offset <= near && near - offset < 300, "{finding} for {at}");
        assert_eq!(verified.entries, 599);
        assert_eq!(verified.next, 601);
    }
}

#[test]
fn a_missing_file_is_found_and_given_up_as_its_entries() {
    let ledger = MemoryLedger::default();
    let (dir, path, _) = damaged(1, &ledger);
    std::fs::remove_file(&path).expect("there");
    let verified = verify::verify(&OsFiles, dir.path(), true).expect("readable");
    assert!(!verified.findings.is_empty());
    assert!(open_with(dir.path(), quick(), &ledger, Arc::new(OsFiles)).is_err());
    let options = Options {
        give_up_damaged: true,
        ..quick()
    };
    let again = open_with(dir.path(), options, &ledger, Arc::new(OsFiles)).expect("opens");
    let given_up = again.journal.opened().given_up;
    assert!(given_up > 50, "{given_up}");
    assert_eq!(again.replayed.len(), 600, "every position is there");
    let left = again.journal.read_device(DeviceId(1), Range::default());
    assert_eq!(left.count() as u64, 600 - given_up);
}

#[test]
fn damage_refuses_the_start_until_it_is_given_up_and_then_nothing_else_is_lost() {
    for nth in [0, usize::MAX] {
        let ledger = MemoryLedger::default();
        let (dir, path, _) = damaged(nth, &ledger);
        let error = open_with(dir.path(), quick(), &ledger, Arc::new(OsFiles))
            .err()
            .expect("refused");
        assert!(error.to_string().contains("is corrupt at byte"), "{error}");
        let options = Options {
            give_up_damaged: true,
            ..quick()
        };
        let again = open_with(dir.path(), options, &ledger, Arc::new(OsFiles)).expect("opens");
        assert_eq!(again.journal.opened().given_up, 1);
        assert_eq!(again.journal.durable(), Position::new(0, 600));
        let left = again.journal.read_device(DeviceId(1), Range::default());
        assert_eq!(left.flatten().count(), 599);
        let audit = again.journal.audit().expect("readable");
        assert_eq!(audit.given_up, 1);
        assert!(
            !audit.differences.is_empty(),
            "what it had counted the counters still hold, and the audit says so"
        );
        write(&again.journal, 600..700);
        drop(again);
        let copy = format!("{}.damaged", path.display());
        assert!(std::fs::exists(copy).expect("readable"), "a copy is kept");
        let again = open(dir.path(), &ledger);
        assert_eq!(again.journal.opened().given_up, 0);
        let verified = verify::verify(&OsFiles, dir.path(), true).expect("readable");
        assert_eq!((verified.findings, verified.given_up), (vec![], 1));
    }
}
