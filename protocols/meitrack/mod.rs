//! Meitrack: MVT, T, TC, TS, P and MD series, over TCP.
//!
//! # Wire format
//!
//! `$$` flag length `,` IMEI `,` command `,` content `*` checksum CR LF
//!
//! The flag is one byte that counts frames; the length is decimal and counts everything from the comma on; the
//! checksum is the sum of all bytes up to and with the `*`, in two hexadecimal digits. Answers are
//! framed alike, with `@@` and the frame's flag.
//!
//! | command | content | answer |
//! |---|---|---|
//! | AAA | a position as text: see `text` | none |
//! | AFF | a number (4 hexadecimal digits), then as AAA: from memory | none |
//! | CCC | positions in fields of fixed width: see `binary` | CCC, how many |
//! | CCE | positions in numbered fields: see `binary` | none |
//! | AAC | a heartbeat | AAC, 1 |
//! | D00 | file, parts in all, this part from 0, bytes | D00, file, next part: after each eighth |
//! | D03 | a picture has been taken | D00, file, 0 |
//! | others | the answer to a command | none |
//!
//! # Session
//!
//! There is no login: every frame carries the IMEI. As positions by AAA and CCE are not answered, the
//! protocol as a whole counts as one without acks.
//!
//! # Quirks
//!
//! - Voltages as text are steps of an analog input whose scale differs from model to model. Where the model
//!   is not set, the battery's own steps say which scale it is: a lithium cell of 3 to 4.3 V is
//!   300 to 430, 512 to 734 or 1862 to 2668, and no two of these overlap.
//! - HDOP is a decimal number as text and tenths in binary.
//!
//! # Source
//!
//! "MEITRACK GPRS Protocol" 2.x; numbers that it does not name are kept under their number.

mod binary;
mod events;
mod text;

use crate::contract::{
    Acks, Command, CommandError, Context, Cut, Decode, Delivery, Fatal, Ident, Info, Login, Model,
    Probe, Reject, Reply, Setting, Time, fields,
};
use crate::kit::parse::number;
use crate::kit::{checksum, framing};

/// `$$`, flag, four digits and the comma.
const HEAD_BYTES_MAX: usize = 8;
/// `*`, two digits.
const CHECKSUM_BYTES: usize = 3;
/// The longest text of a command.
const COMMAND_BYTES_MAX: usize = 512;
/// How many parts of a picture are sent on one request.
const PARTS_PER_REQUEST: u32 = 8;
/// The file of a picture just taken.
const PICTURE: &str = "camera_picture.jpg";

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Meitrack",
        name,
    }
}

/// The session state: whom commands are for.
#[derive(Default)]
pub(crate) struct Decoder {
    ident: Option<Ident>,
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "meitrack",
        title: "Meitrack",
        source: "MEITRACK GPRS Protocol 2.x",
        port: 5020,
        version: 2,
        frame_bytes_max: 4096,
        acks: Acks::None,
        shared: true,
        settings: &[Setting::Model, Setting::TimeZone],
        models: &[
            model(1, "MVT100"),
            model(2, "MVT340"),
            model(3, "MVT380"),
            model(4, "MVT600"),
            model(5, "MVT800"),
            model(6, "T1"),
            model(7, "T3"),
            model(8, "T311"),
            model(9, "T322X"),
            model(10, "T333"),
            model(11, "T355"),
            model(12, "T366"),
            model(13, "T366G"),
            model(14, "T366L"),
            model(15, "T399"),
            model(16, "T622"),
            model(17, "T633L"),
            model(18, "T711L"),
            model(19, "TC68"),
            model(20, "TC68S"),
            model(21, "TC68L"),
            model(22, "TS299L"),
            model(23, "MT90"),
            model(24, "P66"),
            model(25, "P88L"),
            model(26, "P99G"),
            model(27, "P99L"),
            model(28, "K211G"),
            model(29, "MD511G"),
            model(30, "MD522S"),
            model(31, "MD533S"),
        ],
        commands: &["custom"],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, _: bool) -> Result<Cut, Fatal> {
        let start = framing::find(input, b"$$");
        match start {
            Some(0) => {}
            Some(noise) => return Ok(Cut::Skip(noise)),
            None if input == b"$" => return Ok(Cut::Need(2)),
            None => {
                // the last byte may be half of the mark
                let noise = input.len() - usize::from(input.ends_with(b"$"));
                return Ok(Cut::Skip(noise.max(1)));
            }
        }
        let head = input.get(..HEAD_BYTES_MAX).unwrap_or(input);
        let digits = head.get(3..).unwrap_or_default();
        match digits.iter().position(|byte| *byte == b',') {
            Some(comma) => {
                let length = digits
                    .get(..comma)
                    .and_then(|digits| number::<usize>(std::str::from_utf8(digits).ok()?));
                match length {
                    Some(length) if length > CHECKSUM_BYTES => {
                        Ok(framing::exactly(input, 3 + comma + length))
                    }
                    _ => Ok(Cut::Skip(2)),
                }
            }
            None if head.len() < HEAD_BYTES_MAX && digits.iter().all(u8::is_ascii_digit) => {
                Ok(Cut::Need(head.len() + 1))
            }
            None => Ok(Cut::Skip(2)),
        }
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let short = Reject::new("frame", "cut short", frame.len());
        let whole = frame.strip_suffix(b"\r\n").unwrap_or(frame);
        let (summed, sum) = whole
            .split_at_checked(whole.len().saturating_sub(2))
            .ok_or(short)?;
        let sum = std::str::from_utf8(sum)
            .ok()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let content = summed.strip_suffix(b"*");
        let (Some(content), true) = (content, sum == Some(checksum::sum(summed))) else {
            return Err(Reject::new(
                "checksum",
                "the checksum does not fit",
                summed.len(),
            ));
        };
        let flag = frame.get(2).copied().ok_or(short)?;
        let mut parts = content.splitn(4, |byte| *byte == b',');
        let (_, imei, command, rest) = (parts.next(), parts.next(), parts.next(), parts.next());
        let ident = imei
            .and_then(|imei| std::str::from_utf8(imei).ok())
            .ok_or(short)?;
        let command = command
            .and_then(|command| std::str::from_utf8(command).ok())
            .ok_or(short)?;
        let rest = rest.unwrap_or_default();
        cx.identify(Login::of(ident))?;
        match command {
            "CCC" => {
                let count = binary::fixed(rest, cx)?;
                let answer = answer(flag, ident, &format!("CCC,{count}"));
                cx.reply(Reply::stored(answer));
            }
            "CCE" => binary::numbered(rest, cx)?,
            "D00" => picture(flag, ident, rest, cx)?,
            "D03" => cx.reply(Reply::admitted(answer(
                flag,
                ident,
                &format!("D00,{PICTURE},0"),
            ))),
            "AAC" => cx.reply(Reply::admitted(answer(flag, ident, "AAC,1"))),
            _ => {
                let rest = std::str::from_utf8(rest)
                    .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
                match command {
                    "AAA" => text::position("AAA", rest, cx)?,
                    "AFF" => {
                        let (number, rest) = rest.split_once(',').ok_or(short)?;
                        text::position(number, rest, cx)?;
                    }
                    _ => confirmation(command, rest, cx)?,
                }
            }
        }
        self.ident = cx.ident().cloned();
        Ok(())
    }

    /// `custom` with the property `payload`: a command and its parameters, `A10` or `B05,1,...`.
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
            .filter(|text| (1..=COMMAND_BYTES_MAX).contains(&text.len()) && text.is_ascii())
            .ok_or(CommandError::BadProperties)?;
        let ident = self.ident.as_ref().ok_or(CommandError::NotLoggedIn)?;
        out.extend(answer(b'A', ident.as_str(), text));
        Ok(Delivery::Answered(None))
    }

    fn probe(head: &[u8]) -> Probe {
        match head {
            [] | [b'$'] | [b'$', b'$'] | [b'$', b'$', _] => Probe::More,
            // the flag is a letter or a sign: FifoTrack has its length here
            [b'$', b'$', b'0'..=b'9', ..] => Probe::No,
            [b'$', b'$', _, rest @ ..] => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                match (digits, rest.get(digits)) {
                    (2..=4, Some(b',')) => {
                        let imei = rest.get(digits + 1..).unwrap_or_default();
                        let all = imei.iter().take(15).all(u8::is_ascii_digit);
                        if !all {
                            Probe::No
                        } else if imei.len() < 16 {
                            Probe::More
                        } else if imei.get(15) == Some(&b',') {
                            Probe::Yes
                        } else {
                            Probe::No
                        }
                    }
                    (0..=4, None) => Probe::More,
                    _ => Probe::No,
                }
            }
            _ => Probe::No,
        }
    }
}

/// `@@` flag length `,` IMEI `,` content `*` checksum CR LF
fn answer(flag: u8, ident: &str, content: &str) -> Vec<u8> {
    let body = format!(",{ident},{content}*");
    let mut frame = vec![b'@', b'@', flag];
    frame.extend_from_slice((body.len() + 4).to_string().as_bytes());
    frame.extend_from_slice(body.as_bytes());
    let sum = checksum::sum(&frame);
    frame.extend_from_slice(format!("{sum:02X}\r\n").as_bytes());
    frame
}

/// A part of a picture, each kept as a message of its own.
fn picture(flag: u8, ident: &str, rest: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let short = Reject::new("picture", "cut short", 0);
    let mut parts = rest.splitn(4, |byte| *byte == b',');
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let file = text().ok_or(short)?;
    let count: u32 = text().and_then(number).ok_or(short)?;
    let part: u32 = text().and_then(number).ok_or(short)?;
    let bytes = parts.next().ok_or(short)?;
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "D00");
    message.push(fields::MEDIA_ID, file);
    message.push(fields::RECORD_SEQNUM, part);
    message.name("parts", count);
    message.push(fields::IMAGE_BIN_JPEG, bytes);
    drop(message);
    let next = part.saturating_add(1);
    if next < count && next.is_multiple_of(PARTS_PER_REQUEST) {
        let answer = answer(flag, ident, &format!("D00,{file},{next}"));
        cx.reply(Reply::stored(answer));
    }
    Ok(())
}

/// The answer to a command.
fn confirmation(command: &str, rest: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, command);
    message.push(fields::COMMAND_TYPE, command);
    message.push(fields::COMMAND_RESULT, rest);
    drop(message);
    cx.command_reply(None, &format!("{command},{rest}"));
    Ok(())
}
