//! The house rules as a test: what a reviewer should not have to look for.
//!
//! Each rule is a function from text to breaches, so that the tests at the foot of its file can
//! plant some.

mod protocols;
mod rooms;
mod rust;
mod text;
mod tree;
