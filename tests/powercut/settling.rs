//! Cuts while days are settled, archives are merged and segments go.

use crate::cuts::{Run, Seed, cut, load, number_from, start_kept};
use crate::image::Dice;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tollgate::ids::{AccountId, ChannelId, DeviceId, Position};
use tollgate::journal::{Lifetimes, Range};

/// Devices keep their messages for ten years, channels nothing: what is settled is in archives only.
pub(crate) struct Devices;

impl Lifetimes for Devices {
    fn channel(&self, _: ChannelId) -> Option<(AccountId, u32)> {
        None
    }

    fn device(&self, _: DeviceId) -> Option<(AccountId, u32)> {
        Some((AccountId(3), 3660 * 86_400))
    }
}

/// Every message that was ever acked is read once, from archives or from segments, and paid for.
pub(crate) fn check(run: &Run, acked: Position) -> i64 {
    let durable = run.journal.durable();
    assert!(durable >= acked, "acked up to {acked}, there is {durable}");
    let read = |reverse| {
        let range = Range {
            reverse,
            ..Range::default()
        };
        let messages = run.journal.read_device(DeviceId(1), range);
        messages.map(|message| message.expect("readable").timestamp_ms())
    };
    let next = run
        .tree
        .account(AccountId(3))
        .expect("it")
        .posted()
        .messages;
    let next = next.cast_signed();
    assert!(read(false).eq(0..next), "missing, twice or half");
    assert!(read(true).eq((0..next).rev()), "missing, twice or half");
    let audit = run.journal.audit().expect("readable");
    assert_eq!(audit.differences, []);
    next
}

/// Waits until everything sealed is settled and its days are one archive each.
fn settled(run: &Run) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let segments = run.journal.catalog().segments();
        let sealed = segments.iter().filter(|segment| segment.is_sealed());
        let last = sealed.map(|segment| segment.next() - 1).max().unwrap_or(0);
        if run.journal.archives().view().settled >= last {
            return;
        }
        assert!(Instant::now() < until, "it is never settled");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Keeper and settler get a turn: what may be settled or may go has a chance to.
pub(crate) fn turn(run: &Run) {
    let settle = run.journal.archives().view().settled;
    let end = Instant::now() + Duration::from_millis(30);
    while Instant::now() < end && run.journal.archives().view().settled == settle {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(5));
}

#[test]
fn a_power_cut_while_days_are_settled_loses_nothing_and_doubles_nothing() {
    let runs = number_from("TOLLGATE_POWERCUT_RUNS", 10);
    let first = number_from("TOLLGATE_POWERCUT_SEED", 1);
    let (mut gone, mut archives) = (0, 0);
    for seed in first..first + runs {
        let mut dice = Dice(seed);
        let mut said = Seed(seed, "first load".to_owned());
        let mut next = 0;
        let start =
            |image: &_, checkpoints: &_| start_kept(image, checkpoints, Some(Arc::new(Devices)));
        let run = start(&BTreeMap::new(), &[][..]);
        let acks = load(&run, 25, &mut next, &mut dice);
        settled(&run);
        check(&run, acks.last().expect("some").1);
        std::thread::sleep(Duration::from_millis(10));
        run.journal.shutdown();
        gone += run.journal.stats().segments_gone();
        archives += run.journal.stats().archives_written();
        for _ in 0..8 {
            let (image, checkpoints, acked, what) = cut(&run, &acks, Position::ZERO, &mut dice);
            said.1 = what;
            let again = start(&image, checkpoints.as_slice());
            let mut next = check(&again, acked);
            let had = again.journal.durable();
            let acks = load(&again, 4, &mut next, &mut dice);
            settled(&again);
            check(&again, acks.last().expect("some").1);
            again.journal.shutdown();
            // and a cut in the opening, or in what came behind it
            let acks: Vec<_> = std::iter::once((again.opened, had)).chain(acks).collect();
            let (image, checkpoints, acked, what) = cut(&again, &acks, acked, &mut dice);
            said.1 = format!("{}, then {what}", said.1);
            check(&start(&image, checkpoints.as_slice()), acked);
        }
    }
    assert!(
        gone > 0 && archives > 0,
        "nothing was settled: nothing was tried"
    );
}
