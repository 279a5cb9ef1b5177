//! Events and records as JSON: the form of `tollgate decode`, of the fixtures and of the API.

use super::record::{Datum, Key, Record};
use super::{Event, Output};
use serde_json::{Map, Value as Json, json};

/// A record as a flat object of flespi-style parameters, `timestamp` in seconds among them.
/// Unknown numbers are `custom.param.<id>`, unknown names `custom.<name>`; bytes are hex.
pub fn message_object(record: &Record<'_>) -> Map<String, Json> {
    let mut object = Map::new();
    object.insert("timestamp".into(), seconds(record.timestamp_ms()));
    for (key, datum) in record.fields() {
        object.insert(key_name(key), json_of(datum));
    }
    object
}

/// One event as one line's object, `None` for an event that has no line (frame marks, noise, a
/// login that changes nothing).
pub fn event_line(event: &Event, out: &Output, ident: Option<&str>) -> Option<Json> {
    match event {
        Event::Frame { .. } | Event::Noise { .. } => None,
        Event::Login {
            ident, announced, ..
        } => announced.then(|| json!({ "login": ident.as_str() })),
        Event::Message { range, .. } => {
            let record = out.record(range)?;
            let mut object = message_object(&record);
            if let Some(ident) = ident {
                object.insert("ident".into(), ident.into());
            }
            Some(json!({ "message": object }))
        }
        Event::Part { range, .. } => Some(json!({ "part": hex(out.bytes.get(range.clone())?) })),
        Event::Reply(reply) => {
            let by: Map<String, Json> = reply
                .refused_by
                .iter()
                .map(|(cause, bytes)| (cause.name().to_owned(), hex(bytes).into()))
                .collect();
            Some(json!({
                "reply": hex(&reply.accepted),
                "gate": reply.gate.name(),
                "refused": reply.refused.as_ref().map(|bytes| hex(bytes)),
                "refused_by": by,
            }))
        }
        Event::CommandReply { key, text } => {
            Some(json!({ "command_reply": { "key": key, "text": text } }))
        }
        Event::Rejected(reject) => Some(json!({
            "rejected": { "what": reject.what, "why": reject.why, "at": reject.at }
        })),
    }
}

/// The name of a field in messages.
pub fn key_name(key: Key<'_>) -> String {
    match key {
        Key::Known(id, instance) => match id.param() {
            Some(param) => {
                let mut name = String::with_capacity(param.name.len() + 4);
                param.write_name(instance, &mut name);
                name
            }
            None => format!("custom.unknown.{}", id.0),
        },
        Key::Wire { space: 0, id } => format!("custom.param.{id}"),
        Key::Wire { space, id } => format!("custom.param.{space}.{id}"),
        Key::Name(name) => format!("custom.{name}"),
    }
}

/// Unix ms as seconds: whole where they are.
fn seconds(ms: i64) -> Json {
    if ms % 1000 == 0 {
        (ms / 1000).into()
    } else {
        json!(ms as f64 / 1000.0)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "only whole numbers in range are cast"
)]
fn json_of(datum: Datum<'_>) -> Json {
    /// Up to here every whole number is itself as a float.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    match datum {
        Datum::Bool(value) => value.into(),
        Datum::Int(value) => value.into(),
        Datum::Float(value) if value.fract() == 0.0 && value.abs() < WHOLE_MAX => {
            (value as i64).into()
        }
        Datum::Float(value) => value.into(),
        Datum::Text(value) => value.into(),
        Datum::Bytes(value) => hex(value).into(),
        Datum::List(items) => items.map(json_of).collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    crate::kit::hex::encode(bytes)
}
