//! The form of text: reports, padlocks' unlocking, watches.

use super::parts::{FIELDS_MAX, Fields, SHORT, cell};
use crate::contract::{Context, Login, RecordBuilder, Reject, Reply, Time, fields};
use crate::kit::parse::{float, nmea_degrees, number};
use crate::kit::time;
use crate::kit::{checksum, units};

pub(super) fn text(body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
    let parts: Fields<'_> = text.split(',').take(FIELDS_MAX).collect();
    let [ident, kind, rest @ ..] = parts.as_slice() else {
        return Err(Reject::new("text", "fewer fields than a frame has", 0));
    };
    cx.identify(Login::of(ident))?;
    match *kind {
        "U01" | "U02" | "U03" => {
            if rest.len() >= 18 {
                verify(text)?;
            }
            report(kind, None, rest, cx)?;
            cx.reply(Reply::stored("(S39)"));
        }
        "U06" => {
            let (alarm, rest) = rest.split_first().ok_or(SHORT)?;
            report(kind, Some(alarm), rest, cx)?;
            cx.reply(Reply::stored("(S20)"));
        }
        // other reports of the same form, not answered
        _ if kind.starts_with('U')
            && rest.get(2).is_some_and(|valid| matches!(*valid, "T" | "F")) =>
        {
            report(kind, None, rest, cx)?;
        }
        "P45" => unlocked(rest, cx)?,
        "W01" => watch(rest, cx)?,
        // asks for nothing, says nothing
        _ if rest.is_empty() => {}
        kind => {
            let mut message = cx.message(Time::Received(cx.now_ms))?;
            message.push(fields::MESSAGE_TYPE, kind);
            for (number, value) in (1..).zip(rest) {
                message.wire(number, *value);
            }
        }
    }
    Ok(())
}

/// The last field is the exclusive or of what stands before it.
pub(super) fn verify(text: &str) -> Result<(), Reject> {
    let bad = Reject::new("checksum", "does not hold", text.len());
    let at = text.rfind(',').ok_or(bad)? + 1;
    let (before, sum) = text.split_at_checked(at).ok_or(bad)?;
    match u8::from_str_radix(sum, 16) {
        Ok(sum) if sum == checksum::xor(before.as_bytes()) => Ok(()),
        _ => Err(bad),
    }
}

pub(super) fn clock(dmy: &str, hms: &str, cx: &Context<'_>) -> Time {
    let date = time::digits(dmy, "dmy").zip(time::digits(hms, "HMS"));
    let ms = date.and_then(|(date, clock)| date.at_clock(clock).ms(cx.settings()));
    time::or_impossible(ms, cx.now_ms)
}

/// Decimal degrees and their hemispheres, if they say a place.
pub(super) fn push_place(
    message: &mut RecordBuilder<'_>,
    latitude: &[&str; 2],
    longitude: &[&str; 2],
) {
    let signed = |[text, letter]: &[&str; 2], limit: f64| {
        let value = float(text).filter(|value| (0.0..=limit).contains(value))?;
        Some(if matches!(*letter, "S" | "W") {
            -value
        } else {
            value
        })
    };
    let place = signed(latitude, 90.0).zip(signed(longitude, 180.0));
    if let Some((latitude, longitude)) = place.filter(|place| *place != (0.0, 0.0)) {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
}

pub(super) fn report(
    kind: &str,
    alarm: Option<&str>,
    rest: &[&str],
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let [dmy, hms, valid, lat, ns, lon, ew, ref more @ ..] = *rest else {
        return Err(SHORT);
    };
    // each of the others may be missing from the end
    let at = |index: usize| more.get(index).copied().unwrap_or_default();
    let (mph, course, satellites, battery, status) = (at(0), at(1), at(2), at(3), at(4));
    let tail = more.get(5..).unwrap_or_default();
    let mut message = cx.message(clock(dmy, hms, cx))?;
    message.push(fields::MESSAGE_TYPE, kind);
    match alarm.map(|alarm| (alarm, number::<i64>(alarm))) {
        Some((_, Some(alarm))) => message.push(fields::ALARM_CODE, alarm),
        Some((alarm, None)) => message.push(fields::ALARM_TYPE, alarm),
        None => {}
    }
    message.push(fields::POSITION_VALID, valid == "T");
    push_place(&mut message, &[lat, ns], &[lon, ew]);
    message.push_some(fields::POSITION_SPEED, float(mph).map(units::miles));
    message.push_some(fields::POSITION_DIRECTION, float(course));
    message.push_some(fields::POSITION_SATELLITES, number::<u8>(satellites));
    let battery = battery.trim_end_matches('%');
    message.push_some(fields::BATTERY_LEVEL, number::<u8>(battery));
    let bits = i64::from_str_radix(status, 2).ok();
    message.push_some(fields::STATUS_BITMASK, bits);
    if let [id, lac, signal, ref after @ ..] = *tail {
        if let (Some(id), Some(lac)) = (number::<u32>(id), number::<u16>(lac)) {
            cell(&mut message, id, lac, None);
        }
        message.push_some(fields::GSM_SIGNAL_ENUM, number::<u8>(signal));
        let mut after = after.iter();
        let km = after.next().and_then(|km| float(km));
        message.push_some(fields::VEHICLE_MILEAGE, km);
        let index = after.next().and_then(|index| number::<u32>(index));
        message.push_some(fields::RECORD_SEQNUM, index);
        if alarm.is_some() {
            for (number, value) in (1..).zip(after) {
                message.wire(number, *value);
            }
        }
    }
    Ok(())
}

/// P45: someone opened a padlock or tried to.
pub(super) fn unlocked(rest: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    let [
        dmy,
        hms,
        lat,
        ns,
        lon,
        ew,
        valid,
        mph,
        course,
        source,
        verified,
        card,
        ref tail @ ..,
    ] = *rest
    else {
        return Err(SHORT);
    };
    let mut message = cx.message(clock(dmy, hms, cx))?;
    message.push(fields::MESSAGE_TYPE, "P45");
    message.push(fields::POSITION_VALID, valid == "A");
    push_place(&mut message, &[lat, ns], &[lon, ew]);
    message.push_some(fields::POSITION_SPEED, float(mph).map(units::miles));
    message.push_some(fields::POSITION_DIRECTION, float(course));
    message.push_some(fields::EVENT_ENUM, number::<i64>(source));
    message.name("unlock.verified", verified == "1");
    if card.bytes().any(|digit| digit != b'0') {
        message.push(fields::RFID_CODE, card);
    }
    let mut tail = tail.iter();
    if let Some(verified) = tail.next() {
        message.name("password.verified", *verified == "1");
    }
    if let Some(wrong) = tail.next().and_then(|wrong| number::<u32>(wrong)) {
        message.name("wrong.password.count", wrong);
    }
    let index = tail
        .next()
        .copied()
        .filter(|index| number::<u32>(index).is_some());
    message.push_some(fields::RECORD_SEQNUM, index.and_then(number::<u32>));
    for (number, value) in (1..).zip(tail) {
        message.wire(number, *value);
    }
    drop(message);
    if let Some(index) = index {
        cx.reply(Reply::stored(format!("(P69,0,{index})")));
    }
    Ok(())
}

pub(super) fn watch(rest: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    let [
        lon,
        ew,
        lat,
        ns,
        valid,
        dmy,
        hms,
        speed,
        course,
        battery,
        satellites,
        signal,
        alarm,
        ref tail @ ..,
    ] = *rest
    else {
        return Err(SHORT);
    };
    let mut message = cx.message(clock(dmy, hms, cx))?;
    message.push(fields::MESSAGE_TYPE, "W01");
    message.push(fields::POSITION_VALID, valid == "A");
    let place = nmea_degrees(lat, ns).zip(nmea_degrees(lon, ew));
    if let Some((latitude, longitude)) = place.filter(|place| *place != (0.0, 0.0)) {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    message.push_some(fields::POSITION_SPEED, float(speed));
    message.push_some(fields::POSITION_DIRECTION, float(course));
    message.push_some(fields::BATTERY_LEVEL, number::<u8>(battery));
    message.push_some(fields::POSITION_SATELLITES, number::<u8>(satellites));
    message.push_some(fields::GSM_SIGNAL_ENUM, number::<u8>(signal));
    message.push_some(fields::ALARM_CODE, number::<i64>(alarm));
    for (number, value) in (1..).zip(tail) {
        message.wire(number, *value);
    }
    Ok(())
}
