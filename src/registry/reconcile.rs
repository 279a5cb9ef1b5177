//! What the configuration file declares, against what is stored: a plan, and nothing done yet.
//!
//! Items of the file are known by their names and marked [`Source::File`]; items of the API are
//! none of its business, whatever they are called. What is declared is made or changed, what is as
//! declared already is left alone (so that a second start writes nothing), and what has vanished
//! from the file is disabled, never deleted. A device that only its name has changed of is the
//! same device.
//!
//! The plan is in an order in which each write finds what it names. Control lets it be rehearsed
//! first ([`rehearse`]), so that a file that cannot be is refused as a whole with all its refusals,
//! and then carries it out: check, transaction, publish, write by write.

use super::identity::Path;
use super::items::{
    AccountItem, ChannelItem, ClientBinds, DeviceItem, LimitItem, LimitPolicy, Metadata,
    SettingsText, Source, Stamp, Takeover, TlsItem, UnknownPolicy,
};
use super::types::DeviceType;
use super::write::{Item, Write};
use super::{LoadError, Registry, device};
use crate::account::Tree;
use crate::config::{
    AccountConfig, ChannelConfig, ClientBindsRaw, Config, ConfigError, DeviceConfig, LimitConfig,
    PolicyRaw, TakeoverRaw, TlsRaw, UnknownRaw,
};
use crate::ids::{AccountId, ChannelId, DeviceId, Epoch, LimitId};
use crate::store::{Kind, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A write that the file asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Where the file asks for it: `devices[3]`; empty for what has vanished from it.
    pub path: String,
    /// What to do.
    pub write: Write,
}

/// The numbers that new items get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextIds {
    /// The next account's.
    pub account: u64,
    /// The next limit's.
    pub limit: u64,
    /// The next channel's.
    pub channel: u64,
    /// The next device's.
    pub device: u64,
}

impl NextIds {
    /// As the store has them.
    pub fn of(store: &Store) -> Result<Self, StoreError> {
        Ok(Self {
            account: store.next_id(Kind::Account)?,
            limit: store.next_id(Kind::Limit)?,
            channel: store.next_id(Kind::Channel)?,
            device: store.next_id(Kind::Device)?,
        })
    }
}

fn take(next: &mut u64) -> u64 {
    let id = *next;
    *next += 1;
    id
}

/// The items of the file that are stored, by name.
struct Stored {
    accounts: BTreeMap<String, AccountItem>,
    limits: BTreeMap<String, LimitItem>,
    channels: BTreeMap<String, ChannelItem>,
    devices: BTreeMap<String, DeviceItem>,
}

impl Stored {
    fn of(registry: &Registry) -> Self {
        let named = |name: &String| name.clone();
        let accounts = registry.accounts().into_iter();
        let limits = registry.limits().into_iter();
        let channels = registry.channels().into_iter();
        let devices = registry.devices().into_iter();
        Self {
            accounts: accounts
                .filter(|item| item.stamp.source == Source::File)
                .map(|item| (named(&item.name), AccountItem::clone(&item)))
                .collect(),
            limits: limits
                .filter(|item| item.stamp.source == Source::File)
                .map(|item| (named(&item.name), LimitItem::clone(&item)))
                .collect(),
            channels: channels
                .map(|handle| ChannelItem::clone(&handle.state.load().item))
                .filter(|item| item.stamp.source == Source::File)
                .map(|item| (named(&item.name), item))
                .collect(),
            devices: devices
                .map(|handle| handle.state.load_full())
                .filter(|state| state.item.stamp.source == Source::File)
                .map(|state| (named(&state.item.name), DeviceItem::clone(&state.item)))
                .collect(),
        }
    }
}

struct Plan<'a> {
    config: &'a Config,
    stored: Stored,
    now_us: i64,
    accounts: Vec<AccountId>,
    limits: Vec<LimitId>,
    writes: Vec<Planned>,
    mistakes: Vec<ConfigError>,
}

/// The writes that make what is stored what the file declares, or what stands against it.
pub fn reconcile(
    config: &Config,
    registry: &Registry,
    mut ids: NextIds,
    now_us: i64,
) -> Result<Vec<Planned>, Vec<ConfigError>> {
    let stored = Stored::of(registry);
    let known = |name: &str| stored.accounts.get(name).map(|item| item.id);
    // Parents first, so that a parent's id is smaller than its children's.
    let mut accounts = vec![AccountId::NONE; config.accounts.len()];
    for &index in &config.accounts_in_order {
        if let (Some(id), Some(account)) = (accounts.get_mut(index), config.accounts.get(index)) {
            *id = known(&account.raw.name).unwrap_or_else(|| AccountId(take(&mut ids.account)));
        }
    }
    let limits = config
        .limits
        .iter()
        .map(|limit| {
            let known = stored.limits.get(&limit.raw.name).map(|item| item.id);
            known.unwrap_or_else(|| LimitId(take(&mut ids.limit)))
        })
        .collect();
    let mut plan = Plan {
        config,
        stored,
        now_us,
        accounts,
        limits,
        writes: Vec::new(),
        mistakes: Vec::new(),
    };
    plan.accounts_and_limits();
    plan.channels(registry, &mut ids);
    plan.devices(&mut ids);
    plan.vanished(registry);
    if plan.mistakes.is_empty() {
        Ok(plan.writes)
    } else {
        Err(plan.mistakes)
    }
}

/// Carries a plan out in memory alone, on a second registry of the same store: every refusal that
/// it would meet, under the path of the file. Empty: nothing stands against it. Blocks for as long
/// as loading does.
pub fn rehearse(store: &Store, plan: &[Planned]) -> Result<Vec<ConfigError>, LoadError> {
    let stage = Registry::load(store, Arc::new(Tree::new()))?;
    let mut refusals = Vec::new();
    for Planned { path, write } in plan {
        match stage.check(write, AccountId::NONE) {
            Ok(effect) => {
                stage.publish(write.clone(), effect, 0)?;
            }
            Err(refused) => refusals.push(ConfigError::new(path, refused.to_string())),
        }
    }
    Ok(refusals)
}

impl Plan<'_> {
    /// Adds a write of `wanted`, unless `stored` is like it already.
    fn put(&mut self, path: String, wanted: Item, stored: Option<&Item>) {
        let mut wanted = wanted;
        match stored {
            Some(stored) => {
                *wanted.stamp_mut() = *stored.stamp();
                if wanted == *stored {
                    return;
                }
                *wanted.stamp_mut() = stored.stamp().changed(self.now_us);
            }
            None => *wanted.stamp_mut() = Stamp::new(self.now_us, Source::File),
        }
        let write = Write::Put(wanted);
        self.writes.push(Planned { path, write });
    }

    fn account_id(&self, index: usize) -> AccountId {
        self.accounts.get(index).copied().unwrap_or_default()
    }

    /// Each account before its children, each limit behind its owner and before who is attached.
    fn accounts_and_limits(&mut self) {
        let config = self.config;
        for &index in &config.accounts_in_order {
            let Some(account) = config.accounts.get(index) else {
                continue;
            };
            let path = format!("accounts[{index}]");
            let wanted = self.account(index, account);
            let stored = self.stored.accounts.get(&account.raw.name).cloned();
            if let Some(stored) = stored {
                if stored.owner_id != wanted.owner_id {
                    let mistake = ConfigError::new(
                        format!("{path}.parent"),
                        "an account keeps its owner for life",
                    );
                    let hint = Some("declare another account and move the devices there");
                    self.mistakes.push(mistake.hint(hint));
                    continue;
                }
                self.limits_of(index);
                self.put(path, Item::Account(wanted), Some(&Item::Account(stored)));
                continue;
            }
            let own = account.limit.and_then(|limit| config.limits.get(limit));
            if own.is_some_and(|limit| limit.account == index) {
                // A master's own limit belongs to the master: it comes between two writes.
                let mut bare = wanted.clone();
                bare.limit_id = LimitId::NONE;
                self.put(path.clone(), Item::Account(bare.clone()), None);
                self.limits_of(index);
                bare.stamp = Stamp::new(self.now_us, Source::File);
                self.put(path, Item::Account(wanted), Some(&Item::Account(bare)));
            } else {
                self.put(path, Item::Account(wanted), None);
                self.limits_of(index);
            }
        }
    }

    fn account(&self, index: usize, account: &AccountConfig) -> AccountItem {
        let limit = account.limit.and_then(|limit| self.limits.get(limit));
        AccountItem {
            id: self.account_id(index),
            owner_id: account
                .parent
                .map_or(AccountId::NONE, |parent| self.account_id(parent)),
            name: account.raw.name.clone(),
            enabled: account.raw.enabled,
            limit_id: limit.copied().unwrap_or_default(),
            email: account.raw.email.clone(),
            metadata: account.raw.metadata.clone(),
            stamp: Stamp::default(),
        }
    }

    fn limits_of(&mut self, owner: usize) {
        let config = self.config;
        let limits = config.limits.iter().enumerate();
        for (index, limit) in limits.filter(|(_, limit)| limit.account == owner) {
            let path = format!("limits[{index}]");
            let wanted = self.limit(index, limit);
            let stored = self.stored.limits.get(&limit.raw.name).cloned();
            if stored
                .as_ref()
                .is_some_and(|stored| stored.cid != wanted.cid)
            {
                self.mistakes.push(ConfigError::new(
                    format!("{path}.account"),
                    "a limit keeps its owner",
                ));
                continue;
            }
            let stored = stored.map(Item::Limit);
            self.put(path, Item::Limit(wanted), stored.as_ref());
        }
    }

    fn limit(&self, index: usize, limit: &LimitConfig) -> LimitItem {
        LimitItem {
            id: self.limits.get(index).copied().unwrap_or_default(),
            cid: self.account_id(limit.account),
            name: limit.raw.name.clone(),
            description: limit.raw.description.clone(),
            fields: limit
                .raw
                .numbers()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            policy: match limit.raw.policy {
                PolicyRaw::Hold => LimitPolicy::Hold,
                PolicyRaw::Drop => LimitPolicy::Drop,
            },
            park_ms_max: limit.raw.park.as_ms(),
            metadata: limit.raw.metadata.clone(),
            stamp: Stamp::default(),
        }
    }

    fn channels(&mut self, registry: &Registry, ids: &mut NextIds) {
        let config = self.config;
        let asked = config.channels.iter().filter_map(|it| it.raw.port);
        let mut taken: BTreeSet<u16> = registry
            .channels()
            .iter()
            .map(|handle| handle.state.load().port)
            .chain(asked)
            .chain([config.http.listen.port()])
            .collect();
        for (index, channel) in config.channels.iter().enumerate() {
            let path = format!("channels[{index}]");
            let stored = self.stored.channels.get(&channel.raw.name).cloned();
            let port = channel
                .raw
                .port
                .or_else(|| stored.as_ref().map(|stored| stored.port))
                .or_else(|| {
                    let mut free = config.gateway.ports.ports();
                    free.find(|port| taken.insert(*port))
                });
            let Some(port) = port else {
                let problem = format!("no port is free in {}", config.gateway.ports);
                self.mistakes
                    .push(ConfigError::new(format!("{path}.port"), problem));
                continue;
            };
            let wanted = self.channel(channel, port, stored.as_ref(), ids);
            let stored = stored.map(Item::Channel);
            self.put(path, Item::Channel(wanted), stored.as_ref());
        }
    }

    fn channel(
        &self,
        channel: &ChannelConfig,
        port: u16,
        stored: Option<&ChannelItem>,
        ids: &mut NextIds,
    ) -> ChannelItem {
        let raw = &channel.raw;
        let host = raw.host.clone();
        let host = host.or_else(|| stored.map(|stored| stored.host.clone()));
        ChannelItem {
            id: stored.map_or_else(|| ChannelId(take(&mut ids.channel)), |stored| stored.id),
            cid: self.account_id(channel.account),
            name: raw.name.clone(),
            enabled: raw.enabled,
            protocols: channel.protocols.clone(),
            host: host.unwrap_or_else(|| self.config.gateway.host.clone()),
            port,
            isolated: raw.isolated,
            unknown: match raw.unknown {
                UnknownRaw::Hold => UnknownPolicy::Hold,
                UnknownRaw::Store => UnknownPolicy::Store,
                UnknownRaw::Close => UnknownPolicy::Close,
            },
            takeover: match raw.takeover {
                TakeoverRaw::Newest => Takeover::Newest,
                TakeoverRaw::Keep => Takeover::Keep,
            },
            allow: raw.allow.iter().map(ToString::to_string).collect(),
            tls: raw.tls.as_ref().map(tls),
            messages_ttl_s: raw.messages_ttl.as_secs(),
            keep_packets: raw.keep_packets,
            configuration: Metadata::new(),
            metadata: raw.metadata.clone(),
            stamp: Stamp::default(),
        }
    }

    fn devices(&mut self, ids: &mut NextIds) {
        let config = self.config;
        let declared: BTreeSet<&str> = config
            .devices
            .iter()
            .map(|device| device.raw.name.as_str())
            .collect();
        // Those whose name is gone from the file, by what trackers know them by.
        let mut renamed: BTreeMap<_, String> = self
            .stored
            .devices
            .values()
            .filter(|item| !declared.contains(item.name.as_str()))
            .map(|item| ((item.protocol, item.ident.clone()), item.name.clone()))
            .collect();
        for (index, device) in config.devices.iter().enumerate() {
            let mut stored = self.stored.devices.get(&device.raw.name).cloned();
            if stored.is_none()
                && let Some(name) = renamed.remove(&(device.protocol, device.ident.clone()))
            {
                stored = self.stored.devices.remove(&name);
            }
            let wanted = self.device(device, stored.as_ref(), ids);
            let stored = stored.map(Item::Device);
            let path = format!("devices[{index}]");
            self.put(path, Item::Device(wanted), stored.as_ref());
        }
    }

    fn device(
        &self,
        device: &DeviceConfig,
        stored: Option<&DeviceItem>,
        ids: &mut NextIds,
    ) -> DeviceItem {
        let raw = &device.raw;
        let cid = self.account_id(device.account);
        let kind = u32::from(device.protocol) * super::types::MODELS_PER_PROTOCOL_MAX
            + u32::from(device.model);
        let model = DeviceType::find(kind).and_then(|kind| kind.model);
        let text = |value: &Option<String>| value.as_deref().map(Into::into);
        let (epoch, moved_us) = match stored {
            None => (Epoch(0), 0),
            Some(stored) if stored.cid == cid => (stored.epoch, stored.moved_us),
            Some(stored) => (Epoch(stored.epoch.0 + 1), self.now_us),
        };
        DeviceItem {
            id: stored.map_or_else(|| DeviceId(take(&mut ids.device)), |stored| stored.id),
            cid,
            name: raw.name.clone(),
            enabled: raw.enabled,
            device_type_id: kind,
            protocol: device.protocol,
            ident: device.ident.clone(),
            settings: SettingsText {
                model: model.map(|model| model.name.into()),
                password: text(&raw.password),
                format: text(&raw.format),
                time_zone: text(&raw.time_zone),
            },
            messages_ttl_s: raw.messages_ttl.as_secs(),
            messages_rotate: 0,
            keep_packets: raw.keep_packets,
            configuration: Metadata::from_iter([(
                "ident".to_owned(),
                raw.ident.trim().to_owned().into(),
            )]),
            metadata: raw.metadata.clone(),
            moved_us,
            epoch,
            stamp: Stamp::default(),
        }
    }

    /// Disables what the file had declared: devices and channels before accounts, children before
    /// parents.
    fn vanished(&mut self, registry: &Registry) {
        let config = self.config;
        let mut items: Vec<Item> = Vec::new();
        let declared = names(config.devices.iter().map(|it| &it.raw.name));
        let devices = self.stored.devices.values();
        items.extend(
            devices
                .filter(|item| item.enabled && !declared.contains(&item.name))
                .cloned()
                .map(Item::Device),
        );
        let declared = names(config.channels.iter().map(|it| &it.raw.name));
        let channels = self.stored.channels.values();
        items.extend(
            channels
                .filter(|item| item.enabled && !declared.contains(&item.name))
                .cloned()
                .map(Item::Channel),
        );
        let depth = |item: &AccountItem| {
            let account = registry.tree().account(item.id);
            account.map_or(0, |account| Path::len(&device::path_of(&account)))
        };
        let declared = names(config.accounts.iter().map(|it| &it.raw.name));
        let stored = self.stored.accounts.values();
        let mut accounts: Vec<_> = stored
            .filter(|item| item.enabled && !declared.contains(&item.name))
            .cloned()
            .collect();
        accounts.sort_by_key(|item| std::cmp::Reverse(depth(item)));
        items.extend(accounts.into_iter().map(Item::Account));
        for stored in items {
            let mut wanted = stored.clone();
            match &mut wanted {
                Item::Account(item) => item.enabled = false,
                Item::Channel(item) => item.enabled = false,
                Item::Device(item) => item.enabled = false,
                Item::Limit(_) | Item::Token(_) => continue,
            }
            self.put(String::new(), wanted, Some(&stored));
        }
    }
}

fn tls(raw: &TlsRaw) -> TlsItem {
    TlsItem {
        certificate: raw.certificate.clone(),
        key: raw.key.clone(),
        client_ca: raw.client_ca.clone(),
        client_required: raw.client_required,
        client_binds: match raw.client_binds {
            ClientBindsRaw::Ident => ClientBinds::Ident,
            ClientBindsRaw::Account => ClientBinds::Account,
            ClientBindsRaw::Nothing => ClientBinds::Nothing,
        },
    }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> BTreeSet<&'a String> {
    names.collect()
}
