//! FTC and FTM: where the FT platform has other widths or meanings than those before it.

use super::row::Form::{Plain, SignedScaled};
use super::row::{Element, MILLI, elements};
use crate::contract::fields;

// In the order of the ids.
elements! { FT:
    9 4 AIN_N 1 MILLI;
    12 4 GPS_FUEL_CONSUMED 0 MILLI;
    18 2 Y_ACCELERATION 0 SignedScaled(0.001, 3);
    155..=157 1 GEOFENCE_EVENT_ENUM_N 1 Plain;
}
