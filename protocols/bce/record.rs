//! A record of type 7: masks, then what their bits name.

use super::bus;
use super::kept::unknown;
use crate::contract::{Instance, RecordBuilder, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::cursor::Cursor;
use crate::kit::{hex, units};
use smallvec::SmallVec;

/// The most masks of a record; four are described.
const MASKS_MAX: usize = 8;
/// The analog inputs, in units that depend on the model.
const ANALOG: [&str; 8] = [
    "adc1", "adc2", "adc3", "adc4", "adc5", "adc6", "adc7", "adc8",
];
/// Says that one more mask follows.
const MORE: u16 = 0x8000;

/// Adds what can be read; the cursor is left at what cannot.
pub(super) fn push(cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) {
    let mut masks: SmallVec<[u16; MASKS_MAX]> = SmallVec::new();
    while masks.len() < MASKS_MAX && masks.last().is_none_or(|mask| mask & MORE != 0) {
        let Some(mask) = cursor.u16_le() else { break };
        masks.push(mask);
    }
    for (number, mask) in (1u32..).zip(masks) {
        for bit in (0..15u32).filter(|bit| mask >> bit & 1 == 1) {
            let before = *cursor;
            let read = match number {
                1 => tracker(bit, cursor, message),
                2 => bus::engine(bit, cursor, message),
                3 => bus::more(bit, cursor, message).or_else(|| sensors(bit, cursor, message)),
                4 => later(bit, cursor, message),
                _ => None,
            };
            if read.is_none() {
                *cursor = before;
                return;
            }
        }
    }
}

/// Mask 1: the tracker's own.
fn tracker(bit: u32, cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let instance = Instance::try_from(bit).ok()?;
    match bit {
        0 => place(cursor, message)?,
        1 => message.push(fields::DIN, cursor.u16_le()?),
        2..=9 => {
            let raw = cursor.u16_le()?;
            message.name(ANALOG.get(usize::from(instance) - 2)?, raw);
        }
        10 | 11 => {
            let first = (instance - 10) * 2 + 1;
            message.push((fields::COUNTER_IMPULSES_N, first), cursor.u16_le()?);
            message.push((fields::COUNTER_IMPULSES_N, first + 1), cursor.u16_le()?);
        }
        12 => message.name("lvl1", cursor.u16_le()?),
        13 => message.name("lvl2", cursor.u16_le()?),
        14 => {
            let cell = Cell {
                mcc: Some(cursor.u16_le()?.into()),
                mnc: Some(cursor.u8()?.into()),
                lac: Some(cursor.u16_le()?.into()),
                id: Some(cursor.u16_le()?.into()),
                dbm: None,
            };
            let (advance, size) = (cursor.u8()?, cursor.u8()?);
            let dbm = (size > 0).then(|| -i64::from(size));
            cells::push(message, 0, Cell { dbm, ..cell });
            message.push(fields::GSM_TIMING_ADVANCE, advance);
        }
        _ => return None,
    }
    Some(())
}

fn place(cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let (longitude, latitude) = (cursor.f32_le()?, cursor.f32_le()?);
    let (speed, quality, course) = (cursor.u8()?, cursor.u8()?, cursor.u8()?);
    let altitude = cursor.i16_le()?;
    let metres = cursor.f32_le()?;
    let valid =
        longitude.abs() <= 180.0 && latitude.abs() <= 90.0 && (longitude != 0.0 || latitude != 0.0);
    message.push(fields::POSITION_VALID, valid);
    if valid {
        message.push(fields::POSITION_LATITUDE, units::round(latitude, 7));
        message.push(fields::POSITION_LONGITUDE, units::round(longitude, 7));
    }
    message.push(fields::POSITION_SPEED, speed);
    message.push(fields::POSITION_SATELLITES, quality & 15);
    message.push(fields::POSITION_HDOP, quality >> 4);
    message.push(fields::POSITION_DIRECTION, u16::from(course) * 2);
    message.push(fields::POSITION_ALTITUDE, altitude);
    if metres.is_finite() {
        let km = units::round(metres / 1000.0, 6);
        message.push(fields::SEGMENT_VEHICLE_MILEAGE, km);
    }
    Some(())
}

/// Tenths of a kelvin; zero is no sensor, and no number then.
fn kelvin(cursor: &mut Cursor<'_>) -> Option<f64> {
    let raw = cursor.u16_le()?;
    Some(if raw > 0 {
        units::round(f64::from(raw) * 0.1 - 273.0, 1)
    } else {
        f64::NAN
    })
}

/// The second half of mask 3: 1-Wire, liquid levels, other buses.
fn sensors(bit: u32, cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    match bit {
        6 => {
            let key = cursor.array().map(u64::from_le_bytes)?;
            if key != 0 {
                message.push(fields::DRIVER_ID, &*key.to_string());
            }
            Some(())
        }
        7 => {
            message.push((fields::SENSOR_TEMPERATURE_N, 1), kelvin(cursor)?);
            Some(())
        }
        9 => levels(1, cursor, message),
        10 => levels(3, cursor, message),
        8 => unknown(3, bit, 2, cursor, message),
        11 | 14 => unknown(3, bit, 21, cursor, message),
        12 => unknown(3, bit, 20, cursor, message),
        13 => unknown(3, bit, 9, cursor, message),
        _ => None,
    }
}

/// Two sensors of liquid, numbered from `first`.
fn levels(first: Instance, cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    const NONE: u16 = 0x8000;
    for number in [first, first + 1] {
        let (level, celsius) = (cursor.u16_le()?, cursor.i8()?);
        if level != NONE {
            message.push((fields::LLS_VALUE_N, number), level);
            message.push((fields::LLS_TEMPERATURE_N, number), celsius);
        }
    }
    Some(())
}

/// Mask 4.
fn later(bit: u32, cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    match bit {
        0 => unknown(4, bit, 4, cursor, message)?,
        1 => unknown(4, bit, 30, cursor, message)?,
        2 => {
            let litres = cursor.f32_le()?;
            if litres.is_finite() {
                message.push(fields::SEGMENT_CAN_FUEL_CONSUMED, units::round(litres, 6));
            }
        }
        3 => unknown(4, bit, 10, cursor, message)?,
        4 => unknown(4, bit, 1, cursor, message)?,
        5 => unknown(4, bit, 2, cursor, message)?,
        6 => {
            for name in ["max.acceleration", "max.braking", "max.cornering"] {
                let g = units::round(f64::from(cursor.u8()?) * 0.02, 2);
                message.name(name, g);
            }
        }
        7 => unknown(4, bit, 16, cursor, message)?,
        8 => {
            for number in 1..=4 {
                let celsius = kelvin(cursor)?;
                let id = cursor.take(8)?;
                message.push((fields::SENSOR_TEMPERATURE_N, number), celsius);
                // six bytes of FF: nothing is bound to the place
                let bound = id.iter().any(|byte| !matches!(byte, 0 | 0xff));
                if bound {
                    message.push((fields::SENSOR_ID_N, number), &*hex::encode(id));
                }
            }
        }
        9 => {
            for name in ["driver.card.1", "driver.card.2"] {
                let card = std::str::from_utf8(cursor.take(16)?).unwrap_or_default();
                let card = card.trim_matches(|c: char| c == '\0' || c.is_whitespace());
                if !card.is_empty() {
                    message.name(name, card);
                }
            }
        }
        10 => bus::distance(fields::CAN_TACHO_MILEAGE, cursor, message)?,
        _ => return None,
    }
    Some(())
}
