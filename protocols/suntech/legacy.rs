//! Reports of the older devices, whose header begins with their model.

use super::report::{
    Report, date_at, place_at, push_alert, push_left, push_place, push_serial, time_of,
};
use crate::contract::{Context, RecordBuilder, Reject, Time, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{float, number};

/// Reads a report of all but ST910.
pub(super) fn read(report: &Report<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let now_ms = cx.now_ms;
    let date = date_at(report);
    if report.kind == "HTE" {
        return travel(report, date, cx);
    }
    let place = date.and_then(|date| place_at(report, date + 2));
    let time = date.map_or(Time::Received(now_ms), |date| time_of(report, date, cx));
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, report.kind);
    let (Some(date), Some(place)) = (date, place) else {
        message.push(fields::POSITION_VALID, false);
        if let Some(serving) = serving_cell(report) {
            battery_tracker(&mut message, report, serving, report.all.len());
        } else {
            push_left(&mut message, report, 2);
        }
        return Ok(());
    };
    let valid = report.at(place + 5) == "1";
    push_place(&mut message, report, place, valid);
    message.push_some(
        fields::POSITION_SATELLITES,
        number::<u8>(report.at(place + 4)),
    );
    if let Some(serving) = serving_cell(report).filter(|at| *at < date) {
        battery_tracker(&mut message, report, serving, date);
        push_left(&mut message, report, place + 6);
        return Ok(());
    }
    message.push(fields::DEVICE_FIRMWARE_VERSION, report.at(date - 1));
    network(&mut message, report, date + 2, place);
    let meters = number::<u64>(report.at(place + 6));
    message.push_some(fields::VEHICLE_MILEAGE, meters.map(|m| m as f64 / 1000.0));
    let volts = float(report.at(place + 7));
    message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
    inputs(&mut message, report.at(place + 8));
    let id = place + 9;
    match report.kind {
        "STT" => {
            message.push_some(fields::VEHICLE_STATE_ENUM, number::<u8>(report.at(id)));
            if let Some(index) = number::<u32>(report.at(id + 1)) {
                message.push(fields::RECORD_SEQNUM, index);
            }
            options(&mut message, report, id + 2);
        }
        "UEX" => {
            push_serial(&mut message, report.at(id + 1));
            options(&mut message, report, id + 3);
        }
        "EVT" => {
            message.push_some(fields::EVENT_ENUM, number::<u16>(report.at(id)));
            options(&mut message, report, id + 1);
        }
        kind => {
            push_alert(&mut message, kind, report.at(id));
            options(&mut message, report, id + 1);
        }
    }
    Ok(())
}

/// The network between the time and the place: one field, or five of them.
fn network(message: &mut RecordBuilder<'_>, report: &Report<'_>, from: usize, to: usize) {
    let hexadecimal = |at: usize| i64::from_str_radix(report.at(at), 16).ok();
    if to == from + 5 {
        cells::push(
            message,
            0,
            Cell {
                mcc: number(report.at(from + 1)),
                mnc: number(report.at(from + 2)),
                lac: hexadecimal(from + 3),
                id: hexadecimal(from),
                dbm: None,
            },
        );
        message.push_some(fields::GSM_SIGNAL_ENUM, number::<u8>(report.at(from + 4)));
    } else if to > from && !report.at(from).is_empty() {
        message.name("cell", report.at(from));
    }
}

/// Ignition, three inputs, two outputs.
fn inputs(message: &mut RecordBuilder<'_>, text: &str) {
    let Some(&[ignition, first, second, third, out_first, out_second]) =
        text.as_bytes().first_chunk::<6>()
    else {
        return;
    };
    message.push(fields::ENGINE_IGNITION_STATUS, ignition == b'1');
    for (input, digit) in [(1, first), (2, second), (3, third)] {
        message.push((fields::DIN_N, input), digit == b'1');
    }
    for (output, digit) in [(1, out_first), (2, out_second)] {
        message.push((fields::DOUT_N, output), digit == b'1');
    }
}

/// The fields that a configuration adds, told apart by their form: engine minutes, the backup battery and
/// whether it is from memory stand together, up to three analog inputs behind them.
fn options(message: &mut RecordBuilder<'_>, report: &Report<'_>, from: usize) {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let volts = |at: usize| {
        let text = report.at(at);
        float(text).filter(|volts| text.contains('.') && (0.0..20.0).contains(volts))
    };
    let meter = (from..report.all.len()).find(|at| {
        is_digits(report.at(*at))
            && volts(at + 1).is_some()
            && matches!(report.at(at + 2), "0" | "1")
    });
    let Some(meter) = meter else {
        push_left(message, report, from);
        return;
    };
    for (at, id) in (from..meter).zip(0u32..) {
        message.wire(id, report.at(at));
    }
    let minutes = number::<u32>(report.at(meter)).map(f64::from);
    let hours = minutes.map(|minutes| crate::kit::units::round(minutes / 60.0, 4));
    message.push_some(fields::ENGINE_MOTORHOURS, hours);
    message.push_some(fields::BATTERY_VOLTAGE, volts(meter + 1));
    if report.at(meter + 2) == "0" {
        message.push(fields::MESSAGE_BUFFERED_STATUS, true);
    }
    let mut at = meter + 3;
    for input in 1u16..=3 {
        let Some(volts) = volts(at) else {
            break;
        };
        message.push((fields::AIN_N, input), volts);
        at += 1;
    }
    let mut sensor = 0u16;
    while at < report.all.len() {
        let text = report.at(at);
        if let Some(cell) = cell_at(report, at) {
            cells::push(message, 0, cell);
            at += 6;
            continue;
        }
        match text.split_once(':') {
            Some(("", "")) => {}
            Some((id, celsius)) => {
                sensor += 1;
                message.push((fields::SENSOR_ID_N, sensor), id);
                let celsius = float(celsius);
                message.push_some((fields::SENSOR_TEMPERATURE_N, sensor), celsius);
            }
            None if is_driver(text) => driver(message, text),
            None if text.is_empty() => {}
            None => {
                if let Ok(id) = u32::try_from(at) {
                    message.wire(id, text);
                }
            }
        }
        at += 1;
    }
}

fn is_driver(text: &str) -> bool {
    text.len() == 14 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The driver's key; fourteen zeros are none.
fn driver(message: &mut RecordBuilder<'_>, text: &str) {
    if text.bytes().any(|byte| byte != b'0') {
        message.push(fields::DRIVER_ID, text);
    }
}

/// `cell;MCC;MNC;-dBm;LAC;timing advance` in decimal digits.
fn cell_at(report: &Report<'_>, at: usize) -> Option<Cell> {
    let decimal = |at: usize| number::<i64>(report.at(at));
    let dbm = decimal(at + 3).filter(|dbm| (-150..0).contains(dbm))?;
    Some(Cell {
        mcc: Some(decimal(at + 1).filter(|mcc| cells::is_mcc(*mcc))?),
        mnc: Some(decimal(at + 2)?),
        lac: Some(decimal(at + 4)?),
        id: Some(decimal(at)?),
        dbm: Some(dbm),
    })
}

/// Where the serving cell of a device on its own battery (ST410 and its like) stands: before the date.
fn serving_cell(report: &Report<'_>) -> Option<usize> {
    (3..6).find(|at| cell_at(report, *at).is_some())
}

/// Cells, the battery, from memory or not, number and mode: what ST410 and its like have before the date.
fn battery_tracker(
    message: &mut RecordBuilder<'_>,
    report: &Report<'_>,
    serving: usize,
    end: usize,
) {
    const CELL_FIELDS: usize = 6;
    const NEIGHBOURS: u16 = 6;
    message.push(fields::DEVICE_FIRMWARE_VERSION, report.at(2));
    if let Some(cell) = cell_at(report, serving) {
        cells::push(message, 0, cell);
    }
    message.push_some(
        fields::GSM_TIMING_ADVANCE,
        number::<u8>(report.at(serving + 5)),
    );
    let mut at = serving + CELL_FIELDS;
    for neighbour in 1..=NEIGHBOURS {
        if report.at(at).contains('.') {
            break;
        }
        let decimal = |at: usize| number::<i64>(report.at(at));
        if let Some(mcc) = decimal(at + 1).filter(|mcc| cells::is_mcc(*mcc)) {
            let cell = Cell {
                mcc: Some(mcc),
                mnc: decimal(at + 2),
                lac: decimal(at + 3),
                id: decimal(at),
                dbm: None,
            };
            cells::push(message, neighbour, cell);
        }
        at += CELL_FIELDS;
    }
    let Some(at) = (serving..end).find(|at| report.at(*at).contains('.')) else {
        return;
    };
    message.push_some(fields::BATTERY_VOLTAGE, float(report.at(at)));
    if report.at(at + 1) == "0" {
        message.push(fields::MESSAGE_BUFFERED_STATUS, true);
    }
    message.push_some(fields::RECORD_SEQNUM, number::<u32>(report.at(at + 2)));
    message.push_some(fields::VEHICLE_STATE_ENUM, number::<u8>(report.at(at + 3)));
    for (field, id) in (at + 4..end).zip(0u32..) {
        if !report.at(field).is_empty() {
            message.wire(id, report.at(field));
        }
    }
}

/// A travel: where it began and ended are no places of the message.
fn travel(report: &Report<'_>, date: Option<usize>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let now_ms = cx.now_ms;
    let time = date.map_or(Time::Received(now_ms), |date| time_of(report, date, cx));
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, report.kind);
    if let Some(key) = report.all.last().filter(|key| is_driver(key)) {
        message.push(fields::DRIVER_ID, *key);
    }
    push_left(&mut message, report, date.map_or(2, |date| date + 2));
    Ok(())
}

/// `ST910;kind;DEV_ID;SW_VER;DATE;TIME;[CELL];LAT;LON;SPD;CRS;FIX;...`
pub(super) fn read_st910(report: &Report<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let kind = report.at(1);
    let date = date_at(report);
    let place = date.and_then(|date| place_at(report, date + 2));
    let now_ms = cx.now_ms;
    let (Some(date), Some(place)) = (date, place) else {
        let mut message = cx.message(Time::Received(now_ms))?;
        message.push(fields::MESSAGE_TYPE, kind);
        push_left(&mut message, report, 3);
        return Ok(());
    };
    let time = time_of(report, date, cx);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, kind);
    message.push(fields::DEVICE_FIRMWARE_VERSION, report.at(date - 1));
    push_place(&mut message, report, place, report.at(place + 4) == "1");
    if place == date + 3 {
        message.name("cell", report.at(date + 2));
    }
    let mut at = place + 5;
    let text = report.at(at);
    if text.contains('.') {
        message.push_some(fields::BATTERY_VOLTAGE, float(text));
        at += 1;
    } else if kind == "Location" {
        let meters = number::<u32>(text).map(f64::from);
        message.push_some(
            fields::VEHICLE_MILEAGE,
            meters.map(|meters| meters / 1000.0),
        );
        let level = number::<u8>(report.at(at + 1)).filter(|level| *level <= 100);
        message.push_some(fields::BATTERY_LEVEL, level);
        at += 2;
    }
    match kind {
        "Emergency" => {
            message.push_some(fields::ALARM_CODE, number::<u16>(report.at(at)));
            message.push(fields::ALARM_EVENT_TRIGGER, true);
            at += 1;
        }
        "Alert" => {
            message.push_some(fields::ALARM_CODE, number::<u16>(report.at(at)));
            at += 1;
        }
        _ => {}
    }
    push_left(&mut message, report, at);
    Ok(())
}
