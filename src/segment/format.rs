//! The bytes of a segment: header, entries, footer. All numbers little endian.
//!
//! | header | bytes |
//! |---|---|
//! | magic `TGSEG\0`, format version, 0 | 8 |
//! | epoch, random for each segment | 8 |
//! | first sequence | 8 |
//! | node | 2 |
//! | how often it was written again, see [`super::rewritten()`] | 2 |
//! | CRC of the above | 4 |
//!
//! | entry | bytes |
//! |---|---|
//! | length of the content | 4 |
//! | check | 4 |
//! | sequence | 8 |
//! | back: how many entries of its batch are before it | 4 |
//! | kind, version | 2 |
//! | content | |
//!
//! The check is the CRC, begun with the epoch, over length, sequence, back, kind, version and the
//! CRC of the content. So the one who makes an entry has counted the long part already and the
//! writer adds the 22 bytes that only it knows; and what another segment left on the disk never
//! passes.
//!
//! `back` tells a torn tail from corruption. A batch is synced before the next is written: a bad
//! entry with a good one *of a later batch* behind it was durable once. A good one of the same
//! batch proves nothing, as pages of one write may reach the disk in any order.
//!
//! The footer is an entry of kind [`KIND_FOOTER`] without a place in the sequence's count: the
//! segment is whole and ends here.

use crc32fast::Hasher;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 32;
/// Bytes before an entry's content.
pub const ENTRY_HEAD_BYTES: usize = 22;
/// Bytes of a footer.
pub const FOOTER_BYTES: usize = ENTRY_HEAD_BYTES + 8;
/// The kind of the footer; no entry may have it.
pub const KIND_FOOTER: u8 = 0xff;

const MAGIC: [u8; 6] = *b"TGSEG\0";
const FORMAT_VERSION: u8 = 1;
/// What is compared at once with what was never written.
static ZEROS: [u8; 4096] = [0; 4096];

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Random: entries of another segment do not pass in this one.
    pub epoch: u64,
    /// The sequence number of its first entry.
    pub first: u64,
    /// The node that writes it.
    pub node: u16,
    /// How often it was written again with other contents.
    pub rewritten: u16,
}

impl Header {
    /// As bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..6].copy_from_slice(&MAGIC);
        bytes[6] = FORMAT_VERSION;
        bytes[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..26].copy_from_slice(&self.node.to_le_bytes());
        bytes[26..28].copy_from_slice(&self.rewritten.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// From bytes; the text says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; HEADER_BYTES] = bytes
            .first_chunk()
            .ok_or("the file is shorter than a header")?;
        if bytes[..6] != MAGIC {
            return Err("the file does not begin as a segment");
        }
        if crc32fast::hash(&bytes[..28]) != u32_at(bytes, 28) {
            return Err("the header's checksum is wrong");
        }
        if bytes[6] != FORMAT_VERSION {
            return Err("the segment was written by a newer version");
        }
        Ok(Self {
            epoch: u64_at(bytes, 8),
            first: u64_at(bytes, 16),
            node: u16::from_le_bytes([bytes[24], bytes[25]]),
            rewritten: u16::from_le_bytes([bytes[26], bytes[27]]),
        })
    }

    /// With what the checks of this segment begin.
    pub fn seed(&self) -> u32 {
        crc32fast::hash(&self.epoch.to_le_bytes())
    }
}

/// An entry as it stands in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its number.
    pub sequence: u64,
    /// How many entries of its batch are before it.
    pub back: u32,
    /// What it is, see the user of the segment.
    pub kind: u8,
    /// The version of the content's form.
    pub version: u8,
    /// Its content.
    pub content: &'a [u8],
}

impl Entry<'_> {
    /// Bytes it takes in the segment.
    pub fn bytes(&self) -> usize {
        ENTRY_HEAD_BYTES + self.content.len()
    }
}

/// Entries on their way to a segment: whole but for what only the writer knows.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    bytes: Vec<u8>,
    count: u32,
}

impl Batch {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            count: 0,
        }
    }

    /// How many entries.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Their bytes: what a permit has to cover.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing in it?
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Empties it; its memory stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    /// Adds an entry whose content `write` appends to the buffer it is given.
    pub fn push(&mut self, kind: u8, version: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.begin(kind, version);
        write(&mut self.bytes);
        self.end(start);
    }

    /// Gives up the memory above `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.bytes.shrink_to(bytes);
    }

    /// Appends all of `other` and empties it.
    pub fn take_from(&mut self, other: &mut Self) {
        self.bytes.extend_from_slice(&other.bytes);
        self.count = self.count.saturating_add(other.count);
        other.clear();
    }

    /// Begins an entry; its content is appended to [`Batch::buffer`].
    pub(crate) fn begin(&mut self, kind: u8, version: u8) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; ENTRY_HEAD_BYTES]);
        self.bytes[start + 20] = kind;
        self.bytes[start + 21] = version;
        start
    }

    /// Where an entry's content goes.
    pub(crate) const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes back the entry begun at `start`.
    pub(crate) fn cancel(&mut self, start: usize) {
        self.bytes.truncate(start);
    }

    /// Ends the entry begun at `start`: counts its content's CRC.
    pub(crate) fn end(&mut self, start: usize) {
        let content = &self.bytes[start + ENTRY_HEAD_BYTES..];
        let length = u32::try_from(content.len()).expect("frames are bounded far below 4 GiB");
        let crc = crc32fast::hash(content);
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        self.count += 1;
    }

    /// The entries, before their numbers are set.
    pub fn contents(&self) -> impl Iterator<Item = (u8, u8, &[u8])> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let head = rest.first_chunk::<ENTRY_HEAD_BYTES>()?;
            let length = u32_at(head, 0) as usize;
            let content = rest.get(ENTRY_HEAD_BYTES..ENTRY_HEAD_BYTES + length)?;
            rest = &rest[ENTRY_HEAD_BYTES + length..];
            Some((head[20], head[21], content))
        })
    }

    /// Sets the numbers and checks of all entries, the first being `first`; gives their bytes.
    pub(crate) fn number(&mut self, seed: u32, first: u64) -> &[u8] {
        let mut at = 0;
        for back in 0..self.count {
            let head = &mut self.bytes[at..at + ENTRY_HEAD_BYTES];
            let length = u32_at(head, 0) as usize;
            head[8..16].copy_from_slice(&(first + u64::from(back)).to_le_bytes());
            head[16..20].copy_from_slice(&back.to_le_bytes());
            let content_crc = u32_at(head, 4);
            let check = check(seed, head, content_crc);
            head[4..8].copy_from_slice(&check.to_le_bytes());
            at += ENTRY_HEAD_BYTES + length;
        }
        &self.bytes
    }
}

/// The footer of a segment whose next sequence number would be `next`.
pub(crate) fn footer(seed: u32, next: u64, data_end: u64) -> [u8; FOOTER_BYTES] {
    let mut batch = Batch::new();
    batch.push(KIND_FOOTER, FORMAT_VERSION, |out| {
        out.extend_from_slice(&data_end.to_le_bytes());
    });
    let mut bytes = [0; FOOTER_BYTES];
    bytes.copy_from_slice(batch.number(seed, next));
    bytes
}

/// The footer in the last [`FOOTER_BYTES`] of a file: the next sequence number, if it is one and
/// stands where it says.
pub(crate) fn read_footer(seed: u32, bytes: &[u8], offset: u64) -> Option<u64> {
    let entry = read_entry(seed, bytes)?;
    let data_end = u64::from_le_bytes(entry.content.try_into().ok()?);
    (entry.kind == KIND_FOOTER && data_end == offset).then_some(entry.sequence)
}

/// The entry at the beginning of `bytes`, if it is whole and its check is right.
pub fn read_entry(seed: u32, bytes: &[u8]) -> Option<Entry<'_>> {
    let head: &[u8; ENTRY_HEAD_BYTES] = bytes.first_chunk()?;
    let length = usize::try_from(u32_at(head, 0)).ok()?;
    let content = bytes.get(ENTRY_HEAD_BYTES..ENTRY_HEAD_BYTES.checked_add(length)?)?;
    // all zero is what was never written
    if u32_at(head, 4) != check(seed, head, crc32fast::hash(content)) {
        return None;
    }
    Some(Entry {
        sequence: u64_at(head, 8),
        back: u32_at(head, 16),
        kind: head[20],
        version: head[21],
        content,
    })
}

/// Where the last byte that is not zero ends: a segment is allocated whole, so that behind what was
/// written there are mostly zeros, which are not worth a look at each.
pub(crate) fn written(bytes: &[u8]) -> usize {
    let block = |index: usize| {
        let end = bytes.len().min((index + 1) * ZEROS.len());
        bytes.get(index * ZEROS.len()..end).unwrap_or_default()
    };
    let blocks = bytes.len().div_ceil(ZEROS.len());
    let is_written = |index: &usize| ZEROS.get(..block(*index).len()) != Some(block(*index));
    (0..blocks).rev().find(is_written).map_or(0, |index| {
        let last = block(index).iter().rposition(|&byte| byte != 0);
        index * ZEROS.len() + last.map_or(0, |last| last + 1)
    })
}

/// Looks behind a bad entry, that should have been `expected`, for one that was written after it
/// had been durable; gives its place. It begins in what is `written`, its content may end in zeros
/// behind that.
pub(crate) fn later_batch(seed: u32, bytes: &[u8], written: usize, expected: u64) -> Option<usize> {
    let furthest = (written / ENTRY_HEAD_BYTES) as u64 + 1;
    let ends = bytes.len().saturating_sub(ENTRY_HEAD_BYTES - 1);
    (1..ends.min(written)).find(|&at| {
        let head = &bytes[at..at + ENTRY_HEAD_BYTES];
        let ahead = u64_at(head, 8).wrapping_sub(expected);
        // cheap questions first: nearly no place passes them
        (1..=furthest).contains(&ahead)
            && u64::from(u32_at(head, 16)) < ahead
            && read_entry(seed, &bytes[at..]).is_some()
    })
}

/// Sets the check of a whole entry whose content was changed in its place.
pub(crate) fn check_anew(seed: u32, entry: &mut [u8]) {
    let Some((head, content)) = entry.split_at_mut_checked(ENTRY_HEAD_BYTES) else {
        return;
    };
    let check = check(seed, head, crc32fast::hash(content));
    head[4..8].copy_from_slice(&check.to_le_bytes());
}

fn check(seed: u32, head: &[u8], content_crc: u32) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(&head[..4]);
    hasher.update(&content_crc.to_le_bytes());
    hasher.update(&head[8..ENTRY_HEAD_BYTES]);
    hasher.finalize()
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |chunk| u64::from_le_bytes(*chunk))
}
