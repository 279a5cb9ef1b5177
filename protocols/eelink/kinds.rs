//! The kinds of package by their numbers.

pub(super) const LOGIN: u8 = 0x01;
pub(super) const FIRST_POSITION: u8 = 0x02;
pub(super) const HEARTBEAT: u8 = 0x03;
pub(super) const FIRST_ALARM: u8 = 0x04;
pub(super) const FIRST_STATUS: u8 = 0x05;
pub(super) const FIRST_MESSAGE: u8 = 0x06;
pub(super) const EXTENDED_HEARTBEAT: u8 = 0x07;
pub(super) const POSITION: u8 = 0x12;
pub(super) const WARNING: u8 = 0x14;
pub(super) const REPORT: u8 = 0x15;
pub(super) const MESSAGE: u8 = 0x16;
pub(super) const VEHICLE: u8 = 0x17;
/// From here on a package begins with a place.
pub(super) const PLACED: u8 = 0x12;
/// Up to here it does.
pub(super) const LAST_PLACED: u8 = 0x19;
pub(super) const INSTRUCTION: u8 = 0x80;
