//! The tree's no: what it names, and what of it a child may see.

use super::word::shown_cap;
use super::{Account, Dimension, Kind, Policy};
use crate::ids::{AccountId, US_PER_MINUTE};

/// The tree's no to a charge.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What did not fit.
    pub dimension: Dimension,
    /// The account that refused: the highest of the chain that did.
    pub account: AccountId,
    /// Its level, the master's is 0.
    pub level: u8,
    /// What was asked for.
    pub asked: u64,
    /// What was used there, of the dimension.
    pub used: u64,
    /// The cap there.
    pub cap: i64,
    /// When the window resets, unix us. None if waiting does not help: a level, a disabled account,
    /// a frame that never fits.
    pub resets_at_us: Option<i64>,
    /// It asks for more than the whole cap.
    pub too_large: bool,
    /// The account that refused is disabled.
    pub disabled: bool,
    /// What its limit says should happen to the frame.
    pub policy: Policy,
    /// How long its limit lets the frame be parked, milliseconds.
    pub park_ms_max: u32,
    at: Account,
    /// The window that it was refused in; 0 of a level.
    pub(super) minute: u32,
    blocking_duration_s: u32,
}

impl Refusal {
    #[cold]
    pub(super) fn new(
        at: &Account,
        dimension: Dimension,
        minute: u32,
        asked: u64,
        used: u64,
        cap: u64,
        most: u64,
    ) -> Self {
        let rules = at.rules();
        let disabled = !at.is_enabled();
        let too_large = !disabled && asked > cap.min(most);
        let waits = dimension.kind() == Kind::Rate && !disabled && !too_large;
        Self {
            dimension,
            account: at.id(),
            level: at.level(),
            asked,
            used,
            cap: shown_cap(cap),
            resets_at_us: waits.then(|| (i64::from(minute) + 1) * US_PER_MINUTE),
            too_large,
            disabled,
            policy: rules.policy,
            park_ms_max: rules.park_ms_max,
            at: at.clone(),
            minute,
            blocking_duration_s: rules.blocking_duration_s,
        }
    }

    /// The account that refused.
    pub const fn at(&self) -> &Account {
        &self.at
    }

    /// What was left there.
    pub fn left(&self) -> u64 {
        u64::try_from(self.cap).map_or(0, |cap| cap.saturating_sub(self.used))
    }

    /// Blocks the account that refused, for the dimension: until the window resets, or for its
    /// limit's `blocking_duration`. Gives the end if this call began the block, so that it is
    /// journaled and logged once; None if it is blocked already, if what
    /// was refused would fit by now, or if waiting would not help.
    pub fn block(&self, now_us: i64) -> Option<i64> {
        let until_us = if self.too_large || self.disabled {
            return None;
        } else if self.blocking_duration_s > 0 {
            now_us.saturating_add(i64::from(self.blocking_duration_s) * 1_000_000)
        } else {
            self.resets_at_us?
        };
        self.at
            .block_refused(self, now_us, until_us)
            .then_some(until_us)
    }

    /// What `viewer` may see of it: everything of its own branch; of what is above, which dimension
    /// and when it resets, no id and no number.
    pub fn seen_by(&self, viewer: &Account) -> Seen {
        let shown = self.at.is_or_is_below(viewer.id());
        Seen {
            dimension: self.dimension,
            at: shown.then(|| SeenAt {
                account: self.account,
                level_below: self.level.saturating_sub(viewer.level()),
                asked: self.asked,
                used: self.used,
                left: self.left(),
                cap: self.cap,
            }),
            resets_at_us: self.resets_at_us,
            too_large: self.too_large,
            disabled: self.disabled,
        }
    }
}

/// What an account may see of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What did not fit.
    pub dimension: Dimension,
    /// Where, if that is in the viewer's branch. None: above it.
    pub at: Option<SeenAt>,
    /// When the window resets, unix us.
    pub resets_at_us: Option<i64>,
    /// It asks for more than the whole cap.
    pub too_large: bool,
    /// The account that refused is disabled.
    pub disabled: bool,
}

/// Where in the viewer's branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenAt {
    /// The account that refused.
    pub account: AccountId,
    /// How many levels below the viewer, 0 for itself.
    pub level_below: u8,
    /// What was asked for.
    pub asked: u64,
    /// What was used there.
    pub used: u64,
    /// What was left there.
    pub left: u64,
    /// The cap there.
    pub cap: i64,
}
