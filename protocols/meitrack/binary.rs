//! Positions in binary. Numbers are little-endian.
//!
//! CCC: version (2), bytes of a record (2), records still in memory (4), then records of event (1), latitude,
//! longitude (4 each, 1e-6 degrees), seconds since 2000 (4), fix (1), satellites (1), signal (1), speed,
//! course, HDOP in tenths, altitude (2 each), mileage, run time (4 each), MCC, MNC, LAC, cell, ports,
//! analog input 1, battery and supply in 0.01 V (2 each), and what a longer record adds.
//!
//! CCE: records still in memory (4), count (2), then records of length (2), parameters in all (2) and four
//! groups: of 1, 2, 4 bytes, and with a length byte of their own. A group is its count (1) and (id, value) each;
//! an id is one byte, or two if the first is FE. Some firmware fills the last group up with FF.

use super::events;
use crate::contract::{Context, Instance, RecordBuilder, Reject, Time, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::cursor::Cursor;
use crate::kit::table::{self, Form, Row, little_endian, row};
use crate::kit::units::{round, scaled};
use crate::kit::{hex, time};

const SHORT: Reject = Reject::new("records", "cut short", 0);
/// 2000-01-01 in unix seconds.
const EPOCH: i64 = 946_684_800;
/// The bytes of a record of CCC that have a meaning.
const FIXED_BYTES: usize = 48;

/// A little-endian number of `bytes` bytes.
fn next(cursor: &mut Cursor<'_>, bytes: usize) -> Option<u64> {
    cursor.take(bytes).map(little_endian)
}

fn place(message: &mut RecordBuilder<'_>, latitude: i64, longitude: i64, fix: bool) {
    let placed = (latitude, longitude) != (0, 0)
        && latitude.abs() <= 90_000_000
        && longitude.abs() <= 180_000_000;
    message.push(fields::POSITION_VALID, fix && placed);
    if placed {
        message.push(fields::POSITION_LATITUDE, scaled(latitude, 6));
        message.push(fields::POSITION_LONGITUDE, scaled(longitude, 6));
    }
}

/// Reads a frame of records of fixed width; gives back how many.
pub(super) fn fixed(rest: &[u8], cx: &mut Context<'_>) -> Result<usize, Reject> {
    let mut cursor = Cursor::new(rest);
    let version = next(&mut cursor, 2).ok_or(SHORT)?;
    let width = next(&mut cursor, 2).ok_or(SHORT)?;
    let width = usize::try_from(width).unwrap_or_default();
    next(&mut cursor, 4).ok_or(SHORT)?;
    if width < FIXED_BYTES {
        return Err(Reject::new("records", "shorter than a record is", 2));
    }
    let records = cursor.rest().chunks_exact(width);
    if !records.remainder().is_empty() {
        return Err(Reject::new("records", "more bytes than its records", 8));
    }
    let count = records.len();
    for record in records {
        one_fixed(record, version, cx).ok_or(SHORT)??;
    }
    Ok(count)
}

fn one_fixed(record: &[u8], version: u64, cx: &mut Context<'_>) -> Option<Result<(), Reject>> {
    let mut cursor = Cursor::new(record);
    let event = cursor.u8()?;
    let latitude = table::signed(next(&mut cursor, 4)?, 4);
    let longitude = table::signed(next(&mut cursor, 4)?, 4);
    let seconds = i64::try_from(next(&mut cursor, 4)?).ok()?;
    let fix = cursor.u8()?;
    let satellites = cursor.u8()?;
    let signal = cursor.u8()?;
    let mut number = |bytes: usize| i64::try_from(next(&mut cursor, bytes)?).ok();
    let (speed, course, hdop) = (number(2)?, number(2)?, number(2)?);
    let altitude = table::signed(u64::try_from(number(2)?).ok()?, 2);
    let (mileage, runtime) = (number(4)?, number(4)?);
    let (mcc, mnc, lac, id) = (number(2)?, number(2)?, number(2)?, number(2)?);
    let (ports, input, battery, supply) = (number(2)?, number(2)?, number(2)?, number(2)?);
    let mut message = match cx.message(Time::Device((seconds + EPOCH) * 1000)) {
        Ok(message) => message,
        Err(reject) => return Some(Err(reject)),
    };
    message.push(fields::MESSAGE_TYPE, "CCC");
    message.push(fields::PROTOCOL_VERSION, &*format!("{version:04x}"));
    events::push(event.into(), &mut message);
    place(&mut message, latitude, longitude, fix != 0 && fix != b'V');
    message.push(fields::POSITION_SATELLITES, satellites);
    message.push(fields::GSM_SIGNAL_ENUM, signal);
    message.push(fields::POSITION_SPEED, speed);
    message.push(fields::POSITION_DIRECTION, course);
    message.push(fields::POSITION_HDOP, scaled(hdop, 1));
    message.push(fields::POSITION_ALTITUDE, altitude);
    message.push(fields::VEHICLE_MILEAGE, scaled(mileage, 3));
    message.push(fields::UPTIME, runtime);
    if (mcc, lac, id) != (0, 0, 0) {
        let cell = Cell {
            mcc: Some(mcc),
            mnc: Some(mnc),
            lac: Some(lac),
            id: Some(id),
            dbm: None,
        };
        cells::push(&mut message, 0, cell);
    }
    message.push(fields::STATUS_BITMASK, ports);
    message.push((fields::AIN_N, 1), scaled(input, 2));
    message.push(fields::BATTERY_VOLTAGE, scaled(battery, 2));
    message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, scaled(supply, 2));
    if cursor.rest().iter().any(|byte| *byte != 0) {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(cursor.rest()));
    }
    Some(Ok(()))
}

const HUNDREDTH: Form = Form::Scaled(0.01, 2);
const MILLI: Form = Form::Scaled(0.001, 3);

/// Parameters of 1, 2 and 4 bytes, sorted by their ids. Place, time and event are read apart.
static ROWS: &[Row] = &[
    row(0x06, fields::POSITION_SATELLITES, 0, Form::Plain),
    row(0x07, fields::GSM_SIGNAL_ENUM, 0, Form::Plain),
    row(0x08, fields::POSITION_SPEED, 0, Form::Plain),
    row(0x09, fields::POSITION_DIRECTION, 0, Form::Plain),
    row(0x0a, fields::POSITION_HDOP, 0, Form::Scaled(0.1, 1)),
    row(0x0b, fields::POSITION_ALTITUDE, 0, Form::Signed),
    row(0x0c, fields::VEHICLE_MILEAGE, 0, MILLI),
    row(0x0d, fields::UPTIME, 0, Form::Plain),
    row(0x14, fields::DOUT, 0, Form::Plain),
    row(0x15, fields::DIN, 0, Form::Plain),
    row(0x16, fields::AIN_N, 1, HUNDREDTH),
    row(0x17, fields::AIN_N, 2, HUNDREDTH),
    row(0x18, fields::AIN_N, 3, HUNDREDTH),
    row(0x19, fields::BATTERY_VOLTAGE, 0, HUNDREDTH),
    row(0x1a, fields::EXTERNAL_POWERSOURCE_VOLTAGE, 0, HUNDREDTH),
    row(0x25, fields::DRIVER_ID, 0, Form::Plain),
    row(0x29, fields::FUEL_LEVEL, 0, HUNDREDTH),
    row(0x47, fields::LOCK_STATUS, 0, Form::Flag),
    row(0x91, fields::CAN_VEHICLE_SPEED, 0, Form::Plain),
    row(0x92, fields::CAN_VEHICLE_SPEED, 0, Form::Plain),
    row(0x97, fields::CAN_THROTTLE_LEVEL, 0, Form::Plain),
    row(0x98, fields::CAN_FUEL_CONSUMED, 0, Form::Plain),
    row(0x99, fields::CAN_ENGINE_RPM, 0, Form::Plain),
    row(0x9b, fields::CAN_VEHICLE_MILEAGE, 0, MILLI),
    row(
        0x9c,
        fields::CAN_ENGINE_COOLANT_TEMPERATURE,
        0,
        Form::Signed,
    ),
    row(0x9d, fields::CAN_FUEL_LEVEL, 0, Form::Plain),
    row(0xa0, fields::CAN_FUEL_CONSUMED, 0, MILLI),
    row(0xa2, fields::CAN_FUEL_CONSUMPTION, 0, HUNDREDTH),
    row(0xc9, fields::CAN_FUEL_CONSUMPTION, 0, Form::Plain),
    row(0xfe69, fields::BATTERY_LEVEL, 0, Form::Plain),
    row(
        0xfef4,
        fields::CAN_ENGINE_MOTORHOURS,
        0,
        Form::Scaled(1.0 / 60.0, 4),
    ),
];

/// An id, of one byte or two.
fn id(cursor: &mut Cursor<'_>) -> Option<u16> {
    match cursor.u8()? {
        0xfe => Some(u16::from_be_bytes([0xfe, cursor.u8()?])),
        id => Some(id.into()),
    }
}

/// What a record's place needs, wherever it stands.
#[derive(Default)]
struct Fix {
    latitude: Option<i64>,
    longitude: Option<i64>,
    seconds: Option<i64>,
    valid: bool,
}

/// Calls `each` with every parameter of a record: id, width (0: of any length) and bytes.
fn parameters<'r>(record: &'r [u8], mut each: impl FnMut(u16, bool, &'r [u8])) -> Option<()> {
    let mut cursor = Cursor::new(record);
    next(&mut cursor, 2)?;
    for width in [1, 2, 4] {
        for _ in 0..cursor.u8()? {
            let id = id(&mut cursor)?;
            each(id, false, cursor.take(width)?);
        }
    }
    // some firmware fills the record up, so what does not fit here ends it
    let mut left = cursor.u8()?;
    while left > 0
        && let Some(id) = id(&mut cursor)
        && let Some(length) = cursor.u8()
        && let Some(bytes) = cursor.take(usize::from(length))
    {
        each(id, true, bytes);
        left -= 1;
    }
    Some(())
}

/// Reads a frame of records of numbered parameters.
pub(super) fn numbered(rest: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut cursor = Cursor::new(rest);
    next(&mut cursor, 4).ok_or(SHORT)?;
    for _ in 0..next(&mut cursor, 2).ok_or(SHORT)? {
        let length = next(&mut cursor, 2).ok_or(SHORT)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let record = cursor.take(length).ok_or(SHORT)?;
        let mut fix = Fix::default();
        parameters(record, |id, _, bytes| {
            let raw = little_endian(bytes);
            match id {
                0x02 => fix.latitude = Some(table::signed(raw, bytes.len())),
                0x03 => fix.longitude = Some(table::signed(raw, bytes.len())),
                0x04 => fix.seconds = i64::try_from(raw).ok(),
                0x05 => fix.valid = raw != 0,
                _ => {}
            }
        })
        .ok_or(Reject::new("records", "its parameters do not fit", 0))?;
        let seconds = fix.seconds.map(|seconds| (seconds + EPOCH) * 1000);
        let time = seconds.map_or(Time::Received(cx.now_ms), |ms| {
            time::or_impossible(Some(ms), cx.now_ms)
        });
        let mut message = cx.message(time)?;
        message.push(fields::MESSAGE_TYPE, "CCE");
        if let (Some(latitude), Some(longitude)) = (fix.latitude, fix.longitude) {
            place(&mut message, latitude, longitude, fix.valid);
        } else {
            message.push(fields::POSITION_VALID, false);
        }
        parameters(record, |id, variable, bytes| {
            if variable {
                one_of_any_length(id, bytes, &mut message);
            } else {
                one(id, bytes, &mut message);
            }
        });
    }
    Ok(())
}

fn one(id: u16, bytes: &[u8], message: &mut RecordBuilder<'_>) {
    let raw = little_endian(bytes);
    match id {
        0x02..=0x05 => {}
        0x01 | 0x40 => events::push(i64::try_from(raw).unwrap_or_default(), message),
        0x25 => message.push(fields::DRIVER_ID, &*raw.to_string()),
        _ => match table::find(ROWS, id) {
            Some(row) => table::push(row, raw, bytes.len(), message),
            None => message.wire(id.into(), i64::try_from(raw).unwrap_or_default()),
        },
    }
}

fn one_of_any_length(id: u16, bytes: &[u8], message: &mut RecordBuilder<'_>) {
    /// Access points: an address and its signal.
    const WIFI: std::ops::RangeInclusive<u16> = 0x1d..=0x24;
    const TEMPERATURES: std::ops::RangeInclusive<u16> = 0x2a..=0x31;
    let mut cursor = Cursor::new(bytes);
    let read = match id {
        0x0e => cell(&mut cursor, message),
        _ if WIFI.contains(&id) => access_point(id - WIFI.start() + 1, &mut cursor, message),
        _ if TEMPERATURES.contains(&id) && bytes.len() == 3 => {
            cursor.u8();
            let raw = next(&mut cursor, 2).unwrap_or_default();
            let celsius = scaled(table::signed(raw, 2), 2);
            let sensor: Instance = id - TEMPERATURES.start() + 1;
            message.push((fields::SENSOR_TEMPERATURE_N, sensor), celsius);
            Some(())
        }
        0xfe31 => camera(&mut cursor, message),
        0xfe73 => tag(&mut cursor, message),
        0x28 => text(bytes).map(|name| message.push(fields::MEDIA_ID, name)),
        _ => None,
    };
    if read.is_none() {
        message.wire(id.into(), bytes);
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()))
}

fn cell(cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let (mcc, mnc) = (next(cursor, 2)?, next(cursor, 2)?);
    let (lac, id) = (next(cursor, 2)?, next(cursor, 4)?);
    let dbm = table::signed(next(cursor, 2)?, 2);
    let code = |code: u64| i64::try_from(code).ok();
    let cell = Cell {
        mcc: code(mcc),
        mnc: code(mnc),
        lac: code(lac),
        id: code(id),
        dbm: Some(dbm).filter(|dbm| *dbm < 0),
    };
    cells::push(message, 0, cell);
    Some(())
}

fn access_point(
    number: Instance,
    cursor: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
) -> Option<()> {
    let address: [u8; 6] = cursor.array()?;
    let dbm = table::signed(next(cursor, 2)?, 2);
    if address != [0; 6] {
        message.push((fields::WIFI_MAC_N, number), &*hex::mac(address));
        message.push((fields::WIFI_SIGNAL_DBM_N, number), dbm);
    }
    Some(())
}

/// Kind of camera, its alarm, the picture's name.
fn camera(cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let (kind, alarm) = (cursor.u8()?, cursor.u8()?);
    let name = text(cursor.rest());
    message.name("camera.kind", kind);
    message.push(fields::ALARM_CODE, alarm);
    message.push_some(fields::MEDIA_ID, name);
    Some(())
}

/// A Bluetooth sensor: version, name, address, battery, temperature, humidity, flags.
fn tag(cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    cursor.u8()?;
    let length = usize::from(cursor.u8()?);
    let name = text(cursor.take(length)?);
    let address: [u8; 6] = cursor.array()?;
    let battery = cursor.u8()?;
    let celsius = table::signed(next(cursor, 2)?, 2) as f64 / 256.0;
    let humidity = table::signed(next(cursor, 2)?, 2) as f64 / 256.0;
    message.push((fields::BLUETOOTH_MAC_N, 1), &*hex::mac(address));
    if let Some(name) = name {
        message.name("ble.sensor.name.1", name);
    }
    message.push((fields::BLE_SENSOR_BATTERY_LEVEL_N, 1), battery);
    message.push((fields::BLE_SENSOR_TEMPERATURE_N, 1), round(celsius, 2));
    message.push((fields::BLE_SENSOR_HUMIDITY_N, 1), round(humidity, 2));
    if cursor.rest().iter().any(|byte| *byte != 0) {
        message.push((fields::BLE_SENSOR_DATA_N, 1), cursor.rest());
    }
    Some(())
}
