//! TAIP, Trimble's ASCII interface protocol, as trackers speak it (Trimble, Sierra Wireless, Virtec, Trax, Portman,
//! JMAK and others), over TCP.
//!
//! # Wire format
//!
//! `>Rkk...;ID=name;#number;*sum<`: R is a response, kk its kind, the rest optional and in any order. The sum
//! is an exclusive or from `>` to the asterisk, with it or without it.
//!
//! | kind | content |
//! |---|---|
//! | PV | second of the day (5), place, mph (3), course (3), source, age |
//! | EV | event (2), GPS week (4), day (1), second of the day (5), then as PV; values follow as `;KEY=value` |
//! | GP, PI | DDMMYYHHMMSS, place, mph, course, fix (1), age (2), inputs (2), event (2), HDOP (2) |
//! | CQ, BR, CV | event (2), DDMMYYHHMMSS, place, mph, course, inputs (2), state (2), supply in 0.1 V (3), odometer (8 hex), receiver on (1), fix (1), PDOP (2), satellites (2), age (4), network (2), signal (2) |
//! | US | number (2), comma, as GP without what follows the inputs; then by commas: bits, odometer, supply and battery in 0.01 V (4 each), rpm, two temperatures, event (2 hex) |
//! | UV | number (2), event (2 or 3), firm, as GP with km/h; then battery and supply in 0.01 V, three, engine minutes, odometer, rpm, coolant, oil pressure, fuel, two, network, driver |
//!
//! A place is latitude and longitude with their signs, degrees in 2 and 3 digits and five decimals, or degrees and
//! minutes where they have a point. Bit 7 of the inputs is the ignition. IO of EV is three digits: ignition and
//! charging, outputs, inputs.
//!
//! # Session
//!
//! Every frame names its device. One with a number is answered `>ACK;...;*sum<`, with number and name as they
//! came (`>SAK;...<` if the number begins with IP); one without with the name alone.
//!
//! # Source
//!
//! Trimble: "TAIP, Trimble ASCII Interface Protocol"; captures for CQ, BR, CV, US and UV.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.
//!
//! # Quirks
//!
//! - PV has no date: the second of the day nearest to the receipt is taken.
//! - Other kinds (LN, AL, CP, TT) are kept as text and not answered.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Key, Login, Model, Probe, RecordBuilder, Reject,
    Reply, Time, fields,
};
use crate::kit::parse::{float, nmea_degrees, number};
use crate::kit::time::{Civil, digits, or_impossible};
use crate::kit::{checksum, framing, units};

const SHORT: Reject = Reject::new("frame", "cut short", 0);
const DAY_MS: i64 = 86_400_000;
/// 1980-01-06
const GPS_EPOCH_MS: i64 = 315_964_800_000;

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "taip",
        title: "TAIP",
        source: "Trimble: TAIP",
        port: 5031,
        frame_bytes_max: 1024,
        acks: Acks::Frame,
        shared: true,
        models: &[
            Model {
                number: 1,
                vendor: "Trimble",
                name: "Placer",
            },
            Model {
                number: 2,
                vendor: "Sierra Wireless",
                name: "AirLink",
            },
            Model {
                number: 3,
                vendor: "Virtec",
                name: "VirLoc",
            },
            Model {
                number: 4,
                vendor: "JMAK",
                name: "NT003",
            },
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        if input.first() == Some(&b'>') {
            return Ok(framing::until(input, scanned, eof, b"<"));
        }
        let next = input.iter().position(|byte| *byte == b'>');
        Ok(Cut::Skip(next.unwrap_or(input.len())))
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let text = std::str::from_utf8(frame)
            .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
        let text = text.strip_suffix('<').ok_or(SHORT)?;
        check(text)?;
        let mut parts = text.strip_prefix('>').ok_or(SHORT)?.split(';');
        let content = parts.next().ok_or(SHORT)?;
        let mut head = Head {
            name: None,
            number: None,
            echo: String::new(),
        };
        for part in parts.clone() {
            if let Some(name) = part.strip_prefix("ID=") {
                head.name = Some(name);
            } else if part.starts_with('#') {
                head.number = Some(part);
            } else {
                continue;
            }
            head.echo.push_str(part);
            head.echo.push(';');
        }
        if let Some(name) = head.name {
            cx.identify(Login::of(name))?;
        }
        let (kind, body) = content.split_at_checked(3).ok_or(SHORT)?;
        let answered = match kind {
            "RPV" => second_of_day(body, cx)?,
            "REV" => event(body, parts, cx)?,
            "RGP" | "RPI" => dated(kind, body, cx)?,
            "RCQ" | "RBR" | "RCV" => supplied(kind, body, cx)?,
            "RUS" => listed(body, cx)?,
            "RUV" => vehicle(body, cx)?,
            _ => {
                let mut message = begin(kind, Time::Received(cx.now_ms), cx)?;
                message.push(fields::TEXT_MESSAGE, body);
                false
            }
        };
        if answered {
            head.answer(cx);
        }
        Ok(())
    }

    fn probe(head: &[u8]) -> Probe {
        match head.trim_ascii_start() {
            [] | [b'>'] | [b'>', b'R'] | [b'>', b'R', b'A'..=b'Z'] => Probe::More,
            [b'>', b'R', b'A'..=b'Z', b'A'..=b'Z', ..] => Probe::Yes,
            _ => Probe::No,
        }
    }
}

/// The sum, where there is one; behind a `#` an asterisk belongs to the number.
fn check(text: &str) -> Result<(), Reject> {
    let Some((covered, sum)) = text.rsplit_once('*') else {
        return Ok(());
    };
    let Ok(sum) = u8::from_str_radix(sum, 16) else {
        return Ok(());
    };
    let without = checksum::xor(covered.as_bytes());
    if sum == without || sum == without ^ b'*' {
        Ok(())
    } else {
        Err(Reject::new(
            "sum",
            "the checksum does not fit",
            covered.len(),
        ))
    }
}

struct Head<'a> {
    name: Option<&'a str>,
    number: Option<&'a str>,
    /// Name and number as they came.
    echo: String,
}

impl Head<'_> {
    fn answer(&self, cx: &mut Context<'_>) {
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

fn begin<'c>(kind: &str, time: Time, cx: &'c mut Context<'_>) -> Result<RecordBuilder<'c>, Reject> {
    let mut message = cx.message(time)?;
    let kind = kind.strip_prefix('R').unwrap_or(kind);
    message.push(fields::MESSAGE_TYPE, kind);
    Ok(message)
}

/// Reads characters of fixed widths one after another.
struct Widths<'a>(&'a str);

impl<'a> Widths<'a> {
    fn take(&mut self, count: usize) -> Result<&'a str, Reject> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn hexadecimal(&mut self, count: usize) -> Result<Option<i64>, Reject> {
        Ok(i64::from_str_radix(self.take(count)?, 16).ok())
    }

    /// A sign, so many digits of degrees, and decimals or minutes.
    fn degrees(&mut self, whole: usize) -> Result<Option<f64>, Reject> {
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
struct Fix {
    place: Option<(f64, f64)>,
    speed: Option<f64>,
    course: Option<f64>,
}

impl Fix {
    fn read(widths: &mut Widths<'_>) -> Result<Self, Reject> {
        let (latitude, longitude) = (widths.degrees(2)?, widths.degrees(3)?);
        Ok(Self {
            place: latitude.zip(longitude).filter(|place| *place != (0.0, 0.0)),
            speed: float(widths.take(3)?),
            course: float(widths.take(3)?),
        })
    }

    fn push(&self, message: &mut RecordBuilder<'_>, valid: bool, kmh: fn(f64) -> f64) {
        message.push(fields::POSITION_VALID, valid && self.place.is_some());
        if let Some((latitude, longitude)) = self.place {
            message.push(fields::POSITION_LATITUDE, latitude);
            message.push(fields::POSITION_LONGITUDE, longitude);
            message.push_some(fields::POSITION_SPEED, self.speed.map(kmh));
            message.push_some(fields::POSITION_DIRECTION, self.course);
        }
    }
}

fn push_inputs(message: &mut RecordBuilder<'_>, inputs: Option<i64>) {
    if let Some(inputs) = inputs {
        message.push(fields::DIN, inputs);
        message.push(fields::ENGINE_IGNITION_STATUS, inputs & 0x80 != 0);
    }
}

fn second_of_day(body: &str, cx: &mut Context<'_>) -> Result<bool, Reject> {
    let mut widths = Widths(body);
    let now_ms = cx.now_ms;
    let ms = number::<i64>(widths.take(5)?)
        .filter(|second| *second < 86_400)
        .and_then(|second| {
            let today = now_ms - now_ms.rem_euclid(DAY_MS) + second * 1000;
            let days = [-DAY_MS, 0, DAY_MS];
            let all = days.iter().map(|day| today + day);
            all.min_by_key(|ms| (ms - now_ms).abs())
        });
    let fix = Fix::read(&mut widths)?;
    let mut message = begin("RPV", or_impossible(ms, now_ms), cx)?;
    push_source(&mut message, &fix, &mut widths)?;
    Ok(true)
}

/// Where the fix comes from (9: there is none) and how old it is.
fn push_source(
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

fn event<'a>(
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
    message.push_some(fields::EVENT_ENUM, code);
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

fn push_io(message: &mut RecordBuilder<'_>, text: &str) {
    let digit = |at: usize| i64::from_str_radix(text.get(at..=at)?, 16).ok();
    if let Some(state) = digit(0) {
        message.push(fields::ENGINE_IGNITION_STATUS, state & 1 != 0);
        message.push(fields::BATTERY_CHARGING_STATUS, state & 2 != 0);
    }
    message.push_some(fields::DOUT, digit(1));
    message.push_some(fields::DIN, digit(2));
}

fn date(widths: &mut Widths<'_>) -> Result<Option<i64>, Reject> {
    Ok(digits(widths.take(12)?, "dmyHMS").and_then(Civil::utc_ms))
}

fn dated(kind: &str, body: &str, cx: &mut Context<'_>) -> Result<bool, Reject> {
    let mut widths = Widths(body);
    let time = or_impossible(date(&mut widths)?, cx.now_ms);
    let fix = Fix::read(&mut widths)?;
    let mut message = begin(kind, time, cx)?;
    push_state(&mut message, &fix, &mut widths, units::miles)?;
    if !widths.0.is_empty() {
        message.name("tail", widths.0);
    }
    Ok(true)
}

/// Is it a fix: of two or three dimensions, perhaps differential?
fn is_fix(digit: &str) -> bool {
    matches!(digit, "1" | "2" | "3" | "4" | "5" | "6")
}

/// Fix, age, inputs, event, HDOP, as far as they are there.
fn push_state(
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
    message.push_some(fields::EVENT_ENUM, number::<u8>(widths.take(2)?));
    message.push_some(fields::POSITION_HDOP, float(widths.take(2)?));
    Ok(())
}

fn supplied(kind: &str, body: &str, cx: &mut Context<'_>) -> Result<bool, Reject> {
    let mut widths = Widths(body);
    let code = number::<u8>(widths.take(2)?);
    let time = or_impossible(date(&mut widths)?, cx.now_ms);
    let fix = Fix::read(&mut widths)?;
    let mut message = begin(kind, time, cx)?;
    message.push_some(fields::EVENT_ENUM, code);
    push_inputs(&mut message, widths.hexadecimal(2)?);
    message.name("state", widths.take(2)?);
    let volts = float(widths.take(3)?).map(|tenths| tenths / 10.0);
    message.push_some(fields::BATTERY_VOLTAGE, volts);
    let meters = widths.hexadecimal(8)?;
    message.push_some(
        fields::VEHICLE_MILEAGE,
        meters.map(|meters| units::scaled(meters, 3)),
    );
    message.push(fields::GNSS_STATUS, widths.take(1)? == "1");
    let digit = widths.take(1)?;
    fix.push(&mut message, is_fix(digit), units::miles);
    message.push_some(fields::POSITION_MODE_ENUM, number::<u8>(digit));
    message.push_some(fields::POSITION_PDOP, float(widths.take(2)?));
    message.push_some(fields::POSITION_SATELLITES, number::<u8>(widths.take(2)?));
    let age = widths.hexadecimal(4)?.filter(|age| *age < 0xffff);
    message.push_some(fields::POSITION_FIX_AGE, age);
    message.name("network", widths.take(2)?);
    let signal = number::<u8>(widths.take(2)?).filter(|signal| *signal <= 31);
    message.push_some(fields::GSM_SIGNAL_ENUM, signal);
    if !widths.0.is_empty() {
        message.name("tail", widths.0);
    }
    Ok(true)
}

fn listed(body: &str, cx: &mut Context<'_>) -> Result<bool, Reject> {
    let (_, rest) = body.split_once(',').ok_or(SHORT)?;
    let parts: smallvec::SmallVec<[&str; 12]> = rest.split(',').collect();
    let at = |index: usize| parts.get(index).copied().unwrap_or_default();
    let mut widths = Widths(at(0));
    let time = or_impossible(date(&mut widths)?, cx.now_ms);
    let fix = Fix::read(&mut widths)?;
    let mut message = begin("RUS", time, cx)?;
    let digit = widths.take(1)?;
    fix.push(&mut message, is_fix(digit), units::miles);
    message.push_some(fields::POSITION_MODE_ENUM, number::<u8>(digit));
    let age = widths.hexadecimal(2)?.filter(|age| *age < 0xff);
    message.push_some(fields::POSITION_FIX_AGE, age);
    push_inputs(&mut message, widths.hexadecimal(2)?);
    if widths.0.len() >= 4 {
        message.push_some(fields::EVENT_ENUM, number::<u8>(widths.take(2)?));
        message.push_some(fields::POSITION_HDOP, float(widths.take(2)?));
        message.name("tail", widths.0);
    }
    let volts = |text: Option<&str>| Some(units::round(float(text?)? / 100.0, 2));
    if at(3).len() == 8 {
        message.name("bits", at(1));
        let km = float(at(2)).map(|meters| meters / 1000.0);
        message.push_some(fields::VEHICLE_MILEAGE, km);
        let supply = volts(at(3).get(..4));
        message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, supply);
        message.push_some(fields::BATTERY_VOLTAGE, volts(at(3).get(4..)));
        message.push_some(fields::ENGINE_RPM, float(at(4)));
        if parts.len() > 6 {
            for (index, sensor) in [(5, 1), (6, 2)] {
                let celsius = float(at(index).trim_start_matches('+'));
                message.push_some((fields::SENSOR_TEMPERATURE_N, sensor), celsius);
            }
        }
        let code = parts
            .last()
            .and_then(|text| i64::from_str_radix(text, 16).ok());
        message.push_some(fields::EVENT_ENUM, code);
    } else {
        for (text, id) in parts.iter().zip(0u32..).skip(1) {
            message.wire(id, *text);
        }
    }
    Ok(true)
}

fn vehicle(body: &str, cx: &mut Context<'_>) -> Result<bool, Reject> {
    let parts: smallvec::SmallVec<[&str; 20]> = body.split(',').collect();
    let at = |index: usize| parts.get(index).copied().unwrap_or_default();
    let code = number::<u16>(at(0).get(2..).unwrap_or_default());
    let mut widths = Widths(at(2));
    let time = or_impossible(date(&mut widths)?, cx.now_ms);
    let fix = match widths.0 {
        "" => None,
        _ => Some(Fix::read(&mut widths)?),
    };
    let mut message = begin("RUV", time, cx)?;
    message.push(fields::DEVICE_MODEL, at(1));
    if let Some(fix) = &fix {
        push_state(&mut message, fix, &mut widths, |kmh| kmh)?;
    } else {
        message.push(fields::POSITION_VALID, false);
    }
    message.push_some(fields::EVENT_ENUM, code);
    match code {
        Some(120) => message.push(fields::HARSH_ACCELERATION_EVENT_TRIGGER, true),
        Some(111) => message.push(fields::IDLE_EVENT_TRIGGER, true),
        _ => {}
    }
    let volts = |text: Option<&str>| Some(units::round(float(text?)? / 100.0, 2));
    message.push_some(fields::BATTERY_VOLTAGE, volts(at(3).get(..4)));
    let supply = volts(at(3).get(4..));
    message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, supply);
    if fix.is_none() {
        for (index, param) in [
            (4, fields::DEVICE_SERIAL_NUMBER),
            (5, fields::DEVICE_FIRMWARE_VERSION),
            (6, fields::DEVICE_HARDWARE_VERSION),
            (7, fields::PROTOCOL_VERSION),
        ] {
            message.push(param, at(index));
        }
        return Ok(true);
    }
    // bit 6 of the inputs
    let inputs = at(2)
        .len()
        .checked_sub(6)
        .and_then(|from| at(2).get(from..from + 2));
    let inputs = inputs.and_then(|text| i64::from_str_radix(text, 16).ok());
    if let Some(inputs) = inputs {
        message.push(fields::EXTERNAL_POWERSOURCE_STATUS, inputs & 0x40 != 0);
    }
    let hours = float(at(7)).map(|minutes| units::round(minutes / 60.0, 4));
    message.push_some(fields::ENGINE_MOTORHOURS, hours);
    let km = float(at(8)).map(|meters| meters / 1000.0);
    message.push_some(fields::VEHICLE_MILEAGE, km);
    for (index, param) in [
        (9, fields::ENGINE_RPM),
        (10, fields::ENGINE_TEMPERATURE),
        (11, fields::CAN_ENGINE_OIL_PRESSURE),
        (12, fields::FUEL_LEVEL),
    ] {
        message.push_some(param, float(at(index)));
    }
    message.name("network", at(15));
    if !at(16).is_empty() {
        message.push(fields::DRIVER_ID, at(16));
    }
    for (index, id) in [(4, 4u32), (5, 5), (6, 6), (13, 13), (14, 14)] {
        message.push_some(Key::Wire { space: 0, id }, number::<i64>(at(index)));
    }
    Ok(true)
}
