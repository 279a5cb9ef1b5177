//! Frames of the plugs for the OBD socket.

use super::alarms::alarms;
use super::parameters::{parameters, tagged};
use super::parts::{
    Head, Place, SHORT, Stat, places, push_cell, push_left, push_versions, records,
};
use super::vehicle::{pids, trouble_codes};
use crate::contract::{Context, Reject, Reply, fields};
use crate::kit::cursor::Cursor;

pub(super) fn plug(
    head: &Head,
    cursor: &mut Cursor<'_>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    match head.kind {
        0x1001 => {
            let stat = Stat::read(cursor).ok_or(SHORT)?;
            let places = places(cursor).ok_or(SHORT)?;
            records(head, Some(&stat), &places, cx, |message| {
                push_versions(message, cursor);
                push_left(message, cursor)
            })?;
            let seconds = u32::try_from(cx.now_ms / 1000).unwrap_or(u32::MAX);
            let mut content = vec![0xff, 0xff, 0xff, 0xff, 0, 0];
            content.extend(seconds.to_le_bytes());
            cx.reply(Reply::stored(head.answer(head.version, 0x9001, &content)));
        }
        0x1002 => {
            let stat = Stat::read(cursor).ok_or(SHORT)?;
            let places = places(cursor).ok_or(SHORT)?;
            records(head, Some(&stat), &places, cx, |message| {
                push_left(message, cursor)
            })?;
        }
        0x1003 => cx.reply(Reply::admitted(head.answer(head.version, 0x9003, &[]))),
        0x4001 => {
            let history = cursor.u8().ok_or(SHORT)?;
            let stat = Stat::read(cursor).ok_or(SHORT)?;
            let places = places(cursor).ok_or(SHORT)?;
            records(head, Some(&stat), &places, cx, |message| {
                message.push(fields::MESSAGE_BUFFERED_STATUS, history != 0);
                let count = cursor.u8().unwrap_or(0);
                for _ in 0..count {
                    message.push_some(fields::ENGINE_RPM, cursor.u16_le());
                }
                push_left(message, cursor)
            })?;
        }
        0x400e | 0xb001 => {
            if head.kind == 0xb001 {
                let _number = cursor.u16_le().ok_or(SHORT)?;
            }
            let stat = Stat::read(cursor).ok_or(SHORT)?;
            let places = places(cursor).ok_or(SHORT)?;
            records(head, Some(&stat), &places, cx, |message| {
                if head.kind == 0x400e
                    && let Some(fuel) = cursor.u16_le()
                {
                    message.name("adc1", fuel);
                }
                push_left(message, cursor)
            })?;
        }
        0x5101 => {
            let place = Place::read(cursor).ok_or(SHORT)?;
            records(head, None, &[place], cx, |message| {
                push_left(message, cursor)
            })?;
        }
        0x4002..=0x4006 | 0x4008 | 0x400b => {
            let stat = Stat::read(cursor).ok_or(SHORT)?;
            records(head, Some(&stat), &[], cx, |message| {
                match head.kind {
                    0x4002 => {
                        cursor.u16_le()?;
                        pids(message, cursor, true)?;
                    }
                    0x4005 => {
                        cursor.u8()?;
                        pids(message, cursor, false)?;
                    }
                    0x4006 => {
                        cursor.u8()?;
                        trouble_codes(message, cursor)?;
                    }
                    0x4008 => push_cell(message, cursor)?,
                    _ => {}
                }
                push_left(message, cursor)
            })?;
        }
        0x4007 => {
            let number = cursor.array::<4>().ok_or(SHORT)?;
            let stat = Stat::read(cursor).ok_or(SHORT)?;
            let places = places(cursor).ok_or(SHORT)?;
            records(head, Some(&stat), &places, cx, |message| {
                message.push(fields::FRAME_SEQNUM, u32::from_le_bytes(number));
                alarms(message, cursor)?;
                push_left(message, cursor)
            })?;
            cx.reply(Reply::stored(head.answer(head.version, 0xc007, &number)));
        }
        0x4009 => {
            cursor.u32_le().ok_or(SHORT)?;
            let places = places(cursor).ok_or(SHORT)?;
            records(head, None, &places, cx, |message| {
                push_left(message, cursor)
            })?;
        }
        0x401f => {
            let history = cursor.u8().ok_or(SHORT)?;
            let number = cursor.u32_le().ok_or(SHORT)?;
            let stat = Stat::read(cursor).ok_or(SHORT)?;
            let places = places(cursor).ok_or(SHORT)?;
            records(head, Some(&stat), &places, cx, |message| {
                message.push(fields::FRAME_SEQNUM, number);
                message.push(fields::MESSAGE_BUFFERED_STATUS, history != 0);
                tagged(message, cursor)?;
                push_left(message, cursor)
            })?;
        }
        0xa002 => {
            parameters(head, cursor, cx)?;
        }
        // our own side, heard back
        0x8000.. => {}
        _ => records(head, None, &[], cx, |message| push_left(message, cursor))?,
    }
    Ok(())
}
