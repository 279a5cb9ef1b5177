//! Kinds that are a position first: date, position, cell, and a tail that differs by make.

use super::alarms;
use super::make::Make;
use super::parts::{self, CellForm, Fix, SHORT};
use super::wire::Frame;
use crate::contract::{Context, Key, RecordBuilder, Reject, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{bcd, hex, units};

/// Date, satellites, coordinates, speed, course.
const PLACE_BYTES: usize = 18;

/// Reads one; is it answered?
pub(super) fn read(
    frame: &Frame<'_>,
    cx: &mut Context<'_>,
    make: Make,
    zone_s: Option<i64>,
) -> Result<bool, Reject> {
    let (kind, content) = (frame.kind, frame.body);
    if names_device_and_two_times(kind, content, make) {
        return two_times(frame, cx, zone_s);
    }
    let mut body = Cursor::new(content);
    let imei = if kind == 0x12 && names_device(content, make) {
        body.take(8).and_then(bcd::text)
    } else {
        None
    };
    let time = parts::time(&mut body, kind, zone_s, cx)?;
    let fix = Fix::read(&mut body)?;
    let mut message = cx.message(time)?;
    fix.push(&mut message);
    if let Some(imei) = &imei {
        message.push(
            fields::DEVICE_IMEI,
            bcd::without_leading_zeros(imei.as_str()),
        );
    }
    if kind == 0x2a || kind == 0x1a {
        address_wanted(body, &mut message);
        return Ok(true);
    }
    if body.left() < 8 {
        parts::leftover(&mut message, kind, body.rest());
        return Ok(true);
    }
    parts::cell(&mut body, form(kind, content.len()), &mut message)?;
    match kind {
        0x12 => tail_12(body, &mut message, make),
        0x10 | 0x11 => parts::leftover(&mut message, kind, body.rest()),
        _ => tail_22(body, &mut message, kind, content.len() == SEEWORLD_22_BYTES),
    }
    Ok(true)
}

/// Where a place stands in kinds that begin with one, or nearly.
const PLACES_AT: [usize; 3] = [0, 4, 15];

/// The place alone of a frame whose tail is in a form that is not known; the rest is kept. False if
/// no date and coordinates that can be stand where the kind has them.
pub(super) fn alone(
    frame: &Frame<'_>,
    cx: &mut Context<'_>,
    zone_s: Option<i64>,
) -> Result<bool, Reject> {
    let starts = |at: &usize| {
        let mut body = Cursor::new(frame.body.get(*at..)?);
        let time = body.take(6).filter(|bytes| parts::is_time(bytes))?;
        let fix = Fix::read(&mut body).ok().filter(Fix::can_be)?;
        Some((*at, time, fix, body.rest()))
    };
    let wanted: &[usize] = match frame.kind {
        0x10..=0x12
        | 0x16
        | 0x17
        | 0x1a
        | 0x1e
        | 0x26
        | 0x27
        | 0x2a
        | 0x2d
        | 0x31
        | 0x32
        | 0x37
        | 0xa0
        | 0xa2..=0xa4 => &PLACES_AT[..1],
        0x34 => &PLACES_AT[1..2],
        0x22 | 0x25 => &PLACES_AT,
        // of other kinds only where the length of a place stands before it
        _ if frame.body.get(6).is_some_and(|byte| byte & 0xf0 == 0xc0) => &PLACES_AT[..1],
        _ => &[],
    };
    let Some((at, time, fix, rest)) = wanted.iter().find_map(starts) else {
        return Ok(false);
    };
    let time = parts::time(&mut Cursor::new(time), frame.kind, zone_s, cx)?;
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, hex::encode(&[frame.kind]).as_str());
    fix.push(&mut message);
    let before = frame.body.get(..at).unwrap_or_default();
    parts::leftover(&mut message, frame.kind, before);
    parts::leftover(&mut message, frame.kind, rest);
    Ok(true)
}

/// The length of the content of kind 22 with a wide cell, temperature and humidity.
const SEEWORLD_22_BYTES: usize = 42;

fn form(kind: u8, length: usize) -> CellForm {
    match kind {
        0xa0 => CellForm::Lte,
        0x31 => CellForm::WideBoth,
        0x22 if length == SEEWORLD_22_BYTES => CellForm::Wide,
        _ => CellForm::Gsm,
    }
}

/// Does the content begin with the device's IMEI? By the setting, or because there is no date
/// where one should be, and one behind eight digits.
fn names_device(content: &[u8], make: Make) -> bool {
    let after = content.get(8..).unwrap_or_default();
    after.len() >= PLACE_BYTES
        && (make == Make::Qh302r || !parts::is_time(content) && parts::is_time(after))
}

/// Kind 25, and kind 22 of some makes: 01, IMEI, the device's time, the fix's time.
fn names_device_and_two_times(kind: u8, content: &[u8], make: Make) -> bool {
    let at = |at: usize| content.get(at..).unwrap_or_default();
    let fits = matches!(kind, 0x22 | 0x25) && content.first() == Some(&1) && at(9).len() > 12;
    fits && (make == Make::Nt20 || !parts::is_time(content) && parts::is_time(at(9)))
}

fn two_times(frame: &Frame<'_>, cx: &mut Context<'_>, zone_s: Option<i64>) -> Result<bool, Reject> {
    let mut body = Cursor::new(frame.body);
    body.take(1).ok_or(SHORT)?;
    let imei = body.take(8).and_then(bcd::text);
    let time = parts::time(&mut body, frame.kind, zone_s, cx)?;
    let time_of_fix = parts::time(&mut body, frame.kind, zone_s, cx)?;
    let fix = Fix::read(&mut body)?;
    let make = Make::of(cx.settings());
    let mut message = cx.message(time)?;
    if time_of_fix != time {
        message.push(
            fields::POSITION_TIMESTAMP,
            units::scaled(time_of_fix.ms(), 3),
        );
    }
    fix.push(&mut message);
    if let Some(imei) = &imei {
        message.push(fields::DEVICE_IMEI, bcd::without_leading_zeros(imei));
    }
    // the length counts itself
    let length = body.u8().ok_or(SHORT)?;
    let form = if length >= 10 {
        CellForm::Wide
    } else {
        CellForm::Gsm
    };
    parts::cell(&mut body, form, &mut message)?;
    if frame.kind == 0x25 {
        let network = body.u8().ok_or(SHORT)?;
        message.name("network.enum", network);
    }
    let status = |body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>| {
        parts::terminal(message, body.u8()?);
        let external = parts::hundredths(body.u16()?);
        message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, external);
        let battery = units::scaled(i64::from(body.u8()?), 1);
        message.push(fields::BATTERY_VOLTAGE, battery);
        parts::signal(message, body.u8()?);
        alarms::push(message, body.u8()?, make);
        let _language = body.u8()?;
        message.push(fields::VEHICLE_MILEAGE, parts::km(body.u32()?));
        let hours = parts::hours(u32::from(body.u16()?));
        message.push(fields::ENGINE_MOTORHOURS, hours);
        Some(())
    };
    status(&mut body, &mut message).ok_or(SHORT)?;
    card(body, &mut message);
    Ok(true)
}

/// Length, kind and what a card reader sent.
fn card(mut body: Cursor<'_>, message: &mut RecordBuilder<'_>) {
    let whole = body;
    match reading_of(&mut body).filter(|_| body.left() == 0) {
        Some(raw) => {
            message.push(fields::DRIVER_ID, hex::encode(raw).as_str());
            if let Some(tag) = tag(raw) {
                message.push(fields::RFID_CODE, tag);
            }
        }
        None => parts::leftover(message, 0x25, whole.rest()),
    }
}

fn reading_of<'a>(body: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let length = usize::from(body.u8()?);
    let _kind = body.u8()?;
    body.take(length.checked_sub(1)?)
}

/// A reader's frame: 02, ten digits of the tag, two of their checksum, 03.
fn tag(raw: &[u8]) -> Option<&str> {
    let [2, digits @ .., 3] = raw else {
        return None;
    };
    let text = std::str::from_utf8(digits).ok()?;
    let bytes = hex::decode(text)?;
    let (sum, bytes) = bytes.split_last()?;
    (crate::kit::checksum::xor(bytes) == *sum).then_some(())?;
    text.get(..text.len() - 2)
}

/// Whose address is asked for: 21 bytes of telephone number, alarm and language.
fn address_wanted(mut body: Cursor<'_>, message: &mut RecordBuilder<'_>) {
    if let Some(phone) = body.take(21.min(body.left())) {
        let phone = String::from_utf8_lossy(phone);
        let phone = phone.trim_matches(|c: char| !c.is_ascii_digit() && c != '+');
        if !phone.is_empty() {
            message.push(fields::GSM_PHONE, phone);
        }
    }
}

/// The tails of kind 12, by their length.
fn tail_12(body: Cursor<'_>, message: &mut RecordBuilder<'_>, make: Make) {
    let mut read = body;
    let known = match body.left() {
        0 => Some(()),
        2 => inputs(&mut read, message),
        4 => odometer(&mut read, message),
        5 => external(&mut read, message, make),
        12 => with_temperature(&mut read, message, make),
        9..=11 | 13..=40 => with_card(&mut read, message),
        41.. => with_licence(&mut read, message),
        _ => None,
    };
    let rest = if known.is_some() { read } else { body };
    parts::leftover(message, 0x12, rest.rest());
}

fn odometer(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    message.push(fields::VEHICLE_MILEAGE, parts::km(body.u32()?));
    Some(())
}

/// Benway: two inputs, and an analog one or a temperature in the same word.
fn inputs(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let word = body.u16()?;
    message.push(fields::ENGINE_IGNITION_STATUS, word & 0x8000 != 0);
    message.push((fields::DIN_N, 2), word & 0x4000 != 0);
    if word & 0x1000 != 0 {
        let degrees = i64::from(word & 0x1ff);
        let sign = if word & 0x200 == 0 { 1 } else { -1 };
        message.push((fields::SENSOR_TEMPERATURE_N, 1), sign * degrees);
    } else {
        let value = i64::from(word & 0x3ff);
        let decimals = i32::from(word & 0x2000 == 0);
        message.push((fields::AIN_N, 1), units::scaled(value, decimals));
    }
    Some(())
}

/// VXT01: status, supply, signal, alarm.
pub(super) fn external(
    body: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
    make: Make,
) -> Option<()> {
    parts::terminal(message, body.u8()?);
    let volts = parts::hundredths(body.u16()?);
    message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
    parts::signal(message, body.u8()?);
    alarms::push(message, body.u8()?, make);
    Some(())
}

/// S5: as VXT01, and oil, temperature, odometer in tens of metres.
fn with_temperature(
    body: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
    make: Make,
) -> Option<()> {
    external(body, message, make)?;
    message.push((fields::FUEL_SENSOR_N, 1), body.u16()?);
    let temperature = body.u8()?;
    let degrees = i64::from(temperature & 0x7f);
    let degrees = if temperature & 0x80 == 0 {
        degrees
    } else {
        -degrees
    };
    message.push((fields::SENSOR_TEMPERATURE_N, 1), degrees);
    let tens = i64::from(body.u32()?);
    message.push(fields::VEHICLE_MILEAGE, units::scaled(tens, 2));
    Some(())
}

/// WeTrust: odometer, a card's number with its length, alarm, state of the card, minutes driven.
fn with_card(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let metres = body.u32()?;
    let length = usize::from(body.u8()?);
    let number = body.take(length)?;
    (body.left() == 4).then_some(())?;
    message.push(fields::VEHICLE_MILEAGE, parts::km(metres));
    if !number.is_empty() {
        message.push(fields::DRIVER_ID, hex::encode(number).as_str());
    }
    let alarm = body.u8()?;
    if alarm != 0 {
        message.push(fields::ALARM_CODE, alarm);
    }
    message.push(fields::CARD_PRESENT_STATUS, body.u8()? != 0);
    message.name("driving.time", body.u16()?);
    Some(())
}

/// GT06E with a reader: odometer, a licence as text with its length.
fn with_licence(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let metres = body.u32()?;
    let length = usize::from(body.u8()?);
    let text = std::str::from_utf8(body.take(length)?).ok()?.trim();
    message.push(fields::VEHICLE_MILEAGE, parts::km(metres));
    if !text.is_empty() {
        message.push(fields::DRIVER_ID, text);
    }
    Some(())
}

/// The tail of kind 22 and its relatives: ignition, why it was sent, from memory, odometer,
/// altitude; each may be missing from the end.
fn tail_22(mut body: Cursor<'_>, message: &mut RecordBuilder<'_>, kind: u8, climate: bool) {
    if let Some(ignition) = body.u8() {
        message.push(fields::ENGINE_IGNITION_STATUS, ignition != 0);
    }
    if let Some(reason) = body.u8() {
        message.push(fields::REPORT_REASON, reason);
    }
    if let Some(buffered) = body.u8() {
        message.push(fields::MESSAGE_BUFFERED_STATUS, buffered != 0);
    }
    if kind == 0x37
        && let Some(values) = modules(body.rest())
    {
        for (id, content) in values {
            module(id, content, message);
        }
        return;
    }
    if let Some(metres) = body.u32() {
        message.push(fields::VEHICLE_MILEAGE, parts::km(metres));
    }
    if climate && let (Some(_), Some(degrees), Some(percent)) = (body.u32(), body.i16(), body.u16())
    {
        message.push((fields::SENSOR_TEMPERATURE_N, 1), degrees);
        message.push((fields::SENSOR_HUMIDITY_N, 1), percent);
    }
    if body.left() == 2
        && let Some(metres) = body.i16()
    {
        message.push(fields::POSITION_ALTITUDE, metres);
    }
    parts::leftover(message, kind, body.rest());
}

/// The end of kind 37: values of id (2 bytes), length and content. `None` if they do not fit.
fn modules(rest: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut body = Cursor::new(rest);
    let mut values = Vec::new();
    while body.left() > 0 {
        let (id, length) = (body.u16()?, body.u8()?);
        values.push((id, body.take(usize::from(length))?));
    }
    (!values.is_empty()).then_some(values)
}

fn module(id: u16, content: &[u8], message: &mut RecordBuilder<'_>) {
    match (id, content) {
        (0x27, [high, low]) => {
            let volts = parts::hundredths(u16::from_be_bytes([*high, *low]));
            message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
        }
        (0x2e, [a, b, c, d]) => {
            let metres = u32::from_be_bytes([*a, *b, *c, *d]);
            message.push(fields::VEHICLE_MILEAGE, parts::km(metres));
        }
        (0x3b, [high, low]) => {
            let metres = parts::hundredths(u16::from_be_bytes([*high, *low]));
            message.push(fields::POSITION_ACCURACY, metres);
        }
        _ => message.push(
            Key::Wire {
                space: 0x37,
                id: u32::from(id),
            },
            content,
        ),
    }
}
