//! Totem: AT07, AT09 and others, over TCP.
//!
//! # Wire format
//!
//! `$$`, the length of it all, and then one of four forms.
//!
//! | form | length | then |
//! |---|---|---|
//! | sentence | two hex digits | IMEI, bar, alarm (2), `$GPRMC,...`, PDOP, HDOP, VDOP, 12 bits of inputs, YYYYMMDDHHMMSS, charging (1) and battery (3) and supply (4) in 0.01 V, inputs, LAC and cell, temperature, km, number; bars between; CRC |
//! | short | two hex digits | IMEI, bar, alarm (2), DDMMYYHHMMSS, inputs (4), battery (3), supply (2), two inputs (4), two temperatures (3), LAC, cell (4), A or V, satellites (2), course (3), speed (3), PDOP (4), km (7), latitude, N, longitude, E, number (4), CRC |
//! | compact | four digits | alarm (2), IMEI, bar, status (8), YYMMDDHHMMSS, battery and supply (2 each; or battery alone: 3), inputs and temperatures (4 each), LAC, cell (4), satellites, signal (2), course, km/h (3), HDOP (4), km (7), latitude, N, longitude, E, number (4), sum |
//! | listed | four digits | E2 to E6, IMEI, bar, YYMMDDHHMMSS, longitude, latitude, others, bar, sum |
//!
//! The CRC is CRC-16/MODBUS of all before it in four hex digits, the sum an exclusive or in two. The compact form
//! has between supply and LAC one input; or it and two temperatures; or four inputs and two temperatures.
//!
//! Status of the compact form, highest bit first: SOS, ignition, overspeed, charging, left and entered a
//! fence, antenna cut, one unknown, three outputs; bit 14 is the fix, or bit 12 in devices with temperatures.
//!
//! # Session
//!
//! Every frame names its device. The forms with a CRC are answered `ACK OK`, the others `$$0014AA`, the
//! number, and the sum.
//!
//! # Source
//!
//! Totem Technology: "AT07 communication protocol", "AT09 communication protocol V2", and captures.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.
//!
//! # Quirks
//!
//! - The listed form gives the longitude first.
//! - The listed form has no number: the four characters before the sum are given back in its place.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, ParamId, Probe, RecordBuilder, Reject,
    Reply, Time, fields,
};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{float, nmea_degrees, number};
use crate::kit::time::{Civil, digits, or_impossible};
use crate::kit::{checksum, framing, units};

const MARK: &[u8] = b"$$";
const SHORT: Reject = Reject::new("frame", "fewer fields than it has", 0);

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Totem",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

/// How long the frame is and where its length ends.
fn length(input: &[u8]) -> Option<(usize, usize)> {
    let (count, radix) = if input.get(2) == Some(&b'0') {
        (4, 10)
    } else {
        (2, 16)
    };
    let text = std::str::from_utf8(input.get(2..2 + count)?).ok()?;
    let length = usize::from_str_radix(text, radix).ok()?;
    Some((length, 2 + count))
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "totem",
        title: "Totem",
        source: "Totem: AT07 and AT09 communication protocols",
        port: 5007,
        frame_bytes_max: 1024,
        acks: Acks::Frame,
        shared: true,
        models: &[
            model(1, "AT05"),
            model(2, "AT06"),
            model(3, "AT07"),
            model(4, "AT09"),
            model(5, "AT10"),
            model(6, "TK510"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, eof: bool) -> Result<Cut, Fatal> {
        if !input.starts_with(MARK) {
            if input == b"$" && !eof {
                return Ok(Cut::Need(2));
            }
            let rest = input.get(1..).unwrap_or_default();
            let next = rest.iter().position(|byte| *byte == b'$');
            return Ok(Cut::Skip(next.map_or(input.len(), |at| at + 1)));
        }
        if input.len() < 6 {
            return Ok(Cut::Need(6));
        }
        Ok(match length(input) {
            Some((length, _)) if length > 8 => framing::exactly(input, length),
            _ => Cut::Skip(2),
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let text = std::str::from_utf8(frame)
            .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
        let (_, start) = length(frame).ok_or(SHORT)?;
        if start == 4 {
            with_crc(text, cx)
        } else {
            with_sum(text, cx)
        }
    }

    fn probe(head: &[u8]) -> Probe {
        if head.len() < 22 {
            return if head.starts_with(MARK) || MARK.starts_with(head) {
                Probe::More
            } else {
                Probe::No
            };
        }
        let Some((_, start)) = length(head).filter(|_| head.starts_with(MARK)) else {
            return Probe::No;
        };
        let from = if start == 4 { 4 } else { 8 };
        let imei = head.get(from..from + 14).unwrap_or_default();
        if imei.iter().all(u8::is_ascii_digit) {
            Probe::Yes
        } else {
            Probe::No
        }
    }
}

/// The sentence and the short form.
fn with_crc(text: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
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
    if body.contains('|') {
        sentence(alarm, body, cx)?;
    } else {
        short(alarm, body, cx)?;
    }
    cx.reply(Reply::stored("ACK OK\r\n"));
    Ok(())
}

fn begin<'c>(
    alarm: &str,
    time: Time,
    cx: &'c mut Context<'_>,
) -> Result<RecordBuilder<'c>, Reject> {
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, alarm);
    Ok(message)
}

/// What an alarm means in the forms with a CRC.
fn first_alarm(code: &str) -> Option<ParamId> {
    Some(match code {
        "01" => fields::ALARM_EVENT_TRIGGER,
        "10" => fields::BATTERY_LOW_EVENT_TRIGGER,
        "11" => fields::OVERSPEEDING_EVENT_TRIGGER,
        "42" => fields::GEOFENCE_EVENT_EXIT,
        "43" => fields::GEOFENCE_EVENT_ENTER,
        _ => return None,
    })
}

fn push_cell(message: &mut RecordBuilder<'_>, lac: &str, id: &str) {
    let hexadecimal = |text: &str| i64::from_str_radix(text, 16).ok();
    let cell = Cell {
        lac: hexadecimal(lac),
        id: hexadecimal(id),
        ..Cell::default()
    };
    if !matches!((cell.lac, cell.id), (Some(0) | None, Some(0) | None)) {
        cells::push(message, 0, cell);
    }
}

fn push_place(message: &mut RecordBuilder<'_>, place: Option<(f64, f64)>, valid: bool) -> bool {
    let place = place.filter(|place| *place != (0.0, 0.0));
    message.push(fields::POSITION_VALID, valid && place.is_some());
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    place.is_some()
}

fn sentence(alarm: &str, body: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
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

/// Of DDMMYY and HHMMSS with or without a fraction, which does not count.
fn moment(date: &str, clock: &str) -> Option<i64> {
    let date = digits(date, "dmy")?;
    let clock = digits(clock.get(..6)?, "HMS")?;
    let civil = Civil {
        hour: clock.hour,
        minute: clock.minute,
        second: clock.second,
        ..date
    };
    civil.utc_ms()
}

fn push_rest(message: &mut RecordBuilder<'_>, rest: &[&str], from: usize) {
    for (text, id) in rest.iter().zip(0u32..).skip(from) {
        if !text.is_empty() {
            message.wire(id, *text);
        }
    }
}

/// Reads digits of fixed widths one after another.
struct Widths<'a>(&'a str);

impl<'a> Widths<'a> {
    fn take(&mut self, count: usize) -> Result<&'a str, Reject> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// Latitude, N, longitude, E in 21 characters.
fn place(widths: &mut Widths<'_>) -> Result<Option<(f64, f64)>, Reject> {
    let (latitude, north) = (widths.take(9)?, widths.take(1)?);
    let (longitude, east) = (widths.take(10)?, widths.take(1)?);
    let latitude = nmea_degrees(latitude, north).filter(|degrees| degrees.abs() <= 90.0);
    Ok(latitude.zip(nmea_degrees(longitude, east)))
}

fn short(alarm: &str, body: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
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

/// The compact and the listed form.
fn with_sum(text: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
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
fn alarm_param(code: &str) -> Option<ParamId> {
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

/// How many characters stand from the LAC to the end of the latitude.
const LAC_TO_NORTH: usize = 4 + 4 + 2 + 2 + 3 + 3 + 4 + 7 + 9;

fn compact(alarm: &str, body: &str, serial: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let lac = body
        .bytes()
        .position(|byte| matches!(byte, b'N' | b'S'))
        .and_then(|north| north.checked_sub(LAC_TO_NORTH))
        .ok_or(SHORT)?;
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

fn push_status(message: &mut RecordBuilder<'_>, status: u32) {
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

fn listed(kind: &str, body: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
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
