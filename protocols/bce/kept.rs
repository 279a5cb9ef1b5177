//! What has no meaning yet.

use crate::contract::RecordBuilder;
use crate::kit::cursor::Cursor;

/// Keeps `count` bytes that have no meaning yet under their mask and bit, unless they are all zero.
pub(super) fn unknown(
    mask: u32,
    bit: u32,
    count: usize,
    cursor: &mut Cursor<'_>,
    message: &mut RecordBuilder<'_>,
) -> Option<()> {
    let bytes = cursor.take(count)?;
    if bytes.iter().any(|byte| *byte != 0) {
        message.wire(mask * 16 + bit, bytes);
    }
    Some(())
}
