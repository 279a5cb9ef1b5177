//! Kind 0900: what something else beside the terminal sent, by the first byte.
//!
//! | first | content |
//! |---|---|
//! | 41 | `$OBD-RT,`: values of the vehicle as text |
//! | 53 | a position without alarms, count, Bluetooth tags |
//! | 54 | a position without alarms, then what was measured, each with its time |
//! | F0 | time, from memory, 02, kind (01 values, 02 trouble codes, 03 behaviour), ..., status, coordinates |

use super::location::{self, Place};
use super::make::Make;
use super::values::acceleration;
use super::wire::{SHORT, moment};
use crate::contract::{Context, Key, RecordBuilder, Reject, Time, Value, fields};
use crate::kit::cursor::Cursor;
use crate::kit::parse::float;
use crate::kit::{hex, units};

/// Light, three temperatures and humidity, acceleration, pressure behind a time.
const MEASURED_BYTES: usize = 24;

pub(super) fn read(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    match body {
        [0x41, text @ ..] if text.starts_with(b"$OBD-RT,") => obd(text, cx),
        [0x53, rest @ ..] => tags(rest, cx),
        [0x54, rest @ ..] => measured(rest, cx),
        [0xf0, rest @ ..] => recorder(rest, cx),
        [kind, rest @ ..] => {
            let mut message = cx.message(Time::Received(cx.now_ms))?;
            let id = u32::from(*kind);
            message.push(Key::Wire { space: 9, id }, rest);
            Ok(())
        }
        [] => Err(SHORT),
    }
}

/// Supply, rpm, speed, throttle, load, coolant, consumption now and on average, trip, odometer, fuel of the
/// trip and in all.
fn obd(text: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let text = std::str::from_utf8(text)
        .map_err(|error| Reject::new("obd", "not printable", error.valid_up_to()))?;
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    let params = [
        fields::EXTERNAL_POWERSOURCE_VOLTAGE,
        fields::CAN_ENGINE_RPM,
        fields::CAN_VEHICLE_SPEED,
        fields::CAN_THROTTLE_LEVEL,
        fields::CAN_ENGINE_LOAD_LEVEL,
        fields::CAN_ENGINE_COOLANT_TEMPERATURE,
        fields::CAN_FUEL_RATE,
        fields::CAN_FUEL_CONSUMPTION,
        fields::TRIP_MILEAGE,
        fields::CAN_VEHICLE_MILEAGE,
        fields::SEGMENT_CAN_FUEL_CONSUMED,
        fields::CAN_FUEL_CONSUMED,
    ];
    for (param, value) in params.into_iter().zip(text.split(',').skip(1)) {
        message.push_some(param, float(value));
    }
    for (index, value) in text.trim().split(',').enumerate().skip(1 + params.len()) {
        let id = u32::try_from(index).unwrap_or(u32::MAX);
        message.push(Key::Wire { space: 0x41, id }, value);
    }
    Ok(())
}

fn tags(rest: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(rest);
    let place = Place::read(&mut body).ok_or(SHORT)?;
    let time = location::time_of(&place, cx);
    let mut message = cx.message(time)?;
    place.push(&mut message, Make::Standard);
    let _count = body.u8().ok_or(SHORT)?;
    let mut number = 0;
    while body.left() > 0 {
        number += 1;
        tag(&mut body, number, &mut message).ok_or(SHORT)?;
    }
    Ok(())
}

/// Index, address, signal, data with its length.
fn tag(body: &mut Cursor<'_>, number: u16, message: &mut RecordBuilder<'_>) -> Option<()> {
    let _index = body.u8()?;
    let mac = hex::mac(body.array()?);
    message.push((fields::BLUETOOTH_MAC_N, number), mac.as_str());
    let [dbm] = body.array::<1>()?.map(|byte| i8::from_be_bytes([byte]));
    message.push((fields::BLUETOOTH_SIGNAL_DBM_N, number), dbm);
    let length = usize::from(body.u8()?);
    let (space, id) = (0x53, u32::from(number));
    message.push(Key::Wire { space, id }, body.take(length)?);
    Some(())
}

fn measured(rest: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(rest);
    let place = Place::read(&mut body).ok_or(SHORT)?;
    let time = location::time_of(&place, cx);
    if body.left() < MEASURED_BYTES {
        let mut message = cx.message(time)?;
        place.push(&mut message, Make::Standard);
        message.push(Key::Wire { space: 9, id: 0x54 }, body.rest());
        return Ok(());
    }
    while body.left() >= MEASURED_BYTES {
        let _mask = body.u16().ok_or(SHORT)?;
        let time = body.array().ok_or(SHORT)?;
        let time = moment(time, cx.settings(), cx.now_ms);
        let mut message = cx.message(time)?;
        place.push(&mut message, Make::Standard);
        let read = |body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>| {
            message.push(fields::ILLUMINATION, body.u16()?);
            let tenths = |value: i16| units::scaled(i64::from(value), 1);
            message.push(fields::DEVICE_TEMPERATURE, tenths(body.i16()?));
            message.push((fields::SENSOR_HUMIDITY_N, 1), tenths(body.i16()?));
            message.push((fields::SENSOR_TEMPERATURE_N, 3), tenths(body.i16()?));
            let axes = [body.i16()?, body.i16()?, body.i16()?];
            acceleration(message, axes);
            let kpa = units::scaled(i64::from(body.u16()?), 1);
            message.push(fields::PRESSURE, kpa);
            Some(())
        };
        read(&mut body, &mut message).ok_or(SHORT)?;
    }
    Ok(())
}

fn recorder(rest: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(rest);
    let time = body.array().ok_or(SHORT)?;
    let time = moment(time, cx.settings(), cx.now_ms);
    let mut message = cx.message(time)?;
    let buffered = body.u8().ok_or(SHORT)?;
    message.push(fields::MESSAGE_BUFFERED_STATUS, buffered != 0);
    let _two = body.u8().ok_or(SHORT)?;
    let kind = body.u8().ok_or(SHORT)?;
    let known = match kind {
        1 => values(&mut body, &mut message),
        2 => trouble_codes(&mut body, &mut message),
        3 => {
            // one behaviour: what, how much, and a byte
            let behaviour = body.take(3).ok_or(SHORT)?;
            message.push(Key::Wire { space: 0xf0, id: 3 }, behaviour);
            Some(())
        }
        _ => None,
    };
    if known.is_none() {
        let id = u32::from(kind);
        message.push(Key::Wire { space: 0xf0, id }, body.rest());
        return Ok(());
    }
    let place = |body: &mut Cursor<'_>| Some((body.u32()?, body.u32()?, body.u32()?));
    if let Some((status, latitude, longitude)) = place(&mut body) {
        location::status(&mut message, status, Make::Standard);
        location::coordinates(&mut message, status, latitude, longitude);
    }
    Ok(())
}

/// Count, then number (2 bytes), length, value.
fn values(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let count = body.u8()?;
    for _ in 0..count {
        let (number, length) = (body.u16()?, usize::from(body.u8()?));
        let value = body.take(length)?;
        let word = value
            .iter()
            .fold(0i64, |word, byte| word.wrapping_shl(8) | i64::from(*byte));
        match (number, length) {
            (0x52b, 1) => message.push(fields::CAN_FUEL_LEVEL, word),
            (0x52c, 4) => message.push(fields::CAN_FUEL_CONSUMED, units::scaled(word, 2)),
            (0x52d, 1) => message.push(fields::CAN_ENGINE_COOLANT_TEMPERATURE, word - 40),
            (0x52e, 1) => message.push(fields::CAN_INTAKE_AIR_TEMPERATURE, word - 40),
            (0x530, 2) => {
                let volts = units::scaled(word, 3);
                message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
            }
            (0x535, 2) => message.push(fields::CAN_VEHICLE_SPEED, units::scaled(word, 1)),
            (0x536, 2) => message.push(fields::CAN_ENGINE_RPM, word),
            (0x539, 2) => message.push(fields::CAN_FUEL_CONSUMPTION, units::scaled(word, 2)),
            (0x53d, 2) => message.push(fields::CAN_INTAKE_MAP_PRESSURE, units::scaled(word, 1)),
            (0x546, 4) => message.push(fields::CAN_VEHICLE_MILEAGE, units::scaled(word, 1)),
            _ => {
                let (space, id) = (0xf0, u32::from(number));
                let value = if length <= 4 {
                    Value::Int(word)
                } else {
                    Value::Bytes(value)
                };
                message.push(Key::Wire { space, id }, value);
            }
        }
    }
    Some(())
}

/// State of the lamp and of the tests, counts, then each system's codes as text behind their length.
fn trouble_codes(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    const HEAD_BYTES: usize = 16;
    let head = body.take(HEAD_BYTES)?;
    message.push(Key::Wire { space: 0xf0, id: 2 }, head);
    let length = usize::from(body.u16()?);
    let codes = std::str::from_utf8(body.take(length)?).ok()?;
    message.push(
        fields::CAN_DTC_CODES,
        codes.trim_matches(|c: char| c == '\0' || c == ' '),
    );
    Some(())
}
