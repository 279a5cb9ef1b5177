//! Positions.
//!
//! | field | meaning |
//! |---|---|
//! | date, time | ddmmyy, HHMMSS |
//! | A or V | fix or none |
//! | latitude, N or S, longitude, E or W | degrees |
//! | speed, course, altitude, satellites | km/h, degrees, m |
//! | signal, battery | percentage |
//! | steps, turnovers | |
//! | status | hexadecimal, see below |
//! | cells | count, then if there are any timing advance, MCC, MNC, and (LAC, cell, signal) each |
//! | access points | count, and (name, address, dBm) each |
//! | accuracy | m |
//!
//! | bit | says |
//! |---|---|
//! | 0, 17 | battery low: state, alarm |
//! | 1, 2 | outside, inside a fence |
//! | 3 | the watch is off the wrist |
//! | 4 | moving |
//! | 14 | the supply was cut |
//! | 16 | SOS |
//! | 18, 19 | a fence was left, entered |
//! | 20 | the watch was taken off |
//! | 21 | fallen |
//! | 22 | the pulse is out of its bounds |

use crate::contract::{Context, Instance, ParamId, RecordBuilder, Reject, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{self, float, number};
use crate::kit::time::{digits, or_impossible};
use smallvec::SmallVec;

/// The most fields of a frame.
const FIELDS_MAX: usize = 256;
/// Which field the status is.
const STATUS: usize = 15;
/// Date, time, letter and place; the rest may be missing from the end.
const PLACE_FIELDS: usize = 7;

const ALARMS: [(u32, ParamId); 7] = [
    (14, fields::POWER_CUT_EVENT_TRIGGER),
    (16, fields::ALARM_EVENT_TRIGGER),
    (17, fields::BATTERY_LOW_EVENT_TRIGGER),
    (18, fields::GEOFENCE_EVENT_EXIT),
    (19, fields::GEOFENCE_EVENT_ENTER),
    (20, fields::TAMPERING_EVENT_TRIGGER),
    (21, fields::FALL_EVENT_TRIGGER),
];

pub(super) fn read(keyword: &str, rest: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let parts: SmallVec<[&str; 64]> = parse::split(rest, b',')
        .map(str::trim)
        .take(FIELDS_MAX + 1)
        .collect();
    if !(PLACE_FIELDS..=FIELDS_MAX).contains(&parts.len()) {
        return Err(Reject::new(
            "report",
            "not so many fields as a position has",
            0,
        ));
    }
    let at = |index: usize| parts.get(index).copied().unwrap_or_default();
    let ms = digits(at(0), "dmy").zip(digits(at(1), "HMS"));
    let ms = ms.and_then(|(date, clock)| date.at_clock(clock).ms(cx.settings()));
    let mut message = cx.message(or_impossible(ms, cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, keyword);
    let latitude = degrees(at(3), at(4), 90.0);
    let longitude = degrees(at(5), at(6), 180.0);
    let place = latitude.zip(longitude).filter(|place| *place != (0.0, 0.0));
    message.push(fields::POSITION_VALID, place.is_some() && at(2) == "A");
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    message.push_some(fields::POSITION_SPEED, float(at(7)));
    message.push_some(fields::POSITION_DIRECTION, float(at(8)));
    message.push_some(fields::POSITION_ALTITUDE, float(at(9)));
    message.push_some(fields::POSITION_SATELLITES, number::<i64>(at(10)));
    message.push_some(fields::GSM_SIGNAL_LEVEL, number::<i64>(at(11)));
    message.push_some(fields::BATTERY_LEVEL, number::<i64>(at(12)));
    message.push_some(fields::STEP_COUNT, number::<i64>(at(13)));
    if let Some(turnovers) = number::<i64>(at(14)) {
        message.name("turnovers", turnovers);
    }
    match u32::from_str_radix(at(STATUS), 16) {
        Ok(word) => status(word, &mut message),
        Err(_) if at(STATUS).is_empty() => {}
        Err(_) => message.name("status", at(STATUS)),
    }
    network(parts.get(STATUS + 1..).unwrap_or_default(), &mut message);
    Ok(())
}

fn degrees(text: &str, hemisphere: &str, limit: f64) -> Option<f64> {
    let value = float(text).filter(|value| value.abs() <= limit)?;
    let negative = value < 0.0 || matches!(hemisphere, "S" | "W" | "s" | "w");
    Some(if negative { -value.abs() } else { value })
}

fn status(word: u32, message: &mut RecordBuilder<'_>) {
    let says = |bit: u32| word & (1 << bit) != 0;
    message.push(fields::STATUS_BITMASK, word);
    message.push(fields::BATTERY_LOW_STATUS, says(0));
    if says(1) || says(2) {
        message.push(fields::GEOFENCE_INSIDE_STATUS, says(2));
    }
    message.push(fields::TAMPERING_STATUS, says(3));
    message.push(fields::MOVEMENT_STATUS, says(4));
    for (bit, alarm) in ALARMS {
        if says(bit) {
            message.push(alarm, true);
        }
    }
}

/// Cells, access points, accuracy.
fn network(parts: &[&str], message: &mut RecordBuilder<'_>) {
    const CELL_FIELDS: usize = 3;
    const NETWORK_FIELDS: usize = 3;
    let count = |text: Option<&&str>| text.and_then(|text| number::<usize>(text)).unwrap_or(0);
    let cells = count(parts.first());
    let mut rest = parts.get(1..).unwrap_or_default();
    // without cells some makes leave their network out as well
    let network_is_there = cells > 0 || !rest.get(2).is_some_and(|address| is_address(address));
    if network_is_there && let Some((network, after)) = rest.split_at_checked(NETWORK_FIELDS) {
        rest = after;
        let mut codes = network.iter().map(|text| number::<i64>(text));
        let (advance, mcc, mnc) = (codes.next(), codes.next(), codes.next());
        let (mcc, mnc) = (mcc.flatten(), mnc.flatten());
        if cells > 0 {
            message.push_some(fields::GSM_TIMING_ADVANCE, advance.flatten());
        }
        let mut numbers: Instance = 0;
        for _ in 0..cells {
            let Some((cell, after)) = rest.split_at_checked(CELL_FIELDS) else {
                break;
            };
            rest = after;
            let mut values = cell.iter().map(|text| number::<i64>(text));
            let (lac, id, signal) = (values.next(), values.next(), values.next());
            let (Some(lac), Some(id)) = (lac.flatten(), id.flatten()) else {
                continue;
            };
            let tower = Cell {
                mcc,
                mnc,
                lac: Some(lac),
                id: Some(id),
                dbm: None,
            };
            cells::push(message, numbers, tower);
            let param = if numbers == 0 {
                fields::GSM_SIGNAL_ENUM
            } else {
                fields::GSM_SIGNAL_ENUM_N
            };
            message.push_some((param, numbers), signal.flatten());
            numbers += 1;
        }
    }
    let points = count(rest.first());
    rest = rest.get(1..).unwrap_or_default();
    for number in 1..=points {
        let [name, address, dbm, after @ ..] = rest else {
            break;
        };
        let Ok(number) = Instance::try_from(number) else {
            break;
        };
        rest = after;
        if !is_address(address) {
            continue;
        }
        message.push((fields::WIFI_MAC_N, number), *address);
        if !name.is_empty() {
            message.push((fields::WIFI_SSID_N, number), *name);
        }
        let dbm = parse::number::<i64>(dbm);
        message.push_some((fields::WIFI_SIGNAL_DBM_N, number), dbm);
    }
    if let Some((accuracy, more)) = rest.split_first() {
        let accuracy = float(accuracy).filter(|meters| *meters > 0.0);
        message.push_some(fields::POSITION_ACCURACY, accuracy);
        for (part, number) in more.iter().zip(1..) {
            if !part.is_empty() {
                message.wire(number, *part);
            }
        }
    }
}

fn is_address(text: &str) -> bool {
    text.len() == 17 && text.bytes().filter(|byte| *byte == b':').count() == 5
}
