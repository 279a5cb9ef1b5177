//! The status word: 32 bits in negative logic.
//!
//! | bit | 0 says |
//! |---|---|
//! | 0 | vibration (theft) alarm |
//! | 1, 18 | SOS |
//! | 2 | too fast |
//! | 9 | armed |
//! | 10 | ignition off |
//! | 17 | vibration alarm |
//! | 19 | runs on the backup battery: the supply is cut |
//! | 27 | oil and engine are cut off |
//!
//! What the other bits say differs from maker to maker: the whole word is kept.

use crate::contract::{ParamId, RecordBuilder, fields};

const ALARMS: [(u32, ParamId); 6] = [
    (0, fields::VIBRATION_EVENT_TRIGGER),
    (1, fields::ALARM_EVENT_TRIGGER),
    (2, fields::OVERSPEEDING_EVENT_TRIGGER),
    (17, fields::VIBRATION_EVENT_TRIGGER),
    (18, fields::ALARM_EVENT_TRIGGER),
    (19, fields::POWER_CUT_EVENT_TRIGGER),
];

/// Adds what the word says.
pub(super) fn push(message: &mut RecordBuilder<'_>, word: u32) {
    let says = |bit: u32| word & (1 << bit) == 0;
    message.push(fields::STATUS_BITMASK, word);
    message.push(fields::ENGINE_IGNITION_STATUS, !says(10));
    message.push(fields::ARM_STATUS, says(9));
    message.push(fields::ENGINE_BLOCKED_STATUS, says(27));
    for (bit, alarm) in ALARMS {
        if says(bit) {
            message.push(alarm, true);
        }
    }
}

/// The word of its eight hexadecimal digits.
pub(super) fn parse(text: &str) -> Option<u32> {
    let text = text.trim();
    (text.len() == 8)
        .then(|| u32::from_str_radix(text, 16).ok())
        .flatten()
}
