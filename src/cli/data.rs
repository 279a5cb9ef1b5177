//! Which data directory a command means.

use super::{Exit, Failure};
use crate::config::{Config, ConfigError};
use clap::Args;
use std::path::{Path, PathBuf};

/// The name of the local API's socket in the data directory.
pub(super) const SOCKET: &str = "tollgate.sock";

/// The data directory: by itself, or by the configuration that names it.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct DataArgs {
    /// The data directory of the gateway
    #[arg(long, value_name = "DIR", env = "TOLLGATE_DATA")]
    data: Option<PathBuf>,
    /// The configuration file, which names the data directory
    #[arg(
        long,
        value_name = "FILE",
        env = "TOLLGATE_CONFIG",
        conflicts_with = "data"
    )]
    config: Option<PathBuf>,
}

impl DataArgs {
    /// The directory. Without arguments the one that a configuration without a word of it means.
    pub(crate) fn dir(&self) -> Result<PathBuf, Failure> {
        match (&self.data, &self.config) {
            (Some(data), _) => Ok(data.clone()),
            (None, Some(file)) => Ok(load(file)?.gateway.data_dir),
            (None, None) => Ok(Config::default().gateway.data_dir),
        }
    }
}

/// Reads a configuration: all its mistakes at once.
pub(crate) fn load(file: &Path) -> Result<Config, Failure> {
    let bytes = std::fs::read(file).map_err(|error| {
        Failure::new(Exit::NoInput, format_args!("{}: {error}", file.display()))
            .hint("`tollgate config default` prints a file to begin with")
    })?;
    let text = text_of(bytes, file, "a configuration in TOML")?;
    Config::parse(&text).map_err(|errors| mistakes(file, &errors))
}

/// A file's bytes as text: what is `wanted`, and where the file is none.
pub(crate) fn text_of(bytes: Vec<u8>, file: &Path, wanted: &str) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let (before, rest) = error.as_bytes().split_at(at);
        let line = before.split(|byte| *byte == b'\n').count();
        let byte = rest.first().copied().unwrap_or_default();
        Failure::new(
            Exit::Data,
            format_args!(
                "{}: no text in UTF-8: byte {at}, in line {line}, is {byte:02x}",
                file.display()
            ),
        )
        .hint(format_args!(
            "{wanted} is wanted; a text in another encoding is changed by `iconv -f ISO-8859-1 -t UTF-8`"
        ))
    })
}

/// All mistakes of a file as one failure.
pub(crate) fn mistakes(file: &Path, errors: &[ConfigError]) -> Failure {
    let lines: Vec<String> = errors.iter().map(|error| format!("  {error}")).collect();
    let count = if errors.len() == 1 {
        "a mistake"
    } else {
        "mistakes"
    };
    Failure::new(
        Exit::Usage,
        format_args!("{} has {count}:\n{}", file.display(), lines.join("\n")),
    )
}
