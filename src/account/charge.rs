//! Charges of whole chains: what a frame costs, who refuses it, and what is taken of a level.

use super::walk::{walk, walk_unasked};
use super::word::{BYTES_MAX, UNCAPPED};
use super::word::{FramesReading, MESSAGES_MAX, MINUTE_MAX, Metered, USE_MAX, shown_cap};
use super::{Account, Dimension, Kind, LEVELS_MAX, Refusal, Tree};
use smallvec::SmallVec;
use std::fmt;

/// What a frame costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Its bytes and those of the reply that accepts it.
    pub bytes: u64,
    /// Its messages.
    pub messages: u64,
}

/// A dimension of one account at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Admitted: in that minute, or there now.
    pub used: u64,
    /// Counted without being asked for ([`Account::charge_unchecked`]); not in `used`.
    pub usage: u64,
    /// The cap in force: [`super::NO_CAP`] if the account has none, 0 if it is disabled.
    pub cap: i64,
}

impl Reading {
    /// What is left under the account's own cap.
    pub fn left(&self) -> Option<u64> {
        let cap = u64::try_from(self.cap).ok()?;
        Some(cap.saturating_sub(self.used.saturating_add(self.usage)))
    }

    /// By how much the use is over the cap: it was lowered.
    pub fn over(&self) -> u64 {
        u64::try_from(self.cap).map_or(0, |cap| self.used.saturating_sub(cap))
    }
}

/// Shares a frame's bytes among its logins: equally, the first has the rest.
///
/// So that a parent's use stays the sum of its children's, an account that pays for one login of
/// several pays a share, and the account above all of them pays each byte once. The journal's fold
/// has to use the same function.
pub fn split_bytes(bytes: u64, parts: usize) -> impl Iterator<Item = u64> {
    let count = parts as u64;
    let share = bytes.checked_div(count).unwrap_or(0);
    let rest = bytes.checked_rem(count).unwrap_or(0);
    (0..count).map(move |part| if part == 0 { share + rest } else { share })
}

fn charge_frames(minute: u32, steps: &[(&Account, Cost)]) -> Result<u32, Refusal> {
    walk(
        minute,
        steps,
        |(account, cost), minute| {
            let frames = &account.node().frames;
            frames.add(minute, cost.bytes, cost.messages)
        },
        |(account, cost), minute| {
            let frames = &account.node().frames;
            frames.undo(minute, cost.bytes, cost.messages);
        },
    )
    .map_err(|(index, minute, full)| {
        let (account, cost) = steps[index];
        refusal_of_frame(account, minute, cost, &full)
    })
}

/// Which of the two dimensions did not fit. What never fits goes before what does not fit now,
/// bytes go before messages.
#[cold]
fn refusal_of_frame(account: &Account, minute: u32, cost: Cost, full: &FramesReading) -> Refusal {
    let dimensions = [
        (
            Dimension::ChannelTraffic,
            cost.bytes,
            full.used.bytes.saturating_add(full.usage.bytes),
            full.bytes_cap,
            BYTES_MAX,
        ),
        (
            Dimension::ChannelMessages,
            cost.messages,
            full.used.messages.saturating_add(full.usage.messages),
            full.messages_cap,
            MESSAGES_MAX,
        ),
    ];
    let never = dimensions
        .iter()
        .find(|(_, asked, _, cap, most)| *asked > (*cap).min(*most));
    let not_now = || {
        dimensions.iter().find(|(_, asked, used, cap, most)| {
            *asked > 0 && used.saturating_add(*asked) > (*cap).min(*most)
        })
    };
    let (dimension, asked, used, cap, most) = *never
        .or_else(not_now)
        .expect("a full window has a dimension that does not fit");
    Refusal::new(account, dimension, minute, asked, used, cap, most)
}

impl Account {
    /// This account's chain from the master on, each with the same amount.
    #[inline]
    fn steps<A: Copy>(&self, amount: A) -> ([(&Self, A); LEVELS_MAX], usize) {
        let mut steps = [(self, amount); LEVELS_MAX];
        for (step, ancestor) in steps.iter_mut().zip(self.ancestors()) {
            step.0 = ancestor;
        }
        (steps, usize::from(self.level()) + 1)
    }

    /// Charges a frame, or the sum of a batch of frames, to the whole chain or to none of it.
    ///
    /// Gives back the minute it was charged in: later than asked for if a window of the chain is. What
    /// is written of it has to be of that minute. It does not ask whether the chain is blocked:
    /// [`Account::blocked`] does, and has the time.
    pub fn charge(&self, minute: u32, cost: Cost) -> Result<u32, Refusal> {
        let (steps, len) = self.steps(cost);
        charge_frames(minute, &steps[..len])
    }

    /// Counts what cannot be refused (heartbeats, rejected frames): apart from what is admitted, but
    /// no longer free for what asks.
    pub fn charge_unchecked(&self, minute: u32, cost: Cost) {
        let (steps, len) = self.steps(());
        walk_unasked(minute, &steps[..len], |(account, ()), minute| {
            account
                .node()
                .frames
                .add_usage(minute, cost.bytes, cost.messages)
        });
    }

    /// Counts again, behind a start, what the journal says was admitted in a minute.
    pub fn restore(&self, minute: u32, cost: Cost) {
        let (steps, len) = self.steps(());
        walk_unasked(minute, &steps[..len], |(account, ()), minute| {
            account
                .node()
                .frames
                .restore(minute, cost.bytes, cost.messages)
        });
    }

    /// Charges a rate to the whole chain or to none of it. Of a frame's two dimensions it charges
    /// one alone.
    pub fn charge_rate(
        &self,
        dimension: Dimension,
        minute: u32,
        amount: u64,
    ) -> Result<(), Refusal> {
        debug_assert_eq!(dimension.kind(), Kind::Rate, "a level is acquired");
        match dimension {
            Dimension::ChannelTraffic => self.charge(
                minute,
                Cost {
                    bytes: amount,
                    messages: 0,
                },
            )?,
            Dimension::ChannelMessages => self.charge(
                minute,
                Cost {
                    bytes: 0,
                    messages: amount,
                },
            )?,
            _ => return self.charge_meter(dimension, minute, amount),
        };
        Ok(())
    }

    /// Counts again, behind a start, what the journal says of a rate in a minute, whatever the caps
    /// are now. Frames have [`Account::restore`].
    pub fn restore_rate(&self, dimension: Dimension, minute: u32, amount: u64) {
        debug_assert_eq!(dimension.kind(), Kind::Rate, "a level is occupied");
        let (bytes, messages) = match dimension {
            Dimension::ChannelTraffic => (amount, 0),
            Dimension::ChannelMessages => (0, amount),
            _ => {
                let (steps, len) = self.steps(());
                return walk_unasked(minute, &steps[..len], |(account, ()), minute| {
                    account.node().meter(dimension).add_unasked(minute, amount)
                });
            }
        };
        self.restore(minute, Cost { bytes, messages });
    }

    fn charge_meter(&self, dimension: Dimension, minute: u32, amount: u64) -> Result<(), Refusal> {
        let (steps, len) = self.steps(amount);
        walk(
            minute,
            &steps[..len],
            |(account, amount), minute| account.node().meter(dimension).add(minute, *amount),
            |(account, amount), minute| account.node().meter(dimension).undo(minute, *amount),
        )
        .map_or_else(
            |(index, minute, full): (usize, u32, Metered)| {
                let account = steps[index].0;
                let (used, cap) = (full.used, full.cap());
                Err(Refusal::new(
                    account, dimension, minute, amount, used, cap, USE_MAX,
                ))
            },
            |_| Ok(()),
        )
    }

    /// Takes of a level or a count, on the whole chain or nowhere. It is given back when the guard
    /// is dropped, unless it is kept.
    pub fn acquire(&self, dimension: Dimension, amount: u64) -> Result<Held, Refusal> {
        debug_assert_ne!(dimension.kind(), Kind::Rate, "a rate is charged");
        self.charge_meter(dimension, 0, amount)?;
        Ok(Held {
            account: self.clone(),
            dimension,
            amount,
        })
    }

    /// Takes without asking: what exists already when the gateway starts, or what is being moved
    /// in from another chain and was checked there.
    pub fn occupy(&self, dimension: Dimension, amount: u64) -> Held {
        debug_assert_ne!(dimension.kind(), Kind::Rate, "a rate is charged");
        let (steps, len) = self.steps(());
        walk_unasked(0, &steps[..len], |(account, ()), minute| {
            account.node().meter(dimension).add_unasked(minute, amount)
        });
        Held {
            account: self.clone(),
            dimension,
            amount,
        }
    }

    /// Gives back what was acquired and kept.
    pub fn release(&self, dimension: Dimension, amount: u64) {
        debug_assert_ne!(dimension.kind(), Kind::Rate, "a rate resets by itself");
        for account in self.chain() {
            account.node().meter(dimension).undo(0, amount);
        }
    }

    /// Admitted in that minute (a later one, if the window is there already), or there now.
    pub fn admitted(&self, dimension: Dimension, minute: u32) -> u64 {
        self.reading(dimension, minute).used
    }

    /// Use and cap of one instant.
    pub fn reading(&self, dimension: Dimension, minute: u32) -> Reading {
        let minute = minute.min(MINUTE_MAX);
        let node = self.node();
        match dimension {
            Dimension::ChannelTraffic => {
                let frames = node.frames.reading(minute);
                Reading {
                    used: frames.used.bytes,
                    usage: frames.usage.bytes,
                    cap: shown_cap(frames.bytes_cap),
                }
            }
            Dimension::ChannelMessages => {
                let frames = node.frames.reading(minute);
                Reading {
                    used: frames.used.messages,
                    usage: frames.usage.messages,
                    cap: shown_cap(frames.messages_cap),
                }
            }
            _ => {
                let minute = if dimension.kind() == Kind::Rate {
                    minute
                } else {
                    0
                };
                let metered = node.meter(dimension).reading(minute);
                Reading {
                    used: metered.used,
                    usage: 0,
                    cap: shown_cap(metered.cap()),
                }
            }
        }
    }
}

/// Steps that a frame's chains have before they need the heap: three logins.
const UNION_INLINE: usize = 3 * LEVELS_MAX;

type Union<'a> = SmallVec<[(&'a Account, Cost); UNION_INLINE]>;

/// The accounts of several chains, each once, the higher ones first.
fn union_of(bytes: u64, parts: &[(Account, u64)]) -> Union<'_> {
    let mut union = Union::new();
    for ((account, messages), bytes) in parts.iter().zip(split_bytes(bytes, parts.len())) {
        let cost = Cost {
            bytes,
            messages: *messages,
        };
        let (steps, len) = account.steps(cost);
        union.extend_from_slice(&steps[..len]);
    }
    union.sort_by_key(|(account, _)| (account.level(), account.id()));
    union.dedup_by(|(again, more), (first, cost)| {
        let same = again.id() == first.id();
        if same {
            cost.bytes = cost.bytes.saturating_add(more.bytes);
            cost.messages = cost.messages.saturating_add(more.messages);
        }
        same
    });
    union
}

impl Tree {
    /// Charges a frame of several logins: messages to each login's chain, bytes by
    /// [`split_bytes`], so that an account above all of them pays each byte once. All chains or
    /// none.
    pub fn charge_union(
        &self,
        minute: u32,
        bytes: u64,
        parts: &[(Account, u64)],
    ) -> Result<u32, Refusal> {
        charge_frames(minute, &union_of(bytes, parts))
    }
}

/// Taken of a level or a count; given back when dropped.
#[must_use = "dropped, it gives back at once"]
pub struct Held {
    account: Account,
    dimension: Dimension,
    amount: u64,
}

impl Held {
    /// Whose it is.
    pub const fn account(&self) -> &Account {
        &self.account
    }

    /// Forgets the guard: the item is durable, [`Account::release`] gives back.
    pub fn keep(mut self) {
        self.amount = 0;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.account.release(self.dimension, self.amount);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            account,
            dimension,
            amount,
        } = self;
        write!(f, "Held({amount} {dimension} of {account:?})")
    }
}

const _: () = assert!(UNCAPPED > USE_MAX, "no cap is above every cap");
