//! Channels.
pub mod gate;
pub mod wheel;
