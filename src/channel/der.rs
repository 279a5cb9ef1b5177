//! Reads values of DER, the form of certificates, with checked lengths. It knows no more of a
//! certificate than where its issuer ends, and refuses what is longer than one may be.

/// The tag of a sequence.
pub(super) const SEQUENCE: u8 = 0x30;
/// `[0]`: the version, which a certificate may leave out.
const VERSION: u8 = 0xa0;

/// What stands in a certificate behind its issuer: the dates, the subject, and the rest.
pub(super) fn behind_issuer(certificate: &[u8]) -> Option<Der<'_>> {
    let mut tbs = Der(Der(Der(certificate).take(SEQUENCE)?).take(SEQUENCE)?);
    let (first, _) = tbs.next()?;
    if first == VERSION {
        tbs.next()?; // the serial number
    }
    tbs.take(SEQUENCE)?; // the algorithm
    tbs.take(SEQUENCE)?; // the issuer
    Some(tbs)
}

/// Values of DER one behind the other.
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    /// The next value: its tag and what is in it.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&length, mut rest) = rest.split_first()?;
        let length = if length < 0x80 {
            usize::from(length)
        } else {
            // a certificate is shorter than 16 MiB
            let digits = rest.split_off(..usize::from(length & 0x7f))?;
            if digits.is_empty() || digits.len() > 3 {
                return None;
            }
            digits
                .iter()
                .fold(0, |sum, digit| sum << 8 | usize::from(*digit))
        };
        let value = rest.split_off(..length)?;
        self.0 = rest;
        Some((tag, value))
    }

    /// What is in the next value, if it has this tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, value)| value)
    }
}
