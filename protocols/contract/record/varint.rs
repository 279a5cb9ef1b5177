//! Numbers in as few bytes as they need.

/// Up to eight bytes, the first one lowest. They are put together without memory and appended at
/// once: a buffer looks at its bounds as often as something is appended, however little it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    bits: u64,
    bytes: u32,
}

impl Word {
    const BYTES_MAX: usize = 8;
    /// The largest number whose varint is a word.
    const VARINT_MAX: u64 = (1 << 56) - 1;
    /// In each byte the bit that says that another follows.
    const GOES_ON: u64 = 0x8080_8080_8080_8080;

    pub(super) const fn byte(byte: u8) -> Self {
        Self {
            bits: byte as u64,
            bytes: 1,
        }
    }

    /// `value` as a varint, if it is at most [`Word::VARINT_MAX`].
    #[inline]
    pub(super) const fn varint(value: u64) -> Self {
        if value < 0x80 {
            Self {
                bits: value,
                bytes: 1,
            }
        } else if value < 0x4000 {
            Self {
                bits: value & 0x7f | 0x80 | value >> 7 << 8,
                bytes: 2,
            }
        } else {
            Self::long_varint(value)
        }
    }

    /// Each step moves the upper half of every part up, until every seven bits have a byte.
    #[inline(never)]
    const fn long_varint(value: u64) -> Self {
        let of_28 = value & 0x0fff_ffff | (value & 0x00ff_ffff_f000_0000) << 4;
        let of_14 = of_28 & 0x0000_3fff_0000_3fff | (of_28 & 0x0fff_c000_0fff_c000) << 2;
        let of_7 = of_14 & 0x007f_007f_007f_007f | (of_14 & 0x3f80_3f80_3f80_3f80) << 1;
        let unused = (of_7 | 1).leading_zeros() / 8;
        Self {
            bits: of_7 | Self::GOES_ON.unbounded_shr(8 * (unused + 1)),
            bytes: 8 - unused,
        }
    }

    /// These bytes and then those of `next`: eight at most in all, of which `next` has one at least.
    #[inline]
    pub(super) const fn and(self, next: Self) -> Self {
        Self {
            bits: self.bits | next.bits << (8 * self.bytes),
            bytes: self.bytes + next.bytes,
        }
    }

    #[inline(never)]
    pub(super) fn append(self, out: &mut Vec<u8>) {
        let end = out.len() + self.bytes as usize;
        out.extend_from_slice(&self.bits.to_le_bytes());
        out.truncate(end);
    }

    /// These bytes and then a varint.
    #[inline(never)]
    pub(super) fn append_with_varint(self, value: u64, out: &mut Vec<u8>) {
        if value > Self::VARINT_MAX {
            self.append(out);
            return write_varint(out, value);
        }
        let next = Self::varint(value);
        let end = out.len() + (self.bytes + next.bytes) as usize;
        let both = u128::from(self.bits) | u128::from(next.bits) << (8 * self.bytes);
        out.extend_from_slice(&both.to_le_bytes());
        out.truncate(end);
    }

    /// These bytes and then eight more.
    #[inline(never)]
    pub(super) fn append_with(self, next: [u8; Self::BYTES_MAX], out: &mut Vec<u8>) {
        let end = out.len() + self.bytes as usize + next.len();
        let next = u128::from(u64::from_le_bytes(next));
        let both = u128::from(self.bits) | next << (8 * self.bytes);
        out.extend_from_slice(&both.to_le_bytes());
        out.truncate(end);
    }
}

/// Appends `value` in 7-bit groups, the lowest first.
pub fn write_varint(out: &mut Vec<u8>, value: u64) {
    let rest = value >> 56;
    let mut word = Word::varint(value & Word::VARINT_MAX);
    if rest > 0 {
        word.bits |= Word::GOES_ON;
        word.bytes = 8;
    }
    word.append(out);
    if rest > 0 {
        Word::varint(rest).append(out);
    }
}

/// Reads a varint; `None` if it is cut short or longer than 64 bits.
#[inline]
pub fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    // nearly all are of one or two bytes
    match *bytes {
        [byte @ ..0x80, ref rest @ ..] => Some((u64::from(byte), rest)),
        [first, second @ ..0x80, ref rest @ ..] => {
            Some((u64::from(first & 0x7f) | u64::from(second) << 7, rest))
        }
        _ => read_long_varint(bytes),
    }
}

/// What comes behind a varint, where [`read_varint`] reads one.
#[inline]
pub(super) fn skip_varint(bytes: &[u8]) -> Option<&[u8]> {
    if let Some(head) = bytes.first_chunk::<8>() {
        let ends = !u64::from_le_bytes(*head) & Word::GOES_ON;
        if ends != 0 {
            return bytes.get(ends.trailing_zeros() as usize / 8 + 1..);
        }
    }
    // the last of the record, or one that may be longer than 64 bits
    Some(read_varint(bytes)?.1)
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
