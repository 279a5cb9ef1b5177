//! Time as an argument: so that an hour takes a millisecond in a test.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Microseconds of a minute, the window of the rates.
pub const US_PER_MINUTE: i64 = 60_000_000;

/// The minute that a time (unix us) belongs to, counted since 1970 (0 before).
pub fn minute_of(at_us: i64) -> u32 {
    u32::try_from(at_us.div_euclid(US_PER_MINUTE).max(0)).unwrap_or(u32::MAX)
}

/// Tells the time, unix us. Never goes back.
pub trait Clock: Send + Sync + 'static {
    /// The time now, unix us.
    fn now_us(&self) -> i64;

    /// The time now, unix ms.
    fn now_ms(&self) -> i64 {
        self.now_us().div_euclid(1000)
    }

    /// It is at least `at_us`: what is on disk already has that time.
    fn at_least(&self, at_us: i64);

    /// How far it is ahead of the machine's clock, in microseconds: that was ahead once.
    fn ahead_us(&self) -> i64 {
        0
    }
}

/// How far the machine's clock may be behind, and time just stands still.
const BEHIND_US_MAX: i64 = 1_000;

/// The machine's clock, which never goes back: while that is behind what was told already, time goes on
/// at half its speed, so that what waits for a time still comes to its end.
#[derive(Debug, Default)]
pub struct SystemClock {
    last_us: AtomicI64,
    /// What was told when the machine's clock was found to be behind, and when that was.
    behind: Mutex<Option<(Instant, i64)>>,
}

impl SystemClock {
    /// The time, when the machine's clock says `wall_us`.
    fn at(&self, wall_us: i64, now: impl FnOnce() -> Instant) -> i64 {
        let last_us = self.last_us.fetch_max(wall_us, Ordering::Relaxed);
        if last_us - wall_us <= BEHIND_US_MAX {
            return last_us.max(wall_us);
        }
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        let (since, from_us) = *behind.get_or_insert((now, last_us));
        let waited = now.saturating_duration_since(since) / 2;
        let slow_us = i64::try_from(waited.as_micros()).map_or(from_us, |us| from_us + us);
        if slow_us < last_us {
            // the machine's clock was right meanwhile, or something newer is on disk
            *behind = Some((now, last_us));
        }
        let slow_us = slow_us.max(last_us);
        self.last_us
            .fetch_max(slow_us, Ordering::Relaxed)
            .max(slow_us)
    }
}

/// What the machine's clock says, unix us.
fn wall_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    })
}

impl Clock for SystemClock {
    fn now_us(&self) -> i64 {
        self.at(wall_us(), Instant::now)
    }

    fn ahead_us(&self) -> i64 {
        let wall_us = wall_us();
        let ahead_us = self.at(wall_us, Instant::now) - wall_us;
        // a step of nothing is none
        if ahead_us > BEHIND_US_MAX {
            ahead_us
        } else {
            0
        }
    }

    fn at_least(&self, at_us: i64) {
        self.last_us.fetch_max(at_us, Ordering::Relaxed);
    }
}

/// A clock that a test moves.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_us: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `now_us`.
    pub const fn new(now_us: i64) -> Self {
        Self {
            now_us: AtomicI64::new(now_us),
        }
    }

    /// Moves it forward.
    pub fn advance_us(&self, by_us: i64) {
        self.now_us.fetch_add(by_us, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_us(&self) -> i64 {
        self.now_us.load(Ordering::SeqCst)
    }

    fn at_least(&self, at_us: i64) {
        self.now_us.fetch_max(at_us, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_clock_never_goes_back_behind_what_is_stored() {
        let clock = SystemClock::default();
        let far = clock.now_us() + 3_600_000_000;
        clock.at_least(far);
        assert!(clock.now_us() >= far);
        assert!((3_500_000_000..=3_600_000_000).contains(&clock.ahead_us()));
        assert_eq!(SystemClock::default().ahead_us(), 0);
        assert_eq!(minute_of(-1), 0);
    }

    #[test]
    fn while_the_machine_s_clock_is_behind_time_goes_on_at_half_its_speed() {
        const HOUR_US: i64 = 3_600_000_000;
        let clock = SystemClock::default();
        let begin = Instant::now();
        let at = |wall_us, second| clock.at(wall_us, || begin + Duration::from_secs(second));
        let noon = 100 * HOUR_US;
        assert_eq!(at(noon, 0), noon);
        assert_eq!(at(noon - 500, 1), noon, "a step of nothing");
        // set back by an hour: right again after two
        assert_eq!(at(noon - HOUR_US, 10), noon);
        assert_eq!(at(noon - HOUR_US + 60_000_000, 70), noon + 30_000_000);
        assert_eq!(at(noon + HOUR_US, 7_210), noon + HOUR_US);
        assert_eq!(at(noon + HOUR_US + 1, 7_210), noon + HOUR_US + 1);
        // and once more: from where it is by then
        let second = at(noon + 3 * HOUR_US, 14_410);
        assert_eq!(at(second - HOUR_US, 14_420), second);
        assert_eq!(at(second - HOUR_US, 14_440), second + 10_000_000);
        // what is on disk may be newer still
        clock.at_least(second + HOUR_US);
        assert_eq!(at(second - HOUR_US, 14_450), second + HOUR_US);
        assert_eq!(at(second - HOUR_US, 14_452), second + HOUR_US + 1_000_000);
    }
}
