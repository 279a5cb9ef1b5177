//! From text to [`Raw`], key by key, so that one mistake does not hide the next.

use super::raw::{Raw, TlsRaw};
use super::words::misread;
use super::{ConfigError, FILE_BYTES_MAX, nearest};
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use std::cell::Cell;
use toml::{Table, Value};

/// What of the file can be read, and what cannot.
pub(super) fn read(text: &str) -> (Raw, Vec<ConfigError>) {
    let mut mistakes = Vec::new();
    if text.len() > FILE_BYTES_MAX {
        let problem = format!("the file is longer than {FILE_BYTES_MAX} bytes");
        return (Raw::default(), vec![ConfigError::new("", problem)]);
    }
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            let error: toml::de::Error = error;
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count() + 1);
            let problem = format!("line {line} is no TOML: {}", error.message());
            return (Raw::default(), vec![ConfigError::new("", problem)]);
        }
    };
    let mut raw = Raw::default();
    for (key, value) in table {
        match key.as_str() {
            "gateway" => raw.gateway = one(&key, value, &mut mistakes),
            "http" => raw.http = one(&key, value, &mut mistakes),
            "bounds" => raw.bounds = one(&key, value, &mut mistakes),
            "packets" => raw.packets = one(&key, value, &mut mistakes),
            "traces" => raw.traces = one(&key, value, &mut mistakes),
            "journal" => raw.journal = one(&key, value, &mut mistakes),
            "accounts" => raw.accounts = several(&key, value, &mut mistakes),
            "limits" => raw.limits = several(&key, value, &mut mistakes),
            "channels" => raw.channels = several(&key, value, &mut mistakes),
            "devices" => raw.devices = several(&key, value, &mut mistakes),
            _ => mistakes.push(unknown(&key, &key, fields_of::<Raw>())),
        }
    }
    (raw, mistakes)
}

fn several<T: DeserializeOwned + Default>(
    path: &str,
    value: Value,
    mistakes: &mut Vec<ConfigError>,
) -> Vec<T> {
    let Value::Array(rows) = value else {
        mistakes.push(
            ConfigError::new(path, "is no list of tables").hint(Some(format!("write [[{path}]]"))),
        );
        return Vec::new();
    };
    rows.into_iter()
        .enumerate()
        .map(|(index, row)| one(&format!("{path}[{index}]"), row, mistakes))
        .collect()
}

/// Reads a table key by key; what cannot be read has its default.
fn one<T: DeserializeOwned + Default>(
    path: &str,
    value: Value,
    mistakes: &mut Vec<ConfigError>,
) -> T {
    let Value::Table(table) = value else {
        mistakes.push(ConfigError::new(path, "is no table"));
        return T::default();
    };
    let fields = fields_of::<T>();
    let mut good = Table::new();
    for (key, value) in table {
        let at = format!("{path}.{key}");
        if !fields.contains(&key.as_str()) {
            mistakes.push(unknown(&at, &key, fields));
            continue;
        }
        if key == "tls" && value.is_table() {
            // a table in a table has keys of its own
            let before = mistakes.len();
            one::<TlsRaw>(&at, value.clone(), mistakes);
            if mistakes.len() > before {
                continue;
            }
        }
        let alone = Table::from_iter([(key.clone(), value.clone())]);
        match T::deserialize(Value::Table(alone)) {
            Ok(_) => {
                good.insert(key, value);
            }
            Err(error) => mistakes.push(misread(at, &value, error.message())),
        }
    }
    T::deserialize(Value::Table(good)).unwrap_or_default()
}

fn unknown(path: &str, key: &str, fields: &[&str]) -> ConfigError {
    let hint = match nearest(key, fields.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("there are {}", fields.join(", ")),
    };
    ConfigError::new(path, "there is no such key").hint(Some(hint))
}

/// The keys of a table, as serde knows them.
pub(super) fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Probe<'a>(&'a Cell<&'static [&'static str]>);

    impl<'de> Deserializer<'de> for Probe<'_> {
        type Error = de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom("only asked for its fields"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            self.0.set(fields);
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }

    let fields: Cell<&'static [&'static str]> = Cell::new(&[]);
    // The answer is in the cell: the probe always errs.
    drop(T::deserialize(Probe(&fields)));
    fields.get()
}
