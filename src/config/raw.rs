//! The file as it is written: one struct a table, every key with its default.

use super::Prefix;
use super::units::{Bytes, PortRange, Span};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// The gateway as a whole.
    pub gateway: GatewayRaw,
    /// Health and metrics.
    pub http: HttpRaw,
    /// What one side may take from the other.
    pub bounds: BoundsRaw,
    /// The log of messages and charges.
    pub journal: JournalRaw,
    /// Raw traffic.
    pub packets: PacketsRaw,
    /// Traces for a collector.
    pub traces: TracesRaw,
    /// Accounts that the file owns.
    pub accounts: Vec<AccountRaw>,
    /// Limits that the file owns.
    pub limits: Vec<LimitRaw>,
    /// Channels that the file owns.
    pub channels: Vec<ChannelRaw>,
    /// Devices that the file owns.
    pub devices: Vec<DeviceRaw>,
}

/// The gateway as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayRaw {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The host in the channels' URIs.
    pub host: String,
    /// The address that the channels listen on.
    pub listen: IpAddr,
    /// The ports that channels are given.
    pub ports: PortRange,
    /// Threads that serve connections; 0: one for each core.
    pub workers: u32,
    /// How long a stop waits for what is under way.
    pub drain: Span,
    /// The least time between a device's creation or move and its next move.
    pub move_interval: Span,
    /// Machines in front of this one that say by the PROXY protocol who has called them.
    pub proxies: Vec<Prefix>,
    /// The folder that certificates of channels are looked up in; none: channels made through the
    /// API can have none.
    pub certificates: Option<PathBuf>,
}

impl Default for GatewayRaw {
    fn default() -> Self {
        Self {
            data_dir: "tollgate-data".into(),
            host: "localhost".into(),
            listen: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ports: PortRange {
                first: 20000,
                last: 29999,
            },
            workers: 0,
            drain: Span::secs(10),
            move_interval: Span::secs(60),
            proxies: Vec::new(),
            certificates: None,
        }
    }
}

/// Health and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpRaw {
    /// The address of `/health` and `/metrics`.
    pub listen: SocketAddr,
}

impl Default for HttpRaw {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9300)),
        }
    }
}

/// What trackers may take from the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoundsRaw {
    /// Connections of the whole gateway.
    pub connections: u32,
    /// Connections of one channel.
    pub channel_connections: u32,
    /// Connections of one source address without an admitted device.
    pub unidentified_per_source: u32,
    /// A connection without a byte for so long is closed.
    pub idle: Span,
    /// A connection without an admitted device for so long is closed.
    pub identify: Span,
    /// A frame that has begun must be whole after so long, if it does not come at 64 bytes a second.
    pub frame: Span,
    /// A refused login of an ident is answered once in so long.
    pub refused_login: Span,
    /// So often in a minute a device may change hands.
    pub takeovers: u32,
    /// Devices of one account admitted on new connections in a second.
    pub account_logins: u32,
    /// After so long a silence the peer's kernel is asked whether it lives; 0: never.
    pub keepalive: Span,
    /// Memory of all parked frames together.
    pub parked: Bytes,
    /// The receive buffer of a socket; 0 B leaves the system's choice.
    pub receive_buffer: Bytes,
}

impl Default for BoundsRaw {
    fn default() -> Self {
        Self {
            connections: 1_000_000,
            channel_connections: 100_000,
            unidentified_per_source: 1000,
            idle: Span::secs(600),
            identify: Span::secs(60),
            frame: Span::secs(120),
            refused_login: Span::secs(10),
            takeovers: 10,
            account_logins: 2_000,
            keepalive: Span::secs(60),
            parked: Bytes(256 << 20),
            receive_buffer: Bytes(0),
        }
    }
}

/// The log of messages and charges.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalRaw {
    /// The size of a segment file.
    pub segment: Bytes,
    /// How often the counters are written down, so that a start need not fold all.
    pub checkpoint: Span,
    /// The number of this node.
    pub node: u16,
}

impl Default for JournalRaw {
    fn default() -> Self {
        Self {
            segment: Bytes(64 << 20),
            checkpoint: Span::millis(500),
            node: 0,
        }
    }
}

/// Raw traffic: what is kept of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PacketsRaw {
    /// Its bytes on disk; 0: none is kept.
    pub budget: Bytes,
    /// How long it is kept at most.
    pub keep: Span,
    /// Of every channel, whether it asks for it or not.
    pub always: bool,
}

impl Default for PacketsRaw {
    fn default() -> Self {
        Self {
            budget: Bytes(1 << 30),
            keep: Span::secs(7 * 86_400),
            always: false,
        }
    }
}

/// Traces for a collector of OpenTelemetry, in a build that has them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TracesRaw {
    /// Where the collector takes OTLP over HTTP; empty: nothing is traced.
    pub endpoint: String,
    /// One connection in so many is traced, and one call of the API.
    pub one_in: u32,
}

impl Default for TracesRaw {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            one_in: 100,
        }
    }
}

/// An account that the file owns.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountRaw {
    /// Its name, by which the file knows it.
    pub name: String,
    /// The account above it; none: a master.
    pub parent: Option<String>,
    /// The limit it is attached to.
    pub limit: Option<String>,
    /// A disabled account stands still, and its branch with it.
    pub enabled: bool,
    /// For people.
    pub email: String,
    /// Free data.
    pub metadata: Map<String, Value>,
}

impl Default for AccountRaw {
    fn default() -> Self {
        Self {
            name: String::new(),
            parent: None,
            limit: None,
            enabled: true,
            email: String::new(),
            metadata: Map::new(),
        }
    }
}

/// What becomes of a frame that a limit refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyRaw {
    /// Kept unread and unacked.
    #[default]
    Hold,
    /// Acked and thrown away.
    Drop,
}

/// What a channel does with an ident that no device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownRaw {
    /// Not admitted and not acked.
    #[default]
    Hold,
    /// Kept on the channel.
    Store,
    /// Closed.
    Close,
}

/// Which of two connections with the same ident lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakeoverRaw {
    /// The newer.
    #[default]
    Newest,
    /// The older.
    Keep,
}

/// What a client certificate is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientBindsRaw {
    /// For the idents that are its common names.
    #[default]
    Ident,
    /// For devices of the accounts that its organizational units number, and of those below.
    Account,
    /// For any device.
    Nothing,
}

/// How a channel speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsRaw {
    /// The file of its certificate and those between it and the authority, in PEM.
    pub certificate: String,
    /// The file of its private key, in PEM.
    pub key: String,
    /// The file of the authorities whose client certificates count; empty: none is asked for.
    pub client_ca: String,
    /// A tracker without a certificate is refused.
    pub client_required: bool,
    /// What a client certificate is good for.
    pub client_binds: ClientBindsRaw,
}

macro_rules! limit {
    ($($field:ident,)*) => {
        /// A limit that the file owns. A cap that is missing or -1 is none of its own.
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct LimitRaw {
            /// Its name, by which the file knows it.
            pub name: String,
            /// The account that owns it: the one above those that are attached to it.
            pub account: String,
            /// For people.
            pub description: String,
            /// What becomes of a refused frame.
            pub policy: PolicyRaw,
            /// How long a frame stays parked at most.
            pub park: Span,
            /// Free data.
            pub metadata: Map<String, Value>,
            $(
                #[doc = concat!("`", stringify!($field), "`")]
                pub $field: Option<i64>,
            )*
        }

        impl Default for LimitRaw {
            fn default() -> Self {
                Self {
                    name: String::new(),
                    account: String::new(),
                    description: String::new(),
                    policy: PolicyRaw::Hold,
                    park: Span::secs(90),
                    metadata: Map::new(),
                    $($field: None,)*
                }
            }
        }

        impl LimitRaw {
            /// The numbers by name, those that are set.
            pub fn numbers(&self) -> impl Iterator<Item = (&'static str, i64)> {
                [$((stringify!($field), self.$field)),*]
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)))
            }

            /// The names of all numbers.
            pub const NUMBERS: &'static [&'static str] = &[$(stringify!($field)),*];
        }
    };
}

limit! {
    blocking_duration,
    api_calls,
    api_traffic,
    channels_count,
    channel_messages,
    channel_storage,
    channel_traffic,
    channel_connections,
    containers_count,
    container_storage,
    cdns_count,
    cdn_storage,
    cdn_traffic,
    devices_count,
    device_storage,
    device_media_traffic,
    device_media_storage,
    streams_count,
    stream_storage,
    stream_traffic,
    modems_count,
    mqtt_sessions,
    mqtt_messages,
    mqtt_session_storage,
    mqtt_retained_storage,
    mqtt_subscriptions,
    sms_count,
    tokens_count,
    subaccounts_count,
    limits_count,
    realms_count,
    calcs_count,
    calcs_storage,
    plugins_count,
    plugin_traffic,
    plugin_buffered_messages,
    groups_count,
    webhooks_count,
    webhook_storage,
    webhook_traffic,
    grants_count,
    identity_providers_count,
}

/// A channel that the file owns.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelRaw {
    /// Its name, by which the file knows it.
    pub name: String,
    /// The account that owns it.
    pub account: String,
    /// Its protocol, or `auto`.
    pub protocol: String,
    /// With `auto`: the protocols that a connection's first bytes are tried as; none: all.
    pub protocols: Vec<String>,
    /// Its port; none: the lowest free one of the range.
    pub port: Option<u16>,
    /// The host in its URI; none: the gateway's.
    pub host: Option<String>,
    /// A disabled channel has no listener.
    pub enabled: bool,
    /// Its branch's devices are served by no channel of the same protocol above.
    pub isolated: bool,
    /// What it does with an ident that no device has.
    pub unknown: UnknownRaw,
    /// Which of two connections with the same ident lives on.
    pub takeover: TakeoverRaw,
    /// Addresses that may connect; none: all.
    pub allow: Vec<Prefix>,
    /// How it speaks TLS; none: it does not.
    pub tls: Option<TlsRaw>,
    /// How long its buffer keeps messages.
    pub messages_ttl: Span,
    /// Its raw traffic is kept.
    pub keep_packets: bool,
    /// Free data.
    pub metadata: Map<String, Value>,
}

impl Default for ChannelRaw {
    fn default() -> Self {
        Self {
            name: String::new(),
            account: String::new(),
            protocol: String::new(),
            protocols: Vec::new(),
            port: None,
            host: None,
            enabled: true,
            isolated: true,
            unknown: UnknownRaw::Hold,
            takeover: TakeoverRaw::Newest,
            allow: Vec::new(),
            tls: None,
            messages_ttl: Span::secs(86_400),
            keep_packets: false,
            metadata: Map::new(),
        }
    }
}

/// A device that the file owns.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceRaw {
    /// Its name, by which the file knows it.
    pub name: String,
    /// The account that owns it and pays for it.
    pub account: String,
    /// Its protocol.
    pub protocol: String,
    /// The name it gives itself on the wire.
    pub ident: String,
    /// Its model, where decoding or people care.
    pub model: Option<String>,
    /// The secret it must show.
    pub password: Option<String>,
    /// The report format it is configured with.
    pub format: Option<String>,
    /// The zone of its clock.
    pub time_zone: Option<String>,
    /// A disabled device is not admitted.
    pub enabled: bool,
    /// How long its messages are kept.
    pub messages_ttl: Span,
    /// Its raw traffic is kept.
    pub keep_packets: bool,
    /// Free data.
    pub metadata: Map<String, Value>,
}

impl Default for DeviceRaw {
    fn default() -> Self {
        Self {
            name: String::new(),
            account: String::new(),
            protocol: String::new(),
            ident: String::new(),
            model: None,
            password: None,
            format: None,
            time_zone: None,
            enabled: true,
            messages_ttl: Span::secs(31_536_000),
            keep_packets: false,
            metadata: Map::new(),
        }
    }
}
