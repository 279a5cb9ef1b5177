//! `tollgate redecode`: what this build's decoders make of kept raw traffic, against what was stored.
//!
//! Both are read from the files of the data directory, entry by entry and without a lock, so that a
//! new build can be tried while the old one serves. Only the devices' settings come from the gateway.

use super::client::Client;
use super::data::DataArgs;
use super::decode::protocol_named;
use super::gateway::JOURNAL_DIR;
use super::messages::seconds;
use super::packets::us;
use super::{Exit, Failure, runtime};
use crate::journal::EntryRef;
use crate::raw::{Packet, RAW_DIR};
use crate::replay::redecode::{DeviceSettings, Difference, Differs, Redecoder, Stored, Sums};
use crate::segment::{self, OsFiles};
use clap::Args as ClapArgs;
use comfy_table::{CellAlignment, Table, presets};
use protocols::{Protocol, Settings};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// What was stored is held in memory: at most so much of it.
const STORED_BYTES_MAX: usize = 1 << 30;
/// Parameters that are shown; those that changed most often.
const PARAMETERS_SHOWN: usize = 40;

const AFTER: &str = "\
Compares record by record: the same bytes are the same; of one ident and time, with other parameters,
changed; read now and not stored then, new (what a limit or a time-out kept from being stored counts
here too); stored then and not read now, lost. Left out of the verdict: what was stored already when it
came, what no device had, and connections of which chunks are missing. Devices are read by the settings
that they have now. Nothing is stored.

Exit code 1: something has changed, is new or lost.

Example, with the new build beside the running one:
  ./tollgate redecode --data /var/lib/tollgate --from 2026-11-17T00:00:00Z --protocol gt06 --diff";

/// Decodes kept raw traffic again and compares with what was stored.
#[derive(Debug, ClapArgs)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// From this time on: unix seconds, or like 2026-11-24T02:00:00Z
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    from: Option<f64>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    to: Option<f64>,
    /// Only this protocol
    #[arg(long, value_name = "NAME", value_parser = protocol_named)]
    protocol: Option<&'static Protocol>,
    /// Print each difference, one JSON object a line
    #[arg(long)]
    diff: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let dir = args.data.dir()?;
    let settings = runtime()?.block_on(async {
        let client = Client::of(&dir).await?;
        let rows = client
            .result("/gw/devices/all?fields=protocol_id,configuration")
            .await;
        client.close().await;
        Ok::<_, Failure>(settings_of(&rows?))
    })?;
    let begun = Instant::now();
    let from_us = args.from.map_or(i64::MIN, us);
    let to_us = args.to.map_or(i64::MAX, us);
    let wanted = |protocol: u16| args.protocol.is_none_or(|only| only.number == protocol);
    let mut stored = Stored::default();
    let mut versions: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
    let mut full = false;
    let mut oldest_us = i64::MAX;
    entries(&dir.join(JOURNAL_DIR), &mut |kind, version, content| {
        let Some(EntryRef::Frame(frame)) = EntryRef::read(kind, version, content) else {
            return;
        };
        oldest_us = oldest_us.min(frame.meta.at_us);
        // a connection's frames may be stored a little after its chunks were kept
        let in_time =
            frame.meta.at_us >= from_us && frame.meta.at_us <= to_us.saturating_add(HOUR_US);
        if !in_time || !wanted(frame.meta.protocol) || full {
            return;
        }
        let known = versions.entry(frame.meta.protocol).or_default();
        if !known.contains(&frame.meta.decoder_version) {
            known.push(frame.meta.decoder_version);
        }
        for part in frame.parts() {
            for record in part.records() {
                stored.push(frame.meta.connection, part.ident, record);
            }
        }
        full = stored.bytes() > STORED_BYTES_MAX;
    })?;
    if full {
        return Err(
            Failure::new(Exit::Usage, "more than 1 GiB was stored in that time")
                .hint("narrow it by --from and --to, or by --protocol"),
        );
    }
    let mut redecoder = Redecoder::new(stored, &settings);
    let mut shown = Shown::new(args.diff);
    let mut chunks = 0u64;
    // of what the journal's segments do not reach back to there is nothing to compare with
    let since_us = match oldest_us {
        i64::MAX => from_us,
        // a connection's login comes before the first of its frames that is stored
        oldest_us => from_us.max(oldest_us.saturating_sub(HOUR_US)),
    };
    entries(&dir.join(RAW_DIR), &mut |kind, version, content| {
        let Some(packet) = Packet::read(kind, version, content) else {
            return;
        };
        let in_time = (since_us..=to_us).contains(&packet.at_us);
        if in_time && (packet.protocol == 0 || wanted(packet.protocol)) {
            chunks += 1;
            redecoder.take(&packet, &mut |difference| shown.take(&difference));
        }
    })?;
    let sums = redecoder.finish(&mut |difference| shown.take(&difference));
    if chunks == 0 {
        return Err(
            Failure::new(Exit::Data, "no raw traffic is kept of that time").hint(
                "raw traffic is kept of channels and devices with keep_packets, see [packets]",
            ),
        );
    }
    let took = begun.elapsed().as_secs_f64();
    if let Some(error) = shown.failed.take() {
        return Err(Failure::output(&error));
    }
    report(&sums, &versions, &shown, took).map_err(|error| Failure::output(&error))?;
    let differ: u64 = sums
        .values()
        .map(|sums| sums.changed + sums.new + sums.lost)
        .sum();
    match differ {
        0 => Ok(()),
        differ => Err(Failure::new(
            Exit::Differs,
            format_args!("{differ} records are not what was stored"),
        )),
    }
}

const HOUR_US: i64 = 3_600_000_000;

/// Shows every entry of a log, in order; what a segment has lost is skipped.
fn entries(dir: &Path, take: &mut dyn FnMut(u8, u8, &[u8])) -> Result<(), Failure> {
    let failed = |path: &Path, error: &io::Error| {
        Failure::new(Exit::Io, format_args!("{}: {error}", path.display()))
    };
    let listed = match std::fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(dir, &error)),
    };
    let mut segments: Vec<(u64, PathBuf)> = Vec::new();
    for file in listed {
        let path = file.map_err(|error| failed(dir, &error))?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        if path.extension().is_some_and(|kind| kind == "seg")
            && let Some(first) = name.and_then(|name| name.parse().ok())
        {
            segments.push((first, path));
        }
    }
    segments.sort_unstable();
    let last = segments.len().saturating_sub(1);
    for (index, (first, path)) in segments.iter().enumerate() {
        let examined = segment::examine(&OsFiles, path, *first, index == last, &mut |_, entry| {
            take(entry.kind, entry.version, entry.content);
        });
        match examined {
            Ok(_) => {}
            // retention took it meanwhile
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(path, &error)),
        }
    }
    Ok(())
}

fn settings_of(rows: &[Value]) -> DeviceSettings {
    let mut all = DeviceSettings::new();
    for row in rows {
        let protocol = row["protocol_id"]
            .as_u64()
            .and_then(|id| u16::try_from(id).ok());
        let configuration = &row["configuration"];
        let Some(protocol) = protocol.and_then(protocols::by_number) else {
            continue;
        };
        let ident = configuration["ident"].as_str().unwrap_or_default();
        let Ok(ident) = protocol.ident(ident) else {
            continue;
        };
        let mut settings = Settings::default();
        for key in ["model", "format", "time_zone"] {
            if let Some(value) = configuration[key].as_str() {
                // what cannot be read was refused when it was written
                drop(settings.set(key, value));
            }
        }
        all.insert((protocol.number, ident), Arc::new(settings));
    }
    all
}

/// What is shown of differences: each of them, or how often which parameter differs.
struct Shown {
    each: bool,
    parameters: BTreeMap<(u16, String, &'static str), u64>,
    failed: Option<io::Error>,
}

impl Shown {
    const fn new(each: bool) -> Self {
        Self {
            each,
            parameters: BTreeMap::new(),
            failed: None,
        }
    }

    fn take(&mut self, difference: &Difference) {
        let line = match &difference.what {
            Differs::Changed(was, now) => {
                let (was, now) = (unlike(was, now), unlike(now, was));
                for (name, _) in &was {
                    let how = if now.contains_key(name) {
                        "another value"
                    } else {
                        "not any more"
                    };
                    self.count(difference.protocol, name, how);
                }
                for (name, _) in now.iter().filter(|(name, _)| !was.contains_key(*name)) {
                    self.count(difference.protocol, name, "new");
                }
                json!({ "changed": { "was": was, "now": now } })
            }
            Differs::New(message) => json!({ "new": message }),
            Differs::Lost(message) => json!({ "lost": message }),
        };
        if self.each && self.failed.is_none() {
            let mut line = line;
            line["ident"] = difference.ident.as_str().into();
            line["connection"] = difference.connection.0.into();
            self.failed = writeln!(io::stdout(), "{line}").err();
        }
    }

    fn count(&mut self, protocol: u16, name: &str, how: &'static str) {
        *self
            .parameters
            .entry((protocol, name.to_owned(), how))
            .or_default() += 1;
    }
}

/// What `one` has and `other` has not, or otherwise.
fn unlike(one: &Map<String, Value>, other: &Map<String, Value>) -> Map<String, Value> {
    let differs = one
        .iter()
        .filter(|(name, value)| other.get(*name) != Some(*value));
    differs
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn name_of(protocol: u16) -> &'static str {
    protocols::by_number(protocol).map_or("?", |protocol| protocol.info.name)
}

fn report(
    sums: &BTreeMap<u16, Sums>,
    versions: &BTreeMap<u16, Vec<u16>>,
    shown: &Shown,
    took: f64,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "protocol", "version", "conns", "frames", "same", "changed", "new", "lost", "again",
        "nobody's", "unsure", "rejected",
    ]);
    for (protocol, sums) in sums {
        let then = versions.get(protocol).map_or(&[][..], Vec::as_slice);
        let then: Vec<String> = then.iter().map(u16::to_string).collect();
        let today = protocols::by_number(*protocol).map_or(0, |protocol| protocol.info.version);
        let mut row = vec![
            name_of(*protocol).to_owned(),
            format!("{} -> {today}", then.join(",")),
        ];
        row.extend(
            [
                sums.connections,
                sums.frames,
                sums.same,
                sums.changed,
                sums.new,
                sums.lost,
                sums.again,
                sums.nobodys,
                sums.unsure,
                sums.rejected,
            ]
            .map(|number| number.to_string()),
        );
        table.add_row(row);
    }
    for column in 2..12 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{table}")?;
    let mut parameters: Vec<_> = shown.parameters.iter().collect();
    parameters.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for ((protocol, name, how), count) in parameters.iter().take(PARAMETERS_SHOWN) {
        writeln!(out, "{} {name}: {how}, {count} times", name_of(*protocol))?;
    }
    let frames: u64 = sums.values().map(|sums| sums.frames).sum();
    writeln!(
        out,
        "{frames} frames in {took:.1} s, {:.0} a second",
        frames as f64 / took.max(0.001)
    )
}
