//! What is wrong with a value, in words of the file: the parser speaks of its own types, and who
//! writes a file should not have to know them.
//!
//! The bounds of whole numbers stand here, so that one that does not even fit its type is told the
//! same bound as one that does.

use super::{ConfigError, nearest};
use toml::Value;

/// What a key's whole number may be. A key that is not here takes what its type does.
const NUMBERS: &[(&str, i64, i64)] = &[
    ("gateway.workers", 0, 1024),
    ("bounds.connections", 1, 10_000_000),
    ("bounds.channel_connections", 1, 10_000_000),
    ("bounds.unidentified_per_source", 1, 10_000_000),
    ("bounds.takeovers", 1, 100_000),
    ("bounds.account_logins", 1, 1_000_000),
    ("journal.node", 0, 4095),
    ("traces.one_in", 1, 1_000_000_000),
    ("channels.port", 1, 65_535),
];

/// A value that is told is not told to its end.
const SHOWN_MAX: usize = 60;

/// The bounds of the number at a path.
fn bounds_of(path: &str) -> Option<(i64, i64)> {
    let (table, rest) = path.split_at(path.find(['.', '['])?);
    let key = rest.rsplit('.').next()?;
    let found = NUMBERS.iter().find(|(name, ..)| {
        let name = name.split_once('.');
        name == Some((table, key))
    })?;
    Some((found.1, found.2))
}

/// A number outside of its bounds, told with the nearest within; none: it is within.
pub(super) fn out_of_bounds(path: &str, number: i64) -> Option<ConfigError> {
    let (least, most) = bounds_of(path)?;
    let nearest = number.clamp(least, most);
    (nearest != number).then(|| {
        let problem = format!("{number} is not within {least} to {most}");
        ConfigError::new(path, problem).hint(Some(format!("the nearest is {nearest}")))
    })
}

/// Why the value at `path` could not be read, from what the parser says.
pub(super) fn misread(path: String, value: &Value, message: &str) -> ConfigError {
    let line = message.lines().next().unwrap_or(message).trim();
    if let Some(word) = line.strip_prefix("unknown variant") {
        return no_choice(path, value, word);
    }
    let shown = shown(value);
    let (problem, hint) = match line.rsplit_once("expected ").map(|(_, wanted)| wanted) {
        Some("a string" | "path string" | "a text in quotes") => return no_text(path, value),
        Some("a boolean") => {
            let hint = "write true or false, without quotes";
            (format!("{shown} is neither true nor false"), hint.into())
        }
        Some("a sequence") => {
            let hint = match value {
                Value::Table(_) => "write values in square brackets".into(),
                one => format!("write [{one}]"),
            };
            (format!("{shown} is no list"), hint)
        }
        Some("u8" | "u16" | "u32" | "u64" | "i64") => return no_number(path, value),
        Some(wanted) if wanted == "a map" || wanted.starts_with("struct ") => {
            let hint = "write { name = value }".to_owned();
            (format!("{shown} is no table"), hint)
        }
        Some("IP address") => no_address(&shown),
        Some("socket address") => no_socket_address(&shown),
        _ if line.starts_with("invalid IP address") => no_address(&shown),
        _ if line.starts_with("invalid socket address") => no_socket_address(&shown),
        // what our own types say
        _ => return ConfigError::new(path, line),
    };
    ConfigError::new(path, problem).hint(Some(hint))
}

fn no_address(shown: &str) -> (String, String) {
    let hint = "write one like \"0.0.0.0\" or \"::1\"";
    (format!("{shown} is no address"), hint.to_owned())
}

fn no_socket_address(shown: &str) -> (String, String) {
    let hint = "write one like \"127.0.0.1:9300\" or \"[::1]:9300\"";
    (
        format!("{shown} is no address with a port"),
        hint.to_owned(),
    )
}

/// The parser names the choices in its message: the nearest of them is the hint.
fn no_choice(path: String, value: &Value, message: &str) -> ConfigError {
    let choices = message.split_once("expected ").map_or("", |(_, all)| all);
    let choices: Vec<&str> = choices.split('`').skip(1).step_by(2).collect();
    let word = value.as_str().unwrap_or_default();
    let hint = match nearest(word, choices.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("there are {}", choices.join(", ")),
    };
    ConfigError::new(path, format!("\"{word}\" is no choice")).hint(Some(hint))
}

fn no_text(path: String, value: &Value) -> ConfigError {
    if let Value::Array(values) = value
        && let Some(index) = values.iter().position(|value| !value.is_str())
    {
        // of a list of texts
        return no_text(format!("{path}[{index}]"), &values[index]);
    }
    let hint = match value {
        Value::Array(_) | Value::Table(_) | Value::Boolean(_) => {
            "write one text in quotes".to_owned()
        }
        one => format!("write \"{one}\", with quotes"),
    };
    ConfigError::new(path, format!("{} is no text", shown(value))).hint(Some(hint))
}

fn no_number(path: String, value: &Value) -> ConfigError {
    if let Some(number) = value.as_integer() {
        return out_of_bounds(&path, number).unwrap_or_else(|| {
            let hint = Some("write 0 or more");
            ConfigError::new(path, format!("{number} is too small")).hint(hint)
        });
    }
    let quoted = value.as_str().and_then(|text| text.trim().parse().ok());
    let hint = match (quoted, bounds_of(&path)) {
        (Some::<i64>(number), _) => format!("write {number}, without quotes"),
        (None, Some((least, most))) => format!("write one from {least} to {most}"),
        (None, None) => "write one without a point and without quotes".to_owned(),
    };
    ConfigError::new(path, format!("{} is no whole number", shown(value))).hint(Some(hint))
}

/// The value as it may stand in the file.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
        one => {
            let mut text = one.to_string();
            if let Some((end, _)) = text.char_indices().nth(SHOWN_MAX) {
                text.truncate(end);
                text.push_str("...");
            }
            text
        }
    }
}
