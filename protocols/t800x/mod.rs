//! Topflytech: T8603, T8803, T8806, T8808, OBD trackers, asset trackers and padlocks, over TCP.
//!
//! # Wire format
//!
//! Numbers are big-endian, floats little-endian. Each frame has:
//!
//! | bytes | field |
//! |---|---|
//! | 2 | family: `23 23` the first vehicle trackers, `25 25` later ones, `26 26` OBD, `27 27` asset trackers |
//! | 1 | kind |
//! | 2 | length of it all |
//! | 2 | number |
//! | 8 | 0 and the IMEI, a digit a nibble |
//! | | body |
//!
//! | kind | body |
//! |---|---|
//! | 01, 31 | login: versions (31: model before them) |
//! | 02, 04 | position, alarm; `location.rs` |
//! | 03 | heartbeat |
//! | 05 | driving, by GNSS: kind, and date, place, (OBD: rpm) of begin and end; asset trackers: the network |
//! | 06 | driving, by acceleration: kind, a reading; 07: an accident: kind, readings |
//! | 09 | serial port: date, ignition, bytes; OBD: date, bytes of the vehicle |
//! | 10, 12 | Bluetooth: date, ignition, (12: status, place,) sensors; `bluetooth.rs` |
//! | 11 | network: date, operator in UTF-16, technology, band, IMSI, SIM: a length before each |
//! | 13, 14 | position, alarm, with more inputs |
//! | 15 | Wi-Fi: date, own address, three of address (6) and signal (1) |
//! | 17, 27 | lock, second lock: date, status, place, what happened |
//! | 20 | geofences of a padlock |
//! | 24, 25 | position or Wi-Fi of an asset tracker |
//! | 26 | temperatures: date, kind, interval (2), 0.01 degrees (2) each |
//! | 62, 64 | position, alarm, as lists of values; `listed.rs` |
//! | 81 | answer to a command, forwarded text, USSD: 01, 03, 05 and a text in UTF-16 |
//!
//! A date is six bytes YYMMDDHHMMSS, two digits a byte. A place has 16 bytes: altitude, longitude, latitude (4 each),
//! speed in 0.1 km/h as four digits, course (2); without a fix cells are in its stead: country, network
//! and three of area and cell, or with the highest bit set country, network, cell (4), area and three physical
//! cells. The first family writes them with the lowest byte first.
//!
//! # Session
//!
//! Every frame names its device. All kinds but positions are answered with their own head of 15 bytes;
//! an alarm with one byte more, its code. The first family's answers have number 1.
//!
//! # Source
//!
//! Topflytech's own public codec (github.com/TOPFLYtech/TOPFLYtechCodec), and captures.
//!
//! # Quirks
//!
//! - Frames of devices that are set to encrypt (MD5, AES) are not read.
//! - Analog inputs are binary in 0.01 V, though all other voltages are decimal digits.
//! - The place of `26 26` has no speed; it stands behind the supply.

use crate::contract::{
    Acks, Command, CommandError, Context, Cut, Decode, Delivery, Fatal, Info, Login, Model, Probe,
    Reject, Reply, Time, fields,
};
use crate::kit::cursor::Cursor;
use crate::kit::{bcd, framing, hex};
use std::borrow::Cow;
use wire::{Family, HEAD_BYTES, Head, SHORT, date};

mod bluetooth;
mod drive;
mod listed;
mod location;
mod place;
mod wire;

const COMMAND: u8 = 0x81;
const COMMAND_CHARS_MAX: usize = 512;

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Topflytech",
        name,
    }
}

/// The session state: who it is, for commands.
#[derive(Default)]
pub(crate) struct Decoder {
    device: Option<([u8; 2], [u8; 8])>,
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "t800x",
        title: "Topflytech",
        source: "Topflytech: TOPFLYtechCodec",
        port: 5094,
        frame_bytes_max: 4096,
        acks: Acks::Frame,
        shared: true,
        models: &[
            model(1, "T8603"),
            model(2, "T8803 Pro"),
            model(3, "T8806"),
            model(4, "T8806+"),
            model(5, "T8806+R"),
            model(6, "T8808A"),
            model(7, "T8808B"),
            model(8, "TLD1-A"),
            model(9, "TLD1-D"),
            model(10, "TLD1-DA-DE"),
            model(11, "TLD2-L"),
            model(12, "TLD2-D"),
            model(13, "TLP1-SF"),
            model(14, "TLP1-LF"),
            model(15, "TLP1-SM"),
            model(16, "TLP2-SFB"),
            model(17, "TLW1-4"),
            model(18, "TLW1-8"),
            model(19, "TLW1-10"),
            model(20, "TLW2-2BL"),
            model(21, "TLW2-6BL"),
            model(22, "TLW2-12B"),
            model(23, "TLW2-12BL"),
            model(24, "KnightX 100"),
            model(25, "KnightX 300"),
            model(26, "SolarGuardX 100"),
            model(27, "SolarGuardX 200"),
            model(28, "TorchX 100"),
            model(29, "PioneerX 100"),
            model(30, "PioneerX 101"),
        ],
        commands: &["custom"],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, _: bool) -> Result<Cut, Fatal> {
        let Some(mark) = input.first_chunk::<2>() else {
            return Ok(Cut::Need(2));
        };
        if Family::of(*mark).is_none() {
            let next = input.iter().skip(1).position(|byte| is_mark(*byte));
            return Ok(Cut::Skip(next.map_or(input.len(), |at| at + 1)));
        }
        let Some(length) = Cursor::new(input.get(3..).unwrap_or_default()).u16() else {
            return Ok(Cut::Need(5));
        };
        if usize::from(length) < HEAD_BYTES {
            return Ok(Cut::Skip(1));
        }
        Ok(framing::exactly(input, length.into()))
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let mut cursor = Cursor::new(frame);
        let mark = cursor.array().ok_or(SHORT)?;
        let family = Family::of(mark).ok_or(Reject::new("mark", "no known one", 0))?;
        let kind = cursor.u8().ok_or(SHORT)?;
        let length = cursor.u16().ok_or(SHORT)?;
        let head = Head {
            family,
            mark,
            kind,
            number: cursor.u16().ok_or(SHORT)?,
            imei: cursor.array().ok_or(SHORT)?,
        };
        let imei = bcd::text(&head.imei).ok_or(Reject::new("imei", "no digits", 7))?;
        cx.identify(Login::of(&imei))?;
        // what was joined to it by someone else is not its own
        let own = usize::from(length).saturating_sub(HEAD_BYTES);
        let body = cursor.rest();
        let mut body = Cursor::new(body.get(..own).unwrap_or(body));
        let alarm = match kind {
            0x03 => {
                cx.reply(Reply::admitted(head.answer(None)));
                None
            }
            0x01 | 0x31 => {
                login(&head, &mut body, cx)?;
                None
            }
            0x02 | 0x04 | 0x13 | 0x14 if family == Family::Asset => {
                Some(location::asset(&head, &mut body, cx)?)
            }
            0x24 | 0x25 if family == Family::Asset => {
                Some(location::asset_or_wifi(&head, &mut body, cx)?)
            }
            0x02 | 0x04 | 0x13 | 0x14 => Some(location::vehicle(&head, &mut body, cx)?),
            0x62 | 0x64 => Some(listed::read(&head, &mut body, cx)?),
            _ => {
                other(&head, &mut body, cx)?;
                None
            }
        };
        self.device = Some((mark, head.imei));
        match (kind, alarm) {
            (0x04 | 0x14 | 0x25 | 0x64, Some(alarm)) => {
                cx.reply(Reply::stored(head.answer(Some(alarm))));
            }
            (0x03, _) | (_, Some(_)) => {}
            _ => cx.reply(Reply::stored(head.answer(None))),
        }
        Ok(())
    }

    fn ident(text: &str) -> Cow<'_, str> {
        Cow::Borrowed(bcd::without_leading_zeros(text))
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
            .filter(|text| !text.is_empty() && text.chars().count() <= COMMAND_CHARS_MAX)
            .ok_or(CommandError::BadProperties)?;
        let (mark, imei) = self.device.ok_or(CommandError::NotLoggedIn)?;
        let start = out.len();
        out.extend_from_slice(&mark);
        out.extend_from_slice(&[COMMAND, 0, 0, 0, 1]);
        out.extend_from_slice(&imei);
        out.push(1);
        out.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        let length = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
        if let Some(place) = out.get_mut(start + 3..start + 5) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        Ok(Delivery::Answered(None))
    }

    fn probe(head: &[u8]) -> Probe {
        let twice = head.first().is_some_and(|byte| is_mark(*byte))
            && head
                .get(1)
                .is_none_or(|second| head.first() == Some(second));
        if !twice {
            return Probe::No;
        }
        let Some(imei) = head.get(7..HEAD_BYTES) else {
            return Probe::More;
        };
        let long = head.get(3) < Some(&0x10);
        if long && bcd::text(imei).is_some() {
            Probe::Yes
        } else {
            Probe::No
        }
    }
}

const fn is_mark(byte: u8) -> bool {
    matches!(byte, 0x23 | 0x25 | 0x26 | 0x27)
}

/// The versions, whose digits are nibbles.
fn login(head: &Head, body: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let now_ms = cx.now_ms;
    if body.left() > 0 {
        let mut message = head.open(Time::Received(now_ms), cx)?;
        if head.kind == 0x31 {
            let code = body.u16().ok_or(SHORT)?;
            message.push(fields::DEVICE_TYPE_CODE, &*code.to_string());
        }
        let digits = hex::encode(body.rest());
        message.push(fields::DEVICE_FIRMWARE_VERSION, &*digits);
    }
    Ok(())
}

fn other(head: &Head, body: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    match (head.kind, head.family) {
        (0x05, Family::Asset) | (0x11, _) => network(head, body, cx),
        (0x05, _) => drive::by_position(head, body, cx),
        (0x06, _) => drive::by_acceleration(head, body, cx),
        (0x07, _) => drive::accident(head, body, cx),
        (0x09, _) => drive::port(head, body, cx),
        (0x10 | 0x12, _) => bluetooth::read(head, body, cx),
        (0x15, _) => wifi(head, body, cx),
        (0x17 | 0x27, _) => location::lock(head, body, cx),
        (0x26, Family::Asset) => temperatures(head, body, cx),
        (COMMAND, _) => command_answer(head, body, cx),
        _ => {
            let now_ms = cx.now_ms;
            let mut message = head.open(Time::Received(now_ms), cx)?;
            if body.left() > 0 {
                message.push(fields::PAYLOAD_HEX, &*hex::encode(body.rest()));
            }
            Ok(())
        }
    }
}

/// UTF-16 with the lowest byte first.
fn utf16(bytes: &[u8]) -> String {
    let units = bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| u16::from_le_bytes(*pair));
    char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

fn network(head: &Head, body: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let time = date(body, cx.now_ms)?;
    let mut message = head.open(time, cx)?;
    let mut next = || {
        let length = body.u8()?;
        body.take(length.into())
    };
    if let Some(operator) = next() {
        message.push(fields::GSM_OPERATOR_NAME, utf16(operator).trim());
    }
    if let Some(technology) = next() {
        let technology = String::from_utf8_lossy(technology);
        message.push(fields::GSM_NETWORK_TYPE, technology.trim());
    }
    if let Some(band) = next() {
        message.name("gsm.band", String::from_utf8_lossy(band).trim());
    }
    for param in [fields::GSM_SIM_IMSI, fields::GSM_SIM_ICCID] {
        if let Some(digits) = next() {
            message.push(param, String::from_utf8_lossy(digits).trim());
        }
    }
    if let Some(name) = next() {
        message.push(
            (fields::WIFI_SSID_N, 1),
            String::from_utf8_lossy(name).trim(),
        );
    }
    if let Some(address) = next() {
        message.push(
            (fields::WIFI_MAC_N, 1),
            String::from_utf8_lossy(address).trim(),
        );
    }
    Ok(())
}

fn wifi(head: &Head, body: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let time = date(body, cx.now_ms)?;
    let mut message = head.open(time, cx)?;
    message.push(fields::POSITION_VALID, false);
    place::push_wifi(&mut message, body).ok_or(SHORT)
}

fn temperatures(head: &Head, body: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let time = date(body, cx.now_ms)?;
    let (what, interval) = (body.u8().ok_or(SHORT)?, body.u16().ok_or(SHORT)?);
    let mut message = head.open(time, cx)?;
    message.name("temperature.kind", what);
    message.name("temperature.interval", interval);
    for number in 1.. {
        let Some(hundredths) = body.i16() else {
            break;
        };
        let degrees = f64::from(hundredths) / 100.0;
        message.push((fields::SENSOR_TEMPERATURE_N, number), degrees);
    }
    Ok(())
}

fn command_answer(head: &Head, body: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let what = body.u8().ok_or(SHORT)?;
    let text = utf16(body.rest());
    let text = text.trim_end_matches('\0');
    if what == 1 {
        cx.command_reply(None, text);
    }
    let now_ms = cx.now_ms;
    let mut message = head.open(Time::Received(now_ms), cx)?;
    message.push(fields::COMMAND_TYPE, &*hex::encode(&[what]));
    message.push(fields::COMMAND_RESULT, text);
    Ok(())
}
