//! The byte streams that a connection runs over.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::channel::subject::Subject;
use crate::router::CloseCode;

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
