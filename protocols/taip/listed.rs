//! Reports whose fields are set apart by semicolons.

use super::parts::{Fix, SHORT, Widths, begin, date, is_fix, push_inputs};
use crate::contract::{Context, RecordBuilder, Reject, fields};
use crate::kit::parse::{float, number};
use crate::kit::time::or_impossible;
use crate::kit::{hex, units};

pub(super) fn listed(body: &str, cx: &mut Context<'_>) -> Result<bool, Reject> {
    let (_, rest) = body.split_once(',').ok_or(SHORT)?;
    let parts: smallvec::SmallVec<[&str; 12]> = rest.split(',').collect();
    let at = |index: usize| parts.get(index).copied().unwrap_or_default();
    let mut widths = Widths(at(0));
    let time = or_impossible(date(&mut widths)?, cx.now_ms);
    let fix = Fix::read(&mut widths)?;
    let mut message = begin("RUS", time, cx)?;
    let digit = widths.take(1)?;
    fix.push(&mut message, is_fix(digit), units::miles);
    message.push_some(fields::POSITION_MODE_ENUM, number::<u8>(digit));
    let age = widths.hexadecimal(2)?.filter(|age| *age < 0xff);
    message.push_some(fields::POSITION_FIX_AGE, age);
    push_inputs(&mut message, widths.hexadecimal(2)?);
    if widths.0.len() >= 4 {
        push_event(&mut message, number(widths.take(2)?));
        message.push_some(fields::POSITION_HDOP, float(widths.take(2)?));
        message.name("tail", widths.0);
    }
    let volts = |text: Option<&str>| Some(units::round(float(text?)? / 100.0, 2));
    if at(3).len() == 8 {
        message.name("bits", at(1));
        let km = float(at(2)).map(|meters| meters / 1000.0);
        message.push_some(fields::VEHICLE_MILEAGE, km);
        let supply = volts(at(3).get(..4));
        message.push_some(fields::EXTERNAL_POWERSOURCE_VOLTAGE, supply);
        message.push_some(fields::BATTERY_VOLTAGE, volts(at(3).get(4..)));
        message.push_some(fields::ENGINE_RPM, float(at(4)));
        if parts.len() > 6 {
            for (index, sensor) in [(5, 1), (6, 2)] {
                let celsius = float(at(index).trim_start_matches('+'));
                message.push_some((fields::SENSOR_TEMPERATURE_N, sensor), celsius);
            }
        }
        let code = parts.last().and_then(|text| hex::number(text));
        push_event(&mut message, code);
    } else {
        for (text, id) in parts.iter().zip(0u32..).skip(1) {
            message.wire(id, *text);
        }
    }
    Ok(true)
}

fn push_event(message: &mut RecordBuilder<'_>, code: Option<i64>) {
    message.push_some(fields::EVENT_ENUM, code);
    let trigger = match code {
        Some(22) => fields::HARSH_ACCELERATION_EVENT_TRIGGER,
        Some(23) => fields::HARSH_BRAKING_EVENT_TRIGGER,
        Some(24) => fields::CRASH_EVENT_TRIGGER,
        Some(26 | 28) => fields::HARSH_CORNERING_EVENT_TRIGGER,
        _ => return,
    };
    message.push(trigger, true);
}
