//! Totals of accounts by minute, hour, day and month, for statistics and statements.
//!
//! The writer adds by minute only; the coarser rows are made when the rows go to the ledger, in the
//! transaction that moves their watermark. So a row is exact at every crash point. They go less
//! often than the counters ([`FLUSH_MS`]), because there are many more of them.

use super::ledger::LedgerError;
use crate::account::Totals;
use crate::ids::AccountId;
use foldhash::HashMap;
use std::collections::BTreeMap;

/// How often rows go to the ledger.
pub const FLUSH_MS: u64 = 10_000;

/// How often rows that are too old are forgotten.
pub const FORGET_MS: u64 = 3_600_000;

const S_PER_MINUTE: i64 = 60;
const S_PER_HOUR: i64 = 3600;
const S_PER_DAY: i64 = 86_400;

/// The length of a row's time, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    /// A minute; kept 2 days.
    Minute,
    /// An hour; kept 62 days.
    Hour,
    /// A day; kept 2 years.
    Day,
    /// A calendar month; kept for ever.
    Month,
}

impl Period {
    /// All of them, the shortest first.
    pub const ALL: [Self; 4] = [Self::Minute, Self::Hour, Self::Day, Self::Month];

    /// Its stored number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Minute => 1,
            Self::Hour => 2,
            Self::Day => 3,
            Self::Month => 4,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// How long its rows are kept, seconds; `None`: for ever.
    pub const fn kept_s(self) -> Option<i64> {
        match self {
            Self::Minute => Some(2 * S_PER_DAY),
            Self::Hour => Some(62 * S_PER_DAY),
            Self::Day => Some(731 * S_PER_DAY),
            Self::Month => None,
        }
    }

    /// When the row began that `at_s` (unix s) belongs to.
    pub fn start_s(self, at_s: i64) -> i64 {
        let floor = |length: i64| at_s.div_euclid(length).saturating_mul(length);
        match self {
            Self::Minute => floor(S_PER_MINUTE),
            Self::Hour => floor(S_PER_HOUR),
            Self::Day => floor(S_PER_DAY),
            Self::Month => {
                let day = floor(S_PER_DAY);
                jiff::Timestamp::from_second(day).map_or(day, |at| {
                    let of_month = i64::from(at.to_zoned(jiff::tz::TimeZone::UTC).day());
                    day - (of_month - 1) * S_PER_DAY
                })
            }
        }
    }
}

/// A row, or what is to be added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// How long a time it covers.
    pub period: Period,
    /// When that began, unix s.
    pub start_s: i64,
    /// Whose.
    pub account: AccountId,
    /// Numbers of the account and its branch.
    pub totals: Totals,
}

/// What was folded and is not in the ledger yet, by minute.
#[derive(Debug, Default)]
pub(super) struct Unsaved(HashMap<(u32, AccountId), Totals>);

impl Unsaved {
    pub(super) fn add(&mut self, minute: u32, account: AccountId, totals: Totals) {
        *self.0.entry((minute, account)).or_default() += totals;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self) -> Self {
        Self(std::mem::take(&mut self.0))
    }

    /// Puts back what could not be saved.
    pub(super) fn put_back(&mut self, other: Self) {
        let all: Vec<_> = other.0.into_iter().collect();
        for ((minute, account), totals) in all {
            self.add(minute, account, totals);
        }
    }

    /// Of each account, all its minutes together.
    pub(super) fn sums(&self) -> BTreeMap<AccountId, Totals> {
        let mut sums: BTreeMap<AccountId, Totals> = BTreeMap::new();
        self.0
            .iter()
            .for_each(|((_, account), totals)| *sums.entry(*account).or_default() += *totals);
        sums
    }

    /// As rows of every period, in order.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows: BTreeMap<(Period, i64, AccountId), Totals> = BTreeMap::new();
        let mut minutes: Vec<_> = self.0.iter().collect();
        minutes.sort_unstable_by_key(|(key, _)| **key);
        for ((minute, account), totals) in minutes {
            let at_s = i64::from(*minute) * S_PER_MINUTE;
            for period in Period::ALL {
                *rows
                    .entry((period, period.start_s(at_s), *account))
                    .or_default() += *totals;
            }
        }
        rows.into_iter()
            .map(|((period, start_s, account), totals)| Row {
                period,
                start_s,
                account,
                totals,
            })
            .collect()
    }

    /// Adds what is here to rows that came from the ledger.
    pub(super) fn add_to(
        &self,
        account: AccountId,
        period: Period,
        from_s: i64,
        to_s: i64,
        rows: Vec<(i64, Totals)>,
    ) -> Vec<(i64, Totals)> {
        let mut all: BTreeMap<i64, Totals> = rows.into_iter().collect();
        self.0
            .iter()
            .filter(|((_, of), _)| *of == account)
            .map(|((minute, _), totals)| {
                (period.start_s(i64::from(*minute) * S_PER_MINUTE), totals)
            })
            .filter(|(start_s, _)| (from_s..to_s).contains(start_s))
            .for_each(|(start_s, totals)| *all.entry(start_s).or_default() += *totals);
        all.into_iter().collect()
    }
}

/// Why statistics cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("reading statistics: {0}")]
pub struct StatisticsError(#[source] pub LedgerError);
