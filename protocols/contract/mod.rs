//! What a protocol implements and what drives it.
//!
//! A session is a function from (state, bytes, now) to events. It has no clock, no store, no
//! account, no log and no async: a decoder says what the bytes mean and what could be answered,
//! and decides nothing. A reply is data with a [`Gate`] and its outcomes, not an action.
//!
//! An author writes one [`Decode`]; the gateway drives a boxed [`Session`], which the one engine
//! in `session` makes of any `Decode`. The engine owns the bounds, the splitting and the
//! rejects, so that no author can forget them.
//!
//! Rules that every decoder keeps (the fixture harness checks them):
//!
//! 1. Events are in wire order; a gated reply covers every login and message since the previous
//!    gated one.
//! 2. The driver takes every event of one feed before the next feed.
//! 3. State changes only in [`Decode::frame`], and only after parsing has succeeded: a rejected
//!    frame leaves no trace.
//! 4. Cutting the stream at any byte gives the same events.
//! 5. What is not understood is kept under the wire's own number or name.

mod command;
mod context;
mod decode;
mod exercise;
pub mod fields;
mod ident;
mod info;
pub mod record;
mod render;
mod reply;
mod session;
mod settings;

pub use command::{Command, CommandError, Delivery};
pub use context::{Context, Login, RecordBuilder, Time};
pub use decode::{Cut, Decode, Fatal, Probe, Reject};
pub use exercise::{exercise, exercise_any};
pub use fields::{Instance, Kind, Param, ParamId};
pub use ident::{IDENT_BYTES_MAX, Ident, IdentError};
pub use info::{Acks, Info, Model, Setting};
pub use record::{Key, Record, Value};
pub use render::{event_line, json_of, key_name, key_of, message_object};
pub use reply::{Cause, Gate, Reply};
pub use session::{
    Env, Event, FRAMES_PER_FEED_MAX, Fed, LOGINS_MAX, Lookup, Output, Protocol, RECORD_BYTES_MAX,
    RECORDS_PER_FRAME_MAX, REJECTS_IN_A_ROW_MAX, SHARED_LOGINS_MAX, Session, Unregistered,
};
pub use settings::{Settings, SettingsError, TimeZone};
