//! Upro: the protocol of `HQ20`, `VK20`, `MG20` and `AI20` trackers (Upro, Vjoycar, Meitrack clones), over TCP.
//!
//! # Wire format
//!
//! `*`, two letters, `20`, 1 if an answer is wanted else 0, ident, `,`, kind (two letters, sometimes a digit),
//! parts, `#`. A part is `&`, a letter and its value:
//!
//! | part | value |
//! |---|---|
//! | A | HHMMSS, latitude DDMMmmmm, longitude DDDMMmmmm, flags (1: no fix, 2: north, 4: east), 2 knots (2), 10 degrees (2), DDMMYY |
//! | B | five digits of state (second: 1 ignition), five of alarms |
//! | C | odometer: digits of base 16, from `0` to `?`, in 1/1.8 knots seconds |
//! | F | 0.1 knots |
//! | G | altitude 0.1 m |
//! | I, Y | cells: count, country (3), network (2 or 3), each area (4), cell (4 or 8), signal (2), in hex |
//! | J | sensor, sign (1: below 0), 0.1 degrees (4) |
//! | K | further state |
//! | M | battery 0.1 % (3); or sensor, state, humidity (2) |
//! | N | signal; O satellites; T battery in percent (2 digits) |
//! | P | country, network (4 digits each), area, cell (4 hex digits each) |
//! | R | of `HQ20`: signal, satellites (2 each); else bytes of the vehicle, as Q, S |
//! | V, Y | supply 0.1 V (4), mV (5) |
//! | W | alarms (2): 4 opened |
//! | X | cells: country, network, and area, cell, signal of each, `;` between; or (letter value) ... : k the SIM |
//! | d | analog input 0.01 V |
//! | b | serial number behind three characters |
//!
//! Kind GY passes on what a serial port gave: number (2), length (2), bytes; number 4009 is a card.
//!
//! # Session
//!
//! Every frame names its device. The answer is `*`, the head, `Y`, the kind, `#`.
//!
//! # Source
//!
//! "GPRS communication protocol of vehicle terminals" (HQ), by the public descriptions of other decoders, and captures.
//! The document was not at hand as a whole: what no capture in `fixtures/` shows wants a frame to prove it.
//!
//! # Quirks
//!
//! - There is no checksum; values may hold any byte but `&` and `#`.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Instance, Key, Login, Model, Probe, RecordBuilder,
    Reject, Reply, Setting, Time, fields,
};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::number;
use crate::kit::time::{Civil, digits, or_impossible};
use crate::kit::{framing, hex, units};

const PASSED_ON: &[u8] = b"GY";
const CARD: u16 = 0x4009;
const CELLS_MAX: Instance = 16;
const SHORT: Reject = Reject::new("frame", "fewer fields than it has", 0);

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

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "upro",
        title: "Upro, Vjoycar",
        source: "GPRS communication protocol of vehicle terminals (HQ)",
        port: 5095,
        frame_bytes_max: 2048,
        acks: Acks::Frame,
        shared: true,
        settings: &[Setting::TimeZone],
        models: &[
            model(1, "Upro", "VT10"),
            model(2, "Upro", "UM02"),
            model(3, "Vjoycar", "T0024"),
            model(4, "Vjoycar", "T0026"),
            model(5, "Vjoycar", "T633"),
            model(6, "VK", "VK-T1"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        if input.first() != Some(&b'*') {
            let next = input.iter().position(|byte| *byte == b'*');
            return Ok(Cut::Skip(next.unwrap_or(input.len())));
        }
        if let Some(length) = passed_on(input)
            && length < Self::INFO.frame_bytes_max
        {
            return Ok(match input.get(length - 1) {
                None if eof => Cut::Frame(input.len()),
                None => Cut::Need(length),
                Some(b'#') => Cut::Frame(length),
                Some(_) => framing::until(input, 0, eof, b"#"),
            });
        }
        Ok(framing::until(input, scanned, eof, b"#"))
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        const HEAD_BYTES: usize = 4;
        let content = frame.strip_suffix(b"#").unwrap_or(frame);
        let content = content.strip_prefix(b"*").ok_or(SHORT)?;
        let (head, rest) = content.split_at_checked(HEAD_BYTES).ok_or(SHORT)?;
        let (&wanted, rest) = rest.split_first().ok_or(SHORT)?;
        let comma = framing::find(rest, b",").ok_or(SHORT)?;
        let (ident, rest) = rest.split_at_checked(comma).ok_or(SHORT)?;
        let kind = rest.get(1..3).ok_or(SHORT)?;
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let (Some(ident), Some(word)) = (text(ident), text(kind)) else {
            return Err(Reject::new("head", "not printable", 1));
        };
        if !head.ends_with(b"20") || !matches!(wanted, b'0' | b'1') {
            return Err(Reject::new("head", "no known one", 1));
        }
        cx.identify(Login::of(ident))?;
        let body = rest.get(3..).unwrap_or_default();
        if kind == PASSED_ON {
            pass_on(word, body, cx)?;
        } else {
            let start = framing::find(body, b"&").unwrap_or(body.len());
            let parts = body.get(start..).unwrap_or_default();
            report(head, word, parts, cx)?;
        }
        if wanted == b'1' {
            let answer = [b"*", head, b"Y", kind, b"#"].concat();
            cx.reply(Reply::stored(answer));
        }
        Ok(())
    }

    fn probe(head: &[u8]) -> Probe {
        let fits = |at: usize, fit: fn(&u8) -> bool| head.get(at).is_none_or(fit);
        let begins = fits(0, |b| *b == b'*')
            && fits(1, u8::is_ascii_uppercase)
            && fits(2, u8::is_ascii_uppercase)
            && fits(3, |b| *b == b'2')
            && fits(4, |b| *b == b'0')
            && fits(5, |b| matches!(b, b'0' | b'1'))
            && fits(6, u8::is_ascii_digit);
        match (begins, head.len()) {
            (false, _) => Probe::No,
            (true, 7..) => Probe::Yes,
            (true, _) => Probe::More,
        }
    }
}

/// How long a frame of kind GY is, by its own length.
fn passed_on(input: &[u8]) -> Option<usize> {
    let comma = framing::find(input.get(..40).unwrap_or(input), b",")?;
    let body = input.get(comma + 1..)?.strip_prefix(PASSED_ON)?;
    let length = body.get(2..4)?.first_chunk::<2>()?;
    let head = comma + 1 + PASSED_ON.len() + 4;
    Some(head + usize::from(u16::from_be_bytes(*length)) + 1)
}

fn pass_on(kind: &str, body: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let (what, rest) = body.split_first_chunk::<2>().ok_or(SHORT)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let data = rest.get(..length).unwrap_or(rest);
    let now_ms = cx.now_ms;
    let mut message = cx.message(Time::Received(now_ms))?;
    message.push(fields::MESSAGE_TYPE, kind);
    match std::str::from_utf8(data) {
        Ok(card) if u16::from_be_bytes(*what) == CARD => {
            message.push(fields::DRIVER_ID, card.trim());
        }
        _ => message.push((fields::RS232_DATA_N, 1), data),
    }
    Ok(())
}

fn report(head: &[u8], kind: &str, parts: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let place = parts
        .split(|byte| *byte == b'&')
        .find_map(|part| std::str::from_utf8(part.strip_prefix(b"A")?).ok());
    let now_ms = cx.now_ms;
    let time = match place {
        Some(place) => or_impossible(
            moment(place).and_then(|civil| civil.ms(cx.settings())),
            now_ms,
        ),
        None => Time::Received(now_ms),
    };
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, kind);
    let mut reader = Reader {
        message: &mut message,
        headquarters: head == b"HQ20",
        there: false,
    };
    for part in parts.split(|byte| *byte == b'&').skip(1) {
        let Some((&letter, value)) = part.split_first() else {
            continue;
        };
        let text = std::str::from_utf8(value)
            .ok()
            .filter(|text| !text.contains(char::is_control));
        let read = match (letter, text) {
            (b'Q' | b'R' | b'S', _) if !reader.headquarters => None,
            (_, Some(text)) => reader.part(letter, text),
            (_, None) => None,
        };
        if read.is_none() {
            let mut name = [0; 4];
            let name = char::from(letter).encode_utf8(&mut name);
            match text {
                Some(text) if !text.is_empty() => reader.message.name(name, text),
                _ => reader.message.name(name, &*hex::encode(value)),
            }
        }
    }
    Ok(())
}

fn moment(place: &str) -> Option<Civil> {
    let clock = digits(place.get(..6)?, "HMS")?;
    let date = digits(place.get(28..34)?, "dmy")?;
    Some(date.at_clock(clock))
}

struct Reader<'m, 'r> {
    message: &'m mut RecordBuilder<'r>,
    headquarters: bool,
    there: bool,
}

impl Reader<'_, '_> {
    /// `None`: not known, or not in its form.
    fn part(&mut self, letter: u8, value: &str) -> Option<()> {
        let first = |count: usize| number::<i64>(value.get(..count)?);
        match letter {
            b'A' => self.place(value)?,
            b'B' => self.state(value)?,
            b'C' => {
                let raw = base16(value)?;
                let km = raw as f64 * 2.0 * 1852.0 / 3600.0 / 1000.0;
                self.message
                    .push(fields::VEHICLE_MILEAGE, units::round(km, 3));
            }
            b'F' => {
                let knots = units::scaled(first(4)?, 1);
                if self.there {
                    self.message
                        .push(fields::POSITION_SPEED, units::knots(knots));
                }
            }
            b'G' => {
                let meters = units::scaled(first(6)?, 1);
                if self.there {
                    self.message.push(fields::POSITION_ALTITUDE, meters);
                }
            }
            b'I' => self.cells(value, 4)?,
            b'J' => self.temperature(value)?,
            b'K' => self.message.name("status.extended", value),
            b'M' if value.len() == 3 => {
                let percent = units::scaled(first(3)?, 1);
                self.message.push(fields::BATTERY_LEVEL, percent);
            }
            b'M' if value.len() == 4 => {
                let sensor = sensor(value)?;
                let percent = number::<i64>(value.get(2..)?)?;
                self.message
                    .push((fields::SENSOR_HUMIDITY_N, sensor), percent);
            }
            b'N' => self.message.push(fields::GSM_SIGNAL_ENUM, first(2)?),
            b'O' => self.message.push(fields::POSITION_SATELLITES, first(2)?),
            b'P' => self.serving(value)?,
            b'R' if self.headquarters => {
                let satellites = number::<i64>(value.get(2..4)?)?;
                self.message.push(fields::GSM_SIGNAL_ENUM, first(2)?);
                self.message.push(fields::POSITION_SATELLITES, satellites);
            }
            b'T' if value.len() == 2 => self.message.push(fields::BATTERY_LEVEL, first(2)?),
            b'V' => {
                let volts = units::scaled(first(4)?, 1);
                self.message
                    .push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
            }
            b'W' => {
                let alarms = first(2)?;
                self.message.push(fields::ALARM_CODE, alarms);
                if alarms & 4 != 0 {
                    self.message.push(fields::TAMPERING_EVENT_TRIGGER, true);
                }
                self.message.push_some(
                    Key::Name("W"),
                    value.get(2..).filter(|rest| !rest.is_empty()),
                );
            }
            b'X' if value.starts_with('(') => self.parameters(value),
            b'X' => self.listed_cells(value)?,
            b'Y' if value.len() == 5 => {
                let volts = units::scaled(first(5)?, 3);
                self.message
                    .push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
            }
            b'Y' => self.cells(value, 8)?,
            b'b' if value.len() > 3 => {
                self.message
                    .push(fields::DEVICE_SERIAL_NUMBER, value.get(3..)?);
            }
            b'd' => {
                let volts = units::scaled(number(value)?, 2);
                self.message.push((fields::AIN_N, 1), volts);
            }
            b'l' => {
                let locks = value.bytes().next()?.wrapping_sub(b'0');
                self.message.name("lock.state", locks & 7);
            }
            _ => return None,
        }
        Some(())
    }

    fn place(&mut self, value: &str) -> Option<()> {
        if value.len() != 34 || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let of = |from: usize, to: usize| number::<i64>(value.get(from..to)?);
        let degrees =
            |whole: i64, minutes: i64| units::round(whole as f64 + minutes as f64 / 600_000.0, 7);
        let latitude = degrees(of(6, 8)?, of(8, 14)?);
        let longitude = degrees(of(14, 17)?, of(17, 23)?);
        let flags = of(23, 24)?;
        let latitude = if flags & 2 == 0 { -latitude } else { latitude };
        let longitude = if flags & 4 == 0 {
            -longitude
        } else {
            longitude
        };
        self.there = (latitude != 0.0 || longitude != 0.0)
            && latitude.abs() <= 90.0
            && longitude.abs() <= 180.0;
        self.message
            .push(fields::POSITION_VALID, self.there && flags & 1 == 0);
        if self.there {
            self.message.push(fields::POSITION_LATITUDE, latitude);
            self.message.push(fields::POSITION_LONGITUDE, longitude);
            let knots = of(24, 26)? as f64 * 2.0;
            self.message
                .push(fields::POSITION_SPEED, units::knots(knots));
            self.message
                .push(fields::POSITION_DIRECTION, of(26, 28)? * 10 % 360);
        }
        Some(())
    }

    /// Ten digits of base 16, from `0` to `?`.
    fn state(&mut self, value: &str) -> Option<()> {
        let digits: [u8; 10] = *value.as_bytes().first_chunk()?;
        let [_, state, _, _, _, first, second, _, fourth, _] =
            digits.map(|digit| digit.wrapping_sub(b'0'));
        self.message.name("status", value);
        self.message
            .push(fields::ENGINE_IGNITION_STATUS, state & 1 == 1);
        for (set, event) in [
            (first & 1, fields::ALARM_EVENT_TRIGGER),
            (first & 4, fields::VIBRATION_EVENT_TRIGGER),
            (first & 8, fields::MOVEMENT_EVENT_TRIGGER),
            (second & 4, fields::OVERSPEEDING_EVENT_TRIGGER),
            (fourth & 2, fields::TAMPERING_EVENT_TRIGGER),
            (fourth & 4, fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER),
        ] {
            if set != 0 {
                self.message.push(event, true);
            }
        }
        Some(())
    }

    fn temperature(&mut self, value: &str) -> Option<()> {
        if value.len() != 6 {
            return None;
        }
        let sensor = sensor(value)?;
        let below = value.as_bytes().get(1)? & 1 == 1;
        let celsius = units::scaled(number(value.get(2..)?)?, 1);
        let celsius = if below { -celsius } else { celsius };
        self.message
            .push((fields::SENSOR_TEMPERATURE_N, sensor), celsius);
        Some(())
    }

    /// Of fixed widths; `width` that of a cell.
    fn cells(&mut self, value: &str, width: usize) -> Option<()> {
        const COUNTRY_END: usize = 4;
        let each = 4 + width + 2;
        let count = value.get(..1).and_then(number::<usize>)?;
        // the network has two digits, or three
        let head = value.len().checked_sub(count * each)?;
        if head != COUNTRY_END + 2 && head != COUNTRY_END + 3 {
            return None;
        }
        let mcc = number(value.get(1..COUNTRY_END)?);
        let mnc = number(value.get(COUNTRY_END..head)?);
        for index in 0..count {
            let cell = value.get(head + index * each..)?;
            let hexadecimal = |from: usize, to: usize| hex::number(cell.get(from..to)?);
            let level = if width == 4 {
                number(cell.get(8..10)?)
            } else {
                hexadecimal(12, 14)
            };
            let cell = Cell {
                mcc,
                mnc,
                lac: hexadecimal(0, 4),
                id: hexadecimal(4, 4 + width),
                dbm: level.map(|level: i64| -level.abs()),
            };
            cells::push(self.message, Instance::try_from(index).ok()?, cell);
        }
        Some(())
    }

    fn serving(&mut self, value: &str) -> Option<()> {
        let hexadecimal = |from: usize, to: usize| hex::number(value.get(from..to)?);
        let cell = Cell {
            mcc: Some(number(value.get(..4)?)?),
            mnc: Some(number(value.get(4..8)?)?),
            lac: Some(hexadecimal(8, 12)?),
            id: Some(hexadecimal(12, 16)?),
            dbm: None,
        };
        cells::push(self.message, 0, cell);
        Some(())
    }

    fn listed_cells(&mut self, value: &str) -> Option<()> {
        let (mut mcc, mut mnc) = (None, None);
        for (index, cell) in (0..CELLS_MAX).zip(value.split(';')) {
            let mut numbers = cell.split(',').map(number::<i64>);
            if index == 0 {
                (mcc, mnc) = (numbers.next()?, numbers.next()?);
            }
            let cell = Cell {
                mcc,
                mnc,
                lac: numbers.next()?,
                id: numbers.next()?,
                dbm: numbers.next()?.map(|level| -level.abs()),
            };
            cells::push(self.message, index, cell);
        }
        Some(())
    }

    /// `(letter value)` one after another.
    fn parameters(&mut self, value: &str) {
        for parameter in value.split(['(', ')']).filter(|part| !part.is_empty()) {
            let Some((name, value)) = parameter.split_at_checked(1) else {
                continue;
            };
            match name {
                "k" => self.message.push(fields::GSM_SIM_ICCID, value),
                "J" => self.message.name("time.zone", value),
                _ => self.message.name(name, value),
            }
        }
    }
}

/// The sensor's number, from 0 on the wire.
fn sensor(value: &str) -> Option<Instance> {
    let digit = value.bytes().next().filter(u8::is_ascii_digit)?;
    Some(Instance::from(digit - b'0') + 1)
}

fn base16(value: &str) -> Option<i64> {
    value.bytes().try_fold(0i64, |sum, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 16)?;
        sum.checked_mul(16)?.checked_add(digit.into())
    })
}
