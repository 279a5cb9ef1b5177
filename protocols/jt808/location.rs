//! Positions: a fixed part, and items of number, length and value.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 4 | alarm | bits, see `ALARMS` |
//! | 4 | status | 0 ignition, 1 fixed, 2 south, 3 west, 10 engine cut, 26 charging (makes) |
//! | 4, 4 | latitude, longitude | millionths of a degree |
//! | 2 | altitude | m |
//! | 2 | speed | tenths of km/h |
//! | 2 | direction | degrees |
//! | 6 | time | BCD |
//!
//! The items of the standard: 01 odometer (tenths of km), 02 fuel (tenths of a litre), 03 the vehicle's speed,
//! 06 temperature, 25 signals, 2A state, 2B analog inputs, 30 signal strength, 31 satellites.

use super::make::Make;
use super::wire::{SHORT, moment};
use super::{extras, safety};
use crate::contract::{Context, ParamId, RecordBuilder, Reject, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::units;

const FIXED_BYTES: usize = 28;
/// The tail of one make without numbers and lengths.
const PLAIN_TAIL_BYTES: usize = 18;

/// What the alarm word's bits mean; others stay in `alarm.bitmask`.
const ALARMS: &[(u32, ParamId)] = &[
    (0, fields::ALARM_EVENT_TRIGGER),
    (1, fields::OVERSPEEDING_EVENT_TRIGGER),
    (2, fields::FATIGUE_EVENT_TRIGGER),
    (4, fields::FAULT_EVENT_TRIGGER),
    (5, fields::GNSS_ANTENNA_CUT_EVENT_TRIGGER),
    (6, fields::GNSS_ANTENNA_CUT_EVENT_TRIGGER),
    (7, fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER),
    (8, fields::POWER_CUT_EVENT_TRIGGER),
    (9, fields::FAULT_EVENT_TRIGGER),
    (10, fields::FAULT_EVENT_TRIGGER),
    (11, fields::FAULT_EVENT_TRIGGER),
    (12, fields::FAULT_EVENT_TRIGGER),
    // 15 to 17 are reserved in the standard, and this with the makes that use them
    (15, fields::VIBRATION_EVENT_TRIGGER),
    (16, fields::TAMPERING_EVENT_TRIGGER),
    (17, fields::TAMPERING_EVENT_TRIGGER),
    (20, fields::GEOFENCE_EVENT_TRIGGER),
    (25, fields::FUEL_THEFT_EVENT_TRIGGER),
    (27, fields::IGNITION_ON_EVENT_TRIGGER),
    (28, fields::MOVEMENT_EVENT_TRIGGER),
    (29, fields::CRASH_EVENT_TRIGGER),
    (30, fields::CRASH_EVENT_TRIGGER),
    (31, fields::DOOR_EVENT_TRIGGER),
];

/// What a padlock's mean.
const PADLOCK_ALARMS: &[(u32, ParamId)] = &[
    (0, fields::TAMPERING_EVENT_TRIGGER),
    (1, fields::TAMPERING_EVENT_TRIGGER),
    (4, fields::TAMPERING_EVENT_TRIGGER),
];
/// What an AOVX tracker's mean.
const AOVX_ALARMS: &[(u32, ParamId)] = &[(16, fields::MOVEMENT_EVENT_TRIGGER)];

/// The words of a position behind alarm and status.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    status: u32,
    latitude: u32,
    longitude: u32,
    altitude: i16,
    speed: u16,
    direction: u16,
    pub(super) time: [u8; 6],
}

impl Place {
    /// Status to time.
    pub(super) fn read(body: &mut Cursor<'_>) -> Option<Self> {
        Some(Self {
            status: body.u32()?,
            latitude: body.u32()?,
            longitude: body.u32()?,
            altitude: body.i16()?,
            speed: body.u16()?,
            direction: body.u16()?,
            time: body.array()?,
        })
    }

    pub(super) fn push(&self, message: &mut RecordBuilder<'_>, make: Make) {
        status(message, self.status, make);
        coordinates(message, self.status, self.latitude, self.longitude);
        message.push(fields::POSITION_ALTITUDE, self.altitude);
        let speed = units::scaled(i64::from(self.speed), 1);
        message.push(fields::POSITION_SPEED, speed);
        message.push(fields::POSITION_DIRECTION, self.direction);
    }
}

/// The status word, whose bits 1 to 3 belong to the coordinates.
pub(super) fn status(message: &mut RecordBuilder<'_>, status: u32, make: Make) {
    message.push(fields::STATUS_BITMASK, i64::from(status));
    message.push(fields::ENGINE_IGNITION_STATUS, status & 1 != 0);
    message.push(fields::ENGINE_BLOCKED_STATUS, status & 1 << 10 != 0);
    message.push(fields::BATTERY_CHARGING_STATUS, status & 1 << 26 != 0);
    match make {
        Make::Mv710g => message.push(fields::DOOR_OPEN_STATUS, status & 1 << 16 != 0),
        Make::G1c => message.push(fields::MOVEMENT_STATUS, status & 1 << 4 != 0),
        _ => {}
    }
}

/// Coordinates, if the device has any.
pub(super) fn coordinates(
    message: &mut RecordBuilder<'_>,
    status: u32,
    latitude: u32,
    longitude: u32,
) {
    let degrees = |value: u32| units::scaled(i64::from(value), 6);
    let (latitude, longitude) = (degrees(latitude), degrees(longitude));
    let none = latitude == 0.0 && longitude == 0.0;
    let has = !none && latitude <= 90.0 && longitude <= 180.0;
    message.push(fields::POSITION_VALID, has && status & 2 != 0);
    if has {
        let south = status & 4 != 0;
        let west = status & 8 != 0;
        message.push(
            fields::POSITION_LATITUDE,
            if south { -latitude } else { latitude },
        );
        message.push(
            fields::POSITION_LONGITUDE,
            if west { -longitude } else { longitude },
        );
    }
}

/// Reads one position into a message.
pub(super) fn read(body: &[u8], buffered: bool, cx: &mut Context<'_>) -> Result<(), Reject> {
    if body.len() < FIXED_BYTES {
        return Err(SHORT);
    }
    let mut body = Cursor::new(body);
    let alarm = body.u32().ok_or(SHORT)?;
    let place = Place::read(&mut body).ok_or(SHORT)?;
    let make = Make::of(cx);
    let time = moment(place.time, cx.settings(), cx.now_ms);
    let mut message = cx.message(time)?;
    if alarm != 0 {
        message.push(fields::ALARM_BITMASK, i64::from(alarm));
        let meanings = match make {
            Make::Padlock => PADLOCK_ALARMS,
            Make::Aovx => AOVX_ALARMS,
            _ => ALARMS,
        };
        for (bit, meaning) in meanings {
            let none = make == Make::Vl300 && *meaning == fields::CRASH_EVENT_TRIGGER;
            if alarm >> bit & 1 != 0 && !none {
                message.push(*meaning, true);
            }
        }
    }
    place.push(&mut message, make);
    if buffered {
        message.push(fields::MESSAGE_BUFFERED_STATUS, true);
    }
    if body.left() == PLAIN_TAIL_BYTES && !is_items(body) {
        plain_tail(body, &mut message);
    } else {
        items(body, &mut message, make);
    }
    Ok(())
}

/// Do number, length and value fill the rest, without a number 0?
fn is_items(mut body: Cursor<'_>) -> bool {
    while body.left() > 0 {
        let (number, length) = (body.u8(), body.u8());
        let value = length.and_then(|length| body.take(usize::from(length)));
        if number == Some(0) || value.is_none() {
            return false;
        }
    }
    true
}

fn items(mut body: Cursor<'_>, message: &mut RecordBuilder<'_>, make: Make) {
    while body.left() > 0 {
        // a make that announces its own list of items by 80 and a byte
        if let [0x80, length, _, inner @ ..] = body.rest()
            && *length > 1
            && is_items(Cursor::new(inner))
        {
            body = Cursor::new(inner);
            continue;
        }
        let whole = body;
        let (number, length) = (body.u8(), body.u8());
        let value = length.and_then(|length| body.take(usize::from(length)));
        let (Some(number), Some(value)) = (number, value) else {
            // cut short: kept, but no item
            message.wire(0, whole.rest());
            return;
        };
        if standard(number, value, message).is_none()
            && safety::read(number, value, message).is_none()
            && extras::read(number, value, message, make).is_none()
            && !value.is_empty()
        {
            message.wire(u32::from(number), value);
        }
    }
}

/// The items of the standard, by number and length.
fn standard(number: u8, value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut body = Cursor::new(value);
    let tenths = |value: i64| units::scaled(value, 1);
    match (number, value.len()) {
        (0x01, 4) => message.push(fields::VEHICLE_MILEAGE, tenths(i64::from(body.u32()?))),
        (0x02, 2) => match body.u16()? {
            // the highest bit says that it is percent
            percent @ 0x8000.. => message.push(fields::FUEL_LEVEL, percent & 0x7fff),
            liters => message.push(fields::FUEL_VOLUME, tenths(i64::from(liters))),
        },
        (0x03, 2) => message.push(fields::VEHICLE_SPEED, tenths(i64::from(body.u16()?))),
        (0x04, 2) => message.push(fields::EVENT_SEQNUM, body.u16()?),
        (0x06, 2) => message.push((fields::SENSOR_TEMPERATURE_N, 1), body.i16()?),
        (0x11, 1 | 5) => {
            message.push(fields::OVERSPEEDING_EVENT_TRIGGER, true);
            let _kind_of_place = body.u8()?;
            message.push_some(fields::GEOFENCE_ID, body.u32().map(i64::from));
        }
        (0x12, 6) => {
            let _kind_of_place = body.u8()?;
            message.push(fields::GEOFENCE_ID, i64::from(body.u32()?));
            let leaving = body.u8()? == 1;
            let event = if leaving {
                fields::GEOFENCE_EVENT_EXIT
            } else {
                fields::GEOFENCE_EVENT_ENTER
            };
            message.push(event, true);
        }
        (0x25, 4) => {
            let signals = i64::from(body.u32()?);
            if signals != 0 {
                message.name("vehicle.signals", signals);
            }
        }
        (0x2a, 2) => {
            let bits = body.u16()?;
            message.push(fields::STANDBY_STATUS, bits & 3 != 0);
        }
        (0x2b, 4) => {
            // the first input is in the lower half; the scale is the maker's
            let (second, first) = (body.u16()?, body.u16()?);
            message.name("adc1", first);
            message.name("adc2", second);
        }
        (0x30, 1) => message.push(fields::GSM_SIGNAL_ENUM, body.u8()?),
        (0x31, 1) => message.push(fields::POSITION_SATELLITES, body.u8()?),
        _ => return None,
    }
    Some(())
}

/// Odometer in km behind four bytes, battery in tenths of volts, signal behind four more.
fn plain_tail(mut body: Cursor<'_>, message: &mut RecordBuilder<'_>) {
    let read = |body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>| {
        let _unknown = body.take(4)?;
        message.push(fields::VEHICLE_MILEAGE, i64::from(body.u32()?));
        let volts = units::scaled(i64::from(body.u16()?), 1);
        message.push(fields::BATTERY_VOLTAGE, volts);
        let _unknown = body.take(4)?;
        message.push(fields::GSM_SIGNAL_ENUM, body.u8()?);
        Some(())
    };
    read(&mut body, message);
    if body.rest().iter().any(|byte| *byte != 0) {
        message.wire(0, body.rest());
    }
}

/// Kind 0704: count, whether from memory, then length (2 bytes) and position each. The count is not
/// needed: some devices have it wrong.
pub(super) fn batch(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(body);
    let _count = body.u16().ok_or(SHORT)?;
    let buffered = body.u8().ok_or(SHORT)? > 0;
    each_position(body, buffered, cx, |body| body.u16().map(usize::from))
}

/// Positions behind their length. What is cut short at the end is lost, not what came before it.
fn each_position(
    mut body: Cursor<'_>,
    buffered: bool,
    cx: &mut Context<'_>,
    length: fn(&mut Cursor<'_>) -> Option<usize>,
) -> Result<(), Reject> {
    let mut first = true;
    while body.left() > 0 {
        let one = length(&mut body).map(|length| length.min(body.left()));
        let one = one.and_then(|length| body.take(length)).ok_or(SHORT);
        match one.and_then(|one| cx.attempt(|cx| read(one, buffered, cx))) {
            Err(reject) if first => return Err(reject),
            Err(_) => return Ok(()),
            Ok(()) => first = false,
        }
    }
    Ok(())
}

/// Kind 0210: length (1 byte) and position each.
pub(super) fn short_batch(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    each_position(Cursor::new(body), false, cx, |body| {
        body.u8().map(usize::from)
    })
}

/// A time of a position, for other rooms of this protocol.
pub(super) fn time_of(place: &Place, cx: &Context<'_>) -> Time {
    moment(place.time, cx.settings(), cx.now_ms)
}
