//! Alarms of cameras and of active safety behind a position: T/JSATL 12-2017 items 64 (what is
//! ahead), 65 (the driver) and 70 (how he drives), JT/T 1078-2016 items 14 to 18 (video).

use crate::contract::{ParamId, RecordBuilder, fields};
use crate::kit::cursor::Cursor;
use crate::kit::hex;

/// The end of something that lasted; it is no new event.
const ENDED: u8 = 2;
const IDENTIFICATION_BYTES: usize = 16;
/// An alarm that has the identification of its files; some makes leave out all behind the type.
const WHOLE_BYTES: usize = 47;

/// Reads an item; `None` if it is none of these.
pub(super) fn read(number: u8, value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    match (number, value.len()) {
        (0x64 | 0x65 | 0x70, 6..) => alarm(number, value, message),
        (0x14..=0x16, 4) => {
            let name = match number {
                0x14 => "video.alarm.bitmask",
                0x15 => "video.lost.bitmask",
                _ => "video.covered.bitmask",
            };
            message.name(name, i64::from(Cursor::new(value).u32()?));
            Some(())
        }
        (0x17, 2) => {
            message.name("storage.fault.bitmask", Cursor::new(value).u16()?);
            Some(())
        }
        (0x18, 3) => {
            let mut body = Cursor::new(value);
            let (bits, level) = (body.u16()?, body.u8()?);
            message.name("driving.alarm.bitmask", bits);
            message.name("driving.alarm.level", level);
            for (bit, meaning) in [
                (0, fields::FATIGUE_EVENT_TRIGGER),
                (1, fields::PHONE_USAGE_EVENT_TRIGGER),
                (2, fields::SMOKING_EVENT_TRIGGER),
            ] {
                if bits >> bit & 1 != 0 {
                    message.push(meaning, true);
                }
            }
            Some(())
        }
        _ => None,
    }
}

/// Number of the alarm, whether it begins or ends, type, by-item words, position, identification of its files.
fn alarm(number: u8, value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut body = Cursor::new(value);
    message.push(fields::EVENT_SEQNUM, i64::from(body.u32()?));
    let (phase, kind) = (body.u8()?, body.u8()?);
    message.name("alarm.phase", phase);
    let code = u16::from(number) << 8 | u16::from(kind);
    message.push(fields::ALARM_CODE, code);
    if phase != ENDED
        && let Some(meaning) = meaning(number, kind)
    {
        message.push(meaning, true);
    }
    if number != 0x70
        && let Some(level) = body.u8()
    {
        message.name("alarm.level", level);
    }
    if let Some(files) = value.last_chunk::<IDENTIFICATION_BYTES>()
        && value.len() >= WHOLE_BYTES
    {
        message.name("alarm.files", hex::encode(files).as_str());
    }
    Some(())
}

fn meaning(number: u8, kind: u8) -> Option<ParamId> {
    Some(match (number, kind) {
        (0x64, 0x01) => fields::FORWARD_COLLISION_EVENT_TRIGGER,
        (0x64, 0x02) => fields::LANE_DEPARTURE_EVENT_TRIGGER,
        (0x65, 0x01) => fields::FATIGUE_EVENT_TRIGGER,
        (0x65, 0x02) => fields::PHONE_USAGE_EVENT_TRIGGER,
        (0x65, 0x03) => fields::SMOKING_EVENT_TRIGGER,
        (0x65, 0x04) => fields::DISTRACTION_EVENT_TRIGGER,
        (0x70, 0x01) => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        (0x70, 0x02) => fields::HARSH_BRAKING_EVENT_TRIGGER,
        (0x70, 0x03) => fields::HARSH_CORNERING_EVENT_TRIGGER,
        (0x70, 0x04) => fields::IDLE_EVENT_TRIGGER,
        (0x70, 0x16) => fields::CRASH_EVENT_TRIGGER,
        _ => return None,
    })
}
