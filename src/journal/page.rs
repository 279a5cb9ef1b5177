//! How messages are found: a page at a time, of a device from archives and segments, of a channel
//! from segments.
//!
//! A read collects the places of the next messages in order, from the directories of archives and
//! the indexes of segments, and reads those; so its cost grows with what is returned, not with what
//! is kept. Up to the entry that is settled a device's messages are in archives, behind it in
//! segments: each is in one of the two. What a page was collected from may be replaced before it is
//! read (a segment is settled, an archive rewritten): then the page is collected again from where
//! it was, by time, entry and place in the entry, which are the same in both.

use super::deleted::Hidden;
use super::entry::EntryRef;
use super::index::{Of, Posting, Sidecar};
use super::read::{Range, StoredMessage};
use super::{Shared, lock, stats};
use crate::archive::{Archive, Row};
use crate::ids::{DeviceId, Position};
use crate::segment::files::read_exact_at;
use crate::segment::format::{ENTRY_HEAD_BYTES, read_entry, u32_at};
use crate::segment::{FileOps, Segment};
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Places that a read collects at a time.
const PAGE: usize = 1024;
/// Bytes of an entry that are read in the hope that they are all of it.
const FIRST_READ_BYTES: u64 = 2048;
/// How often a page is collected again because its files were replaced, and how long it waits for
/// what replaces them to be known.
const AGAIN_MAX: u32 = 1000;
const AGAIN_PAUSE: Duration = Duration::from_millis(1);

/// A place, ordered by time, then position. In a segment: time, first entry of the segment, offset,
/// which message. In an archive: time, entry, 0, which message. All entries of archives are before
/// all segments that are read.
type Key = (i64, u64, u32, u32);

/// What is at a place.
enum Found {
    /// A message of an archive.
    Message(Box<StoredMessage>),
    /// An entry of a segment.
    Entry(Arc<Segment>),
}

/// The place that was read last, wherever it was found.
#[derive(Debug, Clone, Copy)]
struct After {
    key: Key,
    /// Its entry, and which message of it.
    exact: (u64, u32),
}

impl After {
    /// Where a message of an archive is, seen from here.
    fn of_message(&self, time: i64, sequence: u64, index: u32) -> Ordering {
        (time, sequence, index).cmp(&(self.key.0, self.exact.0, self.exact.1))
    }

    /// Where a posting of a segment is.
    fn of_posting(&self, segment: &Segment, posting: &Posting) -> Ordering {
        posting.key.cmp(&self.key.0).then_with(|| {
            let (_, first, offset, number) = self.key;
            if offset > 0 && first == segment.first() {
                (posting.offset, posting.number).cmp(&(offset, number))
            } else {
                segment
                    .first()
                    .cmp(&self.exact.0.saturating_add(1))
                    .then(Ordering::Greater)
            }
        })
    }
}

/// What a page takes.
#[derive(Clone, Copy)]
struct Wanted {
    from: i64,
    to: i64,
    reverse: bool,
    after: Option<After>,
    /// So many places.
    count: usize,
    /// With a full page, the time beyond which everything is for a later one.
    bound: Option<i64>,
}

impl Wanted {
    /// Is nothing of what lies between these times wanted?
    fn skips(&self, first: i64, last: i64) -> bool {
        let beyond = |bound| {
            if self.reverse {
                last < bound
            } else {
                first > bound
            }
        };
        let before = |after: After| {
            if self.reverse {
                first > after.key.0
            } else {
                last < after.key.0
            }
        };
        first > self.to
            || last < self.from
            || self.bound.is_some_and(beyond)
            || self.after.is_some_and(before)
    }

    /// Is it behind the place that was read last?
    fn is_ahead(&self, of: impl Fn(After) -> Ordering) -> bool {
        let ahead = if self.reverse {
            Ordering::Less
        } else {
            Ordering::Greater
        };
        self.after.is_none_or(|after| of(after) == ahead)
    }

    /// The part of sorted postings that is wanted.
    fn of_postings<'p>(&self, segment: &Segment, postings: &'p [Posting]) -> &'p [Posting] {
        let ahead = |posting: &Posting| self.is_ahead(|after| after.of_posting(segment, posting));
        let low = postings
            .partition_point(|posting| posting.key < self.from || !self.reverse && !ahead(posting));
        let high = postings
            .partition_point(|posting| posting.key <= self.to && (!self.reverse || ahead(posting)));
        let wanted = postings.get(low..high).unwrap_or_default();
        let wanted = if self.reverse {
            wanted.get(wanted.len().saturating_sub(self.count)..)
        } else {
            wanted.get(..self.count.min(wanted.len()))
        };
        wanted.unwrap_or_default()
    }
}

/// The places of a page while they are collected.
struct Page {
    wanted: Wanted,
    found: Vec<(Key, Found)>,
}

impl Page {
    fn add(&mut self, more: impl IntoIterator<Item = (Key, Found)>) {
        let before = self.found.len();
        self.found.extend(more);
        if self.found.len() == before {
            return;
        }
        if self.wanted.reverse {
            self.found.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        } else {
            self.found.sort_unstable_by_key(|(key, _)| *key);
        }
        self.found.truncate(self.wanted.count);
        if self.found.len() == self.wanted.count {
            self.wanted.bound = self.found.last().map(|(key, _)| key.0);
        }
    }
}

impl Shared {
    /// Shows a segment's postings to `choose`, unless `skip` says by their first and last key that
    /// nothing there is wanted.
    fn postings(
        &self,
        segment: &Segment,
        of: Of,
        skip: &dyn Fn(i64, i64) -> bool,
        choose: &mut dyn FnMut(&[Posting]),
    ) -> io::Result<()> {
        if self.indexes.has_sidecar(segment) {
            let found =
                Sidecar::open(segment, self.files.as_ref()).and_then(|sidecar| {
                    match sidecar.row(of)? {
                        Some(row) if !skip(row.first, row.last) => sidecar.postings(&row).map(Some),
                        _ => Ok(None),
                    }
                });
            match found {
                Ok(postings) => {
                    choose(&postings.unwrap_or_default());
                    return Ok(());
                }
                Err(error) => {
                    // it is only a shorter way: the keeper makes it again from the segment
                    stats::add(&self.stats.read_errors, 1);
                    tracing::warn!(%error, path = %segment.path().display(), "a bad sidecar");
                    lock(&self.indexes.state).sidecars.remove(&segment.first());
                }
            }
        }
        let memory = self.indexes.memory(segment);
        let mut memory = lock(&memory);
        memory.catch_up(segment, self.files.as_ref())?;
        if let Some((first, last)) = memory.range(of)
            && !skip(first, last)
        {
            choose(memory.postings(of));
        }
        Ok(())
    }
}

/// Reads messages in order. An error ends it.
pub struct Messages {
    shared: Arc<Shared>,
    of: Of,
    range: Range,
    left: usize,
    after: Option<After>,
    page: VecDeque<(Key, Found)>,
    ended: bool,
    ready: VecDeque<StoredMessage>,
    open: Option<(u64, Box<dyn FileOps>)>,
    last: Option<(u64, u32, Vec<u8>)>,
    /// What archives have of the device, by their numbers.
    rows: BTreeMap<u64, Option<Arc<Row>>>,
    /// How often this page was collected again.
    again: u32,
    /// What came at this server time or before is past its ttl.
    past_us: i64,
    /// What was deleted when the read began.
    hidden: Hidden,
}

impl Messages {
    pub(super) fn of(shared: &Arc<Shared>, of: Of, range: Range) -> Self {
        Self {
            shared: Arc::clone(shared),
            of,
            range,
            left: range.count,
            after: None,
            page: VecDeque::new(),
            ended: false,
            ready: VecDeque::new(),
            open: None,
            last: None,
            rows: BTreeMap::new(),
            again: 0,
            past_us: shared.past_us(of),
            hidden: shared.deletions.hidden(),
        }
    }

    fn fill_page(&mut self) -> io::Result<()> {
        // the segments first: what goes from them meanwhile is in the archives by then
        let segments = self.shared.catalog.segments();
        let mut page = Page {
            wanted: Wanted {
                from: self.range.from,
                to: self.range.to,
                reverse: self.range.reverse,
                after: self.after,
                count: PAGE.min(self.left).max(1),
                bound: None,
            },
            found: Vec::new(),
        };
        match self.of {
            Of::Channel(_) => self.collect_segments(&segments, 0, &mut page)?,
            Of::Device(device) => {
                let view = self.shared.archives.view();
                // from the end where most of what is wanted is
                if self.range.reverse {
                    self.collect_segments(&segments, view.settled, &mut page)?;
                    self.collect_archives(device, &view.archives, &mut page)?;
                } else {
                    self.collect_archives(device, &view.archives, &mut page)?;
                    self.collect_segments(&segments, view.settled, &mut page)?;
                }
            }
        }
        self.ended = page.found.len() < page.wanted.count;
        self.page = page.found.into();
        Ok(())
    }

    fn collect_segments(
        &self,
        segments: &[Arc<Segment>],
        settled: u64,
        page: &mut Page,
    ) -> io::Result<()> {
        let count = segments.len();
        let reverse = self.range.reverse;
        let order = (0..count).map(|nth| if reverse { count - 1 - nth } else { nth });
        for segment in order.filter_map(|at| segments.get(at)) {
            if segment.first() <= settled {
                continue;
            }
            let wanted = page.wanted;
            let mut found: Vec<(Key, Found)> = Vec::new();
            let mut choose = |postings: &[Posting]| {
                let wanted = wanted.of_postings(segment, postings).iter();
                found.extend(wanted.map(|posting| {
                    let key = (posting.key, segment.first(), posting.offset, posting.number);
                    (key, Found::Entry(Arc::clone(segment)))
                }));
            };
            let skip = |first, last| wanted.skips(first, last);
            self.shared.postings(segment, self.of, &skip, &mut choose)?;
            page.add(found);
        }
        Ok(())
    }

    fn collect_archives(
        &mut self,
        device: DeviceId,
        archives: &[Arc<Archive>],
        page: &mut Page,
    ) -> io::Result<()> {
        let past = |newest_us: i64| newest_us <= self.past_us;
        let mut order: Vec<&Arc<Archive>> = archives
            .iter()
            .filter(|archive| {
                let totals = archive.totals();
                let (first, last) = totals.time_ms;
                !page.wanted.skips(first, last) && !past(totals.at_us.1)
            })
            .collect();
        if self.range.reverse {
            order.sort_unstable_by_key(|archive| std::cmp::Reverse(archive.totals().time_ms.1));
        } else {
            order.sort_unstable_by_key(|archive| archive.totals().time_ms.0);
        }
        for archive in order {
            let (first, last) = archive.totals().time_ms;
            if page.wanted.skips(first, last) {
                continue;
            }
            let row = if let Some(row) = self.rows.get(&archive.number()) {
                row.clone()
            } else {
                let row = self.shared.archives.row(archive, device)?.map(Arc::new);
                self.rows.insert(archive.number(), row.clone());
                row
            };
            if let Some(row) = row
                && !page
                    .wanted
                    .skips(row.totals.time_ms.0, row.totals.time_ms.1)
                && row.totals.at_us.1 > self.past_us
                && !self.hidden.covers(&row)
            {
                let found = self.of_archive(archive, &row, page.wanted)?;
                page.add(found);
            }
        }
        Ok(())
    }

    /// The messages of an archive that are wanted, from the end where they are.
    fn of_archive(
        &self,
        archive: &Archive,
        row: &Row,
        wanted: Wanted,
    ) -> io::Result<Vec<(Key, Found)>> {
        let shared = &self.shared;
        let node = shared.options.node;
        let file = archive.open(shared.files.as_ref())?;
        let after_ms = wanted.after.map(|after| after.key.0);
        let mut found: Vec<(Key, Found)> = Vec::new();
        let blocks = &row.blocks;
        // a block may have equal times of the one before it
        let nth = if wanted.reverse {
            let last = wanted.to.min(after_ms.unwrap_or(i64::MAX));
            blocks.partition_point(|block| block.first_ms <= last)
        } else {
            let first = wanted.from.max(after_ms.unwrap_or(i64::MIN));
            blocks
                .partition_point(|block| block.first_ms < first)
                .saturating_sub(1)
        };
        let order: Box<dyn Iterator<Item = usize>> = if wanted.reverse {
            Box::new((0..nth).rev())
        } else {
            Box::new(nth..blocks.len())
        };
        for block in order.filter_map(|at| blocks.get(at)) {
            let beyond = !wanted.reverse
                && (block.first_ms > wanted.to
                    || wanted.bound.is_some_and(|bound| block.first_ms > bound));
            if beyond || found.len() >= wanted.count {
                break;
            }
            let content = archive.block(file.as_ref(), *block)?;
            let begun = found.len();
            for message in content.messages() {
                if message.device != row.device
                    || message.time_ms < wanted.from
                    || message.time_ms > wanted.to
                    || message.at_us <= self.past_us
                    || self.hides(row.device, message.time_ms, message.sequence)
                {
                    continue;
                }
                let (time, sequence, index) = (message.time_ms, message.sequence, message.index);
                if wanted.is_ahead(|after| after.of_message(time, sequence, index)) {
                    let stored = StoredMessage::of_archive(node, &message);
                    let key = (time, sequence, 0, index);
                    found.push((key, Found::Message(Box::new(stored))));
                }
            }
            if wanted.reverse {
                if let Some(these) = found.get_mut(begun..) {
                    these.reverse();
                }
                if wanted.bound.is_some_and(|bound| block.first_ms < bound) {
                    break;
                }
            }
        }
        found.truncate(wanted.count);
        Ok(found)
    }

    /// Reads the entry at a place into what is ready.
    fn read(&mut self, key: Key, segment: &Segment) -> io::Result<()> {
        let (_, first, offset, number) = key;
        let cached = self
            .last
            .as_ref()
            .is_some_and(|(of, at, _)| (*of, *at) == (first, offset));
        if !cached {
            if self.open.as_ref().is_none_or(|(of, _)| *of != first) {
                self.open = Some((first, self.shared.files.open(segment.path())?));
            }
            let (_, file) = self.open.as_ref().expect("opened above");
            let at = u64::from(offset);
            let length = FIRST_READ_BYTES.min(segment.end().saturating_sub(at));
            let mut bytes = read_exact_at(
                file.as_ref(),
                at,
                usize::try_from(length).map_err(io::Error::other)?,
            )?;
            let whole = ENTRY_HEAD_BYTES.saturating_add(u32_at(&bytes, 0) as usize);
            if whole as u64 > segment.end().saturating_sub(at) {
                return Err(bad(segment, at));
            }
            if whole > bytes.len() {
                bytes = read_exact_at(file.as_ref(), at, whole)?;
            }
            self.last = Some((first, offset, bytes));
        }
        let (_, _, bytes) = self.last.as_ref().expect("read above");
        let entry = read_entry(segment.header().seed(), bytes)
            .ok_or_else(|| bad(segment, u64::from(offset)))?;
        let position = Position::new(segment.header().node, entry.sequence);
        let Some(EntryRef::Frame(frame)) = EntryRef::read(entry.kind, entry.version, entry.content)
        else {
            return Err(bad(segment, u64::from(offset)));
        };
        self.after = Some(After {
            key,
            exact: (entry.sequence, number),
        });
        if frame.meta.at_us <= self.past_us {
            return Ok(());
        }
        let mut messages = Vec::new();
        for (index, part, record) in frame.messages() {
            let wanted = matches!(self.of, Of::Channel(_)) || index == number;
            let message = wanted.then(|| StoredMessage::of(position, &frame, &part, index, record));
            messages.extend(message.filter(|message| {
                !self.hides(part.device, message.timestamp_ms(), entry.sequence)
            }));
        }
        if self.range.reverse {
            messages.reverse();
        }
        self.ready.extend(messages);
        Ok(())
    }

    /// Is a message not to be shown here? A channel's buffer hides what was erased only: what was
    /// deleted of a device is the channel's still.
    fn hides(&self, device: DeviceId, time_ms: i64, sequence: u64) -> bool {
        match self.of {
            Of::Device(_) => self.hidden.hides(device, time_ms, sequence),
            Of::Channel(_) => self.hidden.erases(device, sequence),
        }
    }

    fn advance(&mut self) -> io::Result<Option<StoredMessage>> {
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            if let Some(message) = self.ready.pop_front() {
                self.left -= 1;
                return Ok(Some(message));
            }
            let done = match self.page.pop_front() {
                Some((key, Found::Message(message))) => {
                    self.after = Some(After {
                        key,
                        exact: (message.position.sequence(), message.index),
                    });
                    self.ready.push_back(*message);
                    Ok(true)
                }
                Some((key, Found::Entry(segment))) => self.read(key, &segment).map(|()| true),
                None if self.ended => return Ok(None),
                None => {
                    self.open = None;
                    self.fill_page().map(|()| false)
                }
            };
            match done {
                Ok(true) => self.again = 0,
                Ok(false) => {}
                // it was replaced or went by its age meanwhile
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.again < AGAIN_MAX => {
                    self.again += 1;
                    self.page.clear();
                    self.ended = false;
                    std::thread::sleep(AGAIN_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Iterator for Messages {
    type Item = io::Result<StoredMessage>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(message) => message.map(Ok),
            Err(error) => {
                stats::add(&self.shared.stats.read_errors, 1);
                self.left = 0;
                Some(Err(error))
            }
        }
    }
}

fn bad(segment: &Segment, offset: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{} is corrupt at byte {offset}: a bad entry",
            segment.path().display()
        ),
    )
}
