//! Small values that several items share.

use crate::contract::{RecordBuilder, fields};
use crate::kit::cursor::Cursor;
use crate::kit::{hex, units};

pub(super) fn padded(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    Some(text.trim_matches(|c: char| c == '\0' || c.is_whitespace()))
}

pub(super) fn signed(value: u8) -> i8 {
    i8::from_be_bytes([value])
}

/// The number of a SIM card in BCD, without fillers.
pub(super) fn iccid(message: &mut RecordBuilder<'_>, bytes: &[u8]) {
    let text = hex::encode(bytes);
    let text = text.trim_end_matches('f');
    if !text.is_empty() {
        message.push(fields::GSM_SIM_ICCID, text);
    }
}

/// Thousandths of g.
pub(super) fn acceleration(message: &mut RecordBuilder<'_>, axes: [i16; 3]) {
    let params = [
        fields::X_ACCELERATION,
        fields::Y_ACCELERATION,
        fields::Z_ACCELERATION,
    ];
    for (param, value) in params.into_iter().zip(axes) {
        message.push(param, units::scaled(i64::from(value), 3));
    }
}

/// How it was opened: command, then a card's number or a password, then with an even length the result.
pub(super) fn opened(value: &[u8], message: &mut RecordBuilder<'_>) -> Option<()> {
    const PASSWORD_BYTES: usize = 6;
    let mut body = Cursor::new(value);
    message.name("lock.command", body.u8()?);
    match value.len() {
        5 | 6 => message.push(fields::RFID_CODE, body.u32()?.to_string().as_str()),
        7.. => {
            let password = std::str::from_utf8(body.take(PASSWORD_BYTES)?).ok()?;
            message.name("password", password);
        }
        _ => {}
    }
    if value.len().is_multiple_of(2) {
        message.name("unlock.result", body.u8()?);
    }
    Some(())
}
