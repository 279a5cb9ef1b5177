//! The later forms: fixed fields or a list, with a sum of two digits.

use super::parts::{SHORT, Widths, begin, place, push_cell, push_place, push_rest};
use crate::contract::{Context, Login, ParamId, RecordBuilder, Reject, Reply, Time, fields};
use crate::kit::parse::{float, number};
use crate::kit::time::{Civil, digits, or_impossible};
use crate::kit::{checksum, units};

/// The compact and the listed form.
pub(super) fn with_sum(text: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let at = text.len().checked_sub(2).ok_or(SHORT)?;
    let (covered, sum) = text.split_at_checked(at).ok_or(SHORT)?;
    if u8::from_str_radix(sum, 16).ok() != Some(checksum::xor(covered.as_bytes())) {
        return Err(Reject::new("sum", "the checksum does not fit", at));
    }
    let rest = covered.get(6..).ok_or(SHORT)?;
    let (alarm, rest) = rest.split_at_checked(2).ok_or(SHORT)?;
    let (imei, body) = rest.split_once('|').unwrap_or((rest, ""));
    cx.identify(Login::of(imei))?;
    let number_at = covered.len().checked_sub(4).ok_or(SHORT)?;
    let serial = covered.get(number_at..).ok_or(SHORT)?;
    if body.is_empty() {
        let now_ms = cx.now_ms;
        begin(alarm, Time::Received(now_ms), cx)?;
    } else if body.contains(',') {
        listed(alarm, body, cx)?;
    } else {
        let body = body.strip_suffix(serial).ok_or(SHORT)?;
        compact(alarm, body, serial, cx)?;
    }
    let answer = format!("$$0014AA{serial}");
    let sum = checksum::xor(answer.as_bytes());
    cx.reply(Reply::stored(format!("{answer}{sum:02X}")));
    Ok(())
}

/// What an alarm means in the compact form.
pub(super) fn alarm_param(code: &str) -> Option<ParamId> {
    Some(match code {
        "01" => fields::ALARM_EVENT_TRIGGER,
        "02" => fields::OVERSPEEDING_EVENT_TRIGGER,
        "04" => fields::GEOFENCE_EVENT_EXIT,
        "05" => fields::GEOFENCE_EVENT_ENTER,
        "06" => fields::TOWING_EVENT_TRIGGER,
        "07" => fields::GNSS_ANTENNA_CUT_EVENT_TRIGGER,
        "10" => fields::POWER_CUT_EVENT_TRIGGER,
        "11" => fields::POWER_RESTORED_EVENT_TRIGGER,
        "12" => fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER,
        "13" => fields::BATTERY_LOW_EVENT_TRIGGER,
        "40" => fields::VIBRATION_EVENT_TRIGGER,
        "41" => fields::IDLE_EVENT_TRIGGER,
        "42" => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        "43" => fields::HARSH_BRAKING_EVENT_TRIGGER,
        _ => return None,
    })
}

/// The status and the time.
const BEFORE_INPUTS: usize = 8 + 12;
/// MNC and MCC.
const NETWORK: usize = 2 + 3;
/// How many characters stand from the LAC to the end of the latitude.
pub(super) const LAC_TO_NORTH: usize = 4 + 4 + 2 + 2 + 3 + 3 + 4 + 7 + 9;

pub(super) fn compact(
    alarm: &str,
    body: &str,
    serial: &str,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let lac = body
        .bytes()
        .position(|byte| matches!(byte, b'N' | b'S'))
        .and_then(|north| north.checked_sub(LAC_TO_NORTH))
        .ok_or(SHORT)?;
    // MNC and MCC behind the cell move what stands before it
    let has_network = lac >= BEFORE_INPUTS + NETWORK && (lac - BEFORE_INPUTS) % 4 == 1;
    let lac = if has_network { lac - NETWORK } else { lac };
    let (front, back) = body.split_at_checked(lac).ok_or(SHORT)?;
    let mut widths = Widths(front);
    let status = u32::from_str_radix(widths.take(8)?, 16)
        .map_err(|_| Reject::new("status", "not hexadecimal", 24))?;
    let ms = digits(widths.take(12)?, "ymdHMS").and_then(Civil::utc_ms);
    let mut message = begin(alarm, or_impossible(ms, cx.now_ms), cx)?;
    message.push_some(fields::FRAME_SEQNUM, number::<u32>(serial));
    if let Some(alarm) = alarm_param(alarm) {
        message.push(alarm, true);
    }
    push_status(&mut message, status);
    if widths.0.len() % 4 == 3 {
        let volts = float(widths.take(3)?).map(|hundredths| hundredths / 100.0);
        message.push_some(fields::BATTERY_VOLTAGE, volts);
    } else {
        let volts = float(widths.take(2)?).map(|tenths| tenths / 10.0);
        message.push_some(fields::BATTERY_VOLTAGE, volts);
        let volts = float(widths.take(2)?);
        message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
    }
    // devices with temperatures have more inputs, and so the fix's bit stands further down
    let (temperatures, fix_bit) = match widths.0.len() / 4 {
        0..=2 => (0, 14),
        _ => (8, 12),
    };
    for input in ["adc1", "adc2", "adc3", "adc4"] {
        if widths.0.len() > temperatures {
            let value = number::<i64>(widths.take(4)?);
            message.push_some(crate::contract::Key::Name(input), value);
        }
    }
    for sensor in 1..=2 {
        if widths.0.len() >= 4 {
            let celsius = float(widths.take(4)?).map(|tenths| tenths / 10.0);
            message.push_some((fields::SENSOR_TEMPERATURE_N, sensor), celsius);
        }
    }
    let mut widths = Widths(back);
    let (lac, id) = (widths.take(4)?, widths.take(4)?);
    push_cell(&mut message, lac, id);
    if has_network {
        let (mnc, mcc) = (widths.take(2)?, widths.take(3)?);
        message.push_some(fields::GSM_MNC, number::<u16>(mnc));
        message.push_some(fields::GSM_MCC, number::<u16>(mcc));
    }
    let satellites = number::<u8>(widths.take(2)?);
    message.push_some(fields::POSITION_SATELLITES, satellites);
    let signal = number::<u8>(widths.take(2)?);
    message.push_some(fields::GSM_SIGNAL_ENUM, signal);
    let (course, speed) = (float(widths.take(3)?), float(widths.take(3)?));
    message.push_some(fields::POSITION_HDOP, float(widths.take(4)?));
    message.push_some(fields::VEHICLE_MILEAGE, float(widths.take(7)?));
    let fixed = status >> fix_bit & 1 == 1;
    if push_place(&mut message, place(&mut widths)?, fixed) {
        message.push_some(fields::POSITION_DIRECTION, course);
        message.push_some(fields::POSITION_SPEED, speed);
    }
    if !widths.0.is_empty() {
        message.name("tail", widths.0);
    }
    Ok(())
}

pub(super) fn push_status(message: &mut RecordBuilder<'_>, status: u32) {
    let bit = |bit: u32| status >> bit & 1 == 1;
    message.push(fields::STATUS_BITMASK, status);
    message.push(fields::ENGINE_IGNITION_STATUS, bit(30));
    message.push(fields::BATTERY_CHARGING_STATUS, bit(28));
    for (at, alarm) in [
        (31, fields::ALARM_EVENT_TRIGGER),
        (29, fields::OVERSPEEDING_EVENT_TRIGGER),
        (27, fields::GEOFENCE_EVENT_EXIT),
        (26, fields::GEOFENCE_EVENT_ENTER),
        (25, fields::GNSS_ANTENNA_CUT_EVENT_TRIGGER),
    ] {
        if bit(at) {
            message.push(alarm, true);
        }
    }
    for (at, output) in [(23, 1), (22, 2), (21, 3)] {
        message.push((fields::DOUT_N, output), bit(at));
    }
}

pub(super) fn listed(kind: &str, body: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let parts: Vec<&str> = body.trim_end_matches('|').split(',').collect();
    let at = |index: usize| parts.get(index).copied().unwrap_or_default();
    let ms = digits(at(0), "ymdHMS").and_then(Civil::utc_ms);
    let mut message = begin(kind, or_impossible(ms, cx.now_ms), cx)?;
    let longitude = float(at(1)).filter(|degrees| degrees.abs() <= 180.0);
    let latitude = float(at(2)).filter(|degrees| degrees.abs() <= 90.0);
    push_place(&mut message, latitude.zip(longitude), true);
    if kind != "E5" {
        push_rest(&mut message, &parts, 3);
        return Ok(());
    }
    let scaled =
        |index: usize, factor: f64| float(at(index)).map(|value| units::round(value * factor, 3));
    for (index, param, factor) in [
        (4, fields::CAN_VEHICLE_MILEAGE, 0.001),
        (7, fields::EXTERNAL_POWERSOURCE_VOLTAGE, 0.001),
        (8, fields::CAN_ENGINE_RPM, 1.0),
        (9, fields::CAN_VEHICLE_SPEED, 1.0),
        (12, fields::CAN_ENGINE_COOLANT_TEMPERATURE, 1.0),
        (13, fields::CAN_INTAKE_AIR_TEMPERATURE, 1.0),
        (14, fields::CAN_ENGINE_LOAD_LEVEL, 1.0),
        (15, fields::CAN_THROTTLE_LEVEL, 1.0),
    ] {
        message.push_some(param, scaled(index, factor));
    }
    for index in [3, 5, 6, 10, 11, 16] {
        if let (Ok(id), false) = (u32::try_from(index), at(index).is_empty()) {
            message.wire(id, at(index));
        }
    }
    push_rest(&mut message, &parts, 17);
    Ok(())
}
