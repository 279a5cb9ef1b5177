//! Settling and merging that fail, or are killed, at any step.

use super::retention::Lifetimes;
use super::tests_of_archives::{
    DAY_US, Dice, Kept, Model, T0_US, check, nothing_is_left_over, open, settled, until, write,
};
use super::*;
use crate::ids::ManualClock;
use crate::segment::OsFiles;
use crate::segment::watched::{Call, Watched};
use std::path::PathBuf;
use std::sync::atomic::AtomicI64;

/// The machine's files, where operations in the archives' folder are counted and one of them, or
/// all from one on, fails.
#[derive(Clone)]
pub(super) struct Failing {
    pub(super) folder: PathBuf,
    /// Operations until it fails.
    pub(super) left: Arc<AtomicI64>,
    /// Does everything fail from there on?
    pub(super) dead: bool,
    pub(super) kind: io::ErrorKind,
}

impl Failing {
    /// The machine's files behind it.
    pub(super) fn files(&self) -> Arc<Watched> {
        let this = self.clone();
        Arc::new(Watched::by(move |call| match call {
            Call::Create(path)
            | Call::Rename(path)
            | Call::Unlink(path)
            | Call::SyncDir(path)
            | Call::Write(path)
            | Call::Sync(path) => this.tick_at(path),
            _ => Ok(()),
        }))
    }

    fn tick_at(&self, path: &Path) -> io::Result<()> {
        if path != self.folder && path.parent() != Some(&self.folder) {
            return Ok(());
        }
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left == 0 || self.dead && left < 0 {
            return Err(self.kind.into());
        }
        Ok(())
    }
}

/// Three days of journal, nothing settled, and the model of it.
fn three_days(dir: &Path, ledger: &MemoryLedger, clock: &Arc<ManualClock>) -> Model {
    let mut model = Model::default();
    let mut dice = Dice(11);
    let journal = open(dir, ledger, clock, Arc::new(OsFiles)).expect("opens");
    for _ in 0..3 {
        for _ in 0..20 {
            write(&journal, clock, &mut model, &mut dice);
        }
        clock.advance_us(DAY_US);
    }
    write(&journal, clock, &mut model, &mut dice);
    journal.shutdown();
    model
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("there") {
        let entry = entry.expect("there");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Lets the operation `nth` in the archives' folder fail while everything is settled and merged;
/// `dead`: and all behind it, as if the process had been killed there. Says whether there were
/// that many.
fn fails_at(nth: i64, dead: bool, kind: io::ErrorKind, from: &(PathBuf, Model, i64)) -> bool {
    let (prepared, model, now_us) = from;
    let dir = tempfile::tempdir().expect("a folder");
    copy(prepared, dir.path());
    let clock = Arc::new(ManualClock::new(*now_us));
    let kept = Kept::new(100 * 86_400, 86_400 * 31);
    let files = Failing {
        folder: dir.path().join(ARCHIVES_DIR),
        left: Arc::new(AtomicI64::new(i64::MAX)),
        dead,
        kind,
    };
    let ledger = MemoryLedger::default();
    let journal = open(dir.path(), &ledger, &clock, files.files()).expect("opens");
    files.left.store(nth, Ordering::SeqCst);
    journal.keep_for(Arc::clone(&kept) as Arc<dyn Lifetimes>);
    let mut dice = Dice(5);
    let done = || {
        let view = journal.archives().view();
        let days: std::collections::BTreeSet<_> = view
            .archives
            .iter()
            .map(|one| (one.day(), one.class()))
            .collect();
        view.archives.len() == days.len() && view.settled + 10 > journal.durable().sequence()
    };
    if dead {
        until("it fails or is done", || {
            files.left.load(Ordering::SeqCst) < 0 || done()
        });
        check(&journal, &kept, model, *now_us, &mut dice);
        journal.shutdown();
        drop(journal);
        let journal = open(dir.path(), &ledger, &clock, Arc::new(OsFiles)).expect("opens");
        nothing_is_left_over(&journal, dir.path());
        check(&journal, &kept, model, *now_us, &mut dice);
        journal.keep_for(Arc::clone(&kept) as Arc<dyn Lifetimes>);
        settled(&journal);
        check(&journal, &kept, model, *now_us, &mut dice);
    } else {
        until("done in spite of it", done);
        check(&journal, &kept, model, *now_us, &mut dice);
        journal.shutdown();
        assert!(journal.failed().is_none(), "the journal goes on");
        drop(journal);
        let journal = open(dir.path(), &ledger, &clock, Arc::new(OsFiles)).expect("opens");
        nothing_is_left_over(&journal, dir.path());
        check(&journal, &kept, model, *now_us, &mut dice);
    }
    let verified = verify::verify(&OsFiles, dir.path(), true).expect("readable");
    assert_eq!(verified.findings, [], "operation {nth}");
    files.left.load(Ordering::SeqCst) < 0
}

#[test]
fn a_failure_or_a_kill_at_any_step_of_settling_loses_nothing_and_doubles_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(T0_US));
    let model = three_days(dir.path(), &MemoryLedger::default(), &clock);
    let prepared = (dir.path().to_owned(), model, clock.now_us());
    let mut nth = 0;
    while fails_at(nth, true, io::ErrorKind::Other, &prepared) {
        nth += 1;
    }
    assert!(nth > 30, "{nth} steps");
    for step in (0..nth).step_by(3) {
        let kind = if step % 2 == 0 {
            io::ErrorKind::Other
        } else {
            io::ErrorKind::StorageFull
        };
        fails_at(step, false, kind, &prepared);
    }
}
