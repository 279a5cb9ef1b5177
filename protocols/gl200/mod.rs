//! Queclink @Track: GL, GV, GB, GT, CV and WR series, over TCP.
//!
//! # Wire format
//!
//! Text: `+RESP:GTxxx,version,ident,fields...,send time,count$`. `+BUFF:` instead of `+RESP:` marks what
//! the device had kept, `+ACK:` confirms a command or is a heartbeat (`+ACK:GTHBD`). The version is
//! the device's type and its protocol's version in hexadecimal digits; the ident is the IMEI or the
//! MEID; the field behind it is the device's name, or the VIN and then the name (GV500). Times are
//! `YYYYMMDDHHMMSS`.
//!
//! What lies between depends on the report and on the device. All reports have the same place in
//! them, and a report of several places has it several times:
//!
//! | field | meaning |
//! |---|---|
//! | accuracy | 0: no new fix, the last place is repeated; 1 to 50: the HDOP |
//! | speed, course, altitude | km/h, degrees, meters |
//! | longitude, latitude | degrees |
//! | time | of the fix, UTC |
//! | MCC, MNC, LAC, cell | the first two in decimal, the others in hexadecimal digits |
//!
//! Behind a place of GTFRI, GTERI, GTRTL and their like: a mask (bit 0: satellites follow, bit 1:
//! what triggered it, bit 4: jamming), distance in km, `hours:minutes:seconds` of the engine, two
//! or three analog inputs in mV, battery in percent, state (two digits of `state`, inputs,
//! outputs). Devices without wires have the distance and the battery only; GL500 and its like
//! signal, battery, mode, motion and temperature. GTERI has a mask of eight digits behind its name
//! for what its accessories add.
//!
//! Some (TT8850) begin with `00 04`, or `04`, `,count,0 or 1,` in the place of `+RESP:`.
//!
//! A report whose kind is not known is read the same way: the places in it are found by their shape.
//!
//! Binary: `+RSP`, `+EVT`, `+INF` and others with a length of their own; see `binary`.
//!
//! # Session
//!
//! Every frame names its device. A heartbeat is answered `+SACK:GTHBD,version,count$`. Reports are
//! answered `+SACK:count$` only where the device is configured to wait for it: the setting `format`
//! is `sack` then.
//!
//! # Source
//!
//! Queclink: "@Track Air Interface Protocol" of GL200, GL300, GL500, GV55, GV65, GV200, GV300, GV350M,
//! GV500, GV600, GB100, CV200.
//!
//! # Quirks
//!
//! - The accuracy 0 comes with fresh fixes as well, in reports of events; their time tells. It makes a
//!   place invalid in GTCAN only.
//! - The distance of GTCAN is `H` and hectometers, or `I` and impulses.
//! - Fields that are not understood are kept in one text with their neighbours: `custom.fields.before`
//!   and `custom.fields.behind` the place.

mod accessory;
mod binary;
mod can;
mod info;
mod report;
mod state;
mod tail;
mod text;

use crate::contract::{Acks, Context, Cut, Decode, Fatal, Info, Model, Probe, Reject, Setting};
use crate::kit::framing;

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Queclink",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "gl200",
        version: 2,
        title: "Queclink",
        source: "Queclink: @Track Air Interface Protocol",
        port: 5004,
        frame_bytes_max: 8 * 1024,
        acks: Acks::None,
        settings: &[Setting::Format, Setting::TimeZone],
        models: &[
            model(1, "GL200"),
            model(2, "GL300"),
            model(3, "GL300W"),
            model(4, "GL500"),
            model(5, "GL505"),
            model(6, "GL520"),
            model(7, "GL530"),
            model(8, "GL50B"),
            model(9, "GL601"),
            model(10, "GV55"),
            model(11, "GV56"),
            model(12, "GV57"),
            model(13, "GV65"),
            model(14, "GV75"),
            model(15, "GV200"),
            model(16, "GV300"),
            model(17, "GV300W"),
            model(18, "GV310LAU"),
            model(19, "GV350M"),
            model(20, "GV355CEU"),
            model(21, "GV500"),
            model(22, "GV600M"),
            model(23, "GV600MG"),
            model(24, "GV620MG"),
            model(25, "GV800W"),
            model(26, "GB100"),
            model(27, "GT300"),
            model(28, "GT501"),
            model(29, "GMT200"),
            model(30, "CV100"),
            model(31, "CV200"),
            model(32, "WR300FG"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        let is_start = |byte: &u8| matches!(*byte, b'+' | text::BARE);
        if !input.first().is_some_and(is_start) {
            let start = input.iter().position(is_start);
            return Ok(Cut::Skip(start.unwrap_or(input.len())));
        }
        if input.first() == Some(&text::BARE) {
            return Ok(match input.get(1) {
                Some(b',') => framing::until(input, scanned, eof, b"$"),
                None if !eof => Cut::Need(2),
                _ => Cut::Skip(1),
            });
        }
        Ok(match text::is_text(input) {
            None if eof => Cut::Frame(input.len()),
            None => Cut::Need(text::MARK_BYTES),
            Some(true) => {
                let tail = input.get(scanned..).unwrap_or_default();
                match tail.iter().position(|byte| matches!(byte, b'$' | 0)) {
                    Some(at) => Cut::Frame(scanned + at + 1),
                    None if eof => Cut::Frame(input.len()),
                    None => Cut::Need(input.len() + 1),
                }
            }
            Some(false) => match binary::length(input) {
                Some(length) if length > input.len() && eof => Cut::Frame(input.len()),
                Some(length) => framing::exactly(input, length),
                // no mark that is known: what follows the plus is looked at again
                None => Cut::Skip(1),
            },
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        if text::is_text(frame) == Some(true) {
            report::read(frame, cx)
        } else {
            binary::read(frame, cx)
        }
    }

    fn probe(head: &[u8]) -> Probe {
        let marks: [&[u8]; 3] = [b"+RESP:GT", b"+BUFF:GT", b"+ACK:GT"];
        if marks.iter().any(|mark| head.starts_with(mark)) {
            Probe::Yes
        } else if marks.iter().any(|mark| mark.starts_with(head)) {
            Probe::More
        } else if head.starts_with(b"+") {
            match binary::length(head) {
                _ if head.len() < text::MARK_BYTES => Probe::More,
                Some(_) => Probe::Yes,
                None => Probe::No,
            }
        } else {
            text::probe_bare(head)
        }
    }
}
