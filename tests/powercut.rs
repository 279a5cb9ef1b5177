//! Power cuts: every disk image that one may leave opens, with everything that was acked in it
//! exactly once and paid for.
//!
//! A file system in memory records what the journal does to it. From the record the images are
//! built that a disk may hold when the power goes at any point: what was synced for certain, and
//! of the rest nothing, an ordered part, or random pages of 4 KiB. Each image is opened, checked,
//! written to, cut again and opened again. `kill -9` cannot show this: it leaves the page cache.
//!
//! `TOLLGATE_POWERCUT_RUNS` and `TOLLGATE_POWERCUT_SEED` repeat a failure or make it longer.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tollgate::account::{Totals, Tree};
use tollgate::ids::{
    AccountId, ChannelId, ConnectionId, DeviceId, Epoch, Ident, ManualClock, Position,
};
use tollgate::journal::{
    Batch, Checkpoint, FrameMeta, FrameWriter, Journal, Ledger, LedgerError, Lifetimes,
    MemoryLedger, Options, PartMeta, Period, REPLAY_BYTES, Range,
};
use tollgate::segment::{FileOps, Files};

const PAGE: usize = 4096;
const DIR: &str = "/journal";
const T0_US: i64 = 1_764_000_000_000_000;
const FRAME_BYTES: u64 = 50;
const REPLY_BYTES: u64 = 4;

/// A file that has no name of its own.
type Inode = usize;

#[derive(Debug, Clone)]
enum Op {
    Create(PathBuf, Inode),
    Write(Inode, usize, Vec<u8>),
    Length(Inode, usize),
    Sync(Inode),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
    SyncDir,
}

#[derive(Debug, Default)]
struct Disk {
    names: BTreeMap<PathBuf, Inode>,
    contents: Vec<Vec<u8>>,
    ops: Vec<Op>,
    checkpoints: Vec<(usize, Checkpoint)>,
}

/// The recording file system; clones are the same one.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Disk>>);

struct RecordedFile {
    disk: Recorder,
    inode: Inode,
}

impl Recorder {
    /// A disk that holds an image, durably.
    fn with(image: &BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let recorder = Self::default();
        for (path, content) in image {
            let file = recorder.create(path).expect("in memory");
            file.write_at(content, 0).expect("in memory");
            file.sync_data().expect("in memory");
        }
        recorder.sync_dir(Path::new(DIR)).expect("in memory");
        recorder
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().expect("no test panics while it holds it")
    }

    fn now(&self) -> usize {
        self.disk().ops.len()
    }
}

impl Files for Recorder {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileOps>> {
        let mut disk = self.disk();
        let inode = disk.contents.len();
        disk.contents.push(Vec::new());
        disk.names.insert(path.to_owned(), inode);
        disk.ops.push(Op::Create(path.to_owned(), inode));
        Ok(Box::new(RecordedFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FileOps>> {
        let disk = self.disk();
        let inode = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(RecordedFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let inode = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(to.to_owned(), inode);
        disk.ops.push(Op::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        disk.ops.push(Op::Unlink(path.to_owned()));
        Ok(())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.disk().ops.push(Op::SyncDir);
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk();
        let names = disk.names.keys().filter_map(|path| path.file_name());
        Ok(names
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    fn free_space(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        Ok(Some(Box::new(())))
    }
}

impl FileOps for RecordedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let disk = self.disk.disk();
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let rest = disk.contents[self.inode].get(at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        write(&mut disk.contents[self.inode], at, bytes);
        disk.ops.push(Op::Write(self.inode, at, bytes.to_vec()));
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut disk = self.disk.disk();
        let length = length.max(disk.contents[self.inode].len());
        disk.contents[self.inode].resize(length, 0);
        disk.ops.push(Op::Length(self.inode, length));
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut disk = self.disk.disk();
        disk.contents[self.inode].resize(length, 0);
        disk.ops.push(Op::Length(self.inode, length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.disk().ops.push(Op::Sync(self.inode));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.disk().contents[self.inode].len() as u64)
    }
}

fn write(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

/// A ledger whose transactions are durable at a known point of the record.
struct RecordedLedger {
    disk: Recorder,
    ledger: MemoryLedger,
}

impl Ledger for RecordedLedger {
    fn load(&mut self) -> Result<Option<Checkpoint>, LedgerError> {
        self.ledger.load()
    }

    fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
        self.ledger.store(checkpoint)?;
        let mut disk = self.disk.disk();
        let at = disk.ops.len();
        disk.checkpoints.push((at, checkpoint.clone()));
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

/// What is left of what was not synced.
#[derive(Debug, Clone, Copy)]
enum Left {
    None,
    Ordered,
    Random,
}

/// splitmix64: the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }
}

/// The image that a power cut before operation `cut` leaves.
fn image(ops: &[Op], left: Left, dice: &mut Dice) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut contents: BTreeMap<Inode, Vec<u8>> = BTreeMap::new();
    let mut names: BTreeMap<PathBuf, Inode> = BTreeMap::new();
    // by place in the record: what is in the page cache only
    let mut data: Vec<(usize, &Op)> = Vec::new();
    let mut renames: Vec<(usize, &Op)> = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::Write(..) | Op::Length(..) => data.push((at, op)),
            Op::Create(..) | Op::Rename(..) | Op::Unlink(..) => renames.push((at, op)),
            Op::Sync(inode) => data.retain(|(_, op)| {
                let of_it = inode_of(op) == Some(*inode);
                if of_it {
                    apply(op, &mut contents, None);
                }
                !of_it
            }),
            Op::SyncDir => {
                for (_, op) in renames.drain(..) {
                    rename(op, &mut names);
                }
            }
        }
    }
    let until = match left {
        Left::None => 0,
        Left::Ordered => dice.below(ops.len() + 1),
        Left::Random => usize::MAX,
    };
    for (at, op) in data {
        match left {
            Left::Random => apply(op, &mut contents, Some(dice)),
            _ if at < until => apply(op, &mut contents, None),
            _ => {}
        }
    }
    // a file system with a journal of its own keeps the order of names
    let names_until = match left {
        Left::Random => dice.below(ops.len() + 1),
        _ => until,
    };
    for (at, op) in renames {
        if at < names_until {
            rename(op, &mut names);
        }
    }
    names
        .into_iter()
        .map(|(path, inode)| (path, contents.remove(&inode).unwrap_or_default()))
        .collect()
}

fn inode_of(op: &Op) -> Option<Inode> {
    match op {
        Op::Write(inode, ..) | Op::Length(inode, _) => Some(*inode),
        _ => None,
    }
}

/// Brings a write to the disk, whole or by the dice's pages.
fn apply(op: &Op, contents: &mut BTreeMap<Inode, Vec<u8>>, dice: Option<&mut Dice>) {
    match op {
        Op::Write(inode, at, bytes) => {
            let content = contents.entry(*inode).or_default();
            let Some(dice) = dice else {
                write(content, *at, bytes);
                return;
            };
            let mut from = *at;
            while from < at + bytes.len() {
                let to = ((from / PAGE + 1) * PAGE).min(at + bytes.len());
                if dice.coin() {
                    write(content, from, &bytes[from - at..to - at]);
                }
                from = to;
            }
        }
        Op::Length(inode, length) if dice.is_none_or(Dice::coin) => {
            contents.entry(*inode).or_default().resize(*length, 0);
        }
        _ => {}
    }
}

fn rename(op: &Op, names: &mut BTreeMap<PathBuf, Inode>) {
    match op {
        Op::Create(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        Op::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        Op::Unlink(path) => {
            names.remove(path);
        }
        _ => {}
    }
}

struct Run {
    disk: Recorder,
    tree: Arc<Tree>,
    journal: Journal,
    /// Operations that laid down the image.
    laid: usize,
    /// Operations when it was open.
    opened: usize,
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
fn start_with(image: &BTreeMap<PathBuf, Vec<u8>>, checkpoints: &[Checkpoint], aging: bool) -> Run {
    let disk = Recorder::with(image);
    let mut ledger = MemoryLedger::default();
    for checkpoint in checkpoints {
        ledger.store(checkpoint).expect("in memory");
        let at = disk.now();
        disk.disk().checkpoints.push((at, checkpoint.clone()));
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
    )
    .unwrap_or_else(|error| panic!("the image does not open: {error}"));
    if aging {
        journal.keep_for(Arc::new(Nothing));
    } else {
        assert_eq!(replayed, journal.durable().sequence());
    }
    Run {
        opened: disk.now(),
        disk,
        tree,
        journal,
        laid,
    }
}

/// Appends frames of 1 to 3 messages numbered from `next` on, in batches of changing size, and
/// waits for each. Gives the acks seen: (operations until then, last entry).
fn load(run: &Run, batches: usize, next: &mut i64, dice: &mut Dice) -> Vec<(usize, Position)> {
    let ident = Ident::new("352093081452251").expect("an ident");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut watermark = run.journal.subscribe();
    let mut acks = Vec::new();
    for _ in 0..batches {
        let mut batch = Batch::new();
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
            let mut frame = FrameWriter::begin(&mut batch, &meta);
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
fn check(run: &Run, acked: Position) -> i64 {
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
fn cut(
    run: &Run,
    acks: &[(usize, Position)],
    before: Position,
    dice: &mut Dice,
) -> (
    BTreeMap<PathBuf, Vec<u8>>,
    Vec<Checkpoint>,
    Position,
    String,
) {
    let disk = run.disk.disk();
    let at = run.laid + dice.below(disk.ops.len() - run.laid + 1);
    let left = [Left::None, Left::Ordered, Left::Random][dice.below(3)];
    let image = image(&disk.ops[..at], left, dice);
    let checkpoints = disk
        .checkpoints
        .iter()
        .filter(|(stored, _)| *stored <= at)
        .map(|(_, checkpoint)| checkpoint.clone())
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

fn number_from(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Says which run it was when a check in it fails.
struct Seed(u64, String);

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
fn check_aged(run: &Run, acked: Position) -> i64 {
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
