//! Erasing a device: its chunks leave the segments for good.
//!
//! All chunks of every connection on which the device has named itself go, those of others that
//! shared the connection too: what is in the bytes is not looked at. A chunk is overwritten in its
//! place but for its time, and its segment written anew under the same name (temporary name,
//! fdatasync, rename, folder); the one in use is ended before. A segment that cannot be read goes
//! with all that is older. A crash in between leaves some of it: whoever asks, asks again until it
//! is done.

use super::packet;
use crate::ids::{ConnectionId, DeviceId};
use crate::segment::{AppendError, Files, Segment, SegmentLog, files, rewritten};
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::Path;

/// What is to be erased.
#[derive(Debug, Clone, Copy)]
pub(super) struct Erased {
    pub(super) device: DeviceId,
    /// Chunks up to and with this time, unix us.
    pub(super) up_to_us: i64,
}

/// Erases what is on disk; the number of segments that were written anew or went.
pub(super) fn erase(
    log: &mut SegmentLog,
    files: &dyn Files,
    dir: &Path,
    erased: Erased,
) -> io::Result<u32> {
    log.rotate().map_err(|error| match error {
        AppendError::NoSpace(error) | AppendError::Failed { error, .. } => error,
    })?;
    let segments = log.catalog().segments();
    let (connections, unreadable) = connections_of(&segments, files, erased.device);
    let mut changed = 0;
    let mut goes_up_to = unreadable;
    for segment in segments.iter() {
        if connections.is_empty() {
            break;
        }
        let new = rewritten(files, segment.path(), &mut |_, _, content| {
            let is_due = packet::read(content).is_some_and(|(label, _)| {
                label.at_us <= erased.up_to_us && connections.contains(&label.connection)
            });
            if is_due {
                packet::overwrite(content);
            }
            is_due
        });
        match new {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                let name = segment.path().file_name().unwrap_or_default();
                files::replace(files, dir, &name.to_string_lossy(), &bytes)?;
                changed += 1;
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                goes_up_to = goes_up_to.max(Some(segment.first()));
            }
            Err(error) => return Err(error),
        }
    }
    let Some(last) = goes_up_to else {
        return Ok(changed);
    };
    loop {
        let now = log.catalog().segments();
        match now.first() {
            Some(oldest) if oldest.first() <= last && now.len() > 1 => log.remove_oldest()?,
            Some(oldest) if oldest.first() <= last => {
                let what = format!("{} is damaged: remove the folder", oldest.path().display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            _ => return Ok(changed),
        }
        changed += 1;
    }
}

/// The connections on which the device has named itself, also before it was registered; and the
/// last segment that cannot be read.
fn connections_of(
    segments: &[std::sync::Arc<Segment>],
    files: &dyn Files,
    device: DeviceId,
) -> (HashSet<ConnectionId>, Option<u64>) {
    let mut connections = HashSet::new();
    let mut idents = BTreeSet::new();
    let mut unreadable = None;
    for is_registered in [true, false] {
        for segment in segments {
            let mut look = || -> io::Result<()> {
                let mut entries = segment.entries(files, 0)?;
                while let Some((_, entry)) = entries.next()? {
                    let Some((label, _)) = packet::read(entry.content) else {
                        continue;
                    };
                    if is_registered && label.device == device {
                        connections.insert(label.connection);
                        idents.insert(label.ident.to_owned());
                    } else if !is_registered
                        && !label.device.is_some()
                        && idents.contains(label.ident)
                    {
                        connections.insert(label.connection);
                    }
                }
                Ok(())
            };
            if look().is_err() {
                unreadable = unreadable.max(Some(segment.first()));
            }
        }
        idents.remove("");
    }
    (connections, unreadable)
}

/// Removes all segments of a folder that is not in use, finished or not.
pub(super) fn remove_all(files: &dyn Files, dir: &Path) -> io::Result<u32> {
    let names = match files.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        names => names?,
    };
    let mut count = 0;
    for name in names.iter().map(Path::new) {
        // a start that was killed may have left a copy of the last one
        let ours = |end: &std::ffi::OsStr| end == "seg" || end == "tmp";
        if !name.extension().is_some_and(ours) {
            continue;
        }
        files.unlink(&dir.join(name))?;
        count += 1;
    }
    if count > 0 {
        files.sync_dir(dir)?;
    }
    Ok(count)
}
