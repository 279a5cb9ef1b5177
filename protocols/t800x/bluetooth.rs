//! Kinds 10 and 12: Bluetooth sensors around the device.
//!
//! A kind (2) and then sensors of it, or kind 0 and then kind and sensor alternating:
//!
//! | kind | bytes | sensor |
//! |---|---|---|
//! | 1 | 10 | tyre: address (6), battery 0.01 V above 1.22, pressure, temperature less 55, status |
//! | 2, 3 | 25 (8 in kind 12) | help button, driver: address, battery 0.1 V in digits, alarm, status, place |
//! | 4 | 15 | climate: address, battery 0.01 V above 2, percent, temperature, humidity, light (2 each), signal |
//! | 5, 6 | 12 | door, relay: address, battery, percent, temperature, state, signal |
//! | 7 | 15 | fuel: address, battery, value, temperature (2 each), two bytes, alarm, signal |

use super::place::{self, PLACE_BYTES};
use super::wire::{Head, SHORT, date, decimal};
use crate::contract::{Context, Instance, RecordBuilder, Reject, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{hex, units};

const SENSORS_MAX: Instance = 64;
const MIXED: u16 = 0;
const TYRE: u16 = 1;
const BUTTON: u16 = 2;
const DRIVER: u16 = 3;
const CLIMATE: u16 = 4;
const DOOR: u16 = 5;
const RELAY: u16 = 6;
const FUEL: u16 = 7;

pub(super) fn read(head: &Head, body: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let time = date(body, cx.now_ms)?;
    let ignition = body.u8().ok_or(SHORT)?;
    let located = head.kind == 0x12;
    let around = if located {
        let status = body.u8().ok_or(SHORT)?;
        Some((status, body.array::<PLACE_BYTES>().ok_or(SHORT)?))
    } else {
        None
    };
    let mut message = head.open(time, cx)?;
    message.push(fields::ENGINE_IGNITION_STATUS, ignition & 1 == 1);
    if let Some((status, bytes)) = around {
        message.push(fields::MESSAGE_BUFFERED_STATUS, status & 0x80 != 0);
        place::push_place(&mut message, bytes, status & 0x40 != 0, true);
    }
    let Some(first) = body.u16() else {
        return Ok(());
    };
    for number in 1..=SENSORS_MAX {
        let before = *body;
        let kind = if first == MIXED {
            body.u16()
        } else {
            Some(first)
        };
        let read = kind.and_then(|kind| sensor(kind, number, located, body, &mut message));
        if read.is_none() {
            if before.left() > 0 {
                message.push(fields::PAYLOAD_HEX, &*hex::encode(before.rest()));
            }
            break;
        }
        if body.left() == 0 {
            break;
        }
    }
    Ok(())
}

fn sensor(
    kind: u16,
    number: Instance,
    located: bool,
    body: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
) -> Option<()> {
    let length = match kind {
        TYRE => 10,
        BUTTON | DRIVER if located => 8,
        BUTTON | DRIVER => 25,
        CLIMATE | FUEL => 15,
        DOOR | RELAY => 12,
        _ => return None,
    };
    let mut sensor = Cursor::new(body.take(length)?);
    let address: [u8; 6] = sensor.array()?;
    let id = hex::encode(&address);
    message.push((fields::SENSOR_ID_N, number), &*id);
    match kind {
        TYRE => tyre(number, &mut sensor, message),
        BUTTON | DRIVER => {
            if kind == DRIVER {
                message.push(fields::DRIVER_ID, &*id);
            }
            person(kind, number, located, &mut sensor, message)
        }
        FUEL => fuel(number, &mut sensor, message),
        _ => room(kind, number, &mut sensor, message),
    }
}

fn push_volts(message: &mut RecordBuilder<'_>, number: Instance, raw: u8, least: f64) {
    if raw != 0xff {
        let volts = units::round(least + f64::from(raw) / 100.0, 2);
        message.push((fields::SENSOR_BATTERY_VOLTAGE_N, number), volts);
    }
}

fn push_signal(message: &mut RecordBuilder<'_>, number: Instance, raw: u8) {
    if raw != 0xff {
        let dbm = i64::from(raw) - 128;
        message.push((fields::SENSOR_SIGNAL_DBM_N, number), dbm);
    }
}

/// Hundredths of degrees with the sign in the highest bit.
fn push_celsius(message: &mut RecordBuilder<'_>, number: Instance, raw: u16) {
    if raw != u16::MAX {
        let size = f64::from(raw & 0x7fff) / 100.0;
        let celsius = if raw & 0x8000 == 0 { size } else { -size };
        message.push((fields::SENSOR_TEMPERATURE_N, number), celsius);
    }
}

fn tyre(number: Instance, sensor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let [volts, pressure, temperature, status] = sensor.array()?;
    push_volts(message, number, volts, 1.22);
    if pressure != 0xff {
        let kpa = units::round(f64::from(pressure) * 1.572 * 2.0, 1);
        message.push((fields::WHEEL_PRESSURE_N, number), kpa);
    }
    if temperature != 0xff {
        let celsius = i64::from(temperature) - 55;
        message.push((fields::WHEEL_TEMPERATURE_N, number), celsius);
    }
    message.push((fields::SENSOR_STATUS_N, number), status);
    Some(())
}

fn person(
    kind: u16,
    number: Instance,
    located: bool,
    sensor: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
) -> Option<()> {
    let volts = decimal(sensor.take(1)?).map(|tenths| tenths / 10.0);
    message.push_some((fields::SENSOR_BATTERY_VOLTAGE_N, number), volts);
    match (sensor.u8()?, kind) {
        (1, _) => message.push(fields::BATTERY_LOW_EVENT_TRIGGER, true),
        (_, BUTTON) => message.push(fields::ALARM_EVENT_TRIGGER, true),
        _ => {}
    }
    if !located {
        let status = sensor.u8()?;
        let bytes = sensor.array()?;
        let fixed = place::push_status(message, status);
        place::push_place(message, bytes, fixed, true);
    }
    Some(())
}

fn fuel(number: Instance, sensor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    push_volts(message, number, sensor.u8()?, 2.0);
    let value = Some(sensor.u16()?).filter(|value| *value != u16::MAX);
    message.push_some((fields::BLE_SENSOR_FUEL_N, number), value);
    push_celsius(message, number, sensor.u16()?);
    let [_, _, status, signal] = sensor.array()?;
    if status != 0xff {
        message.push((fields::SENSOR_STATUS_N, number), status);
    }
    push_signal(message, number, signal);
    Some(())
}

/// Climate, door and relay begin alike.
fn room(
    kind: u16,
    number: Instance,
    sensor: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
) -> Option<()> {
    let [volts, percent] = sensor.array()?;
    push_volts(message, number, volts, 2.0);
    if percent != 0xff {
        message.push((fields::SENSOR_BATTERY_LEVEL_N, number), percent);
    }
    push_celsius(message, number, sensor.u16()?);
    if kind == CLIMATE {
        let humidity = Some(sensor.u16()?).filter(|raw| *raw != u16::MAX);
        let humidity = humidity.map(|raw| f64::from(raw) / 100.0);
        message.push_some((fields::SENSOR_HUMIDITY_N, number), humidity);
        let light = sensor.u16()?;
        if light != u16::MAX {
            message.push((fields::SENSOR_ILLUMINATION_N, number), light & 0x0fff);
            message.push((fields::SENSOR_STATUS_N, number), light >> 15);
        }
    } else {
        let state = sensor.u8()?;
        if state != 0xff {
            let key = match kind {
                DOOR => (fields::DOOR_OPEN_STATUS_N, number),
                _ => (fields::DOUT_N, number),
            };
            message.push(key, state != 0);
        }
    }
    push_signal(message, number, sensor.u8()?);
    Some(())
}
