//! What API calls used, on its way into the journal: added up per account and minute, written at
//! most a second later. A crash loses that second of it at most; nothing is acked against it.

use super::Control;
use crate::account::{Refusal, Totals};
use crate::events::{Code, Origin};
use crate::ids::{AccountId, minute_of};
use crate::journal::{Batch, Note};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Use is written this long after the first of it at the latest, in us.
pub const USAGE_EVERY_US: i64 = 1_000_000;
/// So many accounts' use is added up at most before it is written.
const USAGE_ROWS_MAX: usize = 4096;

/// The time of the last of it, and how much.
type Rows = BTreeMap<(u32, AccountId), (i64, Totals)>;

#[derive(Debug, Default)]
struct Pending {
    since_us: i64,
    rows: Rows,
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
        let now_us = self.clock.now_us();
        let mut pending = self.usage.pending();
        if pending.rows.is_empty() {
            pending.since_us = now_us;
        }
        let key = (minute_of(now_us), account);
        let (at_us, totals) = pending.rows.entry(key).or_default();
        *at_us = now_us;
        totals.api_calls += calls;
        totals.api_traffic += bytes;
        pending.rows.len() >= USAGE_ROWS_MAX || now_us - pending.since_us >= USAGE_EVERY_US
    }

    /// Appends what was used to the journal. Blocks while the journal's queue is full.
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
        let Some(permit) = self.permit(batch.len()) else {
            tracing::warn!(rows = rows.len(), "the journal did not take the API's use");
            return;
        };
        self.journal.append(permit, &mut batch);
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
