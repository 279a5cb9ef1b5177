//! Segments go when nobody needs them any more, and the audit keeps what they counted.
//!
//! A segment is the buffer of its channels: it stays until the longest `messages_ttl` of any of
//! them (at most 31 days) has passed since its newest message, as those are *today*: so a ttl that
//! is lowered gives space back, one that is raised keeps what is still there. What devices own is in
//! archives by then, and goes with those (see [`super::rewrite`]).
//!
//! # Order on disk
//!
//! Of the oldest segment, and only below the watermarks of the ledger (counters and statistics),
//! of the telemetry's snapshot and of the archives:
//!
//! 1. its charges are added to the base of the audit, a checked file, durable;
//! 2. unlink of the sidecar, unlink of the segment, sync of the folder.
//!
//! A crash behind 1 leaves a segment that the base has already: the recount skips it, and it goes
//! the next time.

use super::audit::{self, AuditError};
use super::base::{BASE, Base};
use super::index::Held;
use super::{Shared, index, lock, stats};
use crate::ids::{AccountId, ChannelId, DeviceId};
use crate::segment::Segment;
use crate::segment::files::read_whole;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest that a channel's buffer keeps messages, seconds.
pub const CHANNEL_TTL_S_MAX: u32 = 31 * 86_400;
/// How often it is looked whether something may go.
pub const RETENTION_MS: u64 = 60_000;

/// How long messages are kept and whose they are, as it is configured now.
pub trait Lifetimes: Send + Sync {
    /// The owner of a channel and its ttl in seconds; `None`: there is no such channel any more.
    fn channel(&self, channel: ChannelId) -> Option<(AccountId, u32)>;
    /// The owner of a device and its ttl in seconds; `None`: there is no such device any more.
    fn device(&self, device: DeviceId) -> Option<(AccountId, u32)>;
    /// Up to and with which server time (us) a channel's buffer was cleared; 0: never.
    fn purged_us(&self, _: ChannelId) -> i64 {
        0
    }
    /// The most bytes of messages that a device may have; 0: as many as there are.
    fn rotate(&self, _: DeviceId) -> u64 {
        0
    }
    /// A device is erased in the journal: erases what others keep of it up to that time (us), or says
    /// why it cannot. It may be asked again for the same.
    fn erase_elsewhere(&self, _: DeviceId, _: i64) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// Lets the oldest segments go that nobody needs; says how many. The keeper calls it.
    pub(super) fn retain(&self) -> Result<usize, AuditError> {
        let Some(lifetimes) = self.lifetimes.get() else {
            return Ok(0);
        };
        let below = self.retained_below();
        // an audit reads the base and then the segments: nothing may go in between
        let _alone = lock(&self.retaining);
        let mut gone = 0;
        loop {
            let segments = self.catalog.segments();
            let newer: u64 = segments.iter().skip(1).map(|segment| segment.end()).sum();
            let Some(oldest) = segments.first() else {
                return Ok(gone);
            };
            if segments.len() < 2
                || !oldest.is_sealed()
                || oldest.next() > below.saturating_add(1)
                // the windows of duplicates are made from the newest part
                || newer < self.options.replay_bytes
                || !self.is_past(oldest, lifetimes.as_ref())
            {
                return Ok(gone);
            }
            self.let_go(oldest)?;
            stats::add(&self.stats.segments_gone, 1);
            gone += 1;
        }
    }

    /// The last entry that ledger, statistics, the snapshot of telemetry and the archives hold, all
    /// of them.
    fn retained_below(&self) -> u64 {
        let durable =
            |mark: &AtomicU64| super::Position::from_raw(mark.load(Ordering::Acquire)).sequence();
        let counters = durable(&self.saved);
        let statistics = durable(&self.statistics_durable);
        let telemetry = self.telemetry.load(Ordering::Acquire);
        let settled = self.archives.view().settled;
        counters.min(statistics).min(telemetry).min(settled)
    }

    /// Has the longest ttl passed since its newest message?
    fn is_past(&self, segment: &Segment, lifetimes: &dyn Lifetimes) -> bool {
        let directory = match index::Sidecar::open(segment, self.files.as_ref())
            .and_then(|sidecar| sidecar.directory())
        {
            Ok(directory) => directory,
            Err(error) => {
                // the keeper makes it again; until then the segment stays
                tracing::debug!(%error, path = %segment.path().display(), "no sidecar to judge by");
                lock(&self.indexes.state).sidecars.remove(&segment.first());
                return false;
            }
        };
        let newest_us = directory.newest_us.unwrap_or(i64::MIN);
        let channel = |(id, _): &(u64, Held)| {
            let kept = lifetimes.channel(ChannelId(*id));
            let kept = kept.filter(|_| lifetimes.purged_us(ChannelId(*id)) < newest_us);
            kept.map_or(0, |(_, ttl_s)| ttl_s.min(CHANNEL_TTL_S_MAX))
        };
        let ttl_s = directory.channels.iter().map(channel).max();
        let kept_us = i64::from(ttl_s.unwrap_or(0)) * 1_000_000;
        newest_us.saturating_add(kept_us) <= self.clock.now_us()
    }

    /// The two steps of the order on disk.
    fn let_go(&self, segment: &Segment) -> Result<(), AuditError> {
        let io = |error| AuditError::Io {
            path: segment.path().to_owned(),
            error,
        };
        let files = self.files.as_ref();
        let mut base = Base::load(files, &self.dir).map_err(|error| AuditError::Io {
            path: self.dir.join(BASE),
            error,
        })?;
        if base.last + 1 < segment.next() {
            let bytes = read_whole(files, segment.path()).map_err(io)?;
            let mut audit = audit::Audit::from_base(base, self.options.node);
            let last = super::Position::new(self.options.node, segment.next() - 1);
            audit::count_segment(segment.path(), &bytes, &self.parents(), last, &mut audit)?;
            base = Base {
                last: audit.position.sequence(),
                accounts: audit.accounts,
            };
            base.store(files, &self.dir).map_err(io)?;
        }
        match files.unlink(&index::path_of(segment)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        lock(&self.indexes.state).sidecars.remove(&segment.first());
        self.catalog.remove_oldest(files, &self.dir).map_err(io)?;
        tracing::info!(path = %segment.path().display(), "a segment is past its messages' ttl");
        Ok(())
    }
}
