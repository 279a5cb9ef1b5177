//! How a connection ends: at once, behind its last replies, or behind its last reads; and what is
//! written down of it.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use protocols::Acks;
use tokio::io::ReadBuf;

use super::{Connection, Core, Here, Wire};
use crate::channel::bounds::{
    LAST_READS_MAX, LAST_READS_MS, LINGER_MS, READ_BYTES_MAX, SWALLOW_MS,
};
use crate::channel::commands::Commanding;
use crate::channel::events::{Happened, Who};
use crate::channel::logins::{Known, Standing};
use crate::channel::wheel::TICK_MS;
use crate::ids::DeviceId;
use crate::journal::{ConnectionWas, Note};
use crate::router::{CloseCode, Orders};

/// How a connection is being closed.
pub(super) struct Ending {
    pub(super) code: CloseCode,
    /// No later than this, unix ms.
    pub(super) until_ms: i64,
    /// Without waiting for anything.
    pub(super) at_once: bool,
    /// The writing half is closed.
    pub(super) shut: bool,
}

/// How a connection that was replaced takes what has come already.
pub(super) struct Leaving {
    pub(super) code: CloseCode,
    pub(super) reads_left: u32,
    /// No later than this, unix ms.
    pub(super) until_ms: i64,
}

impl<S: Wire> Connection<S> {
    /// Closing: waits for replies that are owed, closes the writing half, swallows what comes.
    pub(super) fn end(&mut self, cx: &mut Context<'_>) -> Poll<CloseCode> {
        let core = &mut self.core;
        let now_ms = core.now_ms();
        let owes = !core.talk.replies.is_empty() || core.has_unsent();
        let aside = core.aside.as_mut();
        let Some(ending) = aside.and_then(|aside| aside.ending.as_mut()) else {
            return Poll::Ready(CloseCode::Unexpected);
        };
        let code = ending.code;
        if ending.at_once || now_ms >= ending.until_ms {
            return Poll::Ready(code);
        }
        if owes {
            return Poll::Pending;
        }
        if !ending.shut {
            if Pin::new(&mut self.stream).poll_shutdown(cx).is_pending() {
                return Poll::Pending;
            }
            ending.shut = true;
            ending.until_ms = ending.until_ms.min(now_ms + SWALLOW_MS);
        }
        // only behind a refusal is there something worth protecting from a reset
        let refused = matches!(
            code,
            CloseCode::ChannelBlocked
                | CloseCode::DeviceBlocked
                | CloseCode::Authentication
                | CloseCode::DeviceDisabled
                | CloseCode::Violation
                | CloseCode::Parse
        );
        if !refused {
            return Poll::Ready(code);
        }
        let mut buffer = core.worker.read_buffer();
        let mut into = ReadBuf::new(&mut buffer);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut into);
        let count = into.filled().len();
        core.worker.put_back(buffer);
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) if count > 0 => {
                // the others have their turn; the time is bounded
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(code),
        }
    }

    /// A read of a connection that was replaced, or its end; the next one has a turn of its own.
    pub(super) fn read_last(&mut self, cx: &mut Context<'_>) -> Poll<CloseCode> {
        let now_ms = self.core.now_ms();
        let Some(leaving) = self.core.leaving_mut() else {
            return Poll::Pending;
        };
        let code = leaving.code;
        if leaving.reads_left == 0 || now_ms >= leaving.until_ms {
            return Poll::Ready(code);
        }
        leaving.reads_left -= 1;
        match self.read(cx, READ_BYTES_MAX) {
            // the runtime has not heard of it yet
            Poll::Pending if self.stream.has_unread() => {
                if let Some(leaving) = self.core.leaving_mut() {
                    leaving.reads_left += 1;
                }
            }
            Poll::Pending | Poll::Ready(Err(_)) => return Poll::Ready(code),
            Poll::Ready(Ok(())) => {}
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Core {
    pub(super) fn look_at_orders(&mut self) {
        let Some(Orders {
            close,
            evict,
            retry,
            command,
        }) = self.handle.orders()
        else {
            return;
        };
        self.retry |= retry;
        self.command_due |= command;
        for (device, code) in evict {
            self.evict(device, code);
        }
        match close {
            Some(CloseCode::Restart) => self.end_gracefully(CloseCode::Restart),
            Some(code) => self.end_at_once(code),
            None => {}
        }
    }

    /// The device is not this connection's any more.
    fn evict(&mut self, device: DeviceId, code: CloseCode) {
        let carries = |known: &Known| {
            known.is_admitted() && known.device.as_ref().is_some_and(|d| d.id == device)
        };
        let others = self
            .talk
            .logins
            .iter()
            .any(|known| known.is_admitted() && !carries(known));
        if code == CloseCode::IdentCollision
            && !self.is_ending()
            && !others
            && self.talk.logins.iter().any(carries)
            && self.sends_nothing_again()
        {
            self.aside().leaving = Some(Leaving {
                code,
                reads_left: LAST_READS_MAX,
                until_ms: self.now_ms() + LAST_READS_MS,
            });
            return;
        }
        let commanded = |commanding: &Commanding| match commanding {
            Commanding::Sent { device: of, .. } => *of == device,
            Commanding::NotBefore { .. } => false,
        };
        if self.commanding().is_some_and(commanded) {
            self.leave_command();
        }
        if let Some(known) = self.talk.logins.iter_mut().find(|known| carries(known)) {
            known.standing = Standing::Outside;
            if let Some(device) = &known.device {
                device.leave(self.handle.id());
            }
            self.handle.drop_device(device);
        } else {
            return;
        }
        if !others {
            self.end_at_once(code);
        }
    }

    /// Would what it has not read yet be lost with it? Not asked twice: the second time it ends.
    fn sends_nothing_again(&self) -> bool {
        self.leaving().is_none()
            && self
                .protocol
                .is_some_and(|protocol| protocol.info.acks == Acks::None)
    }

    /// A connection that was replaced does not wait for what may take long. Says whether it ends.
    pub(super) fn leaves_what_waits(&mut self) -> bool {
        let Some(leaving) = self.leaving() else {
            return false;
        };
        let (late, code) = (self.is_late(leaving), leaving.code);
        let ends = late || !self.waits_for_room();
        if ends {
            self.end_at_once(code);
        }
        ends
    }

    /// A connection that was replaced does not read on until its replies have left. It ends if it has
    /// had its reads, or if its peer does not take them in its time. Says whether it ends.
    pub(super) fn leaves_what_is_stuck(&mut self) -> bool {
        let Some(leaving) = self.leaving() else {
            return false;
        };
        let code = leaving.code;
        let ends = leaving.reads_left == 0 || self.is_late(leaving);
        if ends {
            self.end_at_once(code);
        }
        ends
    }

    /// The next turn of the wheel may come behind its time.
    fn is_late(&self, leaving: &Leaving) -> bool {
        self.now_ms() + TICK_MS > leaving.until_ms
    }

    /// Ends without waiting for anything.
    pub(in crate::channel) fn end_at_once(&mut self, code: CloseCode) {
        if self.ending().is_none_or(|ending| !ending.at_once) {
            self.aside().ending = Some(Ending {
                code,
                until_ms: self.now_ms(),
                at_once: true,
                shut: false,
            });
        }
    }

    /// Ends once the replies that are owed have left.
    pub(in crate::channel) fn end_gracefully(&mut self, code: CloseCode) {
        self.end_by(code, self.now_ms() + LINGER_MS);
    }

    /// A connection that was replaced waits for nothing.
    pub(super) fn end_by(&mut self, code: CloseCode, until_ms: i64) {
        if let Some(leaving) = self.leaving() {
            self.end_at_once(leaving.code);
        } else if !self.is_ending() {
            self.aside().ending = Some(Ending {
                code,
                until_ms,
                at_once: false,
                shut: false,
            });
        }
    }

    pub(in crate::channel) fn is_ending(&self) -> bool {
        self.ending().is_some()
    }

    pub(super) fn ending(&self) -> Option<&Ending> {
        self.aside.as_ref()?.ending.as_ref()
    }

    pub(super) fn leaving(&self) -> Option<&Leaving> {
        self.aside.as_ref()?.leaving.as_ref()
    }

    fn leaving_mut(&mut self) -> Option<&mut Leaving> {
        self.aside.as_mut()?.leaving.as_mut()
    }

    /// The device that was admitted last, or at least named.
    fn who(&self) -> Option<Who> {
        let admitted = self
            .talk
            .logins
            .iter()
            .rev()
            .find(|known| known.is_admitted());
        admitted.or(self.talk.logins.last()).map(Known::who)
    }

    /// It is over. What hangs on it is let go, and it is written down.
    pub(super) fn finish(&mut self, code: CloseCode) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if let Some(walk) = self.take_pending() {
            self.count_left(&walk);
        }
        self.keep_end(code);
        self.leave_command();
        let id = self.handle.id();
        let who = self.who();
        for known in &self.talk.logins {
            if let Some(device) = known.device.as_ref().filter(|_| known.is_admitted()) {
                device.leave(id);
            }
        }
        let duration_us = self.now_us - self.handle.established_us();
        let (device, account) = who
            .as_ref()
            .map_or_else(Default::default, |who| (who.device, who.account));
        self.worker.notes.borrow_mut().add(&Note::Connection {
            at_us: self.now_us,
            connection: id,
            channel: self.channel.id,
            peer: self.handle.peer(),
            ident: who.as_ref().map(|who| &who.ident),
            device,
            account,
            was: ConnectionWas::Closed {
                code: code.number(),
                messages: self.talk.messages,
                received: self.talk.received,
                sent: self.talk.sent,
                duration_us,
            },
        });
        self.worker.count_close(code);
        let aside = self.aside.as_deref_mut();
        let (duplicates, lost) =
            aside.map_or((0, None), |aside| (aside.duplicates, aside.lost.take()));
        self.tell(Happened::Closed {
            who,
            code,
            messages: self.talk.messages,
            received: self.talk.received,
            sent: self.talk.sent,
            duplicates,
            lost,
            duration_us,
        });
        if let Some(token) = self.token.take() {
            self.worker.leave(token);
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // a task that is dropped unfinished was dropped with its worker, or has panicked
        self.finish(if std::thread::panicking() {
            CloseCode::Internal
        } else {
            CloseCode::Restart
        });
        let Here {
            worker, channel, ..
        } = &*self.here;
        let room = &worker.room;
        room.deps.router.leave(&self.handle);
        room.connections.fetch_sub(1, Ordering::Relaxed);
        channel.closed();
    }
}
