//! The text form's records and their blocks.
//!
//! | block | values |
//! |---|---|
//! | SYS | model, firmware, hardware |
//! | GPS | A, V or L (the last known), satellites, latitude and longitude behind N, S, E, W, km/h, course, altitude, HDOP, VDOP |
//! | GPS of version 02 | HHMMSS, (fix,) A or V, latitude, longitude, km/h, course, (HDOP,) DDMMYY |
//! | GSM | registration, signal, and for each cell country, network, area and cell in hex, dBm |
//! | COT | meters, engine's time as hours-minutes-seconds |
//! | ADC | supply, battery, analog inputs; of version 02 each with its number before it |
//! | DTT | state, inputs and outputs in hex, geofences entered and left, what happened, kind of packet |
//! | IWD | for each 1-Wire device its number, kind, and 0: a key; 1: serial number, degrees |
//! | OBD | for each answer of the vehicle its length and bytes, in hex |
//! | MGR | meters |
//! | others | kept as they are |

use crate::contract::{Context, Instance, RecordBuilder, Reject, Time, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{float, number};
use crate::kit::time::{Civil, digits, or_impossible};
use crate::kit::{hex, obd, units};

const OLD_VERSION: &str = "02";
const CELLS_MAX: Instance = 32;
const SHORT: Reject = Reject::new("record", "fewer fields than it has", 0);

pub(super) fn records(version: &str, records: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    for record in records.split('$').filter(|record| !record.is_empty()) {
        if version == OLD_VERSION {
            old(record, cx)?;
        } else {
            new(version, record, cx)?;
        }
    }
    Ok(())
}

fn new(version: &str, record: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let (first, rest) = record.split_once(',').unwrap_or((record, ""));
    let clock = first.len() == 12 && first.bytes().all(|byte| byte.is_ascii_digit());
    let time = if clock {
        or_impossible(digits(first, "HMSdmy").and_then(Civil::utc_ms), cx.now_ms)
    } else {
        Time::Received(cx.now_ms)
    };
    if !clock {
        cx.command_reply(None, first);
    }
    let mut message = cx.message(time)?;
    message.push(fields::PROTOCOL_VERSION, version);
    if !clock {
        message.push(fields::COMMAND_RESULT, first);
    }
    for block in rest.split(',').filter(|block| !block.is_empty()) {
        push(block, &mut message);
    }
    Ok(())
}

fn push(block: &str, message: &mut RecordBuilder<'_>) {
    let Some((name, values)) = block.split_once(':') else {
        match i64::from_str_radix(block, 16) {
            Ok(event) => message.push(fields::EVENT_ENUM, event),
            Err(_) => message.push(fields::EVENT_NAME, block),
        }
        return;
    };
    let mut values = Values(Some(values));
    let before = values.0.unwrap_or_default();
    let known = match name {
        "SYS" => system,
        "GSM" => network,
        "COT" => counters,
        "ADC" => analog,
        "MGR" => meters,
        _ => {
            let read = match name {
                "GPS" => position(&mut values, message),
                "DTT" => state(&mut values, message),
                "IWD" => one_wire(&mut values, message),
                "OBD" => vehicle(before, message),
                _ => None,
            };
            if read.is_none() && !before.is_empty() {
                message.name(name, before);
            }
            return;
        }
    };
    known(&mut values, message);
}

/// Values with `;` between, one after another.
struct Values<'a>(Option<&'a str>);

impl<'a> Values<'a> {
    /// The next, empty behind the last.
    fn next(&mut self) -> &'a str {
        self.more().unwrap_or_default()
    }

    fn more(&mut self) -> Option<&'a str> {
        let rest = self.0?;
        if let Some((value, behind)) = rest.split_once(';') {
            self.0 = Some(behind);
            Some(value.trim())
        } else {
            self.0 = None;
            Some(rest.trim())
        }
    }

    /// The next number; it may be missing.
    fn float(&mut self) -> Option<f64> {
        float(self.next())
    }
}

fn system(values: &mut Values<'_>, message: &mut RecordBuilder<'_>) {
    for param in [
        fields::DEVICE_MODEL,
        fields::DEVICE_FIRMWARE_VERSION,
        fields::DEVICE_HARDWARE_VERSION,
    ] {
        let value = values.next();
        message.push_some(param, (!value.is_empty()).then_some(value));
    }
}

/// Degrees behind the letter of their hemisphere.
fn degrees(text: &str, below: char) -> Option<f64> {
    let value = float(text.get(1..)?)?;
    let value = if text.starts_with(below) {
        -value
    } else {
        value
    };
    (value.abs() <= 180.0).then_some(value)
}

fn push_place(
    fixed: bool,
    latitude: &str,
    longitude: &str,
    message: &mut RecordBuilder<'_>,
) -> bool {
    let place = degrees(latitude, 'S').zip(degrees(longitude, 'W'));
    let place = place.filter(|(lat, lon)| lat.abs() <= 90.0 && (*lat, *lon) != (0.0, 0.0));
    message.push(fields::POSITION_VALID, fixed && place.is_some());
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    place.is_some()
}

fn position(values: &mut Values<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let fix = values.next();
    let satellites = number::<u8>(values.next());
    let (latitude, longitude) = (values.next(), values.next());
    if !matches!(fix, "A" | "V" | "L") {
        return None;
    }
    let there = push_place(fix == "A", latitude, longitude, message);
    message.push_some(fields::POSITION_SATELLITES, satellites);
    for param in [
        fields::POSITION_SPEED,
        fields::POSITION_DIRECTION,
        fields::POSITION_ALTITUDE,
    ] {
        let value = values.float().filter(|_| there);
        message.push_some(param, value);
    }
    message.push_some(fields::POSITION_HDOP, values.float());
    message.push_some(fields::POSITION_VDOP, values.float());
    Some(())
}

fn network(values: &mut Values<'_>, message: &mut RecordBuilder<'_>) {
    let registration = number::<u8>(values.next());
    message.push_some(fields::GSM_REGISTRATION_STATE, registration);
    message.push_some(fields::GSM_SIGNAL_ENUM, number::<u8>(values.next()));
    for index in 0..CELLS_MAX {
        let Some(country) = values.more().filter(|country| !country.is_empty()) else {
            break;
        };
        let network = number(values.next());
        let mut hexadecimal = || i64::from_str_radix(values.next(), 16).ok();
        let cell = Cell {
            mcc: number(country),
            mnc: network,
            lac: hexadecimal(),
            id: hexadecimal(),
            dbm: number(values.next()),
        };
        cells::push(message, index, cell);
    }
}

fn meters(values: &mut Values<'_>, message: &mut RecordBuilder<'_>) {
    let km = values
        .float()
        .map(|meters| units::round(meters / 1000.0, 3));
    message.push_some(fields::VEHICLE_MILEAGE, km);
}

fn counters(values: &mut Values<'_>, message: &mut RecordBuilder<'_>) {
    meters(values, message);
    let mut parts = values.next().split('-').map(float);
    if let Some(hours) = parts.next().flatten() {
        let mut part = || parts.next().flatten().unwrap_or_default();
        let hours = hours + part() / 60.0 + part() / 3600.0;
        message.push(fields::ENGINE_MOTORHOURS, units::round(hours, 4));
    }
}

fn analog(values: &mut Values<'_>, message: &mut RecordBuilder<'_>) {
    message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, values.float());
    message.push_some(fields::BATTERY_VOLTAGE, values.float());
    for input in 1..=8 {
        let Some(volts) = values.more() else {
            break;
        };
        message.push_some((fields::AIN_N, input), float(volts));
    }
}

fn state(values: &mut Values<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let status = i64::from_str_radix(values.next(), 16).ok()?;
    message.push(fields::STATUS_BITMASK, status);
    if let Ok(io) = u16::from_str_radix(values.next(), 16) {
        let bit = |bit: u16| io >> bit & 1 == 1;
        message.push(fields::ENGINE_IGNITION_STATUS, bit(0));
        for input in 1..=4 {
            message.push((fields::DIN_N, input), bit(input));
        }
        for output in 1..=3 {
            message.push((fields::DOUT_N, output), bit(4 + output));
        }
    }
    for name in [
        "geofence.entered",
        "geofence.left",
        "event.status",
        "packet.kind",
    ] {
        let value = values.next();
        if !value.is_empty() {
            message.name(name, value);
        }
    }
    Some(())
}

fn one_wire(values: &mut Values<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    while let Some(sensor) = values.more() {
        // sensors are numbered from 0 on some, from 1 on others
        let sensor = number::<Instance>(sensor)?.max(1);
        match values.next() {
            "0" => message.push(fields::IBUTTON_CODE, values.next()),
            "1" => {
                message.push((fields::SENSOR_ID_N, sensor), values.next());
                let celsius = values.float();
                message.push_some((fields::SENSOR_TEMPERATURE_N, sensor), celsius);
            }
            _ => return None,
        }
    }
    Some(())
}

/// Length, 41 and the number of the value, bytes; and so on.
fn vehicle(answers: &str, message: &mut RecordBuilder<'_>) -> Option<()> {
    const CURRENT: u8 = 0x41;
    let bytes = hex::decode(answers)?;
    let mut rest = bytes.as_slice();
    while let Some((&length, behind)) = rest.split_first() {
        let (answer, behind) = behind.split_at_checked(length.into())?;
        rest = behind;
        let known = match answer {
            [CURRENT, pid, data @ ..] => obd::push(message, u16::from(*pid), data),
            _ => false,
        };
        if !known {
            let mut name = String::from("obd.");
            name.push_str(&hex::encode(answer.get(..2).unwrap_or(answer)));
            message.name(&name, &*hex::encode(answer.get(2..).unwrap_or_default()));
        }
    }
    Some(())
}

fn old(record: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let gps = record
        .split(',')
        .find_map(|block| block.strip_prefix("GPS:"));
    let Some(gps) = gps else {
        let now_ms = cx.now_ms;
        let mut message = cx.message(Time::Received(now_ms))?;
        message.push(fields::PROTOCOL_VERSION, OLD_VERSION);
        message.push(fields::COMMAND_RESULT, record);
        return Ok(());
    };
    let mut values = Values(Some(gps));
    let clock = values.next();
    let mut fix = values.next();
    if !matches!(fix, "A" | "V") {
        fix = values.next();
    }
    let (latitude, longitude) = (values.next(), values.next());
    let (speed, course) = (values.float(), values.float());
    let last = values.next();
    let (hdop, date) = match values.more() {
        Some(date) => (float(last), date),
        None => (None, last),
    };
    let civil = digits(clock, "HMS").zip(digits(date, "dmy"));
    let ms = civil.and_then(|(clock, date)| date.at_clock(clock).utc_ms());
    if latitude.is_empty() {
        return Err(SHORT);
    }
    let time = or_impossible(ms, cx.now_ms);
    let mut message = cx.message(time)?;
    message.push(fields::PROTOCOL_VERSION, OLD_VERSION);
    if push_place(fix == "A", latitude, longitude, &mut message) {
        message.push_some(fields::POSITION_SPEED, speed);
        message.push_some(fields::POSITION_DIRECTION, course);
    }
    message.push_some(fields::POSITION_HDOP, hdop);
    for block in record.split(',').filter(|block| !block.starts_with("GPS:")) {
        match block.strip_prefix("ADC:") {
            Some(pairs) => old_analog(pairs, &mut message),
            None => push(block, &mut message),
        }
    }
    Ok(())
}

/// 0 the supply, 2 the battery, others under their number.
fn old_analog(pairs: &str, message: &mut RecordBuilder<'_>) {
    let mut values = Values(Some(pairs));
    while let Some(index) = values.more() {
        let (index, value) = (number::<u32>(index), values.float());
        match index {
            Some(0) => message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, value),
            Some(2) => message.push_some(fields::BATTERY_VOLTAGE, value),
            Some(index) => message.push_some(
                crate::contract::Key::Wire {
                    space: 1,
                    id: index,
                },
                value,
            ),
            None => {}
        }
    }
}
