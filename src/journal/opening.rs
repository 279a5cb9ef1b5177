//! What opening a journal does: gives up what is damaged if it may, checks that archives and segments
//! fit, folds what the checkpoint does not hold.

use super::fold::{Fold, NewestMinute};
use super::{
    ARCHIVES_DIR, Batch, Checkpoint, EntryRef, Note, OpenError, Options, Stats, Unsaved,
    note_block, stats,
};
use crate::account::{Dimension, Tree};
use crate::archive::{self, Archives};
use crate::ids::{Clock, Position, minute_of};
use crate::segment::{self, Files, SegmentLog};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Opens the archives, which must fit the segments.
pub(super) fn open_archives(
    dir: &Path,
    options: Options,
    log: &SegmentLog,
    files: &Arc<dyn Files>,
) -> Result<Archives, OpenError> {
    let position = |sequence| Position::new(options.node, sequence);
    let first = log
        .catalog()
        .segments()
        .first()
        .map_or(log.next(), |segment| segment.first());
    let archives = Archives::open(
        Arc::clone(files),
        &dir.join(ARCHIVES_DIR),
        first - 1,
        options.give_up_damaged,
    )?;
    let settled = archives.view().settled;
    if settled >= log.next() {
        return Err(OpenError::ArchivesAhead {
            settled: position(settled),
            end: position(log.next() - 1),
        });
    }
    if settled + 1 < first && !options.give_up_damaged {
        return Err(OpenError::ArchivesBehind {
            settled: position(settled),
            first: position(first),
        });
    }
    Ok(archives)
}

/// Puts entries that say so in the place of those that are damaged or gone; says how many.
pub(super) fn give_up(
    dir: &Path,
    options: Options,
    files: &dyn Files,
    checkpoint: &Checkpoint,
) -> Result<u64, OpenError> {
    let counted = checkpoint.watermark.max(checkpoint.statistics_watermark);
    let settled =
        archive::listed(files, &dir.join(ARCHIVES_DIR)).map_or(0, |(view, _)| view.settled);
    let filler = |before: Option<&segment::Entry<'_>>, bytes: u64| {
        let at_us = before
            .and_then(|entry| EntryRef::read(entry.kind, entry.version, entry.content))
            .map_or(checkpoint.at_us, |entry| entry.at_us());
        let mut batch = Batch::new();
        Note::Lost { at_us, bytes }.write(&mut batch);
        batch
            .contents()
            .next()
            .map(|(kind, version, content)| (kind, version, content.to_vec()))
            .expect("one was written")
    };
    let until = counted.sequence().max(settled) + 1;
    let damages = segment::give_up(files, dir, options.node, until, &filler)?;
    for damage in &damages {
        tracing::error!(
            path = %damage.path.display(),
            offset = damage.offset,
            bytes = damage.bytes,
            first = damage.lost.0,
            entries = damage.lost.1,
            what = damage.what,
            "given up: these entries are lost",
        );
    }
    Ok(damages.iter().map(|damage| damage.lost.1).sum())
}

/// Folds what the checkpoint does not hold, and shows the newest part to `replay`.
#[expect(
    clippy::too_many_arguments,
    reason = "one step of opening, with all it opens"
)]
pub(super) fn restore(
    log: &SegmentLog,
    files: &dyn Files,
    options: Options,
    tree: &Tree,
    clock: &dyn Clock,
    stats: &Stats,
    unsaved: &mut Unsaved,
    replay: &mut dyn FnMut(Position, EntryRef<'_>),
) -> Result<(), OpenError> {
    let position = |sequence| Position::new(options.node, sequence);
    let segments = log.catalog().segments();
    let first = segments
        .first()
        .map_or(log.next(), |segment| segment.first());
    let counted = unsaved.watermark.sequence();
    let in_statistics = unsaved.statistics_saved.sequence();
    if counted.max(in_statistics) >= log.next() {
        return Err(OpenError::Behind {
            watermark: unsaved.watermark.max(unsaved.statistics_saved),
            end: position(log.next() - 1),
        });
    }
    let behind = counted.min(in_statistics);
    if behind + 1 < first {
        return Err(OpenError::Gap {
            watermark: position(behind),
            first: position(first),
        });
    }

    // where the newest part begins: whole segments, so that nothing is searched for
    let mut bytes = 0;
    let mut shown = segments
        .iter()
        .rposition(|segment| {
            bytes += segment.end();
            bytes >= options.replay_bytes
        })
        .unwrap_or(0);
    // and all of the newest minute, because its use is counted again
    while shown > 0 && begins_in_newest_minute(files, &segments[shown..])? {
        shown -= 1;
    }
    let folded = segments
        .iter()
        .position(|segment| segment.next() > behind + 1)
        .unwrap_or(segments.len());

    let mut counters = Fold::new();
    let mut rows = Fold::new();
    let mut newest = NewestMinute::default();
    for (index, segment) in segments.iter().enumerate() {
        if index < shown && index < folded {
            continue;
        }
        let io = |error| OpenError::Io {
            what: format!("reading {}", segment.path().display()),
            error,
        };
        let mut entries = segment.entries(files, 0).map_err(io)?;
        loop {
            let at = entries.offset();
            let entry = match entries.next() {
                Ok(None) => break,
                Ok(Some((_, entry))) => entry,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(segment::OpenError::Corrupt {
                        path: segment.path().to_owned(),
                        offset: at,
                        what: error.to_string(),
                    }
                    .into());
                }
                Err(error) => return Err(io(error)),
            };
            let sequence = entry.sequence;
            let Some(read) = EntryRef::read(entry.kind, entry.version, entry.content) else {
                return Err(OpenError::Newer {
                    position: position(sequence),
                    kind: entry.kind,
                    version: entry.version,
                });
            };
            unsaved.at_us = unsaved.at_us.max(read.at_us());
            if sequence > counted {
                counters.add(&read);
                note_block(unsaved, &read);
            }
            if sequence > in_statistics {
                rows.add(&read);
            }
            if index >= shown {
                newest.add(&read);
                replay(position(sequence), read);
            }
        }
    }
    for ((_, id), deltas) in counters.take(tree) {
        if let Some(account) = tree.account(id) {
            account.post(&deltas);
            unsaved.accounts.insert(id, account.posted());
        }
    }
    for ((minute, id), deltas) in rows.take(tree) {
        unsaved.statistics.add(minute, id, deltas);
    }
    if counters.unknown > 0 {
        tracing::error!(
            charges = counters.unknown,
            "the journal charges accounts that the registry does not know; see `tollgate audit`"
        );
    }
    stats::add(&stats.unknown_accounts, counters.unknown);
    unsaved.changed = counted + 1 < log.next() || in_statistics + 1 < log.next();
    unsaved.watermark = position(log.next() - 1);
    clock.at_least(unsaved.at_us);
    let now_us = clock.now_us();
    newest.restore(tree, now_us);
    for (&(id, dimension), &until_us) in &unsaved.blocked {
        if until_us > now_us
            && let Some(account) = tree.account(id)
            && let Some(dimension) = Dimension::from_number(dimension)
        {
            account.block(dimension, until_us);
        }
    }
    Ok(())
}

/// Does the first of `segments` begin in the minute in which the last of them begins, or later?
fn begins_in_newest_minute(
    files: &dyn Files,
    segments: &[Arc<segment::Segment>],
) -> Result<bool, OpenError> {
    let first_minute = |segment: &segment::Segment| -> Result<Option<u32>, OpenError> {
        let io = |error| OpenError::Io {
            what: format!("reading {}", segment.path().display()),
            error,
        };
        let mut entries = segment.entries(files, 0).map_err(io)?;
        Ok(entries
            .next()
            .map_err(io)?
            .and_then(|(_, entry)| EntryRef::read(entry.kind, entry.version, entry.content))
            .map(|entry| minute_of(entry.at_us())))
    };
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
        return Ok(false);
    };
    match (first_minute(first)?, first_minute(last)?) {
        (Some(first), Some(last)) => Ok(first >= last),
        // an empty last segment says nothing: one further back is enough
        _ => Ok(segments.len() == 1),
    }
}
