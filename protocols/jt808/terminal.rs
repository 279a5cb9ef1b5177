//! What is no position: registration, secrets, the driver's card, pictures, messages in parts.

use super::make::Make;
use super::values::iccid;
use super::wire::{Address, Frame, SHORT, accepted, general, moment, written};
use crate::contract::{Cause, Context, Login, Reject, Reply, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{bcd, hex};

/// The longest message of several parts that is put together.
pub(super) const PARTS_BYTES_MAX: usize = 60 * 1024;
/// Battery, signal, state.
pub(super) const STATE_BYTES: usize = 3;
/// The fixed part of a position in a picture's head.
const PLACE_BYTES: usize = 28;

/// A message of several parts.
pub(super) struct Parts {
    address: Address,
    kind: u16,
    count: u16,
    next: u16,
    /// What has come; nothing more is added once the whole is too long.
    bytes: Vec<u8>,
    too_long: bool,
}

impl Parts {
    /// Does the frame belong to it?
    fn is(&self, frame: &Frame<'_>, count: u16) -> bool {
        (self.address, self.kind, self.count) == (frame.address, frame.kind, count)
    }
}

/// Kind 0100. The secret to show later is the device's password, or its ident where it has none.
pub(super) fn register(frame: &Frame<'_>, ident: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    const NO_SUCH_TERMINAL: u8 = 4;
    let settings = cx.identify(Login::of(ident))?;
    let secret = settings.password.as_deref().unwrap_or(ident);
    let [high, low] = frame.serial.to_be_bytes();
    let mut yes = vec![high, low, 0];
    yes.extend_from_slice(secret.as_bytes());
    let no = [high, low, NO_SUCH_TERMINAL];
    let reply = Reply::admitted(written(&frame.address, 0x8100, 0, &yes));
    let no = written(&frame.address, 0x8100, 0, &no);
    cx.reply(reply.or_by(Cause::Unknown, no));
    Ok(())
}

/// Kind 0102: the secret; in the edition of 2019 with its length, IMEI and software version behind it.
pub(super) fn authenticate(
    frame: &Frame<'_>,
    ident: &str,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    const FAILED: u8 = 1;
    let secret = match (frame.address.edition, frame.body) {
        (Some(_), [length, rest @ ..]) => rest.get(..usize::from(*length)).unwrap_or(rest),
        (_, all) => all,
    };
    // bytes that are no text are no device's password
    let secret = String::from_utf8_lossy(secret);
    let secret = secret.trim_matches('\0');
    cx.identify(Login {
        ident,
        secret: Some(secret),
        ..Login::default()
    })?;
    let reply = Reply::admitted(accepted(frame));
    cx.reply(reply.or_by(Cause::Secret, general(frame, FAILED)));
    Ok(())
}

/// Kind 0001: serial and kind of a command, and its result.
pub(super) fn answered(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(frame.body);
    let read = |body: &mut Cursor<'_>| Some((body.u16()?, body.u16()?, body.u8()?));
    let (serial, _kind, result) = read(&mut body).ok_or(SHORT)?;
    let text = match result {
        0 => "done",
        1 => "failed",
        2 => "not understood",
        3 => "not supported",
        _ => "unknown result",
    };
    cx.command_reply(Some(u32::from(serial)), text);
    Ok(())
}

/// What was asked for is here: it begins with the serial of the question.
pub(super) fn answered_by_content(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let serial = Cursor::new(frame.body).u16().ok_or(SHORT)?;
    cx.command_reply(Some(u32::from(serial)), "done");
    Ok(())
}

/// A part of a message: kept durably and acknowledged. The last one gives the whole content,
/// which is then read and acknowledged as a message of one frame is.
pub(super) fn part(
    parts: &mut Option<Parts>,
    frame: &Frame<'_>,
    count: u16,
    number: u16,
    cx: &mut Context<'_>,
) -> Result<Option<Vec<u8>>, Reject> {
    if number == 0 || number > count {
        return Err(Reject::new("parts", "no such part", 12));
    }
    let fits = parts
        .as_ref()
        .is_some_and(|p| p.is(frame, count) && p.next == number);
    let again = parts
        .as_ref()
        .is_some_and(|p| p.is(frame, count) && number < p.next);
    cx.part(frame.body)?;
    if again {
        cx.reply(Reply::stored(accepted(frame)));
        return Ok(None);
    }
    let begun = if number == 1 {
        Some(Parts {
            address: frame.address,
            kind: frame.kind,
            count,
            next: 1,
            bytes: Vec::new(),
            too_long: false,
        })
    } else {
        parts.take().filter(|_| fits)
    };
    let Some(mut so_far) = begun else {
        // parts went missing: each is kept, but nothing can be put together
        cx.reply(Reply::stored(accepted(frame)));
        return Ok(None);
    };
    so_far.next = so_far.next.saturating_add(1);
    so_far.too_long |= so_far.bytes.len() + frame.body.len() > PARTS_BYTES_MAX;
    if so_far.too_long {
        so_far.bytes = Vec::new();
    } else {
        so_far.bytes.extend_from_slice(frame.body);
    }
    if number < count {
        cx.reply(Reply::stored(accepted(frame)));
        *parts = Some(so_far);
        return Ok(None);
    }
    *parts = None;
    if so_far.too_long {
        cx.reply(Reply::stored(accepted(frame)));
        return Ok(None);
    }
    Ok(Some(so_far.bytes))
}

/// Kind 0801: id, kind, format, event, channel, position, bytes.
pub(super) fn media(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(frame.body);
    let (id, head) = (body.u32().ok_or(SHORT)?, body.array().ok_or(SHORT)?);
    let [kind, format, event, channel]: [u8; 4] = head;
    let place = body.take(PLACE_BYTES).ok_or(SHORT)?;
    let time = place.last_chunk::<6>().ok_or(SHORT)?;
    let time = moment(*time, cx.settings(), cx.now_ms);
    let mut message = cx.message(time)?;
    let mut words = Cursor::new(place);
    let _alarm = words.u32();
    if let Some(place) = super::location::Place::read(&mut words) {
        place.push(&mut message, Make::Standard);
    }
    message.push(fields::MEDIA_ID, id.to_string().as_str());
    message.name("media.type", kind);
    message.name("media.format", format);
    message.push(fields::EVENT_ENUM, event);
    message.name("media.channel", channel);
    let picture = kind == 0 && format == 0;
    let param = if picture {
        fields::IMAGE_BIN_JPEG
    } else {
        fields::MEDIA_IMAGE
    };
    message.push(param, body.rest());
    drop(message);
    let answer = written(&frame.address, 0x8800, 0, &id.to_be_bytes());
    cx.reply(Reply::stored(answer));
    Ok(())
}

/// Kind 0107: type, maker, model (20 bytes, 30 in the edition of 2019), id, SIM card, versions.
pub(super) fn attributes(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let name_bytes = if frame.address.edition.is_some() {
        30
    } else {
        20
    };
    let id_bytes = name_bytes - 13 + if name_bytes == 30 { 13 } else { 0 };
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    let mut body = Cursor::new(frame.body);
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.trim_matches(|c: char| c == '\0' || c.is_whitespace())
            .to_owned()
    };
    let mut read = |body: &mut Cursor<'_>| {
        message.push(fields::DEVICE_TYPE_CODE, body.u16()?.to_string().as_str());
        for (bytes, param) in [
            (5, fields::VENDOR_CODE),
            (name_bytes, fields::DEVICE_MODEL),
            (id_bytes, fields::DEVICE_SERIAL_NUMBER),
        ] {
            let text = text(body.take(bytes)?);
            if !text.is_empty() {
                message.push(param, text.as_str());
            }
        }
        iccid(&mut message, body.take(10)?);
        for param in [
            fields::DEVICE_HARDWARE_VERSION,
            fields::DEVICE_FIRMWARE_VERSION,
        ] {
            let length = usize::from(body.u8()?);
            let text = text(body.take(length)?);
            if !text.is_empty() {
                message.push(param, text.as_str());
            }
        }
        Some(())
    };
    read(&mut body).ok_or(SHORT)
}

/// Kind 0701: a text behind its length.
pub(super) fn text(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(body);
    let length = body.u32().ok_or(SHORT)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let text = body.take(length.min(body.left())).ok_or(SHORT)?;
    let text = String::from_utf8_lossy(text);
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::COMMAND_RESULT, text.trim());
    drop(message);
    cx.command_reply(None, text.trim());
    Ok(())
}

/// Kind 0002 of some makes: battery in percent, signal, state.
pub(super) fn state(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let [level, signal, state, rest @ ..] = body else {
        return Err(SHORT);
    };
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    if *level <= 100 {
        message.push(fields::BATTERY_LEVEL, *level);
    }
    message.push(fields::GSM_SIGNAL_ENUM, *signal);
    message.push(fields::STATUS_BITMASK, *state);
    if !rest.is_empty() {
        message.push(fields::PAYLOAD_HEX, hex::encode(rest).as_str());
    }
    Ok(())
}

/// Kind 1300: serial of the text that is answered, and the answer in UTF-16.
pub(super) fn wide_text(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let (serial, text) = body.split_first_chunk::<2>().ok_or(SHORT)?;
    let (units, _) = text.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
    let text: String = char::decode_utf16(units)
        .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    result(text.trim(), Some(u16::from_be_bytes(*serial)), cx)
}

/// Kind 6006: encoding, and the answer to a text.
pub(super) fn encoded_text(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let (_encoding, text) = body.split_first().ok_or(SHORT)?;
    result(&String::from_utf8_lossy(text), None, cx)
}

fn result(text: &str, serial: Option<u16>, cx: &mut Context<'_>) -> Result<(), Reject> {
    cx.message(Time::Received(cx.now_ms))?
        .push(fields::COMMAND_RESULT, text);
    cx.command_reply(serial.map(u32::from), text);
    Ok(())
}

/// Kind 0702: state, time, result, name with its length, certificate, office with its length, end of
/// validity.
pub(super) fn card(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    const CERTIFICATE_BYTES: usize = 20;
    let mut body = Cursor::new(body);
    let state = body.u8().ok_or(SHORT)?;
    let time = body.array().ok_or(SHORT)?;
    let time = moment(time, cx.settings(), cx.now_ms);
    let mut message = cx.message(time)?;
    message.push(fields::CARD_PRESENT_STATUS, state == 1);
    let Some(result) = body.u8() else {
        return Ok(());
    };
    message.name("card.result", result);
    let standard = |mut body: Cursor<'_>| {
        let length = usize::from(body.u8()?);
        let name = String::from_utf8_lossy(body.take(length)?).into_owned();
        let certificate = String::from_utf8_lossy(body.take(CERTIFICATE_BYTES)?).into_owned();
        let length = usize::from(body.u8()?);
        let _office = body.take(length)?;
        let _until = body.take(4)?;
        (body.left() <= CERTIFICATE_BYTES).then_some((name, certificate))
    };
    let clean = |text: &str| {
        text.trim_matches(|c: char| c == '\0' || c == ' ')
            .to_owned()
    };
    if let Some((name, certificate)) = standard(body) {
        for (param, text) in [
            (fields::DRIVER_NAME, clean(&name)),
            (fields::DRIVER_ID, clean(&certificate)),
        ] {
            if !text.is_empty() {
                message.push(param, text.as_str());
            }
        }
    } else if body.left() > 0 {
        message.name("card.rest", body.rest());
    }
    Ok(())
}

/// Kind 2070: time and three accelerations each, sign and magnitude.
pub(super) fn accelerations(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let (samples, rest) = body.as_chunks::<12>();
    if samples.is_empty() || !rest.is_empty() {
        return Err(Reject::new("accelerations", "not whole samples", 12));
    }
    for sample in samples {
        let mut sample = Cursor::new(sample);
        let time = sample.array().ok_or(SHORT)?;
        let time = moment(time, cx.settings(), cx.now_ms);
        let mut message = cx.message(time)?;
        for name in ["x", "y", "z"] {
            let word = sample.u16().ok_or(SHORT)?;
            let size = i32::from(word & 0x7fff);
            let value = if word & 0x8000 == 0 { size } else { -size };
            message.name(name, value);
        }
    }
    Ok(())
}

/// Kind 0210 of one make: the battery, and a time.
pub(super) fn battery(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(body);
    let level = body.u8().ok_or(SHORT)?;
    let time = body.array().ok_or(SHORT)?;
    let time = moment(time, cx.settings(), cx.now_ms);
    cx.message(time)?.push(fields::BATTERY_LEVEL, level);
    Ok(())
}

/// An ident in BCD as text, for locks.
pub(super) fn lock_ident(id: &[u8]) -> String {
    bcd::text(id).unwrap_or_else(|| hex::encode(id))
}
