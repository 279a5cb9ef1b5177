//! A slow and simple tree: maps of numbers, every rule as one sentence, nothing shared. The real one
//! has to do the same, operation by operation.

use crate::account::{
    Account, Caps, Cost, Dimension, Held, Kind, LEVELS_MAX, Refusal, Rules, Tree, split_bytes,
};
use crate::ids::{AccountId, US_PER_MINUTE};
use proptest::prelude::*;
use std::collections::BTreeMap;

const RATE: Dimension = Dimension::ApiCalls;
const LEVEL: Dimension = Dimension::DevicesCount;
const FRAME: [Dimension; 2] = [Dimension::ChannelTraffic, Dimension::ChannelMessages];
const MODELED: [Dimension; 4] = [FRAME[0], FRAME[1], RATE, LEVEL];

/// What a refusal says: dimension, account, used, cap, reset, never fits, disabled.
type No = (Dimension, usize, u64, i64, Option<i64>, bool, bool);

fn no(refusal: &Refusal) -> No {
    let account = usize::try_from(refusal.account.0).unwrap() - 1;
    assert_eq!(refusal.at().id(), refusal.account);
    assert_eq!(refusal.at().level(), refusal.level);
    (
        refusal.dimension,
        account,
        refusal.used,
        refusal.cap,
        refusal.resets_at_us,
        refusal.too_large,
        refusal.disabled,
    )
}

#[derive(Default)]
struct Slow {
    parents: Vec<Option<usize>>,
    caps: Vec<Caps>,
    disabled: Vec<bool>,
    /// By dimension, account and minute (0 of a level).
    used: BTreeMap<(Dimension, usize, u32), u64>,
    /// Of each account the minute of its usage, and what it was.
    usage: BTreeMap<usize, (u32, Cost)>,
    usage_minute: u32,
    /// The newest minute of the frames and of the rate.
    frames_minute: u32,
    rate_minute: u32,
}

impl Slow {
    /// Master first.
    fn chain(&self, of: usize) -> Vec<usize> {
        let mut chain = vec![of];
        while let Some(parent) = self.parents[chain[0]] {
            chain.insert(0, parent);
        }
        chain
    }

    fn cap(&self, dimension: Dimension, account: usize) -> i64 {
        if self.disabled[account] {
            0
        } else {
            self.caps[account].get(dimension)
        }
    }

    fn used(&self, dimension: Dimension, account: usize, minute: u32) -> u64 {
        self.used
            .get(&(dimension, account, minute))
            .copied()
            .unwrap_or(0)
    }

    fn usage(&self, dimension: Dimension, account: usize, minute: u32) -> u64 {
        match self.usage.get(&account) {
            Some((at, cost)) if *at >= minute && dimension == FRAME[0] => cost.bytes,
            Some((at, cost)) if *at >= minute && dimension == FRAME[1] => cost.messages,
            _ => 0,
        }
    }

    /// Asks one account for several dimensions: the first that never fits, else the first that does
    /// not fit now.
    fn ask(&self, account: usize, minute: u32, wanted: &[(Dimension, u64)]) -> Result<(), No> {
        let mut first = None;
        for (dimension, amount) in wanted {
            let cap = self.cap(*dimension, account);
            let used =
                self.used(*dimension, account, minute) + self.usage(*dimension, account, minute);
            if *amount == 0 || cap < 0 || used + amount <= cap.cast_unsigned() {
                continue;
            }
            let disabled = self.disabled[account];
            let never = !disabled && *amount > cap.cast_unsigned();
            let resets = (dimension.kind() == Kind::Rate && !disabled && !never)
                .then(|| i64::from(minute + 1) * US_PER_MINUTE);
            let no = (*dimension, account, used, cap, resets, never, disabled);
            if never {
                return Err(no);
            }
            first = first.or(Some(no));
        }
        first.map_or(Ok(()), Err)
    }

    /// Asks every account, then adds to every account.
    fn charge(
        &mut self,
        minute: u32,
        wanted: &BTreeMap<usize, Vec<(Dimension, u64)>>,
    ) -> Result<(), No> {
        let mut order: Vec<usize> = wanted.keys().copied().collect();
        order.sort_by_key(|account| (self.chain(*account).len(), *account));
        for (index, account) in order.iter().enumerate() {
            self.ask(*account, minute, &wanted[account])?;
            // the master's window has moved on, whatever the others say
            if index == 0 {
                match wanted[account][0].0.kind() {
                    Kind::Rate if wanted[account][0].0 == RATE => self.rate_minute = minute,
                    Kind::Rate => self.frames_minute = minute,
                    Kind::Level | Kind::Count => {}
                }
            }
        }
        for (account, amounts) in wanted {
            for (dimension, amount) in amounts {
                *self.used.entry((*dimension, *account, minute)).or_default() += amount;
            }
        }
        Ok(())
    }

    fn charge_frame(&mut self, minute: u32, parts: &[(usize, Cost)]) -> Result<(), No> {
        let mut wanted: BTreeMap<usize, Vec<(Dimension, u64)>> = BTreeMap::new();
        for (leaf, cost) in parts {
            for account in self.chain(*leaf) {
                let amounts = wanted
                    .entry(account)
                    .or_insert_with(|| vec![(FRAME[0], 0), (FRAME[1], 0)]);
                amounts[0].1 += cost.bytes;
                amounts[1].1 += cost.messages;
            }
        }
        let minute = minute.max(self.frames_minute);
        self.charge(minute, &wanted)
    }

    fn charge_one(
        &mut self,
        of: usize,
        dimension: Dimension,
        minute: u32,
        amount: u64,
    ) -> Result<(), No> {
        let wanted = self
            .chain(of)
            .into_iter()
            .map(|account| (account, vec![(dimension, amount)]))
            .collect();
        self.charge(minute, &wanted)
    }

    fn add_usage(&mut self, of: usize, minute: u32, cost: Cost) {
        let minute = minute.max(self.usage_minute);
        self.usage_minute = minute;
        for account in self.chain(of) {
            let (at, usage) = self.usage.entry(account).or_default();
            if *at < minute {
                (*at, *usage) = (minute, Cost::default());
            }
            usage.bytes += cost.bytes;
            usage.messages += cost.messages;
        }
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Charge {
        of: usize,
        ago: u32,
        cost: Cost,
    },
    Union {
        ago: u32,
        bytes: u64,
        parts: Vec<(usize, u64)>,
    },
    Usage {
        of: usize,
        ago: u32,
        cost: Cost,
    },
    Rate {
        of: usize,
        ago: u32,
        amount: u64,
    },
    Acquire {
        of: usize,
        amount: u64,
    },
    GiveBack {
        which: usize,
    },
    Cap {
        of: usize,
        dimension: usize,
        cap: i64,
    },
    Enable {
        of: usize,
        enabled: bool,
    },
    Later {
        by: u32,
    },
}

fn operations() -> impl Strategy<Value = Operation> {
    let of = 0..ACCOUNTS;
    let cost = (0..40_u64, 0..6_u64).prop_map(|(bytes, messages)| Cost { bytes, messages });
    prop_oneof![
        8 => (of.clone(), 0..2_u32, cost.clone())
            .prop_map(|(of, ago, cost)| Operation::Charge { of, ago, cost }),
        4 => (0..2_u32, 0..60_u64, prop::collection::vec((of.clone(), 0..4_u64), 1..5))
            .prop_map(|(ago, bytes, parts)| Operation::Union { ago, bytes, parts }),
        2 => (of.clone(), 0..2_u32, cost).prop_map(|(of, ago, cost)| Operation::Usage { of, ago, cost }),
        2 => (of.clone(), 0..2_u32, 0..5_u64)
            .prop_map(|(of, ago, amount)| Operation::Rate { of, ago, amount }),
        4 => (of.clone(), 0..4_u64).prop_map(|(of, amount)| Operation::Acquire { of, amount }),
        3 => any::<usize>().prop_map(|which| Operation::GiveBack { which }),
        4 => (of.clone(), 0..MODELED.len(), -20..120_i64)
            .prop_map(|(of, dimension, cap)| Operation::Cap { of, dimension, cap }),
        1 => (of, any::<bool>()).prop_map(|(of, enabled)| Operation::Enable { of, enabled }),
        1 => (0..2_u32).prop_map(|by| Operation::Later { by }),
    ]
}

const ACCOUNTS: usize = 12;

/// A tree in which each account is below one before it, within the depth.
fn grow(picks: &[usize]) -> (Tree, Vec<Account>, Slow) {
    let tree = Tree::new();
    let mut slow = Slow::default();
    let mut accounts: Vec<Account> = Vec::new();
    for (index, pick) in picks.iter().enumerate() {
        let parent = (index > 0).then(|| {
            let pick = pick % index;
            if slow.chain(pick).len() < LEVELS_MAX {
                pick
            } else {
                0
            }
        });
        slow.parents.push(parent);
        slow.caps.push(Caps::NONE);
        slow.disabled.push(false);
        let above = parent.map_or(AccountId::NONE, |parent| accounts[parent].id());
        accounts.push(tree.insert(AccountId(index as u64 + 1), above).unwrap());
    }
    (tree, accounts, slow)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_does_what_the_slow_model_does(
        picks in prop::collection::vec(any::<usize>(), ACCOUNTS),
        operations in prop::collection::vec(operations(), 1..80),
    ) {
        let (tree, accounts, mut slow) = grow(&picks);
        let mut held: Vec<(Held, usize, u64)> = Vec::new();
        let mut now = 10_u32;
        for operation in operations {
            let (real, expected) = match operation.clone() {
                Operation::Charge { of, ago, cost } => (
                    accounts[of].charge(now - ago, cost).map(drop),
                    slow.charge_frame(now - ago, &[(of, cost)]),
                ),
                Operation::Union { ago, bytes, parts } => {
                    let shares = split_bytes(bytes, parts.len());
                    let costs: Vec<(usize, Cost)> = parts
                        .iter()
                        .zip(shares)
                        .map(|((of, messages), bytes)| (*of, Cost { bytes, messages: *messages }))
                        .collect();
                    let parts: Vec<(Account, u64)> = parts
                        .iter()
                        .map(|(of, messages)| (accounts[*of].clone(), *messages))
                        .collect();
                    (
                        tree.charge_union(now - ago, bytes, &parts).map(drop),
                        slow.charge_frame(now - ago, &costs),
                    )
                }
                Operation::Usage { of, ago, cost } => {
                    accounts[of].charge_unchecked(now - ago, cost);
                    slow.add_usage(of, now - ago, cost);
                    (Ok(()), Ok(()))
                }
                Operation::Rate { of, ago, amount } => {
                    let minute = (now - ago).max(slow.rate_minute);
                    (
                        accounts[of].charge_rate(RATE, now - ago, amount),
                        slow.charge_one(of, RATE, minute, amount),
                    )
                }
                Operation::Acquire { of, amount } => (
                    accounts[of]
                        .acquire(LEVEL, amount)
                        .map(|guard| held.push((guard, of, amount))),
                    slow.charge_one(of, LEVEL, 0, amount),
                ),
                Operation::GiveBack { which } => {
                    if !held.is_empty() {
                        let (guard, of, amount) = held.swap_remove(which % held.len());
                        for account in slow.chain(of) {
                            *slow.used.entry((LEVEL, account, 0)).or_default() -= amount;
                        }
                        if which % 2 == 0 {
                            drop(guard);
                        } else {
                            guard.keep();
                            accounts[of].release(LEVEL, amount);
                        }
                    }
                    (Ok(()), Ok(()))
                }
                Operation::Cap { of, dimension, cap } => {
                    slow.caps[of].set(MODELED[dimension], cap);
                    let rules = Rules { caps: slow.caps[of], ..Rules::default() };
                    prop_assert_eq!(tree.set_rules(accounts[of].id(), rules), Ok(Vec::new()));
                    (Ok(()), Ok(()))
                }
                Operation::Enable { of, enabled } => {
                    slow.disabled[of] = !enabled;
                    prop_assert_eq!(tree.set_enabled(accounts[of].id(), enabled), Ok(Vec::new()));
                    (Ok(()), Ok(()))
                }
                Operation::Later { by } => {
                    now += by;
                    (Ok(()), Ok(()))
                }
            };
            prop_assert_eq!(real.map_err(|refusal| no(&refusal)), expected, "{:?}", operation);
            for (index, account) in accounts.iter().enumerate() {
                for dimension in MODELED {
                    let minute = match dimension {
                        LEVEL => 0,
                        RATE => slow.rate_minute,
                        _ => slow.frames_minute,
                    };
                    let reading = account.reading(dimension, minute);
                    prop_assert_eq!(reading.used, slow.used(dimension, index, minute));
                    prop_assert_eq!(reading.cap, slow.cap(dimension, index));
                    prop_assert_eq!(reading.usage, slow.usage(dimension, index, minute));
                }
                let enabled = slow.chain(index).iter().all(|account| !slow.disabled[*account]);
                prop_assert_eq!(account.enabled_chain(), enabled);
            }
        }
    }
}
