//! REST, under flespi's paths and conventions: accounts, limits, tokens, channels, devices, their
//! messages and telemetry. `docs/api.md` says where Tollgate decides what flespi leaves open.
//!
//! It refuses to decide: a request becomes calls of [`crate::control`], which says yes or no, and
//! reads of the registry, the journal and the events. What it adds is who asks, what may be seen,
//! and the envelope.
//!
//! Two doors: [`router`] for TCP, where every call but health needs a token, and [`local`] for the
//! socket in the data directory, whose mode is its lock: there the caller is the operator.
//!
//! Calls run on blocking threads, because writes wait for the disk; lists are made while they are
//! sent. Bounded: a body by 8 MiB, all bodies that are being read by [`BODIES_BYTES_MAX`], an
//! answer by four pieces of 64 KiB that wait for its reader.

mod access;
mod answer;
mod call;
mod charge;
mod commands;
mod doctor;
mod door;
mod dto;
mod edit;
pub mod expression;
pub mod forms;
mod items;
mod live;
mod messages;
mod openapi;
mod packets;
mod records;
mod register;
mod routes;
mod schema;
mod scrape;
pub mod selector;
mod statements;
mod telemetry;
mod upkeep;

pub use upkeep::upkeep;

use crate::control::Control;
use crate::metrics::Metrics;
use crate::raw::RawTraffic;
use crate::registry::items::TokenItem;
use axum::http::{HeaderMap, Method};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Is the gateway ready to take trackers? If not, why.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What all bodies that are being read may hold together, in bytes.
pub const BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the API stands on. One per gateway, shared by both doors.
pub struct State {
    /// Writes items and knows every other room.
    pub control: Arc<Control>,
    /// The metrics page.
    pub metrics: Arc<Metrics>,
    /// Raw traffic.
    pub raw: Arc<RawTraffic>,
    /// Asked by `/health/ready`. Must not block.
    pub ready: Ready,
    bodies: Arc<Semaphore>,
}

impl State {
    /// Brings them together.
    pub fn new(
        control: Arc<Control>,
        metrics: Arc<Metrics>,
        raw: Arc<RawTraffic>,
        ready: Ready,
    ) -> Arc<Self> {
        Arc::new(Self {
            control,
            metrics,
            raw,
            ready,
            bodies: Arc::new(Semaphore::new(BODIES_BYTES_MAX)),
        })
    }

    /// Room for a body, waited for.
    async fn body_room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(BODIES_BYTES_MAX)).unwrap_or(u32::MAX);
        Arc::clone(&self.bodies)
            .acquire_many_owned(bytes)
            .await
            .ok()
    }

    /// Does the token in these headers let do `method` with items of a path (`gw/devices`), or with
    /// what hangs on them (`telemetry`)? What each call asks first.
    pub fn lets(
        &self,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
        (path, submodule): (&'static str, Option<&'static str>),
        method: &Method,
    ) -> bool {
        access::caller_of(self, headers, peer)
            .and_then(|caller| caller.may(access::Right::Of(path, submodule), method))
            .is_ok()
    }

    /// When a token was used last, or made if it was not.
    fn accessed_us(&self, token: &TokenItem) -> i64 {
        let accessed_us = self.control.accessed_us(token.id);
        accessed_us.max(token.stamp.created_us)
    }

    /// A token is valid while its `expire` lies ahead or its last use is younger than its `ttl`;
    /// one that has neither has no end.
    fn is_expired(&self, token: &TokenItem, now_us: i64) -> bool {
        const US_PER_S: i64 = 1_000_000;
        if token.expire_s == 0 && token.ttl_s == 0 {
            return false;
        }
        let by_date = token.expire_s > 0 && now_us < token.expire_s.saturating_mul(US_PER_S);
        let lives_us = i64::from(token.ttl_s) * US_PER_S;
        let by_use = token.ttl_s > 0 && now_us < self.accessed_us(token) + lives_us;
        !by_date && !by_use
    }

    fn used(&self, token: &TokenItem, now_us: i64) {
        self.control.accessed(token.id, now_us);
    }
}

/// For TCP: serve it with the peer's address
/// (`into_make_service_with_connect_info::<SocketAddr>()`), or `/metrics` and tokens that are
/// bound to addresses are refused.
pub fn router(state: Arc<State>) -> axum::Router {
    door::open(state, door::Door::Network)
}

/// For the socket in the data directory.
pub fn local(state: Arc<State>) -> axum::Router {
    door::open(state, door::Door::Local)
}
