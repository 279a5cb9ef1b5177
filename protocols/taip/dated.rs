//! Reports with a date, and the vehicle's values.

use super::parts::{Fix, Widths, begin, date, is_fix, push_event, push_inputs, push_state};
use crate::contract::{Context, Instance, Key, RecordBuilder, Reject, fields};
use crate::kit::parse::{float, number};
use crate::kit::time::or_impossible;
use crate::kit::{hex, units};

pub(super) fn dated(kind: &str, body: &str, cx: &mut Context<'_>) -> Result<bool, Reject> {
    let mut widths = Widths(body);
    let event = widths.event()?;
    let time = or_impossible(date(&mut widths)?, cx.now_ms);
    let fix = Fix::read(&mut widths)?;
    let mut message = begin(kind, time, cx)?;
    push_event(&mut message, event);
    push_state(&mut message, &fix, &mut widths, units::miles)?;
    if !widths.0.is_empty() {
        message.name("tail", widths.0);
    }
    Ok(true)
}

pub(super) fn supplied(kind: &str, body: &str, cx: &mut Context<'_>) -> Result<bool, Reject> {
    let mut widths = Widths(body);
    let event = widths.event()?;
    let time = or_impossible(date(&mut widths)?, cx.now_ms);
    let fix = Fix::read(&mut widths)?;
    let mut message = begin(kind, time, cx)?;
    push_event(&mut message, event);
    let fixed = push_supply(&mut message, &mut widths);
    // one that does not say so has a fix
    fix.push(&mut message, fixed.is_none_or(is_fix), units::miles);
    if fixed.is_some() {
        push_receivers(&mut message, &mut widths);
    }
    if !widths.0.is_empty() {
        message.name("tail", widths.0);
    }
    Ok(true)
}

/// Inputs, state, supply, odometer, and whether the receiver is on; gives back the state of the fix. What is behind
/// the place may end anywhere.
fn push_supply<'a>(message: &mut RecordBuilder<'_>, widths: &mut Widths<'a>) -> Option<&'a str> {
    let mut next = |count| widths.take(count).ok();
    push_inputs(message, hex::number(next(2)?));
    message.name("state", next(2)?);
    let volts = float(next(3)?).map(|tenths| tenths / 10.0);
    message.push_some(fields::BATTERY_VOLTAGE, volts);
    let meters = hex::number(next(8)?);
    message.push_some(
        fields::VEHICLE_MILEAGE,
        meters.map(|meters| units::scaled(meters, 3)),
    );
    message.push(fields::GNSS_STATUS, next(1)? == "1");
    let digit = next(1)?;
    message.push_some(fields::POSITION_MODE_ENUM, number::<u8>(digit));
    Some(digit)
}

/// PDOP, satellites, age, network, signal, and two temperatures with their ages.
fn push_receivers(message: &mut RecordBuilder<'_>, widths: &mut Widths<'_>) -> Option<()> {
    let mut next = |count| widths.take(count).ok();
    message.push_some(fields::POSITION_PDOP, float(next(2)?));
    message.push_some(fields::POSITION_SATELLITES, number::<u8>(next(2)?));
    let age = hex::number(next(4)?);
    message.push_some(fields::POSITION_FIX_AGE, age.filter(|age| *age < 0xffff));
    message.name("network", next(2)?);
    let signal = number::<u8>(next(2)?).filter(|signal| *signal <= 31);
    message.push_some(fields::GSM_SIGNAL_ENUM, signal);
    for sensor in 1..=2 {
        let is_signed = widths.0.starts_with(['+', '-']);
        let (celsius, age) = (
            is_signed.then(|| widths.take(5).ok())??,
            widths.take(2).ok()?,
        );
        // an age of FF: there is no sensor
        if age != "FF" {
            let celsius = number::<i64>(celsius.trim_start_matches('+'));
            let celsius = celsius.map(|hundredths| units::scaled(hundredths, 2));
            let sensor: Instance = sensor;
            message.push_some((fields::SENSOR_TEMPERATURE_N, sensor), celsius);
        }
    }
    Some(())
}

pub(super) fn vehicle(body: &str, cx: &mut Context<'_>) -> Result<bool, Reject> {
    let parts: smallvec::SmallVec<[&str; 20]> = body.split(',').collect();
    let at = |index: usize| parts.get(index).copied().unwrap_or_default();
    let code = number::<u16>(at(0).get(2..).unwrap_or_default());
    let mut widths = Widths(at(2));
    let time = or_impossible(date(&mut widths)?, cx.now_ms);
    let fix = match widths.0 {
        "" => None,
        _ => Some(Fix::read(&mut widths)?),
    };
    let mut message = begin("RUV", time, cx)?;
    message.push(fields::DEVICE_MODEL, at(1));
    if let Some(fix) = &fix {
        push_state(&mut message, fix, &mut widths, |kmh| kmh)?;
    } else {
        message.push(fields::POSITION_VALID, false);
    }
    message.push_some(fields::EVENT_ENUM, code);
    match code {
        Some(120) => message.push(fields::HARSH_ACCELERATION_EVENT_TRIGGER, true),
        Some(111) => message.push(fields::IDLE_EVENT_TRIGGER, true),
        _ => {}
    }
    let volts = |text: Option<&str>| Some(units::round(float(text?)? / 100.0, 2));
    message.push_some(fields::BATTERY_VOLTAGE, volts(at(3).get(..4)));
    let supply = volts(at(3).get(4..));
    message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, supply);
    if fix.is_none() {
        for (index, param) in [
            (4, fields::DEVICE_SERIAL_NUMBER),
            (5, fields::DEVICE_FIRMWARE_VERSION),
            (6, fields::DEVICE_HARDWARE_VERSION),
            (7, fields::PROTOCOL_VERSION),
        ] {
            message.push(param, at(index));
        }
        return Ok(true);
    }
    // bit 6 of the inputs
    let inputs = at(2)
        .len()
        .checked_sub(6)
        .and_then(|from| at(2).get(from..from + 2));
    let inputs = inputs.and_then(hex::number);
    if let Some(inputs) = inputs {
        message.push(fields::EXTERNAL_POWERSOURCE_STATUS, inputs & 0x40 != 0);
    }
    let hours = float(at(7)).map(|minutes| units::round(minutes / 60.0, 4));
    message.push_some(fields::ENGINE_MOTORHOURS, hours);
    let km = float(at(8)).map(|meters| meters / 1000.0);
    message.push_some(fields::VEHICLE_MILEAGE, km);
    for (index, param) in [
        (9, fields::ENGINE_RPM),
        (10, fields::ENGINE_TEMPERATURE),
        (11, fields::CAN_ENGINE_OIL_PRESSURE),
        (12, fields::FUEL_LEVEL),
    ] {
        message.push_some(param, float(at(index)));
    }
    message.name("network", at(15));
    if !at(16).is_empty() {
        message.push(fields::DRIVER_ID, at(16));
    }
    for (index, id) in [(4, 4u32), (5, 5), (6, 6), (13, 13), (14, 14)] {
        message.push_some(Key::Wire { space: 0, id }, number::<i64>(at(index)));
    }
    Ok(true)
}
