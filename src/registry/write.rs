//! One change of one item, as a value: what is checked, stored and published is the same thing.

use super::items::{AccountItem, ChannelItem, DeviceItem, LimitItem, Stamp, TokenItem, Tombstone};
use crate::account::Dimension;
use crate::ids::{AccountId, ChannelId, DeviceId, LimitId, TokenId};
use crate::store::{Commit, Kind};

/// An item of any kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// An account.
    Account(AccountItem),
    /// A limit.
    Limit(LimitItem),
    /// A channel.
    Channel(ChannelItem),
    /// A device.
    Device(DeviceItem),
    /// A token.
    Token(TokenItem),
}

/// The id of an item of any kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ItemId {
    /// An account.
    Account(AccountId),
    /// A limit.
    Limit(LimitId),
    /// A channel.
    Channel(ChannelId),
    /// A device.
    Device(DeviceId),
    /// A token.
    Token(TokenId),
}

/// One change of one item.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives for the length of a write"
)]
pub enum Write {
    /// The item is to be like this; it is made if its id is new.
    Put(Item),
    /// The item is to be gone.
    Remove(ItemId),
}

impl Item {
    /// Its id.
    pub const fn id(&self) -> ItemId {
        match self {
            Self::Account(item) => ItemId::Account(item.id),
            Self::Limit(item) => ItemId::Limit(item.id),
            Self::Channel(item) => ItemId::Channel(item.id),
            Self::Device(item) => ItemId::Device(item.id),
            Self::Token(item) => ItemId::Token(item.id),
        }
    }

    /// The account that owns it: of an account the one above it.
    pub const fn cid(&self) -> AccountId {
        match self {
            Self::Account(item) => item.owner_id,
            Self::Limit(item) => item.cid,
            Self::Channel(item) => item.cid,
            Self::Device(item) => item.cid,
            Self::Token(item) => item.cid,
        }
    }

    /// What the gateway wrote into it.
    pub const fn stamp(&self) -> &Stamp {
        match self {
            Self::Account(item) => &item.stamp,
            Self::Limit(item) => &item.stamp,
            Self::Channel(item) => &item.stamp,
            Self::Device(item) => &item.stamp,
            Self::Token(item) => &item.stamp,
        }
    }

    /// What the gateway writes into it.
    pub const fn stamp_mut(&mut self) -> &mut Stamp {
        match self {
            Self::Account(item) => &mut item.stamp,
            Self::Limit(item) => &mut item.stamp,
            Self::Channel(item) => &mut item.stamp,
            Self::Device(item) => &mut item.stamp,
            Self::Token(item) => &mut item.stamp,
        }
    }

    /// Its name (of a token its info).
    pub fn name(&self) -> &str {
        match self {
            Self::Account(item) => &item.name,
            Self::Limit(item) => &item.name,
            Self::Channel(item) => &item.name,
            Self::Device(item) => &item.name,
            Self::Token(item) => &item.info,
        }
    }
}

impl ItemId {
    /// The word for its kind.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Account(_) => "account",
            Self::Limit(_) => "limit",
            Self::Channel(_) => "channel",
            Self::Device(_) => "device",
            Self::Token(_) => "token",
        }
    }

    /// The number.
    pub const fn number(self) -> u64 {
        match self {
            Self::Account(id) => id.0,
            Self::Limit(id) => id.0,
            Self::Channel(id) => id.0,
            Self::Device(id) => id.0,
            Self::Token(id) => id.0,
        }
    }

    /// Where the store keeps it.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Account(_) => Kind::Account,
            Self::Limit(_) => Kind::Limit,
            Self::Channel(_) => Kind::Channel,
            Self::Device(_) => Kind::Device,
            Self::Token(_) => Kind::Token,
        }
    }

    /// The count limit that it is one of.
    pub(super) const fn counted(self) -> Dimension {
        match self {
            Self::Account(_) => Dimension::SubaccountsCount,
            Self::Limit(_) => Dimension::LimitsCount,
            Self::Channel(_) => Dimension::ChannelsCount,
            Self::Device(_) => Dimension::DevicesCount,
            Self::Token(_) => Dimension::TokensCount,
        }
    }
}

impl Write {
    /// Which item.
    pub const fn id(&self) -> ItemId {
        match self {
            Self::Put(item) => item.id(),
            Self::Remove(id) => *id,
        }
    }

    /// Adds what has to be on disk to a commit. `effect` is what the check of it said; a deleted
    /// account leaves its tombstone.
    pub fn stage(&self, effect: &super::Effect, now_us: i64, commit: &mut Commit) {
        let id = self.id();
        let (kind, number) = (id.kind(), id.number());
        let item = match self {
            Self::Put(item) => item,
            Self::Remove(id) => {
                commit.remove(kind, number);
                if let (ItemId::Account(account), Some(Item::Account(before))) =
                    (id, &effect.before)
                {
                    let tombstone = Tombstone {
                        id: *account,
                        owner_id: before.owner_id,
                        deleted_us: now_us,
                    };
                    commit.create(Kind::Tombstone, number, &tombstone);
                }
                return;
            }
        };
        let created = effect.before.is_none();
        match item {
            Item::Account(item) if created => commit.create(kind, number, item),
            Item::Limit(item) if created => commit.create(kind, number, item),
            Item::Channel(item) if created => commit.create(kind, number, item),
            Item::Device(item) if created => commit.create(kind, number, item),
            Item::Token(item) if created => commit.create(kind, number, item),
            Item::Account(item) => commit.replace(kind, number, item),
            Item::Limit(item) => commit.replace(kind, number, item),
            Item::Channel(item) => commit.replace(kind, number, item),
            Item::Device(item) => commit.replace(kind, number, item),
            Item::Token(item) => commit.replace(kind, number, item),
        };
    }
}
