//! Electronic locks of Jointech: kinds 5501 and 5502, and texts between parentheses.
//!
//! Kind, properties (bit 15: answer), ident in BCD, index (1 byte), date `ddmmyy` and time in BCD
//! (UTC), latitude `ddmmmmmm`, longitude `dddmmmmmm` and flags in one (bits 0 or 3 fixed, 1 north,
//! 2 east), speed (knots), course in 2 degrees, signal, satellites, odometer (km), battery (percent,
//! or more while it charges), cell and area, the product, status, alarms, then items of number, length
//! and value: 02 altitude, 0A cell, 0B lock command, 0C inclination, 10 what woke it, FC geofence.

use super::terminal::lock_ident;
use super::values::opened;
use super::wire::SHORT;
use crate::contract::{Context, Key, Login, Probe, RecordBuilder, Reject, Reply, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::time::{or_impossible, two_digit};
use crate::kit::{bcd, checksum, units};

/// What was kept while there was no network.
const KEPT: u16 = 0x5502;

/// Is it a lock's position? Marks and escapes are taken off.
pub(super) fn is_report(plain: &[u8]) -> bool {
    plain.starts_with(&[0x55, 0x01]) || plain.starts_with(&[0x55, 0x02])
}

/// Reads a frame of kind 5501 or 5502, marks and escapes taken off.
pub(super) fn read(plain: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let (check, inner) = plain.split_last().ok_or(SHORT)?;
    if checksum::xor(inner) != *check {
        return Err(Reject::new("check", "it does not fit", plain.len()));
    }
    let mut body = Cursor::new(inner);
    let kind = body.u16().ok_or(SHORT)?;
    let properties = body.u16().ok_or(SHORT)?;
    let id: [u8; 6] = body.array().ok_or(SHORT)?;
    let _index = body.u8().ok_or(SHORT)?;
    cx.identify(Login::of(&lock_ident(&id)))?;
    let time = time(body.array().ok_or(SHORT)?, cx.now_ms);
    let mut message = cx.message(time)?;
    place(&mut body, &mut message, kind).ok_or(SHORT)?;
    if kind == KEPT {
        message.push(fields::MESSAGE_BUFFERED_STATUS, true);
    }
    state(&mut body, &mut message).ok_or(SHORT)?;
    items(body, &mut message);
    drop(message);
    if properties & 0x8000 != 0 {
        let mut answer = vec![0x44, 0x01, 0, 3];
        answer.extend_from_slice(&id);
        let [high, low] = kind.to_be_bytes();
        answer.extend_from_slice(&[1, high, low, 0]);
        answer.push(checksum::xor(&answer));
        let mut out = Vec::with_capacity(answer.len() + 4);
        out.push(0x7e);
        for byte in answer {
            match byte {
                0x7d => out.extend_from_slice(&[0x7d, 1]),
                0x7e => out.extend_from_slice(&[0x7d, 2]),
                _ => out.push(byte),
            }
        }
        out.push(0x7e);
        cx.reply(Reply::stored(out));
    }
    Ok(())
}

fn time(bytes: [u8; 6], now_ms: i64) -> Time {
    let [day, month, year, hour, minute, second] = bytes.map(|byte| bcd::byte(byte).map(i64::from));
    let read = || two_digit(year?, month?, day?, hour?, minute?, second?).utc_ms();
    or_impossible(read(), now_ms)
}

fn place(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>, kind: u16) -> Option<()> {
    // 8 digits; 9 digits and the flags
    let latitude: [u8; 4] = body.array()?;
    let [head @ .., last]: [u8; 5] = body.array()?;
    let flags = last & 15;
    let degrees = |whole: i64, minutes: i64| {
        let value = units::scaled(whole, 0) + units::scaled(minutes, 4) / 60.0;
        units::round(value, 7)
    };
    let latitude = bcd::number(&latitude).map(|n| degrees(n / 1_000_000, n % 1_000_000));
    let last_digit = i64::from(last >> 4);
    let longitude = bcd::number(&head)
        .filter(|_| last_digit < 10)
        .map(|n| n * 10 + last_digit)
        .map(|n| degrees(n / 1_000_000, n % 1_000_000));
    let is_place = |(latitude, longitude): &(f64, f64)| {
        let none = *latitude == 0.0 && *longitude == 0.0;
        !none && *latitude <= 90.0 && *longitude <= 180.0
    };
    let place = latitude.zip(longitude).filter(is_place);
    // a kept one is no fix of its time
    let fixed = kind != KEPT && flags & 9 != 0;
    message.push(fields::POSITION_VALID, place.is_some() && fixed);
    let (speed, course) = (body.u8()?, body.u8()?);
    if let Some((latitude, longitude)) = place {
        let north = if flags & 2 == 0 { -latitude } else { latitude };
        let east = if flags & 4 == 0 {
            -longitude
        } else {
            longitude
        };
        message.push(fields::POSITION_LATITUDE, north);
        message.push(fields::POSITION_LONGITUDE, east);
        message.push(fields::POSITION_SPEED, units::knots(f64::from(speed)));
        message.push(fields::POSITION_DIRECTION, u16::from(course) * 2);
    }
    Some(())
}

fn state(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    message.push(fields::GSM_SIGNAL_ENUM, body.u8()?);
    message.push(fields::POSITION_SATELLITES, body.u8()?);
    message.push(fields::VEHICLE_MILEAGE, i64::from(body.u32()?));
    let battery = body.u8()?;
    if battery <= 100 {
        message.push(fields::BATTERY_LEVEL, battery);
    } else {
        message.push(fields::BATTERY_CHARGING_STATUS, true);
    }
    let (id, lac) = (body.u32()?, body.u16()?);
    if id != 0 || lac != 0 {
        message.push(fields::GSM_CELLID, id);
        message.push(fields::GSM_LAC, lac);
    }
    let product = body.u8()?;
    message.push(fields::STATUS_BITMASK, body.u16()?);
    let alarms = body.u16()?;
    if alarms != 0 {
        message.push(fields::ALARM_BITMASK, alarms);
    }
    let meanings: &[_] = match product {
        3 => &[
            (0, fields::OVERSPEEDING_EVENT_TRIGGER),
            (1, fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER),
            (2, fields::VIBRATION_EVENT_TRIGGER),
            (3, fields::BATTERY_LOW_EVENT_TRIGGER),
            (5, fields::GEOFENCE_EVENT_ENTER),
            (6, fields::GEOFENCE_EVENT_EXIT),
        ],
        _ => &[(0, fields::BATTERY_LOW_EVENT_TRIGGER)],
    };
    for (bit, meaning) in meanings {
        if alarms & 1 << bit != 0 {
            message.push(*meaning, true);
        }
    }
    Some(())
}

fn items(mut body: Cursor<'_>, message: &mut RecordBuilder<'_>) {
    while body.left() > 0 {
        let whole = body;
        let (number, length) = (body.u8(), body.u8());
        let value = length.and_then(|length| body.take(usize::from(length)));
        let (Some(number), Some(value)) = (number, value) else {
            message.wire(0, whole.rest());
            return;
        };
        if item(number, value, message).is_none() && !value.is_empty() {
            let id = u32::from(number);
            message.push(Key::Wire { space: 0x55, id }, value);
        }
    }
}

fn item(number: u8, value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut body = Cursor::new(value);
    match (number, value.len()) {
        (0x02, 2) => message.push(fields::POSITION_ALTITUDE, body.i16()?),
        (0x0b, 1..) => return opened(value, message),
        (0xfc, 1) => message.push(fields::GEOFENCE_ID, body.u8()?),
        (0x0c, 6) => {
            for name in ["tilt.x", "tilt.y", "tilt.z"] {
                message.name(name, body.i16()?);
            }
        }
        (0x10, 1) => message.name("wake.source", body.u8()?),
        _ => return None,
    }
    Some(())
}

/// Does the text behind `(` begin as a lock's?
pub(super) fn probe(text: &[u8]) -> Probe {
    const IDENT_DIGITS: usize = 12;
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match text.get(digits..) {
        Some([]) | None if digits <= IDENT_DIGITS => Probe::More,
        Some([b',']) if digits == IDENT_DIGITS => Probe::More,
        Some([b',', b'0'..=b'9', ..]) if digits == IDENT_DIGITS => Probe::Yes,
        _ => Probe::No,
    }
}

/// `740190311185,1,001,ELOCK,3,529439`: ident first.
pub(super) fn text(text: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let text = std::str::from_utf8(text)
        .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
    let ident = text.split(',').next().unwrap_or_default();
    if ident.len() < 8 || !ident.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Reject::new("text", "it does not begin with an ident", 1));
    }
    cx.identify(Login::of(ident))?;
    let whole = format!("({text})");
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::COMMAND_RESULT, whole.as_str());
    drop(message);
    cx.command_reply(None, &whole);
    Ok(())
}
