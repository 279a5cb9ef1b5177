//! What happens to connections, in the words of the event log.

use super::events::{ConnectionEvent, EventSink, Happened, Who};
use crate::events::{Code, Entry, Events, Origin};
use crate::router::Outcome;
use protocols::kit::hex;
use smallvec::{SmallVec, smallvec};

impl EventSink for Events {
    fn tell(&self, event: ConnectionEvent) -> bool {
        for entry in in_words(&event) {
            self.log_entry(&entry);
        }
        true
    }
}

/// The events of the log that one of a connection makes: the channel's, and the device's.
fn in_words(event: &ConnectionEvent) -> SmallVec<[Entry; 2]> {
    let channel = |code| {
        let origin = Origin::channel(event.channel);
        Entry::new(event.at_us, code, origin, event.owner)
            .with("connection_id", event.connection.0)
            .with("source", event.peer)
            .with("transport", "tcp")
    };
    let device = |code, who: &Who| {
        Entry::new(event.at_us, code, Origin::device(who.device), who.account)
            .with("channel_id", event.channel.0)
            .with("connection_id", event.connection.0)
            .with("ident", who.ident.as_str())
            .with("source", event.peer)
    };
    match &event.what {
        Happened::Accepted => smallvec![channel(Code::Accepted)],
        Happened::Identified(who) => smallvec![
            channel(Code::Identified).with("ident", who.ident.as_str()),
            device(Code::Connected, who),
        ],
        Happened::Closed {
            who,
            code,
            messages,
            received,
            sent,
            duplicates,
            lost,
            duration_us,
        } => {
            let figures = |event: Entry| {
                let event = match lost {
                    Some(lost) => event
                        .with("why", lost.why.as_str())
                        .with("head", hex::encode(&lost.head)),
                    None => event,
                };
                event
                    .with("close_code", code.number())
                    .with("msgs", *messages)
                    .with("duplicates", *duplicates)
                    .with("recv", *received)
                    .with("send", *sent)
                    .with("duration", *duration_us as f64 / 1e6)
            };
            let mut closed = figures(channel(Code::Closed));
            let mut events = SmallVec::new();
            if let Some(who) = who {
                closed = closed.with("ident", who.ident.as_str());
                if who.device.is_some() {
                    events.push(figures(device(Code::Disconnected, who)));
                }
            }
            events.insert(0, closed);
            events
        }
        Happened::Rejected {
            who,
            what,
            why,
            at,
            byte,
            frame,
        } => {
            let place = |event: Entry| {
                let event = event.with("what", *what).with("why", *why).with("at", *at);
                let event = match byte {
                    Some(byte) => event.with("byte", format!("{byte:02x}")),
                    None => event,
                };
                event.with("frame", hex::encode(frame))
            };
            match who {
                Some(who) if who.device.is_some() => {
                    smallvec![place(device(Code::FrameRejected, who))]
                }
                Some(who) => {
                    let event = channel(Code::FrameRejected);
                    smallvec![place(event.with("ident", who.ident.as_str()))]
                }
                None => smallvec![place(channel(Code::FrameRejected))],
            }
        }
        Happened::Refused { who, cause, limit } => {
            let event = if who.device.is_some() {
                device(Code::LoginRefused, who)
            } else {
                channel(Code::LoginRefused).with("ident", who.ident.as_str())
            };
            let event = event.with("cause", cause.name());
            smallvec![match limit {
                // how far above, and nothing else of what is above
                Some((dimension, levels)) => event
                    .with("dimension", dimension.name())
                    .with("levels_up", *levels),
                None => event,
            }]
        }
        Happened::Blocked {
            account,
            dimension,
            until_us,
            ..
        } => smallvec![
            Entry::new(
                event.at_us,
                Code::Blocked,
                Origin::customer(*account),
                *account,
            )
            .with("connection_id", event.connection.0)
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
        } => smallvec![
            // the device's account learns that its frame never fits; where, only the account itself
            device(Code::FrameTooDear, who).with("dimension", dimension.name()),
            Entry::new(
                event.at_us,
                Code::FrameTooDear,
                Origin::customer(*account),
                *account,
            )
            .with("connection_id", event.connection.0)
            .with("dimension", dimension.name())
            .with("asked", *asked)
            .with("limit", *cap),
        ],
        Happened::TakenOver { who, from } => {
            smallvec![device(Code::TakenOver, who).with("taken_from", from.0)]
        }
        Happened::CommandSent { who, id, name } => smallvec![
            device(Code::CommandSent, who)
                .with("command_id", *id)
                .with("name", name.as_str()),
        ],
        Happened::CommandEnded {
            who,
            id,
            name,
            outcome,
        } => {
            let code = if outcome.is_executed() {
                Code::CommandProcessed
            } else {
                Code::CommandFailed
            };
            let ended = device(code, who)
                .with("command_id", *id)
                .with("name", name.as_str())
                .with("outcome", outcome.name());
            smallvec![match outcome {
                Outcome::Answered(text) => ended.with("response", text.as_str()),
                Outcome::Wrong(why) => ended.with("reason", why.as_str()),
                _ => ended,
            }]
        }
        Happened::Flaps { who, takeovers } => {
            smallvec![device(Code::IdentFlaps, who).with("takeovers", *takeovers)]
        }
    }
}
