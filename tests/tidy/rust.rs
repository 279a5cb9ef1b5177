//! Reading Rust, as far as the rules need it.

use crate::tree::root;
use std::collections::BTreeSet;
use std::path::Path;

/// The code of `text`: comments, and the contents of strings and characters, are blanks.
pub(crate) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = raw_string(rest, &code) {
            length
        } else if first == '"' {
            quoted(rest)
        } else if let Some(length) = character(rest) {
            length
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let gone = &rest[..length];
        code.extend(gone.chars().map(|c| if c == '\n' { c } else { ' ' }));
        rest = &rest[length..];
    }
    code
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of `r"..."` or `r#"..."#`, if one begins here and no name ends before it.
fn raw_string(text: &str, before: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    if before.ends_with(|c: char| c.is_alphanumeric() && c != 'b' || c == '_') {
        return None;
    }
    let hashes = after.len() - after.trim_start_matches('#').len();
    let content = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = content
        .find(&end)
        .map_or(content.len(), |at| at + end.len());
    Some(1 + hashes + 1 + length)
}

fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of `'x'` or `'\n'`; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    if let Some(escape) = inner.strip_prefix('\\') {
        return escape.get(1..)?.find('\'').map(|at| at + 4);
    }
    let length = inner.chars().next()?.len_utf8();
    inner[length..].starts_with('\'').then_some(length + 2)
}

/// The first names after `root::`, of grouped imports each.
pub(crate) fn paths_from(root: &str, code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let start = format!("{root}::");
    for (at, _) in code.match_indices(&start) {
        let before = &code[..at];
        let absolute = before.strip_suffix("::").unwrap_or(before);
        if absolute.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = code[at + start.len()..].trim_start();
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_names(group)),
            None => names.extend(name_at(rest)),
        }
    }
    names
}

/// The first name of each path of a group, up to the brace that closes it.
fn group_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut at_start = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if c.is_whitespace() => {}
            _ => {
                if at_start && depth == 0 {
                    names.extend(name_at(&group[at..]));
                }
                at_start = false;
            }
        }
    }
    names
}

fn name_at(text: &str) -> Option<String> {
    let name: String = text
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}

/// The names that a file reaches by enough `super::` to stand above its room.
pub(crate) fn from_above(path: &Path, code: &str) -> BTreeSet<String> {
    let inside: Vec<_> = path.components().collect();
    let is_mod = path.file_name().is_some_and(|name| name == "mod.rs");
    // src/room.rs and src/room/mod.rs are one step below the crate, src/room/x.rs two.
    let src = usize::from(path.starts_with("src"));
    let depth = inside.len() - src - usize::from(is_mod);
    let mut names = BTreeSet::new();
    let mut rest = code;
    while let Some(at) = rest.find("super::") {
        let mut tail = &rest[at..];
        let mut steps = 0;
        while let Some(after) = tail.strip_prefix("super::") {
            steps += 1;
            tail = after.trim_start();
        }
        if steps >= depth {
            match tail.strip_prefix('{') {
                Some(group) => names.extend(group_names(group)),
                None => names.extend(name_at(tail)),
            }
        }
        rest = tail;
    }
    // Within `mod tests { ... }` one more step stays in the file: its own neighbours are no rooms.
    let folder = path.parent().unwrap_or(path);
    names.retain(|name| {
        let neighbour = root().join(folder).join(name);
        depth == 1 && !is_mod || !neighbour.with_extension("rs").exists() && !neighbour.exists()
    });
    names
}

/// Does the code name this crate: `name::` at the beginning of a path?
pub(crate) fn names_crate(code: &str, name: &str) -> bool {
    let start = format!("{name}::");
    code.match_indices(&start).any(|(at, _)| {
        let before = &code[..at];
        !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$')
            || before.ends_with(" ::")
    }) || code.contains(&format!("use {name};"))
}

/// The modules that a page declares with `pub mod` or `mod`.
pub(crate) fn modules(page: &str) -> Vec<String> {
    code_of(page)
        .lines()
        .filter_map(|line| {
            let line = line.trim().strip_suffix(';')?;
            let name = line
                .strip_prefix("pub mod ")
                .or(line.strip_prefix("mod "))?;
            Some(name.to_owned())
        })
        .collect()
}
