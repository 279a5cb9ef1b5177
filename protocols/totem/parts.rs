//! What several forms share: fields of fixed width, cells, places.

use crate::contract::{Context, RecordBuilder, Reject, Time, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::nmea_degrees;
use crate::kit::time::digits;

pub(super) const SHORT: Reject = Reject::new("frame", "fewer fields than it has", 0);

pub(super) fn begin<'c>(
    alarm: &str,
    time: Time,
    cx: &'c mut Context<'_>,
) -> Result<RecordBuilder<'c>, Reject> {
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, alarm);
    Ok(message)
}

pub(super) fn push_cell(message: &mut RecordBuilder<'_>, lac: &str, id: &str) {
    let hexadecimal = |text: &str| i64::from_str_radix(text, 16).ok();
    let cell = Cell {
        lac: hexadecimal(lac),
        id: hexadecimal(id),
        ..Cell::default()
    };
    if !matches!((cell.lac, cell.id), (Some(0) | None, Some(0) | None)) {
        cells::push(message, 0, cell);
    }
}

pub(super) fn push_place(
    message: &mut RecordBuilder<'_>,
    place: Option<(f64, f64)>,
    valid: bool,
) -> bool {
    let place = place.filter(|place| *place != (0.0, 0.0));
    message.push(fields::POSITION_VALID, valid && place.is_some());
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    place.is_some()
}

/// Of DDMMYY and HHMMSS with or without a fraction, which does not count.
pub(super) fn moment(date: &str, clock: &str) -> Option<i64> {
    let date = digits(date, "dmy")?;
    let clock = digits(clock.get(..6)?, "HMS")?;
    date.at_clock(clock).utc_ms()
}

pub(super) fn push_rest(message: &mut RecordBuilder<'_>, rest: &[&str], from: usize) {
    for (text, id) in rest.iter().zip(0u32..).skip(from) {
        if !text.is_empty() {
            message.wire(id, *text);
        }
    }
}

/// Reads digits of fixed widths one after another.
pub(super) struct Widths<'a>(pub(super) &'a str);

impl<'a> Widths<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a str, Reject> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// Latitude, N, longitude, E in 21 characters.
pub(super) fn place(widths: &mut Widths<'_>) -> Result<Option<(f64, f64)>, Reject> {
    let (latitude, north) = (widths.take(9)?, widths.take(1)?);
    let (longitude, east) = (widths.take(10)?, widths.take(1)?);
    let latitude = nmea_degrees(latitude, north).filter(|degrees| degrees.abs() <= 90.0);
    Ok(latitude.zip(nmea_degrees(longitude, east)))
}
