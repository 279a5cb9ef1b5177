//! The items at rest, and the journal's checkpoints: the only room that names sled.
//!
//! Two databases in the data directory: `registry.sled` holds the items, `ledger.sled` the
//! counters with their watermark. It knows how things are kept and nothing of what they mean: a
//! record is any type that serde knows, under a [`Kind`] and a number. It refuses to answer before
//! what it was given is on disk, and to write several things other than all together.
//!
//! # What holds
//!
//! - Keys are big-endian, so that a scan is in the order of the numbers. Every record begins with
//!   a version byte; a record of an old version loads for ever, one of a newer build is refused.
//! - A [`Commit`] is one transaction of one tree, on disk when [`Store::commit`] returns.
//! - A number that an item had is never given out again: the transaction that creates the item
//!   raises the counter of its kind.
//! - sled's traps are known in `database` and nowhere else.
//!
//! # Who calls
//!
//! `control` writes items and reads them at start; the journal's writer thread stores checkpoints
//! through [`SledLedger`]. Every call blocks (disk): from an owner thread or `spawn_blocking`,
//! never on a runtime's thread.

mod compact;
mod database;
mod dump;
mod ledger;

pub use compact::{Compacted, DirLock, compact};
pub use database::StoreError;
pub use dump::{RawRow, Refill, Which};
pub use ledger::SledLedger;

use database::{Abort, Database};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// The folder of the items in the data directory.
pub const REGISTRY_DIR: &str = "registry.sled";
/// The folder of the checkpoints in the data directory.
pub const LEDGER_DIR: &str = "ledger.sled";
/// The most records of one commit: a transaction's memory and the time it holds others up.
pub const RECORDS_PER_COMMIT_MAX: usize = 10_000;

/// The version of a record: JSON behind this byte.
const RECORD_VERSION: u8 = 1;
/// The first byte of the keys of counters; kinds begin at 1.
const COUNTERS: u8 = 0;

/// Which kind of record. The number is stored: append-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// An account.
    Account = 1,
    /// A limit.
    Limit = 2,
    /// A channel.
    Channel = 3,
    /// A device.
    Device = 4,
    /// A token.
    Token = 5,
    /// What is left of a deleted account, under the account's number.
    Tombstone = 6,
    /// A secret of this installation, under a fixed number.
    Secret = 7,
    /// A deleted item in the recycle bin.
    Deleted = 8,
    /// Up to when a channel's buffer was cleared, under the channel's number.
    Purged = 9,
    /// When a token was used last, under the token's number.
    Accessed = 10,
    /// A command that waits for its device, under the command's number.
    Command = 11,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Account,
        Self::Limit,
        Self::Channel,
        Self::Device,
        Self::Token,
        Self::Tombstone,
        Self::Secret,
        Self::Deleted,
        Self::Purged,
        Self::Accessed,
        Self::Command,
    ];
}

/// Where a record is: its kind and number.
fn key(kind: Kind, id: u64) -> [u8; 9] {
    let mut key = [kind as u8; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

fn counter(kind: Kind) -> [u8; 2] {
    [COUNTERS, kind as u8]
}

/// What is written together: all of it or nothing.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    writes: Vec<(Kind, u64, Option<Vec<u8>>, Expect)>,
}

/// What must be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Nothing,
    Something,
    Any,
}

impl Commit {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a record under a number that must not be taken.
    pub fn create(&mut self, kind: Kind, id: u64, record: &impl Serialize) -> &mut Self {
        self.push(kind, id, Some(encode(record)), Expect::Nothing)
    }

    /// Writes a record over the one that must be there.
    pub fn replace(&mut self, kind: Kind, id: u64, record: &impl Serialize) -> &mut Self {
        self.push(kind, id, Some(encode(record)), Expect::Something)
    }

    /// Writes a record whether there is one or not.
    pub fn put(&mut self, kind: Kind, id: u64, record: &impl Serialize) -> &mut Self {
        self.push(kind, id, Some(encode(record)), Expect::Any)
    }

    /// Takes away the record that must be there.
    pub fn remove(&mut self, kind: Kind, id: u64) -> &mut Self {
        self.push(kind, id, None, Expect::Something)
    }

    /// How many records it touches.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Does it do nothing?
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    fn push(&mut self, kind: Kind, id: u64, record: Option<Vec<u8>>, expect: Expect) -> &mut Self {
        self.writes.push((kind, id, record, expect));
        self
    }
}

fn encode(record: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![RECORD_VERSION];
    serde_json::to_writer(&mut bytes, record)
        .expect("items have text keys and finite numbers, so that they are JSON");
    bytes
}

fn decode<T: DeserializeOwned>(kind: Kind, id: u64, bytes: &[u8]) -> Result<T, StoreError> {
    let Some((&version, body)) = bytes.split_first() else {
        return Err(StoreError::Record {
            kind,
            id,
            problem: "the record is empty".into(),
        });
    };
    match version {
        RECORD_VERSION => serde_json::from_slice(body).map_err(|error| StoreError::Record {
            kind,
            id,
            problem: error.to_string(),
        }),
        newer => Err(StoreError::Newer { kind, id, newer }),
    }
}

/// The items at rest.
pub struct Store {
    items: Database,
}

impl Store {
    /// Opens the items of a data directory, or makes an empty store there.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            items: Database::open(&dir.join(REGISTRY_DIR))?,
        })
    }

    /// One record.
    pub fn read<T: DeserializeOwned>(&self, kind: Kind, id: u64) -> Result<Option<T>, StoreError> {
        self.items
            .read(&key(kind, id))?
            .map(|bytes| decode(kind, id, &bytes))
            .transpose()
    }

    /// All records of a kind, by number.
    pub fn all<T: DeserializeOwned>(
        &self,
        kind: Kind,
    ) -> impl Iterator<Item = Result<(u64, T), StoreError>> + use<T> {
        self.items.scan(&[kind as u8]).map(move |row| {
            let (key, bytes) = row?;
            let id = key
                .get(1..)
                .and_then(|id| id.try_into().ok())
                .map(u64::from_be_bytes)
                .ok_or_else(|| StoreError::Record {
                    kind,
                    id: 0,
                    problem: format!("the key has {} bytes, not 9", key.len()),
                })?;
            Ok((id, decode(kind, id, &bytes)?))
        })
    }

    /// The number that the next item of a kind gets. It is taken by the commit that creates it.
    pub fn next_id(&self, kind: Kind) -> Result<u64, StoreError> {
        Ok(self
            .items
            .read(&counter(kind))?
            .map_or(1, |bytes| number(&bytes)))
    }

    /// Writes all of it, or nothing. It is on disk when this returns.
    pub fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        if commit.len() > RECORDS_PER_COMMIT_MAX {
            return Err(StoreError::TooMany {
                records: commit.len(),
            });
        }
        if commit.is_empty() {
            return Ok(());
        }
        self.items.transaction(|tree| {
            for (kind, id, record, expect) in &commit.writes {
                let key = key(*kind, *id);
                let before = match record {
                    Some(record) => tree.insert(&key, record.as_slice())?,
                    None => tree.remove(&key)?,
                };
                let fits = match expect {
                    Expect::Nothing => before.is_none(),
                    Expect::Something => before.is_some(),
                    Expect::Any => true,
                };
                if !fits {
                    return Err(Abort::give_up(StoreError::Changed {
                        kind: *kind,
                        id: *id,
                    }));
                }
                let next = id.saturating_add(1).to_be_bytes();
                let counter = counter(*kind);
                let raise = tree.get(counter)?.is_none_or(|bytes| number(&bytes) <= *id);
                if record.is_some() && raise {
                    tree.insert(&counter, next.as_slice())?;
                }
            }
            Ok(())
        })?;
        self.items.durable()
    }

    /// Bytes on disk.
    pub fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        self.items.bytes_on_disk()
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn store(dir: &Path) -> Store {
        Store::open(dir).unwrap()
    }

    #[test]
    fn what_was_committed_is_there_after_a_restart_and_numbers_are_never_given_out_again() {
        let dir = tempfile::tempdir().unwrap();
        {
            let store = store(dir.path());
            assert_eq!(store.next_id(Kind::Device).unwrap(), 1);
            let mut commit = Commit::new();
            for id in [1, 2, 300] {
                commit.create(Kind::Device, id, &json!({ "id": id }));
            }
            commit.create(Kind::Channel, 7, &json!({ "id": 7 }));
            store.commit(&commit).unwrap();
            store
                .commit(Commit::new().remove(Kind::Device, 300))
                .unwrap();
        }
        let store = store(dir.path());
        let rows: Vec<(u64, Value)> = store.all(Kind::Device).map(Result::unwrap).collect();
        assert_eq!(rows, [(1, json!({"id": 1})), (2, json!({"id": 2}))]);
        assert_eq!(store.next_id(Kind::Device).unwrap(), 301);
        assert_eq!(store.next_id(Kind::Channel).unwrap(), 8);
        assert_eq!(store.next_id(Kind::Account).unwrap(), 1);
        assert_eq!(store.read::<Value>(Kind::Device, 300).unwrap(), None);
    }

    #[test]
    fn a_commit_is_all_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        store
            .commit(Commit::new().create(Kind::Account, 1, &json!({"name": "a"})))
            .unwrap();
        let mut doomed = Commit::new();
        doomed
            .replace(Kind::Account, 1, &json!({"name": "b"}))
            .create(Kind::Account, 2, &json!({}))
            .create(Kind::Account, 1, &json!({}));
        let error = store.commit(&doomed).unwrap_err();
        assert_eq!(error.to_string(), "Account 1 was changed meanwhile");
        let kept: Value = store.read(Kind::Account, 1).unwrap().unwrap();
        assert_eq!(kept, json!({"name": "a"}));
        assert_eq!(store.read::<Value>(Kind::Account, 2).unwrap(), None);
        assert_eq!(store.next_id(Kind::Account).unwrap(), 2);
        for doomed in [
            Commit::new().remove(Kind::Account, 9),
            Commit::new().replace(Kind::Account, 9, &json!({})),
        ] {
            assert!(matches!(
                store.commit(doomed),
                Err(StoreError::Changed { id: 9, .. })
            ));
        }
    }

    #[test]
    fn a_second_process_on_the_same_data_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _first = store(dir.path());
        let second = Store::open(dir.path());
        assert!(matches!(second, Err(StoreError::InUse { .. })));
    }

    #[test]
    fn a_damaged_database_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        drop(store(dir.path()));
        std::fs::write(
            dir.path().join(REGISTRY_DIR).join("conf"),
            b"this is not a configuration of sled",
        )
        .unwrap();
        let error = Store::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("is damaged"), "{error}");
        assert!(error.contains("last backup"), "{error}");
    }

    #[test]
    fn a_record_of_a_newer_build_is_refused_by_name() {
        let newer = decode::<Value>(Kind::Channel, 4, b"\x02{}").unwrap_err();
        assert_eq!(
            newer.to_string(),
            "Channel 4 at rest has version 2: it was written by a newer build, start that one"
        );
        let empty = decode::<Value>(Kind::Channel, 4, b"").unwrap_err();
        assert!(empty.to_string().contains("the record is empty"));
    }

    #[test]
    fn more_records_than_a_commit_takes_are_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let mut commit = Commit::new();
        for id in 0..=RECORDS_PER_COMMIT_MAX as u64 {
            commit.create(Kind::Device, id, &Value::Null);
        }
        assert!(matches!(
            store.commit(&commit),
            Err(StoreError::TooMany { .. })
        ));
        assert_eq!(store.all::<Value>(Kind::Device).count(), 0);
    }
}
