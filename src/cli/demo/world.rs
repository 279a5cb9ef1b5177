//! Who is in the story: accounts, channels, devices and their trackers, as the API knows them.

use super::child::Gateway;
use super::show::Bar;
use super::tracker::{Standing, Tracker};
use crate::cli::client::Client;
use crate::cli::data::SOCKET;
use crate::cli::{Exit, Failure};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often the world goes on.
const TICK: Duration = Duration::from_millis(50);

/// An account of the story.
pub(super) struct AccountPlan {
    pub(super) name: &'static str,
    /// The one above it.
    pub(super) parent: Option<usize>,
    /// The caps of its own limit.
    pub(super) caps: &'static [(&'static str, u64)],
    /// Simulated trackers.
    pub(super) trackers: u64,
}

/// The accounts, each after the one above it.
pub(super) const ACCOUNTS: [AccountPlan; 7] = [
    AccountPlan {
        name: "Meridian Telematics",
        parent: None,
        caps: &[("channel_messages", 1_000_000)],
        trackers: 0,
    },
    AccountPlan {
        name: "Nordfracht",
        parent: Some(0),
        caps: &[("channel_messages", 200_000), ("devices_count", 100)],
        trackers: 0,
    },
    AccountPlan {
        name: "Nordfracht North",
        parent: Some(1),
        caps: &[("channel_messages", NORTH_MESSAGES)],
        trackers: 2,
    },
    AccountPlan {
        name: "Depot Kiel",
        parent: Some(2),
        caps: &[("channel_connections", 20)],
        trackers: 3,
    },
    AccountPlan {
        name: "Reefers Kiel",
        parent: Some(3),
        caps: &[],
        trackers: 3,
    },
    AccountPlan {
        name: "Nordfracht South",
        parent: Some(1),
        caps: &[("devices_count", 20)],
        trackers: 4,
    },
    AccountPlan {
        name: "Alpenbus",
        parent: Some(0),
        caps: &[("channel_messages", 100_000)],
        trackers: 4,
    },
];

/// Messages a minute that Nordfracht North begins with.
pub(super) const NORTH_MESSAGES: u64 = 400;
/// The master.
pub(super) const MERIDIAN: usize = 0;
/// It runs out.
pub(super) const NORTH: usize = 2;
/// Next to it.
pub(super) const SOUTH: usize = 5;
/// Far from it.
pub(super) const ALPENBUS: usize = 6;
/// Whose devices the trackers of each capture become.
pub(super) const CAPTURES_GO_TO: [(&str, usize); 4] = [
    ("gt06", 1),
    ("h02", ALPENBUS),
    ("teltonika", SOUTH),
    ("wialon", SOUTH),
];

/// How far below the master.
pub(super) fn level(account: usize) -> usize {
    ACCOUNTS[account]
        .parent
        .map_or(0, |parent| 1 + level(parent))
}

/// Is it the account itself, or below it?
pub(super) fn is_in_branch(account: usize, top: usize) -> bool {
    account == top
        || ACCOUNTS[account]
            .parent
            .is_some_and(|parent| is_in_branch(parent, top))
}

/// A device with its tracker.
pub(super) struct Unit {
    /// The device's id.
    pub(super) device: u64,
    /// Whose it is in the beginning.
    pub(super) account: usize,
    pub(super) tracker: Tracker,
}

/// A channel.
pub(super) struct Channel {
    pub(super) id: u64,
    pub(super) at: SocketAddr,
}

/// What the API says of an account.
#[derive(Debug, Clone, Default)]
pub(super) struct AccountNow {
    pub(super) devices: u64,
    /// Messages admitted in this minute.
    pub(super) used: u64,
    /// What blocks it, itself or from above, and until when, in unix seconds.
    pub(super) blocked: Option<(String, f64)>,
    pub(super) messages: u64,
    pub(super) duplicates: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// Records of trackers as the gateway has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) made: u64,
    pub(super) acked: u64,
    /// Messages that the gateway gives.
    pub(super) stored: u64,
    /// Acked and not there.
    pub(super) lost: u64,
    /// There more than once.
    pub(super) twice: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.made += other.made;
        self.acked += other.acked;
        self.stored += other.stored;
        self.lost += other.lost;
        self.twice += other.twice;
    }
}

/// Everything that is there.
pub(super) struct World {
    pub(super) data: PathBuf,
    pub(super) config: PathBuf,
    /// None while it is dead.
    pub(super) gateway: Option<Gateway>,
    client: Client,
    /// The ids of the accounts, in the order of the plan.
    pub(super) accounts: Vec<u64>,
    /// The id of Nordfracht North's limit.
    pub(super) north_limit: u64,
    pub(super) channels: BTreeMap<&'static str, Channel>,
    pub(super) units: Vec<Unit>,
}

impl World {
    /// An empty world around a running gateway.
    pub(super) fn new(data: &Path, config: PathBuf, gateway: Gateway) -> Self {
        Self {
            data: data.to_owned(),
            config,
            gateway: Some(gateway),
            client: Client::Running(data.join(SOCKET)),
            accounts: Vec::new(),
            north_limit: 0,
            channels: BTreeMap::new(),
            units: Vec::new(),
        }
    }

    /// The gateway, which must be there.
    pub(super) fn gateway(&self) -> Result<&Gateway, Failure> {
        self.gateway
            .as_ref()
            .ok_or_else(|| Failure::new(Exit::Software, "the gateway does not run"))
    }

    /// A call that must succeed; its first row.
    pub(super) async fn write(
        &self,
        account: Option<u64>,
        method: Method,
        path: &str,
        body: Value,
    ) -> Result<Value, Failure> {
        match self.ask(account, method.clone(), path, body).await? {
            Ok(row) => Ok(row),
            Err((status, reason)) => Err(Failure::new(
                Exit::Unavailable,
                format_args!("{method} {path}: {status}: {reason}"),
            )),
        }
    }

    /// A call that may be refused: with what status and reason.
    pub(super) async fn ask(
        &self,
        account: Option<u64>,
        method: Method,
        path: &str,
        body: Value,
    ) -> Result<Result<Value, (StatusCode, String)>, Failure> {
        let (status, mut answer) = self
            .client
            .call_for(account, method, path, Some(&body))
            .await?;
        if let Some(row) = answer.pointer_mut("/result/0")
            && status.is_success()
        {
            return Ok(Ok(row.take()));
        }
        let reason = answer.pointer("/errors/0/reason").and_then(Value::as_str);
        Ok(Err((
            status,
            reason.unwrap_or("no reason given").to_owned(),
        )))
    }

    /// Makes a device.
    pub(super) async fn register(
        &self,
        account: usize,
        protocol: &str,
        name: &str,
        ident: &str,
    ) -> Result<u64, Failure> {
        let body = json!({
            "name": name,
            "protocol_name": protocol,
            "configuration": { "ident": ident },
        });
        let device = self
            .write(
                Some(self.accounts[account]),
                Method::POST,
                "/gw/devices",
                body,
            )
            .await?;
        Ok(number(&device, "id"))
    }

    /// The accounts as they are now, in the order of the plan.
    pub(super) async fn accounts_now(&self) -> Result<Vec<AccountNow>, Failure> {
        let rows = self
            .client
            .result("/platform/subaccounts/all?fields=id,blocked,counters")
            .await?;
        let mut all = Vec::new();
        for id in &self.accounts {
            let row = rows.iter().find(|row| row["id"] == *id);
            let row = row.ok_or_else(|| {
                Failure::new(Exit::Differs, format_args!("account {id} is not there"))
            })?;
            let counters = &row["counters"];
            let totals = &counters["totals"];
            let blocked = row["blocked_by"].as_str().map(|dimension| {
                let until = row["blocked_until"].as_f64().unwrap_or(0.0);
                (dimension.to_owned(), until)
            });
            all.push(AccountNow {
                devices: number(counters, "devices_count"),
                used: number(counters, "channel_messages"),
                blocked,
                messages: number(totals, "messages"),
                duplicates: number(totals, "duplicates"),
                bytes_in: number(totals, "bytes_in"),
                bytes_out: number(totals, "bytes_out"),
            });
        }
        Ok(all)
    }

    /// The idents whose connections the gateway has parked.
    pub(super) async fn parked(&self) -> Result<Vec<String>, Failure> {
        let Some(channel) = self.channels.get("teltonika") else {
            return Ok(Vec::new());
        };
        let path = format!("/gw/channels/{}/connections/all", channel.id);
        let rows = self.client.result(&path).await?;
        Ok(rows
            .iter()
            .filter(|row| row["parked"] == true)
            .filter_map(|row| Some(row["ident"].as_str()?.to_owned()))
            .collect())
    }

    /// The times of a device's messages, in ms, ascending.
    pub(super) async fn stored(&self, device: u64) -> Result<Vec<i64>, Failure> {
        let path = format!("/gw/devices/{device}/messages");
        let body = json!({ "fields": "timestamp" });
        let (status, answer) = self.client.call(Method::GET, &path, Some(&body)).await?;
        let rows = answer["result"].as_array().filter(|_| status.is_success());
        let rows = rows.ok_or_else(|| {
            Failure::new(
                Exit::Unavailable,
                format_args!("GET {path}: {status}: {answer}"),
            )
        })?;
        let mut times: Vec<i64> = rows
            .iter()
            .filter_map(|row| ms_of(&row["timestamp"]))
            .collect();
        times.sort_unstable();
        Ok(times)
    }

    /// Holds what a tracker knows against what the gateway gives.
    pub(super) async fn tally(&self, unit: &Unit) -> Result<Tally, Failure> {
        let (acked, made) = (unit.tracker.acked(), unit.tracker.standing().made);
        let stored = self.stored(unit.device).await?;
        let is_there = |time_ms: &&i64| stored.binary_search(time_ms).is_ok();
        let lost = acked.len() - acked.iter().filter(is_there).count();
        let twice = stored.windows(2).filter(|pair| pair[0] == pair[1]).count();
        Ok(Tally {
            made,
            acked: acked.len() as u64,
            stored: stored.len() as u64,
            lost: lost as u64,
            twice: twice as u64,
        })
    }

    /// The same of the trackers of each account that has some.
    pub(super) async fn tallies(&self) -> Result<Vec<(usize, Tally)>, Failure> {
        let mut all: BTreeMap<usize, Tally> = BTreeMap::new();
        for unit in &self.units {
            *all.entry(unit.account).or_default() += self.tally(unit).await?;
        }
        Ok(all.into_iter().collect())
    }

    /// Where the trackers of these accounts stand together.
    pub(super) fn standing(&self, of: impl Fn(usize) -> bool) -> Standing {
        let mut sum = Standing::default();
        for unit in self.units.iter().filter(|unit| of(unit.account)) {
            sum += unit.tracker.standing();
        }
        sum
    }

    /// Lets time go by until `until` holds, at most for `most`: at each tick each tracker makes
    /// what `make` says. Says whether it came to hold.
    pub(super) async fn go_on(
        &mut self,
        most: Duration,
        bar: Option<&Bar>,
        make: &mut dyn FnMut(usize, &Unit) -> usize,
        until: &mut dyn FnMut(&Self) -> bool,
    ) -> Result<bool, Failure> {
        let end = Instant::now() + most;
        loop {
            if until(self) {
                return Ok(true);
            }
            if let Some(end) = self.gateway.as_mut().and_then(Gateway::ended) {
                return Err(end);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            for (index, unit) in self.units.iter().enumerate() {
                unit.tracker.make(make(index, unit));
            }
            if let Some(bar) = bar {
                let standing = self.standing(|_| true);
                bar.at(standing.acked, standing.made);
            }
            sleep(TICK).await;
        }
    }

    /// Lets the trackers send what they have, and make nothing more.
    pub(super) async fn drain(&mut self, most: Duration, bar: &Bar) -> Result<bool, Failure> {
        self.go_on(most, Some(bar), &mut |_, _| 0, &mut |world| {
            world.standing(|_| true).waiting == 0
        })
        .await
    }
}

/// A number of a row; 0 where there is none.
pub(super) fn number(row: &Value, name: &str) -> u64 {
    row.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// Seconds as ms.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a float saturates as an integer"
)]
fn ms_of(seconds: &Value) -> Option<i64> {
    Some((seconds.as_f64()? * 1000.0).round() as i64)
}
