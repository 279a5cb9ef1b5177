//! Which data directory a command means.

use super::{Exit, Failure};
use crate::config::{Config, ConfigError};
use clap::Args;
use rustix::io::Errno;
use std::error::Error;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
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

/// What is named as the data directory is none.
pub(super) fn no_directory(dir: &Path) -> Failure {
    let what = format_args!("{} is no data directory", dir.display());
    Failure::new(Exit::NoInput, what)
        .hint("name the gateway's data directory with --data, or its file with --config")
}

/// A data directory cannot be used: what the system refuses is told with what mends it.
pub(super) fn unusable(dir: &Path, error: &(dyn Error + 'static)) -> Failure {
    let what = format!("data directory {}: {error}", dir.display());
    let mut causes = std::iter::successors(Some(error), |error| Error::source(*error));
    if let Some(refused) = causes.find_map(|error| error.downcast_ref::<std::io::Error>()) {
        let failure = Failure::new(Exit::Io, what);
        return match refused_hint(dir, refused) {
            Some(hint) => failure.hint(hint),
            None => failure,
        };
    }
    // whatever kind of file it is, they all say it so
    let is_newer = what.contains("newer version");
    let failure = Failure::new(Exit::Data, what);
    if is_newer {
        failure.hint(
            "start the version that wrote it, or restore a backup of before: nothing was changed",
        )
    } else {
        failure
    }
}

/// What to do where the system refuses something in the data directory.
fn refused_hint(dir: &Path, error: &std::io::Error) -> Option<String> {
    Some(match Errno::from_io_error(error)? {
        Errno::MFILE | Errno::NFILE => RAISE_FILES.to_owned(),
        Errno::NOSPC | Errno::DQUOT => {
            format!(
                "`df {}` shows its file system: make room there",
                dir.display()
            )
        }
        Errno::ROFS => "its file system is mounted read-only: `dmesg` may say why".to_owned(),
        Errno::ACCESS | Errno::PERM => {
            let me = rustix::process::geteuid().as_raw();
            let owner = std::fs::metadata(dir).map(|found| found.uid());
            let dir = dir.display();
            match owner {
                Ok(owner) if owner == me => format!(
                    "something in it is another user's (a command was run as root?): \
                     `find {dir} ! -uid {me}` shows it"
                ),
                Ok(owner) => format!(
                    "this runs as user {me} and the directory is user {owner}'s: \
                     run it as that one, or `chown -R {me} {dir}`"
                ),
                Err(_) => format!("this runs as user {me}, who may not look there"),
            }
        }
        _ => return None,
    })
}

/// Where there are no more files to be had.
pub(super) const RAISE_FILES: &str =
    "raise the limit of open files: `ulimit -n`, or LimitNOFILE in a systemd unit";

/// Reads a configuration: all its mistakes at once.
pub(crate) fn load(file: &Path) -> Result<Config, Failure> {
    let bytes = std::fs::read(file).map_err(|error| {
        let failure = Failure::new(Exit::NoInput, format_args!("{}: {error}", file.display()));
        match error.kind() {
            ErrorKind::NotFound => {
                failure.hint("`tollgate config default` prints a file to begin with")
            }
            ErrorKind::PermissionDenied => {
                failure.hint("run this as the user that runs the gateway, or as root")
            }
            _ => failure,
        }
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
