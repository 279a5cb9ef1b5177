//! Overwrites in an entry what is of a device, by the table in [`super::entry`]: what erasing needs.
//!
//! Every entry stays as long as it was and keeps its numbers, because they were charged.

use super::entry::kind;
use crate::ids::DeviceId;

/// Where a frame's number of parts stands, and its peer.
const FRAME_PARTS_AT: usize = 37;
const FRAME_PEER_AT: usize = 39;
/// Where in a part the length of its records stands, and its ident.
const PART_BYTES_AT: usize = 28;
const PART_IDENT_AT: usize = 32;
/// Where the device stands in entries about a connection, and the peer.
const DEVICE_AT: usize = 24;
const CONNECTION_PEER_AT: usize = 40;
/// Where a fragment's ident stands.
const FRAGMENT_IDENT_AT: usize = 44;
/// Where the device of what was dropped stands, and its ident.
const DROPPED_DEVICE_AT: usize = 16;
const DROPPED_IDENT_AT: usize = 46;

/// Overwrites in the content of an entry whatever is of the devices that `erased` names: the parts
/// of frames with their idents and records, logins, fragments, addresses. What they cost stays, and
/// the length. Was there something?
pub(super) fn erase_device(
    kind: u8,
    content: &mut [u8],
    erased: &dyn Fn(DeviceId) -> bool,
) -> bool {
    match kind {
        kind::FRAME => erase_parts(content, erased).unwrap_or(false),
        kind::CONNECTION => erase_login(content, DEVICE_AT, erased, &mut |content| {
            let ident = CONNECTION_PEER_AT + clear_peer(content, CONNECTION_PEER_AT)?;
            clear_text(content, ident).map(drop)
        }),
        kind::PART => erase_login(content, DEVICE_AT, erased, &mut |content| {
            let fragment = clear_text(content, FRAGMENT_IDENT_AT)?;
            content.get_mut(fragment..)?.fill(0);
            Some(())
        }),
        kind::DROPPED => erase_login(content, DROPPED_DEVICE_AT, erased, &mut |content| {
            clear_text(content, DROPPED_IDENT_AT).map(drop)
        }),
        _ => false,
    }
}

/// Overwrites an entry of one device, which stands at `at`.
fn erase_login(
    content: &mut [u8],
    at: usize,
    erased: &dyn Fn(DeviceId) -> bool,
    clear: &mut dyn FnMut(&mut [u8]) -> Option<()>,
) -> bool {
    let of_it = number(content, at).is_some_and(|id| erased(DeviceId(id)));
    if of_it {
        nobody(content, at);
        // one that does not fit its form has nothing more that anybody reads
        clear(content);
    }
    of_it
}

/// Overwrites the parts of a frame; `None`: it does not fit its form.
fn erase_parts(content: &mut [u8], erased: &dyn Fn(DeviceId) -> bool) -> Option<bool> {
    let parts = u16::from_le_bytes(*content.get(FRAME_PARTS_AT..)?.first_chunk()?);
    let mut at = FRAME_PEER_AT + peer_bytes(content, FRAME_PEER_AT)?;
    let (mut changed, mut all) = (false, true);
    for _ in 0..parts {
        let bytes = content.get(at + PART_BYTES_AT..)?.first_chunk()?;
        let bytes = u32::from_le_bytes(*bytes) as usize;
        let device = DeviceId(number(content, at)?);
        let records = at + PART_IDENT_AT + 1 + usize::from(*content.get(at + PART_IDENT_AT)?);
        if erased(device) {
            nobody(content, at);
            clear_text(content, at + PART_IDENT_AT)?;
            content
                .get_mut(records..records.checked_add(bytes)?)?
                .fill(0);
            changed = true;
        } else {
            all &= device == DeviceId::ERASED;
        }
        at = records.checked_add(bytes)?;
    }
    if changed && all {
        clear_peer(content, FRAME_PEER_AT)?;
    }
    Some(changed)
}

/// Bytes of the peer at a place.
fn peer_bytes(content: &[u8], at: usize) -> Option<usize> {
    match content.get(at)? {
        4 => Some(7),
        6 => Some(19),
        _ => None,
    }
}

/// Overwrites the peer at a place; gives its bytes.
fn clear_peer(content: &mut [u8], at: usize) -> Option<usize> {
    let bytes = peer_bytes(content, at)?;
    content.get_mut(at + 1..at + bytes)?.fill(0);
    Some(bytes)
}

/// Overwrites the text at a place; gives where it ends.
fn clear_text(content: &mut [u8], at: usize) -> Option<usize> {
    let end = at + 1 + usize::from(*content.get(at)?);
    content.get_mut(at + 1..end)?.fill(b'*');
    Some(end)
}

/// The device at a place is nobody's from now on.
fn nobody(content: &mut [u8], at: usize) {
    if let Some(device) = content.get_mut(at..at + 8) {
        device.copy_from_slice(&DeviceId::ERASED.0.to_le_bytes());
    }
}

/// The number at a place.
fn number(content: &[u8], at: usize) -> Option<u64> {
    content
        .get(at..)?
        .first_chunk()
        .map(|bytes| u64::from_le_bytes(*bytes))
}
