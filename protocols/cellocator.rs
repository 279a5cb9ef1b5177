//! Cellocator: Cello, CelloTrack, Olympic and others, over TCP.
//!
//! # Wire format
//!
//! Little-endian. `MCGP` (`MCPG` in one capture), kind (1), unit (4), and at the end a sum: all bytes behind
//! the mark added.
//!
//! Kind 0 has 70 bytes:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 9 | 2 | control |
//! | 11 | 1 | number, given back in the answer |
//! | 12 | 1, 1, 1 | hardware, firmware, protocol |
//! | 15 | 1 | status in the lower half |
//! | 17 | 1, 1 | data of the reason, reason |
//! | 19 | 1 | mode |
//! | 20 | 4 | inputs: 20 ignition, 1 door of the first byte; 80 charging of the last |
//! | 24 | 1 | outputs |
//! | 25 | 4 | analog inputs, 1 each |
//! | 29 | 3 | odometer in meters |
//! | 32 | 6 | driver |
//! | 40 | 1, 1, 1, 1 | status of the location, two modes, satellites |
//! | 44 | 4, 4, 4 | longitude, latitude in 1e-8 radians, altitude in cm |
//! | 56 | 4, 2 | cm/s, course in 1e-3 radians |
//! | 62 | 7 | seconds, minutes, hours, day, month, year (2) |
//!
//! Behind the mark `MCPG` a kind 0 has from 24 on: outputs and one byte (1 each), two analog inputs (2 each); at 44
//! latitude, longitude in 1e-7 degrees, at 56 km/h, course in 1e-3 degrees.
//!
//! Kind 3 has 31 bytes: state of the programming. Kind 7 has 70: a part of what a serial port gave, from the memory.
//! Kind 8 (without control): the same as it comes, 19 bytes and its length (2, at 16). Kind 9: at 13 the length of
//! what follows it up to the sum, at 14 parts of kind (1), length (1), bytes. Kind 11 is modular: control (2),
//! number, one byte, length of the modules (2), then each: kind, length (2), bytes. Module 2 has interval (2), time
//! (4), count, and for each value id (2), length (1), bytes; module 6 a place (modes, satellites, longitude,
//! latitude, altitude, cm/s (1), course in 1e-3 radians (2)), module 7 the time.
//!
//! # Session
//!
//! Every frame names its device. Kind 11 is answered with kind 11, all others with kind 4, both of 28 bytes
//! with the number of the frame.
//!
//! # Source
//!
//! Pointer: "Cellocator wireless communication protocol".
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.
//!
//! # Quirks
//!
//! - Four modules begin with four bytes that are no module (zeros): they are passed over.
//! - The fix of kind 11 has no bit for its validity that is known: it is not called valid.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Key, Login, Model, ParamId, Probe, RecordBuilder,
    Reject, Reply, Time, fields,
};
use crate::kit::cursor::Cursor;
use crate::kit::table::little_endian;
use crate::kit::time::{Civil, or_impossible, two_digit};
use crate::kit::{checksum, framing, hex, units};

const MARK: &[u8] = b"MCGP";
const OTHER_MARK: &[u8] = b"MCPG";
const MARK_BYTES: usize = 4;
const STATE: u8 = 0;
const PROGRAMMING: u8 = 3;
const SERIAL_LOG: u8 = 7;
const SERIAL: u8 = 8;
const PARTS: u8 = 9;
const MODULAR: u8 = 11;
const STATE_BYTES: usize = 70;
const PROGRAMMING_BYTES: usize = 31;
/// A frame of kind 8 without its data, and where their length stands.
const SERIAL_BYTES: usize = 19;
const SERIAL_LENGTH_AT: usize = 16;
/// To the end of the length of a frame of kind 9, and its sum.
const PARTS_BYTES: usize = 15;
/// To the end of the modules' length.
const MODULAR_HEAD_BYTES: usize = 15;
const ANSWER_BYTES: usize = 28;
const SHORT: Reject = Reject::new("frame", "cut short", 0);

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Cellocator",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "cellocator",
        title: "Cellocator (Pointer)",
        source: "Pointer: Cellocator wireless communication protocol",
        port: 5033,
        frame_bytes_max: 4096,
        acks: Acks::Frame,
        shared: true,
        models: &[
            model(1, "Cello"),
            model(2, "Cello-IQ"),
            model(3, "Cello-F"),
            model(4, "CelloTrack"),
            model(5, "CelloTrack T"),
            model(6, "Cello-CANiQ"),
            model(7, "Olympic"),
            model(8, "Compact"),
            model(9, "370"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], _: usize, eof: bool) -> Result<Cut, Fatal> {
        if input.starts_with(MARK) || input.starts_with(OTHER_MARK) {
            let length = match input.get(MARK_BYTES) {
                None => return Ok(Cut::Need(MARK_BYTES + 1)),
                Some(&(STATE | SERIAL_LOG)) => STATE_BYTES,
                Some(&SERIAL) => match input.get(SERIAL_LENGTH_AT..SERIAL_LENGTH_AT + 2) {
                    Some([low, high]) => {
                        SERIAL_BYTES + usize::from(u16::from_le_bytes([*low, *high]))
                    }
                    _ => return Ok(Cut::Need(SERIAL_BYTES)),
                },
                Some(&PARTS) => match input.get(PARTS_BYTES - 2) {
                    Some(length) => PARTS_BYTES + usize::from(*length),
                    None => return Ok(Cut::Need(PARTS_BYTES)),
                },
                Some(&PROGRAMMING) => PROGRAMMING_BYTES,
                Some(&MODULAR) => match input.get(MODULAR_HEAD_BYTES - 2..MODULAR_HEAD_BYTES) {
                    Some([low, high]) => {
                        MODULAR_HEAD_BYTES + usize::from(u16::from_le_bytes([*low, *high])) + 1
                    }
                    _ => return Ok(Cut::Need(MODULAR_HEAD_BYTES)),
                },
                // a kind of unknown length: on to the next mark
                Some(_) => return Ok(Cut::Skip(MARK_BYTES)),
            };
            return Ok(framing::exactly(input, length));
        }
        if !eof && (MARK.starts_with(input) || OTHER_MARK.starts_with(input)) {
            return Ok(Cut::Need(MARK_BYTES));
        }
        let rest = input.get(1..).unwrap_or_default();
        let next = rest.iter().position(|byte| *byte == b'M');
        Ok(Cut::Skip(next.map_or(input.len(), |at| at + 1)))
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let (sum, covered) = frame.split_last().ok_or(SHORT)?;
        let body = covered.get(MARK_BYTES..).ok_or(SHORT)?;
        if checksum::sum(body) != *sum {
            return Err(Reject::new(
                "sum",
                "the checksum does not fit",
                covered.len(),
            ));
        }
        let mut cursor = Cursor::new(body);
        let kind = cursor.u8().ok_or(SHORT)?;
        let unit = cursor.array::<4>().ok_or(SHORT)?;
        let name = u32::from_le_bytes(unit).to_string();
        cx.identify(Login::of(&name))?;
        if kind != SERIAL {
            cursor.u16_le().ok_or(SHORT)?;
        }
        let number = cursor.u8().ok_or(SHORT)?;
        match kind {
            STATE => {
                let layout = if frame.starts_with(MARK) {
                    Layout::Usual
                } else {
                    Layout::Other
                };
                state(number, layout, &mut cursor, cx).and_then(|read| read.ok_or(SHORT))?;
                acknowledge(number, unit, cx);
            }
            MODULAR => {
                cursor.take(3).ok_or(SHORT)?;
                modular(number, &mut cursor, cx)?;
                let mut answer = vec![0; 9];
                head(&mut answer, MODULAR, unit);
                answer.extend([number, 0, 0, 0, 0, 0x80, 0x0a, 0, 0, 0, 0, 0]);
                answer.extend([9, 3, 0, 0, 0, 0]);
                cx.reply(Reply::stored(closed(answer)));
            }
            _ => {
                let now_ms = cx.now_ms;
                let mut message = cx.message(Time::Received(now_ms))?;
                message.push(fields::MESSAGE_TYPE, &*kind.to_string());
                message.push(fields::FRAME_SEQNUM, number);
                match kind {
                    SERIAL => {
                        let data = cursor.rest().get(SERIAL_DATA_AT..).unwrap_or_default();
                        message.push((fields::RS232_DATA_N, 1), data);
                    }
                    PARTS => push_parts(&mut message, cursor.rest()),
                    _ => message.push(fields::PAYLOAD_HEX, &*hex::encode(cursor.rest())),
                }
                drop(message);
                acknowledge(number, unit, cx);
            }
        }
        Ok(())
    }

    fn probe(head: &[u8]) -> Probe {
        if head.starts_with(MARK) || head.starts_with(OTHER_MARK) {
            Probe::Yes
        } else if MARK.starts_with(head) || OTHER_MARK.starts_with(head) {
            Probe::More
        } else {
            Probe::No
        }
    }
}

/// How a frame of kind 0 is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Usual,
    /// Behind the mark `MCPG`.
    Other,
}

/// Where the data of kind 8 begin, behind the number.
const SERIAL_DATA_AT: usize = 8;

/// Kind 4 with the number of the frame.
fn acknowledge(number: u8, unit: [u8; 4], cx: &mut Context<'_>) {
    let mut answer = vec![0; ANSWER_BYTES - 1];
    head(&mut answer, 4, unit);
    if let Some(place) = answer.get_mut(15) {
        *place = number;
    }
    cx.reply(Reply::stored(closed(answer)));
}

/// One byte and the length, then kind, length and bytes of each part.
fn push_parts(message: &mut RecordBuilder<'_>, bytes: &[u8]) {
    let mut cursor = Cursor::new(bytes.get(2..).unwrap_or_default());
    while cursor.left() > 0 {
        let mut ahead = cursor;
        let part = ahead.u8().zip(ahead.u8());
        let part = part.and_then(|(kind, length)| Some((kind, ahead.take(length.into())?)));
        let Some((kind, part)) = part else {
            message.push(fields::PAYLOAD_HEX, &*hex::encode(cursor.rest()));
            return;
        };
        let id = u32::from(kind);
        message.push(Key::Wire { space: 2, id }, part);
        cursor = ahead;
    }
}

/// Mark, kind and unit over the first nine bytes.
fn head(answer: &mut [u8], kind: u8, unit: [u8; 4]) {
    let bytes = MARK.iter().chain(std::iter::once(&kind)).chain(&unit);
    for (place, byte) in answer.iter_mut().zip(bytes) {
        *place = *byte;
    }
}

/// With its sum.
fn closed(mut answer: Vec<u8>) -> Vec<u8> {
    answer.push(checksum::sum(answer.get(MARK_BYTES..).unwrap_or_default()));
    answer
}

fn alarm(reason: u8) -> Option<ParamId> {
    Some(match reason {
        70 => fields::ALARM_EVENT_TRIGGER,
        80 => fields::POWER_CUT_EVENT_TRIGGER,
        81 => fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER,
        _ => return None,
    })
}

/// Longitude and latitude, and whether they are a place.
struct Place {
    latitude: f64,
    longitude: f64,
    there: bool,
}

impl Place {
    fn of(latitude: f64, longitude: f64) -> Self {
        let there = (latitude, longitude) != (0.0, 0.0)
            && latitude.abs() <= 90.0
            && longitude.abs() <= 180.0;
        Self {
            latitude,
            longitude,
            there,
        }
    }
}

/// Longitude and latitude in 1e-8 radians.
fn place(cursor: &mut Cursor<'_>) -> Option<Place> {
    let degrees = |raw: i32| units::round(f64::from(raw).to_degrees() / 1e8, 7);
    let longitude = degrees(cursor.i32_le()?);
    Some(Place::of(degrees(cursor.i32_le()?), longitude))
}

fn push_place(message: &mut RecordBuilder<'_>, place: &Place) {
    if place.there {
        message.push(fields::POSITION_LATITUDE, place.latitude);
        message.push(fields::POSITION_LONGITUDE, place.longitude);
    }
}

fn state(
    number: u8,
    layout: Layout,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<Option<()>, Reject> {
    /// From the hardware on to the time.
    const TIME_AT: usize = 50;
    let time = || {
        let mut cursor = Cursor::new(cursor.rest().get(TIME_AT..)?);
        let [second, minute, hour, day, month] = cursor.array::<5>()?.map(i64::from);
        let year = i64::from(cursor.u16_le()?);
        let civil = Civil {
            year,
            month,
            day,
            hour,
            minute,
            second,
        };
        civil.utc_ms()
    };
    let mut message = cx.message(or_impossible(time(), cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "0");
    message.push(fields::FRAME_SEQNUM, number);
    Ok(push_state(&mut message, layout, cursor))
}

fn push_state(
    message: &mut RecordBuilder<'_>,
    layout: Layout,
    cursor: &mut Cursor<'_>,
) -> Option<()> {
    let [hardware, firmware, protocol, status, _] = cursor.array::<5>()?;
    message.push(fields::DEVICE_HARDWARE_VERSION, &*hardware.to_string());
    message.push(fields::DEVICE_FIRMWARE_VERSION, &*firmware.to_string());
    message.push(fields::PROTOCOL_VERSION, &*protocol.to_string());
    message.push(fields::STATUS_BITMASK, status & 0x0f);
    let [detail, reason, mode] = cursor.array::<3>()?;
    message.name("reason.detail", detail);
    message.push(fields::EVENT_ENUM, reason);
    if let Some(alarm) = alarm(reason) {
        message.push(alarm, true);
    }
    message.name("mode", mode);
    let inputs = cursor.u32()?;
    message.push(fields::DIN, inputs);
    message.push(fields::ENGINE_IGNITION_STATUS, inputs >> 29 & 1 == 1);
    message.push(fields::DOOR_OPEN_STATUS, inputs >> 24 & 1 == 1);
    message.push(fields::BATTERY_CHARGING_STATUS, inputs >> 7 & 1 == 1);
    message.push(fields::DOUT, cursor.u8()?);
    match layout {
        Layout::Usual => {
            for name in ["adc1", "adc2", "adc3", "adc4"] {
                message.name(name, cursor.u8()?);
            }
        }
        Layout::Other => {
            message.name("adc1", cursor.u16_le()?);
            message.name("adc2", cursor.u16_le()?);
        }
    }
    let meters = little_endian(cursor.take(3)?) as f64;
    message.push(fields::VEHICLE_MILEAGE, meters / 1000.0);
    let driver = cursor.take(6)?;
    message.push(fields::DRIVER_ID, &*hex::encode(driver));
    cursor.u16_le()?;
    let [location, first, second, satellites] = cursor.array::<4>()?;
    message.name("location.status", location);
    message.name("location.mode.1", first);
    message.name("location.mode.2", second);
    message.push(fields::POSITION_SATELLITES, satellites);
    let place = match layout {
        Layout::Usual => place(cursor)?,
        Layout::Other => {
            let degrees = |raw: i32| units::scaled(raw.into(), 7);
            let latitude = degrees(cursor.i32_le()?);
            Place::of(latitude, degrees(cursor.i32_le()?))
        }
    };
    let altitude = cursor.i32_le()?;
    let (speed, course) = (cursor.u32_le()?, cursor.u16_le()?);
    message.push(fields::POSITION_VALID, place.there && satellites > 0);
    push_place(message, &place);
    if place.there {
        message.push(
            fields::POSITION_ALTITUDE,
            units::scaled(i64::from(altitude), 2),
        );
        let thousandths = f64::from(course) / 1000.0;
        let (kmh, course) = match layout {
            Layout::Usual => (f64::from(speed) * 0.036, thousandths.to_degrees()),
            Layout::Other => (speed.into(), thousandths),
        };
        message.push(fields::POSITION_SPEED, units::round(kmh, 3));
        message.push(fields::POSITION_DIRECTION, units::round(course, 3));
    }
    Some(())
}

fn modular(number: u8, cursor: &mut Cursor<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    const TIME: u8 = 7;
    cursor.take(4).ok_or(SHORT)?;
    let mut modules: smallvec::SmallVec<[(u8, &[u8]); 16]> = smallvec::SmallVec::new();
    while cursor.left() > 0 {
        let kind = cursor.u8().ok_or(SHORT)?;
        let length = usize::from(cursor.u16_le().ok_or(SHORT)?);
        modules.push((kind, cursor.take(length).ok_or(SHORT)?));
    }
    let time = modules.iter().find(|(kind, _)| *kind == TIME);
    let ms = time.and_then(|(_, bytes)| {
        let [_, second, minute, hour, day, month, year] = *bytes.first_chunk::<7>()?;
        let [y, mo, d, h, mi, s] = [year, month, day, hour, minute, second].map(i64::from);
        two_digit(y, mo, d, h, mi, s).utc_ms()
    });
    let mut message = cx.message(or_impossible(ms, cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, "11");
    message.push(fields::FRAME_SEQNUM, number);
    for (kind, bytes) in modules {
        let mut module = Cursor::new(bytes);
        match kind {
            2 => push_values(&mut message, &mut module).ok_or(SHORT)?,
            6 => push_module_place(&mut message, &mut module).ok_or(SHORT)?,
            TIME => {}
            _ => message.push(
                Key::Wire {
                    space: 1,
                    id: u32::from(kind),
                },
                bytes,
            ),
        }
    }
    Ok(())
}

fn push_values(message: &mut RecordBuilder<'_>, module: &mut Cursor<'_>) -> Option<()> {
    module.take(6)?;
    let count = module.u8()?;
    for _ in 0..count {
        let (id, length) = (module.u16_le()?, module.u8()?);
        let value = module.take(usize::from(length))?;
        if value.len() <= 8 {
            let raw = crate::contract::Value::unsigned(little_endian(value));
            message.wire(u32::from(id), raw);
        } else {
            message.wire(u32::from(id), value);
        }
    }
    Some(())
}

fn push_module_place(message: &mut RecordBuilder<'_>, module: &mut Cursor<'_>) -> Option<()> {
    let [location, first, second] = module.array::<3>()?;
    message.name("location.status", location);
    message.name("location.mode.1", first);
    message.name("location.mode.2", second);
    message.push(fields::POSITION_SATELLITES, module.u8()?);
    message.push(fields::POSITION_VALID, false);
    let place = place(module)?;
    push_place(message, &place);
    let altitude = module.i32_le()?;
    let (speed, course) = (module.u8()?, module.u16_le()?);
    if place.there {
        message.push(
            fields::POSITION_ALTITUDE,
            units::scaled(i64::from(altitude), 2),
        );
        let kmh = units::round(f64::from(speed) * 0.036, 3);
        message.push(fields::POSITION_SPEED, kmh);
        let course = (f64::from(course) / 1000.0).to_degrees();
        message.push(fields::POSITION_DIRECTION, units::round(course, 3));
    }
    Some(())
}
