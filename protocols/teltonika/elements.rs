//! What an AVL id means: the table from ids of the wire to parameters.
//!
//! The same id means different things in different families of devices, and often the number of
//! its bytes tells which. A row says for which family it holds: `Any` needs no knowledge of the
//! device, the others only hold when the device's setting `model` names one of theirs; until then
//! the value is kept under the wire's number.

use crate::contract::{Instance, ParamId, RecordBuilder, Settings, Value, fields};
use crate::kit::{hex, units};
use std::sync::LazyLock;

/// Which devices number their elements alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Not known: no model is set.
    Any,
    /// FMB, FMC, FMM, FMU, FMT, FMP, MTB and relatives.
    Basic,
    /// FMx640, FMx641, FMx650: trucks.
    Heavy,
    /// TAT, TMT, TST, TFT, GH: assets and persons.
    Portable,
}

impl Family {
    pub(super) fn of(settings: &Settings) -> Self {
        let Some(model) = settings.model.as_deref() else {
            return Self::Any;
        };
        let starts = |begin: &str| {
            model
                .get(..begin.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(begin))
        };
        let heavy = ["64", "65"].iter().any(|series| {
            starts("FM")
                && model
                    .get(3..)
                    .is_some_and(|number| number.starts_with(series))
        });
        if heavy {
            Self::Heavy
        } else if [
            "FMB", "FMC", "FMM", "FMP", "FMT", "FMU", "FM3001", "MTB", "MSP",
        ]
        .iter()
        .any(|b| starts(b))
        {
            Self::Basic
        } else if ["TAT", "TMT", "TST", "TFT", "GH"].iter().any(|b| starts(b)) {
            Self::Portable
        } else {
            Self::Any
        }
    }
}

/// How the value is read.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// Not 0.
    Flag,
    /// An unsigned number.
    Plain,
    /// A signed number.
    Signed,
    /// An unsigned number times a factor, to so many decimals.
    Scaled(f64, i32),
    /// A signed number times a factor, to so many decimals.
    SignedScaled(f64, i32),
    /// An identification as hex digits; all zeros is none.
    Code,
    /// ASCII text.
    Text,
}
use Form::{Code, Flag, Plain, Scaled, Signed, SignedScaled, Text};

struct Element {
    id: u16,
    /// Bytes of the value; 0 for one of any length.
    width: u8,
    family: Family,
    param: ParamId,
    instance: Instance,
    form: Form,
}

const MILLI: Form = Scaled(0.001, 3);
const TENTH: Form = Scaled(0.1, 1);
const HUNDREDTH: Form = Scaled(0.01, 2);
const SIGNED_TENTH: Form = SignedScaled(0.1, 1);
const SIGNED_HUNDREDTH: Form = SignedScaled(0.01, 2);
/// Minutes to hours.
const MINUTES: Form = Scaled(1.0 / 60.0, 4);

macro_rules! elements {
    ($($id:literal $width:literal $family:ident $param:ident $instance:literal $form:expr;)*) => {
        static ELEMENTS: &[Element] = &[
            $(Element {
                id: $id, width: $width, family: Family::$family,
                param: fields::$param, instance: $instance, form: $form,
            },)*
        ];
    };
}

// In the order of the ids. Vendor's pages: "FMB AVL ID", "FMB640 AVL ID", "TMT250 AVL ID".
elements! {
    1 1 Any DIN_N 1 Flag;
    2 1 Any DIN_N 2 Flag;
    3 1 Any DIN_N 3 Flag;
    4 1 Any DIN_N 4 Flag;
    4 4 Any COUNTER_IMPULSES_N 1 Plain;
    5 4 Any COUNTER_IMPULSES_N 2 Plain;
    5 8 Any SENSOR_ID_N 5 Code;
    6 2 Basic AIN_N 2 MILLI;
    6 2 Portable AIN_N 2 MILLI;
    6 2 Heavy SENSOR_TEMPERATURE_N 5 SIGNED_TENTH;
    7 8 Any SENSOR_ID_N 6 Code;
    8 2 Heavy SENSOR_TEMPERATURE_N 6 SIGNED_TENTH;
    8 8 Basic IBUTTON_CODE 0 Code;
    9 2 Any AIN_N 1 MILLI;
    10 1 Basic SD_STATUS 0 Flag;
    10 2 Heavy AIN_N 2 MILLI;
    11 2 Heavy AIN_N 3 MILLI;
    12 4 Basic GPS_FUEL_CONSUMED 0 MILLI;
    12 2 Heavy CAN_PROGRAM_ID 0 Plain;
    13 2 Basic GPS_FUEL_CONSUMPTION 0 HUNDREDTH;
    13 8 Heavy CAN_MODULE_ID 0 Plain;
    14 4 Heavy CAN_ENGINE_MOTORHOURS 0 MINUTES;
    15 2 Any ECO_SCORE 0 HUNDREDTH;
    15 4 Heavy CAN_COUNTED_ENGINE_MOTORHOURS 0 MINUTES;
    16 4 Heavy CAN_TRACKER_COUNTED_MILEAGE 0 MILLI;
    16 4 Any VEHICLE_MILEAGE 0 MILLI;
    17 2 Any X_ACCELERATION 0 SignedScaled(0.001, 3);
    17 4 Heavy CAN_TRACKER_COUNTED_FUEL_CONSUMED 0 TENTH;
    18 2 Heavy CAN_FUEL_RATE 0 TENTH;
    18 2 Any Y_ACCELERATION 0 SignedScaled(0.001, 3);
    19 1 Heavy CAN_ADBLUE_LEVEL 0 Plain;
    19 2 Any Z_ACCELERATION 0 SignedScaled(0.001, 3);
    20 1 Basic BLE_SENSOR_BATTERY_LEVEL_N 2 Plain;
    20 1 Portable BLE_SENSOR_BATTERY_LEVEL_N 2 Plain;
    20 2 Heavy CAN_ADBLUE_VOLUME 0 TENTH;
    21 1 Any GSM_SIGNAL_LEVEL 0 Scaled(20.0, 0);
    22 1 Basic BLE_SENSOR_BATTERY_LEVEL_N 3 Plain;
    22 1 Portable BLE_SENSOR_BATTERY_LEVEL_N 3 Plain;
    22 1 Heavy GSM_DATA_MODE_ENUM 0 Plain;
    23 1 Basic BLE_SENSOR_BATTERY_LEVEL_N 4 Plain;
    23 1 Portable BLE_SENSOR_BATTERY_LEVEL_N 4 Plain;
    23 1 Heavy CAN_ENGINE_LOAD_LEVEL 0 Plain;
    24 2 Basic POSITION_SPEED 0 Plain;
    25 2 Any BLE_SENSOR_TEMPERATURE_N 1 SIGNED_HUNDREDTH;
    26 2 Any BLE_SENSOR_TEMPERATURE_N 2 SIGNED_HUNDREDTH;
    27 2 Any BLE_SENSOR_TEMPERATURE_N 3 SIGNED_HUNDREDTH;
    28 2 Any BLE_SENSOR_TEMPERATURE_N 4 SIGNED_HUNDREDTH;
    29 1 Basic BLE_SENSOR_BATTERY_LEVEL_N 1 Plain;
    29 1 Portable BLE_SENSOR_BATTERY_LEVEL_N 1 Plain;
    30 1 Basic CAN_DTC_NUMBER 0 Plain;
    31 1 Basic CAN_ENGINE_LOAD_LEVEL 0 Plain;
    32 1 Basic CAN_ENGINE_COOLANT_TEMPERATURE 0 Signed;
    33 1 Basic CAN_SHORT_TERM_FUEL_TRIM 0 Signed;
    34 2 Basic CAN_FUEL_PRESSURE 0 Plain;
    35 1 Basic CAN_INTAKE_MAP_PRESSURE 0 Plain;
    36 2 Basic CAN_ENGINE_RPM 0 Plain;
    37 1 Basic CAN_VEHICLE_SPEED 0 Plain;
    38 1 Basic CAN_TIMING_ADVANCE 0 Signed;
    39 1 Basic CAN_INTAKE_AIR_TEMPERATURE 0 Signed;
    40 2 Basic CAN_MAF 0 HUNDREDTH;
    41 1 Basic CAN_THROTTLE_LEVEL 0 Plain;
    42 2 Basic CAN_RUN_TIME 0 Plain;
    43 2 Basic CAN_MIL_MILEAGE 0 Plain;
    44 2 Basic CAN_RELATIVE_FUEL_PRESSURE 0 TENTH;
    45 2 Basic CAN_DIRECT_FUEL_PRESSURE 0 Scaled(10.0, 0);
    46 1 Basic CAN_COMMANDED_EGR 0 Plain;
    47 1 Basic CAN_EGR_ERROR 0 Signed;
    48 1 Basic CAN_FUEL_LEVEL 0 Plain;
    49 2 Basic CAN_DTC_DISTANCE 0 Plain;
    50 1 Basic CAN_BAROMETRIC_PRESSURE 0 Plain;
    51 2 Basic CAN_CONTROL_MODULE_VOLTAGE 0 MILLI;
    52 2 Basic CAN_ABSOLUTE_LOAD 0 Plain;
    53 1 Basic CAN_AMBIENT_AIR_TEMPERATURE 0 Signed;
    54 2 Basic CAN_MIL_TIME 0 Plain;
    55 2 Basic CAN_DTC_TIME 0 Plain;
    56 2 Basic CAN_ABSOLUTE_FUEL_PRESSURE 0 Scaled(10.0, 0);
    57 1 Basic CAN_HYBRID_BATTERY_LIFE 0 Plain;
    58 1 Basic CAN_ENGINE_OIL_TEMPERATURE 0 Plain;
    59 2 Basic CAN_FUEL_INJECTION_TIMING 0 SIGNED_HUNDREDTH;
    60 2 Basic CAN_FUEL_RATE 0 HUNDREDTH;
    61 1 Basic GEOFENCE_EVENT_ENUM_N 6 Plain;
    62 1 Basic GEOFENCE_EVENT_ENUM_N 7 Plain;
    62 8 Any SENSOR_ID_N 1 Code;
    63 1 Basic GEOFENCE_EVENT_ENUM_N 8 Plain;
    63 8 Any SENSOR_ID_N 2 Code;
    64 1 Basic GEOFENCE_EVENT_ENUM_N 9 Plain;
    64 8 Any SENSOR_ID_N 3 Code;
    65 1 Basic GEOFENCE_EVENT_ENUM_N 10 Plain;
    65 8 Any SENSOR_ID_N 4 Code;
    66 2 Any EXTERNAL_POWERSOURCE_VOLTAGE 0 MILLI;
    67 2 Any BATTERY_VOLTAGE 0 MILLI;
    68 2 Any BATTERY_CURRENT 0 MILLI;
    69 1 Any GNSS_STATE_ENUM 0 Plain;
    70 1 Basic GEOFENCE_EVENT_ENUM_N 11 Plain;
    70 2 Heavy DEVICE_TEMPERATURE 0 SIGNED_TENTH;
    71 1 Heavy GNSS_STATE_ENUM 0 Plain;
    71 8 Any SENSOR_ID_N 4 Code;
    72 4 Any SENSOR_TEMPERATURE_N 1 SIGNED_TENTH;
    72 2 Heavy SENSOR_TEMPERATURE_N 1 SIGNED_TENTH;
    73 4 Any SENSOR_TEMPERATURE_N 2 SIGNED_TENTH;
    73 2 Heavy SENSOR_TEMPERATURE_N 2 SIGNED_TENTH;
    74 4 Any SENSOR_TEMPERATURE_N 3 SIGNED_TENTH;
    74 2 Heavy SENSOR_TEMPERATURE_N 3 SIGNED_TENTH;
    75 4 Any SENSOR_TEMPERATURE_N 4 SIGNED_TENTH;
    75 2 Heavy SENSOR_TEMPERATURE_N 4 SIGNED_TENTH;
    76 8 Any SENSOR_ID_N 1 Code;
    77 8 Any SENSOR_ID_N 2 Code;
    78 8 Any IBUTTON_CODE 0 Code;
    79 8 Any SENSOR_ID_N 3 Code;
    79 1 Heavy CAN_PEDAL_BRAKE_STATUS 0 Flag;
    80 1 Basic GSM_DATA_MODE_ENUM 0 Plain;
    80 4 Heavy CAN_WHEEL_SPEED 0 Plain;
    81 1 Basic CAN_VEHICLE_SPEED 0 Plain;
    81 1 Heavy CAN_CRUISE_STATUS 0 Flag;
    82 1 Basic CAN_THROTTLE_PEDAL_LEVEL 0 Plain;
    82 1 Heavy CAN_CLUTCH_STATUS 0 Flag;
    83 4 Basic CAN_FUEL_CONSUMED 0 TENTH;
    83 1 Heavy CAN_PTO_STATUS 0 Flag;
    84 2 Basic CAN_FUEL_VOLUME 0 TENTH;
    84 4 Heavy CAN_THROTTLE_PEDAL_LEVEL 0 Plain;
    85 2 Basic CAN_ENGINE_RPM 0 Plain;
    85 1 Heavy CAN_ENGINE_LOAD_LEVEL 0 Plain;
    86 2 Any BLE_SENSOR_HUMIDITY_N 1 TENTH;
    86 4 Heavy CAN_FUEL_CONSUMED 0 Plain;
    87 4 Basic CAN_VEHICLE_MILEAGE 0 MILLI;
    87 4 Heavy CAN_FUEL_LEVEL 0 Plain;
    88 4 Heavy CAN_ENGINE_RPM 0 Plain;
    89 1 Basic CAN_FUEL_LEVEL 0 Plain;
    90 2 Basic CAN_DOORS_BITMASK 0 Plain;
    91 1 Basic GEOFENCE_EVENT_ENUM_N 12 Plain;
    92 1 Basic GEOFENCE_EVENT_ENUM_N 13 Plain;
    93 1 Basic GEOFENCE_EVENT_ENUM_N 14 Plain;
    94 1 Basic GEOFENCE_EVENT_ENUM_N 15 Plain;
    95 1 Basic GEOFENCE_EVENT_ENUM_N 16 Plain;
    96 1 Basic GEOFENCE_EVENT_ENUM_N 17 Plain;
    97 1 Basic GEOFENCE_EVENT_ENUM_N 18 Plain;
    98 1 Basic GEOFENCE_EVENT_ENUM_N 19 Plain;
    99 1 Basic GEOFENCE_EVENT_ENUM_N 20 Plain;
    100 4 Basic CAN_PROGRAM_ID 0 Plain;
    101 8 Basic CAN_MODULE_ID 0 Plain;
    102 4 Basic CAN_ENGINE_MOTORHOURS 0 MINUTES;
    103 4 Basic CAN_COUNTED_ENGINE_MOTORHOURS 0 MINUTES;
    104 2 Any BLE_SENSOR_HUMIDITY_N 2 TENTH;
    104 4 Heavy CAN_ENGINE_MOTORHOURS 0 Plain;
    105 4 Basic CAN_TRACKER_COUNTED_MILEAGE 0 MILLI;
    106 2 Any BLE_SENSOR_HUMIDITY_N 3 TENTH;
    107 4 Basic CAN_TRACKER_COUNTED_FUEL_CONSUMED 0 TENTH;
    108 2 Any BLE_SENSOR_HUMIDITY_N 4 TENTH;
    110 2 Basic CAN_FUEL_RATE 0 TENTH;
    111 1 Basic CAN_ADBLUE_LEVEL 0 Plain;
    112 2 Basic CAN_ADBLUE_VOLUME 0 TENTH;
    113 1 Any BATTERY_LEVEL 0 Plain;
    113 4 Heavy CAN_SERVICE_MILEAGE 0 SignedScaled(0.001, 3);
    114 1 Basic CAN_ENGINE_LOAD_LEVEL 0 Plain;
    115 2 Basic CAN_ENGINE_TEMPERATURE 0 SIGNED_TENTH;
    116 1 Portable BATTERY_CHARGING_STATUS 0 Flag;
    118 2 Basic CAN_AXLE_LOAD_N 1 Plain;
    119 2 Basic CAN_AXLE_LOAD_N 2 Plain;
    120 2 Basic CAN_AXLE_LOAD_N 3 Plain;
    121 2 Basic CAN_AXLE_LOAD_N 4 Plain;
    122 2 Basic CAN_AXLE_LOAD_N 5 Plain;
    123 4 Basic CAN_CONTROL_STATE_BITMASK 0 Plain;
    124 8 Basic CAN_AGRICULTURE_STATE_BITMASK 0 Plain;
    127 1 Heavy CAN_ENGINE_COOLANT_TEMPERATURE 0 Signed;
    128 2 Heavy CAN_AMBIENT_AIR_TEMPERATURE 0 Signed;
    132 8 Basic CAN_SECURITY_STATE_BITMASK 0 Plain;
    133 4 Basic CAN_TACHO_MILEAGE 0 MILLI;
    134 4 Basic CAN_TACHO_TRIP_MILEAGE 0 MILLI;
    135 2 Basic CAN_TACHO_SPEED 0 Plain;
    135 4 Heavy CAN_FUEL_RATE 0 Plain;
    136 1 Basic TACHO_DRIVER_CARD_STATUS_N 1 Flag;
    137 1 Basic TACHO_DRIVER_STATE_ENUM_N 1 Plain;
    138 1 Basic TACHO_DRIVER_STATE_ENUM_N 2 Plain;
    139 2 Basic TACHO_DRIVER_CONTINUOUS_TIME_N 1 Plain;
    139 4 Heavy CAN_GROSS_WEIGHT 0 Plain;
    140 2 Basic TACHO_DRIVER_CONTINUOUS_TIME_N 2 Plain;
    141 2 Basic TACHO_DRIVER_BREAK_TIME_N 1 Plain;
    142 2 Basic TACHO_DRIVER_BREAK_TIME_N 2 Plain;
    143 2 Basic TACHO_DRIVER_ACTIVITY_TIME_N 1 Plain;
    144 2 Basic TACHO_DRIVER_ACTIVITY_TIME_N 2 Plain;
    145 2 Basic TACHO_DRIVER_CUMULATIVE_TIME_N 1 Plain;
    146 2 Basic TACHO_DRIVER_CUMULATIVE_TIME_N 2 Plain;
    151 2 Basic CAN_TRACTION_BATTERY_TEMPERATURE 0 SIGNED_TENTH;
    152 1 Basic CAN_VEHICLE_BATTERY_LEVEL 0 Plain;
    153 1 Basic GEOFENCE_EVENT_ENUM_N 21 Plain;
    154 1 Basic GEOFENCE_EVENT_ENUM_N 22 Plain;
    155 1 Basic GEOFENCE_EVENT_ENUM_N 1 Plain;
    155 1 Heavy GEOFENCE_EVENT_ENUM_N 1 Plain;
    156 1 Basic GEOFENCE_EVENT_ENUM_N 2 Plain;
    156 1 Heavy GEOFENCE_EVENT_ENUM_N 2 Plain;
    157 1 Basic GEOFENCE_EVENT_ENUM_N 3 Plain;
    157 1 Heavy GEOFENCE_EVENT_ENUM_N 3 Plain;
    158 1 Basic GEOFENCE_EVENT_ENUM_N 4 Plain;
    158 1 Heavy GEOFENCE_EVENT_ENUM_N 4 Plain;
    159 1 Basic GEOFENCE_EVENT_ENUM_N 5 Plain;
    159 1 Heavy GEOFENCE_EVENT_ENUM_N 5 Plain;
    160 1 Basic CAN_DTC_NUMBER 0 Plain;
    175 1 Any GEOFENCE_INSIDE_STATUS 0 Flag;
    179 1 Any DOUT_N 1 Flag;
    180 1 Any DOUT_N 2 Flag;
    181 2 Any POSITION_PDOP 0 TENTH;
    182 2 Any POSITION_HDOP 0 TENTH;
    199 4 Any TRIP_MILEAGE 0 MILLI;
    200 1 Any SLEEP_MODE_ENUM 0 Plain;
    201 2 Basic LLS_VALUE_N 1 Signed;
    202 1 Basic LLS_TEMPERATURE_N 1 Signed;
    203 2 Basic LLS_VALUE_N 2 Signed;
    204 1 Basic LLS_TEMPERATURE_N 2 Signed;
    205 2 Any GSM_CELLID 0 Plain;
    205 4 Any GSM_CELLID 0 Plain;
    206 2 Any GSM_LAC 0 Plain;
    207 8 Any RFID_CODE 0 Code;
    210 2 Basic LLS_VALUE_N 3 Signed;
    211 1 Basic LLS_TEMPERATURE_N 3 Signed;
    212 2 Basic LLS_VALUE_N 4 Signed;
    213 1 Basic LLS_TEMPERATURE_N 4 Signed;
    214 2 Basic LLS_VALUE_N 5 Signed;
    215 1 Basic LLS_TEMPERATURE_N 5 Signed;
    216 4 Heavy VEHICLE_MILEAGE 0 MILLI;
    218 8 Basic GSM_SIM_IMSI 0 Plain;
    236 1 Any ALARM_EVENT_TRIGGER 0 Flag;
    237 1 Basic GSM_NETWORK_ENUM 0 Plain;
    238 8 Any DRIVER_ID 0 Code;
    239 1 Any ENGINE_IGNITION_STATUS 0 Flag;
    240 1 Any MOVEMENT_STATUS 0 Flag;
    242 1 Portable MANDOWN_STATUS 0 Flag;
    243 2 Any HARSH_DRIVING_DURATION 0 MILLI;
    246 1 Any TOWING_EVENT_TRIGGER 0 Flag;
    247 1 Any CRASH_EVENT_ENUM 0 Plain;
    248 1 Any IMMOBILIZER_STATUS 0 Flag;
    249 1 Any GSM_JAMMING_EVENT_TRIGGER 0 Flag;
    250 1 Any TRIP_STATUS 0 Flag;
    251 1 Any IDLE_STATUS 0 Flag;
    252 1 Any UNPLUGGED_STATUS 0 Flag;
    254 1 Any HARSH_DRIVING_VALUE 0 HUNDREDTH;
    255 1 Any OVERSPEEDING_SPEED 0 Plain;
    256 0 Any VEHICLE_VIN 0 Text;
    263 1 Any BLUETOOTH_STATUS 0 Flag;
    264 0 Basic RFID_CODE 0 Text;
    270 2 Basic BLE_SENSOR_FUEL_N 1 Plain;
    273 2 Basic BLE_SENSOR_FUEL_N 2 Plain;
    276 2 Basic BLE_SENSOR_FUEL_N 3 Plain;
    279 2 Basic BLE_SENSOR_FUEL_N 4 Plain;
    281 0 Any CAN_DTC_CODES 0 Text;
    285 2 Basic DRIVER_BLOOD_ALCOHOL_LEVEL 0 HUNDREDTH;
    303 1 Basic MOVEMENT_STATUS 0 Flag;
    306 4 Basic BLE_SENSOR_FREQUENCY_N 1 Plain;
    307 4 Basic BLE_SENSOR_FREQUENCY_N 2 Plain;
    308 4 Basic BLE_SENSOR_FREQUENCY_N 3 Plain;
    309 4 Basic BLE_SENSOR_FREQUENCY_N 4 Plain;
    335 2 Basic BLE_SENSOR_ILLUMINATION_N 1 Plain;
    336 2 Basic BLE_SENSOR_ILLUMINATION_N 2 Plain;
    337 2 Basic BLE_SENSOR_ILLUMINATION_N 3 Plain;
    338 2 Basic BLE_SENSOR_ILLUMINATION_N 4 Plain;
    380 1 Any DOUT_N 3 Flag;
    381 1 Any GROUND_SENSE_STATUS 0 Flag;
    386 2 Portable POSITION_FIX_AGE 0 Plain;
    389 1 Portable BUTTON_CODE 0 Plain;
    389 4 Basic CAN_VEHICLE_MILEAGE 0 Plain;
    390 4 Basic CAN_FUEL_VOLUME 0 TENTH;
    402 4 Basic CAN_SERVICE_MILEAGE 0 Plain;
    403 0 Basic DRIVER_NAME 0 Text;
    403 1 Portable HEART_RATE 0 Plain;
    411 1 Basic CAN_VEHICLE_BATTERY_LEVEL 0 Plain;
    449 4 Any IGNITION_ON_COUNTER 0 Plain;
    451 8 Basic BLE_SENSOR_DATA_N 1 Code;
    452 8 Basic BLE_SENSOR_DATA_N 2 Code;
    453 8 Basic BLE_SENSOR_DATA_N 3 Code;
    454 8 Basic BLE_SENSOR_DATA_N 4 Code;
    541 1 Basic CAN_EQUIVALENCE_RATIO 0 HUNDREDTH;
    542 2 Basic CAN_INTAKE_MAP_PRESSURE 0 Plain;
    543 2 Basic CAN_HYBRID_SYSTEM_VOLTAGE 0 Plain;
    544 2 Basic CAN_HYBRID_SYSTEM_CURRENT 0 Signed;
    622 2 Basic FREQUENCY_N 1 Plain;
    623 2 Basic FREQUENCY_N 2 Plain;
    636 4 Any GSM_CELLID 0 Plain;
    637 1 Basic WAKEUP_REASON_ENUM 0 Plain;
    755 2 Basic CAN_REMAINING_MILEAGE 0 Plain;
    759 1 Basic CAN_FUEL_TYPE_ENUM 0 Plain;
    1151 2 Basic CAN_TRACTION_BATTERY_HEALTH 0 HUNDREDTH;
    1152 2 Basic CAN_TRACTION_BATTERY_TEMPERATURE 0 SIGNED_HUNDREDTH;
    10800 2 Any BLE_SENSOR_TEMPERATURE_N 1 SIGNED_HUNDREDTH;
    10801 2 Any BLE_SENSOR_TEMPERATURE_N 2 SIGNED_HUNDREDTH;
    10802 2 Any BLE_SENSOR_TEMPERATURE_N 3 SIGNED_HUNDREDTH;
    10803 2 Any BLE_SENSOR_TEMPERATURE_N 4 SIGNED_HUNDREDTH;
    10804 1 Any BLE_SENSOR_HUMIDITY_N 1 Plain;
    10805 1 Any BLE_SENSOR_HUMIDITY_N 2 Plain;
    10806 1 Any BLE_SENSOR_HUMIDITY_N 3 Plain;
    10807 1 Any BLE_SENSOR_HUMIDITY_N 4 Plain;
    10808 1 Any BLE_SENSOR_MAGNET_STATUS_N 1 Flag;
    10809 1 Any BLE_SENSOR_MAGNET_STATUS_N 2 Flag;
    10810 1 Any BLE_SENSOR_MAGNET_STATUS_N 3 Flag;
    10811 1 Any BLE_SENSOR_MAGNET_STATUS_N 4 Flag;
    10812 1 Any BLE_SENSOR_MOVEMENT_STATUS_N 1 Flag;
    10813 1 Any BLE_SENSOR_MOVEMENT_STATUS_N 2 Flag;
    10814 1 Any BLE_SENSOR_MOVEMENT_STATUS_N 3 Flag;
    10815 1 Any BLE_SENSOR_MOVEMENT_STATUS_N 4 Flag;
    10816 1 Any BLE_SENSOR_PITCH_N 1 Signed;
    10817 1 Any BLE_SENSOR_PITCH_N 2 Signed;
    10818 1 Any BLE_SENSOR_PITCH_N 3 Signed;
    10819 1 Any BLE_SENSOR_PITCH_N 4 Signed;
    10820 1 Any BLE_SENSOR_LOW_BATTERY_STATUS_N 1 Flag;
    10821 1 Any BLE_SENSOR_LOW_BATTERY_STATUS_N 2 Flag;
    10822 1 Any BLE_SENSOR_LOW_BATTERY_STATUS_N 3 Flag;
    10823 1 Any BLE_SENSOR_LOW_BATTERY_STATUS_N 4 Flag;
    10824 2 Any BLE_SENSOR_BATTERY_VOLTAGE_N 1 MILLI;
    10825 2 Any BLE_SENSOR_BATTERY_VOLTAGE_N 2 MILLI;
    10826 2 Any BLE_SENSOR_BATTERY_VOLTAGE_N 3 MILLI;
    10827 2 Any BLE_SENSOR_BATTERY_VOLTAGE_N 4 MILLI;
    10832 2 Any BLE_SENSOR_ROLL_N 1 Signed;
    10833 2 Any BLE_SENSOR_ROLL_N 2 Signed;
    10834 2 Any BLE_SENSOR_ROLL_N 3 Signed;
    10835 2 Any BLE_SENSOR_ROLL_N 4 Signed;
    10836 2 Any BLE_SENSOR_MOVEMENT_COUNT_N 1 Plain;
    10837 2 Any BLE_SENSOR_MOVEMENT_COUNT_N 2 Plain;
    10838 2 Any BLE_SENSOR_MOVEMENT_COUNT_N 3 Plain;
    10839 2 Any BLE_SENSOR_MOVEMENT_COUNT_N 4 Plain;
    10840 2 Any BLE_SENSOR_MAGNET_COUNT_N 1 Plain;
    10841 2 Any BLE_SENSOR_MAGNET_COUNT_N 2 Plain;
    10842 2 Any BLE_SENSOR_MAGNET_COUNT_N 3 Plain;
    10843 2 Any BLE_SENSOR_MAGNET_COUNT_N 4 Plain;
}

/// What the id of an element stands for in this family with so many bytes.
fn find(id: u16, width: usize, family: Family) -> Option<&'static Element> {
    /// The first row of each id.
    static FIRST: LazyLock<Vec<u16>> = LazyLock::new(|| {
        let last = ELEMENTS.last().map_or(0, |element| element.id);
        let mut first = vec![u16::MAX; usize::from(last) + 1];
        for (row, element) in ELEMENTS.iter().enumerate().rev() {
            if let (Some(first), Ok(row)) = (first.get_mut(usize::from(element.id)), row.try_into())
            {
                *first = row;
            }
        }
        first
    });
    let first = usize::from(*FIRST.get(usize::from(id))?);
    ELEMENTS
        .get(first..)?
        .iter()
        .take_while(|element| element.id == id)
        .find(|element| {
            (usize::from(element.width) == width || element.width == 0 && !fixed(width))
                && (element.family == Family::Any || element.family == family)
        })
}

/// Is it the width of a group, where values are numbers?
fn fixed(width: usize) -> bool {
    matches!(width, 1 | 2 | 4 | 8)
}

/// Adds the element `id` with the big-endian `bytes` of its value.
pub(super) fn push(id: u16, bytes: &[u8], family: Family, message: &mut RecordBuilder<'_>) {
    let number = bytes
        .iter()
        .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    if bytes.len() <= 8 && derived(id, bytes.len(), number, message) {
        return;
    }
    let Some(element) = find(id, bytes.len(), family) else {
        if fixed(bytes.len()) {
            message.wire(u32::from(id), Value::unsigned(number));
        } else {
            message.wire(u32::from(id), bytes);
        }
        return;
    };
    let key = (element.param, element.instance);
    match element.form {
        Flag => message.push(key, number != 0),
        Plain if element.param == fields::GSM_SIM_IMSI => {
            message.push(key, number.to_string().as_str());
        }
        Plain => message.push(key, Value::unsigned(number)),
        Signed => message.push(key, signed(number, bytes.len())),
        Scaled(factor, decimals) => {
            message.push(key, units::round(number as f64 * factor, decimals));
        }
        SignedScaled(factor, decimals) => {
            let value = signed(number, bytes.len());
            message.push(key, units::round(value as f64 * factor, decimals));
        }
        Code if number == 0 => {}
        Code => message.push(key, hex::encode(bytes).as_str()),
        Text => match std::str::from_utf8(bytes) {
            Ok(text) => message.push(key, text.trim_matches(['\0', ' '])),
            Err(_) => message.wire(u32::from(id), bytes),
        },
    }
}

/// Elements that say more than one thing, or say it only by certain values.
fn derived(id: u16, width: usize, number: u64, message: &mut RecordBuilder<'_>) -> bool {
    match (id, width) {
        // the operator's country and network in decimal digits
        (241, 4) => {
            message.push(fields::GSM_OPERATOR_CODE, number.to_string().as_str());
            let split = if number >= 100_000 { 1000 } else { 100 };
            if (10_000..1_000_000).contains(&number) {
                message.push(fields::GSM_MCC, Value::unsigned(number / split));
                message.push(fields::GSM_MNC, Value::unsigned(number % split));
            }
            true
        }
        (247, 1) if number > 0 => {
            message.push(fields::CRASH_EVENT_TRIGGER, true);
            false
        }
        (252, 1) if number > 0 => {
            message.push(fields::POWER_CUT_EVENT_TRIGGER, true);
            false
        }
        (253, 1) => {
            let kind = match number {
                1 => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
                2 => fields::HARSH_BRAKING_EVENT_TRIGGER,
                3 => fields::HARSH_CORNERING_EVENT_TRIGGER,
                _ => return false,
            };
            message.push(kind, true);
            true
        }
        (255, 1) => {
            message.push(fields::OVERSPEEDING_EVENT_TRIGGER, true);
            false
        }
        _ => false,
    }
}

/// The number of so many bytes, as a signed one.
fn signed(number: u64, width: usize) -> i64 {
    let unused = u32::try_from(width)
        .ok()
        .and_then(|width| 64u32.checked_sub(8 * width))
        .filter(|unused| *unused < 64)
        .unwrap_or(0);
    (number << unused).cast_signed() >> unused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_ids() {
        assert!(ELEMENTS.is_sorted_by_key(|element| element.id));
    }

    #[test]
    fn the_model_says_the_family() {
        for (model, family) in [
            ("FMB920", Family::Basic),
            ("fmc130", Family::Basic),
            ("FMB640", Family::Heavy),
            ("FMC650", Family::Heavy),
            ("FM5300", Family::Any),
            ("TAT100", Family::Portable),
            ("something else", Family::Any),
        ] {
            let mut settings = Settings::default();
            settings.set("model", model).expect("any text");
            assert_eq!(Family::of(&settings), family, "{model}");
        }
    }

    #[test]
    fn bytes_of_any_width_have_their_sign() {
        assert_eq!(signed(0xff, 1), -1);
        assert_eq!(signed(0xfb5d, 2), -1187);
        assert_eq!(signed(0x7fff_ffff, 4), 0x7fff_ffff);
        assert_eq!(signed(u64::MAX, 8), -1);
    }
}
