//! Reports as text: what all kinds share, and the kinds without a place.

use super::report::{Fields, Report, place_at, push_left, time_of};
use super::{legacy, serial, universal};
use crate::contract::{Context, Login, Reject, Time, fields};
use crate::kit::parse::{self, float, number};
use crate::kit::{checksum, hex};

const FIELDS_MAX: usize = 256;

/// Reads a frame.
pub(super) fn read(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    if frame.starts_with(b"CRR;") {
        return crash(frame, cx);
    }
    let frame = frame.trim_ascii();
    let text = std::str::from_utf8(frame)
        .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
    let all = split(text, serial::data(frame))?;
    let header = all.first().copied().unwrap_or_default();
    let model = header.starts_with("ST9");
    let (old, kind) = match header.split_at_checked(5) {
        Some((model, kind)) if !kind.is_empty() || header.starts_with("ST") => (Some(model), kind),
        _ => (None, header),
    };
    let report = Report { kind, all };
    let ident_at = match (kind, model) {
        ("CMD", _) if matches!(report.at(1), "Res" | "RES") => 2,
        (_, true) => 2,
        _ => 1,
    };
    cx.identify(Login::of(report.at(ident_at)))?;
    match kind {
        "ALV" => Ok(()),
        "CMD" | "RES" => command_result(text, &report, cx),
        "BLE" => beacons(&report, cx),
        _ if model => legacy::read_st910(&report, cx),
        _ if old.is_some() => legacy::read(&report, cx),
        _ => universal::read(&report, cx),
    }
}

/// The fields, with the data of a serial port as one of them, its sum checked.
fn split(text: &str, data: Option<(usize, usize)>) -> Result<Fields<'_>, Reject> {
    let too_many = Reject::new("text", "more fields than a report has", 0);
    let mut all = Fields::new();
    let parts = data.and_then(|(start, length)| {
        // the end of a line at the end of the data may have been lost on the way
        [length, length.saturating_sub(2)]
            .into_iter()
            .find_map(|taken| {
                let (data, rest) = text.get(start..)?.split_at_checked(taken)?;
                let rest = rest.strip_prefix(';')?;
                Some((
                    text.get(..start.checked_sub(1)?)?,
                    data,
                    rest,
                    length - taken,
                ))
            })
    });
    if let Some((head, data, rest, lost)) = parts {
        let line_end = if lost == 2 { b"\r\n".as_slice() } else { b"" };
        let sum = checksum::sum(data.as_bytes()).wrapping_add(checksum::sum(line_end));
        let stated = rest.split(';').next().unwrap_or_default();
        all.extend(parse::split(head, b';').take(FIELDS_MAX));
        // the sum is the serial port's: what it covers is lost, the device's own fields are not
        let fits = u8::from_str_radix(stated, 16) == Ok(sum);
        all.push(if fits { data } else { "" });
        all.extend(parse::split(rest, b';').take(FIELDS_MAX));
    } else {
        all.extend(parse::split(text, b';').take(FIELDS_MAX + 1));
    }
    if all.len() > FIELDS_MAX {
        return Err(too_many);
    }
    Ok(all)
}

fn command_result(text: &str, report: &Report<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    cx.command_reply(None, text);
    let now_ms = cx.now_ms;
    let mut message = cx.message(Time::Received(now_ms))?;
    message.push(fields::MESSAGE_TYPE, report.kind);
    message.push(fields::COMMAND_RESULT, text);
    Ok(())
}

/// `BLE;DEV_ID;MODEL;SW_VER;DATE;TIME;LAT;LON;count;(mean, least, most dBm;address;samples;major;minor)*`
fn beacons(report: &Report<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    const BEACON_FIELDS: usize = 7;
    const BEACONS_MAX: u16 = 32;
    let time = time_of(report, 4, cx);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, report.kind);
    message.push(fields::DEVICE_FIRMWARE_VERSION, report.at(3));
    let place = place_at(report, 6).filter(|at| *at == 6);
    message.push(fields::POSITION_VALID, place.is_some());
    if place.is_some() {
        message.push_some(fields::POSITION_LATITUDE, float(report.at(6)));
        message.push_some(fields::POSITION_LONGITUDE, float(report.at(7)));
    }
    let count = number::<u16>(report.at(8)).unwrap_or(0).min(BEACONS_MAX);
    for beacon in 1..=count {
        let at = 9 + usize::from(beacon - 1) * BEACON_FIELDS;
        if report.at(at + 3).is_empty() {
            break;
        }
        message.push((fields::BLE_BEACON_ID_N, beacon), report.at(at + 3));
        let dbm = number::<i64>(report.at(at));
        message.push_some((fields::BLE_BEACON_SIGNAL_DBM_N, beacon), dbm);
        for (field, id) in (0..BEACON_FIELDS).map(|field| at + field).zip(0u32..) {
            if !matches!(id, 0 | 3) {
                let id = u32::from(beacon) * 10 + id;
                message.wire(id, report.at(field));
            }
        }
    }
    push_left(&mut message, report, 9 + usize::from(count) * BEACON_FIELDS);
    Ok(())
}

/// `CRR;DEV_ID;part;parts;length;samples;sum`: the samples of a crash are kept as they are.
fn crash(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let short = Reject::new("CRR", "cut short", frame.len());
    let (start, length) = serial::data(frame).ok_or(short)?;
    let head = frame.get(..start).ok_or(short)?;
    let head = std::str::from_utf8(head).map_err(|_| short)?;
    let samples = frame.get(start..start + length).ok_or(short)?;
    let mut parts = head.split(';').skip(1);
    cx.identify(Login::of(parts.next().unwrap_or_default()))?;
    let now_ms = cx.now_ms;
    let mut message = cx.message(Time::Received(now_ms))?;
    message.push(fields::MESSAGE_TYPE, "CRR");
    for name in ["part", "parts"] {
        if let Some(value) = parts.next().and_then(number::<u32>) {
            message.name(name, value);
        }
    }
    message.push(fields::PAYLOAD_HEX, &*hex::encode(samples));
    Ok(())
}
