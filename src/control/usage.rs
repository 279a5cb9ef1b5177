//! What API calls used, on its way into the journal: added up per account and minute, written at
//! most a second later. A crash loses that second of it at most; nothing is acked against it.

use super::Control;
use crate::account::{Dimension, Refusal, Totals};
use crate::events::{Code, Origin};
use crate::ids::{AccountId, minute_of};
use crate::journal::{Batch, Note};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Use is written this long after the first of it at the latest, in us.
pub const USAGE_EVERY_US: i64 = 1_000_000;
/// So many accounts' use is added up at most before it is written. While the journal takes nothing,
/// the minutes of an account become one row, so that there are never more rows than this and one
/// for each account.
const USAGE_ROWS_MAX: usize = 4096;

/// The time of the last of it, and how much.
type Rows = BTreeMap<(u32, AccountId), (i64, Totals)>;

#[derive(Debug, Default)]
struct Pending {
    since_us: i64,
    rows: Rows,
}

impl Pending {
    /// Takes back what the journal did not take: the next flush is due in [`USAGE_EVERY_US`].
    fn put_back(&mut self, rows: Rows, now_us: i64) {
        for (key, row) in rows {
            self.add(key, row);
        }
        if self.rows.len() > USAGE_ROWS_MAX {
            self.forget_minutes();
        }
        self.since_us = now_us;
    }

    /// One row for each account, in its last minute: no charge is lost, only when it was.
    fn forget_minutes(&mut self) {
        let mut last_minutes: BTreeMap<AccountId, u32> = BTreeMap::new();
        for (minute, account) in self.rows.keys() {
            last_minutes.insert(*account, *minute);
        }
        for ((_, account), row) in std::mem::take(&mut self.rows) {
            let minute = last_minutes.get(&account).copied().unwrap_or_default();
            self.add((minute, account), row);
        }
    }

    fn add(&mut self, key: (u32, AccountId), (at_us, totals): (i64, Totals)) {
        let row = self.rows.entry(key).or_default();
        row.0 = row.0.max(at_us);
        row.1 += totals;
    }
}

/// What is not in the journal yet.
#[derive(Debug, Default)]
pub(super) struct Usage(Mutex<Pending>);

impl Usage {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Calls and bytes of the API that an account's chain was charged for. Says whether it is time
    /// for [`Control::flush_usage`].
    pub fn used_api(&self, account: AccountId, calls: u64, bytes: u64) -> bool {
        self.used(account, |totals| {
            totals.api_calls += calls;
            totals.api_traffic += bytes;
        })
    }

    /// A rate of the API said no to a call of an account. Says the same.
    pub fn count_refused_api(&self, account: AccountId, dimension: Dimension) -> bool {
        self.used(account, |totals| *totals += Totals::refusal(dimension))
    }

    fn used(&self, account: AccountId, add: impl FnOnce(&mut Totals)) -> bool {
        let now_us = self.clock.now_us();
        let mut pending = self.usage.pending();
        if pending.rows.is_empty() {
            pending.since_us = now_us;
        }
        let key = (minute_of(now_us), account);
        let (at_us, totals) = pending.rows.entry(key).or_default();
        *at_us = now_us;
        add(totals);
        pending.rows.len() >= USAGE_ROWS_MAX || now_us - pending.since_us >= USAGE_EVERY_US
    }

    /// Appends what was used to the journal. Blocks while the journal's queue is full; what it
    /// does not take within its wait stays and comes with the next flush.
    pub fn flush_usage(&self) {
        let rows = std::mem::take(&mut self.usage.pending().rows);
        let mut batch = Batch::new();
        for ((_, account), (at_us, deltas)) in &rows {
            let note = Note::Usage {
                at_us: *at_us,
                account: *account,
                deltas,
            };
            note.write(&mut batch);
        }
        if batch.is_empty() {
            return;
        }
        if let Some(permit) = self.permit(batch.len()) {
            self.journal.append(permit, &mut batch);
        } else {
            tracing::warn!(
                rows = rows.len(),
                "the journal did not take the API's use: it stays"
            );
            let now_us = self.clock.now_us();
            self.usage.pending().put_back(rows, now_us);
        }
    }

    /// A rate of the API was refused: blocks the account that refused, journals and logs it, if
    /// this refusal is the first.
    pub fn refused_api(&self, refusal: &Refusal) {
        let now_us = self.clock.now_us();
        let Some(until_us) = refusal.block(now_us) else {
            return;
        };
        let note = Note::Blocked {
            at_us: now_us,
            account: refusal.account,
            dimension: refusal.dimension.number(),
            until_us,
        };
        // not waited for: calls are refused on threads that many share
        let mut batch = Batch::new();
        note.write(&mut batch);
        let permit = self.journal.try_permit(batch.len());
        if permit
            .map(|permit| self.journal.append(permit, &mut batch))
            .is_none()
        {
            tracing::warn!(account = %refusal.account, "the journal did not take a block");
        }
        let data = super::effects::fields([
            ("blocked", refusal.dimension.blocked_code().into()),
            ("dimension", refusal.dimension.name().into()),
            ("until", until_us.div_euclid(1_000_000).into()),
        ]);
        let origin = Origin::customer(refusal.account);
        self.events
            .log_now(Code::Blocked, origin, refusal.account, data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(calls: u64) -> Totals {
        Totals {
            api_calls: calls,
            ..Totals::default()
        }
    }

    #[test]
    fn what_the_journal_does_not_take_stays_to_the_last_call_and_within_its_bound() {
        let accounts = 3;
        let mut pending = Pending::default();
        let minutes = u32::try_from(USAGE_ROWS_MAX).expect("a small bound");
        for minute in 0..minutes {
            let mut rows = Rows::new();
            for account in 1..=accounts {
                let at_us = i64::from(minute) * 60_000_000;
                rows.insert((minute, AccountId(account)), (at_us, calls(2)));
            }
            pending.put_back(rows, 7);
            assert!(pending.rows.len() <= USAGE_ROWS_MAX);
        }
        for account in 1..=accounts {
            let of_account = pending.rows.iter().filter(|((_, of), _)| of.0 == account);
            let sum: u64 = of_account.map(|(_, (_, totals))| totals.api_calls).sum();
            assert_eq!(sum, u64::from(minutes) * 2);
        }
        let newest = pending.rows.last_key_value().expect("rows");
        assert_eq!(newest.0.0, minutes - 1);
        assert_eq!(newest.1.0, i64::from(minutes - 1) * 60_000_000);
        assert_eq!(pending.since_us, 7);
    }
}
