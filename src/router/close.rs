//! How a connection ends, by flespi's numbers.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal $text:literal;)*) => {
        /// Why a connection was closed. The numbers are flespi's and are what is stored.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum CloseCode {
            $($(#[$doc])* $name = $code,)*
        }

        impl CloseCode {
            /// Every code that the gateway uses.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The words for people.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// None of the others: a bug shows as this.
    Unexpected = -1 "unexpected";
    /// The tracker hung up.
    ByTracker = 2 "closed by the tracker";
    /// The conversation is over.
    Done = 3 "done";
    /// Bytes that no frame can be found in.
    Violation = 4 "the data violates the protocol";
    /// The gateway could not go on.
    Internal = 5 "internal error";
    /// Too many frames in a row could not be read.
    Parse = 6 "parse error";
    /// The gateway stops.
    Restart = 7 "server restart";
    /// The channel was changed or deleted.
    ChannelChanged = 9 "channel parameters changed";
    /// Somebody closed it through the API.
    ByUser = 10 "closed by the user";
    /// The device has another connection.
    IdentCollision = 12 "ident collision";
    /// The device's account is blocked, or asked for more than its limit can ever give.
    DeviceBlocked = 13 "device is blocked";
    /// Unknown ident or wrong secret.
    Authentication = 14 "authentication failed";
    /// The device was created, moved, changed or deleted: it shall come back and be routed anew.
    DeviceChanged = 15 "device was created, changed or deleted";
    /// The source address is not allowed.
    Whitelist = 16 "IP whitelist mismatch";
    /// Nothing came for too long.
    Inactivity = 17 "inactivity";
    /// A part of the protocol that is not supported.
    Unsupported = 18 "unsupported protocol part";
    /// None of the channel's protocols.
    Mismatch = 19 "protocol mismatch";
    /// What it sent was refused for longer than it may be parked.
    ChannelBlocked = 21 "channel blocked";
    /// The device or its account is disabled.
    DeviceDisabled = 23 "device disabled";
}

impl CloseCode {
    /// The number.
    pub const fn number(self) -> i16 {
        self as i16
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number(), self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_flespis() {
        assert_eq!(CloseCode::IdentCollision.number(), 12);
        assert_eq!(CloseCode::Unexpected.number(), -1);
        assert_eq!(
            CloseCode::DeviceDisabled.to_string(),
            "23 (device disabled)"
        );
        assert!(CloseCode::ALL.is_sorted(), "in the order of the numbers");
    }
}
