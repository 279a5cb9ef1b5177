//! Arnavi: Integral, ARNAVI 4 and 5, over TCP.
//!
//! # Wire format
//!
//! Binary, numbers are little-endian. The header: FF, version (22 to 25), IMEI as a number (8), of
//! version 24 eight bytes
//! more. Then packages:
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 1, 1 | begin, number | 5B; 1 to FB, or FD and a byte: the answer to a command |
//! | 1, 2 | kind, length | of a packet: 00 nothing, 01 tags, 03 text, 04 file, 06 bytes |
//! | 4 | time | unix seconds |
//! | ... | content | so many bytes as the length says |
//! | 1 | checksum | |
//! | 1 | end | 5D, after one or more packets |
//!
//! The tags are in `tags`.
//!
//! Text:
//! `$AV,Vn,ID,index,supply,battery,-,moves,ignition,inputs,...,fix,satellites,[altitude,geoid,]HHMMSS,latitude,longitude,knots,course,DDMMYY,...*XX`,
//! voltages in 0.01 V, places `DDMM.MMMMN`, XX a checksum.
//!
//! # Session
//!
//! Header, answered `{00 00}` (version 22), `{04 00 sum time}` (23, 25) or `{}` (24), with 7B and
//! 7D around; each package is answered
//! `{00 number}`. Text is not answered.
//!
//! # Quirks
//!
//! - Tags that are not known are kept under their numbers.
//! - The checksum of a packet is the sum of its time and content in one capture of three, and nothing
//!   known in the others; that of text fits nothing known: they are not verified.
//!
//! # Source
//!
//! Arnavi: "Protocol of exchange with the server" for ARNAVI 4 and 5, and captures.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.

mod tags;

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, Probe, Reject, Reply, Time, fields,
};
use crate::kit::cursor::Cursor;
use crate::kit::parse::{float, nmea_degrees, number};
use crate::kit::table::little_endian;
use crate::kit::time::{digits, or_impossible};
use crate::kit::{checksum, framing, hex, units};
use smallvec::SmallVec;

const HEADER: u8 = 0xff;
const HEADER_BYTES: usize = 10;
/// Of version 24.
const LONG_HEADER_BYTES: usize = 18;
const BEGIN: u8 = 0x5b;
const END: u8 = 0x5d;
const ANSWER: u8 = 0xfd;
/// Kind, length, time and checksum of a packet.
const PACKET_BYTES: usize = 8;
const FIELDS_MAX: usize = 64;

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Arnavi",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "arnavi",
        title: "Arnavi",
        source: "Arnavi: Protocol of exchange with the server, ARNAVI 4 and 5",
        port: 5100,
        frame_bytes_max: 64 * 1024,
        acks: Acks::Frame,
        models: &[
            model(1, "ARNAVI 4"),
            model(2, "ARNAVI 5"),
            model(3, "Integral"),
            model(4, "Integral-2"),
            model(5, "Integral-3"),
            model(6, "Essential"),
            model(7, "Beacon"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        match input {
            [HEADER, 0x24, ..] => Ok(framing::exactly(input, LONG_HEADER_BYTES)),
            [HEADER, _, ..] => Ok(framing::exactly(input, HEADER_BYTES)),
            [HEADER] => Ok(Cut::Need(2)),
            [BEGIN, ANSWER, ..] => Ok(framing::exactly(input, 4)),
            [BEGIN, ..] => {
                let mut at = 2;
                loop {
                    match input.get(at) {
                        Some(&END) => return Ok(Cut::Frame(at + 1)),
                        Some(_) => {}
                        None => return Ok(Cut::Need(at + 1)),
                    }
                    let Some(length) = input.get(at + 1..at + 3) else {
                        return Ok(Cut::Need(at + 3));
                    };
                    let length = usize::try_from(little_endian(length)).unwrap_or(usize::MAX);
                    at = at.saturating_add(length + PACKET_BYTES);
                }
            }
            [b'$', ..] => Ok(framing::until(input, scanned, eof, b"\n")),
            [b'\r' | b'\n', ..] => Ok(Cut::Skip(1)),
            _ => Err(Fatal::new("begin", "not known", 0)),
        }
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        match frame {
            [HEADER, ..] => header(frame, cx),
            [BEGIN, ANSWER, code, END] => {
                let mut message = cx.message(Time::Received(cx.now_ms))?;
                message.push(fields::MESSAGE_TYPE, "answer");
                message.push(fields::COMMAND_RESULT, &*code.to_string());
                drop(message);
                cx.command_reply(None, &code.to_string());
                Ok(())
            }
            [BEGIN, number, packets @ .., END] => package(*number, packets, cx),
            _ => text(frame, cx),
        }
    }

    fn probe(head: &[u8]) -> Probe {
        match head {
            [] | [HEADER | b'$'] | [b'$', b'A'] | [b'$', b'A', b'V'] => Probe::More,
            [HEADER, 0x22..=0x25, rest @ ..] => match rest.get(6..8) {
                // the highest bytes of fifteen digits
                Some([0..=3, 0]) => Probe::Yes,
                Some(_) => Probe::No,
                None => Probe::More,
            },
            [b'$', b'A', b'V', b',', ..] => Probe::Yes,
            _ => Probe::No,
        }
    }
}

fn header(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let short = Reject::new("header", "cut short", frame.len());
    let mut cursor = Cursor::new(frame);
    cursor.u8();
    let version = cursor.u8().ok_or(short)?;
    let imei = little_endian(cursor.take(8).ok_or(short)?);
    cx.identify(Login::of(&imei.to_string()))?;
    let answer = match version {
        0x22 => vec![0x7b, 0, 0, 0x7d],
        0x23 | 0x25 => {
            let seconds = u32::try_from(cx.now_ms.div_euclid(1000)).unwrap_or_default();
            let time = seconds.to_le_bytes();
            let mut answer = vec![0x7b, 4, 0, checksum::sum(&time)];
            answer.extend_from_slice(&time);
            answer.push(0x7d);
            answer
        }
        _ => vec![0x7b, 0x7d],
    };
    cx.reply(Reply::admitted(answer));
    Ok(())
}

fn package(number: u8, packets: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    const NOTHING: u8 = 0;
    const TAGS: u8 = 1;
    const TEXT: u8 = 3;
    let short = Reject::new("packet", "cut short", 2);
    let mut cursor = Cursor::new(packets);
    while cursor.left() > 0 {
        let kind = cursor.u8().ok_or(short)?;
        let length = usize::try_from(little_endian(cursor.take(2).ok_or(short)?)).unwrap_or(0);
        let time = cursor.take(4).ok_or(short)?;
        let content = cursor.take(length).ok_or(short)?;
        cursor.u8().ok_or(short)?;
        if kind == NOTHING && content.is_empty() {
            continue;
        }
        let seconds = i64::try_from(little_endian(time)).unwrap_or_default();
        let mut message = cx.message(Time::Device(seconds * 1000))?;
        message.push(fields::MESSAGE_TYPE, &*kind.to_string());
        match kind {
            TAGS => tags::push(content, &mut message),
            TEXT => message.push(fields::TEXT_MESSAGE, &*String::from_utf8_lossy(content)),
            _ => message.push(fields::PAYLOAD_HEX, &*hex::encode(content)),
        }
    }
    cx.reply(Reply::stored(vec![0x7b, 0, number, 0x7d]));
    Ok(())
}

fn text(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let bad = Reject::new("text", "not a report", 0);
    let text = std::str::from_utf8(framing::trim_line(frame))
        .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
    let (body, _) = text
        .strip_prefix('$')
        .and_then(|text| text.rsplit_once('*'))
        .ok_or(bad)?;
    let parts: SmallVec<[&str; 32]> = body.split(',').take(FIELDS_MAX).collect();
    let at = |index: usize| parts.get(index).copied().unwrap_or_default();
    cx.identify(Login::of(at(2)))?;
    let hemisphere =
        |text: &str| text.len() > 5 && text.ends_with(['N', 'S', 'n', 's']) && text.contains('.');
    let Some(lat) = parts
        .iter()
        .position(|text| hemisphere(text))
        .filter(|at| *at > 8)
    else {
        let mut message = cx.message(Time::Received(cx.now_ms))?;
        message.push(fields::MESSAGE_TYPE, at(1));
        message.push(fields::TEXT_MESSAGE, body);
        return Ok(());
    };
    let civil = digits(at(lat - 1), "HMS").zip(digits(at(lat + 4), "dmy"));
    let ms = civil.and_then(|(clock, date)| date.at_clock(clock).utc_ms());
    let mut message = cx.message(or_impossible(ms, cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, at(1));
    message.push_some(fields::RECORD_SEQNUM, number::<i64>(at(3)));
    let volts = |text: &str| number::<i64>(text).map(|hundredths| units::scaled(hundredths, 2));
    message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts(at(4)));
    message.push_some(fields::BATTERY_VOLTAGE, volts(at(5)));
    let flag = |text: &str| match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    };
    message.push_some(fields::MOVEMENT_STATUS, flag(at(7)));
    message.push_some(fields::ENGINE_IGNITION_STATUS, flag(at(8)));
    message.push_some(fields::DIN, number::<i64>(at(9)));
    // between satellites and time may stand altitude and geoid
    let high = at(lat - 2).contains('.');
    let satellites = if high { lat - 4 } else { lat - 2 };
    if high {
        message.push_some(fields::POSITION_ALTITUDE, float(at(lat - 3)));
    }
    message.push_some(fields::POSITION_SATELLITES, number::<i64>(at(satellites)));
    let degrees = |text: &str| {
        let (value, hemisphere) = text.split_at_checked(text.len().checked_sub(1)?)?;
        nmea_degrees(value, hemisphere)
    };
    let place = degrees(at(lat)).zip(degrees(at(lat + 1)));
    let place = place.filter(|place| *place != (0.0, 0.0));
    message.push(
        fields::POSITION_VALID,
        place.is_some() && at(satellites - 1) == "1",
    );
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
        message.push_some(fields::POSITION_SPEED, float(at(lat + 2)).map(units::knots));
        message.push_some(fields::POSITION_DIRECTION, float(at(lat + 3)));
    }
    for (index, part) in parts.iter().enumerate() {
        // 65535 says that nothing is connected
        let sensors = (index == 6) || (10..satellites - 1).contains(&index) || index > lat + 4;
        if sensors && !part.is_empty() && *part != "65535" {
            message.wire(u32::try_from(index).unwrap_or(u32::MAX), *part);
        }
    }
    Ok(())
}
