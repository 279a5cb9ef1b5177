//! `tollgate messages`: what a device or a channel has stored, or stores as it comes.

use super::client::{Client, asking};
use super::data::{DataArgs, SOCKET};
use super::{Exit, Failure};
use axum::body::Body;
use axum::http::Method;
use clap::Args as ClapArgs;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::io::Write;

/// A message's server time may be so much behind the clock: its frame waited to be charged.
const CLOCK_SLACK_S: f64 = 60.0;

/// Prints messages, one JSON object a line: of a device by its own time, of a channel by the
/// server's.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false, id = "of")]
pub struct Of {
    /// The device's id
    #[arg(long, value_name = "ID", value_parser = super::id)]
    device: Option<u64>,
    /// The channel's id
    #[arg(long, value_name = "ID", value_parser = super::id)]
    channel: Option<u64>,
}

/// Prints messages, one JSON object a line: of a device by its own time, of a channel by the
/// server's.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    data: DataArgs,
    /// From this time on: unix seconds, or like 2026-11-24T02:00:00Z
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    from: Option<f64>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    to: Option<f64>,
    /// At most so many
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// The newest first
    #[arg(long)]
    reverse: bool,
    /// Go on with what comes, until interrupted (needs a running gateway)
    #[arg(long)]
    follow: bool,
}

/// Unix seconds from a number or from RFC 3339.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok(seconds);
    }
    text.parse::<Timestamp>()
        .map(|time| time.as_microsecond() as f64 / 1e6)
        .map_err(|_| "neither unix seconds nor a time like 2026-11-24T02:00:00Z".to_owned())
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    asking(&args.data, async |client| print(client, args).await)
}

async fn print(client: &Client, args: &Args) -> Result<(), Failure> {
    let (module, id) = match (args.of.device, args.of.channel) {
        (Some(id), _) => ("devices", id),
        (None, Some(id)) => ("channels", id),
        (None, None) => return Err(Failure::new(Exit::Usage, "name a device or a channel")),
    };
    if args.follow && matches!(client, Client::Alone(..)) {
        return Err(
            Failure::new(Exit::Unavailable, "no gateway runs on this data directory").hint(
                "messages come to a running gateway only: leave --follow away to read what is kept",
            ),
        );
    }
    let mut data = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            data.insert(name.to_owned(), value);
        }
    };
    set("from", args.from.map(Value::from));
    set("to", args.to.map(Value::from));
    set("count", args.count.map(Value::from));
    set("reverse", args.reverse.then(|| json!(true)));
    // it begins before what is kept is read, so that nothing falls between the two
    let follow = if args.follow {
        let path = format!("/local/follow?{}={id}", module.trim_end_matches('s'));
        let begun_s = super::now_ms() as f64 / 1000.0;
        Some((begun_s, client.open(Method::GET, &path, None).await?.1))
    } else {
        None
    };
    let path = format!("/gw/{module}/{id}/messages");
    let (status, body) = client
        .open(Method::GET, &path, Some(&Value::Object(data)))
        .await?;
    let bytes = body
        .collect()
        .await
        .map_err(|error| Failure::new(Exit::Unavailable, error))?
        .to_bytes();
    let answer: Value =
        serde_json::from_slice(&bytes).map_err(|error| Failure::new(Exit::Unavailable, error))?;
    let messages = answer.get("result").and_then(Value::as_array);
    let Some(messages) = messages.filter(|_| status.is_success()) else {
        let what = module.trim_end_matches('s');
        // for the operator, who may see all, the refusal of what is foreign is that of what is missing
        if status == axum::http::StatusCode::FORBIDDEN {
            let failure = Failure::new(Exit::Data, format_args!("there is no {what} {id}"));
            return Err(failure.hint(format_args!(
                "the API lists them: `curl --unix-socket DATA_DIR/{SOCKET} \
                 'http://localhost/gw/{module}/all?fields=id,name'`"
            )));
        }
        let reason = answer.pointer("/errors/0/reason").and_then(Value::as_str);
        return Err(Failure::new(
            Exit::Data,
            reason.unwrap_or("the gateway refused"),
        ));
    };
    let mut out = std::io::stdout().lock();
    for message in messages {
        writeln!(out, "{message}").map_err(|error| Failure::output(&error))?;
    }
    out.flush().map_err(|error| Failure::output(&error))?;
    let Some((begun_s, follow)) = follow else {
        return Ok(());
    };
    // what came while it was read comes a second time
    let is_new = |message: &&Value| {
        let came_s = message.get("server.timestamp").and_then(Value::as_f64);
        came_s.is_none_or(|came_s| came_s >= begun_s - CLOCK_SLACK_S)
    };
    let shown = messages.iter().filter(is_new).map(ToString::to_string);
    print_on(follow, shown.collect(), &mut out).await
}

/// Prints messages as they come, but for those that are shown already.
async fn print_on(
    mut follow: Body,
    mut shown: HashSet<String>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut unread: Vec<u8> = Vec::new();
    while let Some(frame) = follow.frame().await {
        let frame = frame.map_err(|error| Failure::new(Exit::Unavailable, error))?;
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        unread.extend_from_slice(&bytes);
        let Some(end) = unread.iter().rposition(|byte| *byte == b'\n') else {
            continue;
        };
        let rest = unread.split_off(end + 1);
        let lines = std::mem::replace(&mut unread, rest);
        // the empty lines only show that the gateway is there
        for line in lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let message: Value = serde_json::from_slice(line)
                .map_err(|error| Failure::new(Exit::Unavailable, error))?;
            let line = message.to_string();
            if !shown.remove(&line) {
                writeln!(out, "{line}").map_err(|error| Failure::output(&error))?;
            }
        }
        out.flush().map_err(|error| Failure::output(&error))?;
    }
    Ok(())
}
