//! `tollgate doctor`: everything known about one tracker in one page, or who has fallen silent.

use super::Failure;
use super::client::{Client, asking};
use super::data::DataArgs;
use axum::http::Method;
use clap::Args as ClapArgs;
use comfy_table::{Table, presets};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, Write};

const AFTER: &str = "\
Without an ident: the devices that sent something once and nothing for an hour (or --silent), by
account, since when. Everything is read from what was written down; nothing is changed.

Examples:
  tollgate doctor 356307042441013
  tollgate doctor --silent 86400";

/// Says why a tracker's data does not arrive, and what to do.
#[derive(Debug, ClapArgs)]
#[command(after_help = AFTER)]
pub struct Args {
    /// What the tracker calls itself, usually its IMEI
    ident: Option<String>,
    #[command(flatten)]
    data: DataArgs,
    /// Without an ident: who has been silent for so long
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 3600,
        conflicts_with = "ident"
    )]
    silent: u64,
    /// Print JSON as the API gives it
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let rows = asking(&args.data, async |client| ask(client, args).await)?;
    let mut out = io::stdout().lock();
    let written = match (&args.ident, args.json) {
        (_, true) => rows.iter().try_for_each(|row| writeln!(out, "{row}")),
        (Some(_), false) => rows.iter().try_for_each(|row| show(row, &mut out)),
        (None, false) => show_silent(&rows, &mut out),
    };
    written.map_err(|error| Failure::output(&error))
}

async fn ask(client: &Client, args: &Args) -> Result<Vec<Value>, Failure> {
    let (path, data) = match &args.ident {
        Some(ident) => {
            let mut path = "/gw/channels/all/idents/".to_owned();
            for byte in ident.bytes() {
                write!(path, "%{byte:02X}").expect("a string takes all");
            }
            (path + "/doctor", Value::Null)
        }
        None => (
            "/gw/devices/all/doctor".to_owned(),
            json!({ "silent": args.silent }),
        ),
    };
    let body = (!data.is_null()).then_some(&data);
    let (status, json) = client.call(Method::GET, &path, body).await?;
    super::client::result_of(status, json)
}

fn show(row: &Value, out: &mut impl Write) -> io::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    writeln!(out, "{}\n", text(&row["ident"]))?;
    finding(&row["diagnosis"], "", out)?;
    for also in row["also"].as_array().into_iter().flatten() {
        finding(also, "also: ", out)?;
    }
    let facts = &row["facts"];
    let rows = |name: &str| facts[name].as_array().cloned().unwrap_or_default();
    writeln!(out)?;
    for device in rows("devices") {
        let (id, name, cid) = (&device["id"], text(&device["name"]), &device["cid"]);
        writeln!(
            out,
            "device {id} ({name}) of account {cid}, {}",
            text(&device["protocol"])
        )?;
        for channel in device["channels"].as_array().into_iter().flatten() {
            writeln!(
                out,
                "  served at {} (channel {})",
                text(&channel["uri"]),
                channel["id"]
            )?;
        }
        if let [stamp, taken] = device["newest"].as_array().map_or(&[][..], Vec::as_slice) {
            writeln!(
                out,
                "  newest message of {}, taken {}",
                time(stamp),
                time(taken)
            )?;
        }
    }
    if rows("devices").is_empty() {
        writeln!(out, "no device has this ident")?;
    }
    for unknown in rows("unknown") {
        let (uri, count) = (text(&unknown["channel"]["uri"]), &unknown["count"]);
        writeln!(
            out,
            "unknown at {uri}: {count} frames, last {}",
            time(&unknown["last_us"])
        )?;
    }
    for open in rows("connections") {
        let parked = if open["parked"] == true {
            ", held back"
        } else {
            ""
        };
        writeln!(
            out,
            "connected from {} since {} (connection {}){parked}",
            text(&open["source"]),
            time(&open["since_us"]),
            open["id"]
        )?;
    }
    section("last events", &rows("log"), 10, out)?;
    section(
        "connections that nobody named himself on",
        &rows("strays"),
        5,
        out,
    )?;
    let frames = rows("frames");
    if !frames.is_empty() {
        writeln!(out, "\nlast raw traffic, the newest first")?;
    }
    for frame in frames {
        let hex = text(&frame[2]);
        let shown = hex.get(..128).unwrap_or(&hex);
        writeln!(out, "  {} {:8} {shown}", time(&frame[0]), text(&frame[1]))?;
    }
    Ok(())
}

fn finding(finding: &Value, before: &str, out: &mut impl Write) -> io::Result<()> {
    let text = |name: &str| finding[name].as_str().unwrap_or_default();
    writeln!(out, "{before}{}: {}", text("cause"), text("says"))?;
    writeln!(out, "  do: {}", text("todo"))
}

fn section(title: &str, rows: &[Value], most: usize, out: &mut impl Write) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title}, the newest first")?;
    for row in rows.iter().take(most) {
        let (at, code, channel) = (time(&row["at_us"]), &row["code"], &row["channel"]);
        writeln!(out, "  {at} {code} channel {channel} {}", row["data"])?;
    }
    Ok(())
}

fn show_silent(rows: &[Value], out: &mut impl Write) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "nobody has fallen silent");
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["account", "device", "name", "ident", "silent since"]);
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let since = row["last_active"].as_f64().unwrap_or(0.0) * 1e6;
        table.add_row([
            format!("{} {}", row["cid"], text("account")),
            row["id"].to_string(),
            text("name"),
            text("ident"),
            time(&json!(since)),
        ]);
    }
    writeln!(out, "{table}")
}

/// Unix us as people write it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a float ends at the ends of i64"
)]
fn time(us: &Value) -> String {
    let us = us.as_i64().or(us.as_f64().map(|us| us as i64)).unwrap_or(0);
    Timestamp::from_second(us.div_euclid(1_000_000))
        .map_or_else(|_| us.to_string(), |time| time.to_string())
}
