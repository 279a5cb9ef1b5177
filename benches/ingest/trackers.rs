//! Simulated trackers: Teltonika codec 8 Extended, many in a process of their own, so that what they
//! cost and the files they have open are not the measuring process's.
//!
//! What the process is told: `connect FIRST COUNT`, `slice MS`, `once`, `close`.

use crate::frames::frame;
use crate::generator::{Generator, ident, login_of};
use clap::Args;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::server::{GENERATOR_CORE, on_core};

/// How long a tracker waits for an answer before the run is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Trackers that log in at the same time.
const LOGINS: usize = 64;

/// What a fleet sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sends {
    /// Records in a frame.
    pub(crate) records: u8,
    /// Frames that a tracker has in flight.
    pub(crate) window: usize,
    /// The window slides: what is acked makes room at once. Else it is sent in one piece, and the next
    /// one when all of it is acked.
    pub(crate) slides: bool,
}

impl Sends {
    /// One frame of one record, and the next when it is acked.
    pub(crate) const ONE: Self = Self {
        records: 1,
        window: 1,
        slides: false,
    };

    /// So many frames of one record in one piece.
    pub(crate) fn window(window: usize) -> Self {
        Self {
            window,
            ..Self::ONE
        }
    }
}

/// A process of trackers, told what to do.
pub(crate) struct Fleet(Generator);

/// What came of a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// Frames that were acked.
    pub(crate) frames: u64,
    /// Until the last of them was.
    pub(crate) took: Duration,
}

impl Fleet {
    /// Starts a process whose trackers connect to `to`; none does yet.
    pub(crate) fn new(to: SocketAddr, sends: Sends) -> io::Result<Self> {
        let mut command = on_core(GENERATOR_CORE, &std::env::current_exe()?);
        command.arg("--trackers").arg(to.to_string());
        command.args(["--records", &sends.records.to_string()]);
        command.args(["--window", &sends.window.to_string()]);
        if sends.slides {
            command.arg("--slides");
        }
        Generator::start(command).map(Self)
    }

    /// One whose trackers `first` and the `count - 1` behind it are logged in.
    pub(crate) fn connected(
        to: SocketAddr,
        sends: Sends,
        first: usize,
        count: usize,
    ) -> io::Result<Self> {
        let mut fleet = Self::new(to, sends)?;
        fleet.connect(first, count)?;
        Ok(fleet)
    }

    /// So many more trackers log in, from number `first` on.
    pub(crate) fn connect(&mut self, first: usize, count: usize) -> io::Result<()> {
        self.ask(&format!("connect {first} {count}")).map(drop)
    }

    /// Lets the trackers send for `length`, and waits until every frame is answered.
    pub(crate) fn slice(&mut self, length: Duration) -> io::Result<Sent> {
        self.ask(&format!("slice {}", length.as_millis()))
    }

    /// Each tracker sends its window once.
    pub(crate) fn once(&mut self) -> io::Result<Sent> {
        self.ask("once")
    }

    /// All connections end, with a reset.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.ask("close").map(drop)
    }

    fn ask(&mut self, what: &str) -> io::Result<Sent> {
        let line = self.0.ask(what)?;
        let mut words = line.split_whitespace();
        let mut number = || words.next().and_then(|word| word.parse().ok());
        match (number(), number()) {
            (Some(frames), Some(us)) => Ok(Sent {
                frames,
                took: Duration::from_micros(us),
            }),
            _ => Err(io::Error::other(format!("trackers: {}", line.trim()))),
        }
    }
}

/// What a process of trackers is started with.
#[derive(Debug, Clone, Args)]
pub(crate) struct TrackerArgs {
    /// This process is trackers that connect there
    #[arg(long = "trackers", hide = true)]
    pub(crate) to: Option<SocketAddr>,
    /// Its window slides
    #[arg(long, hide = true)]
    pub(crate) slides: bool,
}

/// Is trackers until the input ends.
pub(crate) fn run(to: SocketAddr, sends: Sends) -> io::Result<()> {
    let (lines, mut told) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut trackers = Trackers::new(to, sends);
        while let Some(line) = told.recv().await {
            let answer = match trackers.obey(&line).await {
                Ok(sent) => format!("{} {}", sent.frames, sent.took.as_micros()),
                Err(error) => format!("error: {error}"),
            };
            let mut output = io::stdout().lock();
            writeln!(output, "{answer}")?;
            output.flush()?;
        }
        Ok(())
    })
}

/// What the trackers are to do.
#[derive(Debug, Clone, Copy, Default)]
struct Orders {
    /// Send on and on.
    go: bool,
    /// So many windows altogether are to be sent one by one.
    once: u64,
}

#[derive(Default)]
struct Counts {
    acked: AtomicU64,
    in_flight: AtomicU64,
    failed: AtomicBool,
}

struct Trackers {
    to: SocketAddr,
    sends: Sends,
    orders: watch::Sender<Orders>,
    counts: Arc<Counts>,
    live: JoinSet<()>,
}

impl Trackers {
    fn new(to: SocketAddr, sends: Sends) -> Self {
        Self {
            to,
            sends,
            orders: watch::Sender::new(Orders::default()),
            counts: Arc::default(),
            live: JoinSet::new(),
        }
    }

    async fn obey(&mut self, line: &str) -> io::Result<Sent> {
        let mut words = line.split_whitespace();
        let order = words.next().unwrap_or_default();
        let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        let begun = Instant::now();
        let before = self.counts.acked.load(Ordering::Relaxed);
        match (order, numbers.as_slice()) {
            ("connect", [first, count]) => self.connect(*first, *count).await?,
            ("slice", [ms]) => {
                self.orders.send_modify(|orders| orders.go = true);
                tokio::time::sleep(Duration::from_millis(*ms)).await;
                self.orders.send_modify(|orders| orders.go = false);
                self.wait(|counts| counts.in_flight.load(Ordering::Relaxed) == 0)
                    .await?;
            }
            ("once", []) => {
                self.orders.send_modify(|orders| orders.once += 1);
                let all = before + (self.live.len() * self.sends.window) as u64;
                self.wait(|counts| counts.acked.load(Ordering::Relaxed) >= all)
                    .await?;
            }
            ("close", []) => self.live.shutdown().await,
            _ => return Err(io::Error::other(format!("what is {line}?"))),
        }
        Ok(Sent {
            frames: self.counts.acked.load(Ordering::Relaxed) - before,
            took: begun.elapsed(),
        })
    }

    async fn wait(&self, done: impl Fn(&Counts) -> bool) -> io::Result<()> {
        let until = Instant::now() + ANSWER_TIMEOUT;
        while !done(&self.counts) {
            if self.counts.failed.load(Ordering::Relaxed) || Instant::now() > until {
                return Err(io::Error::other("a tracker was not answered"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if self.counts.failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("a tracker was not answered"));
        }
        Ok(())
    }

    async fn connect(&mut self, first: u64, count: u64) -> io::Result<()> {
        let room = Arc::new(Semaphore::new(LOGINS));
        let mut logins = JoinSet::new();
        for index in first..first + count {
            let index = usize::try_from(index).map_err(io::Error::other)?;
            let to = self.to;
            let permit = Arc::clone(&room).acquire_owned().await;
            let permit = permit.map_err(io::Error::other)?;
            logins.spawn(async move {
                let stream = log_in(to, index).await;
                drop(permit);
                stream.map(|stream| (index, stream))
            });
        }
        while let Some(login) = logins.join_next().await {
            let (index, stream) = login.map_err(io::Error::other)??;
            let counts = Arc::clone(&self.counts);
            let tracker = Tracker {
                stream,
                time_ms: 1_760_000_000_000 + i64::try_from(index).unwrap_or(0),
                sends: self.sends,
                frames: Vec::new(),
                once: self.orders.borrow().once,
            };
            self.live
                .spawn(tracker.live(self.orders.subscribe(), counts));
        }
        Ok(())
    }
}

struct Tracker {
    stream: TcpStream,
    time_ms: i64,
    sends: Sends,
    frames: Vec<u8>,
    /// What had been ordered when it logged in.
    once: u64,
}

impl Tracker {
    async fn live(mut self, mut orders: watch::Receiver<Orders>, counts: Arc<Counts>) {
        let mut once = self.once;
        while let Ok(now) = orders
            .wait_for(|orders| orders.go || orders.once > once)
            .await
            .map(|orders| *orders)
        {
            once = now.once;
            counts.in_flight.fetch_add(1, Ordering::Relaxed);
            let acked = if self.sends.slides {
                self.slide(&orders).await
            } else {
                self.send_window().await
            };
            counts.in_flight.fetch_sub(1, Ordering::Relaxed);
            let Ok(frames) = acked else {
                counts.failed.store(true, Ordering::Relaxed);
                return;
            };
            counts.acked.fetch_add(frames, Ordering::Relaxed);
        }
    }

    async fn send(&mut self, count: usize) -> io::Result<()> {
        self.frames.clear();
        for _ in 0..count {
            self.time_ms += 1000;
            let frame = frame(self.time_ms, self.sends.records);
            self.frames.extend_from_slice(&frame);
        }
        self.stream.write_all(&self.frames).await?;
        // an idle tracker is small
        if count > 1 && !self.sends.slides {
            self.frames = Vec::new();
        }
        Ok(())
    }

    fn check(&self, answers: &[u8]) -> io::Result<()> {
        let acks = [0, 0, 0, self.sends.records];
        if answers.chunks(4).all(|answer| answer == acks) {
            Ok(())
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    async fn send_window(&mut self) -> io::Result<u64> {
        self.send(self.sends.window).await?;
        let mut few = [0; 64];
        let mut many = Vec::new();
        let length = 4 * self.sends.window;
        let answers = if length <= few.len() {
            &mut few[..length]
        } else {
            many.resize(length, 0);
            &mut many[..]
        };
        self.stream.read_exact(answers).await?;
        self.check(answers)?;
        Ok(self.sends.window as u64)
    }

    /// Keeps the window full until it is told to stop, then waits for all answers.
    async fn slide(&mut self, orders: &watch::Receiver<Orders>) -> io::Result<u64> {
        let mut answers = vec![0; 4 * self.sends.window];
        let (mut in_flight, mut acked, mut have) = (0, 0, 0);
        loop {
            let go = orders.borrow().go;
            if !go && in_flight == 0 {
                return Ok(acked);
            }
            if go && in_flight < self.sends.window {
                self.send(self.sends.window - in_flight).await?;
                in_flight = self.sends.window;
            }
            let space = answers.get_mut(have..).unwrap_or_default();
            have += match self.stream.read(space).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => read,
            };
            let whole = have / 4;
            self.check(answers.get(..whole * 4).unwrap_or_default())?;
            answers.copy_within(whole * 4..have, 0);
            have -= whole * 4;
            in_flight -= whole;
            acked += whole as u64;
        }
    }
}

async fn log_in(to: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    // a port is free at once, not after a minute
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    stream.write_all(&login_of(&ident(index))).await?;
    let mut answer = [0];
    stream.read_exact(&mut answer).await?;
    if answer != [1] {
        let ident = ident(index);
        return Err(io::Error::other(format!("tracker {ident} was refused")));
    }
    Ok(stream)
}
