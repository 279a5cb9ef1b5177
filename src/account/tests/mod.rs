//! The rules as tables, and the tree against a slow model.

mod language;
mod long;
mod model;
mod storm;
mod tables;
mod words;
