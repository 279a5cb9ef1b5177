//! The rules of identity and of writes, as tables and against a slow model.

mod load;
mod memory;
mod model;
mod reconcile;
mod table;

use super::items::{
    AccountItem, ChannelItem, DeviceItem, LimitItem, Metadata, SettingsText, Source, Stamp,
    TokenItem,
};
use super::{Item, Published, Refused, Registry, Write};
use crate::account::Tree;
use crate::ids::{AccountId, ChannelId, DeviceId, Epoch, Ident, LimitId, TokenId};
use std::sync::Arc;

/// The numbers of two protocols that every build has.
const TELTONIKA: u16 = 1;
const H02: u16 = 3;

/// Accounts: 1 is a master with the children 2 and 3; 4 and 5 are below 2, 6 is below 4, 7 is
/// below 6 (the last level); 8 is below 3; 9 is another master.
const TREE: &[(u64, u64)] = &[
    (1, 0),
    (2, 1),
    (3, 1),
    (4, 2),
    (5, 2),
    (6, 4),
    (7, 6),
    (8, 3),
    (9, 0),
];

fn stamp() -> Stamp {
    Stamp::new(1, Source::Api)
}

fn account(id: u64, owner: u64) -> AccountItem {
    AccountItem {
        id: AccountId(id),
        owner_id: AccountId(owner),
        name: format!("account {id}"),
        enabled: true,
        limit_id: LimitId::NONE,
        email: String::new(),
        metadata: Metadata::new(),
        stamp: stamp(),
    }
}

fn limit(id: u64, cid: u64, fields: &[(&str, i64)]) -> LimitItem {
    LimitItem {
        id: LimitId(id),
        cid: AccountId(cid),
        name: format!("limit {id}"),
        description: String::new(),
        fields: fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect(),
        policy: super::items::LimitPolicy::Hold,
        park_ms_max: 90_000,
        metadata: Metadata::new(),
        stamp: stamp(),
    }
}

fn channel(id: u64, cid: u64, protocols: &[u16], isolated: bool) -> ChannelItem {
    ChannelItem {
        id: ChannelId(id),
        cid: AccountId(cid),
        name: String::new(),
        enabled: true,
        protocols: protocols.to_vec(),
        host: "localhost".into(),
        port: 20_000 + u16::try_from(id).unwrap(),
        isolated,
        unknown: super::items::UnknownPolicy::Hold,
        takeover: super::items::Takeover::Newest,
        allow: Vec::new(),
        tls: None,
        messages_ttl_s: 86_400,
        keep_packets: false,
        configuration: Metadata::new(),
        metadata: Metadata::new(),
        stamp: stamp(),
    }
}

fn device(id: u64, cid: u64, protocol: u16, ident: &str) -> DeviceItem {
    DeviceItem {
        id: DeviceId(id),
        cid: AccountId(cid),
        name: String::new(),
        enabled: true,
        device_type_id: u32::from(protocol) * 1000,
        protocol,
        ident: Ident::new(ident).unwrap(),
        settings: SettingsText::default(),
        messages_ttl_s: 86_400,
        messages_rotate: 0,
        keep_packets: false,
        configuration: Metadata::new(),
        metadata: Metadata::new(),
        moved_us: 0,
        epoch: Epoch(0),
        stamp: stamp(),
    }
}

fn token(id: u64, cid: u64) -> TokenItem {
    TokenItem {
        id: TokenId(id),
        cid: AccountId(cid),
        key_hash: format!("{id:064x}"),
        enabled: true,
        access: super::items::Access::Master,
        info: String::new(),
        ttl_s: 0,
        expire_s: 0,
        ips: Vec::new(),
        metadata: Metadata::new(),
        stamp: stamp(),
    }
}

fn registry() -> Registry {
    let registry = Registry::new(Arc::new(Tree::new()));
    for &(id, owner) in TREE {
        put(&registry, Item::Account(account(id, owner))).unwrap();
    }
    registry
}

fn write(registry: &Registry, write: Write, viewer: u64) -> Result<(Told, Published), Refused> {
    let effect = registry.check(&write, AccountId(viewer))?;
    let seen = Told {
        lost: effect.rerouted.lost.clone(),
        gained: effect.rerouted.gained.clone(),
    };
    let published = registry
        .publish(write, effect, 1)
        .expect("what was checked can be published");
    Ok((seen, published))
}

/// What of an effect outlives its publication.
struct Told {
    lost: Vec<DeviceId>,
    gained: Vec<DeviceId>,
}

fn put(registry: &Registry, item: Item) -> Result<Published, Refused> {
    write(registry, Write::Put(item), 0).map(|(_, published)| published)
}
