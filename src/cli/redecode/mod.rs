//! `tollgate redecode`: what this build's decoders make of raw traffic, against what was stored: of what
//! is kept, or in the shadow mode of what comes.
//!
//! Both are read from the files of the data directory, entry by entry and without a lock, so that a
//! new build can be tried while the old one serves, and the one that serves does nothing more for it than
//! to keep raw traffic. Only the devices' settings come from the gateway.

mod read;
mod shadow;

use super::data::DataArgs;
use super::decode::protocol_named;
use super::messages::seconds;
use super::packets::us;
use super::{Exit, Failure, runtime};
use crate::replay::redecode::{Difference, Differs, Redecoder, Sums};
use clap::Args as ClapArgs;
use comfy_table::{CellAlignment, Table, presets};
use protocols::Protocol;
use read::{Versions, Wanted};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Parameters that are shown; those that changed most often.
const PARAMETERS_SHOWN: usize = 40;

const AFTER: &str = "\
Compares record by record: the same bytes are the same; of one ident and time, with other parameters,
changed; read now and not stored then, new (what a limit or a time-out kept from being stored counts
here too); stored then and not read now, lost. Left out of the verdict: what was stored already when it
came, what no device had, and connections of which chunks are missing. Devices are read by the settings
that they have now. Nothing is stored.

--shadow goes on with what comes, until SIGINT or SIGTERM: it reads what the gateway that serves writes,
within seconds. A connection is compared from its beginning on, so those that are open when it starts are
left out until they call again; so is, at the end, what a connection that goes on has not stored yet.

Exit code 1: something has changed, is new or lost.

Example, with the new build beside the running one:
  ./tollgate redecode --data /var/lib/tollgate --from 2026-11-17T00:00:00Z --protocol gt06 --diff
  ./tollgate redecode --data /var/lib/tollgate --shadow --diff";

/// Decodes kept raw traffic again and compares with what was stored.
#[derive(Debug, ClapArgs)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// From this time on: unix seconds, or like 2026-11-24T02:00:00Z
    #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with = "shadow")]
    from: Option<f64>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with = "shadow")]
    to: Option<f64>,
    /// Only this protocol
    #[arg(long, value_name = "NAME", value_parser = protocol_named)]
    protocol: Option<&'static Protocol>,
    /// Print each difference, one JSON object a line
    #[arg(long)]
    diff: bool,
    /// Decode what comes from now on beside the gateway that serves
    #[arg(long)]
    shadow: bool,
    /// With --shadow: end after so many seconds
    #[arg(long, value_name = "SECONDS", requires = "shadow")]
    r#for: Option<u64>,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let dir = args.data.dir()?;
    let wanted = Wanted {
        from_us: args.from.map_or(i64::MIN, us),
        to_us: args.to.map_or(i64::MAX, us),
        protocol: args.protocol.map(|protocol| protocol.number),
    };
    let mut shown = Shown::new(args.diff);
    if args.shadow {
        let ends = args.r#for.map(Duration::from_secs);
        let begun = Instant::now();
        let (sums, versions) = runtime()?.block_on(shadow::run(&dir, &wanted, ends, &mut shown))?;
        return verdict(&sums, &versions, shown, begun.elapsed());
    }
    let settings = runtime()?.block_on(read::settings(&dir))?;
    let begun = Instant::now();
    let stored = read::stored(&dir, &wanted)?;
    let mut redecoder = Redecoder::new(stored.stored, settings);
    let since_us = wanted.from_us.max(stored.since_us);
    let mut chunks = 0u64;
    read::chunks(&dir, &wanted, since_us, &mut |packet| {
        chunks += 1;
        redecoder.take(packet, &mut |difference| shown.take(&difference));
    })?;
    let sums = redecoder.finish(&mut |difference| shown.take(&difference));
    if chunks == 0 {
        return Err(
            Failure::new(Exit::Data, "no raw traffic is kept of that time").hint(
                "raw traffic is kept of channels and devices with keep_packets, see [packets]",
            ),
        );
    }
    verdict(&sums, &stored.versions, shown, begun.elapsed())
}

/// Shows what it has come to; differences are an exit code.
fn verdict(
    sums: &BTreeMap<u16, Sums>,
    versions: &Versions,
    mut shown: Shown,
    took: Duration,
) -> Result<(), Failure> {
    if let Some(error) = shown.failed.take() {
        return Err(Failure::output(&error));
    }
    report(sums, versions, &shown, took.as_secs_f64()).map_err(|error| Failure::output(&error))?;
    match differing(sums) {
        0 => Ok(()),
        differ => Err(Failure::new(
            Exit::Differs,
            format_args!("{differ} records are not what was stored"),
        )),
    }
}

fn differing(sums: &BTreeMap<u16, Sums>) -> u64 {
    sums.values()
        .map(|sums| sums.changed + sums.new + sums.lost)
        .sum()
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

fn report(
    sums: &BTreeMap<u16, Sums>,
    versions: &Versions,
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
        let then = versions.get(protocol).into_iter().flatten();
        let then: Vec<String> = then
            .map(|version| match version {
                0 => "?".to_owned(),
                version => version.to_string(),
            })
            .collect();
        let today = protocols::by_number(*protocol).map_or(0, |protocol| protocol.info.version);
        let mut row = vec![
            protocols::name_of(*protocol).to_owned(),
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
        writeln!(
            out,
            "{} {name}: {how}, {count} times",
            protocols::name_of(*protocol)
        )?;
    }
    let frames: u64 = sums.values().map(|sums| sums.frames).sum();
    writeln!(
        out,
        "{frames} frames in {took:.1} s, {:.0} a second",
        frames as f64 / took.max(0.001)
    )
}
