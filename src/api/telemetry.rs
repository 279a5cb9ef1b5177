//! The newest value of each parameter of a device, as answers have it.
//!
//! A value goes from the bytes that the decoder wrote straight into the answer: nothing is built in
//! between, because this is what dashboards ask for all day. The position is a value of its own,
//! made of the newest of its parts; who the device is stands behind what it has sent.

use super::answer::write;
use super::selector::names_it;
use crate::registry::DeviceHandle;
use protocols::record::Datum;
use protocols::{Key, Record};
use serde_json::{Map, Value, json};
use smallvec::SmallVec;
use std::sync::LazyLock;

/// The position as one value.
const POSITION: &str = "position";
/// What it is made of, each a parameter of its own.
const POSITION_PARTS: [&str; 8] = [
    "latitude",
    "longitude",
    "altitude",
    "direction",
    "speed",
    "hdop",
    "satellites",
    "valid",
];

/// The fields that the parts of the position are.
static PART_KEYS: LazyLock<[Key<'static>; POSITION_PARTS.len()]> = LazyLock::new(|| {
    POSITION_PARTS.map(|part| {
        let Key::Known(id, instance) = protocols::key_of(&format!("{POSITION}.{part}")) else {
            unreachable!("the dictionary has every part of the position");
        };
        Key::Known(id, instance)
    })
});

/// Which parameters are wanted.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    All,
    /// Those that a list of names and patterns means.
    Some(String),
}

impl Wanted {
    /// As a path says it; nothing is all.
    pub(super) fn of(selector: &str) -> Self {
        match selector.trim() {
            "" | "all" | "*" => Self::All,
            _ => Self::Some(selector.to_owned()),
        }
    }

    fn takes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(selector) => names_it(selector, name),
        }
    }
}

/// A value of an answer.
enum Shown<'a> {
    Datum(Datum<'a>),
    /// The time itself.
    Time,
    /// The parts of the position that are known.
    Position(&'a [Option<Datum<'a>>; POSITION_PARTS.len()]),
}

/// What is written into: the answer, or an object that an expression looks into.
trait Sheet {
    /// The parameters that follow are of this time, unix ms.
    fn at(&mut self, at_ms: i64);
    /// One parameter.
    fn put(&mut self, name: &str, value: Shown<'_>);
}

/// A record's time as answers have it: seconds, whole where they are.
fn seconds(at_ms: i64) -> Value {
    if at_ms % 1000 == 0 {
        json!(at_ms / 1000)
    } else {
        json!(at_ms as f64 / 1000.0)
    }
}

/// The fields of a record; of one that stands there twice, the later counts.
fn fields_of<'a>(record: &Record<'a>) -> SmallVec<[(Key<'a>, Datum<'a>); 48]> {
    /// Dictionary numbers below 64 times this need no search.
    const WORDS: usize = 32;
    let mut seen = [0_u64; WORDS];
    let mut fields: SmallVec<[(Key<'a>, Datum<'a>); 48]> = SmallVec::new();
    for (key, datum) in record.fields() {
        let is_new = match key {
            Key::Known(id, 0) => {
                seen.get_mut(usize::from(id.0 / 64))
                    .is_some_and(|word: &mut u64| {
                        let bit = 1 << (id.0 % 64);
                        let is_new = *word & bit == 0;
                        *word |= bit;
                        is_new
                    })
            }
            _ => false,
        };
        let known = if is_new {
            None
        } else {
            fields.iter_mut().find(|(other, _)| *other == key)
        };
        match known {
            Some((_, value)) => *value = datum,
            None => fields.push((key, datum)),
        }
    }
    fields
}

/// The name of a field, in `room` if it is not one of the dictionary's as it stands there.
fn name_of<'a>(key: Key<'_>, room: &'a mut String) -> &'a str {
    if let Key::Known(id, instance) = key
        && let Some(param) = id.param()
    {
        // small letters only, but for the N that stands for the instance
        if !param.name.contains('N') {
            return param.name;
        }
        room.clear();
        param.write_name(instance, room);
    } else {
        *room = protocols::key_name(key);
    }
    room
}

/// Shows the parameters that are wanted; `false`: nothing has come yet.
fn show(handle: &DeviceHandle, wanted: &Wanted, sheet: &mut dyn Sheet) -> bool {
    const ABOUT: [&str; 5] = [
        "ident",
        "device.id",
        "device.name",
        "device.type.id",
        "protocol.id",
    ];
    let mut room = String::new();
    let mut newest_ms = None;
    let mut position = [const { None }; POSITION_PARTS.len()];
    let mut position_ms = None;
    let wants_position = wanted.takes(POSITION);
    let telemetry = handle.telemetry();
    for (_, record) in telemetry.records() {
        let at_ms = record.timestamp_ms();
        sheet.at(at_ms);
        if newest_ms.is_none() {
            newest_ms = Some(at_ms);
            if wanted.takes("timestamp") {
                sheet.put("timestamp", Shown::Time);
            }
        }
        for (key, datum) in fields_of(&record) {
            if wants_position && let Some(part) = PART_KEYS.iter().position(|of| *of == key) {
                position[part] = Some(datum.clone());
                if part == 0 {
                    position_ms = Some(at_ms);
                }
            }
            let name = name_of(key, &mut room);
            // what the gateway itself says of the device stands behind
            if wanted.takes(name) && !ABOUT.contains(&name) {
                sheet.put(name, Shown::Datum(datum));
            }
        }
    }
    if let Some(at_ms) = position_ms {
        sheet.at(at_ms);
        sheet.put(POSITION, Shown::Position(&position));
    }
    drop(telemetry);
    let Some(newest_ms) = newest_ms else {
        return false;
    };
    sheet.at(newest_ms);
    let state = handle.state.load();
    for name in ABOUT {
        if !wanted.takes(name) {
            continue;
        }
        let number = |number: u64| i64::try_from(number).map_or(Datum::Int(i64::MAX), Datum::Int);
        let value = match name {
            "ident" => Datum::Text(handle.ident.as_str()),
            "device.id" => number(handle.id.0),
            "device.name" => Datum::Text(&state.item.name),
            "device.type.id" => number(state.item.device_type_id.into()),
            _ => number(handle.protocol.into()),
        };
        sheet.put(name, Shown::Datum(value));
    }
    true
}

/// An answer.
struct Written<'o> {
    out: &'o mut Vec<u8>,
    /// The time as it stands there.
    ts: Vec<u8>,
    is_first: bool,
}

impl Sheet for Written<'_> {
    fn at(&mut self, at_ms: i64) {
        self.ts.clear();
        write(&mut self.ts, &seconds(at_ms));
    }

    fn put(&mut self, name: &str, value: Shown<'_>) {
        let out = &mut *self.out;
        if !self.is_first {
            out.push(b',');
        }
        self.is_first = false;
        if is_plain(name) {
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.push(b'"');
        } else {
            write(out, name);
        }
        out.extend_from_slice(b":{\"ts\":");
        out.extend_from_slice(&self.ts);
        out.extend_from_slice(b",\"value\":");
        match value {
            Shown::Datum(datum) => write_datum(out, datum),
            Shown::Time => out.extend_from_slice(&self.ts),
            Shown::Position(parts) => {
                let mut between = b'{';
                for (name, part) in POSITION_PARTS.iter().zip(parts) {
                    if let Some(part) = part {
                        out.push(between);
                        between = b',';
                        write(out, *name);
                        out.push(b':');
                        write_datum(out, part.clone());
                    }
                }
                out.push(b'}');
            }
        }
        out.push(b'}');
    }
}

/// Is it a name of small letters, digits and dots, as nearly all are?
fn is_plain(name: &str) -> bool {
    name.bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_'))
}

fn write_datum(out: &mut Vec<u8>, datum: Datum<'_>) {
    match datum {
        Datum::Bool(true) => out.extend_from_slice(b"true"),
        Datum::Bool(false) => out.extend_from_slice(b"false"),
        Datum::Int(value) => write(out, &value),
        Datum::Text(text) => write(out, text),
        other => write(out, &protocols::json_of(other)),
    }
}

/// Appends the newest value of each parameter that is wanted, each with its own time; `null` when
/// nothing has come.
pub(super) fn write_telemetry(out: &mut Vec<u8>, handle: &DeviceHandle, wanted: &Wanted) {
    let begin = out.len();
    out.push(b'{');
    let mut sheet = Written {
        out: &mut *out,
        ts: Vec::new(),
        is_first: true,
    };
    if show(handle, wanted, &mut sheet) {
        out.push(b'}');
    } else {
        out.truncate(begin);
        out.extend_from_slice(b"null");
    }
}

/// The same as an object, for expressions and for an item's own row.
struct Object {
    ts: Value,
    object: Map<String, Value>,
}

impl Sheet for Object {
    fn at(&mut self, at_ms: i64) {
        self.ts = seconds(at_ms);
    }

    fn put(&mut self, name: &str, value: Shown<'_>) {
        let value = match value {
            Shown::Datum(datum) => protocols::json_of(datum),
            Shown::Time => self.ts.clone(),
            Shown::Position(parts) => {
                let parts = POSITION_PARTS.iter().zip(parts);
                let known = parts.filter_map(|(name, part)| {
                    let part = part.clone()?;
                    Some(((*name).to_owned(), protocols::json_of(part)))
                });
                Value::Object(known.collect())
            }
        };
        let shown = json!({ "ts": self.ts, "value": value });
        self.object.insert(name.to_owned(), shown);
    }
}

/// All of it as a value.
pub(super) fn telemetry_object(handle: &DeviceHandle) -> Value {
    let mut sheet = Object {
        ts: Value::Null,
        object: Map::new(),
    };
    if show(handle, &Wanted::All, &mut sheet) {
        Value::Object(sheet.object)
    } else {
        Value::Null
    }
}
