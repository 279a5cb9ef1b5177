//! REST.

pub mod expression;
pub mod selector;
