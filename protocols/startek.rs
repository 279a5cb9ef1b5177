//! Startek: PT10, PT21, PT29, PT33, PT50 and others, over TCP.
//!
//! # Wire format
//!
//! `&&`, a flag (any character, rises with each frame), a length, then text that begins with a comma, a sum
//! and CR LF. The length counts from that comma to the sum; the sum adds all bytes before it, two hex
//! digits.
//!
//! | field | |
//! |---|---|
//! | IMEI | |
//! | kind | 000 for a position; others answer a command, and the rest is their text |
//! | event | number |
//! | data | of the event |
//! | time | YYMMDDHHMMSS, UTC |
//! | fix | A or V |
//! | latitude, longitude | degrees |
//! | satellites, HDOP | |
//! | km/h, course, altitude, meters | |
//! | cell | MCC, MNC, LAC, id between bars, the last two hexadecimal |
//! | signal | 0 to 31 |
//! | status, inputs, outputs | hexadecimal |
//! | voltages | supply, battery, inputs 2 and 3 in 0.01 V, hexadecimal, between bars |
//! | version | of what follows, 1 |
//! | fuel | two digits of number, four of tenths, hexadecimal, between bars |
//! | temperatures | likewise, 8000 for below zero |
//! | OBD | rpm, load, air flow, air pressure, air temperature + 40, throttle, coolant + 40, tenths of fuel use, fuel level, between bars |
//!
//! # Session
//!
//! Every frame names its device. Nothing is answered.
//!
//! # Source
//!
//! Startek: "GPRS communication protocol", and captures.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.
//!
//! # Quirks
//!
//! - Nothing stands between the last field and the sum.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Key, Login, Model, ParamId, Probe, RecordBuilder,
    Reject, Time, fields,
};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{float, number};
use crate::kit::time::{Civil, digits, or_impossible};
use crate::kit::{checksum, framing, units};

const MARK: &[u8] = b"&&";
/// Mark and flag.
const HEAD_BYTES: usize = 3;
const SHORT: Reject = Reject::new("frame", "fewer fields than it has", 0);

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Startek",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

/// Where the text begins, and how long it is.
fn length(input: &[u8]) -> Option<(usize, usize)> {
    let rest = input.get(HEAD_BYTES..)?;
    let count = rest.iter().position(|byte| *byte == b',')?;
    let text = std::str::from_utf8(rest.get(..count)?).ok()?;
    let length = number::<usize>(text).filter(|length| (2..10_000).contains(length))?;
    Some((HEAD_BYTES + count, length))
}

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "startek",
        title: "Startek",
        source: "Startek: GPRS communication protocol",
        port: 5222,
        version: 2,
        frame_bytes_max: 2048,
        acks: Acks::None,
        shared: true,
        models: &[
            model(1, "PT10"),
            model(2, "PT11"),
            model(3, "PT21"),
            model(4, "PT29"),
            model(5, "PT33"),
            model(6, "PT50"),
            model(7, "PT60"),
            model(8, "OBD II PT15"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, eof: bool) -> Result<Cut, Fatal> {
        const LENGTH_DIGITS_MAX: usize = 5;
        if !input.starts_with(MARK) {
            if input == b"&" && !eof {
                return Ok(Cut::Need(2));
            }
            let rest = input.get(1..).unwrap_or_default();
            let next = rest.iter().position(|byte| *byte == b'&');
            return Ok(Cut::Skip(next.map_or(input.len(), |at| at + 1)));
        }
        Ok(match length(input) {
            // sum, CR, LF
            Some((start, length)) => framing::exactly(input, start + length + 4),
            None if input.len() <= HEAD_BYTES + LENGTH_DIGITS_MAX => Cut::Need(input.len() + 1),
            None => Cut::Skip(2),
        })
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let (start, length) = length(frame).ok_or(SHORT)?;
        let covered = frame.get(..start + length).ok_or(SHORT)?;
        let sum = frame.get(start + length..start + length + 2).ok_or(SHORT)?;
        let sum = std::str::from_utf8(sum).ok();
        let sum = sum.and_then(|sum| u8::from_str_radix(sum, 16).ok());
        if sum != Some(checksum::sum(covered)) {
            return Err(Reject::new(
                "sum",
                "the checksum does not fit",
                covered.len(),
            ));
        }
        let text = std::str::from_utf8(covered.get(start + 1..).ok_or(SHORT)?)
            .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
        let (imei, text) = text.split_once(',').ok_or(SHORT)?;
        let (kind, text) = text.split_once(',').unwrap_or((text, ""));
        cx.identify(Login::of(imei))?;
        if is_position(text) {
            return position(kind, text, cx);
        }
        cx.command_reply(number::<u32>(kind), text);
        let mut message = cx.message(Time::Received(cx.now_ms))?;
        message.push(fields::MESSAGE_TYPE, kind);
        message.push(fields::COMMAND_RESULT, text);
        Ok(())
    }

    fn probe(head: &[u8]) -> Probe {
        if head.len() < HEAD_BYTES || length(head).is_none() && head.len() < 9 {
            return if head.starts_with(MARK) || MARK.starts_with(head) {
                Probe::More
            } else {
                Probe::No
            };
        }
        match length(head).filter(|_| head.starts_with(MARK)) {
            Some((start, _)) => {
                let imei = head.get(start + 1..).unwrap_or_default();
                let count = imei.iter().take_while(|byte| byte.is_ascii_digit()).count();
                match imei.get(count) {
                    None if count <= 15 => Probe::More,
                    Some(b',') if count == 15 => Probe::Yes,
                    _ => Probe::No,
                }
            }
            None => Probe::No,
        }
    }
}

fn hexadecimal(text: &str) -> Option<i64> {
    i64::from_str_radix(text, 16).ok()
}

fn alarm(event: u16) -> Option<ParamId> {
    Some(match event {
        1 => fields::ALARM_EVENT_TRIGGER,
        5 | 6 => fields::DOOR_EVENT_TRIGGER,
        17 => fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER,
        18 => fields::POWER_CUT_EVENT_TRIGGER,
        39 => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        40 => fields::HARSH_BRAKING_EVENT_TRIGGER,
        41 => fields::HARSH_CORNERING_EVENT_TRIGGER,
        _ => return None,
    })
}

/// The event of a driver's key, which is its data.
const DRIVER: u16 = 53;
/// Event, its data, time, fix, latitude, longitude: a position has these at least.
const POSITION_FIELDS_MIN: usize = 6;

/// Whatever the kind, A or V and degrees behind a time make a position.
fn is_position(text: &str) -> bool {
    let mut parts = text.split(',').skip(3);
    let is_fix = matches!(parts.next(), Some("A" | "V"));
    let mut is_degrees = || parts.next().is_some_and(|part| float(part).is_some());
    is_fix && is_degrees() && is_degrees()
}

fn position(kind: &str, text: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let parts: smallvec::SmallVec<[&str; 32]> = text.split(',').collect();
    if parts.len() < POSITION_FIELDS_MIN {
        return Err(SHORT);
    }
    let at = |index: usize| parts.get(index).copied().unwrap_or_default();
    let ms = digits(at(2), "ymdHMS").and_then(Civil::utc_ms);
    let mut message = cx.message(or_impossible(ms, cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, kind);
    let event = number::<u16>(at(0));
    if let Some(event) = event {
        message.push(fields::EVENT_ENUM, event);
        if let Some(alarm) = alarm(event) {
            message.push(alarm, true);
        }
    }
    match at(1) {
        "" => {}
        driver if event == Some(DRIVER) => message.push(fields::DRIVER_ID, driver),
        data => message.name("event.data", data),
    }
    let latitude = float(at(4)).filter(|degrees| degrees.abs() <= 90.0);
    let longitude = float(at(5)).filter(|degrees| degrees.abs() <= 180.0);
    let place = latitude.zip(longitude).filter(|place| *place != (0.0, 0.0));
    message.push(fields::POSITION_VALID, at(3) == "A" && place.is_some());
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
        message.push_some(fields::POSITION_SPEED, float(at(8)));
        message.push_some(fields::POSITION_DIRECTION, float(at(9)));
        message.push_some(fields::POSITION_ALTITUDE, float(at(10)));
    }
    message.push_some(fields::POSITION_SATELLITES, number::<u8>(at(6)));
    message.push_some(fields::POSITION_HDOP, float(at(7)));
    let km = float(at(11)).map(|meters| units::round(meters / 1000.0, 3));
    message.push_some(fields::VEHICLE_MILEAGE, km);
    push_cell(&mut message, at(12));
    message.push_some(fields::GSM_SIGNAL_ENUM, number::<u8>(at(13)));
    message.push_some(fields::STATUS_BITMASK, hexadecimal(at(14)));
    if let Some(inputs) = hexadecimal(at(15)) {
        message.push(fields::DIN, inputs);
        message.push(fields::ENGINE_IGNITION_STATUS, inputs >> 1 & 1 == 1);
        message.push(fields::DOOR_OPEN_STATUS, inputs >> 2 & 1 == 1);
    }
    message.push_some(fields::DOUT, hexadecimal(at(16)));
    for (text, place) in at(17).split('|').zip(0u16..) {
        let volts = hexadecimal(text).map(|value| units::scaled(value, 2));
        let key: Key<'_> = match place {
            0 => fields::EXTERNAL_POWERSOURCE_VOLTAGE.into(),
            1 => fields::BATTERY_VOLTAGE.into(),
            input => (fields::AIN_N, input).into(),
        };
        message.push_some(key, volts);
    }
    for (param, list) in [
        (fields::FUEL_SENSOR_N, at(19)),
        (fields::SENSOR_TEMPERATURE_N, at(20)),
    ] {
        for item in list.split('|') {
            if let Some((sensor, value)) = item.split_at_checked(2) {
                let sensor = u16::from_str_radix(sensor, 16).ok().filter(|n| *n > 0);
                if let Some((sensor, raw)) = sensor.zip(hexadecimal(value)) {
                    let below = raw & 0x8000 != 0 && param == fields::SENSOR_TEMPERATURE_N;
                    let raw = if below { -(raw & 0x7fff) } else { raw };
                    message.push((param, sensor), units::scaled(raw, 1));
                }
            }
        }
    }
    push_vehicle(&mut message, at(21));
    for (text, id) in parts.iter().zip(0u32..).skip(22) {
        if !text.is_empty() {
            message.wire(id, *text);
        }
    }
    Ok(())
}

fn push_cell(message: &mut RecordBuilder<'_>, text: &str) {
    let mut parts = text.split('|');
    let mut next = || parts.next().unwrap_or_default();
    let cell = Cell {
        mcc: number(next()),
        mnc: number(next()),
        lac: hexadecimal(next()),
        id: hexadecimal(next()),
        dbm: None,
    };
    if cell.lac.is_some() && cell.id.is_some() {
        cells::push(message, 0, cell);
    }
}

fn push_vehicle(message: &mut RecordBuilder<'_>, text: &str) {
    const OFFSET: f64 = 40.0;
    let rows: [(ParamId, f64); 7] = [
        (fields::CAN_ENGINE_RPM, 0.0),
        (fields::CAN_ENGINE_LOAD_LEVEL, 0.0),
        (fields::CAN_MAF, 0.0),
        (fields::CAN_INTAKE_MAP_PRESSURE, 0.0),
        (fields::CAN_INTAKE_AIR_TEMPERATURE, OFFSET),
        (fields::CAN_THROTTLE_LEVEL, 0.0),
        (fields::CAN_ENGINE_COOLANT_TEMPERATURE, OFFSET),
    ];
    let mut parts = text.split('|');
    for ((param, offset), text) in rows.into_iter().zip(&mut parts) {
        let value = float(text).map(|value| value - offset);
        message.push_some(param, value);
    }
    let tenths = |text: &str| float(text).map(|value| units::round(value / 10.0, 1));
    message.push_some(fields::CAN_FUEL_CONSUMPTION, parts.next().and_then(tenths));
    message.push_some(fields::CAN_FUEL_LEVEL, parts.next().and_then(float));
}
