//! Numbers as binary coded decimals: one digit a nibble.

/// The digits of `bytes` as text; `None` where a nibble is no digit.
pub fn text(bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 10)?);
        }
    }
    Some(text)
}

/// One byte's two digits; `None` where a nibble is no digit.
pub fn byte(byte: u8) -> Option<u8> {
    let (high, low) = (byte >> 4, byte & 15);
    (high < 10 && low < 10).then_some(high * 10 + low)
}

/// The digits of `bytes` as one number of at most 18 digits.
pub fn number(bytes: &[u8]) -> Option<i64> {
    if bytes.len() > 9 {
        return None;
    }
    bytes.iter().try_fold(0i64, |number, &next| {
        Some(number * 100 + i64::from(byte(next)?))
    })
}

/// An ident without the leading zeros that BCD pads it with.
pub fn without_leading_zeros(text: &str) -> &str {
    let stripped = text.trim_start_matches('0');
    if stripped.is_empty() { text } else { stripped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_and_others_refused() {
        assert_eq!(text(&[0x01, 0x23]).as_deref(), Some("0123"));
        assert_eq!(text(&[0x0a]), None);
        assert_eq!(byte(0x59), Some(59));
        assert_eq!(byte(0x5f), None);
        assert_eq!(number(&[0x01, 0x23]), Some(123));
        assert_eq!(without_leading_zeros("0012"), "12");
        assert_eq!(without_leading_zeros("00"), "00");
    }
}
