//! The dictionary: every parameter's number, name, type and unit.
//!
//! Units are the dictionary's, not the protocol's: a decoder converts. Numbers are append-only
//! and stored with every message; a row is never renumbered, a name is never reused. A name with
//! a segment `N` has instances (`din.N` is written `din.1`, `din.2`, ...).
//!
//! Names follow flespi's message parameters where they exist. `docs/message-fields.md` is this
//! table for people; a test keeps the two equal.

use std::fmt;
use std::sync::LazyLock;

/// The number of a parameter in the dictionary.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub u16);

/// Which of several: 0 for a parameter without instances.
pub type Instance = u16;

/// A row of the dictionary.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// Its number, append-only.
    pub id: ParamId,
    /// Its name; a segment `N` stands for the instance.
    pub name: &'static str,
    /// The type of its values.
    pub kind: Kind,
    /// The unit of its values, empty where there is none.
    pub unit: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

/// The type of a parameter's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// true or false
    Boolean,
    /// an integer or a decimal number
    Number,
    /// a text
    Text,
    /// whatever the device sends: bytes as hex, lists
    Any,
}

impl Kind {
    /// The word for it in REST and docs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::Text => "string",
            Self::Any => "any",
        }
    }
}

impl fmt::Debug for ParamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.param() {
            Some(param) => f.write_str(param.name),
            None => write!(f, "ParamId({})", self.0),
        }
    }
}

impl ParamId {
    /// Its row, or `None` for a number that a newer build wrote.
    pub fn param(self) -> Option<&'static Param> {
        static BY_NUMBER: LazyLock<Vec<Option<&'static Param>>> = LazyLock::new(|| {
            let last = DICTIONARY.iter().map(|param| param.id.0).max().unwrap_or(0);
            let mut rows = vec![None; usize::from(last) + 1];
            for param in DICTIONARY {
                if let Some(row) = rows.get_mut(usize::from(param.id.0)) {
                    *row = Some(param);
                }
            }
            rows
        });
        BY_NUMBER.get(usize::from(self.0)).copied().flatten()
    }

    /// Does its value change when the same record is sent again? Such values do not count when
    /// records are compared.
    pub(crate) fn is_volatile(self) -> bool {
        self == FRAME_SEQNUM
    }
}

impl Param {
    /// Does its name have an instance?
    pub fn has_instances(&self) -> bool {
        self.name.split('.').any(|segment| segment == "N")
    }

    /// Writes its name with `instance` in the place of `N`.
    pub fn write_name(&self, instance: Instance, out: &mut String) {
        use fmt::Write as _;
        for (index, segment) in self.name.split('.').enumerate() {
            if index > 0 {
                out.push('.');
            }
            if segment != "N" {
                out.push_str(segment);
            } else if let Some(digit) = char::from_digit(instance.into(), 10) {
                out.push(digit);
            } else {
                write!(out, "{instance}").expect("a String takes everything");
            }
        }
    }
}

macro_rules! dictionary {
    ($($number:literal $constant:ident $name:literal $kind:ident $unit:literal $meaning:literal;)*) => {
        $(#[doc = concat!("`", $name, "`: ", $meaning)]
        pub const $constant: ParamId = ParamId($number);)*

        /// Every row, grouped by subject.
        pub static DICTIONARY: &[Param] = &[
            $(Param {
                id: $constant, name: $name, kind: Kind::$kind, unit: $unit, meaning: $meaning,
            },)*
        ];
    };
}

// Numbers are append-only: a new row takes the highest number plus one and stands where its
// subject is.
dictionary! {
    // Position
    1 POSITION_LATITUDE "position.latitude" Number "degrees" "WGS84 latitude, north positive";
    2 POSITION_LONGITUDE "position.longitude" Number "degrees" "WGS84 longitude, east positive";
    3 POSITION_ALTITUDE "position.altitude" Number "meters" "altitude above sea level";
    4 POSITION_SPEED "position.speed" Number "km/h" "speed over ground at the fix";
    5 POSITION_DIRECTION "position.direction" Number "degrees" "course over ground, 0 to 359 from north";
    6 POSITION_SATELLITES "position.satellites" Number "" "satellites used for the fix";
    7 POSITION_VALID "position.valid" Boolean "" "the fix is valid for the message's time";
    8 POSITION_HDOP "position.hdop" Number "" "horizontal dilution of precision";
    9 POSITION_PDOP "position.pdop" Number "" "position dilution of precision";
    10 POSITION_VDOP "position.vdop" Number "" "vertical dilution of precision";
    11 POSITION_ACCURACY "position.accuracy" Number "meters" "radius of the fix's uncertainty";
    12 POSITION_TIMESTAMP "position.timestamp" Number "seconds" "unix time of the fix, where it is not the message's";
    13 POSITION_FIX_AGE "position.fix.age" Number "seconds" "age of the fix";
    14 POSITION_ADDRESS "position.address" Text "" "address as the device gives it";
    15 POSITION_LBS_LATITUDE "position.lbs.latitude" Number "degrees" "latitude computed from cell towers";
    16 POSITION_LBS_LONGITUDE "position.lbs.longitude" Number "degrees" "longitude computed from cell towers";
    17 POSITION_MODE_ENUM "position.mode.enum" Number "" "positioning mode, the wire's own number";
    18 LOCATION_SOURCE "location.source" Text "" "where the place comes from, the wire's own word";
    19 TIMESTAMP_VALID "timestamp.valid" Boolean "" "false: the device sent a time that cannot be, and the message carries the server's";
    20 GNSS_STATUS "gnss.status" Boolean "" "GNSS is on and has a fix";
    21 GNSS_STATE_ENUM "gnss.state.enum" Number "" "GNSS state, the wire's own number";
    22 GNSS_ENUM "gnss.enum" Text "" "which GNSS";
    23 GNSS_ANTENNA_STATUS "gnss.antenna.status" Boolean "" "the antenna is connected";
    24 GNSS_ANTENNA_CUT_STATUS "gnss.antenna.cut.status" Boolean "" "the antenna is cut";
    25 GNSS_SIGNAL_LEVEL "gnss.signal.level" Number "" "GNSS signal, the wire's own number";
    600 GNSS_SATELLITES_VISIBLE "gnss.satellites.visible" Number "" "satellites in view, used or not";
    26 GPS_VEHICLE_MILEAGE "gps.vehicle.mileage" Number "km" "distance counted from GNSS fixes";
    1303 POSITION_ISO6709 "position.iso6709" Text "" "place and altitude as ISO 6709 writes them";
    1304 GNSS_JAMMING_STATE_ENUM "gnss.jamming.state.enum" Number "" "GNSS jamming, the wire's own number";
    1305 GNSS_FIRST_FIX_DURATION "gnss.first.fix.duration" Number "seconds" "how long the first fix took";
    // Power
    27 BATTERY_VOLTAGE "battery.voltage" Number "volts" "internal battery";
    28 BATTERY_LEVEL "battery.level" Number "percentage" "internal battery, 0 to 100";
    29 BATTERY_CURRENT "battery.current" Number "amperes" "internal battery, charging positive";
    30 BATTERY_TEMPERATURE "battery.temperature" Number "celsius" "internal battery";
    31 BATTERY_CHARGING_STATUS "battery.charging.status" Boolean "" "the internal battery is charging";
    32 BATTERY_LOW_STATUS "battery.low.status" Boolean "" "the internal battery is low";
    33 BATTERY_HEALTH "battery.health" Number "percentage" "health of the internal battery";
    34 BATTERY_LEVEL_ENUM "battery.level.enum" Number "" "battery step, the wire's own number";
    601 BATTERY_CYCLE_COUNT "battery.cycle.count" Number "" "charging cycles of the battery";
    756 BATTERY_CELL_VOLTAGE_N "battery.cell.voltage.N" Number "volts" "cell N of the battery";
    757 BATTERY_CELL_TEMPERATURE_N "battery.cell.temperature.N" Number "celsius" "cell or sensor N of the battery";
    35 EXTERNAL_POWERSOURCE_VOLTAGE "external.powersource.voltage" Number "volts" "supply that the device is wired to";
    36 EXTERNAL_POWERSOURCE_STATUS "external.powersource.status" Boolean "" "the supply is connected";
    37 EXTERNAL_POWERSOURCE_LOW_STATUS "external.powersource.low.status" Boolean "" "the supply's voltage is low";
    38 BOARD_VOLTAGE "board.voltage" Number "volts" "the vehicle's board voltage";
    39 SOLAR_PANEL_VOLTAGE "solar.panel.voltage" Number "volts" "solar panel";
    40 POWER_ON_STATUS "power.on.status" Boolean "" "the device is switched on";
    41 SLEEP_MODE_ENUM "sleep.mode.enum" Number "" "sleep mode, the wire's own number";
    42 STANDBY_STATUS "standby.status" Boolean "" "the device saves power";
    // Vehicle and engine
    43 ENGINE_IGNITION_STATUS "engine.ignition.status" Boolean "" "the ignition is on";
    44 ENGINE_RPM "engine.rpm" Number "rpm" "engine speed";
    45 ENGINE_MOTORHOURS "engine.motorhours" Number "hours" "time that the engine has run";
    46 ENGINE_TEMPERATURE "engine.temperature" Number "celsius" "engine";
    47 ENGINE_BLOCKED_STATUS "engine.blocked.status" Boolean "" "the engine is prevented from running";
    1300 ENGINE_RUNNING_STATUS "engine.running.status" Boolean "" "the engine runs";
    48 ENGINE_ON_DURATION "engine.on.duration" Number "seconds" "time that the ignition has been on";
    49 MOVEMENT_STATUS "movement.status" Boolean "" "the device is moving";
    50 MOVEMENT_DURATION "movement.duration" Number "seconds" "time since the movement began";
    51 IDLE_STATUS "idle.status" Boolean "" "the engine runs and the vehicle stands";
    52 VEHICLE_MILEAGE "vehicle.mileage" Number "km" "odometer that the device keeps";
    53 VEHICLE_VIN "vehicle.vin" Text "" "vehicle identification number";
    54 VEHICLE_SPEED "vehicle.speed" Number "km/h" "speed from the vehicle, not from GNSS";
    55 VEHICLE_STATE_ENUM "vehicle.state.enum" Number "" "vehicle state, the wire's own number";
    56 VEHICLE_PLATE "vehicle.plate" Text "" "registration plate";
    57 TRIP_MILEAGE "trip.mileage" Number "km" "distance of the current trip";
    58 TRIP_STATUS "trip.status" Boolean "" "a trip is under way";
    59 TRIP_SEQNUM "trip.seqnum" Number "" "number of the trip";
    60 FUEL_LEVEL "fuel.level" Number "percentage" "fuel in the tank";
    61 FUEL_VOLUME "fuel.volume" Number "liters" "fuel in the tank";
    62 FUEL_CONSUMED "fuel.consumed" Number "liters" "fuel used in all";
    63 FUEL_CONSUMPTION "fuel.consumption" Number "l/100km" "fuel use over distance";
    64 FUEL_RATE "fuel.rate" Number "l/h" "fuel use over time";
    65 FUEL_LEVEL_LOW_STATUS "fuel.level.low.status" Boolean "" "fuel is low";
    66 FUEL_SENSOR_N "fuel.sensor.N" Number "" "fuel sensor N, the wire's own number";
    67 FUEL_LEVEL_N "fuel.level.N" Number "percentage" "fuel in tank N";
    68 FUEL_VOLUME_N "fuel.volume.N" Number "liters" "fuel in tank N";
    69 FUEL_TEMPERATURE_N "fuel.temperature.N" Number "celsius" "fuel in tank N";
    70 FUEL_FLOW_METER_FUEL_CONSUMED "fuel.flow.meter.fuel.consumed" Number "liters" "flow meter's total";
    71 LLS_VALUE_N "lls.value.N" Number "" "liquid level sensor N, the wire's own number";
    72 LLS_TEMPERATURE_N "lls.temperature.N" Number "celsius" "liquid level sensor N";
    73 AXLE_WEIGHT_N "axle.weight.N" Number "kg" "weight on axle N";
    74 CARGO_WEIGHT "cargo.weight" Number "kg" "weight of the load";
    75 ACCELERATION "acceleration" Number "g" "size of the acceleration";
    76 X_ACCELERATION "x.acceleration" Number "g" "along the device's x axis";
    77 Y_ACCELERATION "y.acceleration" Number "g" "along the device's y axis";
    78 Z_ACCELERATION "z.acceleration" Number "g" "along the device's z axis";
    79 INCLINATION_X "inclination.x" Number "degrees" "roll";
    80 INCLINATION_Y "inclination.y" Number "degrees" "pitch";
    81 WHEEL_PRESSURE_N "wheel.pressure.N" Number "kPa" "tyre N";
    82 WHEEL_TEMPERATURE_N "wheel.temperature.N" Number "celsius" "tyre N";
    83 DRIVER_SEATBELT_STATUS "driver.seatbelt.status" Boolean "" "the driver's belt is fastened";
    84 PASSENGER_COUNT "passenger.count" Number "" "passengers on board";
    400 ECO_SCORE "eco.score" Number "" "events over distance: the lower the better";
    401 HARSH_DRIVING_VALUE "harsh.driving.value" Number "g" "how harsh: acceleration, or rad/s of a corner";
    402 HARSH_DRIVING_DURATION "harsh.driving.duration" Number "seconds" "how long the harsh driving took";
    403 IGNITION_ON_COUNTER "ignition.on.counter" Number "seconds" "time with the ignition on, counted by the device";
    404 GPS_FUEL_CONSUMED "gps.fuel.consumed" Number "liters" "fuel used as estimated from GNSS";
    405 GPS_FUEL_CONSUMPTION "gps.fuel.consumption" Number "l/100km" "fuel use as estimated from GNSS";
    406 OVERSPEEDING_SPEED "overspeeding.speed" Number "km/h" "speed at the overspeeding event";
    407 DRIVER_BLOOD_ALCOHOL_LEVEL "driver.blood.alcohol.level" Number "permille" "alcohol tester";
    1306 ACCELEROMETER_CALIBRATION_ENUM "accelerometer.calibration.enum" Number "" "state of the calibration, the wire's own number";
    1308 ECO_DRIVING_DURATION "eco.driving.duration" Number "seconds" "how long the eco driving event took";
    1309 DRIVING_STATE_ENUM "driving.state.enum" Number "" "ignition and driving, the wire's own number";
    1310 DRIVING_RECORD_COUNT "driving.record.count" Number "" "records between ignition on and off";
    1337 ADAS_SPEED "adas.speed" Number "km/h" "speed as the camera has it";
    // Inputs, outputs and sensors
    85 DIN "din" Number "bitmask" "all digital inputs, bit 0 is input 1";
    86 DIN_N "din.N" Boolean "" "digital input N";
    87 DOUT "dout" Number "bitmask" "all digital outputs, bit 0 is output 1";
    88 DOUT_N "dout.N" Boolean "" "digital output N";
    89 AIN_N "ain.N" Number "volts" "analog input N";
    90 COUNTER_IMPULSES_N "counter.impulses.N" Number "" "pulses counted on input N";
    91 FREQUENCY_N "frequency.N" Number "hertz" "frequency on input N";
    92 DEVICE_TEMPERATURE "device.temperature" Number "celsius" "inside the tracker";
    93 EXTERNAL_TEMPERATURE "external.temperature" Number "celsius" "outside the tracker";
    94 SENSOR_TEMPERATURE_N "sensor.temperature.N" Number "celsius" "temperature sensor N";
    95 SENSOR_HUMIDITY_N "sensor.humidity.N" Number "percentage" "humidity sensor N";
    96 SENSOR_ID_N "sensor.id.N" Text "" "hardware id of sensor N";
    97 SENSOR_BATTERY_VOLTAGE_N "sensor.battery.voltage.N" Number "volts" "battery of sensor N";
    98 SENSOR_BATTERY_LEVEL_N "sensor.battery.level.N" Number "percentage" "battery of sensor N";
    99 SENSOR_SIGNAL_DBM_N "sensor.signal.dbm.N" Number "dBm" "radio signal of sensor N";
    100 SENSOR_ILLUMINATION_N "sensor.illumination.N" Number "lux" "light at sensor N";
    101 SENSOR_STATUS_N "sensor.status.N" Number "" "state of sensor N, the wire's own number";
    1050 CARBON_DIOXIDE_PPM "carbon.dioxide.ppm" Number "ppm" "carbon dioxide in the air";
    102 HUMIDITY "humidity" Number "percentage" "air humidity";
    103 ILLUMINATION "illumination" Number "lux" "light";
    104 PRESSURE "pressure" Number "kPa" "air pressure";
    105 STEP_COUNT "step.count" Number "" "steps";
    106 HEART_RATE "heart.rate" Number "bpm" "pulse of the wearer";
    107 BLOOD_PRESSURE_SYSTOLIC "blood.pressure.systolic" Number "mmHg" "of the wearer";
    108 BLOOD_PRESSURE_DIASTOLIC "blood.pressure.diastolic" Number "mmHg" "of the wearer";
    109 BLOOD_OXYGEN_LEVEL "blood.oxygen.level" Number "percentage" "of the wearer";
    110 BODY_TEMPERATURE "body.temperature" Number "celsius" "of the wearer";
    111 RS232_DATA_N "rs232.data.N" Any "" "what serial port N received";
    112 RS485_DATA_N "rs485.data.N" Any "" "what RS-485 port N received";
    113 CAN_DATA_N "can.data.N" Any "" "raw CAN frame N";
    114 ONEWIRE_DATA "onewire.data" Any "" "what the 1-Wire bus gave";
    410 SD_STATUS "sd.status" Boolean "" "a memory card is present";
    411 GROUND_SENSE_STATUS "ground.sense.status" Boolean "" "the ground sense input is connected";
    412 BLE_SENSOR_LOW_BATTERY_STATUS_N "ble.sensor.low.battery.status.N" Boolean "" "Bluetooth sensor N's battery is low";
    413 BLE_SENSOR_PITCH_N "ble.sensor.pitch.N" Number "degrees" "Bluetooth sensor N";
    414 BLE_SENSOR_ROLL_N "ble.sensor.roll.N" Number "degrees" "Bluetooth sensor N";
    415 BLE_SENSOR_MOVEMENT_COUNT_N "ble.sensor.movement.count.N" Number "" "Bluetooth sensor N";
    416 BLE_SENSOR_MAGNET_COUNT_N "ble.sensor.magnet.count.N" Number "" "Bluetooth sensor N";
    417 BLE_SENSOR_FREQUENCY_N "ble.sensor.frequency.N" Number "" "Bluetooth fuel sensor N";
    418 BLE_SENSOR_DATA_N "ble.sensor.data.N" Any "" "bytes of Bluetooth sensor N";
    1318 DOUT_OVERCURRENT_STATUS_N "dout.overcurrent.status.N" Boolean "" "digital output N carries too much";
    1319 SPEED_SENSOR_STATUS "speed.sensor.status" Boolean "" "the speed sensor works";
    1328 ULTRASONIC_FUEL_LEVEL "ultrasonic.fuel.level" Number "mm" "height of the fuel by an ultrasonic sensor";
    1329 ULTRASONIC_SENSOR_STATUS_ENUM_N "ultrasonic.sensor.status.enum.N" Number "" "ultrasonic sensor N, the wire's own number";
    1335 REEFER_TEMPERATURE_N "reefer.temperature.N" Number "celsius" "cold transport's recorder, sensor N";
    1336 REEFER_SETPOINT_TEMPERATURE_N "reefer.setpoint.temperature.N" Number "celsius" "cold transport's recorder, temperature wanted in zone N";
    // Radio
    115 GSM_SIGNAL_LEVEL "gsm.signal.level" Number "percentage" "signal, 0 to 100";
    116 GSM_SIGNAL_DBM "gsm.signal.dbm" Number "dBm" "signal power";
    117 GSM_SIGNAL_QUALITY "gsm.signal.quality" Number "" "bit error rate class";
    118 GSM_SIGNAL_ENUM "gsm.signal.enum" Number "" "signal step, the wire's own number";
    119 GSM_REGISTRATION_STATE "gsm.registration.state" Number "" "registration state";
    120 GSM_MCC "gsm.mcc" Number "" "mobile country code";
    121 GSM_MNC "gsm.mnc" Number "" "mobile network code";
    122 GSM_LAC "gsm.lac" Number "" "location area code";
    123 GSM_CELLID "gsm.cellid" Number "" "cell id";
    124 GSM_MCC_N "gsm.mcc.N" Number "" "country code of neighbour cell N";
    125 GSM_MNC_N "gsm.mnc.N" Number "" "network code of neighbour cell N";
    126 GSM_LAC_N "gsm.lac.N" Number "" "area code of neighbour cell N";
    127 GSM_CELLID_N "gsm.cellid.N" Number "" "cell id of neighbour cell N";
    128 GSM_SIGNAL_DBM_N "gsm.signal.dbm.N" Number "dBm" "signal of neighbour cell N";
    750 GSM_SIGNAL_ENUM_N "gsm.signal.enum.N" Number "" "signal step of neighbour cell N, the wire's own number";
    1327 GSM_SIGNAL_RSRQ "gsm.signal.rsrq" Number "dB" "quality of the received reference signal";
    129 GSM_OPERATOR_CODE "gsm.operator.code" Text "" "MCC and MNC as text";
    130 GSM_OPERATOR_NAME "gsm.operator.name" Text "" "the operator's name";
    131 GSM_NETWORK_TYPE "gsm.network.type" Text "" "network type";
    423 GSM_NETWORK_ENUM "gsm.network.enum" Number "" "network type, the wire's own number";
    424 GSM_DATA_MODE_ENUM "gsm.data.mode.enum" Number "" "home or roaming, standing or moving: the wire's own number";
    132 GSM_NETWORK_ROAMING_STATUS "gsm.network.roaming.status" Boolean "" "roaming";
    133 GSM_JAMMING_ALARM_STATUS "gsm.jamming.alarm.status" Boolean "" "jamming is noticed";
    134 GSM_JAMMING_EVENT_TRIGGER "gsm.jamming.event.trigger" Boolean "" "jamming began";
    135 GSM_SIM_STATUS "gsm.sim.status" Boolean "" "a SIM card is present";
    603 GSM_SIM_CHANGED_EVENT_TRIGGER "gsm.sim.changed.event.trigger" Boolean "" "another SIM card was put in";
    604 GSM_FAKE_CELL_EVENT_TRIGGER "gsm.fake.cell.event.trigger" Boolean "" "a rogue base station was noticed";
    136 GSM_SIM_ICCID "gsm.sim.iccid" Text "" "the SIM card's number";
    137 GSM_SIM_IMSI "gsm.sim.imsi" Text "" "the subscriber's number";
    138 GSM_PHONE "gsm.phone" Text "" "telephone number";
    139 GSM_TIMING_ADVANCE "gsm.timing.advance" Number "" "timing advance";
    140 GPRS_STATUS "gprs.status" Boolean "" "packet data is on";
    141 WIFI_STATUS "wifi.status" Boolean "" "Wi-Fi is on";
    142 WIFI_MAC_N "wifi.mac.N" Text "" "address of access point N";
    143 WIFI_SSID_N "wifi.ssid.N" Text "" "name of access point N";
    144 WIFI_SIGNAL_DBM_N "wifi.signal.dbm.N" Number "dBm" "signal of access point N";
    145 BLUETOOTH_STATUS "bluetooth.status" Boolean "" "Bluetooth is on";
    146 BLUETOOTH_CONNECTED_STATUS "bluetooth.connected.status" Boolean "" "a Bluetooth link is up";
    147 BLUETOOTH_MAC_N "bluetooth.mac.N" Text "" "address of Bluetooth device N";
    148 BLUETOOTH_SIGNAL_DBM_N "bluetooth.signal.dbm.N" Number "dBm" "signal of Bluetooth device N";
    149 BLE_BEACON_ID_N "ble.beacon.id.N" Text "" "id of beacon N";
    150 BLE_BEACON_SIGNAL_DBM_N "ble.beacon.signal.dbm.N" Number "dBm" "signal of beacon N";
    420 BLE_BEACON_BATTERY_VOLTAGE_N "ble.beacon.battery.voltage.N" Number "volts" "battery of beacon N";
    421 BLE_BEACON_TEMPERATURE_N "ble.beacon.temperature.N" Number "celsius" "beacon N";
    422 BLE_BEACON_DATA_N "ble.beacon.data.N" Any "" "what beacon N says besides its id";
    151 BLE_SENSOR_TEMPERATURE_N "ble.sensor.temperature.N" Number "celsius" "Bluetooth sensor N";
    152 BLE_SENSOR_HUMIDITY_N "ble.sensor.humidity.N" Number "percentage" "Bluetooth sensor N";
    153 BLE_SENSOR_BATTERY_LEVEL_N "ble.sensor.battery.level.N" Number "percentage" "Bluetooth sensor N";
    154 BLE_SENSOR_BATTERY_VOLTAGE_N "ble.sensor.battery.voltage.N" Number "volts" "Bluetooth sensor N";
    155 BLE_SENSOR_FUEL_N "ble.sensor.fuel.N" Number "" "Bluetooth fuel sensor N, the wire's own number";
    156 BLE_SENSOR_ILLUMINATION_N "ble.sensor.illumination.N" Number "lux" "Bluetooth sensor N";
    157 BLE_SENSOR_MAGNET_STATUS_N "ble.sensor.magnet.status.N" Boolean "" "Bluetooth sensor N sees its magnet";
    158 BLE_SENSOR_MOVEMENT_STATUS_N "ble.sensor.movement.status.N" Boolean "" "Bluetooth sensor N moves";
    1330 BLE_RFID_CODE_N "ble.rfid.code.N" Text "" "RFID tag that Bluetooth reader N read";
    1331 BLE_SENSOR_BUTTON1_STATUS_N "ble.sensor.button1.status.N" Boolean "" "first button of Bluetooth sensor N";
    1332 BLE_SENSOR_BUTTON2_STATUS_N "ble.sensor.button2.status.N" Boolean "" "second button of Bluetooth sensor N";
    1333 BLE_LOCK_STATUS "ble.lock.status" Boolean "" "the Bluetooth lock is locked";
    1334 BLE_LOCK_BATTERY_LEVEL "ble.lock.battery.level" Number "percentage" "battery of the Bluetooth lock";
    159 SERVER1_CONNECTION_STATUS "server1.connection.status" Boolean "" "link to the first server";
    160 SERVER2_CONNECTION_STATUS "server2.connection.status" Boolean "" "link to the second server";
    // Events and states
    161 EVENT_ENUM "event.enum" Number "" "event, the wire's own number";
    162 EVENT_NAME "event.name" Text "" "event, the wire's own word";
    163 EVENT_PRIORITY_ENUM "event.priority.enum" Number "" "priority of the record, the wire's own number";
    164 EVENT_SEQNUM "event.seqnum" Number "" "number of the event";
    165 RECORD_SEQNUM "record.seqnum" Number "" "number of the record";
    166 REPORT_REASON "report.reason" Number "" "why the record was sent, the wire's own number";
    167 MESSAGE_TYPE "message.type" Text "" "type of message, the wire's own word or number";
    168 MESSAGE_BUFFERED_STATUS "message.buffered.status" Boolean "" "the record comes from the device's memory";
    169 STATUS_BITMASK "status.bitmask" Number "bitmask" "state word, the wire's own bits";
    170 ALARM_BITMASK "alarm.bitmask" Number "bitmask" "alarm word, the wire's own bits";
    171 ALARM_CODE "alarm.code" Number "" "alarm, the wire's own number";
    172 ALARM_EVENT_TRIGGER "alarm.event.trigger" Boolean "" "someone called for help (SOS)";
    173 ALARM_MODE_STATUS "alarm.mode.status" Boolean "" "alarm mode";
    174 ALARM_TYPE "alarm.type" Text "" "alarm, the wire's own word";
    175 ARM_STATUS "arm.status" Boolean "" "armed";
    176 BUZZER_ALARM_STATUS "buzzer.alarm.status" Boolean "" "the buzzer sounds";
    177 OVERSPEEDING_EVENT_TRIGGER "overspeeding.event.trigger" Boolean "" "too fast";
    178 OVERSPEEDING_STATUS "overspeeding.status" Boolean "" "too fast since a while";
    179 HARSH_ACCELERATION_EVENT_TRIGGER "harsh.acceleration.event.trigger" Boolean "" "harsh acceleration";
    180 HARSH_BRAKING_EVENT_TRIGGER "harsh.braking.event.trigger" Boolean "" "harsh braking";
    181 HARSH_CORNERING_EVENT_TRIGGER "harsh.cornering.event.trigger" Boolean "" "harsh cornering";
    182 TOWING_EVENT_TRIGGER "towing.event.trigger" Boolean "" "towing began";
    183 TOWING_ALARM_STATUS "towing.alarm.status" Boolean "" "being towed";
    184 SHOCK_EVENT_TRIGGER "shock.event.trigger" Boolean "" "shock";
    185 CRASH_EVENT_TRIGGER "crash.event.trigger" Boolean "" "accident";
    186 FALL_EVENT_TRIGGER "fall.event.trigger" Boolean "" "fallen";
    187 TAMPERING_EVENT_TRIGGER "tampering.event.trigger" Boolean "" "opened or removed by force";
    188 TAMPERING_STATUS "tampering.status" Boolean "" "opened or removed";
    189 MOVEMENT_EVENT_TRIGGER "movement.event.trigger" Boolean "" "moved while it should stand";
    190 VIBRATION_EVENT_TRIGGER "vibration.event.trigger" Boolean "" "vibration";
    191 POWER_CUT_EVENT_TRIGGER "power.cut.event.trigger" Boolean "" "the supply was cut";
    192 POWER_RESTORED_EVENT_TRIGGER "power.restored.event.trigger" Boolean "" "the supply is back";
    193 POWER_ON_EVENT_TRIGGER "power.on.event.trigger" Boolean "" "the device was switched on";
    194 POWER_OFF_EVENT_TRIGGER "power.off.event.trigger" Boolean "" "the device was switched off";
    195 BATTERY_LOW_EVENT_TRIGGER "battery.low.event.trigger" Boolean "" "the internal battery became low";
    196 EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER "external.powersource.low.event.trigger" Boolean "" "the supply's voltage became low";
    197 FUEL_THEFT_EVENT_TRIGGER "fuel.theft.event.trigger" Boolean "" "fuel left the tank at once";
    198 TEMPERATURE_EVENT_TRIGGER "temperature.event.trigger" Boolean "" "a temperature left its bounds";
    607 SOUND_EVENT_TRIGGER "sound.event.trigger" Boolean "" "noise or a voice was heard";
    608 SLEEP_EVENT_TRIGGER "sleep.event.trigger" Boolean "" "the device went to sleep";
    609 UNPLUGGED_EVENT_TRIGGER "unplugged.event.trigger" Boolean "" "the device was pulled out of its socket";
    199 FATIGUE_EVENT_TRIGGER "fatigue.event.trigger" Boolean "" "the driver is tired";
    200 IDLE_EVENT_TRIGGER "idle.event.trigger" Boolean "" "standing with the engine running for too long";
    201 IGNITION_ON_EVENT_TRIGGER "ignition.on.event.trigger" Boolean "" "ignition switched on";
    202 IGNITION_OFF_EVENT_TRIGGER "ignition.off.event.trigger" Boolean "" "ignition switched off";
    203 DOOR_EVENT_TRIGGER "door.event.trigger" Boolean "" "a door was opened";
    204 GNSS_ANTENNA_CUT_EVENT_TRIGGER "gnss.antenna.cut.event.trigger" Boolean "" "the antenna was cut";
    605 GNSS_LOST_EVENT_TRIGGER "gnss.lost.event.trigger" Boolean "" "the fix was lost";
    606 GNSS_FOUND_EVENT_TRIGGER "gnss.found.event.trigger" Boolean "" "a fix was found";
    205 FAULT_EVENT_TRIGGER "fault.event.trigger" Boolean "" "the device reports a fault";
    206 GEOFENCE_EVENT_ENTER "geofence.event.enter" Boolean "" "a geofence of the device was entered";
    207 GEOFENCE_EVENT_EXIT "geofence.event.exit" Boolean "" "a geofence of the device was left";
    1302 GEOFENCE_EVENT_TRIGGER "geofence.event.trigger" Boolean "" "the edge of a geofence of the device was crossed";
    426 GEOFENCE_EVENT_ENUM_N "geofence.event.enum.N" Number "" "what happened at geofence N, the wire's own number";
    427 CRASH_EVENT_ENUM "crash.event.enum" Number "" "kind of crash record, the wire's own number";
    428 UNPLUGGED_STATUS "unplugged.status" Boolean "" "the supply or the battery is unplugged";
    429 MANDOWN_STATUS "mandown.status" Boolean "" "the wearer lies or has fallen";
    430 BUTTON_CODE "button.code" Number "" "which button was pressed and how, the wire's own number";
    431 WAKEUP_REASON_ENUM "wakeup.reason.enum" Number "" "why the device woke up, the wire's own number";
    1307 CRASH_EVENT_SEQNUM "crash.event.seqnum" Number "" "number of the crash, the same in its trace";
    1311 PRIVATE_MODE_STATUS "private.mode.status" Boolean "" "private mode: the place is hidden";
    1312 IMMOBILIZER_STATE_ENUM "immobilizer.state.enum" Number "" "immobilizer, the wire's own number";
    1314 GEOFENCE_OVERSPEEDING_ID "geofence.overspeeding.id" Number "" "geofence in which the vehicle is too fast";
    1315 AMBER_ALERT_STATE_ENUM "amber.alert.state.enum" Number "" "lone worker's alert, the wire's own number";
    1316 AMBER_ALERT_TIMEOUT "amber.alert.timeout" Number "seconds" "lone worker's alert";
    1317 TAMPERING_EVENT_ENUM "tampering.event.enum" Number "" "what happened to the holder, the wire's own number";
    208 GEOFENCE_INSIDE_STATUS "geofence.inside.status" Boolean "" "inside a geofence of the device";
    209 GEOFENCE_ID "geofence.id" Number "" "number of the device's geofence";
    210 LANE_DEPARTURE_EVENT_TRIGGER "lane.departure.event.trigger" Boolean "" "left the lane";
    211 FORWARD_COLLISION_EVENT_TRIGGER "forward.collision.event.trigger" Boolean "" "about to collide";
    212 PHONE_USAGE_EVENT_TRIGGER "phone.usage.event.trigger" Boolean "" "the driver uses a telephone";
    213 SMOKING_EVENT_TRIGGER "smoking.event.trigger" Boolean "" "the driver smokes";
    214 DISTRACTION_EVENT_TRIGGER "distraction.event.trigger" Boolean "" "the driver looks away";
    215 HOOD_OPEN_STATUS "hood.open.status" Boolean "" "the hood is open";
    216 DOOR_OPEN_STATUS "door.open.status" Boolean "" "a door is open";
    217 DOOR_OPEN_STATUS_N "door.open.status.N" Boolean "" "door N is open";
    218 TRUNK_OPEN_STATUS "trunk.open.status" Boolean "" "the trunk is open";
    219 LOCK_STATUS "lock.status" Boolean "" "locked";
    220 CENTRAL_LOCK_STATUS "central.lock.status" Boolean "" "the central lock is closed";
    221 IMMOBILIZER_STATUS "immobilizer.status" Boolean "" "the immobilizer is on";
    222 IMMOBILIZER_LOCKED_STATUS "immobilizer.locked.status" Boolean "" "the immobilizer is locked";
    223 IBUTTON_CODE "ibutton.code" Text "" "iButton key";
    224 IBUTTON_AUTHORIZED_STATUS "ibutton.authorized.status" Boolean "" "the key is a known one";
    225 RFID_CODE "rfid.code" Text "" "RFID tag";
    226 DRIVER_ID "driver.id" Text "" "the driver's identification";
    227 DRIVER_NAME "driver.name" Text "" "the driver's name";
    228 DRIVER_AUTHORIZED_STATUS "driver.authorized.status" Boolean "" "the driver is a known one";
    229 CARD_PRESENT_STATUS "card.present.status" Boolean "" "a card is in the reader";
    1313 DRIVER_AUTHORIZATION_ENUM "driver.authorization.enum" Number "" "authorized driving, the wire's own number";
    1323 DRIVER_LICENSE_TYPE_ENUM "driver.license.type.enum" Number "" "the driver's licence, the wire's own number";
    1324 DRIVER_GENDER_ENUM "driver.gender.enum" Number "" "of the driver's card, the wire's own number";
    1325 DRIVER_CARD_ID "driver.card.id" Number "" "number of the driver's card";
    1326 DRIVER_STATUS_EVENT_ENUM "driver.status.event.enum" Number "" "driver came, went or changed, the wire's own number";
    // CAN and OBD
    230 CAN_VEHICLE_SPEED "can.vehicle.speed" Number "km/h" "wheel based speed";
    231 CAN_VEHICLE_MILEAGE "can.vehicle.mileage" Number "km" "odometer";
    232 CAN_TRACKER_COUNTED_MILEAGE "can.tracker.counted.mileage" Number "km" "distance the tracker counted from CAN";
    233 CAN_TRACKER_COUNTED_FUEL_CONSUMED "can.tracker.counted.fuel.consumed" Number "liters" "fuel the tracker counted from CAN";
    234 CAN_ENGINE_MOTORHOURS "can.engine.motorhours" Number "hours" "engine hours";
    235 CAN_COUNTED_ENGINE_MOTORHOURS "can.counted.engine.motorhours" Number "hours" "engine hours the tracker counted from CAN";
    236 CAN_ENGINE_RPM "can.engine.rpm" Number "rpm" "engine speed";
    237 CAN_ENGINE_TEMPERATURE "can.engine.temperature" Number "celsius" "engine";
    238 CAN_ENGINE_COOLANT_TEMPERATURE "can.engine.coolant.temperature" Number "celsius" "coolant";
    239 CAN_ENGINE_OIL_TEMPERATURE "can.engine.oil.temperature" Number "celsius" "oil";
    240 CAN_ENGINE_OIL_PRESSURE "can.engine.oil.pressure" Number "kPa" "oil";
    241 CAN_ENGINE_OIL_LEVEL "can.engine.oil.level" Number "percentage" "oil";
    242 CAN_ENGINE_LOAD_LEVEL "can.engine.load.level" Number "percentage" "engine load";
    243 CAN_ENGINE_TORQUE "can.engine.torque" Number "percentage" "torque";
    244 CAN_ENGINE_IGNITION_STATUS "can.engine.ignition.status" Boolean "" "ignition";
    245 CAN_ENGINE_WORKING_STATUS "can.engine.working.status" Boolean "" "the engine runs";
    246 CAN_INTAKE_AIR_TEMPERATURE "can.intake.air.temperature" Number "celsius" "intake air";
    247 CAN_INTAKE_MAP_PRESSURE "can.intake.map.pressure" Number "kPa" "intake manifold";
    248 CAN_MAF "can.maf" Number "g/sec" "mass air flow";
    249 CAN_AMBIENT_AIR_TEMPERATURE "can.ambient.air.temperature" Number "celsius" "outside air";
    250 CAN_BAROMETRIC_PRESSURE "can.barometric.pressure" Number "kPa" "outside air";
    251 CAN_FUEL_LEVEL "can.fuel.level" Number "percentage" "fuel";
    252 CAN_FUEL_VOLUME "can.fuel.volume" Number "liters" "fuel";
    253 CAN_FUEL_CONSUMED "can.fuel.consumed" Number "liters" "fuel used in all";
    254 CAN_FUEL_RATE "can.fuel.rate" Number "l/h" "fuel use";
    255 CAN_FUEL_CONSUMPTION "can.fuel.consumption" Number "l/100km" "fuel use";
    256 CAN_FUEL_PRESSURE "can.fuel.pressure" Number "kPa" "fuel";
    257 CAN_THROTTLE_PEDAL_LEVEL "can.throttle.pedal.level" Number "percentage" "accelerator";
    258 CAN_THROTTLE_LEVEL "can.throttle.level" Number "percentage" "throttle valve";
    259 CAN_BRAKE_PEDAL_LEVEL "can.brake.pedal.level" Number "percentage" "brake pedal";
    260 CAN_WHEEL_SPEED "can.wheel.speed" Number "km/h" "wheel";
    261 CAN_VEHICLE_BATTERY_LEVEL "can.vehicle.battery.level" Number "percentage" "traction battery";
    262 CAN_BATTERY_VOLTAGE "can.battery.voltage" Number "volts" "battery";
    263 CAN_CONTROL_MODULE_VOLTAGE "can.control.module.voltage" Number "volts" "control module";
    264 CAN_ABSOLUTE_LOAD "can.absolute.load" Number "percentage" "absolute load value";
    265 CAN_TIMING_ADVANCE "can.timing.advance" Number "degrees" "ignition timing";
    266 CAN_RUN_TIME "can.run.time" Number "seconds" "since the engine was started";
    267 CAN_SHORT_TERM_FUEL_TRIM "can.short.term.fuel.trim" Number "percentage" "fuel trim";
    751 CAN_DRIVING_HOURS "can.driving.hours" Number "hours" "time driven in all";
    752 CAN_IDLE_HOURS "can.idle.hours" Number "hours" "time that the engine has idled in all";
    753 CAN_IDLE_FUEL_CONSUMED "can.idle.fuel.consumed" Number "liters" "fuel used while idling";
    754 CAN_RANGE_MILEAGE "can.range.mileage" Number "km" "distance that the fuel is good for";
    755 CAN_TOTAL_AXLE_LOAD "can.total.axle.load" Number "kg" "all axles";
    268 CAN_LONG_TERM_FUEL_TRIM "can.long.term.fuel.trim" Number "percentage" "fuel trim";
    269 CAN_DTC_NUMBER "can.dtc.number" Number "" "trouble codes stored";
    270 CAN_DTC_CODES "can.dtc.codes" Text "" "trouble codes, comma separated";
    271 CAN_DTC_DISTANCE "can.dtc.distance" Number "km" "since the trouble codes were cleared";
    272 CAN_MIL_MILEAGE "can.mil.mileage" Number "km" "with the malfunction lamp on";
    273 CAN_MIL_STATUS "can.mil.status" Boolean "" "the malfunction lamp is on";
    274 CAN_FAULT_CODE_N "can.fault.code.N" Text "" "trouble code N";
    275 CAN_ADBLUE_LEVEL "can.adblue.level" Number "percentage" "AdBlue";
    276 CAN_AXLE_LOAD_N "can.axle.load.N" Number "kg" "axle N";
    277 CAN_SERVICE_MILEAGE "can.service.mileage" Number "km" "left to the next service";
    278 CAN_PTO_STATUS "can.pto.status" Boolean "" "power take-off";
    279 CAN_CRUISE_STATUS "can.cruise.status" Boolean "" "cruise control";
    280 CAN_CLUTCH_STATUS "can.clutch.status" Boolean "" "clutch pedal";
    281 CAN_DOORS_BITMASK "can.doors.bitmask" Number "bitmask" "doors, the wire's own bits";
    282 CAN_STATE_BITMASK "can.state.bitmask" Number "bitmask" "state flags, the wire's own bits";
    283 CAN_GEAR_ENUM "can.gear.enum" Number "" "gear, the wire's own number";
    284 CAN_VEHICLE_VIN "can.vehicle.vin" Text "" "vehicle identification number";
    285 CAN_HANDBRAKE_STATUS "can.handbrake.status" Boolean "" "handbrake";
    286 CAN_HOOD_STATUS "can.hood.status" Boolean "" "hood";
    287 CAN_TRUNK_STATUS "can.trunk.status" Boolean "" "trunk";
    288 CAN_PARKING_STATUS "can.parking.status" Boolean "" "parking";
    289 CAN_PEDAL_BRAKE_STATUS "can.pedal.brake.status" Boolean "" "brake pedal";
    290 CAN_REVERSE_GEAR_STATUS "can.reverse.gear.status" Boolean "" "reverse gear";
    291 CAN_WEBASTO_STATUS "can.webasto.status" Boolean "" "auxiliary heating";
    292 CAN_LIGHTS_STATUS "can.lights.status" Boolean "" "lights";
    293 CAN_WINDOWS_STATUS "can.windows.status" Boolean "" "windows";
    294 CAN_DOORS_STATUS "can.doors.status" Boolean "" "doors";
    295 CAN_CENTRAL_LOCK_STATUS "can.central.lock.status" Boolean "" "central lock";
    296 CAN_CHARGE_STATUS "can.charge.status" Boolean "" "charging";
    297 CAN_QUICK_CHARGE_STATUS "can.quick.charge.status" Boolean "" "quick charging";
    298 CAN_DRIVER_DOOR_STATUS "can.driver.door.status" Boolean "" "driver's door";
    299 CAN_PASSENGER_DOOR_STATUS "can.passenger.door.status" Boolean "" "passenger's door";
    300 CAN_REAR_LEFT_DOOR_STATUS "can.rear.left.door.status" Boolean "" "rear left door";
    301 CAN_REAR_RIGHT_DOOR_STATUS "can.rear.right.door.status" Boolean "" "rear right door";
    302 CAN_DRIVER_SEATBELT_STATUS "can.driver.seatbelt.status" Boolean "" "driver's belt";
    303 CAN_CAR_CLOSED_STATUS "can.car.closed.status" Boolean "" "the car is closed";
    304 CAN_CAR_CLOSED_REMOTE_STATUS "can.car.closed.remote.status" Boolean "" "closed by remote control";
    305 CAN_DYNAMIC_IGNITION_STATUS "can.dynamic.ignition.status" Boolean "" "dynamic ignition";
    306 CAN_IGNITION_KEY_STATUS "can.ignition.key.status" Boolean "" "ignition key";
    307 CAN_MODULE_ID "can.module.id" Number "" "CAN adapter";
    308 CAN_MODULE_SLEEP_MODE "can.module.sleep.mode" Number "" "CAN adapter";
    309 CAN_PROGRAM_ID "can.program.id" Number "" "CAN program";
    310 SEGMENT_CAN_FUEL_CONSUMED "segment.can.fuel.consumed" Number "liters" "of the trip";
    1301 SEGMENT_VEHICLE_MILEAGE "segment.vehicle.mileage" Number "km" "distance since the record before";
    311 SEGMENT_CAN_VEHICLE_MILEAGE "segment.can.vehicle.mileage" Number "km" "of the trip";
    440 CAN_ADBLUE_VOLUME "can.adblue.volume" Number "liters" "AdBlue";
    441 CAN_CONTROL_STATE_BITMASK "can.control.state.bitmask" Number "bitmask" "control lamps, the wire's own bits";
    442 CAN_SECURITY_STATE_BITMASK "can.security.state.bitmask" Number "bitmask" "doors, locks and keys, the wire's own bits";
    443 CAN_AGRICULTURE_STATE_BITMASK "can.agriculture.state.bitmask" Number "bitmask" "farm machine, the wire's own bits";
    444 CAN_TACHO_MILEAGE "can.tacho.mileage" Number "km" "total distance of the tachograph";
    445 CAN_TACHO_TRIP_MILEAGE "can.tacho.trip.mileage" Number "km" "trip distance of the tachograph";
    446 CAN_TACHO_SPEED "can.tacho.speed" Number "km/h" "speed of the tachograph";
    447 TACHO_DRIVER_CARD_STATUS_N "tacho.driver.card.status.N" Boolean "" "driver N's card is in";
    448 TACHO_DRIVER_STATE_ENUM_N "tacho.driver.state.enum.N" Number "" "driver N, the wire's own number";
    449 TACHO_DRIVER_CONTINUOUS_TIME_N "tacho.driver.continuous.time.N" Number "minutes" "driver N's continuous driving";
    450 TACHO_DRIVER_BREAK_TIME_N "tacho.driver.break.time.N" Number "minutes" "driver N's breaks in all";
    451 TACHO_DRIVER_ACTIVITY_TIME_N "tacho.driver.activity.time.N" Number "minutes" "driver N's present activity";
    452 TACHO_DRIVER_CUMULATIVE_TIME_N "tacho.driver.cumulative.time.N" Number "minutes" "driver N's driving in all";
    453 CAN_TRACTION_BATTERY_TEMPERATURE "can.traction.battery.temperature" Number "celsius" "traction battery";
    454 CAN_RELATIVE_FUEL_PRESSURE "can.relative.fuel.pressure" Number "kPa" "fuel rail, relative";
    455 CAN_DIRECT_FUEL_PRESSURE "can.direct.fuel.pressure" Number "kPa" "fuel rail, direct injection";
    456 CAN_ABSOLUTE_FUEL_PRESSURE "can.absolute.fuel.pressure" Number "kPa" "fuel rail, absolute";
    457 CAN_COMMANDED_EGR "can.commanded.egr" Number "percentage" "exhaust gas recirculation";
    458 CAN_EGR_ERROR "can.egr.error" Number "percentage" "exhaust gas recirculation";
    459 CAN_MIL_TIME "can.mil.time" Number "minutes" "with the malfunction lamp on";
    460 CAN_DTC_TIME "can.dtc.time" Number "minutes" "since the trouble codes were cleared";
    461 CAN_HYBRID_BATTERY_LIFE "can.hybrid.battery.life" Number "percentage" "hybrid battery pack";
    462 CAN_FUEL_INJECTION_TIMING "can.fuel.injection.timing" Number "degrees" "injection timing";
    463 CAN_HYBRID_SYSTEM_VOLTAGE "can.hybrid.system.voltage" Number "volts" "hybrid system";
    464 CAN_HYBRID_SYSTEM_CURRENT "can.hybrid.system.current" Number "amperes" "hybrid system";
    465 CAN_EQUIVALENCE_RATIO "can.equivalence.ratio" Number "" "commanded air to fuel ratio";
    466 CAN_FUEL_TYPE_ENUM "can.fuel.type.enum" Number "" "fuel, the wire's own number";
    467 CAN_REMAINING_MILEAGE "can.remaining.mileage" Number "km" "range left";
    468 CAN_TRACTION_BATTERY_HEALTH "can.traction.battery.health" Number "percentage" "traction battery";
    469 CAN_GROSS_WEIGHT "can.gross.weight" Number "kg" "gross combination weight";
    1338 CAN_BATTERY_RANGE_MILEAGE "can.battery.range.mileage" Number "km" "distance that the traction battery is good for";
    1339 CAN_ADDITIONAL_FUEL_RANGE_MILEAGE "can.additional.fuel.range.mileage" Number "km" "distance that the second fuel is good for";
    1340 CAN_SERVICE_OVERDUE_MILEAGE "can.service.overdue.mileage" Number "km" "driven since the service was due";
    1341 CAN_SERVICE_LAST_MILEAGE "can.service.last.mileage" Number "km" "driven since the last service";
    1342 CAN_SECONDARY_FUEL_LEVEL "can.secondary.fuel.level" Number "percentage" "second tank";
    1343 CAN_FUEL_ECONOMY "can.fuel.economy" Number "km/l" "distance over fuel";
    1344 CAN_CNG_STATUS "can.cng.status" Boolean "" "the engine runs on natural gas";
    1345 CAN_CNG_CONSUMED "can.cng.consumed" Number "kg" "natural gas used in all";
    1346 CAN_CNG_LEVEL "can.cng.level" Number "percentage" "natural gas";
    1347 CAN_RETARDER_LOAD_LEVEL "can.retarder.load.level" Number "percentage" "retarder";
    1348 CAN_CRUISE_DURATION "can.cruise.duration" Number "minutes" "driven with cruise control";
    1349 CAN_BATTERY_CONSUMPTION "can.battery.consumption" Number "kWh/100km" "use of the traction battery over distance";
    1350 CAN_BATTERY_CELL_VOLTAGE_MAX "can.battery.cell.voltage.max" Number "volts" "highest cell of the traction battery";
    1351 CAN_BATTERY_CELL_VOLTAGE_MIN "can.battery.cell.voltage.min" Number "volts" "lowest cell of the traction battery";
    1352 CAN_TRAILER_WEIGHT "can.trailer.weight" Number "kg" "trailer";
    1353 CAN_VEHICLE_WEIGHT "can.vehicle.weight" Number "kg" "powered vehicle";
    1354 CAN_ROAD_SPEED_LIMIT "can.road.speed.limit" Number "km/h" "limit by the road signs";
    1355 CAN_ROAD_SPEED_EXCEEDED "can.road.speed.exceeded" Number "km/h" "above the limit by the road signs";
    1356 CAN_HARVESTING_DURATION "can.harvesting.duration" Number "minutes" "harvester";
    1357 CAN_HARVESTING_AREA "can.harvesting.area" Number "m2" "harvester";
    1358 CAN_MOWING_EFFICIENCY "can.mowing.efficiency" Number "m2/h" "harvester";
    1359 CAN_GRAIN_MOWN_WEIGHT "can.grain.mown.weight" Number "kg" "harvester";
    1360 CAN_GRAIN_MOISTURE "can.grain.moisture" Number "percentage" "harvester";
    1361 CAN_HARVESTING_DRUM_RPM "can.harvesting.drum.rpm" Number "rpm" "harvester";
    1362 CAN_HARVESTING_DRUM_GAP "can.harvesting.drum.gap" Number "mm" "below the drum of a harvester";
    1363 CAN_SECURITY_STATE_P4_BITMASK "can.security.state.p4.bitmask" Number "bitmask" "doors, locks and keys by version 4 of the adapter's protocol, the wire's own bits";
    1364 CAN_CONTROL_STATE_P4_BITMASK "can.control.state.p4.bitmask" Number "bitmask" "control lamps by version 4 of the adapter's protocol, the wire's own bits";
    1365 CAN_INDICATOR_STATE_P4_BITMASK "can.indicator.state.p4.bitmask" Number "bitmask" "warning lamps by version 4 of the adapter's protocol, the wire's own bits";
    1366 CAN_AGRICULTURE_STATE_P4_BITMASK "can.agriculture.state.p4.bitmask" Number "bitmask" "farm machine by version 4 of the adapter's protocol, the wire's own bits";
    1367 CAN_UTILITY_STATE_P4_BITMASK "can.utility.state.p4.bitmask" Number "bitmask" "municipal machine by version 4 of the adapter's protocol, the wire's own bits";
    1368 CAN_CISTERN_STATE_P4_BITMASK "can.cistern.state.p4.bitmask" Number "bitmask" "tanker by version 4 of the adapter's protocol, the wire's own bits";
    1369 CAN_TELLTALE_N "can.telltale.N" Text "" "block N of the FMS tell tales, as hex";
    1370 CAN_MIL_STATE_ENUM "can.mil.state.enum" Number "" "malfunction lamp and its colour, the wire's own number";
    1371 CAN_PTO_STATE_ENUM "can.pto.state.enum" Number "" "power take-off, the wire's own number";
    1372 CAN_WORK_MODE_ENUM "can.work.mode.enum" Number "" "private or company, the wire's own number";
    1373 CAN_FRONT_LEFT_DOOR_STATUS "can.front.left.door.status" Boolean "" "front left door";
    1374 CAN_FRONT_RIGHT_DOOR_STATUS "can.front.right.door.status" Boolean "" "front right door";
    1375 CAN_ROOF_STATUS "can.roof.status" Boolean "" "roof";
    1376 CAN_NEUTRAL_GEAR_STATUS "can.neutral.gear.status" Boolean "" "neutral gear";
    1377 CAN_DRIVE_GEAR_STATUS "can.drive.gear.status" Boolean "" "drive of an automatic gear box";
    1378 CAN_STANDALONE_ENGINE_STATUS "can.standalone.engine.status" Boolean "" "standalone engine";
    1379 CAN_READY_DRIVE_STATUS "can.ready.drive.status" Boolean "" "ready to drive";
    1380 CAN_OPERATOR_STATUS "can.operator.status" Boolean "" "the operator is present";
    1381 CAN_INTERLOCK_STATUS "can.interlock.status" Boolean "" "interlock";
    1382 CAN_ENGINE_LOCK_STATUS "can.engine.lock.status" Boolean "" "the engine is locked";
    1383 CAN_ENGINE_LOCK_REQUEST_STATUS "can.engine.lock.request.status" Boolean "" "the engine is to be locked";
    1384 CAN_CHARGING_WIRE_STATUS "can.charging.wire.status" Boolean "" "the charging wire is plugged in";
    1385 CAN_ELECTRIC_ENGINE_STATUS "can.electric.engine.status" Boolean "" "electric engine";
    1386 CAN_FACTORY_ALARM_STATUS "can.factory.alarm.status" Boolean "" "the vehicle's own alarm went off";
    1387 CAN_FACTORY_ALARM_EMULATED_STATUS "can.factory.alarm.emulated.status" Boolean "" "the vehicle's own alarm is emulated";
    1388 CAN_FACTORY_ARMED_STATUS "can.factory.armed.status" Boolean "" "the vehicle's own alarm is armed";
    1389 CAN_REARMING_STATUS "can.rearming.status" Boolean "" "rearming";
    1390 CAN_DUAL_FUEL_STATUS "can.dual.fuel.status" Boolean "" "the engine runs on two fuels";
    1391 CAN_LPG_STATUS "can.lpg.status" Boolean "" "the engine runs on liquid gas";
    1392 CAN_PARKING_LIGHTS_STATUS "can.parking.lights.status" Boolean "" "parking lights";
    1393 CAN_DIPPED_HEADLIGHTS_STATUS "can.dipped.headlights.status" Boolean "" "dipped headlights";
    1394 CAN_FULL_BEAM_HEADLIGHTS_STATUS "can.full.beam.headlights.status" Boolean "" "full beam";
    1395 CAN_REAR_FOG_LIGHTS_STATUS "can.rear.fog.lights.status" Boolean "" "rear fog lights";
    1396 CAN_FRONT_FOG_LIGHTS_STATUS "can.front.fog.lights.status" Boolean "" "front fog lights";
    1397 CAN_ADDITIONAL_FRONT_LIGHTS_STATUS "can.additional.front.lights.status" Boolean "" "additional front lights";
    1398 CAN_ADDITIONAL_REAR_LIGHTS_STATUS "can.additional.rear.lights.status" Boolean "" "additional rear lights";
    1399 CAN_LIGHT_SIGNAL_STATUS "can.light.signal.status" Boolean "" "light signal";
    1400 CAN_AIR_CONDITIONING_STATUS "can.air.conditioning.status" Boolean "" "air conditioning";
    1401 CAN_AUTOMATIC_RETARDER_STATUS "can.automatic.retarder.status" Boolean "" "automatic retarder";
    1402 CAN_MANUAL_RETARDER_STATUS "can.manual.retarder.status" Boolean "" "manual retarder";
    1403 CAN_FRONT_PASSENGER_SEATBELT_STATUS "can.front.passenger.seatbelt.status" Boolean "" "front passenger's belt";
    1404 CAN_REAR_LEFT_SEATBELT_STATUS "can.rear.left.seatbelt.status" Boolean "" "rear left belt";
    1405 CAN_REAR_RIGHT_SEATBELT_STATUS "can.rear.right.seatbelt.status" Boolean "" "rear right belt";
    1406 CAN_REAR_CENTRE_SEATBELT_STATUS "can.rear.centre.seatbelt.status" Boolean "" "rear centre belt";
    1407 CAN_FRONT_PASSENGER_STATUS "can.front.passenger.status" Boolean "" "the front passenger is present";
    1408 CAN_FRONT_DIFFERENTIAL_STATUS "can.front.differential.status" Boolean "" "the front differential is locked";
    1409 CAN_REAR_DIFFERENTIAL_STATUS "can.rear.differential.status" Boolean "" "the rear differential is locked";
    1410 CAN_CENTRAL_DIFFERENTIAL_4HI_STATUS "can.central.differential.4hi.status" Boolean "" "the central differential 4HI is locked";
    1411 CAN_CENTRAL_DIFFERENTIAL_4LO_STATUS "can.central.differential.4lo.status" Boolean "" "the central differential 4LO is locked";
    1412 CAN_TRAILER_STATUS "can.trailer.status" Boolean "" "a trailer is connected";
    1413 CAN_TRAILER_AXLE_LIFT_STATUS_N "can.trailer.axle.lift.status.N" Boolean "" "lift of the trailer's axle N";
    1414 CAN_START_STOP_INACTIVE_STATUS "can.start.stop.inactive.status" Boolean "" "the start and stop system is inactive";
    1415 CAN_INDICATOR_ABS_STATUS "can.indicator.abs.status" Boolean "" "warning lamp: ABS";
    1416 CAN_INDICATOR_ESP_STATUS "can.indicator.esp.status" Boolean "" "warning lamp: ESP";
    1417 CAN_INDICATOR_ESP_OFF_STATUS "can.indicator.esp.off.status" Boolean "" "warning lamp: ESP is switched off";
    1418 CAN_INDICATOR_STOP_STATUS "can.indicator.stop.status" Boolean "" "warning lamp: stop";
    1419 CAN_INDICATOR_OIL_LEVEL_STATUS "can.indicator.oil.level.status" Boolean "" "warning lamp: oil level";
    1420 CAN_INDICATOR_COOLANT_LEVEL_STATUS "can.indicator.coolant.level.status" Boolean "" "warning lamp: coolant level";
    1421 CAN_INDICATOR_BATTERY_STATUS "can.indicator.battery.status" Boolean "" "warning lamp: the battery is not charged";
    1422 CAN_INDICATOR_HANDBRAKE_STATUS "can.indicator.handbrake.status" Boolean "" "warning lamp: handbrake system";
    1423 CAN_INDICATOR_AIRBAG_STATUS "can.indicator.airbag.status" Boolean "" "warning lamp: airbag";
    1424 CAN_INDICATOR_EPS_STATUS "can.indicator.eps.status" Boolean "" "warning lamp: EPS";
    1425 CAN_INDICATOR_WARNING_STATUS "can.indicator.warning.status" Boolean "" "warning lamp: general warning";
    1426 CAN_INDICATOR_LIGHTS_FAILURE_STATUS "can.indicator.lights.failure.status" Boolean "" "warning lamp: a light fails";
    1427 CAN_INDICATOR_TIRE_PRESSURE_STATUS "can.indicator.tire.pressure.status" Boolean "" "warning lamp: low tyre pressure";
    1428 CAN_INDICATOR_BRAKE_PADS_STATUS "can.indicator.brake.pads.status" Boolean "" "warning lamp: worn brake pads";
    1429 CAN_INDICATOR_FUEL_LEVEL_STATUS "can.indicator.fuel.level.status" Boolean "" "warning lamp: low fuel";
    1430 CAN_INDICATOR_MAINTENANCE_STATUS "can.indicator.maintenance.status" Boolean "" "warning lamp: service is due";
    1431 CAN_INDICATOR_GLOW_PLUG_STATUS "can.indicator.glow.plug.status" Boolean "" "warning lamp: glow plug";
    1432 CAN_INDICATOR_FAP_STATUS "can.indicator.fap.status" Boolean "" "warning lamp: particulate filter";
    1433 CAN_INDICATOR_EPC_STATUS "can.indicator.epc.status" Boolean "" "warning lamp: electronic power control";
    1434 CAN_INDICATOR_OIL_FILTER_STATUS "can.indicator.oil.filter.status" Boolean "" "warning lamp: clogged oil filter";
    1435 CAN_INDICATOR_OIL_PRESSURE_STATUS "can.indicator.oil.pressure.status" Boolean "" "warning lamp: low oil pressure";
    1436 CAN_INDICATOR_OIL_TEMPERATURE_STATUS "can.indicator.oil.temperature.status" Boolean "" "warning lamp: oil is too hot";
    1437 CAN_INDICATOR_COOLANT_LOW_STATUS "can.indicator.coolant.low.status" Boolean "" "warning lamp: low coolant";
    1438 CAN_INDICATOR_HYDRAULIC_FILTER_STATUS "can.indicator.hydraulic.filter.status" Boolean "" "warning lamp: clogged filter of the hydraulics";
    1439 CAN_INDICATOR_HYDRAULIC_PRESSURE_STATUS "can.indicator.hydraulic.pressure.status" Boolean "" "warning lamp: low pressure of the hydraulics";
    1440 CAN_INDICATOR_HYDRAULIC_OIL_STATUS "can.indicator.hydraulic.oil.status" Boolean "" "warning lamp: low oil of the hydraulics";
    1441 CAN_INDICATOR_HYDRAULIC_TEMPERATURE_STATUS "can.indicator.hydraulic.temperature.status" Boolean "" "warning lamp: hydraulics too hot";
    1442 CAN_INDICATOR_HYDRAULIC_OVERFLOW_STATUS "can.indicator.hydraulic.overflow.status" Boolean "" "warning lamp: oil overflow of the hydraulics";
    1443 CAN_INDICATOR_AIR_FILTER_STATUS "can.indicator.air.filter.status" Boolean "" "warning lamp: clogged air filter";
    1444 CAN_INDICATOR_FUEL_FILTER_STATUS "can.indicator.fuel.filter.status" Boolean "" "warning lamp: clogged fuel filter";
    1445 CAN_INDICATOR_FUEL_WATER_STATUS "can.indicator.fuel.water.status" Boolean "" "warning lamp: water in the fuel";
    1446 CAN_INDICATOR_BRAKE_FILTER_STATUS "can.indicator.brake.filter.status" Boolean "" "warning lamp: clogged filter of the brakes";
    1447 CAN_INDICATOR_WASHER_FLUID_STATUS "can.indicator.washer.fluid.status" Boolean "" "warning lamp: low washer fluid";
    1448 CAN_INDICATOR_ADBLUE_STATUS "can.indicator.adblue.status" Boolean "" "warning lamp: low AdBlue";
    1449 CAN_INDICATOR_TRAILER_TIRE_PRESSURE_STATUS "can.indicator.trailer.tire.pressure.status" Boolean "" "warning lamp: low tyre pressure of the trailer";
    1450 CAN_INDICATOR_TRAILER_BRAKE_LINING_STATUS "can.indicator.trailer.brake.lining.status" Boolean "" "warning lamp: worn brakes of the trailer";
    1451 CAN_INDICATOR_TRAILER_BRAKE_TEMPERATURE_STATUS "can.indicator.trailer.brake.temperature.status" Boolean "" "warning lamp: hot brakes of the trailer";
    1452 CAN_INDICATOR_TRAILER_PNEUMATIC_STATUS "can.indicator.trailer.pneumatic.status" Boolean "" "warning lamp: air supply of the trailer";
    1453 CAN_INDICATOR_CNG_LEVEL_STATUS "can.indicator.cng.level.status" Boolean "" "warning lamp: low natural gas";
    1454 TACHO_SOURCE_ENUM "tacho.source.enum" Number "" "where the tachograph's data come from, the wire's own number";
    1455 TACHO_CARDLESS_DRIVING_STATUS "tacho.cardless.driving.status" Boolean "" "driven without a card";
    1456 TACHO_DIRECTION_ENUM "tacho.direction.enum" Number "" "forwards or backwards, the wire's own number";
    1457 TACHO_PERFORMANCE_ENUM "tacho.performance.enum" Number "" "tachograph, the wire's own number";
    1458 TACHO_HANDLING_ENUM "tacho.handling.enum" Number "" "tachograph, the wire's own number";
    1459 TACHO_EVENT_ENUM "tacho.event.enum" Number "" "tachograph, the wire's own number";
    1460 TACHO_MOTION_ENUM "tacho.motion.enum" Number "" "whether the vehicle moves, the wire's own number";
    1461 TACHO_OVERSPEED_ENUM "tacho.overspeed.enum" Number "" "too fast by the tachograph, the wire's own number";
    1462 TACHO_DRIVER_TIME_STATE_ENUM_N "tacho.driver.time.state.enum.N" Number "" "which limit driver N comes near, the wire's own number";
    1463 TACHO_CARD_COUNTRY_ENUM_N "tacho.card.country.enum.N" Number "" "country that issued card N, the wire's own number";
    1464 TACHO_DRIVER_DAILY_TIME_N "tacho.driver.daily.time.N" Number "minutes" "driver N's driving of the day";
    1465 TACHO_DRIVER_WEEKLY_TIME_N "tacho.driver.weekly.time.N" Number "minutes" "driver N's driving of the week";
    1466 TACHO_DRIVER_DAILY_REST_LEFT_N "tacho.driver.daily.rest.left.N" Number "minutes" "until driver N must begin a daily rest";
    // The device itself
    312 VENDOR_CODE "vendor.code" Text "" "vendor code";
    313 DEVICE_MODEL "device.model" Text "" "model as the device names it";
    314 DEVICE_FIRMWARE_VERSION "device.firmware.version" Text "" "firmware";
    315 DEVICE_HARDWARE_VERSION "device.hardware.version" Text "" "hardware";
    316 DEVICE_SERIAL_NUMBER "device.serial.number" Text "" "the maker's serial number";
    317 DEVICE_IMEI "device.imei" Text "" "IMEI, where it is not the ident";
    318 DEVICE_TYPE_CODE "device.type.code" Text "" "type code as the device sends it";
    319 PROTOCOL_VERSION "protocol.version" Text "" "protocol version";
    320 COMMAND_RESULT "command.result" Text "" "answer of the device to a command";
    321 COMMAND_TYPE "command.type" Text "" "kind of command answered";
    322 COMMAND_ID "command.id" Number "" "number of the command answered";
    323 TEXT_MESSAGE "text.message" Text "" "text as the device sends it";
    324 ERROR_TYPE "error.type" Number "" "error, the wire's own number";
    325 ERROR_TYPE_DESCRIPTION "error.type.description" Text "" "error, in words";
    326 MEMORY_USAGE_LEVEL "memory.usage.level" Number "percentage" "of the device's memory";
    327 UPTIME "uptime" Number "seconds" "since the device started";
    1320 RECORD_COUNT "record.count" Number "" "records since the device started";
    1321 MODEM_UPTIME "modem.uptime" Number "seconds" "since the modem woke up";
    1322 USER_ID "user.id" Number "" "number that the owner gave the device";
    610 BOOT_REASON_ENUM "boot.reason.enum" Number "" "why the device started, the wire's own number";
    328 NETWORK_IP "network.ip" Text "" "address of the device";
    329 FRAME_SEQNUM "frame.seqnum" Number "" "serial number of the frame: changes when the same record is sent again";
    330 MEDIA_IMAGE "media.image" Any "" "picture";
    331 MEDIA_ID "media.id" Text "" "id of a file";
    900 MEDIA_AUDIO "media.audio" Any "" "sound";
    332 IMAGE_BIN_JPEG "image.bin.jpeg" Any "" "picture as bytes";
    333 PAYLOAD_HEX "payload.hex" Text "" "bytes of a part that has no fixed meaning";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn numbers_and_names_are_unique_and_names_are_dotted_lower_case() {
        let (mut numbers, mut names) = (HashSet::new(), HashSet::new());
        for param in DICTIONARY {
            assert!(numbers.insert(param.id.0), "number {} twice", param.id.0);
            assert!(names.insert(param.name), "name {} twice", param.name);
            let fits = |s: &str| {
                s == "N"
                    || (!s.is_empty()
                        && s.bytes()
                            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
            };
            assert!(param.name.split('.').all(fits), "{}", param.name);
            assert!(!param.meaning.is_empty(), "{}", param.name);
        }
    }
}
