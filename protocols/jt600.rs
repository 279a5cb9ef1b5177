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
//! Every frame names its device. U01 to U03 are answered `(S39)`, U06 `(S20)`, P45 `(P69,0,index)`; a
//! padlock's record with bit 5 of its status `(P35)`. Nothing else waits for an answer.
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

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, Probe, RecordBuilder, Reject, Reply,
    Setting, Time, fields,
};
use crate::kit::cells::{self, Cell};
use crate::kit::cursor::Cursor;
use crate::kit::parse::{float, nmea_degrees, number};
use crate::kit::time::{self, Civil, two_digit};
use crate::kit::{bcd, checksum, framing, hex, units};
use smallvec::SmallVec;

const SHORT: Reject = Reject::new("record", "cut short", 0);
/// Byte that announces a byte that would be a mark.
const ESCAPE: u8 = b'=';
const FIELDS_MAX: usize = 64;

type Fields<'f> = SmallVec<[&'f str; 32]>;

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

/// What says how long a frame is.
const HEAD_BYTES: usize = 10;
/// Time, place, speed and course.
const RECORD_BYTES: usize = 17;

/// The head of a binary frame.
struct Head {
    padlock: bool,
    version: u8,
    records_at: usize,
    bytes: usize,
}

/// Six bytes `DDMMYYHHMMSS`, or all zeros while the clock is not set.
fn is_date(bytes: &[u8]) -> bool {
    let &[day, month, _, hour, minute, second] = bytes else {
        return false;
    };
    let within = |byte: u8, max: u8| bcd::byte(byte).is_some_and(|number| number <= max);
    within(day, 31)
        && within(month, 12)
        && within(hour, 23)
        && within(minute, 59)
        && within(second, 59)
}

fn head(input: &[u8]) -> Option<Head> {
    let [_, _, _, _, _, _, version, first, second, third] = *input.first_chunk()?;
    let padlock = second == 0;
    let (length, records_at) = if padlock {
        ([second, third], HEAD_BYTES)
    } else {
        ([first, second], HEAD_BYTES - 1)
    };
    Some(Head {
        padlock,
        version: if padlock { first } else { version },
        records_at,
        bytes: usize::from(u16::from_be_bytes(length)) + 10,
    })
}

fn binary(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let head = head(frame).ok_or(SHORT)?;
    let ident = frame.get(1..6).and_then(bcd::text);
    let ident = ident.ok_or(Reject::new("ident", "not decimal", 1))?;
    let body = frame.get(head.records_at..).ok_or(SHORT)?;
    let records = frame.len().checked_sub(head.records_at).ok_or(SHORT)?;
    if frame.len() < head.bytes {
        return Err(Reject::new("frame", "cut short", frame.len()));
    }
    // all but the padlock count the serial number beside the length
    let (records, serial) = if head.padlock {
        let records = records.checked_sub(1).ok_or(SHORT)?;
        body.split_at_checked(records).ok_or(SHORT)?
    } else {
        let length = head.bytes - 10;
        body.split_at_checked(length).ok_or(SHORT)?
    };
    let serial = serial.first().copied();
    cx.identify(Login::of(&ident))?;
    let mut body = Cursor::new(records);
    if head.padlock {
        let confirm = padlock(&mut body, head.version, serial, cx)?;
        if confirm {
            cx.reply(Reply::stored("(P35)"));
        }
        return Ok(());
    }
    while body.left() > 0 {
        let fix = Fix::read(&mut body, cx)?;
        let mut message = cx.message(fix.time)?;
        fix.push(&mut message);
        match head.version >> 4 {
            1 => personal(&mut body, &mut message),
            2 => vehicle(&mut body, &mut message),
            _ => {
                let rest = body.take(body.left()).unwrap_or_default();
                message.push(fields::PAYLOAD_HEX, hex::encode(rest).as_str());
                Some(())
            }
        }
        .ok_or(SHORT)?;
        message.push(fields::MESSAGE_TYPE, kind(head.version));
        message.push_some(fields::FRAME_SEQNUM, serial);
    }
    Ok(())
}

/// The kind of a frame: why it was sent.
fn kind(version: u8) -> &'static str {
    const KINDS: [&str; 16] = [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
    ];
    KINDS.get(usize::from(version & 15)).unwrap_or(&"")
}

/// Time, place, speed and course of a binary record.
struct Fix {
    time: Time,
    valid: bool,
    latitude: f64,
    longitude: f64,
    knots: u8,
    course: u16,
}

impl Fix {
    fn read(body: &mut Cursor<'_>, cx: &Context<'_>) -> Result<Self, Reject> {
        let bytes = body.array::<RECORD_BYTES>().ok_or(SHORT)?;
        let mut fix = Cursor::new(&bytes);
        let date = fix.array::<6>().ok_or(SHORT)?;
        let civil = civil(date);
        let latitude = fix.take(4).and_then(bcd::number);
        let longitude = fix.array::<5>().ok_or(SHORT)?;
        let [upper @ .., last] = longitude;
        let digit = i64::from(last >> 4);
        let longitude = bcd::number(&upper)
            .filter(|_| digit < 10)
            .map(|digits| digits * 10 + digit);
        let (Some(latitude), Some(longitude)) = (latitude, longitude) else {
            return Err(Reject::new("place", "not decimal", 0));
        };
        let sign = |mask: u8| if last & mask == 0 { -1.0 } else { 1.0 };
        Ok(Self {
            time: time::or_impossible(civil.and_then(|civil| civil.ms(cx.settings())), cx.now_ms),
            valid: last & 1 != 0,
            latitude: sign(2) * degrees(latitude).ok_or(FAR)?,
            longitude: sign(4) * degrees(longitude).ok_or(FAR)?,
            knots: fix.u8().ok_or(SHORT)?,
            course: u16::from(fix.u8().ok_or(SHORT)?) * 2,
        })
    }

    fn push(&self, message: &mut RecordBuilder<'_>) {
        message.push(fields::POSITION_VALID, self.valid);
        if self.latitude != 0.0 || self.longitude != 0.0 {
            message.push(fields::POSITION_LATITUDE, self.latitude);
            message.push(fields::POSITION_LONGITUDE, self.longitude);
        }
        message.push(fields::POSITION_SPEED, units::knots(f64::from(self.knots)));
        if self.course <= 360 {
            message.push(fields::POSITION_DIRECTION, self.course);
        }
    }
}

const FAR: Reject = Reject::new("place", "beyond the globe", 0);

/// Degrees of DDDMMMMMM.
fn degrees(digits: i64) -> Option<f64> {
    let (whole, minutes) = (digits / 1_000_000, digits % 1_000_000);
    if whole > 180 || minutes >= 600_000 {
        return None;
    }
    let minutes = units::scaled(minutes, 4);
    Some(units::round(whole as f64 + minutes / 60.0, 7))
}

fn civil(bytes: [u8; 6]) -> Option<Civil> {
    let [d, m, y, hour, minute, second] = bytes.map(|byte| bcd::byte(byte).map(i64::from));
    Some(two_digit(y?, m?, d?, hour?, minute?, second?))
}

fn personal(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    message.push(fields::POSITION_SATELLITES, body.u8()?);
    message.push(fields::BATTERY_LEVEL, body.u8()?);
    message.push(fields::STATUS_BITMASK, body.u8()?);
    message.push(fields::POSITION_ALTITUDE, body.i16()?);
    let (id, lac) = (body.u16()?, body.u16()?);
    cell(message, u32::from(id), lac, None);
    message.push(fields::GSM_SIGNAL_ENUM, body.u8()?);
    Some(())
}

fn vehicle(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let fuel = body.u8()?;
    let [engine, alarms, driving, reserved] = body.array()?;
    let status = u32::from_be_bytes([engine, alarms, driving, reserved]);
    message.push(fields::STATUS_BITMASK, status);
    message.push(fields::ENGINE_IGNITION_STATUS, engine & 1 != 0);
    message.push(fields::DOOR_OPEN_STATUS, engine & 0x40 != 0);
    message.push(fields::EXTERNAL_POWERSOURCE_STATUS, alarms & 1 != 0);
    message.push(fields::ENGINE_BLOCKED_STATUS, alarms & 2 != 0);
    for (set, param) in [
        (alarms & 4, fields::ALARM_EVENT_TRIGGER),
        (alarms & 0x18, fields::GNSS_ANTENNA_CUT_STATUS),
        (driving & 4, fields::FATIGUE_EVENT_TRIGGER),
        (driving & 8, fields::TOWING_ALARM_STATUS),
    ] {
        if set != 0 {
            message.push(param, true);
        }
    }
    message.push(fields::VEHICLE_MILEAGE, body.u32()?);
    let fuel = u16::from_be_bytes([fuel, body.u8()?]);
    message.push((fields::FUEL_SENSOR_N, 1), fuel);
    Some(())
}

/// A padlock's record; does it want to be confirmed?
fn padlock(
    body: &mut Cursor<'_>,
    version: u8,
    serial: Option<u8>,
    cx: &mut Context<'_>,
) -> Result<bool, Reject> {
    let fix = Fix::read(body, cx)?;
    let mut message = cx.message(fix.time)?;
    fix.push(&mut message);
    message.push(fields::MESSAGE_TYPE, kind(version));
    message.push_some(fields::FRAME_SEQNUM, serial);
    padlock_state(body, &mut message).ok_or(SHORT)
}

fn padlock_state(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<bool> {
    message.push(fields::VEHICLE_MILEAGE, body.u32()?);
    message.push(fields::POSITION_SATELLITES, body.u8()?);
    let vehicle = body.u32()?;
    if vehicle != 0 {
        message.name("vehicle.id", vehicle);
    }
    let status = body.u16()?;
    message.push(fields::STATUS_BITMASK, status);
    if status & 1 != 0 {
        message.push(fields::LOCATION_SOURCE, "LBS");
    }
    message.push(fields::LOCK_STATUS, status & 0x80 != 0);
    message.name("rope.inserted.status", status & 0x40 != 0);
    message.name("back.cap.closed.status", status & 0x2000 != 0);
    for (bit, param) in [
        (1, fields::GEOFENCE_EVENT_ENTER),
        (2, fields::GEOFENCE_EVENT_EXIT),
        (3, fields::TAMPERING_EVENT_TRIGGER),
        (4, fields::VIBRATION_EVENT_TRIGGER),
        (11, fields::BATTERY_LOW_EVENT_TRIGGER),
        (12, fields::TAMPERING_EVENT_TRIGGER),
        (14, fields::FAULT_EVENT_TRIGGER),
    ] {
        if status >> bit & 1 != 0 {
            message.push(param, true);
        }
    }
    for (bit, name) in [
        (8, "unlocked.alarm"),
        (9, "wrong.password.alarm"),
        (10, "unknown.card.alarm"),
    ] {
        if status >> bit & 1 != 0 {
            message.name(name, true);
        }
    }
    match body.u8()? {
        0xff => message.push(fields::BATTERY_CHARGING_STATUS, true),
        level => message.push(fields::BATTERY_LEVEL, level),
    }
    let (id, lac) = (body.u16()?, body.u16()?);
    message.push(fields::GSM_SIGNAL_ENUM, body.u8()?);
    if let Some(geofence) = body.u8()
        && geofence != 0
    {
        message.push(fields::GEOFENCE_ID, geofence);
    }
    if let Some(reserved) = body.take(3) {
        message.push(fields::PAYLOAD_HEX, hex::encode(reserved).as_str());
    }
    let imei = body.take(8).and_then(bcd::text);
    if let Some(imei) = imei.as_deref().map(bcd::without_leading_zeros) {
        message.push(fields::DEVICE_IMEI, imei);
    }
    let high = body.u16().unwrap_or(0);
    let network = body.u16().zip(body.u8()).filter(|(mcc, _)| *mcc != 0);
    cell(message, u32::from(high) << 16 | u32::from(id), lac, network);
    if body.left() > 0 {
        message.name("tail", body.rest());
    }
    Some(status & 0x20 != 0)
}

fn cell(message: &mut RecordBuilder<'_>, id: u32, lac: u16, network: Option<(u16, u8)>) {
    if id == 0 && lac == 0 {
        return;
    }
    let cell = Cell {
        mcc: network.map(|(mcc, _)| mcc.into()),
        mnc: network.map(|(_, mnc)| mnc.into()),
        lac: Some(lac.into()),
        id: Some(id.into()),
        dbm: None,
    };
    cells::push(message, 0, cell);
}

/// `IDENT,serial,length,WLNET,kind,kind,` and bytes with escapes.
fn wireless(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut parts = body.splitn(7, |byte| *byte == b',');
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let ident = text().ok_or(SHORT)?;
    let (serial, _, _) = (text(), text(), text());
    let kind = text().ok_or(SHORT)?;
    let _ = text();
    let mut plain: SmallVec<[u8; 128]> = SmallVec::new();
    let mut bytes = parts.next().ok_or(SHORT)?.iter().copied();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            ESCAPE => bytes.next().ok_or(SHORT)? ^ ESCAPE,
            byte => byte,
        });
    }
    cx.identify(Login::of(ident))?;
    let serial = serial.and_then(number::<u32>);
    let mut body = Cursor::new(&plain);
    if kind != "5" {
        let mut message = cx.message(Time::Received(cx.now_ms))?;
        message.push(fields::MESSAGE_TYPE, "WLNET");
        message.push_some(fields::FRAME_SEQNUM, serial);
        message.push(fields::PAYLOAD_HEX, hex::encode(&plain).as_str());
        return Ok(());
    }
    let fix = Fix::read(&mut body, cx)?;
    let mut message = cx.message(fix.time)?;
    message.push(fields::MESSAGE_TYPE, "WLNET");
    message.push_some(fields::FRAME_SEQNUM, serial);
    fix.push(&mut message);
    sensor(&mut body, &mut message).ok_or(SHORT)
}

/// Time of the reading, the sensor's id, what it measured.
fn sensor(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let date = body.array::<6>()?;
    if let Some(ms) = civil(date).and_then(Civil::utc_ms) {
        message.name("sensor.timestamp.1", units::scaled(ms, 3));
    }
    let id = hex::encode(body.take(5)?);
    message.push((fields::SENSOR_ID_N, 1), id.as_str());
    message.name("sensor.event.1", body.u8()?);
    let volts = units::scaled(i64::from(body.u16()?), 2);
    message.push((fields::SENSOR_BATTERY_VOLTAGE_N, 1), volts);
    message.push((fields::SENSOR_BATTERY_LEVEL_N, 1), body.u8()?);
    let dbm = i64::from(body.u8()?);
    message.push((fields::SENSOR_SIGNAL_DBM_N, 1), -dbm);
    message.push((fields::SENSOR_STATUS_N, 1), body.u8()?);
    let degrees = units::scaled(i64::from(body.i16()?), 1);
    message.push((fields::SENSOR_TEMPERATURE_N, 1), degrees);
    message.push((fields::SENSOR_HUMIDITY_N, 1), body.u8()?);
    if body.rest().iter().any(|byte| *byte != 0) {
        message.push(fields::PAYLOAD_HEX, hex::encode(body.rest()).as_str());
    }
    Some(())
}

fn text(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
    let parts: Fields<'_> = text.split(',').take(FIELDS_MAX).collect();
    let [ident, kind, rest @ ..] = parts.as_slice() else {
        return Err(Reject::new("text", "fewer fields than a frame has", 0));
    };
    cx.identify(Login::of(ident))?;
    match *kind {
        "U01" | "U02" | "U03" => {
            if rest.len() >= 18 {
                verify(text)?;
            }
            report(kind, None, rest, cx)?;
            cx.reply(Reply::stored("(S39)"));
        }
        "U06" => {
            let (alarm, rest) = rest.split_first().ok_or(SHORT)?;
            report(kind, Some(alarm), rest, cx)?;
            cx.reply(Reply::stored("(S20)"));
        }
        "P45" => unlocked(rest, cx)?,
        "W01" => watch(rest, cx)?,
        // asks for nothing, says nothing
        _ if rest.is_empty() => {}
        kind => {
            let mut message = cx.message(Time::Received(cx.now_ms))?;
            message.push(fields::MESSAGE_TYPE, kind);
            for (number, value) in (1..).zip(rest) {
                message.wire(number, *value);
            }
        }
    }
    Ok(())
}

/// The last field is the exclusive or of what stands before it.
fn verify(text: &str) -> Result<(), Reject> {
    let bad = Reject::new("checksum", "does not hold", text.len());
    let at = text.rfind(',').ok_or(bad)? + 1;
    let (before, sum) = text.split_at_checked(at).ok_or(bad)?;
    match u8::from_str_radix(sum, 16) {
        Ok(sum) if sum == checksum::xor(before.as_bytes()) => Ok(()),
        _ => Err(bad),
    }
}

fn clock(dmy: &str, hms: &str, cx: &Context<'_>) -> Time {
    let date = time::digits(dmy, "dmy").zip(time::digits(hms, "HMS"));
    let ms = date.and_then(|(date, clock)| {
        let civil = Civil {
            hour: clock.hour,
            minute: clock.minute,
            second: clock.second,
            ..date
        };
        civil.ms(cx.settings())
    });
    time::or_impossible(ms, cx.now_ms)
}

/// Decimal degrees and their hemispheres, if they say a place.
fn push_place(message: &mut RecordBuilder<'_>, latitude: &[&str; 2], longitude: &[&str; 2]) {
    let signed = |[text, letter]: &[&str; 2], limit: f64| {
        let value = float(text).filter(|value| (0.0..=limit).contains(value))?;
        Some(if matches!(*letter, "S" | "W") {
            -value
        } else {
            value
        })
    };
    let place = signed(latitude, 90.0).zip(signed(longitude, 180.0));
    if let Some((latitude, longitude)) = place.filter(|place| *place != (0.0, 0.0)) {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
}

fn report(
    kind: &str,
    alarm: Option<&str>,
    rest: &[&str],
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let [
        dmy,
        hms,
        valid,
        lat,
        ns,
        lon,
        ew,
        mph,
        course,
        satellites,
        battery,
        status,
        ref tail @ ..,
    ] = *rest
    else {
        return Err(SHORT);
    };
    let mut message = cx.message(clock(dmy, hms, cx))?;
    message.push(fields::MESSAGE_TYPE, kind);
    match alarm.map(|alarm| (alarm, number::<i64>(alarm))) {
        Some((_, Some(alarm))) => message.push(fields::ALARM_CODE, alarm),
        Some((alarm, None)) => message.push(fields::ALARM_TYPE, alarm),
        None => {}
    }
    message.push(fields::POSITION_VALID, valid == "T");
    push_place(&mut message, &[lat, ns], &[lon, ew]);
    message.push_some(fields::POSITION_SPEED, float(mph).map(units::miles));
    message.push_some(fields::POSITION_DIRECTION, float(course));
    message.push_some(fields::POSITION_SATELLITES, number::<u8>(satellites));
    let battery = battery.trim_end_matches('%');
    message.push_some(fields::BATTERY_LEVEL, number::<u8>(battery));
    let bits = i64::from_str_radix(status, 2).ok();
    message.push_some(fields::STATUS_BITMASK, bits);
    if let [id, lac, signal, ref after @ ..] = *tail {
        if let (Some(id), Some(lac)) = (number::<u32>(id), number::<u16>(lac)) {
            cell(&mut message, id, lac, None);
        }
        message.push_some(fields::GSM_SIGNAL_ENUM, number::<u8>(signal));
        let mut after = after.iter();
        let km = after.next().and_then(|km| float(km));
        message.push_some(fields::VEHICLE_MILEAGE, km);
        let index = after.next().and_then(|index| number::<u32>(index));
        message.push_some(fields::RECORD_SEQNUM, index);
        if alarm.is_some() {
            for (number, value) in (1..).zip(after) {
                message.wire(number, *value);
            }
        }
    }
    Ok(())
}

/// P45: someone opened a padlock or tried to.
fn unlocked(rest: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    let [
        dmy,
        hms,
        lat,
        ns,
        lon,
        ew,
        valid,
        mph,
        course,
        source,
        verified,
        card,
        ref tail @ ..,
    ] = *rest
    else {
        return Err(SHORT);
    };
    let mut message = cx.message(clock(dmy, hms, cx))?;
    message.push(fields::MESSAGE_TYPE, "P45");
    message.push(fields::POSITION_VALID, valid == "A");
    push_place(&mut message, &[lat, ns], &[lon, ew]);
    message.push_some(fields::POSITION_SPEED, float(mph).map(units::miles));
    message.push_some(fields::POSITION_DIRECTION, float(course));
    message.push_some(fields::EVENT_ENUM, number::<i64>(source));
    message.name("unlock.verified", verified == "1");
    if card.bytes().any(|digit| digit != b'0') {
        message.push(fields::RFID_CODE, card);
    }
    let mut tail = tail.iter();
    if let Some(verified) = tail.next() {
        message.name("password.verified", *verified == "1");
    }
    if let Some(wrong) = tail.next().and_then(|wrong| number::<u32>(wrong)) {
        message.name("wrong.password.count", wrong);
    }
    let index = tail
        .next()
        .copied()
        .filter(|index| number::<u32>(index).is_some());
    message.push_some(fields::RECORD_SEQNUM, index.and_then(number::<u32>));
    for (number, value) in (1..).zip(tail) {
        message.wire(number, *value);
    }
    drop(message);
    if let Some(index) = index {
        cx.reply(Reply::stored(format!("(P69,0,{index})")));
    }
    Ok(())
}

fn watch(rest: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    let [
        lon,
        ew,
        lat,
        ns,
        valid,
        dmy,
        hms,
        speed,
        course,
        battery,
        satellites,
        signal,
        alarm,
        ref tail @ ..,
    ] = *rest
    else {
        return Err(SHORT);
    };
    let mut message = cx.message(clock(dmy, hms, cx))?;
    message.push(fields::MESSAGE_TYPE, "W01");
    message.push(fields::POSITION_VALID, valid == "A");
    let place = nmea_degrees(lat, ns).zip(nmea_degrees(lon, ew));
    if let Some((latitude, longitude)) = place.filter(|place| *place != (0.0, 0.0)) {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    message.push_some(fields::POSITION_SPEED, float(speed).map(units::miles));
    message.push_some(fields::POSITION_DIRECTION, float(course));
    message.push_some(fields::BATTERY_LEVEL, number::<u8>(battery));
    message.push_some(fields::POSITION_SATELLITES, number::<u8>(satellites));
    message.push_some(fields::GSM_SIGNAL_ENUM, number::<u8>(signal));
    message.push_some(fields::ALARM_CODE, number::<i64>(alarm));
    for (number, value) in (1..).zip(tail) {
        message.wire(number, *value);
    }
    Ok(())
}
