//! Listening sockets: bound once, one per worker, and the loops that accept from them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::config::Prefix;
use crate::ids::ConnectionId;
use crate::metrics::names;
use crate::registry::ChannelHandle;
use crate::registry::items::ChannelItem;
use crate::router::CloseCode;

use super::bounds::{ACCEPT_PAUSE, KEEPALIVE_PROBES, LISTEN_BACKLOG};
use super::connection::{Connection, Here, Place};
use super::events::{ConnectionEvent, Happened};
use super::proxy;
use super::tls::{Terms, TlsError, TlsWire};
use super::worker::Worker;

/// Why a channel has no listener.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The registry does not have it.
    #[error("the channel does not exist")]
    NoChannel,
    /// It listens already.
    #[error("the channel is open already")]
    Open,
    /// The system refuses.
    #[error("cannot listen on {at}: {error}")]
    Bind {
        /// Where.
        at: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Its certificate cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// The workers have too much to do, or are gone.
    #[error("the workers do not take orders")]
    Busy,
}

/// Binds `count` sockets to one address. With several the kernel spreads connections over them.
pub(super) fn bind(
    at: SocketAddr,
    count: usize,
    receive_buffer_bytes: usize,
    keepalive_ms: i64,
) -> io::Result<Vec<std::net::TcpListener>> {
    // SO_REUSEPORT would let two gateways of one user share a port unnoticed: a socket without it
    // finds out first, and holds the port if the system was to choose one
    let probe = socket(at, false, 0)?;
    probe.bind(&at.into())?;
    if count > 1 {
        probe.listen(1)?;
    }
    let at = probe
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("the socket has no address"))?;
    drop(probe);
    (0..count)
        .map(|_| {
            let socket = socket(at, count > 1, receive_buffer_bytes)?;
            // what is said to the listener holds for what it accepts, without a call for each:
            // a late ack is no ack, so replies are small and are not collected
            socket.set_tcp_nodelay(true)?;
            ask_for_life(&socket, keepalive_ms)?;
            socket.bind(&at.into())?;
            socket.listen(LISTEN_BACKLOG)?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        })
        .collect()
}

/// Takes a socket that somebody else has bound and listens on, `count` times: all take connections from
/// its one queue, which outlives this process.
pub(super) fn adopt(
    given: &std::net::TcpListener,
    count: usize,
    receive_buffer_bytes: usize,
    keepalive_ms: i64,
) -> io::Result<Vec<std::net::TcpListener>> {
    let socket = socket2::SockRef::from(given);
    socket.set_tcp_nodelay(true)?;
    if receive_buffer_bytes > 0 {
        socket.set_recv_buffer_size(receive_buffer_bytes)?;
    }
    ask_for_life(&socket, keepalive_ms)?;
    given.set_nonblocking(true)?;
    (0..count).map(|_| given.try_clone()).collect()
}

fn socket(at: SocketAddr, shared: bool, receive_buffer_bytes: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if receive_buffer_bytes > 0 {
        // inherited by accepted sockets; it must be set before listen
        socket.set_recv_buffer_size(receive_buffer_bytes)?;
    }
    Ok(socket)
}

/// A peer that is gone without a word (no network, no power) is noticed: it is asked after a
/// silence, and what it does not acknowledge ends its connection too.
fn ask_for_life(socket: &Socket, keepalive_ms: i64) -> io::Result<()> {
    let silence = match u64::try_from(keepalive_ms) {
        Ok(ms) if ms > 0 => Duration::from_millis(ms).max(Duration::from_secs(1)),
        _ => return Ok(()),
    };
    // the probes together take half as long as the silence before them
    let between = (silence / (2 * KEEPALIVE_PROBES)).max(Duration::from_secs(1));
    let keepalive = TcpKeepalive::new()
        .with_time(silence)
        .with_interval(between)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(silence + between * KEEPALIVE_PROBES))
}

/// What is wrong with accepting: a label.
fn error_label(error: &io::Error) -> &'static str {
    match error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error)
    {
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => "files",
        Some(rustix::io::Errno::NOBUFS | rustix::io::Errno::NOMEM) => "memory",
        Some(rustix::io::Errno::CONNABORTED) => "aborted",
        _ => "other",
    }
}

/// The source addresses that a channel takes, read anew when the channel has changed.
#[derive(Default)]
struct Allowed {
    item: Option<Arc<ChannelItem>>,
    prefixes: Vec<Prefix>,
}

impl Allowed {
    fn holds(&mut self, channel: &ChannelHandle, peer: IpAddr) -> bool {
        let state = channel.state.load();
        let known = self.item.as_ref();
        if !known.is_some_and(|item| Arc::ptr_eq(item, &state.item)) {
            let texts = state.item.allow.iter();
            // one that cannot be read allows nobody
            self.prefixes = texts.filter_map(|text| text.parse().ok()).collect();
            self.item = Some(Arc::clone(&state.item));
        }
        state.item.allow.is_empty() || self.prefixes.iter().any(|prefix| prefix.contains(peer))
    }
}

/// Accepts connections of a channel until it is aborted, or the channel is closed without that.
pub(super) async fn accept(
    worker: Rc<Worker>,
    channel: Arc<ChannelHandle>,
    listener: TcpListener,
    tls: Option<Arc<Terms>>,
) {
    let (shortest, longest) = ACCEPT_PAUSE;
    let mut pause = shortest;
    let mut allowed = Allowed::default();
    // made for the first connection: a channel that nobody calls counts nothing
    let mut here = None;
    loop {
        let accepted = listener.accept().await;
        if is_closed(&channel) {
            return;
        }
        match accepted {
            Ok((stream, peer)) if is_proxy(&worker, peer) => {
                pause = shortest;
                let here = here.get_or_insert_with(|| Here::new(&worker, &channel));
                let introduced = introduce(Rc::clone(here), stream, peer, tls.clone());
                tokio::task::spawn_local(introduced);
            }
            Ok((_, peer)) if !allowed.holds(&channel, peer.ip()) => {
                refuse_source(&worker, &channel, peer);
            }
            Ok((stream, peer)) => {
                pause = shortest;
                if let Some(place) = take_place(&worker) {
                    let here = here.get_or_insert_with(|| Here::new(&worker, &channel));
                    admit(here, stream, peer, place, tls.as_deref());
                }
            }
            Err(error) => {
                let label = error_label(&error);
                worker.count(&names::ACCEPT_ERRORS, label, "");
                if label != "aborted" {
                    tracing::warn!(channel = %channel.id, %error, "cannot accept");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
            }
        }
    }
}

fn is_closed(channel: &ChannelHandle) -> bool {
    let state = channel.state.load();
    state.gone || !state.enabled
}

fn is_proxy(worker: &Worker, peer: SocketAddr) -> bool {
    let proxies = &worker.deps().proxies;
    proxies.iter().any(|prefix| prefix.contains(peer.ip()))
}

/// Lets a proxy say who has called it, and takes that one in.
async fn introduce(
    here: Rc<Here>,
    mut stream: TcpStream,
    proxy: SocketAddr,
    tls: Option<Arc<Terms>>,
) {
    let Here {
        worker, channel, ..
    } = &*here;
    let Some(place) = take_place(worker) else {
        return;
    };
    let peer = match proxy::read_header(&mut stream).await {
        Ok(peer) => peer.unwrap_or(proxy),
        Err(error) => {
            tracing::debug!(%proxy, %error, "no header of the PROXY protocol");
            worker.count(&names::CONNECTIONS_REFUSED, "proxy", "");
            return;
        }
    };
    if Allowed::default().holds(channel, peer.ip()) {
        admit(&here, stream, peer, place, tls.as_deref());
    } else {
        refuse_source(worker, channel, peer);
    }
}

/// Who may not call is counted and told, and that is all.
fn refuse_source(worker: &Worker, channel: &ChannelHandle, peer: SocketAddr) {
    worker.count(&names::CONNECTIONS_REFUSED, "allow", "");
    worker.count_close(CloseCode::Whitelist);
    let at_us = worker.now_us();
    if worker.may_tell(at_us) {
        worker.tell(ConnectionEvent {
            at_us,
            channel: channel.id,
            owner: channel.state.load().owner.id(),
            connection: ConnectionId::NONE,
            peer,
            what: Happened::Closed {
                who: None,
                code: CloseCode::Whitelist,
                messages: 0,
                received: 0,
                sent: 0,
                duplicates: 0,
                lost: None,
                duration_us: 0,
            },
        });
    }
}

/// A place among the gateway's connections, if one is free.
fn take_place(worker: &Worker) -> Option<Place> {
    let room = &worker.room;
    // counted first and given back by the guard: so two workers cannot both take the last place
    let open = room.connections.fetch_add(1, Ordering::Relaxed) + 1;
    let place = Place::of(room);
    if open > room.deps.bounds.connections_max {
        worker.count(&names::CONNECTIONS_REFUSED, "global", "");
        return None;
    }
    Some(place)
}

/// Takes an accepted socket in, within the bounds.
fn admit(here: &Rc<Here>, stream: TcpStream, peer: SocketAddr, place: Place, tls: Option<&Terms>) {
    let Here {
        worker,
        channel,
        tally,
    } = &**here;
    let room = &worker.room;
    let bounds = &room.deps.bounds;
    let of_channel = usize::try_from(channel.connections()).unwrap_or(usize::MAX);
    let bound = if of_channel >= bounds.channel_connections_max {
        "channel"
    } else {
        match room.sources.enter(peer, bounds.unidentified_per_source_max) {
            None => "source",
            Some(source) => {
                let here = Rc::clone(here);
                if let Some(terms) = tls {
                    let (worker, tally) = (Rc::clone(worker), Rc::clone(tally));
                    let stream = TlsWire::new(worker, tally, stream, terms);
                    let connection = Connection::new(here, stream, peer, place, source);
                    tokio::task::spawn_local(connection);
                } else {
                    let connection = Connection::new(here, stream, peer, place, source);
                    tokio::task::spawn_local(connection);
                }
                return;
            }
        }
    };
    worker.count(&names::CONNECTIONS_REFUSED, bound, "");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_listens_on_is_refused_even_if_he_shares() {
        let at = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = bind(at, 2, 4096, 60_000).expect("a free port");
        let taken = first[0].local_addr().expect("an address");
        assert_ne!(taken.port(), 0);
        assert_eq!(first[1].local_addr().expect("an address"), taken);
        let error = bind(taken, 2, 0, 0).expect_err("in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        bind(taken, 1, 0, 0).expect("free again");
    }

    #[test]
    fn what_is_accepted_is_asked_for_life_and_sends_at_once() {
        let at = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = bind(at, 1, 0, 60_000).expect("a free port").remove(0);
        let at = listener.local_addr().expect("an address");
        let tracker = std::net::TcpStream::connect(at).expect("a connection");
        let (accepted, _) = listener.accept().expect("it is there");
        let socket = socket2::SockRef::from(&accepted);
        let option = "an option of the socket";
        assert!(socket.tcp_nodelay().expect(option));
        assert!(socket.keepalive().expect(option));
        let seconds = Duration::from_secs;
        assert_eq!(socket.tcp_keepalive_time().expect(option), seconds(60));
        assert_eq!(socket.tcp_keepalive_interval().expect(option), seconds(10));
        assert_eq!(socket.tcp_keepalive_retries().expect(option), 3);
        assert_eq!(socket.tcp_user_timeout().expect(option), Some(seconds(90)));
        drop(tracker);
    }
}
