//! The router: which connections live, how to reach them, what commands wait for their devices, and
//! who follows new messages.
//!
//! It is where the rooms that decide (control, the API) meet the tasks that own sockets: an order is
//! left in the connection's mailbox and its task is woken; nothing here touches a socket. It refuses
//! to give out references into its map: everything returned is owned, so no guard can be held
//! across an await.
//!
//! Invariants: an entry exists exactly as long as its connection's task; an order is never lost
//! between two looks of the task (the flag is set before the waker is taken, and looked at after the
//! waker was left). Bounds: as many entries as connections are allowed (the channel room's bound),
//! [`FOLLOWERS_MAX`] followers with [`FOLLOW_QUEUE_MAX`] positions each; per connection at most one
//! close code (the first stays) and one eviction per device that it carries.

mod close;
mod commands;
mod follow;

pub use close::CloseCode;
pub use commands::{
    COMMANDS_MAX, COMMANDS_PER_DEVICE_MAX, Command, Commands, Ended, Outcome, RESPONSE_BYTES_MAX,
    RESULTS_MAX, TooManyCommands,
};
pub use follow::{
    FOLLOW_QUEUE_MAX, FOLLOWERS_MAX, Followed, Subscription, TooManyFollowers, Topic,
};

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use dashmap::DashMap;
use smallvec::SmallVec;

use crate::ids::{AccountId, ChannelId, ConnectionId, DeviceId, Ident, Position};
use follow::Followers;

/// A device that a connection carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Under which name.
    pub ident: Ident,
    /// Which device.
    pub device: DeviceId,
    /// Whose it was when it was admitted.
    pub account: AccountId,
}

/// What is known of a live connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Which connection.
    pub id: ConnectionId,
    /// Over which channel.
    pub channel: ChannelId,
    /// From where.
    pub peer: SocketAddr,
    /// Since when, unix us.
    pub established_us: i64,
    /// The devices admitted on it.
    pub carries: SmallVec<[Carried; 1]>,
    /// It is not read, because what it sent was refused.
    pub parked: bool,
}

/// What a connection's task finds in its mailbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Close.
    pub close: Option<CloseCode>,
    /// Go on without these devices; close if none is left or the protocol carries only one.
    pub evict: SmallVec<[(DeviceId, CloseCode); 1]>,
    /// What was refused may be admitted now: try again.
    pub retry: bool,
    /// A command waits for one of its devices.
    pub command: bool,
}

#[derive(Default)]
struct Mailbox {
    waker: Option<Waker>,
    orders: Orders,
    carries: SmallVec<[Carried; 1]>,
    parked: bool,
}

struct Shared {
    id: ConnectionId,
    channel: ChannelId,
    peer: SocketAddr,
    established_us: i64,
    /// There is something in the mailbox.
    mail: AtomicBool,
    mailbox: Mutex<Mailbox>,
}

impl Shared {
    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, order: impl FnOnce(&mut Orders)) {
        let waker = {
            let mut mailbox = self.mailbox();
            order(&mut mailbox.orders);
            self.mail.store(true, Ordering::Release);
            mailbox.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn facts(&self) -> Facts {
        let mailbox = self.mailbox();
        Facts {
            id: self.id,
            channel: self.channel,
            peer: self.peer,
            established_us: self.established_us,
            carries: mailbox.carries.clone(),
            parked: mailbox.parked,
        }
    }
}

/// The live connections and the followers. Cheap to clone through an `Arc`.
#[derive(Default)]
pub struct Router {
    live: DashMap<ConnectionId, Arc<Shared>, foldhash::fast::RandomState>,
    parked: AtomicUsize,
    followers: Arc<Followers>,
    commands: Commands,
}

impl Router {
    /// A router without connections.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Enters a connection. It is taken out when the handle is dropped.
    pub fn enter(
        self: &Arc<Self>,
        id: ConnectionId,
        channel: ChannelId,
        peer: SocketAddr,
        established_us: i64,
    ) -> ConnectionHandle {
        let shared = Arc::new(Shared {
            id,
            channel,
            peer,
            established_us,
            mail: AtomicBool::new(false),
            mailbox: Mutex::default(),
        });
        self.live.insert(id, Arc::clone(&shared));
        ConnectionHandle {
            shared,
            router: Arc::clone(self),
        }
    }

    fn reach(&self, id: ConnectionId) -> Option<Arc<Shared>> {
        self.live.get(&id).map(|entry| Arc::clone(entry.value()))
    }

    fn all(&self) -> Vec<Arc<Shared>> {
        self.live.iter().map(|e| Arc::clone(e.value())).collect()
    }

    /// How many live.
    pub fn count(&self) -> usize {
        self.live.len()
    }

    /// How many are parked.
    pub fn parked_count(&self) -> usize {
        self.parked.load(Ordering::SeqCst)
    }

    /// Is it alive?
    pub fn lives(&self, id: ConnectionId) -> bool {
        self.live.contains_key(&id)
    }

    /// What is known of one.
    pub fn connection(&self, id: ConnectionId) -> Option<Facts> {
        self.reach(id).map(|shared| shared.facts())
    }

    /// What is known of all for which `wanted` holds, in the order of their ids.
    pub fn connections(&self, mut wanted: impl FnMut(&Facts) -> bool) -> Vec<Facts> {
        let mut found: Vec<Facts> = self.all().iter().map(|shared| shared.facts()).collect();
        found.retain(|facts| wanted(facts));
        found.sort_unstable_by_key(|facts| facts.id);
        found
    }

    /// The commands that wait for devices.
    pub const fn commands(&self) -> &Commands {
        &self.commands
    }

    /// Tells a connection that a command waits for one of its devices. Says whether it lives.
    pub fn command(&self, id: ConnectionId) -> bool {
        let shared = self.reach(id);
        if let Some(shared) = &shared {
            shared.order(|orders| orders.command = true);
        }
        shared.is_some()
    }

    /// Closes one. Says whether it lived.
    pub fn close(&self, id: ConnectionId, code: CloseCode) -> bool {
        let shared = self.reach(id);
        if let Some(shared) = &shared {
            shared.order(|orders| _ = orders.close.get_or_insert(code));
        }
        shared.is_some()
    }

    /// Takes a device off a connection: closes it, unless it carries others too. `present` of the
    /// device's handle says which connection that is. Says whether it lived.
    pub fn evict(&self, id: ConnectionId, device: DeviceId, code: CloseCode) -> bool {
        let shared = self.reach(id);
        if let Some(shared) = &shared {
            shared.order(|orders| {
                if !orders.evict.iter().any(|(known, _)| *known == device) {
                    orders.evict.push((device, code));
                }
            });
        }
        shared.is_some()
    }

    /// Takes a device off every connection that carries it. Says how many.
    pub fn close_device(&self, device: DeviceId, code: CloseCode) -> usize {
        let carries = |shared: &Arc<Shared>| {
            let mailbox = shared.mailbox();
            mailbox.carries.iter().any(|c| c.device == device)
        };
        let found: Vec<_> = self.all().into_iter().filter(carries).collect();
        for shared in &found {
            self.evict(shared.id, device, code);
        }
        found.len()
    }

    /// Closes all of a channel. Says how many.
    pub fn close_channel(&self, channel: ChannelId, code: CloseCode) -> usize {
        self.close_where(|facts| facts.channel == channel, code)
    }

    /// Closes all for which `wanted` holds. Says how many.
    pub fn close_where(&self, mut wanted: impl FnMut(&Facts) -> bool, code: CloseCode) -> usize {
        let mut closed = 0;
        for shared in self.all() {
            if wanted(&shared.facts()) {
                shared.order(|orders| _ = orders.close.get_or_insert(code));
                closed += 1;
            }
        }
        closed
    }

    /// A limit, an owner or a registration has changed: what is parked tries again.
    pub fn wake_parked(&self) {
        if self.parked_count() == 0 {
            return;
        }
        for shared in self.all() {
            if shared.mailbox().parked {
                shared.order(|orders| orders.retry = true);
            }
        }
    }

    /// Hears of new messages.
    pub fn follow(&self, topic: Topic) -> Result<Subscription, TooManyFollowers> {
        self.followers.follow(topic)
    }

    /// Does anybody follow anything? If not, [`Router::appended`] need not be called.
    pub fn is_followed(&self) -> bool {
        self.followers.any()
    }

    /// A message of `device` over `channel` was appended at `position`.
    pub fn appended(&self, channel: ChannelId, device: DeviceId, position: Position) {
        self.followers.tell(Topic::All, position);
        self.followers.tell(Topic::Channel(channel), position);
        if device.is_some() {
            self.followers.tell(Topic::Device(device), position);
        }
    }
}

/// The connection task's own entry: its mailbox and what others may know of it.
pub struct ConnectionHandle {
    shared: Arc<Shared>,
    router: Arc<Router>,
}

impl ConnectionHandle {
    /// Its id.
    pub fn id(&self) -> ConnectionId {
        self.shared.id
    }

    /// Its peer.
    pub fn peer(&self) -> SocketAddr {
        self.shared.peer
    }

    /// Since when it lives, unix us.
    pub fn established_us(&self) -> i64 {
        self.shared.established_us
    }

    /// Orders wake this task from now on.
    pub fn listen(&self, waker: &Waker) {
        let mut mailbox = self.shared.mailbox();
        match &mut mailbox.waker {
            Some(known) if known.will_wake(waker) => {}
            other => *other = Some(waker.clone()),
        }
    }

    /// Takes what is in the mailbox. Costs one load when it is empty.
    pub fn orders(&self) -> Option<Orders> {
        if !self.shared.mail.load(Ordering::Acquire) {
            return None;
        }
        let mut mailbox = self.shared.mailbox();
        self.shared.mail.store(false, Ordering::Release);
        Some(std::mem::take(&mut mailbox.orders))
    }

    /// A device was admitted on it.
    pub fn carry(&self, carried: Carried) {
        let mut mailbox = self.shared.mailbox();
        mailbox.carries.retain(|c| c.ident != carried.ident);
        mailbox.carries.push(carried);
    }

    /// It carries the device no more.
    pub fn drop_device(&self, device: DeviceId) {
        self.shared.mailbox().carries.retain(|c| c.device != device);
    }

    /// Says whether it is parked. Does not count twice.
    pub fn set_parked(&self, parked: bool) {
        let was = std::mem::replace(&mut self.shared.mailbox().parked, parked);
        match (was, parked) {
            (false, true) => _ = self.router.parked.fetch_add(1, Ordering::SeqCst),
            (true, false) => _ = self.router.parked.fetch_sub(1, Ordering::Relaxed),
            _ => {}
        }
    }
}

impl Drop for ConnectionHandle {
    fn drop(&mut self) {
        self.set_parked(false);
        self.router.live.remove(&self.shared.id);
        self.shared.mailbox().waker = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(router: &Arc<Router>, id: u64, channel: u64, device: u64) -> ConnectionHandle {
        let peer = SocketAddr::from(([127, 0, 0, 1], 4000));
        let handle = router.enter(ConnectionId(id), ChannelId(channel), peer, 0);
        handle.carry(Carried {
            ident: Ident::new(&format!("ident-{device}")).expect("an ident"),
            device: DeviceId(device),
            account: AccountId(1),
        });
        handle
    }

    #[test]
    fn an_order_reaches_the_connections_it_means_and_no_other() {
        let router = Router::new();
        let a = enter(&router, 1, 10, 100);
        let b = enter(&router, 2, 10, 101);
        let c = enter(&router, 3, 11, 102);
        assert_eq!(router.close_channel(ChannelId(10), CloseCode::ByUser), 2);
        assert_eq!(a.orders().expect("mail").close, Some(CloseCode::ByUser));
        assert_eq!(a.orders(), None, "taken");
        assert!(b.orders().is_some());
        assert_eq!(c.orders(), None);
        assert_eq!(
            router.close_device(DeviceId(102), CloseCode::DeviceChanged),
            1
        );
        assert_eq!(
            c.orders().expect("mail").evict[..],
            [(DeviceId(102), CloseCode::DeviceChanged)]
        );
        assert!(!router.close(ConnectionId(9), CloseCode::ByUser));
        drop((a, b));
        assert_eq!(router.count(), 1);
        let ids: Vec<_> = router.connections(|_| true).iter().map(|f| f.id).collect();
        assert_eq!(ids, [ConnectionId(3)]);
    }

    #[test]
    fn the_first_close_code_stays_and_only_the_parked_are_told_to_retry() {
        let router = Router::new();
        let a = enter(&router, 1, 10, 100);
        let b = enter(&router, 2, 10, 101);
        router.close(a.id(), CloseCode::IdentCollision);
        router.close(a.id(), CloseCode::Restart);
        assert_eq!(
            a.orders().expect("mail").close,
            Some(CloseCode::IdentCollision)
        );
        b.set_parked(true);
        b.set_parked(true);
        assert_eq!(router.parked_count(), 1);
        router.wake_parked();
        assert_eq!(a.orders(), None);
        assert!(b.orders().expect("mail").retry);
        drop(b);
        assert_eq!(router.parked_count(), 0);
    }
}
