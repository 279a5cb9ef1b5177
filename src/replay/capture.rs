//! A capture file, packet by packet: pcap and pcapng, of any byte order and time resolution.

use pcap_parser::{
    Block, Linktype, PcapBlockOwned, PcapError, create_reader,
    traits::{PcapNGPacketBlock as _, PcapReaderIterator},
};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek as _, SeekFrom};
use std::path::Path;

/// The longest packet or block that is read. tcpdump cuts packets at 256 KiB.
pub const BLOCK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most interfaces of one section of a pcapng file.
pub const INTERFACES_MAX: usize = 4096;

const BUFFER_BYTES: usize = 256 * 1024;
const US_PER_S: i64 = 1_000_000;

/// Why a file could not be read, or not to its end. `packets` were read before.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It cannot be opened or read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It has no bytes.
    #[error("the file is empty")]
    Empty,
    /// It is something else.
    #[error("neither pcap nor pcapng: it begins with {begins}{looks}")]
    Foreign {
        /// Its first bytes, in hexadecimal.
        begins: String,
        /// What that looks like.
        looks: &'static str,
    },
    /// It ends within a packet.
    #[error("cut short: it ends within what begins at byte {at}, after {packets} whole packets")]
    CutShort {
        /// Where the last, incomplete packet begins.
        at: u64,
        /// The whole packets before it.
        packets: u64,
    },
    /// What is there is no packet.
    #[error("damaged at byte {at}, after {packets} whole packets: {why}")]
    Damaged {
        /// Where.
        at: u64,
        /// The packets before it.
        packets: u64,
        /// What is wrong there.
        why: &'static str,
    },
}

/// A packet as it was captured.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// When, unix us; 0 if the file does not say.
    pub at_us: i64,
    /// What it begins with.
    pub link: Linktype,
    /// Its bytes: fewer than were on the wire if the capture was told to cut.
    pub data: &'a [u8],
}

/// Reads `path` and hands each packet to `take`, in the order of the file. Gives back how many
/// there were.
pub fn read_file(path: &Path, take: &mut dyn FnMut(Packet<'_>)) -> Result<u64, CaptureError> {
    let mut file = File::open(path)?;
    let mut head = [0; 12];
    let length = read_head(&mut file, &mut head)?;
    let head = head.get(..length).unwrap_or_default();
    foreign(head)?;
    if file.metadata()?.len() < header_bytes(head) {
        return Err(CaptureError::CutShort { at: 0, packets: 0 });
    }
    file.seek(SeekFrom::Start(0))?;
    read(file, take)
}

/// How long the header is that a file begins with.
fn header_bytes(head: &[u8]) -> u64 {
    const PCAP: u64 = 24;
    match *head {
        [0x0a, 0x0d, 0x0d, 0x0a, a, b, c, d, 0x1a, ..] => u32::from_be_bytes([a, b, c, d]).into(),
        [0x0a, 0x0d, 0x0d, 0x0a, a, b, c, d, _, _, _, _] => u32::from_le_bytes([a, b, c, d]).into(),
        _ => PCAP,
    }
}

fn read(source: impl Read + Send, take: &mut dyn FnMut(Packet<'_>)) -> Result<u64, CaptureError> {
    let mut reader = match create_reader(BUFFER_BYTES, source) {
        Ok(reader) => reader,
        Err(PcapError::Eof) => return Err(CaptureError::Empty),
        Err(PcapError::Incomplete(_)) => {
            return Err(CaptureError::CutShort { at: 0, packets: 0 });
        }
        Err(PcapError::ReadError) => return Err(std::io::Error::from(ErrorKind::Other).into()),
        Err(_) => {
            return Err(CaptureError::Damaged {
                at: 0,
                packets: 0,
                why: "the header of the file does not fit together",
            });
        }
    };
    let mut file = Layout::default();
    let mut packets = 0;
    let mut capacity = BUFFER_BYTES;
    loop {
        let at = reader.consumed() as u64;
        let whole = packets;
        let damaged = |why| CaptureError::Damaged {
            at,
            packets: whole,
            why,
        };
        let next = match reader.next() {
            Ok((length, block)) => {
                if let Some(packet) = file.packet(block).map_err(damaged)? {
                    packets += 1;
                    take(packet);
                }
                Next::Consume(length)
            }
            Err(PcapError::Eof) => return Ok(packets),
            Err(PcapError::Incomplete(_)) => Next::Refill,
            Err(PcapError::BufferTooSmall) => Next::Grow,
            Err(PcapError::UnexpectedEof) => {
                // A reader at the end of the file says so as well where nothing is left.
                if reader.data().is_empty() {
                    return Ok(packets);
                }
                return Err(CaptureError::CutShort { at, packets });
            }
            Err(PcapError::ReadError) => return Err(std::io::Error::from(ErrorKind::Other).into()),
            Err(_) => return Err(damaged("the bytes there are no packet of this format")),
        };
        match next {
            Next::Consume(length) => reader.consume(length),
            Next::Refill => refill(&mut *reader)?,
            Next::Grow => {
                capacity = capacity.saturating_mul(2);
                if capacity > BLOCK_BYTES_MAX {
                    return Err(damaged("a packet there says it is longer than 16 MiB"));
                }
                reader.grow(capacity);
                refill(&mut *reader)?;
            }
        }
    }
}

enum Next {
    Consume(usize),
    Refill,
    Grow,
}

fn refill(reader: &mut (dyn PcapReaderIterator + Send)) -> Result<(), CaptureError> {
    reader
        .refill()
        .map_err(|_| std::io::Error::other("the file could not be read on").into())
}

fn read_head(file: &mut File, head: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while let Some(space) = head.get_mut(length..).filter(|space| !space.is_empty()) {
        match file.read(space) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Refuses what is no capture, by its first bytes.
fn foreign(head: &[u8]) -> Result<(), CaptureError> {
    let looks = match head {
        [] => return Err(CaptureError::Empty),
        [0xd4, 0xc3, 0xb2, 0xa1, ..]
        | [0xa1, 0xb2, 0xc3, 0xd4, ..]
        | [0x4d, 0x3c, 0xb2, 0xa1, ..]
        | [0xa1, 0xb2, 0x3c, 0x4d, ..]
        | [0x34, 0xcd, 0xb2, 0xa1, ..]
        | [0xa1, 0xb2, 0xcd, 0x34, ..]
        | [0x0a, 0x0d, 0x0d, 0x0a, ..] => return Ok(()),
        [0x1f, 0x8b, ..] => ", as gzip does: unpack it first",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ", as zstd does: unpack it first",
        [b'P', b'K', ..] => ", as zip does: unpack it first",
        [b's', b'n', b'o', b'o', b'p', ..] => ", as snoop does: convert it with editcap -F pcap",
        [0x7f, b'E', b'L', b'F', ..] => ", as a program does",
        [b'{' | b'[', ..] => ", as JSON does",
        text if text
            .iter()
            .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) =>
        {
            ", as text does"
        }
        _ => "",
    };
    let begins: Vec<_> = head
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Err(CaptureError::Foreign {
        begins: begins.join(" "),
        looks,
    })
}

/// What the headers seen so far say of the packets to come.
#[derive(Default)]
struct Layout {
    legacy: Option<(Linktype, i64)>,
    interfaces: Vec<Interface>,
}

struct Interface {
    link: Linktype,
    ticks_per_s: u128,
    offset_s: i64,
}

impl Layout {
    fn packet<'a>(
        &mut self,
        block: PcapBlockOwned<'a>,
    ) -> Result<Option<Packet<'a>>, &'static str> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let per_us = if header.is_nanosecond_precision() {
                    1000
                } else {
                    1
                };
                // The upper bits of the field tell about checksums at the ends of frames.
                self.legacy = Some((Linktype(header.network.0 & 0xffff), per_us));
                Ok(None)
            }
            PcapBlockOwned::Legacy(packet) => {
                let (link, per_us) = self.legacy.ok_or("a packet before the file's header")?;
                let fraction = i64::from(packet.ts_usec) / per_us;
                Ok(Some(Packet {
                    at_us: i64::from(packet.ts_sec) * US_PER_S + fraction,
                    link,
                    data: packet.data,
                }))
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.interfaces.clear();
                Ok(None)
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                if self.interfaces.len() == INTERFACES_MAX {
                    return Err("more than 4096 interfaces");
                }
                self.interfaces.push(Interface {
                    link: interface.linktype,
                    ticks_per_s: ticks_per_s(interface.if_tsresol)
                        .ok_or("an interface with an impossible resolution of time")?,
                    offset_s: interface.if_tsoffset,
                });
                Ok(None)
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let interface = usize::try_from(packet.if_id)
                    .ok()
                    .and_then(|index| self.interfaces.get(index))
                    .ok_or("a packet of an interface that was not described")?;
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let length = usize::try_from(packet.caplen).unwrap_or(usize::MAX);
                Ok(Some(Packet {
                    at_us: interface.at_us(ticks),
                    link: interface.link,
                    data: packet.data.get(..length).unwrap_or(packet.data),
                }))
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let interface = self.interfaces.first();
                let interface = interface.ok_or("a packet before an interface is described")?;
                let length = usize::try_from(packet.orig_len()).unwrap_or(usize::MAX);
                Ok(Some(Packet {
                    at_us: 0,
                    link: interface.link,
                    data: packet.data.get(..length).unwrap_or(packet.data),
                }))
            }
            PcapBlockOwned::NG(_) => Ok(None),
        }
    }
}

impl Interface {
    fn at_us(&self, ticks: u64) -> i64 {
        let us = u128::from(ticks) * 1_000_000 / self.ticks_per_s;
        let us = i64::try_from(us).unwrap_or(i64::MAX);
        us.saturating_add(self.offset_s.saturating_mul(US_PER_S))
    }
}

/// The resolution of an interface's time: a power of ten, or of two if the high bit is set.
fn ticks_per_s(resolution: u8) -> Option<u128> {
    let power = u32::from(resolution & 0x7f);
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(power)
}
