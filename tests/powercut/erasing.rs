//! Cuts while a device is erased: it is there as it was, or nobody reads it any more; it leaves the
//! disk for good, and what others have stays, once and paid for.

use crate::cuts::{Run, Seed, cut_from, number_from, start_kept};
use crate::image::Dice;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tollgate::ids::{AccountId, ChannelId, ConnectionId, DeviceId, Epoch, Ident, Position};
use tollgate::journal::{Batch, FrameMeta, FrameWriter, Lifetimes, PartMeta, Range};

const T0_US: i64 = 1_764_000_000_000_000;
/// Who is erased, and who stays.
const GONE: (DeviceId, &str) = (DeviceId(1), "erase-me-for-good");
const STAYS: (DeviceId, &str) = (DeviceId(2), "352093081452252");

/// Devices and channels keep their messages: what is erased is in segments and in archives.
struct Everything;

impl Lifetimes for Everything {
    fn channel(&self, _: ChannelId) -> Option<(AccountId, u32)> {
        Some((AccountId(1), 31 * 86_400))
    }

    fn device(&self, _: DeviceId) -> Option<(AccountId, u32)> {
        Some((AccountId(3), 3660 * 86_400))
    }
}

/// Frames with a message of each of the two, numbered from `next` on.
fn load(run: &Run, batches: usize, next: &mut i64, dice: &mut Dice) -> Vec<(usize, Position)> {
    let mut acks = Vec::new();
    for _ in 0..batches {
        let mut batch = Batch::new();
        for _ in 0..=dice.below(12) {
            let meta = FrameMeta {
                at_us: T0_US + *next * 1_000_000,
                connection: ConnectionId(1),
                channel: ChannelId(1),
                protocol: 1,
                decoder_version: 1,
                peer: "192.0.2.1:1".parse().expect("an address"),
                bytes_in: 50,
            };
            let mut frame = FrameWriter::begin(&mut batch, &meta);
            for (device, ident) in [GONE, STAYS] {
                frame.part(&PartMeta {
                    ident: &Ident::new(ident).expect("an ident"),
                    device,
                    account: AccountId(3),
                    epoch: Epoch(0),
                });
                let mut record = vec![0];
                protocols::record::write_varint(&mut record, protocols::record::zigzag(*next));
                record.resize(record.len() + dice.below(120), 0);
                frame.record(&record);
            }
            frame.finish(4);
            *next += 1;
        }
        let permit = run.journal.try_permit(batch.len()).expect("room");
        let last = run.journal.append(permit, &mut batch);
        until("durable", || run.journal.durable() >= last);
        acks.push((run.disk.now(), last));
        run.journal.telemetry_kept(last);
    }
    acks
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn times(run: &Run, device: DeviceId) -> Vec<i64> {
    let read = run.journal.read_device(device, Range::default());
    read.map(|message| message.expect("readable").timestamp_ms())
        .collect()
}

/// Goes on with an erasure as whoever keeps telemetry does, until it is done.
fn finish(run: &Run) {
    for one in run.journal.erasing() {
        run.journal.telemetry_forgot(&one).expect("a disk");
    }
    until("it is erased", || run.journal.erasing().is_empty());
}

fn start(
    image: &BTreeMap<std::path::PathBuf, Vec<u8>>,
    checkpoints: &[tollgate::journal::Checkpoint],
) -> Run {
    start_kept(image, checkpoints, Some(Arc::new(Everything)))
}

/// What one who stays has is there once; counters and storage are what the recount says. `asked`: the
/// erasure was answered before the cut; `done`: it had left the disk.
fn check(run: &Run, acked: Position, asked: bool, done: bool) {
    let durable = run.journal.durable();
    assert!(durable >= acked, "acked up to {acked}, there is {durable}");
    let account = run.tree.account(AccountId(3)).expect("it");
    let frames = i64::try_from(account.posted().messages / 2).expect("few");
    assert!(
        times(run, STAYS.0).into_iter().eq(0..frames),
        "missing or twice"
    );
    let of_gone = times(run, GONE.0);
    let whole = of_gone.iter().copied().eq(0..frames);
    assert!(
        of_gone.is_empty() || whole && !asked,
        "{} of {frames} are read, asked: {asked}",
        of_gone.len()
    );
    if done {
        assert!(run.journal.erasing().is_empty(), "it is begun again");
    }
    let erasing = !run.journal.erasing().is_empty();
    finish(run);
    if asked || erasing {
        assert!(times(run, GONE.0).is_empty());
        assert!(!run.disk.has(GONE.1.as_bytes()), "it is on the disk");
    }
    assert!(run.disk.has(STAYS.1.as_bytes()));
    let audit = run.journal.audit().expect("readable");
    assert_eq!(audit.differences, []);
    assert_eq!(audit.archives, [""; 0]);
}

#[test]
fn a_power_cut_in_an_erasure_leaves_it_undone_or_finishes_it_and_others_lose_nothing() {
    let runs = number_from("TOLLGATE_POWERCUT_RUNS", 6);
    let first = number_from("TOLLGATE_POWERCUT_SEED", 1);
    let mut rewritten = 0;
    for seed in first..first + runs {
        let mut dice = Dice(seed ^ 0xe2a5e);
        let mut said = Seed(seed, "first load".to_owned());
        let run = start(&BTreeMap::new(), &[]);
        let mut next = 0;
        let acks = load(&run, 20, &mut next, &mut dice);
        let loaded = acks.last().expect("some").1;
        // some of it is in archives, some in segments only
        until("some of it is settled", || {
            run.journal.archives().view().settled > 0
        });
        let from = run.disk.now();
        run.journal.erase(GONE.0).expect("a disk");
        let asked = run.journal.durable();
        let mut acks = vec![(from, loaded), (run.disk.now(), asked)];
        finish(&run);
        let done = run.journal.durable();
        acks.push((run.disk.now(), done));
        assert!(asked > loaded && done > asked);
        check(&run, done, true, true);
        run.journal.shutdown();
        rewritten += run.journal.stats().erased();
        for _ in 0..12 {
            let (image, checkpoints, acked, what) =
                cut_from(&run.disk, from, &acks, loaded, &mut dice);
            said.1 = what;
            let again = start(&image, &checkpoints);
            let opened = again.opened;
            check(&again, acked, acked >= asked, acked >= done);
            let had = again.journal.durable();
            again.journal.shutdown();
            // and a cut while that is made good
            let acks = [(again.disk.now(), had)];
            let (image, checkpoints, acked, what) =
                cut_from(&again.disk, opened, &acks, acked, &mut dice);
            said.1 = format!("{}, then {what}", said.1);
            check(&start(&image, &checkpoints), acked, acked >= asked, false);
        }
    }
    assert!(rewritten > 0, "nothing was erased: nothing was tried");
}
