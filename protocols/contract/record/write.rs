//! Writes records, field by field.

use super::super::Time;
use super::{
    Key, LIST_DEPTH_MAX, TIME_IMPOSSIBLE, TIME_NONE, VOLATILE, Value, write_varint, zigzag,
};

/// A record of fields that no decoder read: what is registered by other ways than a frame.
pub fn compose<'a>(time: Time, fields: impl IntoIterator<Item = (Key<'a>, Value<'a>)>) -> Vec<u8> {
    let mut out = Vec::new();
    let head = write_head(&mut out, time);
    for (key, value) in fields {
        write_field(&mut out, head, key, value);
    }
    out
}

/// Appends the head of a record; returns the place of the head byte.
pub(crate) fn write_head(out: &mut Vec<u8>, time: Time) -> usize {
    let at = out.len();
    out.push(match time {
        Time::Device(_) => 0,
        Time::Received(_) => TIME_NONE,
        Time::Impossible(_) => TIME_IMPOSSIBLE,
    });
    write_varint(out, zigzag(time.ms()));
    at
}

/// Appends a field; `head` is the place of the record's head byte.
pub(crate) fn write_field(out: &mut Vec<u8>, head: usize, key: Key<'_>, value: Value<'_>) {
    if matches!(value, Value::Float(float) if !float.is_finite()) {
        return;
    }
    match key {
        Key::Known(id, 0) => write_varint(out, u64::from(id.0) << 2),
        Key::Known(id, instance) => {
            write_varint(out, u64::from(id.0) << 2 | 1);
            write_varint(out, u64::from(instance));
        }
        Key::Wire { space, id } => {
            write_varint(out, u64::from(space) << 2 | 2);
            write_varint(out, u64::from(id));
        }
        Key::Name(name) => {
            write_varint(out, (name.len() as u64) << 2 | 3);
            out.extend_from_slice(name.as_bytes());
        }
    }
    if matches!(key, Key::Known(id, _) if id.is_volatile())
        && let Some(head) = out.get_mut(head)
    {
        *head |= VOLATILE;
    }
    write_value(out, value, LIST_DEPTH_MAX);
}

fn write_value(out: &mut Vec<u8>, value: Value<'_>, depth: u8) {
    match value {
        Value::Bool(false) => out.push(0),
        Value::Bool(true) => out.push(1),
        Value::Int(int) => {
            out.push(2);
            write_varint(out, zigzag(int));
        }
        Value::Float(float) => {
            out.push(3);
            out.extend_from_slice(&float.to_le_bytes());
        }
        Value::Text(text) => {
            out.push(4);
            write_varint(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Bytes(bytes) => {
            out.push(5);
            write_varint(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
        Value::List(values) => {
            let values = if depth == 0 { &[] } else { values };
            out.push(6);
            write_varint(out, values.len() as u64);
            for value in values {
                write_value(out, *value, depth.saturating_sub(1));
            }
        }
    }
}
