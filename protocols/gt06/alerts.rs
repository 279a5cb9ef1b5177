//! Kinds with a position and the terminal's status: alarms, mostly.

use super::make::Make;
use super::parts::{self, CellForm, Fix, SHORT};
use super::wire::Frame;
use super::{alarms, places};
use crate::contract::{Context, RecordBuilder, Reject, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{bcd, hex, units};

/// Status, battery, signal, alarm, language.
const STATUS_BYTES: usize = 5;
/// A card's number behind the status (VL103).
const CARD_BYTES: usize = 8;
/// Date, event and what may follow it where a camera has no place to tell.
const BARE_EVENT_BYTES: usize = 8;

/// Reads one; is it answered?
pub(super) fn read(
    frame: &Frame<'_>,
    cx: &mut Context<'_>,
    make: Make,
    zone_s: Option<i64>,
) -> Result<bool, Reject> {
    let kind = frame.kind;
    let mut body = Cursor::new(frame.body);
    let time = parts::time(&mut body, kind, zone_s, cx)?;
    let fix = Fix::read(&mut body)?;
    let mut message = cx.message(time)?;
    fix.push(&mut message);
    match (kind, body.left()) {
        (0xa2, 33..) => with_meters(body, &mut message, make)?,
        (0x16, 13) => {
            parts::cell(&mut body, CellForm::Gsm, &mut message)?;
            places::external(&mut body, &mut message, make).ok_or(SHORT)?;
        }
        _ => {
            let before = body;
            let _length = body.u8().ok_or(SHORT)?;
            let Some(form) = form(kind, body) else {
                // a block of cells in an unknown form: the status stands at the end all the same
                let raw = before.left().checked_sub(STATUS_BYTES).ok_or(SHORT)?;
                body = before;
                let cells = body.take(raw).ok_or(SHORT)?;
                parts::leftover(&mut message, kind, cells);
                status(&mut body, &mut message, make).ok_or(SHORT)?;
                return Ok(true);
            };
            parts::cell(&mut body, form, &mut message)?;
            status(&mut body, &mut message, make).ok_or(SHORT)?;
            tail(body, &mut message, kind);
        }
    }
    Ok(true)
}

/// The cell's form: the length before it counts itself in some makes and not in others, so
/// that what follows decides.
fn form(kind: u8, body: Cursor<'_>) -> Option<CellForm> {
    let tails: &[usize] = match kind {
        0x32 => &[5, 7, 9],
        0x27 | 0xa4 => &[6, 10],
        _ => &[5, 9, 5 + CARD_BYTES],
    };
    let forms: &[CellForm] = match kind {
        0xa2..=0xa4 => &[CellForm::Lte],
        0x32 => &[CellForm::WideBoth, CellForm::Gsm, CellForm::Wide],
        _ => &[CellForm::Gsm, CellForm::Wide, CellForm::WideBoth],
    };
    let fits = |form: &CellForm, tail: usize| body.left() == form.bytes(body.rest()) + tail;
    let found = tails
        .iter()
        .find_map(|tail| forms.iter().find(|form| fits(form, *tail)));
    found.copied()
}

fn status(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>, make: Make) -> Option<()> {
    parts::terminal(message, body.u8()?);
    parts::battery(message, body.u8()?);
    parts::signal(message, body.u8()?);
    alarms::push(message, body.u8()?, make);
    let _language = body.u8()?;
    Some(())
}

/// Fence, odometer, altitude or a card's number, by kind and length.
fn tail(mut body: Cursor<'_>, message: &mut RecordBuilder<'_>, kind: u8) {
    if matches!(kind, 0x27 | 0xa4)
        && let Some(fence) = body.u8()
        && fence != 0xff
    {
        message.push(fields::GEOFENCE_ID, fence);
    }
    match body.left() {
        2 => message.push_some(fields::POSITION_ALTITUDE, body.i16()),
        4 => message.push_some(fields::VEHICLE_MILEAGE, body.u32().map(parts::km)),
        CARD_BYTES => {
            let card = body.take(CARD_BYTES).unwrap_or_default();
            message.push(fields::RFID_CODE, hex::encode(card).as_str());
        }
        _ => {}
    }
    parts::leftover(message, kind, body.rest());
}

/// Kind A2 with a position: a cell, status, supply, battery, signal, alarm, language, odometer,
/// hours, IMEI, inputs.
fn with_meters(
    mut body: Cursor<'_>,
    message: &mut RecordBuilder<'_>,
    make: Make,
) -> Result<(), Reject> {
    parts::cell(&mut body, CellForm::Lte, message)?;
    let read = |body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>| {
        let _length = body.u8()?;
        parts::terminal(message, body.u8()?);
        let volts = parts::hundredths(body.u16()?);
        message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
        parts::battery(message, body.u8()?);
        parts::signal(message, body.u8()?);
        alarms::push(message, body.u8()?, make);
        let _language = body.u8()?;
        message.push(fields::VEHICLE_MILEAGE, parts::km(body.u32()?));
        message.push(fields::ENGINE_MOTORHOURS, parts::hours(body.u32()?));
        if let Some(imei) = bcd::text(body.take(8)?) {
            message.push(fields::DEVICE_IMEI, bcd::without_leading_zeros(&imei));
        }
        message.push(fields::DIN, body.u16()?);
        Some(())
    };
    read(&mut body, message).ok_or(SHORT)?;
    parts::leftover(message, 0xa2, body.rest());
    Ok(())
}

fn camera_event(message: &mut RecordBuilder<'_>, code: u8) {
    message.push(fields::EVENT_ENUM, code);
    if let Some(meaning) = alarms::of_camera(code) {
        message.push(meaning, true);
    }
}

/// Kind 95: the cameras' events. The newer form begins with FF FF and a version; the shortest is a
/// date and the event.
pub(super) fn camera(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<bool, Reject> {
    let mut body = Cursor::new(frame.body);
    if frame.body.len() <= BARE_EVENT_BYTES {
        let mut body = Cursor::new(frame.body);
        let time = parts::time(&mut body, frame.kind, None, cx)?;
        let mut message = cx.message(time)?;
        let code = body.u8().ok_or(SHORT)?;
        camera_event(&mut message, code);
        parts::leftover(&mut message, frame.kind, body.rest());
        return Ok(true);
    }
    let newer = frame.body.starts_with(&[0xff, 0xff]);
    if newer {
        body.take(3).ok_or(SHORT)?;
    }
    let time = parts::time(&mut body, frame.kind, None, cx)?;
    let mut message = cx.message(time)?;
    let read = |body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>| {
        let satellites = if newer { body.u8()? & 0x0f } else { 0 };
        let (latitude, longitude, word) = (body.u32()?, body.u32()?, body.u16()?);
        let speed = if newer { body.u16()? } else { 0 };
        let fix = Fix {
            satellites,
            latitude,
            longitude,
            speed,
            word,
        };
        fix.push(message);
        if newer {
            let volts = units::scaled(i64::from(body.u16()?), 1);
            message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
        }
        camera_event(message, body.u8()?);
        let data = body.u16()?;
        if data != 0 {
            message.name("event.data", data);
        }
        Some(())
    };
    read(&mut body, &mut message).ok_or(SHORT)?;
    match std::str::from_utf8(body.rest()) {
        Ok(files) if !files.is_empty() => message.push(fields::MEDIA_ID, files),
        _ => parts::leftover(&mut message, frame.kind, body.rest()),
    }
    Ok(true)
}
