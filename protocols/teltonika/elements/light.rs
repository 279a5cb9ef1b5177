//! What all but the trucks and the FT platform have in common.

use super::row::Form::{Bytes, Code, Flag, Plain, SignedScaled, Text};
use super::row::{BLE_TEMPERATURE, Element, MILLI, TENTH, elements};
use crate::contract::fields;

// In the order of the ids.
elements! { LIGHT:
    6 2 AIN_N 2 MILLI;
    18 2 Y_ACCELERATION 0 SignedScaled(0.001, 3);
    20 1 BLE_SENSOR_BATTERY_LEVEL_N 2 Plain;
    22..=23 1 BLE_SENSOR_BATTERY_LEVEL_N 3 Plain;
    25..=28 2 BLE_SENSOR_TEMPERATURE_N 1 BLE_TEMPERATURE;
    29 1 BLE_SENSOR_BATTERY_LEVEL_N 1 Plain;
    61..=65 1 GEOFENCE_EVENT_ENUM_N 6 Plain;
    70 1 GEOFENCE_EVENT_ENUM_N 11 Plain;
    80 1 GSM_DATA_MODE_ENUM 0 Plain;
    88 1 GEOFENCE_EVENT_ENUM_N 12 Plain;
    91..=99 1 GEOFENCE_EVENT_ENUM_N 13 Plain;
    153..=154 1 GEOFENCE_EVENT_ENUM_N 22 Plain;
    155..=159 1 GEOFENCE_EVENT_ENUM_N 1 Plain;
    190..=198 1 GEOFENCE_EVENT_ENUM_N 24 Plain;
    208..=209 1 GEOFENCE_EVENT_ENUM_N 33 Plain;
    216..=231 1 GEOFENCE_EVENT_ENUM_N 35 Plain;
    248 1 IMMOBILIZER_STATUS 0 Flag;
    251 1 IDLE_STATUS 0 Flag;
    252 1 UNPLUGGED_STATUS 0 Flag;
    331..=334 0 BLE_SENSOR_DATA_N 1 Bytes;
    380 1 DOUT_N 3 Flag;
    381 1 GROUND_SENSE_STATUS 0 Flag;
    387 0 POSITION_ISO6709 0 Text;
    451..=454 8 BLE_RFID_CODE_N 1 Code;
    455..=458 1 BLE_SENSOR_BUTTON1_STATUS_N 1 Flag;
    459..=462 1 BLE_SENSOR_BUTTON2_STATUS_N 1 Flag;
    622..=623 2 FREQUENCY_N 1 TENTH;
}
