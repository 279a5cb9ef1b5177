//! Topin: ZhongSheng's small Wi-Fi and GPS trackers (ZX302, ZX303, ZX612), relatives of GT06 without a checksum.
//!
//! # Wire format
//!
//! | bytes | field |
//! |---|---|
//! | 2 | `78 78` |
//! | 1 | length, or in kinds 17, 18, 19, 1A and 69 the number of access points |
//! | 1 | kind |
//! | n | content |
//! | 2 | `0D 0A` |
//!
//! | kind | content |
//! |---|---|
//! | 01 | IMEI (8, decimal), version: login |
//! | 08 | none: heartbeat; with content a position: time (6), then degrees (1) and millionths (3) of latitude and longitude |
//! | 10, 11 | time (6), length and satellites (1), latitude and longitude (4 each, 1/30000 minutes), km/h, course and flags (2); 11 was kept |
//! | 13 | battery %, version, zone, interval, signal %, charging, more: status |
//! | 17, 18, 19, 1A, 69 | time (6, decimal), access points (MAC (6), signal), count, MCC (2), MNC, cells |
//! | 30 | none: asks for the time |
//! | 99 | none: SOS |
//!
//! A cell is LAC (2), cell (2), signal (1); on networks after GSM LAC (4), cell (4), signal (1).
//! Flags: 1000 valid, 0800 west, 0400 north; the ten bits below are the course.
//!
//! # Session
//!
//! The login names the device; it is answered by kind 01 with 01, and by kind 30 with the server's time. Positions
//! and cells are answered by their kind and time, a status by itself. The rest is not answered.
//!
//! # Source
//!
//! "Topin GPS tracker communication protocol" for ZX303 and ZX612; captures.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.
//!
//! # Quirks
//!
//! - The length is wrong in several kinds, so where a frame ends follows from the kind and the
//!   line end behind the least it holds.
//! - An answer carries the length of the frame that it answers, as trackers expect.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, Probe, Reject, Reply, Setting, Time,
    fields,
};
use crate::kit::cells::{self, Cell};
use crate::kit::cursor::Cursor;
use crate::kit::time::{self, Civil, two_digit};
use crate::kit::{bcd, framing, hex, units};
use std::borrow::Cow;

const HEAD_BYTES: usize = 4;
const TIME_BYTES: usize = 6;
const ACCESS_POINT_BYTES: usize = 7;
const SHORT: Reject = Reject::new("frame", "cut short", 0);
const NARROW_BYTES: usize = 5;
const WIDE_BYTES: usize = 9;

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Topin",
        name,
    }
}

/// There is no state.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "topin",
        title: "Topin (ZX303, ZX612)",
        source: "Topin GPS tracker communication protocol",
        port: 5199,
        frame_bytes_max: 4096,
        acks: Acks::Frame,
        settings: &[Setting::TimeZone],
        models: &[
            model(1, "ZX302"),
            model(2, "ZX303"),
            model(3, "ZX310"),
            model(4, "ZX612"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, eof: bool) -> Result<Cut, Fatal> {
        if !input.starts_with(b"xx") {
            if input == b"x" {
                return Ok(if eof { Cut::Skip(1) } else { Cut::Need(2) });
            }
            let start = framing::find(input, b"xx").unwrap_or_else(|| {
                let half = usize::from(input.last() == Some(&b'x'));
                input.len() - half
            });
            return Ok(Cut::Skip(start));
        }
        let least = match least(input) {
            Some(least) => least,
            None if eof => return Ok(Cut::Frame(input.len())),
            None => return Ok(Cut::Need(input.len() + 1)),
        };
        let end = input
            .get(least..)
            .and_then(|rest| framing::find(rest, b"\r\n"));
        Ok(match end {
            Some(end) => Cut::Frame(least + end + 2),
            None if eof => Cut::Frame(input.len()),
            None => Cut::Need((least + 2).max(input.len() + 1)),
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let body = frame
            .strip_prefix(b"xx")
            .and_then(|rest| rest.strip_suffix(b"\r\n"))
            .ok_or(SHORT)?;
        let ([length, kind], content) = body.split_first_chunk::<2>().ok_or(SHORT)?;
        let (length, kind) = (*length, *kind);
        match kind {
            0x01 => login(length, content, cx),
            0x08 if content.is_empty() => Ok(()),
            0x08 => millionths(content, cx),
            0x10 | 0x11 => {
                position(kind, content, cx)?;
                let date = content.get(..TIME_BYTES).ok_or(SHORT)?;
                cx.reply(Reply::stored(answer(length, kind, date)));
                Ok(())
            }
            0x13 => {
                status(content, cx)?;
                cx.reply(Reply::stored(answer(length, kind, content)));
                Ok(())
            }
            0x17..=0x1a | 0x69 => {
                network(length, kind, content, cx)?;
                let date = content.get(..TIME_BYTES).ok_or(SHORT)?;
                cx.reply(Reply::stored(answer(length, kind, date)));
                Ok(())
            }
            0x30 => {
                let clock = clock(cx.now_ms);
                cx.reply(Reply::open(answer(7, 0x30, &clock)));
                Ok(())
            }
            _ => {
                let mut message = cx.message(Time::Received(cx.now_ms))?;
                message.push(fields::MESSAGE_TYPE, word(kind).as_str());
                if kind == 0x99 {
                    message.push(fields::ALARM_EVENT_TRIGGER, true);
                }
                if !content.is_empty() {
                    message.push(fields::PAYLOAD_HEX, hex::encode(content).as_str());
                }
                Ok(())
            }
        }
    }

    fn ident(text: &str) -> Cow<'_, str> {
        Cow::Borrowed(bcd::without_leading_zeros(text))
    }

    // GT06 begins alike and has a checksum: what passes it is GT06's, and its login is longer
    fn probe(head: &[u8]) -> Probe {
        match head {
            [b'x', b'x', _, 0x01, rest @ ..] => {
                let imei = rest.get(..8).unwrap_or(rest);
                let decimal = imei.iter().all(|byte| bcd::byte(*byte).is_some());
                match rest.get(9..11) {
                    None if decimal => Probe::More,
                    Some(b"\r\n") if decimal => Probe::Yes,
                    _ => Probe::No,
                }
            }
            [] | [b'x'] | [b'x', b'x'] | [b'x', b'x', _] => Probe::More,
            _ => Probe::No,
        }
    }
}

/// How many bytes there are at least before the line end.
fn least(input: &[u8]) -> Option<usize> {
    let [_, _, length, kind] = *input.first_chunk::<HEAD_BYTES>()?;
    let content = match kind {
        0x01 => 8,
        0x08 if length <= 1 => 0,
        0x08 => usize::from(length) - 1,
        0x10 | 0x11 => 18,
        0x13 => 5,
        0x17..=0x1a | 0x69 => {
            let points = usize::from(length) * ACCESS_POINT_BYTES;
            let at = TIME_BYTES + points;
            let cells = usize::from(*input.get(HEAD_BYTES + at)?);
            at + 1 + 3 + cells * NARROW_BYTES
        }
        _ => 0,
    };
    Some(HEAD_BYTES + content)
}

fn answer(length: u8, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(content.len() + 6);
    frame.extend_from_slice(&[b'x', b'x', length, kind]);
    frame.extend_from_slice(content);
    frame.extend_from_slice(b"\r\n");
    frame
}

fn word(kind: u8) -> String {
    format!("{kind:02x}")
}

/// The server's time: the year in two bytes, all others in one.
fn clock(now_ms: i64) -> [u8; 7] {
    let now = Civil::at(now_ms);
    let byte = |value: i64| u8::try_from(value).unwrap_or(0);
    let [high, low] = u16::try_from(now.year).unwrap_or(0).to_be_bytes();
    [
        high,
        low,
        byte(now.month),
        byte(now.day),
        byte(now.hour),
        byte(now.minute),
        byte(now.second),
    ]
}

fn login(length: u8, content: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let imei = content.get(..8).and_then(bcd::text);
    let imei = imei.ok_or(Reject::new("ident", "not decimal", HEAD_BYTES))?;
    cx.identify(Login::of(&imei))?;
    cx.reply(Reply::admitted(answer(length, 0x01, &[1])));
    cx.reply(Reply::admitted(answer(7, 0x30, &clock(cx.now_ms))));
    Ok(())
}

fn moment(date: [u8; TIME_BYTES], cx: &Context<'_>) -> Time {
    let [y, m, d, hour, minute, second] = date.map(i64::from);
    let ms = two_digit(y, m, d, hour, minute, second).ms(cx.settings());
    time::or_impossible(ms, cx.now_ms)
}

fn position(kind: u8, content: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(content);
    let time = moment(body.array().ok_or(SHORT)?, cx);
    let satellites = body.u8().ok_or(SHORT)? & 15;
    let (lat, lon) = (body.u32().ok_or(SHORT)?, body.u32().ok_or(SHORT)?);
    let speed = body.u8().ok_or(SHORT)?;
    let flags = body.u16().ok_or(SHORT)?;
    let degrees = |raw: u32, negative: bool| {
        let value = units::round(f64::from(raw) / 1_800_000.0, 7);
        if negative { -value } else { value }
    };
    let latitude = degrees(lat, flags & 0x0400 == 0);
    let longitude = degrees(lon, flags & 0x0800 != 0);
    if latitude.abs() > 90.0 || longitude.abs() > 180.0 {
        return Err(Reject::new("place", "beyond the globe", HEAD_BYTES));
    }
    let placed = (lat, lon) != (0, 0);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, word(kind).as_str());
    message.push(fields::POSITION_VALID, placed && flags & 0x1000 != 0);
    if placed {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
        message.push(fields::POSITION_SPEED, speed);
        message.push(fields::POSITION_DIRECTION, flags & 0x3ff);
    }
    message.push(fields::POSITION_SATELLITES, satellites);
    if kind == 0x11 {
        message.push(fields::MESSAGE_BUFFERED_STATUS, true);
    }
    if body.left() > 0 {
        message.push(fields::PAYLOAD_HEX, hex::encode(body.rest()).as_str());
    }
    Ok(())
}

/// Kind 08 with content.
fn millionths(content: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(content);
    let time = moment(body.array().ok_or(SHORT)?, cx);
    let mut degrees = || {
        let whole = f64::from(body.array::<1>().map(i8::from_be_bytes)?);
        let part = f64::from(body.u24()?) / 1e6;
        Some(units::round(
            if whole < 0.0 {
                whole - part
            } else {
                whole + part
            },
            6,
        ))
    };
    let (latitude, longitude) = degrees().zip(degrees()).ok_or(SHORT)?;
    let fits = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
    let placed = fits && (latitude, longitude) != (0.0, 0.0);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, "08");
    message.push(fields::POSITION_VALID, placed);
    if placed {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    message.push(fields::PAYLOAD_HEX, hex::encode(body.rest()).as_str());
    Ok(())
}

fn status(content: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let ([battery, version, zone, interval, signal], rest) =
        content.split_first_chunk::<5>().ok_or(SHORT)?;
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "13");
    message.push(fields::BATTERY_LEVEL, *battery);
    let version = format!("{version}");
    message.push(fields::DEVICE_FIRMWARE_VERSION, version.as_str());
    message.name("time.zone", zone.cast_signed());
    message.name("upload.interval", *interval);
    message.push(fields::GSM_SIGNAL_LEVEL, *signal);
    if let Some((charging, rest)) = rest.split_first() {
        message.push(fields::BATTERY_CHARGING_STATUS, *charging != 0);
        if !rest.is_empty() {
            message.push(fields::PAYLOAD_HEX, hex::encode(rest).as_str());
        }
    }
    Ok(())
}

fn network(points: u8, kind: u8, content: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(content);
    let date = body.array::<TIME_BYTES>().ok_or(SHORT)?;
    let [y, m, d, hour, minute, second] = date.map(|byte| bcd::byte(byte).map(i64::from));
    let civil = || Some(two_digit(y?, m?, d?, hour?, minute?, second?));
    let ms = civil().and_then(|civil| civil.ms(cx.settings()));
    let mut message = cx.message(time::or_impossible(ms, cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, word(kind).as_str());
    for number in 1..=u16::from(points) {
        let mac = body.array::<6>().ok_or(SHORT)?;
        let signal = i64::from(body.u8().ok_or(SHORT)?);
        message.push((fields::WIFI_MAC_N, number), hex::mac(mac).as_str());
        message.push((fields::WIFI_SIGNAL_DBM_N, number), -signal);
    }
    let count = body.u8().ok_or(SHORT)?;
    let mcc = body.u16().ok_or(SHORT)?;
    let mnc = body.u8().ok_or(SHORT)?;
    let wide = body.left() >= usize::from(count) * WIDE_BYTES;
    for number in 0..u16::from(count) {
        let (lac, id) = if wide {
            (body.u32(), body.u32())
        } else {
            (body.u16().map(u32::from), body.u16().map(u32::from))
        };
        let signal = body.u8().ok_or(SHORT)?;
        let cell = Cell {
            mcc: Some(mcc.into()),
            mnc: Some(mnc.into()),
            lac: lac.map(i64::from),
            id: id.map(i64::from),
            dbm: Some(-i64::from(signal)),
        };
        cells::push(&mut message, number, cell);
    }
    if body.rest().iter().any(|byte| *byte != 0) {
        message.push(fields::PAYLOAD_HEX, hex::encode(body.rest()).as_str());
    }
    Ok(())
}
