//! The binary form.

use crate::contract::{Context, Key, Login, RecordBuilder, Reject, fields};
use crate::kit::cursor::Cursor;
use crate::kit::time::or_impossible;
use crate::kit::{checksum, hex, units};

const ESCAPE: u8 = 0x1b;
const ESCAPED_ESCAPE: u8 = 0x00;
const ESCAPED_MARK: u8 = 0xe3;
const MARK: u8 = 0xf8;
const WITH_EVENT: u8 = 0x41;
/// Seconds from 1970 to 2000.
const EPOCH: i64 = 946_684_800;
const SHORT: Reject = Reject::new("binary", "fewer bytes than it has", 0);

pub(super) fn read(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let inside = frame
        .strip_prefix(&[MARK])
        .and_then(|inside| inside.strip_suffix(&[MARK]))
        .ok_or(SHORT)?;
    let unescaped;
    let content = if inside.contains(&ESCAPE) {
        unescaped = unescape(inside)?;
        unescaped.as_slice()
    } else {
        inside
    };
    let (covered, crc) = content.split_last_chunk::<2>().ok_or(SHORT)?;
    if u16::from_be_bytes(*crc) != checksum::crc16_xmodem(covered) {
        return Err(Reject::new("crc", "the checksum does not fit", frame.len()));
    }
    let mut cursor = Cursor::new(covered);
    let [_version, kind] = cursor.array().ok_or(SHORT)?;
    let (high, low) = (cursor.u32().ok_or(SHORT)?, cursor.u24().ok_or(SHORT)?);
    let imei = u64::from(high) << 24 | u64::from(low);
    cx.identify(Login::of(&imei.to_string()))?;
    let seconds = i64::from(cursor.u32().ok_or(SHORT)?);
    let ms = (seconds > 0).then_some((EPOCH + seconds) * 1000);
    let event = if kind == WITH_EVENT {
        Some(cursor.u8().ok_or(SHORT)?)
    } else {
        None
    };
    let mask = cursor.u16().ok_or(SHORT)?;
    let time = or_impossible(ms, cx.now_ms);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, &*hex::encode(&[kind]));
    message.push_some(fields::EVENT_ENUM, event);
    if mask & 2 == 0 {
        message.push(fields::POSITION_VALID, false);
    }
    for bit in 0..16u32 {
        if mask >> bit & 1 == 0 {
            continue;
        }
        let Some(block) = cursor.u8().and_then(|length| cursor.take(length.into())) else {
            message.push(fields::PAYLOAD_HEX, &*hex::encode(cursor.rest()));
            break;
        };
        let mut values = Cursor::new(block);
        if bit != 1 || position(&mut values, &mut message).is_none() {
            message.push(
                Key::Wire { space: 0, id: bit },
                &*hex::encode(values.rest()),
            );
        }
    }
    Ok(())
}

fn unescape(inside: &[u8]) -> Result<Vec<u8>, Reject> {
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match (byte, rest.as_slice().first()) {
            (ESCAPE, Some(&ESCAPED_ESCAPE)) => ESCAPE,
            (ESCAPE, Some(&ESCAPED_MARK)) => MARK,
            (ESCAPE, _) => return Err(Reject::new("escape", "no known one", bytes.len())),
            (plain, _) => {
                bytes.push(plain);
                continue;
            }
        });
        rest.next();
    }
    Ok(bytes)
}

fn position(values: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let mask = values.u16()?;
    let has = |bit: u16| mask >> bit & 1 == 1;
    let mut fixed = false;
    if has(0) {
        let flags = values.u8()?;
        fixed = flags >> 5 & 3 > 0;
        message.push(fields::POSITION_SATELLITES, flags & 0x1f);
    }
    let mut there = false;
    if has(1) {
        let degrees = |raw: u32| units::scaled(i64::from(raw.cast_signed()), 6);
        let (latitude, longitude) = (degrees(values.u32()?), degrees(values.u32()?));
        there = (latitude != 0.0 || longitude != 0.0)
            && latitude.abs() <= 90.0
            && longitude.abs() <= 180.0;
        if there {
            message.push(fields::POSITION_LATITUDE, latitude);
            message.push(fields::POSITION_LONGITUDE, longitude);
        }
    }
    message.push(fields::POSITION_VALID, fixed && there);
    for (bit, param) in [
        (2, fields::POSITION_SPEED),
        (3, fields::POSITION_DIRECTION),
        (4, fields::POSITION_ALTITUDE),
    ] {
        if has(bit) {
            let value = values.i16()?;
            if there {
                message.push(param, value);
            }
        }
    }
    for (bit, param) in [(5, fields::POSITION_HDOP), (6, fields::POSITION_VDOP)] {
        if has(bit) {
            message.push(param, f64::from(values.u16()?) / 100.0);
        }
    }
    (values.left() == 0).then_some(())
}
