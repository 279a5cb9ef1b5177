//! Reports with the second of the day or of the week.

use super::parts::{DAY_MS, Fix, GPS_EPOCH_MS, Widths, begin, push_event, push_source};
use crate::contract::{Context, Key, RecordBuilder, Reject, fields};
use crate::kit::parse::{float, number};
use crate::kit::time::or_impossible;
use crate::kit::{hex, units};

/// The moment of that second of the day which is nearest to the receipt.
fn nearest(second: Option<i64>, now_ms: i64) -> Option<i64> {
    let second = second.filter(|second| *second < 86_400)?;
    let today = now_ms - now_ms.rem_euclid(DAY_MS) + second * 1000;
    let days = [-DAY_MS, 0, DAY_MS];
    let all = days.iter().map(|day| today + day);
    all.min_by_key(|ms| (ms - now_ms).abs())
}

pub(super) fn second_of_day(body: &str, cx: &mut Context<'_>) -> Result<bool, Reject> {
    let mut widths = Widths(body);
    let now_ms = cx.now_ms;
    let ms = nearest(number(widths.take(5)?), now_ms);
    let fix = Fix::read(&mut widths)?;
    let mut message = begin("RPV", or_impossible(ms, now_ms), cx)?;
    push_source(&mut message, &fix, &mut widths)?;
    Ok(true)
}

/// LN: as PV with more digits, and altitude and satellites. Nobody is known to wait for its answer.
pub(super) fn long(body: &str, cx: &mut Context<'_>) -> Result<bool, Reject> {
    const METERS_A_FOOT: f64 = 0.3048;
    /// Number and age of what each satellite sent.
    const SATELLITE: usize = 2 + 2;
    const RESERVED: usize = 10;
    let mut widths = Widths(body);
    let now_ms = cx.now_ms;
    let ms = nearest(number(widths.take(5)?), now_ms);
    let thousandths = number::<i64>(widths.take(3)?).unwrap_or(0);
    let (latitude, longitude) = (widths.decimals(2, 7)?, widths.decimals(3, 7)?);
    let altitude = widths.scaled(9, 2)?;
    let speed = widths.scaled(4, 1)?;
    let climb = widths.scaled(5, 1)?;
    let course = widths.scaled(4, 1)?;
    let satellites = number::<u8>(widths.take(2)?);
    widths.take(usize::from(satellites.unwrap_or(0)) * SATELLITE + RESERVED)?;
    let fix = Fix {
        place: latitude.zip(longitude).filter(|place| *place != (0.0, 0.0)),
        speed,
        course,
    };
    let ms = ms.map(|ms| ms + thousandths);
    let mut message = begin("RLN", or_impossible(ms, now_ms), cx)?;
    push_source(&mut message, &fix, &mut widths)?;
    let meters = altitude.map(|feet| units::round(feet * METERS_A_FOOT, 3));
    message.push_some(
        fields::POSITION_ALTITUDE,
        meters.filter(|_| fix.place.is_some()),
    );
    message.push_some(Key::Name("vertical.speed"), climb.map(units::miles));
    message.push_some(fields::POSITION_SATELLITES, satellites);
    Ok(false)
}

pub(super) fn event<'a>(
    body: &str,
    values: impl Iterator<Item = &'a str>,
    cx: &mut Context<'_>,
) -> Result<bool, Reject> {
    let mut widths = Widths(body);
    let code = number::<u8>(widths.take(2)?);
    let week = number::<i64>(widths.take(4)?);
    let day = number::<i64>(widths.take(1)?);
    let second = number::<i64>(widths.take(5)?);
    let ms = week
        .zip(day)
        .zip(second)
        .map(|((week, day), second)| GPS_EPOCH_MS + (week * 7 + day) * DAY_MS + second * 1000);
    let fix = Fix::read(&mut widths)?;
    let mut message = begin("REV", or_impossible(ms, cx.now_ms), cx)?;
    push_event(&mut message, code);
    push_source(&mut message, &fix, &mut widths)?;
    for (key, value) in values.filter_map(|part| part.split_once('=')) {
        match key {
            "ID" => {}
            "IO" => push_io(&mut message, value),
            "SV" => message.push_some(fields::POSITION_SATELLITES, number::<u8>(value)),
            "BL" => {
                let volts = float(value).map(|mv| mv / 1000.0);
                message.push_some(fields::BATTERY_VOLTAGE, volts);
            }
            "AD" => {
                let volts = float(value).map(|mv| mv / 1000.0);
                message.push_some((fields::AIN_N, 1), volts);
            }
            "VO" => {
                let km = float(value).map(|meters| meters / 1000.0);
                message.push_some(fields::VEHICLE_MILEAGE, km);
            }
            "AL" => message.push_some(fields::POSITION_ALTITUDE, float(value)),
            _ => message.name(key, value),
        }
    }
    Ok(true)
}

pub(super) fn push_io(message: &mut RecordBuilder<'_>, text: &str) {
    let digit = |at: usize| hex::number(text.get(at..=at)?);
    if let Some(state) = digit(0) {
        message.push(fields::ENGINE_IGNITION_STATUS, state & 1 != 0);
        message.push(fields::BATTERY_CHARGING_STATUS, state & 2 != 0);
    }
    message.push_some(fields::DOUT, digit(1));
    message.push_some(fields::DIN, digit(2));
}
