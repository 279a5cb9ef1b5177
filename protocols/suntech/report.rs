//! A report of text, and what all of its forms share.

use crate::contract::{Context, ParamId, RecordBuilder, Time, fields};
use crate::kit::parse::{float, number};
use crate::kit::time::{self, Civil, digits};
use smallvec::SmallVec;

/// The most pairs of a serial port's line.
const PAIRS_MAX: usize = 32;

pub(super) type Fields<'f> = SmallVec<[&'f str; 48]>;

/// A report cut into its fields; those of a serial port are one field.
pub(super) struct Report<'f> {
    /// `STT` and its like.
    pub(super) kind: &'f str,
    pub(super) all: Fields<'f>,
}

impl<'f> Report<'f> {
    /// The field at `at`; one that is not there is empty.
    pub(super) fn at(&self, at: usize) -> &'f str {
        self.all.get(at).copied().unwrap_or_default()
    }
}

/// `YYYYMMDD` and `HH:MM:SS`
pub(super) fn civil(date: &str, clock: &str) -> Option<Civil> {
    let (century, rest) = date.split_at_checked(2)?;
    let day = digits(rest, "ymd")?;
    let mut parts = clock.split(':').map(number::<i64>);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let civil = Civil {
        year: number::<i64>(century)? * 100 + day.year % 100,
        hour,
        minute,
        second,
        ..day
    };
    parts.next().is_none().then_some(civil)
}

/// Where the date stands: eight digits and a time of day behind them.
pub(super) fn date_at(report: &Report<'_>) -> Option<usize> {
    (1..report.all.len())
        .find(|at| report.at(*at).len() == 8 && civil(report.at(*at), report.at(at + 1)).is_some())
}

/// The time of the report whose date stands at `at`.
pub(super) fn time_of(report: &Report<'_>, at: usize, cx: &Context<'_>) -> Time {
    let civil = civil(report.at(at), report.at(at + 1));
    time::or_impossible(civil.and_then(Civil::utc_ms), cx.now_ms)
}

/// Where the place stands behind `from`: two numbers in degrees with six decimals.
pub(super) fn place_at(report: &Report<'_>, from: usize) -> Option<usize> {
    let degrees = |at: usize, limit: f64| {
        let text = report.at(at);
        let decimals = text
            .split_once('.')
            .map_or(0, |(_, decimals)| decimals.len());
        decimals >= 5 && float(text).is_some_and(|value| value.abs() <= limit)
    };
    (from..report.all.len()).find(|at| degrees(*at, 90.0) && degrees(at + 1, 180.0))
}

/// Adds latitude, longitude, speed and course, which stand at `at`.
pub(super) fn push_place(
    message: &mut RecordBuilder<'_>,
    report: &Report<'_>,
    at: usize,
    valid: bool,
) {
    message.push(fields::POSITION_VALID, valid);
    let degrees = |at: usize| float(report.at(at)).unwrap_or_default();
    let (latitude, longitude) = (degrees(at), degrees(at + 1));
    if !valid && latitude.abs() + longitude.abs() <= 0.0 {
        return;
    }
    message.push(fields::POSITION_LATITUDE, latitude);
    message.push(fields::POSITION_LONGITUDE, longitude);
    message.push_some(fields::POSITION_SPEED, float(report.at(at + 2)));
    let course = float(report.at(at + 3)).filter(|course| (0.0..=360.0).contains(course));
    message.push_some(fields::POSITION_DIRECTION, course);
}

/// Adds fields without a known meaning under their place.
pub(super) fn push_left(message: &mut RecordBuilder<'_>, report: &Report<'_>, from: usize) {
    for (field, id) in report.all.iter().zip(0u32..).skip(from) {
        if !field.is_empty() {
            message.wire(id, *field);
        }
    }
}

/// What an alert or an emergency says of itself.
pub(super) fn push_alert(message: &mut RecordBuilder<'_>, kind: &str, text: &str) {
    let Some(id) = number::<u16>(text) else {
        return;
    };
    message.push(fields::ALARM_CODE, id);
    let event: Option<ParamId> = match (kind, id) {
        ("EMG", 1) | ("ALT", 42) => Some(fields::ALARM_EVENT_TRIGGER),
        ("EMG", 3) | ("ALT", 41) => Some(fields::POWER_CUT_EVENT_TRIGGER),
        ("EMG", 5) => Some(fields::TAMPERING_EVENT_TRIGGER),
        ("EMG", 6) => Some(fields::DOOR_EVENT_TRIGGER),
        ("EMG", 7) => Some(fields::MOVEMENT_EVENT_TRIGGER),
        ("ALT", 1) => Some(fields::OVERSPEEDING_EVENT_TRIGGER),
        ("ALT", 3) => Some(fields::GNSS_ANTENNA_CUT_EVENT_TRIGGER),
        ("ALT", 5) => Some(fields::GEOFENCE_EVENT_EXIT),
        ("ALT", 6) => Some(fields::GEOFENCE_EVENT_ENTER),
        ("ALT", 14) => Some(fields::BATTERY_LOW_EVENT_TRIGGER),
        ("EMG", 8) | ("ALT", 15) => Some(fields::VIBRATION_EVENT_TRIGGER),
        ("ALT", 16) => Some(fields::CRASH_EVENT_TRIGGER),
        ("ALT", 33) => Some(fields::IGNITION_ON_EVENT_TRIGGER),
        ("ALT", 34) => Some(fields::IGNITION_OFF_EVENT_TRIGGER),
        ("ALT", 40) => Some(fields::POWER_RESTORED_EVENT_TRIGGER),
        ("ALT", 46) => Some(fields::HARSH_ACCELERATION_EVENT_TRIGGER),
        ("ALT", 47) => Some(fields::HARSH_BRAKING_EVENT_TRIGGER),
        ("ALT", 48) => Some(fields::HARSH_CORNERING_EVENT_TRIGGER),
        ("ALT", 50) => Some(fields::GSM_JAMMING_EVENT_TRIGGER),
        _ => None,
    };
    if let Some(event) = event {
        message.push(event, true);
    }
    // the theft alarm's own input is a door
    if (kind, id) == ("EMG", 5) {
        message.push(fields::DOOR_EVENT_TRIGGER, true);
    }
}

/// What a serial port gave; of a card reader the card's number.
pub(super) fn push_serial(message: &mut RecordBuilder<'_>, data: &str) {
    let data = data.trim_end();
    if data.is_empty() {
        return;
    }
    message.push((fields::RS232_DATA_N, 1), data);
    if let Some(rest) = data.strip_prefix("GTSL|") {
        let card = rest.split('|').nth(3).filter(|card| !card.is_empty());
        message.push_some(fields::RFID_CODE, card);
    } else if let Some((_, rest)) = data.split_once("CabMensaje,") {
        for (value, number) in rest.split(',').skip(1).take(2).zip(1u16..) {
            let fuel = float(value).filter(|fuel| *fuel > 0.0);
            message.push_some((fields::FUEL_LEVEL_N, number), fuel);
        }
    } else {
        pairs(message, data);
    }
}

/// `t_0=13;N_0=089D.0;Q_D=0B`: temperatures, fuel and quality of driving as hexadecimal numbers.
fn pairs(message: &mut RecordBuilder<'_>, data: &str) {
    for pair in data.split(';').take(PAIRS_MAX) {
        let Some((name, value)) = pair.split_once('=') else {
            continue;
        };
        let whole = value.trim().split('.').next().unwrap_or_default();
        let (Ok(value), Some((kind, index))) =
            (i64::from_str_radix(whole, 16), name.trim().split_once('_'))
        else {
            continue;
        };
        let index = number::<u16>(index).filter(|index| *index < 16);
        match (kind, index) {
            // sensors from 0 there
            ("t", Some(index)) => message.push((fields::SENSOR_TEMPERATURE_N, index + 1), value),
            ("N", Some(index)) => message.name(&format!("fuel.{index}"), value),
            ("Q", _) => message.name("driving.quality", value),
            _ => {}
        }
    }
}
