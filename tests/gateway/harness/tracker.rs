//! A Teltonika tracker that is a plain socket. Every wait here has an end.

use super::LONG;
use protocols::kit::checksum;
use socket2::{Domain, Socket, Type};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// A Teltonika codec 8 Extended frame with records of these times.
pub(crate) fn frame(times_ms: &[i64]) -> Vec<u8> {
    let count = u8::try_from(times_ms.len()).expect("a byte");
    let mut body = vec![0x8e, count];
    for time_ms in times_ms {
        body.extend_from_slice(&time_ms.to_be_bytes());
        body.push(0);
        body.extend_from_slice(&253_216_320i32.to_be_bytes());
        body.extend_from_slice(&547_146_368i32.to_be_bytes());
        body.extend_from_slice(&[0, 90, 0, 180, 11, 0, 63]);
        // one element: ignition
        body.extend_from_slice(&[0, 0, 0, 1, 0, 1, 0, 239, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    body.push(count);
    let mut frame = vec![0; 4];
    frame.extend_from_slice(&u32::try_from(body.len()).expect("short").to_be_bytes());
    frame.extend_from_slice(&body);
    frame.extend_from_slice(&u32::from(checksum::crc16_ibm(&body)).to_be_bytes());
    frame
}

/// What a connection says at last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// These four bytes as a number.
    Count(u32),
    /// The other side closed.
    Closed,
    /// Nothing in the time given.
    Nothing,
}

/// A Teltonika tracker.
pub(crate) struct Tracker(pub(crate) TcpStream);

impl Tracker {
    pub(crate) fn call(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, LONG)?;
        stream.set_read_timeout(Some(LONG))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Calls from another address of this machine.
    pub(crate) fn call_from(from: Ipv4Addr, to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect_timeout(&to.into(), LONG)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(LONG))?;
        Ok(Self(stream))
    }

    /// Calls and says who it is; whether it is let in.
    pub(crate) fn log_in(&mut self, ident: &str) -> io::Result<bool> {
        let mut login = vec![0, u8::try_from(ident.len()).expect("short")];
        login.extend_from_slice(ident.as_bytes());
        self.0.write_all(&login)?;
        let mut answer = [0];
        self.0.read_exact(&mut answer)?;
        Ok(answer == [1])
    }

    /// A tracker that is in.
    #[track_caller]
    pub(crate) fn of(ident: &str, to: SocketAddr) -> Self {
        let mut tracker = Self::call(to).expect("a connection");
        assert!(
            tracker.log_in(ident).expect("an answer"),
            "{ident} is not let in"
        );
        tracker
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) {
        // it may be hung up on: what is heard tells
        drop(self.0.write_all(bytes));
    }

    /// What comes within this time.
    pub(crate) fn hear(&mut self, within: Duration) -> Heard {
        self.0.set_read_timeout(Some(within)).expect("a timeout");
        let mut answer = [0; 4];
        let heard = match self.0.read_exact(&mut answer) {
            Ok(()) => Heard::Count(u32::from_be_bytes(answer)),
            Err(error) if is_timeout(&error) => Heard::Nothing,
            Err(_) => Heard::Closed,
        };
        self.0.set_read_timeout(Some(LONG)).expect("a timeout");
        heard
    }

    /// Sends a frame and waits for its answer.
    pub(crate) fn send(&mut self, times_ms: &[i64]) -> Heard {
        self.say(&frame(times_ms));
        self.hear(LONG)
    }
}

pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
