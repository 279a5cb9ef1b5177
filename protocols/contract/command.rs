//! Bytes to a tracker because of the API.

/// A command by its name in [`super::Info::commands`].
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its properties, a JSON object.
    pub properties: &'a serde_json::Value,
}

/// What becomes of a written command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The protocol has no answer to it.
    Unconfirmed,
    /// The tracker answers, with this key if the protocol has one.
    Answered(Option<u32>),
}

/// Why a command was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The protocol has no such command.
    #[error("the protocol has no such command")]
    Unsupported,
    /// A property is missing or wrong.
    #[error("a property of the command is missing or wrong")]
    BadProperties,
    /// The device has not logged in on this connection.
    #[error("the device has not logged in")]
    NotLoggedIn,
}
