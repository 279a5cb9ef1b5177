//! The files of the tree, and how a breach of a rule is told.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Where something is wrong, and what.
pub(crate) type Breaches = Vec<String>;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &Path) -> String {
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

pub(crate) fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    files_below(Path::new(folder), &mut files);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    files
}

pub(crate) fn every_text_file() -> Vec<PathBuf> {
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
pub(crate) fn room_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix("src").ok()?;
    match first_name(inside).as_str() {
        "lib" => None,
        name => Some(name.to_owned()),
    }
}

pub(crate) fn first_name(path: &Path) -> String {
    let first = path
        .components()
        .next()
        .map(|first| PathBuf::from(first.as_os_str()));
    let stem = first.as_deref().and_then(Path::file_stem);
    stem.map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default()
}

pub(crate) fn check(files: Vec<PathBuf>, rule: impl Fn(&Path, &str) -> Breaches) {
    assert!(!files.is_empty());
    let mut all = Breaches::new();
    for path in files {
        let place = path.display().to_string();
        let found = rule(&path, &read(&path));
        all.extend(found.into_iter().map(|breach| format!("{place}: {breach}")));
    }
    none(&all);
}

pub(crate) fn none(breaches: &[String]) {
    let mut text = String::new();
    for breach in breaches {
        writeln!(text, "  {breach}").expect("a String takes everything");
    }
    assert!(breaches.is_empty(), "house rules are broken:\n{text}");
}
