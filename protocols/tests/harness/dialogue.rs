//! A fixture: what the device sent, and under each input what came out.
//!
//! JSON lines. The first says where the bytes are from; the others are inputs and, under each
//! input, its outcomes:
//!
//! | line | means |
//! |---|---|
//! | `{"source":TEXT,"now_ms":MS,...}` | first line; further: `note`, `ident` (every connection begins as logged in under it), `settings` (of every device), `unregistered` (no device is known), `checked` (a flipped bit must not bring anything in: the frames have a checksum of 16 bits or more) |
//! | `{"hex":...}`, `{"text":...}` | input: one read |
//! | `{"connection":"new"}` | input: the next read is of a new connection |
//! | `{"eof":true}` | input: the peer sends no more |
//! | `{"wake":MS}` | input: the clock shows this now |
//! | `{"command":NAME,"properties":{...}}` | input: a command for the device |
//! | anything else | outcome, as `protocols::event_line` writes it; `{"fatal":...}`; `{"sent":HEX,...}` or `{"unsent":WHY}` of a command |

use super::runner::{Registered, Runner, hex};
use protocols::{Protocol, Settings};
use serde_json::Value as Json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One input of a dialogue.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Input {
    Bytes(Vec<u8>),
    NewConnection,
    Eof,
    Wake(i64),
    Command(String, Json),
}

/// An input as it stands in the file, and the outcomes under it.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) input: Input,
    line: String,
    pub(crate) outcomes: Vec<Json>,
}

/// A fixture file, read.
#[derive(Debug, Clone)]
pub(crate) struct Dialogue {
    path: PathBuf,
    head: String,
    pub(crate) now_ms: i64,
    pub(crate) ident: Option<String>,
    pub(crate) settings: Option<Settings>,
    pub(crate) unregistered: bool,
    pub(crate) checked: bool,
    pub(crate) turns: Vec<Turn>,
}

impl Dialogue {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let at = |line: usize, why: &str| format!("{}:{}: {why}", path.display(), line + 1);
        let text = std::fs::read_to_string(path).map_err(|e| at(0, &e.to_string()))?;
        let mut lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty());
        let (_, head) = lines.next().ok_or_else(|| at(0, "the file is empty"))?;
        let first: Json = serde_json::from_str(head).map_err(|e| at(0, &e.to_string()))?;
        if first["source"].as_str().is_none_or(str::is_empty) {
            return Err(at(
                0,
                "the first line must say where the bytes are from: \"source\"",
            ));
        }
        let now_ms = first["now_ms"].as_i64().ok_or_else(|| {
            at(
                0,
                "the first line must give the time of receipt: \"now_ms\"",
            )
        })?;
        let mut settings = None;
        for (key, value) in first["settings"].as_object().into_iter().flatten() {
            let value = value
                .as_str()
                .ok_or_else(|| at(0, "a setting must be a text"))?;
            settings
                .get_or_insert_with(Settings::default)
                .set(key, value)
                .map_err(|e| at(0, &e.to_string()))?;
        }
        let mut turns: Vec<Turn> = Vec::new();
        for (number, line) in lines {
            let json: Json = serde_json::from_str(line).map_err(|e| at(number, &e.to_string()))?;
            let input = input_of(&json).map_err(|why| at(number, why))?;
            match (input, turns.last_mut()) {
                (Some(input), _) => turns.push(Turn {
                    input,
                    line: line.to_owned(),
                    outcomes: Vec::new(),
                }),
                (None, Some(turn)) => turn.outcomes.push(json),
                (None, None) => return Err(at(number, "an outcome before any input")),
            }
        }
        Ok(Self {
            path: path.to_owned(),
            head: head.to_owned(),
            now_ms,
            ident: first["ident"].as_str().map(str::to_owned),
            settings,
            unregistered: first["unregistered"] == true,
            checked: first["checked"] == true,
            turns,
        })
    }

    /// Who is registered while it runs.
    pub(crate) fn lookup(&self) -> Registered {
        let settings = self.settings.clone().unwrap_or_default();
        Registered {
            settings: (!self.unregistered).then(|| Arc::new(settings)),
        }
    }

    /// A new connection of it.
    pub(crate) fn open(&self, protocol: &Protocol) -> Runner {
        let mut runner = Runner::open(protocol, self.lookup(), self.now_ms);
        if let Some(ident) = &self.ident {
            runner
                .begin_as(ident)
                .expect("the first line's ident is one");
        }
        runner
    }

    /// Runs it: the outcomes of each input. Reads are handed over in chunks of `chunk` bytes.
    pub(crate) fn run(
        &self,
        protocol: &Protocol,
        chunk: usize,
        misfits: &mut Vec<String>,
    ) -> Vec<Vec<Json>> {
        let mut runner = self.open(protocol);
        let mut outcomes = Vec::new();
        for turn in &self.turns {
            let lines = match &turn.input {
                Input::Bytes(bytes) => bytes
                    .chunks(chunk)
                    .flat_map(|bytes| runner.feed(bytes, false))
                    .collect(),
                Input::NewConnection => {
                    misfits.append(&mut runner.misfits);
                    let now_ms = runner.now_ms;
                    runner = self.open(protocol);
                    runner.now_ms = now_ms;
                    Vec::new()
                }
                Input::Eof => runner.feed(&[], true),
                Input::Wake(now_ms) => runner.wake(*now_ms),
                Input::Command(name, properties) => vec![runner.command(name, properties)],
            };
            outcomes.push(lines);
        }
        misfits.append(&mut runner.misfits);
        outcomes
    }

    /// The bytes of each connection, where nothing but reads makes it up.
    pub(crate) fn streams(&self) -> Vec<Vec<u8>> {
        let mut streams = vec![Vec::new()];
        for turn in &self.turns {
            match &turn.input {
                Input::Bytes(bytes) => streams
                    .last_mut()
                    .expect("it begins with one")
                    .extend_from_slice(bytes),
                Input::NewConnection => streams.push(Vec::new()),
                Input::Eof | Input::Wake(_) | Input::Command(..) => {}
            }
        }
        streams.retain(|stream| !stream.is_empty());
        streams
    }

    /// Is it made of reads alone?
    pub(crate) fn reads_only(&self) -> bool {
        self.turns
            .iter()
            .all(|turn| matches!(turn.input, Input::Bytes(_) | Input::NewConnection))
    }

    /// Writes the file again with these outcomes; head and inputs stay as they are.
    pub(crate) fn bless(&self, outcomes: &[Vec<Json>]) -> std::io::Result<()> {
        let mut text = format!("{}\n", self.head);
        for (turn, outcomes) in self.turns.iter().zip(outcomes) {
            writeln!(text, "{}", turn.line).expect("a String takes everything");
            for outcome in outcomes {
                writeln!(text, "{outcome}").expect("a String takes everything");
            }
        }
        std::fs::write(&self.path, text)
    }
}

fn input_of(json: &Json) -> Result<Option<Input>, &'static str> {
    let input = if let Some(text) = json["hex"].as_str() {
        Input::Bytes(protocols::kit::hex::decode(text).ok_or("\"hex\" holds something else")?)
    } else if let Some(text) = json["text"].as_str() {
        Input::Bytes(text.as_bytes().to_vec())
    } else if json["connection"] == "new" {
        Input::NewConnection
    } else if json["eof"] == true {
        Input::Eof
    } else if let Some(now_ms) = json["wake"].as_i64() {
        Input::Wake(now_ms)
    } else if let Some(name) = json["command"].as_str() {
        Input::Command(name.to_owned(), json["properties"].clone())
    } else {
        return Ok(None);
    };
    if matches!(&input, Input::Bytes(bytes) if bytes.is_empty()) {
        return Err("an input without bytes");
    }
    Ok(Some(input))
}

/// What differs between two runs, as a person reads it; empty if nothing does.
pub(crate) fn difference(turns: &[Turn], expected: &[Vec<Json>], actual: &[Vec<Json>]) -> String {
    let mut text = String::new();
    for ((turn, expected), actual) in turns.iter().zip(expected).zip(actual) {
        if expected == actual {
            continue;
        }
        let shown = match &turn.input {
            Input::Bytes(bytes) => hex(bytes),
            other => format!("{other:?}"),
        };
        writeln!(text, "\nafter {shown}").expect("a String takes everything");
        for line in expected {
            let mark = if actual.contains(line) { ' ' } else { '-' };
            writeln!(text, "  {mark} {line}").expect("a String takes everything");
        }
        for line in actual.iter().filter(|line| !expected.contains(line)) {
            writeln!(text, "  + {line}").expect("a String takes everything");
        }
        if expected.len() == actual.len() && expected.iter().all(|line| actual.contains(line)) {
            text += "  (the same lines in another order)\n";
        }
    }
    text
}
