//! GTCAN and GTOBD: a mask, and one field for each of its bits.

use super::text::Report;
use crate::contract::{RecordBuilder, fields};
use crate::kit::parse::{float, number};
use crate::kit::units::round;

/// The most trouble codes of a report.
const CODES_MAX: u16 = 64;

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
    let mut next = || {
        at += 1;
        (at <= end).then(|| rest.at(at - 1))
    };
    let second = own_fields(message, report, mask, &mut next);
    if let Some(second) = second
        && let Some(third) = expansion(message, report, second, &mut next)
    {
        message.name("can.mask.3", third);
    }
    let left = rest.text(at.min(end), end);
    if left.bytes().any(|byte| byte != b',') {
        message.name("fields", left);
    }
}

/// What the first mask announces; gives the second mask, if there is one.
fn own_fields<'f>(
    message: &mut RecordBuilder<'_>,
    report: &Report<'_>,
    mask: u32,
    next: &mut impl FnMut() -> Option<&'f str>,
) -> Option<u32> {
    // the engine's speed comes before the vehicle's
    const ORDER: [u32; 22] = [
        0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
    ];
    for bit in ORDER.into_iter().filter(|bit| mask & 1 << bit != 0) {
        let text = next()?;
        if !text.is_empty() {
            can_field(message, bit, text);
        }
    }
    // what follows differs from device to device
    let last = if report.is_type(&["F1"]) {
        24
    } else if report.is_type(&["74", "802005"]) {
        27
    } else {
        22
    };
    for bit in (22..=last).filter(|bit| last > 22 && mask & 1 << bit != 0) {
        let text = next()?;
        match (last, bit) {
            (27, 22) => {}
            (24, 23) => message.push_some(fields::CAN_GROSS_WEIGHT, float(text)),
            _ if text.is_empty() => {}
            _ => message.name(&format!("can.{bit}"), text),
        }
    }
    if mask & 1 << 29 == 0 {
        return None;
    }
    u32::from_str_radix(next()?, 16).ok()
}

/// What the second mask announces; gives the third mask, if there is one.
fn expansion<'f>(
    message: &mut RecordBuilder<'_>,
    report: &Report<'_>,
    mask: u32,
    next: &mut impl FnMut() -> Option<&'f str>,
) -> Option<u32> {
    let listed = report.is_type(&["74", "802005"]);
    for bit in (0..31u32).filter(|bit| mask & 1 << bit != 0) {
        if listed && matches!(bit, 26 | 27) {
            continue;
        }
        let text = next()?;
        if text.is_empty() {
            continue;
        }
        match bit {
            0 => match text.split_at_checked(1) {
                Some(("P", value)) => message.push_some(fields::CAN_ADBLUE_LEVEL, float(value)),
                Some(("L", value)) => message.push_some(fields::CAN_ADBLUE_VOLUME, float(value)),
                _ => message.push_some(fields::CAN_ADBLUE_LEVEL, float(text)),
            },
            1 => message.push_some((fields::CAN_AXLE_LOAD_N, 1), float(text)),
            2 => message.push_some((fields::CAN_AXLE_LOAD_N, 3), float(text)),
            3 => message.push_some((fields::CAN_AXLE_LOAD_N, 4), float(text)),
            7 => {
                let volts = number::<u32>(text).map(|mv| f64::from(mv) / 1000.0);
                message.push_some((fields::AIN_N, 1), volts);
            }
            15 => message.push(fields::DRIVER_ID, text),
            16 => message.name("driver.id.2", text),
            17 => message.push(fields::DRIVER_NAME, text),
            18 => message.name("driver.name.2", text),
            19 => message.push(fields::VEHICLE_PLATE, text),
            23 => message.push_some(fields::CAN_ENGINE_TORQUE, float(text)),
            24 => message.push_some(fields::CAN_SERVICE_MILEAGE, float(text)),
            25 => message.push_some(fields::CAN_AMBIENT_AIR_TEMPERATURE, float(text)),
            28 if listed => {
                let count = number::<u16>(text).unwrap_or(0).min(CODES_MAX);
                let codes: Vec<&str> = (0..count).map_while(|_| next()).collect();
                message.push(fields::CAN_DTC_CODES, &*codes.join(","));
            }
            28 => message.push(fields::CAN_DTC_CODES, text),
            bit => message.name(&format!("can.expansion.{bit}"), text),
        }
    }
    if mask & 1 << 31 == 0 {
        return None;
    }
    u32::from_str_radix(next()?, 16).ok()
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
        3 => {
            if let Some(kg) = text.strip_prefix('K') {
                message.name("can.fuel.consumed.kg", kg);
            } else {
                let liters = float(text.trim_start_matches('L'));
                message.push_some(fields::CAN_FUEL_CONSUMED, liters);
            }
        }
        4 => message.push_some(fields::CAN_VEHICLE_SPEED, float(text)),
        5 => message.push_some(fields::CAN_ENGINE_RPM, number::<u32>(text)),
        6 => message.push_some(fields::CAN_ENGINE_COOLANT_TEMPERATURE, float(text)),
        7 if text.starts_with("L/H") => {
            message.push_some(fields::CAN_FUEL_RATE, float(text.trim_start_matches("L/H")));
        }
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
        14 => {
            let liters = float(text.trim_start_matches('L'));
            message.push_some(fields::CAN_IDLE_FUEL_CONSUMED, liters);
        }
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
