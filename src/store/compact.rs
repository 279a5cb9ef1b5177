//! Compaction: sled gives no space back, so a database is written anew and takes the old one's
//! place.
//!
//! 1. What an earlier compaction left is removed.
//! 2. All rows go into a new database beside the old one (`NAME.new`), durable; both are read once
//!    more and must be equal.
//! 3. Both are closed, every file of the new one is synced, and its folder.
//! 4. The two exchange their names in one step; the folder is synced.
//! 5. The old one is removed, the folder synced.
//!
//! A crash anywhere leaves the old one or the new one under the name, whole. It refuses a file
//! system that cannot exchange names: two renames would have a moment without a database.

use super::database::{Database, StoreError, patiently, sync};
use super::dump::{self, Which};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// How the name of a database ends that is being written.
const NEW: &str = "new";
/// What a process holds that has the data directory.
const LOCK: &str = "tollgate.lock";

/// The data directory is this process's as long as it is held.
#[derive(Debug)]
pub struct DirLock(#[expect(dead_code, reason = "its lock is what counts")] File);

impl DirLock {
    /// Takes it; another process may have it, for which it waits a moment.
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        patiently(|| Self::try_take(dir))
    }

    fn try_take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(LOCK);
        let failed = |error| StoreError::Io {
            path: path.clone(),
            error,
        };
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::InUse {
                path: dir.to_owned(),
            }),
            Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Rows, all of them in the new one.
    pub rows: u64,
    /// Bytes on disk before.
    pub before: u64,
    /// Bytes on disk now.
    pub after: u64,
}

/// Writes one of the databases anew. Nobody else may have the directory: see [`DirLock`].
pub fn compact(dir: &Path, _lock: &DirLock, which: Which) -> Result<Compacted, StoreError> {
    let old = dir.join(which.folder());
    let new = old.with_extension(NEW);
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| StoreError::Io { path, error }
    };
    remove(&new)?;
    let rows = copied(&old, &new)?;
    for path in files_in(&new).map_err(io(&new))? {
        sync(&path, false)?;
    }
    sync(&new, true)?;
    sync(dir, true)?;
    let before = bytes_of(&old).map_err(io(&old))?;
    let after = bytes_of(&new).map_err(io(&new))?;
    renameat_with(CWD, &new, CWD, &old, RenameFlags::EXCHANGE).map_err(|error| {
        let what = format!("this file system cannot exchange two names ({error})");
        io(&new)(io::Error::new(io::ErrorKind::Unsupported, what))
    })?;
    sync(dir, true)?;
    remove(&new)?;
    sync(dir, true)?;
    Ok(Compacted {
        rows,
        before,
        after,
    })
}

/// Copies all rows and compares; both databases are closed when it returns.
fn copied(old: &Path, new: &Path) -> Result<u64, StoreError> {
    let from = Database::open(old)?;
    let mut to = dump::Refill::into(Database::open(new)?);
    let mut rows = 0;
    for row in from.scan(&[]) {
        let (key, value) = row?;
        to.push((key.to_vec(), value.to_vec()))?;
        rows += 1;
    }
    to.finish()?;
    let again = Database::open(new)?;
    let mut new_rows = again.scan(&[]);
    for row in from.scan(&[]) {
        let same = match new_rows.next() {
            Some(new_row) => new_row? == row?,
            None => false,
        };
        if !same {
            return Err(StoreError::Corrupt {
                path: new.to_owned(),
                detail: "a row is not what was written; the old database stays".to_owned(),
            });
        }
    }
    Ok(rows)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::Io {
            path: path.to_owned(),
            error,
        }),
        _ => Ok(()),
    }
}

/// The files of a database, those of its folder of large values too.
fn files_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_in(&entry.path())?);
        }
        files.push(entry.path());
    }
    Ok(files)
}

fn bytes_of(dir: &Path) -> io::Result<u64> {
    let files = files_in(dir)?.into_iter();
    files.map(|path| Ok(path.metadata()?.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Commit, Kind, REGISTRY_DIR, Store};
    use serde_json::{Value, json};

    /// Items that were changed often.
    fn churned(dir: &Path) -> Vec<(u64, Value)> {
        let store = Store::open(dir).unwrap();
        for round in 0..40 {
            let mut commit = Commit::new();
            for id in 1..=300 {
                let text = "x".repeat(200);
                commit.put(
                    Kind::Device,
                    id,
                    &json!({ "round": round, "id": id, "text": text }),
                );
            }
            store.commit(&commit).unwrap();
        }
        items(&store)
    }

    fn items(store: &Store) -> Vec<(u64, Value)> {
        store.all(Kind::Device).map(Result::unwrap).collect()
    }

    #[test]
    fn every_row_is_there_afterwards_in_less_space() {
        let dir = tempfile::tempdir().unwrap();
        let before = churned(dir.path());
        // what a crash in the middle of another one leaves
        let rest = dir.path().join(REGISTRY_DIR).with_extension(NEW);
        std::fs::create_dir(&rest).unwrap();
        std::fs::write(rest.join("db"), b"half a database").unwrap();
        let lock = DirLock::take(dir.path()).unwrap();
        let compacted = compact(dir.path(), &lock, Which::Registry).unwrap();
        assert!(compacted.after < compacted.before, "{compacted:?}");
        assert_eq!(compacted.rows, 301, "and the counter of their numbers");
        assert!(!rest.exists());
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(items(&store), before);
        assert_eq!(store.next_id(Kind::Device).unwrap(), 301);
    }

    #[test]
    fn a_directory_in_use_is_refused_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::take(dir.path()).unwrap();
        assert!(matches!(
            DirLock::take(dir.path()),
            Err(StoreError::InUse { .. })
        ));
        let store = Store::open(dir.path()).unwrap();
        let refused = compact(dir.path(), &lock, Which::Registry);
        assert!(
            matches!(refused, Err(StoreError::InUse { .. })),
            "{refused:?}"
        );
        drop(store);
        assert!(compact(dir.path(), &lock, Which::Registry).is_ok());
    }
}
