//! Tollgate, a telematics channel gateway. This page is the code map.
//!
//! GPS trackers connect by TCP to a channel's host:port; Tollgate decodes their frames, finds the
//! one device that the pair (channel, ident) names, delivers each message to the account that owns
//! it, charges its traffic to that account and every account above it, and answers a tracker only
//! when what it answers for is on disk and paid for. `docs/architecture.md` holds the invariants.
//!
//! ```text
//! socket -> channel (driver) -> protocols (decoder) -> registry: (channel, ident) -> device
//!        -> account: charge the chain -> journal: append, fsync -> watermark -> reply
//! ```
//!
//! | room | what it is for |
//! |---|---|
//! | [`account`] | the account tree, its limits, the charge that never overshoots them; pure |
//! | [`api`] | REST under flespi's paths and conventions |
//! | [`archive`] | files of settled days: messages by device and time, compressed, checked, with a directory |
//! | [`channel`] | listeners, the connection driver, the reply queue |
//! | [`cli`] | the command line: one file per subcommand |
//! | [`config`] | the configuration file: read, checked, all its mistakes at once |
//! | [`control`] | what a change of an item sets off: check, store, publish, close connections, log |
//! | [`doctor`] | why a tracker's data does not arrive: facts of the other rooms, and one pure function of them |
//! | [`events`] | the log of what happened, by code, in segments of its own |
//! | [`ids`] | the newtypes that every room shares, the injected clock |
//! | [`journal`] | the durable log of frames and charges: group commit, watermark, checkpoints, reads |
//! | [`metrics`] | every metric name and label; the page that Prometheus scrapes |
//! | [`raw`] | raw traffic: chunks received and sent, kept within a budget, in segments of its own |
//! | [`registry`] | accounts, channels, devices, tokens as items; who owns, who may use; (channel, ident) -> device |
//! | [`replay`] | captures to TCP streams, streams to what a decoder says of them |
//! | [`router`] | live connections and how to reach them; who follows new messages |
//! | [`segment`] | append-only files of checked entries: rotation, opening after a crash, a file trait for faults |
//! | [`store`] | the items at rest and the journal's checkpoints: the only room that names sled |
//!
//! Effects point inward: a room with I/O may import a pure one, never back. `tests/tidy` holds
//! the table of who may import whom.

pub mod account;
pub mod api;
pub mod archive;
pub mod channel;
pub mod cli;
pub mod config;
pub mod control;
pub mod doctor;
pub mod events;
pub mod ids;
pub mod journal;
pub mod metrics;
pub mod raw;
pub mod registry;
pub mod replay;
pub mod router;
pub mod segment;
pub mod store;
