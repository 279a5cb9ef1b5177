//! What both forms share.

use crate::contract::{RecordBuilder, fields};
use crate::kit::parse::number;

/// A frame without its brackets.
#[derive(Clone, Copy)]
pub(super) struct Frame<'f> {
    pub(super) ident: &'f str,
    pub(super) command: &'f str,
    pub(super) body: &'f str,
}

/// Adds the eight characters of the state.
pub(super) fn push_state(message: &mut RecordBuilder<'_>, state: &str) {
    let Some(&[supply, ignition, input, help, output, ..]) = state.as_bytes().first_chunk::<8>()
    else {
        return;
    };
    message.push(fields::EXTERNAL_POWERSOURCE_STATUS, supply == b'0');
    message.push(fields::ENGINE_IGNITION_STATUS, ignition == b'1');
    message.push((fields::DIN_N, 2), input == b'1');
    if help == b'1' {
        message.push(fields::ALARM_EVENT_TRIGGER, true);
    }
    message.push((fields::DOUT_N, 2), output == b'1');
    if let Some(fuel) = state.get(5..).and_then(|s| i64::from_str_radix(s, 16).ok()) {
        message.push((fields::FUEL_SENSOR_N, 1), fuel);
    }
}

/// Is it the eight characters of a state?
pub(super) fn is_state(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What a digit of BO01, or behind ALARM, says.
pub(super) fn push_alarm(message: &mut RecordBuilder<'_>, digit: &str) {
    let alarm = match digit {
        "0" => fields::POWER_CUT_EVENT_TRIGGER,
        "1" => fields::CRASH_EVENT_TRIGGER,
        "2" => fields::ALARM_EVENT_TRIGGER,
        "3" => fields::VIBRATION_EVENT_TRIGGER,
        "5" => fields::OVERSPEEDING_EVENT_TRIGGER,
        "6" => fields::GEOFENCE_EVENT_EXIT,
        "" => return,
        _ => {
            message.push(fields::ALARM_TYPE, digit);
            return;
        }
    };
    message.push_some(fields::ALARM_CODE, number::<u8>(digit));
    message.push(alarm, true);
}
