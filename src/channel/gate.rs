//! The reply queue of one connection: pure, it knows no socket, no clock and no journal.
//!
//! Replies stand in it in wire order. A gated reply covers every login and every message since the
//! gated reply before it (its *span*); one refusal among them refuses it. [`Gate::Open`] ends no
//! span. Verdicts on logins and messages are given before a reply is pushed, so the only thing that
//! is ever waited for is a place in the journal: a [`Gate::Stored`] reply stands behind everything
//! that this connection has appended so far, duplicates (at the place of their original) included.
//!
//! It refuses to reorder: the head waits, everything waits. After the journal has failed no
//! acceptance that speaks of stored data leaves any more; its refusal does.
//!
//! Where acks are cumulative, an ack speaks for everything before it, so after a refusal no later
//! `Stored` reply of the connection is an acceptance.

use bytes::Bytes;
use protocols::{Acks, Cause, Gate, Reply};
use std::collections::VecDeque;

use crate::ids::Position;

/// So many replies wait on one connection, and its socket is not read any more.
pub const REPLIES_QUEUED_MAX: usize = 1024;

/// A reply whose verdict is known, waiting for its turn and perhaps for its data.
#[derive(Debug)]
struct Waiting {
    /// Everything up to here must be durable; `ZERO` for nothing.
    position: Position,
    /// What leaves then.
    bytes: Bytes,
    /// What leaves in its stead when the journal has failed.
    failed: Option<Bytes>,
    /// It tells the tracker that its data is kept.
    acks: bool,
    /// See [`Replies::waits_for`].
    awaited: bool,
    /// The caller's mark: when the frame was read.
    mark: u64,
}

/// Mostly it is none or one; and an idle connection owns no buffer.
#[derive(Debug, Default)]
struct Queue(Option<Box<Queued>>);

#[derive(Debug)]
enum Queued {
    One(Waiting),
    /// Never empty.
    Several(VecDeque<Waiting>),
}

impl Queue {
    fn len(&self) -> usize {
        match self.0.as_deref() {
            None => 0,
            Some(Queued::One(_)) => 1,
            Some(Queued::Several(queue)) => queue.len(),
        }
    }

    fn front(&self) -> Option<&Waiting> {
        match self.0.as_deref()? {
            Queued::One(only) => Some(only),
            Queued::Several(queue) => queue.front(),
        }
    }

    fn front_mut(&mut self) -> Option<&mut Waiting> {
        match self.0.as_deref_mut()? {
            Queued::One(only) => Some(only),
            Queued::Several(queue) => queue.front_mut(),
        }
    }

    fn push_back(&mut self, waiting: Waiting) {
        match self.0.as_deref_mut() {
            None => self.0 = Some(Box::new(Queued::One(waiting))),
            Some(Queued::Several(queue)) => queue.push_back(waiting),
            Some(queued) => {
                let before = std::mem::replace(queued, Queued::Several(VecDeque::new()));
                if let (Queued::Several(queue), Queued::One(first)) = (queued, before) {
                    queue.extend([first, waiting]);
                }
            }
        }
    }

    fn pop_front(&mut self) {
        match self.0.as_deref_mut() {
            Some(Queued::Several(queue)) if queue.len() > 1 => drop(queue.pop_front()),
            _ => self.0 = None,
        }
    }
}

/// The replies of one connection.
#[derive(Debug)]
pub struct Replies {
    queue: Queue,
    span: Option<Cause>,
    last: Position,
    cumulative: bool,
    lost: Option<Cause>,
}

/// What happens to a pushed reply in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its accepted form leaves when its turn and its data allow.
    Accepted,
    /// Its refused form, or silence.
    Refused(Cause),
}

/// The journal's state as far as replies care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// Everything up to here is on disk.
    pub durable: Position,
    /// Nothing will be written any more.
    pub failed: bool,
}

impl Replies {
    /// An empty queue for a protocol with such acks.
    pub fn new(acks: Acks) -> Self {
        Self {
            queue: Queue::default(),
            span: None,
            last: Position::ZERO,
            cumulative: acks == Acks::Cumulative,
            lost: None,
        }
    }

    /// A message of the present span is at `position`, or is the same as the one there.
    pub fn stored(&mut self, position: Position) {
        self.last = self.last.max(position);
    }

    /// A login of the present span was refused. The first refusal of a span names its cause.
    pub fn refuse_login(&mut self, cause: Cause) {
        self.span.get_or_insert(cause);
    }

    /// Messages of the present span were refused.
    pub fn refuse_messages(&mut self, cause: Cause) {
        self.span.get_or_insert(cause);
        if self.cumulative {
            self.lost.get_or_insert(cause);
        }
    }

    /// Has this connection refused messages that a later ack would speak for?
    pub fn has_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Puts a reply at the end; a gated one ends the span.
    pub fn push(&mut self, reply: Reply, mark: u64) -> Verdict {
        let refused = match reply.gate {
            Gate::Open => None,
            Gate::Admitted => self.span.take(),
            Gate::Stored => self.span.take().or(self.lost),
        };
        if let Some(cause) = refused {
            if let Some(bytes) = reply.refusal(cause) {
                self.queue.push_back(Waiting {
                    position: Position::ZERO,
                    bytes: bytes.clone(),
                    failed: None,
                    acks: false,
                    awaited: false,
                    mark,
                });
            }
            return Verdict::Refused(cause);
        }
        let acks = reply.gate == Gate::Stored;
        let failed = if acks {
            reply.refusal(Cause::Store).cloned()
        } else {
            None
        };
        self.queue.push_back(Waiting {
            position: if acks { self.last } else { Position::ZERO },
            bytes: reply.accepted,
            failed,
            acks,
            awaited: false,
            mark,
        });
        Verdict::Accepted
    }

    /// Moves what may leave now to the end of `out`; `on_ack` is told the mark of every reply
    /// among it that acknowledges data.
    pub fn release(&mut self, now: Mark, out: &mut Vec<u8>, mut on_ack: impl FnMut(u64)) {
        while let Some(head) = self.queue.front() {
            if head.acks && now.failed {
                if let Some(refusal) = &head.failed {
                    out.extend_from_slice(refusal);
                }
            } else if head.position <= now.durable {
                out.extend_from_slice(&head.bytes);
                if head.acks {
                    on_ack(head.mark);
                }
            } else {
                return;
            }
            self.queue.pop_front();
        }
    }

    /// The position that the head waits for, told once.
    pub fn waits_for(&mut self) -> Option<Position> {
        let head = self.queue.front_mut()?;
        (!std::mem::replace(&mut head.awaited, true)).then_some(head.position)
    }

    /// Does nothing wait?
    pub fn is_empty(&self) -> bool {
        self.queue.0.is_none()
    }

    /// Is there no room for what another read may bring?
    pub fn is_full(&self) -> bool {
        self.queue.len() >= REPLIES_QUEUED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence: u64) -> Position {
        Position::new(0, sequence)
    }

    /// Plays a script and gives back what left, one word per step that lets something out.
    ///
    /// `m5` a message at 5 · `x` a refused message (limit) · `u` an unknown login · `s` a wrong
    /// secret · `O` `A` `S` a reply of that gate with the text of the next letter · `d5` durable up
    /// to 5 · `F` the journal has failed
    fn play(acks: Acks, script: &str) -> String {
        let mut replies = Replies::new(acks);
        let mut now = Mark::default();
        let mut left = Vec::new();
        for step in script.split(' ') {
            let (verb, rest) = step.split_at(1);
            let number = || at(rest.parse().expect("a number"));
            let reply = |gate| Reply {
                gate,
                accepted: Bytes::copy_from_slice(rest.as_bytes()),
                refused: Some(Bytes::from(format!("-{rest}"))),
                refused_by: [
                    (Cause::Secret, Bytes::from(format!("!{rest}"))),
                    (Cause::Store, Bytes::from(format!("#{rest}"))),
                ]
                .into_iter()
                .collect(),
            };
            match verb {
                "m" => replies.stored(number()),
                "x" => replies.refuse_messages(Cause::Limit),
                "u" => replies.refuse_login(Cause::Unknown),
                "s" => replies.refuse_login(Cause::Secret),
                "O" => drop(replies.push(reply(Gate::Open), 0)),
                "A" => drop(replies.push(reply(Gate::Admitted), 0)),
                "S" => drop(replies.push(reply(Gate::Stored), 0)),
                "d" => now.durable = number(),
                "F" => now.failed = true,
                _ => unreachable!("{step}"),
            }
            let mut out = Vec::new();
            replies.release(now, &mut out, |_| ());
            if !out.is_empty() {
                left.push(String::from_utf8(out).expect("text"));
            }
        }
        left.join(" ")
    }

    #[test]
    fn a_reply_leaves_when_its_gate_is_met() {
        let table = [
            // script, what leaves
            ("Aa", "a"),
            ("Oo", "o"),
            ("Sa", "a"),
            ("m5 Sa d4", ""),
            ("m5 Sa d4 d5", "a"),
            ("m5 d5 Sa", "a"),
            ("m5 Aa", "a"),
            // wire order: the head holds everything up
            ("m5 Sa Ob Ac d5", "abc"),
            ("m5 Sa m6 Sb d5 d6", "a b"),
            ("m5 Sa m6 Sb d6", "ab"),
            // an original further on holds its duplicate up, never the other way round
            ("m7 Sa m3 Sb d3 d7", "ab"),
            // refusals
            ("u Aa", "-a"),
            ("s Aa", "!a"),
            ("x Sa", "-a"),
            ("x m5 Sa", "-a"),
            ("m5 x Sa", "-a"),
            ("u s Aa", "-a"),
            ("s u Aa", "!a"),
            // a gated reply ends the span, an open one does not
            ("u Aa m5 Sb d5", "-a b"),
            ("u Oo Aa", "o -a"),
            ("x Sa Sb", "-a b"),
            ("m5 Sa x Sb d5", "a-b"),
            // a failed journal acknowledges nothing, not even what it had written before
            ("m5 Sa F", "#a"),
            ("m5 Sa F d5", "#a"),
            ("F m5 Sa d9", "#a"),
            ("F Aa Ob", "a b"),
        ];
        for (script, left) in table {
            assert_eq!(play(Acks::Frame, script), left, "{script}");
        }
    }

    #[test]
    fn a_cumulative_ack_never_speaks_for_what_was_refused_before() {
        let table = [
            ("m1 d1 Sa", "a"),
            ("x Sa m5 Sb d5", "-a -b"),
            ("u Aa m5 Sb d5", "-a b"),
            ("x Sa Ab Oc", "-a b c"),
        ];
        for (script, left) in table {
            assert_eq!(play(Acks::Cumulative, script), left, "{script}");
        }
    }

    #[test]
    fn a_refusal_without_words_is_silence() {
        let mut replies = Replies::new(Acks::Frame);
        let mut out = Vec::new();
        replies.refuse_login(Cause::Unknown);
        assert_eq!(
            replies.push(Reply::stored(&b"ok"[..]), 0),
            Verdict::Refused(Cause::Unknown)
        );
        replies.stored(at(3));
        replies.push(Reply::stored(&b"ok"[..]), 7);
        let failed = Mark {
            durable: at(9),
            failed: true,
        };
        let mut acked = 0;
        replies.release(failed, &mut out, |_| acked += 1);
        assert_eq!((out.len(), acked), (0, 0));
        assert!(replies.is_empty());
    }

    #[test]
    fn an_ack_gives_its_mark_back_and_an_empty_queue_owns_no_memory() {
        let mut replies = Replies::new(Acks::Frame);
        let mut out = Vec::new();
        let mut marks = Vec::new();
        replies.push(Reply::admitted(&b"1"[..]), 1);
        replies.stored(at(3));
        replies.push(Reply::stored(&b"2"[..]), 2);
        assert_eq!(replies.waits_for(), Some(Position::ZERO));
        replies.release(Mark::default(), &mut out, |mark| marks.push(mark));
        assert_eq!(replies.waits_for(), Some(at(3)));
        let now = Mark {
            durable: at(3),
            failed: false,
        };
        replies.release(now, &mut out, |mark| marks.push(mark));
        assert_eq!((&out[..], &marks[..]), (&b"12"[..], &[2][..]));
        assert!(replies.queue.0.is_none(), "an idle connection owns none");
    }

    #[test]
    fn a_full_queue_says_so() {
        let mut replies = Replies::new(Acks::Frame);
        replies.stored(at(1));
        for _ in 0..REPLIES_QUEUED_MAX {
            assert!(!replies.is_full());
            replies.push(Reply::stored(&b"a"[..]), 0);
        }
        assert!(replies.is_full());
    }
}
