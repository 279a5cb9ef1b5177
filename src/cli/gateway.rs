//! Starts all rooms in the order that they stand on each other, and stops them in the other.
//!
//! Start: the items at rest, the account tree from them, the journal (which brings the counters
//! back and gives its newest part to the windows of duplicates and to telemetry), the workers, the
//! listeners. Nothing listens before everything before it is whole.
//!
//! Stop: no new connections; what was received becomes durable and is answered; the counters are
//! checkpointed; then the event log ends.

use super::certificates::Certificates;
use super::data::{RAISE_FILES, unusable};
use super::{Exit, Failure};
use crate::account::Tree;
use crate::api;
use crate::channel::{self, AccountSeries, Bounds, Channels, Deps, JournalSeries, OpenError};
use crate::config::{Config, Span};
use crate::control::{self, Control, Listeners, SNAPSHOT_BYTES, TelemetryKeeper};
use crate::events::{Code, Event, Events, Origin};
use crate::ids::{AccountId, ChannelId, Clock, DeviceId, Position, SystemClock};
use crate::journal::{self, EntryRef, Journal, Lifetimes};
use crate::metrics::Metrics;
use crate::raw::{self, RAW_DIR, RawTraffic};
use crate::registry::items::{ChannelItem, Source};
use crate::registry::{RecordKey, Registry};
use crate::router::{CloseCode, Router};
use crate::segment::{Files, OsFiles, files};
use crate::store::{DirLock, SledLedger, Store, StoreError};
use protocols::Record;
use rustix::io::Errno;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// The folder of the journal in the data directory.
pub(crate) const JOURNAL_DIR: &str = "journal";
/// The folder of the event log in the data directory.
pub(crate) const EVENTS_DIR: &str = "events";

/// Where the gateway's time is so far ahead of the machine's clock that is told.
const CLOCK_AHEAD: Span = Span::secs(60);

/// A thread that has been at one thing for so long stands still: `/health/ready` says so.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(5);

/// What the rooms are told.
pub(crate) struct Settings {
    /// Threads that serve connections.
    pub(crate) workers: usize,
    /// The bounds on connections.
    pub(crate) bounds: Bounds,
    /// Machines in front of this one.
    pub(crate) proxies: Vec<crate::config::Prefix>,
    /// The folder of certificates.
    pub(crate) certificates: Option<PathBuf>,
    /// Sockets that channels are listened on by, because they were open before.
    pub(crate) sockets: Vec<std::net::TcpListener>,
    /// How the journal is kept.
    pub(crate) journal: journal::Options,
    /// What control is told.
    pub(crate) control: control::Options,
    /// What is kept of raw traffic.
    pub(crate) raw: raw::Options,
    /// Traces for a collector.
    #[cfg(feature = "otel")]
    pub(crate) traces: Option<super::traces::Traces>,
}

impl Settings {
    /// What the file says.
    pub(crate) fn of(config: &Config) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            workers: match config.gateway.workers {
                0 => cores,
                workers => workers as usize,
            },
            bounds: Bounds::of(config),
            proxies: config.gateway.proxies.clone(),
            certificates: config.gateway.certificates.clone(),
            sockets: Vec::new(),
            journal: journal::Options {
                segment_bytes: config.journal.segment.0,
                node: config.journal.node,
                checkpoint: config.journal.checkpoint.0,
                ..journal::Options::default()
            },
            control: control::Options {
                public_host: config.gateway.host.clone(),
                ports: (config.gateway.ports.first, config.gateway.ports.last),
                move_interval: config.gateway.move_interval.0,
            },
            raw: raw::Options {
                budget_bytes: config.packets.budget.0,
                keep_us: i64::try_from(config.packets.keep.0.as_micros()).unwrap_or(i64::MAX),
                always: config.packets.always,
                node: config.journal.node,
            },
            #[cfg(feature = "otel")]
            traces: super::traces::Traces::of(config),
        }
    }

    /// For a command that has the directory to itself: no listeners, one worker.
    pub(crate) fn alone() -> Self {
        let all = Self::of(&Config::default());
        Self {
            workers: 1,
            // what to forget is the gateway's own to say
            raw: raw::Options {
                budget_bytes: u64::MAX,
                keep_us: i64::MAX,
                ..all.raw
            },
            ..all
        }
    }
}

/// All rooms of a running gateway.
pub(crate) struct Gateway {
    /// The items and what changes them.
    pub(crate) control: Arc<Control>,
    /// The metrics page.
    pub(crate) metrics: Arc<Metrics>,
    channels: Arc<Channels>,
    events: Arc<Events>,
    /// Raw traffic.
    pub(crate) raw: Arc<RawTraffic>,
    journal: Journal,
    telemetry: Arc<TelemetryKeeper>,
    /// The checkpoints and the data directory, for a backup.
    pub(crate) at_rest: (SledLedger, PathBuf),
    started: Arc<AtomicBool>,
    /// The directory is this process's until everything else has let go of it.
    _lock: DirLock,
}

/// The registry's word on how long messages are kept.
struct Kept {
    registry: Arc<Registry>,
    /// Known as soon as it is there.
    control: Arc<OnceLock<Weak<Control>>>,
    raw: Arc<RawTraffic>,
}

impl Lifetimes for Kept {
    fn channel(&self, channel: ChannelId) -> Option<(AccountId, u32)> {
        let channel = self.registry.channel(channel)?;
        let state = channel.state.load();
        Some((state.item.cid, state.item.messages_ttl_s))
    }

    fn device(&self, device: DeviceId) -> Option<(AccountId, u32)> {
        let device = self.registry.device(device)?;
        let state = device.state.load();
        Some((state.item.cid, state.item.messages_ttl_s))
    }

    fn purged_us(&self, channel: ChannelId) -> i64 {
        let control = self.control.get().and_then(Weak::upgrade);
        control.map_or(0, |control| control.purged_us(channel))
    }

    fn rotate(&self, device: DeviceId) -> u64 {
        let device = self.registry.device(device);
        device.map_or(0, |device| device.state.load().item.messages_rotate)
    }

    fn erase_elsewhere(&self, device: DeviceId, up_to_us: i64) -> std::io::Result<()> {
        let erased = self.raw.erase(device, up_to_us);
        let segments = erased.map_err(|error| {
            std::io::Error::new(error.kind(), format!("raw traffic is not erased: {error}"))
        })?;
        tracing::info!(%device, segments, "raw traffic is erased");
        Ok(())
    }
}

/// Control's view of the channels.
struct Doors {
    channels: Arc<Channels>,
    registry: Arc<Registry>,
    /// Nothing listens before everything is whole.
    started: Arc<AtomicBool>,
}

impl Listeners for Doors {
    fn open(&self, channel: ChannelId) -> Result<Option<SocketAddr>, std::io::Error> {
        if !self.started.load(Ordering::Acquire) {
            return Ok(None);
        }
        let Some(handle) = self.registry.channel(channel) else {
            return Ok(None);
        };
        let state = handle.state.load_full();
        if self.channels.address(channel).is_some() {
            self.channels.close(channel, CloseCode::ChannelChanged);
        }
        if !state.enabled || !state.owner.enabled_chain() {
            return Ok(None);
        }
        let opened = self
            .channels
            .open(&state.item)
            .map_err(|error| match error {
                OpenError::Bind { error, .. } => error,
                other => std::io::Error::other(other),
            });
        opened.map(Some)
    }

    fn check(&self, channel: &ChannelItem) -> Result<(), String> {
        let checked = self.channels.check(channel);
        checked.map_err(|error| error.to_string())
    }

    fn close(&self, channel: ChannelId) {
        self.channels.close(channel, CloseCode::ChannelChanged);
    }
}

impl Gateway {
    /// Opens the data directory and starts every room; no channel listens yet.
    pub(crate) fn open(dir: &Path, settings: Settings) -> Result<Self, Failure> {
        make_dir(dir)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let files: Arc<dyn Files> = Arc::new(OsFiles);
        let data = |error: &(dyn std::error::Error + 'static)| unusable(dir, error);
        let thread = |what: &str, error: &std::io::Error| {
            let failure = Failure::new(Exit::Unavailable, format_args!("{what}: {error}"));
            failure.hint(bind_hint(
                error,
                "the system gives no more threads or memory",
            ))
        };
        let lock = DirLock::take(dir).map_err(|error| match error {
            StoreError::InUse { .. } => Failure::new(Exit::Data, error)
                .hint("end that one first (`pgrep -a tollgate`), or name another with `data_dir`"),
            error => data(&error),
        })?;
        let store = Store::open(dir).map_err(|error| data(&error))?;
        let tree = Arc::new(Tree::new());
        let registry = Registry::load(&store, Arc::clone(&tree)).map_err(|error| data(&error))?;
        let registry = Arc::new(registry);
        let ledger = SledLedger::open(dir).map_err(|error| data(&error))?;
        let at_rest = (ledger.clone(), dir.to_owned());
        let mut newest = Newest {
            registry: &registry,
            clock: clock.as_ref(),
        };
        let journal = Journal::open(
            &dir.join(JOURNAL_DIR),
            settings.journal,
            Arc::clone(&tree),
            Box::new(ledger),
            Arc::clone(&clock),
            Arc::clone(&files),
            &mut |position, entry| newest.take(position, &entry),
        )
        .map_err(|error| data(&error))?;
        tell_clock(clock.ahead_us());
        let events = Events::open(
            Arc::clone(&files),
            &dir.join(EVENTS_DIR),
            settings.journal.node,
            Arc::clone(&clock),
        )
        .map_err(|error| data(&error))?;
        let events = Arc::new(events);
        let given_up = journal.opened().given_up;
        if given_up > 0 {
            let now_us = clock.now_us();
            let origin = Origin::customer(AccountId::NONE);
            events.log(
                &Event::new(now_us, Code::Gateway, origin, AccountId::NONE)
                    .with("given_up_entries", given_up),
            );
        }
        let metrics = Metrics::new();
        events.count_on(Arc::clone(&metrics));
        let raw = Arc::new(RawTraffic::open(
            files,
            &dir.join(RAW_DIR),
            settings.raw,
            Arc::clone(&clock),
            &metrics,
        ));
        let of_kept = Arc::new(OnceLock::new());
        journal.keep_for(Arc::new(Kept {
            registry: Arc::clone(&registry),
            control: Arc::clone(&of_kept),
            raw: Arc::clone(&raw),
        }));
        let telemetry = TelemetryKeeper::start(
            journal.clone(),
            Arc::clone(&registry),
            Arc::clone(&clock),
            SNAPSHOT_BYTES,
        )
        .map_err(|error| thread("telemetry", &error))?;
        let router = Router::new();
        metrics.add_source(Arc::new(AccountSeries::new(
            Arc::clone(&tree),
            Arc::clone(&clock),
        )));
        metrics.add_source(Arc::new(JournalSeries::new(journal.clone())));
        let hears = Arc::clone(&events) as Arc<dyn channel::EventSink>;
        #[cfg(feature = "otel")]
        let hears = match settings.traces {
            Some(traces) => traces.beside(hears),
            None => hears,
        };
        let deps = Deps {
            registry: Arc::clone(&registry),
            journal: journal.clone(),
            router: Arc::clone(&router),
            metrics: Arc::clone(&metrics),
            raw: Arc::clone(&raw),
            clock: Arc::clone(&clock),
            events: hears,
            bounds: settings.bounds,
            proxies: settings.proxies.into(),
            certificates: settings.certificates,
        };
        let mut channels =
            Channels::start(settings.workers, deps).map_err(|error| thread("workers", &error))?;
        channels.adopt(settings.sockets).map_err(|error| {
            let what = format_args!("sockets of the service manager: {error}");
            Failure::new(Exit::Unavailable, what)
        })?;
        let channels = Arc::new(channels);
        let started = Arc::new(AtomicBool::new(false));
        let doors = Doors {
            channels: Arc::clone(&channels),
            registry: Arc::clone(&registry),
            started: Arc::clone(&started),
        };
        let control = Control::new(control::Parts {
            store,
            registry,
            router,
            journal: journal.clone(),
            events: Arc::clone(&events),
            clock,
            listeners: Arc::new(doors),
            options: settings.control,
        })
        .map_err(|error| data(&error))?;
        let control = Arc::new(control);
        // nobody else sets it
        drop(of_kept.set(Arc::downgrade(&control)));
        Ok(Self {
            control,
            metrics,
            channels,
            events,
            raw,
            journal,
            telemetry: Arc::new(telemetry),
            at_rest,
            started,
            _lock: lock,
        })
    }

    /// What the API stands on.
    pub(crate) fn state(&self) -> Arc<api::State> {
        let journal = self.journal.clone();
        // not held: who asks may outlive the workers, which end when the channels are dropped
        let channels = Arc::downgrade(&self.channels);
        let ready = move || match journal.failed() {
            Some(failure) => Err(format!("the journal cannot write any more: {failure}")),
            None if journal.is_stalled() => {
                Err("the journal waits for disk space or an open file".to_owned())
            }
            None => {
                let silent = channels.upgrade().map(|channels| channels.silent_for());
                moves(journal.writing_for(), silent.unwrap_or_default())
            }
        };
        api::State::new(
            Arc::clone(&self.control),
            Arc::clone(&self.metrics),
            Arc::clone(&self.raw),
            Arc::new(ready),
        )
    }

    /// Opens the listeners of all enabled channels. A port that cannot be had is an error that
    /// names the channel; the others stay as they are.
    pub(crate) fn listen(&self) -> Result<Vec<(ChannelId, SocketAddr)>, Failure> {
        self.started.store(true, Ordering::Release);
        let mut open = Vec::new();
        for channel in self.control.registry().channels() {
            let state = channel.state.load_full();
            if !state.enabled || !state.owner.enabled_chain() {
                continue;
            }
            let opened = match self.channels.open(&state.item) {
                // who has a token may not keep the whole gateway from starting
                Err(OpenError::Tls(error)) if state.item.stamp.source == Source::Api => {
                    tracing::error!(channel = %channel.id, %error, "a channel is not listened on");
                    continue;
                }
                opened => opened,
            };
            let address = opened.map_err(|error| {
                let what = format!("channel {} ({}): {error}", channel.id, state.item.name);
                let failure = Failure::new(Exit::Unavailable, what);
                match error {
                    OpenError::Bind { error, .. } => failure.hint(bind_hint(
                        &error,
                        "end the program that has the port, or give the channel another one",
                    )),
                    _ => failure,
                }
            })?;
            open.push((channel.id, address));
        }
        Ok(open)
    }

    /// How long the worker that is behind most has stood still.
    pub(crate) fn silent_for(&self) -> Duration {
        self.channels.silent_for()
    }

    /// The channels' certificates, to be read again.
    pub(crate) fn certificates(&self) -> Certificates {
        let registry = Arc::clone(self.control.registry());
        Certificates::of(Arc::clone(&self.channels), registry)
    }

    /// Stops: drains the connections, makes everything durable, checkpoints. Says how many
    /// connections had to be cut off at the deadline.
    pub(crate) async fn stop(self, deadline: Duration) -> usize {
        let cut_off = self.channels.drain(deadline).await;
        let (journal, events) = (self.journal.clone(), Arc::clone(&self.events));
        let (telemetry, raw) = (Arc::clone(&self.telemetry), Arc::clone(&self.raw));
        let state = self.state();
        let ended = tokio::task::spawn_blocking(move || {
            state.finish();
            telemetry.stop();
            journal.shutdown();
            events.shutdown();
            raw.shutdown();
        });
        if ended.await.is_err() {
            tracing::error!("the journal did not end in order");
        }
        cut_off
    }
}

/// Says it where times go on from ones that the machine's clock has not reached yet.
fn tell_clock(ahead_us: i64) {
    let ahead = Span::secs(u64::try_from(ahead_us / 1_000_000).unwrap_or(0));
    if ahead >= CLOCK_AHEAD {
        let ahead = ahead.rounded();
        tracing::warn!(
            %ahead,
            "what is on disk was written under a later time than this machine's clock says, and server \
             times go on from there at half their speed: is the clock right? (docs/operations.md, \"The clock\")"
        );
    }
}

/// Do disk and ingest move? Neither fails when it stands still, so it is told by the time.
fn moves(writing_for: Duration, silent_for: Duration) -> Result<(), String> {
    if writing_for >= STANDSTILL {
        let seconds = writing_for.as_secs();
        return Err(format!("the disk has not answered for {seconds} s"));
    }
    if silent_for >= STANDSTILL {
        let seconds = silent_for.as_secs();
        return Err(format!("ingest has stood still for {seconds} s"));
    }
    Ok(())
}

/// What the journal's newest part brings back: windows of duplicates and telemetry.
struct Newest<'a> {
    registry: &'a Registry,
    clock: &'a dyn Clock,
}

impl Newest<'_> {
    fn take(&mut self, position: Position, entry: &EntryRef<'_>) {
        // whatever took a channel's stamp, so that none is given twice
        let stamped = match entry {
            EntryRef::Frame(frame) => Some((frame.meta.channel, frame.meta.at_us)),
            EntryRef::Part { channel, at_us, .. } | EntryRef::Dropped { channel, at_us, .. } => {
                Some((*channel, *at_us))
            }
            _ => None,
        };
        if let Some((channel, at_us)) = stamped {
            if let Some(channel) = self.registry.channel(channel) {
                channel.stamped(at_us);
            }
            self.clock.at_least(at_us);
        }
        if let EntryRef::Part { device, bytes, .. } = entry
            && let Some(device) = self.registry.device(*device)
        {
            device.recent().fragment_bytes += bytes.len();
        }
        let EntryRef::Frame(frame) = entry else {
            return;
        };
        for part in frame.parts() {
            let Some(device) = self.registry.device(part.device) else {
                continue;
            };
            let mut keys = Vec::new();
            for bytes in part.records() {
                keys.extend(Record::read(bytes).as_ref().and_then(RecordKey::of));
                device
                    .telemetry()
                    .update(bytes, position, self.clock.now_ms());
            }
            let mut recent = device.recent();
            recent.fragment_bytes = 0;
            device.remember(recent, &keys);
        }
    }
}

/// What to do where a socket cannot be bound: `in_use` is for a port that somebody has.
pub(crate) fn bind_hint(error: &std::io::Error, in_use: &'static str) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE) => RAISE_FILES,
        Some(Errno::ACCESS) => {
            "ports below 1024 want a capability: CAP_NET_BIND_SERVICE, or take a higher port"
        }
        Some(Errno::ADDRNOTAVAIL) => {
            "this machine has no such address: `ip addr` shows which it has"
        }
        _ => in_use,
    }
}

fn make_dir(dir: &Path) -> Result<(), Failure> {
    files::make_dir(&OsFiles, dir).map_err(|error| {
        Failure::new(
            Exit::Io,
            format_args!("data directory {}: {error}", dir.display()),
        )
        .hint("name another one with `data_dir` in [gateway], or let this user write there")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Dimension;
    use crate::control::Scope;
    use crate::journal::{Batch, Note};
    use crate::registry::{Item, Write};
    use serde_json::json;

    #[test]
    fn a_disk_or_an_ingest_that_stands_still_is_not_ready() {
        let (short, long) = (Duration::from_millis(4900), Duration::from_secs(6));
        assert_eq!(moves(short, short), Ok(()));
        let disk = moves(long, short).expect_err("the disk stands still");
        assert!(disk.contains("disk") && disk.contains("6 s"), "{disk}");
        let ingest = moves(short, long).expect_err("ingest stands still");
        assert!(ingest.contains("ingest"), "{ingest}");
    }

    fn made(gateway: &Gateway, item: Item) -> u64 {
        let write = Write::Put(item);
        let written = gateway.control.write(Scope::OPERATOR, write, None);
        written.expect("it is valid").item.id().number()
    }

    /// The journal says that the account is blocked for its messages until then.
    async fn block(gateway: &Gateway, account: AccountId, until_us: i64) {
        let mut batch = Batch::new();
        Note::Blocked {
            at_us: gateway.control.clock().now_us(),
            account,
            dimension: Dimension::ChannelMessages.number(),
            until_us,
        }
        .write(&mut batch);
        gateway.journal.commit(&mut batch).await.expect("durable");
    }

    #[tokio::test]
    async fn a_block_that_a_change_has_ended_does_not_come_back_with_a_crash() {
        let dir = tempfile::tempdir().expect("a folder");
        let stamp = json!({"revision": 0, "created_us": 0, "updated_us": 0});
        let account = |owner: u64, limit: u64| -> Item {
            let item = json!({
                "id": 0, "owner_id": owner, "name": format!("{owner} {limit}"), "limit_id": limit,
                "enabled": true, "stamp": stamp,
            });
            Item::Account(serde_json::from_value(item).expect("an account"))
        };
        let gateway = Gateway::open(dir.path(), Settings::alone()).expect("it opens");
        let master = made(&gateway, account(0, 0));
        let limit = json!({
            "id": 0, "cid": master, "name": "capped", "fields": {"channel_messages": 5},
            "stamp": stamp,
        });
        let limit = Item::Limit(serde_json::from_value(limit).expect("a limit"));
        let limit = made(&gateway, limit);
        let capped = AccountId(made(&gateway, account(master, limit)));
        let long = AccountId(made(&gateway, account(master, limit)));
        let free = AccountId(made(&gateway, account(master, 0)));
        // as a crash leaves it between a change of the limit and the journal's word of it
        let now_us = gateway.control.clock().now_us();
        let (soon, late) = (now_us + 30_000_000, now_us + 3_600_000_000);
        block(&gateway, capped, soon).await;
        // this one began behind every change
        block(&gateway, long, late).await;
        block(&gateway, free, late).await;
        gateway.stop(Duration::from_secs(1)).await;

        for _ in 0..2 {
            let gateway = Gateway::open(dir.path(), Settings::alone()).expect("it opens");
            let tree = gateway.control.registry().tree();
            let until = |id| {
                let account = tree.account(id).expect("it is there");
                account.blocked_until_us(Dimension::ChannelMessages)
            };
            assert_eq!([capped, long, free].map(until), [0, late, 0]);
            gateway.stop(Duration::from_secs(1)).await;
        }
    }
}
