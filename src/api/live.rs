//! What is there now: connections, idents that no device has, telemetry.

use super::answer::{self, Answer, Error, Row};
use super::call::Call;
use super::expression::fits_pattern;
use super::items::Kind;
use super::selector::{Selector, names_it};
use super::telemetry::{Wanted, write_telemetry};
use crate::ids::{ChannelId, DeviceId};
use crate::router::{CloseCode, Facts};
use serde_json::{Value, json};
use std::sync::Arc;

/// The connections that a call means, with the device that each row is about.
fn connections(call: &Arc<Call>, kind: Kind) -> Result<(Vec<Value>, Vec<Error>), Error> {
    let chosen = call.choose(kind, 0)?;
    let text = call.text(1);
    let selector = Selector::parse(text).map_err(|e| Error::selector(text, e.to_string()))?;
    let wanted = |facts: &Facts| match kind {
        Kind::Channel => chosen.ids.contains(&facts.channel.0),
        _ => facts
            .carries
            .iter()
            .any(|carried| chosen.ids.contains(&carried.device.0)),
    };
    let router = call.state.control.router();
    let mut rows = Vec::new();
    for facts in router.connections(wanted) {
        rows.extend(rows_of(call, kind, &chosen.ids, &facts));
    }
    let mut errors = chosen.errors;
    errors.extend(selector.keep(&mut rows).into_iter().map(Error::missing));
    Ok((rows, errors))
}

/// One row for each device that the caller sees on it; of others there is none.
fn rows_of(call: &Call, kind: Kind, ids: &[u64], facts: &Facts) -> Vec<Value> {
    let row = |ident: Value, device: Value| {
        json!({
            "id": facts.id,
            "channel_id": facts.channel,
            "device_id": device,
            "ident": ident,
            "source": facts.peer.to_string(),
            "ip": facts.peer.ip().to_string(),
            "transport": "tcp",
            "established": answer::seconds(facts.established_us),
            "secondary": false,
            "parked": facts.parked,
            "meta": {},
        })
    };
    let registry = call.state.control.registry();
    let carries = facts.carries.iter().filter(|carried| match kind {
        Kind::Device => ids.contains(&carried.device.0),
        _ => registry.manages(call.caller.root, carried.account),
    });
    let rows: Vec<Value> = carries
        .map(|carried| row(carried.ident.as_str().into(), carried.device.0.into()))
        .collect();
    if rows.is_empty() && kind == Kind::Channel {
        return vec![row(Value::Null, Value::Null)];
    }
    rows
}

/// GET of connections.
pub(super) fn list_connections(call: &Arc<Call>, kind: Kind) -> Result<Answer, Error> {
    let (mut rows, errors) = connections(call, kind)?;
    if let Some(names) = &call.query.fields {
        for row in &mut rows {
            // what a connection's id is called where others stand beside it
            row["connection_id"] = row["id"].clone();
            *row = only(row, names);
        }
    }
    Ok(Answer::list(rows, errors))
}

/// These top-level fields of a row.
pub(super) fn only(row: &Value, names: &[String]) -> Value {
    let Value::Object(row) = row else {
        return row.clone();
    };
    let kept = row.iter().filter(|(key, _)| {
        names.iter().any(|name| {
            name == *key || name == "*" || name.contains('*') && fits_pattern(key, name)
        })
    });
    Value::Object(
        kept.map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    )
}

/// DELETE of connections.
pub(super) fn close_connections(call: &Arc<Call>, kind: Kind) -> Result<Answer, Error> {
    let (rows, errors) = connections(call, kind)?;
    let mut closed: Vec<u64> = rows.iter().filter_map(|row| row["id"].as_u64()).collect();
    closed.dedup();
    if !call.query.dry_run {
        for &id in &closed {
            let id = crate::ids::ConnectionId(id);
            call.state.control.router().close(id, CloseCode::ByUser);
        }
    }
    let rows = closed.into_iter().map(|id| json!({ "id": id })).collect();
    Ok(Answer::list(rows, errors))
}

/// GET of the idents that came to a channel and that no device has.
pub(super) fn idents(call: &Arc<Call>) -> Result<Answer, Error> {
    let chosen = call.choose(Kind::Channel, 0)?;
    let patterns = match call.text(1) {
        "" | "all" => "*",
        text => text,
    };
    let registry = call.state.control.registry();
    let mut rows = Vec::new();
    for id in chosen.ids {
        let Some(handle) = registry.channel(ChannelId(id)) else {
            continue;
        };
        let unknown = handle.unknown().list();
        for unknown in unknown {
            let ident = unknown.ident.as_str();
            if !patterns
                .split(',')
                .any(|pattern| fits_pattern(ident, pattern))
            {
                continue;
            }
            let decoded = unknown
                .record
                .as_deref()
                .and_then(protocols::Record::read)
                .map_or(Value::Null, |record| {
                    Value::Object(protocols::message_object(&record))
                });
            let row = json!({
                "ident": ident,
                "channel_id": id,
                "protocol_id": unknown.protocol,
                "size": unknown.frame_bytes,
                "count": unknown.count,
                "first_seen": answer::seconds(unknown.first_seen_us),
                "last_seen": answer::seconds(unknown.last_seen_us),
                "frame": protocols::kit::hex::encode(&unknown.frame),
                "message": decoded,
            });
            rows.push(match &call.query.fields {
                Some(names) => only(&row, names),
                None => row,
            });
        }
    }
    Ok(Answer::list(rows, chosen.errors))
}

/// A row of telemetry is seldom longer.
const ROW_BYTES: usize = 2048;

/// GET of telemetry: all of it, or the parameters that the path names.
pub(super) fn telemetry(call: &Arc<Call>) -> Result<Answer, Error> {
    let choosing = call.choosing(Kind::Device, 0)?;
    let wanted = Wanted::of(call.text(1));
    let shared = Arc::clone(call);
    let rows = choosing.ids.filter_map(move |id| {
        let handle = shared.state.control.registry().device(DeviceId(id))?;
        let mut row = Vec::with_capacity(ROW_BYTES);
        row.extend_from_slice(format!("{{\"id\":{id},\"telemetry\":").as_bytes());
        write_telemetry(&mut row, &handle, &wanted);
        row.push(b'}');
        Some(Ok(Row::Json(row)))
    });
    let mut answer = Answer::rows(rows);
    answer.good = choosing.good;
    answer.errors = choosing.errors;
    Ok(answer)
}

/// GET of settings. No device type has any, so the list is empty; clients that look for them go on.
pub(super) fn settings(call: &Arc<Call>) -> Result<Answer, Error> {
    let chosen = call.choose(Kind::Device, 0)?;
    let mut answer = Answer::list(Vec::new(), chosen.errors);
    answer.good |= !chosen.ids.is_empty();
    Ok(answer)
}

/// DELETE of telemetry.
pub(super) fn forget_telemetry(call: &Arc<Call>) -> Result<Answer, Error> {
    let chosen = call.choose(Kind::Device, 0)?;
    let selector = call.text(1);
    let mut rows = Vec::new();
    for id in chosen.ids {
        let Some(handle) = call.state.control.registry().device(DeviceId(id)) else {
            continue;
        };
        if !call.query.dry_run {
            handle
                .telemetry()
                .forget(|key| names_it(selector, &protocols::key_name(key)));
        }
        rows.push(json!({ "id": id }));
    }
    Ok(Answer::list(rows, chosen.errors))
}
