//! Where the fold rests: checkpoints of counters and statistics, so that a start reads little.
//!
//! The journal is the truth; a checkpoint is only a shorter way to it. So it holds the watermark
//! up to which it was folded, stored in the same transaction, and it is always behind the journal.

use super::levels::{self, Levels, LevelsRow};
use super::statistics::{Period, Row};
use crate::account::Totals;
use crate::ids::{AccountId, Position};
use std::collections::BTreeMap;

/// Whatever the store has to say when it cannot.
pub type LedgerError = Box<dyn std::error::Error + Send + Sync>;

/// A block of an account that was in force at a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockedUntil {
    /// Which account.
    pub account: AccountId,
    /// The dimension's number.
    pub dimension: u8,
    /// Until when, unix us.
    pub until_us: i64,
}

/// The fold of the journal up to a position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last entry in the counters.
    pub watermark: Position,
    /// The time of the newest entry, unix us.
    pub at_us: i64,
    /// Counters as they are then: when storing those that changed, when loading all.
    pub accounts: Vec<(AccountId, Totals)>,
    /// The blocks in force; always all of them.
    pub blocked: Vec<BlockedUntil>,
    /// The last entry in the statistics; at most `watermark`.
    pub statistics_watermark: Position,
    /// When storing: what is to be *added* to the rows of statistics. When loading: empty.
    pub statistics: Vec<Row>,
}

/// Keeps checkpoints. A store is one transaction, durable when it returns.
pub trait Ledger: Send {
    /// The checkpoint stored last, all accounts in it; `None` if there never was one.
    fn load(&mut self) -> Result<Option<Checkpoint>, LedgerError>;

    /// Replaces the counters of the accounts in it, the blocks and the watermarks, and adds its
    /// rows to the statistics: all of it or nothing.
    fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), LedgerError>;

    /// The rows of an account whose time is in `from_s..to_s`, oldest first.
    fn statistics(
        &mut self,
        account: AccountId,
        period: Period,
        from_s: i64,
        to_s: i64,
    ) -> Result<Vec<(i64, Totals)>, LedgerError>;

    /// Forgets the rows of a period that began before `before_s`; of levels those that no row from
    /// then on hangs on.
    fn forget_statistics(&mut self, period: Period, before_s: i64) -> Result<(), LedgerError>;

    /// Makes rows of levels at least these, in one transaction that is durable when it returns. A
    /// ledger that keeps none knows none.
    fn store_levels(&mut self, _: &[LevelsRow]) -> Result<(), LedgerError> {
        Ok(())
    }

    /// The rows of levels of an account whose time is in `from_s..to_s`, oldest first.
    fn levels(
        &mut self,
        _: AccountId,
        _: Period,
        _from_s: i64,
        _to_s: i64,
    ) -> Result<Vec<(i64, Levels)>, LedgerError> {
        Ok(Vec::new())
    }
}

/// A ledger in memory: for tests, and for reading a journal that nobody serves.
#[derive(Debug, Clone, Default)]
pub struct MemoryLedger {
    state: std::sync::Arc<std::sync::Mutex<MemoryState>>,
}

#[derive(Debug, Default)]
struct MemoryState {
    checkpoint: Option<Checkpoint>,
    accounts: BTreeMap<AccountId, Totals>,
    rows: BTreeMap<(Period, AccountId, i64), Totals>,
    levels: BTreeMap<(Period, AccountId, i64), Levels>,
}

impl MemoryLedger {
    fn state(&self) -> std::sync::MutexGuard<'_, MemoryState> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Ledger for MemoryLedger {
    fn load(&mut self) -> Result<Option<Checkpoint>, LedgerError> {
        let state = self.state();
        Ok(state.checkpoint.clone().map(|checkpoint| Checkpoint {
            accounts: state
                .accounts
                .iter()
                .map(|(id, totals)| (*id, *totals))
                .collect(),
            ..checkpoint
        }))
    }

    fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
        let mut state = self.state();
        state.accounts.extend(checkpoint.accounts.iter().copied());
        for row in &checkpoint.statistics {
            *state
                .rows
                .entry((row.period, row.account, row.start_s))
                .or_default() += row.totals;
        }
        state.checkpoint = Some(Checkpoint {
            accounts: Vec::new(),
            statistics: Vec::new(),
            ..checkpoint.clone()
        });
        Ok(())
    }

    fn statistics(
        &mut self,
        account: AccountId,
        period: Period,
        from_s: i64,
        to_s: i64,
    ) -> Result<Vec<(i64, Totals)>, LedgerError> {
        if from_s >= to_s {
            return Ok(Vec::new());
        }
        let range = (period, account, from_s)..(period, account, to_s);
        let state = self.state();
        Ok(state
            .rows
            .range(range)
            .map(|((_, _, start), totals)| (*start, *totals))
            .collect())
    }

    fn forget_statistics(&mut self, period: Period, before_s: i64) -> Result<(), LedgerError> {
        let mut state = self.state();
        state
            .rows
            .retain(|(of, _, start), _| *of != period || *start >= before_s);
        let before_s = levels::frame_s(period, before_s);
        state
            .levels
            .retain(|(of, _, start), _| *of != period || *start >= before_s);
        Ok(())
    }

    fn store_levels(&mut self, rows: &[LevelsRow]) -> Result<(), LedgerError> {
        let mut state = self.state();
        for row in rows {
            let key = (row.period, row.account, row.start_s);
            let known = state.levels.entry(key).or_default();
            *known = levels::most(*known, row.levels);
        }
        Ok(())
    }

    fn levels(
        &mut self,
        account: AccountId,
        period: Period,
        from_s: i64,
        to_s: i64,
    ) -> Result<Vec<(i64, Levels)>, LedgerError> {
        if from_s >= to_s {
            return Ok(Vec::new());
        }
        let range = (period, account, from_s)..(period, account, to_s);
        let state = self.state();
        let rows = state.levels.range(range);
        Ok(rows
            .map(|((_, _, start), levels)| (*start, *levels))
            .collect())
    }
}
