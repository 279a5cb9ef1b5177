//! `tollgate completions` and `tollgate man`: what a package installs beside the program, made of
//! the same arguments that the program reads, so that they never differ from it.

use super::{Exit, Failure};
use clap::{Args as ClapArgs, Command};
use clap_complete::Shell;
use std::io::Write as _;
use std::path::PathBuf;

/// Prints the completions of a shell: `source <(tollgate completions bash)`.
#[derive(Debug, ClapArgs)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Writes the manual pages, one for the program and one for each command, into a folder.
#[derive(Debug, ClapArgs)]
pub struct ManArgs {
    /// The folder; it is made if it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Prints the completions of `program`.
pub fn run_completions(args: &CompletionsArgs, mut program: Command) -> Result<(), Failure> {
    let name = program.get_name().to_owned();
    // into memory first: the generator panics where a pipe is closed
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut program, name, &mut text);
    std::io::stdout()
        .lock()
        .write_all(&text)
        .map_err(|error| Failure::output(&error))
}

/// Writes the manual pages of `program`.
pub fn run_man(args: &ManArgs, program: Command) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Io, format_args!("{}: {error}", args.dir.display()))
    };
    std::fs::create_dir_all(&args.dir).map_err(failed)?;
    clap_mangen::generate_to(program, &args.dir).map_err(failed)
}
