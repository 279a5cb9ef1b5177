//! The events of a read, told apart by frame.

use protocols::{Event, Gate, Output};

/// What one frame said: a range of the events and some sums over it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// First of its events, its `Event::Frame` left out.
    pub(super) first: usize,
    /// Behind its last event.
    pub(super) end: usize,
    /// Where it begins in what was read.
    pub(super) offset: usize,
    /// Its length on the wire.
    pub(super) bytes: usize,
    /// Bytes of its accepted replies.
    pub(super) reply_bytes: usize,
    /// Messages in it.
    pub(super) messages: usize,
    /// Fragments in it.
    pub(super) parts: usize,
    /// Bytes of its records and fragments.
    pub(super) record_bytes: usize,
    /// The one login that everything in it is from, if it is one.
    pub(super) login: Login,
    /// Who named itself last in it.
    pub(super) last: Option<u16>,
    /// It has a reply that waits for a verdict.
    pub(super) gated: bool,
}

/// Whom a frame names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Login {
    /// Nobody: it is from whoever the frame before was from.
    #[default]
    None,
    /// One.
    One(u16),
    /// Several.
    Several,
}

impl Span {
    /// Does something of it get stored?
    pub(super) fn stores(&self) -> bool {
        self.messages + self.parts > 0
    }

    fn names(&mut self, login: u16) {
        self.login = match self.login {
            Login::None => Login::One(login),
            Login::One(known) if known == login => self.login,
            _ => Login::Several,
        };
    }
}

/// Tells the frames of `output` apart.
pub(super) fn split(output: &Output, spans: &mut Vec<Span>) {
    spans.clear();
    let mut offset = 0;
    for (index, event) in output.events.iter().enumerate() {
        let begins = match event {
            Event::Frame { bytes } | Event::Noise { bytes } => Some(*bytes),
            _ if spans.is_empty() => Some(0),
            _ => None,
        };
        if let Some(bytes) = begins {
            let first = index + usize::from(matches!(event, Event::Frame { .. }));
            spans.push(Span {
                first,
                end: first,
                offset,
                bytes,
                ..Span::default()
            });
            offset += bytes;
        }
        let Some(span) = spans.last_mut() else {
            continue;
        };
        span.end = index + 1;
        match event {
            Event::Login { login, .. } => {
                span.names(*login);
                span.last = Some(*login);
            }
            Event::Message { login, range } => {
                span.names(*login);
                span.messages += 1;
                span.record_bytes += range.len();
            }
            Event::Part { login, range } => {
                span.names(*login);
                span.parts += 1;
                span.record_bytes += range.len();
            }
            Event::Reply(reply) => {
                span.reply_bytes += reply.accepted.len();
                span.gated |= reply.gate != Gate::Open;
            }
            Event::Frame { .. }
            | Event::Noise { .. }
            | Event::CommandReply { .. }
            | Event::Rejected(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocols::{Ident, Reply};

    #[test]
    fn events_are_told_apart_by_frame_with_their_place_on_the_wire() {
        let login = |login| Event::Login {
            login,
            ident: Ident::new("a").expect("an ident"),
            announced: true,
        };
        let message = |login, range| Event::Message { login, range };
        let output = Output {
            events: vec![
                Event::Noise { bytes: 1 },
                Event::Frame { bytes: 10 },
                login(0),
                Event::Reply(Reply::admitted(&b"ok"[..])),
                Event::Frame { bytes: 20 },
                message(0, 0..5),
                message(1, 5..9),
                Event::Frame { bytes: 2 },
            ],
            bytes: vec![0; 9],
        };
        let mut spans = Vec::new();
        split(&output, &mut spans);
        let seen: Vec<_> = spans
            .iter()
            .map(|s| (s.offset, s.bytes, s.reply_bytes, s.messages, s.login))
            .collect();
        assert_eq!(
            seen,
            [
                (0, 1, 0, 0, Login::None),
                (1, 10, 2, 0, Login::One(0)),
                (11, 20, 0, 2, Login::Several),
                (31, 2, 0, 0, Login::None),
            ]
        );
        assert_eq!((spans[1].first, spans[1].end, spans[1].gated), (2, 4, true));
        assert_eq!((spans[2].record_bytes, spans[2].stores()), (9, true));
        assert_eq!((spans[3].first, spans[3].end), (8, 8));
    }

    #[test]
    fn events_of_a_wake_without_a_frame_make_one_span() {
        let output = Output {
            events: vec![Event::Reply(Reply::open(&b"x"[..]))],
            bytes: Vec::new(),
        };
        let mut spans = Vec::new();
        split(&output, &mut spans);
        assert_eq!((spans.len(), spans[0].first, spans[0].end), (1, 0, 1));
    }
}
