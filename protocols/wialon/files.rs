//! Pictures and tachograph files: a line, and a block of bytes behind it.
//!
//! Each block is kept as a message of its own when it is acknowledged, so that a file of any length
//! needs no memory here.

use super::fault::Fault;
use super::field::value;
use super::packet::{Packet, give_up, without_crc};
use super::record::clock;
use crate::contract::{Context, Reject, Reply, Time, fields};
use crate::kit::checksum;
use crate::kit::parse::number;
use smallvec::SmallVec;

type Fields<'f> = SmallVec<[&'f str; 8]>;

/// The tachograph file under way: its code, and the number of its last block.
pub(super) struct Tachograph {
    code: u32,
    last_block: u32,
}

/// Does the packet have bytes behind its line?
pub(super) fn has_block(input: &[u8]) -> bool {
    input.starts_with(b"#I#") || input.starts_with(b"#T#")
}

/// How many bytes stand behind `line`.
pub(super) fn block_bytes(line: &[u8]) -> usize {
    let field = |start: usize, at: usize| {
        let body = line.get(start..).unwrap_or_default();
        let field = body
            .split(|byte| matches!(byte, b';' | b'\r' | b'\n'))
            .nth(at);
        field
            .and_then(|field| std::str::from_utf8(field).ok())
            .and_then(number::<usize>)
            .unwrap_or(0)
    };
    if line.starts_with(b"#I#") {
        field(3, 0)
    } else if line.starts_with(b"#T#") {
        field(3, 1)
    } else {
        0
    }
}

/// The fields of a line of `plain` fields, its CRC checked where it is or must be. The vendor does
/// not say whether the CRC is over the line or over the block: either is taken.
fn fields_of(packet: Packet<'_>, plain: usize) -> Result<Fields<'_>, Fault> {
    let count = packet.body.split(';').count();
    let has_crc = count == plain + 1;
    if !has_crc && count != plain {
        return Err(Fault::Structure);
    }
    let last = packet.body.rsplit(';').next().unwrap_or_default();
    let of_block = u16::from_str_radix(last.trim().trim_start_matches("0x"), 16)
        .is_ok_and(|crc| crc == checksum::crc16_ibm(packet.block));
    if !(has_crc && of_block) {
        without_crc(packet.body, ';', has_crc, packet.checked)?;
    }
    Ok(packet.body.split(';').take(plain).collect())
}

fn time_of(date: &str, time: &str, cx: &Context<'_>) -> Time {
    match clock(date, time) {
        Ok(Some(ms)) => Time::Device(ms),
        Ok(None) => Time::Received(cx.now_ms),
        Err(_) => Time::Impossible(cx.now_ms),
    }
}

/// A block of a picture.
pub(super) fn picture(packet: Packet<'_>, cx: &mut Context<'_>) -> Result<(), Reject> {
    let parts = match fields_of(packet, 6) {
        Ok(parts) => parts,
        Err(fault) => {
            let code = if fault == Fault::Crc { "01" } else { "0" };
            let block = packet.body.split(';').nth(1).and_then(number::<u32>);
            let block = block.unwrap_or_default();
            give_up(format!("#AI#{block};{code}\r\n"), fault, cx);
            return Ok(());
        }
    };
    let [_, block, last, date, time, name] = *parts.as_slice() else {
        return Err(Fault::Structure.reject());
    };
    let (Some(block), Some(last)) = (number::<u32>(block), number::<u32>(last)) else {
        give_up("#AI#0\r\n".into(), Fault::Structure, cx);
        return Ok(());
    };
    let time = time_of(date, time, cx);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, "I");
    message.push_some(fields::MEDIA_ID, value(name));
    message.name("block", block);
    message.name("block.last", last);
    message.push(fields::MEDIA_IMAGE, packet.block);
    drop(message);
    let mut answer = format!("#AI#{block};1\r\n");
    if block == last {
        answer.push_str("#AI#1\r\n");
    }
    cx.reply(Reply::stored(answer));
    Ok(())
}

/// The announcement of a tachograph file.
pub(super) fn tachograph_head(
    packet: Packet<'_>,
    cx: &mut Context<'_>,
) -> Result<Option<Tachograph>, Reject> {
    let parts = match fields_of(packet, 5) {
        Ok(parts) => parts,
        Err(fault) => {
            let code = if fault == Fault::Crc { "01" } else { "0" };
            give_up(format!("#AIT#{code}\r\n"), fault, cx);
            return Ok(None);
        }
    };
    let [date, time, driver, code, last] = *parts.as_slice() else {
        return Err(Fault::Structure.reject());
    };
    let (Some(code), Some(last_block)) = (number(code), number(last)) else {
        give_up("#AIT#0\r\n".into(), Fault::Structure, cx);
        return Ok(None);
    };
    let time = time_of(date, time, cx);
    let mut message = cx.message(time)?;
    message.push(fields::MESSAGE_TYPE, "IT");
    message.push_some(fields::DRIVER_ID, value(driver));
    message.name("code", code);
    message.name("block.last", last_block);
    drop(message);
    cx.reply(Reply::stored(&b"#AIT#1\r\n"[..]));
    Ok(Some(Tachograph { code, last_block }))
}

/// A block of a tachograph file.
pub(super) fn tachograph_block(
    packet: Packet<'_>,
    file: Option<&Tachograph>,
    cx: &mut Context<'_>,
) -> Result<(), Reject> {
    let parts = match fields_of(packet, 3) {
        Ok(parts) => parts,
        Err(fault) => {
            let code = if fault == Fault::Crc { "01" } else { "0" };
            let block = packet.body.split(';').nth(2).and_then(number::<u32>);
            let block = block.unwrap_or_default();
            give_up(format!("#AT#{block};{code}\r\n"), fault, cx);
            return Ok(());
        }
    };
    let [code, _, block] = *parts.as_slice() else {
        return Err(Fault::Structure.reject());
    };
    let (Some(code), Some(block)) = (number::<u32>(code), number::<u32>(block)) else {
        give_up("#AT#0\r\n".into(), Fault::Structure, cx);
        return Ok(());
    };
    let now_ms = cx.now_ms;
    let mut message = cx.message(Time::Received(now_ms))?;
    message.push(fields::MESSAGE_TYPE, "T");
    message.name("code", code);
    message.name("block", block);
    message.name("tachograph", packet.block);
    drop(message);
    let mut answer = format!("#AT#{block};1\r\n");
    if file.is_some_and(|file| file.code == code && file.last_block == block) {
        answer.push_str("#AT#1\r\n");
    }
    cx.reply(Reply::stored(answer));
    Ok(())
}
