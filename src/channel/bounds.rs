//! Every bound of the room, with what happens when it is reached.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::config::Config;

/// What one read takes at most; the buffer is the thread's.
pub const READ_BYTES_MAX: usize = 64 * 1024;
/// So many frames of one read are decoded and charged as one batch; the rest stays unread bytes
/// until those are done with, so what a read can blow up to is bounded.
pub const FRAMES_PER_READ_MAX: usize = 1024;
/// So many encoded bytes are charged and appended as one batch; more make another batch.
pub const BATCH_BYTES_MAX: usize = 512 * 1024;
/// So many reads of one connection, then others have their turn.
pub const READS_PER_TURN_MAX: u32 = 4;
/// So many connections with a backlog go on before those that have just become ready have their turn.
pub const BACKLOG_TURNS: usize = 8;
/// How much one connection may read in its turn, by what all together have read since all that were
/// ready have had theirs: up to so many bytes of the round, reads, bytes of each.
pub const ALLOWANCES: [(usize, u32, usize); 3] = [
    (512 << 10, READS_PER_TURN_MAX, READ_BYTES_MAX),
    (16 << 20, 1, 16 << 10),
    (usize::MAX, 1, 4 << 10),
];
/// A login that waits for its account's turn is closed after so long (code 21).
pub const ACCOUNT_TURN_MS: i64 = 120_000;
/// The journal's writer is told of what was appended once every connection that was ready has had its
/// turn, and after so long if they are many.
pub const UNTOLD_US_MAX: i64 = 2_000;
/// A connection that waits at a limit without a known end tries again so often.
pub const RETRY_MS: i64 = 1_000;
/// A connection that is not read is looked at so often for a peer that has gone.
pub const HANG_UP_LOOK_MS: i64 = 1_000;
/// A connection that a newer one of its device replaces, of a protocol whose trackers send nothing
/// again, is read so often more: what its socket holds already would be lost.
pub const LAST_READS_MAX: u32 = 8;
/// And no longer than this.
pub const LAST_READS_MS: i64 = 100;
/// What is about to be closed has so long to take its last replies.
pub const LINGER_MS: i64 = 5_000;
/// After the last reply of a refusal the peer's bytes are still swallowed for so long, so that a
/// reset does not take the reply away.
pub const SWALLOW_MS: i64 = 1_000;
/// Journal entries about connections and usage that wait for room in the journal's queue, per
/// worker; beyond it those about connections are given up and counted, and usage is kept added up.
pub const NOTES_WAITING_MAX: usize = 16 * 1024;
/// Usage is journaled at most so long after it arose: what a crash may lose.
pub const USAGE_MS_MAX: i64 = 1_000;
/// Accounts whose usage one worker adds up before it is journaled ahead of time.
pub const USAGE_ACCOUNTS_MAX: usize = 10_000;
/// Orders to a worker that wait; beyond it opening a channel is refused as busy.
pub const COMMANDS_QUEUED_MAX: usize = 1024;
/// So many ticks of the wheel between two times of housekeeping of the metrics.
pub const UPKEEP_TICKS: u32 = 50;
/// A worker has so long to let go of a listening socket before the others are not waited for.
pub const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// And is asked again so often while its orders are full.
pub const CLOSE_PAUSE: Duration = Duration::from_millis(5);
/// Sources of unidentified connections that are counted apart.
pub const SOURCES_MAX: usize = 65_536;
/// The backlog of a listener (the kernel takes the lower of it and `net.core.somaxconn`).
pub const LISTEN_BACKLOG: i32 = 65_535;
/// Idents that are remembered for being refused, and devices for being taken over, lately. Beyond it
/// the next is treated as if it came for the first time.
pub const STORMS_MAX: usize = 65_536;
/// The least time between two searches through a full table of those for what is over.
pub const STORM_SWEEP_MS: i64 = 1_000;
/// The time in which a device may change hands only so often.
pub const TAKEOVER_WINDOW_MS: i64 = 60_000;
/// On a channel of several protocols so many bytes must be enough to tell whose they are; beyond it
/// the connection is closed (code 19). The time for it ends at the identify deadline.
pub const PROBE_BYTES_MAX: usize = 1024;
/// A frame that has begun has this rate for its rest, beyond the time that every frame has.
pub const FRAME_BYTES_PER_S_MIN: i64 = 64;
/// Fragments of a device that are kept between two of its messages. A frame beyond it is refused and
/// the connection closed (code 13): what never becomes a message would fill the journal uncounted.
pub const FRAGMENT_BYTES_MAX: usize = 256 * 1024;
/// Unanswered probes after which a silent peer is gone, and the share of `keepalive` between two.
pub const KEEPALIVE_PROBES: u32 = 3;
/// The longest header of the PROXY protocol behind its first bytes.
pub const PROXY_HEADER_BYTES_MAX: usize = 2048;
/// How long a listed proxy has for its header; then its connection is closed.
pub const PROXY_HEADER_WAIT: Duration = Duration::from_secs(5);
/// What a TLS handshake may receive; beyond it the connection is closed (code 4). A chain of client
/// certificates is a tenth of it.
pub const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;
/// The longest file of a certificate, a key or an authority.
pub const CERTIFICATE_BYTES_MAX: u64 = 1 << 20;
/// The first and the longest pause after a failed accept.
pub const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// So many rejects, refusals and refused sources one worker tells of in a second; what comes on top
/// is counted as lost.
pub const TOLD_PER_S_MAX: u32 = 100;

/// What an operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The address that all channels listen on.
    pub listen: IpAddr,
    /// Connections of the whole gateway. Beyond it the newest is closed at once.
    pub connections_max: usize,
    /// Connections of one channel. Beyond it the newest is closed at once.
    pub channel_connections_max: usize,
    /// Connections of one source address (IPv6: of one /64) on which no device has been admitted.
    /// Beyond it the newest is closed at once.
    pub unidentified_per_source_max: u32,
    /// Without a byte for so long a connection is closed (code 17).
    pub idle_ms: i64,
    /// Without an admitted device for so long a connection is closed (code 17, or 14 if it has
    /// named an ident that no device has).
    pub identify_ms: i64,
    /// A frame that has begun must be whole after so long, and a second more for each
    /// [`FRAME_BYTES_PER_S_MIN`] bytes of it; else the connection is closed (code 17).
    pub frame_ms: i64,
    /// A refused login of an ident is answered once in so long; one that comes back sooner is parked
    /// unread until then.
    pub refused_login_ms: i64,
    /// A device changes hands at most so often in [`TAKEOVER_WINDOW_MS`]; then the newcomer is parked.
    pub takeovers_max: u32,
    /// So many devices of one account are admitted on new connections in a second; then the newcomer
    /// is parked until its turn.
    pub account_logins_max: u32,
    /// After so long a silence a peer's kernel is asked whether it lives; half as long again without
    /// an answer, and the connection is gone. 0: it is not asked.
    pub keepalive_ms: i64,
    /// Memory held by parked frames, of all connections together. Beyond it the newest is refused
    /// and closed (code 21).
    pub parked_bytes_max: usize,
    /// The receive buffer of a socket, in bytes, inherited from the listener; 0 leaves the system's
    /// choice. What is not read pins kernel memory: 130 KB at Linux' default, 37 KB at 16384.
    pub receive_buffer_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            listen: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            connections_max: 1_000_000,
            channel_connections_max: 100_000,
            unidentified_per_source_max: 1_000,
            idle_ms: 600_000,
            identify_ms: 60_000,
            frame_ms: 120_000,
            refused_login_ms: 10_000,
            takeovers_max: 10,
            account_logins_max: 2_000,
            keepalive_ms: 60_000,
            parked_bytes_max: 256 << 20,
            receive_buffer_bytes: 0,
        }
    }
}

impl Bounds {
    /// As the configuration says.
    pub fn of(config: &Config) -> Self {
        let bounds = &config.bounds;
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let bytes = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            listen: config.gateway.listen,
            connections_max: count(bounds.connections),
            channel_connections_max: count(bounds.channel_connections),
            unidentified_per_source_max: bounds.unidentified_per_source,
            idle_ms: i64::from(bounds.idle.as_ms()),
            identify_ms: i64::from(bounds.identify.as_ms()),
            frame_ms: i64::from(bounds.frame.as_ms()),
            refused_login_ms: i64::from(bounds.refused_login.as_ms()),
            takeovers_max: bounds.takeovers,
            account_logins_max: bounds.account_logins,
            keepalive_ms: i64::from(bounds.keepalive.as_ms()),
            parked_bytes_max: bytes(bounds.parked.0),
            receive_buffer_bytes: bytes(bounds.receive_buffer.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_configuration_says_the_defaults() {
        let config = Config::parse("").expect("an empty file is a configuration");
        assert_eq!(Bounds::of(&config), Bounds::default());
    }
}
