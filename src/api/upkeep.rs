//! What has to be done though nobody calls: use goes to the journal, commands whose time is over end,
//! expired tokens go, the recycle bin is emptied.

use super::State;
use crate::control::{Scope, WriteError};
use crate::events::{Code, Origin};
use crate::registry::{ItemId, Write};
use std::sync::Arc;
use std::time::Duration;

/// How often use goes to the journal.
const USAGE_EVERY: Duration = Duration::from_secs(1);
/// Of so many turns one looks for expired tokens.
const TOKENS_EVERY: u64 = 10;
/// Of so many turns one empties the recycle bin.
const BIN_EVERY: u64 = 3600;

/// Runs until its task is dropped. One per gateway; what it has not written when it ends is
/// written by [`State::finish`].
pub async fn upkeep(state: Arc<State>) {
    let mut turn = 0_u64;
    loop {
        tokio::time::sleep(USAGE_EVERY).await;
        turn += 1;
        let state = Arc::clone(&state);
        let done = tokio::task::spawn_blocking(move || state.turn(turn)).await;
        if done.is_err() {
            tracing::error!("a turn of the API's upkeep panicked");
        }
    }
}

impl State {
    fn turn(&self, turn: u64) {
        self.control.flush_usage();
        self.control.keep_commands();
        if turn.is_multiple_of(TOKENS_EVERY) {
            self.expire_tokens();
        }
        if turn.is_multiple_of(BIN_EVERY)
            && let Err(error) = self.control.empty_bin()
        {
            tracing::warn!(%error, "the recycle bin was not emptied");
        }
    }

    /// Removes tokens that are over, each with its event. Blocks on the disk.
    pub fn expire_tokens(&self) {
        if let Err(error) = self.control.save_accessed() {
            tracing::warn!(%error, "the last use of tokens was not saved");
        }
        let now_us = self.control.clock().now_us();
        for token in self.control.registry().tokens() {
            if !self.is_expired(&token, now_us) {
                continue;
            }
            let write = Write::Remove(ItemId::Token(token.id));
            match self.control.write(Scope::OPERATOR, write, None) {
                Ok(_) => {
                    let origin = Origin::token(token.id);
                    let data = serde_json::Map::new();
                    let events = self.control.events();
                    events.log_now(Code::TokenExpired, origin, token.cid, data);
                }
                // the last way into a master stays listed, though nobody gets in by it
                Err(WriteError::LastMasterToken | WriteError::FileOwned) => {}
                Err(error) => tracing::warn!(%error, token = %token.id, "an expired token stays"),
            }
        }
    }

    /// What is still to be written before the journal is shut down. Blocks on the disk.
    pub fn finish(&self) {
        self.control.flush_usage();
        self.control.keep_commands();
        if let Err(error) = self.control.save_accessed() {
            tracing::warn!(%error, "the last use of tokens was not saved");
        }
    }
}
