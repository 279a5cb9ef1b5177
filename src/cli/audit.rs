//! `tollgate audit`: recounts the journal by a second, simple implementation.

use super::client::asking;
use super::data::DataArgs;
use super::{Exit, Failure};
use clap::Args as ClapArgs;
use serde_json::Value;
use std::io::Write as _;

/// Recounts everything from the journal's files by a second, simple implementation, and compares
/// with every counter; reads every archive, and sees to it that nothing is in them twice: exit 1 and
/// the difference if one byte is off.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Print the recount as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let result = asking(&args.data, async |client| {
        client.result("/local/audit").await
    })?;
    let audit = result.into_iter().next().unwrap_or_default();
    let number = |name: &str| audit.get(name).and_then(Value::as_u64).unwrap_or(0);
    let differences: Vec<&str> = audit
        .get("differences")
        .and_then(Value::as_array)
        .map(|lines| lines.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let mut out = std::io::stdout().lock();
    let written = if args.json {
        writeln!(out, "{audit}")
    } else {
        let accounts = audit
            .get("accounts")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        writeln!(
            out,
            "{} entries in {} bytes recounted, {} messages in archives, {accounts} accounts: {}",
            number("entries"),
            number("bytes"),
            number("archived"),
            if differences.is_empty() {
                "every counter is right to the byte"
            } else {
                "differences"
            },
        )
    };
    written.map_err(|error| Failure::output(&error))?;
    if differences.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(Exit::Differs, differences.join("\n")))
    }
}
