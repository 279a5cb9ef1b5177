//! Asks the other rooms what they know of an ident, and shows of it what the caller may see.

use super::facts::{
    Blocked, ChannelFacts, ConnectionFacts, DeviceFacts, Facts, Told, UnknownFacts,
};
use crate::control::Control;
use crate::events::{Code, Event, OriginKind, Query as EventQuery};
use crate::ids::{AccountId, ChannelId};
use crate::journal::Range;
use crate::raw::{Direction, Query, RawTraffic};
use crate::registry::{ChannelHandle, DeviceHandle};
use protocols::{Env, Output, PROTOCOLS, Protocol, Unregistered};
use std::net::SocketAddr;
use std::sync::Arc;

/// Events of the ident that are looked at.
pub const LOG_MAX: usize = 100;
/// Ends of connections that nobody named himself on.
pub const STRAYS_MAX: usize = 200;
/// Chunks of raw traffic that are shown.
pub const FRAMES_MAX: usize = 6;
/// How far back the log is read, in us: a week.
pub const LOOK_BACK_US: i64 = 7 * 86_400_000_000;
/// Bytes of those chunks.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// What is known of `ident`, as who manages `root` may see it ([`AccountId::NONE`]: the operator).
/// `channels`: only what came there; `None`: anywhere. Blocks on the disk.
pub fn gather(
    control: &Control,
    raw: &RawTraffic,
    root: AccountId,
    ident: &str,
    channels: Option<&[u64]>,
) -> Facts {
    let room = Room {
        control,
        root,
        ident,
        now_us: control.clock().now_us(),
    };
    let journal = control.journal();
    let disk = match journal.failed() {
        Some(failure) => Some(format!("a write has failed: {failure}")),
        None if journal.is_stalled() => Some("there is no disk space".to_owned()),
        None => None,
    };
    let devices = room.devices();
    let in_question: Vec<Arc<ChannelHandle>> = room
        .channels(&devices)
        .into_iter()
        .filter(|channel| channels.is_none_or(|ids| ids.contains(&channel.id.0)))
        .collect();
    let mut facts = Facts {
        ident: ident.to_owned(),
        at_us: room.now_us,
        disk,
        devices: devices.iter().map(|device| room.device(device)).collect(),
        unknown: room.unknown(&in_question),
        ..Facts::default()
    };
    facts.connections = room.connections(&devices);
    facts.log = room.log(&devices, &in_question);
    for device in &mut facts.devices {
        let of = |told: &&Told| told.code == Code::Connected.number();
        let last = facts.log.iter().find(of);
        device.source = last.map(|told| told.text("source").to_owned());
    }
    facts.strays = room.strays(&devices, &in_question, &facts);
    facts.frames = room.frames(raw);
    facts
}

struct Room<'a> {
    control: &'a Control,
    root: AccountId,
    ident: &'a str,
    now_us: i64,
}

impl Room<'_> {
    fn may_see(&self, account: AccountId) -> bool {
        self.control.registry().manages(self.root, account)
    }

    /// The devices that have the ident, in whatever form it is written.
    fn devices(&self) -> Vec<Arc<DeviceHandle>> {
        let registry = self.control.registry();
        let mut devices = Vec::new();
        for protocol in PROTOCOLS {
            if let Ok(ident) = protocol.ident(self.ident) {
                devices.extend(registry.holding(protocol.number, &ident));
            }
        }
        devices.retain(|device| self.may_see(device.state.load().account.id()));
        devices
    }

    /// The channels that the caller manages, and those that serve the devices.
    fn channels(&self, devices: &[Arc<DeviceHandle>]) -> Vec<Arc<ChannelHandle>> {
        let registry = self.control.registry();
        let mut channels = registry.channels();
        channels.retain(|channel| {
            self.may_see(channel.state.load().owner.id())
                || devices
                    .iter()
                    .any(|device| registry.serves_now(channel, device))
        });
        channels
    }

    fn channel(&self, channel: &ChannelHandle) -> ChannelFacts {
        let state = channel.state.load();
        let name = if self.may_see(state.owner.id()) {
            state.item.name.clone()
        } else {
            String::new()
        };
        ChannelFacts {
            id: channel.id,
            name,
            uri: format!("{}:{}", state.item.host, state.item.port),
            enabled: state.enabled && state.owner.enabled_chain(),
            tls: state.item.tls.is_some(),
        }
    }

    fn device(&self, device: &DeviceHandle) -> DeviceFacts {
        let state = device.state.load_full();
        let registry = self.control.registry();
        let account = &state.account;
        let blocked = account.blocked(self.now_us).map(|blocked| {
            let level = registry.tree().account(blocked.account);
            let level = level.map_or(account.level(), |at| at.level());
            Blocked {
                dimension: blocked.dimension.name(),
                levels_up: account.level().saturating_sub(level),
                until_us: blocked.until_us,
            }
        });
        let mut disabled = None;
        let mut above = Some(account.clone());
        while let Some(at) = above {
            if !at.is_enabled() {
                disabled.get_or_insert(account.level().saturating_sub(at.level()));
            }
            above = at.parent();
        }
        let range = Range {
            count: 1,
            reverse: true,
            ..Range::default()
        };
        let newest = self.control.journal().read_device(device.id, range).next();
        let newest = newest.and_then(Result::ok).map(|message| {
            let timestamp_us = message.timestamp_ms().saturating_mul(1_000);
            (timestamp_us, message.at_us)
        });
        let serving = registry.channels().into_iter();
        let serving = serving.filter(|channel| registry.serves_now(channel, device));
        DeviceFacts {
            id: device.id,
            name: state.item.name.clone(),
            cid: account.id(),
            protocol: protocols::name_of(device.protocol),
            enabled: state.enabled,
            account_disabled: disabled,
            blocked,
            channels: serving.map(|channel| self.channel(&channel)).collect(),
            newest,
            source: None,
        }
    }

    fn unknown(&self, channels: &[Arc<ChannelHandle>]) -> Vec<UnknownFacts> {
        let mut unknown = Vec::new();
        for channel in channels {
            if !self.may_see(channel.state.load().owner.id()) {
                continue;
            }
            for one in channel.unknown().list() {
                let names_it = protocols::by_number(one.protocol)
                    .and_then(|protocol| protocol.ident(self.ident).ok())
                    .is_some_and(|ident| ident == one.ident);
                if names_it {
                    unknown.push(UnknownFacts {
                        channel: self.channel(channel),
                        protocol: protocols::name_of(one.protocol),
                        count: one.count,
                        last_us: one.last_seen_us,
                    });
                }
            }
        }
        unknown
    }

    fn connections(&self, devices: &[Arc<DeviceHandle>]) -> Vec<ConnectionFacts> {
        let carries = |device| devices.iter().any(|one| one.id == device);
        let found = self
            .control
            .router()
            .connections(|facts| facts.carries.iter().any(|carried| carries(carried.device)));
        let found = found.into_iter().map(|facts| ConnectionFacts {
            id: facts.id.0,
            channel: facts.channel,
            source: facts.peer.to_string(),
            since_us: facts.established_us,
            parked: facts.parked,
        });
        found.collect()
    }

    /// Is the event of an item that is in question?
    fn is_of(
        &self,
        event: (OriginKind, u64, AccountId),
        devices: &[Arc<DeviceHandle>],
        channels: &[Arc<ChannelHandle>],
    ) -> bool {
        match event {
            (OriginKind::Device, id, account) => {
                devices.iter().any(|device| device.id.0 == id) && self.may_see(account)
            }
            (OriginKind::Channel, id, _) => channels.iter().any(|channel| channel.id.0 == id),
            _ => false,
        }
    }

    fn read(
        &self,
        devices: &[Arc<DeviceHandle>],
        channels: &[Arc<ChannelHandle>],
        count: usize,
        fits: &dyn Fn(&Event) -> bool,
    ) -> Vec<Told> {
        let read = self.control.events().read(&EventQuery {
            from_us: self.now_us.saturating_sub(LOOK_BACK_US),
            to_us: i64::MAX,
            count,
            reverse: true,
            wanted: &|origin, account| {
                self.is_of((origin.kind, origin.id, account), devices, channels)
            },
            fits,
        });
        let events = read.unwrap_or_else(|error| {
            tracing::error!(%error, "the log cannot be read");
            Vec::new()
        });
        events
            .into_iter()
            .map(|event| {
                let channel = match event.origin.kind {
                    OriginKind::Channel => event.origin.id,
                    _ => event
                        .data
                        .get("channel_id")
                        .and_then(serde_json::Value::as_u64)
                        .unwrap_or(0),
                };
                Told {
                    at_us: event.at_us,
                    code: event.code.number(),
                    channel: ChannelId(channel),
                    data: event.data,
                    ..Told::default()
                }
            })
            .collect()
    }

    fn log(&self, devices: &[Arc<DeviceHandle>], channels: &[Arc<ChannelHandle>]) -> Vec<Told> {
        self.read(devices, channels, LOG_MAX, &|event| {
            event.origin.kind == OriginKind::Device
                || event.data.get("ident").and_then(serde_json::Value::as_str) == Some(self.ident)
        })
    }

    /// Ends of connections on which nobody named himself.
    fn strays(
        &self,
        devices: &[Arc<DeviceHandle>],
        channels: &[Arc<ChannelHandle>],
        facts: &Facts,
    ) -> Vec<Told> {
        let registry = self.control.registry();
        let ends = |event: &Event| event.code == Code::Closed && !event.data.contains_key("ident");
        let mut strays = self.read(devices, channels, STRAYS_MAX, &ends);
        let known: Vec<_> = facts
            .devices
            .iter()
            .filter_map(|device| address(device.source.as_deref()?))
            .collect();
        for told in &mut strays {
            let Some(channel) = channels.iter().find(|channel| channel.id == told.channel) else {
                continue;
            };
            let state = channel.state.load();
            told.tls = state.item.tls.is_some();
            told.serves = devices
                .iter()
                .any(|device| registry.serves_now(channel, device));
            told.same_source = address(told.text("source")).is_some_and(|at| known.contains(&at));
            let head = protocols::kit::hex::decode(told.text("head")).unwrap_or_default();
            told.speaks = PROTOCOLS
                .iter()
                .filter(|protocol| !state.protocols.contains(&protocol.number))
                .find(|protocol| names(protocol, &head, self.ident))
                .map(|protocol| protocol.info.name);
        }
        // of a channel above only what is surely the caller's own is shown
        strays.retain(|told| {
            let channel = channels.iter().find(|channel| channel.id == told.channel);
            let managed = channel.is_some_and(|one| self.may_see(one.state.load().owner.id()));
            managed || told.speaks.is_some() || told.same_source
        });
        strays
    }

    fn frames(&self, raw: &RawTraffic) -> Vec<(i64, &'static str, String)> {
        let query = Query {
            from_us: self.now_us.saturating_sub(LOOK_BACK_US),
            to_us: i64::MAX,
            wanted: &|label| label.ident == self.ident,
            seen: &|account| self.may_see(account),
        };
        // that none is kept is no news here
        let found = raw
            .read(&query, FRAMES_MAX, FRAME_BYTES_MAX, true)
            .unwrap_or_default();
        let shown = found.iter().filter(|packet| !packet.bytes.is_empty());
        let shown = shown.map(|packet| {
            let way = match packet.direction {
                Direction::Sent => "sent",
                _ => "received",
            };
            (
                packet.at_us,
                way,
                protocols::kit::hex::encode(&packet.bytes),
            )
        });
        shown.collect()
    }
}

fn address(source: &str) -> Option<std::net::IpAddr> {
    source.parse::<SocketAddr>().ok().map(|source| source.ip())
}

/// Does a connection that begins so name the ident in this protocol?
fn names(protocol: &Protocol, head: &[u8], ident: &str) -> bool {
    if head.is_empty() {
        return false;
    }
    let Ok(wanted) = protocol.ident(ident) else {
        return false;
    };
    let mut out = Output::default();
    let env = Env {
        now_ms: 0,
        lookup: &mut Unregistered,
        out: &mut out,
    };
    (protocol.open)().feed(head, false, env);
    let mut logins = out.events.iter();
    logins.any(|event| matches!(event, protocols::Event::Login { ident, .. } if *ident == wanted))
}
