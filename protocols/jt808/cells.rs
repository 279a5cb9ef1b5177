//! Cells and access points in the makers' forms.

use super::values::signed;
use crate::contract::{Instance, RecordBuilder, fields};
use crate::kit::cursor::Cursor;
use crate::kit::hex;

const ACCESS_POINT_BYTES: usize = 7;

/// A cell; zeros are none.
pub(super) fn cell(
    message: &mut RecordBuilder<'_>,
    number: Instance,
    mcc: u16,
    mnc: u16,
    lac: u32,
    id: u32,
) {
    if lac == 0 && id == 0 {
        return;
    }
    let params = if number == 0 {
        [
            fields::GSM_MCC,
            fields::GSM_MNC,
            fields::GSM_LAC,
            fields::GSM_CELLID,
        ]
    } else {
        [
            fields::GSM_MCC_N,
            fields::GSM_MNC_N,
            fields::GSM_LAC_N,
            fields::GSM_CELLID_N,
        ]
    };
    let values = [u32::from(mcc), u32::from(mnc), lac, id];
    for (param, value) in params.into_iter().zip(values) {
        message.push((param, number), value);
    }
}

/// Address and signal each; 53 and 54 have their number before them.
pub(super) fn access_points(
    number: u8,
    value: &[u8],
    message: &mut RecordBuilder<'_>,
) -> Option<()> {
    let value = if number == 0x54 {
        value.get(1..)?
    } else {
        value
    };
    let (points, []) = value.as_chunks::<ACCESS_POINT_BYTES>() else {
        return None;
    };
    for (point, instance) in points.iter().zip(1..) {
        let [mac @ .., signal] = *point;
        if mac != [0; 6] {
            message.push((fields::WIFI_MAC_N, instance), hex::mac(mac).as_str());
            message.push((fields::WIFI_SIGNAL_DBM_N, instance), signed(signal));
        }
    }
    Some(())
}

/// Count, then MCC, MNC, LAC, id of 2 or 4 bytes, signal.
pub(super) fn cells_of_bsj(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let count = usize::from(body.u8()?);
    let each = body.left().checked_div(count).unwrap_or(0);
    if count == 0 || each * count != body.left() || !matches!(each, 8 | 10) {
        return None;
    }
    for number in 0..u16::try_from(count).ok()? {
        let (mcc, mnc, lac) = (body.u16()?, u16::from(body.u8()?), body.u16()?);
        let id = if each == 8 {
            u32::from(body.u16()?)
        } else {
            body.u32()?
        };
        cell(message, number, mcc, mnc, u32::from(lac), id);
        signal_step(message, number, body.u8()?);
    }
    Some(())
}

pub(super) fn signal_step(message: &mut RecordBuilder<'_>, number: Instance, signal: u8) {
    // the serving cell's is item 30
    if number > 0 {
        message.push((fields::GSM_SIGNAL_ENUM_N, number), signal);
    }
}

/// MCC, then signal, MNC, id, LAC each.
pub(super) fn cells_of_locks(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let mcc = body.u16()?;
    let mut number = 0;
    while body.left() > 0 {
        let signal = body.u8()?;
        let (mnc, id, lac) = (body.u16()?, body.u32()?, body.u16()?);
        cell(message, number, mcc, mnc, u32::from(lac), id);
        signal_step(message, number, signal);
        number += 1;
    }
    Some(())
}

/// MCC, MNC, id, LAC, signal in dBm each.
pub(super) fn cells_of_aovx(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut number = 0;
    while body.left() > 0 {
        let (mcc, mnc) = (body.u16()?, body.u16()?);
        let (id, lac) = (body.u32()?, body.u32()?);
        cell(message, number, mcc, mnc, lac, id);
        let dbm = signed(body.u8()?);
        if number == 0 {
            message.push(fields::GSM_SIGNAL_DBM, dbm);
        } else {
            message.push((fields::GSM_SIGNAL_DBM_N, number), dbm);
        }
        number += 1;
    }
    Some(())
}

/// MCC and MNC once, then LAC (3 bytes), id, signal in dBm each.
pub(super) fn cells_of_gt(body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let (mcc, mnc) = (body.u16()?, body.u16()?);
    let mut number = 0;
    while body.left() > 0 {
        let (lac, id) = (body.u24()?, body.u32()?);
        cell(message, number, mcc, mnc, lac, id);
        let dbm = signed(body.u8()?);
        if number == 0 {
            message.push(fields::GSM_SIGNAL_DBM, dbm);
        } else if lac != 0 || id != 0 {
            message.push((fields::GSM_SIGNAL_DBM_N, number), dbm);
        }
        number += 1;
    }
    Some(())
}
