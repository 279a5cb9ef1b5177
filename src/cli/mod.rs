//! The command line: one file per subcommand, and what they share.
//!
//! A subcommand is a clap `Args` with a `run` that gives back a [`Failure`] or nothing. It may
//! print; no other room may. It decides nothing that a room should decide: it reads arguments,
//! calls rooms and shows what they say.
//!
//! Exit codes are those of sysexits(3), so that a script can tell a mistake in its call from a
//! broken file or a gateway that is not there: [`Exit`].

pub mod accounts;
pub mod audit;
pub mod backup;
mod certificates;
mod client;
pub mod compact;
pub mod config;
mod data;
pub mod decode;
pub mod demo;
pub mod doctor;
pub mod erase;
pub mod export;
mod gateway;
pub mod health;
pub mod import;
pub mod load;
mod local;
pub mod messages;
mod nearest;
pub mod packets;
pub mod pages;
pub mod redecode;
pub mod replay;
pub mod serve;
pub mod statement;
mod systemd;
pub mod token;
pub mod top;
#[cfg(feature = "otel")]
mod traces;
pub mod verify;

use std::fmt::{self, Display};
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

pub use nearest::nearest;

/// The exit codes, for people: the foot of `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  done, and what was checked does not hold
  64  the call or the configuration is wrong
  65  the input is not what it should be (no hexadecimal, a foreign or truncated capture, a damaged
      journal, a data directory that another process uses)
  66  the input cannot be opened
  69  the other side is not there or went away
  70  a mistake in this program
  74  reading or writing failed";

/// How a subcommand ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was checked does not hold.
    Differs = 1,
    /// The call or the configuration is wrong.
    Usage = 64,
    /// The input is not what it should be.
    Data = 65,
    /// The input cannot be opened.
    NoInput = 66,
    /// The other side is not there or went away.
    Unavailable = 69,
    /// A mistake in this program.
    Software = 70,
    /// Reading or writing failed.
    Io = 74,
}

/// Why a subcommand did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong, and where.
    pub what: String,
    /// What to do about it, if that is known.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(exit: Exit, what: impl Display) -> Self {
        Self {
            exit,
            what: what.to_string(),
            hint: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Standard output could not be written. A reader that has seen enough (`| head`) is no
    /// failure: see [`report`].
    fn output(error: &io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe {
            return Self::new(Exit::Io, READER_LEFT);
        }
        Self::new(
            Exit::Io,
            format_args!("writing to standard output: {error}"),
        )
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

const READER_LEFT: &str = "the reader of standard output has left";

/// Ends the program: prints why if it failed. That nobody reads on is an end like any other.
pub fn report(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.exit == Exit::Io && failure.what == READER_LEFT => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Ends the program after clap did not get arguments to run with: with 0 for `--help`, else 64.
pub fn usage(error: &clap::Error) -> ExitCode {
    let printed = error.print().is_ok();
    if printed && !error.use_stderr() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Exit::Usage as u8)
    }
}

/// A line to the person at the terminal. If even that cannot be written there is nobody to tell.
fn say(line: &dyn Display) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// The number of an item, on the command line.
fn id(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "the number of one is wanted, as its `id` in the API".to_owned())
}

/// Unix ms by the machine's clock.
fn now_ms() -> i64 {
    use crate::ids::Clock as _;
    crate::ids::SystemClock::default().now_ms()
}

/// The runtime of a command, and of a gateway's API and control (connections have threads of
/// their own).
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Software, error))
}
