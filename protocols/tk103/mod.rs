//! TK103: the terminals with frames in round brackets (KX402 and its clones), over TCP.
//!
//! # Wire format
//!
//! `(` ident, four letters and digits of the command, body `)`. The ident is 11 to 16 digits, rarely with letters. A
//! pair of `$` may hold anything, a closing bracket too.
//!
//! | command | body | answer |
//! |---|---|---|
//! | BP00 | handshake: the ident in 15 digits, `HSO` | `(identAP01HSO)` |
//! | BP05 | login: the ident in 15 digits, a fix or cells | `(identAP05)` |
//! | BR00, BR01, BP02, BP04, ... | a fix | |
//! | BO01 | alarm: one digit, a fix | |
//! | BQ81 | warning: one digit, a fix | |
//! | BZ00 | cells | |
//! | BV00 | the VIN | |
//! | BS50, BS51 | battery management | |
//! | ZCxx, DWxx, BPxx | the form with commas, see `comma` | |
//!
//! A fix: `YYMMDD`, A or V, `DDMM.MMMM` N or S, `DDDMM.MMMM` E or W, speed in km/h (5 characters),
//! `HHMMSS`, course up to 8 characters before `L`, then these 8: supply cut, ignition, input 2, call for
//! help, output 2, fuel (three hexadecimal digits); behind `L` the distance in meters in hexadecimal
//! digits and whatever else the device has, `+dd.d` the temperature.
//!
//! Cells: `,MCC,MNC` in decimal and `,LAC,cell` or `,LAC,cell,level` in hexadecimal digits, or
//! `{MCC,MNC,LAC,cell}` in decimal digits, one a line; then perhaps the 8 characters as above.
//!
//! # Session
//!
//! Every frame names its device. Only handshake and login are answered.
//!
//! # Source
//!
//! "KX402 GPRS Communication Protocol" 1.5; Daly's battery management frames for BS51; captures.
//!
//! # Quirks
//!
//! - No checksum.
//! - With commas the date is `DDMMYY`, without them `YYMMDD`.
//! - An ident of fewer than twelve digits may end with a zero byte in a place of twelve bytes, behind which stands
//!   what was left there. It is answered as it came.

mod battery;
mod comma;
mod compact;
mod parts;

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, Probe, Reject, Setting,
};
use parts::Frame;

const COMMAND_BYTES: usize = 4;
/// An ident of digits has no fewer.
const IDENT_DIGITS_MIN: usize = 11;
const IDENT_BYTES_MAX: usize = 16;
/// An ident with letters in it, where no comma ends it.
const LETTERED_IDENT_BYTES: usize = 12;
/// The place of an ident that ends with a zero byte.
const PADDED_IDENT_BYTES: usize = 12;

const fn model(number: u16, vendor: &'static str, name: &'static str) -> Model {
    Model {
        number,
        vendor,
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

/// Digits, and a zero byte behind them.
fn is_padded(place: &str) -> bool {
    let (digits, _) = place.split_once('\0').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// How long the ident is: its digits; where it has letters, up to a comma or as long as most are.
fn ident_bytes(text: &str) -> usize {
    if text.get(..PADDED_IDENT_BYTES).is_some_and(is_padded) {
        return PADDED_IDENT_BYTES;
    }
    let alphanumeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits >= IDENT_DIGITS_MIN {
        return digits;
    }
    let comma = text.find(',').unwrap_or(text.len());
    let lettered = |bytes: &usize| text.get(..*bytes).is_some_and(alphanumeric);
    let command = |bytes: usize| text.get(bytes + 1..bytes + 1 + COMMAND_BYTES);
    if (IDENT_DIGITS_MIN..=IDENT_BYTES_MAX).contains(&comma)
        && lettered(&comma)
        && command(comma).is_some_and(alphanumeric)
    {
        return comma;
    }
    Some(LETTERED_IDENT_BYTES)
        .filter(|bytes| text.len() >= bytes + COMMAND_BYTES && lettered(bytes))
        .unwrap_or(digits)
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "tk103",
        title: "TK103 (KX402 and clones)",
        source: "KX402 GPRS Communication Protocol 1.5",
        port: 5002,
        frame_bytes_max: 2048,
        version: 3,
        acks: Acks::None,
        settings: &[Setting::TimeZone],
        models: &[
            model(1, "Xexun", "TK103"),
            model(2, "Xexun", "TK103B"),
            model(3, "Xexun", "TK102B"),
            model(4, "Keson", "KS168"),
            model(5, "Eelink", "TK103"),
            model(6, "KX", "KX402"),
            model(7, "JIMI", "BN-TK103"),
            model(8, "Carscop", "CCTR-620"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, eof: bool) -> Result<Cut, Fatal> {
        let start = input.iter().position(|byte| *byte == b'(');
        match start {
            None => return Ok(Cut::Skip(input.len())),
            Some(0) => {}
            Some(start) => return Ok(Cut::Skip(start)),
        }
        let mut quoted = false;
        for (at, byte) in input.iter().enumerate() {
            match byte {
                b'$' => quoted = !quoted,
                b')' if !quoted => return Ok(Cut::Frame(at + 1)),
                _ => {}
            }
        }
        Ok(if eof {
            Cut::Skip(input.len())
        } else {
            Cut::Need(input.len() + 1)
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let text = std::str::from_utf8(frame)
            .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
        let short = Reject::new("frame", "no ident and command", 1);
        let text = text.strip_prefix('(').unwrap_or(text);
        let text = text.strip_suffix(')').unwrap_or(text);
        let (ident, rest) = text.split_at_checked(ident_bytes(text)).ok_or(short)?;
        let (rest, comma) = match rest.strip_prefix(',') {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (command, body) = rest.split_at_checked(COMMAND_BYTES).ok_or(short)?;
        if ident.is_empty() || !command.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(short);
        }
        let name = ident.split('\0').next().unwrap_or(ident);
        cx.identify(Login::of(name))?;
        let frame = Frame {
            ident,
            command,
            body,
        };
        if comma {
            comma::read(frame, cx)
        } else {
            compact::read(frame, cx)
        }
    }

    fn probe(head: &[u8]) -> Probe {
        let [b'(', rest @ ..] = head else {
            return if head.is_empty() {
                Probe::More
            } else {
                Probe::No
            };
        };
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match rest.get(digits..) {
            Some([]) | None if digits <= 16 => Probe::More,
            Some([0, ..]) if (1..PADDED_IDENT_BYTES).contains(&digits) => Probe::Yes,
            Some([b',']) if (11..=16).contains(&digits) => Probe::More,
            // behind the comma the locks of JT/T 808 have a number
            Some([b'B', ..] | [b',', b'A'..=b'Z', ..]) if (11..=16).contains(&digits) => Probe::Yes,
            _ => Probe::No,
        }
    }
}
