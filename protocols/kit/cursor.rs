//! Fields read one after another from a frame's body, where what comes next depends on
//! what was read: optional tails, lengths inside, variants told apart by what is left.

/// Reads from the front of a slice. A read that does not fit gives `None` and takes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// At the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes have not been read.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Two bytes, two's complement.
    pub fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    /// Three bytes.
    pub fn u24(&mut self) -> Option<u32> {
        self.array()
            .map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Two bytes, first the lowest.
    pub fn u16_le(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, first the lowest.
    pub fn u32_le(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// One byte, two's complement.
    pub fn i8(&mut self) -> Option<i8> {
        self.array().map(i8::from_le_bytes)
    }

    /// Two bytes, first the lowest, two's complement.
    pub fn i16_le(&mut self) -> Option<i16> {
        self.array().map(i16::from_le_bytes)
    }

    /// Four bytes, first the lowest, two's complement.
    pub fn i32_le(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    /// Four bytes, first the lowest: a floating point number. It need not be finite.
    pub fn f32_le(&mut self) -> Option<f64> {
        self.array().map(f32::from_le_bytes).map(f64::from)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_order_and_a_read_that_does_not_fit_takes_nothing() {
        let mut cursor = Cursor::new(&[1, 0, 2, 0, 0, 3, 0xff, 0xfe, 9]);
        assert_eq!(cursor.u8(), Some(1));
        assert_eq!(cursor.u16(), Some(2));
        assert_eq!(cursor.u24(), Some(3));
        assert_eq!(cursor.u32(), None);
        assert_eq!(cursor.i16(), Some(-2));
        assert_eq!(cursor.take(2), None);
        assert_eq!(cursor.left(), 1);
        assert_eq!(cursor.rest(), [9]);
    }

    #[test]
    fn the_lowest_byte_may_come_first() {
        let mut cursor = Cursor::new(&[1, 0, 2, 0, 0, 1]);
        assert_eq!(cursor.u16_le(), Some(1));
        assert_eq!(cursor.u32_le(), Some(0x0100_0002));
        assert_eq!(cursor.u16_le(), None);
        let mut cursor = Cursor::new(&[0xfe, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x80, 0x3f]);
        assert_eq!(cursor.i8(), Some(-2));
        assert_eq!(cursor.i16_le(), Some(-2));
        assert_eq!(cursor.i32_le(), Some(-1));
        assert_eq!(cursor.f32_le(), Some(1.0));
    }
}
