//! Commands (kind 80) and what the device answers to them.

use super::parts::{self, SHORT};
use super::wire::{Frame, acknowledge, short};
use crate::contract::{Command, CommandError, Context, RecordBuilder, Reject, Reply, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{parse, time};

/// What fits a frame of the short form beside the length, the server's flag and the language.
const COMMAND_BYTES_MAX: usize = 240;
const ENGLISH: [u8; 2] = [0, 2];

/// Writes a command: `custom` with the text in `payload`. `key` comes back in the answer.
pub(super) fn encode(
    command: &Command<'_>,
    key: u32,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    if command.name != "custom" {
        return Err(CommandError::Unsupported);
    }
    let text = command.properties["payload"]
        .as_str()
        .filter(|text| !text.is_empty() && text.len() <= COMMAND_BYTES_MAX && text.is_ascii())
        .ok_or(CommandError::BadProperties)?;
    let mut content = Vec::with_capacity(text.len() + 7);
    content.push(u8::try_from(text.len() + 4).map_err(|_| CommandError::BadProperties)?);
    content.extend_from_slice(&key.to_be_bytes());
    content.extend_from_slice(text.as_bytes());
    content.extend_from_slice(&ENGLISH);
    let [_, _, low_high, low] = key.to_be_bytes();
    let serial = u16::from_be_bytes([low_high, low]);
    out.extend_from_slice(&short(0x80, &content, serial));
    Ok(())
}

/// Reads an answer. Kind 81 answers a query of the server's: it is no reading, so that it only
/// goes to who asked.
pub(super) fn answer(
    frame: &Frame<'_>,
    cx: &mut Context<'_>,
    zone_s: Option<i64>,
) -> Result<(), Reject> {
    let mut body = Cursor::new(frame.body);
    let (flag, text) = if frame.kind == 0x21 {
        let flag = body.u32().ok_or(SHORT)?;
        let wide = body.u8().ok_or(SHORT)? == 2;
        (flag, decoded(body.rest(), wide))
    } else {
        let _length = body.u8().ok_or(SHORT)?;
        let flag = body.u32().ok_or(SHORT)?;
        // the language stands at the end
        let length = body.left().saturating_sub(ENGLISH.len());
        let text = body.take(length).ok_or(SHORT)?;
        (flag, decoded(text, false))
    };
    let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    if frame.kind != 0x81 {
        reading(text, cx, zone_s)?;
    }
    cx.command_reply((flag != 0).then_some(flag), text);
    if frame.kind == 0x15 {
        cx.reply(Reply::stored(acknowledge(frame)));
    }
    Ok(())
}

fn decoded(bytes: &[u8], wide: bool) -> String {
    if wide {
        let (units, _) = bytes.as_chunks::<2>();
        let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
        return char::decode_utf16(units)
            .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
    }
    String::from_utf8_lossy(bytes).into_owned()
}

fn reading(text: &str, cx: &mut Context<'_>, zone_s: Option<i64>) -> Result<(), Reject> {
    let place = Place::of(text);
    let time = match &place {
        Some(place) => {
            let offset_s = match &cx.settings().time_zone {
                Some(zone) => zone.offset_at_local(place.local_ms),
                None => zone_s.unwrap_or(0),
            };
            Time::Device(place.local_ms - offset_s * 1000)
        }
        None => parts::received(cx),
    };
    let mut message = cx.message(time)?;
    message.push(fields::COMMAND_RESULT, text);
    if let Some(iccid) = within(text, "<ICCID:", '>') {
        message.push(fields::GSM_SIM_ICCID, iccid);
    }
    if let Some(place) = place {
        place.push(&mut message);
    }
    Ok(())
}

/// `Lat:N54.739332,Lon:E25.273270,Course:126.53,Speed:0.0000,DateTime:2017-05-26 10:27:47`
struct Place {
    local_ms: i64,
    latitude: f64,
    longitude: f64,
    course: Option<f64>,
    speed: Option<f64>,
}

impl Place {
    fn of(text: &str) -> Option<Self> {
        let angle = |name: &str, negative: char, most: f64| {
            let value = within(text, name, ',')?;
            let degrees = parse::float(value.get(1..)?).filter(|degrees| *degrees <= most)?;
            Some(if value.starts_with(negative) {
                -degrees
            } else {
                degrees
            })
        };
        let date = within(text, "DateTime:", ',')?;
        let mut digits = String::with_capacity(12);
        digits.extend(date.chars().filter(char::is_ascii_digit).skip(2));
        Some(Self {
            local_ms: time::digits(&digits, "ymdHMS")?.utc_ms()?,
            latitude: angle("Lat:", 'S', 90.0)?,
            longitude: angle("Lon:", 'W', 180.0)?,
            course: within(text, "Course:", ',').and_then(parse::float),
            speed: within(text, "Speed:", ',').and_then(parse::float),
        })
    }

    fn push(&self, message: &mut RecordBuilder<'_>) {
        message.push(fields::POSITION_VALID, true);
        message.push(fields::POSITION_LATITUDE, self.latitude);
        message.push(fields::POSITION_LONGITUDE, self.longitude);
        message.push_some(fields::POSITION_SPEED, self.speed);
        message.push_some(fields::POSITION_DIRECTION, self.course);
    }
}

/// What stands behind `before`, up to `end` or the end.
fn within<'a>(text: &'a str, before: &str, end: char) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split(end).next().unwrap_or(rest).trim())
}
