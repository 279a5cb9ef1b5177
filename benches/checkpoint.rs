//! What a checkpoint of 10,000 accounts costs: CPU of a tick in which every one of them has changed,
//! and the memory and the disk behind 10,000 ticks, which must not grow.
//!
//! A tick is [`SledLedger::store`], as the journal's keeper calls it: one durable transaction with
//! counters and watermark. CPU is that of the whole process, sled's threads among it.
//!
//! `cargo bench --bench checkpoint`; with `--test`, or without `--bench`, a smoke run that measures
//! nothing. `TOLLGATE_BENCH_DIR` names a folder on the disk in question.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::path::Path;
use std::time::Duration;
use tollgate::account::Totals;
use tollgate::ids::{AccountId, Position};
use tollgate::journal::{Checkpoint, Ledger as _};
use tollgate::store::SledLedger;

const ACCOUNTS: u64 = 10_000;
/// The most CPU of a tick that is asked for.
const CPU_MS_MAX: f64 = 5.0;
/// How often memory is looked at.
const LOOKS: u64 = 10;

/// CPU of this process until now, of all its threads.
fn cpu() -> Duration {
    let ticks = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // behind the name in brackets: user and system time are the 12th and 13th field
    let fields = ticks.rsplit_once(')').map_or("", |(_, fields)| fields);
    let used: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(used * 10)
}

/// Bytes of memory in use.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = pages.split_whitespace().nth(1);
    resident
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        * 4096
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let asked = |name: &str| arguments.iter().any(|argument| argument == name);
    let measured = asked("--bench") && !asked("--test");
    let ticks: u64 = if measured { 10_000 } else { 20 };
    let temporary = tempfile::tempdir().expect("a folder");
    let named = std::env::var_os("TOLLGATE_BENCH_DIR");
    let base = named.as_deref().map_or(temporary.path(), Path::new);
    let dir = tempfile::tempdir_in(base).expect("a folder there");
    let mut ledger = SledLedger::open(dir.path()).expect("it opens");
    println!(
        "checkpoint: {ACCOUNTS} accounts, all changed in each of {ticks} ticks, {}",
        if measured {
            "CPU of all threads"
        } else {
            "a smoke run: the numbers mean nothing"
        }
    );
    println!(
        "{:<8}{:>14}{:>12}{:>12}",
        "tick", "CPU ms/tick", "memory MB", "disk MB"
    );
    let every = ticks / LOOKS;
    let mut begun = cpu();
    let mut worst: f64 = 0.0;
    for tick in 1..=ticks {
        let totals = |account: u64| Totals {
            bytes_in: tick * 100 + account,
            bytes_out: tick * 4,
            messages: tick,
            frames: tick,
            ..Totals::default()
        };
        let accounts = (1..=ACCOUNTS).map(|account| (AccountId(account), totals(account)));
        let checkpoint = Checkpoint {
            watermark: Position::new(0, tick),
            accounts: accounts.collect(),
            ..Checkpoint::default()
        };
        ledger.store(&checkpoint).expect("space");
        if tick % every == 0 {
            let now = cpu();
            let each_ms = now.saturating_sub(begun).as_secs_f64() * 1000.0 / every as f64;
            worst = worst.max(each_ms);
            begun = now;
            let disk = ledger.bytes_on_disk().expect("it is there");
            let memory = resident_bytes() / 1_000_000;
            println!(
                "{tick:<8}{each_ms:>14.2}{memory:>12}{:>12}",
                disk / 1_000_000
            );
        }
    }
    println!("{worst:.2} ms CPU a tick at most (at most {CPU_MS_MAX} is asked)");
    let kept = ledger.load().expect("readable").expect("a checkpoint");
    assert_eq!(kept.accounts.len() as u64, ACCOUNTS);
    assert_eq!(kept.watermark, Position::new(0, ticks));
}
