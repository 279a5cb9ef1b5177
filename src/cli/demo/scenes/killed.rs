//! Scene 4: kill -9 in the middle of the load.

use crate::cli::demo::child::Gateway;
use crate::cli::demo::show::{Stage, number};
use crate::cli::demo::world::World;
use crate::cli::{Exit, Failure};
use std::time::Duration;
use tokio::process::Command;

/// Records that each tracker sees in a tick of the load.
const LOAD: usize = 5;
/// The load before the kill.
const BEFORE: Duration = Duration::from_secs(3);
/// The trackers go on while nobody answers.
const DEAD: Duration = Duration::from_millis(700);
/// And after it is back.
const AFTER: Duration = Duration::from_millis(1500);

pub(super) async fn tell(world: &mut World, stage: &mut Stage) -> Result<(), Failure> {
    stage.open("kill -9 in the middle of the load")?;
    let mut load = |_, _: &_| LOAD;
    let bar = stage.bar("load", 0);
    world
        .go_on(BEFORE, Some(&bar), &mut load, &mut |_| false)
        .await?;
    if let Some(gateway) = world.gateway.take() {
        gateway.kill().await?;
    }
    // whatever was acked was acked before this line
    let before: Vec<_> = world
        .units
        .iter()
        .map(|unit| unit.tracker.acked())
        .collect();
    world
        .go_on(DEAD, Some(&bar), &mut load, &mut |_| false)
        .await?;
    let gateway = Gateway::start(&world.config).await?;
    let took = gateway.took;
    world.gateway = Some(gateway);

    let (mut acked, mut missing) = (0, 0);
    for (unit, before) in world.units.iter().zip(&before) {
        let stored = world.stored(unit.device).await?;
        let is_there = |time_ms: &&i64| stored.binary_search(time_ms).is_ok();
        acked += before.len();
        missing += before.len() - before.iter().filter(is_there).count();
    }
    world
        .go_on(AFTER, Some(&bar), &mut load, &mut |_| false)
        .await?;
    let drained = world.drain(super::SETTLE, &bar).await?;
    drop(bar);

    let sum = super::tally_table(stage, &world.tallies().await?)?;
    stage.check(
        missing == 0,
        format_args!(
            "started again in {:.1} s; of {} records acked before the kill {missing} are missing",
            took.as_secs_f64(),
            number(acked as u64)
        ),
    )?;
    stage.check(
        drained && sum.made == sum.acked && sum.made == sum.stored && sum.lost == 0,
        format_args!(
            "the trackers sent again what was not acked: {} lost, {} twice",
            sum.made.abs_diff(sum.stored).max(sum.lost),
            sum.twice
        ),
    )?;
    stage.check(
        sum.twice == 0,
        "what was stored but not acked was recognised",
    )?;
    let (balances, said) = audit(world).await?;
    stage.check(balances, format_args!("tollgate audit: {said}"))
}

/// The command, as a user types it.
async fn audit(world: &World) -> Result<(bool, String), Failure> {
    let failed =
        |error: std::io::Error| Failure::new(Exit::Software, format_args!("audit: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let output = Command::new(program)
        .arg("audit")
        .arg("--data")
        .arg(&world.data)
        .output()
        .await
        .map_err(failed)?;
    let text = if output.status.success() {
        &output.stdout
    } else {
        &output.stderr
    };
    let text = String::from_utf8_lossy(text).trim().to_owned();
    Ok((output.status.success(), text))
}
