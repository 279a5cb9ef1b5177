//! The log: a folder of segments, the last of which is written to.

use super::files::{self, FileOps, Files, TEMPORARY, is_no_space, is_out_of_files};
use super::format::{
    self, Batch, ENTRY_HEAD_BYTES, Entry, FOOTER_BYTES, HEADER_BYTES, Header, read_entry,
};
use arc_swap::ArcSwap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const EXTENSION: &str = ".seg";
const SPARE: &str = "spare.tmp";
pub(super) const LOCK: &str = "lock";
/// How much is read at once when entries are read one after the other.
const READ_BYTES: usize = 256 * 1024;

/// How a log is kept.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Bytes of a segment; a batch that is larger gets one of its own.
    pub segment_bytes: u64,
    /// The number of this node.
    pub node: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            node: 0,
        }
    }
}

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
        error: io::Error,
    },
}

/// Why a batch is not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// There is no space for a new segment, or no file descriptor to make it by. Nothing was
    /// written; the same batch may be tried again later.
    #[error("no space, or no open file, for a new segment: {0}")]
    NoSpace(io::Error),
    /// A write or a sync failed. What is on the disk is unknown: nothing may be written any more.
    #[error("{what} failed: {error}")]
    Failed {
        /// Which step.
        what: &'static str,
        /// What the file system says.
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

/// One file of a log, shared with its readers.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    header: Header,
    end: AtomicU64,
    next: AtomicU64,
    sealed: AtomicBool,
}

impl Segment {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The sequence number of its first entry.
    pub const fn first(&self) -> u64 {
        self.header.first
    }

    /// The sequence number behind its last durable entry.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Where its durable entries end.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Will nothing be added any more?
    pub fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// The durable entries from `offset` on (at least [`HEADER_BYTES`]), with their places.
    pub fn entries(&self, files: &dyn Files, offset: u64) -> io::Result<SegmentEntries> {
        Ok(SegmentEntries {
            file: files.open(&self.path)?,
            seed: self.header.seed(),
            end: self.end(),
            offset: offset.max(HEADER_BYTES as u64),
            buffer: Vec::new(),
            at: 0,
        })
    }
}

/// Reads entries of a segment one after the other.
pub struct SegmentEntries {
    file: Box<dyn FileOps>,
    seed: u32,
    end: u64,
    /// Of the next entry.
    offset: u64,
    buffer: Vec<u8>,
    /// Of the next entry in the buffer.
    at: usize,
}

impl SegmentEntries {
    /// Where the next entry begins.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// More of the segment has become durable.
    pub fn extend(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// Goes to the entry at `offset`.
    pub fn seek(&mut self, offset: u64) {
        let ahead = offset.wrapping_sub(self.offset);
        match usize::try_from(ahead) {
            Ok(ahead) if ahead < self.buffer.len().saturating_sub(self.at) => self.at += ahead,
            _ => {
                self.buffer.clear();
                self.at = 0;
            }
        }
        self.offset = offset;
    }

    /// The next entry and where it begins; `None` at the end. An entry that is not whole is an
    /// error of kind `InvalidData`.
    #[expect(
        clippy::should_implement_trait,
        reason = "the entry borrows the buffer"
    )]
    pub fn next(&mut self) -> io::Result<Option<(u64, Entry<'_>)>> {
        if self.offset >= self.end {
            return Ok(None);
        }
        self.fill(ENTRY_HEAD_BYTES, READ_BYTES)?;
        let length = format::u32_at(self.buffer.get(self.at..).unwrap_or_default(), 0) as usize;
        let whole = ENTRY_HEAD_BYTES.saturating_add(length);
        self.fill(whole, READ_BYTES)?;
        let offset = self.offset;
        let start = self.at;
        self.at += whole;
        self.offset += whole as u64;
        let entry = read_entry(self.seed, &self.buffer[start..])
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a bad entry"))?;
        Ok(Some((offset, entry)))
    }

    /// Sees to it that `count` bytes from `at` on are in the buffer.
    fn fill(&mut self, count: usize, read_bytes: usize) -> io::Result<()> {
        if self.buffer.len() - self.at >= count {
            return Ok(());
        }
        let left = self.end - self.offset;
        if (count as u64) > left {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an entry that is longer than its segment",
            ));
        }
        let want = usize::try_from(left)
            .map_or(read_bytes, |left| left.min(read_bytes))
            .max(count);
        self.buffer.resize(want, 0);
        self.at = 0;
        let read = self.file.read_at(&mut self.buffer, self.offset)?;
        self.buffer.truncate(read);
        if read < count {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// Where an appended batch is.
#[derive(Debug, Clone)]
pub struct Place {
    /// In which segment.
    pub segment: Arc<Segment>,
    /// Where its first entry begins.
    pub offset: u64,
    /// The number of its first entry.
    pub first: u64,
    /// Is the segment a new one?
    pub rotated: bool,
}

/// The segments of a log, the oldest first; shared with readers.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    segments: Arc<ArcSwap<Vec<Arc<Segment>>>>,
}

impl Catalog {
    /// As they are now.
    pub fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        self.segments.load_full()
    }

    fn push(&self, segment: &Arc<Segment>) {
        self.segments.rcu(|segments| {
            let mut segments = Vec::clone(segments);
            segments.push(Arc::clone(segment));
            segments
        });
    }

    /// Puts another in the place of the last one.
    fn replace_last(&self, segment: &Arc<Segment>) {
        self.segments.rcu(|segments| {
            let mut segments = Vec::clone(segments);
            segments.pop();
            segments.push(Arc::clone(segment));
            segments
        });
    }

    /// Unlinks the oldest segment, unless it is the last one: what is in it is gone. Readers that
    /// have it open read on. Whether anybody still needs it is the caller's to know; of callers
    /// there is one at a time.
    pub fn remove_oldest(&self, files: &dyn Files, dir: &Path) -> io::Result<()> {
        let segments = self.segments();
        let [oldest, _, ..] = segments.as_slice() else {
            return Ok(());
        };
        // one after the other, also behind a sync that failed: a power cut leaves no hole between
        // two that stay
        files.sync_dir(dir)?;
        match files.unlink(oldest.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.segments
            .rcu(|segments| segments.iter().skip(1).cloned().collect::<Vec<_>>());
        files.sync_dir(dir)
    }
}

struct Active {
    file: Box<dyn FileOps>,
    segment: Arc<Segment>,
    capacity: u64,
}

/// A folder of segments, open for appending.
pub struct SegmentLog {
    files: Arc<dyn Files>,
    dir: PathBuf,
    options: Options,
    catalog: Catalog,
    active: Option<Active>,
    spare: Option<Box<dyn FileOps>>,
    next: u64,
    _lock: Box<dyn Send + Sync>,
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
        if !dir_exists(files.as_ref(), dir) {
            files.create_dir(dir).map_err(io(dir))?;
            if let Some(parent) = dir.parent() {
                files.sync_dir(parent).map_err(io(parent))?;
            }
        }
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
            && segment.header.node != options.node
        {
            return Err(OpenError::Corrupt {
                path: dir.join(name),
                offset: 0,
                what: format!("it was written by node {}", segment.header.node),
            });
        }
        Ok((log, opened))
    }

    /// The segments.
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The number of the next entry.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Writes the entries of `batch` and makes them durable. Their numbers go on from the last.
    pub fn append(&mut self, batch: &mut Batch) -> Result<Place, AppendError> {
        let length = batch.len() as u64;
        let rotated = self.make_room(length)?;
        let first = self.next;
        let active = self.active.as_mut().expect("make_room leaves one");
        let offset = active.segment.end();
        let bytes = batch.number(active.segment.header.seed(), first);
        active
            .file
            .write_at(bytes, offset)
            .map_err(failed("writing to the journal"))?;
        active
            .file
            .sync_data()
            .map_err(failed("syncing the journal"))?;
        self.next += u64::from(batch.count());
        active.segment.end.store(offset + length, Ordering::Release);
        active.segment.next.store(self.next, Ordering::Release);
        Ok(Place {
            segment: Arc::clone(&active.segment),
            offset,
            first,
            rotated,
        })
    }

    /// Ends the segment in use, if there is anything in it: the next batch begins another one.
    pub fn rotate(&mut self) -> Result<(), AppendError> {
        match &self.active {
            Some(active) if active.segment.end() > HEADER_BYTES as u64 => self.seal(),
            _ => Ok(()),
        }
    }

    /// Unlinks the oldest segment, unless it is the last one: what is in it is gone. Readers that
    /// have it open read on. Whether anybody still needs it is the caller's to know.
    pub fn remove_oldest(&mut self) -> io::Result<()> {
        self.catalog.remove_oldest(self.files.as_ref(), &self.dir)
    }

    /// Allocates the spare if there is none; no space for it is no error yet.
    pub fn keep_spare(&mut self) -> io::Result<()> {
        if self.spare.is_none() {
            self.spare = Some(self.allocate(self.options.segment_bytes)?);
        }
        Ok(())
    }

    /// Is there a spare?
    pub const fn has_spare(&self) -> bool {
        self.spare.is_some()
    }

    fn allocate(&self, bytes: u64) -> io::Result<Box<dyn FileOps>> {
        let path = self.dir.join(SPARE);
        let file = self.files.create(&path)?;
        if let Err(error) = file.allocate(bytes) {
            drop(file);
            // what it took so far is given back; the error that counts is the first
            drop(self.files.unlink(&path));
            return Err(error);
        }
        Ok(file)
    }

    /// Steps 1 and 2 of the order on disk, when the batch does not fit; was a segment begun?
    fn make_room(&mut self, length: u64) -> Result<bool, AppendError> {
        let tail = FOOTER_BYTES as u64;
        if let Some(active) = &self.active {
            if active
                .segment
                .end()
                .saturating_add(length)
                .saturating_add(tail)
                <= active.capacity
            {
                return Ok(false);
            }
            if active.segment.end() > HEADER_BYTES as u64 {
                self.seal()?;
            }
        }
        let need = (HEADER_BYTES as u64)
            .saturating_add(length)
            .saturating_add(tail);
        let capacity = self.options.segment_bytes.max(need);
        let no_space = |what| {
            move |error| {
                if is_no_space(&error) || is_out_of_files(&error) {
                    AppendError::NoSpace(error)
                } else {
                    AppendError::Failed { what, error }
                }
            }
        };
        let file = match self.spare.take() {
            Some(file) => file,
            None => self
                .allocate(capacity)
                .map_err(no_space("making a segment"))?,
        };
        let header = Header {
            epoch: random_epoch().map_err(failed("making an epoch"))?,
            first: self.next,
            node: self.options.node,
            rewritten: 0,
        };
        let prepared = (|| {
            if capacity > self.options.segment_bytes {
                file.allocate(capacity)?;
            }
            file.write_at(&header.encode(), 0)?;
            file.sync_data()
        })();
        if let Err(error) = prepared {
            let error = no_space("preparing a segment")(error);
            if matches!(error, AppendError::NoSpace(_)) {
                // not in use yet: it is as good a spare as before
                self.spare = Some(file);
            }
            return Err(error);
        }
        let path = self.dir.join(name_of(header.first));
        self.files
            .rename(&self.dir.join(SPARE), &path)
            .map_err(failed("naming a segment"))?;
        if let Err(error) = self.files.sync_dir(&self.dir) {
            if is_out_of_files(&error) {
                // the folder was not even opened: the segment is a spare again, named anew later
                self.files
                    .rename(&path, &self.dir.join(SPARE))
                    .map_err(failed("naming a spare segment"))?;
                self.spare = Some(file);
                return Err(AppendError::NoSpace(error));
            }
            return Err(failed("syncing the journal's folder")(error));
        }
        let segment = Arc::new(Segment {
            path,
            header,
            end: AtomicU64::new(HEADER_BYTES as u64),
            next: AtomicU64::new(header.first),
            sealed: AtomicBool::new(false),
        });
        if self.active.is_none() {
            self.catalog.push(&segment);
        } else {
            // an empty one of the same first number was replaced by a larger one
            self.catalog.replace_last(&segment);
        }
        self.active = Some(Active {
            file,
            segment,
            capacity,
        });
        Ok(true)
    }

    fn seal(&mut self) -> Result<(), AppendError> {
        let Some(active) = &self.active else {
            return Ok(());
        };
        let end = active.segment.end();
        let footer = format::footer(active.segment.header.seed(), self.next, end);
        active
            .file
            .write_at(&footer, end)
            .map_err(failed("sealing a segment"))?;
        active
            .file
            .truncate(end + FOOTER_BYTES as u64)
            .map_err(failed("cutting a sealed segment"))?;
        active
            .file
            .sync_data()
            .map_err(failed("syncing a sealed segment"))?;
        active.segment.sealed.store(true, Ordering::Release);
        self.active = None;
        Ok(())
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
                self.catalog.push(&Arc::new(Segment {
                    path: path.to_owned(),
                    header,
                    end: AtomicU64::new(at),
                    next: AtomicU64::new(next),
                    sealed: AtomicBool::new(true),
                }));
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

    /// Copies the valid part of the last segment, that may be in the page cache only.
    fn make_durable_anew(&mut self, path: &Path, header: Header, valid: &[u8]) -> io::Result<()> {
        let capacity = self
            .options
            .segment_bytes
            .max((valid.len() + FOOTER_BYTES) as u64);
        let file = self.allocate(capacity)?;
        file.write_at(valid, 0)?;
        file.sync_data()?;
        self.files.rename(&self.dir.join(SPARE), path)?;
        self.files.sync_dir(&self.dir)?;
        let segment = Arc::new(Segment {
            path: path.to_owned(),
            header,
            end: AtomicU64::new(valid.len() as u64),
            next: AtomicU64::new(self.next),
            sealed: AtomicBool::new(false),
        });
        self.catalog.push(&segment);
        self.active = Some(Active {
            file,
            segment,
            capacity,
        });
        Ok(())
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

fn dir_exists(files: &dyn Files, dir: &Path) -> bool {
    files.list(dir).is_ok()
}

pub(super) fn name_of(first: u64) -> String {
    format!("{first:020}{EXTENSION}")
}

pub(super) fn first_of(name: &str) -> Option<u64> {
    name.strip_suffix(EXTENSION)?.parse().ok()
}

pub(super) fn random_epoch() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u64::from_le_bytes(bytes))
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> AppendError {
    move |error| AppendError::Failed { what, error }
}
