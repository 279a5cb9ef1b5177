//! The records of codecs 8, 8 Extended and 16.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 8 | time | unix ms |
//! | 1 | priority | 0 low, 1 high, 2 panic |
//! | 4, 4 | longitude, latitude | 1e-7 degrees |
//! | 2, 2 | altitude, direction | m, degrees |
//! | 1 | satellites | 0: no fix, the place is the last known one |
//! | 2 | speed | km/h |
//! | 1 or 2 | event | the element that made the record, 0: none |
//! | 1 | generation | codec 16 only: why |
//! | 1 or 2 | count | of all elements |
//! | ... | groups | for 1, 2, 4 and 8 bytes: count, and (id, value) each |
//! | ... | X group | codec 8E only: count, and (id, length, value) each |
//!
//! Counts are 2 bytes in codec 8E, else 1; ids and the event 1 byte in codec 8, else 2. Some
//! firmware of codec 8 adds a group of 16 bytes: it is tried when the records do not fit without.

use super::beacons;
use super::elements::Elements;
use crate::contract::{Context, RecordBuilder, Reject, Time, fields};
use crate::kit::parse::whole;
use nom::bytes::complete::take;
use nom::number::complete::{be_i16, be_i32, be_i64, be_u8, be_u16};
use nom::{IResult, Parser};

pub(super) const CODEC_8: u8 = 0x08;
pub(super) const CODEC_8E: u8 = 0x8e;
pub(super) const CODEC_16: u8 = 0x10;

/// Which widths a codec's parts have.
#[derive(Clone, Copy)]
struct Widths {
    id: usize,
    count: usize,
    generation: bool,
    /// The groups of values of one width.
    groups: &'static [usize],
    /// A group of values of any length.
    variable: bool,
}

const GROUPS: &[usize] = &[1, 2, 4, 8];
const GROUPS_OF_16: &[usize] = &[1, 2, 4, 8, 16];

/// Reads the `count` records of a frame into messages. `inner` is what stands between the counts.
pub(super) fn read(codec: u8, count: u8, inner: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut widths = Widths {
        id: if codec == CODEC_8 { 1 } else { 2 },
        count: if codec == CODEC_8E { 2 } else { 1 },
        generation: codec == CODEC_16,
        groups: GROUPS,
        variable: codec == CODEC_8E,
    };
    if codec == CODEC_8 && !fits(inner, count, widths) {
        let wider = Widths {
            groups: GROUPS_OF_16,
            ..widths
        };
        if fits(inner, count, wider) {
            widths = wider;
        }
    }
    let elements = Elements::of(cx.settings());
    whole("records", inner, |mut rest| {
        for _ in 0..count {
            rest = record(rest, widths, elements, cx)?.0;
        }
        Ok((rest, ()))
    })
}

/// Do `count` records take up exactly the `inner` bytes?
fn fits(inner: &[u8], count: u8, widths: Widths) -> bool {
    /// Time, priority, place, altitude, direction, satellites, speed.
    const HEAD_BYTES: usize = 24;
    let mut rest = inner;
    for _ in 0..count {
        let head = HEAD_BYTES + widths.id + widths.count;
        let Some((_, mut groups)) = rest.split_at_checked(head) else {
            return false;
        };
        for width in widths.groups {
            let Some((count, after)) = groups.split_first() else {
                return false;
            };
            let bytes = usize::from(*count) * (widths.id + width);
            let Some((_, after)) = after.split_at_checked(bytes) else {
                return false;
            };
            groups = after;
        }
        rest = groups;
    }
    rest.is_empty()
}

/// A number of one or two bytes.
fn narrow(width: usize, input: &[u8]) -> IResult<&[u8], u16> {
    if width == 1 {
        be_u8.map(u16::from).parse(input)
    } else {
        be_u16(input)
    }
}

fn record<'a>(
    input: &'a [u8],
    widths: Widths,
    elements: Elements,
    cx: &mut Context<'_>,
) -> IResult<&'a [u8], ()> {
    let (rest, (time, priority, longitude, latitude)) =
        (be_i64, be_u8, be_i32, be_i32).parse(input)?;
    let (rest, (altitude, direction, satellites, speed)) =
        (be_i16, be_u16, be_u8, be_u16).parse(rest)?;
    let failed = || nom::Err::Failure(nom::error::Error::new(input, nom::error::ErrorKind::Verify));
    let mut message = cx.message(Time::Device(time)).map_err(|_| failed())?;
    message.push(fields::EVENT_PRIORITY_ENUM, priority);
    if longitude != 0 || latitude != 0 {
        message.push(fields::POSITION_LATITUDE, f64::from(latitude) / 1e7);
        message.push(fields::POSITION_LONGITUDE, f64::from(longitude) / 1e7);
        message.push(fields::POSITION_ALTITUDE, altitude);
    }
    message.push(fields::POSITION_DIRECTION, direction);
    message.push(fields::POSITION_SATELLITES, satellites);
    message.push(fields::POSITION_SPEED, speed);
    message.push(fields::POSITION_VALID, satellites > 0);
    let (rest, event) = narrow(widths.id, rest)?;
    message.push(fields::EVENT_ENUM, event);
    let mut rest = rest;
    if widths.generation {
        let (after, generation) = be_u8(rest)?;
        message.push(fields::REPORT_REASON, generation);
        rest = after;
    }
    rest = narrow(widths.count, rest)?.0;
    for width in widths.groups {
        rest = group(rest, widths, *width, elements, &mut message)?.0;
    }
    if widths.variable {
        rest = variable(rest, elements, &mut message)?.0;
    }
    Ok((rest, ()))
}

fn group<'a>(
    input: &'a [u8],
    widths: Widths,
    width: usize,
    elements: Elements,
    message: &mut RecordBuilder<'_>,
) -> IResult<&'a [u8], ()> {
    let (mut rest, count) = narrow(widths.count, input)?;
    for _ in 0..count {
        let (after, id) = narrow(widths.id, rest)?;
        let (after, value) = take(width)(after)?;
        elements.push(id, value, message);
        rest = after;
    }
    Ok((rest, ()))
}

fn variable<'a>(
    input: &'a [u8],
    elements: Elements,
    message: &mut RecordBuilder<'_>,
) -> IResult<&'a [u8], ()> {
    let (mut rest, count) = be_u16(input)?;
    for _ in 0..count {
        let (after, (id, length)) = (be_u16, be_u16).parse(rest)?;
        let (after, value) = take(length)(after)?;
        match id {
            beacons::BEACONS | beacons::ADVANCED_BEACONS => beacons::push(id, value, message),
            _ => elements.push(id, value, message),
        }
        rest = after;
    }
    Ok((rest, ()))
}
