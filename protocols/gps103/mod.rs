//! GPS103: Coban, and the makes that copied its TK102, TK103, GPS103 and GPS303 (port 5001).
//!
//! # Wire format
//!
//! Text, comma separated, up to `;` (some makes: `*` or a line end).
//!
//! | frame | means | answer |
//! |---|---|---|
//! | `##,imei:359586015829802,A;` | login (`imei:...,L,*` too) | `LOAD` |
//! | `359586015829802;` | heartbeat | `ON` |
//! | `imei:359586015829802,KEYWORD,...;` | a reading | none; `help me`: `**,imei:...,E;` |
//!
//! A reading: keyword, local date and time (`yymmddhhmm`, with or without seconds), telephone number, `F` or `L`,
//! then with `F` time in UTC (`hhmmss.sss`), `A` or `V`, latitude, `N` or `S`, longitude, `E` or `W`, speed (knots),
//! course, altitude, ignition, door, fuel of two tanks (`10.5%`), temperature; each may be missing from
//! the end. With `L` there is no fix: area and cell in hexadecimal stand in the places of the latitude and of the
//! longitude.
//!
//! | keyword | means |
//! |---|---|
//! | `tracker`, `001`, empty | a regular report |
//! | `help me`, `low battery`, `move`, `speed`, `stockade`, `ac alarm`, `door alarm`, `sensor alarm`, ... | an alarm |
//! | `acc on`, `acc off` | ignition |
//! | `T:+11`, `oil 51.67` | temperature, fuel |
//! | `OBD` | date, odometer, fuel now and on average, hours, speed, load, coolant, throttle, rpm, battery, trouble codes |
//! | `rfid` | the tag in the place of the telephone number |
//! | `vr` | a fragment of a photo |
//! | two letters, the second `t` or `f`; `1nn`, `5nn` | the answer to a command: done, or (`f`, `5nn`) not done |
//!
//! # Session
//!
//! Every frame names its device. Commands are `**,imei:...,X`.
//!
//! # Source
//!
//! Shenzhen Coban Electronics: "GPRS protocol" of 2014-12-12 and "GPS102, GPS103, GPS104 GPRS data protocol".
//!
//! # Quirks
//!
//! - The date is local, the time is UTC: the day is the one that brings the two closest together. Older devices
//!   write the date `yy/mm/dd hh:mm`.
//! - One make writes hemispheres before the degrees, another date and time as `hhmmss,ddmmyy` and degrees as decimals.
//! - A missing hemisphere is not guessed: such a record has no place.

mod obd;
mod parts;
mod report;

use crate::contract::{
    Acks, Command, CommandError, Context, Cut, Decode, Delivery, Fatal, Info, Login, Model, Probe,
    Reject, Reply, Setting,
};
use crate::kit::parse;
use compact_str::CompactString;
use parts::Fields;

/// The most fields that are read of a frame.
const FIELDS_MAX: usize = 48;
const COMMAND_BYTES_MAX: usize = 512;
/// A login is no longer, whatever stands behind its letter.
const LOGIN_BYTES_MAX: usize = 30;

/// What a session remembers: whom commands go to.
#[derive(Default)]
pub(crate) struct Decoder {
    imei: CompactString,
}

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Coban",
        name,
    }
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "gps103",
        title: "Coban GPS103",
        source: "Coban Electronics: GPRS protocol, 2014-12-12",
        port: 5001,
        frame_bytes_max: 4096,
        session_bytes_max: 64,
        version: 4,
        acks: Acks::None,
        settings: &[Setting::TimeZone],
        models: &[
            model(1, "GPS103A"),
            model(2, "GPS103B"),
            model(3, "TK102"),
            model(4, "TK103"),
            model(5, "TK103B"),
            model(6, "TK104"),
            model(7, "TK106"),
            model(8, "GPS303F"),
            model(9, "GPS303G"),
            model(10, "GPS306A"),
            model(11, "GPS311"),
            model(12, "GPS403"),
        ],
        commands: &["custom"],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, _: bool) -> Result<Cut, Fatal> {
        let ends = |byte: &u8| matches!(byte, b';' | b'*' | b'\r' | b'\n' | 0);
        let blank = input.iter().take_while(|byte| ends(byte)).count();
        if blank > 0 {
            return Ok(Cut::Skip(blank));
        }
        // a heartbeat may stand before a report without anything between
        let digits = input
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if digits > 0 && input.get(digits) == Some(&b'i') {
            return Ok(Cut::Frame(digits));
        }
        let unseen = input.get(scanned..).unwrap_or_default();
        Ok(match unseen.iter().position(ends) {
            Some(at) => Cut::Frame(scanned + at + 1),
            None => Cut::Need(input.len() + 1),
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let text = std::str::from_utf8(frame)
            .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
        let text = text.trim_end_matches([';', '*', '\r', '\n', '\0']).trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            cx.identify(Login::of(text))?;
            cx.reply(Reply::open("ON"));
            self.imei = text.into();
            return Ok(());
        }
        let body = text.strip_prefix("##,").unwrap_or(text);
        let body = body.strip_prefix("imei:").ok_or(Reject::new(
            "text",
            "it does not begin with imei:",
            0,
        ))?;
        let mut fields: Fields<'_> = parse::split(body, b',').take(FIELDS_MAX).collect();
        let imei = fields.first().copied().unwrap_or_default();
        fields.remove(0);
        cx.identify(Login::of(imei))?;
        match fields.as_slice() {
            ["A" | "L", ..] if text.len() <= LOGIN_BYTES_MAX => {
                cx.reply(Reply::admitted("LOAD"));
            }
            [] | [""] => {}
            ["vr", data, ..] => report::photo(data, cx)?,
            ["OBD", ..] => obd::read(&fields, cx)?,
            [keyword, ..] => {
                report::read(&fields, text, cx)?;
                if keyword.trim().eq_ignore_ascii_case("help me") {
                    // without it the tracker repeats the alarm
                    cx.reply(Reply::stored(format!("**,imei:{imei},E;")));
                }
            }
        }
        self.imei = imei.into();
        Ok(())
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
        if self.imei.is_empty() {
            return Err(CommandError::NotLoggedIn);
        }
        out.extend_from_slice(format!("**,imei:{},{text}", self.imei).as_bytes());
        Ok(Delivery::Answered(None))
    }

    fn probe(head: &[u8]) -> Probe {
        let begins = |mark: &[u8]| head.starts_with(mark) || mark.starts_with(head);
        if begins(b"##,imei:") {
            return if head.len() >= 8 {
                Probe::Yes
            } else {
                Probe::More
            };
        }
        if begins(b"imei:") {
            return if head.len() >= 5 {
                Probe::Yes
            } else {
                Probe::More
            };
        }
        let digits = head.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match head.get(digits) {
            Some(b';' | b'i') if digits == 15 => Probe::Yes,
            None if digits <= 15 => Probe::More,
            _ => Probe::No,
        }
    }
}
