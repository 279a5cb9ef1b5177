//! What other rooms have counted already, put on the metrics page at the scrape.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::account::{Dimension, Tree};
use crate::ids::{ChannelId, Clock, minute_of};
use crate::journal::Journal;
use crate::metrics::{ACCOUNT_SERIES_MAX, Counted, Metrics, Page, Source, names};

use super::worker::Room;
use super::{Listening, validities};

/// The series of accounts, from the tree's own numbers; of [`ACCOUNT_SERIES_MAX`] accounts at most,
/// those with the lowest ids. An account's numbers contain its branch's, so nothing is missing from
/// the sums of those above.
pub struct AccountSeries {
    tree: Arc<Tree>,
    clock: Arc<dyn Clock>,
}

impl AccountSeries {
    /// The series of the accounts of `tree`.
    pub const fn new(tree: Arc<Tree>, clock: Arc<dyn Clock>) -> Self {
        Self { tree, clock }
    }
}

/// The dimensions that change with traffic; the counts of items are in the API.
const SHOWN: [Dimension; 5] = [
    Dimension::ChannelTraffic,
    Dimension::ChannelMessages,
    Dimension::ChannelConnections,
    Dimension::ChannelStorage,
    Dimension::DeviceStorage,
];

impl Source for AccountSeries {
    fn write(&self, page: &mut Page) {
        let now_us = self.clock.now_us();
        let mut accounts = self.tree.accounts();
        accounts.retain(|account| !account.is_gone());
        let blocked = accounts
            .iter()
            .filter(|account| {
                account
                    .blocked_for(&Dimension::OF_LOGINS, now_us)
                    .is_some_and(|blocked| !blocked.inherited)
            })
            .count();
        page.single(&names::ACCOUNTS_BLOCKED, blocked);
        let unlisted = accounts.len().saturating_sub(ACCOUNT_SERIES_MAX);
        page.single(&names::ACCOUNTS_UNLISTED, unlisted);
        accounts.truncate(ACCOUNT_SERIES_MAX);
        let posted: Vec<_> = accounts
            .iter()
            .map(|account| (account.id(), account.posted()))
            .collect();
        page.begin(&names::ACCOUNT_BYTES);
        for (id, totals) in &posted {
            page.sample(&names::ACCOUNT_BYTES, &[id, &"in"], totals.bytes_in);
            page.sample(&names::ACCOUNT_BYTES, &[id, &"out"], totals.bytes_out);
            page.sample(&names::ACCOUNT_BYTES, &[id, &"usage"], totals.usage_bytes);
        }
        page.begin(&names::ACCOUNT_MESSAGES);
        for (id, totals) in &posted {
            page.sample(&names::ACCOUNT_MESSAGES, &[id], totals.messages);
        }
        page.begin(&names::ACCOUNT_REFUSED_BYTES);
        for (id, totals) in &posted {
            page.sample(&names::ACCOUNT_REFUSED_BYTES, &[id], totals.refused_bytes);
        }
        page.begin(&names::ACCOUNT_ADMITTED);
        for account in &accounts {
            for dimension in SHOWN {
                let used = account.admitted(dimension, minute_of(now_us));
                let labels: [&dyn std::fmt::Display; 2] = [&account.id(), &dimension.name()];
                page.sample(&names::ACCOUNT_ADMITTED, &labels, used);
            }
        }
        page.begin(&names::ACCOUNT_LIMIT);
        for account in &accounts {
            let rules = account.rules();
            for dimension in SHOWN {
                let cap = rules.caps.get(dimension);
                if cap >= 0 {
                    let labels: [&dyn std::fmt::Display; 2] = [&account.id(), &dimension.name()];
                    page.sample(&names::ACCOUNT_LIMIT, &labels, cap);
                }
            }
        }
    }
}

/// The series of the journal.
pub struct JournalSeries {
    journal: Journal,
}

impl JournalSeries {
    /// The series of `journal`.
    pub const fn new(journal: Journal) -> Self {
        Self { journal }
    }
}

impl Source for JournalSeries {
    fn write(&self, page: &mut Page) {
        let stats = self.journal.stats();
        let seconds = counted(&stats.commit_us, &COMMIT_SECONDS, 1e6);
        page.histogram(&names::JOURNAL_COMMIT_SECONDS, &seconds);
        let entries = counted(&stats.group_entries, &COMMIT_ENTRIES, 1.0);
        page.histogram(&names::JOURNAL_COMMIT_ENTRIES, &entries);
        page.single(&names::JOURNAL_COMMIT_BYTES, stats.group_bytes.sum());
        page.single(&names::JOURNAL_DURABLE, self.journal.durable().sequence());
        page.single(&names::JOURNAL_QUEUED_BYTES, self.journal.queue_bytes());
        // an unreadable file system is told by what fails on it, not by a number that is none
        if let Ok(free) = self.journal.free_space() {
            page.single(&names::JOURNAL_FREE_BYTES, free);
        }
        let archives = self.journal.archives().view();
        page.single(&names::JOURNAL_SETTLED, archives.settled);
        page.single(&names::JOURNAL_ARCHIVES, archives.archives.len());
        let bytes = archives.archives.iter().map(|archive| archive.length());
        page.single(&names::JOURNAL_ARCHIVE_BYTES, bytes.sum::<u64>());
        page.single(&names::JOURNAL_SETTLE_ERRORS, stats.settle_errors());
        let stalled = u8::from(self.journal.is_stalled());
        page.single(&names::JOURNAL_STALLED, stalled);
        let failed = u8::from(self.journal.failed().is_some());
        page.single(&names::JOURNAL_FAILED, failed);
    }
}

/// The journal counts by powers of two; some of those are shown. In its own unit: microseconds.
static COMMIT_SECONDS: [f64; 10] = [
    0.000_064, 0.000_256, 0.000_512, 0.001_024, 0.002_048, 0.004_096, 0.016_384, 0.065_536,
    0.262_144, 1.048_576,
];
static COMMIT_ENTRIES: [f64; 8] = [2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

fn counted(histogram: &crate::journal::Histogram, bounds: &'static [f64], units: f64) -> Counted {
    let cumulative = histogram.cumulative();
    let all = histogram.count();
    let mut counts = Vec::with_capacity(bounds.len() + 1);
    let mut below = 0;
    for bound in bounds {
        // "below 2^index" is as good as "at most" for numbers of this size
        let index = (bound * units).log2().round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a logarithm of the table above"
        )]
        let upto = cumulative.get(index as usize).copied().unwrap_or(all);
        counts.push(upto.saturating_sub(below));
        below = upto.max(below);
    }
    counts.push(all.saturating_sub(below));
    Counted {
        bounds,
        counts,
        sum: histogram.sum() as f64 / units,
    }
}

/// Until when the certificates of channels are valid.
pub(super) struct CertificateSeries {
    pub(super) open: Weak<Mutex<BTreeMap<ChannelId, Listening>>>,
    pub(super) metrics: Weak<Metrics>,
}

impl Source for CertificateSeries {
    fn write(&self, page: &mut Page) {
        let (Some(open), Some(metrics)) = (self.open.upgrade(), self.metrics.upgrade()) else {
            return;
        };
        let all = validities(&open.lock().unwrap_or_else(PoisonError::into_inner));
        page.begin(&names::TLS_CERTIFICATE_EXPIRES);
        // of those that share a label the first that ends
        let mut others = None;
        for (id, validity) in all {
            let label = metrics.channel_label(id);
            if label == "other" {
                let least = others.unwrap_or(validity.until_s);
                others = Some(validity.until_s.min(least));
            } else {
                page.sample(&names::TLS_CERTIFICATE_EXPIRES, &[&label], validity.until_s);
            }
        }
        if let Some(until_s) = others {
            page.sample(&names::TLS_CERTIFICATE_EXPIRES, &[&"other"], until_s);
        }
    }
}

/// The gauges of this room.
pub(super) struct RoomSeries(pub(super) Weak<Room>);

impl Source for RoomSeries {
    fn write(&self, page: &mut Page) {
        use std::sync::atomic::Ordering::Relaxed;
        let Some(room) = self.0.upgrade() else { return };
        let deps = &room.deps;
        page.begin(&names::CONNECTIONS);
        let mut others = 0;
        for channel in deps.registry.channels() {
            let label = deps.metrics.channel_label(channel.id);
            if label == "other" {
                others += channel.connections();
            } else {
                page.sample(&names::CONNECTIONS, &[&label], channel.connections());
            }
        }
        if others > 0 {
            page.sample(&names::CONNECTIONS, &[&"other"], others);
        }
        let strangers = room.unidentified.load(Relaxed);
        page.single(&names::CONNECTIONS_UNIDENTIFIED, strangers);
        page.single(&names::CONNECTIONS_PARKED, deps.router.parked_count());
        page.single(&names::PARKED_BYTES, room.parked_bytes.load(Relaxed));
        page.single(&names::COMMANDS_WAITING, deps.router.commands().count());
        page.single(&names::CLOCK_AHEAD, deps.clock.ahead_us() as f64 / 1e6);
    }
}
