//! Bytes become frames: what was read is decoded by the protocol's session, and what is not whole yet
//! is kept.

use protocols::{Env, Fatal, Probe};

use super::{Begun, Core};
use crate::channel::bounds::{FRAMES_PER_READ_MAX, PROBE_BYTES_MAX};
use crate::channel::frames;
use crate::channel::gate::Replies;
use crate::channel::logins::Resolver;
use crate::metrics::names;
use crate::raw::Ended;
use crate::router::CloseCode;

/// A quarter of the memory of a frame that has begun is used, unless it is less than four times this.
const HELD_BYTES_KEPT: usize = 1024;

/// What became of bytes that were decoded.
struct Digested {
    /// So many of them are done with.
    consumed: usize,
    /// The rest is of no use before it is this long.
    need: usize,
}

impl Core {
    /// Bytes came, or the end of them.
    pub(super) fn take_in(&mut self, read: &[u8]) {
        let before = self.before_read();
        self.decode(read);
        if let Some(before) = before {
            self.after_read(&before, read);
        }
    }

    fn decode(&mut self, read: &[u8]) {
        self.last_read_ms = self.now_ms();
        if read.is_empty() {
            self.ended_by_tracker(Ended::ByTracker);
            self.after.get_or_insert(CloseCode::ByTracker);
            self.digest_begun(true);
            return;
        }
        self.talk.received += read.len() as u64;
        self.tally.received.add(read.len() as u64);
        self.worker.has_read(read.len());
        if let Some(begun) = &mut self.begun {
            begun.bytes.extend_from_slice(read);
            if begun.is_due() {
                self.digest_begun(false);
            }
            return;
        }
        let since_ms = self.last_read_ms;
        let Digested { consumed, need } = self.digest(read, false);
        let left = read.get(consumed..).filter(|left| !left.is_empty());
        self.begun = left.map(|left| {
            Box::new(Begun {
                bytes: left.to_vec(),
                need,
                since_ms,
            })
        });
    }

    /// Decodes what was kept because a frame was incomplete.
    pub(super) fn digest_begun(&mut self, eof: bool) {
        let Some(mut begun) = self.begun.take() else {
            return;
        };
        let Digested { consumed, need } = self.digest(&begun.bytes, eof);
        if consumed > 0 {
            begun.since_ms = self.now_ms();
        }
        if consumed < begun.bytes.len() {
            let bytes = &mut begun.bytes;
            bytes.drain(..consumed);
            // of a burst that was waited out a frame's beginning may be left
            if bytes.capacity() / 4 > bytes.len().max(HELD_BYTES_KEPT) {
                bytes.shrink_to_fit();
            }
            begun.need = need;
            self.begun = Some(begun);
        }
    }

    /// What is kept of a frame that has begun takes so much.
    pub(super) fn begun_bytes(&self) -> usize {
        let begun = self.begun.as_ref();
        begun.map_or(0, |begun| begun.bytes.capacity())
    }

    /// Which of the channel's protocols do these first bytes belong to?
    fn probe(&mut self, head: &[u8], eof: bool) {
        let state = self.channel.state.load_full();
        let mut undecided = false;
        for protocol in state
            .protocols
            .iter()
            .filter_map(|n| protocols::by_number(*n))
        {
            match (protocol.probe)(head) {
                Probe::Yes => {
                    self.protocol = Some(protocol);
                    self.session = Some((protocol.open)());
                    self.talk.replies = Replies::new(protocol.info.acks);
                    return;
                }
                Probe::More => undecided = true,
                Probe::No => {}
            }
        }
        if !undecided || eof || head.len() >= PROBE_BYTES_MAX {
            self.tally.unidentified.add(head.len() as u64);
            self.lose_because("none of the channel's protocols begins so".to_owned(), head);
            self.end_at_once(CloseCode::Mismatch);
        }
    }

    /// Decodes what can be decoded of `input` and goes through it.
    fn digest(&mut self, input: &[u8], eof: bool) -> Digested {
        if self.session.is_none() {
            self.probe(input, eof);
        }
        // where no protocol has been found it takes another byte
        let mut need = input.len() + 1;
        let (Some(mut session), Some(protocol)) = (self.session.take(), self.protocol) else {
            return Digested { consumed: 0, need };
        };
        let mut walk = self.borrow_walk();
        let mut consumed = 0;
        let mut fatal: Option<Fatal> = None;
        let now_ms = self.now_ms();
        let deps = &self.here.worker.room.deps;
        for _ in 0..FRAMES_PER_READ_MAX / protocols::FRAMES_PER_FEED_MAX {
            let rest = input.get(consumed..).unwrap_or_default();
            let mut resolver = Resolver {
                registry: &deps.registry,
                channel: &self.here.channel,
                protocol: protocol.number,
                logins: &mut self.talk.logins,
            };
            let fed = session.feed(
                rest,
                eof,
                Env {
                    now_ms,
                    lookup: &mut resolver,
                    out: &mut walk.output,
                },
            );
            consumed += fed.consumed;
            need = fed.need;
            fatal = fed.fatal;
            let left = rest.len() - fed.consumed;
            if fatal.is_some() || left == 0 || fed.need > left {
                break;
            }
        }
        self.session = Some(session);
        frames::split(&walk.output, &mut walk.spans);
        if let Some(fatal) = fatal {
            let name = protocol.info.name;
            self.worker.count(&names::FATALS, name, fatal.what);
            let (connection, peer) = (self.handle.id(), self.handle.peer());
            tracing::debug!(%connection, protocol = name, %peer, %fatal, "stream lost");
            self.lose(&fatal, input);
            self.after = Some(if fatal.what == "frames" {
                CloseCode::Parse
            } else {
                CloseCode::Violation
            });
            // what nobody can read is nobody's
            let lost = input.len() - consumed;
            self.tally.unidentified.add(lost as u64);
            consumed = input.len();
        }
        self.advance(walk, Some(input));
        Digested { consumed, need }
    }
}
