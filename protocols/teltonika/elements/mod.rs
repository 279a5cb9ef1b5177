//! What an AVL id means: the table from ids of the wire to parameters.
//!
//! The same id means different things in different families of devices, and often the number of
//! its bytes tells which. Each family has a table of its own, looked at before `light` (what all but
//! trucks and the FT platform share) and `common` (what needs no knowledge of the device). Which family
//! it is, only the device's setting `model` says; without one `common` alone counts, and the rest is
//! kept under the wire's number.

mod basic;
mod common;
mod ft;
mod heavy;
mod light;
mod portable;
mod row;

use crate::contract::{Instance, RecordBuilder, Settings, Value, fields};
use crate::kit::{hex, units};
use row::Element;
use row::Form::{
    Bounded, Bytes, Code, Flag, Not, Plain, Scaled, Signed, SignedScaled, Text, TwoBit, When,
};
use std::sync::LazyLock;

/// Which devices number their elements alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Not known: no model is set.
    Any,
    /// FMB, FMC, FMM, FMU, FMT, FMP, MTB and relatives.
    Basic,
    /// FMx640, FMx641, FMx650: trucks.
    Heavy,
    /// TAT, TMT, TST, TFT, GH: assets and persons.
    Portable,
    /// FTC, FTM: the FT platform.
    Ft,
}

impl Family {
    pub(super) fn of(settings: &Settings) -> Self {
        let Some(model) = settings.model.as_deref() else {
            return Self::Any;
        };
        let starts = |begin: &str| {
            model
                .get(..begin.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(begin))
        };
        let heavy = ["64", "65"].iter().any(|series| {
            starts("FM")
                && model
                    .get(3..)
                    .is_some_and(|number| number.starts_with(series))
        });
        if heavy {
            Self::Heavy
        } else if [
            "FMB", "FMC", "FMM", "FMP", "FMT", "FMU", "FM30", "MTB", "MSP",
        ]
        .iter()
        .any(|b| starts(b))
        {
            Self::Basic
        } else if ["TAT", "TMT", "TST", "TFT", "GH"].iter().any(|b| starts(b)) {
            Self::Portable
        } else if ["FTC", "FTM"].iter().any(|b| starts(b)) {
            Self::Ft
        } else {
            Self::Any
        }
    }
}

/// A table, and where the rows of an id are.
struct Table {
    rows: &'static [Element],
    /// The rows of all ids, by id.
    of_ids: Vec<u16>,
    /// Where those of an id begin, by id; they end where those of the next begin.
    begins: Vec<u16>,
}

impl Table {
    fn of(rows: &'static [Element]) -> Self {
        let mut ids: Vec<(u16, u16)> = (0u16..)
            .zip(rows)
            .flat_map(|(row, element)| (element.first..=element.last).map(move |id| (id, row)))
            .collect();
        ids.sort_by_key(|(id, _)| *id);
        let behind = ids.last().map_or(0, |(id, _)| usize::from(*id) + 1);
        let begin = |id: usize| {
            let first = ids.partition_point(|(other, _)| usize::from(*other) < id);
            u16::try_from(first).unwrap_or(u16::MAX)
        };
        Self {
            rows,
            begins: (0..=behind).map(begin).collect(),
            of_ids: ids.into_iter().map(|(_, row)| row).collect(),
        }
    }

    /// The row of an id with so many bytes; 0 for any number of bytes.
    fn find(&self, id: u16, width: usize) -> Option<&'static Element> {
        let id = usize::from(id);
        let first = usize::from(*self.begins.get(id)?);
        let behind = usize::from(*self.begins.get(id + 1)?);
        let same = self.of_ids.get(first..behind)?;
        same.iter()
            .filter_map(|row| self.rows.get(usize::from(*row)))
            .find(|element| usize::from(element.width) == width)
    }
}

/// What the id of an element stands for in this family with so many bytes.
fn find(id: u16, width: usize, family: Family) -> Option<&'static Element> {
    static COMMON: LazyLock<Table> = LazyLock::new(|| Table::of(common::COMMON));
    static LIGHT: LazyLock<Table> = LazyLock::new(|| Table::of(light::LIGHT));
    static BASIC: LazyLock<Table> = LazyLock::new(|| Table::of(basic::BASIC));
    static HEAVY: LazyLock<Table> = LazyLock::new(|| Table::of(heavy::HEAVY));
    static PORTABLE: LazyLock<Table> = LazyLock::new(|| Table::of(portable::PORTABLE));
    static FT: LazyLock<Table> = LazyLock::new(|| Table::of(ft::FT));
    let tables: [Option<&LazyLock<Table>>; 3] = match family {
        Family::Any => [None, None, Some(&COMMON)],
        Family::Basic => [Some(&BASIC), Some(&LIGHT), Some(&COMMON)],
        Family::Heavy => [Some(&HEAVY), None, Some(&COMMON)],
        Family::Portable => [Some(&PORTABLE), Some(&LIGHT), Some(&COMMON)],
        Family::Ft => [Some(&FT), None, Some(&COMMON)],
    };
    let tables = || tables.iter().flatten();
    let with = |width: usize| tables().find_map(|table| table.find(id, width));
    with(width).or_else(|| with(0))
}

/// Is it the width of a group, where values are numbers?
fn fixed(width: usize) -> bool {
    matches!(width, 1 | 2 | 4 | 8)
}

/// Adds the element `id` with the big-endian `bytes` of its value.
pub(super) fn push(id: u16, bytes: &[u8], family: Family, message: &mut RecordBuilder<'_>) {
    let number = bytes
        .iter()
        .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    if bytes.len() <= 8 && derived(id, bytes.len(), number, family, message) {
        return;
    }
    let Some(element) = find(id, bytes.len(), family) else {
        if fixed(bytes.len()) {
            message.wire(u32::from(id), Value::unsigned(number));
        } else {
            message.wire(u32::from(id), bytes);
        }
        return;
    };
    let further: Instance = id - element.first;
    let key = (element.param, element.instance + further);
    match element.form {
        Flag => message.push(key, number != 0),
        Plain if element.param == fields::GSM_SIM_IMSI => {
            message.push(key, number.to_string().as_str());
        }
        Plain => message.push(key, Value::unsigned(number)),
        Signed => message.push(key, signed(number, bytes.len())),
        Scaled(factor, decimals) => {
            message.push(key, units::round(number as f64 * factor, decimals));
        }
        SignedScaled(factor, decimals) => {
            let value = signed(number, bytes.len());
            message.push(key, units::round(value as f64 * factor, decimals));
        }
        Bounded(least, most, factor, decimals) => match signed(number, bytes.len()) {
            value if (least..=most).contains(&value) => {
                message.push(key, units::round(value as f64 * factor, decimals));
            }
            _ => message.wire(u32::from(id), Value::unsigned(number)),
        },
        When(wanted) if number == wanted => message.push(key, true),
        TwoBit if number < 2 => message.push(key, number == 1),
        When(_) | TwoBit => message.wire(u32::from(id), Value::unsigned(number)),
        Not => message.push(key, number == 0),
        Bytes => message.push(key, bytes),
        Code if number == 0 => {}
        Code => message.push(key, hex::encode(bytes).as_str()),
        Text => match std::str::from_utf8(bytes) {
            Ok(text) => message.push(key, text.trim_matches(['\0', ' '])),
            Err(_) => message.wire(u32::from(id), bytes),
        },
    }
}

/// Elements that say more than one thing, or say it only by certain values.
fn derived(
    id: u16,
    width: usize,
    number: u64,
    family: Family,
    message: &mut RecordBuilder<'_>,
) -> bool {
    match (id, width) {
        // the operator's country and network in decimal digits
        (241, 4) => {
            message.push(fields::GSM_OPERATOR_CODE, number.to_string().as_str());
            let split = if number >= 100_000 { 1000 } else { 100 };
            if (10_000..1_000_000).contains(&number) {
                message.push(fields::GSM_MCC, Value::unsigned(number / split));
                message.push(fields::GSM_MNC, Value::unsigned(number % split));
            }
            true
        }
        (247, 1) if number > 0 => {
            message.push(fields::CRASH_EVENT_TRIGGER, true);
            false
        }
        // on a truck it is who drives
        (252, 1) if number > 0 && matches!(family, Family::Basic | Family::Portable) => {
            message.push(fields::POWER_CUT_EVENT_TRIGGER, true);
            false
        }
        (253, 1) => {
            let kind = match number {
                1 => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
                2 => fields::HARSH_BRAKING_EVENT_TRIGGER,
                3 => fields::HARSH_CORNERING_EVENT_TRIGGER,
                _ => return false,
            };
            message.push(kind, true);
            true
        }
        (255, 1) => {
            message.push(fields::OVERSPEEDING_EVENT_TRIGGER, true);
            false
        }
        _ => false,
    }
}

/// The number of so many bytes, as a signed one.
fn signed(number: u64, width: usize) -> i64 {
    let unused = u32::try_from(width)
        .ok()
        .and_then(|width| 64u32.checked_sub(8 * width))
        .filter(|unused| *unused < 64)
        .unwrap_or(0);
    (number << unused).cast_signed() >> unused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_in_the_order_of_the_ids_and_say_each_thing_once() {
        for rows in [
            basic::BASIC,
            common::COMMON,
            ft::FT,
            heavy::HEAVY,
            light::LIGHT,
            portable::PORTABLE,
        ] {
            assert!(rows.is_sorted_by_key(|element| element.first));
            let mut seen = std::collections::HashSet::new();
            for element in rows {
                assert!(element.first <= element.last, "{}", element.first);
                assert!(
                    element.instance > 0 || element.first == element.last,
                    "{}",
                    element.first
                );
                for id in element.first..=element.last {
                    assert!(seen.insert((id, element.width)), "{id} twice");
                }
            }
        }
    }

    #[test]
    fn the_model_says_the_family() {
        for (model, family) in [
            ("FMB920", Family::Basic),
            ("fmc130", Family::Basic),
            ("FMB640", Family::Heavy),
            ("FMC650", Family::Heavy),
            ("FM5300", Family::Any),
            ("TAT100", Family::Portable),
            ("FTC921", Family::Ft),
            ("something else", Family::Any),
        ] {
            let mut settings = Settings::default();
            settings.set("model", model).expect("any text");
            assert_eq!(Family::of(&settings), family, "{model}");
        }
    }

    #[test]
    fn bytes_of_any_width_have_their_sign() {
        assert_eq!(signed(0xff, 1), -1);
        assert_eq!(signed(0xfb5d, 2), -1187);
        assert_eq!(signed(0x7fff_ffff, 4), 0x7fff_ffff);
        assert_eq!(signed(u64::MAX, 8), -1);
    }
}
