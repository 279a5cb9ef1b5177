//! `tollgate decode`: hexadecimal in, events out. The form is an interface: `docs/decode.md`.

use super::{Exit, Failure, nearest, now_ms};
use crate::replay::{Known, Transcript};
use protocols::{Ident, PROTOCOLS, Protocol, Reply, Settings};
use serde_json::{Value as Json, json};
use std::io::{self, BufRead, Read as _, Write};
use std::sync::Arc;

/// The longest input line: a read of 4 MiB with a blank between the bytes and to spare.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

const FORM: &str = "\
Input: one line of hexadecimal per read of one connection. An empty line ends the connection and
begins a new one. Blanks between bytes do not count.

Output: one JSON object per line, in wire order:
  {\"login\":IDENT}
  {\"message\":{...parameters, \"timestamp\" in seconds, \"ident\"}}
  {\"part\":HEX}                        a fragment that is kept until the rest has come
  {\"reply\":HEX,\"gate\":\"open|admitted|stored\",\"refused\":HEX|null,\"refused_by\":{CAUSE:HEX}}
  {\"command_reply\":{\"key\":N|null,\"text\":TEXT}}
  {\"rejected\":{\"what\":..,\"why\":..,\"at\":..}}   a frame is dropped, the stream goes on
  {\"fatal\":{\"what\":..,\"why\":..,\"at\":..}}      the stream is lost: the rest of it is not read
  {\"end\":N}                           input line N (from 1, empty ones counted) is done

What is left when a connection ends is read as the last of it; what that gives comes before the
{\"end\":N} of the empty line, or last of all at the end of the input. Nothing is admitted here: a
reply's gate and its refusals are shown, not decided. docs/decode.md has it all.

Example:
  echo 000f333536333037303432343431303133 | tollgate decode --protocol teltonika";

/// Decode hexadecimal from standard input: one line per read, one JSON object per event.
#[derive(Debug, clap::Args)]
#[command(after_help = FORM)]
pub struct Args {
    /// The protocol, by the name it has in the configuration.
    #[arg(long, value_name = "NAME", value_parser = protocol_named)]
    protocol: &'static Protocol,
    /// The time of receipt, unix ms, of every line. The machine's clock unless given.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    now: Option<i64>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// What is known of the device, for subcommands that decode without a registry.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct DeviceArgs {
    /// Each connection begins as already logged in under this ident.
    #[arg(long, value_name = "IDENT")]
    ident: Option<String>,
    /// A setting of the device: model, password, format or time_zone. May be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub(super) set: Vec<(String, String)>,
}

impl DeviceArgs {
    /// Checks them against `protocol`.
    pub(super) fn known(&self, protocol: &Protocol) -> Result<Known, Failure> {
        let ident = match &self.ident {
            Some(text) => Some(named(text, protocol)?),
            None => None,
        };
        let mut settings = Settings::default();
        for (key, value) in &self.set {
            settings.set(key, value).map_err(|error| {
                Failure::new(Exit::Usage, format_args!("--set {key}={value}: {error}"))
            })?;
        }
        Ok(Known {
            ident,
            settings: (!self.set.is_empty()).then(|| Arc::new(settings)),
        })
    }
}

fn named(text: &str, protocol: &Protocol) -> Result<Ident, Failure> {
    protocol
        .ident(text)
        .map_err(|error| Failure::new(Exit::Usage, format_args!("--ident {text}: {error}")))
}

/// The protocol of that name, or which ones come near.
pub(super) fn protocol_named(text: &str) -> Result<&'static Protocol, String> {
    protocols::find(text).ok_or_else(|| {
        let names = || PROTOCOLS.iter().map(|protocol| protocol.info.name);
        let near = nearest(text, names());
        if near.is_empty() {
            let all: Vec<_> = names().collect();
            format!("no such protocol; there are: {}", all.join(", "))
        } else {
            format!("no such protocol; did you mean {}?", near.join(" or "))
        }
    })
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is wanted")?;
    let checked = Settings::default().set(key, value);
    checked.map_err(|error| error.to_string())?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Runs it over standard input and output.
pub fn run(args: &Args) -> Result<(), Failure> {
    let known = args.device.known(args.protocol)?;
    let clock = || args.now.unwrap_or_else(now_ms);
    let output = io::BufWriter::new(io::stdout().lock());
    stream(args.protocol, &known, &clock, io::stdin().lock(), output)
}

fn stream(
    protocol: &Protocol,
    known: &Known,
    clock: &dyn Fn() -> i64,
    mut input: impl BufRead,
    mut output: impl Write,
) -> Result<(), Failure> {
    let open = || {
        Transcript::open(protocol, known.clone())
            .map_err(|reject| Failure::new(Exit::Usage, format_args!("--ident: {reject}")))
    };
    let mut connection = open()?;
    let mut text = Vec::new();
    let mut number = 0u64;
    loop {
        text.clear();
        let length = input
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut text)
            .map_err(|error| {
                Failure::new(Exit::Io, format_args!("reading standard input: {error}"))
            })?;
        let mut line = |object: Json, _: Option<&Reply>| print(&mut output, &object);
        if length == 0 {
            connection.end(clock(), &mut line)?;
            return output.flush().map_err(|error| Failure::output(&error));
        }
        number += 1;
        let bytes = read_hex(&text, number)?;
        if bytes.is_empty() {
            connection.end(clock(), &mut line)?;
            connection = open()?;
        } else {
            connection.read(&bytes, clock(), &mut line)?;
        }
        print(&mut output, &json!({ "end": number }))?;
        output.flush().map_err(|error| Failure::output(&error))?;
    }
}

fn print(output: &mut impl Write, object: &Json) -> Result<(), Failure> {
    writeln!(output, "{object}").map_err(|error| Failure::output(&error))
}

/// The bytes of one input line.
fn read_hex(text: &[u8], number: u64) -> Result<Vec<u8>, Failure> {
    let wrong = |what: String| {
        Failure::new(
            Exit::Data,
            format_args!("line {number} of the input: {what}"),
        )
        .hint("each line is the hexadecimal of one read; an empty line begins a new connection")
    };
    if text.len() as u64 == LINE_BYTES_MAX && text.last() != Some(&b'\n') {
        return Err(wrong(format!("longer than {LINE_BYTES_MAX} bytes")));
    }
    let fits = |byte: &u8| byte.is_ascii_hexdigit() || byte.is_ascii_whitespace();
    if let Some(at) = text.iter().position(|byte| !fits(byte)) {
        let rest = String::from_utf8_lossy(text.get(at..).unwrap_or_default());
        let found = rest.chars().next().unwrap_or_default();
        return Err(wrong(format!(
            "{found:?} in column {} is no hexadecimal digit",
            at + 1
        )));
    }
    std::str::from_utf8(text)
        .ok()
        .and_then(protocols::kit::hex::decode)
        .ok_or_else(|| wrong("an odd number of hexadecimal digits: half a byte is missing".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &str) -> Result<Vec<String>, Failure> {
        let protocol = protocols::find("teltonika").expect("it is in the table");
        let mut output = Vec::new();
        stream(
            protocol,
            &Known::default(),
            &|| 1000,
            input.as_bytes(),
            &mut output,
        )?;
        let text = String::from_utf8(output).expect("JSON is text");
        Ok(text.lines().map(str::to_owned).collect())
    }

    #[test]
    fn every_input_line_has_its_end() {
        let lines = decode("000f33353633303730\r\n\n00 0F 333536333037303432343431303133")
            .expect("good hex");
        assert_eq!(
            lines,
            [
                r#"{"end":1}"#,
                r#"{"end":2}"#,
                r#"{"login":"356307042441013"}"#,
                r#"{"reply":"01","gate":"admitted","refused":"00","refused_by":{}}"#,
                r#"{"end":3}"#,
            ]
        );
    }

    #[test]
    fn what_is_no_hexadecimal_is_named_with_its_line() {
        for (input, says) in [
            (
                "00\nzz\n",
                "line 2 of the input: 'z' in column 1 is no hexadecimal digit",
            ),
            (
                "0",
                "line 1 of the input: an odd number of hexadecimal digits",
            ),
            ("00ü", "line 1 of the input: 'ü' in column 3"),
        ] {
            let failure = decode(input).expect_err(input);
            assert_eq!(failure.exit, Exit::Data);
            assert!(failure.what.starts_with(says), "{failure}");
        }
    }

    #[test]
    fn an_unknown_protocol_names_the_nearest() {
        let error = protocol_named("teltonica").expect_err("no such protocol");
        assert_eq!(error, "no such protocol; did you mean teltonika?");
        assert!(
            protocol_named("zzzzzzzz")
                .expect_err("nor this")
                .contains("there are: ")
        );
    }

    #[test]
    fn settings_are_checked_where_they_are_given() {
        assert!(setting("time_zone=+03:00").is_ok());
        assert!(setting("time_zone=Mars").is_err());
        assert!(setting("colour=red").is_err());
        assert!(setting("model").is_err());
    }
}
