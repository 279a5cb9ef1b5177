//! Eight threads on one tree while its limits change.
//!
//! What is claimed is checked while it happens, by threads that only look; the sums are checked
//! against the list of what each thread was told, each time all threads stand still.

use crate::account::{
    Account, Caps, Cost, Dimension, Held, LEVELS_MAX, Policy, Refusal, Rules, Tree, split_bytes,
};
use crate::ids::AccountId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const CHARGING: usize = 6;
const PHASES: u32 = 6;
const CHARGES: usize = 10_000;
/// Accounts below each account.
const WIDTH: u64 = 3;
pub(super) const BYTES: Dimension = Dimension::ChannelTraffic;
pub(super) const MESSAGES: Dimension = Dimension::ChannelMessages;
pub(super) const CONNECTIONS: Dimension = Dimension::ChannelConnections;

pub(super) struct Forest {
    pub(super) tree: Tree,
    pub(super) accounts: Vec<Account>,
    pub(super) leaves: Vec<Account>,
}

fn grow() -> Forest {
    let tree = Tree::new();
    let mut accounts: Vec<Account> = Vec::new();
    let mut row = vec![tree.insert(AccountId(1), AccountId::NONE).unwrap()];
    accounts.extend(row.iter().cloned());
    for _ in 1..LEVELS_MAX {
        let mut below = Vec::new();
        for parent in &row {
            for _ in 0..WIDTH {
                let id = AccountId((accounts.len() + below.len()) as u64 + 1);
                below.push(tree.insert(id, parent.id()).unwrap());
            }
        }
        accounts.extend(below.iter().cloned());
        row = below;
    }
    Forest {
        tree,
        accounts,
        leaves: row,
    }
}

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 33) % bound as u64).unwrap()
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

pub(super) fn rules(bytes: i64, messages: i64, connections: i64) -> Rules {
    Rules {
        caps: Caps::NONE
            .with(BYTES, bytes)
            .with(MESSAGES, messages)
            .with(CONNECTIONS, connections),
        policy: Policy::Hold,
        ..Rules::default()
    }
}

/// What a refusal says must have been true of one instant.
pub(super) fn assert_true(refusal: &Refusal) {
    assert!(refusal.cap >= 0, "{refusal:?}");
    let cap = u64::try_from(refusal.cap).unwrap();
    assert!(refusal.used + refusal.asked > cap, "{refusal:?}");
    assert_eq!(
        refusal.too_large,
        !refusal.disabled && refusal.asked > cap,
        "{refusal:?}"
    );
}

/// One thread's charges; gives what was admitted: account and cost.
fn charging(forest: &Forest, seed: u64, minute: impl Fn(usize) -> u32) -> Vec<(Account, Cost)> {
    let mut random = Random(seed);
    let mut admitted = Vec::new();
    let mut guards = Vec::new();
    for turn in 0..CHARGES {
        let minute = minute(random.below(1_000));
        match random.below(8) {
            0 => {
                let parts: Vec<(Account, u64)> = (0..2 + random.below(2))
                    .map(|_| (random.pick(&forest.leaves).clone(), random.below(4) as u64))
                    .collect();
                let bytes = random.below(300) as u64;
                match forest.tree.charge_union(minute, bytes, &parts) {
                    Ok(_) => {
                        let shares = split_bytes(bytes, parts.len());
                        for ((account, messages), bytes) in parts.into_iter().zip(shares) {
                            admitted.push((account, Cost { bytes, messages }));
                        }
                    }
                    Err(refusal) => assert_true(&refusal),
                }
            }
            1 => match random.pick(&forest.leaves).acquire(CONNECTIONS, 1) {
                Ok(guard) => guards.push(guard),
                Err(refusal) => assert_true(&refusal),
            },
            2 if !guards.is_empty() => drop(guards.swap_remove(random.below(guards.len()))),
            _ => {
                let account = random.pick(&forest.leaves);
                let cost = Cost {
                    // now and then one that is doomed further down
                    bytes: random.below(if turn % 16 == 0 { 4_000 } else { 120 }) as u64,
                    messages: random.below(4) as u64,
                };
                match account.charge(minute, cost) {
                    Ok(_) => admitted.push((account.clone(), cost)),
                    Err(refusal) => assert_true(&refusal),
                }
            }
        }
    }
    admitted
}

/// Lowers and raises limits of the odd accounts, and watches each that is full: from the instant
/// that `set_rules` returns its use may only go down.
pub(super) fn changing(forest: &Forest, minute: u32, over: &AtomicBool) {
    let mut random = Random(77);
    let odd: Vec<&Account> = forest
        .accounts
        .iter()
        .filter(|account| account.id().0 % 2 == 1)
        .collect();
    while !over.load(Ordering::Acquire) {
        let account = *random.pick(&odd);
        let id = account.id();
        let used = account.admitted(BYTES, minute);
        let caps = match random.below(4) {
            0 => rules(0, 0, 0),
            1 => rules(i64::try_from(used / 2).unwrap(), -1, 1),
            2 => rules(i64::try_from(used + 200).unwrap(), 500, 2),
            _ => rules(-1, -1, -1),
        };
        let disabled = random.below(8) == 0;
        forest.tree.set_enabled(id, !disabled).unwrap();
        forest.tree.set_rules(id, caps).unwrap();
        let mut last =
            [BYTES, MESSAGES, CONNECTIONS].map(|dimension| account.reading(dimension, minute).used);
        for _ in 0..20 {
            for (dimension, last) in [BYTES, MESSAGES, CONNECTIONS].into_iter().zip(&mut last) {
                let reading = account.reading(dimension, minute);
                let expected = if disabled {
                    0
                } else {
                    caps.caps.get(dimension)
                };
                assert_eq!(reading.cap, expected);
                let Ok(cap) = u64::try_from(reading.cap) else {
                    continue;
                };
                assert!(
                    reading.used <= cap.max(*last),
                    "{account:?} {dimension}: {} after {last} under a cap of {cap}",
                    reading.used
                );
                *last = reading.used;
            }
            thread::yield_now();
        }
        forest.tree.set_enabled(id, true).unwrap();
    }
}

/// Looks at the even accounts, whose caps stay: no use is ever above one.
pub(super) fn looking(forest: &Forest, minute: u32, over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        for account in forest
            .accounts
            .iter()
            .filter(|account| account.id().0 % 2 == 0)
        {
            for dimension in [BYTES, MESSAGES, CONNECTIONS] {
                let reading = account.reading(dimension, minute);
                assert!(reading.over() == 0, "{account:?} {dimension}: {reading:?}");
            }
        }
        thread::yield_now();
    }
}

/// Tells the others to end, on a panic as well.
pub(super) struct Over<'a>(pub(super) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs the charging threads beside two others that go on until they are through.
fn run<'a>(
    forest: &'a Forest,
    seed: u64,
    minute: impl Fn(usize) -> u32 + Sync,
    beside: [&'a (dyn Fn(&AtomicBool) + Sync); 2],
) -> Vec<(Account, Cost)> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&over);
        for other in beside {
            scope.spawn(|| other(&over));
        }
        let threads: Vec<_> = (0..CHARGING as u64)
            .map(|thread| {
                let minute = &minute;
                scope.spawn(move || charging(forest, (seed + 1) << 8 | (thread + 1), minute))
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| {
                thread
                    .join()
                    .expect("a charging thread found nothing wrong")
            })
            .collect()
    })
}

/// The sums of what the threads were told, by account.
fn summed(admitted: &[(Account, Cost)]) -> BTreeMap<AccountId, Cost> {
    let mut sums: BTreeMap<AccountId, Cost> = BTreeMap::new();
    for (leaf, cost) in admitted {
        for account in leaf.chain() {
            let sum = sums.entry(account.id()).or_default();
            sum.bytes += cost.bytes;
            sum.messages += cost.messages;
        }
    }
    sums
}

/// The sums of children, read before their parents.
fn assert_parents_cover(forest: &Forest, minute: u32, dimension: Dimension) {
    let mut below: BTreeMap<AccountId, u64> = BTreeMap::new();
    // the highest ids are the deepest
    for account in forest.accounts.iter().rev() {
        if let Some(parent) = account.parent() {
            *below.entry(parent.id()).or_default() += account.admitted(dimension, minute);
        }
    }
    for (parent, sum) in below {
        let parent = forest.tree.account(parent).unwrap();
        let used = parent.admitted(dimension, minute);
        assert!(
            used >= sum,
            "{parent:?} {dimension}: {used}, its children {sum}"
        );
    }
}

#[test]
fn nothing_overshoots_and_every_sum_balances_while_limits_change() {
    let forest = grow();
    let mut refusals_seen = false;
    for phase in 0..PHASES {
        let minute = 100 + phase;
        for account in &forest.accounts {
            // even accounts keep theirs for the whole phase; lower levels have less
            let share = 400_000 >> (2 * account.level());
            let caps = rules(share, share / 40, share >> 12);
            forest.tree.set_rules(account.id(), caps).unwrap();
        }
        let admitted = run(
            &forest,
            u64::from(phase),
            |_| minute,
            [&|over| changing(&forest, minute, over), &|over| {
                looking(&forest, minute, over);
            }],
        );
        let sums = summed(&admitted);
        let mut asked = 0;
        for account in &forest.accounts {
            let sum = sums.get(&account.id()).copied().unwrap_or_default();
            let used = Cost {
                bytes: account.admitted(BYTES, minute),
                messages: account.admitted(MESSAGES, minute),
            };
            assert_eq!(used, sum, "{account:?}: what was told is what is counted");
            assert_eq!(account.admitted(CONNECTIONS, 0), 0, "every guard gave back");
            asked += u64::from(account.level() == 0) * sum.messages;
        }
        assert!(asked > 0, "some charges were admitted");
        refusals_seen |= admitted.len() < CHARGING * CHARGES / 2;
    }
    assert!(refusals_seen, "the limits were met");
}

#[test]
fn a_parents_use_is_never_behind_its_childrens() {
    // only the master refuses, so nothing is undone, and what is read later is not less
    let forest = grow();
    for phase in 0..2 {
        let minute = 200 + phase;
        forest
            .tree
            .set_rules(AccountId(1), rules(300_000, -1, -1))
            .unwrap();
        run(
            &forest,
            u64::from(minute),
            |_| minute,
            [
                &|over| {
                    while !over.load(Ordering::Acquire) {
                        assert_parents_cover(&forest, minute, BYTES);
                        assert_parents_cover(&forest, minute, MESSAGES);
                    }
                },
                &|over| looking(&forest, minute, over),
            ],
        );
        assert_parents_cover(&forest, minute, BYTES);
    }
}

#[test]
fn windows_that_reset_under_the_charges_stay_balanced() {
    let forest = grow();
    for account in &forest.accounts {
        let share = 40_000 >> (2 * account.level());
        forest
            .tree
            .set_rules(account.id(), rules(share, -1, -1))
            .unwrap();
    }
    for phase in 0..4 {
        let minute = 300 + 10 * phase;
        // threads are in three minutes at once
        let last = minute + 2;
        let admitted = run(
            &forest,
            u64::from(minute),
            |turn| minute + u32::try_from(turn % 3).unwrap(),
            [&|over| looking(&forest, last, over), &|over| {
                looking(&forest, minute, over);
            }],
        );
        // what went into the last minute is among what was admitted, and adds up
        let sums = summed(&admitted);
        let mut below: BTreeMap<AccountId, u64> = BTreeMap::new();
        for account in forest.accounts.iter().rev() {
            let used = account.admitted(BYTES, last);
            let told = sums.get(&account.id()).map_or(0, |sum| sum.bytes);
            assert!(used <= told, "{account:?}: {used} of {told}");
            if let Some(sum) = below.get(&account.id()) {
                assert_eq!(used, *sum, "{account:?}: its children's sum");
            }
            if let Some(parent) = account.parent() {
                *below.entry(parent.id()).or_default() += used;
            }
        }
    }
}

#[test]
fn of_many_creations_at_once_exactly_the_cap_succeed() {
    let forest = grow();
    let mut caps = Rules::default();
    caps.caps.set(Dimension::DevicesCount, 100);
    forest.tree.set_rules(AccountId(1), caps).unwrap();
    let created: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let forest = &forest;
                scope.spawn(move || {
                    let mut random = Random(thread + 1);
                    (0..60)
                        .filter(|_| {
                            let owner = random.pick(&forest.accounts);
                            owner
                                .acquire(Dimension::DevicesCount, 1)
                                .map(Held::keep)
                                .is_ok()
                        })
                        .count()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(created, 100);
    assert_eq!(forest.accounts[0].admitted(Dimension::DevicesCount, 0), 100);
}

#[test]
fn accounts_are_inserted_while_others_are_charged() {
    const INSERTED: u64 = 2_000;
    let tree = Tree::new();
    tree.insert(AccountId(1), AccountId::NONE).unwrap();
    let over = AtomicBool::new(false);
    let told: u64 = thread::scope(|scope| {
        let _over = Over(&over);
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (tree, over) = (&tree, &over);
                scope.spawn(move || {
                    let mut random = Random(thread + 1);
                    let mut told = 0;
                    while !over.load(Ordering::Acquire) {
                        let id = AccountId(random.below(2_100) as u64 + 1);
                        let Some(account) = tree.account(id) else {
                            continue;
                        };
                        let cost = Cost {
                            bytes: 1,
                            messages: 0,
                        };
                        account.charge(9, cost).expect("no cap is set");
                        told += 1;
                    }
                    told
                })
            })
            .collect();
        let mut random = Random(99);
        for id in 2..=INSERTED {
            let parent = AccountId(random.below(usize::try_from(id - 1).unwrap()) as u64 + 1);
            let deepest = usize::from(tree.account(parent).unwrap().level()) + 1 == LEVELS_MAX;
            let parent = if deepest { AccountId(1) } else { parent };
            tree.insert(AccountId(id), parent).unwrap();
        }
        over.store(true, Ordering::Release);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(tree.accounts().len() as u64, INSERTED);
    assert_eq!(tree.account(AccountId(1)).unwrap().admitted(BYTES, 9), told);
}

#[test]
fn a_statement_shows_whole_batches() {
    let forest = grow();
    let totals = crate::account::Totals {
        bytes_in: 3,
        messages: 1,
        ..crate::account::Totals::default()
    };
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Over(&over);
            let mut random = Random(5);
            for _ in 0..2_000 {
                let _publishing = forest.tree.publishing();
                for _ in 0..3 {
                    for account in random.pick(&forest.leaves).chain() {
                        account.post(&totals);
                    }
                }
            }
        });
        while !over.load(Ordering::Acquire) {
            let mut below: BTreeMap<AccountId, u64> = BTreeMap::new();
            for (account, totals) in forest.tree.statement().into_iter().rev() {
                if let Some(sum) = below.get(&account.id()) {
                    assert_eq!(totals.bytes_in, *sum, "{account:?}");
                }
                if let Some(parent) = account.parent() {
                    *below.entry(parent.id()).or_default() += totals.bytes_in;
                }
            }
        }
    });
    assert_eq!(forest.accounts[0].posted().messages, 6_000);
}
