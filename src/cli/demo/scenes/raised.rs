//! Scene 3: the limit is raised while everything runs. The backlog arrives.

use super::runs_out::{is_north, others_drive};
use crate::cli::Failure;
use crate::cli::demo::show::{Stage, number};
use crate::cli::demo::world::World;
use axum::http::Method;
use serde_json::json;
use tokio::time::Instant;

/// Messages a minute that Nordfracht North has from now on.
const RAISED: u64 = 50_000;

pub(super) async fn tell(world: &mut World, stage: &mut Stage) -> Result<(), Failure> {
    stage.open("Its limit is raised live: the backlog arrives")?;
    let backlog = world.standing(is_north).waiting;
    let path = format!("/platform/limits/{}", world.north_limit);
    world
        .write(
            None,
            Method::PUT,
            &path,
            json!({ "channel_messages": RAISED }),
        )
        .await?;
    let begun = Instant::now();
    let bar = stage.bar("the backlog", 0);
    let arrived = world
        .go_on(
            super::SETTLE,
            Some(&bar),
            &mut others_drive(),
            &mut |world| world.standing(is_north).waiting == 0,
        )
        .await?;
    let took = begun.elapsed();
    let drained = world.drain(super::SETTLE, &bar).await?;
    drop(bar);
    let sum = super::tally_table(stage, &world.tallies().await?)?;
    stage.check(
        arrived && drained,
        format_args!(
            "{} records that waited arrived {:.1} s after the call",
            number(backlog),
            took.as_secs_f64()
        ),
    )?;
    stage.check(
        sum.lost == 0 && sum.made == sum.stored && sum.made == sum.acked,
        format_args!("{} lost", sum.made.abs_diff(sum.stored).max(sum.lost)),
    )?;
    stage.check(sum.twice == 0, format_args!("{} twice", sum.twice))
}
