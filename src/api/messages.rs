//! Messages of devices and channels.
//!
//! Both take `data` with `from`, `to`, `count`, `reverse`, `filter`, `fields`, `generalize` and
//! `method`. A channel's messages may be taken like a queue as well (`curr_key`, `limit_count`,
//! `limit_size`, `timeout`, `delete`); the answer has the `next_key` to go on with.

use super::State;
use super::answer::{Answer, Error, Rows};
use super::call::{Call, fields_of};
use super::expression::Expression;
use super::forms::{Columns, Format, Writer};
use super::items::{Ids, Kind};
use super::live::only;
use crate::ids::{ChannelId, DeviceId};
use crate::journal::{DeviceNames, Range, StoredMessage};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The longest that a call waits for the next message of a queue, in seconds.
pub(super) const TIMEOUT_S_MAX: u64 = 60;
/// Messages that one call takes from a queue unless it says otherwise.
const QUEUE_COUNT: usize = 10_000;
/// Bytes of them.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;

/// How rows of one interval become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Average,
    Minimum,
    Maximum,
}

/// What `data` says of a read by time.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// Unix us.
    pub(super) from_us: i64,
    /// Unix us, included.
    pub(super) to_us: i64,
    pub(super) count: usize,
    pub(super) reverse: bool,
    pub(super) filter: Option<Expression>,
    pub(super) fields: Option<Vec<String>>,
    /// Seconds.
    pub(super) generalize: Option<i64>,
    pub(super) method: Method,
}

/// Seconds as unix us.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a float saturates as an integer"
)]
pub(super) fn us_of(field: &str, value: &Value) -> Result<i64, Error> {
    value
        .as_f64()
        .map(|seconds| (seconds * 1e6).round() as i64)
        .ok_or_else(|| Error::field(field, "must be a time in seconds"))
}

pub(super) fn whole(field: &str, value: &Value) -> Result<u64, Error> {
    value
        .as_u64()
        .or_else(|| {
            let float = value.as_f64()?;
            (float >= 0.0 && float.fract() == 0.0).then(|| float.to_string().parse().ok())?
        })
        .ok_or_else(|| Error::field(field, "must be a whole number of 0 or more"))
}

impl Reading {
    /// Reads `data`; a name that `more` does not take either is refused.
    pub(super) fn of(
        options: &Map<String, Value>,
        more: &mut dyn FnMut(&str, &Value) -> Result<bool, Error>,
    ) -> Result<Self, Error> {
        let mut reading = Self {
            from_us: i64::MIN,
            to_us: i64::MAX,
            count: usize::MAX,
            reverse: false,
            filter: None,
            fields: None,
            generalize: None,
            method: Method::Average,
        };
        for (name, value) in options {
            match name.as_str() {
                "from" | "begin" => reading.from_us = us_of(name, value)?,
                "to" | "end" => reading.to_us = us_of(name, value)?,
                "count" => {
                    let count = usize::try_from(whole(name, value)?).unwrap_or(usize::MAX);
                    // flespi's clients send 0 for no bound
                    reading.count = if count == 0 { usize::MAX } else { count };
                }
                "reverse" => {
                    reading.reverse = value
                        .as_bool()
                        .ok_or_else(|| Error::field("reverse", "must be true or false"))?;
                }
                "filter" => match value.as_str() {
                    Some("") => {}
                    Some(text) => {
                        let text = text.trim();
                        let text = text
                            .strip_prefix('{')
                            .and_then(|text| text.strip_suffix('}'))
                            .unwrap_or(text);
                        let filter = Expression::parse(text)
                            .map_err(|error| Error::field("filter", error.to_string()))?;
                        reading.filter = Some(filter);
                    }
                    None => return Err(Error::field("filter", "must be a string")),
                },
                "fields" => match value.as_str() {
                    Some(text) => reading.fields = fields_of(text)?,
                    None => return Err(Error::field("fields", "must be a string")),
                },
                "generalize" => {
                    let seconds = whole(name, value)?;
                    let fits = i64::try_from(seconds)
                        .ok()
                        .filter(|s| (1..=31_622_400).contains(s));
                    reading.generalize = Some(fits.ok_or_else(|| {
                        Error::field("generalize", "must be an interval of 1 s to a year")
                    })?);
                }
                "method" => {
                    reading.method = match value.as_str() {
                        Some("average") => Method::Average,
                        Some("minimum") => Method::Minimum,
                        Some("maximum") => Method::Maximum,
                        _ => {
                            return Err(Error::field(
                                "method",
                                "must be average, minimum or maximum",
                            ));
                        }
                    }
                }
                other if more(other, value)? => {}
                other => return Err(Error::field(other, "field is not allowed")),
            }
        }
        Ok(reading)
    }

    /// Does a row fit, and what of it is shown?
    pub(super) fn row(&self, row: Map<String, Value>) -> Option<Value> {
        let row = Value::Object(row);
        if self.filter.as_ref().is_some_and(|f| !f.holds_for(&row)) {
            return None;
        }
        Some(match &self.fields {
            Some(names) => only(&row, names),
            None => row,
        })
    }

    /// Rows made of all rows of one interval, if that was asked for; at most `count`.
    pub(super) fn ended(&self, rows: Rows) -> Rows {
        let rows: Rows = match self.generalize {
            Some(interval_s) => Box::new(Generalized {
                rows,
                interval_s,
                method: self.method,
                open: None,
            }),
            None => rows,
        };
        Box::new(rows.take(self.count))
    }
}

/// One interval's row while it is made.
struct Interval {
    start_s: i64,
    row: Map<String, Value>,
    counts: Map<String, Value>,
}

struct Generalized {
    rows: Rows,
    interval_s: i64,
    method: Method,
    open: Option<Interval>,
}

/// A mean, whole where it is.
#[expect(
    clippy::cast_possible_truncation,
    reason = "only whole numbers in range are cast"
)]
fn mean(sum: f64, count: u64) -> Value {
    /// Up to here every whole number is itself as a float.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    let mean = sum / count as f64;
    if mean.fract() == 0.0 && mean.abs() < WHOLE_MAX {
        (mean as i64).into()
    } else {
        json!(mean)
    }
}

impl Interval {
    fn end(mut self, method: Method) -> Value {
        if method == Method::Average {
            for (name, count) in &self.counts {
                let count = count.as_u64().unwrap_or(1);
                if let (Some(sum), true) = (self.row.get(name).and_then(Value::as_f64), count > 1) {
                    self.row.insert(name.clone(), mean(sum, count));
                }
            }
        }
        self.row.insert("timestamp".into(), self.start_s.into());
        Value::Object(self.row)
    }

    fn add(&mut self, row: Map<String, Value>, method: Method) {
        for (name, value) in row {
            let Some(new) = value.as_f64() else {
                self.row.insert(name, value);
                continue;
            };
            let combined = match self.row.get(&name).and_then(Value::as_f64) {
                None => value,
                Some(old) => match method {
                    Method::Average => json!(old + new),
                    Method::Minimum if new >= old => continue,
                    Method::Maximum if new <= old => continue,
                    Method::Minimum | Method::Maximum => value,
                },
            };
            let count = self.counts.get(&name).and_then(Value::as_u64).unwrap_or(0);
            self.counts.insert(name.clone(), (count + 1).into());
            self.row.insert(name, combined);
        }
    }
}

impl Iterator for Generalized {
    type Item = Result<Value, Error>;

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float saturates as an integer"
    )]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let row = match self.rows.next() {
                Some(Ok(Value::Object(row))) => row,
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    return self.open.take().map(|open| Ok(open.end(self.method)));
                }
            };
            let at_s = row.get("timestamp").and_then(Value::as_f64).unwrap_or(0.0) as i64;
            let start_s = at_s
                .div_euclid(self.interval_s)
                .saturating_mul(self.interval_s);
            if let Some(open) = self.open.as_mut().filter(|open| open.start_s == start_s) {
                open.add(row, self.method);
                continue;
            }
            let mut fresh = Interval {
                start_s,
                row: Map::new(),
                counts: Map::new(),
            };
            fresh.add(row, self.method);
            if let Some(done) = self.open.replace(fresh) {
                return Some(Ok(done.end(self.method)));
            }
        }
    }
}

/// A stored message as an object, with what its device is called today.
fn object_of(state: &State, message: &StoredMessage) -> Map<String, Value> {
    match state.control.registry().device(message.device) {
        Some(handle) => {
            let device = handle.state.load();
            message.json(Some(DeviceNames {
                name: &device.item.name,
                type_id: u64::from(device.item.device_type_id),
            }))
        }
        None => message.json(None),
    }
}

fn unreadable(error: &std::io::Error) -> Error {
    tracing::error!(%error, "messages cannot be read");
    Error::unable("the messages cannot be read now")
}

/// The server time up to which messages with this time to live are gone.
fn gone_us(state: &State, ttl_s: u32) -> i64 {
    let ttl_us = i64::from(ttl_s).saturating_mul(1_000_000);
    state.control.clock().now_us().saturating_sub(ttl_us)
}

/// The times of a read as those of a device.
fn range_of(reading: &Reading) -> Range {
    let ms = |us: i64, up: bool| us.div_euclid(1000) + i64::from(up && us.rem_euclid(1000) != 0);
    Range {
        from: if reading.from_us == i64::MIN {
            i64::MIN
        } else {
            ms(reading.from_us, true)
        },
        to: if reading.to_us == i64::MAX {
            i64::MAX
        } else {
            ms(reading.to_us, false)
        },
        count: usize::MAX,
        reverse: reading.reverse,
    }
}

/// GET of devices' messages: device by device, each by its own time.
pub(super) fn of_devices(call: &Arc<Call>) -> Result<Answer, Error> {
    let reading = Reading::of(&call.options()?, &mut |_, _| Ok(false))?;
    if call.query.format == Some(Format::Gpx) && reading.fields.is_some() {
        return Err(Error::field("fields", "a track has its own fields"));
    }
    let choosing = call.choosing(Kind::Device, 0)?;
    let rows = device_rows(call, choosing.ids, &reading);
    let mut answer = Answer::rows(reading.ended(rows));
    answer.good = choosing.good;
    answer.errors = choosing.errors;
    formed(call, answer, &reading, &|call| {
        let ids = call.choosing(Kind::Device, 0)?.ids;
        Ok(reading.ended(device_rows(call, ids, &reading)))
    })
}

fn device_rows(call: &Arc<Call>, ids: Ids, reading: &Reading) -> Rows {
    let range = range_of(reading);
    let shared = Arc::clone(call);
    let filter = reading.clone();
    Box::new(ids.flat_map(move |id| {
        let control = &shared.state.control;
        let ttl_s = control
            .registry()
            .device(DeviceId(id))
            .map_or(0, |handle| handle.state.load().item.messages_ttl_s);
        let gone_us = gone_us(&shared.state, ttl_s);
        let state = Arc::clone(&shared.state);
        let filter = filter.clone();
        control
            .journal()
            .read_device(DeviceId(id), range)
            .filter_map(move |message| match message {
                Ok(message) if message.at_us <= gone_us => None,
                Ok(message) => filter.row(object_of(&state, &message)).map(Ok),
                Err(error) => Some(Err(unreadable(&error))),
            })
    }))
}

/// The answer in the form that the call asked for. A form has no place for errors: with one it is
/// refused as a whole. Which columns a table has is known when its rows (`again`) were seen once.
fn formed(
    call: &Arc<Call>,
    mut answer: Answer,
    reading: &Reading,
    again: &dyn Fn(&Arc<Call>) -> Result<Rows, Error>,
) -> Result<Answer, Error> {
    let Some(format) = call.query.format else {
        return Ok(answer);
    };
    if !answer.errors.is_empty() {
        return Ok(Answer::errors(answer.errors));
    }
    let names = reading.fields.as_ref();
    let names = names.filter(|names| !names.iter().any(|name| name.contains('*')));
    let columns = match (format, names) {
        (Format::Csv, Some(names)) => Columns::of(names.iter().cloned()),
        (Format::Csv, None) => {
            let mut columns = Columns::default();
            for row in again(call)? {
                if let Value::Object(row) = row? {
                    columns.see(&row);
                }
            }
            columns
        }
        _ => Columns::default(),
    };
    answer.form = Some(Writer::new(format, columns));
    Ok(answer)
}

/// What `data` says of a queue.
#[derive(Debug, Clone, Copy, Default)]
struct Queue {
    curr_key: Option<i64>,
    limit_count: Option<usize>,
    limit_size: Option<usize>,
    timeout_s: Option<u64>,
    delete: bool,
}

impl Queue {
    const fn is_asked_for(self) -> bool {
        self.curr_key.is_some()
            || self.limit_count.is_some()
            || self.limit_size.is_some()
            || self.timeout_s.is_some()
            || self.delete
    }

    fn take(&mut self, name: &str, value: &Value) -> Result<bool, Error> {
        let size = || whole(name, value).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        match name {
            "curr_key" => self.curr_key = Some(whole(name, value)?.try_into().unwrap_or(i64::MAX)),
            "limit_count" => self.limit_count = Some(size()?),
            "limit_size" => self.limit_size = Some(size()?),
            "timeout" => self.timeout_s = Some(whole(name, value)?),
            "delete" => {
                self.delete = value
                    .as_bool()
                    .ok_or_else(|| Error::field("delete", "must be true or false"))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// GET of channels' messages, by the server's time.
pub(super) fn of_channels(call: &Arc<Call>) -> Result<Answer, Error> {
    let mut queue = Queue::default();
    let reading = Reading::of(&call.options()?, &mut |name, value| queue.take(name, value))?;
    if call.query.format == Some(Format::Gpx) {
        return Err(Error::field("format", "tracks are of devices"));
    }
    if queue.is_asked_for() {
        if call.query.format.is_some() {
            return Err(Error::field("format", "a queue is JSON: it has a next_key"));
        }
        let chosen = call.choose(Kind::Channel, 0)?;
        return match (chosen.ids.as_slice(), chosen.errors.is_empty()) {
            ([channel], true) => taken(call, ChannelId(*channel), queue, &reading),
            (_, false) => Ok(Answer::errors(chosen.errors)),
            _ => Err(Error::selector(call.text(0), "a queue is of one channel")),
        };
    }
    let choosing = call.choosing(Kind::Channel, 0)?;
    let rows = channel_rows(call, choosing.ids, &reading);
    let mut answer = Answer::rows(reading.ended(rows));
    answer.good = choosing.good;
    answer.errors = choosing.errors;
    formed(call, answer, &reading, &|call| {
        let ids = call.choosing(Kind::Channel, 0)?.ids;
        Ok(reading.ended(channel_rows(call, ids, &reading)))
    })
}

fn channel_rows(call: &Arc<Call>, ids: Ids, reading: &Reading) -> Rows {
    let shared = Arc::clone(call);
    let filter = reading.clone();
    Box::new(ids.flat_map(move |id| {
        let range = Range {
            from: filter.from_us.max(kept_from(&shared.state, ChannelId(id))),
            to: filter.to_us,
            count: usize::MAX,
            reverse: filter.reverse,
        };
        let state = Arc::clone(&shared.state);
        let filter = filter.clone();
        shared
            .state
            .control
            .journal()
            .read_channel(ChannelId(id), range)
            .filter_map(move |message| match message {
                Ok(message) => filter.row(object_of(&state, &message)).map(Ok),
                Err(error) => Some(Err(unreadable(&error))),
            })
    }))
}

/// The first server time that is still in a channel's buffer.
fn kept_from(state: &State, channel: ChannelId) -> i64 {
    let control = &state.control;
    let ttl_s = control
        .registry()
        .channel(channel)
        .map_or(0, |handle| handle.state.load().item.messages_ttl_s);
    gone_us(state, ttl_s)
        .max(control.purged_us(channel))
        .saturating_add(1)
}

/// A channel's messages like a queue. A key is a server time in us, which rises strictly from
/// frame to frame; a frame's messages come together.
fn taken(
    call: &Arc<Call>,
    channel: ChannelId,
    queue: Queue,
    reading: &Reading,
) -> Result<Answer, Error> {
    let state = &call.state;
    let from = queue.curr_key.unwrap_or(0);
    if queue.delete && from > 0 && !call.query.dry_run {
        purge(call, channel, from.saturating_sub(1))?;
    }
    let range = Range {
        from: from.max(kept_from(state, channel)),
        ..Range::default()
    };
    let count = queue
        .limit_count
        .unwrap_or(QUEUE_COUNT)
        .clamp(1, QUEUE_COUNT);
    let bytes = queue.limit_size.unwrap_or(QUEUE_BYTES).min(QUEUE_BYTES);
    let mut rows: Vec<Value> = Vec::new();
    let mut next_key = from;
    let (mut size, mut entry_rows, mut entry_at) = (0, 0, i64::MIN);
    for message in state.control.journal().read_channel(channel, range) {
        let message = message.map_err(|error| unreadable(&error))?;
        if message.at_us != entry_at {
            // what is full ends before the next frame
            if rows.len() >= count || size >= bytes {
                break;
            }
            entry_at = message.at_us;
            entry_rows = rows.len();
        }
        next_key = message.at_us.saturating_add(1);
        let row = object_of(state, &message);
        if let Some(row) = reading.row(row) {
            size += serde_json::to_string(&row).map_or(0, |text| text.len());
            rows.push(row);
        }
        // a frame that alone is too much comes whole; one that would overfill comes next time
        if rows.len() > count && entry_rows > 0 {
            rows.truncate(entry_rows);
            next_key = entry_at;
            break;
        }
    }
    let waits = queue.timeout_s.unwrap_or(0).min(TIMEOUT_S_MAX);
    let wait_ms = (rows.is_empty() && waits > 0 && !call.last).then_some(waits * 1000);
    let mut answer = Answer::list(rows, Vec::new()).with("next_key", next_key);
    answer.wait_ms = wait_ms;
    Ok(answer)
}

fn purge(call: &Call, channel: ChannelId, up_to_us: i64) -> Result<(), Error> {
    if call.may_delete_messages {
        call.state
            .control
            .purge_channel(channel, up_to_us)
            .map_err(|error| Error::unable(error.to_string()))
    } else {
        Err(Error::forbidden("action is not permitted by ACL"))
    }
}

/// What is deleted is said by times: what would narrow it further is refused, not passed over.
fn only_times(call: &Call, more: &[&str]) -> Result<(), Error> {
    let times = ["from", "begin", "to", "end"];
    let options = call.options()?;
    let other = options
        .keys()
        .find(|name| !times.contains(&name.as_str()) && !more.contains(&name.as_str()));
    other.map_or(Ok(()), |name| {
        Err(Error::field(name, "field is not allowed"))
    })
}

/// DELETE of devices' messages: those that are there now, or of them those from and to a time of the
/// devices. With `erase` everything there is, for good.
pub(super) fn delete_of_devices(call: &Arc<Call>) -> Result<Answer, Error> {
    only_times(call, &["erase"])?;
    let mut erase = false;
    let reading = Reading::of(&call.options()?, &mut |name, value| {
        if name == "erase" {
            let given = value.as_bool();
            erase = given.ok_or_else(|| Error::field("erase", "must be true or false"))?;
        }
        Ok(name == "erase")
    })?;
    let range = range_of(&reading);
    if erase && (range.from, range.to) != (Range::default().from, Range::default().to) {
        return Err(Error::field("erase", "erases everything: no from, no to"));
    }
    let chosen = call.choose(Kind::Device, 0)?;
    let control = &call.state.control;
    let mut rows = Vec::new();
    for id in chosen.ids {
        if !call.query.dry_run {
            let device = DeviceId(id);
            let done = if erase {
                control.erase(device)
            } else {
                control.delete_messages(device, range.from, range.to)
            };
            done.map_err(|error| Error::unable(error.to_string()))?;
        }
        rows.push(json!({ "id": id }));
    }
    Ok(Answer::list(rows, chosen.errors))
}

/// DELETE of channels' messages: all that are there, or those up to a time.
pub(super) fn clear_channels(call: &Arc<Call>) -> Result<Answer, Error> {
    only_times(call, &[])?;
    let reading = Reading::of(&call.options()?, &mut |_, _| Ok(false))?;
    let chosen = call.choose(Kind::Channel, 0)?;
    let now_us = call.state.control.clock().now_us();
    let mut rows = Vec::new();
    for id in chosen.ids {
        if !call.query.dry_run {
            let newest = Range {
                count: 1,
                reverse: true,
                ..Range::default()
            };
            // stamps rise strictly, so that the newest may be a little ahead of the clock
            let newest = call
                .state
                .control
                .journal()
                .read_channel(ChannelId(id), newest);
            let newest_us = newest.flatten().map(|message| message.at_us).max();
            let end_us = now_us.max(newest_us.unwrap_or(now_us));
            purge(call, ChannelId(id), reading.to_us.min(end_us))?;
        }
        rows.push(json!({ "id": id }));
    }
    Ok(Answer::list(rows, chosen.errors))
}
