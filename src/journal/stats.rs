//! Plain numbers about the journal; the metrics room gives them names.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets of a [`Histogram`].
pub const BUCKETS: usize = 24;

/// Counts values by their power of two.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn record(&self, value: u64) {
        let bits = (u64::BITS - value.leading_zeros()) as usize;
        let bucket = &self.buckets[bits.min(BUCKETS - 1)];
        bucket.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// How many values were below 2^index, for each index; the last: how many in all.
    pub fn cumulative(&self) -> [u64; BUCKETS] {
        let mut sum = 0;
        let mut all = [0; BUCKETS];
        for (to, bucket) in all.iter_mut().zip(&self.buckets) {
            sum += bucket.load(Ordering::Relaxed);
            *to = sum;
        }
        all
    }

    /// The sum of the values.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.cumulative()[BUCKETS - 1]
    }
}

/// What the journal counts about itself.
#[derive(Debug, Default)]
pub struct Stats {
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) segments: AtomicU64,
    pub(super) stalls: AtomicU64,
    pub(super) checkpoints: AtomicU64,
    pub(super) checkpoint_errors: AtomicU64,
    pub(super) unknown_accounts: AtomicU64,
    pub(super) read_errors: AtomicU64,
    pub(super) sidecars: AtomicU64,
    pub(super) sidecar_errors: AtomicU64,
    pub(super) segments_gone: AtomicU64,
    pub(super) segments_settled: AtomicU64,
    pub(super) settle_errors: AtomicU64,
    pub(super) archives_written: AtomicU64,
    pub(super) archives_rewritten: AtomicU64,
    pub(super) archives_gone: AtomicU64,
    pub(super) erased: AtomicU64,
    /// Entries of each group commit.
    pub group_entries: Histogram,
    /// Bytes of each group commit.
    pub group_bytes: Histogram,
    /// Microseconds of write and sync of each group commit.
    pub commit_us: Histogram,
    /// Microseconds of each checkpoint.
    pub checkpoint_us: Histogram,
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        impl Stats {
            $($(#[$doc])*
            pub fn $name(&self) -> u64 {
                self.$name.load(Ordering::Relaxed)
            })*
        }
    };
}

numbers! {
    /// Entries made durable since the start.
    entries,
    /// Bytes of them.
    bytes,
    /// Segments begun since the start.
    segments,
    /// How often there was no space for a segment.
    stalls,
    /// Checkpoints stored.
    checkpoints,
    /// Checkpoints that could not be stored; the next one holds what they held.
    checkpoint_errors,
    /// Charges of accounts that the tree does not know.
    unknown_accounts,
    /// Entries that could not be read back.
    read_errors,
    /// Sidecar indexes written.
    sidecars,
    /// Sidecar indexes that could not be written; they are made again at the next start.
    sidecar_errors,
    /// Segments that went because their messages' ttl had passed.
    segments_gone,
    /// Segments whose messages are in archives.
    segments_settled,
    /// How often settling or rewriting broke off; it is tried again.
    settle_errors,
    /// Archives written.
    archives_written,
    /// Archives that others took the place of.
    archives_rewritten,
    /// Archives that went because all in them was past its ttl.
    archives_gone,
    /// Erasures that are done.
    erased,
}

pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
