//! Commands to devices: checked, stored if they shall outlive a restart, queued, and their
//! connection told. What becomes of them the connection says; what is over is ended here.
//!
//! A stored command that has ended is taken out of the store within the second: after a crash in that
//! second it goes once more.

use super::Control;
use crate::events::{Code, Origin};
use crate::ids::DeviceId;
use crate::registry::DeviceHandle;
use crate::router::{Command, Ended, Outcome, TooManyCommands};
use crate::store::{Commit, Kind, RECORDS_PER_COMMIT_MAX, Store, StoreError};

/// The longest properties of a command, as JSON.
pub const COMMAND_BYTES_MAX: usize = 4096;

/// Why a command was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CommandRefused {
    /// The protocol does not know it.
    #[error("command {name} properties validation failed: command definition {name} is not found")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// Its properties are no object, or too long.
    #[error("command {name} properties validation failed: {reason}")]
    Properties {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// It was to go at once, and the device is not there.
    #[error(
        "failed to deliver command {name} with timeout pending, device with id {device} is not connected"
    )]
    NotConnected {
        /// Its name.
        name: String,
        /// Which device.
        device: DeviceId,
    },
    /// Too many wait.
    #[error(transparent)]
    Full(#[from] TooManyCommands),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Control {
    /// The stored commands wait again.
    pub(super) fn load_commands(&self, store: &Store) -> Result<(), StoreError> {
        for row in store.all::<Command>(Kind::Command) {
            self.router.commands().add(row?.1);
        }
        Ok(())
    }

    /// Takes a command; its number is given here. One with `stored` waits for the device, over
    /// restarts too; one without is refused unless the device is connected. Blocks on the disk.
    pub fn command(
        &self,
        device: &DeviceHandle,
        mut command: Command,
    ) -> Result<Command, CommandRefused> {
        let commands = self.router.commands();
        let known = device.commands().contains(&command.name.as_str());
        let name = command.name.clone();
        if !known {
            return Err(CommandRefused::Unknown { name });
        }
        if !command.properties.is_object() {
            let reason = "properties must be an object".to_owned();
            return Err(CommandRefused::Properties { name, reason });
        }
        if command.properties.to_string().len() > COMMAND_BYTES_MAX {
            let reason = format!("properties are longer than {COMMAND_BYTES_MAX} bytes");
            return Err(CommandRefused::Properties { name, reason });
        }
        let is_connected = || self.router.lives(device.present());
        if !command.stored && !is_connected() {
            return Err(CommandRefused::NotConnected {
                name,
                device: device.id,
            });
        }
        // one writer at a time: the room that was found is there when it is added
        let store = self.writer();
        commands.room(device.id)?;
        command.id = commands.next_id(self.clock.now_us());
        command.device = device.id;
        if command.stored {
            store.commit(Commit::new().create(Kind::Command, command.id, &command))?;
        }
        commands.add(command.clone());
        drop(store);
        self.log_command(Code::CommandQueued, &command, None);
        self.router.command(device.present());
        Ok(command)
    }

    /// Takes commands of a device back. Those that are on their way may be executed all the same.
    pub fn cancel_commands(
        &self,
        device: DeviceId,
        wanted: impl FnMut(&Command) -> bool,
    ) -> Vec<Ended> {
        let now_us = self.clock.now_us();
        let ended = self.router.commands().cancel(device, now_us, wanted);
        for one in &ended {
            self.log_command(Code::CommandCanceled, &one.command, Some(&one.outcome));
        }
        self.keep_commands();
        ended
    }

    /// Ends what is over, and takes what has ended out of the store. Called each second. Blocks on
    /// the disk.
    pub fn keep_commands(&self) {
        let commands = self.router.commands();
        let now_us = self.clock.now_us();
        for ended in commands.expire(now_us, |device| self.registry.device(device).is_some()) {
            let code = match ended.outcome {
                Outcome::Canceled => Code::CommandCanceled,
                _ => Code::CommandFailed,
            };
            self.log_command(code, &ended.command, Some(&ended.outcome));
        }
        let over = commands.take_over();
        for some in over.chunks(RECORDS_PER_COMMIT_MAX) {
            let mut commit = Commit::new();
            for id in some {
                commit.remove(Kind::Command, *id);
            }
            if let Err(error) = self.writer().commit(&commit) {
                // they go once more after a restart
                tracing::warn!(%error, commands = some.len(), "ended commands stay in the store");
            }
        }
    }

    fn log_command(&self, code: Code, command: &Command, outcome: Option<&Outcome>) {
        let Some(device) = self.registry.device(command.device) else {
            return;
        };
        let mut data = super::effects::fields([
            ("command_id", command.id.into()),
            ("name", command.name.as_str().into()),
        ]);
        if let Some(outcome) = outcome {
            data.insert("outcome".into(), outcome.name().into());
        }
        let account = device.state.load().account.id();
        self.events
            .log_now(code, Origin::device(device.id), account, data);
    }
}
