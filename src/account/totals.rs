//! Posted numbers: a fold of the journal, written by its one writer.

use super::Dimension;
use std::ops::{Add, AddAssign, Sub};
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! totals {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// What the journal says of an account and its branch. The order of the fields is stored:
        /// append only.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Totals {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Totals {
            /// The names of the fields, in the order of [`Totals::to_array`].
            pub const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];

            /// How many numbers there are.
            pub const LEN: usize = Self::NAMES.len();

            /// The numbers in their stored order.
            pub const fn to_array(&self) -> [u64; Self::LEN] {
                [$(self.$field),*]
            }

            /// From their stored order.
            pub const fn from_array(array: [u64; Self::LEN]) -> Self {
                let [$($field),*] = array;
                Self { $($field),* }
            }
        }
    };
}

totals! {
    /// Bytes of stored frames.
    bytes_in,
    /// Bytes of the accepted replies to them.
    bytes_out,
    /// Messages stored.
    messages,
    /// Records that were stored already.
    duplicates,
    /// Frames stored.
    frames,
    /// Bytes of what has no message: heartbeats, rejected frames, commands.
    usage_bytes,
    /// Bytes of refused frames and the refusals sent.
    refused_bytes,
    /// Bytes acked and thrown away under the policy `drop`.
    dropped_bytes,
    /// Messages acked and thrown away under the policy `drop`.
    dropped_messages,
    /// REST calls.
    api_calls,
    /// REST bytes.
    api_traffic,
    /// Connections admitted.
    connections,
    /// How often `channel_traffic` said no to a frame, by refusing or while it blocked.
    refused_channel_traffic,
    /// The same of `channel_messages`.
    refused_channel_messages,
    /// How often `channel_connections` said no to a login or a frame.
    refused_channel_connections,
    /// How often `api_calls` said no to a call.
    refused_api_calls,
    /// The same of `api_traffic`.
    refused_api_traffic,
    /// How often `channel_storage` said no to a frame.
    refused_channel_storage,
    /// The same of `device_storage`.
    refused_device_storage,
}

impl Totals {
    /// From numbers stored by an older version, which had fewer: the rest is zero.
    pub fn from_slice(stored: &[u64]) -> Self {
        let mut array = [0; Self::LEN];
        for (to, from) in array.iter_mut().zip(stored) {
            *to = *from;
        }
        Self::from_array(array)
    }

    /// One no of a dimension. Counts are refused where items are made, and are not counted here.
    pub fn refusal(dimension: Dimension) -> Self {
        let mut one = Self::default();
        let slot = match dimension {
            Dimension::ChannelTraffic => &mut one.refused_channel_traffic,
            Dimension::ChannelMessages => &mut one.refused_channel_messages,
            Dimension::ChannelConnections => &mut one.refused_channel_connections,
            Dimension::ApiCalls => &mut one.refused_api_calls,
            Dimension::ApiTraffic => &mut one.refused_api_traffic,
            Dimension::ChannelStorage => &mut one.refused_channel_storage,
            Dimension::DeviceStorage => &mut one.refused_device_storage,
            Dimension::ChannelsCount
            | Dimension::DevicesCount
            | Dimension::TokensCount
            | Dimension::LimitsCount
            | Dimension::SubaccountsCount => return one,
        };
        *slot = 1;
        one
    }

    /// Is every number zero?
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    fn zip(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        let mut array = self.to_array();
        for (to, from) in array.iter_mut().zip(other.to_array()) {
            *to = with(*to, from);
        }
        Self::from_array(array)
    }
}

impl Add for Totals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Totals {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.zip(other, u64::saturating_sub)
    }
}

/// [`Totals`] that many read while one writes.
#[derive(Debug)]
pub(super) struct Posted([AtomicU64; Totals::LEN]);

impl Posted {
    pub(super) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; Totals::LEN])
    }

    pub(super) fn load(&self) -> Totals {
        let mut array = [0; Totals::LEN];
        for (to, from) in array.iter_mut().zip(&self.0) {
            *to = from.load(Ordering::Acquire);
        }
        Totals::from_array(array)
    }

    pub(super) fn store(&self, totals: &Totals) {
        for (to, from) in self.0.iter().zip(totals.to_array()) {
            to.store(from, Ordering::Release);
        }
    }

    pub(super) fn add(&self, deltas: &Totals) {
        for (to, by) in self.0.iter().zip(deltas.to_array()) {
            if by != 0 {
                to.fetch_add(by, Ordering::AcqRel);
            }
        }
    }
}
