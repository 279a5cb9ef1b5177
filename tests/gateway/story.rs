//! The demo is a test of its own: each scene checks what it shows.

use crate::harness::{TOLLGATE, command};
use std::process::Command;

#[test]
fn the_demo_holds_all_its_checks() {
    let output = Command::new(TOLLGATE).args(["demo", "--once"]).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let failures = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{failures}");
    assert!(said.contains("and all 18 checks held"), "{said}");
    assert!(!said.contains('\x1b'), "no colours where nobody sees them");
}

#[test]
fn the_demo_begins_with_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("precious"), "data").expect("a file");
    let output = command(&["demo", "--once", "--data"], dir.path(), &[]);
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("is not empty"), "{said}");
}
