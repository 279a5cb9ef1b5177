//! How much of one device or channel is kept: what `messages_size` and a device's counters say.
//!
//! The count of storage has it of everything but the newest segments; of those it is looked up in
//! their indexes. So a message is in it as soon as it is durable, and what a ttl takes away is gone with
//! the next count. The messages of a device that some were deleted of are read until the deletion is
//! done, which is when its days are settled: what was deleted is gone at once.

use super::index::{Held, Of, Sidecar};
use super::{Journal, Range, Shared, lock};
use crate::ids::{ChannelId, DeviceId};
use crate::segment::Segment;
use foldhash::HashMap;
use std::io;

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// Segments from this entry on are not in it.
    pub(super) fresh: u64,
    pub(super) devices: HashMap<u64, Held>,
    pub(super) channels: HashMap<u64, Held>,
}

impl Journal {
    /// What is kept of a device.
    pub fn held_of_device(&self, device: DeviceId) -> io::Result<Held> {
        if !self.inner.shared.deletions.hidden().is_of(device) {
            return self.inner.shared.held(Of::Device(device));
        }
        // a part of what the indexes have is deleted: which, only the messages say
        let mut held = Held::default();
        for message in self.read_device(device, Range::default()) {
            held += Held {
                messages: 1,
                bytes: message?.record.len() as u64,
            };
        }
        Ok(held)
    }

    /// What is kept of a channel.
    pub fn held_of_channel(&self, channel: ChannelId) -> io::Result<Held> {
        self.inner.shared.held(Of::Channel(channel))
    }
}

impl Shared {
    fn held(&self, of: Of) -> io::Result<Held> {
        let sizes = self.sizes.load();
        let counted = match of {
            Of::Device(id) => sizes.devices.get(&id.0),
            Of::Channel(id) => sizes.channels.get(&id.0),
        };
        let mut held = counted.copied().unwrap_or_default();
        let segments = self.catalog.segments();
        for segment in segments.iter().rev() {
            if segment.next() <= sizes.fresh {
                break;
            }
            match self.held_in(segment, of) {
                Ok(found) => held += found,
                // it went by its age meanwhile
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(held)
    }

    /// What a segment that is not counted yet has of it, if that is to be seen.
    fn held_in(&self, segment: &Segment, of: Of) -> io::Result<Held> {
        let (held, newest_us) = if self.indexes.has_sidecar(segment) {
            let row = Sidecar::open(segment, self.files.as_ref())?.row(of)?;
            let Some(row) = row else {
                return Ok(Held::default());
            };
            // of devices the keys are their own times
            let newest_us = matches!(of, Of::Channel(_)).then_some(row.last);
            (row.held(), newest_us)
        } else {
            let memory = self.indexes.memory(segment);
            let mut memory = lock(&memory);
            memory.catch_up(segment, self.files.as_ref())?;
            let newest_us = match of {
                Of::Channel(_) => memory.range(of).map(|(_, last)| last),
                Of::Device(_) => memory.newest_us(),
            };
            (memory.held(of), newest_us)
        };
        let purged_us = match of {
            Of::Channel(id) => self
                .lifetimes
                .get()
                .map_or(i64::MIN, |lifetimes| lifetimes.purged_us(id)),
            Of::Device(_) => i64::MIN,
        };
        let gone_us = match self.lifetimes.get() {
            Some(_) => self.past_us(of).max(purged_us),
            None => i64::MIN,
        };
        let is_past = newest_us.is_some_and(|newest_us| newest_us <= gone_us);
        Ok(if is_past { Held::default() } else { held })
    }
}
