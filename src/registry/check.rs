//! Would this write break a rule, and what would be served differently after it? Nothing changes
//! here: [`Registry::check`] answers, and [`Registry::publish`] puts the answer into memory once
//! control has made the write durable. Between the two nobody else may write.
//!
//! A refusal tells nothing of what lies outside the branch of the one who asks: it says *that* an
//! ident or a port is taken, and by which item only if that item is theirs to see.

use super::device::path_of;
use super::identity::{Claim, Path, Places, Post, conflict, serves};
use super::items::{AccountItem, ChannelItem, DeviceItem, Tombstone};
use super::publish::{Lifted, PublishError};
use super::validate::{FieldError, validate};
use super::write::{Item, ItemId, Write};
use super::{DeviceHandle, Registry};
use crate::account::{Account, Dimension, Held, Refusal, TreeError};
use crate::ids::{AccountId, ChannelId, DeviceId, Ident};
use std::sync::Arc;

/// The most doubled idents that one refusal of a channel's change lists.
pub const DOUBLES_LISTED_MAX: usize = 100;

/// Why a write is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refused {
    /// The item is not there, or not the caller's: the same answer for both.
    #[error("there is no {what} {id}")]
    NoSuch {
        /// Which kind.
        what: &'static str,
        /// Its number.
        id: u64,
    },
    /// The item is not well formed: all mistakes of it.
    #[error("{}", join(.0))]
    Fields(Vec<FieldError>),
    /// A channel would serve two devices of this protocol and ident.
    #[error("the ident {ident} is taken by {} on a channel of {protocol} that would serve both", whose(*.holder))]
    Ident {
        /// The protocol's name.
        protocol: &'static str,
        /// The ident in canonical form.
        ident: Ident,
        /// Which device has it, if the caller may see that.
        holder: Option<DeviceId>,
    },
    /// A channel would serve two devices of the same protocol and ident.
    #[error("a channel would serve two devices of the same ident{}", doubles(.listed, *.hidden))]
    Doubles {
        /// Those that the caller may see: protocol, ident, the two devices.
        listed: Vec<(&'static str, Ident, [DeviceId; 2])>,
        /// There are others.
        hidden: bool,
    },
    /// Another channel has the port.
    #[error("the port {port} is taken by {}", holder.map_or_else(|| "another channel".to_owned(), |id| format!("channel {id}")))]
    Port {
        /// Which port.
        port: u16,
        /// Which channel, if the caller may see that.
        holder: Option<ChannelId>,
    },
    /// A count limit of the chain has no room.
    #[error("no room for another {what}: {} is reached", .refusal.dimension)]
    Limit {
        /// Which kind of item.
        what: &'static str,
        /// The tree's no; show [`Refusal::seen_by`].
        refusal: Refusal,
    },
    /// The account still owns something.
    #[error("account {id} still owns {}", .owns.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", "))]
    NotEmpty {
        /// Which account.
        id: AccountId,
        /// How many of what.
        owns: Vec<(&'static str, usize)>,
    },
    /// The limit is attached to accounts.
    #[error("limit {id} is attached to {accounts} accounts")]
    Attached {
        /// Which limit.
        id: u64,
        /// To how many.
        accounts: usize,
    },
    /// The limit is neither of the account above nor of one above that.
    #[error("limit {id} is not one that this account may be attached to")]
    LimitOutOfReach {
        /// Which limit.
        id: u64,
    },
    /// An account's parent is for life.
    #[error("an account keeps its owner for life")]
    OwnerForLife,
    /// The tree cannot have the account.
    #[error("{0}")]
    Tree(TreeError),
}

fn join(errors: &[FieldError]) -> String {
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

fn whose(holder: Option<DeviceId>) -> String {
    holder.map_or_else(|| "another device".to_owned(), |id| format!("device {id}"))
}

fn doubles(listed: &[(&'static str, Ident, [DeviceId; 2])], hidden: bool) -> String {
    if listed.is_empty() {
        return String::new();
    }
    let pairs: Vec<_> = listed
        .iter()
        .map(|(protocol, ident, [a, b])| format!("{protocol} {ident} (devices {a} and {b})"))
        .collect();
    let others = if hidden { " and others" } else { "" };
    format!(": {}{others}", pairs.join(", "))
}

/// The devices that other channels serve after a write than before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rerouted {
    /// A channel that served them does not any more: their connections on it close (code 15).
    pub lost: Vec<DeviceId>,
    /// A channel serves them that did not.
    pub gained: Vec<DeviceId>,
}

impl Rerouted {
    /// How many devices are routed otherwise.
    pub fn count(&self) -> usize {
        let mut all: Vec<_> = self.lost.iter().chain(&self.gained).collect();
        all.sort_unstable();
        all.dedup();
        all.len()
    }
}

/// What a write would do. Dropped without [`Registry::publish`], it has done nothing.
#[derive(Debug)]
pub struct Effect {
    /// The item as it is now; `None` if the write makes it.
    pub before: Option<Item>,
    /// Which devices are served differently.
    pub rerouted: Rerouted,
    /// What the item changes its account from and to.
    pub moved: Option<(AccountId, AccountId)>,
    held: Option<Held>,
}

/// What a published write did besides.
#[derive(Debug, Default)]
pub struct Published {
    /// The blocks that it lifted.
    pub lifted: Lifted,
    /// The device's handle from now on.
    pub device: Option<Arc<DeviceHandle>>,
    /// The channel's handle.
    pub channel: Option<Arc<super::ChannelHandle>>,
}

impl Registry {
    /// The item as it is now.
    pub fn item(&self, id: ItemId) -> Option<Item> {
        match id {
            ItemId::Account(id) => self
                .account(id)
                .map(|item| Item::Account(AccountItem::clone(&item))),
            ItemId::Limit(id) => self.limit(id).map(|item| Item::Limit((*item).clone())),
            ItemId::Token(id) => self.token(id).map(|item| Item::Token((*item).clone())),
            ItemId::Channel(id) => self
                .channel(id)
                .map(|handle| Item::Channel(ChannelItem::clone(&handle.state.load().item))),
            ItemId::Device(id) => self
                .device(id)
                .map(|handle| Item::Device(DeviceItem::clone(&handle.state.load().item))),
        }
    }

    /// Is `account` the viewer's own or in its branch? The operator ([`AccountId::NONE`]) manages
    /// all.
    pub fn manages(&self, viewer: AccountId, account: AccountId) -> bool {
        !viewer.is_some()
            || self
                .tree
                .account(account)
                .is_some_and(|account| account.is_or_is_below(viewer))
    }

    /// Would the write break a rule? `viewer` is who asks, [`AccountId::NONE`] the operator; that
    /// the item and its owner are in the viewer's branch is the caller's to see.
    ///
    /// Count limits are taken here and given back when the effect is dropped.
    pub fn check(&self, write: &Write, viewer: AccountId) -> Result<Effect, Refused> {
        let before = self.item(write.id());
        let mut effect = Effect {
            before,
            rerouted: Rerouted::default(),
            moved: None,
            held: None,
        };
        match write {
            Write::Remove(id) => {
                if effect.before.is_none() {
                    return Err(no_such(*id));
                }
                self.check_remove(*id, viewer, &mut effect)?;
            }
            Write::Put(item) => {
                let wrong = validate(item);
                if !wrong.is_empty() {
                    return Err(Refused::Fields(wrong));
                }
                self.check_put(item, viewer, &mut effect)?;
                self.count(item, viewer, &mut effect)?;
            }
        }
        Ok(effect)
    }

    fn check_remove(
        &self,
        id: ItemId,
        viewer: AccountId,
        effect: &mut Effect,
    ) -> Result<(), Refused> {
        match (id, &effect.before) {
            (ItemId::Account(id), _) => self.check_empty(id),
            (ItemId::Limit(id), _) => {
                let listed = self.read();
                let attached = listed.accounts.values();
                match attached.filter(|account| account.limit_id == id).count() {
                    0 => Ok(()),
                    accounts => Err(Refused::Attached { id: id.0, accounts }),
                }
            }
            (ItemId::Channel(_), Some(Item::Channel(before))) => {
                effect.rerouted = self.check_channel(Some(before), None, viewer)?;
                Ok(())
            }
            (ItemId::Device(id), _) => {
                effect.rerouted.lost.push(id);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_put(
        &self,
        item: &Item,
        viewer: AccountId,
        effect: &mut Effect,
    ) -> Result<(), Refused> {
        match (item, &effect.before) {
            (Item::Account(item), before) => self.check_account(item, before.as_ref()),
            (Item::Limit(_) | Item::Token(_), _) => self.owner_of(item).map(|_| ()),
            (Item::Channel(after), before) => {
                self.owner_of(item)?;
                self.check_port(after, viewer)?;
                let before = match before {
                    Some(Item::Channel(before)) => Some(before),
                    _ => None,
                };
                effect.rerouted = self.check_channel(before, Some(after), viewer)?;
                Ok(())
            }
            (Item::Device(after), _) => {
                let owner = self.owner_of(item)?;
                effect.rerouted = self.check_device(after, &owner, viewer)?;
                Ok(())
            }
        }
    }

    fn owner_of(&self, item: &Item) -> Result<Account, Refused> {
        self.live(item.cid())
            .ok_or_else(|| no_such(ItemId::Account(item.cid())))
    }

    fn live(&self, id: AccountId) -> Option<Account> {
        self.tree.account(id).filter(|account| !account.is_gone())
    }

    fn check_account(&self, item: &AccountItem, before: Option<&Item>) -> Result<(), Refused> {
        if let Some(before) = before
            && before.cid() != item.owner_id
        {
            return Err(Refused::OwnerForLife);
        }
        if before.is_none() {
            if self.tree.account(item.id).is_some() {
                return Err(Refused::Tree(TreeError::Exists));
            }
            if item.owner_id.is_some() {
                let owner = self
                    .live(item.owner_id)
                    .ok_or_else(|| no_such(ItemId::Account(item.owner_id)))?;
                if usize::from(owner.level()) + 1 >= crate::account::LEVELS_MAX {
                    return Err(Refused::Tree(TreeError::TooDeep));
                }
            }
        }
        if item.limit_id.is_some() {
            let out_of_reach = Refused::LimitOutOfReach {
                id: item.limit_id.0,
            };
            let limit = self.limit(item.limit_id).ok_or(out_of_reach.clone())?;
            // A master has nobody above: the operator attaches a limit of its own.
            let reach = if item.owner_id.is_some() {
                self.tree
                    .account(item.owner_id)
                    .is_some_and(|owner| owner.is_or_is_below(limit.cid))
            } else {
                limit.cid == item.id
            };
            if !reach {
                return Err(out_of_reach);
            }
        }
        Ok(())
    }

    fn check_empty(&self, id: AccountId) -> Result<(), Refused> {
        let devices = self
            .devices
            .iter()
            .filter(|device| device.state.load().item.cid == id)
            .count();
        let channels = self.channels.load();
        let channels = channels.handles.values();
        let listed = self.read();
        let owns: Vec<_> = [
            (
                "subaccounts",
                listed
                    .accounts
                    .values()
                    .filter(|item| item.owner_id == id)
                    .count(),
            ),
            (
                "limits",
                listed.limits.values().filter(|item| item.cid == id).count(),
            ),
            (
                "channels",
                channels
                    .filter(|handle| handle.state.load().item.cid == id)
                    .count(),
            ),
            ("devices", devices),
            (
                "tokens",
                listed.tokens.values().filter(|item| item.cid == id).count(),
            ),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect();
        drop(listed);
        if owns.is_empty() {
            Ok(())
        } else {
            Err(Refused::NotEmpty { id, owns })
        }
    }

    fn check_port(&self, channel: &ChannelItem, viewer: AccountId) -> Result<(), Refused> {
        let table = self.channels.load();
        let holder = table
            .handles
            .values()
            .map(|handle| handle.state.load_full())
            .find(|state| state.port == channel.port && state.item.id != channel.id);
        match holder {
            None => Ok(()),
            Some(state) => Err(Refused::Port {
                port: channel.port,
                holder: self
                    .manages(viewer, state.item.cid)
                    .then_some(state.item.id),
            }),
        }
    }

    /// Create, update, move and restore of a device: its new state against the holders of its
    /// ident.
    fn check_device(
        &self,
        after: &DeviceItem,
        owner: &Account,
        viewer: AccountId,
    ) -> Result<Rerouted, Refused> {
        let places = &self.channels.load().places;
        let path = path_of(owner);
        let claim = Claim {
            protocol: after.protocol,
            ident: &after.ident,
            path: &path,
        };
        for holder in self.holders(after.protocol, &after.ident) {
            let of_holder = holder.path();
            if holder.id != after.id && conflict(places, claim, holder.claim(&of_holder)) {
                let seen = self.manages(viewer, holder.state.load().item.cid);
                return Err(Refused::Ident {
                    protocol: protocol_name(after.protocol),
                    ident: after.ident.clone(),
                    holder: seen.then_some(holder.id),
                });
            }
        }
        let served_after = places.serving(&path, after.protocol);
        let mut rerouted = Rerouted::default();
        if let Some(before) = self.device(after.id) {
            let same = before.protocol == after.protocol && before.ident == after.ident;
            let path = before.path();
            let served_before = places.serving(&path, before.protocol);
            if served_before
                .iter()
                .any(|at| !same || !served_after.contains(at))
            {
                rerouted.lost.push(after.id);
            }
            if served_after
                .iter()
                .any(|at| !same || !served_before.contains(at))
            {
                rerouted.gained.push(after.id);
            }
        } else if !served_after.is_empty() {
            rerouted.gained.push(after.id);
        }
        Ok(rerouted)
    }

    /// Create, move, delete, change of protocols or of `isolated` of a channel: the idents that
    /// more than one device holds, against the channels as they would stand.
    fn check_channel(
        &self,
        before: Option<&ChannelItem>,
        after: Option<&ChannelItem>,
        viewer: AccountId,
    ) -> Result<Rerouted, Refused> {
        if let (Some(before), Some(after)) = (before, after)
            && post(before) == post(after)
        {
            return Ok(Rerouted::default());
        }
        let table = self.channels.load();
        let mut places = table.places.clone();
        if let Some(before) = before {
            places.remove(post(before));
        }
        let others = places.clone();
        if let Some(after) = after {
            places.add(post(after));
        }
        let touched = |protocol: u16| {
            [before, after]
                .into_iter()
                .flatten()
                .any(|channel| channel.protocols.contains(&protocol))
        };
        let shared: Vec<_> = self
            .read()
            .shared
            .iter()
            .filter(|(protocol, _)| touched(*protocol))
            .cloned()
            .collect();
        let mut listed = Vec::new();
        let mut hidden = false;
        for (protocol, ident) in shared {
            for [a, b] in self.doubled(&places, protocol, &ident) {
                let seen = [&a, &b]
                    .into_iter()
                    .all(|device| self.manages(viewer, device.state.load().item.cid));
                if seen && listed.len() < DOUBLES_LISTED_MAX {
                    listed.push((protocol_name(protocol), ident.clone(), [a.id, b.id]));
                } else {
                    hidden = true;
                }
            }
        }
        if hidden || !listed.is_empty() {
            return Err(Refused::Doubles { listed, hidden });
        }
        Ok(self.rerouted([&table.places, &others, &places], before, after, touched))
    }

    /// The pairs of devices with this ident that some channel would serve both of.
    pub(super) fn doubled(
        &self,
        places: &Places,
        protocol: u16,
        ident: &Ident,
    ) -> Vec<[Arc<DeviceHandle>; 2]> {
        let mut holders: Vec<(Path, Arc<DeviceHandle>)> = self
            .holders(protocol, ident)
            .into_iter()
            .map(|device| (device.path(), device))
            .collect();
        holders.sort_unstable_by_key(|(_, device)| device.id);
        let mut pairs = Vec::new();
        for (index, (path_a, a)) in holders.iter().enumerate() {
            for (path_b, b) in holders.iter().skip(index + 1) {
                if conflict(places, a.claim(path_a), b.claim(path_b)) {
                    pairs.push([Arc::clone(a), Arc::clone(b)]);
                }
            }
        }
        pairs
    }

    /// `places`: before the write, without the channel, after the write.
    fn rerouted(
        &self,
        [places_before, others, places_after]: [&Places; 3],
        before: Option<&ChannelItem>,
        after: Option<&ChannelItem>,
        touched: impl Fn(u16) -> bool,
    ) -> Rerouted {
        let mut rerouted = Rerouted::default();
        let devices = self.devices.iter();
        for device in devices.filter(|device| touched(device.protocol)) {
            let path = device.path();
            let concerns = |channel: Option<&ChannelItem>| {
                channel.is_some_and(|channel| path.contains(&channel.cid))
            };
            if !concerns(before) && !concerns(after) {
                continue;
            }
            let claim = device.claim(&path);
            let was = before.is_some_and(|channel| serves(places_before, post(channel), claim));
            let is = after.is_some_and(|channel| serves(places_after, post(channel), claim));
            let owners_before = places_before.serving(&path, device.protocol);
            let owners_after = places_after.serving(&path, device.protocol);
            // Of the other channels: an owner whose channels served and do not, or the other way.
            let lost = |a: &Path, b: &Path| {
                a.iter()
                    .any(|&owner| !b.contains(&owner) && others.stands(owner, device.protocol))
            };
            if was && !is || lost(&owners_before, &owners_after) {
                rerouted.lost.push(device.id);
            }
            if is && !was || lost(&owners_after, &owners_before) {
                rerouted.gained.push(device.id);
            }
        }
        rerouted.lost.sort_unstable();
        rerouted.gained.sort_unstable();
        rerouted
    }

    /// Takes the item's count on its owner's chain. An item that changes its account is tested
    /// against the new chain and counted over only when it is published.
    fn count(&self, item: &Item, viewer: AccountId, effect: &mut Effect) -> Result<(), Refused> {
        let what = item.id().what();
        let dimension = item.id().counted();
        let Some(owner) = self.live(item.cid()) else {
            return Ok(()); // a master has nobody above it
        };
        let Some(before) = &effect.before else {
            effect.held = Some(match owner.acquire(dimension, 1) {
                Ok(held) => held,
                // What stands still by the operator's will may still be built by the operator.
                Err(refusal) if refusal.disabled && !viewer.is_some() => owner.occupy(dimension, 1),
                Err(refusal) => return Err(Refused::Limit { what, refusal }),
            });
            return Ok(());
        };
        if before.cid() == item.cid() {
            return Ok(());
        }
        effect.moved = Some((before.cid(), item.cid()));
        let from = self.tree.account(before.cid());
        // What both chains have in common must not count it twice: taken out, tried, put back.
        if let Some(from) = &from {
            from.release(dimension, 1);
        }
        let tried = owner.acquire(dimension, 1).map(drop);
        if let Some(from) = &from {
            from.occupy(dimension, 1).keep();
        }
        tried.map_err(|refusal| Refused::Limit { what, refusal })
    }

    /// Puts a durable write into memory.
    pub fn publish(
        &self,
        write: Write,
        effect: Effect,
        now_us: i64,
    ) -> Result<Published, PublishError> {
        self.publish_marked(write, effect, now_us, &mut || {})
    }

    /// As [`Registry::publish`]; of a device that changes, `mark` is called as
    /// [`Registry::put_device_marked`] says.
    pub fn publish_marked(
        &self,
        write: Write,
        effect: Effect,
        now_us: i64,
        mark: &mut dyn FnMut(),
    ) -> Result<Published, PublishError> {
        let dimension = write.id().counted();
        let mut published = Published::default();
        let cid = effect.before.as_ref().map(Item::cid);
        match write {
            Write::Put(item) => {
                let to = item.cid();
                match item {
                    Item::Account(item) => published.lifted = self.put_account(item)?,
                    Item::Limit(item) => published.lifted = self.put_limit(item)?,
                    Item::Channel(item) => published.channel = Some(self.put_channel(item)?),
                    Item::Device(item) => {
                        published.device = Some(self.put_device_marked(item, mark)?);
                    }
                    Item::Token(item) => {
                        self.put_token(item);
                    }
                }
                if let Some(held) = effect.held {
                    held.keep();
                }
                if effect.moved.is_some() {
                    self.uncount(cid, dimension);
                    if let Some(to) = self.tree.account(to) {
                        to.occupy(dimension, 1).keep();
                    }
                }
            }
            Write::Remove(id) => {
                match id {
                    ItemId::Account(id) => self.bury_account(Tombstone {
                        id,
                        owner_id: cid.unwrap_or_default(),
                        deleted_us: now_us,
                    })?,
                    ItemId::Limit(id) => {
                        self.remove_limit(id);
                    }
                    ItemId::Channel(id) => published.channel = self.remove_channel(id),
                    ItemId::Device(id) => published.device = self.remove_device(id),
                    ItemId::Token(id) => {
                        self.remove_token(id);
                    }
                }
                self.uncount(cid, dimension);
            }
        }
        Ok(published)
    }

    fn uncount(&self, cid: Option<AccountId>, dimension: Dimension) {
        if let Some(account) = cid.and_then(|cid| self.tree.account(cid)) {
            account.release(dimension, 1);
        }
    }
}

fn no_such(id: ItemId) -> Refused {
    Refused::NoSuch {
        what: id.what(),
        id: id.number(),
    }
}

fn post(channel: &ChannelItem) -> Post<'_> {
    Post {
        owner: channel.cid,
        protocols: &channel.protocols,
        isolated: channel.isolated,
    }
}

fn protocol_name(number: u16) -> &'static str {
    protocols::by_number(number).map_or("an unknown protocol", |protocol| protocol.info.name)
}
