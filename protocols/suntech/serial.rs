//! Where the data of a serial port end: UEX gives their length, CRR too.

/// Where a search for the end of the frame may begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The frame has no such data.
    None,
    /// It may have, and their length is not there yet.
    Unknown,
    /// They end here.
    At(usize),
}

/// The longest data of a serial port.
const DATA_BYTES_MAX: usize = 2048;

/// How many fields stand before the length.
fn fields_before(input: &[u8]) -> Option<usize> {
    match input {
        [b'U', b'E', b'X', b';', ..] => Some(21),
        [b'C', b'R', b'R', b';', ..] => Some(4),
        [b'S', b'A', _, _, _, b'U', b'E', b'X', b';', ..] => Some(15),
        [b'S', b'T', b'6', _, _, b'U', b'E', b'X', b';', ..] => Some(20),
        [b'S', b'T', _, _, _, b'U', b'E', b'X', b';', ..] => Some(16),
        _ => None,
    }
}

/// Where the data begin and how long they are.
pub(super) fn data(input: &[u8]) -> Option<(usize, usize)> {
    let mut start = 0;
    let mut rest = input;
    for _ in 0..fields_before(input)? {
        let at = rest.iter().position(|byte| *byte == b';')?;
        start += at + 1;
        rest = rest.get(at + 1..)?;
    }
    let digits = rest.iter().position(|byte| *byte == b';')?;
    let length = std::str::from_utf8(rest.get(..digits)?).ok()?;
    let length: usize = length.parse().ok()?;
    (length <= DATA_BYTES_MAX).then_some((start + digits + 1, length))
}

/// Where the data of the frame at the beginning of `input` end.
pub(super) fn end(input: &[u8]) -> End {
    if fields_before(input).is_none() {
        return End::None;
    }
    data(input).map_or(End::Unknown, |(start, length)| End::At(start + length))
}
