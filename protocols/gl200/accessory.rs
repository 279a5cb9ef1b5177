//! What the mask of GTERI announces behind the state: fuel sensors, thermometers on 1-wire, the
//! bus, Bluetooth accessories. Each group says how many it has of them.

use super::can;
use super::text::Report;
use crate::contract::{RecordBuilder, fields};
use crate::kit::parse::{float, number};
use crate::kit::units::round;

/// The most sensors of a group.
const SENSORS_MAX: u16 = 16;
/// GV350M: the fuel sensors are a group like the others.
const GV350M: [&str; 1] = ["F1"];
/// GL320M: its own battery only.
const GL320M: [&str; 1] = ["C3"];
/// GV600M and GV600MG give the length before an accessory's bytes.
const LENGTH_GIVEN: [&str; 2] = ["C2", "DC"];

/// The fields of one report, read one after another.
struct Reader<'a, 'f> {
    report: &'a Report<'f>,
    at: usize,
    to: usize,
}

impl<'f> Reader<'_, 'f> {
    /// The next field; `None` behind the last.
    fn next(&mut self) -> Option<&'f str> {
        let text = (self.at < self.to).then(|| self.report.rest.at(self.at))?;
        self.at += 1;
        Some(text)
    }

    /// The count that a group begins with.
    fn count(&mut self) -> Option<u16> {
        number::<u16>(self.next()?).filter(|count| *count <= SENSORS_MAX)
    }
}

/// Adds the groups between `from` and `to`; gives back where they end. A group that does not fit
/// ends the reading: it and what follows stays unread.
pub(super) fn push(
    message: &mut RecordBuilder<'_>,
    report: &Report<'_>,
    mask: u32,
    from: usize,
    to: usize,
) -> usize {
    let has = |bit: u32| mask & 1 << bit != 0;
    let mut reader = Reader {
        report,
        at: from,
        to,
    };
    // the device on the serial port
    if reader.next().is_none() {
        return from;
    }
    let mut read = reader.at;
    let grouped = report.is_type(&GV350M);
    if has(0) && !grouped {
        let Some(text) = reader.next() else {
            return read;
        };
        if let Ok(raw) = u32::from_str_radix(text, 16) {
            message.name("fuel", raw);
        }
        read = reader.at;
    }
    if has(1) {
        if thermometers(message, &mut reader).is_none() {
            return read;
        }
        read = reader.at;
    }
    if has(2) {
        // the state of the bus and its own mask come first, as in GTCAN
        can::push_can(message, report, read.saturating_sub(1), to);
        return to;
    }
    if has(3) || has(4) || (has(0) && grouped) {
        if fuel(message, &mut reader, mask, grouped).is_none() {
            return read;
        }
        read = reader.at;
    }
    if has(7) && !report.is_type(&GL320M) {
        if hygrometers(message, &mut reader).is_none() {
            return read;
        }
        read = reader.at;
    }
    if has(8) && !report.is_type(&GL320M) {
        if accessories(message, &mut reader).is_none() {
            return read;
        }
        read = reader.at;
    }
    read
}

/// Number, kind, sixteenths of a degree.
fn thermometers(message: &mut RecordBuilder<'_>, reader: &mut Reader<'_, '_>) -> Option<()> {
    for sensor in 1..=reader.count()? {
        let (id, _, reading) = (reader.next()?, reader.next()?, reader.next()?);
        message.push((fields::SENSOR_ID_N, sensor), id);
        if let (4, Ok(raw)) = (reading.len(), u16::from_str_radix(reading, 16)) {
            let celsius = f64::from(raw.cast_signed()) / 16.0;
            message.push((fields::SENSOR_TEMPERATURE_N, sensor), celsius);
        }
    }
    Some(())
}

/// Kind, and as the mask says percent, volume, temperature.
fn fuel(
    message: &mut RecordBuilder<'_>,
    reader: &mut Reader<'_, '_>,
    mask: u32,
    grouped: bool,
) -> Option<()> {
    let has = |bit: u32| mask & 1 << bit != 0;
    for sensor in 1..=reader.count()? {
        let kind = reader.next()?;
        message.name(&format!("fuel.sensor.type.{sensor}"), kind);
        if grouped {
            reader.next()?;
            if has(0)
                && let Ok(raw) = u32::from_str_radix(reader.next()?, 16)
            {
                message.name(&format!("fuel.{sensor}"), raw);
            }
        }
        if has(3) {
            message.push_some((fields::FUEL_LEVEL_N, sensor), float(reader.next()?));
        }
        if has(4) {
            message.push_some((fields::FUEL_VOLUME_N, sensor), float(reader.next()?));
        }
        if has(10) {
            message.push_some((fields::FUEL_TEMPERATURE_N, sensor), float(reader.next()?));
        }
    }
    Some(())
}

/// Serial number, kind, temperature, and humidity of those that measure it.
fn hygrometers(message: &mut RecordBuilder<'_>, reader: &mut Reader<'_, '_>) -> Option<()> {
    for sensor in 1..=reader.count()? {
        let (id, kind) = (reader.next()?, reader.next()?);
        message.push((fields::SENSOR_ID_N, sensor), id);
        let celsius = float(reader.next()?);
        message.push_some((fields::SENSOR_TEMPERATURE_N, sensor), celsius);
        if kind == "2" {
            let humidity = float(reader.next()?);
            message.push_some((fields::SENSOR_HUMIDITY_N, sensor), humidity);
        }
    }
    Some(())
}

/// Index, kind, model, its bytes, and a mask of what was read from them.
fn accessories(message: &mut RecordBuilder<'_>, reader: &mut Reader<'_, '_>) -> Option<()> {
    let length_given = reader.report.is_type(&LENGTH_GIVEN);
    for sensor in 1..=reader.count()? {
        for _ in 0..3 + usize::from(length_given) {
            reader.next()?;
        }
        let bytes = reader.next()?;
        if !bytes.is_empty() {
            message.push((fields::BLE_SENSOR_DATA_N, sensor), bytes);
        }
        let mask = reader.next()?;
        push_readings(message, sensor, mask, || reader.next())?;
    }
    Some(())
}

/// What the mask of a Bluetooth accessory announces, each from `next`.
pub(super) fn push_readings<'f>(
    message: &mut RecordBuilder<'_>,
    sensor: u16,
    mask: &str,
    mut next: impl FnMut() -> Option<&'f str>,
) -> Option<()> {
    let mask = u16::from_str_radix(mask, 16).unwrap_or_default();
    for bit in (0..15u16).filter(|bit| mask & 1 << bit != 0) {
        let text = next()?;
        if text.is_empty() {
            continue;
        }
        match bit {
            0 => message.name(&format!("ble.sensor.name.{sensor}"), text),
            1 => message.push((fields::BLUETOOTH_MAC_N, sensor), text),
            3 => {
                let volts = number::<u32>(text).map(|mv| round(f64::from(mv) / 1000.0, 3));
                message.push_some((fields::BLE_SENSOR_BATTERY_VOLTAGE_N, sensor), volts);
            }
            // the second reading of the temperature is the finer one
            4 if mask & 1 << 11 != 0 => {}
            4 | 11 => message.push_some((fields::BLE_SENSOR_TEMPERATURE_N, sensor), float(text)),
            5 => message.push_some((fields::BLE_SENSOR_HUMIDITY_N, sensor), float(text)),
            12 => message.name(&format!("ble.sensor.magnet.{sensor}"), text),
            13 => message.push_some(
                (fields::BLE_SENSOR_BATTERY_LEVEL_N, sensor),
                number::<u8>(text),
            ),
            bit => message.name(&format!("ble.sensor.{bit}.{sensor}"), text),
        }
    }
    Some(())
}
