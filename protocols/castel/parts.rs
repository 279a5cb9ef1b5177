//! What several kinds of frame share: the head of a report, places, texts.

use crate::contract::{Context, RecordBuilder, Reject, Time, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::cursor::Cursor;
use crate::kit::time::{or_impossible, two_digit};
use crate::kit::{checksum, hex, units};

pub(super) const HEAD_BYTES: usize = 4;

pub(super) const IDENT_BYTES: usize = 20;

pub(super) const TAIL_BYTES: usize = 4;

/// Without a version: the shortest frame.
pub(super) const FRAME_BYTES_MIN: usize = HEAD_BYTES + IDENT_BYTES + 2 + TAIL_BYTES;

pub(super) const RESERVED_BYTES: usize = 8;

pub(super) const SHORT: Reject = Reject::new("frame", "cut short", 0);

pub(super) struct Head {
    pub(super) version: Option<u8>,
    pub(super) name: [u8; IDENT_BYTES],
    pub(super) kind: u16,
}

impl Head {
    /// A frame to the device.
    pub(super) fn answer(&self, version: Option<u8>, kind: u16, content: &[u8]) -> Vec<u8> {
        let version = version.map(|version| [version]);
        let version = version.as_ref().map_or(&[][..], |one| one);
        let length = FRAME_BYTES_MIN + version.len() + content.len();
        let mut frame = b"@@".to_vec();
        frame.extend(u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        frame.extend(version);
        frame.extend(self.name);
        frame.extend(kind.to_be_bytes());
        frame.extend(content);
        frame.extend(checksum::crc16_x25(&frame).to_le_bytes());
        frame.extend(b"\r\n");
        frame
    }

    pub(super) fn begin<'c>(
        &self,
        time: Time,
        cx: &'c mut Context<'_>,
    ) -> Result<RecordBuilder<'c>, Reject> {
        let mut message = cx.message(time)?;
        message.push(fields::MESSAGE_TYPE, &*format!("{:04x}", self.kind));
        Ok(message)
    }
}

/// The vehicle's state.
pub(super) struct Stat {
    pub(super) ignition_s: u32,
    pub(super) utc_s: u32,
    pub(super) total_m: u32,
    pub(super) trip_m: u32,
    pub(super) total_fuel: u32,
    pub(super) trip_fuel: u16,
    pub(super) bits: u32,
    pub(super) reserved: [u8; RESERVED_BYTES],
}

impl Stat {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(Self {
            ignition_s: cursor.u32_le()?,
            utc_s: cursor.u32_le()?,
            total_m: cursor.u32_le()?,
            trip_m: cursor.u32_le()?,
            total_fuel: cursor.u32_le()?,
            trip_fuel: cursor.u16_le()?,
            bits: cursor.u32_le()?,
            reserved: cursor.array()?,
        })
    }

    pub(super) fn time(&self, now_ms: i64) -> Time {
        let ms = (self.utc_s > 0).then(|| i64::from(self.utc_s) * 1000);
        or_impossible(ms, now_ms)
    }

    pub(super) fn push(&self, message: &mut RecordBuilder<'_>) {
        let thousandth = |value: u32| f64::from(value) / 1000.0;
        message.push(fields::VEHICLE_MILEAGE, thousandth(self.total_m));
        message.push(fields::TRIP_MILEAGE, thousandth(self.trip_m));
        let liters = |value: u32| units::round(f64::from(value) / 100.0, 2);
        message.push(fields::FUEL_CONSUMED, liters(self.total_fuel));
        message.name("trip.fuel.consumed", liters(u32::from(self.trip_fuel)));
        message.push(fields::STATUS_BITMASK, self.bits);
        let bit = |bit: u32| self.bits >> bit & 1 == 1;
        message.push(fields::ENGINE_IGNITION_STATUS, bit(18));
        for (at, param) in [
            (0, fields::EXTERNAL_POWERSOURCE_LOW_STATUS),
            (1, fields::TOWING_ALARM_STATUS),
            (2, fields::OVERSPEEDING_STATUS),
            (6, fields::IDLE_STATUS),
            (15, fields::TAMPERING_STATUS),
            (23, fields::CAN_MIL_STATUS),
        ] {
            message.push(param, bit(at));
        }
        message.name("ignition.time", self.ignition_s);
        message.name("reserved", &self.reserved[..]);
    }
}

/// Time and place.
pub(super) struct Place {
    pub(super) ms: Option<i64>,
    pub(super) latitude: f64,
    pub(super) longitude: f64,
    pub(super) speed: f64,
    pub(super) direction: f64,
    pub(super) satellites: u8,
    pub(super) fixed: bool,
}

impl Place {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let [day, month, year, hour, minute, second] = cursor.array::<6>()?.map(i64::from);
        let degrees = |raw: u32| units::round(f64::from(raw) / 3_600_000.0, 7);
        let (latitude, longitude) = (degrees(cursor.u32_le()?), degrees(cursor.u32_le()?));
        let (speed, course) = (cursor.u16_le()?, cursor.u16_le()?);
        let flags = cursor.u8()?;
        let signed = |value: f64, positive: bool| if positive { value } else { -value };
        Some(Self {
            ms: two_digit(year, month, day, hour, minute, second).utc_ms(),
            latitude: signed(latitude, flags & 2 != 0),
            longitude: signed(longitude, flags & 1 != 0),
            speed: units::round(f64::from(speed) * 0.036, 3),
            direction: f64::from(course) / 10.0,
            satellites: flags >> 4,
            fixed: flags & 0x0c != 0,
        })
    }

    pub(super) fn time(&self, now_ms: i64) -> Time {
        or_impossible(self.ms, now_ms)
    }

    pub(super) fn push(&self, message: &mut RecordBuilder<'_>) {
        let there = (self.latitude != 0.0 || self.longitude != 0.0)
            && self.latitude.abs() <= 90.0
            && self.longitude.abs() <= 180.0;
        message.push(fields::POSITION_VALID, self.fixed && there);
        if there {
            message.push(fields::POSITION_LATITUDE, self.latitude);
            message.push(fields::POSITION_LONGITUDE, self.longitude);
            message.push(fields::POSITION_SPEED, self.speed);
            message.push(fields::POSITION_DIRECTION, self.direction);
        }
        message.push(fields::POSITION_SATELLITES, self.satellites);
    }
}

/// A count and places; none of them is an array of its own.
pub(super) fn places(cursor: &mut Cursor<'_>) -> Option<Vec<Place>> {
    let count = cursor.u8()?;
    (0..count).map(|_| Place::read(cursor)).collect()
}

/// One record for each place; without one, one of the state. What stands in the last is `more`'s.
pub(super) fn records(
    head: &Head,
    stat: Option<&Stat>,
    places: &[Place],
    cx: &mut Context<'_>,
    more: impl FnOnce(&mut RecordBuilder<'_>) -> Option<()>,
) -> Result<(), Reject> {
    let now_ms = cx.now_ms;
    let (last, before) = places
        .split_last()
        .map_or((None, places), |(l, b)| (Some(l), b));
    for place in before {
        let mut message = head.begin(place.time(now_ms), cx)?;
        place.push(&mut message);
        if let Some(stat) = stat {
            stat.push(&mut message);
        }
    }
    let time = match (last, stat) {
        (Some(place), _) => place.time(now_ms),
        (None, Some(stat)) => stat.time(now_ms),
        (None, None) => Time::Received(now_ms),
    };
    let mut message = head.begin(time, cx)?;
    if let Some(place) = last {
        place.push(&mut message);
    }
    if let Some(stat) = stat {
        stat.push(&mut message);
    }
    // what is cut off behind the place is not there
    more(&mut message);
    Ok(())
}

pub(super) fn push_left(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    let left = cursor.left();
    if left > 0 {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(cursor.take(left)?));
    }
    Some(())
}

/// The next text that a zero ends.
pub(super) fn text<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    let end = cursor.rest().iter().position(|byte| *byte == 0)?;
    let bytes = cursor.take(end)?;
    cursor.u8()?;
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.is_empty())
}

pub(super) fn push_versions(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) {
    message.push_some(fields::DEVICE_FIRMWARE_VERSION, text(cursor));
    message.push_some(fields::DEVICE_HARDWARE_VERSION, text(cursor));
}

pub(super) fn push_cell(message: &mut RecordBuilder<'_>, cursor: &mut Cursor<'_>) -> Option<()> {
    let (lac, id) = (cursor.u16_le()?, cursor.u16_le()?);
    if (lac, id) != (0, 0) {
        let cell = Cell {
            lac: Some(i64::from(lac)),
            id: Some(i64::from(id)),
            ..Cell::default()
        };
        cells::push(message, 0, cell);
    }
    Some(())
}
