//! Why a packet is given up, and the number that tells the tracker.
//!
//! | code | SD | D |
//! |---|---|---|
//! | -1 | structure | structure |
//! | 0 | time | time |
//! | 10 | place | place |
//! | 11 | speed, course, altitude | speed, course, altitude |
//! | 12 | satellites | satellites, hdop |
//! | 13 | CRC | inputs, outputs |
//! | 14 | | analog inputs |
//! | 15 | | parameters |
//! | 16 | | CRC |

use crate::contract::Reject;

/// The part of a packet that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Structure,
    Time,
    Place,
    Motion,
    Satellites,
    Inputs,
    Analog,
    Params,
    Crc,
}

impl Fault {
    /// The code in the answer to a packet of that type.
    pub(super) fn code(self, kind: &str) -> &'static str {
        match self {
            Self::Structure => "-1",
            Self::Time => "0",
            Self::Place => "10",
            Self::Motion => "11",
            Self::Satellites => "12",
            Self::Crc if kind == "SD" => "13",
            Self::Inputs => "13",
            Self::Analog => "14",
            Self::Params => "15",
            Self::Crc => "16",
        }
    }

    pub(super) fn reject(self) -> Reject {
        let (what, why) = match self {
            Self::Structure => ("packet", "its number of fields does not fit"),
            Self::Time => ("time", "cannot be"),
            Self::Place => ("position", "cannot be"),
            Self::Motion => ("motion", "speed, course or altitude is no number"),
            Self::Satellites => ("satellites", "satellites or hdop is no number"),
            Self::Inputs => ("inputs", "inputs or outputs is no number"),
            Self::Analog => ("adc", "no number"),
            Self::Params => ("params", "of no known type, or no number of type 1 or 2"),
            Self::Crc => ("crc", "the checksum is missing or does not fit"),
        };
        Reject::new(what, why, 0)
    }
}
