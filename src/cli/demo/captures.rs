//! The fixture captures, in the binary: real conversations of four protocols' trackers.

use super::show::Stage;
use crate::cli::{Exit, Failure};
use crate::replay::player::{self, Outcome, Plan, Played};
use crate::replay::{From, Known, Recording, Transcript};
use protocols::Protocol;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// `fixtures/_pcap`: `cargo xtask captures` makes them.
const CAPTURES: [(&str, &[u8]); 4] = [
    ("gt06", include_bytes!("../../../fixtures/_pcap/gt06.pcap")),
    ("h02", include_bytes!("../../../fixtures/_pcap/h02.pcap")),
    (
        "teltonika",
        include_bytes!("../../../fixtures/_pcap/teltonika.pcap"),
    ),
    (
        "wialon",
        include_bytes!("../../../fixtures/_pcap/wialon.pcap"),
    ),
];

/// So many trackers of a capture call at a time.
const CONNECTIONS: usize = 64;
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// A capture, taken apart.
pub(super) struct Capture {
    pub(super) protocol: &'static Protocol,
    /// The names that its trackers give themselves.
    pub(super) idents: BTreeSet<String>,
    /// What its trackers report, records that they send twice twice.
    pub(super) records: u64,
    /// Answers that have the time of day in them: today's are other bytes.
    timed: u64,
    recording: Recording,
}

/// How a capture's conversations went.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Went {
    pub(super) conversations: u64,
    pub(super) done: u64,
    /// Answers of the recording.
    pub(super) due: u64,
    /// Of these came so many.
    pub(super) came: u64,
    /// Of those are the same bytes.
    pub(super) same: u64,
    /// And so many cannot be: they have the time of day in them.
    pub(super) timed: u64,
}

/// A day later every answer that depends on the clock is another.
const DAY_MS: i64 = 86_400_000;

impl Capture {
    /// All of them. They pass through a file in `dir`, as the command `replay` reads them.
    pub(super) fn open_all(dir: &Path) -> Result<Vec<Self>, Failure> {
        CAPTURES
            .iter()
            .map(|(name, bytes)| Self::open(dir, name, bytes))
            .collect()
    }

    fn open(dir: &Path, name: &str, bytes: &[u8]) -> Result<Self, Failure> {
        let protocol = protocols::find(name)
            .ok_or_else(|| Failure::new(Exit::Software, format_args!("no protocol {name}")))?;
        let file = dir.join(format!("{name}.pcap"));
        let io = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Io, format_args!("{}: {error}", file.display()))
        };
        std::fs::write(&file, bytes).map_err(|error| io(&error))?;
        let recording = Recording::open(&file, None).map_err(|error| io(&error))?;
        std::fs::remove_file(&file).map_err(|error| io(&error))?;
        let mut this = Self {
            protocol,
            idents: BTreeSet::new(),
            records: 0,
            timed: 0,
            recording,
        };
        let (mut replies, mut later) = (Vec::new(), Vec::new());
        this.listen(0, &mut replies)?;
        this.records = 0;
        this.listen(DAY_MS, &mut later)?;
        let differ = replies.iter().zip(&later).filter(|(a, b)| a != b);
        this.timed = differ.count() as u64;
        Ok(this)
    }

    /// Hears what its trackers say, to know whom to expect and how much, and what is said to
    /// that, if the clock is that much ahead of the recording.
    fn listen(&mut self, ahead_ms: i64, replies: &mut Vec<Value>) -> Result<(), Failure> {
        let (idents, records) = (&mut self.idents, &mut self.records);
        let mut hear = |line: Value| {
            if let Some(ident) = line.get("login").and_then(Value::as_str) {
                idents.insert(ident.to_owned());
            }
            if line.get("message").is_some() {
                *records += 1;
            }
            if let Some(reply) = line.get("reply") {
                replies.push(reply.clone());
            }
            Ok::<(), Failure>(())
        };
        for conversation in &self.recording.conversations {
            let mut decoder = Transcript::open(self.protocol, Known::default())
                .map_err(|reject| Failure::new(Exit::Software, reject))?;
            let mut now_ms = 0;
            for turn in &conversation.turns {
                now_ms = turn.at_us / 1000 + ahead_ms;
                if turn.from == From::Client {
                    decoder.read(&turn.bytes, now_ms, &mut |line, _| hear(line))?;
                }
            }
            decoder.end(now_ms, &mut |line, _| hear(line))?;
        }
        Ok(())
    }

    /// Its trackers call `to` and say what they said.
    pub(super) async fn play(self, to: SocketAddr, stage: &Stage) -> Went {
        let plan = Plan {
            to,
            speed: None,
            connections: CONNECTIONS,
            answer_wait: ANSWER_WAIT,
        };
        let conversations: Arc<[_]> = self.recording.conversations.into();
        let total = conversations.len() as u64;
        let bar = stage.bar(self.protocol.info.name, total);
        let mut ended = 0;
        let played = player::play(conversations, plan, &mut |_| {
            ended += 1;
            bar.at(ended, total);
        })
        .await;
        let mut went = Went {
            conversations: total,
            timed: self.timed,
            ..Went::default()
        };
        for Played {
            outcome,
            answers_due,
            answers,
            answers_same,
            ..
        } in played
        {
            went.done += u64::from(outcome == Outcome::Done);
            went.due += u64::from(answers_due);
            went.came += u64::from(answers);
            went.same += u64::from(answers_same);
        }
        went
    }
}
