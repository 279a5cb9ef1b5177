//! Scene 2: an account in the middle of the tree runs out. Its branch is parked, the others are not.

use crate::cli::Failure;
use crate::cli::demo::show::{Stage, number};
use crate::cli::demo::world::{
    ACCOUNTS, AccountNow, NORTH, NORTH_MESSAGES, World, is_in_branch, level,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;
use tokio::time::Instant;

/// What a tracker of the branch has gathered where there was no network.
const BACKLOG: usize = 150;
/// All of the branch's trackers are parked after so long.
const PARKED_WAIT: Duration = Duration::from_secs(12);
/// So long it is looked at.
const LOOKED_AT: Duration = Duration::from_secs(2);
/// Where a new minute comes in between, it is looked at again.
const LOOKS_MAX: u32 = 3;

/// Is it of the account that runs out, or of one below it?
pub(super) fn is_north(account: usize) -> bool {
    is_in_branch(account, NORTH)
}

/// Each tracker outside the branch sees a position every fifth of a second.
pub(super) fn others_drive() -> impl FnMut(usize, &crate::cli::demo::world::Unit) -> usize {
    let mut tick = 0;
    move |index, unit| {
        tick += usize::from(index == 0);
        usize::from(!is_north(unit.account) && (tick + index).is_multiple_of(4))
    }
}

pub(super) async fn tell(world: &mut World, stage: &mut Stage) -> Result<(), Failure> {
    stage.open("Nordfracht North runs out: its branch waits, its siblings do not notice")?;
    for unit in world.units.iter().filter(|unit| is_north(unit.account)) {
        unit.tracker.make(BACKLOG);
    }
    let trackers = world
        .units
        .iter()
        .filter(|unit| is_north(unit.account))
        .count();
    let bar = stage.bar("until the limit says no", 0);
    let mut drive = others_drive();
    let mut looks = 0;
    let (before, after, accounts, parked) = loop {
        // parked is what the gateway says of the connections, not what the trackers believe
        let begun = Instant::now();
        while world.parked().await?.len() < trackers && begun.elapsed() < PARKED_WAIT {
            world
                .go_on(
                    Duration::from_millis(150),
                    Some(&bar),
                    &mut drive,
                    &mut |_| false,
                )
                .await?;
        }
        let before = [
            world.standing(is_north),
            world.standing(|one| !is_north(one)),
        ];
        world
            .go_on(LOOKED_AT, Some(&bar), &mut drive, &mut |_| false)
            .await?;
        let after = [
            world.standing(is_north),
            world.standing(|one| !is_north(one)),
        ];
        let (accounts, parked) = (world.accounts_now().await?, world.parked().await?);
        looks += 1;
        // a minute that began meanwhile let some in
        if (before[0].acked == after[0].acked && parked.len() == trackers) || looks == LOOKS_MAX {
            break (before, after, accounts, parked);
        }
    };
    drop(bar);
    show(world, stage, &accounts, &parked)?;

    let of_others = world
        .units
        .iter()
        .filter(|unit| !is_north(unit.account))
        .filter(|unit| parked.iter().any(|ident| ident == unit.tracker.ident()))
        .count();
    stage.check(
        parked.len() == trackers && of_others == 0,
        format_args!(
            "{} of {trackers} trackers of the branch are parked, {of_others} others are",
            parked.len()
        ),
    )?;
    stage.check(
        before[0].acked == after[0].acked && before[1].acked < after[1].acked,
        format_args!(
            "in {} s the branch was acked {} records, the others {}",
            LOOKED_AT.as_secs(),
            after[0].acked - before[0].acked,
            after[1].acked - before[1].acked
        ),
    )?;
    let north = &accounts[NORTH];
    let by_messages = cause(&accounts, NORTH)
        .is_some_and(|(top, dimension, _)| top == NORTH && dimension == "channel_messages");
    stage.check(
        by_messages && north.used <= NORTH_MESSAGES,
        format_args!(
            "the refusal names channel_messages at level {}: {} of {NORTH_MESSAGES} used, never more",
            level(NORTH),
            north.used
        ),
    )?;
    let waiting = world.standing(is_north).waiting;
    stage.check(
        waiting > 0,
        format_args!(
            "{} records wait in the trackers' flash, unacked",
            number(waiting)
        ),
    )
}

/// Where in the tree an account is blocked, by what, and until when.
fn cause(accounts: &[AccountNow], account: usize) -> Option<(usize, &str, f64)> {
    let (dimension, until) = accounts[account].blocked.as_ref()?;
    let above = ACCOUNTS[account]
        .parent
        .and_then(|parent| cause(accounts, parent));
    Some(above.unwrap_or((account, dimension, *until)))
}

fn show(
    world: &World,
    stage: &Stage,
    accounts: &[AccountNow],
    parked: &[String],
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for (index, plan) in ACCOUNTS.iter().enumerate() {
        let units = world.units.iter().filter(|unit| unit.account == index);
        let is_parked = |ident: &str| parked.iter().any(|parked| parked == ident);
        let standing = world.standing(|account| account == index);
        let parked = units.filter(|unit| is_parked(unit.tracker.ident())).count();
        let why = match cause(accounts, index) {
            None => "-".to_owned(),
            Some((top, dimension, until)) => format!(
                "{dimension} at level {} ({}), until {}",
                level(top),
                ACCOUNTS[top].name,
                clock(until)
            ),
        };
        if plan.trackers == 0 {
            continue;
        }
        rows.push(vec![
            format!("{}{}", "  ".repeat(level(index)), plan.name),
            level(index).to_string(),
            plan.trackers.to_string(),
            parked.to_string(),
            number(standing.acked),
            number(standing.waiting),
            why,
        ]);
    }
    stage.table(
        &[
            "account",
            "level",
            "trackers",
            "parked",
            "acked",
            "in flash",
            "blocked by",
        ],
        &[0, 6],
        rows,
    )
}

/// The time of day, in UTC.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a float saturates as an integer"
)]
fn clock(unix_s: f64) -> String {
    Timestamp::from_second(unix_s.ceil() as i64).map_or_else(
        |_| "?".to_owned(),
        |time| {
            time.to_zoned(TimeZone::UTC)
                .strftime("%H:%M:%S UTC")
                .to_string()
        },
    )
}
