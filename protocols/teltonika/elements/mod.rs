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
use common::COMMON;
use light::LIGHT;
use row::Element;
use row::Form::{
    Bounded, Bytes, Code, Flag, Not, Plain, Scaled, Signed, SignedScaled, Text, TwoBit, When,
};
use std::sync::LazyLock;

/// Which devices number their elements alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
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
    fn of(settings: &Settings) -> Self {
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

/// The tables of a family as one, and where the rows of an id are.
struct Table {
    /// Of each id the rows of the family's first table, then those of the next; last, in the same
    /// order, those for any number of bytes.
    rows: Vec<(u16, &'static Element)>,
    /// Where those of an id begin, by id; they end where those of the next begin.
    begins: Vec<u16>,
}

impl Table {
    fn of(tables: &[&'static [Element]]) -> Self {
        let mut rows: Vec<(u16, &'static Element)> = tables
            .iter()
            .flat_map(|rows| rows.iter())
            .flat_map(|row| (row.first..=row.last).map(move |id| (id, row)))
            .collect();
        rows.sort_by_key(|(id, row)| (*id, row.width == 0));
        let behind = rows.last().map_or(0, |(id, _)| usize::from(*id) + 1);
        let begin = |id: usize| {
            let first = rows.partition_point(|(other, _)| usize::from(*other) < id);
            u16::try_from(first).unwrap_or(u16::MAX)
        };
        Self {
            begins: (0..=behind).map(begin).collect(),
            rows,
        }
    }

    /// The row of an id with so many bytes.
    fn find(&self, id: u16, width: usize) -> Option<&'static Element> {
        let id = usize::from(id);
        let first = usize::from(*self.begins.get(id)?);
        let behind = usize::from(*self.begins.get(id + 1)?);
        let same = self.rows.get(first..behind)?.iter();
        same.map(|(_, row)| *row)
            .find(|row| usize::from(row.width) == width || row.width == 0)
    }
}

/// What the elements of a device stand for.
#[derive(Clone, Copy)]
pub(super) struct Elements {
    family: Family,
    table: &'static Table,
}

impl Elements {
    /// Of the device with these settings: to be asked once a frame.
    pub(super) fn of(settings: &Settings) -> Self {
        static ANY: LazyLock<Table> = LazyLock::new(|| Table::of(&[COMMON]));
        static BASIC: LazyLock<Table> = LazyLock::new(|| Table::of(&[basic::BASIC, LIGHT, COMMON]));
        static HEAVY: LazyLock<Table> = LazyLock::new(|| Table::of(&[heavy::HEAVY, COMMON]));
        static PORTABLE: LazyLock<Table> =
            LazyLock::new(|| Table::of(&[portable::PORTABLE, LIGHT, COMMON]));
        static FT: LazyLock<Table> = LazyLock::new(|| Table::of(&[ft::FT, COMMON]));
        let family = Family::of(settings);
        let table = match family {
            Family::Any => &ANY,
            Family::Basic => &BASIC,
            Family::Heavy => &HEAVY,
            Family::Portable => &PORTABLE,
            Family::Ft => &FT,
        };
        Self { family, table }
    }

    /// Adds the element `id` with the big-endian `bytes` of its value.
    pub(super) fn push(self, id: u16, bytes: &[u8], message: &mut RecordBuilder<'_>) {
        let number = number(bytes);
        if bytes.len() <= 8 && derived(id, bytes.len(), number, self.family, message) {
            return;
        }
        let as_it_came = if fixed(bytes.len()) {
            Value::unsigned(number)
        } else {
            Value::Bytes(bytes)
        };
        let Some(element) = self.table.find(id, bytes.len()) else {
            return message.wire(u32::from(id), as_it_came);
        };
        let further: Instance = id - element.first;
        let key = (element.param, element.instance + further);
        let scaled =
            |value: f64, factor, decimals| Value::Float(units::round(value * factor, decimals));
        let value = match element.form {
            Flag => Value::Bool(number != 0),
            Not => Value::Bool(number == 0),
            When(wanted) if number == wanted => Value::Bool(true),
            TwoBit if number < 2 => Value::Bool(number == 1),
            Plain if element.param == fields::GSM_SIM_IMSI => {
                return message.push(key, number.to_string().as_str());
            }
            Plain => Value::unsigned(number),
            Signed => Value::Int(signed(number, bytes.len())),
            Scaled(factor, decimals) => scaled(number as f64, factor, decimals),
            SignedScaled(factor, decimals) => {
                scaled(signed(number, bytes.len()) as f64, factor, decimals)
            }
            Bounded(least, most, factor, decimals) => match signed(number, bytes.len()) {
                value if (least..=most).contains(&value) => scaled(value as f64, factor, decimals),
                _ => return message.wire(u32::from(id), as_it_came),
            },
            Bytes => Value::Bytes(bytes),
            Code if number == 0 => return,
            Code => return message.push(key, hex::encode(bytes).as_str()),
            Text => match std::str::from_utf8(bytes) {
                Ok(text) => Value::Text(text.trim_matches(['\0', ' '])),
                Err(_) => return message.wire(u32::from(id), bytes),
            },
            When(_) | TwoBit => return message.wire(u32::from(id), as_it_came),
        };
        message.push(key, value);
    }
}

/// Is it the width of a group, where values are numbers?
fn fixed(width: usize) -> bool {
    matches!(width, 1 | 2 | 4 | 8)
}

/// The big-endian number in these bytes; of more than eight the last eight. The groups' widths have
/// arms of their own, because each is a single read.
fn number(bytes: &[u8]) -> u64 {
    match *bytes {
        [b0] => u64::from(b0),
        [b0, b1] => u64::from(u16::from_be_bytes([b0, b1])),
        [b0, b1, b2, b3] => u64::from(u32::from_be_bytes([b0, b1, b2, b3])),
        [b0, b1, b2, b3, b4, b5, b6, b7] => u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]),
        _ => bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)),
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
            COMMON,
            ft::FT,
            heavy::HEAVY,
            LIGHT,
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
    fn a_row_of_the_width_comes_before_one_of_any_and_a_familys_own_before_the_common() {
        let found = |model, id, width| {
            let mut settings = Settings::default();
            settings.set("model", model).expect("any text");
            let row = Elements::of(&settings).table.find(id, width);
            row.map(|row| row.param)
        };
        assert_eq!(found("FMB920", 16, 4), Some(fields::VEHICLE_MILEAGE));
        assert_ne!(found("FMB640", 16, 4), Some(fields::VEHICLE_MILEAGE));
        assert_eq!(found("none", 256, 17), Some(fields::VEHICLE_VIN));
        assert_eq!(found("none", u16::MAX, 1), None);
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
