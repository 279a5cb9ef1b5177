//! The log of what happened, by flespi's codes, in segments of its own.
//!
//! Whoever notices something hands an [`Event`] over and goes on: [`Events::log`] never waits. One
//! thread writes what has come together ten times a second at most, so that a flood of events
//! never delays an ack. What does not fit the queue, or the disk, is lost and counted
//! ([`Events::lost`]); nothing is ever acked or charged by this log.
//!
//! Kept are [`KEPT_BYTES_MAX`] and [`KEPT_US_MAX`], whichever is less; a segment goes as a whole.
//!
//! | code | what | data |
//! |---|---|---|
//! | 1 2 3 | created, changed, deleted | `old`, `new` |
//! | 4 | moved to another account | `from`, `to` |
//! | 20 21 | blocked, unblocked | `blocked`, `dimension`, `until` |
//! | 100 101 102 | connection accepted, identified, closed | `source`, `ident`, `close_code`, ... |
//! | 300 301 | device connected, disconnected | `close_code`, `duration`, `msgs`, `recv`, `send` |
//! | 305 | a frame was rejected (sampled) | `what`, `why`, `at` |
//! | 600 | a token expired | |
//! | 1000 | a REST call | `http_data` |
//! | 9001 | an ident flaps between connections, or is wanted again and again where the first one keeps it | `ident` |
//! | 9002 | a frame costs more than a whole limit | `dimension` |
//! | 9003 | the gateway started or stopped | `what` |
//! | 9004 | a device came on a second connection, the first was closed | `taken_from` |

mod code;
mod event;
mod log;
mod writer;

pub use code::{Code, Origin, OriginKind};
pub use event::{Entry, Event};
pub use log::{Events, OpenError, Query};
pub use writer::{KEPT_BYTES_MAX, KEPT_US_MAX, QUEUED_MAX};
