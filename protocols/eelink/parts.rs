//! What several kinds of package share.

use crate::contract::{Context, ParamId, RecordBuilder, Reject, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{hex, time, units};

pub(super) const PHONE_BYTES: usize = 21;

/// The most beacons that a package names.
pub(super) const BEACONS_MAX: u16 = 64;

pub(super) const SHORT: Reject = Reject::new("package", "cut short", 0);

pub(super) fn begin<'c>(
    kind: u8,
    number: u16,
    time: Time,
    cx: &'c mut Context<'_>,
) -> Result<RecordBuilder<'c>, Reject> {
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, &*format!("{kind:02x}"));
    message.push(fields::FRAME_SEQNUM, number);
    Ok(message)
}

pub(super) fn seconds(cursor: &mut Cursor<'_>, now_ms: i64) -> Option<Time> {
    let seconds = i64::from(cursor.u32()?);
    let ms = (seconds > 0).then(|| seconds * 1000);
    Some(time::or_impossible(ms, now_ms))
}

pub(super) fn push_status(message: &mut RecordBuilder<'_>, status: u16, second: bool) {
    let bit = |bit: u16| status >> bit & 1 == 1;
    message.push(fields::STATUS_BITMASK, status);
    if bit(1) {
        message.push(fields::ENGINE_IGNITION_STATUS, bit(2));
    }
    if bit(3) {
        message.push(fields::ARM_STATUS, bit(4));
    }
    if bit(5) {
        message.push(fields::ENGINE_BLOCKED_STATUS, bit(6) == second);
    }
    if bit(7) {
        message.push(fields::BATTERY_CHARGING_STATUS, bit(8));
    }
    if second {
        if !bit(0) {
            message.push(fields::POSITION_VALID, false);
        }
        message.push(fields::MOVEMENT_STATUS, bit(9));
        message.push(fields::GNSS_STATUS, bit(10));
        for input in 1..=4u16 {
            message.push((fields::DIN_N, input), bit(11 + input));
        }
    }
}

pub(super) fn push_place(
    message: &mut RecordBuilder<'_>,
    latitude: u32,
    longitude: u32,
    valid: bool,
) -> bool {
    let degrees = |raw: u32| units::round(f64::from(raw.cast_signed()) / 1_800_000.0, 7);
    let (latitude, longitude) = (degrees(latitude), degrees(longitude));
    let there =
        (latitude != 0.0 || longitude != 0.0) && latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
    message.push(fields::POSITION_VALID, valid && there);
    if there {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    there
}

pub(super) fn push_left(message: &mut RecordBuilder<'_>, cursor: &Cursor<'_>) {
    if cursor.left() > 0 {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(cursor.rest()));
    }
}

/// A telephone number in its place, and a text.
pub(super) fn push_text(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) {
    if let Some(phone) = cursor.take(PHONE_BYTES) {
        let phone = String::from_utf8_lossy(phone);
        message.push(fields::GSM_PHONE, phone.trim_matches(['\0', ' ']));
        let left = cursor.left();
        let text = String::from_utf8_lossy(cursor.take(left).unwrap_or_default());
        message.push(fields::TEXT_MESSAGE, text.trim_matches('\0'));
    }
}

pub(super) fn warning(code: u8) -> Option<ParamId> {
    Some(match code {
        0x01 => fields::POWER_CUT_EVENT_TRIGGER,
        0x02 => fields::ALARM_EVENT_TRIGGER,
        0x03 => fields::BATTERY_LOW_EVENT_TRIGGER,
        0x04 => fields::VIBRATION_EVENT_TRIGGER,
        0x05 => fields::MOVEMENT_EVENT_TRIGGER,
        0x08 | 0x09 => fields::GNSS_ANTENNA_CUT_EVENT_TRIGGER,
        0x25 => fields::TAMPERING_EVENT_TRIGGER,
        0x82 => fields::OVERSPEEDING_EVENT_TRIGGER,
        0x83 => fields::GEOFENCE_EVENT_ENTER,
        0x84 => fields::GEOFENCE_EVENT_EXIT,
        0x85 => fields::CRASH_EVENT_TRIGGER,
        0x86 => fields::FALL_EVENT_TRIGGER,
        0x50..=0x57 => fields::TEMPERATURE_EVENT_TRIGGER,
        _ => return None,
    })
}

pub(super) fn push_warning(message: &mut RecordBuilder<'_>, code: u8) {
    message.push(fields::ALARM_CODE, code);
    if let Some(alarm) = warning(code) {
        message.push(alarm, true);
        if code == 0x01 {
            message.push(fields::EXTERNAL_POWERSOURCE_STATUS, false);
        }
    }
}

/// Level of a cell as dBm.
pub(super) fn dbm(level: u8) -> i64 {
    if level < 64 {
        i64::from(level) - 110
    } else {
        i64::from(level.cast_signed())
    }
}
