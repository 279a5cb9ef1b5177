//! Cuts at every point of a record: of a load, of an opening, of segments that go.

use crate::disk::{Call, DIR, Recorder};
use crate::image::{Dice, Left, Op, image};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tollgate::account::{Totals, Tree};
use tollgate::ids::{
    AccountId, ChannelId, ConnectionId, DeviceId, Epoch, Ident, ManualClock, Position,
};
use tollgate::journal::{
    Batch, Checkpoint, FrameMeta, FrameWriter, Journal, Ledger, LedgerError, Lifetimes,
    MemoryLedger, OpenError, Options, PartMeta, Period, REPLAY_BYTES, Range,
};

const T0_US: i64 = 1_764_000_000_000_000;
const FRAME_BYTES: u64 = 50;
const REPLY_BYTES: u64 = 4;

/// A ledger whose transactions are durable at a known point of the record.
struct RecordedLedger {
    disk: Recorder,
    ledger: MemoryLedger,
}

impl Ledger for RecordedLedger {
    fn load(&mut self) -> Result<Option<Checkpoint>, LedgerError> {
        drop(self.disk.call(Call::Ledger)?);
        self.ledger.load()
    }

    /// Two calls that may fail: the transaction, and making it durable. Behind the second one the
    /// transaction is there, and nobody knows whether it will be.
    fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
        drop(self.disk.call(Call::Ledger)?);
        self.ledger.store(checkpoint)?;
        let synced = self.disk.call(Call::Ledger).map(drop);
        let mut disk = self.disk.disk();
        let at = disk.ops.len();
        disk.checkpoints
            .push((at, checkpoint.clone(), synced.is_ok()));
        Ok(synced?)
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

pub(crate) struct Run {
    pub(crate) disk: Recorder,
    pub(crate) tree: Arc<Tree>,
    pub(crate) journal: Journal,
    /// Operations that laid down the image.
    pub(crate) laid: usize,
    /// Operations when it was open.
    pub(crate) opened: usize,
}

impl Run {
    /// How many messages there are by the counters, when files may not be readable just now.
    pub(crate) fn messages(&self) -> i64 {
        let master = self.tree.account(AccountId(1)).expect("it is there");
        i64::try_from(master.posted().messages).expect("few")
    }
}

/// Nothing is kept longer than the order on disk needs it.
struct Nothing;

impl Lifetimes for Nothing {
    fn channel(&self, _: ChannelId) -> Option<(AccountId, u32)> {
        None
    }

    fn device(&self, _: DeviceId) -> Option<(AccountId, u32)> {
        None
    }
}

fn start(image: &BTreeMap<PathBuf, Vec<u8>>, checkpoints: &[Checkpoint]) -> Run {
    start_with(image, checkpoints, false)
}

/// `aging`: segments go as soon as they may.
pub(crate) fn start_with(
    image: &BTreeMap<PathBuf, Vec<u8>>,
    checkpoints: &[Checkpoint],
    aging: bool,
) -> Run {
    start_kept(image, checkpoints, lifetimes(aging))
}

/// With `aging` nothing is kept longer than the order on disk needs it.
pub(crate) fn lifetimes(aging: bool) -> Option<Arc<dyn Lifetimes>> {
    aging.then(|| Arc::new(Nothing) as _)
}

/// `lifetimes`: days are over, are settled at once, and segments go as soon as they may.
pub(crate) fn start_kept(
    image: &BTreeMap<PathBuf, Vec<u8>>,
    checkpoints: &[Checkpoint],
    lifetimes: Option<Arc<dyn Lifetimes>>,
) -> Run {
    let disk = Recorder::with(image);
    open(disk, checkpoints, lifetimes)
        .unwrap_or_else(|error| panic!("the image does not open: {error}"))
}

/// Opens what is on a disk, which may misbehave.
pub(crate) fn open(
    disk: Recorder,
    checkpoints: &[Checkpoint],
    lifetimes: Option<Arc<dyn Lifetimes>>,
) -> Result<Run, OpenError> {
    let aging = lifetimes.is_some();
    let mut ledger = MemoryLedger::default();
    for checkpoint in checkpoints {
        ledger.store(checkpoint).expect("in memory");
        let at = disk.now();
        disk.disk().checkpoints.push((at, checkpoint.clone(), true));
    }
    let tree = Arc::new(Tree::new());
    for (id, parent) in [(1, 0), (2, 1), (3, 2)] {
        tree.insert(AccountId(id), AccountId(parent))
            .expect("a small tree");
    }
    let options = Options {
        segment_bytes: 12 * 1024,
        checkpoint: Duration::from_millis(1),
        statistics_flush: Duration::from_millis(3),
        retry: Duration::from_millis(1),
        retention: Duration::from_millis(1),
        replay_bytes: if aging { 1 } else { REPLAY_BYTES },
        settle: Duration::from_millis(1),
        settle_share: 100,
        sweep: Duration::from_millis(2),
        ..Options::default()
    };
    let now_us = T0_US + if aging { 1_000_000_000_000 } else { 0 };
    let laid = disk.now();
    let mut replayed = 0;
    let ledger = RecordedLedger {
        disk: disk.clone(),
        ledger,
    };
    let journal = Journal::open(
        Path::new(DIR),
        options,
        Arc::clone(&tree),
        Box::new(ledger),
        Arc::new(ManualClock::new(now_us)),
        Arc::new(disk.clone()),
        &mut |_, _| replayed += 1,
    )?;
    if let Some(lifetimes) = lifetimes {
        journal.keep_for(lifetimes);
    } else {
        assert_eq!(replayed, journal.durable().sequence());
    }
    Ok(Run {
        opened: disk.now(),
        disk,
        tree,
        journal,
        laid,
    })
}

/// Frames of 1 to 3 messages numbered from `next` on.
pub(crate) fn encode(batch: &mut Batch, next: &mut i64, dice: &mut Dice) {
    let ident = Ident::new("352093081452251").expect("an ident");
    for _ in 0..=dice.below(30) {
        let meta = FrameMeta {
            at_us: T0_US + *next * 1_000_000,
            connection: ConnectionId(1),
            channel: ChannelId(1),
            protocol: 1,
            decoder_version: 1,
            peer: "192.0.2.1:1".parse().expect("an address"),
            bytes_in: u32::try_from(FRAME_BYTES).expect("small"),
        };
        let mut frame = FrameWriter::begin(batch, &meta);
        frame.part(&PartMeta {
            ident: &ident,
            device: DeviceId(1),
            account: AccountId(3),
            epoch: Epoch(0),
        });
        // as many messages as the number of the first one says, so that a reader can tell
        for _ in 0..=*next % 3 {
            let mut record = vec![0];
            protocols::record::write_varint(&mut record, protocols::record::zigzag(*next));
            record.resize(record.len() + dice.below(120), 0);
            frame.record(&record);
            *next += 1;
        }
        frame.finish(u32::try_from(REPLY_BYTES).expect("small"));
    }
}

/// Appends batches of changing size, and waits for each. Gives the acks seen: (operations until
/// then, last entry).
pub(crate) fn load(
    run: &Run,
    batches: usize,
    next: &mut i64,
    dice: &mut Dice,
) -> Vec<(usize, Position)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut watermark = run.journal.subscribe();
    let mut acks = Vec::new();
    for _ in 0..batches {
        let mut batch = Batch::new();
        encode(&mut batch, next, dice);
        let permit = run.journal.try_permit(batch.len()).expect("room");
        let last = run.journal.append(permit, &mut batch);
        let now = runtime
            .block_on(watermark.wait_for(|now| now.durable >= last || now.failed))
            .map(|now| *now)
            .expect("the journal lives");
        assert!(!now.failed);
        acks.push((run.disk.now(), last));
        // as if a snapshot of telemetry had been written
        run.journal.telemetry_kept(last);
    }
    acks
}

/// Everything acked is there exactly once, with its charge, and nothing half.
pub(crate) fn check(run: &Run, acked: Position) -> i64 {
    let durable = run.journal.durable();
    assert!(durable >= acked, "acked up to {acked}, there is {durable}");
    let mut follow = run.journal.follow(Position::ZERO);
    let mut messages = Vec::new();
    while follow.is_behind() {
        messages.extend(follow.read(1000, &mut |_, _, _| true).expect("readable"));
    }
    for (number, message) in (0..).zip(&messages) {
        assert_eq!(message.timestamp_ms(), number, "missing, twice or half");
    }
    let of_device: Vec<_> = run
        .journal
        .read_device(DeviceId(1), Range::default())
        .map(|message| message.expect("readable"))
        .collect();
    assert_eq!(of_device, messages);
    let frames = durable.sequence();
    for account in run.tree.accounts() {
        let posted = account.posted();
        assert_eq!(posted.messages, messages.len() as u64);
        assert_eq!(posted.frames, frames);
        assert_eq!(posted.bytes_in, frames * FRAME_BYTES);
        assert_eq!(posted.bytes_out, frames * REPLY_BYTES);
        for period in Period::ALL {
            let rows = run
                .journal
                .statistics(account.id(), period, i64::MIN, i64::MAX)
                .expect("in memory");
            let sum = rows
                .into_iter()
                .fold(Totals::default(), |sum, (_, totals)| sum + totals);
            assert_eq!(sum, posted, "{} rows", period.name());
        }
    }
    i64::try_from(messages.len()).expect("few")
}

/// Cuts the power somewhere in the record of a run; gives what is left and what had been acked.
pub(crate) fn cut(run: &Run, acks: &[(usize, Position)], before: Position, dice: &mut Dice) -> Cut {
    cut_from(&run.disk, run.laid, acks, before, dice)
}

/// An image, its checkpoints, what had been acked, and how it came about.
pub(crate) type Cut = (
    BTreeMap<PathBuf, Vec<u8>>,
    Vec<Checkpoint>,
    Position,
    String,
);

/// Cuts the power at or behind the operation `from`.
pub(crate) fn cut_from(
    disk: &Recorder,
    from: usize,
    acks: &[(usize, Position)],
    before: Position,
    dice: &mut Dice,
) -> Cut {
    let disk = disk.disk();
    let mut at = from + dice.below(disk.ops.len() - from + 1);
    let mut left = Left::ALL[dice.below(Left::ALL.len())];
    // few places have a name that is not durable yet, and what depends on it is one operation long:
    // every second cut is there, half of them with names in any order
    let renames =
        (from..disk.ops.len()).filter(|at| matches!(disk.ops[*at], Op::Rename(..) | Op::Folder(_)));
    let behind: Vec<usize> = renames.map(|at| at + 1).collect();
    if !behind.is_empty() && dice.coin() {
        at = behind[dice.below(behind.len())];
        if dice.coin() {
            left = Left::Scattered;
        }
    }
    let image = image(&disk.ops[..at], left, dice);
    let mut checkpoints: Vec<_> = disk
        .checkpoints
        .iter()
        .filter(|(stored, ..)| *stored <= at)
        .collect();
    // what was not made durable may be gone, unless something behind it was
    while checkpoints.last().is_some_and(|(.., synced)| !synced) && dice.coin() {
        checkpoints.pop();
    }
    let checkpoints = checkpoints
        .into_iter()
        .map(|(_, checkpoint, _)| checkpoint.clone())
        .collect();
    let acked = acks
        .iter()
        .filter(|(seen, _)| *seen <= at)
        .map(|(_, position)| *position)
        .max()
        .unwrap_or(before);
    let what = format!(
        "cut before operation {at} of {}, {left:?} left",
        disk.ops.len()
    );
    (image, checkpoints, acked, what)
}

pub(crate) fn number_from(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Says which run it was when a check in it fails.
pub(crate) struct Seed(pub(crate) u64, pub(crate) String);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "a failing test says how to repeat it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "TOLLGATE_POWERCUT_RUNS=1 TOLLGATE_POWERCUT_SEED={}: {}",
                self.0, self.1
            );
        }
    }
}

#[test]
fn every_image_that_a_power_cut_may_leave_opens_with_all_that_was_acked() {
    let runs = number_from("TOLLGATE_POWERCUT_RUNS", 20);
    let first = number_from("TOLLGATE_POWERCUT_SEED", 1);
    for seed in first..first + runs {
        let mut dice = Dice(seed);
        let mut said = Seed(seed, "first load".to_owned());
        let mut next = 0;
        let run = start(&BTreeMap::new(), &[]);
        let acks = load(&run, 25, &mut next, &mut dice);
        run.journal.shutdown();
        check(&run, acks.last().expect("some").1);
        // several cuts of the same record
        for _ in 0..8 {
            let (image, checkpoints, acked, what) = cut(&run, &acks, Position::ZERO, &mut dice);
            said.1 = what;
            let again = start(&image, &checkpoints);
            let mut next = check(&again, acked);
            // and a cut in the opening, or in what came behind it
            let had = again.journal.durable();
            let acks = load(&again, 4, &mut next, &mut dice);
            again.journal.shutdown();
            check(&again, acks.last().expect("some").1);
            // what it showed once it was open is as good as acked
            let acks: Vec<_> = std::iter::once((again.opened, had)).chain(acks).collect();
            let (image, checkpoints, acked, what) = cut(&again, &acks, acked, &mut dice);
            said.1 = format!("{}, then {what}", said.1);
            check(&start(&image, &checkpoints), acked);
        }
    }
}

/// What is left after segments went: everything from the first one on, and counters that balance
/// with the base of the audit and what is left.
pub(crate) fn check_aged(run: &Run, acked: Position) -> i64 {
    let durable = run.journal.durable();
    assert!(durable >= acked, "acked up to {acked}, there is {durable}");
    let mut times = Vec::new();
    // a follower of the beginning would find a hole where a segment goes while it reads
    run.journal.without_retention(|| {
        let mut follow = run.journal.follow(Position::ZERO);
        while follow.is_behind() {
            let read = follow.read(1000, &mut |_, _, _| true).expect("readable");
            times.extend(
                read.iter()
                    .map(tollgate::journal::StoredMessage::timestamp_ms),
            );
        }
    });
    let next = times.last().map_or(0, |last| last + 1);
    let first = times.first().copied().unwrap_or(0);
    assert!(times.into_iter().eq(first..next), "missing, twice or half");
    let audit = run.journal.audit().expect("readable");
    assert_eq!(audit.differences, []);
    assert_eq!(audit.position, durable);
    for account in run.tree.accounts() {
        assert_eq!(account.posted().messages, next.cast_unsigned());
    }
    next
}

#[test]
fn a_power_cut_while_segments_go_leaves_counters_that_balance() {
    let runs = number_from("TOLLGATE_POWERCUT_RUNS", 10);
    let first = number_from("TOLLGATE_POWERCUT_SEED", 1);
    let mut gone = 0;
    for seed in first..first + runs {
        let mut dice = Dice(seed);
        let mut said = Seed(seed, "first load".to_owned());
        let mut next = 0;
        let run = start_with(&BTreeMap::new(), &[], true);
        let acks = load(&run, 25, &mut next, &mut dice);
        // the keeper gets its turn
        std::thread::sleep(Duration::from_millis(20));
        check_aged(&run, acks.last().expect("some").1);
        gone += run.journal.stats().segments_gone();
        run.journal.shutdown();
        for _ in 0..8 {
            let (image, checkpoints, acked, what) = cut(&run, &acks, Position::ZERO, &mut dice);
            said.1 = what;
            let again = start_with(&image, &checkpoints, true);
            let mut next = check_aged(&again, acked);
            load(&again, 4, &mut next, &mut dice);
            check_aged(&again, again.journal.durable());
        }
    }
    assert!(gone > 0, "no segment went: nothing was tried");
}
