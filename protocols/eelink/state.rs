//! Heartbeats, values of the vehicle, answers to instructions.

use super::parts::{SHORT, begin, push_left, push_status, seconds};
use crate::contract::{Context, Reject, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::obd;

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
    let mut message = begin(kind, number, Time::Received(cx.now_ms), cx)?;
    message.push(fields::COMMAND_TYPE, &*format!("{what:02x}"));
    message.push(fields::COMMAND_RESULT, text);
    Ok(())
}
