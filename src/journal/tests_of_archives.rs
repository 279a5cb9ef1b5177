//! Segments and archives together: whatever is settled, merged, rewritten or cut off meanwhile, a
//! read shows what a slow model says, each message once.

use super::retention::Lifetimes;
use super::tests::{append, frame, tree, wait_for};
use super::*;
use crate::archive::DAY_S;
use crate::ids::{ChannelId, DeviceId, ManualClock};
use crate::segment::OsFiles;
use std::sync::atomic::AtomicU32;

pub(super) const T0_US: i64 = 1_764_000_000_000_000;
pub(super) const DAY_US: i64 = DAY_S * 1_000_000;
pub(super) const DEVICES: u64 = 6;
pub(super) const CHANNEL: ChannelId = ChannelId(7);

/// splitmix64: the same everywhere.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: i64) -> i64 {
        (self.next() >> 1).cast_signed() % bound
    }
}

/// A ttl for each device, one for the channel; 0: it is gone.
pub(super) struct Kept {
    devices_s: [AtomicU32; 7],
    channel_s: AtomicU32,
    /// Bytes that device 5 may have.
    rotate: AtomicU64,
    /// So often others cannot erase.
    pub(super) elsewhere_fails: AtomicU64,
}

impl Kept {
    pub(super) fn new(device_s: u32, channel_s: u32) -> Arc<Self> {
        Arc::new(Self {
            devices_s: std::array::from_fn(|_| AtomicU32::new(device_s)),
            channel_s: AtomicU32::new(channel_s),
            rotate: AtomicU64::new(0),
            elsewhere_fails: AtomicU64::new(0),
        })
    }

    pub(super) fn of(&self, device: u64) -> &AtomicU32 {
        &self.devices_s[usize::try_from(device).expect("small")]
    }
}

impl Lifetimes for Kept {
    fn channel(&self, _: ChannelId) -> Option<(AccountId, u32)> {
        Some((AccountId(1), self.channel_s.load(Ordering::Relaxed)))
    }

    fn device(&self, device: DeviceId) -> Option<(AccountId, u32)> {
        let ttl_s = self.of(device.0).load(Ordering::Relaxed);
        (ttl_s > 0).then_some((AccountId(3), ttl_s))
    }

    fn rotate(&self, device: DeviceId) -> u64 {
        if device == DeviceId(5) {
            self.rotate.load(Ordering::Relaxed)
        } else {
            0
        }
    }

    fn erase_elsewhere(&self, device: DeviceId, up_to_us: i64) -> io::Result<()> {
        assert!(device == DeviceId(1) && up_to_us > T0_US);
        let left = self.elsewhere_fails.load(Ordering::Relaxed);
        if left > 0 {
            self.elsewhere_fails.store(left - 1, Ordering::Relaxed);
            return Err(io::Error::other("as the test wants it"));
        }
        Ok(())
    }
}

/// What a message is known by: device time, entry, which of the entry.
type Known = (i64, u64, u32);

/// Everything that was ever stored.
#[derive(Default, Clone)]
pub(super) struct Model {
    /// Device, server time, and what it is known by.
    messages: Vec<(u64, i64, Known)>,
    /// What was deleted of devices, and is their channels' still.
    deleted: std::collections::BTreeSet<Known>,
}

impl Model {
    fn of_device(&self, kept: &Kept, device: u64, now_us: i64) -> Vec<Known> {
        let ttl_us = i64::from(kept.of(device).load(Ordering::Relaxed)) * 1_000_000;
        let mut known: Vec<_> = self
            .messages
            .iter()
            .filter(|(of, at_us, _)| *of == device && at_us + ttl_us > now_us)
            .map(|(_, _, known)| *known)
            .filter(|known| !self.deleted.contains(known))
            .collect();
        known.sort_unstable();
        known
    }
}

pub(super) fn options() -> Options {
    Options {
        segment_bytes: 16 * 1024,
        checkpoint: Duration::from_millis(1),
        statistics_flush: Duration::from_millis(1),
        retry: Duration::from_millis(5),
        replay_bytes: 1,
        retention: Duration::from_millis(1),
        storage: Duration::from_millis(3),
        settle: Duration::from_millis(1),
        settle_share: 100,
        sweep: Duration::from_millis(1),
        ..Options::default()
    }
}

pub(super) fn open(
    dir: &Path,
    ledger: &MemoryLedger,
    clock: &Arc<ManualClock>,
    files: Arc<dyn Files>,
) -> Result<Journal, OpenError> {
    Journal::open(
        dir,
        options(),
        tree(),
        Box::new(ledger.clone()),
        Arc::clone(clock) as Arc<dyn Clock>,
        files,
        &mut |_, _| {},
    )
}

/// A batch of frames of one to three parts, with late records among them.
pub(super) fn write(journal: &Journal, clock: &ManualClock, model: &mut Model, dice: &mut Dice) {
    let mut batch = Batch::new();
    let mut sequence = journal.appended().sequence();
    for _ in 0..=dice.below(4) {
        clock.advance_us(1);
        let at_us = clock.now_us();
        sequence += 1;
        let mut parts = Vec::new();
        let mut index = 0;
        for _ in 0..=dice.below(3) {
            let device = 1 + u64::try_from(dice.below(DEVICES.cast_signed())).expect("small");
            let times: Vec<i64> = (0..=dice.below(4))
                .map(|_| match dice.below(10) {
                    // a month of flash
                    0 => at_us / 1000 - dice.below(40 * DAY_S * 1000),
                    1 => at_us / 1000 + dice.below(DAY_S * 1000),
                    // equal times
                    2..5 => at_us / 10_000_000 * 10_000,
                    _ => at_us / 1000,
                })
                .collect();
            for time_ms in &times {
                model
                    .messages
                    .push((device, at_us, (*time_ms, sequence, index)));
                index += 1;
            }
            parts.push((device, 3, times));
        }
        let parts: Vec<(u64, u64, &[i64])> = parts
            .iter()
            .map(|(device, account, times)| (*device, *account, times.as_slice()))
            .collect();
        frame(&mut batch, at_us, &parts, 100);
    }
    let last = append(journal, &mut batch);
    assert!(!wait_for(journal, last).failed);
}

fn known(messages: Messages) -> Vec<Known> {
    messages
        .map(|message| message.expect("readable"))
        .map(|message| {
            let sequence = message.position.sequence();
            (message.timestamp_ms(), sequence, message.index)
        })
        .collect()
}

/// All devices, whole and by random ranges.
pub(super) fn check(journal: &Journal, kept: &Kept, model: &Model, now_us: i64, dice: &mut Dice) {
    for device in 1..=DEVICES {
        let expected = model.of_device(kept, device, now_us);
        let read = |range| known(journal.read_device(DeviceId(device), range));
        assert_eq!(read(Range::default()), expected, "device {device}");
        for _ in 0..3 {
            let from = now_us / 1000 - dice.below(50 * DAY_S * 1000);
            let range = Range {
                from,
                to: from + dice.below(20 * DAY_S * 1000),
                count: usize::try_from(dice.below(300)).expect("small"),
                reverse: dice.below(2) == 0,
            };
            let fits = |known: &&Known| known.0 >= range.from && known.0 <= range.to;
            let fitting = expected.iter().copied();
            let fitting: Vec<Known> = fitting.filter(|known| fits(&known)).collect();
            let wanted: Vec<Known> = if range.reverse {
                fitting.into_iter().rev().take(range.count).collect()
            } else {
                fitting.into_iter().take(range.count).collect()
            };
            assert_eq!(read(range), wanted, "device {device}, {range:?}");
        }
    }
    let ttl_us = i64::from(kept.channel_s.load(Ordering::Relaxed)) * 1_000_000;
    let mut of_channel: Vec<_> = model
        .messages
        .iter()
        .filter(|(_, at_us, _)| at_us + ttl_us > now_us)
        .map(|(_, _, (time_ms, sequence, index))| (*sequence, *index, *time_ms))
        .collect();
    of_channel.sort_unstable();
    let read = known(journal.read_channel(CHANNEL, Range::default()));
    let read: Vec<_> = read
        .into_iter()
        .map(|(time_ms, sequence, index)| (sequence, index, time_ms))
        .collect();
    assert_eq!(read, of_channel);
}

pub(super) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until all sealed segments of days that are over are settled.
pub(super) fn settled(journal: &Journal) {
    until("settled", || {
        let segments = journal.catalog().segments();
        let sealed = segments.iter().filter(|segment| segment.is_sealed());
        let last = sealed.map(|segment| segment.next() - 1).max().unwrap_or(0);
        journal.archives().view().settled >= last
    });
}

fn names(dir: &Path) -> Vec<String> {
    OsFiles.list(&dir.join(ARCHIVES_DIR)).expect("there")
}

/// Nothing lies in the folder that the list does not name.
pub(super) fn nothing_is_left_over(journal: &Journal, dir: &Path) {
    let view = journal.archives().view();
    let mut named: Vec<String> = view
        .archives
        .iter()
        .map(|one| {
            one.path()
                .file_name()
                .expect("a file")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    named.push(archive::LIST.to_owned());
    named.sort_unstable();
    assert_eq!(names(dir), named);
}

#[test]
fn reads_are_those_of_a_slow_model_over_random_histories() {
    for seed in 1..=4 {
        let dir = tempfile::tempdir().expect("a folder");
        let ledger = MemoryLedger::default();
        let clock = Arc::new(ManualClock::new(T0_US));
        let kept = Kept::new(60 * 86_400, 5 * 86_400);
        let mut model = Model::default();
        let mut dice = Dice(seed);
        let start = || {
            let journal = open(dir.path(), &ledger, &clock, Arc::new(OsFiles)).expect("it opens");
            journal.keep_for(Arc::clone(&kept) as Arc<dyn Lifetimes>);
            journal
        };
        let mut journal = start();
        for step in 0..400 {
            write(&journal, &clock, &mut model, &mut dice);
            match dice.below(30) {
                0 => clock.advance_us(DAY_US),
                1 => {
                    let device = u64::try_from(1 + dice.below(6)).expect("small");
                    let ttl_s = kept.of(device).load(Ordering::Relaxed);
                    let less = u32::try_from(dice.below(20 * DAY_S)).expect("small");
                    kept.of(device)
                        .store(ttl_s.saturating_sub(less).max(60), Ordering::Relaxed);
                }
                2 => {
                    drop(journal);
                    journal = start();
                }
                3..6 => journal.telemetry_kept(journal.durable()),
                6..9 => check(&journal, &kept, &model, clock.now_us(), &mut dice),
                9 => settled_days(&journal),
                10 => {
                    let device = u64::try_from(1 + dice.below(6)).expect("small");
                    let from = clock.now_us() / 1000 - dice.below(40 * DAY_S * 1000);
                    let to = match dice.below(4) {
                        0 => i64::MAX,
                        _ => from + dice.below(5 * DAY_S * 1000),
                    };
                    let from = if dice.below(5) == 0 { i64::MIN } else { from };
                    journal
                        .delete_messages(DeviceId(device), from, to)
                        .expect("a disk");
                    let gone = |of: u64, time| of == device && time >= from && time <= to;
                    model.deleted.extend(
                        model
                            .messages
                            .iter()
                            .filter(|(of, _, known)| gone(*of, known.0))
                            .map(|(_, _, known)| *known),
                    );
                }
                _ => clock.advance_us(dice.below(DAY_US / 20)),
            }
            if step % 100 == 99 {
                check(&journal, &kept, &model, clock.now_us(), &mut dice);
            }
        }
        journal.telemetry_kept(journal.durable());
        clock.advance_us(2 * DAY_US);
        write(&journal, &clock, &mut model, &mut dice);
        settled(&journal);
        check(&journal, &kept, &model, clock.now_us(), &mut dice);
        let view = journal.archives().view();
        assert!(view.settled > 200, "seed {seed}: {}", view.settled);
        until("old segments go", || {
            journal.catalog().segments()[0].first() > 100
        });
        check(&journal, &kept, &model, clock.now_us(), &mut dice);
        let audit = journal.audit().expect("readable");
        assert_eq!((audit.differences, audit.archives), (vec![], vec![]));
        assert!(audit.archived > 0);
        journal.shutdown();
        nothing_is_left_over(&journal, dir.path());
        let verified = verify::verify(&OsFiles, dir.path(), true).expect("readable");
        assert_eq!(verified.findings, []);
        assert!(verified.archived > 0);
    }
}

/// Gives the settler a moment.
fn settled_days(journal: &Journal) {
    let before = journal.archives().view().settled;
    for _ in 0..20 {
        if journal.archives().view().settled != before {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_day_becomes_one_archive_of_each_class_and_space_comes_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(T0_US));
    let kept = Kept::new(100 * 86_400, 60);
    kept.of(1).store(86_400, Ordering::Relaxed);
    let mut model = Model::default();
    let mut dice = Dice(7);
    let journal = open(
        dir.path(),
        &MemoryLedger::default(),
        &clock,
        Arc::new(OsFiles),
    )
    .expect("opens");
    journal.keep_for(Arc::clone(&kept) as Arc<dyn Lifetimes>);
    for _ in 0..300 {
        write(&journal, &clock, &mut model, &mut dice);
    }
    assert_eq!(journal.archives().view().settled, 0, "its day is not over");
    clock.advance_us(DAY_US);
    write(&journal, &clock, &mut model, &mut dice);
    settled(&journal);
    let day = archive::day_of(T0_US);
    let of_day = |class| {
        let view = journal.archives().view();
        let these = view
            .archives
            .iter()
            .filter(|one| (one.day(), one.class()) == (day, class));
        these.map(|one| one.totals().messages).collect::<Vec<_>>()
    };
    let count = |device| {
        let of_device =
            |(of, at_us, _): &&(u64, i64, Known)| *of == device && *at_us < T0_US + DAY_US;
        model.messages.iter().filter(of_device).count() as u64
    };
    let others: u64 = (2..=DEVICES).map(count).sum();
    until("merged", || of_day(4) == [others]);
    // device 1 has a ttl of a day: it was past it when it was settled
    assert_eq!(of_day(0), [0u64; 0]);
    check(&journal, &kept, &model, clock.now_us(), &mut dice);

    // a quarter dead: the others stay
    let before = journal.archives().view().archives[0].length();
    kept.of(2).store(60, Ordering::Relaxed);
    kept.of(3).store(60, Ordering::Relaxed);
    until("rewritten", || of_day(4) == [others - count(2) - count(3)]);
    assert!(journal.archives().view().archives[0].length() < before);
    check(&journal, &kept, &model, clock.now_us(), &mut dice);
    for device in 4..=DEVICES {
        kept.of(device).store(60, Ordering::Relaxed);
    }
    until("all is gone", || of_day(4).is_empty());
    journal.telemetry_kept(journal.durable());
    until("segments are gone", || {
        journal.catalog().segments().len() <= 2
    });
    until("no file is left", || {
        !names(dir.path())
            .iter()
            .any(|name| name.starts_with(&format!("{day:06}")))
    });
    assert_eq!(journal.audit().expect("readable").differences, []);
}

#[test]
fn what_archives_hold_is_counted_for_who_owns_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(T0_US));
    let kept = Kept::new(100 * 86_400, 60);
    let tree = tree();
    let journal = Journal::open(
        dir.path(),
        options(),
        Arc::clone(&tree),
        Box::new(MemoryLedger::default()),
        Arc::clone(&clock) as Arc<dyn Clock>,
        Arc::new(OsFiles),
        &mut |_, _| {},
    )
    .expect("opens");
    journal.keep_for(Arc::clone(&kept) as Arc<dyn Lifetimes>);
    let mut model = Model::default();
    let mut dice = Dice(3);
    for _ in 0..200 {
        write(&journal, &clock, &mut model, &mut dice);
    }
    // an empty record of this time is 7 bytes
    let stored = |id| {
        let account = tree.account(AccountId(id)).expect("inserted");
        account.admitted(Dimension::DeviceStorage, 0)
    };
    let expected = |model: &Model| model.messages.len() as u64 * 7;
    // of each device too, wherever its messages are
    let told = |model: &Model| {
        let now_us = clock.now_us();
        (1..=5).all(|device| {
            let messages = model.of_device(&kept, device, now_us).len() as u64;
            let held = journal.held_of_device(DeviceId(device)).expect("a disk");
            (held.messages, held.bytes) == (messages, messages * 7)
        })
    };
    assert!(told(&model), "before anything is counted");
    until("counted from segments", || stored(3) == expected(&model));
    assert!(told(&model));
    clock.advance_us(DAY_US);
    write(&journal, &clock, &mut model, &mut dice);
    settled(&journal);
    journal.telemetry_kept(journal.durable());
    until("old segments go", || {
        journal.catalog().segments().len() <= 2
    });
    until("counted from archives", || stored(1) == expected(&model));
    until("of each device", || told(&model));
    kept.of(1).store(60, Ordering::Relaxed);
    model
        .messages
        .retain(|(device, at_us, _)| *device != 1 || *at_us > T0_US + DAY_US);
    until("a lowered ttl counts at once", || {
        stored(3) == expected(&model)
    });
    until("of its device", || told(&model));
}

#[test]
fn a_device_that_may_have_so_much_loses_its_oldest_day_by_day() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(T0_US));
    let kept = Kept::new(100 * 86_400, 60);
    let mut model = Model::default();
    let mut dice = Dice(23);
    let journal = open(
        dir.path(),
        &MemoryLedger::default(),
        &clock,
        Arc::new(OsFiles),
    )
    .expect("opens");
    journal.keep_for(Arc::clone(&kept) as Arc<dyn Lifetimes>);
    let mut days = Vec::new();
    for _ in 0..5 {
        let before = model.of_device(&kept, 5, clock.now_us()).len();
        for _ in 0..20 {
            write(&journal, &clock, &mut model, &mut dice);
        }
        days.push(model.of_device(&kept, 5, clock.now_us()).len() - before);
        clock.advance_us(DAY_US);
    }
    // today it has sent something
    let before = model.of_device(&kept, 5, clock.now_us()).len();
    while model.of_device(&kept, 5, clock.now_us()).len() == before {
        write(&journal, &clock, &mut model, &mut dice);
    }
    settled(&journal);
    let read = |device| {
        journal
            .read_device(DeviceId(device), Range::default())
            .count()
    };
    let today = read(5) - days.iter().sum::<usize>();
    let others = read(4);
    // an empty record of this time is 7 bytes: two days and a half
    let most = 7 * (today + days[4] + days[3] + days[2] / 2);
    let most = u64::try_from(most).expect("small");
    kept.rotate.store(most, Ordering::Relaxed);
    until("the oldest days go", || {
        read(5) == today + days[4] + days[3]
    });
    assert_eq!(read(4), others);
    kept.rotate.store(1, Ordering::Relaxed);
    until("the newest part stays", || read(5) == today);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(read(5), today);
    assert!(journal.deletions().len() <= 1);
}

#[test]
fn what_is_deleted_is_gone_for_readers_at_once_and_from_the_disk_soon() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(T0_US));
    let kept = Kept::new(100 * 86_400, 60);
    let mut model = Model::default();
    let mut dice = Dice(19);
    let journal = open(
        dir.path(),
        &MemoryLedger::default(),
        &clock,
        Arc::new(OsFiles),
    )
    .expect("opens");
    journal.keep_for(Arc::clone(&kept) as Arc<dyn Lifetimes>);
    for _ in 0..100 {
        write(&journal, &clock, &mut model, &mut dice);
    }
    clock.advance_us(DAY_US);
    write(&journal, &clock, &mut model, &mut dice);
    settled(&journal);
    let archived = || {
        let view = journal.archives().view();
        view.archives
            .iter()
            .map(|one| one.totals().messages)
            .sum::<u64>()
    };
    let before = archived();
    let count = model.of_device(&kept, 2, clock.now_us()).len();
    assert!(count > 50, "{count}");
    journal
        .delete_messages(DeviceId(2), i64::MIN, i64::MAX)
        .expect("a disk");
    let read = |device| {
        journal
            .read_device(DeviceId(device), Range::default())
            .count()
    };
    let held = |device| {
        let held = journal.held_of_device(DeviceId(device)).expect("a disk");
        usize::try_from(held.messages).expect("few")
    };
    assert_eq!((read(2), held(2)), (0, 0));
    assert!(read(3) > 50);
    let in_buffer = journal.read_channel(CHANNEL, Range::default());
    let of_it = in_buffer
        .flatten()
        .filter(|message| message.device == DeviceId(2));
    assert!(of_it.count() > 0, "the channel's buffer keeps it");
    until("it leaves the disk", || archived() + 50 < before);
    // what comes behind it is there
    let written = model.messages.len();
    while model.of_device(&kept, 2, clock.now_us()).len() == count {
        write(&journal, &clock, &mut model, &mut dice);
    }
    assert!(model.messages.len() > written && read(2) > 0);
    clock.advance_us(DAY_US);
    write(&journal, &clock, &mut model, &mut dice);
    until("it is done", || journal.deletions().is_empty());
    assert!(read(2) > 0);
    until("sizes follow", || {
        (2..=3).all(|device| held(device) == read(device))
    });
}
