//! Kinds 62 and 64: a checksum (CRC-8 of all behind it), flags, date, and lists of values.
//!
//! A list has a kind, a count, and for each value an identification and bytes:
//!
//! | list | count | value |
//! |---|---|---|
//! | 1 (settings) | 1 | id (1) below 80: 1 byte, below C0: 2, below F0: 4, else 8 |
//! | 2 (state) | 1 | id (1) below 60: 1 byte, below A0: 2, else 4 |
//! | 3 (parts) | 2 | id (2), length (1), bytes |

use super::wire::{Head, SHORT, celsius, date};
use super::{location, place};
use crate::contract::{Context, Key, RecordBuilder, Reject, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{checksum, hex, table};

const ENCRYPTED: u8 = 0x30;
const SETTINGS: u8 = 1;
const STATE: u8 = 2;
const PARTS: u8 = 3;

/// Gives the alarm's code.
pub(super) fn read(head: &Head, body: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<u8, Reject> {
    let sum = body.u8().ok_or(SHORT)?;
    if sum != checksum::crc8_egts(body.rest()) {
        return Err(Reject::new("crc", "the checksum does not fit", 15));
    }
    let flags = body.u8().ok_or(SHORT)?;
    if flags & ENCRYPTED != 0 {
        return Err(Reject::new("cipher", "encrypted", 16));
    }
    let time = date(body, cx.now_ms)?;
    let mut message = head.open(time, cx)?;
    message.push(fields::MESSAGE_BUFFERED_STATUS, flags & 0x80 != 0);
    let mut alarm = 0;
    let left = *body;
    if lists(head, body, &mut message, &mut alarm).is_none() {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(left.rest()));
    }
    Ok(alarm)
}

fn lists(
    head: &Head,
    body: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
    alarm: &mut u8,
) -> Option<()> {
    while body.left() >= 2 {
        let list = body.u8()?;
        let count = match list {
            PARTS => body.u16()?,
            _ => body.u8()?.into(),
        };
        for _ in 0..count {
            let (id, length) = match list {
                SETTINGS => {
                    let id = body.u8()?;
                    let length = match id {
                        0..0x80 => 1,
                        0x80..0xc0 => 2,
                        0xc0..0xf0 => 4,
                        _ => 8,
                    };
                    (id.into(), length)
                }
                STATE => {
                    let id = body.u8()?;
                    let length = match id {
                        0..0x60 => 1,
                        0x60..0xa0 => 2,
                        _ => 4,
                    };
                    (id.into(), length)
                }
                PARTS => (body.u16()?, body.u8()?.into()),
                _ => return None,
            };
            let bytes = body.take(length)?;
            match list {
                STATE if id == 1 => {
                    *alarm = bytes.first().copied().unwrap_or_default();
                    location::push_alarm(message, head.family, *alarm);
                }
                STATE => state(id, bytes, message),
                PARTS if part(id, bytes, message).is_some() => {}
                _ => keep(list, id, bytes, message),
            }
        }
    }
    Some(())
}

fn keep(list: u8, id: u16, bytes: &[u8], message: &mut RecordBuilder<'_>) {
    let key = Key::Wire {
        space: list,
        id: id.into(),
    };
    if bytes.len() <= 4 {
        message.push(
            key,
            i64::try_from(table::big_endian(bytes)).unwrap_or_default(),
        );
    } else {
        message.push(key, bytes);
    }
}

fn state(id: u16, bytes: &[u8], message: &mut RecordBuilder<'_>) {
    let raw = table::big_endian(bytes);
    let number = i64::try_from(raw).unwrap_or_default();
    let thousandths = raw as f64 / 1000.0;
    let first = bytes.first().copied().unwrap_or_default();
    match id {
        0x02 => {
            message.push(fields::GNSS_STATUS, first & 0x40 != 0);
            message.push(fields::POSITION_VALID, first & 4 != 0);
        }
        0x03 => message.push(fields::GSM_SIGNAL_LEVEL, number),
        0x04 => message.push(fields::DOUT, number),
        0x05 => message.push(fields::DIN, number),
        0x07 => message.push(fields::BATTERY_LEVEL, number),
        0x0a => message.push_some(fields::DEVICE_TEMPERATURE, celsius(first)),
        0x60 => message.push(fields::BATTERY_VOLTAGE, thousandths),
        0x61 => {
            message.push(fields::ENGINE_IGNITION_STATUS, first & 0x80 != 0);
            message.name("ac", first & 0x40 != 0);
            message.push(fields::EXTERNAL_POWERSOURCE_STATUS, first & 0x20 != 0);
            message.push(fields::BATTERY_CHARGING_STATUS, first & 0x1a != 0);
        }
        0x62 => message.push(fields::POSITION_SPEED, number),
        0x63 => message.push(fields::SOLAR_PANEL_VOLTAGE, thousandths),
        0x67..=0x69 => message.push((fields::AIN_N, id - 0x66), thousandths),
        0xa0 => message.push(fields::VEHICLE_MILEAGE, thousandths),
        0xa1 => message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, thousandths),
        0xa2 => message.push(fields::ILLUMINATION, number),
        _ => keep(STATE, id, bytes, message),
    }
}

fn part(id: u16, bytes: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut cursor = Cursor::new(bytes);
    match id {
        0x01 => {
            // altitude, longitude, latitude, course, HDOP, satellites
            let [place @ .., _, _] = cursor.array::<16>()?;
            let mut bytes = [0; 16];
            let (floats, course) = place.split_first_chunk::<12>()?;
            bytes.get_mut(..12)?.copy_from_slice(floats);
            bytes.get_mut(14..)?.copy_from_slice(course);
            let fixed = bytes.get(..12)? != [0xff; 12];
            place::push_place(message, bytes, fixed, false);
            let satellites = cursor.u8().filter(|count| *count != 0xff);
            message.push_some(fields::POSITION_SATELLITES, satellites);
        }
        0x02 | 0x03 => {
            place::push_place(message, cursor.array()?, false, false);
        }
        0x04 => {
            message.push(fields::POSITION_VALID, false);
            place::push_wifi(message, &mut cursor)?;
        }
        0x07 => location::push_vehicle(message, &mut cursor)?,
        _ => return None,
    }
    Some(())
}
