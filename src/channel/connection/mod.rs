//! The driver: one task per connection, written once for every protocol and every byte stream.
//!
//! A turn of it sends what may leave, goes on with what was waiting, and reads. A read goes into the
//! thread's buffer; bytes are kept only while a frame is incomplete, events only while they wait, so
//! an idle connection owns no buffer. There is no timer of its own: it arms the worker's wheel for
//! the earliest of its deadlines and looks at all of them whenever it is woken.
//!
//! It refuses to read while: replies without room wait, the journal's queue is full or the journal
//! has failed, a refused frame is parked, or it is about to end. The tracker's own buffer then holds
//! what it has. A peer that hangs up meanwhile is noticed within [`super::bounds::HANG_UP_LOOK_MS`].
//!
//! What it decides of frames is in [`super::settle`].
//!
//! | file | what it is for |
//! |---|---|
//! | this one | the turns: send, go on, read |
//! | `wire` | what a byte stream has to be |
//! | `input` | bytes become frames |
//! | `tap` | what of it is kept as raw traffic |
//! | `tells` | what is told of frames that were not taken |
//! | `waits` | frames that go on later, or not at all |
//! | `deadlines` | what has come to its time |
//! | `ends` | orders to close, last reads, the end |

mod deadlines;
mod ends;
mod input;
mod tap;
mod tells;
mod waits;
mod wire;

pub use wire::Wire;

pub(super) use waits::{Parking, Wait, Walk};

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use protocols::{Acks, CommandError, Delivery, Ident, Protocol, Session};
use tokio::io::ReadBuf;

use crate::raw::Ended;
use crate::registry::ChannelHandle;
use crate::router::{CloseCode, ConnectionHandle};

use super::commands::Commanding;
use super::events::{ConnectionEvent, Happened, Lost};
use super::gate::Replies;
use super::logins::Logins;
use super::sources::Unidentified;
use super::subject::Subject;
use super::tally::Tally;
use super::worker::{Room, Token, Worker};
use ends::{Ending, Leaving};
use tap::Tap;
use waits::Pending;

/// Counts one connection of the gateway, which has not begun yet.
pub(super) struct Place(Option<Arc<Room>>);

impl Place {
    /// The caller has counted it.
    pub(super) fn of(room: &Arc<Room>) -> Self {
        Self(Some(Arc::clone(room)))
    }

    /// The connection has begun, and counts itself from now on.
    fn taken(mut self) {
        self.0 = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(room) = &self.0 {
            room.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What all connections of a channel on one worker share.
pub(super) struct Here {
    pub(super) worker: Rc<Worker>,
    pub(super) channel: Arc<ChannelHandle>,
    pub(super) tally: Rc<Tally>,
}

impl Here {
    pub(super) fn new(worker: &Rc<Worker>, channel: &Arc<ChannelHandle>) -> Rc<Self> {
        Rc::new(Self {
            worker: Rc::clone(worker),
            channel: Arc::clone(channel),
            tally: worker.tally(channel.id),
        })
    }
}

/// Counts one connection on which no device has been admitted.
pub(super) struct Stranger {
    room: Arc<Room>,
    _source: Unidentified,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.room.unidentified.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Everything of a connection but its byte stream. There are many: what few of them have is in
/// [`Aside`], and what all of a channel have is in [`Here`], which this stands for.
pub(super) struct Core {
    /// Named where only a part of the connection may be borrowed.
    pub(super) here: Rc<Here>,
    pub(super) handle: ConnectionHandle,
    pub(super) protocol: Option<&'static Protocol>,
    session: Option<Box<dyn Session>>,
    pub(super) talk: Box<Talk>,
    /// The login that what names nobody is from.
    pub(super) current: Option<u16>,
    pub(super) now_us: i64,
    last_read_ms: i64,
    begun: Option<Box<Begun>>,
    /// How it ends once what was read is done with.
    after: Option<CloseCode>,
    pub(super) aside: Option<Box<Aside>>,
    retry: bool,
    /// A command waits for one of its devices, as far as it was told.
    pub(super) command_due: bool,
    /// It has had its turn among the logins of its account.
    pub(super) had_turn: bool,
    token: Option<Token>,
    /// Tells its task's waker from another, without going to where that is kept.
    waker: u32,
    armed_ms: i64,
    finished: bool,
}

/// What was said on a connection. Apart from the rest of it, because the two together would need the
/// allocator's next larger block.
pub(super) struct Talk {
    pub(super) logins: Logins,
    pub(super) replies: Replies,
    pub(super) messages: u64,
    received: u64,
    sent: u64,
}

impl Deref for Core {
    type Target = Here;

    fn deref(&self) -> &Here {
        &self.here
    }
}

/// A frame that has begun and is not whole.
struct Begun {
    bytes: Vec<u8>,
    /// They are of no use before there are so many.
    need: usize,
    /// Unix ms.
    since_ms: i64,
}

impl Begun {
    fn is_due(&self) -> bool {
        self.bytes.len() >= self.need
    }
}

/// What few connections have, and none for long before it is identified.
#[derive(Default)]
pub(super) struct Aside {
    /// No device has been admitted yet.
    stranger: Option<Stranger>,
    /// Whom the peer's certificate speaks for, if it has shown one.
    pub(super) subject: Option<Box<Subject>>,
    /// When it has its turn among the logins of its account, unix ms, if it waits for that.
    pub(super) turn_ms: Option<i64>,
    pub(super) commanding: Option<Box<Commanding>>,
    pending: Option<Box<Pending>>,
    unsent: Vec<u8>,
    ending: Option<Ending>,
    leaving: Option<Leaving>,
    tap: Option<Tap>,
    /// Why the stream is lost, if it is.
    lost: Option<Box<Lost>>,
    rejects_told: u32,
    /// Whose refusal was told last, and when, unix ms.
    refusal_told: Option<(u16, i64)>,
    /// Messages that were stored already.
    duplicates: u64,
}

impl Aside {
    /// Is there nothing in it?
    fn is_empty(&self) -> bool {
        let Self {
            stranger,
            subject,
            turn_ms,
            commanding,
            pending,
            unsent,
            ending,
            leaving,
            tap,
            lost,
            rejects_told,
            refusal_told,
            duplicates,
        } = self;
        stranger.is_none()
            && subject.is_none()
            && turn_ms.is_none()
            && commanding.is_none()
            && pending.is_none()
            && unsent.is_empty()
            && ending.is_none()
            && leaving.is_none()
            && tap.is_none()
            && lost.is_none()
            && *rejects_told == 0
            && refusal_told.is_none()
            && *duplicates == 0
    }
}

/// One connection.
pub(super) struct Connection<S: Wire> {
    stream: S,
    core: Core,
}

enum Sent {
    All,
    Some,
    Broken,
}

impl<S: Wire> Connection<S> {
    /// Drives `stream` from now on. The caller has checked the bounds.
    pub(in crate::channel) fn new(
        here: Rc<Here>,
        stream: S,
        peer: SocketAddr,
        place: Place,
        source: Unidentified,
    ) -> Self {
        let Here {
            worker,
            channel,
            tally,
        } = &*here;
        let room = Arc::clone(&worker.room);
        let now_us = worker.now_us();
        let id = room.next_connection();
        let handle = worker.deps().router.enter(id, channel.id, peer, now_us);
        tally.opened.add(1);
        channel.opened();
        place.taken();
        room.unidentified.fetch_add(1, Ordering::Relaxed);
        let only = match *channel.state.load().protocols {
            [number] => protocols::by_number(number),
            _ => None,
        };
        let now_ms = now_us.div_euclid(1_000);
        let core = Core {
            here,
            handle,
            protocol: only,
            session: only.map(|protocol| (protocol.open)()),
            talk: Box::new(Talk {
                logins: Logins::new(),
                replies: Replies::new(only.map_or(Acks::None, |protocol| protocol.info.acks)),
                messages: 0,
                received: 0,
                sent: 0,
            }),
            current: None,
            now_us,
            last_read_ms: now_ms,
            begun: None,
            after: None,
            aside: Some(Box::new(Aside {
                stranger: Some(Stranger {
                    room,
                    _source: source,
                }),
                ..Aside::default()
            })),
            retry: false,
            command_due: false,
            had_turn: false,
            token: None,
            waker: 0,
            armed_ms: i64::MAX,
            finished: false,
        };
        core.tell(Happened::Accepted);
        Self { stream, core }
    }

    /// Sends what may leave: all of it in one write, if the socket takes it.
    fn send(&mut self, cx: &mut Context<'_>) -> Sent {
        let core = &mut self.core;
        let mut out = core.worker.out.take();
        core.release(&mut out);
        let mut waited = core.take_unsent();
        let bytes = if waited.is_empty() {
            &out
        } else {
            waited.extend_from_slice(&out);
            &waited
        };
        let mut done = 0;
        let mut broken = false;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(written)) if written > 0 => done += written,
                Poll::Ready(_) => {
                    broken = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        let written = done as u64;
        let left = bytes.get(done..).filter(|left| !left.is_empty());
        let left = left.map(<[u8]>::to_vec);
        let all = left.is_none();
        core.keep_sent(bytes.get(..done).unwrap_or_default());
        core.talk.sent += written;
        core.tally.sent.add(written);
        if let Some(left) = left {
            core.aside().unsent = left;
        }
        out.clear();
        core.worker.out.replace(out);
        if done > 0 && !broken {
            // a stream that buffers (TLS) is made to send; it wakes this task if it cannot yet
            broken = matches!(
                Pin::new(&mut self.stream).poll_flush(cx),
                Poll::Ready(Err(_))
            );
        }
        if broken {
            Sent::Broken
        } else if all {
            Sent::All
        } else {
            Sent::Some
        }
    }

    /// One read into the thread's buffer, of so many bytes at most.
    fn read(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<io::Result<()>> {
        let core = &mut self.core;
        let mut buffer = core.worker.read_buffer();
        let space = buffer.get_mut(..bytes_max).unwrap_or_default();
        let mut into = ReadBuf::new(space);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut into);
        let count = into.filled().len();
        if let Poll::Ready(Ok(())) = polled {
            let read = buffer.get(..count).unwrap_or_default();
            if let Some(subject) = self.stream.subject() {
                core.aside().subject = Some(subject);
            }
            core.take_in(read);
        }
        core.worker.put_back(buffer);
        polled
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<CloseCode> {
        self.core.look_at_orders();
        self.core.look_at_deadlines();
        let mut reads = 0;
        let (reads_max, bytes_max) = self.core.worker.allowance();
        loop {
            let sent = self.send(cx);
            if let Sent::Broken = sent {
                self.core.ended_by_tracker(Ended::Broken);
                return Poll::Ready(CloseCode::ByTracker);
            }
            if self.core.is_ending() {
                return self.end(cx);
            }
            if self.core.pending().is_some() {
                let drain_until_ms = self.core.worker.drain_until_ms();
                let until_ms = drain_until_ms.filter(|_| self.core.waits_for_room());
                if drain_until_ms.is_some() && until_ms.is_none_or(|at| self.core.now_ms() >= at) {
                    // unread and unacked: the tracker has it still
                    self.core.end_at_once(CloseCode::Restart);
                    continue;
                }
                if self.core.go_on(cx) || self.core.leaves_what_waits() {
                    continue;
                }
                // who has gone sends it again; what nobody would send again is kept while it may be
                let kept = !self.core.sends_again() && !self.core.worker.mark().failed;
                if !kept && self.stream.hung_up() {
                    self.core.ended_by_tracker(Ended::ByTracker);
                    return Poll::Ready(CloseCode::ByTracker);
                }
                return Poll::Pending;
            }
            if let Some(code) = self.core.after.take() {
                self.core.end_gracefully(code);
                continue;
            }
            if let Some(until_ms) = self.core.worker.drain_until_ms() {
                self.core.end_by(CloseCode::Restart, until_ms);
                continue;
            }
            let command_due = self.core.command_is_due();
            // a command is next, when what was read is answered
            let stuck = self.core.talk.replies.is_full()
                || self.core.worker.mark().failed
                || (command_due && !self.core.talk.replies.is_empty());
            if stuck || matches!(sent, Sent::Some) {
                if self.core.leaves_what_is_stuck() {
                    continue;
                }
                if self.stream.hung_up() {
                    self.core.ended_by_tracker(Ended::ByTracker);
                    return Poll::Ready(CloseCode::ByTracker);
                }
                return Poll::Pending;
            }
            if command_due && self.core.send_command() {
                continue;
            }
            if reads >= reads_max {
                self.core.await_turn(cx);
                return Poll::Pending;
            }
            reads += 1;
            if self.core.begun.as_ref().is_some_and(|begun| begun.is_due()) {
                self.core.digest_begun(false);
                continue;
            }
            if self.core.leaving().is_some() {
                return self.read_last(cx);
            }
            match self.read(cx, bytes_max) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.core.ended_by_tracker(Ended::Broken);
                    let code = S::code_of(&error);
                    if code != CloseCode::ByTracker {
                        self.core.lose_because(format!("tls: {error}"), &[]);
                    }
                    return Poll::Ready(code);
                }
            }
        }
    }
}

impl<S: Wire> Future for Connection<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.core.begin_turn(cx);
        match this.turn(cx) {
            Poll::Ready(code) => {
                this.core.finish(code);
                Poll::Ready(())
            }
            Poll::Pending => {
                this.core.arm();
                Poll::Pending
            }
        }
    }
}

impl Core {
    pub(super) fn aside(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }

    /// It is no stranger any more.
    pub(super) fn identified(&mut self) {
        if let Some(aside) = &mut self.aside {
            aside.stranger = None;
        }
    }

    /// A device is on it: what only waited for that is over.
    pub(super) fn settle_in(&mut self) {
        if let Some(aside) = &mut self.aside {
            (aside.turn_ms, aside.refusal_told) = (None, None);
        }
        self.tidy_aside();
    }

    fn tidy_aside(&mut self) {
        if self.aside.as_ref().is_some_and(|aside| aside.is_empty()) {
            self.aside = None;
        }
    }

    fn take_unsent(&mut self) -> Vec<u8> {
        let aside = self.aside.as_mut();
        aside.map_or_else(Vec::new, |aside| std::mem::take(&mut aside.unsent))
    }

    fn has_unsent(&self) -> bool {
        let aside = self.aside.as_ref();
        aside.is_some_and(|aside| !aside.unsent.is_empty())
    }

    /// What it has to do with commands.
    pub(super) fn commanding(&self) -> Option<&Commanding> {
        self.aside.as_ref()?.commanding.as_deref()
    }

    /// Counts messages that were stored already.
    pub(in crate::channel) fn count_duplicates(&mut self, count: u64) {
        if count > 0 {
            self.aside().duplicates += count;
        }
    }

    pub(in crate::channel) fn now_ms(&self) -> i64 {
        self.now_us.div_euclid(1_000)
    }

    /// The ident that the session writes commands for.
    pub(super) fn session_ident(&self) -> Option<&Ident> {
        self.session.as_ref()?.ident()
    }

    /// The bytes of a command.
    pub(super) fn encode(
        &mut self,
        command: &crate::router::Command,
        out: &mut Vec<u8>,
    ) -> Result<Delivery, CommandError> {
        let command = protocols::Command {
            name: &command.name,
            properties: &command.properties,
        };
        let session = self.session.as_mut().ok_or(CommandError::NotLoggedIn)?;
        session.encode(&command, out)
    }

    fn begin_turn(&mut self, cx: &Context<'_>) {
        self.now_us = self.worker.now_us();
        self.worker.look_at_untold(self.now_us);
        let waker = cx.waker();
        let it_is = waker.data().addr() ^ std::ptr::from_ref(waker.vtable()).addr();
        // tasks lie further apart than the bits that are left out
        let it_is = u32::try_from((it_is >> 4) & u32::MAX as usize).unwrap_or_default();
        if it_is == self.waker && self.token.is_some() {
            return;
        }
        self.waker = it_is;
        let renewed = if let Some(token) = self.token {
            self.worker.renew(token, waker)
        } else {
            self.token = Some(self.worker.enter(waker));
            true
        };
        // its mailbox has a lock: it is not taken for a waker that it knows
        if renewed {
            self.handle.listen(waker);
        }
    }

    /// Others have their turn before it reads on.
    fn await_turn(&self, cx: &Context<'_>) {
        if let Some(token) = self.token {
            self.worker.await_turn(token, cx.waker());
        }
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        if self.talk.replies.is_empty() {
            return;
        }
        let now_us = self.now_us;
        let mut latency = self.here.worker.latency.borrow_mut();
        let mut acks = 0;
        #[cfg(feature = "otel")]
        let mut first_us = now_us;
        self.talk
            .replies
            .release(self.here.worker.mark(), out, |mark| {
                acks += 1;
                let read_us = i64::try_from(mark).unwrap_or(now_us);
                #[cfg(feature = "otel")]
                {
                    first_us = first_us.min(read_us);
                }
                latency.count((now_us - read_us).max(0) as f64 / 1e6);
            });
        self.tally.acks.add(acks);
        #[cfg(feature = "otel")]
        if acks > 0 {
            self.worker.deps().events.answered(super::events::Answered {
                connection: self.handle.id(),
                read_us: first_us,
                at_us: now_us,
                acks,
            });
        }
    }

    pub(in crate::channel) fn tell(&self, what: Happened) {
        self.worker.tell(ConnectionEvent {
            at_us: self.now_us,
            channel: self.channel.id,
            owner: self.channel.state.load().owner.id(),
            connection: self.handle.id(),
            peer: self.handle.peer(),
            what,
        });
    }
}
