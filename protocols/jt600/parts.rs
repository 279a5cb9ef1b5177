//! What several forms of the protocol share.

use crate::contract::{RecordBuilder, Reject};
use crate::kit::cells::{self, Cell};
use smallvec::SmallVec;

pub(super) const SHORT: Reject = Reject::new("record", "cut short", 0);

pub(super) const FIELDS_MAX: usize = 64;

pub(super) type Fields<'f> = SmallVec<[&'f str; 32]>;

/// The kind of a frame: why it was sent.
pub(super) fn kind(version: u8) -> &'static str {
    const KINDS: [&str; 16] = [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
    ];
    KINDS.get(usize::from(version & 15)).unwrap_or(&"")
}

pub(super) fn cell(message: &mut RecordBuilder<'_>, id: u32, lac: u16, network: Option<(u16, u8)>) {
    if id == 0 && lac == 0 {
        return;
    }
    let cell = Cell {
        mcc: network.map(|(mcc, _)| mcc.into()),
        mnc: network.map(|(_, mnc)| mnc.into()),
        lac: Some(lac.into()),
        id: Some(id.into()),
        dbm: None,
    };
    cells::push(message, 0, cell);
}
