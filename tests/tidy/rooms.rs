//! Who may import whom, and who may name a heavy dependency.
//!
//! A change of these tables is a change of the design, and its commit says why.

use crate::rust::{code_of, from_above, modules, names_crate, paths_from};
use crate::tree::{Breaches, check, none, read, room_of, rust_files};
use std::collections::BTreeSet;
use std::path::Path;

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

#[test]
fn rooms_import_only_what_the_table_allows() {
    in_rooms(imports);
}

#[test]
fn every_room_is_in_the_table_and_on_the_code_map() {
    let page = read(Path::new("src/lib.rs"));
    let declared = modules(&page);
    let mut breaches = map(&page, &declared);
    for room in &declared {
        if !ROOMS.iter().any(|(name, _)| name == room) {
            breaches.push(format!(
                "{room}: a room that tests/tidy/rooms.rs does not know"
            ));
        }
    }
    none(&breaches);
}

#[test]
fn a_heavy_dependency_is_named_in_its_own_rooms_only() {
    in_rooms(|room, _, text| dependencies(room, text));
}

/// Looks at each file of a room.
fn in_rooms(look: impl Fn(&str, &Path, &str) -> Breaches) {
    check(rust_files("src"), |path, text| {
        room_of(path).map_or_else(Vec::new, |room| look(&room, path, text))
    });
}

/// The rooms that a file names and may not.
fn imports(room: &str, path: &Path, text: &str) -> Breaches {
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!(
            "the room {room} is not in the table of tests/tidy/rooms.rs"
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
fn a_room_without_its_row_is_found() {
    let page = "//! | [`api`] | REST |\npub mod api;\npub mod cli;\n";
    assert_eq!(map(page, &modules(page)).len(), 1);
    let page = "//! | [`api`] | REST |\n//! | [`cli`] | x |\npub mod cli;\npub mod api;\n";
    assert_eq!(
        map(page, &modules(page)),
        ["the modules of src/lib.rs are not in order"]
    );
}
