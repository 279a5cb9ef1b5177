//! Counting without atomics: each worker adds up for itself, per channel, and hands in when its
//! wheel turns.

use std::cell::Cell;

use crate::ids::ChannelId;
use crate::metrics::{Counter, Metric, Metrics, names};

macro_rules! tally {
    ($($field:ident $metric:ident,)*) => {
        /// What one worker counts of one channel.
        pub(super) struct Tally {
            $(pub(super) $field: Count,)*
        }

        impl Tally {
            pub(super) fn new(metrics: &Metrics, channel: ChannelId) -> Self {
                let label = metrics.channel_label(channel);
                Self { $($field: Count::new(metrics, &names::$metric, &label),)* }
            }

            /// Hands in what was counted.
            pub(super) fn hand_in(&self) {
                $(self.$field.hand_in();)*
            }
        }
    };
}

tally! {
    opened CONNECTIONS_OPENED,
    logins LOGINS,
    frames FRAMES,
    messages MESSAGES,
    duplicates DUPLICATES,
    received RECEIVED_BYTES,
    sent SENT_BYTES,
    unidentified UNIDENTIFIED_BYTES,
    refused REFUSED_BYTES,
    dropped DROPPED_MESSAGES,
    acks ACKS,
}

/// A counter of one thread.
pub(super) struct Count {
    here: Cell<u64>,
    all: Counter,
}

impl Count {
    fn new(metrics: &Metrics, metric: &'static Metric, channel: &str) -> Self {
        Self {
            here: Cell::new(0),
            all: metrics.counter(metric, &[channel]),
        }
    }

    pub(super) fn add(&self, by: u64) {
        self.here.set(self.here.get().wrapping_add(by));
    }

    fn hand_in(&self) {
        let here = self.here.take();
        if here > 0 {
            self.all.increment(here);
        }
    }
}
