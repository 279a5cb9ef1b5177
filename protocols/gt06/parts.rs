//! Parts that several kinds share: date, position, cell, terminal status.

use super::alarms;
use super::wire::Frame;
use crate::contract::{Context, RecordBuilder, Reject, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::time::{or_impossible, two_digit};
use crate::kit::{hex, units};

pub(super) const SHORT: Reject = Reject::new("content", "cut short", 4);

/// Are these six bytes a date and time that can be?
pub(super) fn is_time(bytes: &[u8]) -> bool {
    civil_ms(bytes).is_some()
}

fn civil_ms(bytes: &[u8]) -> Option<i64> {
    let [year, month, day, hour, minute, second] = *bytes.first_chunk::<6>()?;
    // a two-digit year is below 100; zeros stand for no time
    (year < 100).then_some(())?;
    two_digit(
        i64::from(year),
        i64::from(month),
        i64::from(day),
        i64::from(hour),
        i64::from(minute),
        i64::from(second),
    )
    .utc_ms()
}

/// Does a kind carry the device's local time, not UTC?
fn is_local(kind: u8) -> bool {
    matches!(kind, 0x10..=0x1f)
}

/// Reads date and time. The setting overrides the zone of the login.
pub(super) fn time(
    body: &mut Cursor<'_>,
    kind: u8,
    login_zone_s: Option<i64>,
    cx: &Context<'_>,
) -> Result<Time, Reject> {
    let bytes = body.take(6).ok_or(SHORT)?;
    let ms = civil_ms(bytes).map(|local| {
        let offset_s = match &cx.settings().time_zone {
            Some(zone) => zone.offset_at_local(local),
            None if is_local(kind) => login_zone_s.unwrap_or(0),
            None => 0,
        };
        local - offset_s * 1000
    });
    Ok(or_impossible(ms, cx.now_ms))
}

/// A position as the wire has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fix {
    pub(super) satellites: u8,
    pub(super) latitude: u32,
    pub(super) longitude: u32,
    pub(super) speed: u16,
    pub(super) word: u16,
}

impl Fix {
    pub(super) fn read(body: &mut Cursor<'_>) -> Result<Self, Reject> {
        let read = |body: &mut Cursor<'_>| {
            Some(Self {
                satellites: body.u8()? & 0x0f,
                latitude: body.u32()?,
                longitude: body.u32()?,
                speed: u16::from(body.u8()?),
                word: body.u16()?,
            })
        };
        read(body).ok_or(SHORT)
    }

    /// Are these coordinates that can be, and not zeros?
    pub(super) fn can_be(&self) -> bool {
        self.place().is_some()
    }

    /// Degrees, unless the device has no place.
    fn place(&self) -> Option<(f64, f64)> {
        const PER_DEGREE: f64 = 1_800_000.0;
        if self.latitude == 0 && self.longitude == 0 {
            return None;
        }
        let (latitude, longitude) = (
            f64::from(self.latitude) / PER_DEGREE,
            f64::from(self.longitude) / PER_DEGREE,
        );
        if latitude > 90.0 || longitude > 180.0 {
            return None;
        }
        let north = if self.word & 0x400 == 0 { -1.0 } else { 1.0 };
        let east = if self.word & 0x800 == 0 { 1.0 } else { -1.0 };
        Some((
            units::round(latitude * north, 7),
            units::round(longitude * east, 7),
        ))
    }

    /// Into the message: coordinates only where the device has them.
    pub(super) fn push(&self, message: &mut RecordBuilder<'_>) {
        let place = self.place();
        let valid = place.is_some() && self.word & 0x1000 != 0;
        message.push(fields::POSITION_VALID, valid);
        if let Some((latitude, longitude)) = place {
            message.push(fields::POSITION_LATITUDE, latitude);
            message.push(fields::POSITION_LONGITUDE, longitude);
            message.push(fields::POSITION_SPEED, self.speed);
            message.push(fields::POSITION_DIRECTION, self.word & 0x3ff);
        }
        message.push(fields::POSITION_SATELLITES, self.satellites);
        if self.word & 0x4000 != 0 {
            message.push(fields::ENGINE_IGNITION_STATUS, self.word & 0x8000 != 0);
        }
    }
}

/// How a cell's numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CellForm {
    /// LAC of 2, id of 3 bytes; MNC of 1 or, if MCC says so, 2.
    Gsm,
    /// LAC of 2, id of 4 bytes; MNC of 1.
    Wide,
    /// LAC of 2, id of 4 bytes; MNC of 2.
    WideBoth,
    /// LAC of 4, id of 8 bytes; MNC of 1 or, if MCC says so, 2.
    Lte,
}

impl CellForm {
    /// Area and id.
    pub(super) fn area_and_id(self, body: &mut Cursor<'_>) -> Option<(u32, u64)> {
        match self {
            Self::Gsm => Some((u32::from(body.u16()?), u64::from(body.u24()?))),
            Self::Wide | Self::WideBoth => Some((u32::from(body.u16()?), u64::from(body.u32()?))),
            Self::Lte => Some((body.u32()?, body.u64()?)),
        }
    }

    /// How long a whole cell is here.
    pub(super) fn bytes(self, rest: &[u8]) -> usize {
        let two = rest.first().is_some_and(|high| high & 0x80 != 0);
        match self {
            Self::Gsm => 8 + usize::from(two),
            Self::Wide => 9,
            Self::WideBoth => 10,
            Self::Lte => 15 + usize::from(two),
        }
    }
}

/// Country and network.
pub(super) fn network(body: &mut Cursor<'_>, form: CellForm) -> Option<(u16, u16)> {
    let mcc = body.u16()?;
    let two = mcc & 0x8000 != 0 || form == CellForm::WideBoth;
    let mnc = if two {
        body.u16()?
    } else {
        u16::from(body.u8()?)
    };
    Some((mcc & 0x7fff, mnc))
}

/// Reads a cell into the message; zeros are no cell.
pub(super) fn cell(
    body: &mut Cursor<'_>,
    form: CellForm,
    message: &mut RecordBuilder<'_>,
) -> Result<(), Reject> {
    let (mcc, mnc) = network(body, form).ok_or(SHORT)?;
    let (lac, id) = form.area_and_id(body).ok_or(SHORT)?;
    push_cell(message, mcc, mnc, lac, id);
    Ok(())
}

pub(super) fn push_cell(message: &mut RecordBuilder<'_>, mcc: u16, mnc: u16, lac: u32, id: u64) {
    if mcc == 0 && lac == 0 && id == 0 {
        return;
    }
    message.push(fields::GSM_MCC, mcc);
    message.push(fields::GSM_MNC, mnc);
    message.push(fields::GSM_LAC, lac);
    message.push(fields::GSM_CELLID, crate::contract::Value::unsigned(id));
}

/// The byte that most status blocks begin with; bits 3 to 5 are an alarm.
pub(super) fn terminal(message: &mut RecordBuilder<'_>, status: u8) {
    states(message, status);
    alarms::of_status(message, status);
}

/// The terminal's byte of the makes that have no alarm in it.
pub(super) fn states(message: &mut RecordBuilder<'_>, status: u8) {
    message.push(fields::STATUS_BITMASK, status);
    message.push(fields::ARM_STATUS, status & 1 != 0);
    message.push(fields::ENGINE_IGNITION_STATUS, status & 2 != 0);
    message.push(fields::BATTERY_CHARGING_STATUS, status & 4 != 0);
    message.push(fields::GNSS_STATUS, status & 0x40 != 0);
    message.push(fields::ENGINE_BLOCKED_STATUS, status & 0x80 != 0);
}

/// The battery: a step of 0 to 6, or percent above.
pub(super) fn battery(message: &mut RecordBuilder<'_>, value: u8) {
    match value {
        0..=6 => {
            message.push(fields::BATTERY_LEVEL, u16::from(value) * 100 / 6);
            message.push(fields::BATTERY_LEVEL_ENUM, value);
        }
        7..=100 => message.push(fields::BATTERY_LEVEL, value),
        _ => message.push(fields::BATTERY_LEVEL_ENUM, value),
    }
}

/// The signal: a step of 0 to 4 as the documents say; some makes send other scales.
pub(super) fn signal(message: &mut RecordBuilder<'_>, value: u8) {
    message.push(fields::GSM_SIGNAL_ENUM, value);
    if value <= 4 {
        message.push(fields::GSM_SIGNAL_LEVEL, u16::from(value) * 25);
    }
}

/// Bytes whose meaning is not known, under the kind's number; zeros say nothing.
pub(super) fn leftover(message: &mut RecordBuilder<'_>, kind: u8, rest: &[u8]) {
    if rest.iter().any(|byte| *byte != 0) {
        message.wire(u32::from(kind), rest);
    }
}

/// A date's place taken by the receipt: for messages without one.
pub(super) fn received(cx: &Context<'_>) -> Time {
    Time::Received(cx.now_ms)
}

/// A kind that is not understood is kept whole.
pub(super) fn unknown(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut message = cx.message(received(cx))?;
    message.push(fields::MESSAGE_TYPE, hex::encode(&[frame.kind]).as_str());
    message.push(fields::PAYLOAD_HEX, hex::encode(frame.body).as_str());
    Ok(())
}

/// Metres to km.
pub(super) fn km(metres: u32) -> f64 {
    units::scaled(i64::from(metres), 3)
}

/// Hundredths to the unit.
pub(super) fn hundredths(value: u16) -> f64 {
    units::scaled(i64::from(value), 2)
}

/// Minutes to hours.
pub(super) fn hours(minutes: u32) -> f64 {
    units::round(f64::from(minutes) / 60.0, 4)
}
