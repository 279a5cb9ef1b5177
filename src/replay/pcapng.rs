//! Writes pcapng files: one section, one interface of bare IP packets, times in microseconds.
//!
//! The form is that of the IETF's draft "PCAP Now Generic" (pcapng): section header, interface
//! description, enhanced packets with comments, and at the end interface statistics that carry the
//! last comments.

use std::io::{self, Write};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// LINKTYPE_RAW: an IPv4 or IPv6 packet without a link's header.
const LINK_RAW: u16 = 101;
const OPTION_COMMENT: u16 = 1;
const OPTION_USER_APPLICATION: u16 = 4;
const OPTION_TIME_RESOLUTION: u16 = 9;
/// The longest comment; what is longer is cut.
const COMMENT_BYTES_MAX: usize = 32 * 1024;

/// A pcapng file that is being written.
pub struct PcapngWriter<W> {
    out: W,
    block: Vec<u8>,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins the file.
    pub fn begin(out: W, comments: &[String]) -> io::Result<Self> {
        let mut this = Self {
            out,
            block: Vec::new(),
        };
        let block = &mut this.block;
        block.extend_from_slice(&BYTE_ORDER.to_le_bytes());
        // version 1.0, length of the section not said
        block.extend_from_slice(&[1, 0, 0, 0]);
        block.extend_from_slice(&(-1i64).to_le_bytes());
        this.comments(comments);
        this.option(OPTION_USER_APPLICATION, b"tollgate");
        this.end_options();
        this.write(SECTION_HEADER)?;
        this.block.extend_from_slice(&LINK_RAW.to_le_bytes());
        // reserved, and no limit on a packet's length
        this.block.extend_from_slice(&[0; 6]);
        this.option(OPTION_TIME_RESOLUTION, &[6]);
        this.end_options();
        this.write(INTERFACE_DESCRIPTION)?;
        Ok(this)
    }

    /// Adds an IP packet of this time, unix us.
    pub fn packet(&mut self, at_us: i64, data: &[u8], comments: &[String]) -> io::Result<()> {
        let length = u32::try_from(data.len()).map_err(io::Error::other)?;
        self.block.extend_from_slice(&0u32.to_le_bytes());
        self.time(at_us);
        self.block.extend_from_slice(&length.to_le_bytes());
        self.block.extend_from_slice(&length.to_le_bytes());
        self.block.extend_from_slice(data);
        self.pad();
        if !comments.is_empty() {
            self.comments(comments);
            self.end_options();
        }
        self.write(ENHANCED_PACKET)
    }

    /// Ends the file with what is to be said at the end.
    pub fn finish(mut self, at_us: i64, comments: &[String]) -> io::Result<W> {
        self.block.extend_from_slice(&0u32.to_le_bytes());
        self.time(at_us);
        self.comments(comments);
        self.end_options();
        self.write(INTERFACE_STATISTICS)?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// High and low half.
    fn time(&mut self, at_us: i64) {
        let bytes = at_us.max(0).to_le_bytes();
        self.block.extend_from_slice(&bytes[4..]);
        self.block.extend_from_slice(&bytes[..4]);
    }

    fn comments(&mut self, comments: &[String]) {
        for comment in comments {
            let end = comment.floor_char_boundary(COMMENT_BYTES_MAX);
            let text = comment.as_bytes().get(..end).unwrap_or_default();
            self.option(OPTION_COMMENT, text);
        }
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        // comments are cut, everything else is short
        let length = u16::try_from(value.len()).unwrap_or(0);
        self.block.extend_from_slice(&code.to_le_bytes());
        self.block.extend_from_slice(&length.to_le_bytes());
        let value = value.get(..length.into()).unwrap_or_default();
        self.block.extend_from_slice(value);
        self.pad();
    }

    fn end_options(&mut self) {
        self.block.extend_from_slice(&[0; 4]);
    }

    fn pad(&mut self) {
        let length = self.block.len().next_multiple_of(4);
        self.block.resize(length, 0);
    }

    fn write(&mut self, kind: u32) -> io::Result<()> {
        let length = u32::try_from(self.block.len() + 12).map_err(io::Error::other)?;
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&self.block)?;
        self.out.write_all(&length.to_le_bytes())?;
        self.block.clear();
        Ok(())
    }
}
