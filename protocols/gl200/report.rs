//! Reports: what each kind has before and behind its places.

use super::text::{BEFORE_TIME, Fields, NETWORK, Place, Report, cell, clock, places, push_place};
use super::{can, info, state};
use crate::contract::{Context, Login, ParamId, RecordBuilder, Reject, Reply, Time, fields};
use crate::kit::cells;
use crate::kit::parse::{float, number};
use crate::kit::time;
use crate::kit::units::round;

/// The most cells of a report.
const CELLS_MAX: usize = 16;
/// The most temperature sensors of a report.
const SENSORS_MAX: u16 = 16;
/// Devices that read the engine by OBD and say so behind their state.
const OBD_TYPES: [&str; 2] = ["1F", "36"];

/// Reads a frame of text.
pub(super) fn read(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let report = Report::parse(frame)?;
    let waits = {
        let settings = cx.identify(Login::of(report.ident))?;
        let format = settings.format.as_ref();
        format.is_some_and(|format| format.eq_ignore_ascii_case("sack"))
    };
    let Report {
        mark,
        kind,
        version,
        count,
        ..
    } = report;
    if mark == "+ACK" {
        if kind == "HBD" {
            cx.reply(Reply::open(format!("+SACK:GTHBD,{version},{count}$")));
            return Ok(());
        }
        let result = format!("+ACK:GT{kind}");
        cx.command_reply(None, report.rest.text(0, report.rest.len()));
        let time = sent(&report, cx);
        let mut message = cx.message(time)?;
        envelope(&mut message, &report);
        message.push(fields::COMMAND_TYPE, kind);
        message.push(fields::COMMAND_RESULT, &*result);
        push_fields(
            &mut message,
            "fields.behind",
            &report.rest,
            0,
            report.rest.len(),
        );
    } else {
        match kind {
            "INF" => {
                let time = sent(&report, cx);
                let mut message = cx.message(time)?;
                envelope(&mut message, &report);
                info::push(&mut message, &report);
            }
            _ => located(&report, cx)?,
        }
    }
    if waits && mark != "+ACK" {
        cx.reply(Reply::stored(format!("+SACK:{count}$")));
    }
    Ok(())
}

/// The time at which the device sent the report.
fn sent(report: &Report<'_>, cx: &Context<'_>) -> Time {
    if report.send_time.trim().is_empty() {
        return Time::Received(cx.now_ms);
    }
    let ms = clock(report.send_time).and_then(|civil| civil.ms(cx.settings()));
    time::or_impossible(ms, cx.now_ms)
}

fn envelope(message: &mut RecordBuilder<'_>, report: &Report<'_>) {
    message.push(fields::MESSAGE_TYPE, report.kind);
    message.push(fields::PROTOCOL_VERSION, report.version);
    if report.mark == "+BUFF" {
        message.push(fields::MESSAGE_BUFFERED_STATUS, true);
    }
    if let Ok(count) = u32::from_str_radix(report.count, 16) {
        message.push(fields::FRAME_SEQNUM, count);
    }
}

/// Adds fields that have no name here, if there is anything in them.
fn push_fields(
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

/// A report with places, or with none where it could have one: a message for each.
fn located(report: &Report<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let rest = &report.rest;
    let places = places(rest);
    let Some(first) = places.first() else {
        let time = sent(report, cx);
        let mut message = cx.message(time)?;
        envelope(&mut message, report);
        // blank fields of a place, and then perhaps the network
        let network = (1..rest.len()).find(|at| cell(rest, *at).is_some());
        let from = match (report.kind, network) {
            (kind, Some(at)) if !matches!(kind, "GSM" | "LBS") => {
                at.saturating_sub(BEFORE_TIME + 1)
            }
            _ => rest.len(),
        };
        let is_place = matches!(report.kind, "FRI" | "ERI" | "RTL" | "NMR" | "GSM" | "LBS");
        if is_place || from < rest.len() {
            message.push(fields::POSITION_VALID, false);
        }
        if from < rest.len() {
            message.push_some(fields::POSITION_HDOP, number::<u8>(rest.at(from)));
        }
        head(&mut message, report, from);
        if matches!(report.kind, "GSM" | "LBS") {
            cell_list(&mut message, report);
        } else if let Some(at) = network {
            if let Some(cell) = cell(rest, at) {
                cells::push(&mut message, 0, cell);
            }
            tail(&mut message, report, at + NETWORK, rest.len());
        } else {
            blank_tail(&mut message, report);
        }
        return Ok(());
    };
    let head_end = first.time_at - BEFORE_TIME;
    for (index, place) in places.iter().enumerate() {
        let next = places.get(index + 1);
        let ms = place.time.utc_ms();
        let mut message = cx.message(time::or_impossible(ms, 0))?;
        envelope(&mut message, report);
        let unfixed = rest.at(place.time_at - BEFORE_TIME) == "0";
        message.push(fields::POSITION_VALID, !(report.kind == "CAN" && unfixed));
        push_place(&mut message, rest, *place);
        head(&mut message, report, head_end);
        let from = behind(&mut message, rest, *place);
        let to = next.map_or(rest.len(), |next| next.time_at - BEFORE_TIME);
        tail(&mut message, report, from, to);
    }
    Ok(())
}

/// The network behind a place, or a list of access points before it; gives back where it ends.
fn behind(message: &mut RecordBuilder<'_>, rest: &Fields<'_>, place: Place) -> usize {
    const WIFI_FIELDS: usize = 5;
    const WIFI_MAX: usize = 32;
    let mut at = place.time_at + 1;
    let count: Option<usize> = number(rest.at(at)).filter(|count| (1..=WIFI_MAX).contains(count));
    if let Some(count) = count.filter(|_| is_mac(rest.at(at + 1))) {
        for (point, number_of) in (0..count).zip(1u16..) {
            let field = at + 1 + point * WIFI_FIELDS;
            message.push((fields::WIFI_MAC_N, number_of), rest.at(field));
            let dbm: Option<i64> = number(rest.at(field + 1));
            message.push_some((fields::WIFI_SIGNAL_DBM_N, number_of), dbm);
        }
        at += 1 + count * WIFI_FIELDS;
    }
    if let Some(cell) = cell(rest, at) {
        cells::push(message, 0, cell);
    }
    at + NETWORK
}

fn is_mac(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_vin(text: &str) -> bool {
    text.len() == 17 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// What is said by the kind itself, whatever its fields are.
fn event(kind: &str) -> Option<(ParamId, bool)> {
    Some(match kind {
        "SOS" => (fields::ALARM_EVENT_TRIGGER, true),
        "PNA" => (fields::POWER_ON_EVENT_TRIGGER, true),
        "PFA" => (fields::POWER_OFF_EVENT_TRIGGER, true),
        "MPN" => (fields::POWER_RESTORED_EVENT_TRIGGER, true),
        "MPF" => (fields::POWER_CUT_EVENT_TRIGGER, true),
        "BPL" => (fields::BATTERY_LOW_EVENT_TRIGGER, true),
        "BTC" => (fields::BATTERY_CHARGING_STATUS, true),
        "STC" => (fields::BATTERY_CHARGING_STATUS, false),
        "IGN" | "VGN" => (fields::ENGINE_IGNITION_STATUS, true),
        "IGF" | "VGF" => (fields::ENGINE_IGNITION_STATUS, false),
        "TEM" | "TMP" => (fields::TEMPERATURE_EVENT_TRIGGER, true),
        "TOW" => (fields::TOWING_EVENT_TRIGGER, true),
        "IDN" => (fields::IDLE_EVENT_TRIGGER, true),
        "JDR" | "JDS" => (fields::GSM_JAMMING_EVENT_TRIGGER, true),
        "CRA" | "CRD" => (fields::CRASH_EVENT_TRIGGER, true),
        "ANT" => (fields::GNSS_ANTENNA_CUT_EVENT_TRIGGER, true),
        _ => return None,
    })
}

/// The fields before the accuracy of the first place.
fn head(message: &mut RecordBuilder<'_>, report: &Report<'_>, end: usize) {
    let rest = &report.rest;
    let name_at = usize::from(is_vin(rest.at(0)) && report.is_type(&["1F", "36", "2D"]));
    if name_at == 1 {
        message.push(fields::VEHICLE_VIN, rest.at(0));
    }
    if !rest.at(name_at).is_empty() {
        message.name("name", rest.at(name_at));
    }
    if let Some((id, value)) = event(report.kind) {
        message.push(id, value);
    }
    let first = name_at + 1;
    let last = rest.at(end.saturating_sub(1));
    match report.kind {
        "FRI" | "ERI" | "RTL" | "DOG" | "GEO" | "SPD" | "NMR" | "DIS" | "IGL" | "HBM" | "TOW"
        | "SOS" => {
            reasons(message, report, first, end);
        }
        "STT" if state::is_state(last) => {
            state::push(message, last);
            if last.ends_with('2') {
                message.push(fields::MOVEMENT_EVENT_TRIGGER, true);
            }
        }
        "IGN" | "IGF" | "VGN" | "VGF" => {
            if let Some(seconds) = number::<u32>(last) {
                message.name("duration", seconds);
            }
        }
        "LSW" | "TSW" => {
            let input = if report.kind == "LSW" { 1 } else { 2 };
            match rest.at(first + 1) {
                "0" => message.push((fields::DIN_N, input), false),
                "1" => message.push((fields::DIN_N, input), true),
                _ => {}
            }
        }
        "BPL" => {
            let volts = float(last).filter(|volts| (0.0..20.0).contains(volts));
            message.push_some(fields::BATTERY_VOLTAGE, volts);
        }
        "LBC" => message.push(fields::GSM_PHONE, last),
        "STR" => {
            message.push_some(fields::DEVICE_TEMPERATURE, float(rest.at(first + 3)));
            push_level(message, rest.at(first + 4));
            push_fields(message, "fields.before", rest, first, (first + 3).min(end));
        }
        "LBS" => push_level(message, rest.at(first + 2)),
        "CAN" => can::push_can(message, report, first, end),
        "OBD" => can::push_obd(message, report, first, end),
        "BID" | "BAA" => {
            let mac = rest.at(end.saturating_sub(2));
            if is_mac(mac) {
                message.push((fields::BLUETOOTH_MAC_N, 1), mac);
                let volts = number::<u16>(last).map(|mv| f64::from(mv) / 1000.0);
                message.push_some((fields::BLE_SENSOR_BATTERY_VOLTAGE_N, 1), volts);
            }
            push_fields(message, "fields.before", rest, first, end.saturating_sub(2));
        }
        "GSM" => {}
        "VER" => {
            message.push(fields::DEVICE_MODEL, rest.at(first));
            message.push(fields::DEVICE_FIRMWARE_VERSION, rest.at(first + 1));
            message.push(fields::DEVICE_HARDWARE_VERSION, rest.at(first + 2));
        }
        "CID" => message.push(fields::GSM_SIM_ICCID, rest.at(first)),
        "CSQ" => {
            let known = |at: usize| number::<u8>(rest.at(at)).filter(|value| *value != 99);
            message.push_some(fields::GSM_SIGNAL_ENUM, known(first));
            message.push_some(fields::GSM_SIGNAL_QUALITY, known(first + 1));
        }
        "BAT" => {
            let status = |at: usize| number::<u8>(rest.at(at)).map(|on| on != 0);
            message.push_some(fields::EXTERNAL_POWERSOURCE_STATUS, status(first));
            push_level(message, rest.at(first + 2));
            message.push_some(fields::BATTERY_VOLTAGE, float(rest.at(first + 3)));
            message.push_some(fields::BATTERY_CHARGING_STATUS, status(first + 4));
        }
        "DAT" => message.push(fields::TEXT_MESSAGE, last),
        _ => push_fields(message, "fields.before", rest, first, end),
    }
}

/// Supply, reason and number: what a report of a place begins with.
fn reasons(message: &mut RecordBuilder<'_>, report: &Report<'_>, first: usize, end: usize) {
    let rest = &report.rest;
    let reason = rest.at(end.saturating_sub(2));
    let reason = if end >= first + 2 { reason } else { "" };
    if !reason.is_empty() {
        message.push(fields::EVENT_NAME, reason);
    }
    // the devices that run on their own battery have another small number in the supply's place
    let volts = (first..end.saturating_sub(2))
        .map(|at| rest.at(at))
        .find(|text| (3..=5).contains(&text.len()))
        .and_then(number::<u32>);
    let volts = volts.map(|mv| f64::from(mv) / 1000.0);
    message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
    let on = reason.ends_with('1');
    match (report.kind, reason.as_bytes()) {
        ("IGL", [_, b'0' | b'1']) => message.push(fields::ENGINE_IGNITION_STATUS, on),
        ("DIS", [input @ b'1'..=b'9', b'0' | b'1']) => {
            message.push((fields::DIN_N, u16::from(input - b'0')), on);
        }
        ("NMR", [b'0' | b'1']) => message.push(fields::MOVEMENT_STATUS, on),
        ("HBM", [_, b'0']) => message.push(fields::HARSH_BRAKING_EVENT_TRIGGER, true),
        ("HBM", [_, b'1']) => message.push(fields::HARSH_ACCELERATION_EVENT_TRIGGER, true),
        ("HBM", [_, b'2']) => message.push(fields::HARSH_CORNERING_EVENT_TRIGGER, true),
        ("SPD", [.., b'1']) => message.push(fields::OVERSPEEDING_EVENT_TRIGGER, true),
        ("SPD", [.., b'0']) => message.push(fields::OVERSPEEDING_STATUS, false),
        ("GEO", [.., b'1']) => message.push(fields::GEOFENCE_EVENT_ENTER, true),
        ("GEO", [.., b'0']) => message.push(fields::GEOFENCE_EVENT_EXIT, true),
        _ => {}
    }
}

fn push_level(message: &mut RecordBuilder<'_>, text: &str) {
    let level = number::<u8>(text).filter(|level| *level <= 100);
    message.push_some(fields::BATTERY_LEVEL, level);
}

fn push_distance(message: &mut RecordBuilder<'_>, text: &str) {
    let km = float(text).filter(|_| text.contains('.'));
    message.push_some(fields::VEHICLE_MILEAGE, km);
}

/// `hours:minutes:seconds`
fn hours(text: &str) -> Option<f64> {
    let mut parts = text.split(':').map(number::<u32>);
    let (Some(hours), Some(minutes), Some(seconds), None) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next())
    else {
        return None;
    };
    let hours = f64::from(hours) + f64::from(minutes) / 60.0 + f64::from(seconds) / 3600.0;
    Some(round(hours, 6))
}

/// Two groups of two digits behind the state.
fn is_status(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The fields behind the network, up to the send time or the next place.
fn tail(message: &mut RecordBuilder<'_>, report: &Report<'_>, from: usize, to: usize) {
    let rest = &report.rest;
    let from = mask(message, report, from, to);
    match report.kind {
        "FRI" | "ERI" | "RTL" | "DOG" | "GEO" | "SPD" | "NMR" | "TOW" | "SOS" => {
            motion_tail(message, report, from, to);
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
        _ => push_fields(message, "fields.behind", rest, from, to),
    }
}

/// The mask behind the network and what it announces; gives back where it ends. Devices whose
/// version is younger than the mask have `00` there, or nothing.
fn mask(message: &mut RecordBuilder<'_>, report: &Report<'_>, from: usize, to: usize) -> usize {
    let rest = &report.rest;
    let text = rest.at(from);
    let satellites = number::<u8>(rest.at(from + 1)).filter(|count| *count <= 64);
    match text {
        "01" | "03" if from + 2 < to && satellites.is_some() => {
            message.push_some(fields::POSITION_SATELLITES, satellites);
            from + 2 + usize::from(text == "03")
        }
        "02" if from + 2 < to => from + 2,
        "00" if !matches!(report.kind, "FRI" | "ERI" | "RTL" | "NMR") => from + 1,
        _ => from,
    }
}

/// The tail of FRI and its like.
fn motion_tail(message: &mut RecordBuilder<'_>, report: &Report<'_>, from: usize, to: usize) {
    let rest = &report.rest;
    // what lies behind `to` belongs to the next place
    let field = |at: usize| if at < to { rest.at(at) } else { "" };
    let level = |at: usize| number::<u8>(field(at)).filter(|level| *level <= 100);
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
            let volts = number::<u32>(field(at)).map(|mv| f64::from(mv) / 1000.0);
            message.push_some((fields::AIN_N, input), volts);
        }
    };
    let is_pair = |at: usize| {
        let text = field(at);
        text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let after = if let Some(at) = status {
        analog(message, at - 1);
        message.push_some(fields::BATTERY_LEVEL, level(at - 1));
        let text = field(at);
        state::push(message, text.get(..2).unwrap_or_default());
        state::push_inputs(message, text.get(2..4).unwrap_or_default());
        state::push_outputs(message, text.get(4..).unwrap_or_default());
        at + 1
    } else if let Some(at) = distance.filter(|at| is_pair(at + 5) && is_pair(at + 6)) {
        // inputs and outputs in fields of their own (GV200)
        analog(message, at + 5);
        state::push_inputs(message, field(at + 5));
        state::push_outputs(message, field(at + 6));
        at + 7
    } else if let Some(at) = distance.filter(|at| state::is_state(field(at + 5))) {
        message.push_some(fields::BATTERY_LEVEL, level(at + 4));
        state::push(message, field(at + 5));
        at + 6
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
    } else {
        distance.map_or(from, |at| at + 1)
    };
    extension(message, report, after, to);
}

/// What the mask of ERI and the engine add behind the state.
fn extension(message: &mut RecordBuilder<'_>, report: &Report<'_>, from: usize, to: usize) {
    const TEMPERATURE: u32 = 2;
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
    let mut at = from;
    if report.kind == "ERI" && announced.is_some_and(|mask| mask & TEMPERATURE != 0) {
        let count = number::<u16>(rest.at(from + 1)).unwrap_or(0);
        at = from + 2;
        for sensor in 1..=count.min(SENSORS_MAX) {
            let (id, reading) = (rest.at(at), rest.at(at + 2));
            if id.len() != 16 || at + 2 >= to {
                break;
            }
            message.push((fields::SENSOR_ID_N, sensor), id);
            if let (4, Ok(raw)) = (reading.len(), u16::from_str_radix(reading, 16)) {
                let celsius = f64::from(raw.cast_signed()) / 16.0;
                message.push((fields::SENSOR_TEMPERATURE_N, sensor), celsius);
            }
            at += 3;
        }
    }
    if rest.between(from, to) != ["00"] {
        push_fields(message, "fields.behind", rest, at, to);
    }
}

/// A report without a place and without a network: the level that stands behind the blanks.
fn blank_tail(message: &mut RecordBuilder<'_>, report: &Report<'_>) {
    let rest = &report.rest;
    if !matches!(report.kind, "FRI" | "ERI" | "RTL" | "NMR") {
        return;
    }
    let filled = |at: &usize| !rest.at(*at).is_empty();
    let blanks =
        (1..rest.len()).find(|at| (*at..at + BEFORE_TIME).all(|at| rest.at(at).is_empty()));
    if let Some(from) = blanks.and_then(|at| (at..rest.len()).find(filled)) {
        motion_tail(message, report, from, rest.len());
    }
}

/// A list of cells, the one that serves last.
fn cell_list(message: &mut RecordBuilder<'_>, report: &Report<'_>) {
    const CELL_FIELDS: usize = 6;
    let rest = &report.rest;
    let Some(start) = (1..rest.len()).find(|at| cell(rest, *at).is_some()) else {
        return;
    };
    let found = (start..rest.len())
        .step_by(CELL_FIELDS)
        .filter_map(|at| Some((cell(rest, at)?, rest.at(at + NETWORK))));
    let found: smallvec::SmallVec<[_; CELLS_MAX]> = found.take(CELLS_MAX).collect();
    let Some(((serving, level), neighbours)) = found.split_last() else {
        return;
    };
    cells::push(message, 0, *serving);
    message.push_some(fields::GSM_SIGNAL_ENUM, number::<u8>(level));
    for ((neighbour, level), index) in neighbours.iter().zip(1u16..) {
        cells::push(message, index, *neighbour);
        message.push_some((fields::GSM_SIGNAL_ENUM_N, index), number::<u8>(level));
    }
}
