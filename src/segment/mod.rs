//! Append-only files of checked entries: rotation, opening after a crash, and the file trait
//! through which faults are injected. Journal, events and raw traffic use it.
//!
//! It knows nothing of what is in the entries, keeps no thread, and never retries a failed write.
//!
//! # Order on disk
//!
//! 1. [`SegmentLog::append`], when the segment in use is full: footer, cut to length, `fdatasync`.
//! 2. New segment: temporary name, `fallocate` (the spare has both already), header, `fdatasync`,
//!    rename, sync of the folder. Only then is it written to.
//! 3. Batch: one `pwrite`, one `fdatasync`, only then is it seen by readers. One is in flight.
//!
//! What each crash point leaves: during 1 a last segment without a footer, scanned and continued;
//! after 1 a sealed last segment, behind which a new one is begun; during 2 a temporary file, that
//! is removed; during 3 a torn tail, that is cut. In every case at most the last segment has no
//! footer.
//!
//! # Opening
//!
//! A killed process leaves in the page cache what the disk does not have, and so does one whose
//! `fdatasync` failed. So the folder and its own name are synced first: nothing is removed, or written
//! behind, because of a name that a power cut may take back. Sealed segments are taken by header and
//! footer, and the last one, whose footer may be in the page cache only, is copied into a new file, synced
//! and renamed over the old one. The same happens to a last one without a footer: it is read up to the
//! first bad entry, and that part is copied. A bad entry with a good one of a later batch behind it
//! (see [`mod@format`]) was durable once: that is corruption, and opening refuses.

mod catalog;
pub mod checked;
pub mod fields;
pub mod files;
pub mod format;
mod log;
mod opening;
mod repair;
mod rewritten;
mod tail;
#[cfg(test)]
mod tests;
pub mod watched;

pub use catalog::{Catalog, Segment, SegmentEntries};
pub use files::{FileOps, Files, OsFiles};
pub use format::{Batch, Entry, Header};
pub use log::{AppendError, Options, Place, SegmentLog};
pub use opening::{OpenError, Opened};
pub use repair::{Damage, Examined, Filler, examine, give_up};
pub use rewritten::{Change, rewritten};
pub use tail::Tail;
