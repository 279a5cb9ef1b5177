//! The fields of FLEX: their lengths, and what they say. Those without a meaning here are kept under their number.

use crate::contract::{Context, Instance, RecordBuilder, Reject, Time, Value, fields};
use crate::kit::hex;
use crate::kit::table::{self, Form, Row, little_endian, row, signed};
use crate::kit::units::{round, scaled};

/// Bytes of fields 1 to 255. FLEX 1.0 has the first 69, 2.0 the first 122.
#[rustfmt::skip]
const BYTES: [u8; 255] = [
    4, 2, 4, 1, 1, 1, 1, 1, 4, 4, 4, 4, 4, 2, 4, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1,
    4, 4, 2, 2, 4, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 2, 1, 4, 2, 2, 2, 2, 2, 1, 1,
    1, 2, 4, 2, 1, 8, 2, 1, 16, 4, 2, 4, 37, 1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 6, 12, 24,
    48, 1, 1, 1, 1, 4, 4, 1, 4, 2, 6, 2, 6, 2, 2, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 1, 1, 1, 1, 1, 4, 4,
    4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 1, 1, 2, 3, 2, 1, 1, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 2, 4, 4, 4, 2, 4, 2, 2, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    4, 4, 4, 4, 6, 3, 1, 2, 2, 1, 4, 5, 4, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 8, 8, 8,
];

/// The numbers and lengths of the fields that `mask` has.
fn fields_of(mask: &[u8]) -> impl Iterator<Item = (u16, usize)> + '_ {
    let bit = |number: u16| {
        let index = number - 1;
        mask.get(usize::from(index / 8))
            .is_some_and(|byte| byte & (0x80 >> (index % 8)) != 0)
    };
    BYTES
        .iter()
        .zip(1u16..)
        .filter(move |(_, number)| bit(*number))
        .map(|(bytes, number)| (number, usize::from(*bytes)))
}

/// How long a record is.
pub(super) fn record_bytes(mask: &[u8]) -> usize {
    fields_of(mask).map(|(_, bytes)| bytes).sum()
}

/// Sorted by the numbers.
static ROWS: &[Row] = &[
    row(1, fields::RECORD_SEQNUM, 0, Form::Plain),
    row(2, fields::EVENT_ENUM, 0, Form::Plain),
    row(5, fields::STATUS_BITMASK, 0, Form::Plain),
    row(7, fields::GSM_SIGNAL_ENUM, 0, Form::Plain),
    row(12, fields::POSITION_ALTITUDE, 0, Form::SignedScaled(0.1, 1)),
    row(14, fields::POSITION_DIRECTION, 0, Form::Plain),
    row(
        19,
        fields::EXTERNAL_POWERSOURCE_VOLTAGE,
        0,
        Form::Scaled(0.001, 3),
    ),
    row(20, fields::BATTERY_VOLTAGE, 0, Form::Scaled(0.001, 3)),
    row(21, fields::AIN_N, 1, Form::Scaled(0.001, 3)),
    row(22, fields::AIN_N, 2, Form::Scaled(0.001, 3)),
    row(23, fields::AIN_N, 3, Form::Scaled(0.001, 3)),
    row(24, fields::AIN_N, 4, Form::Scaled(0.001, 3)),
    row(25, fields::AIN_N, 5, Form::Scaled(0.001, 3)),
    row(26, fields::AIN_N, 6, Form::Scaled(0.001, 3)),
    row(27, fields::AIN_N, 7, Form::Scaled(0.001, 3)),
    row(28, fields::AIN_N, 8, Form::Scaled(0.001, 3)),
    row(33, fields::COUNTER_IMPULSES_N, 1, Form::Plain),
    row(34, fields::COUNTER_IMPULSES_N, 2, Form::Plain),
    row(35, fields::FREQUENCY_N, 1, Form::Plain),
    row(36, fields::FREQUENCY_N, 2, Form::Plain),
    row(
        37,
        fields::ENGINE_MOTORHOURS,
        0,
        Form::Scaled(1.0 / 3600.0, 4),
    ),
    row(55, fields::CAN_ENGINE_RPM, 0, Form::Plain),
    row(56, fields::CAN_ENGINE_COOLANT_TEMPERATURE, 0, Form::Signed),
    row(63, fields::CAN_THROTTLE_PEDAL_LEVEL, 0, Form::Plain),
    row(64, fields::CAN_BRAKE_PEDAL_LEVEL, 0, Form::Plain),
    row(65, fields::CAN_ENGINE_LOAD_LEVEL, 0, Form::Plain),
    row(69, fields::CAN_VEHICLE_SPEED, 0, Form::Plain),
];

/// Where the record's place and time are.
#[derive(Default)]
struct Fix {
    event_s: Option<i64>,
    place_s: Option<i64>,
    state: u8,
    latitude: i64,
    longitude: i64,
}

/// Reads a record into a message.
pub(super) fn record<'c>(
    mask: &[u8],
    record: &[u8],
    kind: &str,
    cx: &'c mut Context<'_>,
) -> Result<RecordBuilder<'c>, Reject> {
    let mut fix = Fix::default();
    each(mask, record, |number, bytes| {
        let raw = little_endian(bytes.get(..8).unwrap_or(bytes));
        match number {
            3 => fix.event_s = i64::try_from(raw).ok(),
            8 => fix.state = bytes.first().copied().unwrap_or_default(),
            9 => fix.place_s = i64::try_from(raw).ok(),
            10 => fix.latitude = signed(raw, 4),
            11 => fix.longitude = signed(raw, 4),
            _ => {}
        }
    });
    let seconds = fix.event_s.or(fix.place_s).filter(|seconds| *seconds > 0);
    let time = seconds.map_or(Time::Received(cx.now_ms), |s| Time::Device(s * 1000));
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, kind);
    // 0.0001 minutes
    let degrees = |raw: i64| round(raw as f64 / 600_000.0, 7);
    let placed = (fix.latitude, fix.longitude) != (0, 0);
    message.push(fields::POSITION_VALID, placed && fix.state & 2 != 0);
    if placed {
        message.push(fields::POSITION_LATITUDE, degrees(fix.latitude));
        message.push(fields::POSITION_LONGITUDE, degrees(fix.longitude));
    }
    if let Some(seconds) = fix.place_s.filter(|seconds| *seconds > 0) {
        message.push(fields::POSITION_TIMESTAMP, seconds);
    }
    each(mask, record, |number, bytes| {
        one(number, bytes, &mut message);
    });
    Ok(message)
}

/// Reads a further packet that holds a place into a message: its kind (0A), how long its fixed part is, number of
/// the record (4), event (2), time of the event (4), state of the fix, its time (4), latitude, longitude, altitude
/// (4 each), km/h (4), course (2), km (4), as the fields of a record are; then a part of its own.
pub(super) fn placed(kind: &str, bytes: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    const PLACED: u8 = 0x0a;
    const MASK: [u8; 2] = [0xe1, 0xfe];
    const OTHER: Reject = Reject::new("packet", "not one with a place", 0);
    let [PLACED, _, rest @ ..] = bytes else {
        return Err(OTHER);
    };
    let (fixed, own) = rest.split_at_checked(record_bytes(&MASK)).ok_or(OTHER)?;
    let mut message = record(&MASK, fixed, kind, cx)?;
    if !own.is_empty() {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(own));
    }
    Ok(())
}

/// Calls `see` with each field of a record.
fn each(mask: &[u8], record: &[u8], mut see: impl FnMut(u16, &[u8])) {
    let mut rest = record;
    for (number, length) in fields_of(mask) {
        let Some((bytes, after)) = rest.split_at_checked(length) else {
            return;
        };
        see(number, bytes);
        rest = after;
    }
}

/// A decimal number of 4 bytes, if it is there (-1 is none).
fn float(raw: u64) -> Option<f64> {
    let value = f64::from(f32::from_bits(u32::try_from(raw).ok()?));
    (value.is_finite() && value >= 0.0).then_some(value)
}

fn one(number: u16, bytes: &[u8], message: &mut RecordBuilder<'_>) {
    const NONE_I8: u64 = 0x80;
    let raw = little_endian(bytes.get(..8).unwrap_or(bytes));
    let unsigned = i64::try_from(raw).unwrap_or(i64::MAX);
    let nth = |base: u16| -> Instance { number - base + 1 };
    match number {
        4 => {
            message.push(fields::ARM_STATUS, raw & 1 != 0);
            message.push(fields::ALARM_MODE_STATUS, raw & 2 != 0);
            message.name("state", unsigned);
        }
        8 => message.push(fields::POSITION_SATELLITES, unsigned >> 2),
        13 => message.push_some(fields::POSITION_SPEED, float(raw).map(|v| round(v, 3))),
        15 => message.push_some(fields::VEHICLE_MILEAGE, float(raw).map(|v| round(v, 5))),
        16 => message.push_some(fields::TRIP_MILEAGE, float(raw).map(|v| round(v, 5))),
        29..=32 => {
            let (param, first) = match number {
                29 => (fields::DIN_N, 1),
                30 => (fields::DIN_N, 9),
                31 => (fields::DOUT_N, 1),
                _ => (fields::DOUT_N, 9),
            };
            for bit in 0..8 {
                message.push((param, first + bit), raw & (1 << bit) != 0);
            }
        }
        38..=43 if raw < 65_500 => message.push((fields::LLS_VALUE_N, nth(38)), unsigned),
        44 if raw < 65_500 => message.push((fields::LLS_VALUE_N, 17), unsigned),
        45..=52 if raw != NONE_I8 => {
            message.push((fields::SENSOR_TEMPERATURE_N, nth(45)), signed(raw, 1));
        }
        // the top bit says liters in tenths, else it is percentage
        53 if raw & 0x7fff != 0x7fff => {
            if raw & 0x8000 != 0 {
                message.push(fields::CAN_FUEL_VOLUME, scaled(unsigned & 0x7fff, 1));
            } else {
                message.push(fields::CAN_FUEL_LEVEL, unsigned);
            }
        }
        54 => message.push_some(fields::CAN_FUEL_CONSUMED, float(raw).map(|v| round(v, 2))),
        57 => message.push_some(fields::CAN_VEHICLE_MILEAGE, float(raw).map(|v| round(v, 3))),
        58..=62 if raw != 0xffff => message.push((fields::CAN_AXLE_LOAD_N, nth(58)), unsigned),
        55 if raw == 0xffff => {}
        56 if raw == NONE_I8 => {}
        63..=65 | 69 if raw == 0xff => {}
        67 if raw != 0xffff_ffff => {
            let hours = round(raw as f64 / 3600.0, 4);
            message.push(fields::CAN_ENGINE_MOTORHOURS, hours);
        }
        70 => {
            let seen: i64 = bytes.iter().map(|byte| i64::from(*byte)).sum();
            message.push(fields::GNSS_SATELLITES_VISIBLE, seen);
        }
        71 => {
            message.push(fields::POSITION_HDOP, scaled(unsigned & 0xff, 1));
            message.push(fields::POSITION_PDOP, scaled(unsigned >> 8, 1));
        }
        78..=83 if raw != NONE_I8 => {
            message.push((fields::LLS_TEMPERATURE_N, nth(78)), signed(raw, 1));
        }
        84..=93 if raw & 0xffff < 65_500 => {
            message.push((fields::LLS_VALUE_N, nth(84) + 6), unsigned & 0xffff);
            if raw >> 16 != NONE_I8 {
                let celsius = signed(raw >> 16, 1);
                message.push((fields::LLS_TEMPERATURE_N, nth(84) + 6), celsius);
            }
        }
        3 | 9..=11 | 38..=53 | 58..=62 | 67 | 78..=93 => {}
        _ => match table::find(ROWS, number) {
            Some(row) => table::push(row, raw, bytes.len(), message),
            None if bytes.len() > 4 => message.wire(number.into(), bytes),
            None => message.wire(number.into(), Value::unsigned(raw)),
        },
    }
}
