//! The cells of a report: the serving one, and neighbours in an order that each maker chose.

use crate::contract::{Instance, RecordBuilder, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::hex;
use crate::kit::parse::number;

/// Which of a neighbour's three fields stands first.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Cell,
    Lac,
    Signal,
}

/// Adds `[MCC, MNC, LAC, cell]`, the last two hexadecimal.
pub(super) fn push_serving(parts: [&str; 4], message: &mut RecordBuilder<'_>) {
    let [mcc, mnc, lac, id] = parts;
    let cell = Cell {
        mcc: number(mcc),
        mnc: number(mnc),
        lac: hex::number(lac),
        id: hex::number(id),
        dbm: None,
    };
    cells::push(message, 0, cell);
}

/// Adds neighbours of three fields each; `serving` has MCC, MNC and LAC.
pub(super) fn push(serving: [&str; 3], parts: &[&str], message: &mut RecordBuilder<'_>) {
    let [mcc, mnc, lac] = serving;
    let order = order(lac, parts);
    let mut number_of: Instance = 0;
    for triple in parts.chunks_exact(3) {
        let [a, b, c] = *triple else { continue };
        let [a, b, c] = [a, b, c].map(|part| part.trim_matches(['(', ')']));
        let (lac, id, signal) = match order {
            Order::Cell => (b, a, c),
            Order::Lac => (a, b, c),
            Order::Signal => (b, c, a),
        };
        let (Some(lac), Some(id)) = (hex::number(lac), hex::number(id)) else {
            continue;
        };
        if lac == 0 && id == 0 {
            continue;
        }
        number_of += 1;
        let signal = number::<i64>(signal);
        let cell = Cell {
            mcc: number(mcc),
            mnc: number(mnc),
            lac: Some(lac),
            id: Some(id),
            dbm: signal.filter(|signal| *signal < 0),
        };
        cells::push(message, number_of, cell);
        let step = signal.filter(|signal| *signal >= 0);
        message.push_some((fields::GSM_SIGNAL_ENUM_N, number_of), step);
    }
}

/// Which order it is: a signal has two digits or a sign; neighbours share the serving cell's area
/// as a rule. The standard names the cell first.
fn order(serving_lac: &str, parts: &[&str]) -> Order {
    let signal = |text: &&str| {
        let text = text.trim_matches(['(', ')']);
        text.starts_with('-') || text.len() <= 2 && number::<u8>(text).is_some()
    };
    let same = |place: usize| {
        let triples = parts.chunks_exact(3);
        triples
            .filter(|triple| {
                let lac = triple.get(place).map(|lac| lac.trim_matches(['(', ')']));
                lac.and_then(hex::number) == hex::number(serving_lac)
            })
            .count()
    };
    let mut triples = parts
        .chunks_exact(3)
        .filter(|triple| triple.iter().any(|part| *part != "x"));
    let first_is_signal = triples.next().is_some_and(|triple| {
        triple.first().is_some_and(signal) && !triple.last().is_some_and(signal)
    });
    if first_is_signal {
        Order::Signal
    } else if same(0) > same(1) {
        Order::Lac
    } else {
        Order::Cell
    }
}
