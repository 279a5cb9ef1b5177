//! From when to when a certificate is valid. rustls does not ask that of a server's own: it would be
//! shown to trackers that refuse it, and nobody would be told.

use jiff::tz::TimeZone;

use super::der::{Der, SEQUENCE, behind_issuer};

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

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
        let mut dates = Der(behind_issuer(certificate)?.take(SEQUENCE)?);
        let mut next = || {
            let (tag, text) = dates.next()?;
            seconds_of(tag, text)
        };
        Some(Self {
            from_s: next()?,
            until_s: next()?,
        })
    }
}

/// `YYMMDDHHMMSSZ` with a year from 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn seconds_of(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.strip_suffix('Z')?;
    let (year_digits, length) = match tag {
        UTC_TIME => (2, 12),
        GENERALIZED_TIME => (4, 14),
        _ => return None,
    };
    if digits.len() != length || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = digits.split_at_checked(year_digits)?;
    let year: i16 = year.parse().ok()?;
    let year = match (tag, year) {
        (UTC_TIME, 50..) => 1900 + year,
        (UTC_TIME, _) => 2000 + year,
        (_, year) => year,
    };
    let part = |index: usize| rest.get(index * 2..index * 2 + 2)?.parse::<i8>().ok();
    let [month, day, hour, minute, second] = [part(0)?, part(1)?, part(2)?, part(3)?, part(4)?];
    let day = jiff::civil::Date::new(year, month, day).ok()?;
    let time = jiff::civil::Time::new(hour, minute, second, 0).ok()?;
    let at = day.to_datetime(time).to_zoned(TimeZone::UTC).ok()?;
    Some(at.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
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
        let wrong = [
            (UTC_TIME, "260230000000Z"),
            (UTC_TIME, "2602280000Z"),
            (UTC_TIME, "260228000000"),
            (GENERALIZED_TIME, "260228000000Z"),
            (GENERALIZED_TIME, "+0260228000000Z"),
            (0x16, "260228000000Z"),
        ];
        for (tag, text) in wrong {
            assert_eq!(seconds_of(tag, text.as_bytes()), None, "{text}");
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
