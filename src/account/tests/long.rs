//! A million charges by eight threads on random trees of a thousand accounts, while limits change and
//! devices move, against the slow model: the list of what each thread was told, added up from every
//! leaf to the master.
//!
//! The threads meet after every slice of charges, and each time every number of every account is
//! what the model says. In between others only look: no use is above a cap that stays, and none
//! grows over one that has changed. `TOLLGATE_CHARGES=100000000` is the full size,
//! `TOLLGATE_CHARGES_SEED` another tree and another order.

use super::storm::{
    BYTES, CONNECTIONS, Forest, MESSAGES, Over, Random, assert_true, changing, looking, rules,
};
use crate::account::{Account, Cost, Held, LEVELS_MAX, Tree};
use crate::ids::AccountId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

const THREADS: usize = 8;
const ACCOUNTS: u64 = 1_000;
const DEVICES: usize = 400;
/// Charges of one thread between two looks of the model.
const SLICE: usize = 1_000;
/// Slices on one tree.
const SLICES: usize = 25;

/// A tree in which each account is below a random one before it.
fn grow(random: &mut Random) -> Forest {
    let tree = Tree::new();
    let mut accounts: Vec<Account> = vec![tree.insert(AccountId(1), AccountId::NONE).unwrap()];
    for id in 2..=ACCOUNTS {
        let above = random.pick(&accounts);
        let deepest = usize::from(above.level()) + 1 == LEVELS_MAX;
        let above = if deepest { AccountId(1) } else { above.id() };
        accounts.push(tree.insert(AccountId(id), above).unwrap());
    }
    Forest {
        leaves: accounts.clone(),
        tree,
        accounts,
    }
}

/// Whose a device is, and the place that it takes there.
struct Device {
    account: Account,
    place: Option<Held>,
}

/// Moves devices: the place in the new chain is taken before the old one is given back.
fn moving(forest: &Forest, devices: &[Mutex<Device>], over: &AtomicBool) {
    let mut random = Random(55);
    while !over.load(Ordering::Acquire) {
        let to = random.pick(&forest.accounts);
        let mut device = random.pick(devices).lock().unwrap();
        match to.acquire(CONNECTIONS, 1) {
            Ok(place) => {
                device.account = to.clone();
                device.place = Some(place);
            }
            Err(refusal) => assert_true(&refusal),
        }
        drop(device);
        thread::yield_now();
    }
}

/// A slice of one thread: how many charges were admitted, and what of each account. One of two
/// devices together is one charge of two accounts.
fn charging(
    forest: &Forest,
    devices: &[Mutex<Device>],
    minute: u32,
    random: &mut Random,
) -> (usize, Vec<(AccountId, Cost)>) {
    let mut charges = 0;
    let mut admitted = Vec::new();
    for turn in 0..SLICE {
        let cost = Cost {
            // now and then one that is doomed further down
            bytes: random.below(if turn % 16 == 0 { 4_000 } else { 120 }) as u64,
            messages: random.below(4) as u64,
        };
        // as the driver does it: the device stays where it is while its frame is charged
        let device = random.pick(devices).lock().unwrap();
        let charged = if turn % 8 == 0 {
            let other = random.pick(&forest.accounts);
            let parts = [(device.account.clone(), cost.messages), (other.clone(), 1)];
            let shares = crate::account::split_bytes(cost.bytes, 2);
            forest
                .tree
                .charge_union(minute, cost.bytes, &parts)
                .map(|_| {
                    for ((account, messages), bytes) in parts.iter().zip(shares) {
                        let messages = *messages;
                        admitted.push((account.id(), Cost { bytes, messages }));
                    }
                })
        } else {
            device
                .account
                .charge(minute, cost)
                .map(|_| admitted.push((device.account.id(), cost)))
        };
        match charged {
            Ok(()) => charges += 1,
            Err(refusal) => assert_true(&refusal),
        }
    }
    (charges, admitted)
}

/// The slow model: who is above whom, and what was admitted where.
struct Slow {
    parents: BTreeMap<AccountId, AccountId>,
    used: BTreeMap<AccountId, Cost>,
}

impl Slow {
    fn add(&mut self, account: AccountId, cost: Cost) {
        let mut account = Some(account);
        while let Some(id) = account {
            let used = self.used.entry(id).or_default();
            used.bytes += cost.bytes;
            used.messages += cost.messages;
            account = self.parents.get(&id).copied();
        }
    }

    fn assert_equal(&self, forest: &Forest, minute: u32) {
        for account in &forest.accounts {
            let used = Cost {
                bytes: account.admitted(BYTES, minute),
                messages: account.admitted(MESSAGES, minute),
            };
            let told = self.used.get(&account.id()).copied().unwrap_or_default();
            assert_eq!(used, told, "{account:?}");
        }
    }
}

/// Says which tree it was.
struct Seed(u64);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "a failing test says how to repeat it")]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("TOLLGATE_CHARGES=1 TOLLGATE_CHARGES_SEED={}", self.0);
        }
    }
}

/// So many slices of every thread on one tree; how many charges were tried, and how many admitted.
fn one_tree(seed: u64, slices: usize) -> (usize, usize) {
    let _said = Seed(seed);
    let mut random = Random(seed.wrapping_mul(2).wrapping_add(1));
    let forest = grow(&mut random);
    let minute = 100;
    for account in &forest.accounts {
        // a tree is asked for nearly twice of what its master may have
        let share = 20_000_000 >> (2 * account.level());
        let caps = rules(share, share / 80, share >> 13);
        forest.tree.set_rules(account.id(), caps).unwrap();
    }
    let devices: Vec<Mutex<Device>> = (0..DEVICES)
        .map(|_| {
            let account = random.pick(&forest.accounts).clone();
            let place = account.acquire(CONNECTIONS, 1).ok();
            Mutex::new(Device { account, place })
        })
        .collect();
    let parents = forest.accounts.iter().filter_map(|account| {
        let above = account.parent()?.id();
        Some((account.id(), above))
    });
    let slow = Mutex::new(Slow {
        parents: parents.collect(),
        used: BTreeMap::new(),
    });
    let met = Barrier::new(THREADS);
    let over = AtomicBool::new(false);
    let admitted = thread::scope(|scope| {
        let (forest, devices, slow, met, over) = (&forest, &devices, &slow, &met, &over);
        let _over = Over(over);
        scope.spawn(|| changing(forest, minute, over));
        scope.spawn(|| looking(forest, minute, over));
        scope.spawn(|| moving(forest, devices, over));
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|thread| {
                scope.spawn(move || {
                    let mut random = Random((seed + 1) << 8 | (thread + 1));
                    let mut count = 0;
                    for _ in 0..slices {
                        let (charges, admitted) = charging(forest, devices, minute, &mut random);
                        count += charges;
                        let mut model = slow.lock().unwrap();
                        for (account, cost) in admitted {
                            model.add(account, cost);
                        }
                        drop(model);
                        if met.wait().is_leader() {
                            slow.lock().unwrap().assert_equal(forest, minute);
                        }
                        met.wait();
                    }
                    count
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it found nothing wrong"))
            .sum()
    });
    drop(devices);
    for account in &forest.accounts {
        assert_eq!(account.admitted(CONNECTIONS, 0), 0, "every place came back");
    }
    (THREADS * slices * SLICE, admitted)
}

#[test]
fn a_million_charges_are_what_the_slow_model_says() {
    let number = |name: &str, default: usize| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let charges = number("TOLLGATE_CHARGES", 1_000_000);
    let mut seed = number("TOLLGATE_CHARGES_SEED", 1) as u64;
    let (mut tried, mut admitted) = (0, 0);
    while tried < charges {
        let (more, of_them) = one_tree(seed, SLICES);
        tried += more;
        admitted += of_them;
        seed += 1;
    }
    assert!(admitted > tried / 10, "{admitted} of {tried} were admitted");
    assert!(admitted < tried, "no limit was met");
}
