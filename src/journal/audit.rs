//! The recount: every account's totals once more, from the segment files, by the shortest code.
//!
//! It shares nothing with the journal but the account's numbers and the base, which holds what
//! segments had counted that are gone: it takes the entries apart by the table in
//! [`super::entry`] and adds them up one by one. Two programs that agree to the byte are not wrong
//! in the same way.

use super::base::{BASE, Base};
use super::{Journal, LedgerError, Period, Shared, lock};
use crate::account::Totals;
use crate::archive;
use crate::ids::{AccountId, Position};
use crate::segment::Files;
use crate::segment::files::read_whole;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a recount is not possible.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// An entry is not what it was.
    #[error("{} at byte {offset}: {what}", path.display())]
    Bad {
        /// In which file.
        path: PathBuf,
        /// Where.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The statistics cannot be read.
    #[error("reading the ledger: {0}")]
    Ledger(#[source] LedgerError),
}

/// A number that is not what the recount says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Whose.
    pub account: AccountId,
    /// Where it stands: `counters`, `statistics`, `statements` (days, against their months), or
    /// `storage`.
    pub place: &'static str,
    /// Which number.
    pub field: &'static str,
    /// What stands there.
    pub counted: u64,
    /// What it should be.
    pub recounted: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "account {}: {} in the {} is {}, the journal says {}",
            self.account, self.field, self.place, self.counted, self.recounted
        )
    }
}

/// What a recount found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Entries that were read.
    pub entries: u64,
    /// Bytes of the files that were read.
    pub bytes: u64,
    /// Entries among them that stand where damaged ones were given up: what those had counted the
    /// counters may still hold.
    pub given_up: u64,
    /// The last entry that counted.
    pub position: Position,
    /// Messages in archives, read block by block.
    pub archived: u64,
    /// What is wrong with archives. Empty: each is whole, its directory has what its blocks have, and
    /// no message of a segment that is still there is in archives twice.
    pub archives: Vec<String>,
    /// What each account should have.
    pub accounts: BTreeMap<AccountId, Totals>,
    /// Where the counters, or the statistics, say something else. Empty: all is well.
    pub differences: Vec<Difference>,
}

impl Audit {
    /// Before any segment: what those counted that are gone.
    pub(super) fn from_base(base: Base, node: u16) -> Self {
        Self {
            position: Position::new(node, base.last),
            accounts: base.accounts,
            ..Self::default()
        }
    }

    /// Compares the recount with numbers that stand somewhere.
    pub fn compare(&mut self, place: &'static str, counted: &BTreeMap<AccountId, Totals>) {
        let found = differences(place, counted, &self.accounts);
        self.differences.extend(found);
    }
}

/// Every number of every account that is not what it should be.
fn differences(
    place: &'static str,
    counted: &BTreeMap<AccountId, Totals>,
    should: &BTreeMap<AccountId, Totals>,
) -> Vec<Difference> {
    let accounts: std::collections::BTreeSet<_> = counted.keys().chain(should.keys()).collect();
    let mut found = Vec::new();
    for account in accounts {
        let of = |map: &BTreeMap<AccountId, Totals>| {
            map.get(account).copied().unwrap_or_default().to_array()
        };
        for ((field, counted), recounted) in Totals::NAMES.iter().zip(of(counted)).zip(of(should)) {
            if counted != recounted {
                found.push(Difference {
                    account: *account,
                    place,
                    field,
                    counted,
                    recounted,
                });
            }
        }
    }
    found
}

/// The first month whose days are all kept.
fn first_whole_month(now_s: i64) -> i64 {
    let kept_s = Period::Day.kept_s().unwrap_or(i64::MAX);
    let oldest_s = Period::Day.start_s(now_s.saturating_sub(kept_s));
    let month_s = Period::Month.start_s(oldest_s);
    if month_s == oldest_s {
        month_s
    } else {
        // no month has 32 days, so this is in the next one
        Period::Month.start_s(month_s.saturating_add(32 * 86_400))
    }
}

/// Recounts the segments in `dir` up to the entry `last`, on top of the base that holds what is
/// gone; `parents` has the parent of every account, the deleted ones too.
pub fn recount(
    files: &dyn Files,
    dir: &Path,
    parents: &BTreeMap<AccountId, AccountId>,
    last: Position,
) -> Result<Audit, AuditError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| AuditError::Io { path, error }
    };
    let base = Base::load(files, dir).map_err(io(&dir.join(BASE)))?;
    let mut audit = Audit::from_base(base, last.node());
    let names = files.list(dir).map_err(io(dir))?;
    // names are sorted, and their numbers have leading zeros
    for path in names.iter().map(|name| dir.join(name)) {
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        let bytes = read_whole(files, &path).map_err(io(&path))?;
        count_segment(&path, &bytes, parents, last, &mut audit)?;
    }
    if audit.position < last {
        return Err(AuditError::Bad {
            path: dir.to_owned(),
            offset: 0,
            what: "the journal ends before the last entry that was counted",
        });
    }
    Ok(audit)
}

/// Adds the entries of a segment that come behind those counted already, up to `last`.
pub(super) fn count_segment(
    path: &Path,
    bytes: &[u8],
    parents: &BTreeMap<AccountId, AccountId>,
    last: Position,
    audit: &mut Audit,
) -> Result<(), AuditError> {
    let bad = |offset, what| AuditError::Bad {
        path: path.to_owned(),
        offset,
        what,
    };
    let epoch = bytes.get(8..16).ok_or_else(|| bad(0, "no header"))?;
    let mut at = 32;
    while let Some(head) = bytes.get(at..at + 22) {
        let kind = head[20];
        let sequence = number(&head[8..16]);
        // behind the last one there may be half a batch that is being written
        if kind == 0 || kind == 0xff || audit.position >= last {
            break;
        }
        let length = usize::try_from(number(&head[..4])).unwrap_or(usize::MAX);
        let content = at
            .checked_add(22)
            .and_then(|from| bytes.get(from..from.checked_add(length)?))
            .ok_or_else(|| bad(at, "an entry goes beyond its file"))?;
        let content_crc = crc32fast::hash(content).to_le_bytes();
        let checked = [epoch, &head[..4], &content_crc, &head[8..]].concat();
        if u64::from(crc32fast::hash(&checked)) != number(&head[4..8]) {
            return Err(bad(at, "a checksum is wrong"));
        }
        let counted = audit.position.sequence();
        if sequence > counted {
            if sequence != counted + 1 {
                return Err(bad(at, "an entry is missing before this one"));
            }
            count(kind, content, parents, &mut audit.accounts)
                .ok_or_else(|| bad(at, "an entry is not what its kind says"))?;
            audit.given_up += u64::from(kind == 8);
            audit.entries += 1;
            audit.position = Position::new(last.node(), sequence);
        }
        at += 22 + length;
    }
    audit.bytes += at as u64;
    Ok(())
}

/// Adds what one entry says.
fn count(
    kind: u8,
    content: &[u8],
    parents: &BTreeMap<AccountId, AccountId>,
    accounts: &mut BTreeMap<AccountId, Totals>,
) -> Option<()> {
    let field = |at: usize, length: usize| Some(number(content.get(at..at + length)?));
    let mut pay = |account: u64, totals: Totals| {
        let mut account = AccountId(account);
        while account.is_some() {
            *accounts.entry(account).or_default() += totals;
            account = parents.get(&account).copied().unwrap_or(AccountId::NONE);
        }
    };
    match kind {
        1 => {
            let bytes_in = field(28, 4)?;
            let bytes_out = field(32, 4)?;
            let parts = field(37, 2)?;
            let mut at = 39 + if content.get(39)? == &4 { 7 } else { 19 };
            for part in 0..parts {
                // each login pays the same share, the first what is left over
                let share = |whole: u64| whole / parts + if part == 0 { whole % parts } else { 0 };
                pay(
                    field(at + 8, 8)?,
                    Totals {
                        bytes_in: share(bytes_in),
                        bytes_out: share(bytes_out),
                        frames: share(1),
                        duplicates: field(at + 20, 4)?,
                        messages: field(at + 24, 4)?,
                        ..Totals::default()
                    },
                );
                let records = usize::try_from(field(at + 28, 4)?).ok()?;
                let ident = usize::from(*content.get(at + 32)?);
                at += 33 + ident + records;
            }
        }
        2 => {
            let mut numbers = Totals::default().to_array();
            let mut at = 17;
            for slot in 0..usize::from(*content.get(16)?) {
                let mut value = 0;
                for shift in (0..).step_by(7) {
                    let byte = *content.get(at)?;
                    at += 1;
                    value |= u64::from(byte & 0x7f).checked_shl(shift)?;
                    if byte < 0x80 {
                        break;
                    }
                }
                if let Some(number) = numbers.get_mut(slot) {
                    *number = value;
                }
            }
            pay(field(8, 8)?, Totals::from_array(numbers));
        }
        3 => {
            let account = field(32, 8)?;
            let peer = if content.get(40)? == &4 { 7 } else { 19 };
            let ident = usize::from(*content.get(40 + peer)?);
            let opened = *content.get(41 + peer + ident)? == 0;
            if opened {
                pay(
                    account,
                    Totals {
                        connections: 1,
                        ..Totals::default()
                    },
                );
            }
        }
        4 => pay(
            field(32, 8)?,
            Totals {
                bytes_in: field(40, 4)?,
                ..Totals::default()
            },
        ),
        5 => pay(
            field(24, 8)?,
            Totals {
                dropped_bytes: field(32, 4)? + field(36, 4)?,
                dropped_messages: field(40, 4)?,
                ..Totals::default()
            },
        ),
        6..=9 => {}
        _ => return None,
    }
    Some(())
}

/// The messages of a segment whose entries are known to be whole.
fn messages_in(bytes: &[u8]) -> u64 {
    let mut messages = 0;
    let mut at = 32;
    while let Some(head) = bytes.get(at..at + 22) {
        if head[20] == 0 || head[20] == 0xff {
            break;
        }
        let length = usize::try_from(number(&head[..4])).unwrap_or(usize::MAX);
        let content = at
            .checked_add(22)
            .and_then(|from| bytes.get(from..from.checked_add(length)?));
        let Some(content) = content else { break };
        if head[20] == 1 {
            messages += messages_of(content).unwrap_or(0);
        }
        at += 22 + length;
    }
    messages
}

/// The messages of a frame.
fn messages_of(content: &[u8]) -> Option<u64> {
    let field = |at: usize, length: usize| Some(number(content.get(at..at + length)?));
    let mut messages = 0;
    let mut at = 39 + if content.get(39)? == &4 { 7 } else { 19 };
    for _ in 0..field(37, 2)? {
        messages += field(at + 24, 4)?;
        let records = usize::try_from(field(at + 28, 4)?).ok()?;
        at += 33 + usize::from(*content.get(at + 32)?) + records;
    }
    Some(messages)
}

/// A little endian number of up to eight bytes.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

impl Journal {
    /// Recounts everything and compares it with the posted counters and with the months of the
    /// statistics, as they are together at one moment; then what is stored for whom. It reads all
    /// segments and archives.
    pub fn audit(&self) -> Result<Audit, AuditError> {
        let shared = &self.inner.shared;
        // no segment goes between the base and the end of the recount
        let _alone = lock(&shared.retaining);
        let (last, counters, months, whole) = {
            // in the order of a checkpoint; none can come between, and the writer posts under the
            // second lock, which is therefore held shortly
            let mut ledger = lock(&shared.ledger);
            shared
                .end_doubt(ledger.as_mut())
                .map_err(AuditError::Ledger)?;
            let mut months: BTreeMap<AccountId, Totals> = BTreeMap::new();
            // of the months whose days are all kept, once by month and once by day
            let mut of_months: BTreeMap<AccountId, Totals> = BTreeMap::new();
            let mut of_days: BTreeMap<AccountId, Totals> = BTreeMap::new();
            let whole_s = first_whole_month(shared.clock.now_us().div_euclid(1_000_000));
            for account in shared.tree.accounts() {
                let rows = ledger
                    .statistics(account.id(), Period::Month, i64::MIN, i64::MAX)
                    .map_err(AuditError::Ledger)?;
                for (start_s, totals) in rows {
                    *months.entry(account.id()).or_default() += totals;
                    if start_s >= whole_s {
                        *of_months.entry(account.id()).or_default() += totals;
                    }
                }
                let rows = ledger
                    .statistics(account.id(), Period::Day, whole_s, i64::MAX)
                    .map_err(AuditError::Ledger)?;
                for (_, totals) in rows {
                    *of_days.entry(account.id()).or_default() += totals;
                }
            }
            let unsaved = lock(&shared.unsaved);
            for (account, totals) in unsaved.statistics.sums() {
                *months.entry(account).or_default() += totals;
            }
            let counters: BTreeMap<_, _> = shared
                .tree
                .statement()
                .into_iter()
                .map(|(account, totals)| (account.id(), totals))
                .collect();
            (unsaved.watermark, counters, months, (of_months, of_days))
        };
        let mut audit = recount(shared.files.as_ref(), &shared.dir, &shared.parents(), last)?;
        audit.compare("counters", &counters);
        audit.compare("statistics", &months);
        let (of_months, of_days) = whole;
        audit
            .differences
            .extend(differences("statements", &of_days, &of_months));
        shared.audit_archives(&mut audit)?;
        shared.audit_storage(&mut audit)?;
        Ok(audit)
    }
}

impl Shared {
    /// Reads all archives. They hold no charges: what can be wrong is that something is not what was
    /// written, or is there twice.
    fn audit_archives(&self, audit: &mut Audit) -> Result<(), AuditError> {
        let files = self.files.as_ref();
        let segments = self.catalog.segments();
        let mut in_archives = vec![0u64; segments.len()];
        for archive in &self.archives.view().archives {
            let io = |error| AuditError::Io {
                path: archive.path().to_owned(),
                error,
            };
            let examined = archive::examine(files, archive.path(), Some(archive), &mut |block| {
                for message in block.messages() {
                    let behind =
                        segments.partition_point(|segment| segment.first() <= message.sequence);
                    let nth = behind
                        .checked_sub(1)
                        .and_then(|nth| in_archives.get_mut(nth));
                    if let Some(count) = nth {
                        *count += 1;
                    }
                }
            })
            .map_err(io)?;
            audit.archived += examined.messages;
            audit.archives.extend(
                examined
                    .damages
                    .iter()
                    .map(|(at, what)| format!("{} at byte {at}: {what}", archive.path().display())),
            );
        }
        for (segment, in_archives) in segments.iter().zip(in_archives) {
            if in_archives == 0 {
                continue;
            }
            let bytes = read_whole(files, segment.path()).map_err(|error| AuditError::Io {
                path: segment.path().to_owned(),
                error,
            })?;
            let messages = messages_in(&bytes);
            if in_archives > messages {
                audit.archives.push(format!(
                    "{}: {in_archives} of its {messages} messages are in archives",
                    segment.path().display()
                ));
            }
        }
        Ok(())
    }

    /// The parent of every account, the deleted ones too.
    pub(super) fn parents(&self) -> BTreeMap<AccountId, AccountId> {
        self.tree
            .accounts()
            .iter()
            .map(|account| {
                let parent = account
                    .parent()
                    .map_or(AccountId::NONE, |parent| parent.id());
                (account.id(), parent)
            })
            .collect()
    }
}
