//! Fields that several packets share: time, place, bits, texts.

use crate::contract::RecordBuilder;
use crate::kit::parse::{float, number};
use crate::kit::time::{self, Civil};

/// Reads date and time in any of their forms from the front; gives back what is behind.
pub(super) fn clock<'a, 'f>(parts: &'a [&'f str]) -> Option<(Option<Civil>, &'a [&'f str])> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let date_of = |text: &str| match text.len() {
        8 => {
            let (day_month, year) = text.split_at_checked(4)?;
            let date = time::digits(day_month, "dm")?;
            Some(Civil {
                year: number(year)?,
                ..date
            })
        }
        _ => time::digits(text, "dmy"),
    };
    let joined = |date: &str, clock: &str| {
        let date = date_of(date)?;
        let clock = time::digits(clock, "HMS")?;
        Some(date.at_clock(clock))
    };
    match *parts {
        [both, ref rest @ ..] if matches!(both.len(), 12 | 14) && digits(both) => {
            let (date, clock) = both.split_at_checked(both.len() - 6)?;
            Some((joined(date, clock), rest))
        }
        [date, clock, ref rest @ ..]
            if matches!(date.len(), 6 | 8) && clock.len() == 6 && digits(date) && digits(clock) =>
        {
            Some((joined(date, clock), rest))
        }
        [date, clock, ref rest @ ..] if date.len() == 10 && clock.len() == 8 => {
            let [date, clock] = [date, clock].map(|text| text.replace(['/', '-', ':'], ""));
            let fits = date.len() == 8 && clock.len() == 6 && digits(&date) && digits(&clock);
            fits.then(|| (joined(&date, &clock), rest))
        }
        [day, month, year, hour, minute, second, ref rest @ ..]
            if [day, month, hour, minute, second]
                .iter()
                .all(|part| part.len() == 2 && digits(part))
                && matches!(year.len(), 2 | 4)
                && digits(year) =>
        {
            let date = [day, month, year].concat();
            let clock = [hour, minute, second].concat();
            Some((joined(&date, &clock), rest))
        }
        _ => None,
    }
}

/// What begins with a place, or nothing: for a report whose clock has not been set.
pub(super) fn from_place<'a, 'f>(parts: &'a [&'f str]) -> &'a [&'f str] {
    let at = parts
        .windows(4)
        .position(|four| matches!(four, [_, "N" | "S", _, "E" | "W"]));
    // the state of the fix may stand before it
    let is_fix = |at: &usize| matches!(parts.get(*at), Some(&("0" | "1" | "A" | "V")));
    let from = at.map(|at| at.checked_sub(1).filter(is_fix).unwrap_or(at));
    from.and_then(|from| parts.get(from..)).unwrap_or_default()
}

/// `lat,N|S,lon,E|W` in degrees.
pub(super) fn place(parts: [&str; 4]) -> Option<(f64, f64)> {
    let [lat, ns, lon, ew] = parts;
    let signed = |degrees: &str, side: &str, marks: [&str; 2]| {
        let degrees = float(degrees)?;
        if side == marks[0] {
            Some(degrees)
        } else {
            (side == marks[1]).then_some(-degrees)
        }
    };
    let latitude = signed(lat, ns, ["N", "S"]).filter(|lat| lat.abs() <= 90.0)?;
    let longitude = signed(lon, ew, ["E", "W"]).filter(|lon| lon.abs() <= 180.0)?;
    Some((latitude, longitude)).filter(|place| *place != (0.0, 0.0))
}

pub(super) fn push_text(
    message: &mut RecordBuilder<'_>,
    param: crate::contract::ParamId,
    text: &str,
) {
    if !matches!(text, "" | "N.A" | "NA" | "0000" | "-") {
        message.push(param, text);
    }
}

/// A word of `count` bits, the highest first; what is neither 0 nor 1 is not wired.
pub(super) fn bits(text: &str, count: usize) -> Option<u16> {
    let fits = text.len() == count && text.bytes().all(|byte| matches!(byte, b'0'..=b'2'));
    fits.then(|| {
        text.bytes()
            .fold(0, |word, byte| word << 1 | u16::from(byte == b'1'))
    })
}
