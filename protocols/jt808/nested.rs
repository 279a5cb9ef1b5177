//! Item EB: items of their own, a list of cells, or a text.

use super::cells::{cell, signal_step};
use super::values::{iccid, padded};
use crate::contract::{Key, RecordBuilder, fields};
use crate::kit::cursor::Cursor;
use crate::kit::units;

/// Item EB: items of their own (length and number of 2 bytes), a list of cells, or a text.
pub(super) fn nested(value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut body = Cursor::new(value);
    let mut count = 0;
    while each(&mut body).is_some() {
        count += 1;
    }
    if count > 0 && body.left() == 0 {
        let mut body = Cursor::new(value);
        while let Some((number, value)) = each(&mut body) {
            if nested_item(number, value, message).is_none() {
                let id = u32::from(number);
                message.push(Key::Wire { space: 0xeb, id }, value);
            }
        }
        return Some(());
    }
    if value.is_ascii() {
        message.name("text", padded(value)?);
        return Some(());
    }
    let mut body = Cursor::new(value);
    let (mcc, mnc) = (body.u16()?, u16::from(body.u8()?));
    if !body.left().is_multiple_of(5) {
        return None;
    }
    let mut number = 0;
    while body.left() > 0 {
        let (lac, id, signal) = (body.u16()?, body.u16()?, body.u8()?);
        cell(message, number, mcc, mnc, u32::from(lac), u32::from(id));
        if lac != 0 || id != 0 {
            signal_step(message, number, signal);
            number += 1;
        }
    }
    Some(())
}

/// The next item in an item: length and number of 2 bytes.
fn each<'a>(body: &mut Cursor<'a>) -> Option<(u16, &'a [u8])> {
    let length = usize::from(body.u16()?).checked_sub(2)?;
    Some((body.u16()?, body.take(length)?))
}

fn nested_item(number: u16, value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut body = Cursor::new(value);
    match (number, value.len()) {
        (0x01, 3) => {
            let percent = units::scaled(i64::from(body.u16()?), 1);
            message.push((fields::FUEL_LEVEL_N, 1), percent);
        }
        (0x23, 1..) => {
            let percent = crate::kit::parse::float(padded(value)?)?;
            message.push((fields::FUEL_LEVEL_N, 2), percent);
        }
        (0x2d, 2) => {
            let volts = units::scaled(i64::from(body.u16()?), 3);
            message.push(fields::BATTERY_VOLTAGE, volts);
        }
        (0x2d, 4) => {
            let volts = units::scaled(i64::from(body.u32()?), 3);
            message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
        }
        // a cleared bit is an alarm
        (0x89, 4) => {
            let bits = !body.u32()?;
            message.push(
                Key::Wire {
                    space: 0xeb,
                    id: 0x89,
                },
                value,
            );
            if bits & 1 != 0 {
                message.push(fields::POWER_CUT_EVENT_TRIGGER, true);
            }
            if bits & 1 << 12 != 0 {
                message.push(fields::TAMPERING_EVENT_TRIGGER, true);
            }
        }
        (0xb9, 2..) => wifi(value, message)?,
        (0xc6, 1) => {
            let state = body.u8()?;
            if matches!(state, 3 | 4) {
                message.push(fields::BATTERY_LOW_EVENT_TRIGGER, true);
            }
            message.name("battery.alarm", state);
        }
        (0xce, 2) => {
            let volts = units::scaled(i64::from(body.u16()?), 2);
            message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
        }
        (0xa3, 1..) => message.push(fields::DEVICE_FIRMWARE_VERSION, padded(value)?),
        (0xa8 | 0xe1, 1) => message.push(fields::BATTERY_LEVEL, body.u8()?),
        (0xb2, 10) => iccid(message, value),
        (0xc5, 4) => {
            let bits = body.u32()?;
            message.push(
                Key::Wire {
                    space: 0xeb,
                    id: 0xc5,
                },
                value,
            );
            if bits & 1 << 6 == 0 {
                message.push(fields::VIBRATION_EVENT_TRIGGER, true);
            }
            match bits >> 23 & 3 {
                0 => message.push(fields::MOVEMENT_STATUS, true),
                1 => message.push(fields::MOVEMENT_STATUS, false),
                _ => {}
            }
        }
        (0xd5, 15) => message.push(fields::DEVICE_IMEI, padded(value)?),
        (0xd8, 9..) => {
            let (mcc, mnc) = (body.u16()?, u16::from(body.u8()?));
            let (lac, id) = (u32::from(body.u16()?), body.u32()?);
            cell(message, 0, mcc, mnc, lac, id);
            if body.left() > 0 {
                message.push(
                    Key::Wire {
                        space: 0xeb,
                        id: 0xd8,
                    },
                    body.rest(),
                );
            }
        }
        (0xfb, 20) => message.push(fields::GSM_SIM_ICCID, padded(value)?),
        _ => return None,
    }
    Some(())
}

/// Count, then addresses and signals in turn, as text with commas.
fn wifi(value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    const POINTS_MAX: u16 = 32;
    let text = std::str::from_utf8(value.get(1..)?).ok()?;
    let mut parts = text.trim_matches('\0').split(',');
    for number in 1..=POINTS_MAX {
        let (Some(mac), Some(signal)) = (parts.next(), parts.next()) else {
            break;
        };
        message.push((fields::WIFI_MAC_N, number), mac.trim());
        let dbm: Option<i64> = signal.trim().parse().ok();
        message.push_some((fields::WIFI_SIGNAL_DBM_N, number), dbm);
    }
    Some(())
}
