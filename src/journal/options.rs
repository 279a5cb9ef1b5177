//! How a journal is kept, why it cannot be opened, and why it writes no more.

use super::{LedgerError, archive, retention, rewrite, segment, settle, statistics, storage};
use crate::ids::Position;
use std::io;
use std::time::Duration;

/// Bytes of entries that may wait to be written; behind that sockets are not read.
pub const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// So many bytes of entries wait at most for whoever appended them to tell the writer.
pub const UNTOLD_BYTES_MAX: usize = 256 * 1024;
/// How long behind a want of space for a segment it is tried again.
pub const RETRY_MS: u64 = 1000;
/// How often counters are checkpointed.
pub const CHECKPOINT_MS: u64 = 500;
/// How often the keeper looks at the free space and brings the indexes up to date.
pub(super) const LOOK_MS: u64 = 500;
/// How much of the newest journal the start gives back for what is rebuilt from it.
pub const REPLAY_BYTES: u64 = 64 * 1024 * 1024;
/// The folder of the archives in the journal's folder.
pub const ARCHIVES_DIR: &str = "archive";
/// Below so much free space nothing is admitted, while checkpoints can still be written.
pub const FREE_BYTES_MIN: u64 = 32 * 1024 * 1024;

/// How a journal is kept.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// The number of this node.
    pub node: u16,
    /// See [`CHECKPOINT_MS`].
    pub checkpoint: Duration,
    /// See [`statistics::FLUSH_MS`].
    pub statistics_flush: Duration,
    /// See [`RETRY_MS`].
    pub retry: Duration,
    /// See [`REPLAY_BYTES`].
    pub replay_bytes: u64,
    /// See [`retention::RETENTION_MS`].
    pub retention: Duration,
    /// See [`storage::STORAGE_MS`].
    pub storage: Duration,
    /// See [`FREE_BYTES_MIN`].
    pub free_bytes_min: u64,
    /// See [`settle::SETTLE_MS`].
    pub settle: Duration,
    /// See [`settle::SETTLE_SHARE`].
    pub settle_share: u32,
    /// See [`rewrite::SWEEP_MS`].
    pub sweep: Duration,
    /// Start without what is damaged in the middle of the journal, see [`segment::give_up`].
    pub give_up_damaged: bool,
}

impl Default for Options {
    fn default() -> Self {
        let segment = segment::Options::default();
        Self {
            segment_bytes: segment.segment_bytes,
            node: segment.node,
            checkpoint: Duration::from_millis(CHECKPOINT_MS),
            statistics_flush: Duration::from_millis(statistics::FLUSH_MS),
            retry: Duration::from_millis(RETRY_MS),
            replay_bytes: REPLAY_BYTES,
            retention: Duration::from_millis(retention::RETENTION_MS),
            storage: Duration::from_millis(storage::STORAGE_MS),
            free_bytes_min: FREE_BYTES_MIN,
            settle: Duration::from_millis(settle::SETTLE_MS),
            settle_share: settle::SETTLE_SHARE,
            sweep: Duration::from_millis(rewrite::SWEEP_MS),
            give_up_damaged: false,
        }
    }
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The segments cannot.
    #[error(transparent)]
    Segments(#[from] segment::OpenError),
    /// The ledger cannot be read.
    #[error("reading the ledger: {0}")]
    Ledger(#[source] LedgerError),
    /// The counters hold more than the journal: entries that were durable are gone.
    #[error(
        "the ledger counts entries up to {watermark}, the journal ends at {end}: journal files are missing"
    )]
    Behind {
        /// What the counters were folded from.
        watermark: Position,
        /// The last entry there is.
        end: Position,
    },
    /// Entries that the counters do not hold yet are gone.
    #[error(
        "the ledger counts entries up to {watermark}, the journal begins at {first}: journal files are missing"
    )]
    Gap {
        /// What the counters were folded from.
        watermark: Position,
        /// The first entry there is.
        first: Position,
    },
    /// The archives cannot be opened.
    #[error("archives: {0}")]
    Archives(#[from] archive::ListError),
    /// The archives hold more than the journal: entries that were durable are gone.
    #[error(
        "the archives hold entries up to {settled}, the journal ends at {end}: journal files are missing"
    )]
    ArchivesAhead {
        /// What is in the archives.
        settled: Position,
        /// The last entry there is.
        end: Position,
    },
    /// Entries are in neither of the two.
    #[error(
        "the archives hold entries up to {settled}, the journal begins at {first}: archives or journal files are missing"
    )]
    ArchivesBehind {
        /// What is in the archives.
        settled: Position,
        /// The first entry there is.
        first: Position,
    },
    /// An entry that this version cannot read.
    #[error("entry {position} has kind {kind}, version {version}: a newer version wrote it")]
    Newer {
        /// Which entry.
        position: Position,
        /// Its kind.
        kind: u8,
        /// Its version.
        version: u8,
    },
    /// Reading entries, or starting a thread, failed.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        error: io::Error,
    },
}

/// The end of writing, for good in this process.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {error}")]
pub struct Failure {
    /// Which step.
    pub what: &'static str,
    /// What the file system says.
    pub error: io::Error,
    /// When, unix us.
    pub at_us: i64,
}
