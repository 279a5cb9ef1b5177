//! Tricks that more than one protocol needs: the second time one appears, it moves here.

pub mod bcd;
pub mod cells;
pub mod checksum;
pub mod cursor;
pub mod framing;
pub mod hex;
pub mod luhn;
pub mod obd;
pub mod parse;
pub mod table;
pub mod time;
pub mod units;
