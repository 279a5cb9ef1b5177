//! The parameters of a D: `name:type:value`, separated by commas.
//!
//! Names are the tracker's own. The few that mean the same everywhere become parameters of the
//! dictionary, the others keep their name.

use super::fault::Fault;
use super::field::value;
use crate::contract::{Instance, Key, ParamId, RecordBuilder, Value, fields};
use crate::kit::parse::{float, number};

/// An item of the list.
enum Item<'f> {
    /// Its name, and its value by its type; further fields of the packet may follow its number.
    Param(&'f str, Option<Value<'f>>, Option<&'f str>),
    /// Not `name:type:value`.
    Odd,
    /// Of a type that there is not, or no number where its type says so.
    Unfit,
}

fn items(list: &str) -> impl Iterator<Item = (&str, Item<'_>)> {
    let list = value(list).unwrap_or_default();
    list.split(',')
        .filter(|item| !item.trim().is_empty())
        .map(|item| (item, read(item)))
}

fn read(item: &str) -> Item<'_> {
    let mut parts = item.splitn(3, ':');
    let (Some(name), Some(kind), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
        return Item::Odd;
    };
    let name = name.trim();
    match kind.trim() {
        _ if name.is_empty() => Item::Odd,
        "3" => Item::Param(name, Some(Value::Text(text)), None),
        "1" | "2" => {
            let (text, after) = text
                .split_once(';')
                .map_or((text, None), |(text, after)| (text, Some(after)));
            let Some(text) = value(text) else {
                return Item::Param(name, None, after);
            };
            let whole = number::<i64>(text).map(Value::Int);
            match whole.or_else(|| float(text).map(Value::Float)) {
                Some(number) => Item::Param(name, Some(number), after),
                None => Item::Unfit,
            }
        }
        _ => Item::Unfit,
    }
}

/// Does an item refuse the record?
pub(super) fn check(list: &str) -> Result<(), Fault> {
    if items(list).any(|(_, item)| matches!(item, Item::Unfit)) {
        return Err(Fault::Params);
    }
    Ok(())
}

/// Adds all of them; what is none of that form is kept as one text.
pub(super) fn push(message: &mut RecordBuilder<'_>, list: &str) {
    let mut odd = String::new();
    for (text, item) in items(list) {
        let rest = match item {
            Item::Param(name, value, after) => {
                match value.map(|value| (value, known(name, value))) {
                    Some((_, Some((key, value)))) => message.push(key, value),
                    Some((value, None)) => message.name(name, value),
                    None => {}
                }
                after
            }
            Item::Odd | Item::Unfit => Some(text),
        };
        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
            if !odd.is_empty() {
                odd.push(',');
            }
            odd.push_str(rest);
        }
    }
    if !odd.is_empty() {
        message.name("params", odd.as_str());
    }
}

fn as_number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Int(int) => Some(int as f64),
        Value::Float(float) => Some(float),
        _ => None,
    }
}

fn as_status(value: Value<'_>) -> Option<Value<'static>> {
    match value {
        Value::Int(0) => Some(false.into()),
        Value::Int(1) => Some(true.into()),
        Value::Text(text) if text.eq_ignore_ascii_case("true") => Some(true.into()),
        Value::Text(text) if text.eq_ignore_ascii_case("false") => Some(false.into()),
        _ => None,
    }
}

/// The dictionary's key and value of a name that means the same everywhere, if its value fits.
fn known<'f>(name: &str, value: Value<'f>) -> Option<(Key<'f>, Value<'f>)> {
    const NAME_BYTES_MAX: usize = 16;
    let mut lower = [0; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name.as_bytes());
    lower.make_ascii_lowercase();
    let name = std::str::from_utf8(lower).ok()?;
    let status = |id: ParamId| Some((Key::from(id), as_status(value)?));
    let ranged = |id: ParamId, most: f64| {
        let fits = as_number(value).is_some_and(|number| (0.0..=most).contains(&number));
        fits.then_some((Key::from(id), value))
    };
    let measured = |id: ParamId| as_number(value).map(|_| (Key::from(id), value));
    match name {
        "sos" => status(fields::ALARM_EVENT_TRIGGER),
        "motion" => status(fields::MOVEMENT_STATUS),
        "battery" => ranged(fields::BATTERY_LEVEL, 100.0),
        "pwr_int" => ranged(fields::BATTERY_VOLTAGE, 60.0),
        "pwr_ext" => ranged(fields::EXTERNAL_POWERSOURCE_VOLTAGE, 120.0),
        "cool_temp" => measured(fields::CAN_ENGINE_COOLANT_TEMPERATURE),
        "engine_temp" => measured(fields::CAN_ENGINE_TEMPERATURE),
        "fuel_volume" => measured(fields::CAN_FUEL_VOLUME),
        "avl_driver" => match value {
            Value::Text(_) => Some((fields::DRIVER_ID.into(), value)),
            _ => None,
        },
        _ => cell(name, value),
    }
}

/// `mcc1`, `mnc1`, `lac1`, `cell_id1`: without a number or with 1 the serving cell.
fn cell<'f>(name: &str, value: Value<'f>) -> Option<(Key<'f>, Value<'f>)> {
    const CELLS_MAX: Instance = 32;
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = match name.get(stem.len()..)? {
        "" => 1,
        digits => number::<Instance>(digits)?,
    };
    let (serving, neighbour) = match stem {
        "mcc" => (fields::GSM_MCC, fields::GSM_MCC_N),
        "mnc" => (fields::GSM_MNC, fields::GSM_MNC_N),
        "lac" => (fields::GSM_LAC, fields::GSM_LAC_N),
        "cell_id" => (fields::GSM_CELLID, fields::GSM_CELLID_N),
        _ => return None,
    };
    as_number(value)?;
    match number {
        1 => Some((serving.into(), value)),
        2..=CELLS_MAX => Some(((neighbour, number - 1).into(), value)),
        _ => None,
    }
}
