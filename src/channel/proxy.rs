//! The PROXY protocol, versions 1 and 2: a machine in front of the gateway says who has called it.
//!
//! Only peers that the configuration lists are believed, and they must say it: a listed peer without
//! a header is closed. It refuses to read a byte beyond the header, so what follows is the tracker's.
//! Bounds: [`PROXY_HEADER_BYTES_MAX`] bytes, [`PROXY_HEADER_WAIT`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::bounds::{PROXY_HEADER_BYTES_MAX, PROXY_HEADER_WAIT};

/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The shortest header of either version: `PROXY UNKNOWN` with its line end.
const SHORTEST: usize = 15;
/// The longest line of version 1, as its document says.
const LINE_BYTES_MAX: usize = 107;

/// Reads the header. Gives back who has called the proxy; none: the proxy speaks for itself (a
/// health check, an unknown transport).
pub(super) async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<SocketAddr>> {
    let reading = async {
        let mut head = vec![0; SHORTEST];
        stream.read_exact(&mut head).await?;
        if head.starts_with(SIGNATURE) {
            head.push(stream.read_u8().await?);
            let length = match head.get(14..16) {
                Some([high, low]) => usize::from(u16::from_be_bytes([*high, *low])),
                _ => return Err(wrong("cut short")),
            };
            if length > PROXY_HEADER_BYTES_MAX {
                return Err(wrong("longer than a header may be"));
            }
            let mut rest = vec![0; length];
            stream.read_exact(&mut rest).await?;
            return binary(&head, &rest);
        }
        if !head.starts_with(b"PROXY ") {
            return Err(wrong("no header"));
        }
        while !head.ends_with(b"\r\n") {
            if head.len() >= LINE_BYTES_MAX {
                return Err(wrong("longer than a line may be"));
            }
            head.push(stream.read_u8().await?);
        }
        text(&head)
    };
    tokio::time::timeout(PROXY_HEADER_WAIT, reading).await?
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Version 1: `PROXY TCP4 source destination source-port destination-port`.
fn text(line: &[u8]) -> io::Result<Option<SocketAddr>> {
    let line = std::str::from_utf8(line).map_err(|_| wrong("not ASCII"))?;
    let mut words = line.trim_end_matches("\r\n").split(' ').skip(1);
    let kind = words.next().unwrap_or_default();
    if kind == "UNKNOWN" {
        return Ok(None);
    }
    let words: Vec<&str> = words.collect();
    let [source, _, port, _] = words[..] else {
        return Err(wrong("not four addresses and ports"));
    };
    let address: IpAddr = source.parse().map_err(|_| wrong("not an address"))?;
    let port: u16 = port.parse().map_err(|_| wrong("not a port"))?;
    match (kind, address) {
        ("TCP4", IpAddr::V4(_)) | ("TCP6", IpAddr::V6(_)) => {
            Ok(Some(SocketAddr::new(address, port)))
        }
        _ => Err(wrong("another family than it says")),
    }
}

/// Version 2: command and family in `head`, addresses and more in `rest`.
fn binary(head: &[u8], rest: &[u8]) -> io::Result<Option<SocketAddr>> {
    let (Some(command), Some(family)) = (head.get(12), head.get(13)) else {
        return Err(wrong("cut short"));
    };
    match command {
        // what the proxy asks for itself
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(wrong("a version or command that is not known")),
    }
    let address = |bytes: usize| rest.get(..bytes).ok_or_else(|| wrong("cut short"));
    let port = |at: usize| match rest.get(at..at + 2) {
        Some([high, low]) => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(wrong("cut short")),
    };
    let (ip, port) = match family {
        0x11 => {
            let octets = <[u8; 4]>::try_from(address(4)?).map_err(|_| wrong("cut short"))?;
            (IpAddr::V4(Ipv4Addr::from(octets)), port(8)?)
        }
        0x21 => {
            let octets = <[u8; 16]>::try_from(address(16)?).map_err(|_| wrong("cut short"))?;
            (IpAddr::V6(Ipv6Addr::from(octets)), port(32)?)
        }
        // no TCP: it says nothing that helps
        _ => return Ok(None),
    };
    Ok(Some(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stream's header says, and what is left behind it.
    fn read(bytes: &[u8]) -> (Result<Option<String>, io::ErrorKind>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut rest = bytes;
            let said = read_header(&mut rest).await;
            let said = said.map(|peer| peer.map(|peer| peer.to_string()));
            (said.map_err(|error| error.kind()), rest.to_vec())
        })
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[command, family]);
        bytes.extend_from_slice(&u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn a_header_names_the_caller_and_leaves_the_tracker_s_bytes_alone() {
        let four = [10, 1, 2, 3, 10, 0, 0, 1, 0x9c, 0x40, 0x13, 0x8d];
        let mut six = [0; 36];
        (six[0], six[1], six[15]) = (0x20, 0x01, 7);
        (six[32], six[33]) = (0x9c, 0x40);
        // what a proxy adds behind the addresses is passed by
        let added = [&four[..], &[4, 0, 3, 1, 2, 3]].concat();
        let table: [(Vec<u8>, Option<&str>); 8] = [
            (
                b"PROXY TCP4 10.1.2.3 10.0.0.1 40000 5005\r\n".to_vec(),
                Some("10.1.2.3:40000"),
            ),
            (
                b"PROXY TCP6 2001::7 ::1 40000 5005\r\n".to_vec(),
                Some("[2001::7]:40000"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (version_2(0x21, 0x11, &four), Some("10.1.2.3:40000")),
            (version_2(0x21, 0x11, &added), Some("10.1.2.3:40000")),
            (version_2(0x21, 0x21, &six), Some("[2001::7]:40000")),
            (version_2(0x20, 0, &[]), None),
        ];
        for (mut bytes, peer) in table {
            bytes.extend_from_slice(b"\x00\x0f356307");
            let (said, rest) = read(&bytes);
            assert_eq!(said, Ok(peer.map(str::to_owned)), "{bytes:02x?}");
            assert_eq!(rest, b"\x00\x0f356307", "{bytes:02x?}");
        }
    }

    #[test]
    fn what_is_no_header_or_has_no_end_is_refused() {
        let invalid = Err(io::ErrorKind::InvalidData);
        let endless = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        let table: [(Vec<u8>, _); 8] = [
            (b"\x00\x0f356307042441013".to_vec(), invalid.clone()),
            (
                b"PROXY TCP4 10.1.2.3 10.0.0.1 40000\r\n".to_vec(),
                invalid.clone(),
            ),
            (
                b"PROXY TCP4 2001::7 ::1 40000 5005\r\n".to_vec(),
                invalid.clone(),
            ),
            (
                b"PROXY TCP4 10.1.2.3 10.0.0.1 99999 1\r\n".to_vec(),
                invalid.clone(),
            ),
            (endless, invalid.clone()),
            (version_2(0x31, 0x11, &[0; 12]), invalid.clone()),
            (version_2(0x21, 0x11, &[0; 6]), invalid.clone()),
            (version_2(0x21, 0x11, &vec![0; 5000]), invalid),
        ];
        for (bytes, expected) in table {
            assert_eq!(read(&bytes).0, expected, "{bytes:02x?}");
        }
        assert_eq!(read(b"PROXY").0, Err(io::ErrorKind::UnexpectedEof));
    }
}
