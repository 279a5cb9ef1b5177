//! The one table from the reference's attribute names and units to ours.
//!
//! The reference gives distances in meters, durations in milliseconds, speeds in knots; what it
//! leaves in the wire's own unit differs from protocol to protocol, so a row may name several of
//! our parameters, each with the factors that may lie between. An attribute with a row must be
//! in our message under one of its names with an equal value; an attribute without a row is not
//! compared.

use serde_json::{Map, Value as Json};

/// An attribute of the reference and where its value may be in a message of ours.
struct Row {
    theirs: &'static str,
    /// The protocols it is for; empty: all that have no row of their own.
    protocols: &'static [&'static str],
    /// Our names, and by which factors their value becomes ours.
    ours: &'static [(&'static str, &'static [f64])],
}

const fn row(theirs: &'static str, ours: &'static [(&'static str, &'static [f64])]) -> Row {
    Row {
        theirs,
        protocols: &[],
        ours,
    }
}

const fn row_of(
    protocols: &'static [&'static str],
    theirs: &'static str,
    ours: &'static [(&'static str, &'static [f64])],
) -> Row {
    Row {
        theirs,
        protocols,
        ours,
    }
}

/// As it is.
const SAME: &[f64] = &[1.0];
/// Meters to km.
const KM: &[f64] = &[0.001];
/// Milliseconds to hours.
const HOURS: &[f64] = &[1.0 / 3_600_000.0];
/// Milliseconds to seconds.
const SECONDS: &[f64] = &[0.001];
/// Millivolts where the reference did not convert.
const VOLTS: &[f64] = &[1.0, 0.001];
/// Steps of 4, 5 or 31 where we give percentage.
const PERCENT: &[f64] = &[1.0, 20.0, 25.0, 100.0 / 31.0, 100.0];

// A row of a protocol stands before the general one and replaces it; one without a name of ours
// says that the attribute is not compared there.
const ROWS: &[Row] = &[
    row_of(
        &["teltonika"],
        "odometer",
        &[("vehicle.mileage", KM), ("can.vehicle.mileage", KM)],
    ),
    // 255, -1 and -128 say that there is none
    row_of(&["navis"], "obdSpeed", &[]),
    row_of(&["navis"], "obdOdometer", &[]),
    row_of(&["navis"], "temp1", &[]),
    // 5 m on the bus, which the reference takes for meters
    row_of(
        &["bce"],
        "odometer",
        &[
            ("can.tacho.mileage", &[0.005]),
            ("can.vehicle.mileage", &[0.005]),
            ("segment.vehicle.mileage", SAME),
        ],
    ),
    row(
        "odometer",
        &[
            ("vehicle.mileage", KM),
            ("gps.vehicle.mileage", KM),
            ("can.vehicle.mileage", KM),
        ],
    ),
    row(
        "tripOdometer",
        &[("trip.mileage", KM), ("segment.can.vehicle.mileage", KM)],
    ),
    row("obdOdometer", &[("can.vehicle.mileage", KM)]),
    // of a status of 16 bits the reference reads bits that are not there
    row_of(&["fifotrack"], "sat", &[]),
    row("sat", &[("position.satellites", SAME)]),
    row_of(&["egts"], "hdop", &[("position.hdop", &[0.01])]),
    // tenths in binary
    row_of(&["meitrack"], "hdop", &[("position.hdop", &[1.0, 0.1])]),
    row("hdop", &[("position.hdop", SAME)]),
    row("pdop", &[("position.pdop", SAME)]),
    row("vdop", &[("position.vdop", SAME)]),
    row("ignition", &[("engine.ignition.status", SAME)]),
    row("motion", &[("movement.status", SAME)]),
    row(
        "charge",
        &[
            ("battery.charging.status", SAME),
            ("external.powersource.status", SAME),
        ],
    ),
    // padlocks beside vehicles
    row_of(
        &["jt600"],
        "blocked",
        &[("lock.status", SAME), ("engine.blocked.status", SAME)],
    ),
    row("blocked", &[("engine.blocked.status", SAME)]),
    row("armed", &[("arm.status", SAME)]),
    row("door", &[("door.open.status", SAME)]),
    row("archive", &[("message.buffered.status", SAME)]),
    // steps of analog inputs in three scales, which the reference takes for hundredths of a volt
    row_of(
        &["meitrack"],
        "power",
        &[(
            "external.powersource.voltage",
            &[1.0, 0.01, 4800.0 / 1024.0, 5280.0 / 4096.0],
        )],
    ),
    row_of(
        &["meitrack"],
        "battery",
        &[("battery.voltage", &[1.0, 600.0 / 1024.0, 660.0 / 4096.0])],
    ),
    // the battery is what the reference calls the supply
    row_of(&["xexun"], "power", &[("battery.voltage", SAME)]),
    // 0.01 V, which the reference leaves so
    row_of(
        &["totem"],
        "power",
        &[("external.powersource.voltage", &[1.0, 0.01])],
    ),
    // a percentage of the battery
    row_of(&["jt600", "easytrack"], "power", &[("battery.level", SAME)]),
    row(
        "power",
        &[
            ("external.powersource.voltage", VOLTS),
            ("board.voltage", VOLTS),
        ],
    ),
    // 0.1 V in some kinds, which the reference leaves so
    row_of(
        &["taip"],
        "battery",
        &[("battery.voltage", &[1.0, 0.1, 0.001])],
    ),
    // a percentage
    row_of(&["trv"], "battery", &[("battery.level", SAME)]),
    row(
        "battery",
        &[("battery.voltage", VOLTS), ("can.battery.voltage", VOLTS)],
    ),
    row("batteryLevel", &[("battery.level", SAME)]),
    // steps with their sign turned, and the state of the registration
    row_of(&["atrack"], "rssi", &[]),
    // the size of a negative number
    row_of(&["starlink"], "rssi", &[("gsm.signal.dbm", &[-1.0])]),
    row(
        "rssi",
        &[
            ("gsm.signal.level", PERCENT),
            ("gsm.signal.enum", SAME),
            ("gsm.signal.dbm", SAME),
            ("gsm.signal.quality", SAME),
        ],
    ),
    // sensors from 0 there
    row_of(
        &["meitrack", "ruptela"],
        "temp0",
        &[("sensor.temperature.1", SAME)],
    ),
    row_of(
        &["meitrack", "ruptela"],
        "temp1",
        &[
            ("sensor.temperature.2", SAME),
            ("sensor.temperature.1", SAME),
        ],
    ),
    row_of(
        &["meitrack", "ruptela"],
        "temp2",
        &[
            ("sensor.temperature.3", SAME),
            ("sensor.temperature.2", SAME),
        ],
    ),
    row_of(
        &["meitrack", "ruptela"],
        "temp3",
        &[
            ("sensor.temperature.4", SAME),
            ("sensor.temperature.3", SAME),
        ],
    ),
    row_of(
        &["meitrack", "ruptela"],
        "temp4",
        &[
            ("sensor.temperature.5", SAME),
            ("sensor.temperature.4", SAME),
        ],
    ),
    row_of(
        &["meitrack", "ruptela"],
        "temp5",
        &[
            ("sensor.temperature.6", SAME),
            ("sensor.temperature.5", SAME),
        ],
    ),
    row_of(
        &["meitrack", "ruptela"],
        "temp6",
        &[
            ("sensor.temperature.7", SAME),
            ("sensor.temperature.6", SAME),
        ],
    ),
    row_of(
        &["meitrack", "ruptela"],
        "temp7",
        &[
            ("sensor.temperature.8", SAME),
            ("sensor.temperature.7", SAME),
        ],
    ),
    row("deviceTemp", &[("device.temperature", SAME)]),
    row("rpm", &[("can.engine.rpm", SAME), ("engine.rpm", SAME)]),
    // of the vehicle's reader the reference does not turn it into milliseconds
    row_of(
        &["easytrack"],
        "hours",
        &[("engine.motorhours", HOURS), ("custom.obd.t", SAME)],
    ),
    // 0.05 h on the bus
    row_of(&["bce"], "hours", &[("can.engine.motorhours", &[0.05])]),
    // in a unit that is not told
    row_of(
        &["starlink"],
        "hours",
        &[("custom.tdur", SAME), ("custom.dur", SAME)],
    ),
    // 0.05 h, which the reference does not turn into milliseconds
    row_of(&["huasheng"], "hours", &[("engine.motorhours", SAME)]),
    row(
        "hours",
        &[
            ("engine.motorhours", HOURS),
            ("can.engine.motorhours", HOURS),
        ],
    ),
    row(
        "obdSpeed",
        &[("can.vehicle.speed", SAME), ("vehicle.speed", SAME)],
    ),
    row(
        "coolantTemp",
        &[
            ("can.engine.coolant.temperature", SAME),
            ("engine.temperature", SAME),
        ],
    ),
    row("intakeTemp", &[("can.intake.air.temperature", SAME)]),
    row("vin", &[("vehicle.vin", SAME), ("can.vehicle.vin", SAME)]),
    row("dtcs", &[("can.dtc.codes", SAME)]),
    // all zeros is no key
    row_of(&["galileo"], "driverUniqueId", &[]),
    // of the engine
    row_of(
        &["galileo"],
        "temp1",
        &[
            ("can.engine.coolant.temperature", SAME),
            ("sensor.temperature.2", SAME),
        ],
    ),
    row(
        "driverUniqueId",
        &[
            ("driver.id", SAME),
            ("rfid.code", SAME),
            ("ibutton.code", SAME),
        ],
    ),
    row("steps", &[("step.count", SAME)]),
    row("iccid", &[("gsm.sim.iccid", SAME)]),
    row("versionFw", &[("device.firmware.version", SAME)]),
    row("versionHw", &[("device.hardware.version", SAME)]),
    // sensors from 0 there
    row_of(&["upro"], "temp0", &[("sensor.temperature.1", SAME)]),
    row_of(&["upro"], "temp1", &[("sensor.temperature.2", SAME)]),
    row(
        "humidity",
        &[("humidity", SAME), ("sensor.humidity.1", SAME)],
    ),
    row("heartRate", &[("heart.rate", SAME)]),
    row_of(&["gl200"], "drivingTime", &[("can.driving.hours", SAME)]),
    row(
        "drivingTime",
        &[("movement.duration", SECONDS), ("trip.duration", SECONDS)],
    ),
    row(
        "result",
        &[
            ("command.result", SAME),
            ("text.message", SAME),
            ("payload.hex", SAME),
        ],
    ),
    row_of(&["minifinder2"], "event", &[("alarm.bitmask", SAME)]),
    row(
        "event",
        &[
            ("event.enum", SAME),
            ("event.name", SAME),
            ("alarm.code", SAME),
            ("report.reason", SAME),
            ("message.type", SAME),
        ],
    ),
    row("priority", &[("event.priority.enum", SAME)]),
    row_of(&["teltonika"], "operator", &[("gsm.operator.code", SAME)]),
    row(
        "operator",
        &[("gsm.operator.code", SAME), ("gsm.operator.name", SAME)],
    ),
];

/// Rows for attributes that end in a number: the number goes where `#` stands in ours.
const NUMBERED: &[Row] = &[
    row("in", &[("din.#", SAME)]),
    row("out", &[("dout.#", SAME)]),
    // 200.0 says that there is no sensor, and the binary coolant goes by the same name
    row_of(&["atrack"], "temp", &[]),
    row_of(
        &["meitrack"],
        "adc",
        &[("ain.#", &[1.0, 0.01]), ("custom.adc#", SAME)],
    ),
    row_of(&["watch"], "temp", &[("body.temperature", SAME)]),
    // 0.01 V, which the reference leaves so
    row_of(&["fifotrack"], "adc", &[("ain.#", &[0.01])]),
    row(
        "adc",
        &[
            ("ain.#", VOLTS),
            ("custom.adc#", SAME),
            ("custom.param.#", SAME),
        ],
    ),
    row(
        "temp",
        &[
            ("sensor.temperature.#", &[1.0, 0.1, 0.01]),
            ("ble.sensor.temperature.#", &[1.0, 0.1, 0.01]),
            ("fuel.temperature.#", SAME),
        ],
    ),
];

/// The reference's word for an alarm, and which of our parameters may say it.
const ALARMS: &[(&str, &[&str])] = &[
    ("sos", &["alarm.event.trigger"]),
    ("hardAcceleration", &["harsh.acceleration.event.trigger"]),
    ("hardBraking", &["harsh.braking.event.trigger"]),
    ("hardCornering", &["harsh.cornering.event.trigger"]),
    ("powerCut", &["power.cut.event.trigger"]),
    ("powerRestored", &["power.restored.event.trigger"]),
    (
        "powerOff",
        &[
            "power.off.event.trigger",
            "ignition.off.event.trigger",
            "power.cut.event.trigger",
        ],
    ),
    ("powerOn", &["power.on.event.trigger"]),
    ("removing", &["tampering.event.trigger", "tampering.status"]),
    (
        "tampering",
        &["tampering.event.trigger", "tampering.status"],
    ),
    (
        "movement",
        &["movement.event.trigger", "towing.event.trigger"],
    ),
    (
        "lowBattery",
        &["battery.low.event.trigger", "battery.low.status"],
    ),
    (
        "lowPower",
        &[
            "external.powersource.low.event.trigger",
            "external.powersource.low.status",
        ],
    ),
    (
        "vibration",
        &["vibration.event.trigger", "shock.event.trigger"],
    ),
    (
        "geofence",
        &[
            "geofence.event.enter",
            "geofence.event.exit",
            "geofence.event.trigger",
        ],
    ),
    ("geofenceEnter", &["geofence.event.enter"]),
    ("geofenceExit", &["geofence.event.exit"]),
    ("fuelLeak", &["fuel.theft.event.trigger"]),
    ("accident", &["crash.event.trigger"]),
    ("fatigueDriving", &["fatigue.event.trigger"]),
    ("door", &["door.event.trigger", "door.open.status"]),
    ("temperature", &["temperature.event.trigger"]),
    ("bonnet", &["hood.open.status"]),
    ("fallDown", &["fall.event.trigger"]),
    (
        "overspeed",
        &["overspeeding.event.trigger", "overspeeding.status"],
    ),
    ("idle", &["idle.event.trigger", "idle.status"]),
    ("tow", &["towing.event.trigger", "towing.alarm.status"]),
    (
        "gpsAntennaCut",
        &["gnss.antenna.cut.event.trigger", "gnss.antenna.cut.status"],
    ),
];

/// Compares the reference's attributes with our message: the names of those that differ, and how.
/// Gives the number of those compared.
pub(crate) fn compare(
    protocol: &str,
    theirs: &Map<String, Json>,
    ours: &Map<String, Json>,
    differences: &mut Vec<(String, String)>,
) -> usize {
    let mut compared = 0;
    for (name, value) in theirs {
        if name == "alarm" {
            for word in value.as_str().unwrap_or_default().split(',') {
                let Some((_, places)) = ALARMS.iter().find(|(theirs, _)| *theirs == word) else {
                    continue;
                };
                compared += 1;
                if !places
                    .iter()
                    .any(|place| ours.get(*place) == Some(&Json::Bool(true)))
                {
                    differences.push((
                        "attribute:alarm".to_owned(),
                        format!("alarm {word}: none of {places:?} is true"),
                    ));
                }
            }
            continue;
        }
        let places = places(protocol, name);
        if places.is_empty() || is_none(protocol, name, value) {
            continue;
        }
        compared += 1;
        let found: Vec<_> = places
            .iter()
            .filter_map(|(place, factors)| Some((place, ours.get(place)?, factors)))
            .collect();
        if !found
            .iter()
            .any(|(_, ours, factors)| equal(value, ours, factors))
        {
            let shown: Vec<String> = found
                .iter()
                .map(|(place, ours, _)| format!("{place} {ours}"))
                .collect();
            let shown = if shown.is_empty() {
                "nothing".to_owned()
            } else {
                shown.join(", ")
            };
            differences.push((
                format!("attribute:{name}"),
                format!("{name} {value}: ours has {shown}"),
            ));
        }
    }
    compared
}

/// Does the reference give a value where the wire says that there is none?
fn is_none(protocol: &str, name: &str, value: &Json) -> bool {
    match (protocol, name) {
        ("bce", "driverUniqueId") => value == "0",
        ("bce", "temp1") => number(value) == Some(-273.0),
        _ => false,
    }
}

fn places(protocol: &str, name: &str) -> Vec<(String, &'static [f64])> {
    let fits = |row: &&Row| row.protocols.is_empty() || row.protocols.contains(&protocol);
    let own = |ours: &'static [(&'static str, &'static [f64])], number: &str| {
        ours.iter()
            .map(|(place, factors)| (place.replace('#', number), *factors))
            .collect()
    };
    if let Some(row) = ROWS.iter().filter(fits).find(|row| row.theirs == name) {
        return own(row.ours, "");
    }
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name.get(letters.len()..).unwrap_or_default();
    if number.is_empty() {
        return Vec::new();
    }
    NUMBERED
        .iter()
        .filter(fits)
        .find(|row| row.theirs == letters)
        .map(|row| own(row.ours, number))
        .unwrap_or_default()
}

fn equal(theirs: &Json, ours: &Json, factors: &[f64]) -> bool {
    if theirs == ours {
        return true;
    }
    if let (Some(theirs), Some(ours)) = (number(theirs), number(ours)) {
        return factors.iter().any(|factor| {
            let theirs = theirs * factor;
            (theirs - ours).abs() <= 0.006_f64.max(theirs.abs() * 1e-5)
        });
    }
    match (theirs.as_str(), ours.as_str()) {
        (Some(theirs), Some(ours)) => {
            // lists: blanks there, commas here
            let same = |text: &str| text.trim().replace(',', " ").to_ascii_lowercase();
            same(theirs) == same(ours)
        }
        _ => false,
    }
}

fn number(value: &Json) -> Option<f64> {
    match value {
        Json::Bool(value) => Some(f64::from(u8::from(*value))),
        Json::Number(number) => number.as_f64(),
        Json::String(text) => text.trim().trim_end_matches('%').parse().ok(),
        _ => None,
    }
}
