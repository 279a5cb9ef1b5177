//! The one value that everything about a channel hangs on while the gateway runs.

use super::identity::Post;
use super::items::{ChannelItem, Takeover, UnknownPolicy};
use super::unknown::UnknownList;
use crate::account::Account;
use crate::ids::ChannelId;
use arc_swap::ArcSwap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is said of a channel now. Swapped whole by every change.
#[derive(Clone)]
pub struct ChannelState {
    /// The account that owns it.
    pub owner: Account,
    /// The stored numbers of its protocols, in the order in which they are tried.
    pub protocols: Arc<[u16]>,
    /// The port it listens on.
    pub port: u16,
    /// Does it keep the channels above it from its branch?
    pub isolated: bool,
    /// What it does with an ident that no device has.
    pub unknown: UnknownPolicy,
    /// Which of two connections with the same ident lives on.
    pub takeover: Takeover,
    /// A disabled channel has no listener.
    pub enabled: bool,
    /// Its raw traffic is kept.
    pub keep_packets: bool,
    /// It was deleted: whoever still holds the handle lets go.
    pub gone: bool,
    /// All of it, as it is stored.
    pub item: Arc<ChannelItem>,
}

impl ChannelState {
    /// The state of a stored channel.
    pub fn new(item: Arc<ChannelItem>, owner: Account) -> Self {
        Self {
            owner,
            protocols: item.protocols.as_slice().into(),
            port: item.port,
            isolated: item.isolated,
            unknown: item.unknown,
            takeover: item.takeover,
            enabled: item.enabled,
            keep_packets: item.keep_packets,
            gone: false,
            item,
        }
    }

    /// What identity needs to know of it.
    pub fn post(&self) -> Post<'_> {
        Post {
            owner: self.owner.id(),
            protocols: &self.protocols,
            isolated: self.isolated,
        }
    }
}

/// A channel while the gateway runs. There is one for each id, for as long as the channel exists.
pub struct ChannelHandle {
    /// Whose handle it is.
    pub id: ChannelId,
    /// What is said of it now.
    pub state: ArcSwap<ChannelState>,
    last_us: AtomicI64,
    unknown: Mutex<UnknownList>,
    connections: AtomicU64,
}

impl ChannelHandle {
    pub(super) fn new(state: ChannelState) -> Self {
        Self {
            id: state.item.id,
            state: ArcSwap::from_pointee(state),
            last_us: AtomicI64::new(0),
            unknown: Mutex::default(),
            connections: AtomicU64::new(0),
        }
    }

    /// The server time of an entry written now: strictly rising per channel, so that it names the
    /// entry.
    pub fn stamp(&self, now_us: i64) -> i64 {
        let after = |last: i64| now_us.max(last.saturating_add(1));
        let before = self
            .last_us
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| {
                Some(after(last))
            })
            .unwrap_or_else(|last| last);
        after(before)
    }

    /// An entry of this time is on disk already: the next stamp is later.
    pub fn stamped(&self, at_us: i64) {
        self.last_us.fetch_max(at_us, Ordering::AcqRel);
    }

    /// The idents that came here and that no device has.
    pub fn unknown(&self) -> MutexGuard<'_, UnknownList> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many connections are open.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection, until it is [`ChannelHandle::closed`].
    pub fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection that was counted is over.
    pub fn closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for ChannelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelHandle({})", self.id)
    }
}
