//! Frames of trackers without the plug.

use super::parts::{Head, Place, SHORT, push_cell, push_left, push_versions, records};
use crate::contract::{Context, Reject, Reply, fields};
use crate::kit::cursor::Cursor;

/// The MPIP family, and what comes without a version.
pub(super) fn tracker(
    head: &Head,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let now_ms = cx.now_ms;
    match (head.version, head.kind) {
        (Some(_), 0x4001 | 0x4206) => {
            if head.kind == 0x4206 {
                cursor.u16().ok_or(SHORT)?;
            }
            let place = Place::read(cursor).ok_or(SHORT)?;
            let mut message = head.begin(place.time(now_ms), cx)?;
            place.push(&mut message);
            message.push(fields::STATUS_BITMASK, cursor.u32_le().ok_or(SHORT)?);
            message.push(fields::BATTERY_VOLTAGE, cursor.u8().ok_or(SHORT)?);
            let meters = cursor.u32_le().ok_or(SHORT)?;
            message.push(fields::VEHICLE_MILEAGE, f64::from(meters) / 1000.0);
            cursor.take(3).ok_or(SHORT)?;
            push_cell(&mut message, cursor).ok_or(SHORT)?;
            push_versions(&mut message, cursor);
            push_left(&mut message, cursor).ok_or(SHORT)?;
            drop(message);
            let kind = head.kind & 0x0fff | 0x8000;
            cx.reply(Reply::stored(head.answer(head.version, kind, &[])));
        }
        (None, 0x4001) => {
            let place = Place::read(cursor).ok_or(SHORT)?;
            records(head, None, &[place], cx, |message| {
                push_left(message, cursor)
            })?;
            let answer = head.answer(Some(0xff), head.kind, &[]);
            cx.reply(Reply::stored(answer));
        }
        (None, 0x2001) => {
            cursor.u32_le().ok_or(SHORT)?;
            cursor.u32_le().ok_or(SHORT)?;
            cursor.u8().ok_or(SHORT)?;
            let place = Place::read(cursor).ok_or(SHORT)?;
            records(head, None, &[place], cx, |message| {
                push_left(message, cursor)
            })?;
            let mut content = vec![0; 4];
            content.extend([0xff; 8]);
            cx.reply(Reply::stored(head.answer(None, 0x1001, &content)));
        }
        (_, 0x8000..) => {}
        _ => records(head, None, &[], cx, |message| push_left(message, cursor))?,
    }
    Ok(())
}
