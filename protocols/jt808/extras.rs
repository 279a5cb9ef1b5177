//! Items of makers behind a position. One number means different things with different makers; its
//! length tells them apart, or else it is kept as it is.

use super::cells::{access_points, cell, cells_of_aovx, cells_of_bsj, cells_of_locks};
use super::make::Make;
use super::nested::nested;
use super::values::{acceleration, iccid, padded, signed};
use super::vehicle::{engine, vehicle};
use crate::contract::{Key, RecordBuilder, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{bcd, hex, units};

const TYRE_BYTES: usize = 8;
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
        (0x06 | 0xd4 | 0xfe, 1) => message.push(fields::BATTERY_LEVEL, body.u8()?),
        (0x0b, 6) => {
            message.name("lock.command", body.u8()?);
            message.push(fields::RFID_CODE, body.u32()?.to_string().as_str());
            message.name("unlock.result", body.u8()?);
        }
        (0x33, 20..) => return lock_text(value, message),
        (0x50 | 0x54 | 0xec | 0xf4, 7..) => return access_points(number, value, message),
        (0x53, 1..) => return cells_of_bsj(&mut body, message),
        // tenths
        (0x56, 2) => message.push(fields::BATTERY_LEVEL, u16::from(body.u8()?) * 10),
        (0x57, 8) => {
            let _events = body.take(4)?;
            let states = body.u32()?;
            if make == Make::Mv710g && states & 1 << 16 != 0 {
                message.push(fields::DOOR_EVENT_TRIGGER, true);
            }
            message.wire(0x57, value);
        }
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
        (0x82 | 0xe1 | 0xfe, 2) => {
            let volts = units::scaled(i64::from(body.u16()?), 1);
            message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
        }
        (0x80..=0x8e | 0xa0, _) => return engine(number, value, message),
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
        (0xe1, 12) => {
            let (mcc, mnc, lac) = (body.u16()?, body.u16()?, body.u24()?);
            cell(message, 0, mcc, mnc, lac, body.u32()?);
            message.push(fields::GSM_SIGNAL_DBM, signed(body.u8()?));
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
        (0xe5, 1) => message.push(fields::MOVEMENT_STATUS, body.u8()? != 0),
        (0xe6, SENSOR_BYTES..) if length.is_multiple_of(SENSOR_BYTES) => {
            sensors(&mut body, message)?;
        }
        (0xe8, 2..) => return dash_camera(&mut body, message),
        (0xeb, 1..) => return nested(value, message),
        (0xf0, 13..) if length.is_multiple_of(13) => cells_of_aovx(&mut body, message)?,
        (0xf2, 8..) => {
            let text = std::str::from_utf8(value).ok()?;
            message.push(fields::DEVICE_FIRMWARE_VERSION, text.trim());
        }
        (0xf3, 3..) => return vehicle(value, message),
        (0xf6, 4..) => {
            let event = body.u8()?;
            message.push(fields::EVENT_ENUM, event);
            if event == 2 {
                message.push(fields::MOVEMENT_STATUS, true);
            }
            let mask = body.u8()?;
            measured(&mut body, mask, message);
        }
        (0xf7, 6) => {
            let volts = units::scaled(i64::from(body.u32()?), 3);
            message.push(fields::BATTERY_VOLTAGE, volts);
            if body.u8()? == 2 {
                message.push(fields::BATTERY_CHARGING_STATUS, true);
            }
            message.push(fields::BATTERY_LEVEL, body.u8()?);
        }
        (0xf8, 29) => {
            let _kind = body.u8()?;
            if let Some(imei) = bcd::text(body.take(8)?) {
                message.push(fields::DEVICE_IMEI, bcd::without_leading_zeros(&imei));
            }
            iccid(message, body.take(10)?);
            message.push(fields::DEVICE_MODEL, padded(body.rest())?);
        }
        (0xf9, 18) => {
            let _unknown = body.take(10)?;
            let hdop = units::scaled(i64::from(body.u16()?), 1);
            message.push(fields::POSITION_HDOP, hdop);
        }
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
        let pressure = units::round(f64::from(body.u16()?) * 2.5, 1);
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

/// Kind, then by kind: the state of a JC371, or an alarm of it.
fn dash_camera(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let kind = body.u8()?;
    if kind != 0x20 {
        let sub = body.u8()?;
        message.push(fields::ALARM_CODE, u16::from(kind) << 8 | u16::from(sub));
        match (kind, sub) {
            (0x0c, 0x01) => message.push(fields::ALARM_EVENT_TRIGGER, true),
            (0x04, 0x06) => message.push(fields::VIBRATION_EVENT_TRIGGER, true),
            _ => {}
        }
        message.push(Key::Wire { space: 0xe8, id: 0 }, body.rest());
        return Some(());
    }
    message.push(fields::GSM_SIGNAL_ENUM, body.u8()?);
    let state = body.u8()?;
    message.push(fields::BATTERY_CHARGING_STATUS, state & 4 != 0);
    message.name("state.bitmask", state);
    let _unknown = body.u8()?;
    let level = u16::from(body.u8()?) * 100 / 6;
    message.push(fields::BATTERY_LEVEL, level);
    let battery = units::scaled(i64::from(body.u16()?), 2);
    message.push(fields::BATTERY_VOLTAGE, battery);
    let _unknown = body.u8()?;
    let external = units::scaled(i64::from(body.u16()?), 2);
    message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, external);
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
