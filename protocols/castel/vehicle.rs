//! Values and trouble codes of the vehicle.

use crate::contract::{ParamId, RecordBuilder, fields};
use crate::kit::cursor::Cursor;
use crate::kit::table::little_endian;
use crate::kit::{obd, units};

/// Count and codes of two bytes.
pub(super) fn trouble_codes(
    message: &mut RecordBuilder<'_>,
    cursor: &mut Cursor<'_>,
) -> Option<()> {
    let count = cursor.u8()?;
    let mut codes = String::new();
    for _ in 0..count {
        let code = cursor.u16_le()?;
        if !codes.is_empty() {
            codes.push(',');
        }
        codes.push_str(&obd::trouble_code(code));
    }
    if count > 0 {
        message.push(fields::CAN_DTC_CODES, &*codes);
    }
    message.push(fields::CAN_DTC_NUMBER, count);
    Some(())
}

/// How many bytes a PID's value has; `None` where that is not known.
pub(super) fn pid_bytes(pid: u16) -> Option<usize> {
    if pid >> 8 != 0x21 {
        return None;
    }
    Some(match pid & 0xff {
        0x04..=0x09
        | 0x0b
        | 0x0d..=0x0f
        | 0x11..=0x13
        | 0x1c..=0x1e
        | 0x2c..=0x30
        | 0x33
        | 0x43
        | 0x45..=0x4c
        | 0x51
        | 0x52
        | 0x5a..=0x5c => 1,
        0x03
        | 0x0a
        | 0x0c
        | 0x10
        | 0x14..=0x1b
        | 0x1f
        | 0x21..=0x23
        | 0x31
        | 0x32
        | 0x3c..=0x3f
        | 0x42
        | 0x44
        | 0x4d
        | 0x4e
        | 0x50
        | 0x59
        | 0x5e => 2,
        0x01 | 0x02 | 0x24..=0x2b | 0x34..=0x3b | 0x41 | 0x4f => 4,
        _ => return None,
    })
}

/// Which parameter a PID is, and what its value is to be multiplied with.
pub(super) fn pid_param(pid: u16) -> Option<(ParamId, f64)> {
    Some(match pid & 0xff {
        0x04 => (fields::CAN_ENGINE_LOAD_LEVEL, 1.0),
        0x05 => (fields::CAN_ENGINE_COOLANT_TEMPERATURE, 1.0),
        0x0b => (fields::CAN_INTAKE_MAP_PRESSURE, 1.0),
        0x0c => (fields::CAN_ENGINE_RPM, 1.0),
        0x0d => (fields::CAN_VEHICLE_SPEED, 1.0),
        0x0f => (fields::CAN_INTAKE_AIR_TEMPERATURE, 1.0),
        0x10 => (fields::CAN_MAF, 0.01),
        0x11 => (fields::CAN_THROTTLE_LEVEL, 1.0),
        0x1f => (fields::CAN_RUN_TIME, 1.0),
        0x21 => (fields::CAN_MIL_MILEAGE, 1.0),
        0x2f => (fields::CAN_FUEL_LEVEL, 1.0),
        0x31 => (fields::CAN_DTC_DISTANCE, 1.0),
        0x33 => (fields::CAN_BAROMETRIC_PRESSURE, 1.0),
        0x42 => (fields::CAN_CONTROL_MODULE_VOLTAGE, 0.001),
        0x46 => (fields::CAN_AMBIENT_AIR_TEMPERATURE, 1.0),
        0x49 => (fields::CAN_THROTTLE_PEDAL_LEVEL, 1.0),
        0x4d => (fields::CAN_MIL_TIME, 1.0),
        0x4e => (fields::CAN_DTC_TIME, 1.0),
        0x5c => (fields::CAN_ENGINE_OIL_TEMPERATURE, 1.0),
        _ => return None,
    })
}

/// Count and PIDs, then values: in groups of so many bytes, or one group that says no length.
pub(super) fn pids(
    message: &mut RecordBuilder<'_>,
    cursor: &mut Cursor<'_>,
    groups: bool,
) -> Option<()> {
    let count = usize::from(cursor.u8()?);
    let list = cursor.take(count * 2)?.as_chunks::<2>().0;
    let bytes = if groups {
        let _groups = cursor.u8()?;
        usize::from(cursor.u8()?)
    } else {
        cursor.left()
    };
    let mut values = Cursor::new(cursor.take(bytes.min(cursor.left()))?);
    for pid in list.iter().map(|pid| u16::from_le_bytes(*pid)) {
        let Some(value) = pid_bytes(pid).and_then(|bytes| values.take(bytes)) else {
            break;
        };
        let raw = little_endian(value);
        let temperature = matches!(pid & 0xff, 0x05 | 0x0f | 0x46 | 0x5c);
        // below zero in two's complement; nothing of a car is above 200 degrees here
        let number = if temperature && (200..256).contains(&raw) {
            raw as f64 - 256.0
        } else {
            raw as f64
        };
        match pid_param(pid) {
            Some((param, factor)) => message.push(param, units::round(number * factor, 3)),
            None => message.wire(u32::from(pid), crate::contract::Value::unsigned(raw)),
        }
    }
    if values.left() > 0 {
        message.name("pids", values.rest());
    }
    Some(())
}
