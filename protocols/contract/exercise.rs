//! Any bytes through any protocol, with the promises of the engine asserted: the body of the
//! fuzz target and of the random trials, here so that neither can rot.

use super::{Env, Output, Protocol, RECORD_BYTES_MAX, Session, Unregistered};

/// The most events and bytes that `exercise` accepts for each byte of input, beyond a start.
const EVENTS_PER_BYTE_MAX: usize = 8;
const OUTPUT_PER_BYTE_MAX: usize = 512;

/// Feeds `bytes` to a session of `protocol`, in reads whose lengths the bytes themselves decide,
/// and then the end of the stream.
///
/// # Panics
///
/// If the session breaks a promise: consumes what is not there, makes no progress though nothing
/// is missing, keeps more unread than a frame may be long, or says far more than it was told.
pub fn exercise(protocol: &Protocol, bytes: &[u8]) {
    let mut session = (protocol.open)();
    let mut out = Output::default();
    // as often logged in as not, so that what stands behind a login is reached
    if bytes.first().is_some_and(|byte| byte & 1 == 1) {
        let env = Env {
            now_ms: NOW_MS,
            lookup: &mut Unregistered,
            out: &mut out,
        };
        let begun = session.begin_as("123456789012345", env);
        assert!(begun.is_ok(), "fifteen digits are an ident of any protocol");
    }
    let mut unread: Vec<u8> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let read = rest
            .first()
            .map_or(1, |byte| 1 + usize::from(*byte) * 4)
            .min(rest.len());
        let (now, later) = rest.split_at(read);
        rest = later;
        unread.extend_from_slice(now);
        if !read_all(session.as_mut(), &mut unread, rest.is_empty(), &mut out) {
            return;
        }
        assert!(
            unread.len() < protocol.info.frame_bytes_max,
            "more is unread than a frame may be long"
        );
    }
}

/// [`exercise`] for the protocol that the first byte picks: the body of the fuzz target.
pub fn exercise_any(bytes: &[u8]) {
    if let Some((pick, rest)) = bytes.split_first()
        && let Some(protocol) = crate::PROTOCOLS.get(usize::from(*pick) % crate::PROTOCOLS.len())
    {
        exercise(protocol, rest);
    }
}

const NOW_MS: i64 = 1_795_477_360_000;

/// Reads all that can be read; false if the stream is lost.
fn read_all(session: &mut dyn Session, unread: &mut Vec<u8>, eof: bool, out: &mut Output) -> bool {
    loop {
        out.clear();
        let length = unread.len();
        let fed = session.feed(
            unread,
            eof,
            Env {
                now_ms: NOW_MS,
                lookup: &mut Unregistered,
                out: &mut *out,
            },
        );
        assert!(fed.consumed <= length, "it consumed what is not there");
        assert!(
            out.events.len() <= 64 + length * EVENTS_PER_BYTE_MAX,
            "more events than the bytes can mean"
        );
        assert!(
            out.bytes.len() <= RECORD_BYTES_MAX + length * OUTPUT_PER_BYTE_MAX,
            "more output than the bytes can mean"
        );
        unread.drain(..fed.consumed);
        if fed.fatal.is_some() {
            return false;
        }
        if unread.is_empty() || fed.need > unread.len() {
            return true;
        }
        assert!(fed.consumed > 0, "no progress, though nothing is missing");
    }
}
