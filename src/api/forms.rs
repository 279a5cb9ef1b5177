//! Messages as lines of JSON, as a table and as tracks for maps: what an answer has instead of the
//! envelope when `format` or `Accept` asks for it, and what `tollgate export` writes.
//!
//! A form is written row by row and holds none back. It has no place for errors: where a message
//! cannot be read, [`CUT_OFF`] is the last line.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Columns of a CSV; parameters beyond it are left out.
pub const COLUMNS_MAX: usize = 2048;

/// What stands at the end of messages that could not be read on.
pub const CUT_OFF: &str = "\n# cut off: a message could not be read\n";

const GPX_HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <gpx version=\"1.1\" creator=\"tollgate\" xmlns=\"http://www.topografix.com/GPX/1/1\">\n";

/// A form of messages beside the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// A header, then a line for each message.
    Csv,
    /// A track for each device; messages without a place are left out.
    Gpx,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ndjson, Self::Csv, Self::Gpx];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Gpx => "gpx",
        }
    }

    /// Its media type, as an answer says it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Gpx => "application/gpx+xml",
        }
    }
}

/// Which columns a table has: every name of the rows that are shown to it.
#[derive(Debug, Default)]
pub struct Columns {
    names: BTreeSet<String>,
    left_off: BTreeSet<String>,
}

impl Columns {
    /// These, whatever the rows have.
    pub fn of(names: impl IntoIterator<Item = String>) -> Self {
        let mut columns = Self::default();
        for name in names {
            columns.take(&name);
        }
        columns
    }

    /// Takes the names of a row.
    pub fn see(&mut self, row: &Map<String, Value>) {
        for name in row.keys() {
            self.take(name);
        }
    }

    fn take(&mut self, name: &str) {
        let room = self.names.len() < COLUMNS_MAX;
        let to = if room || self.names.contains(name) {
            &mut self.names
        } else {
            &mut self.left_off
        };
        if to.len() < COLUMNS_MAX && !to.contains(name) {
            to.insert(name.to_owned());
        }
    }

    /// How many names were too many.
    pub fn left_off(&self) -> usize {
        self.left_off.len()
    }
}

/// Writes one form.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    columns: Vec<String>,
    /// The device whose track is open.
    track: Option<Value>,
}

impl Writer {
    /// Of a table the columns must be known; the others need none.
    pub fn new(format: Format, columns: Columns) -> Self {
        Self {
            format,
            columns: columns.names.into_iter().collect(),
            track: None,
        }
    }

    /// Which form it is.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// What stands before the first row.
    pub fn head(&self, out: &mut String) {
        match self.format {
            Format::Ndjson => {}
            Format::Csv => {
                let names: Vec<String> = self.columns.iter().map(|name| cell(name)).collect();
                out.push_str(&names.join(","));
                out.push_str("\r\n");
            }
            Format::Gpx => out.push_str(GPX_HEAD),
        }
    }

    /// One message.
    pub fn row(&mut self, row: &Map<String, Value>, out: &mut String) {
        match self.format {
            Format::Ndjson => {
                let line = serde_json::to_string(row);
                out.push_str(&line.expect("an object is JSON, and memory takes it"));
                out.push('\n');
            }
            Format::Csv => {
                for (nth, name) in self.columns.iter().enumerate() {
                    if nth > 0 {
                        out.push(',');
                    }
                    if let Some(value) = row.get(name) {
                        out.push_str(&value_cell(value));
                    }
                }
                out.push_str("\r\n");
            }
            Format::Gpx => self.point(row, out),
        }
    }

    /// What stands behind the last row.
    pub fn tail(&mut self, out: &mut String) {
        if self.format == Format::Gpx {
            self.end_track(out);
            out.push_str("</gpx>\n");
        }
    }

    fn end_track(&mut self, out: &mut String) {
        if self.track.take().is_some() {
            out.push_str("</trkseg></trk>\n");
        }
    }

    /// A point of its device's track, if the message has a place.
    fn point(&mut self, row: &Map<String, Value>, out: &mut String) {
        let number = |name: &str| row.get(name).and_then(Value::as_f64);
        let (Some(latitude), Some(longitude)) =
            (number("position.latitude"), number("position.longitude"))
        else {
            return;
        };
        let device = row.get("device.id").unwrap_or(&Value::Null);
        if self.track.as_ref() != Some(device) {
            self.end_track(out);
            let name = ["device.name", "ident"]
                .into_iter()
                .find_map(|name| row.get(name)?.as_str().filter(|name| !name.is_empty()));
            out.push_str("<trk><name>");
            out.push_str(&xml(name.unwrap_or_default()));
            out.push_str("</name><trkseg>\n");
            self.track = Some(device.clone());
        }
        let height = number("position.altitude")
            .map_or_else(String::new, |height| format!("<ele>{height}</ele>"));
        let time = number("timestamp")
            .and_then(time_of)
            .map_or_else(String::new, |time| format!("<time>{time}</time>"));
        let place = format!("<trkpt lat=\"{latitude}\" lon=\"{longitude}\">");
        for part in [&place, &height, &time, "</trkpt>\n"] {
            out.push_str(part);
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a float ends at the ends of i64"
)]
fn time_of(seconds: f64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond((seconds * 1000.0).round() as i64).ok()
}

/// A cell of a CSV (RFC 4180); what a spreadsheet would take for a formula gets a quote.
fn cell(text: &str) -> String {
    let guarded = match text.as_bytes().first() {
        Some(b'=' | b'@' | b'+' | b'-') if text.parse::<f64>().is_err() => format!("'{text}"),
        _ => text.to_owned(),
    };
    if guarded.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}

fn value_cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => cell(text),
        other => cell(&other.to_string()),
    }
}

fn xml(text: &str) -> String {
    text.chars()
        .filter(|&at| at >= ' ' || at == '\t')
        .fold(String::new(), |mut out, at| {
            match at {
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '&' => out.push_str("&amp;"),
                at => out.push(at),
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(format: Format, rows: &[Value]) -> String {
        let rows: Vec<_> = rows.iter().filter_map(Value::as_object).collect();
        let mut columns = Columns::default();
        for row in &rows {
            columns.see(row);
        }
        let mut writer = Writer::new(format, columns);
        let mut out = String::new();
        writer.head(&mut out);
        for row in &rows {
            writer.row(row, &mut out);
        }
        writer.tail(&mut out);
        out
    }

    #[test]
    fn cells_and_names_are_quoted_so_that_no_value_breaks_out() {
        assert_eq!(cell("a"), "a");
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(cell("=1+1"), "'=1+1");
        assert_eq!(cell("-1.5"), "-1.5");
        assert_eq!(value_cell(&json!([1, 2])), "\"[1,2]\"");
        assert_eq!(xml("<a & b>\u{1}"), "&lt;a &amp; b&gt;");
    }

    #[test]
    fn a_table_has_every_name_as_a_column_and_no_more_than_its_bound() {
        let rows = [json!({"b": 1, "a": "x,y"}), json!({"c": true, "a": null})];
        assert_eq!(
            written(Format::Csv, &rows),
            "a,b,c\r\n\"x,y\",1,\r\n,,true\r\n"
        );
        assert_eq!(
            written(Format::Ndjson, &rows),
            "{\"b\":1,\"a\":\"x,y\"}\n{\"c\":true,\"a\":null}\n"
        );
        let names = (0..COLUMNS_MAX + 5).map(|nth| format!("{nth:04}"));
        let columns = Columns::of(names.chain(["0000".to_owned()]));
        assert_eq!((columns.names.len(), columns.left_off()), (COLUMNS_MAX, 5));
    }

    #[test]
    fn a_track_is_of_one_device_and_a_point_needs_a_place_and_may_have_height_and_time() {
        let there = json!({
            "timestamp": 1_764_000_000.5, "position.latitude": 54.7, "position.longitude": 25.3,
            "position.altitude": 120, "device.id": 1, "device.name": "<van>",
        });
        let other = json!({
            "position.latitude": 1, "position.longitude": 2, "device.id": 2, "ident": "35",
        });
        let nowhere = json!({ "timestamp": 1, "device.id": 3 });
        let point = "<trkpt lat=\"54.7\" lon=\"25.3\"><ele>120</ele>\
            <time>2025-11-24T16:00:00.5Z</time></trkpt>\n";
        assert_eq!(
            written(Format::Gpx, &[there.clone(), there, other, nowhere.clone()]),
            format!(
                "{GPX_HEAD}<trk><name>&lt;van&gt;</name><trkseg>\n{point}{point}</trkseg></trk>\n\
                 <trk><name>35</name><trkseg>\n<trkpt lat=\"1\" lon=\"2\"></trkpt>\n\
                 </trkseg></trk>\n</gpx>\n"
            )
        );
        assert_eq!(
            written(Format::Gpx, &[nowhere]),
            format!("{GPX_HEAD}</gpx>\n")
        );
    }
}
