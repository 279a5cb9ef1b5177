//! A report: where the vehicle is and how it does, then a tail of the maker's own.

use super::neighbours;
use super::parts::{bits, clock, from_place, place, push_text};
use crate::contract::{Context, ParamId, RecordBuilder, Reject, fields};
use crate::kit::parse::{float, number};
use crate::kit::time;

const MISFIT: Reject = Reject::new("report", "its fields do not fit", 0);
/// Fields of the neighbours where a maker sends them all.
const NEIGHBOUR_FIELDS: usize = 12;
/// The most fields of neighbours that are looked at.
const NEIGHBOUR_FIELDS_MAX: usize = 24;

/// Reads what stands `before` the IMEI and `after` it. The last field is a verified checksum of
/// `sum_digits` digits, if that is not 0.
pub(super) fn report(
    before: &[&str],
    after: &[&str],
    sum_digits: usize,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let [vehicle, ref rest @ ..] = *after else {
        return Err(MISFIT);
    };
    let is_fix = |text: &str| matches!(text, "0" | "1" | "A" | "V");
    let (fix, rest) = match *rest {
        [fix, ref rest @ ..] if is_fix(fix) => (Some(fix), rest),
        ["", ref rest @ ..] if clock(rest).is_some() => (None, rest),
        ref rest => (None, rest),
    };
    // a maker may leave the vehicle out
    let (vehicle, mut fix) = match fix {
        None if is_fix(vehicle) => ("", Some(vehicle)),
        fix => (vehicle, fix),
    };
    let (civil, rest) = match clock(rest) {
        Some(read) => read,
        // without a clock: from the place on, if there is one
        None => (None, from_place(rest)),
    };
    let rest = match *rest {
        [later, ref rest @ ..] if is_fix(later) => {
            fix = Some(later);
            rest
        }
        ["", ref rest @ ..] if matches!(rest, [_, "N" | "S", _, "E" | "W", ..]) => rest,
        ref rest => rest,
    };
    let [lat, ns, lon, ew, ref rest @ ..] = *rest else {
        return Err(MISFIT);
    };
    let place = place([lat, ns, lon, ew]);
    let ms = civil.and_then(|civil| civil.ms(cx.settings()));
    let mut message = cx.message(time::or_impossible(ms, cx.now_ms))?;
    push_head(before, &mut message);
    push_text(&mut message, fields::VEHICLE_PLATE, vehicle);
    let valid = matches!(fix, Some("1" | "A")) && place.is_some();
    message.push(fields::POSITION_VALID, valid);
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    let rest = push_motion(rest, &mut message);
    push_state(rest, sum_digits, &mut message);
    Ok(())
}

/// Head, vendor, firmware, type, alert, and whether it is from memory.
fn push_head(before: &[&str], message: &mut RecordBuilder<'_>) {
    let (buffered, before) = match before {
        [before @ .., memory @ ("H" | "L")] => (*memory == "H", before),
        before => (false, before),
    };
    let (alert, before) = match *before {
        [ref before @ .., alert] if before.len() > 1 && number::<u16>(alert).is_some() => {
            (number::<u16>(alert), before)
        }
        ref before => (None, before),
    };
    let kind = match *before {
        [head, vendor, firmware, kind] => {
            push_text(message, fields::VENDOR_CODE, vendor);
            push_text(message, fields::DEVICE_FIRMWARE_VERSION, firmware);
            message.name("head", head);
            kind
        }
        [.., kind] => kind,
        [] => "",
    };
    message.push(fields::MESSAGE_TYPE, kind);
    message.push_some(fields::EVENT_ENUM, alert);
    if buffered {
        message.push(fields::MESSAGE_BUFFERED_STATUS, true);
    }
    let trigger = trigger_of_kind(kind).or_else(|| match kind {
        // what a report's alert says, its type has said already
        "NR" => None,
        _ => alert.and_then(trigger_of_alert),
    });
    if let Some(trigger) = trigger {
        message.push(trigger, true);
    }
    if matches!(kind, "IN" | "IF") {
        message.push(fields::ENGINE_IGNITION_STATUS, kind == "IN");
    }
}

fn trigger_of_kind(kind: &str) -> Option<ParamId> {
    Some(match kind {
        "EA" | "EMR" => fields::ALARM_EVENT_TRIGGER,
        "TA" | "WD" => fields::TAMPERING_EVENT_TRIGGER,
        "IN" => fields::IGNITION_ON_EVENT_TRIGGER,
        "IF" => fields::IGNITION_OFF_EVENT_TRIGGER,
        "BD" => fields::POWER_CUT_EVENT_TRIGGER,
        "BR" => fields::POWER_RESTORED_EVENT_TRIGGER,
        "BL" => fields::BATTERY_LOW_EVENT_TRIGGER,
        "HB" => fields::HARSH_BRAKING_EVENT_TRIGGER,
        "HA" => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        "RT" => fields::HARSH_CORNERING_EVENT_TRIGGER,
        "OS" => fields::OVERSPEEDING_EVENT_TRIGGER,
        _ => return None,
    })
}

fn trigger_of_alert(alert: u16) -> Option<ParamId> {
    trigger_of_kind(match alert {
        3 => "BD",
        4 => "BL",
        6 => "BR",
        7 => "IN",
        8 => "IF",
        9 => "TA",
        10 => "EA",
        13 => "HB",
        14 => "HA",
        15 => "RT",
        16 => "WD",
        17 => "OS",
        _ => return None,
    })
}

/// Speed to the dilutions; gives back what is behind.
fn push_motion<'a, 'f>(parts: &'a [&'f str], message: &mut RecordBuilder<'_>) -> &'a [&'f str] {
    let params = [
        fields::POSITION_SPEED,
        fields::POSITION_DIRECTION,
        fields::POSITION_SATELLITES,
        fields::POSITION_ALTITUDE,
        fields::POSITION_PDOP,
        fields::POSITION_HDOP,
    ];
    for (param, value) in params.into_iter().zip(parts) {
        message.push_some(param, float(value));
    }
    parts.get(params.len()..).unwrap_or_default()
}

/// The operator to the end.
fn push_state(parts: &[&str], sum_digits: usize, message: &mut RecordBuilder<'_>) {
    let [
        operator,
        ignition,
        mains,
        volts,
        battery,
        emergency,
        tamper,
        ref rest @ ..,
    ] = *parts
    else {
        return push_places(1, parts, message);
    };
    let flag = |text: &str| match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    };
    push_text(message, fields::GSM_OPERATOR_NAME, operator);
    message.push_some(fields::ENGINE_IGNITION_STATUS, flag(ignition));
    message.push_some(fields::EXTERNAL_POWERSOURCE_STATUS, flag(mains));
    message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, float(volts));
    message.push_some(fields::BATTERY_VOLTAGE, float(battery));
    message.push_some(fields::ALARM_MODE_STATUS, flag(emergency));
    match tamper {
        "O" | "Y" => message.push(fields::TAMPERING_STATUS, true),
        "C" | "N" => message.push(fields::TAMPERING_STATUS, false),
        "" => {}
        other => message.name("tamper", other),
    }
    let [signal, mcc, mnc, lac, id, ref rest @ ..] = *rest else {
        return push_places(1, rest, message);
    };
    message.push_some(fields::GSM_SIGNAL_ENUM, number::<u8>(signal));
    neighbours::push_serving([mcc, mnc, lac, id], message);
    let is_ports = |at: &usize| match rest.get(*at..) {
        Some([inputs, outputs, ..]) => bits(inputs, 4).is_some() && bits(outputs, 2).is_some(),
        _ => false,
    };
    let usual = [NEIGHBOUR_FIELDS, 0];
    let Some(at) = usual
        .into_iter()
        .chain(1..NEIGHBOUR_FIELDS_MAX)
        .find(is_ports)
    else {
        return push_places(1, rest, message);
    };
    let (beside, rest) = rest.split_at_checked(at).unwrap_or_default();
    if beside.len() % 3 == 0 {
        neighbours::push([mcc, mnc, lac], beside, message);
    } else {
        message.name("neighbours", &*beside.join(","));
    }
    if let [inputs, outputs, ref tail @ ..] = *rest {
        message.push_some(fields::DIN, bits(inputs, 4));
        message.push_some(fields::DOUT, bits(outputs, 2));
        push_tail(tail, sum_digits, message);
    }
}

fn push_tail(mut tail: &[&str], sum_digits: usize, message: &mut RecordBuilder<'_>) {
    while let [before @ .., ""] = tail {
        tail = before;
    }
    if sum_digits > 0
        && let [before @ .., _] = tail
    {
        tail = before;
    }
    let digits = |text: &str, count: usize| {
        text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_sum = |text: &str| {
        (text.len() == 1 || text.len() == 2 || text.len() == 8)
            && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let km = |text: &str| float(text).filter(|_| text.contains('.'));
    match *tail {
        [record, odometer, volts, x, y, z, tilt_y, tilt_x]
            if number::<u32>(record).is_some() && sum_digits == 2 =>
        {
            message.push_some(fields::RECORD_SEQNUM, number::<u32>(record));
            message.push_some(fields::VEHICLE_MILEAGE, float(odometer));
            message.push_some((fields::AIN_N, 1), float(volts));
            message.push_some(fields::X_ACCELERATION, float(x));
            message.push_some(fields::Y_ACCELERATION, float(y));
            message.push_some(fields::Z_ACCELERATION, float(z));
            message.push_some(fields::INCLINATION_Y, float(tilt_y));
            message.push_some(fields::INCLINATION_X, float(tilt_x));
        }
        [volts_1, volts_2, record, odometer, ref more @ ..]
            if digits(record, 6) && km(odometer).is_some() && float(volts_2).is_some() =>
        {
            message.push_some((fields::AIN_N, 1), float(volts_1));
            message.push_some((fields::AIN_N, 2), float(volts_2));
            message.push_some(fields::RECORD_SEQNUM, number::<u32>(record));
            message.push_some(fields::VEHICLE_MILEAGE, km(odometer));
            push_places(5, more, message);
        }
        [volts, metres, record, form, answer, ref more @ ..]
            if km(volts).is_some() && number::<u32>(metres).is_some() && digits(record, 6) =>
        {
            message.push_some((fields::AIN_N, 1), float(volts));
            let odometer = float(metres).map(|metres| metres / 1000.0);
            message.push_some(fields::VEHICLE_MILEAGE, odometer);
            message.push_some(fields::RECORD_SEQNUM, number::<u32>(record));
            message.name("answer.form", form);
            message.push(fields::COMMAND_RESULT, answer);
            push_places(6, more, message);
        }
        [record, odometer] if sum_digits == 2 && number::<u32>(record).is_some() => {
            message.push_some(fields::RECORD_SEQNUM, number::<u32>(record));
            message.push_some(fields::VEHICLE_MILEAGE, float(odometer));
        }
        [record, odometer, sum]
            if digits(record, record.len()) && km(odometer).is_some() && is_sum(sum) =>
        {
            message.push_some(fields::RECORD_SEQNUM, number::<u32>(record));
            message.push_some(fields::VEHICLE_MILEAGE, km(odometer));
        }
        [record, ref more @ ..] if number::<u32>(record).is_some() => {
            message.push_some(fields::RECORD_SEQNUM, number::<u32>(record));
            push_places(1, more, message);
        }
        ref tail => push_places(1, tail, message),
    }
}

/// Keeps fields by their place.
pub(super) fn push_places(first: u32, parts: &[&str], message: &mut RecordBuilder<'_>) {
    let plain = |text: &&str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'))
    };
    for (place, value) in (first..).zip(parts) {
        match Some(value)
            .filter(|value| plain(value))
            .and_then(|value| float(value))
        {
            Some(float) => message.wire(place, float),
            None if value.is_empty() || *value == "-" => {}
            None => message.wire(place, *value),
        }
    }
}
