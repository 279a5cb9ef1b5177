//! What comes too often: refused logins that come straight back, idents that two connections take
//! from each other, and an account's devices that all call at once.
//!
//! Looked at when a login is refused or admitted and when a device is taken over, never for a frame.
//! All are answered by patience: the connection is parked unread, so that what storms waits in the
//! tracker. The tables are bounded; what is beyond the bound is treated as if it came for the first time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use crate::ids::{AccountId, ChannelId, DeviceId, Ident};

use super::bounds::{STORM_SWEEP_MS, STORMS_MAX, TAKEOVER_WINDOW_MS};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Whose login, where: what is refused on one channel says nothing of another.
pub(super) type LoginKey = (ChannelId, u16, Ident);

/// Something of each key lately, at most [`STORMS_MAX`] of them.
#[derive(Debug)]
struct Lately<K, V> {
    of: Map<K, V>,
    swept_ms: i64,
}

impl<K, V> Default for Lately<K, V> {
    fn default() -> Self {
        Self {
            of: Map::default(),
            swept_ms: i64::MIN,
        }
    }
}

impl<K: Hash + Eq, V> Lately<K, V> {
    /// Is there room for `key`? Forgets what is over when there is none, but not at every call.
    fn has_room(&mut self, key: &K, now_ms: i64, lasts: impl Fn(&V) -> bool) -> bool {
        if self.of.len() < STORMS_MAX || self.of.contains_key(key) {
            return true;
        }
        if now_ms.saturating_sub(self.swept_ms) >= STORM_SWEEP_MS || now_ms < self.swept_ms {
            self.swept_ms = now_ms;
            self.of.retain(|_, value| lasts(value));
        }
        self.of.len() < STORMS_MAX
    }
}

/// Takeovers of one device.
#[derive(Debug, Clone, Copy)]
struct Takeovers {
    since_ms: i64,
    count: u32,
    told: bool,
}

impl Takeovers {
    fn lasts(&self, now_ms: i64) -> bool {
        (self.since_ms..self.since_ms + TAKEOVER_WINDOW_MS).contains(&now_ms)
    }
}

/// Logins of one account in one second.
#[derive(Debug, Clone, Copy)]
struct Logins {
    second: i64,
    /// Turns of this second that are taken.
    taken: u32,
    /// Those that wait for a turn in a later second.
    waiting: u32,
}

/// May a device be taken over?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Yes.
    Taken,
    /// Not before this time, unix ms.
    NotBefore {
        /// When its window is over.
        at_ms: i64,
        /// How often it was taken over in this window; given once a window, to be told.
        tell: Option<u32>,
    },
}

/// What came too often, of the whole room.
#[derive(Debug, Default)]
pub(super) struct Storms {
    refused: Mutex<Lately<LoginKey, i64>>,
    takeovers: Mutex<Lately<DeviceId, Takeovers>>,
    logins: Mutex<Lately<AccountId, Logins>>,
}

impl Storms {
    /// May a refusal of this ident's login be answered now? If so it counts as answered; if not,
    /// when it may, unix ms.
    pub(super) fn may_answer(&self, key: LoginKey, now_ms: i64, every_ms: i64) -> Result<(), i64> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        // a time in the future is of a clock that was set back
        let lasts = |at: &i64| *at <= now_ms && now_ms < at.saturating_add(every_ms);
        if let Some(at) = refused.of.get(&key).filter(|at| lasts(at)) {
            return Err(at.saturating_add(every_ms));
        }
        if refused.has_room(&key, now_ms, lasts) {
            refused.of.insert(key, now_ms);
        }
        Ok(())
    }

    /// A device of this account comes on a new connection: at most `most` in a second. If it has to
    /// wait: when its turn is, unix ms, which is kept for it; whoever comes later goes behind it.
    pub(super) fn log_in(&self, account: AccountId, now_ms: i64, most: u32) -> Result<(), i64> {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now_ms.div_euclid(1_000);
        let lasts = |one: &Logins| one.second == second || one.waiting > 0;
        if !logins.has_room(&account, now_ms, lasts) {
            return Ok(());
        }
        let most = most.max(1);
        let one = logins.of.entry(account).or_insert(Logins {
            second,
            taken: 0,
            waiting: 0,
        });
        // those that wait have the turns of the seconds that have begun since
        let begun = u32::try_from(second - one.second).ok();
        if let Some(begun) = begun.filter(|begun| *begun > 0) {
            let before = most.saturating_mul(begun - 1);
            one.waiting = one.waiting.saturating_sub(before);
            one.taken = one.waiting.min(most);
            one.waiting -= one.taken;
        } else if begun.is_none() {
            // the clock was set back
            (one.taken, one.waiting) = (0, 0);
        }
        one.second = second;
        if one.taken < most {
            one.taken += 1;
            return Ok(());
        }
        let before = i64::from(one.waiting);
        one.waiting = one.waiting.saturating_add(1);
        Err((second + 1) * 1_000 + before * 1_000 / i64::from(most))
    }

    /// A connection wants to take a device over from another that lives: at most `most` times in a
    /// window.
    pub(super) fn take_over(&self, device: DeviceId, now_ms: i64, most: u32) -> Turn {
        let mut takeovers = self
            .takeovers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !takeovers.has_room(&device, now_ms, |one| one.lasts(now_ms)) {
            return Turn::Taken;
        }
        let fresh = Takeovers {
            since_ms: now_ms,
            count: 0,
            told: false,
        };
        let one = takeovers.of.entry(device).or_insert(fresh);
        if !one.lasts(now_ms) {
            *one = fresh;
        }
        if one.count < most {
            one.count += 1;
            return Turn::Taken;
        }
        Turn::NotBefore {
            at_ms: one.since_ms + TAKEOVER_WINDOW_MS,
            tell: (!std::mem::replace(&mut one.told, true)).then_some(one.count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ident(number: usize) -> Ident {
        Ident::new(&number.to_string()).unwrap()
    }

    #[test]
    fn an_ident_is_answered_once_in_its_time_and_others_are_not_concerned() {
        let storms = Storms::default();
        let ask = |protocol, number, now_ms| {
            let key = (ChannelId(1), protocol, ident(number));
            storms.may_answer(key, now_ms, 10_000)
        };
        assert_eq!(ask(1, 7, 1_000), Ok(()));
        assert_eq!(ask(1, 7, 10_999), Err(11_000));
        assert_eq!(ask(1, 8, 2_000), Ok(()));
        assert_eq!(ask(2, 7, 2_000), Ok(()), "another protocol's ident");
        let elsewhere = (ChannelId(2), 1, ident(7));
        assert_eq!(storms.may_answer(elsewhere, 2_000, 10_000), Ok(()));
        assert_eq!(ask(1, 7, 11_000), Ok(()));
        assert_eq!(ask(1, 7, 11_001), Err(21_000));
        assert_eq!(ask(1, 7, 500), Ok(()), "the clock was set back");
    }

    #[test]
    fn the_table_has_its_bound_and_room_again_when_the_time_is_over() {
        let storms = Storms::default();
        let ask = |number, now_ms| {
            let key = (ChannelId(1), 1, ident(number));
            storms.may_answer(key, now_ms, 10_000)
        };
        let held = || storms.refused.lock().unwrap().of.len();
        for number in 0..STORMS_MAX + 100 {
            assert_eq!(ask(number, 0), Ok(()));
        }
        assert_eq!(held(), STORMS_MAX);
        assert_eq!(ask(0, 0), Err(10_000));
        assert_eq!(ask(STORMS_MAX, 20_000), Ok(()));
        assert_eq!(held(), 1);
    }

    #[test]
    fn an_account_s_devices_come_so_many_a_second_and_the_others_one_after_the_other() {
        let storms = Storms::default();
        let ask = |account, now_ms| storms.log_in(AccountId(account), now_ms, 10);
        for _ in 0..10 {
            assert_eq!(ask(1, 5_000), Ok(()));
        }
        // ten a second, spread over it
        assert_eq!(ask(1, 5_000), Err(6_000));
        assert_eq!(ask(1, 5_500), Err(6_100));
        for _ in 0..8 {
            assert!(ask(1, 5_900).is_err());
        }
        assert_eq!(ask(1, 5_900), Err(7_000));
        assert_eq!(ask(2, 5_900), Ok(()), "another account is not concerned");
        // whoever comes in their second goes behind them
        assert_eq!(ask(1, 6_000), Err(7_100));
        assert_eq!(ask(1, 60_000), Ok(()));
        assert_eq!(ask(1, 500), Ok(()), "the clock was set back");
    }

    #[test]
    fn a_device_changes_hands_so_often_in_a_window_and_it_is_told_once() {
        let storms = Storms::default();
        let take = |now_ms| storms.take_over(DeviceId(5), now_ms, 3);
        for now_ms in 0..3 {
            assert_eq!(take(now_ms), Turn::Taken);
        }
        let at_ms = TAKEOVER_WINDOW_MS;
        let tell = Some(3);
        assert_eq!(take(3), Turn::NotBefore { at_ms, tell });
        assert_eq!(take(4), Turn::NotBefore { at_ms, tell: None });
        assert_eq!(storms.take_over(DeviceId(6), 4, 3), Turn::Taken);
        assert_eq!(take(at_ms), Turn::Taken);
    }
}
