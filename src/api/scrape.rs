//! `GET /metrics`: the whole page for the operator and, without a token, for a peer on loopback;
//! with a token, wherever from, what its account and the branch below may see.

use super::State;
use super::access::{self, Right};
use super::answer::Error;
use super::charge;
use crate::ids::{AccountId, ChannelId};
use crate::metrics::branch_of;
use axum::http::{HeaderMap, Method, header};
use std::net::SocketAddr;
use std::sync::Arc;

/// The right to it: what a list of an ACL token calls it.
const RIGHT: Right = Right::Of("metrics", None);

/// The page. `trusted`: the peer needs no token.
pub(super) async fn page(
    state: &Arc<State>,
    trusted: bool,
    peer: Option<SocketAddr>,
    headers: &HeaderMap,
) -> Result<String, Error> {
    // a proxy on this machine hands other people's tokens on: then it is their page
    let branch = if trusted && !headers.contains_key(header::AUTHORIZATION) {
        None
    } else {
        let caller = access::caller_of(state, headers, peer)?;
        charge::call(state, &caller)?;
        caller.may(RIGHT, &Method::GET)?;
        Some(caller)
    };
    let shared = Arc::clone(state);
    let root = branch.as_ref().map(|caller| caller.root);
    let made = tokio::task::spawn_blocking(move || {
        let page = shared.metrics.render();
        match root {
            None => page,
            Some(root) => of_branch(&shared, &page, root),
        }
    });
    let page = made
        .await
        .map_err(|_| Error::unable("the page could not be made"))?;
    if let Some(caller) = branch {
        charge::answer(state, caller.account.as_ref(), page.len());
    }
    Ok(page)
}

fn of_branch(state: &State, page: &str, root: AccountId) -> String {
    let registry = state.control.registry();
    branch_of(page, &|label, id| match label {
        "account" => registry.manages(root, AccountId(id)),
        _ => registry
            .channel(ChannelId(id))
            .is_some_and(|channel| registry.manages(root, channel.state.load().item.cid)),
    })
}
