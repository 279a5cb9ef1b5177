//! Simulated trackers: Teltonika codec 8 Extended, one frame in flight each.

use crate::frames::frame;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

/// How long a tracker waits for an answer before the run is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The ident of tracker number `index`.
pub(crate) fn ident(index: usize) -> String {
    format!("35{index:013}")
}

/// A fleet of connected trackers that send while they are told to.
pub(crate) struct Fleet {
    go: watch::Sender<bool>,
    acked: Arc<AtomicU64>,
    in_flight: Arc<AtomicU64>,
    failed: Arc<AtomicBool>,
}

impl Fleet {
    /// Connects and logs in the trackers 0 to `count`.
    pub(crate) async fn connect(
        to: SocketAddr,
        count: usize,
        records: u8,
        window: usize,
    ) -> io::Result<Self> {
        Self::connect_from(to, 0, count, records, window).await
    }

    /// Connects and logs in the trackers `first` to `count`.
    pub(crate) async fn connect_from(
        to: SocketAddr,
        first: usize,
        count: usize,
        records: u8,
        window: usize,
    ) -> io::Result<Self> {
        let (go, _) = watch::channel(false);
        let fleet = Self {
            go,
            acked: Arc::default(),
            in_flight: Arc::default(),
            failed: Arc::default(),
        };
        let room = Arc::new(Semaphore::new(64));
        let mut logins = tokio::task::JoinSet::new();
        for index in first..count {
            let permit = Arc::clone(&room)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            logins.spawn(async move {
                let stream = log_in(to, index).await;
                drop(permit);
                stream.map(|stream| (index, stream))
            });
        }
        while let Some(login) = logins.join_next().await {
            let (index, stream) = login.map_err(io::Error::other)??;
            tokio::spawn(fleet.tracker(index, stream, records, window));
        }
        Ok(fleet)
    }

    /// Lets the trackers send for `length`, waits until every frame is answered, and gives back
    /// how many were.
    pub(crate) async fn slice(&self, length: Duration) -> io::Result<u64> {
        let before = self.acked.load(Ordering::Relaxed);
        self.go.send_replace(true);
        tokio::time::sleep(length).await;
        self.go.send_replace(false);
        let until = Instant::now() + ANSWER_TIMEOUT;
        while self.in_flight.load(Ordering::Relaxed) > 0 {
            if self.failed.load(Ordering::Relaxed) || Instant::now() > until {
                return Err(io::Error::other("a tracker was not answered"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if self.failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("a tracker was not answered"));
        }
        Ok(self.acked.load(Ordering::Relaxed) - before)
    }

    fn tracker(
        &self,
        index: usize,
        mut stream: TcpStream,
        records: u8,
        window: usize,
    ) -> impl Future<Output = ()> + use<> {
        let mut go = self.go.subscribe();
        let (acked, in_flight) = (Arc::clone(&self.acked), Arc::clone(&self.in_flight));
        let failed = Arc::clone(&self.failed);
        async move {
            let mut time_ms = 1_760_000_000_000 + i64::try_from(index).unwrap_or(0);
            let mut answers = vec![0; 4 * window];
            while go.wait_for(|go| *go).await.is_ok() {
                let mut frames = Vec::new();
                for _ in 0..window {
                    time_ms += 1000;
                    frames.extend_from_slice(&frame(time_ms, records));
                }
                in_flight.fetch_add(1, Ordering::Relaxed);
                let answered = async {
                    stream.write_all(&frames).await?;
                    stream.read_exact(&mut answers).await
                };
                let taken = answered.await.is_ok()
                    && answers.chunks(4).all(|answer| answer == [0, 0, 0, records]);
                in_flight.fetch_sub(1, Ordering::Relaxed);
                if !taken {
                    failed.store(true, Ordering::Relaxed);
                    return;
                }
                acked.fetch_add(window as u64, Ordering::Relaxed);
            }
        }
    }
}

async fn log_in(to: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let mut login = vec![0, 15];
    login.extend_from_slice(ident(index).as_bytes());
    stream.write_all(&login).await?;
    let mut answer = [0];
    stream.read_exact(&mut answer).await?;
    if answer != [1] {
        return Err(io::Error::other(format!(
            "tracker {} was refused",
            ident(index)
        )));
    }
    Ok(stream)
}
