//! What a service manager gives to `serve` and wants to hear of it, by systemd's protocols: sockets
//! that it has opened already, and whether the gateway is ready, reloads, stops, or stands still.
//!
//! Without such a manager nothing of it does anything. It refuses to fail: a manager that does not
//! listen is not a reason to stop.

use rustix::time::{ClockId, clock_gettime};
use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The listening sockets that were opened for this process (`LISTEN_FDS`), with the names that their
/// unit gives them (`LISTEN_FDNAMES`). What is no TCP listener is told and left alone.
pub(super) fn sockets() -> Vec<(String, TcpListener)> {
    let mut given = listenfd::ListenFd::from_env();
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut sockets = Vec::new();
    for at in 0..given.len() {
        let name = names.next().filter(|name| !name.is_empty());
        let name = name.unwrap_or("unknown").to_owned();
        match given.take_tcp_listener(at) {
            Ok(Some(listener)) => sockets.push((name, listener)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(name, %error, "a socket of the service manager is not used");
            }
        }
    }
    sockets
}

/// Who is told how it stands.
pub(super) struct Notify(Option<UnixDatagram>);

impl Notify {
    /// The manager that `NOTIFY_SOCKET` names, if it does.
    pub(super) fn from_env() -> Self {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
            return Self(None);
        };
        match connected(&path) {
            Ok(socket) => Self(Some(socket)),
            Err(error) => {
                tracing::warn!(?path, %error, "the service manager cannot be told anything");
                Self(None)
            }
        }
    }

    fn say(&self, state: &str) {
        if let Some(socket) = &self.0
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::debug!(%error, state, "the service manager did not hear");
        }
    }

    /// Everything listens.
    pub(super) fn ready(&self) {
        self.say("READY=1\nSTATUS=listening");
    }

    /// The configuration is read again; [`Notify::ready`] ends it.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let us = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={us}"));
    }

    /// No new connections from now on.
    pub(super) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=draining");
    }

    /// It moves.
    pub(super) fn alive(&self) {
        self.say("WATCHDOG=1");
    }
}

fn connected(path: &OsString) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match path.as_bytes() {
        [b'@', name @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        _ => socket.connect(path)?,
    }
    Ok(socket)
}

/// How often the manager wants to hear that it moves: half of what it allows, by systemd's advice.
pub(super) fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let us = number("WATCHDOG_USEC").filter(|us| *us > 0)?;
    let mine = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    mine.then(|| Duration::from_micros(us / 2))
}
