//! The binary form of GB100, GV200, GV300 and others.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | `+RSP`, `+EVT` (`+BSP`, `+BVT`: from memory), `+INF`, `+ACK`, `+HBD`, `+LGN`, `+CRD` |
//! | 1, 4, 2 | type, mask, length of the frame (`+RSP` and `+EVT`; the others have a shorter mask) |
//! | 1, 2, 2 | device type, protocol's and firmware's version |
//! | 8 | IMEI, two digits a byte, or the device's name |
//! | ... | battery, supply, inputs: a matter of the device |
//! | 1, 1 | number of places, accuracy |
//! | 3, 2, 2 | speed (km/h and tenths), course, altitude |
//! | 4, 4, 7 | longitude, latitude (millionths), year, month, day, hour, minute, second |
//! | 2, 2, 2, 2, 1 | MCC and MNC in BCD, LAC, cell, reserved |
//! | ... | distances, and what the type of the frame adds |
//! | 7, 2, 2, 2 | send time, count, CRC-16/CCITT from the type to the count, CR LF |
//!
//! Type 64 of `+RSP` has a place for each second: a count of 2 bytes, and then records whose three
//! highest bits tell what they are: 3 a whole one (course 9 bits, speed 12 bits before it, longitude,
//! latitude, unix time: 15 bytes), 5 the differences to the one before (speed 7, course 7, longitude 12,
//! latitude 11 bits: 5 bytes, one second later), 7 a second without a fix (1 byte).
//!
//! GL601 and its like write `+`, 0, length (2), flags, IMEI (8, BCD), device type (2), versions (3), a
//! reserved part, and then records of fields: id, length, content. Field 52 is the place. The vendor
//! does not say how the byte before the `$` is computed: it is not checked.

use super::state;
use crate::contract::{Context, Login, RecordBuilder, Reject, Time, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::time::{self, Civil};
use crate::kit::{bcd, checksum, hex};
use nom::bytes::complete::take;
use nom::number::complete::{be_i16, be_i32, be_u8, be_u16, be_u24, be_u32};
use nom::{IResult, Parser};

/// The shortest frame.
const FRAME_BYTES_MIN: usize = 12;
/// CRC and line end.
const END_BYTES: usize = 4;
/// Send time, count, CRC and line end.
const TAIL_BYTES: usize = 13;
/// From number to the end of the network.
const PLACE_BYTES: usize = 33;
/// The device type of GB100.
const GB100: u8 = 0x45;
/// The type of a report with a place for each second.
const EACH_SECOND: u8 = 0x64;

/// How long the frame at the beginning of `input` is, or how much of it must be there to tell;
/// `None` if no frame begins so.
pub(super) fn length(input: &[u8]) -> Option<usize> {
    let short = |at: usize| match (input.get(at), input.get(at + 1)) {
        (Some(high), Some(low)) => usize::from(u16::from_be_bytes([*high, *low])),
        _ => at + 2,
    };
    let byte = |at: usize| input.get(at).map_or(at + 1, |byte| usize::from(*byte));
    let length = match input.get(..4)? {
        b"+RSP" | b"+BSP" | b"+EVT" | b"+BVT" => short(9),
        b"+INF" | b"+BNF" => short(7),
        b"+CRD" | b"+BRD" | b"+LGN" => short(6),
        b"+ACK" => byte(6),
        b"+HBD" => byte(5),
        [_, 0x00, ..] => short(2),
        [_, 0x10, ..] => byte(2),
        _ => return None,
    };
    Some(length.max(FRAME_BYTES_MIN))
}

/// Reads a frame.
pub(super) fn read(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let short = Reject::new("binary", "cut short", frame.len());
    match frame {
        [_, 0x00, ..] => return records(frame, cx),
        [_, 0x10, ..] => return Err(Reject::new("heartbeat", "not of a device known here", 1)),
        _ => {}
    }
    let body_end = frame.len().checked_sub(END_BYTES).ok_or(short)?;
    let covered = frame.get(4..body_end).ok_or(short)?;
    let [crc @ .., b'\r', b'\n'] = frame.get(body_end..).ok_or(short)? else {
        return Err(Reject::new("binary", "no line end", body_end));
    };
    if *crc != checksum::crc16_ccitt_false(covered).to_be_bytes() {
        return Err(Reject::new("crc", "the checksum does not fit", body_end));
    }
    let mark = frame.get(1..4).ok_or(short)?;
    let ident_at = match mark {
        b"RSP" | b"BSP" | b"EVT" | b"BVT" => 16,
        b"INF" | b"BNF" => 9,
        b"ACK" => 12,
        b"LGN" => 15,
        b"HBD" => heartbeat_ident(frame.get(4).copied().unwrap_or_default()),
        _ => return Err(Reject::new("binary", "a kind that is not known", 1)),
    };
    let ident = frame
        .get(ident_at..)
        .and_then(|rest| rest.first_chunk::<8>())
        .ok_or(short)?;
    cx.identify(Login::of(&name(*ident)))?;
    let mark = std::str::from_utf8(mark).map_err(|_| short)?;
    match mark {
        "ACK" => {
            let (kind, serial) = (frame.get(4).copied(), frame.get(21..23));
            let key = serial.and_then(|serial| serial.first_chunk::<2>());
            let key = key.map(|serial| u32::from(u16::from_be_bytes(*serial)));
            cx.command_reply(key, &format!("{:02X}", kind.unwrap_or_default()));
            Ok(())
        }
        "HBD" | "LGN" => Ok(()),
        "INF" | "BNF" => {
            let body = frame.get(ident_at + 8..).ok_or(short)?;
            let time = sent(frame, cx);
            let mut message = cx.message(time)?;
            envelope(&mut message, mark, frame.get(4).copied());
            message.push(fields::POSITION_VALID, false);
            let versions: IResult<_, _> = (be_u8, be_u16, be_u16).parse(body);
            if let Ok((_, (_, protocol, firmware))) = versions {
                push_versions(&mut message, protocol, firmware);
            }
            push_bytes(&mut message, body);
            Ok(())
        }
        _ => report(mark, frame, ident_at + 8, cx),
    }
}

/// Where the ident of a heartbeat stands: the mask says what is before it.
fn heartbeat_ident(mask: u8) -> usize {
    let has = |bit: u8, bytes: usize| if mask & 1 << bit == 0 { 0 } else { bytes };
    6 + has(1, 1) + has(2, 2) + has(3, 2)
}

/// The IMEI's digits, or the device's name.
fn name(bytes: [u8; 8]) -> String {
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let text = bytes.get(..end).unwrap_or_default();
    let is_name = text.iter().all(u8::is_ascii_graphic);
    if !is_name && bytes.iter().all(|byte| *byte < 100) {
        // the last byte is one digit
        let [pairs @ .., last] = bytes;
        let digit = |digit: u8| char::from_digit(digit.into(), 10).unwrap_or('?');
        let digits = pairs
            .iter()
            .flat_map(|pair| [digit(pair / 10), digit(pair % 10)]);
        return digits.chain([digit(last % 10)]).collect();
    }
    String::from_utf8_lossy(text).into_owned()
}

/// Year (2 bytes), month, day, hour, minute, second.
fn clock(bytes: &[u8]) -> Option<Civil> {
    let &[century, year, month, day, hour, minute, second] = bytes.first_chunk::<7>()?;
    let civil = Civil {
        year: i64::from(u16::from_be_bytes([century, year])),
        month: month.into(),
        day: day.into(),
        hour: hour.into(),
        minute: minute.into(),
        second: second.into(),
    };
    civil.utc_ms().map(|_| civil)
}

/// The time at which the frame was sent.
fn sent(frame: &[u8], cx: &Context<'_>) -> Time {
    let bytes = frame
        .len()
        .checked_sub(TAIL_BYTES)
        .and_then(|at| frame.get(at..));
    let civil = bytes.and_then(clock);
    time::or_impossible(civil.and_then(|civil| civil.ms(cx.settings())), cx.now_ms)
}

fn envelope(message: &mut RecordBuilder<'_>, mark: &str, kind: Option<u8>) {
    message.push(fields::MESSAGE_TYPE, mark);
    message.push_some(fields::EVENT_ENUM, kind);
    if mark.starts_with('B') {
        message.push(fields::MESSAGE_BUFFERED_STATUS, true);
    }
}

fn push_versions(message: &mut RecordBuilder<'_>, protocol: u16, firmware: u16) {
    message.push(fields::PROTOCOL_VERSION, &*format!("{protocol:04X}"));
    message.push(fields::DEVICE_FIRMWARE_VERSION, &*format!("{firmware:04X}"));
}

fn push_bytes(message: &mut RecordBuilder<'_>, bytes: &[u8]) {
    if !bytes.is_empty() {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(bytes));
    }
}

/// What stands between the ident and the places, as far as the device's type tells.
#[derive(Clone, Copy)]
struct State<'f> {
    mark: &'f str,
    kind: u8,
    protocol: u16,
    firmware: u16,
    device: u8,
    bytes: &'f [u8],
}

impl State<'_> {
    /// How many bytes it takes.
    fn length(&self) -> usize {
        if self.device == GB100 { 5 } else { 12 }
    }

    fn push(&self, message: &mut RecordBuilder<'_>) {
        envelope(message, self.mark, Some(self.kind));
        push_versions(message, self.protocol, self.firmware);
        let short = |at: usize| {
            let bytes = self.bytes.get(at..)?.first_chunk::<2>()?;
            Some(f64::from(u16::from_be_bytes(*bytes)) / 1000.0)
        };
        let byte = |at: usize| self.bytes.get(at).copied().unwrap_or_default();
        let states_at = if self.device == GB100 {
            message.push(fields::BATTERY_LEVEL, byte(0));
            message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, short(1));
            3
        } else {
            message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, short(0));
            for (input, at) in [(1, 2), (2, 4), (3, 6)] {
                message.push_some((fields::AIN_N, input), short(at));
            }
            state::push_inputs(message, &format!("{:02X}", byte(8)));
            state::push_outputs(message, &format!("{:02X}", byte(9)));
            10
        };
        let (motion, satellites) = (byte(states_at), byte(states_at + 1));
        state::push(message, &format!("{motion:02X}"));
        // the high digit is the antenna's
        message.push(fields::POSITION_SATELLITES, satellites & 15);
    }
}

/// The network of four numbers, country and network code in BCD.
fn network(bytes: &[u8]) -> Option<Cell> {
    let read: IResult<_, _> = (take(2usize), take(2usize), be_u16, be_u16).parse(bytes);
    let (_, (mcc, mnc, lac, id)) = read.ok()?;
    Some(Cell {
        mcc: Some(bcd::number(mcc).filter(|mcc| cells::is_mcc(*mcc))?),
        mnc: bcd::number(mnc),
        lac: Some(lac.into()),
        id: Some(id.into()),
        dbm: None,
    })
}

struct Place {
    accuracy: u8,
    speed: u32,
    course: u16,
    altitude: i16,
    longitude: i32,
    latitude: i32,
    time: Civil,
}

/// The place whose number of places stands at the beginning of `bytes`.
fn place(bytes: &[u8]) -> Option<Place> {
    let read: IResult<_, _> = (
        be_u8,
        be_u8,
        be_u24,
        be_u16,
        be_i16,
        be_i32,
        be_i32,
        take(7usize),
    )
        .parse(bytes);
    let (_, (_, accuracy, speed, course, altitude, longitude, latitude, time)) = read.ok()?;
    let fits = latitude.unsigned_abs() <= 90_000_000
        && longitude.unsigned_abs() <= 180_000_000
        && (latitude != 0 || longitude != 0)
        && course <= 360;
    let time = clock(time).filter(|civil| fits && (2000..2080).contains(&civil.year))?;
    Some(Place {
        accuracy,
        speed,
        course,
        altitude,
        longitude,
        latitude,
        time,
    })
}

/// `+RSP` and `+EVT`.
fn report(mark: &str, frame: &[u8], at: usize, cx: &mut Context<'_>) -> Result<(), Reject> {
    let short = Reject::new("binary", "cut short", frame.len());
    let head: IResult<_, _> =
        (take(4usize), be_u8, be_u32, be_u16, be_u8, be_u16, be_u16).parse(frame);
    let (_, (_, kind, _, _, device, protocol, firmware)) = head.map_err(|_| short)?;
    let end = frame.len().checked_sub(TAIL_BYTES).ok_or(short)?;
    let body = frame.get(at..end).ok_or(short)?;
    let state = State {
        mark,
        kind,
        protocol,
        firmware,
        device,
        bytes: body,
    };
    if kind == EACH_SECOND && device == GB100 && mark.ends_with("SP") {
        return each_second(state, cx);
    }
    let found = (0..body.len()).find_map(|at| Some((at, place(body.get(at..)?)?)));
    let Some((at, place)) = found else {
        let time = sent(frame, cx);
        let mut message = cx.message(time)?;
        state.push(&mut message);
        message.push(fields::POSITION_VALID, false);
        push_bytes(&mut message, body);
        return Ok(());
    };
    let now_ms = cx.now_ms;
    let mut message = cx.message(time::or_impossible(place.time.utc_ms(), now_ms))?;
    state.push(&mut message);
    message.push(fields::POSITION_VALID, place.accuracy > 0);
    message.push(fields::POSITION_LATITUDE, f64::from(place.latitude) / 1e6);
    message.push(fields::POSITION_LONGITUDE, f64::from(place.longitude) / 1e6);
    message.push(fields::POSITION_ALTITUDE, place.altitude);
    let speed = f64::from(place.speed >> 8) + f64::from(place.speed & 0xff) / 10.0;
    message.push(fields::POSITION_SPEED, speed);
    message.push(fields::POSITION_DIRECTION, place.course);
    message.push(fields::POSITION_HDOP, place.accuracy);
    let before = body.get(state.length()..at).unwrap_or_default();
    if !before.is_empty() {
        message.name("before", before);
    }
    let network_at = at + PLACE_BYTES - 9;
    if let Some(cell) = body.get(network_at..).and_then(network) {
        cells::push(&mut message, 0, cell);
    }
    push_bytes(
        &mut message,
        body.get(at + PLACE_BYTES..).unwrap_or_default(),
    );
    Ok(())
}

/// Sign extension of the lowest `bits` of `value`.
fn signed(value: u64, bits: u32) -> i64 {
    (value << (64 - bits)).cast_signed() >> (64 - bits)
}

/// A place for each second.
fn each_second(state: State<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let bad = Reject::new("places", "a record that is none", 0);
    let rest = state.bytes.get(state.length()..).ok_or(bad)?;
    let head: IResult<_, _> = be_u16(rest);
    let (mut rest, count) = head.map_err(|_| bad)?;
    let (mut speed, mut course, mut longitude, mut latitude) = (0i64, 0i64, 0i64, 0i64);
    let mut seconds: Option<i64> = None;
    for _ in 0..count {
        let first = rest.first().ok_or(bad)?;
        match first >> 5 {
            3 => {
                let whole: IResult<_, _> = (be_u24, be_i32, be_i32, be_u32).parse(rest);
                let (after, (motion, east, north, unix)) = whole.map_err(|_| bad)?;
                speed = i64::from(motion >> 9 & 0xfff);
                course = i64::from(motion & 0x1ff);
                (longitude, latitude) = (east.into(), north.into());
                seconds = Some(unix.into());
                rest = after;
            }
            5 => {
                let (bytes, after) = rest.split_first_chunk::<5>().ok_or(bad)?;
                let bits = bytes
                    .iter()
                    .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
                speed += signed(bits >> 30, 7);
                course += signed(bits >> 23, 7);
                longitude += signed(bits >> 11, 12);
                latitude += signed(bits, 11);
                seconds = Some(seconds.ok_or(bad)? + 1);
                rest = after;
            }
            7 => {
                seconds = Some(seconds.ok_or(bad)? + 1);
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            _ => return Err(bad),
        }
        let unix = seconds.ok_or(bad)?;
        let mut message = cx.message(Time::Device(unix * 1000))?;
        envelope(&mut message, state.mark, Some(state.kind));
        let fits = latitude.abs() <= 90_000_000 && longitude.abs() <= 180_000_000;
        message.push(fields::POSITION_VALID, fits);
        if fits {
            message.push(fields::POSITION_LATITUDE, latitude as f64 / 1e6);
            message.push(fields::POSITION_LONGITUDE, longitude as f64 / 1e6);
            message.push(fields::POSITION_SPEED, speed as f64 / 10.0);
            message.push(fields::POSITION_DIRECTION, course.rem_euclid(360));
        }
    }
    let now_ms = cx.now_ms;
    let time = seconds.map_or(Time::Received(now_ms), |unix| Time::Device(unix * 1000));
    let mut message = cx.message(time)?;
    state.push(&mut message);
    if let Some(cell) = network(rest) {
        cells::push(&mut message, 0, cell);
    }
    push_bytes(&mut message, rest.get(9..).unwrap_or_default());
    Ok(())
}

/// The records of GL601 and its like.
fn records(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    const MULTI: u8 = 0x80;
    let short = Reject::new("binary", "cut short", frame.len());
    let end = frame.len().checked_sub(4).ok_or(short)?;
    if frame.last() != Some(&b'$') {
        return Err(Reject::new("binary", "no end mark", end));
    }
    let body = frame.get(4..end).ok_or(short)?;
    let head: IResult<_, _> = be_u8(body);
    let (body, flags) = head.map_err(|_| short)?;
    let body = if flags & MULTI == 0 {
        body
    } else {
        body.get(2..).ok_or(short)?
    };
    let head: IResult<_, _> = (take(8usize), be_u16, be_u16, be_u8).parse(body);
    let (body, (ident, device, protocol, _)) = head.map_err(|_| short)?;
    let ident = bcd::text(ident).ok_or(Reject::new("ident", "digits that are none", 5))?;
    // sixteen digits hold the fifteen of an IMEI behind a zero
    cx.identify(Login::of(ident.get(1..).unwrap_or(&ident)))?;
    let reserved: IResult<_, _> = nom::multi::length_data(be_u8).parse(body);
    let (mut rest, _) = reserved.map_err(|_| short)?;
    while !rest.is_empty() {
        // the length counts itself; two bytes of it have their highest bits set
        let head: IResult<_, _> = be_u8(rest);
        let (after, first) = head.map_err(|_| short)?;
        let (length, own) = if first & 0x80 == 0 {
            (usize::from(first), 1)
        } else {
            let second = after.first().ok_or(short)?;
            (
                usize::from(first & 0x7f) << 7 | usize::from(second & 0x7f),
                2,
            )
        };
        let record = rest.get(own..length).ok_or(short)?;
        rest = rest.get(length..).ok_or(short)?;
        self::record(record, device, protocol, cx)?;
    }
    Ok(())
}

fn record(bytes: &[u8], device: u16, protocol: u16, cx: &mut Context<'_>) -> Result<(), Reject> {
    const PLACE: u8 = 0x52;
    const PLACE_BYTES: usize = 22;
    const NAME: u8 = 0x02;
    let short = Reject::new("record", "cut short", 0);
    let head: IResult<_, _> = (be_u32, be_u16, be_u8, be_u8).parse(bytes);
    let (mut rest, (unix, count, id, event)) = head.map_err(|_| short)?;
    let mut contents: smallvec::SmallVec<[(u8, &[u8]); 8]> = smallvec::SmallVec::new();
    while !rest.is_empty() {
        let field: IResult<_, _> = (be_u8, nom::multi::length_data(be_u8)).parse(rest);
        let (after, content) = field.map_err(|_| short)?;
        contents.push(content);
        rest = after;
    }
    let is_place = |content: &&(u8, &[u8])| content.0 == PLACE && content.1.len() == PLACE_BYTES;
    let place = contents.iter().find(is_place).and_then(|&(_, bytes)| {
        let read: IResult<_, _> = (
            be_u8,
            be_i32,
            be_i32,
            be_u32,
            be_u16,
            be_u8,
            be_u16,
            take(3usize),
            be_u8,
        )
            .parse(bytes);
        read.ok().map(|(_, place)| place)
    });
    let seconds = place.map_or(unix, |place| place.3);
    let mut message = cx.message(Time::Device(i64::from(seconds) * 1000))?;
    message.push(fields::MESSAGE_TYPE, &*format!("{id:02X}"));
    message.push(fields::EVENT_ENUM, event);
    message.push(fields::RECORD_SEQNUM, count);
    message.push(fields::DEVICE_TYPE_CODE, &*format!("{device:04X}"));
    message.push(fields::PROTOCOL_VERSION, &*format!("{protocol:04X}"));
    message.push(fields::POSITION_VALID, place.is_some());
    if let Some((_, longitude, latitude, _, speed, hdop, course, altitude, satellites)) = place {
        message.push(fields::POSITION_LATITUDE, f64::from(latitude) / 1e6);
        message.push(fields::POSITION_LONGITUDE, f64::from(longitude) / 1e6);
        message.push(fields::POSITION_SPEED, f64::from(speed) / 10.0);
        message.push(fields::POSITION_HDOP, f64::from(hdop) / 10.0);
        message.push(fields::POSITION_DIRECTION, course);
        let bits = altitude
            .iter()
            .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        message.push(fields::POSITION_ALTITUDE, signed(bits, 24) as f64 / 10.0);
        message.push(fields::POSITION_SATELLITES, satellites);
    }
    for (id, content) in contents.iter().filter(|content| !is_place(content)) {
        match (*id, std::str::from_utf8(content)) {
            (NAME, Ok(name)) => message.name("name", name),
            _ => message.wire(u32::from(*id), *content),
        }
    }
    Ok(())
}
