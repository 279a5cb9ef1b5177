//! `GoSafe`: G3, G6, G7 and others, over TCP.
//!
//! # Wire format
//!
//! | form | frame |
//! |---|---|
//! | text | `*GS`, a version (2), `,`, IMEI, `,`, records with `$` between, `#` |
//! | binary | F8, version, kind, IMEI (7), time (4), event (1, only of kind 41), mask (2), blocks, CRC (2), F8 |
//!
//! A text record has the time as HHMMSSDDMMYY, the event in hex or nothing, and blocks with commas between: a name,
//! `:` and values with `;` between. Instead of the time there may be the answer to a command. Version 02 has no time of
//! its own, its GPS block has it. The blocks are in `text.rs`.
//!
//! Inside the binary form 1B is written `1B 00` and F8 `1B E3`; the CRC is CRC-16/XMODEM of all between the marks.
//! Its time counts seconds from 2000. Each block of the mask (bit 0 SYS, 1 GPS, 2 GSM, 3 COT, 4 ADC, 5 DTT, 6 IWD,
//! 7 ETD) has its length (1) before it. GPS has a mask (2) of what follows:
//!
//! | bit | field |
//! |---|---|
//! | 0 | satellites in the lower five bits, fix above them |
//! | 1 | latitude, longitude (4 each) in 1e-6 degrees |
//! | 2, 3, 4 | km/h, course, altitude (2 each) |
//! | 5, 6 | HDOP, VDOP (2 each) in 0.01 |
//!
//! # Session
//!
//! Every frame names its device, and is answered `1234`. A text without records is a heartbeat.
//!
//! # Source
//!
//! `GoSafe`: "G series protocol" GS02, GS06, GS16, GS56, by the public descriptions of other decoders, and captures.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows wants a frame to prove it.
//!
//! # Quirks
//!
//! - A record whose time is all zeros was made before the clock was set; its place is the device's.
//! - `L` for a fix says that the place is the last known one.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, Probe, Reject, Reply,
};
use crate::kit::framing;

mod binary;
mod text;

const BINARY: u8 = 0xf8;
const TEXT: &[u8] = b"*GS";
const ANSWER: &str = "1234";
const SHORT: Reject = Reject::new("frame", "fewer fields than it has", 0);

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "GoSafe",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "gosafe",
        title: "GoSafe",
        source: "GoSafe: G series protocol",
        port: 5078,
        frame_bytes_max: 4096,
        acks: Acks::Frame,
        shared: true,
        models: &[
            model(1, "G1S"),
            model(2, "G2P"),
            model(3, "G3A"),
            model(4, "G3C"),
            model(5, "G3S"),
            model(6, "G3SC"),
            model(7, "G6S"),
            model(8, "G717"),
            model(9, "G737"),
            model(10, "G777"),
            model(11, "G787"),
            model(12, "G797"),
            model(13, "G79W"),
            model(14, "G71"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        match input.first() {
            Some(&BINARY) => {
                let from = scanned.max(1);
                let rest = input.get(from..).unwrap_or_default();
                Ok(match framing::find(rest, &[BINARY]) {
                    // the end of a frame whose beginning was lost
                    Some(0) if from == 1 => Cut::Skip(1),
                    Some(at) => Cut::Frame(from + at + 1),
                    None => Cut::Need(input.len() + 1),
                })
            }
            Some(b'*') => Ok(framing::until(input, scanned, eof, b"#")),
            _ => {
                let begins = |byte: &u8| matches!(*byte, BINARY | b'*');
                let next = input.iter().position(begins);
                Ok(Cut::Skip(next.unwrap_or(input.len())))
            }
        }
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        if frame.first() == Some(&BINARY) {
            binary::read(frame, cx)?;
            cx.reply(Reply::stored(ANSWER));
            return Ok(());
        }
        let text = std::str::from_utf8(frame)
            .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
        let content = text.strip_suffix('#').unwrap_or(text);
        let content = content.strip_prefix("*GS").ok_or(SHORT)?;
        let (version, rest) = content.split_once(',').ok_or(SHORT)?;
        let (imei, records) = rest.split_once(',').unwrap_or((rest, ""));
        cx.identify(Login::of(imei))?;
        if records.is_empty() {
            cx.reply(Reply::admitted(ANSWER));
            return Ok(());
        }
        text::records(version, records, cx)?;
        cx.reply(Reply::stored(ANSWER));
        Ok(())
    }

    fn probe(head: &[u8]) -> Probe {
        if head.first() == Some(&BINARY) {
            // an IMEI is below 10^15
            return match (head.get(1), head.get(3)) {
                (_, Some(0..4)) => Probe::Yes,
                (_, Some(_)) => Probe::No,
                (_, None) => Probe::More,
            };
        }
        match (head.starts_with(TEXT), TEXT.starts_with(head)) {
            (true, _) => Probe::Yes,
            (_, true) => Probe::More,
            _ => Probe::No,
        }
    }
}
