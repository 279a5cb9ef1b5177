//! Why a packet is given up, and the number that tells the tracker.
//!
//! | code | SD | D |
//! |---|---|---|
//! | -1 | structure | structure |
//! | 0 | time | time |
//! | 10 | place | place |
//! | 13 | CRC | |
//! | 16 | | CRC |
//!
//! The vendor's other codes (speed, satellites, inputs, parameters) are never sent: what these fields
//! hold is kept in any case.

use crate::contract::Reject;

/// The part of a packet that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Structure,
    Time,
    Place,
    Crc,
}

impl Fault {
    /// The code in the answer to a packet of that type.
    pub(super) fn code(self, kind: &str) -> &'static str {
        match self {
            Self::Structure => "-1",
            Self::Time => "0",
            Self::Place => "10",
            Self::Crc if kind == "SD" => "13",
            Self::Crc => "16",
        }
    }

    pub(super) fn reject(self) -> Reject {
        let (what, why) = match self {
            Self::Structure => ("packet", "its number of fields does not fit"),
            Self::Time => ("time", "cannot be"),
            Self::Place => ("position", "cannot be"),
            Self::Crc => ("crc", "the checksum is missing or does not fit"),
        };
        Reject::new(what, why, 0)
    }
}
