//! What is limited.

use std::fmt;
use std::str::FromStr;

/// How the use of a dimension goes down again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A use per minute: it starts anew with each minute.
    Rate,
    /// What is there now: connections, stored bytes.
    Level,
    /// How many items there are now.
    Count,
}

/// What is limited. The numbers are stored in the journal: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Dimension {
    /// Bytes of frames and their replies, per minute.
    ChannelTraffic = 0,
    /// Messages, per minute.
    ChannelMessages = 1,
    /// REST calls, per minute.
    ApiCalls = 2,
    /// REST bytes, per minute.
    ApiTraffic = 3,
    /// Admitted connections.
    ChannelConnections = 4,
    /// Bytes of messages in the channels' buffers.
    ChannelStorage = 5,
    /// Bytes of messages kept for devices.
    DeviceStorage = 6,
    /// Channels.
    ChannelsCount = 7,
    /// Devices.
    DevicesCount = 8,
    /// Tokens.
    TokensCount = 9,
    /// Limits.
    LimitsCount = 10,
    /// Accounts below.
    SubaccountsCount = 11,
}

impl Dimension {
    /// How many there are.
    pub const LEN: usize = 12;

    /// Every dimension, in the order of their numbers.
    pub const ALL: [Self; Self::LEN] = [
        Self::ChannelTraffic,
        Self::ChannelMessages,
        Self::ApiCalls,
        Self::ApiTraffic,
        Self::ChannelConnections,
        Self::ChannelStorage,
        Self::DeviceStorage,
        Self::ChannelsCount,
        Self::DevicesCount,
        Self::TokensCount,
        Self::LimitsCount,
        Self::SubaccountsCount,
    ];

    /// Those whose block stops the frames of trackers, whoever is admitted.
    pub const OF_FRAMES: [Self; 4] = [
        Self::ChannelTraffic,
        Self::ChannelMessages,
        Self::ChannelStorage,
        Self::DeviceStorage,
    ];

    /// Those whose block stops the login of a tracker: beside those of its frames, connections, which
    /// an admitted one has. So a flood of logins stops nobody who is in. The others stop the API or
    /// a creation.
    pub const OF_LOGINS: [Self; 5] = [
        Self::ChannelTraffic,
        Self::ChannelMessages,
        Self::ChannelConnections,
        Self::ChannelStorage,
        Self::DeviceStorage,
    ];

    /// Its number, as stored.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The dimension of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// The limit field of flespi's that caps it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChannelTraffic => "channel_traffic",
            Self::ChannelMessages => "channel_messages",
            Self::ApiCalls => "api_calls",
            Self::ApiTraffic => "api_traffic",
            Self::ChannelConnections => "channel_connections",
            Self::ChannelStorage => "channel_storage",
            Self::DeviceStorage => "device_storage",
            Self::ChannelsCount => "channels_count",
            Self::DevicesCount => "devices_count",
            Self::TokensCount => "tokens_count",
            Self::LimitsCount => "limits_count",
            Self::SubaccountsCount => "subaccounts_count",
        }
    }

    /// How its use goes down again.
    pub const fn kind(self) -> Kind {
        match self {
            Self::ChannelTraffic | Self::ChannelMessages | Self::ApiCalls | Self::ApiTraffic => {
                Kind::Rate
            }
            Self::ChannelConnections | Self::ChannelStorage | Self::DeviceStorage => Kind::Level,
            Self::ChannelsCount
            | Self::DevicesCount
            | Self::TokensCount
            | Self::LimitsCount
            | Self::SubaccountsCount => Kind::Count,
        }
    }

    /// flespi's `blocked` code. It has none for API calls: they get that of messages, the other
    /// number per minute.
    pub const fn blocked_code(self) -> u8 {
        match self {
            Self::ChannelConnections => 1,
            Self::ChannelMessages | Self::ApiCalls => 2,
            Self::ChannelTraffic | Self::ApiTraffic => 3,
            Self::ChannelStorage | Self::DeviceStorage => 4,
            Self::ChannelsCount
            | Self::DevicesCount
            | Self::TokensCount
            | Self::LimitsCount
            | Self::SubaccountsCount => 5,
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No dimension has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no limit field is called {0:?}")]
pub struct UnknownDimension(pub String);

impl FromStr for Dimension {
    type Err = UnknownDimension;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|dimension| dimension.name() == name)
            .ok_or_else(|| UnknownDimension(name.to_owned()))
    }
}
