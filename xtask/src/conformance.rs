//! `conformance`: the whole corpus through every decoder, as a table.

use crate::harness::corpus::{self, Corpus};
use anyhow::{Result, anyhow};
use protocols::PROTOCOLS;
use std::fmt::Write as _;
use std::path::Path;

const HEAD: &str = "\
# Conformance

Written by `cargo xtask conformance`; the same comparison runs as tests (`cargo test -p protocols --test fixtures`).
The corpus is test data of Traccar (see `fixtures/README.md`); what is compared is said in
`protocols/tests/harness/corpus.rs`, which names and units belong together in `attributes.rs` beside it.

*equal*: vectors without any difference. *excepted*: listed in `fixtures/_exceptions.json`, with the
reason. *open*: differing and not listed: there must be none.

| protocol | vectors | equal | excepted | open | places | parameters | replies |
|---|---|---|---|---|---|---|---|
";

/// Compares, prints the table, writes it to docs/conformance.md.
pub(crate) fn write(root: &Path) -> Result<()> {
    let mut table = String::new();
    let mut reasons = String::new();
    let mut open = String::new();
    let mut sums = [0usize; 7];
    for protocol in PROTOCOLS {
        let name = protocol.info.name;
        let Some(corpus) = Corpus::read(name).map_err(|why| anyhow!(why))? else {
            continue;
        };
        let exceptions = corpus::exceptions(name).map_err(|why| anyhow!(why))?;
        let verdicts = corpus.run(protocol);
        let mut row = [0usize; 7];
        for (vector, verdict) in corpus.vectors.iter().zip(&verdicts) {
            if vector.prelude {
                continue;
            }
            row[0] += 1;
            row[4] += verdict.fixes;
            row[5] += verdict.parameters;
            row[6] += usize::from(verdict.replied);
            let exception = exceptions
                .iter()
                .find(|exception| exception.id == vector.id);
            match (verdict.differences.is_empty(), exception) {
                (true, _) => row[1] += 1,
                (false, Some(exception)) => {
                    row[2] += 1;
                    writeln!(reasons, "- `{}`: {}", vector.id, exception.reason)?;
                }
                (false, None) => {
                    row[3] += 1;
                    for (label, how) in &verdict.differences {
                        writeln!(open, "{} {label}: {how}", vector.id)?;
                    }
                }
            }
        }
        for (sum, cell) in sums.iter_mut().zip(row) {
            *sum += cell;
        }
        line(&mut table, name, row)?;
    }
    line(&mut table, "all", sums)?;
    let text = format!("{HEAD}{table}\n## Excepted, and why\n\n{reasons}");
    std::fs::write(root.join("docs/conformance.md"), &text)?;
    crate::say(&format!("{open}\n{HEAD}{table}"));
    Ok(())
}

fn line(table: &mut String, name: &str, row: [usize; 7]) -> std::fmt::Result {
    write!(table, "| {name} |")?;
    for cell in row {
        write!(table, " {cell} |")?;
    }
    writeln!(table)
}
