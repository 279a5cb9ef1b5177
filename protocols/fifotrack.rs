//! Fifotrack: A100, A300, A600, S30, S60, Q1, Q3 and others, over TCP.
//!
//! # Wire format
//!
//! `$$length,IMEI,number,kind,fields*sum` and CR LF. The length counts from the comma behind it to the
//! asterisk; the sum is an exclusive or of all bytes before the asterisk, two hex digits. In the answers it
//! adds all bytes, the asterisk with them.
//!
//! | kind | fields |
//! |---|---|
//! | A00 to A02 | alarm, time, A or V, latitude, longitude, km/h, course, altitude, meters, seconds of running, status (4 or 8 hex: bits 3 to 7 the signal, 28 and up satellites), inputs, outputs, cell, analog inputs, RFID, sensors |
//! | A03 | event, time, cell, battery, percent, status (4 hex), then 0, A or V, km/h, satellites, latitude, longitude; or 1 and Wi-Fi |
//! | D05 | time, latitude, longitude, parts of a picture, this part, source, length, id: a picture is there |
//! | D06 | id, offset, length, bytes: a part of it |
//! | B03 and others | answer to a command |
//!
//! A cell is MCC, MNC, LAC, id with bars between, LAC and id in hexadecimal; so are the analog inputs,
//! in 0.01 V. Wi-Fi is `address:dBm` with bars between. The time is YYMMDDHHMMSS, UTC.
//!
//! # Session
//!
//! Every frame names its device. A03 is answered `##length,IMEI,number,A03,time*sum`; a picture is
//! asked for in parts with D06 and kept part by part. Other kinds are not answered.
//!
//! # Source
//!
//! Fifotrack: "GPRS communication protocol" of A and S series.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.
//!
//! # Quirks
//!
//! - Devices without an output field (A00) leave one field out: the cell is found by its bars.
//! - The place may be valid with a receiver that sends no satellites.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, ParamId, Probe, RecordBuilder, Reject,
    Reply, Time, fields,
};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{float, number};
use crate::kit::time::{Civil, digits, or_impossible};
use crate::kit::{checksum, framing, units};

const MARK: &[u8] = b"$$";
/// Alarm, time, fix, latitude, longitude.
const PLACED: usize = 5;
/// How many bytes of a picture are asked for at once.
const PART_BYTES: usize = 1024;
const SHORT: Reject = Reject::new("frame", "fewer fields than it has", 0);

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Fifotrack",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "fifotrack",
        title: "Fifotrack",
        source: "Fifotrack: GPRS communication protocol",
        port: 5124,
        version: 2,
        frame_bytes_max: 2048,
        acks: Acks::None,
        shared: true,
        models: &[
            model(1, "A100"),
            model(2, "A200"),
            model(3, "A300"),
            model(4, "A500"),
            model(5, "A600"),
            model(6, "A700"),
            model(7, "S20"),
            model(8, "S30"),
            model(9, "S50"),
            model(10, "S60"),
            model(11, "Q1"),
            model(12, "Q3"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, eof: bool) -> Result<Cut, Fatal> {
        const LENGTH_DIGITS_MAX: usize = 5;
        if !input.starts_with(MARK) {
            if input == b"$" && !eof {
                return Ok(Cut::Need(2));
            }
            let rest = input.get(1..).unwrap_or_default();
            let next = rest.iter().position(|byte| *byte == b'$');
            return Ok(Cut::Skip(next.map_or(input.len(), |at| at + 1)));
        }
        let rest = input.get(2..).unwrap_or_default();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match rest.get(digits) {
            None if digits <= LENGTH_DIGITS_MAX => Ok(Cut::Need(input.len() + 1)),
            Some(b',') if (1..=LENGTH_DIGITS_MAX).contains(&digits) => {
                let length = std::str::from_utf8(rest.get(..digits).unwrap_or_default());
                let length = length.ok().and_then(number::<usize>).unwrap_or(0);
                // the asterisk and the sum are not counted
                Ok(framing::exactly(input, 2 + digits + length + 3))
            }
            _ => Ok(Cut::Skip(2)),
        }
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let (covered, sum) = frame.split_last_chunk::<2>().ok_or(SHORT)?;
        let sum = std::str::from_utf8(sum).ok();
        let sum = sum.and_then(|sum| u8::from_str_radix(sum, 16).ok());
        let covered = covered.strip_suffix(b"*").ok_or(SHORT)?;
        if sum != Some(checksum::xor(covered)) {
            return Err(Reject::new(
                "sum",
                "the checksum does not fit",
                covered.len(),
            ));
        }
        let (head, body) = split_fields(covered)?;
        let [_, imei, serial, kind] = head;
        cx.identify(Login::of(imei))?;
        let parts = || -> Result<Vec<&str>, Reject> {
            let text = std::str::from_utf8(body)
                .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
            Ok(text.split(',').collect())
        };
        match kind {
            "A03" => {
                compact(&parts()?, cx)?;
                let now = Civil::at(cx.now_ms).compact();
                let now = now.get(2..).unwrap_or_default();
                let body = format!(",{imei},{serial},A03,{now}");
                cx.reply(Reply::stored(answer(&body)));
            }
            _ if kind.starts_with('A') => location(kind, &parts()?, cx)?,
            "D05" => picture(imei, &parts()?, cx)?,
            "D06" => part(imei, body, cx)?,
            _ => {
                let text = String::from_utf8_lossy(body);
                cx.command_reply(u32::from_str_radix(serial, 16).ok(), &text);
                let now_ms = cx.now_ms;
                let mut message = cx.message(Time::Received(now_ms))?;
                message.push(fields::MESSAGE_TYPE, kind);
                message.push(fields::POSITION_VALID, false);
                message.push(fields::COMMAND_RESULT, &*text);
            }
        }
        Ok(())
    }

    fn probe(head: &[u8]) -> Probe {
        let rest = match head {
            [] | [b'$'] => return Probe::More,
            [b'$', b'$', rest @ ..] => rest,
            _ => return Probe::No,
        };
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let imei = rest.get(digits + 1..).unwrap_or_default();
        match rest.get(digits) {
            None if digits <= 4 => Probe::More,
            Some(b',') if (1..=4).contains(&digits) => {
                let count = imei.iter().take_while(|byte| byte.is_ascii_digit()).count();
                match imei.get(count) {
                    None if count <= 15 => Probe::More,
                    Some(b',') if count == 15 => hexadecimal_next(imei.get(16..)),
                    _ => Probe::No,
                }
            }
            _ => Probe::No,
        }
    }
}

/// The number behind the IMEI, hexadecimal, and a kind of a letter and two digits.
fn hexadecimal_next(rest: Option<&[u8]>) -> Probe {
    let rest = rest.unwrap_or_default();
    let count = rest.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    match rest.get(count..) {
        Some([b',', b'A'..=b'Z', b'0'..=b'9', b'0'..=b'9', ..]) if count > 0 => Probe::Yes,
        Some([] | [b','] | [b',', _] | [b',', _, _]) if count <= 8 => Probe::More,
        _ => Probe::No,
    }
}

/// The first four fields, and the rest, which may be bytes.
fn split_fields(covered: &[u8]) -> Result<([&str; 4], &[u8]), Reject> {
    let mut head = [""; 4];
    let mut rest = covered;
    for field in &mut head {
        let comma = rest.iter().position(|byte| *byte == b',');
        let (text, after) = rest.split_at(comma.unwrap_or(rest.len()));
        *field = std::str::from_utf8(text).map_err(|_| SHORT)?;
        rest = after.get(1..).unwrap_or_default();
    }
    Ok((head, rest))
}

/// `body` from its first comma, with length and sum.
fn answer(body: &str) -> String {
    let text = format!("##{}{body}*", body.len());
    let sum = checksum::sum(text.as_bytes());
    format!("{text}{sum:02X}\r\n")
}

fn hexadecimal(text: &str) -> Option<i64> {
    i64::from_str_radix(text, 16).ok()
}

fn push_cell(message: &mut RecordBuilder<'_>, text: &str) {
    let mut parts = text.split('|');
    let mut next = || parts.next().unwrap_or_default();
    let cell = Cell {
        mcc: number(next()),
        mnc: number(next()),
        lac: hexadecimal(next()),
        id: hexadecimal(next()),
        dbm: None,
    };
    if cell.lac.is_some() && cell.id.is_some() {
        cells::push(message, 0, cell);
    }
}

fn push_place(message: &mut RecordBuilder<'_>, latitude: &str, longitude: &str, letter: &str) {
    let latitude = float(latitude).filter(|degrees| degrees.abs() <= 90.0);
    let longitude = float(longitude).filter(|degrees| degrees.abs() <= 180.0);
    let place = latitude.zip(longitude).filter(|place| *place != (0.0, 0.0));
    message.push(fields::POSITION_VALID, letter == "A" && place.is_some());
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
}

fn time_of(text: &str, cx: &Context<'_>) -> Time {
    or_impossible(digits(text, "ymdHMS").and_then(Civil::utc_ms), cx.now_ms)
}

fn alarm(code: u16) -> Option<ParamId> {
    Some(match code {
        2 => fields::ALARM_EVENT_TRIGGER,
        14 => fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER,
        15 => fields::POWER_CUT_EVENT_TRIGGER,
        16 => fields::POWER_RESTORED_EVENT_TRIGGER,
        17 => fields::BATTERY_LOW_EVENT_TRIGGER,
        18 => fields::OVERSPEEDING_EVENT_TRIGGER,
        20 => fields::GNSS_ANTENNA_CUT_EVENT_TRIGGER,
        21 => fields::VIBRATION_EVENT_TRIGGER,
        23 => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        24 => fields::HARSH_BRAKING_EVENT_TRIGGER,
        27 => fields::FATIGUE_EVENT_TRIGGER,
        30 | 32 => fields::GSM_JAMMING_EVENT_TRIGGER,
        31 => fields::FALL_EVENT_TRIGGER,
        33 => fields::GEOFENCE_EVENT_EXIT,
        34 => fields::GEOFENCE_EVENT_ENTER,
        35 => fields::IDLE_EVENT_TRIGGER,
        40 | 41 => fields::TEMPERATURE_EVENT_TRIGGER,
        53 => fields::POWER_ON_EVENT_TRIGGER,
        54 => fields::POWER_OFF_EVENT_TRIGGER,
        _ => return None,
    })
}

fn push_alarm(message: &mut RecordBuilder<'_>, text: &str) {
    if let Some(code) = number::<u16>(text) {
        message.push(fields::EVENT_ENUM, code);
        if let Some(alarm) = alarm(code) {
            message.push(alarm, true);
        }
    }
}

fn location(kind: &str, parts: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    const FIXED: usize = 11;
    if parts.len() < PLACED {
        return Err(SHORT);
    }
    let at = |index: usize| parts.get(index).copied().unwrap_or_default();
    let time = time_of(at(1), cx);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, kind);
    push_alarm(&mut message, at(0));
    push_place(&mut message, at(3), at(4), at(2));
    message.push_some(fields::POSITION_SPEED, float(at(5)));
    message.push_some(fields::POSITION_DIRECTION, float(at(6)));
    message.push_some(fields::POSITION_ALTITUDE, float(at(7)));
    let meters = float(at(8)).map(|meters| units::round(meters / 1000.0, 3));
    message.push_some(fields::VEHICLE_MILEAGE, meters);
    let hours = float(at(9)).map(|seconds| units::round(seconds / 3600.0, 4));
    message.push_some(fields::ENGINE_MOTORHOURS, hours);
    if let Some(status) = hexadecimal(at(10)) {
        message.push(fields::STATUS_BITMASK, status);
        message.push(fields::GSM_SIGNAL_ENUM, status >> 3 & 0x1f);
        // older firmware has 16 bits, and no satellites among them
        if at(10).len() > 4 {
            message.push(fields::POSITION_SATELLITES, status >> 28 & 0x0f);
        }
    }
    let cell = (FIXED..parts.len()).find(|index| at(*index).matches('|').count() == 3);
    let cell = cell.unwrap_or(parts.len());
    for (index, param) in (FIXED..cell).zip([fields::DIN, fields::DOUT]) {
        message.push_some(param, hexadecimal(at(index)));
    }
    push_cell(&mut message, at(cell));
    for (text, input) in at(cell + 1).split('|').zip(1u16..) {
        let volts = hexadecimal(text).map(|value| units::scaled(value, 2));
        message.push_some((fields::AIN_N, input), volts);
    }
    match hexadecimal(at(cell + 2)) {
        Some(code) => message.push(fields::RFID_CODE, &*code.to_string()),
        // cards of drivers are written as they are
        None if !at(cell + 2).is_empty() => message.push(fields::RFID_CODE, at(cell + 2)),
        None => {}
    }
    for (text, sensor) in at(cell + 3).split('|').zip(1u32..) {
        if !text.is_empty() {
            message.wire(sensor, text);
        }
    }
    for (text, id) in parts.iter().zip(0u32..).skip(cell + 4) {
        if !text.is_empty() {
            message.wire(100 + id, *text);
        }
    }
    Ok(())
}

/// A03, of the devices that live on a battery.
fn compact(parts: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    let at = |index: usize| parts.get(index).copied().unwrap_or_default();
    if parts.len() < 3 {
        return Err(SHORT);
    }
    let time = time_of(at(1), cx);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, "A03");
    push_alarm(&mut message, at(0));
    push_cell(&mut message, at(2));
    message.push_some(fields::BATTERY_VOLTAGE, float(at(3)));
    message.push_some(fields::BATTERY_LEVEL, float(at(4)));
    message.push_some(fields::STATUS_BITMASK, hexadecimal(at(5)));
    if at(6) != "1" {
        push_place(&mut message, at(10), at(11), at(7));
        message.push_some(fields::POSITION_SPEED, float(at(8)));
        message.push_some(fields::POSITION_SATELLITES, number::<u8>(at(9)));
        return Ok(());
    }
    message.push(fields::POSITION_VALID, false);
    for (point, number) in at(7).split('|').zip(1u16..) {
        let Some((mac, dbm)) = point.split_once(':') else {
            continue;
        };
        let mac = crate::kit::hex::decode(mac);
        if let Some(mac) = mac.as_deref().and_then(|mac| mac.first_chunk()) {
            let mac = crate::kit::hex::mac(*mac);
            message.push((fields::WIFI_MAC_N, number), &*mac);
            let dbm = crate::kit::parse::number::<i64>(dbm);
            message.push_some((fields::WIFI_SIGNAL_DBM_N, number), dbm);
        }
    }
    Ok(())
}

/// A picture is there: its first part is asked for.
fn picture(imei: &str, parts: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    let at = |index: usize| parts.get(index).copied().unwrap_or_default();
    let id = parts.last().copied().unwrap_or_default();
    let time = time_of(at(0), cx);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, "D05");
    push_place(&mut message, at(1), at(2), "A");
    message.push(fields::MEDIA_ID, id);
    message.push_some(
        crate::contract::Key::Name("media.bytes"),
        number::<u32>(at(6)),
    );
    drop(message);
    cx.reply(Reply::stored(request(imei, 1, id, 0)));
    Ok(())
}

fn request(imei: &str, serial: u32, id: &str, offset: usize) -> String {
    answer(&format!(
        ",{imei},{serial:X},D06,{id},{offset},{PART_BYTES}"
    ))
}

/// A part of a picture is a message of its own; the next is asked for unless it was the last.
fn part(imei: &str, body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut rest = body;
    let mut head = [""; 3];
    for field in &mut head {
        let comma = rest.iter().position(|byte| *byte == b',').ok_or(SHORT)?;
        let (text, after) = rest.split_at_checked(comma).ok_or(SHORT)?;
        *field = std::str::from_utf8(text).map_err(|_| SHORT)?;
        rest = after.get(1..).unwrap_or_default();
    }
    let [id, offset, length] = head;
    let offset = number::<u32>(offset).ok_or(SHORT)?;
    if number::<usize>(length) != Some(rest.len()) {
        return Err(Reject::new("picture", "its length does not fit", 0));
    }
    let now_ms = cx.now_ms;
    let mut message = cx.message(Time::Received(now_ms))?;
    message.push(fields::MESSAGE_TYPE, "D06");
    message.push(fields::MEDIA_ID, id);
    message.push(fields::RECORD_SEQNUM, offset);
    message.push(fields::IMAGE_BIN_JPEG, rest);
    drop(message);
    if rest.len() == PART_BYTES {
        let next = usize::try_from(offset).unwrap_or(usize::MAX);
        let next = next.saturating_add(PART_BYTES);
        cx.reply(Reply::stored(request(imei, 1, id, next)));
    }
    Ok(())
}
