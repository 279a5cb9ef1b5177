//! Heartbeats, and the strength of satellites.

use super::alarms;
use super::make::Make;
use super::parts::{self, SHORT, hundredths};
use super::wire::Frame;
use crate::contract::{Context, RecordBuilder, Reject, Value, fields};
use crate::kit::cursor::Cursor;
use crate::kit::units;

/// The length of a heartbeat with battery voltage and level (asset trackers).
const ASSET_BYTES_MIN: usize = 14;

/// The strongest signal, as the documents say.
const SIGNAL_MAX: u8 = 4;
/// What a supply may have, hundredths of volts.
const WIDE_VOLTS: std::ops::RangeInclusive<u16> = 300..=6000;

/// The alarms that a heartbeat may carry: 1 SOS to 5 left the fence.
const HEARTBEAT_ALARM_MAX: u8 = 5;

/// Reads one; is it answered?
pub(super) fn read(frame: &Frame<'_>, cx: &mut Context<'_>, make: Make) -> Result<bool, Reject> {
    let mut body = Cursor::new(frame.body);
    let time = parts::received(cx);
    let mut message = cx.message(time)?;
    let read = match (frame.kind, make, body.left()) {
        (0x14, ..) => satellites(&mut body, &mut message),
        (0x23, ..) => with_voltage(&mut body, &mut message),
        (_, _, ASSET_BYTES_MIN..) => asset(&mut body, &mut message, make),
        (_, Make::Seeworld, 5) => small_voltage(&mut body, &mut message),
        (_, Make::R11, 5) => r11(&mut body, &mut message),
        (_, _, 5) if is_wide(frame.body) => r11(&mut body, &mut message),
        _ => usual(&mut body, &mut message, make),
    };
    read.ok_or(SHORT)?;
    parts::leftover(&mut message, frame.kind, body.rest());
    Ok(true)
}

/// Status, battery step, signal, and a word whose second byte is the language.
fn usual(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>, make: Make) -> Option<()> {
    parts::terminal(message, body.u8()?);
    parts::battery(message, body.u8()?);
    parts::signal(message, body.u8()?);
    if let Some(extension) = body.u16() {
        let [high, _language] = extension.to_be_bytes();
        // with some makes it is something else
        if high <= HEARTBEAT_ALARM_MAX {
            alarms::push(message, high, make);
        }
    }
    Some(())
}

/// Status, voltage, signal, language.
fn with_voltage(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    parts::terminal(message, body.u8()?);
    let volts = hundredths(body.u16()?);
    message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
    if body.left() > 3 {
        parts::battery(message, body.u8()?);
    }
    parts::signal(message, body.u8()?);
    let _language = body.u16();
    Some(())
}

/// Seeworld: the supply in one byte of volts.
fn small_voltage(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    parts::terminal(message, body.u8()?);
    parts::battery(message, body.u8()?);
    parts::signal(message, body.u8()?);
    message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, body.u8()?);
    let _language = body.u8()?;
    Some(())
}

/// Is the supply in two bytes before the signal? Then what would be the signal is none, and a signal stands in
/// the place of the alarm, with no language behind it.
fn is_wide(body: &[u8]) -> bool {
    let [_, high, low, third, last] = *body else {
        return false;
    };
    let volts = u16::from_be_bytes([high, low]);
    low > SIGNAL_MAX
        && (1..=SIGNAL_MAX).contains(&third)
        && last == 0
        && WIDE_VOLTS.contains(&volts)
}

/// R11, and the S5E without being told: the supply in hundredths of volts in the place of the battery.
fn r11(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    parts::terminal(message, body.u8()?);
    let volts = hundredths(body.u16()?);
    message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
    parts::signal(message, body.u8()?);
    let _language = body.u8()?;
    Some(())
}

/// Asset trackers: status, a word of satellites and signal, alarm, language, battery in percent,
/// mode, its voltage, a spare byte, how often and how long it worked; the last word of the longer
/// form is a temperature in tenths, bit 15 saying that it is above zero.
///
/// The word of satellites: bits 10 to 14 those of `BeiDou`, 5 to 9 those of GPS, the lower ones the
/// signal.
fn asset(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>, make: Make) -> Option<()> {
    parts::states(message, body.u8()?);
    let word = body.u16()?;
    message.push(
        fields::POSITION_SATELLITES,
        (word >> 10 & 31) + (word >> 5 & 31),
    );
    message.push(fields::GSM_SIGNAL_ENUM, word & 31);
    alarms::push(message, body.u8()?, make);
    let _language = body.u8()?;
    message.push(fields::BATTERY_LEVEL, body.u8()?);
    let _mode = body.u8()?;
    message.push(fields::BATTERY_VOLTAGE, hundredths(body.u16()?));
    if let [spare @ .., high, low] = body.rest()
        && spare.len() == 5
    {
        parts::leftover(message, 0x13, spare);
        let word = u16::from_be_bytes([*high, *low]);
        let tenths = i64::from(word & 0x7fff);
        let tenths = if word & 0x8000 == 0 { -tenths } else { tenths };
        message.push((fields::SENSOR_TEMPERATURE_N, 1), units::scaled(tenths, 1));
        body.take(7)?;
    }
    Some(())
}

/// Number of satellites and the strength of each.
fn satellites(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let count = body.u8()?;
    message.push(fields::GNSS_SATELLITES_VISIBLE, count);
    let strengths = body.take(usize::from(count).min(body.left()))?;
    strengths_list(message, strengths);
    Some(())
}

/// Strengths as a list under the kind's own name.
pub(super) fn strengths_list(message: &mut RecordBuilder<'_>, strengths: &[u8]) {
    let mut values = [Value::Int(0); 64];
    let count = strengths.len().min(values.len());
    for (value, strength) in values.iter_mut().zip(strengths) {
        *value = Value::Int(i64::from(*strength));
    }
    let values = values.get(..count).unwrap_or_default();
    if !values.is_empty() {
        message.name("satellites.strength", Value::List(values));
    }
}
