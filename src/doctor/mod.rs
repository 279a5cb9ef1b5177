//! Why did this tracker's data not arrive? From what the other rooms have written down, never from a
//! guess.
//!
//! [`gather()`] asks them what the caller may see of one ident; [`diagnose`] is one pure function from
//! these facts to causes, the likeliest first. Nothing here changes anything, and no decoder runs but
//! over the few bytes with which a connection began that nobody could read.
//!
//! Bounds: [`LOG_MAX`] events of the ident and [`STRAYS_MAX`] of connections that nobody named, of
//! the last [`LOOK_BACK_US`]; [`FRAMES_MAX`] chunks of raw traffic.

mod cause;
mod diagnosis;
mod facts;
mod gather;
mod strays;
#[cfg(test)]
mod tests;

pub use cause::{Cause, Finding};
pub use diagnosis::diagnose;
pub use facts::{Blocked, ChannelFacts, ConnectionFacts, DeviceFacts, Facts, Told, UnknownFacts};
pub use gather::{FRAMES_MAX, LOG_MAX, LOOK_BACK_US, STRAYS_MAX, gather};
