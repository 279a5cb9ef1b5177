//! Suntech: SA200, ST200, ST300, ST340, ST390, ST410, ST480, ST600, ST910 and the universal devices
//! (ST4300, ST4340, ST8300 and later), over TCP.
//!
//! # Wire format
//!
//! Text: fields separated by `;`, ended by CR. The first is the kind of report, for the older devices
//! behind their model: `ST300STT`. Kinds: STT state, ALT alert, EMG emergency, EVT event, UEX data of
//! the serial port, ALV keep-alive, HTE travel, CMD answer to a command, BLE and BSA beacons, CRR crash.
//!
//! | field of the older devices | meaning |
//! |---|---|
//! | HDR, DEV_ID, \[MODEL\], SW_VER | SA200 has no MODEL |
//! | DATE, TIME | `YYYYMMDD`, `HH:MM:SS`, UTC |
//! | CELL | ST600: cell (hex), MCC, MNC, LAC (hex), level |
//! | LAT, LON, SPD, CRS | degrees with their sign, km/h, degrees |
//! | SATT, FIX | satellites; 1: the fix is valid |
//! | DIST, PWR_VOLT | meters, volts |
//! | I/O | ignition, inputs 1 to 3, outputs 1 and 2, a digit each |
//! | MODE or the id of what happened, MSG_NUM | |
//! | H_METER, BCK_VOLT, MSG_TYPE | minutes, volts, 0: from memory; only where configured |
//! | ADC, driver, sensors `id:celsius`, cell | only where configured |
//!
//! Universal: `KIND;DEV_ID;MASK;MODEL;SW_VER;MSG_TYPE;DATE;TIME;CELL;MCC;MNC;LAC;level;LAT;LON;SPD;CRS;`
//! `SATT;FIX;IN;OUT;...`, inputs and outputs as binary digits with the ignition last; a bit of the mask
//! for each field says whether it is there.
//!
//! Data of the serial port stand behind their length and before the low byte of their sum, and may
//! hold anything, a line's end too.
//!
//! Binary (universal): `81` STT or `82` ALT, length (2), DEV_ID (5, BCD), MASK (3), then the same fields.
//! A frame that begins with 02 (zip) has its length behind it and 03 at its end; it is cut and rejected.
//!
//! # Session
//!
//! Every frame names its device. Nothing is answered.
//!
//! # Source
//!
//! Suntech International: "ST300/340 Operation Manual" 1.41, "ST310U Operation Manual" 1.08, "Universal
//! Reporting Guide" 1.62; captures.
//!
//! # Quirks
//!
//! - Which of the optional fields are there is a matter of the configuration and of no field; they are
//!   told apart by their form.
//! - A serial port's data whose sum does not fit are left out.

mod binary;
mod legacy;
mod report;
mod serial;
mod text;
mod universal;

use crate::contract::{Acks, Context, Cut, Decode, Fatal, Info, Model, Probe, Reject};
use crate::kit::{bcd, framing};

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Suntech",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "suntech",
        title: "Suntech",
        source: "Suntech: Operation Manuals, Universal Reporting Guide 1.62",
        port: 5011,
        version: 2,
        frame_bytes_max: 4096,
        acks: Acks::None,
        models: &[
            model(1, "SA200"),
            model(2, "ST200"),
            model(3, "ST215"),
            model(4, "ST300"),
            model(5, "ST310U"),
            model(6, "ST340"),
            model(7, "ST390"),
            model(8, "ST410"),
            model(9, "ST419"),
            model(10, "ST480"),
            model(11, "ST600"),
            model(12, "ST650"),
            model(13, "ST910"),
            model(14, "ST940"),
            model(15, "ST4300"),
            model(16, "ST4310"),
            model(17, "ST4315"),
            model(18, "ST4340"),
            model(19, "ST4945"),
            model(20, "ST8300"),
            model(21, "ST8310"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        match input {
            [b'\r' | b'\n' | b' ', ..] => {
                let blank = input
                    .iter()
                    .take_while(|byte| byte.is_ascii_whitespace())
                    .count();
                Ok(Cut::Skip(blank))
            }
            [first @ (0x02 | 0x80..), rest @ ..] => {
                let Some(&[high, low]) = rest.first_chunk::<2>() else {
                    return Ok(Cut::Need(3));
                };
                let around = if *first == 0x02 { 4 } else { 3 };
                let length = usize::from(u16::from_be_bytes([high, low])) + around;
                Ok(match framing::exactly(input, length) {
                    Cut::Need(_) if eof => Cut::Skip(input.len()),
                    cut => cut,
                })
            }
            _ => {
                // the end of a line inside of what a serial port gave is no end
                let start = match serial::end(input) {
                    serial::End::At(end) if end > input.len() => {
                        return Ok(if eof {
                            Cut::Frame(input.len())
                        } else {
                            Cut::Need(end)
                        });
                    }
                    serial::End::At(end) => end,
                    serial::End::Unknown => 0,
                    serial::End::None => scanned,
                };
                let tail = input.get(start..).unwrap_or_default();
                Ok(match tail.iter().position(|byte| *byte == b'\r') {
                    Some(at) => Cut::Frame(start + at + 1),
                    None if eof => Cut::Frame(input.len()),
                    None => Cut::Need(input.len() + 1),
                })
            }
        }
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        match frame.first() {
            Some(0x02) => Err(Reject::new("zip", "not read", 0)),
            Some(0x80..) => binary::read(frame, cx),
            _ => text::read(frame, cx),
        }
    }

    fn probe(head: &[u8]) -> Probe {
        const KINDS: [&[u8]; 10] = [
            b"BSA;", b"STT;", b"ALT;", b"EMG;", b"EVT;", b"UEX;", b"ALV;", b"BLE;", b"RES;",
            b"TRV;",
        ];
        match head {
            [b'S', b'A' | b'T', digits @ ..] => {
                let numeric = digits.iter().take(3).all(u8::is_ascii_digit);
                match (numeric, digits.get(3)) {
                    (true, None) => Probe::More,
                    (true, Some(b';' | b'A'..=b'Z')) => Probe::Yes,
                    _ if b"STT;".starts_with(head) => Probe::More,
                    _ if head.starts_with(b"STT;") => Probe::Yes,
                    _ => Probe::No,
                }
            }
            // binary: kind, length, five bytes of decimal ident
            [0x81 | 0x82, high, rest @ ..] => {
                let ident = rest.get(1..).unwrap_or_default();
                let decimal = ident.iter().take(5).all(|byte| bcd::byte(*byte).is_some());
                match (*high < 4 && decimal, ident.len()) {
                    (true, 5..) => Probe::Yes,
                    (true, _) => Probe::More,
                    (false, _) => Probe::No,
                }
            }
            [0x81 | 0x82] => Probe::More,
            _ if KINDS.iter().any(|kind| head.starts_with(kind)) => Probe::Yes,
            _ if KINDS.iter().any(|kind| kind.starts_with(head)) => Probe::More,
            _ => Probe::No,
        }
    }
}
