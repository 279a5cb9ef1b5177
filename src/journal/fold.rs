//! What entries mean in numbers: the one fold that counters and statistics come from.
//!
//! A frame's bytes are shared among its logins by [`split_bytes`], as its charge was: an account above
//! all of them has each byte once, and a parent's numbers are its own plus its children's. `audit`
//! has a second fold of its own, on purpose.

use super::entry::{ConnectionWas, EntryRef, FrameRef};
use crate::account::{Cost, Dimension, Totals, Tree, split_bytes};
use crate::ids::{AccountId, minute_of};
use foldhash::{HashMap, HashMapExt as _};

/// Numbers gathered from entries, by minute and account.
#[derive(Default)]
pub(super) struct Fold {
    /// What is for an account and every account above it.
    by_leaf: HashMap<(u32, AccountId), Totals>,
    /// Entries that name an account which the tree does not know.
    pub(super) unknown: u64,
}

impl Fold {
    pub(super) fn new() -> Self {
        Self {
            by_leaf: HashMap::new(),
            unknown: 0,
        }
    }

    /// Adds an entry.
    pub(super) fn add(&mut self, entry: &EntryRef<'_>) {
        let minute = minute_of(entry.at_us());
        match entry {
            EntryRef::Frame(frame) => self.add_frame(minute, frame),
            EntryRef::Usage {
                account, deltas, ..
            } => self.leaf(minute, *account, *deltas),
            EntryRef::Connection {
                account,
                was: ConnectionWas::Opened,
                ..
            } if account.is_some() => self.leaf(
                minute,
                *account,
                Totals {
                    connections: 1,
                    ..Totals::default()
                },
            ),
            EntryRef::Part {
                account, bytes_in, ..
            } => self.leaf(
                minute,
                *account,
                Totals {
                    bytes_in: u64::from(*bytes_in),
                    ..Totals::default()
                },
            ),
            EntryRef::Dropped {
                account,
                bytes_in,
                bytes_out,
                messages,
                ..
            } => self.leaf(
                minute,
                *account,
                Totals {
                    dropped_bytes: u64::from(*bytes_in) + u64::from(*bytes_out),
                    dropped_messages: u64::from(*messages),
                    ..Totals::default()
                },
            ),
            EntryRef::Connection { .. }
            | EntryRef::Blocked { .. }
            | EntryRef::Cut { .. }
            | EntryRef::Lost { .. }
            | EntryRef::Deleted { .. } => {}
        }
    }

    fn add_frame(&mut self, minute: u32, frame: &FrameRef<'_>) {
        let count = usize::from(frame.part_count());
        let bytes_in = split_bytes(u64::from(frame.meta.bytes_in), count);
        let bytes_out = split_bytes(u64::from(frame.bytes_out), count);
        let frames = split_bytes(1, count);
        for (((part, bytes_in), bytes_out), frames) in
            frame.parts().zip(bytes_in).zip(bytes_out).zip(frames)
        {
            let deltas = Totals {
                bytes_in,
                bytes_out,
                messages: u64::from(part.messages),
                duplicates: u64::from(part.duplicates),
                frames,
                ..Totals::default()
            };
            self.leaf(minute, part.account, deltas);
        }
    }

    fn leaf(&mut self, minute: u32, account: AccountId, deltas: Totals) {
        *self.by_leaf.entry((minute, account)).or_default() += deltas;
    }

    /// What each account gets, in order; the fold is empty afterwards.
    pub(super) fn take(&mut self, tree: &Tree) -> Vec<((u32, AccountId), Totals)> {
        let mut all: HashMap<(u32, AccountId), Totals> = HashMap::new();
        let mut leaves: Vec<_> = self.by_leaf.drain().collect();
        leaves.sort_unstable_by_key(|(key, _)| *key);
        for ((minute, leaf), deltas) in leaves {
            let Some(account) = tree.account(leaf) else {
                self.unknown += 1;
                continue;
            };
            for account in account.chain() {
                *all.entry((minute, account.id())).or_default() += deltas;
            }
        }
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }
}

/// What was admitted in the newest minute: a start counts it again, or the minute would be given
/// twice.
#[derive(Default)]
pub(super) struct NewestMinute {
    minute: u32,
    admitted: Vec<(AccountId, Cost)>,
    usage: Vec<(AccountId, Totals)>,
}

impl NewestMinute {
    pub(super) fn add(&mut self, entry: &EntryRef<'_>) {
        let minute = minute_of(entry.at_us());
        if minute > self.minute {
            self.minute = minute;
            self.admitted.clear();
            self.usage.clear();
        }
        if minute < self.minute {
            return;
        }
        match entry {
            EntryRef::Frame(frame) => {
                let bytes = u64::from(frame.meta.bytes_in) + u64::from(frame.bytes_out);
                let shares = split_bytes(bytes, usize::from(frame.part_count()));
                self.admitted
                    .extend(frame.parts().zip(shares).map(|(part, bytes)| {
                        let messages = u64::from(part.messages);
                        (part.account, Cost { bytes, messages })
                    }));
            }
            EntryRef::Part {
                account, bytes_in, ..
            } => {
                let cost = Cost {
                    bytes: u64::from(*bytes_in),
                    messages: 0,
                };
                self.admitted.push((*account, cost));
            }
            EntryRef::Usage {
                account, deltas, ..
            } => self.usage.push((*account, *deltas)),
            _ => {}
        }
    }

    /// Counts it in the tree, if it is still that minute.
    pub(super) fn restore(self, tree: &Tree, now_us: i64) {
        if self.minute != minute_of(now_us) {
            return;
        }
        for (id, cost) in self.admitted {
            if let Some(account) = tree.account(id) {
                account.restore(self.minute, cost);
            }
        }
        for (id, deltas) in self.usage {
            if let Some(account) = tree.account(id) {
                let cost = Cost {
                    bytes: deltas.usage_bytes,
                    messages: 0,
                };
                account.charge_unchecked(self.minute, cost);
                for (dimension, amount) in [
                    (Dimension::ApiCalls, deltas.api_calls),
                    (Dimension::ApiTraffic, deltas.api_traffic),
                ] {
                    if amount > 0 && account.charge_rate(dimension, self.minute, amount).is_err() {
                        tracing::debug!(account = %id, "its calls of this minute fill its limit");
                    }
                }
            }
        }
    }
}
