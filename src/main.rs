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

#[derive(Subcommand)]
enum Command {
    Demo(cli::demo::Args),
    Serve(cli::serve::Args),
    Top(cli::top::Args),
    Health(cli::health::Args),
    Token(cli::token::Args),
    Import(cli::import::Args),
    Accounts(cli::accounts::Args),
    Messages(cli::messages::Args),
    Audit(cli::audit::Args),
    Statement(cli::statement::Args),
    Verify(cli::verify::Args),
    Compact(cli::compact::Args),
    Backup(cli::backup::BackupArgs),
    Restore(cli::backup::RestoreArgs),
    Export(cli::export::Args),
    Erase(cli::erase::Args),
    Config(cli::config::Args),
    Decode(cli::decode::Args),
    Doctor(cli::doctor::Args),
    Replay(cli::replay::Args),
    Packets(cli::packets::Args),
    Redecode(cli::redecode::Args),
    Load(cli::load::Args),
    Completions(cli::pages::CompletionsArgs),
    Man(cli::pages::ManArgs),
}

fn main() -> ExitCode {
    let arguments = match Tollgate::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return cli::usage(&error),
    };
    cli::report(match arguments.command {
        Command::Demo(args) => cli::demo::run(&args),
        Command::Serve(args) => cli::serve::run(&args),
        Command::Import(args) => cli::import::run(&args),
        Command::Health(args) => cli::health::run(&args),
        Command::Top(args) => cli::top::run(&args),
        Command::Token(args) => cli::token::run(&args),
        Command::Accounts(args) => cli::accounts::run(&args),
        Command::Messages(args) => cli::messages::run(&args),
        Command::Audit(args) => cli::audit::run(&args),
        Command::Statement(args) => cli::statement::run(&args),
        Command::Compact(args) => cli::compact::run(&args),
        Command::Verify(args) => cli::verify::run(&args),
        Command::Backup(args) => cli::backup::run_backup(&args),
        Command::Restore(args) => cli::backup::run_restore(&args),
        Command::Export(args) => cli::export::run(&args),
        Command::Erase(args) => cli::erase::run(&args),
        Command::Config(args) => cli::config::run(&args),
        Command::Decode(args) => cli::decode::run(&args),
        Command::Doctor(args) => cli::doctor::run(&args),
        Command::Replay(args) => cli::replay::run(&args),
        Command::Packets(args) => cli::packets::run(&args),
        Command::Redecode(args) => cli::redecode::run(&args),
        Command::Load(args) => cli::load::run(&args),
        Command::Completions(args) => cli::pages::run_completions(&args, Tollgate::command()),
        Command::Man(args) => cli::pages::run_man(&args, Tollgate::command()),
    })
}
