//! The goals: what is asked, and how each is measured.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::frames::frame;
use crate::generator::ident;
use crate::parts;
use crate::server::{Pages, Server, Setup};
use crate::table::{Extent, Figure, Side, cost, ratio, slices};
use crate::trackers::{Fleet, Sends};

/// What a figure must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked {
    AtLeast(f64),
    AtMost(f64),
}

impl Asked {
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, ">= {least}"),
            Self::AtMost(most) => write!(f, "<= {most}"),
        }
    }
}

/// A goal.
pub(crate) struct Goal {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) must: Asked,
    pub(crate) stretch: Option<Asked>,
}

const fn goal(name: &'static str, what: &'static str, must: Asked, stretch: Option<Asked>) -> Goal {
    Goal {
        name,
        what,
        must,
        stretch,
    }
}

use Asked::{AtLeast, AtMost};

/// What this bench measures.
pub(crate) const GOALS: &[Goal] = &[
    goal(
        "G1",
        "one frame in flight, durable: frames per CPU-second / null",
        AtLeast(0.7),
        Some(AtLeast(0.8)),
    ),
    goal(
        "G2",
        "the same before the disk (files in memory)",
        AtLeast(0.88),
        Some(AtLeast(0.93)),
    ),
    goal(
        "G3",
        "window 8, durable: frames per CPU-second / null",
        AtLeast(0.45),
        Some(AtLeast(0.6)),
    ),
    goal(
        "G4",
        "window 128, durable: CPU / (null + parser + append)",
        AtMost(1.6),
        Some(AtMost(1.25)),
    ),
    goal(
        "G5",
        "frames of 12 records: records per CPU-second / of 1",
        AtLeast(5.0),
        Some(AtLeast(7.0)),
    ),
    goal(
        "G9",
        "user bytes of an idle identified connection / null",
        AtMost(1.6),
        Some(AtMost(1.3)),
    ),
    goal(
        "G10",
        "the same, in bytes",
        AtMost(1024.0),
        Some(AtMost(768.0)),
    ),
    goal(
        "G11",
        "the same after a burst of 16 x 600 B / before",
        AtMost(1.05),
        Some(AtMost(1.01)),
    ),
    goal(
        "G11b",
        "after a second burst / after the first",
        AtMost(1.05),
        Some(AtMost(1.01)),
    ),
    goal(
        "G12",
        "memory at the second fill / at the first",
        AtMost(1.05),
        Some(AtMost(1.02)),
    ),
    goal(
        "G13",
        "connect, login, first ack: CPU per device / null",
        AtMost(2.0),
        Some(AtMost(1.4)),
    ),
    goal(
        "G14",
        "idle, connections identified: share of a core, %",
        AtMost(0.5),
        Some(AtMost(0.1)),
    ),
    goal(
        "G16",
        "charge of one hot chain, 2 threads / null frame, %",
        AtMost(4.0),
        Some(AtMost(1.0)),
    ),
    goal(
        "G17",
        "unread connection: kernel bytes, 16 KiB / default",
        AtMost(0.3),
        Some(AtMost(0.1)),
    ),
    goal("G18", "counting a frame, ns", AtMost(100.0), None),
    goal(
        "G19",
        "scrape of 10,000 series: CPU / the recorder's own",
        AtMost(0.5),
        Some(AtMost(0.05)),
    ),
    goal(
        "single",
        "one connection, window 1,000: durable messages a second",
        AtLeast(50_000.0),
        None,
    ),
    goal(
        "capture",
        "raw traffic kept / not: CPU per frame",
        AtMost(1.1),
        None,
    ),
];

/// What is not measured here, and why.
pub(crate) const ELSEWHERE: &[(&str, &str)] = &[
    (
        "G6",
        "`cargo bench --bench decode`: the decoder writes stored records and fills no structs, so it is \
         compared into records (at most 2.0)",
    ),
    (
        "G7",
        "not asked for: there is no decoder that only delimits",
    ),
    ("G8", "not asked for: needs node and a package of it"),
    (
        "G15",
        "`deploy/fleet.sh`: a million connections need more than fifty processes of each kind",
    ),
];

type Measured = Vec<(&'static str, Figure)>;
type Run = fn(Extent) -> io::Result<Measured>;

/// Which goals are measured together.
const RUNS: &[(&[&str], Run)] = &[
    (&["G1"], durable),
    (&["G2"], before_the_disk),
    (&["G3"], window_8),
    (&["G4"], window_128),
    (&["G5"], twelve_records),
    (&["G9", "G10", "G11", "G11b", "G12"], memory),
    (&["G13"], logins),
    (&["G14"], idle),
    (&["G16"], charge),
    (&["G17"], unread),
    (&["G18"], |extent| {
        let counting = parts::counting(extent.rounds, extent.slice / 4);
        Ok(vec![("G18", counting)])
    }),
    (&["G19"], |extent| {
        Ok(vec![("G19", parts::scrape(extent.rounds))])
    }),
    (&["single"], single),
    (&["capture"], capture),
];

/// Measures `names` (all, if there are none) and prints a line for each as it is known.
pub(crate) fn measure(names: &[String], extent: Extent) -> io::Result<()> {
    for name in names {
        if !GOALS.iter().any(|goal| goal.name == name) {
            let known: Vec<&str> = GOALS.iter().map(|goal| goal.name).collect();
            let of = known.join(", ");
            return Err(io::Error::other(format!(
                "no goal is called {name}; there are {of}"
            )));
        }
    }
    println!(
        "{:<8} {:<58} {:>8} {:>8}  reached (quartiles of the rounds)",
        "goal", "what", "must", "stretch"
    );
    let mut failed = None;
    for (group, run) in RUNS {
        let asked = |goal: &&str| names.is_empty() || names.iter().any(|name| name == goal);
        if !group.iter().any(asked) {
            continue;
        }
        // one that cannot be measured here does not take the others away
        let measured = match run(extent) {
            Ok(measured) => measured,
            Err(error) => {
                println!("{}: {error}", group.join(", "));
                failed = Some(error);
                continue;
            }
        };
        for (name, figure) in measured {
            let Some(goal) = GOALS.iter().find(|goal| goal.name == name) else {
                continue;
            };
            let stretch = goal.stretch.map(|asked| asked.to_string());
            let verdict = match goal.must.is_met_by(figure.median) {
                _ if extent.test => "",
                true => "",
                false => "  missed",
            };
            println!(
                "{:<8} {:<58} {:>8} {:>8}  {figure}{verdict}",
                goal.name,
                goal.what,
                goal.must.to_string(),
                stretch.unwrap_or_default(),
            );
        }
    }
    if names.is_empty() {
        for (name, why) in ELSEWHERE {
            println!("{name:<8} {why}");
        }
    }
    failed.map_or(Ok(()), Err)
}

/// The gateway and the server that does nothing, in turn: ratio of frames per CPU-second.
fn beside_null(setup: &Setup, sends: Sends, extent: Extent) -> io::Result<(Figure, Vec<Vec<f64>>)> {
    let (null, gateway) = (Server::null()?, Server::gateway(setup)?);
    let mut sides = [
        Side::new(&null, sends, 0, extent.connections)?,
        Side::new(&gateway, sends, 0, extent.connections)?,
    ];
    let rounds = slices(&mut sides, extent)?;
    println!(
        "  us of server CPU a frame: do nothing {}, tollgate {}",
        cost(&rounds, 0),
        cost(&rounds, 1)
    );
    Ok((ratio(&rounds, 0, 1), rounds))
}

/// The gateway beside null, by what is sent; and beside another build of it.
pub(crate) fn free(sends: Sends, extent: Extent, other: Option<&Path>) -> io::Result<()> {
    println!(
        "{} connections, {} records a frame, window {}, {} rounds of {} ms",
        extent.connections,
        sends.records,
        sends.window,
        extent.rounds,
        extent.slice.as_millis()
    );
    let setup = Setup::new(extent.connections);
    let Some(other) = other else {
        let (reached, _) = beside_null(&setup, sends, extent)?;
        println!("  frames per server CPU-second, tollgate / do nothing: {reached}");
        return Ok(());
    };
    let servers = [
        Server::null()?,
        Server::gateway(&setup)?,
        Server::gateway_of("the other build", other, &setup)?,
    ];
    let sides = servers.iter();
    let sides = sides.map(|server| Side::new(server, sends, 0, extent.connections));
    let mut sides = sides.collect::<io::Result<Vec<_>>>()?;
    let rounds = slices(&mut sides, extent)?;
    for (index, side) in sides.iter().enumerate() {
        let each = cost(&rounds, index);
        println!("  {:<16} {each} us of server CPU a frame", side.server.name);
    }
    println!("  tollgate / the other build: {}", ratio(&rounds, 1, 2));
    println!("  do nothing / tollgate: {}", ratio(&rounds, 0, 1));
    println!("  do nothing / the other build: {}", ratio(&rounds, 0, 2));
    Ok(())
}

fn durable(extent: Extent) -> io::Result<Measured> {
    let (reached, _) = beside_null(&Setup::new(extent.connections), Sends::ONE, extent)?;
    Ok(vec![("G1", reached)])
}

/// The same gateway, whose files are in memory: syncing them is nothing, the rest is as it is.
fn before_the_disk(extent: Extent) -> io::Result<Measured> {
    let setup = Setup {
        folder: Some("/dev/shm"),
        ..Setup::new(extent.connections)
    };
    let (reached, _) = beside_null(&setup, Sends::ONE, extent)?;
    Ok(vec![("G2", reached)])
}

/// A backlog is driven by fewer connections, as many frames are in flight.
fn backlog(extent: Extent) -> Extent {
    Extent {
        connections: extent.connections.min(1000),
        ..extent
    }
}

fn window_8(extent: Extent) -> io::Result<Measured> {
    let extent = backlog(extent);
    let (reached, _) = beside_null(&Setup::new(extent.connections), Sends::window(8), extent)?;
    Ok(vec![("G3", reached)])
}

fn window_128(extent: Extent) -> io::Result<Measured> {
    let extent = backlog(extent);
    let setup = Setup::new(extent.connections);
    let (_, rounds) = beside_null(&setup, Sends::window(128), extent)?;
    let slice = extent.slice / 4;
    let parser = parts::decode(128, extent.rounds.min(15), slice)?;
    let append = parts::append(1024, extent.rounds.min(15), slice)?;
    println!("  us a frame: the parser alone {parser}, the log's append alone {append}");
    let alone = parser.median + append.median;
    let of = |round: &Vec<f64>| Some(round.get(1)? / (round.first()? + alone));
    let reached = Figure::of(rounds.iter().filter_map(of));
    Ok(vec![("G4", reached)])
}

/// Two fleets of one gateway, which send frames of 1 and of 12 records.
fn twelve_records(extent: Extent) -> io::Result<Measured> {
    let count = extent.connections / 2;
    let gateway = Server::gateway(&Setup::new(2 * count))?;
    let twelve = Sends {
        records: 12,
        ..Sends::ONE
    };
    let mut sides = [
        Side::new(&gateway, Sends::ONE, 0, count)?,
        Side::new(&gateway, twelve, count, count)?,
    ];
    let rounds = slices(&mut sides, extent)?;
    let of = |round: &Vec<f64>| Some(12.0 * round.first()? / round.get(1)?);
    Ok(vec![("G5", Figure::of(rounds.iter().filter_map(of)))])
}

/// Waits until a server has nothing to do.
fn settle(server: &Server) -> io::Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    server.cpu_since_last()?;
    let mut quiet = 0;
    while quiet < 3 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
        quiet = if server.cpu_since_last()? < 0.002 {
            quiet + 1
        } else {
            0
        };
    }
    Ok(())
}

/// Memory of a server while connections come: per connection, the median of eight steps, and at the
/// end. What the start has left in the allocator's hands is used up, or given back, in single ones.
fn grow(server: &Server, fleet: &mut Fleet, count: usize) -> io::Result<(f64, f64)> {
    const STEPS: usize = 8;
    let step = count / STEPS;
    let mut points = Vec::new();
    for index in 0..STEPS {
        fleet.connect(index * step, step)?;
        settle(server)?;
        points.push(server.memory_bytes()? as f64);
    }
    let growth: Vec<f64> = points
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) / step as f64)
        .collect();
    let told: Vec<String> = growth.iter().map(|each| format!("{each:.0}")).collect();
    println!(
        "  {}: {:.1} MiB, bytes a connection by eighths of {count}: {}",
        server.name,
        points.last().copied().unwrap_or_default() / 1_048_576.0,
        told.join(" ")
    );
    Ok((Figure::of(growth).median, points[STEPS - 1]))
}

fn memory(extent: Extent) -> io::Result<Measured> {
    let burst = Sends {
        records: 6,
        window: 16,
        slides: false,
    };
    let count = extent.many / 8 * 8;
    let null = Server::null_of(Pages::Small)?;
    let mut fleet = Fleet::new(null.address(), burst)?;
    let (of_null, _) = grow(&null, &mut fleet, count)?;
    drop((fleet, null));

    let setup = Setup {
        pages: Pages::Small,
        ..Setup::new(count)
    };
    let gateway = Server::gateway(&setup)?;
    let mut fleet = Fleet::new(gateway.address(), burst)?;
    let (each, first) = grow(&gateway, &mut fleet, count)?;
    fleet.close()?;
    settle(&gateway)?;
    fleet.connect(0, count)?;
    settle(&gateway)?;
    let second = gateway.memory_bytes()? as f64;
    let mut after = vec![second];
    for _ in 0..2 {
        fleet.once()?;
        settle(&gateway)?;
        after.push(gateway.memory_bytes()? as f64);
    }
    let grown = |index: usize| each + (after[index] - second) / count as f64;
    println!(
        "  bytes a connection behind bursts: {:.0} {:.0}",
        grown(1),
        grown(2)
    );
    Ok(vec![
        ("G9", Figure::once(each / of_null)),
        ("G10", Figure::once(each)),
        ("G11", Figure::once(grown(1) / each)),
        ("G11b", Figure::once(grown(2) / grown(1))),
        ("G12", Figure::once(second / first)),
    ])
}

/// All trackers connect, log in, and have one frame acked; again and again.
fn logins(extent: Extent) -> io::Result<Measured> {
    let (null, gateway) = (Server::null()?, Server::gateway(&Setup::new(extent.many))?);
    let mut fleets = [
        (&null, Fleet::new(null.address(), Sends::ONE)?),
        (&gateway, Fleet::new(gateway.address(), Sends::ONE)?),
    ];
    let mut rounds = Vec::new();
    for round in 0..extent.rounds.min(6) {
        let mut costs = vec![f64::NAN; 2];
        for turn in 0..2 {
            let index = (turn + round) % 2;
            let (server, fleet) = &mut fleets[index];
            settle(server)?;
            fleet.connect(0, extent.many)?;
            fleet.once()?;
            costs[index] = server.cpu_since_last()? * 1e6 / extent.many as f64;
            fleet.close()?;
        }
        rounds.push(costs);
    }
    println!(
        "  us of server CPU a device: do nothing {}, tollgate {}",
        cost(&rounds, 0),
        cost(&rounds, 1)
    );
    Ok(vec![("G13", ratio(&rounds, 1, 0))])
}

fn idle(extent: Extent) -> io::Result<Measured> {
    let gateway = Server::gateway(&Setup::new(extent.many))?;
    let mut fleet = Fleet::connected(gateway.address(), Sends::ONE, 0, extent.many)?;
    fleet.once()?;
    settle(&gateway)?;
    let seconds = if extent.test { 1 } else { 10 };
    std::thread::sleep(Duration::from_secs(seconds));
    let share = gateway.cpu_since_last()? / seconds as f64 * 100.0;
    Ok(vec![("G14", Figure::once(share))])
}

/// Beside what a frame costs the server that does nothing.
fn charge(extent: Extent) -> io::Result<Measured> {
    let null = Server::null()?;
    let mut sides = [Side::new(&null, Sends::ONE, 0, extent.connections)?];
    let rounds = slices(&mut sides, extent)?;
    let frame_us = cost(&rounds, 0).median;
    let charge_ns = parts::charge(extent.rounds, extent.slice / 4);
    println!(
        "  ns a charge: {charge_ns}; us a frame of the server that does nothing: {frame_us:.2}"
    );
    let share = |ns: f64| ns / (frame_us * 1e3) * 100.0;
    let figure = Figure {
        median: share(charge_ns.median),
        quartiles: charge_ns
            .quartiles
            .map(|(low, high)| (share(low), share(high))),
    };
    Ok(vec![("G16", figure)])
}

/// Kernel memory of connections that the gateway does not read, because a limit stands against them.
fn unread(extent: Extent) -> io::Result<Measured> {
    let count = extent.connections.min(200);
    let held = |bounds: &'static str| {
        let setup = Setup {
            // a frame a minute for all of them
            messages: 12,
            bounds,
            ..Setup::new(count)
        };
        let gateway = Server::gateway(&setup)?;
        let mut streams = Vec::new();
        for index in 0..count {
            let mut stream = TcpStream::connect(gateway.address())?;
            stream.set_nodelay(true)?;
            let ident = ident(index);
            stream.write_all(&[&[0, 15], ident.as_bytes()].concat())?;
            stream.read_exact(&mut [0])?;
            stream.set_nonblocking(true)?;
            streams.push(stream);
        }
        let bytes = frame(1_760_000_000_000, 12);
        // until none takes any more, for longer than it takes the gateway to read
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            for stream in &mut streams {
                while stream.write(&bytes).is_ok_and(|written| written > 0) {}
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        receive_memory(gateway.address().port()).map(|bytes| bytes / count as f64)
    };
    let (small, default) = (held("receive_buffer = \"16 KiB\"")?, held("")?);
    println!(
        "  kernel bytes of an unread connection: {small:.0} with 16 KiB, {default:.0} by default"
    );
    Ok(vec![("G17", Figure::once(small / default))])
}

/// Memory that the receive queues of all connections to a port of this machine hold, as `ss` says.
fn receive_memory(port: u16) -> io::Result<f64> {
    let listed = Command::new("ss")
        .args([
            "-tmnH",
            "state",
            "established",
            &format!("( sport = :{port} )"),
        ])
        .output()?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let bytes = |queue: &str| queue.split(',').next()?.parse::<f64>().ok();
    Ok(text.split("skmem:(r").skip(1).filter_map(bytes).sum())
}

fn single(extent: Extent) -> io::Result<Measured> {
    let gateway = Server::gateway(&Setup::new(1))?;
    let sends = Sends {
        slides: true,
        ..Sends::window(1000)
    };
    let mut fleet = Fleet::connected(gateway.address(), sends, 0, 1)?;
    fleet.slice(extent.slice)?;
    let mut rates = Vec::new();
    for _ in 0..extent.rounds.min(20) {
        let sent = fleet.slice(extent.slice * 2)?;
        rates.push(sent.frames as f64 / sent.took.as_secs_f64());
    }
    Ok(vec![("single", Figure::of(rates))])
}

/// Two gateways, of which one keeps all raw traffic.
fn capture(extent: Extent) -> io::Result<Measured> {
    let setup = Setup::new(extent.connections);
    let keeps = Setup {
        packets: true,
        ..setup.clone()
    };
    let (without, with) = (Server::gateway(&setup)?, Server::gateway(&keeps)?);
    let mut sides = [
        Side::new(&without, Sends::ONE, 0, extent.connections)?,
        Side::new(&with, Sends::ONE, 0, extent.connections)?,
    ];
    let rounds = slices(&mut sides, extent)?;
    println!(
        "  us of server CPU a frame: {} without, {} with",
        cost(&rounds, 0),
        cost(&rounds, 1)
    );
    Ok(vec![("capture", ratio(&rounds, 1, 0))])
}
