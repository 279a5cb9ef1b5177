//! A sensor of the tag TDn: base64 of a protobuf message of varints and one string.

use crate::contract::record::{read_varint, unzigzag};
use crate::contract::{Instance, RecordBuilder, fields};
use crate::kit::{hex, units};
use smallvec::SmallVec;

/// The longest message.
const BYTES_MAX: usize = 256;
const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// Adds the sensor; `None` if the value is not such a message.
pub(super) fn push(value: &str, message: &mut RecordBuilder<'_>) -> Option<()> {
    let bytes = decoded(value)?;
    let mut number_of = None;
    let mut id: &[u8] = &[];
    let mut numbers: SmallVec<[(u64, u64); 16]> = SmallVec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (key, after) = read_varint(rest)?;
        match (key >> 3, key & 7) {
            (field, VARINT) => {
                let (number, after) = read_varint(after)?;
                if field == 1 {
                    number_of = Instance::try_from(number).ok();
                } else {
                    numbers.push((field, number));
                }
                rest = after;
            }
            (field, BYTES) => {
                let (length, after) = read_varint(after)?;
                let (content, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                if field == 3 {
                    id = content;
                }
                rest = after;
            }
            _ => return None,
        }
    }
    let number_of = number_of.filter(|number| *number > 0)?;
    if !id.is_empty() {
        let id = match std::str::from_utf8(id) {
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => text.to_owned(),
            _ => hex::encode(id),
        };
        message.push((fields::SENSOR_ID_N, number_of), &*id);
    }
    for (field, raw) in numbers {
        let plain = i64::try_from(raw).unwrap_or(i64::MAX);
        match field {
            2 => message.push((fields::SENSOR_STATUS_N, number_of), plain),
            4 => {
                let celsius = units::scaled(unzigzag(raw), 1);
                message.push((fields::SENSOR_TEMPERATURE_N, number_of), celsius);
            }
            5 => {
                let percent = units::scaled(plain, 1);
                message.push((fields::SENSOR_HUMIDITY_N, number_of), percent);
            }
            9 => {
                let volts = units::scaled(plain, 3);
                message.push((fields::SENSOR_BATTERY_VOLTAGE_N, number_of), volts);
            }
            _ => message.name(&format!("sensor.{number_of}.{field}"), plain),
        }
    }
    Some(())
}

/// The bytes of base64, with or without its padding.
fn decoded(text: &str) -> Option<Vec<u8>> {
    if text.len() > BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut have) = (0u32, 0u32);
    for letter in text.trim_end_matches('=').bytes() {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        have += 6;
        if have >= 8 {
            have -= 8;
            let [.., byte] = (bits >> have).to_be_bytes();
            bytes.push(byte);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_with_and_without_padding() {
        assert_eq!(decoded("aGVsbG8=").as_deref(), Some(&b"hello"[..]));
        assert_eq!(decoded("aGVsbG8").as_deref(), Some(&b"hello"[..]));
        assert_eq!(decoded("a b"), None);
    }
}
