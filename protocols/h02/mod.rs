//! H02: the trackers of many Chinese makers (SinoTrack ST-901, Coban clones, LK, MT-1, TX-5, watches
//! and pet trackers), over TCP.
//!
//! # Wire format
//!
//! Text: `*MM,ID,KIND,fields#`. MM is the maker's two letters (`HQ`, `TH`, `hq`), ID the device's name
//! (10 digits, or the IMEI). Line ends between frames are noise.
//!
//! | KIND | fields |
//! |---|---|
//! | V1, V2, V6, V8, VI1, ... | `HHMMSS,A,latitude,N,longitude,E,knots,course,DDMMYY,status[,extras]` |
//! | V4 | the command it confirms, its parameters and time, then as V1 |
//! | V19 | as V1, then `,telephone,ICCID,status` with the first status empty |
//! | V3 | `HHMMSS,MCCMNC,count,(LAC,cell,level,dBm)*,battery(hex),?,?,DDMMYY,status` |
//! | NBR | `HHMMSS,MCC,MNC,timing advance,count,(LAC,cell,level)*,DDMMYY,status[,?]` |
//! | VP1 | `A,latitude,N,longitude,E,knots,course,DDMMYY` or `V,MCC,MNC,LAC,cell,level(Y LAC,cell,level)*` |
//! | LINK | `HHMMSS,signal,satellites,battery %,steps,turnovers,DDMMYY,status` |
//! | V0, HTBT, XT | heartbeats, HTBT perhaps with the battery in percent |
//! | SMS | a text |
//!
//! A means that the fix is valid, V that it is not. Places are degrees and minutes, `DDMM.MMMM` or
//! without the point or `-DD-MM.MMMM`. Extras after the status are a matter of the maker; four or
//! five of them are the cell: MCC, MNC, LAC, cell id, in decimal or in hexadecimal digits.
//!
//! Binary, mixed freely with text, numbers in BCD:
//!
//! | bytes | field |
//! |---|---|
//! | 1 | `$` (`X` on a few) |
//! | 5 or 8 | ID (8: the IMEI and one more digit) |
//! | 3, 3 | HHMMSS, DDMMYY, UTC |
//! | 4 | latitude DDMMMMMM, four decimals |
//! | 1 | battery: 1 to 6 steps, above that percent; 0 none |
//! | 5 | longitude DDDMMMMMM and four flags: 8 east, 4 north, 2 valid |
//! | 3 | speed in knots and course, three digits each |
//! | 4 | status |
//! | 3 | user's alarms, reserved (the form of 32 bytes ends here) |
//! | 14 | signal 0-31, satellites, distance (4), MCC (2), MNC, LAC (2), cell (2), number: 45 bytes in all |
//!
//! The status is 32 bits in negative logic, 0 says yes; see `status`.
//!
//! # Session
//!
//! Every frame names its device. V1 and NBR are answered `*MM,ID,V4,KIND,YYYYMMDDHHMMSS#` with the
//! server's clock, R12 `*MM,ID,R12,HHMMSS#`, V0 and HTBT with themselves. Nothing else is answered, so
//! that the protocol as a whole counts as one without acks: what is refused is left unread.
//!
//! A command is `*MM,ID,COMMAND,HHMMSS,parameters#`, such as `S20,130305,1,1`; `custom` writes what stands
//! behind the ID. The tracker confirms it with V4. One that has spoken binary only cannot be commanded:
//! it ignores other makers' letters, and has not said its own.
//!
//! # Source
//!
//! "GPS Protocol 2020-7-6" (SinoTrack), the older "TH" protocol of the SMS/GPRS vehicle terminal,
//! and captures.
//!
//! # Quirks
//!
//! - There is no checksum. A binary frame whose digits are none, or whose date cannot be, is rejected.
//! - Nothing says how long a binary frame is. One of 32 bytes ends `xx 00 00` with `xx` not 0; a
//!   device that has shown 45 bytes on this connection is taken at its word.
//! - The answer carries the maker's letters of the frame: the terminal ignores others.
//! - A V3 or NBR brings no place.

mod binary;
mod cells;
mod parts;
mod status;
mod text;

use crate::contract::{
    Acks, Command, CommandError, Context, Cut, Decode, Delivery, Fatal, Info, Model, Probe, Reject,
    Setting,
};
use crate::kit::framing;

const fn model(number: u16, vendor: &'static str, name: &'static str) -> Model {
    Model {
        number,
        vendor,
        name,
    }
}

/// The longest command.
const COMMAND_BYTES_MAX: usize = 256;

/// The session state: the last device that has shown the binary form of 45 bytes, and how the last
/// frame of text began: `*MM,ID,`.
#[derive(Default)]
pub(crate) struct Decoder {
    long: Option<binary::ShortIdent>,
    begins: Box<[u8]>,
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "h02",
        title: "H02 (SinoTrack and many others)",
        source: "SinoTrack: GPS Protocol 2020-7-6",
        port: 5013,
        frame_bytes_max: 1024,
        version: 3,
        acks: Acks::None,
        settings: &[Setting::TimeZone],
        commands: &["custom"],
        models: &[
            model(1, "SinoTrack", "ST-901"),
            model(2, "SinoTrack", "ST-901A+"),
            model(3, "SinoTrack", "ST-901L"),
            model(4, "SinoTrack", "ST-902"),
            model(5, "SinoTrack", "ST-903"),
            model(6, "SinoTrack", "ST-906"),
            model(7, "SinoTrack", "ST-907"),
            model(8, "SinoTrack", "ST-915"),
            model(9, "SinoTrack", "ST-940"),
            model(10, "Rewire Security", "DB1"),
            model(11, "Lekemi", "LK109"),
            model(12, "Lekemi", "LK209"),
            model(13, "Lekemi", "LK210"),
            model(14, "Winnes", "TK905"),
            model(15, "i-Trac", "MT-1"),
            model(16, "Reachfar", "RF-V8S"),
            model(17, "Reachfar", "RF-V16"),
            model(18, "Haozhou", "HZ-TX5"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        Ok(match input.first() {
            Some(b'*') => framing::until(input, scanned, eof, b"#"),
            Some(b'$' | b'X') => match binary::length(input, self.long) {
                need if need > input.len() && eof => Cut::Frame(input.len()),
                need => framing::exactly(input, need),
            },
            _ => {
                let start = input.iter().position(|b| matches!(b, b'*' | b'$' | b'X'));
                Cut::Skip(start.unwrap_or(input.len()))
            }
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        if frame.first() == Some(&b'*') {
            text::read(frame, cx)?;
            let begins = text::begins(frame);
            if !begins.is_empty() && *self.begins != *begins {
                self.begins = begins.into();
            }
            Ok(())
        } else {
            if binary::read(frame, cx)? == binary::Form::Long {
                self.long = binary::ident(frame);
            }
            Ok(())
        }
    }

    fn encode(
        &mut self,
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Delivery, CommandError> {
        if command.name != "custom" {
            return Err(CommandError::Unsupported);
        }
        let is_text = |byte: u8| (b' '..=b'~').contains(&byte) && !matches!(byte, b'*' | b'#');
        let text = command.properties["payload"]
            .as_str()
            .filter(|text| (1..=COMMAND_BYTES_MAX).contains(&text.len()))
            .filter(|text| text.bytes().all(is_text))
            .ok_or(CommandError::BadProperties)?;
        if self.begins.is_empty() {
            // in the binary form nobody says which maker's it is
            return Err(CommandError::NotLoggedIn);
        }
        out.extend_from_slice(&self.begins);
        out.extend_from_slice(text.as_bytes());
        out.push(b'#');
        Ok(Delivery::Answered(None))
    }

    fn probe(head: &[u8]) -> Probe {
        match head {
            [b'*', maker @ ..] => {
                let letters = maker.iter().take(2).all(u8::is_ascii_alphabetic);
                match (letters, maker.get(2)) {
                    // EasyTrack
                    (true, Some(b',')) if maker.starts_with(b"ET") => Probe::No,
                    (true, Some(b',')) => Probe::Yes,
                    (true, None) if maker.len() < 3 => Probe::More,
                    _ => Probe::No,
                }
            }
            [b'$', ..] => binary::probe(head),
            [] => Probe::More,
            _ => Probe::No,
        }
    }
}

#[cfg(test)]
mod tests;
