//! What frames are made of: the head, dates, values that several kinds share.

use crate::contract::{Context, RecordBuilder, Reject, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::time::{or_impossible, two_digit};
use crate::kit::{bcd, hex};

pub(super) const HEAD_BYTES: usize = 15;

pub(super) const SHORT: Reject = Reject::new("frame", "fewer bytes than it has", 0);

/// The kinds of devices, by the mark their frames begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    First,
    Vehicle,
    Obd,
    Asset,
}

impl Family {
    pub(super) fn of(mark: [u8; 2]) -> Option<Self> {
        Some(match mark {
            [0x23, 0x23] => Self::First,
            [0x25, 0x25] => Self::Vehicle,
            [0x26, 0x26] => Self::Obd,
            [0x27, 0x27] => Self::Asset,
            _ => return None,
        })
    }
}

/// What stands before the body.
pub(super) struct Head {
    pub(super) family: Family,
    pub(super) mark: [u8; 2],
    pub(super) kind: u8,
    pub(super) number: u16,
    pub(super) imei: [u8; 8],
}

impl Head {
    pub(super) fn answer(&self, alarm: Option<u8>) -> Vec<u8> {
        let length = if alarm.is_some() { 16 } else { 15 };
        let number = if self.family == Family::First {
            1
        } else {
            self.number
        };
        let mut bytes = Vec::with_capacity(length.into());
        bytes.extend_from_slice(&self.mark);
        bytes.extend_from_slice(&[self.kind, 0, length]);
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(&self.imei);
        bytes.extend(alarm);
        bytes
    }

    pub(super) fn open<'c>(
        &self,
        time: Time,
        cx: &'c mut Context<'_>,
    ) -> Result<RecordBuilder<'c>, Reject> {
        let mut message = cx.message(time)?;
        message.push(fields::MESSAGE_TYPE, &*hex::encode(&[self.kind]));
        message.push(fields::FRAME_SEQNUM, self.number);
        Ok(message)
    }
}

/// Six bytes of two digits; zeros are no date.
pub(super) fn date(cursor: &mut Cursor<'_>, now_ms: i64) -> Result<Time, Reject> {
    let raw: [u8; 6] = cursor.array().ok_or(SHORT)?;
    let digits = raw.map(bcd::byte);
    let ms = match digits {
        [
            Some(y),
            Some(month),
            Some(d),
            Some(hour),
            Some(minute),
            Some(s),
        ] => two_digit(
            y.into(),
            month.into(),
            d.into(),
            hour.into(),
            minute.into(),
            s.into(),
        )
        .utc_ms(),
        _ => None,
    };
    Ok(or_impossible(ms, now_ms))
}

/// Two or four decimal digits; `None` where there are others, as FF.
pub(super) fn decimal(bytes: &[u8]) -> Option<f64> {
    bcd::number(bytes).map(|number| number as f64)
}

/// Degrees with the sign in the highest bit; FF is none.
pub(super) fn celsius(byte: u8) -> Option<i64> {
    let degrees = i64::from(byte & 0x7f);
    (byte != 0xff).then_some(if byte & 0x80 == 0 { degrees } else { -degrees })
}
