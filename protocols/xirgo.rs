//! Xirgo: XT2000, XT4500, XT6200 and others, over TCP.
//!
//! # Wire format
//!
//! `$$fields##`, fields between commas: name, event, then in one of three layouts:
//!
//! | layout | fields |
//! |---|---|
//! | old | YYYY/MM/DD, HH:MM:SS, latitude, longitude, altitude, mph, course, satellites, HDOP, volts, signal, miles, fix, others |
//! | new | the same to mph, then acceleration, deceleration, rpm, course, satellites, HDOP, miles, fuel use, volts, signal, fix, others |
//! | configured | as the setting `format` lists them: UID or IM, EV, D (MM/DD/YYYY) and T, or both as D;T, LT, LN, AL, GSPT (km/h), HD, SV, HP, BV, CQ, GS (3: a fix), SI, IG (1 on, 2 off), OT |
//!
//! The layouts are told apart by where the voltage with its point stands. A date and a time in one field are
//! of the configured layout, whose setting is missing then: name, event, time and place are read, the rest is kept.
//!
//! # Session
//!
//! Every frame names its device. Nothing is answered over TCP.
//!
//! # Source
//!
//! Xirgo Technologies: device user manuals, and captures.
//! The documents were not at hand as a whole: what no capture in `fixtures/` shows follows public
//! excerpts of them, and wants a frame to prove it.
//!
//! # Quirks
//!
//! - Altitude and course may come without their decimal point in the configured layout: then they are in tenths.
//! - So may latitude and longitude (XT2169): then they are in millionths.

use crate::contract::{
    Acks, Context, Cut, Decode, Fatal, Info, Login, Model, ParamId, Probe, RecordBuilder, Reject,
    Setting, Time, fields,
};
use crate::kit::parse::{float, number};
use crate::kit::time::{Civil, or_impossible};
use crate::kit::{framing, units};

/// To the state of the fix.
const NEW_FIELDS_MIN: usize = 18;
const FIELDS_MAX: usize = 64;
const SHORT: Reject = Reject::new("frame", "fewer fields than it has", 0);
/// What a configured layout with date and time in one field begins with.
const JOINED: &str = "UID,EV,D;T,LT,LN";

const fn model(number: u16, name: &'static str) -> Model {
    Model {
        number,
        vendor: "Xirgo",
        name,
    }
}

/// The session state: none beyond the engine's.
#[derive(Default)]
pub(crate) struct Decoder;

impl Decode for Decoder {
    const INFO: Info = Info {
        name: "xirgo",
        title: "Xirgo",
        source: "Xirgo Technologies: device user manuals",
        port: 5081,
        frame_bytes_max: 1024,
        version: 2,
        acks: Acks::None,
        shared: true,
        settings: &[Setting::Format],
        models: &[
            model(1, "XT2000"),
            model(2, "XT2400"),
            model(3, "XT4500"),
            model(4, "XT4700"),
            model(5, "XT6200"),
            model(6, "XG3700"),
        ],
        ..Info::DEFAULT
    };

    fn cut(&self, input: &[u8], scanned: usize, eof: bool) -> Result<Cut, Fatal> {
        if input.starts_with(b"$$") {
            return Ok(framing::until(input, scanned, eof, b"##"));
        }
        if input == b"$" && !eof {
            return Ok(Cut::Need(2));
        }
        let rest = input.get(1..).unwrap_or_default();
        let next = rest.iter().position(|byte| *byte == b'$');
        Ok(Cut::Skip(next.map_or(input.len(), |at| at + 1)))
    }

    fn frame(&mut self, frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
        let text = std::str::from_utf8(frame)
            .map_err(|error| Reject::new("text", "not printable", error.valid_up_to()))?;
        let text = text
            .strip_prefix("$$")
            .and_then(|text| text.strip_suffix("##"));
        let parts: smallvec::SmallVec<[&str; 40]> =
            text.ok_or(SHORT)?.split(',').take(FIELDS_MAX).collect();
        let [name, event, date, ..] = *parts.as_slice() else {
            return Err(SHORT);
        };
        let settings = cx.identify(Login::of(name))?;
        let format = settings.format.clone();
        let form = format.as_deref().and_then(|text| {
            let form = text.strip_prefix("form=").unwrap_or(text);
            (form.starts_with("UID") || form.starts_with("IM")).then_some(form)
        });
        let is_dated = |date: &str| date.contains('/');
        let form = form.filter(|form| is_dated(dated(form, &parts).0));
        let joined = date.contains(';').then_some(JOINED);
        let form = form.or(joined.filter(|form| is_dated(dated(form, &parts).0)));
        if form.is_none() && !is_dated(date) {
            let now_ms = cx.now_ms;
            let mut message = cx.message(Time::Received(now_ms))?;
            push_event(&mut message, event);
            message.push(fields::POSITION_VALID, false);
            push_rest(&mut message, &parts, 2);
            return Ok(());
        }
        match form {
            Some(form) => configured(form, &parts, cx),
            None => fixed(&parts, cx),
        }
    }

    fn probe(head: &[u8]) -> Probe {
        let rest = match head {
            [] | [b'$'] => return Probe::More,
            [b'$', b'$', rest @ ..] => rest,
            _ => return Probe::No,
        };
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match rest.get(count..) {
            Some([]) if count <= 15 => Probe::More,
            // a name of nine digits and more, and an event of four
            Some(
                [
                    b',',
                    b'0'..=b'9',
                    b'0'..=b'9',
                    b'0'..=b'9',
                    b'0'..=b'9',
                    b',',
                    ..,
                ],
            ) if count >= 9 => Probe::Yes,
            Some([b',', more @ ..]) if count >= 9 && more.len() < 5 => Probe::More,
            _ => Probe::No,
        }
    }
}

fn alarm(event: u16) -> Option<ParamId> {
    Some(match event {
        4001 | 4003 | 6011 | 6013 => fields::IGNITION_ON_EVENT_TRIGGER,
        4002 | 4004 | 6012 | 6014 => fields::IGNITION_OFF_EVENT_TRIGGER,
        6002 => fields::OVERSPEEDING_EVENT_TRIGGER,
        6006 => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        6007 => fields::HARSH_BRAKING_EVENT_TRIGGER,
        6008 => fields::EXTERNAL_POWERSOURCE_LOW_EVENT_TRIGGER,
        6009 => fields::POWER_CUT_EVENT_TRIGGER,
        6010 => fields::POWER_RESTORED_EVENT_TRIGGER,
        6016 => fields::IDLE_EVENT_TRIGGER,
        6017 => fields::TOWING_EVENT_TRIGGER,
        6090 => fields::TAMPERING_EVENT_TRIGGER,
        6091 => fields::BATTERY_LOW_EVENT_TRIGGER,
        _ => return None,
    })
}

fn push_event(message: &mut RecordBuilder<'_>, text: &str) {
    let Some(event) = number::<u16>(text) else {
        return;
    };
    message.push(fields::EVENT_ENUM, event);
    if let Some(alarm) = alarm(event) {
        message.push(alarm, true);
    }
    match event {
        4001 | 4003 | 6011 | 6013 => message.push(fields::ENGINE_IGNITION_STATUS, true),
        4002 | 4004 | 6012 | 6014 => message.push(fields::ENGINE_IGNITION_STATUS, false),
        4005 => message.push(fields::BATTERY_CHARGING_STATUS, false),
        6030 | 6071 => message.push(fields::MOVEMENT_STATUS, true),
        6031 => message.push(fields::MOVEMENT_STATUS, false),
        _ => {}
    }
}

fn push_rest(message: &mut RecordBuilder<'_>, parts: &[&str], from: usize) {
    for (text, id) in parts.iter().zip(0u32..).skip(from) {
        if !text.is_empty() {
            message.wire(id, *text);
        }
    }
}

/// `YYYY/MM/DD` or `MM/DD/YYYY`, and `HH:MM:SS`.
fn moment(date: &str, clock: &str) -> Option<i64> {
    let three = |text: &str, mark: char| {
        let mut parts = text.split(mark).map(number::<i64>);
        Some([parts.next()??, parts.next()??, parts.next()??])
    };
    let [first, second, third] = three(date, '/')?;
    let (year, month, day) = if first > 31 {
        (first, second, third)
    } else {
        (third, first, second)
    };
    let [hour, minute, second] = three(clock, ':')?;
    let civil = Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
    };
    civil.utc_ms()
}

/// Degrees; a number without a point that is beyond `most` is in millionths.
fn degrees(text: &str, most: f64) -> Option<f64> {
    let value = float(text)?;
    let value = if value.abs() > most && !text.contains('.') {
        units::round(value / 1e6, 6)
    } else {
        value
    };
    Some(value).filter(|value| value.abs() <= most)
}

fn push_place(
    message: &mut RecordBuilder<'_>,
    latitude: &str,
    longitude: &str,
    fixed: bool,
) -> bool {
    let latitude = degrees(latitude, 90.0);
    let longitude = degrees(longitude, 180.0);
    let place = latitude.zip(longitude).filter(|place| *place != (0.0, 0.0));
    message.push(fields::POSITION_VALID, fixed && place.is_some());
    if let Some((latitude, longitude)) = place {
        message.push(fields::POSITION_LATITUDE, latitude);
        message.push(fields::POSITION_LONGITUDE, longitude);
    }
    place.is_some()
}

/// Are the fields those of the new layout: whole numbers at rpm and satellites, volts, whole numbers at
/// signal and fix?
fn is_new(parts: &[&str]) -> bool {
    let at = |index: usize| parts.get(index).copied().unwrap_or_default();
    let is_whole = |index| number::<u32>(at(index)).is_some();
    let is_decimal = |index: usize| at(index).contains('.') && float(at(index)).is_some();
    let old = is_whole(9) && is_decimal(11) && is_whole(12) && !is_decimal(16);
    parts.len() > NEW_FIELDS_MIN && !old || is_decimal(16) && is_whole(17) && is_whole(18)
}

/// The old and the new layout.
fn fixed(parts: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    let at = |index: usize| parts.get(index).copied().unwrap_or_default();
    let ms = moment(at(2), at(3));
    let mut message = cx.message(or_impossible(ms, cx.now_ms))?;
    push_event(&mut message, at(1));
    let old = !is_new(parts);
    // course, satellites, HDOP, volts, signal, fix, miles
    let [course, satellites, hdop, volts, signal, fix, miles] = if old {
        [8, 9, 10, 11, 12, 14, 13]
    } else {
        [11, 12, 13, 16, 17, 18, 14]
    };
    if push_place(&mut message, at(4), at(5), at(fix) == "1") {
        message.push_some(fields::POSITION_ALTITUDE, float(at(6)));
        message.push_some(fields::POSITION_SPEED, float(at(7)).map(units::miles));
        message.push_some(fields::POSITION_DIRECTION, float(at(course)));
    }
    message.push_some(fields::POSITION_SATELLITES, number::<u8>(at(satellites)));
    message.push_some(fields::POSITION_HDOP, float(at(hdop)));
    message.push_some(fields::BATTERY_VOLTAGE, float(at(volts)));
    message.push_some(fields::GSM_SIGNAL_ENUM, float(at(signal)));
    message.push_some(fields::VEHICLE_MILEAGE, float(at(miles)).map(units::miles));
    if old {
        push_rest(&mut message, parts, 15);
        return Ok(());
    }
    for (index, id) in [(8, 8u32), (9, 9), (15, 15)] {
        message.push_some(
            crate::contract::Key::Wire { space: 0, id },
            float(at(index)),
        );
    }
    message.push_some(fields::ENGINE_RPM, float(at(10)));
    let states = at(20);
    if states.len() == 4 && states.bytes().all(|bit| matches!(bit, b'0' | b'1')) {
        let (inputs, output) = states.split_at(3);
        for (bit, input) in inputs.bytes().zip(1u16..) {
            message.push((fields::DIN_N, input), bit == b'1');
        }
        message.push((fields::DOUT_N, 1), output == "1");
        message.push_some((fields::AIN_N, 1), float(at(21)));
        message.push_some(fields::FUEL_LEVEL, float(at(22)));
        message.push_some(
            crate::contract::Key::Name("engine.counter"),
            number::<i64>(at(24)),
        );
        push_rest(&mut message, parts, 25);
    } else {
        push_rest(&mut message, parts, 19);
    }
    Ok(())
}

/// The field that `form` calls `name`.
fn value<'p>(form: &str, parts: &[&'p str], name: &str) -> &'p str {
    let at = form.split(',').position(|field| field == name);
    at.and_then(|at| parts.get(at)).copied().unwrap_or_default()
}

/// Date and time, in two fields or in one.
fn dated<'p>(form: &str, parts: &[&'p str]) -> (&'p str, &'p str) {
    let both = value(form, parts, "D;T").split_once(';');
    both.unwrap_or_else(|| (value(form, parts, "D"), value(form, parts, "T")))
}

fn configured(form: &str, parts: &[&str], cx: &mut Context<'_>) -> Result<(), Reject> {
    let of = |name: &str| value(form, parts, name);
    let (date, clock) = dated(form, parts);
    let ms = moment(date, clock);
    let mut message = cx.message(or_impossible(ms, cx.now_ms))?;
    push_event(&mut message, of("EV"));
    // of three dimensions; a device that is not told to say so has one
    let is_fix = matches!(of("GS"), "3" | "");
    if push_place(&mut message, of("LT"), of("LN"), is_fix) {
        message.push_some(fields::POSITION_ALTITUDE, float(of("AL")));
        message.push_some(fields::POSITION_SPEED, float(of("GSPT")));
        let heading = of("HD");
        let factor = if heading.contains('.') { 1.0 } else { 0.1 };
        let course = float(heading).map(|value| units::round(value * factor, 1));
        message.push_some(fields::POSITION_DIRECTION, course);
    }
    message.push_some(fields::POSITION_SATELLITES, number::<u8>(of("SV")));
    message.push_some(fields::POSITION_HDOP, float(of("HP")));
    message.push_some(fields::BATTERY_VOLTAGE, float(of("BV")));
    message.push_some(fields::GSM_SIGNAL_ENUM, number::<u8>(of("CQ")));
    if !of("SI").is_empty() {
        message.push(fields::GSM_SIM_ICCID, of("SI"));
    }
    message.push_some(fields::DOUT, number::<u8>(of("OT")));
    // 1 on, 2 off, 0 not known
    let ignition = number::<u8>(of("IG")).filter(|state| *state > 0);
    message.push_some(
        fields::ENGINE_IGNITION_STATUS,
        ignition.map(|state| state == 1),
    );
    for (name, text) in form.split(',').zip(parts) {
        let known = [
            "UID", "EV", "D", "T", "D;T", "LT", "LN", "AL", "GSPT", "HD", "SV", "HP", "BV", "CQ",
            "SI", "IG", "IM", "OT",
        ];
        if !known.contains(&name) && !text.is_empty() {
            message.name(name, *text);
        }
    }
    push_rest(&mut message, parts, form.split(',').count());
    Ok(())
}
