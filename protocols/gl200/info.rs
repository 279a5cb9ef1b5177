//! GTINF: the device about itself.

use super::state;
use super::tail::{level, millivolts};
use super::text::{Fields, Report, clock, is_vin};
use crate::contract::{RecordBuilder, fields};
use crate::kit::parse::{float, number};
use crate::kit::time::Civil;

/// So many fields from the state on, or it is another report of that name.
const SHORTEST: usize = 8;

/// Adds what it says. Where the state stands tells whether a VIN stands before it.
pub(super) fn push(message: &mut RecordBuilder<'_>, report: &Report<'_>) {
    let rest = &report.rest;
    // the name, and the VIN before it where there is one
    let named = usize::from(is_vin(rest.at(0)));
    let found = (1..4).find(|at| state::is_state(rest.at(*at)));
    let at = found.unwrap_or(named + 1);
    if rest.len() < at + SHORTEST {
        message.name("fields", rest.text(0, rest.len()));
        return;
    }
    if named == 1 {
        message.push(fields::VEHICLE_VIN, rest.at(0));
    }
    if !rest.at(at - 1).is_empty() {
        message.name("name", rest.at(at - 1));
    }
    if found.is_none() && !rest.at(at).is_empty() {
        message.name("state", rest.at(at));
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

fn is_pair(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Behind the time of the last fix: with wires a mode, analog inputs, inputs, outputs and the zone;
/// without them the battery's level.
fn after_fix(message: &mut RecordBuilder<'_>, rest: &Fields<'_>, from: usize) {
    let zone = (from..rest.len()).find(|at| rest.at(*at).starts_with(['+', '-']));
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
        message.push_some(fields::BATTERY_LEVEL, level(rest.at(from + 1)));
        state::push_inputs(message, rest.at(from + 3));
        state::push_outputs(message, rest.at(from + 4));
    } else {
        message.push_some(fields::BATTERY_LEVEL, level(rest.at(from)));
    }
}
