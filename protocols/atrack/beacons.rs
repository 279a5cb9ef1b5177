//! Item BC: what Bluetooth beacons and sensors around the device sent.

use super::raw::{Raw, push_as_it_is};
use crate::contract::{Instance, Key, RecordBuilder, Value, fields};
use crate::kit::cursor::Cursor;
use crate::kit::parse::number;
use crate::kit::{hex, units};

/// The most beacons of one item that are read.
const BEACONS_MAX: Instance = 32;

/// Mode, mask and then for each beacon what the mask's bits say, highest first.
pub(super) fn push(raw: Raw<'_>, message: &mut RecordBuilder<'_>) {
    let Raw::Text(text) = raw else {
        return;
    };
    if !text.contains(':') {
        push_advertisements(text, message);
        return;
    }
    let mut parts = text.splitn(3, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (mode, mask) = (number::<u8>(next()), number::<u8>(next()));
    let bytes = hex::decode(next());
    let (Some(mode), Some(mask), Some(bytes)) = (mode, mask, bytes) else {
        push_as_it_is("BC", raw, message);
        return;
    };
    let mut cursor = Cursor::new(&bytes);
    for number in 1..=BEACONS_MAX {
        let left = cursor.left();
        let read = push_beacon(mode, mask, number, &mut cursor, message);
        if cursor.left() == 0 {
            return;
        }
        if read.is_none() || cursor.left() == left {
            message.name("BC", &*hex::encode(cursor.rest()));
            return;
        }
    }
}

/// Without a mode: for each beacon a length (of what follows), a kind, its address, what it sent.
fn push_advertisements(text: &str, message: &mut RecordBuilder<'_>) {
    const THERMOMETER: u8 = 0xe0;
    let Some(bytes) = hex::decode(text).filter(|bytes| !bytes.is_empty()) else {
        push_as_it_is("BC", Raw::Text(text), message);
        return;
    };
    let mut cursor = Cursor::new(&bytes);
    for number in 1..=BEACONS_MAX {
        let Some(length) = cursor.u8() else {
            return;
        };
        let Some(beacon) = cursor.take(usize::from(length)) else {
            message.name("BC", &*hex::encode(cursor.rest()));
            return;
        };
        let mut beacon = Cursor::new(beacon);
        let (Some(kind), Some(id)) = (beacon.u8(), beacon.array::<6>()) else {
            continue;
        };
        message.push((fields::BLE_BEACON_ID_N, number), &*hex::encode(&id));
        if kind == THERMOMETER
            && let Some(celsius) = beacon.i16()
        {
            let celsius = units::scaled(i64::from(celsius), 2);
            message.push((fields::BLE_SENSOR_TEMPERATURE_N, number), celsius);
        }
        if beacon.left() > 0 {
            message.push((fields::BLE_SENSOR_DATA_N, number), beacon.rest());
        }
    }
}

/// Modes: 1 iBeacon, 2 and 3 thermometers, 4 sensors of other makers.
fn push_beacon(
    mode: u8,
    mask: u8,
    number: Instance,
    cursor: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
) -> Option<()> {
    let has = |bit: u8| mask >> bit & 1 == 1;
    if has(7) {
        let id: [u8; 6] = cursor.array()?;
        message.push((fields::BLE_BEACON_ID_N, number), &*hex::encode(&id));
    }
    let hundredths = |raw: i16| units::scaled(i64::from(raw), 2);
    let temperature: Key<'_> = (fields::BLE_SENSOR_TEMPERATURE_N, number).into();
    let signal: Key<'_> = (fields::BLE_BEACON_SIGNAL_DBM_N, number).into();
    match mode {
        1 => {
            let major = if has(6) { Some(cursor.u16()?) } else { None };
            let minor = if has(5) { Some(cursor.u16()?) } else { None };
            if major.is_some() || minor.is_some() {
                let pair = [major, minor].map(|part| Value::from(part.unwrap_or_default()));
                message.push((fields::BLE_BEACON_DATA_N, number), Value::List(&pair));
            }
        }
        2 => {
            if has(6) {
                let volts = f64::from(cursor.u16()?) / 1000.0;
                message.push((fields::BLE_SENSOR_BATTERY_VOLTAGE_N, number), volts);
            }
            if has(5) {
                message.push(temperature, hundredths(cursor.i16()?));
            }
        }
        3 => {
            if has(6) {
                message.push((fields::BLE_SENSOR_HUMIDITY_N, number), cursor.u16()?);
            }
            if has(5) {
                message.push(temperature, hundredths(cursor.i16()?));
            }
            if has(3) {
                message.push(signal, cursor.u8()?.cast_signed());
            }
            if has(2) {
                let more = cursor.u16()?;
                message.push((fields::BLE_SENSOR_DATA_N, number), more);
            }
            return Some(());
        }
        4 => return push_sensor(mask, number, cursor, message),
        _ => return None,
    }
    if has(4) {
        let _sent_with = cursor.u8()?;
    }
    if has(3) {
        message.push(signal, cursor.u8()?.cast_signed());
    }
    Some(())
}

/// A sensor of another maker: its kind, what it measured, its name.
fn push_sensor(
    mask: u8,
    number: Instance,
    cursor: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
) -> Option<()> {
    const NAME_BYTES: usize = 9;
    if mask >> 6 & 1 == 1 {
        let kind = cursor.u8()?;
        let width = match kind {
            1 | 4 => 11,
            2 => 2,
            3 => 6,
            5 => 10,
            _ => 0,
        };
        if mask >> 5 & 1 == 1 {
            let bytes = cursor.take(width)?;
            message.push((fields::BLE_SENSOR_DATA_N, number), bytes);
        }
    }
    if mask >> 4 & 1 == 1 {
        let name = cursor.take(NAME_BYTES)?;
        let name = String::from_utf8_lossy(name);
        let name = name.trim_matches(['\0', ' ']);
        message.push((fields::BLE_BEACON_ID_N, number), name);
    }
    Some(())
}
