//! The newtypes that every room shares, and the injected clock.
//!
//! A bare integer never crosses a room. [`Ident`] is the decoders' contract's, re-exported.

mod clock;
mod pulse;
mod writer;

pub use clock::{Clock, ManualClock, SystemClock, US_PER_MINUTE, minute_of};
pub use protocols::Ident;
pub use pulse::Pulse;
pub use writer::WriterThread;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// No such thing: ids begin at 1 and are never used again.
            pub const NONE: Self = Self(0);

            /// Does it name something?
            pub const fn is_some(self) -> bool {
                self.0 != 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

ids! {
    /// A node of the account tree.
    AccountId;
    /// A set of caps that accounts may be attached to.
    LimitId;
    /// An access key.
    TokenId;
    /// A configured entry: protocols, a port, an owner.
    ChannelId;
    /// A registered unit of an account.
    DeviceId;
    /// One accepted socket, unique over restarts.
    ConnectionId;
}

impl DeviceId {
    /// In the place of a device whose messages were erased.
    pub const ERASED: Self = Self(u64::MAX);
}

/// The version of an item: raised by every change of it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// How often a device has changed its account: records carry it, so that each belongs to one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u32);

/// A place in the journal: the node that wrote it and the sequence number of the entry there.
/// Positions of one node are ordered; the first entry is 1, and 0 is before everything.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(u64);

impl Position {
    /// Bits of the sequence number; the node's number is above them.
    const SEQUENCE_BITS: u32 = 52;

    /// Before everything.
    pub const ZERO: Self = Self(0);

    /// The entry `sequence` (below 2^52) of `node` (below 4096).
    pub const fn new(node: u16, sequence: u64) -> Self {
        Self((node as u64) << Self::SEQUENCE_BITS | sequence & ((1 << Self::SEQUENCE_BITS) - 1))
    }

    /// Which node wrote it.
    pub const fn node(self) -> u16 {
        (self.0 >> Self::SEQUENCE_BITS) as u16
    }

    /// Its number at its node.
    pub const fn sequence(self) -> u64 {
        self.0 & ((1 << Self::SEQUENCE_BITS) - 1)
    }

    /// The place `count` entries further on.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }

    /// As one number, for storing.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// From the number of [`Position::raw`].
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.node(), self.sequence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_holds_node_and_sequence() {
        let position = Position::new(7, 41).plus(1);
        assert_eq!((position.node(), position.sequence()), (7, 42));
        assert_eq!(Position::from_raw(position.raw()), position);
        assert!(Position::ZERO < Position::new(0, 1));
    }
}
