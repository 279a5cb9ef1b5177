//! `MiniFinder`, Eview EV-07 and EV-09: personal and pet trackers, over TCP.
//!
//! # Wire format
//!
//! Little-endian. Each frame has:
//!
//! | bytes | field |
//! |---|---|
//! | 1 | AB |
//! | 1 | flags: 10 wants an answer, 20 encrypted, the lower half a version |
//! | 2 | length of the content |
//! | 2 | CRC-16/XMODEM of the content |
//! | 2 | number |
//! | | content: a kind (1), then keys: length (1) of what follows, key (1), value |
//!
//! | kind | content |
//! |---|---|
//! | 01 | data; a key that comes again begins the next record |
//! | 02 | configuration |
//! | 03 | services: heartbeat (key 10), a place near by (11), the time (12) |
//! | 04 | control: a text |
//! | 7E, 7F | firmware, an answer |
//!
//! The keys of data are in `keys.rs`.
//!
//! # Session
//!
//! Key 01 of data and of services names the device; other kinds stand under it. A frame that wants an answer gets
//! kind 7F with key 00 (done); a request of a service gets kind 03 with the service's key: 11, and 21 and 22 (a
//! place by cells, by access points), with a place of 0,0 (none is known), 12 with unix seconds.
//!
//! # Source
//!
//! Eview Industrial: "EV-07B communication protocol", by the public descriptions of other decoders, and captures.
//! The document was not at hand as a whole: what no capture in `fixtures/` shows wants a frame to prove it.
//!
//! # Quirks
//!
//! - Encrypted frames are not read. Flags and number are not under the checksum.
//! - An alarm has a time of its own, which is then the record's.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, Probe, Reject, Reply, Time, fields,
};
use crate::kit::cursor::Cursor;
use crate::kit::{checksum, framing, hex};
use wire::{Keys, SHORT};

mod keys;
mod wire;

const MARK: u8 = 0xab;
const HEAD_BYTES: usize = 8;
const WANTS_ANSWER: u8 = 0x10;
const ENCRYPTED: u8 = 0x20;
const DATA: u8 = 0x01;
const CONFIGURATION: u8 = 0x02;
const SERVICES: u8 = 0x03;
const ANSWER: u8 = 0x7f;
const KEY_IDENT: u8 = 0x01;
const KEY_PLACE: u8 = 0x11;
const KEY_TIME: u8 = 0x12;
const KEY_CELLS: u8 = 0x21;
const KEY_POINTS: u8 = 0x22;

const fn model(number: u16, vendor: &'static str, name: &'static str) -> Model {
    Model {
        number,
        vendor,
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "minifinder2",
        title: "MiniFinder, Eview",
        source: "Eview Industrial: EV-07B communication protocol",
        port: 5187,
        frame_bytes_max: 8 * 1024,
        acks: Acks::Frame,
        models: &[
            model(1, "MiniFinder", "Pico"),
            model(2, "MiniFinder", "Nano"),
            model(3, "MiniFinder", "Zepto"),
            model(4, "MiniFinder", "Atto"),
            model(5, "MiniFinder", "Xtreme"),
            model(6, "MiniFinder", "Rex"),
            model(7, "Eview", "EV-07B"),
            model(8, "Eview", "EV-07S"),
            model(9, "Eview", "EV-09"),
            model(10, "Eview", "EV-201"),
            model(11, "Eview", "EV-202"),
            model(12, "Eview", "EV-206"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, _: bool) -> Result<Cut, Fatal> {
        if input.first() != Some(&MARK) {
            let next = input.iter().position(|byte| *byte == MARK);
            return Ok(Cut::Skip(next.unwrap_or(input.len())));
        }
        let Some(length) = Cursor::new(input.get(2..).unwrap_or_default()).u16_le() else {
            return Ok(Cut::Need(4));
        };
        if length == 0 || HEAD_BYTES + usize::from(length) > Self::INFO.frame_bytes_max {
            return Ok(Cut::Skip(1));
        }
        Ok(framing::exactly(input, HEAD_BYTES + usize::from(length)))
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let mut cursor = Cursor::new(frame);
        let [_mark, flags] = cursor.array().ok_or(SHORT)?;
        let length = cursor.u16_le().ok_or(SHORT)?;
        let crc = cursor.u16_le().ok_or(SHORT)?;
        let number = cursor.u16_le().ok_or(SHORT)?;
        let content = cursor.take(length.into()).ok_or(SHORT)?;
        if crc != checksum::crc16_xmodem(content) {
            return Err(Reject::new("crc", "the checksum does not fit", 4));
        }
        if flags & ENCRYPTED != 0 {
            return Err(Reject::new("cipher", "encrypted", 1));
        }
        let (&kind, keys) = content.split_first().ok_or(SHORT)?;
        if matches!(kind, DATA | SERVICES)
            && let Some(ident) = Keys(keys).find(|(key, _)| *key == KEY_IDENT)
        {
            let ident = std::str::from_utf8(ident.1)
                .map_err(|_| Reject::new("ident", "no text", HEAD_BYTES + 3))?;
            cx.identify(Login::of(ident.trim_matches('\0')))?;
        }
        match kind {
            DATA | SERVICES => keys::records(kind, number, keys, cx)?,
            CONFIGURATION => keys::configuration(number, keys, cx)?,
            _ => other(kind, number, keys, cx)?,
        }
        if flags & WANTS_ANSWER != 0 {
            cx.reply(Reply::stored(answer(kind, number, keys, cx.now_ms)));
        }
        Ok(())
    }

    fn probe(head: &[u8]) -> Probe {
        if head.first() != Some(&MARK) {
            return Probe::No;
        }
        match (head.get(8), head.get(10)) {
            (Some(&(DATA | SERVICES)), Some(&KEY_IDENT)) => Probe::Yes,
            (_, None) => Probe::More,
            _ => Probe::No,
        }
    }
}

fn answer(kind: u8, number: u16, keys: &[u8], now_ms: i64) -> Vec<u8> {
    let mut content = vec![SERVICES];
    if kind == SERVICES {
        for (key, _) in Keys(keys) {
            match key {
                KEY_PLACE | KEY_CELLS | KEY_POINTS => {
                    content.extend_from_slice(&[10, key]);
                    content.extend_from_slice(&[0; 9]);
                }
                KEY_TIME => {
                    let seconds = u32::try_from(now_ms.div_euclid(1000)).unwrap_or_default();
                    content.extend_from_slice(&[5, KEY_TIME]);
                    content.extend_from_slice(&seconds.to_le_bytes());
                }
                _ => {}
            }
        }
    }
    if content.len() == 1 {
        content = vec![ANSWER, 1, 0];
    }
    let length = u16::try_from(content.len()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(HEAD_BYTES + content.len());
    bytes.extend_from_slice(&[MARK, 0]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum::crc16_xmodem(&content).to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&content);
    bytes
}

/// Control, firmware and answers: a text if there is one, else bytes.
fn other(kind: u8, number: u16, keys: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let now_ms = cx.now_ms;
    let Some((key, value)) = Keys(keys).next() else {
        let mut message = cx.message(Time::Received(now_ms))?;
        message.push(fields::MESSAGE_TYPE, &*hex::encode(&[kind]));
        return Ok(());
    };
    let said = value.trim_ascii_start();
    let said = said.strip_prefix(&[0]).unwrap_or(said);
    let said = std::str::from_utf8(said)
        .ok()
        .filter(|text| !text.is_empty() && !text.contains(char::is_control));
    let code = if kind == ANSWER && value.is_empty() {
        key.to_string()
    } else {
        hex::encode(value)
    };
    let text = said.unwrap_or(&code);
    if kind == ANSWER {
        cx.command_reply(Some(number.into()), text);
    }
    let mut message = cx.message(Time::Received(now_ms))?;
    message.push(fields::MESSAGE_TYPE, &*hex::encode(&[kind]));
    message.push(fields::COMMAND_TYPE, &*hex::encode(&[key]));
    message.push(fields::COMMAND_RESULT, text);
    Ok(())
}
