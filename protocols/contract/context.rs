//! What a frame's reader may say. There is no other way out of a decoder.

use super::record::{self, Key, Value};
use super::reply::Reply;
use super::session::{Event, Lookup, Output, RECORD_BYTES_MAX, RECORDS_PER_FRAME_MAX, State};
use super::{Ident, Reject, Settings};
use std::borrow::Cow;

/// A device naming itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Login<'a> {
    /// The name it goes by.
    pub ident: &'a str,
    /// Other names that the frame gives for it; the first of all that names a device wins.
    pub alternates: &'a [&'a str],
    /// The secret it shows, if the protocol has one and it sent one.
    pub secret: Option<&'a str>,
}

impl<'a> Login<'a> {
    /// A login by one name without a secret.
    pub const fn of(ident: &'a str) -> Self {
        Self {
            ident,
            alternates: &[],
            secret: None,
        }
    }
}

/// The time of a record, unix ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// The device's own time.
    Device(i64),
    /// The device sent none: the time of receipt. Such a record is never a duplicate.
    Received(i64),
    /// The device sent a time that cannot be: the time of receipt, and `timestamp.valid` is false.
    Impossible(i64),
}

impl Time {
    /// The number of ms since 1970, UTC.
    pub const fn ms(self) -> i64 {
        match self {
            Self::Device(ms) | Self::Received(ms) | Self::Impossible(ms) => ms,
        }
    }
}

/// The reader's side of the engine during one frame.
pub struct Context<'a> {
    /// The time of receipt, unix ms.
    pub now_ms: i64,
    pub(super) canonical: fn(&str) -> Cow<'_, str>,
    pub(super) shared: bool,
    pub(super) state: &'a mut State,
    pub(super) lookup: &'a mut dyn Lookup,
    pub(super) out: &'a mut Output,
    pub(super) records: usize,
    pub(super) overflow: bool,
}

impl Context<'_> {
    /// Names the device that what follows is from, and gives back its settings (the defaults while
    /// it is unknown). Naming the same device again is cheap: protocols with the ident in every
    /// frame do it for every frame. The look-up is into memory; the verdict on the login is the
    /// gateway's and reaches the tracker only through gated replies.
    pub fn identify(&mut self, login: Login<'_>) -> Result<&Settings, Reject> {
        let canonical = self.canonical;
        let named = |text: &str| {
            Ident::new(&canonical(text.trim())).map_err(|_| {
                Reject::new("ident", "the ident is empty, too long or not printable", 0)
            })
        };
        let mut ident = named(login.ident)?;
        if !login.alternates.is_empty() {
            let mut candidates = vec![ident];
            candidates.extend(login.alternates.iter().filter_map(|text| named(text).ok()));
            let chosen = self.lookup.choose(&candidates).min(candidates.len() - 1);
            ident = candidates.swap_remove(chosen);
        }
        self.state
            .log_in(ident, login.secret, self.shared, self.lookup, self.out)?;
        Ok(self.state.settings())
    }

    /// The ident that what comes now stands under, if one has been given on this connection.
    pub fn ident(&self) -> Option<&Ident> {
        self.state.ident()
    }

    /// The settings of the present device; the defaults while it is unknown.
    pub fn settings(&self) -> &Settings {
        self.state.settings()
    }

    /// Opens a record of the present device. It is rejected before a login.
    pub fn message(&mut self, time: Time) -> Result<RecordBuilder<'_>, Reject> {
        let Some(login) = self.state.current() else {
            return Err(Reject::new("login", "data before a login", 0));
        };
        self.records += 1;
        if self.records > RECORDS_PER_FRAME_MAX {
            return Err(Reject::new(
                "records",
                "more records than a frame may hold",
                0,
            ));
        }
        let start = self.out.bytes.len();
        let head = record::write_head(&mut self.out.bytes, time);
        let mut builder = RecordBuilder {
            out: self.out,
            overflow: &mut self.overflow,
            login,
            start,
            head,
            fields: 0,
        };
        if let Time::Impossible(_) = time {
            builder.push(super::fields::TIMESTAMP_VALID, false);
        }
        Ok(builder)
    }

    /// Runs `read`, and takes back what it said if it fails, so that the frame can be kept in another
    /// form: what passed its checksum and is not understood is no reason for a tracker to send it
    /// for ever. Logins stay.
    pub fn attempt(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<(), Reject>,
    ) -> Result<(), Reject> {
        let (events, bytes) = (self.out.events.len(), self.out.bytes.len());
        let (records, overflow) = (self.records, self.overflow);
        let read = read(self);
        if read.is_err() {
            self.out.events.truncate(events);
            self.out.bytes.truncate(bytes);
            (self.records, self.overflow) = (records, overflow);
        }
        read
    }

    /// Answers the tracker, once the reply's gate is met.
    pub fn reply(&mut self, reply: Reply) {
        self.out.events.push(Event::Reply(reply));
    }

    /// Gives up a part of the frame, while the rest of it is kept.
    pub fn reject(&mut self, reject: Reject) {
        self.out.events.push(Event::Rejected(reject));
    }

    /// Hands over a fragment of a multi-part message whose ack the tracker waits for: it is kept
    /// durably itself, so that a gated reply after it may say so.
    pub fn part(&mut self, bytes: &[u8]) -> Result<(), Reject> {
        let Some(login) = self.state.current() else {
            return Err(Reject::new("login", "data before a login", 0));
        };
        let start = self.out.bytes.len();
        self.out.bytes.extend_from_slice(bytes);
        self.out.events.push(Event::Part {
            login,
            range: start..self.out.bytes.len(),
        });
        Ok(())
    }

    /// The tracker's answer to a command.
    pub fn command_reply(&mut self, key: Option<u32>, text: &str) {
        self.out.events.push(Event::CommandReply {
            key,
            text: text.into(),
        });
    }
}

/// A record being filled, straight into the reused output buffer. It ends when it is dropped.
pub struct RecordBuilder<'a> {
    out: &'a mut Output,
    overflow: &'a mut bool,
    login: u16,
    start: usize,
    head: usize,
    fields: usize,
}

impl RecordBuilder<'_> {
    /// Adds a field. The same key again replaces the earlier value for readers.
    #[inline]
    pub fn push<'v>(&mut self, key: impl Into<Key<'v>>, value: impl Into<Value<'v>>) {
        self.field(key.into(), value.into());
    }

    #[expect(clippy::inline_always, reason = "see record::write_field")]
    #[inline(always)]
    fn field(&mut self, key: Key<'_>, value: Value<'_>) {
        record::write_field(&mut self.out.bytes, self.head, key, value);
        self.fields += 1;
    }

    /// Adds a field if there is a value.
    pub fn push_some<'v, V: Into<Value<'v>>>(&mut self, key: impl Into<Key<'v>>, value: Option<V>) {
        if let Some(value) = value {
            self.push(key, value);
        }
    }

    /// Adds what the wire numbers and the dictionary does not have.
    pub fn wire<'v>(&mut self, id: u32, value: impl Into<Value<'v>>) {
        self.field(Key::Wire { space: 0, id }, value.into());
    }

    /// Adds what the wire names and the dictionary does not have.
    pub fn name<'v>(&mut self, name: &'v str, value: impl Into<Value<'v>>) {
        self.field(Key::Name(name), value.into());
    }

    /// How many fields it has so far.
    pub fn len(&self) -> usize {
        self.fields
    }

    /// Has nothing been pushed yet?
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }
}

impl Drop for RecordBuilder<'_> {
    fn drop(&mut self) {
        let range = self.start..self.out.bytes.len();
        *self.overflow |= range.len() > RECORD_BYTES_MAX;
        self.out.events.push(Event::Message {
            login: self.login,
            range,
        });
    }
}
