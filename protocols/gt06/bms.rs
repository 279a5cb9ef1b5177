//! Kind 40: what the management of a vehicle's battery says (WD-209, electric bicycles).
//!
//! | bytes | field |
//! |---|---|
//! | 8, 4 | the battery's number, unix seconds |
//! | 1, 2, 1, 2, 1 | relative capacity (percent), what is left, absolute capacity (percent), all of it, health (percent) |
//! | 2, 2, 2, 2 | temperature (0.1 K), current, voltage (mV), cycles |
//! | 14 times 2 | cells (mV) |
//! | 2, 2 | hours since it was charged, and the most of them |
//! | 16, 2, 16, 4 | bar code, version, maker, state |
//! | 4, 4 | the controller's state and faults |

use super::parts::{self, SHORT};
use super::wire::Frame;
use crate::contract::{Context, RecordBuilder, Reject, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{hex, units};

const CELLS: u16 = 14;
const TEXT_BYTES: usize = 16;
/// 0 degrees celsius in tenths of a kelvin.
const ZERO_TENTHS: i64 = 2731;

/// Reads one; it is answered.
pub(super) fn read(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(frame.body);
    let number = body.array::<8>().ok_or(SHORT)?;
    let seconds = body.u32().ok_or(SHORT)?;
    let mut message = cx.message(Time::Device(i64::from(seconds) * 1000))?;
    message.name("bms.id", hex::encode(&number).as_str());
    battery(&mut body, &mut message).ok_or(SHORT)?;
    parts::leftover(&mut message, frame.kind, body.rest());
    Ok(())
}

fn battery(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    message.push(fields::BATTERY_LEVEL, body.u8()?);
    message.name("bms.remaining.capacity", body.u16()?);
    message.name("bms.absolute.capacity", body.u8()?);
    message.name("bms.full.capacity", body.u16()?);
    message.push(fields::BATTERY_HEALTH, body.u8()?);
    let degrees = units::scaled(i64::from(body.u16()?) - ZERO_TENTHS, 1);
    message.push(fields::BATTERY_TEMPERATURE, degrees);
    message.name("bms.current", body.u16()?);
    let volts = units::scaled(i64::from(body.u16()?), 3);
    message.push(fields::BATTERY_VOLTAGE, volts);
    message.push(fields::BATTERY_CYCLE_COUNT, body.u16()?);
    for cell in 1..=CELLS {
        let volts = units::scaled(i64::from(body.u16()?), 3);
        message.push((fields::BATTERY_CELL_VOLTAGE_N, cell), volts);
    }
    message.name("bms.charge.interval", body.u16()?);
    message.name("bms.charge.interval.max", body.u16()?);
    text(body, message, "bms.barcode")?;
    message.name("bms.version", body.u16()?);
    text(body, message, "bms.manufacturer")?;
    message.name("bms.status", i64::from(body.u32()?));
    message.name("controller.status", i64::from(body.u32()?));
    message.name("controller.faults", i64::from(body.u32()?));
    Some(())
}

fn text(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>, name: &str) -> Option<()> {
    let text = String::from_utf8_lossy(body.take(TEXT_BYTES)?);
    let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    if !text.is_empty() {
        message.name(name, text);
    }
    Some(())
}
