//! The certificates of channels while a gateway runs: read again from their files, and told when
//! trackers will not take them any more. It decides nothing: one that has expired is shown all the
//! same, because not every tracker looks at dates.

use crate::channel::{Channels, OpenError, Validity};
use crate::ids::ChannelId;
use crate::registry::Registry;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A certificate that ends within so many seconds is told.
const RENEW_WITHIN_S: i64 = 14 * 86_400;

/// The certificates of the channels, as their files have them.
#[derive(Clone)]
pub(crate) struct Certificates {
    channels: Arc<Channels>,
    registry: Arc<Registry>,
    /// What was told of each that is not well: it is told once.
    told: Arc<Mutex<BTreeMap<ChannelId, (Validity, Age)>>>,
}

/// Whether a certificate is valid now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    NotYet,
    Valid,
    EndsSoon,
    Expired,
}

impl Age {
    const fn of(validity: Validity, now_s: i64) -> Self {
        if now_s < validity.from_s {
            Self::NotYet
        } else if now_s > validity.until_s {
            Self::Expired
        } else if now_s > validity.until_s - RENEW_WITHIN_S {
            Self::EndsSoon
        } else {
            Self::Valid
        }
    }
}

impl Certificates {
    pub(crate) fn of(channels: Arc<Channels>, registry: Arc<Registry>) -> Self {
        Self {
            channels,
            registry,
            told: Arc::default(),
        }
    }

    /// Says which certificates trackers will not take, or soon will not: each once.
    pub(crate) fn tell_age(&self) {
        let now_s = super::now_ms() / 1000;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.channels.validities();
        told.retain(|id, _| all.iter().any(|(there, _)| there == id));
        for (channel, validity) in all {
            let age = Age::of(validity, now_s);
            if told.insert(channel, (validity, age)) == Some((validity, age)) {
                continue;
            }
            let shown = |at_s| jiff::Timestamp::from_second(at_s).unwrap_or_default();
            let (from, until) = (shown(validity.from_s), shown(validity.until_s));
            match age {
                Age::Valid => {}
                Age::NotYet => tracing::error!(
                    %channel, %from,
                    "its certificate is not valid yet, trackers that look at it will not connect: \
                     is the clock of this machine right?"
                ),
                Age::EndsSoon => tracing::warn!(
                    %channel, %until,
                    "its certificate ends soon: put a new one in its place, it is read by itself"
                ),
                Age::Expired => tracing::error!(
                    %channel, %until,
                    "its certificate has expired, trackers that look at it will not connect: \
                     put a new one in its place, it is read by itself"
                ),
            }
        }
    }

    /// Reads the certificates of all channels again, and opens those that could not be listened on
    /// for theirs. Says what has changed and what cannot be used. Blocks on files.
    pub(crate) fn read_again(&self) {
        for (channel, read) in self.channels.read_certificates() {
            match read {
                Ok(()) => tracing::info!(%channel, "its certificate was read anew"),
                Err(error) => {
                    tracing::error!(%channel, %error, "its certificate stays as it was");
                }
            }
        }
        for channel in self.registry.channels() {
            let state = channel.state.load_full();
            let listens = state.enabled && state.owner.enabled_chain();
            if !listens || state.item.tls.is_none() || self.channels.address(channel.id).is_some() {
                continue;
            }
            match self.channels.open(&state.item) {
                Ok(at) => tracing::info!(channel = %channel.id, %at, "a channel is listened on"),
                // somebody else has just opened it
                Err(OpenError::Open) => {}
                Err(error) => {
                    tracing::error!(channel = %channel.id, %error, "a channel is not listened on");
                }
            }
        }
        self.tell_age();
    }
}
