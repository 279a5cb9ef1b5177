//! TRV and IW: cars' and people's trackers and watches of several Shenzhen makers.
//!
//! # Wire format
//!
//! `MAKER KIND content #` without blanks: MAKER is `TRV` or `IW`, KIND four letters and digits.
//!
//! | KIND | content |
//! |---|---|
//! | AP00 | IMEI, perhaps `,IMSI,...`: login |
//! | AP01, YP03, YP14 | a position |
//! | AP10 | a position, then `,alarm,language,wants an answer` |
//! | AP03, CP01 | `,status` and in AP03 steps and turnovers: heartbeat |
//! | AP02 | `,language,answer,count,MCC,MNC,LAC\|cell\|signal,...,count,access points` |
//! | APHT, APHP, AP49, AP50 | pulse, blood pressure, oxygen, temperature |
//! | others | the answer to a command |
//!
//! ```text
//! YYMMDD A DDMM.MMMM N DDDMM.MMMM E km/h(5) HHMMSS course(6) status,MCC,MNC,LAC,cell[,access points]
//! status: signal(3) satellites(3) battery(3) ignition(1: 1 on, 2 off) armed(2: 01 yes, 00 unknown) mode(2) more
//! more, in CP01: settings(12) blocked(1: 2 yes, 1 no) charging(1: 1 yes, 2 no) moving(1: 1 yes, 2 no)
//! access points: name|mac|signal&...
//! ```
//!
//! # Session
//!
//! Only the login names the device. It is answered `BP00`, for IW with the server's clock; every other report
//! with its own kind, whose first letter is the next in the alphabet: AP01 by BP01, YP14 by ZP14.
//! TRV's AP14 asks where it is. Answers to commands, which repeat a serial number of six digits, are not
//! answered.
//!
//! # Source
//!
//! "TRV GPS tracker communication protocol" and "IW GPS watch protocol"; captures.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.
//!
//! # Quirks
//!
//! - There is no checksum. Numbers stand at fixed places without separators.
//! - A signal of an access point is given with or without its sign; it is always negative.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, Probe, RecordBuilder, Reject, Reply,
    Setting, Time, fields,
};
use crate::kit::cells::{self, Cell};
use crate::kit::framing;
use crate::kit::parse::{float, nmea_degrees, number};
use crate::kit::time::{self, Civil};
use smallvec::SmallVec;

const FIELDS_MAX: usize = 64;
/// What a car's terminal adds to its status in a heartbeat.
const SETTINGS_DIGITS: usize = 15;
const SHORT: Reject = Reject::new("text", "cut short", 0);

type Fields<'f> = SmallVec<[&'f str; 16]>;

/// There is no state.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "trv",
        title: "TRV and IW watches",
        source: "TRV GPS tracker communication protocol; IW GPS watch protocol",
        port: 5010,
        version: 2,
        acks: Acks::Frame,
        settings: &[Setting::TimeZone],
        models: &[
            Model {
                number: 1,
                vendor: "TRV",
                name: "TR40",
            },
            Model {
                number: 2,
                vendor: "Thinkrace",
                name: "PT30",
            },
            Model {
                number: 3,
                vendor: "Thinkrace",
                name: "TR02",
            },
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        let noise = input
            .iter()
            .take_while(|byte| !byte.is_ascii_alphanumeric())
            .count();
        Ok(if noise > 0 {
            Cut::Skip(noise)
        } else {
            framing::until(input, scanned, eof, b"#")
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let text = std::str::from_utf8(frame)
            .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
        let text = text.strip_suffix('#').ok_or(SHORT)?;
        let maker = if text.starts_with("TRV") { "TRV" } else { "IW" };
        let rest = text
            .strip_prefix(maker)
            .ok_or(Reject::new("text", "of neither maker", 0))?;
        let (kind, content) = rest.split_at_checked(4).ok_or(SHORT)?;
        if kind == "AP00" {
            let ident = content.trim_start_matches(',');
            let ident = ident.split(',').next().unwrap_or_default();
            cx.identify(Login::of(ident))?;
            cx.reply(Reply::admitted(if maker == "IW" {
                format!("IWBP00,{},0#", Civil::at(cx.now_ms).compact())
            } else {
                "TRVBP00#".to_owned()
            }));
            return Ok(());
        }
        let body = content.strip_prefix(',').unwrap_or(content);
        if is_position(body) {
            position(kind, body, cx)?;
        } else {
            match kind {
                "AP03" | "CP01" => heartbeat(kind, body, cx)?,
                "AP02" => network(body, cx)?,
                "APHT" | "APHP" | "AP49" | "AP50" => health(kind, body, cx)?,
                _ if is_confirmation(body) => return confirmation(kind, body, cx),
                _ => said(kind, body, cx)?,
            }
        }
        let mut reply = String::with_capacity(maker.len() + kind.len() + 1);
        reply.push_str(maker);
        let mut letters = kind.bytes();
        let first = letters.next().unwrap_or_default().wrapping_add(1);
        reply.push(char::from(first));
        reply.push_str(kind.get(1..).unwrap_or_default());
        if kind == "AP14" && maker == "TRV" {
            // the terminal asks where it is: not known
            reply.push_str(",0.000,0.000");
        }
        reply.push('#');
        cx.reply(Reply::stored(reply));
        Ok(())
    }

    fn probe(head: &[u8]) -> Probe {
        for start in [&b"TRVAP00"[..], &b"TRVYP"[..], &b"TRVCP"[..], &b"IWAP"[..]] {
            if head.starts_with(start) {
                return Probe::Yes;
            }
            if start.starts_with(head) {
                return Probe::More;
            }
        }
        Probe::No
    }
}

/// Six digits of a date and the letter of validity.
fn is_position(body: &str) -> bool {
    let bytes = body.as_bytes();
    bytes.iter().take(6).filter(|b| b.is_ascii_digit()).count() == 6
        && matches!(bytes.get(6), Some(b'A' | b'V'))
}

fn split<'t>(text: &mut &'t str, at: usize) -> Option<&'t str> {
    let (taken, rest) = text.split_at_checked(at)?;
    *text = rest;
    Some(taken)
}

/// The date, and what of the position stands without separators.
struct Head<'t> {
    time: Option<Civil>,
    valid: bool,
    place: Option<(f64, f64)>,
    speed: Option<f64>,
    course: Option<f64>,
    status: &'t str,
}

fn head(mut text: &str) -> Option<Head<'_>> {
    let text = &mut text;
    let date = time::digits(split(text, 6)?, "ymd");
    let valid = split(text, 1)? == "A";
    let mut coordinate = |marks: [char; 2]| {
        let end = text.find(marks)?;
        Some((split(text, end)?, split(text, 1)?))
    };
    let (lat, ns) = coordinate(['N', 'S'])?;
    let (lon, ew) = coordinate(['E', 'W'])?;
    let point = text.find('.')?;
    let speed = float(split(text, point + 2)?);
    let clock = time::digits(split(text, 6)?, "HMS");
    let course = float(split(text, 6)?);
    let time = date.zip(clock).map(|(date, clock)| date.at_clock(clock));
    let place = nmea_degrees(lat, ns).zip(nmea_degrees(lon, ew));
    Some(Head {
        time,
        valid,
        place: place.filter(|place| *place != (0.0, 0.0)),
        speed,
        course: course.filter(|course| (0.0..=360.0).contains(course)),
        status: text,
    })
}

fn position(kind: &str, body: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut parts = body.split(',').take(FIELDS_MAX);
    let head = head(parts.next().unwrap_or_default());
    let head = head.ok_or(Reject::new("position", "its fields do not fit", 0))?;
    let ms = head.time.and_then(|civil| civil.ms(cx.settings()));
    let mut message = cx.message(time::or_impossible(ms, cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, kind);
    message.push(fields::POSITION_VALID, head.valid && head.place.is_some());
    if let Some((latitude, longitude)) = head.place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
        message.push_some(fields::POSITION_SPEED, head.speed);
        message.push_some(fields::POSITION_DIRECTION, head.course);
    }
    push_status(&mut message, head.status);
    let rest: Fields<'_> = parts.collect();
    let rest = match *rest.as_slice() {
        [mcc, mnc, lac, id, ref rest @ ..] => {
            let cell = Cell {
                mcc: number(mcc),
                mnc: number(mnc),
                lac: number(lac),
                id: number(id),
                dbm: None,
            };
            cells::push(&mut message, 0, cell);
            rest
        }
        ref rest => rest,
    };
    let rest = match *rest {
        [alarm, language, wanted, ref rest @ ..] if kind == "AP10" => {
            push_alarm(&mut message, alarm);
            message.name("language", language);
            message.name("answer.wanted", wanted);
            rest
        }
        ref rest => rest,
    };
    for (number, value) in (1..).zip(rest) {
        if value.contains('|') {
            push_points(&mut message, value);
        } else if !value.is_empty() {
            message.wire(number, *value);
        }
    }
    Ok(())
}

fn push_alarm(message: &mut RecordBuilder<'_>, alarm: &str) {
    let Some(code) = number::<u8>(alarm) else {
        return;
    };
    if code != 0 {
        message.push(fields::ALARM_CODE, code);
    }
    match code {
        1 => message.push(fields::ALARM_EVENT_TRIGGER, true),
        2 => message.push(fields::BATTERY_LOW_EVENT_TRIGGER, true),
        _ => {}
    }
}

/// The status of a position or of a heartbeat; each part may be missing from the end.
fn push_status(message: &mut RecordBuilder<'_>, mut text: &str) {
    let text = &mut text;
    let mut part = |digits: usize| split(text, digits).and_then(number::<u8>);
    message.push_some(fields::GSM_SIGNAL_LEVEL, part(3));
    message.push_some(fields::POSITION_SATELLITES, part(3));
    message.push_some(fields::BATTERY_LEVEL, part(3));
    if let Some(ignition @ 1..) = part(1) {
        message.push(fields::ENGINE_IGNITION_STATUS, ignition == 1);
    }
    if let Some(armed @ 1..) = part(2) {
        message.push(fields::ARM_STATUS, armed == 1);
    }
    if let Some(mode @ 1..) = part(2) {
        message.name("working.mode", mode);
    }
    if text.len() == SETTINGS_DIGITS {
        // interval, vibration alarm, its sensitivity, arming by itself and after how long
        let settings = split(text, 12).unwrap_or_default();
        message.name("settings", settings);
        let mut is = |yes: u8| {
            let digit = split(text, 1).and_then(number::<u8>)?;
            (digit != 0).then_some(digit == yes)
        };
        message.push_some(fields::ENGINE_BLOCKED_STATUS, is(2));
        message.push_some(fields::BATTERY_CHARGING_STATUS, is(1));
        message.push_some(fields::MOVEMENT_STATUS, is(1));
    }
    if !text.is_empty() {
        message.name("status", &**text);
    }
}

fn push_points(message: &mut RecordBuilder<'_>, text: &str) {
    for (number_of, point) in (1u16..).zip(text.split('&').take(FIELDS_MAX)) {
        let mut parts = point.rsplitn(3, '|');
        let signal = parts.next().and_then(number::<i64>);
        let mac = parts.next().unwrap_or_default();
        let name = parts.next().unwrap_or_default().trim();
        if !name.is_empty() {
            message.push((fields::WIFI_SSID_N, number_of), name);
        }
        if mac.len() == 17 {
            let mut address = [b':'; 17];
            for (to, from) in address.iter_mut().zip(mac.bytes()) {
                if from != b'-' {
                    *to = from.to_ascii_lowercase();
                }
            }
            let address = std::str::from_utf8(&address).unwrap_or(mac);
            message.push((fields::WIFI_MAC_N, number_of), address);
        }
        let dbm = signal.map(|signal| signal.saturating_abs().saturating_neg());
        message.push_some((fields::WIFI_SIGNAL_DBM_N, number_of), dbm);
    }
}

fn heartbeat(kind: &str, body: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut parts = body.split(',').take(FIELDS_MAX);
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, kind);
    push_status(&mut message, parts.next().unwrap_or_default());
    message.push_some(fields::STEP_COUNT, parts.next().and_then(number::<u32>));
    if let Some(turnovers) = parts.next().and_then(number::<u32>) {
        message.name("turnovers", turnovers);
    }
    for (number, value) in (1..).zip(parts) {
        message.wire(number, value);
    }
    Ok(())
}

/// Cells and access points where there is no fix.
fn network(body: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let parts: Fields<'_> = body.split(',').take(FIELDS_MAX).collect();
    let [language, wanted, _, mcc, mnc, ref rest @ ..] = *parts.as_slice() else {
        return Err(SHORT);
    };
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "AP02");
    message.name("language", language);
    message.name("answer.wanted", wanted);
    let mut cell_number = 0;
    for value in rest {
        let mut items = value.split('|');
        let three = (items.next(), items.next(), items.next());
        let numbers = match three {
            (Some(lac), Some(id), Some(_)) => number(lac).zip(number(id)),
            _ => None,
        };
        if let Some((lac, id)) = numbers {
            let cell = Cell {
                mcc: number(mcc),
                mnc: number(mnc),
                lac: Some(lac),
                id: Some(id),
                dbm: None,
            };
            cells::push(&mut message, cell_number, cell);
            let signal = three.2.and_then(number::<i64>);
            let key = if cell_number == 0 {
                fields::GSM_SIGNAL_ENUM
            } else {
                fields::GSM_SIGNAL_ENUM_N
            };
            message.push_some((key, cell_number), signal);
            cell_number += 1;
        } else if three.2.is_some() {
            push_points(&mut message, value);
        }
    }
    Ok(())
}

fn health(kind: &str, body: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let params: &[_] = match kind {
        "AP50" => &[fields::BODY_TEMPERATURE, fields::BATTERY_LEVEL],
        _ => &[
            fields::HEART_RATE,
            fields::BLOOD_PRESSURE_SYSTOLIC,
            fields::BLOOD_PRESSURE_DIASTOLIC,
            fields::BLOOD_OXYGEN_LEVEL,
        ],
    };
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, kind);
    for (at, value) in body.split(',').take(FIELDS_MAX).enumerate() {
        match (params.get(at), float(value)) {
            (Some(param), Some(value)) => message.push(*param, value),
            (None, Some(value)) => message.wire(u32::try_from(at + 1).unwrap_or(0), value),
            (_, None) => {}
        }
    }
    Ok(())
}

/// Does it begin with the serial number of a command, six digits?
fn is_confirmation(body: &str) -> bool {
    let first = body.split(',').next().unwrap_or_default();
    first.len() == 6 && first.bytes().all(|byte| byte.is_ascii_digit())
}

/// The answer to a command.
fn confirmation(kind: &str, body: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    said(kind, body, cx)?;
    cx.command_reply(None, body);
    Ok(())
}

/// What the device says in a kind that is not understood.
fn said(kind: &str, body: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, kind);
    if !body.is_empty() {
        message.push(fields::COMMAND_RESULT, body);
    }
    Ok(())
}
