//! `tollgate compact`: writes the databases of items and counters anew, in less space.

use super::data::{DataArgs, no_directory, unusable};
use super::{Exit, Failure};
use crate::store::{Compacted, DirLock, StoreError, Which, compact};
use clap::Args as ClapArgs;
use std::io::Write as _;

/// Writes the databases of items and counters anew and gives the space back that they have taken
/// with time. No gateway may run on the directory meanwhile. A crash anywhere leaves the old
/// database or the new one, whole.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let dir = args.data.dir()?;
    if !dir.is_dir() {
        return Err(no_directory(&dir));
    }
    let failed = |error: StoreError| match error {
        StoreError::InUse { .. } => {
            Failure::new(Exit::Data, error).hint("stop the gateway first, then compact")
        }
        StoreError::Corrupt { .. } => Failure::new(Exit::Data, error).hint("nothing was changed"),
        error => unusable(&dir, &error),
    };
    let lock = DirLock::take(&dir).map_err(failed)?;
    let mut out = std::io::stdout().lock();
    for which in [Which::Registry, Which::Ledger] {
        if !dir.join(which.folder()).is_dir() {
            continue;
        }
        let Compacted {
            rows,
            before,
            after,
        } = compact(&dir, &lock, which).map_err(failed)?;
        let name = which.folder();
        writeln!(
            out,
            "{name}: {rows} rows, {before} bytes before, {after} now"
        )
        .map_err(|error| Failure::output(&error))?;
    }
    Ok(())
}
