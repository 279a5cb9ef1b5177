//! Xexun: TK102, TK103, TK201, XT107 and their many copies, over TCP.
//!
//! # Wire format
//!
//! A line, of which simple devices send only the middle:
//!
//! ```text
//! 150316182840,0787216774,GPRMC,182840.000,A,5126.1310,N,00055.5573,W,0.00,0.00,160315,,,A*7C,F,help me!,imei:865328023469306,06,54.3,F:4.10V,0,157,38486,234,10,34DC,48A6
//! ```
//!
//! In this order: YYMMDDHHMMSS, telephone, the sentence (as NMEA 0183 has it without the `$`) with
//! its sum, signal, alarm, IMEI, satellites, altitude, battery, charging, length, CRC, MCC, MNC,
//! LAC, cell.
//!
//! The first time is the clock of the device, in its own zone; the sentence's is UTC. Signal is F (full) or
//! L (low); of the battery likewise. LAC and cell are hexadecimal. XT107 adds `/ADC1=0.76V/ADC2=...` to the
//! battery and kilometers at the end. The sum of the sentence is an exclusive or from `G` to the asterisk.
//!
//! A frame that begins with the sentence ends with the comma behind the IMEI; one that begins with a date ends
//! with its line, or with `#!`. The first devices write of all that stands behind the IMEI only length and CRC.
//!
//! # Session
//!
//! Every frame names its device. Nothing is answered.
//!
//! # Source
//!
//! Xexun: TK102 user manual, XT009 and XT107 protocol descriptions.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.
//!
//! # Quirks
//!
//! - Degrees and minutes may lack their leading zeros, and the hemisphere of the longitude may be missing (it is
//!   east then).
//! - A line end may stand within the sentence of some copies.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, ParamId, Probe, Reject, fields,
};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{float, nmea_degrees, number};
use crate::kit::time::{digits, or_impossible};
use crate::kit::{checksum, framing, units};

const IMEI: &[u8] = b"imei:";
/// What closes the lines of some copies, which have no line end.
const CLOSE: &[u8] = b"#!";
/// The date before the sentence: with seconds, or a shorter or longer number of some copies.
const DATE_DIGITS: std::ops::RangeInclusive<usize> = 8..=14;
/// Length and CRC.
const FIRST_TAIL: usize = 2;
const SHORT: Reject = Reject::new("frame", "fewer fields than it has", 0);

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Xexun",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

/// What may begin here?
enum Start {
    Sentence,
    Line,
    Nothing,
    Unsure,
}

fn start(input: &[u8]) -> Start {
    let begins = |mark: &[u8]| input.starts_with(mark);
    if begins(b"GPRMC,") || begins(b"GNRMC,") {
        return Start::Sentence;
    }
    if b"GPRMC,".starts_with(input) || b"GNRMC,".starts_with(input) {
        return Start::Unsure;
    }
    let count = input
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    match input.get(count) {
        Some(b',') if DATE_DIGITS.contains(&count) => Start::Line,
        None if count <= *DATE_DIGITS.end() => Start::Unsure,
        _ => Start::Nothing,
    }
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "xexun",
        title: "Xexun",
        source: "Xexun: TK102 manual, XT107 protocol",
        port: 5006,
        frame_bytes_max: 512,
        version: 3,
        acks: Acks::None,
        shared: true,
        models: &[
            model(1, "TK102"),
            model(2, "TK102-2"),
            model(3, "TK103"),
            model(4, "TK103-2"),
            model(5, "TK201"),
            model(6, "TK202"),
            model(7, "TK203"),
            model(8, "XT009"),
            model(9, "XT011"),
            model(10, "XT107"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, eof: bool) -> Result<Cut, Fatal> {
        match start(input) {
            Start::Sentence => {
                let imei = framing::find(input, IMEI).map(|at| at + IMEI.len());
                let comma = imei.and_then(|at| {
                    let rest = input.get(at..)?;
                    Some(at + rest.iter().position(|byte| *byte == b',')?)
                });
                Ok(match comma {
                    Some(comma) => Cut::Frame(comma + 1),
                    None if eof => Cut::Frame(input.len()),
                    None => Cut::Need(input.len() + 1),
                })
            }
            // a line end within the sentence is none of the frame's
            Start::Line => {
                let imei = framing::find(input, IMEI).unwrap_or(0);
                let tail = input.get(imei..).unwrap_or_default();
                let line = framing::until(input, imei, eof, b"\n");
                Ok(match framing::find(tail, CLOSE) {
                    Some(at) if imei > 0 && !tail.get(..at).is_some_and(|t| t.contains(&b'\n')) => {
                        Cut::Frame(imei + at + CLOSE.len())
                    }
                    _ => line,
                })
            }
            Start::Unsure if !eof => Ok(Cut::Need(input.len() + 1)),
            Start::Unsure | Start::Nothing => {
                // to what may begin behind this: a sentence, or the next line
                let rest = input.get(1..).unwrap_or_default();
                let next = rest
                    .windows(2)
                    .position(|pair| matches!(pair, [b'\n' | b'\r', b'0'..=b'9'] | [_, b'G']));
                let kept =
                    usize::from(rest.last().is_some_and(|byte| {
                        matches!(byte, b'\n' | b'\r' | b'G') && next.is_none()
                    }));
                let skipped = next.map_or(input.len() - kept, |at| at + 2);
                Ok(Cut::Skip(skipped.max(1)))
            }
        }
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let text = std::str::from_utf8(frame)
            .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
        let text = text.trim_ascii();
        let from = text.find("GPRMC").or_else(|| text.find("GNRMC"));
        let (front, body) = text.split_at_checked(from.ok_or(SHORT)?).ok_or(SHORT)?;
        let (sentence, rest) = body.split_once('*').ok_or(SHORT)?;
        let sum = rest
            .get(..2)
            .and_then(|sum| u8::from_str_radix(sum, 16).ok());
        if sum != Some(checksum::xor(sentence.as_bytes())) {
            let at = front.len() + sentence.len();
            return Err(Reject::new("sum", "the checksum does not fit", at));
        }
        let (middle, tail) = rest.split_once("imei:").ok_or(SHORT)?;
        let (imei, tail) = tail.split_once(',').unwrap_or((tail, ""));
        cx.identify(Login::of(imei))?;
        report(front, sentence, middle, tail, cx)
    }

    fn probe(head: &[u8]) -> Probe {
        match start(head) {
            Start::Sentence => Probe::Yes,
            Start::Unsure => Probe::More,
            Start::Nothing => Probe::No,
            Start::Line => match framing::find(head, b"RMC,") {
                Some(_) => Probe::Yes,
                None if head.len() < 48 => Probe::More,
                None => Probe::No,
            },
        }
    }
}

/// What an alarm says, its text in small letters.
fn alarm(text: &str) -> Option<ParamId> {
    Some(match text.trim_end_matches('!') {
        "help me" | "helpme" => fields::ALARM_EVENT_TRIGGER,
        "low battery" | "low batery" => fields::BATTERY_LOW_EVENT_TRIGGER,
        "move" | "moved" => fields::MOVEMENT_EVENT_TRIGGER,
        "speed" => fields::OVERSPEEDING_EVENT_TRIGGER,
        "stockade" => fields::GEOFENCE_EVENT_EXIT,
        "accstart" | "acc on" => fields::IGNITION_ON_EVENT_TRIGGER,
        "accstop" | "acc off" => fields::IGNITION_OFF_EVENT_TRIGGER,
        _ => return None,
    })
}

/// Degrees and minutes whose leading zeros may be missing.
fn degrees(text: &str, hemisphere: &str, most: f64) -> Option<f64> {
    let hemisphere = if hemisphere.is_empty() {
        "E"
    } else {
        hemisphere
    };
    nmea_degrees(text, hemisphere).filter(|degrees| degrees.abs() <= most)
}

fn report(
    front: &str,
    sentence: &str,
    middle: &str,
    tail: &str,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let mut parts = sentence.split(',').skip(1);
    let mut next = || parts.next().unwrap_or_default();
    let [
        clock,
        letter,
        latitude,
        north,
        longitude,
        east,
        speed,
        course,
        date,
    ] = std::array::from_fn(|_| next());
    let ms = digits(date, "dmy").and_then(|date| {
        let clock = digits(clock.get(..6)?, "HMS")?;
        date.at_clock(clock).utc_ms()
    });
    let mut message = cx.message(or_impossible(ms, cx.now_ms))?;
    let place = degrees(latitude, north, 90.0).zip(degrees(longitude, east, 180.0));
    let place = place.filter(|place| *place != (0.0, 0.0));
    message.push(fields::POSITION_VALID, letter == "A" && place.is_some());
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
        message.push_some(fields::POSITION_SPEED, float(speed).map(units::knots));
        message.push_some(fields::POSITION_DIRECTION, float(course));
    }
    let mut front = front.split(',');
    if let Some(clock) = front.next().filter(|clock| !clock.is_empty()) {
        message.name("device.clock", clock);
    }
    if let Some(phone) = front.next().filter(|phone| !phone.is_empty()) {
        message.push(fields::GSM_PHONE, phone);
    }
    // the sum's two digits stand first
    for (index, text) in middle.split(',').enumerate().skip(1) {
        let text = text.trim();
        match (index, text) {
            (_, "") => {}
            (1, signal) => message.name("gnss.signal", signal),
            (_, text) => {
                message.push(fields::EVENT_NAME, text);
                let Some(alarm) = alarm(&text.to_ascii_lowercase()) else {
                    continue;
                };
                message.push(alarm, true);
                if alarm == fields::IGNITION_ON_EVENT_TRIGGER {
                    message.push(fields::ENGINE_IGNITION_STATUS, true);
                } else if alarm == fields::IGNITION_OFF_EVENT_TRIGGER {
                    message.push(fields::ENGINE_IGNITION_STATUS, false);
                }
            }
        }
    }
    let tail: smallvec::SmallVec<[&str; 16]> = tail.split(',').map(str::trim).collect();
    let at = |index: usize| tail.get(index).copied().unwrap_or_default();
    // the first devices have nothing but length and CRC there
    if tail.len() <= FIRST_TAIL {
        return Ok(());
    }
    message.push_some(fields::POSITION_SATELLITES, number::<u8>(at(0)));
    if place.is_some() {
        message.push_some(fields::POSITION_ALTITUDE, float(at(1)));
    }
    for (index, part) in at(2).split('/').enumerate() {
        if let Some((name, volts)) = part.split_once([':', '=']) {
            let volts = float(volts.trim_end_matches('V'));
            match (index, name) {
                (0, _) => message.push_some(fields::BATTERY_VOLTAGE, volts),
                (_, "ADC1") => message.push_some((fields::AIN_N, 1), volts),
                (_, "ADC2") => message.push_some((fields::AIN_N, 2), volts),
                (_, name) => {
                    message.push_some(crate::contract::Key::Name(name), volts);
                }
            }
        }
    }
    match at(3) {
        "0" => message.push(fields::BATTERY_CHARGING_STATUS, false),
        "1" => message.push(fields::BATTERY_CHARGING_STATUS, true),
        _ => {}
    }
    let hexadecimal = |text: &str| i64::from_str_radix(text, 16).ok();
    let cell = Cell {
        mcc: number(at(6)),
        mnc: number(at(7)),
        lac: hexadecimal(at(8)),
        id: hexadecimal(at(9)),
        dbm: None,
    };
    if cell.lac.is_some() && cell.id.is_some() {
        cells::push(&mut message, 0, cell);
    }
    if let Some(km) = at(10).strip_suffix("km") {
        message.push_some(fields::VEHICLE_MILEAGE, float(km));
    }
    Ok(())
}
