//! Kind 0104: the terminal's parameters, number (4 bytes), length, value each. Those that a person asks
//! for have names, the others are kept under their number.

use super::values::padded;
use super::wire::SHORT;
use crate::contract::{Context, Key, RecordBuilder, Reject, Time, Value, fields};
use crate::kit::cursor::Cursor;
use crate::kit::units;

/// Serial of the question, count, parameters.
pub(super) fn read(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(body);
    let (_serial, _count) = (body.u16().ok_or(SHORT)?, body.u8().ok_or(SHORT)?);
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    while let Some((number, value)) = parameter(&mut body) {
        if known(number, value, &mut message).is_none() {
            let key = Key::Wire {
                space: 4,
                id: number,
            };
            message.push(key, plain(value));
        }
    }
    if body.left() > 0 {
        message.wire(0, body.rest());
    }
    Ok(())
}

fn parameter<'f>(body: &mut Cursor<'f>) -> Option<(u32, &'f [u8])> {
    let mut ahead = *body;
    let (number, length) = (ahead.u32()?, usize::from(ahead.u8()?));
    let value = ahead.take(length)?;
    *body = ahead;
    Some((number, value))
}

/// A number, a text, or bytes.
fn plain(value: &[u8]) -> Value<'_> {
    match (value.len(), padded(value)) {
        (1 | 2 | 4, _) => {
            let number = value
                .iter()
                .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
            Value::unsigned(number)
        }
        (_, Some(text))
            if text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' ') =>
        {
            Value::Text(text)
        }
        _ => Value::Bytes(value),
    }
}

fn known(number: u32, value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let name = match number {
        0x01 => "heartbeat.interval",
        0x10 => "apn",
        0x13 => "server",
        0x18 => "port",
        0x27 => "sleep.report.interval",
        0x28 => "emergency.report.interval",
        0x29 => "report.interval",
        0x55 => "overspeed.limit",
        0x56 => "overspeed.duration",
        0x80 => {
            let tenths = Cursor::new(value).u32()?;
            let km = units::scaled(i64::from(tenths), 1);
            message.push(fields::VEHICLE_MILEAGE, km);
            return Some(());
        }
        0x83 => {
            message.push(fields::VEHICLE_PLATE, padded(value)?);
            return Some(());
        }
        _ => return None,
    };
    message.name(name, plain(value));
    Some(())
}
