//! What a number means: from ids of the wire to parameters.

use crate::contract::{RecordBuilder, Value, fields};
use crate::kit::hex;
use crate::kit::table::{self, Form, Row, big_endian, row};

const MILLI: Form = Form::Scaled(0.001, 3);
/// SAE J1939's and OBD's temperatures.
const CELSIUS: Form = Form::Offset(-40);

/// Sorted by the ids.
static ROWS: &[Row] = &[
    row(2, fields::DIN_N, 1, Form::Flag),
    row(3, fields::DIN_N, 2, Form::Flag),
    row(4, fields::DIN_N, 3, Form::Flag),
    row(5, fields::DIN_N, 4, Form::Flag),
    row(13, fields::MOVEMENT_STATUS, 0, Form::Flag),
    row(20, fields::AIN_N, 3, MILLI),
    row(21, fields::AIN_N, 4, MILLI),
    row(22, fields::AIN_N, 1, MILLI),
    row(23, fields::AIN_N, 2, MILLI),
    row(27, fields::GSM_SIGNAL_ENUM, 0, Form::Plain),
    row(29, fields::EXTERNAL_POWERSOURCE_VOLTAGE, 0, MILLI),
    row(30, fields::BATTERY_VOLTAGE, 0, MILLI),
    row(32, fields::DEVICE_TEMPERATURE, 0, Form::Signed),
    row(34, fields::IBUTTON_CODE, 0, Form::Code),
    row(39, fields::CAN_ENGINE_LOAD_LEVEL, 0, Form::Plain),
    row(65, fields::VEHICLE_MILEAGE, 0, MILLI),
    row(
        74,
        fields::SENSOR_TEMPERATURE_N,
        4,
        Form::SignedScaled(0.1, 1),
    ),
    row(
        78,
        fields::SENSOR_TEMPERATURE_N,
        1,
        Form::SignedScaled(0.1, 1),
    ),
    row(
        79,
        fields::SENSOR_TEMPERATURE_N,
        2,
        Form::SignedScaled(0.1, 1),
    ),
    row(
        80,
        fields::SENSOR_TEMPERATURE_N,
        3,
        Form::SignedScaled(0.1, 1),
    ),
    row(88, fields::GSM_JAMMING_ALARM_STATUS, 0, Form::Flag),
    row(94, fields::CAN_ENGINE_RPM, 0, Form::Scaled(0.25, 2)),
    row(95, fields::CAN_VEHICLE_SPEED, 0, Form::Plain),
    row(96, fields::CAN_ENGINE_COOLANT_TEMPERATURE, 0, CELSIUS),
    row(97, fields::CAN_INTAKE_AIR_TEMPERATURE, 0, CELSIUS),
    row(
        98,
        fields::CAN_FUEL_LEVEL,
        0,
        Form::Scaled(100.0 / 255.0, 2),
    ),
    row(100, fields::CAN_FUEL_RATE, 0, Form::Scaled(0.05, 2)),
    row(114, fields::CAN_VEHICLE_MILEAGE, 0, Form::Scaled(0.005, 3)),
    row(115, fields::CAN_ENGINE_COOLANT_TEMPERATURE, 0, CELSIUS),
    row(
        116,
        fields::CAN_VEHICLE_SPEED,
        0,
        Form::Scaled(1.0 / 256.0, 1),
    ),
    row(134, fields::HARSH_BRAKING_EVENT_TRIGGER, 0, Form::Flag),
    row(136, fields::HARSH_ACCELERATION_EVENT_TRIGGER, 0, Form::Flag),
    row(150, fields::GSM_OPERATOR_CODE, 0, Form::Plain),
    row(163, fields::CAN_VEHICLE_MILEAGE, 0, Form::Scaled(0.005, 3)),
    row(164, fields::TRIP_MILEAGE, 0, Form::Scaled(0.005, 3)),
    row(
        165,
        fields::CAN_VEHICLE_SPEED,
        0,
        Form::Scaled(1.0 / 256.0, 1),
    ),
    row(166, fields::CAN_ENGINE_RPM, 0, Form::Scaled(0.125, 2)),
    row(170, fields::BATTERY_CHARGING_STATUS, 0, Form::Flag),
    row(173, fields::MOVEMENT_STATUS, 0, Form::Flag),
    row(197, fields::CAN_ENGINE_RPM, 0, Form::Scaled(0.125, 2)),
    row(207, fields::CAN_FUEL_LEVEL, 0, Form::Scaled(0.4, 1)),
    row(208, fields::CAN_FUEL_CONSUMED, 0, Form::Scaled(0.5, 1)),
    row(251, fields::ENGINE_IGNITION_STATUS, 0, Form::Flag),
    row(409, fields::ENGINE_IGNITION_STATUS, 0, Form::Flag),
    row(410, fields::TOWING_EVENT_TRIGGER, 0, Form::Flag),
    row(411, fields::CRASH_EVENT_TRIGGER, 0, Form::Flag),
    row(645, fields::CAN_VEHICLE_MILEAGE, 0, Form::Plain),
];

/// Is the antenna of the receiver there?
const ANTENNA: u16 = 415;
/// 1: the device was opened.
const OPENED: u16 = 758;
/// The operator's MCC and MNC in one number.
const OPERATOR: u16 = 150;
/// The three parts of the VIN.
const VIN: [u16; 3] = [104, 105, 106];
/// Two halves of a driver's card, twice.
const CARDS: [u16; 4] = [126, 127, 155, 156];

/// What comes in several ids, until all of them are there.
#[derive(Default)]
pub(super) struct Values {
    vin: [[u8; 8]; 3],
    card: [[u8; 8]; 4],
}

impl Values {
    /// Adds a value, or keeps it until its other parts are there.
    pub(super) fn push(&mut self, id: u16, bytes: &[u8], message: &mut RecordBuilder<'_>) {
        let raw = big_endian(bytes);
        for (ids, parts) in [
            (&VIN[..], &mut self.vin[..]),
            (&CARDS[..], &mut self.card[..]),
        ] {
            if let Some(at) = ids.iter().position(|known| *known == id)
                && let (Some(part), Ok(bytes)) = (parts.get_mut(at), <[u8; 8]>::try_from(bytes))
            {
                *part = bytes;
                return;
            }
        }
        match table::find(ROWS, id) {
            Some(_) if id == OPERATOR => {
                if raw != 0 {
                    message.push(fields::GSM_OPERATOR_CODE, &*raw.to_string());
                }
            }
            None if id == ANTENNA => {
                message.push(fields::GNSS_ANTENNA_STATUS, raw != 0);
                if raw == 0 {
                    message.push(fields::GNSS_ANTENNA_CUT_EVENT_TRIGGER, true);
                }
            }
            None if id == OPENED => message.push(fields::TAMPERING_EVENT_TRIGGER, raw == 1),
            Some(row) if is_bus(id) && is_none(raw, bytes.len()) => {
                message.wire(row.id.into(), Value::unsigned(raw));
            }
            Some(row) => table::push(row, raw, bytes.len(), message),
            None => message.wire(id.into(), Value::unsigned(raw)),
        }
    }

    /// Adds what came in several ids.
    pub(super) fn finish(self, message: &mut RecordBuilder<'_>) {
        if let Some(vin) = text(self.vin.as_flattened()) {
            message.push(fields::VEHICLE_VIN, vin);
        }
        let (first, second) = self.card.split_at(2);
        for (instance, card) in [(1u16, first), (2, second)] {
            let card = card.as_flattened();
            if card.iter().all(|byte| *byte == 0) {
                continue;
            }
            let digits = hex::encode(card);
            let id = text(card).unwrap_or(&digits);
            if instance == 1 {
                message.push(fields::DRIVER_ID, id);
            } else {
                message.name("driver2.id", id);
            }
        }
    }
}

/// The letters before the padding, if it is letters.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?.trim_matches(['\0', ' ']);
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())).then_some(text)
}

/// Does the vehicle's bus say this one? There all ones are "not available".
fn is_bus(id: u16) -> bool {
    matches!(id, 39 | 94..=100 | 114..=116 | 163..=166 | 197 | 207 | 208 | 645)
}

fn is_none(raw: u64, bytes: usize) -> bool {
    table::signed(raw, bytes) == -1
}
