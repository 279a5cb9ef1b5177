//! How a request comes in and how an answer goes out.

use super::State;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use std::net::SocketAddr;
use std::sync::Arc;

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
        async move { answer(&state, door, &request) }
    })
}

fn answer(state: &Arc<State>, door: Door, request: &Request) -> Response {
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(peer)| *peer);
    let near =
        door == Door::Local || peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/health/live") => text(StatusCode::OK, "text/plain", "live\n".into()),
        (&Method::GET, "/health/ready") => match (state.ready)() {
            Ok(()) => text(StatusCode::OK, "text/plain", "ready\n".into()),
            Err(why) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "text/plain",
                format!("{why}\n"),
            ),
        },
        (&Method::GET, "/metrics") if near => text(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            state.metrics.render(),
        ),
        _ => text(
            StatusCode::NOT_FOUND,
            "application/json",
            r#"{"result":[],"errors":[{"code":1,"reason":"there is no such path"}]}"#.into(),
        ),
    }
}

/// A whole answer.
fn text(status: StatusCode, kind: &'static str, body: String) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .body(Body::from(body))
        .expect("the parts of an answer are well formed")
}
