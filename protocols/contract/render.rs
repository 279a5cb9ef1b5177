//! Events and records as JSON: the form of `tollgate decode`, of the fixtures and of the API.

use super::fields::DICTIONARY;
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

/// The field that a name in messages means: the way back from [`key_name`]. A name that the
/// dictionary does not have is kept as a name.
pub fn key_of(name: &str) -> Key<'_> {
    if let Some(rest) = name.strip_prefix("custom.param.") {
        let (space, id) = rest.split_once('.').unwrap_or(("0", rest));
        if let (Ok(space), Ok(id)) = (space.parse(), id.parse()) {
            return Key::Wire { space, id };
        }
    }
    if let Some(rest) = name.strip_prefix("custom.") {
        return Key::Name(rest);
    }
    let known = DICTIONARY.iter().find_map(|param| {
        let mut instance = 0;
        let mut segments = name.split('.');
        let fits = param.name.split('.').all(|wanted| {
            let segment = segments.next();
            if wanted == "N" {
                let number = segment.and_then(|digits| digits.parse().ok());
                instance = number.unwrap_or(0);
                number.is_some()
            } else {
                segment == Some(wanted)
            }
        });
        (fits && segments.next().is_none()).then_some(Key::Known(param.id, instance))
    });
    known.unwrap_or(Key::Name(name))
}

/// Unix ms as seconds: whole where they are.
fn seconds(ms: i64) -> Json {
    if ms % 1000 == 0 {
        (ms / 1000).into()
    } else {
        json!(ms as f64 / 1000.0)
    }
}

/// A value as messages have it: bytes in hexadecimal, a float without a fraction as a whole number.
#[expect(
    clippy::cast_possible_truncation,
    reason = "only whole numbers in range are cast"
)]
pub fn json_of(datum: Datum<'_>) -> Json {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::record::compose;
    use crate::contract::{Time, Value};

    #[test]
    fn every_name_leads_back_to_its_field() {
        for param in DICTIONARY {
            let instance = if param.has_instances() { 3 } else { 0 };
            let key = Key::Known(param.id, instance);
            assert_eq!(key_of(&key_name(key)), key, "{}", param.name);
        }
        for key in [
            Key::Wire { space: 0, id: 7 },
            Key::Wire { space: 2, id: 9 },
            Key::Name("fuel"),
        ] {
            assert_eq!(key_of(&key_name(key)), key);
        }
        assert_eq!(key_of("no.such.name"), Key::Name("no.such.name"));
    }

    #[test]
    fn a_composed_record_reads_as_it_was_written() {
        let fields = [
            (key_of("position.speed"), Value::Int(40)),
            (key_of("fuel"), Value::Text("low")),
        ];
        let bytes = compose(Time::Device(5_000), fields);
        let record = Record::read(&bytes).expect("a record");
        let object = Json::Object(message_object(&record));
        let expected = json!({ "timestamp": 5, "position.speed": 40, "custom.fuel": "low" });
        assert_eq!(object, expected);
    }
}
