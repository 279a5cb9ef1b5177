//! What several kinds of report share: fields of fixed width, head and fix.

use crate::contract::{Context, RecordBuilder, Reject, Reply, Time, fields};
use crate::kit::parse::{float, nmea_degrees, number};
use crate::kit::time::{Civil, digits};
use crate::kit::{checksum, hex, units};

pub(super) const SHORT: Reject = Reject::new("frame", "cut short", 0);

pub(super) const DAY_MS: i64 = 86_400_000;

/// 1980-01-06
pub(super) const GPS_EPOCH_MS: i64 = 315_964_800_000;

pub(super) struct Head<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) number: Option<&'a str>,
    /// Name and number as they came.
    pub(super) echo: String,
}

impl Head<'_> {
    /// Did the device number the frame? The base's numbers come back in answers to its commands.
    pub(super) fn is_numbered(&self) -> bool {
        const FIRST_OF_BASE: i64 = 0x8000;
        let digits = self.number.and_then(|number| number.strip_prefix('#'));
        digits
            .and_then(hex::number)
            .is_some_and(|number| number < FIRST_OF_BASE)
    }

    pub(super) fn answer(&self, cx: &mut Context<'_>) {
        let answer = match (self.number, self.name) {
            (Some(number), _) if number.starts_with("#IP") => {
                format!(">SAK;{}<", self.echo.trim_end_matches(';'))
            }
            (Some(_), _) => {
                let text = format!(">ACK;{}*", self.echo);
                let sum = checksum::xor(text.as_bytes());
                format!("{text}{sum:02X}<")
            }
            (None, Some(name)) => name.to_owned(),
            (None, None) => return,
        };
        cx.reply(Reply::stored(answer));
    }
}

pub(super) fn begin<'c>(
    kind: &str,
    time: Time,
    cx: &'c mut Context<'_>,
) -> Result<RecordBuilder<'c>, Reject> {
    let mut message = cx.message(time)?;
    let kind = kind.strip_prefix('R').unwrap_or(kind);
    message.push(fields::MESSAGE_TYPE, kind);
    Ok(message)
}

/// Reads characters of fixed widths one after another.
pub(super) struct Widths<'a>(pub(super) &'a str);

impl<'a> Widths<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a str, Reject> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    /// How many characters stand before the place's first sign.
    pub(super) fn before_place(&self) -> usize {
        self.0.find(['+', '-']).unwrap_or(self.0.len())
    }

    /// An event of two digits, where it stands before the date.
    pub(super) fn event(&mut self) -> Result<Option<u8>, Reject> {
        const EVENT_AND_DATE: usize = 14;
        if self.before_place() == EVENT_AND_DATE {
            Ok(number(self.take(2)?))
        } else {
            Ok(None)
        }
    }

    pub(super) fn hexadecimal(&mut self, count: usize) -> Result<Option<i64>, Reject> {
        Ok(hex::number(self.take(count)?))
    }

    /// So many characters, the last `decimals` behind an unwritten point.
    pub(super) fn scaled(&mut self, count: usize, decimals: i32) -> Result<Option<f64>, Reject> {
        let value = number::<i64>(self.take(count)?.trim_start_matches('+'));
        Ok(value.map(|value| units::scaled(value, decimals)))
    }

    /// A sign, so many digits of degrees, and so many decimals.
    pub(super) fn decimals(&mut self, whole: usize, decimals: u8) -> Result<Option<f64>, Reject> {
        let most = if whole == 2 { 90.0 } else { 180.0 };
        let count = 1 + whole + usize::from(decimals);
        let value = self.scaled(count, decimals.into())?;
        Ok(value.filter(|degrees| degrees.abs() <= most))
    }

    /// A sign, so many digits of degrees, and decimals or minutes.
    pub(super) fn degrees(&mut self, whole: usize) -> Result<Option<f64>, Reject> {
        let sign = self.take(1)?;
        let minutes = self.0.as_bytes().get(whole + 2) == Some(&b'.');
        let value = if minutes {
            nmea_degrees(self.take(whole + 7)?, "N")
        } else {
            let text = self.take(whole + 5)?;
            number::<u32>(text).map(|value| units::scaled(i64::from(value), 5))
        };
        let most = if whole == 2 { 90.0 } else { 180.0 };
        let value = value.filter(|degrees| *degrees <= most);
        Ok(value.map(|value| if sign == "-" { -value } else { value }))
    }
}

/// Place, speed and course.
pub(super) struct Fix {
    pub(super) place: Option<(f64, f64)>,
    pub(super) speed: Option<f64>,
    pub(super) course: Option<f64>,
}

impl Fix {
    pub(super) fn read(widths: &mut Widths<'_>) -> Result<Self, Reject> {
        let (latitude, longitude) = (widths.degrees(2)?, widths.degrees(3)?);
        Ok(Self {
            place: latitude.zip(longitude).filter(|place| *place != (0.0, 0.0)),
            speed: float(widths.take(3)?),
            course: float(widths.take(3)?),
        })
    }

    pub(super) fn push(&self, message: &mut RecordBuilder<'_>, valid: bool, kmh: fn(f64) -> f64) {
        message.push(fields::POSITION_VALID, valid && self.place.is_some());
        if let Some((latitude, longitude)) = self.place {
            message.push(fields::POSITION_LATITUDE, latitude);
            message.push(fields::POSITION_LONGITUDE, longitude);
            message.push_some(fields::POSITION_SPEED, self.speed.map(kmh));
            message.push_some(fields::POSITION_DIRECTION, self.course);
        }
    }
}

/// The event of a report that is no list: 1 is the button, 2 the supply.
pub(super) fn push_event(message: &mut RecordBuilder<'_>, event: Option<u8>) {
    message.push_some(fields::EVENT_ENUM, event);
    match event {
        Some(1) => message.push(fields::ALARM_EVENT_TRIGGER, true),
        Some(2) => message.push(fields::POWER_CUT_EVENT_TRIGGER, true),
        _ => {}
    }
}

pub(super) fn push_inputs(message: &mut RecordBuilder<'_>, inputs: Option<i64>) {
    if let Some(inputs) = inputs {
        message.push(fields::DIN, inputs);
        message.push(fields::ENGINE_IGNITION_STATUS, inputs & 0x80 != 0);
    }
}

/// Where the fix comes from (9: there is none) and how old it is.
pub(super) fn push_source(
    message: &mut RecordBuilder<'_>,
    fix: &Fix,
    widths: &mut Widths<'_>,
) -> Result<(), Reject> {
    let source = number::<u8>(widths.take(1)?);
    fix.push(message, source != Some(9), units::miles);
    message.push_some(fields::POSITION_MODE_ENUM, source);
    message.name("fix.age.enum", widths.take(1)?);
    Ok(())
}

pub(super) fn date(widths: &mut Widths<'_>) -> Result<Option<i64>, Reject> {
    Ok(digits(widths.take(12)?, "dmyHMS").and_then(Civil::utc_ms))
}

/// Is it a fix: of two or three dimensions, perhaps differential?
pub(super) fn is_fix(digit: &str) -> bool {
    matches!(digit, "1" | "2" | "3" | "4" | "5" | "6")
}

/// Fix, age, inputs, event, HDOP, as far as they are there.
pub(super) fn push_state(
    message: &mut RecordBuilder<'_>,
    fix: &Fix,
    widths: &mut Widths<'_>,
    kmh: fn(f64) -> f64,
) -> Result<(), Reject> {
    let digit = widths.take(1)?;
    fix.push(message, is_fix(digit), kmh);
    message.push_some(fields::POSITION_MODE_ENUM, number::<u8>(digit));
    if widths.0.len() < 8 {
        if !widths.0.is_empty() {
            message.name("state", widths.0);
        }
        return Ok(());
    }
    let age = widths.hexadecimal(2)?.filter(|age| *age < 0xff);
    message.push_some(fields::POSITION_FIX_AGE, age);
    push_inputs(message, widths.hexadecimal(2)?);
    push_event(message, number(widths.take(2)?));
    message.push_some(fields::POSITION_HDOP, float(widths.take(2)?));
    Ok(())
}
