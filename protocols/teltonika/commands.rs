//! Codecs 12 to 15: the command channel, in both directions.
//!
//! | part | bytes | meaning |
//! |---|---|---|
//! | codec | 1 | 0C, 0D (with time), 0E (with IMEI), 0F (with time and IMEI) |
//! | count | 1 | messages, and again at the end |
//! | type | 1 | 05 a command, 06 its answer or what a serial port said, 0B codec 15's, 0D a picture's part, 11 refused |
//! | length | 4 | of what follows |
//! | time, IMEI | 4, 8 | seconds since 1970 (codecs 13, 15), digits (codecs 14, 15) |
//! | payload | ... | text or bytes |
//!
//! None of them is answered but pictures (type 0D): 01, id and size announce one, and parts of it are asked for
//! (02, id, offset, length) until 02, id, offset, length, bytes have brought them all.

use crate::contract::{Context, Reject, Reply, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::parse::whole;
use crate::kit::{bcd, checksum, hex};
use nom::bytes::complete::take;
use nom::combinator::cond;
use nom::number::complete::{be_u8, be_u32};
use nom::{IResult, Parser};

pub(super) const CODEC_12: u8 = 0x0c;
pub(super) const CODEC_13: u8 = 0x0d;
pub(super) const CODEC_14: u8 = 0x0e;
pub(super) const CODEC_15: u8 = 0x0f;

const COMMAND: u8 = 0x05;
const ANSWER: u8 = 0x06;
const CAMERA: u8 = 0x0d;
const REFUSED: u8 = 0x11;

/// The largest picture that is fetched; of a larger one only the announcement is kept.
pub(super) const PICTURE_BYTES_MAX: usize = 48 * 1024;
const PART_BYTES_MAX: usize = 2048;

/// A picture on its way.
pub(super) struct Picture {
    id: u32,
    size: usize,
    bytes: Vec<u8>,
}

impl Picture {
    /// Asks for the next part.
    fn next_part(&self) -> Option<Vec<u8>> {
        let length = (self.size - self.bytes.len()).min(PART_BYTES_MAX);
        let mut content = vec![2];
        content.extend_from_slice(&self.id.to_be_bytes());
        content.extend_from_slice(&u32::try_from(self.bytes.len()).ok()?.to_be_bytes());
        content.extend_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
        let mut out = Vec::new();
        frame(CAMERA, &content, &mut out)?;
        Some(out)
    }
}

/// A picture's announcement or part; false if it is neither, or of another picture.
fn camera(
    payload: &[u8],
    picture: &mut Option<Box<Picture>>,
    cx: &mut Context<'_>,
) -> Result<bool, Reject> {
    let mut body = Cursor::new(payload);
    let (Some(kind), Some(id), Some(number)) = (body.u8(), body.u32(), body.u32()) else {
        return Ok(false);
    };
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    match (kind, picture.as_mut()) {
        (1, _) if (1..=PICTURE_BYTES_MAX).contains(&number) => {
            let new = Picture {
                id,
                size: number,
                bytes: Vec::new(),
            };
            if let Some(request) = new.next_part() {
                cx.reply(Reply::admitted(request));
            }
            *picture = Some(Box::new(new));
        }
        (2, Some(waiting)) if waiting.id == id && waiting.bytes.len() == number => {
            let length = body.u16().map_or(0, usize::from);
            let Some(part) = body.take(length).filter(|part| !part.is_empty()) else {
                return Ok(false);
            };
            if waiting.bytes.len() + part.len() < waiting.size {
                cx.part(part)?;
                waiting.bytes.extend_from_slice(part);
                if let Some(request) = waiting.next_part() {
                    cx.reply(Reply::stored(request));
                }
            } else {
                let mut whole = std::mem::take(&mut waiting.bytes);
                whole.extend_from_slice(part);
                *picture = None;
                let mut message = cx.message(Time::Received(cx.now_ms))?;
                message.push(fields::MESSAGE_TYPE, "codec12");
                message.push(fields::MEDIA_ID, id.to_string().as_str());
                message.push(fields::IMAGE_BIN_JPEG, whole.as_slice());
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

struct Message<'a> {
    kind: u8,
    seconds: Option<u32>,
    imei: Option<&'a [u8]>,
    payload: &'a [u8],
}

/// Reads the body of a frame, from codec to the second count.
pub(super) fn read(
    codec: u8,
    count: u8,
    inner: &[u8],
    picture: &mut Option<Box<Picture>>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let mut messages = Vec::new();
    whole("command", inner, |mut rest| {
        for _ in 0..count {
            let (after, message) = message(rest, codec)?;
            messages.push(message);
            rest = after;
        }
        Ok((rest, ()))
    })?;
    for message in &messages {
        if codec != CODEC_12 || message.kind != CAMERA || !camera(message.payload, picture, cx)? {
            report(codec, message, cx)?;
        }
    }
    Ok(())
}

fn message(input: &[u8], codec: u8) -> IResult<&[u8], Message<'_>> {
    let (rest, (kind, length)) = (be_u8, be_u32).parse(input)?;
    let (rest, body) = take(length)(rest)?;
    let (body, seconds) = cond(matches!(codec, CODEC_13 | CODEC_15), be_u32).parse(body)?;
    let (payload, imei) = cond(matches!(codec, CODEC_14 | CODEC_15), take(8usize)).parse(body)?;
    Ok((
        rest,
        Message {
            kind,
            seconds,
            imei,
            payload,
        },
    ))
}

fn report(codec: u8, message: &Message<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let time = match message.seconds {
        Some(seconds) => Time::Device(i64::from(seconds) * 1000),
        None => Time::Received(cx.now_ms),
    };
    let text = std::str::from_utf8(message.payload)
        .ok()
        .map(str::trim_end)
        .filter(|text| {
            !text.is_empty() && !text.chars().any(|c| c.is_control() && !c.is_whitespace())
        });
    let mut record = cx.message(time)?;
    record.push(
        fields::MESSAGE_TYPE,
        match codec {
            CODEC_12 => "codec12",
            CODEC_13 => "codec13",
            CODEC_14 => "codec14",
            _ => "codec15",
        },
    );
    record.push(fields::COMMAND_ID, message.kind);
    if let Some(imei) = message.imei.and_then(bcd::text) {
        record.push(fields::DEVICE_IMEI, bcd::without_leading_zeros(&imei));
    }
    match text {
        Some(text) => {
            record.push(fields::COMMAND_RESULT, text);
            if let Some(driver) = card(text) {
                record.push(fields::DRIVER_ID, driver);
            }
        }
        None => record.push(fields::PAYLOAD_HEX, hex::encode(message.payload).as_str()),
    }
    drop(record);
    if message.kind == REFUSED {
        cx.command_reply(None, "refused: the IMEI is another");
    } else if matches!(message.kind, COMMAND | ANSWER)
        && let Some(text) = text
    {
        cx.command_reply(None, text);
    }
    Ok(())
}

/// The card number of a card reader's line on the serial port: `GTSL|6|1|0|CARD|1|`.
fn card(text: &str) -> Option<&str> {
    let mut fields = text.split('|');
    (fields.next() == Some("GTSL"))
        .then(|| fields.nth(3))
        .flatten()
        .filter(|card| !card.is_empty())
}

/// Appends a command to the device, in codec 12.
pub(super) fn write(text: &str, out: &mut Vec<u8>) -> Option<()> {
    frame(COMMAND, text.as_bytes(), out)
}

/// Appends a frame of codec 12 with one message.
fn frame(kind: u8, content: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let length = u32::try_from(content.len()).ok()?;
    let mut body = vec![CODEC_12, 1, kind];
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(content);
    body.push(1);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&u32::try_from(body.len()).ok()?.to_be_bytes());
    out.extend_from_slice(&body);
    out.extend_from_slice(&u32::from(checksum::crc16_ibm(&body)).to_be_bytes());
    Some(())
}
