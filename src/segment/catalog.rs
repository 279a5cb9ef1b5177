//! The segments of a log as its readers see them: what is durable of each, and what is in it.

use super::files::{FileOps, Files};
use super::format::{self, ENTRY_HEAD_BYTES, Entry, HEADER_BYTES, Header, read_entry};
use arc_swap::ArcSwap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const EXTENSION: &str = ".seg";
/// How much is read at once when entries are read one after the other.
const READ_BYTES: usize = 256 * 1024;

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
    /// One whose durable entries end at `end`, and before entry `next`.
    pub(super) fn new(path: PathBuf, header: Header, end: u64, next: u64) -> Self {
        Self {
            path,
            header,
            end: AtomicU64::new(end),
            next: AtomicU64::new(next),
            sealed: AtomicBool::new(false),
        }
    }

    /// Shows readers what has become durable.
    pub(super) fn grow(&self, end: u64, next: u64) {
        self.end.store(end, Ordering::Release);
        self.next.store(next, Ordering::Release);
    }

    /// Nothing will be added any more.
    pub(super) fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
    }

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

    pub(super) fn push(&self, segment: &Arc<Segment>) {
        self.segments.rcu(|segments| {
            let mut segments = Vec::clone(segments);
            segments.push(Arc::clone(segment));
            segments
        });
    }

    /// Puts another in the place of the last one.
    pub(super) fn replace_last(&self, segment: &Arc<Segment>) {
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

pub(super) fn name_of(first: u64) -> String {
    format!("{first:020}{EXTENSION}")
}

pub(super) fn first_of(name: &str) -> Option<u64> {
    name.strip_suffix(EXTENSION)?.parse().ok()
}
