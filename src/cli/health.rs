//! `tollgate health`: is the gateway ready? For containers and scripts that have no HTTP client.

use super::client::Client;
use super::data::DataArgs;
use super::{Exit, Failure, runtime};
use clap::Args as ClapArgs;
use std::io::Write as _;

/// Says whether the running gateway is ready for trackers: 0 and `ready`, or 1 and why it is not;
/// 69 where none answers.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let dir = args.data.dir()?;
    let (is_ready, said) = runtime()?.block_on(async {
        let client = Client::of_running(&dir).await?;
        client.text("/health/ready").await
    })?;
    if !is_ready {
        return Err(Failure::new(
            Exit::Differs,
            format_args!("not ready: {}", said.trim()),
        ));
    }
    write!(std::io::stdout().lock(), "{said}").map_err(|error| Failure::output(&error))
}
