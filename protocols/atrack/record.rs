//! Records of both forms: place, inputs, texts, and then items.

use super::items;
use super::raw::{Raw, SHORT};
use crate::contract::{Context, RecordBuilder, Reject, fields};
use crate::kit::cursor::Cursor;
use crate::kit::parse::{float, number};
use crate::kit::time::{Civil, digits, or_impossible};
use crate::kit::{framing, hex, units};

/// A temperature that no sensor gave.
const NO_SENSOR: i64 = 2000;
/// Where the time of sending stands, and how long it is, in short and long form.
const SENT_SHORT: (usize, usize) = (8, 4);
const SENT_LONG: (usize, usize) = (14, 7);
/// Years, as the first two bytes of a long date. No unix time of 1970 to 2036 begins with them.
const YEARS: std::ops::Range<u16> = 2000..2100;
/// The shortest record.
const RECORD_BYTES_MIN: usize = 41;
const ITEMS_MARK: &str = "%CI";

/// What both forms say first.
struct Place {
    fixed_ms: Option<i64>,
    made_ms: Option<i64>,
    longitude: i64,
    latitude: i64,
    course: Option<i64>,
    report: Option<i64>,
    odometer: Option<f64>,
    hdop: Option<i64>,
    inputs: Option<i64>,
    speed: Option<i64>,
    outputs: Option<i64>,
    analog: Option<i64>,
}

impl Place {
    fn open<'c>(&self, cx: &'c mut Context<'_>) -> Result<RecordBuilder<'c>, Reject> {
        let now_ms = cx.now_ms;
        let mut message = cx.message(or_impossible(self.made_ms.or(self.fixed_ms), now_ms))?;
        if let Some(fixed_ms) = self.fixed_ms.filter(|ms| Some(*ms) != self.made_ms) {
            message.push(fields::POSITION_TIMESTAMP, fixed_ms / 1000);
        }
        let there = (self.longitude, self.latitude) != (0, 0)
            && self.latitude.abs() <= 90_000_000
            && self.longitude.abs() <= 180_000_000;
        message.push(fields::POSITION_VALID, there);
        if there {
            message.push(fields::POSITION_LATITUDE, units::scaled(self.latitude, 6));
            message.push(fields::POSITION_LONGITUDE, units::scaled(self.longitude, 6));
            message.push_some(fields::POSITION_DIRECTION, self.course);
            message.push_some(fields::POSITION_SPEED, self.speed);
        }
        let hdop = self.hdop.map(|tenths| units::scaled(tenths, 1));
        message.push_some(fields::POSITION_HDOP, hdop);
        message.push_some(fields::EVENT_ENUM, self.report);
        let km = self.odometer.map(|tenths| units::round(tenths / 10.0, 3));
        message.push_some(fields::VEHICLE_MILEAGE, km);
        message.push_some(fields::DIN, self.inputs);
        message.push_some(fields::DOUT, self.outputs);
        let volts = self.analog.map(|mv| units::scaled(mv, 3));
        message.push_some((fields::AIN_N, 1), volts);
        Ok(message)
    }
}

fn push_temperatures(message: &mut RecordBuilder<'_>, tenths: [Option<i64>; 2]) {
    for (sensor, tenths) in (1..).zip(tenths) {
        let celsius = tenths.filter(|tenths| *tenths != NO_SENSOR);
        let celsius = celsius.map(|tenths| units::scaled(tenths, 1));
        message.push_some((fields::SENSOR_TEMPERATURE_N, sensor), celsius);
    }
}

/// The text message: of a fuel sensor on the serial port, `FULS:F=` frequency, `t=` degrees, `N=` level, in hex.
fn push_text(message: &mut RecordBuilder<'_>, text: &str) {
    let text = text.trim();
    if text.is_empty() {
        return;
    }
    message.push(fields::TEXT_MESSAGE, text);
    let Some(sensor) = text.strip_prefix("FULS:") else {
        return;
    };
    for part in sensor.split_ascii_whitespace() {
        let Some((name, value)) = part.split_once('=') else {
            continue;
        };
        let digits = value.split('.').next().unwrap_or_default();
        let Ok(value) = u32::from_str_radix(digits, 16) else {
            continue;
        };
        match name {
            "F" => message.push((fields::FREQUENCY_N, 1), value),
            "N" => message.push((fields::LLS_VALUE_N, 1), value),
            "t" => {
                // two digits in two's complement
                let [.., low] = value.to_be_bytes();
                message.push((fields::LLS_TEMPERATURE_N, 1), low.cast_signed());
            }
            _ => {}
        }
    }
}

/// The records of a binary frame.
pub(super) fn binary(
    records: &[u8],
    form: Option<&str>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let mut rest = records;
    if rest.len() < RECORD_BYTES_MIN {
        return Err(SHORT);
    }
    while rest.len() >= RECORD_BYTES_MIN {
        let long = rest
            .first_chunk()
            .is_some_and(|year| YEARS.contains(&u16::from_be_bytes(*year)));
        let (at, length) = if long { SENT_LONG } else { SENT_SHORT };
        let sent = rest.get(at..at + length).ok_or(SHORT)?;
        let mut cursor = Cursor::new(rest);
        let mut message = binary_place(&mut cursor, long).ok_or(SHORT)?.open(cx)?;
        binary_texts(&mut cursor, &mut message).ok_or(SHORT)?;
        let named = cursor.rest().starts_with(ITEMS_MARK.as_bytes());
        let own = if named { zero_ended(&mut cursor) } else { None };
        let whole = match own.or(form) {
            Some(form) => binary_items(&mut cursor, form, &mut message),
            None => true,
        };
        let left = cursor.rest();
        if whole && (left.is_empty() || starts_record(left, sent, at)) {
            rest = left;
            continue;
        }
        // items of unknown width: what is theirs ends where a record begins that was sent with this one
        let next = (0..left.len())
            .find(|from| starts_record(left.get(*from..).unwrap_or_default(), sent, at));
        let (items, next) = left
            .split_at_checked(next.unwrap_or(left.len()))
            .ok_or(SHORT)?;
        message.push(fields::PAYLOAD_HEX, &*hex::encode(items));
        rest = next;
    }
    Ok(())
}

fn starts_record(bytes: &[u8], sent: &[u8], at: usize) -> bool {
    bytes.len() >= RECORD_BYTES_MIN && bytes.get(at..).is_some_and(|from| from.starts_with(sent))
}

fn binary_place(cursor: &mut Cursor<'_>, long: bool) -> Option<Place> {
    let mut moment = || -> Option<Option<i64>> {
        if !long {
            let seconds = i64::from(cursor.u32()?);
            return Some((seconds > 0).then_some(seconds * 1000));
        }
        let civil = Civil {
            year: i64::from(cursor.u16()?),
            month: i64::from(cursor.u8()?),
            day: i64::from(cursor.u8()?),
            hour: i64::from(cursor.u8()?),
            minute: i64::from(cursor.u8()?),
            second: i64::from(cursor.u8()?),
        };
        Some(civil.utc_ms())
    };
    let (fixed_ms, made_ms, _sent_ms) = (moment()?, moment()?, moment()?);
    let signed = |raw: u32| i64::from(raw.cast_signed());
    Some(Place {
        fixed_ms,
        made_ms,
        longitude: signed(cursor.u32()?),
        latitude: signed(cursor.u32()?),
        course: Some(i64::from(cursor.u16()?)),
        report: Some(i64::from(cursor.u8()?)),
        odometer: Some(f64::from(cursor.u32()?)),
        hdop: Some(i64::from(cursor.u16()?)),
        inputs: Some(i64::from(cursor.u8()?)),
        speed: Some(i64::from(cursor.u16()?)),
        outputs: Some(i64::from(cursor.u8()?)),
        analog: Some(i64::from(cursor.u16()?)),
    })
}

fn binary_texts(cursor: &mut Cursor<'_>, message: &mut RecordBuilder<'_>) -> Option<()> {
    let driver = zero_ended(cursor)?.trim();
    if !driver.is_empty() {
        message.push(fields::DRIVER_ID, driver);
    }
    let temperatures = [cursor.i16()?, cursor.i16()?];
    push_temperatures(message, temperatures.map(|tenths| Some(i64::from(tenths))));
    push_text(message, zero_ended(cursor)?);
    Some(())
}

/// A text and the 00 behind it. What is not UTF-8 ends it.
fn zero_ended<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    let length = framing::find(cursor.rest(), &[0])?;
    let bytes = cursor.take(length)?;
    cursor.u8()?;
    Some(match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()?,
    })
}

/// False: an item's width is not known, or its bytes are missing.
fn binary_items(cursor: &mut Cursor<'_>, form: &str, message: &mut RecordBuilder<'_>) -> bool {
    let mut cell = items::Serving::default();
    let mut whole = true;
    for name in names(form) {
        let raw = match items::find(name).map(|item| item.bytes) {
            None => None,
            Some(0) => zero_ended(cursor).map(Raw::Text),
            Some(width) => cursor.take(usize::from(width)).map(Raw::Bytes),
        };
        let Some(raw) = raw else {
            whole = false;
            break;
        };
        items::push(name, raw, &mut cell, message);
    }
    cell.push(message);
    whole
}

/// The names in `%MV%BV%GQ`.
fn names(form: &str) -> impl Iterator<Item = &str> {
    form.split('%')
        .map(str::trim)
        .filter(|name| !name.is_empty() && *name != "CI")
}

/// A record of a text frame.
pub(super) fn text(record: &str, form: Option<&str>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut rest = record;
    let mut next = || {
        let (field, behind) = rest.split_once(',').unwrap_or((rest, ""));
        rest = behind;
        field
    };
    let (fixed, made, _sent) = (next(), next(), next());
    // what is blank behind the place is not there
    let longitude = next();
    let is_pointed = longitude.contains('.');
    let (longitude, latitude) = (scaled(longitude, 6), scaled(next(), 6));
    let mut whole = || number::<i64>(next());
    let (course, report) = (whole(), whole());
    if report.is_none() && longitude.zip(latitude).is_none() {
        return Err(SHORT);
    }
    // kilometers behind degrees with a point, tenths of them behind others
    let odometer = float(next()).map(|value| if is_pointed { value * 10.0 } else { value });
    let hdop = scaled(next(), 1);
    let mut whole = || number::<i64>(next());
    let (longitude, latitude) = longitude.zip(latitude).unwrap_or_default();
    let place = Place {
        fixed_ms: moment(fixed),
        made_ms: moment(made),
        longitude,
        latitude,
        course,
        report,
        odometer,
        hdop,
        inputs: whole(),
        speed: whole(),
        outputs: whole(),
        analog: whole(),
    };
    let driver = next().trim();
    let temperatures = [number::<i64>(next()), number::<i64>(next())];
    let mut message = place.open(cx)?;
    if !driver.is_empty() {
        message.push(fields::DRIVER_ID, driver);
    }
    push_temperatures(&mut message, temperatures);
    let (said, behind) = text_field(rest);
    push_text(&mut message, said);
    rest = behind;
    let mut form = form;
    if rest.starts_with(ITEMS_MARK) {
        let (own, behind) = rest.split_once(',').unwrap_or((rest, ""));
        form = Some(own);
        rest = behind;
    }
    let mut cell = items::Serving::default();
    for name in form.into_iter().flat_map(names) {
        if rest.is_empty() {
            break;
        }
        let value;
        (value, rest) = text_field(rest);
        items::push(name, Raw::Text(value), &mut cell, &mut message);
    }
    cell.push(&mut message);
    for (value, index) in rest.split(',').zip(1u32..) {
        if !value.is_empty() {
            message.wire(index, value);
        }
    }
    Ok(())
}

/// The next field: a text that may hold commas ends with 1A and a comma, any other with a comma.
fn text_field(rest: &str) -> (&str, &str) {
    const END: char = '\x1a';
    let comma = rest.find(',').unwrap_or(rest.len());
    let field = rest.get(..comma).unwrap_or_default();
    // a link to a map: the only item that has a comma inside
    if field.starts_with("http")
        && let Some((text, behind)) = rest.split_once(END)
    {
        return (text, behind.strip_prefix(',').unwrap_or(behind));
    }
    let behind = rest.get(comma + 1..).unwrap_or_default();
    (field.trim_end_matches(END), behind)
}

/// A whole number of `10^-decimals`, or with a point the value itself, as older devices write it.
fn scaled(text: &str, decimals: usize) -> Option<i64> {
    let Some((whole, fraction)) = text.split_once('.') else {
        return number(text);
    };
    let fraction = fraction.get(..decimals.min(fraction.len()))?;
    number(&format!("{whole}{fraction:0<decimals$}"))
}

/// Unix seconds or `YYYYMMDDHHMMSS`.
fn moment(text: &str) -> Option<i64> {
    if let Some(date) = text.strip_prefix("20").filter(|rest| rest.len() == 12) {
        return digits(date, "ymdHMS")?.utc_ms();
    }
    let seconds = number::<u32>(text).filter(|seconds| *seconds > 0)?;
    Some(i64::from(seconds) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_holds_commas_ends_with_its_own_mark() {
        assert_eq!(text_field("1,2"), ("1", "2"));
        assert_eq!(text_field("\x1a,2"), ("", "2"));
        assert_eq!(
            text_field("http://x?q=1,2 \x1a,00,3"),
            ("http://x?q=1,2 ", "00,3")
        );
        assert_eq!(text_field("last"), ("last", ""));
    }

    #[test]
    fn both_forms_of_a_time_are_read() {
        assert_eq!(moment("1585727971"), Some(1_585_727_971_000));
        assert_eq!(moment("20200401075931"), Some(1_585_727_971_000));
        assert_eq!(moment("0"), None);
    }
}
