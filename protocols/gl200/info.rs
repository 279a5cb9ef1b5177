//! GTINF: the device about itself.

use super::state;
use super::text::{Fields, Report, clock};
use crate::contract::{RecordBuilder, fields};
use crate::kit::parse::{float, number};
use crate::kit::time::Civil;

/// Adds what it says. Where the state stands tells whether a VIN stands before it.
pub(super) fn push(message: &mut RecordBuilder<'_>, report: &Report<'_>) {
    let rest = &report.rest;
    let Some(at) = (1..4).find(|at| state::is_state(rest.at(*at))) else {
        message.name("fields", rest.text(0, rest.len()));
        return;
    };
    if !rest.at(0).is_empty() {
        message.name("name", rest.at(0));
    }
    state::push(message, rest.at(at));
    let iccid = rest.at(at + 1);
    if !iccid.is_empty() {
        message.push(fields::GSM_SIM_ICCID, iccid);
    }
    let step = number::<u8>(rest.at(at + 2)).filter(|step| *step != 99);
    message.push_some(fields::GSM_SIGNAL_ENUM, step);
    let quality = number::<u8>(rest.at(at + 3)).filter(|quality| *quality != 99);
    message.push_some(fields::GSM_SIGNAL_QUALITY, quality);
    let supply = number::<u8>(rest.at(at + 4));
    message.push_some(
        fields::EXTERNAL_POWERSOURCE_STATUS,
        supply.map(|on| on != 0),
    );
    // devices on wires give the supply, the others the distance
    let sixth = rest.at(at + 5);
    if sixth.contains('.') {
        message.push_some(fields::VEHICLE_MILEAGE, float(sixth));
    } else {
        message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, millivolts(sixth));
    }
    if let Some(value) = number::<i64>(rest.at(at + 6)) {
        message.name("power2", value);
    }
    message.push_some(fields::BATTERY_VOLTAGE, float(rest.at(at + 7)));
    match rest.at(at + 8) {
        "0" => message.push(fields::BATTERY_CHARGING_STATUS, false),
        "1" => message.push(fields::BATTERY_CHARGING_STATUS, true),
        _ => {}
    }
    let fix = (at + 9..rest.len()).find(|at| clock(rest.at(*at)).is_some());
    if let Some(fix) = fix {
        let seconds = clock(rest.at(fix))
            .and_then(Civil::utc_ms)
            .map(|ms| ms / 1000);
        message.push_some(fields::POSITION_TIMESTAMP, seconds);
        after_fix(message, rest, fix + 1);
    }
}

fn millivolts(text: &str) -> Option<f64> {
    number::<u32>(text).map(|mv| f64::from(mv) / 1000.0)
}

fn is_pair(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Behind the time of the last fix: with wires a mode, analog inputs, inputs, outputs and the zone;
/// without them the battery's level.
fn after_fix(message: &mut RecordBuilder<'_>, rest: &Fields<'_>, from: usize) {
    let zone = (from..rest.len()).find(|at| rest.at(*at).starts_with(['+', '-']));
    let level = |at: usize| number::<u8>(rest.at(at)).filter(|level| *level <= 100);
    if let Some(zone) = zone {
        let wired = zone >= from + 2 && is_pair(rest.at(zone - 1)) && is_pair(rest.at(zone - 2));
        if wired {
            for (at, input) in (from + 1..zone - 2).zip(1u16..) {
                message.push_some((fields::AIN_N, input), millivolts(rest.at(at)));
            }
            state::push_inputs(message, rest.at(zone - 2));
            state::push_outputs(message, rest.at(zone - 1));
        }
        message.name("time.zone", rest.at(zone));
    } else if is_pair(rest.at(from + 3)) && is_pair(rest.at(from + 4)) {
        message.push_some(fields::BATTERY_LEVEL, level(from + 1));
        state::push_inputs(message, rest.at(from + 3));
        state::push_outputs(message, rest.at(from + 4));
    } else {
        message.push_some(fields::BATTERY_LEVEL, level(from));
    }
}
