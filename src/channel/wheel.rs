//! A coarse timer wheel: pure, the time is an argument.
//!
//! One per worker instead of one timer per connection. It promises to name a token not before its
//! deadline and within [`TICK_MS`] after it, however far the time jumps. It does not know what a
//! deadline means: whoever is named looks at its own deadlines and arms the next. Nothing is ever
//! cancelled; a token whose owner is gone is ignored by the owner of the wheel, so a connection
//! arms again only for an earlier time than the one it has already.

/// How coarse it is, and how often it is turned.
pub const TICK_MS: i64 = 100;
/// Slots of the wheel. A deadline further away than one turn stays in its slot for more turns.
const SLOTS: u16 = 1024;

/// Deadlines of tokens.
#[derive(Debug)]
pub struct Wheel<T> {
    /// Ticks count from its making: four bytes of them are thirteen years.
    slots: Vec<Vec<(u32, T)>>,
    /// Its making, in ticks since 1970.
    begun: i64,
    /// The last tick that was turned to.
    now: u32,
    armed: usize,
}

impl<T> Wheel<T> {
    /// A wheel that stands at `now_ms`.
    pub fn new(now_ms: i64) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            begun: now_ms.div_euclid(TICK_MS),
            now: 0,
            armed: 0,
        }
    }

    fn tick(&self, at_ms: i64) -> u32 {
        let since = at_ms.div_euclid(TICK_MS).saturating_sub(self.begun);
        u32::try_from(since.max(0)).unwrap_or(u32::MAX)
    }

    /// How many deadlines it holds.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Does it hold none?
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Names `token` once `at_ms` has come.
    pub fn arm(&mut self, at_ms: i64, token: T) {
        // rounded up, so never early; never in the past, so never missed
        let tick = self.tick(at_ms).max(self.now).saturating_add(1);
        let slot = Self::slot(tick);
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.push((tick, token));
            self.armed += 1;
        }
    }

    fn slot(tick: u32) -> usize {
        (tick % u32::from(SLOTS)) as usize
    }

    /// Turns it to `now_ms` and moves every token that is due to the end of `due`.
    pub fn turn(&mut self, now_ms: i64, due: &mut Vec<T>) {
        let to = self.tick(now_ms);
        if to <= self.now {
            return;
        }
        // a jump of more than a turn looks at every slot once
        let first = (self.now + 1).max(to.saturating_sub(u32::from(SLOTS) - 1));
        for tick in first..=to {
            let Some(slot) = self.slots.get_mut(Self::slot(tick)) else {
                continue;
            };
            let before = slot.len();
            due.extend(slot.extract_if(.., |(at, _)| *at <= to).map(|(_, t)| t));
            self.armed -= before - slot.len();
            if slot.is_empty() && slot.capacity() > 64 {
                *slot = Vec::new();
            }
        }
        self.now = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(wheel: &mut Wheel<u32>, now_ms: i64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.turn(now_ms, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn a_token_is_named_not_before_its_deadline_and_one_tick_after_it_at_most() {
        for deadline in [1, 99, 100, 101, 250, 102_399, 102_400, 600_000, 3_600_000] {
            let mut wheel = Wheel::new(1_000_000);
            wheel.arm(1_000_000 + deadline, 7);
            let mut named = None;
            for now in (1_000_000..1_000_000 + deadline + 2 * TICK_MS).step_by(20) {
                if !turn(&mut wheel, now).is_empty() {
                    assert_eq!(named, None, "twice");
                    named = Some(now - 1_000_000);
                }
            }
            let named = named.expect("named");
            assert!(
                named >= deadline && named <= deadline + TICK_MS + 20,
                "{deadline}: {named}"
            );
            assert!(wheel.is_empty());
        }
    }

    #[test]
    fn a_jump_of_hours_names_all_that_are_due_and_no_other() {
        let mut wheel = Wheel::new(0);
        for token in 0..10_000 {
            wheel.arm(i64::from(token) * 1000, token);
        }
        assert_eq!(
            turn(&mut wheel, 3_600_000 - 1),
            (0..3600).collect::<Vec<_>>()
        );
        assert_eq!(wheel.len(), 10_000 - 3600);
        assert_eq!(turn(&mut wheel, 0), Vec::<u32>::new(), "time set back");
        assert_eq!(turn(&mut wheel, i64::MAX).len(), 10_000 - 3600);
    }

    #[test]
    fn a_deadline_in_the_past_is_named_at_the_next_tick() {
        let mut wheel = Wheel::new(500_000);
        wheel.arm(3, 1);
        assert_eq!(turn(&mut wheel, 500_050), Vec::<u32>::new());
        assert_eq!(turn(&mut wheel, 500_100), vec![1]);
    }
}
