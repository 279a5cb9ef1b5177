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
//! | 80, 81 | answer to an instruction: its kind (1), its number (4), text |
//!
//! A place is a time (4), a mask, and by its bits: 1 latitude, longitude (4 each, 1/1800000 degrees),
//! altitude, km/h, course (2 each), satellites; 2 MCC, MNC, LAC (2 each), cell (4), level; 4, 8 LAC, cell, level
//! of neighbours; 10, 20, 40 Wi-Fi (6) and dBm; 80 the network's technology, a count, and that many LTE
//! cells.
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

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, ParamId, Probe, RecordBuilder, Reject,
    Reply, Time, fields,
};
use crate::kit::cells::{self, Cell};
use crate::kit::cursor::Cursor;
use crate::kit::{bcd, framing, hex, obd, time, units};

const HEAD_BYTES: usize = 5;
const MARK: &[u8] = &[0x67, 0x67];
const WRAP: &[u8] = b"EL";
const WRAP_HEAD_BYTES: usize = 4;
const IMEI_BYTES: usize = 8;
const PHONE_BYTES: usize = 21;
/// The most beacons that a package names.
const BEACONS_MAX: u16 = 64;
const SHORT: Reject = Reject::new("package", "cut short", 0);

const LOGIN: u8 = 0x01;
const FIRST_POSITION: u8 = 0x02;
const HEARTBEAT: u8 = 0x03;
const FIRST_ALARM: u8 = 0x04;
const FIRST_STATUS: u8 = 0x05;
const FIRST_MESSAGE: u8 = 0x06;
const EXTENDED_HEARTBEAT: u8 = 0x07;
const POSITION: u8 = 0x12;
const WARNING: u8 = 0x14;
const REPORT: u8 = 0x15;
const MESSAGE: u8 = 0x16;
const VEHICLE: u8 = 0x17;
const INSTRUCTION: u8 = 0x80;

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
        HEARTBEAT => heartbeat(kind, &mut cursor, cx)?,
        EXTENDED_HEARTBEAT if cursor.left() < 9 => heartbeat(kind, &mut cursor, cx)?,
        EXTENDED_HEARTBEAT | VEHICLE => vehicle(kind, number, &mut cursor, cx)?,
        FIRST_POSITION | FIRST_ALARM | FIRST_STATUS | FIRST_MESSAGE => {
            first_edition(kind, number, &mut cursor, cx)?;
        }
        POSITION | WARNING | REPORT | MESSAGE => placed(kind, number, &mut cursor, cx)?,
        INSTRUCTION.. => instruction(kind, number, &mut cursor, cx)?,
        _ => {
            let mut message = begin(kind, number, Time::Received(cx.now_ms), cx)?;
            message.push(fields::PAYLOAD_HEX, &*hex::encode(cursor.rest()));
        }
    }
    if kind != FIRST_POSITION && kind < INSTRUCTION {
        cx.reply(Reply::stored(answer(kind, number, &[], imei)));
    }
    Ok(())
}

fn begin<'c>(
    kind: u8,
    number: u16,
    time: Time,
    cx: &'c mut Context<'_>,
) -> Result<RecordBuilder<'c>, Reject> {
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, &*format!("{kind:02x}"));
    message.push(fields::FRAME_SEQNUM, number);
    Ok(message)
}

fn seconds(cursor: &mut Cursor<'_>, now_ms: i64) -> Option<Time> {
    let seconds = i64::from(cursor.u32()?);
    let ms = (seconds > 0).then(|| seconds * 1000);
    Some(time::or_impossible(ms, now_ms))
}

fn heartbeat(kind: u8, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let status = cursor.u16().ok_or(SHORT)?;
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, &*format!("{kind:02x}"));
    push_status(&mut message, status, false);
    let mut wire = 0;
    while let Some(value) = cursor.u16() {
        message.wire(wire, i64::from(value));
        wire += 1;
    }
    Ok(())
}

fn push_status(message: &mut RecordBuilder<'_>, status: u16, second: bool) {
    let bit = |bit: u16| status >> bit & 1 == 1;
    message.push(fields::STATUS_BITMASK, status);
    if bit(1) {
        message.push(fields::ENGINE_IGNITION_STATUS, bit(2));
    }
    if bit(3) {
        message.push(fields::ARM_STATUS, bit(4));
    }
    if bit(5) {
        message.push(fields::ENGINE_BLOCKED_STATUS, bit(6) == second);
    }
    if bit(7) {
        message.push(fields::BATTERY_CHARGING_STATUS, bit(8));
    }
    if second {
        if !bit(0) {
            message.push(fields::POSITION_VALID, false);
        }
        message.push(fields::MOVEMENT_STATUS, bit(9));
        message.push(fields::GNSS_STATUS, bit(10));
        for input in 1..=4u16 {
            message.push((fields::DIN_N, input), bit(11 + input));
        }
    }
}

fn push_place(message: &mut RecordBuilder<'_>, latitude: u32, longitude: u32, valid: bool) -> bool {
    let degrees = |raw: u32| units::round(f64::from(raw.cast_signed()) / 1_800_000.0, 7);
    let (latitude, longitude) = (degrees(latitude), degrees(longitude));
    let there =
        (latitude != 0.0 || longitude != 0.0) && latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
    message.push(fields::POSITION_VALID, valid && there);
    if there {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    there
}

fn first_edition(
    kind: u8,
    number: u16,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let time = seconds(cursor, cx.now_ms).ok_or(SHORT)?;
    let (latitude, longitude) = (cursor.u32().ok_or(SHORT)?, cursor.u32().ok_or(SHORT)?);
    let (speed, course) = (cursor.u8().ok_or(SHORT)?, cursor.u16().ok_or(SHORT)?);
    let cell = Cell {
        mcc: cursor.u16().map(i64::from),
        mnc: cursor.u16().map(i64::from),
        lac: cursor.u16().map(i64::from),
        id: cursor.u24().map(i64::from),
        dbm: None,
    };
    let valid = cursor.u8().ok_or(SHORT)? & 1 == 1;
    let mut message = begin(kind, number, time, cx)?;
    if push_place(&mut message, latitude, longitude, valid) {
        message.push(fields::POSITION_SPEED, speed);
        message.push(fields::POSITION_DIRECTION, course);
    }
    cells::push(&mut message, 0, cell);
    match kind {
        FIRST_ALARM => push_warning(&mut message, cursor.u8().ok_or(SHORT)?),
        FIRST_STATUS => {
            message.push_some(fields::EVENT_ENUM, cursor.u8());
            let since = cursor.u32();
            message.push_some(crate::contract::Key::Name("status.time"), since);
            if let Some(status) = cursor.u16() {
                push_status(&mut message, status, false);
            }
        }
        FIRST_MESSAGE => push_text(&mut message, cursor),
        _ => {
            if let Some(status) = cursor.u16() {
                push_status(&mut message, status, false);
            }
            let volts = cursor.u16().map(|mv| f64::from(mv) / 1000.0);
            message.push_some(fields::BATTERY_VOLTAGE, volts);
            message.push_some(fields::GSM_SIGNAL_ENUM, cursor.u16());
            for input in 1..=2 {
                let volts = cursor.u16().map(|mv| f64::from(mv) / 1000.0);
                message.push_some((fields::AIN_N, input), volts);
            }
        }
    }
    push_left(&mut message, cursor);
    Ok(())
}

fn push_left(message: &mut RecordBuilder<'_>, cursor: &Cursor<'_>) {
    if cursor.left() > 0 {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(cursor.rest()));
    }
}

/// A telephone number in its place, and a text.
fn push_text(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) {
    if let Some(phone) = cursor.take(PHONE_BYTES) {
        let phone = String::from_utf8_lossy(phone);
        message.push(fields::GSM_PHONE, phone.trim_matches(['\0', ' ']));
        let left = cursor.left();
        let text = String::from_utf8_lossy(cursor.take(left).unwrap_or_default());
        message.push(fields::TEXT_MESSAGE, text.trim_matches('\0'));
    }
}

fn warning(code: u8) -> Option<ParamId> {
    Some(match code {
        0x01 => fields::POWER_CUT_EVENT_TRIGGER,
        0x02 => fields::ALARM_EVENT_TRIGGER,
        0x03 => fields::BATTERY_LOW_EVENT_TRIGGER,
        0x04 => fields::VIBRATION_EVENT_TRIGGER,
        0x05 => fields::MOVEMENT_EVENT_TRIGGER,
        0x08 | 0x09 => fields::GNSS_ANTENNA_CUT_EVENT_TRIGGER,
        0x25 => fields::TAMPERING_EVENT_TRIGGER,
        0x82 => fields::OVERSPEEDING_EVENT_TRIGGER,
        0x83 => fields::GEOFENCE_EVENT_ENTER,
        0x84 => fields::GEOFENCE_EVENT_EXIT,
        0x85 => fields::CRASH_EVENT_TRIGGER,
        0x86 => fields::FALL_EVENT_TRIGGER,
        0x50..=0x57 => fields::TEMPERATURE_EVENT_TRIGGER,
        _ => return None,
    })
}

fn push_warning(message: &mut RecordBuilder<'_>, code: u8) {
    message.push(fields::ALARM_CODE, code);
    if let Some(alarm) = warning(code) {
        message.push(alarm, true);
        if code == 0x01 {
            message.push(fields::EXTERNAL_POWERSOURCE_STATUS, false);
        }
    }
}

/// Level of a cell as dBm.
fn dbm(level: u8) -> i64 {
    if level < 64 {
        i64::from(level) - 110
    } else {
        i64::from(level.cast_signed())
    }
}

fn placed(
    kind: u8,
    number: u16,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let time = seconds(cursor, cx.now_ms).ok_or(SHORT)?;
    let mut message = begin(kind, number, time, cx)?;
    push_parts(&mut message, cursor).ok_or(SHORT)?;
    match kind {
        WARNING => {
            push_warning(&mut message, cursor.u8().ok_or(SHORT)?);
            if let Some(status) = cursor.u16() {
                push_status(&mut message, status, true);
            }
        }
        REPORT => {
            let code = cursor.u8().ok_or(SHORT)?;
            message.push(fields::EVENT_ENUM, code);
            match code {
                1 => message.push(fields::IGNITION_ON_EVENT_TRIGGER, true),
                2 => message.push(fields::IGNITION_OFF_EVENT_TRIGGER, true),
                _ => {}
            }
            if let Some(status) = cursor.u16() {
                push_status(&mut message, status, true);
            }
        }
        MESSAGE => push_text(&mut message, cursor),
        _ => {
            push_state(&mut message, cursor);
        }
    }
    push_left(&mut message, cursor);
    Ok(())
}

/// What the mask says is there.
fn push_parts(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    let mask = cursor.u8()?;
    let bit = |bit: u8| mask >> bit & 1 == 1;
    if bit(0) {
        let (latitude, longitude) = (cursor.u32()?, cursor.u32()?);
        let (altitude, speed, course) = (cursor.i16()?, cursor.u16()?, cursor.u16()?);
        let satellites = cursor.u8()?;
        if push_place(message, latitude, longitude, true) {
            message.push(fields::POSITION_ALTITUDE, altitude);
            message.push(fields::POSITION_SPEED, speed);
            message.push(fields::POSITION_DIRECTION, course);
        }
        message.push(fields::POSITION_SATELLITES, satellites);
    } else {
        message.push(fields::POSITION_VALID, false);
    }
    let mut serving = Cell::default();
    if bit(1) {
        serving = Cell {
            mcc: Some(i64::from(cursor.u16()?)),
            mnc: Some(i64::from(cursor.u16()?)),
            lac: Some(i64::from(cursor.u16()?)),
            id: Some(i64::from(cursor.u32()?)),
            dbm: Some(dbm(cursor.u8()?)),
        };
        cells::push(message, 0, serving);
    }
    for neighbour in 1..=2u8 {
        if bit(1 + neighbour) {
            let cell = Cell {
                lac: Some(i64::from(cursor.u16()?)),
                id: Some(i64::from(cursor.u32()?)),
                dbm: Some(dbm(cursor.u8()?)),
                ..serving
            };
            cells::push(message, u16::from(neighbour), cell);
        }
    }
    for point in 0..3u8 {
        if bit(4 + point) {
            let number = u16::from(point) + 1;
            let mac = cursor.array()?;
            message.push((fields::WIFI_MAC_N, number), &*hex::mac(mac));
            // some write it without the sign
            let dbm = -i64::from(cursor.u8()?.cast_signed()).abs();
            message.push((fields::WIFI_SIGNAL_DBM_N, number), dbm);
        }
    }
    if bit(7) {
        message.push(fields::GSM_NETWORK_ENUM, cursor.u8()?);
        let count = cursor.u8()?;
        if count > 0 {
            let (mcc, mnc) = (cursor.u16()?, cursor.u16()?);
            let (lac, tac, id, advance) =
                (cursor.u16()?, cursor.u16()?, cursor.u32()?, cursor.u16()?);
            let cell = Cell {
                mcc: Some(i64::from(mcc)),
                mnc: Some(i64::from(mnc)),
                lac: Some(i64::from(if tac == 0 { lac } else { tac })),
                id: Some(i64::from(id)),
                dbm: None,
            };
            cells::push(message, 0, cell);
            message.push(fields::GSM_TIMING_ADVANCE, advance);
            for number in 0..count {
                let (physical, channel, level) = (cursor.u16()?, cursor.u16()?, cursor.u8()?);
                message.wire(0x0100 | u32::from(number), i64::from(physical));
                message.wire(0x0200 | u32::from(number), i64::from(channel));
                message.wire(0x0300 | u32::from(number), i64::from(level));
            }
        }
    }
    Some(())
}

/// What stands behind the place of kind 12; a package may end after any of it.
fn push_state(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    let status = cursor.u16()?;
    push_status(message, status, true);
    let volts = |mv: u16| f64::from(mv) / 1000.0;
    message.push(fields::BATTERY_VOLTAGE, volts(cursor.u16()?));
    message.name("adc0", cursor.u16()?);
    message.push((fields::AIN_N, 1), volts(cursor.u16()?));
    let meters = f64::from(cursor.u32()?);
    message.push(fields::VEHICLE_MILEAGE, meters / 1000.0);
    message.name("gsm.counter", cursor.u16()?);
    message.name("gnss.counter", cursor.u16()?);
    message.push(fields::STEP_COUNT, cursor.u16()?);
    message.name("walking.time", cursor.u16()?);
    let celsius = f64::from(cursor.i16()?) / 256.0;
    message.push((fields::SENSOR_TEMPERATURE_N, 1), units::round(celsius, 3));
    let humidity = f64::from(cursor.u16()?) / 10.0;
    message.push(fields::HUMIDITY, humidity);
    let lux = f64::from(cursor.u32()?) / 256.0;
    message.push(fields::ILLUMINATION, units::round(lux, 3));
    message.push(fields::CARBON_DIOXIDE_PPM, cursor.u32()?);
    let celsius = f64::from(cursor.i16()?) / 16.0;
    message.push((fields::SENSOR_TEMPERATURE_N, 2), units::round(celsius, 3));
    let count = u16::from(cursor.u8()?).min(BEACONS_MAX);
    message.name("beacons.type", cursor.u8()?);
    for number in 1..=count {
        let id: [u8; 6] = cursor.array()?;
        message.push((fields::BLE_BEACON_ID_N, number), &*hex::encode(&id));
        let dbm = cursor.u8()?.cast_signed();
        message.push((fields::BLE_BEACON_SIGNAL_DBM_N, number), dbm);
        let _reserved = cursor.u8()?;
        let _model_and_version = cursor.u16()?;
        let mv = cursor.u16()?;
        message.push((fields::BLE_BEACON_BATTERY_VOLTAGE_N, number), volts(mv));
        let celsius = f64::from(cursor.i16()?) / 256.0;
        message.push(
            (fields::BLE_BEACON_TEMPERATURE_N, number),
            units::round(celsius, 3),
        );
        message.push((fields::BLE_BEACON_DATA_N, number), cursor.u16()?);
    }
    Some(())
}

fn vehicle(
    kind: u8,
    number: u16,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let time = seconds(cursor, cx.now_ms).ok_or(SHORT)?;
    let mut message = begin(kind, number, time, cx)?;
    while let (Some(id), Some(value)) = (cursor.u8(), cursor.array::<4>()) {
        let raw = u32::from_be_bytes(value);
        match id {
            0x89 => message.push(fields::FUEL_CONSUMPTION, raw),
            0x8a => message.push(fields::CAN_VEHICLE_MILEAGE, f64::from(raw) / 1000.0),
            0x8b => message.push(fields::FUEL_VOLUME, raw),
            _ if raw != u32::MAX && obd::push(&mut message, u16::from(id), &value) => {}
            _ => message.wire(u32::from(id), i64::from(raw)),
        }
    }
    push_left(&mut message, cursor);
    Ok(())
}

/// The device's answer to an instruction.
fn instruction(
    kind: u8,
    number: u16,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let (what, flag) = (cursor.u8().ok_or(SHORT)?, cursor.u32().ok_or(SHORT)?);
    let text = String::from_utf8_lossy(cursor.rest());
    let text = text.trim_matches('\0');
    cx.command_reply(Some(flag), text);
    let mut message = begin(kind, number, Time::Received(cx.now_ms), cx)?;
    message.push(fields::COMMAND_TYPE, &*format!("{what:02x}"));
    message.push(fields::COMMAND_RESULT, text);
    Ok(())
}
