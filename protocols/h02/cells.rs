//! Cells: what V3, NBR, VP1 and the extras of positions say of the network.

use super::parts::Fields;
use crate::contract::{Instance, Key, RecordBuilder, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::number;

/// Adds the signal step of a cell, whose unit no maker tells.
fn push_step(message: &mut RecordBuilder<'_>, cell: Instance, step: Option<i64>) {
    let key: Key<'_> = if cell == 0 {
        fields::GSM_SIGNAL_ENUM.into()
    } else {
        (fields::GSM_SIGNAL_ENUM_N, cell).into()
    };
    message.push_some(key, step);
}

/// `count` groups of `width` fields, LAC and cell id first.
pub(super) fn groups(
    message: &mut RecordBuilder<'_>,
    (mcc, mnc): (Option<i64>, Option<i64>),
    groups: &[&str],
    width: usize,
) {
    for (group, cell) in groups.chunks_exact(width).zip(0..) {
        let (Some(lac), Some(id)) = (group.first(), group.get(1)) else {
            return;
        };
        cells::push(
            message,
            cell,
            Cell {
                mcc,
                mnc,
                lac: number(lac),
                id: number(id),
                dbm: group.get(3).and_then(|s| number(s)).filter(|dbm| *dbm < 0),
            },
        );
        push_step(message, cell, group.get(2).and_then(|s| number(s)));
    }
}

/// The groups of VP1: LAC, cell id and level, each but the last with a Y at the end.
pub(super) fn vp1(message: &mut RecordBuilder<'_>, rest: &Fields<'_>) {
    let code = |at: usize| rest.get(at).and_then(|s| number(s));
    let (mcc, mnc) = (code(1), code(2));
    let parts = rest.iter().skip(3).flat_map(|s| s.split('Y'));
    let parts: Fields<'_> = parts.collect();
    groups(message, (mcc, mnc), &parts, 3);
}

/// The cell among a position's extras; gives back how many of them it took. Nothing says in which
/// digits a maker writes them, so only what can be read in one way is read.
pub(super) fn extras(message: &mut RecordBuilder<'_>, extras: &[&str]) -> usize {
    let [mcc, mnc, lac, id, ..] = extras else {
        return 0;
    };
    let four = [*mcc, *mnc, *lac, *id];
    let hexadecimal = four
        .iter()
        .any(|s| s.bytes().any(|b| b.is_ascii_alphabetic()) || s.starts_with(' ') || s.len() == 6);
    let radix = if hexadecimal { 16 } else { 10 };
    let read = |s: &str| i64::from_str_radix(s.trim(), radix).ok();
    let [Some(mcc), Some(mnc), Some(lac), Some(id)] = four.map(read) else {
        return 0;
    };
    if !cells::is_mcc(mcc) || mnc < 0 || lac < 0 || id < 0 {
        return 0;
    }
    cells::push(
        message,
        0,
        Cell {
            mcc: Some(mcc),
            mnc: Some(mnc),
            lac: Some(lac),
            id: Some(id),
            dbm: None,
        },
    );
    4
}
