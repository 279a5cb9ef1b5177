//! POST of messages: what other systems know of a device.
//!
//! An array of flat objects under the names of messages, `timestamp` in seconds. What the gateway
//! itself puts into messages (`ident`, `device.id`, ...) is passed over, so that what was read from
//! one gateway can be registered at another. A name that the dictionary does not have comes back
//! under `custom.`.

use super::answer::{Answer, Error};
use super::call::Call;
use super::items::Kind;
use crate::control::RegisterError;
use crate::ids::DeviceId;
use crate::registry::RecordKey;
use axum::http::StatusCode;
use protocols::record::compose;
use protocols::{Record, Time, Value as Field, key_of};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Messages of one call.
pub(super) const MESSAGES_MAX: usize = 4096;
/// The longest name of a parameter.
const NAME_BYTES_MAX: usize = 128;
/// The most parameters of a message.
const PARAMETERS_MAX: usize = 512;
/// What the gateway says itself.
const OWN: [&str; 9] = [
    "ident",
    "server.timestamp",
    "channel.id",
    "protocol.id",
    "decoder.version",
    "peer",
    "device.id",
    "device.name",
    "device.type.id",
];

fn field_of(value: &Value) -> Option<Field<'_>> {
    match value {
        Value::Bool(value) => Some(Field::Bool(*value)),
        Value::String(text) => Some(Field::Text(text)),
        Value::Number(number) => number
            .as_i64()
            .map(Field::Int)
            .or_else(|| number.as_f64().map(Field::Float)),
        _ => None,
    }
}

fn record_of(place: usize, message: &Map<String, Value>) -> Result<Vec<u8>, Error> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float saturates as an integer"
    )]
    let time = match message.get("timestamp") {
        Some(value) => {
            let seconds = value
                .as_f64()
                .filter(|s| (0.0..=4_102_444_800.0).contains(s));
            let seconds = seconds.ok_or_else(|| {
                Error::field(format!("[{place}].timestamp"), "must be a time in seconds")
            })?;
            Time::Device((seconds * 1000.0).round() as i64)
        }
        None => {
            return Err(Error::field(format!("[{place}].timestamp"), "is missing"));
        }
    };
    if message.len() > PARAMETERS_MAX {
        return Err(Error::field(
            format!("[{place}]"),
            format!("has more than {PARAMETERS_MAX} parameters"),
        ));
    }
    let mut fields = Vec::new();
    for (name, value) in message {
        if name == "timestamp" || value.is_null() || OWN.contains(&name.as_str()) {
            continue;
        }
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(Error::field(
                format!("[{place}]"),
                "a name is not printable or too long",
            ));
        }
        let value = field_of(value).ok_or_else(|| {
            Error::field(
                format!("[{place}].{name}"),
                "must be true, false, a number or a string",
            )
        })?;
        fields.push((key_of(name), value));
    }
    let record = compose(time, fields);
    if record.len() > protocols::RECORD_BYTES_MAX {
        return Err(Error::field(format!("[{place}]"), "is too long"));
    }
    Ok(record)
}

/// Registers the messages of the body for every chosen device.
pub(super) fn messages(call: &Arc<Call>) -> Result<Answer, Error> {
    let bodies = call.objects()?;
    if bodies.len() > MESSAGES_MAX {
        return Err(Error::bad(format!(
            "the body holds more than {MESSAGES_MAX} messages"
        )));
    }
    let mut records = Vec::with_capacity(bodies.len());
    let mut bytes = 0_usize;
    for (place, body) in bodies.into_iter().enumerate() {
        let Value::Object(message) = body else {
            return Err(Error::field(format!("[{place}]"), "must be an object"));
        };
        let record = record_of(place, message)?;
        bytes += record.len();
        let key = Record::read(&record).as_ref().and_then(RecordKey::of);
        records.push((record, key));
    }
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    let chosen = call.choose(Kind::Device, 0)?;
    let (mut rows, mut errors) = (Vec::new(), chosen.errors);
    let control = &call.state.control;
    for id in chosen.ids {
        let Some(handle) = control.registry().device(DeviceId(id)) else {
            continue;
        };
        if call.query.dry_run {
            rows.push(json!({ "id": id, "messages": records.len() }));
            continue;
        }
        match control.register(&handle, &records, bytes, call.caller.peer) {
            Ok(done) => rows.push(json!({
                "id": id, "messages": done.messages, "duplicates": done.duplicates,
            })),
            Err(RegisterError::Refused(refusal)) => {
                let payer = handle.state.load().account.clone();
                super::charge::counted(&call.state, &payer, refusal.dimension);
                let viewer = call.caller.account.as_ref();
                let status = StatusCode::TOO_MANY_REQUESTS;
                let mut error = Error::refused(status, &refusal, viewer);
                error.id = Some(id);
                let now_us = control.clock().now_us();
                error.retry_s = refusal
                    .resets_at_us
                    .map(|at_us| super::charge::seconds_until(at_us, now_us));
                errors.push(error);
            }
            Err(error @ RegisterError::Disabled) => errors.push(Error {
                id: Some(id),
                ..Error::new(
                    StatusCode::CONFLICT,
                    super::answer::code::CONFLICT,
                    error.to_string(),
                )
            }),
            Err(error @ RegisterError::Journal) => errors.push(Error {
                id: Some(id),
                ..Error::unable(error.to_string())
            }),
        }
    }
    Ok(Answer::list(rows, errors))
}
