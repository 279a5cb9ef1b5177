//! HuaSheng: trackers for the OBD socket, 3G1 and G1.
//!
//! # Wire format
//!
//! Binary, numbers are big-endian. C0 stands before and behind every frame; inside, C0 is written
//! DB DC and DB is written DB DD. What the marks enclose:
//!
//! | bytes | field |
//! |---|---|
//! | 1, 1 | flag, version |
//! | 2 | length of all that the marks enclose |
//! | 2 | kind |
//! | 2 | checksum: zeros |
//! | 4 | index |
//! | n | content |
//!
//! | kind | content | answer |
//! |---|---|---|
//! | AA02 | items: login, the IMEI is item 0003 | FF03, one byte 00 |
//! | AA00 | a position, items | FF01 |
//! | AA12 | one item of trouble codes, two bytes each | none |
//! | 0002 | count (1), entries: handshake of the OBD part, A004 is the IMEI | 0003 |
//! | others | kept as they are | none |
//!
//! An item is its number (2), its length with these four bytes (2), and its value. An entry of a
//! handshake is the same with the length first. A position:
//!
//! | bytes | field |
//! |---|---|
//! | 2 | status: bit 15 fix, bit 14 ignition |
//! | 2 | event |
//! | 12 | YYMMDDHHMMSS, text |
//! | 4, 4 | longitude, latitude, 0.00001 degrees |
//! | 2, 2, 2 | km/h, course, metres |
//! | 2 | the odometer's speed, km/h |
//!
//! | item | value |
//! |---|---|
//! | 0001 | coolant - 40, rpm (2), average km/h, fuel of the interval (2), 0.01 l/100km (2), trip in metres (2), 0.01 V (2), fuel 0.4 %, trip id (4), perhaps AdBlue 0.4 % |
//! | 0005 | signal, HDOP, seconds since the start (4) |
//! | 0009, 000F, 0010 | VIN, IMEI, odometer in km: texts |
//! | 0011 | engine time, 0.05 hours (4) |
//! | 0014 | which follow (bits 7 to 3), load 1/255, timing 0.5 degrees, air - 40, air flow 0.01 g/s (2), throttle 1/255 |
//! | 0020 | cells, `MCC@MNC@LAC@cell+...`, the last two hexadecimal |
//! | 0021 | access points, `address@signal+...` |
//!
//! # Session
//!
//! Only the login and the handshake name the device; item 000F does where neither came.
//! Positions are answered once they are stored.
//!
//! # Source
//!
//! Frames with their meaning as the maker explained them to users in public, and captures. The
//! maker's description was not at hand: what no capture in `fixtures/` shows wants a frame to
//! prove it.
//!
//! # Quirks
//!
//! - The checksum has only been seen as zeros, so nothing can be verified but the length.
//! - FF, or FFFF, says that the vehicle gives no value.
//! - FF13, the answer to trouble codes, is known by name only, and so it is not sent.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Instance, Login, Model, Probe, RecordBuilder, Reject,
    Reply, Setting, Time, fields,
};
use crate::kit::cells::{self, Cell};
use crate::kit::cursor::Cursor;
use crate::kit::parse::{float, number};
use crate::kit::table::big_endian;
use crate::kit::{framing, hex, obd, time, units};
use std::borrow::Cow;

const MARK: u8 = 0xc0;
const ESCAPE: u8 = 0xdb;
const HEAD_BYTES: usize = 12;
/// Number and length of an item.
const ITEM_HEAD_BYTES: usize = 4;
/// Cells and access points of one record; what more there are is not read.
const NEIGHBOURS_MAX: usize = 32;
const SHORT: Reject = Reject::new("content", "cut short", HEAD_BYTES);

const LOGIN: u16 = 0xaa02;
const LOGIN_ANSWER: u16 = 0xff03;
const POSITION: u16 = 0xaa00;
const POSITION_ANSWER: u16 = 0xff01;
const FAULTS: u16 = 0xaa12;
const HANDSHAKE: u16 = 0x0002;
const HANDSHAKE_ANSWER: u16 = 0x0003;

/// There is no state.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "huasheng",
        title: "HuaSheng OBD trackers",
        source: "HuaSheng: frames explained by the maker in public, captures",
        port: 5111,
        frame_bytes_max: 8192,
        version: 2,
        acks: Acks::Frame,
        settings: &[Setting::TimeZone],
        models: &[
            Model {
                number: 1,
                vendor: "HuaSheng",
                name: "3G1",
            },
            Model {
                number: 2,
                vendor: "HuaSheng",
                name: "G1",
            },
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        Ok(match input {
            // the end of a frame whose beginning was lost
            [MARK, MARK, ..] => Cut::Skip(1),
            [MARK, rest @ ..] => {
                match framing::until(rest, scanned.saturating_sub(1), eof, &[MARK]) {
                    Cut::Frame(bytes) => Cut::Frame(bytes + 1),
                    Cut::Need(bytes) => Cut::Need(bytes + 1),
                    Cut::Skip(bytes) => Cut::Skip(bytes),
                }
            }
            _ => Cut::Skip(framing::find(input, &[MARK]).unwrap_or(input.len()).max(1)),
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let [MARK, stuffed @ .., MARK] = frame else {
            return Err(Reject::new("frame", "cut short", frame.len()));
        };
        let plain = unstuffed(stuffed)?;
        let (head, content) = plain.split_first_chunk::<HEAD_BYTES>().ok_or(Reject::new(
            "frame",
            "cut short",
            frame.len(),
        ))?;
        let [_, _, length @ .., k0, k1, _, _, i0, i1, i2, i3] = head;
        if usize::try_from(big_endian(length)) != Ok(plain.len()) {
            return Err(Reject::new("length", "does not fit", 3));
        }
        let kind = u16::from_be_bytes([*k0, *k1]);
        let index = [*i0, *i1, *i2, *i3];
        match kind {
            LOGIN => login(content, index, cx),
            POSITION => {
                position(content, cx)?;
                cx.reply(Reply::stored(answer(POSITION_ANSWER, index, &[])));
                Ok(())
            }
            FAULTS => faults(content, cx),
            HANDSHAKE => handshake(content, index, cx),
            _ => {
                let mut message = cx.message(Time::Received(cx.now_ms))?;
                message.push(fields::MESSAGE_TYPE, &*format!("{kind:04X}"));
                message.push(fields::PAYLOAD_HEX, &*hex::encode(content));
                Ok(())
            }
        }
    }

    fn probe(head: &[u8]) -> Probe {
        match head {
            [] | [MARK] | [MARK, 0 | 1] => Probe::More,
            [MARK, 0 | 1, _, rest @ ..] => match rest {
                [_, _, 0xaa, 0x00 | 0x02 | 0x12, ..] | [_, _, 0x00, 0x02 | 0x60, ..] => Probe::Yes,
                [] | [_] | [_, _] | [_, _, 0xaa | 0x00] => Probe::More,
                _ => Probe::No,
            },
            _ => Probe::No,
        }
    }
}

/// What the marks enclose, without escapes.
fn unstuffed(stuffed: &[u8]) -> Result<Cow<'_, [u8]>, Reject> {
    if !stuffed.contains(&ESCAPE) {
        return Ok(Cow::Borrowed(stuffed));
    }
    let mut plain = Vec::with_capacity(stuffed.len());
    let mut bytes = stuffed.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        plain.push(match byte {
            ESCAPE => match bytes.next() {
                Some((_, 0xdc)) => MARK,
                Some((_, 0xdd)) => ESCAPE,
                _ => return Err(Reject::new("escape", "not known", at + 1)),
            },
            byte => byte,
        });
    }
    Ok(Cow::Owned(plain))
}

fn answer(kind: u16, index: [u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEAD_BYTES + content.len()).unwrap_or(u16::MAX);
    let mut plain = vec![1, 0];
    plain.extend_from_slice(&length.to_be_bytes());
    plain.extend_from_slice(&kind.to_be_bytes());
    plain.extend_from_slice(&[0, 0]);
    plain.extend_from_slice(&index);
    plain.extend_from_slice(content);
    let mut answer = Vec::with_capacity(plain.len() + 2);
    answer.push(MARK);
    for byte in plain {
        match byte {
            MARK => answer.extend_from_slice(&[ESCAPE, 0xdc]),
            ESCAPE => answer.extend_from_slice(&[ESCAPE, 0xdd]),
            _ => answer.push(byte),
        }
    }
    answer.push(MARK);
    answer
}

/// The next item's number and value.
fn item<'a>(cursor: &mut Cursor<'a>) -> Option<(u16, &'a [u8])> {
    let id = cursor.u16()?;
    let length = usize::from(cursor.u16()?).checked_sub(ITEM_HEAD_BYTES)?;
    Some((id, cursor.take(length)?))
}

fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    (!text.is_empty()).then_some(text)
}

fn login(content: &[u8], index: [u8; 4], cx: &mut Context<'_>) -> Result<(), Reject> {
    const IMEI: u16 = 3;
    let mut ident = None;
    let mut cursor = Cursor::new(content);
    while cursor.left() > 0 {
        let (id, value) = item(&mut cursor).ok_or(SHORT)?;
        if id == IMEI {
            ident = text(value);
        }
    }
    let ident = ident.ok_or(Reject::new("login", "without an IMEI", HEAD_BYTES))?;
    cx.identify(Login::of(ident))?;
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "AA02");
    let mut cursor = Cursor::new(content);
    while let Some((id, value)) = item(&mut cursor) {
        match (id, text(value)) {
            // the password of the access point is no telemetry
            (IMEI | 7, _) => {}
            (1, text) => message.push_some(fields::DEVICE_FIRMWARE_VERSION, text),
            (2, text) => message.push_some(fields::VEHICLE_VIN, text),
            (9, text) => message.push_some(fields::GSM_SIM_ICCID, text),
            (6, Some(user)) => message.name("apn.user", user),
            (10, Some(apn)) => message.name("apn", apn),
            _ => message.wire(u32::from(id), value),
        }
    }
    drop(message);
    cx.reply(Reply::admitted(answer(LOGIN_ANSWER, index, &[0])));
    Ok(())
}

/// Entries with the length before the number.
fn handshake(content: &[u8], index: [u8; 4], cx: &mut Context<'_>) -> Result<(), Reject> {
    const IMEI: u16 = 0xa004;
    let mut cursor = Cursor::new(content);
    let count = cursor.u8().ok_or(SHORT)?;
    let mut ident = None;
    for _ in 0..count {
        let Some(length) = cursor.u16() else { break };
        let id = cursor.u16().ok_or(SHORT)?;
        let length = usize::from(length).checked_sub(ITEM_HEAD_BYTES);
        let value = cursor.take(length.ok_or(SHORT)?).ok_or(SHORT)?;
        if id == IMEI {
            ident = text(value);
        }
    }
    let answer = answer(HANDSHAKE_ANSWER, index, &[]);
    if let Some(ident) = ident {
        cx.identify(Login::of(ident))?;
        cx.reply(Reply::admitted(answer));
    } else {
        cx.reply(Reply::open(answer));
    }
    Ok(())
}

fn faults(content: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let (_, codes) = item(&mut Cursor::new(content)).ok_or(SHORT)?;
    let codes: Vec<String> = codes
        .chunks_exact(2)
        .filter_map(|code| code.first_chunk())
        .map(|code| obd::trouble_code(u16::from_be_bytes(*code)))
        .collect();
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "AA12");
    message.push(
        fields::CAN_DTC_NUMBER,
        i64::try_from(codes.len()).unwrap_or(0),
    );
    message.push(fields::CAN_DTC_CODES, &*codes.join(","));
    Ok(())
}

fn position(content: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    const IMEI: u16 = 0x000f;
    let mut cursor = Cursor::new(content);
    let status = cursor.u16().ok_or(SHORT)?;
    let event = cursor.u16().ok_or(SHORT)?;
    let clock = cursor.take(12).ok_or(SHORT)?;
    let [longitude, latitude] = [cursor.u32(), cursor.u32()];
    let speed = cursor.u16().ok_or(SHORT)?;
    let course = cursor.u16().ok_or(SHORT)?;
    let altitude = cursor.i16().ok_or(SHORT)?;
    let odometer_speed = cursor.u16().ok_or(SHORT)?;
    let items = cursor;

    let mut imei = None;
    while let Some((id, value)) = item(&mut cursor) {
        if id == IMEI {
            imei = text(value);
        }
    }
    if let (None, Some(imei)) = (cx.ident(), imei) {
        cx.identify(Login::of(imei))?;
    }
    let imei = imei.filter(|imei| cx.ident().is_none_or(|ident| ident.as_str() != *imei));

    let civil = text(clock).and_then(|text| time::digits(text, "ymdHMS"));
    let ms = civil.and_then(|civil| civil.ms(cx.settings()));
    let mut message = cx.message(time::or_impossible(ms, cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "AA00");
    let degrees = |raw: Option<u32>| raw.map(|raw| units::scaled(raw.cast_signed().into(), 5));
    let place = degrees(latitude)
        .zip(degrees(longitude))
        .filter(|(lat, lon)| *lat != 0.0 || *lon != 0.0)
        .filter(|(lat, lon)| lat.abs() <= 90.0 && lon.abs() <= 180.0);
    message.push(
        fields::POSITION_VALID,
        status & 0x8000 != 0 && place.is_some(),
    );
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    message.push(fields::POSITION_SPEED, speed);
    let course = (course <= 360).then_some(course);
    message.push_some(fields::POSITION_DIRECTION, course);
    message.push(fields::POSITION_ALTITUDE, altitude);
    message.push(fields::VEHICLE_SPEED, odometer_speed);
    message.push(fields::STATUS_BITMASK, status);
    message.push(fields::ENGINE_IGNITION_STATUS, status & 0x4000 != 0);
    message.push(fields::EVENT_ENUM, event);
    let alarm = match event {
        4 => Some(fields::FATIGUE_EVENT_TRIGGER),
        6 => Some(fields::ALARM_EVENT_TRIGGER),
        7 => Some(fields::HARSH_BRAKING_EVENT_TRIGGER),
        8 => Some(fields::HARSH_ACCELERATION_EVENT_TRIGGER),
        9 => Some(fields::HARSH_CORNERING_EVENT_TRIGGER),
        10 => Some(fields::CRASH_EVENT_TRIGGER),
        16 => Some(fields::TAMPERING_EVENT_TRIGGER),
        _ => None,
    };
    if let Some(alarm) = alarm {
        message.push(alarm, true);
    }
    message.push_some(fields::DEVICE_IMEI, imei);
    let mut cursor = items;
    let mut behind = cursor;
    while let Some((id, value)) = item(&mut cursor) {
        if id != IMEI && push_item(id, value, &mut message).is_none() {
            message.wire(u32::from(id), value);
        }
        behind = cursor;
    }
    // an item that is cut short is no reason to lose the place
    if behind.left() > 0 {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(behind.rest()));
    }
    Ok(())
}

/// Adds an item; `None` if it is not known, or not of the form that is.
fn push_item(id: u16, value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    match id {
        0x0001 => engine(value, message),
        0x0005 => {
            let mut cursor = Cursor::new(value);
            let (signal, hdop, seconds) = (cursor.u8()?, cursor.u8()?, cursor.u32()?);
            message.push(fields::GSM_SIGNAL_ENUM, signal);
            message.push(fields::POSITION_HDOP, hdop);
            message.push(fields::UPTIME, seconds);
            Some(())
        }
        0x0009 => {
            message.push(fields::VEHICLE_VIN, text(value)?);
            Some(())
        }
        0x0010 => {
            message.push(fields::VEHICLE_MILEAGE, float(text(value)?)?);
            Some(())
        }
        0x0011 => {
            let raw = u32::from_be_bytes(value.try_into().ok()?);
            let hours = units::round(f64::from(raw) * 0.05, 2);
            message.push(fields::ENGINE_MOTORHOURS, hours);
            Some(())
        }
        0x0014 => air(value, message),
        0x0020 => {
            push_cells(text(value)?, message);
            Some(())
        }
        0x0021 => {
            push_points(text(value)?, message);
            Some(())
        }
        _ => None,
    }
}

fn engine(value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut cursor = Cursor::new(value);
    let (coolant, rpm, average) = (cursor.u8()?, cursor.u16()?, cursor.u8()?);
    let (interval, consumption, trip) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
    let (supply, fuel, trip_id) = (cursor.u16()?, cursor.u8()?, cursor.u32()?);
    let percent = |raw: u8| (raw != u8::MAX).then(|| units::round(f64::from(raw) * 0.4, 1));
    let hundredths = |raw: u16| units::scaled(raw.into(), 2);
    if coolant != u8::MAX {
        let celsius = i64::from(coolant) - 40;
        message.push(fields::CAN_ENGINE_COOLANT_TEMPERATURE, celsius);
    }
    message.push_some(fields::CAN_ENGINE_RPM, (rpm != u16::MAX).then_some(rpm));
    message.name("average.speed", average);
    message.name("interval.fuel", interval);
    message.push(fields::FUEL_CONSUMPTION, hundredths(consumption));
    message.push(fields::TRIP_MILEAGE, units::scaled(trip.into(), 3));
    message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, hundredths(supply));
    message.push_some(fields::CAN_FUEL_LEVEL, percent(fuel));
    let trip_id = (trip_id != u32::MAX).then_some(trip_id);
    message.push_some(fields::TRIP_SEQNUM, trip_id);
    message.push_some(fields::CAN_ADBLUE_LEVEL, cursor.u8().and_then(percent));
    if cursor.left() > 0 {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(cursor.rest()));
    }
    Some(())
}

fn air(value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut cursor = Cursor::new(value);
    let given = cursor.u8()?;
    let (load, timing, air) = (cursor.u8()?, cursor.u8()?, cursor.u8()?);
    let (flow, throttle) = (cursor.u16()?, cursor.u8()?);
    let percent = |raw: u8| units::round(f64::from(raw) * 100.0 / 255.0, 1);
    let mut push = |bit: u8, key, value: f64| {
        if given & bit != 0 {
            message.push(key, value);
        }
    };
    push(0x80, fields::CAN_ENGINE_LOAD_LEVEL, percent(load));
    push(0x40, fields::CAN_TIMING_ADVANCE, f64::from(timing) * 0.5);
    push(
        0x20,
        fields::CAN_INTAKE_AIR_TEMPERATURE,
        f64::from(air) - 40.0,
    );
    push(0x10, fields::CAN_MAF, units::scaled(flow.into(), 2));
    push(0x08, fields::CAN_THROTTLE_LEVEL, percent(throttle));
    Some(())
}

fn push_cells(text: &str, message: &mut RecordBuilder<'_>) {
    for (number_of, cell) in (0..).zip(text.split('+').take(NEIGHBOURS_MAX)) {
        let mut parts = cell.split('@');
        let [mcc, mnc] = [parts.next(), parts.next()].map(|part| part.and_then(number));
        let [lac, id] = [parts.next(), parts.next()]
            .map(|part| part.and_then(|part| i64::from_str_radix(part.trim(), 16).ok()));
        let dbm = None;
        cells::push(
            message,
            number_of,
            Cell {
                mcc,
                mnc,
                lac,
                id,
                dbm,
            },
        );
    }
}

fn push_points(text: &str, message: &mut RecordBuilder<'_>) {
    for (number_of, point) in (1..).zip(text.split('+').take(NEIGHBOURS_MAX)) {
        let (address, signal) = point.rsplit_once('@').unwrap_or((point, ""));
        let number_of: Instance = number_of;
        let address = address.trim().to_ascii_lowercase();
        if !address.is_empty() {
            message.push((fields::WIFI_MAC_N, number_of), &*address);
        }
        message.push_some(
            (fields::WIFI_SIGNAL_DBM_N, number_of),
            number::<i64>(signal),
        );
    }
}
