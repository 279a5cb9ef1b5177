//! Putting what is durable into memory, where everybody sees it. One writer at a time.

use super::device::DeviceState;
use super::items::{AccountItem, ChannelItem, DeviceItem, LimitItem, TokenItem, Tombstone};
use super::{ChannelHandle, ChannelState, ChannelTable, DeviceHandle, Registry, Telemetry};
use crate::account::{Account, Dimension, Rules, TreeError};
use crate::ids::{AccountId, ChannelId, DeviceId, LimitId, TokenId};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};

/// Why an item that is said to be durable cannot be: the store and the memory do not agree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Its owner is not there.
    #[error("{what} {id} belongs to account {owner}, which does not exist")]
    NoOwner {
        /// Which kind of item.
        what: &'static str,
        /// The item.
        id: u64,
        /// The account that is missing.
        owner: AccountId,
    },
    /// The tree refuses the account.
    #[error("account {id} cannot stand in the tree: {error}")]
    Tree {
        /// The account.
        id: AccountId,
        /// Why.
        error: TreeError,
    },
}

/// A block that a change of rules ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lift {
    /// The account that was blocked.
    pub account: AccountId,
    /// For what.
    pub dimension: Dimension,
    /// Until when it would have been, unix us.
    pub until_us: i64,
}

/// The blocks that a change of rules ended.
pub type Lifted = Vec<Lift>;

impl Registry {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, super::Listed> {
        self.listed.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, super::Listed> {
        self.listed.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn owner(
        &self,
        what: &'static str,
        id: u64,
        owner: AccountId,
    ) -> Result<Account, PublishError> {
        self.tree
            .account(owner)
            .ok_or(PublishError::NoOwner { what, id, owner })
    }

    /// A new or changed account. Gives back the blocks that the change lifted.
    pub fn put_account(&self, item: AccountItem) -> Result<Lifted, PublishError> {
        let id = item.id;
        let refused = |error| PublishError::Tree { id, error };
        if self.tree.account(id).is_none() {
            self.tree.insert(id, item.owner_id).map_err(refused)?;
        }
        let rules = self.rules_of(item.limit_id);
        let enabled = item.enabled;
        self.write().accounts.insert(id, Arc::new(item));
        let mut lifted = self.govern(id, &rules)?;
        if self
            .tree
            .account(id)
            .is_some_and(|account| account.is_enabled())
            != enabled
        {
            let more = self.tree.set_enabled(id, enabled).map_err(refused)?;
            lifted.extend(more.into_iter().map(|(dimension, until_us)| Lift {
                account: id,
                dimension,
                until_us,
            }));
        }
        Ok(lifted)
    }

    /// A deleted account: its place in the tree stays, and nothing is admitted there any more.
    pub fn bury_account(&self, tombstone: Tombstone) -> Result<(), PublishError> {
        let id = tombstone.id;
        let refused = |error| PublishError::Tree { id, error };
        self.tree.retire(id).map_err(refused)?;
        self.write().accounts.remove(&id);
        Ok(())
    }

    /// A new or changed limit; it takes effect at once wherever it is attached. Gives back the
    /// blocks that the change lifted.
    pub fn put_limit(&self, item: LimitItem) -> Result<Lifted, PublishError> {
        let rules = item.rules();
        let id = item.id;
        let attached: Vec<AccountId> = {
            let mut listed = self.write();
            listed.limits.insert(id, Arc::new(item));
            let attached = listed.accounts.values();
            attached
                .filter(|account| account.limit_id == id)
                .map(|account| account.id)
                .collect()
        };
        let mut lifted = Lifted::new();
        for account in attached {
            lifted.extend(self.govern(account, &rules)?);
        }
        Ok(lifted)
    }

    /// Puts rules in force, unless they are already: that would lift blocks for nothing.
    fn govern(&self, id: AccountId, rules: &Rules) -> Result<Lifted, PublishError> {
        if self
            .tree
            .account(id)
            .is_some_and(|account| account.rules() == *rules)
        {
            return Ok(Lifted::new());
        }
        let lifted = self
            .tree
            .set_rules(id, *rules)
            .map_err(|error| PublishError::Tree { id, error })?;
        Ok(lifted
            .into_iter()
            .map(|(dimension, until_us)| Lift {
                account: id,
                dimension,
                until_us,
            })
            .collect())
    }

    /// A deleted limit.
    pub fn remove_limit(&self, id: LimitId) -> Option<Arc<LimitItem>> {
        self.write().limits.remove(&id)
    }

    fn rules_of(&self, limit: LimitId) -> Rules {
        self.limit(limit)
            .map_or_else(Rules::default, |limit| limit.rules())
    }

    /// A new or changed token.
    pub fn put_token(&self, item: TokenItem) -> Arc<TokenItem> {
        let item = Arc::new(item);
        let mut listed = self.write();
        if let Some(before) = listed.tokens.insert(item.id, Arc::clone(&item)) {
            listed.token_hashes.remove(&before.key_hash);
        }
        listed.token_hashes.insert(item.key_hash.clone(), item.id);
        drop(listed);
        item
    }

    /// A deleted token.
    pub fn remove_token(&self, id: TokenId) -> Option<Arc<TokenItem>> {
        let mut listed = self.write();
        let gone = listed.tokens.remove(&id)?;
        listed.token_hashes.remove(&gone.key_hash);
        drop(listed);
        Some(gone)
    }

    /// A new or changed channel. Its handle stays the same one for as long as it exists.
    pub fn put_channel(&self, item: ChannelItem) -> Result<Arc<ChannelHandle>, PublishError> {
        let id = item.id;
        let owner = self.owner("channel", id.0, item.cid)?;
        let state = ChannelState::new(Arc::new(item), owner);
        let mut table = ChannelTable::clone(&self.channels.load());
        table.places.add(state.post());
        let handle = if let Some(handle) = table.handles.get(&id) {
            table.places.remove(handle.state.load().post());
            handle.state.store(Arc::new(state));
            Arc::clone(handle)
        } else {
            let handle = Arc::new(ChannelHandle::new(state));
            table.handles.insert(id, Arc::clone(&handle));
            handle
        };
        self.channels.store(Arc::new(table));
        Ok(handle)
    }

    /// A deleted channel.
    pub fn remove_channel(&self, id: ChannelId) -> Option<Arc<ChannelHandle>> {
        let mut table = ChannelTable::clone(&self.channels.load());
        let handle = table.handles.remove(&id)?;
        let before = handle.state.load_full();
        table.places.remove(before.post());
        self.channels.store(Arc::new(table));
        handle.state.store(Arc::new(ChannelState {
            gone: true,
            ..ChannelState::clone(&before)
        }));
        Some(handle)
    }

    /// A new or changed device. Its handle stays the same one unless its protocol or ident change;
    /// then the old handle is `gone`, and its telemetry goes over to the new one.
    ///
    /// The state is swapped while the device's window is held: whoever looks at the state with the
    /// window held and appends before letting it go appends under the account and epoch that the
    /// device has at that position.
    pub fn put_device(&self, item: DeviceItem) -> Result<Arc<DeviceHandle>, PublishError> {
        self.put_device_marked(item, &mut || {})
    }

    /// As [`Registry::put_device`]; `mark` is called with the window still held after the swap, so
    /// that an entry it appends to the journal lies between the device's frames of before and those
    /// of after. It must not wait.
    pub fn put_device_marked(
        &self,
        item: DeviceItem,
        mark: &mut dyn FnMut(),
    ) -> Result<Arc<DeviceHandle>, PublishError> {
        let id = item.id;
        let account = self.owner("device", id.0, item.cid)?;
        let state = DeviceState::new(Arc::new(item), account);
        if let Some(handle) = self.device(id) {
            if handle.protocol == state.item.protocol && handle.ident == state.item.ident {
                let window = handle.recent();
                handle.state.store(Arc::new(state));
                mark();
                drop(window);
                return Ok(handle);
            }
            self.unlist(&handle);
            // a copy: at any time the handle that is found has what the device ever sent
            let telemetry = handle.telemetry().clone();
            return Ok(self.list(state, telemetry));
        }
        let fresh = self.list(state, Telemetry::default());
        for channel in self.channels.load().handles.values() {
            channel.unknown().forget(fresh.protocol, &fresh.ident);
        }
        Ok(fresh)
    }

    /// A deleted device.
    pub fn remove_device(&self, id: DeviceId) -> Option<Arc<DeviceHandle>> {
        let (_, handle) = self.devices.remove(&id)?;
        self.order().remove(&id);
        self.unlist(&handle);
        Some(handle)
    }

    fn list(&self, state: DeviceState, telemetry: Telemetry) -> Arc<DeviceHandle> {
        let handle = Arc::new(DeviceHandle::new(state, Arc::clone(&self.budget)));
        *handle.telemetry() = telemetry;
        let key = (handle.protocol, handle.ident.clone());
        let mut holders = self.idents.entry(key.clone()).or_default();
        holders.push(Arc::clone(&handle));
        let shared = holders.len() > 1;
        drop(holders);
        if shared {
            self.write().shared.insert(key);
        }
        self.devices.insert(handle.id, Arc::clone(&handle));
        self.order().insert(handle.id);
        handle
    }

    fn order(&self) -> RwLockWriteGuard<'_, BTreeSet<DeviceId>> {
        self.device_ids
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn unlist(&self, handle: &Arc<DeviceHandle>) {
        let key = (handle.protocol, handle.ident.clone());
        if let Some(mut holders) = self.idents.get_mut(&key) {
            holders.retain(|holder| !Arc::ptr_eq(holder, handle));
            let left = holders.len();
            drop(holders);
            if left <= 1 {
                self.write().shared.remove(&key);
            }
        }
        self.idents.remove_if(&key, |_, holders| holders.is_empty());
        let window = handle.recent();
        let before = handle.state.load_full();
        handle.state.store(Arc::new(DeviceState {
            gone: true,
            ..DeviceState::clone(&before)
        }));
        drop(window);
    }
}
