//! Teltonika: FMB, FMC, FMM, TFT and relatives, over TCP.
//!
//! # Wire format
//!
//! Login: length (2 bytes, big endian) and the IMEI in ASCII. Data:
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 4 | preamble | 00 00 00 00 |
//! | 4 | length | from codec to the second count |
//! | 1 | codec | 08, 8E, 10: records; 0C, 0D, 0E: messages of the GPRS command channel |
//! | 1 | count | records |
//! | ... | records | see `records` |
//! | 1 | count | again |
//! | 4 | CRC | CRC-16/IBM from codec to the second count |
//!
//! A single byte FF between frames keeps the link alive.
//!
//! # Session
//!
//! login, answered 01 (00: refused) -> data, answered with the number of records taken as 4 bytes
//! (0: none, the tracker sends the packet again).
//!
//! # Source
//!
//! Teltonika Telematics wiki, "Teltonika Data Sending Protocols" and "FMB AVL ID".

mod records;

use crate::contract::{Acks, Context, Cut, Decode, Fatal, Info, Login, Probe, Reject, Reply};
use crate::kit::{checksum, framing};

const KEEP_ALIVE: u8 = 0xff;
const HEADER_BYTES: usize = 8;
const CRC_BYTES: usize = 4;
const IMEI_BYTES_MAX: usize = 32;

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "teltonika",
        title: "Teltonika",
        source: "Teltonika Telematics wiki: Teltonika Data Sending Protocols",
        port: 5027,
        frame_bytes_max: 16 * 1024,
        acks: Acks::Frame,
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, _: bool) -> Result<Cut, Fatal> {
        if input.first() == Some(&KEEP_ALIVE) {
            return Ok(Cut::Skip(1));
        }
        let Some(&[high, low]) = input.first_chunk::<2>() else {
            return Ok(Cut::Need(2));
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > 0 {
            if length > IMEI_BYTES_MAX {
                return Err(Fatal::new("login", "longer than an ident may be", 0));
            }
            return Ok(framing::exactly(input, 2 + length));
        }
        let Some(header) = input.first_chunk::<HEADER_BYTES>() else {
            return Ok(Cut::Need(HEADER_BYTES));
        };
        let [_, _, preamble @ .., a, b, c, d] = *header;
        if preamble != [0, 0] {
            return Err(Fatal::new("preamble", "not four zero bytes", 2));
        }
        let length = u32::from_be_bytes([a, b, c, d]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(framing::exactly(
            input,
            length.saturating_add(HEADER_BYTES + CRC_BYTES),
        ))
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        match frame {
            [0, 0, ..] => data(frame, cx),
            [_, _, imei @ ..] => login(imei, cx),
            _ => Err(Reject::new("login", "cut short", 0)),
        }
    }

    fn probe(head: &[u8]) -> Probe {
        match head {
            [0, 15, rest @ ..] if rest.iter().take(15).all(u8::is_ascii_digit) => {
                if rest.is_empty() {
                    Probe::More
                } else {
                    Probe::Yes
                }
            }
            [] | [0] => Probe::More,
            _ => Probe::No,
        }
    }
}

fn login(imei: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let imei =
        std::str::from_utf8(imei).map_err(|_| Reject::new("login", "the ident is no text", 2))?;
    cx.identify(Login::of(imei))?;
    cx.reply(Reply::admitted(&[1][..]).or(&[0][..]));
    Ok(())
}

fn data(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let short = Reject::new("data", "cut short", frame.len());
    let body = frame
        .get(HEADER_BYTES..frame.len().saturating_sub(CRC_BYTES))
        .ok_or(short)?;
    let crc = frame.last_chunk::<CRC_BYTES>().ok_or(short)?;
    if u32::from(checksum::crc16_ibm(body)) != u32::from_be_bytes(*crc) {
        return Err(Reject::new(
            "crc",
            "the checksum does not fit",
            frame.len() - CRC_BYTES,
        ));
    }
    let count = records::read(body, cx)?;
    let taken = u32::from(count).to_be_bytes();
    cx.reply(Reply::stored(taken.to_vec()).or(&[0, 0, 0, 0][..]));
    Ok(())
}
