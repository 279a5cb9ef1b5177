//! Information packets: what is no position, by sub-type or by module.

use super::parts::{self, SHORT};
use super::status::strengths_list;
use super::wire::{Frame, acknowledge};
use crate::contract::{Context, Key, ParamId, RecordBuilder, Reject, Reply, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{bcd, hex, parse, units};

/// Number and temperature of a sensor on a wire.
const PROBE_BYTES: usize = 10;

/// Reads one, and answers it where it wants that.
pub(super) fn read(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    match frame.kind {
        0x94 => information(frame, cx),
        0x9b => serial_port(frame, cx),
        0xfd => version(frame, cx),
        0x70 => {
            modules(frame, cx)?;
            cx.reply(Reply::stored(acknowledge(frame)));
            Ok(())
        }
        _ => {
            states(frame, cx)?;
            cx.reply(Reply::stored(acknowledge(frame)));
            Ok(())
        }
    }
}

/// Kind 94: a sub-type and its content.
fn information(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    if !frame.long
        && let [high, low] = frame.body
    {
        // in a short frame there is no sub-type: the supply's voltage alone
        let time = parts::received(cx);
        let volts = parts::hundredths(u16::from_be_bytes([*high, *low]));
        cx.message(time)?
            .push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
        return Ok(());
    }
    let (&kind, content) = frame.body.split_first().ok_or(SHORT)?;
    let mut body = Cursor::new(content);
    // the door's state and the fuel sensor's text may have a date before them
    let dated = match kind {
        0x05 => content.len() >= 7,
        0x0d => parts::is_time(content) && content.get(6) == Some(&b'!'),
        _ => false,
    };
    let time = if dated {
        parts::time(&mut body, frame.kind, None, cx)?
    } else {
        parts::received(cx)
    };
    let mut message = cx.message(time)?;
    let known = match kind {
        0x00 | 0x0b => body.u16().map(|volts| {
            let volts = parts::hundredths(volts);
            message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
        }),
        0x04 => settings_text(body.rest(), &mut message),
        0x05 => body.u8().map(|bits| {
            message.push(fields::DOOR_OPEN_STATUS, bits & 1 != 0);
            message.push((fields::DIN_N, 1), bits & 4 != 0);
        }),
        0x09 => satellites(&mut body, &mut message),
        0x0a => cards(&mut body, &mut message),
        0x0d => fuel_text(body.rest(), &mut message),
        0x15 => probes(content, &mut message),
        0x1b => tag(body.rest(), &mut message),
        _ => None,
    };
    if known.is_none() {
        let id = u32::from(kind);
        message.push(Key::Wire { space: 0x94, id }, content);
    }
    Ok(())
}

/// `ALM1=C5;STA1=C0;DYD=01;SOS=...`: numbers in hexadecimal, and texts.
fn settings_text(text: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let text = std::str::from_utf8(text).ok()?;
    for pair in text.split(';') {
        let Some((name, value)) = pair.split_once('=') else {
            continue;
        };
        let number = (value.len() == 2)
            .then(|| u8::from_str_radix(value, 16).ok())
            .flatten();
        match (name, number) {
            ("DYD", Some(bits)) => message.push(fields::ENGINE_BLOCKED_STATUS, bits & 2 != 0),
            ("STA1", Some(bits)) => message.push(fields::ARM_STATUS, bits & 0x80 != 0),
            _ => {}
        }
        let name = name.trim().to_ascii_lowercase();
        match number {
            _ if name.is_empty() => {}
            Some(number) => message.name(&name, number),
            None => message.name(&name, value),
        }
    }
    Some(())
}

/// For GPS, then for `BeiDou`: state, satellites in use and their strength, those in view and theirs.
fn satellites(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let state = body.u8()?;
    message.push(fields::GNSS_STATE_ENUM, state);
    message.push(fields::GNSS_STATUS, matches!(state, 2 | 3));
    let used = body.u8()?;
    message.push(fields::POSITION_SATELLITES, used);
    strengths_list(message, body.take(usize::from(used))?);
    if let Some(visible) = body.u8() {
        message.push(fields::GNSS_SATELLITES_VISIBLE, visible);
        body.take(usize::from(visible).min(body.left()))?;
    }
    parts::leftover(message, 0x94, body.rest());
    Some(())
}

/// A count, and of each sensor its number on the wire (8) and hundredths of a degree (2).
fn probes(content: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let (&count, all) = content.split_first()?;
    let (probes, rest) = all.as_chunks::<PROBE_BYTES>();
    if probes.len() != usize::from(count) || !rest.is_empty() {
        return None;
    }
    for ([id @ .., high, low], number) in probes.iter().zip(1u16..) {
        message.push((fields::SENSOR_ID_N, number), hex::encode(id).as_str());
        let hundredths = i64::from(i16::from_be_bytes([*high, *low]));
        let celsius = units::scaled(hundredths, 2);
        message.push((fields::SENSOR_TEMPERATURE_N, number), celsius);
    }
    Some(())
}

/// IMEI, IMSI, ICCID; the last one may hold digits beyond 9.
fn cards(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let (imei, imsi) = (bcd::text(body.take(8)?), body.take(8)?);
    if let Some(imei) = imei {
        message.push(fields::DEVICE_IMEI, bcd::without_leading_zeros(&imei));
    }
    push_number(message, fields::GSM_SIM_IMSI, imsi);
    push_number(message, fields::GSM_SIM_ICCID, body.take(10)?);
    Some(())
}

/// A number of digits and, perhaps, fillers; zeros are none. The number of a SIM card begins with
/// 89: where it does not, each byte's digits are swapped.
fn push_number(message: &mut RecordBuilder<'_>, param: ParamId, bytes: &[u8]) {
    if bytes.iter().all(|byte| *byte == 0) {
        return;
    }
    let text = if param == fields::GSM_SIM_ICCID && bytes.first() == Some(&0x98) {
        let swapped: Vec<u8> = bytes.iter().map(|byte| byte.rotate_left(4)).collect();
        hex::encode(&swapped)
    } else {
        hex::encode(bytes)
    };
    let digits = text.trim_end_matches('f');
    message.push(param, bcd::without_leading_zeros(digits));
}

/// `!AIOIL,02,008.290,029.600,519J,040,008.43,...`: level, temperature, filtered level.
fn fuel_text(text: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let text = std::str::from_utf8(text).ok()?;
    let mut values = text.split(',');
    let _name = values.next().filter(|name| name.starts_with('!'))?;
    let _address = values.next()?;
    let level = parse::float(values.next()?);
    message.push_some((fields::LLS_VALUE_N, 1), level);
    let degrees = parse::float(values.next()?);
    message.push_some((fields::SENSOR_TEMPERATURE_N, 1), degrees);
    let filtered = parse::float(values.nth(2)?);
    message.push_some((fields::FUEL_SENSOR_N, 1), filtered);
    message.push((fields::RS232_DATA_N, 1), text);
    Some(())
}

/// A reader's tag: as text `RFID:...`, in a reader's own frame (02 length tag checksum 03), or as it is.
fn tag(content: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    if let Some(text) = content.strip_prefix(b"RFID:") {
        let text = std::str::from_utf8(text).ok()?;
        message.push(fields::RFID_CODE, text.trim());
        return Some(());
    }
    let framed = match content {
        [2, _, tag @ .., sum, 3] if crate::kit::checksum::xor(tag) == *sum => Some(tag),
        _ => None,
    };
    let tag = framed.unwrap_or(content);
    message.push(fields::RFID_CODE, hex::encode(tag).as_str());
    Some(())
}

/// Kind 9B: what an external module said, passed on.
fn serial_port(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let (&port, content) = frame.body.split_first().ok_or(SHORT)?;
    let time = parts::received(cx);
    let mut message = cx.message(time)?;
    message.push((fields::RS232_DATA_N, u16::from(port)), content);
    message.push(fields::COMMAND_RESULT, hex::encode(content).as_str());
    Ok(())
}

/// Kind FD: IMEI, 18 bytes that are not understood, 01, and the firmware with its length.
fn version(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(frame.body);
    let time = parts::received(cx);
    let mut message = cx.message(time)?;
    let imei = body.take(8).and_then(bcd::text).ok_or(SHORT)?;
    message.push(fields::DEVICE_IMEI, bcd::without_leading_zeros(&imei));
    let unknown = body.take(18).ok_or(SHORT)?;
    parts::leftover(&mut message, frame.kind, unknown);
    let _one = body.u8().ok_or(SHORT)?;
    let length = body.u8().map(usize::from).ok_or(SHORT)?;
    let text = body.take(length).ok_or(SHORT)?;
    let text = String::from_utf8_lossy(text);
    message.push(fields::DEVICE_FIRMWARE_VERSION, text.trim());
    Ok(())
}

/// Kind 70: modules of id, length and content. The first that gives a time gives the message's.
fn modules(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let all = || {
        let mut body = Cursor::new(frame.body);
        std::iter::from_fn(move || {
            let id = body.u16()?;
            let length = body.u16()?;
            Some((id, body.take(usize::from(length))?))
        })
    };
    let time_in = |wanted: u16| {
        all()
            .filter(|(id, _)| *id == wanted)
            .find_map(|(_, content)| Cursor::new(content).u32().filter(|seconds| *seconds > 0))
    };
    let whole: usize = all().map(|(_, content)| content.len() + 4).sum();
    if whole == 0 {
        return Err(Reject::new("modules", "their lengths do not fit", 4));
    }
    let fix_s = time_in(0x33);
    let seconds = fix_s.or_else(|| time_in(0x2c));
    let time = seconds.map_or(Time::Received(cx.now_ms), |seconds| {
        Time::Device(i64::from(seconds) * 1000)
    });
    let mut message = cx.message(time)?;
    for (id, content) in all() {
        if module(id, content, &mut message).is_none() && !content.is_empty() {
            let id = u32::from(id);
            message.push(Key::Wire { space: 0x70, id }, content);
        }
    }
    // a last module that is cut short is no reason to lose the others
    let behind = frame.body.get(whole..).unwrap_or_default();
    parts::leftover(&mut message, frame.kind, behind);
    Ok(())
}

fn module(id: u16, content: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut body = Cursor::new(content);
    match id {
        0x01 => {
            let imei = bcd::text(content)?;
            message.push(fields::DEVICE_IMEI, bcd::without_leading_zeros(&imei));
        }
        0x02 => push_number(message, fields::GSM_SIM_IMSI, content),
        0x03 => push_number(message, fields::GSM_SIM_ICCID, content),
        0x09 => message.push(fields::POSITION_SATELLITES, body.u8()?),
        0x0a => message.push(fields::GNSS_SATELLITES_VISIBLE, body.u8()?),
        0x11 => {
            let (mcc, mnc) = (body.u16()?, body.u16()?);
            let (lac, id) = (body.u16()?, body.u32()?);
            parts::push_cell(message, mcc & 0x7fff, mnc, u32::from(lac), u64::from(id));
        }
        0x18 => message.push(fields::BATTERY_VOLTAGE, parts::hundredths(body.u16()?)),
        0x28 => {
            let hdop = units::scaled(i64::from(body.u8()?), 1);
            message.push(fields::POSITION_HDOP, hdop);
        }
        0x29 => message.push(fields::RECORD_SEQNUM, i64::from(body.u32()?)),
        0x2a => {
            let bits = body.u8()?;
            message.push(fields::DOOR_OPEN_STATUS, bits & 0x0f != 0);
            message.push(fields::TAMPERING_STATUS, bits & 0xf0 != 0);
        }
        0x2b => {
            let reason = body.u8()?;
            message.push(fields::BOOT_REASON_ENUM, reason);
            let meaning = match reason {
                0x11 => Some(fields::BATTERY_LOW_EVENT_TRIGGER),
                0x12 => Some(fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER),
                0x13 => Some(fields::POWER_CUT_EVENT_TRIGGER),
                0x14 => Some(fields::TAMPERING_EVENT_TRIGGER),
                _ => None,
            };
            if let Some(meaning) = meaning {
                message.push(meaning, true);
            }
        }
        // the time, taken already
        0x2c => {}
        0x2e => message.push(fields::VEHICLE_MILEAGE, parts::km(body.u32()?)),
        0x33 => place(&mut body, message)?,
        0x34 => {
            let event = body.u8()?;
            message.push(fields::EVENT_ENUM, event);
            if event == 0x12 {
                message.push(fields::TAMPERING_EVENT_TRIGGER, true);
            }
        }
        0x7f => tag_sensor(&mut body, message)?,
        _ => return None,
    }
    Some(())
}

/// Time, satellites, altitude, coordinates, speed, course.
fn place(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let time = body.u32()?;
    let satellites = body.u8()?;
    let altitude = body.i16()?;
    let fix = parts::Fix {
        satellites,
        latitude: body.u32()?,
        longitude: body.u32()?,
        speed: u16::from(body.u8()?),
        word: body.u16()?,
    };
    fix.push(message);
    if time != 0 {
        message.push(fields::POSITION_ALTITUDE, altitude);
    }
    Some(())
}

/// A Bluetooth tag: address, battery, its level, temperature, humidity, state.
fn tag_sensor(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let mac = hex::encode(&body.array::<6>()?);
    message.push((fields::BLE_BEACON_ID_N, 1), mac.as_str());
    let millivolts = body.u16()?;
    // 7FFF: not measured
    if millivolts != 0x7fff {
        let volts = units::scaled(i64::from(millivolts), 3);
        message.push((fields::BLE_SENSOR_BATTERY_VOLTAGE_N, 1), volts);
    }
    message.push((fields::BLE_SENSOR_BATTERY_LEVEL_N, 1), body.u8()?);
    let degrees = units::scaled(i64::from(body.i16()?), 1);
    message.push((fields::BLE_SENSOR_TEMPERATURE_N, 1), degrees);
    let percent = units::scaled(i64::from(body.u16()?), 1);
    message.push((fields::BLE_SENSOR_HUMIDITY_N, 1), percent);
    message.push((fields::SENSOR_STATUS_N, 1), body.u8()?);
    Some(())
}

/// Kinds F1 and F2: a time, then values of id, length and content.
fn states(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(frame.body);
    let seconds = body.u32().ok_or(SHORT)?;
    let mut message = cx.message(Time::Device(i64::from(seconds) * 1000))?;
    while body.left() > 0 {
        let id = body.u16().ok_or(SHORT)?;
        // what a button or a beacon sent has the longer length
        let length = if frame.kind == 0xf2 && id == 0x0a {
            body.u16().map(usize::from)
        } else {
            body.u8().map(usize::from)
        };
        let content = length.and_then(|length| body.take(length)).ok_or(SHORT)?;
        let mut value = Cursor::new(content);
        let known = match (frame.kind, id) {
            (0xf1, 0x05) => value.u16().map(|volts| {
                let volts = parts::hundredths(volts);
                message.push(fields::BATTERY_VOLTAGE, volts);
            }),
            (0xf2, 0x0a) => beacon(&mut value, &mut message),
            (0xf2, 0x0b) => beside(&mut value, &mut message),
            (0xf2, 0x0c) => value.u8().map(|percent| {
                message.push(fields::BATTERY_LEVEL, percent);
                message.push_some(fields::BATTERY_CYCLE_COUNT, value.u16());
                parts::leftover(&mut message, frame.kind, value.rest());
            }),
            _ => None,
        };
        if known.is_none() {
            let (space, id) = (frame.kind, u32::from(id));
            message.push(Key::Wire { space, id }, content);
        }
    }
    Ok(())
}

/// Number, address, event, kind of data, data.
fn beacon(value: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let _number = value.u8()?;
    let mac = value.array::<6>()?;
    let event = value.u16()?;
    let _kind_of_data = value.u8()?;
    message.push((fields::BLUETOOTH_MAC_N, 1), hex::mac(mac).as_str());
    message.push(fields::EVENT_ENUM, event);
    message.name("bluetooth.data", value.rest());
    Some(())
}

/// The place of the device beside another module's data: course word, latitude, longitude.
fn beside(value: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let word = value.u16()?;
    let fix = parts::Fix {
        satellites: 0,
        latitude: value.u32()?,
        longitude: value.u32()?,
        speed: 0,
        word,
    };
    if word & 0x1000 != 0 {
        fix.push(message);
        Some(())
    } else {
        None
    }
}
