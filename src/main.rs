//! The program: arguments, one subcommand, an exit code.

use clap::{CommandFactory as _, Parser, Subcommand};
use std::process::ExitCode;
use tollgate::cli;

/// Many small blocks of equal size are what connections are made of: less is lost between them than
/// with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A telematics channel gateway: decodes GPS trackers, charges account trees, and answers a
/// tracker only when what it answers for is on disk and paid for.
#[derive(Parser)]
#[command(version, after_help = cli::EXIT_CODES, max_term_width = 100)]
struct Tollgate {
    #[command(subcommand)]
    command: Command,
}

/// Each subcommand once: its arguments, and what runs them.
macro_rules! commands {
    ($($name:ident($args:ty) => $run:expr,)*) => {
        #[derive(Subcommand)]
        enum Command {
            $($name($args),)*
        }

        fn run(command: &Command) -> Result<(), cli::Failure> {
            match command {
                $(Command::$name(args) => $run(args),)*
            }
        }
    };
}

commands! {
    Demo(cli::demo::Args) => cli::demo::run,
    Serve(cli::serve::Args) => cli::serve::run,
    Top(cli::top::Args) => cli::top::run,
    Health(cli::health::Args) => cli::health::run,
    Token(cli::token::Args) => cli::token::run,
    Import(cli::import::Args) => cli::import::run,
    Accounts(cli::accounts::Args) => cli::accounts::run,
    Messages(cli::messages::Args) => cli::messages::run,
    Audit(cli::audit::Args) => cli::audit::run,
    Statement(cli::statement::Args) => cli::statement::run,
    Verify(cli::verify::Args) => cli::verify::run,
    Compact(cli::compact::Args) => cli::compact::run,
    Backup(cli::backup::BackupArgs) => cli::backup::run_backup,
    Restore(cli::backup::RestoreArgs) => cli::backup::run_restore,
    Export(cli::export::Args) => cli::export::run,
    Erase(cli::erase::Args) => cli::erase::run,
    Config(cli::config::Args) => cli::config::run,
    Decode(cli::decode::Args) => cli::decode::run,
    Doctor(cli::doctor::Args) => cli::doctor::run,
    Replay(cli::replay::Args) => cli::replay::run,
    Packets(cli::packets::Args) => cli::packets::run,
    Redecode(cli::redecode::Args) => cli::redecode::run,
    Load(cli::load::Args) => cli::load::run,
    Completions(cli::pages::CompletionsArgs) => |args| cli::pages::run_completions(args, Tollgate::command()),
    Man(cli::pages::ManArgs) => |args| cli::pages::run_man(args, Tollgate::command()),
}

fn main() -> ExitCode {
    match Tollgate::try_parse() {
        Ok(arguments) => cli::report(run(&arguments.command)),
        Err(error) => cli::usage(&error),
    }
}
