//! What text frames are taken apart into.

use smallvec::SmallVec;

pub(super) type Fields<'f> = SmallVec<[&'f str; 40]>;
