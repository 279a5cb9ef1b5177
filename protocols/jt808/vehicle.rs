//! Values of the vehicle behind a position.

use super::values::padded;
use crate::contract::{Key, RecordBuilder, Value, fields};
use crate::kit::cursor::Cursor;
use crate::kit::parse::float;
use crate::kit::units;

/// Values of the engine as some OBD plugs number them.
pub(super) fn engine(number: u8, value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut body = Cursor::new(value);
    match (number, value.len()) {
        (0x80, 1) => message.push(fields::CAN_VEHICLE_SPEED, body.u8()?),
        (0x81, 2) => message.push(fields::CAN_ENGINE_RPM, body.u16()?),
        (0x83, 1) => message.push(fields::CAN_ENGINE_LOAD_LEVEL, body.u8()?),
        (0x84, 1) => {
            let degrees = i16::from(body.u8()?) - 40;
            message.push(fields::CAN_ENGINE_COOLANT_TEMPERATURE, degrees);
        }
        (0x85, 2) => message.name("fuel.consumption", body.u16()?),
        (0x86, 1) => {
            let degrees = i16::from(body.u8()?) - 40;
            message.push(fields::CAN_INTAKE_AIR_TEMPERATURE, degrees);
        }
        (0x87, 2) => message.push(fields::CAN_MAF, body.u16()?),
        (0x88, 1) => message.push(fields::CAN_INTAKE_MAP_PRESSURE, body.u8()?),
        (0x89, 1) => message.push(fields::CAN_THROTTLE_LEVEL, body.u8()?),
        (0x8b, 17) => message.push(fields::CAN_VEHICLE_VIN, padded(value)?),
        (0x8c, 4) => {
            let km = units::scaled(i64::from(body.u32()?), 1);
            message.push(fields::CAN_VEHICLE_MILEAGE, km);
        }
        (0x8d, 2) => message.push(fields::TRIP_MILEAGE, body.u16()?),
        (0x8e, 1) => message.push(fields::CAN_FUEL_LEVEL, body.u8()?),
        (0xa0, 0) => {}
        (0xa0, _) => message.push(fields::CAN_DTC_CODES, padded(value)?),
        _ => return None,
    }
    Some(())
}

/// Item F3: values of the vehicle, number (2 bytes), length, value.
pub(super) fn vehicle(value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut body = Cursor::new(value);
    while body.left() > 0 {
        let (number, length) = (body.u16()?, usize::from(body.u8()?));
        let value = body.take(length)?;
        let mut one = Cursor::new(value);
        let whole = one.u16().filter(|_| length == 2).map(i64::from);
        match (number, whole) {
            (0x02, Some(tenths)) => {
                message.push(fields::CAN_VEHICLE_SPEED, units::scaled(tenths, 1));
            }
            (0x03, Some(rpm)) => message.push(fields::CAN_ENGINE_RPM, rpm),
            (0x04, Some(millivolts)) => {
                let volts = units::scaled(millivolts, 3);
                message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
            }
            (0x06 | 0x07, Some(tenths)) => {
                message.push(fields::CAN_FUEL_CONSUMPTION, units::scaled(tenths, 1));
            }
            (0x09, Some(degrees)) => {
                message.push(fields::CAN_ENGINE_COOLANT_TEMPERATURE, degrees - 40);
            }
            (0x0b, Some(kpa)) => message.push(fields::CAN_INTAKE_MAP_PRESSURE, kpa),
            (0x0c, Some(degrees)) => {
                message.push(fields::CAN_INTAKE_AIR_TEMPERATURE, degrees - 40);
            }
            (0x0d, Some(flow)) => message.push(fields::CAN_MAF, flow),
            (0x0e, Some(steps)) => message.push(fields::CAN_THROTTLE_LEVEL, steps * 100 / 255),
            (0x05, None) if length == 4 => {
                let tenths = i64::from(Cursor::new(value).u32()?);
                message.push(fields::CAN_VEHICLE_MILEAGE, units::scaled(tenths, 1));
            }
            (0x0100, Some(tenths)) => {
                message.push(fields::TRIP_MILEAGE, units::scaled(tenths, 1));
            }
            (0x50, _) => message.push(fields::CAN_VEHICLE_VIN, padded(value)?),
            _ => {
                let id = u32::from(number);
                let key = Key::Wire { space: 0xf3, id };
                match length {
                    1 | 2 | 4 => {
                        let number = value
                            .iter()
                            .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
                        message.push(key, Value::unsigned(number));
                    }
                    _ => message.push(key, value),
                }
            }
        }
    }
    Some(())
}

/// Item 91: supply, rpm, speed, throttle and load in 255ths, coolant, a word, consumption, a word, four
/// bytes, a word, fuel used.
pub(super) fn engine_in_one(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let volts = units::scaled(i64::from(body.u16()?), 1);
    message.push(fields::CAN_BATTERY_VOLTAGE, volts);
    message.push(fields::CAN_ENGINE_RPM, body.u16()?);
    message.push(fields::CAN_VEHICLE_SPEED, body.u8()?);
    message.push(
        fields::CAN_THROTTLE_LEVEL,
        u16::from(body.u8()?) * 100 / 255,
    );
    message.push(
        fields::CAN_ENGINE_LOAD_LEVEL,
        u16::from(body.u8()?) * 100 / 255,
    );
    let degrees = i16::from(body.u8()?) - 40;
    message.push(fields::CAN_ENGINE_COOLANT_TEMPERATURE, degrees);
    let _unknown = body.u16()?;
    let consumption = units::scaled(i64::from(body.u16()?), 2);
    message.push(fields::CAN_FUEL_CONSUMPTION, consumption);
    let _unknown = body.take(8)?;
    let liters = units::scaled(i64::from(body.u16()?), 2);
    message.push(fields::CAN_FUEL_CONSUMED, liters);
    if body.left() > 0 {
        message.push(Key::Wire { space: 0x91, id: 0 }, body.rest());
    }
    Some(())
}

/// `$OBD-RT,`: supply, rpm, speed, throttle, load, coolant, consumption now and on average, trip, odometer,
/// fuel of the trip and in all.
pub(super) fn obd_text(text: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let text = std::str::from_utf8(text).ok()?;
    let params = [
        fields::EXTERNAL_POWERSOURCE_VOLTAGE,
        fields::CAN_ENGINE_RPM,
        fields::CAN_VEHICLE_SPEED,
        fields::CAN_THROTTLE_LEVEL,
        fields::CAN_ENGINE_LOAD_LEVEL,
        fields::CAN_ENGINE_COOLANT_TEMPERATURE,
        fields::CAN_FUEL_RATE,
        fields::CAN_FUEL_CONSUMPTION,
        fields::TRIP_MILEAGE,
        fields::CAN_VEHICLE_MILEAGE,
        fields::SEGMENT_CAN_FUEL_CONSUMED,
        fields::CAN_FUEL_CONSUMED,
    ];
    for (param, value) in params.into_iter().zip(text.split(',').skip(1)) {
        message.push_some(param, float(value));
    }
    for (index, value) in text.trim().split(',').enumerate().skip(1 + params.len()) {
        let id = u32::try_from(index).unwrap_or(u32::MAX);
        message.push(Key::Wire { space: 0x41, id }, value);
    }
    Some(())
}
