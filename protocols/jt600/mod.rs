//! JT600: Jointech's personal and vehicle trackers (JT600, GP6000) and electronic padlocks (JT701).
//!
//! # Wire format
//!
//! Text is `(IDENT,KIND,fields)`; binary frames begin with `$`. Numbers marked D are binary coded decimals.
//!
//! | bytes | field |
//! |---|---|
//! | 1, 5 D | `$`, ident |
//! | 1 or 2 | version and kind: the padlock has two bytes, all others one |
//! | 2 | length of the records (the padlock's begins with 00, which tells the two apart) |
//! | length | records |
//! | 1 | serial number |
//!
//! | bytes | record |
//! |---|---|
//! | 3 D, 3 D | DDMMYY, HHMMSS, UTC |
//! | 4 D | latitude DDMM.MMMM |
//! | 4½ D | longitude DDDMM.MMMM, and four flags: 1 valid, 2 north, 4 east |
//! | 1, 1 | knots, half of the course |
//! | 10 | version 1: satellites, battery %, flags, altitude (2), cell (2), LAC (2), signal |
//! | 10 | version 2: fuel (high), status (4), km (4), fuel (low) |
//! | 10 | version 3: three tanks (12 bits each), km (20 bits), status (3) |
//! | 17 and more | padlock: km (4), satellites, vehicle (4), status (2), battery % (255 charging), cell (2), LAC (2), signal, then geofence, 3 reserved, IMEI (8), high half of the cell id (2), MCC (2), MNC |
//!
//! | KIND | fields |
//! |---|---|
//! | U01, U02, U03 | `DDMMYY,HHMMSS,T,lat,N,lon,E,mph,course,satellites,battery%,status bits,cell,LAC,signal,km,index[,checksum]` |
//! | U06 | its alarm, then as U01 |
//! | P45 | `DDMMYY,HHMMSS,lat,N,lon,E,A,mph,course,source,verified,card,password,wrong passwords,index`: a padlock was opened or shut |
//! | W01 | `lon(DDDMM.MMMM),E,lat,S,A,DDMMYY,HHMMSS,speed,course,battery,satellites,signal,alarm,...` |
//! | `serial,length,WLNET,5,...` | a position and a radio sensor, in binary: `( ) , =` are sent as `=` and the byte with 3D taken off by exclusive or |
//!
//! # Session
//!
//! Every frame names its device. U01 to U03 are answered `(S39)`, U06 `(S20)`, P45 `(P69,0,index)`; a padlock's
//! record with bit 5 of its status `(P35)`, from version 19 on `(P69,0,serial)`. Nothing else waits for an answer.
//!
//! # Source
//!
//! Jointech: JT701 product protocol, JT600 manual; captures.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.
//!
//! # Quirks
//!
//! - The checksum of U01 is the exclusive or of everything between `(` and itself; old firmware sends
//!   none. It is verified where it is sent.
//! - The speed of a binary record is a plain byte, though all around it is decimal: digits above 9
//!   occur, and the way between two records agrees.

mod binary;
mod fix;
mod padlock;
mod parts;
mod text;

use crate::contract::{Acks, Context, Cut, Decode, Fatal, Info, Model, Probe, Reject, Setting};
use crate::kit::{bcd, framing};
use binary::{HEAD_BYTES, binary, head, is_date};
use fix::RECORD_BYTES;
use padlock::wireless;
use text::text;

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Jointech",
        name,
    }
}

/// There is no state.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "jt600",
        title: "Jointech JT600 and JT701",
        source: "Jointech: The Protocol of JT701 Product V3.6",
        port: 5014,
        version: 2,
        acks: Acks::Frame,
        settings: &[Setting::TimeZone],
        models: &[
            model(1, "JT600"),
            model(2, "JT600C"),
            model(3, "JT701"),
            model(4, "JT701D"),
            model(5, "JT705"),
            model(6, "JT709"),
            model(7, "GP6000"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        Ok(match input.first() {
            Some(b'(') => framing::until(input, scanned, eof, b")"),
            Some(b'$') => match head(input) {
                Some(head) => match head.bytes {
                    need if need > input.len() && eof => Cut::Frame(input.len()),
                    need => framing::exactly(input, need),
                },
                None if eof => Cut::Frame(input.len()),
                None => Cut::Need(HEAD_BYTES),
            },
            _ => {
                let start = input.iter().position(|byte| matches!(byte, b'(' | b'$'));
                Cut::Skip(start.unwrap_or(input.len()))
            }
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        if frame.first() == Some(&b'$') {
            return binary(frame, cx);
        }
        let body = frame
            .strip_prefix(b"(")
            .and_then(|rest| rest.strip_suffix(b")"))
            .ok_or(Reject::new("text", "cut short", frame.len()))?;
        if framing::find(body, b",WLNET,").is_some() {
            return wireless(body, cx);
        }
        text(body, cx)
    }

    fn probe(head: &[u8]) -> Probe {
        match head {
            [] => Probe::More,
            [b'(', id @ ..] => {
                let digits = id.iter().take_while(|byte| byte.is_ascii_digit()).count();
                match (digits, id.get(digits)) {
                    (10, Some(b',')) => Probe::Yes,
                    (0..=10, None) => Probe::More,
                    _ => Probe::No,
                }
            }
            [b'$', id @ ..] => {
                let ident = id.get(..5).unwrap_or(id);
                match (
                    ident.iter().all(|b| bcd::byte(*b).is_some()),
                    self::head(head),
                ) {
                    (false, _) => Probe::No,
                    (true, None) => Probe::More,
                    (true, Some(found)) => {
                        let fits = found.bytes > HEAD_BYTES + RECORD_BYTES - 1
                            && found.bytes <= Self::INFO.frame_bytes_max;
                        // H02 begins with the same mark and ident, and has no date here
                        let date = head.get(found.records_at..found.records_at + 6);
                        match date {
                            _ if !fits => Probe::No,
                            None => Probe::More,
                            Some(date) if is_date(date) => Probe::Yes,
                            Some(_) => Probe::No,
                        }
                    }
                }
            }
            _ => Probe::No,
        }
    }
}
