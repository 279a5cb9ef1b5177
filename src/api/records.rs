//! What is read and not written: protocols, device types, parameters, logs, statistics, the
//! recycle bin.

use super::answer::{self, Answer, Error};
use super::call::Call;
use super::dto;
use super::items::Kind;
use super::live::only;
use super::messages::Reading;
use super::selector::Selector;
use crate::account::Totals;
use crate::control::BIN_KEPT_US;
use crate::events::{Event, Origin, OriginKind, Query};
use crate::ids::AccountId;
use crate::journal::Period;
use crate::journal::levels::{self, Levels};
use crate::registry::types::{DeviceType, types_of};
use protocols::{Acks, PROTOCOLS, Protocol, fields::DICTIONARY};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Log records of one answer.
pub(super) const LOGS_MAX: usize = 10_000;
/// Log records of one answer unless it says otherwise.
const LOGS: usize = 1000;

/// Rows that stand in the program itself, chosen by id or by what they hold.
fn chosen(
    selector: &Selector,
    rows: impl Iterator<Item = Value>,
    names: Option<&[String]>,
    by_default: &[&str],
) -> (Vec<Value>, Vec<Error>) {
    let defaults: Vec<String> = by_default.iter().map(|name| (*name).to_owned()).collect();
    let names = names.unwrap_or(&defaults);
    let mut found = Vec::new();
    let mut ids_found = Vec::new();
    for row in rows {
        let id = row["id"].as_u64().unwrap_or(0);
        let named = match selector {
            Selector::Ids { ids, .. } => ids.contains(&id),
            Selector::All { .. } | Selector::Where(_) => true,
        };
        if named {
            ids_found.push(id);
            if selector.fits(&row) {
                found.push(only(&row, names));
            }
        }
    }
    let missing = match selector {
        Selector::Ids { ids, .. } => ids
            .iter()
            .filter(|id| !ids_found.contains(id))
            .map(|id| Error::missing(*id))
            .collect(),
        _ => Vec::new(),
    };
    (found, missing)
}

fn parameters() -> Vec<Value> {
    DICTIONARY
        .iter()
        .map(|param| {
            json!({
                "name": param.name,
                "type": param.kind.name(),
                "unit": param.unit,
                "info": param.meaning,
            })
        })
        .collect()
}

fn protocol_row(protocol: &'static Protocol, with_parameters: bool) -> Value {
    let info = protocol.info;
    let mut row = json!({
        "id": protocol.number,
        "name": info.name,
        "title": info.title,
        "features": {
            "shared_connection": info.shared,
            "commands": !info.commands.is_empty(),
            "acks": match info.acks {
                Acks::None => "none",
                Acks::Frame => "frame",
                Acks::Cumulative => "cumulative",
            },
            "settings": info.settings.iter().map(|s| s.name()).collect::<Vec<_>>(),
        },
        "port": info.port,
        "source": info.source,
        "version": info.version,
    });
    if with_parameters {
        row["message_parameters"] = parameters().into();
    }
    row
}

fn type_row(kind: &DeviceType) -> Value {
    let info = kind.protocol.info;
    let settings = info.settings.iter().map(|setting| {
        let name = setting.name().to_owned();
        (name, json!({ "type": "string" }))
    });
    let mut properties: Map<String, Value> = settings.collect();
    properties.insert("ident".into(), json!({ "type": "string", "minLength": 1 }));
    json!({
        "id": kind.id,
        "name": kind.name(),
        "title": kind.title(),
        "protocol_id": kind.protocol.number,
        "commands": info.commands,
        "configuration": { "type": "object", "required": ["ident"], "properties": properties },
    })
}

/// GET of protocols.
pub(super) fn protocols(call: &Arc<Call>) -> Result<Answer, Error> {
    let names = call.query.fields.as_deref();
    let with = names.is_some_and(|names| names.iter().any(|n| n == "message_parameters"));
    let rows = PROTOCOLS
        .iter()
        .map(|protocol| protocol_row(protocol, with));
    let (rows, errors) = chosen(&call.selector(0)?, rows, names, &["id", "name"]);
    Ok(Answer::list(rows, errors))
}

/// GET of a protocol's device types.
pub(super) fn device_types(call: &Arc<Call>) -> Result<Answer, Error> {
    let names = call.query.fields.as_deref();
    let all = PROTOCOLS
        .iter()
        .map(|protocol| protocol_row(protocol, false));
    let id = ["id".to_owned()];
    let (picked, mut errors) = chosen(&call.selector(0)?, all, Some(&id), &[]);
    let kinds = PROTOCOLS
        .iter()
        .filter(|protocol| picked.iter().any(|row| row["id"] == protocol.number))
        .flat_map(types_of);
    let rows: Vec<Value> = kinds.map(|kind| type_row(&kind)).collect();
    let selector = call.selector(1)?;
    let defaults = ["id", "name", "title"];
    let (rows, more) = chosen(&selector, rows.into_iter(), names, &defaults);
    errors.extend(more);
    Ok(Answer::list(rows, errors))
}

/// GET of message parameters, by name or mask.
pub(super) fn message_parameters(call: &Arc<Call>) -> Answer {
    let selector = call.text(0);
    let mut rows = parameters();
    rows.retain(|row| {
        super::selector::names_it(selector, row["name"].as_str().unwrap_or_default())
    });
    if let Some(names) = &call.query.fields {
        rows = rows.iter().map(|row| only(row, names)).collect();
    }
    Answer::list(rows, Vec::new())
}

/// Reads logs of what `wanted` says yes to.
fn logs(
    call: &Call,
    errors: Vec<Error>,
    wanted: &dyn Fn(Origin, AccountId) -> bool,
) -> Result<Answer, Error> {
    let reading = Reading::of(&call.options()?, &mut |name, _| Ok(name == "item_type"))?;
    let item_type = call.options()?.get("item_type").and_then(Value::as_u64);
    let query = Query {
        from_us: reading.from_us,
        to_us: reading.to_us,
        count: match reading.count {
            usize::MAX => LOGS,
            count => count.min(LOGS_MAX),
        },
        reverse: reading.reverse,
        wanted: &|origin, account| {
            wanted(origin, account)
                && item_type.is_none_or(|kind| u64::from(origin.kind.item_type()) == kind)
        },
        fits: &|event: &Event| {
            let filter = reading.filter.as_ref();
            filter.is_none_or(|filter| filter.holds_for(&event.json()))
        },
    };
    let found = call.state.control.events().read(&query).map_err(|error| {
        tracing::error!(%error, "the log cannot be read");
        Error::unable("the log cannot be read now")
    })?;
    let rows = found.iter().map(|event| match &reading.fields {
        Some(names) => only(&event.json(), names),
        None => event.json(),
    });
    Ok(Answer::list(rows.collect(), errors))
}

/// GET of the logs of items.
pub(super) fn item_logs(call: &Arc<Call>, kind: Kind) -> Result<Answer, Error> {
    let chosen = call.choose(kind, 0)?;
    if chosen.ids.is_empty() && !chosen.errors.is_empty() {
        return Ok(Answer::errors(chosen.errors));
    }
    let kinds: &[OriginKind] = match kind {
        Kind::Account => &[OriginKind::Subaccount, OriginKind::Customer],
        Kind::Limit => &[OriginKind::Limit],
        Kind::Token => &[OriginKind::Token],
        Kind::Channel => &[OriginKind::Channel],
        Kind::Device => &[OriginKind::Device],
    };
    let mut ids = chosen.ids;
    ids.sort_unstable();
    let registry = call.state.control.registry();
    logs(call, chosen.errors, &|origin, account| {
        kinds.contains(&origin.kind)
            && ids.binary_search(&origin.id).is_ok()
            // what happened to it under another account is that account's
            && registry.manages(call.caller.root, account)
    })
}

/// GET of the logs of the account itself: everything that is its own.
pub(super) fn customer_logs(call: &Arc<Call>) -> Result<Answer, Error> {
    let root = call.caller.root;
    logs(call, Vec::new(), &|_, account| account == root)
}

/// One row of statistics; what there was is left out where nobody knows it.
fn statistics_row(
    cid: AccountId,
    start_s: i64,
    totals: &Totals,
    held: Option<&Levels>,
) -> Map<String, Value> {
    let traffic = totals.bytes_in + totals.bytes_out + totals.usage_bytes;
    let mut row = Map::new();
    let mut put = |name: &str, value: u64| row.insert(name.to_owned(), value.into());
    put("channels_traffic", traffic);
    put("channels_messages", totals.messages);
    put("channels_connections", totals.connections);
    for (name, value) in Totals::NAMES.iter().zip(totals.to_array()) {
        if *name != "connections" && *name != "messages" {
            put(name, value);
        }
    }
    for (name, value) in levels::NAMES.iter().zip(held.into_iter().flatten()) {
        put(name, *value);
    }
    row.insert("cid".into(), cid.0.into());
    row.insert("timestamp".into(), start_s.into());
    row
}

/// Rows of what was used, and of what there was: a row for each time of which either says something.
/// What there was holds until the next row of it.
fn joined(
    used: Vec<(i64, Totals)>,
    held: Vec<(i64, Levels)>,
    from_s: i64,
) -> Vec<(i64, Totals, Option<Levels>)> {
    let mut used: BTreeMap<i64, Totals> = used.into_iter().collect();
    let held: BTreeMap<i64, Levels> = held.into_iter().collect();
    for start_s in held.range(from_s..).map(|(start_s, _)| *start_s) {
        used.entry(start_s).or_default();
    }
    used.into_iter()
        .map(|(start_s, totals)| {
            let now = held.range(..=start_s).next_back();
            (start_s, totals, now.map(|(_, levels)| *levels))
        })
        .collect()
}

/// The period that answers best: asked for, by the interval, or by the length of the time.
fn period_of(
    options: &Map<String, Value>,
    reading: &Reading,
    span_s: i64,
) -> Result<Period, Error> {
    const HOUR: i64 = 3600;
    const DAY: i64 = 86_400;
    if let Some(value) = options.get("period") {
        return Period::ALL
            .into_iter()
            .find(|period| value.as_str() == Some(period.name()))
            .ok_or_else(|| Error::field("period", "must be minute, hour, day or month"));
    }
    Ok(match reading.generalize {
        Some(interval) if interval < HOUR => Period::Minute,
        Some(interval) if interval < DAY => Period::Hour,
        None if span_s <= 2 * DAY => Period::Minute,
        None if span_s <= 62 * DAY => Period::Hour,
        Some(_) | None => Period::Day,
    })
}

/// GET of what the account and its branch used, from the journal's fold.
pub(super) fn statistics(call: &Arc<Call>) -> Result<Answer, Error> {
    const US_PER_S: i64 = 1_000_000;
    let options = call.options()?;
    let reading = Reading::of(&options, &mut |name, _| Ok(name == "period"))?;
    let root = call.caller.root;
    if call.state.control.registry().account(root).is_none() {
        return Err(Error::field("x-flespi-cid", "says of which account"));
    }
    let now_us = call.state.control.clock().now_us();
    // the minute that runs is in it
    let to_s = reading.to_us.min(now_us).div_euclid(US_PER_S);
    let from_s = match reading.from_us {
        i64::MIN => to_s - 86_400,
        from_us => from_us.div_euclid(US_PER_S),
    };
    let period = period_of(&options, &reading, to_s.saturating_sub(from_s))?;
    // what is older is not kept
    let from_s = match period.kept_s() {
        Some(kept_s) => from_s.max(now_us.div_euclid(US_PER_S).saturating_sub(kept_s)),
        None => from_s,
    };
    let from_s = period.start_s(from_s);
    let to_s = to_s.saturating_add(1);
    let journal = call.state.control.journal();
    let unreadable = |error| {
        tracing::error!(%error, "statistics cannot be read");
        Error::unable("the statistics cannot be read now")
    };
    let used = journal.statistics(root, period, from_s, to_s);
    let held = journal.levels(root, period, from_s, to_s);
    let rows = joined(used.map_err(unreadable)?, held.map_err(unreadable)?, from_s);
    let mut rows: Vec<_> = rows
        .into_iter()
        .filter_map(|(start_s, totals, held)| {
            reading.row(statistics_row(root, start_s, &totals, held.as_ref()))
        })
        .collect();
    if reading.reverse {
        rows.reverse();
    }
    Ok(Answer::rows(
        reading.ended(Box::new(rows.into_iter().map(Ok))),
    ))
}

/// GET of the recycle bin.
pub(super) fn deleted(call: &Arc<Call>) -> Result<Answer, Error> {
    let selector = call.selector(0)?;
    let bin = call
        .state
        .control
        .deleted(call.caller.scope())
        .map_err(|error| Error::unable(error.to_string()))?;
    let rows = bin.iter().map(|deleted| {
        let path = match deleted.what.as_str() {
            "account" => "platform/subaccounts",
            "limit" => "platform/limits",
            "channel" => "gw/channels",
            _ => "gw/devices",
        };
        json!({
            "id": deleted.id,
            "item_id": deleted.item_id,
            "item_type": path,
            "name": deleted.item.get("name").cloned().unwrap_or_default(),
            "cid": deleted.cid,
            "deleted": answer::seconds(deleted.deleted_us),
            "expires": answer::seconds(deleted.deleted_us.saturating_add(BIN_KEPT_US)),
        })
    });
    let all = [
        "id",
        "item_id",
        "item_type",
        "name",
        "cid",
        "deleted",
        "expires",
    ];
    let (rows, errors) = chosen(&selector, rows, call.query.fields.as_deref(), &all);
    Ok(Answer::list(rows, errors))
}

/// POST: brings deleted items back.
pub(super) fn restore(call: &Arc<Call>) -> Result<Answer, Error> {
    let selector = call.selector(0)?;
    let control = &call.state.control;
    let bin = control
        .deleted(call.caller.scope())
        .map_err(|error| Error::unable(error.to_string()))?;
    let rows = bin
        .iter()
        .map(|deleted| json!({ "id": deleted.id, "item_id": deleted.item_id, "cid": deleted.cid }));
    let (picked, mut errors) = chosen(&selector, rows, None, &["id"]);
    let mut restored = Vec::new();
    for id in picked.iter().filter_map(|row| row["id"].as_u64()) {
        match control.restore(call.caller.scope(), id, call.query.dry_run) {
            Ok(written) => {
                let mut sheet = dto::show(&call.state, &written.item, &call.wants());
                super::items::routed(
                    &mut sheet,
                    &written.item,
                    &written.rerouted,
                    call.query.dry_run,
                );
                sheet.insert("deleted_id".into(), id.into());
                restored.push(Value::Object(sheet));
            }
            Err(error) => errors.extend(call.refused(&error, Some(id))),
        }
    }
    Ok(Answer::list(restored, errors))
}
