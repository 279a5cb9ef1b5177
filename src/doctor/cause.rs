//! The causes that there are, and what is said of one.

use serde::Serialize;

/// Why data does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It arrives.
    Well,
    /// Nothing can be stored.
    DiskStopped,
    /// No device has the ident.
    UnknownIdent,
    /// Neither a device nor a connection is known of the ident.
    NeverSeen,
    /// It calls a channel that does not serve its device.
    CallsElsewhere,
    /// No channel serves the device.
    NoChannel,
    /// The device is disabled.
    DeviceDisabled,
    /// Its account, or one above it, is disabled.
    AccountDisabled,
    /// Its account, or one above it, has used up a limit.
    LimitReached,
    /// It did not show its password.
    WrongPassword,
    /// Its frames cannot be read.
    FrameRejected,
    /// Two trackers take the ident from each other.
    IdentShared,
    /// It speaks another protocol than the channel.
    WrongProtocol,
    /// It speaks without TLS to a channel with it.
    TlsExpected,
    /// It speaks TLS, and the two did not agree.
    TlsFailed,
    /// It speaks TLS to a channel without it.
    TlsUnexpected,
    /// Its address may not call.
    SourceNotAllowed,
    /// It connects and says nothing.
    SaysNothing,
    /// Its clock is far ahead.
    ClockAhead,
    /// All that it sends is stored already.
    DuplicatesOnly,
    /// It was there, and has not called any more.
    Silent,
    /// It is registered and has never called.
    NeverCalled,
}

/// A cause, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which.
    pub cause: Cause,
    /// What is known, for people.
    pub says: String,
    /// What to do.
    pub todo: String,
    /// When it showed last, unix us; 0: it is so now.
    pub at_us: i64,
}

pub(super) fn finding(
    cause: Cause,
    at_us: i64,
    says: impl Into<String>,
    todo: impl Into<String>,
) -> Finding {
    Finding {
        cause,
        says: says.into(),
        todo: todo.into(),
        at_us,
    }
}
