//! What an author of a protocol writes.

use super::{Command, CommandError, Context, Delivery, Info};
use std::borrow::Cow;

/// A protocol's decoder. One value lives as long as one connection: its fields are the session
/// state beyond what the engine keeps (the logins and their settings).
pub trait Decode: Default + Send + 'static {
    /// The facts about the protocol.
    const INFO: Info;

    /// Where does the next frame end? Arithmetic or a search for a mark, never a parse.
    ///
    /// `input` is never empty. `scanned` is the number of its leading bytes that an earlier call
    /// has seen already, so that a search for an end mark need not start over. `eof`: the peer
    /// sends no more, so what is there is all there will be.
    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal>;

    /// Reads one whole frame, as [`Decode::cut`] delimited it.
    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject>;

    /// The canonical form of an ident, so that what a person registers and what the wire says
    /// compare equal (leading zeros of BCD, case). It is applied to both.
    fn ident(text: &str) -> Cow<'_, str> {
        Cow::Borrowed(text)
    }

    /// Writes `command` in the protocol's form.
    fn encode(
        &mut self,
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Delivery, CommandError> {
        let _ = (command, out);
        Err(CommandError::Unsupported)
    }

    /// Do a connection's first bytes belong to this protocol? For channels with several protocols.
    fn probe(head: &[u8]) -> Probe {
        let _ = head;
        Probe::No
    }

    /// When the session wants to be woken though nothing came (unix ms), if ever.
    fn next_wake(&self) -> Option<i64> {
        None
    }

    /// The time of [`Decode::next_wake`] has come.
    fn wake(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }
}

/// What [`Decode::cut`] found. Counts are from the beginning of `input`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The frame is at least this long (more than there is): ask again when that much is there.
    Need(usize),
    /// The first so many bytes are one frame (1 to all there is).
    Frame(usize),
    /// The first so many bytes are no part of any frame: keep-alive bytes, line ends, noise.
    Skip(usize),
}

/// Whether a connection's first bytes belong to a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// They do.
    Yes,
    /// They cannot.
    No,
    /// They may: more bytes decide.
    More,
}

/// This frame is dropped, the stream goes on. Nothing of it is stored or answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why} (byte {at})")]
pub struct Reject {
    /// The part of the protocol that failed: a closed set, it becomes a metric label.
    pub what: &'static str,
    /// The reason, in lower case without a full stop.
    pub why: &'static str,
    /// Where in the frame, in bytes from its beginning.
    pub at: usize,
}

impl Reject {
    /// A rejection at byte `at` of the frame.
    pub const fn new(what: &'static str, why: &'static str, at: usize) -> Self {
        Self { what, why, at }
    }
}

/// No next frame can be found: the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why} (byte {at})")]
pub struct Fatal {
    /// The part of the protocol that failed: a closed set, it becomes a metric label.
    pub what: &'static str,
    /// The reason, in lower case without a full stop.
    pub why: &'static str,
    /// Where in the unread bytes.
    pub at: usize,
}

impl Fatal {
    /// A lost stream, noticed at byte `at` of what is unread.
    pub const fn new(what: &'static str, why: &'static str, at: usize) -> Self {
        Self { what, why, at }
    }
}
