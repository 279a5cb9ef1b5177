//! Places, the cells that stand for them, accelerations and access points: alike in many kinds.

use super::wire::decimal;
use crate::contract::{RecordBuilder, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::cursor::Cursor;
use crate::kit::{hex, units};

pub(super) const PLACE_BYTES: usize = 16;
const LTE: u16 = 0x8000;

/// Satellites, and whether the place holds; bit 7: from memory, 6: a fix, 5: GNSS is off.
pub(super) fn push_status(message: &mut RecordBuilder<'_>, status: u8) -> bool {
    message.push(fields::POSITION_SATELLITES, status & 0x1f);
    message.push(fields::MESSAGE_BUFFERED_STATUS, status & 0x80 != 0);
    message.push(fields::GNSS_STATUS, status & 0x20 == 0);
    status & 0x40 != 0
}

fn float(cursor: &mut Cursor<'_>) -> Option<f64> {
    let value = f64::from(f32::from_le_bytes(cursor.array()?));
    value.is_finite().then_some(value)
}

/// Adds the place of 16 bytes, or the cells in its stead; whether it was a place. `speed`: it has one.
pub(super) fn push_place(
    message: &mut RecordBuilder<'_>,
    bytes: [u8; PLACE_BYTES],
    fixed: bool,
    speed: bool,
) -> bool {
    let mut cursor = Cursor::new(&bytes);
    let numbers = (float(&mut cursor), float(&mut cursor), float(&mut cursor));
    let (Some(altitude), Some(longitude), Some(latitude), true) =
        (numbers.0, numbers.1, numbers.2, fixed)
    else {
        message.push(fields::POSITION_VALID, false);
        push_cells(message, bytes);
        return false;
    };
    let there =
        (longitude, latitude) != (0.0, 0.0) && latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
    message.push(fields::POSITION_VALID, there);
    if there {
        message.push(fields::POSITION_LATITUDE, units::round(latitude, 7));
        message.push(fields::POSITION_LONGITUDE, units::round(longitude, 7));
        message.push(fields::POSITION_ALTITUDE, units::round(altitude, 3));
        let tenths = cursor.take(2).and_then(decimal).filter(|_| speed);
        message.push_some(fields::POSITION_SPEED, tenths.map(|tenths| tenths / 10.0));
        let course = cursor.u16().filter(|course| *course <= 360);
        message.push_some(fields::POSITION_DIRECTION, course);
    }
    there
}

fn push_cells(message: &mut RecordBuilder<'_>, bytes: [u8; PLACE_BYTES]) {
    let floats = bytes.get(..12).unwrap_or_default();
    if floats.iter().all(|byte| *byte == 0xff) || floats.iter().all(|byte| *byte == 0) {
        return;
    }
    let mut cursor = Cursor::new(&bytes);
    let (Some(first), Some(network)) = (cursor.u16(), cursor.u16()) else {
        return;
    };
    if first & LTE != 0 && cells::is_mcc(i64::from(first & !LTE)) {
        let (id, area) = (cursor.u32(), cursor.u16());
        let cell = Cell {
            mcc: Some(i64::from(first & !LTE)),
            mnc: Some(i64::from(network)),
            lac: area.map(i64::from),
            id: id.map(i64::from),
            dbm: None,
        };
        cells::push(message, 0, cell);
        for number in 0..3 {
            message.push_some(
                crate::contract::Key::Wire {
                    space: 9,
                    id: number,
                },
                cursor.u16().filter(|physical| *physical != u16::MAX),
            );
        }
        return;
    }
    // the first family writes the lowest byte first
    let turned = !cells::is_mcc(first.into());
    let order = |value: u16| i64::from(if turned { value.swap_bytes() } else { value });
    if !cells::is_mcc(order(first)) {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(&bytes));
        return;
    }
    for number in 0..3 {
        let (Some(area), Some(id)) = (cursor.u16(), cursor.u16()) else {
            return;
        };
        if !matches!((area, id), (0, 0) | (u16::MAX, u16::MAX)) {
            let cell = Cell {
                mcc: Some(order(first)),
                mnc: Some(order(network)),
                lac: Some(order(area)),
                id: Some(order(id)),
                dbm: None,
            };
            cells::push(message, number, cell);
        }
    }
}

/// Five bytes: for each axis a sign (set: positive), seven bits before the point and a digit behind it.
pub(super) fn push_acceleration(message: &mut RecordBuilder<'_>, bytes: [u8; 5]) {
    if bytes == [0xff; 5] {
        return;
    }
    let [head, second, third, fourth, tail] = bytes;
    let mut push = |param, positive: bool, whole: u8, tenths: u8| {
        let size = f64::from(whole) + f64::from(tenths) / 10.0;
        message.push(param, units::round(if positive { size } else { -size }, 1));
    };
    push(
        fields::X_ACCELERATION,
        head & 0x80 != 0,
        head & 0x7f,
        second >> 4,
    );
    let whole = (second & 7) << 4 | third >> 4;
    push(fields::Y_ACCELERATION, second & 8 != 0, whole, third & 15);
    push(
        fields::Z_ACCELERATION,
        fourth & 0x80 != 0,
        fourth & 0x7f,
        tail >> 4,
    );
}

/// The device's own address, and three access points.
pub(super) fn push_wifi(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    let own: [u8; 6] = cursor.array()?;
    if own != [0xff; 6] && own != [0; 6] {
        message.name("wifi.own", &*hex::mac(own));
    }
    for number in 1..=3 {
        let address: [u8; 6] = cursor.array()?;
        let dbm = cursor.u8()?.cast_signed();
        if address != [0xff; 6] && address != [0; 6] {
            message.push((fields::WIFI_MAC_N, number), &*hex::mac(address));
            message.push((fields::WIFI_SIGNAL_DBM_N, number), dbm);
        }
    }
    Some(())
}
