//! TAT, TMT, TST, TFT, GH: assets and persons.

use super::row::Form::{Flag, Plain};
use super::row::{Element, MILLI, elements};
use crate::contract::fields;

// In the order of the ids.
elements! { PORTABLE:
    6 2 AIN_N 2 MILLI;
    20 1 BLE_SENSOR_BATTERY_LEVEL_N 2 Plain;
    22..=23 1 BLE_SENSOR_BATTERY_LEVEL_N 3 Plain;
    29 1 BLE_SENSOR_BATTERY_LEVEL_N 1 Plain;
    116 1 BATTERY_CHARGING_STATUS 0 Flag;
    242 1 MANDOWN_STATUS 0 Flag;
    386 2 POSITION_FIX_AGE 0 Plain;
    389 1 BUTTON_CODE 0 Plain;
    403 1 HEART_RATE 0 Plain;
}
