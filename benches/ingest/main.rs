//! What an acked frame costs: trackers over loopback against Tollgate, with durable acks and exact
//! charges, and against a server that does nothing, in alternating slices of one run.
//!
//! Quote the ratio, never the rates: the two servers see the same machine at the same time, and
//! what is compared is the CPU time that the kernel says each has used, per frame.
//!
//! ```text
//! cargo bench --bench ingest -- --connections 5000 --rounds 20
//! cargo bench --bench ingest -- --idle 10000
//! ```

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench speaks to a person"
)]

mod frames;
mod null;
mod server;
mod trackers;

use clap::Parser;
use server::Server;
use std::fmt::Write as _;
use std::io;
use std::process::{Command, ExitCode};
use std::time::Duration;
use trackers::Fleet;

/// Connections logged in before the memory of idle ones is measured.
const WARM_CONNECTIONS: usize = 500;

/// Measures an acked frame, or an idle connection.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Trackers connected to each server
    #[arg(long, default_value_t = 5000)]
    connections: usize,
    /// Slices on each server
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Length of a slice in ms
    #[arg(long, default_value_t = 400)]
    slice_ms: u64,
    /// Records in a frame
    #[arg(long, default_value_t = 1)]
    records: u8,
    /// Frames that a tracker has in flight
    #[arg(long, default_value_t = 1)]
    window: usize,
    /// Measure the memory of so many idle identified connections instead
    #[arg(long)]
    idle: Option<usize>,
    /// A short run that only shows that everything works (`cargo bench -- --test`)
    #[arg(long)]
    test: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// This process is the server that does nothing
    #[arg(long, hide = true)]
    null: bool,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.test {
        args = Args {
            connections: 50,
            rounds: 1,
            slice_ms: 50,
            idle: None,
            ..args
        };
    }
    let done = if args.null {
        null::serve()
    } else {
        measure(&args)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ingest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> io::Result<()> {
    let devices = args.idle.unwrap_or(args.connections).max(args.connections);
    let data = tempfile::tempdir()?;
    let tollgate = start_tollgate(data.path(), devices)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if let Some(idle) = args.idle {
        return runtime.block_on(idle_memory(&tollgate, idle));
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--null");
    let null = Server::start("do nothing", command, "")?;
    runtime.block_on(slices(args, &[null, tollgate]))
}

/// Alternating slices; the median of the rounds' ratios.
async fn slices(args: &Args, servers: &[Server; 2]) -> io::Result<()> {
    let mut fleets = Vec::new();
    for server in servers {
        let fleet =
            Fleet::connect(server.address, args.connections, args.records, args.window).await?;
        // a first slice that does not count: everything is touched once
        fleet.slice(Duration::from_millis(args.slice_ms)).await?;
        fleets.push(fleet);
    }
    let mut rounds = Vec::new();
    for round in 0..args.rounds {
        let mut per_frame = [0.0; 2];
        for turn in 0..2 {
            // the order changes with each round, so that neither always comes second
            let index = (turn + round) % 2;
            let (server, fleet) = (&servers[index], &fleets[index]);
            let before = server.cpu_seconds()?;
            let frames = fleet.slice(Duration::from_millis(args.slice_ms)).await?;
            per_frame[index] = (server.cpu_seconds()? - before) * 1e6 / frames.max(1) as f64;
        }
        rounds.push(per_frame);
    }
    let mut report = String::new();
    let line = format!(
        "{} connections, {} records a frame, window {}, {} rounds of {} ms",
        args.connections, args.records, args.window, args.rounds, args.slice_ms
    );
    writeln!(report, "{line}").map_err(io::Error::other)?;
    for (index, server) in servers.iter().enumerate() {
        let mut cost: Vec<f64> = rounds.iter().map(|round| round[index]).collect();
        let (low, median, high) = quartiles(&mut cost);
        writeln!(
            report,
            "  {:<12} {median:7.2} us of server CPU a frame (quartiles {low:.2} to {high:.2})",
            server.name
        )
        .map_err(io::Error::other)?;
    }
    let mut ratios: Vec<f64> = rounds.iter().map(|[null, ours]| null / ours).collect();
    let (low, median, high) = quartiles(&mut ratios);
    writeln!(
        report,
        "  frames per server CPU-second, tollgate / do nothing: {median:.2} (quartiles {low:.2} to {high:.2})"
    )
    .map_err(io::Error::other)?;
    print!("{report}");
    Ok(())
}

/// User memory of an idle identified connection.
async fn idle_memory(tollgate: &Server, count: usize) -> io::Result<()> {
    let warm = Fleet::connect(tollgate.address, WARM_CONNECTIONS, 1, 1).await?;
    warm.slice(Duration::from_millis(200)).await?;
    let before = tollgate.memory_bytes()?;
    let rest = Fleet::connect_from(tollgate.address, WARM_CONNECTIONS, count, 1, 1).await?;
    let connected = tollgate.memory_bytes()?;
    rest.slice(Duration::from_secs(1)).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after_frames = tollgate.memory_bytes()?;
    let each = |bytes: u64| bytes.saturating_sub(before) / (count - WARM_CONNECTIONS) as u64;
    println!(
        "idle identified connections: {} B of user memory each, {} B after each has sent frames ({count} connections)",
        each(connected),
        each(after_frames)
    );
    Ok(())
}

fn quartiles(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let index = ((values.len() - 1) as f64 * share).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index of the slice"
        )]
        values.get(index as usize).copied().unwrap_or(f64::NAN)
    };
    (at(0.25), at(0.5), at(0.75))
}

/// The gateway itself, one worker, with a chain of five accounts and a limit at each level.
fn start_tollgate(dir: &std::path::Path, devices: usize) -> io::Result<Server> {
    let config = dir.join("tollgate.toml");
    let mut text = format!(
        "[gateway]\ndata_dir = \"{}\"\nhost = \"127.0.0.1\"\nlisten = \"127.0.0.1\"\nports = \"24000-24010\"\nworkers = 1\n\n\
         [http]\nlisten = \"127.0.0.1:0\"\n\n\
         [bounds]\nunidentified_per_source = 20000\n\n",
        dir.join("data").display()
    );
    let out = &mut text;
    let mut parent = String::new();
    for level in 0..5 {
        let name = format!("level{level}");
        writeln!(out, "[[accounts]]\nname = \"{name}\"").map_err(io::Error::other)?;
        if !parent.is_empty() {
            writeln!(out, "parent = \"{parent}\"\nlimit = \"cap{level}\"")
                .map_err(io::Error::other)?;
            writeln!(
                out,
                "\n[[limits]]\nname = \"cap{level}\"\naccount = \"{parent}\"\nchannel_traffic = 200000000000\nchannel_messages = 4000000000"
            )
            .map_err(io::Error::other)?;
        }
        parent = name;
    }
    writeln!(
        out,
        "\n[[channels]]\nname = \"teltonika\"\naccount = \"level0\"\nprotocol = \"teltonika\"\n"
    )
    .map_err(io::Error::other)?;
    for index in 0..devices {
        let ident = trackers::ident(index);
        writeln!(
            out,
            "[[devices]]\nname = \"tracker {index}\"\naccount = \"level4\"\nprotocol = \"teltonika\"\nident = \"{ident}\""
        )
        .map_err(io::Error::other)?;
    }
    std::fs::write(&config, text)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .env("TOLLGATE_LOG", "warn");
    Server::start(
        "tollgate",
        command,
        "channel 1 teltonika (teltonika) listens on ",
    )
}
