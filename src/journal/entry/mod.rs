//! What stands in the journal: the entries, their writers and readers.
//!
//! Each kind has a version of its own, beside it in the segment. All fixed numbers are little
//! endian; a text is a length byte and its bytes. Readers never panic: an entry that does not fit
//! its form reads as `None`.
//!
//! | kind | content, version 1 |
//! |---|---|
//! | 1 frame | at_us 8, connection 8, channel 8, protocol 2, decoder version 2, bytes in 4, bytes out 4, form of the records 1, parts 2, peer; then each part |
//! | part of a frame | device 8, account 8, epoch 4, duplicates 4, messages 4, bytes of the records 4, ident; then each record with a varint length before it |
//! | 2 usage | at_us 8, account 8, numbers |
//! | 3 connection | at_us 8, connection 8, channel 8, device 8, account 8, peer, ident or empty, what 1; closed: code 2, messages 8, received 8, sent 8, duration_us 8 |
//! | 4 part | at_us 8, connection 8, channel 8, device 8, account 8, bytes in 4, ident, the bytes |
//! | 5 dropped | at_us 8, channel 8, device 8, account 8, bytes in 4, bytes out 4, messages 4, dimension 1, level 1, ident |
//! | 6 blocked | at_us 8, account 8, dimension 1, until_us 8 |
//! | 7 cut | at_us 8, device 8, from 8, to 8, epoch 4 |
//! | 8 lost | at_us 8, bytes 8 |
//! | 9 deleted | at_us 8, device 8, up to 8, from_ms 8, to_ms 8, what 1 (0: deleted, 1: it is being erased, 2: erased), segments 4, archives 4 |
//!
//! A peer is 4 or 6, the address and the port 2. Numbers are a count byte and varints.

mod read;
mod write;

pub use read::{EntryRef, FrameRef, PartRef, Parts, Records};
pub use write::{FrameWriter, Note};

use crate::ids::{AccountId, ChannelId, ConnectionId, DeviceId, Epoch, Ident};
use std::net::SocketAddr;

/// The kinds, append-only.
pub mod kind {
    /// A frame with its messages and its charge.
    pub const FRAME: u8 = 1;
    /// A charge without a message.
    pub const USAGE: u8 = 2;
    /// A connection began or ended.
    pub const CONNECTION: u8 = 3;
    /// A fragment that was acked by itself.
    pub const PART: u8 = 4;
    /// Acked and thrown away.
    pub const DROPPED: u8 = 5;
    /// An account was blocked or freed.
    pub const BLOCKED: u8 = 6;
    /// A device changed its account or was deleted.
    pub const CUT: u8 = 7;
    /// In the place of an entry that was damaged and given up.
    pub const LOST: u8 = 8;
    /// Messages of a device were deleted or erased.
    pub const DELETED: u8 = 9;
}

const VERSION: u8 = 1;
const FRAME_BYTES_OUT_AT: usize = 32;
const FRAME_PARTS_AT: usize = 37;
const PART_DUPLICATES_AT: usize = 20;
const PART_MESSAGES_AT: usize = 24;
const PART_BYTES_AT: usize = 28;

/// What a frame's entry says beside its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameMeta {
    /// The server's time, rising strictly on one channel.
    pub at_us: i64,
    /// Over which connection it came.
    pub connection: ConnectionId,
    /// To which channel.
    pub channel: ChannelId,
    /// The number of its protocol.
    pub protocol: u16,
    /// The version of the decoder that read it.
    pub decoder_version: u16,
    /// From where.
    pub peer: SocketAddr,
    /// Its bytes on the wire.
    pub bytes_in: u32,
}

/// What a frame's entry says of one login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartMeta<'a> {
    /// The login.
    pub ident: &'a Ident,
    /// The device it named; [`DeviceId::NONE`]: nobody's, kept on the channel.
    pub device: DeviceId,
    /// Who pays.
    pub account: AccountId,
    /// How often the device had changed its account.
    pub epoch: Epoch,
}

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionWas {
    /// It was accepted, or a login on it was admitted.
    Opened,
    /// It ended.
    Closed {
        /// Why: a close code.
        code: i16,
        /// Messages that came over it.
        messages: u64,
        /// Bytes received.
        received: u64,
        /// Bytes sent.
        sent: u64,
        /// How long it lasted.
        duration_us: i64,
    },
}

/// What became of messages that are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Nobody reads them any more; they leave the disk in time.
    Deleted,
    /// The same, and they are being erased for good.
    Erasing,
    /// Nothing of them is on the disk any more: the certificate.
    Erased {
        /// Segments that were written again for it.
        segments: u32,
        /// Archives that were, beside those that a look for what is dead had written before.
        archives: u32,
    },
}
