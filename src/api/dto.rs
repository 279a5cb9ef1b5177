//! Items as flespi's objects.
//!
//! Without `fields` an item has flespi's default fields and Tollgate's own beside them (`isolated`,
//! `unknown`, `takeover`, `policy`, ...). Everything else is there when `fields` asks for it. What
//! `fields` asks for and nobody has is left out, because clients ask for what only flespi has.

use super::State;
use super::answer::seconds;
use crate::account::{Account, Dimension};
use crate::ids::minute_of;
use crate::registry::items::{
    AccountItem, ChannelItem, DeviceItem, LIMIT_FIELDS, LimitItem, LimitPolicy, Source, Stamp,
    TokenItem,
};
use crate::registry::types::DeviceType;
use crate::registry::{Item, ItemId};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Which fields are wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Wants {
    names: Option<Vec<String>>,
    /// A device's password may be shown.
    pub(super) secrets: bool,
}

impl Wants {
    /// The names of `fields`; `None`: the default fields.
    pub(super) fn new(names: Option<Vec<String>>, secrets: bool) -> Self {
        Self { names, secrets }
    }

    /// One field, as an expression asks for it.
    pub(super) fn one(name: &str) -> Self {
        Self {
            names: Some(vec![name.to_owned()]),
            secrets: false,
        }
    }

    fn takes(&self, name: &str, by_default: bool) -> bool {
        match &self.names {
            None => by_default,
            Some(names) => names.iter().any(|wanted| {
                wanted == "*"
                    || wanted
                        .strip_prefix(name)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }),
        }
    }

    /// Of `a.b` only `b` of `a` stays.
    fn narrowed(&self, sheet: Map<String, Value>) -> Map<String, Value> {
        let Some(names) = &self.names else {
            return sheet;
        };
        let whole = |key: &str| names.iter().any(|name| name == key || name == "*");
        sheet
            .into_iter()
            .map(|(key, value)| {
                if whole(&key) || !value.is_object() {
                    return (key, value);
                }
                let mut kept = Value::Object(Map::new());
                for name in names {
                    if let Some(path) = name.strip_prefix(&key).and_then(|p| p.strip_prefix('.')) {
                        take(&value, path, &mut kept);
                    }
                }
                (key, kept)
            })
            .collect()
    }
}

/// Copies `path` of `from` into `to`, with the objects on the way. A name may have dots in it: the
/// shortest that leads on counts, as in expressions.
fn take(from: &Value, path: &str, to: &mut Value) {
    if let Some(value) = from.get(path) {
        to[path] = value.clone();
        return;
    }
    for (at, _) in path.match_indices('.') {
        let (Some(head), Some(tail)) = (path.get(..at), path.get(at + 1..)) else {
            continue;
        };
        let Some(inner) = from.get(head) else {
            continue;
        };
        if inner.is_object() && super::expression::look_up(inner, tail).is_some() {
            if !to.get(head).is_some_and(Value::is_object) {
                to[head] = Value::Object(Map::new());
            }
            take(inner, tail, &mut to[head]);
            return;
        }
    }
}

/// An item's object while it is filled.
struct Sheet<'a> {
    wants: &'a Wants,
    out: Map<String, Value>,
}

impl Sheet<'_> {
    /// A default field.
    fn base(&mut self, name: &str, value: impl Into<Value>) {
        if self.wants.takes(name, true) {
            self.out.insert(name.to_owned(), value.into());
        }
    }

    /// A default field that costs something to make.
    fn base_with(&mut self, name: &str, value: impl FnOnce() -> Value) {
        if self.wants.takes(name, true) {
            self.out.insert(name.to_owned(), value());
        }
    }

    /// A field that is there when it is asked for.
    fn more(&mut self, name: &str, value: impl FnOnce() -> Value) {
        if self.wants.takes(name, false) {
            self.out.insert(name.to_owned(), value());
        }
    }

    fn stamp(&mut self, stamp: &Stamp) {
        self.more("revision", || stamp.revision.0.into());
        self.more("created", || seconds(stamp.created_us));
        self.more("updated", || seconds(stamp.updated_us));
        self.more("source", || {
            match stamp.source {
                Source::Api => "api",
                Source::File => "file",
            }
            .into()
        });
    }

    /// `blocked` as a code, and until when.
    fn blocked(&mut self, account: Option<&Account>, now_us: i64, over: impl FnOnce() -> bool) {
        if !self.wants.takes("blocked", false) {
            return;
        }
        let blocked = account.and_then(|account| account.blocked_for(&Dimension::ALL, now_us));
        let mut put = |name: &str, value: Value| self.out.insert(name.to_owned(), value);
        match blocked {
            None if over() => {
                put("blocked", 5.into());
            }
            None => {
                put("blocked", 0.into());
            }
            Some(blocked) => {
                put("blocked", blocked.code.into());
                put("blocked_until", seconds(blocked.until_us));
                put("blocked_by", blocked.dimension.name().into());
            }
        }
    }

    fn end(self) -> Map<String, Value> {
        self.wants.narrowed(self.out)
    }
}

/// Without the default fields that say what the item is anyway: some clients write back the whole
/// object that they have read, `id` and `cid` included. `configuration` stays: what is made of it
/// hangs on the type as well.
pub(super) fn changes(state: &State, item: &Item, body: &Map<String, Value>) -> Map<String, Value> {
    let wants = Wants::new(None, true);
    let shown = show(state, item, &wants);
    body.iter()
        .filter(|(name, value)| *name == "configuration" || shown.get(*name) != Some(*value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The object of the item of that id, and its revision, without a copy of the item.
pub(super) fn look(state: &State, id: ItemId, wants: &Wants) -> Option<(u64, Map<String, Value>)> {
    let registry = state.control.registry();
    let (stamp, sheet) = match id {
        ItemId::Account(id) => {
            let item = registry.account(id)?;
            (item.stamp, account(state, &item, wants))
        }
        ItemId::Limit(id) => {
            let item = registry.limit(id)?;
            (item.stamp, limit(state, &item, wants))
        }
        ItemId::Channel(id) => {
            let item = Arc::clone(&registry.channel(id)?.state.load().item);
            (item.stamp, channel(state, &item, wants))
        }
        ItemId::Device(id) => {
            let item = Arc::clone(&registry.device(id)?.state.load().item);
            (item.stamp, device(state, &item, wants))
        }
        ItemId::Token(id) => {
            let item = registry.token(id)?;
            (item.stamp, token(state, &item, wants))
        }
    };
    Some((stamp.revision.0, sheet))
}

/// The object of an item.
pub(super) fn show(state: &State, item: &Item, wants: &Wants) -> Map<String, Value> {
    match item {
        Item::Account(item) => account(state, item, wants),
        Item::Limit(item) => limit(state, item, wants),
        Item::Channel(item) => channel(state, item, wants),
        Item::Device(item) => device(state, item, wants),
        Item::Token(item) => token(state, item, wants),
    }
}

fn account(state: &State, item: &AccountItem, wants: &Wants) -> Map<String, Value> {
    let mut sheet = Sheet {
        wants,
        out: Map::new(),
    };
    sheet.base("id", item.id.0);
    sheet.base("cid", item.owner_id.0);
    sheet.base("owner_id", item.owner_id.0);
    sheet.base("name", item.name.as_str());
    sheet.base("enabled", item.enabled);
    sheet.base("limit_id", item.limit_id.0);
    sheet.base_with("metadata", || Value::Object(item.metadata.clone()));
    sheet.more("email", || item.email.as_str().into());
    sheet.more("region", || "local".into());
    let registry = state.control.registry();
    let node = registry.tree().account(item.id);
    let now_us = state.control.clock().now_us();
    let over = || state.control.is_over(ItemId::Account(item.id));
    sheet.blocked(node.as_ref(), now_us, over);
    sheet.more("counters", || {
        node.as_ref()
            .map_or(Value::Null, |node| counters(node, now_us))
    });
    sheet.more("limits", || {
        let attached = registry.limit(item.limit_id);
        let values = LIMIT_FIELDS.iter().map(|field| {
            let value = attached
                .as_ref()
                .map_or(-1, |limit| limit.field(field.name));
            (field.name.to_owned(), Value::from(value))
        });
        Value::Object(values.collect())
    });
    sheet.stamp(&item.stamp);
    sheet.end()
}

/// What an account and its branch use now: of rates in this minute, of the others at this moment.
fn counters(account: &Account, now_us: i64) -> Value {
    let minute = minute_of(now_us);
    let mut counters: Map<String, Value> = Dimension::ALL
        .into_iter()
        .map(|dimension| {
            let reading = account.reading(dimension, minute);
            let used = reading.used.saturating_add(reading.usage);
            (dimension.name().to_owned(), used.into())
        })
        .collect();
    let posted = account.posted();
    let totals = crate::account::Totals::NAMES.iter().zip(posted.to_array());
    let totals: Map<String, Value> = totals
        .map(|(name, value)| ((*name).to_owned(), value.into()))
        .collect();
    for (name, value) in &totals {
        counters
            .entry(name.clone())
            .or_insert_with(|| value.clone());
    }
    counters.insert("totals".into(), Value::Object(totals));
    Value::Object(counters)
}

fn limit(state: &State, item: &LimitItem, wants: &Wants) -> Map<String, Value> {
    let mut sheet = Sheet {
        wants,
        out: Map::new(),
    };
    sheet.base("id", item.id.0);
    sheet.base("cid", item.cid.0);
    sheet.base("name", item.name.as_str());
    sheet.base("description", item.description.as_str());
    for field in LIMIT_FIELDS {
        sheet.base(field.name, item.field(field.name));
    }
    sheet.base(
        "policy",
        match item.policy {
            LimitPolicy::Hold => "hold",
            LimitPolicy::Drop => "drop",
        },
    );
    sheet.base("park_ms_max", item.park_ms_max);
    sheet.more("blocked", || {
        let over = state.control.is_over(ItemId::Limit(item.id));
        if over { 5 } else { 0 }.into()
    });
    sheet.base_with("metadata", || Value::Object(item.metadata.clone()));
    sheet.stamp(&item.stamp);
    sheet.end()
}

/// The word of a small enum, as it is stored.
fn word(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn channel(state: &State, item: &ChannelItem, wants: &Wants) -> Map<String, Value> {
    let mut sheet = Sheet {
        wants,
        out: Map::new(),
    };
    let single = match item.protocols.as_slice() {
        [one] => *one,
        _ => 0,
    };
    sheet.base("id", item.id.0);
    sheet.base("cid", item.cid.0);
    sheet.base("name", item.name.as_str());
    sheet.base("enabled", item.enabled);
    sheet.base("protocol_id", single);
    sheet.base_with("protocol_name", || {
        if single == 0 {
            "auto"
        } else {
            protocols::name_of(single)
        }
        .into()
    });
    sheet.base_with("configuration", || {
        Value::Object(item.configuration.clone())
    });
    sheet.base("messages_ttl", item.messages_ttl_s);
    sheet.base("uri", format!("{}:{}", item.host, item.port));
    sheet.base("secondary_uri", "");
    sheet.base("isolated", item.isolated);
    sheet.base("unknown", word(item.unknown));
    sheet.base("takeover", word(item.takeover));
    sheet.more("keep_packets", || item.keep_packets.into());
    sheet.base_with("metadata", || Value::Object(item.metadata.clone()));
    sheet.more("protocols", || {
        item.protocols
            .iter()
            .map(|&number| protocols::name_of(number))
            .collect()
    });
    sheet.more("host", || item.host.as_str().into());
    sheet.more("port", || item.port.into());
    sheet.more("allow", || item.allow.clone().into());
    sheet.more("tls", || word(&item.tls));
    let registry = state.control.registry();
    sheet.more("connections_count", || {
        registry
            .channel(item.id)
            .map_or(0, |handle| handle.connections())
            .into()
    });
    sheet.more("idents_unknown", || {
        registry
            .channel(item.id)
            .map_or(0, |handle| handle.unknown().len())
            .into()
    });
    sheet.more("messages_size", || {
        let held = state.control.journal().held_of_channel(item.id);
        held.map_or(Value::Null, |held| held.bytes.into())
    });
    sheet.more("commands_size", || 0.into());
    sheet.more("commands_ttl", || 0.into());
    let now_us = state.control.clock().now_us();
    let over = || state.control.is_over(ItemId::Channel(item.id));
    sheet.blocked(registry.tree().account(item.cid).as_ref(), now_us, over);
    sheet.stamp(&item.stamp);
    sheet.end()
}

/// A device's `configuration`: what the user wrote, and the settings that its decoder needs.
fn configuration(item: &DeviceItem, secrets: bool) -> Value {
    let mut object = Map::new();
    object.insert("ident".into(), item.ident.as_str().into());
    for (name, value) in [
        ("model", &item.settings.model),
        ("format", &item.settings.format),
        ("time_zone", &item.settings.time_zone),
    ] {
        if let Some(value) = value {
            object.insert(name.into(), value.as_str().into());
        }
    }
    if let Some(password) = item.settings.password.as_ref().filter(|_| secrets) {
        object.insert("password".into(), password.as_str().into());
    }
    for (name, value) in &item.configuration {
        if name != "password" {
            object.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    object
        .entry("settings_polling")
        .or_insert_with(|| "once".into());
    Value::Object(object)
}

fn device(state: &State, item: &DeviceItem, wants: &Wants) -> Map<String, Value> {
    let mut sheet = Sheet {
        wants,
        out: Map::new(),
    };
    sheet.base("id", item.id.0);
    sheet.base("cid", item.cid.0);
    sheet.base("name", item.name.as_str());
    sheet.base("enabled", item.enabled);
    sheet.base("device_type_id", item.device_type_id);
    sheet.base("protocol_id", item.protocol);
    sheet.base_with("configuration", || configuration(item, wants.secrets));
    sheet.base("messages_ttl", item.messages_ttl_s);
    sheet.base("messages_rotate", item.messages_rotate);
    sheet.base("media_ttl", item.messages_ttl_s);
    sheet.base("media_rotate", 0);
    sheet.base_with("metadata", || Value::Object(item.metadata.clone()));
    sheet.more("device_type_name", || {
        DeviceType::find(item.device_type_id).map_or(Value::Null, |kind| kind.name().into())
    });
    sheet.more("protocol_name", || {
        protocols::by_number(item.protocol).map_or(Value::Null, |p| p.info.name.into())
    });
    sheet.more("keep_packets", || item.keep_packets.into());
    sheet.more("moved", || seconds(item.moved_us));
    for name in ["media_size", "media_traffic", "media_blocked"] {
        sheet.more(name, || 0.into());
    }
    for name in ["groups", "plugins", "streams", "calcs"] {
        sheet.more(name, || Value::Array(Vec::new()));
    }
    sheet.more("settings", || Value::Object(Map::new()));
    sheet.more("commands", || {
        protocols::by_number(item.protocol).map_or(Value::Null, |p| p.info.commands.into())
    });
    sheet.more("commands_queue", || {
        super::commands::queue_of(state, item.id)
    });
    let held = || state.control.journal().held_of_device(item.id);
    sheet.more("messages_size", || {
        held().map_or(Value::Null, |held| held.bytes.into())
    });
    sheet.more("counters", || {
        held().map_or(
            Value::Null,
            |held| json!({ "messages": held.messages, "messages_size": held.bytes }),
        )
    });
    let registry = state.control.registry();
    let handle = registry.device(item.id);
    if let Some(handle) = &handle {
        sheet.more("connected", || handle.present().is_some().into());
        sheet.more("last_active", || {
            handle
                .telemetry()
                .newest_ms()
                .map_or(0, |ms| ms / 1000)
                .into()
        });
        sheet.more("telemetry", || super::telemetry::telemetry_object(handle));
    }
    let now_us = state.control.clock().now_us();
    let over = || state.control.is_over(ItemId::Device(item.id));
    sheet.blocked(registry.tree().account(item.cid).as_ref(), now_us, over);
    sheet.stamp(&item.stamp);
    sheet.end()
}

fn token(state: &State, item: &TokenItem, wants: &Wants) -> Map<String, Value> {
    use crate::registry::items::Access;
    let mut sheet = Sheet {
        wants,
        out: Map::new(),
    };
    sheet.base("id", item.id.0);
    sheet.base("cid", item.cid.0);
    sheet.base("info", item.info.as_str());
    sheet.base("enabled", item.enabled);
    sheet.base("expire", item.expire_s);
    sheet.base("ttl", item.ttl_s);
    sheet.base_with("created", || seconds(item.stamp.created_us));
    sheet.base_with("accessed", || seconds(state.accessed_us(item)));
    sheet.base_with("access", || match &item.access {
        Access::Standard => json!({ "type": 0 }),
        Access::Master => json!({ "type": 1 }),
        Access::Acl(list) => json!({ "type": 2, "acl": list }),
    });
    sheet.more("blocked", || {
        let over = state.control.is_over(ItemId::Token(item.id));
        if over { 5 } else { 0 }.into()
    });
    sheet.base_with("ips", || item.ips.clone().into());
    sheet.base_with("metadata", || Value::Object(item.metadata.clone()));
    sheet.stamp(&item.stamp);
    sheet.end()
}
