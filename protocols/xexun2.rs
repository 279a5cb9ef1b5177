//! Xexun's second protocol: XT-017, X2 and other small trackers, over TCP.
//!
//! # Wire format
//!
//! `FA AF`, a head, a body, `FA AF`. Inside, `FA AF` is written `FB BF 01` and `FB BF` is written `FB BF 02`.
//! Big-endian.
//!
//! | bytes | field |
//! |---|---|
//! | 2 | kind: 07 answer to a command, 14 positions |
//! | 2 | number |
//! | 8 | IMEI and a 0, a digit a nibble |
//! | 2 | the lower ten bits: length of the body |
//! | 2 | checksum: complement of the sum of the body's bytes |
//!
//! Positions have a count, the length (2) of each, and then each:
//!
//! | bytes | field |
//! |---|---|
//! | 1, 4 | its number, unix seconds |
//! | 1, 2 | signal, battery: bit 15 charging, the others percent |
//! | 1 | what follows: 01 alarm (4), 02 places, 08 fingerprint (4), 10 version (20), IMSI (8), SIM (10), 20 parameters (12) |
//!
//! Places have a byte of bits and for each:
//!
//! | bit | field |
//! |---|---|
//! | 01 | satellites, longitude, latitude as floats DDDMM.MMMM |
//! | 02 | access points: count, address (6) and signal each |
//! | 04 | cells: count, country (2), network (2), area (4), cell (4), signal each |
//! | 08 | distances: count, 12 each |
//! | 20 | speed, course (2 each) in tenths |
//! | 40 | as 01 with doubles |
//! | 80 | length (2), kind, length (2); kind G: longitude, latitude as doubles, valid, satellites, noise, speed, course, altitude (float) |
//!
//! # Session
//!
//! Every frame names its device; all but answers to commands are answered with their head and 01.
//!
//! # Source
//!
//! Xexun: "X series communication protocol", by the public descriptions of other decoders, and captures.
//! The document was not at hand as a whole: what no capture in `fixtures/` shows wants a frame to prove it.
//!
//! # Quirks
//!
//! - Only the body is under the checksum.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Instance, Login, Model, Probe, RecordBuilder, Reject,
    Reply, Time, fields,
};
use crate::kit::cells::{self, Cell};
use crate::kit::cursor::Cursor;
use crate::kit::time::or_impossible;
use crate::kit::{framing, hex, units};

const MARK: &[u8] = &[0xfa, 0xaf];
const ESCAPE: &[u8] = &[0xfb, 0xbf];
const COMMAND: u16 = 0x07;
const POSITIONS: u16 = 0x14;
const IMEI_DIGITS: usize = 15;
const LENGTH_MASK: u16 = 0x03ff;
const POINTS_MAX: Instance = 64;
const CELLS_MAX: Instance = 16;
const SHORT: Reject = Reject::new("frame", "fewer bytes than it has", 0);

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

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "xexun2",
        title: "Xexun X series",
        source: "Xexun: X series communication protocol",
        port: 5233,
        frame_bytes_max: 4096,
        acks: Acks::Frame,
        shared: true,
        models: &[
            model(1, "X2"),
            model(2, "X3"),
            model(3, "X12"),
            model(4, "X20"),
            model(5, "XT-017"),
            model(6, "XT-011"),
            model(7, "J3"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, _: bool) -> Result<Cut, Fatal> {
        if !input.starts_with(MARK) {
            if input == [0xfa] {
                return Ok(Cut::Need(2));
            }
            let next = input.iter().skip(1).position(|byte| *byte == 0xfa);
            return Ok(Cut::Skip(next.map_or(input.len(), |at| at + 1)));
        }
        let from = scanned.saturating_sub(1).max(MARK.len());
        let rest = input.get(from..).unwrap_or_default();
        Ok(match framing::find(rest, MARK) {
            // the end of a frame whose beginning was lost
            Some(0) if from == MARK.len() => Cut::Skip(MARK.len()),
            Some(at) => Cut::Frame(from + at + MARK.len()),
            None => Cut::Need(input.len() + 1),
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let content = frame
            .strip_prefix(MARK)
            .and_then(|content| content.strip_suffix(MARK))
            .ok_or(SHORT)?;
        let unescaped;
        let content = if framing::find(content, ESCAPE).is_some() {
            unescaped = unescape(content)?;
            unescaped.as_slice()
        } else {
            content
        };
        let mut cursor = Cursor::new(content);
        let (kind, number) = (cursor.u16().ok_or(SHORT)?, cursor.u16().ok_or(SHORT)?);
        let imei: [u8; 8] = cursor.array().ok_or(SHORT)?;
        let length = usize::from(cursor.u16().ok_or(SHORT)? & LENGTH_MASK);
        let sum = cursor.u16().ok_or(SHORT)?;
        let body = cursor.take(length).ok_or(SHORT)?;
        if sum != checksum(body) {
            return Err(Reject::new("sum", "the checksum does not fit", 16));
        }
        let digits = hex::encode(&imei);
        let ident = digits.get(..IMEI_DIGITS).ok_or(SHORT)?;
        cx.identify(Login::of(ident))?;
        match kind {
            POSITIONS => positions(number, body, cx)?,
            COMMAND => command_answer(number, body, cx)?,
            _ => {
                let now_ms = cx.now_ms;
                let mut message = open(kind, number, Time::Received(now_ms), cx)?;
                message.push(fields::PAYLOAD_HEX, &*hex::encode(body));
            }
        }
        if kind != COMMAND {
            cx.reply(Reply::stored(answer(kind, number, imei)));
        }
        Ok(())
    }

    fn probe(head: &[u8]) -> Probe {
        let fits = head.starts_with(MARK) || MARK.starts_with(head);
        match (fits, head.get(2), head.get(3)) {
            (true, Some(0), Some(0..0x40)) => Probe::Yes,
            (true, None | Some(0), None) => Probe::More,
            _ => Probe::No,
        }
    }
}

fn unescape(content: &[u8]) -> Result<Vec<u8>, Reject> {
    let mut bytes = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(at) = framing::find(rest, ESCAPE) {
        let (plain, behind) = rest.split_at_checked(at).ok_or(SHORT)?;
        let (escaped, behind) = behind.split_first_chunk::<3>().ok_or(SHORT)?;
        bytes.extend_from_slice(plain);
        bytes.extend_from_slice(match escaped {
            [_, _, 1] => MARK,
            [_, _, 2] => ESCAPE,
            _ => return Err(Reject::new("escape", "no known one", at)),
        });
        rest = behind;
    }
    bytes.extend_from_slice(rest);
    Ok(bytes)
}

fn escape(content: &[u8]) -> Vec<u8> {
    let mut bytes = MARK.to_vec();
    let mut rest = content;
    while let Some((&first, behind)) = rest.split_first() {
        let (written, left) = if let Some(left) = rest.strip_prefix(MARK) {
            (&[0xfb, 0xbf, 1][..], left)
        } else if let Some(left) = rest.strip_prefix(ESCAPE) {
            (&[0xfb, 0xbf, 2][..], left)
        } else {
            bytes.push(first);
            rest = behind;
            continue;
        };
        bytes.extend_from_slice(written);
        rest = left;
    }
    bytes.extend_from_slice(MARK);
    bytes
}

fn checksum(body: &[u8]) -> u16 {
    let sum = body.iter().fold(0u32, |sum, byte| sum + u32::from(*byte));
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from(folded & 0xffff).unwrap_or_default()
}

fn answer(kind: u16, number: u16, imei: [u8; 8]) -> Vec<u8> {
    const DONE: &[u8] = &[1];
    let mut content = Vec::with_capacity(17);
    content.extend_from_slice(&kind.to_be_bytes());
    content.extend_from_slice(&number.to_be_bytes());
    content.extend_from_slice(&imei);
    content.extend_from_slice(&[0, 1]);
    content.extend_from_slice(&checksum(DONE).to_be_bytes());
    content.extend_from_slice(DONE);
    escape(&content)
}

fn open<'c>(
    kind: u16,
    number: u16,
    time: Time,
    cx: &'c mut Context<'_>,
) -> Result<RecordBuilder<'c>, Reject> {
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, &*format!("{kind:02x}"));
    message.push(fields::FRAME_SEQNUM, number);
    Ok(message)
}

fn command_answer(number: u16, body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_matches(|c: char| c.is_control() || c == ' ');
    cx.command_reply(Some(number.into()), text);
    let now_ms = cx.now_ms;
    let mut message = open(COMMAND, number, Time::Received(now_ms), cx)?;
    message.push(fields::COMMAND_RESULT, text);
    Ok(())
}

fn positions(number: u16, body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut lengths = Cursor::new(body);
    let count = usize::from(lengths.u8().ok_or(SHORT)?);
    let heads = lengths.take(count * 2).ok_or(SHORT)?;
    let mut records = lengths;
    for head in heads.as_chunks::<2>().0 {
        let record = records
            .take(u16::from_be_bytes(*head).into())
            .ok_or(SHORT)?;
        let mut record = Cursor::new(record);
        let index = record.u8().ok_or(SHORT)?;
        let seconds = i64::from(record.u32().ok_or(SHORT)?);
        let ms = (seconds > 0).then_some(seconds * 1000);
        let time = or_impossible(ms, cx.now_ms);
        let mut message = open(POSITIONS, number, time, cx)?;
        message.push(fields::RECORD_SEQNUM, index);
        if position(&mut record, &mut message).is_none() && record.left() > 0 {
            message.push(fields::PAYLOAD_HEX, &*hex::encode(record.rest()));
        }
    }
    Ok(())
}

fn position(record: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    message.push(fields::GSM_SIGNAL_ENUM, record.u8()?);
    let battery = record.u16()?;
    message.push(fields::BATTERY_CHARGING_STATUS, battery >> 15 == 1);
    message.push(fields::BATTERY_LEVEL, battery & 0x7fff);
    let has = record.u8()?;
    if has & 0x01 != 0 {
        let bits = record.u32()?;
        message.push(fields::ALARM_BITMASK, bits);
        for (bit, event) in [
            (0, fields::ALARM_EVENT_TRIGGER),
            (1, fields::TAMPERING_EVENT_TRIGGER),
            (15, fields::FALL_EVENT_TRIGGER),
        ] {
            if bits >> bit & 1 == 1 {
                message.push(event, true);
            }
        }
    }
    if has & 0x02 != 0 {
        places(record, message)?;
    }
    if has & 0x08 != 0 {
        message.name("fingerprint", record.u32()?);
    }
    if has & 0x10 != 0 {
        let version = String::from_utf8_lossy(record.take(20)?);
        message.push(fields::DEVICE_FIRMWARE_VERSION, version.trim_matches('\0'));
        let imsi = hex::encode(record.take(8)?);
        message.push_some(fields::GSM_SIM_IMSI, imsi.get(..15));
        message.push(fields::GSM_SIM_ICCID, &*hex::encode(record.take(10)?));
    }
    if has & 0x20 != 0 {
        message.name("parameters", record.take(12)?);
    }
    (record.left() == 0).then_some(())
}

fn push_place(message: &mut RecordBuilder<'_>, longitude: f64, latitude: f64, valid: bool) -> bool {
    let degrees = |raw: f64| {
        let whole = (raw / 100.0).trunc();
        units::round(whole + (raw - whole * 100.0) / 60.0, 7)
    };
    let (longitude, latitude) = (degrees(longitude), degrees(latitude));
    let there =
        longitude.abs() <= 180.0 && latitude.abs() <= 90.0 && (longitude != 0.0 || latitude != 0.0);
    message.push(fields::POSITION_VALID, valid && there);
    if there {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    there
}

fn double(cursor: &mut Cursor<'_>) -> Option<f64> {
    cursor.array().map(f64::from_be_bytes)
}

fn float(cursor: &mut Cursor<'_>) -> Option<f64> {
    cursor.array().map(|bytes| f32::from_be_bytes(bytes).into())
}

fn tenths(cursor: &mut Cursor<'_>) -> Option<f64> {
    cursor.u16().map(|raw| f64::from(raw) / 10.0)
}

fn places(record: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let has = record.u8()?;
    let mut there = false;
    if has & 0xc1 == 0 {
        message.push(fields::POSITION_VALID, false);
    }
    if has & 0x01 != 0 {
        message.push(fields::POSITION_SATELLITES, record.u8()?);
        let (longitude, latitude) = (float(record)?, float(record)?);
        there |= push_place(message, longitude, latitude, true);
    }
    if has & 0x02 != 0 {
        let count = record.u8()?;
        for number in 1..=Instance::from(count) {
            let address = record.array()?;
            let dbm = record.u8()?.cast_signed();
            if number <= POINTS_MAX {
                message.push((fields::WIFI_MAC_N, number), &*hex::mac(address));
                message.push((fields::WIFI_SIGNAL_DBM_N, number), dbm);
            }
        }
    }
    if has & 0x04 != 0 {
        let count = record.u8()?;
        for number in 0..Instance::from(count) {
            let cell = Cell {
                mcc: Some(record.u16()?.into()),
                mnc: Some(record.u16()?.into()),
                lac: Some(record.u32()?.into()),
                id: Some(record.u32()?.into()),
                dbm: Some(record.u8()?.cast_signed().into()),
            };
            if number < CELLS_MAX {
                cells::push(message, number, cell);
            }
        }
    }
    if has & 0x08 != 0 {
        let count = usize::from(record.u8()?);
        message.name("distances", record.take(12 * count)?);
    }
    if has & 0x20 != 0 {
        let (speed, course) = (tenths(record)?, tenths(record)?);
        message.push(fields::POSITION_SPEED, speed);
        message.push(fields::POSITION_DIRECTION, course);
    }
    if has & 0x40 != 0 {
        message.push(fields::POSITION_SATELLITES, record.u8()?);
        let (longitude, latitude) = (double(record)?, double(record)?);
        there |= push_place(message, longitude, latitude, true);
    }
    if has & 0x80 != 0 {
        let length = record.u16()?;
        let mut part = Cursor::new(record.take(length.into())?);
        let before = part;
        if extended(&mut part, message, &mut there).is_none() && before.left() > 0 {
            message.name("position", before.rest());
        }
    }
    Some(())
}

/// Kind G: the place with all that belongs to it.
fn extended(
    part: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
    there: &mut bool,
) -> Option<()> {
    let (kind, length) = (part.u8()?, part.u16()?);
    let mut part = Cursor::new(part.take(usize::from(length).min(part.left()))?);
    if kind != b'G' {
        return None;
    }
    let (longitude, latitude) = (double(&mut part)?, double(&mut part)?);
    let valid = part.u8()? > 0;
    *there |= push_place(message, longitude, latitude, valid);
    message.push(fields::POSITION_SATELLITES, part.u8()?);
    let _noise = part.u8()?;
    let (speed, course) = (tenths(&mut part)?, tenths(&mut part)?);
    let altitude = float(&mut part)?;
    if *there {
        message.push(fields::POSITION_SPEED, speed);
        message.push(fields::POSITION_DIRECTION, course);
        message.push(fields::POSITION_ALTITUDE, units::round(altitude, 2));
    }
    Some(())
}
