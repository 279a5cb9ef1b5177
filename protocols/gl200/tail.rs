//! What stands behind a place or its network: a mask of what follows, and then distance, hours, analog
//! inputs, battery, state. Which of these a device sends is told by the shapes of its fields;
//! the families on their own battery are told by their type.

use super::text::{BEFORE_TIME, Fields, Report};
use super::{accessory, state};
use crate::contract::{RecordBuilder, fields};
use crate::kit::parse::{float, number};
use crate::kit::units::round;

/// Devices that read the engine by OBD and say so behind their state.
const OBD_TYPES: [&str; 2] = ["1F", "36"];
/// GL500, GL530, GL50 and their like: the signal, and then battery, mode, motion, temperature.
const GL5_TYPES: [&str; 6] = ["11", "40", "44", "52", "55", "DE"];

/// Adds fields that have no name here, if there is anything in them.
pub(super) fn push_fields(
    message: &mut RecordBuilder<'_>,
    name: &str,
    rest: &Fields<'_>,
    from: usize,
    to: usize,
) {
    let text = rest.text(from, to);
    if text.bytes().any(|byte| byte != b',') {
        message.name(name, text);
    }
}

/// A battery in percent.
pub(super) fn level(text: &str) -> Option<u8> {
    let short = Some(text).filter(|text| text.len() <= 3)?;
    number::<u8>(short).filter(|level| *level <= 100)
}

/// Millivolts.
pub(super) fn millivolts(text: &str) -> Option<f64> {
    number::<u32>(text).map(|mv| f64::from(mv) / 1000.0)
}

fn push_distance(message: &mut RecordBuilder<'_>, text: &str) {
    let km = float(text).filter(|_| text.contains('.'));
    message.push_some(fields::VEHICLE_MILEAGE, km);
}

/// `hours:minutes:seconds`, of which the last may not be there.
fn hours(text: &str) -> Option<f64> {
    let (hours, rest) = text.split_once(':')?;
    let (minutes, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
    let part = |text: &str| number::<u32>(text).map(f64::from);
    Some(round(
        part(hours)? + part(minutes)? / 60.0 + part(seconds)? / 3600.0,
        6,
    ))
}

/// Two groups of two digits behind the state.
fn is_status(text: &str) -> bool {
    text.len() == 6 && is_hexadecimal(text)
}

fn is_pair(text: &str) -> bool {
    text.len() == 2 && is_hexadecimal(text)
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The fields behind the network, up to the send time or the next place.
pub(super) fn push(message: &mut RecordBuilder<'_>, report: &Report<'_>, from: usize, to: usize) {
    let rest = &report.rest;
    if report.is_type(&GL5_TYPES) && to > from + 4 {
        on_battery(message, report, from, to);
        return;
    }
    let from = mask(message, report, from, to);
    match report.kind {
        "FRI" | "ERI" | "RTL" | "DOG" | "GEO" | "SPD" | "NMR" | "TOW" | "SOS" | "PNL" | "LBC" => {
            motion(message, report, from, to);
        }
        "IGN" | "IGF" | "VGN" | "VGF" => {
            let hours = (from..to).find_map(|at| hours(rest.at(at)));
            message.push_some(fields::ENGINE_MOTORHOURS, hours);
            if let Some(at) = (from..to).find(|at| rest.at(*at).contains('.')) {
                push_distance(message, rest.at(at));
            }
        }
        "IGL" | "DIS" | "HBM" | "CAN" | "OBD" => {
            if let Some(at) = (from..to).find(|at| rest.at(*at).contains('.')) {
                push_distance(message, rest.at(at));
            }
        }
        // all kinds end with the distance, if they have it, or the battery
        _ => {
            let (first, last) = (rest.at(from), rest.at(to.saturating_sub(1)));
            // two digits may be a mask as well, unless nothing or the mask stands before them
            let is_level = level(last).is_some()
                && (!is_pair(last) || matches!(rest.at(to.saturating_sub(2)), "" | "00"));
            if from < to && first.contains('.') && float(first).is_some() {
                push_distance(message, first);
                push_fields(message, "fields.behind", rest, from + 1, to);
            } else if from < to && is_level {
                message.push_some(fields::BATTERY_LEVEL, level(last));
                push_fields(message, "fields.behind", rest, from, to - 1);
            } else {
                push_fields(message, "fields.behind", rest, from, to);
            }
        }
    }
}

/// The mask behind the network and what it announces; gives back where it ends. Devices whose
/// version is younger than the mask have `00` there, or nothing.
fn mask(message: &mut RecordBuilder<'_>, report: &Report<'_>, from: usize, to: usize) -> usize {
    const SATELLITES: u8 = 1;
    const TRIGGER: u8 = 2;
    const JAMMING: u8 = 16;
    let rest = &report.rest;
    let text = rest.at(from);
    if text == "00" {
        let is_skipped = matches!(report.kind, "FRI" | "ERI" | "RTL" | "NMR");
        return from + usize::from(!is_skipped);
    }
    let announced = Some(text).filter(|text| is_pair(text));
    let Some(mask) = announced.and_then(|text| u8::from_str_radix(text, 16).ok()) else {
        return from;
    };
    let end = from + 1 + mask.count_ones() as usize;
    if mask & !(SATELLITES | TRIGGER | JAMMING) != 0 || end >= to {
        return from;
    }
    let mut at = from + 1;
    if mask & SATELLITES != 0 {
        let satellites = number::<u8>(rest.at(at)).filter(|count| *count <= 64);
        if satellites.is_none() && !rest.at(at).is_empty() {
            return from;
        }
        message.push_some(fields::POSITION_SATELLITES, satellites);
        at += 1;
    }
    if mask & TRIGGER != 0 {
        if let Some(trigger) = number::<u8>(rest.at(at)) {
            message.name("trigger", trigger);
        }
        at += 1;
    }
    if mask & JAMMING != 0
        && let Some(state) = number::<u8>(rest.at(at))
    {
        message.name("gnss.jamming", state);
    }
    end
}

/// Signal and its quality, battery in mV and percent, mode, motion, temperature.
fn on_battery(message: &mut RecordBuilder<'_>, report: &Report<'_>, from: usize, to: usize) {
    let rest = &report.rest;
    if matches!(report.kind, "STR" | "CTN" | "BPL") {
        push_fields(message, "fields.behind", rest, from, to);
        return;
    }
    let known = |at: usize| number::<u8>(rest.at(at)).filter(|value| *value != 99);
    message.push_some(fields::GSM_SIGNAL_ENUM, known(from));
    message.push_some(fields::GSM_SIGNAL_QUALITY, known(from + 1));
    if report.kind == "LSA" {
        if let Some(light) = number::<u8>(rest.at(from + 2)) {
            message.name("light.level", light);
        }
    } else {
        message.push_some(fields::BATTERY_VOLTAGE, millivolts(rest.at(from + 2)));
    }
    message.push_some(fields::BATTERY_LEVEL, level(rest.at(from + 3)));
    if let Some(mode) = number::<u8>(rest.at(from + 4)).filter(|_| from + 4 < to) {
        message.name("mode", mode);
    }
    match rest.at(from + 5) {
        "0" if from + 5 < to => message.push(fields::MOVEMENT_STATUS, false),
        "1" if from + 5 < to => message.push(fields::MOVEMENT_STATUS, true),
        _ => {}
    }
    let celsius =
        float(rest.at(from + 6)).filter(|_| from + 6 < to && rest.at(from + 6).contains('.'));
    message.push_some((fields::SENSOR_TEMPERATURE_N, 1), celsius);
    let behind = from + 6 + usize::from(celsius.is_some());
    push_fields(message, "fields.behind", rest, behind.min(to), to);
}

/// An analog input in mV, or with an `F` before it the fuel in percent.
fn push_analog(message: &mut RecordBuilder<'_>, input: u16, text: &str) {
    if let Some(percent) = text.strip_prefix('F') {
        message.push_some(fields::FUEL_LEVEL, float(percent));
    } else {
        message.push_some((fields::AIN_N, input), millivolts(text));
    }
}

/// The battery behind blanks only, at the end of the report.
fn last_level(rest: &Fields<'_>, from: usize, to: usize) -> Option<u8> {
    let (last, blanks) = rest.between(from, to).split_last()?;
    let is_alone = to == rest.len() && !blanks.is_empty() && blanks.iter().all(|b| b.is_empty());
    level(last).filter(|_| is_alone)
}

/// The tail of FRI and its like.
fn motion(message: &mut RecordBuilder<'_>, report: &Report<'_>, from: usize, to: usize) {
    let rest = &report.rest;
    // what lies behind `to` belongs to the next place
    let field = |at: usize| if at < to { rest.at(at) } else { "" };
    let level = |at: usize| level(field(at));
    let distance = (from..to).take(3).find(|at| field(*at).contains('.'));
    let status = (from + 1..to).find(|at| {
        let before = field(at - 1);
        is_status(field(*at)) && (before.is_empty() || level(at - 1).is_some())
    });
    if let Some(at) = distance {
        push_distance(message, field(at));
        message.push_some(fields::ENGINE_MOTORHOURS, hours(field(at + 1)));
    }
    let analog = |message: &mut RecordBuilder<'_>, end: usize| {
        let Some(at) = distance else {
            return;
        };
        for (at, input) in (at + 2..end).zip(1u16..) {
            push_analog(message, input, field(at));
        }
    };
    let after = if let Some(at) = status {
        analog(message, at - 1);
        message.push_some(fields::BATTERY_LEVEL, level(at - 1));
        let text = field(at);
        state::push(message, text.get(..2).unwrap_or_default());
        state::push_inputs(message, text.get(2..4).unwrap_or_default());
        state::push_outputs(message, text.get(4..).unwrap_or_default());
        at + 1
    } else if let Some(at) = distance.filter(|at| is_pair(field(at + 5)) && is_pair(field(at + 6)))
    {
        // inputs and outputs in fields of their own (GV200)
        analog(message, at + 5);
        state::push_inputs(message, field(at + 5));
        state::push_outputs(message, field(at + 6));
        at + 7
    } else if let Some(at) = distance.filter(|at| state::is_state(field(at + 5))) {
        message.push_some(fields::BATTERY_LEVEL, level(at + 4));
        state::push(message, field(at + 5));
        at + 6
    } else if let Some(level) = last_level(rest, distance.map_or(from, |at| at + 1), to) {
        message.push(fields::BATTERY_LEVEL, level);
        to
    } else if let Some(at) = distance.filter(|at| at + 3 < to) {
        analog(message, at + 4);
        at + 4
    } else if from + 3 < to && field(from + 2).is_empty() && level(from + 3).is_some() {
        message.push_some(fields::BATTERY_LEVEL, level(from + 3));
        from + 4
    } else if let Some(level) = level(from + 1) {
        message.push(fields::BATTERY_LEVEL, level);
        from + 2
    } else if let Some(level) = level(from + 2) {
        message.push(fields::BATTERY_LEVEL, level);
        from + 3
    } else if let Some(level) = level(from).filter(|_| to == from + 1 && field(from) != "00") {
        message.push(fields::BATTERY_LEVEL, level);
        to
    } else {
        distance.map_or(from, |at| at + 1)
    };
    extension(message, report, after, to);
}

/// What the mask of ERI and the engine add behind the state.
fn extension(message: &mut RecordBuilder<'_>, report: &Report<'_>, from: usize, to: usize) {
    let rest = &report.rest;
    if report.is_type(&OBD_TYPES) {
        if from + 2 < to {
            message.push_some(fields::CAN_ENGINE_RPM, number::<u32>(rest.at(from)));
            message.push_some(fields::FUEL_CONSUMPTION, float(rest.at(from + 1)));
            message.push_some(fields::FUEL_LEVEL, float(rest.at(from + 2)));
        }
        push_fields(message, "fields.behind", rest, from + 3, to);
        return;
    }
    let announced = (0..3).find_map(|at| {
        let text = rest.at(at);
        (text.len() == 8).then(|| u32::from_str_radix(text, 16).ok())?
    });
    let at = match announced.filter(|_| report.kind == "ERI") {
        Some(mask) => accessory::push(message, report, mask, from, to),
        None => from,
    };
    if rest.between(from, to) != ["00"] {
        push_fields(message, "fields.behind", rest, at, to);
    }
}

/// A report without a place and without a network: the level that stands behind the blanks.
pub(super) fn blank(message: &mut RecordBuilder<'_>, report: &Report<'_>) {
    let rest = &report.rest;
    if !matches!(report.kind, "FRI" | "ERI" | "RTL" | "NMR") {
        return;
    }
    let filled = |at: &usize| !rest.at(*at).is_empty();
    let blanks =
        (1..rest.len()).find(|at| (*at..at + BEFORE_TIME).all(|at| rest.at(at).is_empty()));
    if let Some(from) = blanks.and_then(|at| (at..rest.len()).find(filled)) {
        if report.is_type(&GL5_TYPES) && rest.len() > from + 4 {
            on_battery(message, report, from, rest.len());
        } else {
            motion(message, report, from, rest.len());
        }
    }
}
