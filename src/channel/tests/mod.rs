//! The driver over in-memory streams, with the real registry, account tree and journal. One file for
//! each subject.

mod acks;
mod bytes;
mod closes;
mod commands;
mod edges;
mod endings;
mod ends;
mod fairness;
mod harness;
mod hold;
mod hostile;
mod limits;
mod logins;
mod raw;
mod takeover;
mod tls;
mod workers;

const IDENT: &str = "356307042441013";
/// A position of H02, which has no acks.
const FIX: &[u8] =
    b"*HQ,7000000001,V1,105759,A,3757.3392,S,14503.7022,E,000.00,173,280122,FF7FFBFF#\r\n";
