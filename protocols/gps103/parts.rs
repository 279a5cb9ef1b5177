//! What a line is taken apart into.

use smallvec::SmallVec;

pub(super) type Fields<'a> = SmallVec<[&'a str; 32]>;
