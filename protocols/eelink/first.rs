//! Packages of the protocol's first edition.

use super::kinds::{FIRST_ALARM, FIRST_MESSAGE, FIRST_STATUS};
use super::parts::{
    SHORT, begin, push_left, push_place, push_status, push_text, push_warning, seconds,
};
use crate::contract::{Context, Reject, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::cursor::Cursor;

pub(super) fn first_edition(
    kind: u8,
    number: u16,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let time = seconds(cursor, cx.now_ms).ok_or(SHORT)?;
    let (latitude, longitude) = (cursor.u32().ok_or(SHORT)?, cursor.u32().ok_or(SHORT)?);
    let (speed, course) = (cursor.u8().ok_or(SHORT)?, cursor.u16().ok_or(SHORT)?);
    let cell = Cell {
        mcc: cursor.u16().map(i64::from),
        mnc: cursor.u16().map(i64::from),
        lac: cursor.u16().map(i64::from),
        id: cursor.u24().map(i64::from),
        dbm: None,
    };
    let valid = cursor.u8().unwrap_or_default() & 1 == 1;
    let mut message = begin(kind, number, time, cx)?;
    if push_place(&mut message, latitude, longitude, valid) {
        message.push(fields::POSITION_SPEED, speed);
        message.push(fields::POSITION_DIRECTION, course);
    }
    cells::push(&mut message, 0, cell);
    match kind {
        FIRST_ALARM => {
            if let Some(code) = cursor.u8() {
                push_warning(&mut message, code);
            }
        }
        FIRST_STATUS => {
            message.push_some(fields::EVENT_ENUM, cursor.u8());
            let since = cursor.u32();
            message.push_some(crate::contract::Key::Name("status.time"), since);
            if let Some(status) = cursor.u16() {
                push_status(&mut message, status, false);
            }
        }
        FIRST_MESSAGE => push_text(&mut message, cursor),
        _ => {
            if let Some(status) = cursor.u16() {
                push_status(&mut message, status, false);
            }
            let volts = cursor.u16().map(|mv| f64::from(mv) / 1000.0);
            message.push_some(fields::BATTERY_VOLTAGE, volts);
            message.push_some(fields::GSM_SIGNAL_ENUM, cursor.u16());
            for input in 1..=2 {
                let volts = cursor.u16().map(|mv| f64::from(mv) / 1000.0);
                message.push_some((fields::AIN_N, input), volts);
            }
        }
    }
    push_left(&mut message, cursor);
    Ok(())
}
