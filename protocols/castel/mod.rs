//! Castel (Sinocastel): IDD-212, IDD-213, IDD-218 and other OBD plugs, MPIP-620, over TCP.
//!
//! # Wire format
//!
//! | bytes | field |
//! |---|---|
//! | 2 | `@@`, or `$$` from older devices, which have no version |
//! | 2 | length of it all |
//! | 1 | version: 3, 4 the plugs, others the trackers of the MPIP family |
//! | 20 | ident, zeros behind |
//! | 2 | kind, high byte first |
//! | ... | content |
//! | 2 | CRC-16/X.25 of all before it |
//! | 2 | CR LF |
//!
//! Numbers are little-endian. Plugs begin most contents with the vehicle's state: time of the last
//! ignition, UTC time (4 each), total and trip meters (4 each), total fuel in 0.01 liters (4), trip fuel (2),
//! state bits (4), reserved (8). A place is day, month, year, hour, minute, second (1 each), latitude,
//! longitude in 1/3600000 degrees (4 each), cm/s (2), course in tenths (2), flags: 1 east, 2 north, 4 and 8
//! the fix's dimension, 10 and up satellites.
//!
//! | kind | content | answer |
//! |---|---|---|
//! | 1001 | state, count and place, versions, numbers of parameters | 9001: new address (none), time |
//! | 1002 | state, count and places: logout | |
//! | 1003 | heartbeat | 9003 |
//! | 4001 | history (1), state, count and places, count and rpm | |
//! | 4002 | state, seconds (2), count and PIDs (2 each), groups, bytes, values | |
//! | 4003 | state, acceleration | |
//! | 4004, 4005 | state, count and PIDs, and for 4005 values: supported, frozen (one byte before the count) | |
//! | 4006, 400B | state, one byte, count and trouble codes | |
//! | 4007 | number (4), state, count and places, count and alarms: new, kind, value (2), limit (2) | C007: number |
//! | 4008 | state, LAC, cell | |
//! | 400E, B001 | state, count and places (B001 behind a number of 2 bytes), fuel (400E) | |
//! | 5101 | place: asks for the satellites' data | |
//! | 4009 | UTC time (4), count and places, while asleep | |
//! | 401F | history (1), number (4), state, count and places, then id (2), length (2), value | |
//! | A002 | number (2), count, index (2), count, then tag (2), length (2), value | |
//!
//! The MPIP family: 4001 place, state (4), battery, meters (4), 3 bytes, LAC, cell, versions, answered 8001; 4206 the
//! same behind two bytes, history and count, answered 8206. Of `$$` 4201, 4202 and 4206 a place, 4204 eight with
//! 31 bytes behind each; 4001 is a place, answered 4001; 2001 a number,
//! UTC time (4), count and place, answered 1001.
//!
//! # Session
//!
//! Every frame names its device.
//!
//! # Source
//!
//! Sinocastel: "OBD Smart Communication Protocol" 4.47 and "Samples V4.21".
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.
//!
//! # Quirks
//!
//! - Values of PIDs are converted by the plug already: temperatures are degrees, rpm is rpm.
//! - A PID of unknown length ends the reading of its group; the rest is kept as bytes.
//! - Frames the other way round (9001 and the like) are seen on shared logs, and passed over.

mod alarms;
mod parameters;
mod parts;
mod plug;
mod tracker;
mod vehicle;

use crate::contract::{Acks, Context, Cut, Decode, Fatal, Info, Login, Model, Probe, Reject};
use crate::kit::cursor::Cursor;
use crate::kit::{checksum, framing};
use parts::{FRAME_BYTES_MIN, HEAD_BYTES, Head, IDENT_BYTES, SHORT, TAIL_BYTES};
use plug::plug;
use tracker::tracker;

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Sinocastel",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "castel",
        title: "Castel (Sinocastel)",
        source: "Sinocastel: OBD Smart Communication Protocol 4.47",
        port: 5086,
        version: 2,
        frame_bytes_max: 4096,
        acks: Acks::Frame,
        shared: true,
        models: &[
            model(1, "IDD-212G"),
            model(2, "IDD-212GL"),
            model(3, "IDD-212B"),
            model(4, "IDD-213G"),
            model(5, "IDD-213GL"),
            model(6, "IDD-213GD"),
            model(7, "IDD-213L"),
            model(8, "IDD-213N"),
            model(9, "IDD-213E"),
            model(10, "IDD-213W"),
            model(11, "D-218L"),
            model(12, "D-218LSA-B"),
            model(13, "PT-690"),
            model(14, "HT-770"),
            model(15, "MPIP-620"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, _: bool) -> Result<Cut, Fatal> {
        Ok(match input {
            [b'@', b'@', low, high, ..] | [b'$', b'$', low, high, ..] => {
                let length = usize::from(u16::from_le_bytes([*low, *high]));
                if length < FRAME_BYTES_MIN {
                    return Ok(Cut::Skip(2));
                }
                framing::exactly(input, length)
            }
            [b'@', b'@', ..] | [b'$', b'$', ..] | [b'@' | b'$'] => Cut::Need(HEAD_BYTES),
            _ => {
                let rest = input.get(1..).unwrap_or_default();
                let next = rest.iter().position(|byte| matches!(byte, b'@' | b'$'));
                Cut::Skip(next.map_or(input.len(), |at| at + 1))
            }
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let (covered, tail) = frame.split_last_chunk::<TAIL_BYTES>().ok_or(SHORT)?;
        let [low, high, ..] = *tail;
        if checksum::crc16_x25(covered) != u16::from_le_bytes([low, high]) {
            return Err(Reject::new(
                "crc",
                "the checksum does not fit",
                covered.len(),
            ));
        }
        let mut cursor = Cursor::new(covered);
        let mark = cursor.array::<2>().ok_or(SHORT)?;
        cursor.u16().ok_or(SHORT)?;
        let version = if mark == *b"@@" {
            Some(cursor.u8().ok_or(SHORT)?)
        } else {
            None
        };
        let name = cursor.array::<IDENT_BYTES>().ok_or(SHORT)?;
        let kind = cursor.u16().ok_or(SHORT)?;
        let text = std::str::from_utf8(&name)
            .map_err(|_| Reject::new("ident", "not printable", HEAD_BYTES))?;
        cx.identify(Login::of(text.trim_matches('\0')))?;
        let head = Head {
            version,
            name,
            kind,
        };
        match version {
            Some(3 | 4) => plug(&head, &mut cursor, cx),
            _ => tracker(&head, &mut cursor, cx),
        }
    }

    fn probe(head: &[u8]) -> Probe {
        // where others have digits or letters here the length is out of all bounds
        if let [_, _, low, high, ..] = head
            && usize::from(u16::from_le_bytes([*low, *high])) > Self::INFO.frame_bytes_max
        {
            return Probe::No;
        }
        let bytes = match head {
            [b'@', b'@', _, _, _, ident @ ..] | [b'$', b'$', _, _, ident @ ..] => {
                ident.get(..IDENT_BYTES)
            }
            [b'@', b'@', ..] | [b'$', b'$', ..] | [b'@' | b'$'] | [] => None,
            _ => return Probe::No,
        };
        let Some(ident) = bytes else {
            return Probe::More;
        };
        let end = ident
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(IDENT_BYTES);
        let (text, zeros) = ident.split_at(end);
        let fits = !text.is_empty()
            && text.iter().all(u8::is_ascii_graphic)
            && zeros.iter().all(|byte| *byte == 0);
        if fits { Probe::Yes } else { Probe::No }
    }
}
