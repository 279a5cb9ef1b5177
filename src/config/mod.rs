//! The configuration file: from text to checked values, with all its mistakes at once.
//!
//! [`Raw`] mirrors the file, one struct a table; [`check()`] makes a [`Config`] of it, in which what
//! cannot be is not there: protocols exist, names lead to what they name, levels are not too many,
//! no port is asked for twice. A mistake says where it is (`channels[3].protocol`), what is wrong,
//! and the nearest thing that would be right.
//!
//! It refuses to guess (an unknown key is a mistake), to read anything but the text it is given,
//! and to know what is stored: that is `registry::reconcile`'s.
//!
//! There is no global: a room is handed its own part. `cli` reads the file, `control` carries out
//! what it declares.

mod check;
mod nearest;
mod place;
mod prefix;
mod raw;
mod read;
mod units;
mod words;

pub use check::{
    ACCOUNT_LEVELS_MAX, AccountConfig, ChannelConfig, Config, DeviceConfig, ITEMS_MAX, LimitConfig,
    check, model_named,
};
pub use nearest::nearest;
pub use prefix::{Prefix, PrefixError};
pub use raw::{
    AccountRaw, BoundsRaw, ChannelRaw, ClientBindsRaw, DeviceRaw, GatewayRaw, HttpRaw, JournalRaw,
    LimitRaw, PacketsRaw, PolicyRaw, Raw, TakeoverRaw, TlsRaw, TracesRaw, UnknownRaw,
};
pub use units::{Bytes, PortRange, Span, UnitError};

use std::fmt;

/// The whole file with every option, its default, and what it does.
pub const DEFAULT_TEXT: &str = include_str!("default.toml");

/// The longest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 64 << 20;

/// A mistake in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where: `channels[3].protocol`; empty: the file as a whole.
    pub path: String,
    /// In which line of the file, as far as it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl ConfigError {
    /// A mistake without a hint.
    pub fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line: None,
            problem: problem.into(),
            hint: None,
        }
    }

    /// With what would be right, if there is such a thing.
    #[must_use]
    pub fn hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}, ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.problem)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl Config {
    /// Reads and checks the text of a file: what it says, or every mistake in it.
    pub fn parse(text: &str) -> Result<Self, Vec<ConfigError>> {
        let (raw, mut mistakes) = read::read(text);
        match check(&raw) {
            Ok(config) if mistakes.is_empty() => return Ok(config),
            Ok(_) => {}
            Err(more) => {
                // What follows from a value that could not be read is not told twice.
                let told: Vec<_> = mistakes.iter().map(|known| known.path.clone()).collect();
                let fresh = |path: &str| {
                    !told.iter().any(|known| {
                        let rest = path.strip_prefix(known.as_str());
                        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                    })
                };
                mistakes.extend(more.into_iter().filter(|one| fresh(&one.path)));
            }
        }
        place::tell_lines(text, &mut mistakes);
        Err(mistakes)
    }
}

#[cfg(test)]
mod tests;
