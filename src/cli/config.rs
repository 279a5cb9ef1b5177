//! `tollgate config`: the file with every option, and the check of one.

use super::Failure;
use super::data::load;
use crate::config::DEFAULT_TEXT;
use clap::{Args as ClapArgs, Subcommand};
use std::io::Write as _;
use std::path::PathBuf;

/// The configuration file.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print a file with every option, its default and what it means
    Default,
    /// Tell every mistake in a file: exit 64 if there is one
    Check {
        /// The file
        file: PathBuf,
    },
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = match &args.what {
        What::Default => write!(out, "{DEFAULT_TEXT}"),
        What::Check { file } => {
            let config = load(file)?;
            writeln!(
                out,
                "{}: {} accounts, {} limits, {} channels, {} devices, no mistake",
                file.display(),
                config.accounts.len(),
                config.limits.len(),
                config.channels.len(),
                config.devices.len(),
            )
        }
    };
    written.map_err(|error| Failure::output(&error))
}
