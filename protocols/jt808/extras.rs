//! Items of makers behind a position. One number means different things with different makers; its
//! length tells them apart, or else it is kept as it is.

use super::camera;
use super::cells::{access_points, cell, cells_of_aovx, cells_of_bsj, cells_of_gt, cells_of_locks};
use super::make::Make;
use super::nested::nested;
use super::values::{acceleration, iccid, opened, padded, signed};
use super::vehicle::{engine, engine_in_one, obd_text, vehicle};
use crate::contract::{Key, ParamId, RecordBuilder, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{bcd, hex, units};

const TYRE_BYTES: usize = 8;
const TYRE_PRESSURE: u16 = 0x3ff;
const LOCK_BYTES: usize = 11;
const SENSOR_BYTES: usize = 11;

/// Reads an item; `None` if it is not understood.
pub(super) fn read(
    number: u8,
    value: &[u8],
    message: &mut RecordBuilder<'_>,
    make: Make,
) -> Option<()> {
    let mut body = Cursor::new(value);
    let length = value.len();
    match (number, length) {
        (0x06 | 0xfe, 1) => message.push(fields::BATTERY_LEVEL, body.u8()?),
        (0xd4 | 0xe1 | 0xe9, 1) => match body.u8()? {
            0xff => message.push(fields::BATTERY_CHARGING_STATUS, true),
            level => message.push(fields::BATTERY_LEVEL, level),
        },
        (0xd4 | 0xe9, 4) => message.push(fields::DRIVER_ID, body.u32()?.to_string().as_str()),
        (0x0b, 1..) => return opened(value, message),
        (0x33, 1) => message.name("mode", body.u8()?),
        (0x33, 20..) => return lock_text(value, message),
        (0x50 | 0x54 | 0xec | 0xf4, 7..) => return access_points(number, value, message),
        (0x53, 1..) => return cells_of_bsj(&mut body, message),
        // tenths
        (0x56, 2) => message.push(fields::BATTERY_LEVEL, u16::from(body.u8()?) * 10),
        (0x51, 2 | 16) => temperatures(&mut body, message)?,
        (0x57, 8) => {
            let (events, _switches, states) = (body.u16()?, body.u16()?, body.u32()?);
            push_bits(
                message,
                events,
                &[
                    (8, fields::HARSH_ACCELERATION_EVENT_TRIGGER),
                    (9, fields::HARSH_BRAKING_EVENT_TRIGGER),
                    (10, fields::HARSH_CORNERING_EVENT_TRIGGER),
                ],
            );
            if make == Make::Mv710g && states & 1 << 16 != 0 {
                message.push(fields::DOOR_EVENT_TRIGGER, true);
            }
            message.wire(0x57, value);
        }
        (0x60, 2) => message.push(fields::EVENT_ENUM, body.u16()?),
        (0x60, 9..) => {
            message.push(fields::EVENT_ENUM, body.u16()?);
            let lock = hex::encode(body.take(7)?.get(1..)?);
            message.push((fields::SENSOR_ID_N, 1), lock.as_str());
            if let Ok(card) = std::str::from_utf8(body.rest())
                && !card.is_empty()
            {
                message.push(fields::DRIVER_ID, card);
            }
        }
        (0x63, LOCK_BYTES..) if length.is_multiple_of(LOCK_BYTES) => locks(&mut body, message)?,
        (0x66, 11..) if (length - 2).is_multiple_of(9) => cells_of_locks(&mut body, message)?,
        (0x67, 1..) => message.name("password", std::str::from_utf8(value).ok()?),
        (0x68, 2) => {
            let percent = units::scaled(i64::from(body.u16()?), 2);
            message.push(fields::BATTERY_LEVEL, percent);
        }
        (0x69 | 0xd5, 2) => {
            let volts = units::scaled(i64::from(body.u16()?), 2);
            message.push(fields::BATTERY_VOLTAGE, volts);
        }
        (0x6a, 1) => message.push(fields::GSM_SIGNAL_ENUM, body.u8()?),
        (0x6c, 15) => message.push(fields::GSM_SIM_IMSI, std::str::from_utf8(value).ok()?),
        (0x71 | 0xcc, 20) => {
            let text = std::str::from_utf8(value).ok()?;
            let text = text.trim_end_matches(['F', 'f']);
            message.push(fields::GSM_SIM_ICCID, text);
        }
        (0x77, TYRE_BYTES..) if length.is_multiple_of(TYRE_BYTES) => tyres(&mut body, message)?,
        (0x82 | 0xd3 | 0xe1 | 0xfe, 2) => {
            let volts = units::scaled(i64::from(body.u16()?), 1);
            message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
        }
        (0x80..=0x8e | 0xa0, _) => return engine(number, value, message),
        (0x91, 22..) => return engine_in_one(&mut body, message),
        (0x94, 1..) => message.push(fields::CAN_VEHICLE_VIN, padded(value)?),
        (0xac | 0xfe, 4) => {
            let km = units::scaled(i64::from(body.u32()?), 3);
            message.push(fields::VEHICLE_MILEAGE, km);
        }
        (0xa7, 4) => {
            message.name("adc1", body.u16()?);
            message.name("adc2", body.u16()?);
        }
        (0xbc, 1..) => message.push(fields::DRIVER_NAME, padded(value)?),
        (0xbd, 1..) => message.push(fields::DRIVER_ID, padded(value)?),
        (0xd0, 4) => {
            let bits = body.u32()?;
            if bits & 8 != 0 {
                message.push(fields::VIBRATION_EVENT_TRIGGER, true);
            }
            message.wire(0xd0, bits);
        }
        (0xd5, 3..) => seals(&mut body, message)?,
        (0xda, 3) => {
            message.name("string.cuts", body.u16()?);
            let state = body.u8()?;
            message.name("string", state & 1 != 0);
            message.push(fields::MOVEMENT_STATUS, state & 4 != 0);
            message.name("cover", state & 8 != 0);
        }
        (0xe1, 12..) if (length - 4).is_multiple_of(8) => cells_of_gt(&mut body, message)?,
        (0xe2, 4) if make != Make::Dt800 => {
            let liters = units::scaled(i64::from(body.u32()?), 1);
            message.push(fields::FUEL_VOLUME, liters);
        }
        (0xe3, 4) => {
            let _unknown = body.u8()?;
            message.push(fields::BATTERY_LEVEL, body.u8()?);
            let volts = units::scaled(i64::from(body.u16()?), 2);
            message.push(fields::BATTERY_VOLTAGE, volts);
        }
        (0xe3, 6) => {
            let _unknown = body.u16()?;
            let volts = units::scaled(i64::from(body.u16()?), 2);
            message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
        }
        (0xe4, 2) => {
            message.push(fields::BATTERY_CHARGING_STATUS, body.u8()? == 0);
            message.push(fields::BATTERY_LEVEL, body.u8()?);
        }
        (0xe5, 1) => message.push(fields::MOVEMENT_STATUS, body.u8()? == 1),
        (0xe6, 8..) if value.starts_with(b"$OBD-RT,") => obd_text(value, message)?,
        (0xe6, SENSOR_BYTES..) if length.is_multiple_of(SENSOR_BYTES) => {
            sensors(&mut body, message)?;
        }
        (0xe7, 8) => {
            let events = body.u16()?;
            push_bits(
                message,
                events,
                &[
                    (0, fields::VIBRATION_EVENT_TRIGGER),
                    (1, fields::ALARM_EVENT_TRIGGER),
                    (2, fields::ALARM_EVENT_TRIGGER),
                    (3, fields::ALARM_EVENT_TRIGGER),
                ],
            );
            message.wire(0xe7, value);
        }
        (0xe8, 3) if make != Make::Jimi => message.name("lock.status", body.u24()?),
        (0xe8, 2..) => return camera::read(&mut body, message),
        (0xea, 3..) => return surroundings(value, message),
        (0xeb, 1..) => return nested(value, message),
        (0xed, 1..) => message.push(fields::RFID_CODE, padded(value)?),
        (0xee, 6) => {
            message.push(fields::GSM_SIGNAL_ENUM, body.u8()?);
            let volts = units::scaled(i64::from(body.u16()?), 3);
            message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
            let volts = units::scaled(i64::from(body.u16()?), 3);
            message.push(fields::BATTERY_VOLTAGE, volts);
            message.push(fields::POSITION_SATELLITES, body.u8()?);
        }
        (0xf1, 4) => {
            let volts = units::scaled(i64::from(body.u32()?), 3);
            message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
        }
        (0xf0, 13..) if length.is_multiple_of(13) => cells_of_aovx(&mut body, message)?,
        (0xf2, 3..) => {
            let text = std::str::from_utf8(value).ok()?;
            message.push(fields::DEVICE_FIRMWARE_VERSION, text.trim());
        }
        (0xf3, 8..) if make == Make::Aovx => return tags(&mut body, message),
        (0xf3, 3..) => return vehicle(value, message),
        (0xf5, 2) => message.push(fields::ILLUMINATION, body.u16()?),
        (0xf6, 2) if make != Make::Aovx => message.name("pressure", body.u16()?),
        (0xf6, 8) if make != Make::Aovx => {
            let digits = bcd::text(value)?;
            message.push(fields::DEVICE_IMEI, bcd::without_leading_zeros(&digits));
        }
        (0xf6, 4..) => {
            let event = body.u8()?;
            message.push(fields::EVENT_ENUM, event);
            if event == 2 {
                message.push(fields::MOVEMENT_STATUS, true);
            }
            let mask = body.u8()?;
            measured(&mut body, mask, message);
        }
        (0xf7, 2) => {
            let percent = units::scaled(i64::from(body.u16()?), 1);
            message.push(fields::HUMIDITY, percent);
        }
        (0xf7, 4..=6) => {
            let volts = units::scaled(i64::from(body.u32()?), 3);
            message.push(fields::BATTERY_VOLTAGE, volts);
            if matches!(body.u8(), Some(2 | 3)) {
                message.push(fields::BATTERY_CHARGING_STATUS, true);
            }
            message.push_some(fields::BATTERY_LEVEL, body.u8());
        }
        (0xf8, 2) if make == Make::C5 => message.push(fields::STEP_COUNT, body.u16()?),
        (0xf8, 2) => {
            let degrees = units::scaled(i64::from(body.u16()?) - 500, 1);
            message.push((fields::SENSOR_TEMPERATURE_N, 2), degrees);
        }
        (0xf8, 29) => {
            let _kind = body.u8()?;
            if let Some(imei) = bcd::text(body.take(8)?) {
                message.push(fields::DEVICE_IMEI, bcd::without_leading_zeros(&imei));
            }
            iccid(message, body.take(10)?);
            message.push(fields::DEVICE_MODEL, padded(body.rest())?);
        }
        (0xf9, 2..) => return fix_details(&mut body, message),
        (0xfb, 1..) => message.name("container", padded(value)?),
        (0xfc, 1) => message.push(fields::GEOFENCE_ID, body.u8()?),
        (0xfe, 5..) => return behaviour(&mut body, message),
        (0xfd, 10) => {
            let hdop = units::scaled(i64::from(body.u16()?), 1);
            message.push(fields::POSITION_HDOP, hdop);
            message.wire(0xfd, body.rest());
        }
        (0xff, 12) => {
            let (mcc, mnc) = (body.u16()?, body.u16()?);
            cell(message, 0, mcc, mnc, body.u32()?, body.u32()?);
        }
        _ => return None,
    }
    Some(())
}

/// `*M00,45,1138600...`: the battery in hundredths of volts in the third field.
fn lock_text(value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let text = std::str::from_utf8(value).ok()?;
    let battery = text.strip_prefix("*M00,")?.split(',').nth(1)?.get(2..5)?;
    let volts: i64 = battery.parse().ok()?;
    message.push(fields::BATTERY_VOLTAGE, units::scaled(volts, 2));
    message.push((fields::RS232_DATA_N, 1), text);
    Some(())
}

/// Locks beside: id, millivolts, state, two bytes.
fn locks(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut number = 1;
    while body.left() > 0 {
        let id = hex::encode(body.take(6)?);
        message.push((fields::SENSOR_ID_N, number), id.as_str());
        let volts = units::scaled(i64::from(body.u16()?), 3);
        message.push((fields::SENSOR_BATTERY_VOLTAGE_N, number), volts);
        message.push((fields::SENSOR_STATUS_N, number), body.u8()?);
        let _unknown = body.u16()?;
        number += 1;
    }
    Some(())
}

/// Tyres: number, sensor, pressure in 2.5 kPa, temperature from -50, state.
fn tyres(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    while body.left() > 0 {
        let number = u16::from(body.u8()?);
        let id = hex::encode(body.take(3)?);
        message.push((fields::SENSOR_ID_N, number), id.as_str());
        let pressure = units::round(f64::from(body.u16()? & TYRE_PRESSURE) * 2.5, 1);
        message.push((fields::WHEEL_PRESSURE_N, number), pressure);
        let degrees = i16::from(body.u8()?) - 50;
        message.push((fields::WHEEL_TEMPERATURE_N, number), degrees);
        message.push((fields::SENSOR_STATUS_N, number), body.u8()?);
    }
    Some(())
}

/// Bluetooth sensors: number, address, temperature and humidity in 256ths.
fn sensors(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    while body.left() > 0 {
        let number = u16::from(body.u8()?);
        let mac = hex::mac(body.array()?);
        message.push((fields::BLUETOOTH_MAC_N, number), mac.as_str());
        let degrees = units::round(f64::from(body.i16()?) / 256.0, 2);
        message.push((fields::SENSOR_TEMPERATURE_N, number), degrees);
        let percent = units::round(f64::from(body.u16()?) / 256.0, 2);
        message.push((fields::SENSOR_HUMIDITY_N, number), percent);
    }
    Some(())
}

/// Alarms, for each bit that is set.
fn push_bits(message: &mut RecordBuilder<'_>, bits: u16, meanings: &[(u32, ParamId)]) {
    for (bit, meaning) in meanings {
        if bits >> bit & 1 != 0 {
            message.push(*meaning, true);
        }
    }
}

/// Tenths of a degree, the highest bit for those below zero; all ones are none.
fn temperatures(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    const NONE: u16 = 0xffff;
    const BELOW: u16 = 0x8000;
    let mut number = 0;
    while body.left() > 0 {
        number += 1;
        let word = body.u16()?;
        if word != NONE {
            let size = units::scaled(i64::from(word & !BELOW), 1);
            let degrees = if word & BELOW == 0 { size } else { -size };
            message.push((fields::SENSOR_TEMPERATURE_N, number), degrees);
        }
    }
    Some(())
}

/// Electronic seals: count, then id, card, battery, status each; bit 5 says that it is open.
fn seals(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    for number in 1..=u16::from(body.u8()?) {
        let id = hex::encode(body.take(5)?);
        message.push((fields::SENSOR_ID_N, number), id.as_str());
        let card = hex::encode(body.take(5)?);
        message.name(&format!("seal.card.{number}"), card.as_str());
        message.name(&format!("seal.battery.{number}"), body.u8()?);
        let status = body.u16()?;
        message.name(&format!("seal.locked.{number}"), status & 1 << 5 == 0);
    }
    Some(())
}

/// Item EA: a byte, then number, length and value of what was measured around the device.
fn surroundings(value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut body = Cursor::new(value.get(1..)?);
    let each = |body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>| {
        let (number, length) = (body.u8()?, usize::from(body.u8()?));
        let value = body.take(length)?;
        let word = Cursor::new(value).u16().filter(|_| length == 2);
        let tenths = |word: u16| units::scaled(i64::from(word), 1);
        match (number, word) {
            (0x13, Some(lux)) => message.push(fields::ILLUMINATION, lux),
            (0x14, Some(pressure)) => message.name("pressure", pressure),
            (0x15, Some(word)) => message.push(fields::HUMIDITY, tenths(word)),
            (0x16, Some(word)) => {
                let degrees = units::scaled(i64::from(word) - 500, 1);
                message.push(fields::EXTERNAL_TEMPERATURE, degrees);
            }
            _ => {
                let id = u32::from(number);
                message.push(Key::Wire { space: 0xea, id }, value);
            }
        }
        Some(())
    };
    while body.left() > 0 {
        each(&mut body, message)?;
    }
    Some(())
}

/// AOVX's Bluetooth tags: a mask of what each has behind its address and signal.
fn tags(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    const NAME_BYTES: usize = 10;
    let mask = body.u8()?;
    let has = |bit: u8| mask >> bit & 1 != 0;
    let mut number = 0;
    while body.left() > 0 {
        number += 1;
        let mac = hex::mac(body.array()?);
        message.push((fields::BLUETOOTH_MAC_N, number), mac.as_str());
        message.push((fields::BLUETOOTH_SIGNAL_DBM_N, number), signed(body.u8()?));
        if has(0) {
            let name = String::from_utf8_lossy(body.take(NAME_BYTES)?).into_owned();
            let name = name.trim_matches(['\0', ' ']);
            message.name(&format!("ble.sensor.name.{number}"), name);
        }
        if has(1) {
            body.take(2)?;
        }
        if has(2) {
            let volts = units::scaled(i64::from(body.u16()?), 3);
            message.push((fields::BLE_SENSOR_BATTERY_VOLTAGE_N, number), volts);
        }
        if has(3) {
            let degrees = units::scaled(i64::from(body.i16()?), 1);
            message.push((fields::BLE_SENSOR_TEMPERATURE_N, number), degrees);
        }
        if has(4) {
            let percent = units::scaled(i64::from(body.i16()?), 1);
            message.push((fields::BLE_SENSOR_HUMIDITY_N, number), percent);
        }
        body.take(usize::from(has(5)) * 6 + usize::from(has(6)) * 2 + usize::from(has(7)) * 2)?;
    }
    Some(())
}

/// Item F9: a mask, and what its bits announce: age of the fix, time with ignition, HDOP, time of the
/// fix, intervals, a thermometer outside with its limits.
fn fix_details(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let mask = body.u16()?;
    let has = |bit: u16| mask >> bit & 1 != 0;
    if has(0) {
        message.name("fix.age", i64::from(body.u32()?));
    }
    if has(1) {
        message.name("ignition.time", i64::from(body.u32()?));
    }
    if has(2) {
        let hdop = units::scaled(i64::from(body.u16()?), 1);
        message.push(fields::POSITION_HDOP, hdop);
    }
    if has(3) {
        body.take(6)?;
    }
    if has(5) {
        body.take(8)?;
    }
    if has(6) {
        let degrees = units::scaled(i64::from(body.i16()?), 1);
        message.push((fields::SENSOR_TEMPERATURE_N, 3), degrees);
        body.take(4)?;
    }
    Some(())
}

/// Item FE: 7C, and items of number, length and value; the first says how it is driven.
fn behaviour(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    const MARK: u8 = 0x7c;
    if body.u8()? != MARK {
        return None;
    }
    while body.left() > 1 {
        let (number, length) = (body.u8()?, usize::from(body.u8()?));
        let value = body.take(length)?;
        if number == 1 && length == 4 {
            let bits = Cursor::new(value.get(2..)?).u16()?;
            push_bits(
                message,
                bits,
                &[
                    (0, fields::HARSH_ACCELERATION_EVENT_TRIGGER),
                    (1, fields::HARSH_BRAKING_EVENT_TRIGGER),
                    (2, fields::HARSH_CORNERING_EVENT_TRIGGER),
                    (3, fields::CRASH_EVENT_TRIGGER),
                    (4, fields::TAMPERING_EVENT_TRIGGER),
                ],
            );
        }
        let id = u32::from(number);
        message.push(Key::Wire { space: 0xfe, id }, value);
    }
    Some(())
}

/// What an AOVX tracker measured: light, temperature, humidity, acceleration by the mask's bits.
pub(super) fn measured(body: &mut Cursor<'_>, mask: u8, message: &mut RecordBuilder<'_>) {
    let has = |bit: u8| mask >> bit & 1 != 0;
    if has(0)
        && let Some(light) = body.u16()
    {
        message.push(fields::ILLUMINATION, light);
    }
    if has(1)
        && let Some(tenths) = body.i16()
    {
        let degrees = units::scaled(i64::from(tenths), 1);
        message.push((fields::SENSOR_TEMPERATURE_N, 1), degrees);
    }
    if has(2)
        && let Some(tenths) = body.u16()
    {
        let percent = units::scaled(i64::from(tenths), 1);
        message.push((fields::SENSOR_HUMIDITY_N, 1), percent);
    }
    if has(3)
        && let (Some(x), Some(y), Some(z)) = (body.i16(), body.i16(), body.i16())
    {
        acceleration(message, [x, y, z]);
    }
    if body.left() > 0 {
        message.push(Key::Wire { space: 0xf6, id: 0 }, body.rest());
    }
}
