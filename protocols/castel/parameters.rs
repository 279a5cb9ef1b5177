//! Settings that the device gives back.

use super::parts::{Head, SHORT};
use crate::contract::{Context, RecordBuilder, Reject, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::table::little_endian;
use crate::kit::{hex, units};

/// Ids, lengths and values.
pub(super) fn tagged(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    while cursor.left() >= 4 {
        let (id, length) = (cursor.u16_le()?, cursor.u16_le()?);
        let value = cursor.take(usize::from(length))?;
        let raw = little_endian(value.get(..8).unwrap_or(value));
        match (id, length) {
            (0x0010, 2) => {
                let tenths = crate::kit::table::signed(raw, 2);
                message.push(fields::DEVICE_TEMPERATURE, units::scaled(tenths, 1));
            }
            (0x0021, 2) => {
                message.push(fields::BATTERY_VOLTAGE, units::round(raw as f64 / 100.0, 2));
            }
            (_, ..=8) => {
                message.wire(u32::from(id), crate::contract::Value::unsigned(raw));
            }
            _ => message.wire(u32::from(id), value),
        }
    }
    Some(())
}

/// The answer to a request for parameters.
pub(super) fn parameters(
    head: &Head,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    const VIN: u16 = 0x2001;
    let number = cursor.u16_le().ok_or(SHORT)?;
    cursor.take(3).ok_or(SHORT)?;
    let count = cursor.u8().ok_or(SHORT)?;
    let mut tags = Vec::new();
    for _ in 0..count {
        let tag = cursor.u16_le().ok_or(SHORT)?;
        let length = cursor.u16_le().ok_or(SHORT)?;
        tags.push((tag, cursor.take(usize::from(length)).ok_or(SHORT)?));
    }
    let shown = |value: &[u8]| match std::str::from_utf8(value) {
        Ok(text) if text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') => text.to_owned(),
        _ => hex::encode(value),
    };
    let result: Vec<String> = tags.iter().map(|(_, value)| shown(value)).collect();
    let result = result.join(",");
    cx.command_reply(Some(u32::from(number)), &result);
    let mut message = head.begin(Time::Received(cx.now_ms), cx)?;
    message.push(fields::COMMAND_RESULT, &*result);
    for (tag, value) in tags {
        if tag == VIN {
            message.push(fields::VEHICLE_VIN, &*shown(value));
        } else {
            message.wire(u32::from(tag), value);
        }
    }
    Ok(())
}
