//! The decoders: what they stand on, what they import of each other, and their pages.

use crate::rust::{code_of, from_above, modules, paths_from};
use crate::tree::{Breaches, check, first_name, none, read, root, rust_files};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a decoder must not stand on, not even through something else.
const NOT_UNDER_PROTOCOLS: &[&str] = &["tokio", "mio", "async-std", "smol", "sled", "axum"];

/// The headings of a protocol's page.
const HEADINGS: &[&str] = &["# Wire format", "# Session", "# Source"];

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
fn decoders_stand_on_no_runtime() {
    none(&under("protocols", &read(Path::new("Cargo.lock"))));
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

fn protocols() -> BTreeSet<String> {
    let modules = modules(&read(Path::new("protocols/lib.rs")));
    let other = |name: &String| name != "contract" && name != "kit";
    let protocols: BTreeSet<_> = modules.into_iter().filter(other).collect();
    assert!(!protocols.is_empty());
    protocols
}

// The checker is checked: planted breaches are found, and what only looks like one is not.

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
