//! The trials of issue 6 that need many trackers at once: a restart that all of them come back from
//! with what they hold, and what the acks of the honest take beside a crowd and beside an account that
//! is too loud. Each has a small size and, by the environment, its full one; docs/testing.md lists them.
//!
//! The figures are printed at every size. They are held against their bounds at full sizes only: what a
//! small trial takes on a loaded machine says nothing of the gateway.

use crate::harness::{Gateway, Setup, frame, now_ms, until};
use crate::trials::{size, tell};
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, timeout};

/// Nothing is waited for longer.
const LONG: Duration = Duration::from_mins(1);
/// The pauses before a tracker calls again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// What a tracker that comes back sends in one packet, at most.
const RECORDS_PER_PACKET: usize = 25;
/// For so long it is looked at what each gets of what the gateway has to give.
const SHARING: Duration = Duration::from_secs(3);

/// As many files as may be: each tracker has one.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the hard limit");
}

fn ident(group: u64, number: usize) -> String {
    format!("35{group}{number:012}")
}

/// Devices for the configuration file, of account `name` and named after it.
fn devices(name: &str, group: u64, count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let ident = ident(group, number);
        write!(
            text,
            "[[devices]]\nname = \"{name} {number}\"\naccount = \"{name}\"\n\
             protocol = \"teltonika\"\nident = \"{ident}\"\n"
        )
        .expect("a string takes all");
    }
    text
}

const CHANNEL: &str =
    "[[channels]]\nname = \"all\"\naccount = \"master\"\nprotocol = \"teltonika\"\n";

/// A Teltonika tracker.
struct Line(TcpStream);

impl Line {
    /// A tracker that is in.
    async fn open(at: SocketAddr, ident: &str) -> io::Result<Self> {
        let stream = timeout(LONG, TcpStream::connect(at)).await??;
        stream.set_nodelay(true)?;
        let mut line = Self(stream);
        let mut login = vec![0, u8::try_from(ident.len()).expect("short")];
        login.extend_from_slice(ident.as_bytes());
        line.0.write_all(&login).await?;
        let mut answer = [0];
        timeout(LONG, line.0.read_exact(&mut answer)).await??;
        match answer {
            [1] => Ok(line),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    /// Sends a packet: how many of its records were taken.
    async fn send(&mut self, times_ms: &[i64]) -> io::Result<usize> {
        self.0.write_all(&frame(times_ms)).await?;
        let mut answer = [0; 4];
        timeout(LONG, self.0.read_exact(&mut answer)).await??;
        Ok(u32::from_be_bytes(answer) as usize)
    }

    /// Waits for its end.
    async fn end(&mut self) {
        while matches!(self.0.read(&mut [0; 64]).await, Ok(count) if count > 0) {}
    }
}

/// Runs trackers on this thread.
fn run<T>(trial: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, trial)
}

/// A part of them, sorted by `of` thousandths.
fn percentile(sorted: &[Duration], of: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * of / 1_000).copied().unwrap_or_default()
}

/// Jain's index: 1 if all have the same, 1/n if one has all.
fn fairness(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}

/// What the trackers of a restart share.
struct Fleet {
    at: SocketAddr,
    held: usize,
    begin_ms: i64,
    /// Those that were in before the restart.
    settled: Cell<usize>,
    restarted: Cell<bool>,
    identified: Cell<usize>,
    acked: RefCell<Vec<usize>>,
    total: Cell<usize>,
    /// When each was through with what it held.
    ended: RefCell<Vec<Option<Instant>>>,
}

impl Fleet {
    /// Records a second, from now on for a while, of each that has something left now: for as long
    /// as it has, if that is long enough to tell.
    async fn shares(&self) -> Vec<f64> {
        let begin = Instant::now();
        let before = self.acked.borrow().clone();
        let had = |number: &usize| (1..self.held).contains(&before[*number]);
        let had: Vec<usize> = (0..before.len()).filter(had).collect();
        sleep(SHARING).await;
        let (end, acked, ended) = (Instant::now(), self.acked.borrow(), self.ended.borrow());
        let rate = |number: usize| {
            let until = ended[number].unwrap_or(end);
            let wanted = until.saturating_duration_since(begin);
            let got = (acked[number] - before[number]) as f64;
            (wanted >= SHARING / 2).then(|| got / wanted.as_secs_f64())
        };
        had.into_iter().filter_map(rate).collect()
    }
}

/// Sends a record, stays, and after the restart comes back with what it holds.
async fn holder(fleet: Rc<Fleet>, number: usize) {
    let (shortest, longest) = PAUSE;
    let mut pause = shortest;
    let mut came_back = false;
    loop {
        let restarted = fleet.restarted.get();
        let Ok(mut line) = Line::open(fleet.at, &ident(1, number)).await else {
            sleep(pause).await;
            pause = (pause * 2).min(longest);
            continue;
        };
        pause = shortest;
        if !restarted {
            if line.send(&[fleet.begin_ms]).await.is_ok() {
                fleet.settled.set(fleet.settled.get() + 1);
                line.end().await;
            }
            continue;
        }
        if !std::mem::replace(&mut came_back, true) {
            fleet.identified.set(fleet.identified.get() + 1);
        }
        loop {
            let acked = fleet.acked.borrow()[number];
            let count = (fleet.held - acked).min(RECORDS_PER_PACKET);
            if count == 0 {
                fleet.ended.borrow_mut()[number] = Some(Instant::now());
                return line.end().await;
            }
            let times: Vec<i64> = (acked + 1..=acked + count)
                .map(|record| fleet.begin_ms + i64::try_from(record).expect("few") * 1_000)
                .collect();
            let Ok(taken) = line.send(&times).await else {
                break;
            };
            assert_eq!(taken, count, "{number}");
            fleet.acked.borrow_mut()[number] += count;
            fleet.total.set(fleet.total.get() + count);
        }
    }
}

/// Sends a record a second, each counted from when it was due.
async fn live(at: SocketAddr, number: usize, begin_ms: i64, heard: Rc<RefCell<Vec<Duration>>>) {
    let mut sent = 0;
    loop {
        let Ok(mut line) = Line::open(at, &ident(2, number)).await else {
            sleep(PAUSE.0).await;
            continue;
        };
        let mut due = tokio::time::Instant::now();
        loop {
            sent += 1;
            if line.send(&[begin_ms + sent]).await.is_err() {
                break;
            }
            heard.borrow_mut().push(due.elapsed());
            due += Duration::from_secs(1);
            sleep_until(due).await;
        }
    }
}

/// So many of them until it is over, on a thread of their own: what they wait for is the gateway, not
/// those who come back.
fn live_ones(
    at: SocketAddr,
    count: usize,
    begin_ms: i64,
    over: Arc<AtomicBool>,
) -> std::thread::JoinHandle<Vec<Duration>> {
    std::thread::spawn(move || {
        run(async {
            let heard = Rc::default();
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..count {
                tasks.spawn_local(live(at, number, begin_ms, Rc::clone(&heard)));
            }
            while !over.load(Ordering::Relaxed) {
                sleep(PAUSE.0).await;
            }
            drop(tasks);
            heard.take()
        })
    })
}

/// Waits, and looks meanwhile.
async fn until_all(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < within, "never: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn after_a_restart_all_come_back_with_what_they_hold_and_live_records_do_not_wait() {
    let count = size("TOLLGATE_RESTART_DEVICES", 60);
    let held = size("TOLLGATE_RESTART_RECORDS", 100);
    let live_count = (count / 100).max(5);
    let full = count >= 1_000;
    raise_file_limit();
    let mut setup = Setup::new();
    setup.more = format!(
        "[[accounts]]\nname = \"master\"\n[[accounts]]\nname = \"holders\"\nparent = \"master\"\n\
         [[accounts]]\nname = \"live\"\nparent = \"master\"\n{CHANNEL}{}{}",
        devices("holders", 1, count),
        devices("live", 2, live_count)
    );
    let gateway = setup.start();
    let fleet = Rc::new(Fleet {
        at: gateway.channels["all"].1,
        held,
        begin_ms: now_ms() - 3_600_000,
        settled: Cell::new(0),
        restarted: Cell::new(false),
        identified: Cell::new(0),
        acked: RefCell::new(vec![0; count]),
        total: Cell::new(0),
        ended: RefCell::new(vec![None; count]),
    });
    let (gateway, memory_kib, mut latencies) = run(restart(fleet, setup, gateway, live_count));
    latencies.sort_unstable();
    let p99 = percentile(&latencies, 990);
    tell(format_args!(
        "live: {} records, ack p50 {:?}, p99 {p99:?}; memory at most {} MiB",
        latencies.len(),
        percentile(&latencies, 500),
        memory_kib / 1024
    ));
    if full {
        assert!(p99 <= Duration::from_secs(1), "{p99:?}");
        // what a start has without them, and 20 KiB of each
        let most_kib = 96 * 1024 + 20 * count as u64;
        assert!(memory_kib <= most_kib, "{memory_kib} of {most_kib} KiB");
    }
    let sent = (count * (held + 1)) as f64 + latencies.len() as f64;
    until("each is counted once", || {
        // those before the restart were another process's
        gateway.metric("tollgate_messages_total") >= sent - count as f64 - 0.5
    });
    gateway.audit();
    gateway.stop();
}

/// The trial itself: gives back the gateway, the most memory that it had in KiB, and what live records
/// took.
async fn restart(
    fleet: Rc<Fleet>,
    setup: Setup,
    gateway: Gateway,
    live_count: usize,
) -> (Gateway, u64, Vec<Duration>) {
    let count = fleet.acked.borrow().len();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..count {
        tasks.spawn_local(holder(Rc::clone(&fleet), number));
    }
    let settled = || fleet.settled.get() == count;
    until_all("all are in", LONG * 5, settled).await;
    tokio::task::spawn_blocking(move || gateway.stop())
        .await
        .expect("it stops");
    fleet.restarted.set(true);
    let begun = Instant::now();
    let gateway = tokio::task::spawn_blocking(move || setup.start())
        .await
        .expect("it starts");
    let ready = begun.elapsed();
    let over = Arc::default();
    let live = live_ones(fleet.at, live_count, fleet.begin_ms, Arc::clone(&over));
    let mut memory_kib = 0;
    let mut look = || memory_kib = gateway.memory_kib().max(memory_kib);
    until_all("half are identified", LONG, || {
        look();
        fleet.identified.get() >= count / 2
    })
    .await;
    let shares = fleet.shares().await;
    if shares.len() >= 1_000 {
        let fair = fairness(&shares);
        let of = shares.len();
        tell(format_args!(
            "Jain's index of what {of} got in {SHARING:?}: {fair:.3}"
        ));
        assert!(fair >= 0.95, "{fair}");
    }
    until_all("all are identified", LONG, || {
        look();
        fleet.identified.get() == count
    })
    .await;
    let identified = begun.elapsed();
    tell(format_args!(
        "{count} devices: ready after {ready:?}, all identified after {identified:?}"
    ));
    let all = count * fleet.held;
    until_all("everything", LONG * 10, || {
        look();
        fleet.ended.borrow().iter().all(Option::is_some)
    })
    .await;
    let took = begun.elapsed().saturating_sub(ready);
    let rate = all as f64 / took.as_secs_f64();
    tell(format_args!(
        "all {all} records after {took:?}: {rate:.0}/s"
    ));
    over.store(true, Ordering::Relaxed);
    let live = tokio::task::spawn_blocking(move || live.join());
    let latencies = live.await.expect("it ends").expect("no panic");
    tasks.abort_all();
    (gateway, memory_kib, latencies)
}

/// Honest devices that send at a fixed rate, on a thread of their own, and what they heard of it.
struct Honest {
    at: SocketAddr,
    count: usize,
    every: Duration,
    begin_ms: i64,
    latencies: Mutex<Vec<Duration>>,
    dropped: AtomicUsize,
    over: AtomicBool,
}

impl Honest {
    /// Sends for ever, on one connection.
    async fn speak(self: Arc<Self>, number: usize) {
        let name = ident(2, number);
        let mut line = Line::open(self.at, &name).await.expect("it is let in");
        let part = u32::try_from(number).expect("few");
        let of = u32::try_from(self.count).expect("few");
        let mut due = tokio::time::Instant::now() + self.every * part / of;
        let mut sent = 0;
        loop {
            sleep_until(due).await;
            sent += 1;
            if line.send(&[self.begin_ms + sent]).await.ok() != Some(1) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.heard().push(due.elapsed());
            due += self.every;
        }
    }

    fn heard(&self) -> MutexGuard<'_, Vec<Duration>> {
        self.latencies.lock().expect("no panic")
    }

    /// The median and the 99th percentile of so long a slice.
    async fn slice(&self, length: Duration) -> (Duration, Duration) {
        self.heard().clear();
        sleep(length).await;
        let mut latencies = std::mem::take(&mut *self.heard());
        latencies.sort_unstable();
        (percentile(&latencies, 500), percentile(&latencies, 990))
    }
}

/// Slices without and with a noise, in turn: the medians of the ratios of the 50th and 99th percentiles.
async fn paired<N>(
    gateway: &Gateway,
    honest: &Honest,
    slices: usize,
    mut noise: impl AsyncFnMut() -> N,
) -> (f64, f64) {
    const SLICE: Duration = Duration::from_millis(1_500);
    let ratio = |with: Duration, without: Duration| {
        with.as_secs_f64() / without.as_secs_f64().max(f64::EPSILON)
    };
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for slice in 0..slices {
        let without = honest.slice(SLICE).await;
        let made = noise().await;
        let with = honest.slice(SLICE).await;
        drop(made);
        let left = || gateway.metric("tollgate_connections{") - honest.count as f64;
        until_all("the noise is over", LONG, || left() < 0.5).await;
        tell(format_args!(
            "slice {slice}: ack p50 and p99 without {without:?}, with {with:?}"
        ));
        p50.push(ratio(with.0, without.0));
        p99.push(ratio(with.1, without.1));
    }
    let median = |ratios: &mut Vec<f64>| {
        ratios.sort_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    };
    let (p50, p99) = (median(&mut p50), median(&mut p99));
    tell(format_args!(
        "median of {slices} slices: p50 {p50:.3} and p99 {p99:.3} times of without"
    ));
    (p50, p99)
}

/// Starts them, and waits until each has been acked.
fn speaking(honest: &Arc<Honest>) -> std::thread::JoinHandle<()> {
    let speakers = Arc::clone(honest);
    let thread = std::thread::spawn(move || {
        run(async {
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..speakers.count {
                tasks.spawn_local(Arc::clone(&speakers).speak(number));
            }
            while !speakers.over.load(Ordering::Relaxed) {
                sleep(PAUSE.0).await;
            }
        });
    });
    until("all speak", || honest.heard().len() >= honest.count);
    thread
}

fn honest(at: SocketAddr, count: usize) -> Arc<Honest> {
    Arc::new(Honest {
        at,
        count,
        every: Duration::from_secs(1),
        begin_ms: now_ms() - 3_600_000,
        latencies: Mutex::default(),
        dropped: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    })
}

/// The bounds hold for many slices; a few on a loaded machine tell nothing.
fn hold_against_bounds(slices: usize, (p50, p99): (f64, f64)) {
    if slices >= 20 {
        assert!(p50 <= 1.1, "ack p50 {p50} times of without");
        assert!(p99 <= 2.0, "ack p99 {p99} times of without");
    }
}

#[test]
fn what_the_acks_of_the_honest_take_beside_a_crowd_that_is_silent_or_drips() {
    let crowd = size("TOLLGATE_CROWD", 200);
    let count = size("TOLLGATE_HONEST", 20);
    let slices = size("TOLLGATE_SLICES", 1);
    raise_file_limit();
    let mut setup = Setup::new();
    setup.more = format!(
        "[bounds]\nunidentified_per_source = 100000\n[[accounts]]\nname = \"master\"\n{CHANNEL}{}",
        devices("master", 2, count)
    );
    let gateway = setup.start();
    let at = gateway.channels["all"].1;
    let honest = honest(at, count);
    let memory_each = Cell::new(0.0);
    let speakers = speaking(&honest);
    run(async {
        let ratios = paired(&gateway, &honest, slices, async || {
            let before = gateway.memory_kib();
            let mut open = Vec::new();
            for index in 0..crowd {
                let mut stream = TcpStream::connect(at).await.expect("a connection");
                if index % 2 == 0 {
                    // the beginning of a login that has no end
                    stream.write_all(&[0]).await.expect("it is taken");
                }
                open.push(stream);
            }
            let unidentified = || gateway.metric("tollgate_connections_unidentified");
            until_all("all are in", LONG, || unidentified() > crowd as f64 - 0.5).await;
            let grown = gateway.memory_kib().saturating_sub(before);
            // a later one may use what an earlier one has left
            let each = grown as f64 * 1024.0 / crowd as f64;
            memory_each.set(each.max(memory_each.get()));
            // they drip as long as they are left
            let mut drips = tokio::task::JoinSet::new();
            drips.spawn_local(async move {
                for round in 0_u8.. {
                    sleep(Duration::from_millis(500)).await;
                    for stream in open.iter().step_by(2) {
                        if stream.try_write(&[15 * u8::from(round == 0)]).is_err() {
                            return;
                        }
                    }
                }
            });
            drips
        })
        .await;
        tell(format_args!(
            "user memory of one of {crowd}: {:.0} bytes",
            memory_each.get()
        ));
        hold_against_bounds(slices, ratios);
    });
    if crowd >= 10_000 {
        assert!(memory_each.get() <= 2_048.0, "{}", memory_each.get());
    }
    assert_eq!(
        honest.dropped.load(Ordering::Relaxed),
        0,
        "honest connections"
    );
    honest.over.store(true, Ordering::Relaxed);
    speakers.join().expect("no panic");
    gateway.audit();
    gateway.stop();
}

#[test]
fn what_the_acks_of_others_take_beside_an_account_at_a_hundred_times_its_rate() {
    const RATE: usize = 600;
    let loud = size("TOLLGATE_LOUD", 20);
    let count = size("TOLLGATE_HONEST", 20);
    let slices = size("TOLLGATE_SLICES", 1);
    raise_file_limit();
    let mut setup = Setup::new();
    setup.more = format!(
        "[bounds]\nunidentified_per_source = 100000\n\
         [[limits]]\nname = \"small\"\naccount = \"master\"\nchannel_messages = {RATE}\n\
         [[accounts]]\nname = \"master\"\n[[accounts]]\nname = \"loud\"\nparent = \"master\"\n\
         limit = \"small\"\n[[accounts]]\nname = \"quiet\"\nparent = \"master\"\n{CHANNEL}{}{}",
        devices("loud", 1, loud),
        devices("quiet", 2, count)
    );
    let gateway = setup.start();
    let at = gateway.channels["all"].1;
    let honest = honest(at, count);
    let begin_ms = now_ms() - 3_600_000;
    // a slice's share of a hundred times what it may send in a minute
    let each = (RATE * 100 / 40 / loud).max(1);
    let flood: Rc<Vec<u8>> = Rc::new(
        (0..each)
            .flat_map(|number| frame(&[begin_ms + i64::try_from(number).expect("few")]))
            .collect(),
    );
    let speakers = speaking(&honest);
    let ratios = run(async {
        paired(&gateway, &honest, slices, async || {
            let mut senders = tokio::task::JoinSet::new();
            for number in 0..loud {
                let flood = Rc::clone(&flood);
                senders.spawn_local(async move {
                    loop {
                        let Ok(mut stream) = TcpStream::connect(at).await else {
                            sleep(PAUSE.0).await;
                            continue;
                        };
                        let name = ident(1, number);
                        let login = [&[0, 15][..], name.as_bytes()].concat();
                        // it says all at once, whatever it is answered, and again
                        let said = [&login[..], &flood].concat();
                        if stream.write_all(&said).await.is_ok() {
                            let mut line = Line(stream);
                            _ = timeout(Duration::from_millis(500), line.end()).await;
                        }
                    }
                });
            }
            senders
        })
        .await
    });
    hold_against_bounds(slices, ratios);
    assert_eq!(
        honest.dropped.load(Ordering::Relaxed),
        0,
        "connections of others"
    );
    honest.over.store(true, Ordering::Relaxed);
    speakers.join().expect("no panic");
    gateway.audit();
    gateway.stop();
}
