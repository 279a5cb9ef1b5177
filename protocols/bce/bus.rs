//! Values of the vehicle's bus as SAE J1939-71 has them: FE and FF in the highest byte say that there is an
//! error, or no value.

use super::kept::unknown;
use crate::contract::{ParamId, RecordBuilder, fields};
use crate::kit::cursor::Cursor;
use crate::kit::units;

const U8_END: u8 = 0xfb;
const U16_END: u16 = 0xfb00;
const U32_END: u32 = 0xfb00_0000;

// What is not a number is not stored: that is how "no value" goes through the conversions.

fn byte(cursor: &mut Cursor<'_>) -> Option<f64> {
    let raw = cursor.u8()?;
    Some(if raw < U8_END { raw.into() } else { f64::NAN })
}

fn word(cursor: &mut Cursor<'_>) -> Option<f64> {
    let raw = cursor.u16_le()?;
    Some(if raw < U16_END { raw.into() } else { f64::NAN })
}

/// A word that is zero where the bus has no such value.
fn word_or_none(cursor: &mut Cursor<'_>) -> Option<f64> {
    word(cursor).map(|raw| if raw > 0.0 { raw } else { f64::NAN })
}

fn long(cursor: &mut Cursor<'_>) -> Option<f64> {
    let raw = cursor.u32_le()?;
    Some(if raw < U32_END { raw.into() } else { f64::NAN })
}

/// A distance of four bytes, 5 m a bit.
pub(super) fn distance(
    param: ParamId,
    cursor: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
) -> Option<()> {
    message.push(param, units::round(long(cursor)? * 0.005, 3));
    Some(())
}

/// Mask 2.
pub(super) fn engine(
    bit: u32,
    cursor: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
) -> Option<()> {
    let (param, value) = match bit {
        0 => (fields::CAN_VEHICLE_SPEED, word(cursor)? / 256.0),
        1 => (fields::CAN_THROTTLE_PEDAL_LEVEL, byte(cursor)? * 0.4),
        2 => (fields::CAN_FUEL_CONSUMED, long(cursor)? * 0.5),
        3 => (fields::CAN_FUEL_LEVEL, byte(cursor)? * 0.4),
        4 => (fields::CAN_ENGINE_RPM, word(cursor)? * 0.125),
        5 => (fields::CAN_ENGINE_MOTORHOURS, long(cursor)? * 0.05),
        6 => return distance(fields::CAN_VEHICLE_MILEAGE, cursor, message),
        7 => (fields::CAN_ENGINE_COOLANT_TEMPERATURE, byte(cursor)? - 40.0),
        8 => {
            let percent = units::round(byte(cursor)? * 0.4, 1);
            message.push((fields::FUEL_LEVEL_N, 2), percent);
            return Some(());
        }
        9 => (fields::CAN_ENGINE_LOAD_LEVEL, byte(cursor)?),
        10 => {
            let km = word_or_none(cursor)? * 5.0 - 160_635.0;
            (fields::CAN_SERVICE_MILEAGE, km)
        }
        11 => return tachograph(cursor, message),
        12 => {
            let celsius = word_or_none(cursor)? / 32.0 - 273.0;
            (fields::CAN_AMBIENT_AIR_TEMPERATURE, celsius)
        }
        13 => return unknown(2, bit, 8, cursor, message),
        14 => (fields::CAN_FUEL_RATE, word(cursor)? * 0.05),
        _ => return None,
    };
    message.push(param, units::round(value, 3));
    Some(())
}

/// The eight bytes of TCO1: states, cards, speed.
fn tachograph(cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let bytes: [u8; 8] = cursor.array()?;
    if bytes.iter().all(|byte| *byte == 0) || bytes.iter().all(|byte| *byte == 0xff) {
        return Some(());
    }
    let [states, first, second, _, _, _, low, high] = bytes;
    for (number, state, card) in [(1, states & 7, first), (2, states >> 3 & 7, second)] {
        if state != 7 {
            message.push((fields::TACHO_DRIVER_STATE_ENUM_N, number), state);
        }
        match card >> 4 & 3 {
            0 => message.push((fields::TACHO_DRIVER_CARD_STATUS_N, number), false),
            1 => message.push((fields::TACHO_DRIVER_CARD_STATUS_N, number), true),
            _ => {}
        }
    }
    let raw = u16::from_le_bytes([low, high]);
    if raw < U16_END {
        let speed = units::round(f64::from(raw) / 256.0, 2);
        message.push(fields::CAN_TACHO_SPEED, speed);
    }
    Some(())
}

/// The first half of mask 3; `None` without a read for the other bits.
pub(super) fn more(
    bit: u32,
    cursor: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
) -> Option<()> {
    match bit {
        // kilometres a litre, in 1/512
        0 => {
            let use_of_100_km = units::round(51_200.0 / word_or_none(cursor)?, 2);
            message.push(fields::CAN_FUEL_CONSUMPTION, use_of_100_km);
            Some(())
        }
        1 => unknown(3, bit, 4, cursor, message),
        2 => unknown(3, bit, 3, cursor, message),
        3 => unknown(3, bit, 1, cursor, message),
        4 => unknown(3, bit, 20, cursor, message),
        5 => unknown(3, bit, 2, cursor, message),
        _ => None,
    }
}
