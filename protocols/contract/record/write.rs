//! Writes records, field by field.

use super::super::Time;
use super::varint::{Word, write_varint, zigzag};
use super::{Key, LIST_DEPTH_MAX, TIME_IMPOSSIBLE, TIME_NONE, VOLATILE, Value};

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
///
/// Most decoders name the parameter and the type of a value where they push it: inlined there the key
/// is a constant, and what is left of all this is one call that appends.
#[expect(
    clippy::inline_always,
    reason = "measured: left to itself the compiler keeps it out of line"
)]
#[inline(always)]
pub(crate) fn write_field(out: &mut Vec<u8>, head: usize, key: Key<'_>, value: Value<'_>) {
    if matches!(value, Value::Float(float) if !float.is_finite()) {
        return;
    }
    if matches!(key, Key::Known(id, _) if id.is_volatile()) {
        mark_volatile(out, head);
    }
    let key = match key {
        Key::Known(id, 0) => Word::varint(u64::from(id.0) << 2),
        Key::Known(id, instance) => {
            Word::varint(u64::from(id.0) << 2 | 1).and(Word::varint(u64::from(instance)))
        }
        Key::Wire { space, id } => {
            Word::varint(u64::from(space) << 2 | 2).and(Word::varint(u64::from(id)))
        }
        Key::Name(name) => return write_named(out, name, value),
    };
    // a key has seven bytes at most, so that its word has room for the tag
    match value {
        Value::Bool(bool) => key.and(Word::byte(u8::from(bool))).append(out),
        Value::Int(int) => key.and(INT).append_with_varint(zigzag(int), out),
        Value::Float(float) => key.and(FLOAT).append_with(float.to_le_bytes(), out),
        Value::Text(_) | Value::Bytes(_) | Value::List(_) => {
            key.append(out);
            write_value(out, value, LIST_DEPTH_MAX);
        }
    }
}

const INT: Word = Word::byte(2);
const FLOAT: Word = Word::byte(3);

#[cold]
fn mark_volatile(out: &mut [u8], head: usize) {
    if let Some(head) = out.get_mut(head) {
        *head |= VOLATILE;
    }
}

fn write_named(out: &mut Vec<u8>, name: &str, value: Value<'_>) {
    write_varint(out, (name.len() as u64) << 2 | 3);
    out.extend_from_slice(name.as_bytes());
    write_value(out, value, LIST_DEPTH_MAX);
}

fn write_value(out: &mut Vec<u8>, value: Value<'_>, depth: u8) {
    match value {
        Value::Bool(bool) => out.push(u8::from(bool)),
        Value::Int(int) => INT.append_with_varint(zigzag(int), out),
        Value::Float(float) => FLOAT.append_with(float.to_le_bytes(), out),
        Value::Text(text) => {
            Word::byte(4).append_with_varint(text.len() as u64, out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Bytes(bytes) => {
            Word::byte(5).append_with_varint(bytes.len() as u64, out);
            out.extend_from_slice(bytes);
        }
        Value::List(values) => {
            let values = if depth == 0 { &[] } else { values };
            Word::byte(6).append_with_varint(values.len() as u64, out);
            for value in values {
                write_value(out, *value, depth.saturating_sub(1));
            }
        }
    }
}
