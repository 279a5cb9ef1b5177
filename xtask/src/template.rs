//! Scaffold: one line about the trackers that speak this.
//!
//! # Wire format
//!
//! Lines of text, `\r\n` at the end:
//!
//! | field | example | meaning |
//! |---|---|---|
//! | mark | `$SCAFFOLD` | every frame |
//! | ident | `123456789012345` | IMEI |
//! | kind | `P` position, `H` heartbeat | |
//! | time | `240131235959` | yymmddHHMMSS, UTC |
//! | latitude, longitude | `54.5,25.25` | degrees |
//! | checksum | `*5A` | exclusive or of all bytes before the `*`, in hex |
//!
//! # Session
//!
//! Every frame names its device. A position is answered `OK\r\n` once it is stored.
//!
//! # Source
//!
//! Vendor, document, version, page. Say what was seen in captures instead.
//!
//! # Quirks
//!
//! What real devices do that the document does not say.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Probe, Reject, Reply, fields,
};
use crate::kit::{checksum, framing, parse, time};

const MARK: &[u8] = b"$SCAFFOLD,";

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "scaffold",
        title: "Scaffold",
        source: "vendor, document, version",
        frame_bytes_max: 512,
        acks: Acks::Frame,
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        Ok(framing::line(input, scanned, eof))
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let line = std::str::from_utf8(framing::trim_line(frame))
            .map_err(|_| Reject::new("frame", "no text", 0))?;
        let (content, sum) = line
            .rsplit_once('*')
            .ok_or(Reject::new("frame", "no checksum", 0))?;
        if u8::from_str_radix(sum, 16).ok() != Some(checksum::xor(content.as_bytes())) {
            return Err(Reject::new("checksum", "does not fit", content.len()));
        }
        let mut parts = content.split(',').skip(1);
        let mut next = || parts.next().unwrap_or_default();
        let (ident, kind, at, latitude, longitude) = (next(), next(), next(), next(), next());
        cx.identify(Login::of(ident))?;
        match kind {
            "H" => Ok(()),
            "P" => {
                let at = time::digits(at, "ymdHMS").and_then(|civil| civil.ms(cx.settings()));
                let time = time::or_impossible(at, cx.now_ms);
                let mut message = cx.message(time)?;
                message.push_some(fields::POSITION_LATITUDE, parse::float(latitude));
                message.push_some(fields::POSITION_LONGITUDE, parse::float(longitude));
                drop(message);
                cx.reply(Reply::stored(&b"OK\r\n"[..]));
                Ok(())
            }
            _ => Err(Reject::new("kind", "not known", MARK.len())),
        }
    }

    fn probe(head: &[u8]) -> Probe {
        if head.starts_with(MARK) {
            Probe::Yes
        } else if MARK.starts_with(head) {
            Probe::More
        } else {
            Probe::No
        }
    }
}
