//! The five scenes, in their order. Each stands on what the one before it left.

mod arrive;
mod killed;
mod moved;
mod raised;
mod runs_out;

use super::show::{Stage, number};
use super::world::{ACCOUNTS, Tally, World};
use crate::cli::Failure;
use std::time::Duration;

/// What is sent has to be there after so long.
const SETTLE: Duration = Duration::from_secs(20);

/// Tells all of them.
pub(super) async fn tell(world: &mut World, stage: &mut Stage) -> Result<(), Failure> {
    arrive::tell(world, stage).await?;
    runs_out::tell(world, stage).await?;
    raised::tell(world, stage).await?;
    killed::tell(world, stage).await?;
    moved::tell(world, stage).await
}

/// After the story: each tracker sees a position every second or so.
pub(super) async fn drive_on(world: &mut World) -> Result<(), Failure> {
    const EVERY: usize = 20;
    loop {
        let mut tick = 0;
        world
            .go_on(
                Duration::from_mins(1),
                None,
                &mut |index, _| {
                    tick += usize::from(index == 0);
                    usize::from((tick + index) % EVERY == 0)
                },
                &mut |_| false,
            )
            .await?;
    }
}

/// The table of what trackers know against what the gateway gives, an account a row.
fn tally_table(stage: &Stage, tallies: &[(usize, Tally)]) -> Result<Tally, Failure> {
    let mut sum = Tally::default();
    let mut rows = Vec::new();
    let row = |name: &str, tally: &Tally| {
        let cells = [
            tally.made,
            tally.acked,
            tally.stored,
            tally.lost,
            tally.twice,
        ];
        let mut row = vec![name.to_owned()];
        row.extend(cells.map(number));
        row
    };
    for (account, tally) in tallies {
        rows.push(row(ACCOUNTS[*account].name, tally));
        sum += *tally;
    }
    rows.push(row("together", &sum));
    stage.table(
        &[
            "trackers of",
            "records made",
            "acked",
            "stored",
            "lost",
            "twice",
        ],
        &[0],
        rows,
    )?;
    Ok(sum)
}
