//! Time as an argument: so that an hour takes a millisecond in a test.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

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
}

/// The machine's clock, held still while it goes back.
#[derive(Debug, Default)]
pub struct SystemClock {
    last_us: AtomicI64,
}

impl Clock for SystemClock {
    fn now_us(&self) -> i64 {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
            });
        self.last_us.fetch_max(wall, Ordering::Relaxed).max(wall)
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

    #[test]
    fn the_clock_never_goes_back_behind_what_is_stored() {
        let clock = SystemClock::default();
        let far = clock.now_us() + 3_600_000_000;
        clock.at_least(far);
        assert_eq!(clock.now_us(), far);
        assert_eq!(minute_of(-1), 0);
        assert_eq!(minute_of(60_000_000), 1);
    }
}
