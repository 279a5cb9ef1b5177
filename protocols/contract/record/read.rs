//! Reads records, as far as they fit their form.

use super::super::Time;
use super::super::fields::ParamId;
use super::varint::skip_varint;
use super::{Key, LIST_DEPTH_MAX, TIME_NONE, VOLATILE, read_varint, unzigzag};
use std::hash::Hasher as _;

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
        2 => skip_varint(rest),
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
