//! Watches that speak the "3G*" protocol: Beesure and SeTracker, Wonlex, 4P-Touch and the many makes that
//! copied them; also pet trackers and pendants.
//!
//! # Wire format
//!
//! `[MM*ID*LENGTH*CONTENT]`, of some makes `[MM*ID*INDEX*LENGTH*CONTENT]`. MM is the maker's two letters
//! (3G, SG, CS, ZJ), ID ten digits or the IMEI, INDEX a serial and LENGTH the bytes of CONTENT, both four
//! hexadecimal digits. CONTENT is a keyword and its fields, separated by commas.
//!
//! | keyword | fields | answer |
//! |---|---|---|
//! | LK | nothing, or `[steps,]turnovers,battery %` with steps first | LK |
//! | INIT | | INIT,1 |
//! | TKQ, TKQ2 | asks for voice messages | itself |
//! | UD, UD2, UD_LTE, ..., WT | a position: see `report` | none |
//! | AL, ... | a position with an alarm | AL |
//! | heart, PULSE | pulse | none |
//! | BLOOD, bphrt | systolic, diastolic, perhaps the pulse | none |
//! | oxygen, btemp2, TEMP | blood oxygen and body temperature, after a kind | none |
//! | TK | a voice message | TK,1 |
//! | JXTK | kind, file, part from 1, parts in all, bytes of a voice message | JXTKR,1 |
//! | CCID | the number of the SIM card | none |
//! | img | kind, time, bytes of a picture | none |
//! | others | the answer to a command | none |
//!
//! In bytes of sound `}` and a byte of 1 to 5 stand for `}`, `[`, `]`, `,` and `*`.
//!
//! # Session
//!
//! Every frame names its device. A watch that gets no answer to LK sends nothing else and starts anew. As
//! positions are not answered, the protocol as a whole counts as one without acks.
//!
//! # Quirks
//!
//! - LENGTH is often wrong, by a few bytes: a frame ends where its brackets do. Names of access points
//!   may hold brackets; where they are not paired, LENGTH says the end.
//! - The hemisphere may be missing, and the sign be in the number as well.
//! - With no fix the place is the last one, or 0,0, which is no place.
//! - Signal and battery are percentage; the cells' signal is in a unit that no maker tells.
//!
//! # Source
//!
//! "Beesure GPS SeTracker Server Protocol" (4P-Touch), versions of 2019 to 2024, and captures.

mod report;

use crate::contract::{
    Acks, Command, CommandError, Context, Cut, Decode, Delivery, Fatal, Ident, Info, Login, Model,
    Probe, Reject, Reply, Setting, Time, fields,
};
use crate::kit::parse::{float, number};
use compact_str::CompactString;
use std::borrow::Cow;

/// The longest text of a command.
const COMMAND_BYTES_MAX: usize = 1024;
const ESCAPE: u8 = b'}';

const fn model(number: u16, vendor: &'static str, name: &'static str) -> Model {
    Model {
        number,
        vendor,
        name,
    }
}

/// The session state: whom commands are for, and under which maker's letters.
#[derive(Default)]
pub(crate) struct Decoder {
    address: Option<(CompactString, Ident)>,
}

/// A frame's parts.
#[derive(Clone, Copy)]
struct Parts<'f> {
    maker: &'f str,
    ident: &'f str,
    index: Option<&'f str>,
    length: usize,
    /// Where the content begins.
    content: usize,
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "watch",
        title: "Watches (SeTracker, Beesure)",
        source: "Beesure GPS SeTracker Server Protocol",
        port: 5093,
        frame_bytes_max: 64 * 1024,
        version: 3,
        acks: Acks::None,
        shared: true,
        settings: &[Setting::TimeZone],
        models: &[
            model(1, "Wonlex", "GW100"),
            model(2, "Wonlex", "GW300"),
            model(3, "Wonlex", "GW400S"),
            model(4, "Wonlex", "GW600S"),
            model(5, "Wonlex", "GW700"),
            model(6, "Wonlex", "GW1000"),
            model(7, "Wonlex", "KT01"),
            model(8, "Wonlex", "KT04"),
            model(9, "Wonlex", "EW100"),
            model(10, "4P-Touch", "D99"),
            model(11, "4P-Touch", "FA28"),
            model(12, "4P-Touch", "PT03"),
            model(13, "Smart Baby Watch", "Q50"),
            model(14, "Smart Baby Watch", "Q90"),
            model(15, "Reachfar", "RF-V28"),
            model(16, "Reachfar", "RF-V48"),
            model(17, "TKSTAR", "TK1000"),
            model(18, "Vidimensio", "Paladin"),
        ],
        commands: &["custom"],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, eof: bool) -> Result<Cut, Fatal> {
        if input.first() != Some(&b'[') {
            let start = input.iter().position(|byte| *byte == b'[');
            return Ok(Cut::Skip(start.unwrap_or(input.len())));
        }
        let Some(parts) = parts(input) else {
            let end = input.iter().position(|byte| *byte == b']');
            return Ok(match end {
                Some(end) => Cut::Frame(end + 1),
                None if eof => Cut::Frame(input.len()),
                None => Cut::Need(input.len() + 1),
            });
        };
        let (mut depth, mut length, mut at) = (1usize, 0usize, parts.content);
        while let Some(byte) = input.get(at) {
            match byte {
                b']' if depth == 1 || length == parts.length => return Ok(Cut::Frame(at + 1)),
                b']' => depth -= 1,
                b'[' => depth += 1,
                &ESCAPE if matches!(input.get(at + 1), Some(1..=5)) => at += 1,
                _ => {}
            }
            length += 1;
            at += 1;
        }
        Ok(if eof {
            Cut::Frame(input.len())
        } else {
            Cut::Need(input.len() + 1)
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let parts = parts(frame).ok_or(Reject::new("frame", "not in four parts", 0))?;
        let content = frame
            .get(parts.content..)
            .and_then(|rest| rest.strip_suffix(b"]"))
            .ok_or(Reject::new("frame", "cut short", frame.len()))?;
        cx.identify(Login::of(parts.ident))?;
        let (keyword, rest) = match content.iter().position(|byte| *byte == b',') {
            Some(comma) => content.split_at_checked(comma).unwrap_or((content, &[])),
            None => (content, &[][..]),
        };
        let keyword = std::str::from_utf8(keyword)
            .map_err(|_| Reject::new("keyword", "not printable", parts.content))?;
        let rest = rest.strip_prefix(b",").unwrap_or(rest);
        match keyword {
            "TK" => sound(parts, rest, cx)?,
            "JXTK" => part_of_sound(parts, rest, cx)?,
            "img" | "IMG" => picture(rest, cx)?,
            _ => {
                let rest = String::from_utf8_lossy(rest);
                text(parts, keyword, &rest, cx)?;
            }
        }
        self.address = cx.ident().map(|ident| (parts.maker.into(), ident.clone()));
        Ok(())
    }

    /// `custom` with the property `payload`: a keyword and its fields, `CR` or `UPLOAD,600`.
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
        let (maker, ident) = self.address.as_ref().ok_or(CommandError::NotLoggedIn)?;
        let length = text.len();
        out.extend_from_slice(format!("[{maker}*{ident}*{length:04x}*{text}]").as_bytes());
        Ok(Delivery::Answered(None))
    }

    fn probe(head: &[u8]) -> Probe {
        match head {
            [] => Probe::More,
            [b'[', a, b, b'*', id @ ..]
                if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric() =>
            {
                let digits = id.iter().take_while(|byte| byte.is_ascii_digit()).count();
                match (digits, id.get(digits)) {
                    (8..=17, Some(b'*')) => Probe::Yes,
                    (0..=17, None) => Probe::More,
                    _ => Probe::No,
                }
            }
            [b'[', rest @ ..] if rest.len() < 3 && rest.iter().all(u8::is_ascii_alphanumeric) => {
                Probe::More
            }
            _ => Probe::No,
        }
    }
}

/// The parts before the content, if they are all there.
fn parts(frame: &[u8]) -> Option<Parts<'_>> {
    const HEAD_BYTES_MAX: usize = 64;
    let head = frame.get(..HEAD_BYTES_MAX).unwrap_or(frame);
    let stars = head.iter().enumerate().filter(|(_, byte)| **byte == b'*');
    let mut stars = stars.map(|(at, _)| at);
    let (first, second, third) = (stars.next()?, stars.next()?, stars.next()?);
    let text = |from: usize, to: usize| std::str::from_utf8(head.get(from..to)?).ok();
    let four = |from: usize, to: usize| {
        text(from, to).filter(|digits| {
            digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    let (maker, ident) = (text(1, first)?, text(first + 1, second)?);
    let one = four(second + 1, third)?;
    // a content of four digits and a star there is none
    let fourth = stars.next();
    let two = fourth.and_then(|fourth| Some((four(third + 1, fourth)?, fourth)));
    let (index, length, end) = match two {
        Some((length, fourth)) => (Some(one), length, fourth),
        None => (None, one, third),
    };
    Some(Parts {
        maker,
        ident,
        index,
        length: usize::from_str_radix(length, 16).ok()?,
        content: end + 1,
    })
}

/// A frame to the watch.
fn answer(parts: Parts<'_>, content: &str) -> String {
    let Parts { maker, ident, .. } = parts;
    let length = content.len();
    match parts.index {
        Some(index) => format!("[{maker}*{ident}*{index}*{length:04x}*{content}]"),
        None => format!("[{maker}*{ident}*{length:04x}*{content}]"),
    }
}

fn is_position(keyword: &str) -> bool {
    ["UD", "WT", "AL"]
        .iter()
        .any(|start| keyword.starts_with(start))
}

fn text(parts: Parts<'_>, keyword: &str, rest: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut fields = rest.split(',').map(str::trim);
    match keyword {
        "INIT" => cx.reply(Reply::admitted(answer(parts, "INIT,1"))),
        "TKQ" | "TKQ2" => cx.reply(Reply::admitted(answer(parts, keyword))),
        "LK" => {
            let answer = answer(parts, "LK");
            if rest.is_empty() {
                cx.reply(Reply::admitted(answer));
                return Ok(());
            }
            let all: smallvec::SmallVec<[&str; 4]> = fields.collect();
            let (steps, turnovers, battery) = match *all.as_slice() {
                [steps, turnovers, battery, ..] => (Some(steps), turnovers, battery),
                [turnovers, battery] => (None, turnovers, battery),
                _ => (None, "", rest),
            };
            let mut message = cx.message(Time::Received(cx.now_ms))?;
            message.push(fields::MESSAGE_TYPE, keyword);
            message.push_some(fields::STEP_COUNT, steps.and_then(number::<i64>));
            if let Some(turnovers) = number::<i64>(turnovers) {
                message.name("turnovers", turnovers);
            }
            message.push_some(fields::BATTERY_LEVEL, number::<i64>(battery));
            drop(message);
            cx.reply(Reply::stored(answer));
        }
        _ if is_position(keyword) && rest.contains(',') => {
            report::read(keyword, rest, cx)?;
            if keyword.starts_with("AL") {
                cx.reply(Reply::stored(answer(parts, "AL")));
            }
        }
        _ => {
            let mut number = || fields.next().and_then(float);
            let known = keyword.to_ascii_lowercase();
            let values: [(crate::contract::ParamId, Option<f64>); 3] = match known.as_str() {
                "heart" | "pulse" => [(fields::HEART_RATE, number()), NONE, NONE],
                "blood" | "bphrt" => [
                    (fields::BLOOD_PRESSURE_SYSTOLIC, number()),
                    (fields::BLOOD_PRESSURE_DIASTOLIC, number()),
                    (fields::HEART_RATE, number()),
                ],
                "oxygen" => [(fields::BLOOD_OXYGEN_LEVEL, last(rest)), NONE, NONE],
                "btemp2" | "btemp" | "temp" => [(fields::BODY_TEMPERATURE, last(rest)), NONE, NONE],
                _ => return confirmation(keyword, rest, cx),
            };
            let mut message = cx.message(Time::Received(cx.now_ms))?;
            message.push(fields::MESSAGE_TYPE, keyword);
            for (param, value) in values {
                message.push_some(param, value);
            }
        }
    }
    Ok(())
}

const NONE: (crate::contract::ParamId, Option<f64>) = (fields::HEART_RATE, None);

/// The value after a kind, or alone.
fn last(rest: &str) -> Option<f64> {
    let (_, value) = rest.split_once(',').unwrap_or(("", rest));
    float(value.split(',').next().unwrap_or_default())
}

/// The answer to a command, or something that the watch says of itself.
fn confirmation(keyword: &str, rest: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, keyword);
    message.push(fields::COMMAND_RESULT, rest);
    if keyword == "CCID" && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        message.push(fields::GSM_SIM_ICCID, rest);
    }
    drop(message);
    cx.command_reply(None, &format!("{keyword},{rest}"));
    Ok(())
}

/// Bytes without their escapes.
fn unescaped(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.contains(&ESCAPE) {
        return Cow::Borrowed(bytes);
    }
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        let meant = match (byte, rest.peek()) {
            (ESCAPE, Some(1)) => Some(b'}'),
            (ESCAPE, Some(2)) => Some(b'['),
            (ESCAPE, Some(3)) => Some(b']'),
            (ESCAPE, Some(4)) => Some(b','),
            (ESCAPE, Some(5)) => Some(b'*'),
            _ => None,
        };
        if meant.is_some() {
            rest.next();
        }
        plain.push(meant.unwrap_or(byte));
    }
    Cow::Owned(plain)
}

fn sound(parts: Parts<'_>, rest: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    // "TK,1" confirms what the server has sent
    if rest.len() <= 1 {
        return confirmation("TK", &String::from_utf8_lossy(rest), cx);
    }
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "TK");
    message.push(fields::MEDIA_AUDIO, &*unescaped(rest));
    drop(message);
    cx.reply(Reply::stored(answer(parts, "TK,1")).or(answer(parts, "TK,0")));
    Ok(())
}

fn part_of_sound(parts: Parts<'_>, rest: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let short = Reject::new("sound", "cut short", parts.content);
    let mut fields = rest.splitn(5, |byte| *byte == b',');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (kind, file, part, count) = (text(), text(), text(), text());
    let bytes = fields.next().ok_or(short)?;
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "JXTK");
    if let Some(kind) = kind {
        message.name("kind", kind);
    }
    message.push(fields::MEDIA_ID, file.ok_or(short)?);
    message.push_some(fields::RECORD_SEQNUM, part.and_then(number::<i64>));
    if let Some(count) = count.and_then(number::<i64>) {
        message.name("parts", count);
    }
    message.push(fields::MEDIA_AUDIO, &*unescaped(bytes));
    drop(message);
    cx.reply(Reply::stored(answer(parts, "JXTKR,1")).or(answer(parts, "JXTKR,0")));
    Ok(())
}

fn picture(rest: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let short = Reject::new("picture", "cut short", 0);
    let mut fields = rest.splitn(3, |byte| *byte == b',');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (kind, time) = (text().ok_or(short)?, text().ok_or(short)?);
    let bytes = fields.next().ok_or(short)?;
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "img");
    message.name("kind", kind);
    message.push(fields::MEDIA_ID, time);
    message.push(fields::MEDIA_IMAGE, &*unescaped(bytes));
    Ok(())
}
