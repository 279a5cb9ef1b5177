//! Records: where the device was, and numbered values.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 1, 1 | left, count | records still in the device's memory, records here |
//!
//! then `count` times:
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 4, 1 | time | unix seconds, and which of several records of that second |
//! | 1 | part | extended only: last and present part of the record, four bits each |
//! | 1 | priority | |
//! | 4, 4 | longitude, latitude | 1e-7 degrees |
//! | 2, 2 | altitude, course | 0.1 m, 0.01 degrees |
//! | 1, 2, 1 | satellites, speed, HDOP | km/h, 0.1 |
//! | 1 or 2 | event | the number that made the record; 2 bytes if extended |
//! | ... | values | for 1, 2, 4 and 8 bytes: count (1) and (id, value) each; ids as wide as the event |

use super::elements;
use crate::contract::{Context, RecordBuilder, Reject, Time, fields};
use crate::kit::cursor::Cursor;
use crate::kit::table::big_endian;
use crate::kit::units::scaled;

/// Which widths the form of the records has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    id: usize,
    parts: bool,
}

pub(super) const STANDARD: Form = Form {
    id: 1,
    parts: false,
};
pub(super) const EXTENDED: Form = Form { id: 2, parts: true };

const SHORT: Reject = Reject::new("records", "cut short", 0);
/// Longitude or latitude without a fix.
const NO_PLACE: i32 = i32::MIN;

/// What stands before the values.
struct Head {
    time: u32,
    part: u8,
    priority: u8,
    longitude: i32,
    latitude: i32,
    altitude: i16,
    course: u16,
    satellites: u8,
    speed: u16,
    hdop: u8,
    event: u64,
}

fn head(cursor: &mut Cursor<'_>, form: Form) -> Option<Head> {
    let time = cursor.u32()?;
    cursor.u8()?;
    let part = if form.parts { cursor.u8()? } else { 0 };
    Some(Head {
        time,
        part,
        priority: cursor.u8()?,
        longitude: cursor.u32()?.cast_signed(),
        latitude: cursor.u32()?.cast_signed(),
        altitude: cursor.i16()?,
        course: cursor.u16()?,
        satellites: cursor.u8()?,
        speed: cursor.u16()?,
        hdop: cursor.u8()?,
        event: big_endian(cursor.take(form.id)?),
    })
}

/// Reads the records of a frame into messages.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    form: Form,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    cursor.u8().ok_or(SHORT)?;
    let mut left = cursor.u8().ok_or(SHORT)?;
    while left > 0 {
        let start = head(cursor, form).ok_or(SHORT)?;
        let mut message = cx.message(Time::Device(i64::from(start.time) * 1000))?;
        push_head(&start, &mut message);
        values(cursor, form, &mut message).ok_or(SHORT)?;
        left -= 1;
        while left > 0 && form.parts {
            let mut ahead = *cursor;
            let next = head(&mut ahead, form).ok_or(SHORT)?;
            if next.part % 16 == 0 || next.time != start.time {
                break;
            }
            *cursor = ahead;
            values(cursor, form, &mut message).ok_or(SHORT)?;
            left -= 1;
        }
    }
    Ok(())
}

fn push_head(head: &Head, message: &mut RecordBuilder<'_>) {
    let placed = head.longitude != NO_PLACE
        && head.latitude != NO_PLACE
        && (head.longitude != 0 || head.latitude != 0);
    message.push(fields::POSITION_VALID, placed);
    if placed {
        message.push(fields::POSITION_LATITUDE, scaled(head.latitude.into(), 7));
        message.push(fields::POSITION_LONGITUDE, scaled(head.longitude.into(), 7));
        message.push(fields::POSITION_ALTITUDE, scaled(head.altitude.into(), 1));
        message.push(fields::POSITION_DIRECTION, scaled(head.course.into(), 2));
        if head.speed != u16::MAX {
            message.push(fields::POSITION_SPEED, head.speed);
        }
    }
    if head.satellites != u8::MAX {
        message.push(fields::POSITION_SATELLITES, head.satellites);
    }
    if head.hdop != u8::MAX {
        message.push(fields::POSITION_HDOP, scaled(head.hdop.into(), 1));
    }
    message.push(fields::EVENT_PRIORITY_ENUM, head.priority);
    message.push(
        fields::EVENT_ENUM,
        i64::try_from(head.event).unwrap_or_default(),
    );
}

fn values(cursor: &mut Cursor<'_>, form: Form, message: &mut RecordBuilder<'_>) -> Option<()> {
    let mut values = elements::Values::default();
    for width in [1, 2, 4, 8] {
        for _ in 0..cursor.u8()? {
            let id = u16::try_from(big_endian(cursor.take(form.id)?)).ok()?;
            values.push(id, cursor.take(width)?, message);
        }
    }
    values.finish(message);
    Some(())
}

/// Trouble codes, a message each.
pub(super) fn trouble_codes(cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    const STORED: u8 = 2;
    let short = Reject::new("codes", "cut short", 0);
    for _ in 0..cursor.u8().ok_or(short)? {
        cursor.u8().ok_or(short)?;
        let time = cursor.u32().ok_or(short)?;
        let longitude = cursor.u32().ok_or(short)?.cast_signed();
        let latitude = cursor.u32().ok_or(short)?.cast_signed();
        let state = cursor.u8().ok_or(short)?;
        let code = cursor.take(5).ok_or(short)?;
        let mut message = cx.message(Time::Device(i64::from(time) * 1000))?;
        message.push(fields::MESSAGE_TYPE, "9");
        let placed = ![longitude, latitude].contains(&NO_PLACE) && (longitude, latitude) != (0, 0);
        message.push(fields::POSITION_VALID, placed);
        if placed {
            message.push(fields::POSITION_LATITUDE, scaled(latitude.into(), 7));
            message.push(fields::POSITION_LONGITUDE, scaled(longitude.into(), 7));
        }
        message.push(fields::CAN_DTC_CODES, &*String::from_utf8_lossy(code));
        if state == STORED {
            message.push(fields::MESSAGE_BUFFERED_STATUS, true);
        }
    }
    Ok(())
}
