//! A call: who asks, for what, with which words.

use super::State;
use super::access::Caller;
use super::answer::Error;
use super::forms::Format;
use super::routes::Route;
use super::selector::Selector;
use crate::ids::Revision;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The longest body.
pub(super) const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How deep a body may nest.
pub(super) const BODY_DEPTH_MAX: usize = 32;
/// The most items of an array body.
pub(super) const BODY_ITEMS_MAX: usize = 10_000;
/// The longest path with its query.
pub(super) const URI_BYTES_MAX: usize = 64 * 1024;
/// The most names in `fields`.
pub(super) const FIELDS_MAX: usize = 256;

/// One call.
pub(super) struct Call {
    pub(super) state: Arc<State>,
    pub(super) caller: Caller,
    /// What stands in the path where the route has a selector.
    pub(super) selectors: Vec<String>,
    pub(super) query: Query,
    /// The body, or what the query has as `data`.
    pub(super) data: Option<Value>,
    /// Only if the item still has this revision.
    pub(super) if_match: Option<Revision>,
    /// The call does not wait any more.
    pub(super) last: bool,
    /// The ids that an ACL allows, ascending; `None`: all.
    pub(super) ids: Option<Vec<u64>>,
    /// A channel's messages may be deleted: what `delete` of a queue does.
    pub(super) may_delete_messages: bool,
    /// Passwords of devices may be shown.
    pub(super) secrets: bool,
}

/// What stands behind the `?`.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    pub(super) fields: Option<Vec<String>>,
    pub(super) limit: Option<usize>,
    pub(super) offset: usize,
    pub(super) dry_run: bool,
    pub(super) data: Option<String>,
    /// What messages are written as; `None`: the envelope.
    pub(super) format: Option<Format>,
    /// `format` stands there, be it `json`.
    says_format: bool,
}

impl Query {
    pub(super) fn read(uri: &Uri) -> Result<Self, Error> {
        type Pairs = Vec<(String, String)>;
        let pairs = axum::extract::Query::<Pairs>::try_from_uri(uri)
            .map_err(|error| Error::bad(format!("the query cannot be read: {error}")))?;
        let mut query = Self::default();
        for (name, value) in pairs.0 {
            let number = || {
                value
                    .parse::<u32>()
                    .map(|number| number as usize)
                    .map_err(|_| {
                        Error::field(name.as_str(), "is not a number from 0 to 4294967295")
                    })
            };
            match name.as_str() {
                "fields" => query.fields = fields_of(&value)?,
                "limit" => query.limit = Some(number()?),
                "offset" => query.offset = number()?,
                "dry_run" => {
                    query.dry_run = match value.as_str() {
                        "true" | "1" | "" => true,
                        "false" | "0" => false,
                        _ => return Err(Error::field("dry_run", "is neither true nor false")),
                    }
                }
                "data" => query.data = Some(value),
                "format" => {
                    query.says_format = true;
                    query.format = Format::ALL
                        .into_iter()
                        .find(|format| format.name() == value);
                    if query.format.is_none() && value != "json" {
                        let reason = "must be json, ndjson, csv or gpx";
                        return Err(Error::field("format", reason));
                    }
                }
                _ => return Err(Error::field(name.as_str(), "parameter is not allowed")),
            }
        }
        Ok(query)
    }

    /// Is a field asked for that is not in memory?
    pub(super) fn asks_the_disk(&self) -> bool {
        let of_disk = |name: &String| {
            name == "*" || name == "messages_size" || name.split('.').next() == Some("counters")
        };
        self.fields.iter().flatten().any(of_disk)
    }

    /// Whether the route knows forms, and what `Accept` says where `format` says nothing.
    pub(super) fn settle_format(
        &mut self,
        route: &Route,
        headers: &HeaderMap,
    ) -> Result<(), Error> {
        match (route.has_forms(), self.says_format) {
            (false, true) => Err(Error::field("format", "parameter is not allowed")),
            (true, false) => {
                self.format = accepted(headers);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The first media type of `Accept` that messages come in decides; without one it is JSON.
fn accepted(headers: &HeaderMap) -> Option<Format> {
    let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
    let known = |of: &str| -> Option<Option<Format>> {
        let kind = of.split(';').next().unwrap_or_default().trim();
        match kind.to_ascii_lowercase().as_str() {
            "application/json" | "application/*" | "*/*" => Some(None),
            "application/x-ndjson" | "application/ndjson" => Some(Some(Format::Ndjson)),
            "text/csv" => Some(Some(Format::Csv)),
            "application/gpx+xml" => Some(Some(Format::Gpx)),
            _ => None,
        }
    };
    accept.split(',').find_map(known).flatten()
}

/// The names of `a,b.c`; none of them: as if it were not there.
pub(super) fn fields_of(text: &str) -> Result<Option<Vec<String>>, Error> {
    let names: Vec<String> = text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if names.len() > FIELDS_MAX {
        return Err(Error::field(
            "fields",
            format!("holds more than {FIELDS_MAX} names"),
        ));
    }
    Ok((!names.is_empty()).then_some(names))
}

/// The JSON of a body or of `data`, whichever `what` says; nothing at all is `None`.
pub(super) fn json_of(bytes: &[u8], what: &str) -> Result<Option<Value>, Error> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::bad(format!("{what} is no JSON: {error}")))?;
    if value.is_null() {
        return Ok(None);
    }
    if depth_of(&value, BODY_DEPTH_MAX) > BODY_DEPTH_MAX {
        return Err(Error::bad(format!(
            "{what} nests deeper than {BODY_DEPTH_MAX} levels"
        )));
    }
    Ok(Some(value))
}

/// How deep it nests; deeper than `most` is not looked at.
fn depth_of(value: &Value, most: usize) -> usize {
    if most == 0 {
        return usize::from(value.is_array() || value.is_object());
    }
    match value {
        Value::Array(items) => {
            1 + items
                .iter()
                .map(|item| depth_of(item, most - 1))
                .max()
                .unwrap_or(0)
        }
        Value::Object(fields) => {
            1 + fields
                .values()
                .map(|item| depth_of(item, most - 1))
                .max()
                .unwrap_or(0)
        }
        _ => 0,
    }
}

/// The segments of a path, decoded after it was taken apart.
pub(super) fn segments_of(path: &str) -> Result<Vec<String>, Error> {
    path.trim_matches('/')
        .split('/')
        .map(|segment| {
            decoded(segment).ok_or_else(|| Error::selector(segment, "is not percent-encoded UTF-8"))
        })
        .collect()
}

fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first == b'%' {
            let (digits, behind) = behind.split_first_chunk::<2>()?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = behind;
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The revision of an `If-Match`; `*` is any.
pub(super) fn if_match_of(headers: &HeaderMap) -> Result<Option<Revision>, Error> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    text.trim_start_matches("W/")
        .trim_matches('"')
        .parse()
        .map(|number| Some(Revision(number)))
        .map_err(|_| {
            Error::new(
                StatusCode::BAD_REQUEST,
                super::answer::code::BAD,
                "If-Match is not the revision that ETag gave",
            )
        })
}

impl Call {
    /// The selector at `index` of the path.
    pub(super) fn selector(&self, index: usize) -> Result<Selector, Error> {
        let text = self.text(index);
        Selector::parse(text).map_err(|error| Error::selector(text, error.to_string()))
    }

    /// The text at `index` of the path's selectors.
    pub(super) fn text(&self, index: usize) -> &str {
        self.selectors.get(index).map_or("", String::as_str)
    }

    /// The object of the body.
    pub(super) fn object(&self) -> Result<&Map<String, Value>, Error> {
        match &self.data {
            Some(Value::Object(object)) => Ok(object),
            // some clients wrap the one object of a PUT
            Some(Value::Array(items)) if items.len() == 1 && items[0].is_object() => {
                items[0].as_object().ok_or_else(|| Error::bad("no object"))
            }
            Some(_) => Err(Error::bad("the body must be an object")),
            None => Err(Error::bad("the body is missing")),
        }
    }

    /// The objects of an array body; one object is one of them.
    pub(super) fn objects(&self) -> Result<Vec<&Value>, Error> {
        match &self.data {
            Some(Value::Array(items)) if items.is_empty() => {
                Err(Error::bad("the body holds no item"))
            }
            Some(Value::Array(items)) if items.len() > BODY_ITEMS_MAX => Err(Error::bad(format!(
                "the body holds more than {BODY_ITEMS_MAX} items"
            ))),
            Some(Value::Array(items)) => Ok(items.iter().collect()),
            Some(object @ Value::Object(_)) => Ok(vec![object]),
            Some(_) => Err(Error::bad("the body must be an array of objects")),
            None => Err(Error::bad("the body is missing")),
        }
    }

    /// What `data` says, for calls that need none.
    pub(super) fn options(&self) -> Result<Map<String, Value>, Error> {
        match &self.data {
            None => Ok(Map::new()),
            Some(Value::Object(object)) => Ok(object.clone()),
            Some(_) => Err(Error::field("data", "must be an object")),
        }
    }
}
