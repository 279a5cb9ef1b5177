//! Usage statements: what an account and its branch used, one for each day, chained by hash.
//!
//! A statement holds the hash of the one before it, so that a byte that changes anywhere shows in
//! every hash behind it: who keeps one hash can hold us to all that was said before. It is made of
//! nothing but the account's own rows, so it says nothing of what is beside or above the account.
//!
//! # The hash
//!
//! BLAKE3, over, in this order and little endian:
//!
//! | bytes | what |
//! |---|---|
//! | 32 | the hash before |
//! | 8 | the account |
//! | 8 | the beginning of the day, unix s |
//! | 1 | how many numbers follow: those of [`Totals::to_array`] without the zeros at the end |
//! | 8 each | the numbers |
//!
//! Before the first day of a year stands the hash of `tollgate statements`, the account and the
//! beginning of the year (8 bytes each): rows are kept for two years, so a chain is one year long
//! and can always be made again from its rows. A day is closed [`CLOSED_AFTER_S`] behind its end;
//! until then it has no statement. `deploy/statement.py` is the same in another language.

use super::Journal;
use super::ledger::LedgerError;
use super::statistics::Period;
use crate::account::Totals;
use crate::ids::AccountId;
use std::collections::BTreeMap;

/// What is charged in a day is durable so long behind its end.
pub const CLOSED_AFTER_S: i64 = 300;

const S_PER_DAY: i64 = 86_400;
const DOMAIN: &[u8] = b"tollgate statements";

/// What an account and its branch used in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Whose.
    pub account: AccountId,
    /// When the day began (UTC), unix s.
    pub day_s: i64,
    /// What was used.
    pub totals: Totals,
    /// The hash of the day before.
    pub previous: blake3::Hash,
    /// The hash of this one.
    pub hash: blake3::Hash,
}

/// Why there are no statements.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Rows of the year's first days are forgotten.
    #[error("statements are kept for this year and the last: ask for days from {0} on")]
    TooOld(String),
    /// The rows cannot be read.
    #[error("reading the ledger: {0}")]
    Ledger(#[source] LedgerError),
}

/// When the year of a day began, and when the next one does.
fn year_of(day_s: i64) -> (i64, i64) {
    jiff::Timestamp::from_second(day_s).map_or((day_s, day_s + S_PER_DAY), |at| {
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        let begin = day_s - (i64::from(date.day_of_year()) - 1) * S_PER_DAY;
        (begin, begin + i64::from(date.days_in_year()) * S_PER_DAY)
    })
}

/// The hash before the first day of a year.
fn beginning(account: AccountId, year_s: i64) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN);
    hasher.update(&account.0.to_le_bytes());
    hasher.update(&year_s.to_le_bytes());
    hasher.finalize()
}

fn hash(previous: &blake3::Hash, account: AccountId, day_s: i64, totals: &Totals) -> blake3::Hash {
    let numbers = totals.to_array();
    let last = numbers.iter().rposition(|number| *number != 0);
    let count = last.map_or(0, |last| last + 1);
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous.as_bytes());
    hasher.update(&account.0.to_le_bytes());
    hasher.update(&day_s.to_le_bytes());
    hasher.update(&[u8::try_from(count).unwrap_or(u8::MAX)]);
    for number in numbers.iter().take(count) {
        hasher.update(&number.to_le_bytes());
    }
    hasher.finalize()
}

/// The statements of the days `from_s..to_s`, all of one year, whose rows are `days`.
fn chain(
    account: AccountId,
    days: &BTreeMap<i64, Totals>,
    from_s: i64,
    to_s: i64,
) -> Vec<Statement> {
    let (year_s, _) = year_of(from_s);
    let mut previous = beginning(account, year_s);
    let mut statements = Vec::new();
    let mut day_s = year_s;
    while day_s < to_s {
        let totals = days.get(&day_s).copied().unwrap_or_default();
        let hash = hash(&previous, account, day_s, &totals);
        if day_s >= from_s {
            statements.push(Statement {
                account,
                day_s,
                totals,
                previous,
                hash,
            });
        }
        previous = hash;
        day_s += S_PER_DAY;
    }
    statements
}

impl Journal {
    /// The statements of the closed days that begin in `from_s..to_s`, oldest first; days without
    /// use have one too.
    pub fn usage_statements(
        &self,
        account: AccountId,
        from_s: i64,
        to_s: i64,
    ) -> Result<Vec<Statement>, StatementError> {
        let now_s = self.inner.shared.clock.now_us().div_euclid(1_000_000);
        let closed_s = Period::Day.start_s(now_s.saturating_sub(CLOSED_AFTER_S));
        let kept_s = Period::Day.kept_s().unwrap_or(i64::MAX);
        let oldest_s = Period::Day.start_s(now_s.saturating_sub(kept_s));
        let to_s = to_s.min(closed_s);
        let mut statements = Vec::new();
        let mut from_s = Period::Day.start_s(from_s);
        while from_s < to_s {
            let (year_s, next_s) = year_of(from_s);
            if year_s < oldest_s {
                let first = jiff::Timestamp::from_second(year_of(oldest_s).1);
                let first = first.map_or(String::new(), |at| at.strftime("%Y-%m-%d").to_string());
                return Err(StatementError::TooOld(first));
            }
            let end_s = next_s.min(to_s);
            let days = self
                .statistics(account, Period::Day, year_s, end_s)
                .map_err(|error| StatementError::Ledger(error.0))?
                .into_iter()
                .collect();
            statements.extend(chain(account, &days, from_s, end_s));
            from_s = next_s;
        }
        Ok(statements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_S: i64 = 1_767_225_600; // 2026-01-01
    const ACCOUNT: AccountId = AccountId(7);

    fn days() -> BTreeMap<i64, Totals> {
        let used = |bytes_in, messages| Totals {
            bytes_in,
            messages,
            ..Totals::default()
        };
        [(0, used(100, 2)), (1, used(3, 1)), (4, used(9, 9))]
            .into_iter()
            .map(|(day, totals)| (YEAR_S + day * S_PER_DAY, totals))
            .collect()
    }

    #[test]
    fn a_number_that_changes_shows_in_every_hash_from_its_day_on() {
        let to_s = YEAR_S + 6 * S_PER_DAY;
        let was = chain(ACCOUNT, &days(), YEAR_S, to_s);
        assert_eq!(was.len(), 6);
        assert!(was.windows(2).all(|pair| pair[0].hash == pair[1].previous));
        assert_eq!(was[2].totals, Totals::default(), "a day without use");
        for day in 0..6 {
            for number in 0..Totals::LEN {
                let mut days = days();
                let totals = days.entry(YEAR_S + day * S_PER_DAY).or_default();
                let mut numbers = totals.to_array();
                numbers[number] += 1;
                *totals = Totals::from_array(numbers);
                let is = chain(ACCOUNT, &days, YEAR_S, to_s);
                for (at, (was, is)) in (0..).zip(was.iter().zip(&is)) {
                    assert_eq!(was.hash == is.hash, at < day, "day {at}");
                }
            }
        }
        let other = chain(AccountId(8), &days(), YEAR_S, to_s);
        assert!(was.iter().zip(&other).all(|(a, b)| a.hash != b.hash));
    }

    #[test]
    fn a_part_of_a_chain_is_what_the_whole_has_there_and_a_year_begins_anew() {
        let whole = chain(ACCOUNT, &days(), YEAR_S, YEAR_S + 6 * S_PER_DAY);
        let part = chain(
            ACCOUNT,
            &days(),
            YEAR_S + 2 * S_PER_DAY,
            YEAR_S + 4 * S_PER_DAY,
        );
        assert_eq!(part, whole[2..4]);
        assert_eq!(whole[0].previous, beginning(ACCOUNT, YEAR_S));
        assert_eq!(
            year_of(YEAR_S + 364 * S_PER_DAY),
            (YEAR_S, YEAR_S + 365 * S_PER_DAY)
        );
        let leap_s = YEAR_S + (365 + 365) * S_PER_DAY;
        assert_eq!(year_of(leap_s + 365 * S_PER_DAY).0, leap_s, "2028");
    }
}
