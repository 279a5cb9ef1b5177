//! Frames: marks, escapes, head and check; how a device is named and written to.

use crate::contract::{Reject, Settings, Time, TimeZone};
use crate::kit::cursor::Cursor;
use crate::kit::time::{or_impossible, two_digit};
use crate::kit::{bcd, checksum, luhn};
use std::borrow::Cow;

pub(super) const MARK: u8 = 0x7e;
pub(super) const OTHER_MARK: u8 = 0xe7;
const PARTS: u16 = 0x2000;
const EDITION_2019: u16 = 0x4000;
const LENGTH: u16 = 0x03ff;

/// How a device is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) mark: u8,
    pub(super) edition: Option<u8>,
    /// The last six are used without an edition, or seven.
    pub(super) id: [u8; 10],
    /// Has it seven, as with the other mark?
    pub(super) is_long: bool,
}

/// A checked frame.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) kind: u16,
    pub(super) serial: u16,
    /// How many parts, and which.
    pub(super) part: Option<(u16, u16)>,
    pub(super) body: &'a [u8],
    pub(super) address: Address,
}

/// Takes off the marks and the escapes.
pub(super) fn unescaped(frame: &[u8]) -> Result<Cow<'_, [u8]>, Reject> {
    let [mark, inner @ .., _] = frame else {
        return Err(Reject::new("frame", "cut short", 0));
    };
    let escapes: &[(u8, u8, u8)] = if *mark == OTHER_MARK {
        &[
            (0xe6, 1, 0xe6),
            (0xe6, 2, 0xe7),
            (0x3e, 1, 0x3e),
            (0x3e, 2, 0x3d),
        ]
    } else {
        &[(0x7d, 1, 0x7d), (0x7d, 2, 0x7e)]
    };
    let is_escape = |byte: u8| escapes.iter().any(|(escape, ..)| *escape == byte);
    if !inner.iter().any(|byte| is_escape(*byte)) {
        return Ok(Cow::Borrowed(inner));
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        if is_escape(byte) {
            let second = bytes.next().map(|(_, second)| *second);
            let found = escapes
                .iter()
                .find(|(escape, code, _)| *escape == byte && Some(*code) == second);
            let (.., meant) = found.ok_or(Reject::new("escape", "not known", at))?;
            plain.push(*meant);
        } else {
            plain.push(byte);
        }
    }
    Ok(Cow::Owned(plain))
}

/// Takes a frame apart, if its check holds.
pub(super) fn checked(plain: &[u8], mark: u8) -> Result<Frame<'_>, Reject> {
    let (check, inner) = plain
        .split_last()
        .ok_or(Reject::new("frame", "cut short", 0))?;
    if checksum::xor(inner) != *check {
        return Err(Reject::new("check", "it does not fit", plain.len()));
    }
    let head = |body: &mut Cursor<'_>| {
        let kind = body.u16()?;
        let properties = body.u16()?;
        let mut address = Address {
            mark,
            edition: None,
            id: [0; 10],
            is_long: false,
        };
        if properties & EDITION_2019 != 0 {
            address.edition = Some(body.u8()?);
            address.id = body.array()?;
        } else if is_long(mark, properties, body.left()) {
            let id: [u8; 7] = body.array()?;
            address.id.last_chunk_mut::<7>()?.copy_from_slice(&id);
            address.is_long = true;
        } else {
            let id: [u8; 6] = body.array()?;
            address.id.last_chunk_mut::<6>()?.copy_from_slice(&id);
        }
        let serial = body.u16()?;
        let part = if properties & PARTS != 0 {
            Some((body.u16()?, body.u16()?))
        } else {
            None
        };
        Some((kind, serial, part, address, properties & LENGTH))
    };
    let mut body = Cursor::new(inner);
    let (kind, serial, part, address, _length) =
        head(&mut body).ok_or(Reject::new("head", "cut short", 0))?;
    Ok(Frame {
        kind,
        serial,
        part,
        body: body.rest(),
        address,
    })
}

/// Has the ident seven bytes? With the other mark, unless the content's length says six. `left` counts
/// from the ident on.
fn is_long(mark: u8, properties: u16, left: usize) -> bool {
    const SHORT_IDENT_AND_SERIAL: usize = 6 + 2;
    let length = usize::from(properties & LENGTH);
    mark == OTHER_MARK && left != SHORT_IDENT_AND_SERIAL + length
}

/// The device's name: digits, or a binary number that lacks the IMEI's last digit.
pub(super) fn ident_of(address: &Address) -> String {
    let id = match address.edition {
        Some(_) => &address.id[..],
        None if address.is_long => address.id.last_chunk::<7>().map_or(&[][..], |id| &id[..]),
        None => address.id.last_chunk::<6>().map_or(&[][..], |id| &id[..]),
    };
    bcd::text(id).unwrap_or_else(|| {
        let number = id
            .iter()
            .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let digits = number.to_string();
        let last = luhn::check_digit(&digits).unwrap_or('0');
        digits + last.encode_utf8(&mut [0; 4])
    })
}

/// Writes a frame to the device.
pub(super) fn written(address: &Address, kind: u16, serial: u16, content: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(content.len() + 18);
    plain.extend_from_slice(&kind.to_be_bytes());
    let length = u16::try_from(content.len()).unwrap_or(LENGTH) & LENGTH;
    if let Some(edition) = address.edition {
        plain.extend_from_slice(&(length | EDITION_2019).to_be_bytes());
        plain.push(edition);
        plain.extend_from_slice(&address.id);
    } else {
        plain.extend_from_slice(&length.to_be_bytes());
        let from = if address.is_long { 3 } else { 4 };
        plain.extend_from_slice(address.id.get(from..).unwrap_or_default());
    }
    plain.extend_from_slice(&serial.to_be_bytes());
    plain.extend_from_slice(content);
    plain.push(checksum::xor(&plain));
    let mut out = Vec::with_capacity(plain.len() + 8);
    out.push(address.mark);
    for byte in plain {
        match (address.mark, byte) {
            (MARK, 0x7d) => out.extend_from_slice(&[0x7d, 1]),
            (MARK, 0x7e) => out.extend_from_slice(&[0x7d, 2]),
            (OTHER_MARK, 0xe6) => out.extend_from_slice(&[0xe6, 1]),
            (OTHER_MARK, 0xe7) => out.extend_from_slice(&[0xe6, 2]),
            (OTHER_MARK, 0x3e) => out.extend_from_slice(&[0x3e, 1]),
            (OTHER_MARK, 0x3d) => out.extend_from_slice(&[0x3e, 2]),
            _ => out.push(byte),
        }
    }
    out.push(address.mark);
    out
}

pub(super) const BEIJING_S: i32 = 8 * 3600;

pub(super) const SHORT: Reject = Reject::new("content", "cut short", 0);

/// The platform's general answer: done.
pub(super) fn accepted(frame: &Frame<'_>) -> Vec<u8> {
    general(frame, 0)
}

/// The platform's general answer with a result.
pub(super) fn general(frame: &Frame<'_>, result: u8) -> Vec<u8> {
    let [a, b] = frame.serial.to_be_bytes();
    let [c, d] = frame.kind.to_be_bytes();
    written(&frame.address, 0x8001, 0, &[a, b, c, d, result])
}

/// A date and time in BCD, of Beijing unless the device's setting says otherwise.
pub(super) fn moment(bytes: [u8; 6], settings: &Settings, now_ms: i64) -> Time {
    let part = |at: usize| {
        let byte = bytes.get(at).copied()?;
        bcd::byte(byte).map(i64::from)
    };
    let read = || {
        let civil = two_digit(part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, part(5)?);
        let local = civil.utc_ms()?;
        let offset_s = match &settings.time_zone {
            Some(zone) => TimeZone::offset_at_local(zone, local),
            None => i64::from(BEIJING_S),
        };
        Some(local - offset_s * 1000)
    };
    or_impossible(read(), now_ms)
}
