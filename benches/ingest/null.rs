//! The do-nothing server: reads a frame, writes the reply. What it costs is what the kernel and
//! the runtime cost; nothing is parsed beyond the frame's length, charged or stored.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

thread_local! {
    /// One read buffer for all connections of the thread, as the gateway's driver has it.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
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
            tokio::spawn(connection(stream));
        }
    })
}

async fn connection(mut stream: TcpStream) {
    let mut left = Vec::new();
    let mut reply = Vec::new();
    while let Ok(true) = (Step {
        stream: &mut stream,
        left: &mut left,
        reply: &mut reply,
    })
    .await
    {
        if stream.write_all(&reply).await.is_err() {
            return;
        }
        reply.clear();
    }
}

/// One read into the thread's buffer, and the replies to the frames in it.
struct Step<'a> {
    stream: &'a mut TcpStream,
    left: &'a mut Vec<u8>,
    reply: &'a mut Vec<u8>,
}

impl Future for Step<'_> {
    type Output = io::Result<bool>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let this = self.get_mut();
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *this.stream).poll_read(cx, &mut read))?;
            let bytes = read.filled();
            if bytes.is_empty() {
                return Poll::Ready(Ok(false));
            }
            if this.left.is_empty() {
                let done = answer(bytes, this.reply);
                this.left
                    .extend_from_slice(bytes.get(done..).unwrap_or_default());
            } else {
                this.left.extend_from_slice(bytes);
                let done = answer(this.left, this.reply);
                this.left.drain(..done);
                if this.left.is_empty() {
                    *this.left = Vec::new();
                }
            }
            Poll::Ready(Ok(true))
        })
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
