//! `scaffold`: a new protocol that compiles, in its four places: its file, its `mod` line, its row,
//! its first dialogue. The dialogue fails on purpose: it expects a speed that the template does not
//! read.

use anyhow::{Context as _, Result, bail, ensure};
use std::path::{Path, PathBuf};

const MODULE: &str = include_str!("template.rs");
const DIALOGUE: &str = include_str!("template.jsonl");

/// Writes the protocol `name` under `root`; gives back what was touched. Without a number it gets
/// the highest plus one.
pub(crate) fn write(root: &Path, name: &str, number: Option<u16>) -> Result<Vec<PathBuf>> {
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    ensure!(
        fits,
        "a protocol's name is lower-case letters and digits: {name}"
    );
    let table = root.join("protocols/lib.rs");
    let module = root.join("protocols").join(format!("{name}.rs"));
    let dialogue = root.join("fixtures").join(name).join("position.jsonl");
    if module.exists() || module.with_extension("").exists() {
        bail!("{name} exists");
    }
    let text = std::fs::read_to_string(&table).with_context(|| table.display().to_string())?;
    std::fs::write(&table, registered(&text, name, number)?)?;
    std::fs::write(&module, named(MODULE, name))?;
    std::fs::create_dir_all(dialogue.parent().context("a folder")?)?;
    std::fs::write(&dialogue, dialogue_of(name))?;
    Ok(vec![table, module, dialogue])
}

/// The template under another name.
fn named(template: &str, name: &str) -> String {
    let mut title = name.to_owned();
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    template
        .replace("scaffold", name)
        .replace("Scaffold", &title)
        .replace("SCAFFOLD", &name.to_ascii_uppercase())
}

/// The dialogue under another name, its checksum made anew.
fn dialogue_of(name: &str) -> String {
    let text = named(DIALOGUE, name);
    let checked = text.split_once('$').and_then(|(before, rest)| {
        let (content, after) = rest.split_once('*')?;
        let sum = protocols::kit::checksum::xor(format!("${content}").as_bytes());
        Some(format!("{before}${content}*{sum:02X}{}", after.get(2..)?))
    });
    checked.unwrap_or(text)
}

/// `protocols/lib.rs` with the protocol's `mod` line and row, each in name order.
fn registered(lib: &str, name: &str, number: Option<u16>) -> Result<String> {
    let row = |line: &str| -> Option<(u16, String)> {
        let (number, module) = line.trim().strip_suffix(',')?.split_once(' ')?;
        Some((number.parse().ok()?, module.to_owned()))
    };
    let module = |line: &str| -> Option<String> {
        Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    };
    let taken = || lib.lines().filter_map(row).map(|(number, _)| number);
    let highest = taken().max().context("no row in the table")?;
    let number = number.unwrap_or(highest + 1);
    ensure!(
        !taken().any(|other| other == number),
        "number {number} is another protocol's"
    );
    let mut text = String::new();
    let (mut mod_line, mut row_line) = (
        Some(format!("mod {name};\n")),
        Some(format!("    {number} {name},\n")),
    );
    let mut in_table = false;
    for line in lib.lines() {
        let after_mods = module(line).is_some_and(|other| other.as_str() > name)
            || line.starts_with("pub use contract");
        if after_mods && let Some(mod_line) = mod_line.take() {
            // the blank line after the last `mod` line stays where it is
            if module(line).is_none() && text.ends_with("\n\n") {
                text.pop();
                text += &mod_line;
                text.push('\n');
            } else {
                text += &mod_line;
            }
        }
        in_table |= line == "table! {";
        let after_rows =
            in_table && (row(line).is_some_and(|(_, other)| other.as_str() > name) || line == "}");
        if after_rows && let Some(row_line) = row_line.take() {
            text += &row_line;
        }
        text += line;
        text.push('\n');
    }
    ensure!(
        mod_line.is_none() && row_line.is_none(),
        "protocols/lib.rs does not look as it should"
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::dialogue::Dialogue;
    use crate::harness::trials::TRIALS;

    #[test]
    fn a_new_protocol_is_one_file_one_mod_line_one_row_and_its_fixtures() {
        let root = std::env::temp_dir().join(format!("tollgate-scaffold-{}", std::process::id()));
        std::fs::create_dir_all(root.join("protocols")).expect("a folder");
        let lib = include_str!("../../protocols/lib.rs");
        std::fs::write(root.join("protocols/lib.rs"), lib).expect("a file");
        for name in ["aaa", "nnn", "zzz"] {
            let number = (name == "nnn").then_some(900);
            let touched = write(&root, name, number).expect("scaffold");
            assert_eq!(touched.len(), 3);
        }
        assert!(write(&root, "nnn", None).is_err(), "it exists already");
        assert!(write(&root, "../x", None).is_err(), "no name");
        assert!(
            write(&root, "mmm", Some(900)).is_err(),
            "the number is taken"
        );
        let after = std::fs::read_to_string(root.join("protocols/lib.rs")).expect("a file");
        assert_eq!(after.lines().count(), lib.lines().count() + 6);
        assert!(after.contains("    900 nnn,\n") && after.contains("    901 zzz,\n"));
        let kept: Vec<&str> = after
            .lines()
            .filter(|line| !["aaa", "nnn", "zzz"].iter().any(|name| line.contains(name)))
            .collect();
        assert_eq!(kept, lib.lines().collect::<Vec<_>>());
        // by name as rustfmt has it: `xexun` before `xexun2`, whatever follows the name in the line
        let mods: Vec<&str> = after
            .lines()
            .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
            .collect();
        assert!(mods.is_sorted(), "{mods:?}");
        std::fs::remove_dir_all(&root).expect("what was made");
    }

    #[test]
    fn the_template_works_and_only_its_dialogue_fails() {
        let path = std::env::temp_dir().join(format!("tollgate-{}.jsonl", std::process::id()));
        std::fs::write(&path, dialogue_of("scaffold")).expect("a file");
        let dialogue = Dialogue::read(&path).expect("a dialogue");
        let protocol = protocols::Protocol::of::<crate::template::Decoder>(u16::MAX);
        for (name, trial) in TRIALS {
            let outcome = trial(&protocol, &dialogue);
            assert_eq!(outcome.is_err(), *name == "dialogue", "{name}: {outcome:?}");
        }
        assert!(dialogue_of("scaffold").contains("*4E"), "as in the file");
        std::fs::remove_file(&path).expect("what was made");
    }
}
