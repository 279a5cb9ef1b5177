//! The do-nothing server: reads a frame, writes the reply. What it costs is what the kernel and
//! the runtime cost; nothing is parsed beyond the frame's length, charged or stored.
//!
//! As the gateway's driver it has one read buffer for the thread and none for an idle connection, a
//! task written by hand, and the same allocator.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

thread_local! {
    /// For what is read, and for the replies to it.
    static BUFFERS: RefCell<(Vec<u8>, Vec<u8>)> = RefCell::new((vec![0; 64 * 1024], Vec::new()));
}

/// Serves until the process is ended. Prints its address first.
pub(crate) fn serve() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let listener: TcpListener = socket.listen(65_535)?;
        eprintln!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(Connection {
                stream,
                left: Vec::new(),
                unsent: Vec::new(),
            });
        }
    })
}

struct Connection {
    stream: TcpStream,
    left: Vec<u8>,
    unsent: Vec<u8>,
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let polled = BUFFERS.with_borrow_mut(|(buffer, reply)| {
            loop {
                ready!(this.write_on(cx))?;
                let mut read = ReadBuf::new(buffer);
                ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
                let bytes = read.filled();
                if bytes.is_empty() {
                    return Poll::Ready(io::Result::Ok(()));
                }
                reply.clear();
                if this.left.is_empty() {
                    let done = answer(bytes, reply);
                    let left = bytes.get(done..).unwrap_or_default();
                    this.left.extend_from_slice(left);
                } else {
                    this.left.extend_from_slice(bytes);
                    let done = answer(&this.left, reply);
                    this.left.drain(..done);
                    if this.left.is_empty() {
                        this.left = Vec::new();
                    }
                }
                let mut done = 0;
                while let Some(rest) = reply.get(done..).filter(|rest| !rest.is_empty()) {
                    match Pin::new(&mut this.stream).poll_write(cx, rest) {
                        Poll::Ready(written) => done += written?,
                        Poll::Pending => {
                            this.unsent = rest.to_vec();
                            break;
                        }
                    }
                }
            }
        });
        polled.map(drop)
    }
}

impl Connection {
    fn write_on(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.unsent))?;
            self.unsent.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes the replies to the whole frames of `bytes`; gives back their length.
fn answer(bytes: &[u8], reply: &mut Vec<u8>) -> usize {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..) {
        match rest {
            [0, 0, 0, 0, a, b, c, d, ..] => {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize + 12;
                if rest.len() < length {
                    break;
                }
                reply.extend_from_slice(&[0, 0, 0, rest.get(9).copied().unwrap_or(0)]);
                done += length;
            }
            [0, length, ..] if *length > 0 && rest.len() >= usize::from(*length) + 2 => {
                reply.push(1);
                done += usize::from(*length) + 2;
            }
            _ => break,
        }
    }
    done
}
