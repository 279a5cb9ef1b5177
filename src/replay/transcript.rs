//! One connection's bytes in, the decoder's events out as JSON lines.

use super::{Conversation, From};
use protocols::{
    Env, Event, Ident, Lookup, Output, PROTOCOLS, Probe, Protocol, Reject, Reply, Session,
    Settings, event_line,
};
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// What is known of the devices of a recorded conversation: the same settings for whoever calls,
/// and a name to prefer where a frame gives several.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The ident under which each connection begins.
    pub ident: Option<Ident>,
    /// The settings of every device, if any are set.
    pub settings: Option<Arc<Settings>>,
}

impl Lookup for Known {
    fn choose(&mut self, candidates: &[Ident]) -> usize {
        let known = self.ident.as_ref();
        candidates
            .iter()
            .position(|candidate| Some(candidate) == known)
            .unwrap_or_default()
    }

    fn identify(&mut self, _: u16, _: &Ident, _: Option<&str>) -> Option<Arc<Settings>> {
        self.settings.clone()
    }
}

/// Takes one event as JSON, and its reply if it is one. An error of it ends the reading.
pub type Line<'a, E> = &'a mut dyn FnMut(Json, Option<&Reply>) -> Result<(), E>;

/// The protocol that `conversation` speaks, by its first bytes, and by the port that was called
/// where several or none of them say so.
pub fn protocol_of(conversation: &Conversation) -> Option<&'static Protocol> {
    let mut head = Vec::new();
    for turn in conversation
        .turns
        .iter()
        .filter(|turn| turn.from == From::Client)
    {
        head.extend_from_slice(&turn.bytes);
        if head.len() >= HEAD_BYTES {
            break;
        }
    }
    let port = conversation.server.port();
    let likely: Vec<_> = PROTOCOLS
        .iter()
        .filter(|protocol| (protocol.probe)(&head) == Probe::Yes)
        .collect();
    let by_port = |protocol: &&&'static Protocol| protocol.info.port == port && port != 0;
    match likely.as_slice() {
        [only] => Some(only),
        [] => PROTOCOLS.iter().find(|protocol| by_port(&protocol)),
        several => several.iter().find(by_port).copied(),
    }
}

/// So many first bytes tell a protocol, or none do.
const HEAD_BYTES: usize = 64;

/// A decoder listening to one connection. After a fatal error it hears nothing more: the gateway
/// would have closed the connection.
pub struct Transcript {
    session: Box<dyn Session>,
    known: Known,
    logins: Vec<Ident>,
    unread: Vec<u8>,
    need: usize,
    lost: bool,
    out: Output,
}

impl Transcript {
    /// A new connection of `protocol`, logged in already if `known` has an ident.
    pub fn open(protocol: &Protocol, known: Known) -> Result<Self, Reject> {
        let mut this = Self {
            session: (protocol.open)(),
            known,
            logins: Vec::new(),
            unread: Vec::new(),
            need: 1,
            lost: false,
            out: Output::default(),
        };
        if let Some(ident) = this.known.ident.clone() {
            let env = Env {
                now_ms: 0,
                lookup: &mut this.known,
                out: &mut this.out,
            };
            this.session.begin_as(ident.as_str(), env)?;
            // The login was made by the caller, not by the wire: it is no event of the stream.
            this.logins.push(ident);
        }
        Ok(this)
    }

    /// One read of the connection, received at `now_ms`. Each event goes to `line` in wire order,
    /// with its reply if it is one.
    pub fn read<E>(&mut self, bytes: &[u8], now_ms: i64, line: Line<'_, E>) -> Result<(), E> {
        if self.lost {
            return Ok(());
        }
        self.unread.extend_from_slice(bytes);
        self.feed(false, now_ms, line)
    }

    /// The peer sends no more: what is left is all there will be.
    pub fn end<E>(&mut self, now_ms: i64, line: Line<'_, E>) -> Result<(), E> {
        if self.lost {
            return Ok(());
        }
        self.feed(true, now_ms, line)?;
        self.lost = true;
        Ok(())
    }

    /// Has the connection ended, by a fatal error or by its end?
    pub fn is_over(&self) -> bool {
        self.lost
    }

    /// How many bytes have been read and belong to no frame yet.
    pub fn unread_bytes(&self) -> usize {
        self.unread.len()
    }

    fn feed<E>(&mut self, eof: bool, now_ms: i64, line: Line<'_, E>) -> Result<(), E> {
        let mut start = 0;
        while start < self.unread.len() && (eof || self.unread.len() - start >= self.need) {
            self.out.clear();
            let env = Env {
                now_ms,
                lookup: &mut self.known,
                out: &mut self.out,
            };
            let rest = self.unread.get(start..).unwrap_or_default();
            let fed = self.session.feed(rest, eof, env);
            start += fed.consumed.min(rest.len());
            self.need = fed.need.max(1);
            self.tell(line)?;
            if let Some(fatal) = fed.fatal {
                self.lost = true;
                self.unread.clear();
                let (what, why, at) = (fatal.what, fatal.why, fatal.at);
                return line(
                    json!({ "fatal": { "what": what, "why": why, "at": at } }),
                    None,
                );
            }
            if fed.consumed == 0 {
                break;
            }
        }
        self.unread.drain(..start);
        if self.session.next_wake().is_some_and(|at| at <= now_ms) {
            self.out.clear();
            let env = Env {
                now_ms,
                lookup: &mut self.known,
                out: &mut self.out,
            };
            self.session.wake(env);
            self.tell(line)?;
        }
        Ok(())
    }

    fn tell<E>(&mut self, line: Line<'_, E>) -> Result<(), E> {
        for event in &self.out.events {
            if let Event::Login { login, ident, .. } = event {
                let login = usize::from(*login);
                match self.logins.get_mut(login) {
                    Some(name) => *name = ident.clone(),
                    // The engine numbers logins one after the other.
                    None => self.logins.push(ident.clone()),
                }
            }
            let ident = match event {
                Event::Message { login, .. } => self.logins.get(usize::from(*login)),
                _ => None,
            };
            let reply = match event {
                Event::Reply(reply) => Some(reply),
                _ => None,
            };
            if let Some(object) = event_line(event, &self.out, ident.map(Ident::as_str)) {
                line(object, reply)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    const LOGIN: &[u8] = b"\x00\x0f356307042441013";

    fn lines(reads: &[&[u8]], known: Known) -> Vec<String> {
        let protocol = protocols::find("teltonika").expect("it is in the table");
        let mut transcript = Transcript::open(protocol, known).expect("the ident is good");
        let mut seen = Vec::new();
        let mut line = |json: Json, _: Option<&Reply>| {
            seen.push(json.to_string());
            Ok::<_, Infallible>(())
        };
        for read in reads {
            let Ok(()) = transcript.read(read, 1000, &mut line);
        }
        let Ok(()) = transcript.end(1000, &mut line);
        seen
    }

    #[test]
    fn cutting_a_stream_anywhere_gives_the_same_lines() {
        let whole = lines(&[LOGIN], Known::default());
        assert_eq!(
            whole,
            [
                r#"{"login":"356307042441013"}"#,
                r#"{"reply":"01","gate":"admitted","refused":"00","refused_by":{}}"#,
            ]
        );
        for at in 0..LOGIN.len() {
            let (head, tail) = LOGIN.split_at(at);
            assert_eq!(lines(&[head, tail], Known::default()), whole, "cut at {at}");
        }
    }

    #[test]
    fn more_frames_than_one_feed_takes_are_all_read() {
        let many = LOGIN.repeat(protocols::FRAMES_PER_FEED_MAX * 2 + 5);
        let replies = lines(&[&many], Known::default());
        let replies = replies.iter().filter(|line| line.contains("reply")).count();
        assert_eq!(replies, protocols::FRAMES_PER_FEED_MAX * 2 + 5);
    }

    #[test]
    fn after_a_fatal_error_nothing_is_heard() {
        let lost = lines(&[b"\xfe\xfe\xfe\xfe", LOGIN], Known::default());
        assert_eq!(lost.len(), 1);
        assert!(
            lost[0].starts_with(r#"{"fatal":{"what":"login""#),
            "{lost:?}"
        );
    }

    #[test]
    fn a_connection_may_begin_as_a_known_device() {
        let known = Known {
            ident: Some(Ident::new("356307042441013").expect("an ident")),
            settings: None,
        };
        assert_eq!(
            lines(&[LOGIN], known),
            [r#"{"reply":"01","gate":"admitted","refused":"00","refused_by":{}}"#]
        );
    }
}
