//! What was acknowledged, back in memory after a start.

use super::items::{AccountItem, ChannelItem, DeviceItem, LimitItem, TokenItem, Tombstone};
use super::publish::PublishError;
use super::write::ItemId;
use super::{ChannelHandle, ChannelState, ChannelTable, Registry};
use crate::account::Tree;
use crate::ids::{AccountId, DeviceId, Ident};
use crate::store::{Kind, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why the registry cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The items at rest do not fit together.
    #[error("the items at rest do not fit together: {0}")]
    Items(#[from] PublishError),
    /// A channel serves two devices: no build writes that.
    #[error(
        "the items at rest break the rule of one device to an ident: protocol {protocol}, ident \
         {ident}, devices {a} and {b}"
    )]
    Doubled {
        /// The protocol's stored number.
        protocol: u16,
        /// The ident.
        ident: Ident,
        /// One device.
        a: DeviceId,
        /// The other.
        b: DeviceId,
    },
}

impl Registry {
    /// Everything at rest, with its counts taken from the limits (what exists is not asked).
    /// The tree must be empty. Blocks for as long as the disk takes.
    pub fn load(store: &Store, tree: Arc<Tree>) -> Result<Self, LoadError> {
        let registry = Self::new(tree);
        for row in store.all::<LimitItem>(Kind::Limit) {
            registry.put_limit(row?.1)?;
        }
        registry.load_accounts(store)?;
        for limit in registry.limits() {
            registry.occupy(ItemId::Limit(limit.id), limit.cid)?;
        }
        for row in store.all::<TokenItem>(Kind::Token) {
            let token = registry.put_token(row?.1);
            registry.occupy(ItemId::Token(token.id), token.cid)?;
        }
        registry.load_channels(store)?;
        for row in store.all::<DeviceItem>(Kind::Device) {
            let device = registry.put_device(row?.1)?;
            let cid = device.state.load().item.cid;
            registry.occupy(ItemId::Device(device.id), cid)?;
        }
        let shared: Vec<_> = registry.read().shared.iter().cloned().collect();
        let table = registry.channels.load_full();
        for (protocol, ident) in shared {
            if let Some([a, b]) = registry
                .doubled(&table.places, protocol, &ident)
                .into_iter()
                .next()
            {
                return Err(LoadError::Doubled {
                    protocol,
                    ident,
                    a: a.id,
                    b: b.id,
                });
            }
        }
        Ok(registry)
    }

    /// A parent's id is smaller than its children's, so the order of the ids is one in which the
    /// tree can grow. Tombstones grow with it, and fall in the other direction.
    fn load_accounts(&self, store: &Store) -> Result<(), LoadError> {
        let mut parents: BTreeMap<AccountId, (AccountId, Option<AccountItem>)> = BTreeMap::new();
        let mut buried = Vec::new();
        for row in store.all::<AccountItem>(Kind::Account) {
            let item = row?.1;
            parents.insert(item.id, (item.owner_id, Some(item)));
        }
        for row in store.all::<Tombstone>(Kind::Tombstone) {
            let tombstone = row?.1;
            parents.insert(tombstone.id, (tombstone.owner_id, None));
            buried.push(tombstone);
        }
        for (id, (owner_id, item)) in parents {
            if let Some(item) = item {
                self.put_account(item)?;
                if owner_id.is_some() {
                    self.occupy(ItemId::Account(id), owner_id)?;
                }
            } else {
                self.tree
                    .insert(id, owner_id)
                    .map_err(|error| PublishError::Tree { id, error })?;
            }
        }
        for tombstone in buried.into_iter().rev() {
            self.bury_account(tombstone)?;
        }
        Ok(())
    }

    fn load_channels(&self, store: &Store) -> Result<(), LoadError> {
        let mut table = ChannelTable::default();
        for row in store.all::<ChannelItem>(Kind::Channel) {
            let item = row?.1;
            let owner = self.owner("channel", item.id.0, item.cid)?;
            self.occupy(ItemId::Channel(item.id), item.cid)?;
            let handle = ChannelHandle::new(ChannelState::new(Arc::new(item), owner));
            table.places.add(handle.state.load().post());
            table.handles.insert(handle.id, Arc::new(handle));
        }
        self.channels.store(Arc::new(table));
        Ok(())
    }

    fn occupy(&self, id: ItemId, cid: AccountId) -> Result<(), PublishError> {
        let owner = self.owner(id.what(), id.number(), cid)?;
        owner.occupy(id.counted(), 1).keep();
        Ok(())
    }
}
