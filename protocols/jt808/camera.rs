//! Item E8: Jimi's dash cameras (JC371, JC181, JC450): a kind of 2 bytes, then by kind.

use crate::contract::{Key, ParamId, RecordBuilder, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{hex, units};

/// Reads it; `None` if it is cut short.
pub(super) fn read(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    match body.u16()? {
        0x2002 => {
            let _length = body.u8()?;
            message.name("upload.mode", body.u8()?);
            message.push(fields::MESSAGE_BUFFERED_STATUS, body.u8()? == 1);
        }
        0x2003 => supplies(body, message)?,
        0x2005 => state(body, message)?,
        code => {
            message.push(fields::ALARM_CODE, code);
            match code {
                0x0c03 => message.push(fields::ENGINE_IGNITION_STATUS, true),
                0x0c04 => message.push(fields::ENGINE_IGNITION_STATUS, false),
                _ => {
                    if let Some(meaning) = meaning(code) {
                        message.push(meaning, true);
                    }
                }
            }
            message.push(Key::Wire { space: 0xe8, id: 0 }, body.rest());
        }
    }
    Some(())
}

/// Charging, battery in sixths and hundredths of a volt, signal, supply.
fn supplies(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let _length = body.u8()?;
    message.push(fields::BATTERY_CHARGING_STATUS, body.u8()? == 1);
    let sixths = u16::from(body.u8()?);
    if (1..=6).contains(&sixths) {
        message.push(fields::BATTERY_LEVEL, sixths * 100 / 6);
    }
    let battery = units::scaled(i64::from(body.u16()?), 2);
    message.push(fields::BATTERY_VOLTAGE, battery);
    message.push(fields::GSM_SIGNAL_ENUM, body.u8()?);
    let external = units::scaled(i64::from(body.u16()?), 2);
    message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, external);
    Some(())
}

/// Items of their own: number (2 bytes), length, value.
fn state(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let _length = body.u8()?;
    while body.left() > 0 {
        let (number, length) = (body.u16()?, usize::from(body.u8()?));
        let value = body.take(length)?;
        let mut one = Cursor::new(value);
        match (number, length) {
            (0x0001, 2) => {
                let volts = units::scaled(i64::from(one.u16()?), 2);
                message.push(fields::BATTERY_VOLTAGE, volts);
            }
            (0x0002, 4) => message.name("data.usage", i64::from(one.u32()?)),
            (0x0003, 1) => message.push(fields::BATTERY_LEVEL, one.u8()?),
            (0x0004, 1) => message.push(fields::BATTERY_CHARGING_STATUS, one.u8()? == 0),
            (0x0005, 10) => {
                // nineteen digits and a filler
                let digits = hex::encode(value);
                message.push(fields::GSM_SIM_ICCID, digits.get(..19)?);
            }
            (0x0007, 2) => {
                let hdop = units::scaled(i64::from(one.u16()?), 1);
                message.push(fields::POSITION_HDOP, hdop);
            }
            (0x2001, 2) => {
                let volts = units::scaled(i64::from(one.u16()?), 1);
                message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
            }
            _ => {
                let id = u32::from(number);
                message.push(Key::Wire { space: 0xe8, id }, value);
            }
        }
    }
    Some(())
}

fn meaning(code: u16) -> Option<ParamId> {
    Some(match code {
        0x0001 => fields::FAULT_EVENT_TRIGGER,
        0x0400 | 0x0412 => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        0x0401 | 0x0413 => fields::HARSH_BRAKING_EVENT_TRIGGER,
        0x0402 | 0x0414 => fields::HARSH_CORNERING_EVENT_TRIGGER,
        0x0403 => fields::OVERSPEEDING_EVENT_TRIGGER,
        0x0405 | 0x0416 | 0x0417 => fields::CRASH_EVENT_TRIGGER,
        0x0406 => fields::VIBRATION_EVENT_TRIGGER,
        0x0407 => fields::TOWING_EVENT_TRIGGER,
        0x0408 => fields::GEOFENCE_EVENT_ENTER,
        0x0409 => fields::GEOFENCE_EVENT_EXIT,
        0x040c => fields::DOOR_EVENT_TRIGGER,
        0x0415 => fields::LANE_DEPARTURE_EVENT_TRIGGER,
        0x0c01 => fields::ALARM_EVENT_TRIGGER,
        0x0c02 => fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER,
        0x0c0e => fields::POWER_CUT_EVENT_TRIGGER,
        0x0c0f => fields::BATTERY_LOW_EVENT_TRIGGER,
        0x0c10 => fields::POWER_OFF_EVENT_TRIGGER,
        0x0c12 => fields::TAMPERING_EVENT_TRIGGER,
        _ => return None,
    })
}
