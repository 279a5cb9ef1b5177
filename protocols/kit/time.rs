//! Times of devices as unix ms. A date or time that cannot be is `None`, never corrected.

use crate::contract::{Settings, Time};

const DAY_MS: i64 = 86_400_000;

/// A calendar date and time of day, in UTC unless a zone is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// Four digits.
    pub year: i64,
    /// 1 to 12
    pub month: i64,
    /// 1 to 31
    pub day: i64,
    /// 0 to 23
    pub hour: i64,
    /// 0 to 59
    pub minute: i64,
    /// 0 to 59 (60 is taken as the next minute)
    pub second: i64,
}

impl Civil {
    /// Unix ms as if the clock showed UTC.
    pub fn utc_ms(self) -> Option<i64> {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self;
        let fits = (1970..2100).contains(&year)
            && (1..=12).contains(&month)
            && day >= 1
            && day <= days_in(year, month)
            && (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..=60).contains(&second);
        if !fits {
            return None;
        }
        let days = days_from_epoch(year, month, day);
        Some(days * DAY_MS + (hour * 3600 + minute * 60 + second) * 1000)
    }

    /// Unix ms where the clock shows the zone of `settings`, UTC if none is set.
    pub fn ms(self, settings: &Settings) -> Option<i64> {
        let local = self.utc_ms()?;
        let offset = settings
            .time_zone
            .as_ref()
            .map_or(0, |zone| zone.offset_at_local(local));
        Some(local - offset * 1000)
    }
}

impl Civil {
    /// The date and time in UTC at `ms`.
    pub fn at(ms: i64) -> Self {
        let (days, in_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS) / 1000);
        // by years of 366 days a guess that is never too late, then forward
        let mut year = 1970 + days.div_euclid(366);
        while days_from_epoch(year + 1, 1, 1) <= days {
            year += 1;
        }
        let mut month = 1;
        while month < 12 && days_from_epoch(year, month + 1, 1) <= days {
            month += 1;
        }
        Self {
            year,
            month,
            day: days - days_from_epoch(year, month, 1) + 1,
            hour: in_day / 3600,
            minute: in_day / 60 % 60,
            second: in_day % 60,
        }
    }

    /// This date, at the time of day of `clock`.
    #[must_use]
    pub fn at_clock(self, clock: Self) -> Self {
        let Self {
            hour,
            minute,
            second,
            ..
        } = clock;
        Self {
            hour,
            minute,
            second,
            ..self
        }
    }

    /// `YYYYMMDDHHMMSS`
    pub fn compact(self) -> String {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self;
        format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
    }
}

/// A date and time with a two-digit year (00 to 79 is 2000 to 2079, else 1980 to 1999).
pub fn two_digit(y: i64, month: i64, day: i64, hour: i64, minute: i64, second: i64) -> Civil {
    let year = if (0..80).contains(&y) {
        2000 + y
    } else {
        1900 + y
    };
    Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
    }
}

/// Six two-digit numbers written together (`yymmddhhmmss` for `order` "ymdhms"): the letters of
/// `order` say which stands where.
pub fn digits(text: &str, order: &str) -> Option<Civil> {
    if text.len() != order.len() * 2 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut civil = two_digit(0, 1, 1, 0, 0, 0);
    for (index, letter) in order.chars().enumerate() {
        let value: i64 = text.get(index * 2..index * 2 + 2)?.parse().ok()?;
        match letter {
            'y' => civil.year = two_digit(value, 1, 1, 0, 0, 0).year,
            'm' => civil.month = value,
            'd' => civil.day = value,
            'H' => civil.hour = value,
            'M' => civil.minute = value,
            'S' => civil.second = value,
            _ => return None,
        }
    }
    Some(civil)
}

/// The time of a record from what the device sent: its own, or the receipt's marked as such.
pub fn or_impossible(ms: Option<i64>, now_ms: i64) -> Time {
    ms.map_or(Time::Impossible(now_ms), Time::Device)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01, for a date of the Gregorian calendar: whole years, then whole months.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let years = (year - 1970) * 365 + (before / 4 - before / 100 + before / 400) - 477;
    years + (1..month).map(|month| days_in(year, month)).sum::<i64>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_and_impossible_ones_refused() {
        for (civil, ms) in [
            (
                two_digit(70 - 100 + 100, 1, 1, 0, 0, 0),
                Some(3_155_760_000_000),
            ),
            (two_digit(22, 1, 28, 10, 57, 59), Some(1_643_367_479_000)),
            (two_digit(0, 2, 29, 0, 0, 0), Some(951_782_400_000)),
            (two_digit(1, 2, 29, 0, 0, 0), None),
            (two_digit(22, 13, 1, 0, 0, 0), None),
            (two_digit(22, 1, 1, 24, 0, 0), None),
        ] {
            assert_eq!(civil.utc_ms(), ms, "{civil:?}");
        }
        assert_eq!(
            digits("280122105759", "dmyHMS"),
            Some(two_digit(22, 1, 28, 10, 57, 59))
        );
        assert_eq!(digits("28012210575x", "dmyHMS"), None);
    }

    #[test]
    fn a_date_and_a_time_of_day_are_joined() {
        let (date, clock) = (digits("280122", "dmy"), digits("105759", "HMS"));
        let joined = date.zip(clock).map(|(date, clock)| date.at_clock(clock));
        assert_eq!(joined, Some(two_digit(22, 1, 28, 10, 57, 59)));
    }

    #[test]
    fn a_time_is_written_as_it_was_read() {
        for ms in [
            0,
            951_782_399_000,
            951_782_400_000,
            1_643_367_479_000,
            1_735_689_599_000,
            4_102_444_799_000,
        ] {
            assert_eq!(Civil::at(ms).utc_ms(), Some(ms));
        }
        assert_eq!(Civil::at(1_643_367_479_000).compact(), "20220128105759");
    }

    #[test]
    fn a_zone_is_taken_off_the_local_clock() {
        let mut settings = Settings::default();
        settings.set("time_zone", "+03:00").expect("an offset");
        let civil = two_digit(22, 1, 28, 13, 57, 59);
        assert_eq!(civil.ms(&settings), Some(1_643_367_479_000));
    }
}
