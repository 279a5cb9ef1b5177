//! When a connection has to be looked at, and what has come to an end by then.

use protocols::Env;

use super::Core;
use crate::channel::bounds::{FRAME_BYTES_PER_S_MIN, HANG_UP_LOOK_MS};
use crate::channel::frames;
use crate::channel::logins::Resolver;
use crate::channel::wheel::TICK_MS;
use crate::router::CloseCode;

impl Core {
    pub(in crate::channel) fn is_identified(&self) -> bool {
        let aside = self.aside.as_ref();
        aside.is_none_or(|aside| aside.stranger.is_none())
    }

    /// When it must have identified itself.
    pub(in crate::channel) fn identify_until_ms(&self) -> i64 {
        let opened_ms = self.handle.established_us().div_euclid(1_000);
        opened_ms + self.worker.deps().bounds.identify_ms
    }

    /// When the frame that has begun must be whole.
    fn frame_until_ms(&self) -> Option<i64> {
        let begun = self.begun.as_ref()?;
        let came = i64::try_from(begun.bytes.len()).unwrap_or(i64::MAX);
        let for_its_bytes = came.saturating_mul(1_000) / FRAME_BYTES_PER_S_MIN;
        Some(begun.since_ms + self.worker.deps().bounds.frame_ms + for_its_bytes)
    }

    /// Is its socket not read at present?
    fn is_unread(&self) -> bool {
        self.pending().is_some()
            || self.talk.replies.is_full()
            || self.has_unsent()
            || self.worker.mark().failed
            || self.command_waits_for_replies()
    }

    /// Has it named an ident?
    fn has_named(&self) -> bool {
        !self.talk.logins.is_empty()
    }

    pub(super) fn look_at_deadlines(&mut self) {
        if self.is_ending() {
            return;
        }
        let now_ms = self.now_ms();
        let parking = self.parking();
        if let Some(parking) = parking {
            self.retry |= now_ms >= parking.retry_ms;
        }
        let overdue = parking.filter(|parking| now_ms >= parking.until_ms);
        if self.is_unread()
            && let Some(begun) = &mut self.begun
        {
            // it cannot go on with its frame
            begun.since_ms = now_ms;
        }
        if let Some(parking) = overdue.filter(|parking| !parking.tell) {
            self.end_at_once(parking.code);
        } else if let Some(parking) = overdue {
            if let Some(mut walk) = self.take_pending() {
                self.refuse_frame(&mut walk, parking.cause, None);
                walk.at += 1;
                self.give_back(walk);
            }
            self.end_gracefully(parking.code);
        } else if !self.is_identified() && now_ms >= self.identify_until_ms() {
            self.end_at_once(if self.has_named() {
                CloseCode::Authentication
            } else {
                CloseCode::Inactivity
            });
        } else if parking.is_none()
            && (now_ms >= self.last_read_ms + self.worker.deps().bounds.idle_ms
                || self.frame_until_ms().is_some_and(|until| now_ms >= until))
        {
            self.end_at_once(CloseCode::Inactivity);
        }
        self.look_at_command();
        self.wake_session(now_ms);
    }

    /// The decoder asked to be woken.
    fn wake_session(&mut self, now_ms: i64) {
        let wake = self
            .session
            .as_ref()
            .and_then(|session| session.next_wake());
        if self.pending().is_some() || wake.is_none_or(|at| now_ms < at) {
            return;
        }
        let mut walk = self.borrow_walk();
        if let (Some(session), Some(protocol)) = (&mut self.session, self.protocol) {
            let mut resolver = Resolver {
                registry: &self.here.worker.room.deps.registry,
                channel: &self.here.channel,
                protocol: protocol.number,
                logins: &mut self.talk.logins,
            };
            session.wake(Env {
                now_ms,
                lookup: &mut resolver,
                out: &mut walk.output,
            });
        }
        frames::split(&walk.output, &mut walk.spans);
        self.advance(walk, None);
    }

    /// The earliest of its deadlines, unix ms.
    fn next_deadline_ms(&self) -> i64 {
        if let Some(ending) = self.ending() {
            return ending.until_ms;
        }
        if let Some(leaving) = self.leaving() {
            return (leaving.until_ms - TICK_MS).max(self.now_ms() + 1);
        }
        let mut next = self.last_read_ms + self.worker.deps().bounds.idle_ms;
        if let Some(parking) = self.parking() {
            next = parking.until_ms.min(parking.retry_ms);
        } else if let Some(until) = self.frame_until_ms() {
            next = next.min(until);
        }
        if !self.is_identified() {
            next = next.min(self.identify_until_ms());
        }
        if self.is_unread() {
            next = next.min(self.now_ms() + HANG_UP_LOOK_MS);
        }
        // what waits goes first
        if let Some(session) = self.session.as_ref().filter(|_| self.pending().is_none())
            && let Some(at) = session.next_wake()
        {
            next = next.min(at);
        }
        if let Some(commanding) = self.commanding() {
            next = next.min(commanding.until_ms());
        }
        next.max(self.now_ms() + 1)
    }

    /// Before it sleeps: who wakes it.
    pub(super) fn arm(&mut self) {
        let Some(token) = self.token else { return };
        let next = self.next_deadline_ms();
        // what is armed already comes earlier: it looks again then
        if next < self.armed_ms || self.armed_ms <= self.now_ms() {
            self.worker.arm(next, token);
            self.armed_ms = next;
        }
        if let Some(position) = self.talk.replies.waits_for() {
            self.worker.await_durable(position, token);
        }
    }
}
