//! What is journaled beside frames: usage without a message, connections, blocks.
//!
//! Nothing is acked against it, so it is added up per account and handed to the journal a few times
//! a second; [`USAGE_MS_MAX`] is what a crash may lose of it. It never waits: without room in the
//! journal's queue it stays here. Usage stays added up (its size is bounded by the number of
//! accounts); other notes beyond [`NOTES_WAITING_MAX`] are given up and counted.

use std::collections::BTreeMap;

use crate::account::Totals;
use crate::ids::{AccountId, minute_of};
use crate::journal::{Batch, Journal, Note};

use super::bounds::{NOTES_WAITING_MAX, USAGE_ACCOUNTS_MAX, USAGE_MS_MAX};

struct Usage {
    at_us: i64,
    deltas: Totals,
}

/// The notes of one worker.
#[derive(Default)]
pub(super) struct Notes {
    usage: BTreeMap<AccountId, Usage>,
    /// When the oldest usage arose.
    since_us: Option<i64>,
    ready: Batch,
    pub(super) lost: u64,
}

impl Notes {
    /// Adds usage of an account. It is journaled in the minute that it arose in.
    pub(super) fn usage(&mut self, account: AccountId, at_us: i64, deltas: Totals) {
        self.since_us.get_or_insert(at_us);
        let usage = self.usage.entry(account).or_insert_with(|| Usage {
            at_us,
            deltas: Totals::default(),
        });
        // without room it stays added up, in the later minute: what waits must not grow by the minute
        let room = (self.ready.count() as usize) < NOTES_WAITING_MAX;
        if room && minute_of(usage.at_us) != minute_of(at_us) {
            Note::Usage {
                at_us: usage.at_us,
                account,
                deltas: &std::mem::take(&mut usage.deltas),
            }
            .write(&mut self.ready);
        }
        usage.at_us = at_us;
        usage.deltas += deltas;
    }

    /// Adds another note.
    pub(super) fn add(&mut self, note: &Note<'_>) {
        if self.ready.count() as usize >= NOTES_WAITING_MAX {
            self.lost += 1;
        } else {
            note.write(&mut self.ready);
        }
    }

    fn usage_is_due(&self, now_us: i64) -> bool {
        self.usage.len() >= USAGE_ACCOUNTS_MAX
            || self
                .since_us
                // half of it, because the journal takes its time too
                .is_some_and(|since| now_us - since >= USAGE_MS_MAX * 1_000 / 2)
    }

    /// Hands over what is due (`all`: everything), if the journal has room.
    pub(super) fn hand_over(&mut self, journal: &Journal, now_us: i64, all: bool) {
        let room = (self.ready.count() as usize) < NOTES_WAITING_MAX;
        if (all || self.usage_is_due(now_us)) && room {
            for (account, usage) in std::mem::take(&mut self.usage) {
                Note::Usage {
                    at_us: usage.at_us,
                    account,
                    deltas: &usage.deltas,
                }
                .write(&mut self.ready);
            }
            self.since_us = None;
        }
        if !self.ready.is_empty()
            && let Some(permit) = journal.try_permit(self.ready.len())
        {
            journal.append(permit, &mut self.ready);
            self.ready.shrink_to(64 * 1024);
        }
    }

    /// Is there nothing left to hand over?
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.usage.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::US_PER_MINUTE;

    #[test]
    fn usage_that_finds_no_room_for_hours_stays_added_up() {
        let mut notes = Notes::default();
        let deltas = Totals {
            usage_bytes: 1,
            ..Totals::default()
        };
        let minutes = i64::try_from(NOTES_WAITING_MAX).unwrap() + 500;
        for minute in 0..minutes {
            notes.usage(AccountId(1), minute * US_PER_MINUTE, deltas);
        }
        assert!(notes.ready.count() as usize <= NOTES_WAITING_MAX);
        let kept = notes.usage.values().map(|usage| usage.deltas.usage_bytes);
        let waiting = u64::from(notes.ready.count());
        assert_eq!(waiting + kept.sum::<u64>(), u64::try_from(minutes).unwrap());
    }
}
