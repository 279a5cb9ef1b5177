//! The least of an HTTP client that measures: one connection kept open, bodies passed over.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Connections that call at the same time.
const CALLERS: usize = 4;

/// Where, and as who.
pub(crate) struct Asking<'a> {
    pub(crate) at: SocketAddr,
    pub(crate) key: &'a str,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    pub(crate) took: Duration,
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).expect("connected");
        stream.set_nodelay(true).expect("no delay");
        Self(BufReader::with_capacity(64 * 1024, stream))
    }

    fn send(&mut self, key: &str, method: &str, path: &str, body: &str) {
        let token = match key {
            "" => String::new(),
            key => format!("authorization: FlespiToken {key}\r\n"),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\n{token}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let stream = self.0.get_mut();
        stream.write_all(request.as_bytes()).expect("sent");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line.trim_end().to_ascii_lowercase()
    }

    /// Reads an answer; each part of its body is given to `part`.
    fn receive(&mut self, part: &mut dyn FnMut(&[u8])) {
        let status = self.line();
        assert!(status.starts_with("http/1.1 200"), "{status}");
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line();
            if line.is_empty() {
                break;
            }
            if let Some(text) = line.strip_prefix("content-length:") {
                length = text.trim().parse().expect("a length");
            }
            chunked |= line.starts_with("transfer-encoding:") && line.ends_with("chunked");
        }
        let mut buffer = vec![0; 64 * 1024];
        let mut pass = |connection: &mut Self, mut left: usize| {
            while left > 0 {
                let most = left.min(buffer.len());
                let count = connection.0.read(&mut buffer[..most]).expect("a part");
                assert!(count > 0, "the answer ends early");
                part(&buffer[..count]);
                left -= count;
            }
        };
        if !chunked {
            return pass(self, length);
        }
        loop {
            let size = usize::from_str_radix(&self.line(), 16).expect("a size");
            pass(self, size);
            self.line();
            if size == 0 {
                return;
            }
        }
    }
}

/// One call on a connection of its own.
pub(crate) fn ask(asking: &Asking<'_>, method: &str, path: &str, body: &str) -> Answer {
    let mut connection = Connection::open(asking.at);
    let begun = Instant::now();
    connection.send(asking.key, method, path, body);
    let mut whole = Vec::new();
    connection.receive(&mut |part| whole.extend_from_slice(part));
    Answer {
        body: whole,
        took: begun.elapsed(),
    }
}

/// How long the first byte of the answer's body takes; `counted` hears of each part's length.
pub(crate) fn first_byte(
    asking: &Asking<'_>,
    path: &str,
    counted: &mut dyn FnMut(usize),
) -> Duration {
    let mut connection = Connection::open(asking.at);
    let begun = Instant::now();
    connection.send(asking.key, "GET", path, "");
    let mut first = None;
    connection.receive(&mut |part| {
        first.get_or_insert_with(|| begun.elapsed());
        counted(part.len());
    });
    first.expect("a body")
}

/// How many calls a few connections get through in this time.
pub(crate) fn calls_within(asking: &Asking<'_>, path: &str, time: Duration) -> u64 {
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(asking.at);
                    let begun = Instant::now();
                    let mut count = 0;
                    while begun.elapsed() < time {
                        connection.send(asking.key, "GET", path, "");
                        connection.receive(&mut |_| {});
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let counts = callers.into_iter().map(|one| one.join().expect("a caller"));
        counts.sum()
    })
}
