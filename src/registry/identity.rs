//! Which channel serves which device, and which two devices may not both exist. Pure.
//!
//! ```text
//! serves(c, d)   = d's protocol is among c's, owner(c) is in d's path to its master, and no
//!                  account strictly below owner(c) on that path owns an `isolated` channel of
//!                  that protocol
//! conflict(a, b) = same protocol and canonical ident, and some channel serves both
//! ```
//!
//! Both ask only where channels stand ([`Places`]), never which channel it is: channels of one
//! owner and one protocol serve the same devices. Disabled items count, deleted ones do not.

use crate::ids::{AccountId, Ident};
use smallvec::SmallVec;
use std::collections::HashMap;

/// The accounts from a device's own up to its master.
pub type Path = SmallVec<[AccountId; 5]>;

/// What identity needs to know of a device.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The stored number of its protocol.
    pub protocol: u16,
    /// Its ident in canonical form.
    pub ident: &'a Ident,
    /// From its account up to the master.
    pub path: &'a [AccountId],
}

/// What identity needs to know of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Post<'a> {
    /// The account that owns it.
    pub owner: AccountId,
    /// The stored numbers of its protocols.
    pub protocols: &'a [u16],
    /// Does it keep the channels above it from its branch?
    pub isolated: bool,
}

/// How many channels of one protocol one account owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Standing {
    channels: u32,
    isolated: u32,
}

/// Where channels stand: (owner, protocol) -> how many.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    standing: HashMap<(AccountId, u16), Standing, foldhash::fast::FixedState>,
}

impl Places {
    /// Counts a channel in.
    pub fn add(&mut self, post: Post<'_>) {
        for &protocol in post.protocols {
            let standing = self.standing.entry((post.owner, protocol)).or_default();
            standing.channels += 1;
            standing.isolated += u32::from(post.isolated);
        }
    }

    /// Counts a channel out that was counted in.
    pub fn remove(&mut self, post: Post<'_>) {
        for &protocol in post.protocols {
            if let Some(standing) = self.standing.get_mut(&(post.owner, protocol)) {
                standing.channels = standing.channels.saturating_sub(1);
                standing.isolated = standing.isolated.saturating_sub(u32::from(post.isolated));
                if standing.channels == 0 {
                    self.standing.remove(&(post.owner, protocol));
                }
            }
        }
    }

    fn at(&self, account: AccountId, protocol: u16) -> Standing {
        self.standing
            .get(&(account, protocol))
            .copied()
            .unwrap_or_default()
    }

    /// Does `account` own a channel of `protocol`?
    pub fn stands(&self, account: AccountId, protocol: u16) -> bool {
        self.at(account, protocol).channels > 0
    }

    /// The owners whose channels of `protocol` serve a device with this path, nearest first.
    pub fn serving(&self, path: &[AccountId], protocol: u16) -> Path {
        let mut owners = Path::new();
        for &account in path {
            let standing = self.at(account, protocol);
            if standing.channels > 0 {
                owners.push(account);
            }
            if standing.isolated > 0 {
                break;
            }
        }
        owners
    }
}

/// Does a channel of these protocols at `owner` serve the device?
pub fn serves(places: &Places, channel: Post<'_>, device: Claim<'_>) -> bool {
    channel.protocols.contains(&device.protocol)
        && device
            .path
            .iter()
            .position(|&account| account == channel.owner)
            .is_some_and(|depth| {
                device
                    .path
                    .iter()
                    .take(depth)
                    .all(|&below| places.at(below, device.protocol).isolated == 0)
            })
}

/// May the two not both exist?
pub fn conflict(places: &Places, a: Claim<'_>, b: Claim<'_>) -> bool {
    if a.protocol != b.protocol || a.ident != b.ident {
        return false;
    }
    let of_b = places.serving(b.path, b.protocol);
    places
        .serving(a.path, a.protocol)
        .iter()
        .any(|owner| of_b.contains(owner))
}
