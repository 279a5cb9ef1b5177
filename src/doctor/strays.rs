//! What connections say on which nobody has named himself.

use super::cause::{Cause, Finding, finding};
use super::facts::{Facts, Told};

/// How a connection ended that could not be read.
const MISMATCHES: [i64; 3] = [4, 6, 19];
const WHITELIST: i64 = 16;
const INACTIVITY: i64 = 17;
// rustls' words for what the other side said, and for what it is
const ALERT: &str = "received fatal alert";
const INCOMPATIBLE: &str = "peer is incompatible";

/// Connections that nobody named himself on: the surest first.
pub(super) fn strays(facts: &Facts, found: &mut Vec<Finding>) {
    let newest_us = facts.newest_us();
    let later = facts.strays.iter().filter(|told| told.at_us > newest_us);
    let mut sure = Vec::new();
    let mut perhaps = Vec::new();
    for told in later {
        let Some((cause, says, todo)) = stray(told) else {
            continue;
        };
        let one = finding(cause, told.at_us, says, todo);
        if told.same_source || told.speaks.is_some() {
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

/// A cause, what is known of it, and what to do.
type Said = (Cause, String, String);

/// What one of them says, if anything.
fn stray(told: &Told) -> Option<Said> {
    let (source, channel) = (told.text("source"), told.channel);
    let said = |cause, says: String, todo: &str| Some((cause, says, todo.to_owned()));
    if let Some(speaks) = told.speaks {
        return said(
            Cause::WrongProtocol,
            format!(
                "from {source} it called channel {channel} in {speaks}, which the channel does not speak"
            ),
            &format!("point it at a channel of {speaks}, or make the channel `auto`"),
        );
    }
    match told.number("close_code") {
        code if MISMATCHES.contains(&code) => Some(mismatch(told)),
        WHITELIST => said(
            Cause::SourceNotAllowed,
            format!(
                "from {source} channel {channel} was called, and its `allow` does not have that address"
            ),
            "add the address's prefix to the channel's `allow`",
        ),
        INACTIVITY if told.number("recv") == 0 => said(
            Cause::SaysNothing,
            format!(
                "from {source} a connection to channel {channel} was open until it was closed, and nothing came"
            ),
            "the tracker (or what is between) connects and does not send: its server protocol, its \
             SIM's data plan, a proxy that holds the bytes",
        ),
        _ => None,
    }
}

/// The channel could not read what came: by TLS, without it, or in another protocol.
fn mismatch(told: &Told) -> Said {
    let (source, channel, why) = (told.text("source"), told.channel, told.text("why"));
    let tls_hello = told.text("head").starts_with("1603");
    let (cause, says, todo) = match (told.tls, tls_hello) {
        (false, true) => (
            Cause::TlsUnexpected,
            format!("from {source} channel {channel} was called by TLS, which it does not speak"),
            "turn TLS off in the tracker, or give the channel a certificate (`tls`)",
        ),
        (true, _) if why.contains(ALERT) => (
            Cause::TlsFailed,
            format!(
                "from {source} channel {channel} was called by TLS, and its certificate was not taken: {why}"
            ),
            "has it expired, is it for this host, does the tracker know its authority? \
             `openssl s_client -connect HOST:PORT` shows what is sent",
        ),
        (true, _) if why.contains(INCOMPATIBLE) => (
            Cause::TlsFailed,
            format!(
                "from {source} channel {channel} was called by a TLS that it does not speak: {why}"
            ),
            "TLS 1.2 and 1.3 are spoken: a newer firmware, or a channel without `tls`",
        ),
        (true, _) => (
            Cause::TlsExpected,
            format!("from {source} channel {channel} was called without TLS: {why}"),
            "turn TLS on in the tracker, or give it a channel without `tls`",
        ),
        (false, false) => (
            Cause::WrongProtocol,
            format!("from {source} channel {channel} was sent what no frame is: {why}"),
            "compare the tracker's protocol with the channel's",
        ),
    };
    (cause, says, todo.to_owned())
}
