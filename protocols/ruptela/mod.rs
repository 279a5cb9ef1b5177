//! Ruptela: FM-Eco, FM-Pro, FM-Tco, Plug, HCV, LCV, Trace, over TCP.
//!
//! # Wire format
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 2 | length | from the IMEI to the end of the payload |
//! | 8 | IMEI | as a number |
//! | 1 | command | see below |
//! | ... | payload | |
//! | 2 | CRC | CRC-16/KERMIT from the IMEI to the end of the payload |
//!
//! All numbers are big-endian.
//!
//! | command | payload | answer |
//! |---|---|---|
//! | 01 | records: see `records` | 64 01 |
//! | 44 | extended records: see `records` | 64 01 |
//! | 02, 03, 04 | text: the answer to a configuration, to a question for the version, to firmware | none |
//! | 07 | text: the answer to a command sent as 6C | none |
//! | 09 | trouble codes | 6D 01 |
//! | 0F | identification: firmware and IMSI | 73 01 |
//! | 10 | heartbeat | 74 01 |
//! | 11 | an output was set: the result in a byte | none |
//! | 25 | a part of a file | 89: which part is to come next |
//!
//! Answers are framed alike, without an IMEI; 00 in the place of 01 refuses, and the tracker
//! sends the packet again.
//!
//! A trouble code: a reserved byte, time (4), longitude and latitude (4 each, 1e-7 degrees), 2 if it is
//! stored and no longer present (1), five letters of ASCII.
//!
//! A file's part: 02, source, name (8), parts in all (2), this part from 0 (2), bytes.
//!
//! # Session
//!
//! There is no login: every frame carries the IMEI.
//!
//! # Quirks
//!
//! - Without a fix longitude and latitude are 80000000, the rest all ones: no place.
//! - An extended record that does not fit comes in several with the same time; they make one message.
//! - The same fuel, speed and distance come from the engine's bus (FMS, ids 114, 116, 207, ...) or from the
//!   OBD socket (94 to 107, 645).
//!
//! # Source
//!
//! Ruptela: "FM communication protocol" and "FM IO list"; ids that neither names are kept under their number.

mod elements;
mod records;

use crate::contract::{
    Acks, Command, CommandError, Context, Cut, Decode, Delivery, Fatal, Info, Login, Model, Probe,
    Reject, Reply, Time, fields,
};
use crate::kit::cursor::Cursor;
use crate::kit::{checksum, framing};

/// A first packet is far shorter; the mark of JT/T 808 would be read as a greater one.
const LENGTH_USUAL_MAX: usize = 0x4000;
const LENGTH_BYTES: usize = 2;
const CRC_BYTES: usize = 2;
/// IMEI and command.
const HEAD_BYTES: usize = 9;
/// The longest text of a command.
const COMMAND_BYTES_MAX: usize = 1000;
const IMEI_END: u64 = 1_000_000_000_000_000;

const RECORDS: u8 = 0x01;
const CONFIGURATION: u8 = 0x02;
const VERSION: u8 = 0x03;
const FIRMWARE: u8 = 0x04;
const TEXT: u8 = 0x07;
const TROUBLE_CODES: u8 = 0x09;
const IDENTIFICATION: u8 = 0x0f;
const HEARTBEAT: u8 = 0x10;
const SET_OUTPUT: u8 = 0x11;
const FILE: u8 = 0x25;
const EXTENDED: u8 = 0x44;
const SEND_TEXT: u8 = 0x6c;

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Ruptela",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "ruptela",
        title: "Ruptela",
        source: "Ruptela: FM communication protocol, FM IO list",
        port: 5046,
        version: 2,
        frame_bytes_max: 8 * 1024,
        acks: Acks::Frame,
        shared: true,
        models: &[
            model(1, "FM-Eco3"),
            model(2, "FM-Eco4"),
            model(3, "FM-Eco4+"),
            model(4, "FM-Eco4 light"),
            model(5, "FM-Eco4 light+"),
            model(6, "FM-Eco4 S"),
            model(7, "FM-Pro3"),
            model(8, "FM-Pro4"),
            model(9, "FM-Pro5"),
            model(10, "FM-Tco3"),
            model(11, "FM-Tco4 HCV"),
            model(12, "FM-Tco4 LCV"),
            model(13, "FM-Plug4"),
            model(14, "FM-Plug4+"),
            model(15, "Plug5"),
            model(16, "HCV5"),
            model(17, "LCV5"),
            model(18, "Eco5"),
            model(19, "Pro5"),
            model(20, "Trace5"),
        ],
        commands: &["custom"],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, _: bool) -> Result<Cut, Fatal> {
        let Some(length) = input.first_chunk::<LENGTH_BYTES>() else {
            return Ok(Cut::Need(LENGTH_BYTES));
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length < HEAD_BYTES {
            return Err(Fatal::new("length", "shorter than a frame may be", 0));
        }
        Ok(framing::exactly(input, LENGTH_BYTES + length + CRC_BYTES))
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let short = Reject::new("frame", "cut short", frame.len());
        let (rest, crc) = frame.split_last_chunk::<CRC_BYTES>().ok_or(short)?;
        let (_, body) = rest.split_first_chunk::<LENGTH_BYTES>().ok_or(short)?;
        if checksum::crc16_kermit(body) != u16::from_be_bytes(*crc) {
            return Err(Reject::new("crc", "the checksum does not fit", rest.len()));
        }
        let mut cursor = Cursor::new(body);
        let imei = cursor.u64().ok_or(short)?;
        let command = cursor.u8().ok_or(short)?;
        if imei >= IMEI_END {
            return Err(Reject::new("imei", "more than 15 digits", LENGTH_BYTES));
        }
        cx.identify(Login::of(&format!("{imei:015}")))?;
        match command {
            RECORDS => records::read(&mut cursor, records::STANDARD, cx)?,
            EXTENDED => records::read(&mut cursor, records::EXTENDED, cx)?,
            TROUBLE_CODES => records::trouble_codes(&mut cursor, cx)?,
            CONFIGURATION | VERSION | FIRMWARE | TEXT => {
                let text = String::from_utf8_lossy(cursor.rest());
                result(command, text.trim(), cx)?;
            }
            SET_OUTPUT => {
                let done = cursor.u8().ok_or(short)?;
                result(command, &done.to_string(), cx)?;
            }
            IDENTIFICATION => identification(&mut cursor, cx)?,
            HEARTBEAT => cx.reply(Reply::admitted(answer(0x74, &[1]))),
            FILE => file(&mut cursor, cx)?,
            _ => {
                let mut message = cx.message(Time::Received(cx.now_ms))?;
                message.push(fields::MESSAGE_TYPE, &*command.to_string());
                message.push(
                    fields::PAYLOAD_HEX,
                    &*crate::kit::hex::encode(cursor.rest()),
                );
            }
        }
        match command {
            RECORDS | EXTENDED => {
                cx.reply(Reply::stored(answer(0x64, &[1])).or(answer(0x64, &[0])));
            }
            TROUBLE_CODES => cx.reply(Reply::stored(answer(0x6d, &[1])).or(answer(0x6d, &[0]))),
            _ => {}
        }
        Ok(())
    }

    /// `custom` with the property `payload`: any command of the SMS list, sent over the connection.
    fn encode(
        &mut self,
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Delivery, CommandError> {
        if command.name != "custom" {
            return Err(CommandError::Unsupported);
        }
        let text = command
            .properties
            .get("payload")
            .and_then(serde_json::Value::as_str)
            .filter(|text| (1..=COMMAND_BYTES_MAX).contains(&text.len()))
            .ok_or(CommandError::BadProperties)?;
        out.extend(answer(SEND_TEXT, text.as_bytes()));
        Ok(Delivery::Answered(None))
    }

    fn probe(head: &[u8]) -> Probe {
        let mut cursor = Cursor::new(head);
        if head.len() < LENGTH_BYTES + HEAD_BYTES {
            let impossible = head.get(2).is_some_and(|byte| *byte != 0);
            return if impossible { Probe::No } else { Probe::More };
        }
        let length = cursor.u16().unwrap_or_default();
        let imei = cursor.u64().unwrap_or_default();
        let command = cursor.u8().unwrap_or_default();
        let known = matches!(
            command,
            RECORDS
                | CONFIGURATION
                | VERSION
                | FIRMWARE
                | SET_OUTPUT
                | TEXT
                | TROUBLE_CODES
                | IDENTIFICATION
                | HEARTBEAT
                | FILE
                | EXTENDED
        );
        let is_imei = (IMEI_END / 1000..IMEI_END).contains(&imei);
        let fits = (HEAD_BYTES..LENGTH_USUAL_MAX).contains(&usize::from(length));
        if known && is_imei && fits {
            Probe::Yes
        } else {
            Probe::No
        }
    }
}

/// What came of a command.
fn result(command: u8, text: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    cx.command_reply(None, text);
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, &*command.to_string());
    message.push(fields::COMMAND_RESULT, text);
    Ok(())
}

/// A frame to the tracker.
fn answer(command: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![command];
    body.extend_from_slice(payload);
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    frame.extend_from_slice(&checksum::crc16_kermit(&body).to_be_bytes());
    frame
}

/// Device type or firmware as 4 and 11 letters, IMSI, and settings that are of no use here.
fn identification(cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    const TYPE_BYTES: usize = 4;
    const VERSION_BYTES: usize = 11;
    let payload = cursor.rest();
    let text = |bytes: Option<&[u8]>| {
        let text = std::str::from_utf8(bytes?).ok()?.trim_matches(['\0', ' ']);
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())).then(|| text.to_owned())
    };
    let kind = text(cursor.take(TYPE_BYTES));
    let version = text(cursor.take(VERSION_BYTES));
    let imsi = cursor.u64().filter(|imsi| (1..IMEI_END).contains(imsi));
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "15");
    message.push_some(fields::DEVICE_MODEL, kind.as_deref());
    message.push_some(fields::DEVICE_FIRMWARE_VERSION, version.as_deref());
    match imsi {
        Some(imsi) => message.push(fields::GSM_SIM_IMSI, &*format!("{imsi:015}")),
        None => message.push(fields::PAYLOAD_HEX, &*crate::kit::hex::encode(payload)),
    }
    if cursor.left() > 0 {
        message.name("settings", cursor.rest());
    }
    drop(message);
    cx.reply(Reply::stored(answer(0x73, &[1])).or(answer(0x73, &[0])));
    Ok(())
}

/// A part of a file, each kept as a message of its own; the next one is asked for.
fn file(cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    const PART: u8 = 2;
    const NAME_BYTES: usize = 8;
    let short = Reject::new("file", "cut short", 0);
    let payload = cursor.rest();
    let (kind, source) = (cursor.u8().ok_or(short)?, cursor.u8().ok_or(short)?);
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "37");
    if kind != PART {
        message.push(fields::PAYLOAD_HEX, &*crate::kit::hex::encode(payload));
        return Ok(());
    }
    let name = cursor.take(NAME_BYTES).ok_or(short)?;
    let (count, part) = (cursor.u16().ok_or(short)?, cursor.u16().ok_or(short)?);
    message.push(fields::MEDIA_ID, &*String::from_utf8_lossy(name));
    message.push(fields::RECORD_SEQNUM, part);
    message.name("parts", count);
    message.push(fields::IMAGE_BIN_JPEG, cursor.rest());
    drop(message);
    let next = part.saturating_add(1);
    if next < count {
        let mut wanted = vec![kind, source];
        wanted.extend_from_slice(name);
        wanted.extend_from_slice(&next.to_be_bytes());
        cx.reply(Reply::stored(answer(0x89, &wanted)));
    }
    Ok(())
}
