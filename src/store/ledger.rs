//! The journal's checkpoints at rest: counters, blocks, watermarks, rows of statistics.
//!
//! One tree of `ledger.sled`, so that one transaction moves the watermark and everything that was
//! folded up to it. Numbers of 128 accounts are packed into a value: the cost of a checkpoint is
//! the count of values it touches.
//!
//! | key | value |
//! |---|---|
//! | `0` | head: version, watermark, time, watermark of the statistics, blocks |
//! | `1`, shard (8 bytes) | pack: the counters of the accounts `128 * shard ..` |
//! | `2`, period, shard (8 bytes), start (8 bytes, order-preserving) | pack: their rows |
//! | `3`, the same | pack: the most that they had in that time, in the order of [`levels::NAMES`] |
//!
//! A pack is a version byte and then, for each account that has any number: its place in the
//! shard, how many numbers follow, and those, little endian, in the order of
//! [`Totals::to_array`] without the zeros at the end. A pack of a build that had fewer numbers
//! reads the same.

use super::LEDGER_DIR;
use super::database::{Abort, Database, StoreError};
use crate::account::Totals;
use crate::ids::{AccountId, Position};
use crate::journal::levels::{self, Levels, LevelsRow};
use crate::journal::{BlockedUntil, Checkpoint, Ledger, LedgerError, Period};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::path::Path;
use std::sync::Arc;

/// Accounts of one pack.
const SHARD: u64 = 128;
/// The version of heads and packs.
const VERSION: u8 = 1;
/// Rows of statistics that are forgotten between two looks at the disk.
const FORGOTTEN_PER_FLUSH: usize = 10_000;

const HEAD: &[u8] = &[0];
const COUNTERS: u8 = 1;
const STATISTICS: u8 = 2;
const LEVELS: u8 = 3;

/// The numbers of up to 128 accounts.
type Pack = BTreeMap<u8, Totals>;

/// Checkpoints in `ledger.sled`. Clones share the database: the journal's writer has one, readers
/// of statistics another.
#[derive(Clone)]
pub struct SledLedger {
    pub(super) db: Arc<Database>,
}

impl SledLedger {
    /// Opens the checkpoints of a data directory, or begins there without any.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            db: Arc::new(Database::open(&dir.join(LEDGER_DIR))?),
        })
    }

    /// Bytes on disk.
    pub fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        self.db.bytes_on_disk()
    }

    fn load_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        let Some(head) = self.db.read(HEAD)? else {
            return Ok(None);
        };
        let mut checkpoint = read_head(&head)?;
        for row in self.db.scan(&[COUNTERS]) {
            let (key, pack) = row?;
            let shard = tail(&key)?;
            let numbers = read_pack(&pack)?.into_iter();
            let named = numbers.map(|(place, totals)| (account(shard, place), totals));
            checkpoint.accounts.extend(named);
        }
        Ok(Some(checkpoint))
    }

    fn store_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let mut accounts = Cow::Borrowed(checkpoint.accounts.as_slice());
        if !accounts.is_sorted_by_key(|(id, _)| *id) {
            accounts.to_mut().sort_by_key(|(id, _)| *id);
        }
        let mut rows: BTreeMap<Vec<u8>, Pack> = BTreeMap::new();
        for row in &checkpoint.statistics {
            let (shard, place) = place(row.account);
            let key = statistics_key(row.period, shard, row.start_s);
            let pack = rows.entry(key).or_default();
            pack.entry(place).or_default().add_assign(row.totals);
        }
        let head = write_head(checkpoint);
        self.db.transaction(|tree| {
            let written = |key: &[u8]| -> Result<Pack, Abort> {
                match tree.get(key)? {
                    None => Ok(Pack::new()),
                    Some(bytes) => read_pack(&bytes).map_err(Abort::give_up),
                }
            };
            for changed in accounts.chunk_by(|(a, _), (b, _)| place(*a).0 == place(*b).0) {
                let Some((first, _)) = changed.first() else {
                    continue;
                };
                let key = counters_key(place(*first).0);
                let before = tree.get(key)?;
                let pack = changed_pack(before.as_deref(), changed).map_err(Abort::give_up)?;
                tree.insert(key.as_slice(), pack)?;
            }
            for (key, added) in &rows {
                let mut pack = written(key)?;
                for (place, totals) in added {
                    pack.entry(*place).or_default().add_assign(*totals);
                }
                tree.insert(key.as_slice(), write_pack(&pack))?;
            }
            tree.insert(HEAD, head.as_slice())?;
            Ok(())
        })?;
        self.db.durable()
    }

    /// The rows of an account whose time is in `from_s..to_s`, oldest first.
    pub fn rows(
        &self,
        id: AccountId,
        period: Period,
        from_s: i64,
        to_s: i64,
    ) -> Result<Vec<(i64, Totals)>, StoreError> {
        let (shard, place) = place(id);
        let key = |start_s| statistics_key(period, shard, start_s);
        let mut rows = Vec::new();
        for row in self.db.range(key(from_s), key(to_s.max(from_s))) {
            let (key, pack) = row?;
            if let Some(totals) = read_pack(&pack)?.get(&place) {
                rows.push((start_of(tail(&key)?), *totals));
            }
        }
        Ok(rows)
    }

    fn write_levels(&self, rows: &[LevelsRow]) -> Result<(), StoreError> {
        let mut packs: BTreeMap<Vec<u8>, BTreeMap<u8, Levels>> = BTreeMap::new();
        for row in rows {
            let (shard, place) = place(row.account);
            let key = row_key(LEVELS, row.period, shard, row.start_s);
            packs.entry(key).or_default().insert(place, row.levels);
        }
        self.db.transaction(|tree| {
            for (key, more) in &packs {
                let mut pack = match tree.get(key)? {
                    None => BTreeMap::new(),
                    Some(bytes) => read_levels(&bytes).map_err(Abort::give_up)?,
                };
                for (place, levels) in more {
                    let known = pack.entry(*place).or_default();
                    *known = levels::most(*known, *levels);
                }
                tree.insert(key.as_slice(), write_levels(&pack))?;
            }
            Ok(())
        })?;
        self.db.durable()
    }

    /// The rows of levels of an account whose time is in `from_s..to_s`, oldest first.
    fn level_rows(
        &self,
        id: AccountId,
        period: Period,
        from_s: i64,
        to_s: i64,
    ) -> Result<Vec<(i64, Levels)>, StoreError> {
        let (shard, place) = place(id);
        let key = |start_s| row_key(LEVELS, period, shard, start_s);
        let mut rows = Vec::new();
        for row in self.db.range(key(from_s), key(to_s.max(from_s))) {
            let (key, pack) = row?;
            if let Some(levels) = read_levels(&pack)?.get(&place) {
                rows.push((start_of(tail(&key)?), *levels));
            }
        }
        Ok(rows)
    }

    fn forget(&self, of: u8, period: Period, before_s: i64) -> Result<(), StoreError> {
        let mut shard = 0;
        let mut forgotten = 0;
        // The next shard that has rows of the period, and of it what is too old.
        while let Some(row) = {
            let from = row_key(of, period, shard, i64::MIN);
            self.db.range(from, vec![of, period.number() + 1]).next()
        } {
            let found = row?.0;
            shard = found
                .get(2..10)
                .and_then(|shard| shard.try_into().ok())
                .map(u64::from_be_bytes)
                .ok_or_else(bad_key)?;
            let from = row_key(of, period, shard, i64::MIN);
            for old in self.db.range(from, row_key(of, period, shard, before_s)) {
                self.db.forget(&old?.0)?;
                forgotten += 1;
                if forgotten % FORGOTTEN_PER_FLUSH == 0 {
                    self.db.durable()?;
                }
            }
            shard += 1;
        }
        if forgotten > 0 {
            self.db.durable()?;
        }
        Ok(())
    }
}

impl Ledger for SledLedger {
    fn load(&mut self) -> Result<Option<Checkpoint>, LedgerError> {
        Ok(self.load_checkpoint()?)
    }

    fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
        Ok(self.store_checkpoint(checkpoint)?)
    }

    fn statistics(
        &mut self,
        account: AccountId,
        period: Period,
        from_s: i64,
        to_s: i64,
    ) -> Result<Vec<(i64, Totals)>, LedgerError> {
        Ok(self.rows(account, period, from_s, to_s)?)
    }

    fn forget_statistics(&mut self, period: Period, before_s: i64) -> Result<(), LedgerError> {
        self.forget(STATISTICS, period, before_s)?;
        Ok(self.forget(LEVELS, period, levels::frame_s(period, before_s))?)
    }

    fn store_levels(&mut self, rows: &[LevelsRow]) -> Result<(), LedgerError> {
        Ok(self.write_levels(rows)?)
    }

    fn levels(
        &mut self,
        account: AccountId,
        period: Period,
        from_s: i64,
        to_s: i64,
    ) -> Result<Vec<(i64, Levels)>, LedgerError> {
        Ok(self.level_rows(account, period, from_s, to_s)?)
    }
}

/// In which shard an account is, and where in it.
const fn place(id: AccountId) -> (u64, u8) {
    (id.0 / SHARD, (id.0 % SHARD) as u8)
}

fn account(shard: u64, place: u8) -> AccountId {
    AccountId(shard.saturating_mul(SHARD).saturating_add(u64::from(place)))
}

fn counters_key(shard: u64) -> [u8; 9] {
    let mut key = [COUNTERS; 9];
    key[1..].copy_from_slice(&shard.to_be_bytes());
    key
}

fn statistics_key(period: Period, shard: u64, start_s: i64) -> Vec<u8> {
    row_key(STATISTICS, period, shard, start_s)
}

/// The key of rows of statistics or of levels.
fn row_key(of: u8, period: Period, shard: u64, start_s: i64) -> Vec<u8> {
    let mut key = vec![of, period.number()];
    key.extend_from_slice(&shard.to_be_bytes());
    key.extend_from_slice(&(start_s.cast_unsigned() ^ 1 << 63).to_be_bytes());
    key
}

fn start_of(ordered: u64) -> i64 {
    (ordered ^ 1 << 63).cast_signed()
}

/// The last eight bytes of a key.
fn tail(key: &[u8]) -> Result<u64, StoreError> {
    key.last_chunk()
        .map(|number| u64::from_be_bytes(*number))
        .ok_or_else(bad_key)
}

fn bad_key() -> StoreError {
    StoreError::Checkpoint("a key is too short".into())
}

fn write_pack(pack: &Pack) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    for (place, totals) in pack {
        write_numbers(&mut bytes, *place, &totals.to_array());
    }
    bytes
}

/// What a pack has of an account; nothing, if all its numbers are zero.
fn write_numbers(bytes: &mut Vec<u8>, place: u8, numbers: &[u64]) {
    let used = numbers.iter().rposition(|number| *number != 0);
    let used = used.map_or(0, |last| last + 1);
    if used > 0 {
        bytes.push(place);
        bytes.push(u8::try_from(used).unwrap_or(u8::MAX));
        for number in numbers.iter().take(used) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
}

/// A pack with the numbers of these accounts in the place of those it had; they are of its shard, in
/// order. What has not changed is copied as it is: every tick does this for each pack it touches.
fn changed_pack(
    before: Option<&[u8]>,
    changed: &[(AccountId, Totals)],
) -> Result<Vec<u8>, StoreError> {
    let before = before.unwrap_or(&[VERSION]);
    let room = before.len() + changed.len() * (2 + size_of::<Totals>());
    let mut bytes = Vec::with_capacity(room);
    bytes.push(VERSION);
    let mut changed = changed.iter().peekable();
    let mut next = |bytes: &mut Vec<u8>, up_to: u8| {
        let mut replaced = false;
        while let Some((id, totals)) = changed.next_if(|(id, _)| place(*id).1 <= up_to) {
            let place = place(*id).1;
            replaced = place == up_to;
            // of an account that is named twice the last counts
            if changed.peek().is_none_or(|(after, _)| after != id) {
                write_numbers(bytes, place, &totals.to_array());
            }
        }
        replaced
    };
    let mut rest = versioned(before, "a pack")?;
    while !rest.is_empty() {
        let (entry, after) = split_entry(rest)?;
        if !next(&mut bytes, entry[0]) {
            bytes.extend_from_slice(entry);
        }
        rest = after;
    }
    next(&mut bytes, u8::MAX);
    Ok(bytes)
}

/// What a pack has of its first account, and what is behind that.
fn split_entry(pack: &[u8]) -> Result<(&[u8], &[u8]), StoreError> {
    let count = pack.get(1).map(|count| 2 + usize::from(*count) * 8);
    count
        .and_then(|length| pack.split_at_checked(length))
        .ok_or_else(|| StoreError::Checkpoint("a pack is cut short".into()))
}

fn read_pack(bytes: &[u8]) -> Result<Pack, StoreError> {
    let mut rest = versioned(bytes, "a pack")?;
    let mut pack = Pack::new();
    while !rest.is_empty() {
        let (entry, after) = split_entry(rest)?;
        let mut numbers = [0; Totals::LEN];
        for (to, from) in numbers.iter_mut().zip(entry[2..].as_chunks().0) {
            *to = u64::from_le_bytes(*from);
        }
        pack.insert(entry[0], Totals::from_array(numbers));
        rest = after;
    }
    Ok(pack)
}

fn write_levels(pack: &BTreeMap<u8, Levels>) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    for (place, levels) in pack {
        write_numbers(&mut bytes, *place, levels);
    }
    bytes
}

/// Levels of a build that had fewer: the rest is zero.
fn read_levels(bytes: &[u8]) -> Result<BTreeMap<u8, Levels>, StoreError> {
    let mut rest = versioned(bytes, "a pack")?;
    let mut pack = BTreeMap::new();
    while !rest.is_empty() {
        let (entry, after) = split_entry(rest)?;
        let mut levels = Levels::default();
        for (to, from) in levels.iter_mut().zip(entry[2..].as_chunks().0) {
            *to = u64::from_le_bytes(*from);
        }
        pack.insert(entry[0], levels);
        rest = after;
    }
    Ok(pack)
}

fn versioned<'a>(bytes: &'a [u8], what: &str) -> Result<&'a [u8], StoreError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        Some((newer, _)) => Err(StoreError::Checkpoint(format!(
            "{what} has version {newer}: it was written by a newer build, start that one"
        ))),
        None => Err(StoreError::Checkpoint(format!("{what} is empty"))),
    }
}

fn write_head(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&checkpoint.watermark.raw().to_le_bytes());
    bytes.extend_from_slice(&checkpoint.at_us.to_le_bytes());
    bytes.extend_from_slice(&checkpoint.statistics_watermark.raw().to_le_bytes());
    for blocked in &checkpoint.blocked {
        bytes.extend_from_slice(&blocked.account.0.to_le_bytes());
        bytes.push(blocked.dimension);
        bytes.extend_from_slice(&blocked.until_us.to_le_bytes());
    }
    bytes
}

fn read_head(bytes: &[u8]) -> Result<Checkpoint, StoreError> {
    let short = || StoreError::Checkpoint("the head is cut short".into());
    let rest = versioned(bytes, "the head")?;
    let (watermark, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (at_us, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (statistics, mut rest) = rest.split_first_chunk().ok_or_else(short)?;
    let mut blocked = Vec::new();
    while let Some((account, after)) = rest.split_first_chunk() {
        let (&[dimension], after) = after.split_first_chunk().ok_or_else(short)?;
        let (until_us, after) = after.split_first_chunk().ok_or_else(short)?;
        blocked.push(BlockedUntil {
            account: AccountId(u64::from_le_bytes(*account)),
            dimension,
            until_us: i64::from_le_bytes(*until_us),
        });
        rest = after;
    }
    if !rest.is_empty() {
        return Err(short());
    }
    Ok(Checkpoint {
        watermark: Position::from_raw(u64::from_le_bytes(*watermark)),
        at_us: i64::from_le_bytes(*at_us),
        accounts: Vec::new(),
        blocked,
        statistics_watermark: Position::from_raw(u64::from_le_bytes(*statistics)),
        statistics: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{MemoryLedger, Row};

    fn totals(messages: u64) -> Totals {
        Totals {
            bytes_in: 10 * messages,
            messages,
            ..Totals::default()
        }
    }

    fn checkpoint(sequence: u64) -> Checkpoint {
        let row = |period, start_s, account| Row {
            period,
            start_s,
            account: AccountId(account),
            totals: totals(sequence),
        };
        Checkpoint {
            watermark: Position::new(1, sequence),
            at_us: 77,
            accounts: vec![
                (AccountId(1), totals(sequence)),
                (AccountId(127 + sequence), totals(5)),
                (AccountId(1_000_000), totals(u64::MAX / 10)),
            ],
            blocked: vec![BlockedUntil {
                account: AccountId(1),
                dimension: 2,
                until_us: -5,
            }],
            statistics_watermark: Position::new(1, sequence - 1),
            statistics: vec![
                row(Period::Minute, 60, 1),
                row(Period::Minute, 120, 1),
                row(Period::Minute, -60, 1),
                row(Period::Minute, 60, 2),
                row(Period::Minute, 60, 300),
                row(Period::Hour, 0, 1),
            ],
        }
    }

    #[test]
    fn the_ledger_on_disk_says_what_the_one_in_memory_says() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = MemoryLedger::default();
        let mut ledger = SledLedger::open(dir.path()).unwrap();
        assert_eq!(ledger.load().unwrap(), None);
        for sequence in 1..5 {
            ledger.store(&checkpoint(sequence)).unwrap();
            memory.store(&checkpoint(sequence)).unwrap();
        }
        drop(ledger);
        let mut ledger = SledLedger::open(dir.path()).unwrap();
        assert_eq!(ledger.load().unwrap(), memory.load().unwrap());
        let mut same = |account, period, from, to| {
            let account = AccountId(account);
            let rows = ledger.statistics(account, period, from, to).unwrap();
            assert_eq!(rows, memory.statistics(account, period, from, to).unwrap());
            rows.len()
        };
        assert_eq!(same(1, Period::Minute, -60, 120), 2);
        assert_eq!(same(1, Period::Minute, i64::MIN, i64::MAX), 3);
        assert_eq!(same(300, Period::Minute, 0, 100), 1);
        assert_eq!(same(1, Period::Hour, 0, 1), 1);
        assert_eq!(same(1, Period::Day, 0, 100), 0);
        assert_eq!(same(1, Period::Minute, 100, 0), 0);
        ledger.forget_statistics(Period::Minute, 120).unwrap();
        memory.forget_statistics(Period::Minute, 120).unwrap();
        for account in [1, 2, 300] {
            for period in Period::ALL {
                let account = AccountId(account);
                assert_eq!(
                    ledger
                        .statistics(account, period, i64::MIN, i64::MAX)
                        .unwrap(),
                    memory
                        .statistics(account, period, i64::MIN, i64::MAX)
                        .unwrap()
                );
            }
        }
    }

    #[test]
    fn a_changed_pack_is_what_a_map_says() {
        let mut model = Pack::new();
        let mut bytes: Option<Vec<u8>> = None;
        let mut dice = 7u64;
        for round in 0..200 {
            let mut changed = Vec::new();
            for id in SHARD..2 * SHARD {
                dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1);
                if dice >> 62 == 0 {
                    changed.push((AccountId(id), totals(dice >> 40)));
                }
                if dice >> 58 == 1 {
                    // twice: the last counts; and zeros are not written
                    changed.push((AccountId(id), totals(0)));
                }
            }
            if round % 3 == 0 {
                changed.truncate(1);
            }
            model.extend(changed.iter().map(|(id, totals)| (place(*id).1, *totals)));
            model.retain(|_, totals| !totals.is_zero());
            let now = changed_pack(bytes.as_deref(), &changed).unwrap();
            assert_eq!(now, write_pack(&model), "round {round}");
            assert_eq!(read_pack(&now).unwrap(), model);
            bytes = Some(now);
        }
    }

    #[test]
    fn levels_are_the_most_that_was_stored_and_the_same_on_disk_and_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = MemoryLedger::default();
        let mut ledger = SledLedger::open(dir.path()).unwrap();
        let row = |period, start_s, account, storage| {
            let mut levels = Levels::default();
            levels[0] = storage;
            levels[levels.len() - 1] = 10 - storage;
            LevelsRow {
                period,
                start_s,
                account: AccountId(account),
                levels,
            }
        };
        for rows in [
            vec![
                row(Period::Minute, 7260, 1, 4),
                row(Period::Minute, 7260, 2, 1),
                row(Period::Hour, 7200, 1, 3),
            ],
            vec![
                row(Period::Minute, 7260, 1, 2),
                row(Period::Minute, 60, 300, 5),
            ],
        ] {
            ledger.store_levels(&rows).unwrap();
            memory.store_levels(&rows).unwrap();
        }
        drop(ledger);
        let mut ledger = SledLedger::open(dir.path()).unwrap();
        let mut most = Levels::default();
        (most[0], most[most.len() - 1]) = (4, 8);
        let mut same = |account, period| {
            let account = AccountId(account);
            let rows = ledger.levels(account, period, i64::MIN, i64::MAX).unwrap();
            let known = memory.levels(account, period, i64::MIN, i64::MAX).unwrap();
            assert_eq!(rows, known);
            rows
        };
        assert_eq!(same(1, Period::Minute), [(7260, most)]);
        assert_eq!(same(2, Period::Minute).len(), 1);
        assert_eq!(same(300, Period::Minute).len(), 1);
        assert_eq!(same(1, Period::Hour).len(), 1);
        assert_eq!(same(1, Period::Day), []);
        // the row that holds at a time may have begun with the hour of it
        ledger.forget_statistics(Period::Minute, 7300).unwrap();
        memory.forget_statistics(Period::Minute, 7300).unwrap();
        let left = |ledger: &mut dyn Ledger, account| {
            let account = AccountId(account);
            let rows = ledger.levels(account, Period::Minute, i64::MIN, i64::MAX);
            rows.unwrap().len()
        };
        assert_eq!([1, 300].map(|id| left(&mut ledger, id)), [1, 0]);
        assert_eq!([1, 300].map(|id| left(&mut memory, id)), [1, 0]);
    }

    #[test]
    fn packs_of_a_build_with_fewer_numbers_read_and_damaged_ones_are_refused() {
        let mut pack = Pack::new();
        pack.insert(7, totals(3));
        let written = write_pack(&pack);
        assert_eq!(read_pack(&written).unwrap(), pack);
        assert_eq!(read_pack(&[VERSION]).unwrap(), Pack::new());
        let one = [VERSION, 7, 1, 30, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(read_pack(&one).unwrap()[&7].bytes_in, 30);
        for cut in [2, 5, written.len() - 1] {
            assert!(read_pack(&written[..cut]).is_err(), "{cut}");
        }
        let newer = read_pack(&[9]).unwrap_err().to_string();
        assert!(newer.contains("written by a newer build"), "{newer}");
        let head = write_head(&checkpoint(2));
        assert!(read_head(&head[..head.len() - 1]).is_err());
    }
}
