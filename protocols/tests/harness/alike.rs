//! Which protocol do a connection's first bytes belong to? The matrix of every corpus frame against
//! every protocol's `probe`.
//!
//! Only frames that can begin a connection count: those that name their device. A frame that needs
//! a login before it is never the first. A channel of several protocols takes the first that says yes,
//! as the bytes come in; so a frame is told apart if its own protocol says yes, and no other does at
//! any length.
//!
//! What truly cannot be told apart stands in `fixtures/_alike.json` and nowhere else: the protocol the
//! frames are of, the one that takes them as well (or its own name: it does not recognise them), how many, and why.

use super::corpus::{self, Corpus};
use super::runner::{Registered, Runner};
use protocols::{PROTOCOLS, Probe, Protocol};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// The most bytes of a connection that a channel of several protocols looks at: what
/// `src/channel/bounds.rs` has.
const PROBE_BYTES_MAX: usize = 1024;

/// A pair that is known to be alike.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// Whose frames they are.
    pub(crate) protocol: String,
    /// Who takes them too; the protocol's own name if it does not know them.
    pub(crate) taken_by: String,
    /// How many of the corpus.
    pub(crate) frames: usize,
    /// Why that cannot be helped.
    pub(crate) reason: String,
}

/// A protocol's line of the matrix.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Frames that can begin a connection.
    pub(crate) all: usize,
    /// Of these, recognised by their own protocol.
    pub(crate) own: usize,
    /// Ids of frames that another protocol takes, or its own does not recognise.
    pub(crate) taken: BTreeMap<&'static str, Vec<String>>,
}

/// The pairs of `fixtures/_alike.json`.
pub(crate) fn pairs() -> Result<Vec<Pair>, String> {
    let path = corpus::fixtures().join("_alike.json");
    let text = std::fs::read_to_string(&path).map_err(|why| format!("_alike.json: {why}"))?;
    let rows: Vec<Json> =
        serde_json::from_str(&text).map_err(|why| format!("_alike.json: {why}"))?;
    rows.iter()
        .map(|row| {
            let text = |key: &str| {
                let text = row[key].as_str().filter(|text| !text.is_empty());
                text.map(str::to_owned).ok_or(format!("{row}: no {key}"))
            };
            Ok(Pair {
                protocol: text("protocol")?,
                taken_by: text("taken_by")?,
                frames: usize::try_from(row["frames"].as_u64().unwrap_or(0)).unwrap_or(0),
                reason: text("reason")?,
            })
        })
        .collect()
}

/// The line of `protocol`, if it has a corpus.
pub(crate) fn line(protocol: &'static Protocol) -> Result<Option<Line>, String> {
    let Some(corpus) = Corpus::read(protocol.info.name)? else {
        return Ok(None);
    };
    let mut line = Line::default();
    for vector in corpus.vectors.iter().filter(|vector| vector.as_stream) {
        if !begins(protocol, &vector.bytes) {
            continue;
        }
        line.all += 1;
        for candidate in PROTOCOLS {
            let is_own = candidate.number == protocol.number;
            let yes = recognises(candidate, &vector.bytes);
            line.own += usize::from(is_own && yes);
            if is_own != yes {
                let ids = line.taken.entry(candidate.info.name).or_default();
                ids.push(vector.id.clone());
            }
        }
    }
    Ok(Some(line))
}

/// Compares a line with the listed pairs.
pub(crate) fn judge(protocol: &Protocol, line: &Line, pairs: &[Pair]) -> Result<(), String> {
    let name = protocol.info.name;
    for (taken_by, ids) in &line.taken {
        let pair = pairs
            .iter()
            .find(|pair| pair.protocol == name && pair.taken_by == **taken_by);
        if pair.is_none_or(|pair| pair.frames != ids.len()) {
            let what = if *taken_by == name {
                "are not recognised".to_owned()
            } else {
                format!("are taken by {taken_by}")
            };
            let listed = pair.map_or(0, |pair| pair.frames);
            return Err(format!(
                "{} frames of {name} {what}, {listed} are listed: {ids:?}",
                ids.len()
            ));
        }
    }
    let stray = pairs
        .iter()
        .find(|pair| pair.protocol == name && !line.taken.contains_key(pair.taken_by.as_str()));
    stray.map_or(Ok(()), |pair| {
        Err(format!(
            "{name} and {} are told apart, but listed: {}",
            pair.taken_by, pair.reason
        ))
    })
}

/// Do these bytes name a device, though nothing came before them?
fn begins(protocol: &Protocol, bytes: &[u8]) -> bool {
    const NOW_MS: i64 = 1_795_477_360_000;
    let mut runner = Runner::open(protocol, Registered::default(), NOW_MS);
    let lines = runner.feed(bytes, false);
    lines.iter().any(|line| line.get("login").is_some())
}

/// Does it say yes at some number of first bytes, before it says no?
fn recognises(protocol: &Protocol, bytes: &[u8]) -> bool {
    (1..=bytes.len().min(PROBE_BYTES_MAX))
        .filter_map(|length| bytes.get(..length))
        .map(protocol.probe)
        .find(|probe| *probe != Probe::More)
        == Some(Probe::Yes)
}
