//! The bytes of an archive. All fixed numbers little endian; a varint as in
//! [`protocols::record`], signed ones by zigzag.
//!
//! | file | bytes |
//! |---|---|
//! | header: magic `TGARCH`, version, class, day 4, epoch 8, number 8, CRC of it 4 | 32 |
//! | blocks, one behind the other: messages (kind 1), leaves of the directory (2), the fence (3) | |
//! | footer: totals 72, place of the fence 8, its length 4, magic `TGAF`, CRC of it 4 | 92 |
//!
//! | block | bytes |
//! |---|---|
//! | stored length, raw length, kind, CRC | 4 + 4 + 4 + 4 |
//! | content: LZ4 if the two lengths differ | stored length |
//!
//! The CRC is over epoch, place, lengths, kind and the stored content: what belongs elsewhere, or
//! to another archive, never passes.
//!
//! A message in a block: a byte of flags (1: of the device before it, 2: same origin), device if
//! it is another, time as a difference, sequence as a difference, index, server time as a
//! difference, the origin if it is another (connection, channel, account, protocol, peer, ident; with
//! flag 4 the decoder's version, which files of version 1 have not), length and bytes of the record.
//! The first message of a block differs from zero, so each block is read by itself.
//!
//! A leaf holds rows of [`LEAF_ROWS`] devices, the fence one line for each leaf: two reads find the
//! blocks of a device.

use crate::ids::{AccountId, ChannelId, ConnectionId, DeviceId};
use crate::segment::fields::{Fields, put_peer};
use crate::segment::format::{u32_at, u64_at};
use protocols::record::{read_varint, unzigzag, write_varint, zigzag};
use std::io;
use std::net::SocketAddr;

/// How the names of archives end.
pub(super) const EXTENSION: &str = ".archive";
/// Bytes of messages behind which a block ends, before compression.
pub const BLOCK_BYTES: usize = 32 * 1024;
/// Rows of a leaf.
pub const LEAF_ROWS: usize = 64;
/// A longer block is damage: it bounds what a damaged length can ask for.
pub(super) const BLOCK_BYTES_MAX: usize = 256 * 1024 * 1024;

pub(super) const HEADER_BYTES: usize = 32;
pub(super) const FOOTER_BYTES: usize = 92;
pub(super) const BLOCK_HEAD_BYTES: usize = 16;
const MAGIC: [u8; 6] = *b"TGARCH";
const END_MAGIC: [u8; 4] = *b"TGAF";
/// Files of version 1 are read too.
const VERSION: u8 = 2;

/// What a block holds.
pub(super) mod kind {
    pub(in super::super) const MESSAGES: u32 = 1;
    pub(in super::super) const LEAF: u32 = 2;
    pub(in super::super) const FENCE: u32 = 3;
}

const SAME_DEVICE: u8 = 1;
const SAME_ORIGIN: u8 = 2;
const HAS_DECODER: u8 = 4;

/// The name of an archive's file.
pub(super) fn name_of(day: i32, class: u8, number: u64) -> String {
    format!("{day:06}-{class}-{number:012}{EXTENSION}")
}

/// Where a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Over which connection.
    pub connection: ConnectionId,
    /// To which channel.
    pub channel: ChannelId,
    /// Whose it was then.
    pub account: AccountId,
    /// The number of its protocol.
    pub protocol: u16,
    /// The version of the decoder that made it; 0: nobody has written it down.
    pub decoder_version: u16,
    /// From where.
    pub peer: SocketAddr,
    /// The login.
    pub ident: &'a str,
}

/// A message in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored<'a> {
    /// Of which device.
    pub device: DeviceId,
    /// The device's time, unix ms.
    pub time_ms: i64,
    /// The journal's entry that it was in.
    pub sequence: u64,
    /// Which message of the entry.
    pub index: u32,
    /// The server's time of it, unix us.
    pub at_us: i64,
    /// Where it came from.
    pub origin: Origin<'a>,
    /// The record as the decoder wrote it.
    pub record: &'a [u8],
}

impl Stored<'_> {
    /// What archives are sorted by.
    pub const fn key(&self) -> (u64, i64, u64, u32) {
        (self.device.0, self.time_ms, self.sequence, self.index)
    }
}

/// Numbers of a row, a leaf or a whole archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Messages.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Devices.
    pub devices: u64,
    /// First and last device time, unix ms.
    pub time_ms: (i64, i64),
    /// First and last server time, unix us.
    pub at_us: (i64, i64),
    /// First and last entry of the journal.
    pub sequence: (u64, u64),
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            messages: 0,
            bytes: 0,
            devices: 0,
            time_ms: (i64::MAX, i64::MIN),
            at_us: (i64::MAX, i64::MIN),
            sequence: (u64::MAX, 0),
        }
    }
}

/// Bytes of [`Totals`] in a file.
pub(super) const TOTALS_BYTES: usize = 72;

impl Totals {
    pub(crate) fn add(&mut self, message: &Stored<'_>) {
        let widen = |range: &mut (i64, i64), to: i64| {
            *range = (range.0.min(to), range.1.max(to));
        };
        self.messages += 1;
        self.bytes += message.record.len() as u64;
        widen(&mut self.time_ms, message.time_ms);
        widen(&mut self.at_us, message.at_us);
        self.sequence = (
            self.sequence.0.min(message.sequence),
            self.sequence.1.max(message.sequence),
        );
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.devices += other.devices;
        self.time_ms.0 = self.time_ms.0.min(other.time_ms.0);
        self.time_ms.1 = self.time_ms.1.max(other.time_ms.1);
        self.at_us.0 = self.at_us.0.min(other.at_us.0);
        self.at_us.1 = self.at_us.1.max(other.at_us.1);
        self.sequence.0 = self.sequence.0.min(other.sequence.0);
        self.sequence.1 = self.sequence.1.max(other.sequence.1);
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.messages, self.bytes, self.devices] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [
            self.time_ms.0,
            self.time_ms.1,
            self.at_us.0,
            self.at_us.1,
            self.sequence.0.cast_signed(),
            self.sequence.1.cast_signed(),
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// From [`TOTALS_BYTES`] bytes.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let signed = |at| u64_at(bytes, at).cast_signed();
        Self {
            messages: u64_at(bytes, 0),
            bytes: u64_at(bytes, 8),
            devices: u64_at(bytes, 16),
            time_ms: (signed(24), signed(32)),
            at_us: (signed(40), signed(48)),
            sequence: (u64_at(bytes, 56), u64_at(bytes, 64)),
        }
    }
}

/// What an archive says of itself at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) class: u8,
    pub(super) day: i32,
    pub(super) epoch: u64,
    pub(super) number: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..6].copy_from_slice(&MAGIC);
        bytes[6] = VERSION;
        bytes[7] = self.class;
        bytes[8..12].copy_from_slice(&self.day.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.number.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; HEADER_BYTES] = bytes
            .first_chunk()
            .ok_or("the file is shorter than a header")?;
        if bytes[..6] != MAGIC {
            return Err("the file does not begin as an archive");
        }
        if crc32fast::hash(&bytes[..28]) != u32_at(bytes, 28) {
            return Err("the header's checksum is wrong");
        }
        if !(1..=VERSION).contains(&bytes[6]) {
            return Err("the archive was written by a newer version");
        }
        Ok(Self {
            class: bytes[7],
            day: u32_at(bytes, 8).cast_signed(),
            epoch: u64_at(bytes, 12),
            number: u64_at(bytes, 20),
        })
    }
}

/// What an archive says of itself at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) totals: Totals,
    pub(super) fence: (u64, u32),
}

impl Footer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        self.totals.encode(&mut out);
        out.extend_from_slice(&self.fence.0.to_le_bytes());
        out.extend_from_slice(&self.fence.1.to_le_bytes());
        out.extend_from_slice(&END_MAGIC);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; FOOTER_BYTES] = bytes
            .first_chunk()
            .ok_or("the file is shorter than a footer")?;
        if bytes[84..88] != END_MAGIC {
            return Err("the file does not end as an archive");
        }
        if crc32fast::hash(&bytes[..88]) != u32_at(bytes, 88) {
            return Err("the footer's checksum is wrong");
        }
        Ok(Self {
            totals: Totals::decode(bytes),
            fence: (u64_at(bytes, 72), u32_at(bytes, 80)),
        })
    }
}

/// A block as it stands at `at` in the archive of that epoch, head included.
pub(super) fn encode_block(epoch: u64, at: u64, kind: u32, raw: &[u8]) -> io::Result<Vec<u8>> {
    let length = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
    let mut out = vec![0; BLOCK_HEAD_BYTES];
    let compressed = lz4_flex::block::compress(raw);
    if compressed.len() < raw.len() {
        out.extend_from_slice(&compressed);
    } else {
        out.extend_from_slice(raw);
    }
    let stored = length(out.len() - BLOCK_HEAD_BYTES)?;
    out[..4].copy_from_slice(&stored.to_le_bytes());
    out[4..8].copy_from_slice(&length(raw.len())?.to_le_bytes());
    out[8..12].copy_from_slice(&kind.to_le_bytes());
    let crc = check(epoch, at, &out);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    Ok(out)
}

/// The content of the block at `at` whose bytes, head included, are these; the text says what is
/// wrong.
pub(super) fn decode_block(
    epoch: u64,
    at: u64,
    kind: u32,
    bytes: &[u8],
) -> Result<Vec<u8>, &'static str> {
    let content = bytes
        .get(BLOCK_HEAD_BYTES..)
        .ok_or("a block is shorter than its head")?;
    if u32_at(bytes, 0) as usize != content.len() {
        return Err("a block's length is not the one that is known of it");
    }
    if check(epoch, at, bytes) != u32_at(bytes, 12) {
        return Err("a block's checksum is wrong");
    }
    if u32_at(bytes, 8) != kind {
        return Err("a block is of another kind");
    }
    let raw = u32_at(bytes, 4) as usize;
    if raw == content.len() {
        return Ok(content.to_vec());
    }
    if raw > BLOCK_BYTES_MAX {
        return Err("a block is too long");
    }
    let mut out = vec![0; raw];
    match lz4_flex::block::decompress_into(content, &mut out) {
        Ok(length) if length == raw => Ok(out),
        _ => Err("a block does not decompress"),
    }
}

fn check(epoch: u64, at: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&epoch.to_le_bytes());
    hasher.update(&at.to_le_bytes());
    hasher.update(bytes.get(..12).unwrap_or_default());
    hasher.update(bytes.get(BLOCK_HEAD_BYTES..).unwrap_or_default());
    hasher.finalize()
}

/// The message before, from which the next one differs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Before {
    device: u64,
    time_ms: i64,
    sequence: u64,
    at_us: i64,
}

impl Before {
    fn of(message: &Stored<'_>) -> Self {
        Self {
            device: message.device.0,
            time_ms: message.time_ms,
            sequence: message.sequence,
            at_us: message.at_us,
        }
    }
}

/// Appends a message to a block's content. `origin`: that of the message before.
pub(super) fn put_message(
    out: &mut Vec<u8>,
    message: &Stored<'_>,
    before: &mut Before,
    same_origin: bool,
) {
    let same_device = message.device.0 == before.device;
    let decoder_version = message.origin.decoder_version;
    let has_decoder = !same_origin && decoder_version > 0;
    let flags = if same_device { SAME_DEVICE } else { 0 }
        | if same_origin { SAME_ORIGIN } else { 0 }
        | if has_decoder { HAS_DECODER } else { 0 };
    let difference = |now: i64, then: i64| zigzag(now.wrapping_sub(then));
    out.push(flags);
    if !same_device {
        write_varint(out, message.device.0);
    }
    write_varint(out, difference(message.time_ms, before.time_ms));
    let sequence = message.sequence.wrapping_sub(before.sequence).cast_signed();
    write_varint(out, zigzag(sequence));
    write_varint(out, u64::from(message.index));
    write_varint(out, difference(message.at_us, before.at_us));
    if !same_origin {
        let origin = &message.origin;
        for number in [
            origin.connection.0,
            origin.channel.0,
            origin.account.0,
            u64::from(origin.protocol),
        ] {
            write_varint(out, number);
        }
        put_peer(out, origin.peer);
        write_varint(out, origin.ident.len() as u64);
        out.extend_from_slice(origin.ident.as_bytes());
        if has_decoder {
            write_varint(out, u64::from(decoder_version));
        }
    }
    write_varint(out, message.record.len() as u64);
    out.extend_from_slice(message.record);
    *before = Before::of(message);
}

fn varint(from: &mut Fields<'_>) -> Option<u64> {
    from.by(read_varint)
}

fn signed(from: &mut Fields<'_>) -> Option<i64> {
    varint(from).map(unzigzag)
}

fn bytes<'a>(from: &mut Fields<'a>) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(from)?).ok()?;
    from.take(length)
}

fn origin<'a>(from: &mut Fields<'a>, has_decoder: bool) -> Option<Origin<'a>> {
    let mut origin = Origin {
        connection: ConnectionId(varint(from)?),
        channel: ChannelId(varint(from)?),
        account: AccountId(varint(from)?),
        protocol: u16::try_from(varint(from)?).ok()?,
        peer: from.peer()?,
        ident: std::str::from_utf8(bytes(from)?).ok()?,
        decoder_version: 0,
    };
    if has_decoder {
        origin.decoder_version = u16::try_from(varint(from)?).ok()?;
    }
    Some(origin)
}

/// Reads the messages of a block's content; bytes that do not fit end it with `false` in
/// [`Messages::is_whole`].
#[derive(Debug)]
pub(super) struct Messages<'a> {
    rest: &'a [u8],
    before: Before,
    origin: Option<Origin<'a>>,
}

impl<'a> Messages<'a> {
    pub(super) const fn of(content: &'a [u8]) -> Self {
        Self {
            rest: content,
            before: Before {
                device: 0,
                time_ms: 0,
                sequence: 0,
                at_us: 0,
            },
            origin: None,
        }
    }

    /// Was everything read, and did it fit?
    pub(super) const fn is_whole(&self) -> bool {
        self.rest.is_empty()
    }

    fn read(&mut self) -> Option<Stored<'a>> {
        let from = &mut Fields(self.rest);
        let flags = from.u8()?;
        let device = if flags & SAME_DEVICE != 0 {
            self.before.device
        } else {
            varint(from)?
        };
        let time_ms = self.before.time_ms.wrapping_add(signed(from)?);
        let sequence = self
            .before
            .sequence
            .wrapping_add(signed(from)?.cast_unsigned());
        let index = u32::try_from(varint(from)?).ok()?;
        let at_us = self.before.at_us.wrapping_add(signed(from)?);
        let origin = if flags & SAME_ORIGIN != 0 {
            self.origin?
        } else {
            origin(from, flags & HAS_DECODER != 0)?
        };
        let message = Stored {
            device: DeviceId(device),
            time_ms,
            sequence,
            index,
            at_us,
            origin,
            record: bytes(from)?,
        };
        self.rest = from.0;
        self.before = Before::of(&message);
        self.origin = Some(origin);
        Some(message)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Stored<'a>;

    fn next(&mut self) -> Option<Stored<'a>> {
        self.read()
    }
}

/// A block that has messages of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRef {
    /// Where it begins in the file.
    pub at: u64,
    /// Its bytes there, head included.
    pub length: u32,
    /// The time of the device's first message in it.
    pub first_ms: i64,
}

/// What the directory says of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which device.
    pub device: DeviceId,
    /// Numbers of its messages.
    pub totals: Totals,
    /// The blocks that have them, in order.
    pub blocks: Vec<BlockRef>,
}

pub(super) fn put_row(out: &mut Vec<u8>, row: &Row) {
    let totals = &row.totals;
    let span = |first: i64, last: i64| last.wrapping_sub(first).cast_unsigned();
    write_varint(out, row.device.0);
    write_varint(out, totals.messages);
    write_varint(out, totals.bytes);
    write_varint(out, zigzag(totals.time_ms.0));
    write_varint(out, span(totals.time_ms.0, totals.time_ms.1));
    write_varint(out, zigzag(totals.at_us.0));
    write_varint(out, span(totals.at_us.0, totals.at_us.1));
    write_varint(out, totals.sequence.0);
    write_varint(out, totals.sequence.1.wrapping_sub(totals.sequence.0));
    write_varint(out, row.blocks.len() as u64);
    let mut before = BlockRef {
        at: 0,
        length: 0,
        first_ms: totals.time_ms.0,
    };
    for block in &row.blocks {
        write_varint(out, block.at.wrapping_sub(before.at));
        write_varint(out, u64::from(block.length));
        write_varint(
            out,
            block.first_ms.wrapping_sub(before.first_ms).cast_unsigned(),
        );
        before = *block;
    }
}

/// Reads the rows of a leaf; `None`: bytes do not fit.
pub(super) fn rows_of(content: &[u8]) -> Option<Vec<Row>> {
    let from = &mut Fields(content);
    let mut rows = Vec::new();
    while !from.0.is_empty() {
        let device = DeviceId(varint(from)?);
        let (messages, bytes) = (varint(from)?, varint(from)?);
        let span = |from: &mut Fields<'_>| -> Option<(i64, i64)> {
            let first = signed(from)?;
            Some((first, first.wrapping_add(varint(from)?.cast_signed())))
        };
        let time_ms = span(from)?;
        let at_us = span(from)?;
        let first = varint(from)?;
        let sequence = (first, first.wrapping_add(varint(from)?));
        let count = varint(from)?;
        let mut blocks = Vec::new();
        let mut before = BlockRef {
            at: 0,
            length: 0,
            first_ms: time_ms.0,
        };
        for _ in 0..count {
            before = BlockRef {
                at: before.at.wrapping_add(varint(from)?),
                length: u32::try_from(varint(from)?).ok()?,
                first_ms: before.first_ms.wrapping_add(varint(from)?.cast_signed()),
            };
            blocks.push(before);
        }
        rows.push(Row {
            device,
            totals: Totals {
                messages,
                bytes,
                devices: 1,
                time_ms,
                at_us,
                sequence,
            },
            blocks,
        });
    }
    Some(rows)
}

/// A line of the fence: a leaf of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) first: DeviceId,
    pub(super) last: DeviceId,
    pub(super) at: u64,
    pub(super) length: u32,
}

/// Bytes of a line of the fence.
const LEAF_BYTES: usize = 28;

pub(super) fn put_leaf(out: &mut Vec<u8>, leaf: &Leaf) {
    out.extend_from_slice(&leaf.first.0.to_le_bytes());
    out.extend_from_slice(&leaf.last.0.to_le_bytes());
    out.extend_from_slice(&leaf.at.to_le_bytes());
    out.extend_from_slice(&leaf.length.to_le_bytes());
}

pub(super) fn leaves_of(content: &[u8]) -> Option<Vec<Leaf>> {
    let lines = content.chunks_exact(LEAF_BYTES);
    if !lines.remainder().is_empty() {
        return None;
    }
    let leaf = |line: &[u8]| Leaf {
        first: DeviceId(u64_at(line, 0)),
        last: DeviceId(u64_at(line, 8)),
        at: u64_at(line, 16),
        length: u32_at(line, 24),
    };
    Some(lines.map(leaf).collect())
}
