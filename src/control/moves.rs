//! Moves: an item goes to another account of the caller's branch.
//!
//! A device's cut is one position of the journal: everything before belongs to and was paid by the
//! old account, everything after by the new. The driver charges and appends a device's frames
//! under the lock of its window of duplicates, after it has looked whose it is; the handle is swapped
//! and the mark appended under the same lock, so no frame can fall between.

use super::effects::{fields, origin_of, unpublished};
use super::{Control, Scope, WriteError};
use crate::events::Code;
use crate::ids::{AccountId, Epoch, Revision};
use crate::journal::{Batch, Note};
use crate::registry::items::Source;
use crate::registry::{Item, ItemId, Rerouted, Write};
use crate::router::CloseCode;
use crate::store::Commit;

/// A device whose telemetry holds a time further ahead than this is not moved.
pub const TELEMETRY_AHEAD_MS_MAX: i64 = 60_000;

/// What a move did, or would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    /// The item with its new account.
    pub item: Item,
    /// Whose it was.
    pub from: AccountId,
    /// The devices that are served differently now.
    pub rerouted: Rerouted,
}

impl Control {
    /// Moves a device or a channel to the account `to`. `dry_run`: only says what it would do.
    pub fn move_item(
        &self,
        scope: Scope,
        id: ItemId,
        to: AccountId,
        if_match: Option<Revision>,
        dry_run: bool,
    ) -> Result<Moved, WriteError> {
        let store = self.writer();
        let missing = WriteError::NotFound { id: id.number() };
        let before = self.registry.item(id).ok_or_else(|| missing.clone())?;
        if !self.manages(scope, &before) {
            return Err(missing);
        }
        if !self.registry.manages(scope.root, to) || self.registry.account(to).is_none() {
            return Err(WriteError::NotFound { id: to.0 });
        }
        if before.stamp().source == Source::File && scope.source != Source::File {
            return Err(WriteError::FileOwned);
        }
        let revision = before.stamp().revision;
        if if_match.is_some_and(|known| known != revision) {
            return Err(WriteError::Stale {
                revision: revision.0,
            });
        }
        let now_us = self.clock.now_us();
        let mut item = before.clone();
        *item.stamp_mut() = before.stamp().changed(now_us);
        match &mut item {
            Item::Device(device) => {
                let last_us = device.moved_us.max(device.stamp.created_us);
                if now_us - last_us < micros(self.options.move_interval) {
                    let seconds = self.options.move_interval.as_secs();
                    return Err(WriteError::TooSoon { seconds });
                }
                device.cid = to;
                device.moved_us = now_us;
                device.epoch = Epoch(device.epoch.0 + 1);
            }
            Item::Channel(channel) => channel.cid = to,
            Item::Account(_) | Item::Limit(_) | Item::Token(_) => {
                return Err(WriteError::field(
                    "cid",
                    "only devices and channels can be moved",
                ));
            }
        }
        if let ItemId::Device(device) = id
            && let Some(handle) = self.registry.device(device)
        {
            // the device's own time: it may be any number
            let newest_ms = handle.telemetry().newest_ms().unwrap_or(0);
            if newest_ms.saturating_sub(now_us / 1000) > TELEMETRY_AHEAD_MS_MAX {
                return Err(WriteError::TelemetryAhead);
            }
            // later, when streams, calculators or plugins are linked to devices: whether the new
            // account can reach them is asked here
        }
        let write = Write::Put(item.clone());
        let effect = self.registry.check(&write, scope.root)?;
        let rerouted = effect.rerouted.clone();
        let moved = Moved {
            item,
            from: before.cid(),
            rerouted,
        };
        if dry_run {
            return Ok(moved);
        }
        let mut commit = Commit::new();
        write.stage(&effect, now_us, &mut commit);
        store.commit(&commit)?;
        if let (ItemId::Device(device), Item::Device(item)) = (id, &moved.item) {
            let note = Note::Cut {
                at_us: now_us,
                device,
                from: moved.from,
                to,
                epoch: item.epoch,
            };
            let mut batch = Batch::new();
            note.write(&mut batch);
            let mut permit = self.permit(batch.len());
            let mut cut = None;
            self.registry
                .publish_marked(write, effect, now_us, &mut || {
                    cut = permit
                        .take()
                        .map(|permit| self.journal.append(permit, &mut batch));
                })
                .map_err(|error| unpublished(&error))?;
            self.router.close_device(device, CloseCode::DeviceChanged);
            if let Some(cut) = cut {
                self.wait_durable(cut);
            }
        } else {
            self.registry
                .publish(write, effect, self.clock.now_us())
                .map_err(|error| unpublished(&error))?;
        }
        self.recount_after(&moved.item);
        drop(store);
        for device in &moved.rerouted.lost {
            self.router.close_device(*device, CloseCode::DeviceChanged);
        }
        self.router.wake_parked();
        for account in [moved.from, to] {
            let data = fields([("from", moved.from.0.into()), ("to", to.0.into())]);
            self.events
                .log_now(Code::Moved, origin_of(id), account, data);
        }
        Ok(moved)
    }
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
