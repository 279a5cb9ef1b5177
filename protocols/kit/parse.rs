//! nom and texts inside a whole frame.

use crate::contract::Reject;
use nom::error::Error;
use nom::{Err, Parser};

/// Runs `parser` over the whole of `input`: leftovers and errors become a rejection that says
/// where. Inside a whole frame nothing can be incomplete, so only `complete` parsers belong here.
pub fn whole<'a, O>(
    what: &'static str,
    input: &'a [u8],
    mut parser: impl Parser<&'a [u8], Output = O, Error = Error<&'a [u8]>>,
) -> Result<O, Reject> {
    match parser.parse(input) {
        Ok(([], output)) => Ok(output),
        Ok((left, _)) => Err(Reject::new(
            what,
            "more bytes than its fields",
            input.len() - left.len(),
        )),
        Err(Err::Error(error) | Err::Failure(error)) => Err(Reject::new(
            what,
            "its fields do not fit",
            input.len() - error.input.len(),
        )),
        Err(Err::Incomplete(_)) => Err(Reject::new(what, "cut short", input.len())),
    }
}

/// A number in decimal digits, blanks around it allowed; `None` if it is anything else.
pub fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    // nearly all have none, and to look for them costs as much as to read the number
    text.parse().or_else(|_| text.trim().parse()).ok()
}

/// `str::split` at a mark of one byte of ASCII. Fields are a few bytes long: to look at each byte costs
/// less than the search for long texts that the library begins anew behind every mark.
pub fn split(text: &str, mark: u8) -> Parts<'_> {
    splitn(usize::MAX, text, mark)
}

/// `str::splitn` at a mark of one byte of ASCII: the last of `most` parts is all the rest.
pub fn splitn(most: usize, text: &str, mark: u8) -> Parts<'_> {
    Parts {
        left: most,
        rest: Some(text),
        mark,
    }
}

/// See [`split`].
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    left: usize,
    rest: Option<&'a str>,
    mark: u8,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        let rest = self.rest.take()?;
        let mark = rest.bytes().position(|byte| byte == self.mark);
        let Some(at) = mark.filter(|_| self.left > 0) else {
            return Some(rest);
        };
        let (part, behind) = rest.split_at_checked(at)?;
        self.rest = behind.get(1..);
        Some(part)
    }
}

/// A finite decimal number; `None` if it is anything else.
pub fn float(text: &str) -> Option<f64> {
    number::<f64>(text).filter(|float| float.is_finite())
}

/// Degrees and minutes in one number as NMEA 0183 writes them (`dddmm.mmmm`) to degrees, negative
/// for `S` and `W`; `None` if a part is out of range.
pub fn nmea_degrees(text: &str, hemisphere: &str) -> Option<f64> {
    let raw = float(text)?;
    let degrees = (raw / 100.0).trunc();
    let minutes = raw - degrees * 100.0;
    if !(0.0..=180.0).contains(&degrees) || !(0.0..60.0).contains(&minutes) {
        return None;
    }
    let value = super::units::round(degrees + minutes / 60.0, 7);
    match hemisphere.trim() {
        "N" | "n" | "E" | "e" => Some(value),
        "S" | "s" | "W" | "w" => Some(-value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nom::number::complete::be_u16;

    #[test]
    fn a_rejection_says_where() {
        assert_eq!(whole("x", &[0, 1], be_u16), Ok(1));
        assert_eq!(whole("x", &[0, 1, 2], be_u16).map_err(|r| r.at), Err(2));
        assert_eq!(whole("x", &[0], be_u16).map_err(|r| r.at), Err(0));
    }

    #[test]
    fn blanks_around_a_number_do_not_count() {
        assert_eq!(number::<u8>("7"), Some(7));
        assert_eq!(number::<u8>(" 7\r\n"), Some(7));
        assert_eq!(number::<u8>("7 7"), None);
        assert_eq!(number::<u8>(""), None);
    }

    #[test]
    fn a_text_is_split_as_the_library_does() {
        for text in ["", ",", "a", "a,,b", ",a,", "ä,ö,é", "a;b"] {
            assert!(split(text, b',').eq(text.split(',')), "{text}");
            for most in 0..4 {
                let here = splitn(most, text, b',');
                assert!(here.eq(text.splitn(most, ',')), "{text} in {most}");
            }
        }
    }

    #[test]
    fn degrees_and_minutes_become_degrees() {
        assert_eq!(nmea_degrees("3757.3392", "S"), Some(-37.955_653_3));
        assert_eq!(nmea_degrees("14503.7022", "E"), Some(145.061_703_3));
        assert_eq!(nmea_degrees("3799.0", "N"), None);
        assert_eq!(nmea_degrees("1.0", "X"), None);
    }
}
