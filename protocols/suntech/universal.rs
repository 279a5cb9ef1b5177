//! Reports of the universal devices: the mask says which fields are there, bit 1 the model to bit 21.

use super::report::{
    Report, civil, date_at, place_at, push_alert, push_left, push_place, push_serial, time_of,
};
use crate::contract::{Context, RecordBuilder, Reject, Time, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{float, number};
use crate::kit::time::{self, Civil};

/// The mask's bits, up to the outputs; then come three fields of the kind's own.
const MODEL: usize = 1;
const VERSION: usize = 2;
const LIVE: usize = 3;
const DATE: usize = 4;
const TIME: usize = 5;
const CELL: usize = 6;
const MCC: usize = 7;
const MNC: usize = 8;
const LAC: usize = 9;
const LEVEL: usize = 10;
const LATITUDE: usize = 11;
const LONGITUDE: usize = 12;
const SPEED: usize = 13;
const COURSE: usize = 14;
const SATELLITES: usize = 15;
const FIX: usize = 16;
const INPUTS: usize = 17;
const OUTPUTS: usize = 18;
/// The first of the kind's own fields.
const OWN: usize = 19;
/// Bits that announce one field each.
const BITS: usize = 22;

/// Where each of the mask's fields stands.
struct Layout {
    at: [Option<usize>; BITS],
    /// Behind the last of them.
    end: usize,
    /// Is a field without a meaning behind them?
    reserved: bool,
}

impl Layout {
    /// The layout that the mask says, if what stands there can be a date and a place.
    fn of(report: &Report<'_>) -> Option<Self> {
        const MASK: usize = 2;
        let mask = u32::from_str_radix(report.at(MASK), 16).ok()?;
        let mut layout = Self {
            at: [None; BITS],
            end: MASK + 1,
            reserved: mask >> BITS & 1 != 0,
        };
        for (bit, at) in layout.at.iter_mut().enumerate().skip(MODEL) {
            if mask >> bit & 1 != 0 {
                *at = Some(layout.end);
                layout.end += 1;
            }
        }
        let clock = civil(layout.text(report, DATE), layout.text(report, TIME));
        let place = float(layout.text(report, LATITUDE)).zip(float(layout.text(report, LONGITUDE)));
        let fits = clock.is_some()
            && place.is_some_and(|(latitude, longitude)| {
                latitude.abs() <= 90.0 && longitude.abs() <= 180.0
            });
        fits.then_some(layout)
    }

    fn text<'f>(&self, report: &Report<'f>, bit: usize) -> &'f str {
        let at = self.at.get(bit).copied().flatten();
        at.map_or("", |at| report.at(at))
    }
}

/// Reads a report.
pub(super) fn read(report: &Report<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let Some(layout) = Layout::of(report) else {
        return without_layout(report, cx);
    };
    let text = |bit: usize| layout.text(report, bit);
    let clock = civil(text(DATE), text(TIME)).and_then(Civil::utc_ms);
    let mut message = cx.message(time::or_impossible(clock, cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, report.kind);
    if text(LIVE) == "0" {
        message.push(fields::MESSAGE_BUFFERED_STATUS, true);
    }
    if !text(VERSION).is_empty() {
        message.push(fields::DEVICE_FIRMWARE_VERSION, text(VERSION));
    }
    network(&mut message, &layout, report);
    let valid = text(FIX) == "1" || report.kind == "BSA";
    let degrees = (float(text(LATITUDE)), float(text(LONGITUDE)));
    message.push(fields::POSITION_VALID, valid);
    if valid || degrees != (Some(0.0), Some(0.0)) {
        message.push_some(fields::POSITION_LATITUDE, degrees.0);
        message.push_some(fields::POSITION_LONGITUDE, degrees.1);
        message.push_some(fields::POSITION_SPEED, float(text(SPEED)));
        let course = float(text(COURSE)).filter(|course| (0.0..=360.0).contains(course));
        message.push_some(fields::POSITION_DIRECTION, course);
    }
    let satellites = number::<u8>(text(SATELLITES));
    message.push_some(fields::POSITION_SATELLITES, satellites);
    let bits = |bit: usize| u8::from_str_radix(text(bit), 2).ok();
    push_states(&mut message, bits(INPUTS), bits(OUTPUTS));
    let (first, second, third) = (text(OWN), text(OWN + 1), text(OWN + 2));
    match report.kind {
        "BSA" => push_left(&mut message, report, layout.end),
        "STT" => {
            message.push_some(fields::VEHICLE_STATE_ENUM, number::<u8>(first));
            message.push_some(fields::REPORT_REASON, number::<u16>(second));
            message.push_some(fields::RECORD_SEQNUM, number::<u32>(third));
            let at = layout.end + usize::from(layout.reserved);
            assigned(&mut message, report, at);
        }
        "UEX" => {
            push_serial(&mut message, second);
            assigned(&mut message, report, layout.end);
        }
        kind => {
            push_alert(&mut message, kind, first);
            let own = layout.at.get(OWN + 1).copied().flatten();
            push_left(&mut message, report, own.unwrap_or(layout.end));
        }
    }
    Ok(())
}

/// The serving cell and its level.
fn network(message: &mut RecordBuilder<'_>, layout: &Layout, report: &Report<'_>) {
    let text = |bit: usize| layout.text(report, bit);
    let hexadecimal = |bit: usize| i64::from_str_radix(text(bit), 16).ok();
    let mcc = number(text(MCC)).filter(|mcc| cells::is_mcc(*mcc));
    if mcc.is_some() {
        let cell = Cell {
            mcc,
            mnc: number(text(MNC)),
            lac: hexadecimal(LAC),
            id: hexadecimal(CELL),
            dbm: None,
        };
        cells::push(message, 0, cell);
    }
    message.push_some(fields::GSM_SIGNAL_ENUM, number::<u8>(text(LEVEL)));
}

/// A report whose mask does not fit its fields: the place by its form, and all else as it is.
fn without_layout(report: &Report<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let date = date_at(report);
    let place = date.and_then(|date| place_at(report, date + 2));
    let now_ms = cx.now_ms;
    let time = date.map_or(Time::Received(now_ms), |date| time_of(report, date, cx));
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, report.kind);
    let Some(place) = place else {
        push_left(&mut message, report, 2);
        return Ok(());
    };
    push_place(&mut message, report, place, report.at(place + 5) == "1");
    let satellites = number::<u8>(report.at(place + 4));
    message.push_some(fields::POSITION_SATELLITES, satellites);
    push_left(&mut message, report, place + 6);
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
