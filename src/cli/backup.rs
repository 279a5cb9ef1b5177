//! `tollgate backup` and `tollgate restore`: a copy of everything at one moment, taken while the
//! gateway runs, and a data directory made from it.
//!
//! # What one moment is
//!
//! The counters first (with the entry up to which they count), then the archives, then the journal up
//! to its durable end, then the items: so the journal has every entry that the counters hold, and the items every
//! account and device that the journal names. What a start makes of it is what a start after a
//! power cut makes of the directory: the counters, and the fold of the entries above them.
//!
//! # Order on disk
//!
//! Files of this backup under names that no earlier one has (segments apart: those only grow, and
//! a backup needs the length that its list says), each synced; then the list, a checked file that
//! replaces the one before; then the files that no list needs any more go. A backup that breaks off
//! leaves the one before whole. A segment or an archive that an earlier backup has copied is not
//! copied again.

use super::client::asking;
use super::data::DataArgs;
use super::gateway::{EVENTS_DIR, JOURNAL_DIR};
use super::{Exit, Failure};
use crate::archive::LIST as LIST_OF_ARCHIVES;
use crate::control::{Control, SNAPSHOT};
use crate::journal::Journal;
use crate::journal::base::BASE;
use crate::journal::deleted::DELETED;
use crate::segment::checked::{CheckedReader, CheckedWriter, Form};
use crate::segment::files::{TEMPORARY, read_exact_at, replace};
use crate::segment::format::HEADER_BYTES;
use crate::segment::{Files, OsFiles};
use crate::store::{RawRow, Refill, SledLedger, StoreError, Which};
use axum::http::Method;
use clap::Args as ClapArgs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// The name of a backup's list.
const LIST: &str = "backup.list";
const LIST_FORM: Form = Form {
    magic: *b"TGBACK",
    version: 1,
};
const ROWS_FORM: Form = Form {
    magic: *b"TGROWS",
    version: 1,
};
/// The archives, in a backup and in a data directory.
const ARCHIVES: &str = "journal/archive";
/// Its folders.
const FOLDERS: [&str; 4] = ["", JOURNAL_DIR, ARCHIVES, EVENTS_DIR];
/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1024 * 1024;

/// Copies everything into a folder while the gateway runs (or from a directory that nobody serves):
/// items, counters, journal, events, as they are at one moment. Into the folder of an earlier
/// backup only what is new is copied. `tollgate restore` makes a data directory of it.
#[derive(Debug, ClapArgs)]
pub struct BackupArgs {
    /// The folder of the backup; it is made if it is not there
    #[arg(value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    data: DataArgs,
}

/// Makes a data directory from a backup, after it has checked every file of it.
#[derive(Debug, ClapArgs)]
pub struct RestoreArgs {
    /// The folder of the backup
    #[arg(value_name = "DIR")]
    from: PathBuf,
    /// The data directory to make; there must be nothing in it
    #[arg(long, value_name = "DIR", env = "TOLLGATE_DATA")]
    data: PathBuf,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    /// Its path in the backup.
    path: String,
    /// Its path in a data directory; empty: the rows of a database.
    restored: String,
    /// So many bytes of it are the backup's.
    bytes: u64,
    /// Their CRC.
    crc: u32,
}

/// What a backup copied.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Copied {
    files: usize,
    bytes: u64,
    /// Of them, copied now.
    fresh: u64,
    position: u64,
}

/// Runs a backup.
pub fn run_backup(args: &BackupArgs) -> Result<(), Failure> {
    let io =
        |error: io::Error| Failure::new(Exit::Io, format_args!("{}: {error}", args.to.display()));
    std::fs::create_dir_all(&args.to).map_err(io)?;
    let to = args.to.canonicalize().map_err(io)?;
    let (status, answer) = asking(&args.data, async |client| {
        let body = json!({ "dir": to });
        client
            .call(Method::POST, "/local/backup", Some(&body))
            .await
    })?;
    let Some(copied) = answer.pointer("/result/0").filter(|_| status.is_success()) else {
        let reason = answer.pointer("/errors/0/reason").and_then(Value::as_str);
        let reason = reason.unwrap_or("the gateway refused");
        let what = format_args!("{}: {reason}", to.display());
        return Err(Failure::new(Exit::Io, what).hint(
            "the gateway writes there: its user must be able to, and there must be room (`df`); \
             the backup before is whole",
        ));
    };
    let number = |name: &str| copied.get(name).and_then(Value::as_u64).unwrap_or(0);
    super::say(&format_args!(
        "{} files, {} bytes, of which {} were copied now; the journal up to entry {}",
        number("files"),
        number("bytes"),
        number("fresh"),
        number("position"),
    ));
    Ok(())
}

/// Takes a backup into `to`. Blocks; segments stay where they are meanwhile.
pub(crate) fn take(
    control: &Control,
    ledger: &SledLedger,
    data: &Path,
    to: &Path,
) -> io::Result<Copied> {
    let files = OsFiles;
    let before = read_list(to)?.unwrap_or_default();
    let taken = format!("{:020}", before.0 + 1);
    let mut taking = Taking {
        to,
        taken: &taken,
        before: &before.1,
        list: Vec::new(),
        copied: Copied::default(),
    };
    for name in FOLDERS {
        std::fs::create_dir_all(to.join(name))?;
        files.sync_dir(&to.join(name))?;
    }
    let journal = control.journal();
    journal.without_retention(|| -> io::Result<()> {
        journal.without_checkpoints(|| taking.rows("ledger", &mut ledger.dump()))?;
        for name in [BASE, SNAPSHOT, DELETED] {
            taking.replaced(data, JOURNAL_DIR, name)?;
        }
        taking.replaced(data, ARCHIVES, LIST_OF_ARCHIVES)?;
        for archive in &journal.archives().view().archives {
            taking.segment(archive.path(), ARCHIVES, archive.length())?;
        }
        taking.journal(journal)
    })?;
    taking.events(&data.join(EVENTS_DIR))?;
    control
        .stored(|store| Ok(taking.rows("registry", &mut store.dump())))
        .map_err(io::Error::other)??;

    let list = std::mem::take(&mut taking.list);
    let mut copied = taking.copied;
    copied.files = list.len();
    copied.bytes = list.iter().map(|listed| listed.bytes).sum();
    let mut writer = CheckedWriter::begin(&files, to, LIST, LIST_FORM, before.0 + 1)?;
    for listed in &list {
        let mut line = serde_json::to_vec(listed).map_err(io::Error::other)?;
        line.push(b'\n');
        writer.push(&line)?;
    }
    writer.finish()?;
    let needed: BTreeSet<&str> = list.iter().map(|listed| listed.path.as_str()).collect();
    for folder in FOLDERS {
        for name in files.list(&to.join(folder))? {
            let path = Path::new(folder).join(&name);
            let ours = [".seg", ".kept", ".rows", ".archive", TEMPORARY]
                .iter()
                .any(|ending| name.ends_with(ending));
            if ours && path.to_str().is_some_and(|path| !needed.contains(path)) {
                std::fs::remove_file(to.join(path))?;
            }
        }
    }
    Ok(copied)
}

struct Taking<'a> {
    to: &'a Path,
    taken: &'a str,
    before: &'a [Listed],
    list: Vec<Listed>,
    copied: Copied,
}

impl Taking<'_> {
    /// The rows of a database.
    fn rows(
        &mut self,
        name: &str,
        rows: &mut dyn Iterator<Item = Result<RawRow, StoreError>>,
    ) -> io::Result<()> {
        let path = format!("{name}-{}.rows", self.taken);
        let mut writer = CheckedWriter::begin(&OsFiles, self.to, &path, ROWS_FORM, 0)?;
        for row in rows {
            let (key, value) = row.map_err(io::Error::other)?;
            let mut piece = Vec::with_capacity(key.len() + value.len() + 8);
            for part in [key, value] {
                let length = u32::try_from(part.len()).map_err(io::Error::other)?;
                piece.extend_from_slice(&length.to_le_bytes());
                piece.extend_from_slice(&part);
            }
            writer.push(&piece)?;
        }
        writer.finish()?;
        self.add(path, String::new(), None)
    }

    /// A file that is replaced whole when it changes.
    fn replaced(&mut self, data: &Path, folder: &str, name: &str) -> io::Result<()> {
        let content = match std::fs::read(data.join(folder).join(name)) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let path = format!("{name}-{}.kept", self.taken);
        replace(&OsFiles, self.to, &path, &content)?;
        self.copied.fresh += content.len() as u64;
        self.add(path, format!("{folder}/{name}"), None)
    }

    /// The segments up to what is durable now.
    fn journal(&mut self, journal: &Journal) -> io::Result<()> {
        let segments = journal.catalog().segments();
        for segment in segments.iter() {
            self.copied.position = segment.next().saturating_sub(1);
            let sealed = segment.is_sealed();
            let length = if sealed {
                std::fs::metadata(segment.path())?.len()
            } else {
                segment.end()
            };
            self.segment(segment.path(), JOURNAL_DIR, length)?;
        }
        Ok(())
    }

    /// The event log: its last batch may be cut, as a start would cut it.
    fn events(&mut self, dir: &Path) -> io::Result<()> {
        for name in OsFiles.list(dir)? {
            let path = dir.join(&name);
            if path.extension().is_some_and(|extension| extension == "seg")
                && let Ok(metadata) = std::fs::metadata(&path)
            {
                match self.segment(&path, EVENTS_DIR, metadata.len()) {
                    // it went by its age meanwhile
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    result => result?,
                }
            }
        }
        Ok(())
    }

    /// Copies a segment or an archive, unless an earlier backup has all of it.
    fn segment(&mut self, from: &Path, folder: &str, length: u64) -> io::Result<()> {
        let name = from.file_name().unwrap_or_default().to_string_lossy();
        let restored = format!("{folder}/{name}");
        let had = self
            .before
            .iter()
            .find(|listed| listed.restored == restored);
        if let Some(had) = had
            && had.bytes == length
            && folder != EVENTS_DIR
            && same_head(from, &self.to.join(&had.path))?
        {
            let had = had.clone();
            self.list.push(had);
            return Ok(());
        }
        // until there is a new list the one before is the backup: what it names stays as it is
        let path = match had {
            None => restored.clone(),
            Some(_) => format!("{folder}/{}-{name}", self.taken),
        };
        let crc = copy(from, self.to, &path, length)?;
        self.copied.fresh += length;
        self.add(path, restored, Some((length, crc)))
    }

    fn add(&mut self, path: String, restored: String, known: Option<(u64, u32)>) -> io::Result<()> {
        let (bytes, crc) = match known {
            Some(known) => known,
            None => crc_of(&self.to.join(&path), u64::MAX)?,
        };
        self.list.push(Listed {
            path,
            restored,
            bytes,
            crc,
        });
        Ok(())
    }
}

/// Is it the same segment? Its head has a random number.
fn same_head(a: &Path, b: &Path) -> io::Result<bool> {
    let head = |path: &Path| -> io::Result<Vec<u8>> {
        read_exact_at(OsFiles.open(path)?.as_ref(), 0, HEADER_BYTES)
    };
    match (head(a), head(b)) {
        (Ok(a), Ok(b)) => Ok(a == b),
        (Err(error), _) => Err(error),
        (_, Err(_)) => Ok(false),
    }
}

/// Copies the first `length` bytes, durably: temporary name, sync, rename, sync of the folder.
/// Gives their CRC.
fn copy(from: &Path, to: &Path, path: &str, length: u64) -> io::Result<u32> {
    let from = OsFiles.open(from)?;
    let target = to.join(path);
    let temporary = to.join(format!("{path}{TEMPORARY}"));
    let file = OsFiles.create(&temporary)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut at = 0;
    while at < length {
        let piece = usize::try_from(length - at).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
        let bytes = read_exact_at(from.as_ref(), at, piece)?;
        hasher.update(&bytes);
        file.write_at(&bytes, at)?;
        at += piece as u64;
    }
    file.sync_data()?;
    OsFiles.rename(&temporary, &target)?;
    if let Some(folder) = target.parent() {
        OsFiles.sync_dir(folder)?;
    }
    Ok(hasher.finalize())
}

/// Length and CRC of a file, or of its first bytes.
fn crc_of(path: &Path, most: u64) -> io::Result<(u64, u32)> {
    let file = OsFiles.open(path)?;
    let length = file.len()?.min(most);
    let mut hasher = crc32fast::Hasher::new();
    let mut at = 0;
    while at < length {
        let piece = usize::try_from(length - at).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
        hasher.update(&read_exact_at(file.as_ref(), at, piece)?);
        at += piece as u64;
    }
    Ok((length, hasher.finalize()))
}

/// How many backups there were, and the files of the last one.
fn read_list(dir: &Path) -> io::Result<Option<(u64, Vec<Listed>)>> {
    let Some(mut reader) = CheckedReader::open(&OsFiles, &dir.join(LIST), LIST_FORM.magic)? else {
        return Ok(None);
    };
    let number = reader.number();
    let mut list = Vec::new();
    while let Some(block) = reader.next_block()? {
        for line in block
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            list.push(serde_json::from_slice(line).map_err(io::Error::other)?);
        }
    }
    Ok(Some((number, list)))
}

/// Runs a restore.
pub fn run_restore(args: &RestoreArgs) -> Result<(), Failure> {
    let of = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| Failure::new(Exit::Io, format_args!("{}: {error}", path.display()))
    };
    let (_, list) = read_list(&args.from)
        .map_err(of(&args.from))?
        .ok_or_else(|| {
            Failure::new(
                Exit::NoInput,
                format_args!("{} has no {LIST}: it is no backup", args.from.display()),
            )
        })?;
    // everything is checked before anything is made
    for listed in &list {
        let path = args.from.join(&listed.path);
        let (bytes, crc) = crc_of(&path, listed.bytes).map_err(of(&path))?;
        if (bytes, crc) != (listed.bytes, listed.crc) {
            return Err(Failure::new(
                Exit::Data,
                format_args!("{} is not what was backed up", path.display()),
            ));
        }
    }
    let has_something = std::fs::read_dir(&args.data).is_ok_and(|mut all| all.next().is_some());
    if has_something {
        return Err(Failure::new(
            Exit::Usage,
            format_args!("{} is not empty", args.data.display()),
        )
        .hint("restore into a new directory, and move it where the old one was"));
    }
    for folder in FOLDERS {
        let folder = args.data.join(folder);
        std::fs::create_dir_all(&folder).map_err(of(&folder))?;
    }
    for listed in &list {
        let from = args.from.join(&listed.path);
        if listed.restored.is_empty() {
            let which = if listed.path.starts_with("ledger") {
                Which::Ledger
            } else {
                Which::Registry
            };
            refill(&from, &args.data, which).map_err(of(&from))?;
        } else {
            copy(&from, &args.data, &listed.restored, listed.bytes).map_err(of(&from))?;
        }
    }
    OsFiles.sync_dir(&args.data).map_err(of(&args.data))?;
    super::say(&format_args!(
        "{} files restored into {}; `tollgate verify` and `tollgate audit` say that all is there",
        list.len(),
        args.data.display(),
    ));
    Ok(())
}

fn refill(rows: &Path, data: &Path, which: Which) -> io::Result<()> {
    let cut_off = || io::Error::new(io::ErrorKind::InvalidData, "a row is cut off");
    let mut reader =
        CheckedReader::open(&OsFiles, rows, ROWS_FORM.magic)?.ok_or(io::ErrorKind::NotFound)?;
    let mut refill = Refill::begin(data, which).map_err(io::Error::other)?;
    while let Some(block) = reader.next_block()? {
        let mut rest = block.as_slice();
        let part = |rest: &mut &[u8]| -> io::Result<Vec<u8>> {
            let (length, after) = rest.split_first_chunk().ok_or_else(cut_off)?;
            let length = u32::from_le_bytes(*length) as usize;
            let (part, after) = after.split_at_checked(length).ok_or_else(cut_off)?;
            let part = part.to_vec();
            *rest = after;
            Ok(part)
        };
        while !rest.is_empty() {
            let key = part(&mut rest)?;
            let value = part(&mut rest)?;
            refill.push((key, value)).map_err(io::Error::other)?;
        }
    }
    refill.finish().map_err(io::Error::other)
}
