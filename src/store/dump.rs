//! The databases row by row, for backups: what comes out of [`Store::dump`] goes into a [`Refill`].
//!
//! Rows are passed on as they are kept; what they mean is nobody's business here.

use super::database::{Database, StoreError};
use super::{LEDGER_DIR, REGISTRY_DIR, SledLedger, Store};
use std::path::Path;

/// Rows that are written in one transaction.
const ROWS_TOGETHER: usize = 1000;

/// A key and its value.
pub type RawRow = (Vec<u8>, Vec<u8>);

/// One of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The items.
    Registry,
    /// The checkpoints.
    Ledger,
}

impl Which {
    /// Its folder in the data directory.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Registry => REGISTRY_DIR,
            Self::Ledger => LEDGER_DIR,
        }
    }
}

impl Store {
    /// Every row of the items. For one moment's rows, nobody may write meanwhile.
    pub fn dump(&self) -> impl Iterator<Item = Result<RawRow, StoreError>> + use<> {
        rows_of(&self.items)
    }
}

impl SledLedger {
    /// Every row of the checkpoints. For one moment's rows, nobody may store one meanwhile.
    pub fn dump(&self) -> impl Iterator<Item = Result<RawRow, StoreError>> + use<> {
        rows_of(&self.db)
    }
}

fn rows_of(database: &Database) -> impl Iterator<Item = Result<RawRow, StoreError>> + use<> {
    database
        .scan(&[])
        .map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())))
}

/// Makes a database from rows.
pub struct Refill {
    database: Database,
    rows: Vec<RawRow>,
}

impl Refill {
    /// Begins the database in a data directory that has none.
    pub fn begin(dir: &Path, which: Which) -> Result<Self, StoreError> {
        Database::open(&dir.join(which.folder())).map(Self::into)
    }

    /// Rows go into this one, which is empty.
    pub(super) fn into(database: Database) -> Self {
        Self {
            database,
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn push(&mut self, row: RawRow) -> Result<(), StoreError> {
        self.rows.push(row);
        if self.rows.len() >= ROWS_TOGETHER {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let rows = std::mem::take(&mut self.rows);
        self.database.transaction(|tree| {
            for (key, value) in &rows {
                tree.insert(key.as_slice(), value.as_slice())?;
            }
            Ok(())
        })
    }

    /// All rows are on disk when this returns.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.write()?;
        self.database.durable()
    }
}
