//! Battery management: BS50, one packed reading, and BS51, the answers of a Daly board.

use crate::contract::{RecordBuilder, fields};
use crate::kit::hex;

const CELLS_MAX: usize = 24;
/// Temperatures are sent with this added, °C.
const CELSIUS_OFFSET: i64 = 40;

fn celsius(byte: u8) -> i64 {
    i64::from(byte) - CELSIUS_OFFSET
}

/// BS50: little endian; the count of cells at 3, their mV from 4 on in 24 places, the pack's voltage in
/// 10 mV at 55, its level at 57, temperatures of transistors, balancer and cells at 73 to 76.
pub(super) fn push_pack(message: &mut RecordBuilder<'_>, body: &str) {
    let Some(bytes) = hex::decode(body.get(..body.len() & !1).unwrap_or_default()) else {
        message.push(fields::TEXT_MESSAGE, body);
        return;
    };
    let byte = |at: usize| bytes.get(at).copied();
    let short = |at: usize| Some(u16::from_le_bytes([byte(at)?, byte(at + 1)?]));
    let cells = byte(3).map_or(0, usize::from).min(CELLS_MAX);
    for (cell, number) in (0..cells).zip(1u16..) {
        let volts = short(4 + cell * 2).map(|mv| f64::from(mv) / 1000.0);
        message.push_some((fields::BATTERY_CELL_VOLTAGE_N, number), volts);
    }
    let volts = short(55).map(|volts| f64::from(volts) / 100.0);
    message.push_some(fields::BATTERY_VOLTAGE, volts);
    let level = byte(57).filter(|level| *level <= 100);
    message.push_some(fields::BATTERY_LEVEL, level);
    for (at, number) in [75, 76].into_iter().zip(1u16..) {
        let celsius = byte(at).map(celsius);
        message.push_some((fields::BATTERY_CELL_TEMPERATURE_N, number), celsius);
    }
    message.push_some(fields::DEVICE_TEMPERATURE, byte(73).map(celsius));
    message.push(fields::PAYLOAD_HEX, body);
}

/// BS51: `90:` and eight bytes, `91:` and so on, big endian.
pub(super) fn push_frames(message: &mut RecordBuilder<'_>, body: &str) {
    message.push(fields::PAYLOAD_HEX, body);
    for part in body.split(',') {
        let Some((id, data)) = part.split_once(':') else {
            continue;
        };
        let bytes = hex::decode(data).unwrap_or_default();
        let Some(data) = bytes.first_chunk::<8>() else {
            continue;
        };
        let [first, _, third, fourth, fifth, sixth, ..] = *data;
        let words = data.as_chunks::<2>().0;
        let short = |at: usize| words.get(at).map_or(0, |pair| u16::from_be_bytes(*pair));
        let tenth = |value: u16| f64::from(value) / 10.0;
        match id {
            "90" => {
                message.push(fields::BATTERY_VOLTAGE, tenth(short(0)));
                let current = i64::from(short(2)) - 30_000;
                message.push(fields::BATTERY_CURRENT, current as f64 / 10.0);
                message.push(fields::BATTERY_LEVEL, tenth(short(3)));
            }
            "91" => {
                message.name("cell.voltage.max", f64::from(short(0)) / 1000.0);
                message.name("cell.voltage.max.number", third);
                message.name(
                    "cell.voltage.min",
                    f64::from(u16::from_be_bytes([fourth, fifth])) / 1000.0,
                );
                message.name("cell.voltage.min.number", sixth);
            }
            "92" => {
                message.push(fields::BATTERY_TEMPERATURE, celsius(first));
                message.name("cell.temperature.min", celsius(third));
            }
            "93" => {
                match first {
                    1 => message.push(fields::BATTERY_CHARGING_STATUS, true),
                    0 | 2 => message.push(fields::BATTERY_CHARGING_STATUS, false),
                    _ => {}
                }
                let capacity = u32::from(short(2)) << 16 | u32::from(short(3));
                message.name("battery.capacity.mah", capacity);
            }
            _ => {}
        }
    }
}
