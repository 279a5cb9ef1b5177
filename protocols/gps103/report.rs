//! Reports: a keyword, and a fix or a cell.

use super::parts::Fields;
use crate::contract::{Context, ParamId, RecordBuilder, Reject, Settings, Time, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{float, nmea_degrees, number};
use crate::kit::time::{Civil, digits, or_impossible};
use crate::kit::{hex, units};

const DAY_MS: i64 = 86_400_000;

/// Where things stand behind the IMEI.
const DATE: usize = 1;
const PHONE: usize = 2;
const KIND: usize = 3;
const TIME: usize = 4;
const VALID: usize = 5;
const LATITUDE: usize = 6;
const TAIL: usize = 10;

/// Reads one. `text` is all of it.
pub(super) fn read(parts: &Fields<'_>, text: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let at = |index: usize| parts.get(index).copied().unwrap_or_default().trim();
    if is_with_decimals(parts) {
        return with_decimals(parts, cx);
    }
    let keyword = at(0);
    let time = or_impossible(moment(at(DATE), at(TIME), cx.settings()), cx.now_ms);
    let mut message = cx.message(time)?;
    meaning(keyword, &mut message);
    phone(keyword, at(PHONE), &mut message);
    match at(KIND) {
        "L" => {
            let lac = i64::from_str_radix(at(LATITUDE), 16).ok();
            let id = i64::from_str_radix(at(LATITUDE + 2), 16).ok();
            let cell = Cell {
                lac,
                id,
                ..Cell::default()
            };
            cells::push(&mut message, 0, cell);
        }
        kind if kind == "F" || !at(LATITUDE).is_empty() => {
            // one make writes the hemispheres first
            let swapped = matches!(at(LATITUDE), "N" | "S");
            let [latitude, north, longitude, east] = if swapped {
                [LATITUDE + 1, LATITUDE, LATITUDE + 3, LATITUDE + 2]
            } else {
                [LATITUDE, LATITUDE + 1, LATITUDE + 2, LATITUDE + 3]
            };
            let latitude = nmea_degrees(at(latitude), at(north)).filter(|d| d.abs() <= 90.0);
            let longitude = nmea_degrees(at(longitude), at(east));
            if let (Some(latitude), Some(longitude)) = (latitude, longitude) {
                message.push(fields::POSITION_LATITUDE, latitude);
                message.push(fields::POSITION_LONGITUDE, longitude);
                message.push(fields::POSITION_VALID, at(VALID) == "A");
            } else {
                message.push(fields::POSITION_VALID, false);
            }
        }
        _ => {}
    }
    tail(parts.get(TAIL..).unwrap_or_default(), &mut message);
    drop(message);
    if is_answer(keyword) {
        cx.command_reply(None, text);
    }
    Ok(())
}

/// Does the keyword answer a command? A letter is answered by itself and `t`, or `f` where the device could not;
/// a number from 100 by itself, or by 400 more where it could not.
fn is_answer(keyword: &str) -> bool {
    match keyword.as_bytes() {
        [b'a'..=b'z', b't' | b'f'] => true,
        [b'1' | b'5', more @ ..] => more.len() == 2 && more.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Speed, course, altitude, ignition, door, two fuels, temperature.
fn tail(parts: &[&str], message: &mut RecordBuilder<'_>) {
    let at = |index: usize| parts.get(index).copied().unwrap_or_default().trim();
    let speed = float(at(0)).map(units::knots);
    message.push_some(fields::POSITION_SPEED, speed);
    message.push_some(fields::POSITION_DIRECTION, float(at(1)));
    message.push_some(fields::POSITION_ALTITUDE, float(at(2)));
    for (index, param) in [
        (3, fields::ENGINE_IGNITION_STATUS),
        (4, fields::DOOR_OPEN_STATUS),
    ] {
        match at(index) {
            "0" => message.push(param, false),
            "1" => message.push(param, true),
            "" => {}
            other => message.wire(field_number(index), other),
        }
    }
    for (index, tank) in [(5, 1), (6, 2)] {
        match at(index).strip_suffix('%') {
            Some(percent) => message.push_some((fields::FUEL_LEVEL_N, tank), float(percent)),
            None => message.push_some((fields::FUEL_SENSOR_N, tank), float(at(index))),
        }
    }
    let degrees = float(at(7).trim_start_matches('+'));
    message.push_some((fields::SENSOR_TEMPERATURE_N, 1), degrees);
    for (index, part) in parts.iter().enumerate().skip(8) {
        if !part.trim().is_empty() {
            message.wire(field_number(index), part.trim());
        }
    }
}

/// The number of a field of the tail, counted from the IMEI.
fn field_number(index: usize) -> u32 {
    u32::try_from(index + TAIL + 1).unwrap_or(u32::MAX)
}

/// Do time and date stand as six digits each, and decimal degrees behind them?
fn is_with_decimals(parts: &Fields<'_>) -> bool {
    let is =
        |index: usize, fits: fn(&str) -> bool| parts.get(index).is_some_and(|s| fits(s.trim()));
    let six = |s: &str| s.len() == 6 && s.bytes().all(|b| b.is_ascii_digit());
    let degrees = |s: &str| s.contains('.') && float(s).is_some();
    is(TIME, six) && is(VALID, six) && is(8, degrees) && is(9, degrees)
}

/// The make that writes its name, event, sensor and the sensor's voltage (dashes: none), time, date,
/// signal, validity, decimal degrees, speed (km/h), course, altitude, HDOP, satellites, ignition,
/// charging, error.
fn with_decimals(parts: &Fields<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let at = |index: usize| parts.get(index).copied().unwrap_or_default().trim();
    let date = digits(at(VALID), "dmy").and_then(Civil::utc_ms);
    let ms = date.zip(time_of_day(at(TIME))).map(|(day, ms)| day + ms);
    let mut message = cx.message(or_impossible(ms, cx.now_ms))?;
    let said = |index: usize| Some(at(index)).filter(|s| !s.bytes().all(|b| b == b'-'));
    if let Some(name) = said(0) {
        message.name("name", name);
    }
    if let Some(event) = said(1) {
        message.push(fields::EVENT_NAME, event);
        if let Some(alarm) = alarm(event) {
            message.push(alarm, true);
        }
    }
    if let Some(sensor) = said(2) {
        message.push((fields::SENSOR_ID_N, 1), sensor);
    }
    message.push_some(
        (fields::SENSOR_BATTERY_VOLTAGE_N, 1),
        said(3).and_then(float),
    );
    if let Some(error) = said(17) {
        message.name("error", error);
    }
    message.push_some(fields::GSM_SIGNAL_ENUM, number::<i64>(at(6)));
    let latitude = float(at(8)).filter(|degrees| degrees.abs() <= 90.0);
    let longitude = float(at(9)).filter(|degrees| degrees.abs() <= 180.0);
    let place = latitude.zip(longitude).filter(|place| *place != (0.0, 0.0));
    message.push(
        fields::POSITION_VALID,
        place.is_some() && number::<u8>(at(7)) > Some(0),
    );
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    message.push_some(fields::POSITION_SPEED, float(at(10)));
    message.push_some(fields::POSITION_DIRECTION, float(at(11)));
    message.push_some(fields::POSITION_ALTITUDE, float(at(12)));
    message.push_some(fields::POSITION_HDOP, float(at(13)));
    message.push_some(fields::POSITION_SATELLITES, number::<i64>(at(14)));
    for (index, param) in [
        (15, fields::ENGINE_IGNITION_STATUS),
        (16, fields::BATTERY_CHARGING_STATUS),
    ] {
        message.push_some(param, number::<u8>(at(index)).map(|value| value != 0));
    }
    Ok(())
}

/// When it was: the local date, and the UTC time of day that is closest to it.
fn moment(date: &str, time: &str, settings: &Settings) -> Option<i64> {
    let joined: String;
    let date = if date.contains([':', '/']) {
        joined = date.chars().filter(char::is_ascii_digit).collect();
        joined.as_str()
    } else {
        date
    };
    let order = match date.len() {
        10 => "ymdHM",
        12 => "ymdHMS",
        _ => return None,
    };
    let local = digits(date, order)?;
    let Some(of_day) = time_of_day(time) else {
        return local.ms(settings);
    };
    let local = local.utc_ms()?;
    let midnight = local - local.rem_euclid(DAY_MS);
    [-DAY_MS, 0, DAY_MS]
        .iter()
        .map(|day| midnight + day + of_day)
        .min_by_key(|ms| (ms - local).abs())
}

/// `hhmmss` or `hhmmss.sss` in ms of the day, to the second as the date beside it.
fn time_of_day(text: &str) -> Option<i64> {
    let (whole, _) = text.split_once('.').unwrap_or((text, ""));
    let midnight = digits("000000", "HMS")?.utc_ms()?;
    Some(digits(whole, "HMS")?.utc_ms()? - midnight)
}

/// Of the reports' dates: also how `OBD` dates its values.
pub(super) fn local_time(date: &str, cx: &Context<'_>) -> Time {
    or_impossible(moment(date, "", cx.settings()), cx.now_ms)
}

/// A telephone number, the charge of the battery, or a tag.
fn phone(keyword: &str, text: &str, message: &mut RecordBuilder<'_>) {
    if text.is_empty() {
        return;
    }
    if keyword.eq_ignore_ascii_case("rfid") {
        message.push(fields::RFID_CODE, text);
    } else if let Some(percent) = text.strip_suffix('%').and_then(float) {
        message.push(fields::BATTERY_LEVEL, percent);
    } else if text.len() > 4 && text.bytes().all(|b| b.is_ascii_digit() || b == b'+') {
        message.push(fields::GSM_PHONE, text);
    } else {
        message.wire(3, text);
    }
}

/// What the keyword says.
fn meaning(keyword: &str, message: &mut RecordBuilder<'_>) {
    if keyword.is_empty() || keyword == "tracker" {
        return;
    }
    message.push(fields::EVENT_NAME, keyword);
    match keyword.to_ascii_lowercase().as_str() {
        "acc on" => message.push(fields::ENGINE_IGNITION_STATUS, true),
        "acc off" => message.push(fields::ENGINE_IGNITION_STATUS, false),
        _ => {}
    }
    if let Some(alarm) = alarm(keyword) {
        message.push(alarm, true);
    }
    if let Some(degrees) = keyword.strip_prefix("T:") {
        message.push(fields::TEMPERATURE_EVENT_TRIGGER, true);
        let degrees = float(degrees.trim_start_matches('+'));
        message.push_some((fields::SENSOR_TEMPERATURE_N, 1), degrees);
    }
    if let Some(fuel) = keyword.strip_prefix("oil ") {
        let fuel = float(fuel.trim_end_matches('%'));
        message.push_some((fields::FUEL_SENSOR_N, 1), fuel);
    }
}

fn alarm(keyword: &str) -> Option<ParamId> {
    Some(match keyword.to_ascii_lowercase().as_str() {
        "help me" | "sos" => fields::ALARM_EVENT_TRIGGER,
        "low battery" => fields::BATTERY_LOW_EVENT_TRIGGER,
        "move" | "move alarm" => fields::MOVEMENT_EVENT_TRIGGER,
        "speed" | "speed alarm" | "overspeed" => fields::OVERSPEEDING_EVENT_TRIGGER,
        "stockade" | "stockade alarm" => fields::GEOFENCE_EVENT_EXIT,
        "ac alarm" => fields::POWER_CUT_EVENT_TRIGGER,
        "door alarm" => fields::DOOR_EVENT_TRIGGER,
        "sensor alarm" | "shock alarm" => fields::VIBRATION_EVENT_TRIGGER,
        "acc alarm" | "acc on" => fields::IGNITION_ON_EVENT_TRIGGER,
        "acc off" => fields::IGNITION_OFF_EVENT_TRIGGER,
        "accident alarm" => fields::CRASH_EVENT_TRIGGER,
        "dtc" => fields::FAULT_EVENT_TRIGGER,
        "bonnet alarm" => fields::HOOD_OPEN_STATUS,
        "footbrake alarm" => fields::CAN_PEDAL_BRAKE_STATUS,
        "no gps" => fields::GNSS_LOST_EVENT_TRIGGER,
        oil if oil.starts_with("oil") => fields::FUEL_THEFT_EVENT_TRIGGER,
        degrees if degrees.starts_with("t:") => fields::TEMPERATURE_EVENT_TRIGGER,
        _ => return None,
    })
}

/// A fragment of a photo: number and length (least byte first), bytes, two bytes of check.
pub(super) fn photo(data: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let bytes = hex::decode(data).ok_or(Reject::new("photo", "not hexadecimal", 24))?;
    let [number_low, number_high, low, high, rest @ ..] = bytes.as_slice() else {
        return Err(Reject::new("photo", "cut short", 24));
    };
    let length = usize::from(u16::from_le_bytes([*low, *high]));
    let picture = rest
        .get(..length)
        .filter(|picture| picture.len() + 2 == rest.len())
        .ok_or(Reject::new("photo", "its length does not fit", 28))?;
    let number = u16::from_le_bytes([*number_low, *number_high]);
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "vr");
    message.push(fields::RECORD_SEQNUM, number);
    message.push(fields::MEDIA_IMAGE, picture);
    Ok(())
}
