//! `tollgate token`: makes the first token of an account, which the API then needs for every call.

use super::client::{Client, asking};
use super::data::DataArgs;
use super::{Exit, Failure};
use axum::http::Method;
use clap::Args as ClapArgs;
use clap::ValueEnum;
use serde_json::{Value, json};
use std::io::Write as _;

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Telematics: everything under /gw
    Standard,
    /// Everything of its account and branch
    Master,
}

/// Makes a token and prints its key, once. It is kept as a hash only: write it down.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// The account that it acts for, by id or name; left out, the only master account
    #[arg(long)]
    account: Option<String>,
    /// What it may do
    #[arg(long = "type", value_enum, default_value_t = Kind::Master)]
    kind: Kind,
    /// For people: who uses it for what
    #[arg(long, default_value = "made on the command line")]
    info: String,
    /// It ends so many seconds after its last use; 0: never
    #[arg(long, default_value_t = 0)]
    ttl: u32,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (account, key) = asking(&args.data, async |client| make(client, args).await)?;
    writeln!(std::io::stderr(), "a token of account {account}; its key:")
        .and_then(|()| writeln!(std::io::stdout(), "{key}"))
        .map_err(|error| Failure::output(&error))
}

async fn make(client: &Client, args: &Args) -> Result<(u64, String), Failure> {
    let accounts = client
        .result("/platform/subaccounts/all?fields=id,owner_id,name")
        .await?;
    let cid = account_of(&accounts, args.account.as_deref())?;
    let kind = match args.kind {
        Kind::Standard => 0,
        Kind::Master => 1,
    };
    let body = json!([{ "access": { "type": kind }, "info": args.info, "ttl": args.ttl }]);
    let made = client
        .result_for(cid, Method::POST, "/platform/tokens", &body)
        .await?;
    let key = made
        .first()
        .and_then(|token| token.get("key")?.as_str())
        .ok_or_else(|| Failure::new(Exit::Unavailable, "the gateway gave no key"))?;
    Ok((cid, key.to_owned()))
}

/// The account that is meant.
pub(super) fn account_of(accounts: &[Value], named: Option<&str>) -> Result<u64, Failure> {
    let fits = |account: &&Value| match named {
        Some(name) => {
            account["name"] == name || name.parse().is_ok_and(|id: u64| account["id"] == id)
        }
        None => account["owner_id"] == 0,
    };
    let found: Vec<u64> = accounts
        .iter()
        .filter(fits)
        .filter_map(|account| account["id"].as_u64())
        .collect();
    let list = || {
        let names = accounts
            .iter()
            .map(|a| format!("{} ({})", a["id"], a["name"]));
        format!("there are: {}", names.collect::<Vec<_>>().join(", "))
    };
    match (found.as_slice(), named) {
        ([one], _) => Ok(*one),
        ([], Some(name)) => {
            Err(Failure::new(Exit::Usage, format_args!("there is no account {name}")).hint(list()))
        }
        ([], None) => Err(Failure::new(Exit::Usage, "there is no account yet").hint(
            "declare one in the configuration file, or make one by \
             POST /platform/subaccounts over the local socket",
        )),
        _ => Err(Failure::new(Exit::Usage, "several accounts are meant")
            .hint(format!("name one with --account; {}", list()))),
    }
}
