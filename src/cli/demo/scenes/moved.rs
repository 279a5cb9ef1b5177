//! Scene 5: a taken ident, and a device that goes to another account while it sends.

use crate::cli::demo::show::{Stage, number};
use crate::cli::demo::world::{ACCOUNTS, ALPENBUS, MERIDIAN, NORTH, SOUTH, Unit, World};
use crate::cli::{Exit, Failure};
use axum::http::{Method, StatusCode};
use serde_json::json;
use std::time::Duration;

/// Where it goes, one after the other. It begins in the south.
const WAY: [usize; 3] = [ALPENBUS, SOUTH, ALPENBUS];
/// So long it sends in each place.
const STAY: Duration = Duration::from_millis(800);
/// Records that it sees in a tick.
const LOAD: usize = 10;

pub(super) async fn tell(world: &mut World, stage: &mut Stage) -> Result<(), Failure> {
    stage.open("One ident, one device; one record, one account")?;
    taken(world, stage).await?;

    let Some(mover) = world.units.iter().position(|unit| unit.account == SOUTH) else {
        return Err(Failure::new(Exit::Software, "nobody drives in the south"));
    };
    let (device, made_before) = (
        world.units[mover].device,
        world.units[mover].tracker.standing().made,
    );
    let before = world.accounts_now().await?;
    let bar = stage.bar("it sends and moves", 0);
    let mut load = |index: usize, _: &Unit| if index == mover { LOAD } else { 0 };
    let mut calls = world.units[mover].tracker.standing().calls;
    let mut hung_up = true;
    for account in WAY {
        world
            .go_on(STAY, Some(&bar), &mut load, &mut |_| false)
            .await?;
        let path = format!("/gw/devices/{device}/cid");
        let to = json!({ "cid": world.accounts[account] });
        world.write(None, Method::PUT, &path, to).await?;
        // its connection is closed, and it calls again
        let again = world
            .go_on(super::SETTLE, Some(&bar), &mut load, &mut |world| {
                world.units[mover].tracker.standing().calls > calls
            })
            .await?;
        hung_up &= again;
        calls = world.units[mover].tracker.standing().calls;
    }
    world
        .go_on(STAY, Some(&bar), &mut load, &mut |_| false)
        .await?;
    let drained = world.drain(super::SETTLE, &bar).await?;
    drop(bar);
    let after = world.accounts_now().await?;
    let tally = world.tally(&world.units[mover]).await?;
    let sent = tally.made - made_before;

    let gained = |account: usize| after[account].messages - before[account].messages;
    let rows = [SOUTH, ALPENBUS, MERIDIAN].map(|account| {
        vec![
            ACCOUNTS[account].name.to_owned(),
            number(before[account].messages),
            number(after[account].messages),
            number(gained(account)),
        ]
    });
    stage.table(
        &[
            "account",
            "messages before",
            "after",
            "of the moving device",
        ],
        &[0],
        rows.into(),
    )?;
    stage.check(
        drained && hung_up && tally.lost == 0 && tally.twice == 0 && tally.stored == tally.made,
        format_args!(
            "moved {} times while it sent {} records: {} lost, {} twice",
            WAY.len(),
            number(sent),
            tally.made.abs_diff(tally.stored).max(tally.lost),
            tally.twice
        ),
    )?;
    stage.check(
        gained(SOUTH) > 0
            && gained(ALPENBUS) > 0
            && gained(SOUTH) + gained(ALPENBUS) == sent
            && gained(MERIDIAN) == sent,
        format_args!(
            "{} and {} make {}: each record belongs to one account, and once to the master",
            number(gained(SOUTH)),
            number(gained(ALPENBUS)),
            number(gained(SOUTH) + gained(ALPENBUS))
        ),
    )
}

/// Somebody elsewhere wants an ident that a device of Nordfracht North has.
async fn taken(world: &World, stage: &mut Stage) -> Result<(), Failure> {
    let Some(unit) = world.units.iter().find(|unit| unit.account == NORTH) else {
        return Err(Failure::new(Exit::Software, "nobody drives in the north"));
    };
    let ident = unit.tracker.ident();
    let body = json!({
        "name": "impostor",
        "protocol_name": "teltonika",
        "configuration": { "ident": ident },
    });
    let account = world.accounts[ALPENBUS];
    let answer = world
        .ask(Some(account), Method::POST, "/gw/devices", body)
        .await?;
    let (status, reason) = match answer {
        Err((status, reason)) => (status.as_u16(), reason),
        Ok(_) => (StatusCode::OK.as_u16(), "it was taken in".to_owned()),
    };
    let tells_on = ACCOUNTS.iter().any(|plan| reason.contains(plan.name))
        || reason.contains(&unit.device.to_string());
    stage.check(
        status == StatusCode::CONFLICT.as_u16() && !tells_on,
        format_args!("a second device {ident} for Alpenbus: {status}, \"{reason}\""),
    )
}
