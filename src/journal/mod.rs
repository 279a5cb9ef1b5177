//! The durable log of frames and charges: group commit, the watermark, checkpoints, reads.
//!
//! A message comes into being if and only if its frame's charge does: both are one [`entry`].
//! Counters and statistics are a fold of the entries; a checkpoint only makes the fold short. It
//! refuses to decide anything: who pays and whether is settled before an entry is appended.
//!
//! # Order on disk
//!
//! 1. New segment, batch, seal: see [`crate::segment`]. One batch is in flight; while it is synced
//!    the next one fills, and nothing waits for more.
//! 2. Behind the sync of a batch: counters in the account tree (posted numbers), then the
//!    watermark, once for the batch; only then do replies leave.
//! 3. Sidecar index of a sealed segment, on another thread: temporary name, sync, rename, sync of
//!    the folder. It can always be made again from its segment.
//! 4. Checkpoint, on the same other thread: changed counters, blocks and the watermark they stand
//!    for, in one durable transaction of the [`Ledger`]; never above the durable position.
//! 5. Retention, on the same other thread: see [`retention`].
//! 6. Settled days, and archives that are written again, on a third thread: see [`settle`] and
//!    [`rewrite`].
//! 7. Deletions, and erasure for good: see `deleted` and `erase`.
//! 8. At the start: checkpoint, segments, fold of the entries above the checkpoint, then the
//!    threads. Only then can anything be appended.
//!
//! # Failing
//!
//! No space for a new segment is not final: no permits are given, and it is tried again each
//! [`RETRY_MS`]. A failed write or sync is: the watermark says `failed`, nothing is written any
//! more, reads go on.
//!
//! # Bounds
//!
//! | what | bound | when it is full |
//! |---|---|---|
//! | entries waiting to be written | [`QUEUE_BYTES_MAX`] | no permit: the driver does not read its socket |
//! | a group commit | what waits, so the same | |
//! | entries that the writer was not told of | [`UNTOLD_BYTES_MAX`] | it is told |
//! | index of the segment in use | 16 bytes for each message and each frame of [`Options::segment_bytes`] | it becomes the sidecar |
//! | places that a read collects | 1024 of each segment or archive, then the best 1024 | the next page begins behind them |
//! | a day that is settled | see [`settle`] | it becomes an archive, the next begins |
//! | changed counters, unsaved statistics | one for each used account and minute | while the ledger fails they grow with the accounts that are in use |

pub mod audit;
pub mod base;
pub mod deleted;
pub mod entry;
mod erase;
mod fold;
mod index;
mod ledger;
pub mod levels;
mod opening;
mod options;
mod overwrite;
mod page;
mod read;
mod recount;
pub mod retention;
pub mod rewrite;
pub mod settle;
pub mod sizes;
pub mod statement;
pub mod statistics;
mod stats;
pub mod storage;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_archives;
#[cfg(test)]
mod tests_of_entries;
#[cfg(test)]
mod tests_of_erasure;
#[cfg(test)]
mod tests_of_faults;
#[cfg(test)]
mod tests_of_lifetime;
#[cfg(test)]
mod tests_of_reading;
#[cfg(test)]
mod tests_of_settling;
#[cfg(test)]
mod tests_of_upkeep;
pub mod verify;
mod writer;

pub use crate::segment::Batch;
pub use audit::{Audit, AuditError, Difference};
pub use base::Base;
pub use deleted::{DeleteError, Deletion, DeletionKind};
pub use entry::{ConnectionWas, EntryRef, FrameMeta, FrameWriter, Note, PartMeta, What};
pub use index::Held;
pub use ledger::{BlockedUntil, Checkpoint, Ledger, LedgerError, MemoryLedger};
pub use options::{
    ARCHIVES_DIR, CHECKPOINT_MS, FREE_BYTES_MIN, Failure, OpenError, Options, QUEUE_BYTES_MAX,
    REPLAY_BYTES, RETRY_MS, UNTOLD_BYTES_MAX,
};
pub use page::Messages;
pub use read::{DeviceNames, Follow, Range, StoredMessage};
pub use retention::Lifetimes;
pub use statistics::{Period, Row, StatisticsError};
pub use stats::{BUCKETS, Histogram, Stats};
pub use verify::{Finding, Verified};

use crate::account::{Dimension, Totals, Tree};
use crate::archive::{self, Archives};
use crate::ids::{AccountId, Clock, Position, Pulse};
use crate::segment::{self, Catalog, Files, SegmentLog};
use foldhash::{HashMap, HashMapExt as _};
use opening::{give_up, open_archives, restore};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// How far the journal is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watermark {
    /// The last durable entry, posted too.
    pub durable: Position,
    /// Nothing behind it will ever be.
    pub failed: bool,
}

/// Room in the queue for entries. Dropped unused, it is given back.
#[derive(Debug)]
pub struct Permit {
    permit: tokio::sync::OwnedSemaphorePermit,
}

impl Permit {
    /// The bytes it covers.
    pub fn bytes(&self) -> usize {
        self.permit.num_permits()
    }
}

#[derive(Default)]
struct Queue {
    batch: Batch,
    /// Room that the entries in it hold.
    room: usize,
    /// The number of the next entry.
    next: u64,
    /// The writer waits to be told.
    idle: bool,
    /// The writer has been told of what is in it.
    told: bool,
    closing: bool,
}

/// What was folded since the last checkpoint.
struct Unsaved {
    watermark: Position,
    at_us: i64,
    accounts: HashMap<AccountId, Totals>,
    blocked: BTreeMap<(AccountId, u8), i64>,
    statistics: statistics::Unsaved,
    /// The last entry whose rows are in the ledger.
    statistics_saved: Position,
    /// Rows of which nobody knows whether they came to the ledger, and the watermark that it has
    /// if they did: they are in neither of the two until it is asked.
    in_doubt: Option<(Position, statistics::Unsaved)>,
    changed: bool,
}

struct Shared {
    dir: std::path::PathBuf,
    options: Options,
    tree: Arc<Tree>,
    clock: Arc<dyn Clock>,
    files: Arc<dyn Files>,
    catalog: Catalog,
    opened: segment::Opened,
    queue: Mutex<Queue>,
    wake_writer: Condvar,
    room: Arc<Semaphore>,
    stalled: AtomicBool,
    /// There is less free space than is stated: nothing is admitted.
    short_of_space: AtomicBool,
    unstalled: tokio::sync::Notify,
    watermark: watch::Sender<Watermark>,
    /// The writer's sign of life.
    pulse: Pulse,
    /// The writer is gone: what is not durable now never will be.
    ended: AtomicBool,
    failure: OnceLock<Arc<Failure>>,
    unsaved: Mutex<Unsaved>,
    indexes: read::Indexes,
    ledger: Mutex<Box<dyn Ledger>>,
    saved: AtomicU64,
    /// Up to where the statistics in it are durable: what is in doubt is not.
    statistics_durable: AtomicU64,
    /// The number of the last entry in the snapshot of telemetry.
    telemetry: AtomicU64,
    lifetimes: OnceLock<Arc<dyn Lifetimes>>,
    retaining: Mutex<()>,
    storage: Mutex<storage::Counted>,
    sizes: arc_swap::ArcSwap<sizes::Sizes>,
    levels: Mutex<levels::Seen>,
    storage_blocked: Mutex<std::collections::BTreeSet<(AccountId, Dimension)>>,
    keeper: Mutex<writer::KeeperState>,
    wake_keeper: Condvar,
    archives: Archives,
    deletions: deleted::Deletions,
    /// The writer is to begin a new segment.
    rotate: AtomicBool,
    /// A day is over: the writer is to end its segment, though nothing comes.
    day_over: AtomicBool,
    /// The last day of which the writer was told that it has begun.
    day_told: AtomicI32,
    settler: Mutex<settle::SettlerState>,
    wake_settler: Condvar,
    /// When dead archives were looked for last.
    swept: Mutex<Option<std::time::Instant>>,
    stats: Stats,
}

/// The journal; clones are the same one. The last one to go shuts it down.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Option<writer::Threads>>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("durable", &self.durable())
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal in `dir`: restores the posted numbers of `tree` (whose accounts must all
    /// be there, the deleted ones too), and gives the entries of the newest part to `replay`,
    /// oldest first.
    pub fn open(
        dir: &Path,
        options: Options,
        tree: Arc<Tree>,
        mut ledger: Box<dyn Ledger>,
        clock: Arc<dyn Clock>,
        files: Arc<dyn Files>,
        replay: &mut dyn FnMut(Position, EntryRef<'_>),
    ) -> Result<Self, OpenError> {
        let checkpoint = ledger
            .load()
            .map_err(OpenError::Ledger)?
            .unwrap_or_default();
        let given_up = if options.give_up_damaged {
            give_up(dir, options, files.as_ref(), &checkpoint)?
        } else {
            0
        };
        let (log, mut opened) = SegmentLog::open(
            Arc::clone(&files),
            dir,
            segment::Options {
                segment_bytes: options.segment_bytes,
                node: options.node,
            },
        )?;
        opened.given_up = given_up;
        if opened.cut_bytes > 0 {
            tracing::warn!(
                bytes = opened.cut_bytes,
                at = opened.cut_at,
                "cut a torn tail of the journal; nothing of it was acked"
            );
        }
        let archives = open_archives(dir, options, &log, &files)?;
        let deletions =
            deleted::Deletions::load(files.as_ref(), dir).map_err(|error| OpenError::Io {
                what: format!("reading {}", dir.join(deleted::DELETED).display()),
                error,
            })?;
        let mut unsaved = Unsaved {
            watermark: checkpoint.watermark,
            at_us: checkpoint.at_us,
            accounts: HashMap::new(),
            blocked: checkpoint
                .blocked
                .iter()
                .map(|block| ((block.account, block.dimension), block.until_us))
                .collect(),
            statistics: statistics::Unsaved::default(),
            statistics_saved: checkpoint.statistics_watermark,
            in_doubt: None,
            changed: false,
        };
        for (id, totals) in &checkpoint.accounts {
            if let Some(account) = tree.account(*id) {
                account.set_posted(*totals);
            }
        }
        let stats = Stats::default();
        restore(
            &log,
            files.as_ref(),
            options,
            &tree,
            clock.as_ref(),
            &stats,
            &mut unsaved,
            replay,
        )?;
        let durable = Position::new(options.node, log.next() - 1);
        let names = files.list(dir).map_err(|error| OpenError::Io {
            what: format!("reading {}", dir.display()),
            error,
        })?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            indexes: read::Indexes::with_sidecars(&names),
            options,
            tree,
            clock,
            files,
            catalog: log.catalog().clone(),
            opened,
            queue: Mutex::new(Queue {
                next: log.next(),
                ..Queue::default()
            }),
            wake_writer: Condvar::new(),
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            stalled: AtomicBool::new(false),
            short_of_space: AtomicBool::new(false),
            unstalled: tokio::sync::Notify::new(),
            watermark: watch::Sender::new(Watermark {
                durable,
                failed: false,
            }),
            pulse: Pulse::default(),
            ended: AtomicBool::new(false),
            failure: OnceLock::new(),
            saved: AtomicU64::new(checkpoint.watermark.raw()),
            statistics_durable: AtomicU64::new(checkpoint.statistics_watermark.raw()),
            telemetry: AtomicU64::new(0),
            lifetimes: OnceLock::new(),
            retaining: Mutex::new(()),
            storage: Mutex::default(),
            sizes: arc_swap::ArcSwap::default(),
            levels: Mutex::default(),
            storage_blocked: Mutex::default(),
            unsaved: Mutex::new(unsaved),
            ledger: Mutex::new(ledger),
            keeper: Mutex::new(writer::KeeperState::default()),
            wake_keeper: Condvar::new(),
            archives,
            deletions,
            rotate: AtomicBool::new(false),
            day_over: AtomicBool::new(false),
            day_told: AtomicI32::new(i32::MIN),
            settler: Mutex::default(),
            wake_settler: Condvar::new(),
            swept: Mutex::new(None),
            stats,
        });
        let threads = writer::start(&shared, log).map_err(|error| OpenError::Io {
            what: "starting the journal's threads".to_owned(),
            error,
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                threads: Mutex::new(Some(threads)),
            }),
        })
    }

    /// Room for `bytes` of entries, if there is some now. More than the whole queue is taken as
    /// the whole queue.
    pub fn try_permit(&self, bytes: usize) -> Option<Permit> {
        let shared = &self.inner.shared;
        if shared.is_stalled() {
            return None;
        }
        let permit = Arc::clone(&shared.room)
            .try_acquire_many_owned(room_of(bytes))
            .ok()?;
        Some(Permit { permit })
    }

    /// Room for `bytes` of entries, as soon as there is. `None`: there will not be any, the
    /// journal failed or was shut down.
    pub async fn permit(&self, bytes: usize) -> Option<Permit> {
        let shared = &self.inner.shared;
        loop {
            let unstalled = shared.unstalled.notified();
            if !shared.is_stalled() || shared.room.is_closed() {
                break;
            }
            unstalled.await;
        }
        let permit = Arc::clone(&shared.room)
            .acquire_many_owned(room_of(bytes))
            .await
            .ok()?;
        Some(Permit { permit })
    }

    /// Takes the entries of `batch`, which is empty afterwards, and gives the position of the last
    /// one: they are durable when the watermark has reached it. Never waits, never fails; behind a
    /// failure the watermark never gets there.
    pub fn append(&self, permit: Permit, batch: &mut Batch) -> Position {
        self.inner.shared.take(permit, batch, true)
    }

    /// The same for who has more at hand: the writer is not told of it. Whoever calls this calls
    /// [`Journal::tell`] soon, in any case before it sleeps.
    pub fn append_untold(&self, permit: Permit, batch: &mut Batch) -> Position {
        self.inner.shared.take(permit, batch, false)
    }

    /// Tells the writer of what it was not told of.
    pub fn tell(&self) {
        let shared = &self.inner.shared;
        let mut queue = lock(&shared.queue);
        queue.told |= !queue.batch.is_empty();
        let wake = queue.told && std::mem::take(&mut queue.idle);
        drop(queue);
        if wake {
            shared.wake_writer.notify_one();
        }
    }

    /// Appends the entries of `batch` and waits until they are durable and posted: the position of
    /// the last one. `None`: the journal failed or was shut down, and they may be there or not.
    pub async fn commit(&self, batch: &mut Batch) -> Option<Position> {
        let permit = self.permit(batch.len()).await?;
        let last = self.append(permit, batch);
        self.reached(last).await.then_some(last)
    }

    /// Waits until the entry at `position` is durable and posted; `false`: it will never be.
    pub async fn reached(&self, position: Position) -> bool {
        let mut watermark = self.subscribe();
        let ended = &self.inner.shared.ended;
        watermark
            .wait_for(|now| now.durable >= position || now.failed || ended.load(Ordering::Acquire))
            .await
            .is_ok_and(|now| now.durable >= position)
    }

    /// The last entry that was appended, durable or not.
    pub fn appended(&self) -> Position {
        let shared = &self.inner.shared;
        Position::new(shared.options.node, lock(&shared.queue).next - 1)
    }

    /// The last durable entry.
    pub fn durable(&self) -> Position {
        self.inner.shared.watermark.borrow().durable
    }

    /// Tells of every change of the watermark, once for each group commit.
    pub fn subscribe(&self) -> watch::Receiver<Watermark> {
        self.inner.shared.watermark.subscribe()
    }

    /// Why nothing is written any more.
    pub fn failed(&self) -> Option<Arc<Failure>> {
        self.inner.shared.failure.get().cloned()
    }

    /// Is there no space for the next segment, or less free than is stated, so that no permits
    /// are given?
    pub fn is_stalled(&self) -> bool {
        self.inner.shared.is_stalled()
    }

    /// How long the writer has been at the batch that it writes now: a disk that does not answer
    /// does not fail either.
    pub fn writing_for(&self) -> Duration {
        self.inner.shared.pulse.busy_for()
    }

    /// Segments may go from now on, when the lifetimes of their messages have passed. Said once.
    pub fn keep_for(&self, lifetimes: Arc<dyn Lifetimes>) {
        if self.inner.shared.lifetimes.set(lifetimes).is_err() {
            tracing::debug!("how long messages are kept was said before");
        }
    }

    /// Telemetry is kept elsewhere up to this entry: segments up to there are not needed for it.
    pub fn telemetry_kept(&self, position: Position) {
        let telemetry = &self.inner.shared.telemetry;
        telemetry.fetch_max(position.sequence(), Ordering::AcqRel);
    }

    /// Storage has changed by more than what comes and goes: it is counted without waiting for its
    /// time.
    pub fn count_soon(&self) {
        self.inner.shared.count_soon();
    }

    /// Calls `f` while no segment goes: what stands in the folder meanwhile stays there.
    pub fn without_retention<T>(&self, f: impl FnOnce() -> T) -> T {
        let _alone = lock(&self.inner.shared.retaining);
        f()
    }

    /// Calls `f` while no checkpoint is stored. Not for long: what is to be stored grows.
    pub fn without_checkpoints<T>(&self, f: impl FnOnce() -> T) -> T {
        let _ledger = lock(&self.inner.shared.ledger);
        f()
    }

    /// The archives of settled days.
    pub fn archives(&self) -> &Archives {
        &self.inner.shared.archives
    }

    /// The folder it is in.
    pub fn dir(&self) -> &Path {
        &self.inner.shared.dir
    }

    /// What opening cut.
    pub fn opened(&self) -> segment::Opened {
        self.inner.shared.opened
    }

    /// Its segments.
    pub fn catalog(&self) -> &Catalog {
        &self.inner.shared.catalog
    }

    /// The file system it lies on.
    pub fn files(&self) -> &Arc<dyn Files> {
        &self.inner.shared.files
    }

    /// Numbers about it.
    pub fn stats(&self) -> &Stats {
        &self.inner.shared.stats
    }

    /// Bytes that may still be allocated where it lies.
    pub fn free_space(&self) -> io::Result<u64> {
        let shared = &self.inner.shared;
        shared.files.free_space(&shared.dir)
    }

    /// Bytes of entries that wait to be written.
    pub fn queue_bytes(&self) -> usize {
        QUEUE_BYTES_MAX.saturating_sub(self.inner.shared.room.available_permits())
    }

    /// The last entry in the ledger's counters.
    pub fn checkpointed(&self) -> Position {
        Position::from_raw(self.inner.shared.saved.load(Ordering::Acquire))
    }

    /// Stores a checkpoint of everything posted now, statistics too; waits for it. Control does it
    /// before it forgets what entries may name.
    pub fn checkpoint(&self) -> Result<Position, LedgerError> {
        self.inner.shared.checkpoint(true)
    }

    /// Totals of an account and its branch by `period`, those rows that begin in `from_s..to_s`,
    /// oldest first; as exact as the posted numbers.
    pub fn statistics(
        &self,
        account: AccountId,
        period: Period,
        from_s: i64,
        to_s: i64,
    ) -> Result<Vec<(i64, Totals)>, StatisticsError> {
        let shared = &self.inner.shared;
        // the ledger first, as the checkpoint does: rows are in one of the two
        let mut ledger = lock(&shared.ledger);
        shared.end_doubt(ledger.as_mut()).map_err(StatisticsError)?;
        let rows = ledger
            .statistics(account, period, from_s, to_s)
            .map_err(StatisticsError)?;
        let unsaved = lock(&shared.unsaved);
        Ok(unsaved
            .statistics
            .add_to(account, period, from_s, to_s, rows))
    }

    /// What an account and its branch had by `period`, of those rows that begin in `from_s..to_s`
    /// and say something new, oldest first; the first may have begun before and holds at `from_s`.
    pub fn levels(
        &self,
        account: AccountId,
        period: Period,
        from_s: i64,
        to_s: i64,
    ) -> Result<Vec<(i64, levels::Levels)>, StatisticsError> {
        let mut ledger = lock(&self.inner.shared.ledger);
        let mut rows = ledger
            .levels(account, period, levels::frame_s(period, from_s), to_s)
            .map_err(StatisticsError)?;
        let before = rows.iter().rposition(|(start_s, _)| *start_s <= from_s);
        rows.drain(..before.unwrap_or(0));
        Ok(rows)
    }

    /// Makes everything durable that was appended, and a last checkpoint; no permits are given any
    /// more. Blocks.
    pub fn shutdown(&self) {
        self.inner.shutdown();
    }
}

impl Shared {
    fn take(&self, permit: Permit, batch: &mut Batch, tell: bool) -> Position {
        let room = permit.bytes();
        let mut queue = lock(&self.queue);
        queue.next += u64::from(batch.count());
        let last = queue.next - 1;
        if !batch.is_empty() {
            permit.permit.forget();
            queue.room += room;
            queue.batch.take_from(batch);
            queue.told |= tell || queue.batch.len() >= UNTOLD_BYTES_MAX;
        }
        let wake = queue.told && std::mem::take(&mut queue.idle);
        drop(queue);
        if wake {
            self.wake_writer.notify_one();
        }
        Position::new(self.options.node, last)
    }

    fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire) || self.short_of_space.load(Ordering::Acquire)
    }
}

impl Inner {
    fn shutdown(&self) {
        self.shared.room.close();
        self.shared.unstalled.notify_waiters();
        lock(&self.shared.queue).closing = true;
        self.shared.wake_writer.notify_one();
        let threads = lock(&self.threads).take();
        if let Some(threads) = threads {
            lock(&self.shared.settler).closing = true;
            self.shared.wake_settler.notify_one();
            // a thread that panicked has said so; there is nothing left to wait for
            drop(threads.settler.join());
            drop(threads.writer.join());
            lock(&self.shared.keeper).closing = true;
            self.shared.wake_keeper.notify_one();
            drop(threads.keeper.join());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn note_block(unsaved: &mut Unsaved, entry: &EntryRef<'_>) {
    if let EntryRef::Blocked {
        account,
        dimension,
        until_us,
        ..
    } = entry
    {
        if *until_us == 0 {
            unsaved.blocked.remove(&(*account, *dimension));
        } else {
            unsaved.blocked.insert((*account, *dimension), *until_us);
        }
    }
}

fn room_of(bytes: usize) -> u32 {
    u32::try_from(bytes.min(QUEUE_BYTES_MAX)).expect("the queue is far smaller than 4 GiB")
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
