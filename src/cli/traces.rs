//! Traces of connections and API calls for a collector of OpenTelemetry (the feature `otel`).
//!
//! A connection is one trace, whose id says its number, so that who has the number from a log line, an
//! event or a capture finds the trace, and back: 16 hexadecimal digits that spell `tollgate`, then the
//! number's 16. Its spans: the connection from its acceptance to its end, with how it ended; what the
//! log has of it meanwhile, each without a length; and for each release of replies the time from the
//! first read that they answer until they left. A call of the API goes on the caller's trace, if its
//! `traceparent` names one, else it begins one.
//!
//! Nothing waits for a collector: [`QUEUED_MAX`] spans wait, later ones are lost. Which connections are
//! traced is decided by their number, so that all spans of one are there or none. A span is made of
//! what was told already; nothing is remembered of a connection in between. It refuses TLS: a collector
//! beside the gateway has that.

use crate::channel::{Answered, ConnectionEvent, EventSink, Happened, Who};
use crate::config::Config;
use crate::ids::ConnectionId;
use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http;
use axum::middleware::{self, Next};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, propagation::TextMapPropagator as _};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;

/// Spans that wait for the collector.
const QUEUED_MAX: usize = 8192;
/// Spans of one request.
const BATCH_MAX: usize = 512;
/// How long they wait for others.
const PACE: Duration = Duration::from_secs(2);
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A collector's answer beyond it is none.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// `tollgate`, the first half of a connection's trace id.
const TRACE_PREFIX: u128 = 0x746f_6c6c_6761_7465;

/// Where spans are put.
#[derive(Clone)]
pub(crate) struct Traces {
    inner: Arc<Inner>,
}

struct Inner {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    one_in: u64,
    /// Of spans that are no connection's: no two are alike, in this process and the last.
    next: AtomicU64,
}

impl Traces {
    /// What the file asks for.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let traces = &config.traces;
        if traces.endpoint.is_empty() {
            return None;
        }
        let endpoint = traces.endpoint.trim_end_matches('/');
        // without a path it is the collector, with one it is where it takes traces
        let bare = endpoint.matches('/').count() == 2;
        let path = if bare { "/v1/traces" } else { "" };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Post::default())
            .with_endpoint(format!("{endpoint}{path}"))
            .with_timeout(PATIENCE)
            .build();
        let exporter = match exporter {
            Ok(exporter) => exporter,
            Err(error) => {
                tracing::error!(%error, endpoint, "nothing is traced");
                return None;
            }
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUED_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(PACE)
            .build();
        let mut processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(batches)
            .build();
        let resource = Resource::builder_empty().with_service_name("tollgate");
        let facts = [
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new(
                "service.instance.id",
                format!("{}:{}", config.gateway.host, config.journal.node),
            ),
        ];
        processor.set_resource(&resource.with_attributes(facts).build());
        let first = micros(SystemTime::now()).cast_unsigned();
        Some(Self {
            inner: Arc::new(Inner {
                processor,
                scope: InstrumentationScope::builder("tollgate").build(),
                one_in: traces.one_in.into(),
                next: AtomicU64::new(first),
            }),
        })
    }

    /// Hears of connections beside `other`, whose word counts.
    pub(crate) fn beside(&self, other: Arc<dyn EventSink>) -> Arc<dyn EventSink> {
        Arc::new(Beside {
            traces: self.clone(),
            other,
        })
    }

    /// Traces the calls of an API.
    pub(crate) fn around(&self, api: Router) -> Router {
        let traces = self.clone();
        api.layer(middleware::from_fn(move |request: Request, next: Next| {
            let traces = traces.clone();
            async move { traces.call(request, next).await }
        }))
    }

    async fn call(&self, request: Request, next: Next) -> axum::response::Response {
        let headers = HeaderExtractor(request.headers());
        let caller = TraceContextPropagator::new().extract(&headers);
        let caller = caller.span().span_context().clone();
        let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let sampled = if caller.is_valid() {
            caller.is_sampled()
        } else {
            self.inner.picks(number)
        };
        if !sampled {
            return next.run(request).await;
        }
        let method = request.method().to_string();
        let path = request.uri().path().to_owned();
        let begun = SystemTime::now();
        let answer = next.run(request).await;
        let status = answer.status();
        let (trace, parent) = if caller.is_valid() {
            (caller.trace_id(), caller.span_id())
        } else {
            let id = u128::from(mixed(number)) << 64 | u128::from(mixed(!number));
            (TraceId::from(id), SpanId::INVALID)
        };
        let span = Span {
            trace,
            id: SpanId::from(mixed(number)),
            parent,
            kind: SpanKind::Server,
            name: method.clone(),
            from: begun,
            to: SystemTime::now(),
            attributes: vec![
                KeyValue::new("http.request.method", method),
                KeyValue::new("url.path", path),
                KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
            ],
            failed: status.is_server_error().then(|| status.as_str().to_owned()),
        };
        self.inner.put(span, caller.is_valid());
        answer
    }

    /// Sends what waits and ends.
    pub(crate) async fn finish(self) {
        let ended = tokio::task::spawn_blocking(move || {
            self.inner.processor.shutdown_with_timeout(PATIENCE)
        });
        if let Ok(Err(error)) = ended.await {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// What becomes a span.
struct Span {
    trace: TraceId,
    id: SpanId,
    parent: SpanId,
    kind: SpanKind,
    name: String,
    from: SystemTime,
    to: SystemTime,
    attributes: Vec<KeyValue>,
    failed: Option<String>,
}

impl Inner {
    fn picks(&self, number: u64) -> bool {
        mixed(number).is_multiple_of(self.one_in)
    }

    fn put(&self, span: Span, remote: bool) {
        self.processor.on_end(SpanData {
            span_context: SpanContext::new(
                span.trace,
                span.id,
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: span.parent,
            parent_span_is_remote: remote,
            span_kind: span.kind,
            name: span.name.into(),
            start_time: span.from,
            end_time: span.to,
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.failed.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        });
    }

    /// A span below a connection's.
    fn below(&self, connection: ConnectionId, name: &str, from_us: i64, to_us: i64) -> Span {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Span {
            trace: trace_of(connection),
            id: SpanId::from(mixed(number)),
            parent: root_of(connection),
            kind: SpanKind::Internal,
            name: name.to_owned(),
            from: time(from_us),
            to: time(to_us),
            attributes: Vec::new(),
            failed: None,
        }
    }

    fn hear(&self, event: &ConnectionEvent) {
        if !self.picks(event.connection.0) {
            return;
        }
        let below = |name, who: Option<&Who>| {
            let mut span = self.below(event.connection, name, event.at_us, event.at_us);
            if let Some(who) = who {
                name_whom(&mut span.attributes, who);
            }
            span
        };
        let span = match &event.what {
            // its span says when it was
            Happened::Accepted => return,
            Happened::Identified(who) => below("identified", Some(who)),
            Happened::Rejected {
                who, what, why, at, ..
            } => {
                let mut span = below("rejected", who.as_ref());
                let at = i64::try_from(*at).unwrap_or(i64::MAX);
                span.attributes.push(KeyValue::new("tollgate.what", *what));
                span.attributes.push(KeyValue::new("tollgate.at", at));
                span.failed = Some((*why).to_owned());
                span
            }
            Happened::Refused { who, cause, .. } => {
                let mut span = below("refused", Some(who));
                span.failed = Some(cause.name().to_owned());
                span
            }
            Happened::Blocked { dimension, .. } => {
                let mut span = below("blocked", None);
                span.failed = Some(dimension.name().to_owned());
                span
            }
            Happened::TooLarge { who, dimension, .. } => {
                let mut span = below("too large", Some(who));
                span.failed = Some(dimension.name().to_owned());
                span
            }
            Happened::TakenOver { who, .. } => below("taken over", Some(who)),
            Happened::Flaps { who, .. } => below("flaps", Some(who)),
            Happened::CommandSent { who, name, .. } => {
                let mut span = below("command sent", Some(who));
                let name = KeyValue::new("tollgate.command", name.clone());
                span.attributes.push(name);
                span
            }
            Happened::CommandEnded {
                who, name, outcome, ..
            } => {
                let mut span = below("command ended", Some(who));
                let name = KeyValue::new("tollgate.command", name.clone());
                span.attributes.push(name);
                if !outcome.is_executed() {
                    span.failed = Some(outcome.name().to_owned());
                }
                span
            }
            Happened::Closed {
                who,
                code,
                messages,
                received,
                sent,
                duplicates,
                lost,
                duration_us,
            } => {
                let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
                let mut span = below("connection", who.as_ref());
                span.id = root_of(event.connection);
                span.parent = SpanId::INVALID;
                span.kind = SpanKind::Server;
                span.from = time(event.at_us - duration_us);
                span.attributes.extend([
                    KeyValue::new("tollgate.connection", count(event.connection.0)),
                    KeyValue::new("tollgate.channel", count(event.channel.0)),
                    KeyValue::new("network.peer.address", event.peer.ip().to_string()),
                    KeyValue::new("network.peer.port", i64::from(event.peer.port())),
                    KeyValue::new("tollgate.close_code", i64::from(code.number())),
                    KeyValue::new("tollgate.messages", count(*messages)),
                    KeyValue::new("tollgate.duplicates", count(*duplicates)),
                    KeyValue::new("tollgate.bytes_in", count(*received)),
                    KeyValue::new("tollgate.bytes_out", count(*sent)),
                ]);
                span.failed = lost.as_ref().map(|lost| lost.why.clone());
                span
            }
        };
        self.put(span, false);
    }
}

fn name_whom(attributes: &mut Vec<KeyValue>, who: &Who) {
    attributes.push(KeyValue::new(
        "tollgate.ident",
        who.ident.as_str().to_owned(),
    ));
    let ids = [
        ("tollgate.device", who.device.0),
        ("tollgate.account", who.account.0),
    ];
    for (name, id) in ids.into_iter().filter(|(_, id)| *id > 0) {
        attributes.push(KeyValue::new(name, i64::try_from(id).unwrap_or(i64::MAX)));
    }
}

/// The trace of a connection.
fn trace_of(connection: ConnectionId) -> TraceId {
    TraceId::from(TRACE_PREFIX << 64 | u128::from(connection.0))
}

/// The span that is the connection.
fn root_of(connection: ConnectionId) -> SpanId {
    SpanId::from(mixed(connection.0))
}

/// Another number for each number, without a pattern, and never 0 (which is no id): splitmix64.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).max(1)
}

fn time(us: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Tells two who listen.
struct Beside {
    traces: Traces,
    other: Arc<dyn EventSink>,
}

impl EventSink for Beside {
    fn tell(&self, event: ConnectionEvent) -> bool {
        self.traces.inner.hear(&event);
        self.other.tell(event)
    }

    fn answered(&self, answered: Answered) {
        let inner = &self.traces.inner;
        if inner.picks(answered.connection.0) {
            let Answered {
                connection,
                read_us,
                at_us,
                acks,
            } = answered;
            let mut span = inner.below(connection, "answered", read_us, at_us);
            let acks = i64::try_from(acks).unwrap_or(i64::MAX);
            span.attributes.push(KeyValue::new("tollgate.acks", acks));
            inner.put(span, false);
        }
        self.other.answered(answered);
    }
}

/// Posts to the collector. Called from the exporter's own thread, so it may block.
#[derive(Debug, Default)]
struct Post {
    /// What was said last of it: it is said once that it fails, and once that it works again.
    fails: AtomicBool,
}

impl HttpClient for Post {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: http::Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let at = request.uri().to_string();
        let answer = post(request);
        let why = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        let failed = self.fails.swap(why.is_some(), Ordering::Relaxed);
        match why {
            Some(why) if !failed => {
                tracing::warn!(
                    collector = at,
                    why,
                    "traces are lost until the collector takes them"
                );
            }
            None if failed => tracing::info!(collector = at, "the collector takes traces again"),
            _ => {}
        }
        Box::pin(std::future::ready(answer))
    }
}

fn post(request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let sent = tokio::time::timeout(PATIENCE, send(request));
        sent.await.map_err(|_| Late)?
    })
}

async fn send(mut request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
    let uri = request.uri().clone();
    let host = uri.host().unwrap_or_default();
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // it ends with this call's runtime
    tokio::spawn(connection);
    if let Some(authority) = uri.authority() {
        let host = http::HeaderValue::from_str(authority.as_str())?;
        request.headers_mut().insert(http::header::HOST, host);
    }
    if let Some(path) = uri.path_and_query() {
        *request.uri_mut() = http::Uri::from(path.clone());
    }
    let answer = sender.send_request(request.map(Full::new)).await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?;
    Ok(http::Response::from_parts(head, body.to_bytes()))
}

/// A collector that takes too long.
#[derive(Debug)]
struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {} s", PATIENCE.as_secs())
    }
}

impl std::error::Error for Late {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::NoEvents;
    use crate::ids::{AccountId, ChannelId, DeviceId, Ident};
    use crate::router::CloseCode;
    use axum::routing::{get, post};
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};
    use tower::ServiceExt as _;

    /// A collector on loopback, and the bodies that it is sent.
    async fn collector() -> (String, Receiver<Bytes>) {
        let (heard, bodies) = channel();
        let heard = Arc::new(Mutex::new(heard));
        let take = post(move |body: Bytes| {
            let sent = heard.lock().expect("nobody panics").send(body);
            std::future::ready(sent.map_err(|error| error.to_string()))
        });
        let api = Router::new().route("/v1/traces", take);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let at = listener.local_addr().expect("it has an address");
        tokio::spawn(async move { axum::serve(listener, api).await });
        (format!("http://{at}"), bodies)
    }

    fn traces(endpoint: &str, one_in: u32) -> Traces {
        let mut config = Config::default();
        config.traces.endpoint = endpoint.to_owned();
        config.traces.one_in = one_in;
        Traces::of(&config).expect("it is asked for")
    }

    fn event(connection: u64, at_us: i64, what: Happened) -> ConnectionEvent {
        ConnectionEvent {
            at_us,
            channel: ChannelId(5),
            owner: AccountId(1),
            connection: ConnectionId(connection),
            peer: "192.0.2.7:4711".parse().expect("an address"),
            what,
        }
    }

    fn tell_all_of(sink: &dyn EventSink, connection: u64) {
        let who = Who {
            ident: Ident::new("356307042441013").expect("an ident"),
            device: DeviceId(9),
            account: AccountId(3),
        };
        let closed = Happened::Closed {
            who: Some(who.clone()),
            code: CloseCode::ByTracker,
            messages: 2,
            received: 120,
            sent: 8,
            duplicates: 0,
            lost: None,
            duration_us: 1_000_000,
        };
        assert!(sink.tell(event(connection, 1_000_000, Happened::Accepted)));
        assert!(sink.tell(event(connection, 1_200_000, Happened::Identified(who))));
        sink.answered(Answered {
            connection: ConnectionId(connection),
            read_us: 1_300_000,
            at_us: 1_305_000,
            acks: 1,
        });
        assert!(sink.tell(event(connection, 2_000_000, closed)));
    }

    fn holds(body: &[u8], part: &[u8]) -> bool {
        body.windows(part.len()).any(|window| window == part)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_connection_is_a_trace_under_its_number_and_a_call_goes_on_the_callers() {
        let (endpoint, bodies) = collector().await;
        let traces = traces(&endpoint, 1);
        tell_all_of(traces.beside(Arc::new(NoEvents)).as_ref(), 0x1122_3344);
        let answer = get(|| async { "well" });
        let api = traces.around(Router::new().route("/health", answer));
        let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let request = http::Request::get("/health").header("traceparent", caller);
        let request = request.body(axum::body::Body::empty()).expect("a request");
        let answer = api.oneshot(request).await.expect("it is served");
        assert_eq!(answer.status(), 200);
        traces.finish().await;

        let body: Vec<u8> = bodies.try_iter().flat_map(|body| body.to_vec()).collect();
        let trace = trace_of(ConnectionId(0x1122_3344)).to_bytes();
        assert_eq!(&trace[..8], b"tollgate");
        assert!(holds(&body, &trace), "the connection's trace");
        assert!(holds(&body, &root_of(ConnectionId(0x1122_3344)).to_bytes()));
        for text in ["connection", "identified", "answered", "356307042441013"] {
            assert!(holds(&body, text.as_bytes()), "{text}");
        }
        let callers = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
        assert!(holds(&body, &callers), "the caller's trace");
        assert!(holds(&body, b"/health"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_spans_of_a_connection_are_there_or_none_and_a_dead_collector_stops_nobody() {
        let (endpoint, bodies) = collector().await;
        let some = traces(&endpoint, 10);
        let sink = some.beside(Arc::new(NoEvents));
        for connection in 1..=200 {
            tell_all_of(sink.as_ref(), connection);
        }
        drop(sink);
        some.finish().await;
        let body: Vec<u8> = bodies.try_iter().flat_map(|body| body.to_vec()).collect();
        let count = |part: &[u8]| {
            let found = body.windows(part.len()).filter(|window| *window == part);
            found.count()
        };
        let traced = (1..=200).filter(|id| count(&trace_of(ConnectionId(*id)).to_bytes()) > 0);
        let traced: Vec<u64> = traced.collect();
        assert!((5..60).contains(&traced.len()), "{traced:?}");
        for id in traced {
            assert_eq!(count(&trace_of(ConnectionId(id)).to_bytes()), 3);
        }

        // nobody listens there any more
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("it has an address");
        drop(listener);
        let dead = traces(&format!("http://{at}"), 1);
        tell_all_of(dead.beside(Arc::new(NoEvents)).as_ref(), 7);
        dead.finish().await;
    }
}
