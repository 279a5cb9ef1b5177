//! `tollgate accounts`: the tree with what each branch uses.

use super::Failure;
use super::client::asking;
use super::data::DataArgs;
use clap::Args as ClapArgs;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write as _;

/// Shows the accounts with what they and their branches have used.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// One JSON object a line instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let path = "/platform/subaccounts/all?fields=id,owner_id,name,enabled,blocked,counters";
    let accounts = asking(&args.data, async |client| client.result(path).await)?;
    let mut out = std::io::stdout().lock();
    let written = if args.json {
        accounts
            .iter()
            .try_for_each(|account| writeln!(out, "{account}"))
    } else {
        writeln!(out, "{}", table(&accounts))
    };
    written.map_err(|error| Failure::output(&error))
}

/// Each account below its parent, indented.
fn table(accounts: &[Value]) -> Table {
    let mut children: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    for account in accounts {
        let owner = account.get("owner_id").and_then(Value::as_u64).unwrap_or(0);
        children.entry(owner).or_default().push(account);
    }
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header([
        "id",
        "account",
        "state",
        "messages",
        "traffic in",
        "traffic out",
        "devices",
    ]);
    let ids: Vec<u64> = accounts
        .iter()
        .filter_map(|account| account.get("id")?.as_u64())
        .collect();
    // whose owner is not shown begins a tree of its own
    let roots: Vec<u64> = children
        .keys()
        .copied()
        .filter(|owner| !ids.contains(owner))
        .collect();
    for root in roots {
        rows(&mut table, &children, root, 0);
    }
    for column in [0, 3, 4, 5, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn rows(table: &mut Table, children: &BTreeMap<u64, Vec<&Value>>, owner: u64, depth: usize) {
    for account in children.get(&owner).map(Vec::as_slice).unwrap_or_default() {
        let id = account.get("id").and_then(Value::as_u64).unwrap_or(0);
        let name = account.get("name").and_then(Value::as_str).unwrap_or("");
        let number = |pointer: &str| {
            account
                .pointer(pointer)
                .and_then(Value::as_u64)
                .map_or_else(|| "-".to_owned(), |number| number.to_string())
        };
        let enabled = account
            .get("enabled")
            .and_then(Value::as_bool)
            .unwrap_or(true);
        let blocked = account.get("blocked").is_some_and(|blocked| {
            blocked.as_bool() == Some(true) || blocked.as_u64().is_some_and(|code| code != 0)
        });
        let state = match (enabled, blocked) {
            (false, _) => "disabled",
            (true, true) => "blocked",
            (true, false) => "",
        };
        table.add_row([
            id.to_string(),
            format!("{}{name}", "  ".repeat(depth)),
            state.to_owned(),
            number("/counters/totals/messages"),
            number("/counters/totals/bytes_in"),
            number("/counters/totals/bytes_out"),
            number("/counters/devices_count"),
        ]);
        rows(table, children, id, depth + 1);
    }
}
