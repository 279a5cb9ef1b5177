//! `instructions`: what decoding costs in instructions, by callgrind, beside the nanoseconds of
//! benches/decode. They do not depend on what else the machine does, so two commits can be
//! compared by them.
//!
//! The chore runs itself under valgrind, once reading the protocol's corpus a few times and once
//! many times: the difference is what reading costs, without start and set-up.

use crate::harness::corpus::Corpus;
use anyhow::{Context as _, Result, anyhow, bail};
use protocols::{Env, Event, Output, PROTOCOLS, Protocol, Session, Unregistered};
use std::hint::black_box;
use std::process::Command;

const NOW_MS: i64 = 1_795_490_000_000;
/// How often the corpus is read: the few times, and the many.
const ROUNDS: (u64, u64) = (1, 21);

/// Counts for the protocols named, or for all.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let [flag, name, rounds] = arguments
        && flag == "--read"
    {
        let protocol = protocols::find(name).context("no such protocol")?;
        return read(protocol, rounds.parse().context("a number of rounds")?);
    }
    if cfg!(debug_assertions) {
        bail!("these are figures of a release build: cargo run --release -p xtask -- instructions");
    }
    let chosen: Vec<&Protocol> = if arguments.is_empty() {
        PROTOCOLS.iter().collect()
    } else {
        let found = arguments.iter().map(|name| protocols::find(name));
        found
            .collect::<Option<_>>()
            .context("no such protocol: say names, or none for all")?
    };
    crate::say("protocol         frames   a frame  a record");
    for protocol in chosen {
        let name = protocol.info.name;
        let (frames, records) = sizes(&frames(protocol)?);
        if frames == 0 {
            continue;
        }
        let (few, many) = ROUNDS;
        let spent = counted(name, many)?.saturating_sub(counted(name, few)?) / (many - few);
        crate::say(&format!(
            "{name:<14} {frames:>8} {:>9} {:>9}",
            spent / frames,
            spent / records
        ));
    }
    Ok(())
}

/// How many frames, and records in them.
fn sizes(frames: &[Frame]) -> (u64, u64) {
    let records = frames.iter().map(|frame| frame.records).sum();
    (frames.len() as u64, records)
}

/// The instructions of this program while it reads the corpus so often.
fn counted(name: &str, rounds: u64) -> Result<u64> {
    let this = std::env::current_exe().context("this program's own path")?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["instructions", "--read", name, &rounds.to_string()])
        .output()
        .context("valgrind: is it installed?")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said
        .lines()
        .filter_map(|line| line.split_once("Collected :"))
        .find_map(|(_, count)| count.trim().parse().ok());
    match count {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(anyhow!("{name}: valgrind says no count:\n{said}")),
    }
}

/// A frame that brings messages.
struct Frame {
    bytes: Vec<u8>,
    records: u64,
}

fn read(protocol: &Protocol, rounds: u64) -> Result<()> {
    let mut out = Output::default();
    for frame in frames(protocol)? {
        let mut session = logged_in(protocol);
        for _ in 0..rounds {
            feed(session.as_mut(), &frame.bytes, &mut out);
        }
    }
    Ok(())
}

/// The vectors of the corpus that bring messages in a session of their own.
fn frames(protocol: &Protocol) -> Result<Vec<Frame>> {
    let corpus = Corpus::read(protocol.info.name).map_err(|why| anyhow!(why))?;
    let vectors = corpus.map(|corpus| corpus.vectors).unwrap_or_default();
    let mut out = Output::default();
    let frames = vectors.into_iter().filter_map(|vector| {
        feed(logged_in(protocol).as_mut(), &vector.bytes, &mut out);
        let messages = out.events.iter();
        let messages = messages.filter(|event| matches!(event, Event::Message { .. }));
        let records = messages.count() as u64;
        (records > 0).then_some(Frame {
            bytes: vector.bytes,
            records,
        })
    });
    Ok(frames.collect())
}

fn feed(session: &mut dyn Session, bytes: &[u8], out: &mut Output) {
    out.clear();
    let env = Env {
        now_ms: NOW_MS,
        lookup: &mut Unregistered,
        out,
    };
    black_box(session.feed(black_box(bytes), true, env));
}

fn logged_in(protocol: &Protocol) -> Box<dyn Session> {
    let mut session = (protocol.open)();
    let mut out = Output::default();
    let env = Env {
        now_ms: NOW_MS,
        lookup: &mut Unregistered,
        out: &mut out,
    };
    let begun = session.begin_as("123456789012345", env);
    assert!(begun.is_ok(), "digits are an ident of any protocol");
    session
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_has_frames_that_bring_messages() {
        for protocol in PROTOCOLS {
            let frames = frames(protocol).expect("its corpus");
            assert!(!frames.is_empty(), "{}", protocol.info.name);
            read(protocol, 1).expect("they are read");
        }
    }
}
