//! What is known of one ident, as the one who asks may see it. Times are unix us.

use crate::events::Code;
use crate::ids::{AccountId, ChannelId, DeviceId};
use serde::Serialize;
use serde_json::{Map, Value};

/// Everything known of an ident.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Facts {
    /// The name that a tracker gives itself.
    pub ident: String,
    /// When this was asked.
    pub at_us: i64,
    /// Why nothing can be stored now, if nothing can.
    pub disk: Option<String>,
    /// The devices that have the ident.
    pub devices: Vec<DeviceFacts>,
    /// The channels on which it called and no device was found for it.
    pub unknown: Vec<UnknownFacts>,
    /// Its open connections.
    pub connections: Vec<ConnectionFacts>,
    /// What the log says of it, the newest first.
    pub log: Vec<Told>,
    /// Ends of connections that nobody had named himself on, where it may have been the one.
    pub strays: Vec<Told>,
    /// Its last chunks of raw traffic, if they are kept: when, `received` or `sent`, hexadecimal.
    pub frames: Vec<(i64, &'static str, String)>,
}

/// A device that has the ident.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DeviceFacts {
    /// Its id.
    pub id: DeviceId,
    /// For people.
    pub name: String,
    /// Its account.
    pub cid: AccountId,
    /// Its protocol's name.
    pub protocol: &'static str,
    /// Is it enabled?
    pub enabled: bool,
    /// How many levels up an account is disabled, if one is; 0 is its own.
    pub account_disabled: Option<u8>,
    /// Its account, or one above it, is blocked.
    pub blocked: Option<Blocked>,
    /// The channels that serve it.
    pub channels: Vec<ChannelFacts>,
    /// The newest message by the device's own time, and when the server took it.
    pub newest: Option<(i64, i64)>,
    /// Where its last connection came from.
    pub source: Option<String>,
}

/// A block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// In what.
    pub dimension: &'static str,
    /// How many levels above the device's account; 0 is its own.
    pub levels_up: u8,
    /// Until when.
    pub until_us: i64,
}

/// A channel.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChannelFacts {
    /// Its id.
    pub id: ChannelId,
    /// For people; empty where the caller does not manage it.
    pub name: String,
    /// Where trackers call it.
    pub uri: String,
    /// It is enabled, with its accounts.
    pub enabled: bool,
    /// It speaks TLS.
    pub tls: bool,
}

/// An ident that no device was found for.
#[derive(Debug, Clone, Default, Serialize)]
pub struct UnknownFacts {
    /// Where it called.
    pub channel: ChannelFacts,
    /// In which protocol.
    pub protocol: &'static str,
    /// How many frames came.
    pub count: u64,
    /// When the last one came.
    pub last_us: i64,
}

/// An open connection.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ConnectionFacts {
    /// Its id, which stands in the log, in the API and in captures.
    pub id: u64,
    /// To which channel.
    pub channel: ChannelId,
    /// From where.
    pub source: String,
    /// Since when.
    pub since_us: i64,
    /// It is not read, because what it sent was refused.
    pub parked: bool,
}

/// An event of the log.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Told {
    /// When.
    pub at_us: i64,
    /// Its code.
    pub code: u16,
    /// On which channel.
    pub channel: ChannelId,
    /// What it says.
    pub data: Map<String, Value>,
    /// The protocol in which the first bytes of the connection name the ident, where that is not
    /// one of the channel's.
    pub speaks: Option<&'static str>,
    /// It came from where the device had come from.
    pub same_source: bool,
    /// The channel serves a device that has the ident.
    pub serves: bool,
    /// The channel speaks TLS.
    pub tls: bool,
}

impl Facts {
    /// When the newest message of a device was taken.
    pub(super) fn newest_us(&self) -> i64 {
        let newest = self.devices.iter().filter_map(|device| device.newest);
        newest
            .map(|(_, taken_us)| taken_us)
            .max()
            .unwrap_or(i64::MIN)
    }
}

impl Told {
    /// Is it of a connection of the tracker, not of what somebody did with the device's item?
    pub fn is_of_a_call(&self) -> bool {
        use Code::{
            ApiCall, Blocked, Changed, CommandCanceled, CommandFailed, CommandQueued, Created,
            Deleted, Moved, Unblocked,
        };
        !matches!(
            Code::from_number(self.code),
            Some(
                Created
                    | Changed
                    | Deleted
                    | Moved
                    | Blocked
                    | Unblocked
                    | ApiCall
                    | CommandQueued
                    | CommandCanceled
                    | CommandFailed
            )
        )
    }

    /// A text of it.
    pub fn text(&self, name: &str) -> &str {
        self.data.get(name).and_then(Value::as_str).unwrap_or("")
    }

    /// A number of it.
    pub fn number(&self, name: &str) -> i64 {
        self.data.get(name).and_then(Value::as_i64).unwrap_or(0)
    }
}
