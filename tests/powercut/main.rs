//! Power cuts: every disk image that one may leave opens, with everything that was acked in it
//! exactly once and paid for.
//!
//! A file system in memory records what the journal does to it. From the record the images are
//! built that a disk may hold when the power goes at any point: what was synced for certain, and
//! of the rest nothing, an ordered part, or random pages of 4 KiB. Each image is opened, checked,
//! written to, cut again and opened again. `kill -9` cannot show this: it leaves the page cache.
//!
//! The same file system fails on purpose: EIO, "no space" and "read-only" at any call, and delays
//! (`faults`).
//!
//! `TOLLGATE_POWERCUT_RUNS` and `TOLLGATE_POWERCUT_SEED` repeat a failure or make it longer.

mod cuts;
mod deleting;
mod disk;
mod erasing;
mod faults;
#[expect(
    dead_code,
    reason = "tests/gateway has it too, and records what the journal never does"
)]
mod image;
mod kills;
mod settling;
