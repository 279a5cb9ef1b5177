//! What the number of an event says.

use crate::contract::{ParamId, RecordBuilder, fields};

/// The RFID tag or iButton of the driver has been read.
pub(super) const DRIVER: i64 = 37;

/// Adds the event and what it says.
pub(super) fn push(event: i64, message: &mut RecordBuilder<'_>) {
    message.push(fields::EVENT_ENUM, event);
    if let Some(trigger) = trigger(event) {
        message.push(trigger, true);
    }
}

fn trigger(event: i64) -> Option<ParamId> {
    Some(match event {
        1 => fields::ALARM_EVENT_TRIGGER,
        17 => fields::BATTERY_LOW_EVENT_TRIGGER,
        18 => fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER,
        19 => fields::OVERSPEEDING_EVENT_TRIGGER,
        20 => fields::GEOFENCE_EVENT_ENTER,
        21 => fields::GEOFENCE_EVENT_EXIT,
        22 => fields::POWER_RESTORED_EVENT_TRIGGER,
        23 => fields::POWER_CUT_EVENT_TRIGGER,
        24 => fields::GNSS_LOST_EVENT_TRIGGER,
        25 => fields::GNSS_FOUND_EVENT_TRIGGER,
        26 => fields::SLEEP_EVENT_TRIGGER,
        28 => fields::GNSS_ANTENNA_CUT_EVENT_TRIGGER,
        29 => fields::POWER_ON_EVENT_TRIGGER,
        36 => fields::TOWING_EVENT_TRIGGER,
        40 => fields::POWER_OFF_EVENT_TRIGGER,
        44 => fields::GSM_JAMMING_EVENT_TRIGGER,
        50 | 51 => fields::TEMPERATURE_EVENT_TRIGGER,
        54 => fields::FUEL_THEFT_EVENT_TRIGGER,
        78 => fields::CRASH_EVENT_TRIGGER,
        79 => fields::FALL_EVENT_TRIGGER,
        90 | 91 => fields::HARSH_CORNERING_EVENT_TRIGGER,
        129 => fields::HARSH_BRAKING_EVENT_TRIGGER,
        130 => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        135 => fields::FATIGUE_EVENT_TRIGGER,
        _ => return None,
    })
}
