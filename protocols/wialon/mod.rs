//! Wialon IPS 1.1, 2.0 and 2.1: Gurtam's open text protocol, spoken by several hundred makers and by most
//! trackers that are programs.
//!
//! # Wire format
//!
//! A packet is a line `#TYPE#body\r\n`; fields are separated by `;`, `NA` or nothing says that there is
//! no value. In 2.0 a body ends with `;CRC` (`|CRC` in a black box): CRC-16/IBM in hexadecimal digits
//! over the body up to and with the last separator.
//!
//! | type | body | answer |
//! |---|---|---|
//! | L | `ident;password`, 2.0: `2.0;ident;password;CRC` | `#AL#1`; `0` refused, `01` wrong password, `10` CRC |
//! | SD | `DDMMYY;HHMMSS;DDMM.MMMM;N;DDDMM.MMMM;E;km/h;course;meters;satellites` | `#ASD#1`; see `fault` |
//! | D | as SD, then `hdop;inputs;outputs;adc,adc,...;ibutton;name:type:value,...` | `#AD#1`; see `fault` |
//! | B | bodies of SD and D, separated by `\|` | `#AB#n`, the number taken; nothing for n: CRC |
//! | P | empty | `#AP#` |
//! | M | a text from the driver | `#AM#1`; `01` CRC |
//! | I | `size;block;last block;DDMMYY;HHMMSS;name`, then after the line `size` bytes | `#AI#block;1`, after the last block `#AI#1` |
//! | IT | `DDMMYY;HHMMSS;driver;code;last block` of a tachograph file | `#AIT#1` |
//! | T | `code;size;block`, then after the line `size` bytes | `#AT#block;1`, after the last block `#AT#1` |
//!
//! Types of parameters: 1 integer, 2 decimal number, 3 text. Times are UTC; without one the time of
//! receipt counts.
//!
//! A packet may have its ident in front: `ident#D#...` or `2.0;ident#D#...`, the form made for UDP.
//!
//! # Session
//!
//! login, then anything. A 2.0 login makes the CRC a duty for what follows; before it, or after a 1.1
//! login, a CRC is checked where there is one.
//!
//! The command `custom` is M the other way round: a text to the driver. Trackers do not answer it.
//!
//! # Source
//!
//! Gurtam: "Wialon IPS" 1.1, 2.0 and 2.1; names of parameters as flespi maps them.
//!
//! # Quirks
//!
//! - A record is refused (11 to 15, see `fault`) where a field that is a number is neither that nor
//!   absent. What is merely odd is kept as text: a negative speed, a course beyond 360, a bitmask with
//!   decimals, an item of the parameters without two colons. Fields may be missing from the end, further
//!   ones may follow, and digits of no day are a clock that was not set.
//! - An item of a black box that does not fit is not counted in the answer, the others are taken.
//! - The protocol has no sign of a fix's validity: a place with three satellites or more is valid.
//! - Minutes of 60 to 99 are taken as they stand: some trackers do not carry.
//! - A block of a picture or a tachograph file is a message of its own; with its line it is at most
//!   `FRAME_BYTES_MAX` long.
//! - Compressed packets of 2.1 (`FF`, length, zlib) are found and rejected.

mod fault;
mod field;
mod files;
mod packet;
mod params;
mod record;

use crate::contract::{
    Acks, Cause, Command, CommandError, Context, Cut, Decode, Delivery, Fatal, IDENT_BYTES_MAX,
    Info, Login, Model, Probe, Reject, Reply, Setting, Time, fields,
};
use crate::kit::{checksum, framing};
use fault::Fault;
use field::value;
use packet::{Packet, give_up, without_crc};

const COMPRESSED: u8 = 0xff;
const COMPRESSED_HEADER_BYTES: usize = 3;
/// The longest line, and the longest line with a block behind it: a block fits into a record.
const FRAME_BYTES_MAX: usize = 62 * 1024;
/// The longest text to a driver.
const COMMAND_BYTES_MAX: usize = 1024;

const fn model(number: u16, vendor: &'static str, name: &'static str) -> Model {
    Model {
        number,
        vendor,
        name,
    }
}

/// The session state: the version that was agreed on, and the tachograph file under way.
#[derive(Default)]
pub(crate) struct Decoder {
    checked: bool,
    tachograph: Option<files::Tachograph>,
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "wialon",
        title: "Wialon IPS",
        source: "Gurtam: Wialon IPS 1.1, 2.0, 2.1",
        port: 5039,
        frame_bytes_max: FRAME_BYTES_MAX,
        version: 3,
        acks: Acks::Frame,
        settings: &[Setting::Password],
        commands: &["custom"],
        models: &[
            model(1, "Gurtam", "WiaTag"),
            model(2, "Gurtam", "Wialon IPS"),
            model(3, "Bitrek", "BI 310 CICADA"),
            model(4, "Escort", "TD-online"),
            model(5, "Omnicomm", "Wialon IPS mode"),
            model(6, "Smart System", "SmartTracker"),
            model(7, "Digital Matter", "Wialon IPS forwarder"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        if input.first() == Some(&COMPRESSED) {
            let Some(&[_, low, high]) = input.first_chunk::<COMPRESSED_HEADER_BYTES>() else {
                return Ok(Cut::Need(COMPRESSED_HEADER_BYTES));
            };
            let length = usize::from(u16::from_le_bytes([low, high]));
            return Ok(framing::exactly(input, COMPRESSED_HEADER_BYTES + length));
        }
        // the line's end was seen before its block was there
        let scanned = if files::has_block(input) { 0 } else { scanned };
        Ok(match framing::line(input, scanned, eof) {
            Cut::Frame(line) if input.get(line.saturating_sub(1)) == Some(&b'\n') => {
                let block = files::block_bytes(input.get(..line).unwrap_or_default());
                framing::exactly(input, line.saturating_add(block))
            }
            other => other,
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        if frame.first() == Some(&COMPRESSED) {
            return Err(Reject::new("compressed", "not read", 0));
        }
        let end = frame.iter().position(|byte| *byte == b'\n');
        let (line, block) = end
            .and_then(|end| frame.split_at_checked(end + 1))
            .unwrap_or((frame, &[]));
        let text = std::str::from_utf8(line)
            .map_err(|error| Reject::new("text", "not UTF-8", error.valid_up_to()))?;
        let text = text.trim_end_matches(['\r', '\n']);
        let unfit = Reject::new("packet", "not of the form #TYPE#body", 0);
        let (prefix, rest) = text.split_once('#').ok_or(unfit)?;
        let (kind, body) = rest.split_once('#').ok_or(unfit)?;
        let mut packet = Packet {
            kind,
            body,
            block,
            checked: self.checked,
        };
        if !prefix.is_empty() {
            let (version, ident) = prefix.split_once(';').unwrap_or(("", prefix));
            packet.checked = is_checked(version);
            cx.identify(Login::of(ident))?;
        }
        self.packet(packet, cx)
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
            .filter(|text| (1..=COMMAND_BYTES_MAX).contains(&text.len()))
            .filter(|text| {
                !text
                    .chars()
                    .any(|c| c.is_control() || matches!(c, '#' | ';'))
            })
            .ok_or(CommandError::BadProperties)?;
        let line = if self.checked {
            let crc = checksum::crc16_ibm(format!("{text};").as_bytes());
            format!("#M#{text};{crc:04X}\r\n")
        } else {
            format!("#M#{text}\r\n")
        };
        out.extend_from_slice(line.as_bytes());
        Ok(Delivery::Unconfirmed)
    }

    fn probe(head: &[u8]) -> Probe {
        const LOGIN: &[u8] = b"#L#";
        if head.starts_with(LOGIN) {
            return Probe::Yes;
        }
        if LOGIN.starts_with(head) {
            return Probe::More;
        }
        // as in a datagram: version and ident before the kind
        let mut parts = head.splitn(3, |byte| *byte == b'#');
        let before = parts.next().unwrap_or_default();
        let is_ident = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b';');
        if before.len() > IDENT_BYTES_MAX || before.is_empty() || !before.iter().all(is_ident) {
            return Probe::No;
        }
        match (parts.next(), parts.next()) {
            (None, _) => Probe::More,
            (Some(kind), None) if kind.len() <= 3 => Probe::More,
            (Some(b"D" | b"SD" | b"B" | b"M" | b"P"), Some(_)) => Probe::Yes,
            _ => Probe::No,
        }
    }
}

/// Does this version have a CRC?
fn is_checked(version: &str) -> bool {
    version.starts_with("2.")
}

/// Could it be a CRC: up to four hexadecimal digits?
fn is_crc(field: &str) -> bool {
    let field = field.trim();
    let digits = field.strip_prefix("0x").unwrap_or(field);
    (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Decoder {
    fn packet(&mut self, packet: Packet<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
        match packet.kind {
            "L" => {
                if let Some(checked) = login(packet, cx)? {
                    self.checked = checked;
                }
                Ok(())
            }
            "SD" | "D" => data(packet, cx),
            "B" => black_box(packet, cx),
            "P" => {
                cx.reply(Reply::open(&b"#AP#\r\n"[..]));
                Ok(())
            }
            "M" => driver_text(packet, cx),
            "I" => files::picture(packet, cx),
            "IT" => {
                if let Some(tachograph) = files::tachograph_head(packet, cx)? {
                    self.tachograph = Some(tachograph);
                }
                Ok(())
            }
            "T" => files::tachograph_block(packet, self.tachograph.as_ref(), cx),
            // no CRC covers the type, so where one is a duty an unknown one is a damaged one
            _ if packet.checked => Err(Reject::new("type", "not known", 1)),
            kind => {
                let now_ms = cx.now_ms;
                let mut message = cx.message(Time::Received(now_ms))?;
                message.push(fields::MESSAGE_TYPE, kind);
                message.push(fields::TEXT_MESSAGE, packet.body);
                Ok(())
            }
        }
    }
}

/// Reads a login; gives back whether a CRC is a duty from now on.
fn login(packet: Packet<'_>, cx: &mut Context<'_>) -> Result<Option<bool>, Reject> {
    let body = packet.body;
    let fields = body.split(';').count();
    // a connection that has agreed on the CRC does not go back
    let checked = packet.checked || is_checked(body) && fields > 2;
    if checked && without_crc(body, ';', fields == 4, true).is_err() {
        give_up("#AL#10\r\n".into(), Fault::Crc, cx);
        return Ok(None);
    }
    let mut parts = body.split(';').skip(usize::from(checked));
    let (ident, password) = match (parts.next(), parts.next(), parts.next()) {
        (Some(ident), Some(password), None) => (ident, password),
        (Some(ident), Some(password), Some(_)) if checked => (ident, password),
        _ => {
            give_up("#AL#0\r\n".into(), Fault::Structure, cx);
            return Ok(None);
        }
    };
    cx.identify(Login {
        ident,
        secret: value(password),
        ..Login::default()
    })?;
    cx.reply(
        Reply::admitted(&b"#AL#1\r\n"[..])
            .or(&b"#AL#0\r\n"[..])
            .or_by(Cause::Unknown, &b"#AL#0\r\n"[..])
            .or_by(Cause::Secret, &b"#AL#01\r\n"[..]),
    );
    Ok(Some(checked))
}

fn data(packet: Packet<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let Packet { kind, body, .. } = packet;
    let plain = if kind == "SD" {
        record::SHORT_FIELDS
    } else {
        record::FULL_FIELDS
    };
    // with more fields than there are, or fewer, only a CRC that fits is one
    let last = body.rsplit(';').next().unwrap_or_default();
    let has_crc = body.split(';').count() == plain + 1 && is_crc(last)
        || without_crc(body, ';', true, true).is_ok();
    let read = without_crc(body, ';', has_crc, packet.checked)
        .and_then(|body| record::Reading::parse(body, plain));
    match read {
        Ok(reading) => {
            reading.push(false, cx)?;
            cx.reply(Reply::stored(format!("#A{kind}#1\r\n")));
        }
        Err(fault) => give_up(format!("#A{kind}#{}\r\n", fault.code(kind)), fault, cx),
    }
    Ok(())
}

fn black_box(packet: Packet<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let body = packet.body;
    let last = body.rsplit('|').next().unwrap_or_default();
    let has_crc = !last.is_empty() && !last.contains(';');
    let body = match without_crc(body, '|', has_crc, packet.checked) {
        Ok(body) => body,
        Err(fault) => {
            give_up("#AB#\r\n".into(), fault, cx);
            return Ok(());
        }
    };
    let mut taken = 0u32;
    for item in body.split('|').filter(|item| !item.is_empty()) {
        match record::Reading::parse(item, record::FULL_FIELDS) {
            Ok(reading) => {
                reading.push(true, cx)?;
                taken += 1;
            }
            Err(fault) => cx.reject(fault.reject()),
        }
    }
    let answer = format!("#AB#{taken}\r\n");
    cx.reply(if taken == 0 {
        Reply::open(answer)
    } else {
        Reply::stored(answer)
    });
    Ok(())
}

fn driver_text(packet: Packet<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let body = packet.body;
    let text = match without_crc(body, ';', true, true) {
        Ok(text) => text,
        // a text without a CRC may hold a semicolon of its own
        Err(_) if !packet.checked => body,
        Err(fault) => {
            give_up("#AM#01\r\n".into(), fault, cx);
            return Ok(());
        }
    };
    let now_ms = cx.now_ms;
    let mut message = cx.message(Time::Received(now_ms))?;
    message.push(fields::MESSAGE_TYPE, "M");
    message.push(fields::TEXT_MESSAGE, text);
    drop(message);
    cx.reply(Reply::stored(&b"#AM#1\r\n"[..]));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_cut_after_its_line_wherever_the_stream_was_cut() {
        let decoder = Decoder::default();
        let wire = b"#I#4;0;0;NA;NA;a.jpg\r\n\n\n\n\n#P#\r\n";
        for scanned in [0, 10, 22] {
            assert_eq!(decoder.cut(wire, scanned, false), Ok(Cut::Frame(26)));
        }
        let head = wire.get(..24).expect("long enough");
        assert_eq!(decoder.cut(head, 23, false), Ok(Cut::Need(26)));
        assert_eq!(decoder.cut(b"\xff\x04", 0, false), Ok(Cut::Need(3)));
        assert_eq!(decoder.cut(b"\xff\x04\0", 0, false), Ok(Cut::Need(7)));
    }

    #[test]
    fn the_first_bytes_tell_the_protocol() {
        assert_eq!(Decoder::probe(b"#L"), Probe::More);
        assert_eq!(Decoder::probe(b"#L#70"), Probe::Yes);
        assert_eq!(Decoder::probe(b"##,imei"), Probe::No);
    }
}
