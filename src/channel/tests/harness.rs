//! A gateway's insides on one thread: a real registry, account tree and journal in a temporary
//! folder, connections over in-memory streams, a clock that the test moves, and a disk whose syncs
//! the test can hold back or break.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use protocols::kit::checksum;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::account::{Account, Caps, Dimension, Rules, Tree};
use crate::channel::bounds::Bounds;
use crate::channel::connection::{Connection, Here, Place, Wire};
use crate::channel::events::{ConnectionEvent, EventSink, Happened};
use crate::channel::worker::{Deps, Room, Worker};
use crate::ids::{
    AccountId, ChannelId, Clock, DeviceId, Epoch, Ident, LimitId, ManualClock, US_PER_MINUTE,
};
use crate::journal::{self, Journal, MemoryLedger};
use crate::metrics::Metrics;
use crate::raw::{self, RawTraffic};
use crate::registry::items::{
    AccountItem, ChannelItem, DeviceItem, SettingsText, Source, Stamp, Takeover, UnknownPolicy,
};
use crate::registry::{DeviceHandle, Registry};
use crate::router::Router;
use crate::segment::OsFiles;
use crate::segment::watched::{Call, Watched};

/// How long a test waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits for what must not come.
pub(super) const SILENCE: Duration = Duration::from_millis(60);
/// The beginning of a minute, so that windows do not reset by themselves.
pub(super) const NOON_US: i64 = 1_795_521_600 * 1_000_000;

#[derive(Default)]
struct Tap {
    held: bool,
    broken: bool,
}

/// Files whose syncs wait while they are held back, or fail.
#[derive(Clone, Default)]
pub(super) struct TapFiles {
    tap: Arc<(Mutex<Tap>, Condvar)>,
}

impl TapFiles {
    /// The machine's files behind it.
    fn files(&self) -> Watched {
        let tap = Arc::clone(&self.tap);
        Watched::by(move |call| match call {
            Call::Sync(_) => {
                let mut state = tap.0.lock().unwrap();
                while state.held {
                    state = tap.1.wait(state).unwrap();
                }
                if state.broken {
                    return Err(io::Error::other("the disk is broken"));
                }
                Ok(())
            }
            _ => Ok(()),
        })
    }

    fn set(&self, change: impl FnOnce(&mut Tap)) {
        change(&mut self.tap.0.lock().unwrap());
        self.tap.1.notify_all();
    }

    pub(super) fn hold(&self) {
        self.set(|tap| tap.held = true);
    }

    pub(super) fn let_go(&self) {
        self.set(|tap| tap.held = false);
    }

    pub(super) fn fail(&self) {
        self.set(|tap| tap.broken = true);
    }
}

/// Keeps every event.
#[derive(Default)]
pub(super) struct Kept(Mutex<Vec<ConnectionEvent>>);

impl Kept {
    /// All so far.
    pub(super) fn all(&self) -> Vec<ConnectionEvent> {
        self.0.lock().unwrap().clone()
    }

    /// The close codes so far.
    pub(super) fn closed(&self) -> Vec<i16> {
        let events = self.0.lock().unwrap();
        let code = |event: &ConnectionEvent| match &event.what {
            Happened::Closed { code, .. } => Some(code.number()),
            _ => None,
        };
        events.iter().filter_map(code).collect()
    }
}

impl EventSink for Kept {
    fn tell(&self, event: ConnectionEvent) -> bool {
        self.0.lock().unwrap().push(event);
        true
    }
}

/// The insides of a gateway: master 1, below it account 2, below that 3; and 4 beside 2.
pub(super) struct Gateway {
    pub(super) deps: Deps,
    pub(super) clock: Arc<ManualClock>,
    pub(super) files: TapFiles,
    pub(super) events: Arc<Kept>,
    pub(super) worker: Rc<Worker>,
    _dir: tempfile::TempDir,
}

pub(super) const MASTER: AccountId = AccountId(1);
pub(super) const MIDDLE: AccountId = AccountId(2);
pub(super) const LEAF: AccountId = AccountId(3);
pub(super) const SIBLING: AccountId = AccountId(4);
pub(super) const TELTONIKA: ChannelId = ChannelId(10);
pub(super) const H02: ChannelId = ChannelId(11);
pub(super) const WIALON: ChannelId = ChannelId(12);
/// Put by the tests that use it.
pub(super) const RUPTELA: ChannelId = ChannelId(13);
/// Put by the tests that use it.
pub(super) const GT06: ChannelId = ChannelId(14);

pub(super) fn stamp() -> Stamp {
    Stamp::new(NOON_US, Source::Api)
}

/// What [`Gateway::deps`] are made of, for tests that start workers of their own.
pub(super) fn deps(
    bounds: Bounds,
) -> (
    Deps,
    Arc<ManualClock>,
    TapFiles,
    Arc<Kept>,
    tempfile::TempDir,
) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOON_US));
    let files = TapFiles::default();
    let events = Arc::new(Kept::default());
    let registry = Arc::new(Registry::new(Arc::new(Tree::new())));
    let parents = [
        (MASTER, AccountId::NONE),
        (MIDDLE, MASTER),
        (LEAF, MIDDLE),
        (SIBLING, MASTER),
    ];
    for (id, owner_id) in parents {
        let item = AccountItem {
            id,
            owner_id,
            name: id.to_string(),
            enabled: true,
            limit_id: LimitId::NONE,
            email: String::new(),
            metadata: serde_json::Map::default(),
            stamp: stamp(),
        };
        registry.put_account(item).unwrap();
    }
    for (id, protocol) in [(TELTONIKA, "teltonika"), (H02, "h02"), (WIALON, "wialon")] {
        registry.put_channel(channel(id, protocol)).unwrap();
    }
    let journal = Journal::open(
        dir.path(),
        journal::Options {
            segment_bytes: 1 << 20,
            ..journal::Options::default()
        },
        Arc::clone(registry.tree()),
        Box::new(MemoryLedger::default()),
        Arc::clone(&clock) as Arc<dyn Clock>,
        Arc::new(files.files()),
        &mut |_, _| {},
    )
    .unwrap();
    let metrics = Metrics::new();
    let raw = RawTraffic::open(
        Arc::new(OsFiles),
        &dir.path().join("raw"),
        raw::Options {
            budget_bytes: 4 << 20,
            keep_us: 86_400_000_000,
            always: false,
            node: 0,
        },
        Arc::clone(&clock) as Arc<dyn Clock>,
        &metrics,
    );
    let deps = Deps {
        registry,
        journal,
        router: Router::new(),
        metrics,
        raw: Arc::new(raw),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        events: Arc::clone(&events) as Arc<dyn EventSink>,
        bounds: Bounds {
            listen: std::net::Ipv4Addr::LOCALHOST.into(),
            ..bounds
        },
        proxies: Arc::default(),
        certificates: None,
    };
    (deps, clock, files, events, dir)
}

pub(super) fn channel(id: ChannelId, protocol: &str) -> ChannelItem {
    ChannelItem {
        id,
        cid: MASTER,
        name: protocol.to_owned(),
        enabled: true,
        protocols: vec![protocols::find(protocol).unwrap().number],
        host: "127.0.0.1".to_owned(),
        port: 0,
        isolated: true,
        unknown: UnknownPolicy::Hold,
        takeover: Takeover::Newest,
        allow: Vec::new(),
        tls: None,
        messages_ttl_s: 86_400,
        keep_packets: false,
        configuration: serde_json::Map::default(),
        metadata: serde_json::Map::default(),
        stamp: stamp(),
    }
}

pub(super) fn device(id: u64, account: AccountId, protocol: &str, ident: &str) -> DeviceItem {
    DeviceItem {
        id: DeviceId(id),
        cid: account,
        name: ident.to_owned(),
        enabled: true,
        device_type_id: 0,
        protocol: protocols::find(protocol).unwrap().number,
        ident: Ident::new(ident).unwrap(),
        settings: SettingsText::default(),
        messages_ttl_s: 86_400,
        messages_rotate: 0,
        keep_packets: false,
        configuration: serde_json::Map::default(),
        metadata: serde_json::Map::default(),
        moved_us: 0,
        epoch: Epoch(0),
        stamp: stamp(),
    }
}

impl Gateway {
    pub(super) fn new() -> Self {
        Self::with(Bounds::default())
    }

    pub(super) fn with(bounds: Bounds) -> Self {
        let (deps, clock, files, events, dir) = deps(bounds);
        let worker = Worker::new(Room::new(deps.clone()), Arc::default());
        Self {
            deps,
            clock,
            files,
            events,
            worker,
            _dir: dir,
        }
    }

    /// Runs a test on the worker's thread, with the worker's tasks beside it.
    pub(super) fn run(self, test: impl AsyncFnOnce(&Self)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            tokio::task::spawn_local(Rc::clone(&self.worker).follow_journal());
            tokio::task::spawn_local(Rc::clone(&self.worker).keep_time());
            tokio::task::spawn_local(Rc::clone(&self.worker).keep_telling());
            tokio::task::spawn_local(Rc::clone(&self.worker).keep_turns());
            test(&self).await;
        });
        self.files.let_go();
    }

    pub(super) fn account(&self, id: AccountId) -> Account {
        self.deps.registry.tree().account(id).unwrap()
    }

    pub(super) fn register(
        &self,
        id: u64,
        account: AccountId,
        protocol: &str,
        ident: &str,
    ) -> Arc<DeviceHandle> {
        let item = device(id, account, protocol, ident);
        self.deps.registry.put_device(item).unwrap()
    }

    pub(super) fn limit(&self, account: AccountId, dimension: Dimension, cap: i64) {
        self.rule(
            account,
            Rules {
                caps: Caps::default().with(dimension, cap),
                ..Rules::default()
            },
        );
    }

    /// Puts rules in force as control does: published, then the parked are told.
    pub(super) fn rule(&self, account: AccountId, rules: Rules) {
        let tree = self.deps.registry.tree();
        tree.set_rules(account, rules).unwrap();
        self.deps.router.wake_parked();
    }

    /// Moves the clock and turns the wheel.
    pub(super) async fn advance_ms(&self, ms: i64) {
        self.clock.advance_us(ms * 1_000);
        self.worker.turn();
        tokio::task::yield_now().await;
    }

    pub(super) async fn next_minute(&self) {
        let now = self.clock.now_us();
        let left = US_PER_MINUTE - now.rem_euclid(US_PER_MINUTE);
        self.advance_ms(left / 1_000 + 200).await;
    }

    pub(super) fn connect(&self, channel: ChannelId) -> Tracker {
        let (near, far) = tokio::io::duplex(256 * 1024);
        self.take_in(channel, far);
        Tracker { stream: near }
    }

    /// Over a real socket, which knows of a hang-up without a read.
    pub(super) async fn connect_tcp(&self, channel: ChannelId) -> tokio::net::TcpStream {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(near, listener.accept());
        self.take_in(channel, far.unwrap().0);
        near.unwrap()
    }

    pub(super) fn take_in<S: Wire>(&self, channel: ChannelId, far: S) {
        let room = &self.worker.room;
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        room.connections
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let channel = self.deps.registry.channel(channel).unwrap();
        let connection = Connection::new(
            Here::new(&self.worker, &channel),
            far,
            peer,
            Place::of(room),
            room.sources.enter(peer, u32::MAX).unwrap(),
        );
        tokio::task::spawn_local(connection);
    }

    /// A Teltonika tracker that has logged in.
    pub(super) async fn logged_in(&self, ident: &str) -> Tracker {
        let mut tracker = self.connect(TELTONIKA);
        tracker.send(&login(ident)).await;
        tracker.expect(&[1]).await;
        tracker
    }

    /// Every event so far, by `pick`.
    pub(super) fn told<T>(&self, pick: impl Fn(&Happened) -> Option<T>) -> Vec<T> {
        let events = self.events.0.lock().unwrap();
        events
            .iter()
            .filter_map(|event| pick(&event.what))
            .collect()
    }

    /// The close codes so far.
    pub(super) fn closed(&self) -> Vec<i16> {
        self.events.closed()
    }

    /// Waits until it holds.
    pub(super) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let started = std::time::Instant::now();
        while !holds() {
            assert!(started.elapsed() < PATIENCE, "never: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until the connection is parked.
    pub(super) async fn until_parked(&self, count: usize) {
        self.until("parked", || self.deps.router.parked_count() == count)
            .await;
    }

    /// The posted messages of an account.
    pub(super) fn messages(&self, account: AccountId) -> u64 {
        self.account(account).posted().messages
    }
}

/// The size of a trial: as the environment says, or as CI has the time for.
pub(super) fn trial_size(name: &str, of_ci: usize) -> usize {
    let said = std::env::var(name).ok();
    said.map_or(of_ci, |said| said.parse().expect("a number"))
}

/// The far end of a connection.
pub(super) struct Tracker {
    stream: DuplexStream,
}

impl Tracker {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Says whether it was taken: the other side may have closed.
    pub(super) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Exactly these bytes come.
    pub(super) async fn expect(&mut self, bytes: &[u8]) {
        let mut read = vec![0; bytes.len()];
        tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut read))
            .await
            .unwrap_or_else(|_| panic!("no answer, expected {bytes:02x?}"))
            .unwrap_or_else(|error| panic!("{error}, expected {bytes:02x?}"));
        assert_eq!(read, bytes);
    }

    /// What is there already; nothing in it is the end. It does not wait.
    pub(super) async fn heard(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 64];
        let read = tokio::select! {
            biased;
            read = self.stream.read(&mut buffer) => read.unwrap_or(0),
            () = std::future::ready(()) => return None,
        };
        buffer.truncate(read);
        Some(buffer)
    }

    /// What comes with one read.
    pub(super) async fn one_read(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 64 * 1024];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await;
        buffer.truncate(read.expect("an answer").unwrap());
        buffer
    }

    /// Nothing comes for a while, and the connection stays open.
    pub(super) async fn expect_silence(&mut self) {
        let mut byte = [0];
        let read = tokio::time::timeout(SILENCE, self.stream.read(&mut byte)).await;
        assert!(read.is_err(), "came: {read:?} {byte:02x?}");
    }

    /// What comes up to the end.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest))
            .await
            .expect("the end")
            .unwrap();
        rest
    }

    /// The end comes, and nothing before it.
    pub(super) async fn expect_end(&mut self) {
        assert_eq!(self.rest().await, [0; 0]);
    }
}

/// Teltonika's login.
pub(super) fn login(ident: &str) -> Vec<u8> {
    let mut bytes = vec![0, u8::try_from(ident.len()).unwrap()];
    bytes.extend_from_slice(ident.as_bytes());
    bytes
}

/// A Teltonika packet of codec 8 with one record for each time.
pub(super) fn packet(times_ms: &[i64]) -> Vec<u8> {
    let count = u8::try_from(times_ms.len()).unwrap();
    let mut body = vec![8, count];
    for at_ms in times_ms {
        body.extend_from_slice(&at_ms.to_be_bytes());
        body.push(1);
        body.extend_from_slice(&253_000_000i32.to_be_bytes());
        body.extend_from_slice(&546_000_000i32.to_be_bytes());
        body.extend_from_slice(&[0, 100, 0, 90, 9, 0, 50]);
        // one element of one byte: ignition
        body.extend_from_slice(&[0, 1, 1, 239, 1, 0, 0, 0]);
    }
    body.push(count);
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    let crc = u32::from(checksum::crc16_ibm(&body));
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

/// The ack of so many records.
pub(super) const fn taken(count: u32) -> [u8; 4] {
    count.to_be_bytes()
}

/// A time that a device may have, some seconds before noon.
pub(super) const fn at(second: i64) -> i64 {
    NOON_US / 1_000 - 3_600_000 + second * 1_000
}
