//! The state in two digits, and the inputs and outputs that stand behind it.
//!
//! | state | ignition | moves |
//! |---|---|---|
//! | 11, 12 | off | no, yes |
//! | 16 | off | towed |
//! | 1A | off | perhaps towed |
//! | 21, 22 | on | no, yes |
//! | 41, 42 | not known | no, yes |

use crate::contract::{RecordBuilder, fields};

/// Is it one of the states?
pub(super) fn is_state(text: &str) -> bool {
    matches!(
        text,
        "11" | "12" | "16" | "1A" | "1a" | "21" | "22" | "41" | "42"
    )
}

/// Adds what the two digits say.
pub(super) fn push(message: &mut RecordBuilder<'_>, state: &str) {
    match state.as_bytes() {
        [b'1', ..] => message.push(fields::ENGINE_IGNITION_STATUS, false),
        [b'2', ..] => message.push(fields::ENGINE_IGNITION_STATUS, true),
        _ => {}
    }
    match state.as_bytes() {
        [_, b'1'] => message.push(fields::MOVEMENT_STATUS, false),
        [_, b'2'] => message.push(fields::MOVEMENT_STATUS, true),
        [_, b'6'] => {
            message.push(fields::MOVEMENT_STATUS, true);
            message.push(fields::TOWING_ALARM_STATUS, true);
        }
        _ => {}
    }
}

/// Adds the inputs: bit 0 is the ignition, the others are numbered from 1.
pub(super) fn push_inputs(message: &mut RecordBuilder<'_>, digits: &str) {
    if let Ok(bits) = u8::from_str_radix(digits, 16) {
        message.name("inputs", bits);
        message.push((fields::DIN_N, 1), bits & 2 != 0);
        message.push((fields::DIN_N, 2), bits & 4 != 0);
    }
}

/// Adds the outputs.
pub(super) fn push_outputs(message: &mut RecordBuilder<'_>, digits: &str) {
    if let Ok(bits) = u8::from_str_radix(digits, 16) {
        message.push(fields::DOUT, bits);
        message.push((fields::DOUT_N, 1), bits & 1 != 0);
        message.push((fields::DOUT_N, 2), bits & 2 != 0);
    }
}
