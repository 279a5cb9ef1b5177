//! Raw traffic: every chunk that was received and sent, as it was, for those channels and devices
//! that ask for it, within a budget of bytes and days.
//!
//! It is kept to be looked at, replayed and decoded again; nobody pays for it and nothing stands on
//! it. So it gives way: whatever it cannot keep is counted and lost, and no tracker waits for it.
//! It refuses to decode, and to decide who may look: a reader says which accounts it may see.
//!
//! | file | what it is for |
//! |---|---|
//! | [`packet`] | a chunk with its time, direction and connection: the form on disk |
//! | `log` | the queue, the thread that writes, what is kept for how long |
//! | `erase` | a device's chunks leave the disk for good |
//! | `read` | reading back by connection, channel, ident, device and time |
//!
//! # Bounds
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | chunks that wait for the writer | [`QUEUED_BYTES_MAX`] | the newest is lost, counted, and seen as a gap of `index` |
//! | the folder | [`Options::budget_bytes`] | the oldest segment goes |
//! | their age | [`Options::keep_us`] | not shown any more; the segment goes when all of it is older |
//! | space that is left to the journal | [`FREE_BYTES_MIN`] | the oldest segment goes instead of a new one |
//! | what a crash may lose | [`PACE`] and what waits | |
//!
//! TLS is undone before: what is kept is what the decoder read and what it answered.

mod erase;
mod log;
pub mod packet;
mod read;
#[cfg(test)]
mod tests;

pub use log::{FREE_BYTES_MIN, Options, PACE, QUEUED_BYTES_MAX, RawTraffic};
pub use packet::{Direction, Ended, Head, Label, Packet};
pub use read::{Query, ReadError};

/// The folder of raw traffic in the data directory.
pub const RAW_DIR: &str = "raw";
