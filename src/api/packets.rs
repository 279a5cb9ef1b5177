//! Raw traffic, in flespi's form.

use super::answer::{self, Answer, Error};
use super::call::Call;
use super::expression::fits_pattern;
use super::items::Kind;
use super::live::only;
use super::messages::Reading;
use crate::ids::AccountId;
use crate::raw::{Label, Packet, Query};
use serde_json::{Value, json};
use std::sync::Arc;

/// Chunks of one answer unless it says otherwise.
const PACKETS: usize = 1000;
/// The most chunks of one answer.
const PACKETS_MAX: usize = 10_000;
/// The most bytes of them.
const PACKETS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// GET of the raw traffic of idents on channels.
pub(super) fn of_channels(call: &Arc<Call>) -> Result<Answer, Error> {
    let chosen = call.choose(Kind::Channel, 0)?;
    let patterns = match call.text(1) {
        "all" => "*",
        text => text,
    };
    let wanted = |label: &Label<'_>| {
        chosen.ids.contains(&label.channel.0)
            && patterns
                .split(',')
                .any(|pattern| fits_pattern(label.ident, pattern))
    };
    read(call, chosen.errors.clone(), &wanted)
}

/// GET of the raw traffic of devices.
pub(super) fn of_devices(call: &Arc<Call>) -> Result<Answer, Error> {
    let chosen = call.choose(Kind::Device, 0)?;
    let wanted = |label: &Label<'_>| chosen.ids.contains(&label.device.0);
    read(call, chosen.errors.clone(), &wanted)
}

fn read(
    call: &Call,
    errors: Vec<Error>,
    wanted: &dyn Fn(&Label<'_>) -> bool,
) -> Result<Answer, Error> {
    let reading = Reading::of(&call.options()?, &mut |_, _| Ok(false))?;
    let control = &call.state.control;
    let registry = control.registry();
    let query = Query {
        from_us: reading.from_us,
        to_us: reading.to_us,
        wanted,
        seen: &|account: AccountId| registry.manages(call.caller.root, account),
    };
    let count = match reading.count {
        usize::MAX => PACKETS,
        count => count.min(PACKETS_MAX),
    };
    let found = call
        .state
        .raw
        .read(&query, count, PACKETS_BYTES_MAX, reading.reverse)
        .map_err(|error| Error::unable(error.to_string()))?;
    let rows = found.iter().filter_map(|packet| {
        let row = row_of(packet);
        if reading
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.holds_for(&row))
        {
            return None;
        }
        Some(match &reading.fields {
            Some(names) => only(&row, names),
            None => row,
        })
    });
    Ok(Answer::list(rows.collect(), errors))
}

fn row_of(packet: &Packet) -> Value {
    let mut row = json!({
        "timestamp": answer::seconds(packet.at_us),
        "conn": packet.connection,
        "index": packet.index,
        "type": packet.direction.number(),
        "data": base64(&packet.bytes),
        "channel_id": packet.channel,
        "ident": packet.ident.as_str(),
        "source": packet.peer.to_string(),
    });
    if let (Some((code, _)), Value::Object(row)) = (packet.ended, &mut row) {
        row.insert("close_code".into(), code.into());
    }
    row
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let of = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = of(0) << 16 | of(1) << 8 | of(2);
        for digit in 0..4 {
            let index = bits >> (18 - 6 * digit) & 63;
            text.push(if digit > group.len() {
                '='
            } else {
                char::from(DIGITS[index as usize])
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let of = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let texts = of.map(|text| base64(text.as_bytes()));
        let wanted = [
            "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy",
        ];
        assert_eq!(texts, wanted);
    }
}
