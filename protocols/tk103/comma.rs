//! The form with commas: `ident,command,fields`.
//!
//! | command | fields |
//! |---|---|
//! | BP05, ZCxx, DW3x | `DDMMYY,A,latitude and letter,longitude and letter,km/h,HHMMSS,course[,?,?]` |
//! | DW5x | `MCC,MNC,LAC,cell,count,address*dBm*channel (count times) or 0,DDMMYY,HHMMSS` |
//! | ZC20 | `DDMMYY,HHMMSS,battery in steps,battery in 10 mV,supply,?` |
//! | ZC03 | `DDMMYY,HHMMSS,$text$` |
//!
//! The last digits of the command are what happened, the same for ZC1x, DW3x and DW5x.

use super::parts::{Frame, is_state, push_alarm, push_state};
use crate::contract::{Context, RecordBuilder, Reject, Time, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{self, float, nmea_degrees, number};
use crate::kit::time::{self, digits};
use smallvec::SmallVec;

const FIELDS_MAX: usize = 64;

type Fields<'f> = SmallVec<[&'f str; 24]>;

/// Reads a frame.
pub(super) fn read(frame: Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let Frame { command, body, .. } = frame;
    let body = body.trim_start_matches(',');
    let mut rest: Fields<'_> = parse::split(body, b',').take(FIELDS_MAX).collect();
    let mut alarm = "";
    if let ["ALARM", digit, _, ..] = *rest.as_slice() {
        alarm = digit;
        rest.drain(..3);
    }
    let at = |index: usize| rest.get(index).copied().unwrap_or_default();
    if command == "ZC03" {
        let text = body.split_once('$').map_or("", |(_, text)| text);
        let text = text.trim_end_matches('$');
        cx.command_reply(None, text);
        let time = clock(at(0), at(1), cx);
        let mut message = cx.message(time)?;
        message.push(fields::MESSAGE_TYPE, command);
        message.push(fields::COMMAND_RESULT, text);
    } else if command == "ZC20" {
        let time = clock(at(0), at(1), cx);
        let mut message = cx.message(time)?;
        message.push(fields::MESSAGE_TYPE, command);
        let percent = match number::<u8>(at(2)) {
            Some(1) => Some(0),
            Some(2) => Some(10),
            Some(3) => Some(20),
            Some(4) => Some(50),
            Some(5) => Some(80),
            Some(6) => Some(100),
            _ => None,
        };
        message.push_some(fields::BATTERY_LEVEL, percent);
        let volts = number::<u32>(at(3)).filter(|volts| *volts != 0xffff);
        let volts = volts.map(|volts| f64::from(volts) / 100.0);
        message.push_some(fields::BATTERY_VOLTAGE, volts);
        let supply = number::<u32>(at(4)).filter(|volts| *volts != 0xffff);
        let supply = supply.map(|volts| f64::from(volts) / 10.0);
        message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, supply);
        push_left(&mut message, &rest, 5);
    } else if matches!(at(1), "A" | "V")
        || at(2).ends_with(['N', 'S']) && at(3).ends_with(['E', 'W'])
    {
        fix(frame, alarm, &rest, cx)?;
    } else if rest.len() >= 6 && command.starts_with("DW") {
        network(frame, &rest, cx)?;
    } else {
        let now_ms = cx.now_ms;
        let mut message = cx.message(Time::Received(now_ms))?;
        message.push(fields::MESSAGE_TYPE, command);
        push_left(&mut message, &rest, 0);
    }
    Ok(())
}

/// The time of DDMMYY and HHMMSS.
fn clock(date: &str, hms: &str, cx: &Context<'_>) -> Time {
    let both: SmallVec<[u8; 12]> = date.bytes().chain(hms.bytes()).take(13).collect();
    let civil = std::str::from_utf8(&both)
        .ok()
        .and_then(|both| digits(both, "dmyHMS"));
    time::or_impossible(civil.and_then(|civil| civil.ms(cx.settings())), cx.now_ms)
}

/// Fields from `from` on that have no known meaning, under their place.
fn push_left(message: &mut RecordBuilder<'_>, rest: &Fields<'_>, from: usize) {
    for (field, id) in rest.iter().zip(0u32..).skip(from) {
        if !field.is_empty() {
            message.wire(id, *field);
        }
    }
}

fn push_event(message: &mut RecordBuilder<'_>, command: &str) {
    let event = match command {
        "ZC11" | "DW31" | "DW51" => fields::MOVEMENT_EVENT_TRIGGER,
        "ZC12" | "DW32" | "DW52" => fields::BATTERY_LOW_EVENT_TRIGGER,
        "ZC13" | "DW33" | "DW53" => fields::POWER_CUT_EVENT_TRIGGER,
        "ZC15" | "DW35" | "DW55" | "ZC29" | "DW42" | "DW62" => fields::IGNITION_ON_EVENT_TRIGGER,
        "ZC16" | "DW36" | "DW56" => fields::IGNITION_OFF_EVENT_TRIGGER,
        "ZC17" | "DW37" | "DW57" | "ZC26" | "DW3F" | "DW5F" => fields::TAMPERING_EVENT_TRIGGER,
        "ZC25" | "DW3E" | "DW5E" => fields::ALARM_EVENT_TRIGGER,
        "ZC27" | "DW40" | "DW60" => fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER,
        _ => return,
    };
    message.push(event, true);
    match command {
        "ZC15" | "DW35" | "DW55" | "ZC29" | "DW42" | "DW62" => {
            message.push(fields::ENGINE_IGNITION_STATUS, true);
        }
        "ZC16" | "DW36" | "DW56" => message.push(fields::ENGINE_IGNITION_STATUS, false),
        _ => {}
    }
}

fn fix(
    frame: Frame<'_>,
    alarm: &str,
    rest: &Fields<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let [date, letter, latitude, longitude, more @ ..] = rest.as_slice() else {
        return Err(Reject::new("fix", "fewer fields than it has", 0));
    };
    // each may be missing from the end
    let at = |index: usize| more.get(index).copied().unwrap_or_default();
    let (speed, hms, course) = (at(0), at(1), at(2));
    let more = more.get(3..).unwrap_or_default();
    let time = clock(date, hms, cx);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, frame.command);
    push_event(&mut message, frame.command);
    push_alarm(&mut message, alarm);
    let degrees = |text: &str| {
        let (number, letter) = text.split_at_checked(text.len().checked_sub(1)?)?;
        nmea_degrees(number, letter)
    };
    let latitude = degrees(latitude).filter(|latitude| latitude.abs() <= 90.0);
    let place = latitude.zip(degrees(longitude));
    let valid = *letter == "A" && place.is_some();
    message.push(fields::POSITION_VALID, valid);
    if let Some((latitude, longitude)) = place.filter(|place| valid || *place != (0.0, 0.0)) {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
        message.push_some(fields::POSITION_SPEED, float(speed));
        let course = float(course).filter(|course| (0.0..=360.0).contains(course));
        message.push_some(fields::POSITION_DIRECTION, course);
    }
    if let Some(state) = more.first().filter(|state| is_state(state)) {
        push_state(&mut message, state);
        push_left(&mut message, rest, 8);
    } else {
        push_left(&mut message, rest, 7);
    }
    Ok(())
}

fn network(frame: Frame<'_>, rest: &Fields<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let [mcc, mnc, lac, id, count, points @ .., date, hms] = rest.as_slice() else {
        return Err(Reject::new("cells", "fewer fields than they have", 0));
    };
    let time = clock(date, hms, cx);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, frame.command);
    push_event(&mut message, frame.command);
    cells::push(
        &mut message,
        0,
        Cell {
            mcc: number(mcc),
            mnc: number(mnc),
            lac: number(lac),
            id: number(id),
            dbm: None,
        },
    );
    let count: usize = number(count).unwrap_or(0);
    for (point, index) in points.iter().take(count).zip(1u16..) {
        let mut parts = point.split('*');
        if let Some(mac) = parts.next().filter(|mac| mac.contains(':')) {
            message.push((fields::WIFI_MAC_N, index), mac);
            let dbm = parts.next().and_then(number::<i64>);
            message.push_some((fields::WIFI_SIGNAL_DBM_N, index), dbm);
        }
    }
    Ok(())
}
