//! The records of codecs 8, 8 Extended and 16.

use crate::contract::{Context, RecordBuilder, Reject, Time, fields};
use crate::kit::parse::whole;
use nom::bytes::complete::take;
use nom::number::complete::{be_i16, be_i32, be_i64, be_u8, be_u16};
use nom::{IResult, Parser};

/// Reads the body of a frame, from codec to the second count, into messages; gives back their
/// number.
pub(super) fn read(body: &[u8], cx: &mut Context<'_>) -> Result<u8, Reject> {
    let (count, again, codec) = match body {
        [codec, count, .., again] => (*count, *again, *codec),
        _ => return Err(Reject::new("data", "cut short", 8)),
    };
    if count != again {
        return Err(Reject::new("data", "the two counts differ", 8));
    }
    let widths = match codec {
        0x08 => Widths {
            id: 1,
            count: 1,
            event: 1,
            generation: false,
        },
        0x8e => Widths {
            id: 2,
            count: 2,
            event: 2,
            generation: false,
        },
        0x10 => Widths {
            id: 2,
            count: 1,
            event: 2,
            generation: true,
        },
        _ => return Err(Reject::new("codec", "not known", 8)),
    };
    let inner = body.get(2..body.len() - 1).unwrap_or_default();
    whole("records", inner, |mut rest| {
        for _ in 0..count {
            rest = record(rest, widths, cx)?.0;
        }
        Ok((rest, ()))
    })?;
    Ok(count)
}

#[derive(Clone, Copy)]
struct Widths {
    id: usize,
    count: usize,
    event: usize,
    generation: bool,
}

fn uint(width: usize) -> impl Fn(&[u8]) -> IResult<&[u8], u64> {
    move |input| {
        let (rest, bytes) = take(width)(input)?;
        Ok((
            rest,
            bytes
                .iter()
                .fold(0, |value, byte| value << 8 | u64::from(*byte)),
        ))
    }
}

fn record<'a>(input: &'a [u8], widths: Widths, cx: &mut Context<'_>) -> IResult<&'a [u8], ()> {
    let (rest, (time, priority, longitude, latitude)) =
        (be_i64, be_u8, be_i32, be_i32).parse(input)?;
    let (rest, (altitude, direction, satellites, speed)) =
        (be_i16, be_u16, be_u8, be_u16).parse(rest)?;
    let failed = || nom::Err::Failure(nom::error::Error::new(input, nom::error::ErrorKind::Verify));
    let mut message = cx.message(Time::Device(time)).map_err(|_| failed())?;
    message.push(fields::EVENT_PRIORITY_ENUM, priority);
    message.push(fields::POSITION_LONGITUDE, f64::from(longitude) / 1e7);
    message.push(fields::POSITION_LATITUDE, f64::from(latitude) / 1e7);
    message.push(fields::POSITION_ALTITUDE, altitude);
    message.push(fields::POSITION_DIRECTION, direction);
    message.push(fields::POSITION_SATELLITES, satellites);
    message.push(fields::POSITION_SPEED, speed);
    message.push(fields::POSITION_VALID, satellites > 0);
    let (rest, event) = uint(widths.event)(rest)?;
    message.push(fields::EVENT_ENUM, crate::contract::Value::unsigned(event));
    let rest = if widths.generation {
        be_u8(rest)?.0
    } else {
        rest
    };
    let (rest, _total) = uint(widths.count)(rest)?;
    let mut rest = rest;
    for width in [1, 2, 4, 8] {
        rest = group(rest, widths, width, &mut message)?.0;
    }
    if widths.id == 2 && !widths.generation {
        let (after, count) = be_u16(rest)?;
        rest = after;
        for _ in 0..count {
            let (after, (id, length)) = (be_u16, be_u16).parse(rest)?;
            let (after, bytes) = take(length)(after)?;
            message.wire(u32::from(id), bytes);
            rest = after;
        }
    }
    Ok((rest, ()))
}

fn group<'a>(
    input: &'a [u8],
    widths: Widths,
    width: usize,
    message: &mut RecordBuilder<'_>,
) -> IResult<&'a [u8], ()> {
    let (mut rest, count) = uint(widths.count)(input)?;
    for _ in 0..count {
        let (after, id) = uint(widths.id)(rest)?;
        let (after, value) = uint(width)(after)?;
        message.wire(
            u32::try_from(id).unwrap_or(u32::MAX),
            crate::contract::Value::unsigned(value),
        );
        rest = after;
    }
    Ok((rest, ()))
}
