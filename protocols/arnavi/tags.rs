//! Tags of a binary packet: a number (1) and a value of four bytes.
//!
//! | tag | value |
//! |---|---|
//! | 01 | battery, supply, mV (2 each; 0 and FFFF are none) |
//! | 03, 04 | latitude, longitude (floats, degrees) |
//! | 05 | course (2 degrees), altitude (10 m), satellites of two systems (4 bits each; FE and FF: no fix), knots |
//! | 06 | how inputs work (1), then 1: virtual sensors (1), inputs (2); 6, 7, 8: an input from 0 (1) and its pulses, hertz, mV (2) |
//! | 07, 08 | cell, area (2 each); network (1), country (2), signal (1) |
//! | 09 | state: bits 0 to 7 inputs, 8 to 11 outputs, 16 moves, 20 alarm, 24 to 31 supply in 150 mV |
//! | 14 to 1b, 1e to 25 | hertz, mV of inputs 0 to 7 |
//! | 33 | of the bus: bits 8, 9 doors, 10 trunk, 11 hood, 12 handbrake, 13 brake, 14 runs, 16 ignition, 19 key |
//! | 34, 35, 36 | of the bus: hours, km (0.01 each), liters (0.1) |
//! | 37, 38, 39, 3a, 3b | of the bus: fuel 0.1 % (2), liters, rpm (2), coolant, km/h |
//! | 3c to 40 | of the bus: load of axles 1 to 5, kg |
//! | 45 | of the bus: accelerator (1), engine load (1) |
//! | 46 to 4f | liquid sensors 0 to 9: level (2), temperature (1) |
//! | 50 | the same, with the sensor's number in the last byte |
//! | 96, 97 | distance 0.01 km, HDOP 0.01 (2) |
//! | fb | hardware, firmware (2 each) |

use crate::contract::{Instance, RecordBuilder, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::hex;
use crate::kit::units::{knots, round, scaled};

const TAG_BYTES: usize = 5;
const NONE_U16: u16 = 0xffff;

/// Adds all tags of a packet.
pub(super) fn push(content: &[u8], message: &mut RecordBuilder<'_>) {
    let (mut latitude, mut longitude, mut is_fixed) = (None, None, true);
    let mut cell = Cell::default();
    let tags = content.chunks_exact(TAG_BYTES);
    let left = tags.remainder();
    let has_supply = tags.clone().any(|tag| tag.first() == Some(&0x01));
    for tag in tags {
        let &[id, a, b, c, d] = tag else { continue };
        let raw = u32::from_le_bytes([a, b, c, d]);
        let (low, high) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        let degrees = |limit: f64| {
            let value = f64::from(f32::from_bits(raw));
            Some(round(value, 6)).filter(|value| value.abs() <= limit)
        };
        match id {
            0x01 => {
                for (param, mv) in [
                    (fields::BATTERY_VOLTAGE, low),
                    (fields::EXTERNAL_POWERSOURCE_VOLTAGE, high),
                ] {
                    if mv != 0 && mv != NONE_U16 {
                        message.push(param, scaled(mv.into(), 3));
                    }
                }
            }
            0x03 => latitude = degrees(90.0),
            0x04 => longitude = degrees(180.0),
            0x05 if c >= 0xfe => is_fixed = false,
            0x05 => {
                message.push(fields::POSITION_DIRECTION, i64::from(a) * 2);
                message.push(fields::POSITION_ALTITUDE, i64::from(b) * 10);
                message.push(fields::POSITION_SATELLITES, (c & 15) + (c >> 4));
                message.push(fields::POSITION_SPEED, knots(d.into()));
            }
            0x06 => inputs(a, b, high, message),
            0x07 => {
                (cell.id, cell.lac) = (Some(low.into()), Some(high.into()));
            }
            0x08 => {
                let country = i64::from(u16::from_le_bytes([b, c]));
                (cell.mnc, cell.mcc) = (Some(a.into()), Some(country));
                message.push(fields::GSM_SIGNAL_ENUM, d);
            }
            0x09 => {
                message.push(fields::STATUS_BITMASK, raw);
                message.push(fields::DIN, a);
                message.push(fields::DOUT, b & 15);
                message.push(fields::MOVEMENT_STATUS, c & 1 != 0);
                message.push(fields::ALARM_MODE_STATUS, c & 16 != 0);
                if !has_supply && d > 0 {
                    let volts = round(f64::from(d) * 0.15, 2);
                    message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
                }
            }
            0x14..=0x1b => {
                message.push((fields::FREQUENCY_N, Instance::from(id - 0x14) + 1), raw);
            }
            0x1e..=0x25 => {
                let volts = scaled(raw.into(), 3);
                message.push((fields::AIN_N, Instance::from(id - 0x1e) + 1), volts);
            }
            0x46..=0x4f => liquid(id - 0x46, low, c, message),
            0x50 => liquid(d, low, c, message),
            0x96 => message.push(fields::VEHICLE_MILEAGE, scaled(raw.into(), 2)),
            0x97 => message.push(fields::POSITION_HDOP, scaled(low.into(), 2)),
            0xfb => {
                message.push(fields::DEVICE_HARDWARE_VERSION, &*low.to_string());
                message.push(fields::DEVICE_FIRMWARE_VERSION, &*high.to_string());
            }
            _ if bus(id, raw, message).is_some() => {}
            _ => message.wire(id.into(), raw),
        }
    }
    if cell != Cell::default() {
        cells::push(message, 0, cell);
    }
    let place = latitude.zip(longitude).filter(|place| *place != (0.0, 0.0));
    message.push(fields::POSITION_VALID, is_fixed && place.is_some());
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    if !left.is_empty() {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(left));
    }
}

fn inputs(mode: u8, which: u8, value: u16, message: &mut RecordBuilder<'_>) {
    let number = Instance::from(which) + 1;
    match mode {
        1 => {
            message.name("virtual.sensors", which);
            message.push(fields::DIN, value);
        }
        6 => message.push((fields::COUNTER_IMPULSES_N, number), value),
        7 => message.push((fields::FREQUENCY_N, number), value),
        8 => message.push((fields::AIN_N, number), scaled(value.into(), 3)),
        _ => message.name(&format!("input.{mode}.{which}"), value),
    }
}

fn liquid(sensor: u8, level: u16, celsius: u8, message: &mut RecordBuilder<'_>) {
    let number = Instance::from(sensor) + 1;
    if level != NONE_U16 {
        message.push((fields::LLS_VALUE_N, number), level);
        message.push((fields::LLS_TEMPERATURE_N, number), celsius.cast_signed());
    }
}

/// Values of the vehicle's bus; `None` if the tag is not one of them.
fn bus(id: u8, raw: u32, message: &mut RecordBuilder<'_>) -> Option<()> {
    const FLAGS: [(u32, crate::contract::ParamId); 9] = [
        (8, fields::CAN_DRIVER_DOOR_STATUS),
        (9, fields::CAN_PASSENGER_DOOR_STATUS),
        (10, fields::CAN_TRUNK_STATUS),
        (11, fields::CAN_HOOD_STATUS),
        (12, fields::CAN_HANDBRAKE_STATUS),
        (13, fields::CAN_PEDAL_BRAKE_STATUS),
        (14, fields::CAN_ENGINE_WORKING_STATUS),
        (16, fields::CAN_ENGINE_IGNITION_STATUS),
        (19, fields::CAN_IGNITION_KEY_STATUS),
    ];
    let whole = i64::from(raw);
    let low = i64::from(raw & 0xffff);
    match id {
        0x33 => {
            message.push(fields::CAN_STATE_BITMASK, raw);
            for (bit, param) in FLAGS {
                message.push(param, raw >> bit & 1 == 1);
            }
        }
        0x34 => message.push(fields::CAN_ENGINE_MOTORHOURS, scaled(whole, 2)),
        0x35 => message.push(fields::CAN_VEHICLE_MILEAGE, scaled(whole, 2)),
        0x36 => message.push(fields::CAN_FUEL_CONSUMED, scaled(whole, 1)),
        0x37 => message.push(fields::CAN_FUEL_LEVEL, scaled(low, 1)),
        0x38 => message.push(fields::CAN_FUEL_VOLUME, whole),
        0x39 => message.push(fields::CAN_ENGINE_RPM, low),
        0x3a => {
            let celsius = raw.cast_signed();
            message.push(fields::CAN_ENGINE_COOLANT_TEMPERATURE, celsius);
        }
        0x3b => message.push(fields::CAN_VEHICLE_SPEED, whole),
        0x3c..=0x40 => {
            let axle = Instance::from(id - 0x3c) + 1;
            message.push((fields::CAN_AXLE_LOAD_N, axle), whole);
        }
        0x45 => {
            let [pedal, load, low, high] = raw.to_le_bytes();
            message.push(fields::CAN_THROTTLE_PEDAL_LEVEL, pedal);
            message.push(fields::CAN_ENGINE_LOAD_LEVEL, load);
            let moving = u16::from_le_bytes([low, high]);
            message.wire(id.into(), moving);
        }
        _ => return None,
    }
    Some(())
}
