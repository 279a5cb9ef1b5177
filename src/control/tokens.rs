//! Tokens: random keys, shown once, kept only as a keyed hash.

use super::{Control, Scope, WriteError};
use crate::ids::{AccountId, TokenId};
use crate::registry::items::{Access, Metadata, Stamp, TokenItem};
use crate::registry::{Item, ItemId, Write};
use crate::store::{Commit, Kind, Store, StoreError};
use std::sync::Arc;

/// Characters of a key: letters and digits, 380 bits.
pub const KEY_CHARACTERS: usize = 64;
/// Where the installation's secret is in the store.
const SECRET_OF_TOKENS: u64 = 1;

/// A token to be made.
#[derive(Debug, Clone, Default)]
pub struct NewToken {
    /// The account that it acts for.
    pub cid: AccountId,
    /// What it may do.
    pub access: Access,
    /// For people.
    pub info: String,
    /// So long it lives after its last use; 0: no bound.
    pub ttl_s: u32,
    /// When it ends whatever happens, unix s; 0: never.
    pub expire_s: i64,
    /// Made disabled.
    pub disabled: bool,
    /// Address prefixes that it may be used from; empty: every address.
    pub ips: Vec<String>,
    /// The user's.
    pub metadata: Metadata,
}

/// The keyed hash of a key, in hex: what is stored and looked up.
pub fn key_hash(secret: &[u8; 32], key: &str) -> String {
    blake3::keyed_hash(secret, key.as_bytes())
        .to_hex()
        .to_string()
}

/// The installation's secret; made at the first start.
pub(super) fn installation_secret(store: &Store) -> Result<[u8; 32], StoreError> {
    if let Some(secret) = store.read::<[u8; 32]>(Kind::Secret, SECRET_OF_TOKENS)? {
        return Ok(secret);
    }
    let mut secret = [0; 32];
    random(&mut secret);
    store.commit(Commit::new().create(Kind::Secret, SECRET_OF_TOKENS, &secret))?;
    Ok(secret)
}

/// Bytes from the system's random source. A system without one cannot run a gateway safely.
fn random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system has a random source");
}

/// A new key. Bytes beyond the last whole multiple of 62 are passed over, so that every character
/// is equally likely.
fn new_key() -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut key = String::with_capacity(KEY_CHARACTERS);
    while key.len() < KEY_CHARACTERS {
        let mut bytes = [0; KEY_CHARACTERS];
        random(&mut bytes);
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let characters = fair.filter_map(|byte| ALPHABET.get(usize::from(byte % 62)));
        let left = KEY_CHARACTERS - key.len();
        key.extend(characters.take(left).map(|byte| char::from(*byte)));
    }
    key
}

impl Control {
    /// Makes a token; gives it back with its key, which is never shown again.
    pub fn create_token(
        &self,
        scope: Scope,
        new: NewToken,
    ) -> Result<(TokenItem, String), WriteError> {
        let key = new_key();
        let item = TokenItem {
            id: TokenId::NONE,
            cid: new.cid,
            key_hash: key_hash(&self.secret, &key),
            enabled: !new.disabled,
            access: new.access,
            info: new.info,
            ttl_s: new.ttl_s,
            expire_s: new.expire_s,
            ips: new.ips,
            metadata: new.metadata,
            stamp: Stamp::default(),
        };
        let written = self.write(scope, Write::Put(Item::Token(item)), None)?;
        match written.item {
            Item::Token(item) => Ok((item, key)),
            _ => unreachable!("a token was written"),
        }
    }

    /// The token of that key, if there is one; whether it may be used is for the caller to ask.
    pub fn token_of(&self, key: &str) -> Option<Arc<TokenItem>> {
        self.registry.token_by_hash(&key_hash(&self.secret, key))
    }

    /// A master account, that nobody above can enter, keeps one enabled Master token.
    pub(super) fn check_way_in(&self, before: &Item, write: &Write) -> Result<(), WriteError> {
        let Item::Token(token) = before else {
            return Ok(());
        };
        let stays = match write {
            Write::Put(Item::Token(after)) => is_way_in(after),
            Write::Remove(ItemId::Token(_)) => false,
            _ => return Ok(()),
        };
        if stays || !is_way_in(token) {
            return Ok(());
        }
        let account = self.registry.account(token.cid);
        let is_master = account.is_some_and(|account| !account.owner_id.is_some());
        let others = self
            .registry
            .tokens()
            .iter()
            .any(|other| other.id != token.id && other.cid == token.cid && is_way_in(other));
        if is_master && !others {
            Err(WriteError::LastMasterToken)
        } else {
            Ok(())
        }
    }
}

fn is_way_in(token: &TokenItem) -> bool {
    token.enabled && token.access == Access::Master
}
