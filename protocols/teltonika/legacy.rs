//! The records of codec 7: GH3000, whose fields are there or not by masks.
//!
//! | part | bytes | meaning |
//! |---|---|---|
//! | time | 4 | priority (2 bits), seconds since 2007-01-01 |
//! | mask | 1 | 1 GNSS; 2, 4, 8: elements of 1, 2, 4 bytes |
//! | elements | | id and value each; 1 battery, 2 USB, 5 uptime, 20, 21, 22 HDOP, VDOP, PDOP in tenths, 221 button, 222 SOS, 244 roaming, others as in codec 8 |
//! | GNSS mask | 1 | 1 latitude and longitude (floats), 2 altitude, 4 direction (256 a turn), 8 speed, 10 satellites, 20 LAC and cell, 40 signal, 80 operator |

use super::elements::Elements;
use crate::contract::{Context, RecordBuilder, Time, fields};
use crate::kit::units;
use nom::bytes::complete::take;
use nom::combinator::cond;
use nom::number::complete::{be_f32, be_i16, be_u8, be_u16, be_u32};
use nom::{IResult, Parser};

/// 2007-01-01, unix seconds.
const EPOCH_S: i64 = 1_167_609_600;

pub(super) fn record<'a>(input: &'a [u8], cx: &mut Context<'_>) -> IResult<&'a [u8], ()> {
    let (rest, (time, mask)) = (be_u32, be_u8).parse(input)?;
    let elements = Elements::of(cx.settings());
    let failed = || nom::Err::Failure(nom::error::Error::new(input, nom::error::ErrorKind::Verify));
    let ms = (EPOCH_S + i64::from(time & 0x3fff_ffff)) * 1000;
    let mut message = cx.message(Time::Device(ms)).map_err(|_| failed())?;
    message.push(fields::EVENT_PRIORITY_ENUM, time >> 30);
    let mut rest = rest;
    if mask & 1 != 0 {
        rest = gnss(rest, elements, &mut message)?.0;
    }
    for (bit, width) in [(2, 1usize), (4, 2), (8, 4)] {
        if mask & bit != 0 {
            let (after, count) = be_u8(rest)?;
            rest = after;
            for _ in 0..count {
                let (after, id) = be_u8(rest)?;
                let (after, value) = take(width)(after)?;
                element(id, value, elements, &mut message);
                rest = after;
            }
        }
    }
    Ok((rest, ()))
}

/// An element: GH3000 has a numbering of its own for some.
fn element(id: u8, value: &[u8], elements: Elements, message: &mut RecordBuilder<'_>) {
    let number = value
        .iter()
        .fold(0i64, |number, byte| number << 8 | i64::from(*byte));
    let tenths = units::scaled(number, 1);
    match id {
        1 => message.push(fields::BATTERY_LEVEL, number),
        2 => message.name("usb.connected", number == 1),
        5 => message.name("uptime", number),
        20 => message.push(fields::POSITION_HDOP, tenths),
        21 => message.push(fields::POSITION_VDOP, tenths),
        22 => message.push(fields::POSITION_PDOP, tenths),
        221 => message.push(fields::BUTTON_CODE, number),
        222 if number == 1 => message.push(fields::ALARM_EVENT_TRIGGER, true),
        222 => {}
        244 => message.name("roaming", number == 1),
        _ => elements.push(u16::from(id), value, message),
    }
}

fn gnss<'a>(
    input: &'a [u8],
    elements: Elements,
    message: &mut RecordBuilder<'_>,
) -> IResult<&'a [u8], ()> {
    let (rest, mask) = be_u8(input)?;
    let has = |bit: u8| mask & bit != 0;
    let (rest, place) = cond(has(1), (be_f32, be_f32)).parse(rest)?;
    let (rest, altitude) = cond(has(2), be_i16).parse(rest)?;
    let (rest, direction) = cond(has(4), be_u8).parse(rest)?;
    let (rest, speed) = cond(has(8), be_u8).parse(rest)?;
    let (rest, satellites) = cond(has(0x10), be_u8).parse(rest)?;
    let (rest, cell) = cond(has(0x20), (be_u16, be_u16)).parse(rest)?;
    let (rest, signal) = cond(has(0x40), be_u8).parse(rest)?;
    let (rest, operator) = cond(has(0x80), be_u32).parse(rest)?;
    if let Some((latitude, longitude)) = place {
        let (latitude, longitude) = (f64::from(latitude), f64::from(longitude));
        if latitude != 0.0 || longitude != 0.0 {
            message.push(fields::POSITION_LATITUDE, units::round(latitude, 6));
            message.push(fields::POSITION_LONGITUDE, units::round(longitude, 6));
        }
        message.push(fields::POSITION_VALID, satellites.is_none_or(|n| n > 0));
    }
    message.push_some(fields::POSITION_ALTITUDE, altitude);
    message.push_some(
        fields::POSITION_DIRECTION,
        direction.map(|turn| units::round(f64::from(turn) * 360.0 / 256.0, 2)),
    );
    message.push_some(fields::POSITION_SPEED, speed);
    message.push_some(fields::POSITION_SATELLITES, satellites);
    if let Some((lac, cell)) = cell {
        message.push(fields::GSM_LAC, lac);
        message.push(fields::GSM_CELLID, cell);
    }
    message.push_some(fields::GSM_SIGNAL_ENUM, signal);
    if let Some(operator) = operator {
        elements.push(241, &operator.to_be_bytes(), message);
    }
    Ok((rest, ()))
}
