//! Commands that wait for their devices, and what became of them.
//!
//! The API leaves a command here, the device's connection takes it when nothing else is owed to the
//! tracker, and whoever asked finds here how it ended. It refuses to write bytes (the protocol's
//! session does) and to keep anything over a restart (control does).
//!
//! A command is taken by one connection at a time, so it is never on its way twice; if that
//! connection ends before the tracker has answered, it waits again until its attempts are used up.
//!
//! Bounds: [`COMMANDS_PER_DEVICE_MAX`] and [`COMMANDS_MAX`] commands, beyond which a new one is
//! refused; [`RESULTS_MAX`] results, beyond which the oldest is forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{ConnectionId, DeviceId};

/// Commands that wait for one device.
pub const COMMANDS_PER_DEVICE_MAX: usize = 100;
/// Commands that wait for all devices together.
pub const COMMANDS_MAX: usize = 100_000;
/// Results that are kept, of all devices together.
pub const RESULTS_MAX: usize = 10_000;
/// So much of an answer is kept.
pub const RESPONSE_BYTES_MAX: usize = 4096;

/// A command to a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Its number: when it was made, unix us; no two are alike.
    pub id: u64,
    /// To which device.
    pub device: DeviceId,
    /// Its name among the protocol's commands.
    pub name: String,
    /// Its properties, an object.
    pub properties: Value,
    /// The highest goes first, of equal ones the oldest.
    pub priority: u8,
    /// How long an answer is waited for.
    pub timeout_ms: u32,
    /// So often it is sent before it is given up.
    pub attempts_max: u8,
    /// When it is over, unix us.
    pub expires_us: i64,
    /// It outlives a restart.
    pub stored: bool,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The tracker has answered.
    Answered(String),
    /// It was sent, and its protocol has no answer.
    Sent,
    /// It was sent as often as it may be, and not answered.
    Unanswered,
    /// It cannot be written: why.
    Wrong(String),
    /// Its time was over.
    Expired,
    /// Somebody took it back.
    Canceled,
}

impl Outcome {
    /// Its name: a label.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Answered(_) => "answered",
            Self::Sent => "sent",
            Self::Unanswered => "unanswered",
            Self::Wrong(_) => "wrong",
            Self::Expired => "expired",
            Self::Canceled => "canceled",
        }
    }

    /// Has the device got it?
    pub const fn is_executed(&self) -> bool {
        matches!(self, Self::Answered(_) | Self::Sent)
    }
}

/// A command that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// What it was.
    pub command: Command,
    /// How it ended.
    pub outcome: Outcome,
    /// When, unix us.
    pub at_us: i64,
}

/// There is no room for another command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{most} commands wait already")]
pub struct TooManyCommands {
    /// So many may wait.
    pub most: usize,
}

/// A command in a queue.
struct Waiting {
    command: Command,
    attempts: u8,
    /// The connection that has taken it.
    on: Option<ConnectionId>,
}

#[derive(Default)]
struct Queues {
    of: BTreeMap<DeviceId, Vec<Waiting>>,
    results: VecDeque<Ended>,
    /// Stored commands that have ended, for whoever stores them.
    over: Vec<u64>,
    last_id: u64,
}

/// The commands of all devices.
#[derive(Default)]
pub struct Commands {
    queues: Mutex<Queues>,
    count: AtomicUsize,
    ended: Condvar,
}

impl Commands {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does any command wait? Costs one load.
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// The number of a new command.
    pub fn next_id(&self, now_us: i64) -> u64 {
        let mut queues = self.queues();
        let now = u64::try_from(now_us).unwrap_or(1);
        queues.last_id = now.max(queues.last_id + 1);
        queues.last_id
    }

    /// Is there room for another command of the device?
    pub fn room(&self, device: DeviceId) -> Result<(), TooManyCommands> {
        let of_device = self.queues().of.get(&device).map_or(0, Vec::len);
        if of_device >= COMMANDS_PER_DEVICE_MAX {
            return Err(TooManyCommands {
                most: COMMANDS_PER_DEVICE_MAX,
            });
        }
        if self.count() >= COMMANDS_MAX {
            return Err(TooManyCommands { most: COMMANDS_MAX });
        }
        Ok(())
    }

    /// It waits from now on. Whoever adds it has asked for [`Commands::room`].
    pub fn add(&self, command: Command) {
        let mut queues = self.queues();
        queues.last_id = queues.last_id.max(command.id);
        let of_device = queues.of.entry(command.device).or_default();
        of_device.push(Waiting {
            command,
            attempts: 0,
            on: None,
        });
        // the highest priority first, of equal ones the oldest
        of_device.sort_by_key(|one| (u8::MAX - one.command.priority, one.command.id));
        self.count.fetch_add(1, Ordering::Release);
    }

    fn end(&self, queues: &mut Queues, command: Command, outcome: Outcome, at_us: i64) -> Ended {
        self.count.fetch_sub(1, Ordering::Release);
        let ended = Ended {
            command,
            outcome,
            at_us,
        };
        if queues.results.len() >= RESULTS_MAX {
            queues.results.pop_front();
        }
        queues.results.push_back(ended.clone());
        if ended.command.stored {
            queues.over.push(ended.command.id);
        }
        self.ended.notify_all();
        ended
    }

    /// Ends those of `device` (`None`: of all) for which `over` gives an outcome.
    fn end_where(
        &self,
        device: Option<DeviceId>,
        at_us: i64,
        mut over: impl FnMut(&Waiting) -> Option<Outcome>,
    ) -> Vec<Ended> {
        let mut queues = self.queues();
        let mut found = Vec::new();
        let devices: Vec<DeviceId> = match device {
            Some(device) => vec![device],
            None => queues.of.keys().copied().collect(),
        };
        for device in devices {
            let Some(of_device) = queues.of.get_mut(&device) else {
                continue;
            };
            of_device.retain(|one| match over(one) {
                Some(outcome) => {
                    found.push((one.command.clone(), outcome));
                    false
                }
                None => true,
            });
            if of_device.is_empty() {
                queues.of.remove(&device);
            }
        }
        found
            .into_iter()
            .map(|(command, outcome)| self.end(&mut queues, command, outcome, at_us))
            .collect()
    }

    /// Does a command wait for the device?
    pub fn waits(&self, device: DeviceId) -> bool {
        self.any()
            && self
                .queues()
                .of
                .get(&device)
                .is_some_and(|of_device| of_device.iter().any(|one| one.on.is_none()))
    }

    /// The device's next command, which is `connection`'s from now on, unless one is on its way.
    pub fn take(&self, device: DeviceId, connection: ConnectionId, now_us: i64) -> Option<Command> {
        let mut queues = self.queues();
        let of_device = queues.of.get_mut(&device)?;
        if of_device.iter().any(|one| one.on.is_some()) {
            return None;
        }
        // what is over is ended by whoever keeps the time
        let next = of_device
            .iter_mut()
            .find(|one| one.command.expires_us > now_us)?;
        next.on = Some(connection);
        next.attempts = next.attempts.saturating_add(1);
        Some(next.command.clone())
    }

    /// A command that was taken could not be sent now: it waits again, as if it had not been taken.
    pub fn put_back(&self, device: DeviceId, id: u64) {
        if let Some(one) = self
            .queues()
            .of
            .get_mut(&device)
            .and_then(|of_device| of_device.iter_mut().find(|one| one.command.id == id))
        {
            one.on = None;
            one.attempts = one.attempts.saturating_sub(1);
        }
    }

    /// A command that was taken has ended so.
    pub fn finish(&self, device: DeviceId, id: u64, outcome: Outcome, at_us: i64) -> Option<Ended> {
        let mut outcome = Some(outcome);
        self.end_where(Some(device), at_us, |one| {
            (one.command.id == id).then(|| outcome.take()).flatten()
        })
        .pop()
    }

    /// A command that was sent was not answered, or its connection has ended: it waits again, or
    /// ends if it was sent as often as it may be.
    pub fn unanswered(&self, device: DeviceId, id: u64, at_us: i64) -> Option<Ended> {
        if let Some(one) = self
            .queues()
            .of
            .get_mut(&device)
            .and_then(|of_device| of_device.iter_mut().find(|one| one.command.id == id))
            && one.attempts < one.command.attempts_max
        {
            one.on = None;
            return None;
        }
        self.finish(device, id, Outcome::Unanswered, at_us)
    }

    /// Takes commands of a device back that `wanted` names. One that is on its way may be executed
    /// all the same.
    pub fn cancel(
        &self,
        device: DeviceId,
        at_us: i64,
        mut wanted: impl FnMut(&Command) -> bool,
    ) -> Vec<Ended> {
        self.end_where(Some(device), at_us, |one| {
            wanted(&one.command).then_some(Outcome::Canceled)
        })
    }

    /// Ends what is over, and what is for a device that `exists` does not know.
    pub fn expire(&self, now_us: i64, mut exists: impl FnMut(DeviceId) -> bool) -> Vec<Ended> {
        if !self.any() {
            return Vec::new();
        }
        self.end_where(None, now_us, |one| {
            if !exists(one.command.device) {
                Some(Outcome::Canceled)
            } else if one.command.expires_us <= now_us {
                Some(Outcome::Expired)
            } else {
                None
            }
        })
    }

    /// What waits for a device, in the order in which it will go.
    pub fn of_device(&self, device: DeviceId) -> Vec<Command> {
        let queues = self.queues();
        let of_device = queues.of.get(&device).into_iter().flatten();
        of_device.map(|one| one.command.clone()).collect()
    }

    /// What became of commands to a device, the oldest first.
    pub fn results(&self, device: DeviceId) -> Vec<Ended> {
        let queues = self.queues();
        let of_device = |ended: &&Ended| ended.command.device == device;
        queues.results.iter().filter(of_device).cloned().collect()
    }

    /// The numbers of stored commands that have ended since this was asked last.
    pub fn take_over(&self) -> Vec<u64> {
        std::mem::take(&mut self.queues().over)
    }

    /// Waits until all of these have ended, no longer than `wait`. Gives back those that have.
    pub fn wait(&self, ids: &[u64], wait: Duration) -> Vec<Ended> {
        let until = Instant::now() + wait;
        let mut queues = self.queues();
        loop {
            let is_asked = |ended: &&Ended| ids.contains(&ended.command.id);
            let found: Vec<Ended> = queues.results.iter().filter(is_asked).cloned().collect();
            let left = until.saturating_duration_since(Instant::now());
            if found.len() >= ids.len() || left.is_zero() {
                return found;
            }
            let waited = self.ended.wait_timeout(queues, left);
            queues = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DEVICE: DeviceId = DeviceId(7);

    fn command(commands: &Commands, priority: u8, now_us: i64) -> Command {
        Command {
            id: commands.next_id(now_us),
            device: DEVICE,
            name: "custom".into(),
            properties: json!({ "payload": "x" }),
            priority,
            timeout_ms: 1_000,
            attempts_max: 2,
            expires_us: now_us + 1_000_000,
            stored: false,
        }
    }

    fn added(commands: &Commands, priority: u8, now_us: i64) -> u64 {
        let command = command(commands, priority, now_us);
        let id = command.id;
        commands.room(DEVICE).expect("room");
        commands.add(command);
        id
    }

    #[test]
    fn one_is_on_its_way_at_a_time_and_the_highest_priority_goes_first() {
        let commands = Commands::default();
        assert!(!commands.waits(DEVICE));
        let low = added(&commands, 0, 10);
        let high = added(&commands, 9, 10);
        assert!(high > low, "no two are alike");
        let on = ConnectionId(1);
        assert_eq!(commands.take(DEVICE, on, 20).expect("one").id, high);
        assert_eq!(commands.take(DEVICE, on, 20), None);
        assert!(commands.waits(DEVICE));
        let answer = Outcome::Answered("ok".into());
        let ended = commands.finish(DEVICE, high, answer.clone(), 30);
        assert_eq!(ended.expect("it was there").outcome, answer);
        assert_eq!(commands.take(DEVICE, on, 40).expect("the other").id, low);
        assert_eq!(commands.count(), 1);
        let ids = [high];
        assert_eq!(commands.wait(&ids, Duration::ZERO).len(), 1);
        assert!(commands.take_over().is_empty(), "it was not stored");
    }

    #[test]
    fn what_is_not_answered_is_sent_again_as_often_as_it_may_be() {
        let commands = Commands::default();
        let id = added(&commands, 0, 10);
        let on = ConnectionId(1);
        // refused by a limit: that was no attempt
        assert!(commands.take(DEVICE, on, 20).is_some());
        commands.put_back(DEVICE, id);
        for _ in 0..2 {
            assert!(commands.take(DEVICE, on, 20).is_some());
            let ended = commands.unanswered(DEVICE, id, 30);
            assert_eq!(ended.is_some(), !commands.any());
        }
        assert_eq!(commands.results(DEVICE)[0].outcome, Outcome::Unanswered);
    }

    #[test]
    fn what_is_over_or_whose_device_is_gone_ends() {
        let commands = Commands::default();
        added(&commands, 0, 10);
        assert_eq!(commands.expire(1_000_009, |_| true), []);
        let on = ConnectionId(1);
        assert_eq!(commands.take(DEVICE, on, 1_000_010), None, "it is over");
        let ended = commands.expire(1_000_010, |_| true);
        assert_eq!(ended[0].outcome, Outcome::Expired);
        added(&commands, 0, 10);
        let ended = commands.expire(11, |_| false);
        assert_eq!(ended[0].outcome, Outcome::Canceled);
        added(&commands, 0, 10);
        assert_eq!(commands.cancel(DEVICE, 12, |_| true).len(), 1);
        assert!(!commands.any());
    }

    #[test]
    fn the_queue_and_the_results_have_their_bounds() {
        let commands = Commands::default();
        for _ in 0..COMMANDS_PER_DEVICE_MAX {
            added(&commands, 0, 10);
        }
        let most = COMMANDS_PER_DEVICE_MAX;
        assert_eq!(commands.room(DEVICE), Err(TooManyCommands { most }));
        assert_eq!(commands.room(DeviceId(8)), Ok(()));
        commands.cancel(DEVICE, 12, |_| true);
        for _ in 0..RESULTS_MAX {
            added(&commands, 0, 10);
            commands.cancel(DEVICE, 13, |_| true);
        }
        assert_eq!(commands.results(DEVICE).len(), RESULTS_MAX);
        assert_eq!(commands.results(DEVICE)[0].at_us, 13);
    }
}
