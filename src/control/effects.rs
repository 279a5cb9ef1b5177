//! After a write is durable: memory, connections, listeners, events.

use super::{Control, WriteError, Written, written};
use crate::account::{Dimension, NO_CAP};
use crate::events::{Code, Origin};
use crate::ids::{AccountId, ChannelId, US_PER_MINUTE};
use crate::journal::Note;
use crate::registry::items::{ChannelItem, DeviceItem};
use crate::registry::{Effect, Item, ItemId, Lift, Lifted, PublishError, Write};
use crate::router::CloseCode;
use crate::store::{Commit, Store};
use serde_json::{Map, Value};

impl Control {
    /// Steps 3 to 5 of one write that is durable.
    pub(super) fn publish(
        &self,
        store: &Store,
        write: &Write,
        effect: Effect,
    ) -> Result<Written, WriteError> {
        let (before, rerouted) = (effect.before.clone(), effect.rerouted.clone());
        let published = self
            .registry
            .publish(write.clone(), effect, self.clock.now_us())
            .map_err(|error| unpublished(&error))?;
        let done = written(write.clone(), before, rerouted);
        if let (Write::Put(Item::Channel(channel)), Err(error)) =
            (write, self.follow_channel(write, &done))
        {
            if done.before.is_none() {
                self.take_back(store, channel);
            }
            return Err(WriteError::Port {
                port: channel.port,
                reason: error.to_string(),
            });
        }
        self.close_changed(&done, matches!(write, Write::Remove(_)));
        for device in &done.rerouted.lost {
            self.router.close_device(*device, CloseCode::DeviceChanged);
        }
        self.lifted(&published.lifted);
        self.recount_after(&done.item);
        self.router.wake_parked();
        self.tell(write, &done);
        Ok(done)
    }

    /// The listener follows the channel.
    fn follow_channel(&self, write: &Write, done: &Written) -> Result<(), std::io::Error> {
        match (write, &done.item, &done.before) {
            (Write::Put(_), Item::Channel(after), before) => {
                let heard_otherwise = |before: &ChannelItem| {
                    before.enabled != after.enabled
                        || before.port != after.port
                        || before.protocols != after.protocols
                        || before.allow != after.allow
                        || before.tls != after.tls
                };
                if let Some(Item::Channel(before)) = before {
                    if !heard_otherwise(before) {
                        return Ok(());
                    }
                    self.router
                        .close_channel(after.id, CloseCode::ChannelChanged);
                }
                self.listeners.open(after.id).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// A channel that cannot be listened on is not made: it goes as it came.
    fn take_back(&self, store: &Store, channel: &ChannelItem) {
        let write = Write::Remove(ItemId::Channel(channel.id));
        let removed = self
            .registry
            .check(&write, AccountId::NONE)
            .map_err(WriteError::from);
        let removed = removed.and_then(|effect| {
            let mut commit = Commit::new();
            write.stage(&effect, self.clock.now_us(), &mut commit);
            store.commit(&commit)?;
            self.registry
                .publish(write, effect, self.clock.now_us())
                .map_err(|error| unpublished(&error))
        });
        if let Err(error) = removed {
            tracing::error!(%error, channel = %channel.id, "a channel without a listener stays");
        }
    }

    /// Closes what the change concerns directly.
    fn close_changed(&self, done: &Written, removed: bool) {
        match (&done.item, &done.before) {
            (Item::Device(device), Some(Item::Device(_))) if removed => {
                self.cut(device, AccountId::NONE);
                self.router
                    .close_device(device.id, CloseCode::DeviceChanged);
            }
            (Item::Device(after), Some(Item::Device(before))) => {
                if before.enabled && !after.enabled {
                    self.router
                        .close_device(after.id, CloseCode::DeviceDisabled);
                } else if read_otherwise(before, after) {
                    self.router.close_device(after.id, CloseCode::DeviceChanged);
                }
            }
            (Item::Channel(channel), Some(_)) if removed => {
                self.listeners.close(channel.id);
                self.router
                    .close_channel(channel.id, CloseCode::ChannelChanged);
            }
            (Item::Account(after), Some(Item::Account(before)))
                if before.enabled != after.enabled =>
            {
                if !after.enabled {
                    self.close_branch(after.id);
                }
                self.follow_branch(after.id);
            }
            _ => {}
        }
    }

    /// Closes every connection of a device in the branch, and of the channels in it.
    pub(super) fn close_branch(&self, root: AccountId) {
        let tree = self.registry.tree();
        let below = |id: AccountId| tree.account(id).is_some_and(|a| a.is_or_is_below(root));
        self.router.close_where(
            |facts| facts.carries.iter().any(|carried| below(carried.account)),
            CloseCode::DeviceDisabled,
        );
        for channel in self.registry.channels() {
            if below(channel.state.load().owner.id()) {
                self.router
                    .close_channel(channel.id, CloseCode::ChannelBlocked);
            }
        }
    }

    /// Listeners of the branch close with it and open again with it.
    pub(super) fn follow_branch(&self, root: AccountId) {
        let tree = self.registry.tree();
        for channel in self.registry.channels() {
            let owner = channel.state.load().owner.id();
            if tree
                .account(owner)
                .is_some_and(|account| account.is_or_is_below(root))
            {
                self.listen_anew(channel.id);
            }
        }
    }

    /// A listener follows what its channel has become by something else than a write of it.
    pub(super) fn listen_anew(&self, channel: ChannelId) {
        if let Err(error) = self.listeners.open(channel) {
            tracing::error!(%error, %channel, "a channel is not listened on");
        }
    }

    /// The journal's mark that a device is another account's, or nobody's, from here on.
    fn cut(&self, device: &DeviceItem, to: AccountId) {
        let note = Note::Cut {
            at_us: self.clock.now_us(),
            device: device.id,
            from: device.cid,
            to,
            epoch: device.epoch,
        };
        if self.note(&note).is_none() {
            tracing::warn!(device = %device.id, "the journal did not take the mark of a deletion");
        }
    }

    /// Lifts, at the start, the blocks that a change of rules has ended already: a crash between
    /// the change and the journal's word of it brings them back. One too many does no harm: what
    /// still does not fit is refused again.
    pub(super) fn lift_outlived(&self) {
        let now_us = self.clock.now_us();
        let mut lifted = Lifted::new();
        for account in self.registry.tree().accounts() {
            let Some(item) = self.registry.account(account.id()) else {
                continue;
            };
            let limit = self.registry.limit(item.limit_id);
            let limit_us = limit.map_or(0, |limit| limit.stamp.updated_us);
            let changed_us = item.stamp.updated_us.max(limit_us);
            let rules = account.rules();
            let longest_us = i64::from(rules.blocking_duration_s) * 1_000_000;
            for dimension in Dimension::ALL {
                let until_us = account.blocked_until_us(dimension);
                let begun_us = until_us.saturating_sub(longest_us.max(US_PER_MINUTE));
                let is_outlived = changed_us >= begun_us
                    || account.is_enabled() && rules.caps.get(dimension) == NO_CAP;
                if until_us > now_us && is_outlived {
                    account.block(dimension, 0);
                    lifted.push(Lift {
                        account: account.id(),
                        dimension,
                        until_us,
                    });
                }
            }
        }
        self.lifted(&lifted);
    }

    /// Blocks that a change lifted are journaled and logged.
    pub(super) fn lifted(&self, lifted: &Lifted) {
        for lift in lifted {
            let note = Note::Blocked {
                at_us: self.clock.now_us(),
                account: lift.account,
                dimension: lift.dimension.number(),
                until_us: 0,
            };
            if self.note(&note).is_none() {
                tracing::warn!(account = %lift.account, "the journal did not take an unblock");
            }
            let data = fields([
                ("blocked", 0.into()),
                ("dimension", lift.dimension.name().into()),
            ]);
            let origin = Origin::customer(lift.account);
            self.events
                .log_now(Code::Unblocked, origin, lift.account, data);
        }
    }

    /// The event of the write.
    fn tell(&self, write: &Write, done: &Written) {
        let shown = |item: &Item| {
            let mut value = match item {
                Item::Account(item) => serde_json::to_value(item),
                Item::Limit(item) => serde_json::to_value(item),
                Item::Channel(item) => serde_json::to_value(item),
                Item::Device(item) => serde_json::to_value(item),
                Item::Token(item) => serde_json::to_value(item),
            }
            .unwrap_or_default();
            if let Some(fields) = value.as_object_mut() {
                fields.remove("key_hash");
                fields.remove("stamp");
                for holder in ["settings", "configuration"] {
                    if let Some(Value::Object(holder)) = fields.get_mut(holder)
                        && let Some(password) = holder.get_mut("password")
                    {
                        // that there is one may be known, what it is may not
                        *password = "***".into();
                    }
                }
            }
            value
        };
        let (code, data) = match (write, &done.before) {
            (Write::Remove(_), _) => (Code::Deleted, fields([("old", shown(&done.item))])),
            (Write::Put(_), None) => (Code::Created, fields([("new", shown(&done.item))])),
            (Write::Put(_), Some(before)) => {
                (Code::Changed, difference(shown(before), shown(&done.item)))
            }
        };
        self.events
            .log_now(code, origin_of(done.item.id()), done.item.cid(), data);
    }
}

/// What an item's events are filed under.
pub(super) fn origin_of(id: ItemId) -> Origin {
    match id {
        ItemId::Account(id) => Origin::subaccount(id),
        ItemId::Limit(id) => Origin::limit(id),
        ItemId::Channel(id) => Origin::channel(id),
        ItemId::Device(id) => Origin::device(id),
        ItemId::Token(id) => Origin::token(id),
    }
}

/// Would the tracker's bytes be read or routed otherwise?
fn read_otherwise(before: &DeviceItem, after: &DeviceItem) -> bool {
    before.ident != after.ident
        || before.protocol != after.protocol
        || before.settings != after.settings
        || before.cid != after.cid
}

/// A JSON object of these fields.
pub(super) fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The old and the new of a changed item, as event 2 carries them: only what differs.
fn difference(old: Value, new: Value) -> Map<String, Value> {
    let (Value::Object(mut old), Value::Object(mut new)) = (old, new) else {
        return Map::new();
    };
    let same: Vec<String> = old
        .iter()
        .filter(|(name, value)| new.get(*name) == Some(value))
        .map(|(name, _)| name.clone())
        .collect();
    for name in &same {
        old.remove(name);
        new.remove(name);
    }
    fields([("old", Value::Object(old)), ("new", Value::Object(new))])
}

/// The store took what the memory refuses: a bug that a restart shows too. It is logged, and the
/// caller is told that the change is not in force.
pub(super) fn unpublished(error: &PublishError) -> WriteError {
    tracing::error!(%error, "a durable item could not be published");
    WriteError::Store(error.to_string())
}
