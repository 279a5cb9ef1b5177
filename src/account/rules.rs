//! What a limit says: caps, and what to do when one is met.

use super::Dimension;

/// In place of a cap: none of its own, so what the ancestors have left.
pub const NO_CAP: i64 = -1;

/// How long a refused frame is parked unless its limit says otherwise, milliseconds.
pub const PARK_MS_MAX_DEFAULT: u32 = 90_000;

/// One cap per dimension. Negative is [`NO_CAP`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps([i64; Dimension::LEN]);

impl Caps {
    /// No own cap anywhere.
    pub const NONE: Self = Self([NO_CAP; Dimension::LEN]);

    /// Nothing is admitted: what a disabled account has.
    pub const ZERO: Self = Self([0; Dimension::LEN]);

    /// The cap of a dimension.
    pub const fn get(&self, dimension: Dimension) -> i64 {
        self.0[dimension.index()]
    }

    /// Sets the cap of a dimension.
    pub const fn set(&mut self, dimension: Dimension, cap: i64) {
        self.0[dimension.index()] = if cap < 0 { NO_CAP } else { cap };
    }

    /// With the cap of a dimension.
    #[must_use]
    pub const fn with(mut self, dimension: Dimension, cap: i64) -> Self {
        self.set(dimension, cap);
        self
    }
}

impl Default for Caps {
    fn default() -> Self {
        Self::NONE
    }
}

/// What happens to a frame that a limit refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// It is parked, unread and not acked, until it fits or the time is up.
    #[default]
    Hold,
    /// It is acked and thrown away, behind a durable entry that says so.
    Drop,
}

impl Policy {
    /// Its name in the API and the configuration file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Drop => "drop",
        }
    }
}

/// What a limit says about the account it is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// One cap per dimension.
    pub caps: Caps,
    /// What happens to a refused frame.
    pub policy: Policy,
    /// How long a frame is parked before it is refused, milliseconds.
    pub park_ms_max: u32,
    /// How long the account stays blocked when it has met a cap; 0: until the window resets.
    pub blocking_duration_s: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            caps: Caps::NONE,
            policy: Policy::Hold,
            park_ms_max: PARK_MS_MAX_DEFAULT,
            blocking_duration_s: 0,
        }
    }
}
