//! How a request comes in and how an answer goes out.
//!
//! In this order: path, token, `x-flespi-cid`, what the token may, the call's charge, the query,
//! the body, the call. So nobody without a token makes the gateway read a body, and whoever is over
//! the limit is told before anything is done.

use super::State;
use super::access::{self, Caller, Right};
use super::answer::{Allow, Answer, Envelope, Error, REFUSAL, code};
use super::call::{self, Call, Query};
use super::charge;
use super::forms::Format;
use super::openapi;
use super::routes::{self, Found, Route};
use super::scrape;
use crate::events::{Code, Origin};
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// An answer is sent in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;
/// So many pieces wait for a slow reader.
const PIECES_MAX: usize = 4;
/// How long a slow reader may take for one piece.
const PIECE_WAIT: Duration = Duration::from_mins(1);
/// How often a call that waits for messages looks again at most.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Which way a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Over TCP.
    Network,
    /// Over the socket in the data directory.
    Local,
}

/// A router of all paths.
pub(super) fn open(state: Arc<State>, door: Door) -> axum::Router {
    axum::Router::new().fallback(move |request: Request| {
        let state = Arc::clone(&state);
        async move { answer(state, door, request).await }
    })
}

/// Pages of other origins may call: what lets in is a header that no browser sends by itself.
/// `/metrics` and health are not for them.
const CORS: [(HeaderName, HeaderValue); 2] = [
    (
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    ),
    (
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("etag, retry-after, x-tollgate-refusal"),
    ),
];

/// What a browser asks before such a call.
fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.extend(CORS);
    for (name, value) in [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, POST, PUT, PATCH, DELETE",
        ),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, if-match, x-flespi-app, x-flespi-cid, x-flespi-trace",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn answer(state: Arc<State>, door: Door, request: Request) -> Response {
    if request.method() == Method::OPTIONS && request.headers().contains_key(header::ORIGIN) {
        return preflight();
    }
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(peer)| *peer);
    let near =
        door == Door::Local || peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    let heads = request.method() == Method::HEAD;
    if request.method() == Method::GET || heads {
        match request.uri().path() {
            // whoever watches may ask for the head only
            "/health/live" => return text(StatusCode::OK, "text/plain", "live\n".into()),
            "/health/ready" => {
                return match (state.ready)() {
                    Ok(()) => text(StatusCode::OK, "text/plain", "ready\n".into()),
                    Err(why) => text(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "text/plain",
                        format!("{why}\n"),
                    ),
                };
            }
            _ if heads => {}
            "/metrics" => {
                return match scrape::page(&state, near, peer, request.headers()).await {
                    Ok(page) => text(StatusCode::OK, "text/plain; version=0.0.4", page),
                    Err(error) => failed(error),
                };
            }
            path => {
                if let Some(page) = described(path) {
                    return page;
                }
            }
        }
    }
    let begun = std::time::Instant::now();
    // what only reads is not written down
    let asked = (request.method() != Method::GET).then(|| Asked {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        app: noted(request.headers(), "x-flespi-app"),
        trace: noted(request.headers(), "x-flespi-trace"),
    });
    let (mut response, caller) = called(&state, door, peer, request).await;
    response.headers_mut().extend(CORS);
    state
        .metrics
        .api_seconds()
        .count(begun.elapsed().as_secs_f64());
    state.metrics.api_answered(response.status().as_u16());
    if let (Some(caller), Some(asked)) = (caller, asked) {
        note(&state, &caller, &asked, response.status(), begun.elapsed());
    }
    response
}

/// What is written down of a request.
struct Asked {
    method: Method,
    path: String,
    app: Option<String>,
    trace: Option<String>,
}

/// A header that a client gives for the log, up to its longest.
fn noted(headers: &HeaderMap, name: &str) -> Option<String> {
    const NOTED: usize = 64;
    let text = headers.get(name)?.to_str().ok()?;
    Some(text.chars().take(NOTED).collect())
}

/// So much of a path is logged.
const PATH_LOGGED: usize = 256;

/// The event of a call that writes. The query is left out: it may hold a body.
fn note(state: &State, caller: &Caller, asked: &Asked, status: StatusCode, took: Duration) {
    let source = caller
        .peer
        .map_or_else(|| "local".to_owned(), |peer| peer.ip().to_string());
    let mut http = serde_json::json!({
        "method": asked.method.as_str(),
        "uri": asked.path.chars().take(PATH_LOGGED).collect::<String>(),
        "code": status.as_u16(),
        "duration": took.as_secs_f64(),
        "source": source,
    });
    if let Some(app) = &asked.app {
        http["app"] = app.as_str().into();
    }
    let mut data = serde_json::Map::new();
    data.insert("http_data".into(), http);
    if let Some(trace) = &asked.trace {
        data.insert("trace".into(), trace.as_str().into());
    }
    data.insert("host".into(), source.into());
    let origin = match &caller.token {
        Some(token) => {
            data.insert("token_id".into(), token.id.0.into());
            Origin::token(token.id)
        }
        None => Origin::customer(caller.root),
    };
    let account = caller.token.as_ref().map_or(caller.root, |token| token.cid);
    state
        .control
        .events()
        .log_now(Code::ApiCall, origin, account, data);
}

/// The description of the API; it tells nothing of what is in the gateway.
fn described(path: &str) -> Option<Response> {
    let json = |module: Option<&str>| {
        let page = openapi::description(module).to_string();
        let mut page = text(StatusCode::OK, "application/json", page);
        page.headers_mut().extend(CORS);
        Some(page)
    };
    match path {
        "/" | "/docs" => {
            let page = openapi::page();
            Some(text(StatusCode::OK, "text/html; charset=utf-8", page))
        }
        "/openapi.json" => json(None),
        "/gw/api.json" => json(Some("gw")),
        "/platform/api.json" => json(Some("platform")),
        "/auth/api.json" => json(Some("auth")),
        _ => None,
    }
}

/// The call that a request makes, and its answer.
async fn called(
    state: &Arc<State>,
    door: Door,
    peer: Option<SocketAddr>,
    request: Request,
) -> (Response, Option<Caller>) {
    let (head, body) = request.into_parts();
    let entered = enter(state, door, peer, &head.method, &head.uri, &head.headers);
    match entered {
        Ok((route, call)) => {
            let caller = call.caller.clone();
            let response = done(state, route, call, &head.headers, body).await;
            (response, Some(caller))
        }
        Err(error) => (failed(error), None),
    }
}

/// Reads the body, runs the call until it has an answer, and sends that.
async fn done(
    state: &Arc<State>,
    route: &'static Route,
    mut call: Call,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    match data_of(state, headers, body, &call.caller, &call.query).await {
        Ok(data) => call.data = data,
        Err(error) => return failed(error),
    }
    let quick = route.is_quick(&call.selectors) && !call.query.asks_the_disk();
    let deadline = Instant::now();
    let mut waiting: Option<Instant> = None;
    let mut call = Arc::new(call);
    loop {
        // before the call looks, so that nothing falls between; what is quick does not wait
        let watermark = (!quick).then(|| state.control.journal().subscribe());
        let shared = Arc::clone(&call);
        let made = if quick {
            Ok(Made::by(route, &shared))
        } else {
            tokio::task::spawn_blocking(move || Made::by(route, &shared)).await
        };
        let Ok(made) = made else {
            tracing::error!(path = route.path, "a call panicked");
            return failed(Error::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                code::UNABLE,
                "internal error",
            ));
        };
        let (Some(wait_ms), Some(mut watermark)) = (made.wait_ms, watermark) else {
            return sent(state, &call, made);
        };
        let until = *waiting.get_or_insert(deadline + Duration::from_millis(wait_ms));
        drop(made);
        tokio::time::sleep(LOOK_EVERY).await;
        // the end of the journal ends the waiting too
        let more = tokio::time::timeout_at(until, watermark.changed()).await;
        if more.is_err() || Instant::now() >= until {
            let Ok(last) = Arc::try_unwrap(call) else {
                return failed(Error::unable("the call could not be ended"));
            };
            call = Arc::new(Call { last: true, ..last });
        }
    }
}

/// Path, caller, rights, query.
fn enter(
    state: &Arc<State>,
    door: Door,
    peer: Option<SocketAddr>,
    method: &Method,
    uri: &axum::http::Uri,
    headers: &HeaderMap,
) -> Result<(&'static Route, Call), Error> {
    let length = uri.path().len() + uri.query().map_or(0, str::len);
    if length > call::URI_BYTES_MAX {
        return Err(Error::new(
            StatusCode::URI_TOO_LONG,
            code::BAD,
            format!("the path is longer than {} bytes", call::URI_BYTES_MAX),
        ));
    }
    let segments = call::segments_of(uri.path())?;
    let found = routes::find(method, &segments);
    let mut caller = match door {
        Door::Local => Caller::operator(),
        Door::Network => access::caller_of(state, headers, peer)?,
    };
    charge::call(state, &caller)?;
    charge::request(state, &caller, length + announced(headers).unwrap_or(0))?;
    let (route, selectors) = match found {
        Found::Route(route, selectors) => (route, selectors),
        Found::Methods(methods) => {
            let allow = methods.join(", ");
            let reason = format!("the path knows {allow} only");
            let mut error = Error::new(StatusCode::METHOD_NOT_ALLOWED, code::PATH, reason);
            error.allow = Some(Box::new(Allow(allow)));
            return Err(error);
        }
        Found::Nothing => {
            return Err(Error::new(
                StatusCode::NOT_FOUND,
                code::PATH,
                "there is no such path",
            ));
        }
    };
    caller.may(route.right, method)?;
    access::act_for(state, &mut caller, headers)?;
    let mut query = Query::read(uri)?;
    query.settle_format(route, headers)?;
    let may_delete_messages = caller.may(route.right, &Method::DELETE).is_ok();
    let secrets = [Method::PUT, Method::PATCH]
        .iter()
        .any(|method| caller.may(Right::Of("gw/devices", None), method).is_ok());
    let call = Call {
        state: Arc::clone(state),
        ids: caller.ids(route.right, method),
        caller,
        selectors,
        query,
        data: None,
        if_match: call::if_match_of(headers)?,
        last: false,
        may_delete_messages,
        secrets,
    };
    Ok((route, call))
}

/// The length of the body that the request announces.
fn announced(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// The body's JSON, or `data` of the query.
async fn data_of(
    state: &State,
    headers: &HeaderMap,
    body: Body,
    caller: &Caller,
    query: &Query,
) -> Result<Option<serde_json::Value>, Error> {
    let too_long = || {
        Error::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            code::BAD,
            format!("the body is longer than {} bytes", call::BODY_BYTES_MAX),
        )
    };
    let announced = announced(headers);
    if announced.is_some_and(|length| length > call::BODY_BYTES_MAX) {
        return Err(too_long());
    }
    let is_empty = axum::body::HttpBody::is_end_stream(&body);
    let bytes = if is_empty {
        Bytes::new()
    } else {
        let room = announced.unwrap_or(call::BODY_BYTES_MAX).max(1);
        let _room = state.body_room(room).await;
        axum::body::to_bytes(body, call::BODY_BYTES_MAX)
            .await
            .map_err(|_| too_long())?
    };
    if announced.is_none() {
        charge::request(state, caller, bytes.len())?;
    }
    match (call::json_of(&bytes, "the body")?, &query.data) {
        (Some(_), Some(_)) => Err(Error::field("data", "stands in the query and in the body")),
        (Some(body), None) => Ok(Some(body)),
        (None, Some(data)) => call::json_of(data.as_bytes(), "it").map_err(|error| Error {
            field: Some("data".into()),
            ..error
        }),
        (None, None) => Ok(None),
    }
}

/// Only an error.
pub(super) fn failed(error: Error) -> Response {
    let answer = Answer::from(error);
    let (status, headers) = head_of(&answer);
    let mut envelope = Envelope::new(answer);
    let body = envelope.piece(usize::MAX).unwrap_or_default();
    dressed(status, headers, None, Body::from(body))
}

fn head_of(answer: &Answer) -> (StatusCode, HeaderMap) {
    let status = answer.status();
    let mut headers: HeaderMap = answer.headers.iter().cloned().collect();
    let refusal = answer.errors.iter().find_map(Error::refusal_header);
    if let Some(refusal) = refusal {
        headers.insert(REFUSAL, refusal);
    }
    let retry_s = answer.errors.iter().find_map(|error| error.retry_s);
    if let Some(retry_s) = retry_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_s));
    }
    let allow = answer
        .errors
        .iter()
        .find_map(|error| error.allow.as_deref());
    if let Some(allow) = allow.and_then(|Allow(methods)| HeaderValue::from_str(methods).ok()) {
        headers.insert(header::ALLOW, allow);
    }
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("FlespiToken");
        headers.insert(header::WWW_AUTHENTICATE, scheme);
    }
    (status, headers)
}

/// A response of these parts; without a form it is JSON.
fn dressed(status: StatusCode, headers: HeaderMap, format: Option<Format>, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    let kind = format.map_or("application/json", Format::content_type);
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// An answer and its beginning.
struct Made {
    status: StatusCode,
    headers: HeaderMap,
    first: Vec<u8>,
    second: Option<Vec<u8>>,
    rest: Envelope,
    wait_ms: Option<u64>,
}

impl Made {
    fn by(route: &Route, call: &Arc<Call>) -> Self {
        let answer = (route.call)(call).unwrap_or_else(Answer::from);
        let (status, headers) = head_of(&answer);
        let wait_ms = answer.wait_ms;
        let mut rest = Envelope::new(answer);
        let first = rest.piece(PIECE_BYTES).unwrap_or_default();
        let second = rest.piece(PIECE_BYTES);
        if wait_ms.is_none() {
            let account = call.caller.account.as_ref();
            let bytes = first.len() + second.as_ref().map_or(0, Vec::len);
            charge::answer(&call.state, account, bytes);
        }
        Self {
            status,
            headers,
            first,
            second,
            rest,
            wait_ms,
        }
    }
}

/// Sends an answer: as a whole if it is short, else piece by piece as the reader takes it.
fn sent(state: &Arc<State>, call: &Call, made: Made) -> Response {
    let Made {
        status,
        headers,
        first,
        second,
        rest,
        ..
    } = made;
    let format = rest.format();
    let Some(second) = second else {
        return dressed(status, headers, format, Body::from(first));
    };
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    let mut envelope = rest;
    let runtime = tokio::runtime::Handle::current();
    let (state, account) = (Arc::clone(state), call.caller.account.clone());
    tokio::task::spawn_blocking(move || {
        let mut next = Some(first);
        let mut second = Some(second);
        while let Some(piece) = next.take() {
            let send = tokio::time::timeout(PIECE_WAIT, sender.send(Bytes::from(piece)));
            // the reader has gone, or takes nothing any more
            if !matches!(runtime.block_on(send), Ok(Ok(()))) {
                return;
            }
            next = second.take().or_else(|| {
                let piece = envelope.piece(PIECE_BYTES);
                let bytes = piece.as_ref().map_or(0, Vec::len);
                charge::answer(&state, account.as_ref(), bytes);
                piece
            });
        }
    });
    dressed(status, headers, format, Body::new(Pieces(pieces)))
}

/// A body that is made while it is sent.
struct Pieces(mpsc::Receiver<Bytes>);

impl axum::body::HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        self.0
            .poll_recv(cx)
            .map(|piece| piece.map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}

/// A whole answer that is no envelope.
fn text(status: StatusCode, kind: &'static str, body: String) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .body(Body::from(body))
        .expect("the parts of an answer are well formed")
}
