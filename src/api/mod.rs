//! REST, under flespi's paths and conventions: accounts, limits, tokens, channels, devices, their
//! messages and telemetry. `docs/api.md` says where Tollgate decides what flespi leaves open.
//!
//! It refuses to decide: a request becomes calls of [`crate::control`], which says yes or no, and
//! reads of the registry, the journal and the events. What it adds is who asks ([`State`]'s
//! tokens), what may be seen, and the envelope.
//!
//! Two doors: [`router`] for TCP, where every call but health needs a token, and [`local`] for the
//! socket in the data directory, whose mode is its lock: there the caller is the operator.

mod door;
pub mod expression;
pub mod selector;

use crate::control::Control;
use crate::metrics::Metrics;
use std::sync::Arc;

/// Is the gateway ready to take trackers? If not, why.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the API stands on. One per gateway, shared by both doors.
pub struct State {
    /// Writes items and knows every other room.
    pub control: Arc<Control>,
    /// The metrics page.
    pub metrics: Arc<Metrics>,
    /// Asked by `/health/ready`. Must not block.
    pub ready: Ready,
}

impl State {
    /// Brings them together.
    pub fn new(control: Arc<Control>, metrics: Arc<Metrics>, ready: Ready) -> Arc<Self> {
        Arc::new(Self {
            control,
            metrics,
            ready,
        })
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
