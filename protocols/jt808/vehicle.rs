//! Values of the vehicle behind a position.

use super::values::padded;
use crate::contract::{Key, RecordBuilder, Value, fields};
use crate::kit::cursor::Cursor;
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
            (0x06, Some(tenths)) => {
                message.push(fields::CAN_FUEL_CONSUMPTION, units::scaled(tenths, 1));
            }
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
