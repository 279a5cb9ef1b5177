//! Small facts about items that are no part of them: how far a channel's buffer was cleared, when
//! a token was used last. They change without a revision and without an event.

use super::{Control, WriteError};
use crate::ids::{ChannelId, TokenId};
use crate::store::{Commit, Kind, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Uses of tokens are written this often at most, in us: after a crash a token has been used so
/// much longer ago at the most.
pub const ACCESSED_EVERY_US: i64 = 60_000_000;

/// A fact of each channel or token that has one.
#[derive(Debug, Default)]
struct Facts {
    purged_us: BTreeMap<ChannelId, i64>,
    /// When it was used last, and what of that is on disk.
    accessed_us: BTreeMap<TokenId, (i64, i64)>,
}

/// The facts in memory.
#[derive(Debug, Default)]
pub(super) struct Marks(Mutex<Facts>);

impl Marks {
    pub(super) fn load(store: &Store) -> Result<Self, StoreError> {
        let mut facts = Facts::default();
        for row in store.all::<i64>(Kind::Purged) {
            let (id, at_us) = row?;
            facts.purged_us.insert(ChannelId(id), at_us);
        }
        for row in store.all::<i64>(Kind::Accessed) {
            let (id, at_us) = row?;
            facts.accessed_us.insert(TokenId(id), (at_us, at_us));
        }
        Ok(Self(Mutex::new(facts)))
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Up to and with which server time (us) a channel's buffer was cleared; 0: never.
    pub fn purged_us(&self, channel: ChannelId) -> i64 {
        let facts = self.marks.facts();
        facts.purged_us.get(&channel).copied().unwrap_or(0)
    }

    /// Clears a channel's buffer up to and with a server time; it is durable when this returns.
    /// What the devices own stays theirs.
    pub fn purge_channel(&self, channel: ChannelId, up_to_us: i64) -> Result<(), WriteError> {
        if up_to_us <= self.purged_us(channel) {
            return Ok(());
        }
        let store = self.writer();
        store.commit(Commit::new().put(Kind::Purged, channel.0, &up_to_us))?;
        drop(store);
        let mut facts = self.marks.facts();
        let at_us = facts.purged_us.entry(channel).or_default();
        *at_us = up_to_us.max(*at_us);
        drop(facts);
        self.journal.count_soon();
        Ok(())
    }

    /// When a token was used last, unix us; 0: never.
    pub fn accessed_us(&self, token: TokenId) -> i64 {
        let facts = self.marks.facts();
        facts.accessed_us.get(&token).map_or(0, |(at_us, _)| *at_us)
    }

    /// A token was used. Kept in memory until [`Control::save_accessed`].
    pub fn accessed(&self, token: TokenId, now_us: i64) {
        let mut facts = self.marks.facts();
        let (at_us, _) = facts.accessed_us.entry(token).or_default();
        *at_us = now_us.max(*at_us);
    }

    /// Makes durable when tokens were used, those whose stored time is older than
    /// [`ACCESSED_EVERY_US`]; forgets tokens that are gone. Blocks on the disk.
    pub fn save_accessed(&self) -> Result<(), WriteError> {
        let mut commit = Commit::new();
        let mut saved = Vec::new();
        {
            let mut facts = self.marks.facts();
            let gone: Vec<TokenId> = facts
                .accessed_us
                .keys()
                .filter(|id| self.registry.token(**id).is_none())
                .copied()
                .collect();
            for id in gone {
                if let Some((_, stored)) = facts.accessed_us.remove(&id)
                    && stored != 0
                {
                    commit.remove(Kind::Accessed, id.0);
                }
            }
            for (id, (at_us, stored)) in &facts.accessed_us {
                if commit.len() < crate::store::RECORDS_PER_COMMIT_MAX
                    && at_us - stored >= ACCESSED_EVERY_US
                {
                    commit.put(Kind::Accessed, id.0, at_us);
                    saved.push((*id, *at_us));
                }
            }
        }
        if commit.is_empty() {
            return Ok(());
        }
        self.writer().commit(&commit)?;
        let mut facts = self.marks.facts();
        for (id, at_us) in saved {
            if let Some((_, stored)) = facts.accessed_us.get_mut(&id) {
                *stored = at_us;
            }
        }
        Ok(())
    }
}
