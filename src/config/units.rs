//! Values with units, as people write them: `30s`, `64 MiB`, `20000-29999`.

use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Why a text is no such value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// No duration.
    #[error("\"{0}\" is no duration; write a number and ms, s, m, h or d, like \"30s\"")]
    Span(String),
    /// No size.
    #[error(
        "\"{0}\" is no size; write a number and B, KiB, MiB, GiB, kB, MB or GB, like \"64 MiB\""
    )]
    Bytes(String),
    /// No range of ports.
    #[error("\"{0}\" is no range of ports; write two ports, the lower first, like \"20000-29999\"")]
    Ports(String),
}

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// Of whole seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// Of milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// For people: days, hours or minutes alone, if it is two of them or more.
    #[must_use]
    pub fn rounded(self) -> Self {
        let secs = self.0.as_secs();
        let unit = [86_400, 3600, 60].into_iter().find(|unit| secs >= 2 * unit);
        unit.map_or(self, |unit| Self::secs(secs / unit * unit))
    }

    /// In whole seconds, at most what fits.
    pub fn as_secs(self) -> u32 {
        u32::try_from(self.0.as_secs()).unwrap_or(u32::MAX)
    }

    /// In milliseconds, at most what fits.
    pub fn as_ms(self) -> u32 {
        u32::try_from(self.0.as_millis()).unwrap_or(u32::MAX)
    }
}

/// The number at the beginning and the unit behind it.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit.trim()))
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let read = || {
            let (number, unit) = split(text)?;
            let ms_per_unit: u64 = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            Some(Self::millis(number.checked_mul(ms_per_unit)?))
        };
        read().ok_or_else(|| UnitError::Span(text.to_owned()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        for (unit, length) in [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1000),
        ] {
            if ms > 0 && ms.is_multiple_of(length) {
                return write!(f, "{}{unit}", ms / length);
            }
        }
        write!(f, "{ms}ms")
    }
}

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let read = || {
            let (number, unit) = split(text)?;
            let bytes_per_unit: u64 = match unit {
                "B" => 1,
                "kB" => 1000,
                "MB" => 1_000_000,
                "GB" => 1_000_000_000,
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                "GiB" => 1 << 30,
                _ => return None,
            };
            number.checked_mul(bytes_per_unit).map(Self)
        };
        read().ok_or_else(|| UnitError::Bytes(text.to_owned()))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 > 0 && self.0.is_multiple_of(size) {
                return write!(f, "{} {unit}", self.0 / size);
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// The ports that channels are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl PortRange {
    /// The ports, the lowest first.
    pub fn ports(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }
}

impl FromStr for PortRange {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let read = || {
            let (first, last) = text.split_once('-')?;
            let first: u16 = first.trim().parse().ok()?;
            let last: u16 = last.trim().parse().ok()?;
            (0 < first && first <= last).then_some(Self { first, last })
        };
        read().ok_or_else(|| UnitError::Ports(text.to_owned()))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Reads a value that stands in the file as text.
struct Texted<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> serde::de::Visitor<'_> for Texted<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        // A bare number has no unit: the parser says which there are.
        number.to_string().parse().map_err(|error: T::Err| {
            if error.to_string().contains("is no") {
                E::custom(error)
            } else {
                E::invalid_type(Unexpected::Signed(number), &self)
            }
        })
    }
}

macro_rules! texted {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(Texted(std::marker::PhantomData))
                    .map_err(D::Error::custom)
            }
        }
    )*};
}

texted!(Span, Bytes, PortRange, super::Prefix);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_are_rounded_down_for_people() {
        for (secs, shown) in [
            (31_535_997, "364d"),
            (86_401, "1d"),
            (121, "2m"),
            (61, "61s"),
        ] {
            assert_eq!(Span::secs(secs).rounded().to_string(), shown);
        }
    }

    #[test]
    fn units_are_read_and_written_back() {
        for text in ["1500ms", "30s", "5m", "12h", "31d", "0ms"] {
            assert_eq!(text.parse::<Span>().expect(text).to_string(), text);
        }
        for text in ["0 B", "100 B", "16 KiB", "64 MiB", "2 GiB"] {
            assert_eq!(text.parse::<Bytes>().expect(text).to_string(), text);
        }
        assert_eq!("64MB".parse(), Ok(Bytes(64_000_000)));
        assert_eq!("1 - 2".parse(), Ok(PortRange { first: 1, last: 2 }));
        for text in ["", "30", "s", "30 secs", "-1s", "99999999999999999999d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["64", "64 mib", "1.5 GiB", "99999999999999999 GiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        for text in ["1", "2-1", "0-5", "1-70000"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }
}
