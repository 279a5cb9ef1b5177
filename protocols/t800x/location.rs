//! Positions and alarms of vehicles, of asset trackers and of padlocks.

use super::place::{self, PLACE_BYTES};
use super::wire::{Family, Head, SHORT, celsius, date, decimal};
use crate::contract::{Context, ParamId, RecordBuilder, Reject, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{hex, units};

/// Adds what an alarm's code means; 0 is none.
pub(super) fn push_alarm(message: &mut RecordBuilder<'_>, family: Family, code: u8) {
    if code == 0 {
        return;
    }
    message.push(fields::ALARM_CODE, code);
    let means = if family == Family::Asset {
        asset_alarm(code)
    } else {
        vehicle_alarm(code)
    };
    message.push_some(means.unwrap_or(fields::ALARM_CODE), means.map(|_| true));
}

fn vehicle_alarm(code: u8) -> Option<ParamId> {
    Some(match code {
        0x01 => fields::POWER_CUT_EVENT_TRIGGER,
        0x02 => fields::BATTERY_LOW_EVENT_TRIGGER,
        0x03 => fields::ALARM_EVENT_TRIGGER,
        0x04 => fields::OVERSPEEDING_EVENT_TRIGGER,
        0x05 => fields::GEOFENCE_EVENT_ENTER,
        0x06 => fields::GEOFENCE_EVENT_EXIT,
        0x07 => fields::TOWING_EVENT_TRIGGER,
        0x08 => fields::VIBRATION_EVENT_TRIGGER,
        0x10 => fields::MOVEMENT_EVENT_TRIGGER,
        0x12 | 0x14 => fields::FUEL_THEFT_EVENT_TRIGGER,
        0x15 => fields::IGNITION_ON_EVENT_TRIGGER,
        0x16 => fields::IGNITION_OFF_EVENT_TRIGGER,
        0x19 => fields::IDLE_EVENT_TRIGGER,
        0x21 => fields::GSM_JAMMING_EVENT_TRIGGER,
        0x23 => fields::POWER_RESTORED_EVENT_TRIGGER,
        0x24 => fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER,
        0x26 => fields::CRASH_EVENT_TRIGGER,
        0x27 => fields::FALL_EVENT_TRIGGER,
        _ => return None,
    })
}

fn asset_alarm(code: u8) -> Option<ParamId> {
    Some(match code {
        0x01 | 0x02 | 0x04 => fields::TAMPERING_EVENT_TRIGGER,
        0x03 => fields::ALARM_EVENT_TRIGGER,
        0x05 => fields::FALL_EVENT_TRIGGER,
        0x06 => fields::BATTERY_LOW_EVENT_TRIGGER,
        0x08 => fields::TEMPERATURE_EVENT_TRIGGER,
        0x09 => fields::MOVEMENT_EVENT_TRIGGER,
        0x10 => fields::CRASH_EVENT_TRIGGER,
        0x14 => fields::GEOFENCE_EVENT_ENTER,
        0x15 => fields::GEOFENCE_EVENT_EXIT,
        _ => return None,
    })
}

/// 02, 04, 13 and 14 of vehicles; gives the alarm's code.
pub(super) fn vehicle(
    head: &Head,
    body: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<u8, Reject> {
    const INTERVALS_BYTES: usize = 7;
    let second = matches!(head.kind, 0x13 | 0x14);
    let obd = head.family == Family::Obd;
    body.take(INTERVALS_BYTES).ok_or(SHORT)?;
    let limit = body.u16().ok_or(SHORT)?;
    let status = body.u8().ok_or(SHORT)?;
    let [_sensor, _flags, _heartbeat, _relay, _, _] = body.array().ok_or(SHORT)?;
    let io = body.u16().ok_or(SHORT)?;
    let outputs = if second {
        let [outputs, _] = body.array().ok_or(SHORT)?;
        Some(outputs)
    } else {
        None
    };
    let analogs = match (obd, second) {
        (true, _) => 0,
        (_, true) => 5,
        (_, false) => 2,
    };
    let mut volts = [None; 5];
    for value in volts.iter_mut().take(analogs) {
        let raw = body.u16().ok_or(SHORT)?;
        *value = (raw != u16::MAX).then(|| f64::from(raw) / 100.0);
    }
    let [alarm, _reserved] = body.array().ok_or(SHORT)?;
    let meters = body.u32().ok_or(SHORT)?;
    let battery = body.take(1).ok_or(SHORT)?;
    let time = date(body, cx.now_ms)?;
    let bytes: [u8; PLACE_BYTES] = body.array().ok_or(SHORT)?;
    let mut message = head.open(time, cx)?;
    let fixed = place::push_status(&mut message, status);
    let there = place::push_place(&mut message, bytes, fixed, !obd);
    message.push(fields::GSM_SIGNAL_LEVEL, limit & 0x7f);
    push_io(&mut message, io, outputs, obd);
    for (input, volts) in (1..).zip(volts) {
        message.push_some((fields::AIN_N, input), volts);
    }
    push_alarm(&mut message, head.family, alarm);
    message.push(fields::VEHICLE_MILEAGE, f64::from(meters) / 1000.0);
    push_percent(&mut message, battery);
    if obd {
        push_obd(&mut message, body, there);
    } else if second {
        push_second(&mut message, body);
    } else {
        let supply = body.take(2).and_then(decimal).map(|value| value / 100.0);
        message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, supply);
        let _adc2 = body.u8();
        let third = body.u16().filter(|raw| *raw != u16::MAX);
        let third = third.map(|raw| f64::from(raw) / 100.0);
        message.push_some((fields::AIN_N, 3), third);
        let rpm = body.u16().filter(|rpm| *rpm < 0x8000);
        message.push_some(fields::ENGINE_RPM, rpm);
    }
    if body.left() > 0 && !second {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(body.rest()));
    }
    Ok(alarm)
}

/// Two digits, 0 is full.
fn push_percent(message: &mut RecordBuilder<'_>, digits: &[u8]) {
    let percent = decimal(digits).map(|value| if value == 0.0 { 100.0 } else { value });
    message.push_some(fields::BATTERY_LEVEL, percent);
}

fn push_io(message: &mut RecordBuilder<'_>, io: u16, outputs: Option<u8>, obd: bool) {
    let bit = |bit: u16| io >> bit & 1 == 1;
    message.push(fields::STATUS_BITMASK, io);
    message.push(fields::ENGINE_IGNITION_STATUS, bit(14));
    message.push(fields::EXTERNAL_POWERSOURCE_STATUS, !bit(15));
    message.name("ac", bit(13));
    let inputs: &[(u16, u16)] = if outputs.is_some() && !obd {
        &[(1, 8), (2, 13), (3, 12), (4, 11), (5, 10), (6, 9)]
    } else {
        &[(1, 14), (2, 13), (3, 12), (4, 11)]
    };
    for (input, at) in inputs {
        message.push((fields::DIN_N, *input), bit(*at));
    }
    match outputs {
        Some(outputs) => {
            for (output, at) in [(1, 4), (2, 3), (3, 2)] {
                message.push((fields::DOUT_N, output), outputs >> at & 1 == 1);
            }
        }
        None => {
            for (output, at) in [(1, 10), (2, 9), (3, 8)] {
                message.push((fields::DOUT_N, output), bit(at));
            }
        }
    }
}

/// What 13 and 14 have behind the place: voltages, rpm, flags, temperature.
fn push_second(message: &mut RecordBuilder<'_>, body: &mut Cursor<'_>) -> Option<()> {
    let volts = |digits: &[u8]| decimal(digits).map(|value| value / 100.0);
    message.push_some(fields::BATTERY_VOLTAGE, volts(body.take(2)?));
    message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts(body.take(2)?));
    let rpm = body.u16().filter(|rpm| *rpm < 0x8000);
    message.push_some(fields::ENGINE_RPM, rpm);
    let [_, _, _] = body.array()?;
    message.push_some(fields::DEVICE_TEMPERATURE, celsius(body.u8()?));
    Some(())
}

/// What an OBD tracker has behind the place: supply, speed, fuel, engine.
fn push_obd(message: &mut RecordBuilder<'_>, body: &mut Cursor<'_>, there: bool) -> Option<()> {
    let supply = decimal(body.take(2)?).map(|value| value / 100.0);
    message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, supply);
    let speed = decimal(body.take(2)?).map(|tenths| tenths / 10.0);
    if there {
        message.push_some(fields::POSITION_SPEED, speed);
    } else {
        message.push_some(fields::VEHICLE_SPEED, speed);
    }
    push_vehicle(message, body)
}

/// Fuel used (4, ml), fuel use (4), rpm (2), and seven bytes of the engine; all ones are none.
pub(super) fn push_vehicle(message: &mut RecordBuilder<'_>, body: &mut Cursor<'_>) -> Option<()> {
    let used = Some(body.u32()?).filter(|raw| *raw != u32::MAX);
    let used = used.map(|raw| units::round(f64::from(raw) / 1000.0, 3));
    message.push_some(fields::CAN_FUEL_CONSUMED, used);
    let now = Some(body.u32()?).filter(|raw| *raw != u32::MAX);
    message.push_some(
        crate::contract::Key::Name("fuel.instant"),
        now.map(i64::from),
    );
    let rpm = Some(body.u16()?).filter(|raw| *raw != u16::MAX);
    message.push_some(fields::CAN_ENGINE_RPM, rpm);
    for (param, offset) in [
        (None, 0),
        (Some(fields::CAN_INTAKE_MAP_PRESSURE), 0),
        (Some(fields::CAN_ENGINE_COOLANT_TEMPERATURE), -40),
        (Some(fields::CAN_INTAKE_AIR_TEMPERATURE), -40),
        (Some(fields::CAN_ENGINE_LOAD_LEVEL), 0),
        (Some(fields::CAN_THROTTLE_LEVEL), 0),
        (Some(fields::CAN_FUEL_LEVEL), 0),
    ] {
        let raw = body.u8()?;
        if raw != 0xff {
            let value = i64::from(raw) + offset;
            match param {
                Some(param) => message.push(param, value),
                None => message.name("air.input", value),
            }
        }
    }
    Some(())
}

/// 02 and 04 of asset trackers; gives the alarm's code.
pub(super) fn asset(
    head: &Head,
    body: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<u8, Reject> {
    let [status, alarm] = body.array().ok_or(SHORT)?;
    let time = date(body, cx.now_ms)?;
    let bytes: [u8; PLACE_BYTES] = body.array().ok_or(SHORT)?;
    let mut message = head.open(time, cx)?;
    let fixed = place::push_status(&mut message, status);
    place::push_place(&mut message, bytes, fixed, true);
    push_alarm(&mut message, head.family, alarm);
    push_asset(&mut message, body);
    Ok(alarm)
}

/// 24 and 25 of asset trackers: a position with HDOP, or access points.
pub(super) fn asset_or_wifi(
    head: &Head,
    body: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<u8, Reject> {
    const PART_BYTES: usize = 27;
    let [status, alarm] = body.array().ok_or(SHORT)?;
    let time = date(body, cx.now_ms)?;
    let part = body.take(PART_BYTES).ok_or(SHORT)?;
    let mut part = Cursor::new(part);
    let mut message = head.open(time, cx)?;
    message.push(fields::MESSAGE_BUFFERED_STATUS, status & 0x80 != 0);
    if status & 0x20 == 0 {
        let fixed = status & 0x40 != 0;
        let bytes = part.array().ok_or(SHORT)?;
        message.push(fields::GNSS_STATUS, status & 8 == 0);
        if place::push_place(&mut message, bytes, fixed, true) {
            message.push_some(fields::POSITION_SATELLITES, part.u8());
            message.push_some(crate::contract::Key::Name("hdop"), part.u16());
        }
    } else {
        message.push(fields::POSITION_VALID, false);
        place::push_wifi(&mut message, &mut part);
    }
    push_alarm(&mut message, head.family, alarm);
    push_asset(&mut message, body);
    Ok(alarm)
}

/// What an asset tracker has behind the place; a frame may end after any of it.
fn push_asset(message: &mut RecordBuilder<'_>, body: &mut Cursor<'_>) -> Option<()> {
    place::push_acceleration(message, body.array()?);
    push_percent(message, body.take(1)?);
    message.push_some(fields::DEVICE_TEMPERATURE, celsius(body.u8()?));
    let tenths = |digits: &[u8]| decimal(digits).map(|value| value / 10.0);
    let light = tenths(body.take(1)?);
    message.push_some(crate::contract::Key::Name("light"), light);
    message.push_some(fields::BATTERY_VOLTAGE, tenths(body.take(1)?));
    message.push_some(fields::SOLAR_PANEL_VOLTAGE, tenths(body.take(1)?));
    let meters = f64::from(body.u32()?);
    message.push(fields::VEHICLE_MILEAGE, meters / 1000.0);
    let status = body.u16()?;
    message.push(fields::STATUS_BITMASK, status);
    message.push(fields::ENGINE_IGNITION_STATUS, status & 4 != 0);
    let charging = status & 0x8008 != 0;
    message.push(fields::BATTERY_CHARGING_STATUS, charging);
    message.push(fields::GSM_SIGNAL_LEVEL, status >> 4 & 0x7f);
    Some(())
}

/// 17 and 27: what happened at a lock, and where.
pub(super) fn lock(head: &Head, body: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let time = date(body, cx.now_ms)?;
    let status = body.u8().ok_or(SHORT)?;
    let bytes: [u8; PLACE_BYTES] = body.array().ok_or(SHORT)?;
    let mut message = head.open(time, cx)?;
    let fixed = place::push_status(&mut message, status);
    place::push_place(&mut message, bytes, fixed, true);
    if head.kind == 0x17 {
        let [kind, length] = body.array().ok_or(SHORT)?;
        message.name("lock.event", kind);
        let id = body.take(length.into()).unwrap_or(body.rest());
        message.name("lock.id", &*hex::encode(id));
        return Ok(());
    }
    push_second_lock(&mut message, body).ok_or(SHORT)
}

fn push_second_lock(message: &mut RecordBuilder<'_>, body: &mut Cursor<'_>) -> Option<()> {
    let signal = body.u8()?;
    if signal != 0xff {
        let dbm = i64::from(signal) - 128;
        message.push((fields::BLUETOOTH_SIGNAL_DBM_N, 1), dbm);
    }
    let versions: [u8; 4] = body.array()?;
    message.push(fields::DEVICE_FIRMWARE_VERSION, &*hex::encode(&versions));
    let [alarm, kind] = body.array()?;
    if alarm != 0 {
        message.push(fields::ALARM_CODE, alarm);
    }
    message.name("lock.event", kind);
    let status = body.u16()?;
    message.push(fields::STATUS_BITMASK, status);
    message.push(fields::BATTERY_CHARGING_STATUS, status & 1 != 0);
    message.push(fields::BATTERY_LOW_STATUS, status & 4 != 0);
    message.push(fields::TAMPERING_STATUS, status & 0x60 != 0);
    message.push(fields::GSM_JAMMING_ALARM_STATUS, status & 0x100 != 0);
    message.push(fields::BATTERY_VOLTAGE, f64::from(body.u16()?) / 1000.0);
    message.push(fields::SOLAR_PANEL_VOLTAGE, f64::from(body.u16()?) / 1000.0);
    message.push_some(fields::DEVICE_TEMPERATURE, celsius(body.u8()?));
    let id: [u8; 6] = body.array()?;
    message.name("lock.id", &*hex::encode(&id));
    if let Some(device) = body.array::<4>() {
        message.name("lock.device", &*hex::encode(&device));
    }
    Some(())
}
