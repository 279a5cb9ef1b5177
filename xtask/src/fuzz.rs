//! `fuzz`: changed bytes of the fixtures through the decoders, without any tool to install.
//!
//! Each run takes a seed (a read of a dialogue, a vector of the corpus), changes it (bits, bytes,
//! parts of other seeds, lengths), and gives it to `protocols::exercise`, which asserts the engine's
//! promises. It is not guided by coverage; `fuzz/` holds the target that is, for those who have
//! cargo-fuzz. A panic is the find: the bytes are printed and kept in `fuzz/finds/`.

use crate::harness::corpus::{self, Corpus};
use crate::harness::dialogue::Dialogue;
use crate::harness::trials::reads;
use anyhow::{Context as _, Result, anyhow, bail};
use protocols::{PROTOCOLS, Protocol};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The longest input.
const BYTES_MAX: usize = 8 * 1024;
/// A run that takes longer is a find too: a hang, or something of a wrong order.
const RUN_MAX: Duration = Duration::from_secs(2);
/// How many runs between two looks at the clock.
const ROUND: u64 = 500;

/// What the arguments ask for.
struct Plan {
    minutes: f64,
    /// Begins the random numbers: another one makes other inputs.
    seed: u64,
    chosen: Vec<&'static Protocol>,
}

impl Plan {
    fn of(arguments: &[String]) -> Result<Self> {
        let mut plan = Self {
            minutes: 1.0,
            seed: 0,
            chosen: Vec::new(),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut number = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} takes a number"))
            };
            match argument.as_str() {
                "--all" => plan.chosen.extend(PROTOCOLS),
                "--minutes" => plan.minutes = number()?.parse()?,
                "--seed" => plan.seed = number()?.parse()?,
                name => {
                    let protocol = protocols::find(name).context("no such protocol")?;
                    plan.chosen.push(protocol);
                }
            }
        }
        if plan.chosen.is_empty() {
            bail!("say which protocols, or --all");
        }
        Ok(plan)
    }
}

/// Runs as the arguments say. A find ends its protocol's time, not that of the others.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let plan = Plan::of(arguments)?;
    let each = Duration::try_from_secs_f64(plan.minutes * 60.0 / plan.chosen.len() as f64)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut all, mut finds) = (0, 0);
    for protocol in plan.chosen {
        let seeds = seeds(protocol)?;
        let done: Vec<Done> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads as u64)
                .map(|worker| {
                    let (seeds, seed) = (&seeds, plan.seed << 16 | worker);
                    scope.spawn(move || one(protocol, seeds, seed, each))
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?)
                .collect::<Result<_>>()
        })?;
        let runs: u64 = done.iter().map(|done| done.runs).sum();
        all += runs;
        crate::say(&format!("{}: {runs} runs", protocol.info.name));
        for path in done.iter().filter_map(|done| done.find.as_ref()) {
            finds += 1;
            crate::say(&format!("  a panic or a hang, kept in {}", path.display()));
        }
    }
    crate::say(&format!("{all} runs in all, {finds} finds"));
    if finds > 0 {
        bail!("{finds} finds");
    }
    Ok(())
}

/// What a worker did.
struct Done {
    runs: u64,
    find: Option<PathBuf>,
}

/// Runs one protocol for a while, or until something is found.
fn one(protocol: &Protocol, seeds: &[Vec<u8>], seed: u64, length: Duration) -> Result<Done> {
    let mut random = Random::seeded(u64::from(protocol.number) << 32 ^ seed);
    let begun = Instant::now();
    let mut runs = 0;
    while begun.elapsed() < length {
        for _ in 0..ROUND {
            let bytes = changed(seeds, &mut random);
            let at = Instant::now();
            let run = std::panic::catch_unwind(AssertUnwindSafe(|| {
                protocols::exercise(protocol, &bytes);
            }));
            runs += 1;
            if run.is_err() || at.elapsed() > RUN_MAX {
                let find = Some(keep(protocol, seed, &bytes)?);
                return Ok(Done { runs, find });
            }
        }
    }
    Ok(Done { runs, find: None })
}

/// Keeps the bytes of a find.
fn keep(protocol: &Protocol, seed: u64, bytes: &[u8]) -> Result<PathBuf> {
    let folder = crate::root().join("fuzz/finds");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{}-{seed}.hex", protocol.info.name));
    std::fs::write(&path, protocols::kit::hex::encode(bytes))?;
    Ok(path)
}

fn seeds(protocol: &Protocol) -> Result<Vec<Vec<u8>>> {
    let folder = corpus::fixtures().join(protocol.info.name);
    let mut seeds = vec![vec![0; 16]];
    for entry in std::fs::read_dir(&folder).into_iter().flatten() {
        let path = entry?.path();
        let own = !path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('_'));
        if own && let Ok(dialogue) = Dialogue::read(&path) {
            seeds.extend(reads(&dialogue).map(<[u8]>::to_vec));
            seeds.extend(dialogue.streams());
        }
    }
    if let Some(corpus) = Corpus::read(protocol.info.name).map_err(|why| anyhow!(why))? {
        seeds.extend(corpus.vectors.into_iter().map(|vector| vector.bytes));
    }
    seeds.retain(|seed| !seed.is_empty());
    for seed in &mut seeds {
        seed.truncate(BYTES_MAX / 2);
    }
    Ok(seeds)
}

/// A seed with random changes.
fn changed(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random| {
        let index = random.below(seeds.len());
        seeds.get(index).map_or(&[][..], Vec::as_slice)
    };
    let mut bytes = pick(random).to_vec();
    for _ in 0..=random.below(6) {
        let place = random.below(bytes.len().max(1));
        match random.below(9) {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << random.below(8);
                }
            }
            2 => {
                let value = random.byte();
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = value;
                }
            }
            3 => {
                // what overflows: the ends of every range
                let extreme = [0, 0xff, 0x7f, 0x80, 0x30, 0x2c];
                let value = *extreme.get(random.below(extreme.len())).unwrap_or(&0);
                for byte in bytes.iter_mut().skip(place).take(1 + random.below(8)) {
                    *byte = value;
                }
            }
            4 => bytes.truncate(place),
            5 => {
                let value = random.byte();
                bytes.insert(place.min(bytes.len()), value);
            }
            6 => {
                let end = (place + 1 + random.below(8)).min(bytes.len());
                bytes.drain(place.min(end)..end);
            }
            7 => {
                let other = pick(random);
                let from = random.below(other.len().max(1));
                bytes.truncate(place);
                bytes.extend_from_slice(other.get(from..).unwrap_or_default());
            }
            _ => bytes.extend_from_slice(pick(random)),
        }
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

/// Numbers that look random: xorshift, repeatable.
struct Random(u64);

impl Random {
    fn seeded(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}
