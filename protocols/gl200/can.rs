//! GTCAN and GTOBD: a mask, and one field for each of its bits.

use super::text::Report;
use crate::contract::{RecordBuilder, fields};
use crate::kit::parse::{float, number};
use crate::kit::units::round;

/// Adds the fields of GTCAN between `from` and `end`.
pub(super) fn push_can(
    message: &mut RecordBuilder<'_>,
    report: &Report<'_>,
    from: usize,
    end: usize,
) {
    let rest = &report.rest;
    let Ok(mask) = u32::from_str_radix(rest.at(from + 2), 16) else {
        message.name("fields", rest.text(from, end));
        return;
    };
    let mut at = from + 3;
    // bits 22 and above differ from device to device
    for bit in 0..22u32 {
        if mask & (1 << bit) == 0 {
            continue;
        }
        let text = rest.at(at);
        if at >= end {
            return;
        }
        at += 1;
        if !text.is_empty() {
            can_field(message, bit, text);
        }
    }
    let left = rest.text(at, end);
    if left.bytes().any(|byte| byte != b',') {
        message.name("fields", left);
    }
}

fn can_field(message: &mut RecordBuilder<'_>, bit: u32, text: &str) {
    let hexadecimal = || i64::from_str_radix(text, 16).ok();
    match bit {
        0 => message.push(fields::CAN_VEHICLE_VIN, text),
        1 => {
            let on = number::<u8>(text).map(|key| key > 0);
            message.push_some(fields::ENGINE_IGNITION_STATUS, on);
        }
        2 => match text.strip_prefix('H') {
            Some(hectometers) => {
                let km = float(hectometers).map(|h| round(h / 10.0, 1));
                message.push_some(fields::CAN_VEHICLE_MILEAGE, km);
            }
            None => message.name("can.distance", text),
        },
        3 => message.push_some(fields::CAN_FUEL_CONSUMED, float(text)),
        4 => message.push_some(fields::CAN_ENGINE_RPM, number::<u32>(text)),
        5 => message.push_some(fields::CAN_VEHICLE_SPEED, float(text)),
        6 => message.push_some(fields::CAN_ENGINE_COOLANT_TEMPERATURE, float(text)),
        7 => match text.split_at_checked(1) {
            Some(("M", value)) => message.push_some(fields::CAN_FUEL_CONSUMPTION, float(value)),
            Some(("H", value)) => message.push_some(fields::CAN_FUEL_RATE, float(value)),
            _ => message.name("can.fuel.consumption", text),
        },
        8 => match text.split_at_checked(1) {
            Some(("P", value)) => message.push_some(fields::CAN_FUEL_LEVEL, float(value)),
            Some(("L", value)) => message.push_some(fields::CAN_FUEL_VOLUME, float(value)),
            _ => message.name("can.fuel", text),
        },
        9 => {
            let km = float(text).map(|hectometers| round(hectometers / 10.0, 1));
            message.push_some(fields::CAN_RANGE_MILEAGE, km);
        }
        10 => message.push_some(fields::CAN_THROTTLE_PEDAL_LEVEL, float(text)),
        11 => message.push_some(fields::CAN_ENGINE_MOTORHOURS, float(text)),
        12 => message.push_some(fields::CAN_DRIVING_HOURS, float(text)),
        13 => message.push_some(fields::CAN_IDLE_HOURS, float(text)),
        14 => message.push_some(fields::CAN_IDLE_FUEL_CONSUMED, float(text)),
        15 => message.push_some(fields::CAN_TOTAL_AXLE_LOAD, float(text)),
        16 => {
            if let Some(bits) = hexadecimal() {
                message.name("can.tachograph", bits);
            }
        }
        17 => message.push_some(fields::CAN_STATE_BITMASK, hexadecimal()),
        18 => {
            if let Some(bits) = hexadecimal() {
                message.name("can.lights", bits);
            }
        }
        19 => message.push_some(fields::CAN_DOORS_BITMASK, hexadecimal()),
        20 => message.name("can.overspeed.hours", text),
        _ => message.name("can.engine.overspeed.hours", text),
    }
}

/// Adds the fields of GTOBD between `from` and `end`.
pub(super) fn push_obd(
    message: &mut RecordBuilder<'_>,
    report: &Report<'_>,
    from: usize,
    end: usize,
) {
    let rest = &report.rest;
    let Ok(mask) = u32::from_str_radix(rest.at(from + 1), 16) else {
        message.name("fields", rest.text(from, end));
        return;
    };
    let mut at = from + 2;
    for bit in 0..20u32 {
        if mask & (1 << bit) == 0 {
            continue;
        }
        let text = rest.at(at);
        if at >= end {
            return;
        }
        at += 1;
        if !text.is_empty() {
            obd_field(message, bit, text);
        }
    }
}

fn obd_field(message: &mut RecordBuilder<'_>, bit: u32, text: &str) {
    match bit {
        0 => message.push(fields::CAN_VEHICLE_VIN, text),
        1 => message.name("obd.connected", text == "1"),
        2 => {
            let volts = number::<u32>(text).map(|mv| f64::from(mv) / 1000.0);
            message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
        }
        3 => message.name("obd.pids", text),
        4 => message.push_some(fields::CAN_ENGINE_RPM, number::<u32>(text)),
        5 => message.push_some(fields::CAN_VEHICLE_SPEED, float(text)),
        6 => message.push_some(fields::CAN_ENGINE_COOLANT_TEMPERATURE, float(text)),
        7 => message.push_some(fields::CAN_FUEL_CONSUMPTION, float(text)),
        8 => message.push_some(fields::CAN_DTC_DISTANCE, float(text)),
        9 => message.push_some(fields::CAN_MIL_MILEAGE, float(text)),
        10 => message.push(fields::CAN_MIL_STATUS, text == "1"),
        11 => message.push_some(fields::CAN_DTC_NUMBER, number::<u32>(text)),
        12 => message.push(fields::CAN_DTC_CODES, text),
        13 => message.push_some(fields::CAN_THROTTLE_LEVEL, float(text)),
        14 => message.push_some(fields::CAN_ENGINE_LOAD_LEVEL, float(text)),
        15 => message.push_some(fields::CAN_FUEL_LEVEL, float(text)),
        19 => message.push_some(fields::CAN_VEHICLE_MILEAGE, float(text)),
        bit => message.wire(bit, text),
    }
}
