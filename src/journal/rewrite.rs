//! Archives are written again: several of one day and class become one, and what is dead leaves
//! the disk.
//!
//! Messages come from the archives in order and go to new ones by today's ttl of their devices;
//! what is past it is left out. The list names the new ones instead of the old ones at once, so a
//! message is in one of the two at every moment.
//!
//! An archive whose messages are all past their ttl or deleted goes without a rewrite. One that is a
//! quarter dead is rewritten, and one that has what somebody deleted. All are looked for every
//! [`SWEEP_MS`].

use super::deleted::DELETED;
use super::retention::Lifetimes;
use super::settle::{Pace, SettleError, class, keeps};
use super::{Shared, lock, stats};
use crate::archive::{Archive, Block, CLASSES_DAYS, Scan, Stored, Writer, Written};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// How often dead archives are looked for.
pub const SWEEP_MS: u64 = 6 * 3_600_000;
/// Archives that are merged at once: each is open and has a block in memory.
const TOGETHER_MAX: usize = 64;
/// An archive with this part dead is rewritten.
const DEAD_PART: u64 = 4;

/// What a message is sorted by.
type Key = (u64, i64, u64, u32);

/// Reads one archive message by message.
struct Source {
    archive: Arc<Archive>,
    scan: Scan,
    block: Option<Block>,
    /// The keys of the messages of the block that are left.
    keys: VecDeque<Key>,
    /// How many of the block were taken.
    taken: usize,
}

impl Source {
    fn open(shared: &Shared, archive: &Arc<Archive>) -> Result<Self, SettleError> {
        let scan = archive
            .scan(shared.files.as_ref())
            .map_err(SettleError::of(archive.path()))?;
        Ok(Self {
            archive: Arc::clone(archive),
            scan,
            block: None,
            keys: VecDeque::new(),
            taken: 0,
        })
    }

    /// The key of the next message.
    fn key(&mut self) -> Result<Option<Key>, SettleError> {
        if self.keys.is_empty() {
            let next = self.scan.next_block();
            self.block = next.map_err(SettleError::of(self.archive.path()))?;
            self.taken = 0;
            if let Some(block) = &self.block {
                self.keys = block.messages().map(|message| message.key()).collect();
            }
        }
        Ok(self.keys.front().copied())
    }

    /// Shows the messages of the block that come before `bound`, if there is one.
    fn take(
        &mut self,
        bound: Option<Key>,
        show: &mut dyn FnMut(&Stored<'_>) -> Result<(), SettleError>,
    ) -> Result<(), SettleError> {
        let Some(block) = &self.block else {
            return Ok(());
        };
        let count = match bound {
            Some(bound) => self.keys.partition_point(|key| *key < bound),
            None => self.keys.len(),
        };
        // it is read from its beginning, as it has to be
        for message in block.messages().skip(self.taken).take(count) {
            show(&message)?;
        }
        self.taken += count;
        self.keys.drain(..count);
        Ok(())
    }
}

impl Shared {
    /// Days that are done become one archive of each class; of one that is not, many become one.
    pub(super) fn merge_days(
        &self,
        lifetimes: &dyn Lifetimes,
        pace: &mut Pace<'_>,
    ) -> Result<(), SettleError> {
        loop {
            let view = self.archives.view();
            let mut days: BTreeMap<(i32, u8), Vec<Arc<Archive>>> = BTreeMap::new();
            for archive in &view.archives {
                let key = (archive.day(), archive.class());
                days.entry(key).or_default().push(Arc::clone(archive));
            }
            let open_day = self.first_open_day(view.settled);
            let due = days.into_iter().find(|((day, _), archives)| {
                archives.len() >= TOGETHER_MAX || archives.len() > 1 && *day < open_day
            });
            let Some((_, mut archives)) = due else {
                return Ok(());
            };
            // the small ones first, so that each message is written as seldom as may be
            archives.sort_by_key(|archive| archive.length());
            archives.truncate(TOGETHER_MAX);
            self.rewrite(&archives, lifetimes, pace)?;
        }
    }

    /// The day that messages may still be settled into.
    fn first_open_day(&self, settled: u64) -> i32 {
        let today = crate::archive::day_of(self.clock.now_us());
        let segments = self.catalog.segments();
        let left = segments.iter().find(|segment| segment.next() > settled + 1);
        let oldest_us = left
            .and_then(|segment| self.directory(segment).ok())
            .and_then(|directory| directory.oldest_us);
        oldest_us.map_or(today, |at_us| crate::archive::day_of(at_us).min(today))
    }

    /// If it is time: lets go what is dead, and says what is so by a quarter.
    pub(super) fn sweep_dead(
        &self,
        lifetimes: &dyn Lifetimes,
        pace: &mut Pace<'_>,
    ) -> Result<Vec<Arc<Archive>>, SettleError> {
        let swept = *lock(&self.swept);
        if swept.is_some_and(|at| at.elapsed() < self.options.sweep) {
            return Ok(Vec::new());
        }
        let view = self.archives.view();
        let hidden = self.deletions.hidden();
        let mut gone = BTreeSet::new();
        let mut left = BTreeSet::new();
        let mut worn = Vec::new();
        for archive in &view.archives {
            let now_us = self.clock.now_us();
            let (mut dead, mut all, mut pressed) = (0, 0, false);
            self.archives
                .rows(archive, &mut |row| {
                    all += row.totals.bytes;
                    let kept = keeps(lifetimes, row.device, row.totals.at_us.1, now_us);
                    if !kept || hidden.covers(row) {
                        dead += row.totals.bytes;
                    }
                    pressed |= hidden.presses(row);
                    left.extend(hidden.touching(row).copied());
                })
                .map_err(SettleError::of(archive.path()))?;
            if dead == all {
                gone.insert(archive.number());
            } else if pressed || dead * DEAD_PART >= all {
                worn.push(Arc::clone(archive));
            }
            pace.breathe()?;
        }
        if !gone.is_empty() {
            stats::add(&self.stats.archives_gone, gone.len() as u64);
            self.name_archives(view.settled, Vec::new(), &gone)?;
        }
        self.forget_deletions(&hidden, view.settled, &left)
            .map_err(SettleError::of(&self.dir.join(DELETED)))?;
        *lock(&self.swept) = Some(Instant::now());
        Ok(worn)
    }

    /// Rewrites an archive without what is dead, if it is there still.
    pub(super) fn rewrite_worn(
        &self,
        archive: Arc<Archive>,
        lifetimes: &dyn Lifetimes,
        pace: &mut Pace<'_>,
    ) -> Result<(), SettleError> {
        let view = self.archives.view();
        let number = archive.number();
        // it may have been merged meanwhile
        if view.archives.iter().any(|one| one.number() == number) {
            self.rewrite(&[archive], lifetimes, pace)?;
        }
        Ok(())
    }

    /// Puts new archives in the place of these.
    fn rewrite(
        &self,
        archives: &[Arc<Archive>],
        lifetimes: &dyn Lifetimes,
        pace: &mut Pace<'_>,
    ) -> Result<(), SettleError> {
        self.check_room(archives.iter().map(|archive| archive.length()).sum())?;
        let mut added = Vec::new();
        for day in archives
            .iter()
            .map(|one| one.day())
            .collect::<BTreeSet<_>>()
        {
            let of_day: Vec<_> = archives.iter().filter(|one| one.day() == day).collect();
            self.rewrite_day(day, &of_day, lifetimes, pace, &mut added)?;
        }
        let removed = archives.iter().map(|archive| archive.number()).collect();
        self.name_archives(self.archives.view().settled, added, &removed)?;
        stats::add(&self.stats.archives_rewritten, archives.len() as u64);
        Ok(())
    }

    fn rewrite_day(
        &self,
        day: i32,
        archives: &[&Arc<Archive>],
        lifetimes: &dyn Lifetimes,
        pace: &mut Pace<'_>,
        added: &mut Vec<Written>,
    ) -> Result<(), SettleError> {
        let io = || SettleError::of(self.archives.dir());
        let now_us = self.clock.now_us();
        let hidden = self.deletions.hidden();
        let mut writers: [Option<Writer<'_>>; CLASSES_DAYS.len()] = Default::default();
        let mut sources = Vec::new();
        let mut heap = BinaryHeap::new();
        for archive in archives {
            let mut source = Source::open(self, archive)?;
            if let Some(key) = source.key()? {
                heap.push(Reverse((key, sources.len())));
            }
            sources.push(source);
        }
        while let Some(Reverse((_, nth))) = heap.pop() {
            let bound = heap.peek().map(|Reverse((key, _))| *key);
            let Some(source) = sources.get_mut(nth) else {
                continue;
            };
            source.take(bound, &mut |message| {
                let Some(class) = class(lifetimes, message.device, message.at_us, now_us) else {
                    return Ok(());
                };
                if hidden.hides(message.device, message.time_ms, message.sequence) {
                    return Ok(());
                }
                let writer = match &mut writers[usize::from(class)] {
                    Some(writer) => writer,
                    none => none.insert(self.archives.begin(day, class).map_err(io())?),
                };
                writer.push(message).map_err(io())
            })?;
            if let Some(key) = source.key()? {
                heap.push(Reverse((key, nth)));
            }
            pace.breathe()?;
        }
        for writer in writers.into_iter().flatten() {
            added.extend(writer.finish().map_err(io())?);
        }
        Ok(())
    }
}
