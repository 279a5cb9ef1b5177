//! The recount of storage: what is kept for each account, once more, from the files themselves.
//!
//! [`super::storage`] counts by directories: of archives, of sidecars, of the index in memory. This
//! reads every message of every archive and segment and adds them up. The two share who owns
//! what today and what is deleted, and nothing else. While messages come in, a recount lies
//! between a count before it and one behind it; when nothing does, all three are the same.

use super::audit::{Audit, AuditError, Difference, number};
use super::retention::{CHANNEL_TTL_S_MAX, Lifetimes};
use super::storage::Counted;
use super::{Shared, lock};
use crate::account::Dimension;
use crate::archive;
use crate::ids::{AccountId, ChannelId, DeviceId};
use crate::segment::files::read_whole;
use protocols::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

/// So often it is begun again when an owner, a ttl or a deletion has changed what is counted
/// meanwhile.
const TRIES: usize = 5;

/// What a segment has.
#[derive(Default)]
struct Found {
    devices: BTreeMap<u64, u64>,
    channels: BTreeMap<u64, u64>,
    newest_us: Option<i64>,
}

impl Found {
    /// Adds a segment's frames, which are known to be whole.
    fn add(&mut self, bytes: &[u8]) -> Option<()> {
        let mut at = 32;
        while let Some(head) = bytes.get(at..at + 22) {
            if head[20] == 0 || head[20] == 0xff {
                break;
            }
            let length = usize::try_from(number(&head[..4])).ok()?;
            let content = bytes.get(at + 22..(at + 22).checked_add(length)?)?;
            if head[20] == 1 {
                self.add_frame(content)?;
            }
            at += 22 + length;
        }
        Some(())
    }

    fn add_frame(&mut self, content: &[u8]) -> Option<()> {
        let field = |at: usize, length: usize| Some(number(content.get(at..at + length)?));
        let mut messages = 0;
        let mut at = 39 + if content.get(39)? == &4 { 7 } else { 19 };
        for _ in 0..field(37, 2)? {
            let device = field(at, 8)?;
            messages += field(at + 24, 4)?;
            let end = usize::try_from(field(at + 28, 4)?).ok()?;
            at += 33 + usize::from(*content.get(at + 32)?);
            let mut records = content.get(at..at + end)?;
            at += end;
            // nobody's, or erased
            if device == 0 || device == DeviceId::ERASED.0 {
                continue;
            }
            while !records.is_empty() {
                let (length, rest) = protocols::record::read_varint(records)?;
                let (record, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                if Record::read(record).is_some() {
                    *self.devices.entry(device).or_default() += record.len() as u64;
                }
                records = rest;
            }
        }
        if messages > 0 {
            *self.channels.entry(field(16, 8)?).or_default() += content.len() as u64;
            self.newest_us = self.newest_us.max(Some(field(0, 8)?.cast_signed()));
        }
        Some(())
    }
}

impl Shared {
    /// Counts storage, recounts it, and says where the two, or the levels of the tree, differ. The
    /// caller sees to it that no segment and no archive goes meanwhile.
    pub(super) fn audit_storage(&self, audit: &mut Audit) -> Result<(), AuditError> {
        let Some(lifetimes) = self.lifetimes.get() else {
            return Ok(());
        };
        let mut found = Vec::new();
        for _ in 0..TRIES {
            let now_us = self.clock.now_us();
            let Some(before) = self.counted(lifetimes.as_ref(), now_us)? else {
                continue;
            };
            let recounted = self.recount_storage(lifetimes.as_ref(), now_us)?;
            let Some(after) = self.counted(lifetimes.as_ref(), now_us)? else {
                continue;
            };
            found = outside(&before, &recounted, &after);
            if found.is_empty() {
                self.bring_up(after);
                break;
            }
        }
        audit.differences.append(&mut found);
        audit.differences.append(&mut self.audit_levels());
        Ok(())
    }

    fn counted(
        &self,
        lifetimes: &dyn Lifetimes,
        now_us: i64,
    ) -> Result<Option<Counted>, AuditError> {
        let counted = self.count_once(lifetimes, now_us);
        let counted = counted.map_err(failed(&self.dir))?;
        Ok(counted.map(|counted| counted.accounts))
    }

    fn recount_storage(
        &self,
        lifetimes: &dyn Lifetimes,
        now_us: i64,
    ) -> Result<Counted, AuditError> {
        let files = self.files.as_ref();
        let mut sums = Counted::new();
        let segments = self.catalog.segments();
        let view = self.archives.view();
        let hidden = self.deletions.hidden();
        let kept = |newest_us: i64, ttl_s: u32| {
            newest_us.saturating_add(i64::from(ttl_s) * 1_000_000) > now_us
        };
        for archive in &view.archives {
            let mut rows: BTreeMap<DeviceId, archive::Totals> = BTreeMap::new();
            archive::examine(files, archive.path(), Some(archive), &mut |block| {
                for message in block.messages() {
                    rows.entry(message.device).or_default().add(&message);
                }
            })
            .map_err(failed(archive.path()))?;
            for (device, totals) in rows {
                if let Some((account, ttl_s)) = lifetimes.device(device)
                    && !hidden.covers_all(device, &totals)
                    && kept(totals.at_us.1, ttl_s)
                {
                    let to = sums.entry((account, Dimension::DeviceStorage));
                    *to.or_default() += totals.bytes;
                }
            }
        }
        for segment in segments.iter() {
            let (next, end) = (segment.next(), segment.end());
            let bytes = match read_whole(files, segment.path()) {
                // it went by its age, and the folder could not be synced
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                bytes => bytes.map_err(failed(segment.path()))?,
            };
            let end = usize::try_from(end).unwrap_or(usize::MAX).min(bytes.len());
            let mut found = Found::default();
            found.add(&bytes[..end]).ok_or_else(|| AuditError::Bad {
                path: segment.path().to_owned(),
                offset: 0,
                what: "a frame is not what its kind says",
            })?;
            let newest_us = found.newest_us.unwrap_or(i64::MIN);
            for (id, bytes) in found.devices {
                if segment.first() > view.settled
                    && !hidden.covers_up_to(DeviceId(id), next - 1)
                    && let Some((account, ttl_s)) = lifetimes.device(DeviceId(id))
                    && kept(newest_us, ttl_s)
                {
                    *sums.entry((account, Dimension::DeviceStorage)).or_default() += bytes;
                }
            }
            for (id, bytes) in found.channels {
                if let Some((account, ttl_s)) = lifetimes.channel(ChannelId(id))
                    && lifetimes.purged_us(ChannelId(id)) < newest_us
                    && kept(newest_us, ttl_s.min(CHANNEL_TTL_S_MAX))
                {
                    let to = sums.entry((account, Dimension::ChannelStorage));
                    *to.or_default() += bytes;
                }
            }
        }
        Ok(sums)
    }

    /// Is every level of the tree what was counted of the account and of those below it?
    fn audit_levels(&self) -> Vec<Difference> {
        let parents = self.parents();
        // nobody brings levels up to date meanwhile
        let counted = lock(&self.storage);
        let mut sums = Counted::new();
        for ((account, dimension), bytes) in counted.iter() {
            let mut account = *account;
            while account.is_some() {
                *sums.entry((account, *dimension)).or_default() += bytes;
                account = parents.get(&account).copied().unwrap_or(AccountId::NONE);
            }
        }
        let mut found = Vec::new();
        for account in self.tree.accounts() {
            for dimension in [Dimension::DeviceStorage, Dimension::ChannelStorage] {
                let counted = account.admitted(dimension, 0);
                let recounted = sums.get(&(account.id(), dimension)).copied().unwrap_or(0);
                if counted != recounted {
                    found.push(difference(account.id(), dimension, counted, recounted));
                }
            }
        }
        found
    }
}

/// Where a recount is not between the counts before and behind it.
fn outside(before: &Counted, recounted: &Counted, after: &Counted) -> Vec<Difference> {
    let keys: BTreeSet<_> = [before, recounted, after]
        .iter()
        .flat_map(|counted| counted.keys())
        .collect();
    let of = |counted: &Counted, key| counted.get(key).copied().unwrap_or(0);
    let mut found = Vec::new();
    for key in keys {
        let (least, most) = (of(before, key), of(after, key));
        let recounted = of(recounted, key);
        if !(least..=most).contains(&recounted) {
            let counted = if recounted < least { least } else { most };
            found.push(difference(key.0, key.1, counted, recounted));
        }
    }
    found
}

fn difference(
    account: AccountId,
    dimension: Dimension,
    counted: u64,
    recounted: u64,
) -> Difference {
    Difference {
        account,
        place: "storage",
        field: match dimension {
            Dimension::ChannelStorage => "channel_storage",
            _ => "device_storage",
        },
        counted,
        recounted,
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> AuditError + use<> {
    let path = path.to_owned();
    move |error| AuditError::Io { path, error }
}
