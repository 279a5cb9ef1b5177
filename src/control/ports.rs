//! Every channel gets a port of the configured range and keeps it for life.

use super::{Control, WriteError};
use crate::registry::items::ChannelItem;
use std::collections::HashSet;

impl Control {
    /// Gives a new channel its host and, unless one is asked for, the lowest free port. One that is
    /// asked for must be of the range, because whoever makes channels does not own the machine; that
    /// it is free is the registry's to check, that it can be bound is seen when it is.
    pub(super) fn give_port(&self, channel: &mut ChannelItem) -> Result<(), WriteError> {
        if channel.host.is_empty() {
            channel.host.clone_from(&self.options.public_host);
        }
        let (first, last) = self.options.ports;
        if (first..=last).contains(&channel.port) {
            return Ok(());
        }
        if channel.port != 0 {
            let reason = format!("is not of the range {first} to {last}");
            return Err(WriteError::field("port", reason));
        }
        let taken: HashSet<u16> = self
            .registry
            .channels()
            .iter()
            .map(|handle| handle.state.load().port)
            .collect();
        channel.port = (first..=last)
            .find(|port| !taken.contains(port))
            .ok_or(WriteError::NoPort { first, last })?;
        Ok(())
    }
}
