//! Messages of devices that are deleted, or erased for good.
//!
//! Both are facts of the journal: here is only who asks, the entry that says it, and the event.

use super::effects::fields;
use super::{Control, WriteError};
use crate::events::{Code, Origin};
use crate::ids::{AccountId, DeviceId};
use crate::journal::{DeleteError, Note, What};

impl Control {
    /// Deletes a device's messages that are there now, by its own time (ms), both ends included.
    /// Nobody reads or counts them when this returns, durably; they leave the disk within a day.
    pub fn delete_messages(
        &self,
        device: DeviceId,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<(), WriteError> {
        let up_to = self
            .journal
            .delete_messages(device, from_ms, to_ms)
            .map_err(|error| not_deleted(&error))?;
        let note = Note::Deleted {
            at_us: self.clock.now_us(),
            device,
            up_to,
            from_ms,
            to_ms,
            what: What::Deleted,
        };
        if let Some(position) = self.note(&note) {
            self.wait_durable(position);
        }
        self.told(device, "messages_deleted");
        Ok(())
    }

    /// Erases everything of a device for good: journal, archives, telemetry. Nobody reads it when
    /// this returns, durably; it has left the disk when the journal does not name it among
    /// [`crate::journal::Journal::erasing`] any more. The device itself, if it is there, stays.
    pub fn erase(&self, device: DeviceId) -> Result<(), WriteError> {
        self.journal
            .erase(device)
            .map_err(|error| not_deleted(&error))?;
        self.told(device, "messages_erased");
        Ok(())
    }

    fn told(&self, device: DeviceId, what: &'static str) {
        let owner = self.registry.device(device);
        let owner = owner.map_or(AccountId::NONE, |device| device.state.load().account.id());
        let data = fields([(what, true.into())]);
        self.events
            .log_now(Code::Changed, Origin::device(device), owner, data);
    }
}

fn not_deleted(error: &DeleteError) -> WriteError {
    WriteError::Store(error.to_string())
}
