//! Totem: AT07, AT09 and others, over TCP.
//!
//! # Wire format
//!
//! `$$`, the length of it all, and then one of five forms.
//!
//! | form | length | then |
//! |---|---|---|
//! | sentence | two hex digits | IMEI, bar, alarm (2), `$GPRMC,...`, PDOP, HDOP, VDOP, 12 bits of inputs, YYYYMMDDHHMMSS, charging (1) and battery (3) and supply (4) in 0.01 V, inputs, LAC and cell, temperature, km, number; bars between; CRC |
//! | barred | two hex digits | IMEI, bar, alarm (2), DDMMYYHHMMSS, A or V, latitude, N, longitude, E, knots, course, HDOP, 12 bits of inputs, charging (1) and battery in 0.1 V and supply (2 each), input, LAC and cell, temperature, km, number; bars between; CRC |
//! | short | two hex digits | IMEI, bar, alarm (2), DDMMYYHHMMSS, inputs (4), battery (3), supply (2), two inputs (4), two temperatures (3), LAC, cell (4), A or V, satellites (2), course (3), speed (3), PDOP (4), km (7), latitude, N, longitude, E, number (4), CRC |
//! | compact | four digits | alarm (2), IMEI, bar, status (8), YYMMDDHHMMSS, battery and supply (2 each; or battery alone: 3), inputs and temperatures (4 each), LAC, cell (4), satellites, signal (2), course, km/h (3), HDOP (4), km (7), latitude, N, longitude, E, number (4), sum |
//! | listed | four digits | E2 to E6, IMEI, bar, YYMMDDHHMMSS, longitude, latitude, others, bar, sum |
//!
//! The CRC is CRC-16/MODBUS of all before it in four hex digits, the sum an exclusive or in two. The compact form
//! has between supply and LAC one input; or it and two temperatures; or four inputs and two temperatures; and
//! behind the cell, in some devices, MNC (2) and MCC (3).
//!
//! Status of the compact form, highest bit first: SOS, ignition, overspeed, charging, left and entered a
//! fence, antenna cut, one unknown, three outputs; bit 14 is the fix, or bit 12 in devices with temperatures.
//!
//! # Session
//!
//! Every frame names its device. The forms with a CRC are answered `ACK OK`, the others `$$0014AA`, the
//! number, and the sum.
//!
//! # Source
//!
//! Totem Technology: "AT07 communication protocol", "AT09 communication protocol V2", and captures.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.
//!
//! # Quirks
//!
//! - The listed form gives the longitude first.
//! - The listed form has no number: the four characters before the sum are given back in its place.

mod first;
mod later;
mod parts;

use crate::contract::{Acks, Context, Cut, Decode, Fatal, Info, Model, Probe, Reject};
use crate::kit::framing;
use first::with_crc;
use later::with_sum;
use parts::SHORT;

const MARK: &[u8] = b"$$";

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Totem",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

/// How long the frame is and where its length ends.
fn length(input: &[u8]) -> Option<(usize, usize)> {
    let (count, radix) = if input.get(2) == Some(&b'0') {
        (4, 10)
    } else {
        (2, 16)
    };
    let text = std::str::from_utf8(input.get(2..2 + count)?).ok()?;
    let length = usize::from_str_radix(text, radix).ok()?;
    Some((length, 2 + count))
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "totem",
        title: "Totem",
        source: "Totem: AT07 and AT09 communication protocols",
        port: 5007,
        version: 2,
        frame_bytes_max: 1024,
        acks: Acks::Frame,
        shared: true,
        models: &[
            model(1, "AT05"),
            model(2, "AT06"),
            model(3, "AT07"),
            model(4, "AT09"),
            model(5, "AT10"),
            model(6, "TK510"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, eof: bool) -> Result<Cut, Fatal> {
        if !input.starts_with(MARK) {
            if input == b"$" && !eof {
                return Ok(Cut::Need(2));
            }
            let rest = input.get(1..).unwrap_or_default();
            let next = rest.iter().position(|byte| *byte == b'$');
            return Ok(Cut::Skip(next.map_or(input.len(), |at| at + 1)));
        }
        if input.len() < 6 {
            return Ok(Cut::Need(6));
        }
        Ok(match length(input) {
            Some((length, _)) if length > 8 => framing::exactly(input, length),
            _ => Cut::Skip(2),
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let text = std::str::from_utf8(frame)
            .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
        let (_, start) = length(frame).ok_or(SHORT)?;
        if start == 4 {
            with_crc(text, cx)
        } else {
            with_sum(text, cx)
        }
    }

    fn probe(head: &[u8]) -> Probe {
        if head.len() < 22 {
            return if head.starts_with(MARK) || MARK.starts_with(head) {
                Probe::More
            } else {
                Probe::No
            };
        }
        let Some((_, start)) = length(head).filter(|_| head.starts_with(MARK)) else {
            return Probe::No;
        };
        let from = if start == 4 { 4 } else { 8 };
        let imei = head.get(from..from + 14).unwrap_or_default();
        if imei.iter().all(u8::is_ascii_digit) {
            Probe::Yes
        } else {
            Probe::No
        }
    }
}
