//! sled, with its traps known. No other file names it.
//!
//! - `flush()` is `sync_file_range` on Linux: it flushes neither the file's size nor the disk's
//!   cache. So [`Database::durable`] is `flush()` and then an own `fdatasync` of the file `db`.
//! - sled never syncs its `conf` file, nor the folders: a power cut in the first seconds of a
//!   database's life leaves one that cannot be opened again. [`Database::open`] syncs them.
//! - Several keys are written together by a transaction; `apply_batch` is not atomic to readers
//!   and slow for many. The closure of a transaction may run again: it has no side effects.
//! - `Mode::LowSpace` and a flush every 500 ms, since the flusher also gives back old segments.
//! - It writes a snapshot as `snap.N.generating` and renames it, but takes whatever begins with
//!   `snap.` for one when it opens: one that a crash has left half written would refuse every start
//!   from then on. [`Database::open`] removes it: what it was made from is still there.
//! - It goes on behind a `fdatasync` that failed, whose pages the kernel takes for written: what comes
//!   behind them in its log would be lost with them. So the first failure is final in this process, as
//!   in the journal, and leaves a mark ([`DOUBT`]) by which the next [`Database::open`] copies `db`
//!   from the page cache into a new file. A power cut that takes the mark has taken the page cache, too.
//! - A second process on the same folder is refused by sled's lock.
//! - Every call blocks.

use super::Kind;
use sled::transaction::{ConflictableTransactionError, TransactionError, TransactionalTree};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// sled's page cache; real memory is about twice this.
const CACHE_BYTES: u64 = 64 << 20;
/// How often sled writes out what nobody asked it to, which also runs its garbage collection.
const FLUSH_EVERY_MS: u64 = 500;
/// How the name of a snapshot ends that is being written.
const UNFINISHED: &str = "generating";
/// A file of this name says that a sync has failed: what is read may not be what is on the disk.
const DOUBT: &str = "unsynced";
/// The copy of `db` that is made then.
const ANEW: &str = "db.anew";
/// How long a lock is waited for: what had it may be about to go (a killed process that the disk still
/// keeps, a child between fork and exec, sled's own threads behind a close).
const LOCK_WAIT: Duration = Duration::from_millis(500);

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refuses.
    #[error("{path}: {error}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What it says.
        #[source]
        error: io::Error,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process: one gateway to a data directory")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// What is on disk is not what was written.
    #[error(
        "{path} is damaged ({detail}). Stop here: move that folder aside, put the last backup of \
         it in its place, and start again; the journal is folded on from the backup's watermark. \
         Without a backup of ledger.sled, moving it aside is enough while every journal segment \
         is still there"
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// Where, as far as it is known.
        detail: String,
    },
    /// A record cannot be read.
    #[error("{kind:?} {id} at rest cannot be read: {problem}")]
    Record {
        /// Which kind.
        kind: Kind,
        /// Its number.
        id: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A record was written by a newer build.
    #[error(
        "{kind:?} {id} at rest has version {newer}: it was written by a newer build, start that one"
    )]
    Newer {
        /// Which kind.
        kind: Kind,
        /// Its number.
        id: u64,
        /// Its version byte.
        newer: u8,
    },
    /// A checkpoint cannot be read.
    #[error("the checkpoint at rest cannot be read: {0}")]
    Checkpoint(String),
    /// A record is there that must not be, or is missing.
    #[error("{kind:?} {id} was changed meanwhile")]
    Changed {
        /// Which kind.
        kind: Kind,
        /// Its number.
        id: u64,
    },
    /// More records than one commit takes.
    #[error("{records} records are more than one commit takes")]
    TooMany {
        /// How many.
        records: usize,
    },
}

/// Ends a transaction.
pub(super) struct Abort(ConflictableTransactionError<StoreError>);

impl Abort {
    /// For good, with this error.
    pub(super) fn give_up(error: StoreError) -> Self {
        Self(ConflictableTransactionError::Abort(error))
    }
}

impl From<sled::transaction::UnabortableTransactionError> for Abort {
    fn from(error: sled::transaction::UnabortableTransactionError) -> Self {
        Self(error.into())
    }
}

/// One database of one tree.
pub(super) struct Database {
    path: PathBuf,
    db: sled::Db,
    /// The file that [`Database::durable`] syncs, kept open.
    data: File,
    /// What the first sync that failed has said.
    broken: OnceLock<String>,
}

impl Database {
    /// Opens the database in the folder `path`, or makes one. What makes it openable again is on
    /// disk when this returns.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error| refine(path, error);
        let config = sled::Config::new()
            .path(path)
            .mode(sled::Mode::LowSpace)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(FLUSH_EVERY_MS));
        let db = patiently(|| {
            put_right(path).map_err(|error| StoreError::Io {
                path: path.to_owned(),
                error,
            })?;
            config.open().map_err(failed)
        })?;
        db.flush().map_err(failed)?;
        for (name, folder) in [("conf", false), ("db", false), ("blobs", true), ("", true)] {
            sync(&path.join(name), folder)?;
        }
        if let Some(parent) = path.parent() {
            sync(parent, true)?;
        }
        let file = path.join("db");
        let data = File::open(&file).map_err(|error| StoreError::Io { path: file, error })?;
        Ok(Self {
            path: path.to_owned(),
            db,
            data,
            broken: OnceLock::new(),
        })
    }

    /// Everything written before is on disk when this returns. Behind a failure it never is again.
    pub(super) fn durable(&self) -> Result<(), StoreError> {
        self.whole()?;
        self.db.flush().map_err(|error| refine(&self.path, error))?;
        self.synced(self.data.sync_data())
    }

    /// Takes down a sync that failed.
    fn synced(&self, synced: io::Result<()>) -> Result<(), StoreError> {
        let Err(error) = synced else {
            return Ok(());
        };
        // whether it comes to the disk does not matter: it is for who still sees this page cache
        let mark = self.path.join(DOUBT);
        if let Err(error) = File::create(&mark) {
            tracing::error!(%error, path = %mark.display(), "the next start does not see that a sync failed");
        }
        drop(self.broken.set(error.to_string()));
        Err(StoreError::Io {
            path: self.path.join("db"),
            error,
        })
    }

    /// Has no sync failed?
    fn whole(&self) -> Result<(), StoreError> {
        let Some(why) = self.broken.get() else {
            return Ok(());
        };
        Err(StoreError::Io {
            path: self.path.join("db"),
            error: io::Error::other(format!("nothing is written behind a failed sync: {why}")),
        })
    }

    pub(super) fn read(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        self.db.get(key).map_err(|error| refine(&self.path, error))
    }

    /// All rows whose key begins with `prefix`, in the order of the keys.
    pub(super) fn scan(
        &self,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), StoreError>> + use<> {
        let path = self.path.clone();
        self.db
            .scan_prefix(prefix)
            .map(move |row| row.map_err(|error| refine(&path, error)))
    }

    /// All rows from the key `from` up to and without `to`, in the order of the keys.
    pub(super) fn range(
        &self,
        from: Vec<u8>,
        to: Vec<u8>,
    ) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), StoreError>> + use<> {
        let path = self.path.clone();
        self.db
            .range(from..to)
            .map(move |row| row.map_err(|error| refine(&path, error)))
    }

    /// Takes away one row, by itself and not yet on disk.
    pub(super) fn forget(&self, key: &[u8]) -> Result<(), StoreError> {
        self.whole()?;
        let gone = self.db.remove(key);
        gone.map(drop).map_err(|error| refine(&self.path, error))
    }

    /// All that `writes` writes, or nothing. It may be called again.
    pub(super) fn transaction(
        &self,
        writes: impl Fn(&TransactionalTree) -> Result<(), Abort>,
    ) -> Result<(), StoreError> {
        self.whole()?;
        self.db
            .transaction(|tree| writes(tree).map_err(|abort| abort.0))
            .map_err(|error| match error {
                TransactionError::Abort(error) => error,
                TransactionError::Storage(error) => refine(&self.path, error),
            })
    }

    pub(super) fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        self.db
            .size_on_disk()
            .map_err(|error| refine(&self.path, error))
    }
}

/// Opens, and waits [`LOCK_WAIT`] for who has it at present.
pub(super) fn patiently<T>(
    mut open: impl FnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let end = Instant::now() + LOCK_WAIT;
    loop {
        match open() {
            Err(StoreError::InUse { .. }) if Instant::now() < end => {
                std::thread::sleep(LOCK_WAIT / 50);
            }
            done => return done,
        }
    }
}

pub(super) fn sync(path: &Path, folder: bool) -> Result<(), StoreError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    match synced {
        // sled makes the folder of large values when the first one comes.
        Err(error) if folder && error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(|error| StoreError::Io {
            path: path.to_owned(),
            error,
        }),
    }
}

/// Removes snapshots that a crash has left unfinished, and makes what a failed sync has left in doubt
/// durable. Nobody's work: who has the database open holds the lock that is taken for it.
fn put_right(path: &Path) -> io::Result<()> {
    let db = path.join("db");
    let data = match File::options().read(true).write(true).open(&db) {
        Ok(data) => data,
        // there is no database yet
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match data.try_lock() {
        Ok(()) => {}
        // opening says so
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|end| end == UNFINISHED) {
            std::fs::remove_file(&file)?;
        }
    }
    let mark = path.join(DOUBT);
    if mark.exists() {
        tracing::warn!(path = %db.display(), "a sync of it had failed: it is copied");
        let anew = path.join(ANEW);
        let copy = File::create(&anew)?;
        io::copy(&mut &data, &mut &copy)?;
        copy.sync_all()?;
        std::fs::rename(&anew, &db)?;
        File::open(path)?.sync_all()?;
        // behind the copy, so that a crash between them copies once more
        std::fs::remove_file(&mark)?;
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

fn refine(path: &Path, error: sled::Error) -> StoreError {
    let path = path.to_owned();
    match error {
        // sled words the failure of its lock itself and keeps only the kind.
        sled::Error::Io(error)
            if error.kind() == io::ErrorKind::WouldBlock
                || error.to_string().contains("could not acquire lock") =>
        {
            StoreError::InUse { path }
        }
        sled::Error::Io(error) => StoreError::Io { path, error },
        sled::Error::Corruption { at, .. } => StoreError::Corrupt {
            path,
            detail: at.map_or_else(
                || "its conf file or its snapshot cannot be read".to_owned(),
                |at| format!("at {at:?}"),
            ),
        },
        other => StoreError::Corrupt {
            path,
            detail: other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_a_crash_has_left_unfinished_does_not_refuse_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.sled");
        let database = Database::open(&path).unwrap();
        database.db.insert("key", "value").unwrap();
        database.durable().unwrap();
        drop(database);
        let half = path.join("snap.FFFFFFFFFFFFFFFF.generating");
        std::fs::write(&half, b"half of a snapshot").unwrap();
        let database = Database::open(&path).unwrap();
        assert_eq!(database.db.get("key").unwrap().unwrap(), "value");
        assert!(!half.exists());
        // who has the database open may be writing one
        std::fs::write(&half, b"half of a snapshot").unwrap();
        assert!(matches!(
            Database::open(&path),
            Err(StoreError::InUse { .. })
        ));
        assert!(half.exists());
    }

    #[test]
    fn behind_a_failed_sync_nothing_is_written_and_the_next_start_copies_what_there_is() {
        use std::os::unix::fs::MetadataExt as _;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.sled");
        let inode = || path.join("db").metadata().unwrap().ino();
        let database = Database::open(&path).unwrap();
        database.db.insert("key", "value").unwrap();
        database.durable().unwrap();
        let before = inode();
        assert!(
            database
                .synced(Err(io::Error::from_raw_os_error(5)))
                .is_err()
        );
        let refused = database.durable().unwrap_err().to_string();
        assert!(refused.contains("nothing is written behind"), "{refused}");
        let written = database.transaction(|tree| {
            tree.insert("key", "another")?;
            Ok(())
        });
        assert!(written.is_err() && database.forget(b"key").is_err());
        drop(database);
        let database = Database::open(&path).unwrap();
        assert_eq!(database.db.get("key").unwrap().unwrap(), "value");
        assert_ne!(inode(), before, "its pages may never have come to the disk");
        assert!(!path.join(DOUBT).exists() && !path.join(ANEW).exists());
        database.durable().unwrap();
        // once is enough
        let copied = inode();
        drop(database);
        drop(Database::open(&path).unwrap());
        assert_eq!(inode(), copied);
    }
}
