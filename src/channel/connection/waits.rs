//! Decoded frames, and what becomes of those that cannot go on at present.
//!
//! A walk through the frames of a read ends, or waits: for room in the journal's queue, or for what
//! refused it. Only what waits keeps memory. Frames that nobody comes to any more are counted.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use protocols::{Acks, Cause, Output};

use super::Core;
use crate::account::{Account, Totals};
use crate::channel::frames::Span;
use crate::channel::logins::Known;
use crate::journal::Permit;
use crate::metrics::names;
use crate::router::CloseCode;

/// The decoded frames of one read, and how far they are done with.
#[derive(Default)]
pub(in crate::channel) struct Walk {
    pub(in crate::channel) output: Output,
    pub(in crate::channel) spans: Vec<Span>,
    /// The next one.
    pub(in crate::channel) at: usize,
    /// Up to here frames are taken one by one, because together they did not fit.
    pub(in crate::channel) singly_until: usize,
    /// Room in the journal's queue that was waited for.
    pub(in crate::channel) permit: Option<Permit>,
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
pub(in crate::channel) enum Wait {
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
pub(in crate::channel) struct Parking {
    /// What is told if it lasts too long.
    pub(in crate::channel) cause: Cause,
    /// When to try again, unix ms.
    pub(in crate::channel) retry_ms: i64,
    /// When it has lasted too long, unix ms.
    pub(in crate::channel) until_ms: i64,
    /// How the connection ends then.
    pub(in crate::channel) code: CloseCode,
    /// It is told its refusal then; else it goes without a word.
    pub(in crate::channel) tell: bool,
}

type RoomFuture = Pin<Box<dyn Future<Output = Option<Permit>>>>;

/// A walk that waits.
pub(super) struct Pending {
    pub(super) walk: Walk,
    /// Its frame that waits: when another one waits, its time begins anew.
    pub(super) at: usize,
    pub(super) wait: Waiting,
}

pub(super) enum Waiting {
    Room(RoomFuture),
    Parked {
        parking: Parking,
        /// Of the memory for parked frames.
        bytes: usize,
    },
}

impl Core {
    fn set_parked(&self, parked: bool) {
        let router = &self.worker.deps().router;
        router.set_parked(&self.handle, parked);
    }

    pub(super) fn pending(&self) -> Option<&Pending> {
        self.aside.as_ref()?.pending.as_deref()
    }

    /// The refusal that it waits out, if it does.
    pub(super) fn parking(&self) -> Option<Parking> {
        match self.pending()?.wait {
            Waiting::Parked { parking, .. } => Some(parking),
            Waiting::Room(_) => None,
        }
    }

    /// Does it wait for nothing but room in the journal's queue?
    pub(super) fn waits_for_room(&self) -> bool {
        let room = |pending: &Pending| matches!(pending.wait, Waiting::Room(_));
        self.pending().is_some_and(room) && !self.worker.mark().failed
    }

    /// Does the tracker send again what was not acked? Then its hang-up ends what waits.
    pub(super) fn sends_again(&self) -> bool {
        self.protocol
            .is_some_and(|protocol| protocol.info.acks != Acks::None)
    }

    /// The thread's memory for events, empty.
    pub(super) fn borrow_walk(&self) -> Walk {
        let mut output = self.worker.output.take();
        output.clear();
        Walk {
            output,
            spans: self.worker.spans.take(),
            at: 0,
            singly_until: 0,
            permit: None,
        }
    }

    /// The memory goes back to the thread, unless it has grown out of proportion. Frames that were
    /// not come to, because the connection ends, are counted: unread and unacked, the tracker has
    /// them still, if it keeps anything.
    pub(super) fn give_back(&self, walk: Walk) {
        const KEPT_BYTES_MAX: usize = 4 << 20;
        self.count_left(&walk);
        if walk.bytes() <= KEPT_BYTES_MAX {
            self.worker.output.replace(walk.output);
            self.worker.spans.replace(walk.spans);
        }
    }

    /// Counts the frames from `walk.at` on: refused, and nobody's if nobody has shown who it is.
    pub(super) fn count_left(&self, walk: &Walk) {
        let left = walk.spans.get(walk.at..).unwrap_or_default();
        let bytes: usize = left.iter().map(|span| span.bytes).sum();
        if bytes == 0 {
            return;
        }
        let named = |known: &&Known| known.device.is_some() || known.account().is_some();
        let known = self.talk.logins.iter().find(named);
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
    pub(super) fn advance(&mut self, mut walk: Walk, raw: Option<&[u8]>) {
        debug_assert!(self.pending().is_none(), "a read while frames wait");
        self.tell_rejects(&walk, raw);
        match self.walk(&mut walk, raw) {
            None => self.give_back(walk),
            Some(wait) => self.wait(walk, wait, true),
        }
    }

    fn wait(&mut self, mut walk: Walk, wait: Wait, first: bool) {
        let at = walk.at;
        let wait = match wait {
            Wait::Room { bytes } => {
                self.set_parked(false);
                self.worker.room.seldom().stalls.increment(1);
                let journal = self.worker.deps().journal.clone();
                Waiting::Room(Box::pin(async move { journal.permit(bytes).await }))
            }
            Wait::Parked(parking) => {
                let bytes = walk.bytes() + self.begun_bytes();
                if !self.worker.room.take_parking(bytes) {
                    self.set_parked(false);
                    self.refuse_frame(&mut walk, Cause::Busy, None);
                    walk.at += 1;
                    self.give_back(walk);
                    self.end_gracefully(CloseCode::ChannelBlocked);
                    return;
                }
                let reason = parking.cause.name();
                self.worker.count(&names::PARKS, reason, "");
                self.set_parked(true);
                // a change just before it was known to be parked woke nobody: look once more
                self.retry = first;
                Waiting::Parked { parking, bytes }
            }
        };
        self.aside().pending = Some(Box::new(Pending { walk, at, wait }));
    }

    /// Takes what waits out of waiting.
    pub(super) fn take_pending(&mut self) -> Option<Walk> {
        let walk = self.try_pending()?;
        self.set_parked(false);
        Some(walk)
    }

    /// Takes what waits, to see whether it waits on. It is known as parked until then, so that a
    /// change that comes meanwhile is not missed: its order is found at the next turn.
    fn try_pending(&mut self) -> Option<Walk> {
        let pending = self.aside.as_mut()?.pending.take()?;
        if let Waiting::Parked { bytes, .. } = pending.wait {
            self.worker.room.leave_parking(bytes);
        }
        Some(pending.walk)
    }

    /// Tries to go on with what waits. Says whether it did.
    pub(super) fn go_on(&mut self, cx: &mut Context<'_>) -> bool {
        let aside = self.aside.as_mut();
        let Some(pending) = aside.and_then(|aside| aside.pending.as_mut()) else {
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
                pending.walk.permit = permit;
                None
            }
            Waiting::Parked { parking, .. } => {
                if !std::mem::take(&mut self.retry) {
                    return false;
                }
                Some((pending.at, *parking))
            }
        };
        let Some(mut walk) = self.try_pending() else {
            return true;
        };
        let waits = self.walk(&mut walk, None);
        self.label_anew();
        match waits {
            None => {
                self.set_parked(false);
                self.give_back(walk);
                self.tidy_aside();
                // it was not its silence
                self.last_read_ms = self.now_ms();
                if let Some(begun) = &mut self.begun {
                    begun.since_ms = self.last_read_ms;
                }
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
                moved || self.is_ending()
            }
        }
    }
}
