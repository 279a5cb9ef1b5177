//! What a device sent lately, so that a record that is sent twice is stored once.
//!
//! Per device: the records that it sent last together, and up to [`RECORDS_BEFORE_MAX`] before them, in
//! eight bytes each. Where they are stored is not remembered: a frame that says them again is an entry
//! too, behind theirs, and its ack waits for that one.
//! All devices together share one [`Budget`]. When it is used up, the windows of the devices that
//! have not sent for the longest go; "for the longest" is told by a clock hand over the devices,
//! which costs the way of a frame nothing but a flag. Outside the window a record is stored again.

use super::device::DeviceHandle;
use protocols::{Record, Time};
use std::cmp::Ordering as CmpOrdering;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// So many records before those of the last frame are remembered.
pub const RECORDS_BEFORE_MAX: usize = 64;
/// With frames of at most so many records a window has [`PLACES_FEW`] places.
const RECORDS_FEW: usize = 16;
const PLACES_FEW: usize = 64;
/// Else it has so many, or as many as one read has brought: behind a burst a second one finds room.
const PLACES_MANY: usize = 128;
/// What all devices' windows may hold together.
pub const RECENT_BYTES_MAX: usize = 64 << 20;

/// Tells a record from every other of its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordKey {
    /// The device's own time of it, unix ms.
    pub timestamp_ms: i64,
    /// Hash of its content without serial numbers and checksums.
    pub content_hash: u64,
}

impl RecordKey {
    /// The key of a record; `None` for one without a time of its own, which is never a duplicate.
    pub fn of(record: &Record<'_>) -> Option<Self> {
        match record.time {
            Time::Device(timestamp_ms) => Some(Self {
                timestamp_ms,
                content_hash: record.content_hash(),
            }),
            Time::Received(_) | Time::Impossible(_) => None,
        }
    }
}

/// A key in eight bytes. Of equal contents those of different times differ; of different ones two of a
/// window are the same once in 2^57.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen(u64);

impl Seen {
    fn of(key: RecordKey) -> Self {
        // odd, so no two times come to the same
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let time = key.timestamp_ms.cast_unsigned();
        Self(key.content_hash ^ time.wrapping_mul(SPREAD))
    }
}

/// The window of one device. Without records it owns no memory.
#[derive(Debug, Default)]
pub struct Recent {
    seen: VecDeque<Seen>,
    /// No record that was ever remembered has a later time.
    latest_ms: Option<i64>,
    /// The clock hand has not passed since it was used.
    used: bool,
    /// It stands in the budget's queue.
    queued: bool,
    /// Bytes of fragments kept since its last message.
    pub fragment_bytes: usize,
}

impl Recent {
    /// Is this record remembered, and so stored already?
    pub fn holds(&self, key: RecordKey) -> bool {
        // nearly every record is later than all before it
        let earlier = self
            .latest_ms
            .is_some_and(|latest| key.timestamp_ms <= latest);
        earlier && self.seen.iter().rev().any(|seen| *seen == Seen::of(key))
    }

    /// Remembers the records of one frame; what is further back than the bound is forgotten.
    pub(super) fn push(&mut self, keys: &[RecordKey]) {
        let most = match keys.len() {
            ..=RECORDS_FEW => PLACES_FEW,
            count => count.max(PLACES_MANY),
        };
        let before = RECORDS_BEFORE_MAX.min(most - keys.len());
        let kept = self.seen.len().min(before);
        self.seen.drain(..self.seen.len() - kept);
        if self.seen.capacity() > 2 * most {
            self.seen.shrink_to(most);
        }
        self.latest_ms = keys
            .iter()
            .map(|key| key.timestamp_ms)
            .max()
            .max(self.latest_ms);
        let length = self.seen.len() + keys.len();
        if length > self.seen.capacity() {
            let places = length.next_power_of_two().min(most);
            self.seen.reserve_exact(places - self.seen.len());
        }
        self.seen.extend(keys.iter().copied().map(Seen::of));
        self.used = true;
    }

    fn bytes(&self) -> usize {
        self.seen.capacity() * size_of::<Seen>()
    }

    /// How many records it remembers.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Does it remember none?
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

/// What all windows hold together, and the order in which they are given up.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    bytes: AtomicUsize,
    queue: Mutex<VecDeque<Weak<DeviceHandle>>>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(RECENT_BYTES_MAX)
    }
}

impl Budget {
    /// A budget of that many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: AtomicUsize::new(0),
            queue: Mutex::default(),
        }
    }

    /// What the windows hold now.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Remembers a frame's records for `device`, then gives up what is too much.
    pub(super) fn remember(
        &self,
        device: &Arc<DeviceHandle>,
        recent: &mut Recent,
        keys: &[RecordKey],
    ) -> Overdrawn {
        if keys.is_empty() {
            return Overdrawn(false);
        }
        let before = recent.bytes();
        recent.push(keys);
        let after = recent.bytes();
        if !recent.queued {
            recent.queued = true;
            self.queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(Arc::downgrade(device));
        }
        // a window that does not grow leaves the sum alone, which is every thread's
        match after.cmp(&before) {
            CmpOrdering::Equal => {}
            CmpOrdering::Greater => _ = self.bytes.fetch_add(after - before, Ordering::Relaxed),
            CmpOrdering::Less => _ = self.bytes.fetch_sub(before - after, Ordering::Relaxed),
        }
        Overdrawn(self.bytes() > self.bytes_max)
    }

    /// A window goes with its device.
    pub(super) fn release(&self, recent: &mut Recent) {
        self.bytes.fetch_sub(recent.bytes(), Ordering::Relaxed);
        recent.seen = VecDeque::new();
    }

    /// Moves the clock hand until the windows fit again. A window that someone holds is passed by.
    pub(super) fn settle(&self, overdrawn: &Overdrawn) {
        if !overdrawn.0 {
            return;
        }
        // Once around takes every flag back, the second time windows go.
        let mut turns = 2 * self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        while self.bytes() > self.bytes_max && turns > 0 {
            turns -= 1;
            let next = self
                .queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            let Some(device) = next else { return };
            // A device that is gone gave its bytes back when it was dropped.
            let Some(device) = device.upgrade() else {
                continue;
            };
            // Never waits: whoever calls may hold the window of another device.
            let kept = match device.try_recent() {
                None => true,
                Some(mut recent) if recent.used => {
                    recent.used = false;
                    true
                }
                Some(mut recent) => {
                    self.release(&mut recent);
                    recent.queued = false;
                    false
                }
            };
            if kept {
                self.queue
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_back(Arc::downgrade(&device));
            }
        }
    }
}

/// More is remembered than the budget has.
#[must_use]
pub(super) struct Overdrawn(bool);
