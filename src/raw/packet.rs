//! A chunk of a connection, and its form on disk.
//!
//! | content, version 1, little endian | bytes |
//! |---|---|
//! | at_us, connection, channel | 8 + 8 + 8 |
//! | index, direction, shared | 4 + 1 + 1 |
//! | protocol, port | 2 + 2 |
//! | device, account | 8 + 8 |
//! | peer: an IPv6 address (IPv4 in its mapped form), port | 16 + 2 |
//! | ident: length, text | 1 + length |
//! | the bytes; of an end: close code, how | the rest; 2 + 1 |
//!
//! Readers never panic: what does not fit the form reads as `None`.

use crate::ids::{AccountId, ChannelId, ConnectionId, DeviceId};
use crate::segment::fields::Fields;
use compact_str::CompactString;
use smallvec::SmallVec;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

pub(super) const KIND: u8 = 1;
pub(super) const VERSION: u8 = 1;
/// Everything before the ident.
const HEAD_BYTES: usize = 67;
/// Where in it the time, the number and the direction of a chunk stand.
const TIME_AT: usize = 0;
const INDEX_AT: usize = 24;
const DIRECTION_AT: usize = 28;
/// A head with an ident of so many bytes less needs no memory of its own.
const HEAD_BYTES_INLINE: usize = 96;

/// What a chunk is. The numbers are flespi's packet types for TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Direction {
    /// The connection was accepted.
    Connect = 0,
    /// It ended.
    Disconnect = 1,
    /// From the tracker.
    Received = 2,
    /// To it.
    Sent = 3,
}

impl Direction {
    /// flespi's number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Connect),
            1 => Some(Self::Disconnect),
            2 => Some(Self::Received),
            3 => Some(Self::Sent),
            _ => None,
        }
    }
}

/// How a connection ended on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Ended {
    /// The gateway closed it.
    #[default]
    ByGateway = 0,
    /// The tracker sent no more.
    ByTracker = 1,
    /// It was broken off: a reset, or a network that was gone.
    Broken = 2,
}

/// What is said of a chunk beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label<'a> {
    /// When, unix us.
    pub at_us: i64,
    /// Of which connection.
    pub connection: ConnectionId,
    /// To which channel.
    pub channel: ChannelId,
    /// Its number in the connection; one that is missing was lost.
    pub index: u32,
    /// Which way.
    pub direction: Direction,
    /// The connection has carried devices of several accounts: only who manages the channel's
    /// account may see it.
    pub shared: bool,
    /// The number of the protocol; 0 while it is not known.
    pub protocol: u16,
    /// The channel's port.
    pub port: u16,
    /// The device that named itself last; `NONE` if nobody has registered it.
    pub device: DeviceId,
    /// Who may see it: the device's account, or the channel's where there is none.
    pub account: AccountId,
    /// Who called.
    pub peer: SocketAddr,
    /// The name that the device gave itself last; empty before it does.
    pub ident: &'a str,
}

/// A label as it stands on disk, before the bytes. What a connection's chunks have in common is
/// written once for many of them; [`Head::stamp`] sets what differs.
#[derive(Debug, Clone)]
pub struct Head(SmallVec<[u8; HEAD_BYTES_INLINE]>);

impl Head {
    /// What `label` says.
    pub fn of(label: &Label<'_>) -> Self {
        let mut out = SmallVec::new();
        out.extend_from_slice(&label.at_us.to_le_bytes());
        out.extend_from_slice(&label.connection.0.to_le_bytes());
        out.extend_from_slice(&label.channel.0.to_le_bytes());
        out.extend_from_slice(&label.index.to_le_bytes());
        out.push(label.direction.number());
        out.push(label.shared.into());
        out.extend_from_slice(&label.protocol.to_le_bytes());
        out.extend_from_slice(&label.port.to_le_bytes());
        out.extend_from_slice(&label.device.0.to_le_bytes());
        out.extend_from_slice(&label.account.0.to_le_bytes());
        let address = match label.peer.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        out.extend_from_slice(&address.octets());
        out.extend_from_slice(&label.peer.port().to_le_bytes());
        // an ident is far shorter
        let length = u8::try_from(label.ident.len()).unwrap_or(u8::MAX);
        out.push(length);
        let ident = label.ident.as_bytes().get(..length.into());
        out.extend_from_slice(ident.unwrap_or_default());
        Self(out)
    }

    /// The same of another chunk: its time, its number and which way it went.
    pub fn stamp(&mut self, at_us: i64, index: u32, direction: Direction) {
        let mut set = |at: usize, bytes: &[u8]| {
            if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        set(TIME_AT, &at_us.to_le_bytes());
        set(INDEX_AT, &index.to_le_bytes());
        set(DIRECTION_AT, &[direction.number()]);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Reads a chunk: what is said of it, and its bytes.
pub(super) fn read(content: &[u8]) -> Option<(Label<'_>, &[u8])> {
    let from = &mut Fields(content);
    let label = Label {
        at_us: from.i64()?,
        connection: ConnectionId(from.u64()?),
        channel: ChannelId(from.u64()?),
        index: from.u32()?,
        direction: Direction::from_number(from.u8()?)?,
        shared: from.u8()? != 0,
        protocol: from.u16()?,
        port: from.u16()?,
        device: DeviceId(from.u64()?),
        account: AccountId(from.u64()?),
        peer: {
            let address = Ipv6Addr::from(from.array::<16>()?).to_canonical();
            SocketAddr::new(address, from.u16()?)
        },
        ident: {
            let length = from.u8()?;
            std::str::from_utf8(from.take(length.into())?).ok()?
        },
    };
    Some((label, from.0))
}

/// The time of a chunk, without reading the rest.
pub(super) fn time_of(content: &[u8]) -> Option<i64> {
    content
        .first_chunk()
        .map(|bytes| i64::from_le_bytes(*bytes))
}

/// Overwrites a chunk but for its time: nobody reads it any more.
pub(super) fn overwrite(content: &mut [u8]) {
    if let Some(rest) = content.get_mut(8..) {
        // no direction has this number
        rest.fill(u8::MAX);
    }
}

/// The bytes of an end.
pub(super) fn end_bytes(code: i16, how: Ended) -> [u8; 3] {
    let [low, high] = code.to_le_bytes();
    [low, high, how as u8]
}

/// A chunk that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// When, unix us.
    pub at_us: i64,
    /// Of which connection.
    pub connection: ConnectionId,
    /// To which channel.
    pub channel: ChannelId,
    /// Its number in the connection; one that is missing was lost.
    pub index: u32,
    /// Which way.
    pub direction: Direction,
    /// The number of the protocol; 0 while it was not known.
    pub protocol: u16,
    /// The channel's port.
    pub port: u16,
    /// The device that had named itself; `NONE` if nobody had registered it.
    pub device: DeviceId,
    /// Who may see it.
    pub account: AccountId,
    /// Who called.
    pub peer: SocketAddr,
    /// The name that the device had given itself; empty before it did.
    pub ident: CompactString,
    /// What was sent; empty where nothing was.
    pub bytes: Vec<u8>,
    /// Of an end: the close code, and how.
    pub ended: Option<(i16, Ended)>,
}

impl Packet {
    pub(super) fn of(label: &Label<'_>, bytes: &[u8]) -> Self {
        let ended = match (label.direction, bytes) {
            (Direction::Disconnect, &[low, high, how]) => Some((
                i16::from_le_bytes([low, high]),
                match how {
                    1 => Ended::ByTracker,
                    2 => Ended::Broken,
                    _ => Ended::ByGateway,
                },
            )),
            _ => None,
        };
        Self {
            at_us: label.at_us,
            connection: label.connection,
            channel: label.channel,
            index: label.index,
            direction: label.direction,
            protocol: label.protocol,
            port: label.port,
            device: label.device,
            account: label.account,
            peer: label.peer,
            ident: CompactString::new(label.ident),
            bytes: if ended.is_some() {
                Vec::new()
            } else {
                bytes.to_vec()
            },
            ended,
        }
    }

    /// Reads an entry of the log; `None` if its kind, version or form is not known.
    pub fn read(kind: u8, version: u8, content: &[u8]) -> Option<Self> {
        if (kind, version) != (KIND, VERSION) {
            return None;
        }
        let (label, bytes) = read(content)?;
        Some(Self::of(&label, bytes))
    }

    /// How many bytes it takes of an answer, about.
    pub fn weight(&self) -> usize {
        HEAD_BYTES + self.ident.len() + self.bytes.len()
    }
}
