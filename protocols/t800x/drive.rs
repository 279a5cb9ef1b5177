//! How the driver drives, accidents, and what serial ports and vehicles gave.

use super::place::{self, PLACE_BYTES};
use super::wire::{Family, Head, SHORT, date, decimal};
use crate::contract::{Context, ParamId, RecordBuilder, Reject, fields};
use crate::kit::cursor::Cursor;
use crate::kit::hex;

/// A reading with its acceleration, without what may follow it.
const READING_BYTES: usize = 28;
const READINGS_MAX: usize = 128;

fn behaviour(code: u8) -> Option<ParamId> {
    Some(match code {
        0 | 2 | 4 => fields::HARSH_BRAKING_EVENT_TRIGGER,
        1 | 3 | 5 => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        _ => return None,
    })
}

fn push_rpm(message: &mut RecordBuilder<'_>, rpm: Option<u16>) {
    message.push_some(fields::ENGINE_RPM, rpm.filter(|rpm| *rpm != u16::MAX));
}

/// 05: two records, where it began and where it ended.
pub(super) fn by_position(
    head: &Head,
    body: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let code = body.u8().ok_or(SHORT)?;
    for phase in ["begin", "end"] {
        let time = date(body, cx.now_ms)?;
        let bytes: [u8; PLACE_BYTES] = body.array().ok_or(SHORT)?;
        let mut message = head.open(time, cx)?;
        message.push(fields::EVENT_ENUM, code);
        message.name("driving.phase", phase);
        if !place::push_place(&mut message, bytes, true, true) {
            let [.., high, low, _, _] = bytes;
            let speed = decimal(&[high, low]).map(|tenths| tenths / 10.0);
            message.push_some(fields::VEHICLE_SPEED, speed);
        }
        if head.family == Family::Obd {
            push_rpm(&mut message, body.u16());
        }
        if phase == "end"
            && let Some(event) = behaviour(code)
        {
            message.push(event, true);
        }
    }
    Ok(())
}

fn reading<'c>(
    head: &Head,
    body: &mut Cursor<'_>,
    cx: &'c mut Context<'_>,
) -> Result<RecordBuilder<'c>, Reject> {
    let time = date(body, cx.now_ms)?;
    let status = body.u8().ok_or(SHORT)?;
    let acceleration = body.array().ok_or(SHORT)?;
    let bytes = body.array().ok_or(SHORT)?;
    let mut message = head.open(time, cx)?;
    let fixed = place::push_status(&mut message, status);
    place::push_place(&mut message, bytes, fixed, true);
    place::push_acceleration(&mut message, acceleration);
    Ok(message)
}

/// 06: one reading.
pub(super) fn by_acceleration(
    head: &Head,
    body: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let code = body.u8().ok_or(SHORT)?;
    let mut message = reading(head, body, cx)?;
    message.push(fields::EVENT_ENUM, code);
    match code {
        0 => message.push(fields::HARSH_BRAKING_EVENT_TRIGGER, true),
        1 => message.push(fields::HARSH_ACCELERATION_EVENT_TRIGGER, true),
        2 => message.push(fields::HARSH_CORNERING_EVENT_TRIGGER, true),
        _ => {}
    }
    if head.family == Family::Obd {
        push_rpm(&mut message, body.u16());
    } else if body.left() > 0 {
        message.name("gyroscope", &*hex::encode(body.rest()));
    }
    Ok(())
}

/// 07: readings around an accident.
pub(super) fn accident(
    head: &Head,
    body: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let code = body.u8().ok_or(SHORT)?;
    for _ in 0..READINGS_MAX {
        if body.left() < READING_BYTES {
            break;
        }
        let mut message = reading(head, body, cx)?;
        message.push(fields::CRASH_EVENT_ENUM, code);
        message.push(fields::CRASH_EVENT_TRIGGER, true);
        if head.family == Family::Obd {
            push_rpm(&mut message, body.u16());
        }
    }
    Ok(())
}

/// 09: what a serial port gave, or the vehicle.
pub(super) fn port(head: &Head, body: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let time = date(body, cx.now_ms)?;
    if head.family == Family::Obd {
        let mut message = head.open(time, cx)?;
        push_vehicle_answer(&mut message, body.rest());
        return Ok(());
    }
    let ignition = body.u8().ok_or(SHORT)?;
    let mut message = head.open(time, cx)?;
    message.push(fields::ENGINE_IGNITION_STATUS, ignition & 1 == 1);
    push_serial(&mut message, body.rest());
    Ok(())
}

/// Tyres (`00 01`) and RFID (`00 03`) are told by their mark; all else is kept as it is.
fn push_serial(message: &mut RecordBuilder<'_>, bytes: &[u8]) {
    const TYRES: &[u8] = &[0x00, 0x01];
    let Some(rest) = bytes.strip_prefix(TYRES).filter(|rest| rest.len() % 7 == 0) else {
        message.push((fields::RS232_DATA_N, 1), bytes);
        return;
    };
    for (number, tyre) in (1..).zip(rest.as_chunks::<7>().0) {
        let [a, b, c, volts, pressure, temperature, status] = *tyre;
        message.push((fields::SENSOR_ID_N, number), &*hex::encode(&[a, b, c]));
        let volts = crate::kit::units::round(f64::from(volts) / 100.0 + 1.22, 2);
        message.push((fields::SENSOR_BATTERY_VOLTAGE_N, number), volts);
        let kpa = crate::kit::units::round(f64::from(pressure) * 1.572 * 2.0, 1);
        message.push((fields::WHEEL_PRESSURE_N, number), kpa);
        let celsius = i64::from(temperature) - 55;
        message.push((fields::WHEEL_TEMPERATURE_N, number), celsius);
        message.push((fields::SENSOR_STATUS_N, number), status);
    }
}

/// `55 AA`, length (2, low 12 bits), `41`, what, bytes, sum: 05 is the vehicle's number; others are kept.
fn push_vehicle_answer(message: &mut RecordBuilder<'_>, bytes: &[u8]) {
    let vin = || {
        let mut cursor = Cursor::new(bytes);
        if cursor.array()? != [0x55, 0xaa] {
            return None;
        }
        let length = usize::from(cursor.u16()? & 0x0fff);
        let answer = cursor.take(length)?;
        let vin = answer.strip_prefix(&[0x41, 0x05])?;
        let (_sum, vin) = vin.split_last()?;
        let vin = std::str::from_utf8(vin).ok()?;
        vin.bytes()
            .all(|byte| byte.is_ascii_alphanumeric())
            .then_some(vin)
    };
    match vin() {
        Some(vin) => message.push(fields::CAN_VEHICLE_VIN, vin),
        None => message.push(fields::PAYLOAD_HEX, &*hex::encode(bytes)),
    }
}
