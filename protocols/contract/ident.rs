//! The name a device gives itself on the wire, checked once at construction.

use compact_str::CompactString;
use std::fmt;

/// The longest ident that is accepted, in bytes.
pub const IDENT_BYTES_MAX: usize = 64;

/// A device's name in its protocol's canonical form: 1 to [`IDENT_BYTES_MAX`] printable ASCII
/// characters, none of `#`, `+`, `/` (it stands in topics and paths), no blank at either end.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ident(CompactString);

/// Why a text is no ident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentError {
    /// Nothing is left after trimming.
    #[error("ident is empty")]
    Empty,
    /// Longer than [`IDENT_BYTES_MAX`].
    #[error("ident is longer than 64 bytes")]
    TooLong,
    /// A character that may not stand in a topic or a path.
    #[error("ident holds a character other than printable ASCII without '#', '+' and '/'")]
    BadCharacter,
}

impl Ident {
    /// Checks `text`, without the blanks around it.
    pub fn new(text: &str) -> Result<Self, IdentError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(IdentError::Empty);
        }
        if text.len() > IDENT_BYTES_MAX {
            return Err(IdentError::TooLong);
        }
        let fits = |b: u8| (b == b' ' || b.is_ascii_graphic()) && !matches!(b, b'#' | b'+' | b'/');
        if text.bytes().all(fits) {
            Ok(Self(CompactString::new(text)))
        } else {
            Err(IdentError::BadCharacter)
        }
    }

    /// The text of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Ident {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ident({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ident_is_trimmed_and_printable() {
        assert_eq!(
            Ident::new(" 356307042441013 ").expect("fits").as_str(),
            "356307042441013"
        );
        assert_eq!(Ident::new("  "), Err(IdentError::Empty));
        assert_eq!(Ident::new("a/b"), Err(IdentError::BadCharacter));
        assert_eq!(Ident::new("ü"), Err(IdentError::BadCharacter));
        assert_eq!(Ident::new(&"1".repeat(65)), Err(IdentError::TooLong));
    }
}
