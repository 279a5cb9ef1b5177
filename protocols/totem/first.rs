//! The first forms: an NMEA sentence inside, or fixed fields, with a CRC of four digits.

use super::parts::{SHORT, Widths, begin, moment, place, push_cell, push_place, push_rest};
use crate::contract::{Context, Login, ParamId, Reject, Reply, fields};
use crate::kit::parse::{float, nmea_degrees, number};
use crate::kit::time::{Civil, digits, or_impossible};
use crate::kit::{checksum, units};

/// The sentence and the short form.
pub(super) fn with_crc(text: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let text = text.trim_ascii_end();
    let at = text.len().checked_sub(4).ok_or(SHORT)?;
    let (covered, crc) = text.split_at_checked(at).ok_or(SHORT)?;
    if u16::from_str_radix(crc, 16).ok() != Some(checksum::crc16_modbus(covered.as_bytes())) {
        return Err(Reject::new("crc", "the checksum does not fit", at));
    }
    let (imei, body) = covered
        .get(4..)
        .and_then(|rest| rest.split_once('|'))
        .ok_or(SHORT)?;
    cx.identify(Login::of(imei))?;
    let (alarm, body) = body.split_at_checked(2).ok_or(SHORT)?;
    if is_barred(body) {
        barred(alarm, body, cx)?;
    } else if body.contains('|') {
        sentence(alarm, body, cx)?;
    } else {
        short(alarm, body, cx)?;
    }
    cx.reply(Reply::stored("ACK OK\r\n"));
    Ok(())
}

/// What an alarm means in the forms with a CRC.
pub(super) fn first_alarm(code: &str) -> Option<ParamId> {
    Some(match code {
        "01" => fields::ALARM_EVENT_TRIGGER,
        "10" => fields::BATTERY_LOW_EVENT_TRIGGER,
        "11" => fields::OVERSPEEDING_EVENT_TRIGGER,
        "42" => fields::GEOFENCE_EVENT_EXIT,
        "43" => fields::GEOFENCE_EVENT_ENTER,
        _ => return None,
    })
}

pub(super) fn sentence(alarm: &str, body: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut parts = body.split('|');
    let rmc: Vec<&str> = parts.next().unwrap_or_default().split(',').collect();
    let rest: Vec<&str> = parts.collect();
    let at = |index: usize| rmc.get(index).copied().unwrap_or_default();
    let of = |index: usize| rest.get(index).copied().unwrap_or_default();
    let is_rmc = at(0) == "$GPRMC";
    let ms = if is_rmc && at(9) != "000000" {
        moment(at(9), at(1))
    } else {
        None
    };
    let clock = || {
        let (century, rest) = of(4).split_at_checked(2)?;
        (century == "20").then_some(())?;
        digits(rest, "ymdHMS")?.utc_ms()
    };
    let time = or_impossible(ms.or_else(clock), cx.now_ms);
    let mut message = begin(alarm, time, cx)?;
    if let Some(alarm) = first_alarm(alarm) {
        message.push(alarm, true);
    }
    let latitude = nmea_degrees(at(3), at(4)).filter(|degrees| degrees.abs() <= 90.0);
    let place = latitude.zip(nmea_degrees(at(5), at(6)));
    if push_place(&mut message, place.filter(|_| is_rmc), at(2) == "A") {
        message.push_some(fields::POSITION_SPEED, float(at(7)).map(units::knots));
        message.push_some(fields::POSITION_DIRECTION, float(at(8)));
    }
    for (index, param) in [
        (0, fields::POSITION_PDOP),
        (1, fields::POSITION_HDOP),
        (2, fields::POSITION_VDOP),
    ] {
        message.push_some(param, float(of(index)));
    }
    if let Ok(bits) = u16::from_str_radix(of(3), 2) {
        message.push(fields::STATUS_BITMASK, bits);
        for (bit, input) in [(6, 1), (7, 2), (4, 3), (5, 4)] {
            message.push((fields::DIN_N, input), bits >> bit & 1 == 1);
        }
        for (bit, output) in [(8, 1), (9, 2)] {
            message.push((fields::DOUT_N, output), bits >> bit & 1 == 1);
        }
    }
    if let Some((charging, volts)) = of(5).split_at_checked(1).filter(|_| of(5).len() == 8) {
        let hundredths = |text: Option<&str>| Some(float(text?)? / 100.0);
        message.push(fields::BATTERY_CHARGING_STATUS, charging == "1");
        message.push_some(fields::BATTERY_VOLTAGE, hundredths(volts.get(..3)));
        let supply = hundredths(volts.get(3..));
        message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, supply);
    }
    // some devices have no analog inputs: then the cell, in eight digits and more, comes first
    let kilometers = (6..rest.len()).find(|index| of(*index).contains('.'));
    let Some(kilometers) = kilometers.filter(|index| *index >= 8) else {
        push_rest(&mut message, &rest, 6);
        return Ok(());
    };
    message.push_some(fields::VEHICLE_MILEAGE, float(of(kilometers)));
    let celsius = float(of(kilometers - 1)).map(|tenths| tenths / 10.0);
    message.push_some((fields::SENSOR_TEMPERATURE_N, 1), celsius);
    // some write two digits more before them
    let cell = of(kilometers - 2);
    let cell = cell.get(cell.len().saturating_sub(8)..).unwrap_or_default();
    if let (Some(lac), Some(id)) = (cell.get(..4), cell.get(4..)) {
        push_cell(&mut message, lac, id);
    }
    for (index, input) in (6..kilometers - 2).zip(["adc1", "adc2", "adc3", "adc4"]) {
        match number::<i64>(of(index)) {
            Some(value) => message.name(input, value),
            None => message.name(input, of(index)),
        }
    }
    message.push_some(fields::FRAME_SEQNUM, number::<u32>(of(kilometers + 1)));
    push_rest(&mut message, &rest, kilometers + 2);
    Ok(())
}

/// Does a date and a time of twelve digits stand alone before the first bar, and the fix behind it?
fn is_barred(body: &str) -> bool {
    const CLOCK: usize = 12;
    let mut parts = body.split('|');
    let clock = parts.next().unwrap_or_default();
    let is_clock = clock.len() == CLOCK && clock.bytes().all(|byte| byte.is_ascii_digit());
    is_clock && matches!(parts.next(), Some("A" | "V"))
}

/// The barred form: each field between bars of its own.
fn barred(alarm: &str, body: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let parts: Vec<&str> = body.split('|').collect();
    let at = |index: usize| parts.get(index).copied().unwrap_or_default();
    let ms = digits(at(0), "dmyHMS").and_then(Civil::utc_ms);
    let mut message = begin(alarm, or_impossible(ms, cx.now_ms), cx)?;
    if let Some(alarm) = first_alarm(alarm) {
        message.push(alarm, true);
    }
    let latitude = nmea_degrees(at(2), at(3)).filter(|degrees| degrees.abs() <= 90.0);
    let place = latitude.zip(nmea_degrees(at(4), at(5)));
    if push_place(&mut message, place, at(1) == "A") {
        message.push_some(fields::POSITION_SPEED, float(at(6)).map(units::knots));
        message.push_some(fields::POSITION_DIRECTION, float(at(7)));
    }
    message.push_some(fields::POSITION_HDOP, float(at(8)));
    if let Ok(bits) = u16::from_str_radix(at(9), 2) {
        message.push(fields::STATUS_BITMASK, bits);
        message.push(fields::GNSS_ANTENNA_STATUS, bits & 1 == 1);
        message.push(fields::BATTERY_CHARGING_STATUS, bits >> 1 & 1 == 1);
        for input in 1..=6u16 {
            message.push((fields::DIN_N, input), bits >> (1 + input) & 1 == 1);
        }
        for output in 1..=4u16 {
            message.push((fields::DOUT_N, output), bits >> (7 + output) & 1 == 1);
        }
    }
    if let (5, Some(battery), Some(supply)) = (at(10).len(), at(10).get(1..3), at(10).get(3..)) {
        let volts = float(battery).map(|tenths| tenths / 10.0);
        message.push_some(fields::BATTERY_VOLTAGE, volts);
        message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, float(supply));
    }
    if let Some(value) = number::<i64>(at(11)) {
        message.name("adc1", value);
    }
    if let (Some(lac), Some(id)) = (at(12).get(..4), at(12).get(4..8)) {
        push_cell(&mut message, lac, id);
    }
    let celsius = float(at(13)).map(|tenths| tenths / 10.0);
    message.push_some((fields::SENSOR_TEMPERATURE_N, 1), celsius);
    message.push_some(fields::VEHICLE_MILEAGE, float(at(14)));
    message.push_some(fields::FRAME_SEQNUM, number::<u32>(at(15)));
    push_rest(&mut message, &parts, 16);
    Ok(())
}

pub(super) fn short(alarm: &str, body: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut widths = Widths(body);
    let ms = digits(widths.take(12)?, "dmyHMS").and_then(Civil::utc_ms);
    let mut message = begin(alarm, or_impossible(ms, cx.now_ms), cx)?;
    if let Some(alarm) = first_alarm(alarm) {
        message.push(alarm, true);
    }
    message.name("inputs", widths.take(4)?);
    let tenths = |text: &str| float(text).map(|tenths| tenths / 10.0);
    message.push_some(fields::BATTERY_VOLTAGE, tenths(widths.take(3)?));
    let supply = float(widths.take(2)?);
    message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, supply);
    for input in ["adc1", "adc2"] {
        let value = number::<i64>(widths.take(4)?);
        message.push_some(crate::contract::Key::Name(input), value);
    }
    for sensor in 1..=2 {
        let celsius = tenths(widths.take(3)?);
        message.push_some((fields::SENSOR_TEMPERATURE_N, sensor), celsius);
    }
    let (lac, id) = (widths.take(4)?, widths.take(4)?);
    push_cell(&mut message, lac, id);
    let valid = widths.take(1)? == "A";
    message.push_some(fields::POSITION_SATELLITES, number::<u8>(widths.take(2)?));
    let course = float(widths.take(3)?);
    let speed = float(widths.take(3)?);
    message.push_some(fields::POSITION_PDOP, float(widths.take(4)?));
    message.push_some(fields::VEHICLE_MILEAGE, float(widths.take(7)?));
    if push_place(&mut message, place(&mut widths)?, valid) {
        message.push_some(fields::POSITION_DIRECTION, course);
        message.push_some(fields::POSITION_SPEED, speed);
    }
    message.push_some(fields::FRAME_SEQNUM, number::<u32>(widths.0));
    Ok(())
}
