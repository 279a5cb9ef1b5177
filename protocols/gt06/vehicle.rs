//! Kinds 65, 66 and 8C: what the vehicle's own bus says, as text between a date and a position.
//!
//! `id=value` pairs, ids and values in hexadecimal, values in hundredths. Kind 66 numbers them
//! as OBD-II does (21 and the PID), kind 8C in the maker's own way, kind 65 lists trouble codes.

use super::parts::{self, Fix, SHORT};
use super::wire::Frame;
use crate::contract::{Context, Key, ParamId, RecordBuilder, Reject, fields};
use crate::kit::cursor::Cursor;
use crate::kit::units;

const PLACE_BYTES: usize = 12;

/// Reads one. None is answered.
pub(super) fn read(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(frame.body);
    let time = parts::time(&mut body, frame.kind, None, cx)?;
    let ignition = body.u8().ok_or(SHORT)?;
    let text = body.left().checked_sub(PLACE_BYTES).ok_or(SHORT)?;
    let text = body.take(text).ok_or(SHORT)?;
    let text = std::str::from_utf8(text)
        .map_err(|_| Reject::new("vehicle", "its values are no text", 11))?;
    let fix = Fix::read(&mut body)?;
    let mut message = cx.message(time)?;
    message.push(fields::ENGINE_IGNITION_STATUS, ignition & 1 != 0);
    fix.push(&mut message);
    if frame.kind == 0x65 {
        message.push(
            fields::CAN_DTC_CODES,
            text.trim_matches(|c: char| c == ',' || c.is_ascii_whitespace()),
        );
        return Ok(());
    }
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        value(frame.kind, pair, &mut message);
    }
    Ok(())
}

fn value(kind: u8, pair: &str, message: &mut RecordBuilder<'_>) {
    let Some((name, text)) = pair.split_once('=') else {
        message.name("vehicle.text", pair);
        return;
    };
    let (Ok(id), Ok(number)) = (u32::from_str_radix(name, 16), u32::from_str_radix(text, 16))
    else {
        // an empty value: the vehicle has none
        if !text.is_empty() {
            message.name(name, text);
        }
        return;
    };
    let known = if kind == 0x66 {
        by_pid(id)
    } else {
        by_maker(id)
    };
    match known {
        Some(param) => message.push(param, units::scaled(i64::from(number), 2)),
        None => message.push(Key::Wire { space: kind, id }, i64::from(number)),
    }
}

fn by_pid(id: u32) -> Option<ParamId> {
    Some(match id {
        0x2104 => fields::CAN_ENGINE_LOAD_LEVEL,
        0x2105 => fields::CAN_ENGINE_COOLANT_TEMPERATURE,
        0x210a => fields::CAN_FUEL_PRESSURE,
        0x210b => fields::CAN_INTAKE_MAP_PRESSURE,
        0x210c => fields::CAN_ENGINE_RPM,
        0x210d => fields::CAN_VEHICLE_SPEED,
        0x210e => fields::CAN_TIMING_ADVANCE,
        0x210f => fields::CAN_INTAKE_AIR_TEMPERATURE,
        0x2111 => fields::CAN_THROTTLE_LEVEL,
        0x211f => fields::CAN_RUN_TIME,
        0x2121 => fields::CAN_MIL_MILEAGE,
        0x212f => fields::CAN_FUEL_LEVEL,
        0x2131 => fields::CAN_DTC_DISTANCE,
        0x2133 => fields::CAN_BAROMETRIC_PRESSURE,
        0x2142 => fields::CAN_CONTROL_MODULE_VOLTAGE,
        0x2143 => fields::CAN_ABSOLUTE_LOAD,
        0x2146 => fields::CAN_AMBIENT_AIR_TEMPERATURE,
        0x215c => fields::CAN_ENGINE_OIL_TEMPERATURE,
        0x215e => fields::CAN_FUEL_RATE,
        0x21a6 => fields::CAN_VEHICLE_MILEAGE,
        _ => return None,
    })
}

fn by_maker(id: u32) -> Option<ParamId> {
    Some(match id {
        0x283 => fields::CAN_VEHICLE_MILEAGE,
        0x2b3 => fields::CAN_FUEL_LEVEL,
        0x2d3 => fields::CAN_ENGINE_COOLANT_TEMPERATURE,
        0x353 => fields::CAN_VEHICLE_SPEED,
        0x363 => fields::CAN_ENGINE_RPM,
        0x473 => fields::CAN_FUEL_CONSUMED,
        0x493 => fields::CAN_ENGINE_MOTORHOURS,
        _ => return None,
    })
}
