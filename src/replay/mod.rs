//! Recorded conversations: captures to TCP streams, streams to what a decoder says of them.
//!
//! It imports decoders and raw traffic and nothing else of the gateway: it knows no account and no store, so what
//! it shows of a gate is the gate, never a verdict. Who calls it: `cli`.
//!
//! ```text
//! file -> capture: packets -> packet: TCP segments -> assembly: conversations
//!      -> transcript: events, dialogues    -> player: real connections
//! raw traffic -> rebuilt: TCP streams -> pcapng: a file
//!             -> redecode: compared with what was stored
//! ```

mod assembly;
mod capture;
mod packet;
mod pcapng;
pub mod player;
mod rebuilt;
pub mod redecode;
mod transcript;

pub use assembly::{
    CONVERSATIONS_MAX, Conversation, Ended, From, TOTAL_BYTES_MAX, Turn, WAITING_BYTES_MAX,
    WAITING_SEGMENTS_MAX,
};
pub use capture::{BLOCK_BYTES_MAX, CaptureError, INTERFACES_MAX, Packet, read_file};
pub use packet::LINKS;
pub use pcapng::PcapngWriter;
pub use rebuilt::{CUT_OFF, Notes, Rebuilt, WHOLE};
pub use transcript::{Known, Line, Transcript, protocol_of};

use packet::Skipped;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a capture holds.
#[derive(Debug, Default)]
pub struct Recording {
    /// Its conversations, by the time they began.
    pub conversations: Vec<Conversation>,
    /// All its packets.
    pub packets: u64,
    /// Those that are not TCP.
    pub not_tcp: u64,
    /// Those that are parts of IP packets.
    pub fragments: u64,
    /// Those whose headers do not fit together.
    pub unreadable: u64,
    /// Those of kinds of links that are not read, by the kind's number.
    pub foreign_links: BTreeMap<i32, u64>,
    /// TCP segments that found no room.
    pub dropped: u64,
    /// The ports that were called, at most [`SERVER_PORTS_SHOWN`] of them.
    pub server_ports: BTreeSet<u16>,
    /// Why reading stopped before the end, if it did: what was whole before that is here.
    pub broken: Option<CaptureError>,
}

/// So many called ports are remembered, for telling which there are.
pub const SERVER_PORTS_SHOWN: usize = 16;

impl Recording {
    /// Reads the file at `path`. `server_port`: only the conversations with that port. A file that
    /// cannot be read at all is an error; one that is broken later is [`Recording::broken`].
    pub fn open(path: &Path, server_port: Option<u16>) -> Result<Self, CaptureError> {
        let mut this = Self::default();
        let ports = protocols::PROTOCOLS
            .iter()
            .map(|protocol| protocol.info.port);
        let known = ports.filter(|port| *port != 0).collect();
        let mut assembly = assembly::Assembly::new(server_port, known);
        let read = read_file(path, &mut |packet| {
            this.packets += 1;
            match packet::segment(&packet) {
                Ok(segment) => {
                    let opens = segment.syn && segment.acknowledged.is_none();
                    if opens && this.server_ports.len() < SERVER_PORTS_SHOWN {
                        this.server_ports.insert(segment.to.port());
                    }
                    assembly.push(&segment);
                }
                Err(Skipped::NotTcp) => this.not_tcp += 1,
                Err(Skipped::Fragment) => this.fragments += 1,
                Err(Skipped::Unreadable) => this.unreadable += 1,
                Err(Skipped::Link(link)) => *this.foreign_links.entry(link).or_default() += 1,
            }
        });
        match read {
            Ok(_) => {}
            Err(error @ (CaptureError::CutShort { .. } | CaptureError::Damaged { .. })) => {
                this.broken = Some(error);
            }
            Err(error) => return Err(error),
        }
        this.dropped = assembly.dropped;
        this.conversations = assembly.finish();
        Ok(this)
    }
}
