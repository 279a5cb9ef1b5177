//! Commands to devices, at once or by their queue, and what became of them.

use super::answer::{self, Answer, Error, code};
use super::call::Call;
use super::items::Kind;
use super::selector::Selector;
use crate::control::CommandRefused;
use crate::ids::DeviceId;
use crate::router::{Command, Ended, Outcome};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long an answer is waited for: least, unless said, most; seconds.
const TIMEOUT_S: (u64, u64, u64) = (5, 30, 60);
/// How long a command may wait in its queue: least, unless said, most; seconds.
const TTL_S: (u64, u64, u64) = (60, 86_400, 30 * 86_400);
/// How often a command is sent before it is given up: unless said, most.
const ATTEMPTS: (u64, u64) = (3, 10);
/// Calls that wait for trackers to answer: each holds a thread.
const WAITING_MAX: usize = 64;
/// Commands of one call.
const COMMANDS_MAX: usize = 1_000;

static WAITING: AtomicUsize = AtomicUsize::new(0);

/// A call that waits for answers.
struct Place;

impl Place {
    fn take() -> Result<Self, Error> {
        let before = WAITING.fetch_add(1, Ordering::Relaxed);
        let place = Self;
        if before < WAITING_MAX {
            return Ok(place);
        }
        Err(Error::unable(format!(
            "{WAITING_MAX} calls wait for answers of devices already: use the commands-queue, or try again"
        )))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the body says of a command; its device and number are not known yet.
fn read(at: usize, object: &Value, stored: bool, now_us: i64) -> Result<Command, Error> {
    let wrong = |name: &str, reason: &str| Error::field(format!("[{at}].{name}"), reason);
    let Value::Object(fields) = object else {
        return Err(Error::bad("a command must be an object"));
    };
    let number = |name: &str, unless: u64, range: std::ops::RangeInclusive<u64>| {
        let Some(value) = fields.get(name) else {
            return Ok(unless);
        };
        let number = value.as_u64().filter(|number| range.contains(number));
        let (least, most) = (range.start(), range.end());
        number.ok_or_else(|| wrong(name, &format!("must be a number of {least} to {most}")))
    };
    for name in fields.keys() {
        let known = match (name.as_str(), stored) {
            ("name" | "properties" | "timeout" | "priority" | "max_attempts", _) => true,
            ("ttl", stored) => stored,
            _ => false,
        };
        if !known {
            return Err(wrong(name, "field is not allowed"));
        }
    }
    let name = fields.get("name").and_then(Value::as_str);
    let name = name.filter(|name| !name.is_empty() && name.len() <= 128);
    let name = name.ok_or_else(|| wrong("name", "must be the name of a command"))?;
    let (least, unless, most) = TIMEOUT_S;
    let timeout_s = number("timeout", unless, least..=most)?;
    let (least, unless, most) = TTL_S;
    let lives_s = if stored {
        number("ttl", unless, least..=most)?
    } else {
        timeout_s
    };
    let (unless, most) = ATTEMPTS;
    let attempts = number("max_attempts", if stored { unless } else { 1 }, 1..=most)?;
    Ok(Command {
        id: 0,
        device: DeviceId::NONE,
        name: name.to_owned(),
        properties: match fields.get("properties") {
            None | Some(Value::Null) => Value::Object(Map::new()),
            Some(properties) => properties.clone(),
        },
        priority: u8::try_from(number("priority", 0, 0..=255)?).unwrap_or(0),
        timeout_ms: u32::try_from(timeout_s * 1_000).unwrap_or(u32::MAX),
        attempts_max: u8::try_from(attempts).unwrap_or(1),
        expires_us: now_us.saturating_add_unsigned(lives_s * 1_000_000),
        stored,
    })
}

fn row(command: &Command) -> Value {
    let made_us = i64::try_from(command.id).unwrap_or(i64::MAX);
    json!({
        "id": command.id,
        "device_id": command.device,
        "name": command.name,
        "properties": command.properties,
        "priority": command.priority,
        "max_attempts": command.attempts_max,
        "timeout": command.timeout_ms / 1_000,
        "timestamp": answer::seconds(made_us),
        "expires": if command.stored { command.expires_us.div_euclid(1_000_000) } else { 0 },
        "executed": false,
    })
}

fn result_row(ended: &Ended) -> Value {
    let mut row = row(&ended.command);
    row["executed"] = ended.outcome.is_executed().into();
    row["ended"] = answer::seconds(ended.at_us);
    row["outcome"] = ended.outcome.name().into();
    match &ended.outcome {
        Outcome::Answered(text) => row["response"] = text.as_str().into(),
        Outcome::Wrong(why) => row["reason"] = why.as_str().into(),
        _ => {}
    }
    row
}

fn error_of(refused: &CommandRefused, device: DeviceId) -> Error {
    let status = match refused {
        CommandRefused::Store(_) => return Error::unable(refused.to_string()),
        CommandRefused::Full(_) => {
            return Error {
                id: Some(device.0),
                ..Error::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    code::LIMIT,
                    refused.to_string(),
                )
            };
        }
        CommandRefused::NotConnected { .. } => StatusCode::CONFLICT,
        CommandRefused::Unknown { .. } | CommandRefused::Properties { .. } => {
            StatusCode::BAD_REQUEST
        }
    };
    Error {
        id: Some(device.0),
        ..Error::new(status, code::BAD, refused.to_string())
    }
}

/// Leaves the commands of the body with all chosen devices.
fn leave(call: &Arc<Call>, stored: bool) -> Result<(Vec<Command>, Vec<Error>), Error> {
    let chosen = call.choose(Kind::Device, 0)?;
    if chosen.ids.is_empty() && !chosen.errors.is_empty() {
        // whoever reaches no device hears nothing else
        return Ok((Vec::new(), chosen.errors));
    }
    let control = &call.state.control;
    let now_us = control.clock().now_us();
    let asked = call
        .objects()?
        .into_iter()
        .enumerate()
        .map(|(at, object)| read(at, object, stored, now_us))
        .collect::<Result<Vec<_>, _>>()?;
    if asked.len().saturating_mul(chosen.ids.len()) > COMMANDS_MAX {
        return Err(Error::bad(format!(
            "a call makes at most {COMMANDS_MAX} commands"
        )));
    }
    let mut errors = chosen.errors;
    let mut taken = Vec::new();
    for id in chosen.ids {
        let Some(device) = control.registry().device(DeviceId(id)) else {
            errors.push(Error::missing(id));
            continue;
        };
        for command in &asked {
            if call.query.dry_run {
                taken.push(Command {
                    device: device.id,
                    ..command.clone()
                });
                continue;
            }
            match control.command(&device, command.clone()) {
                Ok(command) => taken.push(command),
                Err(refused) => errors.push(error_of(&refused, device.id)),
            }
        }
    }
    Ok((taken, errors))
}

/// POST of commands that go at once: answered when the trackers have, or their time is over.
pub(super) fn at_once(call: &Arc<Call>) -> Result<Answer, Error> {
    let _place = Place::take()?;
    let (taken, mut errors) = leave(call, false)?;
    if call.query.dry_run {
        return Ok(Answer::list(taken.iter().map(row).collect(), errors));
    }
    let commands = call.state.control.router().commands();
    let longest_ms = taken.iter().map(|command| command.timeout_ms).max();
    let wait = Duration::from_millis(longest_ms.unwrap_or(0).into());
    let ids: Vec<u64> = taken.iter().map(|command| command.id).collect();
    let ended = commands.wait(&ids, wait);
    let mut rows = Vec::new();
    for command in &taken {
        let found = ended.iter().find(|ended| ended.command.id == command.id);
        let of = |reason: String| Error {
            id: Some(command.id),
            ..Error::bad(reason)
        };
        match found {
            Some(ended) if ended.outcome.is_executed() => rows.push(result_row(ended)),
            Some(Ended {
                outcome: Outcome::Wrong(why),
                ..
            }) => errors.push(of(format!(
                "command {} properties validation failed: {why}",
                command.name
            ))),
            _ => errors.push(of(format!(
                "failed to deliver command {} with timeout pending, device with id {} has not answered",
                command.name, command.device
            ))),
        }
    }
    // nobody waits for them any more
    for device in taken.iter().map(|command| command.device) {
        let control = &call.state.control;
        control.cancel_commands(device, |command| ids.contains(&command.id));
    }
    Ok(Answer::list(rows, errors))
}

/// POST of commands that wait for their devices.
pub(super) fn queue(call: &Arc<Call>) -> Result<Answer, Error> {
    let (taken, errors) = leave(call, true)?;
    Ok(Answer::list(taken.iter().map(row).collect(), errors))
}

/// Which commands of a list the path means; ids that are not there are errors.
fn wanted(call: &Call, rows: Vec<Value>, mut errors: Vec<Error>) -> Result<Answer, Error> {
    let text = match call.text(1) {
        "" => "all",
        text => text,
    };
    let selector = Selector::parse(text).map_err(|e| Error::selector(text, e.to_string()))?;
    let mut rows = rows;
    errors.extend(selector.keep(&mut rows).into_iter().map(Error::missing));
    if let Some(names) = &call.query.fields {
        for row in &mut rows {
            *row = super::live::only(row, names);
        }
    }
    Ok(Answer::list(rows, errors))
}

/// What waits for a device, for its row.
pub(super) fn queue_of(call: &super::State, device: DeviceId) -> Value {
    let commands = call.control.router().commands().of_device(device);
    let stored = commands.iter().filter(|command| command.stored);
    stored.map(row).collect()
}

/// GET of what waits.
pub(super) fn queued(call: &Arc<Call>) -> Result<Answer, Error> {
    let chosen = call.choose(Kind::Device, 0)?;
    let commands = call.state.control.router().commands();
    let all = chosen.ids.iter().flat_map(|id| {
        let of_device = commands.of_device(DeviceId(*id)).into_iter();
        of_device.filter(|command| command.stored)
    });
    let rows = all.map(|command| row(&command)).collect();
    wanted(call, rows, chosen.errors)
}

/// DELETE of what waits.
pub(super) fn cancel(call: &Arc<Call>) -> Result<Answer, Error> {
    let chosen = call.choose(Kind::Device, 0)?;
    let text = call.text(1);
    let selector = Selector::parse(text).map_err(|e| Error::selector(text, e.to_string()))?;
    let control = &call.state.control;
    let means = |command: &Command| {
        let by_id = match &selector {
            Selector::Ids { ids, .. } => ids.contains(&command.id),
            _ => true,
        };
        command.stored && by_id && selector.fits(&row(command))
    };
    let mut rows = Vec::new();
    for id in chosen.ids {
        let device = DeviceId(id);
        if call.query.dry_run {
            let waits = control.router().commands().of_device(device);
            rows.extend(waits.iter().filter(|command| means(command)).map(row));
        } else {
            let ended = control.cancel_commands(device, means);
            rows.extend(ended.iter().map(|ended| json!({ "id": ended.command.id })));
        }
    }
    let mut errors = chosen.errors;
    if let Selector::Ids { ids, .. } = &selector {
        let gone = ids
            .iter()
            .filter(|id| !rows.iter().any(|row| row["id"] == **id));
        errors.extend(gone.map(|id| Error::missing(*id)));
    }
    Ok(Answer::list(rows, errors))
}

/// GET of what became of commands.
pub(super) fn results(call: &Arc<Call>) -> Result<Answer, Error> {
    let chosen = call.choose(Kind::Device, 0)?;
    let commands = call.state.control.router().commands();
    let of_devices = chosen
        .ids
        .iter()
        .flat_map(|id| commands.results(DeviceId(*id)));
    let rows = of_devices.map(|ended| result_row(&ended)).collect();
    wanted(call, rows, chosen.errors)
}
