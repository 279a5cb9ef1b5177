//! GT06: Concox and Jimi IoT, and the many makes that copied them (port 5023).
//!
//! # Wire format
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 2 | start | 78 78, or 79 79 with a longer length |
//! | 1 or 2 | length | from kind to checksum |
//! | 1 | kind | see below |
//! | ... | content | by kind |
//! | 2 | serial | counts up from power on |
//! | 2 | checksum | CRC-16/X.25 from length to serial |
//! | 2 | end | 0D 0A |
//!
//! | kinds | content | read by |
//! |---|---|---|
//! | 01 | login: IMEI in BCD, type, time zone | here |
//! | 10 11 12 1A 22 25 2A 2D 31 37 A0 | position, cell, tail by maker | `places` |
//! | 16 26 27 32 A2 A3 A4 95 | position with status and alarm | `alerts` |
//! | 17 24 34 36 | by length: position with card, with voltages, of the X1, of the VL103 | `variants` |
//! | 11 17 18 19 24 28 2C 2E 33 A1 A2 A5 F3 | cells, access points | `cells` |
//! | 13 14 23 | heartbeat, satellites | `status` |
//! | 94 70 F1 F2 9B FD | information packets, with 79 79 | `info` |
//! | 65 66 8C | values of the vehicle as text, with 79 79 | `vehicle` |
//! | 32 33 with 79 79 | the AZ735's position and alarm | `variants` |
//! | 15 21 81 | answers to commands | `text` |
//! | 35 36 | the X1's photos | `photo` |
//! | 40 | the battery's management | `bms` |
//! | 41 with 79 79 | pictures in parts | `media` |
//! | 8A | asks for the time | here |
//!
//! A position is: satellites (lower half; the upper one is a length), latitude and longitude in
//! 1/1,800,000 degree, speed in km/h, and a word whose lower ten bits are the course, bit 10 north,
//! bit 11 west, bit 12 fixed, bit 14 "bit 15 is the ignition". Before it comes the date, one byte
//! each for year to second. A cell is MCC (bit 15: MNC has two bytes), MNC, LAC, cell id: of 2, 1, 2, 3
//! bytes, in the 4G kinds (A0 and above) of 2, 1, 4, 8.
//!
//! # Session
//!
//! login, answered -> data. An answer is a frame of the same kind with the same serial and no content.
//! 8A is answered with the time in UTC, 2A with an address (none is known), the AZ735 in the 79 79 form.
//! Kinds 94, 9B, 21, 8C, 65, 66, F3, 34 and 81, and 24 with voltages, are not answered.
//!
//! # Source
//!
//! Concox "GPS Tracker Communication Protocol" for GT06 (1.8.1), GT06N/F/E (1.0.0), JM-VL03
//! (1.1.2), CRX1 NEW (3.0.0); event codes of the JC series as Navixy's documentation lists them.
//!
//! # Quirks
//!
//! - Times are UTC in the newer kinds (22 and above). In the older ones they are the device's local time,
//!   whose zone the login gives; the setting `time_zone` overrides that, for all kinds.
//! - Makes differ in the tail of one and the same kind. They are told apart by its length where that is
//!   possible, otherwise by the setting `model`; what stays unknown is kept as bytes.
//! - Wi-Fi frames 17 and 69 of a related family have neither checksum nor a true length: they
//!   are cut at 0D 0A and refused (its own decoder is `topin`).

mod alarms;
mod alerts;
mod bms;
mod cells;
mod info;
mod make;
mod media;
mod parts;
mod photo;
mod places;
mod status;
mod text;
mod variants;
mod vehicle;
mod wire;

use crate::contract::{
    Acks, Command, CommandError, Context, Cut, Decode, Delivery, Fatal, Info, Login, Model, Probe,
    Reject, Reply, Setting,
};
use crate::kit::cursor::Cursor;
use crate::kit::time::Civil;
use crate::kit::{bcd, checksum, framing};
use make::Make;
use std::borrow::Cow;
use wire::{END, Frame, acknowledge, long, short};

const FRAME_BYTES_MAX: usize = 8 * 1024;
/// Start, length, kind, serial, checksum and end of a short frame; one more in a long one.
const AROUND_BYTES: usize = 10;

/// What a session remembers.
#[derive(Default)]
pub(crate) struct Decoder {
    /// The zone of the device's clock, seconds east of UTC, from its login.
    zone_s: Option<i64>,
    photo: Option<photo::Photo>,
    picture: Option<media::Picture>,
    commands_sent: u32,
}

const fn model(number: u16, vendor: &'static str, name: &'static str) -> Model {
    Model {
        number,
        vendor,
        name,
    }
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "gt06",
        title: "Concox / Jimi IoT",
        source: "Concox: GPS Tracker Communication Protocol (GT06 1.8.1, GT06N 1.0.0, JM-VL03 1.1.2)",
        port: 5023,
        frame_bytes_max: FRAME_BYTES_MAX,
        version: 3,
        session_bytes_max: 2 * photo::PHOTO_BYTES_MAX + 1024,
        acks: Acks::Frame,
        settings: &[Setting::Model, Setting::TimeZone],
        models: &[
            model(1, "Concox", "GT06"),
            model(2, "Concox", "GT06N"),
            model(3, "Concox", "GT06E"),
            model(4, "Concox", "CRX1"),
            model(5, "Concox", "CRX3"),
            model(6, "Concox", "AT4"),
            model(7, "Concox", "WeTrack2"),
            model(8, "Jimi IoT", "JM-VL03"),
            model(9, "Jimi IoT", "VL103"),
            model(10, "Jimi IoT", "JM-LL301"),
            model(11, "Jimi IoT", "JC400"),
            model(12, "Jimi IoT", "JC261"),
            model(13, "Jimi IoT", "JM-VL01"),
            model(14, "Seeworld", "SEEWORLD"),
            model(15, "Seeworld", "R11"),
            model(16, "NT", "NT20"),
            model(17, "XT", "XT40"),
            model(18, "Goome", "G18"),
            model(19, "QH", "QH302R"),
            model(20, "LW", "LW4G-4B"),
            model(21, "Azuga", "AZ735"),
            model(22, "Wanway", "S20"),
            model(23, "Benway", "Benway"),
            model(24, "Concox", "GK310"),
            model(25, "Concox", "GT800"),
            model(26, "Concox", "ET25"),
            model(27, "Concox", "HVT001"),
            model(28, "Concox", "AT1"),
            model(29, "Concox", "X3"),
            model(30, "Jimi IoT", "JM-VL02"),
            model(31, "Jimi IoT", "VL502"),
            model(32, "Jimi IoT", "JM-LL303"),
            model(33, "Jimi IoT", "JC450"),
            model(34, "Jimi IoT", "JC181"),
            model(35, "WD", "WD-209"),
            model(36, "Seeworld", "S5"),
        ],
        commands: &["custom"],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, _: bool) -> Result<Cut, Fatal> {
        let length = match input {
            [0x78, 0x78, length, ..] => usize::from(*length) + 5,
            [0x79, 0x79, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])) + 6,
            [0x78 | 0x79] | [0x78, 0x78] | [0x79, 0x79] | [0x79, 0x79, _] => {
                return Ok(Cut::Need(input.len() + 1));
            }
            _ => return Ok(Cut::Skip(noise(input))),
        };
        let whole = length.max(AROUND_BYTES);
        if whole > FRAME_BYTES_MAX {
            // no frame is so long: the length is not one
            return Ok(Cut::Skip(noise(input)));
        }
        if input.len() < whole {
            return Ok(Cut::Need(whole));
        }
        if length >= AROUND_BYTES && input.get(..length).is_some_and(|all| all.ends_with(END)) {
            return Ok(Cut::Frame(length));
        }
        // the length does not lead to an end mark: the frame is what goes up to one, within bounds
        let window = input.get(..FRAME_BYTES_MAX).unwrap_or(input);
        let searched = if scanned >= whole { scanned } else { 0 };
        Ok(match framing::until(window, searched, false, END) {
            Cut::Need(_) if window.len() == FRAME_BYTES_MAX => Cut::Skip(noise(window)),
            cut => cut,
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let frame = checked(frame)?;
        if frame.kind == 0x01 {
            return self.login(&frame, cx);
        }
        let read = cx.attempt(|cx| self.content(&frame, cx));
        match read {
            // its checksum holds: it is kept as it is, lest the device sends it for ever
            Err(reject) if !frame.body.is_empty() && reject.what != "photo" => {
                if !places::alone(&frame, cx, self.zone_s)? {
                    parts::unknown(&frame, cx)?;
                }
                if let Some(answer) = answer_unread(&frame) {
                    cx.reply(Reply::stored(answer));
                }
                Ok(())
            }
            other => other,
        }
    }

    fn ident(text: &str) -> Cow<'_, str> {
        Cow::Borrowed(bcd::without_leading_zeros(text))
    }

    fn encode(
        &mut self,
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Delivery, CommandError> {
        let key = self.commands_sent.wrapping_add(1);
        text::encode(command, key, out)?;
        self.commands_sent = key;
        Ok(Delivery::Answered(Some(key)))
    }

    /// The first whole frame decides, by its checksum: relatives use the same start.
    fn probe(head: &[u8]) -> Probe {
        let whole = match head {
            [0x78, 0x78, length, ..] => usize::from(*length) + 5,
            [0x79, 0x79, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])) + 6,
            [] | [0x78 | 0x79] | [0x78, 0x78] | [0x79, 0x79] | [0x79, 0x79, _] => {
                return Probe::More;
            }
            _ => return Probe::No,
        };
        match head.get(..whole) {
            _ if whole > FRAME_BYTES_MAX => Probe::No,
            Some(frame) if checked(frame).is_ok() => Probe::Yes,
            Some(_) => Probe::No,
            None => Probe::More,
        }
    }
}

impl Decoder {
    /// Reads any frame but a login.
    fn content(&mut self, frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
        match (frame.long, frame.kind) {
            (_, 0x8a) => {
                time(frame, cx);
                Ok(())
            }
            (_, 0x15 | 0x21 | 0x81) => text::answer(frame, cx, self.zone_s),
            (true, 0x32 | 0x33) => variants::az735(frame, cx),
            (_, 0x40) => {
                bms::read(frame, cx)?;
                cx.reply(Reply::stored(acknowledge(frame)));
                Ok(())
            }
            (true, 0x41) => media::part(&mut self.picture, frame, cx),
            (_, 0x94 | 0x70 | 0xf1 | 0xf2 | 0x9b) | (true, 0xfd) => info::read(frame, cx),
            (_, 0x65 | 0x66 | 0x8c) => vehicle::read(frame, cx),
            (false, 0x35) => photo::announced(&mut self.photo, frame, cx),
            (_, 0x36) if photo::is_part(self.photo.as_ref(), frame.body) => {
                photo::part(&mut self.photo, frame, cx)
            }
            _ => {
                let make = Make::of(cx.settings());
                data(frame, cx, make, self.zone_s)
            }
        }
    }

    fn login(&mut self, frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
        let mut body = Cursor::new(frame.body);
        let imei = body.take(8).and_then(bcd::text).ok_or(Reject::new(
            "login",
            "the ident is not 16 digits",
            4,
        ))?;
        cx.identify(Login::of(&imei))?;
        let _kind_of_device = body.u16();
        self.zone_s = body.u16().map(zone_s);
        cx.reply(Reply::admitted(acknowledge(frame)));
        Ok(())
    }
}

/// The login's time zone: hours and minutes times 100 above bit 3, which says "west".
fn zone_s(word: u16) -> i64 {
    let hundredths = i64::from(word >> 4);
    let seconds = hundredths / 100 * 3600 + hundredths % 100 * 60;
    if word & 8 == 0 { seconds } else { -seconds }
}

/// How many leading bytes can be no frame.
fn noise(input: &[u8]) -> usize {
    let starts = |rest: &[u8]| matches!(rest, [0x78, 0x78, ..] | [0x79, 0x79, ..] | [0x78 | 0x79]);
    (1..input.len())
        .find(|at| input.get(*at..).is_some_and(starts))
        .unwrap_or(input.len())
}

/// Takes a frame apart, if its length, end and checksum hold.
fn checked(frame: &[u8]) -> Result<Frame<'_>, Reject> {
    let (long, length, head) = match frame {
        [0x78, 0x78, length, ..] => (false, usize::from(*length) + 5, 3),
        [0x79, 0x79, high, low, ..] => {
            (true, usize::from(u16::from_be_bytes([*high, *low])) + 6, 4)
        }
        _ => return Err(Reject::new("start", "neither 78 78 nor 79 79", 0)),
    };
    if length != frame.len() || !frame.ends_with(END) {
        return Err(Reject::new("length", "it does not lead to an end mark", 2));
    }
    let inner = frame.get(2..frame.len() - 4).unwrap_or_default();
    let crc = frame.get(frame.len() - 4..frame.len() - 2);
    if crc != Some(&checksum::crc16_x25(inner).to_be_bytes()[..]) {
        let at = frame.len() - 4;
        return Err(Reject::new("crc", "the checksum does not fit", at));
    }
    let body = inner.get(head - 2..).unwrap_or_default();
    match body {
        [kind, body @ .., high, low] => Ok(Frame {
            long,
            kind: *kind,
            body,
            serial: u16::from_be_bytes([*high, *low]),
        }),
        _ => Err(Reject::new("length", "no room for kind and serial", 2)),
    }
}

/// Kinds that carry readings.
fn data(
    frame: &Frame<'_>,
    cx: &mut Context<'_>,
    make: Make,
    zone_s: Option<i64>,
) -> Result<(), Reject> {
    let body = frame.body;
    let answered = match frame.kind {
        0x13 | 0x23 | 0x14 => status::read(frame, cx, make)?,
        0x11 | 0x17 | 0x24 | 0xa2 if cells::fits(frame.kind, body) => cells::read(frame, cx)?,
        0x18 | 0x19 | 0x28 | 0x2c | 0x2e | 0x33 | 0xa1 | 0xa5 | 0xf3 => cells::read(frame, cx)?,
        0x17 | 0x24 | 0x34 => variants::read(frame, cx, zone_s)?,
        // anything else is a part of a photo that is not on its way
        0x36 if parts::is_time(body) => variants::read(frame, cx, zone_s)?,
        0x16 | 0x26 | 0x27 | 0x32 | 0xa2 | 0xa3 | 0xa4 => alerts::read(frame, cx, make, zone_s)?,
        0x95 => alerts::camera(frame, cx)?,
        0x10 | 0x11 | 0x12 | 0x1a | 0x1e | 0x22 | 0x25 | 0x2a | 0x2d | 0x31 | 0x37 | 0xa0 => {
            places::read(frame, cx, make, zone_s)?
        }
        _ => {
            if !places::alone(frame, cx, zone_s)? {
                parts::unknown(frame, cx)?;
            }
            !frame.long
        }
    };
    if frame.kind == 0x2a {
        cx.reply(Reply::stored(address_unknown()));
    } else if answered {
        cx.reply(Reply::stored(acknowledge(frame)));
    }
    Ok(())
}

fn time(frame: &Frame<'_>, cx: &mut Context<'_>) {
    let civil = Civil::at(cx.now_ms);
    let part = |value: i64| u8::try_from(value).unwrap_or(0);
    let content = [
        part(civil.year % 100),
        part(civil.month),
        part(civil.day),
        part(civil.hour),
        part(civil.minute),
        part(civil.second),
    ];
    cx.reply(Reply::open(short(frame.kind, &content, frame.serial)));
}

/// The answer to a frame that could not be read, where its kind has one.
fn answer_unread(frame: &Frame<'_>) -> Option<Vec<u8>> {
    match (frame.long, frame.kind) {
        (true, 0x32 | 0x33 | 0x41) => Some(long(frame.kind, &[], frame.serial)),
        (true, 0x40 | 0x70 | 0xf1 | 0xf2) => Some(acknowledge(frame)),
        (true, _) | (false, 0x24 | 0x34 | 0x35 | 0x36 | 0x81 | 0xf3) => None,
        _ => Some(acknowledge(frame)),
    }
}

/// The answer to a request for an address: the gateway knows none.
fn address_unknown() -> Vec<u8> {
    let mut content = vec![11, 0, 0, 0, 0];
    content.extend_from_slice(b"NA&&NA&&0##");
    long(0x97, &content, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_frame_is_recognised_by_its_checksum() {
        let login = short(1, &[0x08, 0x64, 0x71, 0x70, 0x03, 0x28, 0x35, 0x81], 1);
        for cut in 0..login.len() {
            assert_eq!(Decoder::probe(&login[..cut]), Probe::More, "{cut} bytes");
        }
        assert_eq!(Decoder::probe(&login), Probe::Yes);
        let long_login = long(1, &[0x08, 0x64, 0x71, 0x70, 0x03, 0x28, 0x35, 0x81], 1);
        assert_eq!(Decoder::probe(&long_login), Probe::Yes);
        // a relative's login without a checksum, and the next frame behind it
        let relative = b"\x78\x78\x0d\x01\x03\x56\x31\x40\x41\x41\x98\x58\x3c\x0d\x0a\x78\x78\x01";
        assert_eq!(Decoder::probe(relative), Probe::No);
        assert_eq!(Decoder::probe(b"*HQ"), Probe::No);
    }

    #[test]
    fn the_zone_of_a_login_is_hours_and_minutes() {
        assert_eq!(zone_s(0x3200), 8 * 3600);
        assert_eq!(zone_s(0x4dd8), -(12 * 3600 + 45 * 60));
        assert_eq!(zone_s(0), 0);
    }
}
