//! A log that is open: a folder of segments, the last of which is written to.

use super::catalog::{Catalog, Segment, name_of};
use super::files::{FileOps, Files, is_no_space, is_out_of_files};
use super::format::{self, Batch, FOOTER_BYTES, HEADER_BYTES, Header};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) const SPARE: &str = "spare.tmp";

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

pub(super) struct Active {
    pub(super) file: Box<dyn FileOps>,
    pub(super) segment: Arc<Segment>,
    pub(super) capacity: u64,
}

/// A folder of segments, open for appending.
pub struct SegmentLog {
    pub(super) files: Arc<dyn Files>,
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    pub(super) catalog: Catalog,
    pub(super) active: Option<Active>,
    pub(super) spare: Option<Box<dyn FileOps>>,
    pub(super) next: u64,
    pub(super) _lock: Box<dyn Send + Sync>,
}

impl SegmentLog {
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
        let bytes = batch.number(active.segment.header().seed(), first);
        active
            .file
            .write_at(bytes, offset)
            .map_err(failed("writing to the journal"))?;
        active
            .file
            .sync_data()
            .map_err(failed("syncing the journal"))?;
        self.next += u64::from(batch.count());
        active.segment.grow(offset + length, self.next);
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

    pub(super) fn allocate(&self, bytes: u64) -> io::Result<Box<dyn FileOps>> {
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
        self.begin(self.options.segment_bytes.max(need))?;
        Ok(true)
    }

    /// Step 2: a new segment is there, durable and in use.
    fn begin(&mut self, capacity: u64) -> Result<(), AppendError> {
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
        let segment = Segment::new(path, header, HEADER_BYTES as u64, header.first);
        let segment = Arc::new(segment);
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
        Ok(())
    }

    fn seal(&mut self) -> Result<(), AppendError> {
        let Some(active) = &self.active else {
            return Ok(());
        };
        let end = active.segment.end();
        let footer = format::footer(active.segment.header().seed(), self.next, end);
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
        active.segment.seal();
        self.active = None;
        Ok(())
    }
}

pub(super) fn random_epoch() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u64::from_le_bytes(bytes))
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> AppendError {
    move |error| AppendError::Failed { what, error }
}

/// An error behind which the same may be tried again, if it is one.
fn no_space(what: &'static str) -> impl FnOnce(io::Error) -> AppendError {
    move |error| {
        if is_no_space(&error) || is_out_of_files(&error) {
            AppendError::NoSpace(error)
        } else {
            AppendError::Failed { what, error }
        }
    }
}
