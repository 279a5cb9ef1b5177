//! A field of a record, which may be absent.

/// A field's text, `None` where it says that there is no value.
pub(super) fn value(field: &str) -> Option<&str> {
    let field = field.trim();
    (!field.is_empty() && field != "NA").then_some(field)
}
