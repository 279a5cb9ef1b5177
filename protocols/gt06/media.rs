//! Kind 41, with 79 79: a picture that the tracker sends by itself, in numbered parts (WD-209).
//!
//! | bytes | field |
//! |---|---|
//! | 8, 4 | the device's number, unix seconds |
//! | 14, 8 | place and cell, in an order that is not told |
//! | 4, 4, 1, 1, 1 | id, size of the whole, type and format (0: a JPEG picture), event |
//! | 2 | the part's number, from 0 |
//! | ... | the part |
//!
//! Each part is answered in the 79 79 form. Parts of something else, or of what is larger than a
//! picture that is put together, are kept each on its own.

use super::parts::SHORT;
use super::photo::PHOTO_BYTES_MAX;
use super::wire::{Frame, long};
use crate::contract::{Context, Reject, Reply, Time, fields};
use crate::kit::cursor::Cursor;

const PLACE_BYTES: usize = 14 + 8;

/// A picture whose first parts have come.
pub(super) struct Picture {
    id: u32,
    next: u16,
    bytes: Vec<u8>,
}

/// Reads a part.
pub(super) fn part(
    picture: &mut Option<Picture>,
    frame: &Frame<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let mut body = Cursor::new(frame.body);
    let read = |body: &mut Cursor<'_>| {
        body.take(8)?;
        let seconds = body.u32()?;
        body.take(PLACE_BYTES)?;
        let (id, size) = (body.u32()?, body.u32()?);
        let is_picture = body.u16()? == 0;
        let event = body.u8()?;
        Some((seconds, id, size, is_picture, event, body.u16()?))
    };
    let (seconds, id, size, is_picture, event, number) = read(&mut body).ok_or(SHORT)?;
    let time = Time::Device(i64::from(seconds) * 1000);
    let size = usize::try_from(size)
        .ok()
        .filter(|size| is_picture && (1..=PHOTO_BYTES_MAX).contains(size));
    let before = picture
        .take()
        .filter(|picture| picture.id == id && picture.next == number);
    let before = before.or((number == 0).then_some(Picture {
        id,
        next: 0,
        bytes: Vec::new(),
    }));
    match (size, before) {
        (Some(size), Some(mut whole)) if whole.bytes.len() + body.left() < size => {
            cx.part(body.rest())?;
            whole.bytes.extend_from_slice(body.rest());
            whole.next = number.wrapping_add(1);
            *picture = Some(whole);
        }
        (Some(size), Some(mut whole)) if whole.bytes.len() + body.left() == size => {
            whole.bytes.extend_from_slice(body.rest());
            let mut message = cx.message(time)?;
            message.push(fields::MEDIA_ID, id.to_string().as_str());
            message.push(fields::EVENT_ENUM, event);
            message.push(fields::IMAGE_BIN_JPEG, whole.bytes.as_slice());
        }
        _ => {
            let mut message = cx.message(time)?;
            message.push(fields::MEDIA_ID, id.to_string().as_str());
            message.push(fields::EVENT_ENUM, event);
            message.name("media.part", number);
            message.name("media.bytes", body.rest());
        }
    }
    cx.reply(Reply::stored(long(frame.kind, &[], frame.serial)));
    Ok(())
}
