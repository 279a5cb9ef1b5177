//! What a body says of an item: field by field, what is not known is refused by its name.
//!
//! PUT replaces each field that it names, `configuration` and `metadata` as a whole; PATCH merges
//! into these two (a `null` takes a name out).

use crate::control::WriteError;
use crate::ids::{AccountId, ChannelId, DeviceId, Epoch, Ident, LimitId, TokenId};
use crate::registry::Item;
use crate::registry::items::{
    Access, AccountItem, CHANNEL_MESSAGES_TTL_S, ChannelItem, DEVICE_MESSAGES_TTL_S, DeviceItem,
    LimitItem, LimitPolicy, Metadata, PARK_MS_MAX, SettingsText, Stamp, Takeover, TlsItem,
    TokenItem, UnknownPolicy, limit_field,
};
use crate::registry::types::DeviceType;
use compact_str::CompactString;
use protocols::Setting;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The most entries of a token's access list.
pub(super) const ACL_ENTRIES_MAX: usize = 100;

/// How `configuration` and `metadata` are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The body is the whole item.
    Create,
    /// What is named is replaced.
    Put,
    /// What is named is merged.
    Patch,
}

type Done = Result<(), WriteError>;

fn wrong(field: &str, reason: impl Into<String>) -> WriteError {
    WriteError::field(field, reason)
}

fn text(field: &str, value: &Value) -> Result<String, WriteError> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| wrong(field, "must be a string"))
}

fn flag(field: &str, value: &Value) -> Result<bool, WriteError> {
    value
        .as_bool()
        .ok_or_else(|| wrong(field, "must be true or false"))
}

/// A whole number, however it is written: `5.0` is one in JSON.
pub(super) fn whole_of(value: &Value) -> Option<i64> {
    /// Up to here every whole number is itself as a float.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    value.as_i64().or_else(|| {
        let float = value.as_f64().filter(|float| float.abs() < EXACT_MAX)?;
        (float.fract() == 0.0).then(|| format!("{float:.0}").parse().ok())?
    })
}

/// A type of whole numbers, in words.
trait Whole: TryFrom<i64> {
    const WORDS: &'static str;
}

impl Whole for u8 {
    const WORDS: &'static str = "must be a whole number from 0 to 255";
}

impl Whole for u16 {
    const WORDS: &'static str = "must be a whole number from 0 to 65535";
}

impl Whole for u32 {
    const WORDS: &'static str = "must be a whole number from 0 to 4294967295";
}

impl Whole for u64 {
    const WORDS: &'static str = "must be a whole number of 0 or more";
}

impl Whole for i64 {
    const WORDS: &'static str = "must be a whole number";
}

fn number<T: Whole>(field: &str, value: &Value) -> Result<T, WriteError> {
    let fitting = whole_of(value).and_then(|whole| T::try_from(whole).ok());
    fitting.ok_or_else(|| wrong(field, T::WORDS))
}

fn id(field: &str, value: &Value) -> Result<u64, WriteError> {
    match value {
        Value::Null => Ok(0),
        other => number(field, other),
    }
}

/// A word of a small enum, by its stored form.
fn word<T: serde::de::DeserializeOwned>(
    field: &str,
    value: &Value,
    words: &str,
) -> Result<T, WriteError> {
    serde_json::from_value(value.clone()).map_err(|_| wrong(field, format!("must be {words}")))
}

/// `configuration` or `metadata`.
fn object(field: &str, value: &Value, now: &Metadata, mode: Mode) -> Result<Metadata, WriteError> {
    let given = match value {
        Value::Null => return Ok(Map::new()),
        Value::Object(given) => given,
        _ => return Err(wrong(field, "must be an object")),
    };
    if mode != Mode::Patch {
        return Ok(given.clone());
    }
    let mut merged = Value::Object(now.clone());
    merge(&mut merged, value);
    Ok(match merged {
        Value::Object(merged) => merged,
        _ => Map::new(),
    })
}

/// RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (name, value) in patch {
        if value.is_null() {
            if let Some(object) = into.as_object_mut() {
                object.remove(name);
            }
        } else {
            merge(&mut into[name], value);
        }
    }
}

fn texts(field: &str, value: &Value) -> Result<Vec<String>, WriteError> {
    let list = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(list) => list,
        _ => return Err(wrong(field, "must be a list of strings")),
    };
    list.iter().map(|item| text(field, item)).collect()
}

const NOT_ALLOWED: &str = "field is not allowed";

/// Takes what `body` says into `item`.
pub(super) fn apply(item: &mut Item, body: &Map<String, Value>, mode: Mode) -> Done {
    match item {
        Item::Account(item) => account(item, body, mode),
        Item::Limit(item) => limit(item, body, mode),
        Item::Channel(item) => channel(item, body, mode),
        Item::Device(item) => device(item, body, mode),
        Item::Token(item) => token(item, body, mode),
    }
}

fn required(body: &Map<String, Value>, mode: Mode, name: &str) -> Done {
    if mode == Mode::Create && !body.contains_key(name) {
        return Err(wrong(name, "is missing"));
    }
    Ok(())
}

/// An account without anything.
pub(super) fn new_account(owner: AccountId) -> AccountItem {
    AccountItem {
        id: AccountId::NONE,
        owner_id: owner,
        name: String::new(),
        enabled: true,
        limit_id: LimitId::NONE,
        email: String::new(),
        metadata: Map::new(),
        stamp: Stamp::default(),
    }
}

fn account(item: &mut AccountItem, body: &Map<String, Value>, mode: Mode) -> Done {
    required(body, mode, "name")?;
    for (name, value) in body {
        match name.as_str() {
            "name" => item.name = text(name, value)?,
            "enabled" => item.enabled = flag(name, value)?,
            "limit_id" => item.limit_id = LimitId(id(name, value)?),
            "email" => item.email = text(name, value)?,
            "metadata" => item.metadata = object(name, value, &item.metadata, mode)?,
            _ => return Err(wrong(name, NOT_ALLOWED)),
        }
    }
    Ok(())
}

/// A limit that caps nothing.
pub(super) fn new_limit(cid: AccountId) -> LimitItem {
    LimitItem {
        id: LimitId::NONE,
        cid,
        name: String::new(),
        description: String::new(),
        fields: std::collections::BTreeMap::new(),
        policy: LimitPolicy::default(),
        park_ms_max: PARK_MS_MAX,
        metadata: Map::new(),
        stamp: Stamp::default(),
    }
}

fn limit(item: &mut LimitItem, body: &Map<String, Value>, mode: Mode) -> Done {
    required(body, mode, "name")?;
    for (name, value) in body {
        match name.as_str() {
            "name" => item.name = text(name, value)?,
            "description" => item.description = text(name, value)?,
            "policy" => item.policy = word(name, value, "hold or drop")?,
            "park_ms_max" => item.park_ms_max = number(name, value)?,
            "metadata" => item.metadata = object(name, value, &item.metadata, mode)?,
            field if limit_field(field).is_some() => {
                let cap: i64 = number(name, value)?;
                if cap == -1 {
                    item.fields.remove(field);
                } else {
                    item.fields.insert(field.to_owned(), cap);
                }
            }
            _ => return Err(wrong(name, NOT_ALLOWED)),
        }
    }
    Ok(())
}

/// A channel without a protocol.
pub(super) fn new_channel(cid: AccountId) -> ChannelItem {
    ChannelItem {
        id: ChannelId::NONE,
        cid,
        name: String::new(),
        enabled: true,
        protocols: Vec::new(),
        host: String::new(),
        port: 0,
        isolated: true,
        unknown: UnknownPolicy::default(),
        takeover: Takeover::default(),
        allow: Vec::new(),
        tls: None,
        messages_ttl_s: CHANNEL_MESSAGES_TTL_S,
        keep_packets: false,
        configuration: Map::new(),
        metadata: Map::new(),
        stamp: Stamp::default(),
    }
}

/// A protocol by number or name; `auto` is all of them.
fn protocols_of(field: &str, value: &Value) -> Result<Vec<u16>, WriteError> {
    let one = |value: &Value| match value {
        Value::String(name) if name == "auto" => {
            let mut all: Vec<u16> = protocols::PROTOCOLS.iter().map(|p| p.number).collect();
            all.sort_unstable();
            Ok(all)
        }
        Value::String(name) => protocols::find(name)
            .map(|protocol| vec![protocol.number])
            .ok_or_else(|| {
                let names = protocols::PROTOCOLS.iter().map(|p| p.info.name);
                let near = crate::config::nearest(name, names);
                let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
                wrong(field, format!("there is no protocol {name}{hint}"))
            }),
        other => {
            let number: u16 = number(field, other)?;
            protocols::by_number(number)
                .map(|protocol| vec![protocol.number])
                .ok_or_else(|| wrong(field, format!("there is no protocol {number}")))
        }
    };
    let mut numbers = match value {
        Value::Array(list) => {
            let mut numbers = Vec::new();
            for value in list {
                numbers.extend(one(value)?);
            }
            numbers
        }
        value => one(value)?,
    };
    // who is named first is tried first
    let mut seen = BTreeSet::new();
    numbers.retain(|number| seen.insert(*number));
    Ok(numbers)
}

fn channel(item: &mut ChannelItem, body: &Map<String, Value>, mode: Mode) -> Done {
    let named = ["protocol_id", "protocol_name", "protocols"];
    if mode == Mode::Create && !named.iter().any(|name| body.contains_key(*name)) {
        return Err(wrong("protocol_id", "is missing (or protocol_name)"));
    }
    for (name, value) in body {
        match name.as_str() {
            "name" => item.name = text(name, value)?,
            "enabled" => item.enabled = flag(name, value)?,
            "protocol_id" | "protocol_name" | "protocols" => {
                item.protocols = protocols_of(name, value)?;
            }
            "configuration" => {
                item.configuration = object(name, value, &item.configuration, mode)?;
            }
            "messages_ttl" => item.messages_ttl_s = number(name, value)?,
            "keep_packets" => item.keep_packets = flag(name, value)?,
            "port" if mode == Mode::Create => item.port = number(name, value)?,
            "port" => {
                if number::<u16>(name, value)? != item.port {
                    return Err(wrong(name, "a channel keeps its port for life"));
                }
            }
            "isolated" => item.isolated = flag(name, value)?,
            "unknown" => item.unknown = word(name, value, "hold, store or close")?,
            "takeover" => item.takeover = word(name, value, "newest or keep")?,
            "allow" => item.allow = texts(name, value)?,
            "tls" => item.tls = tls(value)?,
            "metadata" => item.metadata = object(name, value, &item.metadata, mode)?,
            _ => return Err(wrong(name, NOT_ALLOWED)),
        }
    }
    Ok(())
}

/// How a channel speaks TLS; `null`: it does not.
fn tls(value: &Value) -> Result<Option<TlsItem>, WriteError> {
    let fields = match value {
        Value::Null => return Ok(None),
        Value::Object(fields) => fields,
        _ => return Err(wrong("tls", "must be an object or null")),
    };
    let mut tls = TlsItem::default();
    for (name, value) in fields {
        let field = format!("tls.{name}");
        match name.as_str() {
            "certificate" => tls.certificate = text(&field, value)?,
            "key" => tls.key = text(&field, value)?,
            "client_ca" => tls.client_ca = text(&field, value)?,
            "client_required" => tls.client_required = flag(&field, value)?,
            "client_binds" => {
                tls.client_binds = word(&field, value, "ident, account or nothing")?;
            }
            _ => return Err(wrong(&field, NOT_ALLOWED)),
        }
    }
    Ok(Some(tls))
}

/// A device without type and ident.
pub(super) fn new_device(cid: AccountId) -> DeviceItem {
    DeviceItem {
        id: DeviceId::NONE,
        cid,
        name: String::new(),
        enabled: true,
        device_type_id: 0,
        protocol: 0,
        // replaced by what the body must say
        ident: Ident::new("0").expect("a digit is an ident"),
        settings: SettingsText::default(),
        messages_ttl_s: DEVICE_MESSAGES_TTL_S,
        messages_rotate: 0,
        keep_packets: false,
        configuration: Map::new(),
        metadata: Map::new(),
        moved_us: 0,
        epoch: Epoch::default(),
        stamp: Stamp::default(),
    }
}

/// The type that a body names, by id, by name, or by the protocol's name: any model. What it names
/// beside must agree.
fn type_of(body: &Map<String, Value>) -> Result<Option<DeviceType>, WriteError> {
    let mut kind = None;
    if let Some(value) = body.get("device_type_id") {
        let id: u32 = number("device_type_id", value)?;
        let found = DeviceType::find(id)
            .ok_or_else(|| wrong("device_type_id", format!("device type {id} not found")))?;
        kind = Some(found);
    }
    if let Some(value) = body.get("device_type_name") {
        let name = text("device_type_name", value)?;
        let found = crate::registry::types::device_types()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| wrong("device_type_name", format!("device type {name} not found")))?;
        if kind.is_some_and(|kind| kind.id != found.id) {
            return Err(wrong("device_type_name", "is not that of device_type_id"));
        }
        kind = Some(found);
    }
    if let Some(value) = body.get("protocol_name") {
        let name = text("protocol_name", value)?;
        let protocol = protocols::find(&name)
            .ok_or_else(|| wrong("protocol_name", format!("there is no protocol {name}")))?;
        match kind {
            Some(kind) if kind.protocol.number != protocol.number => {
                return Err(wrong("protocol_name", "is not that of the device type"));
            }
            Some(_) => {}
            None => kind = Some(DeviceType::any(protocol)),
        }
    }
    Ok(kind)
}

fn device(item: &mut DeviceItem, body: &Map<String, Value>, mode: Mode) -> Done {
    let kind = match type_of(body)? {
        Some(kind) => {
            item.device_type_id = kind.id;
            item.protocol = kind.protocol.number;
            kind
        }
        None if mode == Mode::Create && body.contains_key("configuration") => {
            return Err(wrong(
                "device_type_id",
                "device configuration cannot be stored without device type",
            ));
        }
        None if mode == Mode::Create => return Err(wrong("device_type_id", "is missing")),
        None => DeviceType::find(item.device_type_id).ok_or_else(|| {
            wrong(
                "device_type_id",
                "this build does not have the device's type",
            )
        })?,
    };
    if mode == Mode::Create && !body.contains_key("configuration") {
        return Err(wrong("configuration.ident", "is missing"));
    }
    for (name, value) in body {
        match name.as_str() {
            "name" => item.name = text(name, value)?,
            "enabled" => item.enabled = flag(name, value)?,
            "device_type_id" | "device_type_name" | "protocol_name" => {}
            "configuration" => configure(item, kind, value, mode)?,
            "messages_ttl" => item.messages_ttl_s = number(name, value)?,
            "messages_rotate" => item.messages_rotate = number(name, value)?,
            "keep_packets" => item.keep_packets = flag(name, value)?,
            // there is no media here: a number is taken so that clients that send it go on
            "media_ttl" | "media_rotate" => drop(number::<u64>(name, value)?),
            "metadata" => item.metadata = object(name, value, &item.metadata, mode)?,
            _ => return Err(wrong(name, NOT_ALLOWED)),
        }
    }
    // the type carries what its decoder needs
    if kind.protocol.info.settings.contains(&Setting::Model)
        && let Some(model) = kind.model
    {
        item.settings.model = Some(CompactString::new(model.name));
    }
    Ok(())
}

/// `configuration`: the ident, what the decoder needs, and whatever else the user keeps there.
fn configure(item: &mut DeviceItem, kind: DeviceType, value: &Value, mode: Mode) -> Done {
    let mut now = item.configuration.clone();
    if mode == Mode::Patch {
        let set = |now: &mut Metadata, name: &str, value: Option<&CompactString>| {
            if let Some(value) = value {
                now.insert(name.to_owned(), value.as_str().into());
            }
        };
        now.insert("ident".into(), item.ident.as_str().into());
        set(&mut now, "model", item.settings.model.as_ref());
        set(&mut now, "password", item.settings.password.as_ref());
        set(&mut now, "format", item.settings.format.as_ref());
        set(&mut now, "time_zone", item.settings.time_zone.as_ref());
    }
    let mut given = object("configuration", value, &now, mode)?;
    let ident = match given.shift_remove("ident") {
        Some(Value::String(text)) => text,
        Some(Value::Number(number)) if number.is_u64() => number.to_string(),
        Some(_) => return Err(wrong("configuration.ident", "must be a string")),
        None => return Err(wrong("configuration.ident", "is missing")),
    };
    item.ident = kind
        .protocol
        .ident(&ident)
        .map_err(|error| wrong("configuration.ident", error.to_string()))?;
    let mut setting = |name: &str| match given.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(CompactString::new(text))),
        Some(Value::Number(number)) => Ok(Some(CompactString::new(number.to_string()))),
        Some(_) => Err(wrong(&format!("configuration.{name}"), "must be a string")),
    };
    item.settings = SettingsText {
        model: setting("model")?,
        password: setting("password")?,
        format: setting("format")?,
        time_zone: setting("time_zone")?,
    };
    item.settings
        .checked()
        .map_err(|error| wrong("configuration", error.to_string()))?;
    item.configuration = given;
    Ok(())
}

/// A token that may nothing.
pub(super) fn new_token(cid: AccountId) -> TokenItem {
    TokenItem {
        id: TokenId::NONE,
        cid,
        key_hash: String::new(),
        enabled: true,
        access: Access::Standard,
        info: String::new(),
        ttl_s: 0,
        expire_s: 0,
        ips: Vec::new(),
        metadata: Map::new(),
        stamp: Stamp::default(),
    }
}

fn token(item: &mut TokenItem, body: &Map<String, Value>, mode: Mode) -> Done {
    for (name, value) in body {
        match name.as_str() {
            "info" => item.info = text(name, value)?,
            "enabled" => item.enabled = flag(name, value)?,
            "expire" => item.expire_s = number::<u32>(name, value)?.into(),
            "ttl" => item.ttl_s = number(name, value)?,
            "access" => item.access = access(value)?,
            "ips" => item.ips = texts(name, value)?,
            "metadata" => item.metadata = object(name, value, &item.metadata, mode)?,
            _ => return Err(wrong(name, NOT_ALLOWED)),
        }
    }
    Ok(())
}

fn access(value: &Value) -> Result<Access, WriteError> {
    let Value::Object(object) = value else {
        return Err(wrong("access", "must be an object"));
    };
    for name in object.keys() {
        if name != "type" && name != "acl" {
            return Err(wrong(&format!("access.{name}"), NOT_ALLOWED));
        }
    }
    let kind = object
        .get("type")
        .ok_or_else(|| wrong("access.type", "is missing"))?;
    let list = object.get("acl");
    match (number::<u8>("access.type", kind)?, list) {
        (0, None) => Ok(Access::Standard),
        (1, None) => Ok(Access::Master),
        (0 | 1, Some(_)) => Err(wrong("access.acl", "belongs to type 2")),
        (2, Some(Value::Array(list))) if list.len() <= ACL_ENTRIES_MAX => {
            let mut kept = list.clone();
            for (index, entry) in kept.iter_mut().enumerate() {
                acl_entry(&format!("access.acl[{index}]"), entry)?;
            }
            Ok(Access::Acl(kept))
        }
        (2, Some(Value::Array(_))) => Err(wrong(
            "access.acl",
            format!("has more than {ACL_ENTRIES_MAX} entries"),
        )),
        (2, _) => Err(wrong("access.acl", "must be a list")),
        _ => Err(wrong(
            "access.type",
            "must be 0 (standard), 1 (master) or 2 (ACL)",
        )),
    }
}

/// What an ACL may name: flespi's list. What Tollgate does not have is kept and allows nothing.
pub(super) const ACL_URIS: &[&str] = &[
    "gw/channels",
    "gw/devices",
    "gw/groups",
    "gw/streams",
    "gw/modems",
    "gw/calcs",
    "gw/plugins",
    "gw/geofences",
    "gw/assets",
    "gw/channel-protocols",
    "gw/message-parameters",
    "storage/containers",
    "storage/cdns",
    "mqtt",
    "ai",
];

/// Checks an entry; its ids are kept as whole numbers.
fn acl_entry(field: &str, entry: &mut Value) -> Done {
    let Value::Object(entry) = entry else {
        return Err(wrong(field, "must be an object"));
    };
    for (name, value) in entry.iter_mut() {
        let field = format!("{field}.{name}");
        match name.as_str() {
            "uri" if value.as_str().is_some_and(|uri| ACL_URIS.contains(&uri)) => {}
            "uri" => {
                return Err(wrong(
                    &field,
                    format!("must be one of {}", ACL_URIS.join(", ")),
                ));
            }
            "methods" => methods(&field, value)?,
            "ids" => match value {
                Value::String(word) if word == "all" || word == "in-groups" => {}
                Value::Array(ids) if ids.iter().all(|id| whole_of(id) >= Some(0)) => {
                    for id in ids {
                        *id = whole_of(id).unwrap_or_default().into();
                    }
                }
                _ => {
                    return Err(wrong(
                        &field,
                        "must be \"all\", \"in-groups\" or a list of ids",
                    ));
                }
            },
            "submodules" => {
                let Value::Array(list) = value else {
                    return Err(wrong(&field, "must be a list"));
                };
                for sub in list {
                    if !sub.get("name").is_some_and(Value::is_string) {
                        return Err(wrong(&field, "each must have a name"));
                    }
                    methods(&field, sub.get("methods").unwrap_or(&Value::Null))?;
                }
            }
            "topic" if value.is_string() => {}
            "topic" => return Err(wrong(&field, "must be a string")),
            "actions" => drop(texts(&field, value)?),
            _ => return Err(wrong(&field, NOT_ALLOWED)),
        }
    }
    if !entry.contains_key("uri") {
        return Err(wrong(&format!("{field}.uri"), "is missing"));
    }
    Ok(())
}

fn methods(field: &str, value: &Value) -> Done {
    const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    let known = value.as_array().is_some_and(|list| {
        list.iter()
            .all(|method| method.as_str().is_some_and(|m| METHODS.contains(&m)))
    });
    if known {
        Ok(())
    } else {
        Err(wrong(
            field,
            "must be a list of GET, POST, PUT, PATCH, DELETE",
        ))
    }
}
