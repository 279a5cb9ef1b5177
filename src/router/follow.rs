//! Who wants to hear of new messages: followers of a device, of a channel, of everything.
//!
//! A follower is told *where* something was appended, never what: it reads the journal up to the
//! durable position. So it costs the driver one relaxed load while nobody follows, and at most
//! [`FOLLOW_QUEUE_MAX`] positions a follower. A follower that falls behind loses no message: its
//! queue stops growing, [`Followed::Behind`] says so once, and it reads on from where it was.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::ids::{ChannelId, DeviceId, Position};

/// So many positions wait for one follower.
pub const FOLLOW_QUEUE_MAX: usize = 256;
/// So many followers there may be at once.
pub const FOLLOWERS_MAX: usize = 1024;

/// What is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The messages of a device.
    Device(DeviceId),
    /// The messages of a channel.
    Channel(ChannelId),
    /// Every message.
    All,
}

/// What a follower hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// Something was appended there; it can be read once that is durable.
    At(Position),
    /// More was appended than the queue holds: read on from where you were.
    Behind,
}

/// There are [`FOLLOWERS_MAX`] followers already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{FOLLOWERS_MAX} followers are the most there may be at once")]
pub struct TooManyFollowers;

struct Watcher {
    number: u64,
    queue: mpsc::Sender<Position>,
    behind: Arc<AtomicBool>,
}

#[derive(Default)]
struct Topics {
    next: u64,
    watchers: BTreeMap<Topic, Vec<Watcher>>,
}

/// The followers of a gateway.
#[derive(Default)]
pub(super) struct Followers {
    count: AtomicUsize,
    topics: Mutex<Topics>,
}

impl Followers {
    fn topics(&self) -> std::sync::MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    pub(super) fn tell(&self, topic: Topic, position: Position) {
        let topics = self.topics();
        for watcher in topics.watchers.get(&topic).into_iter().flatten() {
            if watcher.queue.try_send(position).is_err() {
                watcher.behind.store(true, Ordering::Release);
            }
        }
    }

    pub(super) fn follow(self: &Arc<Self>, topic: Topic) -> Result<Subscription, TooManyFollowers> {
        let (sender, queue) = mpsc::channel(FOLLOW_QUEUE_MAX);
        let behind = Arc::new(AtomicBool::new(false));
        let mut topics = self.topics();
        if self.count.load(Ordering::Relaxed) >= FOLLOWERS_MAX {
            return Err(TooManyFollowers);
        }
        topics.next += 1;
        let number = topics.next;
        topics.watchers.entry(topic).or_default().push(Watcher {
            number,
            queue: sender,
            behind: Arc::clone(&behind),
        });
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(Subscription {
            topic,
            number,
            queue,
            behind,
            followers: Arc::clone(self),
        })
    }
}

/// A follower's side. It ends when it is dropped.
pub struct Subscription {
    topic: Topic,
    number: u64,
    queue: mpsc::Receiver<Position>,
    behind: Arc<AtomicBool>,
    followers: Arc<Followers>,
}

impl Subscription {
    /// Waits for the next.
    pub async fn next(&mut self) -> Followed {
        if self.behind.swap(false, Ordering::AcqRel) {
            // what is queued is older than what the follower reads anyway
            while self.queue.try_recv().is_ok() {}
            return Followed::Behind;
        }
        // the sender lives as long as this subscription
        self.queue
            .recv()
            .await
            .map_or(Followed::Behind, Followed::At)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut topics = self.followers.topics();
        if let Some(watchers) = topics.watchers.get_mut(&self.topic) {
            watchers.retain(|watcher| watcher.number != self.number);
            if watchers.is_empty() {
                topics.watchers.remove(&self.topic);
            }
            self.followers.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_follower_hears_that_it_is_behind_and_then_goes_on() {
        let followers = Arc::new(Followers::default());
        assert!(!followers.any());
        let topic = Topic::Device(DeviceId(7));
        let mut subscription = followers.follow(topic).expect("room");
        let last = FOLLOW_QUEUE_MAX as u64 + 5;
        for sequence in 1..=last {
            followers.tell(topic, Position::new(0, sequence));
            followers.tell(Topic::All, Position::new(0, sequence));
        }
        assert_eq!(subscription.next().await, Followed::Behind);
        followers.tell(topic, Position::new(0, 999));
        assert_eq!(
            subscription.next().await,
            Followed::At(Position::new(0, 999))
        );
        drop(subscription);
        assert!(!followers.any());
    }

    #[test]
    fn the_number_of_followers_is_bounded() {
        let followers = Arc::new(Followers::default());
        let kept: Vec<_> = (0..FOLLOWERS_MAX)
            .map(|_| followers.follow(Topic::All).expect("room"))
            .collect();
        assert!(followers.follow(Topic::All).is_err());
        drop(kept);
        assert!(followers.follow(Topic::All).is_ok());
    }
}
