//! Items that a device is set to send behind each record: two letters, or two and a number.
//!
//! | item | bytes | says |
//! |---|---|---|
//! | AT | 4 | altitude |
//! | AV1 to AV4 | 2 | analog input, mV |
//! | BC | text | beacons: mode, mask, bytes in hex; colons between |
//! | BV, MV | 2 | battery, supply, 0.1 V |
//! | CD, CM | text, 8 | SIM card's and subscriber's number |
//! | CE, LC, CN, GQ, RL | 4, 2, 4, 1, 1 | cell, area, country and network, signal (0 to 31), level |
//! | CR, GS | 1 | registration |
//! | DL, EG, MT, JD, BT | 1 | idling, engine, moving, jamming, Bluetooth |
//! | DT | 1 | 1: from the device's memory |
//! | EH, OD, EO | 4 | engine's hours 0.1 h, odometer of the vehicle 0.1 km, or in miles |
//! | EL, TR, FL, ML | 1 | engine's load, throttle, fuel in percent, malfunction lamp |
//! | ET, IA, MP, MF, RP, VS | 2, 1, 1, 2, 2, 1 | coolant, intake air, its pressure, its flow, rpm, speed |
//! | FC | 4 | fuel used, 0.1 l |
//! | GL, MA, NC, HT | text | link to a map, address of the chip, neighbour cells, hand-held terminal |
//! | GN, GV | 60, 6 | ten readings of the accelerometer, the largest |
//! | HA, HB, HC | 1 | harsh acceleration, braking, cornering |
//! | ME | 8 | IMEI |
//! | PC | 4 | pulses |
//! | PD, PF, IP, OC, CS, SF | 1 | kept as they are |
//! | SA, SM | 1, 2 | satellites, top speed since the last report |
//! | VN | text | vehicle's number |
//! | IN0, IN1 to IN3 | 1 | ignition, inputs |
//! | ZO, ZH, ZL, ZS and a number | 1, 2, 4, text | values of J1708 |
//! | JO, JH, JL, JN, JS and a number | 1, 2, 4, 4, text | values of J1939, as the FMS standard scales them |
//!
//! Values that the vehicle does not give are all ones in J1939 and kept out.

use super::beacons;
use super::raw::{Raw, push_as_it_is};
use crate::contract::{Instance, ParamId, RecordBuilder, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::{table, units};

/// The warmest air that a vehicle reports: a byte beyond it is a negative number.
const CELSIUS_MAX: i64 = 215;

/// What an item means.
#[derive(Clone, Copy)]
enum Means {
    Param(ParamId),
    Signed(ParamId),
    Scaled(ParamId, i32),
    Celsius(ParamId),
    Flag(ParamId),
    /// An event if it is not 0.
    Event(ParamId),
    Text(ParamId),
    /// Times a factor and plus an offset; all ones are none.
    Linear(ParamId, Instance, f64, f64),
    Input(Instance),
    /// Digits of an identification.
    Code(ParamId),
    Analog(Instance),
    Pulses,
    Signal,
    CellId,
    Area,
    Network,
    Beacons,
    /// Kept under its own name.
    Name,
}

/// A row of the table.
#[derive(Clone, Copy)]
pub(super) struct Item {
    key: u32,
    /// In the binary form; 0: a text.
    pub(super) bytes: u8,
    means: Means,
}

const fn item(name: &'static str, bytes: u8, means: Means) -> Item {
    Item {
        key: key(name.as_bytes()),
        bytes,
        means,
    }
}

/// A name of up to four bytes as a number, in the order of names; 0: longer.
const fn key(name: &[u8]) -> u32 {
    match *name {
        [a, b] => u32::from_be_bytes([a, b, 0, 0]),
        [a, b, c] => u32::from_be_bytes([a, b, c, 0]),
        [a, b, c, d] => u32::from_be_bytes([a, b, c, d]),
        _ => 0,
    }
}

/// Sorted by name.
static ITEMS: &[Item] = &[
    item("AT", 4, Means::Signed(fields::POSITION_ALTITUDE)),
    item("AV1", 2, Means::Analog(1)),
    item("AV2", 2, Means::Analog(2)),
    item("AV3", 2, Means::Analog(3)),
    item("AV4", 2, Means::Analog(4)),
    item("BC", 0, Means::Beacons),
    item("BT", 1, Means::Flag(fields::BLUETOOTH_CONNECTED_STATUS)),
    item("BV", 2, Means::Scaled(fields::BATTERY_VOLTAGE, 1)),
    item("CD", 0, Means::Text(fields::GSM_SIM_ICCID)),
    item("CE", 4, Means::CellId),
    item("CM", 8, Means::Code(fields::GSM_SIM_IMSI)),
    item("CN", 4, Means::Network),
    item("CR", 1, Means::Param(fields::GSM_REGISTRATION_STATE)),
    item("CS", 1, Means::Name),
    item("DL", 1, Means::Flag(fields::IDLE_STATUS)),
    item("DT", 1, Means::Flag(fields::MESSAGE_BUFFERED_STATUS)),
    item("EG", 1, Means::Name),
    item("EH", 4, Means::Scaled(fields::ENGINE_MOTORHOURS, 1)),
    item("EL", 1, Means::Param(fields::CAN_ENGINE_LOAD_LEVEL)),
    item(
        "EO",
        4,
        Means::Linear(fields::CAN_VEHICLE_MILEAGE, 0, 1.609_344, 0.0),
    ),
    item(
        "ET",
        2,
        Means::Signed(fields::CAN_ENGINE_COOLANT_TEMPERATURE),
    ),
    item("FC", 4, Means::Scaled(fields::CAN_FUEL_CONSUMED, 1)),
    item("FL", 1, Means::Param(fields::CAN_FUEL_LEVEL)),
    item("GL", 0, Means::Name),
    item("GN", 60, Means::Name),
    item("GQ", 1, Means::Signal),
    item("GS", 1, Means::Name),
    item("GV", 6, Means::Name),
    item(
        "HA",
        1,
        Means::Event(fields::HARSH_ACCELERATION_EVENT_TRIGGER),
    ),
    item("HB", 1, Means::Event(fields::HARSH_BRAKING_EVENT_TRIGGER)),
    item("HC", 1, Means::Event(fields::HARSH_CORNERING_EVENT_TRIGGER)),
    item("HT", 0, Means::Name),
    item("IA", 1, Means::Celsius(fields::CAN_INTAKE_AIR_TEMPERATURE)),
    item("IN0", 1, Means::Flag(fields::ENGINE_IGNITION_STATUS)),
    item("IN1", 1, Means::Input(1)),
    item("IN2", 1, Means::Input(2)),
    item("IN3", 1, Means::Input(3)),
    item("IP", 1, Means::Name),
    item("JD", 1, Means::Flag(fields::GSM_JAMMING_ALARM_STATUS)),
    item(
        "JH1",
        2,
        Means::Linear(fields::CAN_VEHICLE_SPEED, 0, 1.0 / 256.0, 0.0),
    ),
    item(
        "JH10",
        2,
        Means::Linear(fields::CAN_AMBIENT_AIR_TEMPERATURE, 0, 0.03125, -273.0),
    ),
    item(
        "JH11",
        2,
        Means::Linear(fields::CAN_FUEL_RATE, 0, 0.05, 0.0),
    ),
    item(
        "JH2",
        2,
        Means::Linear(fields::CAN_ENGINE_RPM, 0, 0.125, 0.0),
    ),
    item("JH3", 2, Means::Linear(fields::AXLE_WEIGHT_N, 1, 0.5, 0.0)),
    item("JH4", 2, Means::Linear(fields::AXLE_WEIGHT_N, 2, 0.5, 0.0)),
    item("JH5", 2, Means::Linear(fields::AXLE_WEIGHT_N, 3, 0.5, 0.0)),
    item("JH6", 2, Means::Linear(fields::AXLE_WEIGHT_N, 4, 0.5, 0.0)),
    item("JH7", 2, Means::Linear(fields::AXLE_WEIGHT_N, 5, 0.5, 0.0)),
    item(
        "JH9",
        2,
        Means::Linear(fields::CAN_TACHO_SPEED, 0, 1.0 / 256.0, 0.0),
    ),
    item(
        "JL1",
        4,
        Means::Linear(fields::CAN_FUEL_CONSUMED, 0, 0.5, 0.0),
    ),
    item(
        "JL2",
        4,
        Means::Linear(fields::CAN_ENGINE_MOTORHOURS, 0, 0.05, 0.0),
    ),
    item(
        "JL3",
        4,
        Means::Linear(fields::CAN_VEHICLE_MILEAGE, 0, 1.0, 0.0),
    ),
    item(
        "JL4",
        4,
        Means::Linear(fields::CAN_FUEL_CONSUMED, 0, 0.001, 0.0),
    ),
    item(
        "JO11",
        1,
        Means::Linear(fields::CAN_ENGINE_COOLANT_TEMPERATURE, 0, 1.0, -40.0),
    ),
    item(
        "JO3",
        1,
        Means::Linear(fields::CAN_THROTTLE_PEDAL_LEVEL, 0, 0.4, 0.0),
    ),
    item(
        "JO4",
        1,
        Means::Linear(fields::CAN_ENGINE_LOAD_LEVEL, 0, 1.0, 0.0),
    ),
    item("JO5", 1, Means::Linear(fields::CAN_FUEL_LEVEL, 0, 0.4, 0.0)),
    item("JS1", 0, Means::Text(fields::CAN_VEHICLE_VIN)),
    item("JS3", 0, Means::Text(fields::DRIVER_ID)),
    item("LC", 2, Means::Area),
    item("MA", 0, Means::Name),
    item("ME", 8, Means::Code(fields::DEVICE_IMEI)),
    item("MF", 2, Means::Name),
    item("ML", 1, Means::Flag(fields::CAN_MIL_STATUS)),
    item("MP", 1, Means::Param(fields::CAN_INTAKE_MAP_PRESSURE)),
    item("MT", 1, Means::Flag(fields::MOVEMENT_STATUS)),
    item(
        "MV",
        2,
        Means::Scaled(fields::EXTERNAL_POWERSOURCE_VOLTAGE, 1),
    ),
    item("NC", 0, Means::Name),
    item("OC", 1, Means::Name),
    item("OD", 4, Means::Scaled(fields::CAN_VEHICLE_MILEAGE, 1)),
    item("PC", 4, Means::Pulses),
    item("PD", 1, Means::Name),
    item("PF", 1, Means::Name),
    item("RL", 1, Means::Name),
    item("RP", 2, Means::Param(fields::CAN_ENGINE_RPM)),
    item("SA", 1, Means::Param(fields::POSITION_SATELLITES)),
    item("SF", 1, Means::Name),
    item("SM", 2, Means::Name),
    item("TR", 1, Means::Param(fields::CAN_THROTTLE_LEVEL)),
    item("VN", 0, Means::Text(fields::VEHICLE_VIN)),
    item("VS", 1, Means::Param(fields::CAN_VEHICLE_SPEED)),
    item(
        "ZH3",
        2,
        Means::Linear(fields::CAN_ENGINE_RPM, 0, 0.25, 0.0),
    ),
    item(
        "ZL2",
        4,
        Means::Linear(fields::CAN_VEHICLE_MILEAGE, 0, 0.160_934_4, 0.0),
    ),
    item(
        "ZL4",
        4,
        Means::Linear(fields::CAN_ENGINE_MOTORHOURS, 0, 0.05, 0.0),
    ),
    item(
        "ZO10",
        1,
        Means::Linear(fields::CAN_FUEL_LEVEL, 0, 0.5, 0.0),
    ),
    item(
        "ZO4",
        1,
        Means::Linear(fields::CAN_THROTTLE_LEVEL, 0, 0.4, 0.0),
    ),
    item(
        "ZO6",
        1,
        Means::Linear(fields::CAN_VEHICLE_SPEED, 0, 0.804_672, 0.0),
    ),
    item(
        "ZO9",
        1,
        Means::Linear(fields::CAN_ENGINE_LOAD_LEVEL, 0, 0.5, 0.0),
    ),
    item("ZS1", 0, Means::Text(fields::CAN_VEHICLE_VIN)),
];

/// Values of the vehicle that have no row: their width is in the second letter.
static VEHICLE_VALUES: &[(&str, Item)] = &[
    ("ZO", item("", 1, Means::Name)),
    ("ZH", item("", 2, Means::Name)),
    ("ZL", item("", 4, Means::Name)),
    ("ZS", item("", 0, Means::Name)),
    ("JO", item("", 1, Means::Name)),
    ("JH", item("", 2, Means::Name)),
    ("JL", item("", 4, Means::Name)),
    ("JN", item("", 4, Means::Name)),
    ("JS", item("", 0, Means::Name)),
];

/// The row of an item.
pub(super) fn find(name: &str) -> Option<&'static Item> {
    if let Ok(at) = ITEMS.binary_search_by_key(&key(name.as_bytes()), |item| item.key) {
        return ITEMS.get(at);
    }
    let (letters, digits) = name.split_at_checked(2)?;
    let numbered = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let known = VEHICLE_VALUES.iter().find(|(known, _)| *known == letters);
    known.filter(|_| numbered).map(|(_, item)| item)
}

/// The serving cell, whose parts are items of their own.
#[derive(Default)]
pub(super) struct Serving(Cell);

impl Serving {
    /// Adds the cell if there is one.
    pub(super) fn push(self, message: &mut RecordBuilder<'_>) {
        let mut cell = self.0;
        if cell.id.is_none_or(|id| id == 0) {
            (cell.id, cell.lac) = (None, None);
        }
        cells::push(message, 0, cell);
    }
}

/// Signal of 0 to 31 as dBm; 99 is none.
pub(super) fn dbm(steps: i64) -> Option<i64> {
    (0..=31).contains(&steps).then(|| 2 * steps - 113)
}

/// Adds an item, in whichever form it came; one that nobody knows under its own name.
pub(super) fn push(name: &str, raw: Raw<'_>, cell: &mut Serving, message: &mut RecordBuilder<'_>) {
    let means = find(name).map_or(Means::Name, |item| item.means);
    let value = raw.number();
    match (means, value) {
        (Means::Param(param), Some(value)) => message.push(param, value),
        (Means::Signed(param), Some(value)) => message.push(param, signed(raw, value)),
        (Means::Scaled(param, decimals), Some(value)) => {
            message.push(param, units::scaled(value, decimals));
        }
        (Means::Celsius(param), Some(value)) => {
            let below = value > CELSIUS_MAX && value < 256;
            message.push(param, if below { value - 256 } else { value });
        }
        (Means::Flag(param), Some(value)) => message.push(param, value != 0),
        (Means::Event(_) | Means::Code(_), Some(0)) => {}
        (Means::Event(param), Some(_)) => message.push(param, true),
        (Means::Analog(input), Some(value)) => {
            message.push((fields::AIN_N, input), units::scaled(value, 3));
        }
        (Means::Pulses, Some(value)) => message.push((fields::COUNTER_IMPULSES_N, 1), value),
        (Means::Signal, Some(steps)) => cell.0.dbm = dbm(steps),
        (Means::CellId, Some(id)) => cell.0.id = Some(id),
        (Means::Area, Some(lac)) => cell.0.lac = Some(lac),
        (Means::Network, Some(code)) => {
            // three digits of the country, two or three of the network
            let split = if code >= 100_000 { 1000 } else { 100 };
            if code > 0 {
                (cell.0.mcc, cell.0.mnc) = (Some(code / split), Some(code % split));
            }
        }
        (Means::Linear(param, instance, factor, offset), Some(value)) => {
            if !is_absent(raw) {
                let value = units::round(value as f64 * factor + offset, 3);
                message.push((param, instance), value);
            }
        }
        (Means::Input(input), Some(value)) => message.push((fields::DIN_N, input), value != 0),
        (Means::Code(param), Some(digits)) => message.push(param, &*digits.to_string()),
        (Means::Text(param), _) => {
            if let Raw::Text(text) = raw
                && !text.is_empty()
            {
                message.push(param, text);
            }
        }
        (Means::Beacons, _) => beacons::push(raw, message),
        (Means::Name, Some(_)) if matches!(raw, Raw::Bytes(bytes) if bytes.len() > 4) => {
            push_as_it_is(name, raw, message);
        }
        (_, Some(value)) => message.name(name, value),
        (_, None) => push_as_it_is(name, raw, message),
    }
}

fn signed(raw: Raw<'_>, value: i64) -> i64 {
    match raw {
        Raw::Bytes(bytes) => table::signed(value.cast_unsigned(), bytes.len()),
        Raw::Text(_) => value,
    }
}

/// All ones: the vehicle does not say.
fn is_absent(raw: Raw<'_>) -> bool {
    match raw {
        Raw::Bytes(bytes) => bytes.iter().all(|byte| *byte == 0xff),
        Raw::Text(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(ITEMS.is_sorted_by_key(|item| item.key));
        assert!(find("").is_none() && find("ZO123").is_some_and(|item| item.bytes == 1));
        assert!(find("ZO14").is_some() && find("ZO").is_none() && find("ZZ1").is_none());
    }
}
