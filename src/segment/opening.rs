//! Opening a log: what is durable is taken, a torn tail is cut, and what is corrupt is refused.

use super::catalog::{Catalog, Segment, first_of};
use super::files::{self, FileOps, Files, TEMPORARY};
use super::format::{self, FOOTER_BYTES, HEADER_BYTES, Header, read_entry};
use super::log::{Active, Options, SPARE, SegmentLog};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const LOCK: &str = "lock";

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// What was durable once is not whole any more.
    #[error("{} is corrupt at byte {offset}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The file system says no.
    #[error("{}: {error}", path.display())]
    Io {
        /// Of which file or folder.
        path: PathBuf,
        /// What it says.
        #[source]
        error: io::Error,
    },
}

/// What opening found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of a torn tail that were cut.
    pub cut_bytes: u64,
    /// Where in the last segment.
    pub cut_at: u64,
    /// Entries that were damaged and are given up, see [`super::give_up`].
    pub given_up: u64,
}

impl Opened {
    /// Says it, of a log whose entries were promised to nobody.
    pub fn tell(&self, dir: &Path) {
        if self.cut_bytes > 0 {
            tracing::warn!(
                bytes = self.cut_bytes,
                at = self.cut_at,
                dir = %dir.display(),
                "cut a torn tail; what was in it is lost"
            );
        }
    }
}

impl SegmentLog {
    /// Opens the log in `dir`, which is made if it is not there; see the [module](super) for what
    /// is checked, cut and refused.
    pub fn open(
        files: Arc<dyn Files>,
        dir: &Path,
        options: Options,
    ) -> Result<(Self, Opened), OpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| OpenError::Io { path, error }
        };
        files::make_dir(files.as_ref(), dir).map_err(io(dir))?;
        let lock_path = dir.join(LOCK);
        let lock = files
            .lock(&lock_path)
            .map_err(io(&lock_path))?
            .ok_or_else(|| OpenError::Locked(dir.to_owned()))?;

        let mut names = Vec::new();
        for name in files.list(dir).map_err(io(dir))? {
            if name.ends_with(TEMPORARY) {
                files.unlink(&dir.join(&name)).map_err(io(dir))?;
            } else if let Some(first) = first_of(&name) {
                names.push((first, name));
            }
        }
        names.sort_unstable();

        let mut log = Self {
            files,
            dir: dir.to_owned(),
            options,
            catalog: Catalog::default(),
            active: None,
            spare: None,
            next: 1,
            _lock: lock,
        };
        let mut opened = Opened::default();
        let last = names.len().saturating_sub(1);
        for (index, (first, name)) in names.iter().enumerate() {
            if index > 0 && *first != log.next {
                return Err(OpenError::Corrupt {
                    path: dir.join(name),
                    offset: 0,
                    what: format!(
                        "the segment before it ends at entry {}, a segment is missing",
                        log.next
                    ),
                });
            }
            opened = log.take(&dir.join(name), *first, index == last)?;
        }
        if let Some((_, name)) = names.last()
            && let Some(segment) = log.catalog.segments().last()
            && segment.header().node != options.node
        {
            return Err(OpenError::Corrupt {
                path: dir.join(name),
                offset: 0,
                what: format!("it was written by node {}", segment.header().node),
            });
        }
        Ok((log, opened))
    }

    /// Takes one file of the folder into the catalog.
    fn take(&mut self, path: &Path, first: u64, last: bool) -> Result<Opened, OpenError> {
        let io = |error| OpenError::Io {
            path: path.to_owned(),
            error,
        };
        let corrupt = |offset: u64, what: &str| OpenError::Corrupt {
            path: path.to_owned(),
            offset,
            what: what.to_owned(),
        };
        let file = self.files.open(path).map_err(io)?;
        let length = file.len().map_err(io)?;
        let mut head = [0; HEADER_BYTES];
        let read = file.read_at(&mut head, 0).map_err(io)?;
        let header = Header::decode(&head[..read]).map_err(|what| corrupt(0, what))?;
        if header.first != first {
            return Err(corrupt(0, "its name and its header disagree"));
        }
        let seed = header.seed();
        if let Some(at) = length.checked_sub(FOOTER_BYTES as u64)
            && at >= HEADER_BYTES as u64
        {
            let bytes = files::read_exact_at(file.as_ref(), at, FOOTER_BYTES).map_err(io)?;
            if let Some(next) = format::read_footer(seed, &bytes, at) {
                self.next = next;
                if last {
                    let length =
                        usize::try_from(length).map_err(|_| corrupt(0, "it is too long"))?;
                    let whole = files::read_exact_at(file.as_ref(), 0, length).map_err(io)?;
                    let bytes = whole.len() as u64;
                    drop(self.copy_anew(path, &whole, bytes).map_err(io)?);
                }
                let segment = Segment::new(path.to_owned(), header, at, next);
                segment.seal();
                self.catalog.push(&Arc::new(segment));
                return Ok(Opened::default());
            }
        }
        if !last {
            return Err(corrupt(
                length.saturating_sub(FOOTER_BYTES as u64),
                "it has no footer, though a later segment exists",
            ));
        }
        let length = usize::try_from(length).map_err(|_| corrupt(0, "it is too long"))?;
        let bytes = files::read_exact_at(file.as_ref(), 0, length).map_err(io)?;
        drop(file);
        let scanned = scan(seed, first, &bytes).map_err(|at| {
            corrupt(
                at as u64,
                "a bad entry, with good ones behind it that were written later",
            )
        })?;
        self.next = scanned.next;
        self.make_durable_anew(path, header, &bytes[..scanned.end])
            .map_err(io)?;
        Ok(Opened {
            cut_bytes: scanned.torn_bytes as u64,
            cut_at: scanned.end as u64,
            given_up: 0,
        })
    }

    /// Begins with the valid part of the last segment, that may be in the page cache only.
    fn make_durable_anew(&mut self, path: &Path, header: Header, valid: &[u8]) -> io::Result<()> {
        let whole = (valid.len() + FOOTER_BYTES) as u64;
        let capacity = self.options.segment_bytes.max(whole);
        let file = self.copy_anew(path, valid, capacity)?;
        let segment = Segment::new(path.to_owned(), header, valid.len() as u64, self.next);
        let segment = Arc::new(segment);
        self.catalog.push(&segment);
        self.active = Some(Active {
            file,
            segment,
            capacity,
        });
        Ok(())
    }

    /// Puts a durable copy in the place of what another process left under this name.
    fn copy_anew(&self, path: &Path, valid: &[u8], capacity: u64) -> io::Result<Box<dyn FileOps>> {
        let file = self.allocate(capacity)?;
        file.write_at(valid, 0)?;
        file.sync_data()?;
        self.files.rename(&self.dir.join(SPARE), path)?;
        self.files.sync_dir(&self.dir)?;
        Ok(file)
    }
}

struct Scanned {
    end: usize,
    next: u64,
    torn_bytes: usize,
}

/// Reads an unsealed segment; an error is the place of a bad entry in the middle.
fn scan(seed: u32, first: u64, bytes: &[u8]) -> Result<Scanned, usize> {
    let mut at = HEADER_BYTES;
    let mut next = first;
    while let Some(entry) = bytes.get(at..).and_then(|rest| read_entry(seed, rest))
        && entry.sequence == next
        && entry.kind != format::KIND_FOOTER
    {
        at += entry.bytes();
        next += 1;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let torn_bytes = format::written(rest);
    if format::later_batch(seed, rest, torn_bytes, next).is_some() {
        return Err(at);
    }
    Ok(Scanned {
        end: at,
        next,
        torn_bytes,
    })
}
