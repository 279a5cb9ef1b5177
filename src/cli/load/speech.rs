//! What simulated trackers say, and how they understand the answers: one encoder for each protocol.

use jiff::Timestamp;
use protocols::kit::checksum;

/// A protocol that can be spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Speech {
    /// Codec 8; acks count records.
    Teltonika,
    /// Kind 12; acks carry the frame's serial number.
    Gt06,
    /// V1 positions; the protocol has no acks.
    H02,
    /// Wialon IPS 1.1; short data, or black boxes of several records.
    Wialon,
    /// JT/T 808-2013 positions; each frame names its tracker.
    Jt808,
}

/// One reading of a simulated tracker: its time tells it from the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Unix seconds.
    pub(super) at_s: i64,
    /// Millionths of a degree that this run is moved by, so that two runs never say the same.
    pub(super) moved: i32,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The login was taken.
    Welcome,
    /// The oldest frame that waits for an ack was taken.
    Taken,
    /// The login or the oldest frame was refused.
    Refused,
    /// Nothing that a tracker waits for.
    Other,
}

/// What the bytes that came begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// An answer of so many bytes.
    Answer(usize, Answer),
    /// Not all of it has come.
    More,
    /// Nothing that can be understood.
    Nonsense,
}

const LATITUDE: i32 = 54_714_636;
const LONGITUDE: i32 = 25_321_632;

impl Speech {
    /// Its name in the configuration.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Teltonika => "teltonika",
            Self::Gt06 => "gt06",
            Self::H02 => "h02",
            Self::Wialon => "wialon",
            Self::Jt808 => "jt808",
        }
    }

    /// Does the tracker hear of what was taken?
    pub(super) const fn has_acks(self) -> bool {
        !matches!(self, Self::H02)
    }

    /// The most readings of one frame.
    pub(super) const fn records_max(self) -> u8 {
        match self {
            Self::Teltonika => 100,
            Self::Wialon => 50,
            Self::Gt06 | Self::H02 | Self::Jt808 => 1,
        }
    }

    /// The ident of the first tracker, unless another is asked for.
    pub(super) const fn first_ident(self) -> u64 {
        match self {
            Self::Teltonika | Self::Gt06 | Self::Wialon => 350_000_000_000_000,
            Self::H02 => 3_500_000_000,
            Self::Jt808 => 13_500_000_000,
        }
    }

    /// What the tracker names itself with, if it does so before its first frame. It is answered.
    pub(super) fn login(self, ident: u64) -> Option<Vec<u8>> {
        match self {
            Self::Teltonika => {
                let ident = format!("{ident:015}");
                let mut bytes = vec![0, u8::try_from(ident.len()).unwrap_or(15)];
                bytes.extend_from_slice(ident.as_bytes());
                Some(bytes)
            }
            Self::Gt06 => Some(gt06(1, &bcd::<8>(ident), 1)),
            Self::Wialon => Some(format!("#L#{ident};NA\r\n").into_bytes()),
            Self::H02 | Self::Jt808 => None,
        }
    }

    /// A frame of these readings. `serial` counts the frames of a tracker.
    pub(super) fn frame(self, ident: u64, serial: u16, readings: &[Reading]) -> Vec<u8> {
        match self {
            Self::Teltonika => teltonika(readings),
            Self::Wialon => wialon(readings),
            Self::Gt06 | Self::H02 | Self::Jt808 => {
                let Some(reading) = readings.first() else {
                    return Vec::new();
                };
                match self {
                    Self::Gt06 => gt06(0x12, &gt06_position(*reading), serial),
                    Self::H02 => h02(ident, *reading),
                    _ => jt808(ident, serial, *reading),
                }
            }
        }
    }

    /// Understands the first answer in `bytes`.
    pub(super) fn hear(self, bytes: &[u8], logged_in: bool) -> Heard {
        match self {
            Self::Teltonika if !logged_in => match bytes.first() {
                Some(1) => Heard::Answer(1, Answer::Welcome),
                Some(0) => Heard::Answer(1, Answer::Refused),
                Some(_) => Heard::Nonsense,
                None => Heard::More,
            },
            Self::Teltonika => match bytes.first_chunk::<4>() {
                Some([0, 0, 0, 0]) => Heard::Answer(4, Answer::Refused),
                Some([0, 0, 0, _]) => Heard::Answer(4, Answer::Taken),
                Some(_) => Heard::Nonsense,
                None => Heard::More,
            },
            Self::Gt06 => hear_gt06(bytes),
            Self::Wialon => hear_wialon(bytes),
            Self::Jt808 => hear_jt808(bytes),
            Self::H02 => match bytes.iter().position(|byte| *byte == b'#') {
                Some(at) => Heard::Answer(at + 1, Answer::Other),
                None => Heard::More,
            },
        }
    }
}

/// Decimal digits, two a byte, from the right.
fn bcd<const BYTES: usize>(mut number: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for byte in bytes.iter_mut().rev() {
        let two = u8::try_from(number % 100).unwrap_or(0);
        *byte = ((two / 10) << 4) | (two % 10);
        number /= 100;
    }
    bytes
}

/// Year, month, day, hour, minute, second; the year of two digits.
fn clock(at_s: i64) -> [u8; 6] {
    let time = Timestamp::from_second(at_s).unwrap_or_default();
    let time = time.to_zoned(jiff::tz::TimeZone::UTC);
    let two = |value: i16| u8::try_from(value.rem_euclid(100)).unwrap_or(0);
    [
        two(time.year()),
        two(time.month().into()),
        two(time.day().into()),
        two(time.hour().into()),
        two(time.minute().into()),
        two(time.second().into()),
    ]
}

/// Degrees and decimal minutes, as NMEA writes them.
fn nmea(millionths: i32, width: usize) -> String {
    let (degrees, rest) = (millionths / 1_000_000, millionths % 1_000_000);
    // a millionth of a degree is 0.6 ten-thousandths of a minute
    let minutes = i64::from(rest) * 6 / 10;
    format!(
        "{degrees:0width$}{:02}.{:04}",
        minutes / 10_000,
        minutes % 10_000
    )
}

fn teltonika(readings: &[Reading]) -> Vec<u8> {
    let count = u8::try_from(readings.len()).unwrap_or(u8::MAX);
    let mut body = vec![8, count];
    for reading in readings {
        body.extend_from_slice(&(reading.at_s * 1000).to_be_bytes());
        body.push(0);
        body.extend_from_slice(&((LONGITUDE + reading.moved) * 10).to_be_bytes());
        body.extend_from_slice(&(LATITUDE * 10).to_be_bytes());
        // altitude, course, satellites, speed
        body.extend_from_slice(&[0, 90, 0, 180, 11, 0, 63]);
        // what every tracker of the FMB family sends: ignition, movement, signal, voltages, odometer
        body.extend_from_slice(&[0, 6]);
        body.extend_from_slice(&[3, 239, 1, 240, 1, 21, 5]);
        body.extend_from_slice(&[2, 66, 0x36, 0xb0, 67, 0x10, 0x04]);
        body.extend_from_slice(&[1, 16, 0, 18, 214, 135]);
        body.push(0);
    }
    body.push(count);
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&u32::from(checksum::crc16_ibm(&body)).to_be_bytes());
    bytes
}

fn gt06(kind: u8, content: &[u8], serial: u16) -> Vec<u8> {
    let mut body = vec![u8::try_from(content.len() + 5).unwrap_or(u8::MAX), kind];
    body.extend_from_slice(content);
    body.extend_from_slice(&serial.to_be_bytes());
    let mut bytes = vec![0x78, 0x78];
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&checksum::crc16_x25(&body).to_be_bytes());
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn gt06_position(reading: Reading) -> Vec<u8> {
    let mut content = clock(reading.at_s).to_vec();
    content.push(0xcb);
    let unit = |millionths: i32| u32::try_from(i64::from(millionths) * 18 / 10).unwrap_or(0);
    content.extend_from_slice(&unit(LATITUDE).to_be_bytes());
    content.extend_from_slice(&unit(LONGITUDE + reading.moved).to_be_bytes());
    // speed; fixed, north, east, course 180
    content.extend_from_slice(&[63, 0x14, 180]);
    // the cell: country, network, area, id
    content.extend_from_slice(&[0, 246, 1, 0x0b, 0xb8, 0, 0x1f, 0xb8]);
    content
}

fn hear_gt06(bytes: &[u8]) -> Heard {
    let [0x78, 0x78, length, kind, ..] = bytes else {
        return if bytes.len() < 4 {
            Heard::More
        } else {
            Heard::Nonsense
        };
    };
    let whole = usize::from(*length) + 5;
    if bytes.len() < whole {
        return Heard::More;
    }
    let answer = match kind {
        0x01 => Answer::Welcome,
        0x12 => Answer::Taken,
        _ => Answer::Other,
    };
    Heard::Answer(whole, answer)
}

fn h02(ident: u64, reading: Reading) -> Vec<u8> {
    let [year, month, day, hour, minute, second] = clock(reading.at_s);
    let (latitude, longitude) = (nmea(LATITUDE, 2), nmea(LONGITUDE + reading.moved, 3));
    format!(
        "*HQ,{ident},V1,{hour:02}{minute:02}{second:02},A,{latitude},N,{longitude},E,034.00,180,\
         {day:02}{month:02}{year:02},FFFFFBFF#\r\n"
    )
    .into_bytes()
}

fn wialon(readings: &[Reading]) -> Vec<u8> {
    let one = |reading: &Reading| {
        let [year, month, day, hour, minute, second] = clock(reading.at_s);
        let (latitude, longitude) = (nmea(LATITUDE, 2), nmea(LONGITUDE + reading.moved, 3));
        format!(
            "{day:02}{month:02}{year:02};{hour:02}{minute:02}{second:02};{latitude};N;{longitude};E;63;180;90;11"
        )
    };
    match readings {
        [reading] => format!("#SD#{}\r\n", one(reading)).into_bytes(),
        several => {
            let all: Vec<String> = several.iter().map(one).collect();
            format!("#B#{}\r\n", all.join("|")).into_bytes()
        }
    }
}

fn hear_wialon(bytes: &[u8]) -> Heard {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else {
        return Heard::More;
    };
    let answer = match bytes.get(..end).unwrap_or_default() {
        b"#AL#1" => Answer::Welcome,
        b"#ASD#1" => Answer::Taken,
        line if line.starts_with(b"#AL#") || line.starts_with(b"#ASD#") => Answer::Refused,
        b"#AB#0" | b"#AB#" => Answer::Refused,
        line if line.starts_with(b"#AB#") => Answer::Taken,
        line if line.starts_with(b"#") => Answer::Other,
        _ => return Heard::Nonsense,
    };
    Heard::Answer(end + 2, answer)
}

fn jt808(ident: u64, serial: u16, reading: Reading) -> Vec<u8> {
    const BEIJING_S: i64 = 8 * 3600;
    let mut content = vec![0; 4];
    // ignition on, fixed
    content.extend_from_slice(&3u32.to_be_bytes());
    for millionths in [LATITUDE, LONGITUDE + reading.moved] {
        content.extend_from_slice(&millionths.to_be_bytes());
    }
    // altitude, speed, course
    content.extend_from_slice(&[0, 90, 2, 118, 0, 180]);
    let digits = |value: &u8| ((value / 10) << 4) | (value % 10);
    content.extend(clock(reading.at_s + BEIJING_S).iter().map(digits));
    let mut body = vec![2, 0];
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(&bcd::<6>(ident));
    body.extend_from_slice(&serial.to_be_bytes());
    body.extend_from_slice(&content);
    body.push(body.iter().fold(0, |check, byte| check ^ byte));
    let mut bytes = vec![0x7e];
    for byte in body {
        match byte {
            0x7e => bytes.extend_from_slice(&[0x7d, 2]),
            0x7d => bytes.extend_from_slice(&[0x7d, 1]),
            other => bytes.push(other),
        }
    }
    bytes.push(0x7e);
    bytes
}

fn hear_jt808(bytes: &[u8]) -> Heard {
    let [0x7e, rest @ ..] = bytes else {
        return if bytes.is_empty() {
            Heard::More
        } else {
            Heard::Nonsense
        };
    };
    let Some(end) = rest.iter().position(|byte| *byte == 0x7e) else {
        return Heard::More;
    };
    let mut body = Vec::with_capacity(end);
    let mut escaped = false;
    for byte in rest.iter().take(end) {
        match (escaped, byte) {
            (true, 2) => body.push(0x7e),
            (true, _) => body.push(0x7d),
            (false, 0x7d) => {}
            (false, other) => body.push(*other),
        }
        escaped = !escaped && *byte == 0x7d;
    }
    // kind, properties, ident, serial; serial answered, kind answered, result
    let answer = match (body.get(..2), body.get(14..17)) {
        (Some([0x80, 1]), Some([2, 0, 0])) => Answer::Taken,
        (Some([0x80, 1]), Some([2, 0, _])) => Answer::Refused,
        _ => Answer::Other,
    };
    Heard::Answer(end + 2, answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;
    use protocols::{Env, Event, Output, Protocol, Session, Unregistered};

    fn say(protocol: &Protocol, session: &mut dyn Session, bytes: &[u8]) -> Output {
        let mut out = Output::default();
        let fed = session.feed(
            bytes,
            false,
            Env {
                now_ms: 1_795_500_000_000,
                lookup: &mut Unregistered,
                out: &mut out,
            },
        );
        let name = protocol.info.name;
        assert_eq!((fed.consumed, fed.fatal), (bytes.len(), None), "{name}");
        for event in &out.events {
            assert!(!matches!(event, Event::Rejected(_)), "{name}: {event:?}");
        }
        out
    }

    fn answers(speech: Speech, out: &Output, logged_in: bool) -> Vec<Answer> {
        let mut bytes = Vec::new();
        for event in &out.events {
            if let Event::Reply(reply) = event {
                bytes.extend_from_slice(&reply.accepted);
            }
        }
        let mut heard = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let Heard::Answer(length, answer) = speech.hear(rest, logged_in) else {
                panic!("{speech:?}: {rest:02x?}");
            };
            for cut in 0..length {
                assert_eq!(
                    speech.hear(&rest[..cut], logged_in),
                    Heard::More,
                    "{speech:?}"
                );
            }
            heard.push(answer);
            rest = &rest[length..];
        }
        heard
    }

    #[test]
    fn what_each_protocol_s_tracker_says_is_read_and_its_answers_are_understood() {
        for speech in Speech::value_variants() {
            let speech = *speech;
            let protocol = protocols::find(speech.name()).unwrap();
            let mut session = (protocol.open)();
            let ident = speech.first_ident() + 7;
            if let Some(login) = speech.login(ident) {
                let out = say(protocol, &mut *session, &login);
                assert_eq!(
                    answers(speech, &out, false),
                    [Answer::Welcome],
                    "{speech:?}"
                );
            }
            let canonical = protocol.ident(&ident.to_string()).unwrap();
            for count in [1, speech.records_max()] {
                let readings: Vec<Reading> = (0..i64::from(count))
                    .map(|second| Reading {
                        at_s: 1_795_400_000 + second,
                        moved: 1234,
                    })
                    .collect();
                let out = say(
                    protocol,
                    &mut *session,
                    &speech.frame(ident, u16::from(count), &readings),
                );
                assert_eq!(session.ident(), Some(&canonical), "{speech:?}");
                let records: Vec<_> = out
                    .events
                    .iter()
                    .filter_map(|event| match event {
                        Event::Message { range, .. } => out.record(range),
                        _ => None,
                    })
                    .collect();
                assert_eq!(records.len(), usize::from(count), "{speech:?}");
                for (record, reading) in records.iter().zip(&readings) {
                    assert_eq!(
                        record.time,
                        protocols::Time::Device(reading.at_s * 1000),
                        "{speech:?}"
                    );
                }
                let acks = answers(speech, &out, true);
                assert_eq!(
                    acks == [Answer::Taken],
                    speech.has_acks(),
                    "{speech:?}: {acks:?}"
                );
            }
        }
    }

    #[test]
    fn an_answer_that_nobody_understands_is_nonsense_and_never_a_panic() {
        for speech in Speech::value_variants() {
            for length in 0..40u8 {
                let bytes: Vec<u8> = (0..length).map(|n| n.wrapping_mul(37)).collect();
                for logged_in in [false, true] {
                    if let Heard::Answer(length, _) = speech.hear(&bytes, logged_in) {
                        assert!(length <= bytes.len(), "{speech:?}");
                    }
                }
            }
        }
    }
}
