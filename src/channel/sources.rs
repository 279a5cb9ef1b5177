//! How many unidentified connections each source address has.
//!
//! Looked at when a connection is accepted and when it is identified, never for a frame. Addresses
//! of IPv6 count by /64. At most [`SOURCES_MAX`] are told apart; beyond that new ones share one
//! count.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bounds::SOURCES_MAX;

/// Stands for all sources beyond the bound.
const OTHERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Sources {
    counts: Mutex<HashMap<IpAddr, u32, foldhash::fast::RandomState>>,
}

impl Sources {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, u32, foldhash::fast::RandomState>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one of `peer` until the guard is dropped, if there are fewer than `most`.
    pub(super) fn enter(self: &Arc<Self>, peer: SocketAddr, most: u32) -> Option<Unidentified> {
        let mut source = source_of(peer.ip());
        let mut counts = self.counts();
        if counts.len() >= SOURCES_MAX && !counts.contains_key(&source) {
            source = OTHERS;
        }
        let count = counts.entry(source).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Unidentified {
            source,
            sources: Arc::clone(self),
        })
    }
}

fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 1))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// One unidentified connection.
#[derive(Debug)]
pub(super) struct Unidentified {
    source: IpAddr,
    sources: Arc<Sources>,
}

impl Drop for Unidentified {
    fn drop(&mut self) {
        let mut counts = self.sources.counts();
        if let Some(count) = counts.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_so_many_and_another_is_not_concerned() {
        let sources = Arc::new(Sources::default());
        let peer = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let a = sources.enter(peer("10.0.0.1:1"), 2).expect("first");
        let _b = sources
            .enter(peer("[::ffff:10.0.0.1]:2"), 2)
            .expect("second");
        assert!(sources.enter(peer("10.0.0.1:3"), 2).is_none());
        assert!(sources.enter(peer("10.0.0.2:3"), 2).is_some());
        drop(a);
        assert!(sources.enter(peer("10.0.0.1:3"), 2).is_some());
        let _c = sources.enter(peer("[2001:db8::1]:1"), 1).expect("first");
        assert!(
            sources.enter(peer("[2001:db8::2]:1"), 1).is_none(),
            "one /64"
        );
        assert!(sources.enter(peer("[2001:db8:0:1::2]:1"), 1).is_some());
    }
}
