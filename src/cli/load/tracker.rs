//! One simulated tracker: a flash buffer that is sent again until it is acked, and a connection that
//! is built again with growing pauses.

use super::count::Counts;
use super::speech::{Answer, Heard, Reading, Speech};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// So many frames a tracker keeps; beyond it the oldest is lost.
pub(super) const FLASH_FRAMES_MAX: usize = 1000;
/// An answer longer than this is none.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The first and the longest pause before the next call.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What all trackers of a run go by.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) to: SocketAddr,
    pub(super) speech: Speech,
    pub(super) first_ident: u64,
    pub(super) records: u8,
    pub(super) window: usize,
    /// Between two frames of one tracker; none: the next as soon as there is room in the window.
    pub(super) every: Option<Duration>,
    /// Source addresses to call from, on loopback.
    pub(super) sources: u8,
    /// After so long a connection is broken off, of all trackers at the same time.
    pub(super) break_every: Option<Duration>,
    pub(super) answer_wait: Duration,
    /// The first reading's time.
    pub(super) first_s: i64,
    pub(super) moved: i32,
    /// So many frames of each tracker; none: until the time is over.
    pub(super) frames_max: Option<u64>,
    pub(super) begin: Instant,
    /// No new frames from here on.
    pub(super) until: Instant,
    /// No waiting for acks from here on.
    pub(super) end: Instant,
}

impl Plan {
    /// The address that number `index` calls from: 127.0.0.1 and up.
    fn source(&self, index: u32) -> Option<SocketAddr> {
        let loopback = self.to.ip().is_loopback() && self.to.is_ipv4();
        (loopback && self.sources > 1).then(|| {
            let last = index % u32::from(self.sources) + 1;
            let last = u8::try_from(last).unwrap_or(1);
            SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0)
        })
    }

    async fn connect(&self, index: u32) -> io::Result<TcpStream> {
        let socket = if self.to.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(source) = self.source(index) {
            // a port whose last connection is hardly over may be had again
            socket.set_reuseaddr(true)?;
            socket.bind(source)?;
        }
        let stream = timeout(self.answer_wait, socket.connect(self.to)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

struct Kept {
    bytes: Vec<u8>,
    due: Instant,
    sent: bool,
    again: bool,
}

/// Why a connection is over.
enum Over {
    /// The run is.
    Run,
    /// It was broken off on purpose.
    Broken,
    /// The other side closed it, or it failed.
    Closed,
    /// An answer did not come, or was no.
    Unheard,
}

pub(super) struct Tracker {
    plan: Rc<Plan>,
    counts: Rc<RefCell<Counts>>,
    index: u32,
    ident: u64,
    flash: VecDeque<Kept>,
    made: u64,
    next_due: Instant,
    acked: u64,
}

impl Tracker {
    /// Number `index` of `of`: open-loop trackers begin one after the other.
    pub(super) fn new(plan: Rc<Plan>, counts: Rc<RefCell<Counts>>, index: u32, of: u32) -> Self {
        let offset = plan
            .every
            .map_or(Duration::ZERO, |every| every * index / of.max(1));
        Self {
            ident: plan.first_ident + u64::from(index),
            next_due: plan.begin + offset,
            plan,
            counts,
            index,
            flash: VecDeque::new(),
            made: 0,
            acked: 0,
        }
    }

    /// Until the run is over.
    pub(super) async fn run(mut self) {
        let (shortest, longest) = PAUSE;
        let mut pause = shortest;
        loop {
            if self.is_done() || Instant::now() >= self.plan.end {
                break;
            }
            self.counts.borrow_mut().connects += 1;
            let before = self.acked;
            let over = if let Ok(stream) = self.plan.connect(self.index).await {
                self.talk(stream).await
            } else {
                self.counts.borrow_mut().connects_failed += 1;
                Over::Unheard
            };
            if self.acked > before {
                pause = shortest;
            }
            match over {
                Over::Run => break,
                Over::Broken => continue,
                Over::Closed => self.counts.borrow_mut().closed += 1,
                Over::Unheard => {}
            }
            sleep_until((Instant::now() + pause).min(self.plan.end)).await;
            pause = (pause * 2).min(longest);
        }
        self.make_due(Instant::now());
        self.counts.borrow_mut().left += self.flash.len() as u64;
    }

    /// Makes the frames that are due.
    fn make_due(&mut self, now: Instant) {
        let most = self.plan.frames_max.unwrap_or(u64::MAX);
        loop {
            let due = match self.plan.every {
                Some(_) => self.next_due,
                None if self.flash.len() < self.plan.window => now,
                None => return,
            };
            if due > now || due >= self.plan.until || self.made >= most {
                return;
            }
            if let Some(every) = self.plan.every {
                self.next_due += every;
            }
            let records = u64::from(self.plan.records);
            let first = i64::try_from(self.made * records).unwrap_or(0);
            let readings: Vec<Reading> = (first..first + i64::from(self.plan.records))
                .map(|second| Reading {
                    at_s: self.plan.first_s + second,
                    moved: self.plan.moved,
                })
                .collect();
            #[expect(clippy::cast_possible_truncation, reason = "serial numbers wrap")]
            let serial = self.made as u16;
            self.made += 1;
            let mut counts = self.counts.borrow_mut();
            counts.frames += 1;
            counts.records += records;
            if self.flash.len() >= FLASH_FRAMES_MAX {
                self.flash.pop_front();
                counts.lost += 1;
            }
            self.flash.push_back(Kept {
                bytes: self.plan.speech.frame(self.ident, serial, &readings),
                due,
                sent: false,
                again: false,
            });
        }
    }

    /// Nothing is left to be made or acked.
    fn is_done(&self) -> bool {
        let over = Instant::now() >= self.plan.until
            || self.plan.frames_max.is_some_and(|most| self.made >= most);
        over && self.flash.is_empty()
    }

    fn in_flight(&self) -> usize {
        self.flash.iter().take_while(|kept| kept.sent).count()
    }

    /// One connection.
    async fn talk(&mut self, mut stream: TcpStream) -> Over {
        for kept in &mut self.flash {
            kept.again |= std::mem::take(&mut kept.sent);
        }
        let mut heard = Vec::new();
        let mut logged_in = true;
        if let Some(login) = self.plan.speech.login(self.ident) {
            if stream.write_all(&login).await.is_err() {
                return Over::Closed;
            }
            logged_in = false;
        }
        let mut answer_until = Instant::now() + self.plan.answer_wait;
        let break_at = self.plan.break_every.map(|every| {
            let mut at = self.plan.begin + every;
            while at <= Instant::now() {
                at += every;
            }
            at
        });
        let mut buffer = [0; 4096];
        loop {
            let now = Instant::now();
            self.make_due(now);
            if logged_in {
                match self.send(&mut stream).await {
                    Ok(true) => answer_until = now + self.plan.answer_wait,
                    Ok(false) => {}
                    Err(_) => return Over::Closed,
                }
            }
            if self.is_done() || now >= self.plan.end {
                return Over::Run;
            }
            let waits = !logged_in || self.in_flight() > 0;
            let mut wake = self.plan.end;
            if waits {
                wake = wake.min(answer_until);
            }
            let makes =
                now < self.plan.until && self.plan.frames_max.is_none_or(|most| self.made < most);
            match self.plan.every {
                Some(_) if makes => wake = wake.min(self.next_due),
                // without acks the next frame is as good as due: others have their turn first
                None if makes && !waits => wake = now,
                _ => {}
            }
            wake = break_at.map_or(wake, |at| wake.min(at));
            match timeout_at(wake, stream.read(&mut buffer)).await {
                Err(_) => {
                    let now = Instant::now();
                    if break_at.is_some_and(|at| now >= at) && now < self.plan.until {
                        return Over::Broken;
                    }
                    if waits && now >= answer_until {
                        self.counts.borrow_mut().unanswered += 1;
                        return Over::Unheard;
                    }
                    tokio::task::yield_now().await;
                }
                Ok(Err(_) | Ok(0)) => return Over::Closed,
                Ok(Ok(count)) => {
                    heard.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    answer_until = Instant::now() + self.plan.answer_wait;
                    if !self.hear(&mut heard, &mut logged_in) {
                        return Over::Unheard;
                    }
                }
            }
        }
    }

    /// What the window has room for; it is sent from now on.
    fn unsent(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut counts = self.counts.borrow_mut();
        for kept in self.flash.iter_mut().take(self.plan.window) {
            if !std::mem::replace(&mut kept.sent, true) {
                out.extend_from_slice(&kept.bytes);
                counts.sent += 1;
                counts.again += u64::from(kept.again);
            }
        }
        counts.sent_bytes += out.len() as u64;
        out
    }

    /// Sends what the window has room for. Says whether it did.
    async fn send(&mut self, stream: &mut TcpStream) -> io::Result<bool> {
        let out = self.unsent();
        if out.is_empty() {
            return Ok(false);
        }
        stream.write_all(&out).await?;
        if !self.plan.speech.has_acks() {
            while self.flash.front().is_some_and(|kept| kept.sent) {
                self.took_oldest(false);
            }
        }
        Ok(true)
    }

    fn took_oldest(&mut self, acked: bool) {
        let Some(kept) = self.flash.pop_front() else {
            return;
        };
        self.acked += 1;
        let mut counts = self.counts.borrow_mut();
        counts.acked += 1;
        counts.acked_records += u64::from(self.plan.records);
        if acked {
            counts.latencies.count(kept.due.elapsed());
        }
    }

    /// Takes in the answers that have come. False: it was refused, or cannot follow.
    fn hear(&mut self, heard: &mut Vec<u8>, logged_in: &mut bool) -> bool {
        let mut done = 0;
        while let Some(rest) = heard.get(done..).filter(|rest| !rest.is_empty()) {
            match self.plan.speech.hear(rest, *logged_in) {
                Heard::More if rest.len() < ANSWER_BYTES_MAX => break,
                Heard::More | Heard::Nonsense => return false,
                Heard::Answer(length, answer) => {
                    done += length;
                    match answer {
                        Answer::Welcome => {
                            *logged_in = true;
                            self.counts.borrow_mut().logins += 1;
                        }
                        Answer::Taken if self.in_flight() > 0 => self.took_oldest(true),
                        Answer::Refused => {
                            self.counts.borrow_mut().refused += 1;
                            return false;
                        }
                        Answer::Taken | Answer::Other => {}
                    }
                }
            }
        }
        heard.drain(..done);
        true
    }
}

/// A sender that is no tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hostile {
    /// Says nothing.
    Silent,
    /// Says a letter of a login each second.
    Slow,
    /// Says what no protocol says.
    Garbage,
}

impl Hostile {
    /// Connects again and again until the run is over.
    pub(super) async fn run(self, plan: Rc<Plan>, counts: Rc<RefCell<Counts>>, index: u32) {
        let (shortest, longest) = PAUSE;
        let mut pause = shortest;
        while Instant::now() < plan.until {
            if let Ok(stream) = plan.connect(index).await {
                counts.borrow_mut().hostile += 1;
                if self.annoy(&plan, stream, index).await {
                    counts.borrow_mut().hostile_closed += 1;
                }
            }
            sleep_until((Instant::now() + pause).min(plan.until)).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Says whether the other side ended it.
    async fn annoy(self, plan: &Plan, mut stream: TcpStream, index: u32) -> bool {
        let ident = plan.first_ident + u64::from(index);
        let reading = Reading {
            at_s: plan.first_s,
            moved: 0,
        };
        let login = plan
            .speech
            .login(ident)
            .unwrap_or_else(|| plan.speech.frame(ident, 0, &[reading]));
        let mut letters = login.into_iter();
        let mut random = u64::from(index) | 1;
        let mut buffer = [0; 1024];
        loop {
            let every = match self {
                Self::Silent => plan.until,
                Self::Slow => Instant::now() + Duration::from_secs(1),
                Self::Garbage => Instant::now() + Duration::from_millis(100),
            };
            match timeout_at(every.min(plan.until), stream.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return true,
                Ok(Ok(_)) => continue,
                Err(_) => {}
            }
            if Instant::now() >= plan.until {
                return false;
            }
            let said = match self {
                Self::Silent => Vec::new(),
                Self::Slow => letters.next().into_iter().collect(),
                Self::Garbage => {
                    let next = || {
                        // xorshift: the same garbage each time
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        random.to_le_bytes()
                    };
                    std::iter::repeat_with(next).take(64).flatten().collect()
                }
            };
            if stream.write_all(&said).await.is_err() {
                return true;
            }
        }
    }
}
