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

use crate::account::Totals;
use crate::ids::{AccountId, ChannelId, ConnectionId, DeviceId, Epoch, Ident};
use crate::segment::Batch;
use protocols::record::{read_varint, write_varint};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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

/// Writes a frame's entry straight into a batch. One that is dropped before
/// [`FrameWriter::finish`] leaves nothing behind.
#[derive(Debug)]
pub struct FrameWriter<'b> {
    batch: &'b mut Batch,
    start: usize,
    content: usize,
    part: Option<usize>,
    finished: bool,
}

impl<'b> FrameWriter<'b> {
    /// Begins the entry.
    pub fn begin(batch: &'b mut Batch, meta: &FrameMeta) -> Self {
        let start = batch.begin(kind::FRAME, VERSION);
        let out = batch.buffer();
        let content = out.len();
        put_i64(out, meta.at_us);
        put_u64(out, meta.connection.0);
        put_u64(out, meta.channel.0);
        put_u16(out, meta.protocol);
        put_u16(out, meta.decoder_version);
        put_u32(out, meta.bytes_in);
        put_u32(out, 0);
        out.push(protocols::record::VERSION);
        put_u16(out, 0);
        put_peer(out, meta.peer);
        Self {
            batch,
            start,
            content,
            part: None,
            finished: false,
        }
    }

    /// Begins the part of a login: the records that follow are its.
    pub fn part(&mut self, meta: &PartMeta<'_>) {
        self.end_part();
        let content = self.content;
        let out = self.batch.buffer();
        let parts = u16_at(out, content + FRAME_PARTS_AT).saturating_add(1);
        patch(out, content + FRAME_PARTS_AT, &parts.to_le_bytes());
        let part = out.len();
        put_u64(out, meta.device.0);
        put_u64(out, meta.account.0);
        put_u32(out, meta.epoch.0);
        put_u32(out, 0);
        put_u32(out, 0);
        put_u32(out, 0);
        put_text(out, meta.ident.as_str());
        self.part = Some(part);
        // until the part ends its length holds where its records begin
        let records = u32::try_from(out.len() - part).expect("an ident is short");
        patch(out, part + PART_BYTES_AT, &records.to_le_bytes());
    }

    /// A message of the part that was begun last.
    pub fn record(&mut self, record: &[u8]) {
        let Some(part) = self.part else { return };
        let out = self.batch.buffer();
        write_varint(out, record.len() as u64);
        out.extend_from_slice(record);
        add_u32(out, part + PART_MESSAGES_AT);
    }

    /// A message of the part that was begun last, that is stored already.
    pub fn duplicate(&mut self) {
        let Some(part) = self.part else { return };
        add_u32(self.batch.buffer(), part + PART_DUPLICATES_AT);
    }

    /// Ends the entry; `bytes_out` is the accepted reply's length.
    pub fn finish(mut self, bytes_out: u32) {
        self.end_part();
        let content = self.content;
        patch(
            self.batch.buffer(),
            content + FRAME_BYTES_OUT_AT,
            &bytes_out.to_le_bytes(),
        );
        self.batch.end(self.start);
        self.finished = true;
    }

    fn end_part(&mut self) {
        if let Some(part) = self.part.take() {
            let out = self.batch.buffer();
            let records = u32_at(out, part + PART_BYTES_AT) as usize;
            let bytes = u32::try_from(out.len() - part - records)
                .expect("frames are bounded far below 4 GiB");
            patch(out, part + PART_BYTES_AT, &bytes.to_le_bytes());
        }
    }
}

impl Drop for FrameWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.batch.cancel(self.start);
        }
    }
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

/// The entries beside frames, ready to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note<'a> {
    /// See [`EntryRef::Usage`].
    Usage {
        /// When.
        at_us: i64,
        /// Who pays.
        account: AccountId,
        /// What.
        deltas: &'a Totals,
    },
    /// See [`EntryRef::Connection`].
    Connection {
        /// When.
        at_us: i64,
        /// Which.
        connection: ConnectionId,
        /// Of which channel.
        channel: ChannelId,
        /// From where.
        peer: SocketAddr,
        /// Who, once it is known.
        ident: Option<&'a Ident>,
        /// Which device, once it is known.
        device: DeviceId,
        /// Whose, once it is known.
        account: AccountId,
        /// What happened.
        was: ConnectionWas,
    },
    /// See [`EntryRef::Part`].
    Part {
        /// When.
        at_us: i64,
        /// Over which connection.
        connection: ConnectionId,
        /// To which channel.
        channel: ChannelId,
        /// The login.
        ident: &'a Ident,
        /// The device.
        device: DeviceId,
        /// Who pays.
        account: AccountId,
        /// The fragment.
        bytes: &'a [u8],
        /// Its bytes on the wire.
        bytes_in: u32,
    },
    /// See [`EntryRef::Dropped`].
    Dropped {
        /// When.
        at_us: i64,
        /// On which channel.
        channel: ChannelId,
        /// The login.
        ident: &'a Ident,
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
    /// See [`EntryRef::Blocked`].
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
    /// See [`EntryRef::Cut`].
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
    /// See [`EntryRef::Lost`].
    Lost {
        /// When.
        at_us: i64,
        /// Bytes given up.
        bytes: u64,
    },
    /// See [`EntryRef::Deleted`].
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

impl Note<'_> {
    /// Appends it to a batch.
    pub fn write(&self, batch: &mut Batch) {
        match *self {
            Self::Usage {
                at_us,
                account,
                deltas,
            } => batch.push(kind::USAGE, VERSION, |out| {
                put_i64(out, at_us);
                put_u64(out, account.0);
                put_totals(out, deltas);
            }),
            Self::Connection {
                at_us,
                connection,
                channel,
                peer,
                ident,
                device,
                account,
                was,
            } => batch.push(kind::CONNECTION, VERSION, |out| {
                put_i64(out, at_us);
                put_u64(out, connection.0);
                put_u64(out, channel.0);
                put_u64(out, device.0);
                put_u64(out, account.0);
                put_peer(out, peer);
                put_text(out, ident.map_or("", Ident::as_str));
                match was {
                    ConnectionWas::Opened => out.push(0),
                    ConnectionWas::Closed {
                        code,
                        messages,
                        received,
                        sent,
                        duration_us,
                    } => {
                        out.push(1);
                        out.extend_from_slice(&code.to_le_bytes());
                        put_u64(out, messages);
                        put_u64(out, received);
                        put_u64(out, sent);
                        put_i64(out, duration_us);
                    }
                }
            }),
            Self::Part {
                at_us,
                connection,
                channel,
                ident,
                device,
                account,
                bytes,
                bytes_in,
            } => batch.push(kind::PART, VERSION, |out| {
                put_i64(out, at_us);
                put_u64(out, connection.0);
                put_u64(out, channel.0);
                put_u64(out, device.0);
                put_u64(out, account.0);
                put_u32(out, bytes_in);
                put_text(out, ident.as_str());
                out.extend_from_slice(bytes);
            }),
            Self::Dropped {
                at_us,
                channel,
                ident,
                device,
                account,
                bytes_in,
                bytes_out,
                messages,
                dimension,
                level,
            } => batch.push(kind::DROPPED, VERSION, |out| {
                put_i64(out, at_us);
                put_u64(out, channel.0);
                put_u64(out, device.0);
                put_u64(out, account.0);
                put_u32(out, bytes_in);
                put_u32(out, bytes_out);
                put_u32(out, messages);
                out.push(dimension);
                out.push(level);
                put_text(out, ident.as_str());
            }),
            Self::Blocked {
                at_us,
                account,
                dimension,
                until_us,
            } => batch.push(kind::BLOCKED, VERSION, |out| {
                put_i64(out, at_us);
                put_u64(out, account.0);
                out.push(dimension);
                put_i64(out, until_us);
            }),
            Self::Cut {
                at_us,
                device,
                from,
                to,
                epoch,
            } => batch.push(kind::CUT, VERSION, |out| {
                put_i64(out, at_us);
                put_u64(out, device.0);
                put_u64(out, from.0);
                put_u64(out, to.0);
                put_u32(out, epoch.0);
            }),
            Self::Lost { at_us, bytes } => batch.push(kind::LOST, VERSION, |out| {
                put_i64(out, at_us);
                put_u64(out, bytes);
            }),
            Self::Deleted {
                at_us,
                device,
                up_to,
                from_ms,
                to_ms,
                what,
            } => batch.push(kind::DELETED, VERSION, |out| {
                let (number, segments, archives) = match what {
                    What::Deleted => (0, 0, 0),
                    What::Erasing => (1, 0, 0),
                    What::Erased { segments, archives } => (2, segments, archives),
                };
                put_i64(out, at_us);
                put_u64(out, device.0);
                put_u64(out, up_to);
                put_i64(out, from_ms);
                put_i64(out, to_ms);
                out.push(number);
                put_u32(out, segments);
                put_u32(out, archives);
            }),
        }
    }
}

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
        let mut from = Reader(self.rest);
        let device = DeviceId(from.u64()?);
        let account = AccountId(from.u64()?);
        let epoch = Epoch(from.u32()?);
        let duplicates = from.u32()?;
        let messages = from.u32()?;
        let bytes = from.u32()?;
        let ident = from.text()?;
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
        let mut from = Reader(content);
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
                deltas: from.totals()?,
            },
            kind::CONNECTION => Self::Connection {
                at_us,
                connection: ConnectionId(from.u64()?),
                channel: ChannelId(from.u64()?),
                device: DeviceId(from.u64()?),
                account: AccountId(from.u64()?),
                peer: from.peer()?,
                ident: from.text()?,
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
                ident: from.text()?,
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
                ident: from.text()?,
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

/// Takes fields from the front of bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.u8()?;
        std::str::from_utf8(self.take(usize::from(length))?).ok()
    }

    fn peer(&mut self) -> Option<SocketAddr> {
        let address = match self.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return None,
        };
        Some(SocketAddr::new(address, self.u16()?))
    }

    /// Numbers that this version does not know yet are left out, those it misses are 0.
    fn totals(&mut self) -> Option<Totals> {
        let count = self.u8()?;
        let mut numbers = Totals::default().to_array();
        for index in 0..usize::from(count) {
            let (number, rest) = read_varint(self.0)?;
            self.0 = rest;
            if let Some(slot) = numbers.get_mut(index) {
                *slot = number;
            }
        }
        Some(Totals::from_array(numbers))
    }
}

fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).expect("an ident is at most 64 bytes"));
    out.extend_from_slice(text.as_bytes());
}

fn put_peer(out: &mut Vec<u8>, peer: SocketAddr) {
    match peer.ip() {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.push(6);
            out.extend_from_slice(&address.octets());
        }
    }
    put_u16(out, peer.port());
}

fn put_totals(out: &mut Vec<u8>, totals: &Totals) {
    let numbers = totals.to_array();
    let count = numbers
        .iter()
        .rposition(|&number| number != 0)
        .map_or(0, |last| last + 1);
    out.push(u8::try_from(count).expect("there are few numbers"));
    for &number in &numbers[..count] {
        write_varint(out, number);
    }
}

fn patch(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn add_u32(out: &mut [u8], at: usize) {
    let value = u32_at(out, at).saturating_add(1);
    patch(out, at, &value.to_le_bytes());
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |chunk| u16::from_le_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |chunk| u32::from_le_bytes(*chunk))
}
