//! The walk over a chain: every step or none, tested before it is added.

use super::word::{Denied, MINUTE_MAX};

/// Walks the steps, each no higher than the ones behind it, and gives the minute it was done in; or
/// which step refused, in which minute, and why.
///
/// A window further down may be in a later minute: then this charge goes into that one, from the
/// master on, so that a parent's window is never behind its children's.
pub(super) fn walk<S, D>(
    minute: u32,
    steps: &[S],
    add: impl Fn(&S, u32) -> Result<(), Denied<D>>,
    undo: impl Fn(&S, u32),
) -> Result<u32, (usize, u32, D)> {
    let mut minute = minute.min(MINUTE_MAX);
    'from_master: loop {
        for (index, step) in steps.iter().enumerate() {
            let Err(denied) = add(step, minute) else {
                continue;
            };
            for step in steps[..index].iter().rev() {
                undo(step, minute);
            }
            match denied {
                Denied::Later(later) => {
                    minute = later;
                    continue 'from_master;
                }
                Denied::Full(full) => return Err((index, minute, full)),
            }
        }
        return Ok(minute);
    }
}

/// Walks without asking. What was added above for a minute that turns out to be over is gone with
/// that window.
pub(super) fn walk_unasked<S>(minute: u32, steps: &[S], add: impl Fn(&S, u32) -> Result<(), u32>) {
    let mut minute = minute.min(MINUTE_MAX);
    'from_master: loop {
        for step in steps {
            if let Err(later) = add(step, minute) {
                minute = later;
                continue 'from_master;
            }
        }
        return;
    }
}
