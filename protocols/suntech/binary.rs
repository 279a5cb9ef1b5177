//! The binary form of the universal devices: the mask's fields as numbers, big-endian.

use super::report::push_alert;
use super::universal::push_states;
use crate::contract::{Context, Login, RecordBuilder, Reject, Time, fields};
use crate::kit::cells::{self, Cell};
use crate::kit::cursor::Cursor;
use crate::kit::time::{self, two_digit};
use crate::kit::{bcd, hex};

/// Degrees in millionths, the highest bit is the sign.
fn degrees(raw: u32) -> f64 {
    let value = f64::from(raw & 0x7fff_ffff) / 1e6;
    if raw >> 31 == 1 { -value } else { value }
}

/// What the mask's bits 1 to 18 announce.
#[derive(Default)]
struct Fields<'f> {
    version: Option<&'f [u8]>,
    live: Option<u8>,
    date: Option<[u8; 3]>,
    clock: Option<[u8; 3]>,
    cell: Cell,
    level: Option<u8>,
    latitude: Option<u32>,
    longitude: Option<u32>,
    speed: Option<u16>,
    course: Option<u16>,
    satellites: Option<u8>,
    fix: Option<u8>,
    inputs: Option<u8>,
    outputs: Option<u8>,
}

impl<'f> Fields<'f> {
    fn read(body: &mut Cursor<'f>, mask: u32) -> Option<Self> {
        let mut fields = Self::default();
        for bit in (1..=18u32).filter(|bit| mask >> bit & 1 != 0) {
            match bit {
                1 => {
                    let _model = body.u8()?;
                }
                2 => fields.version = Some(body.take(3)?),
                3 => fields.live = Some(body.u8()?),
                4 => fields.date = Some(body.array()?),
                5 => fields.clock = Some(body.array()?),
                6 => fields.cell.id = Some(body.u32()?.into()),
                7 => fields.cell.mcc = Some(body.u16()?.into()),
                8 => fields.cell.mnc = Some(body.u16()?.into()),
                9 => fields.cell.lac = Some(body.u16()?.into()),
                10 => fields.level = Some(body.u8()?),
                11 => fields.latitude = Some(body.u32()?),
                12 => fields.longitude = Some(body.u32()?),
                13 => fields.speed = Some(body.u16()?),
                14 => fields.course = Some(body.u16()?),
                15 => fields.satellites = Some(body.u8()?),
                16 => fields.fix = Some(body.u8()?),
                17 => fields.inputs = Some(body.u8()?),
                _ => fields.outputs = Some(body.u8()?),
            }
        }
        Some(fields)
    }

    fn time(&self, now_ms: i64) -> Time {
        let (Some(date), Some(clock)) = (self.date, self.clock) else {
            return Time::Received(now_ms);
        };
        let [year, month, day] = date.map(i64::from);
        let [hour, minute, second] = clock.map(i64::from);
        let civil = two_digit(year, month, day, hour, minute, second);
        time::or_impossible(civil.utc_ms(), now_ms)
    }

    fn push(&self, message: &mut RecordBuilder<'_>) {
        if let Some([major, minor, patch]) = self.version {
            message.push(
                fields::DEVICE_FIRMWARE_VERSION,
                &*format!("{major}.{minor}.{patch}"),
            );
        }
        if self.live == Some(0) {
            message.push(fields::MESSAGE_BUFFERED_STATUS, true);
        }
        if self.cell.mcc.is_some_and(cells::is_mcc) {
            cells::push(message, 0, self.cell);
        }
        message.push_some(fields::GSM_SIGNAL_ENUM, self.level);
        let fixed = self.fix.is_some_and(|fix| fix > 0);
        if let (Some(latitude), Some(longitude)) = (self.latitude, self.longitude) {
            message.push(fields::POSITION_VALID, fixed);
            if fixed || latitude | longitude != 0 {
                message.push(fields::POSITION_LATITUDE, degrees(latitude));
                message.push(fields::POSITION_LONGITUDE, degrees(longitude));
                let hundredths = |word: u16| f64::from(word) / 100.0;
                message.push_some(fields::POSITION_SPEED, self.speed.map(hundredths));
                message.push_some(fields::POSITION_DIRECTION, self.course.map(hundredths));
            }
        }
        message.push_some(fields::POSITION_SATELLITES, self.satellites);
        push_states(message, self.inputs, self.outputs);
    }
}

/// Reads a frame.
pub(super) fn read(frame: &[u8], cx: &mut Context<'_>) -> Result<(), Reject> {
    let short = Reject::new("binary", "cut short", frame.len());
    let mut body = Cursor::new(frame);
    let kind = match body.u8() {
        Some(0x81) => "STT",
        Some(0x82) => "ALT",
        Some(0x83) => "EMG",
        _ => return Err(Reject::new("binary", "a kind that is not known", 0)),
    };
    let _length = body.u16();
    let ident = body.take(5).ok_or(short)?;
    let ident = bcd::text(ident).ok_or(Reject::new("ident", "digits that are none", 3))?;
    let mask = body.u24().ok_or(short)?;
    let read = Fields::read(&mut body, mask).ok_or(short)?;
    cx.identify(Login::of(&ident))?;
    let mut message = cx.message(read.time(cx.now_ms))?;
    message.push(fields::MESSAGE_TYPE, kind);
    read.push(&mut message);
    if kind == "STT" {
        state(&mut message, &mut body, mask);
    } else {
        alert(&mut message, &mut body, mask, kind);
    }
    if body.left() > 0 {
        message.push(fields::PAYLOAD_HEX, &*hex::encode(body.rest()));
    }
    Ok(())
}

/// Mode, reason and number.
fn state(message: &mut RecordBuilder<'_>, body: &mut Cursor<'_>, mask: u32) {
    let has = |bit: u32| mask >> bit & 1 != 0;
    if has(19) {
        message.push_some(fields::VEHICLE_STATE_ENUM, body.u8());
    }
    if has(20) {
        message.push_some(fields::REPORT_REASON, body.u8());
    }
    if has(21) {
        message.push_some(fields::RECORD_SEQNUM, body.u16());
    }
}

/// What happened, a modifier, and data behind their length; of a driver they are the key.
fn alert(message: &mut RecordBuilder<'_>, body: &mut Cursor<'_>, mask: u32, kind: &str) {
    let has = |bit: u32| mask >> bit & 1 != 0;
    if let Some(id) = has(19).then(|| body.u8()).flatten() {
        push_alert(message, kind, &id.to_string());
    }
    if has(20) {
        let _modifier = body.u8();
    }
    let mut ahead = *body;
    if has(21)
        && let Some(length) = ahead.u8()
        && let Some(data) = ahead
            .take(usize::from(length))
            .filter(|data| data.len() == 8)
    {
        message.push(fields::DRIVER_ID, &*hex::encode(data));
        *body = ahead;
    }
}
