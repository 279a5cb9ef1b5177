//! From facts to causes: pure.
//!
//! What is so now (the disk, a disabled device, a block) goes before what the log says; of what the
//! log says the newest goes first, and what is older than the newest message has passed. What may
//! have been another tracker is said only where nothing surer is known.

use super::cause::{Cause, Finding, finding};
use super::facts::{DeviceFacts, Facts, Told};
use super::strays::strays;

/// A timestamp may be so much ahead of the server's.
pub(super) const AHEAD_US: i64 = 86_400_000_000;
/// Who was silent for so long is said to be silent.
pub(super) const SILENT_US: i64 = 3_600_000_000;
/// Two takeovers within so long are more than a tracker that calls anew.
const FLAPS_US: i64 = 600_000_000;

/// What stands in the way, the likeliest first; never empty.
pub fn diagnose(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(why) = &facts.disk {
        found.push(finding(
            Cause::DiskStopped,
            0,
            format!("the gateway stores nothing and acks nothing: {why}"),
            "mend the disk first (docs/operations.md); trackers keep what is not acked",
        ));
    }
    for device in &facts.devices {
        now(device, &mut found);
    }
    let mut logged = Vec::new();
    elsewhere(facts, &mut logged);
    of_log(facts, &mut logged);
    shared(facts, &mut logged);
    logged.sort_by_key(|finding| std::cmp::Reverse(finding.at_us));
    found.append(&mut logged);
    if found.is_empty() {
        strays(facts, &mut found);
    }
    for device in &facts.devices {
        of_data(facts, device, &mut found);
    }
    if found.is_empty() {
        found.push(rest(facts));
    }
    found.dedup_by(|a, b| a.cause == b.cause);
    found
}

/// What is so at this moment.
fn now(device: &DeviceFacts, found: &mut Vec<Finding>) {
    let name = &device.name;
    if !device.enabled {
        found.push(finding(
            Cause::DeviceDisabled,
            0,
            format!("device {} ({name}) is disabled", device.id),
            "enable it; it is hung up on until then, and keeps its data",
        ));
    }
    if let Some(levels) = device.account_disabled {
        found.push(finding(
            Cause::AccountDisabled,
            0,
            format!(
                "{} of device {} ({name}) is disabled",
                whose(levels),
                device.id
            ),
            "enable the account; nothing of its branch is taken until then",
        ));
    }
    if let Some(blocked) = &device.blocked {
        found.push(finding(
            Cause::LimitReached,
            0,
            format!(
                "{} of device {} ({name}) has used up {}",
                whose(blocked.levels_up),
                device.id,
                blocked.dimension
            ),
            "raise the limit, or wait: what is refused stays with the tracker",
        ));
    }
    if device.channels.is_empty() {
        found.push(finding(
            Cause::NoChannel,
            0,
            format!("no channel serves device {} ({name}): its account and those above it have none of {}",
                device.id, device.protocol),
            "make a channel of its protocol in its account or one above it",
        ));
    }
}

fn whose(levels_up: u8) -> String {
    match levels_up {
        0 => "the account".to_owned(),
        1 => "the account one level above that".to_owned(),
        levels => format!("an account {levels} levels above that"),
    }
}

/// Where it calls and no device is found.
fn elsewhere(facts: &Facts, found: &mut Vec<Finding>) {
    let newest_us = facts.newest_us();
    for unknown in facts.unknown.iter().filter(|one| one.last_us > newest_us) {
        let at = format!("{} ({})", unknown.channel.uri, unknown.channel.name);
        let came = format!(
            "{} frames came to {at} in {}",
            unknown.count, unknown.protocol
        );
        found.push(match facts.devices.as_slice() {
            [] => finding(
                Cause::UnknownIdent,
                unknown.last_us,
                format!("no device has the ident; {came}"),
                format!(
                    "register a device of {} with exactly this ident in the channel's account or \
                     below it; what the tracker kept arrives then",
                    unknown.protocol
                ),
            ),
            [device, ..] => {
                let right = device.channels.iter().map(|channel| channel.uri.as_str());
                let right: Vec<_> = right.collect();
                finding(
                    Cause::CallsElsewhere,
                    unknown.last_us,
                    format!("{came}, which does not serve device {}", device.id),
                    format!(
                        "point the tracker at {}; or move the device, or make the nearer channel \
                         of its branch not `isolated`",
                        right.join(" or ")
                    ),
                )
            }
        });
    }
}

/// What the log says of the ident.
fn of_log(facts: &Facts, found: &mut Vec<Finding>) {
    const FRAME_REJECTED: u16 = 305;
    const LOGIN_REFUSED: u16 = 9005;
    const TOO_DEAR: u16 = 9002;
    let newest_us = facts.newest_us();
    for told in facts.log.iter().filter(|told| told.at_us > newest_us) {
        match (told.code, told.text("cause")) {
            (FRAME_REJECTED, _) => found.push(rejected(told)),
            (LOGIN_REFUSED, "secret") => found.push(finding(
                Cause::WrongPassword,
                told.at_us,
                format!("from {} it showed another password than its device has, or none", told.text("source")),
                "set the device's configuration.password to what the tracker sends, or the tracker's; \
                 a certificate must name the ident",
            )),
            (LOGIN_REFUSED | TOO_DEAR, "limit" | "") => {
                let levels = u8::try_from(told.number("levels_up")).unwrap_or(0);
                let never = told.code == TOO_DEAR;
                found.push(finding(
                    Cause::LimitReached,
                    told.at_us,
                    format!(
                        "{} {} {}",
                        whose(levels),
                        if never {
                            "can never take a frame so large by its"
                        } else {
                            "had used up"
                        },
                        told.text("dimension")
                    ),
                    "raise the limit, or wait: what is refused stays with the tracker",
                ));
            }
            _ => {}
        }
    }
}

fn rejected(told: &Told) -> Finding {
    let (what, why) = (told.text("what"), told.text("why"));
    let byte = match told.text("byte") {
        "" => String::new(),
        byte => format!(" (it is {byte})"),
    };
    let says = format!(
        "a frame could not be read: {what}: {why}, at byte {}{byte}; it was not acked",
        told.number("at")
    );
    let sums = ["checksum", "crc", "CRC"];
    let todo = if sums
        .iter()
        .any(|sum| why.contains(sum) || what.contains(sum))
    {
        "the bytes were changed on their way, or the tracker counts its checksum otherwise: try the \
         frame in `tollgate decode`"
    } else {
        "try the frame in `tollgate decode`; if its maker's manual allows it, it is a mistake of the \
         decoder: report it with the bytes"
    };
    finding(Cause::FrameRejected, told.at_us, says, todo)
}

/// Does the ident change hands?
fn shared(facts: &Facts, found: &mut Vec<Finding>) {
    const FLAPS: u16 = 9001;
    const TAKEN_OVER: u16 = 9004;
    let lately = |told: &&Told| facts.at_us.saturating_sub(told.at_us) <= FLAPS_US;
    let of = |code: u16| facts.log.iter().filter(move |told| told.code == code);
    let taken: Vec<_> = of(TAKEN_OVER).filter(lately).collect();
    let flaps = of(FLAPS).find(lately);
    if flaps.is_none() && taken.len() < 2 {
        return;
    }
    let mut sources: Vec<&str> = taken.iter().map(|told| told.text("source")).collect();
    sources.sort_unstable();
    sources.dedup();
    sources.truncate(4);
    let at_us = taken
        .iter()
        .copied()
        .chain(flaps)
        .map(|told| told.at_us)
        .max();
    found.push(finding(
        Cause::IdentShared,
        at_us.unwrap_or(facts.at_us),
        format!(
            "connections take the ident from each other: {} times lately, from {}",
            taken.len(),
            sources.join(", ")
        ),
        "two trackers have one ident: give one its own (a clone, or an ident typed twice), or let the \
         first keep it (`takeover: \"keep\"` of the channel)",
    ));
}

/// What the data itself says.
fn of_data(facts: &Facts, device: &DeviceFacts, found: &mut Vec<Finding>) {
    const DISCONNECTED: u16 = 301;
    if let Some((timestamp_us, taken_us)) = device.newest
        && timestamp_us.saturating_sub(taken_us) > AHEAD_US
    {
        let days = timestamp_us.saturating_sub(taken_us) / 86_400_000_000;
        found.push(finding(
            Cause::ClockAhead,
            taken_us,
            format!("device {}'s newest message is {days} days ahead of the clock", device.id),
            "the tracker's clock is wrong: messages are kept under the time that it says, and telemetry \
             does not take them; set its clock, or its time zone where the protocol sends local time",
        ));
    }
    let last = facts.log.iter().find(|told| told.code == DISCONNECTED);
    if let Some(told) = last
        && told.number("msgs") == 0
        && told.number("duplicates") > 0
    {
        found.push(finding(
            Cause::DuplicatesOnly,
            told.at_us,
            format!(
                "on its last connection it sent {} messages, all of which are stored already",
                told.number("duplicates")
            ),
            "it does not see its acks, or repeats itself: compare the acks in its raw traffic \
             (`tollgate packets`) with what it sends next",
        ));
    }
}

/// Nothing stands in the way.
fn rest(facts: &Facts) -> Finding {
    let Some(device) = facts.devices.first() else {
        return finding(
            Cause::NeverSeen,
            0,
            "no device has the ident, and nobody has called by it",
            "check the ident (leading zeros, IMEI or serial number), and the address and port in the \
             tracker; `/idents` of the channels lists who calls and is not registered",
        );
    };
    let uris: Vec<&str> = device
        .channels
        .iter()
        .map(|channel| channel.uri.as_str())
        .collect();
    let uris = uris.join(" or ");
    match device.newest {
        None if !facts.log.iter().any(Told::is_of_a_call) => finding(
            Cause::NeverCalled,
            0,
            format!("device {} is registered and has never called", device.id),
            format!(
                "the tracker must call {uris} in {}: APN, address, port, a firewall",
                device.protocol
            ),
        ),
        Some((_, taken_us))
            if facts.at_us.saturating_sub(taken_us) > SILENT_US && facts.connections.is_empty() =>
        {
            finding(
                Cause::Silent,
                taken_us,
                format!(
                    "device {} has sent nothing for {} minutes and is not connected",
                    device.id,
                    facts.at_us.saturating_sub(taken_us) / 60_000_000
                ),
                format!("power, SIM, coverage; it must reach {uris}"),
            )
        }
        _ => finding(
            Cause::Well,
            0,
            format!("nothing stands in the way of device {}", device.id),
            "its newest messages: `tollgate messages --device`",
        ),
    }
}
