//! Who asks, and what a token allows.
//!
//! | token | may |
//! |---|---|
//! | 0 standard | everything under `/gw`, nothing under `/platform` |
//! | 1 master | everything of its account and branch |
//! | 2 ACL | what its list says and nothing else: per `uri` the `methods` and `ids`, per submodule its own methods |
//!
//! The operator, who comes over the socket in the data directory, may everything.

use super::State;
use super::answer::{Error, code};
use crate::account::Account;
use crate::config::Prefix;
use crate::control::Scope;
use crate::ids::AccountId;
use crate::registry::ItemId;
use crate::registry::items::{Access, Source, TokenItem};
use axum::http::{HeaderMap, Method, StatusCode, header};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;

/// Whose call it is.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// `None`: the operator.
    pub(super) token: Option<Arc<TokenItem>>,
    /// The account that the token belongs to; none of the operator.
    pub(super) account: Option<Account>,
    /// The account whose branch the call covers, by `x-flespi-cid` or the token's own.
    pub(super) root: AccountId,
    /// From where.
    pub(super) peer: Option<SocketAddr>,
}

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// A valid token.
    Any,
    /// A Master token.
    Master,
    /// A Standard or Master token, or an ACL entry of this `uri` and submodule.
    Of(&'static str, Option<&'static str>),
}

impl Caller {
    /// The operator of the gateway.
    pub(super) fn operator() -> Self {
        Self {
            token: None,
            account: None,
            root: AccountId::NONE,
            peer: None,
        }
    }

    /// What control is told.
    pub(super) fn scope(&self) -> Scope {
        Scope {
            root: self.root,
            source: Source::Api,
        }
    }

    /// May it use a method of the route at all?
    pub(super) fn may(&self, right: Right, method: &Method) -> Result<(), Error> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let allowed = match (&token.access, right) {
            (Access::Master, _) | (_, Right::Any) | (Access::Standard, Right::Of(..)) => true,
            (Access::Standard | Access::Acl(_), Right::Master) => false,
            (Access::Acl(list), Right::Of(uri, submodule)) => {
                acl_entries(list, uri).any(|entry| acl_allows(entry, submodule, method))
            }
        };
        if allowed {
            Ok(())
        } else {
            Err(match token.access {
                Access::Acl(_) => Error::forbidden("action is not permitted by ACL"),
                _ => Error::forbidden("action is not permitted: it needs a Master token"),
            })
        }
    }

    /// The ids that an ACL allows there; `None`: all.
    pub(super) fn ids(&self, right: Right, method: &Method) -> Option<Vec<u64>> {
        let (Some(token), Right::Of(uri, submodule)) = (&self.token, right) else {
            return None;
        };
        let Access::Acl(list) = &token.access else {
            return None;
        };
        let mut ids = Vec::new();
        for entry in acl_entries(list, uri).filter(|entry| acl_allows(entry, submodule, method)) {
            match entry.get("ids") {
                None => return None,
                Some(Value::String(all)) if all == "all" => return None,
                Some(Value::Array(some)) => ids.extend(some.iter().filter_map(Value::as_u64)),
                Some(_) => {}
            }
        }
        ids.sort_unstable();
        Some(ids)
    }
}

fn acl_entries<'a>(list: &'a [Value], uri: &'a str) -> impl Iterator<Item = &'a Value> {
    list.iter()
        .filter(move |entry| entry.get("uri").and_then(Value::as_str) == Some(uri))
}

/// GET of an item is not GET of what hangs on it: each submodule has its own methods.
fn acl_allows(entry: &Value, submodule: Option<&str>, method: &Method) -> bool {
    let holder = match submodule {
        None => Some(entry),
        Some(name) => entry
            .get("submodules")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .find(|sub| sub.get("name").and_then(Value::as_str) == Some(name)),
    };
    holder
        .and_then(|holder| holder.get("methods"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|known| known.as_str() == Some(method.as_str()))
}

/// No valid token: why is not told.
fn invalid() -> Error {
    Error::new(
        StatusCode::UNAUTHORIZED,
        code::DENIED,
        "the token is missing or not valid",
    )
}

/// The key of `Authorization: FlespiToken <key>`; the bare key does too.
fn key_of(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    let mut key = text;
    for scheme in ["FlespiToken", "Bearer"] {
        while let Some(rest) = key
            .get(..scheme.len())
            .filter(|head| head.eq_ignore_ascii_case(scheme))
            .and_then(|_| key.get(scheme.len()..))
        {
            key = rest.trim_start();
        }
    }
    (!key.is_empty()).then_some(key)
}

/// The caller behind a token.
pub(super) fn caller_of(
    state: &State,
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
) -> Result<Caller, Error> {
    let token = key_of(headers)
        .and_then(|key| state.control.token_of(key))
        .ok_or_else(invalid)?;
    let now_us = state.control.clock().now_us();
    let account = state.control.registry().tree().account(token.cid);
    let account = account.filter(|account| !account.is_gone() && account.enabled_chain());
    let from_here = token.ips.is_empty()
        || peer.is_some_and(|peer| {
            token
                .ips
                .iter()
                .filter_map(|text| text.parse::<Prefix>().ok())
                .any(|prefix| prefix.contains(peer.ip()))
        });
    let Some(account) = account else {
        return Err(invalid());
    };
    let over = state.control.is_over(ItemId::Token(token.id));
    if !token.enabled || over || state.is_expired(&token, now_us) || !from_here {
        return Err(invalid());
    }
    state.used(&token, now_us);
    Ok(Caller {
        root: token.cid,
        token: Some(token),
        account: Some(account),
        peer,
    })
}

/// Takes in `x-flespi-cid`: an account of one's branch, else the same answer as for one that does
/// not exist.
pub(super) fn act_for(
    state: &State,
    caller: &mut Caller,
    headers: &HeaderMap,
) -> Result<(), Error> {
    let Some(value) = headers.get("x-flespi-cid") else {
        return Ok(());
    };
    let text = value.to_str().unwrap_or_default().trim();
    let id: u64 = text
        .parse()
        .map_err(|_| Error::field("x-flespi-cid", "is not the id of an account"))?;
    let registry = state.control.registry();
    let account = AccountId(id);
    if registry.account(account).is_none() || !registry.manages(caller.root, account) {
        return Err(Error::missing(id));
    }
    caller.root = account;
    Ok(())
}
