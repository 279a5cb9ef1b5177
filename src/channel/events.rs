//! What happened to connections, told to whoever keeps the log of it.
//!
//! Telling never waits: a listener that cannot keep up loses events (and counts them), an ack never
//! waits for one.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use protocols::Cause;

use crate::account::Dimension;
use crate::ids::{AccountId, ChannelId, ConnectionId, DeviceId, Ident};
use crate::router::{CloseCode, Outcome};

/// Something that happened, by flespi's event codes.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionEvent {
    /// When, unix us.
    pub at_us: i64,
    /// On which channel.
    pub channel: ChannelId,
    /// Whose the channel was then: what happened to the channel is this account's event.
    pub owner: AccountId,
    /// On which connection.
    pub connection: ConnectionId,
    /// From where.
    pub peer: SocketAddr,
    /// What.
    pub what: Happened,
}

/// A device as an event names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The name it gave itself.
    pub ident: Ident,
    /// The device; `NONE` if nobody has registered it.
    pub device: DeviceId,
    /// Its account; `NONE` if nobody has registered it.
    pub account: AccountId,
}

/// Why a stream could not be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// What is wrong, and where.
    pub why: String,
    /// How what could not be read begins.
    pub head: Box<[u8]>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// 100: a connection was accepted.
    Accepted,
    /// 101: a device was admitted on it.
    Identified(Who),
    /// 102: it ended.
    Closed {
        /// The device that was admitted last, if any.
        who: Option<Who>,
        /// Why.
        code: CloseCode,
        /// Messages that came over it.
        messages: u64,
        /// Bytes received.
        received: u64,
        /// Bytes sent.
        sent: u64,
        /// Messages that were stored already.
        duplicates: u64,
        /// Why nothing more could be read of it, if that is how it ended.
        lost: Option<Box<Lost>>,
        /// How long it lasted.
        duration_us: i64,
    },
    /// 305: a frame, or a part of one, could not be read.
    Rejected {
        /// Whose, if somebody had named himself.
        who: Option<Who>,
        /// The part of the protocol that failed.
        what: &'static str,
        /// The reason.
        why: &'static str,
        /// Where in the frame.
        at: usize,
        /// The byte there, if the frame is still at hand.
        byte: Option<u8>,
        /// How the frame begins.
        frame: Box<[u8]>,
    },
    /// 9005: what a login sends is refused.
    Refused {
        /// Whom it names, though it is not admitted.
        who: Who,
        /// What for.
        cause: Cause,
        /// Of a limit: in what, and how many levels above the device's account.
        limit: Option<(Dimension, u8)>,
    },
    /// 20: an account exceeded a limit and is blocked.
    Blocked {
        /// The device whose frame did not fit.
        who: Who,
        /// The account that is blocked.
        account: AccountId,
        /// For what.
        dimension: Dimension,
        /// Until when, unix us.
        until_us: i64,
    },
    /// 9002: a frame costs more than a whole limit: it can never be admitted.
    TooLarge {
        /// Whose frame.
        who: Who,
        /// The account that refused.
        account: AccountId,
        /// In what.
        dimension: Dimension,
        /// What the frame costs there.
        asked: u64,
        /// The limit there.
        cap: i64,
    },
    /// 9004: a device came on a second connection; the first is closed.
    TakenOver {
        /// Which device.
        who: Who,
        /// The connection that it was on.
        from: ConnectionId,
    },
    /// 9011: a command was sent to a device.
    CommandSent {
        /// Which device.
        who: Who,
        /// The command's number.
        id: u64,
        /// Its name.
        name: String,
    },
    /// 9012 or 9014: a command that was on its way has ended.
    CommandEnded {
        /// Which device.
        who: Who,
        /// The command's number.
        id: u64,
        /// Its name.
        name: String,
        /// How.
        outcome: Outcome,
    },
    /// 9001: connections take a device from each other again and again, which is slowed, or want one
    /// that its channel leaves where it is.
    Flaps {
        /// Which device.
        who: Who,
        /// How often it changed hands, or was wanted, within the window.
        takeovers: u32,
    },
}

impl Happened {
    /// flespi's event code, or ours above 9000 where it has none.
    pub const fn code(&self) -> u16 {
        match self {
            Self::Accepted => 100,
            Self::Identified(_) => 101,
            Self::Closed { .. } => 102,
            Self::Blocked { .. } => 20,
            Self::Rejected { .. } => 305,
            Self::Refused { .. } => 9005,
            Self::Flaps { .. } => 9001,
            Self::TooLarge { .. } => 9002,
            Self::TakenOver { .. } => 9004,
            Self::CommandSent { .. } => 9011,
            Self::CommandEnded { outcome, .. } if outcome.is_executed() => 9012,
            Self::CommandEnded { .. } => 9014,
        }
    }
}

/// Who hears of events. Called from the workers' threads: it must not wait.
pub trait EventSink: Send + Sync + 'static {
    /// Something happened. Says whether it was taken.
    fn tell(&self, event: ConnectionEvent) -> bool;

    /// Replies left that were due to what was read.
    #[cfg(feature = "otel")]
    fn answered(&self, _: Answered) {}
}

/// Replies that have left together.
#[cfg(feature = "otel")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// On which connection.
    pub connection: ConnectionId,
    /// When the first of what they answer was read, unix us.
    pub read_us: i64,
    /// When they left, unix us.
    pub at_us: i64,
    /// How many of them say that records are durable.
    pub acks: u64,
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEvents;

impl EventSink for NoEvents {
    fn tell(&self, _: ConnectionEvent) -> bool {
        true
    }
}

/// So many events wait in an [`EventQueue`]; later ones are lost and counted.
pub const EVENTS_QUEUED_MAX: usize = 16 * 1024;

/// A bounded queue between the workers and a thread that writes events down.
#[derive(Debug)]
pub struct EventQueue {
    queue: SyncSender<ConnectionEvent>,
    lost: AtomicU64,
}

impl EventQueue {
    /// A queue and its other end.
    pub fn new() -> (Self, Receiver<ConnectionEvent>) {
        let (queue, receiver) = sync_channel(EVENTS_QUEUED_MAX);
        let lost = AtomicU64::new(0);
        (Self { queue, lost }, receiver)
    }

    /// How many events it has lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl EventSink for EventQueue {
    fn tell(&self, event: ConnectionEvent) -> bool {
        let taken = self.queue.try_send(event).is_ok();
        if !taken {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}
