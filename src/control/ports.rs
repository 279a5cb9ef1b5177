//! Every channel gets a port of the configured range and keeps it for life.

use super::{Control, WriteError};
use crate::registry::items::ChannelItem;
use std::collections::HashSet;

impl Control {
    /// Gives a new channel its host and, unless one is asked for, the lowest free port. That a
    /// port that is asked for is free is the registry's to check, that it can be bound is seen
    /// when it is.
    pub(super) fn give_port(&self, channel: &mut ChannelItem) -> Result<(), WriteError> {
        if channel.host.is_empty() {
            channel.host.clone_from(&self.options.public_host);
        }
        if channel.port != 0 {
            return Ok(());
        }
        let (first, last) = self.options.ports;
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
