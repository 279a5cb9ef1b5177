//! What there was over time: the storage and the items of each account and its branch.
//!
//! These are no sums of what the journal holds, so the fold does not make them: the keeper looks at
//! the tree every [`super::statistics::FLUSH_MS`] and keeps the most that there was in a minute, an
//! hour, a day and a month. A crash loses the last look at most, and no charge hangs on it.
//!
//! A row is written when it says something new: what there was holds until the next row. One is
//! written anyway when the longer period begins (a minute's with each hour, an hour's with each day,
//! a day's with each month), so that no reader looks further back than that.

use super::ledger::{Ledger, LedgerError};
use super::statistics::Period;
use crate::account::{Account, Dimension, Tree};
use crate::ids::AccountId;
use foldhash::HashMap;
use std::collections::BTreeMap;

/// What is kept, by the names of flespi's statistics. The order is stored: append only.
pub const NAMES: [&str; 7] = [
    "channels_storage",
    "devices_storage",
    "channels_count",
    "devices_count",
    "api_tokens",
    "limits_count",
    "subaccounts_count",
];

const DIMENSIONS: [Dimension; NAMES.len()] = [
    Dimension::ChannelStorage,
    Dimension::DeviceStorage,
    Dimension::ChannelsCount,
    Dimension::DevicesCount,
    Dimension::TokensCount,
    Dimension::LimitsCount,
    Dimension::SubaccountsCount,
];

/// The numbers, in the order of [`NAMES`].
pub type Levels = [u64; NAMES.len()];

/// The most there was in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelsRow {
    /// How long a time it covers.
    pub period: Period,
    /// When that began, unix s.
    pub start_s: i64,
    /// Whose.
    pub account: AccountId,
    /// Of the account and its branch.
    pub levels: Levels,
}

/// The more of each.
pub fn most(one: Levels, other: Levels) -> Levels {
    let mut most = one;
    for (to, from) in most.iter_mut().zip(other) {
        *to = (*to).max(from);
    }
    most
}

/// How far a reader looks back from a time for the row that holds there.
pub fn frame_s(period: Period, at_s: i64) -> i64 {
    match period {
        Period::Minute => Period::Hour.start_s(at_s),
        Period::Hour => Period::Day.start_s(at_s),
        Period::Day | Period::Month => Period::Month.start_s(at_s),
    }
}

fn of(account: &Account) -> Levels {
    DIMENSIONS.map(|dimension| account.admitted(dimension, 0))
}

/// The last row of an account.
#[derive(Debug, Clone, Copy)]
struct Last {
    start_s: i64,
    levels: Levels,
    /// Its row may say more than this: it was begun before the start of the program.
    unsure: bool,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    last: HashMap<(Period, AccountId), Last>,
    /// Not in the ledger yet.
    unsaved: BTreeMap<(Period, i64, AccountId), Levels>,
}

impl Seen {
    /// Looks at all accounts.
    pub(super) fn look(&mut self, tree: &Tree, now_s: i64) {
        for account in tree.accounts() {
            self.see(account.id(), of(&account), now_s);
        }
    }

    fn see(&mut self, account: AccountId, levels: Levels, now_s: i64) {
        for period in Period::ALL {
            let start_s = period.start_s(now_s);
            let last = self.last.get_mut(&(period, account));
            let row = match last {
                None if levels == Levels::default() => continue,
                None => {
                    let fresh = Last {
                        start_s,
                        levels,
                        unsure: true,
                    };
                    self.last.insert((period, account), fresh);
                    levels
                }
                Some(last) => {
                    let goes_on = last.start_s == start_s;
                    let row = if goes_on {
                        most(last.levels, levels)
                    } else {
                        levels
                    };
                    let says_nothing_new = row == last.levels
                        && (goes_on
                            || !last.unsure
                                && frame_s(period, start_s) == frame_s(period, last.start_s));
                    let unsure = last.unsure && goes_on;
                    *last = Last {
                        start_s,
                        levels: row,
                        unsure,
                    };
                    if says_nothing_new {
                        continue;
                    }
                    row
                }
            };
            self.unsaved.insert((period, start_s, account), row);
        }
    }

    /// Forgets accounts that are gone, and writes what is new. What cannot be written stays.
    pub(super) fn save(&mut self, tree: &Tree, ledger: &mut dyn Ledger) -> Result<(), LedgerError> {
        self.last.retain(|(_, id), _| tree.account(*id).is_some());
        if self.unsaved.is_empty() {
            return Ok(());
        }
        let rows = self.unsaved.iter();
        let rows: Vec<LevelsRow> = rows
            .map(|(&(period, start_s, account), &levels)| LevelsRow {
                period,
                start_s,
                account,
                levels,
            })
            .collect();
        ledger.store_levels(&rows)?;
        self.unsaved.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryLedger;
    use super::*;

    /// The beginning of a month.
    const T0_S: i64 = 1_793_491_200;

    fn rows(ledger: &mut MemoryLedger, period: Period) -> Vec<(i64, u64)> {
        let rows = ledger.levels(AccountId(7), period, i64::MIN, i64::MAX);
        let rows = rows.expect("in memory").into_iter();
        rows.map(|(start_s, levels)| (start_s - T0_S, levels[1]))
            .collect()
    }

    #[test]
    fn a_row_is_the_most_of_its_time_and_is_written_when_it_says_something_new() {
        assert_eq!(Period::Month.start_s(T0_S), T0_S);
        let tree = Tree::new();
        tree.insert(AccountId(7), AccountId::NONE)
            .expect("a master");
        let mut ledger = MemoryLedger::default();
        let mut seen = Seen::default();
        let at = |seen: &mut Seen, after_s: i64, storage: u64| {
            let mut levels = Levels::default();
            levels[1] = storage;
            seen.see(AccountId(7), levels, T0_S + after_s);
            seen.save(&tree, &mut ledger.clone()).expect("in memory");
        };
        at(&mut seen, 0, 0);
        at(&mut seen, 60, 5);
        at(&mut seen, 70, 9);
        at(&mut seen, 80, 3);
        // the first row of a start may have been begun before: the next one is written in any case
        at(&mut seen, 120, 9);
        at(&mut seen, 180, 9);
        at(&mut seen, 240, 3);
        at(&mut seen, 3600, 3);
        at(&mut seen, 90_000, 3);
        // a new start knows nothing and takes nothing back
        let mut seen = Seen::default();
        at(&mut seen, 90_010, 1);
        at(&mut seen, 90_060, 1);
        let minutes = [
            (60, 9),
            (120, 9),
            (240, 3),
            (3600, 3),
            (90_000, 3),
            (90_060, 1),
        ];
        assert_eq!(rows(&mut ledger, Period::Minute), minutes);
        assert_eq!(
            rows(&mut ledger, Period::Hour),
            [(0, 9), (3600, 3), (90_000, 3)]
        );
        assert_eq!(rows(&mut ledger, Period::Day), [(0, 9), (86_400, 3)]);
        assert_eq!(rows(&mut ledger, Period::Month), [(0, 9)]);
    }
}
