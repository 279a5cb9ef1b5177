//! Packages of the second edition that say where the device is.

use super::kinds::{MESSAGE, POSITION, REPORT, WARNING};
use super::parts::{
    BEACONS_MAX, SHORT, begin, dbm, push_left, push_place, push_status, push_text, push_warning,
    seconds,
};
use crate::contract::{Context, RecordBuilder, Reject, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::cursor::Cursor;
use crate::kit::{hex, units};

/// How many cells of LTE, and how many access points behind them.
const LTE_CELLS: u8 = 7;
const LTE_POINTS: u8 = 15;

pub(super) fn placed(
    kind: u8,
    number: u16,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let time = seconds(cursor, cx.now_ms).ok_or(SHORT)?;
    let mut message = begin(kind, number, time, cx)?;
    push_parts(&mut message, cursor).ok_or(SHORT)?;
    match kind {
        WARNING => {
            if let Some(code) = cursor.u8() {
                push_warning(&mut message, code);
            }
            if let Some(status) = cursor.u16() {
                push_status(&mut message, status, true);
            }
        }
        REPORT => {
            let code = cursor.u8();
            message.push_some(fields::EVENT_ENUM, code);
            match code.unwrap_or_default() {
                1 => message.push(fields::IGNITION_ON_EVENT_TRIGGER, true),
                2 => message.push(fields::IGNITION_OFF_EVENT_TRIGGER, true),
                _ => {}
            }
            if let Some(status) = cursor.u16() {
                push_status(&mut message, status, true);
            }
        }
        MESSAGE => push_text(&mut message, cursor),
        POSITION => {
            push_state(&mut message, cursor);
        }
        _ => {}
    }
    push_left(&mut message, cursor);
    Ok(())
}

/// What the mask says is there.
pub(super) fn push_parts(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    let mask = cursor.u8()?;
    let bit = |bit: u8| mask >> bit & 1 == 1;
    if bit(0) {
        let (latitude, longitude) = (cursor.u32()?, cursor.u32()?);
        let (altitude, speed, course) = (cursor.i16()?, cursor.u16()?, cursor.u16()?);
        let satellites = cursor.u8()?;
        if push_place(message, latitude, longitude, true) {
            message.push(fields::POSITION_ALTITUDE, altitude);
            message.push(fields::POSITION_SPEED, speed);
            message.push(fields::POSITION_DIRECTION, course);
        }
        message.push(fields::POSITION_SATELLITES, satellites);
    } else {
        message.push(fields::POSITION_VALID, false);
    }
    let mut serving = Cell::default();
    if bit(1) {
        serving = Cell {
            mcc: Some(i64::from(cursor.u16()?)),
            mnc: Some(i64::from(cursor.u16()?)),
            lac: Some(i64::from(cursor.u16()?)),
            id: Some(i64::from(cursor.u32()?)),
            dbm: Some(dbm(cursor.u8()?)),
        };
        cells::push(message, 0, serving);
    }
    for neighbour in 1..=2u8 {
        if bit(1 + neighbour) {
            let cell = Cell {
                lac: Some(i64::from(cursor.u16()?)),
                id: Some(i64::from(cursor.u32()?)),
                dbm: Some(dbm(cursor.u8()?)),
                ..serving
            };
            cells::push(message, u16::from(neighbour), cell);
        }
    }
    for point in 0..3u8 {
        if bit(4 + point) {
            let number = u16::from(point) + 1;
            let mac = cursor.array()?;
            message.push((fields::WIFI_MAC_N, number), &*hex::mac(mac));
            // some write it without the sign
            let dbm = -i64::from(cursor.u8()?.cast_signed()).abs();
            message.push((fields::WIFI_SIGNAL_DBM_N, number), dbm);
        }
    }
    if bit(7) {
        message.push(fields::GSM_NETWORK_ENUM, cursor.u8()?);
        let counts = cursor.u8()?;
        let count = counts & LTE_CELLS;
        if count > 0 {
            let (mcc, mnc) = (cursor.u16()?, cursor.u16()?);
            let (lac, tac, id, advance) =
                (cursor.u16()?, cursor.u16()?, cursor.u32()?, cursor.u16()?);
            let cell = Cell {
                mcc: Some(i64::from(mcc)),
                mnc: Some(i64::from(mnc)),
                lac: Some(i64::from(if tac == 0 { lac } else { tac })),
                id: Some(i64::from(id)),
                dbm: None,
            };
            cells::push(message, 0, cell);
            message.push(fields::GSM_TIMING_ADVANCE, advance);
            for number in 0..count {
                let (physical, channel, level) = (cursor.u16()?, cursor.u16()?, cursor.u8()?);
                message.wire(0x0100 | u32::from(number), i64::from(physical));
                message.wire(0x0200 | u32::from(number), i64::from(channel));
                message.wire(0x0300 | u32::from(number), i64::from(level));
            }
        }
        for point in 1..=u16::from(counts >> 3 & LTE_POINTS) {
            let mac = cursor.array()?;
            message.push((fields::WIFI_MAC_N, point), &*hex::mac(mac));
            let dbm = -i64::from(cursor.u8()?.cast_signed()).abs();
            message.push((fields::WIFI_SIGNAL_DBM_N, point), dbm);
        }
    }
    Some(())
}

/// What stands behind the place of kind 12; a package may end after any of it.
pub(super) fn push_state(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    let status = cursor.u16()?;
    push_status(message, status, true);
    let volts = |mv: u16| f64::from(mv) / 1000.0;
    message.push(fields::BATTERY_VOLTAGE, volts(cursor.u16()?));
    message.name("adc0", cursor.u16()?);
    message.push((fields::AIN_N, 1), volts(cursor.u16()?));
    let meters = f64::from(cursor.u32()?);
    message.push(fields::VEHICLE_MILEAGE, meters / 1000.0);
    message.name("gsm.counter", cursor.u16()?);
    message.name("gnss.counter", cursor.u16()?);
    message.push(fields::STEP_COUNT, cursor.u16()?);
    message.name("walking.time", cursor.u16()?);
    let celsius = f64::from(cursor.i16()?) / 256.0;
    message.push((fields::SENSOR_TEMPERATURE_N, 1), units::round(celsius, 3));
    let humidity = f64::from(cursor.u16()?) / 10.0;
    message.push(fields::HUMIDITY, humidity);
    let lux = f64::from(cursor.u32()?) / 256.0;
    message.push(fields::ILLUMINATION, units::round(lux, 3));
    message.push(fields::CARBON_DIOXIDE_PPM, cursor.u32()?);
    let celsius = f64::from(cursor.i16()?) / 16.0;
    message.push((fields::SENSOR_TEMPERATURE_N, 2), units::round(celsius, 3));
    let count = u16::from(cursor.u8()?).min(BEACONS_MAX);
    message.name("beacons.type", cursor.u8()?);
    for number in 1..=count {
        let id: [u8; 6] = cursor.array()?;
        message.push((fields::BLE_BEACON_ID_N, number), &*hex::encode(&id));
        let dbm = cursor.u8()?.cast_signed();
        message.push((fields::BLE_BEACON_SIGNAL_DBM_N, number), dbm);
        let _reserved = cursor.u8()?;
        let _model_and_version = cursor.u16()?;
        let mv = cursor.u16()?;
        message.push((fields::BLE_BEACON_BATTERY_VOLTAGE_N, number), volts(mv));
        let celsius = f64::from(cursor.i16()?) / 256.0;
        message.push(
            (fields::BLE_BEACON_TEMPERATURE_N, number),
            units::round(celsius, 3),
        );
        message.push((fields::BLE_BEACON_DATA_N, number), cursor.u16()?);
    }
    Some(())
}
