//! Kinds without a position: cells and Wi-Fi access points.

use super::alarms;
use super::make::Make;
use super::parts::{self, CellForm, SHORT};
use super::wire::Frame;
use crate::contract::{Context, RecordBuilder, Reject, Value, fields};
use crate::kit::cursor::Cursor;

/// How many cells the lists hold.
const CELLS: u16 = 7;
const TIME_BYTES: usize = 6;
const ACCESS_POINT_BYTES: usize = 7;
/// Wanway's S20: the timing advance before the network, and how many cells there are behind it.
const WANWAY_24_BYTES: usize = 44;

/// Is a kind that is sometimes something else a list of cells here?
pub(super) fn fits(kind: u8, content: &[u8]) -> bool {
    match kind {
        // a single cell, with or without a date; longer is a position
        0x11 => content.len() <= 16,
        // a cell and a telephone number, no date; a position with a card has one
        0x17 => !parts::is_time(content) && content.len() >= 8,
        0x24 => content.len() >= TIME_BYTES + 3 + 7 * 6 || content.len() == WANWAY_24_BYTES,
        _ => {
            let network = content.get(TIME_BYTES..).unwrap_or_default();
            let cells = CellForm::Lte.bytes(network) - 12 + 7 * 13;
            // the list, a timing advance, the number of access points and themselves
            let count = network.get(cells + 1).copied();
            count.is_some_and(|count| {
                network.len() == cells + 2 + usize::from(count) * ACCESS_POINT_BYTES
            })
        }
    }
}

/// Reads one; is it answered?
pub(super) fn read(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<bool, Reject> {
    match frame.kind {
        0x19 | 0xa5 => alarm(frame, cx).map(|()| true),
        0x11 | 0x17 => one(frame, cx).map(|()| true),
        0xf3 => access_points_only(frame, cx).map(|()| false),
        _ => list(frame, cx).map(|()| true),
    }
}

/// A cell and the terminal's status, without a date.
fn alarm(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let make = Make::of(cx.settings());
    let time = parts::received(cx);
    let mut body = Cursor::new(frame.body);
    let mut message = cx.message(time)?;
    let form = if frame.kind == 0xa5 {
        CellForm::Lte
    } else {
        CellForm::Gsm
    };
    parts::cell(&mut body, form, &mut message)?;
    let read = |body: &mut Cursor<'_>, message: &mut RecordBuilder<'_>| {
        parts::terminal(message, body.u8()?);
        parts::battery(message, body.u8()?);
        parts::signal(message, body.u8()?);
        alarms::push(message, body.u8()?, make);
        let _language = body.u8()?;
        Some(())
    };
    read(&mut body, &mut message).ok_or(SHORT)?;
    parts::leftover(&mut message, frame.kind, body.rest());
    Ok(())
}

/// One cell, perhaps behind a date, perhaps before a telephone number.
fn one(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(frame.body);
    let dated = frame.kind == 0x11 && frame.body.len() >= TIME_BYTES + 8;
    let time = if dated {
        parts::time(&mut body, frame.kind, None, cx)?
    } else {
        parts::received(cx)
    };
    let mut message = cx.message(time)?;
    parts::cell(&mut body, CellForm::Gsm, &mut message)?;
    parts::leftover(&mut message, frame.kind, body.rest());
    Ok(())
}

/// Date, network, seven cells (of kind 33 six) with their signal, timing advance, and access
/// points or a language.
fn list(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let kind = frame.kind;
    let mut body = Cursor::new(frame.body);
    let time = parts::time(&mut body, kind, None, cx)?;
    let mut message = cx.message(time)?;
    let form = if kind >= 0xa0 || kind == 0x33 {
        CellForm::Lte
    } else {
        CellForm::Gsm
    };
    let counted = kind == 0x24 && frame.body.len() == WANWAY_24_BYTES;
    let mut advance = if counted { body.u8() } else { None };
    let (mcc, mnc) = parts::network(&mut body, form).ok_or(SHORT)?;
    let cells = match kind {
        _ if counted => body.u8().map(u16::from).ok_or(SHORT)?,
        0x33 => CELLS - 1,
        _ => CELLS,
    };
    for number in 0..cells {
        let (lac, id) = form.area_and_id(&mut body).ok_or(SHORT)?;
        let signal = body.u8().ok_or(SHORT)?;
        if number == 0 {
            parts::push_cell(&mut message, mcc, mnc, lac, id);
            message.push(fields::GSM_SIGNAL_ENUM, signal);
        } else if lac != 0 || id != 0 {
            message.push((fields::GSM_LAC_N, number), lac);
            message.push((fields::GSM_CELLID_N, number), Value::unsigned(id));
            message.push((fields::GSM_SIGNAL_ENUM_N, number), signal);
        }
    }
    if !counted {
        advance = body.u8();
    }
    if let Some(advance) = advance.filter(|advance| *advance != 0xff) {
        message.push(fields::GSM_TIMING_ADVANCE, advance);
    }
    if matches!(kind, 0x2c | 0x33 | 0xa2) || kind == 0x18 && points_follow(body.rest()) {
        let count = body.u8().unwrap_or(0);
        for number in 1..=u16::from(count) {
            let mac = body.array::<6>().ok_or(SHORT)?;
            let signal = body.u8().ok_or(SHORT)?;
            access_point(&mut message, number, mac);
            message.push((fields::WIFI_SIGNAL_DBM_N, number), -i16::from(signal));
        }
    }
    // a language follows where access points do not
    if body.left() != 2 {
        parts::leftover(&mut message, kind, body.rest());
    }
    Ok(())
}

/// Is what is left a count and as many access points?
fn points_follow(rest: &[u8]) -> bool {
    rest.split_first()
        .is_some_and(|(count, points)| points.len() == usize::from(*count) * ACCESS_POINT_BYTES)
}

/// Date, count, and two bytes and an address each.
fn access_points_only(frame: &Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut body = Cursor::new(frame.body);
    let time = parts::time(&mut body, frame.kind, None, cx)?;
    let mut message = cx.message(time)?;
    let count = body.u8().ok_or(SHORT)?;
    for number in 1..=u16::from(count) {
        let _signal = body.u16().ok_or(SHORT)?;
        let mac = body.array::<6>().ok_or(SHORT)?;
        access_point(&mut message, number, mac);
    }
    parts::leftover(&mut message, frame.kind, body.rest());
    Ok(())
}

/// An access point's address; zeros are none.
pub(super) fn access_point(message: &mut RecordBuilder<'_>, number: u16, mac: [u8; 6]) {
    if mac != [0; 6] {
        let text = crate::kit::hex::mac(mac);
        message.push((fields::WIFI_MAC_N, number), text.as_str());
    }
}
