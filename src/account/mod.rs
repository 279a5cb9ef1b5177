//! The account tree, its limits, and the charge that never overshoots them.
//!
//! Pure: no clock (the minute is an argument), no store (rules are published to it, numbers are
//! read from it), no log. It refuses to decide what a refusal leads to: parking, dropping and
//! closing are the driver's, the entry and the event are the caller's.
//!
//! # The tree
//!
//! A master and four levels of subaccounts ([`LEVELS_MAX`], the one constant). An account has one
//! parent for life and its id is never used again, so an id fixes its chain for ever; a deleted
//! account stays as a tombstone ([`Tree::retire`]), since old journal entries still name it.
//!
//! # The numbers
//!
//! *Admitted*: the live counters that a charge is tested against. *Posted*: [`Totals`], folded from
//! the journal by its one writer. An account's numbers are those of itself and its branch.
//!
//! | dimension | word | resets |
//! |---|---|---|
//! | channel traffic and messages | one word for both: minute, bytes, messages, revision of the caps | with the minute |
//! | API calls, API traffic | minute, use, cap | with the minute |
//! | levels and counts | use, cap | never: [`Account::release`] |
//!
//! A word holds its window and its use, so that a reset is one exchange, and either its cap or the
//! number of the cap's version, so that a use is only ever exchanged under the cap it was tested
//! against: once [`Tree::set_rules`] has returned nothing is admitted under the old rules.
//!
//! # What always holds
//!
//! - An admitted use is at most its cap, in every reading, unless the cap was lowered below it;
//!   then nothing is admitted until it fits.
//! - All levels of a charge are taken or none: master first, undone leaf first, and each step tests
//!   *before* it adds. So a parent's admitted use is never less than its children's sum, and a large
//!   doomed charge refuses no small one.
//! - Time does not go back: a charge for a minute before the stored one goes into the stored one.
//! - [`Account::charge_unchecked`] (a journal `Usage`) is never refused. It is counted in a word of
//!   its own, apart from what was admitted, and what it took is no longer free for what asks.
//! - A disabled account is one whose caps are all zero: there is no other test for it.
//! - What a child sees of a refusal by an ancestor is the dimension and when it resets
//!   ([`Refusal::seen_by`]).
//!
//! # Who calls it
//!
//! `channel` charges frames and takes connections, `api` charges calls, `registry` inserts accounts
//! and publishes rules, `control` takes counts for the items it creates, `journal` posts totals and
//! restores the running minute behind a start, `metrics` and the API read.

mod atomics;
mod charge;
mod dimension;
mod refusal;
mod rules;
mod totals;
mod tree;
mod walk;
mod word;

pub use charge::{Cost, Held, Reading, split_bytes};
pub use dimension::{Dimension, Kind, UnknownDimension};
pub use refusal::{Refusal, Seen, SeenAt};
pub use rules::{Caps, NO_CAP, PARK_MS_MAX_DEFAULT, Policy, Rules};
pub use totals::Totals;
pub use tree::{ACCOUNTS_MAX, Account, Blocked, LEVELS_MAX, Lifted, Publishing, Tree, TreeError};

#[cfg(test)]
mod tests;
