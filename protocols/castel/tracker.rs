//! Frames of trackers without the plug.

use super::parts::{Head, Place, SHORT, push_cell, push_left, push_versions, records};
use crate::contract::{Context, RecordBuilder, Reject, Reply, fields};
use crate::kit::cursor::Cursor;
use crate::kit::hex;

/// The most places of a 4206.
const PLACES_MAX: u8 = 64;
/// So many places has a 4204, and so many bytes behind each.
const PLACES_OF_4204: u8 = 8;
const AFTER_PLACE_OF_4204: usize = 31;

/// State, battery, meters, three bytes, the cell; what is cut off is not there.
fn state(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    message.push(fields::STATUS_BITMASK, cursor.u32_le()?);
    message.push(fields::BATTERY_VOLTAGE, cursor.u8()?);
    let meters = cursor.u32_le()?;
    message.push(fields::VEHICLE_MILEAGE, f64::from(meters) / 1000.0);
    cursor.take(3)?;
    push_cell(message, cursor)
}

/// The MPIP family, and what comes without a version.
pub(super) fn tracker(
    head: &Head,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let now_ms = cx.now_ms;
    match (head.version, head.kind) {
        (Some(_), 0x4001 | 0x4206) => {
            let mut count = 1;
            if head.kind == 0x4206 {
                let (_history, places) = (cursor.u8().ok_or(SHORT)?, cursor.u8().ok_or(SHORT)?);
                count = places.min(PLACES_MAX);
            }
            for number in 1..=count {
                let place = match Place::read(cursor) {
                    Some(place) => place,
                    None if number > 1 => break,
                    None => return Err(SHORT),
                };
                let mut message = head.begin(place.time(now_ms), cx)?;
                place.push(&mut message);
                state(&mut message, cursor);
                if number == count {
                    push_versions(&mut message, cursor);
                    push_left(&mut message, cursor);
                }
            }
            let kind = head.kind & 0x0fff | 0x8000;
            cx.reply(Reply::stored(head.answer(head.version, kind, &[])));
        }
        (None, 0x4201 | 0x4202 | 0x4206) => {
            let place = Place::read(cursor).ok_or(SHORT)?;
            records(head, None, &[place], cx, |message| {
                push_left(message, cursor)
            })?;
        }
        (None, 0x4204) => {
            for number in 0..PLACES_OF_4204 {
                let place = match Place::read(cursor) {
                    Some(place) => place,
                    None if number > 0 => break,
                    None => return Err(SHORT),
                };
                let mut message = head.begin(place.time(now_ms), cx)?;
                place.push(&mut message);
                let rest = cursor.take(AFTER_PLACE_OF_4204.min(cursor.left()));
                let rest = rest.unwrap_or_default();
                if rest.iter().any(|byte| *byte != 0) {
                    message.push(fields::PAYLOAD_HEX, &*hex::encode(rest));
                }
            }
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
