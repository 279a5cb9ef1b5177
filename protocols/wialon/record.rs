//! One reading: the body of SD and D, or an item of a black box.

use super::fault::Fault;
use super::field::value;
use super::params;
use crate::contract::{Context, Reject, Time, fields};
use crate::kit::parse::{float, number};
use crate::kit::time::{Civil, digits};
use crate::kit::units;
use smallvec::SmallVec;

/// The fields of an SD.
pub(super) const SHORT_FIELDS: usize = 10;
/// The fields of a D.
pub(super) const FULL_FIELDS: usize = 16;
/// With so many satellites a fix is one.
const FIX_SATELLITES: f64 = 3.0;

/// A reading whose every field has been understood.
pub(super) struct Reading<'f> {
    time_ms: Option<i64>,
    place: Option<(f64, f64)>,
    speed: Option<f64>,
    course: Option<f64>,
    altitude: Option<f64>,
    satellites: Option<f64>,
    full: Option<Full<'f>>,
}

struct Full<'f> {
    hdop: Option<f64>,
    inputs: Option<i64>,
    outputs: Option<i64>,
    analog: &'f str,
    ibutton: Option<&'f str>,
    params: &'f str,
}

fn optional<T>(
    field: &str,
    read: impl Fn(&str) -> Option<T>,
    fault: Fault,
) -> Result<Option<T>, Fault> {
    value(field).map(|text| read(text).ok_or(fault)).transpose()
}

/// Unix ms of DDMMYY and HHMMSS, the latter perhaps with decimals.
pub(super) fn clock(date: &str, time: &str) -> Result<Option<i64>, Fault> {
    let Some(date) = value(date) else {
        return Ok(None);
    };
    let (whole, decimals) = time.split_once('.').unwrap_or((time, ""));
    let ms = || {
        let date = digits(date, "dmy")?;
        let clock = digits(whole.trim(), "HMS")?;
        let civil = Civil {
            hour: clock.hour,
            minute: clock.minute,
            second: clock.second,
            ..date
        };
        let thousandths = match decimals.get(..decimals.len().min(3))? {
            "" => 0,
            some => {
                let scale = [100, 10, 1].get(some.len() - 1)?;
                number::<u16>(some).map(i64::from)? * scale
            }
        };
        civil.utc_ms()?.checked_add(thousandths)
    };
    ms().map(Some).ok_or(Fault::Time)
}

/// Degrees of `DDMM.MMMM` and a letter.
fn degrees(
    field: &str,
    letter: &str,
    letters: [&str; 2],
    limit: f64,
) -> Result<Option<f64>, Fault> {
    let Some(text) = value(field) else {
        return Ok(None);
    };
    let raw = float(text)
        .filter(|raw| (0.0..100_000.0).contains(raw))
        .ok_or(Fault::Place)?;
    let whole = (raw / 100.0).trunc();
    let degrees = whole + (raw - whole * 100.0) / 60.0;
    if degrees > limit {
        return Err(Fault::Place);
    }
    let degrees = units::round(degrees, 7);
    let [positive, negative] = letters;
    match letter.trim() {
        letter if letter.eq_ignore_ascii_case(positive) => Ok(Some(degrees)),
        letter if letter.eq_ignore_ascii_case(negative) => Ok(Some(-degrees)),
        _ => Err(Fault::Place),
    }
}

/// The values of the list of analog inputs; those without a value keep their place.
fn analog(list: &str) -> impl Iterator<Item = Result<Option<f64>, Fault>> {
    let list = value(list).unwrap_or_default();
    list.split(',')
        .map(|item| optional(item, float, Fault::Analog))
}

impl<'f> Reading<'f> {
    /// Reads the fields of SD or, if there are more, of D.
    pub(super) fn parse(body: &'f str) -> Result<Self, Fault> {
        let parts: SmallVec<[&str; FULL_FIELDS]> = body.splitn(FULL_FIELDS + 1, ';').collect();
        let [
            date,
            time,
            lat,
            ns,
            lon,
            ew,
            speed,
            course,
            altitude,
            satellites,
            more @ ..,
        ] = parts.as_slice()
        else {
            return Err(Fault::Structure);
        };
        // the last field of D is missing where a tracker has no parameters
        let full = match *more {
            [] => None,
            [hdop, inputs, outputs, analog, ibutton] => {
                Some([hdop, inputs, outputs, analog, ibutton, ""])
            }
            [hdop, inputs, outputs, analog, ibutton, params] => {
                Some([hdop, inputs, outputs, analog, ibutton, params])
            }
            _ => return Err(Fault::Structure),
        };
        let time_ms = clock(date, time)?;
        let latitude = degrees(lat, ns, ["N", "S"], 90.0)?;
        let longitude = degrees(lon, ew, ["E", "W"], 180.0)?;
        let not_negative = |text: &str| float(text).filter(|value| *value >= 0.0);
        let speed = optional(speed, not_negative, Fault::Motion)?;
        let course = optional(course, float, Fault::Motion)?;
        let altitude = optional(altitude, float, Fault::Motion)?;
        let satellites = optional(satellites, not_negative, Fault::Satellites)?;
        let full = full.map(Full::parse).transpose()?;
        Ok(Self {
            time_ms,
            place: latitude.zip(longitude),
            speed,
            course: course.filter(|course| (0.0..=360.0).contains(course)),
            altitude,
            satellites,
            full,
        })
    }

    /// Is it one of D?
    pub(super) fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// Makes a message of it.
    pub(super) fn push(&self, buffered: bool, cx: &mut Context<'_>) -> Result<(), Reject> {
        let now_ms = cx.now_ms;
        let time = self.time_ms.map_or(Time::Received(now_ms), Time::Device);
        let mut message = cx.message(time)?;
        if buffered {
            message.push(fields::MESSAGE_BUFFERED_STATUS, true);
        }
        let place = self.place.filter(|place| *place != (0.0, 0.0));
        let fixed = self.satellites.is_some_and(|count| count >= FIX_SATELLITES);
        message.push(fields::POSITION_VALID, place.is_some() && fixed);
        if let Some((latitude, longitude)) = place {
            message.push(fields::POSITION_LATITUDE, latitude);
            message.push(fields::POSITION_LONGITUDE, longitude);
        }
        message.push_some(fields::POSITION_SPEED, self.speed);
        message.push_some(fields::POSITION_DIRECTION, self.course);
        message.push_some(fields::POSITION_ALTITUDE, self.altitude);
        message.push_some(fields::POSITION_SATELLITES, self.satellites);
        let Some(full) = &self.full else {
            return Ok(());
        };
        message.push_some(fields::POSITION_HDOP, full.hdop);
        message.push_some(fields::DIN, full.inputs);
        message.push_some(fields::DOUT, full.outputs);
        for (volts, input) in analog(full.analog).zip(1u16..) {
            message.push_some((fields::AIN_N, input), volts.ok().flatten());
        }
        message.push_some(fields::IBUTTON_CODE, full.ibutton);
        params::push(&mut message, full.params);
        Ok(())
    }
}

impl<'f> Full<'f> {
    fn parse(fields: [&'f str; 6]) -> Result<Self, Fault> {
        let [hdop, inputs, outputs, adc, ibutton, params] = fields;
        let full = Self {
            hdop: optional(hdop, float, Fault::Satellites)?,
            inputs: optional(inputs, number, Fault::Inputs)?,
            outputs: optional(outputs, number, Fault::Inputs)?,
            analog: adc,
            ibutton: value(ibutton),
            params,
        };
        for volts in analog(adc) {
            volts?;
        }
        params::check(params)?;
        Ok(full)
    }
}
