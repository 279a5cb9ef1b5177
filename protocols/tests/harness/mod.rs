//! What the fixtures' test and `cargo xtask conformance` share: running connections and comparing
//! what comes out. No protocol has code here.

pub(crate) mod alike;
pub(crate) mod attributes;
pub(crate) mod corpus;
pub(crate) mod dialogue;
pub(crate) mod docs;
pub(crate) mod fields;
pub(crate) mod runner;
pub(crate) mod trials;
