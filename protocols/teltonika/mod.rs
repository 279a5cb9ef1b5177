//! Teltonika: FMB, FMC, FMM, TFT and relatives, over TCP.
//!
//! # Wire format
//!
//! Login: length (2 bytes, big endian) and the IMEI in ASCII. Data:
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 4 | preamble | 00 00 00 00 |
//! | 4 | length | from codec to the second count |
//! | 1 | codec | 08, 8E, 10: `records`; 07: `legacy`; 0C to 0F: `commands` |
//! | 1 | count | records, or messages |
//! | ... | records | |
//! | 1 | count | again |
//! | 4 | CRC | CRC-16/IBM from codec to the second count |
//!
//! A single byte FF between frames keeps the link alive.
//!
//! # Session
//!
//! login, answered 01 (00: refused) -> data, answered with the number of records taken as 4 bytes
//! (0: none, the tracker sends the packet again).
//!
//! A frame whose checksum or counts are wrong is not answered: the tracker sends it again. The
//! command channel is not answered either, but a camera's picture is fetched over it.
//!
//! # Quirks
//!
//! - The same element id means different things in the families FMB, FMx64x/65x, TAT/TMT/GH and FTC/FTM;
//!   where the number of bytes does not tell them apart the device's setting `model` must.
//! - A sensor's error comes as a temperature or humidity that cannot be: it is kept under its number.
//! - With 0 satellites the place is the last known one: `position.valid` is false. 0,0 is no place.
//! - Element 24 of the FMB family is the speed again, and newer than the record's own.
//! - GSM signal comes in steps of 0 to 5 and is given as percentage.
//!
//! # Source
//!
//! Teltonika Telematics wiki, "Teltonika Data Sending Protocols", "Full AVL ID List" and the lists of the
//! models.

mod beacons;
mod commands;
mod elements;
mod legacy;
mod records;

use crate::contract::{
    Acks, Command, CommandError, Context, Cut, Decode, Delivery, Fatal, Info, Login, Model, Probe,
    Reject, Reply, Setting,
};
use crate::kit::parse::whole;
use crate::kit::{checksum, framing};

const KEEP_ALIVE: u8 = 0xff;
const HEADER_BYTES: usize = 8;
const CRC_BYTES: usize = 4;
const IMEI_BYTES_MAX: usize = 32;
const CODEC_7: u8 = 0x07;
/// The longest text of a command.
const COMMAND_BYTES_MAX: usize = 1024;

// Numbers are append-only.
const MODELS: &[Model] = &[
    model(1, "FMB001"),
    model(2, "FMB003"),
    model(3, "FMB010"),
    model(4, "FMB020"),
    model(5, "FMB110"),
    model(6, "FMB120"),
    model(7, "FMB122"),
    model(8, "FMB125"),
    model(9, "FMB130"),
    model(10, "FMB140"),
    model(11, "FMB150"),
    model(12, "FMB202"),
    model(13, "FMB204"),
    model(14, "FMB206"),
    model(15, "FMB208"),
    model(16, "FMB209"),
    model(17, "FMB225"),
    model(18, "FMB640"),
    model(19, "FMB641"),
    model(20, "FMB900"),
    model(21, "FMB910"),
    model(22, "FMB920"),
    model(23, "FMB962"),
    model(24, "FMB964"),
    model(25, "FMB965"),
    model(26, "FMC001"),
    model(27, "FMC003"),
    model(28, "FMC125"),
    model(29, "FMC130"),
    model(30, "FMC150"),
    model(31, "FMC225"),
    model(32, "FMC230"),
    model(33, "FMC234"),
    model(34, "FMC250"),
    model(35, "FMC640"),
    model(36, "FMC650"),
    model(37, "FMC800"),
    model(38, "FMC880"),
    model(39, "FMC920"),
    model(40, "FMM001"),
    model(41, "FMM003"),
    model(42, "FMM125"),
    model(43, "FMM130"),
    model(44, "FMM150"),
    model(45, "FMM230"),
    model(46, "FMM250"),
    model(47, "FMM640"),
    model(48, "FMM650"),
    model(49, "FMM800"),
    model(50, "FMM880"),
    model(51, "FMM920"),
    model(52, "FMP100"),
    model(53, "FMT100"),
    model(54, "FMU125"),
    model(55, "FMU126"),
    model(56, "FMU130"),
    model(57, "FM3001"),
    model(58, "MTB100"),
    model(59, "MSP500"),
    model(60, "TAT100"),
    model(61, "TAT140"),
    model(62, "TAT141"),
    model(63, "TAT240"),
    model(64, "TFT100"),
    model(65, "TMT250"),
    model(66, "TST100"),
    model(67, "GH5200"),
    model(68, "GH3000"),
    model(69, "FTC134"),
    model(70, "FTC137"),
    model(71, "FTC164"),
    model(72, "FTC305"),
    model(73, "FTC308"),
    model(74, "FTC880"),
    model(75, "FTC881"),
    model(76, "FTC887"),
    model(77, "FTC920"),
    model(78, "FTC921"),
    model(79, "FTC924"),
    model(80, "FTC927"),
    model(81, "FTC961"),
    model(82, "FTC965"),
    model(83, "FTM134"),
    model(84, "FTM137"),
    model(85, "FTM164"),
    model(86, "FTM305"),
    model(87, "FTM308"),
    model(88, "FTM880"),
    model(89, "FTM887"),
    model(90, "FTM927"),
    model(91, "FMB002"),
    model(92, "FMB100"),
    model(93, "FMB207"),
    model(94, "FMB230"),
    model(95, "FMB250"),
    model(96, "FMB930"),
    model(97, "FMC120"),
    model(98, "FMC122"),
    model(99, "FMM00A"),
    model(100, "FMM13A"),
    model(101, "FMM80A"),
    model(102, "FMP1M1"),
    model(103, "FMU120"),
    model(104, "FMU122"),
    model(105, "FM3010"),
];

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Teltonika",
        name,
    }
}

/// The session state: a camera's picture on its way.
#[derive(Default)]
pub(crate) struct Decoder {
    picture: Option<Box<commands::Picture>>,
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "teltonika",
        title: "Teltonika",
        source: "Teltonika Telematics wiki: Teltonika Data Sending Protocols",
        port: 5027,
        frame_bytes_max: 16 * 1024,
        session_bytes_max: commands::PICTURE_BYTES_MAX + 256,
        acks: Acks::Frame,
        version: 4,
        settings: &[Setting::Model],
        models: MODELS,
        commands: &["custom"],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, _: bool) -> Result<Cut, Fatal> {
        if input.first() == Some(&KEEP_ALIVE) {
            return Ok(Cut::Skip(1));
        }
        let Some(&[high, low]) = input.first_chunk::<2>() else {
            return Ok(Cut::Need(2));
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > 0 {
            if length > IMEI_BYTES_MAX {
                return Err(Fatal::new("login", "longer than an ident may be", 0));
            }
            return Ok(framing::exactly(input, 2 + length));
        }
        let Some(header) = input.first_chunk::<HEADER_BYTES>() else {
            return Ok(Cut::Need(HEADER_BYTES));
        };
        let [_, _, preamble @ .., a, b, c, d] = *header;
        if preamble != [0, 0] {
            return Err(Fatal::new("preamble", "not four zero bytes", 2));
        }
        let length = u32::from_be_bytes([a, b, c, d]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(framing::exactly(
            input,
            length.saturating_add(HEADER_BYTES + CRC_BYTES),
        ))
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        match frame {
            [0, 0, ..] => data(frame, &mut self.picture, cx),
            [_, _, imei @ ..] => login(imei, cx),
            _ => Err(Reject::new("login", "cut short", 0)),
        }
    }

    /// `custom` with the property `payload`: any command text of the device, in codec 12.
    fn encode(
        &mut self,
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Delivery, CommandError> {
        if command.name != "custom" {
            return Err(CommandError::Unsupported);
        }
        let text = command
            .properties
            .get("payload")
            .and_then(serde_json::Value::as_str)
            .filter(|text| (1..=COMMAND_BYTES_MAX).contains(&text.len()))
            .ok_or(CommandError::BadProperties)?;
        commands::write(text, out).ok_or(CommandError::BadProperties)?;
        Ok(Delivery::Answered(None))
    }

    fn probe(head: &[u8]) -> Probe {
        // keep-alive bytes may come first
        let alive = head.iter().take_while(|byte| **byte == KEEP_ALIVE).count();
        match head.get(alive..).unwrap_or_default() {
            [0, 15, rest @ ..] if rest.iter().take(15).all(u8::is_ascii_digit) => {
                if rest.is_empty() {
                    Probe::More
                } else {
                    Probe::Yes
                }
            }
            [] | [0] => Probe::More,
            _ => Probe::No,
        }
    }
}

fn login(imei: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let imei =
        std::str::from_utf8(imei).map_err(|_| Reject::new("login", "the ident is no text", 2))?;
    cx.identify(Login::of(imei))?;
    cx.reply(Reply::admitted(&[1][..]).or(&[0][..]));
    Ok(())
}

fn data(
    frame: &[u8],
    picture: &mut Option<Box<commands::Picture>>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let short = Reject::new("data", "cut short", frame.len());
    let body = frame
        .get(HEADER_BYTES..frame.len().saturating_sub(CRC_BYTES))
        .ok_or(short)?;
    let crc = frame.last_chunk::<CRC_BYTES>().ok_or(short)?;
    if u32::from(checksum::crc16_ibm(body)) != u32::from_be_bytes(*crc) {
        return Err(Reject::new(
            "crc",
            "the checksum does not fit",
            frame.len() - CRC_BYTES,
        ));
    }
    if cx.ident().is_none() {
        return Err(Reject::new("login", "data before a login", 0));
    }
    let [codec, count, inner @ .., again] = body else {
        return Err(short);
    };
    if count != again {
        return Err(Reject::new("data", "the two counts differ", HEADER_BYTES));
    }
    match *codec {
        records::CODEC_8 | records::CODEC_8E | records::CODEC_16 => {
            records::read(*codec, *count, inner, cx)?;
        }
        CODEC_7 => whole("records", inner, |mut rest| {
            for _ in 0..*count {
                rest = legacy::record(rest, cx)?.0;
            }
            Ok((rest, ()))
        })?,
        commands::CODEC_12 | commands::CODEC_13 | commands::CODEC_14 | commands::CODEC_15 => {
            return commands::read(*codec, *count, inner, picture, cx);
        }
        _ => return Err(Reject::new("codec", "not known", HEADER_BYTES)),
    }
    let taken = &TAKEN[usize::from(*count)];
    cx.reply(Reply::stored(&taken[..]).or(&TAKEN[0][..]));
    Ok(())
}

/// The ack of so many records, big endian: it leaves with every frame, and needs no memory so.
static TAKEN: [[u8; 4]; 256] = {
    let mut taken = [[0; 4]; 256];
    let mut count = 0u8;
    loop {
        taken[count as usize][3] = count;
        if count == u8::MAX {
            break taken;
        }
        count += 1;
    }
};
