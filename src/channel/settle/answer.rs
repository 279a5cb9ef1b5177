//! What leaves because of a frame, and what is counted of it: answered, or refused for good.

use protocols::{Cause, Event, Gate, Reply};

use crate::account::{Account, Cost, Totals};
use crate::channel::connection::{Core, Walk};
use crate::channel::frames::{Login, Span};
use crate::ids::minute_of;
use crate::metrics::names;

impl Core {
    /// Takes the frame's replies and what is to be counted of it. `charged`: it is not a frame that
    /// was thrown away.
    pub(super) fn answer(&mut self, walk: &mut Walk, index: usize, charged: bool) {
        let Some(span) = walk.spans.get(index) else {
            return;
        };
        let span = span.clone();
        if let Some(login) = span.last {
            self.current = Some(login);
        }
        if span.stores() && charged {
            self.tally.frames.add(1);
        }
        let mut usage = 0;
        if !span.stores() {
            usage = span.bytes + span.reply_bytes;
        } else if span.messages == 0 {
            usage = span.reply_bytes;
        }
        if usage > 0
            && charged
            && let Some(account) = self.present_account()
        {
            let cost = Cost {
                bytes: usage as u64,
                messages: 0,
            };
            account.charge_unchecked(minute_of(self.now_us), cost);
            let deltas = Totals {
                usage_bytes: usage as u64,
                ..Totals::default()
            };
            let id = account.id();
            let mut notes = self.worker.notes.borrow_mut();
            notes.usage(id, self.now_us, deltas);
        }
        if self.commanding().is_some() {
            self.hear_command_reply(walk, &span);
        }
        self.send_on(walk, &span, None);
    }

    /// Who pays for what names nobody.
    fn present_account(&self) -> Option<&Account> {
        self.talk.logins.get(usize::from(self.current?))?.account()
    }

    /// Hands the frame's replies to the queue, and counts its rejects. Of a frame that is `refused`
    /// nothing is taken: none of its gated replies is an acceptance, however many there are, nor is one
    /// that comes later and speaks for what stands behind them.
    fn send_on(&mut self, walk: &mut Walk, span: &Span, refused: Option<Cause>) {
        let mark = u64::try_from(self.now_us).unwrap_or(0);
        let events = walk.output.events.get_mut(span.first..span.end);
        for event in events.into_iter().flatten() {
            if let Some(cause) = refused {
                match event {
                    Event::Message { .. } | Event::Part { .. } => {
                        self.talk.replies.refuse_messages(cause);
                    }
                    // also what names nobody stands under a login that is not admitted
                    Event::Login { .. } => self.talk.replies.refuse_login(cause),
                    Event::Reply(reply) if reply.gate != Gate::Open => {
                        self.talk.replies.refuse_login(cause);
                    }
                    _ => {}
                }
            }
            match event {
                Event::Reply(reply) => {
                    let reply = std::mem::replace(reply, Reply::open(bytes::Bytes::new()));
                    self.talk.replies.push(reply, mark);
                }
                Event::Rejected(reject) => {
                    let name = self.protocol.map_or("", |protocol| protocol.info.name);
                    self.worker.count(&names::REJECTS, name, reject.what);
                }
                _ => {}
            }
        }
    }

    /// The frame at `walk.at` is refused for good: counted, and answered with its refusals.
    pub(in crate::channel) fn refuse_frame(
        &mut self,
        walk: &mut Walk,
        cause: Cause,
        raw: Option<&[u8]>,
    ) {
        let Some(span) = walk.spans.get(walk.at).cloned() else {
            return;
        };
        if let Cause::Unknown = cause {
            self.note_unknown(walk, raw);
        }
        let payer = match cause {
            // whoever it says it is: nobody who could be made to pay
            Cause::Unknown | Cause::Secret => None,
            _ => self.logins_of(walk).first().copied().and_then(|login| {
                let known = self.talk.logins.get(usize::from(login))?;
                let device = known.device.as_ref()?;
                Some(device.state.load().account.id())
            }),
        };
        if let Some(account) = payer {
            self.tally.refused.add(span.bytes as u64);
            let deltas = Totals {
                refused_bytes: span.bytes as u64,
                ..Totals::default()
            };
            let mut notes = self.worker.notes.borrow_mut();
            notes.usage(account, self.now_us, deltas);
        } else {
            self.tally.unidentified.add(span.bytes as u64);
        }
        if span.last.is_some() {
            self.current = span.last;
        }
        if span.login != Login::None || span.gated {
            self.worker.count(&names::REFUSED_FRAMES, cause.name(), "");
        }
        self.send_on(walk, &span, Some(cause));
    }

    /// Remembers the unknown idents of the frame at `walk.at` on the channel.
    pub(super) fn note_unknown(&self, walk: &Walk, raw: Option<&[u8]>) {
        let (Some(protocol), Some(span)) = (self.protocol, walk.spans.get(walk.at)) else {
            return;
        };
        if span.login == Login::None && !span.stores() {
            return;
        }
        let frame = raw
            .and_then(|raw| raw.get(span.offset..span.offset + span.bytes))
            .unwrap_or_default();
        let events = walk
            .output
            .events
            .get(span.first..span.end)
            .unwrap_or_default();
        for login in self.logins_of(walk) {
            let Some(known) = self.talk.logins.get(usize::from(login)) else {
                continue;
            };
            if known.device.is_some() {
                continue;
            }
            let record = events.iter().find_map(|event| match event {
                Event::Message { login: of, range } if *of == login => {
                    walk.output.bytes.get(range.clone())
                }
                _ => None,
            });
            self.channel
                .unknown()
                .note(protocol.number, &known.ident, self.now_us, frame, record);
        }
    }
}
