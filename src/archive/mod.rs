//! Files of settled days: the messages of devices, sorted by device and device time, compressed by
//! block, each block checked, with a directory of devices at the end.
//!
//! It knows files and no policy: what is settled, how long it is kept and who may read it is the
//! journal's. An archive is written once and never changed; another may take its place. Which
//! archives there are says one list, a checked file that is replaced whole: what it does not name
//! was never finished, or is no longer needed, and is removed at the next start.
//!
//! # Order on disk
//!
//! 1. Each new archive: temporary name, content, `fdatasync`; rename; sync of the folder.
//! 2. The list, which names the archives there are from then on and up to which entry of the
//!    journal everything is in them: temporary name, `fdatasync`, rename, sync of the folder.
//! 3. The archives that it names no more go: unlink; sync of the folder.
//!
//! A crash before the end of 2 leaves the old list and new files that nobody knows; behind it, the
//! new list and old files that nobody knows. Both kinds are removed by the next start.
//!
//! # Bounds
//!
//! | what | bound | when it is full |
//! |---|---|---|
//! | a block | [`BLOCK_BYTES`] and one message | it is written, the next begins |
//! | rows of a leaf of the directory | [`LEAF_ROWS`], or [`BLOCK_BYTES`] | it is written, the next begins |
//! | heads of archives in memory | [`HEADS_BYTES_MAX`] | those that were asked for longest ago go |

mod format;
mod list;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use format::{BLOCK_BYTES, BlockRef, LEAF_ROWS, Origin, Row, Stored, Totals};
pub use list::{Archives, HEADS_BYTES_MAX, LIST, LIST_FORM, ListError, View, listed};
pub use reader::{Archive, Block, Examined, Scan, examine};
pub use writer::{Writer, Written};

/// Seconds of a day.
pub const DAY_S: i64 = 86_400;

/// The classes of `messages_ttl`, in days: messages that are kept about as long lie in one file,
/// so that they go together.
pub const CLASSES_DAYS: [u32; 6] = [1, 7, 31, 92, 366, 3660];

/// The class of a ttl: the least that is as long; the last one for anything longer.
pub fn class_of(ttl_s: u32) -> u8 {
    let days = ttl_s.div_ceil(86_400);
    let class = CLASSES_DAYS.iter().position(|&class| days <= class);
    u8::try_from(class.unwrap_or(CLASSES_DAYS.len() - 1)).expect("there are few classes")
}

/// The day (of unix time) of a time in us.
pub fn day_of(at_us: i64) -> i32 {
    let day = at_us.div_euclid(DAY_S * 1_000_000);
    i32::try_from(day.clamp(i32::MIN.into(), i32::MAX.into())).expect("clamped")
}
