//! `tollgate statement`: what an account and its branch used, by day, chained by hash.

use super::client::{Client, asking};
use super::data::DataArgs;
use super::{Exit, Failure};
use axum::http::Method;
use clap::Args as ClapArgs;
use serde_json::{Value, json};
use std::io::Write as _;

const AFTER: &str = "\
Each line is one account's day. Its hash is made of its numbers and of the hash of the day before,
so that a byte that changes anywhere shows. deploy/statement.py verifies the chain and the sums of a
branch, and recounts messages from `tollgate export`.

A day has a statement when it is over; statements are kept for this year and the last.

Examples:
  tollgate statement --account 2 --from 2026-11-01 --to 2026-11-30
  tollgate statement --account 2 --from 2026-11-01 --branch >branch.ndjson";

/// Prints usage statements: a JSON object for each closed day.
#[derive(Debug, ClapArgs)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// The account's id
    #[arg(long, value_name = "ID", value_parser = super::id)]
    account: u64,
    /// The first day (UTC); without it the last one alone
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    from: Option<String>,
    /// The last day; without it yesterday
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    to: Option<String>,
    /// Those of every account below it too
    #[arg(long)]
    branch: bool,
}

fn day(text: &str) -> Result<String, String> {
    match text.parse::<jiff::civil::Date>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("no day like 2026-11-30".to_owned()),
    }
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let lines = asking(&args.data, async |client| lines(client, args).await)?;
    let mut out = std::io::stdout().lock();
    lines
        .iter()
        .try_for_each(|line| writeln!(out, "{line}"))
        .map_err(|error| Failure::output(&error))
}

async fn lines(client: &Client, args: &Args) -> Result<Vec<Value>, Failure> {
    let known = client.result("/platform/subaccounts/all?fields=id").await?;
    let id = args.account;
    if !known.iter().any(|row| row.get("id") == Some(&json!(id))) {
        return Err(
            Failure::new(Exit::Data, format_args!("there is no account {id}"))
                .hint("`tollgate accounts` lists them"),
        );
    }
    let mut accounts = vec![(id, None)];
    if args.branch {
        let path = "/platform/subaccounts/all?fields=id,owner_id";
        let below = client
            .result_for(args.account, Method::GET, path, &json!({}))
            .await?;
        accounts.extend(below.iter().filter_map(|account| {
            let id = account.get("id")?.as_u64()?;
            Some((id, account.get("owner_id")?.as_u64()))
        }));
    }
    let mut asked = json!({});
    for (name, day) in [("from", &args.from), ("to", &args.to)] {
        if let Some(day) = day {
            asked[name] = day.as_str().into();
        }
    }
    let mut lines = Vec::new();
    for (account, owner) in accounts {
        let path = "/platform/customer/statements";
        let mut rows = client
            .result_for(account, Method::GET, path, &asked)
            .await?;
        if let Some(owner) = owner {
            // so that the sums of the branch can be made; it is no part of the hash
            for row in &mut rows {
                row["owner_id"] = owner.into();
            }
        }
        lines.append(&mut rows);
    }
    Ok(lines)
}
