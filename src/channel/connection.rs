//! The driver: one task per connection, written once for every protocol and every byte stream.
//!
//! A turn of it sends what may leave, goes on with what was waiting, and reads. A read goes into the
//! thread's buffer; bytes are kept only while a frame is incomplete, events only while they wait, so
//! an idle connection owns no buffer. There is no timer of its own: it arms the worker's wheel for
//! the earliest of its deadlines and looks at all of them whenever it is woken.
//!
//! It refuses to read while: replies without room wait, the journal's queue is full or the journal
//! has failed, a refused frame is parked, or it is about to end. The tracker's own buffer then holds
//! what it has. A peer that hangs up meanwhile is noticed within [`HANG_UP_LOOK_MS`].
//!
//! What it decides of frames is in [`super::settle`].

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use protocols::{Acks, Cause, Env, Fatal, Output, Probe, Protocol, Session};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::account::{Account, Totals};
use crate::ids::{DeviceId, Position};
use crate::journal::{ConnectionWas, Note, Permit};
use crate::metrics::names;
use crate::registry::{ChannelHandle, Connected};
use crate::router::{CloseCode, ConnectionHandle, Orders};

use super::bounds::{
    FRAME_BYTES_PER_S_MIN, FRAMES_PER_READ_MAX, HANG_UP_LOOK_MS, LAST_READS_MAX, LAST_READS_MS,
    LINGER_MS, PROBE_BYTES_MAX, READS_PER_TURN_MAX, SWALLOW_MS,
};
use super::events::{ConnectionEvent, Happened, Who};
use super::frames::{self, Span};
use super::gate::Replies;
use super::logins::{Known, Logins, Resolver};
use super::sources::Unidentified;
use super::subject::Subject;
use super::tally::Tally;
use super::wheel::TICK_MS;
use super::worker::{Room, Token, Worker};

/// A quarter of the memory of a frame that has begun is used, unless it is less than four times this.
const HELD_BYTES_KEPT: usize = 1024;

/// A byte stream that a connection runs over.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Has the peer gone? Asked while nothing is read, so it must not read.
    fn hung_up(&self) -> bool {
        false
    }

    /// Has something come that was not read yet? Asked when a read has found nothing, which may be
    /// because nobody has told the runtime yet.
    fn has_unread(&self) -> bool {
        false
    }

    /// Whom the certificate that the peer has shown speaks for: given once, behind the read that
    /// brought it.
    fn subject(&mut self) -> Option<Box<Subject>> {
        None
    }

    /// How a connection ends whose read has failed.
    fn code_of(_error: &io::Error) -> CloseCode {
        CloseCode::ByTracker
    }
}

impl Wire for tokio::net::TcpStream {
    fn hung_up(&self) -> bool {
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        is_ready(self, PollFlags::RDHUP, gone)
    }

    fn has_unread(&self) -> bool {
        is_ready(self, PollFlags::IN, PollFlags::IN)
    }
}

/// Asks the system about a socket, without waiting.
fn is_ready(socket: &tokio::net::TcpStream, asked: PollFlags, wanted: PollFlags) -> bool {
    let mut fds = [PollFd::new(socket, asked)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&at_once)).is_ok() && fds.iter().any(|fd| fd.revents().intersects(wanted))
}

impl Wire for tokio::io::DuplexStream {}

/// Counts one connection of the gateway.
pub(super) struct Place(pub(super) Arc<Room>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
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

/// The decoded frames of one read, and how far they are done with.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) output: Output,
    pub(super) spans: Vec<Span>,
    /// The next one.
    pub(super) at: usize,
    /// Up to here frames are taken one by one, because together they did not fit.
    pub(super) singly_until: usize,
}

impl Walk {
    /// The memory it holds.
    fn bytes(&self) -> usize {
        self.output.bytes.capacity()
            + self.output.events.capacity() * size_of::<protocols::Event>()
            + self.spans.capacity() * size_of::<Span>()
    }
}

/// Why a walk does not go on.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    /// The journal's queue is full.
    Room {
        /// So many bytes are needed.
        bytes: usize,
    },
    /// Refused for now.
    Parked(Parking),
}

/// A refusal that is waited out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parking {
    /// What is told if it lasts too long.
    pub(super) cause: Cause,
    /// When to try again, unix ms.
    pub(super) retry_ms: i64,
    /// When it has lasted too long, unix ms.
    pub(super) until_ms: i64,
    /// How the connection ends then.
    pub(super) code: CloseCode,
    /// It is told its refusal then; else it goes without a word.
    pub(super) tell: bool,
}

type RoomFuture = Pin<Box<dyn Future<Output = Option<Permit>>>>;

/// A walk that waits.
struct Pending {
    walk: Walk,
    /// Its frame that waits: when another one waits, its time begins anew.
    at: usize,
    wait: Waiting,
}

enum Waiting {
    Room(RoomFuture),
    Parked {
        parking: Parking,
        /// Of the memory for parked frames.
        bytes: usize,
    },
}

/// How a connection is being closed.
struct Ending {
    code: CloseCode,
    /// No later than this, unix ms.
    until_ms: i64,
    /// Without waiting for anything.
    at_once: bool,
    /// The writing half is closed.
    shut: bool,
}

/// How a connection that was replaced takes what has come already.
struct Leaving {
    code: CloseCode,
    reads_left: u32,
    /// No later than this, unix ms.
    until_ms: i64,
}

/// Everything of a connection but its byte stream.
pub(super) struct Core {
    pub(super) worker: Rc<Worker>,
    pub(super) channel: Arc<ChannelHandle>,
    pub(super) tally: Rc<Tally>,
    pub(super) handle: ConnectionHandle,
    pub(super) protocol: Option<&'static Protocol>,
    session: Option<Box<dyn Session>>,
    pub(super) logins: Logins,
    /// Whom the peer's certificate speaks for, if it has shown one.
    pub(super) subject: Option<Box<Subject>>,
    /// The login that what names nobody is from.
    pub(super) current: Option<u16>,
    pub(super) replies: Replies,
    pub(super) permit: Option<Permit>,
    pub(super) now_us: i64,
    pub(super) messages: u64,
    received: u64,
    sent: u64,
    last_read_ms: i64,
    /// Since when a frame is incomplete.
    begun_ms: i64,
    held: Vec<u8>,
    need: usize,
    unsent: Vec<u8>,
    pending: Option<Box<Pending>>,
    /// How it ends once what was read is done with.
    after: Option<CloseCode>,
    ending: Option<Ending>,
    leaving: Option<Box<Leaving>>,
    retry: bool,
    token: Option<Token>,
    armed_ms: i64,
    awaited: Position,
    finished: bool,
    pub(super) stranger: Option<Stranger>,
    _place: Place,
    _connected: Connected,
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
    pub(super) fn new(
        worker: Rc<Worker>,
        channel: Arc<ChannelHandle>,
        stream: S,
        peer: SocketAddr,
        place: Place,
        source: Unidentified,
    ) -> Self {
        let room = Arc::clone(&worker.room);
        let now_us = worker.now_us();
        let id = room.next_connection();
        let handle = worker.deps().router.enter(id, channel.id, peer, now_us);
        let tally = worker.tally(channel.id);
        tally.opened.add(1);
        room.unidentified.fetch_add(1, Ordering::Relaxed);
        let only = match *channel.state.load().protocols {
            [number] => protocols::by_number(number),
            _ => None,
        };
        let connected = channel.connected();
        let now_ms = now_us.div_euclid(1_000);
        let core = Core {
            channel,
            tally,
            handle,
            protocol: only,
            session: only.map(|protocol| (protocol.open)()),
            logins: Logins::new(),
            subject: None,
            current: None,
            replies: Replies::new(only.map_or(Acks::None, |protocol| protocol.info.acks)),
            permit: None,
            now_us,
            messages: 0,
            received: 0,
            sent: 0,
            last_read_ms: now_ms,
            begun_ms: now_ms,
            held: Vec::new(),
            need: 0,
            unsent: Vec::new(),
            pending: None,
            after: None,
            ending: None,
            leaving: None,
            retry: false,
            token: None,
            armed_ms: i64::MAX,
            awaited: Position::ZERO,
            finished: false,
            stranger: Some(Stranger {
                room,
                _source: source,
            }),
            _place: place,
            _connected: connected,
            worker,
        };
        core.tell(Happened::Accepted);
        Self { stream, core }
    }

    /// Sends what may leave: all of it in one write, if the socket takes it.
    fn send(&mut self, cx: &mut Context<'_>) -> Sent {
        let core = &mut self.core;
        let mut out = core.worker.out.take();
        core.release(&mut out);
        if !core.unsent.is_empty() {
            core.unsent.extend_from_slice(&out);
            out.clear();
        }
        let waited = !core.unsent.is_empty();
        let bytes = if waited { &core.unsent } else { &out };
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
        let left = bytes.get(done..).unwrap_or_default().to_vec();
        core.sent += written;
        core.tally.sent.add(written);
        core.unsent = left;
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
        } else if core.unsent.is_empty() {
            Sent::All
        } else {
            Sent::Some
        }
    }

    /// One read into the thread's buffer.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let core = &mut self.core;
        let mut buffer = core.worker.read_buffer();
        let mut into = ReadBuf::new(&mut buffer);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut into);
        let count = into.filled().len();
        if let Poll::Ready(Ok(())) = polled {
            let read = buffer.get(..count).unwrap_or_default();
            if let Some(subject) = self.stream.subject() {
                core.subject = Some(subject);
            }
            core.take_in(read);
        }
        core.worker.put_back(buffer);
        polled
    }

    /// Closing: waits for replies that are owed, closes the writing half, swallows what comes.
    fn end(&mut self, cx: &mut Context<'_>) -> Poll<CloseCode> {
        let core = &mut self.core;
        let now_ms = core.now_ms();
        let owes = !core.replies.is_empty() || !core.unsent.is_empty();
        let Some(ending) = &mut core.ending else {
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
    fn read_last(&mut self, cx: &mut Context<'_>) -> Poll<CloseCode> {
        let now_ms = self.core.now_ms();
        let Some(leaving) = &mut self.core.leaving else {
            return Poll::Pending;
        };
        let code = leaving.code;
        if leaving.reads_left == 0 || now_ms >= leaving.until_ms {
            return Poll::Ready(code);
        }
        leaving.reads_left -= 1;
        match self.read(cx) {
            // the runtime has not heard of it yet
            Poll::Pending if self.stream.has_unread() => {
                if let Some(leaving) = &mut self.core.leaving {
                    leaving.reads_left += 1;
                }
            }
            Poll::Pending | Poll::Ready(Err(_)) => return Poll::Ready(code),
            Poll::Ready(Ok(())) => {}
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<CloseCode> {
        self.core.look_at_orders();
        self.core.look_at_deadlines();
        let mut reads = 0;
        loop {
            let sent = self.send(cx);
            if let Sent::Broken = sent {
                return Poll::Ready(CloseCode::ByTracker);
            }
            if self.core.ending.is_some() {
                return self.end(cx);
            }
            if self.core.pending.is_some() {
                if self.core.worker.drain_until_ms().is_some() && !self.core.waits_for_room() {
                    // unread and unacked: the tracker has it still
                    self.core.end_at_once(CloseCode::Restart);
                    continue;
                }
                if self.core.go_on(cx) || self.core.leaves_what_waits() {
                    continue;
                }
                // who has gone sends it again; what nobody would send again is kept while it may be
                if self.core.sends_again() && self.stream.hung_up() {
                    return Poll::Ready(CloseCode::ByTracker);
                }
                return Poll::Pending;
            }
            if let Some(code) = self.core.after.take() {
                match &self.core.leaving {
                    Some(leaving) => self.core.end_at_once(leaving.code),
                    None => self.core.end_gracefully(code),
                }
                continue;
            }
            if let Some(until_ms) = self.core.worker.drain_until_ms() {
                self.core.end_by(CloseCode::Restart, until_ms);
                continue;
            }
            let stuck = self.core.replies.is_full() || self.core.worker.mark().failed;
            if stuck || matches!(sent, Sent::Some) {
                if self.stream.hung_up() {
                    return Poll::Ready(CloseCode::ByTracker);
                }
                return Poll::Pending;
            }
            if reads >= READS_PER_TURN_MAX {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            reads += 1;
            if !self.core.held.is_empty() && self.core.held.len() >= self.core.need {
                self.core.digest_held(false);
                continue;
            }
            if self.core.leaving.is_some() {
                return self.read_last(cx);
            }
            match self.read(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(S::code_of(&error)),
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
    pub(super) fn now_ms(&self) -> i64 {
        self.now_us.div_euclid(1_000)
    }

    fn begin_turn(&mut self, cx: &Context<'_>) {
        self.now_us = self.worker.now_us();
        self.worker.look_at_untold(self.now_us);
        let renewed = if let Some(token) = self.token {
            self.worker.renew(token, cx.waker())
        } else {
            self.token = Some(self.worker.enter(cx.waker()));
            true
        };
        // its mailbox has a lock: it is not taken for a waker that it knows
        if renewed {
            self.handle.listen(cx.waker());
        }
    }

    fn look_at_orders(&mut self) {
        let Some(Orders {
            close,
            evict,
            retry,
        }) = self.handle.orders()
        else {
            return;
        };
        self.retry |= retry;
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
            .logins
            .iter()
            .any(|known| known.is_admitted() && !carries(known));
        if code == CloseCode::IdentCollision
            && !others
            && self.logins.iter().any(carries)
            && self.sends_nothing_again()
        {
            self.leaving = Some(Box::new(Leaving {
                code,
                reads_left: LAST_READS_MAX,
                until_ms: self.now_ms() + LAST_READS_MS,
            }));
            return;
        }
        if let Some(known) = self.logins.iter_mut().find(|known| carries(known)) {
            known.standing = super::logins::Standing::Outside;
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
        self.leaving.is_none()
            && self
                .protocol
                .is_some_and(|protocol| protocol.info.acks == Acks::None)
    }

    /// A connection that was replaced does not wait for what may take long. Says whether it ends.
    fn leaves_what_waits(&mut self) -> bool {
        let Some(leaving) = &self.leaving else {
            return false;
        };
        // the next turn of the wheel may come behind its time
        let late = self.now_ms() + TICK_MS > leaving.until_ms;
        let ends = late || !self.waits_for_room();
        let code = leaving.code;
        if ends {
            self.end_at_once(code);
        }
        ends
    }

    /// Does it wait for nothing but room in the journal's queue?
    fn waits_for_room(&self) -> bool {
        let room = |pending: &Pending| matches!(pending.wait, Waiting::Room(_));
        self.pending.as_deref().is_some_and(room) && !self.worker.mark().failed
    }

    /// Does the tracker send again what was not acked? Then its hang-up ends what waits.
    fn sends_again(&self) -> bool {
        self.protocol
            .is_some_and(|protocol| protocol.info.acks != Acks::None)
    }

    fn is_identified(&self) -> bool {
        self.stranger.is_none()
    }

    /// When it must have identified itself.
    pub(super) fn identify_until_ms(&self) -> i64 {
        let opened_ms = self.handle.established_us().div_euclid(1_000);
        opened_ms + self.worker.deps().bounds.identify_ms
    }

    /// When the frame that has begun must be whole.
    fn frame_until_ms(&self) -> Option<i64> {
        let came = i64::try_from(self.held.len()).unwrap_or(i64::MAX);
        let for_its_bytes = came.saturating_mul(1_000) / FRAME_BYTES_PER_S_MIN;
        (came > 0).then(|| self.begun_ms + self.worker.deps().bounds.frame_ms + for_its_bytes)
    }

    /// Is its socket not read at present?
    fn is_unread(&self) -> bool {
        self.pending.is_some()
            || self.replies.is_full()
            || !self.unsent.is_empty()
            || self.worker.mark().failed
    }

    /// Has it named an ident?
    fn has_named(&self) -> bool {
        !self.logins.is_empty()
    }

    fn look_at_deadlines(&mut self) {
        if self.ending.is_some() {
            return;
        }
        let now_ms = self.now_ms();
        let (mut overdue, mut parked) = (None, false);
        if let Some(pending) = &self.pending
            && let Waiting::Parked { parking, .. } = &pending.wait
        {
            self.retry |= now_ms >= parking.retry_ms;
            overdue = (now_ms >= parking.until_ms).then_some(*parking);
            parked = true;
        }
        if self.is_unread() {
            // it cannot go on with its frame
            self.begun_ms = now_ms;
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
        } else if !parked
            && (now_ms >= self.last_read_ms + self.worker.deps().bounds.idle_ms
                || self.frame_until_ms().is_some_and(|until| now_ms >= until))
        {
            self.end_at_once(CloseCode::Inactivity);
        }
        self.wake_session(now_ms);
    }

    /// The decoder asked to be woken.
    fn wake_session(&mut self, now_ms: i64) {
        let wake = self
            .session
            .as_ref()
            .and_then(|session| session.next_wake());
        if self.pending.is_some() || wake.is_none_or(|at| now_ms < at) {
            return;
        }
        let mut walk = self.borrow_walk();
        if let (Some(session), Some(protocol)) = (&mut self.session, self.protocol) {
            let mut resolver = Resolver {
                registry: &self.worker.room.deps.registry,
                channel: &self.channel,
                protocol: protocol.number,
                logins: &mut self.logins,
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
        if let Some(ending) = &self.ending {
            return ending.until_ms;
        }
        if let Some(leaving) = &self.leaving {
            return (leaving.until_ms - TICK_MS).max(self.now_ms() + 1);
        }
        let mut next = self.last_read_ms + self.worker.deps().bounds.idle_ms;
        if let Some(pending) = &self.pending
            && let Waiting::Parked { parking, .. } = &pending.wait
        {
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
        if let Some(at) = self
            .session
            .as_ref()
            .and_then(|session| session.next_wake())
        {
            next = next.min(at);
        }
        next.max(self.now_ms() + 1)
    }

    /// Before it sleeps: who wakes it.
    fn arm(&mut self) {
        let Some(token) = self.token else { return };
        let next = self.next_deadline_ms();
        // what is armed already comes earlier: it looks again then
        if next < self.armed_ms || self.armed_ms <= self.now_ms() {
            self.worker.arm(next, token);
            self.armed_ms = next;
        }
        if let Some(position) = self.replies.waits_for()
            && position > self.awaited
        {
            self.worker.await_durable(position, token);
            self.awaited = position;
        }
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        if self.replies.is_empty() {
            return;
        }
        let now_us = self.now_us;
        let mut latency = self.worker.latency.borrow_mut();
        let mut acks = 0;
        self.replies.release(self.worker.mark(), out, |mark| {
            acks += 1;
            let read_us = i64::try_from(mark).unwrap_or(now_us);
            latency.count((now_us - read_us).max(0) as f64 / 1e6);
        });
        self.tally.acks.add(acks);
    }

    /// Bytes came, or the end of them.
    fn take_in(&mut self, read: &[u8]) {
        self.last_read_ms = self.now_ms();
        if read.is_empty() {
            self.after.get_or_insert(CloseCode::ByTracker);
            if !self.held.is_empty() {
                self.digest_held(true);
            }
            return;
        }
        self.received += read.len() as u64;
        self.tally.received.add(read.len() as u64);
        if self.held.is_empty() {
            self.begun_ms = self.last_read_ms;
            let consumed = self.digest(read, false);
            self.held = read.get(consumed..).unwrap_or_default().to_vec();
        } else {
            self.held.extend_from_slice(read);
            if self.held.len() >= self.need {
                self.digest_held(false);
            }
        }
    }

    fn digest_held(&mut self, eof: bool) {
        let mut held = std::mem::take(&mut self.held);
        let consumed = self.digest(&held, eof);
        if consumed > 0 {
            self.begun_ms = self.now_ms();
        }
        if consumed < held.len() {
            held.drain(..consumed);
            // of a burst that was waited out a frame's beginning may be left
            if held.capacity() / 4 > held.len().max(HELD_BYTES_KEPT) {
                held.shrink_to_fit();
            }
            self.held = held;
        }
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
                    self.replies = Replies::new(protocol.info.acks);
                    return;
                }
                Probe::More => undecided = true,
                Probe::No => {}
            }
        }
        self.need = head.len() + 1;
        if !undecided || eof || head.len() >= PROBE_BYTES_MAX {
            self.tally.unidentified.add(head.len() as u64);
            self.end_at_once(CloseCode::Mismatch);
        }
    }

    /// Decodes what can be decoded of `input` and goes through it. Gives back how much of it is
    /// done with.
    fn digest(&mut self, input: &[u8], eof: bool) -> usize {
        if self.session.is_none() {
            self.probe(input, eof);
        }
        let (Some(mut session), Some(protocol)) = (self.session.take(), self.protocol) else {
            return 0;
        };
        let mut walk = self.borrow_walk();
        let mut consumed = 0;
        let mut fatal: Option<Fatal> = None;
        let now_ms = self.now_ms();
        let deps = &self.worker.room.deps;
        for _ in 0..FRAMES_PER_READ_MAX / protocols::FRAMES_PER_FEED_MAX {
            let rest = input.get(consumed..).unwrap_or_default();
            let mut resolver = Resolver {
                registry: &deps.registry,
                channel: &self.channel,
                protocol: protocol.number,
                logins: &mut self.logins,
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
            self.need = fed.need;
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
            tracing::debug!(protocol = name, peer = %self.handle.peer(), %fatal, "stream lost");
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
        consumed
    }

    /// The thread's memory for events, empty.
    fn borrow_walk(&self) -> Walk {
        let mut output = self.worker.output.take();
        output.clear();
        Walk {
            output,
            spans: self.worker.spans.take(),
            at: 0,
            singly_until: 0,
        }
    }

    /// The memory goes back to the thread, unless it has grown out of proportion. Frames that were
    /// not come to, because the connection ends, are counted: unread and unacked, the tracker has
    /// them still, if it keeps anything.
    fn give_back(&self, walk: Walk) {
        const KEPT_BYTES_MAX: usize = 4 << 20;
        self.count_left(&walk);
        if walk.bytes() <= KEPT_BYTES_MAX {
            self.worker.output.replace(walk.output);
            self.worker.spans.replace(walk.spans);
        }
    }

    /// Counts the frames from `walk.at` on: refused, and nobody's if nobody has shown who it is.
    fn count_left(&self, walk: &Walk) {
        let left = walk.spans.get(walk.at..).unwrap_or_default();
        let bytes: usize = left.iter().map(|span| span.bytes).sum();
        if bytes == 0 {
            return;
        }
        let named = |known: &&Known| known.device.is_some() || known.account().is_some();
        let known = self.logins.iter().find(named);
        // who has not shown that it is that device makes nobody pay
        let Some(known) = known.filter(|_| self.is_identified()) else {
            self.tally.unidentified.add(bytes as u64);
            return;
        };
        self.tally.refused.add(bytes as u64);
        let of_device = || Some(known.device.as_ref()?.state.load().account.id());
        // whose it was when it was admitted, though it may have moved
        let admitted = known.account().map(Account::id);
        if let Some(account) = admitted.or_else(of_device) {
            let deltas = Totals {
                refused_bytes: bytes as u64,
                ..Totals::default()
            };
            let mut notes = self.worker.notes.borrow_mut();
            notes.usage(account, self.now_us, deltas);
        }
    }

    /// Goes through decoded frames until they are done with or one has to wait. `raw`: their bytes,
    /// if they are still at hand.
    fn advance(&mut self, mut walk: Walk, raw: Option<&[u8]>) {
        debug_assert!(self.pending.is_none(), "a read while frames wait");
        match self.walk(&mut walk, raw) {
            None => self.give_back(walk),
            Some(wait) => self.wait(walk, wait, true),
        }
    }

    fn wait(&mut self, mut walk: Walk, wait: Wait, first: bool) {
        let at = walk.at;
        let wait = match wait {
            Wait::Room { bytes } => {
                self.worker.room.seldom().stalls.increment(1);
                let journal = self.worker.deps().journal.clone();
                Waiting::Room(Box::pin(async move { journal.permit(bytes).await }))
            }
            Wait::Parked(parking) => {
                let bytes = walk.bytes() + self.held.capacity();
                if !self.worker.room.take_parking(bytes) {
                    self.refuse_frame(&mut walk, Cause::Busy, None);
                    walk.at += 1;
                    self.give_back(walk);
                    self.end_gracefully(CloseCode::ChannelBlocked);
                    return;
                }
                let reason = parking.cause.name();
                self.worker.count(&names::PARKS, reason, "");
                self.handle.set_parked(true);
                // a change just before it was known to be parked woke nobody: look once more
                self.retry = first;
                Waiting::Parked { parking, bytes }
            }
        };
        self.pending = Some(Box::new(Pending { walk, at, wait }));
    }

    /// Takes what waits out of waiting.
    fn take_pending(&mut self) -> Option<Walk> {
        let pending = self.pending.take()?;
        if let Waiting::Parked { bytes, .. } = pending.wait {
            self.worker.room.leave_parking(bytes);
            self.handle.set_parked(false);
        }
        Some(pending.walk)
    }

    /// Tries to go on with what waits. Says whether it did.
    fn go_on(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(pending) = &mut self.pending else {
            return true;
        };
        let before = match &mut pending.wait {
            Waiting::Room(room) => {
                let Poll::Ready(permit) = room.as_mut().poll(cx) else {
                    return false;
                };
                if permit.is_none() {
                    // the journal has failed: nothing will ever be stored, the mark says so too
                    pending.wait = Waiting::Room(Box::pin(std::future::pending()));
                    return false;
                }
                self.permit = permit;
                None
            }
            Waiting::Parked { parking, .. } => {
                if !std::mem::take(&mut self.retry) {
                    return false;
                }
                Some((pending.at, *parking))
            }
        };
        let Some(mut walk) = self.take_pending() else {
            return true;
        };
        match self.walk(&mut walk, None) {
            None => {
                self.give_back(walk);
                // it was not its silence
                self.last_read_ms = self.now_ms();
                self.begun_ms = self.last_read_ms;
                true
            }
            Some(mut wait) => {
                let mut moved = true;
                if let (Wait::Parked(parking), Some((at, first))) = (&mut wait, before)
                    && walk.at == at
                {
                    // the same frame waits on: its time goes on too
                    parking.until_ms = parking.until_ms.min(first.until_ms);
                    moved = false;
                }
                self.wait(walk, wait, moved);
                moved || self.ending.is_some()
            }
        }
    }

    /// Ends without waiting for anything.
    pub(super) fn end_at_once(&mut self, code: CloseCode) {
        if self.ending.as_ref().is_none_or(|ending| !ending.at_once) {
            self.ending = Some(Ending {
                code,
                until_ms: self.now_ms(),
                at_once: true,
                shut: false,
            });
        }
    }

    /// Ends once the replies that are owed have left.
    pub(super) fn end_gracefully(&mut self, code: CloseCode) {
        self.end_by(code, self.now_ms() + LINGER_MS);
    }

    fn end_by(&mut self, code: CloseCode, until_ms: i64) {
        if self.ending.is_none() {
            self.ending = Some(Ending {
                code,
                until_ms,
                at_once: false,
                shut: false,
            });
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    pub(super) fn tell(&self, what: Happened) {
        self.worker.tell(ConnectionEvent {
            at_us: self.now_us,
            channel: self.channel.id,
            connection: self.handle.id(),
            peer: self.handle.peer(),
            what,
        });
    }

    /// The device that was admitted last, or at least named.
    fn who(&self) -> Option<Who> {
        let admitted = self.logins.iter().rev().find(|known| known.is_admitted());
        admitted.or(self.logins.last()).map(Known::who)
    }

    /// It is over. What hangs on it is let go, and it is written down.
    fn finish(&mut self, code: CloseCode) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if let Some(walk) = self.take_pending() {
            self.count_left(&walk);
        }
        let id = self.handle.id();
        let who = self.who();
        for known in &self.logins {
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
                messages: self.messages,
                received: self.received,
                sent: self.sent,
                duration_us,
            },
        });
        self.worker.count_close(code);
        self.tell(Happened::Closed {
            who,
            code,
            messages: self.messages,
            received: self.received,
            sent: self.sent,
            duration_us,
        });
        if let Some(token) = self.token.take() {
            self.worker.leave(token);
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // a task that is dropped unfinished was dropped with its worker
        self.finish(CloseCode::Restart);
    }
}
