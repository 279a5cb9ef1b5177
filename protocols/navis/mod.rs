//! Navtelecom: SIGNAL, SMART, over TCP: NTCB for the session, FLEX 1.0, 2.0 and 3.0 for telemetry.
//!
//! # Wire format
//!
//! Numbers are little-endian. NTCB:
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 4 | preamble | `@NTC` |
//! | 4, 4 | receiver, sender | |
//! | 2 | length | of the body |
//! | 1, 1 | checksums | exclusive or of the body; of the header's 15 bytes before |
//! | ... | body | |
//!
//! | body | answer |
//! |---|---|
//! | `*>S:` IMEI | `*<S` |
//! | `*>FLEX` B0, version, structure, bits, mask | `*<FLEX` B0, version, structure; of an unknown version the newest |
//! | `*>T` a record | `*<T`, its number (4) |
//! | `*>A` count (1), records | `*<A`, count |
//! | `*@...`, `*#...` the answer to a command | none |
//!
//! FLEX, as soon as it has been agreed on; the last byte is CRC-8 of all before it:
//!
//! | begin | content | answer |
//! |---|---|---|
//! | `~A` | count (1), records | `~A`, count, CRC-8 |
//! | `~T` | index (4), a record made at an event | `~T`, index, CRC-8 |
//! | `~C` | the present record | `~C`, CRC-8 |
//! | `~E` | count (1), further packets of length (2) and bytes | `~E`, count, CRC-8 |
//! | `~X` | length (2), index (4), a further packet | `~X`, index, CRC-8 |
//! | 7F | keep-alive | none |
//!
//! A record holds the fields whose bits are set in the mask (the highest bit of the first byte is field 1), in
//! order: see `flex`. A further packet begins with its kind: 0A holds a place, see `flex`. Records of NTCB, which are
//! of a fixed format each, are in `formats`.
//!
//! # Session
//!
//! IMEI -> FLEX with the mask -> records. The mask says how long a record is, so that without it nothing can be cut.
//! Older devices do not ask for FLEX: their records come in NTCB. An empty body keeps the connection alive.
//!
//! # Quirks
//!
//! - A record has two times: the event's and the last fix's (`position.timestamp`).
//! - Values that are not there have a number of their own (FF, 7FFF, 80, -1): they are left out.
//! - A record of NTCB whose format is not known is kept as bytes, and acknowledged.
//!
//! # Source
//!
//! Navtelecom: "NTCB protocol", "FLEX protocol 1.0, 2.0, 3.0", annex A.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.

mod flex;
mod formats;

use crate::contract::{
    Acks, Command, CommandError, Context, Cut, Decode, Delivery, Fatal, Info, Login, Model, Probe,
    Reject, Reply, Time, fields,
};
use crate::kit::cursor::Cursor;
use crate::kit::table::little_endian;
use crate::kit::{checksum, framing, hex};

const HEADER_BYTES: usize = 16;
const PREAMBLE: &[u8] = b"@NTC";
const KEEP_ALIVE: u8 = 0x7f;
/// The versions of FLEX, and of its records: 1.0, 2.0, 3.0.
const FLEX: [u8; 3] = [0x0a, 0x14, 0x1e];
/// The longest text of a command.
const COMMAND_BYTES_MAX: usize = 512;
/// Masks of 255 bits.
const MASK_BYTES_MAX: usize = 32;

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Navtelecom",
        name,
    }
}

/// The session state: which fields records hold, how long they are, and the ends' numbers.
#[derive(Default)]
pub(crate) struct Decoder {
    mask: [u8; MASK_BYTES_MAX],
    record_bytes: usize,
    receiver: [u8; 4],
    sender: [u8; 4],
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "navis",
        title: "Navtelecom (NTCB, FLEX)",
        source: "Navtelecom: NTCB protocol; FLEX protocol 1.0, 2.0, 3.0",
        port: 5019,
        frame_bytes_max: 160 * 1024,
        acks: Acks::Frame,
        models: &[
            model(1, "SIGNAL S-2115"),
            model(2, "SIGNAL S-2117"),
            model(3, "SIGNAL S-2550"),
            model(4, "SIGNAL S-2551"),
            model(5, "SIGNAL S-2651"),
            model(6, "SIGNAL S-2652"),
            model(7, "SMART S-2330"),
            model(8, "SMART S-2332"),
            model(9, "SMART S-2333"),
            model(10, "SMART S-2421"),
            model(11, "SMART S-2422"),
            model(12, "SMART S-2423"),
            model(13, "SMART S-2425"),
            model(14, "SMART S-2430"),
            model(15, "SMART S-2433"),
            model(16, "SMART S-2435"),
        ],
        commands: &["custom"],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, _: bool) -> Result<Cut, Fatal> {
        match input.first() {
            Some(&KEEP_ALIVE) => Ok(Cut::Skip(1)),
            Some(b'@') => {
                let Some(header) = input.first_chunk::<HEADER_BYTES>() else {
                    return Ok(Cut::Need(HEADER_BYTES));
                };
                if !header.starts_with(PREAMBLE) {
                    return Err(Fatal::new("preamble", "not @NTC", 0));
                }
                let [.., low, high, _, _] = *header;
                let body = usize::from(u16::from_le_bytes([low, high]));
                Ok(framing::exactly(input, HEADER_BYTES + body))
            }
            Some(b'~') => self.cut_flex(input),
            _ => Err(Fatal::new("preamble", "neither NTCB nor FLEX", 0)),
        }
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        if frame.first() == Some(&b'@') {
            self.ntcb(frame, cx)
        } else {
            self.flex(frame, cx)
        }
    }

    /// `custom` with the property `payload`: a text like `*!1Y`.
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
        out.extend(ntcb(self.sender, self.receiver, text.as_bytes()));
        Ok(Delivery::Answered(None))
    }

    fn probe(head: &[u8]) -> Probe {
        let known = head.len().min(PREAMBLE.len());
        match (head.get(..known), PREAMBLE.get(..known)) {
            (Some(head), Some(preamble)) if head != preamble => Probe::No,
            _ if known == PREAMBLE.len() => Probe::Yes,
            _ => Probe::More,
        }
    }
}

/// A frame of NTCB.
fn ntcb(receiver: [u8; 4], sender: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut frame = PREAMBLE.to_vec();
    frame.extend_from_slice(&receiver);
    frame.extend_from_slice(&sender);
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.push(checksum::xor(body));
    frame.push(checksum::xor(&frame));
    frame.extend_from_slice(body);
    frame
}

/// An answer of FLEX: its CRC-8 behind it.
fn with_crc(mut answer: Vec<u8>) -> Vec<u8> {
    answer.push(checksum::crc8_egts(&answer));
    answer
}

impl Decoder {
    fn cut_flex(&self, input: &[u8]) -> Result<Cut, Fatal> {
        let Some(kind) = input.get(1) else {
            return Ok(Cut::Need(2));
        };
        if self.record_bytes == 0 {
            return Err(Fatal::new("flex", "records before their mask", 0));
        }
        Ok(match kind {
            b'A' => match input.get(2) {
                Some(count) => framing::exactly(input, 4 + usize::from(*count) * self.record_bytes),
                None => Cut::Need(3),
            },
            b'T' => framing::exactly(input, 7 + self.record_bytes),
            b'C' => framing::exactly(input, 3 + self.record_bytes),
            b'X' => match input.get(2..4) {
                Some(length) => {
                    let length = usize::try_from(little_endian(length)).unwrap_or_default();
                    framing::exactly(input, 9 + length)
                }
                None => Cut::Need(4),
            },
            b'E' => {
                let Some(count) = input.get(2) else {
                    return Ok(Cut::Need(3));
                };
                let mut end = 3usize;
                for _ in 0..*count {
                    let Some(length) = input.get(end..end + 2) else {
                        return Ok(Cut::Need(end + 2));
                    };
                    end += 2 + usize::try_from(little_endian(length)).unwrap_or_default();
                }
                framing::exactly(input, end + 1)
            }
            _ => return Err(Fatal::new("flex", "not a known message", 1)),
        })
    }

    fn ntcb(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let short = Reject::new("ntcb", "cut short", frame.len());
        let (header, body) = frame.split_first_chunk::<HEADER_BYTES>().ok_or(short)?;
        let (of_header, summed) = header.split_last().ok_or(short)?;
        let of_body = summed.last().copied().ok_or(short)?;
        if checksum::xor(summed) != *of_header || checksum::xor(body) != of_body {
            return Err(Reject::new("checksum", "the checksum does not fit", 14));
        }
        let mut cursor = Cursor::new(header);
        cursor.take(4);
        let receiver: [u8; 4] = cursor.array().ok_or(short)?;
        let sender: [u8; 4] = cursor.array().ok_or(short)?;
        let answer = |body: &[u8]| ntcb(sender, receiver, body);
        if let Some(imei) = body.strip_prefix(b"*>S:") {
            let imei = std::str::from_utf8(imei)
                .map_err(|_| Reject::new("login", "not printable", HEADER_BYTES))?;
            cx.identify(Login::of(imei))?;
            cx.reply(Reply::admitted(answer(b"*<S")));
        } else if let Some(flex) = body.strip_prefix(b"*>FLEX") {
            let [0xb0, version, structure, bits, mask @ ..] = flex else {
                return Err(Reject::new("flex", "not understood", HEADER_BYTES));
            };
            let is_known = [version, structure].iter().all(|of| FLEX.contains(of));
            let mut whole = [0; MASK_BYTES_MAX];
            let mut left = usize::from(*bits);
            for (to, from) in whole.iter_mut().zip(mask) {
                // what is behind the last bit is no field
                *to = *from
                    & !(0xffu8
                        .checked_shr(u32::try_from(left).unwrap_or(8))
                        .unwrap_or(0));
                left = left.saturating_sub(8);
            }
            if mask.len() < usize::from(*bits).div_ceil(8) {
                return Err(Reject::new("flex", "the mask is cut short", HEADER_BYTES));
            }
            let bytes = flex::record_bytes(&whole);
            if bytes == 0 {
                return Err(Reject::new("flex", "a mask without fields", HEADER_BYTES));
            }
            // of an unknown version the newest is offered, and the device asks again
            let newest = FLEX.last().unwrap_or(version);
            let (version, structure) = if is_known {
                (self.mask, self.record_bytes) = (whole, bytes);
                (version, structure)
            } else {
                (newest, newest)
            };
            let mut agreed = b"*<FLEX".to_vec();
            agreed.extend_from_slice(&[0xb0, *version, *structure]);
            cx.reply(Reply::admitted(answer(&agreed)));
        } else if let Some(record) = body.strip_prefix(b"*>T")
            && let Some(index) = formats::index(Cursor::new(record))
        {
            records("T", 1, record, cx)?;
            cx.reply(Reply::stored(answer(&[&b"*<T"[..], &index].concat())));
        } else if let Some([count, listed @ ..]) = body.strip_prefix(b"*>A") {
            records("A", *count, listed, cx)?;
            cx.reply(Reply::stored(answer(&[b'*', b'<', b'A', *count])));
        } else if !body.is_empty() {
            let text = String::from_utf8_lossy(body);
            let is_answer = body.starts_with(b"*@") || body.starts_with(b"*#");
            let mut message = cx.message(Time::Received(cx.now_ms))?;
            message.push(fields::MESSAGE_TYPE, "NTCB");
            if is_answer {
                message.push(fields::COMMAND_RESULT, &*text);
            } else {
                message.push(fields::PAYLOAD_HEX, &*hex::encode(body));
            }
            drop(message);
            if is_answer {
                cx.command_reply(None, &text);
            }
        }
        (self.receiver, self.sender) = (receiver, sender);
        Ok(())
    }

    fn flex(&self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let short = Reject::new("flex", "cut short", frame.len());
        let (crc, summed) = frame.split_last().ok_or(short)?;
        if checksum::crc8_egts(summed) != *crc {
            return Err(Reject::new(
                "crc",
                "the checksum does not fit",
                summed.len(),
            ));
        }
        if self.record_bytes == 0 {
            return Err(Reject::new("flex", "records before their mask", 0));
        }
        let mut cursor = Cursor::new(summed);
        let begin: [u8; 2] = cursor.array().ok_or(short)?;
        let mut answer = begin.to_vec();
        let [_, kind] = begin;
        match kind {
            b'A' => {
                let count = cursor.u8().ok_or(short)?;
                for _ in 0..count {
                    let record = cursor.take(self.record_bytes).ok_or(short)?;
                    flex::record(&self.mask, record, "A", cx)?;
                }
                answer.push(count);
            }
            b'T' => {
                let index: [u8; 4] = cursor.array().ok_or(short)?;
                let record = cursor.take(self.record_bytes).ok_or(short)?;
                flex::record(&self.mask, record, "T", cx)?;
                answer.extend_from_slice(&index);
            }
            b'C' => {
                let record = cursor.take(self.record_bytes).ok_or(short)?;
                flex::record(&self.mask, record, "C", cx)?;
            }
            b'E' => {
                let count = cursor.u8().ok_or(short)?;
                for _ in 0..count {
                    let length = little_endian(cursor.take(2).ok_or(short)?);
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    further("E", cursor.take(length).ok_or(short)?, cx)?;
                }
                answer.push(count);
            }
            b'X' => {
                cursor.take(2).ok_or(short)?;
                let index: [u8; 4] = cursor.array().ok_or(short)?;
                further("X", cursor.rest(), cx)?;
                cursor = Cursor::new(&[]);
                answer.extend_from_slice(&index);
            }
            _ => return Err(Reject::new("flex", "not a known message", 1)),
        }
        if cursor.left() > 0 {
            return Err(Reject::new("flex", "more bytes than its records", 2));
        }
        cx.reply(Reply::stored(with_crc(answer)));
        Ok(())
    }
}

/// Records of NTCB; what cannot be read of them is kept as it is.
fn records(kind: &str, count: u8, bytes: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let read = cx.attempt(|cx| {
        let mut cursor = Cursor::new(bytes);
        for _ in 0..count {
            formats::record(kind, &mut cursor, cx)?;
        }
        Ok(())
    });
    match read {
        Ok(()) => Ok(()),
        Err(_) => kept(kind, bytes, cx),
    }
}

/// A packet of another structure than the mask's.
fn further(kind: &str, bytes: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let read = cx.attempt(|cx| flex::placed(kind, bytes, cx));
    match read {
        Ok(()) => Ok(()),
        Err(_) => kept(kind, bytes, cx),
    }
}

/// Bytes that are not understood, as they are.
fn kept(kind: &str, bytes: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, kind);
    message.push(fields::PAYLOAD_HEX, &*hex::encode(bytes));
    Ok(())
}
