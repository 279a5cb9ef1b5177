//! A run that needs more open files than one process may have, as several processes of this program: each
//! has a part of the trackers and of the rate, tells what it counts line by line, and this one adds up.
//!
//! They begin at the same moment and are bounded as the whole is; one that ends without its counts fails
//! the run.

use super::count::Counts;
use super::{Args, bar};
use crate::cli::{Exit, Failure};
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Files that are no connections, of one process.
const FILES_BESIDES: u64 = 64;
/// The most processes.
const PROCESSES_MAX: u32 = 200;
/// From the start of the processes to the beginning of the run: so long, and so long for each.
const START_MS: (i64, i64) = (500, 20);

/// What a part says: how far it is, and at last all that it has counted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    So { frames: u64, acked: u64 },
    All { counts: Counts, took: Duration },
}

impl Line {
    /// Says it. Who asked may have gone: then nobody is told.
    pub(super) fn say(&self) {
        if let Ok(text) = serde_json::to_string(self) {
            _ = writeln!(std::io::stdout().lock(), "{text}");
        }
    }
}

/// Takes as many files as may be taken. Gives back how many; none: as many as there are.
pub(super) fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.maximum,
        Err(_) => before,
    }
}

/// How many processes a run of so many trackers takes.
pub(super) fn count(args: &Args, trackers: u32, files: Option<u64>) -> u32 {
    let all = [trackers, args.silent, args.slow, args.garbage];
    let connections: u64 = all.map(u64::from).iter().sum();
    let needed = files.map_or(1, |files| {
        let each = (files - FILES_BESIDES.min(files / 4)).max(1);
        u32::try_from(connections.div_ceil(each)).unwrap_or(u32::MAX)
    });
    let wanted = args.processes.unwrap_or(1).max(needed);
    wanted.clamp(1, trackers.clamp(1, PROCESSES_MAX))
}

/// Number `part` of `parts` of a number: where it begins, and how much it is.
fn share(of: u32, part: u32, parts: u32) -> (u32, u32) {
    let at = |part: u32| u64::from(of) * u64::from(part) / u64::from(parts);
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let (begin, end) = (at(part), at(part + 1));
    (narrow(begin), narrow(end - begin))
}

/// Children that are ended with this process's wish to go on.
struct Parts(Vec<Child>);

impl Drop for Parts {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // one that has ended already is only waited for
            _ = child.kill();
            _ = child.wait();
        }
    }
}

/// Runs it in so many processes.
pub(super) fn run(
    args: &Args,
    first_ident: u64,
    trackers: u32,
    rate: Option<u32>,
    parts: u32,
) -> Result<(Counts, Duration), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Software, error);
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let begin_ms = crate::cli::now_ms() + START_MS.0 + START_MS.1 * i64::from(parts);
    let (lines, line) = mpsc::channel();
    let mut children = Parts(Vec::new());
    for part in 0..parts {
        let (first, own) = share(trackers, part, parts);
        let of = |number| share(number, part, parts).1.to_string();
        let mut command = Command::new(&program);
        command.arg("load").args(&args.to);
        command.args(["--protocol", args.protocol.name()]);
        command.args(["--trackers", &own.to_string()]);
        command.args(["--ident", &(first_ident + u64::from(first)).to_string()]);
        command.args(["--part-of", &trackers.to_string()]);
        command.args(["--begin-ms", &begin_ms.to_string()]);
        command.args(["--for", &args.seconds.to_string()]);
        command.args(["--records", &args.records.to_string()]);
        command.args(["--window", &args.window.to_string()]);
        command.args(["--sources", &args.sources.to_string()]);
        command.args(["--answer-wait", &args.answer_wait.to_string()]);
        command.args(["--grace", &args.grace.to_string()]);
        command.args(["--silent", &of(args.silent)]);
        command.args(["--slow", &of(args.slow)]);
        command.args(["--garbage", &of(args.garbage)]);
        let optional = [
            ("--frames", args.frames),
            ("--rate", rate.map(u64::from)),
            ("--break-every", args.break_every.map(u64::from)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                command.args([name, &value.to_string()]);
            }
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        let said = child.stdout.take();
        children.0.push(child);
        let lines = lines.clone();
        std::thread::spawn(move || {
            let said = said.map(BufReader::new).into_iter();
            for text in said.flat_map(|said| said.lines().map_while(Result::ok)) {
                let part = part as usize;
                match serde_json::from_str::<Line>(&text) {
                    // who adds up may have given up
                    Ok(line) => _ = lines.send((part, line)),
                    Err(error) => tracing::debug!(%error, text, "no line of a part"),
                }
            }
        });
    }
    drop(lines);
    let bar = bar(args.seconds);
    let mut so_far = vec![(0, 0); parts as usize];
    let (mut sum, mut took, mut ended) = (Counts::default(), Duration::ZERO, 0);
    // ends when each of them has closed its output
    for (part, line) in line {
        match line {
            Line::So { frames, acked } => {
                if let Some(of) = so_far.get_mut(part) {
                    *of = (frames, acked);
                }
                let elapsed = (crate::cli::now_ms() - begin_ms).max(0) / 1_000;
                let elapsed = u64::try_from(elapsed).unwrap_or(0);
                bar.set_position(elapsed.min(args.seconds.into()));
                let all = so_far
                    .iter()
                    .fold((0, 0), |all, of| (all.0 + of.0, all.1 + of.1));
                bar.set_message(format!("{} of {} frames acked", all.1, all.0));
            }
            Line::All {
                counts,
                took: its_own,
            } => {
                sum.add(&counts);
                took = took.max(its_own);
                ended += 1;
            }
        }
    }
    bar.finish_and_clear();
    if ended < parts {
        let what = format!(
            "{} of {parts} processes ended before they had counted",
            parts - ended
        );
        return Err(Failure::new(Exit::Software, what));
    }
    Ok((sum, took))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_a_number_are_all_of_it_and_differ_by_one_at_most() {
        for of in [0, 1, 7, 20, 1_000_000] {
            for parts in 1..9 {
                let mut next = 0;
                for part in 0..parts {
                    let (begin, count) = share(of, part, parts);
                    assert_eq!(begin, next);
                    assert!(count >= of / parts && count <= of / parts + 1);
                    next += count;
                }
                assert_eq!(next, of);
            }
        }
    }
}
