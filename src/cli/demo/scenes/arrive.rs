//! Scene 1: accounts at five levels, a channel a protocol, devices; their trackers call.

use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::demo::captures::{Capture, Went};
use crate::cli::demo::show::{Stage, number};
use crate::cli::demo::tracker::Tracker;
use crate::cli::demo::world;
use crate::cli::demo::world::{
    ACCOUNTS, AccountNow, CAPTURES_GO_TO, Channel, MERIDIAN, NORTH, Unit, World, level,
};
use axum::http::Method;
use serde_json::{Map, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Records that each simulated tracker has to tell.
const RECORDS: usize = 5;
/// Everything told is counted after so long.
const COUNTED: Duration = Duration::from_secs(5);

pub(super) async fn tell(world: &mut World, stage: &mut Stage) -> Result<(), Failure> {
    stage.open("Real frames of four protocols arrive, for the right accounts")?;
    let captures = Capture::open_all(&world.data)?;
    make(world, stage, &captures).await?;
    let (records, conversations) = captures.iter().fold((0, 0), |(records, idents), capture| {
        (records + capture.records, idents + capture.idents.len())
    });

    let mut went = Went::default();
    for capture in captures {
        let to = world.channels[capture.protocol.info.name].at;
        let one = capture.play(to, stage).await;
        went.conversations += one.conversations;
        went.done += one.done;
        went.due += one.due;
        went.came += one.came;
        went.same += one.same;
        went.timed += one.timed;
    }
    for unit in &world.units {
        unit.tracker.make(RECORDS);
    }
    let bar = stage.bar("simulated trackers", 0);
    world.drain(super::SETTLE, &bar).await?;
    drop(bar);
    let sent = world.standing(|_| true);
    let due = records + sent.acked;
    let begun = Instant::now();
    let accounts = loop {
        let accounts = world.accounts_now().await?;
        let master = &accounts[MERIDIAN];
        if master.messages + master.duplicates >= due || begun.elapsed() > COUNTED {
            break accounts;
        }
        sleep(Duration::from_millis(50)).await;
    };
    show(world, stage, &accounts)?;

    let master = &accounts[MERIDIAN];
    stage.check(
        went.done == went.conversations
            && went.came == went.due
            && went.same + went.timed == went.due,
        format_args!(
            "{} recorded conversations of {conversations} trackers: {} of {} answers came, {} with \
             the recorded bytes, {} with today's time in them",
            went.done, went.came, went.due, went.same, went.timed
        ),
    )?;
    stage.check(
        sent.waiting == 0 && master.messages + master.duplicates == due,
        format_args!(
            "{} records came, {} messages are stored, {} were recognised as sent twice",
            number(due),
            number(master.messages),
            master.duplicates
        ),
    )?;
    stage.check(
        is_sum_of_children(&accounts),
        "each account that has no device of its own used what its children used, to the byte",
    )?;
    // each worker hands in what it counted a little later
    let begun = Instant::now();
    let counted = loop {
        let counted = world.gateway()?.metric("tollgate_messages_total").await?;
        if counted.to_string() == master.messages.to_string() || begun.elapsed() > COUNTED {
            break counted;
        }
        sleep(Duration::from_millis(50)).await;
    };
    stage.check(
        counted.to_string() == master.messages.to_string(),
        format_args!("/metrics counts {counted} messages as well"),
    )
}

/// Accounts, their limits, channels and devices, by the API.
async fn make(world: &mut World, stage: &Stage, captures: &[Capture]) -> Result<(), Failure> {
    let units = ACCOUNTS.iter().map(|plan| plan.trackers).sum::<u64>();
    let idents = captures
        .iter()
        .map(|one| one.idents.len() as u64)
        .sum::<u64>();
    let total = ACCOUNTS.len() as u64 + captures.len() as u64 + units + idents;
    let bar = stage.bar("accounts, channels, devices", total);
    let mut made = 0;
    for (index, plan) in ACCOUNTS.iter().enumerate() {
        let above = plan.parent.map(|parent| world.accounts[parent]);
        let caps = plan
            .caps
            .iter()
            .map(|(name, cap)| ((*name).to_owned(), json!(cap)));
        let mut limit: Map<_, _> = caps.collect();
        limit.insert("name".into(), plan.name.into());
        let limit = (!plan.caps.is_empty()).then(|| limit.into());
        let account = json!({ "name": plan.name });
        let account = world
            .write(above, Method::POST, "/platform/subaccounts", account)
            .await?;
        let account = world::number(&account, "id");
        world.accounts.push(account);
        if let Some(limit) = limit {
            // a limit belongs to the account above, a master's to itself
            let owner = above.unwrap_or(account);
            let limit = world
                .write(Some(owner), Method::POST, "/platform/limits", limit)
                .await?;
            let limit = world::number(&limit, "id");
            let path = format!("/platform/subaccounts/{account}");
            world
                .write(None, Method::PUT, &path, json!({ "limit_id": limit }))
                .await?;
            if index == NORTH {
                world.north_limit = limit;
            }
        }
        made += 1;
        bar.at(made, total);
    }
    for capture in captures {
        let name = capture.protocol.info.name;
        let channel = json!({ "name": name, "protocol_name": name });
        let path = "/gw/channels?fields=id,port";
        let channel = world
            .write(Some(world.accounts[MERIDIAN]), Method::POST, path, channel)
            .await?;
        let port = u16::try_from(world::number(&channel, "port"))
            .map_err(|error| Failure::new(Exit::Software, error))?;
        let channel = Channel {
            id: world::number(&channel, "id"),
            at: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        };
        world.channels.insert(name, channel);
        let owner = CAPTURES_GO_TO
            .iter()
            .find(|(protocol, _)| *protocol == name);
        for ident in &capture.idents {
            let owner = owner.map_or(MERIDIAN, |(_, account)| *account);
            world
                .register(owner, name, &format!("{name} {ident}"), ident)
                .await?;
            made += 1;
            bar.at(made, total);
        }
    }
    let to = world.channels["teltonika"].at;
    for (account, plan) in ACCOUNTS.iter().enumerate() {
        for _ in 0..plan.trackers {
            let index = world.units.len() + 1;
            let ident = format!("3566{index:011}");
            let name = format!("{} {index}", plan.name);
            let device = world.register(account, "teltonika", &name, &ident).await?;
            world.units.push(Unit {
                device,
                account,
                tracker: Tracker::start(ident, to),
            });
            made += 1;
            bar.at(made, total);
        }
    }
    Ok(())
}

fn show(world: &World, stage: &Stage, accounts: &[AccountNow]) -> Result<(), Failure> {
    let rows = ACCOUNTS
        .iter()
        .zip(accounts)
        .enumerate()
        .map(|(index, (plan, now))| {
            let caps: Vec<String> = plan
                .caps
                .iter()
                .map(|(name, cap)| format!("{name} {}", number(*cap)))
                .collect();
            let level = level(index);
            vec![
                format!("{}{}", "  ".repeat(level), plan.name),
                level.to_string(),
                if caps.is_empty() {
                    "-".into()
                } else {
                    caps.join(", ")
                },
                number(now.devices),
                number(now.messages),
                number(now.bytes_in),
                number(now.bytes_out),
            ]
        });
    stage.table(
        &[
            "account",
            "level",
            "its own limit",
            "devices",
            "messages",
            "bytes in",
            "bytes out",
        ],
        &[0, 2],
        rows.collect(),
    )?;
    let channels: Vec<String> = world
        .channels
        .iter()
        .map(|(name, channel)| format!("{name} at {}", channel.at))
        .collect();
    stage.line(format_args!("  channels: {}", channels.join(", ")))
}

/// Is the use of each account without devices of its own the sum of its children's?
fn is_sum_of_children(accounts: &[AccountNow]) -> bool {
    let owns = |index: usize| {
        ACCOUNTS[index].trackers > 0 || CAPTURES_GO_TO.iter().any(|(_, account)| *account == index)
    };
    let use_of = |now: &AccountNow| [now.messages, now.duplicates, now.bytes_in, now.bytes_out];
    (0..ACCOUNTS.len())
        .filter(|index| !owns(*index))
        .all(|index| {
            let mut sum = [0; 4];
            for (child, now) in accounts.iter().enumerate() {
                if ACCOUNTS[child].parent == Some(index) {
                    for (sum, part) in sum.iter_mut().zip(use_of(now)) {
                        *sum += part;
                    }
                }
            }
            sum == use_of(&accounts[index])
        })
}
