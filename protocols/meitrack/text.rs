//! Positions as text.
//!
//! | field | meaning |
//! |---|---|
//! | event | decimal |
//! | latitude, longitude | degrees |
//! | time | yymmddHHMMSS |
//! | A or V | fix or none |
//! | satellites, signal | signal 0 to 31 |
//! | speed, course, HDOP, altitude | km/h, degrees, -, m |
//! | mileage, run time | m, s |
//! | MCC, MNC, LAC, cell | joined by bars; the last two hexadecimal |
//! | ports | four hexadecimal digits: inputs, outputs |
//! | analog | joined by bars, hexadecimal: inputs 1 to 3, battery, supply |
//! | event's data | the tag if the event is 37 |
//! | - | |
//! | version | |
//! | fuel | hexadecimal: percent (2 digits), 0.01 % (2) |
//! | temperatures | joined by bars, hexadecimal: number (2 digits), 0.01 degrees (4), before version 3 degrees (2) and hundredths (2) |
//! | ... | not told: kept under the number of the field |

use super::events;
use crate::contract::{Context, Instance, RecordBuilder, Reject, Settings, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{self, float, number};
use crate::kit::time::{digits, or_impossible};
use crate::kit::units::{round, scaled};
use smallvec::SmallVec;

/// Up to whether it is fixed.
const FIELDS_MIN: usize = 5;
/// The most fields of a frame.
const FIELDS_MAX: usize = 96;
/// From this version on a temperature counts hundredths; before it a byte of degrees has one of hundredths
/// behind it.
const VERSION_OF_HUNDREDTHS: u16 = 3;
/// Which field the analog inputs are.
const ANALOG: usize = 15;
const BATTERY: usize = 3;

/// Reads a position. `number` is the frame's number if it comes from memory.
pub(super) fn position(
    number_or_kind: &str,
    rest: &str,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let parts: SmallVec<[&str; 40]> = parse::split(rest, b',').take(FIELDS_MAX + 1).collect();
    if !(FIELDS_MIN..=FIELDS_MAX).contains(&parts.len()) {
        return Err(Reject::new(
            "text",
            "not so many fields as a position has",
            0,
        ));
    }
    let at = |index: usize| parts.get(index).copied().unwrap_or_default().trim();
    let scale = Scale::of_model(cx.settings());
    let ms = digits(at(3), "ymdHMS").and_then(|civil| civil.ms(cx.settings()));
    let mut message = cx.message(or_impossible(ms, cx.now_ms))?;
    if number_or_kind == "AAA" {
        message.push(fields::MESSAGE_TYPE, "AAA");
    } else {
        message.push(fields::MESSAGE_TYPE, "AFF");
        message.push(fields::MESSAGE_BUFFERED_STATUS, true);
        let number = i64::from_str_radix(number_or_kind, 16).ok();
        message.push_some(fields::FRAME_SEQNUM, number);
    }
    let event = number::<i64>(at(0));
    if let Some(event) = event {
        events::push(event, &mut message);
    }
    let latitude = float(at(1)).filter(|degrees| degrees.abs() <= 90.0);
    let longitude = float(at(2)).filter(|degrees| degrees.abs() <= 180.0);
    let place = latitude.zip(longitude).filter(|place| *place != (0.0, 0.0));
    message.push(fields::POSITION_VALID, place.is_some() && at(4) == "A");
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
        message.push_some(fields::POSITION_SPEED, float(at(7)));
        message.push_some(fields::POSITION_DIRECTION, float(at(8)));
        message.push_some(fields::POSITION_ALTITUDE, float(at(10)));
    }
    message.push_some(fields::POSITION_SATELLITES, number::<i64>(at(5)));
    message.push_some(fields::GSM_SIGNAL_ENUM, number::<i64>(at(6)));
    message.push_some(fields::POSITION_HDOP, float(at(9)));
    let mileage = number::<i64>(at(11)).map(|meters| scaled(meters, 3));
    message.push_some(fields::VEHICLE_MILEAGE, mileage);
    message.push_some(fields::UPTIME, number::<i64>(at(12)));
    cell(at(13), &mut message);
    if let Ok(ports) = u16::from_str_radix(at(14), 16) {
        let [inputs, outputs] = ports.to_be_bytes();
        message.push(fields::DIN, inputs);
        message.push(fields::DOUT, outputs);
    }
    analog(at(ANALOG), scale, &mut message);
    tail(
        event,
        parts.get(ANALOG + 1..).unwrap_or_default(),
        &mut message,
    );
    Ok(())
}

fn cell(text: &str, message: &mut RecordBuilder<'_>) {
    let mut codes = text.split('|');
    let mut decimal = || codes.next().and_then(number::<i64>);
    let (mcc, mnc) = (decimal(), decimal());
    let mut hexadecimal = || i64::from_str_radix(codes.next()?.trim(), 16).ok();
    let (lac, id) = (hexadecimal(), hexadecimal());
    if [mcc, lac, id].iter().all(|code| code.unwrap_or(0) == 0) {
        return;
    }
    let cell = Cell {
        mcc,
        mnc,
        lac,
        id,
        dbm: None,
    };
    cells::push(message, 0, cell);
}

/// What a step of an analog input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// 0.01 V.
    Hundredths,
    /// 10 bits of 3 V.
    TenBits,
    /// 12 bits of 3.3 V.
    TwelveBits,
}

impl Scale {
    fn of_model(settings: &Settings) -> Option<Self> {
        let model = settings.model.as_deref()?;
        let is = |names: &[&str]| names.iter().any(|name| model.eq_ignore_ascii_case(name));
        Some(if is(&["MVT340", "MVT380"]) {
            Self::TenBits
        } else if is(&[
            "MT90", "T1", "T3", "MVT100", "MVT600", "MVT800", "TC68", "TC68S",
        ]) {
            Self::TwelveBits
        } else {
            Self::Hundredths
        })
    }

    /// By the battery's own steps: see the module's quirks.
    fn of_battery(steps: u16) -> Self {
        match steps {
            0..=500 => Self::Hundredths,
            501..=1023 => Self::TenBits,
            _ => Self::TwelveBits,
        }
    }

    /// Volts before a divider by `divider`.
    fn volts(self, steps: u16, divider: f64) -> f64 {
        let steps = f64::from(steps);
        let volts = match self {
            Self::Hundredths => steps / 100.0,
            Self::TenBits => steps * 3.0 * divider / 1024.0,
            Self::TwelveBits => steps * 3.3 * divider / 4096.0,
        };
        round(volts, 2)
    }
}

fn analog(text: &str, scale: Option<Scale>, message: &mut RecordBuilder<'_>) {
    const BATTERY_DIVIDER: f64 = 2.0;
    const SUPPLY_DIVIDER: f64 = 16.0;
    // some write volts: battery and supply first
    if text.contains('.') {
        let mut volts = text.split('|').map(float);
        message.push_some(fields::BATTERY_VOLTAGE, volts.next().flatten());
        message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts.next().flatten());
        for (name, value) in ["rtc.voltage", "mcu.voltage", "gnss.voltage"]
            .into_iter()
            .zip(volts)
        {
            if let Some(value) = value {
                message.name(name, value);
            }
        }
        return;
    }
    let values = text.split('|').take(8);
    let values: SmallVec<[Option<u16>; 8]> = values
        .map(|text| u16::from_str_radix(text.trim(), 16).ok())
        .collect();
    let battery = values.get(BATTERY).copied().flatten();
    let scale = scale.or(battery.map(Scale::of_battery));
    for (value, number) in values.iter().zip(0..) {
        let Some(steps) = *value else { continue };
        match (number, scale) {
            (3, Some(scale)) => {
                message.push(fields::BATTERY_VOLTAGE, scale.volts(steps, BATTERY_DIVIDER));
            }
            (4, Some(scale)) => {
                let volts = scale.volts(steps, SUPPLY_DIVIDER);
                message.push(fields::EXTERNAL_POWERSOURCE_VOLTAGE, volts);
            }
            (_, Some(Scale::Hundredths)) => {
                let input: Instance = number + 1;
                message.push((fields::AIN_N, input), Scale::Hundredths.volts(steps, 1.0));
            }
            _ => message.name(&format!("adc{}", number + 1), i64::from(steps)),
        }
    }
}

fn tail(event: Option<i64>, parts: &[&str], message: &mut RecordBuilder<'_>) {
    let version = parts
        .get(2)
        .and_then(|part| number::<u16>(part))
        .unwrap_or(0);
    for (index, part) in parts.iter().enumerate() {
        let part = part.trim();
        if part.is_empty() {
            continue;
        }
        match index {
            0 if event == Some(events::DRIVER) => message.push(fields::DRIVER_ID, part),
            0 => message.name("event.data", part),
            2 => message.push(fields::PROTOCOL_VERSION, part),
            3 => {
                let level = u16::from_str_radix(part, 16)
                    .ok()
                    .filter(|_| part.len() == 4);
                let percent = level.map(|level| {
                    let [whole, hundredths] = level.to_be_bytes();
                    round(f64::from(whole) + f64::from(hundredths) / 100.0, 2)
                });
                message.push_some(fields::FUEL_LEVEL, percent);
            }
            4 => {
                for sensor in part.split('|') {
                    let Some((number, value)) = sensor.split_at_checked(2) else {
                        continue;
                    };
                    let number = Instance::from_str_radix(number, 16).ok();
                    let value = u16::from_str_radix(value, 16).ok();
                    if let Some((number, value)) = number.zip(value) {
                        let celsius = if version >= VERSION_OF_HUNDREDTHS {
                            scaled(value.cast_signed().into(), 2)
                        } else {
                            let [whole, hundredths] = value.to_be_bytes();
                            let whole = f64::from(i8::from_be_bytes([whole]));
                            round(whole + f64::from(hundredths).copysign(whole) / 100.0, 2)
                        };
                        message.push((fields::SENSOR_TEMPERATURE_N, number), celsius);
                    }
                }
            }
            _ => message.wire(u32::try_from(ANALOG + 2 + index).unwrap_or(u32::MAX), part),
        }
    }
}
