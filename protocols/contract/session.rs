//! The engine: drives any [`Decode`] over a stream, with all the bounds in one place.
//!
//! It finds frames, opens each with an [`Event::Frame`], turns a [`Reject`] into an event after
//! taking back whatever the frame had said, keeps the logins of the connection, and closes streams
//! that cannot be followed. It holds no bytes: the caller keeps what was not consumed.

use super::{
    Command, CommandError, Context, Cut, Decode, Delivery, Fatal, Ident, Info, Probe, Record,
    Reject, Reply, Settings,
};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

/// The most records of one frame.
pub const RECORDS_PER_FRAME_MAX: usize = 4096;
/// The longest encoded record.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// The most frames that one feed reads, so that a backlog yields to other connections.
pub const FRAMES_PER_FEED_MAX: usize = 64;
/// So many rejected frames in a row, and the stream is given up.
pub const REJECTS_IN_A_ROW_MAX: u32 = 128;
/// The most idents of one connection where a connection has one.
pub const LOGINS_MAX: usize = 128;
/// The most idents of one connection where the protocol carries several.
pub const SHARED_LOGINS_MAX: usize = 1024;

/// What the gateway knows of idents, asked synchronously and answered from memory.
pub trait Lookup {
    /// The index of the first candidate that names a device; 0 if none does. Asked only where a
    /// frame gives several names.
    fn choose(&mut self, candidates: &[Ident]) -> usize;

    /// `ident` has named itself as the connection's login number `login` (again, perhaps). Gives
    /// back its device's settings, `None` while it is unknown.
    fn identify(
        &mut self,
        login: u16,
        ident: &Ident,
        secret: Option<&str>,
    ) -> Option<Arc<Settings>>;
}

/// A look-up that knows nobody.
#[derive(Debug, Default, Clone, Copy)]
pub struct Unregistered;

impl Lookup for Unregistered {
    fn choose(&mut self, _: &[Ident]) -> usize {
        0
    }

    fn identify(&mut self, _: u16, _: &Ident, _: Option<&str>) -> Option<Arc<Settings>> {
        None
    }
}

/// What a stream says, in wire order.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A frame of so many bytes begins: what follows, up to the next of these, is its.
    Frame {
        /// Its length on the wire.
        bytes: usize,
    },
    /// Bytes that are no part of a frame.
    Noise {
        /// How many.
        bytes: usize,
    },
    /// A device named itself: what follows is from it.
    Login {
        /// Its number on this connection.
        login: u16,
        /// Its name.
        ident: Ident,
        /// It is another one than before on this connection, or it showed a secret.
        announced: bool,
    },
    /// A record.
    Message {
        /// Whose.
        login: u16,
        /// Where it stands in [`Output::bytes`].
        range: Range<usize>,
    },
    /// A fragment to be kept as it is.
    Part {
        /// Whose.
        login: u16,
        /// Where it stands in [`Output::bytes`].
        range: Range<usize>,
    },
    /// An answer with its condition.
    Reply(Reply),
    /// An answer of the tracker to a command.
    CommandReply {
        /// The command's key, if the protocol has one.
        key: Option<u32>,
        /// The answer.
        text: String,
    },
    /// The frame, or a part of it, was dropped.
    Rejected(Reject),
}

/// Where events go: reused from feed to feed.
#[derive(Debug, Default)]
pub struct Output {
    /// The events in wire order.
    pub events: Vec<Event>,
    /// The encoded records and fragments that the events point into.
    pub bytes: Vec<u8>,
}

impl Output {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.events.clear();
        self.bytes.clear();
    }

    /// The record of an [`Event::Message`].
    pub fn record(&self, range: &Range<usize>) -> Option<Record<'_>> {
        Record::read(self.bytes.get(range.clone())?)
    }
}

/// What surrounds a feed.
pub struct Env<'a> {
    /// The time of receipt, unix ms.
    pub now_ms: i64,
    /// Who knows the idents.
    pub lookup: &'a mut dyn Lookup,
    /// Where the events go. The session appends.
    pub out: &'a mut Output,
}

impl Env<'_> {
    fn reborrow(&mut self) -> Env<'_> {
        Env {
            now_ms: self.now_ms,
            lookup: &mut *self.lookup,
            out: &mut *self.out,
        }
    }
}

/// What became of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fed {
    /// So many leading bytes are done with: the caller drops them and hands the rest in again,
    /// together with what came after them.
    pub consumed: usize,
    /// The rest is of no use before it is this long. Not more than is there: call again at once
    /// (the bound on frames of one feed was reached).
    pub need: usize,
    /// The stream is lost.
    pub fatal: Option<Fatal>,
}

/// A decoder at work on one connection. Object safe; made by [`Protocol::open`].
pub trait Session: Send {
    /// The facts about its protocol.
    fn info(&self) -> &'static Info;

    /// Reads what can be read of `input`: everything not consumed yet. `eof`: the peer sends no
    /// more.
    fn feed(&mut self, input: &[u8], eof: bool, env: Env<'_>) -> Fed;

    /// Reads one frame that something else delimited (a datagram, a capture's payload), beside
    /// the stream.
    fn read_frame(&mut self, frame: &[u8], env: Env<'_>) -> Option<Fatal>;

    /// Logs `ident` in as if the stream had begun with it.
    fn begin_as(&mut self, ident: &str, env: Env<'_>) -> Result<(), Reject>;

    /// The present ident of the connection.
    fn ident(&self) -> Option<&Ident>;

    /// Writes `command` for the present device.
    fn encode(
        &mut self,
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Delivery, CommandError>;

    /// When it wants to be woken (unix ms), if ever.
    fn next_wake(&self) -> Option<i64>;

    /// The time of [`Session::next_wake`] has come.
    fn wake(&mut self, env: Env<'_>);
}

/// A row of the registration table: facts and functions.
#[derive(Clone, Copy)]
pub struct Protocol {
    /// Append-only: it is what is stored.
    pub number: u16,
    /// The facts.
    pub info: &'static Info,
    /// Do a connection's first bytes belong to it?
    pub probe: fn(&[u8]) -> Probe,
    /// Opens a session for a new connection.
    pub open: fn() -> Box<dyn Session>,
    canonical: fn(&str) -> Cow<'_, str>,
}

impl Protocol {
    /// The row of a decoder.
    pub const fn of<D: Decode>(number: u16) -> Self {
        Self {
            number,
            info: &D::INFO,
            probe: D::probe,
            open: || Box::new(Driven::<D>::default()),
            canonical: D::ident,
        }
    }

    /// An ident in the protocol's canonical form: what the wire says and what a person registers
    /// compare equal in it.
    pub fn ident(&self, text: &str) -> Result<Ident, super::IdentError> {
        Ident::new(&(self.canonical)(text.trim()))
    }
}

impl std::fmt::Debug for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Protocol({} {})", self.number, self.info.name)
    }
}

/// What the engine keeps of a connection beside the decoder's own state.
#[derive(Default)]
pub(super) struct State {
    logins: SmallVec<[(Ident, Option<Arc<Settings>>); 1]>,
    current: Option<u16>,
}

static DEFAULTS: LazyLock<Settings> = LazyLock::new(Settings::default);

impl State {
    pub(super) fn current(&self) -> Option<u16> {
        self.current
    }

    fn now(&self) -> Option<&(Ident, Option<Arc<Settings>>)> {
        self.logins.get(usize::from(self.current?))
    }

    pub(super) fn ident(&self) -> Option<&Ident> {
        self.now().map(|(ident, _)| ident)
    }

    pub(super) fn settings(&self) -> &Settings {
        self.now()
            .and_then(|(_, settings)| settings.as_deref())
            .unwrap_or(&DEFAULTS)
    }

    pub(super) fn log_in(
        &mut self,
        ident: Ident,
        secret: Option<&str>,
        shared: bool,
        lookup: &mut dyn Lookup,
        out: &mut Output,
    ) -> Result<(), Reject> {
        let known = self.logins.iter().position(|(seen, _)| *seen == ident);
        let index = known.unwrap_or(self.logins.len());
        let most = if shared {
            SHARED_LOGINS_MAX
        } else {
            LOGINS_MAX
        };
        let login = u16::try_from(index)
            .ok()
            .filter(|_| index < most)
            .ok_or(Reject::new(
                "login",
                "more idents than a connection may carry",
                0,
            ))?;
        let settings = lookup.identify(login, &ident, secret);
        let announced = known.is_none() || self.current != Some(login) || secret.is_some();
        out.events.push(Event::Login {
            login,
            ident: ident.clone(),
            announced,
        });
        match self.logins.get_mut(index) {
            Some(entry) => entry.1 = settings,
            None => self.logins.push((ident, settings)),
        }
        self.current = Some(login);
        Ok(())
    }
}

/// Every connection has one: numbers are as small as their bounds allow.
struct Driven<D> {
    decoder: D,
    state: State,
    /// So much of the frame that has begun was looked at. A frame is far below 4 GiB.
    scanned: u32,
    rejects_in_a_row: u32,
}

impl<D: Decode> Default for Driven<D> {
    fn default() -> Self {
        Self {
            decoder: D::default(),
            state: State::default(),
            scanned: 0,
            rejects_in_a_row: 0,
        }
    }
}

impl<D: Decode> Driven<D> {
    fn context<'a>(state: &'a mut State, env: Env<'a>) -> Context<'a> {
        let Env {
            now_ms,
            lookup,
            out,
        } = env;
        Context {
            now_ms,
            canonical: D::ident,
            shared: D::INFO.shared,
            state,
            lookup,
            out,
            records: 0,
            overflow: false,
        }
    }

    fn scanned_of(&self, rest: &[u8]) -> usize {
        usize::try_from(self.scanned).map_or(0, |scanned| scanned.min(rest.len()))
    }

    /// Reads one frame; a rejection takes back what the frame had said.
    fn frame(&mut self, frame: &[u8], env: &mut Env<'_>) -> Option<Fatal> {
        env.out.events.push(Event::Frame { bytes: frame.len() });
        let (events, bytes) = (env.out.events.len(), env.out.bytes.len());
        let (before, logins) = (self.state.current, self.state.logins.len());
        let mut cx = Self::context(&mut self.state, env.reborrow());
        let mut read = self.decoder.frame(frame, &mut cx);
        if cx.overflow && read.is_ok() {
            read = Err(Reject::new("record", "longer than a record may be", 0));
        }
        match read {
            Ok(()) => {
                self.rejects_in_a_row = 0;
                None
            }
            Err(reject) => {
                env.out.events.truncate(events);
                env.out.bytes.truncate(bytes);
                env.out.events.push(Event::Rejected(reject));
                self.state.current = before;
                // nobody has heard of a login in what was taken back
                self.state.logins.truncate(logins);
                self.rejects_in_a_row += 1;
                (self.rejects_in_a_row >= REJECTS_IN_A_ROW_MAX)
                    .then(|| Fatal::new("frames", "too many rejected frames in a row", 0))
            }
        }
    }
}

impl<D: Decode> Session for Driven<D> {
    fn info(&self) -> &'static Info {
        &D::INFO
    }

    fn feed(&mut self, input: &[u8], eof: bool, mut env: Env<'_>) -> Fed {
        let mut consumed = 0;
        let mut frames = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            if rest.is_empty() {
                return Fed {
                    consumed,
                    need: 1,
                    fatal: None,
                };
            }
            if frames == FRAMES_PER_FEED_MAX {
                return Fed {
                    consumed,
                    need: 0,
                    fatal: None,
                };
            }
            let too_long = || {
                Fatal::new(
                    "frame",
                    "longer than the protocol's frames may be",
                    consumed,
                )
            };
            let cut = match self.decoder.cut(rest, self.scanned_of(rest), eof) {
                Ok(cut) => cut,
                Err(fatal) => {
                    return Fed {
                        consumed,
                        need: 0,
                        fatal: Some(fatal),
                    };
                }
            };
            let fatal = match cut {
                Cut::Need(need) => {
                    let need = need.max(rest.len() + 1);
                    let fatal = (need > D::INFO.frame_bytes_max).then(too_long);
                    self.scanned = u32::try_from(rest.len()).unwrap_or(0);
                    return Fed {
                        consumed,
                        need,
                        fatal,
                    };
                }
                Cut::Frame(bytes) if bytes > D::INFO.frame_bytes_max => Some(too_long()),
                Cut::Frame(bytes) if bytes > 0 && bytes <= rest.len() => {
                    let frame = rest.get(..bytes).unwrap_or_default();
                    consumed += bytes;
                    frames += 1;
                    self.frame(frame, &mut env)
                }
                Cut::Skip(bytes) if bytes > 0 && bytes <= rest.len() => {
                    env.out.events.push(Event::Noise { bytes });
                    consumed += bytes;
                    frames += 1;
                    None
                }
                Cut::Frame(_) | Cut::Skip(_) => Some(Fatal::new(
                    "cut",
                    "the decoder cut outside what there is",
                    consumed,
                )),
            };
            self.scanned = 0;
            if fatal.is_some() {
                return Fed {
                    consumed,
                    need: 0,
                    fatal,
                };
            }
        }
    }

    fn read_frame(&mut self, frame: &[u8], mut env: Env<'_>) -> Option<Fatal> {
        self.frame(frame, &mut env)
    }

    fn begin_as(&mut self, ident: &str, mut env: Env<'_>) -> Result<(), Reject> {
        let mut cx = Self::context(&mut self.state, env.reborrow());
        cx.identify(super::Login::of(ident)).map(|_| ())
    }

    fn ident(&self) -> Option<&Ident> {
        self.state.ident()
    }

    fn encode(
        &mut self,
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Delivery, CommandError> {
        self.decoder.encode(command, out)
    }

    fn next_wake(&self) -> Option<i64> {
        self.decoder.next_wake()
    }

    fn wake(&mut self, mut env: Env<'_>) {
        let mut cx = Self::context(&mut self.state, env.reborrow());
        self.decoder.wake(&mut cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Login;

    #[derive(Default)]
    struct Lines;

    impl Decode for Lines {
        const INFO: Info = Info {
            name: "lines",
            ..Info::DEFAULT
        };

        fn cut(&self, input: &[u8], _: usize, _: bool) -> Result<Cut, Fatal> {
            let end = input.iter().position(|byte| *byte == b'\n');
            Ok(end.map_or(Cut::Need(input.len() + 1), |end| Cut::Frame(end + 1)))
        }

        fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
            let text = std::str::from_utf8(frame).unwrap_or_default().trim_end();
            cx.identify(Login::of(text))?;
            if text.starts_with("bad") {
                return Err(Reject::new("line", "bad", 0));
            }
            Ok(())
        }
    }

    #[test]
    fn a_rejected_frame_leaves_no_login_behind() {
        let mut session = (Protocol::of::<Lines>(1).open)();
        let mut out = Output::default();
        session.feed(
            b"bad1\none\nbad2\ntwo\none\n",
            false,
            Env {
                now_ms: 0,
                lookup: &mut Unregistered,
                out: &mut out,
            },
        );
        let logins: Vec<(u16, &str)> = out
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Login { login, ident, .. } => Some((*login, ident.as_str())),
                _ => None,
            })
            .collect();
        assert_eq!(logins, [(0, "one"), (1, "two"), (0, "one")]);
    }
}
