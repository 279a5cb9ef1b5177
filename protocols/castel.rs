//! Castel (Sinocastel): IDD-212, IDD-213, IDD-218 and other OBD plugs, MPIP-620, over TCP.
//!
//! # Wire format
//!
//! | bytes | field |
//! |---|---|
//! | 2 | `@@`, or `$$` from older devices, which have no version |
//! | 2 | length of it all |
//! | 1 | version: 3, 4 the plugs, others the trackers of the MPIP family |
//! | 20 | ident, zeros behind |
//! | 2 | kind, high byte first |
//! | ... | content |
//! | 2 | CRC-16/X.25 of all before it |
//! | 2 | CR LF |
//!
//! Numbers are little-endian. Plugs begin most contents with the vehicle's state: time of the last
//! ignition, UTC time (4 each), total and trip meters (4 each), total fuel in 0.01 liters (4), trip fuel (2),
//! state bits (4), reserved (8). A place is day, month, year, hour, minute, second (1 each), latitude,
//! longitude in 1/3600000 degrees (4 each), cm/s (2), course in tenths (2), flags: 1 east, 2 north, 4 and 8
//! the fix's dimension, 10 and up satellites.
//!
//! | kind | content | answer |
//! |---|---|---|
//! | 1001 | state, count and place, versions, numbers of parameters | 9001: new address (none), time |
//! | 1002 | state, count and places: logout | |
//! | 1003 | heartbeat | 9003 |
//! | 4001 | history (1), state, count and places, count and rpm | |
//! | 4002 | state, seconds (2), count and PIDs (2 each), groups, bytes, values | |
//! | 4003 | state, acceleration | |
//! | 4004, 4005 | state, count and PIDs, and for 4005 values: supported, frozen (one byte before the count) | |
//! | 4006, 400B | state, one byte, count and trouble codes | |
//! | 4007 | number (4), state, count and places, count and alarms: new, kind, value (2), limit (2) | C007: number |
//! | 4008 | state, LAC, cell | |
//! | 4009 | UTC time (4), count and places, while asleep | |
//! | 401F | history (1), number (4), state, count and places, then id (2), length (2), value | |
//! | A002 | number (2), count, index (2), count, then tag (2), length (2), value | |
//!
//! The MPIP family: 4001 place, state (4), battery, meters (4), 3 bytes, LAC, cell, versions, answered 8001; 4206 the
//! same behind two bytes, answered 8206. Of `$$` 4001 is a place, answered 4001; 2001 a number,
//! UTC time (4), count and place, answered 1001.
//!
//! # Session
//!
//! Every frame names its device.
//!
//! # Source
//!
//! Sinocastel: "OBD Smart Communication Protocol" 4.47 and "Samples V4.21".
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.
//!
//! # Quirks
//!
//! - Values of PIDs are converted by the plug already: temperatures are degrees, rpm is rpm.
//! - A PID of unknown length ends the reading of its group; the rest is kept as bytes.
//! - Frames the other way round (9001 and the like) are seen on shared logs, and passed over.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, ParamId, Probe, RecordBuilder, Reject,
    Reply, Time, fields,
};
use crate::kit::cells::{self, Cell};
use crate::kit::cursor::Cursor;
use crate::kit::table::little_endian;
use crate::kit::time::{or_impossible, two_digit};
use crate::kit::{checksum, framing, hex, obd, units};

const HEAD_BYTES: usize = 4;
const IDENT_BYTES: usize = 20;
const TAIL_BYTES: usize = 4;
/// Without a version: the shortest frame.
const FRAME_BYTES_MIN: usize = HEAD_BYTES + IDENT_BYTES + 2 + TAIL_BYTES;
const RESERVED_BYTES: usize = 8;
const SHORT: Reject = Reject::new("frame", "cut short", 0);

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Sinocastel",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "castel",
        title: "Castel (Sinocastel)",
        source: "Sinocastel: OBD Smart Communication Protocol 4.47",
        port: 5086,
        frame_bytes_max: 4096,
        acks: Acks::Frame,
        shared: true,
        models: &[
            model(1, "IDD-212G"),
            model(2, "IDD-212GL"),
            model(3, "IDD-212B"),
            model(4, "IDD-213G"),
            model(5, "IDD-213GL"),
            model(6, "IDD-213GD"),
            model(7, "IDD-213L"),
            model(8, "IDD-213N"),
            model(9, "IDD-213E"),
            model(10, "IDD-213W"),
            model(11, "D-218L"),
            model(12, "D-218LSA-B"),
            model(13, "PT-690"),
            model(14, "HT-770"),
            model(15, "MPIP-620"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, _: bool) -> Result<Cut, Fatal> {
        Ok(match input {
            [b'@', b'@', low, high, ..] | [b'$', b'$', low, high, ..] => {
                let length = usize::from(u16::from_le_bytes([*low, *high]));
                if length < FRAME_BYTES_MIN {
                    return Ok(Cut::Skip(2));
                }
                framing::exactly(input, length)
            }
            [b'@', b'@', ..] | [b'$', b'$', ..] | [b'@' | b'$'] => Cut::Need(HEAD_BYTES),
            _ => {
                let rest = input.get(1..).unwrap_or_default();
                let next = rest.iter().position(|byte| matches!(byte, b'@' | b'$'));
                Cut::Skip(next.map_or(input.len(), |at| at + 1))
            }
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let (covered, tail) = frame.split_last_chunk::<TAIL_BYTES>().ok_or(SHORT)?;
        let [low, high, ..] = *tail;
        if checksum::crc16_x25(covered) != u16::from_le_bytes([low, high]) {
            return Err(Reject::new(
                "crc",
                "the checksum does not fit",
                covered.len(),
            ));
        }
        let mut cursor = Cursor::new(covered);
        let mark = cursor.array::<2>().ok_or(SHORT)?;
        cursor.u16().ok_or(SHORT)?;
        let version = if mark == *b"@@" {
            Some(cursor.u8().ok_or(SHORT)?)
        } else {
            None
        };
        let name = cursor.array::<IDENT_BYTES>().ok_or(SHORT)?;
        let kind = cursor.u16().ok_or(SHORT)?;
        let text = std::str::from_utf8(&name)
            .map_err(|_| Reject::new("ident", "not printable", HEAD_BYTES))?;
        cx.identify(Login::of(text.trim_matches('\0')))?;
        let head = Head {
            version,
            name,
            kind,
        };
        match version {
            Some(3 | 4) => plug(&head, &mut cursor, cx),
            _ => tracker(&head, &mut cursor, cx),
        }
    }

    fn probe(head: &[u8]) -> Probe {
        // where others have digits or letters here the length is out of all bounds
        if let [_, _, low, high, ..] = head
            && usize::from(u16::from_le_bytes([*low, *high])) > Self::INFO.frame_bytes_max
        {
            return Probe::No;
        }
        let bytes = match head {
            [b'@', b'@', _, _, _, ident @ ..] | [b'$', b'$', _, _, ident @ ..] => {
                ident.get(..IDENT_BYTES)
            }
            [b'@', b'@', ..] | [b'$', b'$', ..] | [b'@' | b'$'] | [] => None,
            _ => return Probe::No,
        };
        let Some(ident) = bytes else {
            return Probe::More;
        };
        let end = ident
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(IDENT_BYTES);
        let (text, zeros) = ident.split_at(end);
        let fits = !text.is_empty()
            && text.iter().all(u8::is_ascii_graphic)
            && zeros.iter().all(|byte| *byte == 0);
        if fits { Probe::Yes } else { Probe::No }
    }
}

struct Head {
    version: Option<u8>,
    name: [u8; IDENT_BYTES],
    kind: u16,
}

impl Head {
    /// A frame to the device.
    fn answer(&self, version: Option<u8>, kind: u16, content: &[u8]) -> Vec<u8> {
        let version = version.map(|version| [version]);
        let version = version.as_ref().map_or(&[][..], |one| one);
        let length = FRAME_BYTES_MIN + version.len() + content.len();
        let mut frame = b"@@".to_vec();
        frame.extend(u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        frame.extend(version);
        frame.extend(self.name);
        frame.extend(kind.to_be_bytes());
        frame.extend(content);
        frame.extend(checksum::crc16_x25(&frame).to_le_bytes());
        frame.extend(b"\r\n");
        frame
    }

    fn begin<'c>(&self, time: Time, cx: &'c mut Context<'_>) -> Result<RecordBuilder<'c>, Reject> {
        let mut message = cx.message(time)?;
        message.push(fields::MESSAGE_TYPE, &*format!("{:04x}", self.kind));
        Ok(message)
    }
}

/// The vehicle's state.
struct Stat {
    ignition_s: u32,
    utc_s: u32,
    total_m: u32,
    trip_m: u32,
    total_fuel: u32,
    trip_fuel: u16,
    bits: u32,
    reserved: [u8; RESERVED_BYTES],
}

impl Stat {
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(Self {
            ignition_s: cursor.u32_le()?,
            utc_s: cursor.u32_le()?,
            total_m: cursor.u32_le()?,
            trip_m: cursor.u32_le()?,
            total_fuel: cursor.u32_le()?,
            trip_fuel: cursor.u16_le()?,
            bits: cursor.u32_le()?,
            reserved: cursor.array()?,
        })
    }

    fn time(&self, now_ms: i64) -> Time {
        let ms = (self.utc_s > 0).then(|| i64::from(self.utc_s) * 1000);
        or_impossible(ms, now_ms)
    }

    fn push(&self, message: &mut RecordBuilder<'_>) {
        let thousandth = |value: u32| f64::from(value) / 1000.0;
        message.push(fields::VEHICLE_MILEAGE, thousandth(self.total_m));
        message.push(fields::TRIP_MILEAGE, thousandth(self.trip_m));
        let liters = |value: u32| units::round(f64::from(value) / 100.0, 2);
        message.push(fields::FUEL_CONSUMED, liters(self.total_fuel));
        message.name("trip.fuel.consumed", liters(u32::from(self.trip_fuel)));
        message.push(fields::STATUS_BITMASK, self.bits);
        let bit = |bit: u32| self.bits >> bit & 1 == 1;
        message.push(fields::ENGINE_IGNITION_STATUS, bit(18));
        for (at, param) in [
            (0, fields::EXTERNAL_POWERSOURCE_LOW_STATUS),
            (1, fields::TOWING_ALARM_STATUS),
            (2, fields::OVERSPEEDING_STATUS),
            (6, fields::IDLE_STATUS),
            (15, fields::TAMPERING_STATUS),
            (23, fields::CAN_MIL_STATUS),
        ] {
            message.push(param, bit(at));
        }
        message.name("ignition.time", self.ignition_s);
        message.name("reserved", &self.reserved[..]);
    }
}

/// Time and place.
struct Place {
    ms: Option<i64>,
    latitude: f64,
    longitude: f64,
    speed: f64,
    direction: f64,
    satellites: u8,
    fixed: bool,
}

impl Place {
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let [day, month, year, hour, minute, second] = cursor.array::<6>()?.map(i64::from);
        let degrees = |raw: u32| units::round(f64::from(raw) / 3_600_000.0, 7);
        let (latitude, longitude) = (degrees(cursor.u32_le()?), degrees(cursor.u32_le()?));
        let (speed, course) = (cursor.u16_le()?, cursor.u16_le()?);
        let flags = cursor.u8()?;
        let signed = |value: f64, positive: bool| if positive { value } else { -value };
        Some(Self {
            ms: two_digit(year, month, day, hour, minute, second).utc_ms(),
            latitude: signed(latitude, flags & 2 != 0),
            longitude: signed(longitude, flags & 1 != 0),
            speed: units::round(f64::from(speed) * 0.036, 3),
            direction: f64::from(course) / 10.0,
            satellites: flags >> 4,
            fixed: flags & 0x0c != 0,
        })
    }

    fn time(&self, now_ms: i64) -> Time {
        or_impossible(self.ms, now_ms)
    }

    fn push(&self, message: &mut RecordBuilder<'_>) {
        let there = (self.latitude != 0.0 || self.longitude != 0.0)
            && self.latitude.abs() <= 90.0
            && self.longitude.abs() <= 180.0;
        message.push(fields::POSITION_VALID, self.fixed && there);
        if there {
            message.push(fields::POSITION_LATITUDE, self.latitude);
            message.push(fields::POSITION_LONGITUDE, self.longitude);
            message.push(fields::POSITION_SPEED, self.speed);
            message.push(fields::POSITION_DIRECTION, self.direction);
        }
        message.push(fields::POSITION_SATELLITES, self.satellites);
    }
}

/// A count and places; none of them is an array of its own.
fn places(cursor: &mut Cursor<'_>) -> Option<Vec<Place>> {
    let count = cursor.u8()?;
    (0..count).map(|_| Place::read(cursor)).collect()
}

/// One record for each place; without one, one of the state. What stands in the last is `more`'s.
fn records(
    head: &Head,
    stat: Option<&Stat>,
    places: &[Place],
    cx: &mut Context<'_>,
    more: impl FnOnce(&mut RecordBuilder<'_>) -> Option<()>,
) -> Result<(), Reject> {
    let now_ms = cx.now_ms;
    let (last, before) = places
        .split_last()
        .map_or((None, places), |(l, b)| (Some(l), b));
    for place in before {
        let mut message = head.begin(place.time(now_ms), cx)?;
        place.push(&mut message);
        if let Some(stat) = stat {
            stat.push(&mut message);
        }
    }
    let time = match (last, stat) {
        (Some(place), _) => place.time(now_ms),
        (None, Some(stat)) => stat.time(now_ms),
        (None, None) => Time::Received(now_ms),
    };
    let mut message = head.begin(time, cx)?;
    if let Some(place) = last {
        place.push(&mut message);
    }
    if let Some(stat) = stat {
        stat.push(&mut message);
    }
    more(&mut message).ok_or(SHORT)
}

fn push_left(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    let left = cursor.left();
    if left > 0 {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(cursor.take(left)?));
    }
    Some(())
}

/// The next text that a zero ends.
fn text<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    let end = cursor.rest().iter().position(|byte| *byte == 0)?;
    let bytes = cursor.take(end)?;
    cursor.u8()?;
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.is_empty())
}

fn push_versions(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) {
    message.push_some(fields::DEVICE_FIRMWARE_VERSION, text(cursor));
    message.push_some(fields::DEVICE_HARDWARE_VERSION, text(cursor));
}

fn plug(head: &Head, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    match head.kind {
        0x1001 => {
            let stat = Stat::read(cursor).ok_or(SHORT)?;
            let places = places(cursor).ok_or(SHORT)?;
            records(head, Some(&stat), &places, cx, |message| {
                push_versions(message, cursor);
                push_left(message, cursor)
            })?;
            let seconds = u32::try_from(cx.now_ms / 1000).unwrap_or(u32::MAX);
            let mut content = vec![0xff, 0xff, 0xff, 0xff, 0, 0];
            content.extend(seconds.to_le_bytes());
            cx.reply(Reply::stored(head.answer(head.version, 0x9001, &content)));
        }
        0x1002 => {
            let stat = Stat::read(cursor).ok_or(SHORT)?;
            let places = places(cursor).ok_or(SHORT)?;
            records(head, Some(&stat), &places, cx, |message| {
                push_left(message, cursor)
            })?;
        }
        0x1003 => cx.reply(Reply::admitted(head.answer(head.version, 0x9003, &[]))),
        0x4001 => {
            let history = cursor.u8().ok_or(SHORT)?;
            let stat = Stat::read(cursor).ok_or(SHORT)?;
            let places = places(cursor).ok_or(SHORT)?;
            records(head, Some(&stat), &places, cx, |message| {
                message.push(fields::MESSAGE_BUFFERED_STATUS, history != 0);
                let count = cursor.u8().unwrap_or(0);
                for _ in 0..count {
                    message.push_some(fields::ENGINE_RPM, cursor.u16_le());
                }
                push_left(message, cursor)
            })?;
        }
        0x4002..=0x4006 | 0x4008 | 0x400b | 0x400e => {
            let stat = Stat::read(cursor).ok_or(SHORT)?;
            records(head, Some(&stat), &[], cx, |message| {
                match head.kind {
                    0x4002 => {
                        cursor.u16_le()?;
                        pids(message, cursor, true)?;
                    }
                    0x4005 => {
                        cursor.u8()?;
                        pids(message, cursor, false)?;
                    }
                    0x4006 => {
                        cursor.u8()?;
                        trouble_codes(message, cursor)?;
                    }
                    0x4008 => push_cell(message, cursor)?,
                    _ => {}
                }
                push_left(message, cursor)
            })?;
        }
        0x4007 => {
            let number = cursor.array::<4>().ok_or(SHORT)?;
            let stat = Stat::read(cursor).ok_or(SHORT)?;
            let places = places(cursor).ok_or(SHORT)?;
            records(head, Some(&stat), &places, cx, |message| {
                message.push(fields::FRAME_SEQNUM, u32::from_le_bytes(number));
                alarms(message, cursor)?;
                push_left(message, cursor)
            })?;
            cx.reply(Reply::stored(head.answer(head.version, 0xc007, &number)));
        }
        0x4009 => {
            cursor.u32_le().ok_or(SHORT)?;
            let places = places(cursor).ok_or(SHORT)?;
            records(head, None, &places, cx, |message| {
                push_left(message, cursor)
            })?;
        }
        0x401f => {
            let history = cursor.u8().ok_or(SHORT)?;
            let number = cursor.u32_le().ok_or(SHORT)?;
            let stat = Stat::read(cursor).ok_or(SHORT)?;
            let places = places(cursor).ok_or(SHORT)?;
            records(head, Some(&stat), &places, cx, |message| {
                message.push(fields::FRAME_SEQNUM, number);
                message.push(fields::MESSAGE_BUFFERED_STATUS, history != 0);
                tagged(message, cursor)?;
                push_left(message, cursor)
            })?;
        }
        0xa002 => {
            parameters(head, cursor, cx)?;
        }
        // our own side, heard back
        0x8000.. => {}
        _ => records(head, None, &[], cx, |message| push_left(message, cursor))?,
    }
    Ok(())
}

fn push_cell(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    let (lac, id) = (cursor.u16_le()?, cursor.u16_le()?);
    if (lac, id) != (0, 0) {
        let cell = Cell {
            lac: Some(i64::from(lac)),
            id: Some(i64::from(id)),
            ..Cell::default()
        };
        cells::push(message, 0, cell);
    }
    Some(())
}

/// Count and codes of two bytes.
fn trouble_codes(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    let count = cursor.u8()?;
    let mut codes = String::new();
    for _ in 0..count {
        let code = cursor.u16_le()?;
        if !codes.is_empty() {
            codes.push(',');
        }
        codes.push_str(&obd::trouble_code(code));
    }
    if count > 0 {
        message.push(fields::CAN_DTC_CODES, &*codes);
    }
    message.push(fields::CAN_DTC_NUMBER, count);
    Some(())
}

/// How many bytes a PID's value has; `None` where that is not known.
fn pid_bytes(pid: u16) -> Option<usize> {
    if pid >> 8 != 0x21 {
        return None;
    }
    Some(match pid & 0xff {
        0x04..=0x09
        | 0x0b
        | 0x0d..=0x0f
        | 0x11..=0x13
        | 0x1c..=0x1e
        | 0x2c..=0x30
        | 0x33
        | 0x43
        | 0x45..=0x4c
        | 0x51
        | 0x52
        | 0x5a..=0x5c => 1,
        0x03
        | 0x0a
        | 0x0c
        | 0x10
        | 0x14..=0x1b
        | 0x1f
        | 0x21..=0x23
        | 0x31
        | 0x32
        | 0x3c..=0x3f
        | 0x42
        | 0x44
        | 0x4d
        | 0x4e
        | 0x50
        | 0x59
        | 0x5e => 2,
        0x01 | 0x02 | 0x24..=0x2b | 0x34..=0x3b | 0x41 | 0x4f => 4,
        _ => return None,
    })
}

/// Which parameter a PID is, and what its value is to be multiplied with.
fn pid_param(pid: u16) -> Option<(ParamId, f64)> {
    Some(match pid & 0xff {
        0x04 => (fields::CAN_ENGINE_LOAD_LEVEL, 1.0),
        0x05 => (fields::CAN_ENGINE_COOLANT_TEMPERATURE, 1.0),
        0x0b => (fields::CAN_INTAKE_MAP_PRESSURE, 1.0),
        0x0c => (fields::CAN_ENGINE_RPM, 1.0),
        0x0d => (fields::CAN_VEHICLE_SPEED, 1.0),
        0x0f => (fields::CAN_INTAKE_AIR_TEMPERATURE, 1.0),
        0x10 => (fields::CAN_MAF, 0.01),
        0x11 => (fields::CAN_THROTTLE_LEVEL, 1.0),
        0x1f => (fields::CAN_RUN_TIME, 1.0),
        0x21 => (fields::CAN_MIL_MILEAGE, 1.0),
        0x2f => (fields::CAN_FUEL_LEVEL, 1.0),
        0x31 => (fields::CAN_DTC_DISTANCE, 1.0),
        0x33 => (fields::CAN_BAROMETRIC_PRESSURE, 1.0),
        0x42 => (fields::CAN_CONTROL_MODULE_VOLTAGE, 0.001),
        0x46 => (fields::CAN_AMBIENT_AIR_TEMPERATURE, 1.0),
        0x49 => (fields::CAN_THROTTLE_PEDAL_LEVEL, 1.0),
        0x4d => (fields::CAN_MIL_TIME, 1.0),
        0x4e => (fields::CAN_DTC_TIME, 1.0),
        0x5c => (fields::CAN_ENGINE_OIL_TEMPERATURE, 1.0),
        _ => return None,
    })
}

/// Count and PIDs, then values: in groups of so many bytes, or one group that says no length.
fn pids(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>, groups: bool) -> Option<()> {
    let count = usize::from(cursor.u8()?);
    let list = cursor.take(count * 2)?.as_chunks::<2>().0;
    let bytes = if groups {
        let _groups = cursor.u8()?;
        usize::from(cursor.u8()?)
    } else {
        cursor.left()
    };
    let mut values = Cursor::new(cursor.take(bytes.min(cursor.left()))?);
    for pid in list.iter().map(|pid| u16::from_le_bytes(*pid)) {
        let Some(value) = pid_bytes(pid).and_then(|bytes| values.take(bytes)) else {
            break;
        };
        let raw = little_endian(value);
        let temperature = matches!(pid & 0xff, 0x05 | 0x0f | 0x46 | 0x5c);
        // below zero in two's complement; nothing of a car is above 200 degrees here
        let number = if temperature && (200..256).contains(&raw) {
            raw as f64 - 256.0
        } else {
            raw as f64
        };
        match pid_param(pid) {
            Some((param, factor)) => message.push(param, units::round(number * factor, 3)),
            None => message.wire(u32::from(pid), crate::contract::Value::unsigned(raw)),
        }
    }
    if values.left() > 0 {
        message.name("pids", values.rest());
    }
    Some(())
}

fn alarm(kind: u8) -> Option<ParamId> {
    Some(match kind {
        0x01 => fields::OVERSPEEDING_EVENT_TRIGGER,
        0x02 => fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER,
        0x03 => fields::TEMPERATURE_EVENT_TRIGGER,
        0x04 => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        0x05 => fields::HARSH_BRAKING_EVENT_TRIGGER,
        0x06 => fields::IDLE_EVENT_TRIGGER,
        0x07 => fields::TOWING_EVENT_TRIGGER,
        0x09 => fields::POWER_ON_EVENT_TRIGGER,
        0x0c => fields::HARSH_CORNERING_EVENT_TRIGGER,
        0x0d => fields::FATIGUE_EVENT_TRIGGER,
        0x0e => fields::POWER_OFF_EVENT_TRIGGER,
        0x10 => fields::ALARM_EVENT_TRIGGER,
        0x11 => fields::CRASH_EVENT_TRIGGER,
        0x12 => fields::TAMPERING_EVENT_TRIGGER,
        0x15 | 0x18 => fields::FAULT_EVENT_TRIGGER,
        0x16 => fields::IGNITION_ON_EVENT_TRIGGER,
        0x17 => fields::IGNITION_OFF_EVENT_TRIGGER,
        0x1c => fields::VIBRATION_EVENT_TRIGGER,
        _ => return None,
    })
}

/// Count, and for each: it begins (1) or ends (0), kind, value, limit.
fn alarms(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    let count = cursor.u8()?;
    for _ in 0..count {
        let (begins, kind) = (cursor.u8()? != 0, cursor.u8()?);
        let (value, limit) = (cursor.u16_le()?, cursor.u16_le()?);
        message.push(fields::ALARM_CODE, kind);
        if let Some(param) = alarm(kind).filter(|_| begins) {
            message.push(param, true);
        }
        match kind {
            0x16 if begins => message.push(fields::ENGINE_IGNITION_STATUS, true),
            0x17 if begins => message.push(fields::ENGINE_IGNITION_STATUS, false),
            _ => {}
        }
        message.name("alarm.begins", begins);
        message.name("alarm.value", value);
        message.name("alarm.limit", limit);
    }
    Some(())
}

/// Ids, lengths and values.
fn tagged(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    while cursor.left() >= 4 {
        let (id, length) = (cursor.u16_le()?, cursor.u16_le()?);
        let value = cursor.take(usize::from(length))?;
        let raw = little_endian(value.get(..8).unwrap_or(value));
        match (id, length) {
            (0x0010, 2) => {
                let tenths = crate::kit::table::signed(raw, 2);
                message.push(fields::DEVICE_TEMPERATURE, units::scaled(tenths, 1));
            }
            (0x0021, 2) => {
                message.push(fields::BATTERY_VOLTAGE, units::round(raw as f64 / 100.0, 2));
            }
            (_, ..=8) => {
                message.wire(u32::from(id), crate::contract::Value::unsigned(raw));
            }
            _ => message.wire(u32::from(id), value),
        }
    }
    Some(())
}

/// The answer to a request for parameters.
fn parameters(head: &Head, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    const VIN: u16 = 0x2001;
    let number = cursor.u16_le().ok_or(SHORT)?;
    cursor.take(3).ok_or(SHORT)?;
    let count = cursor.u8().ok_or(SHORT)?;
    let mut tags = Vec::new();
    for _ in 0..count {
        let tag = cursor.u16_le().ok_or(SHORT)?;
        let length = cursor.u16_le().ok_or(SHORT)?;
        tags.push((tag, cursor.take(usize::from(length)).ok_or(SHORT)?));
    }
    let shown = |value: &[u8]| match std::str::from_utf8(value) {
        Ok(text) if text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') => text.to_owned(),
        _ => hex::encode(value),
    };
    let result: Vec<String> = tags.iter().map(|(_, value)| shown(value)).collect();
    let result = result.join(",");
    cx.command_reply(Some(u32::from(number)), &result);
    let mut message = head.begin(Time::Received(cx.now_ms), cx)?;
    message.push(fields::COMMAND_RESULT, &*result);
    for (tag, value) in tags {
        if tag == VIN {
            message.push(fields::VEHICLE_VIN, &*shown(value));
        } else {
            message.wire(u32::from(tag), value);
        }
    }
    Ok(())
}

/// The MPIP family, and what comes without a version.
fn tracker(head: &Head, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let now_ms = cx.now_ms;
    match (head.version, head.kind) {
        (Some(_), 0x4001 | 0x4206) => {
            if head.kind == 0x4206 {
                cursor.u16().ok_or(SHORT)?;
            }
            let place = Place::read(cursor).ok_or(SHORT)?;
            let mut message = head.begin(place.time(now_ms), cx)?;
            place.push(&mut message);
            message.push(fields::STATUS_BITMASK, cursor.u32_le().ok_or(SHORT)?);
            message.push(fields::BATTERY_VOLTAGE, cursor.u8().ok_or(SHORT)?);
            let meters = cursor.u32_le().ok_or(SHORT)?;
            message.push(fields::VEHICLE_MILEAGE, f64::from(meters) / 1000.0);
            cursor.take(3).ok_or(SHORT)?;
            push_cell(&mut message, cursor).ok_or(SHORT)?;
            push_versions(&mut message, cursor);
            push_left(&mut message, cursor).ok_or(SHORT)?;
            drop(message);
            let kind = head.kind & 0x0fff | 0x8000;
            cx.reply(Reply::stored(head.answer(head.version, kind, &[])));
        }
        (None, 0x4001) => {
            let place = Place::read(cursor).ok_or(SHORT)?;
            records(head, None, &[place], cx, |message| {
                push_left(message, cursor)
            })?;
            let answer = head.answer(Some(0xff), head.kind, &[]);
            cx.reply(Reply::stored(answer));
        }
        (None, 0x2001) => {
            cursor.u32_le().ok_or(SHORT)?;
            cursor.u32_le().ok_or(SHORT)?;
            cursor.u8().ok_or(SHORT)?;
            let place = Place::read(cursor).ok_or(SHORT)?;
            records(head, None, &[place], cx, |message| {
                push_left(message, cursor)
            })?;
            let mut content = vec![0; 4];
            content.extend([0xff; 8]);
            cx.reply(Reply::stored(head.answer(None, 0x1001, &content)));
        }
        (_, 0x8000..) => {}
        _ => records(head, None, &[], cx, |message| push_left(message, cursor))?,
    }
    Ok(())
}
