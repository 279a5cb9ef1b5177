//! BCE: FM and FMS trackers of the Lithuanian maker (now Xirgo Global).
//!
//! # Wire format
//!
//! A connection begins with the line `#BCE#` CR LF. Then packets, binary, numbers little-endian:
//!
//! | bytes | field |
//! |---|---|
//! | 8 | IMEI as a number |
//! | 2 | length of a block |
//! | n | the block: service (1), content; more blocks with their lengths may follow |
//! | 1 | sum of all bytes before |
//!
//! | service | content |
//! |---|---|
//! | A5 | key (1), records from memory: waits for the server's 19 with the key's lower seven bits |
//! | A0 | 0, records as they come: not answered |
//! | C1 | the answer to 41, which sets an output |
//!
//! A record is its length (1), type (4 bits) and time (28 bits, 2 s since 2008-01-01), and its data. Type 7 has
//! masks of two bytes, each saying by bit 15 that one more follows, and then what their bits name:
//!
//! | mask.bit | data |
//! |---|---|
//! | 1.0 | longitude, latitude (floats), km/h, satellites and HDOP (4 bits each), course 2 degrees, metres (2), metres since the record before (float) |
//! | 1.1 | inputs (2) |
//! | 1.2-9 | analog inputs 1 to 8 (2) |
//! | 1.10, 11 | counters 1 and 2, 3 and 4 (2 each) |
//! | 1.12, 13 | filtered analog inputs (2) |
//! | 1.14 | MCC (2), MNC (1), LAC (2), cell (2), timing advance (1), -dBm (1) |
//! | 2.0-14 | J1939, as on the bus: wheel speed, accelerator, fuel used, fuel level, rpm, hours, distance, coolant, second fuel level, load, service distance, tachograph (8), ambient air, trailer (8), fuel rate |
//! | 3.0-5 | J1939: fuel economy, fuel used (4), axle (3), lamp (1), trouble codes (20), 2 bytes |
//! | 3.6, 7, 8 | 1-Wire: key (8), 0.1 K (2), humidity (2) |
//! | 3.9, 10 | liquid levels 1 and 2, 3 and 4: level (2), celsius (1) |
//! | 3.11-14 | J1979 (21), its trouble codes (20), J1708 (9), driving quality (21) |
//! | 4.0, 1 | 4 bytes, liquid levels (30) |
//! | 4.2 | litres since the record before (float) |
//! | 4.3, 4, 5 | axles (10), 1 byte, 2 bytes |
//! | 4.6 | most acceleration, braking, cornering, 0.02 g (1 each) |
//! | 4.7 | 16 bytes |
//! | 4.8 | four 1-Wire sensors: 0.1 K (2), id (8) |
//! | 4.9, 10 | driver cards (16 each), tachograph's distance, 5 m |
//!
//! What has no meaning yet is kept as `custom.param.` 16 * mask + bit. Records of other types are kept as
//! they are.
//!
//! # Session
//!
//! Every packet names its device. The greeting is not answered. Each A5 is answered once its records are
//! stored; one that is not answered is sent again under a new key.
//!
//! # Source
//!
//! BCE: "Simplified communication protocol of BCE generic devices" and "Data type 7", revision 4; SAE J1939-71 for
//! the values of the bus; captures.
//!
//! # Quirks
//!
//! - Where there is no fix the floats are out of range; such a record has no place.
//! - The counter of the time begins anew every 2^29 seconds, first in January 2025: the newest time that is not
//!   ahead of the server's is meant.
//! - Where nothing is wired to the bus all its values are zero, and the coolant reads -40.
//! - The last block's end is where a sum fits: a length is read there only where a service of the table follows.

mod bus;
mod kept;
mod record;

use crate::contract::{
    Acks, Command, CommandError, Context, Cut, Decode, Delivery, Fatal, Info, Login, Model, Probe,
    Reject, Reply, Time, fields,
};
use crate::kit::cursor::Cursor;
use crate::kit::{checksum, framing, hex};

const GREETING: &[u8] = b"#BCE#\r\n";
const IMEI_BYTES: usize = 8;
/// One more than the greatest number of fifteen digits.
const IMEI_END: u64 = 1_000_000_000_000_000;
const STACK: u8 = 0xa5;
const STACK_CONFIRM: u8 = 0x19;
const LIVE: u8 = 0xa0;
const OUTPUT_ANSWER: u8 = 0xc1;
/// The type of a record that has masks.
const MASKED: u32 = 7;
/// 2008-01-01, unix seconds.
const EPOCH: i64 = 1_199_145_600;
const COMMAND_BYTES_MAX: usize = 512;

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "BCE",
        name,
    }
}

/// The session state: whom a command is addressed to.
#[derive(Default)]
pub(crate) struct Decoder {
    imei: Option<[u8; IMEI_BYTES]>,
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "bce",
        title: "BCE",
        source: "BCE: Simplified communication protocol of generic devices; Data type 7, revision 4",
        port: 5080,
        frame_bytes_max: 16 * 1024,
        acks: Acks::Frame,
        models: &[
            model(1, "FM-500"),
            model(2, "FM-500 Blue"),
            model(3, "FM-500 Light"),
            model(4, "FMS-500"),
            model(5, "FMS-500 ONE"),
            model(6, "FMS-500 StCAN"),
        ],
        commands: &["custom"],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, eof: bool) -> Result<Cut, Fatal> {
        if input.starts_with(GREETING) {
            return Ok(Cut::Skip(GREETING.len()));
        }
        if GREETING.starts_with(input) {
            return Ok(if eof {
                Cut::Skip(input.len())
            } else {
                Cut::Need(GREETING.len())
            });
        }
        let Some(imei) = input.first_chunk::<IMEI_BYTES>() else {
            return Ok(if eof {
                Cut::Frame(input.len())
            } else {
                Cut::Need(IMEI_BYTES)
            });
        };
        if u64::from_le_bytes(*imei) >= IMEI_END {
            return Err(Fatal::new("imei", "no number of fifteen digits", 0));
        }
        let mut at = IMEI_BYTES;
        loop {
            let Some(length) = input.get(at..).and_then(<[u8]>::first_chunk) else {
                return Ok(ended(input, at + 2, eof));
            };
            at += 2 + usize::from(u16::from_le_bytes(*length));
            let (Some(covered), Some(&sum)) = (input.get(..at), input.get(at)) else {
                return Ok(ended(input, at + 1, eof));
            };
            if checksum::sum(covered) == sum {
                return Ok(Cut::Frame(at + 1));
            }
            // another block, or a packet that was damaged
            match input.get(at + 2) {
                Some(&(STACK | LIVE | OUTPUT_ANSWER)) => {}
                Some(_) => return Ok(Cut::Frame(at + 1)),
                None => return Ok(ended(input, at + 3, eof)),
            }
        }
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let short = Reject::new("packet", "cut short", frame.len());
        let (&sum, covered) = frame.split_last().ok_or(short)?;
        if checksum::sum(covered) != sum {
            return Err(Reject::new("checksum", "does not fit", covered.len()));
        }
        let (imei, mut blocks) = covered.split_first_chunk::<IMEI_BYTES>().ok_or(short)?;
        cx.identify(Login::of(&format!("{:015}", u64::from_le_bytes(*imei))))?;
        while let Some((length, rest)) = blocks.split_first_chunk() {
            let length = usize::from(u16::from_le_bytes(*length));
            let (content, rest) = rest.split_at_checked(length).ok_or(short)?;
            blocks = rest;
            block(*imei, content, cx)?;
        }
        self.imei = Some(*imei);
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
        let block = command
            .properties
            .get("payload")
            .and_then(serde_json::Value::as_str)
            .and_then(hex::decode)
            .filter(|block| (1..=COMMAND_BYTES_MAX).contains(&block.len()))
            .ok_or(CommandError::BadProperties)?;
        let imei = self.imei.ok_or(CommandError::NotLoggedIn)?;
        out.extend_from_slice(&packet(imei, &block));
        Ok(Delivery::Answered(None))
    }

    fn probe(head: &[u8]) -> Probe {
        if head.starts_with(GREETING) {
            return Probe::Yes;
        }
        if GREETING.starts_with(head) {
            return Probe::More;
        }
        // a tracker that does not greet: fifteen digits, a length, a service
        match head.split_first_chunk::<IMEI_BYTES>() {
            Some((imei, rest)) => match rest {
                _ if !(IMEI_END / 10..IMEI_END).contains(&u64::from_le_bytes(*imei)) => Probe::No,
                [_, _, STACK | LIVE | OUTPUT_ANSWER, ..] => Probe::Yes,
                [_, _, _, ..] => Probe::No,
                _ => Probe::More,
            },
            // the highest bytes of such a number are small
            None if matches!(head.get(6..), Some([4..=0xff, ..])) => Probe::No,
            None => Probe::More,
        }
    }
}

/// So much is needed; at the end of the stream what is there is a frame.
fn ended(input: &[u8], need: usize, eof: bool) -> Cut {
    if eof {
        Cut::Frame(input.len())
    } else {
        framing::exactly(input, need.max(input.len() + 1))
    }
}

fn packet(imei: [u8; IMEI_BYTES], block: &[u8]) -> Vec<u8> {
    let mut packet = imei.to_vec();
    let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
    packet.extend_from_slice(&length.to_le_bytes());
    packet.extend_from_slice(block);
    packet.push(checksum::sum(&packet));
    packet
}

fn block(imei: [u8; IMEI_BYTES], block: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    match block {
        [STACK, key, records @ ..] => {
            stack(records, cx)?;
            cx.reply(Reply::stored(packet(imei, &[STACK_CONFIRM, key & 0x7f])));
            Ok(())
        }
        [LIVE, _, records @ ..] => stack(records, cx),
        [service, content @ ..] => {
            let text = hex::encode(content);
            let mut message = cx.message(Time::Received(cx.now_ms))?;
            message.push(fields::MESSAGE_TYPE, &*format!("{service:02X}"));
            if *service == OUTPUT_ANSWER {
                message.push(fields::COMMAND_RESULT, &*text);
                drop(message);
                cx.command_reply(None, &text);
            } else {
                message.push(fields::PAYLOAD_HEX, &*text);
            }
            Ok(())
        }
        [] => Ok(()),
    }
}

/// The time of a counter that has begun anew each 17 years: the newest that is not ahead of the server's.
fn newest(counter: u32, now_ms: i64) -> i64 {
    const PERIOD: i64 = 1 << 29;
    const AHEAD_MAX: i64 = 86_400;
    let seconds = EPOCH + i64::from(counter) * 2;
    let latest = now_ms.div_euclid(1000).saturating_add(AHEAD_MAX);
    let times = latest.saturating_sub(seconds).div_euclid(PERIOD).max(0);
    (seconds + times.min(64) * PERIOD) * 1000
}

/// Records: those of masks first, then what else the tracker noted meanwhile. Their order says
/// nothing, each has its time.
fn stack(records: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    for masked in [true, false] {
        let mut cursor = Cursor::new(records);
        while let Some(length) = cursor.u8() {
            let Some(content) = cursor.take(usize::from(length)) else {
                // what passed its sum and does not fit is kept, so that it is not sent for ever
                if !masked {
                    let mut message = cx.message(Time::Received(cx.now_ms))?;
                    message.push(fields::PAYLOAD_HEX, &*hex::encode(cursor.rest()));
                }
                break;
            };
            let mut content = Cursor::new(content);
            let head = content.u32_le();
            if head.is_some_and(|head| head & 15 == MASKED) != masked {
                continue;
            }
            let time = head.map_or(Time::Received(cx.now_ms), |head| {
                Time::Device(newest(head >> 4, cx.now_ms))
            });
            let mut message = cx.message(time)?;
            if masked {
                message.push(fields::MESSAGE_TYPE, "7");
                record::push(&mut content, &mut message);
            } else if let Some(head) = head {
                message.push(fields::MESSAGE_TYPE, &*(head & 15).to_string());
            }
            if content.left() > 0 {
                message.push(fields::PAYLOAD_HEX, &*hex::encode(content.rest()));
            }
        }
    }
    Ok(())
}
