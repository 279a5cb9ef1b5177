//! A packet's parts, and what its refusal looks like.

use super::fault::Fault;
use crate::contract::{Context, Reply};
use crate::kit::checksum;

/// A packet: its type, its body, what stands after its line, and whether it must have a CRC.
#[derive(Clone, Copy)]
pub(super) struct Packet<'f> {
    pub(super) kind: &'f str,
    pub(super) body: &'f str,
    pub(super) block: &'f [u8],
    pub(super) checked: bool,
}

/// Gives up a packet: the tracker learns why, and nothing of it is kept.
pub(super) fn give_up(answer: String, fault: Fault, cx: &mut Context<'_>) {
    cx.reject(fault.reject());
    cx.reply(Reply::open(answer));
}

/// The body without its CRC: `Ok` if it fits or if there is none and none is asked for.
pub(super) fn without_crc(
    body: &str,
    separator: char,
    has_crc: bool,
    must: bool,
) -> Result<&str, Fault> {
    if !has_crc {
        return if must { Err(Fault::Crc) } else { Ok(body) };
    }
    let at = body.rfind(separator).ok_or(Fault::Crc)?;
    let (covered, digits) = body.split_at_checked(at + 1).ok_or(Fault::Crc)?;
    let digits = digits.trim();
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    let crc = u16::from_str_radix(digits, 16).map_err(|_| Fault::Crc)?;
    if crc != checksum::crc16_ibm(covered.as_bytes()) {
        return Err(Fault::Crc);
    }
    Ok(body.get(..at).unwrap_or_default())
}
