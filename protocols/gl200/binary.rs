//! The binary form: framing.

use crate::contract::{Context, Reject};

/// The shortest frame.
const FRAME_BYTES_MIN: usize = 12;

/// How long the frame at the beginning of `input` is, or how much of it must be there to tell;
/// `None` if no frame begins so.
pub(super) fn length(input: &[u8]) -> Option<usize> {
    let short = |at: usize| match (input.get(at), input.get(at + 1)) {
        (Some(high), Some(low)) => usize::from(u16::from_be_bytes([*high, *low])),
        _ => at + 2,
    };
    let byte = |at: usize| input.get(at).map_or(at + 1, |byte| usize::from(*byte));
    let length = match input.get(..4)? {
        b"+RSP" | b"+BSP" | b"+EVT" | b"+BVT" => short(9),
        b"+INF" | b"+BNF" => short(7),
        b"+CRD" | b"+BRD" | b"+LGN" => short(6),
        b"+ACK" => byte(6),
        b"+HBD" => byte(5),
        [_, 0x00 | 0x10, ..] => short(2),
        _ => return None,
    };
    Some(length.max(FRAME_BYTES_MIN))
}

/// Reads a frame.
pub(super) fn read(frame: &[u8], _: &mut Context<'_>) -> Result<(), Reject> {
    Err(Reject::new("binary", "not read", frame.len()))
}
