//! TAIP, Trimble's ASCII interface protocol, as trackers speak it (Trimble, Sierra Wireless, Virtec, Trax, Portman,
//! JMAK and others), over TCP.
//!
//! # Wire format
//!
//! `>Rkk...;ID=name;#number;*sum<`: R is a response, kk its kind, the rest optional and in any order. The sum
//! is an exclusive or from `>` to the asterisk, with it or without it.
//!
//! | kind | content |
//! |---|---|
//! | PV | second of the day (5), place, mph (3), course (3), source, age |
//! | LN | second of the day (8, three decimals), place, feet (9, two), mph (4, one), climb (5, one), course (4, one), satellites (2) and 4 of each, 10 reserved, source, age |
//! | EV | event (2), GPS week (4), day (1), second of the day (5), then as PV; values follow as `;KEY=value` |
//! | GP, PI, TT | DDMMYYHHMMSS, place, mph, course, fix (1), age (2), inputs (2), event (2), HDOP (2) |
//! | CQ, BR, CV | event (2), DDMMYYHHMMSS, place, mph, course, inputs (2), state (2), supply in 0.1 V (3), odometer (8 hex), receiver on (1), fix (1), PDOP (2), satellites (2), age (4), network (2), signal (2) |
//! | US | number (2), comma, as GP without what follows the inputs; then by commas: bits, odometer, supply and battery in 0.01 V (4 each), rpm, two temperatures, event (2 hex) |
//! | UV | number (2), event (2 or 3), firm, as GP with km/h; then battery and supply in 0.01 V, three, engine minutes, odometer, rpm, coolant, oil pressure, fuel, two, network, driver |
//!
//! A place is latitude and longitude with their signs, degrees in 2 and 3 digits and five decimals, or degrees and
//! minutes where they have a point; LN has seven decimals. Bit 7 of the inputs is the ignition. IO of EV is three
//! digits: ignition and charging, outputs, inputs.
//!
//! # Session
//!
//! Every frame names its device. One with a number is answered `>ACK;...;*sum<`, with number and name as they
//! came (`>SAK;...<` if the number begins with IP), whatever its kind: the device numbers from 0000 to 7FFF, and sends
//! again what is not answered. PV, EV and those with a date are answered without a number too, with the name alone.
//!
//! # Source
//!
//! Trimble: "TAIP, Trimble ASCII Interface Protocol", and Cypress Solutions' public pages of its messages; Lantrix
//! for the numbers; captures for CQ, BR, CV, US and UV.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.
//!
//! # Quirks
//!
//! - PV and LN have no date: the second of the day nearest to the receipt is taken.
//! - Other kinds (AL, CP) are kept as text.

mod dated;
mod events;
mod listed;
mod parts;

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, Probe, Reject, Time, fields,
};
use crate::kit::{checksum, framing};
use dated::{dated, supplied, vehicle};
use events::{event, long, second_of_day};
use listed::listed;
use parts::{Head, SHORT, begin};

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "taip",
        title: "TAIP",
        source: "Trimble: TAIP",
        port: 5031,
        version: 2,
        frame_bytes_max: 1024,
        acks: Acks::Frame,
        shared: true,
        models: &[
            Model {
                number: 1,
                vendor: "Trimble",
                name: "Placer",
            },
            Model {
                number: 2,
                vendor: "Sierra Wireless",
                name: "AirLink",
            },
            Model {
                number: 3,
                vendor: "Virtec",
                name: "VirLoc",
            },
            Model {
                number: 4,
                vendor: "JMAK",
                name: "NT003",
            },
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        if input.first() == Some(&b'>') {
            return Ok(framing::until(input, scanned, eof, b"<"));
        }
        let next = input.iter().position(|byte| *byte == b'>');
        Ok(Cut::Skip(next.unwrap_or(input.len())))
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let text = std::str::from_utf8(frame)
            .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
        let text = text.strip_suffix('<').ok_or(SHORT)?;
        check(text)?;
        let mut parts = text.strip_prefix('>').ok_or(SHORT)?.split(';');
        let content = parts.next().ok_or(SHORT)?;
        let mut head = Head {
            name: None,
            number: None,
            echo: String::new(),
        };
        for part in parts.clone() {
            if let Some(name) = part.strip_prefix("ID=") {
                head.name = Some(name);
            } else if part.starts_with('#') {
                head.number = Some(part);
            } else {
                continue;
            }
            head.echo.push_str(part);
            head.echo.push(';');
        }
        if let Some(name) = head.name {
            cx.identify(Login::of(name))?;
        }
        let (kind, body) = content.split_at_checked(3).ok_or(SHORT)?;
        let answered = match kind {
            "RPV" => second_of_day(body, cx)?,
            "RLN" => long(body, cx)?,
            "REV" => event(body, parts, cx)?,
            "RGP" | "RPI" | "RTT" => dated(kind, body, cx)?,
            "RCQ" | "RBR" | "RCV" => supplied(kind, body, cx)?,
            "RUS" => listed(body, cx)?,
            "RUV" => vehicle(body, cx)?,
            _ => {
                let mut message = begin(kind, Time::Received(cx.now_ms), cx)?;
                message.push(fields::TEXT_MESSAGE, body);
                false
            }
        };
        if answered || head.is_numbered() {
            head.answer(cx);
        }
        Ok(())
    }

    fn probe(head: &[u8]) -> Probe {
        match head.trim_ascii_start() {
            [] | [b'>'] | [b'>', b'R'] | [b'>', b'R', b'A'..=b'Z'] => Probe::More,
            [b'>', b'R', b'A'..=b'Z', b'A'..=b'Z', ..] => Probe::Yes,
            _ => Probe::No,
        }
    }
}

/// The sum, where there is one; behind a `#` an asterisk belongs to the number.
fn check(text: &str) -> Result<(), Reject> {
    let Some((covered, sum)) = text.rsplit_once('*') else {
        return Ok(());
    };
    let Ok(sum) = u8::from_str_radix(sum, 16) else {
        return Ok(());
    };
    let without = checksum::xor(covered.as_bytes());
    if sum == without || sum == without ^ b'*' {
        Ok(())
    } else {
        Err(Reject::new(
            "sum",
            "the checksum does not fit",
            covered.len(),
        ))
    }
}
