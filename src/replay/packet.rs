//! A captured packet down to its TCP segment: Ethernet with VLAN tags, Linux cooked captures,
//! bare IP; IPv4 and IPv6.

use super::capture::Packet;
use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::Linktype;
use std::net::{IpAddr, SocketAddr};

/// A TCP segment of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) at_us: i64,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) sequence: u32,
    pub(super) acknowledged: Option<u32>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) payload: &'a [u8],
}

/// Why a packet has no segment to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skipped {
    /// It is something other than TCP.
    NotTcp,
    /// A part of an IP packet. Trackers send none, and gateways in between join them.
    Fragment,
    /// The kind of link is not read here.
    Link(i32),
    /// It ends before its TCP header does, or its headers do not fit together.
    Unreadable,
}

const NULL: i32 = 0;
const ETHERNET: i32 = 1;
const RAW: [i32; 5] = [12, 14, 101, 228, 229];
const LOOP: i32 = 108;
const SLL: i32 = 113;
const SLL2: i32 = 276;

/// The kinds of links that are read, for people.
pub const LINKS: &str = "Ethernet (VLAN too), Linux cooked v1 and v2, BSD loopback and bare IP";

/// Reads `packet`.
pub(super) fn segment<'a>(packet: &Packet<'a>) -> Result<Segment<'a>, Skipped> {
    let sliced = slice(packet.link, packet.data)?;
    let (source, destination, payload) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => (
            IpAddr::from(ip.header().source_addr()),
            IpAddr::from(ip.header().destination_addr()),
            ip.payload(),
        ),
        Some(LaxNetSlice::Ipv6(ip)) => (
            IpAddr::from(ip.header().source_addr()),
            IpAddr::from(ip.header().destination_addr()),
            ip.payload(),
        ),
        None if sliced.stop_err.is_some() => return Err(Skipped::Unreadable),
        Some(LaxNetSlice::Arp(_)) | None => return Err(Skipped::NotTcp),
    };
    if payload.fragmented {
        return Err(Skipped::Fragment);
    }
    let tcp = match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => tcp,
        None if payload.ip_number == etherparse::IpNumber::TCP => return Err(Skipped::Unreadable),
        _ => return Err(Skipped::NotTcp),
    };
    Ok(Segment {
        at_us: packet.at_us,
        from: SocketAddr::new(source, tcp.source_port()),
        to: SocketAddr::new(destination, tcp.destination_port()),
        sequence: tcp.sequence_number(),
        acknowledged: tcp.ack().then(|| tcp.acknowledgment_number()),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        payload: tcp.payload(),
    })
}

fn slice(link: Linktype, data: &[u8]) -> Result<LaxSlicedPacket<'_>, Skipped> {
    let ip = |skip: usize| {
        let ip = data.get(skip..).ok_or(Skipped::Unreadable)?;
        LaxSlicedPacket::from_ip(ip).map_err(|_| Skipped::NotTcp)
    };
    let cooked = |type_at: usize, skip: usize| {
        let (Some(&[high, low]), Some(rest)) = (
            data.get(type_at..).and_then(<[u8]>::first_chunk::<2>),
            data.get(skip..),
        ) else {
            return Err(Skipped::Unreadable);
        };
        let ether_type = EtherType(u16::from_be_bytes([high, low]));
        Ok(LaxSlicedPacket::from_ether_type(ether_type, rest))
    };
    match link.0 {
        ETHERNET => LaxSlicedPacket::from_ethernet(data).map_err(|_| Skipped::Unreadable),
        SLL => cooked(14, 16),
        SLL2 => cooked(0, 20),
        NULL | LOOP => ip(4),
        raw if RAW.contains(&raw) => ip(0),
        other => Err(Skipped::Link(other)),
    }
}
