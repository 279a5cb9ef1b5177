//! What happened, as it is handed over, stored and read back.

use super::code::{Code, Origin, OriginKind};
use crate::ids::AccountId;
use crate::segment::fields::Fields;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// An event of a connection is mostly shorter.
const ENTRY_BYTES: usize = 256;
/// Time, code, kind, id, account.
const HEAD_BYTES: usize = 8 + 2 + 1 + 8 + 8;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, unix us.
    pub at_us: i64,
    /// What.
    pub code: Code,
    /// To what.
    pub origin: Origin,
    /// The account whose event it is: it and those above it may read it.
    pub account: AccountId,
    /// What else there is to say: a JSON object's fields.
    pub data: Map<String, Value>,
}

impl Event {
    /// An event without further data.
    pub fn new(at_us: i64, code: Code, origin: Origin, account: AccountId) -> Self {
        Self {
            at_us,
            code,
            origin,
            account,
            data: Map::new(),
        }
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }

    /// As flespi's logs have it.
    pub fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("timestamp".into(), json!(self.at_us as f64 / 1e6));
        object.insert("event_code".into(), self.code.number().into());
        object.insert("event_origin".into(), self.origin.path().into());
        object.insert("origin_id".into(), self.origin.id.into());
        object.insert("origin_type".into(), self.origin.kind.item_type().into());
        object.insert("cid".into(), self.account.0.into());
        object.extend(self.data.clone());
        Value::Object(object)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_head(out, self.at_us, self.code, self.origin, self.account);
        if !self.data.is_empty() {
            serde_json::to_writer(&mut *out, &self.data).expect("a JSON object can be written");
        }
    }

    pub(super) fn read(content: &[u8]) -> Option<Self> {
        let (head, data) = Head::read(content)?;
        let data = if data.is_empty() {
            Map::new()
        } else {
            serde_json::from_slice(data).ok()?
        };
        Some(Self {
            at_us: head.at_us,
            code: Code::from_number(head.code)?,
            origin: head.origin,
            account: head.account,
            data,
        })
    }
}

/// What stands before the data of an event: enough to tell whether it is wanted.
pub(super) struct Head {
    pub(super) at_us: i64,
    code: u16,
    pub(super) origin: Origin,
    pub(super) account: AccountId,
}

impl Head {
    /// It, and the bytes of the data.
    pub(super) fn read(content: &[u8]) -> Option<(Self, &[u8])> {
        let from = &mut Fields(content);
        let head = Self {
            at_us: from.i64()?,
            code: from.u16()?,
            origin: Origin {
                kind: OriginKind::from_number(from.u8()?)?,
                id: from.u64()?,
            },
            account: AccountId(from.u64()?),
        };
        Some((head, from.0))
    }
}

fn write_head(out: &mut Vec<u8>, at_us: i64, code: Code, origin: Origin, account: AccountId) {
    out.extend_from_slice(&at_us.to_le_bytes());
    out.extend_from_slice(&code.number().to_le_bytes());
    out.push(origin.kind.number());
    out.extend_from_slice(&origin.id.to_le_bytes());
    out.extend_from_slice(&account.0.to_le_bytes());
}

/// An [`Event`] as it is stored, without a map of its fields on the way: several are told of every
/// connection, by the thread that serves it.
#[derive(Debug)]
pub struct Entry {
    pub(super) code: Code,
    content: Vec<u8>,
}

impl Entry {
    /// An event without further data.
    pub fn new(at_us: i64, code: Code, origin: Origin, account: AccountId) -> Self {
        let mut content = Vec::with_capacity(ENTRY_BYTES);
        write_head(&mut content, at_us, code, origin, account);
        Self { code, content }
    }

    /// With one more field, of another name than those before.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        let out = &mut self.content;
        out.push(if out.len() == HEAD_BYTES { b'{' } else { b',' });
        for written in [
            serde_json::to_writer(&mut *out, name).map(|()| out.push(b':')),
            serde_json::to_writer(&mut *out, &value),
        ] {
            written.expect("a JSON value can be written");
        }
        self
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.content);
        if self.content.len() > HEAD_BYTES {
            out.push(b'}');
        }
    }
}
