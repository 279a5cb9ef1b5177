//! `tollgate demo`: the product's story in five scenes, told from real things.
//!
//! The gateway is this same binary in a process of its own; what is done to it goes over the
//! sockets and the API that a user has. The trackers are the fixture captures and simulated ones.
//! No scene calls the gateway's rooms: only the trackers' side is made here, by `replay` and the
//! protocols' kit. Each scene checks what it shows, against what its trackers know.

mod captures;
mod child;
mod scenes;
mod show;
mod tracker;
mod world;

use super::{Exit, Failure, runtime, say};
use clap::Args as ClapArgs;
use show::Stage;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use world::World;

/// Channels that the story needs: so many ports.
const PORTS: u16 = 8;

/// Tells what the gateway does, in five scenes and under a minute, with a gateway of its own and
/// real frames: accounts and trackers; an account that runs out; its limit raised live; kill -9 in
/// the middle of the load; a taken ident and a move. Then it keeps serving until Ctrl-C.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// End after the last scene: with 1 if a scene's own check did not hold
    #[arg(long)]
    once: bool,
    /// Keep everything in this directory, which must be empty or not there yet; without it a
    /// temporary one is used and removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let place = Place::of(args.data.as_deref())?;
    runtime()?.block_on(tell(args, &place))
}

/// Where the story leaves its things.
struct Place {
    dir: PathBuf,
    /// Removed at the end.
    temporary: bool,
}

impl Place {
    fn of(named: Option<&Path>) -> Result<Self, Failure> {
        let failed = |dir: &Path, error: std::io::Error| {
            Failure::new(Exit::Io, format_args!("{}: {error}", dir.display()))
        };
        if let Some(dir) = named {
            std::fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
            let mut inside = std::fs::read_dir(dir).map_err(|error| failed(dir, error))?;
            if inside.next().is_some() {
                return Err(Failure::new(
                    Exit::Usage,
                    format_args!("{} is not empty", dir.display()),
                )
                .hint("the story begins with nothing: name a new directory"));
            }
            let dir = dir.canonicalize().map_err(|error| failed(dir, error))?;
            return Ok(Self {
                dir,
                temporary: false,
            });
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| Failure::new(Exit::Software, error))?;
        let name = format!("tollgate-demo-{:016x}", u64::from_be_bytes(random));
        let dir = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(|error| failed(&dir, error))?;
        Ok(Self {
            dir,
            temporary: true,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.dir)
        {
            say(&format_args!("{} stays: {error}", self.dir.display()));
        }
    }
}

async fn tell(args: &Args, place: &Place) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut stage = Stage::new();
    let config = child::configure(&place.dir, PORTS)?;
    let gateway = child::Gateway::start(&config).await?;
    let mut world = World::new(&place.dir, config, gateway);
    let told = tokio::select! {
        told = scenes::tell(&mut world, &mut stage) => Some(told),
        () = interrupted() => None,
    };
    if let Some(Ok(())) = &told {
        ended(&stage, begun)?;
        if !args.once {
            what_to_try(&world, &stage)?;
            tokio::select! {
                served = scenes::drive_on(&mut world) => served?,
                () = interrupted() => {}
            }
        }
    }
    world.units.clear();
    let in_order = match world.gateway.take() {
        Some(gateway) => gateway.stop().await?,
        None => true,
    };
    match told {
        None => {
            return Err(Failure::new(
                Exit::Differs,
                "interrupted before the story was told",
            ));
        }
        Some(Err(failure)) => return Err(failure),
        Some(Ok(())) => {}
    }
    let mut failed = stage.failed().to_vec();
    if !in_order {
        failed.push("the gateway did not end with 0 when it was told to".to_owned());
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Differs, failed.join("\n")))
}

async fn interrupted() {
    let (interrupt, terminate) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    );
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn ended(stage: &Stage, begun: Instant) -> Result<(), Failure> {
    let seconds = begun.elapsed().as_secs();
    let (held, failed) = (stage.held(), stage.failed().len());
    if failed == 0 {
        stage.line(format_args!(
            "\nFive scenes in {seconds} s, and all {held} checks held."
        ))
    } else {
        stage.line(format_args!(
            "\nFive scenes in {seconds} s; {failed} of {} checks did not hold.",
            held as usize + failed
        ))
    }
}

fn what_to_try(world: &World, stage: &Stage) -> Result<(), Failure> {
    let data = world.data.display();
    let http = world.gateway()?.http;
    let device = world.units.first().map_or(1, |unit| unit.device);
    let teltonika = world.channels.get("teltonika");
    let at = teltonika.map_or_else(String::new, |channel| channel.at.to_string());
    let channel = teltonika.map_or(1, |channel| channel.id);
    stage.line(format_args!(
        "\nThe gateway serves on, and its trackers drive on. From another terminal:\n\
         \n  tollgate accounts --data {data}\
         \n  tollgate messages --data {data} --device {device} --follow\
         \n  tollgate audit --data {data}\
         \n  curl http://{http}/metrics\
         \n  curl --unix-socket {data}/tollgate.sock http://gateway/gw/channels/{channel}/connections/all\
         \n\nA real Teltonika finds it at {at} (reach this machine by a tunnel: it listens on loopback \
         only).\nCtrl-C ends it."
    ))
}
