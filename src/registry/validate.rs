//! Whether an item is well formed by itself, whatever else there is. All mistakes at once.

use super::items::{
    AccountItem, CHANNEL_MESSAGES_TTL_S_MAX, ChannelItem, DEVICE_MESSAGES_TTL_S_MAX, DeviceItem,
    LimitItem, Metadata, TokenItem, limit_field,
};
use super::types::DeviceType;
use super::write::Item;
use crate::config::{Prefix, nearest};
use std::fmt;

/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 256;
/// The longest free data of one item, in bytes of JSON.
pub const METADATA_BYTES_MAX: usize = 64 * 1024;
/// The most address prefixes of one channel or token.
pub const PREFIXES_MAX: usize = 256;
/// The longest that a limit may keep frames parked.
pub const PARK_MS_LIMIT: u32 = 600_000;

/// What is wrong with a field of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Which field, with dots.
    pub field: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

#[derive(Default)]
struct Found(Vec<FieldError>);

impl Found {
    fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(FieldError {
            field: field.into(),
            problem: problem.into(),
        });
    }

    fn name(&mut self, field: &str, name: &str, required: bool) {
        if required && name.trim().is_empty() {
            self.add(field, "is empty");
        }
        if name.chars().count() > NAME_CHARS_MAX {
            self.add(field, format!("is longer than {NAME_CHARS_MAX} characters"));
        }
        if name.chars().any(char::is_control) {
            self.add(field, "holds a control character");
        }
    }

    fn free(&mut self, field: &str, data: &Metadata) {
        if !data.is_empty()
            && serde_json::to_string(data).is_ok_and(|json| json.len() > METADATA_BYTES_MAX)
        {
            self.add(
                field,
                format!("is longer than {METADATA_BYTES_MAX} bytes of JSON"),
            );
        }
    }

    fn prefixes(&mut self, field: &str, prefixes: &[String]) {
        if prefixes.len() > PREFIXES_MAX {
            self.add(field, format!("has more than {PREFIXES_MAX} prefixes"));
        }
        for (index, prefix) in prefixes.iter().enumerate().take(PREFIXES_MAX) {
            if let Err(error) = prefix.parse::<Prefix>() {
                self.add(format!("{field}[{index}]"), error.to_string());
            }
        }
    }

    fn most(&mut self, field: &str, value: u32, most: u32) {
        if value == 0 || value > most {
            self.add(field, format!("{value} is not within 1 to {most}"));
        }
    }
}

/// What is wrong with an item, every mistake of it.
pub fn validate(item: &Item) -> Vec<FieldError> {
    let mut found = Found::default();
    match item {
        Item::Account(item) => account(item, &mut found),
        Item::Limit(item) => limit(item, &mut found),
        Item::Channel(item) => channel(item, &mut found),
        Item::Device(item) => device(item, &mut found),
        Item::Token(item) => token(item, &mut found),
    }
    found.0
}

fn account(item: &AccountItem, found: &mut Found) {
    found.name("name", &item.name, true);
    found.name("email", &item.email, false);
    found.free("metadata", &item.metadata);
}

fn limit(item: &LimitItem, found: &mut Found) {
    found.name("name", &item.name, true);
    if item.description.len() > METADATA_BYTES_MAX {
        found.add(
            "description",
            format!("is longer than {METADATA_BYTES_MAX} bytes"),
        );
    }
    for (name, &value) in &item.fields {
        if limit_field(name).is_none() {
            let names = super::items::LIMIT_FIELDS.iter().map(|field| field.name);
            found.add(
                name,
                match nearest(name, names) {
                    Some(near) => format!("is no field of a limit; did you mean {near}?"),
                    None => "is no field of a limit".to_owned(),
                },
            );
        } else if value < -1 {
            found.add(
                name,
                format!("{value} is neither -1 (no cap) nor a number of 0 or more"),
            );
        }
    }
    found.most("park_ms_max", item.park_ms_max, PARK_MS_LIMIT);
    found.free("metadata", &item.metadata);
}

fn channel(item: &ChannelItem, found: &mut Found) {
    found.name("name", &item.name, false);
    if item.protocols.is_empty() {
        found.add("protocols", "a channel speaks at least one protocol");
    }
    let mut each = item.protocols.clone();
    each.sort_unstable();
    each.dedup();
    if each.len() < item.protocols.len() {
        found.add("protocols", "one is there twice");
    }
    for number in &item.protocols {
        if protocols::by_number(*number).is_none() {
            found.add("protocols", format!("this build has no protocol {number}"));
        }
    }
    if item.port == 0 {
        found.add("port", "0 is no port");
    }
    found.prefixes("allow", &item.allow);
    if let Some(tls) = &item.tls {
        for (field, name) in [
            ("tls.certificate", &tls.certificate),
            ("tls.key", &tls.key),
            ("tls.client_ca", &tls.client_ca),
        ] {
            found.name(field, name, field != "tls.client_ca");
        }
        if tls.client_required && tls.client_ca.is_empty() {
            found.add("tls.client_required", "needs tls.client_ca");
        }
    }
    found.most(
        "messages_ttl",
        item.messages_ttl_s,
        CHANNEL_MESSAGES_TTL_S_MAX,
    );
    found.free("configuration", &item.configuration);
    found.free("metadata", &item.metadata);
}

fn device(item: &DeviceItem, found: &mut Found) {
    found.name("name", &item.name, false);
    match protocols::by_number(item.protocol) {
        None => found.add(
            "protocol_id",
            format!("this build has no protocol {}", item.protocol),
        ),
        Some(protocol) => {
            if DeviceType::find(item.device_type_id)
                .is_none_or(|kind| kind.protocol.number != item.protocol)
            {
                found.add(
                    "device_type_id",
                    format!(
                        "{} is no device type of {}",
                        item.device_type_id, protocol.info.name
                    ),
                );
            }
            match protocol.ident(item.ident.as_str()) {
                Ok(ident) if ident == item.ident => {}
                Ok(ident) => found.add(
                    "configuration.ident",
                    format!("is not in the protocol's form, which is {ident}"),
                ),
                Err(error) => found.add("configuration.ident", error.to_string()),
            }
        }
    }
    if let Err(error) = item.settings.checked() {
        found.add("settings", error.to_string());
    }
    found.most(
        "messages_ttl",
        item.messages_ttl_s,
        DEVICE_MESSAGES_TTL_S_MAX,
    );
    found.free("configuration", &item.configuration);
    found.free("metadata", &item.metadata);
}

fn token(item: &TokenItem, found: &mut Found) {
    found.name("info", &item.info, false);
    found.prefixes("ips", &item.ips);
    found.free("metadata", &item.metadata);
}
