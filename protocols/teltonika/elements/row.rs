//! A row of the tables: which ids, of how many bytes, become which parameter, and how.

use crate::contract::{Instance, ParamId};

/// How the value is read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// Not 0.
    Flag,
    /// An unsigned number.
    Plain,
    /// A signed number.
    Signed,
    /// An unsigned number times a factor, to so many decimals.
    Scaled(f64, i32),
    /// A signed number times a factor, to so many decimals.
    SignedScaled(f64, i32),
    /// A signed number within the vendor's bounds, times a factor, to so many decimals; beyond them it
    /// is an error of the sensor and kept under the wire's number.
    Bounded(i64, i64, f64, i32),
    /// True for this number; others are kept under the wire's number.
    When(u64),
    /// 0 or 1 of the two bits of J1939; error and not available are kept under the wire's number.
    TwoBit,
    /// True for 0.
    Not,
    /// Bytes as they are.
    Bytes,
    /// An identification as hex digits; all zeros is none.
    Code,
    /// ASCII text.
    Text,
}

/// A row.
pub(super) struct Element {
    /// The first id and the last: each has an instance more than the one before.
    pub(super) first: u16,
    pub(super) last: u16,
    /// Bytes of the value; 0 for one of any length.
    pub(super) width: u8,
    pub(super) param: ParamId,
    /// Of the first id.
    pub(super) instance: Instance,
    pub(super) form: Form,
}

pub(super) const MILLI: Form = Form::Scaled(0.001, 3);
pub(super) const TENTH: Form = Form::Scaled(0.1, 1);
pub(super) const HUNDREDTH: Form = Form::Scaled(0.01, 2);
pub(super) const SIGNED_TENTH: Form = Form::SignedScaled(0.1, 1);
pub(super) const SIGNED_HUNDREDTH: Form = Form::SignedScaled(0.01, 2);
/// -55 to 115 degrees.
pub(super) const DALLAS: Form = Form::Bounded(-550, 1150, 0.1, 1);
/// -40 to 125 degrees.
pub(super) const BLE_TEMPERATURE: Form = Form::Bounded(-4000, 12_500, 0.01, 2);
/// 0 to 100 %.
pub(super) const HUMIDITY: Form = Form::Bounded(0, 1000, 0.1, 1);
/// Minutes to hours.
pub(super) const MINUTES: Form = Form::Scaled(1.0 / 60.0, 4);

/// `NAME: first[..=last] width PARAM instance form;` to a table of that name.
macro_rules! elements {
    (@last $first:literal) => { $first };
    (@last $first:literal $last:literal) => { $last };
    (
        $name:ident:
        $($first:literal $(..= $last:literal)? $width:literal $param:ident $instance:literal
            $form:expr;)*
    ) => {
        pub(super) static $name: &[Element] = &[
            $(Element {
                first: $first, last: elements!(@last $first $($last)?), width: $width,
                param: fields::$param, instance: $instance, form: $form,
            },)*
        ];
    };
}
pub(super) use elements;
