//! Tags: their lengths and what they say.
//!
//! | tag | bytes | meaning |
//! |---|---|---|
//! | 01, 02 | 1 | hardware, firmware |
//! | 03, 04 | 15, 2 | IMEI, the owner's number |
//! | 10 | 2 | number of the record |
//! | 20, 21 | 4, 2 | unix seconds, and ms |
//! | 30 | 9 | satellites (low half), kind of fix (0: satellites), latitude, longitude in 1e-6 degrees |
//! | 33, 34, 35 | 4, 2, 1 | speed and course in tenths, altitude, HDOP in tenths |
//! | 40 | 2 | status |
//! | 41, 42, 43 | 2, 2, 1 | supply and battery in mV, temperature |
//! | 44 to 47 | 4, 2, 2, 4 | acceleration, outputs, inputs, driving style |
//! | 48 | 2 | more status |
//! | 50 to 57, 78 to 7d | 2 | inputs 0 to 7, 8 to 13 |
//! | 58, 59, 60 to 62 | 2 | level at RS-232 0, 1; RS-485 0 to 2 |
//! | 5a, 5b, 5c, 5d | 4, 7, 68, 3 | REP-500, refrigerator, PressurePro, DBG-S11D |
//! | 63 to 6f | 3 | level and temperature at RS-485 3 to 15 |
//! | 70 to 77 | 2 | thermometer: id, temperature |
//! | 80 to 87 | 3 | hygrometer: id, temperature, humidity of 255 |
//! | 88 to 8c | 1 | temperature at RS-232 0, 1; RS-485 0 to 2 |
//! | 90, d3 | 4 | first and second key |
//! | a0 to af, c4 to d2 | 1 | CAN8BITR15 to 30, 0 to 14 |
//! | b0 to b9, d6 to da | 2 | CAN16BITR5 to 14, 0 to 4 |
//! | c0 | 4 | fuel used, half liters |
//! | c1 | 4 | fuel (0.4 %), coolant (-40), engine speed (1/8) |
//! | c2 | 4 | distance, 5 m |
//! | c3, db to df, f0 to f9 | 4 | CAN_B1, CAN32BITR0 to 4, 5 to 14 |
//! | d4, d5 | 4, 1 | distance counted (m), which keys are there |
//! | e0, e1 | 4, 1 + n | number of a command, its answer |
//! | e2 to e9, ea | 4, 1 + n | the user's values, the user's bytes |
//! | fe | 2 + n | tags whose numbers have two bytes |

use crate::contract::{Context, Instance, Key, RecordBuilder, Reject, Time, Value, fields};
use crate::kit::cursor::Cursor;
use crate::kit::table::{little_endian, signed};
use crate::kit::time;
use crate::kit::units::{round, scaled};

/// The bytes of a tag's value, without a length of its own; `None` if the tag is not known.
fn length(tag: u8, rest: &[u8]) -> Option<usize> {
    Some(match tag {
        0x01
        | 0x02
        | 0x35
        | 0x36
        | 0x43
        | 0x49
        | 0x88..=0x8c
        | 0xa0..=0xaf
        | 0xc4..=0xd2
        | 0xd5 => 1,
        0x04
        | 0x10
        | 0x21
        | 0x34
        | 0x40..=0x42
        | 0x45
        | 0x46
        | 0x48
        | 0x50..=0x59
        | 0x60..=0x62
        | 0x70..=0x7d
        | 0xb0..=0xb9
        | 0xd6..=0xda => 2,
        0x5d | 0x63..=0x6f | 0x80..=0x87 => 3,
        0x20
        | 0x33
        | 0x44
        | 0x47
        | 0x5a
        | 0x90
        | 0xc0..=0xc3
        | 0xd3
        | 0xd4
        | 0xdb..=0xe0
        | 0xe2..=0xe9
        | 0xf0..=0xf9 => 4,
        0x5b => 7,
        0xfd => 8,
        0x30 => 9,
        0x03 => 15,
        0x5c => 68,
        0xe1 | 0xea => 1 + usize::from(*rest.first()?),
        0xfe => 2 + usize::from(u16::from_le_bytes(*rest.first_chunk()?)),
        _ => return None,
    })
}

/// A number and its bytes; `None` at the end, and at a tag that is not known.
fn next<'a>(cursor: &mut Cursor<'a>) -> Option<(u8, &'a [u8])> {
    let mut ahead = *cursor;
    let tag = ahead.u8()?;
    let value = ahead.take(length(tag, ahead.rest())?)?;
    *cursor = ahead;
    Some((tag, value))
}

/// The IMEI of the first record.
pub(super) fn imei(body: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor::new(body);
    while let Some((tag, value)) = next(&mut cursor) {
        match tag {
            0x03 => return Some(value),
            // it stands at the beginning
            0x20.. => return None,
            _ => {}
        }
    }
    None
}

/// Reads the records of a frame into messages.
pub(super) fn records(body: &[u8], archive: bool, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut cursor = Cursor::new(body);
    if body.is_empty() {
        return Ok(());
    }
    while cursor.left() > 0 {
        let start = cursor;
        let (mut seen, mut seconds, mut ms) = ([0u128; 2], None, 0);
        let mut end = cursor;
        while let Some((tag, value)) = next(&mut cursor) {
            let (half, bit) = (usize::from(tag >> 7), 1u128 << (tag & 0x7f));
            let Some(seen) = seen.get_mut(half) else {
                break;
            };
            if *seen & bit != 0 {
                break;
            }
            *seen |= bit;
            match tag {
                0x20 => seconds = i64::try_from(little_endian(value)).ok(),
                0x21 => ms = i64::try_from(little_endian(value)).unwrap_or_default(),
                _ => {}
            }
            end = cursor;
        }
        cursor = end;
        let known = start.left() - end.left();
        let record = start.rest().get(..known).unwrap_or_default();
        // what follows a tag that is not known cannot be told apart
        let unknown = (known == 0 || next(&mut end).is_none()).then_some(cursor.rest());
        record_of(record, seconds.map(|s| s * 1000 + ms), archive, unknown, cx)?;
        if unknown.is_some() {
            break;
        }
    }
    Ok(())
}

fn record_of(
    record: &[u8],
    ms: Option<i64>,
    archive: bool,
    unknown: Option<&[u8]>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let when = ms.map_or(Time::Received(cx.now_ms), |ms| {
        time::or_impossible(Some(ms), cx.now_ms)
    });
    let mut answer = None;
    let mut message = cx.message(when)?;
    let mut cursor = Cursor::new(record);
    while let Some((tag, value)) = next(&mut cursor) {
        if tag == 0xe1 {
            answer = Some(value.get(1..).unwrap_or_default());
        }
        one(tag, value, &mut message);
    }
    if let Some(rest) = unknown.filter(|rest| !rest.is_empty()) {
        message.push(fields::PAYLOAD_HEX, &*crate::kit::hex::encode(rest));
    }
    if archive {
        message.name("archive.left", true);
    }
    drop(message);
    if let Some(text) = answer {
        cx.command_reply(None, &String::from_utf8_lossy(text));
    }
    Ok(())
}

/// Reads the value of one tag, whose number stood elsewhere.
pub(super) fn value(
    tag: u8,
    cursor: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
) -> Option<()> {
    let value = cursor.take(length(tag, cursor.rest())?)?;
    one(tag, value, message);
    Some(())
}

fn one(tag: u8, bytes: &[u8], message: &mut RecordBuilder<'_>) {
    let raw = little_endian(bytes.get(..8).unwrap_or(bytes));
    let unsigned = i64::try_from(raw).unwrap_or(i64::MAX);
    let number = |base: u8| Instance::from(tag.wrapping_sub(base));
    match tag {
        0x01 => message.push(fields::DEVICE_HARDWARE_VERSION, &*raw.to_string()),
        0x02 => message.push(fields::DEVICE_FIRMWARE_VERSION, &*raw.to_string()),
        0x04 => message.name("device.number", unsigned),
        0x10 => message.push(fields::RECORD_SEQNUM, unsigned),
        0x30 => place(bytes, message),
        0x33 => {
            let (speed, course) = (raw & 0xffff, raw >> 16);
            message.push(fields::POSITION_SPEED, round(speed as f64 / 10.0, 1));
            message.push(fields::POSITION_DIRECTION, round(course as f64 / 10.0, 1));
        }
        0x34 => message.push(fields::POSITION_ALTITUDE, signed(raw, 2)),
        0x35 => message.push(fields::POSITION_HDOP, scaled(unsigned, 1)),
        0x40 => message.push(fields::STATUS_BITMASK, unsigned),
        0x41 => message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, scaled(unsigned, 3)),
        0x42 => message.push(fields::BATTERY_VOLTAGE, scaled(unsigned, 3)),
        0x43 => message.push(fields::DEVICE_TEMPERATURE, signed(raw, 1)),
        0x45 => message.push(fields::DOUT, unsigned),
        0x46 => message.push(fields::DIN, unsigned),
        0x50..=0x57 => message.name(analog(tag - 0x50), unsigned),
        0x78..=0x7d => message.name(analog(tag - 0x70), unsigned),
        0x58 | 0x59 => message.push((fields::LLS_VALUE_N, number(0x58) + 17), unsigned),
        0x60..=0x62 => message.push((fields::LLS_VALUE_N, number(0x60) + 1), unsigned),
        0x63..=0x6f => {
            message.push((fields::LLS_VALUE_N, number(0x60) + 1), unsigned & 0xffff);
            let celsius = signed(raw >> 16, 1);
            message.push((fields::LLS_TEMPERATURE_N, number(0x60) + 1), celsius);
        }
        0x70..=0x77 => {
            if raw != 0 {
                let celsius = signed(raw >> 8, 1);
                message.push((fields::SENSOR_TEMPERATURE_N, number(0x70) + 1), celsius);
                let id = (raw & 0xff).to_string();
                message.push((fields::SENSOR_ID_N, number(0x70) + 1), &*id);
            }
        }
        0x80..=0x87 => {
            if raw != 0 {
                let sensor = number(0x80) + 9;
                let celsius = signed(raw >> 8 & 0xff, 1);
                message.push((fields::SENSOR_TEMPERATURE_N, sensor), celsius);
                let humidity = round((raw >> 16) as f64 * 100.0 / 255.0, 1);
                message.push((fields::SENSOR_HUMIDITY_N, sensor), humidity);
                message.push((fields::SENSOR_ID_N, sensor), &*(raw & 0xff).to_string());
            }
        }
        0x88 | 0x89 => message.push(
            (fields::LLS_TEMPERATURE_N, number(0x88) + 17),
            signed(raw, 1),
        ),
        0x8a..=0x8c => message.push(
            (fields::LLS_TEMPERATURE_N, number(0x8a) + 1),
            signed(raw, 1),
        ),
        0x90 if raw != 0 => message.push(fields::IBUTTON_CODE, &*format!("{raw:08x}")),
        0x03 | 0x20 | 0x21 | 0x90 => {}
        0xc0 => message.push(fields::CAN_FUEL_CONSUMED, round(raw as f64 * 0.5, 1)),
        0xc1 => engine(bytes, message),
        0xc2 => message.push(fields::CAN_VEHICLE_MILEAGE, round(raw as f64 * 0.005, 3)),
        0xd4 => message.push(fields::VEHICLE_MILEAGE, scaled(unsigned, 3)),
        0xe0 => message.push(fields::COMMAND_ID, unsigned),
        0xe1 => {
            let text = String::from_utf8_lossy(bytes.get(1..).unwrap_or_default());
            message.push(fields::COMMAND_RESULT, &*text);
        }
        0xea => message.wire(tag.into(), bytes.get(1..).unwrap_or_default()),
        0xfe => extended(bytes.get(2..).unwrap_or_default(), message),
        _ if bytes.len() > 8 => message.wire(tag.into(), bytes),
        _ => message.wire(tag.into(), Value::unsigned(raw)),
    }
}

/// The name of an analog input. Its unit depends on the owner's configuration.
fn analog(number: u8) -> &'static str {
    const NAMES: [&str; 14] = [
        "adc0", "adc1", "adc2", "adc3", "adc4", "adc5", "adc6", "adc7", "adc8", "adc9", "adc10",
        "adc11", "adc12", "adc13",
    ];
    NAMES.get(usize::from(number)).copied().unwrap_or("adc")
}

fn place(bytes: &[u8], message: &mut RecordBuilder<'_>) {
    let Some((flags, places)) = bytes.split_first() else {
        return;
    };
    let Some((latitude, longitude)) = places.split_at_checked(4) else {
        return;
    };
    let latitude = signed(little_endian(latitude), 4);
    let longitude = signed(little_endian(longitude), 4);
    let placed = (latitude, longitude) != (0, 0)
        && latitude.abs() <= 90_000_000
        && longitude.abs() <= 180_000_000;
    message.push(fields::POSITION_VALID, placed && flags >> 4 == 0);
    message.push(fields::POSITION_SATELLITES, flags & 15);
    message.push(fields::POSITION_MODE_ENUM, flags >> 4);
    if placed {
        message.push(fields::POSITION_LATITUDE, scaled(latitude, 6));
        message.push(fields::POSITION_LONGITUDE, scaled(longitude, 6));
    }
}

fn engine(bytes: &[u8], message: &mut RecordBuilder<'_>) {
    if let [fuel, celsius, low, high] = *bytes {
        let fuel = round(f64::from(fuel) * 0.4, 1);
        message.push(fields::CAN_FUEL_LEVEL, fuel);
        let celsius = i64::from(celsius) - 40;
        message.push(fields::CAN_ENGINE_COOLANT_TEMPERATURE, celsius);
        let rpm = f64::from(u16::from_le_bytes([low, high])) * 0.125;
        message.push(fields::CAN_ENGINE_RPM, round(rpm, 3));
    }
}

/// Numbers of two bytes and their values: those of Modbus and Bluetooth have four bytes, 8E what is heard of
/// satellites. How long others are is not told, so from the first of them on all is kept.
fn extended(bytes: &[u8], message: &mut RecordBuilder<'_>) {
    const FOUR_BYTES_MAX: u16 = 0x80;
    let mut body = Cursor::new(bytes);
    while body.left() > 0 {
        let before = body.rest();
        let (Some(id), Some(value)) = (body.array().map(u16::from_le_bytes), body.take(4)) else {
            message.wire(0xfe, before);
            return;
        };
        match (id, value) {
            (0x8e, [visible, used, average, most]) => {
                message.push(fields::GNSS_SATELLITES_VISIBLE, *visible);
                message.name("satellites.used", *used);
                message.name("satellites.snr.average", *average);
                message.name("satellites.snr.max", *most);
            }
            (..=FOUR_BYTES_MAX, _) => {
                let id = u32::from(id);
                message.push(Key::Wire { space: 1, id }, signed(little_endian(value), 4));
            }
            _ => {
                message.wire(0xfe, before);
                return;
            }
        }
    }
}
