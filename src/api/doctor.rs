//! Why data does not arrive: Tollgate's own.

use super::answer::{self, Answer, Error};
use super::call::Call;
use super::items::Kind;
use super::messages::whole;
use crate::doctor::{diagnose, gather};
use crate::ids::DeviceId;
use serde_json::{Value, json};
use std::sync::Arc;

/// Devices or idents of one answer.
const ASKED_MAX: usize = 20;

fn page(call: &Call, ident: &str, channels: Option<&[u64]>) -> Value {
    let state = &call.state;
    let facts = gather(
        &state.control,
        &state.raw,
        call.caller.root,
        ident,
        channels,
    );
    let findings = diagnose(&facts);
    json!({
        "ident": ident,
        "diagnosis": findings.first(),
        "also": findings.get(1..).unwrap_or_default(),
        "facts": facts,
    })
}

/// GET of what stands in the way of idents.
pub(super) fn of_idents(call: &Arc<Call>) -> Result<Answer, Error> {
    let chosen = call.choose(Kind::Channel, 0)?;
    if chosen.ids.is_empty() && !chosen.errors.is_empty() {
        return Ok(Answer::errors(chosen.errors));
    }
    let channels = (call.text(0) != "all").then_some(chosen.ids.as_slice());
    let idents: Vec<&str> = call.text(1).split(',').map(str::trim).collect();
    if idents.len() > ASKED_MAX {
        return Err(Error::selector(
            call.text(1),
            format!("names more than {ASKED_MAX} idents"),
        ));
    }
    let pages = idents.iter().map(|ident| page(call, ident, channels));
    Ok(Answer::list(pages.collect(), chosen.errors))
}

/// GET of what stands in the way of devices, or with `silent` of who has fallen silent.
pub(super) fn of_devices(call: &Arc<Call>) -> Result<Answer, Error> {
    let chosen = call.choose(Kind::Device, 0)?;
    let mut options = call.options()?;
    if let Some(silent) = options.remove("silent") {
        let seconds = whole("silent", &silent)?;
        return Ok(Answer::list(
            silent_ones(call, &chosen.ids, seconds),
            chosen.errors,
        ));
    }
    if let Some(name) = options.keys().next() {
        return Err(Error::field(name.as_str(), "field is not allowed"));
    }
    if chosen.ids.len() > ASKED_MAX {
        return Err(Error::selector(
            call.text(0),
            format!(
                "means more than {ASKED_MAX} devices; with data={{\"silent\":3600}} it lists the silent ones"
            ),
        ));
    }
    let registry = call.state.control.registry();
    let pages = chosen.ids.iter().filter_map(|id| {
        let device = registry.device(DeviceId(*id))?;
        Some(page(call, device.ident.as_str(), None))
    });
    Ok(Answer::list(pages.collect(), chosen.errors))
}

/// Devices that sent something once and nothing for so long, by account, the longest first.
fn silent_ones(call: &Call, ids: &[u64], seconds: u64) -> Vec<Value> {
    let control = &call.state.control;
    let now_ms = control.clock().now_ms();
    let silent_ms = i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000);
    let mut silent = Vec::new();
    for id in ids {
        let Some(device) = control.registry().device(DeviceId(*id)) else {
            continue;
        };
        let Some(newest_ms) = device.telemetry().newest_ms() else {
            continue;
        };
        let connected = control.router().lives(device.present());
        if now_ms.saturating_sub(newest_ms) >= silent_ms && !connected {
            let state = device.state.load_full();
            silent.push((state.account.id(), newest_ms, device, state));
        }
    }
    silent.sort_by_key(|(account, newest_ms, ..)| (*account, *newest_ms));
    let rows = silent.iter().map(|(account, newest_ms, device, state)| {
        let name = control
            .registry()
            .account(*account)
            .map(|item| item.name.clone());
        json!({
            "cid": account,
            "account": name,
            "id": device.id,
            "name": state.item.name,
            "ident": device.ident.as_str(),
            "last_active": answer::seconds(newest_ms.saturating_mul(1_000)),
            "silent_for": now_ms.saturating_sub(*newest_ms) / 1_000,
        })
    });
    rows.collect()
}
