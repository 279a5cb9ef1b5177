//! EGTS: the Russian standard for telematics of vehicles (Order 285, GOST R 54619, GOST 33472), over TCP.
//!
//! # Wire format
//!
//! Numbers are little-endian. A packet:
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 1, 1 | version, key | 1, which key encrypts |
//! | 1 | flags | bit 5: addresses follow; 3 and 4: encrypted; 2: compressed |
//! | 1, 1 | header's length, encoding | 11, or 16 with addresses |
//! | 2, 2 | length, number | of the body; of the packet |
//! | 1 | kind | 0 response, 1 data, 2 signed data |
//! | 2, 2, 1 | sender, receiver, hops | only with addresses |
//! | 1 | header's checksum | CRC-8 (31, begins with FF) of all before it |
//! | ... | body | |
//! | 2 | checksum | CRC-16/CCITT of the body; missing if there is no body |
//!
//! Data is records; signed data is the signature's length (2), the signature, records; a response is the number
//! it answers (2), a result (1), records. A record:
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 2, 2 | length, number | of its subrecords; of the record |
//! | 1 | flags | bits 0, 1, 2: object, event and time follow |
//! | 4, 4, 4 | object, event, time | each if its flag is set; time in seconds since 2010 |
//! | 1, 1 | services | of the sender, of the receiver: 1 authorisation, 2 telemetry |
//! | ... | subrecords | kind (1), length (2), content: see `subrecords` |
//!
//! # Session
//!
//! A terminal names itself (subrecord 1: by IMEI, IMSI, telephone or its number, whichever is registered) and waits
//! for the result (9, 0 is well); a platform that passes others' data on names itself too (5) and waits likewise, and
//! each record names its object. Every data packet is answered by a response with a state for each of its records.
//!
//! # Quirks
//!
//! - After a terminal has named itself, the records' object is its own number for itself, not the ident.
//! - The result of an authorisation is 153 (unknown), 151 (not allowed) or 156 (no room).
//! - A record of telemetry need not have a place.
//!
//! # Source
//!
//! Order of the Ministry of Transport of Russia 285 of 2012-07-31; GOST 33472-2015, annexes.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.

mod subrecords;
mod wire;

use crate::contract::{
    Acks, Cause, Context, Cut, Decode, Fatal, Info, Login, Model, Probe, Reject, Reply,
};
use crate::kit::cursor::Cursor;
use crate::kit::{checksum, framing};
use wire::{Naming, Record, next};

const HEADER_BYTES: usize = 11;
const HEADER_BYTES_ROUTED: usize = 16;
const CRC_BYTES: usize = 2;
const RESPONSE: u8 = 0;
const DATA: u8 = 1;
const SIGNED_DATA: u8 = 2;
const AUTHORISATION: u8 = 1;
/// The most records of a packet.
const RECORDS_MAX: usize = 2048;

/// Results, of records and authorisations.
const OK: u8 = 0;
const AUTH_DENIED: u8 = 151;
const NOT_FOUND: u8 = 153;
const NO_RESOURCES: u8 = 156;

const fn model(number: u16, vendor: &'static str, name: &'static str) -> Model {
    Model {
        number,
        vendor,
        name,
    }
}

/// The session state: who names devices, and the numbers of what was sent.
#[derive(Default)]
pub(crate) struct Decoder {
    naming: Naming,
    packets: u16,
    records: u16,
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "egts",
        title: "EGTS (ERA-GLONASS)",
        source: "Order 285 of the Ministry of Transport of Russia; GOST 33472-2015",
        port: 5162,
        frame_bytes_max: 64 * 1024 + 64,
        acks: Acks::Frame,
        shared: true,
        models: &[
            model(1, "Navtelecom", "SIGNAL S-2550"),
            model(2, "Galileosky", "7.0 EGTS"),
            model(3, "Fort Telecom", "Fort-112EG"),
            model(4, "Santel-Navigation", "GRANIT-Navigator-6.18 ERA"),
            model(5, "Omnicomm", "Profi"),
            model(6, "StavTrack", "ST-S-1114"),
            model(7, "TechnoCom", "AutoGRAPH-GSM+"),
            model(8, "Arnavi", "Integral-3"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, _: bool) -> Result<Cut, Fatal> {
        if input.first() != Some(&1) {
            return Err(Fatal::new("version", "not 1", 0));
        }
        let Some(header) = input.first_chunk::<HEADER_BYTES>() else {
            return Ok(Cut::Need(HEADER_BYTES));
        };
        let [_, _, _, length, _, low, high, ..] = *header;
        let header = usize::from(length);
        if header != HEADER_BYTES && header != HEADER_BYTES_ROUTED {
            return Err(Fatal::new("header", "neither 11 nor 16 bytes", 3));
        }
        let body = usize::from(u16::from_le_bytes([low, high]));
        let crc = if body > 0 { CRC_BYTES } else { 0 };
        Ok(framing::exactly(input, header + body + crc))
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let short = Reject::new("packet", "cut short", frame.len());
        let length = usize::from(*frame.get(3).ok_or(short)?);
        let (header, body) = frame.split_at_checked(length).ok_or(short)?;
        let (sum, summed) = header.split_last().ok_or(short)?;
        if checksum::crc8_egts(summed) != *sum {
            return Err(Reject::new(
                "crc",
                "the header's checksum does not fit",
                length,
            ));
        }
        let mut cursor = Cursor::new(summed);
        cursor.take(2);
        let flags = cursor.u8().ok_or(short)?;
        cursor.take(4);
        let number = next(&mut cursor, 2).ok_or(short)?;
        let kind = cursor.u8().ok_or(short)?;
        if flags & 0x1c != 0 {
            return Err(Reject::new("packet", "encrypted or compressed", 2));
        }
        if body.is_empty() {
            return Ok(());
        }
        let (body, crc) = body.split_last_chunk::<CRC_BYTES>().ok_or(short)?;
        if checksum::crc16_ccitt_false(body) != u16::from_le_bytes(*crc) {
            return Err(Reject::new("crc", "the checksum does not fit", frame.len()));
        }
        let mut cursor = Cursor::new(body);
        match kind {
            RESPONSE => return Ok(()),
            SIGNED_DATA => {
                let signature = next(&mut cursor, 2).ok_or(short)?;
                let signature = usize::try_from(signature).map_err(|_| short)?;
                cursor.take(signature).ok_or(short)?;
            }
            DATA => {}
            _ => return Err(Reject::new("packet", "not known", 9)),
        }
        let mut naming = self.naming;
        let mut answered = Vec::new();
        let (mut authorised, mut platform, mut stored) = (false, false, false);
        while cursor.left() > 0 {
            let record = record(&mut cursor).ok_or(Reject::new("record", "cut short", length))?;
            if answered.len() == RECORDS_MAX {
                return Err(Reject::new("record", "more than a packet may hold", length));
            }
            if record.service == AUTHORISATION {
                let brought = subrecords::authorisation(&record, &mut naming, cx)?;
                authorised |= brought.name;
                platform |= brought.platform;
                stored |= brought.message;
            } else {
                name_object(&record, &mut naming, cx)?;
                subrecords::telemetry(&record, cx)?;
                stored = true;
            }
            answered.push((record.service, record.number));
        }
        self.naming = naming;
        let number = u16::try_from(number).unwrap_or_default();
        let yes = self.response(number, &answered, OK);
        let no = self.response(number, &answered, NO_RESOURCES);
        self.packets = self.packets.wrapping_add(1);
        self.records = self.records.wrapping_add(1);
        cx.reply(if stored {
            Reply::stored(yes).or(no)
        } else {
            Reply::open(yes)
        });
        if authorised {
            let reply = Reply::admitted(self.result(OK))
                .or(self.result(AUTH_DENIED))
                .or_by(Cause::Unknown, self.result(NOT_FOUND))
                .or_by(Cause::Busy, self.result(NO_RESOURCES))
                .or_by(Cause::Limit, self.result(NO_RESOURCES))
                .or_by(Cause::Store, self.result(NO_RESOURCES));
            cx.reply(reply);
        } else if platform {
            cx.reply(Reply::open(self.result(OK)));
        } else {
            return Ok(());
        }
        self.packets = self.packets.wrapping_add(1);
        self.records = self.records.wrapping_add(1);
        Ok(())
    }

    fn probe(head: &[u8]) -> Probe {
        match head {
            [] | [1] => Probe::More,
            [1, _, flags, ..] if flags & 0xc0 != 0 => Probe::No,
            [1, _, _, length, ..] if ![11, 16].contains(length) => Probe::No,
            [1, rest @ ..] => {
                let length = usize::from(rest.get(2).copied().unwrap_or(11));
                match head.get(..length).and_then(<[u8]>::split_last) {
                    Some((sum, summed)) if checksum::crc8_egts(summed) == *sum => Probe::Yes,
                    Some(_) => Probe::No,
                    None => Probe::More,
                }
            }
            _ => Probe::No,
        }
    }
}

impl Decoder {
    /// The response to packet `number` with the same state for all of its records.
    fn response(&self, number: u16, answered: &[(u8, u16)], state: u8) -> Vec<u8> {
        let mut body = number.to_le_bytes().to_vec();
        body.push(OK);
        // one record for each service in a row
        let mut rest = answered;
        let mut numbers = self.records;
        while let Some((service, _)) = rest.first() {
            let same = rest.iter().take_while(|(of, _)| of == service).count();
            let (now, later) = rest.split_at_checked(same).unwrap_or((rest, &[]));
            rest = later;
            let mut content = Vec::with_capacity(now.len() * 6);
            for (_, record) in now {
                let [low, high] = record.to_le_bytes();
                content.extend_from_slice(&[subrecords::RECORD_RESPONSE, 3, 0, low, high, state]);
            }
            write_record(numbers, *service, &content, &mut body);
            numbers = numbers.wrapping_add(1);
        }
        packet(self.packets, RESPONSE, &body)
    }

    /// The result of an authorisation.
    fn result(&self, result: u8) -> Vec<u8> {
        let mut body = Vec::new();
        let content = [subrecords::RESULT_CODE, 1, 0, result];
        write_record(self.records, AUTHORISATION, &content, &mut body);
        packet(self.packets, DATA, &body)
    }
}

fn write_record(number: u16, service: u8, content: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&[0, service, service]);
    out.extend_from_slice(content);
}

fn packet(number: u16, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![1, 0, 0, 11, 0];
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    packet.extend_from_slice(&length.to_le_bytes());
    packet.extend_from_slice(&number.to_le_bytes());
    packet.push(kind);
    packet.push(checksum::crc8_egts(&packet));
    packet.extend_from_slice(body);
    packet.extend_from_slice(&checksum::crc16_ccitt_false(body).to_le_bytes());
    packet
}

fn record<'f>(cursor: &mut Cursor<'f>) -> Option<Record<'f>> {
    let length = usize::try_from(next(cursor, 2)?).ok()?;
    let number = u16::try_from(next(cursor, 2)?).ok()?;
    let flags = cursor.u8()?;
    let mut optional = |bit: u8| -> Option<Option<u64>> {
        Some(if flags & bit != 0 {
            Some(next(cursor, 4)?)
        } else {
            None
        })
    };
    let (object, event, seconds) = (optional(1)?, optional(2)?, optional(4)?);
    let service = cursor.u8()?;
    cursor.u8()?;
    Some(Record {
        number,
        object,
        event,
        seconds,
        service,
        content: cursor.take(length)?,
    })
}

/// Makes a record's object the device, unless the terminal has named itself.
fn name_object(
    record: &Record<'_>,
    naming: &mut Naming,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let unnamed = *naming == Naming::Nobody && cx.ident().is_none();
    if let Some(object) = record.object
        && (*naming == Naming::Records || unnamed)
    {
        cx.identify(Login::of(&object.to_string()))?;
        *naming = Naming::Records;
    }
    Ok(())
}
