//! What the layers are made of.

use crate::contract::{Context, Time};
use crate::kit::cursor::Cursor;
use crate::kit::table::little_endian;

/// 2010-01-01 in unix seconds.
pub(super) const EPOCH: i64 = 1_262_304_000;

/// Who names the devices of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Naming {
    /// Nobody has yet.
    #[default]
    Nobody,
    /// The terminal has named itself.
    Terminal,
    /// Each record names its object.
    Records,
}

/// A record's head.
pub(super) struct Record<'f> {
    pub(super) number: u16,
    pub(super) object: Option<u64>,
    pub(super) event: Option<u64>,
    pub(super) seconds: Option<u64>,
    pub(super) service: u8,
    pub(super) content: &'f [u8],
}

/// A little-endian number of `bytes` bytes.
pub(super) fn next(cursor: &mut Cursor<'_>, bytes: usize) -> Option<u64> {
    cursor.take(bytes).map(little_endian)
}

/// Seconds since 2010 as the time of a record.
pub(super) fn since_2010(seconds: Option<u64>, cx: &Context<'_>) -> Time {
    let seconds = seconds.and_then(|seconds| i64::try_from(seconds).ok());
    seconds.map_or(Time::Received(cx.now_ms), |seconds| {
        Time::Device((seconds + EPOCH) * 1000)
    })
}
