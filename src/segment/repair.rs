//! Reads a segment to its end whatever is in it, and gives up what is damaged: for those who
//! verify, and for a start that an operator has told to go on without what is lost.
//!
//! [`examine`] changes nothing. [`give_up`] keeps a copy of every file that it changes
//! (`*.damaged`) and puts, for each entry that is lost, another in its place under the same
//! number: so every position behind it stays what it was, and what is lost is written down where
//! it was. Each file is replaced whole (temporary name, sync, rename, sync of the folder): a
//! crash leaves it damaged as before, or repaired.

use super::catalog::{first_of, name_of};
use super::files::{self, Files, read_exact_at};
use super::format::{
    self, Batch, ENTRY_HEAD_BYTES, Entry, FOOTER_BYTES, HEADER_BYTES, Header, KIND_FOOTER,
    read_entry, u32_at, u64_at,
};
use super::log::random_epoch;
use super::opening::{LOCK, OpenError};
use std::io;
use std::path::{Path, PathBuf};

/// Entries that may be lost at one place. More is no damage but a missing backup.
const LOST_MAX: u64 = 4_000_000;

/// A place where a file is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// How many bytes cannot be read.
    pub bytes: u64,
    /// The entries that stood there: the number of the first, and how many.
    pub lost: (u64, u64),
    /// What is wrong.
    pub what: &'static str,
}

/// What [`examine`] found.
#[derive(Debug, Clone, Default)]
pub struct Examined {
    /// What the file says of itself, if that can be read.
    pub header: Option<Header>,
    /// Entries that are whole.
    pub entries: u64,
    /// The number behind the last of them.
    pub next: u64,
    /// Where the last of them ends.
    pub end: u64,
    /// Has it its footer?
    pub sealed: bool,
    /// Bytes of a torn tail: a write that nothing was answered for.
    pub torn_bytes: u64,
    /// What is wrong.
    pub damages: Vec<Damage>,
}

/// Reads the whole file at `path`, whose first entry should be `first`; `last`: no segment comes
/// behind it. Every whole entry is shown to `visit` with its place.
pub fn examine(
    files: &dyn Files,
    path: &Path,
    first: u64,
    last: bool,
    visit: &mut dyn FnMut(u64, &Entry<'_>),
) -> io::Result<Examined> {
    let file = files.open(path)?;
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let bytes = read_exact_at(file.as_ref(), 0, length)?;
    Ok(examine_bytes(path, &bytes, first, last, visit))
}

fn examine_bytes(
    path: &Path,
    bytes: &[u8],
    first: u64,
    last: bool,
    visit: &mut dyn FnMut(u64, &Entry<'_>),
) -> Examined {
    let mut found = Examined {
        next: first,
        ..Examined::default()
    };
    let damage = |offset: usize, length: usize, lost: (u64, u64), what| Damage {
        path: path.to_owned(),
        offset: offset as u64,
        bytes: length as u64,
        lost,
        what,
    };
    let header = match Header::decode(bytes) {
        Ok(header) if header.first == first => header,
        Ok(_) => {
            let what = "its name and its header disagree";
            found.damages.push(damage(0, bytes.len(), (first, 0), what));
            return found;
        }
        Err(what) => {
            found.damages.push(damage(0, bytes.len(), (first, 0), what));
            return found;
        }
    };
    found.header = Some(header);
    let seed = header.seed();
    let mut at = HEADER_BYTES;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        match read_entry(seed, rest) {
            Some(entry) if entry.kind == KIND_FOOTER && entry.sequence == found.next => {
                found.end = at as u64;
                found.sealed = true;
                return found;
            }
            Some(entry) if entry.kind != KIND_FOOTER && entry.sequence == found.next => {
                visit(at as u64, &entry);
                found.entries += 1;
                found.next += 1;
                at += entry.bytes();
                found.end = at as u64;
                continue;
            }
            _ => {}
        }
        let written = format::written(rest);
        let whole = whole_behind(seed, rest, written, found.next);
        // a batch is synced before the next: a whole entry of the same batch proves nothing
        let proof = format::later_batch(seed, rest, written, found.next).is_some();
        let sealed = has_footer(seed, bytes);
        if last && !sealed && !proof {
            found.torn_bytes = written as u64;
            return found;
        }
        let Some((ahead, sequence)) = whole else {
            let what = "a bad entry, with nothing whole behind it, and no footer";
            let lost = (found.next, 0);
            found.damages.push(damage(at, rest.len(), lost, what));
            return found;
        };
        let lost = (found.next, sequence - found.next);
        let what = "a bad entry, with whole ones behind it";
        found.damages.push(damage(at, ahead, lost, what));
        at += ahead;
        found.next = sequence;
    }
}

/// The nearest whole entry (or the footer) behind a bad one: how far, its number. Its
/// head is no zeros, so it begins in what is `written`; its content may end in zeros behind that.
fn whole_behind(seed: u32, bytes: &[u8], written: usize, next: u64) -> Option<(usize, u64)> {
    let furthest = (bytes.len() / ENTRY_HEAD_BYTES) as u64 + 1;
    let ends = bytes.len().saturating_sub(ENTRY_HEAD_BYTES - 1);
    (1..ends.min(written)).find_map(|at| {
        let sequence = u64_at(bytes, at + 8);
        // cheap questions first: nearly no place passes them
        if sequence.wrapping_sub(next) > furthest || u32_at(bytes, at) as usize > bytes.len() - at {
            return None;
        }
        let entry = read_entry(seed, &bytes[at..])?;
        Some((at, entry.sequence))
    })
}

fn has_footer(seed: u32, bytes: &[u8]) -> bool {
    bytes.len().checked_sub(FOOTER_BYTES).is_some_and(|at| {
        at >= HEADER_BYTES && format::read_footer(seed, &bytes[at..], at as u64).is_some()
    })
}

/// Makes the entry that stands in the place of one that is lost: kind, version, content. It is
/// told the whole entry before it, if there is one, and how many bytes are given up there (said
/// with the first entry of a place, 0 with the others).
pub type Filler<'a> = dyn Fn(Option<&Entry<'_>>, u64) -> (u8, u8, Vec<u8>) + 'a;

/// Gives up what is damaged in the log in `dir`, so that it opens; entries up to `until` (not
/// included) are made to be there. Says what was given up. Nothing may have the log open.
pub fn give_up(
    files: &dyn Files,
    dir: &Path,
    node: u16,
    until: u64,
    filler: &Filler<'_>,
) -> Result<Vec<Damage>, OpenError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| OpenError::Io { path, error }
    };
    let Ok(names) = files.list(dir) else {
        return Ok(Vec::new());
    };
    let lock = dir.join(LOCK);
    let _lock = files
        .lock(&lock)
        .map_err(io(&lock))?
        .ok_or_else(|| OpenError::Locked(dir.to_owned()))?;
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| first_of(name)).collect();
    firsts.sort_unstable();
    let mut all = Vec::new();
    let mut next = firsts.first().copied().unwrap_or(1);
    for (index, &first) in firsts.iter().enumerate() {
        let path = dir.join(name_of(first));
        if first > next {
            // a whole file is missing
            let missing = dir.join(name_of(next));
            let mut repair = Repair::begin(&missing, next, node, None).map_err(io(&missing))?;
            repair.fill(next, first, 0, filler).map_err(io(&missing))?;
            repair.finish(files, dir, true).map_err(io(&missing))?;
            all.push(Damage {
                path: missing,
                offset: 0,
                bytes: 0,
                lost: (next, first - next),
                what: "the file is missing",
            });
        }
        let behind = firsts.get(index + 1).copied();
        let file = files.open(&path).map_err(io(&path))?;
        let length = usize::try_from(file.len().map_err(io(&path))?).unwrap_or(usize::MAX);
        let bytes = read_exact_at(file.as_ref(), 0, length).map_err(io(&path))?;
        drop(file);
        let mut places = Vec::new();
        let mut found = examine_bytes(&path, &bytes, first, behind.is_none(), &mut |at, entry| {
            places.push((at, entry.sequence, entry.bytes()));
        });
        let end = behind
            .unwrap_or_else(|| until.max(found.next))
            .max(found.next);
        let short = end - found.next;
        next = end;
        if found.damages.is_empty() && short == 0 {
            continue;
        }
        let copy = format!("{}.damaged", name_of(first));
        files::replace(files, dir, &copy, &bytes).map_err(io(&path))?;
        let mut repair = Repair::begin(&path, first, node, found.header).map_err(io(&path))?;
        let given_up: u64 = found.damages.iter().map(|damage| damage.bytes).sum();
        let mut said = given_up;
        for (at, sequence, length) in places {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            repair
                .fill_to(sequence, &mut said, filler)
                .map_err(io(&path))?;
            repair.keep(bytes.get(at..at + length).unwrap_or_default());
        }
        repair.fill_to(end, &mut said, filler).map_err(io(&path))?;
        repair
            .finish(files, dir, behind.is_some() || found.sealed)
            .map_err(io(&path))?;
        if short > 0 {
            match found.damages.last_mut() {
                Some(damage) if damage.lost.1 == 0 => damage.lost.1 = short,
                _ => found.damages.push(Damage {
                    path: path.clone(),
                    offset: bytes.len() as u64,
                    bytes: 0,
                    lost: (end - short, short),
                    what: "entries are missing at its end",
                }),
            }
        }
        all.append(&mut found.damages);
    }
    Ok(all)
}

/// A segment that is written again.
struct Repair {
    header: Header,
    bytes: Vec<u8>,
    next: u64,
    last: Option<(usize, usize)>,
}

impl Repair {
    fn begin(path: &Path, first: u64, node: u16, header: Option<Header>) -> io::Result<Self> {
        let header = match header {
            Some(header) => header,
            None => Header {
                epoch: random_epoch()?,
                first,
                node,
                rewritten: 0,
            },
        };
        tracing::error!(path = %path.display(), "a damaged segment is written again");
        Ok(Self {
            header,
            bytes: header.encode().to_vec(),
            next: first,
            last: None,
        })
    }

    fn keep(&mut self, entry: &[u8]) {
        self.last = Some((self.bytes.len(), entry.len()));
        self.bytes.extend_from_slice(entry);
        self.next += 1;
    }

    fn fill_to(&mut self, to: u64, said: &mut u64, filler: &Filler<'_>) -> io::Result<()> {
        if to > self.next {
            self.fill(self.next, to, std::mem::take(said), filler)?;
        }
        Ok(())
    }

    fn fill(&mut self, from: u64, to: u64, bytes: u64, filler: &Filler<'_>) -> io::Result<()> {
        if to.saturating_sub(from) > LOST_MAX {
            return Err(io::Error::other(format!(
                "{} entries are missing: restore a backup",
                to - from
            )));
        }
        let seed = self.header.seed();
        let mut batch = Batch::new();
        let before = self
            .last
            .and_then(|(at, length)| read_entry(seed, self.bytes.get(at..at + length)?));
        for sequence in from..to {
            let said = if sequence == from { bytes } else { 0 };
            let (kind, version, content) = filler(before.as_ref(), said);
            batch.push(kind, version, |out| out.extend_from_slice(&content));
        }
        let numbered = batch.number(seed, from);
        self.bytes.extend_from_slice(numbered);
        self.next = to;
        Ok(())
    }

    fn finish(mut self, files: &dyn Files, dir: &Path, seal: bool) -> io::Result<()> {
        if seal {
            let footer = format::footer(self.header.seed(), self.next, self.bytes.len() as u64);
            self.bytes.extend_from_slice(&footer);
        }
        files::replace(files, dir, &name_of(self.header.first), &self.bytes)
    }
}
