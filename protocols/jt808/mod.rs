//! JT808: the Chinese road transport standard JT/T 808 of 2011, 2013 and 2019, and the many makes
//! that extend it (port 5015).
//!
//! # Wire format
//!
//! Between two bytes 7E; inside, 7D 02 stands for 7E and 7D 01 for 7D.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 2 | kind | |
//! | 2 | properties | bits 0 to 9 length of the content, bit 13 one of several parts, bit 14 edition of 2019 |
//! | 0 or 1 | edition | with bit 14 |
//! | 6 or 10 | ident | BCD; some makes: the first 14 digits of the IMEI as a binary number |
//! | 2 | serial | |
//! | 0 or 4 | parts, part | with bit 13 |
//! | ... | content | by kind |
//! | 1 | check | all before it combined by exclusive or |
//!
//! | kind | content | answer |
//! |---|---|---|
//! | 0001 | general answer to a command | none |
//! | 0002, 0506 | heartbeat, with some makes battery, signal and state | 8001 |
//! | 0100 | registration | 8100 with the secret to show later, or why not |
//! | 0102 | the secret | 8001 |
//! | 0004, 0109 | asks for the time | 8004, 8109 |
//! | 0104 | its parameters, asked for: see `parameters` | none |
//! | 0107 | what the terminal is | 8001 |
//! | 0200 | a position: see `location` | 8001 |
//! | 0201, 0500 | the same, asked for | none |
//! | 0704, 0210 | several positions | 8001 |
//! | 0702 | the driver's card | 8001 |
//! | 0801 | picture or sound, in parts | 8001 each part, 8800 at the end |
//! | 0900 | something else's data: see `upload` | 8001 |
//! | 0701, 2070 | a text, accelerations | 8001 |
//! | 1300, 6006 | answer to a text, in UTF-16 or with a byte for its encoding | none, 8001 |
//! | 5501, 5502 | an electronic lock's position, now or kept: see `lock` | 4401 if it wants one |
//!
//! # Session
//!
//! Every frame names its device. Any other kind is answered 8001 and kept as it is.
//!
//! Commands: `custom` is a text (8300), `position` asks for one (8201, answered 0201), `parameters` for all
//! of them (8104, answered 0104), `reboot` is word 4 of the terminal's control (8105). What has no answer of
//! its own is answered 0001. Each answer begins with the serial of the command.
//!
//! # Source
//!
//! JT/T 808-2011, 808-2013 and 808-2019, "Terminal communication protocol and data format of the satellite
//! positioning system for road transport vehicles"; T/JSATL 12-2017 and JT/T 1078-2016 for the items of cameras.
//!
//! # Quirks
//!
//! - Times are those of Beijing (+08:00) unless the setting `time_zone` says otherwise.
//! - Items behind a position have a meaning of their own with every maker; those that are told apart by their
//!   length are read, others are kept under their number. `model` decides where even that does not help.
//! - Some makes frame with E7 (E6 01, E6 02, 3E 01, 3E 02 inside), and have seven bytes of ident then; locks write
//!   texts between parentheses.

mod camera;
mod cells;
mod extras;
mod location;
mod lock;
mod make;
mod nested;
mod parameters;
mod safety;
mod terminal;
mod upload;
mod values;
mod vehicle;
mod wire;

use crate::contract::{
    Acks, Command, CommandError, Context, Cut, Decode, Delivery, Fatal, Info, Login, Model, Probe,
    Reject, Reply, Setting, Time, fields,
};
use crate::kit::time::Civil;
use crate::kit::{bcd, checksum, framing, hex};
use std::borrow::Cow;
use wire::{
    Address, BEIJING_S, Frame, MARK, OTHER_MARK, SHORT, accepted, checked, ident_of, unescaped,
    written,
};

/// Kinds that answer a command of the platform.
const ANSWERS: [u16; 7] = [0x0104, 0x0201, 0x0500, 0x0700, 0x0802, 0x0805, 0x1300];
/// What fits the content of one frame, less the flag before the text.
const COMMAND_BYTES_MAX: usize = 1000;

/// What a session remembers: how to write to the device, and a message of several parts.
#[derive(Default)]
pub(crate) struct Decoder {
    address: Option<Address>,
    commands_sent: u16,
    parts: Option<terminal::Parts>,
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
        name: "jt808",
        title: "JT/T 808",
        source: "JT/T 808-2011, 808-2013, 808-2019",
        port: 5015,
        version: 2,
        frame_bytes_max: 4096,
        session_bytes_max: terminal::PARTS_BYTES_MAX + 256,
        acks: Acks::Frame,
        settings: &[Setting::Model, Setting::Password, Setting::TimeZone],
        models: &[
            model(1, "AOVX", "GL100"),
            model(2, "AOVX", "AL300"),
            model(3, "Jimi IoT", "JC371"),
            model(4, "Micodus", "MV710G"),
            model(5, "Jointech", "JT701D"),
            model(6, "BSJ", "BSJ-A6"),
            model(7, "Huabao", "HB-R03GBD"),
            model(8, "C5L", "C5L"),
            model(9, "C5L", "C5"),
            model(10, "Micodus", "MV810G"),
            model(11, "Jimi IoT", "JC181"),
            model(12, "Jimi IoT", "JC182"),
            model(13, "Jimi IoT", "JC450"),
            model(14, "Jimi IoT", "JC451"),
            model(15, "Jimi IoT", "VL300"),
            model(16, "Jointech", "JT709"),
            model(17, "G-360P", "G-360P"),
            model(18, "G-360P", "G-508P"),
            model(19, "G1C", "G1C Pro"),
            model(20, "DT800", "DT800"),
        ],
        commands: &["custom", "position", "parameters", "reboot"],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, _: bool) -> Result<Cut, Fatal> {
        let mark = match input.first() {
            Some(&(MARK | OTHER_MARK)) => input.first().copied().unwrap_or(MARK),
            Some(b'(') => b')',
            _ => {
                let starts = |byte: &u8| matches!(byte, &(MARK | OTHER_MARK | b'('));
                let noise = input.iter().position(starts).unwrap_or(input.len());
                return Ok(Cut::Skip(noise));
            }
        };
        // the end of a frame whose beginning was lost
        if input.get(1) == Some(&mark) {
            return Ok(Cut::Skip(1));
        }
        let from = scanned.max(1);
        let rest = input.get(from..).unwrap_or_default();
        Ok(match framing::find(rest, &[mark]) {
            Some(at) => Cut::Frame(from + at + 1),
            None => Cut::Need(input.len() + 1),
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        if let [b'(', text @ .., b')'] = frame {
            return lock::text(text, cx);
        }
        let plain = unescaped(frame)?;
        if lock::is_report(&plain) {
            return lock::read(&plain, cx);
        }
        let frame = checked(&plain, frame.first().copied().unwrap_or(MARK))?;
        let ident = ident_of(&frame.address);
        let address = frame.address;
        match frame.kind {
            0x0100 => terminal::register(&frame, &ident, cx)?,
            0x0102 => terminal::authenticate(&frame, &ident, cx)?,
            _ => {
                cx.identify(Login::of(&ident))?;
                if let Some((count, number)) = frame.part {
                    let whole = terminal::part(&mut self.parts, &frame, count, number, cx)?;
                    if let Some(body) = whole.as_deref() {
                        content(
                            &Frame {
                                part: None,
                                body,
                                ..frame
                            },
                            cx,
                        )?;
                    }
                } else {
                    content(&frame, cx)?;
                }
            }
        }
        self.address = Some(address);
        Ok(())
    }

    fn ident(text: &str) -> Cow<'_, str> {
        // a device without a number of its own sends zeros
        match bcd::without_leading_zeros(text) {
            zeros if zeros.bytes().all(|byte| byte == b'0') && !zeros.is_empty() => "0".into(),
            digits => digits.into(),
        }
    }

    /// `custom`: a text in `payload`. Without properties: `position` asks for one, `parameters` for all
    /// that the terminal is set to, `reboot` lets it start again.
    fn encode(
        &mut self,
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Delivery, CommandError> {
        let (kind, content) = asked_for(command)?;
        let address = self.address.ok_or(CommandError::NotLoggedIn)?;
        let serial = self.commands_sent.wrapping_add(1);
        out.extend_from_slice(&written(&address, kind, serial, &content));
        self.commands_sent = serial;
        Ok(Delivery::Answered(Some(u32::from(serial))))
    }

    /// The first whole frame decides, by its check.
    fn probe(head: &[u8]) -> Probe {
        let Some((&mark, rest)) = head.split_first() else {
            return Probe::More;
        };
        if mark == b'(' {
            return lock::probe(rest);
        }
        if !matches!(mark, MARK | OTHER_MARK) {
            return Probe::No;
        }
        let Some(end) = rest.iter().position(|byte| *byte == mark) else {
            return Probe::More;
        };
        let frame = head.get(..end + 2).unwrap_or_default();
        let fits = unescaped(frame).is_ok_and(|plain| {
            let lock = lock::is_report(&plain) && checksum::xor(&plain) == 0;
            lock || checked(&plain, mark).is_ok()
        });
        if fits { Probe::Yes } else { Probe::No }
    }
}

/// The kind and the content of the message that gives a command.
fn asked_for(command: &Command<'_>) -> Result<(u16, Vec<u8>), CommandError> {
    if command.name == "custom" {
        let text = command.properties["payload"]
            .as_str()
            .filter(|text| !text.is_empty() && text.len() <= COMMAND_BYTES_MAX && text.is_ascii())
            .ok_or(CommandError::BadProperties)?;
        // bit 0: at once
        return Ok((0x8300, [&[1], text.as_bytes()].concat()));
    }
    let asked = match command.name {
        "position" => (0x8201, vec![]),
        "parameters" => (0x8104, vec![]),
        // word 4 of the terminal's control: a reset
        "reboot" => (0x8105, vec![4]),
        _ => return Err(CommandError::Unsupported),
    };
    let properties = command.properties.as_object();
    if properties.is_some_and(|properties| !properties.is_empty()) {
        return Err(CommandError::BadProperties);
    }
    Ok(asked)
}

/// Reads a message that is all there.
fn content(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    match frame.kind {
        0x0001 => terminal::answered(frame, cx)?,
        0x0002 | 0x0506 if frame.body.len() < terminal::STATE_BYTES => {
            cx.reply(Reply::open(accepted(frame)));
        }
        0x0004 | 0x0109 => time(frame, cx),
        _ => {
            let read = cx.attempt(|cx| {
                if frame.kind == 0x0801 {
                    return terminal::media(frame, cx);
                }
                reading(frame, cx)?;
                // what answers a command waits for nothing
                if !ANSWERS.contains(&frame.kind) {
                    cx.reply(Reply::stored(accepted(frame)));
                }
                Ok(())
            });
            // its check holds: it is kept as it is, lest the device sends it for ever
            if read.is_err() {
                if !frame.body.is_empty() {
                    unknown(frame, cx)?;
                }
                cx.reply(Reply::stored(accepted(frame)));
            }
        }
    }
    Ok(())
}

fn reading(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let body = frame.body;
    match frame.kind {
        0x0200 => location::read(body, false, cx),
        0x0201 | 0x0500 => {
            location::read(body.get(2..).ok_or(SHORT)?, false, cx)?;
            terminal::answered_by_content(frame, cx)
        }
        0x0704 => location::batch(body, cx),
        0x0210 if body.len() == 7 => terminal::battery(body, cx),
        0x0210 => location::short_batch(body, cx),
        0x0002 => terminal::state(body, cx),
        0x0104 => {
            parameters::read(body, cx)?;
            terminal::answered_by_content(frame, cx)
        }
        0x0107 => terminal::attributes(frame, cx),
        0x1300 => terminal::wide_text(body, cx),
        0x6006 => terminal::encoded_text(body, cx),
        0x0701 => terminal::text(body, cx),
        0x0702 => terminal::card(body, cx),
        0x2070 => terminal::accelerations(body, cx),
        0x0900 => upload::read(body, cx),
        _ => unknown(frame, cx),
    }
}

/// A kind that is not understood is kept whole.
fn unknown(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    let kind = hex::encode(&frame.kind.to_be_bytes());
    message.push(fields::MESSAGE_TYPE, kind.as_str());
    message.push(fields::PAYLOAD_HEX, hex::encode(frame.body).as_str());
    Ok(())
}

/// The answer to those who ask for the time: 8004 in BCD of Beijing, 8109 in UTC with a result behind it.
fn time(frame: &Frame<'_>, cx: &mut Context<'_>) {
    let beijing = frame.kind == 0x0004;
    let ahead_ms = if beijing {
        i64::from(BEIJING_S) * 1000
    } else {
        0
    };
    let now = Civil::at(cx.now_ms + ahead_ms);
    let part = |value: i64| u8::try_from(value).unwrap_or(0);
    let parts = [now.month, now.day, now.hour, now.minute, now.second].map(part);
    let mut content = Vec::with_capacity(8);
    if beijing {
        let digits = |value: u8| (value / 10) << 4 | (value % 10);
        content.push(digits(part(now.year % 100)));
        content.extend(parts.map(digits));
    } else {
        let year = u16::try_from(now.year).unwrap_or(0);
        content.extend_from_slice(&year.to_be_bytes());
        content.extend_from_slice(&parts);
        // the result: done
        content.push(0);
    }
    let kind = frame.kind | 0x8000;
    cx.reply(Reply::open(written(&frame.address, kind, 0, &content)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_frame_is_recognised_by_its_check() {
        let heartbeat = hex::decode("7e000200000135112211220003357e").expect("hexadecimal");
        for cut in 0..heartbeat.len() {
            assert_eq!(
                Decoder::probe(&heartbeat[..cut]),
                Probe::More,
                "{cut} bytes"
            );
        }
        assert_eq!(Decoder::probe(&heartbeat), Probe::Yes);
        let mut wrong = heartbeat;
        wrong[5] ^= 1;
        assert_eq!(Decoder::probe(&wrong), Probe::No);
        assert_eq!(Decoder::probe(b"(0"), Probe::More);
        assert_eq!(Decoder::probe(b"(0,"), Probe::No);
    }
}
