//! Reports: what each kind has before and behind its places.

use super::tail::{self, level, millivolts, push_fields};
use super::text::{
    BEFORE_TIME, Fields, NETWORK, Place, Report, cell, clock, is_vin, places, push_place,
};
use super::{accessory, can, info, state};
use crate::contract::{Context, Login, ParamId, RecordBuilder, Reject, Reply, Time, fields};
use crate::kit::cells;
use crate::kit::parse::{float, number};
use crate::kit::{hex, time};

/// The most cells of a report.
const CELLS_MAX: usize = 16;
/// The most access points of a report.
const WIFI_MAX: usize = 32;

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
            tail::push(&mut message, report, at + NETWORK, rest.len());
        } else {
            tail::blank(&mut message, report);
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
        tail::push(&mut message, report, from, to);
    }
    Ok(())
}

/// The network behind a place, or a list of access points before it; gives back where it ends.
fn behind(message: &mut RecordBuilder<'_>, rest: &Fields<'_>, place: Place) -> usize {
    let mut at = place.time_at + 1;
    if let Some(end) = access_points(message, rest, at) {
        at = end;
    }
    if let Some(cell) = cell(rest, at) {
        cells::push(message, 0, cell);
    }
    at + NETWORK
}

/// A list of access points that begins with its count; gives back where it ends.
fn access_points(message: &mut RecordBuilder<'_>, rest: &Fields<'_>, at: usize) -> Option<usize> {
    const WIFI_FIELDS: usize = 5;
    let count: usize = number(rest.at(at)).filter(|count| (1..=WIFI_MAX).contains(count))?;
    if !is_mac(rest.at(at + 1)) {
        return None;
    }
    for (point, number_of) in (0..count).zip(1u16..) {
        let field = at + 1 + point * WIFI_FIELDS;
        if !is_mac(rest.at(field)) {
            return Some(field);
        }
        message.push((fields::WIFI_MAC_N, number_of), rest.at(field));
        let dbm: Option<i64> = number(rest.at(field + 1));
        message.push_some((fields::WIFI_SIGNAL_DBM_N, number_of), dbm);
    }
    Some(at + 1 + count * WIFI_FIELDS)
}

fn is_mac(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What is said by the kind itself, whatever its fields are.
fn event(kind: &str) -> Option<(ParamId, bool)> {
    Some(match kind {
        "SOS" => (fields::ALARM_EVENT_TRIGGER, true),
        "PNA" => (fields::POWER_ON_EVENT_TRIGGER, true),
        "PFA" => (fields::POWER_OFF_EVENT_TRIGGER, true),
        "MPN" | "EPN" => (fields::POWER_RESTORED_EVENT_TRIGGER, true),
        "MPF" | "EPF" => (fields::POWER_CUT_EVENT_TRIGGER, true),
        "BPL" => (fields::BATTERY_LOW_EVENT_TRIGGER, true),
        "BTC" => (fields::BATTERY_CHARGING_STATUS, true),
        "STC" => (fields::BATTERY_CHARGING_STATUS, false),
        "IGN" | "VGN" => (fields::ENGINE_IGNITION_STATUS, true),
        "IGF" | "VGF" => (fields::ENGINE_IGNITION_STATUS, false),
        "TEM" | "TMP" => (fields::TEMPERATURE_EVENT_TRIGGER, true),
        "TOW" => (fields::TOWING_EVENT_TRIGGER, true),
        "IDN" | "IDL" => (fields::IDLE_EVENT_TRIGGER, true),
        "SPD" => (fields::OVERSPEEDING_EVENT_TRIGGER, true),
        "GIN" => (fields::GEOFENCE_EVENT_ENTER, true),
        "GOT" => (fields::GEOFENCE_EVENT_EXIT, true),
        "JDR" | "JDS" => (fields::GSM_JAMMING_EVENT_TRIGGER, true),
        "CRA" | "CRD" => (fields::CRASH_EVENT_TRIGGER, true),
        "ANT" => (fields::GNSS_ANTENNA_CUT_EVENT_TRIGGER, true),
        _ => return None,
    })
}

/// The fields before the accuracy of the first place.
fn head(message: &mut RecordBuilder<'_>, report: &Report<'_>, end: usize) {
    let rest = &report.rest;
    let name_at = usize::from(is_vin(rest.at(0)));
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
        "STC" => message.push_some(fields::BATTERY_VOLTAGE, float(last)),
        "LBC" => message.push(fields::GSM_PHONE, last),
        "STR" | "CTN" => {
            message.push_some(fields::DEVICE_TEMPERATURE, float(rest.at(first + 3)));
            push_level(message, rest.at(first + 4));
            push_fields(message, "fields.before", rest, first, (first + 3).min(end));
        }
        "LBS" => push_level(message, rest.at(first + 2)),
        "CAN" => can::push_can(message, report, first, end),
        "OBD" => can::push_obd(message, report, first, end),
        "BID" => announced(message, rest, first, first + 2, end),
        "BAA" => announced(message, rest, first, first + 4, end),
        "IDA" => {
            let id = rest.at(first + 1);
            if !id.is_empty() {
                message.push(fields::DRIVER_ID, id);
            }
            push_fields(message, "fields.before", rest, first + 2, end);
        }
        "DAR" => {
            let (warning, degree) = (rest.at(first), number::<u8>(rest.at(first + 1)));
            if warning == "1" {
                message.push(fields::FATIGUE_EVENT_TRIGGER, true);
                if let Some(degree) = degree {
                    message.name("fatigue.degree", degree);
                }
            } else if let Some(warning) = number::<u8>(warning) {
                message.name("warning.type", warning);
            }
        }
        "WIF" => {
            let behind = access_points(message, rest, first);
            push_level(message, last);
            if behind.is_none() {
                push_fields(message, "fields.before", rest, first, end);
            }
        }
        "DTT" => serial_data(message, rest, first, end),
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
        .and_then(millivolts);
    message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
    let on = reason.ends_with('1');
    match (report.kind, reason.as_bytes()) {
        ("IGL", [_, b'0' | b'1']) => message.push(fields::ENGINE_IGNITION_STATUS, on),
        ("DIS", [input @ b'1'..=b'9', b'0' | b'1']) => {
            message.push((fields::DIN_N, u16::from(input - b'0')), on);
        }
        ("NMR", [b'0' | b'1']) => message.push(fields::MOVEMENT_STATUS, on),
        ("HBM", [_, b'0' | b'3']) => message.push(fields::HARSH_BRAKING_EVENT_TRIGGER, true),
        ("HBM", [_, b'1' | b'4']) => message.push(fields::HARSH_ACCELERATION_EVENT_TRIGGER, true),
        ("HBM", [_, b'2']) => message.push(fields::HARSH_CORNERING_EVENT_TRIGGER, true),
        ("GEO", [.., b'1']) => message.push(fields::GEOFENCE_EVENT_ENTER, true),
        ("GEO", [.., b'0']) => message.push(fields::GEOFENCE_EVENT_EXIT, true),
        _ => {}
    }
}

fn push_level(message: &mut RecordBuilder<'_>, text: &str) {
    message.push_some(fields::BATTERY_LEVEL, level(text));
}

/// A Bluetooth accessory: its mask stands at `at`, and what that announces behind it.
fn announced(
    message: &mut RecordBuilder<'_>,
    rest: &Fields<'_>,
    first: usize,
    at: usize,
    end: usize,
) {
    push_fields(message, "fields.before", rest, first, at.min(end));
    let mut next_at = at + 1;
    let next = || {
        let text = (next_at < end).then(|| rest.at(next_at));
        next_at += 1;
        text
    };
    // it is read as far as it goes
    let _ = accessory::push_readings(message, 1, rest.at(at), next);
}

/// What came over the serial port: a fuel sensor's line, or anything.
fn serial_data(message: &mut RecordBuilder<'_>, rest: &Fields<'_>, first: usize, end: usize) {
    let data = (first..end).rev().map(|at| rest.at(at));
    let data = data.filter(|text| text.len() >= 2).find_map(hex::decode);
    let Some(data) = data else {
        push_fields(message, "fields.before", rest, first, end);
        return;
    };
    let text = String::from_utf8_lossy(&data);
    let fuel = text
        .split_once("COMB,")
        .and_then(|(_, fields)| fields.split(',').nth(1));
    message.push_some(fields::FUEL_LEVEL, fuel.and_then(float));
    message.push(fields::TEXT_MESSAGE, text.trim());
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
