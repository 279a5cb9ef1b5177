//! `tollgate verify`: reads everything in a data directory and reports what is not as written.

use super::data::{DataArgs, no_directory};
use super::gateway::{EVENTS_DIR, JOURNAL_DIR};
use super::{Exit, Failure};
use crate::journal::Ledger as _;
use crate::journal::verify::{Finding, Verified, verify};
use crate::raw::RAW_DIR;
use crate::segment::OsFiles;
use crate::store::{DirLock, Kind, LEDGER_DIR, REGISTRY_DIR, SledLedger, Store, StoreError};
use clap::Args as ClapArgs;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;

/// Reads everything in the data directory: segments entry by entry, their indexes, archives block by
/// block, snapshots, events, raw traffic, the items, the counters. Prints every bad record with its file
/// and place: exit 1 if there is one. It changes nothing. A gateway or a compaction may run meanwhile:
/// items and counters are then left out.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let dir = args.data.dir()?;
    if !dir.is_dir() {
        return Err(no_directory(&dir));
    }
    let mut findings = Vec::new();
    let mut left_off = 0;
    let mut of_journal = Verified::default();
    for (name, is_journal) in [(JOURNAL_DIR, true), (EVENTS_DIR, false), (RAW_DIR, false)] {
        let path = dir.join(name);
        if !path.is_dir() {
            continue;
        }
        let mut verified = verify(&OsFiles, &path, is_journal)
            .map_err(|error| Failure::new(Exit::Io, format_args!("{}: {error}", path.display())))?;
        findings.append(&mut verified.findings);
        left_off += verified.left_off;
        if is_journal {
            of_journal = verified;
        }
    }
    // neither a gateway nor a compaction begins while items and counters are read
    let lock = match DirLock::take(&dir) {
        Ok(lock) => Ok(Some(lock)),
        Err(error @ StoreError::InUse { .. }) => Err(error),
        // where no lock can be written nobody else writes either
        Err(_) => Ok(None),
    };
    let in_use = lock.is_err();
    let items = match lock
        .as_ref()
        .map_or_else(|_| Ok(None), |_| items(&dir, &mut findings).map(Some))
    {
        Ok(items) => items,
        Err(StoreError::InUse { .. }) => None,
        Err(error) => {
            findings.push(Finding {
                path: dir.join(REGISTRY_DIR),
                offset: None,
                what: error.to_string(),
            });
            None
        }
    };
    let counters = if in_use { Err(None) } else { counted(&dir) };
    drop(lock);
    match counters {
        Ok(last) if last >= of_journal.next.max(1) => findings.push(Finding {
            path: dir.join(LEDGER_DIR),
            offset: None,
            what: format!(
                "the counters hold entries up to {last}, the journal ends before {}",
                of_journal.next.max(1)
            ),
        }),
        Ok(_) | Err(None) => {}
        Err(Some(error)) => findings.push(Finding {
            path: dir.join(LEDGER_DIR),
            offset: None,
            what: error,
        }),
    }
    print(args, &of_journal, items, &findings).map_err(|error| Failure::output(&error))?;
    let count = findings.len() as u64 + left_off;
    match count {
        0 => Ok(()),
        count => Err(Failure::new(
            Exit::Differs,
            format_args!("{count} places are not what was written"),
        )
        .hint(
            "restore a backup, or start with `tollgate serve --give-up-damaged` to go on without \
             what the journal has lost",
        )),
    }
}

fn print(
    args: &Args,
    verified: &Verified,
    items: Option<u64>,
    findings: &[Finding],
) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        let findings: Vec<Value> = findings
            .iter()
            .map(|finding| {
                json!({
                    "file": finding.path,
                    "offset": finding.offset,
                    "what": finding.what,
                })
            })
            .collect();
        return writeln!(
            out,
            "{}",
            json!({
                "files": verified.files,
                "entries": verified.entries,
                "messages": verified.messages,
                "archived": verified.archived,
                "given_up": verified.given_up,
                "torn_bytes": verified.torn_bytes,
                "items": items,
                "findings": findings,
            })
        );
    }
    for finding in findings {
        writeln!(out, "{finding}")?;
    }
    writeln!(
        out,
        "{} files of the journal, {} entries with {} messages, {} messages in archives; {}",
        verified.files,
        verified.entries,
        verified.messages,
        verified.archived,
        items.map_or_else(
            || "items and counters were not read: a gateway or a compaction has them open"
                .to_owned(),
            |items| format!("{items} items"),
        ),
    )?;
    if verified.given_up > 0 {
        writeln!(out, "{} entries were given up earlier", verified.given_up)?;
    }
    if verified.torn_bytes > 0 {
        writeln!(
            out,
            "{} bytes at the end are of a write that was not finished: nothing of it was answered",
            verified.torn_bytes
        )?;
    }
    Ok(())
}

/// Reads every item.
fn items(dir: &Path, findings: &mut Vec<Finding>) -> Result<u64, StoreError> {
    if !dir.join(REGISTRY_DIR).is_dir() {
        return Ok(0);
    }
    let store = Store::open(dir)?;
    let mut count = 0;
    for kind in Kind::ALL {
        for row in store.all::<Value>(kind) {
            match row {
                Ok(_) => count += 1,
                Err(error) => findings.push(Finding {
                    path: dir.join(REGISTRY_DIR),
                    offset: None,
                    what: error.to_string(),
                }),
            }
        }
    }
    Ok(count)
}

/// The last entry that the counters hold; an error without a text: a gateway has them open.
fn counted(dir: &Path) -> Result<u64, Option<String>> {
    if !dir.join(LEDGER_DIR).is_dir() {
        return Ok(0);
    }
    let mut ledger = SledLedger::open(dir).map_err(|error| match error {
        StoreError::InUse { .. } => None,
        error => Some(error.to_string()),
    })?;
    let checkpoint = ledger.load().map_err(|error| Some(error.to_string()))?;
    let checkpoint = checkpoint.unwrap_or_default();
    Ok(checkpoint
        .watermark
        .max(checkpoint.statistics_watermark)
        .sequence())
}
