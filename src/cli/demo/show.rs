//! What a person sees: headlines, bars, one table a scene, and the checks under it.

use crate::cli::Failure;
use comfy_table::modifiers::UTF8_ROUND_CORNERS;
use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

/// Where the story is told.
pub(super) struct Stage {
    /// Boxes and bold type; without a terminal plain text.
    terminal: bool,
    out: io::Stdout,
    scene: u32,
    held: u32,
    failed: Vec<String>,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            out: io::stdout(),
            scene: 0,
            held: 0,
            failed: Vec::new(),
        }
    }

    /// What did not hold.
    pub(super) fn failed(&self) -> &[String] {
        &self.failed
    }

    /// How many checks held.
    pub(super) fn held(&self) -> u32 {
        self.held
    }

    /// A new scene.
    pub(super) fn open(&mut self, title: &str) -> Result<(), Failure> {
        self.scene += 1;
        let scene = self.scene;
        if self.terminal {
            self.line(format_args!("\n\x1b[1m{scene}  {title}\x1b[0m"))
        } else {
            self.line(format_args!("\n{scene}. {title}"))
        }
    }

    pub(super) fn line(&self, text: impl Display) -> Result<(), Failure> {
        let mut out = self.out.lock();
        writeln!(out, "{text}")
            .and_then(|()| out.flush())
            .map_err(|error| Failure::output(&error))
    }

    /// A table whose columns are numbers, but for those in `texts`.
    pub(super) fn table(
        &self,
        header: &[&str],
        texts: &[usize],
        rows: Vec<Vec<String>>,
    ) -> Result<(), Failure> {
        let mut table = Table::new();
        if self.terminal {
            table
                .load_preset(UTF8_FULL_CONDENSED)
                .apply_modifier(UTF8_ROUND_CORNERS);
        } else {
            table.load_preset(ASCII_MARKDOWN);
        }
        table.set_header(header.iter().copied());
        table.add_rows(rows);
        for column in (0..header.len()).filter(|column| !texts.contains(column)) {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self.line(table)
    }

    /// Says whether what must hold does.
    pub(super) fn check(&mut self, holds: bool, what: impl Display) -> Result<(), Failure> {
        let mark = match (holds, self.terminal) {
            (true, true) => "\x1b[32m✓\x1b[0m",
            (false, true) => "\x1b[31m✗\x1b[0m",
            (true, false) => "ok",
            (false, false) => "FAILED",
        };
        if holds {
            self.held += 1;
        } else {
            self.failed.push(format!("scene {}: {what}", self.scene));
        }
        self.line(format_args!("  {mark} {what}"))
    }

    /// A bar on standard error, if somebody watches.
    pub(super) fn bar(&self, what: &'static str, length: u64) -> Bar {
        if !self.terminal {
            return Bar(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(length).with_message(what);
        if let Ok(style) =
            ProgressStyle::with_template("  {msg:28} {bar:32} {pos:>6}/{len} {elapsed}")
        {
            bar.set_style(style);
        }
        Bar(bar)
    }
}

/// A bar that is gone when it goes out of sight.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn at(&self, position: u64, length: u64) {
        self.0.set_length(length);
        self.0.set_position(position.min(length));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A number with its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1234567, "1,234,567"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
