//! Who owns, who may use, and which device (channel, ident) names.
//!
//! The items as a person made them ([`items`]), and beside them what the gateway needs in memory
//! while it runs: one handle per channel and per device, the account tree, and a concurrent map
//! from (protocol, ident) to the few devices that hold it. [`Registry::resolve`] answers a login
//! from memory alone; nothing on the wire reads the store.
//!
//! A write is one value ([`Write`]) on its way through [`Registry::check`], [`Write::stage`] (into
//! the store's transaction) and [`Registry::publish`].
//!
//! It refuses to do anything: it says whether a write would break a rule and what would be served
//! differently after it, and publishes what [`crate::control`] has made durable. It writes no
//! file, closes no connection, and asks no clock.
//!
//! # What holds
//!
//! - One (channel, ident), one device, in all accounts together ([`identity`]).
//! - A guard of a map never leaves this room: what is given out is owned.
//! - What belongs to a device (duplicates, telemetry, epoch) hangs on its one handle.
//! - Writers come one at a time (control's lock); readers come at any time and see each channel
//!   and device either before a write or after it.
//!
//! # Who calls
//!
//! `control` checks and publishes; `channel` resolves and uses the handles; `api` lists.

mod channel;
mod check;
mod device;
pub mod identity;
pub mod items;
mod load;
mod publish;
mod recent;
mod reconcile;
mod telemetry;
pub mod types;
mod unknown;
mod validate;
mod write;

pub use channel::{ChannelHandle, ChannelState};
pub use check::{DOUBLES_LISTED_MAX, Effect, Published, Refused, Rerouted};
pub use device::{DeviceHandle, DeviceState, Watched};
pub use load::LoadError;
pub use publish::{Lift, Lifted, PublishError};
pub use recent::{Budget, RECENT_BYTES_MAX, RECORDS_BEFORE_MAX, Recent, RecordKey};
pub use reconcile::{NextIds, Planned, reconcile, rehearse};
pub use telemetry::{AHEAD_MS_MAX, BYTES_MAX, Newest, PARAMS_MAX, Telemetry};
pub use unknown::{
    UNKNOWN_FRAME_BYTES_MAX, UNKNOWN_IDENTS_MAX, UNKNOWN_RECORD_BYTES_MAX, Unknown, UnknownList,
};

pub use validate::{
    FieldError, METADATA_BYTES_MAX, NAME_CHARS_MAX, PARK_MS_LIMIT, PREFIXES_MAX, validate,
};
pub use write::{Item, ItemId, Write};

use crate::account::Tree;
use crate::ids::{AccountId, ChannelId, DeviceId, Ident, LimitId, TokenId};
use arc_swap::ArcSwap;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use identity::{Places, serves};
use items::{AccountItem, LimitItem, TokenItem};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

type Holders = SmallVec<[Arc<DeviceHandle>; 1]>;

/// All channels, swapped whole by every change of one.
#[derive(Clone, Default)]
struct ChannelTable {
    handles: BTreeMap<ChannelId, Arc<ChannelHandle>>,
    places: Places,
}

/// What no frame asks for: behind one lock, given out as shared items.
#[derive(Default)]
struct Listed {
    accounts: BTreeMap<AccountId, Arc<AccountItem>>,
    limits: BTreeMap<LimitId, Arc<LimitItem>>,
    tokens: BTreeMap<TokenId, Arc<TokenItem>>,
    token_hashes: HashMap<String, TokenId, RandomState>,
    /// The idents that more than one device holds: what a change of a channel must look at again.
    shared: BTreeSet<(u16, Ident)>,
}

/// What the gateway knows of its items while it runs.
pub struct Registry {
    tree: Arc<Tree>,
    channels: ArcSwap<ChannelTable>,
    devices: DashMap<DeviceId, Arc<DeviceHandle>, RandomState>,
    /// Their ids in order, so that a list begins at once however long it is.
    device_ids: RwLock<BTreeSet<DeviceId>>,
    idents: DashMap<(u16, Ident), Holders, RandomState>,
    listed: RwLock<Listed>,
    budget: Arc<Budget>,
}

impl Registry {
    /// Nothing is registered yet.
    pub fn new(tree: Arc<Tree>) -> Self {
        Self {
            tree,
            channels: ArcSwap::default(),
            devices: DashMap::default(),
            device_ids: RwLock::default(),
            idents: DashMap::default(),
            listed: RwLock::default(),
            budget: Arc::default(),
        }
    }

    /// The account tree.
    pub fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// The account of that id, as it is stored.
    pub fn account(&self, id: AccountId) -> Option<Arc<AccountItem>> {
        self.read().accounts.get(&id).cloned()
    }

    /// All accounts, by id: a parent comes before its children.
    pub fn accounts(&self) -> Vec<Arc<AccountItem>> {
        self.read().accounts.values().cloned().collect()
    }

    /// The limit of that id.
    pub fn limit(&self, id: LimitId) -> Option<Arc<LimitItem>> {
        self.read().limits.get(&id).cloned()
    }

    /// All limits, by id.
    pub fn limits(&self) -> Vec<Arc<LimitItem>> {
        self.read().limits.values().cloned().collect()
    }

    /// The token of that id.
    pub fn token(&self, id: TokenId) -> Option<Arc<TokenItem>> {
        self.read().tokens.get(&id).cloned()
    }

    /// The token whose key has that hash.
    pub fn token_by_hash(&self, key_hash: &str) -> Option<Arc<TokenItem>> {
        let listed = self.read();
        let id = listed.token_hashes.get(key_hash)?;
        listed.tokens.get(id).cloned()
    }

    /// All tokens, by id.
    pub fn tokens(&self) -> Vec<Arc<TokenItem>> {
        self.read().tokens.values().cloned().collect()
    }

    /// The channel of that id.
    pub fn channel(&self, id: ChannelId) -> Option<Arc<ChannelHandle>> {
        self.channels.load().handles.get(&id).cloned()
    }

    /// All channels, by id.
    pub fn channels(&self) -> Vec<Arc<ChannelHandle>> {
        self.channels.load().handles.values().cloned().collect()
    }

    /// The device of that id.
    pub fn device(&self, id: DeviceId) -> Option<Arc<DeviceHandle>> {
        self.devices.get(&id).map(|entry| Arc::clone(&entry))
    }

    /// All devices, by id.
    pub fn devices(&self) -> Vec<Arc<DeviceHandle>> {
        let mut all: Vec<_> = self
            .devices
            .iter()
            .map(|entry| Arc::clone(entry.value()))
            .collect();
        all.sort_unstable_by_key(|device| device.id);
        all
    }

    /// The next ids of devices behind `after`, at most `most`, ascending: a list is read in pieces,
    /// and what is made or deleted between two is in it or not, but nothing comes twice or out of
    /// order. One that is deleted right now may be among them.
    pub fn device_ids(&self, after: DeviceId, most: usize) -> Vec<DeviceId> {
        let ids = self
            .device_ids
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        ids.range(behind).take(most).copied().collect()
    }

    /// The device that `ident` names on this channel. From memory only, for a login.
    pub fn resolve(
        &self,
        channel: &ChannelHandle,
        protocol: u16,
        ident: &Ident,
    ) -> Option<Arc<DeviceHandle>> {
        let holders = self.holders(protocol, ident);
        holders
            .into_iter()
            .find(|device| self.serves_now(channel, device))
    }

    /// The devices that hold the ident in a protocol, wherever they are.
    pub fn holding(&self, protocol: u16, ident: &Ident) -> Vec<Arc<DeviceHandle>> {
        self.holders(protocol, ident).into_vec()
    }

    /// Does the channel serve the device, as both are now?
    pub fn serves_now(&self, channel: &ChannelHandle, device: &DeviceHandle) -> bool {
        let state = channel.state.load();
        let table = self.channels.load();
        let path = device.path();
        !state.gone
            && !device.state.load().gone
            && serves(&table.places, state.post(), device.claim(&path))
    }

    fn holders(&self, protocol: u16, ident: &Ident) -> Holders {
        self.idents
            .get(&(protocol, ident.clone()))
            .map(|entry| entry.clone())
            .unwrap_or_default()
    }

    /// What all devices' windows of duplicates hold together, in bytes.
    pub fn recent_bytes(&self) -> usize {
        self.budget.bytes()
    }
}

#[cfg(test)]
mod tests;
