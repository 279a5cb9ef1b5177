//! A record as bytes: written once by the decoder, stored as it is, read by whoever asks.
//!
//! # Format (version 1; the journal's frame entry carries the version)
//!
//! | part | form |
//! |---|---|
//! | head | one byte: bits 0-1 kind of time (0 the device's, 1 none sent, 2 impossible), bit 7 holds volatile fields |
//! | time | zigzag varint, unix ms |
//! | fields | key, value, until the end |
//!
//! A key is a varint `k`; `k & 3` says what follows: 0 parameter `k >> 2`; 1 parameter `k >> 2` and
//! its instance as a varint; 2 the wire's own number, `k >> 2` its space and a varint its id; 3 the
//! wire's own name of `k >> 2` bytes. A value is a tag byte and its content: 0 false, 1 true,
//! 2 integer (zigzag varint), 3 float (8 bytes, little endian), 4 text and 5 bytes (varint length
//! and content), 6 list (varint count and values).
//!
//! Readers never panic: bytes that do not fit end the iteration.

use super::Time;
use super::fields::{Instance, ParamId};
use std::hash::Hasher as _;

/// Version of the format above.
pub const VERSION: u8 = 1;

/// How deep lists may nest.
pub const LIST_DEPTH_MAX: u8 = 4;

/// Names a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// A parameter of the dictionary.
    Known(ParamId, Instance),
    /// A number of the wire that no dictionary entry fits, in one of the protocol's number
    /// spaces (0: the protocol has only one).
    Wire {
        /// Which space of numbers.
        space: u8,
        /// The number.
        id: u32,
    },
    /// A name that the wire gave.
    Name(&'a str),
}

impl From<ParamId> for Key<'_> {
    fn from(id: ParamId) -> Self {
        Self::Known(id, 0)
    }
}

impl From<(ParamId, Instance)> for Key<'_> {
    fn from((id, instance): (ParamId, Instance)) -> Self {
        Self::Known(id, instance)
    }
}

/// A field's value as a decoder gives it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// true or false
    Bool(bool),
    /// an integer
    Int(i64),
    /// a decimal number; one that is not finite is not stored
    Float(f64),
    /// a text
    Text(&'a str),
    /// bytes without a meaning yet
    Bytes(&'a [u8]),
    /// several
    List(&'a [Value<'a>]),
}

impl Value<'_> {
    /// An unsigned number; one beyond `i64` becomes a decimal number.
    #[expect(
        clippy::cast_precision_loss,
        reason = "only numbers beyond i64 lose digits"
    )]
    pub fn unsigned(value: u64) -> Self {
        i64::try_from(value).map_or(Self::Float(value as f64), Self::Int)
    }
}

macro_rules! value_from {
    ($($from:ty),*) => {$(
        impl From<$from> for Value<'_> {
            fn from(value: $from) -> Self {
                Self::Int(i64::from(value))
            }
        }
    )*};
}
value_from!(u8, i8, u16, i16, u32, i32, i64);

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

/// A value as it is read back.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum<'a> {
    /// true or false
    Bool(bool),
    /// an integer
    Int(i64),
    /// a decimal number
    Float(f64),
    /// a text
    Text(&'a str),
    /// bytes
    Bytes(&'a [u8]),
    /// several
    List(Items<'a>),
}

/// A record read back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record<'a> {
    /// Its time: the device's own, or why it is the server's.
    pub time: Time,
    volatile: bool,
    fields: &'a [u8],
}

const TIME_NONE: u8 = 1;
const TIME_IMPOSSIBLE: u8 = 2;
const VOLATILE: u8 = 0x80;

impl<'a> Record<'a> {
    /// Reads the head of an encoded record.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&head, rest) = bytes.split_first()?;
        let (raw, fields) = read_varint(rest)?;
        let ms = unzigzag(raw);
        let time = match head & 3 {
            0 => Time::Device(ms),
            TIME_NONE => Time::Received(ms),
            _ => Time::Impossible(ms),
        };
        Some(Self {
            time,
            volatile: head & VOLATILE != 0,
            fields,
        })
    }

    /// The time of the message, unix ms.
    pub fn timestamp_ms(&self) -> i64 {
        self.time.ms()
    }

    /// The fields in the order they were pushed. A key may come twice: the later one counts.
    pub fn fields(&self) -> Fields<'a> {
        Fields { rest: self.fields }
    }

    /// A hash of the keys in their order: records with the same parameters have the same. `None` if
    /// the bytes are no record to their end. The same within one build of the program.
    pub fn shape(&self) -> Option<u64> {
        let mut hasher = foldhash::fast::FixedState::with_seed(0x7368_6170).build();
        let mut rest = self.fields;
        while !rest.is_empty() {
            let (raw, after) = read_varint(rest)?;
            hasher.write_u64(raw);
            let value = match raw & 3 {
                0 => after,
                1 | 2 => {
                    let (second, after) = read_varint(after)?;
                    hasher.write_u64(second);
                    after
                }
                _ => {
                    let (name, after) = after.split_at_checked(usize::try_from(raw >> 2).ok()?)?;
                    hasher.write(name);
                    after
                }
            };
            rest = skip_datum(value, LIST_DEPTH_MAX)?;
        }
        Some(hasher.finish())
    }

    /// A hash of the content without what changes when the same record is sent again. The same
    /// within one build of the program; it is never stored.
    pub fn content_hash(&self) -> u64 {
        let mut hasher = foldhash::fast::FixedState::with_seed(0x746f_6c6c).build();
        if self.volatile {
            let mut rest = self.fields;
            while let Some((key, after)) = read_key(rest).and_then(|(key, value)| {
                let (_, after) = read_datum(value, LIST_DEPTH_MAX)?;
                Some((key, after))
            }) {
                if !matches!(key, Key::Known(id, _) if id.is_volatile()) {
                    hasher.write(rest.get(..rest.len() - after.len()).unwrap_or_default());
                }
                rest = after;
            }
        } else {
            hasher.write(self.fields);
        }
        hasher.finish()
    }
}

trait BuildFixed {
    fn build(&self) -> foldhash::fast::FoldHasher<'static>;
}

impl BuildFixed for foldhash::fast::FixedState {
    fn build(&self) -> foldhash::fast::FoldHasher<'static> {
        std::hash::BuildHasher::build_hasher(self)
    }
}

/// The fields of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The bytes of the fields that are still to come: what lies between two of these is one
    /// field as it was written.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Key<'a>, Datum<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = read_key(self.rest)?;
        let (datum, after) = read_datum(value, LIST_DEPTH_MAX)?;
        self.rest = after;
        Some((key, datum))
    }
}

/// The values of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Items<'a> {
    left: u64,
    depth: u8,
    rest: &'a [u8],
}

impl<'a> Iterator for Items<'a> {
    type Item = Datum<'a>;

    fn next(&mut self) -> Option<Datum<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (datum, after) = read_datum(self.rest, self.depth)?;
        self.rest = after;
        Some(datum)
    }
}

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

fn read_key(bytes: &[u8]) -> Option<(Key<'_>, &[u8])> {
    let (raw, rest) = read_varint(bytes)?;
    let upper = raw >> 2;
    match raw & 3 {
        0 => Some((Key::Known(ParamId(u16::try_from(upper).ok()?), 0), rest)),
        1 => {
            let (instance, rest) = read_varint(rest)?;
            let id = ParamId(u16::try_from(upper).ok()?);
            Some((Key::Known(id, u16::try_from(instance).ok()?), rest))
        }
        2 => {
            let (id, rest) = read_varint(rest)?;
            let space = u8::try_from(upper).ok()?;
            Some((
                Key::Wire {
                    space,
                    id: u32::try_from(id).ok()?,
                },
                rest,
            ))
        }
        _ => {
            let (name, rest) = rest.split_at_checked(usize::try_from(upper).ok()?)?;
            Some((Key::Name(std::str::from_utf8(name).ok()?), rest))
        }
    }
}

/// What comes behind a value.
fn skip_datum(bytes: &[u8], depth: u8) -> Option<&[u8]> {
    let (&tag, rest) = bytes.split_first()?;
    match tag {
        0 | 1 => Some(rest),
        2 => Some(read_varint(rest)?.1),
        3 => rest.get(8..),
        4 | 5 => {
            let (length, rest) = read_varint(rest)?;
            rest.get(usize::try_from(length).ok()?..)
        }
        6 => {
            let depth = depth.checked_sub(1)?;
            let (count, mut rest) = read_varint(rest)?;
            for _ in 0..count {
                rest = skip_datum(rest, depth)?;
            }
            Some(rest)
        }
        _ => None,
    }
}

fn read_datum(bytes: &[u8], depth: u8) -> Option<(Datum<'_>, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    match tag {
        0 => Some((Datum::Bool(false), rest)),
        1 => Some((Datum::Bool(true), rest)),
        2 => {
            let (raw, rest) = read_varint(rest)?;
            Some((Datum::Int(unzigzag(raw)), rest))
        }
        3 => {
            let (float, rest) = rest.split_first_chunk::<8>()?;
            Some((Datum::Float(f64::from_le_bytes(*float)), rest))
        }
        4 | 5 => {
            let (length, rest) = read_varint(rest)?;
            let (content, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            let datum = if tag == 4 {
                Datum::Text(std::str::from_utf8(content).ok()?)
            } else {
                Datum::Bytes(content)
            };
            Some((datum, rest))
        }
        6 => {
            let depth = depth.checked_sub(1)?;
            let (count, rest) = read_varint(rest)?;
            let items = Items {
                left: count,
                depth,
                rest,
            };
            let mut after = rest;
            for _ in 0..count {
                after = read_datum(after, depth)?.1;
            }
            Some((Datum::List(items), after))
        }
        _ => None,
    }
}

/// Appends `value` in 7-bit groups, the lowest first.
#[expect(clippy::cast_possible_truncation, reason = "what is left fits 7 bits")]
pub fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a varint; `None` if it is cut short or longer than 64 bits.
#[inline]
pub fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    // nearly all are of one byte
    if let Some((&byte, rest)) = bytes.split_first()
        && byte & 0x80 == 0
    {
        return Some((u64::from(byte), rest));
    }
    read_long_varint(bytes)
}

fn read_long_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        let part = u64::from(byte & 0x7f);
        let shift = 7 * u32::try_from(index).ok()?;
        if shift == 63 && part > 1 {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

/// Maps small magnitudes of either sign to small numbers.
#[expect(clippy::cast_sign_loss, reason = "the bits are what is wanted")]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[expect(clippy::cast_possible_wrap, reason = "the bits are what is wanted")]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::super::fields;
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let mut out = Vec::new();
        let head = write_head(&mut out, Time::Device(1_680_554_705_123));
        let inner = [Value::Int(-3), Value::Text("x")];
        write_field(
            &mut out,
            head,
            fields::POSITION_LATITUDE.into(),
            Value::Float(54.5),
        );
        write_field(&mut out, head, (fields::DIN_N, 3).into(), Value::Bool(true));
        write_field(
            &mut out,
            head,
            Key::Wire {
                space: 1,
                id: 70_000,
            },
            Value::Bytes(&[1, 2]),
        );
        write_field(&mut out, head, Key::Name("p1"), Value::List(&inner));
        write_field(
            &mut out,
            head,
            fields::ENGINE_RPM.into(),
            Value::Float(f64::NAN),
        );
        let record = Record::read(&out).expect("what was written");
        assert_eq!(record.time, Time::Device(1_680_554_705_123));
        let read: Vec<_> = record.fields().collect();
        assert_eq!(read.len(), 4);
        assert_eq!(
            read[0],
            (fields::POSITION_LATITUDE.into(), Datum::Float(54.5))
        );
        assert_eq!(read[1], ((fields::DIN_N, 3).into(), Datum::Bool(true)));
        assert_eq!(
            read[2],
            (
                Key::Wire {
                    space: 1,
                    id: 70_000
                },
                Datum::Bytes(&[1, 2])
            )
        );
        let Datum::List(items) = read[3].1.clone() else {
            panic!("a list was written")
        };
        assert_eq!(
            items.collect::<Vec<_>>(),
            [Datum::Int(-3), Datum::Text("x")]
        );
    }

    #[test]
    fn the_content_hash_leaves_out_serial_numbers() {
        let hash = |serial: i64, speed: i64| {
            let mut out = Vec::new();
            let head = write_head(&mut out, Time::Device(5));
            write_field(
                &mut out,
                head,
                fields::FRAME_SEQNUM.into(),
                Value::Int(serial),
            );
            write_field(
                &mut out,
                head,
                fields::POSITION_SPEED.into(),
                Value::Int(speed),
            );
            Record::read(&out).expect("what was written").content_hash()
        };
        assert_eq!(hash(1, 60), hash(2, 60));
        assert_ne!(hash(1, 60), hash(1, 61));
    }

    #[test]
    fn varints_and_zigzag_cover_the_ends_of_their_range() {
        for value in [0, 1, 127, 128, u64::MAX / 2, u64::MAX] {
            let mut out = Vec::new();
            write_varint(&mut out, value);
            assert_eq!(read_varint(&out), Some((value, &[][..])));
            assert_eq!(read_varint(&out[..out.len() - 1]), None);
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn cut_or_changed_bytes_never_panic() {
        let mut out = Vec::new();
        let head = write_head(&mut out, Time::Device(5));
        write_field(
            &mut out,
            head,
            Key::Name("abc"),
            Value::List(&[Value::Text("tt")]),
        );
        for cut in 0..out.len() {
            let read = Record::read(&out[..cut]).map(|record| record.fields().count());
            assert!(read.is_none_or(|fields| fields == 0));
            for bit in 0..8 {
                let mut changed = out.clone();
                changed[cut] ^= 1 << bit;
                if let Some(record) = Record::read(&changed) {
                    assert!(record.fields().count() <= 8);
                }
            }
        }
    }
}
