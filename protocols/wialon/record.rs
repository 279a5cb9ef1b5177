//! One reading: the body of SD and D, or an item of a black box.

use super::fault::Fault;
use super::field::value;
use super::params;
use crate::contract::{Context, ParamId, RecordBuilder, Reject, Time, Value, fields};
use crate::kit::parse::{self, float, number};
use crate::kit::time::digits;
use crate::kit::units;
use smallvec::SmallVec;

/// The fields of an SD.
pub(super) const SHORT_FIELDS: usize = 10;
/// The fields of a D.
pub(super) const FULL_FIELDS: usize = 16;
/// With so many satellites a fix is one.
const FIX_SATELLITES: f64 = 3.0;

/// A reading: its time and place have been understood, its numbers are such.
pub(super) struct Reading<'f> {
    moment: Moment,
    place: Option<(f64, f64)>,
    speed: &'f str,
    course: &'f str,
    altitude: &'f str,
    satellites: &'f str,
    full: Option<Full<'f>>,
}

/// When it was.
enum Moment {
    /// The tracker did not say.
    Unsaid,
    /// Unix ms.
    At(i64),
    /// Digits of no day or hour.
    Impossible,
}

#[derive(Default)]
struct Full<'f> {
    hdop: &'f str,
    inputs: &'f str,
    outputs: &'f str,
    analog: &'f str,
    ibutton: &'f str,
    params: &'f str,
}

/// Adds a field: its number, or as it stands under `name` where it is none of the kind.
fn push<'v, T: Into<Value<'v>>>(
    message: &mut RecordBuilder<'_>,
    (param, name): (ParamId, &str),
    field: &str,
    read: impl Fn(&str) -> Option<T>,
) {
    let Some(text) = value(field) else {
        return;
    };
    match read(text) {
        Some(value) => message.push(param, value),
        None => message.name(name, text),
    }
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
        let civil = date.at_clock(clock);
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

/// Is the field a number, or absent?
fn numeric(field: &str, fault: Fault) -> Result<(), Fault> {
    match value(field) {
        Some(text) if float(text).is_none() => Err(fault),
        _ => Ok(()),
    }
}

/// A bitmask; decimals of zeros change nothing.
fn bitmask(text: &str) -> Option<i64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    number(whole).filter(|_| decimals.bytes().all(|digit| digit == b'0'))
}

impl Full<'_> {
    /// Do the fields that are numbers hold such?
    fn check(&self) -> Result<(), Fault> {
        numeric(self.hdop, Fault::Satellites)?;
        numeric(self.inputs, Fault::Inputs)?;
        numeric(self.outputs, Fault::Inputs)?;
        for item in self.analog.split(',') {
            numeric(item, Fault::Analog)?;
        }
        params::check(self.params)
    }
}

impl<'f> Reading<'f> {
    /// Reads the fields of SD or, if there are more, of D. Those beyond the first `plain` are extra
    /// and refuse nothing.
    pub(super) fn parse(body: &'f str, plain: usize) -> Result<Self, Fault> {
        let parts: SmallVec<[&str; FULL_FIELDS]> = parse::splitn(FULL_FIELDS, body, b';').collect();
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
        // fields may be missing from the end of a D
        let full = (!more.is_empty()).then(|| {
            let at = |index: usize| more.get(index).copied().unwrap_or_default();
            Full {
                hdop: at(0),
                inputs: at(1),
                outputs: at(2),
                analog: at(3),
                ibutton: at(4),
                params: at(5),
            }
        });
        let digits_only = |text: &str| {
            let (whole, _) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
            whole.len() == 6 && whole.bytes().all(|byte| byte.is_ascii_digit())
        };
        let moment = match clock(date, time) {
            Ok(Some(ms)) => Moment::At(ms),
            Ok(None) => Moment::Unsaid,
            // the clock was not set yet
            Err(_) if digits_only(date) && digits_only(time) => Moment::Impossible,
            Err(fault) => return Err(fault),
        };
        let latitude = degrees(lat, ns, ["N", "S"], 90.0)?;
        let longitude = degrees(lon, ew, ["E", "W"], 180.0)?;
        for field in [speed, course, altitude] {
            numeric(field, Fault::Motion)?;
        }
        numeric(satellites, Fault::Satellites)?;
        if let Some(full) = full.as_ref().filter(|_| plain > SHORT_FIELDS) {
            full.check()?;
        }
        Ok(Self {
            moment,
            place: latitude.zip(longitude),
            speed,
            course,
            altitude,
            satellites,
            full,
        })
    }

    /// Makes a message of it.
    pub(super) fn push(&self, buffered: bool, cx: &mut Context<'_>) -> Result<(), Reject> {
        let now_ms = cx.now_ms;
        let time = match self.moment {
            Moment::Unsaid => Time::Received(now_ms),
            Moment::At(ms) => Time::Device(ms),
            Moment::Impossible => Time::Impossible(now_ms),
        };
        let mut message = cx.message(time)?;
        if buffered {
            message.push(fields::MESSAGE_BUFFERED_STATUS, true);
        }
        let place = self.place.filter(|place| *place != (0.0, 0.0));
        let satellites = value(self.satellites).and_then(float);
        let fixed = satellites.is_some_and(|count| count >= FIX_SATELLITES);
        message.push(fields::POSITION_VALID, place.is_some() && fixed);
        if let Some((latitude, longitude)) = place {
            message.push(fields::POSITION_LATITUDE, latitude);
            message.push(fields::POSITION_LONGITUDE, longitude);
        }
        let not_negative = |text: &str| float(text).filter(|value| *value >= 0.0);
        let turn = |text: &str| float(text).filter(|course| (0.0..=360.0).contains(course));
        let speed = (fields::POSITION_SPEED, "speed");
        push(&mut message, speed, self.speed, not_negative);
        let course = (fields::POSITION_DIRECTION, "course");
        push(&mut message, course, self.course, turn);
        let altitude = (fields::POSITION_ALTITUDE, "altitude");
        push(&mut message, altitude, self.altitude, float);
        let sats = (fields::POSITION_SATELLITES, "sats");
        push(&mut message, sats, self.satellites, not_negative);
        let Some(full) = &self.full else {
            return Ok(());
        };
        push(
            &mut message,
            (fields::POSITION_HDOP, "hdop"),
            full.hdop,
            float,
        );
        push(&mut message, (fields::DIN, "inputs"), full.inputs, bitmask);
        let outputs = (fields::DOUT, "outputs");
        push(&mut message, outputs, full.outputs, bitmask);
        let analog = value(full.analog).unwrap_or_default();
        for (item, input) in analog.split(',').zip(1u16..) {
            match (value(item), value(item).and_then(float)) {
                (_, Some(volts)) => message.push((fields::AIN_N, input), volts),
                (Some(text), None) => message.name(&format!("adc{input}"), text),
                (None, None) => {}
            }
        }
        message.push_some(fields::IBUTTON_CODE, value(full.ibutton));
        params::push(&mut message, full.params);
        Ok(())
    }
}
