//! From when to when a certificate is valid. rustls does not ask that of a server's own: it would be
//! shown to trackers that refuse it, and nobody would be told.

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// The time of a certificate, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from_s: i64,
    /// The last second.
    pub until_s: i64,
}

impl Validity {
    /// Of a certificate in DER; none: its dates cannot be read.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let validity = certificate.validity();
        Some(Self {
            from_s: validity.not_before.timestamp(),
            until_s: validity.not_after.timestamp(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use jiff::tz::TimeZone;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn certificate(from: i32, until: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_before = date_time_ymd(from, 1, 2);
        params.not_after = date_time_ymd(until, 3, 4);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn dates_of_both_forms_are_read() {
        let at = |year, month, day| {
            let at = date(year, month, day).at(0, 0, 0, 0);
            at.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second()
        };
        for (from, until) in [(1999, 2026), (2026, 2049), (2026, 2050), (2051, 2199)] {
            let found = Validity::of(&certificate(from.into(), until.into()));
            let expected = Validity {
                from_s: at(from, 1, 2),
                until_s: at(until, 3, 4),
            };
            assert_eq!(found, Some(expected), "{from} to {until}");
        }
    }

    #[test]
    fn what_is_cut_short_or_flipped_is_read_without_harm() {
        let der = certificate(2026, 2027);
        for end in 0..der.len() {
            _ = Validity::of(&der[..end]);
        }
        for bit in 0..der.len() * 8 {
            let mut changed = der.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            _ = Validity::of(&changed);
        }
    }
}
