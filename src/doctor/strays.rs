//! What connections say on which nobody has named himself.

use super::cause::{Cause, Finding, finding};
use super::facts::Facts;

/// Connections that nobody named himself on: the surest first.
pub(super) fn strays(facts: &Facts, found: &mut Vec<Finding>) {
    const MISMATCHES: [i64; 3] = [4, 6, 19];
    const WHITELIST: i64 = 16;
    const INACTIVITY: i64 = 17;
    // rustls' words for what the other side said, and for what it is
    const ALERT: &str = "received fatal alert";
    const INCOMPATIBLE: &str = "peer is incompatible";
    let newest_us = facts.newest_us();
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
