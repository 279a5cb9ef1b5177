//! Where in the file a mistake is: the line of what its path names.
//!
//! It reads the text once more, with places, and only where there is a mistake to tell of.

use super::ConfigError;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Says of each mistake its line. What is missing is missing where it should be: the line is that of
/// the nearest thing around it.
pub(super) fn tell_lines(text: &str, mistakes: &mut [ConfigError]) {
    let Ok(table) = DeTable::parse(text) else {
        return;
    };
    for mistake in mistakes {
        let before = offset(table.get_ref(), &mistake.path).and_then(|at| text.get(..at));
        mistake.line = before.map(|before| before.matches('\n').count() + 1);
    }
}

/// Where `path` begins, as `channels[3].protocol`, or as much of it as is there.
fn offset(table: &DeTable<'_>, path: &str) -> Option<usize> {
    let (name, rest) = match path.find(['.', '[']) {
        Some(at) => path.split_at(at),
        None => (path, ""),
    };
    let (key, value) = table.get_key_value(name)?;
    Some(below(value, rest).unwrap_or(key.span().start))
}

fn below(value: &Spanned<DeValue<'_>>, path: &str) -> Option<usize> {
    if let (Some(path), DeValue::Table(table)) = (path.strip_prefix('.'), value.get_ref()) {
        return offset(table, path);
    }
    let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
    let DeValue::Array(values) = value.get_ref() else {
        return None;
    };
    let value = values.get(index.parse::<usize>().ok()?)?;
    Some(below(value, rest).unwrap_or(value.span().start))
}
