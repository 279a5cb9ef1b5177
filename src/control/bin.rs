//! The recycle bin: what was deleted stays for [`KEPT_US`], and can be brought back under its old
//! id if nothing has taken its place.
//!
//! Not kept are tokens (a key that was taken away stays away). An account is kept to be read, not
//! to be brought back: its id is never used again, because old journal entries name it.

use super::{Control, Deleted, Scope, WriteError, Written, written};
use crate::ids::Epoch;
use crate::registry::items::{ChannelItem, DeviceItem, LimitItem};
use crate::registry::{Item, Write};
use crate::store::{Commit, Kind, RECORDS_PER_COMMIT_MAX};

/// How long a deleted item is kept, in us: 30 days.
pub const KEPT_US: i64 = 30 * 86_400 * 1_000_000;

impl Control {
    /// What is in the bin of the scope's branch, by number. Blocks on the disk.
    pub fn deleted(&self, scope: Scope) -> Result<Vec<Deleted>, WriteError> {
        let store = self.writer();
        let mut found = Vec::new();
        for row in store.all::<Deleted>(Kind::Deleted) {
            let (_, deleted) = row?;
            if self.registry.manages(scope.root, deleted.cid) {
                found.push(deleted);
            }
        }
        Ok(found)
    }

    /// Brings an item back; refused if its ident, its port or a limit's room was taken meanwhile.
    /// `dry_run`: only says what it would do.
    pub fn restore(&self, scope: Scope, id: u64, dry_run: bool) -> Result<Written, WriteError> {
        let missing = WriteError::NotFound { id };
        let store = self.writer();
        let deleted = store
            .read::<Deleted>(Kind::Deleted, id)?
            .ok_or_else(|| missing.clone())?;
        if !self.registry.manages(scope.root, deleted.cid) {
            return Err(missing);
        }
        let now_us = self.clock.now_us();
        let unreadable = |error: serde_json::Error| WriteError::Store(error.to_string());
        let value = deleted.item.clone();
        let mut item = match deleted.what.as_str() {
            "limit" => {
                let item: LimitItem = serde_json::from_value(value).map_err(unreadable)?;
                Item::Limit(item)
            }
            "channel" => {
                let item: ChannelItem = serde_json::from_value(value).map_err(unreadable)?;
                Item::Channel(item)
            }
            "device" => {
                let mut item: DeviceItem = serde_json::from_value(value).map_err(unreadable)?;
                item.epoch = Epoch(item.epoch.0.saturating_add(1));
                Item::Device(item)
            }
            _ => return Err(WriteError::NotRestored),
        };
        if self.registry.item(item.id()).is_some() {
            return Err(WriteError::Store("the item is there already".into()));
        }
        *item.stamp_mut() = item.stamp().changed(now_us);
        let write = Write::Put(item);
        let effect = self.registry.check(&write, scope.root)?;
        if dry_run {
            return Ok(written(write, effect.before, effect.rerouted));
        }
        let mut commit = Commit::new();
        write.stage(&effect, now_us, &mut commit);
        commit.remove(Kind::Deleted, id);
        store.commit(&commit)?;
        let done = self.publish(&store, &write, effect);
        if done.is_err() {
            // it could not be put to use and was taken back: it is in the bin as before
            store.commit(Commit::new().put(Kind::Deleted, id, &deleted))?;
        }
        done
    }

    /// Throws away what has been in the bin for longer than [`KEPT_US`]. Blocks on the disk.
    pub fn empty_bin(&self) -> Result<usize, WriteError> {
        let before_us = self.clock.now_us().saturating_sub(KEPT_US);
        let store = self.writer();
        let mut commit = Commit::new();
        for row in store.all::<Deleted>(Kind::Deleted) {
            let (id, deleted) = row?;
            if deleted.deleted_us <= before_us && commit.len() < RECORDS_PER_COMMIT_MAX {
                commit.remove(Kind::Deleted, id);
            }
        }
        let count = commit.len();
        store.commit(&commit)?;
        Ok(count)
    }
}
