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
//! | 08, 09 | none: heartbeat; with content a position: time (6), latitude and longitude, both once more (8), km/h, course (half), satellites; 09 was kept |
//! | 10, 11 | time (6), length and satellites (1), latitude and longitude (4 each, 1/30000 minutes), km/h, course and flags (2), perhaps altitude (2) and alarms; 11 was kept |
//! | 13 | battery %, version, zone, interval, signal %, temperature (3, not in the shorter forms), charging, pulse: status |
//! | 17, 18, 19, 1A, 69 | time (6, decimal), access points (MAC (6), signal), count, MCC (2), MNC, cells, perhaps alarms |
//! | 30 | none: asks for the time |
//! | 14 | none: it goes to sleep |
//! | 82, 83 | none: the charger is connected, disconnected |
//! | 94, 99 | none: vibration, SOS |
//!
//! In kinds 08 and 09 a coordinate is degrees (1) and millionths (20 bits), with a sign in the four bits
//! between. The bits of the alarms: 1 vibration, 2 too fast, 10 low power.
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
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, Probe, RecordBuilder, Reject, Reply,
    Setting, Time, fields,
};
use crate::kit::cells::{self, Cell};
use crate::kit::cursor::Cursor;
use crate::kit::time::{self, Civil, two_digit};
use crate::kit::{bcd, framing, hex, units};
use std::borrow::Cow;

const HEAD_BYTES: usize = 4;
const TIME_BYTES: usize = 6;
const ACCESS_POINT_BYTES: usize = 7;
const STATUS_BYTES_MIN: usize = 4;
const SHORT: Reject = Reject::new("frame", "cut short", 0);
const NARROW_BYTES: usize = 5;
const WIDE_BYTES: usize = 9;

/// In the place of 01 in the answer to a login: not known here.
const REFUSED: u8 = 0x44;

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
        version: 3,
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
            0x08 | 0x09 if content.is_empty() => Ok(()),
            0x08 | 0x09 => millionths(kind, content, cx),
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
                match kind {
                    0x14 => message.push(fields::SLEEP_EVENT_TRIGGER, true),
                    0x82 => message.push(fields::EXTERNAL_POWERSOURCE_STATUS, true),
                    0x83 => message.push(fields::EXTERNAL_POWERSOURCE_STATUS, false),
                    0x94 => message.push(fields::VIBRATION_EVENT_TRIGGER, true),
                    0x99 => message.push(fields::ALARM_EVENT_TRIGGER, true),
                    _ => {}
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
        0x08 | 0x09 if length <= 1 => 0,
        0x08 | 0x09 => usize::from(length) - 1,
        0x10 | 0x11 => 18,
        0x13 => STATUS_BYTES_MIN,
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
    let refused = answer(length, 0x01, &[REFUSED]);
    cx.reply(Reply::admitted(answer(length, 0x01, &[1])).or(refused));
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
    if body.left() >= 3
        && let (Some(altitude), Some(bits)) = (body.i16(), body.u8())
    {
        message.push(fields::POSITION_ALTITUDE, altitude);
        alarms(&mut message, bits);
    }
    if body.left() > 0 {
        message.push(fields::PAYLOAD_HEX, hex::encode(body.rest()).as_str());
    }
    Ok(())
}

fn alarms(message: &mut RecordBuilder<'_>, bits: u8) {
    for (bit, alarm) in [
        (0, fields::VIBRATION_EVENT_TRIGGER),
        (1, fields::OVERSPEEDING_EVENT_TRIGGER),
        (4, fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER),
    ] {
        if bits & (1 << bit) != 0 {
            message.push(alarm, true);
        }
    }
}

/// Degrees and millionths.
fn degrees(body: &mut Cursor<'_>) -> Option<f64> {
    let (whole, raw) = (body.u8()?, body.u24()?);
    let value = f64::from(whole) + f64::from(raw & 0x000f_ffff) / 1e6;
    let value = units::round(value, 6);
    Some(if raw & 0x00f0_0000 == 0 {
        value
    } else {
        -value
    })
}

/// Kinds 08 and 09 with content.
fn millionths(kind: u8, content: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(content);
    let time = moment(body.array().ok_or(SHORT)?, cx);
    let (latitude, longitude) = degrees(&mut body).zip(degrees(&mut body)).ok_or(SHORT)?;
    let fits = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
    let placed = fits && (latitude, longitude) != (0.0, 0.0);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, word(kind).as_str());
    // nothing says of a kept place whether it was one
    message.push(fields::POSITION_VALID, placed && kind == 0x08);
    if kind == 0x09 {
        message.push(fields::MESSAGE_BUFFERED_STATUS, true);
    }
    if placed {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    if body.take(8).is_some() {
        message.push_some(fields::POSITION_SPEED, body.u8());
        let course = body.u8().map(|half| u16::from(half) * 2);
        message.push_some(fields::POSITION_DIRECTION, course);
        message.push_some(fields::POSITION_SATELLITES, body.u8());
    }
    if body.rest().iter().any(|byte| *byte != 0) {
        message.push(fields::PAYLOAD_HEX, hex::encode(body.rest()).as_str());
    }
    Ok(())
}

fn status(content: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let ([battery, version, zone, interval], rest) = content
        .split_first_chunk::<STATUS_BYTES_MIN>()
        .ok_or(SHORT)?;
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "13");
    message.push(fields::BATTERY_LEVEL, *battery);
    let version = format!("{version}");
    message.push(fields::DEVICE_FIRMWARE_VERSION, version.as_str());
    message.name("time.zone", zone.cast_signed());
    message.name("upload.interval", *interval);
    let mut body = Cursor::new(rest);
    message.push_some(fields::GSM_SIGNAL_LEVEL, body.u8());
    if let Some(temperature) = body.take(3) {
        message.name("temperature.raw", temperature);
    }
    let charging = body.u8().map(|charging| charging != 0);
    message.push_some(fields::BATTERY_CHARGING_STATUS, charging);
    message.push_some(fields::HEART_RATE, body.u8().filter(|rate| *rate != 0));
    if body.left() > 0 {
        message.push(fields::PAYLOAD_HEX, hex::encode(body.rest()).as_str());
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
    if let Some(bits) = body.u8() {
        alarms(&mut message, bits);
    }
    if body.rest().iter().any(|byte| *byte != 0) {
        message.push(fields::PAYLOAD_HEX, hex::encode(body.rest()).as_str());
    }
    Ok(())
}
