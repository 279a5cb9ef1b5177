//! Reads entries, as far as they fit their form.

use super::{ConnectionWas, FrameMeta, VERSION, What, kind};
use crate::account::Totals;
use crate::ids::{AccountId, ChannelId, ConnectionId, DeviceId, Epoch};
use crate::segment::fields::Fields;
use protocols::record::read_varint;
use std::net::SocketAddr;

/// An entry as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryRef<'a> {
    /// A frame: its messages and its charge, which come into being together.
    Frame(FrameRef<'a>),
    /// What has no message: rejected frames of admitted devices, heartbeats, commands, API calls.
    Usage {
        /// When.
        at_us: i64,
        /// Who pays.
        account: AccountId,
        /// What.
        deltas: Totals,
    },
    /// A connection began or ended.
    Connection {
        /// When.
        at_us: i64,
        /// Which.
        connection: ConnectionId,
        /// Of which channel.
        channel: ChannelId,
        /// From where.
        peer: SocketAddr,
        /// Who, if it was known; empty otherwise.
        ident: &'a str,
        /// Which device, if it was known.
        device: DeviceId,
        /// Whose, if it was known.
        account: AccountId,
        /// What happened.
        was: ConnectionWas,
    },
    /// A fragment whose ack the tracker waited for.
    Part {
        /// When.
        at_us: i64,
        /// Over which connection.
        connection: ConnectionId,
        /// To which channel.
        channel: ChannelId,
        /// The login.
        ident: &'a str,
        /// The device.
        device: DeviceId,
        /// Who pays.
        account: AccountId,
        /// Its bytes on the wire.
        bytes_in: u32,
        /// The fragment.
        bytes: &'a [u8],
    },
    /// Acked and thrown away, as the account's policy says.
    Dropped {
        /// When.
        at_us: i64,
        /// On which channel.
        channel: ChannelId,
        /// The login.
        ident: &'a str,
        /// The device.
        device: DeviceId,
        /// Whose.
        account: AccountId,
        /// Bytes of the frame.
        bytes_in: u32,
        /// Bytes of the reply.
        bytes_out: u32,
        /// Messages in it.
        messages: u32,
        /// The dimension that was exceeded.
        dimension: u8,
        /// At which level.
        level: u8,
    },
    /// An account was blocked or freed.
    Blocked {
        /// When.
        at_us: i64,
        /// Which account.
        account: AccountId,
        /// For which dimension.
        dimension: u8,
        /// Until when; 0: not any more.
        until_us: i64,
    },
    /// A device changed its account or was deleted.
    Cut {
        /// When.
        at_us: i64,
        /// Which device.
        device: DeviceId,
        /// Whose it was.
        from: AccountId,
        /// Whose it is; [`AccountId::NONE`]: it was deleted.
        to: AccountId,
        /// Its epoch from here on.
        epoch: Epoch,
    },
    /// What stood here was damaged, and an operator chose to start without it.
    Lost {
        /// The server's time of the last whole entry before it.
        at_us: i64,
        /// Bytes given up at this place, said with the first of its entries.
        bytes: u64,
    },
    /// Messages of a device, by its own time, were deleted or erased.
    Deleted {
        /// When.
        at_us: i64,
        /// Of which device.
        device: DeviceId,
        /// The last entry that it is about.
        up_to: u64,
        /// From this device time on, unix ms.
        from_ms: i64,
        /// To this device time.
        to_ms: i64,
        /// What became of them.
        what: What,
    },
}

/// A frame's entry as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRef<'a> {
    /// Everything beside the parts.
    pub meta: FrameMeta,
    /// Bytes of the accepted reply.
    pub bytes_out: u32,
    /// The form of the records, see [`protocols::record`].
    pub record_version: u8,
    parts: u16,
    rest: &'a [u8],
}

impl<'a> FrameRef<'a> {
    /// The parts, one per login.
    pub const fn parts(&self) -> Parts<'a> {
        Parts {
            left: self.parts,
            rest: self.rest,
        }
    }

    /// How many parts it says it has.
    pub const fn part_count(&self) -> u16 {
        self.parts
    }

    /// Its messages, each with its part and which message of the entry it is. Those that were
    /// erased are not there, and the others keep their places.
    pub fn messages(&self) -> impl Iterator<Item = (u32, PartRef<'a>, &'a [u8])> + use<'a> {
        self.parts()
            .scan(0u32, |next, part| {
                let first = *next;
                let count = if part.is_erased() {
                    part.messages
                } else {
                    u32::try_from(part.records().count()).unwrap_or(u32::MAX)
                };
                *next = next.saturating_add(count);
                Some((first, part))
            })
            .flat_map(|(first, part)| {
                (first..)
                    .zip(part.records())
                    .map(move |(index, record)| (index, part, record))
            })
    }
}

/// One login's part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartRef<'a> {
    /// The login.
    pub ident: &'a str,
    /// The device it named.
    pub device: DeviceId,
    /// Who paid.
    pub account: AccountId,
    /// How often the device had changed its account.
    pub epoch: Epoch,
    /// Messages that were stored already.
    pub duplicates: u32,
    /// Messages stored here.
    pub messages: u32,
    records: &'a [u8],
}

impl<'a> PartRef<'a> {
    /// The messages' records; none if they were erased.
    pub const fn records(&self) -> Records<'a> {
        Records {
            rest: if self.is_erased() { &[] } else { self.records },
        }
    }

    /// Were its messages erased? Its numbers stay, because they were charged.
    pub const fn is_erased(&self) -> bool {
        self.device.0 == DeviceId::ERASED.0
    }

    /// Bytes the records take, their lengths included.
    pub const fn record_bytes(&self) -> usize {
        self.records.len()
    }
}

/// The parts of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts<'a> {
    left: u16,
    rest: &'a [u8],
}

impl<'a> Iterator for Parts<'a> {
    type Item = PartRef<'a>;

    fn next(&mut self) -> Option<PartRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut from = Fields(self.rest);
        let device = DeviceId(from.u64()?);
        let account = AccountId(from.u64()?);
        let epoch = Epoch(from.u32()?);
        let duplicates = from.u32()?;
        let messages = from.u32()?;
        let bytes = from.u32()?;
        let ident = text(&mut from)?;
        let records = from.take(usize::try_from(bytes).ok()?)?;
        self.rest = from.0;
        Some(PartRef {
            ident,
            device,
            account,
            epoch,
            duplicates,
            messages,
            records,
        })
    }
}

/// The encoded records of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = read_varint(self.rest)?;
        let (record, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(record)
    }
}

impl<'a> EntryRef<'a> {
    /// Reads the content of an entry; `None` if its kind, version or form is not known.
    pub fn read(kind: u8, version: u8, content: &'a [u8]) -> Option<Self> {
        if version != VERSION {
            return None;
        }
        let mut from = Fields(content);
        let at_us = from.i64()?;
        Some(match kind {
            kind::FRAME => {
                let connection = ConnectionId(from.u64()?);
                let channel = ChannelId(from.u64()?);
                let protocol = from.u16()?;
                let decoder_version = from.u16()?;
                let bytes_in = from.u32()?;
                let bytes_out = from.u32()?;
                let record_version = from.u8()?;
                let parts = from.u16()?;
                let peer = from.peer()?;
                Self::Frame(FrameRef {
                    meta: FrameMeta {
                        at_us,
                        connection,
                        channel,
                        protocol,
                        decoder_version,
                        peer,
                        bytes_in,
                    },
                    bytes_out,
                    record_version,
                    parts,
                    rest: from.0,
                })
            }
            kind::USAGE => Self::Usage {
                at_us,
                account: AccountId(from.u64()?),
                deltas: totals(&mut from)?,
            },
            kind::CONNECTION => Self::Connection {
                at_us,
                connection: ConnectionId(from.u64()?),
                channel: ChannelId(from.u64()?),
                device: DeviceId(from.u64()?),
                account: AccountId(from.u64()?),
                peer: from.peer()?,
                ident: text(&mut from)?,
                was: match from.u8()? {
                    0 => ConnectionWas::Opened,
                    _ => ConnectionWas::Closed {
                        code: from.u16()?.cast_signed(),
                        messages: from.u64()?,
                        received: from.u64()?,
                        sent: from.u64()?,
                        duration_us: from.i64()?,
                    },
                },
            },
            kind::PART => Self::Part {
                at_us,
                connection: ConnectionId(from.u64()?),
                channel: ChannelId(from.u64()?),
                device: DeviceId(from.u64()?),
                account: AccountId(from.u64()?),
                bytes_in: from.u32()?,
                ident: text(&mut from)?,
                bytes: from.0,
            },
            kind::DROPPED => Self::Dropped {
                at_us,
                channel: ChannelId(from.u64()?),
                device: DeviceId(from.u64()?),
                account: AccountId(from.u64()?),
                bytes_in: from.u32()?,
                bytes_out: from.u32()?,
                messages: from.u32()?,
                dimension: from.u8()?,
                level: from.u8()?,
                ident: text(&mut from)?,
            },
            kind::BLOCKED => Self::Blocked {
                at_us,
                account: AccountId(from.u64()?),
                dimension: from.u8()?,
                until_us: from.i64()?,
            },
            kind::CUT => Self::Cut {
                at_us,
                device: DeviceId(from.u64()?),
                from: AccountId(from.u64()?),
                to: AccountId(from.u64()?),
                epoch: Epoch(from.u32()?),
            },
            kind::LOST => Self::Lost {
                at_us,
                bytes: from.u64()?,
            },
            kind::DELETED => Self::Deleted {
                at_us,
                device: DeviceId(from.u64()?),
                up_to: from.u64()?,
                from_ms: from.i64()?,
                to_ms: from.i64()?,
                what: match (from.u8()?, from.u32()?, from.u32()?) {
                    (0, ..) => What::Deleted,
                    (1, ..) => What::Erasing,
                    (_, segments, archives) => What::Erased { segments, archives },
                },
            },
            _ => return None,
        })
    }

    /// The server's time of it.
    pub const fn at_us(&self) -> i64 {
        match self {
            Self::Frame(frame) => frame.meta.at_us,
            Self::Usage { at_us, .. }
            | Self::Connection { at_us, .. }
            | Self::Part { at_us, .. }
            | Self::Dropped { at_us, .. }
            | Self::Blocked { at_us, .. }
            | Self::Cut { at_us, .. }
            | Self::Lost { at_us, .. }
            | Self::Deleted { at_us, .. } => *at_us,
        }
    }
}

/// A text of at most 255 bytes behind its length.
fn text<'a>(from: &mut Fields<'a>) -> Option<&'a str> {
    let length = from.u8()?;
    std::str::from_utf8(from.take(usize::from(length))?).ok()
}

/// Numbers that this version does not know yet are left out, those it misses are 0.
fn totals(from: &mut Fields<'_>) -> Option<Totals> {
    let count = from.u8()?;
    let mut numbers = Totals::default().to_array();
    for index in 0..usize::from(count) {
        let number = from.by(read_varint)?;
        if let Some(slot) = numbers.get_mut(index) {
            *slot = number;
        }
    }
    Some(Totals::from_array(numbers))
}
