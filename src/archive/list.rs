//! Which archives there are: the list on the disk, and the same in memory for readers.

use super::format::{EXTENSION, Header, Row, TOTALS_BYTES, Totals, name_of};
use super::reader::{Archive, Head};
use super::writer::{Writer, Written};
use crate::ids::DeviceId;
use crate::segment::Files;
use crate::segment::checked::{CheckedReader, CheckedWriter, Form};
use crate::segment::files::{TEMPORARY, make_dir};
use crate::segment::format::{u32_at, u64_at};
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The name of the list in the archives' folder.
pub const LIST: &str = "archive.list";
/// How it begins. Its number is the last entry of the journal that is in the archives.
pub const LIST_FORM: Form = Form {
    magic: *b"TGALST",
    version: 1,
};
/// Bytes of heads of archives in memory.
pub const HEADS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// An archive in the list: day 4, class 4, number 8, epoch 8, length 8, totals.
const LINE_BYTES: usize = 32 + TOTALS_BYTES;

/// The archives as they are at one moment.
#[derive(Debug, Default)]
pub struct View {
    /// The last entry of the journal whose messages are in them.
    pub settled: u64,
    /// They, by number.
    pub archives: Vec<Arc<Archive>>,
}

/// Why the archives cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The file system says no, or the list is damaged.
    #[error("{}: {error}", path.display())]
    Io {
        /// Of which file.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
    /// An archive that the list names is gone, or the list is.
    #[error("{} is missing, and archives stand on it", .0.display())]
    Missing(PathBuf),
}

/// Reads the list in `dir`: the archives and the next number. Where none was written there are
/// none.
pub fn listed(files: &dyn Files, dir: &Path) -> io::Result<(View, u64)> {
    let Some(mut reader) = CheckedReader::open(files, &dir.join(LIST), LIST_FORM.magic)? else {
        return Ok((View::default(), 1));
    };
    let bad = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    if reader.version() != LIST_FORM.version {
        return Err(bad("a newer version wrote it"));
    }
    let mut view = View {
        settled: reader.number(),
        archives: Vec::new(),
    };
    let mut content = Vec::new();
    while let Some(block) = reader.next_block()? {
        content.extend(block);
    }
    let (next, lines) = content
        .split_first_chunk::<8>()
        .ok_or_else(|| bad("it has no number"))?;
    let lines = lines.chunks_exact(LINE_BYTES);
    if !lines.remainder().is_empty() {
        return Err(bad("a line is cut off"));
    }
    for line in lines {
        let header = Header {
            day: u32_at(line, 0).cast_signed(),
            class: line[4],
            number: u64_at(line, 8),
            epoch: u64_at(line, 16),
        };
        let path = dir.join(name_of(header.day, header.class, header.number));
        let totals = Totals::decode(&line[32..]);
        let archive = Archive::new(path, header, totals, u64_at(line, 24));
        view.archives.push(Arc::new(archive));
    }
    Ok((view, u64::from_le_bytes(*next)))
}

/// Heads in memory, each with when it was asked for.
#[derive(Default)]
struct Heads {
    by_number: BTreeMap<u64, (Arc<Head>, u64)>,
    bytes: usize,
    asked: u64,
}

/// A folder of archives. Of those that change it there is one at a time; readers are many.
pub struct Archives {
    files: Arc<dyn Files>,
    dir: PathBuf,
    view: ArcSwap<View>,
    next: Mutex<u64>,
    heads: Mutex<Heads>,
    /// Files that no list on the disk names for certain.
    left: Mutex<BTreeSet<PathBuf>>,
    /// Storing a list has failed: the one on the disk may be that or the one of the view.
    in_doubt: AtomicBool,
}

impl Archives {
    /// Opens the folder, which is made if it is not there (with a list that names nothing and says
    /// that everything up to the entry `settled` is in it), and removes what the list does not
    /// name. `give_up_missing`: go on without archives that are gone, and say so.
    pub fn open(
        files: Arc<dyn Files>,
        dir: &Path,
        settled: u64,
        give_up_missing: bool,
    ) -> Result<Self, ListError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| ListError::Io { path, error }
        };
        // what the list does not name goes, and segments go because of it: it must stay the list
        make_dir(files.as_ref(), dir).map_err(io(dir))?;
        let names: BTreeSet<String> = files.list(dir).map_err(io(dir))?.into_iter().collect();
        let (mut view, next) = listed(files.as_ref(), dir).map_err(io(&dir.join(LIST)))?;
        if !names.contains(LIST) {
            // without it every archive would be one that nobody knows
            if names.iter().any(|name| name.ends_with(EXTENSION)) && !give_up_missing {
                return Err(ListError::Missing(dir.join(LIST)));
            }
            view.settled = settled;
            store(files.as_ref(), dir, &view, next).map_err(io(&dir.join(LIST)))?;
        }
        let name = |archive: &Archive| name_of(archive.day(), archive.class(), archive.number());
        let mut missing = Vec::new();
        view.archives.retain(|archive| {
            let there = names.contains(&name(archive));
            if !there {
                missing.push(archive.path().to_owned());
            }
            there
        });
        for path in missing {
            if !give_up_missing {
                return Err(ListError::Missing(path));
            }
            tracing::error!(path = %path.display(), "given up: an archive is missing");
        }
        let known: BTreeSet<String> = view.archives.iter().map(|one| name(one)).collect();
        for name in names {
            let ours = name.ends_with(EXTENSION) || name.ends_with(TEMPORARY);
            if ours && !known.contains(&name) {
                let path = dir.join(&name);
                match files.unlink(&path) {
                    // what a list left unfinished went with the one that was written above
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    result => result.map_err(io(&path))?,
                }
            }
        }
        Ok(Self {
            files,
            dir: dir.to_owned(),
            view: ArcSwap::from_pointee(view),
            next: Mutex::new(next),
            heads: Mutex::default(),
            left: Mutex::default(),
            in_doubt: AtomicBool::new(false),
        })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The archives as they are now.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Begins an archive.
    pub fn begin(&self, day: i32, class: u8) -> io::Result<Writer<'_>> {
        let number = {
            let mut next = lock(&self.next);
            *next += 1;
            *next - 1
        };
        let writer = Writer::begin(self.files.as_ref(), &self.dir, (day, class, number));
        lock(&self.left).insert(self.dir.join(name_of(day, class, number)));
        writer
    }

    /// Steps 2 and 3 of the order on disk: `added` are there from now on, the archives with the
    /// numbers in `removed` are not, and everything up to entry `settled` is in them.
    pub fn commit(
        &self,
        settled: u64,
        added: Vec<Written>,
        removed: &BTreeSet<u64>,
    ) -> io::Result<()> {
        let before = self.view();
        let (gone, mut archives): (Vec<_>, Vec<_>) = before
            .archives
            .iter()
            .cloned()
            .partition(|archive| removed.contains(&archive.number()));
        archives.extend(added.into_iter().map(|one| Arc::new(one.archive)));
        archives.sort_by_key(|archive| archive.number());
        let view = View { settled, archives };
        self.store(&view)?;
        lock(&self.left).extend(gone.iter().map(|archive| archive.path().to_owned()));
        self.view.store(Arc::new(view));
        {
            let mut heads = lock(&self.heads);
            for archive in &gone {
                if let Some((head, _)) = heads.by_number.remove(&archive.number()) {
                    heads.bytes -= head.bytes();
                }
            }
        }
        self.sweep()
    }

    /// Brings the list to the disk. One that could not be synced may be there all the same.
    fn store(&self, view: &View) -> io::Result<()> {
        let next = *lock(&self.next);
        self.in_doubt.store(true, Ordering::Relaxed);
        store(self.files.as_ref(), &self.dir, view, next)?;
        self.in_doubt.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Step 3 of the order on disk, and what was written and is not to be named: it gives back the
    /// space of archives that were given up. While the list on the disk may name one of them, the
    /// list that does not is stored first.
    pub fn sweep(&self) -> io::Result<()> {
        let view = self.view();
        if self.in_doubt.load(Ordering::Relaxed) {
            self.store(&view)?;
        }
        let named: BTreeSet<&Path> = view.archives.iter().map(|one| one.path()).collect();
        let mut left = std::mem::take(&mut *lock(&self.left));
        left.retain(|path| !named.contains(path.as_path()));
        let mut unlinked = false;
        for path in left {
            match self.files.unlink(&path) {
                Ok(()) => unlinked = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    // it is tried again with the next commit, and by the next start
                    tracing::warn!(%error, path = %path.display(), "an old archive stays");
                    lock(&self.left).insert(path);
                }
            }
        }
        if unlinked {
            self.files.sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// What an archive has of a device.
    pub fn row(&self, archive: &Archive, device: DeviceId) -> io::Result<Option<Row>> {
        let head = self.head(archive)?;
        archive.row_by(self.files.as_ref(), &head, device)
    }

    /// Shows what an archive has of each device, in order.
    pub fn rows(&self, archive: &Archive, visit: &mut dyn FnMut(&Row)) -> io::Result<()> {
        let head = self.head(archive)?;
        archive.rows_by(self.files.as_ref(), &head, visit)
    }

    fn head(&self, archive: &Archive) -> io::Result<Arc<Head>> {
        let number = archive.number();
        {
            let mut heads = lock(&self.heads);
            heads.asked += 1;
            let asked = heads.asked;
            if let Some((head, last)) = heads.by_number.get_mut(&number) {
                *last = asked;
                return Ok(Arc::clone(head));
            }
        }
        let head = Arc::new(archive.read_head(self.files.as_ref())?);
        let mut heads = lock(&self.heads);
        let asked = heads.asked;
        heads.bytes += head.bytes();
        let before = heads.by_number.insert(number, (Arc::clone(&head), asked));
        if let Some((before, _)) = before {
            heads.bytes -= before.bytes();
        }
        while heads.bytes > HEADS_BYTES_MAX && heads.by_number.len() > 1 {
            let oldest = heads
                .by_number
                .iter()
                .min_by_key(|(_, (_, asked))| *asked)
                .map(|(number, _)| *number);
            let Some((head, _)) = oldest.and_then(|number| heads.by_number.remove(&number)) else {
                break;
            };
            heads.bytes -= head.bytes();
        }
        Ok(head)
    }
}

/// Writes the list.
fn store(files: &dyn Files, dir: &Path, view: &View, next: u64) -> io::Result<()> {
    let mut writer = CheckedWriter::begin(files, dir, LIST, LIST_FORM, view.settled)?;
    writer.push(&next.to_le_bytes())?;
    for archive in &view.archives {
        let header = archive.header();
        let mut line = Vec::with_capacity(LINE_BYTES);
        line.extend_from_slice(&header.day.to_le_bytes());
        line.extend_from_slice(&u32::from(header.class).to_le_bytes());
        line.extend_from_slice(&header.number.to_le_bytes());
        line.extend_from_slice(&header.epoch.to_le_bytes());
        line.extend_from_slice(&archive.length().to_le_bytes());
        archive.totals().encode(&mut line);
        writer.push(&line)?;
    }
    writer.finish()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
