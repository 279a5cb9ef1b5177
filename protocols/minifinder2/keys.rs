//! Keys of data.
//!
//! | key | value |
//! |---|---|
//! | 01 | IMEI |
//! | 02 | alarm: bits (4), time (4) |
//! | 10 | heartbeat: battery |
//! | 14 | battery: percent, mV (2) |
//! | 19, 22 | access points: signal, address (6); 19: and a name with its length before it |
//! | 20 | GNSS: latitude, longitude in 1e-7 degrees, km/h (2), course (2), altitude (2), HDOP 0.1 (2), meters (4), satellites |
//! | 21, 29 | cells: country (2), network, and each signal, area (2), cell (2, or 4 in 29) |
//! | 23, 26 | beacon: address, latitude, longitude; 26: then accuracy 0.1 (2), altitude (2); a name |
//! | 24 | state: time (4), bits (4) |
//! | 25 | call: time, status, duration (2), result, number |
//! | 27 | place: latitude, longitude, accuracy 0.1 (2), altitude (2) |
//! | 28, 2A, 2C | beacon, access point, beacon: flags (80 a place, 40 a name, the lower half its number), address, signal; 28 and 2C signal at 1 m, 2C battery; place; name; 2C temperature 0.1 (2) |
//! | 30, 31 | steps: time, count; activities: time, value |
//! | 37 | barks: time, count, highest bit: it ended |
//! | 40, 41 | time and pulse, oxygen |

use super::wire::{Keys, SHORT};
use crate::contract::{Context, Instance, Key, RecordBuilder, Reject, Time, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::cursor::Cursor;
use crate::kit::time::or_impossible;
use crate::kit::{hex, units};

const IDENT: u8 = 0x01;
const ALARM: u8 = 0x02;
const STATE: u8 = 0x24;
const CALL: u8 = 0x25;
const BEACON: u8 = 0x28;
const BEACON_WITH_BATTERY: u8 = 0x2c;
const CELLS_MAX: Instance = 32;
const POINTS_MAX: Instance = 32;

/// All records of a frame of data.
pub(super) fn records(
    kind: u8,
    number: u16,
    keys: &[u8],
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let mut rest = keys;
    loop {
        let (record, behind) = split(rest);
        let (time, fixed_s) = times(record, cx.now_ms);
        let mut message = cx.message(time)?;
        message.push(fields::MESSAGE_TYPE, &*hex::encode(&[kind]));
        message.push(fields::FRAME_SEQNUM, number);
        message.push_some(fields::POSITION_TIMESTAMP, fixed_s.map(i64::from));
        let mut reader = Reader {
            message: &mut message,
            placed: false,
            cells: 0,
            points: 0,
        };
        for (key, value) in Keys(record) {
            if reader.key(key, &mut Cursor::new(value)).is_none() {
                let key = Key::Wire {
                    space: 0,
                    id: key.into(),
                };
                reader.message.push(key, &*hex::encode(value));
            }
        }
        rest = behind;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// The keys up to the first that comes again, and the others.
fn split(keys: &[u8]) -> (&[u8], &[u8]) {
    let mut seen = [false; 256];
    let mut walk = Keys(keys);
    loop {
        let before = walk.0;
        let Some((key, _)) = walk.next() else {
            // a length that does not fit ends it all
            return (keys, &[]);
        };
        let Some(seen) = seen.get_mut(usize::from(key)) else {
            return (keys, &[]);
        };
        if *seen && key != BEACON && key != BEACON_WITH_BATTERY {
            return keys
                .split_at_checked(keys.len() - before.len())
                .unwrap_or((keys, &[]));
        }
        *seen = true;
    }
}

/// The record's time, and its fix's where that is another.
fn times(record: &[u8], now_ms: i64) -> (Time, Option<u32>) {
    let seconds = |wanted: &[u8], at: usize| {
        let (_, value) = Keys(record).find(|(key, _)| wanted.contains(key))?;
        Cursor::new(value.get(at..)?).u32_le()
    };
    let alarm = seconds(&[ALARM], 4);
    let state = seconds(&[STATE, CALL], 0);
    let own = alarm
        .or(state)
        .or_else(|| seconds(&[0x30, 0x31, 0x37, 0x40, 0x41], 0));
    let time = own.map_or(Time::Received(now_ms), |own| {
        let ms = (own > 0).then(|| i64::from(own) * 1000);
        or_impossible(ms, now_ms)
    });
    (
        time,
        state.filter(|state| alarm.is_some() && alarm != Some(*state)),
    )
}

struct Reader<'m, 'r> {
    message: &'m mut RecordBuilder<'r>,
    placed: bool,
    cells: Instance,
    points: Instance,
}

impl Reader<'_, '_> {
    /// `None`: not known, or too short.
    fn key(&mut self, key: u8, value: &mut Cursor<'_>) -> Option<()> {
        match key {
            IDENT | 0x11 | 0x12 => Some(()),
            ALARM => {
                self.alarm(value.u32_le()?);
                Some(())
            }
            0x10 => {
                self.push_level(value.u8()?);
                Some(())
            }
            0x14 => {
                self.push_level(value.u8()?);
                let mv = f64::from(value.u16_le()?);
                self.message.push(fields::BATTERY_VOLTAGE, mv / 1000.0);
                Some(())
            }
            0x19 | 0x22 => self.access_points(key == 0x19, value),
            0x20 => self.satellites(value),
            0x21 | 0x29 => self.cells(key == 0x29, value),
            0x23 | 0x26 => self.home(key == 0x26, value),
            STATE => self.state(value),
            CALL => self.call(value),
            0x27 => {
                self.place(value, "smart")?;
                self.accuracy(value)
            }
            BEACON | BEACON_WITH_BATTERY => self.beacon(key == BEACON_WITH_BATTERY, value),
            0x2a => self.known_point(value),
            0x30 => {
                value.u32_le()?;
                self.message.push(fields::STEP_COUNT, value.u32_le()?);
                Some(())
            }
            0x31 => self.activities(value),
            0x37 => {
                value.u32_le()?;
                let raw = value.u32_le()?;
                self.message.name("bark.count", raw & 0x7fff_ffff);
                self.message.name("bark.ended", raw >> 31 == 1);
                Some(())
            }
            0x40 | 0x41 => {
                value.u32_le()?;
                let raw = value.u8()?;
                let param = if key == 0x40 {
                    fields::HEART_RATE
                } else {
                    fields::BLOOD_OXYGEN_LEVEL
                };
                // 0 and 1 say that nothing was measured
                self.message.push_some(param, (raw > 1).then_some(raw));
                Some(())
            }
            _ => None,
        }
    }

    fn push_level(&mut self, percent: u8) {
        self.message.push(fields::BATTERY_LEVEL, percent);
    }

    fn alarm(&mut self, bits: u32) {
        self.message.push(fields::ALARM_BITMASK, bits);
        let has = |bit: u32| bits >> bit & 1 == 1;
        for (bit, event) in [
            (0, fields::BATTERY_LOW_EVENT_TRIGGER),
            (1, fields::OVERSPEEDING_EVENT_TRIGGER),
            (2, fields::FALL_EVENT_TRIGGER),
            (8, fields::POWER_OFF_EVENT_TRIGGER),
            (9, fields::POWER_ON_EVENT_TRIGGER),
            (10, fields::MOVEMENT_EVENT_TRIGGER),
            (12, fields::ALARM_EVENT_TRIGGER),
        ] {
            if has(bit) {
                self.message.push(event, true);
            }
        }
        for (button, bit) in [(1u8, 13), (2, 14)] {
            if has(bit) {
                self.message.push(fields::BUTTON_CODE, button);
            }
        }
        for fence in 0..4 {
            if has(4 + fence) {
                let event = if has(26 + fence) {
                    fields::GEOFENCE_EVENT_ENTER
                } else {
                    fields::GEOFENCE_EVENT_EXIT
                };
                self.message.push(event, true);
                self.message.push(fields::GEOFENCE_ID, fence + 1);
            }
        }
        if has(31) {
            self.message.name("bark", true);
        }
    }

    /// Latitude and longitude, and whether they are a place; the last of a record counts.
    fn place(&mut self, value: &mut Cursor<'_>, source: &str) -> Option<bool> {
        let degrees = |raw: i32| units::scaled(raw.into(), 7);
        let (latitude, longitude) = (degrees(value.i32_le()?), degrees(value.i32_le()?));
        let there = (latitude != 0.0 || longitude != 0.0)
            && latitude.abs() <= 90.0
            && longitude.abs() <= 180.0;
        if there {
            self.placed = true;
            self.message.push(fields::POSITION_VALID, true);
            self.message.push(fields::POSITION_LATITUDE, latitude);
            self.message.push(fields::POSITION_LONGITUDE, longitude);
            self.message.push(fields::LOCATION_SOURCE, source);
        }
        Some(there)
    }

    fn accuracy(&mut self, value: &mut Cursor<'_>) -> Option<()> {
        let tenths = f64::from(value.u16_le()?);
        self.message.push(fields::POSITION_HDOP, tenths / 10.0);
        let altitude = value.i16_le()?;
        if self.placed {
            self.message.push(fields::POSITION_ALTITUDE, altitude);
        }
        Some(())
    }

    fn satellites(&mut self, value: &mut Cursor<'_>) -> Option<()> {
        let there = self.place(value, "gnss")?;
        let (speed, course) = (value.u16_le()?, value.u16_le()?);
        let altitude = value.i16_le()?;
        let hdop = value.u16_le()?;
        if there {
            self.message.push(fields::POSITION_SPEED, speed);
            self.message.push(fields::POSITION_DIRECTION, course);
            self.message.push(fields::POSITION_ALTITUDE, altitude);
        }
        if !self.placed || there && hdop == 0 {
            self.message.push(fields::POSITION_VALID, false);
        }
        self.message
            .push(fields::POSITION_HDOP, f64::from(hdop) / 10.0);
        let meters = f64::from(value.u32_le()?);
        self.message.push(fields::VEHICLE_MILEAGE, meters / 1000.0);
        self.message.push(fields::POSITION_SATELLITES, value.u8()?);
        Some(())
    }

    fn state(&mut self, value: &mut Cursor<'_>) -> Option<()> {
        value.u32_le()?;
        let bits = value.u32_le()?;
        let has = |bit: u32| bits >> bit & 1 == 1;
        self.message.push(fields::STATUS_BITMASK, bits);
        self.message.push(fields::BATTERY_CHARGING_STATUS, has(4));
        self.message.push(fields::MESSAGE_BUFFERED_STATUS, has(7));
        self.message.push(fields::MOVEMENT_STATUS, has(9));
        self.message
            .push(fields::GSM_SIGNAL_ENUM, bits >> 19 & 0x1f);
        self.push_level(value_byte(bits));
        Some(())
    }

    fn call(&mut self, value: &mut Cursor<'_>) -> Option<()> {
        value.u32_le()?;
        self.message.name("call.status", value.u8()?);
        self.message.name("call.duration", value.u16_le()?);
        self.message.name("call.result", value.u8()?);
        let phone = String::from_utf8_lossy(value.rest());
        self.message
            .push(fields::GSM_PHONE, phone.trim_matches('\0'));
        Some(())
    }

    fn access_points(&mut self, named: bool, value: &mut Cursor<'_>) -> Option<()> {
        while value.left() > 0 && self.points < POINTS_MAX {
            let dbm = value.i8()?;
            let address = value.array()?;
            self.points += 1;
            let number = self.points;
            self.message
                .push((fields::WIFI_MAC_N, number), &*hex::mac(address));
            self.message.push((fields::WIFI_SIGNAL_DBM_N, number), dbm);
            if named {
                let length = value.u8()?;
                let name = String::from_utf8_lossy(value.take(length.into())?);
                self.message.push((fields::WIFI_SSID_N, number), &*name);
            }
        }
        Some(())
    }

    fn cells(&mut self, long: bool, value: &mut Cursor<'_>) -> Option<()> {
        let (mcc, mnc) = (value.u16_le()?, value.u8()?);
        while value.left() > 0 && self.cells < CELLS_MAX {
            let level = value.i8()?;
            let area = value.u16_le()?;
            let id = if long {
                value.u32_le()?
            } else {
                value.u16_le()?.into()
            };
            let cell = Cell {
                mcc: Some(mcc.into()),
                mnc: Some(mnc.into()),
                lac: Some(area.into()),
                id: Some(id.into()),
                dbm: (level < 0).then_some(level.into()),
            };
            cells::push(self.message, self.cells, cell);
            // steps, where it is no dBm
            match (level, self.cells) {
                (..0, _) => {}
                (_, 0) => self.message.name("cell.level", level),
                (_, number) => self
                    .message
                    .push((fields::GSM_SIGNAL_ENUM_N, number), level),
            }
            self.cells += 1;
        }
        Some(())
    }

    /// The beacon at home.
    fn home(&mut self, accurate: bool, value: &mut Cursor<'_>) -> Option<()> {
        let address = value.array()?;
        self.message
            .push((fields::BLE_BEACON_ID_N, 1), &*reversed(address));
        if value.left() >= 8 {
            self.place(value, "beacon")?;
        }
        if accurate {
            self.accuracy(value)?;
        }
        self.description(value.rest());
        Some(())
    }

    fn description(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_matches(['\0', ' ']);
        if !text.is_empty() {
            self.message.name("description", text);
        }
    }

    fn beacon(&mut self, battery: bool, value: &mut Cursor<'_>) -> Option<()> {
        let flags = value.u8()?;
        let number = Instance::from(flags & 15) + 1;
        let address = value.array()?;
        self.message
            .push((fields::BLE_BEACON_ID_N, number), &*reversed(address));
        let dbm = value.i8()?;
        self.message
            .push((fields::BLE_BEACON_SIGNAL_DBM_N, number), dbm);
        let _at_one_meter = value.u8()?;
        if battery {
            let key = (fields::BLE_SENSOR_BATTERY_LEVEL_N, number);
            self.message.push(key, value.u8()?);
        }
        if flags & 0x80 != 0 {
            self.place(value, "beacon")?;
        }
        if flags & 0x40 != 0 {
            let length = if battery {
                value.u8()?.into()
            } else {
                value.left()
            };
            let name = String::from_utf8_lossy(value.take(length)?);
            self.message
                .push((fields::BLE_BEACON_DATA_N, number), name.trim_matches('\0'));
        }
        if let Some(tenths) = value.u16_le().filter(|_| battery) {
            let celsius = f64::from(tenths.cast_signed()) / 10.0;
            self.message
                .push((fields::BLE_BEACON_TEMPERATURE_N, number), celsius);
        }
        Some(())
    }

    /// The access point at home.
    fn known_point(&mut self, value: &mut Cursor<'_>) -> Option<()> {
        let flags = value.u8()?;
        let address: [u8; 6] = value.array()?;
        let dbm = value.i8()?;
        self.points += 1;
        let number = self.points;
        self.message
            .push((fields::WIFI_MAC_N, number), &*hex::mac(address));
        self.message.push((fields::WIFI_SIGNAL_DBM_N, number), dbm);
        if flags & 0x80 != 0 {
            self.place(value, "wifi")?;
        }
        self.description(value.rest());
        Some(())
    }

    fn activities(&mut self, value: &mut Cursor<'_>) -> Option<()> {
        for number in 0.. {
            if value.left() == 0 {
                break;
            }
            let (seconds, raw) = (value.u32_le()?, value.u32_le()?);
            for (space, raw) in [(1, seconds), (2, raw)] {
                let key = Key::Wire { space, id: number };
                self.message.push(key, i64::from(raw));
            }
        }
        Some(())
    }
}

fn value_byte(bits: u32) -> u8 {
    let [highest, ..] = bits.to_be_bytes();
    highest
}

/// An address whose lowest byte comes first.
fn reversed(mut address: [u8; 6]) -> String {
    address.reverse();
    hex::encode(&address)
}

/// Kind 02: what the device is set to and what it is.
pub(super) fn configuration(number: u16, keys: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let now_ms = cx.now_ms;
    let mut message = cx.message(Time::Received(now_ms))?;
    message.push(fields::MESSAGE_TYPE, "02");
    message.push(fields::FRAME_SEQNUM, number);
    if Keys(keys).next().is_none() {
        return Err(SHORT);
    }
    for (key, value) in Keys(keys) {
        let text = std::str::from_utf8(value).ok();
        let text = text
            .map(|text| text.trim_matches('\0'))
            .filter(|text| !text.is_empty() && !text.contains(char::is_control));
        let wire = Key::Wire {
            space: 3,
            id: key.into(),
        };
        match (key, text) {
            (0x03, Some(imei)) => message.push(fields::DEVICE_IMEI, imei),
            (0x04, Some(iccid)) => message.push(fields::GSM_SIM_ICCID, iccid),
            (0x1a, Some(firmware)) => message.push(fields::DEVICE_FIRMWARE_VERSION, firmware),
            (0x66, Some(imsi)) => message.push(fields::GSM_SIM_IMSI, imsi),
            (0x61, Some(phone)) => message.push(fields::GSM_PHONE, phone),
            (0x14, _) => {
                let mut value = Cursor::new(value);
                message.push_some(fields::BATTERY_LEVEL, value.u8());
                let mv = value.u16_le().map(f64::from);
                message.push_some(fields::BATTERY_VOLTAGE, mv.map(|mv| mv / 1000.0));
            }
            (_, Some(text)) if value.len() > 4 => message.push(wire, text),
            _ => message.push(wire, &*hex::encode(value)),
        }
    }
    Ok(())
}
