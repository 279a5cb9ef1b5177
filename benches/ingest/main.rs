//! What an acked frame costs, and what a connection holds: trackers over loopback against Tollgate,
//! with durable acks and exact charges, and against a server that does nothing, in alternating slices
//! of one run.
//!
//! Quote the ratios, never the rates: the two servers see the same machine at the same time, and what
//! is compared is the CPU time that the kernel says each has used, per frame. All servers are on one
//! core and all trackers on the other, where there are two.
//!
//! ```text
//! cargo bench --bench ingest -- --goals
//! cargo bench --bench ingest -- --goal G1 --rounds 60
//! cargo bench --bench ingest -- --flat connections
//! cargo bench --bench ingest -- --connections 1000 --window 8
//! ```

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench speaks to a person"
)]
#![expect(
    clippy::indexing_slicing,
    reason = "a bench may stop where it was written wrongly"
)]

mod flat;
mod frames;
mod generator;
mod goals;
mod null;
mod parts;
mod server;
mod table;
mod trackers;

use clap::Parser;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use table::Extent;
use trackers::{Sends, TrackerArgs};

/// The gateway's own allocator, for the server that does nothing too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures an acked frame, or an idle connection.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Measure a goal by its name (several: all of them), instead of what is set below
    #[arg(long, value_name = "NAME")]
    goal: Vec<String>,
    /// Measure all goals
    #[arg(long)]
    goals: bool,
    /// Is the cost of a frame flat over connections, accounts, devices, protocols? One of them, or all
    #[arg(long, value_name = "AXIS")]
    flat: Option<String>,
    /// Trackers connected to each server
    #[arg(long, default_value_t = 5000)]
    connections: usize,
    /// Trackers where their memory or their logins are measured
    #[arg(long, default_value_t = 18_000)]
    many: usize,
    /// Slices on each server
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Length of a slice in ms
    #[arg(long, default_value_t = 300)]
    slice_ms: u64,
    /// Records in a frame
    #[arg(long, default_value_t = 1)]
    records: u8,
    /// Frames that a tracker has in flight
    #[arg(long, default_value_t = 1)]
    window: usize,
    /// Another build of the gateway, whose frames are counted in the same run
    #[arg(long, value_name = "PROGRAM")]
    beside: Option<PathBuf>,
    /// A short run that only shows that everything works (`cargo bench -- --test`)
    #[arg(long)]
    test: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// This process is the server that does nothing
    #[arg(long, hide = true)]
    null: bool,
    #[command(flatten)]
    trackers: TrackerArgs,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ingest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<()> {
    let sends = Sends {
        records: args.records,
        window: args.window,
        slides: args.trackers.slides,
    };
    if args.null {
        return null::serve();
    }
    if let Some(to) = args.trackers.to {
        return trackers::run(to, sends);
    }
    let extent = if args.test {
        Extent {
            rounds: 1,
            slice: Duration::from_millis(20),
            connections: 20,
            many: 40,
            test: true,
        }
    } else {
        Extent {
            rounds: args.rounds,
            slice: Duration::from_millis(args.slice_ms),
            connections: args.connections,
            many: args.many,
            test: false,
        }
    };
    let chosen = args.goals || !args.goal.is_empty() || args.flat.is_some();
    if let Some(axis) = &args.flat {
        let axes = flat::AXES
            .iter()
            .filter(|name| axis == "all" || axis == *name);
        for axis in axes {
            flat::measure(axis, extent)?;
        }
    }
    if args.goals || (args.test && !chosen) {
        goals::measure(&[], extent)?;
    } else if !args.goal.is_empty() {
        goals::measure(&args.goal, extent)?;
    }
    if args.test && !chosen {
        for axis in flat::AXES {
            flat::measure(axis, extent)?;
        }
    }
    if !chosen {
        goals::free(sends, extent, args.beside.as_deref())?;
    }
    Ok(())
}
