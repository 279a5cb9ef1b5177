//! What happens to connections, in the words of the event log.

use super::events::{ConnectionEvent, EventSink, Happened, Who};
use crate::events::{Code, Event, Events, Origin};
use crate::ids::AccountId;
use serde_json::Value;

impl EventSink for Events {
    fn tell(&self, event: ConnectionEvent) -> bool {
        for event in in_words(&event) {
            self.log(event);
        }
        true
    }
}

/// The events of the log that one of a connection makes: the channel's, and the device's.
fn in_words(event: &ConnectionEvent) -> Vec<Event> {
    let channel = |code, account: AccountId| {
        Event::new(event.at_us, code, Origin::channel(event.channel), account)
            .with("connection_id", event.connection.0)
            .with("source", event.peer.to_string())
            .with("transport", "tcp")
    };
    let device = |code, who: &Who| {
        Event::new(event.at_us, code, Origin::device(who.device), who.account)
            .with("channel_id", event.channel.0)
            .with("connection_id", event.connection.0)
            .with("ident", who.ident.as_str())
            .with("source", event.peer.to_string())
    };
    // the channel's own events are of the account that the reader finds the channel in
    let owner = AccountId::NONE;
    match &event.what {
        Happened::Accepted => vec![channel(Code::Accepted, owner)],
        Happened::Identified(who) => vec![
            channel(Code::Identified, owner).with("ident", who.ident.as_str()),
            device(Code::Connected, who),
        ],
        Happened::Closed {
            who,
            code,
            messages,
            received,
            sent,
            duration_us,
        } => {
            let figures = |event: Event| {
                event
                    .with("close_code", code.number())
                    .with("msgs", *messages)
                    .with("recv", *received)
                    .with("send", *sent)
                    .with("duration", Value::from(*duration_us as f64 / 1e6))
            };
            let mut closed = figures(channel(Code::Closed, owner));
            let mut events = Vec::new();
            if let Some(who) = who {
                closed = closed.with("ident", who.ident.as_str());
                if who.device.is_some() {
                    events.push(figures(device(Code::Disconnected, who)));
                }
            }
            events.insert(0, closed);
            events
        }
        Happened::Blocked {
            account,
            dimension,
            until_us,
            ..
        } => vec![
            Event::new(
                event.at_us,
                Code::Blocked,
                Origin::customer(*account),
                *account,
            )
            .with("blocked", dimension.blocked_code())
            .with("dimension", dimension.name())
            .with("until", *until_us as f64 / 1e6),
        ],
        Happened::TooLarge {
            who,
            account,
            dimension,
            asked,
            cap,
        } => vec![
            // the device's account learns that its frame never fits; where, only the account itself
            device(Code::FrameTooDear, who).with("dimension", dimension.name()),
            Event::new(
                event.at_us,
                Code::FrameTooDear,
                Origin::customer(*account),
                *account,
            )
            .with("dimension", dimension.name())
            .with("asked", *asked)
            .with("limit", *cap),
        ],
        Happened::TakenOver { who, from } => {
            vec![device(Code::TakenOver, who).with("taken_from", from.0)]
        }
        Happened::Flaps { who, takeovers } => {
            vec![device(Code::IdentFlaps, who).with("takeovers", *takeovers)]
        }
    }
}
