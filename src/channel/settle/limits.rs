//! What a limit means for the frame it stands against: it waits, is thrown away behind a durable
//! entry, or is refused for good.

use protocols::{Cause, Event, Record};

use super::store::{devices_of, windows_of};
use super::{Limit, Payer, limit_of_refusal, saturated};
use crate::account::{Account, Blocked, Dimension, Policy, Refusal, Totals};
use crate::channel::bounds::RETRY_MS;
use crate::channel::connection::{Core, Parking, Wait, Walk};
use crate::channel::events::Happened;
use crate::channel::logins::Known;
use crate::ids::AccountId;
use crate::journal::Note;
use crate::metrics::names;
use crate::registry::RecordKey;
use crate::router::CloseCode;

impl Core {
    /// What blocks `account`, who may not use it now: counted as its no.
    pub(super) fn limit_of(&self, blocked: &Blocked, account: AccountId) -> Limit {
        self.count_refusal(blocked.dimension, Some(account));
        let tree = self.worker.deps().registry.tree();
        let at = tree.account(blocked.account);
        let rules = at.as_ref().map(Account::rules).unwrap_or_default();
        Limit {
            dimension: blocked.dimension,
            level: at.as_ref().map_or(0, Account::level),
            policy: rules.policy,
            park_ms_max: rules.park_ms_max,
            // storage is free again when a count finds it so, which nobody knows beforehand
            until_us: match blocked.dimension {
                Dimension::ChannelStorage | Dimension::DeviceStorage => None,
                _ => Some(blocked.until_us),
            },
        }
    }

    /// A no to what `account` would have paid goes into its statistics.
    fn count_refusal(&self, dimension: Dimension, account: Option<AccountId>) {
        if let Some(account) = account {
            let mut notes = self.worker.notes.borrow_mut();
            notes.usage(account, self.now_us, Totals::refusal(dimension));
        }
    }

    /// A refusal is counted, and blocks the account that refused: journaled and told once.
    /// `account`: who would have paid.
    pub(in crate::channel) fn log_refusal(&self, refusal: &Refusal, account: Option<AccountId>) {
        if !refusal.disabled {
            self.count_refusal(refusal.dimension, account);
        }
        self.worker.count(
            &names::REFUSALS,
            refusal.dimension.name(),
            refusal.policy.name(),
        );
        if let Some(until_us) = refusal.block(self.now_us) {
            self.worker.notes.borrow_mut().add(&Note::Blocked {
                at_us: self.now_us,
                account: refusal.account,
                dimension: refusal.dimension.number(),
                until_us,
            });
            if let Some(who) = self.talk.logins.last().map(Known::who) {
                self.tell(Happened::Blocked {
                    who,
                    account: refusal.account,
                    dimension: refusal.dimension,
                    until_us,
                });
            }
        }
    }

    /// The tree has refused the frame at `walk.at`.
    pub(super) fn meet_refusal(&mut self, walk: &mut Walk, refusal: &Refusal) -> Option<Wait> {
        let payer = self.logins_of(walk).first().copied().and_then(|login| {
            let known = self.talk.logins.get(usize::from(login))?;
            known.account().map(Account::id)
        });
        self.log_refusal(refusal, payer);
        let code = if refusal.disabled {
            CloseCode::DeviceDisabled
        } else if refusal.too_large {
            let who = self.logins_of(walk).first().copied().and_then(|login| {
                let known = self.talk.logins.get(usize::from(login))?;
                Some(known.who())
            });
            if let Some(who) = who {
                self.tell(Happened::TooLarge {
                    who,
                    account: refusal.account,
                    dimension: refusal.dimension,
                    asked: refusal.asked,
                    cap: refusal.cap,
                });
            }
            CloseCode::DeviceBlocked
        } else {
            return self.meet(walk, &limit_of_refusal(refusal));
        };
        let cause = if refusal.disabled {
            Cause::Blocked
        } else {
            Cause::Limit
        };
        let login = self.logins_of(walk).first().copied();
        self.tell_refused(login, cause, Some((refusal.dimension, refusal.level)));
        self.refuse_frame(walk, cause, None);
        walk.at += 1;
        self.end_gracefully(code);
        None
    }

    /// A limit stands against the frame at `walk.at`: it waits, or is thrown away and acked.
    pub(super) fn meet(&mut self, walk: &mut Walk, limit: &Limit) -> Option<Wait> {
        let admitted = self
            .logins_of(walk)
            .iter()
            .all(|login| self.is_good(*login));
        if limit.policy == Policy::Drop && admitted {
            return self.drop_frame(walk, limit);
        }
        let login = self.logins_of(walk).first().copied();
        self.tell_refused(login, Cause::Limit, Some((limit.dimension, limit.level)));
        let now_ms = self.now_ms();
        let until_ms = limit.until_us.map(|us| us.div_euclid(1_000) + 1);
        Some(Wait::Parked(Parking {
            cause: Cause::Limit,
            retry_ms: until_ms.unwrap_or(now_ms + RETRY_MS).max(now_ms + 1),
            until_ms: now_ms + i64::from(limit.park_ms_max),
            code: CloseCode::ChannelBlocked,
            tell: true,
        }))
    }

    /// Policy `drop`: what flespi does. Acked and thrown away, behind a durable entry that says so.
    fn drop_frame(&mut self, walk: &mut Walk, limit: &Limit) -> Option<Wait> {
        let span = walk.spans.get(walk.at)?.clone();
        let range = walk.at..walk.at + 1;
        let payers = self.payers_of(walk, &range);
        let devices = devices_of(&payers);
        // held until the append, as for what is stored: a move falls before it or behind it
        let windows = windows_of(&devices);
        if payers.iter().any(Payer::has_changed) {
            self.end_at_once(CloseCode::DeviceChanged);
            return None;
        }
        let mut batch = self.worker.batch.take();
        batch.clear();
        let at_us = self.channel.stamp(self.now_us);
        let mut left = (span.bytes, span.reply_bytes);
        let mut thrown_away = 0;
        for (payer, window) in payers.iter().zip(&windows) {
            let events = walk.output.events.get(span.first..span.end);
            let is_new = |event: &&Event| {
                let Event::Message { login, range } = event else {
                    return false;
                };
                // what is stored already is not thrown away
                let record = walk.output.bytes.get(range.clone()).and_then(Record::read);
                let key = record.as_ref().and_then(RecordKey::of);
                let both = key.zip(window.as_ref());
                let known = both.is_some_and(|(key, window)| window.holds(key));
                *login == payer.login && !known
            };
            let messages = events.into_iter().flatten().filter(is_new).count();
            let (bytes_in, bytes_out) = std::mem::take(&mut left);
            Note::Dropped {
                at_us,
                channel: self.channel.id,
                ident: &payer.ident,
                device: payer.device_id,
                account: payer.account.id(),
                bytes_in: saturated(bytes_in),
                bytes_out: saturated(bytes_out),
                messages: saturated(messages),
                dimension: limit.dimension.number(),
                level: limit.level,
            }
            .write(&mut batch);
            thrown_away += messages as u64;
        }
        let bytes = batch.len();
        let Some(permit) = self.room(walk, bytes) else {
            self.worker.batch.replace(batch);
            return Some(Wait::Room { bytes });
        };
        let position = self.worker.append(permit, &mut batch, self.now_us);
        self.worker.batch.replace(batch);
        self.tally.dropped.add(thrown_away);
        self.talk.replies.stored(position);
        self.answer(walk, walk.at, false);
        walk.at += 1;
        None
    }
}
