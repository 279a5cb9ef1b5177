//! A gateway's items behind the real routers: real store, journal and events in a temporary folder,
//! a clock that the test moves. Only the listeners are a double, because no tracker comes.

use crate::counted::Counted;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use protocols::Time;
use protocols::record::compose;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tollgate::account::Tree;
use tollgate::api::{self, State};
use tollgate::channel::AccountSeries;
use tollgate::control::{Control, Listeners, Options, Parts};
use tollgate::events::Events;
use tollgate::ids::{ChannelId, Clock, ConnectionId, DeviceId, ManualClock};
use tollgate::journal::{self, FrameMeta, FrameWriter, Journal, MemoryLedger, PartMeta};
use tollgate::metrics::{Kind, Metrics, names};
use tollgate::raw::{self, RawTraffic};
use tollgate::registry::Registry;
use tollgate::router::Router;
use tollgate::segment::OsFiles;
use tollgate::store::Store;
use tower::ServiceExt as _;

/// The beginning of a minute.
pub(crate) const NOON_US: i64 = 1_795_521_600 * 1_000_000;

/// Listeners that only remember which are open.
#[derive(Default)]
pub(crate) struct Ports(pub(crate) Mutex<BTreeSet<ChannelId>>);

impl Listeners for Ports {
    fn open(&self, channel: ChannelId) -> Result<Option<SocketAddr>, std::io::Error> {
        self.0.lock().expect("no test panics here").insert(channel);
        Ok(None)
    }

    fn close(&self, channel: ChannelId) {
        self.0.lock().expect("no test panics here").remove(&channel);
    }
}

/// The gateway.
pub(crate) struct Gateway {
    pub(crate) control: Arc<Control>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ports: Arc<Ports>,
    pub(crate) raw: Arc<RawTraffic>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) network: axum::Router,
    pub(crate) local: axum::Router,
    pub(crate) state: Arc<State>,
    pub(crate) dir: tempfile::TempDir,
    /// The files of journal and events.
    pub(crate) files: Counted,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Reply {
    /// The rows; the test ends if there was an error.
    #[track_caller]
    pub(crate) fn rows(&self) -> &Vec<Value> {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        assert_eq!(self.body.get("errors"), None, "{}", self.text);
        self.body["result"].as_array().expect("rows")
    }

    /// The only row.
    #[track_caller]
    pub(crate) fn row(&self) -> &Value {
        let rows = self.rows();
        assert_eq!(rows.len(), 1, "{}", self.text);
        &rows[0]
    }

    /// The id of the only row.
    #[track_caller]
    pub(crate) fn id(&self) -> u64 {
        self.row()["id"].as_u64().expect("an id")
    }

    /// The first error; the test ends if there is none.
    #[track_caller]
    pub(crate) fn error(&self) -> &Value {
        self.body["errors"]
            .get(0)
            .unwrap_or_else(|| panic!("no error: {}", self.text))
    }
}

impl Gateway {
    pub(crate) fn new() -> Self {
        Self::with(Duration::ZERO)
    }

    /// `move_interval`: the least time between a device's moves.
    pub(crate) fn with(move_interval: Duration) -> Self {
        Self::open_with(tempfile::tempdir().expect("a folder"), move_interval)
    }

    /// On a folder that another one has left.
    pub(crate) fn open(dir: tempfile::TempDir) -> Self {
        Self::open_with(dir, Duration::ZERO)
    }

    /// Ends it, and leaves its folder.
    pub(crate) fn into_dir(self) -> tempfile::TempDir {
        self.control.journal().shutdown();
        self.dir
    }

    fn open_with(dir: tempfile::TempDir, move_interval: Duration) -> Self {
        let clock = Arc::new(ManualClock::new(NOON_US));
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let files = Counted::default();
        let tree = Arc::new(Tree::new());
        let registry = Arc::new(Registry::new(Arc::clone(&tree)));
        let journal = Journal::open(
            &dir.path().join("journal"),
            journal::Options {
                segment_bytes: 1 << 20,
                statistics_flush: Duration::from_millis(100),
                ..journal::Options::default()
            },
            tree,
            Box::new(MemoryLedger::default()),
            Arc::clone(&shared),
            files.files(),
            &mut |_, _| {},
        )
        .expect("a journal");
        let events = Events::open(
            files.files(),
            &dir.path().join("events"),
            0,
            Arc::clone(&shared),
        )
        .expect("a log");
        let ports = Arc::new(Ports::default());
        let control = Arc::new(
            Control::new(Parts {
                store: Store::open(dir.path()).expect("a store"),
                registry,
                router: Router::new(),
                journal,
                events: Arc::new(events),
                clock: shared,
                listeners: Arc::clone(&ports) as Arc<dyn Listeners>,
                options: Options {
                    public_host: "gate.example".into(),
                    ports: (21_000, 21_999),
                    move_interval,
                },
            })
            .expect("a control"),
        );
        let metrics = Metrics::new();
        let raw = Arc::new(RawTraffic::open(
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
        ));
        let accounts = Arc::clone(control.registry().tree());
        metrics.add_source(Arc::new(AccountSeries::new(
            accounts,
            Arc::clone(&clock) as Arc<dyn Clock>,
        )));
        let state = State::new(
            Arc::clone(&control),
            Arc::clone(&metrics),
            Arc::clone(&raw),
            Arc::new(|| Ok(())),
        );
        Self {
            network: api::router(Arc::clone(&state)),
            local: api::local(Arc::clone(&state)),
            state,
            control,
            clock,
            ports,
            raw,
            metrics,
            dir,
            files,
        }
    }

    /// Counts something in every series that a channel may have, for so many channels.
    pub(crate) fn count_for_channels(&self, count: u64) {
        for id in 1..=count {
            let label = self.metrics.channel_label(ChannelId(id));
            for metric in names::ALL {
                if metric.labels == ["channel"] && metric.kind == Kind::Counter {
                    self.metrics.counter(metric, &[&label]).increment(id);
                }
            }
        }
    }

    /// A master with so many accounts below it, each with a cap of its own for every dimension shown.
    pub(crate) async fn many_accounts(&self, count: usize) -> u64 {
        let master = self.account(0, "Many").await;
        let limit = json!({
            "name": "roomy", "channel_traffic": 1_u64 << 40, "channel_messages": 1_u64 << 40,
            "channel_connections": 1_u64 << 20, "channel_storage": 1_u64 << 40, "device_storage": 1_u64 << 40,
        });
        let limit = self.operator(master, "POST /platform/limits", limit).await;
        let limit = limit.id();
        let body = |n| json!({ "name": format!("customer {n}"), "limit_id": limit });
        let bodies: Vec<Value> = (0..count).map(body).collect();
        for bodies in bodies.chunks(500) {
            let bodies = Value::from(bodies.to_vec());
            let made = self.operator(master, "POST /platform/subaccounts", bodies);
            made.await.rows();
        }
        master
    }

    /// A frame of one device with a message for each of these times (unix ms), as a channel's
    /// driver would store it.
    pub(crate) fn frame(&self, channel: u64, device: u64, times_ms: &[i64]) {
        let registry = self.control.registry();
        let handle = registry.device(DeviceId(device)).expect("a device");
        let at = registry.channel(ChannelId(channel)).expect("a channel");
        let state = handle.state.load_full();
        let mut batch = journal::Batch::new();
        let mut writer = FrameWriter::begin(
            &mut batch,
            &FrameMeta {
                at_us: at.stamp(self.clock.now_us()),
                connection: ConnectionId(1),
                channel: ChannelId(channel),
                protocol: handle.protocol,
                decoder_version: 1,
                peer: "192.0.2.9:5000".parse().expect("an address"),
                bytes_in: 100,
            },
        );
        writer.part(&PartMeta {
            ident: &handle.ident,
            device: handle.id,
            account: state.account.id(),
            epoch: state.epoch,
        });
        for &at_ms in times_ms {
            let speed = protocols::Value::Int(at_ms / 1000 % 100);
            let fields = [(protocols::key_of("position.speed"), speed)];
            writer.record(&compose(Time::Device(at_ms), fields));
        }
        writer.finish(4);
        let journal = self.control.journal();
        journal.append(journal.try_permit(batch.len()).expect("room"), &mut batch);
    }

    /// Waits until everything that was appended is durable and folded.
    pub(crate) async fn wait_durable(&self) {
        let journal = self.control.journal();
        let last = journal.append(
            journal.try_permit(1).expect("room"),
            &mut journal::Batch::new(),
        );
        let mut watermark = journal.subscribe();
        watermark
            .wait_for(|mark| mark.durable >= last)
            .await
            .expect("a journal");
    }

    /// A request as it is.
    pub(crate) async fn send(&self, local: bool, mut request: Request<Body>) -> Reply {
        let peer: SocketAddr = "192.0.2.7:4000".parse().expect("an address");
        if request
            .extensions()
            .get::<ConnectInfo<SocketAddr>>()
            .is_none()
        {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let router = if local { &self.local } else { &self.network };
        let response = router.clone().oneshot(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX)
            .await
            .expect("a body");
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        Reply {
            status: head.status,
            headers: head.headers,
            body: serde_json::from_str(&text).unwrap_or_default(),
            text,
        }
    }

    /// The operator's call, for an account if `cid` is one.
    pub(crate) async fn operator(&self, cid: u64, call: &str, body: Value) -> Reply {
        self.call(None, cid, call, body).await
    }

    /// A call by a token (`None`: the operator's). `call` is `METHOD /path`; a body of null is none.
    pub(crate) async fn call(&self, key: Option<&str>, cid: u64, call: &str, body: Value) -> Reply {
        let (method, path) = call.split_once(' ').expect("METHOD /path");
        let mut request = Request::builder().method(method).uri(escaped(path));
        if let Some(key) = key {
            request = request.header("authorization", format!("FlespiToken {key}"));
        }
        if cid != 0 {
            request = request.header("x-flespi-cid", cid);
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        let request = request.body(body).expect("a request");
        self.send(key.is_none(), request).await
    }

    /// A new account below `owner` (0: a master).
    #[track_caller]
    pub(crate) fn account(&self, owner: u64, name: &str) -> impl Future<Output = u64> {
        let name = name.to_owned();
        async move {
            let call = self.operator(
                owner,
                "POST /platform/subaccounts",
                json!([{ "name": name }]),
            );
            call.await.id()
        }
    }

    /// A new token of an account and its key.
    pub(crate) async fn token(&self, cid: u64, access: Value) -> String {
        let made = self
            .operator(cid, "POST /platform/tokens", json!([{ "access": access }]))
            .await;
        made.row()["key"].as_str().expect("a key").to_owned()
    }

    /// A new channel of a protocol.
    pub(crate) async fn channel(&self, cid: u64, protocol: &str) -> u64 {
        let body = json!([{ "name": protocol, "protocol_name": protocol }]);
        self.operator(cid, "POST /gw/channels", body).await.id()
    }

    /// A new Teltonika device.
    pub(crate) async fn device(&self, cid: u64, ident: &str) -> Reply {
        self.operator(cid, "POST /gw/devices", json!([device(ident)]))
            .await
    }
}

/// The body of a Teltonika device.
pub(crate) fn device(ident: &str) -> Value {
    json!({ "name": ident, "device_type_id": 1000, "configuration": { "ident": ident } })
}

/// Blanks and what a URI may not hold, escaped.
fn escaped(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        match byte {
            b' ' | b'"' | b'<' | b'>' | b'{' | b'}' | b'|' | b'^' | b'`' | b'\\' | 0x80.. => {
                write!(uri, "%{byte:02X}").expect("a string takes it");
            }
            _ => uri.push(char::from(byte)),
        }
    }
    uri
}
