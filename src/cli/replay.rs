//! `tollgate replay`: a capture's trackers, again over real connections, or only decoded.

use super::decode::{DeviceArgs, protocol_named};
use super::{Exit, Failure, say};
use crate::replay::player::{Outcome, Plan, Played, play};
use crate::replay::{CaptureError, Conversation, From, LINKS, Recording, Transcript, protocol_of};
use clap::ArgGroup;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use protocols::{Protocol, Reply};
use serde_json::{Value as Json, json};
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// So many conversations have a row of their own in the table, those with something amiss first.
const ROWS_MAX: usize = 20;

const AFTER: &str = "\
The side of each TCP connection that opened it is put together from the packets (reordering,
retransmission, overlap, VLAN, IPv6, Linux cooked captures) and said again at the recorded pace.
Where the capture has an answer, one is waited for; when none comes the same is said again, at most
three times, as a tracker does. When the connection breaks it calls again, at most three times.

--decode prints one {\"conversation\":..} line per connection and under it the lines of `tollgate
decode`; --extract writes a dialogue of each into a file of its own: the form of fixtures/.

Exit code 1: something stayed without an answer, or a connection was closed too early.

Examples:
  tollgate replay trackers.pcapng --to 127.0.0.1:5027 --speed 10
  tollgate replay trackers.pcapng --port 5023 --protocol gt06 --decode";

/// Play the trackers of a capture (pcap or pcapng) over real connections, or decode them.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER, group = ArgGroup::new("what").required(true))]
pub struct Args {
    /// The capture.
    file: PathBuf,
    /// Who is called.
    #[arg(long, value_name = "HOST:PORT", group = "what")]
    to: Option<String>,
    /// Print what a decoder makes of it; no network is used.
    #[arg(long, group = "what")]
    decode: bool,
    /// Write each conversation as a dialogue into this directory; no network is used.
    #[arg(long, value_name = "DIR", group = "what")]
    extract: Option<PathBuf>,
    /// So many times as fast as it was recorded, or `max`: as fast as the answers allow.
    #[arg(long, value_name = "X|max", default_value = "1", value_parser = speed)]
    speed: Speed,
    /// Only the connections to this port.
    #[arg(long)]
    port: Option<u16>,
    /// The most connections at a time; the others wait for one to end.
    #[arg(long, value_name = "N", default_value_t = 256,
          value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// How long an answer is waited for before the same is said again.
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u16).range(1..))]
    answer_wait: u16,
    /// Of a file that was cut short or damaged, take what is whole.
    #[arg(long)]
    whole_part: bool,
    /// For --decode and --extract: the protocol, unless it shows in the first bytes or by the port.
    #[arg(long, value_name = "NAME", value_parser = protocol_named)]
    protocol: Option<&'static Protocol>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// How fast; `None` is as fast as possible.
#[derive(Debug, Clone, Copy)]
struct Speed(Option<f64>);

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed(None));
    }
    match text.parse::<f64>() {
        Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed(Some(times))),
        _ => Err("a number above 0, such as 1 or 0.5 or 20, or max".into()),
    }
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let recording = open(args)?;
    let mut output = io::BufWriter::new(io::stdout().lock());
    if let Some(to) = &args.to {
        let to = address(to)?;
        return over_network(args, recording, to, &mut output);
    }
    for (index, conversation) in recording.conversations.iter().enumerate() {
        let protocol = spoken(args, index, conversation)?;
        match &args.extract {
            Some(directory) => {
                let path = extract(args, protocol, index, conversation, directory)?;
                writeln!(output, "{}", path.display()).map_err(|error| Failure::output(&error))?;
            }
            None => decode(args, protocol, index, conversation, &mut output)?,
        }
    }
    output.flush().map_err(|error| Failure::output(&error))
}

fn open(args: &Args) -> Result<Recording, Failure> {
    let file = args.file.display();
    let recording = Recording::open(&args.file, args.port).map_err(|error| match error {
        CaptureError::Io(error) => {
            let exit = match error.kind() {
                ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::IsADirectory => {
                    Exit::NoInput
                }
                _ => Exit::Io,
            };
            Failure::new(exit, format_args!("{file}: {error}"))
        }
        error => Failure::new(Exit::Data, format_args!("{file}: {error}"))
            .hint("a capture of tcpdump, dumpcap or Wireshark is wanted (pcap or pcapng)"),
    })?;
    if let Some(broken) = &recording.broken {
        if !args.whole_part {
            return Err(
                Failure::new(Exit::Data, format_args!("{file}: {broken}")).hint(
                    "copy or record it again, or give --whole-part to take what is before that",
                ),
            );
        }
        say(&format_args!(
            "warning: {file}: {broken}; the rest is missing"
        ));
    }
    if recording.conversations.is_empty() {
        return Err(nothing(args, &recording));
    }
    let gaps: u32 = recording.conversations.iter().map(|one| one.gaps).sum();
    for (count, what) in [
        (
            u64::from(gaps),
            "times the capture lost bytes of a stream: what follows may not decode",
        ),
        (recording.fragments, "fragments of IP packets were left out"),
        (
            recording.unreadable,
            "packets with broken headers were left out",
        ),
        (
            recording.dropped,
            "TCP segments found no room (512 MiB, 262144 connections) and were left out",
        ),
    ] {
        if count > 0 {
            say(&format_args!("warning: {file}: {count} {what}"));
        }
    }
    Ok(recording)
}

/// Says why there is nothing to play.
fn nothing(args: &Args, recording: &Recording) -> Failure {
    let file = args.file.display();
    let of = |what: String| {
        let packets = recording.packets;
        let failure = format!("{file}: {what} ({packets} packets)");
        Failure::new(Exit::Data, failure)
    };
    if let Some((link, count)) = recording.foreign_links.iter().next()
        && *count == recording.packets
    {
        return of(format!("its packets are of link type {link}"))
            .hint(format_args!("these are read: {LINKS}"));
    }
    let ports: Vec<_> = recording.server_ports.iter().map(u16::to_string).collect();
    match args.port {
        Some(port) if !ports.is_empty() => of(format!("nobody calls port {port} with data in it"))
            .hint(format_args!("called are: {}", ports.join(", "))),
        _ => of("there is no TCP connection with data in it".into())
            .hint("trackers that send by UDP are not replayed"),
    }
}

fn address(text: &str) -> Result<SocketAddr, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Usage, format_args!("--to {text}: {why}"))
            .hint("HOST:PORT is wanted, such as 127.0.0.1:5027 or [::1]:5027")
    };
    let mut found = text.to_socket_addrs().map_err(|error| wrong(&error))?;
    found
        .next()
        .ok_or_else(|| wrong(&"the name has no address"))
}

fn spoken(
    args: &Args,
    index: usize,
    conversation: &Conversation,
) -> Result<&'static Protocol, Failure> {
    args.protocol
        .or_else(|| protocol_of(conversation))
        .ok_or_else(|| {
            let number = index + 1;
            let (client, server) = (conversation.client, conversation.server);
            let what = format!(
                "{}: what conversation {number} ({client} to {server}) speaks does not show",
                args.file.display(),
            );
            Failure::new(Exit::Data, what).hint("name it with --protocol, and the port with --port")
        })
}

/// What a decoder hears of a conversation, and what it says to that.
enum Heard<'a> {
    Read(&'a [u8]),
    Line(&'a Json),
    /// All of the read has been heard.
    End,
    /// The last lines are of the end of the connection.
    Eof,
}

/// Decodes the client's side of `conversation`; `now_ms` is the clock at a turn of that time.
fn listen(
    args: &Args,
    protocol: &'static Protocol,
    conversation: &Conversation,
    now_ms: &dyn Fn(i64) -> i64,
    hear: &mut dyn FnMut(Heard<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let known = args.device.known(protocol)?;
    let mut transcript = Transcript::open(protocol, known)
        .map_err(|reject| Failure::new(Exit::Usage, format_args!("--ident: {reject}")))?;
    let mut last_ms = now_ms(conversation.opened_us / 1000);
    for turn in &conversation.turns {
        if turn.from == From::Client {
            last_ms = now_ms(turn.at_us / 1000);
            hear(Heard::Read(&turn.bytes))?;
            let mut line = |json: Json, _: Option<&Reply>| hear(Heard::Line(&json));
            transcript.read(&turn.bytes, last_ms, &mut line)?;
            hear(Heard::End)?;
        }
    }
    let mut first = true;
    transcript.end(last_ms, &mut |json, _| {
        if std::mem::take(&mut first) {
            hear(Heard::Eof)?;
        }
        hear(Heard::Line(&json))
    })
}

fn decode(
    args: &Args,
    protocol: &'static Protocol,
    index: usize,
    conversation: &Conversation,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let head = json!({ "conversation": {
        "number": index + 1,
        "protocol": protocol.info.name,
        "client": conversation.client.to_string(),
        "server": conversation.server.to_string(),
        "opened_ms": conversation.opened_us / 1000,
        "gaps": conversation.gaps,
    }});
    let mut print =
        |json: &Json| writeln!(output, "{json}").map_err(|error| Failure::output(&error));
    print(&head)?;
    let mut number = 0u64;
    listen(
        args,
        protocol,
        conversation,
        &|ms| ms,
        &mut |heard| match heard {
            Heard::Read(_) | Heard::Eof => Ok(()),
            Heard::Line(json) => print(json),
            Heard::End => {
                number += 1;
                print(&json!({ "end": number }))
            }
        },
    )
}

fn extract(
    args: &Args,
    protocol: &'static Protocol,
    index: usize,
    conversation: &Conversation,
    directory: &Path,
) -> Result<PathBuf, Failure> {
    let name = |path: &Path| {
        path.file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
    };
    let stem = name(&args.file).unwrap_or_default();
    let path = directory.join(format!("{stem}_{:03}.jsonl", index + 1));
    let mut text = String::new();
    let source = args
        .file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let mut head = json!({
        "source": format!("capture {}, conversation {}", source.unwrap_or_default(), index + 1),
        "now_ms": conversation.opened_us / 1000,
    });
    if let Some(ident) = args.device.known(protocol)?.ident {
        head["ident"] = ident.as_str().into();
    }
    for (key, value) in &args.device.set {
        head["settings"][key] = value.as_str().into();
    }
    text.push_str(&head.to_string());
    text.push('\n');
    // The clock of a dialogue stands still, so that its trials may cut it anywhere.
    let now_ms = conversation.opened_us / 1000;
    listen(args, protocol, conversation, &|_| now_ms, &mut |heard| {
        let line = match heard {
            Heard::Read(bytes) => json!({ "hex": protocols::kit::hex::encode(bytes) }).to_string(),
            Heard::Line(json) => json.to_string(),
            Heard::End => return Ok(()),
            Heard::Eof => json!({ "eof": true }).to_string(),
        };
        text.push_str(&line);
        text.push('\n');
        Ok(())
    })?;
    let failed = |error: io::Error| {
        let failure = Failure::new(Exit::Io, format_args!("{}: {error}", path.display()));
        if error.kind() == ErrorKind::AlreadyExists {
            return failure.hint("nothing is overwritten: give an empty directory");
        }
        failure
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let mut file = std::fs::File::create_new(&path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    Ok(path)
}

fn over_network(
    args: &Args,
    recording: Recording,
    to: SocketAddr,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let conversations: Arc<[Conversation]> = recording.conversations.into();
    let plan = Plan {
        to,
        speed: args.speed.0,
        connections: usize::from(args.connections),
        answer_wait: Duration::from_secs(u64::from(args.answer_wait)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Software, error))?;
    let bar = ProgressBar::new(conversations.len() as u64);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {pos}/{len} conversations, {elapsed} ({eta} left)")
    {
        bar.set_style(style);
    }
    let all = runtime.block_on(play(Arc::clone(&conversations), plan, &mut |_| bar.inc(1)));
    bar.finish_and_clear();
    summary(&conversations, &all, output)
        .and_then(|()| output.flush())
        .map_err(|error| Failure::output(&error))?;
    verdict(to, &all)
}

fn verdict(to: SocketAddr, all: &[Played]) -> Result<(), Failure> {
    let amiss = all
        .iter()
        .filter(|played| played.outcome != Outcome::Done)
        .count();
    let unreached = |played: &&Played| matches!(played.outcome, Outcome::NotConnected(_));
    match all.iter().find(unreached).map(|played| played.outcome) {
        Some(Outcome::NotConnected(kind)) if all.iter().all(|one| unreached(&one)) => {
            let refused = Failure::new(Exit::Unavailable, format_args!("{to}: {kind}"));
            Err(refused.hint("is the gateway running, and is this a port of one of its channels?"))
        }
        _ if amiss > 0 => {
            let of = all.len();
            let what =
                format_args!("{amiss} of {of} conversations did not go as recorded").to_string();
            let failure = Failure::new(Exit::Differs, what);
            let due = all.iter().any(|played| played.answers_due > 0);
            if due && all.iter().all(|played| played.answers == 0) {
                return Err(failure.hint(
                    "no conversation got an answer: does the capture speak the protocol of this port? \
                     `tollgate replay FILE --decode` says what it speaks",
                ));
            }
            Err(failure)
        }
        _ => Ok(()),
    }
}

fn summary(
    conversations: &[Conversation],
    all: &[Played],
    output: &mut impl Write,
) -> io::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "", "client", "port", "sent", "received", "answers", "same", "again", "calls", "took", "",
    ]);
    let mut rows: Vec<&Played> = all.iter().collect();
    rows.sort_by_key(|played| (played.outcome == Outcome::Done, played.index));
    let hidden = rows.len().saturating_sub(ROWS_MAX);
    for played in rows.iter().take(ROWS_MAX) {
        let ends = conversations.get(played.index);
        table.add_row([
            (played.index + 1).to_string(),
            ends.map(|one| one.client.to_string()).unwrap_or_default(),
            ends.map(|one| one.server.port().to_string())
                .unwrap_or_default(),
            played.sent_bytes.to_string(),
            played.received_bytes.to_string(),
            format!("{}/{}", played.answers, played.answers_due),
            played.answers_same.to_string(),
            played.said_again.to_string(),
            played.called_again.to_string(),
            format!("{:.1} s", played.took.as_secs_f64()),
            outcome(played.outcome),
        ]);
    }
    let sum = |of: fn(&Played) -> u64| all.iter().map(of).sum::<u64>();
    let done = all
        .iter()
        .filter(|played| played.outcome == Outcome::Done)
        .count();
    let longest = all
        .iter()
        .map(|played| played.took)
        .max()
        .unwrap_or_default();
    table.add_row([
        "all".to_owned(),
        format!("{} conversations", all.len()),
        String::new(),
        sum(|played| played.sent_bytes).to_string(),
        sum(|played| played.received_bytes).to_string(),
        format!(
            "{}/{}",
            sum(|played| played.answers.into()),
            sum(|played| played.answers_due.into())
        ),
        sum(|played| played.answers_same.into()).to_string(),
        sum(|played| played.said_again.into()).to_string(),
        sum(|played| played.called_again.into()).to_string(),
        format!("{:.1} s", longest.as_secs_f64()),
        format!("{done} done"),
    ]);
    for column in (0..10).filter(|column| *column != 1) {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(output, "{table}")?;
    if hidden > 0 {
        writeln!(output, "({hidden} more conversations are in the sums only)")?;
    }
    writeln!(
        output,
        "answers: came / recorded; same: the recorded bytes; again: said once more for want of an \
         answer; calls: beyond the first"
    )
}

fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Done => "done".into(),
        Outcome::Unanswered => "no answer".into(),
        Outcome::Closed => "closed early".into(),
        Outcome::NotConnected(kind) => kind.to_string(),
    }
}
