//! The binary form of the universal devices.

use super::report::push_alert;
use super::universal::push_states;
use crate::contract::{Context, Login, Reject, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::time::{self, two_digit};
use crate::kit::{bcd, hex};
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u24, be_u32};
use nom::{IResult, Parser};

/// Bits 0 to 21 of the mask: every field up to the number of the message.
const ALL_FIELDS: u32 = 0x003f_ffff;

/// Degrees in millionths, the highest bit is the sign.
fn degrees(raw: u32) -> f64 {
    let value = f64::from(raw & 0x7fff_ffff) / 1e6;
    if raw >> 31 == 1 { -value } else { value }
}

struct Head<'a> {
    ident: &'a [u8],
    mask: u32,
    version: &'a [u8],
    live: u8,
    clock: [u8; 6],
}

fn head(input: &[u8]) -> IResult<&[u8], Head<'_>> {
    let (rest, (_, _, ident, mask)) = (be_u8, be_u16, take(5usize), be_u24).parse(input)?;
    let (rest, (_, version, live)) = (be_u8, take(3usize), be_u8).parse(rest)?;
    let (rest, clock) = take(6usize)(rest)?;
    let clock = clock.first_chunk().copied().unwrap_or_default();
    let head = Head {
        ident,
        mask,
        version,
        live,
        clock,
    };
    Ok((rest, head))
}

/// Reads a frame.
pub(super) fn read(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let short = Reject::new("binary", "cut short", frame.len());
    let kind = match frame.first() {
        Some(0x81) => "STT",
        Some(0x82) => "ALT",
        Some(0x83) => "EMG",
        _ => return Err(Reject::new("binary", "a kind that is not known", 0)),
    };
    let (rest, head) = head(frame).map_err(|_| short)?;
    if head.mask & ALL_FIELDS != ALL_FIELDS {
        return Err(Reject::new("mask", "a part of the fields only", 8));
    }
    let ident = bcd::text(head.ident).ok_or(Reject::new("ident", "digits that are none", 3))?;
    let network: IResult<_, _> = (be_u32, be_u16, be_u16, be_u16, be_u8).parse(rest);
    let (rest, (id, mcc, mnc, lac, level)) = network.map_err(|_| short)?;
    let place: IResult<_, _> = (be_u32, be_u32, be_u16, be_u16, be_u8, be_u8).parse(rest);
    let (rest, (latitude, longitude, speed, course, satellites, fix)) = place.map_err(|_| short)?;
    let states: IResult<_, _> = (be_u8, be_u8, be_u8, be_u8).parse(rest);
    let (rest, (inputs, outputs, first, second)) = states.map_err(|_| short)?;

    cx.identify(Login::of(&ident))?;
    let [year, month, day, hour, minute, second_of] = head.clock.map(i64::from);
    let civil = two_digit(year, month, day, hour, minute, second_of);
    let time = time::or_impossible(civil.utc_ms(), cx.now_ms);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, kind);
    if let [major, minor, patch] = head.version {
        message.push(
            fields::DEVICE_FIRMWARE_VERSION,
            &*format!("{major}.{minor}.{patch}"),
        );
    }
    if head.live == 0 {
        message.push(fields::MESSAGE_BUFFERED_STATUS, true);
    }
    if cells::is_mcc(mcc.into()) {
        let cell = Cell {
            mcc: Some(mcc.into()),
            mnc: Some(mnc.into()),
            lac: Some(lac.into()),
            id: Some(id.into()),
            dbm: None,
        };
        cells::push(&mut message, 0, cell);
    }
    message.push(fields::GSM_SIGNAL_ENUM, level);
    message.push(fields::POSITION_VALID, fix == 1);
    if fix == 1 || latitude | longitude != 0 {
        message.push(fields::POSITION_LATITUDE, degrees(latitude));
        message.push(fields::POSITION_LONGITUDE, degrees(longitude));
        message.push(fields::POSITION_SPEED, f64::from(speed) / 100.0);
        message.push(fields::POSITION_DIRECTION, f64::from(course) / 100.0);
    }
    message.push(fields::POSITION_SATELLITES, satellites);
    push_states(&mut message, Some(inputs), Some(outputs));
    let rest = if kind == "STT" {
        message.push(fields::VEHICLE_STATE_ENUM, first);
        message.push(fields::REPORT_REASON, second);
        let number: IResult<_, _> = be_u16(rest);
        let (rest, number) = number.map_err(|_| short)?;
        message.push(fields::RECORD_SEQNUM, number);
        rest
    } else {
        push_alert(&mut message, kind, &first.to_string());
        // the alert's data stand behind their length; of a driver they are the key
        let data: IResult<_, _> = nom::multi::length_data(be_u8).parse(rest);
        match data {
            Ok((rest, data)) if data.len() == 8 => {
                message.push(fields::DRIVER_ID, &*hex::encode(data));
                rest
            }
            _ => rest,
        }
    };
    if !rest.is_empty() {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(rest));
    }
    Ok(())
}
