//! `tollgate import devices FILE`: moves a list of devices over, from CSV or from Traccar.
//!
//! A second run changes nothing: a device that is there already, by protocol and ident, is compared
//! and only written where the file says something else. Each row is decided by itself, and the ones
//! that are refused are told with their line.

use super::client::{Client, asking};
use super::data::{DataArgs, text_of};
use super::token::account_of;
use super::{Exit, Failure};
use crate::registry::types::{DeviceType, device_types};
use axum::http::Method;
use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The longest file.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Devices that are made by one call.
const BATCH: usize = 500;

/// Takes over what another system has.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Devices(Devices),
}

/// Devices from a CSV file (a header names the columns: ident, name, type, protocol, model,
/// password, format, time_zone, phone, enabled, metadata.NAME) or from Traccar's device list (the
/// JSON of its /api/devices).
#[derive(Debug, ClapArgs)]
struct Devices {
    #[command(flatten)]
    data: DataArgs,
    /// The file
    file: PathBuf,
    /// The account that gets the devices, by id or name; left out, the only master account
    #[arg(long)]
    account: Option<String>,
    /// The device type of rows that name none: a type or a protocol, such as teltonika
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Says what would be done, and does nothing
    #[arg(long)]
    dry_run: bool,
}

/// A device of the file.
#[derive(Debug, Clone, PartialEq, Default)]
struct Row {
    /// Where in the file: a line, or the place in the list.
    line: usize,
    ident: String,
    name: Option<String>,
    kind: Option<String>,
    protocol: Option<String>,
    model: Option<String>,
    enabled: Option<bool>,
    configuration: Map<String, Value>,
    metadata: Map<String, Value>,
    /// Why it cannot be taken, whatever else it says.
    fault: Option<String>,
}

/// A row that was not taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    line: usize,
    ident: String,
    why: String,
}

/// What became of the rows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    created: usize,
    changed: usize,
    unchanged: usize,
    refused: Vec<Refused>,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let What::Devices(args) = &args.what;
    let text = read(&args.file)?;
    let rows = if text.trim_start().starts_with(['[', '{']) {
        traccar(&text)
    } else {
        csv(&text)
    };
    let rows = rows.map_err(|error| {
        Failure::new(Exit::Data, format_args!("{}: {error}", args.file.display()))
    })?;
    let outcome = asking(&args.data, async |client| import(client, args, rows).await)?;
    tell(args.dry_run, &outcome)
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: &dyn Display| {
        Failure::new(Exit::NoInput, format_args!("{}: {error}", path.display()))
    };
    let meta = std::fs::metadata(path).map_err(|error| failed(&error))?;
    if meta.len() > FILE_BYTES_MAX {
        return Err(failed(&"the file is longer than 256 MiB: take it in parts"));
    }
    let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    let text = text_of(bytes, path, "CSV, or Traccar's list in JSON,")?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

fn tell(dry_run: bool, outcome: &Outcome) -> Result<(), Failure> {
    let mut error = std::io::stderr().lock();
    for refused in &outcome.refused {
        let Refused { line, ident, why } = refused;
        let between = if ident.is_empty() { "" } else { ": " };
        if let Err(error) = writeln!(error, "line {line}: {ident}{between}{why}") {
            return Err(Failure::output(&error));
        }
    }
    drop(error);
    let would = if dry_run { "would be " } else { "" };
    writeln!(
        std::io::stdout(),
        "{would}created {}, {would}changed {}, unchanged {}, refused {}",
        outcome.created,
        outcome.changed,
        outcome.unchanged,
        outcome.refused.len()
    )
    .map_err(|error| Failure::output(&error))?;
    match outcome.refused.len() {
        0 => Ok(()),
        refused => Err(
            Failure::new(Exit::Data, format_args!("{refused} rows were refused"))
                .hint("correct them and run it again: what is there already is left as it is"),
        ),
    }
}

/// The type that a row means.
fn type_of(row: &Row, by_default: Option<&str>) -> Result<DeviceType, String> {
    let named = |name: &str| {
        let name = name.trim();
        name.parse()
            .ok()
            .and_then(DeviceType::find)
            .or_else(|| device_types().find(|kind| kind.name().eq_ignore_ascii_case(name)))
            .ok_or_else(|| format!("there is no device type {name}"))
    };
    let named = row
        .kind
        .as_deref()
        .or(row.protocol.as_deref())
        .or(by_default)
        .map(named);
    let kind = named.ok_or("no type: add a column `type`, or say --type")??;
    let model = row.model.as_deref();
    // a model that this build does not tell apart reads like any other
    Ok(model
        .and_then(|model| DeviceType::named(kind.protocol, model))
        .unwrap_or(kind))
}

/// The body that makes the device.
fn body_of(row: &Row, kind: &DeviceType) -> Value {
    let mut configuration = row.configuration.clone();
    configuration.insert("ident".into(), row.ident.as_str().into());
    let mut body = json!({
        "name": row.name.as_deref().unwrap_or(&row.ident),
        "device_type_id": kind.id,
        "configuration": configuration,
    });
    if let Some(enabled) = row.enabled {
        body["enabled"] = enabled.into();
    }
    if !row.metadata.is_empty() {
        body["metadata"] = row.metadata.clone().into();
    }
    body
}

/// What of `wanted` is not so in `there`; objects are compared name by name.
fn difference(wanted: &Map<String, Value>, there: &Value) -> Map<String, Value> {
    let mut differing = Map::new();
    for (name, value) in wanted {
        match (value, there.get(name)) {
            (Value::Object(inner), Some(now @ Value::Object(_))) => {
                let inner = difference(inner, now);
                if !inner.is_empty() {
                    differing.insert(name.clone(), inner.into());
                }
            }
            (value, Some(now)) if value == now => {}
            _ => {
                differing.insert(name.clone(), value.clone());
            }
        }
    }
    differing
}

async fn import(client: &Client, args: &Devices, rows: Vec<Row>) -> Result<Outcome, Failure> {
    let accounts = client
        .result("/platform/subaccounts/all?fields=id,owner_id,name")
        .await?;
    let cid = account_of(&accounts, args.account.as_deref())?;
    let there = client
        .result_for(cid, Method::GET, "/gw/devices/all", &Value::Null)
        .await?;
    let key = |row: &Value| {
        let ident = row["configuration"]["ident"].as_str()?.to_owned();
        Some((row["protocol_id"].as_u64()?, ident))
    };
    let there: BTreeMap<_, _> = there
        .into_iter()
        .filter_map(|row| Some((key(&row)?, row)))
        .collect();
    let mut outcome = Outcome::default();
    let mut seen = BTreeSet::new();
    let mut fresh: Vec<(Row, Value)> = Vec::new();
    for mut row in rows {
        let refuse = |row: &Row, why: String| Refused {
            line: row.line,
            ident: row.ident.clone(),
            why,
        };
        let kind = match row.fault.take() {
            Some(fault) => Err(fault),
            None => type_of(&row, args.kind.as_deref()),
        };
        let kind = match kind {
            Ok(kind) => kind,
            Err(why) => {
                outcome.refused.push(refuse(&row, why));
                continue;
            }
        };
        match kind.protocol.ident(&row.ident) {
            Ok(ident) => ident.as_str().clone_into(&mut row.ident),
            Err(error) => {
                outcome.refused.push(refuse(&row, error.to_string()));
                continue;
            }
        }
        let key = (u64::from(kind.protocol.number), row.ident.clone());
        if !seen.insert(key.clone()) {
            let why = "the file has this ident twice".to_owned();
            outcome.refused.push(refuse(&row, why));
            continue;
        }
        let body = body_of(&row, &kind);
        let Some(now) = there.get(&key) else {
            fresh.push((row, body));
            continue;
        };
        let Value::Object(mut wanted) = body else {
            continue;
        };
        // what the file does not say stays as somebody made it since
        if row.name.is_none() {
            wanted.remove("name");
        }
        if row.kind.is_none() && row.model.is_none() {
            wanted.remove("device_type_id");
        }
        let differing = difference(&wanted, now);
        if differing.is_empty() {
            outcome.unchanged += 1;
            continue;
        }
        let path = format!("/gw/devices/{}{}", now["id"], dry(args));
        let patch = Value::Object(differing);
        match client.result_for(cid, Method::PATCH, &path, &patch).await {
            Ok(_) => outcome.changed += 1,
            Err(failure) => outcome.refused.push(refuse(&row, failure.what)),
        }
    }
    for batch in fresh.chunks(BATCH) {
        create(client, args, cid, batch, &mut outcome).await?;
    }
    outcome.refused.sort_by_key(|refused| refused.line);
    Ok(outcome)
}

const fn dry(args: &Devices) -> &'static str {
    if args.dry_run { "?dry_run=true" } else { "" }
}

/// Makes a batch of devices. Which of them were refused is asked one by one: an answer tells the
/// reasons, not the rows.
async fn create(
    client: &Client,
    args: &Devices,
    cid: u64,
    batch: &[(Row, Value)],
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let path = format!("/gw/devices{}", dry(args));
    let bodies: Value = batch.iter().map(|(_, body)| body.clone()).collect();
    let made = client.rows_for(cid, Method::POST, &path, &bodies).await?;
    let made: BTreeSet<&str> = made
        .iter()
        .filter_map(|row| row["configuration"]["ident"].as_str())
        .collect();
    for (row, body) in batch {
        if made.contains(row.ident.as_str()) {
            outcome.created += 1;
            continue;
        }
        let alone = json!([body]);
        match client.result_for(cid, Method::POST, &path, &alone).await {
            Ok(_) => outcome.created += 1,
            Err(failure) => outcome.refused.push(Refused {
                line: row.line,
                ident: row.ident.clone(),
                why: failure.what,
            }),
        }
    }
    Ok(())
}

/// Traccar's device list.
fn traccar(text: &str) -> Result<Vec<Row>, String> {
    let list: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let list = list.as_array().ok_or("not a list of devices")?;
    let mut rows = Vec::new();
    for (place, device) in list.iter().enumerate() {
        let text = |name: &str| {
            let text = device.get(name).and_then(Value::as_str)?.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        let ident = match device.get("uniqueId") {
            Some(Value::String(ident)) => ident.clone(),
            Some(Value::Number(ident)) => ident.to_string(),
            _ => String::new(),
        };
        let mut row = Row {
            line: place + 1,
            fault: ident.is_empty().then(|| "it has no uniqueId".to_owned()),
            ident,
            name: text("name"),
            model: text("model"),
            enabled: device
                .get("disabled")
                .and_then(Value::as_bool)
                .map(|disabled| !disabled),
            ..Row::default()
        };
        if let Some(phone) = text("phone") {
            row.configuration.insert("phone".into(), phone.into());
        }
        let mut kept = Map::new();
        for name in [
            "id",
            "groupId",
            "model",
            "contact",
            "category",
            "attributes",
        ] {
            match device.get(name) {
                None | Some(Value::Null) => {}
                Some(Value::Object(empty)) if empty.is_empty() => {}
                Some(value) => {
                    kept.insert(name.into(), value.clone());
                }
            }
        }
        if !kept.is_empty() {
            row.metadata.insert("traccar".into(), kept.into());
        }
        rows.push(row);
    }
    Ok(rows)
}

/// What a column is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    Ident,
    Name,
    Type,
    Protocol,
    Model,
    Enabled,
    Configuration(&'static str),
    Metadata(String),
}

fn column_of(name: &str) -> Result<Column, String> {
    let name = name.trim();
    if let Some(key) = name.strip_prefix("metadata.").filter(|key| !key.is_empty()) {
        return Ok(Column::Metadata(key.to_owned()));
    }
    Ok(match name.to_ascii_lowercase().as_str() {
        "ident" | "imei" | "uniqueid" | "unique_id" => Column::Ident,
        "name" => Column::Name,
        "type" | "device_type" | "device_type_name" | "device_type_id" => Column::Type,
        "protocol" | "protocol_name" => Column::Protocol,
        "model" => Column::Model,
        "enabled" => Column::Enabled,
        "password" => Column::Configuration("password"),
        "format" => Column::Configuration("format"),
        "time_zone" => Column::Configuration("time_zone"),
        "phone" => Column::Configuration("phone"),
        _ => {
            return Err(format!(
                "there is no column {name:?}: free ones are called metadata.{name}"
            ));
        }
    })
}

/// A CSV file with a header; commas, semicolons or tabs.
fn csv(text: &str) -> Result<Vec<Row>, String> {
    let head = text.lines().next().unwrap_or_default();
    let separator = [',', ';', '\t']
        .into_iter()
        .max_by_key(|separator| (head.matches(*separator).count(), *separator == ','))
        .unwrap_or(',');
    let mut records = records(text, separator)?.into_iter();
    let (_, head) = records.next().ok_or("the file is empty")?;
    let columns: Vec<Column> = head
        .iter()
        .map(|name| column_of(name))
        .collect::<Result<_, _>>()?;
    if !columns.contains(&Column::Ident) {
        return Err("there is no column ident".into());
    }
    let mut rows = Vec::new();
    for (line, values) in records {
        if values.len() == 1 && values[0].trim().is_empty() {
            continue;
        }
        let mut row = Row {
            line,
            ..Row::default()
        };
        if values.len() != columns.len() {
            let (has, needs) = (values.len(), columns.len());
            row.fault = Some(format!("it has {has} values, the header {needs}"));
            rows.push(row);
            continue;
        }
        for (column, value) in columns.iter().zip(values) {
            let value = value.trim();
            let some = || Some(value.to_owned()).filter(|value| !value.is_empty());
            match column {
                Column::Ident => value.clone_into(&mut row.ident),
                Column::Name => row.name = some(),
                Column::Type => row.kind = some(),
                Column::Protocol => row.protocol = some(),
                Column::Model => row.model = some(),
                Column::Enabled => {
                    row.enabled = match value.to_ascii_lowercase().as_str() {
                        "" => None,
                        "true" | "yes" | "1" => Some(true),
                        "false" | "no" | "0" => Some(false),
                        _ => {
                            row.fault = Some(format!("enabled is {value:?}: true or false"));
                            None
                        }
                    }
                }
                Column::Configuration(name) => {
                    if let Some(value) = some() {
                        row.configuration.insert((*name).to_owned(), value.into());
                    }
                }
                Column::Metadata(name) => {
                    if let Some(value) = some() {
                        row.metadata.insert(name.clone(), value.into());
                    }
                }
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

/// The records of a CSV text (RFC 4180), each with the line it begins on.
fn records(text: &str, separator: char) -> Result<Vec<(usize, Vec<String>)>, String> {
    let mut records = Vec::new();
    let (mut line, mut begun, mut quoted) = (1, 1, false);
    let mut record = Vec::new();
    let mut field = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        line += usize::from(c == '\n');
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            _ if quoted => field.push(c),
            '"' if field.trim().is_empty() => {
                field.clear();
                quoted = true;
            }
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                record.push(std::mem::take(&mut field));
                records.push((begun, std::mem::take(&mut record)));
                begun = line;
            }
            c if c == separator => record.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    if quoted {
        return Err(format!("line {begun}: a quote is not closed"));
    }
    if !field.is_empty() || !record.is_empty() {
        record.push(field);
        records.push((begun, record));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_and_traccar_give_the_same_rows() {
        let csv = csv(
            "IMEI;name;type;enabled;phone;metadata.plate\r\n352625333222111;\"Van; \"\"blue\"\"\";teltonika;yes;+49;B-1\r\n\r\n352625333222112;;;;;\n",
        )
        .expect("a table");
        assert_eq!(csv.len(), 2);
        assert_eq!(csv[0].name.as_deref(), Some("Van; \"blue\""));
        assert_eq!(csv[0].configuration["phone"], "+49");
        assert_eq!(csv[0].metadata["plate"], "B-1");
        assert_eq!(
            (csv[0].enabled, csv[0].line, csv[1].line),
            (Some(true), 2, 4)
        );
        assert_eq!(csv[1].kind, None);
        let traccar = traccar(
            r#"[{"id":7,"name":"Van","uniqueId":"352625333222111","disabled":true,"model":"FMB920","phone":"","attributes":{}}]"#,
        )
        .expect("a list");
        assert_eq!(traccar[0].enabled, Some(false));
        assert_eq!(
            traccar[0].metadata["traccar"],
            json!({ "id": 7, "model": "FMB920" })
        );
        // a row that cannot be is told, and the others are taken
        let faulty = super::csv("ident,enabled\n1\n2,maybe\n3,no\n").expect("a table");
        let faults = faulty.iter().map(|row| row.fault.as_deref());
        let expected = [
            Some("it has 1 values, the header 2"),
            Some("enabled is \"maybe\": true or false"),
            None,
        ];
        assert!(faults.eq(expected), "{faulty:?}");
        let faulty = super::traccar(r#"[{"name":"x"},{"uniqueId":7}]"#).expect("a list");
        assert_eq!(faulty[0].fault.as_deref(), Some("it has no uniqueId"));
        assert_eq!((faulty[1].ident.as_str(), &faulty[1].fault), ("7", &None));
        for bad in ["name\nx", "ident,colour\n1,2", "ident\n\"1", ""] {
            assert!(super::csv(bad).is_err(), "{bad:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_second_run_changes_nothing_and_each_bad_row_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let client = Client::of(dir.path()).await.expect("a directory");
        let master = json!([{ "name": "Master" }]);
        let (status, _) = client
            .call(Method::POST, "/platform/subaccounts", Some(&master))
            .await
            .expect("an answer");
        assert!(status.is_success());
        let args = |dry_run| Devices {
            data: DataArgs::default(),
            file: PathBuf::new(),
            account: None,
            kind: Some("teltonika".into()),
            dry_run,
        };
        let rows = |name: &str| {
            let text = format!(
                "ident,name,type\n352625333222111,{name},\n352625333222112,b,gt06\na#b,c,\n352625333222111,d,\n1,e,nothing\n"
            );
            csv(&text).expect("a table")
        };
        let counts = |outcome: &Outcome| {
            let lines: Vec<_> = outcome.refused.iter().map(|refused| refused.line).collect();
            (outcome.created, outcome.changed, outcome.unchanged, lines)
        };
        let bad = vec![4, 5, 6];
        let dry = import(&client, &args(true), rows("a")).await.expect("done");
        assert_eq!(counts(&dry), (2, 0, 0, bad.clone()));
        let first = import(&client, &args(false), rows("a"))
            .await
            .expect("done");
        assert_eq!(counts(&first), (2, 0, 0, bad.clone()));
        let second = import(&client, &args(false), rows("a"))
            .await
            .expect("done");
        assert_eq!(counts(&second), (0, 0, 2, bad.clone()));
        let renamed = import(&client, &args(false), rows("z"))
            .await
            .expect("done");
        assert_eq!(counts(&renamed), (0, 1, 1, bad));
        let names = client
            .result("/gw/devices/all?fields=name")
            .await
            .expect("rows");
        assert_eq!(names, [json!({ "name": "z" }), json!({ "name": "b" })]);
        client.close().await;
    }
}
