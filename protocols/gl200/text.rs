//! The text of a report: its fields, and the places among them.

use crate::contract::{Probe, RecordBuilder, Reject, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{self, float};
use crate::kit::time::{Civil, digits};
use smallvec::SmallVec;

/// The most fields of a report.
const FIELDS_MAX: usize = 512;
/// Begins a report without `+RESP:`.
pub(super) const BARE: u8 = 4;
/// So many bytes tell text from binary.
pub(super) const MARK_BYTES: usize = 6;

/// Is it the beginning of a report without `+RESP:`? Two short fields stand before its kind.
pub(super) fn probe_bare(head: &[u8]) -> Probe {
    const FIELDS_BYTES_MAX: usize = 8;
    let marks: [&[u8]; 2] = [&[0, BARE, b','], &[BARE, b',']];
    if marks.iter().any(|mark| mark.starts_with(head)) {
        return Probe::More;
    }
    let Some(rest) = marks.iter().find_map(|mark| head.strip_prefix(*mark)) else {
        return Probe::No;
    };
    match rest.splitn(3, |byte| *byte == b',').nth(2) {
        Some([b'G', b'T', ..]) => Probe::Yes,
        Some([] | [b'G']) => Probe::More,
        None if rest.len() <= FIELDS_BYTES_MAX => Probe::More,
        _ => Probe::No,
    }
}

/// Is it text? `None`: too short to tell.
pub(super) fn is_text(input: &[u8]) -> Option<bool> {
    if input.first() == Some(&BARE) {
        return Some(true);
    }
    let mark = input.get(..MARK_BYTES)?;
    Some(matches!(mark, b"+RESP:" | b"+BUFF:") || mark.starts_with(b"+ACK:"))
}

/// A report: its envelope, and what lies between the ident and the send time.
pub(super) struct Report<'f> {
    /// `+RESP`, `+BUFF` or `+ACK`
    pub(super) mark: &'f str,
    /// Without the `GT`.
    pub(super) kind: &'f str,
    pub(super) version: &'f str,
    pub(super) ident: &'f str,
    pub(super) send_time: &'f str,
    pub(super) count: &'f str,
    /// From the name of the device on.
    pub(super) rest: Fields<'f>,
}

/// Fields of one line.
pub(super) struct Fields<'f> {
    line: &'f str,
    all: SmallVec<[&'f str; 48]>,
}

impl<'f> Fields<'f> {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The field at `at`; one that is not there is empty.
    pub(super) fn at(&self, at: usize) -> &'f str {
        self.all.get(at).copied().unwrap_or_default()
    }

    /// Fields from `from` up to `to`.
    pub(super) fn between(&self, from: usize, to: usize) -> &[&'f str] {
        let to = to.min(self.all.len());
        self.all.get(from.min(to)..to).unwrap_or_default()
    }

    /// The text of the fields from `from` up to `to`, commas and all.
    pub(super) fn text(&self, from: usize, to: usize) -> &'f str {
        let lengths = |fields: &[&str]| fields.iter().map(|field| field.len() + 1).sum::<usize>();
        let start = lengths(self.between(0, from));
        let end = start + lengths(self.between(from, to));
        self.line
            .get(start..end.saturating_sub(1))
            .unwrap_or_default()
    }
}

impl<'f> Report<'f> {
    pub(super) fn parse(frame: &'f [u8]) -> Result<Self, Reject> {
        let text = std::str::from_utf8(frame)
            .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
        let text = text.trim_end_matches(['$', '\0', '\r', '\n']);
        let short = Reject::new("report", "fewer fields than a report has", frame.len());
        let (mark, body) = if text.as_bytes().first() == Some(&BARE) {
            // behind the mark, a count and a flag
            ("+RESP", text.splitn(4, ',').nth(3).ok_or(short)?)
        } else {
            text.split_once(':').ok_or(short)?
        };
        let mut head = body.splitn(4, ',');
        let (Some(kind), Some(version), Some(ident), Some(body)) =
            (head.next(), head.next(), head.next(), head.next())
        else {
            return Err(short);
        };
        let kind = kind
            .strip_prefix("GT")
            .ok_or(Reject::new("report", "no report", 6))?;
        let (body, count) = body.rsplit_once(',').ok_or(short)?;
        let (line, send_time) = body.rsplit_once(',').unwrap_or(("", body));
        let all: SmallVec<[&str; 48]> = parse::split(line, b',').take(FIELDS_MAX + 1).collect();
        if all.len() > FIELDS_MAX {
            return Err(Reject::new("report", "more fields than a report has", 0));
        }
        Ok(Self {
            mark,
            kind,
            version,
            ident,
            send_time,
            count,
            rest: Fields { line, all },
        })
    }

    /// Is the device's type one of these? It is what the version begins with.
    pub(super) fn is_type(&self, types: &[&str]) -> bool {
        types.iter().any(|kind| self.version.starts_with(kind))
    }
}

/// Seventeen capital letters and digits, some of each.
pub(super) fn is_vin(text: &str) -> bool {
    let is_capital = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    text.len() == 17
        && text.bytes().all(is_capital)
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// `YYYYMMDDHHMMSS`
pub(super) fn clock(text: &str) -> Option<Civil> {
    let (century, rest) = text.split_at_checked(2)?;
    let civil = digits(rest, "ymdHMS")?;
    let century: i64 = century.parse().ok()?;
    let civil = Civil {
        year: century * 100 + civil.year % 100,
        ..civil
    };
    civil.utc_ms().map(|_| civil)
}

/// The field of a place that holds its time, and the time.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Where the time stands.
    pub(super) time_at: usize,
    pub(super) time: Civil,
    /// Degrees.
    pub(super) longitude: f64,
    pub(super) latitude: f64,
}

/// `YYYYMMDDHHMMSS`
const TIME_BYTES: usize = 14;
/// So many fields of a place stand before its time.
pub(super) const BEFORE_TIME: usize = 6;
/// And so many of the network behind it.
pub(super) const NETWORK: usize = 4;

pub(super) type Places = SmallVec<[Place; 2]>;

/// Every place among the fields: a time with degrees before it.
pub(super) fn places(rest: &Fields<'_>) -> Places {
    let degrees = |at: usize, limit: f64| {
        let text = rest.at(at);
        float(text).filter(|value| text.contains('.') && value.abs() <= limit)
    };
    (BEFORE_TIME..rest.len())
        .filter(|at| rest.at(*at).len() == TIME_BYTES)
        .filter_map(|time_at| {
            Some(Place {
                time_at,
                longitude: degrees(time_at - 2, 180.0)?,
                latitude: degrees(time_at - 1, 90.0)?,
                time: clock(rest.at(time_at))?,
            })
        })
        .collect()
}

/// Adds a place; gives back its accuracy.
pub(super) fn push_place(message: &mut RecordBuilder<'_>, rest: &Fields<'_>, place: Place) {
    let at = |back: usize| rest.at(place.time_at - back);
    message.push(fields::POSITION_LATITUDE, place.latitude);
    message.push(fields::POSITION_LONGITUDE, place.longitude);
    message.push_some(fields::POSITION_ALTITUDE, float(at(3)));
    let course = float(at(4)).filter(|course| (0.0..=360.0).contains(course));
    message.push_some(fields::POSITION_DIRECTION, course);
    let speed = float(at(5)).filter(|speed| *speed >= 0.0);
    message.push_some(fields::POSITION_SPEED, speed);
    message.push_some(fields::POSITION_HDOP, float(at(6)));
}

/// The cell whose country stands at `at`, if one does.
pub(super) fn cell(rest: &Fields<'_>, at: usize) -> Option<Cell> {
    let decimal = |text: &str| {
        let is_code = (2..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        is_code.then(|| text.parse::<i64>().ok()).flatten()
    };
    let hexadecimal = |text: &str| {
        let is_code = (3..=8).contains(&text.len());
        is_code
            .then(|| i64::from_str_radix(text, 16).ok())
            .flatten()
    };
    let cell = Cell {
        mcc: Some(decimal(rest.at(at)).filter(|mcc| cells::is_mcc(*mcc))?),
        mnc: Some(decimal(rest.at(at + 1))?),
        lac: Some(hexadecimal(rest.at(at + 2))?),
        id: Some(hexadecimal(rest.at(at + 3))?),
        dbm: None,
    };
    Some(cell)
}
