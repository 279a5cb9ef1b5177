//! Writes an archive. Messages come sorted; what is in memory is one block, one leaf and a line
//! for each leaf.

use super::format::{
    self, BLOCK_BYTES, BlockRef, Footer, HEADER_BYTES, Header, LEAF_ROWS, Leaf, Origin, Row,
    Stored, Totals, kind, name_of,
};
use super::reader::Archive;
use crate::ids::DeviceId;
use crate::segment::files::TEMPORARY;
use crate::segment::{FileOps, Files};
use compact_str::CompactString;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 256 * 1024;
/// Bytes that are synced together: who syncs beside it never waits for more than so much.
const SYNC_BYTES: u64 = 4 * 1024 * 1024;

/// An archive while it is written. One that is dropped unfinished takes its temporary file with
/// it; what a crash leaves the next start removes.
pub struct Writer<'f> {
    files: &'f dyn Files,
    path: PathBuf,
    header: Header,
    file: Box<dyn FileOps>,
    /// Where the gathered bytes will stand.
    written: u64,
    synced: u64,
    renamed: bool,
    gathered: Vec<u8>,
    block: Vec<u8>,
    before: format::Before,
    origin: Option<(Origin<'static>, CompactString)>,
    /// Rows with messages in the block, the last one open.
    rows: Vec<Row>,
    /// The time of each such row's first message in the block.
    begun: Vec<i64>,
    leaf: Vec<u8>,
    /// The devices of its rows.
    leaf_rows: Vec<DeviceId>,
    fence: Vec<Leaf>,
    totals: Totals,
}

/// An archive that is whole and durable under its name, and that no list names yet.
#[derive(Debug)]
pub struct Written {
    pub(super) archive: Archive,
}

impl Written {
    /// Its numbers.
    pub const fn totals(&self) -> &Totals {
        self.archive.totals()
    }

    /// Its bytes on the disk.
    pub const fn length(&self) -> u64 {
        self.archive.length()
    }
}

impl<'f> Writer<'f> {
    pub(super) fn begin(
        files: &'f dyn Files,
        dir: &Path,
        (day, class, number): (i32, u8, u64),
    ) -> io::Result<Self> {
        let mut epoch = [0; 8];
        getrandom::fill(&mut epoch).map_err(io::Error::other)?;
        let header = Header {
            class,
            day,
            epoch: u64::from_le_bytes(epoch),
            number,
        };
        let path = dir.join(name_of(day, class, number));
        let file = files.create(&temporary(&path))?;
        Ok(Self {
            files,
            path,
            header,
            file,
            written: 0,
            synced: 0,
            renamed: false,
            gathered: header.encode().to_vec(),
            block: Vec::new(),
            before: format::Before::default(),
            origin: None,
            rows: Vec::new(),
            begun: Vec::new(),
            leaf: Vec::new(),
            leaf_rows: Vec::new(),
            fence: Vec::new(),
            totals: Totals::default(),
        })
    }

    /// Adds the next message, by [`Stored::key`].
    pub fn push(&mut self, message: &Stored<'_>) -> io::Result<()> {
        if self.block.len() >= BLOCK_BYTES {
            self.end_block()?;
        }
        let same_row = self
            .rows
            .last()
            .is_some_and(|row| row.device == message.device);
        if !same_row {
            self.rows.push(Row {
                device: message.device,
                totals: Totals::default(),
                blocks: Vec::new(),
            });
        }
        // a row that goes on from the block before begins anew in this one
        if self.begun.len() < self.rows.len() {
            self.begun.push(message.time_ms);
        }
        let same_origin = self.origin.as_ref().is_some_and(|(origin, ident)| {
            *ident == message.origin.ident
                && Origin {
                    ident: "",
                    ..message.origin
                } == *origin
        });
        format::put_message(&mut self.block, message, &mut self.before, same_origin);
        if !same_origin {
            let origin = &message.origin;
            let bare = Origin {
                connection: origin.connection,
                channel: origin.channel,
                account: origin.account,
                protocol: origin.protocol,
                decoder_version: origin.decoder_version,
                peer: origin.peer,
                ident: "",
            };
            self.origin = Some((bare, CompactString::new(origin.ident)));
        }
        let row = self.rows.last_mut().expect("pushed above");
        row.totals.add(message);
        Ok(())
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.written + self.gathered.len() as u64
    }

    fn end_block(&mut self) -> io::Result<()> {
        let raw = std::mem::take(&mut self.block);
        let (at, length) = self.put_block(kind::MESSAGES, &raw)?;
        self.block = raw;
        self.block.clear();
        self.before = format::Before::default();
        self.origin = None;
        for (row, first_ms) in self.rows.iter_mut().zip(self.begun.drain(..)) {
            row.blocks.push(BlockRef {
                at,
                length,
                first_ms,
            });
        }
        // the last row may go on
        let open = self.rows.pop();
        for row in std::mem::take(&mut self.rows) {
            self.end_row(&row)?;
        }
        self.rows.extend(open);
        Ok(())
    }

    fn end_row(&mut self, row: &Row) -> io::Result<()> {
        let mut totals = row.totals;
        totals.devices = 1;
        self.totals.join(&totals);
        format::put_row(&mut self.leaf, row);
        self.leaf_rows.push(row.device);
        if self.leaf_rows.len() >= LEAF_ROWS || self.leaf.len() >= BLOCK_BYTES {
            self.end_leaf()?;
        }
        Ok(())
    }

    fn end_leaf(&mut self) -> io::Result<()> {
        let (Some(&first), Some(&last)) = (self.leaf_rows.first(), self.leaf_rows.last()) else {
            return Ok(());
        };
        let raw = std::mem::take(&mut self.leaf);
        let (at, length) = self.put_block(kind::LEAF, &raw)?;
        self.fence.push(Leaf {
            first,
            last,
            at,
            length,
        });
        self.leaf_rows.clear();
        Ok(())
    }

    fn put_block(&mut self, kind: u32, raw: &[u8]) -> io::Result<(u64, u32)> {
        let at = self.bytes();
        let block = format::encode_block(self.header.epoch, at, kind, raw)?;
        let length = u32::try_from(block.len()).map_err(io::Error::other)?;
        self.gathered.extend_from_slice(&block);
        if self.gathered.len() >= WRITE_BYTES {
            self.write()?;
        }
        Ok((at, length))
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_at(&self.gathered, self.written)?;
        self.written += self.gathered.len() as u64;
        self.gathered.clear();
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Makes it durable under its name; `None`: nothing was pushed, and nothing is left.
    pub fn finish(mut self) -> io::Result<Option<Written>> {
        self.finish_file()
    }

    fn finish_file(&mut self) -> io::Result<Option<Written>> {
        if self.rows.is_empty() && self.totals.messages == 0 {
            return Ok(None);
        }
        self.end_block()?;
        for row in std::mem::take(&mut self.rows) {
            self.end_row(&row)?;
        }
        self.end_leaf()?;
        let mut raw = Vec::new();
        for leaf in &self.fence {
            format::put_leaf(&mut raw, leaf);
        }
        let fence = self.put_block(kind::FENCE, &raw)?;
        let footer = Footer {
            totals: self.totals,
            fence,
        };
        self.gathered.extend_from_slice(&footer.encode());
        self.write()?;
        self.file.sync_data()?;
        self.files.rename(&temporary(&self.path), &self.path)?;
        self.renamed = true;
        if let Some(dir) = self.path.parent() {
            self.files.sync_dir(dir)?;
        }
        debug_assert!(self.written > HEADER_BYTES as u64, "it has a header");
        Ok(Some(Written {
            archive: Archive::new(self.path.clone(), self.header, self.totals, self.written),
        }))
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            // its space is given back at once; what counts is why it is not there
            drop(self.files.unlink(&temporary(&self.path)));
        }
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    name.into()
}
