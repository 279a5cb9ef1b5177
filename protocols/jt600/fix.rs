//! Time and place of a binary record.

use super::parts::SHORT;
use crate::contract::{Context, RecordBuilder, Reject, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::time::{self, Civil, two_digit};
use crate::kit::{bcd, units};

/// Time, place, speed and course.
pub(super) const RECORD_BYTES: usize = 17;

/// Time, place, speed and course of a binary record.
pub(super) struct Fix {
    pub(super) time: Time,
    pub(super) valid: bool,
    pub(super) latitude: f64,
    pub(super) longitude: f64,
    pub(super) knots: u8,
    pub(super) course: u16,
}

impl Fix {
    pub(super) fn read(body: &mut Cursor<'_>, cx: &Context<'_>) -> Result<Self, Reject> {
        let bytes = body.array::<RECORD_BYTES>().ok_or(SHORT)?;
        let mut fix = Cursor::new(&bytes);
        let date = fix.array::<6>().ok_or(SHORT)?;
        let civil = civil(date);
        let latitude = fix.take(4).and_then(bcd::number);
        let longitude = fix.array::<5>().ok_or(SHORT)?;
        let [upper @ .., last] = longitude;
        let digit = i64::from(last >> 4);
        let longitude = bcd::number(&upper)
            .filter(|_| digit < 10)
            .map(|digits| digits * 10 + digit);
        let (Some(latitude), Some(longitude)) = (latitude, longitude) else {
            return Err(Reject::new("place", "not decimal", 0));
        };
        let sign = |mask: u8| if last & mask == 0 { -1.0 } else { 1.0 };
        Ok(Self {
            time: time::or_impossible(civil.and_then(|civil| civil.ms(cx.settings())), cx.now_ms),
            valid: last & 1 != 0,
            latitude: sign(2) * degrees(latitude).ok_or(FAR)?,
            longitude: sign(4) * degrees(longitude).ok_or(FAR)?,
            knots: fix.u8().ok_or(SHORT)?,
            course: u16::from(fix.u8().ok_or(SHORT)?) * 2,
        })
    }

    pub(super) fn push(&self, message: &mut RecordBuilder<'_>) {
        message.push(fields::POSITION_VALID, self.valid);
        if self.latitude != 0.0 || self.longitude != 0.0 {
            message.push(fields::POSITION_LATITUDE, self.latitude);
            message.push(fields::POSITION_LONGITUDE, self.longitude);
        }
        message.push(fields::POSITION_SPEED, units::knots(f64::from(self.knots)));
        if self.course <= 360 {
            message.push(fields::POSITION_DIRECTION, self.course);
        }
    }
}

pub(super) const FAR: Reject = Reject::new("place", "beyond the globe", 0);

/// Degrees of DDDMMMMMM.
pub(super) fn degrees(digits: i64) -> Option<f64> {
    let (whole, minutes) = (digits / 1_000_000, digits % 1_000_000);
    if whole > 180 || minutes >= 600_000 {
        return None;
    }
    let minutes = units::scaled(minutes, 4);
    Some(units::round(whole as f64 + minutes / 60.0, 7))
}

pub(super) fn civil(bytes: [u8; 6]) -> Option<Civil> {
    let [d, m, y, hour, minute, second] = bytes.map(|byte| bcd::byte(byte).map(i64::from));
    Some(two_digit(y?, m?, d?, hour?, minute?, second?))
}
