//! `ATrack`: AT, AX, AK, AL, AS and AU series, over TCP.
//!
//! # Wire format
//!
//! A device is set to one of two forms. Both begin with a prefix of two bytes, `@P` unless the operator
//! chose another; numbers are big-endian.
//!
//! | form | frame |
//! |---|---|
//! | binary | prefix, CRC (2), length (2) of what follows, sequence (2), unit (8), records |
//! | text | prefix, `,`, CRC in four hex digits, `,`, length of what follows, `,`, sequence, `,`, unit, `,`, records |
//!
//! The CRC is CRC-16/ARC of all behind it; in the text form this begins with the comma. The length of the text form
//! counts from the comma behind it.
//!
//! A record has, in the text form between commas and with `\r\n` at its end:
//!
//! | bytes | field |
//! |---|---|
//! | 4, 4, 4 | time of the fix, of the record, of sending: unix seconds; or 7 each: year (2), month, day, hour, minute, second (text: `YYYYMMDDHHMMSS`) |
//! | 4, 4 | longitude, latitude in 1e-6 degrees |
//! | 2 | course |
//! | 1 | report's number, chosen by the operator |
//! | 4 | odometer, 0.1 km |
//! | 2 | HDOP, 0.1 |
//! | 1 | inputs |
//! | 2 | km/h |
//! | 1 | outputs |
//! | 2 | analog input, mV |
//! | text | driver, ends with 00 |
//! | 2, 2 | two temperatures, 0.1 degrees; 2000: none |
//! | text | text message, ends with 00 (text form: 1A) |
//! | text | `%CI` and the names of the items that follow, if the device is set to name them |
//! | | items: `items.rs` |
//!
//! | other frame | form |
//! |---|---|
//! | keep-alive | FE 02, unit (8), sequence (2) |
//! | photo | as binary with prefix `@R`: time (4), part's number, parts in all, length (2), bytes |
//! | answer to a command | `$`, text, `\r\n`; `$INFO=` has unit, model, firmware, IMEI, IMSI, SIM, supply, battery in 0.1 V, satellites, registration, signal, link, antenna |
//!
//! # Session
//!
//! Every frame but the answers names its device. Reports and photos are answered by FE 02, unit (8),
//! sequence (2); a keep-alive is given back.
//!
//! # Source
//!
//! `ATrack` Technology: "Standard Product (SP) Protocol Document" 1.5.2 and "Advanced Product (AP) Protocol
//! Document" 1.3.8, by public excerpts and by the public descriptions of other decoders, and captures.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows wants a frame to prove it.
//!
//! # Quirks
//!
//! - The sum of a text whose prefix is `@p` fits nothing known: it is not verified.
//! - Degrees, HDOP and odometer (km then) of a text may have a point, as older devices write them.
//! - Whether dates are long is seen from the record: seconds of 1970 to 2036 do not begin with a year.
//! - A device that does not name its items needs them in the setting `format`, as in `%MV%BV%GQ`.
//! - Behind an item whose width is not known the next record is found by its time of sending, which all records of
//!   a frame share.

use crate::contract::{
    Acks, Command, CommandError, Context, Cut, Decode, Delivery, Fatal, Info, Login, Model, Probe,
    Reject, Reply, Setting, Time, fields,
};
use crate::kit::checksum;
use crate::kit::cursor::Cursor;
use crate::kit::framing;
use crate::kit::parse::{float, number};
use raw::SHORT;

mod beacons;
mod items;
mod photo;
mod raw;
mod record;

const KEEP_ALIVE: &[u8] = &[0xfe, 0x02];
const KEEP_ALIVE_BYTES: usize = 12;
/// Prefix, CRC, length.
const BINARY_HEAD_BYTES: usize = 6;
/// Sequence and unit.
const BINARY_BODY_BYTES_MIN: usize = 10;
/// Prefix, comma, CRC.
const TEXT_CRC_END: usize = 7;
/// Where the length of a text ends at the latest.
const TEXT_HEAD_BYTES_MAX: usize = 16;
const COMMAND_BYTES_MAX: usize = 1024;
/// Behind this prefix the text's sum is another.
const OTHER_SUM: &str = "@p";

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "ATrack",
        name,
    }
}

/// The session state: a photo on its way.
#[derive(Default)]
pub(crate) struct Decoder {
    photo: Option<photo::Photo>,
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "atrack",
        title: "ATrack",
        source: "ATrack: Standard Product (SP) Protocol Document 1.5.2",
        port: 5044,
        version: 3,
        frame_bytes_max: 16 * 1024,
        session_bytes_max: photo::PHOTO_BYTES_MAX,
        acks: Acks::Frame,
        shared: true,
        settings: &[Setting::Format],
        models: &[
            model(1, "AT1"),
            model(2, "AT3"),
            model(3, "AT5"),
            model(4, "AT5i"),
            model(5, "AT1(E)"),
            model(6, "AX5"),
            model(7, "AX7"),
            model(8, "AX9"),
            model(9, "AX11"),
            model(10, "AK1"),
            model(11, "AK7"),
            model(12, "AK11"),
            model(13, "AL1"),
            model(14, "AL7"),
            model(15, "AL11"),
            model(16, "AS1"),
            model(17, "AS3"),
            model(18, "AS11"),
            model(19, "AU5"),
            model(20, "AU7"),
            model(21, "AY5"),
            model(22, "AP1"),
        ],
        commands: &["custom"],
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        let noise = input.iter().take_while(|byte| is_filler(**byte)).count();
        if noise > 0 {
            return Ok(Cut::Skip(noise));
        }
        if input.first() == Some(&b'$') {
            return Ok(framing::until(input, scanned, eof, b"\n"));
        }
        if input.len() < BINARY_HEAD_BYTES {
            return Ok(Cut::Need(BINARY_HEAD_BYTES));
        }
        if input.starts_with(KEEP_ALIVE) {
            return Ok(framing::exactly(input, KEEP_ALIVE_BYTES));
        }
        if input.get(2) == Some(&b',') {
            match text_length(input) {
                Length::Known(length) => return Ok(framing::exactly(input, length)),
                Length::Unknown => return Ok(Cut::Need(input.len() + 1)),
                Length::None => {}
            }
        }
        let length = Cursor::new(input.get(4..).unwrap_or_default()).u16();
        let length = length.map_or(0, usize::from);
        if length < BINARY_BODY_BYTES_MIN {
            return Ok(Cut::Skip(1));
        }
        Ok(framing::exactly(input, BINARY_HEAD_BYTES + length))
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        if frame.starts_with(KEEP_ALIVE) && frame.len() == KEEP_ALIVE_BYTES {
            let unit = Cursor::new(frame.get(2..).unwrap_or_default()).u64();
            cx.identify(Login::of(&unit.ok_or(SHORT)?.to_string()))?;
            cx.reply(Reply::admitted(frame.to_vec()));
            return Ok(());
        }
        if frame.first() == Some(&b'$') {
            return answer(frame, cx);
        }
        if frame.get(2) == Some(&b',') && matches!(text_length(frame), Length::Known(_)) {
            return text(frame, cx);
        }
        self.binary(frame, cx)
    }

    fn encode(
        &mut self,
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Delivery, CommandError> {
        if command.name != "custom" {
            return Err(CommandError::Unsupported);
        }
        let text = command.properties["payload"]
            .as_str()
            .filter(|text| !text.is_empty() && text.len() <= COMMAND_BYTES_MAX)
            .filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
            .ok_or(CommandError::BadProperties)?;
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
        Ok(Delivery::Answered(None))
    }

    fn probe(head: &[u8]) -> Probe {
        let prefixed = |mark: &[u8]| head.starts_with(mark) || mark.starts_with(head);
        if prefixed(KEEP_ALIVE) {
            return match head.get(2) {
                // an unit is far from 2^56
                Some(0) => Probe::Yes,
                Some(_) => Probe::No,
                None => Probe::More,
            };
        }
        let other = prefixed(OTHER_SUM.as_bytes());
        if !prefixed(b"@P") && !prefixed(b"@R") && !other {
            return Probe::No;
        }
        if head.len() < TEXT_HEAD_BYTES_MAX {
            return Probe::More;
        }
        let text = head.get(2) == Some(&b',') && matches!(text_length(head), Length::Known(_));
        // the upper byte of the unit
        if text || !other && head.get(8) == Some(&0) {
            Probe::Yes
        } else {
            Probe::No
        }
    }
}

/// What may stand between frames.
const fn is_filler(byte: u8) -> bool {
    matches!(byte, 0 | b'\r' | b'\n')
}

/// How long a text is.
enum Length {
    Known(usize),
    /// Its end has not come yet.
    Unknown,
    /// It is no text.
    None,
}

fn text_length(input: &[u8]) -> Length {
    let crc = input.get(3..TEXT_CRC_END).unwrap_or_default();
    if !crc.iter().all(u8::is_ascii_hexdigit) {
        return Length::None;
    }
    let Some(head) = input.get(TEXT_CRC_END..) else {
        return Length::Unknown;
    };
    let Some(rest) = head.strip_prefix(b",") else {
        return if head.is_empty() {
            Length::Unknown
        } else {
            Length::None
        };
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let length = rest
        .get(..digits)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(number::<usize>);
    let start = TEXT_CRC_END + 1 + digits;
    match (rest.get(digits), length) {
        (None, _) if start <= TEXT_HEAD_BYTES_MAX => Length::Unknown,
        (Some(b','), Some(length)) if length > 0 => Length::Known(start.saturating_add(length)),
        _ => Length::None,
    }
}

/// The answer to a report.
fn ack(unit: u64, sequence: u16) -> Reply {
    let mut bytes = Vec::with_capacity(KEEP_ALIVE_BYTES);
    bytes.extend_from_slice(KEEP_ALIVE);
    bytes.extend_from_slice(&unit.to_be_bytes());
    bytes.extend_from_slice(&sequence.to_be_bytes());
    Reply::stored(bytes)
}

/// The items that the device sends behind each record, if its settings say so.
fn form(cx: &Context<'_>) -> Option<compact_str::CompactString> {
    let format = cx.settings().format.as_deref()?;
    let form = format.get(format.find('%')?..)?;
    Some(form.into())
}

impl Decoder {
    fn binary(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let mut cursor = Cursor::new(frame);
        let prefix = cursor.array::<2>().ok_or(SHORT)?;
        let crc = cursor.u16().ok_or(SHORT)?;
        if crc != checksum::crc16_ibm(cursor.rest()) {
            return Err(Reject::new("crc", "the checksum does not fit", 2));
        }
        let _length = cursor.u16();
        let sequence = cursor.u16().ok_or(SHORT)?;
        let unit = cursor.u64().ok_or(SHORT)?;
        cx.identify(Login::of(&unit.to_string()))?;
        if prefix == *b"@R" {
            photo::part(&mut self.photo, &mut cursor, cx)?;
        } else {
            record::binary(cursor.rest(), form(cx).as_deref(), cx)?;
        }
        cx.reply(ack(unit, sequence));
        Ok(())
    }
}

fn text(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let text = std::str::from_utf8(frame)
        .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
    let mut parts = text.splitn(6, ',');
    let mut next = || parts.next().ok_or(SHORT);
    let (prefix, crc, _length) = (next()?, next()?, next()?);
    let (sequence, unit, records) = (next()?, next()?, next()?);
    let covered = frame.get(TEXT_CRC_END..).ok_or(SHORT)?;
    if prefix != OTHER_SUM
        && u16::from_str_radix(crc, 16).ok() != Some(checksum::crc16_ibm(covered))
    {
        return Err(Reject::new("crc", "the checksum does not fit", 3));
    }
    cx.identify(Login::of(unit))?;
    let form = form(cx);
    for record in records.lines().filter(|line| !line.trim().is_empty()) {
        record::text(record, form.as_deref(), cx)?;
    }
    if let (Some(unit), Some(sequence)) = (number(unit), number::<u32>(sequence)) {
        // the answer has room for the lower half only
        let [_, _, high, low] = sequence.to_be_bytes();
        cx.reply(ack(unit, u16::from_be_bytes([high, low])));
    }
    Ok(())
}

/// `$OK`, `$ERROR=...`, `$INFO=...`: what a command is answered with.
fn answer(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let text = std::str::from_utf8(frame)
        .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?
        .trim();
    let info: Option<Vec<&str>> = text
        .strip_prefix("$INFO=")
        .map(|info| info.split(',').collect())
        .filter(|info: &Vec<&str>| info.len() > 1);
    if let Some(unit) = info.as_ref().and_then(|info| info.first()) {
        cx.identify(Login::of(unit))?;
    }
    cx.command_reply(None, text);
    let now_ms = cx.now_ms;
    let mut message = cx.message(Time::Received(now_ms))?;
    message.push(fields::COMMAND_RESULT, text);
    let Some(info) = info else {
        return Ok(());
    };
    let at = |index: usize| info.get(index).copied().filter(|text| !text.is_empty());
    let volts = |index: usize| Some(float(at(index)?)? / 10.0);
    message.push_some(fields::DEVICE_MODEL, at(1));
    message.push_some(fields::DEVICE_FIRMWARE_VERSION, at(2));
    message.push_some(fields::DEVICE_IMEI, at(3));
    message.push_some(fields::GSM_SIM_IMSI, at(4));
    message.push_some(fields::GSM_SIM_ICCID, at(5));
    message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts(6));
    message.push_some(fields::BATTERY_VOLTAGE, volts(7));
    message.push_some(fields::POSITION_SATELLITES, at(8).and_then(number::<u8>));
    let registration = at(9).and_then(number::<u8>);
    message.push_some(fields::GSM_REGISTRATION_STATE, registration);
    let steps = at(10).and_then(number::<i64>);
    message.push_some(fields::GSM_SIGNAL_DBM, steps.and_then(items::dbm));
    let link = at(11).and_then(number::<u8>);
    message.push_some(
        fields::SERVER1_CONNECTION_STATUS,
        link.map(|link| link != 0),
    );
    let antenna = at(12).and_then(number::<u8>);
    message.push_some(crate::contract::Key::Name("antenna.status"), antenna);
    Ok(())
}
