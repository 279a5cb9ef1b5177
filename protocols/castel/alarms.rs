//! Alarms by their numbers.

use crate::contract::{ParamId, RecordBuilder, fields};
use crate::kit::cursor::Cursor;

pub(super) fn alarm(kind: u8) -> Option<ParamId> {
    Some(match kind {
        0x01 => fields::OVERSPEEDING_EVENT_TRIGGER,
        0x02 => fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER,
        0x03 => fields::TEMPERATURE_EVENT_TRIGGER,
        0x04 => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        0x05 => fields::HARSH_BRAKING_EVENT_TRIGGER,
        0x06 => fields::IDLE_EVENT_TRIGGER,
        0x07 => fields::TOWING_EVENT_TRIGGER,
        0x09 => fields::POWER_ON_EVENT_TRIGGER,
        0x0b => fields::LANE_DEPARTURE_EVENT_TRIGGER,
        0x0c => fields::HARSH_CORNERING_EVENT_TRIGGER,
        0x0d => fields::FATIGUE_EVENT_TRIGGER,
        0x0e => fields::POWER_OFF_EVENT_TRIGGER,
        0x10 => fields::ALARM_EVENT_TRIGGER,
        0x11 => fields::CRASH_EVENT_TRIGGER,
        0x12 => fields::TAMPERING_EVENT_TRIGGER,
        0x15 | 0x18 => fields::FAULT_EVENT_TRIGGER,
        0x16 => fields::IGNITION_ON_EVENT_TRIGGER,
        0x17 => fields::IGNITION_OFF_EVENT_TRIGGER,
        0x1c => fields::VIBRATION_EVENT_TRIGGER,
        _ => return None,
    })
}

/// Count, and for each: it begins (1) or ends (0), kind, value, limit.
pub(super) fn alarms(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    let count = cursor.u8()?;
    for _ in 0..count {
        let (begins, kind) = (cursor.u8()? != 0, cursor.u8()?);
        let (value, limit) = (cursor.u16_le()?, cursor.u16_le()?);
        message.push(fields::ALARM_CODE, kind);
        if let Some(param) = alarm(kind).filter(|_| begins) {
            message.push(param, true);
        }
        match kind {
            0x16 if begins => message.push(fields::ENGINE_IGNITION_STATUS, true),
            0x17 if begins => message.push(fields::ENGINE_IGNITION_STATUS, false),
            _ => {}
        }
        message.name("alarm.begins", begins);
        message.name("alarm.value", value);
        message.name("alarm.limit", limit);
    }
    Some(())
}
