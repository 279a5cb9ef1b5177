//! The form without commas.

use super::battery;
use super::parts::{Frame, is_state, push_alarm, push_state};
use crate::contract::{Context, RecordBuilder, Reject, Reply, Time, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::parse::{float, nmea_degrees, number};
use crate::kit::time::{self, digits};
use smallvec::SmallVec;

/// The most cells of a frame.
const CELLS_MAX: usize = 16;
const IDENT_DIGITS: usize = 15;
const SPEED_BYTES: usize = 5;

/// Reads a frame.
pub(super) fn read(frame: Frame<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let Frame {
        ident,
        command,
        body,
    } = frame;
    match command {
        "BP00" => {
            cx.reply(Reply::admitted(format!("({ident}AP01HSO)")));
            return Ok(());
        }
        "BP05" => {
            let leading = body.bytes().take_while(u8::is_ascii_digit).count();
            // behind the ident stands a date of six digits, or a list of cells
            let place = body.get(..IDENT_DIGITS).unwrap_or_default();
            let own = if place.contains('\0') {
                IDENT_DIGITS
            } else {
                leading.min(IDENT_DIGITS)
            };
            let body = if leading == 6 {
                body
            } else {
                body.get(own..).unwrap_or_default()
            };
            let answer = format!("({ident}AP05)");
            if body.is_empty() {
                cx.reply(Reply::admitted(answer));
            } else {
                record(frame, body, cx)?;
                cx.reply(Reply::stored(answer));
            }
            return Ok(());
        }
        "BS50" | "BS51" => {
            let now_ms = cx.now_ms;
            let mut message = cx.message(Time::Received(now_ms))?;
            message.push(fields::MESSAGE_TYPE, command);
            if command == "BS50" {
                battery::push_pack(&mut message, body);
            } else {
                battery::push_frames(&mut message, body);
            }
            return Ok(());
        }
        _ => {}
    }
    record(frame, body, cx)
}

fn record(frame: Frame<'_>, body: &str, cx: &mut Context<'_>) -> Result<(), Reject> {
    let command = frame.command;
    let now_ms = cx.now_ms;
    let (alarm, body) = match command {
        "BO01" => body.split_at_checked(1).unwrap_or(("", body)),
        _ => ("", body),
    };
    // some copies put commas between the fields
    let joined;
    let plain = if body.contains(",A,") || body.contains(",V,") {
        joined = body.replace(',', "");
        joined.as_str()
    } else {
        body
    };
    let found = Fix::find(plain);
    let ms = found.as_ref().and_then(|fix| {
        let civil = digits(&format!("{}{}", fix.date, fix.time), "ymdHMS")?;
        civil.ms(cx.settings())
    });
    let time = match found {
        Some(_) => time::or_impossible(ms, now_ms),
        None => Time::Received(now_ms),
    };
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, command);
    push_alarm(&mut message, alarm);
    if let Some(fix) = found {
        if command == "BQ81" {
            push_warning(&mut message, fix.before);
        }
        fix.push(&mut message);
        return Ok(());
    }
    match command {
        "BV00" => message.push(fields::VEHICLE_VIN, body),
        _ if body.starts_with(',') => push_cells(&mut message, body),
        _ if body.is_empty() => {}
        _ => message.push(fields::TEXT_MESSAGE, body),
    }
    Ok(())
}

/// What BQ81 warns of.
fn push_warning(message: &mut RecordBuilder<'_>, digit: &str) {
    let warning = match digit {
        "0" => fields::BATTERY_LOW_EVENT_TRIGGER,
        "1" => fields::OVERSPEEDING_EVENT_TRIGGER,
        "2" => fields::IDLE_EVENT_TRIGGER,
        "3" => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        "4" => fields::HARSH_BRAKING_EVENT_TRIGGER,
        "5" => fields::TEMPERATURE_EVENT_TRIGGER,
        _ => return,
    };
    message.push(warning, true);
}

/// A fix, cut into its parts.
struct Fix<'f> {
    before: &'f str,
    date: &'f str,
    valid: bool,
    latitude: &'f str,
    north: &'f str,
    longitude: &'f str,
    east: &'f str,
    speed: &'f str,
    time: &'f str,
    course: &'f str,
    state: &'f str,
    distance: &'f str,
    behind: &'f str,
}

impl<'f> Fix<'f> {
    /// The fix in `body`: a date, A or V, and then N or S and E or W behind numbers.
    fn find(body: &'f str) -> Option<Self> {
        let (letter_at, _) = body.match_indices(['A', 'V']).find(|(at, _)| {
            let date = at.checked_sub(6).and_then(|start| body.get(start..*at));
            date.is_some_and(|date| date.bytes().all(|byte| byte.is_ascii_digit()))
        })?;
        let (head, rest) = body.split_at_checked(letter_at)?;
        let (before, date) = head.split_at_checked(letter_at - 6)?;
        let valid = rest.starts_with('A');
        let rest = rest.get(1..)?;
        let north_at = rest.find(['N', 'S'])?;
        let (latitude, rest) = rest.split_at_checked(north_at)?;
        let (north, rest) = rest.split_at_checked(1)?;
        let east_at = rest.find(['E', 'W'])?;
        let (longitude, rest) = rest.split_at_checked(east_at)?;
        let (east, rest) = rest.split_at_checked(1)?;
        let (speed, rest) = rest.split_at_checked(SPEED_BYTES)?;
        let (time, rest) = rest.split_at_checked(6)?;
        let (course, state, rest) = if let Some(at) = rest.find('L') {
            let (course, state) = rest.get(..at)?.split_at_checked(at.checked_sub(8)?)?;
            (course, state, rest.get(at + 1..)?)
        } else {
            let at = rest.find(',').unwrap_or(rest.len());
            let (course, rest) = rest.split_at_checked(at)?;
            (course, "", rest)
        };
        let hexadecimal = rest
            .bytes()
            .take(8)
            .take_while(u8::is_ascii_hexdigit)
            .count();
        let hexadecimal = if state.is_empty() { 0 } else { hexadecimal };
        let (distance, behind) = rest.split_at_checked(hexadecimal)?;
        Some(Self {
            before,
            date,
            valid,
            latitude,
            north,
            longitude,
            east,
            speed,
            time,
            course,
            state,
            distance,
            behind,
        })
    }

    fn push(&self, message: &mut RecordBuilder<'_>) {
        let latitude = nmea_degrees(self.latitude, self.north).filter(|lat| lat.abs() <= 90.0);
        let place = latitude.zip(nmea_degrees(self.longitude, self.east));
        message.push(fields::POSITION_VALID, self.valid && place.is_some());
        if let Some((latitude, longitude)) =
            place.filter(|place| self.valid || *place != (0.0, 0.0))
        {
            message.push(fields::POSITION_LATITUDE, latitude);
            message.push(fields::POSITION_LONGITUDE, longitude);
            message.push_some(fields::POSITION_SPEED, float(self.speed));
            let course = float(self.course).filter(|course| (0.0..=360.0).contains(course));
            message.push_some(fields::POSITION_DIRECTION, course);
        }
        push_state(message, self.state);
        if let Ok(meters) = u32::from_str_radix(self.distance, 16) {
            message.push(fields::VEHICLE_MILEAGE, f64::from(meters) / 1000.0);
        }
        let celsius = self.behind.strip_prefix(['+', '-']).and_then(float);
        match celsius {
            Some(_) => {
                message.push_some((fields::SENSOR_TEMPERATURE_N, 1), float(self.behind));
            }
            None if self.behind.is_empty() => {}
            None => message.name("behind", self.behind),
        }
        if !self.before.is_empty() {
            message.name("before", self.before);
        }
    }
}

/// Cells in one of the two forms, and the state behind them.
fn push_cells(message: &mut RecordBuilder<'_>, body: &str) {
    let body = body.trim_start_matches(',');
    if body.starts_with('{') {
        for (group, index) in body.split('{').skip(1).zip(0u16..).take(CELLS_MAX) {
            let (cell, behind) = group.split_once('}').unwrap_or((group, ""));
            let mut codes = cell.split(',').map(number::<i64>);
            let mut next = || codes.next().flatten();
            let cell = Cell {
                mcc: next(),
                mnc: next(),
                lac: next(),
                id: next(),
                dbm: None,
            };
            cells::push(message, index, cell);
            let state = behind.trim_matches([',', '\r', '\n', ' ']);
            if is_state(state) {
                push_state(message, state);
            }
        }
        return;
    }
    let mut parts: SmallVec<[&str; 32]> = body.split(',').take(CELLS_MAX * 3 + 3).collect();
    if parts.last().is_some_and(|last| is_state(last)) {
        push_state(message, parts.pop().unwrap_or_default());
    }
    let [mcc, mnc, groups @ ..] = parts.as_slice() else {
        return;
    };
    let width = if groups.get(2).is_some_and(|third| third.len() < 4) {
        3
    } else {
        2
    };
    for (group, index) in groups.chunks_exact(width).zip(0u16..) {
        let code = |at: usize| {
            let text = group.get(at)?;
            i64::from_str_radix(text, 16).ok()
        };
        let cell = Cell {
            mcc: number(mcc),
            mnc: number(mnc),
            lac: code(0),
            id: code(1),
            dbm: None,
        };
        cells::push(message, index, cell);
        if let Some(level) = group.get(2).and_then(|text| number::<i64>(text)) {
            if index == 0 {
                message.push(fields::GSM_SIGNAL_ENUM, level);
            } else {
                message.push((fields::GSM_SIGNAL_ENUM_N, index), level);
            }
        }
    }
}
