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

use std::net::{IpAddr, SocketAddr};
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

/// A device as far as the router has to know it: every connection carries one, so its name is not
/// kept a second time.
pub trait Device: Send + Sync {
    /// Which one.
    fn id(&self) -> DeviceId;
    /// Under which name it is carried.
    fn ident(&self) -> &Ident;
}

#[derive(Default)]
struct Mailbox {
    waker: Option<Waker>,
    /// Few connections ever get one.
    orders: Option<Box<Orders>>,
    /// With the account whose it was when it was admitted.
    carries: SmallVec<[(Arc<dyn Device>, AccountId); 1]>,
}

/// Every connection has one: its size is held by a test.
struct Shared {
    id: ConnectionId,
    channel: ChannelId,
    peer: (IpAddr, u16),
    established_us: i64,
    /// There is something in the mailbox.
    mail: AtomicBool,
    parked: AtomicBool,
    mailbox: Mutex<Mailbox>,
}

impl Shared {
    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, order: impl FnOnce(&mut Orders)) {
        let waker = {
            let mut mailbox = self.mailbox();
            order(mailbox.orders.get_or_insert_default());
            self.mail.store(true, Ordering::Release);
            mailbox.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn peer(&self) -> SocketAddr {
        let (address, port) = self.peer;
        SocketAddr::new(address, port)
    }

    fn is_parked(&self) -> bool {
        self.parked.load(Ordering::SeqCst)
    }

    fn facts(&self) -> Facts {
        let carried = |(device, account): &(Arc<dyn Device>, AccountId)| Carried {
            ident: device.ident().clone(),
            device: device.id(),
            account: *account,
        };
        Facts {
            id: self.id,
            channel: self.channel,
            peer: self.peer(),
            established_us: self.established_us,
            carries: self.mailbox().carries.iter().map(carried).collect(),
            parked: self.is_parked(),
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

    /// Enters a connection, until [`Router::leave`].
    pub fn enter(
        &self,
        id: ConnectionId,
        channel: ChannelId,
        peer: SocketAddr,
        established_us: i64,
    ) -> ConnectionHandle {
        let shared = Arc::new(Shared {
            id,
            channel,
            peer: (peer.ip(), peer.port()),
            established_us,
            mail: AtomicBool::new(false),
            parked: AtomicBool::new(false),
            mailbox: Mutex::default(),
        });
        self.live.insert(id, Arc::clone(&shared));
        ConnectionHandle { shared }
    }

    /// The connection's task is over.
    pub fn leave(&self, handle: &ConnectionHandle) {
        self.set_parked(handle, false);
        self.live.remove(&handle.id());
        handle.shared.mailbox().waker = None;
    }

    /// Says whether it is parked. Does not count twice.
    pub fn set_parked(&self, handle: &ConnectionHandle, parked: bool) {
        let was = handle.shared.parked.swap(parked, Ordering::SeqCst);
        match (was, parked) {
            (false, true) => _ = self.parked.fetch_add(1, Ordering::SeqCst),
            (true, false) => _ = self.parked.fetch_sub(1, Ordering::Relaxed),
            _ => {}
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
            mailbox.carries.iter().any(|(of, _)| of.id() == device)
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
            if shared.is_parked() {
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

/// The connection task's own entry: its mailbox and what others may know of it. The task takes it out
/// with [`Router::leave`]: the router is its worker's, and is not kept once more with each connection.
pub struct ConnectionHandle {
    shared: Arc<Shared>,
}

impl ConnectionHandle {
    /// Its id.
    pub fn id(&self) -> ConnectionId {
        self.shared.id
    }

    /// Its peer.
    pub fn peer(&self) -> SocketAddr {
        self.shared.peer()
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
        mailbox.orders.take().map(|orders| *orders)
    }

    /// A device of this account was admitted on it.
    pub fn carry(&self, device: Arc<dyn Device>, account: AccountId) {
        let mut mailbox = self.shared.mailbox();
        let carries = &mut mailbox.carries;
        carries.retain(|(other, _)| other.ident() != device.ident());
        carries.push((device, account));
    }

    /// It carries the device no more.
    pub fn drop_device(&self, device: DeviceId) {
        let mut mailbox = self.shared.mailbox();
        mailbox.carries.retain(|(other, _)| other.id() != device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(router: &Router, id: u64, channel: u64, device: u64) -> ConnectionHandle {
        let peer = SocketAddr::from(([127, 0, 0, 1], 4000));
        let handle = router.enter(ConnectionId(id), ChannelId(channel), peer, 0);
        let ident = Ident::new(&format!("ident-{device}")).expect("an ident");
        handle.carry(Arc::new(Tracker(DeviceId(device), ident)), AccountId(1));
        handle
    }

    struct Tracker(DeviceId, Ident);

    impl Device for Tracker {
        fn id(&self) -> DeviceId {
            self.0
        }

        fn ident(&self) -> &Ident {
            &self.1
        }
    }

    #[test]
    fn an_entry_is_small() {
        // with the counts of its `Arc`: every connection has one
        let bytes = size_of::<Shared>() + 2 * size_of::<usize>();
        assert!(bytes <= 128, "{bytes}");
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
        router.leave(&a);
        router.leave(&b);
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
        router.set_parked(&b, true);
        router.set_parked(&b, true);
        assert_eq!(router.parked_count(), 1);
        router.wake_parked();
        assert_eq!(a.orders(), None);
        assert!(b.orders().expect("mail").retry);
        router.leave(&b);
        assert_eq!(router.parked_count(), 0);
    }
}
