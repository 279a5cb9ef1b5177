//! Where the messages of a segment are: by device and device time, by channel and server time.
//!
//! The index of the segment in use is in memory, made by whoever needs it and by the keeper,
//! never by the writer. That of a sealed segment is its sidecar, a file of rows and postings, each
//! with a CRC of its own: what is read is checked, and what is wrong is made again from the
//! segment. A late record widens only its own device's row.
//!
//! | sidecar, little endian | bytes |
//! |---|---|
//! | magic `TGIDX\0`, version, 0 | 8 |
//! | epoch and end of the segment | 8 + 8 |
//! | number of device rows, of channel rows | 4 + 4 |
//! | zero, CRC of the above | 4 + 4 |
//! | device rows, then channel rows, each sorted by id | 48 each |
//! | postings of the rows, in their order, each row's sorted | 16 each |
//!
//! A row is: id 8, first and last key 8 + 8, bytes 8, number of postings 4, number of postings
//! before them 4, their CRC 4, CRC of the row 4. A posting is: key 8 (device time in ms, or server
//! time in us), place of the entry 4, which message of the entry (of a channel: how many) 4.

use super::entry::EntryRef;
use crate::ids::{ChannelId, DeviceId};
use crate::segment::files::{self, TEMPORARY, read_exact_at};
use crate::segment::{FileOps, Files, Segment, SegmentEntries};
use foldhash::HashMap;
use protocols::Record;
use std::io;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 6] = *b"TGIDX\0";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 40;
const ROW_BYTES: usize = 48;
const POSTING_BYTES: usize = 16;
pub(super) const EXTENSION: &str = "idx";

/// Messages that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Held {
    /// How many; of a channel: how many frames.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl AddAssign for Held {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// Whose messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// A device's, by device time (ms).
    Device(DeviceId),
    /// A channel's, by server time (us).
    Channel(ChannelId),
}

/// Where one message is, or the messages of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Posting {
    /// Its time.
    pub(super) key: i64,
    /// Where its entry begins.
    pub(super) offset: u32,
    /// Which message of the entry; in a channel's index how many there are.
    pub(super) number: u32,
}

/// What an index says of one device or channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    id: u64,
    pub(super) first: i64,
    pub(super) last: i64,
    bytes: u64,
    count: u32,
    start: u32,
    crc: u32,
}

#[derive(Debug, Default)]
struct List {
    bytes: u64,
    postings: Vec<Posting>,
    sorted: bool,
}

impl List {
    fn push(&mut self, posting: Posting, bytes: usize) {
        self.sorted = self.postings.is_empty()
            || self.sorted && self.postings.last().is_some_and(|last| *last <= posting);
        self.postings.push(posting);
        self.bytes += bytes as u64;
    }

    fn held(&self) -> Held {
        Held {
            messages: self.postings.len() as u64,
            bytes: self.bytes,
        }
    }

    fn sort(&mut self) {
        if !self.sorted {
            self.postings.sort_unstable();
            self.sorted = true;
        }
    }
}

/// The index of a segment in memory.
#[derive(Default)]
pub(super) struct MemoryIndex {
    devices: Lists,
    channels: Lists,
    /// What is behind it is not in the index yet.
    indexed: u64,
    /// Where it reads on: the file and the buffer are kept from one time to the next.
    reading: Option<SegmentEntries>,
}

type Lists = HashMap<u64, List>;

impl MemoryIndex {
    /// Takes in what is durable and not in it yet.
    pub(super) fn catch_up(&mut self, segment: &Segment, files: &dyn Files) -> io::Result<()> {
        if self.indexed >= segment.end() {
            return Ok(());
        }
        // behind an error it is opened anew
        let mut entries = match self.reading.take() {
            Some(entries) => entries,
            None => segment.entries(files, self.indexed)?,
        };
        entries.extend(segment.end());
        while let Some((offset, entry)) = entries.next()? {
            let after = offset + entry.bytes() as u64;
            if let Some(EntryRef::Frame(frame)) =
                EntryRef::read(entry.kind, entry.version, entry.content)
            {
                let offset = u32::try_from(offset).map_err(io::Error::other)?;
                let mut number = 0;
                for part in frame.parts() {
                    if part.is_erased() {
                        // the others keep their places
                        number += part.messages;
                    }
                    for record in part.records() {
                        if part.device.is_some()
                            && let Some(read) = Record::read(record)
                        {
                            let posting = Posting {
                                key: read.timestamp_ms(),
                                offset,
                                number,
                            };
                            let list = self.devices.entry(part.device.0).or_default();
                            list.push(posting, record.len());
                        }
                        number += 1;
                    }
                }
                if number > 0 {
                    let posting = Posting {
                        key: frame.meta.at_us,
                        offset,
                        number,
                    };
                    let list = self.channels.entry(frame.meta.channel.0).or_default();
                    list.push(posting, entry.content.len());
                }
            }
            self.indexed = after;
        }
        if !segment.is_sealed() {
            self.reading = Some(entries);
        }
        Ok(())
    }

    /// First and last key of what it has.
    pub(super) fn range(&mut self, of: Of) -> Option<(i64, i64)> {
        let postings = self.postings(of);
        Some((postings.first()?.key, postings.last()?.key))
    }

    /// What it has, sorted.
    pub(super) fn postings(&mut self, of: Of) -> &[Posting] {
        let list = match of {
            Of::Device(id) => self.devices.get_mut(&id.0),
            Of::Channel(id) => self.channels.get_mut(&id.0),
        };
        list.map_or(&[], |list| {
            list.sort();
            &list.postings
        })
    }

    /// How much it has.
    pub(super) fn held(&self, of: Of) -> Held {
        let list = match of {
            Of::Device(id) => self.devices.get(&id.0),
            Of::Channel(id) => self.channels.get(&id.0),
        };
        list.map_or_else(Held::default, List::held)
    }

    /// The server's time of the newest message, unix us.
    pub(super) fn newest_us(&self) -> Option<i64> {
        let newest = |list: &List| Some(list.postings.last()?.key);
        self.channels.values().filter_map(newest).max()
    }

    /// Who has messages in it.
    pub(super) fn directory(&self) -> Directory {
        let of = |lists: &Lists| -> Vec<(u64, Held)> {
            let of_each = lists.iter().map(|(id, list)| (*id, list.held()));
            let mut sorted: Vec<_> = of_each.collect();
            sorted.sort_unstable();
            sorted
        };
        let newest = |list: &List| list.postings.iter().map(|posting| posting.key).max();
        let oldest = |list: &List| list.postings.iter().map(|posting| posting.key).min();
        Directory {
            devices: of(&self.devices),
            channels: of(&self.channels),
            newest_us: self.channels.values().filter_map(newest).max(),
            oldest_us: self.channels.values().filter_map(oldest).min(),
        }
    }

    /// Writes the sidecar of its segment.
    pub(super) fn write_sidecar(&mut self, segment: &Segment, files: &dyn Files) -> io::Result<()> {
        let path = path_of(segment);
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let content = self.encode(segment)?;
        files::replace(files, dir, &name.to_string_lossy(), &content)
    }

    fn encode(&mut self, segment: &Segment) -> io::Result<Vec<u8>> {
        let count = |count: usize| u32::try_from(count).map_err(io::Error::other);
        let (devices, channels) = (self.devices.len(), self.channels.len());
        let mut lists: Vec<(u64, &mut List)> = Vec::with_capacity(devices + channels);
        for lists_of in [&mut self.devices, &mut self.channels] {
            let begin = lists.len();
            lists.extend(lists_of.iter_mut().map(|(id, list)| (*id, list)));
            if let Some(these) = lists.get_mut(begin..) {
                these.sort_unstable_by_key(|(id, _)| *id);
            }
        }
        let postings: usize = lists.iter().map(|(_, list)| list.postings.len()).sum();
        let rows_end = HEADER_BYTES + lists.len() * ROW_BYTES;
        let mut out = Vec::with_capacity(rows_end + postings * POSTING_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, 0]);
        out.extend_from_slice(&segment.header().epoch.to_le_bytes());
        out.extend_from_slice(&segment.end().to_le_bytes());
        out.extend_from_slice(&count(devices)?.to_le_bytes());
        out.extend_from_slice(&count(channels)?.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        // the rows are known once their postings are written behind them
        out.resize(rows_end, 0);
        for (nth, (id, list)) in lists.into_iter().enumerate() {
            list.sort();
            let begin = out.len();
            for posting in &list.postings {
                out.extend_from_slice(&posting.key.to_le_bytes());
                out.extend_from_slice(&posting.offset.to_le_bytes());
                out.extend_from_slice(&posting.number.to_le_bytes());
            }
            let row = Row {
                id,
                first: list.postings.first().map_or(0, |posting| posting.key),
                last: list.postings.last().map_or(0, |posting| posting.key),
                bytes: list.bytes,
                count: count(list.postings.len())?,
                start: count((begin - rows_end) / POSTING_BYTES)?,
                crc: crc32fast::hash(&out[begin..]),
            };
            let at = HEADER_BYTES + nth * ROW_BYTES;
            out[at..at + ROW_BYTES].copy_from_slice(&row.encode());
        }
        Ok(out)
    }
}

impl Row {
    /// How much it says there is.
    pub(super) fn held(&self) -> Held {
        Held {
            messages: self.count.into(),
            bytes: self.bytes,
        }
    }

    fn encode(&self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.last.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.count.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.start.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        let bytes: &[u8; ROW_BYTES] = bytes.first_chunk().ok_or_else(bad)?;
        if crc32fast::hash(&bytes[..44]) != u32_at(bytes, 44) {
            return Err(bad());
        }
        Ok(Self {
            id: u64_at(bytes, 0),
            first: u64_at(bytes, 8).cast_signed(),
            last: u64_at(bytes, 16).cast_signed(),
            bytes: u64_at(bytes, 24),
            count: u32_at(bytes, 32),
            start: u32_at(bytes, 36),
            crc: u32_at(bytes, 40),
        })
    }
}

/// Who has messages in a segment.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// Devices and what it has of them.
    pub(super) devices: Vec<(u64, Held)>,
    /// Channels likewise.
    pub(super) channels: Vec<(u64, Held)>,
    /// The server's time of the newest message, unix us.
    pub(super) newest_us: Option<i64>,
    /// That of the oldest.
    pub(super) oldest_us: Option<i64>,
}

/// A sealed segment's index on disk.
pub(super) struct Sidecar {
    file: Box<dyn FileOps>,
    devices: u32,
    channels: u32,
}

impl Sidecar {
    /// Opens the sidecar of a segment; an error of kind `InvalidData`: it is not this segment's,
    /// or damaged.
    pub(super) fn open(segment: &Segment, files: &dyn Files) -> io::Result<Self> {
        let path = path_of(segment);
        Self::open_at(&path, segment.header().epoch, segment.end(), files)
    }

    /// The same for a segment that nobody has open.
    pub(super) fn open_at(
        path: &Path,
        epoch: u64,
        end: u64,
        files: &dyn Files,
    ) -> io::Result<Self> {
        let file = files.open(path)?;
        let head = read_exact_at(file.as_ref(), 0, HEADER_BYTES)?;
        let fits = head[..6] == MAGIC
            && head[6] == VERSION
            && crc32fast::hash(&head[..36]) == u32_at(&head, 36)
            && u64_at(&head, 8) == epoch
            && u64_at(&head, 16) == end;
        if !fits {
            return Err(bad());
        }
        Ok(Self {
            file,
            devices: u32_at(&head, 24),
            channels: u32_at(&head, 28),
        })
    }

    /// Who has messages in it, and the server's time of the newest.
    pub(super) fn directory(&self) -> io::Result<Directory> {
        let mut found = Directory::default();
        let rows = self.devices.saturating_add(self.channels);
        let length = usize::try_from(rows)
            .ok()
            .and_then(|rows| rows.checked_mul(ROW_BYTES));
        let bytes = read_exact_at(
            self.file.as_ref(),
            HEADER_BYTES as u64,
            length.ok_or_else(bad)?,
        )?;
        for (nth, row) in (0..).zip(bytes.chunks_exact(ROW_BYTES)) {
            let row = Row::decode(row)?;
            if nth < self.devices {
                found.devices.push((row.id, row.held()));
            } else {
                found.channels.push((row.id, row.held()));
                found.newest_us = found.newest_us.max(Some(row.last));
                let oldest_us = found.oldest_us.unwrap_or(i64::MAX);
                found.oldest_us = Some(oldest_us.min(row.first));
            }
        }
        Ok(found)
    }

    /// Reads all of it: every row and its postings.
    pub(super) fn check(&self) -> io::Result<()> {
        let directory = self.directory()?;
        let devices = directory
            .devices
            .iter()
            .map(|(id, _)| Of::Device(DeviceId(*id)));
        let channels = directory
            .channels
            .iter()
            .map(|(id, _)| Of::Channel(ChannelId(*id)));
        for of in devices.chain(channels) {
            let row = self.row(of)?.ok_or_else(bad)?;
            self.postings(&row)?;
        }
        Ok(())
    }

    /// The row of a device or channel, by bisection.
    pub(super) fn row(&self, of: Of) -> io::Result<Option<Row>> {
        let (id, mut low, mut high) = match of {
            Of::Device(id) => (id.0, 0, self.devices),
            Of::Channel(id) => (
                id.0,
                self.devices,
                self.devices.saturating_add(self.channels),
            ),
        };
        while low < high {
            let middle = low + (high - low) / 2;
            let at = HEADER_BYTES as u64 + u64::from(middle) * ROW_BYTES as u64;
            let row = Row::decode(&read_exact_at(self.file.as_ref(), at, ROW_BYTES)?)?;
            match row.id.cmp(&id) {
                std::cmp::Ordering::Equal => return Ok(Some(row)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// The postings of a row, sorted.
    pub(super) fn postings(&self, row: &Row) -> io::Result<Vec<Posting>> {
        let rows = u64::from(self.devices) + u64::from(self.channels);
        let at = HEADER_BYTES as u64
            + rows * ROW_BYTES as u64
            + u64::from(row.start) * POSTING_BYTES as u64;
        let length = usize::try_from(row.count)
            .ok()
            .and_then(|count| count.checked_mul(POSTING_BYTES))
            .ok_or_else(bad)?;
        let bytes = read_exact_at(self.file.as_ref(), at, length)?;
        if crc32fast::hash(&bytes) != row.crc {
            return Err(bad());
        }
        Ok(bytes
            .chunks_exact(POSTING_BYTES)
            .map(|posting| Posting {
                key: u64_at(posting, 0).cast_signed(),
                offset: u32_at(posting, 8),
                number: u32_at(posting, 12),
            })
            .collect())
    }
}

/// Where the sidecar of a segment is.
pub(super) fn path_of(segment: &Segment) -> PathBuf {
    segment.path().with_extension(EXTENSION)
}

/// Does the folder's listing have the sidecar of a segment?
pub(super) fn is_sidecar(name: &str) -> bool {
    !name.ends_with(TEMPORARY)
        && Path::new(name)
            .extension()
            .is_some_and(|ext| ext == EXTENSION)
}

fn bad() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a damaged sidecar index")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |chunk| u64::from_le_bytes(*chunk))
}
