//! Items over a count limit that was lowered below what exists: the newest are blocked (code 5),
//! nothing is deleted, and they are free again by themselves as soon as there is room.
//!
//! A blocked device is not admitted, a blocked channel does not listen, a blocked account stands
//! still, a blocked token is refused, a blocked limit is only shown as such. Worked out anew behind
//! every write that can change it; while no limit is exceeded that costs nothing.

use super::Control;
use super::effects::{fields, origin_of};
use crate::account::{Account, Dimension};
use crate::events::Code;
use crate::ids::AccountId;
use crate::registry::{ChannelState, DeviceState, Item, ItemId};
use crate::router::CloseCode;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

/// flespi's code for it.
const BLOCKED_CODE: u8 = 5;

/// The counts of items, each with what is counted.
const COUNTS: [Dimension; 5] = [
    Dimension::SubaccountsCount,
    Dimension::ChannelsCount,
    Dimension::DevicesCount,
    Dimension::TokensCount,
    Dimension::LimitsCount,
];

/// The items that are over now.
#[derive(Debug, Default)]
pub(super) struct Over(RwLock<BTreeSet<ItemId>>);

impl Control {
    /// Is the item blocked because a count limit has no room for it?
    pub fn is_over(&self, id: ItemId) -> bool {
        let over = self.over.0.read().unwrap_or_else(PoisonError::into_inner);
        !over.is_empty() && over.contains(&id)
    }

    fn is_any_over(&self) -> bool {
        let over = self.over.0.read().unwrap_or_else(PoisonError::into_inner);
        !over.is_empty()
    }

    /// Behind a write: `item` is what was written. Under the writer's lock.
    pub(super) fn recount_after(&self, item: &Item) {
        if matches!(item, Item::Limit(_) | Item::Account(_)) || self.is_any_over() {
            self.recount();
        }
    }

    /// Works out what is over, and blocks and frees what has changed.
    pub(super) fn recount(&self) {
        let mut now_over = BTreeSet::new();
        for account in self.registry.tree().accounts() {
            for dimension in COUNTS {
                // a disabled account stands still as a whole
                let over = if account.is_enabled() {
                    account.reading(dimension, 0).over()
                } else {
                    0
                };
                if over > 0 {
                    let over = usize::try_from(over).unwrap_or(usize::MAX);
                    now_over.extend(self.newest(dimension, &account).into_iter().take(over));
                }
            }
        }
        let before = {
            let mut over = self.over.0.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *over, now_over.clone())
        };
        for id in &now_over {
            // a write of the item may have put it to use again
            self.stop(*id, before.contains(id));
        }
        for id in before.difference(&now_over) {
            self.go_on(*id);
        }
    }

    /// The items of an account's branch that a dimension counts, the newest first.
    fn newest(&self, dimension: Dimension, account: &Account) -> Vec<ItemId> {
        let tree = self.registry.tree();
        let below = |cid: AccountId| {
            tree.account(cid)
                .is_some_and(|node| node.is_or_is_below(account.id()))
        };
        let mut ids: Vec<ItemId> = match dimension {
            Dimension::SubaccountsCount => {
                let accounts = self.registry.accounts();
                let below = accounts.iter().filter(|item| below(item.owner_id));
                below.map(|item| ItemId::Account(item.id)).collect()
            }
            Dimension::ChannelsCount => {
                let channels = self.registry.channels();
                let below = channels
                    .iter()
                    .filter(|channel| below(channel.state.load().owner.id()));
                below.map(|channel| ItemId::Channel(channel.id)).collect()
            }
            Dimension::DevicesCount => {
                let devices = self.registry.devices();
                let below = devices
                    .iter()
                    .filter(|device| below(device.state.load().account.id()));
                below.map(|device| ItemId::Device(device.id)).collect()
            }
            Dimension::TokensCount => {
                let tokens = self.registry.tokens();
                let below = tokens.iter().filter(|item| below(item.cid));
                below.map(|item| ItemId::Token(item.id)).collect()
            }
            _ => {
                let limits = self.registry.limits();
                let below = limits.iter().filter(|item| below(item.cid));
                below.map(|item| ItemId::Limit(item.id)).collect()
            }
        };
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids
    }

    fn stop(&self, id: ItemId, was_over: bool) {
        self.put_to_use(id, false);
        if was_over {
            return;
        }
        match id {
            ItemId::Device(id) => {
                self.router.close_device(id, CloseCode::DeviceBlocked);
            }
            ItemId::Channel(id) => {
                self.router.close_channel(id, CloseCode::ChannelBlocked);
            }
            ItemId::Account(id) => self.close_branch(id),
            ItemId::Limit(_) | ItemId::Token(_) => {}
        }
        self.tell_over(id, Code::Blocked, BLOCKED_CODE);
    }

    fn go_on(&self, id: ItemId) {
        // one that was deleted needs nothing
        if self.registry.item(id).is_some() {
            self.put_to_use(id, true);
            self.router.wake_parked();
            self.tell_over(id, Code::Unblocked, 0);
        }
    }

    /// Whether an item is in use: never more than it says itself.
    fn put_to_use(&self, id: ItemId, in_use: bool) {
        match id {
            ItemId::Device(id) => {
                if let Some(handle) = self.registry.device(id) {
                    let state = handle.state.load_full();
                    let enabled = in_use && state.item.enabled;
                    if state.enabled != enabled {
                        handle.state.store(Arc::new(DeviceState {
                            enabled,
                            ..DeviceState::clone(&state)
                        }));
                    }
                }
            }
            ItemId::Channel(id) => {
                if let Some(handle) = self.registry.channel(id) {
                    let state = handle.state.load_full();
                    let enabled = in_use && state.item.enabled;
                    if state.enabled != enabled {
                        handle.state.store(Arc::new(ChannelState {
                            enabled,
                            ..ChannelState::clone(&state)
                        }));
                        self.listen_anew(id);
                    }
                }
            }
            ItemId::Account(id) => {
                if let Some(account) = self.registry.account(id) {
                    let enabled = in_use && account.enabled;
                    let node = self.registry.tree().account(id);
                    if node.is_some_and(|node| node.is_enabled() != enabled) {
                        if let Err(error) = self.registry.tree().set_enabled(id, enabled) {
                            tracing::error!(%error, account = %id, "an account is not blocked");
                        }
                        self.follow_branch(id);
                    }
                }
            }
            ItemId::Limit(_) | ItemId::Token(_) => {}
        }
    }

    fn tell_over(&self, id: ItemId, code: Code, blocked: u8) {
        let Some(item) = self.registry.item(id) else {
            return;
        };
        let data = fields([("blocked", blocked.into())]);
        self.events.log_now(code, origin_of(id), item.cid(), data);
    }
}
