//! One connection, driven as the gateway drives it, with events turned into fixture lines.

use protocols::{
    Command, CommandError, Delivery, Env, Event, Ident, Lookup, Output, Protocol, Reject, Session,
    Settings, event_line,
};
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// A registry of one entry: every ident is a device with these settings, or nobody is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registered {
    pub(crate) settings: Option<Arc<Settings>>,
}

impl Lookup for Registered {
    fn choose(&mut self, _: &[Ident]) -> usize {
        0
    }

    fn identify(&mut self, _: u16, _: &Ident, _: Option<&str>) -> Option<Arc<Settings>> {
        self.settings.clone()
    }
}

/// Where a frame, or noise between frames, stands in all bytes of its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) start: usize,
    pub(crate) length: usize,
    pub(crate) noise: bool,
}

/// A connection of a protocol, with what is unread of it.
pub(crate) struct Runner {
    session: Box<dyn Session>,
    frame_bytes_max: usize,
    pub(crate) lookup: Registered,
    pub(crate) now_ms: i64,
    unread: Vec<u8>,
    out: Output,
    idents: Vec<String>,
    closed: bool,
    /// What was cut so far.
    pub(crate) pieces: Vec<Piece>,
    /// Name, kind and type of every dictionary field that was not as the dictionary has it.
    pub(crate) misfits: Vec<String>,
}

impl Runner {
    pub(crate) fn open(protocol: &Protocol, lookup: Registered, now_ms: i64) -> Self {
        Self {
            session: (protocol.open)(),
            frame_bytes_max: protocol.info.frame_bytes_max,
            lookup,
            now_ms,
            unread: Vec::new(),
            out: Output::default(),
            idents: Vec::new(),
            closed: false,
            pieces: Vec::new(),
            misfits: Vec::new(),
        }
    }

    /// Begins as if `ident` had logged in already; that login itself is no outcome.
    pub(crate) fn begin_as(&mut self, ident: &str) -> Result<(), Reject> {
        self.out.clear();
        let env = Env {
            now_ms: self.now_ms,
            lookup: &mut self.lookup,
            out: &mut self.out,
        };
        self.session.begin_as(ident, env)?;
        self.lines();
        Ok(())
    }

    /// The ident that what comes now stands under.
    pub(crate) fn ident(&self) -> Option<String> {
        self.session.ident().map(ToString::to_string)
    }

    /// How many idents this connection has carried.
    pub(crate) fn idents(&self) -> usize {
        self.idents.len()
    }

    /// Is the stream lost?
    pub(crate) fn closed(&self) -> bool {
        self.closed
    }

    /// The bytes that no frame has taken yet.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Forgets what is unread.
    pub(crate) fn drop_unread(&mut self) {
        self.unread.clear();
    }

    /// Reads `bytes` after what is unread, to the end of what can be read.
    pub(crate) fn feed(&mut self, bytes: &[u8], eof: bool) -> Vec<Json> {
        if self.closed {
            return Vec::new();
        }
        self.unread.extend_from_slice(bytes);
        let mut lines = Vec::new();
        loop {
            self.out.clear();
            let env = Env {
                now_ms: self.now_ms,
                lookup: &mut self.lookup,
                out: &mut self.out,
            };
            let fed = self.session.feed(&self.unread, eof, env);
            assert!(
                fed.consumed <= self.unread.len(),
                "it consumed what is not there"
            );
            self.unread.drain(..fed.consumed);
            lines.append(&mut self.lines());
            if let Some(fatal) = fed.fatal {
                self.closed = true;
                lines.push(json!({
                    "fatal": { "what": fatal.what, "why": fatal.why, "at": fatal.at }
                }));
                return lines;
            }
            if self.unread.is_empty() || fed.need > self.unread.len() {
                assert!(
                    self.unread.len() < self.frame_bytes_max.max(1),
                    "more is unread than a frame may be long"
                );
                return lines;
            }
            assert!(fed.consumed > 0, "no progress, though nothing is missing");
        }
    }

    /// Reads `frame`, which something else delimited.
    pub(crate) fn read_frame(&mut self, frame: &[u8]) -> Vec<Json> {
        self.out.clear();
        let env = Env {
            now_ms: self.now_ms,
            lookup: &mut self.lookup,
            out: &mut self.out,
        };
        let fatal = self.session.read_frame(frame, env);
        let mut lines = self.lines();
        if let Some(fatal) = fatal {
            self.closed = true;
            lines.push(json!({
                "fatal": { "what": fatal.what, "why": fatal.why, "at": fatal.at }
            }));
        }
        lines
    }

    /// Moves the clock to `now_ms` and wakes the session if it asked to be.
    pub(crate) fn wake(&mut self, now_ms: i64) -> Vec<Json> {
        self.now_ms = now_ms;
        self.out.clear();
        if self.session.next_wake().is_some_and(|at| at <= now_ms) {
            let env = Env {
                now_ms,
                lookup: &mut self.lookup,
                out: &mut self.out,
            };
            self.session.wake(env);
        }
        self.lines()
    }

    /// Writes a command; gives its line.
    pub(crate) fn command(&mut self, name: &str, properties: &Json) -> Json {
        let mut bytes = Vec::new();
        let command = Command { name, properties };
        match self.session.encode(&command, &mut bytes) {
            Ok(Delivery::Unconfirmed) => json!({ "sent": hex(&bytes), "delivery": "unconfirmed" }),
            Ok(Delivery::Answered(key)) => {
                json!({ "sent": hex(&bytes), "delivery": "answered", "key": key })
            }
            Err(error) => json!({ "unsent": command_error(error) }),
        }
    }

    fn lines(&mut self) -> Vec<Json> {
        let out = std::mem::take(&mut self.out);
        let mut lines = Vec::new();
        for event in &out.events {
            let mut under = None;
            match event {
                Event::Login { login, ident, .. } => {
                    let login = usize::from(*login);
                    // a rejected frame may have named others, of which nothing was said
                    while login >= self.idents.len() {
                        self.idents.push(String::new());
                    }
                    if let Some(unsaid) = self.idents.get_mut(login).filter(|i| i.is_empty()) {
                        ident.as_str().clone_into(unsaid);
                    }
                    under = self.idents.get(login);
                    assert_eq!(under.map(String::as_str), Some(ident.as_str()));
                }
                Event::Message { login, range } => {
                    under = self.idents.get(usize::from(*login));
                    let record = out.record(range).expect("a record that was just written");
                    super::fields::check(&record, &mut self.misfits);
                }
                Event::Frame { bytes } | Event::Noise { bytes } => {
                    let start = self
                        .pieces
                        .last()
                        .map_or(0, |piece| piece.start + piece.length);
                    self.pieces.push(Piece {
                        start,
                        length: *bytes,
                        noise: matches!(event, Event::Noise { .. }),
                    });
                }
                _ => {}
            }
            lines.extend(event_line(event, &out, under.map(String::as_str)));
        }
        self.out = out;
        self.out.clear();
        lines
    }
}

fn command_error(error: CommandError) -> &'static str {
    match error {
        CommandError::Unsupported => "unsupported",
        CommandError::BadProperties => "bad properties",
        CommandError::NotLoggedIn => "not logged in",
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    protocols::kit::hex::encode(bytes)
}
