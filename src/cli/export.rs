//! `tollgate export`: messages of devices as NDJSON, CSV or GPX.
//!
//! A running gateway does it by its local socket, a directory that nobody serves is read by this
//! process. Each device's messages come by the device's own time, one device after the other.

use super::client::{Client, asking, write_out};
use super::data::DataArgs;
use super::messages::seconds;
use super::{Exit, Failure};
use crate::api::forms::{self, CUT_OFF, Columns, Writer};
use crate::ids::{AccountId, DeviceId};
use crate::journal::{DeviceNames, Journal, Range};
use crate::registry::Registry;
use clap::{Args as ClapArgs, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

/// A piece of an export is handed on when it is so long.
const PIECE_BYTES: usize = 64 * 1024;

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line
    Ndjson,
    /// A header, then a line for each message
    Csv,
    /// Tracks for maps; messages without a place are left out
    Gpx,
}

/// Writes the messages of devices to a file or standard output.
#[derive(Debug, ClapArgs)]
#[command(group(clap::ArgGroup::new("whose").required(true).multiple(true)))]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// The device's id; may be given several times
    #[arg(long, value_name = "ID", value_parser = super::id, group = "whose")]
    device: Vec<u64>,
    /// All devices of an account and of those below it
    #[arg(long, value_name = "ID", value_parser = super::id, group = "whose")]
    account: Vec<u64>,
    /// The form
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    format: Format,
    /// From this device time on: unix seconds, or like 2026-11-24T02:00:00Z
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    from: Option<f64>,
    /// Up to this device time
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    to: Option<f64>,
    /// The file to write; without it standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What is asked of the gateway.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    devices: Vec<u64>,
    accounts: Vec<u64>,
    format: Format,
    from_ms: i64,
    to_ms: i64,
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a float ends at the ends of i64"
)]
fn ms(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let asked = Asked {
        devices: args.device.clone(),
        accounts: args.account.clone(),
        format: args.format,
        from_ms: args.from.map_or(i64::MIN, ms),
        to_ms: args.to.map_or(i64::MAX, ms),
    };
    asking(&args.data, async |client| write(client, args, &asked).await)
}

async fn write(client: &Client, args: &Args, asked: &Asked) -> Result<(), Failure> {
    let body = client.stream("/local/export", &json!(asked)).await?;
    let failed = |error: &io::Error| match &args.output {
        Some(path) => Failure::new(Exit::Io, format_args!("{}: {error}", path.display())),
        None => Failure::output(error),
    };
    let mut out: Box<dyn io::Write> = match &args.output {
        Some(path) => Box::new(std::fs::File::create(path).map_err(|error| failed(&error))?),
        None => Box::new(io::stdout()),
    };
    let last = write_out(body, &mut out, CUT_OFF.len(), &failed).await?;
    if last == CUT_OFF.as_bytes() {
        return Err(Failure::new(
            Exit::Io,
            "a message could not be read: the export is cut off",
        )
        .hint("`tollgate verify` says which file is damaged"));
    }
    Ok(())
}

/// Gives the export to `sink` piece by piece; `false` from it: nobody reads on.
pub(crate) fn export(
    journal: &Journal,
    registry: &Registry,
    asked: &Asked,
    sink: &mut dyn FnMut(String) -> bool,
) {
    let mut piece = Piece {
        text: String::new(),
        sink,
        left: false,
    };
    if export_all(journal, registry, asked, &mut piece).is_err() {
        piece.text.push_str(CUT_OFF);
    }
    piece.hand_on();
}

/// What is asked for and not there. What a deleted device had nobody reads any more.
pub(crate) fn missing(registry: &Registry, asked: &Asked) -> Option<String> {
    let device = |id: &&u64| registry.device(DeviceId(**id)).is_none();
    let account = |id: &&u64| registry.account(AccountId(**id)).is_none();
    if let Some(id) = asked.devices.iter().find(device) {
        return Some(format!("there is no device {id}"));
    }
    if let Some(id) = asked.accounts.iter().find(account) {
        return Some(format!("there is no account {id}"));
    }
    let none = devices_of(registry, asked).is_empty();
    none.then(|| "these accounts have no devices".to_owned())
}

/// Which devices are meant: those named, and those of branches.
fn devices_of(registry: &Registry, asked: &Asked) -> Vec<DeviceId> {
    let mut devices: BTreeSet<DeviceId> = asked.devices.iter().map(|id| DeviceId(*id)).collect();
    for device in registry.devices() {
        let path = device.path();
        if path
            .iter()
            .any(|account| asked.accounts.contains(&account.0))
        {
            devices.insert(device.id);
        }
    }
    devices.into_iter().collect()
}

struct Piece<'a> {
    text: String,
    sink: &'a mut dyn FnMut(String) -> bool,
    left: bool,
}

impl Piece<'_> {
    fn hand_on(&mut self) {
        if !self.text.is_empty() && !self.left {
            self.left = !(self.sink)(std::mem::take(&mut self.text));
        }
    }
}

fn export_all(
    journal: &Journal,
    registry: &Registry,
    asked: &Asked,
    to: &mut Piece<'_>,
) -> io::Result<()> {
    let devices = devices_of(registry, asked);
    let mut columns = Columns::default();
    let format = match asked.format {
        Format::Ndjson => forms::Format::Ndjson,
        Format::Csv => {
            // which columns there are is known when everything was seen once
            for device in &devices {
                each(journal, registry, *device, asked, &mut |row| {
                    columns.see(&row);
                    true
                })?;
            }
            forms::Format::Csv
        }
        Format::Gpx => forms::Format::Gpx,
    };
    if columns.left_off() > 0 {
        tracing::warn!(
            columns = columns.left_off(),
            "an export has more columns than a CSV gets"
        );
    }
    let mut writer = Writer::new(format, columns);
    writer.head(&mut to.text);
    for device in &devices {
        each(journal, registry, *device, asked, &mut |row| {
            writer.row(&row, &mut to.text);
            if to.text.len() >= PIECE_BYTES {
                to.hand_on();
            }
            !to.left
        })?;
    }
    writer.tail(&mut to.text);
    Ok(())
}

/// Shows a device's messages as objects, until `show` says that it is enough.
fn each(
    journal: &Journal,
    registry: &Registry,
    device: DeviceId,
    asked: &Asked,
    show: &mut dyn FnMut(Map<String, Value>) -> bool,
) -> io::Result<()> {
    let state = registry
        .device(device)
        .map(|device| device.state.load_full());
    let names = state.as_ref().map(|state| DeviceNames {
        name: &state.item.name,
        type_id: u64::from(state.item.device_type_id),
    });
    let range = Range {
        from: asked.from_ms,
        to: asked.to_ms,
        ..Range::default()
    };
    for message in journal.read_device(device, range) {
        if !show(message?.json(names)) {
            break;
        }
    }
    Ok(())
}
