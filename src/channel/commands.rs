//! Commands on their way to a device: taken from its queue, written by the protocol's session,
//! charged, and matched with what the tracker answers.
//!
//! A command goes to the device's present connection only, one at a time, and only when the tracker
//! is owed nothing else, so that it leaves in the turn in which the connection is found to be the
//! present one. It costs its bytes, as usage, on the device's chain; while a limit stands against that
//! it waits. It refuses to decide how often a command is tried: its queue knows.

use protocols::{CommandError, Delivery, Event, Reply};

use super::bounds::RETRY_MS;
use super::connection::{Core, Walk};
use super::events::{Happened, Who};
use super::frames::Span;
use super::logins::Known;
use crate::account::{Account, Cost, Totals};
use crate::ids::{DeviceId, US_PER_MINUTE, minute_of};
use crate::metrics::names;
use crate::router::{Command, Ended, Outcome, RESPONSE_BYTES_MAX};

/// What a connection has to do with commands.
pub(super) enum Commanding {
    /// One was sent and its answer is waited for.
    Sent {
        device: DeviceId,
        id: u64,
        key: Option<u32>,
        until_ms: i64,
    },
    /// A limit stands against sending one.
    NotBefore { at_ms: i64 },
}

impl Commanding {
    /// When it has to be looked at again, unix ms.
    pub(super) const fn until_ms(&self) -> i64 {
        match self {
            Self::Sent { until_ms, .. } => *until_ms,
            Self::NotBefore { at_ms } => *at_ms,
        }
    }
}

impl Core {
    /// The login that the session writes commands for, if its device is on this connection.
    fn commanded(&self) -> Option<&Known> {
        let known = self.talk.logins.get(usize::from(self.current?))?;
        let device = known.device.as_ref().filter(|_| known.is_admitted())?;
        let written_for = self.session_ident()?;
        (*written_for == known.ident && device.present() == self.handle.id()).then_some(known)
    }

    /// Can a command be sent as soon as the tracker is owed nothing?
    pub(super) fn command_is_due(&mut self) -> bool {
        if !self.command_due || self.commanding().is_some() {
            return false;
        }
        let worker = std::rc::Rc::clone(&self.worker);
        let commands = worker.deps().router.commands();
        let waits = self
            .commanded()
            .is_some_and(|known| commands.waits(known.device_id()));
        // of several idents another one may name itself next
        let shared = self.protocol.is_some_and(|protocol| protocol.info.shared);
        if !waits && (!shared || !commands.any()) {
            self.command_due = false;
        }
        waits
    }

    /// Does one wait for the tracker to be owed nothing else?
    pub(super) fn command_waits_for_replies(&self) -> bool {
        self.command_due && self.commanding().is_none() && !self.talk.replies.is_empty()
    }

    /// Takes the next command and hands its bytes to the queue of replies, or ends it if it cannot be
    /// written. Says whether another one may be next.
    pub(super) fn send_command(&mut self) -> bool {
        let worker = std::rc::Rc::clone(&self.worker);
        let commands = worker.deps().router.commands();
        let Some(known) = self.commanded() else {
            return false;
        };
        let (device, who) = (known.device_id(), known.who());
        let Some(account) = known.account().cloned() else {
            return false;
        };
        let Some(command) = commands.take(device, self.handle.id(), self.now_us) else {
            // another one is on its way, or they are over
            self.command_due = false;
            return false;
        };
        let mut bytes = Vec::new();
        let delivery = match self.encode(&command, &mut bytes) {
            Ok(delivery) => delivery,
            Err(error) => {
                let why = match error {
                    CommandError::Unsupported => {
                        format!("command definition {} is not found", command.name)
                    }
                    CommandError::BadProperties | CommandError::NotLoggedIn => error.to_string(),
                };
                let outcome = Outcome::Wrong(why);
                self.ended(
                    &who,
                    commands.finish(device, command.id, outcome, self.now_us),
                );
                return true;
            }
        };
        if let Err(at_ms) = self.pay_for(&account, bytes.len()) {
            commands.put_back(device, command.id);
            self.aside().commanding = Some(Box::new(Commanding::NotBefore { at_ms }));
            return false;
        }
        self.talk.replies.push(Reply::open(bytes), 0);
        worker.count(&names::COMMANDS, "sent", "");
        self.tell(Happened::CommandSent {
            who: who.clone(),
            id: command.id,
            name: command.name.clone(),
        });
        match delivery {
            Delivery::Unconfirmed => {
                let ended = commands.finish(device, command.id, Outcome::Sent, self.now_us);
                self.ended(&who, ended);
            }
            Delivery::Answered(key) => {
                self.aside().commanding = Some(Box::new(Commanding::Sent {
                    device,
                    id: command.id,
                    key,
                    until_ms: self.now_ms() + i64::from(command.timeout_ms),
                }));
            }
        }
        true
    }

    /// Charges a command's bytes. If they do not fit: when to try again, unix ms.
    fn pay_for(&mut self, account: &Account, bytes: usize) -> Result<(), i64> {
        let again_ms = |until_us: Option<i64>| {
            let until_ms = until_us.map(|us| us.div_euclid(1_000) + 1);
            until_ms.unwrap_or(0).max(self.now_ms() + RETRY_MS)
        };
        if let Some(blocked) = account.blocked(self.now_us) {
            return Err(again_ms(Some(blocked.until_us)));
        }
        let minute = minute_of(self.now_us);
        let cost = Cost {
            bytes: bytes as u64,
            messages: 0,
        };
        let charged = match account.charge(minute, cost) {
            Ok(charged) => charged,
            Err(refusal) => {
                self.log_refusal(&refusal, Some(account.id()));
                return Err(again_ms(refusal.resets_at_us));
            }
        };
        // others are in a later minute already, which has paid
        let at_us = if charged == minute {
            self.now_us
        } else {
            i64::from(charged).saturating_mul(US_PER_MINUTE)
        };
        let deltas = Totals {
            usage_bytes: bytes as u64,
            ..Totals::default()
        };
        let mut notes = self.worker.notes.borrow_mut();
        notes.usage(account.id(), at_us, deltas);
        Ok(())
    }

    /// Looks for the answer to the command that was sent in what a frame says.
    pub(super) fn hear_command_reply(&mut self, walk: &Walk, span: &Span) {
        let Some(Commanding::Sent {
            device, id, key, ..
        }) = self.commanding()
        else {
            return;
        };
        let (device, id, asked) = (*device, *id, *key);
        // an answer without a key answers what was asked last
        let answers = |key: &Option<u32>| key.is_none() || asked.is_none() || *key == asked;
        let events = walk.output.events.get(span.first..span.end);
        let found = events.into_iter().flatten().find_map(|event| match event {
            Event::CommandReply { key, text } if answers(key) => Some(text),
            _ => None,
        });
        let known = self
            .current
            .and_then(|at| self.talk.logins.get(usize::from(at)));
        let (Some(text), Some(known)) = (found, known.filter(|known| known.device_id() == device))
        else {
            return;
        };
        let who = known.who();
        let response: String = text.chars().take(RESPONSE_BYTES_MAX / 4).collect();
        let worker = std::rc::Rc::clone(&self.worker);
        let commands = worker.deps().router.commands();
        let ended = commands.finish(device, id, Outcome::Answered(response), self.now_us);
        self.ended(&who, ended);
        self.aside().commanding = None;
        self.command_due = true;
    }

    /// The time of what was waited for with commands has come, perhaps.
    pub(super) fn look_at_command(&mut self) {
        let now_ms = self.now_ms();
        if self
            .commanding()
            .is_some_and(|commanding| now_ms >= commanding.until_ms())
        {
            self.leave_command();
            self.command_due = true;
        }
    }

    /// Gives up waiting for an answer: the command waits for another try, or has ended.
    pub(super) fn leave_command(&mut self) {
        let commanding = self
            .aside
            .as_mut()
            .and_then(|aside| aside.commanding.take());
        let Some(Commanding::Sent { device, id, .. }) = commanding.map(|boxed| *boxed) else {
            return;
        };
        let worker = std::rc::Rc::clone(&self.worker);
        let router = &worker.deps().router;
        let ended = router.commands().unanswered(device, id, self.now_us);
        let of_device = |known: &&Known| known.device.as_ref().is_some_and(|d| d.id == device);
        let Some(known) = self.talk.logins.iter().find(of_device) else {
            return;
        };
        let mut who = known.who();
        who.device = device;
        let present = known.device.as_ref().map(|device| device.present());
        if ended.is_some() {
            self.ended(&who, ended);
        } else if let Some(present) = present.filter(|present| *present != self.handle.id()) {
            // it has gone on to another connection, which shall not have to come upon it
            router.command(present);
        }
    }

    fn ended(&self, who: &Who, ended: Option<Ended>) {
        let Some(Ended {
            command: Command { id, name, .. },
            outcome,
            ..
        }) = ended
        else {
            // it was taken back meanwhile
            return;
        };
        if outcome != Outcome::Sent {
            self.worker.count(&names::COMMANDS, outcome.name(), "");
        }
        self.tell(Happened::CommandEnded {
            who: who.clone(),
            id,
            name,
            outcome,
        });
    }
}
