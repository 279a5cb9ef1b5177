//! Reads an archive: the row of a device, a block of it, all of it in order, or whatever of it is
//! still what was written.

use super::format::{
    self, BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, BlockRef, FOOTER_BYTES, Footer, HEADER_BYTES, Header,
    Leaf, Messages, Row, Stored, Totals, kind,
};
use crate::ids::DeviceId;
use crate::segment::files::read_exact_at;
use crate::segment::format::u32_at;
use crate::segment::{FileOps, Files};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An archive, known by the list; nothing of it is open or in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    path: PathBuf,
    header: Header,
    totals: Totals,
    length: u64,
}

/// The fence of an archive: which leaf of the directory has which devices.
#[derive(Debug)]
pub(super) struct Head {
    leaves: Vec<Leaf>,
}

impl Head {
    /// Bytes of memory.
    pub(super) const fn bytes(&self) -> usize {
        self.leaves.len() * size_of::<Leaf>() + size_of::<Self>()
    }

    /// The leaf that would have a device.
    fn leaf(&self, device: DeviceId) -> Option<&Leaf> {
        let at = self.leaves.partition_point(|leaf| leaf.last < device);
        self.leaves.get(at).filter(|leaf| leaf.first <= device)
    }
}

impl Archive {
    pub(super) const fn new(path: PathBuf, header: Header, totals: Totals, length: u64) -> Self {
        Self {
            path,
            header,
            totals,
            length,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The day whose messages it has, by the server's time.
    pub const fn day(&self) -> i32 {
        self.header.day
    }

    /// The class of their ttl when they were settled.
    pub const fn class(&self) -> u8 {
        self.header.class
    }

    /// Its number; no other archive ever had it.
    pub const fn number(&self) -> u64 {
        self.header.number
    }

    /// Its numbers.
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Its bytes on the disk.
    pub const fn length(&self) -> u64 {
        self.length
    }

    pub(super) const fn header(&self) -> &Header {
        &self.header
    }

    /// Opens the file.
    pub fn open(&self, files: &dyn Files) -> io::Result<Box<dyn FileOps>> {
        files.open(&self.path)
    }

    pub(super) fn read_head(&self, files: &dyn Files) -> io::Result<Head> {
        let file = self.open(files)?;
        let header = read_exact_at(file.as_ref(), 0, HEADER_BYTES)?;
        let header = Header::decode(&header).map_err(|what| self.bad(0, what))?;
        if header != self.header {
            return Err(self.bad(0, "it is another archive than the list says"));
        }
        let at = self.length.saturating_sub(FOOTER_BYTES as u64);
        let footer = read_exact_at(file.as_ref(), at, FOOTER_BYTES)?;
        let footer = Footer::decode(&footer).map_err(|what| self.bad(at, what))?;
        let (at, length) = footer.fence;
        let content = self.content(file.as_ref(), kind::FENCE, at, length)?;
        let leaves =
            format::leaves_of(&content).ok_or_else(|| self.bad(at, "the fence does not fit"))?;
        Ok(Head { leaves })
    }

    fn content(&self, file: &dyn FileOps, kind: u32, at: u64, length: u32) -> io::Result<Vec<u8>> {
        let length = length as usize;
        if length > BLOCK_BYTES_MAX || at.saturating_add(length as u64) > self.length {
            return Err(self.bad(at, "a block goes beyond its file"));
        }
        let bytes = read_exact_at(file, at, length)?;
        format::decode_block(self.header.epoch, at, kind, &bytes).map_err(|what| self.bad(at, what))
    }

    fn leaf_rows(&self, file: &dyn FileOps, leaf: &Leaf) -> io::Result<Vec<Row>> {
        let content = self.content(file, kind::LEAF, leaf.at, leaf.length)?;
        format::rows_of(&content)
            .ok_or_else(|| self.bad(leaf.at, "a leaf of the directory does not fit"))
    }

    pub(super) fn row_by(
        &self,
        files: &dyn Files,
        head: &Head,
        device: DeviceId,
    ) -> io::Result<Option<Row>> {
        let Some(leaf) = head.leaf(device) else {
            return Ok(None);
        };
        let file = self.open(files)?;
        let mut rows = self.leaf_rows(file.as_ref(), leaf)?;
        let found = rows.binary_search_by_key(&device, |row| row.device);
        Ok(found.ok().map(|at| rows.swap_remove(at)))
    }

    pub(super) fn rows_by(
        &self,
        files: &dyn Files,
        head: &Head,
        visit: &mut dyn FnMut(&Row),
    ) -> io::Result<()> {
        let file = self.open(files)?;
        for leaf in &head.leaves {
            self.leaf_rows(file.as_ref(), leaf)?
                .iter()
                .for_each(&mut *visit);
        }
        Ok(())
    }

    /// Reads a block of messages.
    pub fn block(&self, file: &dyn FileOps, block: BlockRef) -> io::Result<Block> {
        let content = self.content(file, kind::MESSAGES, block.at, block.length)?;
        Ok(Block { content })
    }

    /// All messages in order, block by block.
    pub fn scan(self: &Arc<Self>, files: &dyn Files) -> io::Result<Scan> {
        let file = self.open(files)?;
        let at = self.length.saturating_sub(FOOTER_BYTES as u64);
        let footer = read_exact_at(file.as_ref(), at, FOOTER_BYTES)?;
        let footer = Footer::decode(&footer).map_err(|what| self.bad(at, what))?;
        Ok(Scan {
            archive: Arc::clone(self),
            file,
            at: HEADER_BYTES as u64,
            end: footer.fence.0,
        })
    }

    fn bad(&self, at: u64, what: &str) -> io::Error {
        let text = format!("{} at byte {at}: {what}", self.path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    }
}

/// The messages of a block.
#[derive(Debug)]
pub struct Block {
    content: Vec<u8>,
}

impl Block {
    /// They, in order.
    pub fn messages(&self) -> impl Iterator<Item = Stored<'_>> {
        Messages::of(&self.content)
    }

    /// Bytes of memory.
    pub const fn bytes(&self) -> usize {
        self.content.len()
    }
}

/// Reads the blocks of an archive one after the other.
pub struct Scan {
    archive: Arc<Archive>,
    file: Box<dyn FileOps>,
    at: u64,
    end: u64,
}

impl Scan {
    /// The next block of messages; `None` behind the last one.
    pub fn next_block(&mut self) -> io::Result<Option<Block>> {
        while self.at < self.end {
            let at = self.at;
            let head = read_exact_at(self.file.as_ref(), at, BLOCK_HEAD_BYTES)?;
            let length = BLOCK_HEAD_BYTES.saturating_add(u32_at(&head, 0) as usize);
            let length = u32::try_from(length)
                .map_err(|_| self.archive.bad(at, "a block goes beyond its file"))?;
            self.at += u64::from(length);
            if u32_at(&head, 8) == kind::LEAF {
                continue;
            }
            let content = self
                .archive
                .content(self.file.as_ref(), kind::MESSAGES, at, length)?;
            let mut messages = Messages::of(&content);
            if messages.by_ref().last().is_none() || !messages.is_whole() {
                return Err(self.archive.bad(at, "a block's messages do not fit"));
            }
            return Ok(Some(Block { content }));
        }
        Ok(None)
    }
}

/// What [`examine`] found in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examined {
    /// Blocks that are whole.
    pub blocks: u64,
    /// Messages in them.
    pub messages: u64,
    /// Bytes of their records, by device.
    pub devices: BTreeMap<DeviceId, u64>,
    /// Where something is not what was written, and what.
    pub damages: Vec<(u64, String)>,
}

/// Reads the whole file at `path` whatever is in it; every whole block of messages is shown to
/// `visit`. `known`: what the list says of it, if there is one.
pub fn examine(
    files: &dyn Files,
    path: &Path,
    known: Option<&Archive>,
    visit: &mut dyn FnMut(&Block),
) -> io::Result<Examined> {
    let mut found = Examined::default();
    let file = files.open(path)?;
    let length = file.len()?;
    let head_length = usize::try_from(length).map_or(HEADER_BYTES, |all| all.min(HEADER_BYTES));
    let header = read_exact_at(file.as_ref(), 0, head_length)?;
    let header = match (Header::decode(&header), known) {
        (Ok(header), known) if known.is_none_or(|known| *known.header() == header) => header,
        (read, known) => {
            let what = read
                .err()
                .unwrap_or("it is another archive than the list says");
            found.damages.push((0, what.to_owned()));
            match known {
                Some(known) => *known.header(),
                None => return Ok(found),
            }
        }
    };
    let footer_at = length.saturating_sub(FOOTER_BYTES as u64);
    let footer = read_exact_at(
        file.as_ref(),
        footer_at,
        usize::try_from(length - footer_at).unwrap_or(FOOTER_BYTES),
    )?;
    let footer = match Footer::decode(&footer) {
        Ok(footer) => Some(footer),
        Err(what) => {
            found.damages.push((footer_at, what.to_owned()));
            None
        }
    };
    let totals = footer.map_or_else(Totals::default, |footer| footer.totals);
    let archive = Archive::new(path.to_owned(), header, totals, length);
    let mut examining = Examining {
        archive: &archive,
        file: file.as_ref(),
        found,
        rows: BTreeMap::new(),
        visit,
    };
    match footer.map(|footer| examining.directory(&footer)) {
        Some(true) => examining.by_directory(),
        // without a directory the blocks are followed one after the other
        _ => examining.one_by_one(footer_at),
    }
    let mut found = examining.found;
    if let Some(known) = known
        && footer.is_some()
        && (known.totals != totals || known.length != length)
    {
        let what = "its numbers are not those that the list says".to_owned();
        found.damages.push((footer_at, what));
    }
    found.damages.sort();
    Ok(found)
}

struct Examining<'a> {
    archive: &'a Archive,
    file: &'a dyn FileOps,
    found: Examined,
    /// What the directory says of devices: messages, bytes.
    rows: BTreeMap<DeviceId, (u64, u64)>,
    visit: &'a mut dyn FnMut(&Block),
}

impl Examining<'_> {
    fn damage(&mut self, at: u64, what: &str) {
        self.found.damages.push((at, what.to_owned()));
    }

    /// Reads a block and says what is wrong with it.
    fn content(&mut self, kind: u32, at: u64, length: u32) -> Option<Vec<u8>> {
        let whole = at.saturating_add(u64::from(length)) <= self.archive.length;
        if !whole || length as usize > BLOCK_BYTES_MAX {
            self.damage(at, "a block goes beyond its file");
            return None;
        }
        let content = match read_exact_at(self.file, at, length as usize) {
            Ok(bytes) => format::decode_block(self.archive.header.epoch, at, kind, &bytes),
            Err(error) => {
                self.damage(at, &error.to_string());
                return None;
            }
        };
        match content {
            Ok(content) => Some(content),
            Err(what) => {
                self.damage(at, what);
                None
            }
        }
    }

    /// Reads the directory; was all of it whole?
    fn directory(&mut self, footer: &Footer) -> bool {
        let (at, length) = footer.fence;
        let Some(fence) = self.content(kind::FENCE, at, length) else {
            return false;
        };
        let Some(leaves) = format::leaves_of(&fence) else {
            self.damage(at, "the fence does not fit");
            return false;
        };
        self.found.blocks += 1;
        let mut whole = true;
        let mut blocks: BTreeMap<u64, u32> = BTreeMap::new();
        for leaf in leaves {
            let content = self.content(kind::LEAF, leaf.at, leaf.length);
            let rows = content.as_deref().and_then(format::rows_of);
            if content.is_some() && rows.is_none() {
                self.damage(leaf.at, "a leaf of the directory does not fit");
            }
            let Some(rows) = rows else {
                whole = false;
                continue;
            };
            self.found.blocks += 1;
            for row in rows {
                let says = (row.totals.messages, row.totals.bytes);
                self.rows.insert(row.device, says);
                blocks.extend(row.blocks.iter().map(|block| (block.at, block.length)));
            }
        }
        if whole {
            self.blocks(blocks.into_iter());
        }
        whole
    }

    fn blocks(&mut self, blocks: impl Iterator<Item = (u64, u32)>) {
        for (at, length) in blocks {
            if let Some(content) = self.content(kind::MESSAGES, at, length) {
                self.take(at, content);
            }
        }
    }

    fn take(&mut self, at: u64, content: Vec<u8>) {
        let mut messages = Messages::of(&content);
        let mut count = 0;
        for message in messages.by_ref() {
            count += 1;
            *self.found.devices.entry(message.device).or_default() += message.record.len() as u64;
            if let Some((left, bytes)) = self.rows.get_mut(&message.device) {
                *left = left.wrapping_sub(1);
                *bytes = bytes.wrapping_sub(message.record.len() as u64);
            }
        }
        if !messages.is_whole() {
            self.damage(at, "a block's messages do not fit");
            return;
        }
        self.found.blocks += 1;
        self.found.messages += count;
        (self.visit)(&Block { content });
    }

    /// All blocks were read by the directory: is everything there that it says?
    fn by_directory(&mut self) {
        let complete = self.found.damages.is_empty();
        let wrong = self.rows.iter().find(|(_, says)| **says != (0, 0));
        if complete && let Some((device, _)) = wrong {
            let what = format!("device {device} has not what the directory says");
            self.found.damages.push((0, what));
        }
    }

    /// Follows the blocks by their own lengths, as far as they lead.
    fn one_by_one(&mut self, end: u64) {
        let mut at = HEADER_BYTES as u64;
        while at < end {
            let Ok(head) = read_exact_at(self.file, at, BLOCK_HEAD_BYTES) else {
                return;
            };
            let stored = u32_at(&head, 0) as usize;
            let Ok(length) = u32::try_from(BLOCK_HEAD_BYTES.saturating_add(stored)) else {
                return self.damage(at, "a block goes beyond its file");
            };
            match u32_at(&head, 8) {
                kind::MESSAGES => {
                    let known = self.found.damages.len();
                    if let Some(content) = self.content(kind::MESSAGES, at, length) {
                        self.take(at, content);
                    } else if self.found.damages.len() > known
                        && at.saturating_add(u64::from(length)) > end
                    {
                        return;
                    }
                }
                kind::LEAF => {}
                kind::FENCE => return,
                _ => return self.damage(at, "what follows is no block"),
            }
            at += u64::from(length);
        }
    }
}
