//! How many bytes of messages are kept for whom: the levels `device_storage` and
//! `channel_storage` of the accounts, counted from the directories of segments and archives.
//!
//! A device's bytes in an archive, or in a segment that is not settled, count for the account that
//! owns it today, for as long as the newest message of the device there is within today's ttl; a
//! channel's bytes in a segment count for the channel's owner in the same way, unless its buffer was
//! cleared behind them. So a ttl that is
//! lowered, a move, a deletion hold with the next count. It is a count and not a charge:
//! it comes every [`STORAGE_MS`], what arrives between two is seen by the next, and an account
//! that is over its cap then is blocked (code 4) until a count finds it under. Nothing is deleted
//! for it. A device that may have so many bytes only (`messages_rotate`) loses its oldest then: whole
//! days of archives, or what a segment has of it, until the rest fits.

use super::deleted::{Deletion, DeletionKind};
use super::index::Held;
use super::retention::{CHANNEL_TTL_S_MAX, Lifetimes};
use super::sizes::Sizes;
use super::{Shared, index, lock};
use crate::account::Dimension;
use crate::ids::{AccountId, ChannelId, DeviceId};
use crate::segment::Segment;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// How often storage is counted: it reads 48 bytes for each device of each segment, and a row for
/// each device of each archive.
pub const STORAGE_MS: u64 = 300_000;
/// A block outlasts so many counts, so that it never ends before the next one is done.
const COUNTS_BLOCKED: i64 = 3;

/// Where messages of devices are: last entry, first entry, bytes.
pub(super) type Units = BTreeMap<DeviceId, Vec<(u64, u64, u64)>>;

/// What each account was counted to have, as it stands in the tree.
pub(super) type Counted = BTreeMap<(AccountId, Dimension), u64>;

/// What one count found.
pub(super) struct Count {
    pub(super) accounts: Counted,
    units: Units,
    sizes: Sizes,
}

impl Shared {
    /// Counts storage and brings the levels up to date; blocks and frees what they say. The keeper
    /// calls it.
    pub(super) fn count_storage(&self) -> io::Result<()> {
        let Some(lifetimes) = self.lifetimes.get() else {
            return Ok(());
        };
        let now_us = self.clock.now_us();
        let Some(mut counted) = self.count_once(lifetimes.as_ref(), now_us)? else {
            return Ok(());
        };
        if self.rotate_devices(counted.units, lifetimes.as_ref(), now_us)? {
            match self.count_once(lifetimes.as_ref(), now_us)? {
                Some(again) => counted = again,
                None => return Ok(()),
            }
        } else {
            counted.units = Units::new();
        }
        self.sizes.store(Arc::new(counted.sizes));
        self.bring_up(counted.accounts);
        self.block_storage(now_us);
        Ok(())
    }

    /// What there is of each account, device and channel, and where it is of the devices that may
    /// have so much only. `None`: an archive was replaced meanwhile, the next count has what replaced it.
    pub(super) fn count_once(
        &self,
        lifetimes: &dyn Lifetimes,
        now_us: i64,
    ) -> io::Result<Option<Count>> {
        let mut now: Counted = BTreeMap::new();
        let mut units = Units::new();
        let mut sizes = Sizes::default();
        // the segments first: what goes from them meanwhile is in the archives by then
        let segments = self.catalog.segments();
        let view = self.archives.view();
        let hidden = self.deletions.hidden();
        for archive in &view.archives {
            let counted = self.archives.rows(archive, &mut |row| {
                if let Some((account, ttl_s)) = lifetimes.device(row.device)
                    && !hidden.covers(row)
                    && row
                        .totals
                        .at_us
                        .1
                        .saturating_add(i64::from(ttl_s) * 1_000_000)
                        > now_us
                {
                    let to = now.entry((account, Dimension::DeviceStorage));
                    *to.or_default() += row.totals.bytes;
                    let held = Held {
                        messages: row.totals.messages,
                        bytes: row.totals.bytes,
                    };
                    *sizes.devices.entry(row.device.0).or_default() += held;
                    if lifetimes.rotate(row.device) > 0 {
                        let (first, last) = row.totals.sequence;
                        let unit = (last, first, row.totals.bytes);
                        units.entry(row.device).or_default().push(unit);
                    }
                }
            });
            match counted {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                counted => counted?,
            }
        }
        for segment in segments.iter() {
            let directory = match self.directory(segment) {
                Ok(directory) => directory,
                // it went by its age meanwhile
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // what is still written to is looked up when it is asked for
            let sealed = segment.is_sealed() && sizes.fresh == 0;
            if !sealed && sizes.fresh == 0 {
                sizes.fresh = segment.first();
            }
            let newest_us = directory.newest_us.unwrap_or(i64::MIN);
            let kept = |ttl_s: u32| newest_us.saturating_add(i64::from(ttl_s) * 1_000_000) > now_us;
            for (id, held) in &directory.devices {
                if segment.first() > view.settled
                    && !hidden.covers_up_to(DeviceId(*id), segment.next() - 1)
                    && let Some((account, ttl_s)) = lifetimes.device(DeviceId(*id))
                    && kept(ttl_s)
                {
                    let to = now.entry((account, Dimension::DeviceStorage));
                    *to.or_default() += held.bytes;
                    if sealed {
                        *sizes.devices.entry(*id).or_default() += *held;
                    }
                    if lifetimes.rotate(DeviceId(*id)) > 0 {
                        let unit = (segment.next() - 1, segment.first(), held.bytes);
                        units.entry(DeviceId(*id)).or_default().push(unit);
                    }
                }
            }
            for (id, held) in &directory.channels {
                if let Some((account, ttl_s)) = lifetimes.channel(ChannelId(*id))
                    && lifetimes.purged_us(ChannelId(*id)) < newest_us
                    && kept(ttl_s.min(CHANNEL_TTL_S_MAX))
                {
                    let to = now.entry((account, Dimension::ChannelStorage));
                    *to.or_default() += held.bytes;
                    if sealed {
                        *sizes.channels.entry(*id).or_default() += *held;
                    }
                }
            }
        }
        if sizes.fresh == 0 {
            sizes.fresh = segments.last().map_or(0, |last| last.next());
        }
        Ok(Some(Count {
            accounts: now,
            units,
            sizes,
        }))
    }

    /// Deletes the oldest of the devices that have more than they may; were there any?
    fn rotate_devices(
        &self,
        units: Units,
        lifetimes: &dyn Lifetimes,
        now_us: i64,
    ) -> io::Result<bool> {
        let mut cuts = Vec::new();
        for (device, mut units) in units {
            units.sort_unstable_by(|a, b| b.cmp(a));
            let most = lifetimes.rotate(device);
            let mut sum = 0;
            // the newest stays, however large
            let fits = units.iter().enumerate().take_while(|(nth, (_, _, bytes))| {
                sum += bytes;
                *nth == 0 || sum <= most
            });
            let kept = fits.count();
            let first = units.iter().take(kept).map(|(_, first, _)| *first).min();
            if kept < units.len()
                && let Some(first) = first
            {
                cuts.push(Deletion {
                    device,
                    up_to: first - 1,
                    from_ms: i64::MIN,
                    to_ms: i64::MAX,
                    at_us: now_us,
                    kind: DeletionKind::Rotated,
                    telemetry_forgotten: false,
                });
            }
        }
        let any = !cuts.is_empty();
        if any {
            self.delete_all(&cuts).map_err(io::Error::other)?;
        }
        Ok(any)
    }

    /// Who has messages in a segment, from its sidecar or from memory.
    pub(super) fn directory(&self, segment: &Segment) -> io::Result<index::Directory> {
        if lock(&self.indexes.state)
            .sidecars
            .contains(&segment.first())
        {
            return index::Sidecar::open(segment, self.files.as_ref())?.directory();
        }
        let memory = self.indexes.memory(segment);
        let mut memory = lock(&memory);
        memory.catch_up(segment, self.files.as_ref())?;
        Ok(memory.directory())
    }

    /// Makes the levels of the tree what was counted.
    pub(super) fn bring_up(&self, now: Counted) {
        let mut counted = lock(&self.storage);
        let keys: std::collections::BTreeSet<_> =
            counted.keys().chain(now.keys()).copied().collect();
        for key in keys {
            let (id, dimension) = key;
            let Some(account) = self.tree.account(id) else {
                continue;
            };
            let before = counted.get(&key).copied().unwrap_or(0);
            let after = now.get(&key).copied().unwrap_or(0);
            if after > before {
                account.occupy(dimension, after - before).keep();
            } else if after < before {
                account.release(dimension, before - after);
            }
        }
        *counted = now;
    }

    /// Blocks the accounts that are over a cap of theirs, frees those that are not any more.
    fn block_storage(&self, now_us: i64) {
        let interval_us = i64::try_from(self.options.storage.as_micros()).unwrap_or(i64::MAX);
        let until_us = now_us.saturating_add(interval_us.saturating_mul(COUNTS_BLOCKED));
        let mut blocked = lock(&self.storage_blocked);
        for account in self.tree.accounts() {
            for dimension in [Dimension::DeviceStorage, Dimension::ChannelStorage] {
                let key = (account.id(), dimension);
                let over = account.reading(dimension, 0).over();
                if over > 0 {
                    account.block(dimension, until_us);
                    if blocked.insert(key) {
                        tracing::warn!(account = %key.0, %dimension, over, "more is stored than may be");
                    }
                } else if blocked.remove(&key) {
                    account.block(dimension, 0);
                }
            }
        }
    }
}
