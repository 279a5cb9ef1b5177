//! The house rules as a test: what a reviewer should not have to look for.
//!
//! Each rule is a function from text to breaches, so that the tests at the foot can plant some.
//! The first half of this file is the rules' tables; a change of a table is a change of the
//! design, and its commit says why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Who may import whom: a room, and the rooms it may name. Every room may import `ids`. Effects
/// point inward: a room with I/O may import a pure one, never back.
const ROOMS: &[(&str, &[&str])] = &[
    ("ids", &["protocols"]),
    ("account", &[]),
    ("metrics", &[]),
    ("config", &["protocols"]),
    ("segment", &["metrics"]),
    ("events", &["segment", "metrics"]),
    ("raw", &["segment", "metrics"]),
    // An archive's blocks use the varints of records.
    ("archive", &["segment", "protocols"]),
    (
        "journal",
        &["archive", "segment", "account", "metrics", "protocols"],
    ),
    // The journal's checkpoint holds the totals of account, which is pure.
    ("store", &["metrics", "config", "journal", "account"]),
    (
        "registry",
        &["account", "store", "metrics", "config", "protocols"],
    ),
    ("router", &["metrics", "protocols"]),
    (
        "control",
        &[
            "registry", "router", "journal", "events", "account", "metrics", "config", "store",
            // The snapshot of telemetry is a checked file.
            "segment",
        ],
    ),
    (
        "channel",
        &[
            "registry",
            "router",
            "journal",
            "events",
            "raw",
            "account",
            "metrics",
            "config",
            "protocols",
        ],
    ),
    // Asks every room that writes something down.
    (
        "doctor",
        &[
            "control",
            "registry",
            "router",
            "journal",
            "events",
            "raw",
            "account",
            "protocols",
        ],
    ),
    (
        "api",
        &[
            "control",
            "doctor",
            "registry",
            "router",
            "journal",
            "events",
            "raw",
            "account",
            "metrics",
            "config",
            "protocols",
        ],
    ),
    // A capture is written of raw traffic.
    ("replay", &["protocols", "channel", "raw"]),
    ("cli", EVERYTHING),
    ("main", EVERYTHING),
];

const EVERYTHING: &[&str] = &["*"];

/// Which rooms may name a heavy dependency. Others get at it through the room's own types.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    (
        "tokio",
        &[
            "channel", "router", "journal", "control", "api", "replay", "cli",
        ],
    ),
    ("rustls", &["channel"]),
    ("tokio_rustls", &["channel"]),
    ("sled", &["store"]),
    ("axum", &["api", "cli"]),
    ("ratatui", &["cli"]),
    ("hyper", &["api", "cli"]),
    ("dashmap", &["router", "registry"]),
    ("metrics_exporter_prometheus", &["metrics"]),
    ("clap", &["cli", "main"]),
    ("comfy_table", &["cli"]),
    ("indicatif", &["cli"]),
    ("pcap_parser", &["replay"]),
    ("etherparse", &["replay"]),
    ("toml", &["config"]),
];

/// What a decoder must not stand on, not even through something else.
const NOT_UNDER_PROTOCOLS: &[&str] = &["tokio", "mio", "async-std", "smol", "sled", "axum"];

/// The headings of a protocol's page.
const HEADINGS: &[&str] = &["# Wire format", "# Session", "# Source"];

/// The most lines of a Rust file. A longer one is a folder.
const FILE_LINES_MAX: usize = 1200;
/// The most characters of a line. rustfmt holds code to 100; this is for what it leaves alone.
const WIDTH_MAX: usize = 120;
/// `main.rs` is one page.
const MAIN_LINES_MAX: usize = 80;
/// Files that are one table, a row a line: neither rustfmt nor the bounds above apply.
const TABLES: &[&str] = &["protocols/contract/fields.rs", "src/api/routes.rs"];

/// Where something is wrong, and what.
type Breaches = Vec<String>;

#[test]
fn rooms_import_only_what_the_table_allows() {
    check(rust_files("src"), |path, text| {
        let Some(room) = room_of(path) else {
            return Vec::new();
        };
        imports(&room, path, text)
    });
}

#[test]
fn every_room_is_in_the_table_and_on_the_code_map() {
    let page = read(Path::new("src/lib.rs"));
    let declared = modules(&page);
    let mut breaches = map(&page, &declared);
    for room in &declared {
        if !ROOMS.iter().any(|(name, _)| name == room) {
            breaches.push(format!("{room}: a room that tests/tidy.rs does not know"));
        }
    }
    none(&breaches);
}

#[test]
fn a_heavy_dependency_is_named_in_its_own_rooms_only() {
    check(rust_files("src"), |path, text| {
        let Some(room) = room_of(path) else {
            return Vec::new();
        };
        dependencies(&room, text)
    });
}

#[test]
fn a_protocol_imports_the_contract_and_the_kit_and_no_other_protocol() {
    let protocols = protocols();
    check(rust_files("protocols"), |path, text| {
        let path = path.strip_prefix("protocols").expect("it lies there");
        let own = first_name(path);
        if !protocols.contains(&own) && own != "kit" && own != "contract" {
            return Vec::new();
        }
        foreign_protocols(&own, &protocols, path, text)
    });
}

#[test]
fn modules_of_a_protocol_import_each_other_in_no_circle() {
    let mut breaches = Breaches::new();
    for protocol in protocols() {
        let folder = PathBuf::from("protocols").join(&protocol);
        if !root().join(&folder).is_dir() {
            continue;
        }
        let files = rust_files(&folder.to_string_lossy());
        let modules = files.iter().filter_map(|path| {
            let name = path.file_stem()?.to_str()?.to_owned();
            let of_folder = path.parent() == Some(folder.as_path())
                && !["mod", "tests"].contains(&name.as_str());
            of_folder.then(|| (name, read(path)))
        });
        let circle = circle(&modules.collect());
        if !circle.is_empty() {
            let names = circle.join(", ");
            breaches.push(format!(
                "protocols/{protocol}: {names} import each other: what they share is a module's below"
            ));
        }
    }
    none(&breaches);
}

#[test]
fn a_protocols_page_has_its_headings() {
    for protocol in protocols() {
        let file = PathBuf::from(format!("protocols/{protocol}.rs"));
        let folder = PathBuf::from(format!("protocols/{protocol}/mod.rs"));
        let path = if root().join(&file).exists() {
            file
        } else {
            folder
        };
        let breaches = headings(&read(&path));
        let breaches: Vec<_> = breaches
            .iter()
            .map(|breach| format!("{}: {breach}", path.display()))
            .collect();
        none(&breaches);
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut files = rust_files("src");
    files.extend(rust_files("protocols"));
    files.extend(rust_files("xtask"));
    files.extend(rust_files("tests"));
    files.extend(rust_files("benches"));
    files.retain(|path| !path.ends_with("tests.rs"));
    check(files, |_, text| {
        if text.starts_with("//! ") {
            Vec::new()
        } else {
            vec!["it does not begin with what it is for (//! ...)".into()]
        }
    });
}

#[test]
fn files_and_lines_are_short_enough_to_read() {
    let mut files = Vec::new();
    for folder in ["src", "protocols", "xtask", "tests", "benches"] {
        files.extend(rust_files(folder));
    }
    check(files, |path, text| {
        let table = TABLES.iter().any(|table| path == Path::new(table));
        if table { Vec::new() } else { size(path, text) }
    });
}

#[test]
fn nothing_is_left_for_later_and_no_machine_shows() {
    let breaches: Vec<_> = every_text_file()
        .iter()
        .flat_map(|path| {
            let breaches = left_over(&read(path));
            let place = path.display().to_string();
            breaches
                .into_iter()
                .map(move |breach| format!("{place}: {breach}"))
        })
        .collect();
    none(&breaches);
}

#[test]
fn decoders_stand_on_no_runtime() {
    none(&under("protocols", &read(Path::new("Cargo.lock"))));
}

// The rules.

/// The rooms that a file names and may not.
fn imports(room: &str, path: &Path, text: &str) -> Breaches {
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!(
            "the room {room} is not in the table of tests/tidy.rs"
        )];
    };
    let mut allowed: BTreeSet<_> = allowed.iter().copied().collect();
    if path
        .iter()
        .any(|part| part == "tests" || part == "tests.rs")
    {
        // A test puts real neighbours around its room, and these need theirs.
        while let Some(more) = ROOMS
            .iter()
            .filter(|(name, _)| allowed.contains(name))
            .flat_map(|(_, rooms)| rooms.iter())
            .find(|room| !allowed.contains(*room))
        {
            allowed.insert(more);
        }
    }
    let code = code_of(text);
    let mut named = paths_from("crate", &code);
    named.append(&mut paths_from("tollgate", &code));
    named.append(&mut from_above(path, &code));
    if code.contains("protocols::") {
        named.insert("protocols".into());
    }
    named
        .into_iter()
        .filter(|name| ROOMS.iter().any(|(room, _)| room == name) || name == "protocols")
        .filter(|name| name != room && name != "ids")
        .filter(|name| !allowed.contains("*") && !allowed.contains(name.as_str()))
        .map(|name| format!("{room} may not import {name}"))
        .collect()
}

/// The heavy dependencies that a room names and may not.
fn dependencies(room: &str, text: &str) -> Breaches {
    let code = code_of(text);
    DEPENDENCIES
        .iter()
        .filter(|(_, rooms)| !rooms.contains(&room))
        .filter(|(name, _)| names_crate(&code, name))
        .map(|(name, rooms)| format!("{room} may not name {name}: {} may", rooms.join(", ")))
        .collect()
}

/// The other protocols that a file under `protocols/` names; `path` is within that folder.
fn foreign_protocols(own: &str, protocols: &BTreeSet<String>, path: &Path, text: &str) -> Breaches {
    let code = code_of(text);
    let mut named = paths_from("crate", &code);
    named.append(&mut from_above(path, &code));
    named
        .into_iter()
        .filter(|name| name != own && protocols.contains(name))
        .map(|name| format!("{own} may not import the protocol {name}: what both need is kit's"))
        .collect()
}

/// The modules of a folder that import each other in a circle, and those that import one of them.
/// What a module takes from the page above it (`mod`) does not count.
fn circle(modules: &BTreeMap<String, String>) -> Vec<String> {
    let imported = |(name, text): (&String, &String)| {
        let code = code_of(text);
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        (name.clone(), paths_from("super", code))
    };
    let mut left: BTreeMap<_, _> = modules.iter().map(imported).collect();
    loop {
        let names: BTreeSet<_> = left.keys().cloned().collect();
        left.retain(|_, imports| !imports.is_disjoint(&names));
        if left.len() == names.len() {
            return left.into_keys().collect();
        }
    }
}

/// The headings that a protocol's page lacks.
fn headings(text: &str) -> Breaches {
    let page: Vec<_> = text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .collect();
    HEADINGS
        .iter()
        .filter(|heading| !page.contains(*heading))
        .map(|heading| format!("its page has no heading {heading:?}"))
        .collect()
}

/// Rows of the code map that are missing, and modules out of order.
fn map(page: &str, declared: &[String]) -> Breaches {
    let mut breaches: Breaches = declared
        .iter()
        .filter(|room| !page.contains(&format!("//! | [`{room}`] | ")))
        .map(|room| format!("{room}: no row on the code map of src/lib.rs"))
        .collect();
    if !declared.is_sorted() {
        breaches.push("the modules of src/lib.rs are not in order".into());
    }
    breaches
}

fn size(path: &Path, text: &str) -> Breaches {
    let mut breaches = Breaches::new();
    let most = if path == Path::new("src/main.rs") {
        MAIN_LINES_MAX
    } else {
        FILE_LINES_MAX
    };
    let lines = text.lines().count();
    if lines > most {
        breaches.push(format!("{lines} lines, at most {most}"));
    }
    let code = code_of(text);
    for (index, (line, code)) in text.lines().zip(code.lines()).enumerate() {
        let width = line.chars().count();
        // A frame in hexadecimal or an address cannot be broken, nor can the row of a table or an
        // attribute; text within quotes is its author's.
        let mut words = line.split([' ', '"']);
        let unbroken = words.any(|word| word.len() > WIDTH_MAX / 2);
        let is_comment = line.trim_start().starts_with("//");
        let comment = line.trim_start_matches([' ', '/', '!']);
        let row = is_comment && comment.starts_with('|');
        let row = row || line.trim_start().starts_with("#[");
        let quoted = !is_comment && code.split_whitespace().map(str::len).sum::<usize>() < 40;
        if width > WIDTH_MAX && !unbroken && !row && !quoted {
            breaches.push(format!("line {}: {width} characters", index + 1));
        }
    }
    breaches
}

/// Notes of what is not done, and paths of somebody's machine.
fn left_over(text: &str) -> Breaches {
    // In pieces, so that this file is no breach itself.
    const LATER: [&str; 3] = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("HA", "CK:"),
    ];
    const MACHINES: [&str; 4] = [
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
    ];
    let mut breaches = Breaches::new();
    for (index, line) in text.lines().enumerate() {
        for mark in LATER.iter().filter(|mark| has_word(line, mark)) {
            breaches.push(format!("line {}: {mark}: an issue, or nothing", index + 1));
        }
        for path in MACHINES.iter().filter(|path| begins_path(line, path)) {
            breaches.push(format!("line {}: the path of a machine: {path}", index + 1));
        }
    }
    breaches
}

/// What `package` must not stand on and does, by way of what.
fn under(package: &str, lock: &str) -> Breaches {
    let mut stands_on: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut current = None;
    for line in lock.lines() {
        let quoted = line.split('"').nth(1);
        if line.starts_with("name = ") {
            current = quoted;
        } else if let (true, Some(on), Some(name)) = (line.starts_with(" \""), quoted, current) {
            let on = on.split(' ').next().unwrap_or(on);
            stands_on.entry(name).or_default().push(on);
        }
    }
    let mut seen = BTreeSet::from([package]);
    let mut next = vec![package];
    while let Some(name) = next.pop() {
        for on in stands_on.get(name).into_iter().flatten() {
            if seen.insert(on) {
                next.push(on);
            }
        }
    }
    NOT_UNDER_PROTOCOLS
        .iter()
        .filter(|name| seen.contains(*name))
        .map(|name| format!("{package} stands on {name}"))
        .collect()
}

// Reading Rust, as far as the rules need it.

/// The code of `text`: comments, and the contents of strings and characters, are blanks.
fn code_of(text: &str) -> String {
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
fn paths_from(root: &str, code: &str) -> BTreeSet<String> {
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
fn from_above(path: &Path, code: &str) -> BTreeSet<String> {
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
fn names_crate(code: &str, name: &str) -> bool {
    let start = format!("{name}::");
    code.match_indices(&start).any(|(at, _)| {
        let before = &code[..at];
        !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$')
            || before.ends_with(" ::")
    }) || code.contains(&format!("use {name};"))
}

fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

/// Does a path of that beginning stand there, not a later part of another path?
fn begins_path(line: &str, path: &str) -> bool {
    line.match_indices(path)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~*}".contains(c)))
}

// Finding files.

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(root().join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The files below `folder`, as paths from the root; hidden ones and build output are left out.
fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    const SKIPPED: [&str; 4] = [".git", "target", "data", "corpus"];
    let Ok(entries) = std::fs::read_dir(root().join(folder)) else {
        return;
    };
    for entry in entries {
        let name = entry.expect("it can be read").file_name();
        let path = folder.join(&name);
        if root().join(&path).is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                files_below(&path, files);
            }
        } else {
            files.push(path);
        }
    }
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    files_below(Path::new(folder), &mut files);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    files
}

fn every_text_file() -> Vec<PathBuf> {
    const TEXT: [&str; 9] = [
        "rs", "toml", "md", "sh", "yml", "yaml", "json", "html", "service",
    ];
    let mut files = Vec::new();
    files_below(Path::new(""), &mut files);
    files.retain(|path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.map_or_else(|| path.starts_with(".ci"), |one| TEXT.contains(&one))
    });
    files.sort();
    files
}

/// The room of a file below src/: `main` for what is not in one.
fn room_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix("src").ok()?;
    match first_name(inside).as_str() {
        "lib" => None,
        name => Some(name.to_owned()),
    }
}

fn first_name(path: &Path) -> String {
    let first = path
        .components()
        .next()
        .map(|first| PathBuf::from(first.as_os_str()));
    let stem = first.as_deref().and_then(Path::file_stem);
    stem.map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The modules that a page declares with `pub mod` or `mod`.
fn modules(page: &str) -> Vec<String> {
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

fn protocols() -> BTreeSet<String> {
    let modules = modules(&read(Path::new("protocols/lib.rs")));
    let other = |name: &String| name != "contract" && name != "kit";
    let protocols: BTreeSet<_> = modules.into_iter().filter(other).collect();
    assert!(!protocols.is_empty());
    protocols
}

fn check(files: Vec<PathBuf>, rule: impl Fn(&Path, &str) -> Breaches) {
    assert!(!files.is_empty());
    let mut all = Breaches::new();
    for path in files {
        let place = path.display().to_string();
        let found = rule(&path, &read(&path));
        all.extend(found.into_iter().map(|breach| format!("{place}: {breach}")));
    }
    none(&all);
}

fn none(breaches: &[String]) {
    let mut text = String::new();
    for breach in breaches {
        writeln!(text, "  {breach}").expect("a String takes everything");
    }
    assert!(breaches.is_empty(), "house rules are broken:\n{text}");
}

// The checker is checked: planted breaches are found, and what only looks like one is not.

#[test]
fn a_planted_import_is_found() {
    let path = Path::new("src/account/tree.rs");
    for text in [
        "use crate::store::Store;",
        "use crate::{ids::AccountId, store::{Store, Open}};",
        "use crate::{\n    ids,\n    store,\n};",
        "fn f() { crate::store::open() }",
        "use super::super::store::Store;",
        "use super::super::{ids, store};",
        "use ::tollgate::store::Store;",
        "let s = \"// no comment\"; use crate::store;",
        "let c = '\"'; use crate::store;",
        "fn f<'a>(x: &'a str) { crate::store::open(x) }",
    ] {
        assert_eq!(
            imports("account", path, text),
            ["account may not import store"],
            "{text}"
        );
    }
    assert_eq!(
        imports("account", path, "use protocols::Ident;"),
        ["account may not import protocols"]
    );
    assert_eq!(imports("attic", path, "").len(), 1);
    for (file, found) in [("gate.rs", 1), ("tests.rs", 0), ("tests/harness.rs", 0)] {
        let path = Path::new("src/channel").join(file);
        let breaches = imports("channel", &path, "use crate::segment::OsFiles;");
        assert_eq!(breaches.len(), found, "{file}");
        let path = Path::new("src/account").join(file);
        assert_eq!(imports("account", &path, "use crate::segment;").len(), 1);
    }
}

#[test]
fn what_only_looks_like_an_import_is_none() {
    let path = Path::new("src/account/tree.rs");
    for text in [
        "//! See [`crate::store`].",
        "/* crate::store /* crate::api */ */",
        "let s = \"crate::store\";",
        "let s = r#\"crate::store \" crate::api\"#;",
        "use crate::ids::AccountId;",
        "use super::limits::Caps;",
        "use super::super::ids::AccountId;",
        "use crate::account::store_rate;",
        "let x = mycrate::store;",
        "use crate::{ids::{store, api}, account};",
    ] {
        assert!(imports("account", path, text).is_empty(), "{text}");
    }
    assert!(imports("cli", Path::new("src/cli/mod.rs"), "use crate::store;").is_empty());
}

#[test]
fn a_planted_dependency_is_found() {
    for (room, text, found) in [
        ("account", "use tokio::sync::watch;", 1),
        ("account", "async fn f() { tokio::time::sleep(d).await }", 1),
        ("account", "// tokio::sync", 0),
        ("account", "use my_tokio::sync;", 0),
        ("account", "use crate::tokio::x;", 0),
        ("channel", "use tokio::net::TcpListener;", 0),
        ("registry", "use sled::Db;", 1),
        ("store", "use sled::Db;", 0),
        ("control", "use axum::Router;\nuse dashmap::DashMap;", 2),
    ] {
        assert_eq!(dependencies(room, text).len(), found, "{room}: {text}");
    }
}

#[test]
fn a_planted_use_of_another_protocol_is_found() {
    let all = BTreeSet::from(["gt06".to_owned(), "h02".to_owned()]);
    for (text, found) in [
        ("use crate::gt06::Decoder;", 1),
        ("use super::gt06::Decoder;", 1),
        ("use crate::{contract, gt06};", 1),
        ("use crate::contract::Decode;", 0),
        ("use crate::kit::framing;", 0),
        ("use crate::h02::text;", 0),
        ("//! as crate::gt06 does", 0),
    ] {
        let path = Path::new("h02.rs");
        assert_eq!(
            foreign_protocols("h02", &all, path, text).len(),
            found,
            "{text}"
        );
    }
    let path = Path::new("h02/text.rs");
    let text = "use super::super::gt06::Decoder;";
    assert_eq!(foreign_protocols("h02", &all, path, text).len(), 1);
}

#[test]
fn a_planted_circle_is_found() {
    let found = |texts: &[(&str, &str)]| {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        circle(&texts.iter().map(owned).collect())
    };
    let apart = [("a", "use super::b::Part;"), ("b", "use super::SHORT;")];
    assert_eq!(found(&apart), [""; 0]);
    let each_other = [
        ("a", "use super::b::Part;"),
        ("b", "use super::{SHORT, a};"),
    ];
    assert_eq!(found(&each_other), ["a", "b"]);
    let trials = [("a", "#[cfg(test)]\nmod tests { use super::a::*; }")];
    assert_eq!(found(&trials), [""; 0]);
}

#[test]
fn a_missing_heading_is_found() {
    let page = "//! H02\n//!\n//! # Wire format\n//!\n//! # Session\n//!\n//! # Source\nuse x;";
    assert!(headings(page).is_empty());
    assert_eq!(headings(&page.replace("# Session", "Session")).len(), 1);
    assert_eq!(headings("use x;\n//! # Session").len(), 3);
}

#[test]
fn a_room_without_its_row_is_found() {
    let page = "//! | [`api`] | REST |\npub mod api;\npub mod cli;\n";
    assert_eq!(map(page, &modules(page)).len(), 1);
    let page = "//! | [`api`] | REST |\n//! | [`cli`] | x |\npub mod cli;\npub mod api;\n";
    assert_eq!(
        map(page, &modules(page)),
        ["the modules of src/lib.rs are not in order"]
    );
}

#[test]
fn long_files_and_lines_are_found() {
    let path = Path::new("src/x.rs");
    assert!(size(path, &"x\n".repeat(FILE_LINES_MAX)).is_empty());
    assert_eq!(size(path, &"x\n".repeat(FILE_LINES_MAX + 1)).len(), 1);
    assert_eq!(
        size(Path::new("src/main.rs"), &"x\n".repeat(FILE_LINES_MAX)).len(),
        1
    );
    assert_eq!(size(path, &"word ".repeat(25)).len(), 1);
    assert!(size(path, &format!("//! | {}", "word ".repeat(25))).is_empty());
    assert!(size(path, &format!("let s = \"\n{}\";", "word ".repeat(25))).is_empty());
    assert!(size(path, &format!("let frame = \"{}\";", "0f".repeat(60))).is_empty());
}

#[test]
fn what_is_left_for_later_is_found() {
    let later = concat!("TO", "DO");
    assert_eq!(left_over(&format!("// {later}: all of it")).len(), 1);
    assert!(left_over(&format!("MAS{later}NT")).is_empty());
    let home = concat!("/ho", "me/");
    assert_eq!(left_over(&format!("path = \"{home}anna/x\"")).len(), 1);
    assert!(left_over(&format!("see docs{home}page")).is_empty());
    assert!(left_over("the framework/kit").is_empty());
}

#[test]
fn a_runtime_below_the_decoders_is_found() {
    let lock = "\
[[package]]
name = \"protocols\"
dependencies = [
 \"nom\",
]

[[package]]
name = \"nom\"
dependencies = [
 \"tokio 1.0.0\",
]

[[package]]
name = \"tollgate\"
dependencies = [
 \"sled\",
]
";
    assert_eq!(under("protocols", lock), ["protocols stands on tokio"]);
    assert!(under("protocols", &lock.replace("tokio 1.0.0", "memchr")).is_empty());
}
