//! The binary form.

use super::status;
use crate::contract::{Context, Login, Probe, RecordBuilder, Reject, Time, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::time::{Civil, two_digit};
use crate::kit::{bcd, hex, units};
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u32};
use nom::{IResult, Parser};

/// How long a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// 32 bytes.
    Short,
    /// 45 bytes, with the network.
    Long,
    /// 42 bytes: the ident is an IMEI.
    Imei,
}

const SHORT_IDENT_BYTES: usize = 5;
const IMEI_IDENT_BYTES: usize = 8;

/// An ident of five bytes, as it is on the wire.
pub(super) type ShortIdent = [u8; SHORT_IDENT_BYTES];

/// The ident at the beginning of a frame that has a short one.
pub(super) fn ident(input: &[u8]) -> Option<ShortIdent> {
    input.get(1..)?.first_chunk().copied()
}

/// Up to here the leading bytes tell the forms with a short and with a long ident apart.
pub(super) const TIMES_END: usize = 15;
/// So many bytes tell whether a date stands there.
const DATES_END: usize = 16;
const SHORT_BYTES: usize = 32;
/// A clock that shows this year is none.
const FAR_YEAR: i64 = 2050;
const RECORD_BYTES_OF_JT600: usize = 17;
const LONG_BYTES: usize = 45;
const IMEI_BYTES: usize = 42;
/// Up to here all forms are the same.
const RESERVED: std::ops::Range<usize> = 29..32;

/// How long the frame at the beginning of `input` is, or how much of it must be there to tell.
/// `long` is the device that is known to send the long form.
pub(super) fn length(input: &[u8], long: Option<ShortIdent>) -> usize {
    if input.first() == Some(&b'X') {
        return SHORT_BYTES;
    }
    if input.len() < TIMES_END {
        return TIMES_END;
    }
    if !is_time(input, 6) && is_time(input, 9) {
        return IMEI_BYTES;
    }
    if long.is_some() && long == ident(input) {
        return LONG_BYTES;
    }
    match input.get(RESERVED) {
        Some([1..=255, 0, 0]) | None => SHORT_BYTES,
        Some(_) => LONG_BYTES,
    }
}

/// May these bytes begin a connection? First the date tells, then the place.
pub(super) fn probe(head: &[u8]) -> Probe {
    if head.len() < DATES_END {
        return Probe::More;
    }
    let near = |ident_bytes: &usize| {
        let at = 1 + ident_bytes;
        let time = time(head.get(at..at + 6).unwrap_or_default());
        time.is_some_and(|civil| civil.year < FAR_YEAR)
    };
    let idents = [SHORT_IDENT_BYTES, IMEI_IDENT_BYTES];
    if !idents.iter().any(near) || is_like_jt600(head) {
        return Probe::No;
    }
    if head.len() < SHORT_BYTES {
        return Probe::More;
    }
    let placed = |bytes: &usize| fix(head, *bytes).is_ok_and(|(_, fix)| place(&fix).is_ok());
    if idents.iter().any(|bytes| near(bytes) && placed(bytes)) {
        Probe::Yes
    } else {
        Probe::No
    }
}

/// JT600's padlocks begin with the same mark and ident; their length follows, less than 256, and then
/// a date where this protocol has its month and year.
fn is_like_jt600(head: &[u8]) -> bool {
    match head.get(8..DATES_END) {
        Some(&[0, length, day, month, year, hour, minute, second]) => {
            // a record's length is the least that it says
            usize::from(length) >= RECORD_BYTES_OF_JT600
                && time(&[hour, minute, second, day, month, year]).is_some()
        }
        _ => false,
    }
}

/// Do HHMMSS and DDMMYY stand at `at`?
fn is_time(input: &[u8], at: usize) -> bool {
    time(input.get(at..at + 6).unwrap_or_default()).is_some()
}

fn time(bytes: &[u8]) -> Option<Civil> {
    let &[hour, minute, second, day, month, year] = bytes else {
        return None;
    };
    let digits = |byte| bcd::byte(byte).map(i64::from);
    let civil = two_digit(
        digits(year)?,
        digits(month)?,
        digits(day)?,
        digits(hour)?,
        digits(minute)?,
        digits(second)?,
    );
    // these terminals are younger than 2000: another year says that this is no date
    (civil.year >= 2000)
        .then_some(civil)?
        .utc_ms()
        .map(|_| civil)
}

struct Fix<'a> {
    ident: &'a [u8],
    time: &'a [u8],
    latitude: &'a [u8],
    battery: u8,
    longitude: &'a [u8],
    motion: &'a [u8],
    status: u32,
}

fn fix(input: &[u8], ident_bytes: usize) -> IResult<&[u8], Fix<'_>> {
    let (rest, (_, ident, time, latitude)) =
        (be_u8, take(ident_bytes), take(6usize), take(4usize)).parse(input)?;
    let (rest, (battery, longitude, motion, status)) =
        (be_u8, take(5usize), take(3usize), be_u32).parse(rest)?;
    let fix = Fix {
        ident,
        time,
        latitude,
        battery,
        longitude,
        motion,
        status,
    };
    Ok((rest, fix))
}

/// Degrees of a number whose last six digits are minutes with four decimals.
fn degrees(number: i64, limit: f64) -> Option<f64> {
    let minutes = (number % 1_000_000) as f64 / 10_000.0;
    let value = (number / 1_000_000) as f64 + minutes / 60.0;
    (minutes < 60.0 && value <= limit).then(|| units::round(value, 7))
}

/// Where it is, without its signs, and the flags that stand beside the longitude.
fn place(fix: &Fix<'_>) -> Result<((f64, f64), u8), Reject> {
    let bad = |at| Reject::new("binary", "digits that are none", at);
    let latitude = bcd::number(fix.latitude).ok_or(bad(12))?;
    let (longitude, flags) = match fix.longitude {
        [digits @ .., last] => (
            bcd::number(digits)
                .zip((last >> 4 < 10).then_some(i64::from(last >> 4)))
                .map(|(high, low)| high * 10 + low)
                .ok_or(bad(17))?,
            last & 15,
        ),
        [] => return Err(bad(17)),
    };
    let place = degrees(latitude, 90.0)
        .zip(degrees(longitude, 180.0))
        .ok_or(Reject::new("position", "out of range", 12))?;
    Ok((place, flags))
}

/// Reads a frame; gives back its form.
pub(super) fn read(frame: &[u8], cx: &mut Context<'_>) -> Result<Form, Reject> {
    let form = match frame.len() {
        SHORT_BYTES => Form::Short,
        LONG_BYTES => Form::Long,
        IMEI_BYTES => Form::Imei,
        length => return Err(Reject::new("binary", "cut short", length)),
    };
    let ident_bytes = match form {
        Form::Imei => IMEI_IDENT_BYTES,
        Form::Short | Form::Long => SHORT_IDENT_BYTES,
    };
    let (tail, fix) =
        fix(frame, ident_bytes).map_err(|_| Reject::new("binary", "cut short", frame.len()))?;
    let bad = |at| Reject::new("binary", "digits that are none", at);
    let ident = bcd::text(fix.ident).ok_or(bad(1))?;
    // sixteen digits hold the fifteen of an IMEI
    let ident = if form == Form::Imei {
        ident.get(..15).unwrap_or(&ident)
    } else {
        &ident
    };
    let time = time(fix.time).ok_or(Reject::new("time", "cannot be", 1 + ident_bytes))?;
    let (place, flags) = place(&fix)?;
    let motion = bcd::number(fix.motion).ok_or(bad(22))?;
    let valid = flags & 2 != 0;

    let zoned = time.ms(cx.identify(Login::of(ident))?);
    let mut message = cx.message(zoned.map_or(Time::Impossible(cx.now_ms), Time::Device))?;
    message.push(fields::POSITION_VALID, valid);
    if valid || place != (0.0, 0.0) {
        let signed = |value: f64, positive: bool| if positive { value } else { -value };
        message.push(fields::POSITION_LATITUDE, signed(place.0, flags & 4 != 0));
        message.push(fields::POSITION_LONGITUDE, signed(place.1, flags & 8 != 0));
        message.push(fields::POSITION_SPEED, units::knots((motion / 1000) as f64));
        message.push(fields::POSITION_DIRECTION, motion % 1000);
    }
    battery(&mut message, fix.battery);
    status::push(&mut message, fix.status);
    match form {
        Form::Long => network(&mut message, tail),
        Form::Imei => message.push(fields::PAYLOAD_HEX, &*hex::encode(tail)),
        Form::Short => {
            if let Some(alarms @ ..=0xfe) = tail.first().copied() {
                message.name("user.alarms", alarms);
            }
        }
    }
    Ok(form)
}

/// Six steps, or percent.
fn battery(message: &mut RecordBuilder<'_>, byte: u8) {
    match byte {
        0 => {}
        1..=3 => message.push(fields::BATTERY_LEVEL, (byte - 1) * 10),
        4..=6 => message.push(fields::BATTERY_LEVEL, (byte - 1) * 20),
        7..=100 => message.push(fields::BATTERY_LEVEL, byte),
        _ => message.push(fields::BATTERY_LEVEL_ENUM, byte),
    }
}

/// The end of the long form, where it is as most makers have it.
fn network(message: &mut RecordBuilder<'_>, tail: &[u8]) {
    const STEPS_MAX: u8 = 31;
    const SATELLITES_MAX: u8 = 64;
    let read: IResult<_, _> = (
        be_u8, be_u8, be_u8, be_u8, be_u32, be_u16, be_u8, be_u16, be_u16, be_u8,
    )
        .parse(tail);
    let fits = |mcc: u16| mcc == 0 || cells::is_mcc(mcc.into());
    match read {
        Ok((_, (alarms, _, signal, satellites, distance, mcc, mnc, lac, id, number)))
            if fits(mcc) && signal <= STEPS_MAX && satellites <= SATELLITES_MAX =>
        {
            if alarms != 0xff {
                message.name("user.alarms", alarms);
            }
            message.push(fields::GSM_SIGNAL_ENUM, signal);
            message.push(fields::POSITION_SATELLITES, satellites);
            message.name("distance", distance);
            message.push(fields::RECORD_SEQNUM, number);
            if mcc != 0 {
                let some = |value: u16| (value != 0).then_some(i64::from(value));
                cells::push(
                    message,
                    0,
                    Cell {
                        mcc: some(mcc),
                        mnc: Some(mnc.into()),
                        lac: some(lac),
                        id: some(id),
                        dbm: None,
                    },
                );
            }
        }
        _ => message.push(fields::PAYLOAD_HEX, &*hex::encode(tail)),
    }
}
