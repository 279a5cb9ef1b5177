//! A thread's sign of life: how long it has been busy with one thing.
//!
//! Monotonic and not the gateway's clock: a clock that is set forth is no standstill.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What one thread shows and others look at.
#[derive(Debug)]
pub struct Pulse {
    origin: Instant,
    /// Milliseconds since `origin`, plus one; 0: it rests.
    beat: AtomicU64,
}

impl Default for Pulse {
    /// It rests.
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            beat: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    fn since_origin_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// It begins something, now.
    pub fn beat(&self) {
        let now = self.since_origin_ms() + 1;
        self.beat.store(now, Ordering::Relaxed);
    }

    /// It waits for something to do.
    pub fn rest(&self) {
        self.beat.store(0, Ordering::Relaxed);
    }

    /// How long ago it began what it does; nothing if it rests.
    pub fn busy_for(&self) -> Duration {
        match self.beat.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            beat => Duration::from_millis(self.since_origin_ms().saturating_sub(beat - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_rests_is_not_busy_and_who_began_is_from_then_on() {
        let pulse = Pulse::default();
        assert_eq!(pulse.busy_for(), Duration::ZERO);
        pulse.beat();
        std::thread::sleep(Duration::from_millis(20));
        assert!(pulse.busy_for() >= Duration::from_millis(19));
        pulse.rest();
        assert_eq!(pulse.busy_for(), Duration::ZERO);
    }
}
