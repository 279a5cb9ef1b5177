//! A call costs 1 of `api_calls`, whatever number of items it touches, and its bytes of
//! `api_traffic` (target and body of the request, body of the answer), for the account of its token
//! and every account above it.
//!
//! Call and request are charged before anything is done: over the limit is 429 and nothing was. An
//! answer cannot be taken back: what of it does not fit is sent and journaled, and the account is
//! blocked for the rest of the window.

use super::State;
use super::access::Caller;
use super::answer::Error;
use crate::account::{Account, Dimension, Refusal, Seen, SeenAt};
use crate::ids::minute_of;
use axum::http::StatusCode;
use std::sync::Arc;

/// The rates of the API.
const RATES: [Dimension; 2] = [Dimension::ApiCalls, Dimension::ApiTraffic];

fn over(state: &State, mut error: Error, resets_at_us: Option<i64>) -> Error {
    let now_us = state.control.clock().now_us();
    error.retry_s = resets_at_us.map(|at_us| seconds_until(at_us, now_us));
    error
}

/// Whole seconds from now until then, at least one.
pub(super) fn seconds_until(at_us: i64, now_us: i64) -> u32 {
    let left_us = at_us.saturating_sub(now_us).max(1);
    let seconds = left_us.saturating_add(999_999).div_euclid(1_000_000);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

fn refused(state: &State, account: &Account, refusal: &Refusal) -> Error {
    state.control.refused_api(refusal);
    counted(state, account, refusal.dimension);
    let error = Error::refused(StatusCode::TOO_MANY_REQUESTS, refusal, Some(account));
    over(state, error, refusal.resets_at_us)
}

/// Charges the call itself.
pub(super) fn call(state: &State, caller: &Caller) -> Result<(), Error> {
    let Some(account) = &caller.account else {
        return Ok(()); // the operator pays nothing
    };
    let now_us = state.control.clock().now_us();
    let minute = minute_of(now_us);
    if let Some(blocked) = account.blocked_for(&RATES, now_us) {
        let reading = account.reading(blocked.dimension, minute);
        let seen = Seen {
            dimension: blocked.dimension,
            at: (!blocked.inherited).then(|| SeenAt {
                account: account.id(),
                level_below: 0,
                asked: 1,
                used: reading.used,
                left: reading.left().unwrap_or(0),
                cap: reading.cap,
            }),
            resets_at_us: Some(blocked.until_us),
            too_large: false,
            disabled: false,
        };
        counted(state, account, blocked.dimension);
        let error = Error::seen(StatusCode::TOO_MANY_REQUESTS, seen);
        return Err(over(state, error, Some(blocked.until_us)));
    }
    account
        .charge_rate(Dimension::ApiCalls, minute, 1)
        .map_err(|refusal| refused(state, account, &refusal))?;
    used(state, account, 1, 0);
    Ok(())
}

/// Charges bytes of the request.
pub(super) fn request(state: &State, caller: &Caller, bytes: usize) -> Result<(), Error> {
    let Some(account) = caller.account.as_ref().filter(|_| bytes > 0) else {
        return Ok(());
    };
    let minute = minute_of(state.control.clock().now_us());
    account
        .charge_rate(Dimension::ApiTraffic, minute, bytes as u64)
        .map_err(|refusal| refused(state, account, &refusal))?;
    used(state, account, 0, bytes as u64);
    Ok(())
}

/// Charges bytes of the answer, which is sent in any case.
pub(super) fn answer(state: &State, account: Option<&Account>, bytes: usize) {
    let Some(account) = account.filter(|_| bytes > 0) else {
        return;
    };
    let minute = minute_of(state.control.clock().now_us());
    if let Err(refusal) = account.charge_rate(Dimension::ApiTraffic, minute, bytes as u64) {
        state.control.refused_api(&refusal);
    }
    used(state, account, 0, bytes as u64);
}

/// A no of a rate goes into the statistics of the account that called.
pub(super) fn counted(state: &State, account: &Account, dimension: Dimension) {
    if state.control.count_refused_api(account.id(), dimension) {
        flush(state);
    }
}

fn used(state: &State, account: &Account, calls: u64, bytes: u64) {
    if state.control.used_api(account.id(), calls, bytes) {
        flush(state);
    }
}

fn flush(state: &State) {
    let control = Arc::clone(&state.control);
    // the first of a second's calls writes what the second before used
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || control.flush_usage())),
        Err(_) => control.flush_usage(),
    }
}
