//! ERM StarLink: trackers that report what they were told to report.
//!
//! # Wire format
//!
//! Lines of text:
//!
//! ```text
//! $SLUident,type,number,value,value,...*XX CR LF
//! ```
//!
//! The ident is the unit's six hexadecimal digits or its IMEI; XX is the sum of all bytes between
//! `$` and `*`, modulo 256.
//!
//! | type | values |
//! |---|---|
//! | 01 | wake-up: versions of the unit and of the protocol |
//! | 03 | a parameter: its number, its value |
//! | 06 | an event report |
//! | others | kept by their place |
//!
//! The values of an event report are those of the unit's own list (its parameter 0177), which a
//! device's setting `format` repeats. Where it is not set:
//!
//! ```text
//! #EDT#,#EID#,#PDT#,#LAT#,#LONG#,#SPD#,#HEAD#,#ODO#,#IN1#,#IN2#,#IN3#,#IN4#,
//! #OUT1#,#OUT2#,#OUT3#,#OUT4#,#LAC#,#CID#,#VIN#,#VBAT#,#DEST#,#IGN#,#ENG#
//! ```
//!
//! | tag | value |
//! |---|---|
//! | EDT, PDT | time of the event, of the fix: YYMMDDHHMMSS |
//! | EID, EDSC | event, its name |
//! | LAT, LONG | `+DDMM.MMMM`, `+DDDMM.MMMM` |
//! | SPD, SPDK, HEAD, ALT, ALTD | knots, km/h, degrees, metres |
//! | ODO, ODOD | km |
//! | VIN, VBAT, V2, V3, V4 | supply, battery, battery, analog inputs: volts |
//! | IN1.., OUT1.., OUTA.. | inputs and outputs (A is 1) |
//! | LAC, CID, NC, CSS, CTA | the cell; MCC and MNC; -dBm; timing advance |
//! | TVn, THn, TSn, TIn | sensor n: celsius, percentage, state, id |
//! | TDn | a sensor as base64 of a protobuf message |
//!
//! Values behind the list belong to the event. The last one that is not zeros is the key of
//! event 20.
//!
//! # Session
//!
//! Every line names its device. Nothing is answered.
//!
//! # Source
//!
//! ERM: StarLink communication protocol (its tags by the message definition in public code), flespi's
//! page on the protocol, captures. The document was not at hand as a whole.
//!
//! # Quirks
//!
//! - A unit that names itself by its six digits may give its IMEI among the values; a device may
//!   be registered under either.
//! - The wire does not say whether the fix is good: a place that is given counts as valid, with the time of its fix.
//! - A tag that is not in the table is kept under its own name; IND stands beside IN2 and is another input.
//! - Durations (DUR, TDUR, IDL, STP) come in a unit that is not told, and are kept as they are.

mod sensor;

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Instance, Login, Model, ParamId, Probe, RecordBuilder,
    Reject, Setting, Time, fields,
};
use crate::kit::parse::{self, float, number};
use crate::kit::{checksum, framing, luhn, time, units};
use smallvec::SmallVec;
use std::borrow::Cow;

const FIELDS_MAX: usize = 256;
const IMEI_DIGITS: usize = 15;
const EVENT_REPORT: u32 = 6;
const KEY_EVENT: u32 = 20;

const FORMAT: &str = "#EDT#,#EID#,#PDT#,#LAT#,#LONG#,#SPD#,#HEAD#,#ODO#,#IN1#,#IN2#,#IN3#,#IN4#,\
    #OUT1#,#OUT2#,#OUT3#,#OUT4#,#LAC#,#CID#,#VIN#,#VBAT#,#DEST#,#IGN#,#ENG#";

type Fields<'f> = SmallVec<[&'f str; 48]>;

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "ERM",
        name,
    }
}

/// There is no state.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "starlink",
        title: "ERM StarLink",
        source: "ERM: StarLink communication protocol",
        port: 5136,
        acks: Acks::None,
        settings: &[Setting::Format, Setting::TimeZone],
        models: &[model(1, "StarLink Tracker"), model(2, "StarLink PnP")],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        Ok(framing::line(input, scanned, eof))
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let short = Reject::new("text", "cut short", frame.len());
        let line = framing::trim_line(frame);
        let line = std::str::from_utf8(line)
            .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
        let (text, sum) = line.rsplit_once('*').ok_or(short)?;
        let text = text.get(1..).ok_or(short)?;
        if u8::from_str_radix(sum, 16) != Ok(checksum::sum(text.as_bytes())) {
            return Err(Reject::new("checksum", "does not fit", text.len()));
        }
        let body = text
            .strip_prefix("SLU")
            .ok_or(Reject::new("text", "not of a unit", 1))?;
        let parts: Fields<'_> = parse::splitn(FIELDS_MAX, body, b',').collect();
        let [ident, kind, serial, ref values @ ..] = *parts.as_slice() else {
            return Err(short);
        };
        let imei = values.iter().copied().find(|value| is_imei(value));
        let imei = imei.filter(|_| ident.len() < IMEI_DIGITS);
        let settings = cx.identify(Login {
            ident,
            alternates: imei.as_slice(),
            secret: None,
        })?;
        if number::<u32>(kind) == Some(EVENT_REPORT) {
            let format = settings.format.clone();
            report(format.as_deref().unwrap_or(FORMAT), serial, values, cx)
        } else {
            others(kind, serial, values, cx)
        }
    }

    fn ident(text: &str) -> Cow<'_, str> {
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            Cow::Owned(text.to_ascii_uppercase())
        } else {
            Cow::Borrowed(text)
        }
    }

    fn probe(head: &[u8]) -> Probe {
        const MARK: &[u8] = b"$SLU";
        if head.starts_with(MARK) {
            Probe::Yes
        } else if MARK.starts_with(head) {
            Probe::More
        } else {
            Probe::No
        }
    }
}

/// Fifteen digits of which the last completes the others.
fn is_imei(text: &str) -> bool {
    text.len() == IMEI_DIGITS
        && text
            .split_at_checked(IMEI_DIGITS - 1)
            .is_some_and(|(digits, last)| luhn::check_digit(digits) == last.chars().next())
}

fn others(kind: &str, serial: &str, values: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, kind);
    message.push_some(fields::FRAME_SEQNUM, number::<u32>(serial));
    let rest = match (number::<u32>(kind), values) {
        (Some(1), [unit, protocol, rest @ ..]) => {
            message.push(fields::DEVICE_FIRMWARE_VERSION, *unit);
            message.push(fields::PROTOCOL_VERSION, *protocol);
            rest
        }
        (Some(3), [parameter, _, ..]) => {
            let text = values.join(",");
            message.push_some(fields::COMMAND_ID, number::<u32>(parameter));
            message.push(fields::COMMAND_RESULT, &*text);
            drop(message);
            cx.command_reply(None, &text);
            return Ok(());
        }
        (_, rest) => rest,
    };
    let first = u32::try_from(values.len() - rest.len()).unwrap_or(0) + 1;
    for (place, value) in (first..).zip(rest) {
        if !value.is_empty() {
            message.wire(place, *value);
        }
    }
    Ok(())
}

/// What stands between the marks of a tag.
fn tags(format: &str) -> impl Iterator<Item = &str> {
    format
        .split(',')
        .map(|tag| tag.trim().trim_matches('#'))
        .take(FIELDS_MAX)
}

fn report(format: &str, serial: &str, values: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    let names: Fields<'_> = tags(format).collect();
    let value_of = |tag: &str| {
        let at = names.iter().position(|other| *other == tag)?;
        values.get(at).copied().filter(|value| !value.is_empty())
    };
    let clock = |tag: &str, cx: &Context<'_>| {
        let civil = time::digits(value_of(tag)?, "ymdHMS");
        Some(civil.and_then(|civil| civil.ms(cx.settings())))
    };
    let fix_ms = clock("PDT", cx).flatten();
    let ident = cx.ident().cloned();
    let own = match clock("EDT", cx) {
        Some(ms) => time::or_impossible(ms, cx.now_ms),
        None => fix_ms.map_or(Time::Received(cx.now_ms), Time::Device),
    };
    let mut message = cx.message(own)?;
    message.push(fields::MESSAGE_TYPE, "06");
    message.push_some(fields::FRAME_SEQNUM, number::<u32>(serial));
    let place = value_of("LAT")
        .and_then(coordinate)
        .zip(value_of("LONG").and_then(coordinate))
        .filter(|(lat, lon)| lat.abs() <= 90.0 && (*lat != 0.0 || *lon != 0.0));
    message.push(fields::POSITION_VALID, place.is_some());
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    if let Some(ms) = fix_ms.filter(|ms| *ms != own.ms()) {
        message.push(fields::POSITION_TIMESTAMP, units::scaled(ms, 3));
    }
    let mut count = 0;
    for (tag, value) in names.iter().copied().zip(values) {
        count += 1;
        let value = value.trim();
        if value.is_empty() || matches!(tag, "EDT" | "PDT" | "LAT" | "LONG") {
            continue;
        }
        if tag == "IMEI" && is_imei(value) {
            if ident.as_ref().is_none_or(|ident| ident.as_str() != value) {
                message.push(fields::DEVICE_IMEI, value);
            }
        } else if push(tag, value, &mut message).is_none() {
            push_unknown(tag, value, &mut message);
        }
    }
    let rest = values.get(count..).unwrap_or_default();
    let first = u32::try_from(count).unwrap_or(0) + 1;
    for (place, value) in (first..).zip(rest) {
        if !value.is_empty() {
            message.wire(place, *value);
        }
    }
    if value_of("EID").and_then(number) == Some(KEY_EVENT) {
        let is_key = |value: &&&str| value.bytes().any(|digit| digit != b'0');
        message.push_some(fields::DRIVER_ID, rest.iter().rev().find(is_key).copied());
    }
    Ok(())
}

/// `+DDMM.MMMM` or `+DDDMM.MMMM`; the sign is that of the hemisphere.
fn coordinate(text: &str) -> Option<f64> {
    let (sign, digits) = text.trim().split_at_checked(1)?;
    let hemisphere = match sign {
        "+" => "N",
        "-" => "S",
        _ => return None,
    };
    parse::nmea_degrees(digits, hemisphere)
}

/// Adds the value of a known tag; `None` if it is not known, or not of the tag's form.
fn push(tag: &str, value: &str, message: &mut RecordBuilder<'_>) -> Option<()> {
    if push_fixed(tag, value, message).is_some() {
        return Some(());
    }
    let letters = tag.trim_end_matches(|c: char| c.is_ascii_digit());
    let number_of: Instance = tag.get(letters.len()..)?.parse().ok()?;
    let number_of = Some(number_of).filter(|number| *number > 0)?;
    match letters {
        "IN" => message.push((fields::DIN_N, number_of), is_on(value)?),
        "OUT" => message.push((fields::DOUT_N, number_of), is_on(value)?),
        "V" => message.push((fields::AIN_N, number_of), float(value)?),
        "TV" => message.push((fields::SENSOR_TEMPERATURE_N, number_of), float(value)?),
        "TH" => message.push((fields::SENSOR_HUMIDITY_N, number_of), float(value)?),
        "TS" => message.push((fields::SENSOR_STATUS_N, number_of), number::<i64>(value)?),
        "TI" => message.push((fields::SENSOR_ID_N, number_of), value),
        "TD" => sensor::push(value, message)?,
        _ => return None,
    }
    Some(())
}

fn is_on(value: &str) -> Option<bool> {
    number::<i64>(value).map(|number| number > 0)
}

/// Adds the value of a tag without a number.
fn push_fixed(tag: &str, value: &str, message: &mut RecordBuilder<'_>) -> Option<()> {
    let number_param: ParamId = match tag {
        "ALT" | "ALTD" => fields::POSITION_ALTITUDE,
        "HEAD" => fields::POSITION_DIRECTION,
        "SPDK" => fields::POSITION_SPEED,
        "SAT" | "SATN" => fields::GNSS_SATELLITES_VISIBLE,
        "SATU" => fields::POSITION_SATELLITES,
        "HDOP" => fields::POSITION_HDOP,
        "VDOP" => fields::POSITION_VDOP,
        "PDOP" => fields::POSITION_PDOP,
        "LOCA" => fields::POSITION_ACCURACY,
        "FIX" => fields::GNSS_STATE_ENUM,
        "ODO" | "ODOD" => fields::VEHICLE_MILEAGE,
        "VIN" => fields::EXTERNAL_POWERSOURCE_VOLTAGE,
        "VBAT" | "V2" => fields::BATTERY_VOLTAGE,
        "BATC" => fields::BATTERY_LEVEL,
        "BATH" => fields::BATTERY_HEALTH,
        "TVI" => fields::DEVICE_TEMPERATURE,
        "LAC" => fields::GSM_LAC,
        "CID" => fields::GSM_CELLID,
        "CTA" => fields::GSM_TIMING_ADVANCE,
        "RPM" => fields::ENGINE_RPM,
        _ => return push_other(tag, value, message),
    };
    message.push(number_param, float(value)?);
    Some(())
}

fn push_other(tag: &str, value: &str, message: &mut RecordBuilder<'_>) -> Option<()> {
    match tag {
        "EID" => push_event(number(value)?, message),
        "EDSC" => message.push(fields::EVENT_NAME, value),
        "SPD" => message.push(fields::POSITION_SPEED, units::knots(float(value)?)),
        "IGN" | "IGNL" => message.push(fields::ENGINE_IGNITION_STATUS, is_on(value)?),
        "ENG" => message.push(fields::ENGINE_RUNNING_STATUS, is_on(value)?),
        "IARM" => message.push(fields::ARM_STATUS, is_on(value)?),
        "JAM" => message.push(fields::GSM_JAMMING_ALARM_STATUS, is_on(value)?),
        "DID" | "DAL" => message.push(fields::DRIVER_ID, value),
        "LOCS" => message.push(fields::LOCATION_SOURCE, value),
        "CFL" => message.push((fields::FUEL_SENSOR_N, 1), float(value)?),
        "CFL2" => message.push((fields::FUEL_SENSOR_N, 2), float(value)?),
        // the size of a negative number
        "CSS" => {
            let dbm = number::<i64>(value)?.saturating_abs().saturating_neg();
            message.push(fields::GSM_SIGNAL_DBM, dbm);
        }
        "NC" => {
            let (mcc, mnc) = value.split_at_checked(3)?;
            message.push(fields::GSM_MCC, number::<u16>(mcc)?);
            message.push(fields::GSM_MNC, number::<u16>(mnc)?);
        }
        "OUTA" => message.push((fields::DOUT_N, 1), is_on(value)?),
        "OUTB" => message.push((fields::DOUT_N, 2), is_on(value)?),
        "OUTC" => message.push((fields::DOUT_N, 3), is_on(value)?),
        "OUTD" => message.push((fields::DOUT_N, 4), is_on(value)?),
        _ => return None,
    }
    Some(())
}

fn push_event(event: u32, message: &mut RecordBuilder<'_>) {
    message.push(fields::EVENT_ENUM, event);
    let trigger = match event {
        6 => fields::OVERSPEEDING_EVENT_TRIGGER,
        7 => fields::GEOFENCE_EVENT_ENTER,
        8 => fields::GEOFENCE_EVENT_EXIT,
        9 => fields::POWER_CUT_EVENT_TRIGGER,
        11 => fields::BATTERY_LOW_EVENT_TRIGGER,
        24 => fields::IGNITION_ON_EVENT_TRIGGER,
        25 => fields::IGNITION_OFF_EVENT_TRIGGER,
        26 => fields::TOWING_EVENT_TRIGGER,
        36 => fields::ALARM_EVENT_TRIGGER,
        41 => fields::CRASH_EVENT_TRIGGER,
        42 => fields::GSM_JAMMING_EVENT_TRIGGER,
        _ => return,
    };
    message.push(trigger, true);
    if matches!(event, 24 | 25) {
        message.push(fields::ENGINE_IGNITION_STATUS, event == 24);
    }
}

/// Keeps a value under its tag's own name.
fn push_unknown(tag: &str, value: &str, message: &mut RecordBuilder<'_>) {
    let name = tag.to_ascii_lowercase();
    match (number::<i64>(value), float(value)) {
        (Some(int), _) => message.name(&name, int),
        (None, Some(float)) => message.name(&name, float),
        (None, None) => message.name(&name, value),
    }
}
