//! Selectors: which items a path means.
//!
//! | form | means |
//! |---|---|
//! | `5` or `1,2,3` | these ids |
//! | `all` | every item the caller sees |
//! | `name=van*` `configuration.ident=3526...` | the field has the value; `*` and `?` as in patterns |
//! | `all,cid=7` `5,cid=7` | terms of different fields must all hold; ids and terms of one field are alternatives |
//! | `{name ~ "*van*" && cid == 7}` | the expression holds |
//!
//! A list of plain ids stays a list: an id that does not exist, or that the caller does not see, is
//! an error of its own for each.

use super::expression::{Expression, ExpressionError, fits_pattern, look_up};
use serde_json::Value;

/// The longest selector, in bytes.
pub const SELECTOR_BYTES_MAX: usize = 64 * 1024;
/// The most ids of one selector.
pub const SELECTOR_IDS_MAX: usize = 8192;

/// A parsed selector.
#[derive(Debug, Clone, PartialEq)]
pub enum Selector {
    /// These ids, if `terms` hold for them.
    Ids {
        /// The ids in the order they were given.
        ids: Vec<u64>,
        /// What must hold beside.
        terms: Vec<Term>,
    },
    /// Every item for which `terms` hold.
    All {
        /// What must hold.
        terms: Vec<Term>,
    },
    /// Every item for which the expression holds.
    Where(Expression),
}

/// One field and the values it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// The field, dotted.
    pub field: String,
    /// The alternatives.
    pub values: Vec<String>,
}

/// Why a text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Nothing between the slashes.
    #[error("selector is empty")]
    Empty,
    /// Longer than [`SELECTOR_BYTES_MAX`], or more ids than [`SELECTOR_IDS_MAX`].
    #[error("selector is too long")]
    TooLong,
    /// A part is neither an id, nor `all`, nor `field=value`.
    #[error("\"{0}\" is neither an id nor all nor field=value nor {{expression}}")]
    BadPart(String),
    /// The expression in the braces is wrong.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
}

impl Selector {
    /// Reads a path segment after percent-decoding.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SelectorError::Empty);
        }
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(SelectorError::TooLong);
        }
        if let Some(inner) = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
        {
            return Ok(Self::Where(Expression::parse(inner)?));
        }
        let (mut ids, mut terms, mut all) = (Vec::new(), Vec::<Term>::new(), false);
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            if part == "all" {
                all = true;
            } else if let Some((field, value)) = part.split_once('=') {
                let (field, value) = (field.trim(), value.trim().trim_matches('"'));
                match terms.iter_mut().find(|term| term.field == field) {
                    Some(term) => term.values.push(value.to_owned()),
                    None => terms.push(Term {
                        field: field.to_owned(),
                        values: vec![value.to_owned()],
                    }),
                }
            } else {
                let id = part
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
                    .then(|| part.parse().ok())
                    .flatten()
                    .ok_or_else(|| SelectorError::BadPart(part.to_owned()))?;
                ids.push(id);
            }
        }
        if ids.len() > SELECTOR_IDS_MAX {
            return Err(SelectorError::TooLong);
        }
        match (all, ids.is_empty(), terms.is_empty()) {
            (false, true, true) => Err(SelectorError::Empty),
            (false, false, _) => Ok(Self::Ids { ids, terms }),
            _ => Ok(Self::All { terms }),
        }
    }

    /// Does it choose by nothing but ids?
    pub fn is_plain(&self) -> bool {
        match self {
            Self::Ids { terms, .. } | Self::All { terms } => terms.is_empty(),
            Self::Where(_) => false,
        }
    }

    /// Keeps the rows that it means; gives back the ids that it names and no row has.
    pub fn keep(&self, rows: &mut Vec<Value>) -> Vec<u64> {
        let missing = match self {
            Self::Ids { ids, .. } => {
                let missing = ids
                    .iter()
                    .filter(|id| !rows.iter().any(|row| row["id"] == **id))
                    .copied()
                    .collect();
                rows.retain(|row| row["id"].as_u64().is_some_and(|id| ids.contains(&id)));
                missing
            }
            Self::All { .. } | Self::Where(_) => Vec::new(),
        };
        rows.retain(|row| self.fits(row));
        missing
    }

    /// Does an item fit, beside its id?
    pub fn fits(&self, item: &Value) -> bool {
        self.fits_with(&|name| look_up(item, name).cloned())
    }

    /// Does an item fit, beside its id, where `field` looks its fields up?
    pub fn fits_with(&self, field: &dyn Fn(&str) -> Option<Value>) -> bool {
        match self {
            Self::Ids { terms, .. } | Self::All { terms } => terms
                .iter()
                .all(|term| term.fits(field(&term.field).as_ref())),
            Self::Where(expression) => expression.holds(field),
        }
    }
}

impl Term {
    fn fits(&self, found: Option<&Value>) -> bool {
        self.values.iter().any(|value| match found {
            Some(Value::String(text)) => fits_pattern(text, value),
            Some(Value::Null) | None => value == "null",
            Some(other) => serde_json::to_string(other).is_ok_and(|text| text == *value),
        })
    }
}

/// Does one of the names or patterns mean the parameter `name`?
pub(super) fn names_it(selector: &str, name: &str) -> bool {
    selector.split(',').map(str::trim).any(|wanted| {
        let is_pattern = wanted.contains(['*', '?']);
        wanted == "all" || wanted == name || is_pattern && fits_pattern(name, wanted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_choose_by_id_field_and_expression() {
        let item = json!({"id": 5, "cid": 7, "name": "van", "configuration": {"ident": "123"}});
        for (text, fits) in [
            ("all", true),
            ("5,cid=7", true),
            ("all,cid=7", true),
            ("all,cid=8", false),
            ("cid=8,cid=7", true),
            ("cid=7,name=car", false),
            ("configuration.ident=123", true),
            ("name=v*", true),
            ("{name ~ \"v*\" && cid == 7}", true),
            ("{cid == 8}", false),
        ] {
            assert_eq!(
                Selector::parse(text).expect(text).fits(&item),
                fits,
                "{text}"
            );
        }
        assert_eq!(
            Selector::parse("3,1,2").expect("ids"),
            Selector::Ids {
                ids: vec![3, 1, 2],
                terms: Vec::new()
            }
        );
        assert_eq!(Selector::parse(" "), Err(SelectorError::Empty));
        assert_eq!(
            Selector::parse("5,x"),
            Err(SelectorError::BadPart("x".into()))
        );
        assert!(matches!(
            Selector::parse("{a ==}"),
            Err(SelectorError::Expression(_))
        ));
    }
}
