//! Bytes back to the tracker because of a frame: data with a condition, not an action.

use bytes::Bytes;
use smallvec::SmallVec;

/// What must be true before a reply may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// At once. It stands outside the spans of the gated replies.
    Open,
    /// Once the ident is admitted.
    Admitted,
    /// Once everything before it is durable and paid for.
    Stored,
}

impl Gate {
    /// Its name in fixtures and in `tollgate decode`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Admitted => "admitted",
            Self::Stored => "stored",
        }
    }
}

/// Why a gated reply was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No device has the ident.
    Unknown,
    /// The password is wrong.
    Secret,
    /// A limit of the account chain.
    Limit,
    /// The device, its channel or its account is disabled or blocked.
    Blocked,
    /// The gateway has no room just now.
    Busy,
    /// The journal cannot write any more.
    Store,
}

impl Cause {
    /// Every cause, in the order of the design page.
    pub const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Secret,
        Self::Limit,
        Self::Blocked,
        Self::Busy,
        Self::Store,
    ];

    /// Its name in fixtures, metrics and `tollgate decode`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Secret => "secret",
            Self::Limit => "limit",
            Self::Blocked => "blocked",
            Self::Busy => "busy",
            Self::Store => "store",
        }
    }
}

/// An answer with its condition. It covers every login and message since the previous gated
/// reply; one refusal among them refuses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What must be true before it may leave.
    pub gate: Gate,
    /// The bytes if it is.
    pub accepted: Bytes,
    /// The bytes if it is refused; `None` is silence.
    pub refused: Option<Bytes>,
    /// Other bytes for certain causes of the refusal.
    pub refused_by: SmallVec<[(Cause, Bytes); 1]>,
}

impl Reply {
    /// A reply that leaves at once.
    pub fn open(bytes: impl Into<Bytes>) -> Self {
        Self::gated(Gate::Open, bytes)
    }

    /// A reply that leaves once the ident is admitted.
    pub fn admitted(bytes: impl Into<Bytes>) -> Self {
        Self::gated(Gate::Admitted, bytes)
    }

    /// A reply that leaves once everything before it is durable and paid for.
    pub fn stored(bytes: impl Into<Bytes>) -> Self {
        Self::gated(Gate::Stored, bytes)
    }

    fn gated(gate: Gate, bytes: impl Into<Bytes>) -> Self {
        Self {
            gate,
            accepted: bytes.into(),
            refused: None,
            refused_by: SmallVec::new(),
        }
    }

    /// What is sent when it is refused.
    #[must_use]
    pub fn or(mut self, refused: impl Into<Bytes>) -> Self {
        self.refused = Some(refused.into());
        self
    }

    /// What is sent when it is refused for `cause`.
    #[must_use]
    pub fn or_by(mut self, cause: Cause, refused: impl Into<Bytes>) -> Self {
        self.refused_by.push((cause, refused.into()));
        self
    }

    /// The bytes of a refusal for `cause`, or `None` for silence.
    pub fn refusal(&self, cause: Cause) -> Option<&Bytes> {
        let by_cause = self
            .refused_by
            .iter()
            .find(|(c, _)| *c == cause)
            .map(|(_, bytes)| bytes);
        by_cause.or(self.refused.as_ref())
    }
}
