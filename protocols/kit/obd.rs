//! Values of OBD-II mode 01 by the numbers of SAE J1979, for protocols that pass the vehicle's bytes on
//! as they came.

use super::units;
use crate::contract::{RecordBuilder, fields};

/// Adds the value of `pid`, whose bytes A, B, C, D stand in this order in `data` (more may follow).
/// False: the dictionary has none for it, or `data` is too short.
pub fn push(message: &mut RecordBuilder<'_>, pid: u16, data: &[u8]) -> bool {
    let a = data.first().copied().map(f64::from);
    let ab = data
        .first_chunk::<2>()
        .map(|two| f64::from(u16::from_be_bytes(*two)));
    let percent = |value: f64| units::round(value * 100.0 / 255.0, 2);
    let trim = |value: f64| units::round(value / 1.28 - 100.0, 2);
    let (param, value) = match pid {
        0x04 => (fields::CAN_ENGINE_LOAD_LEVEL, a.map(percent)),
        0x05 => (fields::CAN_ENGINE_COOLANT_TEMPERATURE, a.map(|v| v - 40.0)),
        0x06 => (fields::CAN_SHORT_TERM_FUEL_TRIM, a.map(trim)),
        0x07 => (fields::CAN_LONG_TERM_FUEL_TRIM, a.map(trim)),
        0x0a => (fields::CAN_FUEL_PRESSURE, a.map(|v| v * 3.0)),
        0x0b => (fields::CAN_INTAKE_MAP_PRESSURE, a),
        0x0c => (fields::CAN_ENGINE_RPM, ab.map(|v| v / 4.0)),
        0x0d => (fields::CAN_VEHICLE_SPEED, a),
        0x0e => (fields::CAN_TIMING_ADVANCE, a.map(|v| v / 2.0 - 64.0)),
        0x0f => (fields::CAN_INTAKE_AIR_TEMPERATURE, a.map(|v| v - 40.0)),
        0x10 => (fields::CAN_MAF, ab.map(|v| v / 100.0)),
        0x11 => (fields::CAN_THROTTLE_LEVEL, a.map(percent)),
        0x1f => (fields::CAN_RUN_TIME, ab),
        0x21 => (fields::CAN_MIL_MILEAGE, ab),
        0x22 => (
            fields::CAN_RELATIVE_FUEL_PRESSURE,
            ab.map(|v| units::round(v * 0.079, 3)),
        ),
        0x23 => (fields::CAN_DIRECT_FUEL_PRESSURE, ab.map(|v| v * 10.0)),
        0x2c => (fields::CAN_COMMANDED_EGR, a.map(percent)),
        0x2d => (fields::CAN_EGR_ERROR, a.map(trim)),
        0x2f => (fields::CAN_FUEL_LEVEL, a.map(percent)),
        0x31 => (fields::CAN_DTC_DISTANCE, ab),
        0x33 => (fields::CAN_BAROMETRIC_PRESSURE, a),
        0x42 => (fields::CAN_CONTROL_MODULE_VOLTAGE, ab.map(|v| v / 1000.0)),
        0x43 => (fields::CAN_ABSOLUTE_LOAD, ab.map(percent)),
        0x46 => (fields::CAN_AMBIENT_AIR_TEMPERATURE, a.map(|v| v - 40.0)),
        0x49 => (fields::CAN_THROTTLE_PEDAL_LEVEL, a.map(percent)),
        0x4d => (fields::CAN_MIL_TIME, ab),
        0x4e => (fields::CAN_DTC_TIME, ab),
        0x51 => (fields::CAN_FUEL_TYPE_ENUM, a),
        0x59 => (fields::CAN_ABSOLUTE_FUEL_PRESSURE, ab.map(|v| v * 10.0)),
        0x5b => (fields::CAN_HYBRID_BATTERY_LIFE, a.map(percent)),
        0x5c => (fields::CAN_ENGINE_OIL_TEMPERATURE, a.map(|v| v - 40.0)),
        0x5d => (
            fields::CAN_FUEL_INJECTION_TIMING,
            ab.map(|v| units::round(v / 128.0 - 210.0, 3)),
        ),
        0x5e => (fields::CAN_FUEL_RATE, ab.map(|v| v / 20.0)),
        _ => return false,
    };
    message.push_some(param, value);
    value.is_some()
}

/// A trouble code's two bytes as people write it: `P0301`.
pub fn trouble_code(code: u16) -> String {
    let system = match code >> 14 {
        0 => 'P',
        1 => 'C',
        2 => 'B',
        _ => 'U',
    };
    format!("{system}{:04X}", code & 0x3fff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Context, Cut, Decode, Fatal, Info, Login, Reject, Time};

    /// PID and value in one frame.
    #[derive(Default)]
    struct Pids;

    impl Decode for Pids {
        const INFO: Info = Info::DEFAULT;

        fn cut(&self, input: &[u8], _: usize, _: bool) -> Result<Cut, Fatal> {
            Ok(Cut::Frame(input.len()))
        }

        fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
            cx.identify(Login::of("1"))?;
            let mut message = cx.message(Time::Received(0))?;
            let (pid, data) = frame.split_first().expect("a PID");
            let known = push(&mut message, u16::from(*pid), data);
            assert_eq!(known, *pid == 0x0c && data.len() > 1, "{frame:x?}");
            assert_eq!(message.len(), usize::from(known));
            Ok(())
        }
    }

    #[test]
    fn a_value_is_pushed_when_its_bytes_are_there() {
        use crate::contract::{Env, Output, Protocol, Unregistered};
        let mut session = (Protocol::of::<Pids>(1).open)();
        for frame in [&[0x0c, 0x4e, 0x20][..], &[0x0c, 1], &[0xff, 1, 2]] {
            let mut out = Output::default();
            let env = Env {
                now_ms: 0,
                lookup: &mut Unregistered,
                out: &mut out,
            };
            assert_eq!(session.read_frame(frame, env), None);
        }
    }

    #[test]
    fn trouble_codes_are_written_as_people_do() {
        assert_eq!(trouble_code(0x0301), "P0301");
        assert_eq!(trouble_code(0xc123), "U0123");
    }
}
