//! Recorded conversations: captures to TCP streams, streams to what a decoder says of them.
//!
//! It imports decoders and nothing else of the gateway: it knows no account and no store, so what
//! it shows of a gate is the gate, never a verdict. Who calls it: `cli`.

mod transcript;

pub use transcript::{Known, Line, Transcript};
