//! `tollgate load`: simulated trackers over real connections, to size a machine with.
//!
//! A tracker keeps what it has until it is acked, comes back with growing pauses and sends it again:
//! what a run says is lost is lost by the tracker's own count. In the open loop frames come into being
//! at a fixed rate whether the other side keeps up or not, and a latency counts from when the frame
//! should have been sent. Where one process may not open as many files as there are trackers, several
//! of this program share them. It refuses to run without a bound in time and in number, and calls nobody
//! but this machine unless another is named.

mod count;
mod parts;
mod speech;
mod tracker;

use super::{Exit, Failure, say};
use comfy_table::{Table, presets};
use count::Counts;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use speech::Speech;
use std::cell::RefCell;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::Instant;
use tracker::{Hostile, Plan, Tracker};

/// The trackers' clocks are set so far back: each reading is a second after the one before, and none
/// shall be in the future however fast they are sent.
const CLOCK_BACK_S: i64 = 30 * 86_400;
/// Steps of the search for the most trackers, besides the doubling.
const SEARCH_STEPS: u32 = 4;

const AFTER: &str = "\
The devices must be registered: --devices prints them for the configuration file.

Without --rate the loop is closed: each tracker sends its next frames when those in its window are
acked. With --rate it is open: frames come into being at that rate, and a latency counts from when
the frame should have been sent, so that a gateway that stands still cannot hide it.

--find-capacity searches the most trackers, up to --trackers, whose acks have their 99th percentile
within so many ms, each sending at its share of --rate.

Exit code 1: a frame was lost, or was not acked at the end.

Examples:
  tollgate load --devices acme --trackers 1000 >> tollgate.toml
  tollgate load 20001 --trackers 1000 --rate 5000 --for 30
  tollgate load 20001 --trackers 1000 --rate 100 --break-every 10 --silent 500 --json";

/// Simulate trackers that call a gateway, and report what they were told.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Who is called: a port of this machine, or HOST:PORT.
    #[arg(value_name = "PORT|HOST:PORT", required_unless_present = "devices")]
    to: Option<String>,
    /// What the trackers speak.
    #[arg(long, value_enum, default_value_t = Speech::Teltonika)]
    protocol: Speech,
    /// How many trackers.
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    trackers: u32,
    /// The ident of the first one; the others count on from it.
    #[arg(long, value_name = "NUMBER")]
    ident: Option<u64>,
    /// How long new frames come into being.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// At most so many frames of each tracker.
    #[arg(long, value_name = "N")]
    frames: Option<u64>,
    /// Frames a second of all trackers together; without it: as fast as they are acked.
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Records in a frame.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=100))]
    records: u8,
    /// Frames that a tracker sends before it waits for an ack.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    window: u16,
    /// Call from so many addresses of this machine: 127.0.0.1 and up.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=250))]
    sources: u8,
    /// Share them among so many processes; as many as the limit of open files asks for in any case.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    processes: Option<u32>,
    /// This process is a part of a run of so many trackers: it tells counts, and its rate is that of all.
    #[arg(long, hide = true)]
    part_of: Option<u32>,
    /// When the run begins, unix ms.
    #[arg(long, hide = true, default_value_t = 0)]
    begin_ms: i64,
    /// Every so often all trackers break off and call again at the same time.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    break_every: Option<u32>,
    /// How long an answer is waited for.
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    answer_wait: u32,
    /// How long acks are waited for at the end.
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(0..=3600))]
    grace: u32,
    /// Besides: so many that connect and say nothing.
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(..=100_000))]
    silent: u32,
    /// Besides: so many that say a letter a second.
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(..=100_000))]
    slow: u32,
    /// Besides: so many that say what no protocol says.
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(..=100_000))]
    garbage: u32,
    /// Search the most trackers whose ack p99 is within so many ms.
    #[arg(long, value_name = "MS", requires = "rate")]
    find_capacity: Option<u32>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
    /// Print the devices of this account for the configuration file, and call nobody.
    #[arg(long, value_name = "ACCOUNT")]
    devices: Option<String>,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut output = io::BufWriter::new(io::stdout().lock());
    let first_ident = args.ident.unwrap_or(args.protocol.first_ident());
    if let Some(account) = &args.devices {
        return devices(args, first_ident, account, &mut output)
            .map_err(|error| Failure::output(&error));
    }
    let to = address(args.to.as_deref().unwrap_or_default())?;
    if args.records > args.protocol.records_max() {
        let what = format!(
            "--records {}: a frame of {} has at most {}",
            args.records,
            args.protocol.name(),
            args.protocol.records_max()
        );
        return Err(Failure::new(Exit::Usage, what));
    }
    if args.rate == Some(0) {
        return Err(Failure::new(Exit::Usage, "--rate 0: nothing would be sent"));
    }
    let files = parts::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Software, error))?;
    let run = Run {
        args,
        to,
        first_ident,
        files,
        runtime,
    };
    if args.part_of.is_some() {
        run.tell_part();
        return Ok(());
    }
    if let Some(p99_ms) = args.find_capacity {
        return find_capacity(&run, p99_ms, &mut output);
    }
    let (counts, took) = run.one(args.trackers, args.rate)?;
    let processes = run.processes(args.trackers);
    show(args, &counts, took, processes, &mut output).map_err(|error| Failure::output(&error))?;
    if counts.logins == 0 && counts.acked == 0 {
        let nobody = Failure::new(Exit::Unavailable, format_args!("{to}: nobody was admitted"));
        return Err(nobody.hint(
            "is this a port of a channel of this protocol, and are the devices registered (--devices)?",
        ));
    }
    match counts.lost + counts.left {
        0 => Ok(()),
        frames => Err(Failure::new(
            Exit::Differs,
            format_args!("{frames} of {} frames were not acked", counts.frames),
        )),
    }
}

/// A port of this machine, or a host's that the person has named.
fn address(text: &str) -> Result<SocketAddr, Failure> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Usage, format_args!("{text}: {why}"))
            .hint("PORT or HOST:PORT is wanted, such as 20001 or gps.example:20001")
    };
    let mut found = text.to_socket_addrs().map_err(|error| wrong(&error))?;
    found
        .next()
        .ok_or_else(|| wrong(&"the name has no address"))
}

fn devices(
    args: &Args,
    first_ident: u64,
    account: &str,
    output: &mut impl Write,
) -> io::Result<()> {
    for index in 0..u64::from(args.trackers) {
        let ident = first_ident + index;
        let protocol = args.protocol.name();
        writeln!(
            output,
            "[[devices]]\nname = \"load {protocol} {ident}\"\naccount = {account:?}\n\
             protocol = \"{protocol}\"\nident = \"{ident}\"\n"
        )?;
    }
    output.flush()
}

/// What a run is made of.
struct Run<'a> {
    args: &'a Args,
    to: SocketAddr,
    first_ident: u64,
    /// How many files this process may open.
    files: Option<u64>,
    runtime: tokio::runtime::Runtime,
}

impl Run<'_> {
    fn processes(&self, trackers: u32) -> u32 {
        parts::count(self.args, trackers, self.files)
    }

    /// One run with so many trackers, in as many processes as it takes.
    fn one(&self, trackers: u32, rate: Option<u32>) -> Result<(Counts, Duration), Failure> {
        let parts = self.processes(trackers);
        if parts > 1 {
            return parts::run(self.args, self.first_ident, trackers, rate, parts);
        }
        let bar = bar(self.args.seconds);
        let done = self.here(trackers, rate, |elapsed, counts| {
            bar.set_position(elapsed.as_secs().min(self.args.seconds.into()));
            bar.set_message(format!(
                "{} of {} frames acked",
                counts.acked, counts.frames
            ));
        });
        bar.finish_and_clear();
        Ok(done)
    }

    /// A part of a run, for the process that adds up.
    fn tell_part(&self) {
        let (counts, took) = self.here(self.args.trackers, self.args.rate, |_, counts| {
            let (frames, acked) = (counts.frames, counts.acked);
            parts::Line::So { frames, acked }.say();
        });
        parts::Line::All { counts, took }.say();
    }

    /// Runs so many trackers in this process; `look` sees some times a second how far it is.
    fn here(
        &self,
        trackers: u32,
        rate: Option<u32>,
        mut look: impl FnMut(Duration, &Counts),
    ) -> (Counts, Duration) {
        let args = self.args;
        let now_ms = super::now_ms();
        let counts = Rc::new(RefCell::new(Counts::default()));
        let local = LocalSet::new();
        let took = local.block_on(&self.runtime, async {
            let ahead = u64::try_from(args.begin_ms - now_ms).unwrap_or(0);
            let begin = Instant::now() + Duration::from_millis(ahead);
            let plan = Rc::new(self.plan(trackers, rate, now_ms, begin));
            let hostile = [
                (Hostile::Silent, args.silent),
                (Hostile::Slow, args.slow),
                (Hostile::Garbage, args.garbage),
            ];
            for (kind, count) in hostile {
                for index in 0..count {
                    let hostile = kind.run(Rc::clone(&plan), Rc::clone(&counts), index);
                    tokio::task::spawn_local(hostile);
                }
            }
            let mut running = tokio::task::JoinSet::new();
            for index in 0..trackers {
                let tracker = Tracker::new(Rc::clone(&plan), Rc::clone(&counts), index, trackers);
                running.spawn_local(tracker.run());
            }
            let mut tick = tokio::time::interval(Duration::from_millis(250));
            loop {
                tokio::select! {
                    ended = running.join_next() => match ended {
                        Some(Ok(())) => {}
                        Some(Err(error)) => say(&format_args!("a tracker failed: {error}")),
                        None => break,
                    },
                    _ = tick.tick() => look(begin.elapsed(), &counts.borrow()),
                }
            }
            begin.elapsed()
        });
        drop(local);
        let counts = counts.take();
        (counts, took)
    }

    fn plan(&self, trackers: u32, rate: Option<u32>, now_ms: i64, begin: Instant) -> Plan {
        let args = self.args;
        let until = begin + Duration::from_secs(args.seconds.into());
        // the rate is that of all, in however many processes they are
        let all = f64::from(args.part_of.unwrap_or(trackers));
        Plan {
            to: self.to,
            speech: args.protocol,
            first_ident: self.first_ident,
            records: args.records,
            window: args.window.into(),
            every: rate.map(|rate| Duration::from_secs(1).mul_f64(all / f64::from(rate))),
            sources: args.sources,
            break_every: args
                .break_every
                .map(|seconds| Duration::from_secs(seconds.into())),
            answer_wait: Duration::from_secs(args.answer_wait.into()),
            first_s: now_ms / 1000 - CLOCK_BACK_S,
            moved: i32::try_from(now_ms % 100_000).unwrap_or(0),
            frames_max: args.frames,
            begin,
            until,
            end: until + Duration::from_secs(args.grace.into()),
        }
    }
}

fn bar(seconds: u32) -> ProgressBar {
    let bar = ProgressBar::new(seconds.into());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} s, {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(
    args: &Args,
    counts: &Counts,
    took: Duration,
    processes: u32,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut report = counts.report(took);
    report["protocol"] = args.protocol.name().into();
    report["processes"] = processes.into();
    report["trackers"] = args.trackers.into();
    report["rate"] = json!(args.rate);
    if args.json {
        writeln!(output, "{report}")?;
    } else {
        writeln!(output, "{}", table(&report))?;
    }
    output.flush()
}

/// The report for people: a line for each number.
fn table(report: &Value) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    let rows = report.as_object().into_iter().flatten();
    for (name, value) in rows {
        let name = name.replace('_', " ");
        match value {
            Value::Object(parts) => {
                for (part, value) in parts {
                    table.add_row([format!("{name} {part}"), shown(value)]);
                }
            }
            Value::Null => {}
            other => _ = table.add_row([name, shown(other)]),
        }
    }
    table
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.2}", number.as_f64().unwrap_or_default())
        }
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

/// The most trackers that are served within the percentile: doubled until it is too much, then
/// between the two.
fn find_capacity(run: &Run<'_>, p99_ms: u32, output: &mut impl Write) -> Result<(), Failure> {
    let args = run.args;
    if !args.protocol.has_acks() {
        let what = format!("{} has no acks to search by", args.protocol.name());
        return Err(Failure::new(Exit::Usage, what));
    }
    let rate_of = |trackers: u32| {
        let share = u64::from(args.rate.unwrap_or(1)) * u64::from(trackers);
        u32::try_from(share / u64::from(args.trackers)).map_or(u32::MAX, |rate| rate.max(1))
    };
    let mut steps = Vec::new();
    let mut holds = |trackers: u32| -> Result<bool, Failure> {
        let rate = rate_of(trackers);
        let (counts, _) = run.one(trackers, Some(rate))?;
        let p99 = counts.latencies.at_ms(990);
        let all = counts.lost + counts.left == 0;
        let holds = all && p99.is_some_and(|p99| p99 <= f64::from(p99_ms));
        steps
            .push(json!({ "trackers": trackers, "rate": rate, "ack_p99_ms": p99, "holds": holds }));
        let p99 = p99.unwrap_or(f64::NAN);
        say(&format_args!(
            "{trackers} trackers, {rate} frames/s: ack p99 {p99:.1} ms"
        ));
        Ok(holds)
    };
    let (mut good, mut bad) = (0, args.trackers.saturating_add(1));
    let mut next = (args.trackers / 16).max(1);
    while next <= args.trackers && holds(next)? {
        good = next;
        if next == args.trackers {
            break;
        }
        next = next.saturating_mul(2).min(args.trackers);
    }
    if good < args.trackers {
        bad = bad.min(next);
    }
    for _ in 0..SEARCH_STEPS {
        let middle = good + (bad.saturating_sub(good)) / 2;
        if middle <= good || middle >= bad {
            break;
        }
        if holds(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    let report = json!({
        "protocol": args.protocol.name(), "ack_p99_ms": p99_ms, "seconds_each": args.seconds,
        "trackers": good, "rate": rate_of(good), "reached_the_most_allowed": good == args.trackers,
        "steps": steps,
    });
    let written = if args.json {
        writeln!(output, "{report}")
    } else {
        let more = if good == args.trackers {
            " or more"
        } else {
            ""
        };
        writeln!(
            output,
            "{good} trackers{more} ({} frames/s) with ack p99 within {p99_ms} ms",
            rate_of(good)
        )
    };
    written
        .and_then(|()| output.flush())
        .map_err(|error| Failure::output(&error))
}
