//! From facts to causes: pure.
//!
//! What is so now (the disk, a disabled device, a block) goes before what the log says; of what the
//! log says the newest goes first, and what is older than the newest message has passed. What may
//! have been another tracker is said only where nothing surer is known.

use super::facts::{DeviceFacts, Facts, Told};
use serde::Serialize;

/// A timestamp may be so much ahead of the server's.
const AHEAD_US: i64 = 86_400_000_000;
/// Who was silent for so long is said to be silent.
const SILENT_US: i64 = 3_600_000_000;
/// Two takeovers within so long are more than a tracker that calls anew.
const FLAPS_US: i64 = 600_000_000;

/// Why data does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It arrives.
    Well,
    /// Nothing can be stored.
    DiskStopped,
    /// No device has the ident.
    UnknownIdent,
    /// Neither a device nor a connection is known of the ident.
    NeverSeen,
    /// It calls a channel that does not serve its device.
    CallsElsewhere,
    /// No channel serves the device.
    NoChannel,
    /// The device is disabled.
    DeviceDisabled,
    /// Its account, or one above it, is disabled.
    AccountDisabled,
    /// Its account, or one above it, has used up a limit.
    LimitReached,
    /// It did not show its password.
    WrongPassword,
    /// Its frames cannot be read.
    FrameRejected,
    /// Two trackers take the ident from each other.
    IdentShared,
    /// It speaks another protocol than the channel.
    WrongProtocol,
    /// It speaks without TLS to a channel with it.
    TlsExpected,
    /// It speaks TLS, and the two did not agree.
    TlsFailed,
    /// It speaks TLS to a channel without it.
    TlsUnexpected,
    /// Its address may not call.
    SourceNotAllowed,
    /// It connects and says nothing.
    SaysNothing,
    /// Its clock is far ahead.
    ClockAhead,
    /// All that it sends is stored already.
    DuplicatesOnly,
    /// It was there, and has not called any more.
    Silent,
    /// It is registered and has never called.
    NeverCalled,
}

/// A cause, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which.
    pub cause: Cause,
    /// What is known, for people.
    pub says: String,
    /// What to do.
    pub todo: String,
    /// When it showed last, unix us; 0: it is so now.
    pub at_us: i64,
}

fn finding(cause: Cause, at_us: i64, says: impl Into<String>, todo: impl Into<String>) -> Finding {
    Finding {
        cause,
        says: says.into(),
        todo: todo.into(),
        at_us,
    }
}

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

/// When the newest message of a device was taken.
fn newest_us(facts: &Facts) -> i64 {
    let newest = facts.devices.iter().filter_map(|device| device.newest);
    newest
        .map(|(_, taken_us)| taken_us)
        .max()
        .unwrap_or(i64::MIN)
}

/// Where it calls and no device is found.
fn elsewhere(facts: &Facts, found: &mut Vec<Finding>) {
    let newest_us = newest_us(facts);
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
    let newest_us = newest_us(facts);
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

/// Connections that nobody named himself on: the surest first.
fn strays(facts: &Facts, found: &mut Vec<Finding>) {
    const MISMATCHES: [i64; 3] = [4, 6, 19];
    const WHITELIST: i64 = 16;
    const INACTIVITY: i64 = 17;
    // rustls' words for what the other side said, and for what it is
    const ALERT: &str = "received fatal alert";
    const INCOMPATIBLE: &str = "peer is incompatible";
    let newest_us = newest_us(facts);
    let later = facts.strays.iter().filter(|told| told.at_us > newest_us);
    let mut sure = Vec::new();
    let mut perhaps = Vec::new();
    for told in later {
        let (code, source) = (told.number("close_code"), told.text("source"));
        let tls_hello = told.text("head").starts_with("1603");
        let one = if let Some(speaks) = told.speaks {
            let from = format!(
                "from {source} it called channel {} in {speaks}, which the channel does not speak",
                told.channel
            );
            let todo = format!("point it at a channel of {speaks}, or make the channel `auto`");
            sure.push(finding(Cause::WrongProtocol, told.at_us, from, todo));
            continue;
        } else if MISMATCHES.contains(&code) && tls_hello && !told.tls {
            finding(
                Cause::TlsUnexpected,
                told.at_us,
                format!(
                    "from {source} channel {} was called by TLS, which it does not speak",
                    told.channel
                ),
                "turn TLS off in the tracker, or give the channel a certificate (`tls`)",
            )
        } else if MISMATCHES.contains(&code) && told.tls && told.text("why").contains(ALERT) {
            finding(
                Cause::TlsFailed,
                told.at_us,
                format!(
                    "from {source} channel {} was called by TLS, and its certificate was not taken: {}",
                    told.channel,
                    told.text("why")
                ),
                "has it expired, is it for this host, does the tracker know its authority? \
                 `openssl s_client -connect HOST:PORT` shows what is sent",
            )
        } else if MISMATCHES.contains(&code) && told.tls && told.text("why").contains(INCOMPATIBLE)
        {
            finding(
                Cause::TlsFailed,
                told.at_us,
                format!(
                    "from {source} channel {} was called by a TLS that it does not speak: {}",
                    told.channel,
                    told.text("why")
                ),
                "TLS 1.2 and 1.3 are spoken: a newer firmware, or a channel without `tls`",
            )
        } else if MISMATCHES.contains(&code) && told.tls {
            finding(
                Cause::TlsExpected,
                told.at_us,
                format!(
                    "from {source} channel {} was called without TLS: {}",
                    told.channel,
                    told.text("why")
                ),
                "turn TLS on in the tracker, or give it a channel without `tls`",
            )
        } else if MISMATCHES.contains(&code) {
            finding(
                Cause::WrongProtocol,
                told.at_us,
                format!(
                    "from {source} channel {} was sent what no frame is: {}",
                    told.channel,
                    told.text("why")
                ),
                "compare the tracker's protocol with the channel's",
            )
        } else if code == WHITELIST {
            finding(
                Cause::SourceNotAllowed,
                told.at_us,
                format!(
                    "from {source} channel {} was called, and its `allow` does not have that address",
                    told.channel
                ),
                "add the address's prefix to the channel's `allow`",
            )
        } else if code == INACTIVITY && told.number("recv") == 0 {
            finding(
                Cause::SaysNothing,
                told.at_us,
                format!(
                    "from {source} a connection to channel {} was open until it was closed, and nothing came",
                    told.channel
                ),
                "the tracker (or what is between) connects and does not send: its server protocol, its \
                 SIM's data plan, a proxy that holds the bytes",
            )
        } else {
            continue;
        };
        if told.same_source {
            sure.push(one);
        } else if told.serves || facts.devices.is_empty() {
            perhaps.push(one);
        }
    }
    if sure.is_empty() {
        // it may have been another tracker
        for one in &mut perhaps {
            one.says
                .push_str(" (nobody named himself: it may have been another tracker)");
        }
        sure = perhaps;
    }
    sure.sort_by_key(|finding| std::cmp::Reverse(finding.at_us));
    let mut causes = Vec::new();
    for one in sure {
        if !causes.contains(&one.cause) {
            causes.push(one.cause);
            found.push(one);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::super::facts::{Blocked, ChannelFacts, UnknownFacts};
    use super::*;
    use serde_json::{Value, json};

    const NOW_US: i64 = 1_795_521_600_000_000;

    fn device() -> DeviceFacts {
        DeviceFacts {
            enabled: true,
            protocol: "teltonika",
            channels: vec![ChannelFacts::default()],
            ..DeviceFacts::default()
        }
    }

    fn told(ago_s: i64, code: u16, data: &Value) -> Told {
        Told {
            at_us: NOW_US - ago_s * 1_000_000,
            code,
            data: data.as_object().cloned().unwrap_or_default(),
            serves: true,
            ..Told::default()
        }
    }

    fn of(device: DeviceFacts, log: Vec<Told>) -> Facts {
        Facts {
            at_us: NOW_US,
            devices: vec![device],
            log,
            ..Facts::default()
        }
    }

    fn first(facts: &Facts) -> Cause {
        diagnose(facts)[0].cause
    }

    #[test]
    fn what_is_so_now_goes_before_what_the_log_says() {
        let secret = told(5, 9005, &json!({ "cause": "secret" }));
        let mut facts = of(device(), vec![secret]);
        assert_eq!(first(&facts), Cause::WrongPassword);
        facts.devices[0].blocked = Some(Blocked {
            dimension: "channel_messages",
            levels_up: 1,
            until_us: NOW_US + 1,
        });
        assert_eq!(first(&facts), Cause::LimitReached);
        assert!(
            diagnose(&facts)[0]
                .says
                .starts_with("the account one level above")
        );
        facts.devices[0].account_disabled = Some(0);
        assert_eq!(first(&facts), Cause::AccountDisabled);
        facts.devices[0].enabled = false;
        assert_eq!(first(&facts), Cause::DeviceDisabled);
        facts.disk = Some("no space".into());
        let causes: Vec<_> = diagnose(&facts).into_iter().map(|one| one.cause).collect();
        assert_eq!(
            causes,
            [
                Cause::DiskStopped,
                Cause::DeviceDisabled,
                Cause::AccountDisabled,
                Cause::LimitReached,
                Cause::WrongPassword
            ]
        );
    }

    #[test]
    fn what_is_older_than_the_newest_message_has_passed() {
        let reject = json!({ "what": "frame", "why": "checksum does not hold", "at": 9 });
        let mut facts = of(device(), vec![told(60, 305, &reject)]);
        assert_eq!(first(&facts), Cause::FrameRejected);
        assert!(diagnose(&facts)[0].says.contains("at byte 9"));
        facts.devices[0].newest = Some((NOW_US, NOW_US - 30_000_000));
        assert_eq!(first(&facts), Cause::Well);
        facts.devices[0].newest = Some((NOW_US, NOW_US - 2 * SILENT_US));
        assert_eq!(first(&facts), Cause::FrameRejected);
        facts.log.clear();
        assert_eq!(first(&facts), Cause::Silent);
    }

    #[test]
    fn who_nobody_has_registered_is_told_from_who_calls_elsewhere() {
        let unknown = UnknownFacts {
            last_us: NOW_US - 1,
            count: 3,
            ..UnknownFacts::default()
        };
        let mut facts = Facts {
            at_us: NOW_US,
            unknown: vec![unknown],
            ..Facts::default()
        };
        assert_eq!(first(&facts), Cause::UnknownIdent);
        facts.devices.push(device());
        assert_eq!(first(&facts), Cause::CallsElsewhere);
        assert_eq!(first(&of(device(), Vec::new())), Cause::NeverCalled);
        // that it was made and changed is no call of it
        let mut log = vec![told(9, 1, &json!({})), told(8, 2, &json!({}))];
        assert_eq!(first(&of(device(), log.clone())), Cause::NeverCalled);
        log.push(told(7, 101, &json!({})));
        assert_eq!(first(&of(device(), log)), Cause::Well);
        let nothing = Facts::default();
        assert_eq!(first(&nothing), Cause::NeverSeen);
    }

    #[test]
    fn strays_are_looked_at_only_where_nothing_surer_is_known() {
        let silent = told(
            9,
            102,
            &json!({ "close_code": 17, "recv": 0, "source": "192.0.2.1:9" }),
        );
        let mut other = told(5, 102, &json!({ "close_code": 19, "head": "7878" }));
        other.speaks = Some("gt06");
        let mut facts = of(device(), Vec::new());
        facts.strays = vec![silent.clone()];
        assert_eq!(first(&facts), Cause::SaysNothing);
        assert!(diagnose(&facts)[0].says.contains("another tracker"));
        facts.strays.push(other);
        assert_eq!(first(&facts), Cause::WrongProtocol);
        let mut hello = told(3, 102, &json!({ "close_code": 4, "head": "160301" }));
        facts.strays = vec![hello.clone()];
        assert_eq!(first(&facts), Cause::TlsUnexpected);
        hello.tls = true;
        facts.strays = vec![hello];
        assert_eq!(first(&facts), Cause::TlsExpected);
        for why in [
            "tls: received fatal alert: UnknownCA",
            "tls: peer is incompatible: x",
        ] {
            let mut failed = told(3, 102, &json!({ "close_code": 4, "why": why }));
            failed.tls = true;
            facts.strays = vec![failed];
            assert_eq!(first(&facts), Cause::TlsFailed);
        }
        facts.strays = vec![told(2, 102, &json!({ "close_code": 16 }))];
        assert_eq!(first(&facts), Cause::SourceNotAllowed);
        facts.log = vec![told(50, 9005, &json!({ "cause": "secret" }))];
        assert_eq!(first(&facts), Cause::WrongPassword);
    }

    #[test]
    fn the_data_itself_shows_a_wrong_clock_and_repetition() {
        let ahead = DeviceFacts {
            newest: Some((NOW_US + 3 * AHEAD_US, NOW_US)),
            ..device()
        };
        assert_eq!(first(&of(ahead, Vec::new())), Cause::ClockAhead);
        let again = told(1, 301, &json!({ "msgs": 0, "duplicates": 4 }));
        let sent = DeviceFacts {
            newest: Some((NOW_US, NOW_US - 9_000_000)),
            ..device()
        };
        assert_eq!(first(&of(sent, vec![again])), Cause::DuplicatesOnly);
        let taken = |ago| told(ago, 9004, &json!({ "source": "192.0.2.1:9" }));
        let shared = of(device(), vec![taken(1), taken(2)]);
        assert_eq!(first(&shared), Cause::IdentShared);
        assert_eq!(first(&of(device(), vec![taken(1)])), Cause::Well);
    }
}
