//! How long a tracker waits for its ack, beside what an fsync takes on the same disk; and whether
//! siblings of a blocked account notice those who wait.
//!
//! Quote the ratios. Each is of two slices of one run that follow each other: of the disk alone and of the
//! load, or of the load with the blocked account's trackers calling and without; of all rounds' ratios the
//! median is told, so that what else happens to the machine in one of them is not what is measured.
//! Trackers send a record a second each, spread over it; a latency is that of the ack, as the tracker sees
//! it, from its sending on, or from when it should have sent if its last ack came too late for that. The
//! trackers are one thread of a process of their own on one core, and the gateway's worker is on the other,
//! where there are two: else the kernel wakes the worker behind the tracker that has sent, while the other
//! core is idle, and what is measured is that. The gateway's other threads run where they find room.
//!
//! ```text
//! cargo bench --bench latency
//! cargo bench --bench latency -- --trackers 18000 --rounds 10
//! cargo bench --bench latency -- --held 2000
//! ```
//! `TOLLGATE_BENCH_DIR` names a folder on the disk in question.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench speaks to a person"
)]

mod fleet;
#[path = "../ingest/frames.rs"]
mod frames;
#[path = "../ingest/generator.rs"]
mod generator;
#[path = "../ingest/server.rs"]
#[expect(dead_code, reason = "the bench of frames counts CPU and memory, too")]
mod server;

use clap::Parser;
use fleet::Fleet;
use frames::frame;
use generator::{ident, login_of};
use rustix::process::{Resource, getrlimit, setrlimit};
use server::{SERVER_CORE, Server, TASKSET, on_core, pins};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How long an answer is waited for before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a tracker of the blocked account waits before it calls again.
const CALLS_AGAIN: Duration = Duration::from_secs(3);
/// What is written before each fsync of the disk alone: about a batch at this rate.
const PROBE_BYTES: usize = 4096;
/// The file that is written to for it, allocated as a segment is.
const PROBE_FILE_BYTES: u64 = 64 << 20;

/// Measures what trackers wait for.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Trackers that send a record a second each
    #[arg(long, default_value_t = 2000)]
    trackers: usize,
    /// Slices of each kind
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// Length of a slice in ms
    #[arg(long, default_value_t = 3000)]
    slice_ms: u64,
    /// So many trackers of a blocked account call in every second slice, instead of the disk alone
    #[arg(long)]
    held: Option<usize>,
    /// A short run that only shows that everything works (`cargo bench -- --test`)
    #[arg(long)]
    test: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// This process is the trackers, which connect there
    #[arg(long, hide = true)]
    fleet: Option<SocketAddr>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // each tracker is an open file
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, files) {
        eprintln!("latency: the limit of open files stays: {error}");
    }
    let done = if let Some(to) = args.fleet {
        fleet::run(to, args.trackers)
    } else if args.test || !args.bench {
        let short = Args {
            trackers: 20,
            rounds: 1,
            slice_ms: 1200,
            ..args
        };
        measure(&short).and_then(|()| {
            measure(&Args {
                held: Some(10),
                ..short
            })
        })
    } else {
        measure(&args)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("latency: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Latencies of a kind of slice, in us.
#[derive(Default)]
struct Latencies(Vec<u32>);

impl Latencies {
    fn push(&mut self, took: Duration) {
        self.0
            .push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    /// The median and the 99th of a hundred.
    fn percentiles(&mut self) -> [f64; 2] {
        self.0.sort_unstable();
        let at = |percent: usize| {
            let index = self.0.len().saturating_sub(1) * percent / 100;
            self.0.get(index).map_or(f64::NAN, |us| f64::from(*us))
        };
        [at(50), at(99)]
    }
}

/// Of what kind a slice is, first or second of its round: percentiles of each round.
#[derive(Default)]
struct Slices([Vec<[f64; 2]>; 2]);

impl Slices {
    /// What the rounds have given, of one kind and percentile, smallest first.
    fn sorted(&self, of: impl Fn(&[f64; 2], &[f64; 2]) -> f64) -> Vec<f64> {
        let [without, with] = &self.0;
        let rounds = without.iter().zip(with);
        let mut all: Vec<f64> = rounds.map(|(without, with)| of(without, with)).collect();
        all.sort_unstable_by(f64::total_cmp);
        all
    }
}

/// The median, and the quartiles of what is sorted.
fn quartiles(sorted: &[f64]) -> [f64; 3] {
    let last = sorted.len().saturating_sub(1);
    [2, 1, 3].map(|quarter| {
        let at = last * quarter / 4;
        sorted.get(at).copied().unwrap_or(f64::NAN)
    })
}

fn measure(args: &Args) -> io::Result<()> {
    let temporary = tempfile::tempdir()?;
    let named = std::env::var_os("TOLLGATE_BENCH_DIR");
    let base = named.as_deref().map_or(temporary.path(), Path::new);
    let data = tempfile::tempdir_in(base)?;
    let tollgate = start_tollgate(data.path(), args)?;
    // those of the blocked account
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut slices = Slices::default();
    let mut late = Latencies::default();
    let slice = Duration::from_millis(args.slice_ms);
    let mut fleet = Fleet::connect(tollgate.address(), args.trackers)?;
    let held = {
        let _runtime = runtime.enter();
        Held::start(tollgate.address(), args.held.unwrap_or(0))
    };
    // a first slice that does not count: everything is touched once
    fleet.slice(slice)?;
    let stolen = stolen_ticks();
    let begun = Instant::now();
    for round in 0..args.rounds {
        for turn in 0..2 {
            // neither always comes second
            let second = (turn + round) % 2 == 1;
            let mut latencies = if args.held.is_none() && !second {
                probe(data.path(), slice)?
            } else {
                held.calls.send_replace(args.held.is_some() && second);
                let sent = fleet.slice(slice)?;
                held.calls.send_replace(false);
                late.0.extend(sent.late);
                Latencies(sent.took)
            };
            slices.0[usize::from(second)].push(latencies.percentiles());
        }
    }
    report(args, &slices);
    let [p50, p99] = late.percentiles();
    println!("  trackers sent late      p50 {p50:>7.0} us, p99 {p99:>7.0} us");
    if let (Some(before), Some(after)) = (stolen, stolen_ticks()) {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let whole = begun.elapsed().as_secs_f64() * TICKS_PER_S * cores as f64;
        let share = 100.0 * after.saturating_sub(before) as f64 / whole;
        println!(
            "  taken by the host       {share:.1} % of the cores' time: the more, the less the rest says"
        );
    }
    Ok(())
}

/// Of the kernel's accounts, in a second.
const TICKS_PER_S: f64 = 100.0;

/// How long, in ticks, the host has run something else on the cores while they had work; `None` where
/// the kernel does not say.
fn stolen_ticks() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    line.split_whitespace().nth(7)?.parse().ok()
}

fn report(args: &Args, slices: &Slices) {
    let (names, asked) = match args.held {
        None => (["fsync of the disk", "ack"], ["below 2", "below 4"]),
        Some(_) => (
            ["ack, siblings alone", "ack, beside the held"],
            ["at most 1.1", "at most 2"],
        ),
    };
    println!(
        "{} trackers at a record a second{}, {} rounds of two slices of {} ms; medians of the rounds (quartiles)",
        args.trackers,
        args.held
            .map_or_else(String::new, |held| format!(", {held} of a blocked account")),
        args.rounds,
        args.slice_ms
    );
    for (kind, name) in names.into_iter().enumerate() {
        let [p50, p99] = [0, 1].map(|percentile| {
            let [median, low, high] =
                quartiles(&slices.sorted(|without, with| [without, with][kind][percentile]));
            format!("{median:>7.0} us ({low:.0} to {high:.0})")
        });
        println!("  {name:<23} p50 {p50}, p99 {p99}");
    }
    for (percentile, name) in ["p50", "p99"].into_iter().enumerate() {
        let ratios = slices.sorted(|without, with| with[percentile] / without[percentile]);
        let [median, low, high] = quartiles(&ratios);
        println!(
            "  ratio of {name} {median:>17.2} ({low:.2} to {high:.2}; {} is asked)",
            asked[percentile]
        );
    }
}

/// Appends and syncs for so long, as the journal does it.
fn probe(dir: &Path, length: Duration) -> io::Result<Latencies> {
    let mut latencies = Latencies::default();
    let path = dir.join("probe");
    let file = File::create(&path)?;
    rustix::fs::fallocate(
        &file,
        rustix::fs::FallocateFlags::empty(),
        0,
        PROBE_FILE_BYTES,
    )
    .or_else(|_| {
        file.set_len(PROBE_FILE_BYTES)
            .map_err(|_| rustix::io::Errno::IO)
    })?;
    file.sync_all()?;
    let bytes = vec![7; PROBE_BYTES];
    let end = Instant::now() + length;
    let mut at = 0;
    while Instant::now() < end {
        let begun = Instant::now();
        file.write_all_at(&bytes, at % PROBE_FILE_BYTES)?;
        file.sync_data()?;
        latencies.push(begun.elapsed());
        at += PROBE_BYTES as u64;
    }
    drop(file);
    std::fs::remove_file(path)?;
    Ok(latencies)
}

/// Trackers of a blocked account: they call while they are told to, and call again when nothing is
/// answered. What they send is never taken.
struct Held {
    calls: watch::Sender<bool>,
}

impl Held {
    fn start(to: SocketAddr, count: usize) -> Self {
        let (calls, _) = watch::channel(false);
        for index in 0..count {
            let mut told = calls.subscribe();
            tokio::spawn(async move {
                while told.wait_for(|calls| *calls).await.is_ok() {
                    let mut ended = told.clone();
                    tokio::select! {
                        _ = tokio::time::timeout(CALLS_AGAIN, call_in_vain(to, index)) => {}
                        _ = ended.wait_for(|calls| !*calls) => {}
                    }
                }
            });
        }
        Self { calls }
    }
}

/// Says who it is and what it has, and waits for an ack that does not come; ends only by an error.
async fn call_in_vain(to: SocketAddr, index: usize) -> io::Result<Infallible> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(&login_of(&held_ident(index))).await?;
    stream.read_exact(&mut [0]).await?;
    let mut time_ms = 1_750_000_000_000 + i64::try_from(index).unwrap_or(0);
    loop {
        time_ms += 1000;
        exchange(&mut stream, time_ms).await?;
    }
}

fn held_ident(index: usize) -> String {
    format!("36{index:013}")
}

/// Sends a record and waits until it is acked.
async fn exchange(stream: &mut TcpStream, time_ms: i64) -> io::Result<()> {
    let mut answer = [0; 4];
    let answered = async {
        stream.write_all(&frame(time_ms, 1)).await?;
        stream.read_exact(&mut answer).await
    };
    tokio::time::timeout(PATIENCE, answered)
        .await
        .map_err(io::Error::other)??;
    if answer == [0, 0, 0, 1] {
        Ok(())
    } else {
        Err(io::Error::other("a record was refused"))
    }
}

/// The gateway itself: siblings below a master, and an account that has a message a minute.
fn start_tollgate(dir: &Path, args: &Args) -> io::Result<Server> {
    let config = dir.join("tollgate.toml");
    let mut text = format!(
        "[gateway]\ndata_dir = \"{}\"\nhost = \"127.0.0.1\"\nlisten = \"127.0.0.1\"\nports = \"24280-24289\"\n\n\
         [http]\nlisten = \"127.0.0.1:0\"\n\n\
         [bounds]\nunidentified_per_source = 20000\naccount_logins = 20000\n\n\
         [[accounts]]\nname = \"master\"\n\n\
         [[limits]]\nname = \"blocked\"\naccount = \"master\"\nchannel_messages = 1\n\n\
         [[accounts]]\nname = \"siblings\"\nparent = \"master\"\n\n\
         [[accounts]]\nname = \"held\"\nparent = \"master\"\nlimit = \"blocked\"\n\n\
         [[channels]]\nname = \"teltonika\"\naccount = \"master\"\nprotocol = \"teltonika\"\n\n",
        dir.join("data").display()
    );
    let siblings = (0..args.trackers).map(|index| ("siblings", ident(index)));
    let held = (0..args.held.unwrap_or(0)).map(|index| ("held", held_ident(index)));
    for (account, ident) in siblings.chain(held) {
        writeln!(
            text,
            "[[devices]]\nname = \"{ident}\"\naccount = \"{account}\"\nprotocol = \"teltonika\"\nident = \"{ident}\""
        )
        .map_err(io::Error::other)?;
    }
    std::fs::write(&config, text)?;
    let mut command = on_core(SERVER_CORE, env!("CARGO_BIN_EXE_tollgate"));
    command
        .args(["serve", "--config"])
        .arg(&config)
        .env("TOLLGATE_LOG", "error");
    let address = |line: &str| {
        let (_, address) = line.split_once("channel 1 teltonika (teltonika) listens on ")?;
        address.trim().parse().ok()
    };
    let server = Server::start("tollgate", command, address, 1, None)?;
    if pins() {
        for thread in server.threads()? {
            let worker = std::fs::read_to_string(thread.join("comm"))?.starts_with("channels");
            if let Some(id) = thread.file_name().filter(|_| !worker) {
                let mut anywhere = Command::new(TASKSET);
                anywhere.args(["-p", "ffffffff"]).arg(id);
                anywhere.stdout(Stdio::null()).status()?;
            }
        }
    }
    Ok(server)
}
