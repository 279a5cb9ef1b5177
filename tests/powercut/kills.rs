//! Kills before the power cut: the next process finds in the page cache what was never synced, acts on it,
//! and then the power goes. Nothing that a start takes for granted may be less durable than what it
//! answers or removes because of it.

use crate::cuts::{
    Run, Seed, check, check_aged, cut_from, lifetimes, load, number_from, open, start_kept,
};
use crate::disk::Recorder;
use crate::image::Dice;
use crate::settling;
use std::collections::BTreeMap;
use std::sync::Arc;
use tollgate::ids::Position;
use tollgate::journal::Lifetimes;

/// How a journal is kept, and what must hold of it.
struct Kept {
    lifetimes: fn() -> Option<Arc<dyn Lifetimes>>,
    check: fn(&Run, Position) -> i64,
}

const WAYS: [Kept; 3] = [
    Kept {
        lifetimes: || lifetimes(false),
        check,
    },
    Kept {
        lifetimes: || lifetimes(true),
        check: check_aged,
    },
    Kept {
        lifetimes: || Some(Arc::new(settling::Devices)),
        check: settling::check,
    },
];

/// Opens what a process finds that is started behind a kill of the one before; with what was acked by then.
pub(crate) fn kill(
    disk: &Recorder,
    from: usize,
    acks: &[(usize, Position)],
    before: Position,
    lifetimes: Option<Arc<dyn Lifetimes>>,
    dice: &mut Dice,
) -> (Run, Position, String) {
    let (left, checkpoints, at) = disk.killed(from, dice);
    let acked = acks.iter().filter(|(seen, _)| *seen <= at);
    let acked = acked.map(|(_, position)| *position).max();
    let what = format!("killed before operation {at} of {}", disk.now());
    let again = open(left, &checkpoints, lifetimes)
        .unwrap_or_else(|error| panic!("{what}: it does not open: {error}"));
    (again, acked.unwrap_or(before), what)
}

#[test]
fn a_power_cut_behind_kills_leaves_all_that_was_acked() {
    let runs = number_from("TOLLGATE_POWERCUT_RUNS", 12);
    let first = number_from("TOLLGATE_POWERCUT_SEED", 1);
    for seed in first..first + runs {
        let mut dice = Dice(seed ^ 0x4111);
        let mut said = Seed(seed, "first load".to_owned());
        let kept = &WAYS[dice.below(WAYS.len())];
        let first = start_kept(&BTreeMap::new(), &[], (kept.lifetimes)());
        let mut next = 0;
        let first_acks = load(&first, 25, &mut next, &mut dice);
        settling::turn(&first);
        (kept.check)(&first, first_acks.last().expect("some").1);
        first.journal.shutdown();
        for _ in 0..6 {
            let (mut run, mut acked, what) = kill(
                &first.disk,
                0,
                &first_acks,
                Position::ZERO,
                (kept.lifetimes)(),
                &mut dice,
            );
            said.1 = what;
            let mut acks;
            let kills = dice.below(3);
            for further in 0..=kills {
                let mut next = (kept.check)(&run, acked);
                acks = vec![(run.opened, run.journal.durable())];
                let batches = dice.below(5);
                acks.extend(load(&run, batches, &mut next, &mut dice));
                if dice.coin() {
                    settling::turn(&run);
                }
                run.journal.shutdown();
                if further < kills {
                    let from = run.laid;
                    let (again, now, what) =
                        kill(&run.disk, from, &acks, acked, (kept.lifetimes)(), &mut dice);
                    (run, acked) = (again, now);
                    said.1 = format!("{}, then {what}", said.1);
                } else {
                    let (image, checkpoints, now, what) =
                        cut_from(&run.disk, run.laid, &acks, acked, &mut dice);
                    said.1 = format!("{}, then {what}", said.1);
                    let last = start_kept(&image, &checkpoints, (kept.lifetimes)());
                    (kept.check)(&last, now);
                }
            }
        }
    }
}
