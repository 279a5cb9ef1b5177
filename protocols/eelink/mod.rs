//! Eelink: TK115, TK116, TK119, TK319, GPT06, K9 and others of Shenzhen Eelink, over TCP.
//!
//! # Wire format
//!
//! | bytes | field |
//! |---|---|
//! | 2 | 67 67 |
//! | 1 | kind |
//! | 2 | length of what follows |
//! | 2 | sequence number, given back in the answer |
//! | ... | content |
//!
//! | kind | content |
//! |---|---|
//! | 01 | login: IMEI in BCD (8), language, zone in quarters of an hour, versions |
//! | 03, 07 | heartbeat: status (2), analog inputs; 07 longer than 6 bytes is vehicle data as 17 |
//! | 02, 04, 05, 06 | the first edition's position, alarm, status, message |
//! | 12 | place, status (2), battery mV (2), two inputs mV (2 each), meters (4), GSM and GNSS counters (2 each), steps (2), walking time (2), temperature in 1/256 (2), humidity in tenths (2), lux in 1/256 (4), CO2 ppm (4), second temperature in 1/16 (2), beacons |
//! | 14, 15 | place, kind of warning or report (1), status (2) |
//! | 16 | place, telephone (21), text |
//! | 17 | time (4), then PID (1) and value (4) of OBD-II, 89 to 8B of the maker |
//! | 13, 18, 19 | place, and what is not known |
//! | 80, 81 | answer to an instruction: its kind (1), its number (4), text; one of `Lat:`, `Lon:`, `Course:`, `Speed:`, `DateTime:` is a place |
//!
//! A place is a time (4), a mask, and by its bits: 1 latitude, longitude (4 each, 1/1800000 degrees),
//! altitude, km/h, course (2 each), satellites; 2 MCC, MNC, LAC (2 each), cell (4), level; 4, 8 LAC, cell, level
//! of neighbours; 10, 20, 40 Wi-Fi (6) and dBm; 80 the network's technology, and a count: bits 0 to 2 LTE
//! cells, 3 to 6 access points.
//!
//! The first edition's place: time (4), latitude, longitude (4 each), km/h (1), course (2), MCC, MNC, LAC
//! (2 each), cell (3), and 1 when the fix is valid.
//!
//! Status: 1 fix, 2 and 4 ignition known and on, 8 and 10 can be armed and is, 20 and 40 has a
//! relay and its state, 80 and 100 can be charged and is, 200 moves, 400 the receiver is on, 1000 and up
//! four inputs.
//!
//! Made for UDP, and seen over TCP as well: `EL`, length (2), sum (2), IMEI (8) around any
//! number of packages. The sum rolls left by one bit before each byte is added.
//!
//! # Session
//!
//! The login names the device and is answered with the time, version 1 and 0 (no new parameters wanted). All
//! others but the first edition's position are answered with their kind and number. In `EL` every package names
//! its device and every answer is wrapped alike.
//!
//! # Source
//!
//! Eelink: "Device Protocol V2.1", "Terminal Communication Protocol, Second Edition, V1.8.5".
//!
//! # Quirks
//!
//! - The relay's bit means the opposite in the two editions.
//! - The level of a cell is 110 above its dBm up to 63, and dBm as such above.

mod first;
mod kinds;
mod parts;
mod placed;
mod state;

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, Probe, Reject, Reply, Time, fields,
};
use crate::kit::cursor::Cursor;
use crate::kit::{bcd, framing, hex};
use first::first_edition;
use kinds::{
    EXTENDED_HEARTBEAT, FIRST_ALARM, FIRST_MESSAGE, FIRST_POSITION, FIRST_STATUS, HEARTBEAT,
    INSTRUCTION, LAST_PLACED, LOGIN, MESSAGE, PLACED, POSITION, REPORT, VEHICLE, WARNING,
};
use parts::{SHORT, begin};
use placed::placed;
use state::{heartbeat, instruction, vehicle};

const HEAD_BYTES: usize = 5;
const MARK: &[u8] = &[0x67, 0x67];
const WRAP: &[u8] = b"EL";
const WRAP_HEAD_BYTES: usize = 4;
const IMEI_BYTES: usize = 8;

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Eelink",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "eelink",
        title: "Eelink",
        source: "Eelink: Device Protocol V2.1",
        port: 5064,
        version: 2,
        frame_bytes_max: 4096,
        acks: Acks::Frame,
        models: &[
            model(1, "TK115"),
            model(2, "TK116"),
            model(3, "TK119"),
            model(4, "TK121"),
            model(5, "TK319"),
            model(6, "TK419"),
            model(7, "GPT06"),
            model(8, "GPT09"),
            model(9, "GPT12"),
            model(10, "GPT18"),
            model(11, "GPT26"),
            model(12, "GPT46"),
            model(13, "GPT49"),
            model(14, "K6"),
            model(15, "K9"),
            model(16, "K9+"),
            model(17, "KT30"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, eof: bool) -> Result<Cut, Fatal> {
        let length = |at: usize| {
            let two = input.get(at..)?.first_chunk::<2>()?;
            Some(usize::from(u16::from_be_bytes(*two)))
        };
        if input.starts_with(MARK) {
            return Ok(match length(3) {
                Some(length) => framing::exactly(input, HEAD_BYTES + length),
                None => Cut::Need(HEAD_BYTES),
            });
        }
        if input.starts_with(WRAP) {
            return Ok(match length(2) {
                Some(length) => framing::exactly(input, WRAP_HEAD_BYTES + length),
                None => Cut::Need(WRAP_HEAD_BYTES),
            });
        }
        if !eof && (MARK.starts_with(input) || WRAP.starts_with(input)) {
            return Ok(Cut::Need(2));
        }
        let marks = [framing::find(input, MARK), framing::find(input, WRAP)];
        let next = marks.into_iter().flatten().min();
        // the last byte may be the first of a mark
        let end = match input.last() {
            Some(b'g' | b'E') if input.len() > 1 => input.len() - 1,
            _ => input.len(),
        };
        Ok(Cut::Skip(next.unwrap_or(end).max(1)))
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let Some(rest) = frame.strip_prefix(WRAP) else {
            return package(frame, None, cx);
        };
        let mut cursor = Cursor::new(rest);
        cursor.u16().ok_or(SHORT)?;
        let sum = cursor.u16().ok_or(SHORT)?;
        if rolled_sum(cursor.rest()) != sum {
            return Err(Reject::new("sum", "the checksum does not fit", 4));
        }
        let imei = cursor.array::<IMEI_BYTES>().ok_or(SHORT)?;
        cx.identify(Login::of(&ident(imei)?))?;
        while cursor.left() > 0 {
            let length = Cursor::new(cursor.rest().get(3..).ok_or(SHORT)?).u16();
            let whole = HEAD_BYTES + usize::from(length.ok_or(SHORT)?);
            package(cursor.take(whole).ok_or(SHORT)?, Some(&imei), cx)?;
        }
        Ok(())
    }

    fn probe(head: &[u8]) -> Probe {
        match head {
            [0x67, 0x67, LOGIN, ..] => Probe::Yes,
            [b'E', b'L', _, _, _, _, ..] if head.len() > 16 => {
                if head.get(14..16) == Some(MARK) {
                    Probe::Yes
                } else {
                    Probe::No
                }
            }
            [b'E', b'L', ..] | [0x67 | b'E'] | [0x67, 0x67] | [] => Probe::More,
            // any other kind may be the first after a reconnection
            [0x67, 0x67, kind, ..] if *kind < 0x20 => Probe::Yes,
            _ => Probe::No,
        }
    }
}

/// Each byte added after the sum has rolled left by one bit.
fn rolled_sum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0u16, |sum, byte| {
        sum.rotate_left(1).wrapping_add(u16::from(*byte))
    })
}

fn ident(imei: [u8; IMEI_BYTES]) -> Result<String, Reject> {
    let mut digits = bcd::text(&imei).ok_or(Reject::new("ident", "the IMEI is no number", 0))?;
    if digits.starts_with('0') {
        digits.remove(0);
    }
    Ok(digits)
}

/// The answer to a package, wrapped as the package was.
fn answer(kind: u8, number: u16, content: &[u8], imei: Option<&[u8; IMEI_BYTES]>) -> Vec<u8> {
    let length = u16::try_from(content.len() + 2).unwrap_or(u16::MAX);
    let mut package = vec![0x67, 0x67, kind];
    package.extend(length.to_be_bytes());
    package.extend(number.to_be_bytes());
    package.extend(content);
    let Some(imei) = imei else {
        return package;
    };
    package.splice(..0, *imei);
    let length = u16::try_from(package.len() + 2).unwrap_or(u16::MAX);
    let mut wrapped = WRAP.to_vec();
    wrapped.extend(length.to_be_bytes());
    wrapped.extend(rolled_sum(&package).to_be_bytes());
    wrapped.extend(package);
    wrapped
}

fn package(
    package: &[u8],
    imei: Option<&[u8; IMEI_BYTES]>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let mut cursor = Cursor::new(package.strip_prefix(MARK).ok_or(SHORT)?);
    let kind = cursor.u8().ok_or(SHORT)?;
    cursor.u16().ok_or(SHORT)?;
    let number = cursor.u16().ok_or(SHORT)?;
    match kind {
        LOGIN => {
            let own = cursor.array::<IMEI_BYTES>().ok_or(SHORT)?;
            cx.identify(Login::of(&ident(own)?))?;
            let seconds = u32::try_from(cx.now_ms / 1000).unwrap_or(u32::MAX);
            let mut content = seconds.to_be_bytes().to_vec();
            content.extend([0, 1, 0]);
            let reply = answer(kind, number, &content, imei);
            cx.reply(Reply::admitted(reply));
            return Ok(());
        }
        // the oldest have nothing in it
        HEARTBEAT if cursor.left() < 2 => {}
        HEARTBEAT => heartbeat(kind, &mut cursor, cx)?,
        EXTENDED_HEARTBEAT if cursor.left() < 9 => heartbeat(kind, &mut cursor, cx)?,
        EXTENDED_HEARTBEAT | VEHICLE => vehicle(kind, number, &mut cursor, cx)?,
        FIRST_POSITION | FIRST_ALARM | FIRST_STATUS | FIRST_MESSAGE => {
            first_edition(kind, number, &mut cursor, cx)?;
        }
        POSITION | WARNING | REPORT | MESSAGE => placed(kind, number, &mut cursor, cx)?,
        PLACED.. if kind <= LAST_PLACED => {
            // kinds of the bus that begin with a place, or have none
            if cx
                .attempt(|cx| placed(kind, number, &mut cursor.clone(), cx))
                .is_err()
            {
                unknown(kind, number, &cursor, cx)?;
            }
        }
        INSTRUCTION.. => instruction(kind, number, &mut cursor, cx)?,
        _ => unknown(kind, number, &cursor, cx)?,
    }
    if kind != FIRST_POSITION && kind <= INSTRUCTION {
        cx.reply(Reply::stored(answer(kind, number, &[], imei)));
    }
    Ok(())
}

/// A kind that is not understood is kept whole.
fn unknown(kind: u8, number: u16, cursor: &Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut message = begin(kind, number, Time::Received(cx.now_ms), cx)?;
    message.push(fields::PAYLOAD_HEX, &*hex::encode(cursor.rest()));
    Ok(())
}
