//! Records of NTCB, from before FLEX: their first byte says of which format they are.
//!
//! | bytes | field | of |
//! |---|---|---|
//! | 1 | format: 1, 2, 3, 4, 5, 15, 25, 6 (hexadecimal; before it may stand a zero) | all |
//! | 4, 2 | number of the record, event | all |
//! | 6 | time of the event: hour, minute, second, day, month from 0, year | all |
//! | 1 | guarded (lower seven bits; bit 0 in 6), alarm (bit 7; bit 1 in 6) | all |
//! | 1, 1 | state, GSM signal | all |
//! | 2 | outputs | 1, 2, 3 |
//! | 1 | outputs (bits 0, 1), satellites (the others) | 5, 15, 25 |
//! | 1 | outputs (bits 0 to 3) | 4, 6 |
//! | 2 or 1 | inputs | 2 bytes in 1 to 4 |
//! | 2, 2 | supply, battery, mV | all |
//! | 2 | temperature | 1, 2, 3 |
//! | 2, 2 | analog inputs, mV; a third in 6 | all but 3, 4 |
//! | 4, 4 | counters | 2, 5, 15, 25, 6 |
//! | 2, 2, 8 of 1 and 2 | frequencies, temperature and level of liquid sensors | 6 |
//! | 4, 4, 2 | temperatures, axle load, rpm | 6 |
//! | 1, 6 | state of the fix (bit 1 valid; satellites above it in 6), its time | 2, 5, 15, 25, 6 |
//! | 4, 4 | latitude, longitude: floats in radians; integers in 0.0001 minutes and altitude (4, 0.1 m) in 6 | the same |
//! | 4, 2, 4, 4 | km/h (float), course, km and km since the last record (floats) | the same |
//! | 2, 2 | seconds | the same |
//! | 3 of 2, 1 and 2 | frequency, temperature, level | 15, 25 |
//! | 4 | temperatures | 4, 25 |

use crate::contract::{Context, Instance, RecordBuilder, Reject, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::time::two_digit;
use crate::kit::units::{round, scaled};

const SHORT: Reject = Reject::new("record", "cut short", 0);
const NONE_I8: u8 = 0x80;

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    F1,
    F2,
    F3,
    F4,
    F5,
    F51,
    F52,
    F6,
}
use Format::{F1, F2, F3, F4, F5, F6, F51, F52};

impl Format {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => F1,
            0x02 => F2,
            0x03 => F3,
            0x04 => F4,
            0x05 => F5,
            0x15 => F51,
            0x25 => F52,
            0x06 => F6,
            _ => return None,
        })
    }

    /// Does it hold a place?
    fn is_placed(self) -> bool {
        matches!(self, F2 | F5 | F51 | F52 | F6)
    }
}

/// The number of a record at the front, whatever its format.
pub(super) fn index(mut cursor: Cursor<'_>) -> Option<[u8; 4]> {
    if cursor.u8()? == 0 {
        cursor.u8()?;
    }
    cursor.array()
}

/// Reads one record from the front into a message.
pub(super) fn record(
    kind: &str,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let mut byte = cursor.u8().ok_or(SHORT)?;
    if byte == 0 {
        byte = cursor.u8().ok_or(SHORT)?;
    }
    let format = Format::of(byte).ok_or(Reject::new("record", "of no known format", 0))?;
    let mut ahead = *cursor;
    ahead.take(6).ok_or(SHORT)?;
    let time = clock(ahead.array().ok_or(SHORT)?);
    let time = time.map_or(Time::Received(cx.now_ms), Time::Device);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, kind);
    message.name("format", i64::from(byte));
    push(format, cursor, &mut message).ok_or(SHORT)
}

/// The time of day, day, month from 0, year of two digits; all zeros is none.
fn clock(bytes: [u8; 6]) -> Option<i64> {
    let [hour, minute, second, day, month, year] = bytes.map(i64::from);
    two_digit(year, month + 1, day, hour, minute, second).utc_ms()
}

fn push_bits(
    message: &mut RecordBuilder<'_>,
    param: crate::contract::ParamId,
    raw: u16,
    count: Instance,
) {
    for bit in 0..count {
        message.push((param, bit + 1), raw >> bit & 1 == 1);
    }
}

fn push(format: Format, cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    message.push(fields::RECORD_SEQNUM, cursor.u32_le()?);
    message.push(fields::EVENT_ENUM, cursor.u16_le()?);
    cursor.take(6)?;
    let guard = cursor.u8()?;
    let (armed, alarm) = match format {
        F6 => (guard & 1 != 0, guard & 2 != 0),
        _ => (guard & 0x7f != 0, guard & 0x80 != 0),
    };
    message.push(fields::ARM_STATUS, armed);
    message.push(fields::ALARM_MODE_STATUS, alarm);
    message.push(fields::STATUS_BITMASK, cursor.u8()?);
    message.push(fields::GSM_SIGNAL_ENUM, cursor.u8()?);
    match format {
        F1 | F2 | F3 => push_bits(message, fields::DOUT_N, cursor.u16_le()?, 16),
        F5 | F51 | F52 => {
            let byte = cursor.u8()?;
            push_bits(message, fields::DOUT_N, byte.into(), 2);
            message.push(fields::POSITION_SATELLITES, byte >> 2);
        }
        F4 | F6 => push_bits(message, fields::DOUT_N, cursor.u8()?.into(), 4),
    }
    match format {
        F1 | F2 | F3 => push_bits(message, fields::DIN_N, cursor.u16_le()?, 16),
        F4 => message.push(fields::DIN, cursor.u16_le()?),
        _ => push_bits(message, fields::DIN_N, cursor.u8()?.into(), 8),
    }
    let volts = |cursor: &mut Cursor<'_>| Some(scaled(cursor.u16_le()?.into(), 3));
    message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts(cursor)?);
    message.push(fields::BATTERY_VOLTAGE, volts(cursor)?);
    if matches!(format, F1 | F2 | F3) {
        let celsius = cursor.i16_le()?;
        message.push((fields::SENSOR_TEMPERATURE_N, 1), celsius);
    }
    let analog = match format {
        F3 | F4 => 0,
        F6 => 3,
        _ => 2,
    };
    for number in 1..=analog {
        message.push((fields::AIN_N, number), volts(cursor)?);
    }
    if format.is_placed() {
        for number in 1..=2 {
            message.push((fields::COUNTER_IMPULSES_N, number), cursor.u32_le()?);
        }
    }
    if format == F6 {
        vehicle(cursor, message)?;
    }
    if format.is_placed() {
        place(format, cursor, message)?;
    }
    if matches!(format, F51 | F52) {
        for number in 1..=3 {
            message.push((fields::FREQUENCY_N, number), cursor.u16_le()?);
            liquid(number, cursor, message)?;
        }
    }
    if matches!(format, F4 | F52) {
        temperatures(cursor, message)?;
    }
    Some(())
}

/// Temperature and level of a sensor in a tank.
fn liquid(
    number: Instance,
    cursor: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
) -> Option<()> {
    // from here on it is no level
    const FAULTS: u16 = 65_500;
    let (celsius, level) = (cursor.u8()?, cursor.u16_le()?);
    if level < FAULTS {
        message.push((fields::LLS_VALUE_N, number), level);
        if celsius != NONE_I8 {
            let celsius = celsius.cast_signed();
            message.push((fields::LLS_TEMPERATURE_N, number), celsius);
        }
    }
    Some(())
}

fn temperatures(cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    for number in 1..=4 {
        let celsius = cursor.u8()?;
        if celsius != NONE_I8 {
            let celsius = celsius.cast_signed();
            message.push((fields::SENSOR_TEMPERATURE_N, number), celsius);
        }
    }
    Some(())
}

/// What only format 6 has before its place.
fn vehicle(cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    for number in 1..=2 {
        message.push((fields::FREQUENCY_N, number), cursor.u16_le()?);
    }
    for number in 1..=8 {
        liquid(number, cursor, message)?;
    }
    temperatures(cursor, message)?;
    message.push((fields::CAN_AXLE_LOAD_N, 1), cursor.u32_le()?);
    let rpm = cursor.u16_le()?;
    if rpm != 0xffff {
        message.push(fields::CAN_ENGINE_RPM, rpm);
    }
    Some(())
}

fn place(format: Format, cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let state = cursor.u8()?;
    let fixed_ms = clock(cursor.array()?);
    let [latitude, longitude] = if format == F6 {
        let mut degrees = || Some(f64::from(cursor.i32_le()?) / 600_000.0);
        [degrees()?, degrees()?]
    } else {
        [cursor.f32_le()?.to_degrees(), cursor.f32_le()?.to_degrees()]
    };
    let is_there =
        latitude.abs() <= 90.0 && longitude.abs() <= 180.0 && (latitude, longitude) != (0.0, 0.0);
    message.push(fields::POSITION_VALID, is_there && state & 2 != 0);
    if format == F6 {
        message.push(fields::POSITION_SATELLITES, state >> 2);
        let altitude = cursor.i32_le()?;
        if is_there {
            message.push(fields::POSITION_ALTITUDE, scaled(altitude.into(), 1));
        }
    }
    let (speed, course) = (cursor.f32_le()?, cursor.u16_le()?);
    if is_there {
        message.push(fields::POSITION_LATITUDE, round(latitude, 7));
        message.push(fields::POSITION_LONGITUDE, round(longitude, 7));
        message.push(fields::POSITION_SPEED, round(speed, 3));
        message.push(fields::POSITION_DIRECTION, course);
    }
    if let Some(ms) = fixed_ms {
        message.push(fields::POSITION_TIMESTAMP, scaled(ms, 3));
    }
    message.push(fields::VEHICLE_MILEAGE, round(cursor.f32_le()?, 5));
    message.push(fields::TRIP_MILEAGE, round(cursor.f32_le()?, 5));
    cursor.take(4)?;
    Some(())
}
