//! The envelope: `result`, `errors`, and what stands beside them.
//!
//! Rows are made one after another while the answer is sent, so that a list of a hundred thousand
//! devices never exists as a whole.

use super::forms::{CUT_OFF, Format, Writer};
use crate::account::{Account, Refusal, Seen};
use crate::control::WriteError;
use crate::registry::Refused;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

/// The header that says which limit refused a call.
pub(super) const REFUSAL: HeaderName = HeaderName::from_static("x-tollgate-refusal");

/// Unix us as seconds.
pub(super) fn seconds(at_us: i64) -> Value {
    if at_us % 1_000_000 == 0 {
        (at_us / 1_000_000).into()
    } else {
        json!(at_us as f64 / 1e6)
    }
}

/// Codes of errors. The first two that flespi is known to use are its own.
pub(super) mod code {
    /// There is no such path, or it does not know the method.
    pub(in crate::api) const PATH: u8 = 1;
    /// A field, a selector or a body that cannot be.
    pub(in crate::api) const BAD: u8 = 2;
    /// Not allowed, or not there: the two are one answer.
    pub(in crate::api) const DENIED: u8 = 3;
    /// A limit has no room.
    pub(in crate::api) const LIMIT: u8 = 4;
    /// It would contradict what there is: an ident that is taken, a revision that is old.
    pub(in crate::api) const CONFLICT: u8 = 5;
    /// The gateway cannot do it now.
    pub(in crate::api) const UNABLE: u8 = 6;
}

/// What is said of an item that is not there, or not the caller's.
pub(super) const DENIED: &str = "access denied or unable to process the item";

/// One error of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Error {
    pub(super) status: StatusCode,
    pub(super) code: u8,
    pub(super) reason: String,
    pub(super) id: Option<u64>,
    pub(super) selector: Option<String>,
    pub(super) field: Option<String>,
    /// What a limit said, as far as the caller may see it.
    pub(super) refusal: Option<Box<Seen>>,
    /// Trying again makes sense after so many seconds.
    pub(super) retry_s: Option<u32>,
    /// The methods that the path knows, where this one was wrong.
    pub(super) allow: Option<Box<Allow>>,
}

/// The methods of a path, as a header has them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Allow(pub(super) String);

impl Error {
    pub(super) fn new(status: StatusCode, code: u8, reason: impl Into<String>) -> Self {
        Self {
            status,
            code,
            reason: reason.into(),
            id: None,
            selector: None,
            field: None,
            refusal: None,
            retry_s: None,
            allow: None,
        }
    }

    /// The request cannot be understood.
    pub(super) fn bad(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::BAD, reason)
    }

    /// A field cannot be.
    pub(super) fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..Self::bad(reason)
        }
    }

    /// A selector cannot be.
    pub(super) fn selector(selector: &str, reason: impl Into<String>) -> Self {
        /// So much of a bad selector is given back.
        const SHOWN: usize = 256;
        Self {
            selector: Some(selector.chars().take(SHOWN).collect()),
            ..Self::bad(reason)
        }
    }

    /// The item is not there, or not the caller's.
    pub(super) fn missing(id: u64) -> Self {
        Self {
            id: Some(id),
            ..Self::new(StatusCode::FORBIDDEN, code::DENIED, DENIED)
        }
    }

    /// The token does not allow it.
    pub(super) fn forbidden(reason: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, code::DENIED, reason)
    }

    /// The gateway cannot do it now.
    pub(super) fn unable(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code::UNABLE, reason)
    }

    /// A limit said no: `viewer` hears of it what it may.
    pub(super) fn refused(status: StatusCode, refusal: &Refusal, viewer: Option<&Account>) -> Self {
        let seen = match viewer {
            Some(viewer) => refusal.seen_by(viewer),
            None => refusal.seen_by(refusal.at()),
        };
        Self::seen(status, seen)
    }

    /// A limit said no.
    pub(super) fn seen(status: StatusCode, seen: Seen) -> Self {
        Self {
            refusal: Some(Box::new(seen)),
            ..Self::new(status, code::LIMIT, reason_of(&seen))
        }
    }

    /// The errors of a write that was refused; `id` is the item that was to be written.
    pub(super) fn of_write(
        error: &WriteError,
        id: Option<u64>,
        viewer: Option<&Account>,
    ) -> Vec<Self> {
        let conflict = |error: &dyn std::fmt::Display| Self {
            id,
            ..Self::new(StatusCode::CONFLICT, code::CONFLICT, error.to_string())
        };
        let field = |field: &str, error: &dyn std::fmt::Display| Self {
            field: Some(field.to_owned()),
            ..conflict(error)
        };
        let one = match error {
            WriteError::NotFound { id } => Self::missing(*id),
            WriteError::Field { field, reason } => Self {
                id,
                ..Self::field(field, reason)
            },
            WriteError::Refused(Refused::Fields(wrong)) => {
                return wrong
                    .iter()
                    .map(|wrong| Self {
                        id,
                        ..Self::field(&wrong.field, &wrong.problem)
                    })
                    .collect();
            }
            WriteError::Refused(Refused::Ident { .. }) => Self {
                reason: format!("ident already exists: {error}"),
                ..field("configuration.ident", error)
            },
            WriteError::Refused(Refused::Port { .. }) | WriteError::Port { .. } => {
                field("port", error)
            }
            WriteError::Refused(Refused::Limit { what, refusal }) => {
                let mut refused = Self::refused(StatusCode::FORBIDDEN, refusal, viewer);
                refused.reason = format!("no room for another {what}: {}", refused.reason);
                Self { id, ..refused }
            }
            WriteError::FileOwned => Self {
                id,
                ..Self::new(StatusCode::FORBIDDEN, code::CONFLICT, error.to_string())
            },
            WriteError::Stale { .. } => Self {
                status: StatusCode::PRECONDITION_FAILED,
                ..conflict(error)
            },
            WriteError::Store(_) => Self {
                id,
                ..Self::unable(error.to_string())
            },
            WriteError::Refused(_)
            | WriteError::NotRestored
            | WriteError::TooSoon { .. }
            | WriteError::TelemetryAhead
            | WriteError::NoPort { .. }
            | WriteError::LastMasterToken => conflict(error),
        };
        vec![one]
    }

    /// As it stands in `errors`: these five keys and no other, because clients build a record of
    /// them.
    pub(super) fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("code".into(), self.code.into());
        object.insert("reason".into(), self.reason.as_str().into());
        if let Some(id) = self.id {
            object.insert("id".into(), id.into());
        }
        if let Some(selector) = &self.selector {
            object.insert("selector".into(), selector.as_str().into());
        }
        if let Some(field) = &self.field {
            object.insert("field".into(), field.as_str().into());
        }
        Value::Object(object)
    }

    /// The header that says what a limit said.
    pub(super) fn refusal_header(&self) -> Option<HeaderValue> {
        let seen = self.refusal.as_deref()?;
        let mut object = json!({ "dimension": seen.dimension.name() });
        if let Some(at) = &seen.at {
            object["cid"] = at.account.0.into();
            object["level_below"] = at.level_below.into();
            object["used"] = at.used.into();
            object["left"] = at.left.into();
            object["limit"] = at.cap.into();
        }
        if let Some(resets_at_us) = seen.resets_at_us {
            object["resets"] = (resets_at_us.div_euclid(1_000_000)).into();
        }
        if seen.disabled {
            object["disabled"] = true.into();
        }
        HeaderValue::from_str(&object.to_string()).ok()
    }
}

/// The cause in words, as far as it may be told.
fn reason_of(seen: &Seen) -> String {
    let mut text = match &seen.at {
        Some(at) => format!(
            "the limit {} of account {} is reached: {} of {} used",
            seen.dimension.name(),
            at.account,
            at.used,
            at.cap
        ),
        None => format!(
            "the limit {} of an account above is reached",
            seen.dimension.name()
        ),
    };
    if seen.disabled {
        text = "the account is disabled".into();
    } else if seen.too_large {
        text.push_str("; it asks for more than the whole limit");
    } else if let Some(at_us) = seen.resets_at_us {
        let resets_at = at_us.div_euclid(1_000_000);
        text = format!("{text}; it resets at {resets_at}");
    }
    text
}

/// Rows of an answer, made while it is sent.
pub(super) type Rows = Box<dyn Iterator<Item = Result<Value, Error>> + Send>;

/// A row as it is sent.
pub(super) enum Row {
    Value(Value),
    /// Written already.
    Json(Vec<u8>),
}

impl From<Value> for Row {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

/// What a call says.
pub(super) struct Answer {
    rows: Box<dyn Iterator<Item = Result<Row, Error>> + Send>,
    /// Errors that are known before the first row.
    pub(super) errors: Vec<Error>,
    /// Keys beside `result` and `errors`.
    pub(super) beside: Vec<(&'static str, Value)>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// There is at least one row, or an empty list is what was asked for.
    pub(super) good: bool,
    /// Written as this instead of the envelope, unless there is an error.
    pub(super) form: Option<Writer>,
    /// Nothing yet: ask again when something is durable, within this many ms.
    pub(super) wait_ms: Option<u64>,
}

impl Answer {
    /// These rows.
    pub(super) fn rows<R: Into<Row>>(
        rows: impl Iterator<Item = Result<R, Error>> + Send + 'static,
    ) -> Self {
        Self {
            rows: Box::new(rows.map(|row| row.map(Into::into))),
            errors: Vec::new(),
            beside: Vec::new(),
            headers: Vec::new(),
            good: true,
            form: None,
            wait_ms: None,
        }
    }

    /// These rows, which are there already, and these errors.
    pub(super) fn list(rows: Vec<Value>, errors: Vec<Error>) -> Self {
        let good = !rows.is_empty() || errors.is_empty();
        Self {
            errors,
            good,
            ..Self::rows(rows.into_iter().map(Ok))
        }
    }

    /// Only errors.
    pub(super) fn errors(errors: Vec<Error>) -> Self {
        Self {
            good: errors.is_empty(),
            errors,
            ..Self::rows(std::iter::empty::<Result<Row, Error>>())
        }
    }

    /// Beside `result`.
    #[must_use]
    pub(super) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.beside.push((key, value.into()));
        self
    }

    /// With a revision.
    #[must_use]
    pub(super) fn tagged(mut self, revision: Option<u64>) -> Self {
        let tag = revision.and_then(|number| HeaderValue::from_str(&format!("\"{number}\"")).ok());
        self.headers.extend(tag.map(|tag| (header::ETAG, tag)));
        self
    }

    /// The status: that of the first error if nothing came of the call.
    pub(super) fn status(&self) -> StatusCode {
        match self.errors.first() {
            Some(error) if !self.good => error.status,
            _ => StatusCode::OK,
        }
    }
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        Self::errors(vec![error])
    }
}

/// A short answer fits into it.
const ROOM: usize = 2048;

/// Writes an envelope piece by piece.
pub(super) struct Envelope {
    rows: Box<dyn Iterator<Item = Result<Row, Error>> + Send>,
    errors: Vec<Error>,
    beside: Vec<(&'static str, Value)>,
    form: Option<Writer>,
    begun: bool,
    ended: bool,
}

impl Envelope {
    pub(super) fn new(answer: Answer) -> Self {
        Self {
            rows: answer.rows,
            errors: answer.errors,
            beside: answer.beside,
            form: answer.form,
            begun: false,
            ended: false,
        }
    }

    /// What it is instead of JSON.
    pub(super) fn format(&self) -> Option<Format> {
        self.form.as_ref().map(Writer::format)
    }

    /// The next piece of about `bytes`; `None` behind the last one.
    pub(super) fn piece(&mut self, bytes: usize) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        if let Some(form) = self.form.take() {
            return Some(self.piece_of(form, bytes));
        }
        let mut out = Vec::with_capacity(ROOM.min(bytes));
        if !self.begun {
            out.extend_from_slice(b"{\"result\":[");
        }
        let mut first = !self.begun;
        self.begun = true;
        while out.len() < bytes {
            match self.rows.next() {
                Some(Ok(row)) => {
                    if !first {
                        out.push(b',');
                    }
                    first = false;
                    match row {
                        Row::Value(row) => write(&mut out, &row),
                        Row::Json(row) => out.extend_from_slice(&row),
                    }
                }
                Some(Err(error)) => self.errors.push(error),
                None => {
                    self.end(&mut out);
                    break;
                }
            }
        }
        Some(out)
    }

    /// The next piece of a form. What cannot be read ends it.
    fn piece_of(&mut self, mut form: Writer, bytes: usize) -> Vec<u8> {
        let mut out = String::new();
        if !self.begun {
            form.head(&mut out);
        }
        self.begun = true;
        while out.len() < bytes && !self.ended {
            match self.rows.next() {
                Some(Ok(Row::Value(Value::Object(row)))) => form.row(&row, &mut out),
                Some(Ok(_)) => {}
                Some(Err(_)) => {
                    out.push_str(CUT_OFF);
                    self.ended = true;
                }
                None => {
                    form.tail(&mut out);
                    self.ended = true;
                }
            }
        }
        self.form = Some(form);
        out.into_bytes()
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.ended = true;
        out.push(b']');
        if !self.errors.is_empty() {
            let errors: Value = self.errors.iter().map(Error::json).collect();
            out.extend_from_slice(b",\"errors\":");
            write(out, &errors);
        }
        for (key, value) in &self.beside {
            out.extend_from_slice(format!(",\"{key}\":").as_bytes());
            write(out, value);
        }
        out.push(b'}');
    }
}

/// Appends a value as JSON.
pub(super) fn write(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("a value is JSON, and memory takes it");
}
