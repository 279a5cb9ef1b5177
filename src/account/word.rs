//! The words that a charge exchanges: window, use and cap (or the cap's version) in one.
//!
//! 128 bits, by `cmpxchg16b` or its like. In 64 there is no room for the cap, and a use that was
//! tested against a cap in another word could be exchanged after the cap was lowered.

use super::atomics::{AtomicU64, AtomicU128, Ordering};

/// Bits of a minute since 1970: until 2097.
const MINUTE_BITS: u32 = 26;
/// The last minute that a word can hold.
pub(super) const MINUTE_MAX: u32 = (1 << MINUTE_BITS) - 1;

/// Bits of the bytes of one minute: 256 GiB.
const BYTES_BITS: u32 = 38;
pub(super) const BYTES_MAX: u64 = (1 << BYTES_BITS) - 1;
/// Bits of the messages of one minute, and of the caps' revision.
const MESSAGES_BITS: u32 = 32;
pub(super) const MESSAGES_MAX: u64 = (1 << MESSAGES_BITS) - 1;

/// In place of a cap: none.
pub(super) const UNCAPPED: u64 = u64::MAX;

/// A cap as it is stored: negative is none.
fn stored_cap(cap: i64) -> u64 {
    u64::try_from(cap).unwrap_or(UNCAPPED)
}

/// A stored cap as rules have it.
pub(super) fn shown_cap(cap: u64) -> i64 {
    if cap == UNCAPPED {
        super::NO_CAP
    } else {
        i64::try_from(cap).unwrap_or(i64::MAX)
    }
}

/// Why nothing was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied<T> {
    /// The window is a later one: this minute.
    Later(u32),
    /// It does not fit. What was there, and the caps it was tested against.
    Full(T),
}

/// What the frame window of an account holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Frames {
    pub(super) minute: u32,
    pub(super) bytes: u64,
    pub(super) messages: u64,
    pub(super) revision: u32,
}

impl Frames {
    const fn pack(self) -> u128 {
        (self.minute as u128) << (BYTES_BITS + 2 * MESSAGES_BITS)
            | (self.bytes as u128) << (2 * MESSAGES_BITS)
            | (self.messages as u128) << MESSAGES_BITS
            | self.revision as u128
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "each part is masked or shifted to fit"
    )]
    const fn unpack(word: u128) -> Self {
        Self {
            minute: (word >> (BYTES_BITS + 2 * MESSAGES_BITS)) as u32,
            bytes: (word >> (2 * MESSAGES_BITS)) as u64 & BYTES_MAX,
            messages: (word >> MESSAGES_BITS) as u64 & MESSAGES_MAX,
            revision: word as u32,
        }
    }

    /// As seen from a minute: a window that is over holds nothing.
    const fn at(self, minute: u32) -> Self {
        if self.minute >= minute {
            self
        } else {
            Self {
                minute,
                bytes: 0,
                messages: 0,
                revision: self.revision,
            }
        }
    }
}

/// One account's frame window as it was at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FramesReading {
    pub(super) used: Frames,
    pub(super) usage: Frames,
    pub(super) bytes_cap: u64,
    pub(super) messages_cap: u64,
}

/// Bytes and messages of one account in this minute, with their caps: one cache line.
///
/// The caps in force are those of the slot that the revision's last bit names. New caps are written
/// into the other slot, then the revision is raised: so caps and use change in one exchange, and a
/// charge that was tested against the caps before fails its exchange.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct FrameWindow {
    used: AtomicU128,
    /// What was never asked for: counted apart, tested with.
    usage: AtomicU128,
    /// Slots of (bytes, messages).
    caps: [[AtomicU64; 2]; 2],
}

impl FrameWindow {
    pub(super) const fn new() -> Self {
        Self {
            used: AtomicU128::new(0),
            usage: AtomicU128::new(0),
            caps: [const { [const { AtomicU64::new(UNCAPPED) }; 2] }; 2],
        }
    }

    #[inline]
    fn caps_of(&self, revision: u32) -> (u64, u64) {
        let [bytes, messages] = &self.caps[(revision & 1) as usize];
        (
            bytes.load(Ordering::Acquire),
            messages.load(Ordering::Acquire),
        )
    }

    /// Adds both or neither.
    #[inline]
    pub(super) fn add(
        &self,
        minute: u32,
        bytes: u64,
        messages: u64,
    ) -> Result<(), Denied<FramesReading>> {
        let mut word = self.used.load(Ordering::Acquire);
        loop {
            let stored = Frames::unpack(word);
            if stored.minute > minute {
                return Err(Denied::Later(stored.minute));
            }
            let used = stored.at(minute);
            let usage = Frames::unpack(self.usage.load(Ordering::Relaxed)).at(minute);
            let (bytes_cap, messages_cap) = self.caps_of(used.revision);
            if !fits(used.bytes, usage.bytes, bytes, bytes_cap.min(BYTES_MAX))
                || !fits(
                    used.messages,
                    usage.messages,
                    messages,
                    messages_cap.min(MESSAGES_MAX),
                )
            {
                // the word may have moved on since: a refusal must be true of one instant
                let now = self.used.load(Ordering::Acquire);
                if now == word {
                    return Err(Denied::Full(FramesReading {
                        used,
                        usage,
                        bytes_cap,
                        messages_cap,
                    }));
                }
                word = now;
                continue;
            }
            let next = Frames {
                bytes: used.bytes + bytes,
                messages: used.messages + messages,
                ..used
            };
            match self.used.compare_exchange_weak(
                word,
                next.pack(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
    }

    /// Takes back what was added in that minute, unless its window is over.
    pub(super) fn undo(&self, minute: u32, bytes: u64, messages: u64) {
        exchange(&self.used, |word| {
            let stored = Frames::unpack(word);
            debug_assert!(
                stored.minute != minute || stored.bytes >= bytes && stored.messages >= messages,
                "only what was added is undone"
            );
            (stored.minute == minute).then(|| {
                Frames {
                    bytes: stored.bytes.saturating_sub(bytes),
                    messages: stored.messages.saturating_sub(messages),
                    ..stored
                }
                .pack()
            })
        });
    }

    /// Adds without asking: what the journal says was admitted.
    pub(super) fn restore(&self, minute: u32, bytes: u64, messages: u64) -> Result<(), u32> {
        add_unasked(&self.used, minute, bytes, messages)
    }

    /// Adds what is never refused.
    pub(super) fn add_usage(&self, minute: u32, bytes: u64, messages: u64) -> Result<(), u32> {
        add_unasked(&self.usage, minute, bytes, messages)
    }

    /// Puts new caps in force. One caller at a time.
    pub(super) fn set_caps(&self, bytes: i64, messages: i64) {
        let revision = Frames::unpack(self.used.load(Ordering::Acquire)).revision;
        let next = revision.wrapping_add(1);
        let slot = &self.caps[(next & 1) as usize];
        slot[0].store(stored_cap(bytes), Ordering::Release);
        slot[1].store(stored_cap(messages), Ordering::Release);
        exchange(&self.used, |word| {
            let stored = Frames::unpack(word);
            Some(
                Frames {
                    revision: next,
                    ..stored
                }
                .pack(),
            )
        });
    }

    /// Use and caps of one instant.
    pub(super) fn reading(&self, minute: u32) -> FramesReading {
        loop {
            let used = Frames::unpack(self.used.load(Ordering::Acquire));
            let usage = Frames::unpack(self.usage.load(Ordering::Acquire));
            let (bytes_cap, messages_cap) = self.caps_of(used.revision);
            let again = Frames::unpack(self.used.load(Ordering::Acquire));
            if again.revision == used.revision {
                return FramesReading {
                    used: used.at(minute),
                    usage: usage.at(minute),
                    bytes_cap,
                    messages_cap,
                };
            }
        }
    }
}

/// Is there room? What asks for nothing always fits.
#[inline]
const fn fits(used: u64, usage: u64, amount: u64, cap: u64) -> bool {
    amount == 0 || used.saturating_add(usage).saturating_add(amount) <= cap
}

fn add_unasked(at: &AtomicU128, minute: u32, bytes: u64, messages: u64) -> Result<(), u32> {
    let mut later = None;
    exchange(at, |word| {
        let stored = Frames::unpack(word);
        if stored.minute > minute {
            later = Some(stored.minute);
            return None;
        }
        later = None;
        let used = stored.at(minute);
        Some(
            Frames {
                bytes: used.bytes.saturating_add(bytes).min(BYTES_MAX),
                messages: used.messages.saturating_add(messages).min(MESSAGES_MAX),
                ..used
            }
            .pack(),
        )
    });
    later.map_or(Ok(()), Err)
}

/// Exchanges until it succeeds or `next` has nothing to put.
fn exchange(at: &AtomicU128, mut next: impl FnMut(u128) -> Option<u128>) {
    let mut word = at.load(Ordering::Acquire);
    while let Some(new) = next(word) {
        match at.compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return,
            Err(now) => word = now,
        }
    }
}

/// Bits of a meter's use and of its cap: 2 PiB.
const USE_BITS: u32 = 51;
pub(super) const USE_MAX: u64 = (1 << USE_BITS) - 1;

/// What a meter holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Metered {
    pub(super) minute: u32,
    pub(super) used: u64,
    /// [`USE_MAX`] is none.
    cap: u64,
}

impl Metered {
    const fn pack(self) -> u128 {
        (self.minute as u128) << (2 * USE_BITS) | (self.used as u128) << USE_BITS | self.cap as u128
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "each part is masked or shifted to fit"
    )]
    const fn unpack(word: u128) -> Self {
        Self {
            minute: (word >> (2 * USE_BITS)) as u32,
            used: (word >> USE_BITS) as u64 & USE_MAX,
            cap: word as u64 & USE_MAX,
        }
    }

    const fn at(self, minute: u32) -> Self {
        if self.minute >= minute {
            self
        } else {
            Self {
                minute,
                used: 0,
                cap: self.cap,
            }
        }
    }

    /// The cap as [`UNCAPPED`] or a number.
    pub(super) const fn cap(self) -> u64 {
        if self.cap == USE_MAX {
            UNCAPPED
        } else {
            self.cap
        }
    }
}

/// One dimension of one account: window, use and cap. A level is a meter whose minute is always 0.
#[derive(Debug)]
pub(super) struct Meter(AtomicU128);

impl Meter {
    pub(super) const fn new() -> Self {
        Self(AtomicU128::new(USE_MAX as u128))
    }

    /// Adds, if it fits.
    pub(super) fn add(&self, minute: u32, amount: u64) -> Result<(), Denied<Metered>> {
        let mut denied = None;
        exchange(&self.0, |word| {
            denied = None;
            let stored = Metered::unpack(word);
            if stored.minute > minute {
                denied = Some(Denied::Later(stored.minute));
                return None;
            }
            let metered = stored.at(minute);
            if !fits(metered.used, 0, amount, metered.cap) {
                denied = Some(Denied::Full(metered));
                return None;
            }
            Some(
                Metered {
                    used: metered.used + amount,
                    ..metered
                }
                .pack(),
            )
        });
        denied.map_or(Ok(()), Err)
    }

    /// Adds without asking.
    pub(super) fn add_unasked(&self, minute: u32, amount: u64) -> Result<(), u32> {
        let mut later = None;
        exchange(&self.0, |word| {
            later = None;
            let stored = Metered::unpack(word);
            if stored.minute > minute {
                later = Some(stored.minute);
                return None;
            }
            let metered = stored.at(minute);
            Some(
                Metered {
                    used: metered.used.saturating_add(amount).min(USE_MAX),
                    ..metered
                }
                .pack(),
            )
        });
        later.map_or(Ok(()), Err)
    }

    /// Takes back what was added in that minute, unless its window is over.
    pub(super) fn undo(&self, minute: u32, amount: u64) {
        exchange(&self.0, |word| {
            let stored = Metered::unpack(word);
            debug_assert!(
                stored.minute != minute || stored.used >= amount,
                "only what was added is undone"
            );
            (stored.minute == minute).then(|| {
                Metered {
                    used: stored.used.saturating_sub(amount),
                    ..stored
                }
                .pack()
            })
        });
    }

    /// Puts a new cap in force.
    pub(super) fn set_cap(&self, cap: i64) {
        let cap = stored_cap(cap).min(USE_MAX);
        exchange(&self.0, |word| {
            Some(
                Metered {
                    cap,
                    ..Metered::unpack(word)
                }
                .pack(),
            )
        });
    }

    /// Use and cap of one instant.
    pub(super) fn reading(&self, minute: u32) -> Metered {
        Metered::unpack(self.0.load(Ordering::Acquire)).at(minute)
    }
}
