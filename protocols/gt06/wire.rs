//! A checked frame, and how answers are written.

use crate::kit::checksum;

pub(super) const END: &[u8] = b"\r\n";

/// A checked frame.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    /// It began with 79 79.
    pub(super) long: bool,
    pub(super) kind: u8,
    pub(super) body: &'a [u8],
    pub(super) serial: u16,
}

/// The answer that repeats kind and serial.
pub(super) fn acknowledge(frame: &Frame<'_>) -> Vec<u8> {
    short(frame.kind, &[], frame.serial)
}

/// Writes a frame of the 78 78 form; `content` is at most 250 bytes.
pub(super) fn short(kind: u8, content: &[u8], serial: u16) -> Vec<u8> {
    let length = u8::try_from(content.len() + 5).unwrap_or(u8::MAX);
    write(&[0x78, 0x78, length, kind], content, serial)
}

/// Writes a frame of the 79 79 form.
pub(super) fn long(kind: u8, content: &[u8], serial: u16) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len() + 5)
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    write(&[0x79, 0x79, high, low, kind], content, serial)
}

pub(super) fn write(head: &[u8], content: &[u8], serial: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + content.len() + 6);
    out.extend_from_slice(head);
    out.extend_from_slice(content);
    out.extend_from_slice(&serial.to_be_bytes());
    let crc = checksum::crc16_x25(out.get(2..).unwrap_or_default());
    out.extend_from_slice(&crc.to_be_bytes());
    out.extend_from_slice(END);
    out
}
