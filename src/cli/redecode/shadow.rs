//! The shadow mode: what comes is decoded a second time, by this build, beside the gateway that serves.
//!
//! It follows the segments that the gateway writes, of raw traffic and of the journal, and compares
//! once a second. The gateway knows nothing of it. Raw traffic is there half a second after it came, so
//! it is read first: what was stored of it is in the journal by then, or is held.

use super::super::gateway::JOURNAL_DIR;
use super::super::{Exit, Failure, say};
use super::read::{self, Versions, Wanted};
use super::{Shown, differing};
use crate::ids::{Clock as _, SystemClock};
use crate::journal::EntryRef;
use crate::raw::{Packet, RAW_DIR};
use crate::replay::redecode::{Redecoder, Stored, Sums};
use crate::segment::{OsFiles, Tail};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// So often it is looked at what has come.
const LOOK: Duration = Duration::from_secs(1);
/// So often it is said how it stands.
const SAY: Duration = Duration::from_secs(10);
/// So often the devices' settings are read.
const SETTINGS: Duration = Duration::from_mins(1);

/// Compares until a signal, or until it `ends`.
pub(super) async fn run(
    dir: &Path,
    wanted: &Wanted,
    ends: Option<Duration>,
    shown: &mut Shown,
) -> Result<(BTreeMap<u16, Sums>, Versions), Failure> {
    let on = |kind| signal(kind).map_err(|error| Failure::new(Exit::Software, error));
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let settings = read::settings(dir).await?;
    let mut shadow = Shadow::begin(dir, Redecoder::new(Stored::without_end(), settings))?;
    say(&"shadow: decoding what comes");
    let begun = Instant::now();
    let mut said = Instant::now();
    let mut read = Instant::now();
    let mut look = tokio::time::interval(LOOK);
    loop {
        let over = tokio::select! {
            _ = interrupt.recv() => true,
            _ = terminate.recv() => true,
            _ = look.tick() => ends.is_some_and(|ends| begun.elapsed() >= ends),
        };
        shadow.look(wanted, shown)?;
        if over || shown.failed.is_some() {
            let sums = shadow.redecoder.break_off(&mut |one| shown.take(&one));
            return Ok((sums, shadow.versions));
        }
        if said.elapsed() >= SAY {
            said = Instant::now();
            say(&standing(&shadow.redecoder.sums));
        }
        if read.elapsed() >= SETTINGS {
            read = Instant::now();
            // one who restarts has the settings again a minute later
            if let Ok(settings) = read::settings_of_running(dir).await {
                shadow.redecoder.read_by(settings);
            }
        }
    }
}

fn standing(sums: &BTreeMap<u16, Sums>) -> String {
    let all = |part: fn(&Sums) -> u64| sums.values().map(part).sum::<u64>();
    format!(
        "shadow: {} frames, {} records the same, {} not",
        all(|sums| sums.frames),
        all(|sums| sums.same),
        differing(sums)
    )
}

struct Shadow {
    redecoder: Redecoder,
    versions: Versions,
    raw: Tail,
    journal: Tail,
    /// What was kept before is not compared: what is stored of it may be written already.
    from_us: i64,
}

impl Shadow {
    fn begin(dir: &Path, redecoder: Redecoder) -> Result<Self, Failure> {
        let tail = |name: &str| {
            let folder = dir.join(name);
            Tail::of_new(Arc::new(OsFiles), &folder).map_err(|error| failed(&folder, &error))
        };
        let (journal, raw) = (tail(JOURNAL_DIR)?, tail(RAW_DIR)?);
        Ok(Self {
            redecoder,
            versions: Versions::new(),
            journal,
            raw,
            // behind both: of what came later nothing was stored before they looked
            from_us: SystemClock::default().now_us(),
        })
    }

    /// Takes what has come on both sides.
    fn look(&mut self, wanted: &Wanted, shown: &mut Shown) -> Result<(), Failure> {
        let mut chunks = Vec::new();
        let from_us = self.from_us;
        let is_wanted = |packet: &Packet| {
            packet.at_us >= from_us && (packet.protocol == 0 || wanted.is_of(packet.protocol))
        };
        let raw = self.raw.poll(&mut |entry| {
            let packet = Packet::read(entry.kind, entry.version, entry.content);
            chunks.extend(packet.filter(is_wanted));
        });
        raw.map_err(|error| failed(Path::new(RAW_DIR), &error))?;
        let (stored, versions) = (&mut self.redecoder.stored, &mut self.versions);
        let journal = self.journal.poll(&mut |entry| {
            let read = EntryRef::read(entry.kind, entry.version, entry.content);
            let Some(EntryRef::Frame(frame)) = read else {
                return;
            };
            if !wanted.is_of(frame.meta.protocol) {
                return;
            }
            let of_protocol = versions.entry(frame.meta.protocol).or_default();
            of_protocol.insert(frame.meta.decoder_version);
            for part in frame.parts() {
                for record in part.records() {
                    stored.push(frame.meta.connection, part.ident, record);
                }
            }
        });
        journal.map_err(|error| failed(Path::new(JOURNAL_DIR), &error))?;
        for packet in &chunks {
            self.redecoder.take(packet, &mut |one| shown.take(&one));
        }
        self.redecoder.settle(&mut |one| shown.take(&one));
        Ok(())
    }
}

fn failed(folder: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Io, format_args!("{}: {error}", folder.display()))
}
