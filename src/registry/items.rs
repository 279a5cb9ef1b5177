//! The items as they are stored and shown: accounts, limits, channels, devices, tokens.
//!
//! Plain data: what a person asked for, plus what the gateway adds (id, owner, revision, times,
//! source). Nothing here decides anything. Their JSON form is what [`crate::store`] keeps, so a
//! field is only ever added, with a default: an old record loads for ever
//! (`fixtures/_store` holds one of each).

use crate::account::{Caps, Dimension, Policy, Rules};
use crate::ids::{AccountId, ChannelId, DeviceId, Epoch, Ident, LimitId, Revision, TokenId};
use compact_str::CompactString;
use protocols::{Settings, SettingsError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Free data of the user, kept and given back as it is.
pub type Metadata = Map<String, Value>;

/// Who owns an item's definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Made and changed through the API.
    #[default]
    Api,
    /// Declared in the configuration file, keyed by its name: the API refuses to change it.
    File,
}

/// What the gateway itself writes into every item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// Raised by every change.
    pub revision: Revision,
    /// When it was made, unix us.
    pub created_us: i64,
    /// When it was last changed, unix us.
    pub updated_us: i64,
    /// Who owns its definition.
    #[serde(default)]
    pub source: Source,
}

impl Stamp {
    /// Of an item made now.
    pub const fn new(now_us: i64, source: Source) -> Self {
        Self {
            revision: Revision(1),
            created_us: now_us,
            updated_us: now_us,
            source,
        }
    }

    /// Of the item after a change now.
    #[must_use]
    pub const fn changed(self, now_us: i64) -> Self {
        Self {
            revision: Revision(self.revision.0 + 1),
            updated_us: now_us,
            ..self
        }
    }
}

/// A node of the account tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountItem {
    /// Never used again.
    pub id: AccountId,
    /// The parent, for life; [`AccountId::NONE`] for a master.
    pub owner_id: AccountId,
    /// For people.
    pub name: String,
    /// A disabled account stands still, and its branch with it.
    pub enabled: bool,
    /// The limit it is attached to, if any.
    #[serde(default)]
    pub limit_id: LimitId,
    /// For people.
    #[serde(default)]
    pub email: String,
    /// The user's.
    #[serde(default)]
    pub metadata: Metadata,
    /// The gateway's.
    pub stamp: Stamp,
}

/// What is left of a deleted account for ever: its place in the tree, which the journal's old
/// entries need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The account that was deleted.
    pub id: AccountId,
    /// Its parent.
    pub owner_id: AccountId,
    /// When, unix us.
    pub deleted_us: i64,
}

/// A field of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitField {
    /// Its name.
    pub name: &'static str,
    /// The dimension that it caps; `None` where there is none of that name yet (it is stored and
    /// given back all the same).
    pub dimension: Option<Dimension>,
}

const fn stored(name: &'static str) -> LimitField {
    LimitField {
        name,
        dimension: None,
    }
}

const fn caps(name: &'static str, dimension: Dimension) -> LimitField {
    LimitField {
        name,
        dimension: Some(dimension),
    }
}

/// The field that says for how many seconds an account stays blocked after it exceeded a rate.
pub const BLOCKING_DURATION: &str = "blocking_duration";

/// Every field of a limit that holds a number; -1, the default, is no cap of its own.
pub const LIMIT_FIELDS: &[LimitField] = &[
    stored(BLOCKING_DURATION),
    caps("api_calls", Dimension::ApiCalls),
    caps("api_traffic", Dimension::ApiTraffic),
    caps("channels_count", Dimension::ChannelsCount),
    caps("channel_messages", Dimension::ChannelMessages),
    caps("channel_storage", Dimension::ChannelStorage),
    caps("channel_traffic", Dimension::ChannelTraffic),
    caps("channel_connections", Dimension::ChannelConnections),
    stored("containers_count"),
    stored("container_storage"),
    stored("cdns_count"),
    stored("cdn_storage"),
    stored("cdn_traffic"),
    caps("devices_count", Dimension::DevicesCount),
    caps("device_storage", Dimension::DeviceStorage),
    stored("device_media_traffic"),
    stored("device_media_storage"),
    stored("streams_count"),
    stored("stream_storage"),
    stored("stream_traffic"),
    stored("modems_count"),
    stored("mqtt_sessions"),
    stored("mqtt_messages"),
    stored("mqtt_session_storage"),
    stored("mqtt_retained_storage"),
    stored("mqtt_subscriptions"),
    stored("sms_count"),
    caps("tokens_count", Dimension::TokensCount),
    caps("subaccounts_count", Dimension::SubaccountsCount),
    caps("limits_count", Dimension::LimitsCount),
    stored("realms_count"),
    stored("calcs_count"),
    stored("calcs_storage"),
    stored("plugins_count"),
    stored("plugin_traffic"),
    stored("plugin_buffered_messages"),
    stored("groups_count"),
    stored("webhooks_count"),
    stored("webhook_storage"),
    stored("webhook_traffic"),
    stored("grants_count"),
    stored("identity_providers_count"),
];

/// The field of that name.
pub fn limit_field(name: &str) -> Option<&'static LimitField> {
    LIMIT_FIELDS.iter().find(|field| field.name == name)
}

/// What happens to a frame that a limit refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitPolicy {
    /// It is kept unread and unacked until there is room (parked).
    #[default]
    Hold,
    /// It is acked and thrown away, after an entry that says so.
    Drop,
}

/// How long a frame stays parked at most unless a limit says otherwise.
pub const PARK_MS_MAX: u32 = 90_000;

const fn park_ms_max() -> u32 {
    PARK_MS_MAX
}

/// Named caps that accounts are attached to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitItem {
    /// Never used again.
    pub id: LimitId,
    /// The account that owns it.
    pub cid: AccountId,
    /// For people.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// What is capped, by the names of [`LIMIT_FIELDS`]; what is missing is -1.
    #[serde(default)]
    pub fields: BTreeMap<String, i64>,
    /// What becomes of a refused frame.
    #[serde(default)]
    pub policy: LimitPolicy,
    /// How long a frame stays parked at most.
    #[serde(default = "park_ms_max")]
    pub park_ms_max: u32,
    /// The user's.
    #[serde(default)]
    pub metadata: Metadata,
    /// The gateway's.
    pub stamp: Stamp,
}

impl LimitItem {
    /// The value of a field; -1 unless it was set.
    pub fn field(&self, name: &str) -> i64 {
        self.fields.get(name).copied().unwrap_or(-1)
    }

    /// What the account tree makes of it.
    pub fn rules(&self) -> Rules {
        let mut caps = Caps::default();
        for field in LIMIT_FIELDS {
            if let Some(dimension) = field.dimension {
                caps.set(dimension, self.field(field.name));
            }
        }
        Rules {
            caps,
            policy: match self.policy {
                LimitPolicy::Hold => Policy::Hold,
                LimitPolicy::Drop => Policy::Drop,
            },
            park_ms_max: self.park_ms_max,
            blocking_duration_s: u32::try_from(self.field(BLOCKING_DURATION)).unwrap_or(0),
        }
    }
}

/// What a channel does with an ident that no device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownPolicy {
    /// Not admitted and not acked, so that the tracker keeps what it has until someone registers
    /// the ident.
    #[default]
    Hold,
    /// Kept on the channel, charged to the channel's owner.
    Store,
    /// The connection is closed.
    Close,
}

/// Which of two connections with the same ident lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Takeover {
    /// The newer one.
    #[default]
    Newest,
    /// The older one, while it is alive.
    Keep,
}

/// What the certificate that a tracker shows is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientBinds {
    /// For the idents that are its common names.
    #[default]
    Ident,
    /// For the devices of the accounts whose numbers are its organizational units, and of those
    /// below them.
    Account,
    /// For any device: it opens the channel and no more.
    Nothing,
}

/// How a channel speaks TLS. The names are of files in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsItem {
    /// The certificate and those between it and the authority.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// The authorities whose client certificates count; empty: none is asked for.
    pub client_ca: String,
    /// A tracker without a certificate is refused.
    pub client_required: bool,
    /// What a client certificate is good for.
    pub client_binds: ClientBinds,
}

/// How long a channel's buffer keeps messages unless it says otherwise: a day.
pub const CHANNEL_MESSAGES_TTL_S: u32 = 86_400;
/// The longest that a channel's buffer may keep messages: 31 days.
pub const CHANNEL_MESSAGES_TTL_S_MAX: u32 = 31 * 86_400;
/// How long a device's messages are kept unless it says otherwise: a year.
pub const DEVICE_MESSAGES_TTL_S: u32 = 31_536_000;
/// The longest that a device's messages may be kept: ten years.
pub const DEVICE_MESSAGES_TTL_S_MAX: u32 = 3660 * 86_400;

const fn yes() -> bool {
    true
}

const fn channel_messages_ttl_s() -> u32 {
    CHANNEL_MESSAGES_TTL_S
}

const fn device_messages_ttl_s() -> u32 {
    DEVICE_MESSAGES_TTL_S
}

/// A configured entry: protocols, a port, an owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelItem {
    /// Never used again.
    pub id: ChannelId,
    /// The account that owns it.
    pub cid: AccountId,
    /// For people.
    pub name: String,
    /// A disabled channel has no listener; it counts for identity all the same.
    pub enabled: bool,
    /// The protocols' stored numbers, in the order in which they are tried: one, or several that are
    /// told apart by a connection's first bytes.
    pub protocols: Vec<u16>,
    /// The public host of its URI, for life.
    #[serde(default)]
    pub host: String,
    /// The port of its URI, for life.
    pub port: u16,
    /// The devices of its owner's branch are served by no channel of the same protocol above.
    #[serde(default = "yes")]
    pub isolated: bool,
    /// What it does with an ident that no device has.
    #[serde(default)]
    pub unknown: UnknownPolicy,
    /// Which of two connections with the same ident lives on.
    #[serde(default)]
    pub takeover: Takeover,
    /// Address prefixes that may connect (`10.0.0.0/8`); empty: every address.
    #[serde(default)]
    pub allow: Vec<String>,
    /// How it speaks TLS; none: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsItem>,
    /// How long its buffer keeps messages.
    #[serde(default = "channel_messages_ttl_s")]
    pub messages_ttl_s: u32,
    /// Its raw traffic is kept.
    #[serde(default)]
    pub keep_packets: bool,
    /// The protocol's own settings.
    #[serde(default)]
    pub configuration: Metadata,
    /// The user's.
    #[serde(default)]
    pub metadata: Metadata,
    /// The gateway's.
    pub stamp: Stamp,
}

/// A registered unit of an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceItem {
    /// Never used again.
    pub id: DeviceId,
    /// The account that owns it and pays for it.
    pub cid: AccountId,
    /// For people.
    pub name: String,
    /// A disabled device is not admitted; it counts for identity all the same.
    pub enabled: bool,
    /// Its type: protocol and model (see [`super::types`]).
    pub device_type_id: u32,
    /// The stored number of its protocol.
    pub protocol: u16,
    /// Its name on the wire, in the protocol's canonical form.
    #[serde(with = "ident_text")]
    pub ident: Ident,
    /// What decoding may depend on.
    #[serde(default, skip_serializing_if = "SettingsText::is_empty")]
    pub settings: SettingsText,
    /// How long its messages are kept.
    #[serde(default = "device_messages_ttl_s")]
    pub messages_ttl_s: u32,
    /// How many bytes of its messages are kept at most; 0: all.
    #[serde(default)]
    pub messages_rotate: u64,
    /// Its raw traffic is kept.
    #[serde(default)]
    pub keep_packets: bool,
    /// As the user wrote it (`ident`, `settings_polling`, ...).
    #[serde(default)]
    pub configuration: Metadata,
    /// The user's.
    #[serde(default)]
    pub metadata: Metadata,
    /// When it last changed its account, unix us; 0: never.
    #[serde(default)]
    pub moved_us: i64,
    /// How often it has changed its account.
    #[serde(default)]
    pub epoch: Epoch,
    /// The gateway's.
    pub stamp: Stamp,
}

/// A device's settings as they are written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SettingsText {
    /// The model, as the protocol's list of models has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<CompactString>,
    /// The secret that the tracker must show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<CompactString>,
    /// The report format that the tracker is configured with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<CompactString>,
    /// The zone of the device's clock: an offset or a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<CompactString>,
}

impl SettingsText {
    /// Is nothing set?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the decoder is handed.
    pub fn checked(&self) -> Result<Settings, SettingsError> {
        let mut settings = Settings::default();
        for (key, value) in [
            ("model", &self.model),
            ("password", &self.password),
            ("format", &self.format),
            ("time_zone", &self.time_zone),
        ] {
            if let Some(value) = value {
                settings.set(key, value)?;
            }
        }
        Ok(settings)
    }
}

/// What a token may do.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Everything about channels, devices and their messages; nothing of accounts, limits and
    /// tokens.
    #[default]
    Standard,
    /// Everything of its account and branch.
    Master,
    /// What its list says and nothing else.
    Acl(Vec<Value>),
}

/// An access key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenItem {
    /// Never used again.
    pub id: TokenId,
    /// The account that it acts for.
    pub cid: AccountId,
    /// The keyed hash of the key, in hex: the key itself is shown once and never kept.
    pub key_hash: String,
    /// A disabled token is refused.
    pub enabled: bool,
    /// What it may do.
    #[serde(default)]
    pub access: Access,
    /// For people.
    #[serde(default)]
    pub info: String,
    /// So long it lives after its last use; 0: no bound.
    #[serde(default)]
    pub ttl_s: u32,
    /// When it ends whatever happens, unix s; 0: never.
    #[serde(default)]
    pub expire_s: i64,
    /// Address prefixes that it may be used from; empty: every address.
    #[serde(default)]
    pub ips: Vec<String>,
    /// The user's.
    #[serde(default)]
    pub metadata: Metadata,
    /// The gateway's.
    pub stamp: Stamp,
}

mod ident_text {
    use crate::ids::Ident;
    use serde::{Deserialize as _, Deserializer, Serializer, de};
    use std::borrow::Cow;

    pub(super) fn serialize<S: Serializer>(ident: &Ident, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(ident.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Ident, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        Ident::new(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_has_every_field_of_the_contract_and_no_field_caps_nothing_by_mistake() {
        let names: std::collections::BTreeSet<_> =
            LIMIT_FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), LIMIT_FIELDS.len());
        assert_eq!(names.len(), 42);
        for dimension in Dimension::ALL {
            let field = limit_field(dimension.name()).expect("every dimension is a field");
            assert_eq!(field.dimension, Some(dimension));
        }
    }

    #[test]
    fn a_limit_without_fields_caps_nothing() {
        let limit: LimitItem = serde_json::from_value(serde_json::json!({
            "id": 1, "cid": 1, "name": "none",
            "stamp": {"revision": 1, "created_us": 0, "updated_us": 0},
        }))
        .unwrap();
        let rules = limit.rules();
        assert!(
            Dimension::ALL
                .into_iter()
                .all(|dim| rules.caps.get(dim) == -1)
        );
        assert_eq!(rules.park_ms_max, 90_000);
        assert_eq!(rules.blocking_duration_s, 0);
    }
}
