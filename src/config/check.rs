//! From what is written to what can be.

use super::raw::{
    AccountRaw, BoundsRaw, ChannelRaw, DeviceRaw, GatewayRaw, HttpRaw, JournalRaw, LimitRaw,
    PacketsRaw, Raw, TracesRaw,
};
use super::units::{Bytes, Span};
use super::words::out_of_bounds;
use super::{ConfigError, nearest};
use protocols::{Ident, Model, PROTOCOLS, Protocol, Settings};
use std::collections::{BTreeMap, BTreeSet};

/// The most items of one kind in a file.
pub const ITEMS_MAX: usize = 100_000;
/// Levels of accounts: a master and four below it.
pub const ACCOUNT_LEVELS_MAX: usize = 5;

const CHANNEL_TTL_MAX: Span = Span::secs(31 * 86_400);
const DEVICE_TTL_MAX: Span = Span::secs(3660 * 86_400);
const PARK_MAX: Span = Span::secs(600);

/// A file without mistakes. Items are in the order of the file; what they name is an index there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// The gateway as a whole.
    pub gateway: GatewayRaw,
    /// Health and metrics.
    pub http: HttpRaw,
    /// What trackers may take from the gateway.
    pub bounds: BoundsRaw,
    /// The log of messages and charges.
    pub journal: JournalRaw,
    /// Raw traffic.
    pub packets: PacketsRaw,
    /// Traces for a collector.
    pub traces: TracesRaw,
    /// Accounts.
    pub accounts: Vec<AccountConfig>,
    /// Indices of the accounts, each parent before its children.
    pub accounts_in_order: Vec<usize>,
    /// Limits.
    pub limits: Vec<LimitConfig>,
    /// Channels.
    pub channels: Vec<ChannelConfig>,
    /// Devices.
    pub devices: Vec<DeviceConfig>,
}

/// An account that the file owns.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountConfig {
    /// As it is written.
    pub raw: AccountRaw,
    /// The account above it.
    pub parent: Option<usize>,
    /// The limit it is attached to.
    pub limit: Option<usize>,
}

/// A limit that the file owns.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitConfig {
    /// As it is written.
    pub raw: LimitRaw,
    /// The account that owns it.
    pub account: usize,
}

/// A channel that the file owns.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelConfig {
    /// As it is written.
    pub raw: ChannelRaw,
    /// The account that owns it.
    pub account: usize,
    /// The protocols' stored numbers, in the order in which they are tried.
    pub protocols: Vec<u16>,
}

/// A device that the file owns.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceConfig {
    /// As it is written.
    pub raw: DeviceRaw,
    /// The account that owns it.
    pub account: usize,
    /// The stored number of its protocol.
    pub protocol: u16,
    /// Its name on the wire in the protocol's canonical form.
    pub ident: Ident,
    /// The number of its model; 0: any.
    pub model: u16,
}

/// The mistakes found so far, and what names lead to.
struct Check<'a> {
    mistakes: Vec<ConfigError>,
    accounts: BTreeMap<&'a str, usize>,
    limits: BTreeMap<&'a str, usize>,
}

/// What the file says, or every mistake in it.
pub fn check(raw: &Raw) -> Result<Config, Vec<ConfigError>> {
    let mut check = Check {
        mistakes: Vec::new(),
        accounts: BTreeMap::new(),
        limits: BTreeMap::new(),
    };
    check.accounts = check.names("accounts", raw.accounts.iter().map(|it| it.name.as_str()));
    check.limits = check.names("limits", raw.limits.iter().map(|it| it.name.as_str()));
    check.names("channels", raw.channels.iter().map(|it| it.name.as_str()));
    check.names("devices", raw.devices.iter().map(|it| it.name.as_str()));
    check.gateway(raw);
    check.traces(&raw.traces);
    let accounts_in_order = check.tree(&raw.accounts);
    let mut config = Config {
        gateway: raw.gateway.clone(),
        http: raw.http.clone(),
        bounds: raw.bounds.clone(),
        journal: raw.journal.clone(),
        packets: raw.packets.clone(),
        traces: raw.traces.clone(),
        accounts_in_order,
        ..Config::default()
    };
    for (index, limit) in raw.limits.iter().enumerate() {
        let made = check.limit(&format!("limits[{index}]"), limit);
        config.limits.extend(made);
    }
    for (index, account) in raw.accounts.iter().enumerate() {
        let made = check.account(&format!("accounts[{index}]"), account, raw);
        config.accounts.extend(made);
    }
    for (index, channel) in raw.channels.iter().enumerate() {
        let made = check.channel(&format!("channels[{index}]"), channel);
        config.channels.extend(made);
    }
    check.ports(raw);
    for (index, device) in raw.devices.iter().enumerate() {
        let made = check.device(&format!("devices[{index}]"), device);
        config.devices.extend(made);
    }
    check.twins(&config.devices, raw.devices.len());
    if check.mistakes.is_empty() {
        Ok(config)
    } else {
        Err(check.mistakes)
    }
}

impl<'a> Check<'a> {
    fn wrong(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        self.mistakes.push(ConfigError::new(path, problem));
    }

    fn names(
        &mut self,
        kind: &str,
        names: impl ExactSizeIterator<Item = &'a str>,
    ) -> BTreeMap<&'a str, usize> {
        if names.len() > ITEMS_MAX {
            self.wrong(kind, format!("are more than {ITEMS_MAX}"));
        }
        let mut known = BTreeMap::new();
        for (index, name) in names.enumerate() {
            let path = format!("{kind}[{index}].name");
            if name.trim().is_empty() {
                self.wrong(path, "is missing: the file knows the item by its name");
            } else if name.len() > 256 || name.chars().any(char::is_control) {
                self.wrong(
                    path,
                    "is longer than 256 bytes or holds a control character",
                );
            } else if let Some(first) = known.get(name) {
                self.wrong(
                    path,
                    format!("\"{name}\" is the name of {kind}[{first}] already"),
                );
            } else {
                known.insert(name, index);
            }
        }
        known
    }

    /// The item that a name leads to.
    fn named(&mut self, path: String, what: &str, name: &str) -> Option<usize> {
        let known = match what {
            "limit" => &self.limits,
            _ => &self.accounts,
        };
        if let Some(index) = known.get(name) {
            return Some(*index);
        }
        let mistake = if name.is_empty() {
            ConfigError::new(path, format!("is missing: which {what}?"))
        } else {
            ConfigError::new(path, format!("there is no {what} \"{name}\" in this file")).hint(
                nearest(name, known.keys().copied())
                    .map(|near| format!("did you mean \"{near}\"?")),
            )
        };
        self.mistakes.push(mistake);
        None
    }

    fn span(&mut self, path: String, value: Span, least: Span, most: Span) {
        if value < least || value > most {
            let nearest = if value < least { least } else { most };
            let problem = format!("{value} is not within {least} to {most}");
            let hint = Some(format!("the nearest is \"{nearest}\""));
            self.mistakes
                .push(ConfigError::new(path, problem).hint(hint));
        }
    }

    fn number(&mut self, path: &str, value: impl Into<i64>) {
        self.mistakes.extend(out_of_bounds(path, value.into()));
    }

    fn size(&mut self, path: &str, value: Bytes, least: Bytes, most: Bytes) {
        if value < least || value > most {
            let problem = format!("{value} is not within {least} to {most}");
            let hint = Some(format!("the nearest is \"{}\"", value.clamp(least, most)));
            self.mistakes
                .push(ConfigError::new(path, problem).hint(hint));
        }
    }

    fn traces(&mut self, traces: &TracesRaw) {
        self.number("traces.one_in", traces.one_in);
        if traces.endpoint.is_empty() {
            return;
        }
        if !cfg!(feature = "otel") {
            let mistake = ConfigError::new("traces.endpoint", "this build sends no traces");
            let hint = Some("build it with --features otel, or leave it empty");
            self.mistakes.push(mistake.hint(hint));
        }
        let host = traces.endpoint.strip_prefix("http://");
        let host = host.and_then(|rest| rest.split('/').next());
        if host.is_none_or(|host| host.is_empty() || host.contains(['@', ' '])) {
            let problem = "is no address like \"http://127.0.0.1:4318\"";
            let mistake = ConfigError::new("traces.endpoint", problem);
            let hint = Some("TLS is a collector's beside the gateway");
            self.mistakes.push(mistake.hint(hint));
        }
    }

    fn gateway(&mut self, raw: &Raw) {
        let gateway = &raw.gateway;
        if gateway.data_dir.as_os_str().is_empty() {
            self.wrong("gateway.data_dir", "is empty");
        }
        let host = &gateway.host;
        if host.is_empty() || host.len() > 253 || host.contains(|c: char| c.is_whitespace()) {
            self.wrong("gateway.host", "is no host name or address");
        }
        self.number("gateway.workers", gateway.workers);
        let ms = Span::millis;
        let secs = Span::secs;
        self.span("gateway.drain".into(), gateway.drain, secs(0), secs(3600));
        let bounds = &raw.bounds;
        for (key, value) in [
            ("bounds.connections", bounds.connections),
            ("bounds.channel_connections", bounds.channel_connections),
            (
                "bounds.unidentified_per_source",
                bounds.unidentified_per_source,
            ),
        ] {
            self.number(key, value);
        }
        self.span("bounds.idle".into(), bounds.idle, secs(1), secs(86_400));
        self.span(
            "bounds.identify".into(),
            bounds.identify,
            secs(1),
            secs(3600),
        );
        self.span("bounds.frame".into(), bounds.frame, secs(1), secs(3600));
        self.span(
            "bounds.refused_login".into(),
            bounds.refused_login,
            secs(0),
            secs(600),
        );
        self.number("bounds.takeovers", bounds.takeovers);
        self.number("bounds.account_logins", bounds.account_logins);
        self.span(
            "bounds.keepalive".into(),
            bounds.keepalive,
            secs(0),
            secs(7200),
        );
        self.size(
            "bounds.parked",
            bounds.parked,
            Bytes(1 << 20),
            Bytes(1 << 40),
        );
        self.size(
            "bounds.receive_buffer",
            bounds.receive_buffer,
            Bytes(0),
            Bytes(16 << 20),
        );
        let journal = &raw.journal;
        self.size(
            "journal.segment",
            journal.segment,
            Bytes(1 << 20),
            Bytes(1 << 30),
        );
        self.number("journal.node", journal.node);
        self.span(
            "journal.checkpoint".into(),
            journal.checkpoint,
            ms(50),
            secs(60),
        );
        let packets = &raw.packets;
        if packets.budget != Bytes(0) {
            self.size(
                "packets.budget",
                packets.budget,
                Bytes(4 << 20),
                Bytes(1 << 44),
            );
        }
        self.span(
            "packets.keep".into(),
            packets.keep,
            secs(60),
            CHANNEL_TTL_MAX,
        );
    }

    /// The accounts with each parent before its children; cycles and too many levels are mistakes.
    fn tree(&mut self, accounts: &'a [AccountRaw]) -> Vec<usize> {
        let parents: Vec<Option<usize>> = accounts
            .iter()
            .map(|account| {
                let parent = account.parent.as_deref()?;
                self.accounts.get(parent).copied()
            })
            .collect();
        let mut levels: Vec<(usize, usize)> = Vec::new();
        for index in 0..accounts.len() {
            let mut level = 0;
            let mut at = index;
            while let Some(parent) = parents.get(at).copied().flatten() {
                level += 1;
                at = parent;
                if at == index || level > accounts.len() {
                    break;
                }
            }
            let path = format!("accounts[{index}].parent");
            if at == index && level > 0 {
                self.wrong(path, "leads back to the account itself");
            } else if level >= ACCOUNT_LEVELS_MAX && level <= accounts.len() {
                let problem =
                    format!("is on level {level}; there is a master and four levels below it");
                self.wrong(path, problem);
            }
            levels.push((level, index));
        }
        levels.sort_unstable();
        levels.into_iter().map(|(_, index)| index).collect()
    }

    fn account(&mut self, path: &str, account: &AccountRaw, raw: &Raw) -> Option<AccountConfig> {
        let parent = match &account.parent {
            None => None,
            Some(name) => Some(self.named(format!("{path}.parent"), "account", name)?),
        };
        let limit = match &account.limit {
            None => None,
            Some(name) => {
                let limit = self.named(format!("{path}.limit"), "limit", name)?;
                let owner = raw.limits.get(limit)?.account.as_str();
                let reach = match account.parent.as_deref() {
                    None => owner == account.name,
                    Some(parent) => above(raw, parent).any(|name| name == owner),
                };
                if !reach && self.accounts.contains_key(owner) {
                    let of = match account.parent.as_deref() {
                        None => "a master's limit is its own",
                        Some(_) => "a limit belongs to the account above, or to one above that",
                    };
                    let problem = format!("the limit \"{name}\" is of account \"{owner}\"");
                    self.mistakes
                        .push(ConfigError::new(format!("{path}.limit"), problem).hint(Some(of)));
                }
                Some(limit)
            }
        };
        Some(AccountConfig {
            raw: account.clone(),
            parent,
            limit,
        })
    }

    fn limit(&mut self, path: &str, limit: &LimitRaw) -> Option<LimitConfig> {
        let ms = Span::millis;
        self.span(format!("{path}.park"), limit.park, ms(1), PARK_MAX);
        for (name, value) in limit.numbers() {
            if value < -1 {
                let problem = format!("{value} is no cap");
                let hint = Some("-1 is none, 0 and more is one");
                self.mistakes
                    .push(ConfigError::new(format!("{path}.{name}"), problem).hint(hint));
            }
        }
        Some(LimitConfig {
            raw: limit.clone(),
            account: self.named(format!("{path}.account"), "account", &limit.account)?,
        })
    }

    fn protocol(&mut self, path: String, name: &str, auto: bool) -> Option<&'static Protocol> {
        let found = protocols::find(name);
        if found.is_none() {
            let names = PROTOCOLS.iter().map(|protocol| protocol.info.name);
            let names = names.chain(auto.then_some("auto"));
            let mistake = if name.is_empty() {
                ConfigError::new(path, "is missing: which protocol?")
            } else {
                let hint = nearest(name, names).map(|near| format!("did you mean \"{near}\"?"));
                ConfigError::new(path, format!("there is no protocol \"{name}\"")).hint(hint)
            };
            self.mistakes.push(mistake);
        }
        found
    }

    fn channel(&mut self, path: &str, channel: &ChannelRaw) -> Option<ChannelConfig> {
        let account = self.named(format!("{path}.account"), "account", &channel.account);
        let at = format!("{path}.protocol");
        let list = format!("{path}.protocols");
        let mut numbers: Vec<u16> = if channel.protocol != "auto" {
            if !channel.protocols.is_empty() {
                let hint = Some("write protocol = \"auto\" beside it");
                let problem = "is for a channel of several protocols";
                self.mistakes
                    .push(ConfigError::new(list, problem).hint(hint));
            }
            let found = self.protocol(at, &channel.protocol, true);
            found.iter().map(|protocol| protocol.number).collect()
        } else if channel.protocols.is_empty() {
            let mut all: Vec<u16> = PROTOCOLS.iter().map(|protocol| protocol.number).collect();
            all.sort_unstable();
            all
        } else {
            let names = channel.protocols.iter().enumerate();
            names
                .filter_map(|(index, name)| self.protocol(format!("{list}[{index}]"), name, false))
                .map(|protocol| protocol.number)
                .collect()
        };
        // in the file's order: who is named first is tried first
        let mut seen = BTreeSet::new();
        numbers.retain(|number| seen.insert(*number));
        if let Some(port) = channel.port {
            self.number(&format!("{path}.port"), port);
        }
        if channel.allow.len() > 256 {
            self.wrong(format!("{path}.allow"), "has more than 256 prefixes");
        }
        if let Some(tls) = &channel.tls {
            let at = |field| format!("{path}.tls.{field}");
            for (field, name) in [("certificate", &tls.certificate), ("key", &tls.key)] {
                if name.is_empty() {
                    self.wrong(at(field), "is missing: which file?");
                }
            }
            if tls.client_required && tls.client_ca.is_empty() {
                self.wrong(at("client_required"), "needs client_ca");
            }
        }
        let ttl = format!("{path}.messages_ttl");
        self.span(ttl, channel.messages_ttl, Span::secs(1), CHANNEL_TTL_MAX);
        Some(ChannelConfig {
            raw: channel.clone(),
            account: account?,
            protocols: numbers,
        })
    }

    /// Two on one port, here and not at bind.
    fn ports(&mut self, raw: &Raw) {
        let mut taken: BTreeMap<u16, String> = BTreeMap::new();
        taken.insert(raw.http.listen.port(), "http.listen".into());
        let mut asked = 0;
        for (index, channel) in raw.channels.iter().enumerate() {
            let Some(port) = channel.port.filter(|port| *port != 0) else {
                asked += 1;
                continue;
            };
            let path = format!("channels[{index}].port");
            if let Some(holder) = taken.get(&port) {
                let free = raw.gateway.ports.ports();
                let free = free
                    .filter(|port| !taken.contains_key(port))
                    .find(|port| raw.channels.iter().all(|other| other.port != Some(*port)));
                let hint = free.map(|port| format!("{port} is free"));
                let problem = format!("{port} is taken by {holder}");
                self.mistakes
                    .push(ConfigError::new(path, problem).hint(hint));
            } else {
                taken.insert(port, path);
            }
        }
        let free = raw.gateway.ports.ports();
        let free = free.filter(|port| !taken.contains_key(port)).count();
        if asked > free {
            let problem = format!("{asked} channels ask for a port and {free} are free");
            self.wrong("gateway.ports", problem);
        }
    }

    fn device(&mut self, path: &str, device: &DeviceRaw) -> Option<DeviceConfig> {
        let account = self.named(format!("{path}.account"), "account", &device.account);
        let protocol = self.protocol(format!("{path}.protocol"), &device.protocol, false);
        let ttl = format!("{path}.messages_ttl");
        self.span(ttl, device.messages_ttl, Span::secs(1), DEVICE_TTL_MAX);
        if let Some(zone) = &device.time_zone
            && let Err(error) = Settings::default().set("time_zone", zone)
        {
            self.wrong(format!("{path}.time_zone"), error.to_string());
        }
        let protocol = protocol?;
        let ident = match protocol.ident(&device.ident) {
            Ok(ident) => Some(ident),
            Err(error) => {
                self.wrong(format!("{path}.ident"), error.to_string());
                None
            }
        };
        let model = self.model(format!("{path}.model"), protocol, device.model.as_deref());
        Some(DeviceConfig {
            raw: device.clone(),
            account: account?,
            protocol: protocol.number,
            ident: ident?,
            model: model?,
        })
    }

    fn model(&mut self, path: String, protocol: &Protocol, name: Option<&str>) -> Option<u16> {
        let Some(name) = name else { return Some(0) };
        let models: &'static [Model] = protocol.info.models;
        if let Some(model) = model_named(protocol, name) {
            return Some(model.number);
        }
        let near = nearest(name, models.iter().map(|model| model.name));
        let hint = match near {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "leave it out for any model".to_owned(),
        };
        let problem = format!("{} has no model \"{name}\" here", protocol.info.name);
        self.mistakes
            .push(ConfigError::new(path, problem).hint(Some(hint)));
        None
    }

    /// One ident twice in one account can never be: where channels stand does not matter. (What
    /// depends on channels the registry tells, which knows all of them.)
    fn twins(&mut self, devices: &[DeviceConfig], declared: usize) {
        if devices.len() != declared {
            return; // indices are not those of the file; the mistakes that dropped some come first
        }
        let mut seen: BTreeMap<(usize, u16, &Ident), usize> = BTreeMap::new();
        for (index, device) in devices.iter().enumerate() {
            let key = (device.account, device.protocol, &device.ident);
            if let Some(first) = seen.get(&key) {
                let problem = format!("{} is the ident of devices[{first}] already", device.ident);
                self.wrong(format!("devices[{index}].ident"), problem);
            } else {
                seen.insert(key, index);
            }
        }
    }
}

/// The model of that name, or of that vendor and name (`Eelink TK103`: some boxes of two makers have
/// the same name). Case does not count; of several the first.
pub fn model_named(protocol: &Protocol, name: &str) -> Option<&'static Model> {
    let models: &'static [Model] = protocol.info.models;
    let full = |model: &Model| {
        let rest = name.get(model.vendor.len()..)?;
        let vendor = name.get(..model.vendor.len())?;
        let fits = vendor.eq_ignore_ascii_case(model.vendor);
        (fits && rest.trim_start().eq_ignore_ascii_case(model.name)).then_some(())
    };
    models
        .iter()
        .find(|model| model.name.eq_ignore_ascii_case(name))
        .or_else(|| models.iter().find(|model| full(model).is_some()))
}

/// An account's name and those above it, as far as they lead (a cycle is told elsewhere).
fn above<'a>(raw: &'a Raw, name: &'a str) -> impl Iterator<Item = &'a str> {
    std::iter::successors(Some(name), |name| {
        let account = raw.accounts.iter().find(|account| account.name == **name)?;
        account.parent.as_deref()
    })
    .take(ACCOUNT_LEVELS_MAX)
}
