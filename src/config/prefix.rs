//! An address prefix: `10.0.0.0/8`, `2001:db8::/32`, or one address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// All addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// What stands before the slash.
    #[error("\"{0}\" is neither an address nor a prefix like 10.0.0.0/8")]
    Address(String),
    /// What stands behind the slash.
    #[error("\"{0}\" has more bits than the address, or none that can be read")]
    Bits(String),
    /// Bits are set behind the prefix.
    #[error("\"{0}\" has bits set behind the prefix; did you mean {1}?")]
    Behind(String, Prefix),
}

impl Prefix {
    /// Does the address begin so? An IPv4 address in IPv6 form is taken as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(prefix), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                let apart = u32::from(prefix) ^ u32::from(address);
                apart.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(prefix), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                let apart = u128::from(prefix) ^ u128::from(address);
                apart.checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// Without the bits behind the prefix.
    fn masked(self) -> Self {
        let bits = u32::from(self.bits);
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                IpAddr::V4((u32::from(address) & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                IpAddr::V6((u128::from(address) & mask).into())
            }
        };
        Self { address, ..self }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address
            .trim()
            .parse()
            .map_err(|_| PrefixError::Address(text.to_owned()))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits
                .trim()
                .parse()
                .ok()
                .filter(|bits| *bits <= most)
                .ok_or_else(|| PrefixError::Bits(text.to_owned()))?,
        };
        let prefix = Self { address, bits };
        let masked = prefix.masked();
        if masked == prefix {
            Ok(prefix)
        } else {
            Err(PrefixError::Behind(text.to_owned(), masked))
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_the_addresses_that_begin_like_it() {
        for (prefix, address, inside) in [
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "::ffff:10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
        ] {
            let parsed: Prefix = prefix.parse().expect(prefix);
            assert_eq!(parsed.contains(address.parse().expect(address)), inside);
        }
        for (text, problem) in [
            ("10.0.0.1/8", "did you mean 10.0.0.0/8?"),
            ("10.0.0.0/33", "more bits"),
            ("ten", "neither an address"),
        ] {
            let error = text.parse::<Prefix>().expect_err(text).to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
