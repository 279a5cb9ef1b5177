//! Subrecords.
//!
//! | kind | content |
//! |---|---|
//! | 1 | terminal (4), flags (1), then by their bits: home platform (2), IMEI (15), IMSI (16), language (3), -, operator (3), buffer (2), telephone (15) |
//! | 2 | module: kind (1), vendor (4), firmware (2), software (2), ... |
//! | 3 | vehicle: VIN (17), kind (4), fuel (4) |
//! | 5 | platform: kind (1), id (4), text |
//! | 16 | place, see `place` |
//! | 17 | flags, then by their bits: VDOP, HDOP, PDOP (2 each, hundredths), satellites (1), systems (2) |
//! | 18 | which octets of inputs, outputs, which analog values (1 each), octets (1 each), analog values (3 each) |
//! | 19 | which counters (1), counters (3 each) |
//! | 20, 21 | state (1), supply, backup and own battery in 0.1 V (1 each), flags (1) |
//! | 22, 26 | loops |
//! | 23 | an input: number and state (2) |
//! | 24, 25 | an analog value, a counter: number (1), value (3) |
//! | 27 | level: flags (1: number in bits 0 to 2, raw bytes in 3, unit in 4 and 5, fault in 6), address (2), value (4) |
//! | 28 | passengers: flags (1: raw bytes in bit 0), doors that are there, doors that were open (1 each), address (2), in and out of each (1 each) |
//!
//! Those from 16 on are of the service of telemetry; of other services they are kept.

use super::wire::{Naming, Record, next, since_2010};
use crate::contract::{Context, Instance, Key, Login, RecordBuilder, Reject, Time, Value, fields};
use crate::kit::cursor::Cursor;
use crate::kit::hex;
use crate::kit::units::{round, scaled};
use smallvec::SmallVec;

pub(super) const RECORD_RESPONSE: u8 = 0;
const TERMINAL: u8 = 1;
const MODULE: u8 = 2;
const VEHICLE: u8 = 3;
const PLATFORM: u8 = 5;
pub(super) const RESULT_CODE: u8 = 9;
const PLACE: u8 = 16;
const TELEMETRY: u8 = 2;

const SHORT: Reject = Reject::new("subrecord", "cut short", 0);

/// The next subrecord.
fn subrecord<'f>(cursor: &mut Cursor<'f>) -> Option<(u8, &'f [u8])> {
    let kind = cursor.u8()?;
    let length = usize::try_from(next(cursor, 2)?).ok()?;
    Some((kind, cursor.take(length)?))
}

fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?.trim_matches(['\0', ' ']);
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())).then_some(text)
}

/// What a record of the authorisation service has brought.
#[derive(Default)]
pub(super) struct Brought {
    /// A terminal's name, whose result is waited for.
    pub(super) name: bool,
    /// A platform's, whose result is waited for as well.
    pub(super) platform: bool,
    /// A message.
    pub(super) message: bool,
}

/// Reads a record of the authorisation service.
pub(super) fn authorisation(
    record: &Record<'_>,
    naming: &mut Naming,
    cx: &mut Context<'_>,
) -> Result<Brought, Reject> {
    let mut cursor = Cursor::new(record.content);
    let mut brought = Brought::default();
    while cursor.left() > 0 {
        let (kind, content) = subrecord(&mut cursor).ok_or(SHORT)?;
        match kind {
            TERMINAL => {
                brought.message |= terminal(content, cx)?;
                *naming = Naming::Terminal;
                brought.name = true;
            }
            PLATFORM => {
                *naming = Naming::Records;
                brought.platform = true;
            }
            VEHICLE if cx.ident().is_some() => {
                brought.message = true;
                let mut message = cx.message(Time::Received(cx.now_ms))?;
                message.push(fields::MESSAGE_TYPE, "3");
                message.push_some(fields::VEHICLE_VIN, content.get(..17).and_then(text));
            }
            MODULE if cx.ident().is_some() => {
                brought.message = true;
                let mut message = cx.message(Time::Received(cx.now_ms))?;
                message.push(fields::MESSAGE_TYPE, "2");
                let version = |from: usize| {
                    let bytes = content.get(from..from + 2)?;
                    let [minor, major] = bytes else { return None };
                    Some(format!("{major}.{minor}"))
                };
                message.push_some(fields::DEVICE_HARDWARE_VERSION, version(5).as_deref());
                message.push_some(fields::DEVICE_FIRMWARE_VERSION, version(7).as_deref());
            }
            _ => {}
        }
    }
    Ok(brought)
}

/// Names the device; gives back whether there was more to say of it.
fn terminal(content: &[u8], cx: &mut Context<'_>) -> Result<bool, Reject> {
    let mut cursor = Cursor::new(content);
    let number = next(&mut cursor, 4).ok_or(SHORT)?.to_string();
    let flags = cursor.u8().ok_or(SHORT)?;
    let mut optional = |bit: u8, bytes: usize| {
        (flags & (1 << bit) != 0)
            .then(|| cursor.take(bytes))
            .flatten()
    };
    optional(0, 2);
    let imei = optional(1, 15).and_then(text);
    let imsi = optional(2, 16).and_then(text);
    optional(3, 3);
    optional(5, 3);
    optional(6, 2);
    let telephone = optional(7, 15).and_then(text);
    let names = [imei, imsi, telephone, Some(&*number)];
    let mut names = names.into_iter().flatten();
    cx.identify(Login {
        ident: names.next().unwrap_or_default(),
        alternates: &names.collect::<SmallVec<[&str; 4]>>(),
        secret: None,
    })?;
    let more = imsi.is_some() || telephone.is_some();
    if more {
        let mut message = cx.message(Time::Received(cx.now_ms))?;
        message.push(fields::MESSAGE_TYPE, "1");
        message.push_some(fields::GSM_SIM_IMSI, imsi);
        message.push_some(fields::GSM_PHONE, telephone);
    }
    Ok(more)
}

/// Reads any other record into a message. One that is cut short is kept as far as it goes.
pub(super) fn telemetry(record: &Record<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let is_telemetry = record.service == TELEMETRY;
    let mut cursor = Cursor::new(record.content);
    let mut seconds = None;
    while let Some((kind, content)) = subrecord(&mut cursor) {
        if kind == PLACE && is_telemetry {
            seconds = next(&mut Cursor::new(content), 4);
        }
    }
    let mut message = cx.message(since_2010(seconds.or(record.seconds), cx))?;
    message.push(fields::RECORD_SEQNUM, record.number);
    if let Some(event) = record.event {
        message.push(fields::EVENT_SEQNUM, Value::unsigned(event));
    }
    if let Some(object) = record.object {
        message.name("object.id", Value::unsigned(object));
    }
    let mut cursor = Cursor::new(record.content);
    while let Some((kind, content)) = subrecord(&mut cursor) {
        let mut inner = Cursor::new(content);
        let id = u32::from(kind);
        if !is_telemetry {
            let space = record.service;
            message.push(Key::Wire { space, id }, content);
        } else if one(kind, &mut inner, &mut message).is_none() {
            message.wire(id, content);
        }
    }
    if cursor.left() > 0 {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(cursor.rest()));
    }
    Ok(())
}

fn one(kind: u8, cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    match kind {
        PLACE => place(cursor, message),
        17 => dilution(cursor, message),
        18 => sensors(cursor, message),
        19 => {
            let which = cursor.u8()?;
            for number in (1..=8).filter(|number| which & (1 << (number - 1)) != 0) {
                let value = Value::unsigned(next(cursor, 3)?);
                message.push((fields::COUNTER_IMPULSES_N, number), value);
            }
            Some(())
        }
        20 | 21 if cursor.left() == 5 => state(cursor, message),
        23 => {
            let word = next(cursor, 2)?;
            let number = Instance::try_from(word >> 4).ok()?.checked_add(1)?;
            message.push((fields::DIN_N, number), word & 15 != 0);
            Some(())
        }
        24 => {
            let number = cursor.u8()?;
            let value = i64::try_from(next(cursor, 3)?).ok()?;
            message.name(&format!("adc{number}"), value);
            Some(())
        }
        25 => {
            let number = Instance::from(cursor.u8()?) + 1;
            let value = Value::unsigned(next(cursor, 3)?);
            message.push((fields::COUNTER_IMPULSES_N, number), value);
            Some(())
        }
        27 => level(cursor, message),
        28 => passengers(cursor, message),
        _ => None,
    }
}

/// Seconds since 2010 (4), latitude and longitude (4 each, of a quarter and a half circle), flags
/// (1: valid, fix in three dimensions,
/// -, from memory, moving, south, west, altitude follows), speed in 0.1 km/h (14 bits of 2, then
/// below the sea, course above 255),
/// course (1), distance in 0.1 km (3), inputs (1), reason (1), altitude (3), data of the reason (2).
fn place(cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    next(cursor, 4)?;
    let (latitude, longitude) = (next(cursor, 4)?, next(cursor, 4)?);
    let flags = cursor.u8()?;
    let says = |bit: u8| flags & (1 << bit) != 0;
    let speed = next(cursor, 2)?;
    let course = u64::from(cursor.u8()?) + if speed & 0x8000 != 0 { 256 } else { 0 };
    let mileage = i64::try_from(next(cursor, 3)?).ok()?;
    let (inputs, reason) = (cursor.u8()?, cursor.u8()?);
    let placed = (latitude, longitude) != (0, 0);
    message.push(fields::POSITION_VALID, says(0) && placed);
    if placed {
        let part = |raw: u64, of: f64, negative: bool| {
            let degrees = round(raw as f64 * of / f64::from(u32::MAX), 7);
            if negative { -degrees } else { degrees }
        };
        message.push(fields::POSITION_LATITUDE, part(latitude, 90.0, says(5)));
        message.push(fields::POSITION_LONGITUDE, part(longitude, 180.0, says(6)));
    }
    message.push(
        fields::POSITION_SPEED,
        round((speed & 0x3fff) as f64 / 10.0, 1),
    );
    message.push(fields::POSITION_DIRECTION, Value::unsigned(course));
    message.push(fields::MOVEMENT_STATUS, says(4));
    if says(3) {
        message.push(fields::MESSAGE_BUFFERED_STATUS, true);
    }
    message.push(fields::VEHICLE_MILEAGE, scaled(mileage, 1));
    message.push(fields::DIN, inputs);
    message.push(fields::REPORT_REASON, reason);
    if says(7) {
        let meters = i64::try_from(next(cursor, 3)?).ok()?;
        let below = speed & 0x4000 != 0;
        message.push(
            fields::POSITION_ALTITUDE,
            if below { -meters } else { meters },
        );
    }
    if let Some(data) = next(cursor, 2) {
        message.name("report.data", Value::unsigned(data));
    }
    Some(())
}

fn dilution(cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let flags = cursor.u8()?;
    for (bit, param) in [
        (0, fields::POSITION_VDOP),
        (1, fields::POSITION_HDOP),
        (2, fields::POSITION_PDOP),
    ] {
        if flags & (1 << bit) != 0 {
            let value = i64::try_from(next(cursor, 2)?).ok()?;
            message.push(param, scaled(value, 2));
        }
    }
    if flags & 8 != 0 {
        message.push(fields::POSITION_SATELLITES, cursor.u8()?);
    }
    if flags & 16 != 0 {
        message.push(fields::GNSS_ENUM, &*next(cursor, 2)?.to_string());
    }
    Some(())
}

fn sensors(cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let octets = cursor.u8()?;
    let outputs = cursor.u8()?;
    let analog = cursor.u8()?;
    message.push(fields::DOUT, outputs);
    for octet in (0..8u8).filter(|octet| octets & (1 << octet) != 0) {
        message.name(&format!("din.octet.{}", octet + 1), cursor.u8()?);
    }
    for number in (1..=8u8).filter(|number| analog & (1 << (number - 1)) != 0) {
        let value = i64::try_from(next(cursor, 3)?).ok()?;
        message.name(&format!("adc{number}"), value);
    }
    Some(())
}

fn state(cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let state = cursor.u8()?;
    let mut tenths = || Some(scaled(cursor.u8()?.into(), 1));
    let (supply, backup, own) = (tenths()?, tenths()?, tenths()?);
    let flags = cursor.u8()?;
    message.name("state", state);
    message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, supply);
    message.push(fields::BATTERY_VOLTAGE, own);
    if backup > 0.0 {
        message.name("backup.battery.voltage", backup);
    }
    message.name("state.flags", flags);
    Some(())
}

fn level(cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    const PERCENT: u8 = 1;
    const TENTHS_OF_LITERS: u8 = 2;
    let flags = cursor.u8()?;
    if flags & 8 != 0 {
        return None;
    }
    let sensor = Instance::from(flags & 7);
    let number = sensor + 1;
    next(cursor, 2)?;
    let value = i64::try_from(next(cursor, 4)?).ok()?;
    match flags >> 4 & 3 {
        PERCENT => message.push((fields::FUEL_LEVEL_N, number), value),
        TENTHS_OF_LITERS => message.push((fields::FUEL_VOLUME_N, number), scaled(value, 1)),
        _ => message.push((fields::LLS_VALUE_N, number), value),
    }
    if flags & 64 != 0 {
        message.push((fields::SENSOR_STATUS_N, number), 1);
    }
    Some(())
}

fn passengers(cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    const RAW: u8 = 1;
    let [flags, doors, opened] = cursor.array()?;
    cursor.take(2)?;
    if flags & RAW != 0 {
        return None;
    }
    message.name("doors.opened", opened);
    for door in (0..8u8).filter(|door| doors & (1 << door) != 0) {
        for way in ["in", "out"] {
            message.name(&format!("passengers.{way}.{}", door + 1), cursor.u8()?);
        }
    }
    Some(())
}
