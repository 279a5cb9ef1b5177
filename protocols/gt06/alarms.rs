//! Alarm codes, and what each means: one name per meaning.

use super::make::Make;
use crate::contract::{ParamId, RecordBuilder, fields};

/// Bits 3 to 5 of the terminal's status.
pub(super) fn of_status(message: &mut RecordBuilder<'_>, status: u8) {
    let meaning = match status >> 3 & 7 {
        1 => fields::VIBRATION_EVENT_TRIGGER,
        2 => fields::POWER_CUT_EVENT_TRIGGER,
        3 => fields::BATTERY_LOW_EVENT_TRIGGER,
        4 => fields::ALARM_EVENT_TRIGGER,
        6 => fields::GEOFENCE_EVENT_TRIGGER,
        7 => fields::TAMPERING_EVENT_TRIGGER,
        // 5 is not documented; it stays in status.bitmask
        _ => return,
    };
    message.push(meaning, true);
}

/// The alarm byte of a position's status. 0: none.
pub(super) fn push(message: &mut RecordBuilder<'_>, code: u8, make: Make) {
    if code == 0 {
        return;
    }
    message.push(fields::ALARM_CODE, code);
    if let Some(meaning) = meaning(code, make) {
        message.push(meaning, true);
    }
}

fn meaning(code: u8, make: Make) -> Option<ParamId> {
    match (make, code) {
        (Make::Lw, 0x18) => return Some(fields::CRASH_EVENT_TRIGGER),
        (Make::Lw, 0x19) => return Some(fields::HARSH_ACCELERATION_EVENT_TRIGGER),
        (Make::Lw, 0x1a) | (Make::G18, 0x32) => return Some(fields::HARSH_BRAKING_EVENT_TRIGGER),
        (Make::Lw, 0x1b) => return Some(fields::HARSH_CORNERING_EVENT_TRIGGER),
        _ => {}
    }
    Some(match code {
        0x01 => fields::ALARM_EVENT_TRIGGER,
        0x02 => fields::POWER_CUT_EVENT_TRIGGER,
        0x03 => fields::VIBRATION_EVENT_TRIGGER,
        0x04 => fields::GEOFENCE_EVENT_ENTER,
        0x05 => fields::GEOFENCE_EVENT_EXIT,
        0x06 => fields::OVERSPEEDING_EVENT_TRIGGER,
        0x09 => fields::TOWING_EVENT_TRIGGER,
        0x0a => fields::GNSS_LOST_EVENT_TRIGGER,
        0x0b | 0x0d => fields::GNSS_FOUND_EVENT_TRIGGER,
        0x0c => fields::POWER_ON_EVENT_TRIGGER,
        0x0e | 0x0f | 0x12 => fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER,
        0x10 => fields::GSM_SIM_CHANGED_EVENT_TRIGGER,
        0x11 | 0x15 => fields::POWER_OFF_EVENT_TRIGGER,
        0x13 | 0x18 | 0x25 => fields::TAMPERING_EVENT_TRIGGER,
        0x14 => fields::DOOR_EVENT_TRIGGER,
        0x16 => fields::SOUND_EVENT_TRIGGER,
        0x17 => fields::GSM_FAKE_CELL_EVENT_TRIGGER,
        0x19 => fields::BATTERY_LOW_EVENT_TRIGGER,
        0x20 => fields::SLEEP_EVENT_TRIGGER,
        0x23 => fields::FALL_EVENT_TRIGGER,
        0x26 | 0x29 => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        0x28 | 0x2a | 0x2b | 0x2e => fields::HARSH_CORNERING_EVENT_TRIGGER,
        0x2c => fields::CRASH_EVENT_TRIGGER,
        0x27 | 0x30 => fields::HARSH_BRAKING_EVENT_TRIGGER,
        0x32 => fields::UNPLUGGED_EVENT_TRIGGER,
        0xfe => fields::IGNITION_ON_EVENT_TRIGGER,
        0xff => fields::IGNITION_OFF_EVENT_TRIGGER,
        _ => return None,
    })
}

/// Event codes of the cameras (JC series, kind 95).
pub(super) fn of_camera(code: u8) -> Option<ParamId> {
    Some(match code {
        0x01 => fields::ALARM_EVENT_TRIGGER,
        0x0e => fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER,
        0x47 | 0x8c | 0xa0 => fields::FATIGUE_EVENT_TRIGGER,
        0x51 => fields::DOOR_EVENT_TRIGGER,
        0x53 => fields::FUEL_THEFT_EVENT_TRIGGER,
        0x80 => fields::VIBRATION_EVENT_TRIGGER,
        0x87 => fields::OVERSPEEDING_EVENT_TRIGGER,
        0x88 => fields::POWER_CUT_EVENT_TRIGGER,
        0x8f | 0x94 | 0xa3 => fields::DISTRACTION_EVENT_TRIGGER,
        0x90 => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        0x91 => fields::HARSH_BRAKING_EVENT_TRIGGER,
        0x92 => fields::HARSH_CORNERING_EVENT_TRIGGER,
        0x93 => fields::CRASH_EVENT_TRIGGER,
        0x97 => fields::PHONE_USAGE_EVENT_TRIGGER,
        0x9a => fields::SMOKING_EVENT_TRIGGER,
        _ => return None,
    })
}
