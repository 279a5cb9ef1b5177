//! What holds for every file: it says what it is for, it is short enough to read, nothing is left
//! for later, and no machine shows.

use crate::rust::code_of;
use crate::tree::{Breaches, check, every_text_file, none, read, rust_files};
use std::path::Path;

/// The most lines of a Rust file. A longer one is a folder.
const FILE_LINES_MAX: usize = 1200;
/// The most characters of a line. rustfmt holds code to 100; this is for what it leaves alone.
const WIDTH_MAX: usize = 120;
/// `main.rs` is one page.
const MAIN_LINES_MAX: usize = 80;
/// Files that are one table, a row a line: neither rustfmt nor the bounds above apply.
const TABLES: &[&str] = &[
    "protocols/contract/fields/dictionary.rs",
    "src/api/routes.rs",
];

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

// The checker is checked: planted breaches are found, and what only looks like one is not.

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
