//! What happened to what.

use crate::ids::{AccountId, ChannelId, DeviceId, LimitId, TokenId};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        /// What happened, by flespi's numbers where it has one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Its number in logs.
            pub const fn number(self) -> u16 {
                match self {
                    $(Self::$name => $number,)*
                }
            }

            /// The code of that number.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// An item was made.
    Created = 1;
    /// An item was changed.
    Changed = 2;
    /// An item was deleted.
    Deleted = 3;
    /// An item went to another account.
    Moved = 4;
    /// An account or item is blocked.
    Blocked = 20;
    /// It is not blocked any more.
    Unblocked = 21;
    /// A connection was accepted.
    Accepted = 100;
    /// Its device named itself.
    Identified = 101;
    /// It was closed.
    Closed = 102;
    /// A device is connected.
    Connected = 300;
    /// A device is not connected any more.
    Disconnected = 301;
    /// A frame of a device was rejected.
    FrameRejected = 305;
    /// A token expired and was removed.
    TokenExpired = 600;
    /// A REST call.
    ApiCall = 1000;
    /// Two connections take one ident from each other again and again, or one wants what another keeps.
    IdentFlaps = 9001;
    /// A frame costs more than a whole limit: it never fits.
    FrameTooDear = 9002;
    /// The gateway started or stopped.
    Gateway = 9003;
    /// A device came on a second connection, and the first was closed.
    TakenOver = 9004;
    /// What a login sends is refused: unknown, a wrong secret, a limit, disabled.
    LoginRefused = 9005;
    /// A command to a device was queued.
    CommandQueued = 9010;
    /// A command was sent to its device.
    CommandSent = 9011;
    /// A command was answered by its device, or sent where the protocol has no answer.
    CommandProcessed = 9012;
    /// A command was taken back.
    CommandCanceled = 9013;
    /// A command was not executed: its time was over, nobody answered it, or it cannot be written.
    CommandFailed = 9014;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal $path:literal $item_type:literal;)*) => {
        /// The kind of item that an event is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum OriginKind {
            $($(#[$doc])* $name,)*
        }

        impl OriginKind {
            /// Its stored number.
            pub const fn number(self) -> u8 {
                match self {
                    $(Self::$name => $number,)*
                }
            }

            /// The kind of that stored number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its path in REST.
            pub const fn path(self) -> &'static str {
                match self {
                    $(Self::$name => $path,)*
                }
            }

            /// flespi's `origin_type`.
            pub const fn item_type(self) -> u8 {
                match self {
                    $(Self::$name => $item_type,)*
                }
            }
        }
    };
}

kinds! {
    /// The account itself, as its owner sees it.
    Customer = 1 "platform/customer" 1;
    /// An account, as its parent sees it.
    Subaccount = 2 "platform/subaccounts" 2;
    /// A limit.
    Limit = 3 "platform/limits" 3;
    /// A token.
    Token = 4 "platform/tokens" 4;
    /// A channel.
    Channel = 5 "gw/channels" 9;
    /// A device.
    Device = 6 "gw/devices" 11;
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The kind of item.
    pub kind: OriginKind,
    /// Its id.
    pub id: u64,
}

impl Origin {
    /// As in `event_origin`: `gw/devices/5`.
    pub fn path(self) -> String {
        format!("{}/{}", self.kind.path(), self.id)
    }

    /// An account, as its owner sees it.
    pub const fn customer(id: AccountId) -> Self {
        Self {
            kind: OriginKind::Customer,
            id: id.0,
        }
    }

    /// An account, as its parent sees it.
    pub const fn subaccount(id: AccountId) -> Self {
        Self {
            kind: OriginKind::Subaccount,
            id: id.0,
        }
    }

    /// A limit.
    pub const fn limit(id: LimitId) -> Self {
        Self {
            kind: OriginKind::Limit,
            id: id.0,
        }
    }

    /// A token.
    pub const fn token(id: TokenId) -> Self {
        Self {
            kind: OriginKind::Token,
            id: id.0,
        }
    }

    /// A channel.
    pub const fn channel(id: ChannelId) -> Self {
        Self {
            kind: OriginKind::Channel,
            id: id.0,
        }
    }

    /// A device.
    pub const fn device(id: DeviceId) -> Self {
        Self {
            kind: OriginKind::Device,
            id: id.0,
        }
    }
}
