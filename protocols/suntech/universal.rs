//! Reports of the universal devices: the mask says which fields are there; the devices in the field send
//! all of them.

use super::report::{
    Report, date_at, place_at, push_alert, push_left, push_place, push_serial, time_of,
};
use crate::contract::{Context, RecordBuilder, Reject, Time, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{float, number};

/// Reads a report.
pub(super) fn read(report: &Report<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let date = date_at(report);
    let place = date.and_then(|date| place_at(report, date + 2));
    let now_ms = cx.now_ms;
    let (Some(date), Some(place)) = (date, place) else {
        let time = date.map_or(Time::Received(now_ms), |date| time_of(report, date, cx));
        let mut message = cx.message(time)?;
        message.push(fields::MESSAGE_TYPE, report.kind);
        push_left(&mut message, report, 2);
        return Ok(());
    };
    let time = time_of(report, date, cx);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, report.kind);
    let before = |places: usize| date.checked_sub(places).map(|at| report.at(at));
    if before(1) == Some("0") {
        message.push(fields::MESSAGE_BUFFERED_STATUS, true);
    }
    message.push_some(fields::DEVICE_FIRMWARE_VERSION, before(2));
    if report.kind == "BSA" {
        message.push(fields::POSITION_VALID, true);
        message.push_some(fields::POSITION_LATITUDE, float(report.at(place)));
        message.push_some(fields::POSITION_LONGITUDE, float(report.at(place + 1)));
        push_left(&mut message, report, place + 2);
        return Ok(());
    }
    if place == date + 7 {
        let hexadecimal = |at: usize| i64::from_str_radix(report.at(at), 16).ok();
        let mcc = number(report.at(date + 3)).filter(|mcc| cells::is_mcc(*mcc));
        if mcc.is_some() {
            let cell = Cell {
                mcc,
                mnc: number(report.at(date + 4)),
                lac: hexadecimal(date + 5),
                id: hexadecimal(date + 2),
                dbm: None,
            };
            cells::push(&mut message, 0, cell);
        }
        message.push_some(fields::GSM_SIGNAL_ENUM, number::<u8>(report.at(date + 6)));
    }
    push_place(&mut message, report, place, report.at(place + 5) == "1");
    message.push_some(
        fields::POSITION_SATELLITES,
        number::<u8>(report.at(place + 4)),
    );
    let bits = |at: usize| u8::from_str_radix(report.at(at), 2).ok();
    push_states(&mut message, bits(place + 6), bits(place + 7));
    let id = place + 8;
    match report.kind {
        "STT" => {
            message.push_some(fields::VEHICLE_STATE_ENUM, number::<u8>(report.at(id)));
            message.push_some(fields::REPORT_REASON, number::<u16>(report.at(id + 1)));
            message.push_some(fields::RECORD_SEQNUM, number::<u32>(report.at(id + 2)));
            assigned(&mut message, report, id + 3);
        }
        "UEX" => {
            push_serial(&mut message, report.at(id + 1));
            assigned(&mut message, report, id + 3);
        }
        kind => {
            push_alert(&mut message, kind, report.at(id));
            push_left(&mut message, report, id + 1);
        }
    }
    Ok(())
}

/// Inputs with the ignition in bit 0, and outputs.
pub(super) fn push_states(
    message: &mut RecordBuilder<'_>,
    inputs: Option<u8>,
    outputs: Option<u8>,
) {
    if let Some(inputs) = inputs {
        message.push(fields::ENGINE_IGNITION_STATUS, inputs & 1 != 0);
        for input in 1u16..=3 {
            message.push((fields::DIN_N, input), inputs & 1 << input != 0);
        }
    }
    if let Some(outputs) = outputs {
        message.push(fields::DOUT, outputs);
        message.push((fields::DOUT_N, 1), outputs & 1 != 0);
        message.push((fields::DOUT_N, 2), outputs & 2 != 0);
    }
}

/// Values that the configuration adds: a mask of 32 bits, and a value for each bit that is set.
fn assigned(message: &mut RecordBuilder<'_>, report: &Report<'_>, at: usize) {
    let text = report.at(at);
    let mask = (text.len() == 8).then(|| u32::from_str_radix(text, 16).ok());
    let Some(mask) = mask.flatten() else {
        push_left(message, report, at);
        return;
    };
    let mut field = at + 1;
    for bit in (0..32u32).filter(|bit| mask & 1 << bit != 0) {
        let value = report.at(field);
        if !value.is_empty() {
            message.push(
                crate::contract::Key::Wire {
                    space: 1,
                    id: bit + 1,
                },
                value,
            );
        }
        field += 1;
    }
    push_left(message, report, field);
}
