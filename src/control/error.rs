//! Why a write was refused: each with its cause, none with anything of what lies outside the
//! caller's branch.

use crate::account::{Account, Dimension, Refusal, Seen};
use crate::registry::Refused;
use crate::store::StoreError;

/// Why a write was refused. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// There is no such item, or it is not in the caller's branch: the two are the same answer.
    #[error("access denied or unable to process the item")]
    NotFound {
        /// The id that was asked for.
        id: u64,
    },
    /// A field's value cannot be.
    #[error("{field}: {reason}")]
    Field {
        /// Which field, dotted.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The registry refuses: taken, owned, attached, no room, ...
    #[error(transparent)]
    Refused(Refused),
    /// The item is declared in the configuration file.
    #[error("the item is declared in the configuration file: change it there")]
    FileOwned,
    /// Somebody changed the item meanwhile.
    #[error("the item was changed meanwhile: it has revision {revision}")]
    Stale {
        /// The revision that it has.
        revision: u64,
    },
    /// It lies in the recycle bin to be read, and does not come back.
    #[error("an account's id is never used again: make a new one")]
    NotRestored,
    /// It was created or moved a moment ago.
    #[error("it was created or moved less than {seconds} s ago")]
    TooSoon {
        /// The least time between moves.
        seconds: u64,
    },
    /// Its telemetry holds a time that is not yet.
    #[error("a telemetry value's time lies more than 60 s in the future")]
    TelemetryAhead,
    /// Every port of the range is taken.
    #[error("no port is left in the range {first} to {last}: widen `ports` in the configuration")]
    NoPort {
        /// The first port of the range.
        first: u16,
        /// The last port of the range.
        last: u16,
    },
    /// The port cannot be listened on.
    #[error("cannot listen on port {port}: {reason}")]
    Port {
        /// Which port.
        port: u16,
        /// What the system says.
        reason: String,
    },
    /// The account would be left without a way in.
    #[error("it is the last enabled Master token of a master account")]
    LastMasterToken,
    /// The store cannot write.
    #[error("the change could not be made durable: {0}")]
    Store(String),
}

impl WriteError {
    /// A field whose value cannot be.
    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field {
            field: field.into(),
            reason: reason.into(),
        }
    }

    /// The tree's no, if it was a limit's.
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(Refused::Limit { refusal, .. }) => Some(refusal),
            _ => None,
        }
    }

    /// The dimension and what of the refusal `viewer` may see, if it was a limit's.
    pub fn seen_by(&self, viewer: &Account) -> Option<(Dimension, Seen)> {
        self.refusal()
            .map(|refusal| (refusal.dimension, refusal.seen_by(viewer)))
    }
}

impl From<Refused> for WriteError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoSuch { id, .. } | Refused::LimitOutOfReach { id } => Self::NotFound { id },
            other => Self::Refused(other),
        }
    }
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}
