//! Channels: listeners, the connection driver, the reply queue.
//!
//! Trackers connect to a channel's port. Here a socket becomes a connection, its bytes become frames
//! (by the protocol's session), frames become entries of the journal, and a tracker is answered when
//! what it is answered for is durable and paid for. The room refuses to decide anything about items:
//! who owns what is the registry's, what a limit says is the account tree's, what happens when an
//! item changes is control's, which reaches connections through the router.
//!
//! | file | what it is for |
//! |---|---|
//! | [`gate`] | the reply queue of a connection: pure |
//! | [`wheel`] | deadlines without timers: pure |
//! | `frames` | the events of a read, told apart by frame: pure |
//! | `logins` | the idents of a connection and the decoder's look at the registry |
//! | `settle` | what becomes of decoded frames: judged, charged, appended, answered, or made to wait |
//! | `commands` | commands on their way to a device |
//! | `connection` | the driver: one task per connection, over any byte stream |
//! | `worker` | what the connections of one thread share |
//! | `listen` | listening sockets and accept loops |
//! | [`tls`] | certificates of channels, and connections that speak TLS |
//! | `subject` | whom a tracker's certificate speaks for |
//! | `proxy` | who has called the machine in front of this one |
//! | `sources` | unidentified connections by source address |
//! | `storms` | what comes too often: refused logins, takeovers |
//! | `notes` | what is journaled beside frames, added up |
//! | [`events`] | what happened to connections, for the log of it |
//! | [`bounds`] | every bound, with its policy |
//!
//! # What holds
//!
//! - No reply behind [`protocols::Gate::Stored`] leaves before the watermark has passed everything
//!   this connection appended before it; none leaves after the journal has failed.
//! - A frame is charged and appended with no await between the two, or neither.
//! - Nothing behind a parked frame is read or acked.
//! - A takeover follows admission and secret; the older connection is told within one wake. Where
//!   trackers send nothing again it takes what its socket holds by then (`LAST_READS_MAX` reads, 100 ms).
//! - An idle connection owns no buffer, and no timer.
//! - One thread resolves the gates of its own connections: one wake across threads per group commit.
//!
//! # One worker per core
//!
//! Each worker is a current-thread runtime on its own thread with its own listening socket per
//! channel (`SO_REUSEPORT` where there are several). Connections never change threads.

pub mod bounds;
mod commands;
mod connection;
pub mod events;
mod frames;
pub mod gate;
mod listen;
mod logins;
mod notes;
mod proxy;
mod series;
mod settle;
mod sources;
mod storms;
mod subject;
mod tally;
#[cfg(test)]
mod tests;
pub mod tls;
mod told;
mod validity;
pub mod wheel;
mod worker;

pub use bounds::Bounds;
pub use connection::Wire;
#[cfg(feature = "otel")]
pub use events::Answered;
pub use events::{ConnectionEvent, EventQueue, EventSink, Happened, Lost, NoEvents, Who};
pub use listen::OpenError;
pub use series::{AccountSeries, JournalSeries};
pub use subject::Subject;
pub use validity::Validity;
pub use worker::Deps;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::ids::{ChannelId, Pulse};
use crate::registry::ChannelHandle;
use crate::registry::items::ChannelItem;
use crate::router::CloseCode;

use bounds::{CLOSE_PAUSE, CLOSE_WAIT, COMMANDS_QUEUED_MAX};
use series::{CertificateSeries, RoomSeries};
use worker::{Room, Worker};

/// What a worker is told.
enum Command {
    Open {
        channel: Arc<ChannelHandle>,
        listener: std::net::TcpListener,
        tls: Option<Arc<tls::Terms>>,
    },
    Close {
        channel: ChannelId,
        closed: SyncSender<()>,
    },
    Drain {
        until_ms: i64,
        drained: oneshot::Sender<usize>,
    },
}

struct Hand {
    commands: mpsc::Sender<Command>,
    thread: Option<JoinHandle<()>>,
    pulse: Arc<Pulse>,
}

/// All channels of a gateway and the threads that serve them.
pub struct Channels {
    room: Arc<Room>,
    hands: Vec<Hand>,
    open: Arc<Mutex<BTreeMap<ChannelId, Listening>>>,
    /// Sockets that were open before this process, by their ports.
    given: BTreeMap<u16, std::net::TcpListener>,
}

/// A channel that is listened on.
struct Listening {
    at: SocketAddr,
    tls: Option<Arc<tls::Terms>>,
}

/// From when to when the certificates of those that speak TLS are valid.
fn validities(open: &BTreeMap<ChannelId, Listening>) -> Vec<(ChannelId, Validity)> {
    let of = |(id, listening): (&ChannelId, &Listening)| {
        let validity = listening.tls.as_ref()?.validity()?;
        Some((*id, validity))
    };
    open.iter().filter_map(of).collect()
}

impl Channels {
    /// Starts the workers: as many threads, at least one. No channel is open yet.
    pub fn start(workers: usize, deps: Deps) -> io::Result<Self> {
        let metrics = Arc::clone(&deps.metrics);
        let room = Room::new(deps);
        metrics.add_source(Arc::new(RoomSeries(Arc::downgrade(&room))));
        let open = Arc::new(Mutex::default());
        metrics.add_source(Arc::new(CertificateSeries {
            open: Arc::downgrade(&open),
            metrics: Arc::downgrade(&metrics),
        }));
        let hands = (0..workers.max(1))
            .map(|number| {
                let (commands, receiver) = mpsc::channel(COMMANDS_QUEUED_MAX);
                let room = Arc::clone(&room);
                let pulse = Arc::new(Pulse::default());
                pulse.beat();
                let beating = Arc::clone(&pulse);
                // a runtime that never leaves its thread is made there
                let (made, outcome) = sync_channel(1);
                let starting = move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build_local(LocalOptions::default());
                    let (runtime, done) = match runtime {
                        Ok(runtime) => (Some(runtime), Ok(())),
                        Err(error) => (None, Err(error)),
                    };
                    // who asked waits for it
                    _ = made.send(done);
                    if let Some(runtime) = runtime {
                        work(runtime, room, beating, receiver);
                    }
                };
                let thread = std::thread::Builder::new()
                    .name(format!("channels-{number}"))
                    .spawn(starting)?;
                outcome
                    .recv()
                    .map_err(|_| io::Error::other("a worker did not start"))??;
                Ok(Hand {
                    commands,
                    thread: Some(thread),
                    pulse,
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            room,
            hands,
            open,
            given: BTreeMap::new(),
        })
    }

    /// Channels of these sockets' ports are listened on by these, and no other is bound: who holds them
    /// open keeps those who call while no gateway runs.
    pub fn adopt(&mut self, sockets: Vec<std::net::TcpListener>) -> io::Result<()> {
        for socket in sockets {
            self.given.insert(socket.local_addr()?.port(), socket);
        }
        Ok(())
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, BTreeMap<ChannelId, Listening>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens for a channel that is in the registry. Gives back where: with port 0 the system has
    /// chosen one.
    pub fn open(&self, channel: &ChannelItem) -> Result<SocketAddr, OpenError> {
        let handle = self
            .room
            .deps
            .registry
            .channel(channel.id)
            .ok_or(OpenError::NoChannel)?;
        let mut open = self.opened();
        if open.contains_key(&channel.id) {
            return Err(OpenError::Open);
        }
        let folder = self.room.deps.certificates.as_deref();
        let tls = tls::Terms::read(channel, folder)?;
        // the channel's own host is what its URI says, perhaps that of a machine in front of this one
        let bounds = &self.room.deps.bounds;
        let at = SocketAddr::new(bounds.listen, channel.port);
        let (count, receive_buffer) = (self.hands.len(), bounds.receive_buffer_bytes);
        let bind = |error| OpenError::Bind { at, error };
        let listeners = match self.given.get(&channel.port) {
            Some(given) => listen::adopt(given, count, receive_buffer, bounds.keepalive_ms),
            None => listen::bind(at, count, receive_buffer, bounds.keepalive_ms),
        }
        .map_err(bind)?;
        let at = listeners
            .first()
            .map_or(Ok(at), std::net::TcpListener::local_addr)
            .map_err(bind)?;
        for (hand, listener) in self.hands.iter().zip(listeners) {
            let order = Command::Open {
                channel: Arc::clone(&handle),
                listener,
                tls: tls.clone(),
            };
            if hand.commands.try_send(order).is_err() {
                self.stop_listening(channel.id);
                return Err(OpenError::Busy);
            }
        }
        open.insert(channel.id, Listening { at, tls });
        Ok(at)
    }

    /// Where a channel listens, if it does.
    pub fn address(&self, channel: ChannelId) -> Option<SocketAddr> {
        self.opened().get(&channel).map(|listening| listening.at)
    }

    /// Would a channel's certificate do?
    pub fn check(&self, channel: &ChannelItem) -> Result<(), tls::TlsError> {
        tls::check(channel, self.room.deps.certificates.as_deref())
    }

    /// Reads the certificates of all channels again. Whose have changed is used from the next
    /// handshake on; connections stay. Gives back which have, and which cannot be used and leave
    /// the ones before in force. Blocks on files.
    pub fn read_certificates(&self) -> Vec<(ChannelId, Result<(), tls::TlsError>)> {
        let opened = self.opened();
        let all: Vec<_> = opened
            .iter()
            .filter_map(|(id, listening)| Some((*id, Arc::clone(listening.tls.as_ref()?))))
            .collect();
        drop(opened);
        all.into_iter()
            .filter_map(|(id, terms)| match terms.read_again() {
                Ok(false) => None,
                Ok(true) => Some((id, Ok(()))),
                Err(error) => Some((id, Err(error))),
            })
            .collect()
    }

    /// From when to when the certificates of channels are valid that speak TLS, as far as their dates
    /// can be read.
    pub fn validities(&self) -> Vec<(ChannelId, Validity)> {
        validities(&self.opened())
    }

    /// How long the worker that is behind most has not turned its wheel: it turns ten times a
    /// second while all is well.
    pub fn silent_for(&self) -> Duration {
        let silences = self.hands.iter().map(|hand| hand.pulse.busy_for());
        silences.max().unwrap_or_default()
    }

    /// Waits until the port is free again: a channel that is changed is opened at once. A worker that
    /// does not hear of it in time lets nobody in all the same: who is accepted for a channel that is
    /// closed ends the listening there, and a listener that is opened anew takes the old one's place.
    fn stop_listening(&self, channel: ChannelId) {
        let (closed, done) = sync_channel(self.hands.len());
        let mut asked = 0;
        let until = Instant::now() + CLOSE_WAIT;
        for hand in &self.hands {
            let mut order = Command::Close {
                channel,
                closed: closed.clone(),
            };
            loop {
                match hand.commands.try_send(order) {
                    Ok(()) => {
                        asked += 1;
                        break;
                    }
                    Err(TrySendError::Full(back)) if Instant::now() < until => order = back,
                    Err(_) => break,
                }
                std::thread::sleep(CLOSE_PAUSE);
            }
        }
        let answered = (0..asked).take_while(|_| done.recv_timeout(CLOSE_WAIT).is_ok());
        if answered.count() < self.hands.len() {
            tracing::warn!(%channel, "a worker has not stopped listening yet");
        }
    }

    /// Stops listening for a channel and closes its connections. Says how many there were. Blocks
    /// for some milliseconds, until the workers have let go of the port.
    pub fn close(&self, channel: ChannelId, code: CloseCode) -> usize {
        self.opened().remove(&channel);
        self.stop_listening(channel);
        self.room.deps.router.close_channel(channel, code)
    }

    /// No new connections; every connection sends the replies that it owes, once their data is
    /// durable, and ends. Gives back how many had to be cut off at the deadline.
    pub async fn drain(&self, deadline: Duration) -> usize {
        self.opened().clear();
        let deadline_ms = i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX);
        let until_ms = self.room.deps.clock.now_ms().saturating_add(deadline_ms);
        let mut left = 0;
        let mut waiting = Vec::new();
        for hand in &self.hands {
            let (drained, done) = oneshot::channel();
            let order = Command::Drain { until_ms, drained };
            if hand.commands.send(order).await.is_ok() {
                waiting.push(done);
            }
        }
        // a worker that is stuck does not hold up the others or the end of the process
        let limit = tokio::time::Instant::now() + deadline + Duration::from_secs(2);
        for done in waiting {
            left += match tokio::time::timeout_at(limit, done).await {
                Ok(Ok(left)) => left,
                _ => 1,
            };
        }
        left
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        for hand in self.hands.drain(..) {
            drop(hand.commands);
            if let Some(thread) = hand.thread
                && thread.join().is_err()
            {
                tracing::error!("a worker of the channels panicked");
            }
        }
    }
}

/// A worker's thread.
fn work(
    runtime: LocalRuntime,
    room: Arc<Room>,
    pulse: Arc<Pulse>,
    mut commands: mpsc::Receiver<Command>,
) {
    let worker = Worker::new(room, pulse);
    let serving = {
        let worker = Rc::clone(&worker);
        async move {
            tokio::task::spawn_local(Rc::clone(&worker).keep_time());
            tokio::task::spawn_local(Rc::clone(&worker).follow_journal());
            tokio::task::spawn_local(Rc::clone(&worker).keep_telling());
            tokio::task::spawn_local(Rc::clone(&worker).keep_turns());
            let mut listeners = BTreeMap::new();
            while let Some(command) = commands.recv().await {
                match command {
                    Command::Open {
                        channel,
                        listener,
                        tls,
                    } => match tokio::net::TcpListener::from_std(listener) {
                        Ok(listener) => {
                            let id = channel.id;
                            let accepting =
                                listen::accept(Rc::clone(&worker), channel, listener, tls);
                            let accepting = tokio::task::spawn_local(accepting);
                            if let Some(old) = listeners.insert(id, accepting) {
                                old.abort();
                            }
                        }
                        Err(error) => tracing::error!(%error, "cannot listen"),
                    },
                    Command::Close { channel, closed } => {
                        if let Some(accepting) = listeners.remove(&channel) {
                            accepting.abort();
                            // an abort is its only end; then the socket is closed
                            _ = accepting.await;
                        }
                        // who asked may have stopped waiting
                        _ = closed.try_send(());
                    }
                    Command::Drain { until_ms, drained } => {
                        for accepting in std::mem::take(&mut listeners).into_values() {
                            accepting.abort();
                        }
                        let left = drain(&worker, until_ms).await;
                        // whoever asked may have gone; the drain is done all the same
                        _ = drained.send(left);
                    }
                }
            }
        }
    };
    runtime.block_on(serving);
    // and every connection with it
    drop(runtime);
    worker.hand_in(worker.now_us(), true);
}

/// Waits until all connections of a worker have ended, and its notes are handed over.
async fn drain(worker: &Rc<Worker>, until_ms: i64) -> usize {
    const LOOK: Duration = Duration::from_millis(10);
    worker.begin_drain(until_ms);
    let started = tokio::time::Instant::now();
    let wait = u64::try_from(until_ms - worker.deps().clock.now_ms()).unwrap_or(0);
    // the clock may be a test's, which stands still
    let limit = started + Duration::from_millis(wait);
    while worker.live() > 0 && tokio::time::Instant::now() < limit {
        tokio::time::sleep(LOOK).await;
    }
    worker.hand_in(worker.now_us(), true);
    while !worker.notes.borrow().is_empty()
        && !worker.mark().failed
        && tokio::time::Instant::now() < limit
    {
        tokio::time::sleep(LOOK).await;
        worker.hand_in(worker.now_us(), true);
    }
    worker.live()
}
