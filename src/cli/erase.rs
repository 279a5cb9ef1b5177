//! `tollgate erase`: everything of a device leaves the disk for good.

use super::client::{Client, asking};
use super::data::DataArgs;
use super::{Exit, Failure};
use axum::http::Method;
use clap::Args as ClapArgs;
use serde_json::{Value, json};
use std::time::Duration;

/// How often it is asked whether it is done.
const PULSE: Duration = Duration::from_millis(200);

/// Erases everything that was received of a device until now, for good: journal, archives,
/// telemetry. What it was charged stays counted. It cannot be undone; earlier backups still have
/// it. Ends when nothing of it is on the disk any more and the journal's certificate says so.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// The device's id; it may be deleted already
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    device: u64,
    /// Do it: without this it only says what it would do
    #[arg(long)]
    yes: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    if !args.yes {
        return Err(Failure::new(
            Exit::Usage,
            format_args!(
                "everything of device {} would be erased for good",
                args.device
            ),
        )
        .hint("say it with --yes"));
    }
    asking(&args.data, async |client| erase(client, args.device).await)
}

async fn erase(client: &Client, device: u64) -> Result<(), Failure> {
    let path = format!("/gw/devices/{device}?fields=name");
    let (_, known) = client.call(Method::GET, &path, None).await?;
    match known.pointer("/result/0/name").and_then(Value::as_str) {
        Some(name) => super::say(&format_args!("device {device} is \"{name}\"")),
        // a number that was typed wrong is one too
        None => super::say(&format_args!(
            "there is no device {device} now: what one of that number has left is erased"
        )),
    }
    let body = json!({ "device": device });
    let (status, answer) = client
        .call(Method::POST, "/local/erase", Some(&body))
        .await?;
    if !status.is_success() {
        let reason = answer.pointer("/errors/0/reason").and_then(Value::as_str);
        return Err(Failure::new(
            Exit::Io,
            reason.unwrap_or("the gateway refused"),
        ));
    }
    super::say(&format_args!(
        "device {device} is read by nobody any more; its data is erased now"
    ));
    loop {
        let erasing = client.result("/local/erasing").await?;
        if !erasing
            .iter()
            .any(|one| one.get("device").and_then(Value::as_u64) == Some(device))
        {
            break;
        }
        tokio::time::sleep(PULSE).await;
    }
    super::say(&format_args!(
        "device {device} is erased; the journal has the certificate. Earlier backups still have its data"
    ));
    Ok(())
}
