//! What decoding may depend on and a device's registration says.

use compact_str::CompactString;

/// A device's settings, handed to the decoder by [`super::Context::identify`]; the default while
/// the ident is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The model, as [`super::Model::name`] has it.
    pub model: Option<CompactString>,
    /// The secret that the tracker must show. Decoders do not compare it; the gateway does.
    pub password: Option<CompactString>,
    /// The report format that the tracker is configured with, in the protocol's own words.
    pub format: Option<CompactString>,
    /// The zone of the device's clock.
    pub time_zone: Option<TimeZone>,
}

/// Why a setting was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not one of model, password, format, time_zone.
    #[error("unknown setting (model, password, format and time_zone exist)")]
    UnknownKey,
    /// Neither an offset nor a zone's name.
    #[error("neither an offset like +03:00 nor the name of a time zone like Europe/Kyiv")]
    BadTimeZone,
}

impl Settings {
    /// Sets one by its name.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), SettingsError> {
        match key {
            "model" => self.model = Some(value.into()),
            "password" => self.password = Some(value.into()),
            "format" => self.format = Some(value.into()),
            "time_zone" => self.time_zone = Some(TimeZone::parse(value)?),
            _ => return Err(SettingsError::UnknownKey),
        }
        Ok(())
    }

    /// Is the model set, and this one? Case does not count.
    pub fn model_is(&self, name: &str) -> bool {
        self.model
            .as_ref()
            .is_some_and(|model| model.eq_ignore_ascii_case(name))
    }
}

/// The zone of a device's clock: an offset or a named zone with its summer times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone(jiff::tz::TimeZone);

impl TimeZone {
    /// Reads `+03:00`, `-0530`, `+3`, `UTC` or a name like `Europe/Kyiv`.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let bad = SettingsError::BadTimeZone;
        let sign = match text.as_bytes().first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return jiff::tz::TimeZone::get(text).map(Self).map_err(|_| bad),
        };
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let number: i32 = digits.parse().map_err(|_| bad.clone())?;
        let (hours, minutes) = if digits.len() <= 2 {
            (number, 0)
        } else {
            (number / 100, number % 100)
        };
        if digits.len() > 4 || minutes > 59 {
            return Err(bad);
        }
        Self::offset(sign * (hours * 3600 + minutes * 60)).ok_or(bad)
    }

    /// A fixed offset east of UTC, in seconds (within 26 hours).
    pub fn offset(seconds: i32) -> Option<Self> {
        jiff::tz::Offset::from_seconds(seconds)
            .ok()
            .map(|offset| Self(offset.to_time_zone()))
    }

    /// The offset east of UTC, in seconds, of a local clock that shows `local_ms` (ms since 1970 as
    /// if the clock were UTC). In the hour that a summer time repeats, the earlier one.
    pub fn offset_at_local(&self, local_ms: i64) -> i64 {
        let Ok(as_utc) = jiff::Timestamp::from_millisecond(local_ms) else {
            return 0;
        };
        let civil = jiff::tz::Offset::UTC.to_datetime(as_utc);
        self.0
            .to_ambiguous_zoned(civil)
            .compatible()
            .map_or(0, |zoned| i64::from(zoned.offset().seconds()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_offsets_or_names() {
        for (text, local_ms, seconds) in [
            ("+3", 0, 10_800),
            ("-0530", 0, -19_800),
            ("+05:45", 0, 20_700),
            ("UTC", 0, 0),
            ("Europe/Kyiv", 1_720_000_000_000, 10_800),
            ("Europe/Kyiv", 1_704_000_000_000, 7_200),
        ] {
            let zone = TimeZone::parse(text).expect(text);
            assert_eq!(zone.offset_at_local(local_ms), seconds, "{text}");
        }
        assert_eq!(
            TimeZone::parse("Mars/Base"),
            Err(SettingsError::BadTimeZone)
        );
        assert_eq!(TimeZone::parse("+99"), Err(SettingsError::BadTimeZone));
    }
}
