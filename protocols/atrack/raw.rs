//! Values as they came, and the refusal of what is cut short.

use crate::contract::{RecordBuilder, Reject};
use crate::kit::parse::number;
use crate::kit::{hex, table};

/// An item's value as it came.
#[derive(Clone, Copy)]
pub(super) enum Raw<'a> {
    Bytes(&'a [u8]),
    Text(&'a str),
}

impl Raw<'_> {
    pub(super) fn number(self) -> Option<i64> {
        match self {
            Raw::Text(text) => number(text),
            Raw::Bytes(bytes) if bytes.len() <= 8 => i64::try_from(table::big_endian(bytes)).ok(),
            Raw::Bytes(_) => None,
        }
    }
}

pub(super) fn push_as_it_is(name: &str, raw: Raw<'_>, message: &mut RecordBuilder<'_>) {
    match raw {
        Raw::Text("") => {}
        Raw::Text(text) => message.name(name, text.trim()),
        Raw::Bytes(bytes) => message.name(name, &*hex::encode(bytes)),
    }
}

pub(super) const SHORT: Reject = Reject::new("frame", "fewer fields than it has", 0);
