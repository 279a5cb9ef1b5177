//! Numbers in as few bytes as they need.

/// Appends `value` in 7-bit groups, the lowest first.
#[expect(clippy::cast_possible_truncation, reason = "what is left fits 7 bits")]
pub fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a varint; `None` if it is cut short or longer than 64 bits.
#[inline]
pub fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    // nearly all are of one byte
    if let Some((&byte, rest)) = bytes.split_first()
        && byte & 0x80 == 0
    {
        return Some((u64::from(byte), rest));
    }
    read_long_varint(bytes)
}

fn read_long_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        let part = u64::from(byte & 0x7f);
        let shift = 7 * u32::try_from(index).ok()?;
        if shift == 63 && part > 1 {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

/// Maps small magnitudes of either sign to small numbers.
#[expect(clippy::cast_sign_loss, reason = "the bits are what is wanted")]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[expect(clippy::cast_possible_wrap, reason = "the bits are what is wanted")]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
