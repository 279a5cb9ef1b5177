//! Bluetooth beacons: elements 385 and 548, whose values are lists.
//!
//! 385: the part's number (high nibble) of the parts (low nibble), then beacons: flags (1: signal
//! follows, 2: battery, 4: temperature, 0x20: iBeacon), id (20 bytes of an iBeacon, 16 of an
//! Eddystone), and what the flags announce.
//!
//! 548: the part, then beacons of one length byte and as many bytes of (type, length, value):
//! 0 signal, 1 id, 2 what else the beacon said.

use crate::contract::fields::{
    BLE_BEACON_BATTERY_VOLTAGE_N, BLE_BEACON_DATA_N, BLE_BEACON_ID_N, BLE_BEACON_SIGNAL_DBM_N,
    BLE_BEACON_TEMPERATURE_N,
};
use crate::contract::{Instance, RecordBuilder};
use crate::kit::{hex, units};
use nom::bytes::complete::take;
use nom::number::complete::{be_i8, be_i16, be_u8, be_u16};
use nom::{IResult, Parser};

pub(super) const BEACONS: u16 = 385;
pub(super) const ADVANCED_BEACONS: u16 = 548;

/// The most beacons of one element.
const BEACONS_MAX: Instance = 64;

/// Adds the beacons of element `id`, or its bytes if they do not fit.
pub(super) fn push(id: u16, bytes: &[u8], message: &mut RecordBuilder<'_>) {
    let one = if id == BEACONS { simple } else { advanced };
    let Some((_, mut rest)) = bytes.split_first() else {
        return;
    };
    let mut instance = 0;
    while !rest.is_empty() && instance < BEACONS_MAX {
        instance += 1;
        let Ok((after, ())) = one(rest, instance, message) else {
            break;
        };
        rest = after;
    }
    if !rest.is_empty() {
        message.wire(u32::from(id), bytes);
    }
}

fn simple<'a>(
    input: &'a [u8],
    instance: Instance,
    message: &mut RecordBuilder<'_>,
) -> IResult<&'a [u8], ()> {
    let (rest, flags) = be_u8(input)?;
    let length = if flags & 0x20 == 0 { 16usize } else { 20 };
    let (rest, id) = take(length)(rest)?;
    let (rest, signal) = nom::combinator::cond(flags & 1 != 0, be_i8).parse(rest)?;
    let (rest, battery) = nom::combinator::cond(flags & 2 != 0, be_u16).parse(rest)?;
    let (rest, temperature) = nom::combinator::cond(flags & 4 != 0, be_i16).parse(rest)?;
    message.push((BLE_BEACON_ID_N, instance), hex::encode(id).as_str());
    message.push_some((BLE_BEACON_SIGNAL_DBM_N, instance), signal);
    message.push_some(
        (BLE_BEACON_BATTERY_VOLTAGE_N, instance),
        battery.map(|mv| units::scaled(i64::from(mv), 3)),
    );
    message.push_some(
        (BLE_BEACON_TEMPERATURE_N, instance),
        temperature.map(|t| units::scaled(i64::from(t), 2)),
    );
    Ok((rest, ()))
}

fn advanced<'a>(
    input: &'a [u8],
    instance: Instance,
    message: &mut RecordBuilder<'_>,
) -> IResult<&'a [u8], ()> {
    let (rest, length) = be_u8(input)?;
    let (rest, mut beacon) = take(length)(rest)?;
    while !beacon.is_empty() {
        let (after, (kind, length)) = (be_u8, be_u8).parse(beacon)?;
        let (after, value) = take(length)(after)?;
        match (kind, value) {
            (0, [signal]) => {
                message.push((BLE_BEACON_SIGNAL_DBM_N, instance), signal.cast_signed());
            }
            (1, id) => message.push((BLE_BEACON_ID_N, instance), hex::encode(id).as_str()),
            (2, data) => {
                // of an EYE beacon: the top bit of the flags says that the battery follows, in
                // steps of 10 mV above 2 V
                if let [flags, battery, ..] = data
                    && flags & 0x80 != 0
                {
                    message.push(
                        (BLE_BEACON_BATTERY_VOLTAGE_N, instance),
                        units::scaled(200 + i64::from(*battery), 2),
                    );
                }
                message.push((BLE_BEACON_DATA_N, instance), data);
            }
            (_, data) => message.push((BLE_BEACON_DATA_N, instance), data),
        }
        beacon = after;
    }
    Ok((rest, ()))
}
