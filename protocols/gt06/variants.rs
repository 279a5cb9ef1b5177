//! Kinds that one maker alone sends, or that one maker fills in his own way.

use super::parts::{self, CellForm, Fix, SHORT};
use super::wire::{Frame, long};
use crate::contract::{Context, RecordBuilder, Reject, Reply, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{bcd, hex, units};

/// Reads one that begins with a position; is it answered?
pub(super) fn read(
    frame: &Frame<'_>,
    cx: &mut Context<'_>,
    zone_s: Option<i64>,
) -> Result<bool, Reject> {
    let mut body = Cursor::new(frame.body);
    if frame.kind == 0x34 {
        return x1(body, cx).map(|()| false);
    }
    let time = parts::time(&mut body, frame.kind, zone_s, cx)?;
    let fix = Fix::read(&mut body)?;
    let mut message = cx.message(time)?;
    fix.push(&mut message);
    let answered = match frame.kind {
        0x17 => {
            parts::cell(&mut body, CellForm::Gsm, &mut message)?;
            let card = body.take(8).ok_or(SHORT)?;
            message.push(fields::RFID_CODE, hex::encode(card).as_str());
            true
        }
        0x24 => {
            parts::cell(&mut body, CellForm::Gsm, &mut message)?;
            with_voltages(&mut body, &mut message).ok_or(SHORT)?;
            false
        }
        _ => {
            parts::cell(&mut body, CellForm::Wide, &mut message)?;
            with_meters(&mut body, &mut message).ok_or(SHORT)?;
            true
        }
    };
    parts::leftover(&mut message, frame.kind, body.rest());
    Ok(answered)
}

/// SR411 and S20: ignition, supply, battery, and perhaps two bytes and the IMEI.
fn with_voltages(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    message.push(fields::ENGINE_IGNITION_STATUS, body.u8()? != 0);
    let external = parts::hundredths(body.u16()?);
    message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, external);
    let battery = parts::hundredths(body.u16()?);
    message.push(fields::BATTERY_VOLTAGE, battery);
    if let Some((&[0, 0], imei)) = body.rest().split_first_chunk::<2>()
        && imei.len() == 8
        && let Some(imei) = bcd::text(imei)
    {
        message.push(fields::DEVICE_IMEI, bcd::without_leading_zeros(&imei));
        body.take(10)?;
    }
    Some(())
}

/// VL103: as kind 22, and supply, battery, hours.
fn with_meters(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    message.push(fields::ENGINE_IGNITION_STATUS, body.u8()? != 0);
    message.push(fields::REPORT_REASON, body.u8()?);
    message.push(fields::MESSAGE_BUFFERED_STATUS, body.u8()? != 0);
    message.push(fields::VEHICLE_MILEAGE, parts::km(body.u32()?));
    let external = parts::hundredths(body.u16()?);
    message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, external);
    let battery = units::scaled(i64::from(body.u8()?), 1);
    message.push(fields::BATTERY_VOLTAGE, battery);
    message.push(fields::ENGINE_MOTORHOURS, parts::hours(body.u24()?));
    Some(())
}

/// X1: an unknown word, a position, odometer, cell, driver, supply, battery, and inputs.
fn x1(mut body: Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let head = body.array::<4>().ok_or(SHORT)?;
    let time = parts::time(&mut body, 0x34, None, cx)?;
    let fix = Fix::read(&mut body)?;
    let mut message = cx.message(time)?;
    fix.push(&mut message);
    parts::leftover(&mut message, 0x34, &head);
    let read = |body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>| {
        let _unknown = body.u16()?;
        message.push(fields::VEHICLE_MILEAGE, parts::km(body.u32()?));
        let (mcc, mnc) = parts::network(body, CellForm::Wide)?;
        let (lac, id) = CellForm::Wide.area_and_id(body)?;
        parts::push_cell(message, mcc, mnc, lac, id);
        let driver = body.u32()?;
        if driver != 0 {
            message.push(fields::DRIVER_ID, driver.to_string().as_str());
        }
        let external = parts::hundredths(body.u16()?);
        message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, external);
        let battery = parts::hundredths(body.u16()?);
        message.push(fields::BATTERY_VOLTAGE, battery);
        message.name("rssi", body.u8()?);
        message.name("x1.state", body.u8()?);
        message.push(fields::DIN, body.u16()?);
        message.push(fields::DOUT, body.u16()?);
        message.push((fields::AIN_N, 1), parts::hundredths(body.u16()?));
        message.push((fields::AIN_N, 2), parts::hundredths(body.u16()?));
        Some(())
    };
    read(&mut body, &mut message).ok_or(SHORT)?;
    parts::leftover(&mut message, 0x34, body.rest());
    Ok(())
}

/// AZ735: date, then parts with their length each: position, cell, neighbours, access points; then
/// the status, which in kind 33 is an event.
pub(super) fn az735(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(frame.body);
    let time = parts::time(&mut body, frame.kind, None, cx)?;
    let mut message = cx.message(time)?;
    let (mut place, mut cell) = (part(&mut body).ok_or(SHORT)?, part(&mut body).ok_or(SHORT)?);
    let (mut neighbours, mut points) =
        (part(&mut body).ok_or(SHORT)?, part(&mut body).ok_or(SHORT)?);
    if place.left() > 0 {
        Fix::read(&mut place)?.push(&mut message);
    }
    if cell.left() > 0 {
        parts::cell(&mut cell, CellForm::Gsm, &mut message)?;
        if let Some(signal) = cell.u8() {
            message.push(fields::GSM_SIGNAL_ENUM, signal);
        }
    }
    let mut number = 0;
    while let (Some(lac), Some(id), Some(signal)) =
        (neighbours.u16(), neighbours.u24(), neighbours.u8())
    {
        if lac != 0 || id != 0 {
            number += 1;
            message.push((fields::GSM_LAC_N, number), lac);
            message.push((fields::GSM_CELLID_N, number), id);
            message.push((fields::GSM_SIGNAL_ENUM_N, number), signal);
        }
    }
    let mut number = 0;
    while let (Some(mac), Some(signal)) = (points.array::<6>(), points.u8()) {
        number += 1;
        super::cells::access_point(&mut message, number, mac);
        message.push((fields::WIFI_SIGNAL_DBM_N, number), -i16::from(signal));
    }
    let status = body.u8().ok_or(SHORT)?;
    message.push(fields::STATUS_BITMASK, status);
    if frame.kind == 0x33 {
        message.push(fields::EVENT_ENUM, status);
        match status {
            0xa0 | 0xa1 => message.push(fields::ARM_STATUS, status == 0xa0),
            0xa2 | 0xa3 => message.push(fields::BATTERY_LOW_EVENT_TRIGGER, true),
            0xa5 => message.push(fields::DOOR_EVENT_TRIGGER, true),
            _ => {}
        }
    }
    parts::leftover(&mut message, frame.kind, body.rest());
    drop(message);
    cx.reply(Reply::stored(long(frame.kind, &[], frame.serial)));
    Ok(())
}

/// A part with its length before it.
fn part<'a>(body: &mut Cursor<'a>) -> Option<Cursor<'a>> {
    let length = body.u8()?;
    body.take(usize::from(length)).map(Cursor::new)
}
