//! Meiligao: GT30i, GT60, VT300, VT310 and VT400, and the trackers that were made after them.
//!
//! # Wire format
//!
//! | bytes | field |
//! |---|---|
//! | 2 | `$$` from the tracker, `@@` from the server |
//! | 2 | length of the whole frame |
//! | 7 | ident: a digit a nibble, F after the last |
//! | 2 | command |
//! | n | data |
//! | 2 | CRC-16/CCITT (initial value FFFF) of all before |
//! | 2 | CR LF |
//!
//! | command | data |
//! |---|---|
//! | 5000 | none: login |
//! | 5501, 0001 | none, or a battery level: heartbeat |
//! | 9955 | a position |
//! | 9016 | 6 bytes (not of all models), a position that was kept while there was no network |
//! | 9999 | kind of alarm, a position |
//! | 6688 | how many (1), for each kind of alarm (1) and a position, `\\` between them: kept ones |
//! | 9977 | picture number, why it was taken, a position: a picture is complete |
//! | 0800, 0F80 | picture number: a picture begins, and ends |
//! | 9988 | server, picture number (2), packets, packet, a part of a picture |
//! | 9966 | RFID of 4 bytes and 16 more like it, `\|HHMMSS,DDMMYY,lat,N,lon,E` |
//! | 9901, 9902 | text of an OBD reader: values, trouble codes |
//! | others | answers to commands, 1 for yes |
//!
//! A position is the text of an NMEA sentence RMC without its name, then values set apart by `|`:
//!
//! ```text
//! HHMMSS.sss,A,DDMM.MMMM,N,DDDMM.MMMM,E,knots,course,DDMMYY,,*CK|HDOP|metres|inputs|AD1,AD2|cell|CSQ|metres|satellites|driver
//! HHMMSS.sss,A,DDMM.MMMM,N,DDDMM.MMMM,E,knots,course,DDMMYY,,*CK|HDOP|metres|inputs|AD1,AD2|metres|RFID
//! ```
//!
//! Inputs are hexadecimal: bits 0 to 4 outputs, bits 8 to 12 inputs; analog values are hexadecimal
//! steps. The cell is MCC, MNC, LAC and
//! cell id in four, four, four and four to eight hexadecimal digits. A decimal odometer has nine digits.
//!
//! # Session
//!
//! Every frame names its device. A login is answered by command 4000 with 01, or 00 for a tracker that is
//! not known here; a heartbeat by 5501, or 0001 with 01; 0800 by 8801 and the picture's number, 0F80 by 6688
//! and "all parts are here". Records are not answered.
//!
//! # Source
//!
//! Meiligao: GPRS Communication Protocol V2.1 (GT30i, GT60, VT300, VT310, VT400); captures.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.
//!
//! # Quirks
//!
//! - A length of 0000 occurs: such a frame ends with the first CR LF behind its head, and must
//!   pass its checksum as it is.
//! - An ident of 14 digits is an IMEI without its check digit; the device may be registered under either.

use crate::contract::{
    Acks, Cause, Context, Cut, Decode, Fatal, Info, Login, Model, Probe, RecordBuilder, Reject,
    Reply, Setting, Time, fields,
};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{float, nmea_degrees, number};
use crate::kit::time;
use crate::kit::{checksum, framing, hex, luhn, units};
use smallvec::SmallVec;

const HEAD_BYTES: usize = 13;
/// What stands before the sentence of a kept position.
const KEPT_BYTES: usize = 6;
/// Checksum and line end.
const TAIL_BYTES: usize = 4;
const SHORT: Reject = Reject::new("frame", "cut short", 0);

type Fields<'f> = SmallVec<[&'f str; 24]>;

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Meiligao",
        name,
    }
}

/// There is no state.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "meiligao",
        title: "Meiligao VT300 and GT60",
        source: "Meiligao: GPRS Communication Protocol V2.1",
        port: 5009,
        frame_bytes_max: 4096,
        version: 3,
        acks: Acks::None,
        settings: &[Setting::TimeZone],
        models: &[
            model(1, "GT30i"),
            model(2, "GT60"),
            model(3, "VT300"),
            model(4, "VT310"),
            model(5, "VT400"),
            model(6, "VT310N"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        if let [b'$', b'$', rest @ ..] = input {
            return Ok(match rest.first_chunk::<2>() {
                None if eof => Cut::Frame(input.len()),
                None => Cut::Need(4),
                // no length: the line end, but not one inside the head
                Some([0, 0]) => match input.get(HEAD_BYTES..) {
                    None if eof => Cut::Frame(input.len()),
                    None => Cut::Need(HEAD_BYTES + TAIL_BYTES),
                    Some(body) => {
                        let scanned = scanned.saturating_sub(HEAD_BYTES);
                        match framing::until(body, scanned, eof, b"\r\n") {
                            Cut::Frame(bytes) => Cut::Frame(HEAD_BYTES + bytes),
                            _ => Cut::Need(input.len() + 1),
                        }
                    }
                },
                Some(length) => {
                    let length = usize::from(u16::from_be_bytes(*length));
                    match length.max(HEAD_BYTES + TAIL_BYTES) {
                        need if need > input.len() && eof => Cut::Frame(input.len()),
                        need => framing::exactly(input, need),
                    }
                }
            });
        }
        Ok(match framing::find(input, b"$$") {
            Some(start) => Cut::Skip(start),
            None if input == b"$" && !eof => Cut::Need(2),
            None if input.last() == Some(&b'$') && input.len() > 1 => Cut::Skip(input.len() - 1),
            None => Cut::Skip(input.len()),
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let (signed, sum) = frame
            .strip_suffix(b"\r\n")
            .and_then(|rest| rest.split_last_chunk::<2>())
            .ok_or(SHORT)?;
        if checksum::crc16_ccitt_false(signed) != u16::from_be_bytes(*sum) {
            return Err(Reject::new("checksum", "does not hold", signed.len()));
        }
        let head = frame.first_chunk::<HEAD_BYTES>().ok_or(SHORT)?;
        let data = signed.get(HEAD_BYTES..).ok_or(SHORT)?;
        let [_, _, _, _, id @ .., command_high, command_low] = *head;
        let command = u16::from_be_bytes([command_high, command_low]);
        identify(id, cx)?;
        match command {
            0x5000 => {
                let yes = answer(id, 0x4000, &[1]);
                let no = answer(id, 0x4000, &[0]);
                cx.reply(Reply::admitted(yes).or_by(Cause::Unknown, no));
                Ok(())
            }
            0x5501 => heartbeat(id, data, cx),
            0x0001 => {
                cx.reply(Reply::admitted(answer(id, 0x0001, &[1])));
                Ok(())
            }
            0x0800 | 0x0f80 => {
                let number = *data.first().ok_or(SHORT)?;
                cx.reply(Reply::admitted(if command == 0x0800 {
                    answer(id, 0x8801, &[number])
                } else {
                    answer(id, 0x6688, &[number, 0, 0])
                }));
                Ok(())
            }
            0x9955 => position(command, &[], data, cx),
            0x9016 => {
                let kept = data.get(KEPT_BYTES..).filter(|_| !is_clock(data));
                position(command, &[], kept.unwrap_or(data), cx)
            }
            0x9999 => {
                let (alarm, data) = data.split_at_checked(1).ok_or(SHORT)?;
                position(command, alarm, data, cx)
            }
            0x6688 => kept(data, cx),
            0x9977 => {
                let (picture, data) = data.split_at_checked(2).ok_or(SHORT)?;
                position(command, picture, data, cx)
            }
            0x9966 => rfid(data, cx),
            0x9988 => picture(data, cx),
            _ => other(command, data, cx),
        }
    }

    fn probe(head: &[u8]) -> Probe {
        let Some(start) = head.first_chunk::<HEAD_BYTES>() else {
            let fits = head.iter().take(2).all(|byte| *byte == b'$');
            return if fits { Probe::More } else { Probe::No };
        };
        let [a, b, high, low, id @ .., _, _] = *start;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let fits = (a, b) == (b'$', b'$')
            && (length == 0 || (HEAD_BYTES + TAIL_BYTES..=4096).contains(&length))
            && ident(id).is_some();
        if fits { Probe::Yes } else { Probe::No }
    }
}

/// Digits up to the first nibble that is none; after it there is none either.
fn ident(bytes: [u8; 7]) -> Option<SmallVec<[u8; 16]>> {
    let mut text: SmallVec<[u8; 16]> = SmallVec::new();
    let mut ended = false;
    for nibble in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        match nibble {
            0..=9 if !ended => text.push(b'0' + nibble),
            0..=9 => return None,
            _ => ended = true,
        }
    }
    (!text.is_empty()).then_some(text)
}

fn identify(bytes: [u8; 7], cx: &mut Context<'_>) -> Result<(), Reject> {
    let none = Reject::new("ident", "not decimal", 4);
    let digits = ident(bytes).ok_or(none)?;
    let text = std::str::from_utf8(&digits).map_err(|_| none)?;
    let check = (digits.len() == 14)
        .then(|| luhn::check_digit(text))
        .flatten();
    let mut whole = digits.clone();
    whole.extend(check.and_then(|digit| u8::try_from(digit).ok()));
    let whole = std::str::from_utf8(&whole).map_err(|_| none)?;
    let login = Login {
        alternates: if check.is_some() { &[whole] } else { &[] },
        ..Login::of(text)
    };
    cx.identify(login).map(|_| ())
}

/// A frame to the tracker.
fn answer(id: [u8; 7], command: u16, data: &[u8]) -> Vec<u8> {
    let length = HEAD_BYTES + data.len() + TAIL_BYTES;
    let mut frame = Vec::with_capacity(length);
    frame.extend_from_slice(b"@@");
    frame.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    frame.extend_from_slice(&id);
    frame.extend_from_slice(&command.to_be_bytes());
    frame.extend_from_slice(data);
    let sum = checksum::crc16_ccitt_false(&frame);
    frame.extend_from_slice(&sum.to_be_bytes());
    frame.extend_from_slice(b"\r\n");
    frame
}

fn heartbeat(id: [u8; 7], data: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let reply = answer(id, 0x5501, &[]);
    if let [level @ 0..=100] = *data {
        let mut message = cx.message(Time::Received(cx.now_ms))?;
        message.push(fields::MESSAGE_TYPE, "5501");
        message.push(fields::BATTERY_LEVEL, level);
        drop(message);
        cx.reply(Reply::stored(reply));
    } else {
        cx.reply(Reply::admitted(reply));
    }
    Ok(())
}

fn word(command: u16) -> String {
    format!("{command:04x}")
}

/// The time of day and the date of a sentence.
fn clock(hms: &str, dmy: &str, cx: &Context<'_>) -> Time {
    let hms = hms.split('.').next().unwrap_or_default();
    let both = time::digits(dmy, "dmy").zip(time::digits(hms, "HMS"));
    let ms = both.and_then(|(date, clock)| date.at_clock(clock).ms(cx.settings()));
    time::or_impossible(ms, cx.now_ms)
}

fn push_place(message: &mut RecordBuilder<'_>, [lat, ns, lon, ew]: [&str; 4]) -> bool {
    let place = nmea_degrees(lat, ns).zip(nmea_degrees(lon, ew));
    let place = place.filter(|place| *place != (0.0, 0.0));
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    place.is_some()
}

/// Does a sentence begin here?
fn is_clock(data: &[u8]) -> bool {
    data.iter()
        .take(6)
        .filter(|byte| byte.is_ascii_digit())
        .count()
        == 6
}

/// Command 6688: positions that were kept.
fn kept(data: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let (&count, mut rest) = data.split_first().ok_or(SHORT)?;
    for _ in 0..count {
        let Some((alarm, record)) = rest.split_at_checked(1) else {
            break;
        };
        let end = record.iter().position(|byte| *byte == b'\\');
        let (sentence, after) = record
            .split_at_checked(end.unwrap_or(record.len()))
            .ok_or(SHORT)?;
        position(0x6688, alarm, sentence, cx)?;
        rest = after.get(1..).unwrap_or_default();
    }
    Ok(())
}

/// A sentence and its values; `extra` is what stood before it.
fn position(command: u16, extra: &[u8], data: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let text = std::str::from_utf8(data)
        .map_err(|error| Reject::new("position", "not printable", error.valid_up_to()))?;
    let mut values = text.split('|');
    let sentence = values.next().unwrap_or_default();
    let sentence = sentence.split('*').next().unwrap_or_default();
    let parts: Fields<'_> = sentence.split(',').take(20).collect();
    let [hms, valid, lat, ns, lon, ew, knots, course, dmy, ..] = *parts.as_slice() else {
        return Err(Reject::new(
            "position",
            "fewer fields than a position has",
            0,
        ));
    };
    let mut message = cx.message(clock(hms, dmy, cx))?;
    message.push(fields::MESSAGE_TYPE, word(command).as_str());
    match (command, extra) {
        (0x9999, [alarm]) => push_alarm(&mut message, *alarm),
        (0x6688, [alarm]) => {
            message.push(fields::MESSAGE_BUFFERED_STATUS, true);
            if *alarm != 0 {
                push_alarm(&mut message, *alarm);
            }
        }
        (0x9977, [picture, reason]) => {
            message.push(fields::MEDIA_ID, picture.to_string().as_str());
            message.push(fields::REPORT_REASON, *reason);
        }
        (0x9016, _) => message.push(fields::MESSAGE_BUFFERED_STATUS, true),
        _ => {}
    }
    let placed = push_place(&mut message, [lat, ns, lon, ew]);
    message.push(fields::POSITION_VALID, placed && valid == "A");
    if placed {
        message.push_some(fields::POSITION_SPEED, float(knots).map(units::knots));
        let course = float(course).filter(|course| (0.0..=360.0).contains(course));
        message.push_some(fields::POSITION_DIRECTION, course);
    }
    let values: Fields<'_> = values.take(24).collect();
    push_values(&mut message, &values);
    Ok(())
}

fn push_values(message: &mut RecordBuilder<'_>, values: &[&str]) {
    let mut values = values.iter().copied();
    let hdop = values.next().and_then(float).filter(|hdop| *hdop < 99.0);
    message.push_some(fields::POSITION_HDOP, hdop);
    let altitude = values.next().and_then(float);
    let altitude = altitude.filter(|metres| (-1000.0..20_000.0).contains(metres));
    message.push_some(fields::POSITION_ALTITUDE, altitude);
    let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
    if let Some(inputs) = values.next().and_then(hexadecimal) {
        for bit in 0..5u16 {
            message.push((fields::DOUT_N, bit + 1), inputs >> bit & 1 != 0);
            message.push((fields::DIN_N, bit + 1), inputs >> (bit + 8) & 1 != 0);
        }
    }
    for (number, step) in (1u8..).zip(values.next().unwrap_or_default().split(',')) {
        if let Some(step) = hexadecimal(step).and_then(|step| i64::try_from(step).ok()) {
            push_step(message, number, step);
        }
    }
    let rest: Fields<'_> = values.collect();
    match *rest.as_slice() {
        [] => {}
        // a cell, signal and odometer in hexadecimal
        [cell, signal, odometer, ref more @ ..] if (16..=20).contains(&cell.len()) => {
            push_cell(message, cell);
            let signal = u8::from_str_radix(signal, 16).ok().filter(|csq| *csq <= 31);
            message.push_some(fields::GSM_SIGNAL_ENUM, signal);
            let metres = u32::from_str_radix(odometer, 16).ok();
            message.push_some(fields::VEHICLE_MILEAGE, metres.map(km));
            let (satellites, more) = more.split_first().unwrap_or((&"", &[]));
            let satellites = u8::from_str_radix(satellites, 16).ok();
            message.push_some(fields::POSITION_SATELLITES, satellites);
            if let Some(driver) = more.first().filter(|driver| !driver.is_empty()) {
                message.push(fields::DRIVER_ID, *driver);
            }
        }
        [odometer, ref more @ ..] => {
            let metres = number::<u32>(odometer);
            message.push_some(fields::VEHICLE_MILEAGE, metres.map(km));
            push_more(message, more);
        }
    }
}

fn push_step(message: &mut RecordBuilder<'_>, number: u8, step: i64) {
    const NAMES: [&str; 8] = [
        "adc1", "adc2", "adc3", "adc4", "adc5", "adc6", "adc7", "adc8",
    ];
    if let Some(name) = NAMES.get(usize::from(number.wrapping_sub(1))) {
        message.name(name, step);
    }
}

fn km(metres: u32) -> f64 {
    units::scaled(metres.into(), 3)
}

/// A card, and what nobody explains.
fn push_more(message: &mut RecordBuilder<'_>, more: &[&str]) {
    for (number, value) in (1..).zip(more) {
        match number {
            1 if !value.is_empty() => message.push(fields::RFID_CODE, *value),
            _ if value.is_empty() => {}
            _ => message.wire(number, *value),
        }
    }
}

fn push_cell(message: &mut RecordBuilder<'_>, text: &str) {
    let part = |range: std::ops::Range<usize>| {
        text.get(range)
            .and_then(|digits| i64::from_str_radix(digits, 16).ok())
    };
    let cell = Cell {
        mcc: part(0..4),
        mnc: part(4..8),
        lac: part(8..12),
        id: part(12..text.len()),
        dbm: None,
    };
    cells::push(message, 0, cell);
}

fn push_alarm(message: &mut RecordBuilder<'_>, alarm: u8) {
    message.push(fields::ALARM_CODE, alarm);
    // an input became active, or is so no longer
    if let 0x02..=0x05 | 0x32..=0x35 = alarm {
        message.push((fields::DIN_N, u16::from(alarm & 0x0f)), alarm < 0x30);
    }
    let param = match alarm {
        0x01 => fields::ALARM_EVENT_TRIGGER,
        0x10 => fields::BATTERY_LOW_EVENT_TRIGGER,
        0x11 => fields::OVERSPEEDING_EVENT_TRIGGER,
        0x12 => fields::MOVEMENT_EVENT_TRIGGER,
        0x13 => fields::GEOFENCE_EVENT_ENTER,
        0x14 => fields::POWER_ON_EVENT_TRIGGER,
        0x50 => fields::POWER_CUT_EVENT_TRIGGER,
        0x53 => fields::GNSS_ANTENNA_CUT_EVENT_TRIGGER,
        0x72 => fields::HARSH_BRAKING_EVENT_TRIGGER,
        0x73 => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        _ => return,
    };
    message.push(param, true);
}

fn rfid(data: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    // cards are binary and may hold the bar: the sentence is what follows the last one
    let bar = data.iter().rposition(|byte| *byte == b'|').ok_or(SHORT)?;
    let (cards, text) = data.split_at_checked(bar).ok_or(SHORT)?;
    let text = std::str::from_utf8(text)
        .map_err(|error| Reject::new("position", "not printable", bar + error.valid_up_to()))?;
    let parts: Fields<'_> = text.trim_start_matches('|').split(',').take(8).collect();
    let [hms, dmy, lat, ns, lon, ew, ..] = *parts.as_slice() else {
        return Err(Reject::new(
            "position",
            "fewer fields than a position has",
            bar,
        ));
    };
    let mut message = cx.message(clock(hms, dmy, cx))?;
    message.push(fields::MESSAGE_TYPE, "9966");
    let placed = push_place(&mut message, [lat, ns, lon, ew]);
    message.push(fields::POSITION_VALID, placed);
    let (whole, _) = cards.as_chunks::<4>();
    let read = whole.iter().map(|card| u32::from_be_bytes(*card));
    let mut text = String::new();
    for card in read.filter(|card| *card != 0) {
        use std::fmt::Write as _;
        if !text.is_empty() {
            text.push(',');
        }
        write!(text, "{card:010}").expect("a String takes everything");
    }
    if !text.is_empty() {
        message.push(fields::RFID_CODE, text.as_str());
    }
    Ok(())
}

fn picture(data: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let ([server, high, low, packets, packet], part) =
        data.split_first_chunk::<5>().ok_or(SHORT)?;
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "9988");
    let id = u16::from_be_bytes([*high, *low]);
    message.push(fields::MEDIA_ID, format!("{id}").as_str());
    message.name("server", *server);
    message.name("parts", *packets);
    message.push(fields::RECORD_SEQNUM, *packet);
    message.push(fields::IMAGE_BIN_JPEG, part);
    Ok(())
}

/// What an OBD reader says, and answers to commands.
fn other(command: u16, data: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let printable = std::str::from_utf8(data)
        .ok()
        .filter(|text| !text.is_empty() && text.chars().all(|c| !c.is_control()));
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, word(command).as_str());
    let answered = !matches!(command, 0x9901 | 0x9902);
    match (command, printable) {
        (0x9902, Some(text)) => message.push(fields::CAN_DTC_CODES, text),
        (_, Some(text)) => message.push(fields::COMMAND_RESULT, text),
        (_, None) => message.push(fields::PAYLOAD_HEX, hex::encode(data).as_str()),
    }
    drop(message);
    if answered {
        let text = printable.map_or_else(|| hex::encode(data), str::to_owned);
        cx.command_reply(Some(command.into()), &text);
    }
    Ok(())
}
