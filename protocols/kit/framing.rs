//! Stock ways to find the end of a frame.

use crate::contract::Cut;

/// The frame ends with `mark`, which belongs to it. Bytes an earlier call has `scanned` are not
/// searched again. At the end of the stream the rest is a frame.
pub fn until(input: &[u8], scanned: usize, eof: bool, mark: &[u8]) -> Cut {
    let from = scanned.saturating_sub(mark.len().saturating_sub(1));
    let tail = input.get(from..).unwrap_or_default();
    match find(tail, mark) {
        Some(at) => Cut::Frame(from + at + mark.len()),
        None if eof => Cut::Frame(input.len()),
        None => Cut::Need(input.len() + 1),
    }
}

/// A frame that ends with a line feed, which belongs to it. Empty lines are skipped.
pub fn line(input: &[u8], scanned: usize, eof: bool) -> Cut {
    let blank = input
        .iter()
        .take_while(|b| matches!(b, b'\r' | b'\n'))
        .count();
    if blank > 0 {
        Cut::Skip(blank)
    } else {
        until(input, scanned, eof, b"\n")
    }
}

/// Where `mark` begins in `input`.
pub fn find(input: &[u8], mark: &[u8]) -> Option<usize> {
    match mark {
        [] => Some(0),
        [one] => input.iter().position(|byte| byte == one),
        [first, ..] => {
            let mut from = 0;
            loop {
                let at = from + input.get(from..)?.iter().position(|byte| byte == first)?;
                if input.get(at..)?.starts_with(mark) {
                    return Some(at);
                }
                from = at + 1;
            }
        }
    }
}

/// A frame of `length` bytes: cut it if it is all there.
pub fn exactly(input: &[u8], length: usize) -> Cut {
    if input.len() >= length {
        Cut::Frame(length)
    } else {
        Cut::Need(length)
    }
}

/// A line of text without the line end and blanks around it.
pub fn trim_line(frame: &[u8]) -> &[u8] {
    frame.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_across_what_was_scanned() {
        assert_eq!(until(b"ab\r", 0, false, b"\r\n"), Cut::Need(4));
        assert_eq!(until(b"ab\r\ncd", 3, false, b"\r\n"), Cut::Frame(4));
        assert_eq!(until(b"ab", 0, true, b"\r\n"), Cut::Frame(2));
        assert_eq!(line(b"\r\nab", 0, false), Cut::Skip(2));
        assert_eq!(find(b"aab", b"ab"), Some(1));
        assert_eq!(exactly(b"abc", 4), Cut::Need(4));
    }
}
