//! Values of the vehicle.

use super::parts::Fields;
use super::report;
use crate::contract::{Context, Reject, fields};
use crate::kit::parse::float;
use crate::kit::units;

/// More liters than this over 100 km is something else.
const CONSUMPTION_MAX: f64 = 1000.0;

/// Date, odometer in metres, fuel now and on average, hours, speed, load, coolant, throttle, rpm,
/// battery, trouble codes.
pub(super) fn read(parts: &Fields<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let at = |index: usize| parts.get(index).copied().unwrap_or_default().trim();
    let value = |index: usize| float(at(index).trim_end_matches('%'));
    let time = report::local_time(at(1), cx);
    let mut message = cx.message(time)?;
    let km = value(2).map(|metres| units::round(metres / 1000.0, 3));
    message.push_some(fields::CAN_VEHICLE_MILEAGE, km);
    message.push_some(fields::CAN_FUEL_RATE, value(3));
    match value(4) {
        Some(liters) if liters < CONSUMPTION_MAX => {
            message.push(fields::CAN_FUEL_CONSUMPTION, liters);
        }
        other => message.push_some(crate::contract::Key::Name("obd.fuel"), other),
    }
    for (index, param) in [
        (5, fields::CAN_ENGINE_MOTORHOURS),
        (6, fields::CAN_VEHICLE_SPEED),
        (7, fields::CAN_ENGINE_LOAD_LEVEL),
        (8, fields::CAN_ENGINE_COOLANT_TEMPERATURE),
        (9, fields::CAN_THROTTLE_LEVEL),
        (10, fields::CAN_ENGINE_RPM),
        (11, fields::CAN_BATTERY_VOLTAGE),
    ] {
        message.push_some(param, value(index));
    }
    let mut codes = String::new();
    for code in parts.iter().skip(12).filter(|code| !code.trim().is_empty()) {
        if !codes.is_empty() {
            codes.push(',');
        }
        codes.push_str(code.trim());
    }
    if !codes.is_empty() {
        message.push(fields::CAN_DTC_CODES, codes.as_str());
    }
    Ok(())
}
