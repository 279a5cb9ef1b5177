//! Writes entries into a batch.

use super::{
    ConnectionWas, FRAME_BYTES_OUT_AT, FRAME_PARTS_AT, FrameMeta, PART_BYTES_AT,
    PART_DUPLICATES_AT, PART_MESSAGES_AT, PartMeta, VERSION, What, kind,
};
use crate::account::Totals;
use crate::ids::{AccountId, ChannelId, ConnectionId, DeviceId, Epoch, Ident};
use crate::segment::Batch;
use crate::segment::fields::put_peer;
use protocols::record::write_varint;
use std::net::SocketAddr;

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

/// The entries beside frames, ready to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note<'a> {
    /// See [`EntryRef::Usage`](super::EntryRef::Usage).
    Usage {
        /// When.
        at_us: i64,
        /// Who pays.
        account: AccountId,
        /// What.
        deltas: &'a Totals,
    },
    /// See [`EntryRef::Connection`](super::EntryRef::Connection).
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
    /// See [`EntryRef::Part`](super::EntryRef::Part).
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
    /// See [`EntryRef::Dropped`](super::EntryRef::Dropped).
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
    /// See [`EntryRef::Blocked`](super::EntryRef::Blocked).
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
    /// See [`EntryRef::Cut`](super::EntryRef::Cut).
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
    /// See [`EntryRef::Lost`](super::EntryRef::Lost).
    Lost {
        /// When.
        at_us: i64,
        /// Bytes given up.
        bytes: u64,
    },
    /// See [`EntryRef::Deleted`](super::EntryRef::Deleted).
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
