//! Bytes as hexadecimal digits.

/// Two lower-case digits a byte.
pub fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(*DIGITS.get(usize::from(nibble)).unwrap_or(&b'?'));
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// A hardware address as people write it: `dc:9f:db:1c:1d:76`.
pub fn mac(address: [u8; 6]) -> String {
    let mut text = encode(&address);
    for at in [10, 8, 6, 4, 2] {
        text.insert(at, ':');
    }
    text
}

/// The bytes of a text of digits of either case, blanks between them allowed; `None` if there is
/// anything else, or half a byte.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for digit in text.bytes().filter(|b| !b.is_ascii_whitespace()) {
        let nibble = u8::try_from(char::from(digit).to_digit(16)?).ok()?;
        match high.take() {
            None => high = Some(nibble),
            Some(high) => bytes.push(high << 4 | nibble),
        }
    }
    high.is_none().then_some(bytes)
}

/// A number in hexadecimal digits; `None` if it is anything else.
pub fn number(text: &str) -> Option<i64> {
    i64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_there_and_back() {
        assert_eq!(encode(&[0, 0x7f, 0xff]), "007fff");
        assert_eq!(decode("00 7F\tff"), Some(vec![0, 0x7f, 0xff]));
        assert_eq!(mac([0xdc, 0, 1, 2, 3, 0xff]), "dc:00:01:02:03:ff");
        assert_eq!(decode("0"), None);
        assert_eq!(decode("zz"), None);
        assert_eq!(number("1f"), Some(31));
        assert_eq!(number("x"), None);
    }
}
