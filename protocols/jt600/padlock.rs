//! Padlocks, and the sensors that talk through them.

use super::fix::{Fix, civil};
use super::parts::{SHORT, cell, kind};
use crate::contract::{Context, Login, RecordBuilder, Reject, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::parse::number;
use crate::kit::time::Civil;
use crate::kit::{bcd, hex, units};
use smallvec::SmallVec;

/// Byte that announces a byte that would be a mark.
pub(super) const ESCAPE: u8 = b'=';

/// A padlock's record; does it want to be confirmed?
pub(super) fn padlock(
    body: &mut Cursor<'_>,
    version: u8,
    serial: Option<u8>,
    cx: &mut Context<'_>,
) -> Result<bool, Reject> {
    let fix = Fix::read(body, cx)?;
    let mut message = cx.message(fix.time)?;
    fix.push(&mut message);
    message.push(fields::MESSAGE_TYPE, kind(version));
    message.push_some(fields::FRAME_SEQNUM, serial);
    padlock_state(body, &mut message).ok_or(SHORT)
}

pub(super) fn padlock_state(
    body: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
) -> Option<bool> {
    message.push(fields::VEHICLE_MILEAGE, body.u32()?);
    message.push(fields::POSITION_SATELLITES, body.u8()?);
    let vehicle = body.u32()?;
    if vehicle != 0 {
        message.name("vehicle.id", vehicle);
    }
    let status = body.u16()?;
    message.push(fields::STATUS_BITMASK, status);
    if status & 1 != 0 {
        message.push(fields::LOCATION_SOURCE, "LBS");
    }
    message.push(fields::LOCK_STATUS, status & 0x80 != 0);
    message.name("rope.inserted.status", status & 0x40 != 0);
    message.name("back.cap.closed.status", status & 0x2000 != 0);
    for (bit, param) in [
        (1, fields::GEOFENCE_EVENT_ENTER),
        (2, fields::GEOFENCE_EVENT_EXIT),
        (3, fields::TAMPERING_EVENT_TRIGGER),
        (4, fields::VIBRATION_EVENT_TRIGGER),
        (11, fields::BATTERY_LOW_EVENT_TRIGGER),
        (12, fields::TAMPERING_EVENT_TRIGGER),
        (14, fields::FAULT_EVENT_TRIGGER),
    ] {
        if status >> bit & 1 != 0 {
            message.push(param, true);
        }
    }
    for (bit, name) in [
        (8, "unlocked.alarm"),
        (9, "wrong.password.alarm"),
        (10, "unknown.card.alarm"),
    ] {
        if status >> bit & 1 != 0 {
            message.name(name, true);
        }
    }
    match body.u8()? {
        0xff => message.push(fields::BATTERY_CHARGING_STATUS, true),
        level => message.push(fields::BATTERY_LEVEL, level),
    }
    let (id, lac) = (body.u16()?, body.u16()?);
    message.push(fields::GSM_SIGNAL_ENUM, body.u8()?);
    if let Some(geofence) = body.u8()
        && geofence != 0
    {
        message.push(fields::GEOFENCE_ID, geofence);
    }
    if let Some(reserved) = body.take(3) {
        message.push(fields::PAYLOAD_HEX, hex::encode(reserved).as_str());
    }
    let imei = body.take(8).and_then(bcd::text);
    if let Some(imei) = imei.as_deref().map(bcd::without_leading_zeros) {
        message.push(fields::DEVICE_IMEI, imei);
    }
    let high = body.u16().unwrap_or(0);
    let network = body.u16().zip(body.u8()).filter(|(mcc, _)| *mcc != 0);
    cell(message, u32::from(high) << 16 | u32::from(id), lac, network);
    if body.left() > 0 {
        message.name("tail", body.rest());
    }
    Some(status & 0x20 != 0)
}

/// `IDENT,serial,length,WLNET,kind,kind,` and bytes with escapes.
pub(super) fn wireless(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut parts = body.splitn(7, |byte| *byte == b',');
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let ident = text().ok_or(SHORT)?;
    let (serial, _, _) = (text(), text(), text());
    let kind = text().ok_or(SHORT)?;
    let _ = text();
    let mut plain: SmallVec<[u8; 128]> = SmallVec::new();
    let mut bytes = parts.next().ok_or(SHORT)?.iter().copied();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            ESCAPE => bytes.next().ok_or(SHORT)? ^ ESCAPE,
            byte => byte,
        });
    }
    cx.identify(Login::of(ident))?;
    let serial = serial.and_then(number::<u32>);
    let mut body = Cursor::new(&plain);
    if kind != "5" {
        let mut message = cx.message(Time::Received(cx.now_ms))?;
        message.push(fields::MESSAGE_TYPE, "WLNET");
        message.push_some(fields::FRAME_SEQNUM, serial);
        message.push(fields::PAYLOAD_HEX, hex::encode(&plain).as_str());
        return Ok(());
    }
    let fix = Fix::read(&mut body, cx)?;
    let mut message = cx.message(fix.time)?;
    message.push(fields::MESSAGE_TYPE, "WLNET");
    message.push_some(fields::FRAME_SEQNUM, serial);
    fix.push(&mut message);
    sensor(&mut body, &mut message).ok_or(SHORT)
}

/// Time of the reading, the sensor's id, what it measured.
pub(super) fn sensor(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let date = body.array::<6>()?;
    if let Some(ms) = civil(date).and_then(Civil::utc_ms) {
        message.name("sensor.timestamp.1", units::scaled(ms, 3));
    }
    let id = hex::encode(body.take(5)?);
    message.push((fields::SENSOR_ID_N, 1), id.as_str());
    message.name("sensor.event.1", body.u8()?);
    let volts = units::scaled(i64::from(body.u16()?), 2);
    message.push((fields::SENSOR_BATTERY_VOLTAGE_N, 1), volts);
    message.push((fields::SENSOR_BATTERY_LEVEL_N, 1), body.u8()?);
    let dbm = i64::from(body.u8()?);
    message.push((fields::SENSOR_SIGNAL_DBM_N, 1), -dbm);
    message.push((fields::SENSOR_STATUS_N, 1), body.u8()?);
    let degrees = units::scaled(i64::from(body.i16()?), 1);
    message.push((fields::SENSOR_TEMPERATURE_N, 1), degrees);
    message.push((fields::SENSOR_HUMIDITY_N, 1), body.u8()?);
    if body.rest().iter().any(|byte| *byte != 0) {
        message.push(fields::PAYLOAD_HEX, hex::encode(body.rest()).as_str());
    }
    Some(())
}
