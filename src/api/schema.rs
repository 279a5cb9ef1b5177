//! What bodies, queries and rows of answers look like, as JSON Schema: the description of the API is
//! made of it. It says what [`super::edit`] takes; it decides nothing.

use super::routes::Route;
use crate::registry::items::{
    CHANNEL_MESSAGES_TTL_S_MAX, DEVICE_MESSAGES_TTL_S_MAX, LIMIT_FIELDS, PARK_MS_MAX,
};
use crate::registry::types::device_types;
use crate::registry::{NAME_CHARS_MAX, PARK_MS_LIMIT, PREFIXES_MAX};
use axum::http::Method;
use serde_json::{Map, Value, json};

/// A text without control characters, and perhaps with something to see.
fn name(needed: bool) -> Value {
    const PRINTED: &str = "[^\\u0000-\\u001f\\u007f-\\u009f]*";
    let pattern = if needed {
        format!("^{PRINTED}[^\\s\\u0000-\\u001f\\u007f-\\u009f]{PRINTED}$")
    } else {
        format!("^{PRINTED}$")
    };
    json!({ "type": "string", "maxLength": NAME_CHARS_MAX, "pattern": pattern })
}

fn whole(least: i64, most: impl Into<Value>, about: &str) -> Value {
    let most: Value = most.into();
    json!({ "type": "integer", "minimum": least, "maximum": most, "description": about })
}

fn flag() -> Value {
    json!({ "type": "boolean" })
}

fn free(about: &str) -> Value {
    json!({ "type": ["object", "null"], "description": about })
}

/// Address prefixes.
fn prefixes() -> Value {
    const BYTE: &str = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    let v4 = format!("^{BYTE}(\\.{BYTE}){{3}}(/([12]?[0-9]|3[0-2]))?$");
    json!({
        "type": ["array", "null"], "maxItems": PREFIXES_MAX,
        "items": { "anyOf": [
            { "type": "string", "pattern": v4 },
            { "type": "string", "format": "ipv6" },
        ] },
        "description": "Addresses or prefixes, `192.0.2.0/24`; empty is every address.",
    })
}

fn metadata() -> Value {
    free("Whatever the user keeps there, up to 64 KiB of JSON.")
}

fn account() -> Value {
    json!({
        "name": name(true),
        "enabled": flag(),
        "limit_id": {
            "type": ["integer", "null"], "minimum": 0, "maximum": i64::MAX,
            "description": "A limit of the account that owns this one, or of one above; 0 is none.",
        },
        "email": name(false),
        "metadata": metadata(),
    })
}

fn limit() -> Value {
    let mut fields = json!({
        "name": name(true),
        "description": { "type": "string" },
        "policy": { "enum": ["hold", "drop"] },
        "park_ms_max": whole(1, PARK_MS_LIMIT, &format!("{PARK_MS_MAX} unless it says otherwise.")),
        "metadata": metadata(),
    });
    for field in LIMIT_FIELDS {
        fields[field.name] = whole(-1, i64::MAX, "-1: no cap of its own.");
    }
    fields
}

fn token() -> Value {
    let methods = json!({
        "type": "array", "items": { "enum": ["GET", "POST", "PUT", "PATCH", "DELETE"] },
    });
    let entry = json!({
        "type": "object", "required": ["uri"], "additionalProperties": false,
        "properties": {
            "uri": { "enum": super::edit::ACL_URIS },
            "methods": methods,
            "ids": { "anyOf": [
                { "enum": ["all", "in-groups"] },
                { "type": "array", "items": whole(0, i64::MAX, "An item.") },
            ] },
            "submodules": { "type": "array", "items": {
                "type": "object", "required": ["name", "methods"],
                "properties": { "name": { "type": "string" }, "methods": methods },
            } },
            "topic": { "type": "string" },
            "actions": { "type": ["array", "null"], "items": { "type": "string" } },
        },
    });
    let plain = json!({
        "type": "object", "required": ["type"], "additionalProperties": false,
        "properties": { "type": { "enum": [0, 1] } },
    });
    let listed = json!({
        "type": "object", "required": ["type", "acl"], "additionalProperties": false,
        "properties": {
            "type": { "enum": [2] },
            "acl": {
                "type": "array", "maxItems": super::edit::ACL_ENTRIES_MAX, "items": entry,
            },
        },
    });
    json!({
        "info": name(false),
        "enabled": flag(),
        "expire": whole(0, u32::MAX, "Unix seconds; 0 is none."),
        "ttl": whole(0, u32::MAX, "Seconds since the last use; 0 is none."),
        "access": {
            "oneOf": [plain, listed],
            "description": "0 standard, 1 master, 2 what its list allows.",
        },
        "ips": prefixes(),
        "metadata": metadata(),
    })
}

fn channel(mode: Mode) -> Value {
    let names = || protocols::PROTOCOLS.iter().map(|p| p.info.name);
    let numbers: Vec<u16> = protocols::PROTOCOLS.iter().map(|p| p.number).collect();
    let named: Vec<&str> = names().chain(["auto"]).collect();
    let file = |needed: bool| name(needed);
    let mut fields = json!({
        "name": name(false),
        "enabled": flag(),
        "protocol_id": { "enum": numbers },
        "protocol_name": { "enum": named },
        "protocols": { "type": "array", "minItems": 1, "items": { "enum": named } },
        "configuration": free("Whatever the user keeps there."),
        "messages_ttl": whole(1, CHANNEL_MESSAGES_TTL_S_MAX, "Seconds."),
        "keep_packets": flag(),
        "isolated": flag(),
        "unknown": { "enum": ["hold", "store", "close"] },
        "takeover": { "enum": ["newest", "keep"] },
        "allow": prefixes(),
        "tls": {
            "type": ["object", "null"], "additionalProperties": false,
            "required": ["certificate", "key"],
            "properties": {
                "certificate": file(true), "key": file(true), "client_ca": file(false),
                "client_required": flag(),
                "client_binds": { "enum": ["ident", "account", "nothing"] },
            },
            "description": "Names of files in the gateway's folder of certificates.",
        },
        "metadata": metadata(),
    });
    if mode == Mode::Create {
        fields["port"] = whole(
            1,
            65_535,
            "A port of the configured range; left out, the next free one.",
        );
    }
    fields
}

fn device() -> Value {
    let types: Vec<u32> = device_types().map(|kind| kind.id).collect();
    let type_names: Vec<String> = device_types().map(|kind| kind.name()).collect();
    let names: Vec<&str> = protocols::PROTOCOLS.iter().map(|p| p.info.name).collect();
    json!({
        "name": name(false),
        "enabled": flag(),
        "device_type_id": { "enum": types },
        "device_type_name": { "enum": type_names },
        "protocol_name": { "enum": names, "description": "Any model of the protocol." },
        "configuration": {
            "type": "object", "required": ["ident"],
            "properties": {
                "ident": { "type": ["string", "integer"], "description": "In the protocol's form." },
                "model": { "type": ["string", "integer", "null"] },
                "password": { "type": ["string", "integer", "null"] },
                "format": { "type": ["string", "integer", "null"] },
                "time_zone": { "type": ["string", "integer", "null"] },
            },
        },
        "messages_ttl": whole(1, DEVICE_MESSAGES_TTL_S_MAX, "Seconds."),
        "messages_rotate": whole(0, i64::MAX, "Bytes; 0 is no bound."),
        "media_ttl": whole(0, i64::MAX, "Taken and means nothing."),
        "media_rotate": whole(0, i64::MAX, "Taken and means nothing."),
        "metadata": metadata(),
    })
}

/// What is written of an item.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Create,
    Put,
    Patch,
}

/// The body of an item; `needed` are the fields that a new one must have.
fn item(mut fields: Value, mode: Mode, needed: &[&[&str]]) -> Value {
    if mode == Mode::Patch {
        for name in ["configuration", "metadata"] {
            if let Some(whole) = fields.get(name) {
                // `null` empties what may be empty
                let kind = whole["type"].clone();
                let about = "Merged; `null` takes a name out.";
                fields[name] = json!({ "type": kind, "description": about });
            }
        }
    }
    let mut body = json!({
        "type": "object", "additionalProperties": false, "properties": fields,
    });
    if mode == Mode::Create {
        let one_of: Vec<Value> = needed
            .iter()
            .map(|names| json!({ "required": names }))
            .collect();
        match one_of.as_slice() {
            [] => {}
            [one] => body["required"] = one["required"].clone(),
            _ => body["anyOf"] = one_of.into(),
        }
    }
    body
}

fn messages() -> Value {
    json!({
        "type": "object", "required": ["timestamp"],
        "properties": { "timestamp": {
            "type": "number", "minimum": 0, "maximum": 4_102_444_800_i64,
            "description": "Unix seconds.",
        } },
        "additionalProperties": { "type": ["boolean", "number", "string", "null"] },
        "propertyNames": { "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$" },
    })
}

/// The body that a route takes, if it takes one.
pub(super) fn body(route: &Route) -> Option<Value> {
    let mode = match route.method {
        Method::POST => Mode::Create,
        Method::PUT => Mode::Put,
        Method::PATCH => Mode::Patch,
        _ => return None,
    };
    let tail: Vec<&str> = route.path.split('/').collect();
    let one = match tail.as_slice() {
        [.., "restore"] => return None,
        [.., "cid"] => json!({
            "type": "object", "required": ["cid"], "additionalProperties": false,
            "properties": { "cid": whole(0, i64::MAX, "The account to move to.") },
        }),
        ["platform", "customer"] => {
            let mut fields = account();
            if let Value::Object(fields) = &mut fields {
                fields.shift_remove("enabled");
                fields.shift_remove("limit_id");
            }
            item(fields, mode, &[])
        }
        ["platform", "subaccounts", ..] => item(account(), mode, &[&["name"]]),
        ["platform", "limits", ..] => item(limit(), mode, &[&["name"]]),
        ["platform", "tokens", ..] => item(token(), mode, &[]),
        ["gw", "channels", ..] => item(
            channel(mode),
            mode,
            &[&["protocol_id"], &["protocol_name"], &["protocols"]],
        ),
        ["gw", "devices", _, "messages"] => messages(),
        ["gw", "devices", ..] => item(
            device(),
            mode,
            &[
                &["configuration", "device_type_id"],
                &["configuration", "device_type_name"],
                &["configuration", "protocol_name"],
            ],
        ),
        _ => json!({ "type": "object" }),
    };
    let most = match tail.as_slice() {
        [.., "messages"] => super::register::MESSAGES_MAX,
        _ => super::call::BODY_ITEMS_MAX,
    };
    Some(if mode == Mode::Create {
        json!({ "anyOf": [
            { "type": "array", "items": one, "minItems": 1, "maxItems": most },
            one,
        ] })
    } else {
        one
    })
}

/// What `data` of a route may say.
pub(super) fn data(route: &Route) -> Option<Value> {
    let last = route.path.rsplit('/').next().unwrap_or_default();
    let reads = route.method == Method::GET;
    let clears = route.method == Method::DELETE && last == "messages";
    if reads && last == "statements" {
        let day = |what: &str| json!({ "type": "string", "format": "date", "description": what });
        return Some(json!({
            "type": ["object", "null"], "additionalProperties": false,
            "properties": { "from": day("The first day (UTC)."), "to": day("The last day.") },
        }));
    }
    if !(clears || reads && ["messages", "logs", "statistics", "packets"].contains(&last)) {
        return None;
    }
    let time = json!({ "type": "number", "description": "Unix seconds, included." });
    if clears {
        let mut fields = json!({ "from": time, "to": time });
        if route.path.starts_with("gw/devices") {
            fields["erase"] = flag();
        }
        return Some(json!({
            "type": ["object", "null"], "additionalProperties": false, "properties": fields,
        }));
    }
    let mut fields = json!({
        "from": time,
        "to": time,
        "count": whole(0, u64::MAX, "So many rows at most; 0 is no bound."),
        "reverse": flag(),
        "filter": { "type": "string", "description": "An expression, as in selectors." },
        "fields": { "type": "string", "description": "Names and masks, with commas." },
    });
    if last != "packets" {
        fields["generalize"] = whole(
            1,
            31_622_400,
            "Seconds of an interval that becomes one row.",
        );
        fields["method"] = json!({ "enum": ["average", "minimum", "maximum"] });
    }
    match last {
        "logs" => fields["item_type"] = whole(0, u64::MAX, "Only events of such items."),
        "statistics" => fields["period"] = json!({ "enum": ["minute", "hour", "day", "month"] }),
        "messages" if route.path.starts_with("gw/channels") && reads => {
            fields["curr_key"] = whole(0, u64::MAX, "`next_key` of the answer before.");
            fields["limit_count"] = whole(0, u64::MAX, "Messages.");
            fields["limit_size"] = whole(0, u64::MAX, "Bytes.");
            fields["timeout"] = whole(0, u64::MAX, "Seconds to wait for one; at most 60.");
            fields["delete"] = flag();
        }
        _ => {}
    }
    Some(json!({ "type": ["object", "null"], "additionalProperties": false, "properties": fields }))
}

/// The rows of an answer, by name; each shows what `fields` asked for, so that none is required.
pub(super) fn rows() -> Map<String, Value> {
    let item = |own: Value| {
        let mut fields = json!({
            "id": { "type": "integer" },
            "cid": { "type": "integer" },
            "metadata": { "type": "object" },
            "revision": { "type": "integer" },
            "created": { "type": "number" },
            "updated": { "type": "number" },
            "source": { "enum": ["api", "file"] },
            "blocked": { "type": "integer", "description": "0: not; else why." },
            "blocked_until": { "type": "number" },
            "blocked_by": { "type": "string" },
        });
        if let (Value::Object(fields), Value::Object(own)) = (&mut fields, own) {
            fields.extend(own);
        }
        json!({ "type": "object", "properties": fields })
    };
    let texts = |names: &[&str]| -> Value {
        let fields = names
            .iter()
            .map(|name| ((*name).to_owned(), json!({ "type": "string" })));
        Value::Object(fields.collect())
    };
    let with = |mut fields: Value, more: Value| {
        if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
            fields.extend(more);
        }
        fields
    };
    let integer = json!({ "type": "integer" });
    let object = json!({ "type": "object" });
    let boolean = json!({ "type": "boolean" });
    let nullable = json!({ "type": ["object", "null"] });
    let mut all = Map::new();
    let mut put = |name: &str, schema: Value| all.insert(name.to_owned(), schema);
    put(
        "Account",
        item(with(
            texts(&["name", "email", "region"]),
            json!({
                "owner_id": integer, "enabled": boolean, "limit_id": integer,
                "counters": nullable, "limits": object,
            }),
        )),
    );
    let caps = LIMIT_FIELDS
        .iter()
        .map(|field| (field.name.to_owned(), integer.clone()));
    put(
        "Limit",
        item(with(
            with(
                texts(&["name", "description", "policy"]),
                Value::Object(caps.collect()),
            ),
            json!({ "park_ms_max": integer }),
        )),
    );
    put(
        "Token",
        item(with(
            texts(&["info", "key"]),
            json!({
                "enabled": boolean, "expire": integer, "ttl": integer,
                "accessed": { "type": "number" }, "access": object, "ips": { "type": "array" },
            }),
        )),
    );
    put(
        "Channel",
        item(with(
            texts(&[
                "name",
                "protocol_name",
                "uri",
                "secondary_uri",
                "unknown",
                "takeover",
                "host",
            ]),
            json!({
                "enabled": boolean, "protocol_id": integer, "configuration": object,
                "messages_ttl": integer, "isolated": boolean, "port": integer,
                "protocols": { "type": "array" }, "allow": { "type": "array" }, "tls": nullable,
                "connections_count": integer, "messages_size": { "type": ["integer", "null"] },
            }),
        )),
    );
    put(
        "Device",
        item(with(
            texts(&["name"]),
            json!({
                "enabled": boolean, "device_type_id": integer, "protocol_id": integer,
                "configuration": object, "messages_ttl": integer, "messages_rotate": integer,
                "connected": boolean, "last_active": integer, "telemetry": nullable,
                "messages_size": { "type": ["integer", "null"] }, "counters": nullable,
            }),
        )),
    );
    put("Row", object.clone());
    put(
        "Message",
        json!({ "type": "object", "properties": {
            "ident": { "type": "string" }, "timestamp": { "type": "number" },
            "server.timestamp": { "type": "number" }, "channel.id": integer,
            "device.id": integer, "protocol.id": integer,
        } }),
    );
    put(
        "Event",
        json!({ "type": "object", "properties": {
            "timestamp": { "type": "number" }, "event_code": integer,
            "event_origin": { "type": "string" }, "origin_id": integer, "origin_type": integer,
            "cid": integer,
        } }),
    );
    put(
        "Telemetry",
        json!({ "type": "object", "required": ["id"], "properties": {
            "id": integer,
            "telemetry": {
                "type": ["object", "null"],
                "additionalProperties": {
                    "type": "object", "required": ["ts", "value"],
                    "properties": { "ts": { "type": ["number", "null"] } },
                },
            },
        } }),
    );
    all
}

/// The name of the rows that a route answers with.
pub(super) fn row(route: &Route) -> &'static str {
    let tail: Vec<&str> = route.path.split('/').collect();
    match tail.as_slice() {
        [.., "logs"] => "Event",
        ["gw", _, _, "messages"] if route.method == Method::GET => "Message",
        ["gw", "devices", _, "telemetry", ..] => "Telemetry",
        ["platform", "customer" | "subaccounts"] | ["platform", "subaccounts", _] => "Account",
        ["platform", "limits"] | ["platform", "limits", _] => "Limit",
        ["auth", "info"] | ["platform", "tokens"] | ["platform", "tokens", _] => "Token",
        ["gw", "channels"] | ["gw", "channels", _] | ["gw", "channels", _, "cid"] => "Channel",
        ["gw", "devices"] | ["gw", "devices", _] | ["gw", "devices", _, "cid"] => "Device",
        _ => "Row",
    }
}
