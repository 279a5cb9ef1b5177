//! Galileosky: 2.x, 5.x, 7.x, 10, Base Block, over TCP, and their messages by Iridium's gateway.
//!
//! # Wire format
//!
//! Numbers are little-endian.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 1 | header | 01 tags, 07 a part of a picture, 08 compressed |
//! | 2 | length | of the body; the top bit says that more is in the device's memory |
//! | ... | body | |
//! | 2 | CRC | CRC-16/MODBUS of all before it |
//!
//! The answer is 02 (07 to a picture) and the frame's CRC.
//!
//! 01: records of tags, each a number (1) and its value; see `tags`. A tag that has been there begins the next record.
//!
//! 07: number of the part (1) and its bytes.
//!
//! 08: ten bytes of a minimal record, how many tags each record has (1), which (1 each), their values, and then further
//! minimal records, each with the values of these tags. A minimal record, from its highest bit: 1
//! reserved, 25 seconds since
//! the year began, 1 no fix, 22 longitude, 21 latitude, 1 alarm, 9 of the user's program.
//!
//! Iridium: 01, length (2, big-endian), then elements of a number (1), length (2, big-endian) and
//! content: 01 header with the
//! IMEI, 03 where the satellite saw it, 02 tags without header and CRC, or a compressed record.
//!
//! # Session
//!
//! The first frame holds the IMEI (tag 03), later ones may; tag 04 is a number that the owner
//! gives. A frame that is not answered with
//! its CRC is sent again.
//!
//! # Quirks
//!
//! - Inputs are volts, pulses or hertz as the owner configured them: they are kept as `adc0` to `adc13`.
//! - A record may have no time (answers to commands).
//! - The minimal record does not say the year: it is the one that makes it past.
//! - Whether Iridium's content is compressed is the device's setting `format`: `compressed`.
//!
//! # Source
//!
//! Galileosky: "Protocol of data exchange with the server", "List of tags"; Iridium: "Short Burst
//! Data Service Developers Guide".
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.

mod tags;

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, Probe, Reject, Reply, Setting, Time,
    fields,
};
use crate::kit::cursor::Cursor;
use crate::kit::table::big_endian;
use crate::kit::time::Civil;
use crate::kit::{checksum, framing, units};

const HEAD_BYTES: usize = 3;
const CRC_BYTES: usize = 2;
const TAGS: u8 = 0x01;
const PICTURE: u8 = 0x07;
const COMPRESSED: u8 = 0x08;
const LENGTH_BITS: u16 = 0x7fff;
const MINIMAL_BYTES: usize = 10;
const IMEI_BYTES: usize = 15;

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Galileosky",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "galileo",
        title: "Galileosky",
        source: "Galileosky: Protocol of data exchange with the server",
        port: 5034,
        frame_bytes_max: 32 * 1024 + 5,
        version: 2,
        acks: Acks::Frame,
        shared: true,
        settings: &[Setting::Format],
        models: &[
            model(1, "GLONASS/GPS v2.2.8"),
            model(2, "GLONASS/GPS v5.0"),
            model(3, "GLONASS/GPS v5.1"),
            model(4, "v2.5"),
            model(5, "v2.5 Lite"),
            model(6, "7x"),
            model(7, "7x Lite"),
            model(8, "7x Plus"),
            model(9, "7.0"),
            model(10, "7.0 Lite"),
            model(11, "7.0 Wi-Fi Hub"),
            model(12, "10"),
            model(13, "10 Plus"),
            model(14, "10 Pro"),
            model(15, "Base Block Lite"),
            model(16, "Base Block Wi-Fi"),
            model(17, "Base Block Iridium"),
            model(18, "Boxfinder v1.0"),
            model(19, "OBDII"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, _: bool) -> Result<Cut, Fatal> {
        let Some(&[header, low, high]) = input.first_chunk::<HEAD_BYTES>() else {
            return Ok(Cut::Need(HEAD_BYTES));
        };
        if header == TAGS && low == 0 {
            // only Iridium's length is a multiple of 256 this way round, and begins so
            const BEGIN: [u8; 3] = [0x01, 0x00, 0x1c];
            let Some(begin) = input.get(HEAD_BYTES..HEAD_BYTES + BEGIN.len()) else {
                return Ok(Cut::Need(HEAD_BYTES + BEGIN.len()));
            };
            if begin == BEGIN {
                return Ok(framing::exactly(input, HEAD_BYTES + usize::from(high)));
            }
        }
        match header {
            TAGS | PICTURE | COMPRESSED => {
                let length = u16::from_le_bytes([low, high]) & LENGTH_BITS;
                Ok(framing::exactly(
                    input,
                    HEAD_BYTES + usize::from(length) + CRC_BYTES,
                ))
            }
            _ => Err(Fatal::new("header", "not known", 0)),
        }
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let short = Reject::new("frame", "cut short", frame.len());
        if let [TAGS, 0, _, 0x01, 0x00, 0x1c, ..] = frame {
            return iridium(frame, cx);
        }
        let (summed, crc) = frame.split_last_chunk::<CRC_BYTES>().ok_or(short)?;
        if checksum::crc16_modbus(summed) != u16::from_le_bytes(*crc) {
            return Err(Reject::new(
                "crc",
                "the checksum does not fit",
                summed.len(),
            ));
        }
        let (head, body) = summed.split_first_chunk::<HEAD_BYTES>().ok_or(short)?;
        let header = head.first().copied().unwrap_or_default();
        let [low, high] = *crc;
        let answer = match header {
            TAGS => {
                identify(body, cx)?;
                let archive = head.last().is_some_and(|byte| byte & 0x80 != 0);
                tags::records(body, archive, cx)?;
                TAGS + 1
            }
            COMPRESSED => {
                compressed(&mut Cursor::new(body), cx)?;
                TAGS + 1
            }
            _ => {
                picture(body, cx)?;
                PICTURE
            }
        };
        cx.reply(Reply::stored(vec![answer, low, high]));
        Ok(())
    }

    fn probe(head: &[u8]) -> Probe {
        match head {
            [] | [TAGS] | [TAGS, _] | [TAGS, _, _] => Probe::More,
            [TAGS, 0, _, 1, rest @ ..] if rest.len() < 2 => Probe::More,
            [TAGS, 0, _, 1, 0, 0x1c, ..] => Probe::Yes,
            // the first frame names hardware, firmware and IMEI, or the IMEI alone
            [TAGS, _, _, 1, _, 2, _, 3, imei @ ..] | [TAGS, _, _, 3, imei @ ..] => {
                if !imei.iter().take(IMEI_BYTES).all(u8::is_ascii_digit) {
                    Probe::No
                } else if imei.len() < IMEI_BYTES {
                    Probe::More
                } else {
                    Probe::Yes
                }
            }
            [TAGS, _, _, 1, rest @ ..] if rest.len() < 4 => Probe::More,
            _ => Probe::No,
        }
    }
}

/// The IMEI, if the frame's first record names it.
fn identify(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    if let Some(imei) = tags::imei(body) {
        let imei = std::str::from_utf8(imei)
            .map_err(|_| Reject::new("imei", "not printable", HEAD_BYTES))?;
        cx.identify(Login::of(imei))?;
    }
    Ok(())
}

fn picture(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let (part, bytes) =
        body.split_first()
            .ok_or(Reject::new("picture", "cut short", HEAD_BYTES))?;
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "7");
    message.push(fields::RECORD_SEQNUM, *part);
    message.push(fields::IMAGE_BIN_JPEG, bytes);
    Ok(())
}

fn compressed(cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    const COUNT_BITS: u8 = 0x7f;
    let short = Reject::new("compressed", "cut short", HEAD_BYTES);
    let mut minimal = cursor.take(MINIMAL_BYTES).ok_or(short)?;
    let count = usize::from(cursor.u8().ok_or(short)? & COUNT_BITS);
    let kinds = cursor.take(count).ok_or(short)?;
    loop {
        let raw = big_endian(minimal.get(2..).unwrap_or_default());
        let high = big_endian(minimal.get(..2).unwrap_or_default());
        let bits = u128::from(high) << 64 | u128::from(raw);
        let take = |from: u32, bits_wide: u32| {
            let mask = (1u128 << bits_wide) - 1;
            u32::try_from(bits >> (80 - from - bits_wide) & mask).unwrap_or_default()
        };
        let mut message = cx.message(Time::Device(in_year(take(1, 25), cx.now_ms)))?;
        message.push(fields::MESSAGE_TYPE, "8");
        let longitude = f64::from(take(27, 22)) * 360.0 / 4_194_304.0 - 180.0;
        let latitude = f64::from(take(49, 21)) * 180.0 / 2_097_152.0 - 90.0;
        message.push(fields::POSITION_VALID, take(26, 1) == 0);
        message.push(fields::POSITION_LATITUDE, units::round(latitude, 6));
        message.push(fields::POSITION_LONGITUDE, units::round(longitude, 6));
        if take(70, 1) == 1 {
            message.push(fields::ALARM_CODE, 1);
        }
        if take(71, 9) != 0 {
            message.name("user", i64::from(take(71, 9)));
        }
        for kind in kinds {
            tags::value(*kind, cursor, &mut message).ok_or(Reject::new(
                "compressed",
                "its tags do not fit",
                HEAD_BYTES,
            ))?;
        }
        drop(message);
        if cursor.left() == 0 {
            return Ok(());
        }
        minimal = cursor.take(MINIMAL_BYTES).ok_or(short)?;
    }
}

/// Unix ms of so many seconds after the beginning of a year, the last one in which that is past.
fn in_year(seconds: u32, now_ms: i64) -> i64 {
    const DAY_MS: i64 = 86_400_000;
    let of = |year: i64| {
        let begin = Civil {
            year,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
        };
        begin.utc_ms().unwrap_or_default() + i64::from(seconds) * 1000
    };
    let year = Civil::at(now_ms).year;
    let ms = of(year);
    if ms > now_ms.saturating_add(DAY_MS) {
        of(year - 1)
    } else {
        ms
    }
}

fn iridium(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    const HEADER: u8 = 1;
    const PAYLOAD: u8 = 2;
    const PLACE: u8 = 3;
    let short = Reject::new("iridium", "cut short", frame.len());
    let mut cursor = Cursor::new(frame.get(HEAD_BYTES..).ok_or(short)?);
    let (mut sent, mut payload, mut seen) = (None, None, None);
    while cursor.left() > 0 {
        let kind = cursor.u8().ok_or(short)?;
        let length = usize::from(cursor.u16().ok_or(short)?);
        let mut element = Cursor::new(cursor.take(length).ok_or(short)?);
        match kind {
            HEADER => {
                element.u32().ok_or(short)?;
                let imei = element.take(IMEI_BYTES).ok_or(short)?;
                let imei = std::str::from_utf8(imei)
                    .map_err(|_| Reject::new("imei", "not printable", HEAD_BYTES))?;
                cx.identify(Login::of(imei))?;
                element.take(5).ok_or(short)?;
                sent = element.u32();
            }
            PAYLOAD => payload = Some(element.rest()),
            PLACE => seen = iridium_place(&mut element),
            _ => {}
        }
    }
    if let Some(payload) = payload {
        let is_compressed = cx
            .settings()
            .format
            .as_ref()
            .is_some_and(|format| format.split(',').any(|word| word == "compressed"));
        return if is_compressed {
            compressed(&mut Cursor::new(payload), cx)
        } else {
            tags::records(payload, false, cx)
        };
    }
    let time = sent.map_or(Time::Received(cx.now_ms), |seconds| {
        Time::Device(i64::from(seconds) * 1000)
    });
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, "iridium");
    if let Some((latitude, longitude)) = seen {
        message.push(fields::POSITION_LBS_LATITUDE, latitude);
        message.push(fields::POSITION_LBS_LONGITUDE, longitude);
    }
    Ok(())
}

/// Degrees (1) and thousandths of minutes (2) twice, after a byte whose two low bits say south and west.
fn iridium_place(cursor: &mut Cursor<'_>) -> Option<(f64, f64)> {
    let flags = cursor.u8()?;
    let mut degrees = |negative: bool| {
        let whole = f64::from(cursor.u8()?);
        let value = units::round(whole + f64::from(cursor.u16()?) / 60_000.0, 6);
        Some(if negative { -value } else { value })
    };
    Some((degrees(flags & 2 != 0)?, degrees(flags & 1 != 0)?))
}
