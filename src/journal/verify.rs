//! Reads everything in a journal's folder and says what is not as it was written.
//!
//! It changes nothing and needs nobody's leave: a gateway may write meanwhile, whose last batch is
//! then a torn tail, which is no damage. It goes on behind whatever it finds.

use super::ARCHIVES_DIR;
use super::base::{BASE, Base};
use super::entry::{EntryRef, FrameRef};
use super::index::{self, Sidecar};
use crate::archive;
use crate::segment::checked::CheckedReader;
use crate::segment::files::{TEMPORARY, read_exact_at};
use crate::segment::{self, Files};
use protocols::Record;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Findings that are listed; further ones are counted.
pub const FINDINGS_MAX: usize = 10_000;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// Where in it, where that is known.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What was read, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files that were read.
    pub files: u64,
    /// Whole entries.
    pub entries: u64,
    /// Messages in them.
    pub messages: u64,
    /// Messages in archives.
    pub archived: u64,
    /// Entries that stand where damaged ones were given up earlier.
    pub given_up: u64,
    /// Bytes of a torn tail, that the next start cuts.
    pub torn_bytes: u64,
    /// The number behind the last entry; 0: there is no segment.
    pub next: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub left_off: u64,
}

impl Verified {
    fn find(&mut self, path: &Path, offset: Option<u64>, what: impl Into<String>) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding {
                path: path.to_owned(),
                offset,
                what: what.into(),
            });
        } else {
            self.left_off += 1;
        }
    }
}

/// Reads the log in `dir`: its segments, and what is made of them. `journal`: are its entries a
/// journal's? Of another log only the segments are judged.
pub fn verify(files: &dyn Files, dir: &Path, journal: bool) -> io::Result<Verified> {
    let mut verified = Verified::default();
    let names = files.list(dir)?;
    let segments: Vec<(u64, PathBuf)> = names
        .iter()
        .filter_map(|name| Some((name.strip_suffix(".seg")?.parse().ok()?, dir.join(name))))
        .collect();
    for (index, (first, path)) in segments.iter().enumerate() {
        if index > 0 && *first != verified.next {
            let what = format!(
                "entries {} to {first} (not included) are missing",
                verified.next
            );
            verified.find(path, None, what);
        }
        let last = index + 1 == segments.len();
        let result = segment::examine(files, path, *first, last, &mut |at, entry| {
            verified.entries += 1;
            if !journal {
                return;
            }
            match EntryRef::read(entry.kind, entry.version, entry.content) {
                None => {
                    let what = format!("kind {}, version {} is unknown", entry.kind, entry.version);
                    verified.find(path, Some(at), what);
                }
                Some(EntryRef::Frame(frame)) => match messages_of(&frame) {
                    Ok(messages) => verified.messages += messages,
                    Err(what) => verified.find(path, Some(at), what),
                },
                Some(EntryRef::Lost { .. }) => verified.given_up += 1,
                Some(_) => {}
            }
        });
        let found = match result {
            Ok(found) => found,
            // it went by its age meanwhile
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                verified.find(path, None, error.to_string());
                continue;
            }
        };
        verified.files += 1;
        verified.torn_bytes += found.torn_bytes;
        for damage in &found.damages {
            let (lost, count) = damage.lost;
            let what = match count {
                0 => format!("{}; entries from {lost} on are lost", damage.what),
                count => format!(
                    "{}; entries lost: {lost} and {} more",
                    damage.what,
                    count - 1
                ),
            };
            verified.find(path, Some(damage.offset), what);
        }
        if !found.sealed && !last && found.damages.is_empty() {
            let what = "it has no footer, though a later segment exists";
            verified.find(path, Some(found.end), what);
        }
        verified.next = found.next;
        if journal && let Some(header) = found.header {
            let sidecar = path.with_extension(index::EXTENSION);
            let checked = Sidecar::open_at(&sidecar, header.epoch, found.end, files)
                .and_then(|sidecar| sidecar.check());
            match checked {
                Ok(()) => verified.files += 1,
                // it is made again whenever it is missing
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => verified.find(&sidecar, None, error.to_string()),
            }
        }
    }
    if journal {
        verify_checked(files, dir, &names, &mut verified);
        verify_archives(files, &dir.join(ARCHIVES_DIR), &mut verified);
    }
    Ok(verified)
}

/// The archives, block by block, and their list.
fn verify_archives(files: &dyn Files, dir: &Path, verified: &mut Verified) {
    let list = dir.join(archive::LIST);
    let view = match archive::listed(files, dir) {
        Ok((view, _)) => view,
        Err(error) => return verified.find(&list, None, error.to_string()),
    };
    let names = files.list(dir).unwrap_or_default();
    if !names.iter().any(|name| name == archive::LIST) {
        return;
    }
    verified.files += 1;
    if view.settled >= verified.next.max(1) {
        let what = format!(
            "entries up to {} are settled, the journal ends before {}",
            view.settled,
            verified.next.max(1)
        );
        verified.find(&list, None, what);
    }
    for archive in &view.archives {
        let path = archive.path();
        let mut out_of_order = false;
        let mut last = None;
        let examined = archive::examine(files, path, Some(archive), &mut |block| {
            for message in block.messages() {
                out_of_order |= last.is_some_and(|last| last >= message.key());
                last = Some(message.key());
            }
        });
        match examined {
            Ok(examined) => {
                verified.files += 1;
                verified.archived += examined.messages;
                for (at, what) in examined.damages {
                    verified.find(path, Some(at), what);
                }
                if out_of_order {
                    verified.find(path, None, "its messages are not in order");
                }
            }
            // another took its place meanwhile
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && is_replaced(files, dir, archive) => {}
            Err(error) => verified.find(path, None, error.to_string()),
        }
    }
}

/// Does the list not name it any more?
fn is_replaced(files: &dyn Files, dir: &Path, archive: &archive::Archive) -> bool {
    archive::listed(files, dir).is_ok_and(|(view, _)| {
        let number = archive.number();
        !view.archives.iter().any(|one| one.number() == number)
    })
}

/// The checked files: the base of the audit, the snapshot of telemetry.
fn verify_checked(files: &dyn Files, dir: &Path, names: &[String], verified: &mut Verified) {
    for name in names {
        let extension = Path::new(name).extension().and_then(|name| name.to_str());
        if !matches!(extension, Some("base" | "snapshot" | "list")) || name.ends_with(TEMPORARY) {
            continue;
        }
        let path = dir.join(name);
        verified.files += 1;
        if let Err(error) = check_file(files, &path) {
            verified.find(&path, None, error.to_string());
        }
        if name == BASE
            && let Ok(base) = Base::load(files, dir)
            && base.last >= verified.next.max(1)
        {
            verified.find(&path, None, "it counts more entries than there are");
        }
    }
}

fn check_file(files: &dyn Files, path: &Path) -> io::Result<()> {
    let head = read_exact_at(files.open(path)?.as_ref(), 0, 6)?;
    let magic = *head.first_chunk().expect("six bytes");
    if let Some(mut reader) = CheckedReader::open(files, path, magic)? {
        while reader.next_block()?.is_some() {}
    }
    Ok(())
}

/// The messages of a frame, if all is there that it says.
fn messages_of(frame: &FrameRef<'_>) -> Result<u64, String> {
    let mut messages = 0;
    let mut parts = 0;
    for part in frame.parts() {
        parts += 1;
        let mut records = 0;
        for record in part.records() {
            records += 1;
            if Record::read(record).is_none() {
                return Err(format!("record {records} of part {parts} is unreadable"));
            }
        }
        if part.is_erased() {
            continue;
        }
        if records != part.messages {
            return Err(format!(
                "part {parts} says {} messages and has {records}",
                part.messages
            ));
        }
        messages += u64::from(records);
    }
    if parts != frame.part_count() {
        return Err(format!(
            "the frame says {} parts and has {parts}",
            frame.part_count()
        ));
    }
    Ok(messages)
}
