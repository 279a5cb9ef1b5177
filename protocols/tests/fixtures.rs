//! Every fixture of every protocol, with the trials that each gets for free, and each protocol's
//! imported corpus. There is no code per fixture: a file in `fixtures/<protocol>/` is a test.
//!
//! `cargo test -p protocols --test fixtures NAME` runs those whose name holds NAME;
//! `BLESS=1` rewrites the outcomes of dialogues that changed, never their inputs.

mod harness;

use harness::alike;
use harness::corpus::{self, Corpus, Verdict};
use harness::dialogue::Dialogue;
use harness::trials::{TRIALS, reads};
use libtest_mimic::{Arguments, Failed, Trial};
use proptest::strategy::Strategy as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use protocols::{PROTOCOLS, Protocol};
use std::sync::{Arc, OnceLock};

/// How many inputs of random bytes each protocol gets.
const RANDOM_CASES: u32 = 400;
/// The longest of them.
const RANDOM_BYTES_MAX: usize = 700;

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for protocol in PROTOCOLS {
        dialogues(protocol, &mut trials);
        vectors(protocol, &mut trials);
        random(protocol, &mut trials);
        trials.push(Trial::test(
            format!("{}::told apart by first bytes", protocol.info.name),
            || told_apart(protocol),
        ));
    }
    trials.push(Trial::test(
        "docs::message-fields.md is the dictionary",
        fields_page,
    ));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn told_apart(protocol: &'static Protocol) -> Result<(), Failed> {
    match alike::line(protocol)? {
        Some(line) => Ok(alike::judge(protocol, &line, &alike::pairs()?)?),
        None => Ok(()),
    }
}

fn fields_page() -> Result<(), Failed> {
    let page = corpus::fixtures().join("../docs/message-fields.md");
    if std::fs::read_to_string(page)? == harness::docs::message_fields() {
        Ok(())
    } else {
        Err("it is not what the code says: run `cargo xtask fields`".into())
    }
}

fn dialogues(protocol: &'static Protocol, trials: &mut Vec<Trial>) {
    let name = protocol.info.name;
    for path in files(protocol) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let read = Dialogue::read(&path).map(Arc::new);
        for (trial_name, trial) in TRIALS {
            let read = read.clone();
            trials.push(Trial::test(
                format!("{name}::{stem}::{trial_name}"),
                move || trial(protocol, &*read?).map_err(Failed::from),
            ));
        }
    }
}

/// The dialogues of a protocol, in name order. Files that begin with `_` are something else.
fn files(protocol: &Protocol) -> Vec<std::path::PathBuf> {
    let folder = corpus::fixtures().join(protocol.info.name);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .filter(|path| {
            !path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('_'))
        })
        .collect();
    files.sort();
    files
}

fn vectors(protocol: &'static Protocol, trials: &mut Vec<Trial>) {
    let name = protocol.info.name;
    let corpus = match Corpus::read(name) {
        Ok(Some(corpus)) => Arc::new(corpus),
        Ok(None) => return,
        Err(why) => {
            trials.push(Trial::test(format!("{name}::corpus"), move || {
                Err(why.into())
            }));
            return;
        }
    };
    let exceptions = corpus::exceptions(name).map(Arc::new);
    let verdicts: Arc<OnceLock<Vec<Verdict>>> = Arc::default();
    for (index, vector) in corpus.vectors.iter().enumerate() {
        let (corpus, exceptions, verdicts) = (
            Arc::clone(&corpus),
            exceptions.clone(),
            Arc::clone(&verdicts),
        );
        let part = if vector.prelude { "prelude" } else { "corpus" };
        trials.push(Trial::test(
            format!("{name}::{part}::{}", vector.id),
            move || {
                let exceptions = exceptions?;
                let id = &corpus.vectors[index].id;
                let exception = exceptions.iter().find(|exception| exception.id == *id);
                let verdicts = verdicts.get_or_init(|| corpus.run(protocol));
                corpus::judge(&verdicts[index], exception).map_err(Failed::from)
            },
        ));
    }
    let ids: Vec<String> = corpus
        .vectors
        .iter()
        .map(|vector| vector.id.clone())
        .collect();
    trials.push(Trial::test(
        format!("{name}::corpus exceptions name vectors"),
        move || match exceptions?
            .iter()
            .find(|exception| !ids.contains(&exception.id))
        {
            Some(stray) => Err(format!("{} is no vector ({})", stray.id, stray.reason).into()),
            None => Ok(()),
        },
    ));
    trials.push(Trial::test(
        format!("{name}::corpus ten joined in one read"),
        move || corpus.ten_joined(protocol).map_err(Failed::from),
    ));
}

/// Random bytes, and real ones with random changes, neither panic nor grow anything.
fn random(protocol: &'static Protocol, trials: &mut Vec<Trial>) {
    let name = protocol.info.name;
    trials.push(Trial::test(format!("{name}::random bytes"), move || {
        let mut seeds: Vec<Vec<u8>> = files(protocol)
            .iter()
            .filter_map(|path| Dialogue::read(path).ok())
            .flat_map(|dialogue| reads(&dialogue).map(<[u8]>::to_vec).collect::<Vec<_>>())
            .collect();
        if let Ok(Some(corpus)) = Corpus::read(name) {
            seeds.extend(corpus.vectors.into_iter().map(|vector| vector.bytes));
        }
        seeds.push(Vec::new());
        let noise = proptest::collection::vec(proptest::num::u8::ANY, 1..RANDOM_BYTES_MAX);
        let changes =
            proptest::collection::vec((proptest::num::usize::ANY, proptest::num::u8::ANY), 0..12);
        let bytes = (noise, 0..seeds.len() * 2, changes).prop_map(move |(noise, seed, changes)| {
            let Some(seed) = seeds.get(seed) else {
                return noise;
            };
            let mut bytes = seed.clone();
            bytes.truncate(8 * RANDOM_BYTES_MAX);
            let length = bytes.len().max(1);
            for (place, byte) in changes {
                if let Some(changed) = bytes.get_mut(place % length) {
                    *changed = byte;
                }
            }
            bytes.extend(noise.into_iter().take(40));
            bytes
        });
        let config = Config {
            cases: RANDOM_CASES,
            failure_persistence: None,
            ..Config::default()
        };
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        TestRunner::new_with_rng(config, rng)
            .run(&bytes, |bytes| {
                protocols::exercise(protocol, &bytes);
                Ok(())
            })
            .map_err(|why| Failed::from(why.to_string()))
    }));
}
