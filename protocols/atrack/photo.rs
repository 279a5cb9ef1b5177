//! Photos: frames of prefix `@R`, each a part.

use super::raw::SHORT;
use crate::contract::{Context, Reject, Time, fields};
use crate::kit::cursor::Cursor;

/// The largest photo that is put together. Parts beyond it, and parts out of order, are kept as they come.
pub(super) const PHOTO_BYTES_MAX: usize = 48 * 1024;

/// A photo on its way.
pub(super) struct Photo {
    time_s: u32,
    next: u8,
    bytes: Vec<u8>,
}

/// One part: time, its number, how many, length, bytes.
pub(super) fn part(
    photo: &mut Option<Photo>,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let time_s = cursor.u32().ok_or(SHORT)?;
    let (index, count) = (cursor.u8().ok_or(SHORT)?, cursor.u8().ok_or(SHORT)?);
    let length = cursor.u16().ok_or(SHORT)?;
    let bytes = cursor.take(usize::from(length)).ok_or(SHORT)?;
    let time = Time::Device(i64::from(time_s) * 1000);
    let id = time_s.to_string();
    let last = index.checked_add(1) == Some(count);
    let begun = photo
        .as_ref()
        .filter(|photo| photo.time_s == time_s && photo.next == index);
    let before = begun.map_or(0, |photo| photo.bytes.len());
    let follows = index == 0 || begun.is_some();
    if !follows || before + bytes.len() > PHOTO_BYTES_MAX {
        let mut message = cx.message(time)?;
        message.push(fields::MEDIA_ID, &*id);
        message.name("media.part", index);
        message.name("media.parts", count);
        message.push(fields::MEDIA_IMAGE, bytes);
        return Ok(());
    }
    let kept = if index == 0 { None } else { photo.take() };
    let mut kept = kept.unwrap_or(Photo {
        time_s,
        next: 0,
        bytes: Vec::new(),
    });
    if !last {
        if let Err(reject) = cx.part(bytes) {
            *photo = Some(kept);
            return Err(reject);
        }
        kept.bytes.extend_from_slice(bytes);
        kept.next = index.saturating_add(1);
        *photo = Some(kept);
        return Ok(());
    }
    kept.bytes.extend_from_slice(bytes);
    let mut message = cx.message(time)?;
    message.push(fields::MEDIA_ID, &*id);
    message.push(fields::IMAGE_BIN_JPEG, kept.bytes.as_slice());
    Ok(())
}
