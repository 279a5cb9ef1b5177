//! Heartbeats, values of the vehicle, answers to instructions.

use super::parts::{SHORT, begin, push_left, push_status, seconds};
use crate::contract::{Context, Reject, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::parse::float;
use crate::kit::time::digits;
use crate::kit::{obd, time};

pub(super) fn heartbeat(
    kind: u8,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let status = cursor.u16().ok_or(SHORT)?;
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, &*format!("{kind:02x}"));
    push_status(&mut message, status, false);
    let mut wire = 0;
    while let Some(value) = cursor.u16() {
        message.wire(wire, i64::from(value));
        wire += 1;
    }
    Ok(())
}

pub(super) fn vehicle(
    kind: u8,
    number: u16,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let time = seconds(cursor, cx.now_ms).ok_or(SHORT)?;
    let mut message = begin(kind, number, time, cx)?;
    while let (Some(id), Some(value)) = (cursor.u8(), cursor.array::<4>()) {
        let raw = u32::from_be_bytes(value);
        match id {
            0x89 => message.push(fields::FUEL_CONSUMPTION, raw),
            0x8a => message.push(fields::CAN_VEHICLE_MILEAGE, f64::from(raw) / 1000.0),
            0x8b => message.push(fields::FUEL_VOLUME, raw),
            _ if raw != u32::MAX && obd::push(&mut message, u16::from(id), &value) => {}
            _ => message.wire(u32::from(id), i64::from(raw)),
        }
    }
    push_left(&mut message, cursor);
    Ok(())
}

/// The device's answer to an instruction.
pub(super) fn instruction(
    kind: u8,
    number: u16,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let (what, flag) = (cursor.u8().ok_or(SHORT)?, cursor.u32().ok_or(SHORT)?);
    let text = String::from_utf8_lossy(cursor.rest());
    let text = text.trim_matches('\0');
    cx.command_reply(Some(flag), text);
    let place = Place::of(text);
    let time = place.as_ref().map_or(Time::Received(cx.now_ms), |place| {
        time::or_impossible(place.ms, cx.now_ms)
    });
    let mut message = begin(kind, number, time, cx)?;
    if let Some(place) = place {
        message.push(fields::POSITION_VALID, true);
        message.push(fields::POSITION_LATITUDE, place.latitude);
        message.push(fields::POSITION_LONGITUDE, place.longitude);
        message.push_some(fields::POSITION_DIRECTION, place.course);
        message.push_some(fields::POSITION_SPEED, place.speed);
    }
    message.push(fields::COMMAND_TYPE, &*format!("{what:02x}"));
    message.push(fields::COMMAND_RESULT, text);
    Ok(())
}

/// A place as the answer to a question for it says it.
struct Place {
    latitude: f64,
    longitude: f64,
    course: Option<f64>,
    speed: Option<f64>,
    ms: Option<i64>,
}

impl Place {
    /// `Lat:N22.5,Lon:E113.9,Course:0.0,Speed:0.0,DateTime:2017-06-02 03:16:45`
    fn of(text: &str) -> Option<Self> {
        let behind = |name: &str| {
            let (_, rest) = text.split_once(name)?;
            Some(rest.trim_start())
        };
        let degrees = |name: &str, limit: f64| {
            let rest = behind(name)?;
            let (hemisphere, rest) = rest.split_at_checked(1)?;
            let size = float(number_of(rest)).filter(|size| *size <= limit)?;
            match hemisphere {
                "N" | "E" => Some(size),
                "S" | "W" => Some(-size),
                _ => None,
            }
        };
        let clock = behind("DateTime:").or_else(|| behind("Date Time:"));
        let ms = clock.and_then(|clock| {
            let kept: String = clock
                .get(2..19)?
                .chars()
                .filter(char::is_ascii_digit)
                .collect();
            digits(&kept, "ymdHMS")?.utc_ms()
        });
        Some(Self {
            latitude: degrees("Lat:", 90.0)?,
            longitude: degrees("Lon:", 180.0)?,
            course: behind("Course:").and_then(|text| float(number_of(text))),
            speed: behind("Speed:").and_then(|text| float(number_of(text))),
            ms,
        })
    }
}

/// The number that a text begins with.
fn number_of(text: &str) -> &str {
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}
