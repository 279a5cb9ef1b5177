//! The imported corpus: every vector through the decoder, compared with what the reference made
//! of it.
//!
//! `fixtures/<protocol>/_corpus.jsonl` is written by `cargo xtask import-corpus`; the first line
//! says where it is from, each other line is one vector. Vectors with the same `session` belong
//! to one connection, in order.
//!
//! What is compared: the frames that are cut (vectors of kind `frame`), the number of records
//! with a place, their time, validity, latitude and longitude (0.00001 degrees), altitude, speed
//! (0.1 km/h), course, the parameters that `attributes` maps, the first cell tower, the ident, and
//! the replies byte for byte at each clock for which the reference gave one. A vector whose
//! checksum is wrong must not bring anything in.
//!
//! Exceptions stand in `fixtures/_exceptions.json` and nowhere else: `{id, protocol, reason}`,
//! with `differs`, the labels of what differs, if the rest of the vector is to be equal. An
//! exception that is not needed is a failure.

use super::attributes;
use super::runner::{Registered, Runner};
use protocols::{Protocol, Settings};
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The clock where the reference did not depend on it.
const NOW_MS: i64 = 1_795_477_360_000;
/// How many clocks the reference was run at.
const CLOCKS: usize = 3;
/// A connection is changed before it has carried so many idents.
const IDENTS_MAX: usize = 100;
/// The most cell towers of a record.
const CELLS_MAX: usize = 64;

/// The folder of all fixtures.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// A protocol's corpus.
pub(crate) struct Corpus {
    /// Is the ident said once, at login?
    pub(crate) by_login: bool,
    pub(crate) vectors: Vec<Vector>,
}

/// One vector, as it stands in the file.
pub(crate) struct Vector {
    pub(crate) id: String,
    session: String,
    kind: String,
    pub(crate) prelude: bool,
    /// Are the bytes as they come over TCP?
    pub(crate) as_stream: bool,
    checksum_ok: bool,
    model: Option<String>,
    format: Option<String>,
    pub(crate) bytes: Vec<u8>,
    frames: Vec<Vec<u8>>,
    idents: Vec<String>,
    positions: Vec<Map<String, Json>>,
    volatile_time: bool,
    clocks: Vec<i64>,
    replies: [Vec<u8>; CLOCKS],
}

/// What came of a vector.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    /// What differs: label and how.
    pub(crate) differences: Vec<(String, String)>,
    /// How many records with a place the reference has.
    pub(crate) fixes: usize,
    /// How many parameters were compared.
    pub(crate) parameters: usize,
    /// Has the reference an answer to it?
    pub(crate) replied: bool,
}

impl Verdict {
    fn differs(&mut self, label: &str, how: String) {
        self.differences.push((label.to_owned(), how));
    }
}

/// An entry of the exceptions' file.
#[derive(Debug, Clone)]
pub(crate) struct Exception {
    pub(crate) id: String,
    pub(crate) reason: String,
    differs: Option<BTreeSet<String>>,
}

/// The exceptions of `protocol`.
pub(crate) fn exceptions(protocol: &str) -> Result<Vec<Exception>, String> {
    let path = fixtures().join("_exceptions.json");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    // line by line, so that merging two branches' lines cannot break it
    let all: Vec<Json> = text
        .lines()
        .map(|line| line.trim().trim_end_matches(','))
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).map_err(|e| format!("{}: {e}", path.display())))
        .collect::<Result<_, _>>()?;
    all.iter()
        .filter(|entry| entry["protocol"] == protocol)
        .map(|entry| {
            let text = |key: &str| {
                entry[key]
                    .as_str()
                    .filter(|text| !text.is_empty())
                    .map(str::to_owned)
                    .ok_or_else(|| format!("{}: {entry} has no {key}", path.display()))
            };
            let differs = entry["differs"].as_array().map(|labels| {
                labels
                    .iter()
                    .filter_map(Json::as_str)
                    .map(str::to_owned)
                    .collect()
            });
            Ok(Exception {
                id: text("id")?,
                reason: text("reason")?,
                differs,
            })
        })
        .collect()
}

/// Is the verdict as the exception, or its absence, says?
pub(crate) fn judge(verdict: &Verdict, exception: Option<&Exception>) -> Result<(), String> {
    let found: BTreeSet<String> = verdict
        .differences
        .iter()
        .map(|(label, _)| label.clone())
        .collect();
    let shown = || {
        let lines: Vec<String> = verdict
            .differences
            .iter()
            .map(|(label, how)| format!("\n  {label}: {how}"))
            .collect();
        lines.concat()
    };
    match exception {
        None if found.is_empty() => Ok(()),
        None => Err(shown()),
        Some(_) if found.is_empty() => {
            Err("it is excepted, and passes: take the exception out".into())
        }
        Some(exception) => match &exception.differs {
            Some(differs) if *differs != found => Err(format!(
                "it is excepted for {differs:?}, but differs otherwise:{}",
                shown()
            )),
            _ => Ok(()),
        },
    }
}

impl Corpus {
    /// Reads a protocol's corpus; `None` if it has none.
    pub(crate) fn read(protocol: &str) -> Result<Option<Self>, String> {
        let path = fixtures().join(protocol).join("_corpus.jsonl");
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Ok(None);
        };
        let mut lines = text.lines().map(|line| {
            serde_json::from_str::<Json>(line).map_err(|e| format!("{}: {e}", path.display()))
        });
        let head = lines.next().ok_or("an empty corpus")??;
        let vectors = lines
            .map(|line| {
                Vector::of(&line?).ok_or_else(|| format!("{}: a bad vector", path.display()))
            })
            .collect::<Result<_, String>>()?;
        Ok(Some(Self {
            by_login: head["ident"] == "login",
            vectors,
        }))
    }

    /// Runs all of it: a verdict for each vector.
    pub(crate) fn run(&self, protocol: &Protocol) -> Vec<Verdict> {
        let mut verdicts: Vec<Verdict> = self.vectors.iter().map(|_| Verdict::default()).collect();
        for clock in 0..CLOCKS {
            let mut runner: Option<Runner> = None;
            let mut session = "";
            let mut ident: Option<String> = None;
            for (vector, verdict) in self.vectors.iter().zip(&mut verdicts) {
                let settings = vector.settings();
                let now_ms = vector.clocks.get(clock).copied().unwrap_or(NOW_MS);
                if vector.session != session {
                    session = &vector.session;
                    runner = None;
                    ident = None;
                }
                if vector.kind == "frame" {
                    if clock == 0 {
                        vector.compare_frames(protocol, settings, verdict);
                    }
                    continue;
                }
                runner = runner.filter(|runner| !runner.closed() && runner.idents() < IDENTS_MAX);
                if self.by_login && vector.login_is_missing(protocol, ident.as_deref()) {
                    runner = None;
                    ident = None;
                }
                let changed = runner
                    .as_ref()
                    .is_none_or(|runner| runner.lookup.settings != Some(settings.clone()));
                let runner = runner
                    .get_or_insert_with(|| Runner::open(protocol, Registered::default(), now_ms));
                runner.now_ms = now_ms;
                runner.lookup.settings = Some(settings);
                if changed {
                    let named = vector.positions.first().and_then(|p| p["ident"].as_str());
                    let under = ident.as_deref().or(named);
                    let under = under.or(self.by_login.then_some("123456789012345"));
                    if let Some(under) = under.filter(|_| self.by_login || ident.is_some()) {
                        runner.begin_as(under).expect("the corpus' idents fit");
                    }
                }
                runner.drop_unread();
                let lines = if vector.as_stream {
                    runner.feed(&vector.bytes, false)
                } else {
                    runner.read_frame(&vector.bytes)
                };
                ident = runner.ident().or(ident);
                vector.compare(protocol, clock, &lines, ident.as_deref(), verdict);
            }
        }
        verdicts
    }

    /// Ten vectors of a session joined in one read say what they say one by one.
    pub(crate) fn ten_joined(&self, protocol: &Protocol) -> Result<(), String> {
        let mut sessions: Vec<(&str, Vec<&Vector>)> = Vec::new();
        for vector in self
            .vectors
            .iter()
            .filter(|v| v.kind == "decode" && v.as_stream && v.checksum_ok)
        {
            match sessions.last_mut() {
                Some((session, vectors)) if *session == vector.session => vectors.push(vector),
                _ => sessions.push((&vector.session, vec![vector])),
            }
        }
        for ten in sessions.iter().flat_map(|(_, vectors)| vectors.chunks(10)) {
            let open = || {
                let settings = ten.first().map(|vector| vector.settings());
                let mut runner = Runner::open(protocol, Registered { settings }, NOW_MS);
                if self.by_login {
                    runner.begin_as("123456789012345").expect("an ident");
                }
                runner
            };
            let (mut apart, mut expected, mut stream) = (open(), Vec::new(), Vec::new());
            for vector in ten {
                if vector.settings() != ten.first().expect("ten or less, not none").settings() {
                    continue;
                }
                let lines = apart.feed(&vector.bytes, false);
                if apart.closed() || !apart.unread().is_empty() {
                    apart = open();
                    (expected, stream) = (Vec::new(), Vec::new());
                    continue;
                }
                expected.extend(lines);
                stream.extend_from_slice(&vector.bytes);
            }
            let together = open().feed(&stream, false);
            super::trials::same_lines(&expected, &together)?;
        }
        Ok(())
    }
}

impl Vector {
    fn of(line: &Json) -> Option<Self> {
        let text = |key: &str| line[key].as_str().map(str::to_owned);
        let bytes = |value: &Json| protocols::kit::hex::decode(value.as_str()?);
        let mut replies: [Vec<u8>; CLOCKS] = Default::default();
        let mut clocks: Vec<i64> = line["clocks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Json::as_i64)
            .collect();
        for reply in line["replies"].as_array().into_iter().flatten() {
            for (clock, replies) in replies.iter_mut().enumerate() {
                let (at, hex) = match reply {
                    Json::String(_) => (None, bytes(reply)?),
                    _ => (reply[clock][0].as_i64(), bytes(&reply[clock][1])?),
                };
                replies.extend(hex);
                if let (Some(at), true) = (at, clocks.len() == clock) {
                    clocks.push(at);
                }
            }
        }
        Some(Self {
            id: text("id")?,
            session: text("session")?,
            kind: text("kind")?,
            prelude: line["prelude"] == true,
            as_stream: line["as_stream"] != false,
            checksum_ok: line["checksum_ok"] != false,
            model: text("model"),
            format: text("format"),
            bytes: bytes(&line["hex"])?,
            frames: line["frames"]
                .as_array()
                .into_iter()
                .flatten()
                .map(bytes)
                .collect::<Option<_>>()?,
            idents: line["idents"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|ident| ident.as_str().map(str::to_owned))
                .collect(),
            positions: line["positions"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|position| position.as_object().cloned())
                .collect(),
            volatile_time: line["volatile"] == true,
            clocks,
            replies,
        })
    }

    fn settings(&self) -> Arc<Settings> {
        let mut settings = Settings::default();
        for (key, value) in [("model", &self.model), ("format", &self.format)] {
            if let Some(value) = value {
                settings
                    .set(key, value)
                    .expect("model and format take any text");
            }
        }
        Arc::new(settings)
    }

    /// Does it stand under another ident than the connection's, though it names none? Then its
    /// login is among the vectors that were kept back.
    fn login_is_missing(&self, protocol: &Protocol, ident: Option<&str>) -> bool {
        let canonical = |text: &str| protocol.ident(text).map(|ident| ident.to_string()).ok();
        let under = self.positions.iter().find_map(|p| p["ident"].as_str());
        self.idents.is_empty() && under.is_some_and(|under| canonical(under).as_deref() != ident)
    }

    /// A vector of kind `frame`: the frames cut are those, give or take the marks around them.
    fn compare_frames(&self, protocol: &Protocol, settings: Arc<Settings>, verdict: &mut Verdict) {
        let lookup = Registered {
            settings: Some(settings),
        };
        let mut runner = Runner::open(protocol, lookup, NOW_MS);
        runner.feed(&self.bytes, false);
        let cut: Vec<(&[u8], bool)> = runner
            .pieces
            .iter()
            .filter_map(|piece| {
                let bytes = self.bytes.get(piece.start..piece.start + piece.length)?;
                Some((bytes, piece.noise))
            })
            .collect();
        let mut left = cut.iter();
        for frame in &self.frames {
            // noise between frames may be what the reference gives as a frame: a keep-alive byte
            let found = left.find(|(found, noise)| !noise || found == frame);
            if !found.is_some_and(|(found, _)| same_frame(found, frame)) {
                let found = found.map_or("none".to_owned(), |(found, _)| super::runner::hex(found));
                verdict.differs(
                    "frames",
                    format!("expected {} but cut {found}", super::runner::hex(frame)),
                );
            }
        }
        if self.frames.is_empty()
            && let Some((found, _)) = left.find(|(_, noise)| !noise)
        {
            verdict.differs(
                "frames",
                format!("cut {} of noise", super::runner::hex(found)),
            );
        }
    }

    fn compare(
        &self,
        protocol: &Protocol,
        clock: usize,
        lines: &[Json],
        ident: Option<&str>,
        verdict: &mut Verdict,
    ) {
        let messages: Vec<&Map<String, Json>> = lines
            .iter()
            .filter_map(|line| line["message"].as_object())
            .collect();
        let replies: Vec<u8> = lines
            .iter()
            .filter_map(|line| protocols::kit::hex::decode(line["reply"].as_str()?))
            .flatten()
            .collect();
        let rejected = || {
            lines
                .iter()
                .find(|line| line.get("rejected").is_some() || line.get("fatal").is_some())
                .map_or(String::new(), |line| format!(" ({line})"))
        };
        if !self.checksum_ok {
            let stored = lines.iter().any(|line| line["gate"] == "stored");
            if !messages.is_empty() || stored {
                verdict.differs("checksum", "a frame with a wrong checksum came in".into());
            }
            return;
        }
        verdict.replied = !self.replies[0].is_empty();
        if replies != self.replies[clock] {
            verdict.differs(
                "reply",
                format!(
                    "expected {} but answered {}{}",
                    shown(&self.replies[clock]),
                    shown(&replies),
                    rejected()
                ),
            );
        }
        if clock > 0 {
            return;
        }
        let canonical = |text: &str| protocol.ident(text).map(|ident| ident.to_string());
        if !self.idents.is_empty()
            && !self
                .idents
                .iter()
                .any(|theirs| canonical(theirs).ok().as_deref() == ident)
        {
            verdict.differs("ident", format!("{:?}, ours is {ident:?}", self.idents));
        }
        if self.kind == "stream" {
            if !messages.iter().any(|message| has_place(message)) {
                verdict.differs("count", format!("no record with a place{}", rejected()));
            }
            return;
        }
        for (theirs_placed, label) in [(true, "records with a place"), (false, "records without")] {
            let theirs: Vec<_> = self
                .positions
                .iter()
                .filter(|position| their_place(position) == theirs_placed)
                .collect();
            let ours: Vec<_> = if self.positions.len() == messages.len() {
                // the same number: the nth is the nth, whether we give it a place or not
                let placed = self.positions.iter().map(their_place);
                messages
                    .iter()
                    .zip(placed)
                    .filter(|(_, placed)| *placed == theirs_placed)
                    .map(|(message, _)| *message)
                    .collect()
            } else {
                messages
                    .iter()
                    .filter(|message| has_place(message) == theirs_placed)
                    .copied()
                    .collect()
            };
            let too_many = theirs_placed && ours.len() > theirs.len();
            if ours.len() < theirs.len() || too_many {
                verdict.differs(
                    "count",
                    format!(
                        "{} {label}, ours are {}{}",
                        theirs.len(),
                        ours.len(),
                        rejected()
                    ),
                );
            }
            for (theirs, ours) in theirs.into_iter().zip(ours) {
                if theirs_placed {
                    verdict.fixes += 1;
                }
                self.compare_record(protocol, theirs, ours, verdict);
            }
        }
    }

    fn compare_record(
        &self,
        protocol: &Protocol,
        theirs: &Map<String, Json>,
        ours: &Map<String, Json>,
        verdict: &mut Verdict,
    ) {
        let number = |object: &Map<String, Json>, key: &str| object.get(key).and_then(Json::as_f64);
        let slack = if self.volatile_time { 2.0 } else { 0.0011 };
        let fix = number(ours, "position.timestamp").or(number(ours, "timestamp"));
        let own = number(ours, "timestamp");
        for (key, time) in [("fixTime", fix), ("deviceTime", own)] {
            let Some(expected) = number(theirs, key).map(|ms| ms / 1000.0) else {
                continue;
            };
            // without a place only the record's own time counts; with one, only the fix's
            if their_place(theirs) != (key == "fixTime") {
                continue;
            }
            if !time.is_some_and(|time| (time - expected).abs() <= slack) {
                verdict.differs("time", format!("{key} {expected}, ours is {time:?}"));
            }
        }
        if their_place(theirs) {
            let zero =
                number(theirs, "latitude") == Some(0.0) && number(theirs, "longitude") == Some(0.0);
            let mut near = |label: &str, name: &str, expected: f64, slack: f64| {
                let actual = number(ours, name);
                // what the reference has not, it gives as 0
                let absent = expected == 0.0 && actual.is_none();
                if !absent && !actual.is_some_and(|actual| (actual - expected).abs() <= slack) {
                    verdict.differs(label, format!("{name} {expected}, ours is {actual:?}"));
                }
            };
            let of = |key: &str| number(theirs, key).unwrap_or_default();
            near("place", "position.latitude", of("latitude"), 0.000_011);
            near("place", "position.longitude", of("longitude"), 0.000_011);
            near("altitude", "position.altitude", of("altitude"), 0.06);
            near("speed", "position.speed", of("speed") * 1.852, 0.1);
            near(
                "course",
                "position.direction",
                of("course").rem_euclid(360.0),
                0.06,
            );
            let valid = ours.get("position.valid").and_then(Json::as_bool);
            // 0,0 is no place, whatever the reference thinks of it
            if valid != theirs["valid"].as_bool() && !(zero && valid == Some(false)) {
                verdict.differs("valid", format!("{}, ours is {valid:?}", theirs["valid"]));
            }
        } else if has_place(ours) && theirs.get("outdated") == Some(&Json::Bool(true)) {
            verdict.differs("place", "the message brought no place, ours has one".into());
        }
        if let Some(ident) = theirs["ident"].as_str() {
            let canonical = protocol.ident(ident).map(|ident| ident.to_string());
            if canonical.ok().as_deref() != ours["ident"].as_str() {
                verdict.differs("ident", format!("{ident}, ours is {}", ours["ident"]));
            }
        }
        if let Some(attributes) = theirs["attributes"].as_object() {
            verdict.parameters += attributes::compare(
                protocol.info.name,
                attributes,
                ours,
                &mut verdict.differences,
            );
        }
        compare_cells(theirs, ours, verdict);
    }
}

/// The reference's towers are a set, so its first one must be among ours: the serving cell or a
/// neighbour. It fills in a country and network of its configuration when the wire has none.
fn compare_cells(theirs: &Map<String, Json>, ours: &Map<String, Json>, verdict: &mut Verdict) {
    let tower = &theirs.get("network").unwrap_or(&Json::Null)["cellTowers"][0];
    // zeros are no cell
    if !tower.is_object() || tower["cellId"] == 0 && tower["locationAreaCode"] == 0 {
        return;
    }
    let is_ours = |number: usize| {
        [
            ("mobileCountryCode", "gsm.mcc"),
            ("mobileNetworkCode", "gsm.mnc"),
            ("locationAreaCode", "gsm.lac"),
            ("cellId", "gsm.cellid"),
        ]
        .iter()
        .all(|(key, name)| {
            let numbered = format!("{name}.{number}");
            let name = if number == 0 { name } else { &*numbered };
            let actual = ours.get(name).and_then(Json::as_i64);
            let filled = key.starts_with("mobile") && actual.is_none();
            filled
                || tower[key]
                    .as_i64()
                    .is_none_or(|expected| actual == Some(expected))
        })
    };
    if !(0..=CELLS_MAX).any(is_ours) {
        let cells = ours.iter().filter(|(name, _)| name.starts_with("gsm."));
        let cells: Map<String, Json> = cells.map(|(n, v)| (n.clone(), v.clone())).collect();
        verdict.differs("cell", format!("{tower}, ours are {}", Json::from(cells)));
    }
}

/// Has the reference's position a place of its own?
fn their_place(position: &Map<String, Json>) -> bool {
    position.contains_key("latitude") && position.get("outdated") != Some(&Json::Bool(true))
}

fn has_place(message: &Map<String, Json>) -> bool {
    message.contains_key("position.latitude")
}

/// Is `found` the reference's `frame`, with or without the marks and escapes around it?
fn same_frame(found: &[u8], frame: &[u8]) -> bool {
    protocols::kit::framing::find(found, frame).is_some()
        || found.len().abs_diff(frame.len()) <= found.len() / 8 + 4
            && found.iter().filter(|byte| frame.contains(byte)).count() * 8 >= frame.len() * 7
}

fn shown(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        "nothing".to_owned()
    } else {
        super::runner::hex(bytes)
    }
}
