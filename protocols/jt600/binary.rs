//! Binary frames: records of people and vehicles.

use super::fix::{Fix, RECORD_BYTES};
use super::padlock::padlock;
use super::parts::{SHORT, cell, kind};
use crate::contract::{Context, Login, RecordBuilder, Reject, Reply, Value, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{bcd, hex};

/// What says how long a frame is.
pub(super) const HEAD_BYTES: usize = 10;

/// The upper byte of a padlock's length at most; where others have the lower one.
const PADLOCK_LENGTH_HIGH_MAX: u8 = 3;
/// From this version of a padlock's protocol on its answer names the serial number.
const NUMBERED_VERSION: u8 = 0x19;
/// What stands behind the fix in the records of persons and vehicles.
const DETAIL_BYTES: usize = 10;

/// The head of a binary frame.
pub(super) struct Head {
    pub(super) padlock: bool,
    pub(super) version: u8,
    pub(super) records_at: usize,
    pub(super) bytes: usize,
}

/// Six bytes `DDMMYYHHMMSS`, or all zeros while the clock is not set.
pub(super) fn is_date(bytes: &[u8]) -> bool {
    let &[day, month, _, hour, minute, second] = bytes else {
        return false;
    };
    let within = |byte: u8, max: u8| bcd::byte(byte).is_some_and(|number| number <= max);
    within(day, 31)
        && within(month, 12)
        && within(hour, 23)
        && within(minute, 59)
        && within(second, 59)
}

pub(super) fn head(input: &[u8]) -> Option<Head> {
    let [_, ident, _, _, _, _, version, first, second, third] = *input.first_chunk()?;
    // padlocks' idents begin with 7 or above; a packet of several of their records is longer than 255
    let padlock = second == 0 || ident >= 0x70 && second <= PADLOCK_LENGTH_HIGH_MAX;
    let (length, records_at) = if padlock {
        ([second, third], HEAD_BYTES)
    } else {
        ([first, second], HEAD_BYTES - 1)
    };
    Some(Head {
        padlock,
        version: if padlock { first } else { version },
        records_at,
        bytes: usize::from(u16::from_be_bytes(length)) + 10,
    })
}

pub(super) fn binary(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let head = head(frame).ok_or(SHORT)?;
    let ident = frame.get(1..6).and_then(bcd::text);
    let ident = ident.ok_or(Reject::new("ident", "not decimal", 1))?;
    let body = frame.get(head.records_at..).ok_or(SHORT)?;
    let records = frame.len().checked_sub(head.records_at).ok_or(SHORT)?;
    if frame.len() < head.bytes {
        return Err(Reject::new("frame", "cut short", frame.len()));
    }
    // all but the padlock count the serial number beside the length
    let (records, serial) = if head.padlock {
        let records = records.checked_sub(1).ok_or(SHORT)?;
        body.split_at_checked(records).ok_or(SHORT)?
    } else {
        let length = head.bytes - 10;
        body.split_at_checked(length).ok_or(SHORT)?
    };
    let serial = serial.first().copied();
    cx.identify(Login::of(&ident))?;
    let mut body = Cursor::new(records);
    if head.padlock {
        let confirm = padlock(&mut body, head.version, serial, cx)?;
        let version = frame.get(6).copied().unwrap_or_default();
        match serial {
            Some(serial) if confirm && version >= NUMBERED_VERSION => {
                cx.reply(Reply::stored(format!("(P69,0,{serial})")));
            }
            _ if confirm => cx.reply(Reply::stored("(P35)")),
            _ => {}
        }
        return Ok(());
    }
    while body.left() > 0 {
        let fix = Fix::read(&mut body, cx)?;
        let mut message = cx.message(fix.time)?;
        fix.push(&mut message);
        match head.version >> 4 {
            1 => personal(&mut body, &mut message),
            2 => vehicle(&mut body, &mut message),
            3 => tanks(&mut body, &mut message),
            _ => {
                let left = body.left();
                let behind = left.checked_sub(DETAIL_BYTES);
                let more = behind.is_some_and(|more| more % (RECORD_BYTES + DETAIL_BYTES) == 0);
                let count = if more { DETAIL_BYTES } else { left };
                let rest = body.take(count).unwrap_or_default();
                message.push(fields::PAYLOAD_HEX, hex::encode(rest).as_str());
                Some(())
            }
        }
        .ok_or(SHORT)?;
        message.push(fields::MESSAGE_TYPE, kind(head.version));
        message.push_some(fields::FRAME_SEQNUM, serial);
    }
    Ok(())
}

pub(super) fn personal(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    message.push(fields::POSITION_SATELLITES, body.u8()?);
    message.push(fields::BATTERY_LEVEL, body.u8()?);
    message.push(fields::STATUS_BITMASK, body.u8()?);
    message.push(fields::POSITION_ALTITUDE, body.i16()?);
    let (id, lac) = (body.u16()?, body.u16()?);
    cell(message, u32::from(id), lac, None);
    message.push(fields::GSM_SIGNAL_ENUM, body.u8()?);
    Some(())
}

/// Three tanks and the odometer in km, of 12, 12, 12 and 20 bits, and a status of three bytes.
fn tanks(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let bits = body.array::<7>()?;
    let bits = bits
        .iter()
        .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    for (tank, shift) in [(1, 44), (2, 32), (3, 20)] {
        message.push(
            (fields::FUEL_SENSOR_N, tank),
            Value::unsigned(bits >> shift & 0xfff),
        );
    }
    message.push(fields::VEHICLE_MILEAGE, Value::unsigned(bits & 0xf_ffff));
    let status = body.u24()?;
    message.push(fields::STATUS_BITMASK, status);
    message.push(fields::ENGINE_IGNITION_STATUS, status & 1 != 0);
    Some(())
}

pub(super) fn vehicle(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let fuel = body.u8()?;
    let [engine, alarms, driving, reserved] = body.array()?;
    let status = u32::from_be_bytes([engine, alarms, driving, reserved]);
    message.push(fields::STATUS_BITMASK, status);
    message.push(fields::ENGINE_IGNITION_STATUS, engine & 1 != 0);
    message.push(fields::DOOR_OPEN_STATUS, engine & 0x40 != 0);
    message.push(fields::EXTERNAL_POWERSOURCE_STATUS, alarms & 1 != 0);
    message.push(fields::ENGINE_BLOCKED_STATUS, alarms & 2 != 0);
    for (set, param) in [
        (alarms & 4, fields::ALARM_EVENT_TRIGGER),
        (alarms & 0x18, fields::GNSS_ANTENNA_CUT_STATUS),
        (driving & 4, fields::FATIGUE_EVENT_TRIGGER),
        (driving & 8, fields::TOWING_ALARM_STATUS),
    ] {
        if set != 0 {
            message.push(param, true);
        }
    }
    message.push(fields::VEHICLE_MILEAGE, body.u32()?);
    let fuel = u16::from_be_bytes([fuel, body.u8()?]);
    message.push((fields::FUEL_SENSOR_N, 1), fuel);
    Some(())
}
