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

mod read;
mod varint;
mod write;

pub use read::{Datum, Fields, Items, Record};
pub use varint::{read_varint, unzigzag, write_varint, zigzag};
pub use write::compose;
pub(crate) use write::{write_field, write_head};

use super::fields::{Instance, ParamId};

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

const TIME_NONE: u8 = 1;
const TIME_IMPOSSIBLE: u8 = 2;
const VOLATILE: u8 = 0x80;

#[cfg(test)]
mod tests;
