//! The configuration file.
mod nearest;
mod prefix;

pub use nearest::nearest;
pub use prefix::{Prefix, PrefixError};
