//! The text form.

use super::parts::Fields;
use super::{cells, status};
use crate::contract::{Context, Login, RecordBuilder, Reject, Reply, Settings, Time, fields};
use crate::kit::parse::{self, float, number};
use crate::kit::time::{self, Civil, digits};
use crate::kit::units;

/// The most fields of a frame; a frame is bounded anyway, this bounds the split.
const FIELDS_MAX: usize = 128;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// What every frame begins with.
#[derive(Clone, Copy)]
struct Head<'f> {
    maker: &'f str,
    ident: &'f str,
    kind: &'f str,
}

/// `*MM,ID,` of a frame; empty if it names nobody.
pub(super) fn begins(frame: &[u8]) -> &[u8] {
    let is_comma = |byte: &u8| *byte == b',';
    let maker = frame.iter().position(is_comma).map_or(0, |at| at + 1);
    let rest = frame.get(maker..).unwrap_or_default();
    match rest.iter().position(is_comma) {
        None | Some(0) => &[],
        Some(ident) => frame.get(..=maker + ident).unwrap_or_default(),
    }
}

/// Reads a frame from `*` to `#`.
pub(super) fn read(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let text = std::str::from_utf8(frame)
        .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
    let body = text
        .strip_prefix('*')
        .and_then(|rest| rest.strip_suffix('#'))
        .ok_or(Reject::new("text", "cut short", frame.len()))?;
    let mut parts: Fields<'_> = parse::split(body, b',').take(FIELDS_MAX + 1).collect();
    if parts.len() > FIELDS_MAX {
        return Err(Reject::new("text", "more fields than a frame has", 0));
    }
    let [maker, ident, kind, ..] = *parts.as_slice() else {
        return Err(Reject::new("text", "fewer fields than a frame has", 0));
    };
    let head = Head { maker, ident, kind };
    parts.drain(..3);
    // a frame without a name is from the device that has named itself on this connection
    let before = cx.ident().map(ToString::to_string);
    let head = match &before {
        Some(before) if ident.is_empty() => Head {
            ident: before,
            ..head
        },
        _ => {
            cx.identify(Login::of(ident))?;
            head
        }
    };
    match kind {
        "V0" | "HTBT" | "XT" => heartbeat(head, &parts, cx),
        "NBR" => {
            nbr(&parts, cx)?;
            cx.reply(Reply::stored(confirmation(head, cx.now_ms)));
            Ok(())
        }
        "V3" => v3(&parts, cx),
        "LINK" => link(&parts, cx),
        "VP1" => vp1(&parts, cx),
        "SMS" => {
            let at = text.find(",SMS,").map_or(text.len(), |at| at + 5);
            let said = text.get(at..).unwrap_or_default().trim_end_matches('#');
            let now_ms = cx.now_ms;
            let mut message = cx.message(Time::Received(now_ms))?;
            message.push(fields::MESSAGE_TYPE, kind);
            message.push(fields::TEXT_MESSAGE, said);
            Ok(())
        }
        _ => position(head, &parts, cx),
    }
}

/// `*MM,ID,V4,KIND,YYYYMMDDHHMMSS#`
fn confirmation(head: Head<'_>, now_ms: i64) -> String {
    let Head { maker, ident, kind } = head;
    let now = Civil::at(now_ms);
    format!("*{maker},{ident},V4,{kind},{}#", now.compact())
}

/// XT carries numbers that nobody explains, so it is taken for a sign of life only.
fn heartbeat(head: Head<'_>, rest: &Fields<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let Head { maker, ident, kind } = head;
    let answer = format!("*{maker},{ident},{kind}#");
    let level = rest.first().and_then(|s| number::<u8>(s));
    match (kind, level) {
        ("HTBT", Some(level @ 0..=100)) => {
            let now_ms = cx.now_ms;
            let mut message = cx.message(Time::Received(now_ms))?;
            message.push(fields::MESSAGE_TYPE, kind);
            message.push(fields::BATTERY_LEVEL, level);
            drop(message);
            cx.reply(Reply::stored(answer));
        }
        ("XT", _) => {}
        _ => cx.reply(Reply::open(answer)),
    }
    Ok(())
}

/// Percent of a battery, as digits.
fn is_level(text: &str) -> bool {
    text.len() <= 3 && number::<u8>(text).is_some_and(|level| level <= 100)
}

/// Six digits, as a date has them.
fn is_date(text: &str) -> bool {
    let text = text.trim();
    text.len() == 6 && text.bytes().all(|b| b.is_ascii_digit())
}

/// The time of a record of its HHMMSS and DDMMYY.
fn clock(hms: &str, dmy: &str, settings: &Settings, now_ms: i64) -> Time {
    let (hms, dmy) = (hms.trim(), dmy.trim());
    if hms.is_empty() && dmy.is_empty() {
        return Time::Received(now_ms);
    }
    let ms = digits(dmy, "dmy").and_then(|date| {
        let clock = digits(hms, "HMS")?;
        date.at_clock(clock).ms(settings)
    });
    time::or_impossible(ms, now_ms)
}

/// Degrees of one of the forms that the module's page lists.
fn degrees(text: &str, hemisphere: &str, limit: f64) -> Option<f64> {
    let text = text.trim();
    let text = text.strip_prefix('-').unwrap_or(text);
    let (whole, minutes) = if let Some((whole, minutes)) = text.split_once('-') {
        (number::<u16>(whole)?, float(minutes)?)
    } else {
        let point = text.find('.');
        let at = match point {
            Some(point) => point.checked_sub(2)?,
            None => text.len().checked_sub(6)?,
        };
        let (whole, minutes) = text.split_at_checked(at)?;
        let whole = if whole.is_empty() { 0 } else { number(whole)? };
        let minutes = float(minutes)?;
        (
            whole,
            if point.is_some() {
                minutes
            } else {
                minutes / 1e4
            },
        )
    };
    if !(0.0..60.0).contains(&minutes) {
        return None;
    }
    let value = f64::from(whole) + minutes / 60.0;
    let value = (value <= limit).then(|| units::round(value, 7))?;
    match hemisphere.trim() {
        "N" | "n" | "E" | "e" => Some(value),
        "S" | "s" | "W" | "w" => Some(-value),
        _ => None,
    }
}

/// Validity, place, speed and course: seven fields, the first of them the letter.
fn push_fix(message: &mut RecordBuilder<'_>, fix: &[&str]) {
    let [letter, latitude, ns, longitude, ew, speed, course] = *fix else {
        return;
    };
    let place = degrees(latitude, ns, 90.0).zip(degrees(longitude, ew, 180.0));
    // some makers write 0 there, or nothing
    let valid = place.is_some() && !matches!(letter, "V" | "v" | "B");
    message.push(fields::POSITION_VALID, valid);
    let Some(place) = place.filter(|place| valid || *place != (0.0, 0.0)) else {
        return;
    };
    message.push(fields::POSITION_LATITUDE, place.0);
    message.push(fields::POSITION_LONGITUDE, place.1);
    let knots = float(speed).filter(|speed| *speed >= 0.0);
    message.push_some(fields::POSITION_SPEED, knots.map(units::knots));
    let course = float(course).filter(|course| (0.0..=360.0).contains(course));
    message.push_some(fields::POSITION_DIRECTION, course);
}

/// Where the seven fields of a fix begin: a letter, a number (how it was coded) or nothing, then N or S
/// and E or W in their places.
fn find_fix(rest: &[&str]) -> Option<usize> {
    rest.windows(7).position(|seven| {
        let is = |at: usize, set: &[&str]| seven.get(at).is_some_and(|s| set.contains(s));
        let first = seven.first().copied().unwrap_or_default();
        let coded = first.len() < 3 && first.bytes().all(|b| b.is_ascii_digit());
        (coded || is(0, &["A", "V", "B"])) && is(2, &["N", "S"]) && is(4, &["E", "W"])
    })
}

/// V1 and everything that holds a fix like it; what does not is kept field by field.
fn position(head: Head<'_>, rest: &Fields<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let kind = head.kind;
    let now_ms = cx.now_ms;
    let Some(at) = find_fix(rest) else {
        let mut message = cx.message(Time::Received(now_ms))?;
        message.push(fields::MESSAGE_TYPE, kind);
        push_rest(&mut message, rest);
        return Ok(());
    };
    let (before, fix) = rest.split_at(at);
    let (fix, after) = fix.split_at(7);
    let (hms, before) = before.split_last().unwrap_or((&"", &[]));
    // some makers put the battery before the date
    let (battery, after) = match after {
        [battery, date, ..] if is_level(battery) && is_date(date) => {
            (number::<u8>(battery), after.get(1..).unwrap_or_default())
        }
        _ => (None, after),
    };
    let (dmy, after) = match after {
        [date, after @ ..] if date.is_empty() || is_date(date) => (*date, after),
        // no date, but the status at once
        [word, ..] if status::parse(word).is_some() => ("", after),
        [date, after @ ..] => (*date, after),
        [] => ("", after),
    };
    if kind == "V4" && !before.is_empty() {
        cx.command_reply(None, &before.join(","));
    }
    let time = clock(hms, dmy, cx.settings(), now_ms);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, kind);
    push_fix(&mut message, fix);
    message.push_some(fields::BATTERY_LEVEL, battery);
    match before {
        [] => {}
        [command, ..] if kind == "V4" => {
            message.push(fields::COMMAND_TYPE, *command);
            message.push(fields::COMMAND_RESULT, &*before.join(","));
        }
        more => push_rest(&mut message, more),
    }
    match after {
        ["", phone, iccid, word] if kind == "V19" => {
            if phone.bytes().all(|b| b.is_ascii_digit()) {
                message.push(fields::GSM_PHONE, *phone);
            } else {
                message.wire(1, *phone);
            }
            message.push(fields::GSM_SIM_ICCID, *iccid);
            if let Some(word) = status::parse(word) {
                status::push(&mut message, word);
            }
        }
        [word, extras @ ..] => {
            match status::parse(word) {
                Some(word) => status::push(&mut message, word),
                None if word.is_empty() => {}
                None => message.name("status", *word),
            }
            push_extras(&mut message, extras);
        }
        [] => {}
    }
    drop(message);
    match kind {
        "V1" => cx.reply(Reply::stored(confirmation(head, now_ms))),
        "R12" => {
            let Head { maker, ident, .. } = head;
            let now = Civil::at(now_ms).compact();
            let hms = now.get(8..).unwrap_or_default();
            cx.reply(Reply::stored(format!("*{maker},{ident},R12,{hms}#")));
        }
        _ => {}
    }
    Ok(())
}

/// What follows the status: a matter of the maker, told apart by its form.
fn push_extras(message: &mut RecordBuilder<'_>, extras: &[&str]) {
    if let [meters, celsius, fuel, altitude, lac, id] = *extras
        && fuel.contains('.')
    {
        let hex = |s: &str| i64::from_str_radix(s.trim(), 16).ok();
        let meters: Option<f64> = number::<u32>(meters).map(f64::from);
        message.push_some(fields::VEHICLE_MILEAGE, meters.map(|m| m / 1000.0));
        message.push_some((fields::SENSOR_TEMPERATURE_N, 1), float(celsius));
        let level = float(fuel).filter(|level| (0.0..=100.0).contains(level));
        message.push_some(fields::FUEL_LEVEL, level);
        message.push_some(fields::POSITION_ALTITUDE, float(altitude));
        message.push_some(fields::GSM_LAC, hex(lac));
        message.push_some(fields::GSM_CELLID, hex(id));
        return;
    }
    let taken = cells::extras(message, extras);
    for (extra, id) in extras.iter().zip(1u32..).skip(taken) {
        let extra = extra.trim();
        let is_iccid = (18..=20).contains(&extra.len()) && extra.starts_with("89");
        match extra {
            "" => {}
            iccid if is_iccid => message.push(fields::GSM_SIM_ICCID, iccid),
            _ => message.wire(id, extra),
        }
    }
}

/// Fields without a known meaning under their place, numbers as numbers.
fn push_rest(message: &mut RecordBuilder<'_>, rest: &[&str]) {
    for (field, id) in rest.iter().zip(1u32..) {
        let field = field.trim();
        if field.is_empty() {
            continue;
        }
        message.wire(id, field);
    }
}

/// The date and the status that a frame without a place ends with.
fn push_end(message: &mut RecordBuilder<'_>, end: &[&str]) {
    if let [_, word, more @ ..] = end {
        if let Some(word) = status::parse(word) {
            status::push(message, word);
        }
        push_rest(message, more);
    }
}

fn nbr(rest: &Fields<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let cut = Reject::new("NBR", "its fields do not fit", 0);
    let [hms, mcc, mnc, advance, count, more @ ..] = rest.as_slice() else {
        return Err(cut);
    };
    let count: usize = number(count).ok_or(cut)?;
    let (groups, end) = more.split_at_checked(count.saturating_mul(3)).ok_or(cut)?;
    let time = clock(hms, end.first().ok_or(cut)?, cx.settings(), cx.now_ms);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, "NBR");
    cells::groups(&mut message, (number(mcc), number(mnc)), groups, 3);
    let advance = number::<u8>(advance).filter(|advance| *advance != 255);
    message.push_some(fields::GSM_TIMING_ADVANCE, advance);
    push_end(&mut message, end);
    Ok(())
}

fn v3(rest: &Fields<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let cut = Reject::new("V3", "its fields do not fit", 0);
    let [hms, network, count, more @ ..] = rest.as_slice() else {
        return Err(cut);
    };
    let count: usize = number(count).ok_or(cut)?;
    let (groups, end) = more.split_at_checked(count.saturating_mul(4)).ok_or(cut)?;
    let [battery, third, fourth, end @ ..] = end else {
        return Err(cut);
    };
    let time = clock(hms, end.first().ok_or(cut)?, cx.settings(), cx.now_ms);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, "V3");
    let codes = network.split_at_checked(3);
    let codes = codes.map_or((None, None), |(mcc, mnc)| (number(mcc), number(mnc)));
    cells::groups(&mut message, codes, groups, 4);
    // the converter's reading, and no maker says of what scale
    let reading = i64::from_str_radix(battery, 16).ok();
    if let Some(reading) = reading {
        message.name("battery.raw", reading);
    }
    push_rest(&mut message, &[third, fourth]);
    push_end(&mut message, end);
    Ok(())
}

fn link(rest: &Fields<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let [hms, signal, satellites, battery, steps, turnovers, end @ ..] = rest.as_slice() else {
        return Err(Reject::new("LINK", "its fields do not fit", 0));
    };
    let dmy = end.first().copied().unwrap_or_default();
    let time = clock(hms, dmy, cx.settings(), cx.now_ms);
    let percent = |s: &str| number::<u8>(s).filter(|level| *level <= 100);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, "LINK");
    message.push_some(fields::GSM_SIGNAL_LEVEL, percent(signal));
    message.push_some(fields::POSITION_SATELLITES, number::<u8>(satellites));
    message.push_some(fields::BATTERY_LEVEL, percent(battery));
    message.push_some(fields::STEP_COUNT, number::<u32>(steps));
    if let Some(turnovers) = number::<u32>(turnovers) {
        message.name("turnovers", turnovers);
    }
    push_end(&mut message, end);
    Ok(())
}

/// A date without a time of day. Of today it says nothing that the receipt does not; a record of
/// another day was kept until now, and its day begins at midnight.
fn vp1(rest: &Fields<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let now_ms = cx.now_ms;
    let at = find_fix(rest);
    let date = at
        .and_then(|at| rest.get(at + 7))
        .copied()
        .unwrap_or_default();
    let midnight = digits(date, "dmy").and_then(|date| date.ms(cx.settings()));
    let time = match midnight {
        Some(ms) if !(0..DAY_MS).contains(&(now_ms - ms)) && ms < now_ms => Time::Device(ms),
        _ => Time::Received(now_ms),
    };
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, "VP1");
    if let Some(0) = at {
        let (fix, after) = rest.split_at(7);
        push_fix(&mut message, fix);
        if let Some((date, more)) = after.split_first() {
            message.name("date", *date);
            push_rest(&mut message, more);
        }
    } else if rest.first() == Some(&"V") {
        message.push(fields::POSITION_VALID, false);
        cells::vp1(&mut message, rest);
    } else {
        push_rest(&mut message, rest);
    }
    Ok(())
}
