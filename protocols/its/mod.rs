//! ITS: India's vehicle trackers after the standard AIS 140, of any maker.
//!
//! # Wire format
//!
//! Text of comma-separated fields from `$` to `*`, a line end, or the next `$`. Makers agree on the order
//! and on little else, so what is optional is told by its form:
//!
//! ```text
//! report:    $[,]HEAD,vendor,firmware,TYPE,[alert,]L|H,IMEI,vehicle,[fix,]DATE,TIME,[fix,]lat,N|S,lon,E|W,
//!            km/h,course,satellites,metres,PDOP,HDOP,operator,ignition,mains,volts,battery,emergency,
//!            tamper,CSQ,MCC,MNC,LAC,cell,[neighbours,]inputs(4),outputs(2),tail
//! emergency: $[,]EPB,EMR|SEM,IMEI,NM|SP,DATE,TIME,A|V,lat,N|S,lon,E|W,metres,km/h,distance,G|N,vehicle,
//!            telephone[,MCC,MNC,LAC,cell]
//! login:     $[,]LGN|01|,[vendor,]vehicle,IMEI,firmware,protocol,lat,N|S,lon,E|W
//! health:    $[,]HBT|02,vendor,firmware,IMEI,battery %,threshold %,memory %,s,s,inputs,[outputs,]volts
//! ```
//!
//! | part | forms |
//! |---|---|
//! | DATE,TIME | `DDMMYYYY,HHMMSS`, `DDMMYY,HHMMSS`, one number of both, six fields, or `DD/MM/YYYY,HH:MM:SS` |
//! | fix | 1 or A, 0 or V; before the date or behind the time |
//! | L, H | live, from memory |
//! | LAC, cell | hexadecimal |
//! | neighbours | four of `cell,LAC,signal`, `LAC,cell,signal` or `signal,LAC,cell`, in parentheses or not; `x` for none |
//! | inputs, outputs | bits, the highest first; 2 stands for an input that is not wired |
//!
//! | TYPE | alert | meaning |
//! |---|---|---|
//! | NR | 1, 2 | report, live or from memory |
//! | BD, BR | 3, 6 | mains off, on |
//! | BL | 4, 5 | battery low; good again |
//! | IN, IF | 7, 8 | ignition on, off |
//! | TA | 9 | box open |
//! | EA | 10, 11 | emergency on; off |
//! | PC | 12 | a parameter was changed over the air |
//! | HB, HA, RT, OS | 13, 14, 15, 17 | braking, acceleration, cornering, too fast |
//! | WD | 16 | the emergency button's wire is cut |
//!
//! | tail | of |
//! |---|---|
//! | record, km, volts, x, y, z (g), tilt y, tilt x, XX, | RLP |
//! | record, km, XX, | RLP, older |
//! | volts, volts, record (6), km, more, XXXXXXXX | NRM |
//! | volts, metres, record (6), form, answer | makers that answer commands in reports |
//! | record, more | others; kept by their place |
//!
//! # Session
//!
//! Every frame names its device. Where the head stands behind `$,` a login is answered
//! `$LGNDDMMYYYYHHMMSS*` or, for 01, `$,1,*`; health by `$HBT*`. Reports are not answered.
//!
//! # Source
//!
//! ARAI: AIS 140 (2016); the interface of Quectel's AIS 140 client, captures of several makers. Their
//! own descriptions were not at hand: what no capture in `fixtures/` shows wants a frame to prove it.
//!
//! # Quirks
//!
//! - RLP closes with the exclusive or of all before (two digits), NRM of `*` form with its CRC-32 (eight):
//!   both are verified. Others write a checksum that fits nothing known, as a character, or behind the
//!   `*`, where the frame has ended; it is not verified.
//! - The button's wire being cut is tampering, not a call for help.
//! - A login's place has no time, so it is kept aside (`custom.login.latitude`).

mod neighbours;
mod parts;
mod report;

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, Probe, Reject, Reply, Setting, Time,
    fields,
};
use crate::kit::checksum;
use crate::kit::parse::{self, float, number};
use crate::kit::time::{self, Civil};
use parts::{bits, clock, from_place, place, push_text};
use smallvec::SmallVec;

const FIELDS_MAX: usize = 128;
const IMEI_DIGITS: usize = 15;
/// Before so many fields the IMEI stands.
const IMEI_PLACES: usize = 10;

type Fields<'f> = SmallVec<[&'f str; 64]>;

const fn model(number: u16, vendor: &'static str, name: &'static str) -> Model {
    Model {
        number,
        vendor,
        name,
    }
}

/// There is no state.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "its",
        title: "AIS 140 (India)",
        source: "ARAI: AIS 140 (2016); makers' forms by captures",
        port: 5179,
        acks: Acks::None,
        settings: &[Setting::TimeZone],
        models: &[
            model(1, "any", "AIS 140"),
            model(2, "Atlanta", "AIS 140"),
            model(3, "RoadRPA", "AIS 140"),
            model(4, "TraxSmart", "AIS 140"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        let noise = input.iter().take_while(|byte| **byte != b'$').count();
        if noise > 0 {
            return Ok(Cut::Skip(noise));
        }
        let from = scanned.max(1);
        let end = input
            .iter()
            .skip(from)
            .position(|byte| matches!(byte, b'*' | b'\r' | b'\n' | b'$'));
        Ok(match end.map(|at| from + at) {
            Some(at) if input.get(at) == Some(&b'$') => Cut::Frame(at),
            Some(at) => Cut::Frame(at + 1),
            None if eof => Cut::Frame(input.len()),
            None => Cut::Need(input.len() + 1),
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        // a checksum may be a byte that is no text
        let text = String::from_utf8_lossy(frame);
        let starred = text.ends_with('*');
        let body = text.trim_end_matches(['*', '\r', '\n']);
        let body = body
            .strip_prefix('$')
            .ok_or(Reject::new("text", "without its mark", 0))?;
        let (body, comma) = match body.strip_prefix(',') {
            Some(body) => (body, true),
            None => (body, false),
        };
        let parts: Fields<'_> = parse::splitn(FIELDS_MAX, body, b',')
            .map(str::trim)
            .collect();
        let imei = parts
            .iter()
            .take(IMEI_PLACES)
            .position(|part| is_imei(part));
        let imei = imei.ok_or(Reject::new("ident", "without an IMEI", 0))?;
        let (before, after) = parts.split_at_checked(imei).unwrap_or_default();
        let [ident, ref after @ ..] = *after else {
            return Err(Reject::new("ident", "without an IMEI", 0));
        };
        let head = before.first().copied().unwrap_or_default();
        let sum_digits = verify(frame, head, after, starred)?;
        cx.identify(Login::of(ident))?;
        match (head, before) {
            ("LGN" | "01" | "", _) => {
                login(before, after, cx)?;
                let answer = match head {
                    "LGN" => {
                        let Civil {
                            year,
                            month,
                            day,
                            hour,
                            minute,
                            second,
                        } = Civil::at(cx.now_ms);
                        format!("$LGN{day:02}{month:02}{year:04}{hour:02}{minute:02}{second:02}*")
                    }
                    _ => "$,1,*".to_owned(),
                };
                if comma && !head.is_empty() {
                    cx.reply(Reply::admitted(answer));
                }
                Ok(())
            }
            ("HBT" | "02" | "HLM", _) => {
                health(head, before, after, cx)?;
                if comma && head == "HBT" {
                    cx.reply(Reply::stored(&b"$HBT*"[..]));
                }
                Ok(())
            }
            (_, [.., kind @ ("EMR" | "SEM")]) => emergency(kind, after, cx),
            _ => report::report(before, after, sum_digits, cx),
        }
    }

    fn probe(head: &[u8]) -> Probe {
        const STARTS: &[&[u8]] = &[
            b"$,",
            b"$NRM,",
            b"$NMP,",
            b"$RLP,",
            b"$EPB,",
            b"$LGN,",
            b"$HBT,",
            b"$HLM,",
            b"$Header,",
        ];
        if STARTS.iter().any(|start| head.starts_with(start)) {
            Probe::Yes
        } else if STARTS.iter().any(|start| start.starts_with(head)) {
            Probe::More
        } else {
            Probe::No
        }
    }
}

fn is_imei(text: &str) -> bool {
    text.len() == IMEI_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Checks the checksum where it is known what it covers; gives back of how many digits it is.
fn verify(frame: &[u8], head: &str, after: &[&str], starred: bool) -> Result<usize, Reject> {
    let ([.., last, ""] | [.., last]) = *after else {
        return Ok(0);
    };
    let is_sum = |digits| last.len() == digits && last.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digits = match head {
        "RLP" if starred && is_sum(2) => 2,
        "NRM" if starred && is_sum(8) => 8,
        _ => return Ok(0),
    };
    let begins = frame
        .windows(last.len())
        .rposition(|window| window == last.as_bytes())
        .unwrap_or(0);
    let covered = frame.get(..begins).unwrap_or_default();
    let expected = if digits == 2 {
        u32::from(checksum::xor(covered))
    } else {
        checksum::crc32(covered)
    };
    if u32::from_str_radix(last, 16) == Ok(expected) {
        Ok(digits)
    } else {
        Err(Reject::new("checksum", "does not fit", begins))
    }
}

fn login(before: &[&str], after: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "LGN");
    match before {
        [_, vehicle] => push_text(&mut message, fields::VEHICLE_PLATE, vehicle),
        [_, vendor, vehicle, ..] => {
            push_text(&mut message, fields::VENDOR_CODE, vendor);
            push_text(&mut message, fields::VEHICLE_PLATE, vehicle);
        }
        _ => {}
    }
    // the place is the end of it: firmware and protocol stand before
    let at = after
        .windows(4)
        .position(|four| matches!(four, [_, "N" | "S", _, "E" | "W"]));
    let (versions, place_parts) = after.split_at(at.unwrap_or(after.len()));
    if let [firmware, protocol @ ..] = versions {
        push_text(&mut message, fields::DEVICE_FIRMWARE_VERSION, firmware);
        if let [protocol, ..] = protocol {
            push_text(&mut message, fields::PROTOCOL_VERSION, protocol);
        }
    }
    if let Some((latitude, longitude)) = place_parts.first_chunk().and_then(|four| place(*four)) {
        message.name("login.latitude", latitude);
        message.name("login.longitude", longitude);
    }
    Ok(())
}

fn health(head: &str, before: &[&str], after: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    let mut message = cx.message(Time::Received(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, head);
    if let [_, vendor, firmware, ..] = *before {
        push_text(&mut message, fields::VENDOR_CODE, vendor);
        push_text(&mut message, fields::DEVICE_FIRMWARE_VERSION, firmware);
    }
    let percent = |text: &str| float(text.trim_end_matches('%'));
    let [battery, threshold, memory, on, off, ref rest @ ..] = *after else {
        report::push_places(1, after, &mut message);
        return Ok(());
    };
    message.push_some(fields::BATTERY_LEVEL, percent(battery));
    if let Some(threshold) = percent(threshold) {
        message.name("battery.low.threshold", threshold);
    }
    message.push_some(fields::MEMORY_USAGE_LEVEL, percent(memory));
    for (name, seconds) in [("interval.ignition.on", on), ("interval.ignition.off", off)] {
        if let Some(seconds) = number::<u32>(seconds) {
            message.name(name, seconds);
        }
    }
    let rest = match *rest {
        [inputs, outputs, ref rest @ ..]
            if bits(inputs, 4).is_some() && bits(outputs, 2).is_some() =>
        {
            message.push_some(fields::DIN, bits(inputs, 4));
            message.push_some(fields::DOUT, bits(outputs, 2));
            rest
        }
        [inputs, ref rest @ ..] if bits(inputs, 4).is_some() => {
            message.push_some(fields::DIN, bits(inputs, 4));
            rest
        }
        ref rest => rest,
    };
    for (number_of, volts) in (1..).zip(rest) {
        message.push_some((fields::AIN_N, number_of), float(volts));
    }
    Ok(())
}

fn emergency(kind: &str, after: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    const MISFIT: Reject = Reject::new("emergency", "its fields do not fit", 0);
    let [status, ref rest @ ..] = *after else {
        return Err(MISFIT);
    };
    let (civil, rest) = clock(rest).unwrap_or((None, from_place(rest)));
    let (fix, rest) = match *rest {
        [fix @ ("" | "0" | "1" | "A" | "V"), ref rest @ ..] => (fix, rest),
        ref rest => ("", rest),
    };
    let [lat, ns, lon, ew, ref rest @ ..] = *rest else {
        return Err(MISFIT);
    };
    let place = place([lat, ns, lon, ew]);
    let ms = civil.and_then(|civil| civil.ms(cx.settings()));
    let mut message = cx.message(time::or_impossible(ms, cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, kind);
    message.push(
        fields::POSITION_VALID,
        matches!(fix, "A" | "1") && place.is_some(),
    );
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    if kind == "EMR" {
        message.push(fields::ALARM_EVENT_TRIGGER, true);
    }
    message.push(fields::ALARM_MODE_STATUS, kind == "EMR");
    if status == "SP" {
        message.push(fields::MESSAGE_BUFFERED_STATUS, true);
    }
    let mut rest = rest.iter();
    let mut next = || rest.next().copied().unwrap_or_default();
    message.push_some(fields::POSITION_ALTITUDE, float(next()));
    message.push_some(fields::POSITION_SPEED, float(next()));
    if let Some(distance) = float(next()) {
        message.name("distance", distance);
    }
    push_text(&mut message, fields::LOCATION_SOURCE, next());
    push_text(&mut message, fields::VEHICLE_PLATE, next());
    let telephone = next();
    if number::<u64>(telephone).is_some_and(|digits| digits > 0) {
        message.push(fields::GSM_PHONE, telephone);
    }
    if let [mcc, mnc, lac, id, ..] = *rest.as_slice() {
        neighbours::push_serving([mcc, mnc, lac, id], &mut message);
    }
    Ok(())
}
