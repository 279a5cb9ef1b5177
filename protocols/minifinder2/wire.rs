//! What frames are made of.

use crate::contract::Reject;

pub(super) const SHORT: Reject = Reject::new("frame", "fewer bytes than it has", 0);

/// Key and value, until the end or a length that does not fit.
pub(super) struct Keys<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Keys<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&length, rest) = self.0.split_first()?;
        let (item, rest) = rest.split_at_checked(length.into())?;
        let (&key, value) = item.split_first()?;
        self.0 = rest;
        Some((key, value))
    }
}
