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
use super::values::{acceleration, padded};
use super::vehicle::obd_text;
use super::wire::{SHORT, moment};
use crate::contract::{Context, Key, RecordBuilder, Reject, Time, Value, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{hex, units};

/// A mask and a time.
const MEASURED_BYTES_MIN: usize = 8;

pub(super) fn read(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    match body {
        [0x41, text @ ..] if text.starts_with(b"$OBD-RT,") => obd(text, cx),
        [0x40, text @ ..] => serial_line(text, cx),
        [0x53, rest @ ..] => tags(rest, cx),
        [0x54, rest @ ..] => measured(rest, cx),
        [0xf0, rest @ ..] => recorder(rest, cx),
        [0xff, rest @ ..] => crash(rest, cx),
        [kind, rest @ ..] => {
            let mut message = cx.message(Time::Received(cx.now_ms))?;
            let id = u32::from(*kind);
            message.push(Key::Wire { space: 9, id }, rest);
            Ok(())
        }
        [] => Err(SHORT),
    }
}

/// Values of the vehicle as text.
fn obd(text: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    obd_text(text, &mut message).ok_or(Reject::new("obd", "not printable", 1))
}

/// A line of the serial port; one that begins with GTSL names the driver.
fn serial_line(text: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let text = String::from_utf8_lossy(text).into_owned();
    let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    let driver = text
        .starts_with("GTSL")
        .then(|| text.split('|').nth(4))
        .flatten();
    message.push_some(fields::DRIVER_ID, driver.filter(|id| !id.is_empty()));
    message.push((fields::RS232_DATA_N, 1), text);
    Ok(())
}

/// Time, coordinates with their sign, altitude, speed, course, and samples of the accelerations.
fn crash(rest: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(rest);
    let time = moment(body.array().ok_or(SHORT)?, cx.settings(), cx.now_ms);
    let mut message = cx.message(time)?;
    let read = |body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>| {
        let degrees = |word: u32| units::scaled(i64::from(word.cast_signed()), 6);
        let (latitude, longitude) = (degrees(body.u32()?), degrees(body.u32()?));
        let has = latitude.abs() <= 90.0
            && longitude.abs() <= 180.0
            && (latitude != 0.0 || longitude != 0.0);
        message.push(fields::POSITION_VALID, has);
        if has {
            message.push(fields::POSITION_LATITUDE, latitude);
            message.push(fields::POSITION_LONGITUDE, longitude);
        }
        message.push(fields::POSITION_ALTITUDE, body.i16()?);
        let speed = units::scaled(i64::from(body.u16()?), 1);
        message.push(fields::POSITION_SPEED, speed);
        message.push(fields::POSITION_DIRECTION, body.u16()?);
        Some(())
    };
    read(&mut body, &mut message).ok_or(SHORT)?;
    if body.left() > 0 {
        message.push(Key::Wire { space: 9, id: 0xff }, body.rest());
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
    if body.left() < MEASURED_BYTES_MIN {
        let mut message = cx.message(time)?;
        place.push(&mut message, Make::Standard);
        message.push(Key::Wire { space: 9, id: 0x54 }, body.rest());
        return Ok(());
    }
    while body.left() >= MEASURED_BYTES_MIN {
        let mask = body.u16().ok_or(SHORT)?;
        let time = body.array().ok_or(SHORT)?;
        let time = moment(time, cx.settings(), cx.now_ms);
        let mut message = cx.message(time)?;
        place.push(&mut message, Make::Standard);
        sample(&mut body, mask, &mut message).ok_or(SHORT)?;
    }
    Ok(())
}

/// Light, temperature and humidity, a thermometer outside, acceleration, pressure: as the mask says.
fn sample(body: &mut Cursor<'_>, mask: u16, message: &mut RecordBuilder<'_>) -> Option<()> {
    let has = |bit: u16| mask >> bit & 1 != 0;
    let tenths = |value: i16| units::scaled(i64::from(value), 1);
    if has(0) {
        message.push(fields::ILLUMINATION, body.u16()?);
    }
    if has(1) {
        message.push(fields::DEVICE_TEMPERATURE, tenths(body.i16()?));
        message.push((fields::SENSOR_HUMIDITY_N, 1), tenths(body.i16()?));
    }
    if has(2) {
        message.push((fields::SENSOR_TEMPERATURE_N, 3), tenths(body.i16()?));
    }
    if has(3) {
        acceleration(message, [body.i16()?, body.i16()?, body.i16()?]);
    }
    if has(4) {
        message.push(fields::PRESSURE, units::scaled(i64::from(body.u16()?), 1));
    }
    Some(())
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
        3 => behaviours(&mut body, &mut message),
        0x0b => identification(body, &mut message),
        0x15 => event(body, &mut message),
        _ => None,
    };
    if matches!(kind, 0x0b | 0x15) && known.is_some() {
        return Ok(());
    }
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
            (0x102 | 0x528, 4) => message.push(fields::VEHICLE_MILEAGE, units::scaled(word, 1)),
            (0x103, 4) | (0x52a, 2) => {
                message.push(fields::CAN_FUEL_VOLUME, units::scaled(word, 2));
            }
            (0x111, 1) => message.push((fields::FUEL_TEMPERATURE_N, 1), word - 40),
            (0x12e, 2) => message.push(fields::CAN_ENGINE_OIL_LEVEL, units::scaled(word, 1)),
            (0x14a | 0x537 | 0x538, 2) => {
                message.push(fields::CAN_FUEL_CONSUMPTION, units::scaled(word, 2));
            }
            (0x547 | 0x548, 1) => message.push(fields::CAN_THROTTLE_LEVEL, word),
            (0xfeec, 1..) => message.push(fields::CAN_VEHICLE_VIN, padded(value)?),
            (0x52b, 1) => message.push(fields::CAN_FUEL_LEVEL, word),
            (0x105 | 0x52c, 4) => message.push(fields::CAN_FUEL_CONSUMED, units::scaled(word, 2)),
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

/// Count, then what happened, and its value behind a length.
fn behaviours(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    for _ in 0..body.u8()? {
        let (number, length) = (body.u8()?, usize::from(body.u8()?));
        let value = body.take(length)?;
        let meaning = match number {
            0x01 => Some(fields::POWER_RESTORED_EVENT_TRIGGER),
            0x02 => Some(fields::POWER_CUT_EVENT_TRIGGER),
            0x0e => Some(fields::IDLE_EVENT_TRIGGER),
            0x1a => Some(fields::HARSH_ACCELERATION_EVENT_TRIGGER),
            0x1b => Some(fields::HARSH_BRAKING_EVENT_TRIGGER),
            0x1c => Some(fields::HARSH_CORNERING_EVENT_TRIGGER),
            0x1d..=0x1f => Some(fields::LANE_DEPARTURE_EVENT_TRIGGER),
            0x23 => Some(fields::FATIGUE_EVENT_TRIGGER),
            0x25 => Some(fields::OVERSPEEDING_EVENT_TRIGGER),
            0x26..=0x28 => Some(fields::CRASH_EVENT_TRIGGER),
            0x31 | 0x32 => Some(fields::DOOR_EVENT_TRIGGER),
            _ => None,
        };
        message.push(fields::ALARM_CODE, number);
        if let Some(meaning) = meaning {
            message.push(meaning, true);
        }
        if !value.is_empty() {
            let id = u32::from(number);
            message.push(Key::Wire { space: 0xf0, id }, value);
        }
    }
    Some(())
}

/// Whether it was read, and the vehicle's number.
fn identification(mut body: Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    const VIN_BYTES: usize = 17;
    if body.u8()? > 0 {
        let vin = std::str::from_utf8(body.take(VIN_BYTES)?).ok()?;
        message.push(fields::CAN_VEHICLE_VIN, vin);
    }
    Some(())
}

/// What happened, in 4 bytes.
fn event(mut body: Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let event = body.u32()?;
    match event {
        51 => message.push(fields::HARSH_ACCELERATION_EVENT_TRIGGER, true),
        52 => message.push(fields::HARSH_BRAKING_EVENT_TRIGGER, true),
        53 => message.push(fields::HARSH_CORNERING_EVENT_TRIGGER, true),
        54 => message.push(fields::LANE_DEPARTURE_EVENT_TRIGGER, true),
        56 => message.push(fields::CRASH_EVENT_TRIGGER, true),
        _ => {}
    }
    message.push(fields::EVENT_ENUM, i64::from(event));
    Some(())
}

/// Count of systems; each has its number, a count, and codes: number, status, text behind its length.
fn trouble_codes(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut codes = String::new();
    for _ in 0..body.u16()? {
        let _system = body.u32()?;
        for _ in 0..body.u16()? {
            let (_number, _status) = (body.u32()?, body.u32()?);
            let length = usize::from(body.u16()?);
            let code = std::str::from_utf8(body.take(length)?).ok()?;
            if !codes.is_empty() {
                codes.push(',');
            }
            codes.push_str(code.trim_matches(|c: char| c == '\0' || c == ' '));
        }
    }
    message.push(fields::CAN_DTC_CODES, &*codes);
    Some(())
}
