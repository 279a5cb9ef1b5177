//! The accounts and their chains. Inserted while running, read without a lock.

use super::totals::Posted;
use super::word::{FrameWindow, Meter};
use super::{Caps, Dimension, Refusal, Rules, Totals};
use crate::ids::AccountId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

/// Levels of the tree: a master and four below it.
pub const LEVELS_MAX: usize = 5;

/// Accounts of a tree, tombstones included. Beyond it [`Tree::insert`] refuses.
pub const ACCOUNTS_MAX: usize = 1_000_000;

/// Dimensions that have a meter of their own: all but the two of the frame window.
const METERS: usize = Dimension::LEN - FIRST_METER;
const FIRST_METER: usize = 2;

/// Why the tree did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The parent is on the last level already.
    #[error("an account can be at most {} levels below its master", LEVELS_MAX - 1)]
    TooDeep,
    /// The parent is not there, or is deleted.
    #[error("the parent account does not exist")]
    NoParent,
    /// The id is taken, or was once.
    #[error("the account id is taken")]
    Exists,
    /// There is no such account.
    #[error("the account does not exist")]
    NoAccount,
    /// It has accounts below it.
    #[error("the account has subaccounts")]
    NotEmpty,
    /// There are [`ACCOUNTS_MAX`].
    #[error("there are {ACCOUNTS_MAX} accounts already")]
    Full,
}

/// A block that a change of rules ended: dimension and the end it had.
pub type Lifted = Vec<(Dimension, i64)>;

/// What all accounts of a tree share.
#[derive(Debug, Default)]
struct Shared {
    generation: AtomicU64,
    /// No block ends later: most of the time that is over, and one look tells so.
    blocked_until_us: AtomicI64,
}

/// Rules and what follows from them; locked by what changes them, never by a charge that fits.
#[derive(Debug, Default)]
struct Governed {
    rules: Rules,
    disabled: bool,
    gone: bool,
    live_children: u32,
}

/// One account. The first line is what a charge exchanges, the second what it reads.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Node {
    pub(super) frames: FrameWindow,
    ancestors: [Option<Account>; LEVELS_MAX - 1],
    id: AccountId,
    level: u8,
    enabled: AtomicBool,
    gone: AtomicBool,
    meters: [Meter; METERS],
    blocks_until_us: [AtomicI64; Dimension::LEN],
    posted: Posted,
    governed: Mutex<Governed>,
    shared: Arc<Shared>,
}

impl Node {
    /// The meter of a dimension that is not the frame window's.
    pub(super) fn meter(&self, dimension: Dimension) -> &Meter {
        &self.meters[dimension.index() - FIRST_METER]
    }

    fn governed(&self) -> MutexGuard<'_, Governed> {
        self.governed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in force what the rules say now. A disabled account is one of zero caps.
    fn put_in_force(&self, governed: &Governed) -> Lifted {
        let enabled = !governed.disabled && !governed.gone;
        let caps = if enabled {
            governed.rules.caps
        } else {
            Caps::ZERO
        };
        self.enabled.store(enabled, Ordering::Release);
        self.gone.store(governed.gone, Ordering::Release);
        self.frames.set_caps(
            caps.get(Dimension::ChannelTraffic),
            caps.get(Dimension::ChannelMessages),
        );
        for dimension in &Dimension::ALL[FIRST_METER..] {
            self.meter(*dimension).set_cap(caps.get(*dimension));
        }
        let lifted = Dimension::ALL
            .into_iter()
            .map(|dimension| {
                let block = &self.blocks_until_us[dimension.index()];
                (dimension, block.swap(0, Ordering::AcqRel))
            })
            .filter(|(_, until_us)| *until_us != 0)
            .collect();
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
        lifted
    }
}

/// All accounts.
#[derive(Debug, Default)]
pub struct Tree {
    accounts: RwLock<BTreeMap<AccountId, Account>>,
    /// Held while a batch is posted: who reads many accounts at once sees whole batches.
    posting: RwLock<()>,
    shared: Arc<Shared>,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an account below a parent, or a master below [`AccountId::NONE`]. It has no caps.
    pub fn insert(&self, id: AccountId, parent: AccountId) -> Result<Account, TreeError> {
        let mut accounts = self
            .accounts
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if !id.is_some() || accounts.contains_key(&id) {
            return Err(TreeError::Exists);
        }
        if accounts.len() >= ACCOUNTS_MAX {
            return Err(TreeError::Full);
        }
        let mut ancestors = [const { None }; LEVELS_MAX - 1];
        let mut level = 0;
        if parent.is_some() {
            let parent = accounts
                .get(&parent)
                .filter(|parent| !parent.is_gone())
                .ok_or(TreeError::NoParent)?;
            level = parent.level() + 1;
            if usize::from(level) >= LEVELS_MAX {
                return Err(TreeError::TooDeep);
            }
            let path = parent.ancestors().chain([parent]);
            for (slot, ancestor) in ancestors.iter_mut().zip(path) {
                *slot = Some(ancestor.clone());
            }
            parent.0.governed().live_children += 1;
        }
        let account = Account(Arc::new(Node {
            frames: FrameWindow::new(),
            ancestors,
            id,
            level,
            enabled: AtomicBool::new(true),
            gone: AtomicBool::new(false),
            meters: [const { Meter::new() }; METERS],
            blocks_until_us: [const { AtomicI64::new(0) }; Dimension::LEN],
            posted: Posted::new(),
            governed: Mutex::default(),
            shared: Arc::clone(&self.shared),
        }));
        accounts.insert(id, account.clone());
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
        Ok(account)
    }

    /// The account of an id, deleted ones too.
    pub fn account(&self, id: AccountId) -> Option<Account> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts.get(&id).cloned()
    }

    /// Every account in the order of their ids, deleted ones too.
    pub fn accounts(&self) -> Vec<Account> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts.values().cloned().collect()
    }

    /// Puts new rules in force at once, and lifts the account's blocks. Once it has returned nothing
    /// is admitted under the old ones.
    pub fn set_rules(&self, id: AccountId, rules: Rules) -> Result<Lifted, TreeError> {
        self.govern(id, |governed| governed.rules = rules)
    }

    /// Enables an account, or disables it: then it has all-zero caps, which its whole branch meets.
    pub fn set_enabled(&self, id: AccountId, enabled: bool) -> Result<Lifted, TreeError> {
        self.govern(id, |governed| governed.disabled = !enabled)
    }

    fn govern(
        &self,
        id: AccountId,
        change: impl FnOnce(&mut Governed),
    ) -> Result<Lifted, TreeError> {
        let account = self.account(id).ok_or(TreeError::NoAccount)?;
        let mut governed = account.0.governed();
        change(&mut governed);
        Ok(account.0.put_in_force(&governed))
    }

    /// Deletes an account that has none below it. It stays as a tombstone: its id is taken for ever,
    /// its posted numbers stay, nothing is admitted to it.
    pub fn retire(&self, id: AccountId) -> Result<(), TreeError> {
        // the map's lock keeps a child from being inserted meanwhile
        let accounts = self
            .accounts
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let account = accounts.get(&id).ok_or(TreeError::NoAccount)?;
        let mut governed = account.0.governed();
        if governed.gone {
            return Err(TreeError::NoAccount);
        }
        if governed.live_children > 0 {
            return Err(TreeError::NotEmpty);
        }
        governed.gone = true;
        account.0.put_in_force(&governed);
        if let Some(parent) = account.parent() {
            parent.0.governed().live_children -= 1;
        }
        Ok(())
    }

    /// Raised by every change of accounts and rules.
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// Begins to post a batch; only the journal's writer does. [`Tree::statement`] waits for its
    /// end.
    pub fn publishing(&self) -> Publishing<'_> {
        Publishing {
            _guard: self.posting.write().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// The posted numbers of all accounts between two batches: there a parent's are exactly its own
    /// plus its children's.
    pub fn statement(&self) -> Vec<(Account, Totals)> {
        let accounts = self.accounts();
        let _guard = self.posting.read().unwrap_or_else(PoisonError::into_inner);
        accounts
            .into_iter()
            .map(|account| {
                let totals = account.posted();
                (account, totals)
            })
            .collect()
    }
}

/// A batch is being posted.
#[must_use = "dropped, the batch ends"]
#[derive(Debug)]
pub struct Publishing<'a> {
    _guard: RwLockWriteGuard<'a, ()>,
}

/// An account is blocked, by itself or by one above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked {
    /// For what.
    pub dimension: Dimension,
    /// flespi's code of it.
    pub code: u8,
    /// The blocked account is one above: its id is not for the one that asked.
    pub inherited: bool,
    /// The blocked account.
    pub account: AccountId,
    /// Until when, unix us.
    pub until_us: i64,
}

/// A node of the tree; cheap to clone, equal if it is the same account.
#[derive(Clone)]
pub struct Account(Arc<Node>);

impl Account {
    pub(super) fn node(&self) -> &Node {
        &self.0
    }

    /// Its id.
    pub fn id(&self) -> AccountId {
        self.0.id
    }

    /// Its level: a master's is 0.
    pub fn level(&self) -> u8 {
        self.0.level
    }

    /// The accounts above it, master first.
    pub fn ancestors(&self) -> impl Iterator<Item = &Self> {
        self.0.ancestors.iter().flatten()
    }

    /// The account above it.
    pub fn parent(&self) -> Option<Self> {
        self.ancestors().last().cloned()
    }

    /// Itself and the accounts above it, master last.
    pub fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.0.ancestors.iter().rev().flatten())
    }

    /// Is it `id`, or in the branch of `id`?
    pub fn is_or_is_below(&self, id: AccountId) -> bool {
        self.chain().any(|account| account.id() == id)
    }

    /// Is it enabled itself?
    pub fn is_enabled(&self) -> bool {
        self.0.enabled.load(Ordering::Acquire)
    }

    /// Is it deleted?
    pub fn is_gone(&self) -> bool {
        self.0.gone.load(Ordering::Acquire)
    }

    /// Is it enabled, and every account above it?
    pub fn enabled_chain(&self) -> bool {
        self.chain().all(Self::is_enabled)
    }

    /// What its limit says, whether it is enabled or not.
    pub fn rules(&self) -> Rules {
        self.0.governed().rules
    }

    /// Blocks it for a dimension until a time, or unblocks it (0): for who follows the journal.
    /// A refusal blocks by [`super::Refusal::block`]. Says whether it changed something.
    pub fn block(&self, dimension: Dimension, until_us: i64) -> bool {
        let _governed = self.0.governed();
        self.put_block(dimension, until_us) != until_us
    }

    /// Until when it is blocked for a dimension, by itself; unix us, 0 if it never was.
    pub fn blocked_until_us(&self, dimension: Dimension) -> i64 {
        self.0.blocks_until_us[dimension.index()].load(Ordering::Acquire)
    }

    /// Blocks it unless it is blocked at `now_us`, or what was refused would fit under the rules of
    /// now.
    pub(super) fn block_refused(&self, refusal: &Refusal, now_us: i64, until_us: i64) -> bool {
        // while it is held the rules stay: no block begins under rules that are gone
        let _governed = self.0.governed();
        let block = &self.0.blocks_until_us[refusal.dimension.index()];
        if until_us <= now_us
            || block.load(Ordering::Acquire) > now_us
            || self
                .reading(refusal.dimension, refusal.minute)
                .left()
                .is_none_or(|left| refusal.asked <= left)
        {
            return false;
        }
        self.put_block(refusal.dimension, until_us);
        true
    }

    fn put_block(&self, dimension: Dimension, until_us: i64) -> i64 {
        let before = self.0.blocks_until_us[dimension.index()].swap(until_us, Ordering::AcqRel);
        self.0
            .shared
            .blocked_until_us
            .fetch_max(until_us, Ordering::AcqRel);
        before
    }

    /// Is it, or an account above it, blocked for something that stops frames? The highest such
    /// account. One look at shared memory when no account of the tree is blocked.
    pub fn blocked(&self, now_us: i64) -> Option<Blocked> {
        self.blocked_for(&Dimension::OF_FRAMES, now_us)
    }

    /// Is it, or an account above it, blocked for one of these dimensions?
    pub fn blocked_for(&self, dimensions: &[Dimension], now_us: i64) -> Option<Blocked> {
        if self.0.shared.blocked_until_us.load(Ordering::Acquire) <= now_us {
            return None;
        }
        self.ancestors().chain([self]).find_map(|account| {
            dimensions.iter().find_map(|dimension| {
                let until_us = account.0.blocks_until_us[dimension.index()].load(Ordering::Acquire);
                (until_us > now_us).then(|| Blocked {
                    dimension: *dimension,
                    code: dimension.blocked_code(),
                    inherited: account.id() != self.id(),
                    account: account.id(),
                    until_us,
                })
            })
        })
    }

    /// Adds to its posted numbers, its alone: the caller walks the chain. Only the journal's writer
    /// does.
    pub fn post(&self, deltas: &Totals) {
        self.0.posted.add(deltas);
    }

    /// What the journal says of it and its branch.
    pub fn posted(&self) -> Totals {
        self.0.posted.load()
    }

    /// Sets its posted numbers: from a checkpoint.
    pub fn set_posted(&self, totals: Totals) {
        self.0.posted.store(&totals);
    }
}

impl PartialEq for Account {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Account {}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({} at level {})", self.id(), self.level())
    }
}
