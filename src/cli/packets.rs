//! `tollgate packets`: kept raw traffic as a capture.

use super::client::{Client, asking, write_out};
use super::data::DataArgs;
use super::messages::seconds;
use super::{Exit, Failure, say};
use crate::control::Control;
use crate::events::Query as EventQuery;
use crate::ids::ConnectionId;
use crate::raw::{Label, Packet, Query, RawTraffic, ReadError};
use crate::replay::{Notes, Rebuilt, WHOLE};
use clap::Args as ClapArgs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Events that are put beside the packets; the newest ones of the time asked for.
const EVENTS_MAX: usize = 100_000;
/// The end of a capture in which its last comment stands.
const TAIL_BYTES: usize = 512;

const AFTER: &str = "\
The file is a capture of real TCP streams (handshake, acknowledgements, how it ended) that Wireshark
and tshark open; what the log says of a connection stands at its packets as comments. `tollgate
replay FILE --decode` reads it back. Chunks that were not kept are gaps.

Raw traffic is kept of channels and devices with `keep_packets`, or of all by `always` in [packets].

Example:
  tollgate packets --ident 356307042441013 --from 2026-11-24T02:00:00Z --out case.pcapng";

/// Writes kept raw traffic to a pcapng file.
#[derive(Debug, ClapArgs)]
#[command(after_help = AFTER, group = clap::ArgGroup::new("whose").required(true).multiple(true))]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Of connections on which this device named itself: its id
    #[arg(long, value_name = "ID", value_parser = super::id, group = "whose")]
    device: Option<u64>,
    /// Of this channel: its id
    #[arg(long, value_name = "ID", value_parser = super::id, group = "whose")]
    channel: Option<u64>,
    /// Of connections on which this ident named itself
    #[arg(long, value_name = "IDENT", group = "whose")]
    ident: Option<String>,
    /// From this time on: unix seconds, or like 2026-11-24T02:00:00Z
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    from: Option<f64>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    to: Option<f64>,
    /// The file to write
    #[arg(long, short, value_name = "FILE.pcapng")]
    out: PathBuf,
}

/// What is asked of the gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Asked {
    device: Option<u64>,
    channel: Option<u64>,
    ident: Option<String>,
    from_us: i64,
    to_us: i64,
}

impl Asked {
    fn means(&self, label: &Label<'_>) -> bool {
        self.device.is_none_or(|id| label.device.0 == id)
            && self.channel.is_none_or(|id| label.channel.0 == id)
            && self.ident.as_ref().is_none_or(|ident| label.ident == ident)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a float ends at the ends of i64"
)]
pub(super) fn us(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let asked = Asked {
        device: args.device,
        channel: args.channel,
        ident: args.ident.clone(),
        from_us: args.from.map_or(i64::MIN, us),
        to_us: args.to.map_or(i64::MAX, us),
    };
    asking(&args.data, async |client| write(client, args, &asked).await)
}

async fn write(client: &Client, args: &Args, asked: &Asked) -> Result<(), Failure> {
    let body = client.stream("/local/packets", &json!(asked)).await;
    let body = body.map_err(|failure| match failure.exit {
        Exit::Data => failure.hint(
            "raw traffic is kept of channels and devices with keep_packets, see [packets] in the \
             configuration",
        ),
        _ => failure,
    })?;
    let path = args.out.display();
    let failed = |error: &io::Error| Failure::new(Exit::Io, format_args!("{path}: {error}"));
    let file = std::fs::File::create(&args.out).map_err(|error| failed(&error))?;
    let mut out = io::BufWriter::new(file);
    let tail = write_out(body, &mut out, TAIL_BYTES, &failed).await?;
    let tail = String::from_utf8_lossy(&tail);
    let Some((_, whole)) = tail.rsplit_once(WHOLE) else {
        return Err(Failure::new(
            Exit::Io,
            format_args!("{path}: raw traffic could not be read on, the file is cut off"),
        ));
    };
    let count = whole.split('\0').next().unwrap_or_default();
    say(&format_args!("{path}: {count}"));
    Ok(())
}

/// Is there anything of what is asked for?
pub(crate) fn any(raw: &RawTraffic, asked: &Asked) -> Result<bool, ReadError> {
    let mut any = false;
    visit(raw, asked, &mut |_| {
        any = true;
        ControlFlow::Break(())
    })?;
    Ok(any)
}

/// Shows what is asked for, to the operator: all of it.
fn visit(
    raw: &RawTraffic,
    asked: &Asked,
    take: &mut dyn FnMut(Packet) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let query = Query {
        from_us: asked.from_us,
        to_us: asked.to_us,
        wanted: &|label| asked.means(label),
        seen: &|_| true,
    };
    raw.visit(&query, take)
}

/// Writes the capture to `out`; what goes wrong with the reading is said at its end.
pub(crate) fn capture(
    raw: &RawTraffic,
    control: &Control,
    asked: &Asked,
    out: impl Write,
) -> io::Result<()> {
    let about = format!("raw traffic kept by tollgate: {}", json!(asked));
    let mut rebuilt = Rebuilt::begin(out, &[about], notes(control, asked))?;
    let mut written = Ok(());
    let read = visit(raw, asked, &mut |packet| {
        written = rebuilt.take(&packet);
        if written.is_err() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    written?;
    let why = read.err().map(|error| error.to_string());
    rebuilt.finish(why.as_deref())?;
    Ok(())
}

/// What the log says of connections in the time asked for.
fn notes(control: &Control, asked: &Asked) -> Notes {
    let read = control.events().read(&EventQuery {
        from_us: asked.from_us,
        to_us: asked.to_us,
        count: EVENTS_MAX,
        reverse: true,
        wanted: &|_, _| true,
        fits: &|event| event.data.contains_key("connection_id"),
    });
    let mut notes = Notes::new();
    match read {
        Ok(events) => {
            for event in events.iter().rev() {
                let id = event.data.get("connection_id").and_then(Value::as_u64);
                let of = notes.entry(ConnectionId(id.unwrap_or(0))).or_default();
                of.push_back((event.at_us, format!("event {}", event.json())));
            }
        }
        Err(error) => tracing::warn!(%error, "the log cannot be read: a capture has no events"),
    }
    notes
}
