//! The dictionary: every parameter's number, name, type and unit.
//!
//! Units are the dictionary's, not the protocol's: a decoder converts. Numbers are append-only
//! and stored with every message; a row is never renumbered, a name is never reused. A name with
//! a segment `N` has instances (`din.N` is written `din.1`, `din.2`, ...).
//!
//! Names follow flespi's message parameters where they exist. `docs/message-fields.md` is this
//! table for people; a test keeps the two equal.

mod dictionary;

pub use dictionary::*;

use std::fmt;
use std::sync::LazyLock;

/// The number of a parameter in the dictionary.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub u16);

/// Which of several: 0 for a parameter without instances.
pub type Instance = u16;

/// A row of the dictionary.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// Its number, append-only.
    pub id: ParamId,
    /// Its name; a segment `N` stands for the instance.
    pub name: &'static str,
    /// The type of its values.
    pub kind: Kind,
    /// The unit of its values, empty where there is none.
    pub unit: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

/// The type of a parameter's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// true or false
    Boolean,
    /// an integer or a decimal number
    Number,
    /// a text
    Text,
    /// whatever the device sends: bytes as hex, lists
    Any,
}

impl Kind {
    /// The word for it in REST and docs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::Text => "string",
            Self::Any => "any",
        }
    }
}

impl fmt::Debug for ParamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.param() {
            Some(param) => f.write_str(param.name),
            None => write!(f, "ParamId({})", self.0),
        }
    }
}

impl ParamId {
    /// Its row, or `None` for a number that a newer build wrote.
    pub fn param(self) -> Option<&'static Param> {
        static BY_NUMBER: LazyLock<Vec<Option<&'static Param>>> = LazyLock::new(|| {
            let last = DICTIONARY.iter().map(|param| param.id.0).max().unwrap_or(0);
            let mut rows = vec![None; usize::from(last) + 1];
            for param in DICTIONARY {
                if let Some(row) = rows.get_mut(usize::from(param.id.0)) {
                    *row = Some(param);
                }
            }
            rows
        });
        BY_NUMBER.get(usize::from(self.0)).copied().flatten()
    }

    /// Does its value change when the same record is sent again? Such values do not count when
    /// records are compared.
    pub(crate) fn is_volatile(self) -> bool {
        self == FRAME_SEQNUM
    }
}

impl Param {
    /// Does its name have an instance?
    pub fn has_instances(&self) -> bool {
        self.name.split('.').any(|segment| segment == "N")
    }

    /// Writes its name with `instance` in the place of `N`.
    pub fn write_name(&self, instance: Instance, out: &mut String) {
        use fmt::Write as _;
        for (index, segment) in self.name.split('.').enumerate() {
            if index > 0 {
                out.push('.');
            }
            if segment != "N" {
                out.push_str(segment);
            } else if let Some(digit) = char::from_digit(instance.into(), 10) {
                out.push(digit);
            } else {
                write!(out, "{instance}").expect("a String takes everything");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn numbers_and_names_are_unique_and_names_are_dotted_lower_case() {
        let (mut numbers, mut names) = (HashSet::new(), HashSet::new());
        for param in DICTIONARY {
            assert!(numbers.insert(param.id.0), "number {} twice", param.id.0);
            assert!(names.insert(param.name), "name {} twice", param.name);
            let fits = |s: &str| {
                s == "N"
                    || (!s.is_empty()
                        && s.bytes()
                            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
            };
            assert!(param.name.split('.').all(fits), "{}", param.name);
            assert!(!param.meaning.is_empty(), "{}", param.name);
        }
    }
}
