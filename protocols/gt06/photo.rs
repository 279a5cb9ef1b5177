//! The X1's photos: announced by kind 35, fetched by kind 36 in parts of 1 KiB.

use super::parts::{self, SHORT};
use super::wire::{Frame, short};
use crate::contract::{Context, Reject, Reply, Time, fields};
use crate::kit::cursor::Cursor;

/// The largest photo that is fetched; of a larger one only the announcement is kept.
pub(super) const PHOTO_BYTES_MAX: usize = 32 * 1024;
const PART_BYTES_MAX: u16 = 1024;
/// Date and position before size and id.
const PLACE_BYTES: usize = 12;

/// A photo on its way.
pub(super) struct Photo {
    id: u32,
    time: Time,
    size: usize,
    bytes: Vec<u8>,
}

/// Kind 35: date, position, size, id.
pub(super) fn announced(
    photo: &mut Option<Photo>,
    frame: &Frame<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    if cx.ident().is_none() {
        return Err(Reject::new("login", "data before a login", 0));
    }
    let mut body = Cursor::new(frame.body);
    let time = parts::time(&mut body, frame.kind, None, cx)?;
    body.take(PLACE_BYTES).ok_or(SHORT)?;
    let size = body.u32().ok_or(SHORT)?;
    let id = body.u32().ok_or(SHORT)?;
    let fetched = usize::try_from(size)
        .ok()
        .filter(|size| (1..=PHOTO_BYTES_MAX).contains(size));
    if let Some(size) = fetched {
        let new = Photo {
            id,
            time,
            size,
            bytes: Vec::new(),
        };
        cx.reply(Reply::admitted(new.next_part()));
        *photo = Some(new);
    } else {
        let mut message = cx.message(time)?;
        message.push(fields::MEDIA_ID, id.to_string().as_str());
        message.name("media.size", i64::from(size));
    }
    Ok(())
}

/// Does kind 36 carry a part of the photo on its way? (It is a position otherwise.)
pub(super) fn is_part(photo: Option<&Photo>, body: &[u8]) -> bool {
    photo.is_some_and(|photo| body.starts_with(&photo.id.to_be_bytes()))
}

/// Kind 36: id, offset, length, bytes.
pub(super) fn part(
    photo: &mut Option<Photo>,
    frame: &Frame<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let mut body = Cursor::new(frame.body);
    let (_id, offset, length) = (body.u32(), body.u32(), body.u16());
    let (Some(offset), Some(length)) = (offset, length) else {
        return Err(SHORT);
    };
    let bytes = body.take(usize::from(length)).ok_or(SHORT)?;
    let waiting = photo.as_mut().ok_or(SHORT)?;
    let expected = u32::try_from(waiting.bytes.len()).unwrap_or(u32::MAX);
    if offset != expected || bytes.is_empty() || waiting.bytes.len() + bytes.len() > waiting.size {
        return Err(Reject::new("photo", "not the part that was asked for", 4));
    }
    if waiting.bytes.len() + bytes.len() < waiting.size {
        cx.part(bytes)?;
        waiting.bytes.extend_from_slice(bytes);
        cx.reply(Reply::stored(waiting.next_part()));
        return Ok(());
    }
    let mut message = cx.message(waiting.time)?;
    let mut whole = std::mem::take(&mut waiting.bytes);
    whole.extend_from_slice(bytes);
    message.push(fields::MEDIA_ID, waiting.id.to_string().as_str());
    message.push(fields::IMAGE_BIN_JPEG, whole.as_slice());
    *photo = None;
    Ok(())
}

impl Photo {
    /// Asks for the next part: id, offset, length.
    fn next_part(&self) -> Vec<u8> {
        let offset = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let left = u16::try_from(self.size - self.bytes.len()).unwrap_or(u16::MAX);
        let length = if offset == 0 {
            PART_BYTES_MAX
        } else {
            left.min(PART_BYTES_MAX)
        };
        let mut content = Vec::with_capacity(10);
        content.extend_from_slice(&self.id.to_be_bytes());
        content.extend_from_slice(&offset.to_be_bytes());
        content.extend_from_slice(&length.to_be_bytes());
        short(0x36, &content, 0)
    }
}
