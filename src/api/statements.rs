//! Usage statements of the account that calls, or that the operator names.

use super::answer::{Answer, Error};
use super::call::Call;
use crate::account::Totals;
use crate::journal::statement::{Statement, StatementError};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const S_PER_DAY: i64 = 86_400;
/// Days of one answer, at most: the two years that are kept.
const DAYS_MAX: i64 = 732;

/// A day as the call says it, its beginning in unix s.
fn day(name: &str, value: &Value) -> Result<i64, Error> {
    let date = value
        .as_str()
        .and_then(|text| text.parse::<jiff::civil::Date>().ok());
    date.and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok())
        .map(|at| at.timestamp().as_second())
        .ok_or_else(|| Error::field(name, "must be a day, such as \"2026-11-30\""))
}

fn row(statement: &Statement) -> Value {
    let mut row = Map::new();
    row.insert("cid".into(), statement.account.0.into());
    let day = jiff::Timestamp::from_second(statement.day_s);
    let day = day.map_or(String::new(), |at| at.strftime("%Y-%m-%d").to_string());
    row.insert("day".into(), day.into());
    row.insert("timestamp".into(), statement.day_s.into());
    for (name, value) in Totals::NAMES.iter().zip(statement.totals.to_array()) {
        row.insert((*name).to_owned(), value.into());
    }
    let mut hash = |name: &str, hash: &blake3::Hash| {
        row.insert(name.to_owned(), json!(hash.to_hex().as_str()));
    };
    hash("previous", &statement.previous);
    hash("hash", &statement.hash);
    Value::Object(row)
}

/// GET of the statements of closed days, `from` and `to` in them; without them the last one.
pub(super) fn statements(call: &Arc<Call>) -> Result<Answer, Error> {
    let control = &call.state.control;
    let root = call.caller.root;
    if control.registry().account(root).is_none() {
        return Err(Error::field("x-flespi-cid", "says of which account"));
    }
    let (mut from_s, mut to_s) = (None, None);
    for (name, value) in &call.options()? {
        match name.as_str() {
            "from" => from_s = Some(day(name, value)?),
            "to" => to_s = Some(day(name, value)?),
            _ => return Err(Error::field(name, "is not known: from and to are")),
        }
    }
    let now_s = control.clock().now_us().div_euclid(1_000_000);
    let today_s = now_s.div_euclid(S_PER_DAY) * S_PER_DAY;
    let to_s = to_s.unwrap_or(today_s - S_PER_DAY).min(today_s);
    let from_s = from_s.unwrap_or(to_s);
    if (to_s - from_s) / S_PER_DAY > DAYS_MAX {
        return Err(Error::field("from", "is too long ago"));
    }
    let statements = control
        .journal()
        .usage_statements(root, from_s, to_s.saturating_add(S_PER_DAY))
        .map_err(|error| match error {
            StatementError::TooOld(_) => Error::field("from", error.to_string()),
            StatementError::Ledger(_) => {
                tracing::error!(%error, "statements cannot be read");
                Error::unable("the statements cannot be read now")
            }
        })?;
    Ok(Answer::list(
        statements.iter().map(row).collect(),
        Vec::new(),
    ))
}
