//! Tables from a wire's numbers to parameters, for protocols whose values are numbered integers of
//! one to eight bytes.

use super::units;
use crate::contract::{Instance, Key, ParamId, RecordBuilder, Value};

/// How a value of the wire becomes the dictionary's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Form {
    /// Not 0.
    Flag,
    /// An unsigned number.
    Plain,
    /// A number in two's complement.
    Signed,
    /// An unsigned number times a factor, to so many decimals.
    Scaled(f64, i32),
    /// A number in two's complement times a factor, to so many decimals.
    SignedScaled(f64, i32),
    /// An unsigned number plus a constant.
    Offset(i64),
    /// An identification: digits, all zeros is none.
    Code,
}

/// A number of the wire and what it means.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The wire's number.
    pub id: u16,
    /// The parameter.
    pub param: ParamId,
    /// Its instance, 0 for none.
    pub instance: Instance,
    /// How its value is read.
    pub form: Form,
}

/// A row of a table. Tables are sorted by `id`.
pub const fn row(id: u16, param: ParamId, instance: Instance, form: Form) -> Row {
    Row {
        id,
        param,
        instance,
        form,
    }
}

/// The row of `id` in a table sorted by it.
pub fn find(rows: &'static [Row], id: u16) -> Option<&'static Row> {
    let at = rows.binary_search_by_key(&id, |row| row.id).ok()?;
    rows.get(at)
}

/// `raw` of `bytes` bytes as a number in two's complement.
pub fn signed(raw: u64, bytes: usize) -> i64 {
    let unused = 64u32.saturating_sub(u32::try_from(bytes).unwrap_or(8).saturating_mul(8));
    (raw.wrapping_shl(unused))
        .cast_signed()
        .wrapping_shr(unused)
}

/// Unsigned bytes, first the highest.
pub fn big_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Unsigned bytes, first the lowest.
pub fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Adds a value of `bytes` bytes as its row says.
pub fn push(row: &Row, raw: u64, bytes: usize, message: &mut RecordBuilder<'_>) {
    let key: Key<'_> = (row.param, row.instance).into();
    match row.form {
        Form::Flag => message.push(key, raw != 0),
        Form::Plain => message.push(key, Value::unsigned(raw)),
        Form::Signed => message.push(key, signed(raw, bytes)),
        Form::Scaled(factor, decimals) => {
            message.push(key, units::round(raw as f64 * factor, decimals));
        }
        Form::SignedScaled(factor, decimals) => {
            let value = signed(raw, bytes) as f64;
            message.push(key, units::round(value * factor, decimals));
        }
        Form::Offset(offset) => {
            let value = i64::try_from(raw).unwrap_or(i64::MAX);
            message.push(key, value.saturating_add(offset));
        }
        Form::Code if raw == 0 => {}
        Form::Code => message.push(key, &*format!("{raw:0width$x}", width = bytes * 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::fields;

    #[test]
    fn rows_are_found_and_signs_extended() {
        static ROWS: &[Row] = &[
            row(1, fields::DIN_N, 1, Form::Flag),
            row(9, fields::AIN_N, 1, Form::Scaled(0.001, 3)),
        ];
        assert_eq!(find(ROWS, 9).map(|row| row.instance), Some(1));
        assert!(find(ROWS, 2).is_none());
        assert_eq!(signed(0xfe, 1), -2);
        assert_eq!(signed(0xffff_fffe, 4), -2);
        assert_eq!(signed(u64::MAX, 8), -1);
        assert_eq!(signed(0x7f, 1), 127);
        assert_eq!(big_endian(&[1, 2]), 0x102);
        assert_eq!(little_endian(&[1, 2]), 0x201);
    }
}
