//! Segments and archives together: whatever is settled, merged, rewritten or cut off meanwhile, a
//! read shows what a slow model says, each message once.

use super::retention::Lifetimes;
use super::tests::{append, frame, tree, wait_for};
use super::*;
use crate::archive::DAY_S;
use crate::ids::{ChannelId, ConnectionId, DeviceId, Epoch, Ident, ManualClock};
use crate::segment::{FileOps, OsFiles};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU32};

pub(super) const T0_US: i64 = 1_764_000_000_000_000;
const DAY_US: i64 = DAY_S * 1_000_000;
const DEVICES: u64 = 6;
const CHANNEL: ChannelId = ChannelId(7);

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
    elsewhere_fails: AtomicU64,
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

fn open(
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
fn settled(journal: &Journal) {
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
fn nothing_is_left_over(journal: &Journal, dir: &Path) {
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
    until("counted from segments", || stored(3) == expected(&model));
    clock.advance_us(DAY_US);
    write(&journal, &clock, &mut model, &mut dice);
    settled(&journal);
    journal.telemetry_kept(journal.durable());
    until("old segments go", || {
        journal.catalog().segments().len() <= 2
    });
    until("counted from archives", || stored(1) == expected(&model));
    kept.of(1).store(60, Ordering::Relaxed);
    model
        .messages
        .retain(|(device, at_us, _)| *device != 1 || *at_us > T0_US + DAY_US);
    until("a lowered ttl counts at once", || {
        stored(3) == expected(&model)
    });
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
    assert_eq!(read(2), 0);
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
}

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

struct FailingFile {
    file: Box<dyn FileOps>,
    files: Failing,
}

impl Failing {
    fn tick(&self) -> io::Result<()> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left == 0 || self.dead && left < 0 {
            return Err(self.kind.into());
        }
        Ok(())
    }

    fn tick_at(&self, path: &Path) -> io::Result<()> {
        let inside = path == self.folder || path.parent() == Some(&self.folder);
        if inside { self.tick() } else { Ok(()) }
    }
}

impl Files for Failing {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileOps>> {
        self.tick_at(path)?;
        let file = OsFiles.create(path)?;
        if path.parent() != Some(&self.folder) {
            return Ok(file);
        }
        Ok(Box::new(FailingFile {
            file,
            files: self.clone(),
        }))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn FileOps>> {
        OsFiles.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tick_at(from)?;
        OsFiles.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.tick_at(path)?;
        OsFiles.unlink(path)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        OsFiles.create_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.tick_at(dir)?;
        OsFiles.sync_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsFiles.list(dir)
    }
    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        OsFiles.free_space(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        OsFiles.lock(path)
    }
}

impl FileOps for FailingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.files.tick()?;
        self.file.write_at(bytes, offset)
    }
    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.allocate(length)
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.files.tick()?;
        self.file.sync_data()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
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
    let journal = open(dir.path(), &ledger, &clock, Arc::new(files.clone())).expect("opens");
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
