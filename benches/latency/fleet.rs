//! Trackers in a process of their own on a core of their own: one thread that sends when each is due,
//! and takes the time of an ack when the kernel says that it is there. What it does itself must not be
//! seen in what it measures: it has no runtime, no task and no timer per tracker.
//!
//! The process is told how many ms it is to send, and answers with what each ack took and how late each
//! record was sent, in us.

use crate::frames::frame;
use crate::generator::{Generator, ident, login_of};
use crate::server::{GENERATOR_CORE, on_core};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fd::OwnedFd;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Between two records of a tracker.
const EVERY: Duration = Duration::from_secs(1);
/// How long an answer is waited for before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many are sent in a row before acks are looked for.
const SENDS_IN_A_ROW: usize = 4;
/// So many events are asked for at once.
const EVENTS: usize = 64;

/// What came of a slice, in us.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// What each ack took.
    pub(crate) took: Vec<u32>,
    /// How late each record was sent, for want of the core: the more of that, the less the rest says.
    pub(crate) late: Vec<u32>,
}

/// The process of trackers, told what to do.
pub(crate) struct Fleet(Generator);

impl Fleet {
    /// Starts it; `count` trackers are logged in.
    pub(crate) fn connect(to: SocketAddr, count: usize) -> io::Result<Self> {
        let mut command = on_core(GENERATOR_CORE, &std::env::current_exe()?);
        command.args(["--fleet", &to.to_string(), "--trackers", &count.to_string()]);
        let mut generator = Generator::start(command)?;
        Sent::of(&generator.hear()?)?;
        Ok(Self(generator))
    }

    /// Lets them send for `length` and waits for the last ack.
    pub(crate) fn slice(&mut self, length: Duration) -> io::Result<Sent> {
        let line = self.0.ask(&length.as_millis().to_string())?;
        Sent::of(&line)
    }
}

impl Sent {
    /// What the process answered.
    fn of(line: &str) -> io::Result<Self> {
        let numbers = |text: &str| {
            let numbers = text.split_whitespace();
            numbers.filter_map(|number| number.parse().ok()).collect()
        };
        let sent = line.strip_prefix("ok").and_then(|rest| {
            let (took, late) = rest.split_once('|')?;
            Some(Self {
                took: numbers(took),
                late: numbers(late),
            })
        });
        sent.ok_or_else(|| io::Error::other(format!("trackers: {}", line.trim())))
    }
}

/// Is trackers until the input ends.
pub(crate) fn run(to: SocketAddr, count: usize) -> io::Result<()> {
    let mut lines = io::stdin().lines();
    let mut trackers = None;
    loop {
        let answer = match &mut trackers {
            None => Trackers::connect(to, count).map(|connected| {
                trackers = Some(connected);
                Sent::default()
            }),
            Some(trackers) => match lines.next().transpose()? {
                None => return Ok(()),
                Some(line) => {
                    let ms = line.trim().parse().map_err(io::Error::other)?;
                    trackers.slice(Duration::from_millis(ms))
                }
            },
        };
        let text = match &answer {
            Ok(sent) => format!("ok{}|{}", words(&sent.took), words(&sent.late)),
            Err(error) => format!("error: {error}"),
        };
        let mut output = io::stdout().lock();
        writeln!(output, "{text}")?;
        output.flush()?;
        if trackers.is_none() {
            return Ok(());
        }
    }
}

fn words(numbers: &[u32]) -> String {
    numbers.iter().fold(String::new(), |mut text, number| {
        text.push(' ');
        text.push_str(&number.to_string());
        text
    })
}

struct Tracker {
    stream: TcpStream,
    time_ms: i64,
    /// Since when its record waits for its ack.
    sent: Option<Instant>,
    /// When a record should have been sent, while the one before is not acked.
    owes: Option<Instant>,
}

struct Trackers {
    all: Vec<Tracker>,
    /// When in the second each sends, in the order of that.
    phases: Vec<(Duration, usize)>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    /// How many wait for an ack.
    waiting: usize,
    sent: Sent,
}

impl Trackers {
    fn connect(to: SocketAddr, count: usize) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut all = Vec::with_capacity(count);
        let mut phases = Vec::with_capacity(count);
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        for index in 0..count {
            let stream = log_in(to, index)?;
            stream.set_nonblocking(true)?;
            epoll::add(
                &epoll,
                &stream,
                epoll::EventData::new_u64(index as u64),
                epoll::EventFlags::IN,
            )?;
            all.push(Tracker {
                stream,
                time_ms: 1_760_000_000_000 + i64::try_from(index).unwrap_or(0),
                sent: None,
                owes: None,
            });
            // anywhere in the second, as trackers do: some come together
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            phases.push((Duration::from_micros(random % 1_000_000), index));
        }
        phases.sort_unstable();
        Ok(Self {
            all,
            phases,
            epoll,
            events: Vec::with_capacity(EVENTS),
            waiting: 0,
            sent: Sent::default(),
        })
    }

    fn slice(&mut self, length: Duration) -> io::Result<Sent> {
        let begun = Instant::now();
        let mut sent = 0u32;
        let count = u32::try_from(self.phases.len()).unwrap_or(u32::MAX);
        let mut heard = begun;
        loop {
            let mut in_a_row = 0;
            let wait = loop {
                let (phase, index) = self.phases[(sent % count) as usize];
                let after = EVERY * (sent / count) + phase;
                if after >= length {
                    break None;
                }
                let now = Instant::now();
                let due = begun + after;
                if due > now {
                    break Some(due - now);
                }
                if in_a_row == SENDS_IN_A_ROW {
                    break Some(Duration::ZERO);
                }
                in_a_row += 1;
                sent += 1;
                self.sent.late.push(us(now - due));
                let tracker = &mut self.all[index];
                if tracker.sent.is_some() {
                    // once in a second: of several the first
                    tracker.owes.get_or_insert(due);
                } else {
                    tracker.send(None)?;
                    self.waiting += 1;
                }
            };
            if wait.is_none() && self.waiting == 0 {
                return Ok(std::mem::take(&mut self.sent));
            }
            let before = self.sent.took.len();
            self.hear(wait.unwrap_or(Duration::from_millis(100)))?;
            if self.sent.took.len() > before || self.waiting == 0 {
                heard = Instant::now();
            } else if heard.elapsed() > PATIENCE {
                return Err(io::Error::other("a record was not acked"));
            }
        }
    }

    /// Waits for acks, no longer than `wait`, and takes what is there.
    fn hear(&mut self, wait: Duration) -> io::Result<()> {
        // to the microsecond, which waiting for events is not
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: wait.subsec_nanos().into(),
        };
        if poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&wait))? == 0 {
            return Ok(());
        }
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&at_once),
        )?;
        // they are all there by now
        let now = Instant::now();
        for event in self.events.drain(..) {
            let index = usize::try_from(event.data.u64()).map_err(io::Error::other)?;
            let tracker = &mut self.all[index];
            let mut answer = [0; 4];
            tracker.stream.read_exact(&mut answer)?;
            let Some(from) = tracker.sent.take().filter(|_| answer == [0, 0, 0, 1]) else {
                return Err(io::Error::other("a record was refused"));
            };
            let took = now.saturating_duration_since(from);
            self.sent.took.push(us(took));
            match tracker.owes.take() {
                // its latency counts from when it should have been sent
                Some(due) => tracker.send(Some(due))?,
                None => self.waiting -= 1,
            }
        }
        Ok(())
    }
}

impl Tracker {
    fn send(&mut self, due: Option<Instant>) -> io::Result<()> {
        self.time_ms += 1000;
        let frame = frame(self.time_ms, 1);
        self.sent = Some(due.unwrap_or_else(Instant::now));
        self.stream.write_all(&frame)
    }
}

fn us(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

fn log_in(to: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    // a port is free at once, not after a minute
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&login_of(&ident(index)))?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer == [1] {
        Ok(stream)
    } else {
        Err(io::Error::other(format!("{} was refused", ident(index))))
    }
}
