//! EasyTrack: E3+4G and the older trackers whose frames begin with `*ET`.
//!
//! # Wire format
//!
//! Text: `*ET,IMEI,KIND,content#`, perhaps with CR LF behind; `ET` is the maker's mark.
//!
//! | KIND | content |
//! |---|---|
//! | HB, DW, CC, AM | a position: at an interval, asked for, kept, with an alarm |
//! | TX | `fix,date,time`: is the link alive? |
//! | MQ | nothing: is the link alive? |
//! | JZ | `wants an address,cell,LAC,MCC,MNC`: a cell where there is no fix |
//! | OB | `BD$V12.3;R754;...`: values of the vehicle by letters |
//! | others | the answer to a command |
//!
//! A position, all numbers hexadecimal unless it says otherwise:
//!
//! ```text
//! A|V,YYMMDD,HHMMSS,latitude,longitude,0.01 km/h,0.01 degrees,status,signal,battery,fuel,0.1 km[,metres
//!     [,digits,RFID,0.01 C,volts,satellites]]
//! ```
//!
//! Date and time are two hexadecimal digits a number. Of a coordinate the highest bit says south
//! or west, the lower 27 are 1/600000 degrees; a bit between them may be set. Battery, metres, volts
//! and satellites are decimal.
//! On the model `E3+4G` a serial number stands for fuel, and engine time in minutes for the RFID.
//!
//! | status bit | meaning |
//! |---|---|
//! | 0, 1 | harsh braking, harsh acceleration |
//! | 3, 28 | jamming |
//! | 8 | removed |
//! | 10, 16 | SOS |
//! | 14, 27 | supply low, battery low |
//! | 15 | temperature |
//! | 18 | supply cut; on `E3+4G` tampering |
//! | 19, 23 | engine blocked, ignition |
//! | 25, 26 | geofence entered, left |
//! | 29, 31 | vibration, too fast |
//!
//! # Session
//!
//! Every frame names its device. TX and MQ come back as they are. The model `E3+4G` waits for
//! `*ET,IMEI,KIND,ACK#` after its reports, others do not. A JZ that wants an address is told that
//! there is none (`undefined`).
//!
//! # Source
//!
//! EasyTrack: GPRS data protocol; public excerpts and captures. The document was not at hand as a
//! whole: what no capture in `fixtures/` shows wants a frame to prove it.
//!
//! # Quirks
//!
//! - There is no checksum.
//! - A course of 360 degrees or more says that there is none.
//! - What the battery counts differs: a percentage on new models, a step on old ones.

use crate::contract::{
    Acks, Command, CommandError, Context, Cut, Decode, Delivery, Fatal, Ident, Info, Login, Model,
    ParamId, Probe, RecordBuilder, Reject, Reply, Setting, Time, fields,
};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{float, number};
use crate::kit::{time, units};
use smallvec::SmallVec;

const FIELDS_MAX: usize = 64;
const COMMAND_BYTES_MAX: usize = 512;
const SHORT: Reject = Reject::new("text", "cut short", 0);
/// The model that has its reports acknowledged, and some fields of its own.
const E3_PLUS_4G: &str = "E3+4G";

/// The session state: whom a command is addressed to.
#[derive(Default)]
pub(crate) struct Decoder {
    ident: Option<Ident>,
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "easytrack",
        title: "EasyTrack",
        source: "EasyTrack: GPRS data protocol",
        port: 5056,
        version: 2,
        acks: Acks::Frame,
        settings: &[Setting::Model, Setting::TimeZone],
        models: &[Model {
            number: 1,
            vendor: "EasyTrack",
            name: E3_PLUS_4G,
        }],
        commands: &["custom"],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        let noise = input.iter().take_while(|byte| **byte != b'*').count();
        if noise > 0 {
            return Ok(Cut::Skip(noise));
        }
        let end = input
            .iter()
            .skip(scanned)
            .position(|byte| matches!(byte, b'#' | b'\r' | b'\n'));
        Ok(match end {
            Some(at) => Cut::Frame(scanned + at + 1),
            None if eof => Cut::Frame(input.len()),
            None => Cut::Need(input.len() + 1),
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let text = std::str::from_utf8(frame)
            .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
        let text = text.trim_end_matches(['#', '\r', '\n']);
        let body = text.strip_prefix('*').ok_or(SHORT)?;
        let parts: SmallVec<[&str; 24]> = body.splitn(FIELDS_MAX, ',').collect();
        let [_, ident, kind, ref content @ ..] = *parts.as_slice() else {
            return Err(SHORT);
        };
        if kind.len() != 2 || !kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Reject::new("kind", "not two letters", 0));
        }
        let is_4g = cx.identify(Login::of(ident))?.model_is(E3_PLUS_4G);
        match kind {
            "TX" | "MQ" => cx.reply(Reply::admitted(format!("{text}#"))),
            "JZ" => cell(content, cx)?,
            "OB" => vehicle(content, cx)?,
            _ if matches!(content, ["A" | "V", ..]) => position(kind, content, is_4g, cx)?,
            _ => others(kind, content, cx)?,
        }
        if is_4g && matches!(kind, "HB" | "CC" | "AM" | "DW" | "JZ") {
            let head = text.split_inclusive(',').take(3).map(str::len).sum();
            let head = text.get(..head).unwrap_or_default();
            cx.reply(Reply::stored(format!("{head}ACK#")));
        }
        if let ("JZ", [wanted, ..]) = (kind, content)
            && number::<u8>(wanted).is_some_and(|wanted| wanted > 0)
        {
            cx.reply(Reply::stored(format!("*ET,{ident},JZ,undefined#")));
        }
        self.ident = cx.ident().cloned();
        Ok(())
    }

    fn encode(
        &mut self,
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Delivery, CommandError> {
        if command.name != "custom" {
            return Err(CommandError::Unsupported);
        }
        let text = command
            .properties
            .get("payload")
            .and_then(serde_json::Value::as_str)
            .filter(|text| (1..=COMMAND_BYTES_MAX).contains(&text.len()) && !text.contains('#'))
            .ok_or(CommandError::BadProperties)?;
        let ident = self.ident.as_ref().ok_or(CommandError::NotLoggedIn)?;
        out.extend_from_slice(format!("*ET,{},{text}#", ident.as_str()).as_bytes());
        Ok(Delivery::Answered(None))
    }

    fn probe(head: &[u8]) -> Probe {
        const MARK: &[u8] = b"*ET,";
        if head.starts_with(MARK) {
            Probe::Yes
        } else if MARK.starts_with(head) {
            Probe::More
        } else {
            Probe::No
        }
    }
}

fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim(), 16).ok()
}

/// Six hexadecimal digits, two a number.
fn triple(text: &str) -> Option<[i64; 3]> {
    let raw = hexadecimal(text).filter(|_| text.len() == 6)?;
    let [_, a, b, c] = raw.to_be_bytes();
    Some([a, b, c].map(i64::from))
}

fn coordinate(text: &str) -> Option<f64> {
    let raw = hexadecimal(text).filter(|_| text.len() == 8)?;
    let degrees = units::round(f64::from(raw & 0x07ff_ffff) / 600_000.0, 7);
    Some(if raw >> 31 == 0 { degrees } else { -degrees })
}

/// Behind the place, speed to odometer; one that ends early is read as far as it goes.
const KNOWN_FIELDS: usize = 7;

fn position(kind: &str, content: &[&str], is_4g: bool, cx: &mut Context<'_>) -> Result<(), Reject> {
    let [fix, date, clock, lat, lon, ref rest @ ..] = *content else {
        return Err(Reject::new("position", "its fields do not fit", 0));
    };
    let (known, rest) = rest.split_at_checked(KNOWN_FIELDS).unwrap_or((rest, &[]));
    let at = |index: usize| known.get(index).copied().unwrap_or_default();
    let [speed, course, status, signal, battery, fuel, odometer] = [0, 1, 2, 3, 4, 5, 6].map(at);
    let civil = triple(date)
        .zip(triple(clock))
        .map(|([y, m, d], [h, min, s])| time::two_digit(y, m, d, h, min, s));
    let ms = civil.and_then(|civil| civil.ms(cx.settings()));
    let mut message = cx.message(time::or_impossible(ms, cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, kind);
    let place = coordinate(lat)
        .zip(coordinate(lon))
        .filter(|(lat, lon)| lat.abs() <= 90.0 && lon.abs() <= 180.0)
        .filter(|place| *place != (0.0, 0.0));
    message.push(fields::POSITION_VALID, fix == "A" && place.is_some());
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    let hundredths = |text: &str| hexadecimal(text).map(|raw| units::scaled(raw.into(), 2));
    message.push_some(fields::POSITION_SPEED, hundredths(speed));
    let course = hundredths(course).filter(|course| *course < 360.0);
    message.push_some(fields::POSITION_DIRECTION, course);
    if let Some(status) = hexadecimal(status) {
        push_status(status, is_4g, &mut message);
    }
    message.push_some(fields::GSM_SIGNAL_ENUM, hexadecimal(signal));
    message.push_some(fields::BATTERY_LEVEL, number::<u16>(battery));
    let fuel = hexadecimal(fuel);
    if is_4g {
        message.push_some(fields::FRAME_SEQNUM, fuel);
    } else {
        message.push_some((fields::FUEL_SENSOR_N, 1), fuel);
    }
    let odometer = hexadecimal(odometer).map(|raw| units::scaled(raw.into(), 1));
    message.push_some(fields::VEHICLE_MILEAGE, odometer);
    let rest = match *rest {
        [altitude, ref rest @ ..] => {
            message.push_some(fields::POSITION_ALTITUDE, float(altitude));
            rest
        }
        [] => rest,
    };
    match *rest {
        [digits, key, celsius, volts, satellites, ref rest @ ..] => {
            message.name("gps.data", digits);
            if is_4g {
                let hours = hexadecimal(key).map(|minutes| f64::from(minutes) / 60.0);
                message.push_some(fields::ENGINE_MOTORHOURS, hours.map(|h| units::round(h, 3)));
            } else if key.bytes().any(|digit| digit != b'0') {
                message.push(fields::RFID_CODE, key);
            }
            // of sixteen bits, in two's complement
            let celsius = hexadecimal(celsius).and_then(|raw| u16::try_from(raw).ok());
            let celsius = celsius.map(|raw| units::scaled(raw.cast_signed().into(), 2));
            message.push_some((fields::SENSOR_TEMPERATURE_N, 1), celsius);
            message.push_some((fields::AIN_N, 1), float(volts));
            message.push_some(fields::POSITION_SATELLITES, number::<u16>(satellites));
            push_rest(19, rest, &mut message);
        }
        ref few => push_rest(14, few, &mut message),
    }
    Ok(())
}

/// Adds what stands behind the known fields, under its place in the frame.
fn push_rest(first: u32, rest: &[&str], message: &mut RecordBuilder<'_>) {
    for (place, value) in (first..).zip(rest) {
        if !value.is_empty() {
            message.wire(place, *value);
        }
    }
}

fn push_status(status: u32, is_4g: bool, message: &mut RecordBuilder<'_>) {
    const ALARMS: &[(u32, ParamId)] = &[
        (0x0000_0001, fields::HARSH_BRAKING_EVENT_TRIGGER),
        (0x0000_0002, fields::HARSH_ACCELERATION_EVENT_TRIGGER),
        (0x1000_0008, fields::GSM_JAMMING_EVENT_TRIGGER),
        (0x0000_0100, fields::TAMPERING_EVENT_TRIGGER),
        (0x0001_0400, fields::ALARM_EVENT_TRIGGER),
        (0x0000_4000, fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER),
        (0x0000_8000, fields::TEMPERATURE_EVENT_TRIGGER),
        (0x0200_0000, fields::GEOFENCE_EVENT_ENTER),
        (0x0400_0000, fields::GEOFENCE_EVENT_EXIT),
        (0x0800_0000, fields::BATTERY_LOW_EVENT_TRIGGER),
        (0x2000_0000, fields::VIBRATION_EVENT_TRIGGER),
        (0x8000_0000, fields::OVERSPEEDING_EVENT_TRIGGER),
    ];
    message.push(fields::STATUS_BITMASK, status);
    message.push(fields::ENGINE_BLOCKED_STATUS, status & 0x0008_0000 != 0);
    message.push(fields::ENGINE_IGNITION_STATUS, status & 0x0080_0000 != 0);
    for (bits, alarm) in ALARMS {
        if status & bits != 0 {
            message.push(*alarm, true);
        }
    }
    if status & 0x0004_0000 != 0 {
        let alarm = if is_4g {
            fields::TAMPERING_EVENT_TRIGGER
        } else {
            fields::POWER_CUT_EVENT_TRIGGER
        };
        message.push(alarm, true);
    }
}

fn cell(content: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    let [_, id, lac, mcc, mnc, ref rest @ ..] = *content else {
        return Err(Reject::new("cell", "its fields do not fit", 0));
    };
    let cell = Cell {
        mcc: number(mcc),
        mnc: number(mnc),
        lac: number(lac),
        id: number(id),
        dbm: None,
    };
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "JZ");
    cells::push(&mut message, 0, cell);
    push_rest(6, rest, &mut message);
    Ok(())
}

/// Values by a letter, each ended by a semicolon.
fn vehicle(content: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "OB");
    let values = content.iter().flat_map(|part| part.split(';'));
    for value in values.take(FIELDS_MAX) {
        let value = value.trim();
        let value = value.strip_prefix("BD$").unwrap_or(value);
        let letters = value.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (key, value) = value.split_at_checked(letters).unwrap_or((value, ""));
        let known = match key {
            "V" => fields::CAN_BATTERY_VOLTAGE,
            "R" => fields::CAN_ENGINE_RPM,
            "S" => fields::CAN_VEHICLE_SPEED,
            "P" => fields::CAN_THROTTLE_LEVEL,
            "O" => fields::CAN_ENGINE_LOAD_LEVEL,
            "C" => fields::CAN_ENGINE_COOLANT_TEMPERATURE,
            "L" => fields::CAN_FUEL_LEVEL,
            "" => continue,
            // trip values whose units are not told
            _ => {
                let name = format!("obd.{}", key.to_ascii_lowercase());
                match float(value) {
                    Some(float) => message.name(&name, float),
                    None => message.name(&name, value),
                }
                continue;
            }
        };
        message.push_some(known, float(value));
    }
    Ok(())
}

/// The answer to a command, or what is not known.
fn others(kind: &str, content: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    let text = content.join(",");
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, kind);
    message.push(fields::COMMAND_RESULT, &*text);
    drop(message);
    cx.command_reply(None, &text);
    Ok(())
}
